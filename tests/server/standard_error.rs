//! Promise 7, the console never blocks the room, for standard error: log output delays nobody.

use rustix::process::Signal;
use rustix::termios::{Action, tcflow};

use crate::common::eventually;
use crate::common::flood::{LONG_LINE_BYTES, flood};
use crate::common::peer::{Peer, WELCOME};
use crate::common::server::Server;

#[test]
fn the_room_goes_on_when_warnings_cannot_be_shown() {
    let (mut server, _keyboard, terminal) = Server::at_a_terminal();
    // As Ctrl-S does: writers block.
    tcflow(&terminal, Action::OOff).expect("a terminal");
    let talker = server.join("127.0.0.2");
    let mut witness = server.join("127.0.0.3");

    drop_a_stuck_guest(&server, &talker, &mut witness);
    let mut late = connect_in_vain(&server);
    talker.say("where were we?");
    witness.expect_line("<127.0.0.2> where were we?");

    server.allow_more_descriptors(1);
    late.expect_line(WELCOME);
    server.signal(Signal::TERM);
    witness.expect_line("-- the room is closing");
    assert_eq!(server.exit_code(), 0);
}

/// Says more than the server queues for a guest that reads nothing.
#[track_caller]
fn drop_a_stuck_guest(server: &Server, talker: &Peer, witness: &mut Peer) {
    /// Far more than the bound and everything the kernel buffers for one connection.
    const ENOUGH_LINES: usize = 8 * 1024 * 1024 / LONG_LINE_BYTES;
    let descriptors_before = server.descriptors();
    let stuck = server.join("127.0.0.9");
    stuck.limit_receive_buffer();
    flood(talker, witness, 0..ENOUGH_LINES);
    eventually("the stuck guest to be dropped", || {
        (server.descriptors() <= descriptors_before).then_some(())
    });
}

/// A client that must wait because the server has no descriptor left.
#[track_caller]
fn connect_in_vain(server: &Server) -> Peer {
    server.allow_more_descriptors(0);
    let late = Peer::connect_from("127.0.0.4", server.address);
    server.expect_no_cpu_time();
    assert!(!late.has_more(), "there was a descriptor left");
    late
}
