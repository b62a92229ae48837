//! How often something may happen: so many a second, and a burst at once; and so how
//! often it is logged.
//!
//! Knows no clock: whoever asks says what time it is.
//!
//! A token bucket, kept by virtual scheduling (GCRA, ITU-T I.371): in place of a
//! number of tokens and the time of the last count, one moment is remembered, that
//! at which the bucket will be full. So nothing has to be refilled.

use std::fmt;
use std::time::{Duration, Instant};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How fast buckets fill, and how much they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How long one takes to come back.
    interval: Duration,
    /// How long a full bucket can be emptied ahead of time: one less than the burst,
    /// each an interval.
    tolerance: Duration,
}

impl Rate {
    /// `per_second` each second, and `burst` at once after a rest.
    ///
    /// # Panics
    ///
    /// When either is 0.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        assert!(per_second > 0);
        // Rounded up: rather a little slower than faster.
        let interval_nanos = NANOS_PER_SECOND.div_ceil(per_second as u64);
        Self::one_each(Duration::from_nanos(interval_nanos), burst)
    }

    /// One each `interval`, and `burst` at once after a rest: for rates below one a
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

/// What one taker has left of a [`Rate`]. It is full at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    /// When it will be full, if it is not. A moment in the past says the same as
    /// none.
    full_at: Option<Instant>,
}

impl Bucket {
    /// `None` when one may be taken at `now`, else the moment from which one may
    /// be.
    pub fn ready_at(&self, rate: Rate, now: Instant) -> Option<Instant> {
        let until_full = self.full_at?.saturating_duration_since(now);
        let until_ready = until_full.saturating_sub(rate.tolerance);
        (!until_ready.is_zero()).then(|| now + until_ready)
    }

    /// Takes one. It may be taken of an empty bucket too, which is then the longer
    /// in getting ready: for takers who learn only afterwards how much they took.
    pub fn take(&mut self, rate: Rate, now: Instant) {
        let full_at = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = Some(full_at + rate.interval);
    }
}

/// Messages of one kind that are logged at once, after a rest.
pub const LOG_BURST: u32 = 10;

/// After a burst, the least time between two messages of one kind.
pub const LOG_INTERVAL: Duration = Duration::from_secs(10);

const LOG_RATE: Rate = Rate::one_each(LOG_INTERVAL, LOG_BURST);

/// Bounds how often one kind of message is logged.
#[derive(Debug, Default)]
pub struct LogLimit {
    bucket: Bucket,
    /// Messages suppressed since one was logged.
    suppressed: u64,
}

impl LogLimit {
    /// Nothing has been logged yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is cause for a message at `now` and it may be logged: if so, how
    /// many were suppressed since the last one, to be told with [`AndMore`]. If not,
    /// it counts as suppressed.
    pub fn allow(&mut self, now: Instant) -> Option<u64> {
        if self.bucket.ready_at(LOG_RATE, now).is_some() {
            self.suppressed += 1;
            return None;
        }
        self.bucket.take(LOG_RATE, now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

/// The end of a message, which tells how many like it were suppressed. Nothing, if
/// none was.
#[derive(Clone, Copy, Debug)]
pub struct AndMore(pub u64);

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

    /// Takes as long as one may be taken at `now`; how many were.
    fn take_all(bucket: &mut Bucket, rate: Rate, now: Instant) -> u32 {
        let mut count = 0;
        while bucket.ready_at(rate, now).is_none() {
            bucket.take(rate, now);
            count += 1;
        }
        count
    }

    #[test]
    fn a_full_bucket_gives_its_burst_at_one_instant_and_then_one_each_interval() {
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
    fn a_rate_can_be_slower_than_one_a_second() {
        let now = Instant::now();
        let rate = Rate::one_each(HOUR, 1);
        let mut bucket = Bucket::default();
        assert_eq!(take_all(&mut bucket, rate, now), 1);
        assert_eq!(bucket.ready_at(rate, now), Some(now + HOUR));
    }

    #[test]
    fn the_greatest_rate_and_burst_are_no_overflow() {
        let now = Instant::now();
        for per_second in [1, u32::MAX] {
            let mut bucket = Bucket::default();
            bucket.take(Rate::new(per_second, u32::MAX), now);
            assert_eq!(bucket.ready_at(Rate::new(per_second, u32::MAX), now), None);
            let ready_at = bucket.ready_at(Rate::new(per_second, 1), now);
            assert!(ready_at > Some(now), "no rate is without end");
        }
    }

    #[test]
    fn what_is_taken_of_an_empty_bucket_is_waited_for_afterwards() {
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
    fn time_that_goes_backward_gives_nothing_and_costs_nothing() {
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
        fn no_window_has_more_than_its_share_and_waiting_is_enough(
            per_second in 1_u32..2000,
            burst in 1_u32..20,
            // Milliseconds to the next try; or, of those, to wait until it is ready.
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
    fn after_a_burst_one_message_each_interval_tells_of_those_left_out() {
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
        assert_eq!(limit.allow(now), Some(1), "each is told of once");
    }

    #[test]
    fn after_a_rest_there_may_be_a_burst_again() {
        let mut now = Instant::now();
        let mut limit = LogLimit::new();
        for _ in 0..3 {
            let logged = (0..100).filter(|_| limit.allow(now).is_some()).count();
            assert_eq!(logged, LOG_BURST as usize);
            now += LOG_INTERVAL * LOG_BURST;
        }
    }

    #[test]
    fn a_message_ends_as_before_unless_some_were_left_out() {
        assert_eq!(format!("gone{}", AndMore(0)), "gone");
        assert_eq!(
            format!("gone{}", AndMore(312)),
            "gone (and 312 more like it)"
        );
    }
}
