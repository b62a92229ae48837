//! Who gets in: by address, and by the number of clients from one address.

use std::time::Instant;

use rustix::process::Signal;

use chat::rate::{LOG_BURST, LOG_INTERVAL};
use chat::reactor::service::Policy;

use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Process, chat_client};
use crate::common::server::{Server, server_command};

const DENIED: &str = "!! your address is not allowed here; ask the operator";
const REFUSED: i32 = 5;

/// Expects that a client from `ip` is refused, and told why.
#[track_caller]
fn expect_refused(server: &Server, ip: &str, words: &str) {
    let mut peer = Peer::connect_from(ip, server.address);
    peer.expect_line(words);
    peer.expect_end();
}

#[test]
fn a_denied_client_is_told_and_hears_nothing_and_others_get_in() {
    let server = Server::with(&["--deny", "127.0.0.2"]);
    let mut alice = server.join("127.0.0.3");
    let mut mallory = Peer::connect_from("127.0.0.2", server.address);
    mallory.send("let me in\n");
    mallory.expect_line(DENIED);
    mallory.expect_closed();

    let bob = server.join("127.0.0.4");
    bob.say("who was that?");
    alice.expect_line("<127.0.0.4> who was that?");
}

#[test]
fn with_any_allow_all_others_are_refused() {
    let server = Server::with(&["--allow", "127.0.1.0/24", "--allow", "127.0.2.7"]);
    let _alice = server.join("127.0.1.1");
    let _bob = server.join("127.0.2.7");
    for ip in ["127.0.0.1", "127.0.2.8"] {
        expect_refused(&server, ip, DENIED);
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let lan_but_one = ["--deny", "127.0.1.7", "--allow", "127.0.1.0/24"];
    let server = Server::with(&lan_but_one);
    let _alice = server.join("127.0.1.8");
    expect_refused(&server, "127.0.1.7", DENIED);
    expect_refused(&server, "127.0.2.1", DENIED);

    let one_of_the_lan = ["--allow", "127.0.1.7", "--deny", "127.0.1.0/24"];
    let server = Server::with(&one_of_the_lan);
    let _alice = server.join("127.0.1.7");
    expect_refused(&server, "127.0.1.8", DENIED);
}

#[test]
fn a_rule_may_write_an_ipv4_address_as_ipv6() {
    let server = Server::with(&["--deny", "::ffff:127.0.1.5/120"]);
    let _alice = server.join("127.0.0.2");
    expect_refused(&server, "127.0.1.7", DENIED);
}

#[test]
fn a_full_address_gets_in_again_once_a_place_is_free() {
    const FULL: &str = "!! too many connections from your address (2); close one";
    let server = Server::with(&["--max-per-ip", "2"]);
    let mut alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.2");
    for _ in 0..3 {
        expect_refused(&server, "127.0.0.2", FULL);
    }
    let carol = server.join("127.0.0.3");
    carol.say("there is room for me");
    for peer in [&mut alice, &mut bob] {
        peer.expect_line("<127.0.0.3> there is room for me");
    }

    bob.leave();
    let dave = server.join("127.0.0.2");
    dave.say("finally");
    alice.expect_line("<127.0.0.2> finally");
    expect_refused(&server, "127.0.0.2", FULL);
}

#[test]
fn a_client_that_quits_but_does_not_close_keeps_its_place() {
    const VISITS: usize = 500;
    /// Its places; as many displaced sockets still to be closed as may be refused; and the
    /// refused.
    const MOST: usize = 10 + 2 * Policy::DEFAULT.max_refused;
    let server = Server::with(&["--max-clients", "100", "--max-per-ip", "10"]);
    let before = server.descriptors();
    let mut most = 0;
    let visits: Vec<Peer> = (0..VISITS)
        .map(|_| {
            let peer = Peer::connect_from("127.0.0.2", server.address);
            peer.send("/quit\n");
            most = most.max(server.descriptors() - before);
            peer
        })
        .collect();
    let mut victim = server.join("127.0.0.3");
    victim.say("/who");
    victim.next_line().expect("an answer");
    assert!(most <= MOST, "{most} descriptors for one address");
    drop(visits);
}

#[test]
fn a_client_that_quits_may_come_back_at_once() {
    let server = Server::with(&["--max-clients", "1", "--max-per-ip", "1"]);
    let mut gone = Vec::new();
    for visit in 0..10 {
        // The second address finds the room full.
        let ip = ["127.0.0.2", "127.0.0.3"][visit / 5];
        let mut alice = server.join(ip);
        alice.say("/quit");
        alice.expect_line("-- goodbye");
        alice.expect_end();
        gone.push(alice);
    }
}

#[test]
fn by_default_only_loopback_can_fill_the_room() {
    let server = Server::with(&["--max-clients", "4"]);
    let guests: Vec<Peer> = (0..4).map(|_| server.join("127.0.0.2")).collect();
    expect_refused(
        &server,
        "127.0.0.2",
        "!! the room is full (4 clients); try again later",
    );
    drop(guests);
}

#[test]
fn the_client_shows_why_it_is_refused() {
    let server = Server::with(&["--deny", "127.0.0.0/8"]);
    let finished = Process::spawn(chat_client(server.address)).finish();
    assert_eq!(finished.stdout, format!("{DENIED}\n"));
    assert_eq!(finished.code, REFUSED, "{}", finished.stderr);
}

#[test]
fn refusals_do_not_fill_the_log() {
    const KNOCKS: usize = 200;
    let denied = ["--deny", "127.0.0.2"];
    let mut server = Server::spawn_with_log(server_command("127.0.0.1", &denied));
    let begun_at = Instant::now();
    for _ in 0..KNOCKS {
        expect_refused(&server, "127.0.0.2", DENIED);
    }
    let intervals = begun_at.elapsed().div_duration_f64(LOG_INTERVAL);
    Peer::connect_from("127.0.0.3", server.address).expect_line(WELCOME);

    server.signal(Signal::TERM);
    let log = server.finish().stderr;
    let refusals: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(" refused "))
        .collect();
    let expected =
        "chat: info: refused 127.0.0.2: your address is not allowed here; ask the operator";
    assert_eq!(refusals.first(), Some(&expected));
    let most = LOG_BURST as usize + intervals.ceil() as usize;
    assert!(
        (LOG_BURST as usize..=most).contains(&refusals.len()),
        "{log}"
    );
}
