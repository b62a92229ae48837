//! The stages of a turn, driven with sockets that follow a script.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use mio::Token;

use super::*;
use crate::connection::MAX_BACKLOG_BYTES;
use crate::line::Decoded;
use crate::reactor::Next;
use crate::room::{Limits, Room};

const WELCOME: &str = "Welcome to this chatroom!\n";

/// The far end of a scripted socket.
struct Peer {
    /// What reads will give, and then `WouldBlock`.
    input: VecDeque<io::Result<Vec<u8>>>,
    /// How much writes take before they would block.
    room_bytes: usize,
    write_error: Option<io::ErrorKind>,
    received: Vec<u8>,
    writes: usize,
    saw_end: bool,
}

/// Our end of it.
#[derive(Clone)]
struct Socket(Rc<RefCell<Peer>>);

impl Socket {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(Peer {
            input: VecDeque::new(),
            room_bytes: usize::MAX,
            write_error: None,
            received: Vec::new(),
            writes: 0,
            saw_end: false,
        })))
    }

    fn sends(&self, text: &str) {
        self.0.borrow_mut().input.push_back(Ok(text.into()));
    }

    fn ends(&self) {
        self.0.borrow_mut().input.push_back(Ok(Vec::new()));
    }

    fn resets(&self) {
        let reset = Err(io::ErrorKind::ConnectionReset.into());
        self.0.borrow_mut().input.push_back(reset);
    }

    fn takes(&self, room_bytes: usize) {
        self.0.borrow_mut().room_bytes = room_bytes;
    }

    fn refuses_writes(&self) {
        self.0.borrow_mut().write_error = Some(io::ErrorKind::BrokenPipe);
    }

    /// What it has received since this was last asked.
    fn received(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.borrow_mut().received)).unwrap()
    }

    fn is_open_here(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    fn saw_end(&self) -> bool {
        self.0.borrow().saw_end
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let peer = &mut *self.0.borrow_mut();
        let Some(next) = peer.input.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let mut bytes = next?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() {
            peer.input.push_front(Ok(bytes.split_off(count)));
        }
        Ok(count)
    }
}

impl Write for Socket {
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
}

/// A room without a console.
struct Host {
    room: Room,
    left: Vec<(ClientId, CloseReason)>,
}

impl Service for Host {
    fn admit(&mut self, _address: IpAddr) -> Result<(), Frame> {
        self.room.admit()
    }

    fn joined(&mut self, client: ClientId, address: IpAddr, turn: &mut Turn) {
        self.room.join(client, address, turn);
    }

    fn received(&mut self, client: ClientId, line: Decoded<'_>, turn: &mut Turn) {
        self.room.hear(client, line, turn);
    }

    fn left(&mut self, client: ClientId, reason: CloseReason, _turn: &mut Turn) {
        assert!(self.room.leave(client).is_some(), "nobody leaves twice");
        self.left.push((client, reason));
    }

    fn source_ready(&mut self, _token: Token, _turn: &mut Turn) -> io::Result<Next> {
        unreachable!("it has no sources")
    }

    fn said(&mut self, _text: &[u8]) {}

    fn turn_ended(&mut self) {}
}

/// The reactor without its poll and clock.
struct Loop {
    clients: Clients<Socket>,
    host: Host,
    turn: Turn,
    now: Instant,
}

impl Loop {
    fn new() -> Self {
        let limits = Limits {
            max_clients: 100,
            max_line_bytes: 4096,
        };
        Self {
            clients: Clients::new(limits.max_line_bytes),
            host: Host {
                room: Room::new(limits),
                left: Vec::new(),
            },
            turn: Turn::new(),
            now: Instant::now(),
        }
    }

    /// Somebody comes in and is welcomed.
    fn join(&mut self) -> (usize, Socket) {
        let socket = Socket::new();
        let client = self.clients.insert(socket.clone());
        let address = Ipv4Addr::new(10, 0, 0, client.0 as u8).into();
        self.host.joined(client, address, &mut self.turn);
        self.turn();
        assert_eq!(socket.received(), WELCOME);
        (client.0, socket)
    }

    fn turn(&mut self) {
        self.clients.expire(self.now);
        self.clients.fill(&mut self.host, &mut self.turn);
        self.turn.seal();
        self.clients.flush(&self.turn);
        self.clients.close_those_asked_for(&mut self.turn);
        self.turn.clear();
        self.clients.reap(&mut self.host, &mut self.turn, self.now);
    }

    /// `key` has become readable: turns until nothing is left to do.
    fn readable(&mut self, key: usize) {
        self.clients.mark(key, true, false);
        self.settle();
    }

