//! What a member missed while it was lost, as frames.
//!
//! When a switch restarts, thousands resume at once, and have missed the same. So a frame is
//! shared by all who are owed it: a reader that resumes costs a list of references. Most frames
//! hold a block of events. A block counts from a fixed number, wherever a reader's own place is;
//! what a reader gets of a block in part, or with a private message in it, it gets event by event.
//!
//! The memory of a frame stays until the frame is forgotten here, too, even if nobody is owed it
//! any more. So what is known is bounded in bytes.

use std::collections::BTreeMap;
use std::rc::Weak;

use super::log::Log;
use crate::protocol::batch::Frame;
use crate::protocol::event::{Event, Place};

/// Events that one frame holds, holes for private messages included.
const BLOCK_EVENTS: u64 = 16;

/// Above this, all frames are forgotten, and readers that resume later share others: enough for
/// the whole log.
const MAX_KNOWN_BYTES: usize = 1024 * 1024;

/// What a frame takes besides its bytes, roughly: its counts, and its entry here.
const FRAME_BYTES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// By the number of the block, each with how many events it holds: the log drops some.
    blocks: BTreeMap<u64, (usize, Weak<[u8]>)>,
    /// By the number of the event.
    events: BTreeMap<u64, Weak<[u8]>>,
    /// Invariant: at least what all of these take.
    known_bytes: usize,
}

/// The events of one block that a reader gets.
struct Part<'a> {
    block: u64,
    events: Vec<(Place, Event<'a>)>,
    has_private: bool,
}

