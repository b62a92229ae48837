//! Every kind of standard input: the client delivers all of it, says goodbye, waits for the
//! server to finish, and exits with success.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;

use rustix::fs::{OFlags, fcntl_getfl};

use crate::alice::{NEW_SESSION, has_no_past};
use crate::common::lines::LineReader;
use crate::common::peer::{Peer, WELCOME, client_of_the_test};
use crate::common::process::{Process, chat_client};
use crate::common::server::Server;

const IN_DOUBT: i32 = 6;

#[test]
fn a_line_typed_is_sent_and_shown() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let mut client = Process::spawn(chat_client(server.address));
    client.stdout().expect_line(WELCOME);

    client.type_line("hello");
    client.stdout().expect_line("<You>hello");
    reader.expect_line("<127.0.0.1> hello");
    reader.say("hello yourself");
    client.stdout().expect_line("<127.0.0.2> hello yourself");

    client.close_stdin();
    client.stdout().expect_end();
    client.stderr().expect_end();
    assert_eq!(client.exit_code(), 0);
}

#[test]
fn twenty_thousand_lines_from_a_pipe_all_arrive() {
    const LINES: usize = 20_000;
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let mut client = Process::spawn(chat_client(server.address));
    client.stdout().expect_line(WELCOME);

    let mut stdin = client.take_stdin();
    let typing = thread::spawn(move || {
        for number in 0..LINES {
            writeln!(stdin, "line {number}").expect("a client that reads");
        }
    });
    let reading = thread::spawn(move || {
        for number in 0..LINES {
            reader.expect_line(&format!("<127.0.0.1> line {number}"));
        }
    });
    for number in 0..LINES {
        client.stdout().expect_line(&format!("<You>line {number}"));
    }
    typing.join().expect("everything could be typed");
    reading.join().expect("everything has arrived");
    client.stdout().expect_end();
    client.stderr().expect_end();
    assert_eq!(client.exit_code(), 0);
}

#[test]
fn a_regular_file_is_sent_to_its_end() {
    const LINES: usize = 1000;
    let mut file = tempfile::tempfile().expect("a temporary file");
    for number in 0..LINES {
        writeln!(file, "line {number}").expect("room for a file");
    }
    file.rewind().expect("a regular file");

    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let mut command = chat_client(server.address);
    command.stdin(file);
    let mut client = Process::spawn(command);
    for number in 0..LINES {
        reader.expect_line(&format!("<127.0.0.1> line {number}"));
    }
    assert_ends_well(&mut client);
}

#[test]
fn an_input_may_be_a_socket() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let (mut ours, theirs) = UnixStream::pair().expect("two sockets");
    let mut command = chat_client(server.address);
    command.stdin(OwnedFd::from(theirs));
    let mut client = Process::spawn(command);
    writeln!(ours, "through a socket").expect("a client that reads");
    reader.expect_line("<127.0.0.1> through a socket");
    drop(ours);
    assert_ends_well(&mut client);
}

/// Another program may share the pipe, and must never find it non-blocking.
#[test]
fn pipes_keep_their_mode() {
    let server = Server::start();
    let (input, typing) = io::pipe().expect("a pipe");
    let (reading, output) = io::pipe().expect("a pipe");
    let mut command = chat_client(server.address);
    command
        .stdin(input.try_clone().expect("a free descriptor"))
        .stdout(output.try_clone().expect("a free descriptor"));
    let mut client = Process::spawn(command);
    let mut shown = LineReader::new(reading);
    shown.expect_line(WELCOME);
    for pipe in [input.as_fd(), output.as_fd()] {
        let flags = fcntl_getfl(pipe).expect("an open pipe");
        assert!(!flags.contains(OFlags::NONBLOCK), "{flags:?}");
    }
    drop(typing);
    assert_eq!(client.exit_code(), 0);
}

