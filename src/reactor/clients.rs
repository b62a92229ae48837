//! The connections, in a slab keyed by token: how they come, and how they go. The
//! stages of a turn that read and write are in `fill` and `flush`.

mod deadlines;
mod fill;
mod flush;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use slab::Slab;

use self::deadlines::{Deadline, Deadlines, Kind};
use self::fill::ReadLists;
pub use self::fill::{FAN_OUT_BUDGET_BYTES, READ_BUDGET_BYTES, TURN_BUDGET_BYTES};
use self::flush::Sending;
pub use self::flush::{SLICE_BYTES, WRITE_COST_BYTES};
use super::{Policy, Service};
use crate::protocol::batch::{Batch, ClientId};
use crate::protocol::close::CloseReason;
use crate::reactor::connection::{Connection, Phase, ReadState, Restraint, Stream};
use crate::reactor::flow::Flow;
use crate::reactor::log_limit::LogLimit;
use crate::reactor::shared_log::Backlog;
use crate::reactor::write_queue::Frame;
use crate::server::stats::{Load, Traffic};

/// How long a client that has left may go without taking any of what it is still
/// owed.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client that has left may take altogether for what it is owed.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a peer has to end its side after we have ended ours.
pub const LINGER_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a client that was dropped has to take the line that it was dropped in and
/// what it is told; and then to end its side. After that it is reset, so that the kernel
/// keeps nothing for it.
pub const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

/// Deadlines dealt with in one turn.
pub const DEADLINE_BUDGET: usize = 256;

/// There is room for so many connections from the start. That costs address space, and no
/// memory before they come; and what is so large grows by moving pages (mremap(2)) and not
/// by copying, which would leave a hole of the size that it had before.
const INITIAL_CAPACITY: usize = 1024;

/// Connections kept a while to tell them that they may not come in. Any further one is
/// told, if it takes that at once, and closed on the spot: a crowd of the refused
/// must not use up the descriptors.
pub const MAX_REFUSED: usize = 256;

/// A connection in a list. It may have gone when it is looked at, and its key be
/// another's, which is listed by itself if it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    key: usize,
    serial: u64,
}

impl Listed {
    fn find<S>(self, slab: &mut Slab<Connection<S>>) -> Option<&mut Connection<S>> {
        let connection = slab.get_mut(self.key)?;
        (connection.serial == self.serial).then_some(connection)
    }

    fn is_in<S>(self, slab: &Slab<Connection<S>>) -> bool {
        let connection = slab.get(self.key);
        connection.is_some_and(|connection| connection.serial == self.serial)
    }
}

/// The connections, and the lists of those that a stage of the turn has to look
/// at.
#[derive(Debug)]
pub struct Clients<S> {
    slab: Slab<Connection<S>>,
    /// Invariant: above every key of `slab`.
    end_key: usize,
    policy: Policy,
    /// The time of this turn.
    now: Instant,
    flow: Flow,
    /// What was said and somebody has yet to take.
    backlog: Backlog,
    /// Invariant: what the write queues cost by themselves, as last observed.
    own_cost_bytes: usize,
    /// The congestion, or period of one, in which those who are paused were paused.
    last_congestion: u32,
    /// What the turn being gathered has got from those who were read, in bytes.
    gathered_bytes: usize,
    /// The turn on its way.
    sending: Sending,
    read_lists: ReadLists,
    /// Have something to write, and the socket is said to take it.
    flush_list: VecDeque<Listed>,
    /// Are to leave the room with the turn that is being gathered.
    leaving_next: Vec<Listed>,
    /// Are to leave the room with the turn on its way.
    leaving_now: Vec<Listed>,
    /// Have left the room, and may be done.
    reap_list: Vec<Listed>,
    deadlines: Deadlines,
    read_buffer: Box<[u8]>,
    next_serial: u64,
    /// Invariant: how many connections of `slab` were refused.
    refused_count: usize,
    traffic: Traffic,
    /// Messages that all together is too much.
    total_log: LogLimit,
}

