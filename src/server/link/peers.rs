//! The other servers of the room: which live, how many people each has, where somebody is behind,
//! and which of their lines were lost.

use std::time::{Duration, Instant};

use super::hearing::Batch;
use crate::protocol::label::ServerLabel;

/// How often a server says that it lives,
const BEAT_INTERVAL: Duration = Duration::from_secs(5);

/// or more rarely, where there are many: for each of them, so long. Every beat goes to all.
const BEAT_SHARE: Duration = Duration::from_millis(50);

/// A server that was not heard for so many intervals is out of reach.
const MISSED_BEATS: u32 = 3;

/// How long others wait for a server where somebody is behind, unless it says so again.
pub(super) const HOLD_LEASE: Duration = Duration::from_secs(2);

/// Whether somebody is behind may change many times a second. It is told no more often than once in
/// this, for each of the other servers: that goes to all, too.
const HOLD_SHARE: Duration = Duration::from_millis(1);

/// More servers than this are not counted.
const MAX_PEERS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Peers {
    live: ByLabel<Peer>,
    /// What each server has said, lives or not.
    said: ByLabel<Said>,
}

/// In the order of labels. There are few, and they hardly change.
#[derive(Debug)]
struct ByLabel<T>(Vec<(ServerLabel, T)>);

impl<T> Default for ByLabel<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByLabel<T> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn place_of(&self, label: &ServerLabel) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(label))
    }

    fn get(&self, label: &ServerLabel) -> Option<&T> {
        let at = self.place_of(label).ok()?;
        Some(&self.0[at].1)
    }

    fn get_mut(&mut self, label: &ServerLabel) -> Option<&mut T> {
        let at = self.place_of(label).ok()?;
        Some(&mut self.0[at].1)
    }

    /// In the place of what was there, if anything was. Where there are too many, it is left out.
    fn set(&mut self, label: ServerLabel, value: T) {
        match self.place_of(&label) {
            Ok(at) => self.0[at].1 = value,
            Err(at) if self.0.len() < MAX_PEERS => self.0.insert(at, (label, value)),
            Err(_) => {}
        }
    }
}

#[derive(Debug)]
struct Peer {
    here: u64,
    heard_at: Instant,
    holds_until: Option<Instant>,
}

/// What was heard of one server.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// Its life, and the number of the last batch.
    id: (u64, u64),
    lines: u64,
}

/// What a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Novelty {
    /// It comes next, after so many lines that were lost.
    New { lost: u64 },
    /// It was said already.
    Repeated,
}

impl Peers {
    /// How often each server says that it lives.
    pub(super) fn beat_interval(&self) -> Duration {
        let shares = u32::try_from(self.live.len() + 1).unwrap_or(u32::MAX);
        BEAT_INTERVAL.max(BEAT_SHARE.saturating_mul(shares))
    }

    /// For how long nothing is said of whether somebody is behind, after that was said.
    pub(super) fn hold_pause(&self) -> Duration {
        let others = u32::try_from(self.live.len()).unwrap_or(u32::MAX);
        HOLD_SHARE.saturating_mul(others).min(HOLD_LEASE / 2)
    }

    fn patience(&self) -> Duration {
        MISSED_BEATS * self.beat_interval()
    }

    /// `label`, in this life of its own, says that it had so many lines for the stream: before it is
    /// heard there, this is how many were not for us.
    pub(super) fn expect(&mut self, label: ServerLabel, instance: u64, lines: u64) {
        if self
            .said
            .get(&label)
            .is_none_or(|said| said.id.0 != instance)
        {
            let id = (instance, 0);
            self.said.set(label, Said { id, lines });
        }
    }

    /// `label` lives, with so many people. Returns whether it is new, and whether their number has
    /// changed.
    pub(super) fn beat(&mut self, label: ServerLabel, here: u64, now: Instant) -> (bool, bool) {
        if let Some(peer) = self.live.get_mut(&label) {
            peer.heard_at = now;
            return (false, std::mem::replace(&mut peer.here, here) != here);
        }
        let peer = Peer {
            here,
            heard_at: now,
            holds_until: None,
        };
        self.live.set(label, peer);
        (true, here > 0)
    }

    /// `label` has said goodbye. Returns whether it was there.
    pub(super) fn leave(&mut self, label: &ServerLabel) -> bool {
        let at = self.live.place_of(label);
        at.map(|at| self.live.0.remove(at)).is_ok()
    }

    /// At `label` somebody is behind, or nobody any more.
    pub(super) fn hold(&mut self, label: &ServerLabel, is_held: bool, now: Instant) {
        if let Some(peer) = self.live.get_mut(label) {
            peer.holds_until = is_held.then(|| now + HOLD_LEASE);
        }
    }

    pub(super) fn is_any_held(&self, now: Instant) -> bool {
        let mut leases = self.live.0.iter().filter_map(|(_, peer)| peer.holds_until);
        leases.any(|until| until > now)
    }

