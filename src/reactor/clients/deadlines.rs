//! When a connection has to be looked at though nothing happens to it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::Listed;

/// Once there are so many deadlines more than twice those that were left the last time,
/// those of connections that are gone are looked for.
const SWEEP_AFTER: usize = 1024;

/// A moment at which a connection is looked at again. Ordered by that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) of: Listed,
    pub(super) kind: Kind,
}

/// What it is looked at for. A connection has at most one deadline of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It is behind with reading, and may have taken something.
    Look,
    /// It said more than its rate allows, and may say more now.
    Speak,
    /// It may have been silent for too long.
    Idle,
    /// It has left and should have taken what it is owed; at `last` in any case.
    Flush { last: Instant },
    /// Its peer should have ended its side.
    Linger,
}

/// The deadlines that are still to come, or are being dealt with.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<Deadline>>,
    /// How many were left at the last sweep.
    left_by_sweep: usize,
}

impl Deadlines {
    pub(super) fn push(&mut self, deadline: Deadline) {
        self.heap.push(Reverse(deadline));
    }

    /// Whether so many have come since the last sweep that another one costs little for
    /// each. Without it, a long idle timeout of everybody who came and went adds up.
    pub(super) fn is_to_be_swept(&self) -> bool {
        self.heap.len() > 2 * self.left_by_sweep + SWEEP_AFTER
    }

    /// Forgets those of connections that are gone.
    pub(super) fn sweep(&mut self, is_there: impl Fn(Listed) -> bool) {
        self.heap.retain(|Reverse(deadline)| is_there(deadline.of));
        self.left_by_sweep = self.heap.len();
    }

    /// The moment of the next one.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(deadline)| deadline.at)
    }

    /// Takes the next one, if its moment has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Deadline> {
        match self.next_at() {
            Some(at) if at <= now => self.heap.pop().map(|Reverse(deadline)| deadline),
            _ => None,
        }
    }
}
