//! A turn for a big room is sent in slices.

use super::harness::{Loop, POLICY, Socket, WELCOME};
use crate::reactor::acceptor::CROWD_ACCEPT_BUDGET;
use crate::reactor::inbound::READ_BUDGET_BYTES;
use crate::reactor::outbound::{SLICE_BYTES, WRITE_COST_BYTES};

/// More readers of a short line than two slices reach.
const READERS: usize = 5 * SLICE_BYTES / WRITE_COST_BYTES / 2;

/// A room of so many, who have read their welcome. The first has said `one`, and the
/// first slice of that has been sent.
fn in_the_middle_of_a_line() -> (Loop, Vec<Socket>) {
    let mut room = Loop::with_policy(POLICY);
    let sockets: Vec<_> = (0..READERS).map(|_| room.join().1).collect();
    sockets[0].sends("one\n");
    room.event_loop.mark_client(0, true, false);
    room.iterate();
    assert!(room.event_loop.clients.is_sending());
    (room, sockets)
}

const ONE: &str = "<10.0.0.0> one\n";

#[test]
fn while_a_line_is_on_its_way_others_are_read_and_accepted() {
    let (mut room, sockets) = in_the_middle_of_a_line();
    let heard = |socket: &Socket| socket.output.borrow().received == ONE.as_bytes();
    let reached = sockets.iter().filter(|socket| heard(socket)).count();
    assert!((1..=SLICE_BYTES / WRITE_COST_BYTES).contains(&reached));

    sockets[1].sends("two\n");
    room.event_loop.mark_client(1, true, false);
    let newcomer = Socket::new();
    room.waiting.push_back(newcomer.clone());
    room.event_loop.mark_listener();
    room.iterate();
    assert_eq!(sockets[1].unread_bytes(), 0);
    assert!(newcomer.is_open_here());

    room.settle();
    assert_eq!(newcomer.received(), format!("{WELCOME}<10.0.0.1> two\n"));
    assert_eq!(sockets[0].received(), "<10.0.0.1> two\n");
    assert_eq!(sockets[1].received(), ONE);
    for socket in &sockets[2..] {
        assert_eq!(socket.received(), format!("{ONE}<10.0.0.1> two\n"));
    }
}

#[test]
fn who_comes_into_a_freed_place_meanwhile_does_not_hear_what_was_said_before() {
    let mut room = Loop::with_policy(POLICY);
    let sockets: Vec<_> = (0..READERS).map(|_| room.join().1).collect();
    let freed = READERS - 10;
    sockets[freed].ends();
    room.readable(freed);
    sockets[0].sends("one\n");
    room.event_loop.mark_client(0, true, false);
    room.iterate();
    let (key, newcomer) = (room.event_loop.clients.next_key(), Socket::new());
    assert_eq!(key, freed);
    room.waiting.push_back(newcomer.clone());
    room.event_loop.mark_listener();
    room.settle();
    assert_eq!(newcomer.received(), WELCOME);
}

#[test]
fn who_leaves_meanwhile_still_gets_the_line() {
    let (mut room, sockets) = in_the_middle_of_a_line();
    let last = READERS - 1;
    sockets[last].sends("bye\n");
    sockets[last].ends();
    room.event_loop.mark_client(last, true, false);
    room.settle();
    assert_eq!(sockets[last].received(), ONE);
    assert!(!sockets[last].is_open_here());
    assert!(sockets[0].received().ends_with("> bye\n"));
}

#[test]
fn a_shutdown_meanwhile_lets_everybody_have_the_line_and_the_notice() {
    let (mut room, sockets) = in_the_middle_of_a_line();
    room.event_loop.mark_source(mio::Token(usize::MAX - 1));
    room.settle();
    for socket in &sockets[1..] {
        let notice = "-- the room is closing\n";
        assert_eq!(socket.received(), format!("{ONE}{notice}"));
        assert!(socket.saw_end());
    }
}

#[test]
fn a_batch_gathers_more_while_sending_is_fast() {
    let mut room = Loop::with_policy(POLICY);
    let sockets: Vec<_> = (0..READERS).map(|_| room.join().1).collect();
    for (key, socket) in sockets.iter().enumerate().take(100) {
        room.floods(key, socket, 64 * READ_BUDGET_BYTES);
    }
    let mut gathered = Vec::new();
    for _ in 0..60 {
        room.now += std::time::Duration::from_micros(10);
        room.iterate();
        gathered.push(sockets[100].received().len());
    }
    let most = *gathered.iter().max().expect("many");
    assert!(gathered[0] < 3 * READ_BUDGET_BYTES, "{gathered:?}");
    assert!(most > 4 * READ_BUDGET_BYTES, "{gathered:?}");
    for _ in 0..60 {
        room.now += std::time::Duration::from_millis(50);
        room.iterate();
        gathered.push(sockets[100].received().len());
    }
    let last = gathered[gathered.len() - 10..].iter().max().expect("many");
    assert!(*last < 3 * READ_BUDGET_BYTES, "{gathered:?}");
}

#[test]
fn a_key_that_is_another_s_by_the_end_of_the_turn_does_not_cost_that_one_its_answer() {
    let (mut room, sockets) = in_the_middle_of_a_line();
    // Its write fails with this turn, and it is read to its end during it.
    let gone = READERS - 1;
    sockets[gone].refuses_writes();
    sockets[gone].sends("last words\n");
    sockets[gone].ends();
    room.iterate();
    room.event_loop.mark_client(gone, true, false);
    room.settle();
    assert!(!sockets[gone].is_open_here());
    assert!(sockets[0].received().contains("> last words\n"));

    let (key, newcomer) = room.join();
    assert_eq!(key, gone);
    sockets[0].sends("two\n");
    room.event_loop.mark_client(0, true, false);
    room.iterate();
    newcomer.sends("/help\n");
    newcomer.ends();
    room.readable(key);
    let heard = newcomer.received();
    assert!(heard.starts_with("<10.0.0.0> two\n-- "), "{heard}");
}

#[test]
fn newcomers_wait_while_a_crowd_has_not_been_read() {
    let mut room = Loop::with_policy(POLICY);
    let talkers: Vec<_> = (0..600).map(|_| room.join().1).collect();
    for (key, socket) in talkers.iter().enumerate() {
        room.floods(key, socket, READ_BUDGET_BYTES / 4);
    }
    room.waiting.extend((0..1000).map(|_| Socket::new()));
    room.event_loop.mark_listener();
    room.iterate();
    let waiting = 1000 - CROWD_ACCEPT_BUDGET;
    assert_eq!(room.waiting.len(), waiting, "few come in at once");
    room.iterate();
    let waiting = waiting - CROWD_ACCEPT_BUDGET;
    assert!(room.waiting.len() <= waiting);
    let mut iterations = 2;
    while !room.waiting.is_empty() {
        iterations += 1;
        assert!(iterations < 1000, "they come in");
        room.iterate();
    }
}

#[test]
fn a_rush_of_newcomers_does_not_silence_those_inside() {
    let mut room = Loop::with_policy(POLICY);
    let sockets: Vec<_> = (0..READERS).map(|_| room.join().1).collect();
    let rush: Vec<_> = (0..10_000).map(|_| Socket::new()).collect();
    room.waiting.extend(rush.iter().cloned());
    room.event_loop.mark_listener();
    room.iterate();
    sockets[1].sends("is it always so full here?\n");
    room.event_loop.mark_client(1, true, false);
    room.iterate();
    assert_eq!(sockets[1].unread_bytes(), 0);
    assert!(!room.waiting.is_empty(), "the rush goes on");
}
