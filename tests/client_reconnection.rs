//! What a client at a terminal does when its connection is lost.

mod common;

use std::net::TcpListener;

use rustix::process::Signal;

use common::alice::{
    CTRL_D, alice_at_a_terminal, client_of_the_test_at, let_in, lose_server, restart,
};
use common::peer::{Peer, WELCOME};
use common::process::chat_client;
use common::screen::Screen;

#[test]
fn a_lost_connection_is_made_again_and_what_was_typed_is_said() {
    let mut alice = alice_at_a_terminal(&[]);
    let address = alice.server.address;
    alice.server.signal(Signal::KILL);
    alice.server.wait();
    alice.screen.expect_last_row("[offline] alice>");
    alice.screen.type_keys("are you there?\r/me waits\r");
    alice.screen.expect_last_row("[offline, 2 lines waiting] >");
    alice.screen.type_keys("half");

    let mut server = restart(address);
    // On its console, for nobody else can be sure to be in before alice.
    for line in ["<alice> are you there?", "* alice waits"] {
        while server.stdout().next_line().expect("a console") != line {}
    }
    alice.screen.expect_last_row("alice> half");
    alice.screen.expect_row("-- connected again");
    alice.screen.type_keys(&format!("\x15{CTRL_D}"));
    assert_eq!(alice.client.exit_code(), 0);
}

#[test]
fn a_full_room_is_tried_again_by_whoever_was_in() {
    let mut alice = alice_at_a_terminal(&[]);
    let listener = lose_server(&mut alice);
    alice.screen.type_keys("hello again\rhalf");
    for _ in 0..2 {
        let server = Peer::accept(&listener);
        server.say("!! the room is full (1 clients)");
        drop(server);
        alice.screen.expect_row("!! the room is full (1 clients)");
        alice
            .screen
            .expect_last_row("[offline, 1 line waiting] > half");
        // An empty Enter has it tried at once; the half line comes back after that.
        alice.screen.type_keys("\x15\r\x19");
    }
    let mut server = Peer::accept(&listener);
    let_in(&mut server, "alice");
    server.expect_line("hello again");
    alice.screen.expect_last_row("alice> half");
    alice.screen.assert_told_once("!! the room is full");
    alice.screen.assert_told_once("-- connected again");
}

#[test]
fn what_was_in_doubt_on_a_lost_connection_is_not_on_the_next() {
    let mut screen = Screen::new(80, 24);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut client = screen.run(chat_client(address));
    let mut server = Peer::accept(&listener);
    // As the Python original greets; like that, it will not end the connection, either.
    server.send("Welcome to this chatroom!");
    screen.expect_last_row(">");
    screen.type_keys("hi\r");
    server.expect_line("hi");
    server.reset();
    screen.expect("the doubt", |rows| {
        rows.concat().contains("what you said last may not have")
    });
    screen.type_keys("\r");
    let mut server = Peer::accept(&listener);
    server.send("Welcome to this chatroom!");
    screen.expect_last_row(">");
    screen.type_keys(&format!("bye\r{CTRL_D}"));
    server.expect_line("bye");
    assert_eq!(client.exit_code(), 0);
}

/// Who has no name waits for the greeting as well.
#[test]
fn what_is_kept_is_told_to_nobody_who_does_not_let_us_in() {
    let mut screen = Screen::new(80, 24);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let _client = screen.run(chat_client(address));
    let server = Peer::accept(&listener);
    server.say(WELCOME);
    screen.expect_last_row(">");
    drop(server);
    screen.expect_last_row("[offline] >");
    screen.type_keys("hello again\r");
    screen.expect_last_row("[offline, 1 line waiting] >");
    screen.type_keys("\r");
    let mut server = Peer::accept(&listener);
    server.say("!! the room is full (1 clients)");
    server.close_write();
    server.expect_closed();
    screen.expect_last_row("[offline, 1 line waiting] >");
    screen.type_keys("\r");
    let mut server = Peer::accept(&listener);
    server.say(WELCOME);
    server.expect_line("hello again");
}

#[test]
fn what_was_to_be_said_by_a_name_that_is_lost_waits() {
    let held = || {
        let mut alice = alice_at_a_terminal(&[]);
        let listener = lose_server(&mut alice);
        alice.screen.type_keys("it is me\r");
        alice.screen.expect_last_row("[offline, 1 line waiting] >");
        let mut server = Peer::accept(&listener);
        server.say(WELCOME);
        server.expect_line("/nick alice");
        server.say("!! alice is taken");
        alice.screen.expect_last_row("[1 line waiting] >");
        alice
            .screen
            .assert_told_once("!! 1 line would be said without your name");
        (alice, server)
    };
    let (alice, mut server) = held();
    alice.screen.type_keys("/nick alicia\r");
    server.expect_line("/nick alicia");
    server.say("-- you are alicia now");
    server.expect_line("it is me");

    let (alice, mut server) = held();
    alice.screen.type_keys("\r");
    server.expect_line("it is me");

    for leave in [CTRL_D, "/quit\r"] {
        let (mut alice, mut server) = held();
        alice.screen.type_keys(leave);
        assert_eq!(alice.client.exit_code(), 4);
        let said = alice.client.stderr().rest();
        assert!(said.contains("1 line could not be sent"), "{said}");
        server.expect_end();
    }
}

#[test]
fn what_has_never_let_us_in_is_not_tried_again() {
    let mut screen = Screen::new(80, 24);
    let (server, mut client) = client_of_the_test_at(&screen, &[]);
    drop(server);
    assert_eq!(client.exit_code(), 4);
    screen.read_rest();
    assert!(screen.rows().is_empty(), "{:?}", screen.rows());
}

#[test]
fn whoever_was_sent_away_does_not_come_back() {
    let mut screen = Screen::new(80, 24);
    let (server, mut client) = client_of_the_test_at(&screen, &[]);
    server.send(format!(
        "{WELCOME}\n-- the operator has sent you away: goodbye\n"
    ));
    drop(server);
    assert_eq!(client.exit_code(), 4);
    screen.expect_row("-- the operator has sent you away: goodbye");
}

#[test]
fn lines_that_cannot_be_sent_are_not_lost_without_a_word() {
    let mut alice = alice_at_a_terminal(&[]);
    alice.server.signal(Signal::KILL);
    alice.server.wait();
    alice.screen.expect_last_row("[offline] alice>");
    alice.screen.type_keys("one\rtwo\r\x04");
    assert_eq!(alice.client.exit_code(), 4);
    let said = alice.client.stderr().rest();
    assert!(said.contains("2 lines could not be sent"), "{said}");
}
