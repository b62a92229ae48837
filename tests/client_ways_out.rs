//! The ways out of a client at a terminal, for good or for a while: the terminal is left as
//! it was found.

mod common;

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;

use rustix::process::Signal;

use common::alice::{Alice, CTRL_C, CTRL_D, alice_at_a_terminal, client_of_the_test_at};
use common::peer::WELCOME;
use common::process::{CHAT, chat, chat_client, piped};
use common::screen::Screen;
use common::server::Server;

/// What it is called, how it is done, and by which exit code or signal the client ends.
type WayOut = (&'static str, fn(&Alice), Result<i32, Signal>);

#[test]
fn every_way_out_leaves_the_terminal_as_it_was() {
    let ways: [WayOut; 9] = [
        ("Ctrl-D", |alice| alice.screen.type_keys(CTRL_D), Ok(0)),
        ("/quit", |alice| alice.screen.type_keys("/quit\r"), Ok(0)),
        (
            "Ctrl-D twice",
            |alice| alice.screen.type_keys("\x04\x04"),
            Ok(0),
        ),
        (
            "Ctrl-C",
            |alice| alice.screen.type_keys(CTRL_C),
            Err(Signal::INT),
        ),
        (
            "Ctrl-C in a line",
            |alice| alice.screen.type_keys("half\x03"),
            Err(Signal::INT),
        ),
        (
            "SIGINT",
            |alice| alice.client.signal(Signal::INT),
            Err(Signal::INT),
        ),
        (
            "SIGTERM",
            |alice| alice.client.signal(Signal::TERM),
            Err(Signal::TERM),
        ),
        (
            "SIGHUP",
            |alice| alice.client.signal(Signal::HUP),
            Err(Signal::HUP),
        ),
        (
            "the server's end",
            |alice| alice.server.signal(Signal::TERM),
            Ok(4),
        ),
    ];
    for (name, leave, expected) in ways {
        let mut alice = alice_at_a_terminal(&["--no-reconnect"]);
        if let Err(signal) = expected
            && alice.client.ignores(signal)
        {
            println!("skipped: the test was started with {signal:?} ignored");
            continue;
        }
        assert_ne!(alice.screen.state(), alice.found);
        leave(&alice);
        let status = alice.client.wait();
        let ended_by = (status.code(), status.signal());
        match expected {
            Ok(code) => assert_eq!(ended_by, (Some(code), None), "{name}"),
            Err(signal) => assert_eq!(ended_by, (None, Some(signal.as_raw())), "{name}"),
        }
        assert_eq!(alice.screen.state(), alice.found, "{name}");
        alice.screen.read_rest();
        assert!(alice.screen.written().contains("\x1b[?2004l"), "{name}");
        let last = alice.screen.rows().pop().unwrap_or_default();
        assert!(!last.contains("alice>"), "{name} leaves {last:?}");
    }
}

/// The kernel spares it the signals that end and stop others, and its session's leader is out
/// of sight (pid_namespaces(7)).
#[test]
fn the_first_process_of_a_container_ends_by_its_keys_all_the_same() {
    let in_container = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--pid", "--kill-child", program]);
        command.args(arguments);
        piped(command)
    };
    let possible = in_container("true", &[]).status();
    if !possible.is_ok_and(|status| status.success()) {
        println!("skipped: nothing can be the first process of a PID namespace here");
        return;
    }
    let server = Server::start();
    let port = server.address.port().to_string();
    let mut screen = Screen::new(80, 24);
    let found = screen.state();
    let mut client = screen.run(in_container(CHAT, &["client", "127.0.0.1", &port]));
    screen.expect_last_row(">");
    screen.type_keys("\x1a");
    screen.expect_row("!! no shell is there to resume this program, so it is not stopped");
    screen.type_keys("\x03");
    assert_eq!(client.exit_code(), 128 + Signal::INT.as_raw());
    assert_eq!(screen.state(), found);
}

