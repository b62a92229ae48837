//! The room's log: the last things that the room told, in order, each with its number and its
//! time.
//!
//! There are two rings, each bounded in bytes, which take memory as they fill. One has what was
//! said to everybody: newcomers get its end, and whoever asks for the past. The other has
//! presence and private messages, which only those get who resume; so these push nothing out
//! that was said to everybody. An entry keeps the parts of its event, not a text of it: whoever
//! asks for the past gets it in the encoding that it reads.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::iter::Peekable;
use std::ops::Range;
use std::time::Instant;

use crate::protocol::event::{Changes, Event, Place, Several, Speech};
use crate::protocol::time::Time;

/// What the log takes, its bookkeeping included: some thousands of lines.
pub(crate) const LOG_BYTES: usize = 256 * 1024;

/// The part of it that is for presence and private messages.
const REST_BYTES: usize = LOG_BYTES / 4;

/// The most that is told of the past at once, the latest of it: whoever reads JSON and wants
/// more asks again, up to an earlier event.
pub(crate) const MAX_PAST_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Log {
    /// The number of the last event, kept or not. The first one has 1.
    last_seq: u64,
    /// What was said to everybody.
    speech: Ring,
    /// Presence and private messages.
    rest: Ring,
    /// When something was last said to everybody.
    said_at: Option<Instant>,
    /// The first serial number of those who joined after this much had been said to everybody,
    /// in order, as far back as anything is kept: a member itself need not know.
    joins: VecDeque<(u64, u64)>,
}

/// Entries in order, bounded in bytes.
#[derive(Debug)]
struct Ring {
    max_bytes: usize,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// The names and texts of all entries, one after the other. Invariant: as long as all
    /// entries together say.
    bytes: VecDeque<u8>,
    /// How many bytes went before these.
    dropped_bytes: u64,
    /// Invariant: what the kinds of all entries take on the heap.
    boxed_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    seq: u64,
    time: Time,
    kind: Kind,
    from: Option<u64>,
    n: Option<u64>,
    /// Where its bytes begin, those before it that were dropped included.
    at: u64,
    /// The lengths of the name, the reader's name and the text.
    lengths: [u32; 3],
}

#[derive(Debug)]
enum Kind {
    Message,
    Action,
    Operator,
    /// To this member.
    Private(u64),
    Presence(Box<Changes<'static>>),
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            last_seq: 0,
            speech: Ring::new(LOG_BYTES - REST_BYTES),
            rest: Ring::new(REST_BYTES),
            said_at: None,
            joins: VecDeque::new(),
        }
    }

    /// The member with this serial number, higher than all before, joins.
    pub(crate) fn note_join(&mut self, serial: u64) {
        let said = self.last_said();
        if self.joins.back().map_or(0, |&(_, seq)| seq) != said {
            let first_kept = self.speech.entries.front().map_or(0, |entry| entry.seq);
            while self.joins.front().is_some_and(|&(_, seq)| seq < first_kept) {
                self.joins.pop_front();
            }
            self.joins.push_back((serial, said));
        }
    }

    /// The number of the last thing said to everybody before the member with this serial number
    /// joined; 0 if none of that is kept.
    pub(crate) fn said_before(&self, serial: u64) -> u64 {
        let later = self.joins.partition_point(|&(first, _)| first <= serial);
        match later.checked_sub(1) {
            Some(index) => self.joins[index].1,
            None => 0,
        }
    }

    /// Appends what somebody says to everybody at `time`, which is `said_at`, and drops the
    /// oldest above the bound.
    pub(crate) fn say(&mut self, event: &Event<'_>, time: Time, said_at: Instant) -> Place {
        let place = self.next_place(time);
        let (kind, speech, text) = match event {
            Event::Message(speech) => (Kind::Message, Some(speech), &speech.text),
            Event::Action(speech) => (Kind::Action, Some(speech), &speech.text),
            Event::Operator { text } => (Kind::Operator, None, text),
            _ => {
                debug_assert!(false, "{event:?} is not said to everybody");
                return place;
            }
        };
        let name = speech.map_or("", |speech| &speech.name);
        let whose = speech.map_or((None, None), |speech| (speech.from, speech.n));
        self.speech.push(place, kind, whose, [name, "", text]);
        self.said_at = Some(said_at);
        place
    }

    /// Appends what one member says to another, `reader`, alone.
    pub(crate) fn whisper(
        &mut self,
        speech: &Speech<'_>,
        to: &str,
        reader: u64,
        time: Time,
    ) -> Place {
        let place = self.next_place(time);
        let whose = (speech.from, speech.n);
        let parts = [&*speech.name, to, &*speech.text];
        self.rest.push(place, Kind::Private(reader), whose, parts);
        place
    }

    /// Appends who has come and gone.
    pub(crate) fn presence(&mut self, changes: Changes<'static>, time: Time) -> Place {
        let place = self.next_place(time);
        let kind = Kind::Presence(Box::new(changes));
        self.rest.push(place, kind, (None, None), ["", "", ""]);
        place
    }

    /// The number of the last thing said to everybody that is kept; 0 if there is none.
    pub(crate) fn last_said(&self) -> u64 {
        self.speech.entries.back().map_or(0, |entry| entry.seq)
    }

    /// When something was last said to everybody. `None` if nothing was.
    pub(crate) fn said_at(&self) -> Option<Instant> {
        self.said_at
    }

    /// What was said to everybody, the latest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = (Place, Event<'_>)> {
        self.speech.range(0..self.speech.entries.len()).rev()
    }

    fn next_place(&mut self, time: Time) -> Place {
        self.last_seq += 1;
        Place {
            seq: self.last_seq,
            time,
            is_past: false,
        }
    }
}

