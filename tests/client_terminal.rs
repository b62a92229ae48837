//! The client at a terminal: what one types stays whole whatever arrives, and the
//! terminal is left as it was found.

mod common;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;

use rustix::fs::OFlags;
use rustix::process::Signal;

use common::eventually;
use common::peer::{Peer, WELCOME};
use common::process::{CHAT, Process, chat, chat_client, piped};
use common::screen::Screen;
use common::server::Server;

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const CTRL_R: &str = "\x12";
const UP: &str = "\x1b[A";
const LEFT: &str = "\x1b[D";

#[test]
fn a_conversation_at_a_terminal() {
    let mut alice = alice_at_a_terminal(&[]);
    alice.screen.type_keys("hello\r");
    alice.screen.expect_row("<You> hello");
    alice.reader.expect_line("<alice> hello");
    alice.reader.say("good evening");
    alice.screen.expect_row("<127.0.0.2> good evening");
    alice.screen.type_keys(CTRL_D);
    assert_eq!(alice.client.exit_code(), 0);
    alice.client.stderr().expect_end();
}

#[test]
fn a_half_typed_line_survives_a_thousand_messages() {
    const MESSAGES: usize = 1000;
    let mut alice = alice_at_a_terminal(&[]);
    alice.screen.type_keys("half a 世");
    alice.screen.expect_last_row("alice> half a 世");
    for number in 0..MESSAGES {
        alice.reader.say(&format!("message {number}"));
    }
    let last = format!("<127.0.0.2> message {}", MESSAGES - 1);
    alice
        .screen
        .expect("the last message above the line", |rows| {
            rows.ends_with(&[last.clone(), "alice> half a 世".to_owned()])
        });
    alice.screen.type_keys("界\r");
    alice.reader.expect_line("<alice> half a 世界");
}

#[test]
fn what_is_typed_is_edited_by_characters_as_people_see_them() {
    let mut alice = alice_at_a_terminal(&[]);
    alice.screen.type_keys(&format!(
        "grüße 👩\u{200d}👩\u{200d}👧 世界{LEFT}{LEFT}\x7f\x7f!\r"
    ));
    alice.reader.expect_line("<alice> grüße !世界");
    alice
        .screen
        .type_keys("one two three\x17\x17\x19 \x01zero \r");
    alice.reader.expect_line("<alice> zero one two three ");
}

#[test]
fn a_paste_of_200_lines_is_sent_when_entered() {
    const LINES: usize = 200;
    let mut alice = alice_at_a_terminal(&[]);
    let lines: String = (0..LINES)
        .map(|number| format!("line {number}\r"))
        .collect();
    alice
        .screen
        .type_keys(&format!("\x1b[200~{lines}\x1b[201~"));
    alice.screen.expect_last_row(&format!("line {}", LINES - 1));
    // Had any of it been sent, it would come before this.
    alice.reader.say("nothing yet");
    alice.screen.expect_row("<127.0.0.2> nothing yet");
    alice.screen.type_keys("\r");
    for number in 0..LINES {
        alice.reader.expect_line(&format!("<alice> line {number}"));
    }
    alice
        .screen
        .expect("the last line above an empty prompt", |rows| {
            rows.ends_with(&[format!("<You> line {}", LINES - 1), "alice>".to_owned()])
        });
}

#[test]
fn a_terminal_may_be_resized_while_one_types() {
    let mut alice = alice_at_a_terminal(&[]);
    alice.screen.type_keys("half a line that is not so short");
    for (columns, rows) in [(100, 30), (30, 10), (60, 24)] {
        alice.screen.resize(columns, rows, &alice.client);
        alice.reader.say(&format!("{columns} columns"));
        let message = format!("<127.0.0.2> {columns} columns");
        alice.screen.expect("the message above the line", |shown| {
            let text = shown.concat();
            let typed = "alice> half a line that is not so short";
            text.contains(&message) && text.ends_with(typed)
        });
    }
    alice
        .screen
        .expect_last_row("alice> half a line that is not so short");
}