impl Replay {
    /// How many of the events after `seq` are lost, and those that are not and concern
    /// `member`, as `write` appends each of them.
    pub(crate) fn since(
        &mut self,
        log: &Log,
        seq: u64,
        member: u64,
        write: impl Fn(Place, &Event<'_>, &mut Vec<u8>),
    ) -> (u64, Vec<Frame>) {
        if self.known_bytes > MAX_KNOWN_BYTES {
            *self = Self::default();
        }
        let (lost, events) = log.since(seq, member);
        let mut frames = Vec::new();
        let mut events = events.peekable();
        while let Some((first, _)) = events.peek() {
            let block = first.seq / BLOCK_EVENTS;
            let mut part = Part {
                block,
                events: Vec::new(),
                has_private: false,
            };
            while let Some((place, event)) =
                events.next_if(|(place, _)| place.seq / BLOCK_EVENTS == block)
            {
                part.has_private |= matches!(event, Event::Private { .. });
                part.events.push((place, event));
            }
            let is_begun_before = seq >= block * BLOCK_EVENTS;
            let is_unfinished = log.last_seq() < (block + 1) * BLOCK_EVENTS - 1;
            if is_begun_before || is_unfinished || part.has_private {
                self.push_events(&part, &write, &mut frames);
            } else {
                frames.push(self.block(&part, &write));
            }
        }
        (lost, frames)
    }

    fn push_events(
        &mut self,
        part: &Part<'_>,
        write: &impl Fn(Place, &Event<'_>, &mut Vec<u8>),
        frames: &mut Vec<Frame>,
    ) {
        for event in &part.events {
            let seq = event.0.seq;
            let known = self.events.get(&seq).and_then(Weak::upgrade);
            frames.push(known.unwrap_or_else(|| {
                let frame = written(std::slice::from_ref(event), write);
                self.known_bytes += frame.len() + FRAME_BYTES;
                self.events.insert(seq, Frame::downgrade(&frame));
                frame
            }));
        }
    }

    fn block(
        &mut self,
        part: &Part<'_>,
        write: &impl Fn(Place, &Event<'_>, &mut Vec<u8>),
    ) -> Frame {
        let known = self.blocks.get(&part.block);
        // What the log has dropped since is counted as lost.
        let known = known.filter(|(count, _)| *count == part.events.len());
        let known = known.and_then(|(_, frame)| frame.upgrade());
        known.unwrap_or_else(|| {
            let frame = written(&part.events, write);
            self.known_bytes += frame.len() + FRAME_BYTES;
            let known = (part.events.len(), Frame::downgrade(&frame));
            self.blocks.insert(part.block, known);
            frame
        })
    }
}

fn written(
    events: &[(Place, Event<'_>)],
    write: &impl Fn(Place, &Event<'_>, &mut Vec<u8>),
) -> Frame {
    let mut lines = Vec::new();
    for (place, event) in events {
        write(*place, event, &mut lines);
    }
    Frame::from(lines)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::event::Speech;
    use crate::protocol::time::Time;

    fn say(log: &mut Log, text: &str) {
        let speech = Speech {
            from: Some(1),
            n: None,
            name: "a".into(),
            text: text.into(),
        };
        log.say(&Event::Message(speech), Time::default(), Instant::now());
    }

    fn whisper(log: &mut Log, from: u64, to: u64) {
        let speech = Speech {
            from: Some(from),
            n: None,
            name: "a".into(),
            text: "psst".into(),
        };
        log.whisper(&speech, "b", to, Time::default());
    }

    fn write(place: Place, _: &Event<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}\n", place.seq).as_bytes());
    }

    #[test]
    fn those_who_missed_the_same_share_it() {
        let mut log = Log::new();
        (0..100).for_each(|_| say(&mut log, "x"));
        let mut replay = Replay::default();
        let (lost, one) = replay.since(&log, 20, 1, write);
        let (_, other) = replay.since(&log, 20, 2, write);
        let (_, later) = replay.since(&log, 25, 2, write);
        assert_eq!((lost, one.len()), (0, 11 + 4 + 5));
        let is_shared = |(one, other): (&Frame, &Frame)| Frame::ptr_eq(one, other);
        assert!(one.iter().zip(&other).all(is_shared));
        assert!(one[5..].iter().zip(&later).all(is_shared));
    }

    #[test]
    fn what_the_log_has_dropped_is_not_told_again() {
        let mut log = Log::new();
        let mut replay = Replay::default();
        let text = "x".repeat(1000);
        let mut kept = Vec::new();
        for _ in 0..250 {
            say(&mut log, &text);
            let (lost, frames) = replay.since(&log, 0, 1, write);
            let heard = String::from_utf8(frames.concat()).unwrap();
            let first = heard.lines().next();
            assert_eq!(first, Some(&*(lost + 1).to_string()));
            assert_eq!(lost + heard.lines().count() as u64, log.last_seq());
            kept.push(frames);
        }
    }

    #[test]
    fn what_nobody_is_owed_any_more_is_bounded() {
        let mut log = Log::new();
        let mut replay = Replay::default();
        let write = |_: Place, _: &Event<'_>, out: &mut Vec<u8>| out.extend([b'x'; 1000]);
        let mut most = (0, 0);
        for _ in 0..100 {
            (0..100).for_each(|_| say(&mut log, "x"));
            let (_, frames) = replay.since(&log, log.last_seq() - 100, 1, write);
            let owed: usize = frames.iter().map(|frame| frame.len()).sum();
            let events = replay.blocks.len() as u64 * BLOCK_EVENTS + replay.events.len() as u64;
            most = most.max((events as usize * 1000, owed));
        }
        let (known, owed) = most;
        assert!(known > MAX_KNOWN_BYTES / 2, "{known}");
        assert!(known <= MAX_KNOWN_BYTES + owed, "{known}");
    }

    proptest! {
        #[test]
        fn whoever_resumes_gets_all_that_concerns_it_once_and_in_order(
            said in vec(prop::option::weighted(0.2, (1_u64..4, 1_u64..4)), 0..200),
            readers in vec((0_u64..220, 1_u64..4), 1..10),
        ) {
            let mut log = Log::new();
            for private in &said {
                match private {
                    None => say(&mut log, "x"),
                    Some((from, to)) => whisper(&mut log, *from, *to),
                }
            }
            let mut replay = Replay::default();
            let mut kept = Vec::new();
            for (seq, member) in readers {
                let (lost, frames) = replay.since(&log, seq, member, write);
                let heard = String::from_utf8(frames.concat()).unwrap();
                let heard: Vec<u64> = heard.lines().map(|line| line.parse().unwrap()).collect();
                let expected = said.iter().enumerate().filter_map(|(nth, private)| {
                    let concerns = private.is_none_or(|(from, to)| [from, to].contains(&member));
                    let its_seq = nth as u64 + 1;
                    (concerns && its_seq > seq).then_some(its_seq)
                });
                prop_assert_eq!(lost, 0);
                prop_assert_eq!(heard, expected.collect::<Vec<_>>());
                kept.push(frames);
            }
        }
    }
}
