//! A loop without a poll: sockets that follow a script, a clock that only the test
//! moves, and a room.

#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../../../../tests/common/plain_service.rs"]
mod plain_service;
#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../../../../tests/common/scripted_stream.rs"]
mod scripted_stream;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use self::plain_service::PlainService;
pub(super) use self::plain_service::{ANSWER, JOIN, JOINED, PATIENCE, SHUT, TOO_LONG};
pub(super) use self::scripted_stream::FarEnd as Socket;
use self::scripted_stream::ScriptedStream;
use crate::protocol::close::CloseReason;
use crate::reactor::acceptor::Accepted;
use crate::reactor::event_loop::{EventLoop, Status};
use crate::reactor::service::Policy;
use crate::room;

pub(super) const WELCOME: &str = "Welcome to this chatroom!\n";

pub(super) const POLICY: Policy = Policy::DEFAULT;

/// The loop, a clock that only a test moves, and those who wait to be accepted.
pub(super) struct Loop {
    pub(super) event_loop: EventLoop<ScriptedStream>,
    pub(super) host: PlainService,
    pub(super) waiting: VecDeque<Socket>,
    waiting_visitors: VecDeque<(Socket, Ipv4Addr)>,
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
            host: PlainService::new(room::Config::plain(policy.max_line_bytes), max_clients),
            waiting: VecDeque::new(),
            waiting_visitors: VecDeque::new(),
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
        let key = self.event_loop.clients.next_key();
        let socket = self.connect();
        assert_eq!(socket.received(), WELCOME);
        (key, socket)
    }

    /// With a door at which newcomers wait.
    pub(super) fn locked(policy: Policy) -> Self {
        let mut room = Self::with_policy(policy);
        room.host.waiting = Some(HashMap::new());
        room
    }

    /// A client waits at the door.
    pub(super) fn wait_outside(&mut self) -> (usize, Socket) {
        let key = self.event_loop.clients.next_key();
        let socket = self.connect();
        assert_eq!(socket.received(), SHUT);
        (key, socket)
    }

    /// A client comes in by the door.
    pub(super) fn come_in(&mut self) -> (usize, Socket) {
        let (key, socket) = self.wait_outside();
        socket.sends("knock\n");
        self.readable(key);
        assert_eq!(socket.received(), WELCOME);
        (key, socket)
    }

    /// Somebody connects where peers speak first.
    pub(super) fn visit(&mut self) -> (usize, Socket) {
        self.visit_from(Ipv4Addr::LOCALHOST)
    }

    pub(super) fn visit_from(&mut self, address: Ipv4Addr) -> (usize, Socket) {
        let key = self.event_loop.clients.next_key();
        let socket = Socket::new();
        self.waiting_visitors.push_back((socket.clone(), address));
        self.event_loop.mark_visitors();
        self.settle();
        (key, socket)
    }

    /// A client comes in whose bytes are in frames, and has read its welcome.
    pub(super) fn join_with_frames(&mut self) -> (usize, Socket) {
        let (key, socket) = self.visit();
        socket.sends(JOIN);
        self.readable(key);
        let welcome = [JOINED, &[0x82, WELCOME.len() as u8], WELCOME.as_bytes()].concat();
        assert_eq!(socket.received_bytes(), welcome);
        (key, socket)
    }

    pub(super) fn iterate(&mut self) {
        let accept = |key: usize| match self.waiting.pop_front() {
            Some(socket) if self.out_of_descriptors => {
                self.waiting.push_front(socket);
                Accepted::Exhausted {
                    error: io::Error::from_raw_os_error(24),
                    is_of_descriptors: true,
                }
            }
            Some(socket) => {
                let address = Ipv4Addr::new(10, 0, (key / 256) as u8, key as u8);
                Accepted::Client(socket.stream(), address.into())
            }
            None => Accepted::Nobody,
        };
        let accept_visitor = |_| match self.waiting_visitors.pop_front() {
            Some((socket, address)) => Accepted::Client(socket.stream(), address.into()),
            None => Accepted::Nobody,
        };
        self.status = (self.event_loop)
            .iterate_with_visitors(self.now, &mut self.host, accept, accept_visitor)
            .unwrap();
    }

    /// Iterates until the loop would wait.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.status == Status::Ended
                || self.event_loop.poll_timeout(&self.host, self.now) != Some(Duration::ZERO)
            {
                return;
            }
            self.iterate();
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
        socket.sends(line.repeat(bytes.div_ceil(line.len())));
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
            self.iterate();
        }
        self.now = until;
    }

    /// The service asks for `key` to be sent away.
    pub(super) fn send_away(&mut self, key: usize) {
        let id = self.event_loop.clients.id(key);
        let batch = self.event_loop.clients.context().batch;
        batch.close(id, CloseReason::Shutdown);
        self.settle();
    }
}
