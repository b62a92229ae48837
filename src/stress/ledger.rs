//! Who said what, and who has heard it: exactly once, and in order.
//!
//! The harness tells the ledger of every line said and of every line heard; the
//! ledger finds what was lost, came twice, or came out of order, and knows which
//! lines are still in flight. Without socket or clock: times are nanoseconds since
//! the run began, and are only kept for the asking.

use std::collections::{HashMap, VecDeque};

/// Numbers that tell how a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines said.
    pub lines: u64,
    /// Lines heard for the first time, over all readers.
    pub deliveries: u64,
    /// Lines heard again by a reader who had them.
    pub duplicated: u64,
    /// Lines heard after a later one of the same talker.
    pub reordered: u64,
    /// Lines heard by who said them.
    pub echoed: u64,
}

/// What the ledger finds about a line that a reader has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// In order, and not before. When it was to be said, in nanoseconds.
    InOrder(u64),
    /// It had been missed, and comes late.
    Late,
    /// The reader had it already.
    Again,
    /// It is the reader's own.
    Own,
    /// Nobody has said that.
    Unknown,
}

/// The books of one run.
#[derive(Debug)]
pub struct Ledger {
    talkers: Vec<Talker>,
    /// Whether a reader is there and listens.
    listening: Vec<bool>,
    listeners: u32,
    /// For each reader and, within that, each talker: the number of the line that
    /// is to come next.
    next: Vec<u32>,
    /// The numbers that were passed over, by reader and talker. Empty while all
    /// goes well.
    missing: HashMap<(u32, u32), Vec<u32>>,
    missing_count: u64,
    /// Deliveries that the lines in flight still wait for.
    awaited: u64,
    tally: Tally,
}

/// The lines of one talker that not everybody has heard yet.
#[derive(Debug, Default)]
struct Talker {
    /// How many are settled: the number of the first in flight.
    settled: u32,
    in_flight: VecDeque<Line>,
}

#[derive(Debug)]
struct Line {
    due_nanos: u64,
    awaited: u32,
}

impl Talker {
    fn said(&self) -> u32 {
        self.settled + self.in_flight.len() as u32
    }
}

impl Ledger {
    /// The memory that the books of a run take at least, in bytes: what a reader
    /// is to hear next is known for each talker.
    pub fn size_bytes(readers: usize, talkers: usize) -> usize {
        readers
            .saturating_mul(talkers)
            .saturating_mul(size_of::<u32>())
    }

    /// Books for the readers who listen, by their number, of whom the first
    /// `talkers` talk.
    pub fn new(listening: Vec<bool>, talkers: usize) -> Self {
        Self {
            talkers: (0..talkers).map(|_| Talker::default()).collect(),
            listeners: listening.iter().filter(|&&listens| listens).count() as u32,
            next: vec![0; listening.len() * talkers],
            listening,
            missing: HashMap::new(),
            missing_count: 0,
            awaited: 0,
            tally: Tally::default(),
        }
    }

    /// `talker` says its next line, which was due at `due_nanos`. Returns the
    /// line's number.
    pub fn say(&mut self, talker: usize, due_nanos: u64) -> u32 {
        let awaited = self.listeners - u32::from(self.listening[talker]);
        let lines = &mut self.talkers[talker];
        let number = lines.said();
        self.tally.lines += 1;
        self.awaited += u64::from(awaited);
        lines.in_flight.push_back(Line { due_nanos, awaited });
        lines.retire_settled();
        number
    }

    /// `reader` has heard the line `number` of `talker`.
    pub fn hear(&mut self, reader: usize, talker: u32, number: u32) -> Heard {
        let Some(lines) = self.talkers.get(talker as usize) else {
            return Heard::Unknown;
        };
        if number >= lines.said() {
            return Heard::Unknown;
        }
        if reader == talker as usize {
            self.tally.echoed += 1;
            return Heard::Own;
        }
        let slot = reader * self.talkers.len() + talker as usize;
        let expected = self.next[slot];
        if number < expected {
            return self.hear_old(reader, talker, number);
        }
        for skipped in expected..number {
            self.settle(talker, skipped);
            self.missing_count += 1;
            let missing = self.missing.entry((reader as u32, talker)).or_default();
            missing.push(skipped);
        }
        self.next[slot] = number + 1;
        self.tally.deliveries += 1;
        let due_nanos = self.settle(talker, number);
        Heard::InOrder(due_nanos)
    }

