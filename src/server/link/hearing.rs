//! What the stream has, in its order: what came too early waits, and gaps are filled by asking.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::protocol::label::ServerLabel;

/// What may wait to be said in the room. Above this, the rest is fetched later, as it is needed.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// What a message takes besides its payload.
const MESSAGE_COST_BYTES: usize = 160;

/// How many messages are asked for at once.
const WINDOW: usize = 8;

/// A gap may close by itself: messages of a cluster can overtake each other.
const GAP_DELAY: Duration = Duration::from_millis(20);

/// An answer that has not come after this is asked for again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The node that answers may lag behind the one that published.
const ASK_LAGGING_AFTER: Duration = Duration::from_millis(100);

/// A batch of some server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) label: ServerLabel,
    /// The life of the server, and the batch's number in that.
    pub(super) id: (u64, u64),
    /// How many lines the server had said in batches before.
    pub(super) lines_before: u64,
    pub(super) payload: Vec<u8>,
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is kept, or was already.
    Yes,
    /// There is no room for it.
    TooMuch,
    /// Its place in the order is past.
    Late,
}

#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// The place in the stream that comes next; 0: not known.
    next: u64,
    /// Where it began.
    first: u64,
    /// The stream is known to have so many.
    last: u64,
    /// Invariant: all from `next` on, in order.
    kept: VecDeque<(u64, Batch)>,
    kept_bytes: usize,
    /// Where nothing is in the stream: from here, up to there.
    voids: Vec<(u64, u64)>,
    /// What was asked for, and when to ask again.
    asked: Vec<(u64, Instant)>,
    /// Since when the next one is missing.
    gap_since: Option<Instant>,
    /// What is published is not listened to: everything is asked for.
    is_pulling: bool,
}

impl Hearing {
    /// Whether it is known what comes next.
    pub(super) fn has_begun(&self) -> bool {
        self.next > 0
    }

    /// The last place of which everything was heard.
    pub(super) fn heard(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Whether somebody who has heard all up to `seq` has nothing on its way that comes before all
    /// that is heard here.
    pub(super) fn covers_what_follows(&self, seq: u64) -> bool {
        self.has_begun() && seq + 1 >= self.first
    }

    /// Everything from `next` on is to be heard.
    pub(super) fn begin_at(&mut self, next: u64) {
        *self = Self {
            next,
            first: next,
            last: next - 1,
            ..Self::default()
        };
    }

    /// The stream has at least `seq`.
    pub(super) fn learn_of(&mut self, seq: u64) {
        self.last = self.last.max(seq);
    }

    /// The stream had just so many a moment ago, whatever else was said of it.
    pub(super) fn stands_at(&mut self, seq: u64) {
        let kept = self.kept.back().map_or(0, |&(last, _)| last);
        self.last = seq.max(kept);
    }

    pub(super) fn keep(&mut self, seq: u64, batch: Batch) -> Kept {
        if seq < self.next {
            return Kept::Late;
        }
        self.learn_of(seq);
        let Err(at) = self.place_of(seq) else {
            return Kept::Yes;
        };
        let bytes = cost_bytes(&batch);
        if self.kept_bytes + bytes > MAX_KEPT_BYTES && seq > self.next {
            return Kept::TooMuch;
        }
        self.kept_bytes += bytes;
        self.kept.insert(at, (seq, batch));
        self.asked.retain(|&(asked, _)| asked != seq);
        Kept::Yes
    }

    /// The first message from `asked` on is at `seq`.
    pub(super) fn found(&mut self, asked: u64, seq: u64) {
        self.asked.retain(|&(other, _)| other != asked);
        if asked < seq && seq > self.next {
            self.voids.push((asked, seq));
        }
        self.jump();
    }

    /// There is no message from `asked` on; or the node that answered does not know of it yet.
    pub(super) fn found_nothing(&mut self, asked: u64, now: Instant) {
        let asked = self.asked.iter_mut().find(|(other, _)| *other == asked);
        if let Some((_, again_at)) = asked {
            *again_at = now + ASK_LAGGING_AFTER;
        }
    }

    /// Whether the next message is here.
    pub(super) fn has_next(&self) -> bool {
        (self.kept.front()).is_some_and(|&(first, _)| first == self.next)
    }

    /// The next message, and its place.
    pub(super) fn take(&mut self) -> Option<(u64, Batch)> {
        if !self.has_next() {
            return None;
        }
        let (seq, batch) = self.kept.pop_front()?;
        self.kept_bytes -= cost_bytes(&batch);
        self.next += 1;
        self.jump();
        self.gap_since = None;
        Some((seq, batch))
    }

    /// Goes past places where nothing is.
    fn jump(&mut self) {
        while let Some(nth) = self.voids.iter().position(|&(from, _)| from <= self.next) {
            let (_, to) = self.voids.swap_remove(nth);
            self.next = self.next.max(to);
        }
        while self.kept.front().is_some_and(|&(seq, _)| seq < self.next)
            && let Some((_, batch)) = self.kept.pop_front()
        {
            self.kept_bytes -= cost_bytes(&batch);
        }
    }

    /// Where the message at `seq` is kept, or would be.
    fn place_of(&self, seq: u64) -> Result<usize, usize> {
        self.kept.binary_search_by_key(&seq, |&(seq, _)| seq)
    }

    /// Since when something is missing that the stream has.
    pub(super) fn gap_since(&self) -> Option<Instant> {
        self.gap_since
    }

    /// Whether all that the stream is known to have was heard.
    pub(super) fn is_complete(&self) -> bool {
        self.next > self.last
    }

    /// Nobody answers any more: the connection is another one.
    pub(super) fn forget_asked(&mut self) {
        self.asked.clear();
        self.gap_since = None;
    }

    /// From now on all is asked for: more comes than can be said here. Returns whether that was
    /// otherwise before.
    pub(super) fn pull(&mut self) -> bool {
        !std::mem::replace(&mut self.is_pulling, true)
    }

    /// Whether what is published is not listened to.
    pub(super) fn is_pulling(&self) -> bool {
        self.is_pulling
    }

    /// Whether to listen again to what is published: there is little left to ask for.
    pub(super) fn stops_pulling(&mut self) -> bool {
        self.is_pulling && self.is_complete() && std::mem::take(&mut self.is_pulling)
    }

    /// The places of messages to ask for now.
    pub(super) fn asks(&mut self, now: Instant) -> Vec<u64> {
        if !self.has_begun() || self.is_complete() || self.has_next() && !self.is_pulling {
            self.gap_since = None;
            return Vec::new();
        }
        if self.has_next() {
            self.gap_since = None;
        } else {
            let since = *self.gap_since.get_or_insert(now);
            if now < since + GAP_DELAY && !self.is_pulling {
                return Vec::new();
            }
        }
        self.asked.retain(|&(seq, at)| seq >= self.next && at > now);
        let left = WINDOW.saturating_sub(self.asked.len());
        let is_full = self.kept_bytes > MAX_KEPT_BYTES / 2;
        let most = if is_full { 1.min(left) } else { left };
        let mut found = Vec::new();
        let mut seq = self.next;
        while found.len() < most && seq <= self.last {
            let voids = self.voids.iter();
            let around = voids.filter(|&&(from, to)| from <= seq && seq < to);
            if let Some(&(_, end)) = around.max_by_key(|&&(_, to)| to) {
                seq = end;
                continue;
            }
            let is_asked = self.asked.iter().any(|&(asked, _)| asked == seq);
            if !is_asked && self.place_of(seq).is_err() {
                found.push(seq);
                self.asked.push((seq, now + ASK_AGAIN_AFTER));
            }
            seq += 1;
        }
        found
    }

    /// When there may be something to ask for.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.has_begun() || self.is_complete() || self.has_next() {
            return None;
        }
        let gap_at = self.gap_since? + GAP_DELAY;
        let again_at = self.asked.iter().map(|&(_, at)| at).min();
        Some(again_at.map_or(gap_at, |at| at.max(gap_at)))
    }
}