#[test]
fn names_and_commands_are_completed() {
    let mut alice = alice_at_a_terminal(&[]);
    alice.reader.say("/nick Zoë");
    alice.reader.expect_line("-- you are Zoë now");
    alice.reader.say("hi");
    alice.screen.expect_row("<Zoë> hi");
    alice.screen.type_keys("zo\twelcome\r");
    alice.reader.expect_line("<alice> Zoë: welcome");
    alice.screen.type_keys("/ms\tz\tpsst\r");
    alice.reader.expect_line("[alice] psst");
    alice.screen.expect_row("[You to Zoë] psst");
}

#[test]
fn what_was_typed_before_comes_back() {
    let mut alice = alice_at_a_terminal(&[]);
    for line in ["the red fox", "the blue sea"] {
        alice.screen.type_keys(&format!("{line}\r"));
        alice.reader.expect_line(&format!("<alice> {line}"));
    }
    alice.screen.type_keys(&format!("{UP}{UP}"));
    alice.screen.expect_last_row("alice> the red fox");
    alice.screen.type_keys("\x15");
    alice.screen.type_keys(&format!("{CTRL_R}sea"));
    alice
        .screen
        .expect_last_row("(find: sea) alice> the blue sea");
    alice.screen.type_keys("\r");
    alice.reader.expect_line("<alice> the blue sea");
}

#[test]
fn the_bell_rings_when_ones_name_is_said() {
    for (bell, expected) in [("mention", 2), ("never", 0), ("all", 3)] {
        let mut alice = alice_at_a_terminal(&["--bell", bell]);
        // One by one: what comes at once rings once.
        for (said, shown) in [
            ("hi all", "<127.0.0.2> hi all"),
            ("Alice, are you there?", "<127.0.0.2> Alice, are you there?"),
            ("/msg alice psst", "[127.0.0.2] psst"),
        ] {
            alice.reader.say(said);
            alice.screen.expect_row(shown);
        }
        alice.screen.read_rest();
        assert_eq!(alice.screen.rings(), expected, "{bell}");
    }
}

#[test]
fn the_time_is_shown_and_colors_are_not_where_they_are_not_wanted() {
    let mut alice = alice_at_a_terminal(&["--time", "HH:MM:SS", "--color", "never"]);
    alice.reader.say("hi alice");
    alice.screen.expect("a line with its time", |rows| {
        rows.iter().any(|row| {
            let time = row.strip_suffix(" <127.0.0.2> hi alice");
            time.is_some_and(|time| time.len() == 8 && time.matches(':').count() == 2)
        })
    });
    assert!(
        !alice.screen.written().contains("\x1b[1m"),
        "{:?}",
        alice.screen.written()
    );
    assert!(
        !alice.screen.written().contains("\x1b[38"),
        "{:?}",
        alice.screen.written()
    );
}

#[test]
fn what_any_server_sends_is_shown_harmless() {
    let mut screen = Screen::new(80, 24);
    let (server, _client) = client_of_the_test_at(&screen, &[]);
    server.send(format!(
        "{WELCOME}\n<a> \x1b[2J\x1b]0;title\x07\x1b[201~x\r!! forged\n"
    ));
    screen.expect_row("<a> ␛[2J␛]0;title␇␛[201~x␍!! forged");
    for harm in ["\x1b[2J", "\x1b]", "\x07", "\x1b[201~"] {
        assert!(!screen.written().contains(harm), "{harm:?}");
    }
}

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
fn a_lost_connection_is_made_again_and_what_was_typed_is_said() {
    let mut alice = alice_at_a_terminal(&[]);
    let address = alice.server.address;
    alice.server.signal(Signal::KILL);
    alice.server.wait();
    alice.screen.expect_last_row("[offline] alice>");
    alice.screen.type_keys("are you there?\r/me waits\r");
    alice.screen.expect_last_row("[offline, 2 lines waiting] >");
    alice.screen.type_keys("half");

    let mut server = restart(address);
    // On its console, for nobody else can be sure to be in before alice.
    for line in ["<alice> are you there?", "* alice waits"] {
        while server.stdout().next_line().expect("a console") != line {}
    }
    alice.screen.expect_last_row("alice> half");
    alice.screen.expect_row("-- connected again");
    alice.screen.type_keys(&format!("\x15{CTRL_D}"));
    assert_eq!(alice.client.exit_code(), 0);
}

