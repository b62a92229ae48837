//! The wire for programs: `/json`, then one object a line, and each line answered with its number.

use std::collections::BTreeSet;

use chat::protocol::event::Event;
use chat::protocol::event::json::max_object_bytes;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::peer::Peer;
use crate::common::server::Server;

/// The next object that `peer` is sent.
#[track_caller]
pub(crate) fn next_event(peer: &mut Peer) -> Value {
    let line = peer.next_line().expect("a further line");
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// The next object of this kind; those before it are skipped.
#[track_caller]
pub(crate) fn next_of_kind(peer: &mut Peer, kind: &str) -> Value {
    loop {
        let event = next_event(peer);
        if event["kind"] == kind {
            return event;
        }
    }
}

/// A program that has read its hello, and that.
#[track_caller]
pub(crate) fn join_as_program(server: &Server, ip: &str) -> (Peer, Value) {
    let mut peer = server.join(ip);
    peer.say("/json");
    // Notices that were sent before the switch are text.
    let first = loop {
        let line = peer.next_line().expect("a hello");
        if line.starts_with('{') {
            break line;
        }
    };
    let hello: Value = serde_json::from_str(&first).unwrap_or_else(|e| panic!("{e}: {first}"));
    assert_eq!(hello["kind"], "hello");
    (peer, hello)
}

#[test]
fn a_program_and_a_person_talk() {
    let server = Server::start();
    let mut alice = server.join("127.0.0.2");
    alice.say("/nick alice");
    alice.expect_line("-- you are now alice");
    let (mut bot, hello) = join_as_program(&server, "127.0.0.3");
    assert_eq!(hello["here"], 2);
    assert_eq!(hello["people"][0][1], "alice");
    assert_eq!(hello["epoch"].as_str().map(str::len), Some(16));
    bot.send("first\nsecond\n\n/who\n");
    for (n, text) in [(1, "first"), (2, "second")] {
        let echo = next_event(&mut bot);
        assert_eq!((&echo["n"], &echo["text"]), (&json!(n), &json!(text)));
        assert_eq!(echo["from"], hello["you"]);
        alice.expect_line(&format!("<127.0.0.3> {text}"));
    }
    let who = next_event(&mut bot);
    assert_eq!(
        (&who["kind"], &who["n"], &who["here"]),
        (&json!("reply"), &json!(3), &json!(2))
    );
    alice.say("/msg 127.0.0.3 psst");
    let private = next_event(&mut bot);
    assert_eq!(private["kind"], "private");
    assert_eq!(private["text"], "psst");
    alice.expect_line("-- sent to 127.0.0.3");
    bot.say("/quit");
    let bye = next_event(&mut bot);
    assert_eq!(
        (&bye["code"], &bye["n"], &bye["heard"]),
        (&json!("quit"), &json!(4), &json!(4))
    );
    bot.expect_end();
}

#[test]
fn what_comes_with_json_in_one_segment_is_read_as_a_program_sends_it() {
    let server = Server::start();
    let mut alice = server.join("127.0.0.2");
    let mut bot = server.join("127.0.0.3");
    // CR is a character of the line, and what looks like another protocol is speech.
    bot.send("/json\nGET / HTTP/1.1\none\rtwo\n\u{8}x\n");
    assert_eq!(next_event(&mut bot)["kind"], "hello");
    for (n, text) in [(1, "GET / HTTP/1.1"), (2, "one␍two"), (3, "␈x")] {
        let echo = next_event(&mut bot);
        assert_eq!((&echo["n"], &echo["text"]), (&json!(n), &json!(text)));
        alice.expect_line(&format!("<127.0.0.3> {text}"));
    }
    // An unfinished line is never said.
    bot.send("unfinished");
    bot.leave();
    alice.expect_nothing_new();
}

#[test]
fn the_examples_in_the_documentation_are_what_the_server_writes() {
    const PAGE: &str = include_str!("../../docs/wire.md");
    let mut kinds = BTreeSet::new();
    for line in PAGE.lines().filter(|line| line.starts_with('{')) {
        let read = Event::read_json(line.as_bytes()).expect("an event");
        let (place, event) = read.expect("a known kind");
        let mut written = Vec::new();
        event.write_json(place, max_object_bytes(4096), &mut written);
        assert_eq!(String::from_utf8_lossy(&written), line);
        let value: Value = serde_json::from_str(line).expect("an object");
        kinds.insert(value["kind"].as_str().expect("a kind").to_owned());
    }
    assert_eq!(kinds.len(), 12, "each kind has an example: {kinds:?}");
}

#[test]
fn a_closing_room_says_so_to_programs() {
    let server = Server::start();
    let (mut bot, _) = join_as_program(&server, "127.0.0.3");
    bot.say("hi");
    next_event(&mut bot);
    server.signal(Signal::TERM);
    let notice = next_event(&mut bot);
    assert_eq!(
        notice,
        json!({"kind": "notice", "text": "the room is closing"})
    );
    let bye = next_event(&mut bot);
    assert_eq!(
        (&bye["code"], &bye["heard"], &bye["again"]),
        (&json!("closing"), &json!(1), &json!(1))
    );
    bot.expect_end();
}

#[test]
fn a_program_that_is_rated_is_told_to_wait() {
    let server = Server::with(&["--rate", "1"]);
    let (mut bot, _) = join_as_program(&server, "127.0.0.3");
    let lines: String = (0..100).map(|n| format!("line {n}\n")).collect();
    bot.send(lines);
    next_of_kind(&mut bot, "wait");
}
