//! The operator: whoever holds the server's terminal, or the other end of its standard input.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::common::can_test_with;
use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{CHAT, Process, piped};
use crate::common::pty::open_terminal;
use crate::common::server::{Server, server_command};

/// A server that takes commands from a pipe.
#[track_caller]
fn with_operator() -> Server {
    with_pipe(
        &["--operator-commands"],
        "everybody sees what you type here; /help lists the commands",
    )
}

/// A server with a pipe as its standard input, and the last line of its banner.
#[track_caller]
fn with_pipe(options: &[&str], banner: &str) -> Server {
    let mut command = server_command("127.0.0.1", options);
    command.stdin(Stdio::piped());
    let mut server = Server::spawn(command);
    server.skip_banner();
    server.stdout().expect_line(banner);
    server
}

/// Joins under a name.
#[track_caller]
fn join_as(server: &mut Server, ip: &str, name: &str) -> Peer {
    let mut peer = server.join(ip);
    peer.say(&format!("/nick {name}"));
    peer.expect_line(&format!("-- you are now {name}"));
    server.stdout().expect_line(&format!("{ip} connected"));
    peer
}

#[test]
fn typed_lines_are_said_to_everybody() {
    let mut server = with_operator();
    let mut alice = join_as(&mut server, "127.0.0.2", "alice");
    server.type_line("dinner is ready");
    server.type_line("");
    server.type_line("//who \x1b[2J");
    for line in ["-- operator: dinner is ready", "-- operator: /who ␛[2J"] {
        alice.expect_line(line);
        server.stdout().expect_line(line);
    }
    server.type_line("/who");
    server.stdout().expect_line("-- 1 here: 127.0.0.2 (alice)");
    server.type_line("/dance");
    server
        .stdout()
        .expect_line("!! unknown command; /help lists all");
    // Answers to the operator go to nobody else.
    alice.expect_nothing_new();
}

#[test]
fn a_kicked_member_may_come_back() {
    let mut server = with_operator();
    let mut alice = join_as(&mut server, "127.0.0.2", "alice");
    server.type_line("/kick nobody");
    server
        .stdout()
        .expect_line("!! nobody here is called nobody; /who lists everybody");
    server.type_line("/kick ALICE");
    alice.expect_line("-- goodbye: the operator kicked you");
    alice.expect_end();
    server
        .stdout()
        .expect_line("-- disconnected 127.0.0.2 (alice)");
    server
        .stdout()
        .expect_line("127.0.0.2 (alice) disconnected: kicked by the operator");
    let mut again = join_as(&mut server, "127.0.0.2", "alice");
    let mut other = server.join("127.0.0.2");
    server.type_line("/kick 127.0.0.2");
    for peer in [&mut again, &mut other] {
        peer.expect_line("-- goodbye: the operator kicked you");
        peer.expect_end();
    }
}

#[test]
fn a_banned_member_stays_out_until_the_ban_ends() {
    let mut server = with_operator();
    let mut alice = join_as(&mut server, "127.0.1.2", "alice");
    let mut bob = join_as(&mut server, "127.0.2.2", "bob");
    server.type_line("/bans");
    server.stdout().expect_line("-- nobody is banned");
    server.type_line("/ban 127.0.1.7/24 5");
    server
        .stdout()
        .expect_line("-- 127.0.1.0/24 is banned for 5 minutes; disconnected 1 client");
    alice.expect_line("-- goodbye: the operator banned your address");
    alice.expect_end();
    server
        .stdout()
        .expect_line("127.0.1.2 (alice) disconnected: banned by the operator");
    let mut refused = Peer::connect_from("127.0.1.99", server.address);
    refused.expect_line("!! your address is banned here; ask the operator");
    refused.expect_end();
    server.type_line("/ban 127.0.3.3");
    server
        .stdout()
        .expect_line("-- 127.0.3.3 is banned until the server ends");
    server.type_line("/bans");
    server
        .stdout()
        .expect_line("-- 127.0.1.0/24 is banned for 5 minutes more");
    server
        .stdout()
        .expect_line("-- 127.0.3.3 is banned until the server ends");
    for (typed, answer) in [
        ("/unban 127.0.1.0/24", "-- 127.0.1.0/24 is let in again"),
        (
            "/unban 127.0.1.0/24",
            "!! 127.0.1.0/24 is not banned; /bans lists all bans",
        ),
    ] {
        server.type_line(typed);
        server.stdout().expect_line(answer);
    }
    let _alice = server.join("127.0.1.2");
    server.stdout().expect_line("127.0.1.2 connected");
    server.type_line("/ban nobody");
    server
        .stdout()
        .expect_line("!! nobody is neither a member nor an address");
    bob.say("/who");
    bob.expect_line("-- 2 here: bob, 127.0.1.2");
}

