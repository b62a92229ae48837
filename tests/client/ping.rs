//! `chat ping`: what it says of what it finds, and that a room does not notice.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Finished, Process, chat, chat_to};
use crate::common::server::Server;

const CANNOT_CONNECT: i32 = 3;
const NO_ROOM: i32 = 4;
const REFUSED: i32 = 5;

#[test]
fn a_room_answers_and_nobody_notices() {
    let mut server = Server::sociable(&[]);
    server.skip_banner();
    let mut alice = server.join("127.0.0.2");
    alice.expect_line("-- 127.0.0.2 joined (1 here)");
    expect_newcomer(&mut server, "127.0.0.2", 1);

    assert_answered(&ping(server.address, &[]), server.address);

    // What comes next, for everybody, has nothing of it.
    let mut bob = server.join("127.0.0.3");
    alice.expect_line("-- 127.0.0.3 joined (2 here)");
    bob.expect_line("-- 127.0.0.3 joined (2 here)");
    expect_newcomer(&mut server, "127.0.0.3", 2);
    alice.expect_nothing_new();
    server.expect_idle();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    // The statistics are all that is logged.
    let logged = server.stderr().next_line().expect("statistics");
    assert!(logged.contains("clients="), "{logged}");
}

#[test]
fn a_room_is_found_by_name() {
    let server = Server::start();
    let port = server.address.port().to_string();
    let finished = Process::spawn(chat(["ping", "localhost", &port])).finish();
    assert_answered(&finished, server.address);
}

#[test]
fn the_python_server_counts_as_a_room() {
    let (address, finished) = ping_the_test(|server| server.send(WELCOME));
    assert_answered(&finished, address);
}

#[test]
fn it_is_the_exit_code_that_counts_where_nobody_reads() {
    let server = Server::start();
    let (reading, output) = io::pipe().expect("a pipe");
    drop(reading);
    let mut command = chat_to("ping", server.address, &[]);
    command.stdout(output);
    let mut program = Process::spawn(command);
    program.stderr().expect_end();
    assert_eq!(program.exit_code(), 0);
}

#[test]
fn without_a_server_there_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    drop(listener);
    let finished = ping(address, &[]);
    assert_failed(&finished, CANNOT_CONNECT, "connection refused");
}

#[test]
fn a_server_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let begun = Instant::now();
    let finished = ping(address, &["--timeout", "1"]);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_failed(&finished, NO_ROOM, &format!("{address} within 1 s"));
}

#[test]
fn a_server_that_says_too_little_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let mut program = Process::spawn(chat_to("ping", address, &["--timeout", "1"]));
    let server = Peer::accept(&listener);
    server.send("Welcome to this chat");
    assert_failed(&program.finish(), NO_ROOM, &format!("{address} within 1 s"));
}

#[test]
fn another_protocol_is_no_room() {
    for greeting in ["SSH-2.0-OpenSSH_9.6\r\n", "220 mail ESMTP\r\n", "\n"] {
        let (address, finished) = ping_the_test(|server| server.send(greeting));
        assert_failed(&finished, NO_ROOM, &format!("no chat server at {address}"));
        assert!(!finished.stderr.contains("your lines"));
    }
}

#[test]
fn a_connection_that_ends_at_once_is_no_room() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let mut program = Process::spawn(chat_to("ping", address, &[]));
    drop(Peer::accept(&listener));
    assert_failed(&program.finish(), NO_ROOM, "closed the connection");
}

#[test]
fn a_room_that_lets_nobody_in_says_why() {
    let closed = Server::with(&["--deny", "127.0.0.1"]);
    let finished = ping(closed.address, &[]);
    assert_failed(
        &finished,
        REFUSED,
        "your address is not allowed here; ask the operator",
    );

    let full = Server::with(&["--max-clients", "1"]);
    let _member = full.join("127.0.0.2");
    assert_failed(&ping(full.address, &[]), REFUSED, "the room is full");
}

/// The two next lines of the console. Which of them is the first, a second after somebody came
/// without a word, is open.
#[track_caller]
fn expect_newcomer(server: &mut Server, address: &str, here: usize) {
    let mut lines = [(); 2].map(|()| server.stdout().next_line().expect("a line"));
    lines.sort();
    let notice = format!("-- {address} joined ({here} here)");
    assert_eq!(lines, [notice, format!("{address} connected")]);
}

#[track_caller]
fn ping(to: SocketAddr, options: &[&str]) -> Finished {
    Process::spawn(chat_to("ping", to, options)).finish()
}

/// What becomes of a ping of a server that does this, and then waits for the end.
#[track_caller]
fn ping_the_test(answer: impl FnOnce(&Peer)) -> (SocketAddr, Finished) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let mut program = Process::spawn(chat_to("ping", address, &[]));
    let mut server = Peer::accept(&listener);
    answer(&server);
    server.expect_end();
    (address, program.finish())
}

#[track_caller]
fn assert_answered(finished: &Finished, by: SocketAddr) {
    assert_eq!((finished.code, &finished.stderr[..]), (0, ""));
    let said = &finished.stdout;
    let millis = said
        .strip_prefix(&format!("chat server at {by} answered in "))
        .and_then(|rest| rest.strip_suffix(" ms\n"))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(
        millis.parse::<f64>().is_ok_and(|millis| millis >= 0.0),
        "{said}"
    );
}

#[track_caller]
fn assert_failed(finished: &Finished, code: i32, what: &str) {
    let said = &finished.stderr;
    assert_eq!((finished.code, &finished.stdout[..]), (code, ""), "{said}");
    assert!(said.starts_with("chat: ") && said.contains(what), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