    fn writable(&mut self, key: usize) {
        self.clients.mark(key, false, true);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.clients.has_work() {
                return;
            }
            self.turn();
        }
        panic!("the loop does not come to rest");
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.settle();
        self.turn();
    }
}

#[test]
fn a_turn_costs_each_reader_one_write_and_nobody_hears_itself() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    let (_, cyd_socket) = room.join();
    let writes_before = cyd_socket.0.borrow().writes;
    ann_socket.sends("one\ntwo\n");
    bob_socket.sends("three\n");
    room.clients.mark(ann, true, false);
    room.readable(bob);
    assert_eq!(ann_socket.received(), "<10.0.0.1> three\n");
    assert_eq!(bob_socket.received(), "<10.0.0.0> one\n<10.0.0.0> two\n");
    assert_eq!(
        cyd_socket.received(),
        "<10.0.0.0> one\n<10.0.0.0> two\n<10.0.0.1> three\n"
    );
    assert_eq!(cyd_socket.0.borrow().writes - writes_before, 1);
}

#[test]
fn what_a_reader_cannot_take_waits_in_order_and_delays_nobody() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    let (_, cyd_socket) = room.join();
    bob_socket.takes(5);
    for text in ["one\n", "two\n"] {
        ann_socket.sends(text);
        room.readable(ann);
    }
    assert_eq!(bob_socket.received(), "<10.0");
    assert_eq!(cyd_socket.received(), "<10.0.0.0> one\n<10.0.0.0> two\n");

    let writes_before = bob_socket.0.borrow().writes;
    ann_socket.sends("three\n");
    room.readable(ann);
    assert_eq!(
        bob_socket.0.borrow().writes,
        writes_before,
        "no edge, no try"
    );

    bob_socket.takes(usize::MAX);
    room.writable(bob);
    assert_eq!(
        bob_socket.received(),
        ".0.0> one\n<10.0.0.0> two\n<10.0.0.0> three\n"
    );
}

#[test]
fn who_does_not_read_is_dropped_at_the_bound_and_nobody_else() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    let (_, cyd_socket) = room.join();
    bob_socket.takes(0);
    let line = "x".repeat(1000) + "\n";
    let mut heard_bytes = 0;
    while room.host.left.is_empty() {
        ann_socket.sends(&line);
        room.readable(ann);
        heard_bytes += cyd_socket.received().len();
        assert!(heard_bytes <= MAX_BACKLOG_BYTES + 2 * line.len());
    }
    assert!(heard_bytes > MAX_BACKLOG_BYTES);
    assert_eq!(room.host.left, [(ClientId(bob), CloseReason::BacklogFull)]);
    assert!(!bob_socket.is_open_here());
    assert_eq!(room.clients.len(), 2);
}

#[test]
fn who_ends_its_side_is_heard_to_the_end_and_gets_what_it_is_owed() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.takes(3);
    ann_socket.sends("owed\n");
    room.readable(ann);
    bob_socket.sends("last wor");
    bob_socket.sends("ds");
    bob_socket.ends();
    room.readable(bob);
    assert_eq!(ann_socket.received(), "<10.0.0.1> last words\n");
    assert_eq!(room.host.left, [(ClientId(bob), CloseReason::PeerClosed)]);
    assert!(bob_socket.is_open_here(), "it is owed something");

    ann_socket.sends("after it left\n");
    room.readable(ann);
    bob_socket.takes(usize::MAX);
    room.writable(bob);
    assert_eq!(bob_socket.received(), "<10.0.0.0> owed\n");
    assert!(!bob_socket.is_open_here());
}

#[test]
fn half_a_line_of_who_vanishes_is_not_said() {
    let mut room = Loop::new();
    let (_, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.sends("whole\nhal");
    bob_socket.resets();
    room.readable(bob);
    assert_eq!(ann_socket.received(), "<10.0.0.1> whole\n");
    let reason = CloseReason::Lost(io::ErrorKind::ConnectionReset);
    assert_eq!(room.host.left, [(ClientId(bob), reason)]);
    assert!(!bob_socket.is_open_here());
}

#[test]
fn who_cannot_be_written_to_is_still_heard_to_the_end() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.refuses_writes();
    bob_socket.sends("I said this before I went\n");
    ann_socket.sends("hello?\n");
    room.readable(ann);
    assert_eq!(
        ann_socket.received(),
        "<10.0.0.1> I said this before I went\n"
    );
    let reason = CloseReason::Lost(io::ErrorKind::BrokenPipe);
    assert_eq!(room.host.left, [(ClientId(bob), reason)]);
    assert!(!bob_socket.is_open_here());
}

