//! Who said what, and who has it: exactly once, and in order.
//!
//! The harness tells the ledger of each line said and each line heard. The ledger finds
//! what was lost, came twice or came out of order, and knows which lines are in flight.
//! No socket, no clock: times are nanoseconds since the round began.

use std::collections::{HashMap, VecDeque};

/// What was said and delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines said.
    pub lines: u64,
    /// Lines that reached a reader for the first time, over all readers.
    pub deliveries: u64,
    /// Lines that reached a reader again.
    pub duplicated: u64,
    /// Lines that reached a reader after a later one of the same talker.
    pub reordered: u64,
    /// Lines that came back to their talker.
    pub echoed: u64,
    /// Missing deliveries of talkers whose connection ended. The server may never have
    /// had these lines.
    pub undecided: u64,
    /// Missing deliveries to readers whose connection ended.
    pub abandoned: u64,
}

/// The ledger's finding on a line that a client has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// In order and for the first time. When it was due, in nanoseconds.
    InOrder(u64),
    /// For the first time, but without a delay: it had been skipped, or its talker is
    /// gone.
    Late,
    /// The reader has it already.
    Again,
    /// It is the client's own.
    Own,
    /// No talker has said it, or not to this client.
    Unknown,
}

/// The books of one round.
#[derive(Debug)]
pub(crate) struct Ledger {
    talkers: Vec<Talker>,
    /// Whether each client is a reader, and still there.
    reads: Vec<bool>,
    /// Invariant: how many of `reads` are true.
    readers: u32,
    /// The number of the next line, for each client and, within that, each talker.
    next: Vec<u32>,
    /// The numbers that were skipped, by client and talker. Invariant: no list is empty.
    missing: HashMap<(usize, usize), Vec<u32>>,
    /// Deliveries outstanding. Invariant: the sum over all lines in flight.
    awaited: u64,
    tally: Tally,
}

/// The lines of one talker.
#[derive(Debug, Default)]
struct Talker {
    /// How many lines all readers have: the number of the first in flight.
    settled: u32,
    in_flight: VecDeque<Line>,
}

#[derive(Debug)]
struct Line {
    due_nanos: u64,
    /// Readers that have neither heard nor skipped it.
    awaited: u32,
}

impl Ledger {
    /// The most lines of one talker in a round.
    pub(crate) const MAX_LINES: u32 = u32::MAX - 1;

    /// The memory that a ledger takes from the start: one number per client and talker.
    pub(crate) fn size_bytes(clients: usize, talkers: usize) -> usize {
        clients
            .saturating_mul(talkers)
            .saturating_mul(size_of::<u32>())
    }

    /// Books in which `reads` says of each client whether it reads, and the first
    /// `talkers` talk.
    pub(crate) fn new(reads: Vec<bool>, talkers: usize) -> Self {
        let readers = reads.iter().filter(|&&reads| reads).count();
        Self {
            talkers: (0..talkers).map(|_| Talker::default()).collect(),
            readers: u32::try_from(readers).expect("there are fewer descriptors"),
            next: vec![0; reads.len() * talkers],
            reads,
            missing: HashMap::new(),
            awaited: 0,
            tally: Tally::default(),
        }
    }

    /// `talker` says its next line, due at `due_nanos`. Returns the number of the line.
    ///
    /// # Panics
    ///
    /// After [`Ledger::MAX_LINES`].
    pub(crate) fn say(&mut self, talker: usize, due_nanos: u64) -> u32 {
        let awaited = self.readers - u32::from(self.reads[talker]);
        let lines = &mut self.talkers[talker];
        let number = lines.said();
        assert!(number < Self::MAX_LINES);
        self.tally.lines += 1;
        self.awaited += u64::from(awaited);
        lines.in_flight.push_back(Line { due_nanos, awaited });
        lines.retire_settled();
        number
    }

