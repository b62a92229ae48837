//! The client at a terminal: a half-typed line stays whole whatever arrives, and output is fit
//! to read.

use std::process::Command;

use rustix::process::Signal;
use rustix::termios::InputModes;

use crate::alice::{CTRL_D, alice_at_a_terminal, client_of_the_test_at};
use crate::common::eventually;
use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{CHAT, chat_client, chat_to, piped, run_by};
use crate::common::screen::Screen;
use crate::common::server::Server;

const CTRL_R: &str = "\x12";
const UP: &str = "\x1b[A";
const LEFT: &str = "\x1b[D";

/// The first thing a terminal is sent: mark pasted text.
const BEGIN: &str = "\x1b[?2004h";

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
fn a_paste_of_200_lines_is_sent_on_enter() {
    const LINES: usize = 200;
    let mut alice = alice_at_a_terminal(&[]);
    let lines: String = (0..LINES)
        .map(|number| format!("line {number}\r"))
        .collect();
    alice
        .screen
        .type_keys(&format!("\x1b[200~{lines}\x1b[201~"));
    alice.screen.expect_last_row(&format!("line {}", LINES - 1));
    // If any of it had been said, that would be heard before the answer.
    alice.reader.say("/who");
    alice.reader.expect_line("-- 2 here: alice, 127.0.0.2");
    alice.screen.type_keys("\r");
    for number in 0..LINES {
        alice.reader.expect_line(&format!("<alice> line {number}"));
    }
    alice.screen.type_keys("and no more\r");
    alice.reader.expect_line("<alice> and no more");
    alice
        .screen
        .expect("the last line above an empty prompt", |rows| {
            let said = [&format!("line {}", LINES - 1), "and no more"];
            let said = said.map(|text| format!("<You> {text}"));
            rows.ends_with(&[&said[..], &["alice>".to_owned()]].concat())
        });
}

/// A terminal that leaves the end of a paste in what is pasted.
#[test]
fn a_paste_does_not_say_itself() {
    let mut alice = alice_at_a_terminal(&[]);
    alice
        .screen
        .type_keys("\x1b[200~safe\x1b[201~\rpwned\r\x1b[201~");
    alice.screen.expect("the whole paste", |rows| {
        rows.ends_with(&["alice> safe", "pwned"].map(str::to_owned))
    });
    alice.reader.expect_nothing_new();
}

/// Its end got lost.
#[test]
fn a_paste_without_end_has_a_way_out() {
    let mut alice = alice_at_a_terminal(&[]);
    alice.screen.type_keys("\x1b[200~half");
    alice
        .screen
        .expect_row("!! this paste has no end: Enter ends it, and sends nothing");
    alice.screen.expect_last_row("alice> half");
    alice.reader.expect_nothing_new();
    // Nothing shows that this key is taken, which has to come on its own.
    let mut keys = ["\x1b", "\x15whole"].into_iter().cycle();
    eventually("keys to count again", || {
        alice.screen.type_keys(keys.next().expect("endless"));
        alice.screen.read_rest();
        let is_shown = alice.screen.rows().last() == Some(&"alice> whole".to_owned());
        is_shown.then_some(())
    });
    alice.screen.type_keys("\x15again");
    alice.screen.expect_last_row("alice> again");
    alice.screen.type_keys("\r");
    alice.reader.expect_line("<alice> again");
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
    alice.reader.expect_line("-- you are now Zoë");
    alice.reader.say("hi");
    alice.screen.expect_row("<Zoë> hi");
    alice.screen.type_keys("zo\twelcome\r");
    alice.reader.expect_line("<alice> Zoë: welcome");
    alice.screen.type_keys("/ms\tz\tpsst\r");
    alice.reader.expect_line("[alice] psst");
    alice.screen.expect_row("[You to Zoë] psst");
}

#[test]
fn earlier_lines_come_back() {
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
        .expect_last_row("(search: sea) alice> the blue sea");
    alice.screen.type_keys("\r");
    alice.reader.expect_line("<alice> the blue sea");
}

