//! Rate limits with bursts, for clients' lines and for log messages.
//!
//! A token bucket, implemented as virtual scheduling (GCRA, ITU-T I.371): its state is
//! one instant, at which the bucket will be full again, instead of a token count and the
//! time of the last refill. No timer refills it. It reads no clock: callers pass the time.

use std::fmt;
use std::time::{Duration, Instant};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How fast a bucket refills, and how many tokens it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time to refill one token.
    interval: Duration,
    /// How far a bucket may be from full and still give a token: (burst - 1) intervals.
    tolerance: Duration,
}

impl Rate {
    /// `per_second` tokens per second, and `burst` at once when full.
    ///
    /// # Panics
    ///
    /// When either is 0.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        assert!(per_second > 0);
        // Rounded up, so never faster than asked for.
        let interval_nanos = NANOS_PER_SECOND.div_ceil(per_second as u64);
        Self::one_each(Duration::from_nanos(interval_nanos), burst)
    }

    /// One token per `interval`, and `burst` at once when full: for rates below one per
    /// second.
    ///
    /// # Panics
    ///
    /// When `burst` is 0.
    pub const fn one_each(interval: Duration, burst: u32) -> Self {
        assert!(burst > 0);
        Self {
            interval,
            tolerance: interval.saturating_mul(burst - 1),
        }
    }
}

/// One taker's tokens. Full at first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When it will be full again. `None`, or an instant in the past: it is full.
    full_at: Option<Instant>,
}

impl Bucket {
    /// When the next token is available. `None`: one is available at `now`.
    pub(crate) fn ready_at(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let until_full = self.full_at?.saturating_duration_since(now);
        let until_ready = until_full.saturating_sub(rate.tolerance);
        (!until_ready.is_zero()).then(|| now + until_ready)
    }

    /// Whether all its tokens are there at `now`: it need not be kept.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }

    /// Takes a token. The bucket may be empty, and then goes into debt: for takers that
    /// learn only afterwards how much they took.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(full_at + rate.interval);
    }
}

/// The number of messages of one kind that are logged at once.
pub const LOG_BURST: u32 = 10;

/// After a burst, the minimum time between two messages of one kind.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);

const LOG_RATE: Rate = Rate::one_each(LOG_INTERVAL, LOG_BURST);

/// A rate limit for one kind of log message.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    bucket: Bucket,
    /// Messages suppressed since the last one was logged.
    suppressed: u64,
}