    /// `client` has heard line `number` of `talker`.
    pub(crate) fn hear(&mut self, client: usize, talker: usize, number: u32) -> Heard {
        let has_been_said = |lines: &Talker| number < lines.said();
        if !self.talkers.get(talker).is_some_and(has_been_said) {
            return Heard::Unknown;
        }
        if client == talker {
            self.tally.echoed += 1;
            return Heard::Own;
        }
        // Input from the network must not upset the books.
        if !self.reads[client] {
            return Heard::Unknown;
        }
        let slot = client * self.talkers.len() + talker;
        let expected = self.next[slot];
        if number < expected {
            return self.hear_old(client, talker, number);
        }
        for skipped in expected..number {
            self.settle(talker, skipped);
        }
        if number > expected {
            let missing = self.missing.entry((client, talker)).or_default();
            missing.extend(expected..number);
        }
        self.next[slot] = number + 1;
        self.tally.deliveries += 1;
        match self.settle(talker, number) {
            Some(due_nanos) => Heard::InOrder(due_nanos),
            None => {
                self.tally.undecided -= 1;
                Heard::Late
            }
        }
    }

    fn hear_old(&mut self, client: usize, talker: usize, number: u32) -> Heard {
        let key = (client, talker);
        let missing = self.missing.get_mut(&key);
        let at = missing.and_then(|numbers| {
            let at = numbers.iter().position(|&missed| missed == number)?;
            numbers.swap_remove(at);
            Some(numbers.is_empty())
        });
        let Some(was_the_last) = at else {
            self.tally.duplicated += 1;
            return Heard::Again;
        };
        if was_the_last {
            self.missing.remove(&key);
        }
        self.tally.deliveries += 1;
        self.tally.reordered += 1;
        Heard::Late
    }

    /// The connection of `client` has ended: it is owed nothing more, and deliveries of
    /// its own lines are no longer expected.
    pub(crate) fn leave(&mut self, client: usize) {
        if std::mem::take(&mut self.reads[client]) {
            self.readers -= 1;
            for talker in (0..self.talkers.len()).filter(|&talker| talker != client) {
                let expected = self.next[client * self.talkers.len() + talker];
                for number in expected..self.talkers[talker].said() {
                    // Where the talker is gone as well it counts as undecided.
                    let was_awaited = self.settle(talker, number).is_some();
                    self.tally.abandoned += u64::from(was_awaited);
                }
            }
        }
        if let Some(lines) = self.talkers.get_mut(client) {
            let given_up: u64 = lines.in_flight.iter().map(|l| u64::from(l.awaited)).sum();
            lines.settled = lines.said();
            lines.in_flight.clear();
            self.awaited -= given_up;
            self.tally.undecided += given_up;
        }
    }

    /// Takes one delivery of this line as done. Returns when the line was due, or `None`
    /// if no delivery was outstanding.
    fn settle(&mut self, talker: usize, number: u32) -> Option<u64> {
        let lines = &mut self.talkers[talker];
        let at = number.checked_sub(lines.settled)?;
        let line = &mut lines.in_flight[at as usize];
        line.awaited -= 1;
        self.awaited -= 1;
        let due_nanos = line.due_nanos;
        lines.retire_settled();
        Some(due_nanos)
    }

    /// How many lines of `talker` are outstanding at some reader.
    pub(crate) fn in_flight(&self, talker: usize) -> usize {
        self.talkers[talker].in_flight.len()
    }

    pub(crate) fn said(&self, talker: usize) -> u32 {
        self.talkers[talker].said()
    }

    /// Deliveries outstanding.
    pub(crate) fn awaited(&self) -> u64 {
        self.awaited
    }

    /// Whether a reader has skipped a line that may still come.
    pub(crate) fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Missing deliveries: skipped or outstanding.
    pub(crate) fn lost(&self) -> u64 {
        let missing: usize = self.missing.values().map(Vec::len).sum();
        missing as u64 + self.awaited
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }
}

