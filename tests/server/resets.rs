//! Peers that vanish leak no descriptor, and no line of others is lost.

use crate::common::eventually;
use crate::common::peer::Peer;
use crate::common::server::Server;

const RESETS: usize = 200;

#[test]
fn two_hundred_resets_in_the_middle_of_a_line_leak_no_descriptor() {
    let server = Server::start();
    let alice = server.join("127.0.0.3");
    let descriptors_before = server.descriptors();

    let guests: Vec<Peer> = (0..RESETS).map(|_| server.join("127.0.0.2")).collect();
    assert_eq!(server.descriptors(), descriptors_before + RESETS);
    for guest in guests {
        guest.send("the middle of a li");
        guest.reset();
    }
    eventually("the descriptors of vanished clients to be closed", || {
        (server.descriptors() == descriptors_before).then_some(())
    });

    let mut bob = server.join("127.0.0.4");
    alice.say("still there?");
    bob.expect_line("<127.0.0.3> still there?");
}

#[test]
fn resets_while_others_talk_lose_no_line() {
    let server = Server::start();
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    for number in 0..RESETS {
        let passer_by = server.join("127.0.0.4");
        alice.say(&format!("line {number}"));
        passer_by.reset();
    }
    for number in 0..RESETS {
        bob.expect_line(&format!("<127.0.0.2> line {number}"));
    }
}