impl LogLimit {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether to log a message at `now`: if so, returns the number of messages suppressed
    /// since the last one, for [`AndMore`]; if not, counts this one as suppressed.
    pub(crate) fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.bucket.ready_at(LOG_RATE, now).is_some() {
            self.suppressed += 1;
            return None;
        }
        self.bucket.take(LOG_RATE, now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// The number of suppressed messages. Displayed as the end of a log message, empty for 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AndMore(pub(crate) u64);

impl fmt::Display for AndMore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            suppressed => write!(f, " (and {suppressed} more like it)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Takes all tokens that are available at `now`. Returns their number.
    fn take_all(bucket: &mut Bucket, rate: Rate, now: Instant) -> u32 {
        let mut count = 0;
        while bucket.ready_at(rate, now).is_none() {
            bucket.take(rate, now);
            count += 1;
        }
        count
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_one_per_interval() {
        let now = Instant::now();
        for burst in [1, 2, 50] {
            let rate = Rate::new(4, burst);
            let mut bucket = Bucket::default();
            assert_eq!(take_all(&mut bucket, rate, now), burst);
            let ready_at = now + Duration::from_millis(250);
            assert_eq!(bucket.ready_at(rate, now), Some(ready_at));
            assert_eq!(take_all(&mut bucket, rate, ready_at), 1);
            assert_eq!(take_all(&mut bucket, rate, now + HOUR), burst);
        }
    }

    #[test]
    fn a_rate_can_be_below_one_per_second() {
        let now = Instant::now();
        let rate = Rate::one_each(HOUR, 1);
        let mut bucket = Bucket::default();
        assert_eq!(take_all(&mut bucket, rate, now), 1);
        assert_eq!(bucket.ready_at(rate, now), Some(now + HOUR));
    }

    #[test]
    fn extreme_rates_and_bursts_do_not_overflow() {
        let now = Instant::now();
        for per_second in [1, u32::MAX] {
            let mut bucket = Bucket::default();
            bucket.take(Rate::new(per_second, u32::MAX), now);
            assert_eq!(bucket.ready_at(Rate::new(per_second, u32::MAX), now), None);
            let ready_at = bucket.ready_at(Rate::new(per_second, 1), now);
            assert!(ready_at > Some(now), "no rate is unlimited");
        }
    }

    #[test]
    fn taking_from_an_empty_bucket_is_a_debt() {
        let now = Instant::now();
        let rate = Rate::new(1, 2);
        let mut bucket = Bucket::default();
        for _ in 0..5 {
            bucket.take(rate, now);
        }
        let ready_at = now + Duration::from_secs(4);
        assert_eq!(bucket.ready_at(rate, now), Some(ready_at));
        assert_eq!(take_all(&mut bucket, rate, ready_at), 1);
    }

    #[test]
    fn a_clock_that_goes_backward_changes_nothing() {
        let earlier = Instant::now();
        let now = earlier + HOUR;
        let rate = Rate::new(1, 3);
        let mut bucket = Bucket::default();
        assert_eq!(take_all(&mut bucket, rate, now), 3);
        assert_eq!(take_all(&mut bucket, rate, earlier), 0);
        assert_eq!(bucket.ready_at(rate, earlier), bucket.ready_at(rate, now));
    }

    proptest! {
        #[test]
        fn no_window_exceeds_the_rate_and_waiting_until_ready_suffices(
            per_second in 1_u32..2000,
            burst in 1_u32..20,
            // Milliseconds until the next try; `None` waits until the bucket is ready.
            pauses in prop::collection::vec(prop::option::of(0_u64..40), 1..100),
        ) {
            let rate = Rate::new(per_second, burst);
            let mut bucket = Bucket::default();
            let mut now = Instant::now();
            let mut taken_at = Vec::new();
            for pause in pauses {
                match (pause, bucket.ready_at(rate, now)) {
                    (Some(millis), _) => now += Duration::from_millis(millis),
                    (None, Some(ready_at)) => {
                        let too_early = ready_at - Duration::from_nanos(1);
                        prop_assert_eq!(bucket.ready_at(rate, too_early), Some(ready_at));
                        prop_assert_eq!(bucket.ready_at(rate, ready_at), None);
                        now = ready_at;
                    }
                    (None, None) => {}
                }
                if bucket.ready_at(rate, now).is_none() {
                    bucket.take(rate, now);
                    taken_at.push(now);
                }
            }
            for (first, from) in taken_at.iter().enumerate() {
                for (last, until) in taken_at.iter().enumerate().skip(first) {
                    let share = (*until - *from).as_nanos() * u128::from(per_second)
                        / u128::from(NANOS_PER_SECOND);
                    prop_assert!((last - first + 1) as u128 <= u128::from(burst) + share);
                }
            }
        }
    }

    #[test]
    fn after_a_burst_each_message_counts_the_suppressed_ones() {
        let mut now = Instant::now();
        let mut limit = LogLimit::new();
        for _ in 0..LOG_BURST {
            assert_eq!(limit.allow(now), Some(0));
        }
        for _ in 0..312 {
            assert_eq!(limit.allow(now), None);
        }
        now += LOG_INTERVAL;
        assert_eq!(limit.allow(now), Some(312));
        assert_eq!(limit.allow(now), None);
        now += LOG_INTERVAL;
        assert_eq!(limit.allow(now), Some(1), "each is counted once");
    }

    #[test]
    fn after_a_pause_there_may_be_another_burst() {
        let mut now = Instant::now();
        let mut limit = LogLimit::new();
        for _ in 0..3 {
            let logged = (0..100).filter(|_| limit.allow(now).is_some()).count();
            assert_eq!(logged, LOG_BURST as usize);
            now += LOG_INTERVAL * LOG_BURST;
        }
    }

    #[test]
    fn a_message_ends_with_the_number_of_suppressed_ones_if_any() {
        assert_eq!(format!("gone{}", AndMore(0)), "gone");
        assert_eq!(
            format!("gone{}", AndMore(312)),
            "gone (and 312 more like it)"
        );
    }
}
