//! The ways out of a client at a terminal, for good or for a while: each leaves the terminal as
//! it was.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, Signal, kill_process};

use crate::alice::{Alice, CTRL_C, CTRL_D, alice_at_a_terminal, client_of_the_test_at};
use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{await_stop, chat, chat_client, piped, run_by};
use crate::common::screen::Screen;
use crate::common::server::Server;
use crate::common::{can_test, can_test_with, eventually};

const CTRL_Z: &str = "\x1a";

/// The answer to Ctrl-Z where nobody could continue the client.
const NOT_STOPPED: &str = "!! not suspended: there is no shell to resume this program";

/// What it is called, how it is taken, and the client's exit code or signal.
type WayOut = (&'static str, fn(&Alice), Result<i32, Signal>);

/// What it is called, and how it is taken.
type WayToStop = (&'static str, fn(&Alice));

#[test]
fn every_way_out_leaves_the_terminal_as_it_was() {
    let ways: [WayOut; 11] = [
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
            "Ctrl-\\",
            |alice| alice.screen.type_keys("\x1c"),
            Err(Signal::QUIT),
        ),
        (
            "SIGQUIT",
            |alice| alice.client.signal(Signal::QUIT),
            Err(Signal::QUIT),
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
        assert_ne!(alice.screen.state(), alice.found);
        leave(&alice);
        let status = alice.client.wait();
        let ended_by = (status.code(), status.signal());
        match expected {
            Ok(code) => assert_eq!(ended_by, (Some(code), None), "{name}"),
            Err(signal) => assert_eq!(ended_by, (None, Some(signal.as_raw())), "{name}"),
        }
        alice.screen.assert_in_order(&alice.found, name);
        let last = alice.screen.rows().pop().unwrap_or_default();
        assert!(!last.contains("alice>"), "{name} leaves {last:?}");
    }
}

#[test]
fn a_second_ctrl_d_leaves_a_server_that_does_not_close() {
    let mut screen = Screen::new(80, 24);
    let (mut server, mut client) = client_of_the_test_at(&screen, &[]);
    server.greet();
    screen.expect_row(WELCOME);
    screen.type_keys(CTRL_D);
    server.expect_line("/quit");
    server.expect_end();
    screen.expect_last_row("[leaving] >");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
}

/// The kernel spares it the signals that end and stop others, and its session leader is
/// invisible (pid_namespaces(7)).
#[test]
fn keys_end_even_the_first_process_of_a_container() {
    let container = ["unshare", "--map-root-user", "--pid", "--kill-child"];
    let possible = run_by(&container, &Command::new("true")).status();
    let possible = possible.is_ok_and(|status| status.success());
    if !can_test(possible, "PID namespaces are not possible here") {
        return;
    }
    let server = Server::start();
    let mut screen = Screen::new(80, 24);
    let found = screen.state();
    let mut client = screen.run(run_by(&container, &chat_client(server.address)));
    screen.expect_last_row(">");
    screen.type_keys(CTRL_Z);
    screen.expect_row(NOT_STOPPED);
    screen.type_keys("\x03");
    assert_eq!(client.exit_code(), 128 + Signal::INT.as_raw());
    assert_eq!(screen.state(), found);
}

#[test]
fn a_refused_client_leaves_the_terminal_as_it_was() {
    let server = Server::with(&["--max-clients", "1"]);
    let _guest = server.join("127.0.0.2");
    let mut screen = Screen::new(80, 24);
    let before = screen.state();
    let mut client = screen.run(chat_client(server.address));
    assert_eq!(client.exit_code(), 5);
    screen.expect_row("!! the room is full (1 clients); try again later");
    assert_eq!(screen.state(), before);
}

#[test]
fn a_missing_server_is_an_error_and_nothing_else_happens() {
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
    let ways: [WayToStop; 2] = [
        ("Ctrl-Z", |alice| alice.screen.type_keys(CTRL_Z)),
        ("SIGTSTP", |alice| alice.client.signal(Signal::TSTP)),
    ];
    for (name, stop) in ways {
        stop(&alice);
        alice.client.await_stop();
        alice.screen.assert_in_order(&alice.found, name);
        alice.reader.say(&format!("after {name}"));
        alice.client.signal(Signal::CONT);
        let message = format!("<127.0.0.2> after {name}");
        alice
            .screen
            .expect("the line below what was said meanwhile", |rows| {
                rows.ends_with(&[message.clone(), "alice> half a line".to_owned()])
            });
        assert_eq!(alice.screen.state(), typing);
        assert!(alice.screen.shown().bracketed_paste(), "after {name}");
    }
    alice.screen.type_keys("\r");
    alice.reader.expect_line("<alice> half a line");
}

#[test]
fn the_terminal_is_left_in_order_during_a_flood() {
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
        screen.read_until_end_of(&mut client);
        assert_eq!(client.wait().signal(), Some(signal.as_raw()));
        screen.assert_in_order(&found, "a flood");
        flood.join().expect("a connection that has ended");
    }
}

#[test]
fn a_terminal_that_takes_no_output_does_not_delay_the_end() {
    for (keys, signal) in [(Some(CTRL_C), Signal::INT), (None, Signal::TERM)] {
        let screen = Screen::new(80, 24);
        let found = screen.state();
        let (server, mut client) = client_of_the_test_at(&screen, &[]);
        server.say(WELCOME);
        // More than a terminal buffers for a user who does not look, and less than the client
        // reads ahead.
        server.send("a line that nobody looks at\n".repeat(5000));
        client.expect_idle();
        match keys {
            Some(keys) => screen.type_keys(keys),
            None => client.signal(signal),
        }
        assert_eq!(client.wait().signal(), Some(signal.as_raw()));
        assert_eq!(screen.state(), found);
    }
}

#[test]
fn a_connection_attempt_can_be_given_up() {
    let (_knocked, address) = address_where_nobody_answers();
    let mut screen = Screen::new(80, 24);
    let before = screen.state();
    let mut client = screen.run(chat_client(address));
    // proc_net(5): 02 is TCP_SYN_SENT.
    let knocks = format!(":{:04X} 02 ", address.port());
    eventually("the client to connect", || {
        let sockets = fs::read_to_string("/proc/net/tcp").expect("proc(5)");
        sockets.contains(&knocks).then_some(())
    });
    client.signal(Signal::INT);
    assert_eq!(client.wait().signal(), Some(Signal::INT.as_raw()));
    screen.read_rest();
    assert_eq!((screen.written().as_str(), screen.state()), ("", before));
}

/// For example under nohup(1).
#[test]
fn ignored_signals_stay_ignored() {
    let server = Server::start();
    let reader = server.join("127.0.0.2");
    let mut screen = Screen::new(80, 24);
    let deaf = ignoring("HUP INT QUIT TERM TSTP");
    let mut client = screen.run(run_by(&["sh", "-c", &deaf], &chat_client(server.address)));
    screen.expect_last_row(">");
    for signal in [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::TSTP,
    ] {
        client.signal(signal);
    }
    reader.say("still there?");
    screen.expect_row("<127.0.0.2> still there?");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
}

#[test]
fn where_no_shell_could_resume_it_the_client_is_not_stopped() {
    let Some(session) = in_a_session() else {
        return;
    };
    let shell = ["sh", "-c", &ignoring("TSTP")];
    for wrapper in [&session[..], &shell] {
        let server = Server::start();
        let mut reader = server.join("127.0.0.2");
        let mut screen = Screen::new(80, 24);
        let mut client = screen.run(run_by(wrapper, &chat_client(server.address)));
        screen.expect_last_row(">");
        screen.type_keys(CTRL_Z);
        screen.expect_row(NOT_STOPPED);
        screen.type_keys("going on\r");
        reader.expect_line("<127.0.0.1> going on");
        screen.type_keys(CTRL_D);
        assert_eq!(client.exit_code(), 0);
    }
}

#[test]
fn a_terminal_that_no_shell_can_hand_over_is_not_taken() {
    let Some(session) = in_a_session() else {
        return;
    };
    let server = Server::start();
    let mut screen = Screen::new(80, 24);
    let found = screen.state();
    // With -m each job gets its own process group.
    let script = format!(
        r#"set -m; ({}) & wait $!; echo "code $?"; read -r line"#,
        ignoring("TSTP")
    );
    let wrapper = [&session[..], &["sh", "-c", &script]].concat();
    let mut shell = screen.run(run_by(&wrapper, &chat_client(server.address)));
    screen.expect_row("code 1");
    assert_eq!(screen.state(), found);
    screen.type_keys("\r");
    let said = shell.stderr().rest();
    assert!(
        said.contains("another program has it, and there is no shell to hand it over"),
        "{said}"
    );
}

#[test]
fn unread_keys_do_not_reach_the_shell() {
    let Some(session) = in_a_session() else {
        return;
    };
    let server = Server::start();
    let mut screen = Screen::new(80, 24);
    let script = r#"sh -c 'echo $$ >&2; exec "$0" "$@"' "$0" "$@"; echo "code $?"
        read -r line; echo "the shell reads $line""#;
    let wrapper = [&session[..], &["sh", "-c", script]].concat();
    let mut shell = screen.run(run_by(&wrapper, &chat_client(server.address)));
    let number = shell.stderr().next_line().expect("the client's number");
    let number: u32 = number.parse().expect("a number");
    let client = Pid::from_raw(number.cast_signed()).expect("not 0");
    let signal = |signal| kill_process(client, signal).expect("a program that runs");
    screen.expect_last_row(">");
    signal(Signal::STOP);
    await_stop(number);
    screen.type_keys("for the room\r");
    signal(Signal::TERM);
    signal(Signal::CONT);
    screen.expect_row(&format!("code {}", 128 + Signal::TERM.as_raw()));
    screen.type_keys("for the shell\r");
    screen.expect_row("the shell reads for the shell");
}

/// A panic cannot be provoked from outside: this test is both the program and the observer of
/// its terminal.
#[test]
fn a_panic_leaves_the_terminal_as_it_was() {
    const TEST: &str = "ways_out::a_panic_leaves_the_terminal_as_it_was";
    const IS_THE_PROGRAM: &str = "CHAT_TEST_PANICS";
    if std::env::var_os(IS_THE_PROGRAM).is_some() {
        let terminal = chat::frontend::terminal::Terminal::take().expect("a terminal");
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
    screen.assert_in_order(&before, "a panic");
    assert!(program.stderr().rest().contains("on purpose"));
}

/// The start of a command that runs first in a new session, with a terminal of its own; `None`
/// where that is impossible.
fn in_a_session() -> Option<[&'static str; 3]> {
    can_test_with("setsid").then_some(["setsid", "--wait", "--ctty"])
}

/// A script that execs its arguments with these signals ignored.
fn ignoring(signals: &str) -> String {
    format!(r#"trap "" {signals}; exec "$0" "$@""#)
}

/// An address that nobody answers while its companions live: with a full backlog the kernel
/// ignores further connections (listen(2)).
fn address_where_nobody_answers() -> ((TcpListener, Peer), SocketAddr) {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
        .expect("a free descriptor");
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    rustix::net::listen(&socket, 0).expect("a bound socket");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("a bound socket");
    ((listener, Peer::connect(address)), address)
}
