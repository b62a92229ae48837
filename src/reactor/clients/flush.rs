//! Flush: how a turn gets to its readers, and what they were owed before it.
//!
//! A turn for twenty thousand readers takes a while, during which nobody would be
//! read or accepted. So it is sent in slices, and the loop goes round between
//! them; what is said meanwhile is gathered for the next turn. Every reader gets the
//! turns in the same order, for one is sent to all before the next one begins.

use std::io;

use log::{debug, warn};

use super::deadlines::Kind;
use super::{Clients, Listed};
use crate::protocol::batch::{Batch, ClientId};
use crate::protocol::close::CloseReason;
use crate::reactor::connection::{Connection, Phase, ReadState, Stream, WRITE_BUDGET_BYTES};
use crate::reactor::flow::{LOOK_INTERVAL, MAX_ANSWERS_BYTES, Total, Verdict};
use crate::reactor::log_limit::AndMore;
use crate::reactor::shared_log::Backlog;
use crate::reactor::write_queue::Flushed;

/// How much is written before the loop goes round to read and accept: some
/// milliseconds' worth.
pub const SLICE_BYTES: usize = 16 * 1024 * 1024;

/// What a write counts towards the slice besides its bytes: on a fast machine the
/// kernel takes about as long for a write as for copying so much.
pub const WRITE_COST_BYTES: usize = 16 * 1024;

/// The turn that is on its way to its readers.
#[derive(Debug, Default)]
pub(super) struct Sending {
    turn: Batch,
    /// The key from which on readers have not got it yet. `None` when all have.
    next_key: Option<usize>,
    /// The serial number of the first one who came too late for it.
    first_late: u64,
}

impl Sending {
    pub(super) fn is_done(&self) -> bool {
        self.next_key.is_none()
    }

    /// Whether the connection with this serial number came after the turn was
    /// complete.
    fn is_late(&self, serial: u64) -> bool {
        serial >= self.first_late
    }
}

impl<S: Stream> Clients<S> {
    /// Whether a turn is on its way.
    pub fn is_sending(&self) -> bool {
        !self.sending.is_done()
    }

    /// Takes what `turn` has gathered, to be sent from now on, and leaves an empty
    /// one. Who is to leave with this turn will be reaped once it has been sent.
    pub fn begin_sending(&mut self, turn: &mut Batch) {
        debug_assert!(self.sending.is_done(), "one turn comes after the other");
        std::mem::swap(&mut self.sending.turn, turn);
        debug_assert!(turn.is_empty(), "it was cleared when it had been sent");
        self.sending.turn.seal();
        self.sending.next_key = Some(0);
        self.sending.first_late = self.next_serial;
        self.gathered_bytes = 0;
        self.leaving_now.append(&mut self.leaving_next);
    }

    /// What everybody gets of the turn on its way, but for its edits.
    pub fn shared_text(&self) -> &[u8] {
        self.sending.turn.shared()
    }

    /// Sends one slice of the turn on its way.
    pub fn send_slice(&mut self) {
        let mut sending = std::mem::take(&mut self.sending);
        sending.next_key = match (sending.next_key, sending.turn.shared().is_empty()) {
            (None, _) => None,
            (Some(first), false) => self.send_to_all(&sending, first),
            (Some(first), true) => self.send_to_those_told(&sending, first),
        };
        if sending.is_done() {
            sending.turn.clear();
            self.backlog.end_turn();
        }
        self.sending = sending;
    }

