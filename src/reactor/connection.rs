//! One client's connection: its transport, what it sends, what it is owed, and how far
//! it is on its way out.
//!
//! A connection does the reading and writing for one client and says what came of it;
//! who gets what, and when a connection is dropped, is decided elsewhere. It is small,
//! for a room may hold many: it has no read buffer, and owns no heap memory while its
//! client is idle and owed nothing.

pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod transport;
pub(crate) mod visit;
pub(crate) mod websocket;

use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::Instant;

use self::input::{AfterRead, Heard, Input, ReadLimits};
use self::output::{Change, Output};
use self::transport::Transport;
use self::visit::Visit;
use self::websocket::WebSocket;
use super::shared_log::SharedLogs;
use super::stream::Stream;
use super::write_queue::Flushed;
use crate::protocol::batch::{Batch, ClientId, Edits, Frame};
use crate::protocol::close::CloseReason;
use crate::protocol::websocket::Sender;

/// The most that may come of a client outside the room: some twenty times what it takes to give
/// the longest password, in a few tries. Flow control paces members alone.
pub const OUTSIDE_BYTES: u16 = 4 * 1024;

/// How far a connection is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// On the port where peers speak first: it has not said yet what it wants.
    Visiting,
    /// Refused, and still heard: it may have a place in the room, or the password, and show that.
    Outside {
        /// So many bytes have come of it.
        read_bytes: u16,
    },
    /// It has, and is in the room from the batch on that is being gathered.
    Admitted,
    /// In the room.
    Member,
    /// In the room until the batch that was being gathered has been sent to all.
    Leaving(CloseReason),
    /// Out of the room: it is written what it is owed, and no more is added.
    Flushing {
        exit: Exit,
        /// It has taken some of that since this was last asked.
        progressed: bool,
    },
    /// It has all it is owed and our side is shut down. Until the peer ends its
    /// side too, its input is read and dropped: were a socket with unread input
    /// closed, the kernel would reset the connection, and the peer could lose
    /// what it was owed (RFC 2525, section 2.17).
    Lingering(Exit),
}

/// How a client went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It gets what it was owed.
    Ordinary,
    /// It did not read, and loses what it was owed.
    Dropped,
    /// It was never in the room.
    Refused,
    /// It was a visitor, and has its answer.
    Answered,
}

/// What is to be done next for a connection that has left the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advance {
    /// Nothing: it is still owed something, or its peer has not ended its side.
    Wait,
    /// It was just told that this is the end, and has not taken that: give it some time.
    Flush,
    /// Our side was just shut down: give the peer some time to end its own.
    Linger(Exit),
    /// It can be closed.
    Close,
}

/// One client's socket and what belongs to it.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    serial: u64,
    phase: Phase,
    /// What waits for its client cost by itself when that was last counted. Here, and not in the
    /// output, because there it would take eight bytes.
    counted_bytes: u32,
    transport: Transport<S>,
    pub(super) input: Input,
    pub(super) output: Output,
    /// What it needs besides, if it came to the port where peers speak first.
    web: Option<Box<Web>>,
}

/// What a connection to the port where peers speak first has of its own.
#[derive(Debug)]
enum Web {
    Visit(Visit),
    Socket(WebSocket),
}

impl Web {
    // Without the feature there is neither: what handles them is left out of the program.

    fn visit(web: &mut Option<Box<Self>>) -> Option<&mut Visit> {
        match web.as_deref_mut() {
            Some(Self::Visit(visit)) if cfg!(feature = "web") => Some(visit),
            _ => None,
        }
    }

    fn socket(web: &mut Option<Box<Self>>) -> Option<&mut WebSocket> {
        match web.as_deref_mut() {
            Some(Self::Socket(socket)) if cfg!(feature = "web") => Some(socket),
            _ => None,
        }
    }

    fn is_socket(web: &Option<Box<Self>>) -> bool {
        cfg!(feature = "web") && matches!(web.as_deref(), Some(Self::Socket(_)))
    }

