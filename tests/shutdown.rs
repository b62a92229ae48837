//! Promise 8: asked to end, the server tells all, sends what it owes, and exits
//! with success.

mod common;

use std::net::TcpStream;
use std::time::Instant;

use rustix::process::Signal;

use common::eventually;
use common::flood::{OVER_KERNEL_BUFFERS, flood, long_line};
use common::peer::Peer;
use common::server::Server;

const NOTICE: &str = "-- the room is closing";

#[test]
fn sigterm_closes_the_room_in_good_order() {
    closes_in_good_order_on(Signal::TERM);
}

#[test]
fn sigint_closes_the_room_in_good_order() {
    closes_in_good_order_on(Signal::INT);
}

#[track_caller]
fn closes_in_good_order_on(signal: Signal) {
    let mut server = Server::start();
    let mut talker = server.join("127.0.0.2");
    let mut witness = server.join("127.0.0.3");
    let mut slow = server.join("127.0.0.4");
    slow.limit_receive_buffer();
    flood(&talker, &mut witness, OVER_KERNEL_BUFFERS);

    server.signal(signal);
    talker.expect_line(NOTICE);
    talker.expect_end();
    assert_eq!(witness.rest(), format!("{NOTICE}\n"));

    for number in OVER_KERNEL_BUFFERS {
        slow.expect_line(&talker.said(&long_line(number)));
    }
    slow.expect_line(NOTICE);
    slow.expect_end();
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn an_empty_room_closes_at_once() {
    let mut server = Server::start();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn nobody_gets_in_while_the_room_closes() {
    let (server, _stuck) = room_with_a_stuck_guest();
    server.signal(Signal::TERM);
    eventually("the door to be closed", || {
        TcpStream::connect(server.address).err()
    });
}

#[test]
fn a_guest_that_does_not_read_holds_up_the_end_until_a_second_signal() {
    let (mut server, _stuck) = room_with_a_stuck_guest();
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    let patient_end = signalled.elapsed();

    let (mut server, _stuck) = room_with_a_stuck_guest();
    let mut witness = server.join("127.0.0.5");
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    witness.expect_line(NOTICE);
    server.signal(Signal::TERM);
    server.wait();
    let hasty_end = signalled.elapsed();

    assert!(
        hasty_end < patient_end / 2,
        "{hasty_end:?} with a second signal, {patient_end:?} without"
    );
}

/// A server with a guest that is owed more than the kernel takes, and reads nothing.
fn room_with_a_stuck_guest() -> (Server, Peer) {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut witness = server.join("127.0.0.3");
    let stuck = server.join("127.0.0.4");
    stuck.limit_receive_buffer();
    flood(&talker, &mut witness, OVER_KERNEL_BUFFERS);
    (server, stuck)
}