impl Talker {
    fn said(&self) -> u32 {
        let in_flight = u32::try_from(self.in_flight.len()).expect("no more than were said");
        self.settled + in_flight
    }

    fn retire_settled(&mut self) {
        while self.in_flight.front().is_some_and(|line| line.awaited == 0) {
            self.in_flight.pop_front();
            self.settled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// A ledger in which all read.
    fn ledger(clients: usize, talkers: usize) -> Ledger {
        Ledger::new(vec![true; clients], talkers)
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
        assert_eq!((ledger.lost(), ledger.has_missing()), (1, true));
        assert_eq!(ledger.hear(1, 0, 1), Heard::Late);
        assert_eq!((ledger.lost(), ledger.has_missing()), (0, false));
        assert_eq!(ledger.tally().reordered, 2);
        assert_eq!(ledger.tally().deliveries, 3);
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
        assert_eq!(ledger.hear(2, 1, 0), Heard::Unknown);
        ledger.hear(1, 0, 0);
        ledger.hear(0, 1, 0);
        assert_eq!((ledger.awaited(), ledger.lost()), (0, 0));
        assert_eq!(ledger.tally().abandoned, 1);
        ledger.say(0, 0);
        assert_eq!(ledger.awaited(), 1);
    }

    #[test]
    fn for_lines_of_a_talker_that_is_gone_nobody_waits() {
        let mut ledger = ledger(3, 1);
        ledger.say(0, 0);
        ledger.say(0, 0);
        ledger.hear(1, 0, 0);
        ledger.leave(0);
        assert_eq!((ledger.awaited(), ledger.lost()), (0, 0));
        assert_eq!(ledger.tally().undecided, 3);
        // The server had them after all.
        assert_eq!(ledger.hear(1, 0, 1), Heard::Late);
        assert_eq!(ledger.hear(2, 0, 1), Heard::Late);
        assert_eq!(ledger.tally().undecided, 1);
        assert_eq!(ledger.tally().deliveries, 3);
        // This one was passed over.
        assert_eq!(ledger.lost(), 1);
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
    fn talkers_who_do_not_read_are_not_waited_for() {
        let mut ledger = Ledger::new(vec![false, false, true, true], 2);
        ledger.say(0, 0);
        assert_eq!(ledger.awaited(), 2);
        assert_eq!(ledger.hear(1, 0, 0), Heard::Unknown);
        assert_eq!(ledger.awaited(), 2);
    }

    proptest! {
        /// Whatever the network delivers, and whichever clients leave, the ledger balances.
        #[test]
        fn the_books_balance(
            acts in prop::collection::vec((0_u8..8, 0_usize..4, 0_usize..3, 0_u32..12), 0..120),
        ) {
            let mut ledger = ledger(4, 2);
            let mut heard = HashSet::new();
            let (mut once, mut again) = (0, 0);
            for (act, client, talker, number) in acts {
                match act {
                    0 | 1 if talker < 2 => {
                        ledger.say(talker, 0);
                    }
                    7 if number == 0 => ledger.leave(client),
                    _ => {
                        let known = heard.contains(&(client, talker, number));
                        match ledger.hear(client, talker, number) {
                            Heard::InOrder(_) | Heard::Late => {
                                prop_assert!(heard.insert((client, talker, number)));
                                once += 1;
                            }
                            Heard::Again => {
                                prop_assert!(known);
                                again += 1;
                            }
                            Heard::Own | Heard::Unknown => {}
                        }
                    }
                }
                let in_flight: u64 = ledger
                    .talkers
                    .iter()
                    .flat_map(|talker| &talker.in_flight)
                    .map(|line| u64::from(line.awaited))
                    .sum();
                prop_assert_eq!(ledger.awaited(), in_flight);
            }
            prop_assert_eq!(ledger.tally().deliveries, once);
            prop_assert_eq!(ledger.tally().duplicated, again);
        }
    }
}
