//! Promise 12, in the loop: clients that are not let in yet, and then are.

use std::time::Duration;

use super::harness::{Loop, PATIENCE, POLICY, SHUT, Socket, TOO_LONG, WELCOME};
use crate::reactor::clients::LINGER_TIMEOUT;
use crate::reactor::connection::OUTSIDE_BYTES;
use crate::reactor::outbound::{SLICE_BYTES, WRITE_COST_BYTES};
use crate::reactor::service::Policy;

#[test]
fn whoever_is_outside_hears_nothing_and_is_not_heard() {
    let mut room = Loop::locked(POLICY);
    let (ann, ann_socket) = room.come_in();
    let (bob, bob_socket) = room.wait_outside();
    ann_socket.sends("a secret\n");
    room.readable(ann);
    bob_socket.sends("let me in\n\n");
    room.readable(bob);
    assert_eq!(bob_socket.received(), SHUT);
    assert_eq!(ann_socket.received(), "");
    // What comes behind the knock is a member's.
    bob_socket.sends("knock\nhello\nand a half");
    room.readable(bob);
    assert_eq!(bob_socket.received(), WELCOME);
    assert_eq!(ann_socket.received(), "<10.0.0.1> hello\n");
    ann_socket.sends("no secret\n");
    room.readable(ann);
    assert_eq!(bob_socket.received(), "<10.0.0.0> no secret\n");
    bob_socket.sends(" line\n");
    bob_socket.ends();
    room.readable(bob);
    assert_eq!(ann_socket.received(), "<10.0.0.1> and a half line\n");
    assert_eq!(room.host.left.len(), 1);
}

#[test]
fn whoever_comes_in_hears_what_is_said_from_then_on() {
    let mut room = Loop::locked(POLICY);
    let (ann, ann_socket) = room.come_in();
    let (bob, bob_socket) = room.wait_outside();
    ann_socket.sends("before\n");
    room.event_loop.mark_client(ann, true, false);
    bob_socket.sends("knock\nhello\n");
    room.event_loop.mark_client(bob, true, false);
    room.settle();
    assert_eq!(ann_socket.received(), "<10.0.0.1> hello\n");
    assert_eq!(bob_socket.received(), WELCOME);
}

#[test]
fn whoever_comes_in_while_a_line_is_on_its_way_does_not_get_it() {
    const READERS: usize = 5 * SLICE_BYTES / WRITE_COST_BYTES / 2;
    let mut room = Loop::locked(POLICY);
    let (bob, bob_socket) = room.wait_outside();
    let sockets: Vec<Socket> = (0..READERS).map(|_| room.come_in().1).collect();
    sockets[0].sends("one\n");
    room.event_loop.mark_client(1, true, false);
    room.iterate();
    assert!(room.event_loop.clients.is_sending());
    bob_socket.sends("knock\n");
    room.event_loop.mark_client(bob, true, false);
    room.iterate();
    assert_eq!(bob_socket.received(), WELCOME);
    sockets[1].sends("two\n");
    room.event_loop.mark_client(2, true, false);
    room.settle();
    assert_eq!(bob_socket.received(), "<10.0.0.2> two\n");
    let heard = "<10.0.0.1> one\n<10.0.0.2> two\n";
    assert!(sockets[2..].iter().all(|socket| socket.received() == heard));
}

#[test]
fn whoever_waits_too_long_is_sent_away_and_whoever_came_in_stays() {
    let mut room = Loop::locked(POLICY);
    let (_, ann_socket) = room.come_in();
    let (_, bob_socket) = room.wait_outside();
    room.wait(PATIENCE + LINGER_TIMEOUT + Duration::from_secs(1));
    assert_eq!(bob_socket.received(), TOO_LONG);
    assert!(!bob_socket.is_open_here());
    assert!(ann_socket.is_open_here());
    let waiting = room.host.waiting.as_ref();
    assert!(waiting.is_some_and(|waiting| waiting.is_empty()));
}

#[test]
fn whoever_floods_outside_is_sent_away_and_others_get_its_place() {
    let mut room = Loop::locked(Policy {
        max_refused: 1,
        ..POLICY
    });
    for _ in 0..3 {
        let (bob, bob_socket) = room.wait_outside();
        let half = usize::from(OUTSIDE_BYTES) / 2;
        bob_socket.sends("\n".repeat(half));
        room.readable(bob);
        assert_eq!(bob_socket.received(), "");
        bob_socket.sends("x".repeat(half + 1));
        room.readable(bob);
        assert_eq!(bob_socket.received(), TOO_LONG);
        assert!(bob_socket.saw_end());
        room.wait(LINGER_TIMEOUT);
        assert!(!bob_socket.is_open_here());
    }
    // Nor is one that ends its side kept.
    let (bob, bob_socket) = room.wait_outside();
    bob_socket.ends();
    room.readable(bob);
    assert!(!bob_socket.is_open_here());
    assert!(room.event_loop.clients.is_empty());
}