#[test]
fn an_http_request_is_not_heard_and_its_sender_is_seen_off() {
    let mut room = Loop::new();
    let (_, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.sends("POST / HTTP/1.1\r\nHost: room\r\n\r\nspam\n");
    bob_socket.sends("more spam\n");
    room.readable(bob);
    assert_eq!(
        room.host.left,
        [(ClientId(bob), CloseReason::WrongProtocol)]
    );
    assert!(
        bob_socket.saw_end() && bob_socket.is_open_here(),
        "it lingers"
    );
    bob_socket.ends();
    room.readable(bob);
    assert!(!bob_socket.is_open_here());
    assert_eq!(ann_socket.received(), "");
}

#[test]
fn who_lingers_too_long_is_cut_off() {
    let mut room = Loop::new();
    let (bob, bob_socket) = room.join();
    room.turn.close(ClientId(bob), CloseReason::Shutdown);
    room.turn();
    room.settle();
    assert!(bob_socket.saw_end());
    room.wait(LINGER_TIMEOUT - Duration::from_millis(1));
    assert!(bob_socket.is_open_here());
    room.wait(Duration::from_millis(1));
    assert!(!bob_socket.is_open_here());
}

#[test]
fn who_has_left_is_given_up_only_when_it_takes_nothing() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.takes(0);
    ann_socket.sends("a line that bob takes very slowly\n");
    room.readable(ann);
    bob_socket.ends();
    room.readable(bob);
    for _ in 0..5 {
        bob_socket.takes(1);
        room.writable(bob);
        room.wait(FLUSH_TIMEOUT);
        assert!(bob_socket.is_open_here(), "it takes its time");
    }
    room.wait(FLUSH_TIMEOUT);
    assert!(!bob_socket.is_open_here());
}

#[test]
fn a_deadline_of_who_has_gone_does_not_hit_who_comes_after() {
    let mut room = Loop::new();
    let (bob, bob_socket) = room.join();
    room.turn.close(ClientId(bob), CloseReason::Shutdown);
    room.turn();
    room.settle();
    bob_socket.ends();
    room.readable(bob);
    assert!(!bob_socket.is_open_here());

    let (cyd, cyd_socket) = room.join();
    assert_eq!(cyd, bob, "the key is used again");
    room.now += LINGER_TIMEOUT - Duration::from_millis(1);
    room.turn.close(ClientId(cyd), CloseReason::Shutdown);
    room.turn();
    room.wait(Duration::from_millis(1));
    assert!(cyd_socket.is_open_here());
}

#[test]
fn who_is_refused_is_told_why_and_never_was_in_the_room() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = (room.clients.vacant_key(), Socket::new());
    let refusal = Frame::from(&b"!! no\n"[..]);
    room.clients
        .insert_refused(bob_socket.clone(), &refusal, room.now);
    ann_socket.sends("not for bob\n");
    room.readable(ann);
    bob_socket.sends("let me in\n");
    bob_socket.ends();
    room.readable(bob);
    assert_eq!(bob_socket.received(), "!! no\n");
    assert_eq!(ann_socket.received(), "");
    assert!(bob_socket.saw_end() && !bob_socket.is_open_here());
    assert_eq!(room.host.left, []);
}

#[test]
fn a_flooder_gets_one_read_budget_a_turn() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    let (_, cyd_socket) = room.join();
    let line = "x".repeat(63) + "\n";
    let lines_a_budget = READ_BUDGET_BYTES / line.len();
    ann_socket.sends(&line.repeat(3 * lines_a_budget));
    bob_socket.sends("a word\n");
    room.clients.mark(ann, true, false);
    room.clients.mark(bob, true, false);
    room.turn();
    let heard = cyd_socket.received();
    assert_eq!(heard.lines().count(), lines_a_budget + 1);
    assert!(heard.ends_with("<10.0.0.1> a word\n"));
    room.settle();
    assert_eq!(cyd_socket.received().lines().count(), 2 * lines_a_budget);
}

#[test]
fn answers_count_towards_the_budget_of_a_turn() {
    let mut room = Loop::new();
    let flooders: Vec<_> = (0..50).map(|_| room.join()).collect();
    for (key, socket) in &flooders {
        socket.sends(&"/\n".repeat(READ_BUDGET_BYTES / 2));
        room.clients.mark(*key, true, false);
    }
    room.clients.fill(&mut room.host, &mut room.turn);
    let one_flooder_bytes = READ_BUDGET_BYTES * 200;
    assert!(room.turn.size_bytes() <= TURN_BUDGET_BYTES + one_flooder_bytes);
    assert!(room.clients.has_work(), "the others wait for the next turn");
}
