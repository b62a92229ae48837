//! Sessions: a program that has lost its connection goes on with another one, as the same member,
//! and no line is lost or said twice.

use serde_json::{Value, json};

use crate::common::peer::Peer;
use crate::common::server::Server;
use crate::json::{join_as_program, next_event, next_of_kind};

/// A program of a lost session comes back from `ip`, with its `token`, and has read the hello.
#[track_caller]
fn come_back(server: &Server, ip: &str, token: &Value, seq: u64) -> (Peer, Value) {
    let mut peer = server.join(ip);
    let token = token.as_str().expect("a token");
    peer.send(format!("/json\n/resume {token} {seq}\n"));
    let fresh = next_event(&mut peer);
    assert_eq!(fresh["resumed"], false);
    let hello = next_of_kind(&mut peer, "hello");
    (peer, hello)
}

#[test]
fn after_a_loss_a_program_hears_what_it_missed_and_is_known_by_its_name() {
    let server = Server::start();
    let mut alice = server.join("127.0.0.2");
    let (mut bot, hello) = join_as_program(&server, "127.0.0.3");
    bot.send("/nick bot\none\n");
    assert_eq!(next_event(&mut bot)["name"], "bot");
    let seq = next_event(&mut bot)["seq"].as_u64().expect("a place");
    bot.reset();
    alice.expect_line("<bot> one");
    alice.send("while it is away\n/msg bot psst\n");
    alice.expect_line("-- sent to bot");
    let (mut bot, resumed) = come_back(&server, "127.0.0.3", &hello["token"], seq);
    let expected = json!([true, hello["you"], 2, 0, "bot", 2]);
    let fields = ["resumed", "you", "heard", "lost", "name", "here"];
    let found: Vec<&Value> = fields.iter().map(|&field| &resumed[field]).collect();
    assert_eq!(json!(found), expected);
    let missed = next_event(&mut bot);
    assert_eq!(
        (&missed["text"], &missed["seq"]),
        (&json!("while it is away"), &json!(seq + 1))
    );
    assert_eq!(next_event(&mut bot)["text"], "psst");
    bot.say("two");
    let echo = next_event(&mut bot);
    assert_eq!((&echo["n"], &echo["from"]), (&json!(3), &hello["you"]));
    alice.expect_line("<bot> two");
}

#[test]
fn an_old_connection_is_not_heard_from_the_moment_of_resuming() {
    let server = Server::with(&["--rate", "1"]);
    let mut alice = server.join("127.0.0.2");
    let (mut old, hello) = join_as_program(&server, "127.0.0.3");
    // What its rate does not allow stays undecoded.
    let lines: String = (1..=100).map(|n| format!("line {n}\n")).collect();
    old.send(lines);
    next_of_kind(&mut old, "wait");
    let (mut new, resumed) = come_back(&server, "127.0.0.3", &hello["token"], 0);
    assert_eq!(resumed["resumed"], true);
    let heard = resumed["heard"].as_u64().expect("a number");
    assert!(heard < 100, "{heard}");
    let bye = next_of_kind(&mut old, "bye");
    assert_eq!(bye["code"], "replaced");
    assert_eq!(
        (&bye["again"], &bye["heard"]),
        (&Value::Null, &json!(heard))
    );
    new.say(&format!("line {}", heard + 1));
    for n in 1..=heard + 1 {
        alice.expect_line(&format!("<127.0.0.3> line {n}"));
        let echo = next_of_kind(&mut new, "message");
        assert_eq!(echo["n"], n);
    }
    // The rate has not begun anew: the line had to wait for it, and nothing else was said.
    alice.expect_nothing_new();
}

#[test]
fn a_quit_ends_a_session_for_good() {
    let server = Server::start();
    let (mut bot, hello) = join_as_program(&server, "127.0.0.3");
    bot.say("/quit");
    next_of_kind(&mut bot, "bye");
    bot.expect_end();
    let (_, resumed) = come_back(&server, "127.0.0.3", &hello["token"], 0);
    assert_eq!(resumed["resumed"], false);
}

