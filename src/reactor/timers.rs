//! When a connection has to be looked at though nothing happens to it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::protocol::batch::ClientId;

/// Once there are this many timers more than twice those that the last sweep left, the
/// timers of closed connections are removed.
const SWEEP_AFTER: usize = 1024;

/// A moment at which a connection is looked at again. Ordered by that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) at: Instant,
    pub(super) of: ClientId,
    pub(super) kind: Kind,
}

/// What it is looked at for. A connection has at most one timer of each kind; of a client that
/// has come back, two look for silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It is behind with reading, and may have taken something.
    Look,
    /// It said more than its rate allows, and may say more now.
    Speak,
    /// It is a program, and may not have been read for a while.
    Held,
    /// Its first line, unfinished, began as another protocol does, and may still be.
    FirstWords,
    /// It was refused, and has had its time to show that it has a place.
    HearOut,
    /// It is a visitor, and should have said what it wants.
    Visit,
    /// It may have been silent for too long.
    Idle,
    /// It has left and should have taken what it is owed; at `last` in any case.
    Flush { last: Instant },
    /// Its peer should have ended its side.
    Linger,
}

/// The timers that are still to expire.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    /// How many were left at the last sweep.
    left_by_sweep: usize,
}

impl Timers {
    /// Sets a timer. `is_there` tells whether a connection still exists: without a sweep
    /// now and then, long idle timeouts of closed connections would add up.
    pub(super) fn arm(&mut self, timer: Timer, is_there: impl Fn(ClientId) -> bool) {
        self.heap.push(Reverse(timer));
        if self.heap.len() > 2 * self.left_by_sweep + SWEEP_AFTER {
            self.heap.retain(|Reverse(timer)| is_there(timer.of));
            self.left_by_sweep = self.heap.len();
        }
    }

    /// The moment of the next one.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(timer)| timer.at)
    }

    /// Takes the next one, if its moment has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        match self.next_at() {
            Some(at) if at <= now => self.heap.pop().map(|Reverse(timer)| timer),
            _ => None,
        }
    }
}