    /// Sends the turn to the readers from key `first` on, and returns the key of the
    /// next one if the slice ended before.
    fn send_to_all(&mut self, sending: &Sending, first: usize) -> Option<usize> {
        let turn = &sending.turn;
        let mut edits = turn.edits_from(ClientId(first)).peekable();
        let mut slice_bytes = self.policy.slice_bytes;
        for key in first..self.end_key {
            let Some(connection) = self.slab.get_mut(key) else {
                continue;
            };
            while edits.next_if(|&(reader, _)| reader.0 < key).is_some() {}
            let own_edits = edits.next_if(|&(reader, _)| reader.0 == key);
            if connection.phase != Phase::Open {
                if !connection.is_flushed() {
                    self.observe(key);
                }
                continue;
            }
            if sending.is_late(connection.serial) {
                continue;
            }
            if slice_bytes == 0 {
                return Some(key);
            }
            slice_bytes = slice_bytes.saturating_sub(turn.shared().len() + WRITE_COST_BYTES);
            let (share, sent) = match own_edits {
                None => (
                    turn.whole_share(),
                    connection.send_shared(turn, &mut self.backlog),
                ),
                Some((_, edits)) => (
                    turn.share(edits),
                    connection.send_edited(turn, edits, &mut self.backlog),
                ),
            };
            self.traffic.sent(share);
            if !matches!(sent, Ok(Flushed::All)) {
                self.after_write(key, sent);
            }
        }
        None
    }

    /// The same for a turn in which nothing was said to everybody.
    fn send_to_those_told(&mut self, sending: &Sending, first: usize) -> Option<usize> {
        let turn = &sending.turn;
        let mut slice_bytes = self.policy.slice_bytes;
        for (ClientId(key), edits) in turn.edits_from(ClientId(first)) {
            let Some(connection) = self.slab.get_mut(key) else {
                continue;
            };
            if connection.phase != Phase::Open || sending.is_late(connection.serial) {
                continue;
            }
            if slice_bytes == 0 {
                return Some(key);
            }
            let share = turn.share(edits);
            slice_bytes = slice_bytes.saturating_sub(share.bytes + WRITE_COST_BYTES);
            let sent = connection.send_edited(turn, edits, &mut self.backlog);
            self.traffic.sent(share);
            self.after_write(key, sent);
        }
        None
    }

    /// Sends those who lag what their sockets take, until a slice has been written.
    pub fn flush_slice(&mut self) {
        let mut slice_bytes = self.policy.slice_bytes;
        for _ in 0..self.flush_list.len() {
            if slice_bytes == 0 {
                return;
            }
            let listed = self.flush_list.pop_front().expect("so many are listed");
            let Some(connection) = listed.find(&mut self.slab) else {
                continue;
            };
            connection.in_flush_list = false;
            slice_bytes = slice_bytes.saturating_sub(WRITE_BUDGET_BYTES);
            self.flush(listed.key);
            self.look_if_due(listed.key);
        }
    }

    /// Sends `key` what its socket takes of what it is owed.
    pub(super) fn flush(&mut self, key: usize) {
        let flushed = self.slab[key].flush();
        self.after_write(key, flushed);
    }

    /// Handles the result of a write to `key`.
    pub(super) fn after_write(&mut self, key: usize, written: io::Result<Flushed>) {
        let connection = &mut self.slab[key];
        match written {
            Ok(Flushed::All) if connection.phase == Phase::Open => {}
            Ok(Flushed::All) => self.list_for_reaping(key),
            Ok(Flushed::Blocked) => {}
            Ok(Flushed::BudgetSpent) => self.list_for_flushing(key),
            // At its rate, to say the rest could take hours, though nobody is there any more.
            Err(e) if connection.reading == ReadState::Delayed => {
                self.leave(key, CloseReason::Lost(e.kind()));
            }
            Err(e) => {
                // What the peer sent before it went is still to be read, and the
                // read also tells how it went.
                debug!("client {key}: writing failed: {e}");
                self.list_for_reading(key);
            }
        }
        self.observe(key);
    }