    fn sender(web: &mut Option<Box<Self>>) -> Option<&mut Sender> {
        Self::socket(web).map(|socket| &mut socket.sender)
    }
}

impl<S: Stream> Connection<S> {
    /// A member's connection, on a fresh `transport`. `serial` tells it from others that
    /// had its key before.
    pub(crate) fn new(transport: Transport<S>, serial: u64, max_line_bytes: u32) -> Self {
        Self {
            serial,
            phase: Phase::Member,
            counted_bytes: 0,
            transport,
            input: Input::new(max_line_bytes),
            output: Output::default(),
            web: None,
        }
    }

    /// It is a visitor's, from `address`.
    pub(crate) fn visit(&mut self, address: IpAddr) {
        self.phase = Phase::Visiting;
        self.web = Some(Box::new(Web::Visit(Visit::new(address))));
    }

    /// What its visitor has said so far. `None` if that has been understood, or it has none.
    pub(crate) fn visiting(&mut self) -> Option<&mut Visit> {
        let is_visiting = self.phase == Phase::Visiting;
        Web::visit(&mut self.web).filter(|_| is_visiting)
    }

    /// Whether it is a visitor's, who may have been answered.
    pub(crate) fn is_visitor(&self) -> bool {
        matches!(self.web.as_deref(), Some(Web::Visit(_)))
    }

    /// Reads what its visitor says, as [`Visit::read`] does.
    pub(crate) fn read_visitor(&mut self, buffer: &mut [u8]) -> (usize, AfterRead) {
        match Web::visit(&mut self.web) {
            Some(visit) => visit.read(&mut self.transport, buffer),
            None => (0, AfterRead::WouldBlock),
        }
    }

    /// Its visitor wants to be a member, and to have WebSocket's frames; `answer` says that it
    /// may. What it said after the first `head_bytes` is the first of them. Returns where it
    /// came from.
    pub(crate) fn upgrade(
        &mut self,
        answer: &[u8],
        head_bytes: usize,
    ) -> Option<(IpAddr, Vec<u8>)> {
        let visit = self.visiting()?;
        let address = visit.address;
        let rest = visit.bytes().get(head_bytes..).unwrap_or_default().to_vec();
        self.web = Some(Box::new(Web::Socket(WebSocket::new(answer))));
        self.phase = Phase::Member;
        // Lists know it by another id.
        self.output.is_listed = false;
        Some((address, rest))
    }

    /// `frames` were read before it had frames.
    pub(crate) fn receive_early(&mut self, mut frames: Vec<u8>, now: Instant) {
        if let Some(socket) = Web::socket(&mut self.web) {
            let data_bytes = socket.receiver.receive(&mut frames);
            frames.truncate(data_bytes);
            self.input.hear_later(frames, now);
            socket.answer_ping();
        }
    }

    /// Whether framing waits to be sent: an answer to a ping, or the last frame.
    fn owes_framing(&self) -> bool {
        match self.web.as_deref() {
            Some(Web::Socket(socket)) => !socket.sender.is_idle() && !self.transport.write_ended(),
            _ => false,
        }
    }

    /// Sends the framing that waits, if there is some.
    pub(crate) fn send_framing(&mut self) -> Option<io::Result<Flushed>> {
        self.owes_framing().then(|| self.flush())
    }

    /// How many connections came before it.
    pub(crate) fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether it is in the room, and stays there as far as is known.
    pub(crate) fn is_member(&self) -> bool {
        self.phase == Phase::Member
    }

    /// It is refused, and still heard.
    pub(crate) fn stay_outside(&mut self) {
        self.phase = Phase::Outside { read_bytes: 0 };
    }

    /// Whether it is refused, and still heard.
    pub(crate) fn is_outside(&self) -> bool {
        matches!(self.phase, Phase::Outside { .. })
    }

    /// Whether it has said more than [`OUTSIDE_BYTES`] outside.
    pub(crate) fn has_said_too_much(&self) -> bool {
        matches!(self.phase, Phase::Outside { read_bytes } if read_bytes > OUTSIDE_BYTES)
    }

