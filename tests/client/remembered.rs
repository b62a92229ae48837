//! What a client at a terminal writes down: the room and what was typed, for the next time, and a
//! log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::alice::CTRL_D;
use crate::common::process::{Process, chat};
use crate::common::screen::Screen;
use crate::common::server::Server;

const UP: &str = "\x1b[A";

/// `chat client` with these arguments, for somebody who lives in `home`.
fn client_at(home: &Path, arguments: &[&str]) -> Command {
    let mut command = chat(["client", "--no-time"]);
    command.args(arguments).env("HOME", home);
    command
}

#[test]
fn the_room_joined_last_is_joined_again() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = (Server::start(), Server::start());
    let [first_place, second_place] = [&first, &second].map(|server| server.address.to_string());
    for (arguments, variable, told) in [
        (&[&first_place[..]][..], None, None),
        (&[], None, Some((&first_place, "the room you were in last"))),
        (
            &[],
            Some(&second_place),
            Some((&second_place, "from CHAT_ROOM")),
        ),
        (
            &[],
            None,
            Some((&second_place, "the room you were in last")),
        ),
    ] {
        let mut screen = Screen::new(80, 24);
        let mut command = client_at(home.path(), arguments);
        command.envs(variable.map(|place| ("CHAT_ROOM", place)));
        let mut client = screen.run(command);
        screen.expect_row("Welcome to this chatroom!");
        if let Some((place, by)) = told {
            screen.assert_told_once(&format!("-- joining {place} ({by})"));
        }
        screen.type_keys(CTRL_D);
        assert_eq!(client.exit_code(), 0);
    }
}

/// Programs go where they are told to.
#[test]
fn a_program_has_no_room_joined_last() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start();
    let place = server.address.to_string();
    let state = home.path().join(".local/state/chat");
    fs::create_dir_all(&state).expect("a new folder");
    fs::write(state.join("room"), format!("{place}\n")).expect("a new file");
    for command in ["client", "tail", "ping"] {
        let finished = Process::spawn(chat([command])).finish();
        assert_eq!(finished.code, 2, "{command}");
        assert!(
            finished.stderr.contains("set CHAT_ROOM"),
            "{}",
            finished.stderr
        );
    }
    let mut command = chat(["ping"]);
    command.env("CHAT_ROOM", &place);
    assert_eq!(Process::spawn(command).finish().code, 0);
    let mut command = chat(["client"]);
    command.env("CHAT_ROOM", "box:http");
    let finished = Process::spawn(command).finish();
    assert!(
        finished.stderr.contains("CHAT_ROOM is \"box:http\""),
        "{}",
        finished.stderr
    );
    assert_eq!(finished.code, 2);
}

#[test]
fn what_was_typed_is_there_again_next_time() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let place = server.address.to_string();
    let client = |keys: &str, shown: &str| {
        let mut screen = Screen::new(80, 24);
        let mut client = screen.run(client_at(home.path(), &[&place]));
        screen.expect_last_row(">");
        screen.type_keys(keys);
        screen.expect_last_row(shown);
        screen.type_keys(&format!("\x15{CTRL_D}"));
        assert_eq!(client.exit_code(), 0);
    };
    client("the red fox\r/msg 127.0.0.2 psst\r", ">");
    reader.expect_line("<127.0.0.1> the red fox");
    reader.expect_line("[127.0.0.1] psst");
    client(UP, "> the red fox");
    let file = home.path().join(".local/state/chat/history");
    let mode = fs::metadata(file).expect("a history").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_log_has_what_the_screen_showed() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start();
    let reader = server.join("127.0.0.2");
    let log = home.path().join("log");
    fs::write(&log, "before\n").expect("a new file");
    let mut screen = Screen::new(80, 24);
    let place = server.address.to_string();
    let options = [
        &place,
        "--log",
        log.to_str().expect("a path"),
        "--name=alice",
    ];
    let mut client = screen.run(client_at(home.path(), &options));
    screen.expect_last_row("alice>");
    reader.say("hi alice");
    screen.expect_row("<127.0.0.2> hi alice");
    screen.type_keys("hi yourself\r");
    screen.expect_row("<You> hi yourself");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
    let text = fs::read_to_string(&log).expect("a log");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("before"));
    let lines: Vec<_> = lines
        .map(|line| {
            let (time, line) = line.split_once(' ').expect("a time and a line");
            time.parse::<jiff::Timestamp>().expect("RFC 3339");
            line
        })
        .collect();
    let expected = [
        "Welcome to this chatroom!",
        "-- you are now alice",
        "<127.0.0.2> hi alice",
        "<You> hi yourself",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_client() {
    let server = Server::start();
    let reader = server.join("127.0.0.2");
    let mut screen = Screen::new(80, 24);
    let place = server.address.to_string();
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut client = screen.run(client_at(home.path(), &[&place, "--log=/dev/full"]));
    screen.expect_row("Welcome to this chatroom!");
    for text in ["one", "two"] {
        reader.say(text);
        screen.expect_row(&format!("<127.0.0.2> {text}"));
    }
    screen.assert_told_once("!! cannot write to /dev/full: no space left on device; lines will");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);

    let finished = Process::spawn(chat(["client", &place, "--log=/dev/full"])).finish();
    assert_eq!(finished.code, 2, "{}", finished.stderr);
    let screen = Screen::new(80, 24);
    let mut client = screen.run(client_at(home.path(), &[&place, "--log=/nowhere/log"]));
    let told = client.stderr().next_line().expect("an error");
    assert!(
        told.contains("cannot append to /nowhere/log for --log"),
        "{told}"
    );
    assert_eq!(client.exit_code(), 1);
}