    fn hear_old(&mut self, reader: usize, talker: u32, number: u32) -> Heard {
        let missing = self.missing.get_mut(&(reader as u32, talker));
        let at = missing.and_then(|numbers| {
            let at = numbers.iter().position(|&missed| missed == number)?;
            Some(numbers.swap_remove(at))
        });
        if at.is_none() {
            self.tally.duplicated += 1;
            return Heard::Again;
        }
        self.missing_count -= 1;
        self.tally.deliveries += 1;
        self.tally.reordered += 1;
        Heard::Late
    }

    /// `reader` is gone: no line waits for it any more.
    pub fn leave(&mut self, reader: usize) {
        if !std::mem::take(&mut self.listening[reader]) {
            return;
        }
        self.listeners -= 1;
        for talker in 0..self.talkers.len() {
            if talker == reader {
                continue;
            }
            let expected = self.next[reader * self.talkers.len() + talker];
            for number in expected..self.talkers[talker].said() {
                self.settle(talker as u32, number);
            }
        }
    }

    /// One reader less is awaited for this line. Returns when it was due.
    fn settle(&mut self, talker: u32, number: u32) -> u64 {
        let lines = &mut self.talkers[talker as usize];
        let line = &mut lines.in_flight[(number - lines.settled) as usize];
        line.awaited -= 1;
        self.awaited -= 1;
        let due_nanos = line.due_nanos;
        lines.retire_settled();
        due_nanos
    }

    /// How many lines of `talker` somebody has not heard yet.
    pub fn in_flight(&self, talker: usize) -> usize {
        self.talkers[talker].in_flight.len()
    }

    /// How many lines `talker` has said.
    pub fn said(&self, talker: usize) -> u32 {
        self.talkers[talker].said()
    }

    /// How many deliveries are still to come.
    pub fn awaited(&self) -> u64 {
        self.awaited
    }

    /// How many deliveries there would have to be but were not: those that were
    /// passed over, and those still to come.
    pub fn lost(&self) -> u64 {
        self.missing_count + self.awaited
    }