    /// It has joined after all.
    pub(crate) fn come_in(&mut self) {
        debug_assert!(self.is_outside());
        self.phase = Phase::Member;
    }

    /// It is let in after all. False if it was not outside.
    pub(crate) fn admit(&mut self) -> bool {
        let is_outside = self.is_outside();
        if is_outside {
            self.phase = Phase::Admitted;
        }
        is_outside
    }

    /// Whether it is let in, and not in the room yet.
    pub(crate) fn is_admitted(&self) -> bool {
        self.phase == Phase::Admitted
    }

    /// The batch begins with which it is in the room.
    pub(crate) fn enter(&mut self) {
        debug_assert!(self.is_admitted());
        self.phase = Phase::Member;
    }

    /// Whether it gets what is said.
    pub(crate) fn is_in_room(&self) -> bool {
        matches!(self.phase, Phase::Member | Phase::Leaving(_))
    }

    /// What waits for it that it has asked for, or said, itself: it is not read while that is
    /// much. A program gets all that it says back, among what others say.
    pub(crate) fn owed_by_itself_bytes(&self, logs: &SharedLogs) -> usize {
        if self.input.is_program() {
            self.held_bytes(logs)
        } else {
            self.output.queue().own_cost_bytes() + self.transport.pending_bytes()
        }
    }

    /// Whether nobody else can read it.
    pub(crate) fn is_secured(&self) -> bool {
        self.transport.is_secured()
    }

    /// What the client keeps in memory because it lags, in bytes.
    pub(crate) fn held_bytes(&self, logs: &SharedLogs) -> usize {
        self.output.held_bytes(logs) + self.transport.pending_bytes()
    }

    /// What has changed about its output since this was last asked.
    pub(crate) fn take_change(&mut self) -> Change {
        let before_bytes = self.counted_bytes as usize;
        let change = self.output.take_change(&self.transport, before_bytes);
        // Far below 4 GiB: a queue is bounded by --max-backlog.
        self.counted_bytes = u32::try_from(change.own_cost_bytes.1).unwrap_or(u32::MAX);
        change
    }

    /// How many bytes of it were received, and are no input yet.
    pub(crate) fn received_bytes(&self) -> usize {
        if self.is_member() || self.is_outside() {
            self.transport.received_bytes()
        } else {
            0
        }
    }

    /// Whether nothing waits to be written.
    pub(crate) fn is_flushed(&self) -> bool {
        let is_passed_on = self.output.queue().is_empty() && self.transport.pending_bytes() == 0;
        is_passed_on && !self.owes_framing()
    }

