//! Promise 8, a clean end: asked to end, the server tells everybody, sends what it owes, and
//! exits with success.

use std::io::{ErrorKind, Read, Seek};
use std::net::TcpStream;
use std::ops::Range;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::crowd::{Crowd, Member, NO_END, numbered_line};
use crate::common::flood::{KEEPS_ALL, OVER_SEND_BUFFER, flood, long_line};
use crate::common::peer::Peer;
use crate::common::server::{Server, server_command};
use crate::common::{alone_under_load, eventually};

const NOTICE: &str = "-- the room is closing";

/// How long the end may take when a client does not take what it is owed.
const PATIENCE_WITH_STUCK_GUESTS: Range<Duration> =
    Duration::from_millis(2500)..Duration::from_secs(6);

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
    flood(&talker, &mut witness, OVER_SEND_BUFFER);

    server.signal(signal);
    talker.expect_line(NOTICE);
    talker.expect_end();
    assert_eq!(witness.rest(), format!("{NOTICE}\n"));

    for number in OVER_SEND_BUFFER {
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

/// For example Ctrl-C just when a `kill` arrives: one request, not two.
#[test]
fn simultaneous_signals_count_as_one() {
    let mut server = Server::start();
    let mut alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    server.stop();
    alice.say("the last word");
    server.signal(Signal::INT);
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    assert_eq!(alice.rest(), format!("{NOTICE}\n"));
    bob.expect_line("<127.0.0.2> the last word");
    assert_eq!(bob.rest(), format!("{NOTICE}\n"));
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn nobody_gets_in_while_the_room_closes() {
    let mut room = room_with_a_stuck_guest();
    room.server.signal(Signal::TERM);
    room.witness.expect_line(NOTICE);
    // The server waits for the stuck guest, and cannot end while it is stopped.
    room.server.stop();
    let error = TcpStream::connect(room.server.address).expect_err("a closed door");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    room.server.signal(Signal::CONT);
    assert_eq!(room.server.exit_code(), 0);
}

#[test]
fn a_stalled_guest_delays_the_end_by_some_seconds_only() {
    let mut room = room_with_a_stuck_guest();
    let signalled = Instant::now();
    room.server.signal(Signal::TERM);
    for number in OVER_SEND_BUFFER {
        room.slow.expect_line(&room.talker.said(&long_line(number)));
    }
    assert_eq!(room.slow.rest(), format!("{NOTICE}\n"));
    assert_eq!(room.server.exit_code(), 0);
    let taken = signalled.elapsed();
    assert!(PATIENCE_WITH_STUCK_GUESTS.contains(&taken), "{taken:?}");
}

/// The console shows what the server has taken: in a file it misses nothing.
#[test]
fn every_line_taken_is_heard_before_the_end_beside_stuck_guests() {
    const STUCK: usize = 10;
    const LINES_BEFORE: usize = 2000;
    /// Said after that, before the reader reads on: it is owed some of this.
    const AHEAD_BYTES: u64 = 1 << 20;
    const LONGEST_END: Duration = Duration::from_secs(10);
    let _alone = alone_under_load();
    let mut console = tempfile::tempfile().expect("a temporary file");
    let mut command = server_command("127.0.0.1", KEEPS_ALL);
    command.stdout(console.try_clone().expect("a free descriptor"));
    let mut server = Server::spawn_with_log(command);
    let flooder = server.join("127.0.0.2");
    let said = flooder.said("");
    let mut reader = server.join("127.0.0.3");
    reader.limit_receive_buffer();
    let stuck: Vec<Peer> = (0..STUCK).map(|_| server.join("127.0.0.9")).collect();
    for peer in &stuck {
        peer.limit_receive_buffer();
    }

    let _crowd = Crowd::start([Member::flooder(flooder, 0..NO_END)]);
    for number in 0..LINES_BEFORE {
        reader.expect_line(&format!("{said}{}", numbered_line(number)));
    }
    let shown_bytes = || console.metadata().expect("a regular file").len();
    let before = shown_bytes();
    eventually("the reader to lag", || {
        (shown_bytes() > before + AHEAD_BYTES).then_some(())
    });
    let signalled = Instant::now();
    server.signal(Signal::TERM);
    let mut heard = LINES_BEFORE;
    loop {
        let line = reader.next_line().expect("a notice before the end");
        if line == NOTICE {
            break;
        }
        assert_eq!(line, format!("{said}{}", numbered_line(heard)));
        heard += 1;
    }
    reader.expect_end();
    assert_eq!(server.exit_code(), 0);
    let taken = signalled.elapsed();
    assert!(taken < LONGEST_END, "{taken:?}");

    let mut shown = String::new();
    console.rewind().expect("a regular file");
    console.read_to_string(&mut shown).expect("UTF-8");
    let shown = shown.lines().filter(|line| line.starts_with(&said));
    assert_eq!(shown.count(), heard, "what was taken was not heard");
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut room = room_with_a_stuck_guest();
    let signalled = Instant::now();
    room.server.signal(Signal::TERM);
    room.witness.expect_line(NOTICE);
    room.server.signal(Signal::TERM);
    room.server.wait();
    let taken = signalled.elapsed();
    assert!(taken < PATIENCE_WITH_STUCK_GUESTS.start, "{taken:?}");
}

/// A server whose guests have been sent more than the kernel buffers for one of them.
struct Room {
    server: Server,
    talker: Peer,
    /// Has read everything.
    witness: Peer,
    /// Has read nothing yet.
    slow: Peer,
    /// Will never read.
    _stuck: Peer,
}

fn room_with_a_stuck_guest() -> Room {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut witness = server.join("127.0.0.3");
    let [slow, stuck] = ["127.0.0.4", "127.0.0.5"].map(|ip| server.join(ip));
    slow.limit_receive_buffer();
    stuck.limit_receive_buffer();
    flood(&talker, &mut witness, OVER_SEND_BUFFER);
    Room {
        server,
        talker,
        witness,
        slow,
        _stuck: stuck,
    }
}