#[test]
fn the_operator_acts_whispers_and_looks_back() {
    let mut server = with_operator();
    let mut alice = join_as(&mut server, "127.0.0.2", "alice");
    server.type_line("/last");
    server.stdout().expect_line("-- nothing was said earlier");
    server.type_line("/me waves");
    alice.expect_line("* operator waves");
    server.stdout().expect_line("* operator waves");
    server.type_line("/msg alice: psst");
    alice.expect_line("[operator] psst");
    server.stdout().expect_line("[You to alice] psst");
    server.type_line("/msg bob psst");
    server
        .stdout()
        .expect_line("!! nobody here is called bob; /who lists everybody");
    alice.say("hi");
    server.stdout().expect_line("<alice> hi");
    server.type_line("/last 9");
    for line in ["-- last 2 lines:", "* operator waves", "<alice> hi"] {
        server.stdout().expect_line(line);
    }
}

#[test]
fn a_muted_member_is_not_heard_and_told_so() {
    let refused = "!! not sent: the operator muted you; wait until it ends";
    let mut server = with_operator();
    let mut alice = join_as(&mut server, "127.0.0.2", "alice");
    let mut bob = join_as(&mut server, "127.0.0.3", "bob");
    for (typed, answer) in [
        ("/unmute bob", "!! bob is not muted; /bans lists who is"),
        (
            "/mute bob",
            "-- 127.0.0.3 (bob) is muted: nobody sees what they say",
        ),
        (
            "/mute BOB",
            "!! 127.0.0.3 (bob) is muted already; /unmute BOB ends that",
        ),
        (
            "/mute zoe",
            "!! nobody here is called zoe; /who lists everybody",
        ),
    ] {
        server.type_line(typed);
        server.stdout().expect_line(answer);
    }
    bob.expect_line("-- the operator has muted you: nobody sees what you say");
    for line in ["hi", "/me waves", "/msg alice psst"] {
        bob.say(line);
        bob.expect_line(refused);
    }
    bob.leave();
    server.stdout().expect_line("127.0.0.3 (bob) disconnected");
    // Coming again does not help.
    let mut bob = server.join("127.0.0.3");
    bob.say("hi");
    bob.expect_line(refused);
    server.stdout().expect_line("127.0.0.3 connected");
    server.type_line("/bans");
    for line in [
        "-- nobody is banned",
        "-- 127.0.0.3 is muted",
        "-- everybody who joins from 127.0.0.3 is muted",
    ] {
        server.stdout().expect_line(line);
    }
    alice.expect_nothing_new();
    server.type_line("/unmute 127.0.0.3");
    server
        .stdout()
        .expect_line("-- 127.0.0.3 is no longer muted");
    bob.expect_line("-- you are no longer muted");
    bob.say("thanks");
    alice.expect_line("<127.0.0.3> thanks");
}

/// What comes from a pipe cannot answer a question.
#[test]
fn from_a_pipe_several_people_are_banned_at_once() {
    let mut server = with_operator();
    let mut bob = join_as(&mut server, "127.0.0.2", "bob");
    let mut carol = join_as(&mut server, "127.0.0.2", "carol");
    server.type_line("/ban bob");
    for peer in [&mut bob, &mut carol] {
        peer.expect_line("-- goodbye: the operator banned your address");
    }
    server
        .stdout()
        .expect_line("-- 127.0.0.2 is banned until the server ends; disconnected 2 clients");
}