#[test]
fn the_bell_rings_when_ones_name_is_said() {
    for (options, expected) in [
        (&[][..], 2),
        (&["--bell", "mention"], 2),
        (&["--bell", "never"], 0),
        (&["--bell", "all"], 3),
    ] {
        let mut alice = alice_at_a_terminal(options);
        // One at a time: messages that arrive together ring once.
        for (said, shown) in [
            ("hi all", "<127.0.0.2> hi all"),
            ("Alice, are you there?", "<127.0.0.2> Alice, are you there?"),
            ("/msg alice psst", "[127.0.0.2] psst"),
        ] {
            alice.reader.say(said);
            alice.screen.expect_row(shown);
        }
        alice.screen.read_rest();
        assert_eq!(alice.screen.rings(), expected, "{options:?}");
    }
}

#[test]
fn the_exact_name_of_somebody_present_is_not_ours() {
    let mut alice = alice_at_a_terminal(&[]);
    alice.reader.say("/nick alice_b");
    alice.reader.expect_line("-- you are now alice_b");
    alice.reader.say("/nick alice-");
    alice.reader.expect_line("-- you are now alice-");
    for text in ["ask alice- about it", "alice_ is nobody: alice_"] {
        alice.reader.say(text);
        alice.screen.expect_row(&format!("<alice-> {text}"));
        alice.screen.read_rest();
    }
    assert_eq!(alice.screen.rings(), 1, "for nobody's name alone");
}

