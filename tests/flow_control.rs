//! Promises 3 and 5, as far as they go yet: a client that never reads costs the others
//! nothing, and is dropped once it is owed more than the bound.

mod common;

use chat::connection::MAX_BACKLOG_BYTES;

use common::flood::{LONG_LINE_BYTES, OVER_KERNEL_BUFFERS, flood, long_line};
use common::peer::Peer;
use common::server::Server;

#[test]
fn a_client_that_never_reads_is_dropped_and_the_others_hear_everything() {
    const LINES_AT_A_TIME: usize = 100;
    /// Far more than the bound and all that kernels hold for one connection.
    const ENOUGH_BYTES: usize = 10 * MAX_BACKLOG_BYTES;

    let mut server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut witness = server.join("127.0.0.3");
    let mut stuck = server.join("127.0.0.9");
    stuck.limit_receive_buffer();

    let mut said_bytes = 0;
    let mut next = 0;
    while !server.stderr().has_more() {
        flood(&talker, &mut witness, next..next + LINES_AT_A_TIME);
        next += LINES_AT_A_TIME;
        said_bytes += LINES_AT_A_TIME * LONG_LINE_BYTES;
        assert!(said_bytes < ENOUGH_BYTES, "nobody was dropped");
    }
    assert!(said_bytes > MAX_BACKLOG_BYTES, "dropped before its bound");
    let warning = server.stderr().next_line().expect("a warning");
    assert!(warning.contains("127.0.0.9"), "{warning}");

    while let Ok(Some(_)) = stuck.read_line() {}
    talker.say("where were we?");
    witness.expect_line("<127.0.0.2> where were we?");
    assert!(!server.stderr().has_more(), "nobody else is dropped");
}

/// What is owed, some megabytes, is more than one turn of the server sends, and
/// the kernel takes more at once than that.
#[test]
fn a_client_that_catches_up_gets_everything() {
    const LINES: usize = 2000;
    const { assert!(LINES * (LONG_LINE_BYTES + 40) < MAX_BACKLOG_BYTES) };
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut witness = server.join("127.0.0.3");
    let mut slow = server.join("127.0.0.4");

    flood(&talker, &mut witness, 0..LINES);
    for number in 0..LINES {
        slow.expect_line(&talker.said(&long_line(number)));
    }
    talker.say("are you with us again?");
    slow.expect_line("<127.0.0.2> are you with us again?");
}

/// Promise 5: shared text is kept once, however many it waits for.
#[test]
fn what_many_stuck_clients_are_owed_is_kept_once() {
    const STUCK: usize = 20;
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut witness = server.join("127.0.0.3");
    let stuck: Vec<Peer> = (0..STUCK).map(|_| server.join("127.0.0.4")).collect();
    for peer in &stuck {
        peer.limit_receive_buffer();
    }

    let before = server.anonymous_bytes();
    flood(&talker, &mut witness, OVER_KERNEL_BUFFERS);
    let grown_bytes = server.anonymous_bytes() - before;
    let said_bytes = OVER_KERNEL_BUFFERS.len() * LONG_LINE_BYTES;
    assert!(
        grown_bytes < 2 * said_bytes,
        "{grown_bytes} bytes for {said_bytes} that were said"
    );
}