/// For those who resume, and who ask for the past.
impl Log {
    /// The number of the last event.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// How many of the events after `seq` are no longer here, and those that are and concern
    /// `member`, oldest first. (Nobody knows whose private messages those were that are gone.)
    pub(crate) fn since(
        &self,
        seq: u64,
        member: u64,
    ) -> (u64, impl Iterator<Item = (Place, Event<'_>)>) {
        let [speech, rest] = [&self.speech, &self.rest].map(|ring| {
            let first = ring.first_after(seq);
            (first..ring.entries.len(), ring)
        });
        let kept = speech.0.len() + rest.0.len();
        let lost = self.last_seq.saturating_sub(seq) - kept as u64;
        let concerns = move |&nth: &usize| {
            let entry = &self.rest.entries[nth];
            match entry.kind {
                Kind::Private(reader) => reader == member || entry.from == Some(member),
                _ => true,
            }
        };
        let merged = Merged {
            first: self.speech.range(speech.0).peekable(),
            second: rest
                .0
                .filter(concerns)
                .map(|nth| self.rest.event(nth))
                .peekable(),
        };
        (lost, merged)
    }

    /// The last `count` things said to everybody up to `seq`, oldest first, marked as past. Of
    /// those up to `joined`, when the member joined, only the last `before` are for it.
    pub(crate) fn last(
        &self,
        count: usize,
        seq: u64,
        joined: u64,
        before: usize,
    ) -> impl DoubleEndedIterator<Item = (Place, Event<'_>)> {
        let end = self.speech.first_after(seq);
        let first_allowed = self.speech.first_after(joined).saturating_sub(before);
        let first = end.saturating_sub(count).max(first_allowed).min(end);
        let past = |(place, mut event)| {
            let is_past = true;
            if let Event::Message(speech) | Event::Action(speech) = &mut event {
                // It has answered its speaker's line already.
                speech.n = None;
            }
            (Place { is_past, ..place }, event)
        };
        self.speech.range(first..end).map(past)
    }
}

impl Ring {
    fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            entries: VecDeque::new(),
            bytes: VecDeque::new(),
            dropped_bytes: 0,
            boxed_bytes: 0,
        }
    }

    /// Drops the oldest entries above the bound.
    fn push(
        &mut self,
        place: Place,
        kind: Kind,
        (from, n): (Option<u64>, Option<u64>),
        parts: [&str; 3],
    ) {
        let part_bytes: usize = parts.iter().map(|part| part.len()).sum();
        let new_bytes = size_of::<Entry>() + kind.heap_bytes() + part_bytes;
        while self.size_bytes() + new_bytes > self.max_bytes {
            let Some(oldest) = self.entries.pop_front() else {
                // It is too long by itself. The ring stays empty: no gap.
                return;
            };
            self.boxed_bytes -= oldest.kind.heap_bytes();
            self.bytes.drain(..oldest.part_bytes());
            self.dropped_bytes += oldest.part_bytes() as u64;
        }
        let at = self.dropped_bytes + self.bytes.len() as u64;
        for part in parts {
            self.bytes.extend(part.as_bytes());
        }
        self.boxed_bytes += kind.heap_bytes();
        self.entries.push_back(Entry {
            seq: place.seq,
            time: place.time,
            kind,
            from,
            n,
            at,
            // The bound is less than 4 GiB.
            lengths: parts.map(|part| part.len() as u32),
        });
    }

    fn size_bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>() + self.bytes.len() + self.boxed_bytes
    }

    /// Which entry is the first after number `seq`.
    fn first_after(&self, seq: u64) -> usize {
        self.entries.partition_point(|entry| entry.seq <= seq)
    }

    fn range(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = (Place, Event<'_>)> {
        range.map(|nth| self.event(nth))
    }

    fn event(&self, nth: usize) -> (Place, Event<'_>) {
        let entry = &self.entries[nth];
        let place = Place {
            seq: entry.seq,
            time: entry.time,
            is_past: false,
        };
        let mut end = (entry.at - self.dropped_bytes) as usize;
        let [name, to, text] = entry.lengths.map(|length| {
            let start = end;
            end += length as usize;
            self.text(start..end)
        });
        let speech = |text| Speech {
            from: entry.from,
            n: entry.n,
            name,
            text,
        };
        let event = match &entry.kind {
            Kind::Message => Event::Message(speech(text)),
            Kind::Action => Event::Action(speech(text)),
            Kind::Operator => Event::Operator { text },
            Kind::Private(_) => Event::Private {
                speech: speech(text),
                to,
            },
            Kind::Presence(changes) => Event::Presence(Changes::clone(changes)),
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
    fn part_bytes(&self) -> usize {
        self.lengths.iter().map(|&length| length as usize).sum()
    }
}

impl Kind {
    /// What it takes besides the entry.
    fn heap_bytes(&self) -> usize {
        let Self::Presence(changes) = self else {
            return 0;
        };
        let Changes {
            joined,
            left,
            kicked,
            renamed,
            ..
        } = &**changes;
        let people = [joined, left, kicked].map(|people| match people {
            Several::Named(people) => {
                let names = people.iter().map(|person| person.name.len());
                size_of_val(&people[..]) + names.sum::<usize>()
            }
            Several::Counted(_) => 0,
        });
        let renamed = match renamed {
            Several::Named(renamed) => {
                let names = renamed.iter().map(|one| one.from.len() + one.to.len());
                size_of_val(&renamed[..]) + names.sum::<usize>()
            }
            Several::Counted(_) => 0,
        };
        size_of::<Changes<'_>>() + people.iter().sum::<usize>() + renamed
    }
}

/// Two iterators whose events have increasing numbers, as one.
struct Merged<A: Iterator, B: Iterator> {
    first: Peekable<A>,
    second: Peekable<B>,
}

impl<'a, A, B> Iterator for Merged<A, B>
where
    A: Iterator<Item = (Place, Event<'a>)>,
    B: Iterator<Item = (Place, Event<'a>)>,
{
    type Item = (Place, Event<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match (self.first.peek(), self.second.peek()) {
            (Some((one, _)), Some((other, _))) if one.seq > other.seq => self.second.next(),
            (Some(_), _) => self.first.next(),
            (None, _) => self.second.next(),
        }
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
    use crate::protocol::event::{Person, Rename};

    fn speech<'a>(name: &'a str, text: &'a str) -> Speech<'a> {
        Speech {
            from: Some(57),
            n: None,
            name: name.into(),
            text: text.into(),
        }
    }

    fn message<'a>(name: &'a str, text: &'a str) -> Event<'a> {
        Event::Message(speech(name, text))
    }

    fn of_kind<'a>(kind: u8, name: &'a str, text: &'a str) -> Event<'a> {
        match kind {
            0 => message(name, text),
            1 => Event::Action(speech(name, text)),
            _ => Event::Operator { text: text.into() },
        }
    }

    fn changes(name: &str) -> Changes<'static> {
        let name = || Cow::Owned(name.to_owned());
        let person = || Person {
            id: 1,
            name: name(),
        };
        let rename = Rename {
            id: 1,
            from: name(),
            to: name(),
        };
        Changes {
            joined: Several::Named(vec![person()]),
            left: Several::Counted(7),
            kicked: Several::Named(vec![person()]),
            renamed: Several::Named(vec![rename]),
            here: 1,
        }
    }

    fn seqs<'a>(events: impl Iterator<Item = (Place, Event<'a>)>) -> Vec<u64> {
        events.map(|(place, _)| place.seq).collect()
    }

    #[test]
    fn it_takes_memory_as_it_fills_and_no_more_than_the_bound() {
        let mut log = Log::new();
        assert_eq!(
            log.speech.entries.capacity() + log.speech.bytes.capacity(),
            0
        );
        let text = "x".repeat(100);
        for _ in 0..10_000 {
            log.say(&message("alice", &text), Time::default(), Instant::now());
            log.whisper(&speech("alice", &text), "bob", 2, Time::default());
            log.presence(changes("alice"), Time::default());
            let sizes = [&log.speech, &log.rest].map(Ring::size_bytes);
            assert!(sizes.iter().sum::<usize>() <= LOG_BYTES);
        }
        for ring in [&log.speech, &log.rest] {
            assert!(ring.size_bytes() > ring.max_bytes - 1000);
            let boxed: usize = ring
                .entries
                .iter()
                .map(|entry| entry.kind.heap_bytes())
                .sum();
            assert_eq!(boxed, ring.boxed_bytes);
            let taken = ring.entries.capacity() * size_of::<Entry>() + ring.bytes.capacity();
            assert!(taken <= 2 * ring.max_bytes, "{taken}");
        }
    }

    #[test]
    fn an_oversized_event_leaves_no_gap() {
        let mut log = Log::new();
        let (time, now) = (Time::default(), Instant::now());
        log.say(&message("a", "before"), time, now);
        log.say(&message("a", &"x".repeat(LOG_BYTES)), time, now);
        assert_eq!(log.latest().count(), 0);
        log.say(&message("a", "after"), time, now);
        assert_eq!(seqs(log.latest()), [3]);
    }

    #[test]
    fn whatever_is_whispered_what_was_said_to_everybody_stays() {
        let mut log = Log::new();
        let (time, now) = (Time::default(), Instant::now());
        log.say(&message("a", "hi"), time, now);
        for _ in 0..10_000 {
            log.whisper(&speech("a", "psst"), "b", 2, time);
            log.presence(changes("a"), time);
        }
        assert_eq!(seqs(log.latest()), [1]);
        assert_eq!((log.last_said(), log.last_seq()), (1, 20_001));
    }

    #[test]
    fn who_resumes_gets_what_followed_and_concerns_it() {
        let mut log = Log::new();
        let (time, now) = (Time::from_millis(5), Instant::now());
        log.say(&message("a", "one"), time, now);
        log.whisper(&speech("a", "psst"), "b", 2, time);
        log.presence(changes("c"), time);
        log.say(&message("a", "two"), time, now);
        let private = Event::Private {
            speech: speech("a", "psst"),
            to: "b".into(),
        };
        for (after, member, expected) in [
            (0, 2, &[1, 2, 3, 4][..]),
            (0, 57, &[1, 2, 3, 4]),
            (0, 9, &[1, 3, 4]),
            (2, 2, &[3, 4]),
            (4, 2, &[]),
            (u64::MAX, 2, &[]),
        ] {
            let (lost, events) = log.since(after, member);
            assert_eq!((lost, &seqs(events)[..]), (0, expected));
        }
        let events: Vec<_> = log.since(0, 2).1.map(|(_, event)| event).collect();
        let presence = Event::Presence(changes("c"));
        assert_eq!(
            events,
            [message("a", "one"), private, presence, message("a", "two")]
        );
    }

    #[test]
    fn what_is_no_longer_there_is_counted() {
        let mut log = Log::new();
        let text = "x".repeat(1000);
        for _ in 0..1000 {
            log.say(&message("a", &text), Time::default(), Instant::now());
        }
        let kept = log.latest().count() as u64;
        assert!(kept < 1000);
        for after in [0, 1, 500, 999 - kept, 1000 - kept, 1001 - kept, 1000] {
            let (lost, events) = log.since(after, 1);
            assert_eq!(lost, (1000 - kept).saturating_sub(after), "after {after}");
            assert_eq!(lost + events.count() as u64, 1000 - after);
        }
    }

    #[test]
    fn of_the_past_before_it_joined_a_member_gets_the_history_alone() {
        let mut log = Log::new();
        for _ in 0..10 {
            log.say(&message("a", "x"), Time::default(), Instant::now());
        }
        for (count, up_to, joined, before, expected) in [
            (3, 10, 0, 0, &[8, 9, 10][..]),
            (3, 5, 0, 0, &[3, 4, 5]),
            (99, 10, 8, 0, &[9, 10]),
            (99, 10, 8, 2, &[7, 8, 9, 10]),
            (99, 7, 8, 2, &[7]),
            (99, 6, 8, 2, &[]),
            (1, u64::MAX, 8, 2, &[10]),
            (0, 10, 0, 0, &[]),
        ] {
            let last: Vec<_> = log.last(count, up_to, joined, before).collect();
            assert!(last.iter().all(|(place, _)| place.is_past));
            assert_eq!(seqs(last.into_iter()), expected);
        }
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
                log.say(&of_kind(*kind, name, &text), time, now);
                all.push((time, *kind, name, text));
            }
            prop_assert_eq!(log.last_seq(), all.len() as u64);
            let mut room_bytes = LOG_BYTES - REST_BYTES;
            let mut kept = log.latest();
            for (nth, (time, kind, name, text)) in all.iter().enumerate().rev() {
                let event = of_kind(*kind, name, text);
                let name_bytes = if *kind == 2 { 0 } else { name.len() };
                let bytes = size_of::<Entry>() + name_bytes + text.len();
                let Some(left) = room_bytes.checked_sub(bytes) else {
                    break;
                };
                room_bytes = left;
                let place = Place { seq: nth as u64 + 1, time: *time, is_past: false };
                prop_assert_eq!(kept.next(), Some((place, event)));
            }
            prop_assert_eq!(kept.next(), None);
        }
    }
}
