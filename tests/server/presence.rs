//! Who joins and leaves, announced once per window; and what newcomers are shown.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use tempfile::NamedTempFile;

use chat::room::presence::PRESENCE_WINDOW;

use crate::common::peer::Peer;
use crate::common::process::{Process, chat};
use crate::common::server::{Server, server_command, sociable_command};

/// Reads notices until `here` clients are here. The room's unit tests, which have a clock of
/// their own, check the notices of one window.
#[track_caller]
fn lines_until(peer: &mut Peer, here: usize) -> Vec<String> {
    let last = format!(" ({here} here)");
    let mut lines = Vec::new();
    loop {
        let line = peer.next_line().expect("a notice");
        let is_last = line.ends_with(&last);
        lines.push(line);
        if is_last {
            return lines;
        }
    }
}

#[test]
fn joins_and_leaves_are_announced_and_then_nothing_runs() {
    let server = Server::sociable(&[]);
    let mut alice = server.join("127.0.0.2");
    assert_eq!(lines_until(&mut alice, 1), ["-- 127.0.0.2 joined (1 here)"]);
    let mut bob = server.join("127.0.0.3");
    lines_until(&mut bob, 2);
    lines_until(&mut alice, 2);
    bob.say("/nick bob");
    bob.expect_line("-- you are now bob");
    for peer in [&mut alice, &mut bob] {
        peer.expect_line("-- 127.0.0.3 is now bob (2 here)");
    }
    bob.leave();
    alice.expect_line("-- bob left (1 here)");
    server.expect_idle();
    alice.expect_nothing_new();
}

#[test]
fn who_was_kicked_is_announced_so() {
    let mut command = sociable_command("127.0.0.1", &["--operator-commands"]);
    command.stdin(Stdio::piped());
    let mut server = Server::spawn(command);
    let mut alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    alice.say("/json");
    bob.say("/nick bob");
    bob.expect_line("-- you are now bob");
    lines_until(&mut bob, 2);
    server.type_line("/kick bob");
    bob.expect_line("-- goodbye: the operator kicked you");
    let told = loop {
        let line = alice.next_line().expect("presence");
        if line.contains("kicked") {
            break line;
        }
    };
    assert!(
        told.contains(r#""left":[[1,"bob"]],"kicked":[[1,"bob"]],"#),
        "{told}"
    );
}

#[test]
fn a_newcomer_is_announced_before_it_is_heard() {
    let server = Server::sociable(&[]);
    let mut alice = server.join("127.0.0.2");
    lines_until(&mut alice, 1);
    let bob = server.join("127.0.0.3");
    bob.send("/nick bob\nhi\n/nick rob\n/me waves\n");
    for line in [
        "-- bob joined (2 here)",
        "<bob> hi",
        "-- bob is now rob (2 here)",
        "* rob waves",
    ] {
        alice.expect_line(line);
    }
}

#[test]
fn hundreds_of_simultaneous_joins_cost_each_reader_a_handful_of_lines() {
    const GUESTS: usize = 500;
    let server = Server::sociable(&[]);
    let began = Instant::now();
    let mut guests: Vec<_> = (0..GUESTS).map(|_| server.join("127.0.0.2")).collect();
    let windows = began.elapsed().div_duration_f64(PRESENCE_WINDOW).ceil();
    for guest in &mut guests {
        let lines = lines_until(guest, GUESTS);
        assert!(lines.len() as f64 <= windows + 1.0, "{} lines", lines.len());
    }
}

#[test]
fn no_presence_announces_nobody() {
    let server = Server::sociable(&["--no-presence"]);
    let mut alice = server.join("127.0.0.2");
    let bob = server.join("127.0.0.3");
    bob.say("hi");
    bob.leave();
    alice.expect_line("<127.0.0.3> hi");
    server.expect_idle();
    alice.expect_nothing_new();
}

#[test]
fn newcomers_are_shown_the_last_lines() {
    let server = Server::sociable(&["--history", "2", "--no-presence"]);
    let mut alice = server.join("127.0.0.2");
    let bob = server.join("127.0.0.3");
    bob.send("one\ntwo\n/me threes\n");
    for line in ["<127.0.0.3> one", "<127.0.0.3> two", "* 127.0.0.3 threes"] {
        alice.expect_line(line);
    }
    let mut carol = server.join("127.0.0.4");
    for line in [
        "-- last 2 lines, latest just now:",
        "<127.0.0.3> two",
        "* 127.0.0.3 threes",
    ] {
        carol.expect_line(line);
    }
    bob.say("four");
    carol.expect_line("<127.0.0.3> four");
}

#[test]
fn welcome_and_motd_follow_the_greeting() {
    let motd = NamedTempFile::new().expect("a file");
    fs::write(motd.path(), "Rules:\n1. be \x1b[31mkind\n").expect("room for it");
    let path = motd.path().to_str().expect("a path of letters");
    let server = Server::with(&["--motd", path, "--welcome", "Hello!"]);
    let mut alice = server.join("127.0.0.2");
    for line in ["-- Hello!", "-- Rules:", "-- 1. be ␛[31mkind"] {
        alice.expect_line(line);
    }
}

#[test]
fn unusable_files_and_texts_are_errors_at_the_start() {
    for (option, value, words) in [
        (
            "--motd",
            "/nowhere/motd",
            "cannot use /nowhere/motd for --motd: no such file",
        ),
        ("--motd", "/", "cannot use / for --motd: is a directory"),
        (
            "--transcript",
            "/nowhere/log",
            "cannot append to /nowhere/log for --transcript: no such file",
        ),
        (
            "--transcript",
            "/",
            "cannot append to / for --transcript: is a directory",
        ),
    ] {
        let finished = Process::spawn(server_command("127.0.0.1", &[option, value])).finish();
        assert_eq!(finished.code, 1);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    for (option, value) in [
        ("--welcome", " "),
        ("--welcome", "a\nb"),
        ("--history", "-1"),
    ] {
        let command = chat(["server", "127.0.0.1", "0", option, value]);
        let finished = Process::spawn(command).finish();
        assert_eq!(finished.code, 2, "{option} {value:?}");
        assert!(finished.stderr.contains(option), "{}", finished.stderr);
    }
}
