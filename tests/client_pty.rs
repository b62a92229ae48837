//! The client at a terminal, which it leaves as it found it.

mod common;

use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::Signal;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use common::lines::LineReader;
use common::peer::{Peer, WELCOME};
use common::process::{Process, chat_client};
use common::pty::{Keyboard, open_terminal};
use common::server::Server;

/// End of file, typed at the beginning of a line.
const CTRL_D: &[u8] = b"\x04";

#[test]
fn a_conversation_at_a_terminal() {
    let (_server, mut reader, mut keyboard, _terminal, mut client) = client_at_a_terminal();
    expect_shown(&mut keyboard, WELCOME);

    keyboard.get_ref().type_bytes(b"hello\n");
    expect_shown(&mut keyboard, "<You>hello");
    reader.expect_line("<127.0.0.1> hello");
    reader.say("good evening");
    expect_shown(&mut keyboard, "<127.0.0.2> good evening");

    // What is being typed is the terminal's until the line ends.
    keyboard.get_ref().type_bytes(b"half a li");
    reader.say("meanwhile");
    expect_shown(&mut keyboard, "<127.0.0.2> meanwhile");
    keyboard.get_ref().type_bytes(b"ne\n");
    expect_shown(&mut keyboard, "<You>half a line");
    reader.expect_line("<127.0.0.1> half a line");

    keyboard.get_ref().type_bytes(CTRL_D);
    assert_eq!(client.exit_code(), 0);
    client.stderr().expect_end();
}

#[test]
fn the_terminal_is_left_as_it_was_at_the_end_of_input() {
    let (_server, _reader, mut keyboard, terminal, mut client) = client_at_a_terminal();
    let before = state_of(&terminal);
    expect_shown(&mut keyboard, WELCOME);
    keyboard.get_ref().type_bytes(CTRL_D);
    assert_eq!(client.exit_code(), 0);
    assert_eq!(state_of(&terminal), before);
}

#[test]
fn the_terminal_is_left_as_it_was_after_a_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let (_server, _reader, mut keyboard, terminal, mut client) = client_at_a_terminal();
        let before = state_of(&terminal);
        expect_shown(&mut keyboard, WELCOME);
        if client.ignores(signal) {
            println!("skipped: the test was started with {signal:?} ignored");
            continue;
        }
        client.signal(signal);
        client.wait();
        assert_eq!(state_of(&terminal), before);
    }
}

#[test]
fn a_terminal_that_is_closed_ends_the_client() {
    let (_server, _reader, mut keyboard, terminal, mut client) = client_at_a_terminal();
    expect_shown(&mut keyboard, WELCOME);
    drop(terminal);
    drop(keyboard);
    assert_eq!(client.exit_code(), 0);
    client.stderr().expect_end();
}

/// A room, somebody in it (from 127.0.0.2), and a client whose standard input and
/// output are a terminal.
fn client_at_a_terminal() -> (Server, Peer, LineReader<Keyboard>, OwnedFd, Process) {
    let server = Server::start();
    let reader = server.join("127.0.0.2");
    let (keyboard, terminal) = open_terminal();
    turn_echo_off(&terminal);
    let duplicate = || Stdio::from(terminal.try_clone().expect("a free descriptor"));
    let mut command = chat_client(server.address);
    command.stdin(duplicate()).stdout(duplicate());
    let client = Process::spawn(command);
    (server, reader, keyboard, terminal, client)
}

/// Only the client's own words are to appear.
fn turn_echo_off(terminal: &OwnedFd) {
    let mut modes = tcgetattr(terminal).expect("a terminal");
    modes.local_modes.remove(LocalModes::ECHO);
    tcsetattr(terminal, OptionalActions::Now, &modes).expect("a terminal");
}

/// A terminal shows each LF as CR LF.
#[track_caller]
fn expect_shown(keyboard: &mut LineReader<Keyboard>, line: &str) {
    keyboard.expect_line(&format!("{line}\r"));
}

/// What a program can change of a terminal: its modes, and the flags of the open
/// file that it shares with the shell (O_NONBLOCK above all).
fn state_of(terminal: &OwnedFd) -> (String, OFlags) {
    let modes: Termios = tcgetattr(terminal).expect("a terminal");
    let flags = fcntl_getfl(terminal).expect("an open file");
    (format!("{modes:?}"), flags)
}
