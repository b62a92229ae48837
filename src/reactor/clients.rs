//! The connections, in a slab keyed by token, and the stages of a turn that deal
//! with them: mark, expire, fill, flush, reap.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use log::debug;
use slab::Slab;

use super::Service;
use crate::close::CloseReason;
use crate::connection::{Connection, Phase, Received, Stream};
use crate::turn::{ClientId, Turn};
use crate::write_queue::{Flushed, Frame};

/// The most that is read from one client before it is the next one's turn; also
/// the size of the one buffer that all reads share.
pub const READ_BUDGET_BYTES: usize = 16 * 1024;

/// Once a turn has gathered this much it is sent, and those not yet read have to
/// wait for the next turn. Bounds the time for which nothing is written, and the
/// memory of a turn: to this, and what one read budget of the shortest lines comes
/// to once each has its sender's name or its answer.
pub const TURN_BUDGET_BYTES: usize = 256 * 1024;

/// How long a client that has left may go without taking any of what it is still
/// owed.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client that has left may take altogether for what it is owed.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a peer has to end its side after we have ended ours.
pub const LINGER_TIMEOUT: Duration = Duration::from_millis(500);

/// The connections, and the lists of those that a stage of the turn has to look
/// at. A key may be listed after its connection has gone, so each stage checks.
#[derive(Debug)]
pub struct Clients<S> {
    slab: Slab<Connection<S>>,
    /// May have input that was not read yet.
    read_list: VecDeque<usize>,
    /// Have something to write, and the socket is said to take it.
    flush_list: Vec<usize>,
    /// Are to leave the room, or have left it and may be done. Invariant: empty
    /// between turns.
    reap_list: Vec<usize>,
    deadlines: BinaryHeap<Reverse<Deadline>>,
    read_buffer: Box<[u8]>,
    max_line_bytes: u32,
    next_serial: u32,
}

/// When a connection on its way out is looked at again. Ordered by that moment.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    at: Instant,
    /// The end of all patience, whatever progress there is.
    last: Instant,
    key: usize,
    serial: u32,
    phase: Phase,
}

impl<S: Stream> Clients<S> {
    /// No connections yet. `max_line_bytes` is for their decoders.
    pub fn new(max_line_bytes: u32) -> Self {
        Self {
            slab: Slab::new(),
            read_list: VecDeque::new(),
            flush_list: Vec::new(),
            reap_list: Vec::new(),
            deadlines: BinaryHeap::new(),
            read_buffer: vec![0; READ_BUDGET_BYTES].into_boxed_slice(),
            max_line_bytes,
            next_serial: 0,
        }
    }

    /// Whether there are no connections, not even on their way out.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// The key that the next connection will get.
    pub fn vacant_key(&self) -> usize {
        self.slab.vacant_key()
    }

    /// Takes in a connection that is in the room from now on.
    pub fn insert(&mut self, stream: S) -> ClientId {
        let connection = Connection::new(stream, self.next_serial, self.max_line_bytes);
        self.next_serial = self.next_serial.wrapping_add(1);
        ClientId(self.slab.insert(connection))
    }

    /// Takes in a connection only to tell it `refusal` and to close it.
    pub fn insert_refused(&mut self, stream: S, refusal: &Frame, now: Instant) {
        let ClientId(key) = self.insert(stream);
        let sent = self.slab[key].send_frame(refusal);
        self.begin_close(key, now);
        self.after_write(key, sent);
    }

    /// Mark: `key` is said to be ready. Nothing is read or written here.
    pub fn mark(&mut self, key: usize, readable: bool, writable: bool) {
        let Some(connection) = self.slab.get_mut(key) else {
            debug_assert!(false, "a closed socket has no events");
            return;
        };
        if writable && connection.mark_writable() {
            self.list_for_flushing(key);
        }
        if readable {
            self.list_for_reading(key);
        }
    }

