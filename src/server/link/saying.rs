//! What was said here and is to be in the stream: in batches, one at a time on its way.
//!
//! Everything said while a batch is on its way makes the next one. Two at once could change places
//! when the stream changes its leader.

use std::collections::VecDeque;
use std::time::Instant;

/// The largest batch.
const MAX_BATCH_BYTES: usize = 64 * 1024;

/// The lines said here, as far as they were not said in the room yet.
#[derive(Debug, Default)]
pub(super) struct Saying {
    /// Lines that are in no batch yet, one after the other, each with its LF.
    queue: VecDeque<u8>,
    /// The length of each.
    lengths: VecDeque<usize>,
    /// Batches that were sent and not heard yet. Invariant: all but the last are in the stream.
    sent: VecDeque<Sent>,
    on_its_way: Option<OnItsWay>,
    /// How many batches there were.
    batches: u64,
    /// How many lines these had.
    lines: u64,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    lines: usize,
    /// Where it is in the stream, if that is known.
    seq: Option<u64>,
}

/// The batch of which it is not known yet whether the stream has it.
#[derive(Debug)]
pub(super) struct OnItsWay {
    pub(super) number: u64,
    pub(super) payload: Vec<u8>,
    /// How many lines were in all batches before.
    pub(super) lines_before: u64,
    pub(super) begun_at: Instant,
    /// When to send it, the first time or again.
    pub(super) send_at: Instant,
}

impl Saying {
    /// Somebody says a line, without its LF.
    pub(super) fn push(&mut self, line: &[u8]) {
        self.queue.extend(line);
        self.queue.push_back(b'\n');
        self.lengths.push_back(line.len() + 1);
    }

    /// What is not known to be in the stream, in bytes.
    pub(super) fn pending_bytes(&self) -> usize {
        let on_its_way = self.on_its_way.as_ref();
        self.queue.len() + on_its_way.map_or(0, |batch| batch.payload.len())
    }

    /// How many lines wait to be said in the room.
    pub(super) fn lines(&self) -> usize {
        self.lengths.len() + self.sent.iter().map(|batch| batch.lines).sum::<usize>()
    }

    /// How many lines all batches had.
    pub(super) fn lines_sent(&self) -> u64 {
        self.lines
    }

    /// Whether a batch could begin.
    pub(super) fn is_ready(&self) -> bool {
        self.on_its_way.is_none() && !self.lengths.is_empty()
    }

    pub(super) fn is_any_on_its_way(&self) -> bool {
        self.on_its_way.is_some()
    }

    pub(super) fn on_its_way(&mut self) -> Option<&mut OnItsWay> {
        self.on_its_way.as_mut()
    }

    /// Since when it is not known whether the batch on its way is in the stream.
    pub(super) fn begun_at(&self) -> Option<Instant> {
        self.on_its_way.as_ref().map(|batch| batch.begun_at)
    }

    pub(super) fn send_at(&self) -> Option<Instant> {
        self.on_its_way.as_ref().map(|batch| batch.send_at)
    }

    /// A batch of what waits begins, unless one is on its way. It may have no lines: then it only
    /// shows where the stream is. A line of more than `max_bytes` is a batch by itself.
    pub(super) fn begin(&mut self, max_bytes: usize, now: Instant) {
        if self.on_its_way.is_some() {
            return;
        }
        let most = max_bytes.min(MAX_BATCH_BYTES);
        let (mut lines, mut bytes) = (0, 0);
        for length in &self.lengths {
            if lines > 0 && bytes + length > most {
                break;
            }
            lines += 1;
            bytes += length;
        }
        self.lengths.drain(..lines);
        self.batches += 1;
        self.sent.push_back(Sent {
            number: self.batches,
            lines,
            seq: None,
        });
        self.on_its_way = Some(OnItsWay {
            number: self.batches,
            payload: self.queue.drain(..bytes).collect(),
            lines_before: self.lines,
            begun_at: now,
            send_at: now,
        });
        self.lines += lines as u64;
    }

