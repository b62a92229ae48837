//! How much, and how little, each may say.

use std::time::Duration;

use super::harness::{Loop, POLICY};
use crate::protocol::batch::{ClientId, StandingRequest};
use crate::protocol::close::CloseReason;
use crate::rate::Rate;
use crate::reactor::service::Policy;

const A_SECOND: Duration = Duration::from_secs(1);

/// Ten lines a second, and fifty at once.
fn rated() -> Loop {
    Loop::with_policy(Policy {
        rate: Some(Rate::new(10, 50)),
        ..POLICY
    })
}

fn timed(timeout: Duration) -> Loop {
    Loop::with_policy(Policy {
        idle_timeout: Some(timeout),
        ..POLICY
    })
}

#[test]
fn what_is_over_the_rate_waits_and_all_of_it_is_said_in_order() {
    const LINES: usize = 5000;
    let mut room = rated();
    let (ann, ann_socket) = room.join();
    let (_, bob_socket) = room.join();
    let pasted: String = (0..LINES).map(|number| format!("{number}\n")).collect();
    ann_socket.sends(&pasted);
    ann_socket.sends("the last one, without an end");
    ann_socket.ends();
    room.readable(ann);
    let mut heard = bob_socket.received();
    assert_eq!(heard.lines().count(), 50, "a burst passes at once");
    let read_bytes = pasted.len() - ann_socket.unread_bytes();
    assert!(read_bytes < 6000, "TCP keeps the rest: {read_bytes}");

    let mut seconds = 0;
    while room.host.left.is_empty() {
        room.wait(A_SECOND);
        let more = bob_socket.received();
        assert!(more.lines().count() <= 12, "after {seconds} s");
        heard += &more;
        seconds += 1;
    }
    assert!((490..=500).contains(&seconds), "{seconds}");
    let said: String = (0..LINES)
        .map(|number| format!("<10.0.0.0> {number}\n"))
        .collect();
    assert_eq!(heard, said + "<10.0.0.0> the last one, without an end\n");
}

#[test]
fn one_who_has_to_wait_does_not_hold_up_others() {
    let mut room = rated();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    ann_socket.sends("much\n".repeat(1000));
    room.readable(ann);
    bob_socket.received();
    for _ in 0..10 {
        bob_socket.sends("a word\n");
        room.readable(bob);
        assert_eq!(ann_socket.received(), "<10.0.0.1> a word\n");
    }
    room.readable(ann);
    assert_eq!(bob_socket.received(), "", "an edge does not let more pass");
}

#[test]
fn one_who_has_to_wait_can_be_sent_away() {
    let mut room = rated();
    let (ann, ann_socket) = room.join();
    let (_, bob_socket) = room.join();
    ann_socket.sends("much\n".repeat(1000));
    ann_socket.ends();
    room.readable(ann);
    room.send_away(ann);
    bob_socket.received();
    room.wait(10 * A_SECOND);
    assert!(!ann_socket.is_open_here());
    assert_eq!(bob_socket.received(), "");
    assert_eq!(room.event_loop.poll_timeout(&room.host, room.now), None);
}

#[test]
fn one_who_has_to_wait_and_is_gone_is_not_said_for_hours() {
    let mut room = rated();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    ann_socket.sends("much\n".repeat(1000));
    room.readable(ann);
    ann_socket.refuses_writes();
    bob_socket.sends("are you there?\n");
    room.readable(bob);
    let lost = CloseReason::Lost(std::io::ErrorKind::BrokenPipe);
    assert_eq!(room.host.left, [(ClientId::nth(ann), lost)]);
    bob_socket.received();
    room.wait(10 * A_SECOND);
    assert_eq!(bob_socket.received(), "");
    assert!(!ann_socket.is_open_here());
}

#[test]
fn who_says_nothing_for_too_long_is_told_and_sent_away() {
    let mut room = timed(60 * A_SECOND);
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join();
    room.wait(59 * A_SECOND);
    bob_socket.sends("still here\n");
    room.readable(bob);
    ann_socket.received();
    room.wait(A_SECOND);
    assert_eq!(room.host.left, [(ClientId::nth(ann), CloseReason::Idle)]);
    let told = ann_socket.received();
    assert!(
        told.starts_with("-- goodbye: ") && told.ends_with('\n'),
        "{told}"
    );
    assert!(ann_socket.saw_end());

    room.wait(57 * A_SECOND);
    assert_eq!(room.host.left.len(), 1);
    room.wait(2 * A_SECOND);
    assert_eq!(room.host.left[1], (ClientId::nth(bob), CloseReason::Idle));
    assert_eq!(bob_socket.received(), told);
}