#[test]
fn time_is_shown_and_color_never_turns_colors_off() {
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

/// Also before what was said before.
#[test]
fn time_is_shown_unless_it_is_not_wanted() {
    let server = Server::sociable(&["--no-presence"]);
    let mut talker = server.join("127.0.0.2");
    talker.say("long ago");
    talker.expect_nothing_new();
    for (options, has_time) in [(&[][..], true), (&["--no-time"], false)] {
        let mut screen = Screen::new(80, 24);
        let _client = screen.run(chat_to("client", server.address, options));
        let is_said = |row: &String, text: &str| {
            let said = row.strip_suffix(text);
            said.is_some_and(|time| match time.split_once(':') {
                Some((hours, minutes)) => has_time && hours.len() == 2 && minutes.len() == 3,
                None => !has_time && time.is_empty(),
            })
        };
        let text = "<127.0.0.2> long ago";
        screen.expect(text, |rows| rows.iter().any(|row| is_said(row, text)));
        talker.say("now");
        let text = "<127.0.0.2> now";
        screen.expect(text, |rows| rows.iter().any(|row| is_said(row, text)));
        let rows = screen.rows().concat();
        assert_eq!(rows.matches("long ago").count(), 1, "{rows}");
    }
}

#[test]
fn text_from_any_server_is_made_harmless() {
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

/// Through our server, and from any other.
#[test]
fn spaces_cannot_forge_a_row() {
    let mut alice = alice_at_a_terminal(&[]);
    for blanks in [" ".repeat(68), "\t".repeat(10), "\u{a0}".repeat(68)] {
        for forged in [
            "<alice> my bank is evil.example",
            "-- operator: evil.example",
        ] {
            alice.reader.say(&format!("ok{blanks}{forged}"));
        }
    }
    alice.reader.say("no more");
    alice.screen.expect_row("<127.0.0.2> no more");
    assert_is_not_forged(&alice.screen.rows());

    for (command, options) in [("client", &["--no-time"][..]), ("tail", &[])] {
        let mut screen = Screen::new(80, 24);
        let (server, _client) =
            Peer::serve(|address| screen.run(chat_to(command, address, options)));
        server.send(format!(
            "{WELCOME}\n<mallory> ok{}<alice> my bank is evil.example\n<bob> no more\n",
            " ".repeat(66)
        ));
        screen.expect_row("<bob> no more");
        assert_is_not_forged(&screen.rows());
    }
}

#[track_caller]
fn assert_is_not_forged(rows: &[String]) {
    let evil: Vec<_> = rows.iter().filter(|row| row.contains("evil")).collect();
    assert!(!evil.is_empty(), "{rows:#?}");
    let begins = ["    ", "<127.0.0.2> ", "<mallory> "];
    let is_marked = |row: &&String| begins.iter().any(|begin| row.starts_with(begin));
    assert!(evil.iter().all(is_marked), "{rows:#?}");
}

/// For example `chat tail`, whose terminal may be resized.
#[test]
fn a_listener_at_a_terminal_wraps_lines_to_its_width() {
    let mut screen = Screen::new(40, 24);
    let (server, client) = Peer::serve(|address| screen.run(chat_to("tail", address, &[])));
    let line = "<mallory> one two three four five six seven";
    server.send(format!("{WELCOME}\n{line}\n"));
    screen.expect("two rows", |rows| {
        rows.ends_with(&["<mallory> one two three four five six", "    seven"].map(str::to_owned))
    });
    screen.resize(60, 24, &client);
    server.say(line);
    screen.expect_row(line);
}

#[test]
fn a_newcomer_without_a_name_is_told_how_to_go_on() {
    let server = Server::start();
    let mut screen = Screen::new(80, 24);
    let mut client = screen.run(chat_client(server.address));
    screen.expect_last_row(">");
    screen.expect_row(WELCOME);
    screen.type_keys("/who\r");
    screen.expect_row("-- 1 here: 127.0.0.1");
    screen.assert_told_once("-- /nick NAME sets your name, /help lists");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);

    let alice = alice_at_a_terminal(&[]);
    let rows = alice.screen.rows();
    assert!(!rows.concat().contains("/nick NAME"), "{rows:#?}");
}

#[test]
fn a_server_that_does_not_answer_about_a_name_is_reported() {
    let mut screen = Screen::new(80, 24);
    let (mut server, _client) = client_of_the_test_at(&screen, &["--name", "alice"]);
    server.greet();
    server.expect_line("/nick alice");
    screen.type_keys("hello\r");
    screen.expect_row("!! the server has not answered about your name");
    server.expect_line("hello");
}

#[test]
fn a_refused_name_is_not_shown() {
    let server = Server::start();
    let mut bob = server.join("127.0.0.2");
    bob.say("/nick alice");
    bob.expect_line("-- you are now alice");
    let mut screen = Screen::new(60, 24);
    let mut command = chat_client(server.address);
    command.args(["--name", "alice"]);
    let _client = screen.run(command);
    screen.expect("the refusal, and a prompt without a name", |rows| {
        let is_refused = rows.iter().any(|row| row.starts_with("!! alice is in use"));
        is_refused && rows.last().is_some_and(|row| row == ">")
    });
}

#[test]
fn an_unfinished_key_sequence_does_not_swallow_the_rest() {
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

/// Ctrl-S, which pauses some terminals, is a key like any other.
#[test]
fn keys_arrive_as_typed_whatever_mode_the_terminal_was_in() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let mut screen = Screen::new(60, 24);
    screen.change_modes(|modes| {
        modes.input_modes |= InputModes::IXON | InputModes::ISTRIP | InputModes::IGNCR;
    });
    let found = screen.state();
    let mut client = screen.run(chat_client(server.address));
    screen.expect_last_row(">");
    screen.type_keys("\x13grüße");
    screen.expect_last_row("> grüße");
    screen.type_keys("\r");
    reader.expect_line("<127.0.0.1> grüße");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
    assert_eq!(screen.state(), found);
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
fn a_dumb_terminal_gets_no_control_sequences() {
    for environment in [&["TERM=dumb"][..], &["TERM="], &["-u", "TERM"]] {
        assert_no_control_sequences(environment, &[], "<You>hello");
    }
}

#[test]
fn json_has_no_control_sequences_at_a_terminal() {
    let own = r#""text":"hello""#;
    assert_no_control_sequences(&["TERM=xterm"], &["--json"], own);
}

/// Expects that a client with these `options` shows `own` for the line "hello", and writes
/// nothing that moves the cursor. env(1) sets the `environment`.
#[track_caller]
fn assert_no_control_sequences(environment: &[&str], options: &[&str], own: &str) {
    let server = Server::start();
    let mut screen = Screen::new(200, 24);
    let mut client = screen.run(in_environment(environment, "client", &server, options));
    let is_welcome = |row: &String| row.contains(WELCOME) || row.contains("hello");
    screen.expect("the welcome", |rows| rows.iter().any(is_welcome));
    screen.type_keys("hello\n");
    screen.expect(own, |rows| rows.iter().any(|row| row.contains(own)));
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0, "{environment:?}");
    screen.read_rest();
    assert!(!screen.written().contains('\x1b'), "{:?}", screen.written());
}

/// For example `echo hi | chat client`.
#[test]
fn input_from_a_pipe_is_said_without_a_prompt() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let mut screen = Screen::new(60, 24);
    let mut command = chat_client(server.address);
    command.stdout(screen.side());
    let mut client = screen.run_with_own_streams(command);
    client.type_line("hi");
    client.close_stdin();
    reader.expect_line("<127.0.0.1> hi");
    screen.expect_row("<You>hi");
    assert_eq!(client.exit_code(), 0);
    client.stderr().expect_end();
    screen.read_rest();
    assert_eq!(screen.rows().len(), 2, "{:?}", screen.rows());
    assert!(!screen.written().contains(BEGIN), "{:?}", screen.written());
}

