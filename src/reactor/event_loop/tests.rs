//! The real loop, driven with sockets that follow a script.

mod fan_out;
mod first_words;
mod flow_control;
mod harness;
mod outside;
mod restraint;
mod web;

use std::io;
use std::time::Duration;

use mio::Token;

use self::harness::{Loop, Socket, WELCOME};
use super::{SHUTDOWN_TIMEOUT, Status};
use crate::protocol::batch::ClientId;
use crate::protocol::close::CloseReason;
use crate::reactor::acceptor::{ACCEPT_BUDGET, ACCEPT_PAUSE};
use crate::reactor::clients::{CLOSE_TIMEOUT, FLUSH_TIMEOUT, LINGER_TIMEOUT};
use crate::reactor::connection::output::WRITE_BUDGET_BYTES;
use crate::reactor::flow::{Bounds, GRACE};
use crate::reactor::inbound::READ_BUDGET_BYTES;
use crate::reactor::pacing::MAX_BATCH_BYTES;
use crate::reactor::service::Policy;

#[test]
fn an_iteration_costs_each_reader_one_write_and_nobody_hears_itself() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    let (_, cyd_socket) = room.join();
    let writes_before = cyd_socket.writes();
    ann_socket.sends("one\ntwo\n");
    bob_socket.sends("three\n");
    room.event_loop.mark_client(ann, true, false);
    room.readable(bob);
    assert_eq!(ann_socket.received(), "<10.0.0.1> three\n");
    assert_eq!(bob_socket.received(), "<10.0.0.0> one\n<10.0.0.0> two\n");
    assert_eq!(
        cyd_socket.received(),
        "<10.0.0.0> one\n<10.0.0.0> two\n<10.0.0.1> three\n"
    );
    assert_eq!(cyd_socket.writes() - writes_before, 1);
}

#[test]
fn output_a_reader_cannot_take_is_queued_in_order_and_delays_nobody() {
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

    let writes_before = bob_socket.writes();
    ann_socket.sends("three\n");
    room.readable(ann);
    assert_eq!(bob_socket.writes(), writes_before, "no edge, no try");

    bob_socket.takes(usize::MAX);
    room.writable(bob);
    assert_eq!(
        bob_socket.received(),
        ".0.0> one\n<10.0.0.0> two\n<10.0.0.0> three\n"
    );
}

#[test]
fn a_half_closed_client_is_heard_to_the_end_and_gets_what_it_is_owed() {
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
    assert_eq!(
        room.host.left,
        [(ClientId::nth(bob), CloseReason::PeerClosed)]
    );
    assert!(bob_socket.is_open_here(), "it is owed something");

    ann_socket.sends("after it left\n");
    room.readable(ann);
    bob_socket.takes(usize::MAX);
    room.writable(bob);
    assert_eq!(bob_socket.received(), "<10.0.0.0> owed\n");
    assert!(!bob_socket.is_open_here());
}

