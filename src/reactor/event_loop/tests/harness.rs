//! A loop without a poll: sockets that follow a script, a clock that only the test
//! moves, and a room.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::Token;

use crate::admission::{self, Admission};
use crate::close::CloseReason;
use crate::connection::Stream;
use crate::figures::Load;
use crate::line::Decoded;
use crate::reactor::event_loop::{Accepted, EventLoop, Status};
use crate::reactor::{Next, Policy, Service};
use crate::room::{self, Room};
use crate::turn::{ClientId, Turn};
use crate::write_queue::Frame;

pub(super) const WELCOME: &str = "Welcome to this chatroom!\n";

pub(super) const POLICY: Policy = Policy::DEFAULT;

/// The far end of a scripted socket.
pub(super) struct Peer {
    /// What reads will give, and then `WouldBlock`.
    input: VecDeque<io::Result<Vec<u8>>>,
    /// How much of the first of those has been given.
    given_bytes: usize,
    /// How much writes take before they would block.
    room_bytes: usize,
    write_error: Option<io::ErrorKind>,
    pub(super) received: Vec<u8>,
    pub(super) writes: usize,
    saw_end: bool,
    pub(super) is_reset: bool,
}

/// Our end of it.
#[derive(Clone)]
pub(super) struct Socket(pub(super) Rc<RefCell<Peer>>);

impl Socket {
    pub(super) fn new() -> Self {
        Self(Rc::new(RefCell::new(Peer {
            input: VecDeque::new(),
            given_bytes: 0,
            room_bytes: usize::MAX,
            write_error: None,
            received: Vec::new(),
            writes: 0,
            saw_end: false,
            is_reset: false,
        })))
    }

    pub(super) fn sends(&self, text: &str) {
        self.0.borrow_mut().input.push_back(Ok(text.into()));
    }

    pub(super) fn ends(&self) {
        self.0.borrow_mut().input.push_back(Ok(Vec::new()));
    }

    pub(super) fn resets(&self) {
        let reset = Err(io::ErrorKind::ConnectionReset.into());
        self.0.borrow_mut().input.push_back(reset);
    }

    pub(super) fn takes(&self, room_bytes: usize) {
        self.0.borrow_mut().room_bytes = room_bytes;
    }

    pub(super) fn refuses_writes(&self) {
        self.0.borrow_mut().write_error = Some(io::ErrorKind::BrokenPipe);
    }

    /// How much of what it sends has not been read.
    pub(super) fn unread_bytes(&self) -> usize {
        let peer = self.0.borrow();
        let all_bytes: usize = peer.input.iter().flatten().map(Vec::len).sum();
        all_bytes - peer.given_bytes
    }

