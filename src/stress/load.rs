//! What the talkers are asked to do: how fast, how long, and when each line is due.
//! Pure: time is nanoseconds since the round began.

use std::num::NonZeroU32;
use std::time::Duration;

const NANOS_PER_SECOND: f64 = 1e9;

/// The load of one round.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How fast the talkers talk.
    pub pace: Pace,
    /// The size of a line with its LF.
    pub size_bytes: usize,
    /// When the talkers stop.
    pub end: End,
    /// Marks the lines of this round.
    pub round: u32,
}

/// When the talkers stop.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// After this many lines each.
    Lines(u32),
    /// After this time.
    After(Duration),
}

/// How fast the talkers talk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// A closed loop: each talker has this many lines in flight, and says the next when
    /// all readers have one of them.
    InFlight(NonZeroU32),
    /// An open loop: each talker says this many lines per second, delivered or not. Above
    /// 0, at most `MAX_PER_SECOND`.
    PerSecond(f64),
}

/// A day at this rate stays below what the ledger can count.
pub(crate) const MAX_PER_SECOND: f64 = 10_000.0;

impl Load {
    /// How long the round takes if the server keeps up, where that is known.
    pub(crate) fn planned(&self) -> Option<Duration> {
        match (self.end, self.pace) {
            (End::After(duration), _) => Some(duration),
            (End::Lines(lines), Pace::PerSecond(rate)) => {
                Some(Duration::from_secs_f64(f64::from(lines) / rate))
            }
            (End::Lines(_), Pace::InFlight(_)) => None,
        }
    }
}

impl End {
    /// Whether a talker that has `said` this many lines may say another.
    pub(crate) fn allows(&self, said: u32) -> bool {
        match *self {
            Self::Lines(lines) => said < lines,
            Self::After(_) => true,
        }
    }

    /// Whether talking is over at that moment.
    pub(crate) fn is_past(&self, moment_nanos: u64) -> bool {
        match *self {
            Self::Lines(_) => false,
            Self::After(duration) => u128::from(moment_nanos) >= duration.as_nanos(),
        }
    }
}

/// When lines are due in an open loop: a steady stream, dealt to the talkers in turn so
/// that they do not all talk at the same moment.
#[derive(Debug)]
pub(crate) struct Timetable {
    talkers: u64,
    step_nanos: f64,
    /// How many lines have come due.
    due: u64,
}

impl Timetable {
    /// `per_second` lines from each of `talkers`, the first at once.
    ///
    /// # Panics
    ///
    /// When there are no talkers or no lines.
    pub(crate) fn new(talkers: usize, per_second: f64) -> Self {
        assert!(talkers > 0 && per_second > 0.0);
        Self {
            talkers: talkers as u64,
            step_nanos: NANOS_PER_SECOND / (per_second * talkers as f64),
            due: 0,
        }
    }

    /// The talker of the next line and when it comes due.
    pub(crate) fn peek(&self) -> (usize, u64) {
        let talker = (self.due % self.talkers) as usize;
        (talker, self.moment(self.due))
    }

    pub(crate) fn advance(&mut self) {
        self.due += 1;
    }

    /// When line `number` of `talker` is due. A line said late keeps that moment, so the
    /// wait counts as delay (no coordinated omission).
    pub(crate) fn moment_of(&self, talker: usize, number: u32) -> u64 {
        self.moment(u64::from(number) * self.talkers + talker as u64)
    }

    fn moment(&self, nth: u64) -> u64 {
        (nth as f64 * self.step_nanos) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_after_so_many_lines_or_so_long() {
        let lines = End::Lines(2);
        assert!(lines.allows(1) && !lines.allows(2) && !lines.is_past(u64::MAX));
        let after = End::After(Duration::from_nanos(5));
        assert!(after.allows(u32::MAX) && !after.is_past(4) && after.is_past(5));
    }

    #[test]
    fn how_long_it_takes_is_known_where_the_clock_decides() {
        let load = |pace, end| Load {
            pace,
            size_bytes: 64,
            end,
            round: 0,
        };
        let closed = Pace::InFlight(NonZeroU32::MIN);
        let second = Duration::from_secs(1);
        assert_eq!(load(closed, End::Lines(5)).planned(), None);
        assert_eq!(load(closed, End::After(second)).planned(), Some(second));
        let open = Pace::PerSecond(10.0);
        assert_eq!(load(open, End::Lines(10)).planned(), Some(second));
    }

    #[test]
    fn lines_come_at_the_rate_and_talkers_take_turns() {
        let mut table = Timetable::new(2, 500.0);
        let mut lines = Vec::new();
        for _ in 0..4 {
            lines.push(table.peek());
            table.advance();
        }
        let ms = 1_000_000;
        assert_eq!(lines, [(0, 0), (1, ms), (0, 2 * ms), (1, 3 * ms)]);
        assert_eq!(table.moment_of(1, 1), 3 * ms);
    }

    #[test]
    fn the_moments_do_not_drift() {
        let table = Timetable::new(3, 7.0);
        let an_hour_of_lines = 7 * 3600;
        assert_eq!(table.moment_of(0, an_hour_of_lines), 3600 * 1_000_000_000);
    }
}