#[test]
fn half_a_line_of_a_reset_client_is_not_said() {
    let mut room = Loop::new();
    let (_, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.sends("whole\nhal");
    room.readable(bob);
    bob_socket.resets();
    room.readable(bob);
    assert_eq!(ann_socket.received(), "<10.0.0.1> whole\n");
    let reason = CloseReason::Lost(io::ErrorKind::ConnectionReset);
    assert_eq!(room.host.left, [(ClientId::nth(bob), reason)]);
    assert!(!bob_socket.is_open_here());
}

#[test]
fn a_client_that_cannot_be_written_to_is_still_heard_to_the_end() {
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
    assert_eq!(room.host.left, [(ClientId::nth(bob), reason)]);
    assert!(!bob_socket.is_open_here());
}

#[test]
fn an_http_request_is_not_heard_and_its_sender_is_disconnected() {
    let mut room = Loop::new();
    let (_, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.sends("POST / HTTP/1.1\r\nHost: room\r\n\r\nspam\n");
    bob_socket.sends("more spam\n");
    room.readable(bob);
    assert_eq!(
        room.host.left,
        [(ClientId::nth(bob), CloseReason::WrongProtocol)]
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
fn a_client_that_lingers_too_long_is_cut_off() {
    let mut room = Loop::new();
    let (bob, bob_socket) = room.join();
    room.send_away(bob);
    assert!(bob_socket.saw_end());
    room.wait(LINGER_TIMEOUT - Duration::from_millis(1));
    assert!(bob_socket.is_open_here());
    room.wait(Duration::from_millis(1));
    assert!(!bob_socket.is_open_here());
}

#[test]
fn a_deadline_of_a_gone_client_does_not_hit_the_next_one() {
    let mut room = Loop::new();
    let (bob, bob_socket) = room.join();
    room.send_away(bob);
    bob_socket.ends();
    room.readable(bob);
    assert!(!bob_socket.is_open_here());

    let almost = LINGER_TIMEOUT - Duration::from_millis(1);
    room.wait(almost);
    let (cyd, cyd_socket) = room.join();
    assert_eq!(cyd, bob, "the key is used again");
    room.send_away(cyd);
    room.wait(almost);
    assert!(cyd_socket.is_open_here());
    room.wait(LINGER_TIMEOUT - almost);
    assert!(!cyd_socket.is_open_here());
}

#[test]
fn a_client_that_left_is_given_up_when_it_takes_nothing() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.takes(0);
    ann_socket.sends("a line that bob takes very slowly\n");
    room.readable(ann);
    bob_socket.ends();
    room.readable(bob);
    for _ in 0..3 {
        room.wait(FLUSH_TIMEOUT - Duration::from_millis(1));
        bob_socket.takes(1);
        room.writable(bob);
        room.wait(Duration::from_millis(1));
        assert!(bob_socket.is_open_here(), "it takes its time");
    }
    room.wait(FLUSH_TIMEOUT);
    assert!(!bob_socket.is_open_here());
}

#[test]
fn a_client_that_left_cannot_trickle_forever() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.takes(0);
    ann_socket.sends("x".repeat(1000) + "\n");
    room.readable(ann);
    bob_socket.ends();
    room.readable(bob);
    let left_at = room.now;
    while bob_socket.is_open_here() {
        bob_socket.takes(1);
        room.writable(bob);
        room.wait(Duration::from_secs(1));
        assert!(room.now <= left_at + CLOSE_TIMEOUT + Duration::from_secs(1));
    }
    assert!(room.now >= left_at + CLOSE_TIMEOUT);
}

#[test]
fn a_refused_client_is_told_why_and_never_was_in_the_room() {
    let mut room = Loop::with_room_for(1);
    let (ann, ann_socket) = room.join();
    let bob = room.event_loop.clients.next_key();
    let bob_socket = room.connect();
    ann_socket.sends("not for bob\n");
    room.readable(ann);
    bob_socket.sends("let me in\n");
    bob_socket.ends();
    room.readable(bob);
    assert_eq!(
        bob_socket.received(),
        "!! the room is full (1 clients); try again later\n"
    );
    assert_eq!(ann_socket.received(), "");
    assert!(bob_socket.saw_end() && !bob_socket.is_open_here());
    assert_eq!(room.host.left, []);
}

#[test]
fn a_crowd_of_the_refused_does_not_use_up_the_descriptors() {
    let mut room = Loop::with_room_for(1);
    room.join();
    let refused: Vec<_> = (0..Policy::DEFAULT.max_refused + 10)
        .map(|_| room.connect())
        .collect();
    let kept = refused.iter().filter(|socket| socket.is_open_here());
    assert_eq!(kept.count(), Policy::DEFAULT.max_refused);
    for socket in &refused {
        assert_eq!(
            socket.received(),
            "!! the room is full (1 clients); try again later\n"
        );
    }
    room.wait(LINGER_TIMEOUT);
    assert!(!refused.iter().any(Socket::is_open_here));
    assert!(
        room.connect().is_open_here(),
        "there is room for others again"
    );
}

#[test]
fn a_flooder_gets_one_read_budget_per_iteration() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    let (_, cyd_socket) = room.join();
    let line = "x".repeat(63) + "\n";
    let lines = 10 * READ_BUDGET_BYTES / line.len();
    ann_socket.sends(line.repeat(lines));
    bob_socket.sends("a word\n");
    room.event_loop.mark_client(ann, true, false);
    room.event_loop.mark_client(bob, true, false);
    let mut heard = String::new();
    while ann_socket.unread_bytes() > 0 {
        let before = ann_socket.unread_bytes();
        room.iterate();
        assert!(before - ann_socket.unread_bytes() <= READ_BUDGET_BYTES);
        let first = heard.is_empty();
        heard += &cyd_socket.received();
        assert!(!first || heard.ends_with("<10.0.0.1> a word\n"), "{heard}");
    }
    room.settle();
    heard += &cyd_socket.received();
    assert_eq!(heard.lines().count(), lines + 1);
}

#[test]
fn answers_count_towards_the_budget_of_an_iteration() {
    const MOST_BYTES_AN_ANSWER: usize = 250;
    let mut room = Loop::new();
    for _ in 0..50 {
        let (key, socket) = room.join();
        socket.sends("/\n".repeat(READ_BUDGET_BYTES / 2));
        room.event_loop.mark_client(key, true, false);
    }
    room.event_loop.clients.read(&mut room.host);
    let one_client_bytes = READ_BUDGET_BYTES / 2 * MOST_BYTES_AN_ANSWER;
    assert!(
        room.event_loop.clients.context().batch.size_bytes() <= MAX_BATCH_BYTES + one_client_bytes
    );
    assert!(
        room.event_loop.clients.has_work(),
        "the others wait for the next turn"
    );
}

#[test]
fn a_reader_that_catches_up_gets_one_write_budget_per_iteration() {
    let mut room = Loop::with_policy(Policy {
        flow: Bounds {
            max_backlog_bytes: 8 * WRITE_BUDGET_BYTES,
            ..Bounds::DEFAULT
        },
        ..Policy::DEFAULT
    });
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    bob_socket.takes(0);
    let line = "x".repeat(999) + "\n";
    let lines = 4 * WRITE_BUDGET_BYTES / line.len();
    ann_socket.sends(line.repeat(lines));
    room.readable(ann);
    room.wait(2 * GRACE);
    assert_eq!(ann_socket.unread_bytes(), 0, "nobody waits for bob");

    bob_socket.takes(usize::MAX);
    room.event_loop.mark_client(bob, false, true);
    room.iterate();
    let first_turn = bob_socket.received();
    assert_eq!(first_turn.len(), WRITE_BUDGET_BYTES);
    room.settle();
    let heard = first_turn + &bob_socket.received();
    assert_eq!(heard, format!("<10.0.0.0> {line}").repeat(lines));
}

#[test]
fn a_rush_of_newcomers_is_accepted_within_a_budget_per_iteration() {
    let mut room = Loop::new();
    let sockets: Vec<_> = (0..2 * ACCEPT_BUDGET + 1).map(|_| Socket::new()).collect();
    room.waiting.extend(sockets.iter().cloned());
    room.event_loop.mark_listener();
    room.iterate();
    assert_eq!(room.waiting.len(), ACCEPT_BUDGET + 1);
    room.settle();
    assert!(sockets.iter().all(|socket| socket.received() == WELCOME));
}

#[test]
fn out_of_descriptors_accepting_pauses_and_resumes_by_itself() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    room.out_of_descriptors = true;
    let bob_socket = room.connect();
    let turns_before = room.host.iterations;
    room.event_loop.mark_listener();
    assert_eq!(
        room.event_loop.poll_timeout(&room.host, room.now),
        Some(ACCEPT_PAUSE),
        "no spin"
    );
    room.wait(3 * ACCEPT_PAUSE);
    assert_eq!(room.host.iterations - turns_before, 3);

    room.out_of_descriptors = false;
    room.wait(ACCEPT_PAUSE);
    assert_eq!(bob_socket.received(), WELCOME, "time alone is enough");

    room.out_of_descriptors = true;
    let cyd_socket = room.connect();
    room.out_of_descriptors = false;
    ann_socket.ends();
    room.readable(ann);
    assert_eq!(cyd_socket.received(), WELCOME, "so is a client that leaves");
}

