//! The operator at a terminal: the client's prompt, which tears no line, gives the terminal back,
//! and never blocks the room (promise 7).

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::fs::OFlags;
use rustix::process::Signal;

use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{CHAT, Process, piped};
use crate::common::screen::Screen;
use crate::common::server::server_command;
use crate::common::{can_test_with, eventually};

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_L: &str = "\x0c";
const CTRL_Z: &str = "\x1a";
const TAB: &str = "\t";
const UP: &str = "\x1b[A";

/// A server at a terminal, and the operator in front of it.
struct Host {
    screen: Screen,
    /// The terminal before the server started.
    found: (String, OFlags),
    server: Process,
    address: SocketAddr,
}

impl Host {
    #[track_caller]
    fn start() -> Self {
        Self::with(&[])
    }

    #[track_caller]
    fn with(options: &[&str]) -> Self {
        let mut screen = Screen::new(80, 24);
        let found = screen.state();
        let server = screen.run(server_command("127.0.0.1", options));
        screen.expect_last_row("operator>");
        Self {
            address: listening_on(&screen),
            screen,
            found,
            server,
        }
    }

    /// A member with a name, whom the console has shown.
    #[track_caller]
    fn guest(&mut self, ip: &str, name: &str) -> Peer {
        let mut guest = Peer::connect_from(ip, self.address);
        guest.expect_line(WELCOME);
        guest.say(&format!("/nick {name}"));
        guest.expect_line(&format!("-- you are now {name}"));
        self.expect_line(&format!("{ip} connected"));
        guest
    }

    /// Waits until a row is `line` with a time before it.
    #[track_caller]
    fn expect_line(&mut self, line: &str) {
        let what = format!("the line {line:?}");
        self.screen
            .expect(&what, |rows| rows.iter().any(|row| is_at_a_time(row, line)));
    }

    /// Waits until the last rows are `line` with a time before it, and `prompt`.
    #[track_caller]
    fn expect_above(&mut self, line: &str, prompt: &str) {
        let what = format!("the line {line:?} above {prompt:?}");
        self.screen.expect(&what, |rows| match rows {
            [.., row, last] => is_at_a_time(row, line) && last == prompt,
            _ => false,
        });
    }
}

/// What the banner says.
#[track_caller]
fn listening_on(screen: &Screen) -> SocketAddr {
    let rows = screen.rows();
    let listening = rows.iter().find_map(|row| row.split_once("listening on "));
    let (_, address) = listening.expect("a banner");
    address.parse().expect("an address")
}

/// Whether `row` is `15:04 line`.
fn is_at_a_time(row: &str, line: &str) -> bool {
    row.split_once(' ').is_some_and(|(time, rest)| {
        let is_time = time.len() == "15:04".len() && time.as_bytes()[2] == b':';
        is_time && rest == line
    })
}

#[test]
fn a_half_typed_line_survives_what_guests_say() {
    const MESSAGES: usize = 500;
    let mut host = Host::start();
    let mut bob = host.guest("127.0.0.2", "bob");
    host.screen.type_keys("dinner is re");
    host.screen.expect_last_row("operator> dinner is re");
    for number in 0..MESSAGES {
        bob.say(&format!("message {number}"));
    }
    let last = format!("<bob> message {}", MESSAGES - 1);
    host.expect_above(&last, "operator> dinner is re");
    host.screen.type_keys("ady\r");
    bob.expect_line("-- operator: dinner is ready");
    host.expect_above("-- operator: dinner is ready", "operator>");
    host.screen.type_keys(UP);
    host.screen.expect_last_row("operator> dinner is ready");
}

#[test]
fn ctrl_d_and_ctrl_l_neither_say_nor_end_anything() {
    let mut host = Host::start();
    let mut bob = host.guest("127.0.0.2", "bob");
    host.screen.type_keys(CTRL_D);
    host.expect_above("-- type /quit to close the room", "operator>");
    host.screen.type_keys(&format!("half{CTRL_L}"));
    host.screen
        .expect("an empty screen", |rows| rows == ["operator> half"]);
    host.screen.type_keys(" a line\r");
    bob.expect_line("-- operator: half a line");
    host.screen.type_keys("/quit\r");
    bob.expect_line("-- the room is closing");
    bob.leave();
    assert_eq!(host.server.exit_code(), 0);
    host.screen.assert_in_order(&host.found, "/quit");
}

#[test]
fn tab_completes_commands_and_those_who_have_said_nothing() {
    let mut host = Host::start();
    let mut bob = host.guest("127.0.0.2", "robert");
    host.screen.type_keys(&format!("/mut{TAB}R{TAB}"));
    host.screen.expect_last_row("operator> /mute robert");
    host.screen.type_keys("\r");
    bob.expect_line("-- the operator has muted you: nobody sees what you say");
    bob.say("hi");
    let answer = bob.next_line().expect("an answer");
    assert!(answer.starts_with("!! not sent: "), "{answer}");
    host.screen.type_keys(&format!("/unmute {TAB}\r"));
    host.expect_line("-- robert is no longer muted");
    bob.expect_line("-- you are no longer muted");
    bob.say("thanks");
    host.expect_above("<robert> thanks", "operator>");
}