    /// The stream has the batch `number` at `seq`. Returns whether that was not known.
    pub(super) fn stored(&mut self, number: u64, seq: u64) -> bool {
        let is_new = self
            .on_its_way
            .take_if(|batch| batch.number == number)
            .is_some();
        if is_new && let Some(sent) = self.sent.back_mut() {
            sent.seq = Some(seq);
        }
        is_new
    }

    /// The batch `number` has been heard: returns how many lines are to be said in the room now.
    /// Those of batches before it, which will not be heard any more, are among them.
    pub(super) fn heard(&mut self, number: u64) -> usize {
        self.on_its_way.take_if(|batch| batch.number <= number);
        self.forget_while(|sent| sent.number <= number)
    }

    /// Nothing before `seq` in the stream is to be heard any more. Returns how many lines are to be
    /// said in the room now.
    pub(super) fn passed(&mut self, seq: u64) -> usize {
        self.forget_while(|sent| sent.seq.is_some_and(|its| its < seq))
    }

    /// The stream is another one, in which nothing is that was not heard: but for the batch that has
    /// just been stored as `number`. Returns how many lines are to be said in the room now.
    pub(super) fn lost_before(&mut self, number: u64) -> usize {
        self.forget_while(|sent| sent.number < number)
    }

    /// Returns how many lines those had.
    fn forget_while(&mut self, is_past: impl Fn(&Sent) -> bool) -> usize {
        let count = self.sent.iter().take_while(|sent| is_past(sent)).count();
        self.sent.drain(..count).map(|sent| sent.lines).sum()
    }

    /// All lines are said in the room now, whether the stream has them or will. Returns how many
    /// these are; the batch on its way is forgotten.
    pub(super) fn give_up(&mut self) -> usize {
        let lines = self.lines();
        self.queue = VecDeque::new();
        self.lengths = VecDeque::new();
        self.sent.clear();
        self.on_its_way = None;
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_meanwhile_makes_the_next_batch() {
        let now = Instant::now();
        let mut saying = Saying::default();
        saying.push(b"one");
        saying.begin(100, now);
        saying.push(b"two");
        saying.push(b"three");
        assert!(!saying.is_ready());
        saying.begin(100, now);
        assert_eq!(saying.on_its_way().unwrap().payload, b"one\n");
        assert!(saying.stored(1, 10) && !saying.stored(1, 10));
        saying.begin(100, now);
        let second = saying.on_its_way().unwrap();
        assert_eq!(
            (&second.payload[..], second.lines_before),
            (&b"two\nthree\n"[..], 1)
        );
        assert_eq!(saying.lines(), 3);
        assert_eq!(saying.heard(1), 1);
        assert_eq!(saying.heard(1), 0);
        // To hear it is to know that it is stored.
        assert_eq!(saying.heard(2), 2);
        assert!(!saying.is_any_on_its_way() && saying.pending_bytes() == 0);
    }

    #[test]
    fn a_batch_is_bounded_but_has_a_line() {
        let now = Instant::now();
        let mut saying = Saying::default();
        for _ in 0..3 {
            saying.push(b"12345");
        }
        saying.begin(13, now);
        assert_eq!(saying.on_its_way().unwrap().payload.len(), 12);
        saying.stored(1, 1);
        saying.begin(1, now);
        assert_eq!(saying.on_its_way().unwrap().payload.len(), 6);
    }

    #[test]
    fn lines_that_will_not_be_heard_are_said_all_the_same() {
        let now = Instant::now();
        let mut saying = Saying::default();
        for number in 1..=3 {
            saying.push(b"x");
            saying.begin(100, now);
            saying.stored(number, 10 * number);
        }
        assert_eq!(saying.passed(10), 0);
        assert_eq!(saying.passed(11), 1);
        assert_eq!(saying.lost_before(3), 1);
        saying.push(b"y");
        assert_eq!(saying.give_up(), 2);
        assert_eq!((saying.lines(), saying.heard(3)), (0, 0));
        saying.begin(100, now);
        assert_eq!(
            saying.on_its_way().unwrap().number,
            4,
            "ids are not used again"
        );
    }
}
