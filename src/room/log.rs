//! The room's log: the last things that were said to everybody, in order, each with its number
//! and its time.
//!
//! It is a ring, bounded in bytes, and takes memory as it fills. An entry keeps the parts of
//! its event, not a text of it: whoever asks for the past gets it in the encoding that it
//! reads.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use crate::protocol::event::{Event, Place, Speech};
use crate::protocol::time::Time;

/// What the log takes, its bookkeeping included: some thousands of lines.
pub(crate) const LOG_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Log {
    /// The number of the next event. The first one has 1.
    next_seq: u64,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// The names and texts of all entries, one after the other. Invariant: as long as all
    /// entries together say.
    bytes: VecDeque<u8>,
    /// When the last event was said.
    said_at: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    seq: u64,
    time: Time,
    kind: Kind,
    from: Option<u64>,
    n: Option<u64>,
    name_bytes: usize,
    text_bytes: usize,
}

/// The kinds of events that the log keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Message,
    Action,
    Operator,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            next_seq: 1,
            entries: VecDeque::new(),
            bytes: VecDeque::new(),
            said_at: None,
        }
    }

    /// Appends `event`, said at `time`, which is `said_at`, and drops the oldest above the
    /// bound. One that is no speech to everybody takes a number and is not kept.
    pub(crate) fn push(&mut self, event: &Event<'_>, time: Time, said_at: Instant) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let (kind, speech, text) = match event {
            Event::Message(speech) => (Kind::Message, Some(speech), &speech.text),
            Event::Action(speech) => (Kind::Action, Some(speech), &speech.text),
            Event::Operator { text } => (Kind::Operator, None, text),
            _ => return,
        };
        let name = speech.map_or("", |speech| &speech.name);
        let new_bytes = size_of::<Entry>() + name.len() + text.len();
        while self.size_bytes() + new_bytes > LOG_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                // It is too long by itself. The log stays empty: no gap.
                return;
            };
            self.bytes.drain(..oldest.size_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(text.as_bytes());
        self.entries.push_back(Entry {
            seq,
            time,
            kind,
            from: speech.and_then(|speech| speech.from),
            n: speech.and_then(|speech| speech.n),
            name_bytes: name.len(),
            text_bytes: text.len(),
        });
        self.said_at = Some(said_at);
    }

    /// The number of the last event; 0 if there was none.
    pub(crate) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// When the last event was said. `None` if there was none.
    pub(crate) fn said_at(&self) -> Option<Instant> {
        self.said_at
    }

    /// All events, the latest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = (Place, Event<'_>)> {
        let mut end = self.bytes.len();
        self.entries.iter().rev().map(move |entry| {
            let start = end - entry.size_bytes();
            let event = self.event(entry, start);
            end = start;
            event
        })
    }

    fn size_bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>() + self.bytes.len()
    }

    /// What `entry`, whose bytes begin at `start`, stands for.
    fn event(&self, entry: &Entry, start: usize) -> (Place, Event<'_>) {
        let place = Place {
            seq: entry.seq,
            time: entry.time,
            is_past: true,
        };
        let name_end = start + entry.name_bytes;
        let text = self.text(name_end..name_end + entry.text_bytes);
        let speech = |text| Speech {
            from: entry.from,
            n: entry.n,
            name: self.text(start..name_end),
            text,
        };
        let event = match entry.kind {
            Kind::Message => Event::Message(speech(text)),
            Kind::Action => Event::Action(speech(text)),
            Kind::Operator => Event::Operator { text },
        };
        (place, event)
    }

    /// Borrowed, unless this is where the ring begins again.
    fn text(&self, range: Range<usize>) -> Cow<'_, str> {
        let (first, second) = self.bytes.as_slices();
        match range.start.checked_sub(first.len()) {
            Some(start) => text(&second[start..range.end - first.len()]).into(),
            None if range.end <= first.len() => text(&first[range]).into(),
            None => {
                let parts = [&first[range.start..], &second[..range.end - first.len()]];
                text(&parts.concat()).to_owned().into()
            }
        }
    }
}

impl Entry {
    fn size_bytes(&self) -> usize {
        self.name_bytes + self.text_bytes
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it was pushed as text")
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn message<'a>(name: &'a str, text: &'a str) -> Event<'a> {
        Event::Message(Speech {
            from: Some(57),
            n: None,
            name: name.into(),
            text: text.into(),
        })
    }

    fn of_kind<'a>(kind: u8, name: &'a str, text: &'a str) -> Event<'a> {
        let said = message(name, text);
        match (kind, said) {
            (1, Event::Message(speech)) => Event::Action(speech),
            (2, Event::Message(speech)) => Event::Operator { text: speech.text },
            (_, said) => said,
        }
    }

    #[test]
    fn it_takes_memory_as_it_fills_and_no_more_than_the_bound() {
        let mut log = Log::new();
        assert_eq!((log.entries.capacity(), log.bytes.capacity()), (0, 0));
        let text = "x".repeat(100);
        for _ in 0..10_000 {
            log.push(&message("alice", &text), Time::default(), Instant::now());
            assert!(log.size_bytes() <= LOG_BYTES);
        }
        assert!(log.size_bytes() > LOG_BYTES - 200);
        let taken = log.entries.capacity() * size_of::<Entry>() + log.bytes.capacity();
        assert!(taken <= 2 * LOG_BYTES, "{taken}");
    }

    #[test]
    fn an_oversized_event_leaves_no_gap() {
        let mut log = Log::new();
        let (time, now) = (Time::default(), Instant::now());
        log.push(&message("a", "before"), time, now);
        log.push(&message("a", &"x".repeat(LOG_BYTES)), time, now);
        assert_eq!(log.latest().count(), 0);
        log.push(&message("a", "after"), time, now);
        let seqs: Vec<u64> = log.latest().map(|(place, _)| place.seq).collect();
        assert_eq!(seqs, [3]);
    }

    proptest! {
        #[test]
        fn it_keeps_the_longest_tail_that_fits(
            said in vec((0_u8..3, "[a-zé]{1,24}", 0_usize..60_000, any::<char>()), 0..40),
        ) {
            let mut log = Log::new();
            let now = Instant::now();
            let mut all = Vec::new();
            for (nth, (kind, name, length, filler)) in said.iter().enumerate() {
                let text = filler.to_string().repeat(length / filler.len_utf8());
                let time = Time::from_millis(1000 * nth as u64);
                log.push(&of_kind(*kind, name, &text), time, now);
                all.push((time, *kind, name, text));
            }
            prop_assert_eq!(log.last_seq(), all.len() as u64);
            let mut room_bytes = LOG_BYTES;
            let mut kept = log.latest();
            for (nth, (time, kind, name, text)) in all.iter().enumerate().rev() {
                let event = of_kind(*kind, name, text);
                let name_bytes = if *kind == 2 { 0 } else { name.len() };
                let bytes = size_of::<Entry>() + name_bytes + text.len();
                let Some(left) = room_bytes.checked_sub(bytes) else {
                    break;
                };
                room_bytes = left;
                let place = Place { seq: nth as u64 + 1, time: *time, is_past: true };
                prop_assert_eq!(kept.next(), Some((place, event)));
            }
            prop_assert_eq!(kept.next(), None);
        }
    }
}