    /// Looks at what `key` is owed, which has changed.
    pub(super) fn observe(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        self.traffic.bytes_lost += std::mem::take(&mut connection.lost_bytes) as u64;
        let own_cost_bytes = connection.queue().own_cost_bytes();
        let counted_bytes = std::mem::replace(&mut connection.counted_bytes, own_cost_bytes);
        self.own_cost_bytes = self.own_cost_bytes + own_cost_bytes - counted_bytes;
        let held_bytes = lag_bytes(connection, &self.backlog);
        let answers_bytes = connection.queue().answers_cost_bytes();
        if connection.reading == ReadState::Answered && answers_bytes <= MAX_ANSWERS_BYTES / 2 {
            connection.reading = ReadState::Idle;
            self.list_for_reading(key);
        }
        let connection = &mut self.slab[key];
        let took = std::mem::take(&mut connection.took_some);
        let reader = &mut connection.reader;
        let verdict = self.flow.observe(reader, held_bytes, took, self.now);
        self.carry_out(key, verdict);
    }

    /// Judges `key`, which was behind, if it is time to.
    fn look_if_due(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        if std::mem::take(&mut connection.is_to_be_looked_at) {
            let held_bytes = lag_bytes(connection, &self.backlog);
            let verdict = self.flow.look(&mut connection.reader, held_bytes, self.now);
            self.carry_out(key, verdict);
        }
    }

    /// Looks at what all readers together are owed, and reads those again who had to
    /// wait for that.
    pub fn relieve(&mut self) {
        if self.own_cost_bytes > self.flow.bounds().max_total_bytes() {
            self.drop_the_most_answered();
        }
        let total = self.flow.observe_total(self.backlog.held_bytes(), self.now);
        if total == Total::BecameTooMuch {
            if let Some(suppressed) = self.total_log.allow(self.now) {
                warn!(
                    "{} bytes wait for readers, more than may (eight times --max-backlog): \
                     nobody is heard until some of that has been taken{}",
                    self.owed_bytes(),
                    AndMore(suppressed)
                );
            }
            for key in 0..self.end_key {
                if self
                    .slab
                    .get(key)
                    .is_some_and(|reader| !reader.is_flushed())
                {
                    self.observe(key);
                }
            }
        }
        let congestion = self.flow.congestion(self.now);
        let is_new = std::mem::replace(&mut self.last_congestion, congestion) != congestion;
        if total == Total::Recovered || is_new || !self.flow.is_congested() {
            self.resume_paused();
        }
    }

    /// All that waits for one client alone comes to more than may: of those whose sockets
    /// take no more now, they have to go for whom more than their share of that waits.
    fn drop_the_most_answered(&mut self) {
        let is_blocked =
            |connection: &Connection<S>| connection.counted_bytes > 0 && !connection.in_flush_list;
        let blocked = self
            .slab
            .iter()
            .filter(|(_, connection)| is_blocked(connection));
        let share_bytes = self.flow.bounds().max_total_bytes() / blocked.count().max(1);
        for key in 0..self.end_key {
            if let Some(connection) = self.slab.get(key)
                && is_blocked(connection)
                && connection.counted_bytes > share_bytes
            {
                self.carry_out(key, Verdict::Drop(CloseReason::Stuck));
            }
        }
    }

    /// What is kept in memory for readers that lag, in bytes.
    pub fn owed_bytes(&self) -> usize {
        self.backlog.held_bytes() + self.own_cost_bytes
    }

    /// Does what flow control says about `key`.
    pub(super) fn carry_out(&mut self, key: usize, verdict: Verdict) {
        match verdict {
            Verdict::Fine => {}
            Verdict::Watch => {
                self.arm(key, self.now + LOOK_INTERVAL, Kind::Look);
            }
            Verdict::Drop(reason) if self.slab[key].phase == Phase::Open => {
                self.leave(key, reason);
            }
            // It has left already, and had its time.
            Verdict::Drop(_) => self.give_up(key),
        }
    }

    pub(super) fn list_for_flushing(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        if !connection.in_flush_list {
            connection.in_flush_list = true;
            let serial = connection.serial;
            self.flush_list.push_back(Listed { key, serial });
        }
    }
}

/// What is kept because `connection` lags, and others may have to wait for it.
fn lag_bytes<S: Stream>(connection: &Connection<S>, backlog: &Backlog) -> usize {
    let queue = connection.queue();
    queue.held_bytes(backlog) + queue.anothers_cost_bytes()
}
