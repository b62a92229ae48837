//! Clients that are not ours: `nc`, `ncat`, `telnet`, and the Python original.

mod common;

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use common::PATIENCE;
use common::peer::WELCOME;
use common::process::{Process, piped};
use common::server::Server;

/// What the Python original does, as a script for Python 3.
const PYTHON_CLIENT: &str = r#"
import select, socket, sys

server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    readable, _, _ = select.select([sys.stdin, server], [], [])
    for source in readable:
        if source == server:
            message = source.recv(2048)
            print(message.decode(), flush=True)
        else:
            message = sys.stdin.readline()
            server.send(message.encode())
            sys.stdout.write("<You>")
            sys.stdout.write(message)
            sys.stdout.flush()
"#;

#[test]
fn nc_talks_and_listens() {
    converse_with("nc", &[]);
}

#[test]
fn ncat_talks_and_listens() {
    converse_with("ncat", &[]);
}

#[test]
fn nc_delivers_its_unfinished_last_line_and_ends() {
    let help = Command::new("nc").arg("-h").output();
    if help.is_ok_and(|help| !String::from_utf8_lossy(&help.stderr).contains("OpenBSD")) {
        println!("skipped: nc is not netcat-openbsd, the one that knows -N");
        return;
    }
    deliver_last_line_with("nc", &["-N"]);
}

#[test]
fn ncat_delivers_its_unfinished_last_line_and_ends() {
    deliver_last_line_with("ncat", &[]);
}

#[test]
fn telnet_talks_and_listens() {
    let server = Server::start();
    let Some(mut telnet) = start("telnet", &[], &server) else {
        return;
    };
    while telnet.stdout().next_line().expect("a welcome") != WELCOME {}
    converse(&mut telnet, &server);
}

#[test]
fn the_python_client_talks_and_listens() {
    let server = Server::start();
    let Some(mut python) = start("python3", &["-c", PYTHON_CLIENT], &server) else {
        return;
    };
    let mut peer = server.join("127.0.0.2");
    // It prints what it receives, line end and all, and a line end of its own.
    python.stdout().expect_line(WELCOME);
    python.stdout().expect_line("");
    python.type_line("hello");
    python.stdout().expect_line("<You>hello");
    peer.expect_line("<127.0.0.1> hello");
    peer.say("hello yourself");
    python.stdout().expect_line("<127.0.0.2> hello yourself");
    python.stdout().expect_line("");
}

/// The Python original receives 2,048 bytes at most at a time, and shows each
/// piece as if it were a message: what it shows must add up to the lines sent.
#[test]
fn a_client_that_receives_as_the_python_one_does_misses_nothing() {
    const RECV_BYTES: usize = 2048;
    let server = Server::start();
    let mut peer = server.join("127.0.0.2");
    let mut python = TcpStream::connect(server.address).expect("a server that listens");
    python.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let receive = |expected: &str| {
        let mut received = Vec::new();
        let mut piece = [0; RECV_BYTES];
        while received.len() < expected.len() {
            let length = (&python).read(&mut piece).expect("what the server sent");
            assert_ne!(length, 0, "the server closed the connection");
            received.extend_from_slice(&piece[..length]);
        }
        assert_eq!(String::from_utf8(received).as_deref(), Ok(expected));
    };
    receive(&format!("{WELCOME}\n"));

    let long = "é".repeat(2000);
    peer.say(&long);
    peer.say("short");
    receive(&format!("<127.0.0.2> {long}\n<127.0.0.2> short\n"));
    python.write_all(b"hello\n").expect("a server that reads");
    peer.expect_line("<127.0.0.1> hello");
}

#[track_caller]
fn converse_with(program: &str, options: &[&str]) {
    let server = Server::start();
    let Some(mut client) = start(program, options, &server) else {
        return;
    };
    client.stdout().expect_line(WELCOME);
    converse(&mut client, &server);
}

/// A conversation with a client that has shown its welcome.
#[track_caller]
fn converse(client: &mut Process, server: &Server) {
    let mut peer = server.join("127.0.0.2");
    client.type_line("hello");
    peer.expect_line("<127.0.0.1> hello");
    peer.say("hello yourself");
    client.stdout().expect_line("<127.0.0.2> hello yourself");
}

#[track_caller]
fn deliver_last_line_with(program: &str, options: &[&str]) {
    let server = Server::start();
    let mut peer = server.join("127.0.0.2");
    let Some(mut client) = start(program, options, &server) else {
        return;
    };
    let mut stdin = client.take_stdin();
    stdin.write_all(b"one\nand a half").expect("a client");
    drop(stdin);
    peer.expect_line("<127.0.0.1> one");
    peer.expect_line("<127.0.0.1> and a half");
    assert_eq!(client.finish().stdout, format!("{WELCOME}\n"));
}

/// Starts a program that joins the room, if it is installed.
fn start(program: &str, options: &[&str], server: &Server) -> Option<Process> {
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        println!("skipped: {program} is not installed");
        return None;
    }
    let mut command = Command::new(program);
    command
        .args(options)
        .arg(server.address.ip().to_string())
        .arg(server.address.port().to_string());
    Some(Process::spawn(piped(command)))
}