#[test]
fn a_ban_of_several_people_is_asked_about_first() {
    let mut host = Host::start();
    let mut guests = ["bob", "carol", "dora"].map(|name| host.guest("127.0.0.2", name));
    let mut erin = host.guest("127.0.0.3", "erin");
    let ask = "bob, carol and dora are at 127.0.0.2: repeat the command to ban them all";
    let asked = |host: &mut Host, times| {
        host.screen.expect("the question", |rows| {
            // The line is longer than the terminal is wide.
            let shown = rows
                .join(" ")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            shown.matches(ask).count() == times
        });
    };
    host.screen.type_keys("/ban bob 5\r");
    asked(&mut host, 1);
    // Something else comes in between, or something else is meant.
    host.screen.type_keys("/bans\r");
    host.expect_line("-- nobody is banned");
    host.screen.type_keys("/ban bob 5\r");
    asked(&mut host, 2);
    host.screen.type_keys("/ban bob\r");
    asked(&mut host, 3);
    for guest in &mut guests {
        guest.expect_nothing_new();
    }
    host.screen.type_keys(&format!("{UP}\r"));
    host.expect_line("-- 127.0.0.2 is banned until the server ends; disconnected 3 clients");
    for guest in &mut guests {
        guest.expect_line("-- goodbye: the operator banned your address");
    }
    host.screen.type_keys("/ban erin\r");
    erin.expect_line("-- goodbye: the operator banned your address");
    host.expect_line("-- 127.0.0.3 is banned until the server ends; disconnected 1 client");
}

