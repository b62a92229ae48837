//! A line reaches all others, whole, and in one order for everybody.

use std::sync::Barrier;
use std::thread;

use crate::common::peer::Peer;
use crate::common::server::Server;

const TALKERS: usize = 40;
const LINES_EACH: usize = 50;

#[test]
fn a_line_reaches_everybody_but_its_sender() {
    let server = Server::start();
    let mut alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    let mut carol = server.join("127.0.0.4");

    alice.say("good morning");
    bob.expect_line("<127.0.0.2> good morning");
    carol.expect_line("<127.0.0.2> good morning");

    bob.say("and to you");
    alice.expect_line("<127.0.0.3> and to you");
    carol.expect_line("<127.0.0.3> and to you");
}

#[test]
fn two_guests_at_one_address_hear_each_other() {
    let server = Server::start();
    let mut one = server.join("127.0.0.2");
    let mut other = server.join("127.0.0.2");

    one.say("same machine, another shell");
    other.expect_line("<127.0.0.2> same machine, another shell");
    other.say("so it is");
    one.expect_line("<127.0.0.2> so it is");
}

/// Promise 1, one order: every reader gets the same lines in the same order, each sender's as it
/// sent them, and none mixed. Talkers are readers, too.
#[test]
fn forty_talkers_are_heard_in_one_order_and_no_two_lines_mix() {
    let server = Server::start();
    let mut listener = server.join("127.0.0.2");
    let mut talkers: Vec<Peer> = (0..TALKERS)
        .map(|talker| server.join(&talker_ip(talker)))
        .collect();

    let all_ready = Barrier::new(TALKERS);
    thread::scope(|scope| {
        for (talker, peer) in talkers.iter().enumerate() {
            let all_ready = &all_ready;
            scope.spawn(move || {
                all_ready.wait();
                talk_in_pieces(peer, talker);
            });
        }
    });

    let heard: Vec<String> = (0..TALKERS * LINES_EACH)
        .map(|_| listener.next_line().expect("a line for each that was said"))
        .collect();
    for (talker, peer) in talkers.iter_mut().enumerate() {
        let own = format!("<{}>", talker_ip(talker));
        let (of_talker, of_others): (Vec<&String>, Vec<&String>) =
            heard.iter().partition(|line| line.starts_with(&own));

        let said: Vec<String> = (0..LINES_EACH)
            .map(|number| format!("{own} {}", line_of(talker, number)))
            .collect();
        assert_eq!(of_talker, said.iter().collect::<Vec<_>>());
        for line in of_others {
            peer.expect_line(line);
        }
    }
}

fn talker_ip(talker: usize) -> String {
    format!("127.0.1.{}", talker + 1)
}

/// Lines of many lengths, all unique.
fn line_of(talker: usize, number: usize) -> String {
    let length = (talker * 31 + number * 17) % 200;
    format!("{talker}/{number} {:-<length$}", "")
}

/// Says all lines of a talker, cut anywhere.
fn talk_in_pieces(peer: &Peer, talker: usize) {
    let text: String = (0..LINES_EACH)
        .map(|number| line_of(talker, number) + "\n")
        .collect();
    let piece_bytes = 7 + talker * 5;
    for piece in text.as_bytes().chunks(piece_bytes) {
        peer.send(piece);
    }
}