    /// How it went, once it has left the room.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.phase {
            Phase::Visiting
            | Phase::Outside { .. }
            | Phase::Admitted
            | Phase::Member
            | Phase::Leaving(_) => None,
            Phase::Flushing { exit, .. } | Phase::Lingering(exit) => Some(exit),
        }
    }

    /// Notes that the socket is said to take data again. True when there is
    /// something to flush.
    pub(crate) fn mark_writable(&mut self) -> bool {
        self.transport.mark_writable();
        !self.is_flushed()
    }

    /// Reads what the client has sent, as [`Input::read`] does; once it is no member,
    /// without hearing it. Returns how many bytes a member sent, and where it stopped.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        limits: ReadLimits,
        hear: &mut impl FnMut(Heard<'_>) -> ControlFlow<()>,
    ) -> (usize, AfterRead) {
        let is_heard = self.is_member() || self.is_outside() || self.is_admitted();
        let (read_bytes, after_read) = if is_heard {
            let mut socket = Web::socket(&mut self.web);
            let receiver = socket.as_mut().map(|socket| &mut socket.receiver);
            let read = (self.input).read(&mut self.transport, receiver, buffer, limits, hear);
            if let Some(socket) = socket {
                socket.answer_ping();
            }
            read
        } else {
            (0, Input::discard(&mut self.transport, buffer, limits))
        };
        if let Phase::Outside { read_bytes: before } = &mut self.phase {
            *before = before.saturating_add(u16::try_from(read_bytes).unwrap_or(u16::MAX));
        }
        if self.transport.write_ended() {
            // A read that fails ends both sides.
            self.output.lose();
        }
        (read_bytes, after_read)
    }

    /// Whether what it is sent is in WebSocket's frames.
    pub(crate) fn is_framed(&self) -> bool {
        Web::is_socket(&self.web)
    }

    /// [`Output::send_shared`].
    pub(crate) fn send_shared(
        &mut self,
        batch: &Batch,
        by_reference: bool,
        logs: &mut SharedLogs,
    ) -> io::Result<Flushed> {
        if self.web.is_some() {
            return self.send_shared_framed(batch, logs);
        }
        (self.output).send_shared(&mut self.transport, batch, by_reference, logs)
    }

    /// [`Output::send_framed`]. Apart from [`Connection::send_shared`], where every instruction
    /// counts.
    #[cold]
    fn send_shared_framed(&mut self, batch: &Batch, logs: &mut SharedLogs) -> io::Result<Flushed> {
        match Web::sender(&mut self.web) {
            Some(sender) => (self.output).send_framed(&mut self.transport, sender, batch, logs),
            None => Ok(Flushed::All),
        }
    }

    /// [`Output::send_edited`].
    pub(crate) fn send_edited(
        &mut self,
        batch: &Batch,
        edits: Edits<'_>,
        by_reference: bool,
        logs: &mut SharedLogs,
    ) -> io::Result<Flushed> {
        let framing = Web::sender(&mut self.web);
        let transport = &mut self.transport;
        (self.output).send_edited(transport, framing, batch, edits, by_reference, logs)
    }

    /// [`Output::send_frame`].
    pub(crate) fn send_frame(&mut self, frame: &Frame) -> io::Result<Flushed> {
        let framing = Web::sender(&mut self.web);
        (self.output).send_frame(&mut self.transport, framing, frame)
    }

    /// [`Output::flush`].
    pub(crate) fn flush(&mut self) -> io::Result<Flushed> {
        let before = self.output.unwritten_bytes(&self.transport);
        let framing = Web::sender(&mut self.web);
        let flushed = self.output.flush(&mut self.transport, framing);
        if let Phase::Flushing { progressed, .. } = &mut self.phase
            && flushed.is_ok()
        {
            *progressed |= self.output.unwritten_bytes(&self.transport) < before;
        }
        flushed
    }

    /// It is to leave the room, for this reason. False if it is known already, or has
    /// left: the first reason holds.
    pub(crate) fn leave(&mut self, reason: CloseReason) -> bool {
        let is_member = self.is_member();
        if is_member {
            self.phase = Phase::Leaving(reason);
        }
        is_member
    }

    /// Why it is to leave, while it is to.
    pub(crate) fn leaving(&self) -> Option<CloseReason> {
        match self.phase {
            Phase::Leaving(reason) => Some(reason),
            _ => None,
        }
    }

    /// Out of the room: from now on it is written what it is owed, and no more.
    pub(crate) fn depart(&mut self, exit: Exit) {
        debug_assert_eq!(self.exit(), None, "nobody leaves twice");
        let reason = self.leaving();
        if let Some(socket) = Web::socket(&mut self.web) {
            socket.close(reason);
        }
        self.phase = Phase::Flushing {
            exit,
            progressed: false,
        };
    }

    /// It loses what it is owed, but for the rest of a line that was begun; `last_words`
    /// take its place. It was not writable, and gets a last chance.
    pub(crate) fn cut_short(&mut self, last_words: &[u8]) -> io::Result<Flushed> {
        let framing = Web::sender(&mut self.web);
        if !self.transport.write_ended() {
            let promised_bytes = framing.as_ref().map_or(0, |sender| sender.owed_bytes());
            self.output.cut_short(promised_bytes, last_words);
        }
        self.transport.mark_writable();
        self.output.flush(&mut self.transport, framing)
    }

    /// Whether it waits to be flushed, and has taken something since this was last
    /// asked. `None` when it does not wait for that any more.
    pub(crate) fn take_progress(&mut self) -> Option<bool> {
        match &mut self.phase {
            Phase::Flushing { progressed, .. } => Some(std::mem::take(progressed)),
            _ => None,
        }
    }

    /// Takes a connection that has left the room as far towards its end as it can go
    /// now.
    pub(crate) fn advance(&mut self) -> Advance {
        if !self.is_flushed() || self.is_admitted() {
            return Advance::Wait;
        }
        // A visitor has its answer coming, and who is outside may come in yet.
        if self.exit().is_some() && !self.transport.say_goodbye() {
            return Advance::Flush;
        }
        if self.transport.read_ended() {
            return Advance::Close;
        }
        if let Phase::Flushing { exit, .. } = self.phase {
            self.transport.shutdown_write();
            self.phase = Phase::Lingering(exit);
            return Advance::Linger(exit);
        }
        Advance::Wait
    }

    /// Ends both sides. What it was owed is lost.
    pub(crate) fn end(&mut self) {
        self.transport.end();
        self.output.lose();
    }

    /// Ends both sides by a reset: the kernel, too, forgets what the peer has not taken.
    pub(crate) fn reset(&mut self) {
        self.transport.reset_when_closed();
        self.end();
    }
}