#[test]
fn those_who_come_and_go_leave_no_deadlines_behind() {
    const GUESTS: usize = 20_000;
    let mut room = timed(3600 * A_SECOND);
    let (ann, _ann_socket) = room.join();
    for _ in 0..GUESTS {
        let (guest, socket) = room.join();
        socket.resets();
        room.readable(guest);
        room.now += Duration::from_millis(1);
    }
    let turns_before = room.host.iterations;
    room.wait(3600 * A_SECOND);
    let woken = room.host.iterations - turns_before;
    assert!(woken < GUESTS / 10, "{woken} deadlines were kept");
    let (last, reason) = *room.host.left.last().unwrap();
    assert_eq!((last, reason), (ClientId::nth(ann), CloseReason::Idle));
}

#[test]
fn who_is_not_read_is_not_silent() {
    let mut room = Loop::with_policy(Policy {
        rate: Some(Rate::new(1, 50)),
        idle_timeout: Some(5 * A_SECOND + A_SECOND / 2),
        ..POLICY
    });
    let (ann, ann_socket) = room.join();
    ann_socket.sends("much\n".repeat(150));
    room.readable(ann);
    room.wait(100 * A_SECOND);
    assert_eq!(room.host.left, []);
    room.wait(6 * A_SECOND);
    assert_eq!(room.host.left, [(ClientId::nth(ann), CloseReason::Idle)]);
}

/// The client `from` comes back as the client `to`.
fn comes_back(room: &mut Loop, from: usize, to: usize) {
    let [from, to] = [from, to].map(|key| room.event_loop.clients.id(key));
    let batch = room.event_loop.clients.context().batch;
    batch.request_standing(StandingRequest::Keep(from, from));
    batch.close(from, CloseReason::Replaced);
    batch.request_standing(StandingRequest::Restore(from, to));
    room.iterate();
    room.settle();
}

#[test]
fn a_rate_goes_on_on_another_connection() {
    let mut room = rated();
    let (ann, ann_socket) = room.join();
    let (_, bob_socket) = room.join();
    ann_socket.sends("x\n".repeat(50));
    room.readable(ann);
    let (again, again_socket) = room.join();
    comes_back(&mut room, ann, again);
    bob_socket.received();
    again_socket.sends("y\n".repeat(50));
    room.readable(again);
    assert!(bob_socket.received().lines().count() <= 1);
    room.wait(A_SECOND);
    let count = bob_socket.received().lines().count();
    assert!((9..=12).contains(&count), "{count}");
}

#[test]
fn silence_goes_on_on_another_connection() {
    let mut room = timed(10 * A_SECOND);
    let (ann, _) = room.join();
    room.wait(6 * A_SECOND);
    let (again, _) = room.join();
    let again_id = room.event_loop.clients.id(again);
    comes_back(&mut room, ann, again);
    room.host.left.clear();
    room.wait(5 * A_SECOND);
    assert_eq!(room.host.left, [(again_id, CloseReason::Idle)]);
}

#[test]
fn the_time_without_a_connection_is_no_silence() {
    let mut room = timed(10 * A_SECOND);
    let (ann, _) = room.join();
    room.wait(6 * A_SECOND);
    let ann = room.event_loop.clients.id(ann);
    let batch = room.event_loop.clients.context().batch;
    batch.request_standing(StandingRequest::Keep(ann, ann));
    batch.close(ann, CloseReason::Replaced);
    room.settle();
    room.wait(20 * A_SECOND);
    let (again, _) = room.join();
    let again = room.event_loop.clients.id(again);
    let batch = room.event_loop.clients.context().batch;
    batch.request_standing(StandingRequest::Restore(ann, again));
    room.iterate();
    room.host.left.clear();
    room.wait(3 * A_SECOND);
    assert_eq!(room.host.left, [], "it has 4 s left");
    room.wait(2 * A_SECOND);
    assert_eq!(room.host.left, [(again, CloseReason::Idle)]);
}
