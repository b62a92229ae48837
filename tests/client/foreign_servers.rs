//! Our client with foreign servers, above all the Python original: lines that never end, and
//! connections that never end.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::alice::client_of_the_test_at;
use crate::common::peer::{Peer, WELCOME, client_of_the_test};
use crate::common::process::{Process, chat_to};
use crate::common::screen::Screen;

/// The Python server sends its welcome without a line end, and relays bytes unchanged behind
/// `<ip> `.
#[test]
fn a_conversation_with_the_python_server() {
    let (mut server, mut client) = client_of_the_test(Stdio::piped());

    server.send(WELCOME);
    client.stdout().expect_line(WELCOME);
    server.send("<127.0.0.2> hello\n");
    client.stdout().expect_line("<127.0.0.2> hello");
    client.type_line("hello yourself");
    client.stdout().expect_line("<You>hello yourself");
    server.expect_line("hello yourself");
    server.send("<127.0.0.2> no line end");
    client.stdout().expect_line("<127.0.0.2> no line end");
}

/// TCP may deliver the welcome and what follows in one segment.
#[test]
fn a_welcome_without_line_end_is_a_line_of_its_own() {
    let (server, mut client) = client_of_the_test(Stdio::piped());
    server.send(format!("{WELCOME}<127.0.0.2> hello\n"));
    client.stdout().expect_line(WELCOME);
    client.stdout().expect_line("<127.0.0.2> hello");
}

#[test]
fn a_half_line_is_shown_when_the_server_closes() {
    let (server, mut client) = client_of_the_test(Stdio::null());
    server.send("last wor");
    drop(server);
    assert_eq!(client.finish().stdout, "last wor\n");
}

#[test]
fn a_server_that_never_closes_is_left_after_some_seconds_of_silence() {
    const LEAST_PATIENCE: Duration = Duration::from_secs(1);
    let started = Instant::now();
    let (mut server, mut client) = client_of_the_test(Stdio::null());
    server.say("hello");
    server.expect_end();
    server.say("goodbye");

    let finished = client.finish();
    assert_eq!(finished.stdout, "hello\ngoodbye\n");
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.code, 0);
    assert!(started.elapsed() > LEAST_PATIENCE);
}

/// An SSH server's port, a mail server's, and one whose server waits to be spoken to.
/// Nothing is said there, and readers of JSON are told, too.
#[test]
fn a_port_that_is_no_chat_room_is_recognised() {
    let mut clients = Vec::new();
    for (greeting, told) in [
        ("SSH-2.0-OpenSSH_9.2p1\r\n", "no chat server at"),
        ("220 mail.lan ESMTP\r\n", "no chat server at"),
        ("", "no answer from"),
    ] {
        for (command, options) in [
            ("client", &[][..]),
            ("client", &["--json"]),
            ("client", &["--reconnect"]),
            ("tail", &[]),
        ] {
            let (server, mut client) =
                Peer::serve(|address| Process::spawn(chat_to(command, address, options)));
            if command == "client" {
                client.type_line("hi");
            }
            server.send(greeting);
            clients.push((server, client, told));
        }
    }
    for (mut server, mut client, told) in clients {
        server.expect_closed();
        let finished = client.finish();
        let said = finished.stderr;
        assert_eq!(finished.code, 4, "{said}");
        assert!(
            said.contains(told) && said.contains("(is the port right?)"),
            "{said}"
        );
    }
}

#[test]
fn a_person_is_told_that_it_is_no_chat_room() {
    let mut screen = Screen::new(80, 24);
    let (server, mut client) = client_of_the_test_at(&screen, &[]);
    server.send("SSH-2.0-OpenSSH_9.2p1\r\n");
    screen.expect_row("SSH-2.0-OpenSSH_9.2p1");
    let told = client.stderr().next_line().expect("an error");
    assert!(told.contains("no chat server at"), "{told}");
    assert_eq!(client.exit_code(), 4);
}