/// For example `chat client | tee`.
#[test]
fn output_into_a_pipe_has_no_prompt_and_no_colors() {
    let server = Server::start();
    let mut screen = Screen::new(60, 24);
    let mut command = chat_client(server.address);
    command.stdin(screen.side());
    let mut client = screen.run_with_own_streams(command);
    client.stdout().expect_line(WELCOME);
    screen.type_keys("hello\n");
    client.stdout().expect_line("<You>hello");
    screen.type_keys(CTRL_D);
    client.stdout().expect_end();
    client.stderr().expect_end();
    assert_eq!(client.exit_code(), 0);
    screen.read_rest();
    assert!(!screen.written().contains('\x1b'), "{:?}", screen.written());
}

#[test]
fn no_color_and_dumb_terminals_turn_colors_off() {
    let server = Server::start();
    for (command, options) in [("client", &["--no-time"][..]), ("tail", &[])] {
        for (environment, is_colored) in [
            (&["NO_COLOR="][..], true),
            (&["NO_COLOR=1"], false),
            (&["TERM=dumb"], false),
        ] {
            let mut screen = Screen::new(80, 24);
            let _client = screen.run(in_environment(environment, command, &server, options));
            screen.expect_row(WELCOME);
            let has_colors = screen.written().contains("\x1b[2m");
            assert_eq!(has_colors, is_colored, "{command}, {environment:?}");
        }
    }
}

/// For example a terminal at the end of a serial line.
#[test]
fn a_terminal_of_unknown_size_counts_as_80_by_24() {
    let server = Server::start();
    for (columns, rows) in [(0, 0), (80, 0), (0, 24)] {
        let mut screen = Screen::new(80, 24);
        screen.set_size(columns, rows);
        let _client = screen.run(chat_client(server.address));
        screen.expect_last_row(">");
        screen.type_keys(&"x".repeat(100));
        let typed = [format!("> {}", "x".repeat(77)), "x".repeat(23)];
        screen.expect("two rows", |rows| rows.ends_with(&typed));
    }
}

#[test]
fn while_nothing_happens_the_client_does_nothing() {
    let alice = alice_at_a_terminal(&[]);
    alice.client.expect_idle();
}

#[test]
fn diagnostics_go_where_standard_error_goes() {
    let server = Server::start();
    let mut screen = Screen::new(80, 24);
    let mut command = chat_client(server.address);
    command.arg("-v");
    let mut client = screen.run(command);
    screen.expect_row(WELCOME);
    server.signal(Signal::KILL);
    screen.expect_last_row("[offline] >");
    let is_told = |line: String| line.starts_with("chat: info: ") && line.contains("refused");
    while !is_told(client.stderr().next_line().expect("the failure")) {}
    screen.read_rest();
    let rows = screen.rows().join("\n");
    assert!(!rows.contains("chat: "), "{rows}");
}

#[test]
fn diagnostics_do_not_tear_the_line() {
    let server = Server::start();
    let mut screen = Screen::new(80, 24);
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        r#"exec "$0" -v client --no-time 127.0.0.1 "$1" 2>&1"#,
        CHAT,
    ]);
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

/// A command that joins a room, in an environment changed by these arguments of env(1).
fn in_environment(
    environment: &[&str],
    command: &str,
    server: &Server,
    options: &[&str],
) -> Command {
    let joining = chat_to(command, server.address, options);
    run_by(&[&["env"], environment].concat(), &joining)
}