#[test]
fn the_ban_of_a_network_is_named_to_who_would_let_in_a_part_of_it() {
    let mut server = with_operator();
    for (typed, answer) in [
        (
            "/ban 10.1.0.0/16",
            "-- 10.1.0.0/16 is banned until the server ends",
        ),
        (
            "/unban 10.1.2.3",
            "!! 10.1.2.3 is banned with 10.1.0.0/16; /unban 10.1.0.0/16 lets in all of it",
        ),
        (
            "/unban 10.0.0.0/8",
            "!! 10.0.0.0/8 is not banned; /bans lists all bans",
        ),
    ] {
        server.type_line(typed);
        server.stdout().expect_line(answer);
    }
}

#[test]
fn statistics_appear_on_the_console() {
    let mut server = with_operator();
    server.type_line("/stats");
    let figures = server.stdout().next_line().expect("figures");
    assert!(figures.starts_with("clients=0 most=0 "), "{figures}");
}

#[test]
fn requested_statistics_appear_even_if_the_room_closes_and_in_the_log_too() {
    let mut server = with_operator();
    write!(server.take_stdin(), "/stats\n/quit\n").expect("a pipe");
    assert_eq!(server.exit_code(), 0);
    assert!(server.stdout().rest().contains("clients=0 "));
    assert!(server.stderr().rest().contains(" clients=0 "));
}

#[test]
fn typed_text_is_shown_harmless() {
    let mut server = with_operator();
    server.type_line("/kick \x1b]0;x\x07");
    server
        .stdout()
        .expect_line("!! nobody here is called ␛]0;x␇; /who lists everybody");
    server.type_line("/ban \x1b[2J");
    let answer = server.stdout().next_line().expect("an answer");
    assert!(
        answer.starts_with("!! ") && !answer.contains('\x1b'),
        "{answer}"
    );
}

#[test]
fn without_standard_input_there_is_no_operator() {
    let server = Server::start();
    let mut alice = server.join("127.0.0.2");
    let bob = server.join("127.0.0.3");
    bob.say("hi");
    alice.expect_line("<127.0.0.3> hi");
    server.expect_idle();
}