/// The connections, in a slab keyed by token.
#[derive(Debug)]
pub(crate) struct ConnectionSlab<S> {
    slab: slab::Slab<Connection<S>>,
    /// Invariant: above every key of `slab`.
    end_key: usize,
    next_serial: u64,
}

impl<S: Stream> ConnectionSlab<S> {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            slab: slab::Slab::with_capacity(capacity),
            end_key: 0,
            next_serial: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// What the next connection will be called.
    pub(crate) fn next_id(&self) -> ClientId {
        ClientId {
            key: self.slab.vacant_key(),
            serial: self.next_serial,
        }
    }

    /// Takes in a connection on `transport`, under [`ConnectionSlab::next_id`].
    pub(crate) fn insert(&mut self, transport: Transport<S>, max_line_bytes: u32) -> ClientId {
        let id = self.next_id();
        self.next_serial += 1;
        self.slab
            .insert(Connection::new(transport, id.serial, max_line_bytes));
        self.end_key = self.end_key.max(id.key + 1);
        id
    }

    /// Has the connection with this key have another id, as if it had just come.
    pub(crate) fn rename(&mut self, key: usize) -> Option<ClientId> {
        let serial = self.next_serial;
        self.slab.get_mut(key)?.serial = serial;
        self.next_serial += 1;
        Some(ClientId { key, serial })
    }

    pub(crate) fn remove(&mut self, key: usize) -> Connection<S> {
        let connection = self.slab.remove(key);
        while self.end_key > 0 && !self.slab.contains(self.end_key - 1) {
            self.end_key -= 1;
        }
        connection
    }

    /// Above every key in use.
    pub(crate) fn end_key(&self) -> usize {
        self.end_key
    }

    /// The connection that has this key now.
    pub(crate) fn at(&mut self, key: usize) -> Option<&mut Connection<S>> {
        self.slab.get_mut(key)
    }

    /// The connection called so, unless it is gone. Its key may be another's by now.
    pub(crate) fn get(&mut self, id: ClientId) -> Option<&mut Connection<S>> {
        let connection = self.slab.get_mut(id.key)?;
        (connection.serial == id.serial).then_some(connection)
    }

    pub(crate) fn contains(&self, id: ClientId) -> bool {
        let connection = self.slab.get(id.key);
        connection.is_some_and(|connection| connection.serial == id.serial)
    }

    /// What the connection with this key is called.
    pub(crate) fn id(&self, key: usize) -> Option<ClientId> {
        let serial = self.slab.get(key)?.serial;
        Some(ClientId { key, serial })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClientId, &Connection<S>)> {
        self.slab.iter().map(|(key, connection)| {
            let serial = connection.serial;
            (ClientId { key, serial }, connection)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        // A descriptor stands for the stream.
        assert!(size_of::<Connection<i32>>() <= 112);
    }
}