#[test]
fn every_way_out_leaves_the_terminal_as_it_was() {
    type WayOut = (&'static str, fn(&Host), Result<i32, Signal>);
    let ways: [WayOut; 7] = [
        ("Ctrl-C", |host| host.screen.type_keys(CTRL_C), Ok(0)),
        (
            "Ctrl-C twice",
            |host| host.screen.type_keys("\x03\x03"),
            Ok(0),
        ),
        ("SIGINT", |host| host.server.signal(Signal::INT), Ok(0)),
        ("SIGTERM", |host| host.server.signal(Signal::TERM), Ok(0)),
        ("SIGHUP", |host| host.server.signal(Signal::HUP), Ok(0)),
        (
            "SIGQUIT",
            |host| host.server.signal(Signal::QUIT),
            Err(Signal::QUIT),
        ),
        (
            "Ctrl-\\",
            |host| host.screen.type_keys("\x1c"),
            Err(Signal::QUIT),
        ),
    ];
    for (name, leave, expected) in ways {
        let mut host = Host::start();
        host.screen.type_keys("half");
        host.screen.expect_last_row("operator> half");
        assert_ne!(host.screen.state(), host.found);
        leave(&host);
        let status = host.server.wait();
        let ended_by = (status.code(), status.signal());
        match expected {
            Ok(code) => assert_eq!(ended_by, (Some(code), None), "{name}"),
            Err(signal) => assert_eq!(ended_by, (None, Some(signal.as_raw())), "{name}"),
        }
        host.screen.assert_in_order(&host.found, name);
        let last = host.screen.rows().pop().unwrap_or_default();
        assert!(!last.contains("operator>"), "{name} leaves {last:?}");
    }
}

#[test]
fn the_server_can_be_stopped_and_goes_on() {
    type WayToStop = (&'static str, fn(&Host));
    let mut host = Host::start();
    let typing = host.screen.state();
    let bob = host.guest("127.0.0.2", "bob");
    host.screen.type_keys("half a line");
    host.screen.expect_last_row("operator> half a line");
    let ways: [WayToStop; 2] = [
        ("Ctrl-Z", |host| host.screen.type_keys(CTRL_Z)),
        ("SIGTSTP", |host| host.server.signal(Signal::TSTP)),
    ];
    for (name, stop) in ways {
        stop(&host);
        host.server.await_stop();
        host.screen.assert_in_order(&host.found, name);
        bob.say(&format!("after {name}"));
        host.server.signal(Signal::CONT);
        host.expect_above(&format!("<bob> after {name}"), "operator> half a line");
        assert_eq!(host.screen.state(), typing, "{name}");
        assert!(host.screen.shown().bracketed_paste(), "after {name}");
    }
    host.screen.resize(30, 10, &host.server);
    host.screen.expect_last_row("operator> half a line");
}

/// How many lines [`talk_at_length`] says.
const LINES: usize = 1000;

/// Says more than the console's backlog and a terminal hold; the room must hear all of it.
#[track_caller]
fn talk_at_length(host: &Host) {
    let bob = Peer::connect_from("127.0.0.2", host.address);
    let mut carol = Peer::connect_from("127.0.0.3", host.address);
    carol.expect_line(WELCOME);
    for number in 0..LINES {
        let line = format!("{number} {:-<1000}", "");
        bob.say(&line);
        carol.expect_line(&format!("<127.0.0.2> {line}"));
    }
}

#[test]
fn the_room_goes_on_when_nobody_looks_and_lost_lines_are_counted() {
    let mut host = Host::start();
    talk_at_length(&host);
    host.server.expect_idle();
    // Somebody looks again.
    host.screen
        .expect("the notice of a loss", |rows| match rows {
            [.., row, last] => row.ends_with(" could not be shown here") && last == "operator>",
            _ => false,
        });
    let written = host.screen.written();
    let (before, after) = written
        .split_once(" could not be shown here")
        .expect("a count");
    let (_, count) = before.rsplit_once("-- ").expect("a notice");
    let missing: usize = count.split(' ').next().unwrap().parse().expect("a count");
    assert!(missing > 0);
    // Joins and leaves are lines, too.
    let is_shown = |row: &&str| row.contains("<127.0.0.2> ");
    let shown = written.split("\r\n").filter(is_shown).count();
    assert!(
        (LINES..LINES + 4).contains(&(shown + missing)),
        "{shown} shown, {missing} missing"
    );
    assert!(!after.contains("could not be shown"));
    host.screen.type_keys("still here\r");
    host.expect_above("-- operator: still here", "operator>");
}

#[test]
fn a_terminal_that_takes_no_output_does_not_delay_the_end() {
    for way in [None, Some(CTRL_C)] {
        let mut host = Host::start();
        talk_at_length(&host);
        match way {
            Some(keys) => host.screen.type_keys(keys),
            None => host.server.signal(Signal::TERM),
        }
        assert_eq!(host.server.exit_code(), 0);
        assert_eq!(host.screen.state(), host.found);
    }
}

#[test]
fn the_room_goes_on_when_the_terminal_is_closed() {
    let host = Host::start();
    let mut server = host.server;
    drop(host.screen);
    let alice = Peer::connect_from("127.0.0.2", host.address);
    let mut bob = Peer::connect_from("127.0.0.3", host.address);
    bob.expect_line(WELCOME);
    alice.say("still here?");
    bob.expect_line("<127.0.0.2> still here?");
    server.expect_idle();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}

/// Promise 9.
#[test]
fn a_prompt_takes_no_cpu_while_nothing_happens() {
    let mut host = Host::start();
    host.screen.type_keys("half a line\x1b");
    host.screen.expect_last_row("operator> half a line");
    host.server.expect_idle();
    assert_eq!(host.server.threads(), 1);
}

/// `chat server &`, and `fg` later: a shell sends no signal to a job that runs already.
#[test]
fn in_the_background_there_is_no_prompt_until_the_foreground() {
    if !can_test_with("setsid") || !can_test_with("bash") {
        return;
    }
    let mut screen = Screen::new(80, 24);
    let mut command = Command::new("setsid");
    command.args(["--wait", "--ctty", "bash", "--norc", "-c"]);
    // With -m each job gets its own process group.
    let script = r#"set -m; "$0" server --no-presence 127.0.0.1 0 & read -r line; echo "the shell reads $line"
        read -r line; fg >/dev/null; echo "code $?""#;
    command.args([script, CHAT]);
    // bash hands over the terminal at its standard error.
    let mut command = piped(command);
    command
        .stdin(screen.side())
        .stdout(screen.side())
        .stderr(screen.side());
    let mut shell = screen.run_with_own_streams(command);
    let found = screen.state();
    screen.expect("the whole banner, and no prompt", |rows| {
        rows.last().is_some_and(|row| row.contains("/help lists"))
    });
    let address = listening_on(&screen);
    assert_eq!(screen.state(), found);
    screen.type_keys("for the shell\n");
    screen.expect_row("the shell reads for the shell");
    let mut bob = Peer::connect_from("127.0.0.2", address);
    bob.expect_line(WELCOME);
    bob.say("hi");
    screen.expect("what bob says", |rows| {
        rows.iter().any(|row| is_at_a_time(row, "<127.0.0.2> hi"))
    });
    assert_eq!(screen.state(), found);
    // The server knows it from the first key there. An empty line says nothing.
    eventually("the server to be in the foreground", || {
        screen.type_keys("\n");
        screen.read_rest();
        screen.shown().bracketed_paste().then_some(())
    });
    screen.expect_last_row("operator>");
    screen.type_keys("hello\n");
    bob.expect_line("-- operator: hello");
    screen.expect_last_row("operator>");
    screen.type_keys(CTRL_C);
    bob.expect_line("-- the room is closing");
    drop(bob);
    screen.expect_row("code 0");
    assert_eq!(shell.exit_code(), 0);
    screen.assert_in_order(&found, "the foreground");
}