fn cost_bytes(batch: &Batch) -> usize {
    batch.payload.len() + MESSAGE_COST_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &str) -> Batch {
        Batch {
            label: ServerLabel::parse("a").unwrap(),
            id: (1, 1),
            lines_before: 0,
            payload: text.into(),
        }
    }

    fn said(hearing: &mut Hearing) -> String {
        let mut said = String::new();
        while let Some((_, batch)) = hearing.take() {
            said.push_str(std::str::from_utf8(&batch.payload).unwrap());
        }
        said
    }

    #[test]
    fn what_comes_too_early_waits() {
        let mut hearing = Hearing::default();
        hearing.begin_at(5);
        assert_eq!(hearing.keep(6, batch("b")), Kept::Yes);
        assert_eq!(hearing.keep(6, batch("b")), Kept::Yes);
        assert_eq!(said(&mut hearing), "");
        assert_eq!(hearing.keep(4, batch("x")), Kept::Late);
        hearing.keep(5, batch("a"));
        assert_eq!(said(&mut hearing), "ab");
        assert_eq!((hearing.heard(), hearing.is_complete()), (6, true));
    }

    #[test]
    fn a_gap_is_asked_for_in_a_window_and_again() {
        let now = Instant::now();
        let mut hearing = Hearing::default();
        hearing.begin_at(1);
        hearing.keep(100, batch("z"));
        assert!(hearing.asks(now).is_empty());
        let now = now + GAP_DELAY;
        assert_eq!(hearing.asks(now), (1..=8).collect::<Vec<_>>());
        assert!(hearing.asks(now).is_empty());
        hearing.found_nothing(1, now);
        assert_eq!(hearing.deadline(), Some(now + ASK_LAGGING_AFTER));
        assert_eq!(hearing.asks(now + ASK_LAGGING_AFTER), [1]);
        assert_eq!(hearing.asks(now + ASK_AGAIN_AFTER).len(), 7);
    }

    #[test]
    fn where_nothing_is_there_is_no_gap() {
        let now = Instant::now();
        let mut hearing = Hearing::default();
        hearing.begin_at(1);
        hearing.learn_of(30);
        hearing.asks(now);
        hearing.asks(now + GAP_DELAY);
        for asked in 1..=8 {
            hearing.found(asked, 20);
            hearing.keep(20, batch("t"));
        }
        assert_eq!(said(&mut hearing), "t");
        assert_eq!(hearing.heard(), 20);
        let now = now + GAP_DELAY;
        hearing.asks(now);
        assert_eq!(hearing.asks(now + GAP_DELAY)[0], 21);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for_but_the_next_one() {
        let mut hearing = Hearing::default();
        hearing.begin_at(1);
        let large = "x".repeat(200 * 1024);
        for seq in 2..=6 {
            assert_eq!(hearing.keep(seq, batch(&large)), Kept::Yes);
        }
        assert_eq!(hearing.keep(7, batch(&large)), Kept::TooMuch);
        hearing.pull();
        assert_eq!(hearing.keep(1, batch("a")), Kept::Yes);
        assert_eq!(said(&mut hearing).len(), 1 + 5 * large.len());
        assert!(!hearing.stops_pulling());
        assert_eq!(hearing.asks(Instant::now()), [7]);
        hearing.found(7, 7);
        hearing.keep(7, batch("b"));
        assert_eq!(said(&mut hearing), "b");
        assert!(hearing.stops_pulling() && !hearing.stops_pulling());
    }
}