    /// What there was so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

impl Talker {
    fn retire_settled(&mut self) {
        while self.in_flight.front().is_some_and(|line| line.awaited == 0) {
            self.in_flight.pop_front();
            self.settled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Books in which all listen.
    fn ledger(readers: usize, talkers: usize) -> Ledger {
        Ledger::new(vec![true; readers], talkers)
    }

    #[test]
    fn a_line_is_in_flight_until_everybody_else_has_heard_it() {
        let mut ledger = ledger(3, 1);
        assert_eq!(ledger.say(0, 5), 0);
        assert_eq!((ledger.in_flight(0), ledger.awaited()), (1, 2));
        assert_eq!(ledger.hear(1, 0, 0), Heard::InOrder(5));
        assert_eq!((ledger.in_flight(0), ledger.awaited()), (1, 1));
        assert_eq!(ledger.hear(2, 0, 0), Heard::InOrder(5));
        assert_eq!((ledger.in_flight(0), ledger.awaited()), (0, 0));
        assert_eq!(ledger.lost(), 0);
        let heard = Tally {
            lines: 1,
            deliveries: 2,
            ..Tally::default()
        };
        assert_eq!(ledger.tally(), heard);
    }

    #[test]
    fn a_talker_alone_waits_for_nobody() {
        let mut ledger = ledger(1, 1);
        ledger.say(0, 0);
        assert_eq!((ledger.in_flight(0), ledger.said(0)), (0, 1));
    }

    #[test]
    fn a_line_that_comes_twice_is_counted() {
        let mut ledger = ledger(2, 1);
        ledger.say(0, 0);
        ledger.hear(1, 0, 0);
        assert_eq!(ledger.hear(1, 0, 0), Heard::Again);
        assert_eq!(ledger.tally().duplicated, 1);
        assert_eq!(ledger.lost(), 0);
    }

    #[test]
    fn a_line_passed_over_is_lost_until_it_comes_late() {
        let mut ledger = ledger(2, 1);
        for due in 0..3 {
            ledger.say(0, due);
        }
        assert_eq!(ledger.hear(1, 0, 2), Heard::InOrder(2));
        assert_eq!((ledger.lost(), ledger.in_flight(0)), (2, 0));
        assert_eq!(ledger.hear(1, 0, 0), Heard::Late);
        assert_eq!(ledger.hear(1, 0, 0), Heard::Again);
        assert_eq!(ledger.lost(), 1);
        assert_eq!(ledger.tally().reordered, 1);
        assert_eq!(ledger.tally().deliveries, 2);
    }

    #[test]
    fn what_never_comes_is_lost() {
        let mut ledger = ledger(3, 1);
        ledger.say(0, 0);
        ledger.hear(1, 0, 0);
        assert_eq!(ledger.lost(), 1);
    }

    #[test]
    fn who_has_left_is_not_waited_for() {
        let mut ledger = ledger(3, 2);
        ledger.say(0, 0);
        ledger.say(1, 0);
        ledger.hear(2, 0, 0);
        ledger.leave(2);
        ledger.leave(2);
        assert_eq!((ledger.in_flight(0), ledger.in_flight(1)), (1, 1));
        ledger.hear(1, 0, 0);
        ledger.hear(0, 1, 0);
        assert_eq!((ledger.awaited(), ledger.lost()), (0, 0));
        ledger.say(0, 0);
        assert_eq!(ledger.awaited(), 1);
    }

    #[test]
    fn a_line_of_ones_own_or_of_nobody_does_not_count() {
        let mut ledger = ledger(2, 1);
        ledger.say(0, 0);
        assert_eq!(ledger.hear(0, 0, 0), Heard::Own);
        assert_eq!(ledger.hear(1, 0, 1), Heard::Unknown);
        assert_eq!(ledger.hear(1, 9, 0), Heard::Unknown);
        assert_eq!(ledger.tally().deliveries, 0);
        assert_eq!(ledger.tally().echoed, 1);
    }

    #[test]
    fn talkers_who_do_not_listen_are_not_waited_for() {
        let mut ledger = Ledger::new(vec![false, true, true], 1);
        ledger.say(0, 0);
        assert_eq!(ledger.awaited(), 2);
    }

    proptest! {
        /// Each reader hears a shuffled stream with losses and repetitions; the
        /// ledger finds as many as were put in.
        #[test]
        fn the_books_balance(
            lines in 1_u32..20,
            streams in prop::collection::vec(prop::collection::vec(0_u32..20, 0..40), 1..5),
        ) {
            let mut ledger = ledger(streams.len() + 1, 1);
            for _ in 0..lines {
                ledger.say(0, 0);
            }
            let mut heard_once = 0;
            let mut heard_again = 0;
            for (nth, stream) in streams.iter().enumerate() {
                let mut seen = std::collections::HashSet::new();
                for &number in stream.iter().filter(|&&number| number < lines) {
                    ledger.hear(nth + 1, 0, number);
                    match seen.insert(number) {
                        true => heard_once += 1,
                        false => heard_again += 1,
                    }
                }
            }
            let tally = ledger.tally();
            prop_assert_eq!(tally.deliveries, heard_once);
            prop_assert_eq!(tally.duplicated, heard_again);
            let expected = u64::from(lines) * streams.len() as u64;
            prop_assert_eq!(ledger.lost(), expected - heard_once);
        }
    }
}