    /// Fill: reads those that have input, hands their lines to `service`, and
    /// leaves what it says to them in `turn`.
    pub fn fill(&mut self, service: &mut impl Service, turn: &mut Turn) {
        for _ in 0..self.read_list.len() {
            if turn.size_bytes() >= TURN_BUDGET_BYTES {
                return;
            }
            let Some(key) = self.read_list.pop_front() else {
                return;
            };
            let Some(connection) = self.slab.get_mut(key) else {
                continue;
            };
            connection.in_read_list = false;
            match read_lines(
                connection,
                ClientId(key),
                &mut self.read_buffer,
                service,
                turn,
            ) {
                AfterRead::More => self.list_for_reading(key),
                AfterRead::WouldBlock => {}
                AfterRead::Ended(reason) => self.leave(key, reason),
            }
            self.close_those_asked_for(turn);
        }
    }

    /// Notes who is to leave at the end of the turn because the service asked for
    /// it. A client's first reason holds.
    pub fn close_those_asked_for(&mut self, turn: &mut Turn) {
        for (ClientId(key), reason) in turn.take_closes() {
            if self.slab.contains(key) {
                self.leave(key, reason);
            }
        }
    }

    /// Everybody in the room is to leave at the end of the turn.
    pub fn close_all(&mut self, reason: CloseReason) {
        for (key, connection) in &mut self.slab {
            if connection.phase == Phase::Open {
                connection.leaving.get_or_insert(reason);
                self.reap_list.push(key);
            }
        }
    }

    /// Flush: sends everybody in the room what the sealed `turn` holds for it,
    /// and those who lag what their sockets take.
    pub fn flush(&mut self, turn: &Turn) {
        if !turn.shared().is_empty() {
            self.send_to_all(turn);
        } else {
            self.send_to_those_told(turn);
        }
        for key in std::mem::take(&mut self.flush_list) {
            if let Some(connection) = self.slab.get_mut(key) {
                connection.in_flush_list = false;
                let flushed = connection.flush();
                self.after_write(key, flushed);
            }
        }
    }

    fn send_to_all(&mut self, turn: &Turn) {
        let mut edits = turn.edits().peekable();
        let mut unfinished = Vec::new();
        for (key, connection) in &mut self.slab {
            while edits.next_if(|&(reader, _)| reader.0 < key).is_some() {}
            let own_edits = edits.next_if(|&(reader, _)| reader.0 == key);
            if connection.phase != Phase::Open {
                continue;
            }
            let sent = match own_edits {
                None => connection.send_shared(turn),
                Some((_, edits)) => connection.send_edited(turn, edits),
            };
            if !matches!(sent, Ok(Flushed::All)) {
                unfinished.push((key, sent));
            }
        }
        for (key, sent) in unfinished {
            self.after_write(key, sent);
        }
    }

    fn send_to_those_told(&mut self, turn: &Turn) {
        for (ClientId(key), edits) in turn.edits() {
            if let Some(connection) = self.slab.get_mut(key)
                && connection.phase == Phase::Open
            {
                let sent = connection.send_edited(turn, edits);
                self.after_write(key, sent);
            }
        }
    }

    /// Handles the result of a write to `key`.
    fn after_write(&mut self, key: usize, written: io::Result<Flushed>) {
        let connection = &mut self.slab[key];
        match written {
            Ok(Flushed::All) if connection.phase == Phase::Open => {}
            Ok(Flushed::All) => self.reap_list.push(key),
            Ok(_) if connection.exceeds_backlog() => {
                connection.abort();
                self.leave(key, CloseReason::BacklogFull);
            }
            Ok(Flushed::Blocked) => {}
            Ok(Flushed::BudgetSpent) => self.list_for_flushing(key),
            Err(e) => {
                // What the peer sent before it went is still to be read, and the
                // read also tells how it went.
                debug!("client {key}: writing failed: {e}");
                self.list_for_reading(key);
                self.reap_list.push(key);
            }
        }
    }

    /// Reap: clients that are to leave leave the room, and connections that are
    /// done are removed, nowhere but here. What `service` says to that goes into
    /// `turn`, which is the next one. Returns how many were removed.
    pub fn reap(&mut self, service: &mut impl Service, turn: &mut Turn, now: Instant) -> usize {
        let before = self.slab.len();
        for key in std::mem::take(&mut self.reap_list) {
            let Some(connection) = self.slab.get_mut(key) else {
                continue;
            };
            if connection.phase == Phase::Open {
                let Some(reason) = connection.leaving else {
                    continue;
                };
                self.begin_close(key, now);
                service.left(ClientId(key), reason, turn);
            }
            self.advance_close(key, now);
        }
        before - self.slab.len()
    }