    /// What it has received since this was last asked.
    pub(super) fn received(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.borrow_mut().received)).unwrap()
    }

    pub(super) fn is_open_here(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    pub(super) fn saw_end(&self) -> bool {
        self.0.borrow().saw_end
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let peer = &mut *self.0.borrow_mut();
        let Some(next) = peer.input.front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let Ok(bytes) = next else {
            return Err(peer.input.pop_front().unwrap().unwrap_err());
        };
        let rest = &bytes[peer.given_bytes..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        peer.given_bytes += count;
        if peer.given_bytes == bytes.len() {
            peer.input.pop_front();
            peer.given_bytes = 0;
        }
        Ok(count)
    }
}

impl Write for Socket {
    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        self.write(&joined)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut peer = self.0.borrow_mut();
        peer.writes += 1;
        if let Some(kind) = peer.write_error {
            return Err(kind.into());
        }
        let count = bytes.len().min(peer.room_bytes);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        peer.room_bytes -= count;
        peer.received.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Socket {
    fn shutdown_write(&self) -> io::Result<()> {
        self.0.borrow_mut().saw_end = true;
        Ok(())
    }

    fn reset_when_closed(&self) -> io::Result<()> {
        self.0.borrow_mut().is_reset = true;
        Ok(())
    }
}

/// A room without a console, and one source that asks for a shutdown.
pub(super) struct Host {
    admission: Admission,
    pub(super) room: Room,
    pub(super) left: Vec<(ClientId, CloseReason)>,
    pub(super) turns: usize,
}

impl Service for Host {
    fn admit(&mut self, address: IpAddr, now: Instant) -> Result<(), Frame> {
        self.admission.admit(address, now).map_err(room::refusal)
    }

    fn joined(&mut self, client: ClientId, address: IpAddr, now: Instant, turn: &mut Turn) {
        self.admission.entered(address);
        self.room.join(client, address, now, turn);
    }

    fn received(&mut self, client: ClientId, line: Decoded<'_>, now: Instant, turn: &mut Turn) {
        self.room.hear(client, line, now, turn);
    }

    fn farewell(&self, reason: CloseReason) -> Option<Frame> {
        self.room.farewell(reason)
    }

    fn left(&mut self, client: ClientId, reason: CloseReason, now: Instant, turn: &mut Turn) {
        let member = self.room.leave(client, now, turn);
        self.admission
            .left(member.expect("nobody leaves twice").address());
        self.left.push((client, reason));
    }

    fn deadline(&self) -> Option<Instant> {
        self.room.deadline()
    }

    fn expired(&mut self, now: Instant, turn: &mut Turn) -> Next {
        self.room.expire(now, turn);
        Next::Continue
    }

    fn source_ready(&mut self, _token: Token, _now: Instant, turn: &mut Turn) -> io::Result<Next> {
        self.room.close(turn);
        Ok(Next::Shutdown)
    }

    fn report(&mut self, _load: Load) {}

    fn said(&mut self, _text: &[u8]) {}

    fn turn_ended(&mut self) {
        self.turns += 1;
    }
}

/// The loop, a clock that only a test moves, and those who wait to be accepted.
pub(super) struct Loop {
    pub(super) event_loop: EventLoop<Socket>,
    pub(super) host: Host,
    pub(super) waiting: VecDeque<Socket>,
    pub(super) out_of_descriptors: bool,
    pub(super) now: Instant,
    pub(super) status: Status,
}

impl Loop {
    pub(super) fn new() -> Self {
        Self::with_room_for(1000)
    }

    pub(super) fn with_room_for(max_clients: usize) -> Self {
        Self::with(max_clients, POLICY)
    }

    pub(super) fn with_policy(policy: Policy) -> Self {
        Self::with(100_000, policy)
    }

    fn with(max_clients: usize, policy: Policy) -> Self {
        let now = Instant::now();
        Self {
            event_loop: EventLoop::new(policy, now),
            host: Host {
                admission: Admission::new(admission::Limits {
                    max_clients,
                    max_per_address: None,
                    rules: Vec::new(),
                }),
                room: Room::new(room::Config::plain(policy.max_line_bytes)),
                left: Vec::new(),
                turns: 0,
            },
            waiting: VecDeque::new(),
            out_of_descriptors: false,
            now,
            status: Status::Running,
        }
    }

    /// Somebody connects and is accepted as soon as can be.
    pub(super) fn connect(&mut self) -> Socket {
        let socket = Socket::new();
        self.waiting.push_back(socket.clone());
        self.event_loop.mark_listener();
        self.settle();
        socket
    }

    /// A client comes in and is welcomed. Clients get the keys 0, 1, 2 …
    pub(super) fn join(&mut self) -> (usize, Socket) {
        let key = self.event_loop.clients.vacant_key();
        let socket = self.connect();
        assert_eq!(socket.received(), WELCOME);
        (key, socket)
    }

    pub(super) fn turn(&mut self) {
        let accept = |key: usize| match self.waiting.pop_front() {
            Some(socket) if self.out_of_descriptors => {
                self.waiting.push_front(socket);
                Accepted::Exhausted(io::Error::from_raw_os_error(24))
            }
            Some(socket) => {
                let address = Ipv4Addr::new(10, 0, (key / 256) as u8, key as u8);
                Accepted::Client(socket, address.into())
            }
            None => Accepted::Nobody,
        };
        self.status = self
            .event_loop
            .turn(self.now, &mut self.host, accept)
            .unwrap();
    }

    /// Turns until the loop would wait.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.status == Status::Ended
                || self.event_loop.poll_timeout(&self.host, self.now) != Some(Duration::ZERO)
            {
                return;
            }
            self.turn();
        }
        panic!("the loop does not come to rest");
    }

    /// `key` has become readable.
    pub(super) fn readable(&mut self, key: usize) {
        self.event_loop.mark_client(key, true, false);
        self.settle();
    }

    /// `socket`, of client `key`, has so much to say that it is never read to the end.
    pub(super) fn floods(&mut self, key: usize, socket: &Socket, bytes: usize) {
        let line = "x".repeat(999) + "\n";
        socket.sends(&line.repeat(bytes.div_ceil(line.len())));
        self.event_loop.mark_client(key, true, false);
    }

    /// `key` has become writable.
    pub(super) fn writable(&mut self, key: usize) {
        self.event_loop.mark_client(key, false, true);
        self.settle();
    }

    /// Time goes by, and nothing else happens.
    pub(super) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while self.status != Status::Ended
            && let Some(timeout) = self.event_loop.poll_timeout(&self.host, self.now)
            && self.now + timeout <= until
        {
            self.now += timeout;
            self.turn();
        }
        self.now = until;
    }

    /// The service asks for `key` to be sent away.
    pub(super) fn send_away(&mut self, key: usize) {
        self.event_loop
            .turn
            .close(ClientId(key), CloseReason::Shutdown);
        self.settle();
    }
}