#[test]
fn a_token_works_only_from_the_address_it_was_given_to() {
    let server = Server::start();
    let (bot, hello) = join_as_program(&server, "127.0.0.3");
    bot.leave();
    let (_, stolen) = come_back(&server, "127.0.0.4", &hello["token"], 0);
    assert_eq!(stolen["resumed"], false);
    let (_, resumed) = come_back(&server, "127.0.0.3", &hello["token"], 0);
    assert_eq!(resumed["resumed"], true);
}

#[test]
fn a_session_resumed_twice_in_a_second_is_told_to_wait() {
    let server = Server::start();
    let (_bot, hello) = join_as_program(&server, "127.0.0.3");
    let (_second, resumed) = come_back(&server, "127.0.0.3", &hello["token"], 0);
    assert_eq!(resumed["resumed"], true);
    let mut third = server.join("127.0.0.3");
    let token = hello["token"].as_str().expect("a token");
    third.send(format!("/json\n/resume {token} 0\n"));
    let bye = next_of_kind(&mut third, "bye");
    assert_eq!(
        (&bye["code"], &bye["again"]),
        (&json!("too_soon"), &json!(1))
    );
    third.expect_end();
}

#[test]
fn others_are_told_of_a_loss_after_a_while() {
    let server = Server::sociable(&[]);
    let mut alice = server.join("127.0.0.2");
    let (bot, _) = join_as_program(&server, "127.0.0.3");
    bot.say("hi");
    while alice.next_line().expect("a line") != "<127.0.0.3> hi" {}
    bot.reset();
    alice.expect_line("-- 127.0.0.3 left (1 here)");
}

#[test]
fn a_held_session_costs_no_cpu_and_a_shutdown_does_not_wait_for_it() {
    let mut server = Server::start();
    let (bot, _) = join_as_program(&server, "127.0.0.3");
    bot.leave();
    server.expect_idle();
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_session_has_its_place_in_a_full_room() {
    let server = Server::with(&["--max-clients", "2"]);
    let mut alice = server.join("127.0.0.2");
    let (bot, hello) = join_as_program(&server, "127.0.0.3");
    bot.leave();
    let carol = server.join("127.0.0.4");
    let mut back = Peer::connect_from("127.0.0.3", server.address);
    back.expect_line("!! the room is full (2 clients); try again later");
    alice.say("not for those outside");
    let token = hello["token"].as_str().expect("a token");
    back.send(format!("/json\n/resume {token} 0\n"));
    let resumed = next_event(&mut back);
    assert_eq!(
        (&resumed["resumed"], &resumed["here"]),
        (&json!(true), &json!(3))
    );
    assert_eq!(next_event(&mut back)["text"], "not for those outside");
    alice.say("hi");
    assert_eq!(next_event(&mut back)["text"], "hi");
    back.say("I am back");
    alice.expect_line("<127.0.0.3> I am back");
    assert_eq!(next_event(&mut back)["n"], 1);
    // Nobody else is let in, whatever they say, until there is room.
    for words in [
        "hi\n",
        "/json\nhi\n",
        "/json\n/resume 1.0 0\n",
        "/resume 1.0 0\n",
        "",
    ] {
        let mut dave = Peer::connect_from("127.0.0.5", server.address);
        dave.expect_line("!! the room is full (3 clients); try again later");
        dave.send(words);
        dave.expect_end();
    }
    back.say("/quit");
    assert_eq!(next_of_kind(&mut back, "bye")["code"], "quit");
    back.expect_end();
    drop(carol);
    alice.expect_nothing_new();
}

#[test]
fn a_crowd_at_the_door_of_a_full_room_is_bounded() {
    const CROWD: usize = 200;
    let server = Server::with(&["--max-clients", "1"]);
    let (_bot, _) = join_as_program(&server, "127.0.0.3");
    let crowd: Vec<Peer> = (0..CROWD)
        .map(|_| Peer::connect_from("127.0.0.4", server.address))
        .collect();
    for mut peer in crowd {
        peer.expect_line("!! the room is full (1 clients); try again later");
        peer.expect_end();
    }
}