#[test]
fn a_shutdown_tells_everybody_flushes_and_ends() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (_, bob_socket) = room.join();
    bob_socket.takes(0);
    ann_socket.sends("last words\n");
    room.event_loop.mark_client(ann, true, false);
    room.event_loop.mark_source(Token(usize::MAX - 1));
    room.settle();
    assert_eq!(room.status, Status::ShuttingDown);
    assert_eq!(ann_socket.received(), "-- the room is closing\n");
    assert!(ann_socket.saw_end() && bob_socket.is_open_here());
    assert_eq!(
        room.connect().received(),
        "",
        "a newcomer was accepted during shutdown"
    );

    bob_socket.takes(usize::MAX);
    room.writable(1);
    assert_eq!(
        bob_socket.received(),
        "<10.0.0.0> last words\n-- the room is closing\n"
    );
    room.wait(LINGER_TIMEOUT);
    assert_eq!(room.status, Status::Ended);
}

#[test]
fn a_shutdown_does_not_wait_longer_than_its_timeout() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (_, bob_socket) = room.join();
    bob_socket.takes(0);
    ann_socket.sends("bob takes nothing\n");
    room.readable(ann);
    room.event_loop.mark_source(Token(usize::MAX - 1));
    room.iterate();
    room.wait(SHUTDOWN_TIMEOUT - Duration::from_millis(1));
    assert_eq!(room.status, Status::ShuttingDown);
    room.wait(Duration::from_millis(1));
    assert_eq!(room.status, Status::Ended);
}

#[test]
fn with_nobody_leaving_the_loop_waits_forever() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    room.join();
    ann_socket.sends("hello\n");
    room.readable(ann);
    ann_socket.ends();
    room.readable(ann);
    assert_eq!(room.event_loop.poll_timeout(&room.host, room.now), None);
}