impl<S: Stream> Clients<S> {
    /// No connections yet.
    pub fn new(policy: Policy, now: Instant) -> Self {
        Self {
            slab: Slab::with_capacity(INITIAL_CAPACITY),
            end_key: 0,
            policy,
            now,
            flow: Flow::new(policy.flow),
            backlog: Backlog::new(),
            own_cost_bytes: 0,
            last_congestion: 0,
            gathered_bytes: 0,
            sending: Sending::default(),
            read_lists: ReadLists::default(),
            flush_list: VecDeque::new(),
            leaving_next: Vec::new(),
            leaving_now: Vec::new(),
            reap_list: Vec::new(),
            deadlines: Deadlines::default(),
            read_buffer: vec![0; READ_BUDGET_BYTES].into_boxed_slice(),
            next_serial: 0,
            refused_count: 0,
            traffic: Traffic::default(),
            total_log: LogLimit::new(),
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

    /// How they stand.
    pub fn load(&self) -> Load {
        Load {
            traffic: self.traffic,
            backlog_bytes: self.owed_bytes(),
            paused: self.paused(),
        }
    }

    /// Whether a stage has something to do though no event may come.
    pub fn has_work(&self) -> bool {
        self.read_lists.has_work()
            || self.is_sending()
            || !self.flush_list.is_empty()
            || self.has_leavers()
            || !self.reap_list.is_empty()
    }

    /// Whether somebody is to leave with the turn that is being gathered.
    pub fn has_leavers(&self) -> bool {
        !self.leaving_next.is_empty()
    }

    /// From now on it is `now`.
    pub fn set_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// Takes in a connection that is in the room from now on.
    pub fn insert(&mut self, stream: S) -> ClientId {
        let key = self.insert_connection(stream);
        if self.policy.rate.is_some() || self.policy.idle_timeout.is_some() {
            self.slab[key].restraint = Some(Box::new(Restraint::new(self.now)));
        }
        if let Some(timeout) = self.policy.idle_timeout {
            self.arm(key, self.now + timeout, Kind::Idle);
        }
        ClientId(key)
    }

    fn insert_connection(&mut self, stream: S) -> usize {
        let connection = Connection::new(stream, self.next_serial, self.policy.max_line_bytes);
        self.next_serial += 1;
        let key = self.slab.insert(connection);
        self.end_key = self.end_key.max(key + 1);
        key
    }

    /// Takes in a connection only to tell it `refusal` and to close it.
    pub fn insert_refused(&mut self, mut stream: S, refusal: &Frame) {
        if self.refused_count >= MAX_REFUSED {
            // Whether it is heard or not, there is no more to be done for it.
            let _ = stream.write(refusal);
            return;
        }
        let key = self.insert_connection(stream);
        self.refused_count += 1;
        let connection = &mut self.slab[key];
        connection.is_refused = true;
        self.traffic.bytes_out += refusal.len() as u64;
        let sent = connection.send_frame(refusal);
        self.begin_close(key, CLOSE_TIMEOUT);
        self.after_write(key, sent);
    }

    /// Sends `frame` to one client, before whatever the next turn holds for it.
    pub fn send_frame(&mut self, ClientId(key): ClientId, frame: &Frame) {
        let connection = &mut self.slab[key];
        self.traffic.bytes_out += frame.len() as u64;
        let sent = connection.send_frame(frame);
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

    /// Notes who is to leave with the turn that is being gathered because the service
    /// asked for it. A client's first reason holds.
    pub fn close_those_asked_for(&mut self, turn: &mut Batch) {
        for (ClientId(key), reason) in turn.take_closes() {
            if self.slab.contains(key) {
                self.leave(key, reason);
            }
        }
    }

    /// Everybody in the room is to leave with the turn that is being gathered.
    pub fn close_all(&mut self, reason: CloseReason) {
        for key in 0..self.end_key {
            if self.slab.contains(key) {
                self.leave(key, reason);
            }
        }
    }

    /// `key` is to leave with the turn that is being gathered; or, if it has left
    /// already, nothing more is expected of it.
    fn leave(&mut self, key: usize, reason: CloseReason) {
        let connection = &mut self.slab[key];
        let serial = connection.serial;
        match connection.phase {
            Phase::Open if connection.leaving.is_some() => {}
            Phase::Open => {
                connection.leaving = Some(reason);
                self.leaving_next.push(Listed { key, serial });
            }
            Phase::Flushing | Phase::Lingering => self.list_for_reaping(key),
        }
    }

    /// Reap: clients that are to leave leave the room, and connections that are
    /// done are removed, nowhere but here. What `service` says to that goes into
    /// `turn`, which is the next one. Returns how many were removed.
    pub fn reap(&mut self, service: &mut impl Service, turn: &mut Batch) -> usize {
        debug_assert!(!self.is_sending(), "who is to leave may be owed the turn");
        for listed in std::mem::take(&mut self.leaving_now) {
            let Some(connection) = listed.find(&mut self.slab) else {
                continue;
            };
            let reason = connection.leaving.expect("it is to leave");
            debug_assert_eq!(connection.phase, Phase::Open, "nobody leaves twice");
            self.say_farewell(listed.key, reason, service.farewell(reason));
            service.left(ClientId(listed.key), reason, self.now, turn);
            self.list_for_reaping(listed.key);
        }
        let before = self.slab.len();
        for listed in std::mem::take(&mut self.reap_list) {
            if listed.find(&mut self.slab).is_some() {
                self.advance_close(listed.key);
            }
        }
        before - self.slab.len()
    }

    /// Puts `key`, which has left the room, down to be closed if it is done.
    fn list_for_reaping(&mut self, key: usize) {
        let connection = &self.slab[key];
        debug_assert_ne!(connection.phase, Phase::Open, "it has to leave first");
        let serial = connection.serial;
        self.reap_list.push(Listed { key, serial });
    }

    /// `key` leaves the room. It still gets `farewell` and, unless it is dropped, what
    /// it is owed.
    fn say_farewell(&mut self, key: usize, reason: CloseReason, farewell: Option<Frame>) {
        let connection = &mut self.slab[key];
        let last_words = farewell.as_deref().unwrap_or_default();
        self.traffic.bytes_out += last_words.len() as u64;
        if reason.drops_backlog() {
            connection.is_dropped = true;
            connection.cut_short(last_words);
            // It was not writable. It gets a last chance.
            connection.mark_writable();
            let flushed = connection.flush();
            self.begin_close(key, LAST_WORDS_TIMEOUT);
            self.after_write(key, flushed);
        } else {
            let sent = farewell.map(|farewell| connection.send_frame(&farewell));
            self.begin_close(key, CLOSE_TIMEOUT);
            if let Some(sent) = sent {
                self.after_write(key, sent);
            }
        }
    }

    /// From now on the connection is written what it is owed, and no more. It has to
    /// take some of that within each [`FLUSH_TIMEOUT`], and all of it within `timeout`.
    fn begin_close(&mut self, key: usize, timeout: Duration) {
        let connection = &mut self.slab[key];
        connection.phase = Phase::Flushing;
        connection.progressed = false;
        if !connection.is_flushed() {
            let at = self.now + timeout.min(FLUSH_TIMEOUT);
            let last = self.now + timeout;
            self.arm(key, at, Kind::Flush { last });
        }
        if !matches!(self.slab[key].reading, ReadState::Idle | ReadState::Listed) {
            // What it still says is read and dropped, or it would be reset.
            self.list_for_reading(key);
        }
    }

    /// Takes a connection that has left the room as far towards its end as it
    /// can go now.
    fn advance_close(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        if !connection.is_flushed() {
            return;
        }
        if connection.read_ended() {
            self.remove(key);
        } else if connection.phase == Phase::Flushing {
            connection.shutdown_write();
            connection.phase = Phase::Lingering;
            let timeout = match connection.is_dropped {
                true => LAST_WORDS_TIMEOUT,
                false => LINGER_TIMEOUT,
            };
            self.arm(key, self.now + timeout, Kind::Linger);
        }
    }

    /// Gives up on a connection that has left: what it was owed is lost to it.
    fn give_up(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        connection.reset_when_closed();
        connection.abort();
        self.list_for_reaping(key);
    }

    /// Gives up everybody: the loop ends.
    pub fn abandon_all(&mut self) {
        for key in 0..self.end_key {
            if let Some(connection) = self.slab.get_mut(key) {
                connection.abort();
                self.observe(key);
                self.remove(key);
            }
        }
    }

    /// Closes the socket, and so takes it out of the poll.
    fn remove(&mut self, key: usize) {
        let mut connection = self.slab.remove(key);
        self.flow.release(&mut connection.reader);
        self.traffic.bytes_lost += connection.lost_bytes as u64;
        self.own_cost_bytes -= connection.counted_bytes;
        self.refused_count -= usize::from(connection.is_refused);
        while self.end_key > 0 && !self.slab.contains(self.end_key - 1) {
            self.end_key -= 1;
        }
    }

    /// The next moment at which [`Clients::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next_at()
    }

    /// Deals with the deadlines that have passed.
    pub fn expire(&mut self) {
        for _ in 0..DEADLINE_BUDGET {
            let Some(deadline) = self.deadlines.pop_due(self.now) else {
                return;
            };
            let key = deadline.of.key;
            let Some(connection) = deadline.of.find(&mut self.slab) else {
                continue;
            };
            match deadline.kind {
                Kind::Look => {
                    // The kernel tells that a socket is writable only once much of its
                    // buffer is free again: a slow reader may have made room and not
                    // be told of.
                    connection.mark_writable();
                    connection.is_to_be_looked_at = true;
                    self.list_for_flushing(key);
                }
                Kind::Speak if connection.reading == ReadState::Delayed => {
                    connection.reading = ReadState::Idle;
                    self.list_for_reading(key);
                }
                Kind::Speak => {}
                Kind::Idle => self.idle_timeout_over(key),
                Kind::Flush { last } if connection.phase == Phase::Flushing => {
                    if std::mem::take(&mut connection.progressed) && self.now < last {
                        let at = last.min(self.now + FLUSH_TIMEOUT);
                        self.arm(key, at, Kind::Flush { last });
                    } else {
                        self.give_up(key);
                    }
                }
                Kind::Linger if connection.is_dropped => self.give_up(key),
                Kind::Linger => {
                    connection.abort();
                    self.list_for_reaping(key);
                }
                Kind::Flush { .. } => {}
            }
        }
    }

    /// Looks whether `key` has been silent for too long.
    fn idle_timeout_over(&mut self, key: usize) {
        let connection = &self.slab[key];
        let (Some(timeout), Some(restraint)) = (self.policy.idle_timeout, &connection.restraint)
        else {
            return;
        };
        // Who is not read just now cannot be said to be silent.
        let heard_at = match connection.reading {
            ReadState::Idle => restraint.heard_at,
            _ => self.now,
        };
        match heard_at + timeout {
            _ if !connection.is_member() => {}
            at if at > self.now => self.arm(key, at, Kind::Idle),
            _ => self.leave(key, CloseReason::Idle),
        }
    }

    fn arm(&mut self, key: usize, at: Instant, kind: Kind) {
        let serial = self.slab[key].serial;
        let of = Listed { key, serial };
        self.deadlines.push(Deadline { at, of, kind });
        if self.deadlines.is_to_be_swept() {
            self.deadlines.sweep(|of| of.is_in(&self.slab));
        }
    }
}