#[test]
fn an_unfinished_last_line_is_sent_and_ended() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let mut client = Process::spawn(chat_client(server.address));
    let mut stdin = client.take_stdin();
    stdin.write_all(b"one\nand a half").expect("a client");
    drop(stdin);

    let finished = client.finish();
    assert_eq!(finished.code, 0);
    // The welcome may come before, between or after the lines typed.
    assert_eq!(
        finished.stdout.replace(&format!("{WELCOME}\n"), ""),
        "<You>one\n<You>and a half\n"
    );
    reader.expect_line("<127.0.0.1> one");
    reader.expect_line("<127.0.0.1> and a half");
}

#[test]
fn dev_null_is_an_empty_input() {
    let server = Server::start();
    let mut command = chat_client(server.address);
    command.stdin(Stdio::null());
    let finished = Process::spawn(command).finish();
    assert_eq!(finished.code, 0);
    assert_eq!(finished.stdout, format!("{WELCOME}\n"));
    assert_eq!(finished.stderr, "");
}

/// Whether the room greets the client before it half-closes, or after.
#[test]
fn an_empty_input_needs_no_name() {
    let server = Server::start();
    for _ in 0..20 {
        let mut command = chat_client(server.address);
        command.args(["--name", "bob"]).stdin(Stdio::null());
        let finished = Process::spawn(command).finish();
        assert_eq!((finished.code, &finished.stderr[..]), (0, ""));
    }
}

#[test]
fn an_unreadable_input_is_reported() {
    let server = Server::start();
    let mut command = chat_client(server.address);
    command.stdin(File::open("/").expect("a folder"));
    let finished = Process::spawn(command).finish();
    assert_eq!(finished.code, 1);
    assert!(
        finished.stderr.starts_with("chat: ") && finished.stderr.lines().count() == 1,
        "{}",
        finished.stderr
    );
}

/// At the end of its input the client only half-closes: it still shows an answer to the last
/// line.
#[test]
fn lines_after_the_end_of_input_are_shown() {
    let (mut server, mut client) = client_of_the_test(Stdio::null());
    server.send(WELCOME);
    server.expect_end();
    client.stdout().expect_line(WELCOME);
    server.say("late");
    client.stdout().expect_line("late");
    server.say("later");
    drop(server);
    client.stdout().expect_line("later");
    assert_ends_well(&mut client);
}

#[track_caller]
fn assert_ends_well(client: &mut Process) {
    let finished = client.finish();
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.code, 0);
}

/// A room that goes away and comes back, and forgets in between or not.
#[test]
fn a_client_in_a_pipe_that_reconnects_says_everything_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut command = chat_client(address);
    command.arg("--reconnect");
    let mut client = Process::spawn(command);
    let mut server = Peer::accept(&listener);
    server.greet();
    for line in ["one", "two", "three"] {
        client.type_line(line);
        server.expect_line(line);
    }
    server.echo(1, 1, "one");
    server.reset();
    let mut server = Peer::accept(&listener);
    let asked = server.greet_with(r#""epoch":"e","resumed":true,"heard":2"#);
    assert_eq!(asked.as_deref(), Some("/resume 7.ab 1"));
    server.echo(2, 2, "two");
    server.expect_line("three");
    client.close_stdin();
    server.reset();
    // It has read everything, and comes back to deliver it.
    let mut server = Peer::accept(&listener);
    server.greet_with(NEW_SESSION);
    let is_doubt = |line: String| line.contains("not known whether the room has taken this: three");
    while !is_doubt(client.stderr().next_line().expect("a doubt")) {}
    has_no_past(&mut server, 1);
    server.let_go(2);
    assert_eq!(client.exit_code(), IN_DOUBT);
}

/// Without --reconnect.
#[test]
fn what_is_in_doubt_is_on_standard_error() {
    let (mut server, mut client) = client_of_the_test(Stdio::piped());
    server.greet();
    client.type_line("one");
    server.take(1, "one");
    client.type_line("two");
    server.expect_line("two");
    drop(server);
    let finished = client.finish();
    assert!(
        finished.stderr.ends_with("has taken 1 line\ntwo\n"),
        "{}",
        finished.stderr
    );
    assert_eq!(finished.code, IN_DOUBT);
}
