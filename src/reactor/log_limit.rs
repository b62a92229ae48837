//! Keeps a kind of message from filling the log, however often there is cause for it.
//!
//! Knows no clock and logs nothing: it says whether to.

use std::fmt;
use std::time::{Duration, Instant};

use crate::reactor::rate::{Bucket, Rate};

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
    use super::*;

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