#[test]
fn a_full_room_is_tried_again_by_whoever_was_in() {
    let mut alice = alice_at_a_terminal(&[]);
    let listener = lose_server(&mut alice);
    alice.screen.type_keys("hello again\rhalf");
    for _ in 0..2 {
        let server = Peer::accept(&listener);
        server.say("!! the room is full (1 clients)");
        drop(server);
        alice.screen.expect_row("!! the room is full (1 clients)");
        alice
            .screen
            .expect_last_row("[offline, 1 line waiting] > half");
        // An empty Enter has it tried at once; the half line comes back after that.
        alice.screen.type_keys("\x15\r\x19");
    }
    let mut server = Peer::accept(&listener);
    let_in(&mut server, "alice");
    server.expect_line("hello again");
    alice.screen.expect_last_row("alice> half");
    alice.screen.assert_told_once("!! the room is full");
    alice.screen.assert_told_once("-- connected again");
}

#[test]
fn what_was_in_doubt_on_a_lost_connection_is_not_on_the_next() {
    let mut screen = Screen::new(80, 24);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut client = screen.run(chat_client(address));
    let mut server = Peer::accept(&listener);
    // As the Python original greets; like that, it will not end the connection, either.
    server.send("Welcome to this chatroom!");
    screen.expect_last_row(">");
    screen.type_keys("hi\r");
    server.expect_line("hi");
    server.reset();
    screen.expect("the doubt", |rows| {
        rows.concat().contains("what you said last may not have")
    });
    screen.type_keys("\r");
    let mut server = Peer::accept(&listener);
    server.send("Welcome to this chatroom!");
    screen.expect_last_row(">");
    screen.type_keys(&format!("bye\r{CTRL_D}"));
    server.expect_line("bye");
    assert_eq!(client.exit_code(), 0);
}

/// Who has no name waits for the greeting as well.
#[test]
fn what_is_kept_is_told_to_nobody_who_does_not_let_us_in() {
    let mut screen = Screen::new(80, 24);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let _client = screen.run(chat_client(address));
    let server = Peer::accept(&listener);
    server.say(WELCOME);
    screen.expect_last_row(">");
    drop(server);
    screen.expect_last_row("[offline] >");
    screen.type_keys("hello again\r");
    screen.expect_last_row("[offline, 1 line waiting] >");
    screen.type_keys("\r");
    let mut server = Peer::accept(&listener);
    server.say("!! the room is full (1 clients)");
    server.close_write();
    server.expect_closed();
    screen.expect_last_row("[offline, 1 line waiting] >");
    screen.type_keys("\r");
    let mut server = Peer::accept(&listener);
    server.say(WELCOME);
    server.expect_line("hello again");
}

#[test]
fn what_was_to_be_said_by_a_name_that_is_lost_waits() {
    let held = || {
        let mut alice = alice_at_a_terminal(&[]);
        let listener = lose_server(&mut alice);
        alice.screen.type_keys("it is me\r");
        alice.screen.expect_last_row("[offline, 1 line waiting] >");
        let mut server = Peer::accept(&listener);
        server.say(WELCOME);
        server.expect_line("/nick alice");
        server.say("!! alice is taken");
        alice.screen.expect_last_row("[1 line waiting] >");
        alice
            .screen
            .assert_told_once("!! 1 line would be said without your name");
        (alice, server)
    };
    let (alice, mut server) = held();
    alice.screen.type_keys("/nick alicia\r");
    server.expect_line("/nick alicia");
    server.say("-- you are alicia now");
    server.expect_line("it is me");

    let (alice, mut server) = held();
    alice.screen.type_keys("\r");
    server.expect_line("it is me");

    for leave in [CTRL_D, "/quit\r"] {
        let (mut alice, mut server) = held();
        alice.screen.type_keys(leave);
        assert_eq!(alice.client.exit_code(), 4);
        let said = alice.client.stderr().rest();
        assert!(said.contains("1 line could not be sent"), "{said}");
        server.expect_end();
    }
}