    /// From now on the connection is written what it is owed, and no more.
    fn begin_close(&mut self, key: usize, now: Instant) {
        let connection = &mut self.slab[key];
        connection.phase = Phase::Flushing;
        connection.progressed = false;
        if !connection.is_flushed() {
            self.arm(key, now + FLUSH_TIMEOUT, now + CLOSE_TIMEOUT);
        }
    }

    /// Takes a connection that has left the room as far towards its end as it
    /// can go now.
    fn advance_close(&mut self, key: usize, now: Instant) {
        let connection = &mut self.slab[key];
        if !connection.is_flushed() {
            return;
        }
        if connection.read_ended() {
            // Closes the socket, and so takes it out of the poll.
            self.slab.remove(key);
        } else if connection.phase == Phase::Flushing {
            connection.shutdown_write();
            connection.phase = Phase::Lingering;
            self.arm(key, now + LINGER_TIMEOUT, now + LINGER_TIMEOUT);
        }
    }

    /// The next moment at which [`Clients::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse(deadline)| deadline.at)
    }

    /// Gives up connections on their way out that have not moved for too long.
    pub fn expire(&mut self, now: Instant) {
        while self.next_deadline().is_some_and(|at| at <= now)
            && let Some(Reverse(deadline)) = self.deadlines.pop()
        {
            let key = deadline.key;
            let Some(connection) = self.slab.get_mut(key) else {
                continue;
            };
            if connection.serial != deadline.serial || connection.phase != deadline.phase {
                continue;
            }
            if std::mem::take(&mut connection.progressed) && now < deadline.last {
                self.arm(key, deadline.last.min(now + FLUSH_TIMEOUT), deadline.last);
            } else {
                connection.abort();
                self.reap_list.push(key);
            }
        }
    }

    /// Whether a stage has something to do though no event may come.
    pub fn has_work(&self) -> bool {
        !(self.read_list.is_empty() && self.flush_list.is_empty())
    }

    fn leave(&mut self, key: usize, reason: CloseReason) {
        let connection = &mut self.slab[key];
        if connection.phase == Phase::Open {
            connection.leaving.get_or_insert(reason);
        }
        self.reap_list.push(key);
    }

    fn list_for_reading(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        if !connection.in_read_list {
            connection.in_read_list = true;
            self.read_list.push_back(key);
        }
    }

    fn list_for_flushing(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        if !connection.in_flush_list {
            connection.in_flush_list = true;
            self.flush_list.push(key);
        }
    }

    fn arm(&mut self, key: usize, at: Instant, last: Instant) {
        let connection = &self.slab[key];
        self.deadlines.push(Reverse(Deadline {
            at,
            last,
            key,
            serial: connection.serial,
            phase: connection.phase,
        }));
    }
}

/// Where reading stopped.
enum AfterRead {
    /// At the budget: there may be more.
    More,
    WouldBlock,
    Ended(CloseReason),
}

/// Reads `connection` until it would block, ends, or has had its budget. A client
/// that has left the room is read as well, but not heard.
fn read_lines<S: Stream>(
    connection: &mut Connection<S>,
    id: ClientId,
    buffer: &mut [u8],
    service: &mut impl Service,
    turn: &mut Turn,
) -> AfterRead {
    let mut budget_bytes = READ_BUDGET_BYTES;
    while budget_bytes > 0 {
        match connection.receive(&mut buffer[..budget_bytes]) {
            Received::Bytes(count) => {
                budget_bytes -= count;
                if !connection.is_member() {
                    continue;
                }
                let mut input = &buffer[..count];
                while let Some(line) = connection.decoder.next_line(&mut input) {
                    service.received(id, line, turn);
                    if turn.closes(id) {
                        return AfterRead::More;
                    }
                }
            }
            Received::WouldBlock => return AfterRead::WouldBlock,
            Received::End => {
                if connection.is_member()
                    && let Some(line) = connection.decoder.finish()
                {
                    service.received(id, line, turn);
                }
                return AfterRead::Ended(CloseReason::PeerClosed);
            }
            Received::Failed(kind) => return AfterRead::Ended(CloseReason::Lost(kind)),
        }
    }
    AfterRead::More
}