#[test]
fn the_operator_closes_the_room() {
    let mut server = with_operator();
    let mut alice = join_as(&mut server, "127.0.0.2", "alice");
    server.type_line("/quit");
    alice.expect_line("-- the room is closing");
    alice.expect_end();
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn quiet_still_shows_answers() {
    let mut command = server_command("127.0.0.1", &["--quiet", "--operator-commands"]);
    command.stdin(Stdio::piped());
    let mut server = Server::spawn_with_log(command);
    let mut alice = server.join("127.0.0.2");
    server.type_line("hello");
    alice.expect_line("-- operator: hello");
    server.type_line("/bans");
    server.stdout().expect_line("-- nobody is banned");
}

#[test]
fn the_end_of_input_does_not_end_the_room() {
    let mut server = with_operator();
    let mut alice = join_as(&mut server, "127.0.0.2", "alice");
    write!(server.take_stdin(), "the last word").expect("a pipe");
    alice.expect_line("-- operator: the last word");
    server.expect_idle();
    let bob = server.join("127.0.0.3");
    bob.say("hi");
    alice.expect_line("<127.0.0.3> hi");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}

/// `journalctl -f | chat server …`: others decide what a line begins with.
#[test]
fn lines_from_a_pipe_are_said_not_obeyed() {
    let banner = "everybody sees each line from standard input; commands need --operator-commands";
    let mut server = with_pipe(&[], banner);
    let mut alice = join_as(&mut server, "127.0.0.2", "alice");
    for line in ["/quit", "/ban 0.0.0.0/0", "//who", "/help", " hi"] {
        server.type_line(line);
        alice.expect_line(&format!("-- operator: {line}"));
        server.stdout().expect_line(&format!("-- operator: {line}"));
    }
    let _bob = server.join("127.0.0.3");
}

#[test]
fn a_flood_from_the_pipe_gets_backpressure() {
    const POURED: usize = 400;
    let mut server = with_operator();
    let mut alice = join_as(&mut server, "127.0.0.2", "alice");
    let mut bob = join_as(&mut server, "127.0.0.3", "bob");
    let mut stdin = server.take_stdin();
    let text: String = (0..POURED).map(|n| format!("line {n}\n")).collect();
    stdin.write_all(text.as_bytes()).expect("a pipe");
    alice.expect_line("-- operator: line 0");
    bob.expect_line("-- operator: line 0");
    bob.say("may I?");
    let before = (1..POURED)
        .take_while(|_| alice.next_line().expect("a line") != "<bob> may I?")
        .count();
    assert!(
        before < POURED - 1,
        "bob was heard only after all lines from the pipe"
    );
    for n in before + 1..before + 20 {
        alice.expect_line(&format!("-- operator: line {n}"));
    }
}

/// A terminal without cursor control has no prompt.
#[test]
fn commands_from_a_terminal_are_obeyed() {
    let (mut keyboard, terminal) = open_terminal();
    let duplicate = || Stdio::from(terminal.try_clone().expect("a free descriptor"));
    let mut command = server_command("127.0.0.1", &[]);
    command.stdin(duplicate()).stdout(duplicate()).arg("-v");
    command.env("TERM", "dumb");
    let mut process = Process::spawn(command);
    let address = loop {
        let line = process.stderr().next_line().expect("an address in the log");
        if let Some((_, address)) = line.split_once("listening on ") {
            break address.parse().expect("an address");
        }
    };
    let mut alice = Peer::connect_from("127.0.0.2", address);
    alice.expect_line(WELCOME);
    keyboard.get_ref().type_bytes(b"hello from here\n");
    alice.expect_line("-- operator: hello from here");
    // Ctrl-D
    keyboard.get_ref().type_bytes(b"\x04");
    let mut shown = String::new();
    while !shown.contains("without an operator") {
        shown += &keyboard.next_line().expect("the console");
    }
    assert!(shown.contains("-- operator: hello from here\r"), "{shown}");
    process.signal(Signal::TERM);
    alice.expect_line("-- the room is closing");
    assert_eq!(process.exit_code(), 0);
    drop(terminal);
}

/// Reading from a terminal in the background would stop the server, and writing to it may, too.
#[test]
fn a_room_in_the_background_goes_on() {
    if !can_test_with("setsid") {
        return;
    }
    for (mode, transcript) in [
        ("-tostop", "/dev/null"),
        ("tostop", "/dev/null"),
        ("tostop", "/dev/tty"),
    ] {
        let (mut keyboard, terminal) = open_terminal();
        let duplicate = || Stdio::from(terminal.try_clone().expect("a free descriptor"));
        let mut command = Command::new("setsid");
        command.args(["--ctty", "sh", "-c"]);
        // With -m each job gets its own process group.
        let script = r#"set -m; stty "$1"; "$0" server 127.0.0.1 0 -v --transcript "$2" & read line; echo "$line"; kill $!"#;
        command.args([script, CHAT, mode, transcript]);
        let mut command = piped(command);
        command.stdin(duplicate()).stdout(duplicate());
        command.env("TERM", "xterm-256color");
        let mut shell = Process::spawn(command);
        drop(terminal);
        let address = loop {
            let line = shell.stderr().next_line().expect("an address in the log");
            if let Some((_, address)) = line.split_once("listening on ") {
                break address.parse().expect("an address");
            }
        };
        let mut alice = Peer::connect_from("127.0.0.2", address);
        alice.expect_line(WELCOME);
        // While there is input, which belongs to the shell.
        keyboard.get_ref().type_bytes(b"for the shell");
        let bob = Peer::connect_from("127.0.0.3", address);
        bob.say("hi");
        while alice.next_line().expect("a line") != "<127.0.0.3> hi" {}
        // By now the first line has reached the terminal, if it ever will.
        bob.say("still here?");
        while alice.next_line().expect("a line") != "<127.0.0.3> still here?" {}
        keyboard.get_ref().type_bytes(b" alone\n");
        while alice.next_line().expect("a line") != "-- the room is closing" {}
        assert_eq!(shell.exit_code(), 0);
        let shown = keyboard.rest();
        assert!(shown.contains("\r\nfor the shell alone\r\n"), "{shown}");
        assert!(!shown.contains("operator: for the shell"), "{shown}");
    }
}