#[test]
fn a_newcomer_without_a_name_is_told_how_to_go_on() {
    let server = Server::start();
    let mut screen = Screen::new(80, 24);
    let mut client = screen.run(chat_client(server.address));
    screen.expect_last_row(">");
    screen.expect_row(WELCOME);
    screen.type_keys("/who\r");
    screen.expect_row("-- 127.0.0.1");
    screen.assert_told_once("-- /nick NAME gives you a name, /help tells");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
}

#[test]
fn a_name_that_is_not_given_is_not_shown() {
    let server = Server::start();
    let mut bob = server.join("127.0.0.2");
    bob.say("/nick alice");
    bob.expect_line("-- you are alice now");
    let mut screen = Screen::new(60, 24);
    let mut command = chat_client(server.address);
    command.args(["--name", "alice"]);
    let _client = screen.run(command);
    screen.expect("the refusal, and a prompt without a name", |rows| {
        let is_refused = rows.iter().any(|row| row.starts_with("!! alice is taken"));
        is_refused && rows.last().is_some_and(|row| row == ">")
    });
}

#[test]
fn what_has_never_let_us_in_is_not_tried_again() {
    let mut screen = Screen::new(80, 24);
    let (server, mut client) = client_of_the_test_at(&screen, &[]);
    drop(server);
    assert_eq!(client.exit_code(), 4);
    screen.read_rest();
    assert!(screen.rows().is_empty(), "{:?}", screen.rows());
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

#[test]
fn keys_that_begin_what_never_ends_do_not_silence_the_rest() {
    let mut alice = alice_at_a_terminal(&[]);
    for keys in ["\x1b]", "\x1bP", "\x1b[<"] {
        alice.screen.type_keys(keys);
        eventually("keys to count again", || {
            alice.screen.type_keys("\x15x");
            alice.screen.read_rest();
            let is_shown = alice.screen.rows().last() == Some(&"alice> x".to_owned());
            is_shown.then_some(())
        });
        alice.screen.type_keys("\x15");
        alice.screen.expect_last_row("alice>");
    }
}

#[test]
fn whoever_was_sent_away_does_not_come_back() {
    let mut screen = Screen::new(80, 24);
    let (server, mut client) = client_of_the_test_at(&screen, &[]);
    server.send(format!(
        "{WELCOME}\n-- the operator has sent you away: goodbye\n"
    ));
    drop(server);
    assert_eq!(client.exit_code(), 4);
    screen.expect_row("-- the operator has sent you away: goodbye");
}

#[test]
fn lines_that_cannot_be_sent_are_not_lost_without_a_word() {
    let mut alice = alice_at_a_terminal(&[]);
    alice.server.signal(Signal::KILL);
    alice.server.wait();
    alice.screen.expect_last_row("[offline] alice>");
    alice.screen.type_keys("one\rtwo\r\x04");
    assert_eq!(alice.client.exit_code(), 4);
    let said = alice.client.stderr().rest();
    assert!(said.contains("2 lines could not be sent"), "{said}");
}

#[test]
fn a_server_of_another_kind_knows_no_commands() {
    let mut screen = Screen::new(80, 24);
    let (mut server, _client) = client_of_the_test_at(&screen, &["--name", "alice"]);
    server.send(WELCOME);
    screen.expect_row("!! this server gives no names");
    screen.type_keys("/who\r");
    server.expect_line("/who");
    screen.expect_row("<You> /who");
    screen.assert_told_once("!! this server gives no names");
}

#[test]
fn a_terminal_that_does_not_obey_is_not_told_anything() {
    let server = Server::start();
    let mut screen = Screen::new(80, 24);
    let mut shell = Command::new("env");
    shell.arg("TERM=dumb").arg(CHAT);
    shell.args(["client", "127.0.0.1", &server.address.port().to_string()]);
    let mut client = screen.run(piped(shell));
    screen.expect_row(WELCOME);
    screen.type_keys("hello\n");
    screen.expect_row("<You>hello");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
    assert!(!screen.written().contains('\x1b'), "{:?}", screen.written());
}

#[test]
fn there_are_no_colors_for_those_who_want_none_anywhere() {
    for (variable, is_colored) in [("NO_COLOR=", true), ("NO_COLOR=1", false)] {
        let server = Server::start();
        let mut screen = Screen::new(80, 24);
        let mut shell = Command::new("env");
        shell.arg(variable).arg(CHAT);
        shell.args(["client", "127.0.0.1", &server.address.port().to_string()]);
        let _client = screen.run(piped(shell));
        screen.expect_row(WELCOME);
        let dim = "\x1b[2m";
        assert_eq!(screen.written().contains(dim), is_colored, "{variable}");
    }
}

#[test]
fn while_nothing_happens_the_client_does_nothing() {
    let alice = alice_at_a_terminal(&[]);
    alice.client.expect_idle();
}

#[test]
fn diagnostics_do_not_tear_the_line() {
    let server = Server::start();
    let mut screen = Screen::new(80, 24);
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$0" -v client 127.0.0.1 "$1" 2>&1"#, CHAT]);
    shell.arg(server.address.port().to_string());
    let _client = screen.run(piped(shell));
    screen.expect_row(WELCOME);
    screen.type_keys("half");
    server.signal(Signal::KILL);
    screen.expect("the failure above the line", |rows| {
        let is_told = |row: &String| row.contains("chat: info: ") && row.contains("refused");
        rows.iter().any(is_told) && rows.last().is_some_and(|row| row == "[offline] > half")
    });
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

/// A room, somebody else in it, and alice's client on a terminal.
struct Alice {
    server: Server,
    /// From 127.0.0.2.
    reader: Peer,
    /// 60 columns wide.
    screen: Screen,
    /// The terminal as it was found.
    found: (String, OFlags),
    client: Process,
}

/// Waits until alice has her name.
#[track_caller]
fn alice_at_a_terminal(options: &[&str]) -> Alice {
    let server = Server::start();
    let reader = server.join("127.0.0.2");
    let mut screen = Screen::new(60, 24);
    let found = screen.state();
    let mut command = chat_client(server.address);
    command.args(["--name", "alice"]).args(options);
    let client = screen.run(command);
    screen.expect("the name, and the prompt", |rows| {
        let has_name = rows.iter().any(|row| row.ends_with("-- you are alice now"));
        has_name && rows.last().is_some_and(|row| row == "alice>")
    });
    Alice {
        server,
        reader,
        screen,
        found,
        client,
    }
}

/// A server played by the test, and a client on `screen` that has connected to it.
#[track_caller]
fn client_of_the_test_at(screen: &Screen, options: &[&str]) -> (Peer, Process) {
    Peer::serve(|address| {
        let mut command = chat_client(address);
        command.args(options);
        screen.run(command)
    })
}

/// A server where one was before.
#[track_caller]
fn restart(address: SocketAddr) -> Server {
    let mut command = chat([
        "server",
        &address.ip().to_string(),
        &address.port().to_string(),
    ]);
    command
        .args(["--no-presence", "--history=0"])
        .stdin(Stdio::null());
    Server::spawn(command)
}

/// Ends alice's server; the test plays one in its place.
#[track_caller]
fn lose_server(alice: &mut Alice) -> TcpListener {
    alice.server.signal(Signal::KILL);
    alice.server.wait();
    alice.screen.expect_last_row("[offline] alice>");
    TcpListener::bind(alice.server.address).expect("a port that is free again")
}

/// Plays a room that gives its guest the name it wants.
#[track_caller]
fn let_in(server: &mut Peer, name: &str) {
    server.say(WELCOME);
    server.expect_line(&format!("/nick {name}"));
    server.say(&format!("-- you are {name} now"));
}