    /// Each with the number of its people.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ServerLabel, u64)> {
        self.live.0.iter().map(|(label, peer)| (label, peer.here))
    }

    /// Takes out those that were not heard for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<ServerLabel> {
        let patience = self.patience();
        let mut gone = Vec::new();
        self.live.0.retain(|(label, peer)| {
            let is_live = now < peer.heard_at + patience;
            if !is_live {
                gone.push(*label);
            }
            is_live
        });
        gone
    }

    /// We were deaf ourselves for a while: everybody has its time again.
    pub(super) fn forgive(&mut self, now: Instant) {
        for (_, peer) in &mut self.live.0 {
            peer.heard_at = now;
            peer.holds_until = None;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let first = self.live.0.iter().map(|(_, peer)| peer.heard_at).min()?;
        Some(first + self.patience())
    }

    /// When the next hold ends.
    pub(super) fn hold_deadline(&self, now: Instant) -> Option<Instant> {
        let leases = self.live.0.iter().filter_map(|(_, peer)| peer.holds_until);
        leases.filter(|&until| until > now).min()
    }

    /// Whether `batch` was not heard before.
    pub(super) fn is_new(&self, batch: &Batch) -> bool {
        let said = self.said.get(&batch.label);
        said.is_none_or(|said| said.id.0 != batch.id.0 || said.id.1 < batch.id.1)
    }

    /// What `batch`, which comes next in the stream, is; it has so many lines.
    pub(super) fn hear(&mut self, batch: &Batch, lines: u64) -> Novelty {
        let (instance, number) = batch.id;
        let said = Said {
            id: batch.id,
            lines: batch.lines_before.saturating_add(lines),
        };
        let Some(before) = self.said.get_mut(&batch.label) else {
            self.said.set(batch.label, said);
            return Novelty::New { lost: 0 };
        };
        if before.id.0 != instance {
            *before = said;
            return Novelty::New { lost: 0 };
        }
        if number <= before.id.1 {
            return Novelty::Repeated;
        }
        let lost = batch.lines_before.saturating_sub(before.lines);
        *before = said;
        Novelty::New { lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> ServerLabel {
        ServerLabel::parse(text).unwrap()
    }

    fn batch(instance: u64, number: u64, lines_before: u64) -> Batch {
        Batch {
            label: label("b"),
            id: (instance, number),
            lines_before,
            payload: Vec::new(),
        }
    }

    #[test]
    fn a_server_that_is_silent_is_out_of_reach() {
        let now = Instant::now();
        let mut peers = Peers::default();
        assert_eq!(peers.beat(label("b"), 3, now), (true, true));
        assert_eq!(peers.beat(label("b"), 3, now), (false, false));
        assert_eq!(peers.beat(label("b"), 4, now), (false, true));
        let later = now + 2 * BEAT_INTERVAL;
        peers.beat(label("c"), 0, later);
        assert_eq!(peers.expire(later), []);
        assert_eq!(peers.deadline(), Some(now + 3 * BEAT_INTERVAL));
        assert_eq!(peers.expire(now + 3 * BEAT_INTERVAL), [label("b")]);
        let live: Vec<_> = peers.iter().map(|(label, _)| *label).collect();
        assert_eq!(live, [label("c")]);
    }

    #[test]
    fn many_servers_beat_more_rarely() {
        let mut peers = Peers::default();
        for n in 0..999 {
            peers.beat(label(&n.to_string()), 0, Instant::now());
        }
        assert_eq!(peers.beat_interval(), Duration::from_secs(50));
        assert_eq!(peers.hold_pause(), Duration::from_millis(999));
    }

    #[test]
    fn a_hold_ends_by_itself() {
        let now = Instant::now();
        let mut peers = Peers::default();
        peers.beat(label("b"), 1, now);
        peers.hold(&label("b"), true, now);
        assert!(peers.is_any_held(now) && !peers.is_any_held(now + HOLD_LEASE));
        peers.hold(&label("b"), false, now);
        assert!(!peers.is_any_held(now));
    }

    #[test]
    fn lines_that_are_missing_are_counted_and_no_batch_is_heard_twice() {
        let mut peers = Peers::default();
        let new = |lost| Novelty::New { lost };
        assert_eq!(peers.hear(&batch(1, 5, 40), 2), new(0));
        assert_eq!(peers.hear(&batch(1, 6, 42), 1), new(0));
        assert_eq!(peers.hear(&batch(1, 6, 42), 1), Novelty::Repeated);
        assert_eq!(peers.hear(&batch(1, 9, 55), 1), new(12));
        assert_eq!(peers.hear(&batch(2, 1, 0), 1), new(0), "another life");
        peers.expect(label("b"), 2, 100);
        assert_eq!(peers.hear(&batch(2, 2, 1), 1), new(0));
        peers.expect(label("b"), 3, 7);
        assert_eq!(peers.hear(&batch(3, 9, 10), 1), new(3));
    }
}
