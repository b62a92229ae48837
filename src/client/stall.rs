//! When a connection whose other end is out of reach is given up: the kernel would take a quarter
//! of an hour. Knows no socket and no clock.

use std::time::{Duration, Instant};

/// How often to look whether the peer's kernel still acknowledges what it is sent, while a line
/// waits for its answer.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A connection over which nothing comes, and on which nothing is acknowledged of what there is
/// to acknowledge, for this long is given up.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(20);

/// Signs of life on a connection.
#[derive(Debug)]
pub(crate) struct Stall {
    /// When something last came, or was acknowledged.
    alive_at: Instant,
    /// While a line waits for its answer.
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Watch {
    /// How many bytes were not acknowledged, once that was looked at.
    unacknowledged: Option<u64>,
    /// When to look again.
    check_at: Instant,
}

impl Stall {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            alive_at: now,
            watch: None,
        }
    }

    /// Something has come.
    pub(crate) fn received(&mut self, now: Instant) {
        self.alive_at = now;
    }

    /// A line has waited for its answer since then; or none does.
    pub(crate) fn waits(&mut self, since: Option<Instant>) {
        if let Some(since) = since {
            self.watch.get_or_insert(Watch {
                unacknowledged: None,
                check_at: since + CHECK_INTERVAL,
            });
        } else {
            self.watch = None;
        }
    }

    /// When [`Stall::check`] is next due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.watch.as_ref().map(|watch| watch.check_at)
    }

    /// So many bytes are not acknowledged. Returns whether the connection has stalled.
    pub(crate) fn check(&mut self, unacknowledged: u64, now: Instant) -> bool {
        let Some(watch) = &mut self.watch else {
            return false;
        };
        if unacknowledged == 0 || watch.unacknowledged != Some(unacknowledged) {
            self.alive_at = now;
        }
        watch.unacknowledged = Some(unacknowledged);
        watch.check_at = now + CHECK_INTERVAL;
        now >= self.alive_at + STALLED_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long after its line was sent a connection is given up on which so many bytes are not
    /// acknowledged, one look after the other. Something comes after `heard_after`, if at all.
    fn given_up_after(looks: &[u64], heard_after: Option<Duration>) -> Option<Duration> {
        let begun = Instant::now();
        let mut stall = Stall::new(begun);
        let mut heard_at = heard_after.map(|after| begun + after);
        for &unacknowledged in looks {
            stall.waits(Some(begun));
            let now = stall.deadline().expect("a line that waits");
            if let Some(at) = heard_at.take_if(|at| *at <= now) {
                stall.received(at);
            }
            if stall.check(unacknowledged, now) {
                return Some(now - begun);
            }
        }
        None
    }

    #[test]
    fn a_connection_that_takes_nothing_is_given_up() {
        let seconds = Duration::from_secs;
        let first_look = CHECK_INTERVAL;
        assert_eq!(
            given_up_after(&[7; 9], None),
            Some(first_look + STALLED_AFTER)
        );
        assert_eq!(
            given_up_after(&[7; 9], Some(seconds(14))),
            Some(seconds(35)),
            "the first look after it has come to 20 s"
        );
        assert_eq!(given_up_after(&[0; 99], None), None, "all is taken");
        let fewer: Vec<u64> = (1..99).rev().collect();
        assert_eq!(given_up_after(&fewer, None), None, "something is taken");
    }

    #[test]
    fn nothing_is_looked_at_while_no_line_waits() {
        let now = Instant::now();
        let mut stall = Stall::new(now);
        assert_eq!(stall.deadline(), None);
        stall.waits(Some(now));
        assert_eq!(stall.deadline(), Some(now + CHECK_INTERVAL));
        stall.waits(None);
        assert_eq!(stall.deadline(), None);
        assert!(!stall.check(7, now + STALLED_AFTER), "nobody asked");
    }
}