#[test]
fn whoever_is_not_let_in_finds_the_terminal_as_it_was() {
    let server = Server::with(&["--max-clients", "1"]);
    let _guest = server.join("127.0.0.2");
    let mut screen = Screen::new(80, 24);
    let before = screen.state();
    let mut client = screen.run(chat_client(server.address));
    assert_eq!(client.exit_code(), 5);
    screen.expect_row("!! the room is full (1 clients)");
    assert_eq!(screen.state(), before);
}

#[test]
fn a_server_that_is_not_there_is_an_error_and_nothing_else_happens() {
    let mut screen = Screen::new(80, 24);
    let before = screen.state();
    let mut client = screen.run(chat(["client", "127.0.0.1", "1"]));
    assert_eq!(client.exit_code(), 3);
    let said = client.stderr().rest();
    assert!(said.contains("connection refused"), "{said}");
    screen.read_rest();
    assert_eq!((screen.written().as_str(), screen.state()), ("", before));
}

#[test]
fn a_terminal_that_is_closed_ends_the_client() {
    let mut alice = alice_at_a_terminal(&[]);
    drop(alice.screen);
    assert_eq!(alice.client.exit_code(), 0);
    alice.client.stderr().expect_end();
}

#[test]
fn the_client_can_be_stopped_and_goes_on() {
    let mut alice = alice_at_a_terminal(&[]);
    let typing = alice.screen.state();
    alice.screen.type_keys("half a line");
    alice.screen.expect_last_row("alice> half a line");
    for round in 0..2 {
        alice.screen.type_keys("\x1a");
        alice.client.await_stop();
        assert_eq!(alice.screen.state(), alice.found, "in round {round}");
        alice.reader.say(&format!("round {round}"));
        alice.client.signal(Signal::CONT);
        let message = format!("<127.0.0.2> round {round}");
        alice
            .screen
            .expect("the line below what was said meanwhile", |rows| {
                rows.ends_with(&[message.clone(), "alice> half a line".to_owned()])
            });
        assert_eq!(alice.screen.state(), typing);
    }
    alice.screen.type_keys("\r");
    alice.reader.expect_line("<alice> half a line");
}

#[test]
fn in_a_flood_too_the_terminal_is_left_in_order() {
    for (keys, signal) in [(CTRL_C, Signal::INT), ("\x1c", Signal::QUIT)] {
        let mut screen = Screen::new(80, 24);
        let found = screen.state();
        let (server, mut client) = client_of_the_test_at(&screen, &[]);
        server.say(WELCOME);
        let stream = server.into_stream();
        let flood = thread::spawn(move || {
            let lines = "<a> a line of a flood that does not end\n".repeat(1000);
            while (&stream).write_all(lines.as_bytes()).is_ok() {}
        });
        screen.expect("the flood", |rows| rows.len() > 20);
        screen.type_keys(keys);
        while client.is_running() {
            screen.read_rest();
        }
        screen.read_rest();
        assert_eq!(client.wait().signal(), Some(signal.as_raw()));
        assert_eq!(screen.state(), found);
        assert!(screen.written().contains("\x1b[?2004l"));
        flood.join().expect("a connection that has ended");
    }
}

/// A panic of the program itself cannot be had from without: so this test is both, the
/// program and who looks at its terminal.
#[test]
fn a_panic_leaves_the_terminal_as_it_was() {
    const TEST: &str = "a_panic_leaves_the_terminal_as_it_was";
    const IS_THE_PROGRAM: &str = "CHAT_TEST_PANICS";
    if std::env::var_os(IS_THE_PROGRAM).is_some() {
        let terminal = chat::client::terminal::Terminal::take().expect("a terminal");
        std::mem::forget(terminal);
        panic!("on purpose");
    }
    let mut screen = Screen::new(80, 24);
    let before = screen.state();
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command
        .args(["--exact", TEST, "--nocapture"])
        .env(IS_THE_PROGRAM, "1");
    let mut program = screen.run(piped(command));
    assert_ne!(program.exit_code(), 0);
    assert_eq!(screen.state(), before);
    screen.read_rest();
    assert!(
        screen.written().contains("\x1b[?2004l"),
        "{:?}",
        screen.written()
    );
    assert!(program.stderr().rest().contains("on purpose"));
}
