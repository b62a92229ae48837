//! When the next line is due. Pure: time is nanoseconds since the round began.

const NANOS_PER_SECOND: f64 = 1e9;

/// A steady stream of lines, dealt out to the talkers in turn so that they do not
/// all talk at the same moment.
#[derive(Debug)]
pub struct Timetable {
    talkers: u64,
    step_nanos: f64,
    /// Lines that have come due.
    due: u64,
}

impl Timetable {
    /// `per_second` lines from each of `talkers`, the first of them at once.
    ///
    /// # Panics
    ///
    /// When there are no talkers or no lines.
    pub fn new(talkers: usize, per_second: f64) -> Self {
        assert!(talkers > 0 && per_second > 0.0);
        Self {
            talkers: talkers as u64,
            step_nanos: NANOS_PER_SECOND / (per_second * talkers as f64),
            due: 0,
        }
    }

    /// The talker of the next line and when it comes due.
    pub fn peek(&self) -> (usize, u64) {
        let talker = (self.due % self.talkers) as usize;
        (talker, self.moment(self.due))
    }

    /// Takes the next line off the table.
    pub fn advance(&mut self) {
        self.due += 1;
    }

    /// When the line `number` of `talker` comes due. That it could not be said then
    /// does not change it: what waits counts as delayed (coordinated omission).
    pub fn moment_of(&self, talker: usize, number: u32) -> u64 {
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
