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

use super::log::{Log, MAX_PAST_BYTES};
use crate::protocol::batch::Frame;
use crate::protocol::event::{Event, Place};

/// Events that one frame holds, holes for private messages included.
const BLOCK_EVENTS: u64 = 16;

/// Above this, all frames are forgotten, and readers that resume later share others.
const MAX_KNOWN_BYTES: usize = 4 * MAX_PAST_BYTES;

/// What a frame takes besides its bytes, roughly: its counts, and its entry here.
const FRAME_BYTES: usize = 64;

type Told<'a> = (Place, Event<'a>);

#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// By the number of the block, each with how many events it holds: the log drops some.
    blocks: BTreeMap<u64, (usize, Weak<[u8]>)>,
    /// By the number of the event.
    events: BTreeMap<u64, Weak<[u8]>>,
    /// Invariant: at least what all of these take.
    known_bytes: usize,
}

impl Replay {
    /// What followed event `seq` and concerns `member`, oldest first, as `write` appends each
    /// event, and how many events are lost: the log has dropped them, or there are too many.
    pub(crate) fn since(
        &mut self,
        log: &Log,
        seq: u64,
        member: u64,
        write: impl Fn(Place, &Event<'_>, &mut Vec<u8>),
    ) -> (u64, Vec<Frame>) {
        let (mut lost, events) = log.since(seq, member);
        let events: Vec<_> = events.collect();
        // The latest first: what does not fit is the oldest.
        let mut frames = Vec::new();
        let mut left_bytes = MAX_PAST_BYTES;
        let mut left_events = events.len();
        let is_one_block = |(one, _): &Told<'_>, (other, _): &Told<'_>| block(one) == block(other);
        for part in events.chunk_by(is_one_block).rev() {
            let number = block(&part[0].0);
            let is_begun_before = seq >= number * BLOCK_EVENTS;
            let is_unfinished = log.last_seq() < (number + 1) * BLOCK_EVENTS - 1;
            let is_private = |(_, event): &Told<'_>| matches!(event, Event::Private { .. });
            if !is_begun_before && !is_unfinished && !part.iter().any(is_private) {
                let frame = self.block(number, part, &write);
                if let Some(left) = left_bytes.checked_sub(frame.len()) {
                    left_bytes = left;
                    left_events -= part.len();
                    frames.push(frame);
                    continue;
                }
            }
            for event in part.iter().rev() {
                let frame = self.event(event, &write);
                match left_bytes.checked_sub(frame.len()) {
                    Some(left) => left_bytes = left,
                    None if frames.is_empty() => left_bytes = 0,
                    None => {
                        lost += left_events as u64;
                        frames.reverse();
                        return (lost, frames);
                    }
                }
                left_events -= 1;
                frames.push(frame);
            }
        }
        frames.reverse();
        (lost, frames)
    }

    fn event(
        &mut self,
        event: &Told<'_>,
        write: &impl Fn(Place, &Event<'_>, &mut Vec<u8>),
    ) -> Frame {
        let seq = event.0.seq;
        let known = self.events.get(&seq).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let frame = self.written(std::slice::from_ref(event), write);
            self.events.insert(seq, Frame::downgrade(&frame));
            frame
        })
    }

    /// All `events` of one block that are in the log.
    fn block(
        &mut self,
        number: u64,
        events: &[Told<'_>],
        write: &impl Fn(Place, &Event<'_>, &mut Vec<u8>),
    ) -> Frame {
        let known = self.blocks.get(&number);
        // What the log has dropped since is counted as lost.
        let known = known.filter(|(count, _)| *count == events.len());
        let known = known.and_then(|(_, frame)| frame.upgrade());
        known.unwrap_or_else(|| {
            let frame = self.written(events, write);
            let known = (events.len(), Frame::downgrade(&frame));
            self.blocks.insert(number, known);
            frame
        })
    }

    /// A frame that is about to be known.
    fn written(
        &mut self,
        events: &[Told<'_>],
        write: &impl Fn(Place, &Event<'_>, &mut Vec<u8>),
    ) -> Frame {
        if self.known_bytes > MAX_KNOWN_BYTES {
            *self = Self::default();
        }
        let mut lines = Vec::new();
        for (place, event) in events {
            write(*place, event, &mut lines);
        }
        self.known_bytes += lines.len() + FRAME_BYTES;
        Frame::from(lines)
    }
}

/// The number of the block that an event is in.
fn block(place: &Place) -> u64 {
    place.seq / BLOCK_EVENTS
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
    fn what_is_told_at_once_is_bounded() {
        for bytes in [100, 1000, 10_000, 2 * MAX_PAST_BYTES] {
            let write = |place: Place, _: &Event<'_>, out: &mut Vec<u8>| {
                let seq = format!("{}\n", place.seq);
                out.resize(out.len() + bytes - seq.len(), b'0');
                out.extend_from_slice(seq.as_bytes());
            };
            let mut log = Log::new();
            (0..1000).for_each(|_| say(&mut log, "x"));
            let mut replay = Replay::default();
            for reader in 0..2 {
                let (lost, frames) = replay.since(&log, 3, reader, write);
                let heard = String::from_utf8(frames.concat()).unwrap();
                let heard: Vec<u64> = heard.lines().map(|line| line.parse().unwrap()).collect();
                let expected = (MAX_PAST_BYTES / bytes).clamp(1, 1000 - 3);
                assert_eq!(heard.len(), expected, "as many as fit");
                assert_eq!(heard, (4 + lost..=1000).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn what_nobody_is_owed_any_more_is_bounded() {
        let mut log = Log::new();
        let mut replay = Replay::default();
        let write = |_: Place, _: &Event<'_>, out: &mut Vec<u8>| out.extend([b'x'; 1000]);
        let mut most = 0;
        for _ in 0..100 {
            (0..100).for_each(|_| say(&mut log, "x"));
            replay.since(&log, log.last_seq() - 100, 1, write);
            let events = replay.blocks.len() as u64 * BLOCK_EVENTS + replay.events.len() as u64;
            most = most.max(events as usize * 1000);
        }
        assert!(most > MAX_KNOWN_BYTES / 2, "{most}");
        let one_frame = BLOCK_EVENTS as usize * 1000;
        assert!(most <= MAX_KNOWN_BYTES + one_frame, "{most}");
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
