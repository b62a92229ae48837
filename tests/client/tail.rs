//! `chat tail`, which listens and says nothing; and the output format that it shares with `chat
//! client` in a pipe.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::lines::LineReader;
use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{CHAT, Process, chat, chat_to, piped};
use crate::common::server::Server;

const CANNOT_CONNECT: i32 = 3;
const CONNECTION_LOST: i32 = 4;
const REFUSED: i32 = 5;

#[test]
fn past_lines_are_shown_before_new_ones() {
    let (server, talker) = room_with_a_past();
    let mut listener = Process::spawn(tail(&server, &[]));
    for line in [
        WELCOME,
        "-- last 3 lines, latest just now:",
        "<127.0.0.2> one",
        "* 127.0.0.2 waves",
        "<127.0.0.2> three",
    ] {
        listener.stdout().expect_line(line);
    }
    talker.say("four");
    listener.stdout().expect_line("<127.0.0.2> four");
    talker.say("five");
    listener.stdout().expect_line("<127.0.0.2> five");
}

#[test]
fn lines_limits_the_past_lines_shown() {
    let (server, talker) = room_with_a_past();
    let mut listeners = Vec::new();
    for (lines, past) in [
        ("0", &[][..]),
        ("1", &["<127.0.0.2> three"]),
        ("2", &["* 127.0.0.2 waves", "<127.0.0.2> three"]),
        (
            "1000",
            &["<127.0.0.2> one", "* 127.0.0.2 waves", "<127.0.0.2> three"],
        ),
    ] {
        let mut listener = Process::spawn(tail(&server, &["--lines", lines]));
        listener.stdout().expect_line(WELCOME);
        listeners.push((listener, past));
    }
    talker.say("four");
    for (mut listener, past) in listeners {
        for line in past {
            listener.stdout().expect_line(line);
        }
        listener.stdout().expect_line("<127.0.0.2> four");
    }
}

#[test]
fn a_listener_never_says_a_thing() {
    let (mut server, mut listener) =
        Peer::serve(|address| Process::spawn(chat_to("tail", address, &[])));
    server.greet();
    listener.stdout().expect_line(WELCOME);
    server.tell(1, "alice", "are you there?");
    listener.stdout().expect_line("<alice> are you there?");
    listener.type_line("I am not");
    listener.close_stdin();
    server.tell(2, "alice", "well?");
    listener.stdout().expect_line("<alice> well?");
    // Asleep again, it has handled the end of its input.
    listener.await_sleep();
    assert!(!server.has_more(), "the listener closed its side");
    listener.close_stdout();
    server.expect_line("/quit");
    server.expect_end();
    assert_ends_quietly(&mut listener);
}

#[test]
fn standard_input_is_not_read() {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let (input, mut typing) = io::pipe().expect("a pipe");
    typing.write_all(b"for another\n").expect("an open pipe");
    let mut command = tail(&server, &[]);
    command.stdin(input.try_clone().expect("a free descriptor"));
    let mut listener = Process::spawn(command);
    listener.stdout().expect_line(WELCOME);
    talker.say("hello");
    listener.stdout().expect_line("<127.0.0.2> hello");
    listener.close_stdout();
    assert_ends_quietly(&mut listener);
    LineReader::new(input).expect_line("for another");
}

#[test]
fn the_end_of_input_does_not_end_a_listener() {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut command = tail(&server, &[]);
    command.stdin(Stdio::null());
    let mut listener = Process::spawn(command);
    listener.stdout().expect_line(WELCOME);
    listener.expect_idle();
    talker.say("still there?");
    listener.stdout().expect_line("<127.0.0.2> still there?");
}

#[test]
fn a_listener_ends_when_its_output_is_closed_even_if_no_line_comes() {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    for line in [None, Some("anybody?")] {
        let mut listener = Process::spawn(tail(&server, &[]));
        listener.stdout().expect_line(WELCOME);
        listener.close_stdout();
        if let Some(line) = line {
            talker.say(line);
        }
        assert_ends_quietly(&mut listener);
    }
}

#[test]
fn head_gets_its_line_and_the_pipeline_ends() {
    let (server, _talker) = room_with_a_past();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#""$0" tail 127.0.0.1 "$1" -n1 | head -2"#, CHAT])
        .arg(server.address.port().to_string());
    let finished = Process::spawn(piped(shell)).finish();
    let expected = format!("{WELCOME}\n<127.0.0.2> three\n");
    assert_eq!(finished.stdout, expected);
    assert_eq!((finished.code, &finished.stderr[..]), (0, ""));
}

#[test]
fn a_room_that_closes_is_a_lost_connection() {
    let mut server = Server::start();
    let mut listener = Process::spawn(tail(&server, &[]));
    listener.stdout().expect_line(WELCOME);
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    let finished = listener.finish();
    assert_eq!(finished.stdout, "-- the room is closing\n");
    assert_names(&finished.stderr, &server.address.to_string());
    assert_eq!(finished.code, CONNECTION_LOST);
}

/// Whether it is killed, which leaves its log behind, or closes.
#[test]
fn a_listener_that_reconnects_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let transcript = folder.path().join("transcript");
    let transcript = transcript.to_str().expect("a plain name");
    for (format, end) in [(&[][..], Signal::KILL), (&["--json"], Signal::TERM)] {
        let options = ["--no-presence", "--transcript", transcript];
        let mut server = Server::sociable(&options);
        let mut talker = server.join("127.0.0.2");
        let mut listener = Process::spawn(tail(&server, &[&["--reconnect"], format].concat()));
        talker.say("first");
        expect_text(&mut listener, "first");
        // Asleep again, it has been told who it is.
        listener.await_sleep();
        talker.say("before");
        expect_text(&mut listener, "before");
        server.signal(end);
        server.wait();
        talker.rest();
        let address = server.address;
        let mut command = chat([
            "server",
            &address.ip().to_string(),
            &address.port().to_string(),
        ]);
        command.args(options).stdin(Stdio::null());
        let server = Server::spawn(command);
        // Before the listener is back, or after.
        let talker = Peer::connect_from("127.0.0.2", server.address);
        for text in ["while it was away", "now"] {
            talker.say(text);
        }
        for text in ["while it was away", "now"] {
            let line = expect_text(&mut listener, text);
            assert!(
                !line.contains("before") && !line.contains("first"),
                "{line}"
            );
        }
        listener.close_stdout();
        listener.wait();
    }
}

/// Reads up to the line with `text`, and returns it and those before it.
#[track_caller]
fn expect_text(listener: &mut Process, text: &str) -> String {
    let mut lines = String::new();
    loop {
        let line = listener.stdout().next_line().expect("a further line");
        lines += &format!("{line}\n");
        if line.contains(text) {
            return lines;
        }
    }
}

#[test]
fn a_server_that_vanishes_is_a_lost_connection() {
    let (server, mut listener) =
        Peer::serve(|address| Process::spawn(chat_to("tail", address, &[])));
    server.say(WELCOME);
    listener.stdout().expect_line(WELCOME);
    let address = server.local_address().to_string();
    server.reset();
    let finished = listener.finish();
    assert_names(&finished.stderr, &address);
    assert_eq!(finished.code, CONNECTION_LOST);
}

#[test]
fn a_full_room_and_a_missing_server_have_exit_codes_of_their_own() {
    let server = Server::with(&["--max-clients", "1"]);
    let _guest = server.join("127.0.0.2");
    let finished = Process::spawn(tail(&server, &[])).finish();
    assert_eq!(
        finished.stdout,
        "!! the room is full (1 clients); try again later\n"
    );
    assert_names(&finished.stderr, &server.address.to_string());
    assert_eq!(finished.code, REFUSED);

    // tcpmux: nobody listens there.
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let finished = Process::spawn(chat_to("tail", nowhere, &[])).finish();
    assert_names(&finished.stderr, "127.0.0.1 port 1");
    assert_eq!(finished.code, CANNOT_CONNECT);
}

#[test]
fn json_has_the_objects_of_the_room() {
    let (server, mut talker) = room_with_a_past();
    let mut listener = Process::spawn(tail(&server, &["--json"]));
    let hello = next_object(&mut listener);
    assert_eq!(
        (&hello["kind"], &hello["wire"]),
        (&json!("hello"), &json!(1))
    );
    assert_eq!(hello.get("token"), None, "it is a secret");
    for (kind, text) in [
        ("message", "one"),
        ("action", "waves"),
        ("message", "three"),
    ] {
        expect_said(&mut listener, (kind, "127.0.0.2", text), true);
    }
    talker.send("hi \"you\" \\ \t\u{1f44b}\n/me nods\n/msg 127.0.0.1 psst\n/nick zoë\nbye\n");
    for (kind, name, text) in [
        ("message", "127.0.0.2", "hi \"you\" \\ \t\u{1f44b}"),
        ("action", "127.0.0.2", "nods"),
        ("private", "127.0.0.2", "psst"),
        ("message", "zoë", "bye"),
    ] {
        expect_said(&mut listener, (kind, name, text), false);
    }
    talker.expect_line("-- sent to 127.0.0.1");
}

#[test]
fn json_has_a_kind_for_all_other_lines() {
    let (server, mut listener) =
        Peer::serve(|address| Process::spawn(chat_to("tail", address, &["--json"])));
    server.send("220 mail\r\n!! no\n\n<no name\n<alice> \u{1b}[2J\n");
    expect_object(&mut listener, ("other", None, "220 mail"));
    expect_object(&mut listener, ("refusal", None, "no"));
    expect_object(&mut listener, ("other", None, ""));
    expect_object(&mut listener, ("other", None, "<no name"));
    expect_object(&mut listener, ("message", Some("alice"), "␛[2J"));
}

#[test]
fn json_hands_on_what_it_does_not_know() {
    let (mut server, mut listener) =
        Peer::serve(|address| Process::spawn(chat_to("tail", address, &["--json"])));
    server.greet();
    assert_eq!(next_object(&mut listener)["kind"], "hello");
    server.expect_line("/last 10000 0");
    server.say(r#"{"kind":"reply","n":1,"to":"last"}"#);
    for object in [r#"{"kind":"tea","cups":[2,{}]}"#, r#"{"kind":"wait"}"#] {
        server.say(object);
        listener.stdout().expect_line(object);
    }
}

#[test]
fn lines_limits_the_past_lines_in_json() {
    let (server, talker) = room_with_a_past();
    let mut listener = Process::spawn(tail(&server, &["--json", "--lines", "1"]));
    assert_eq!(next_object(&mut listener)["kind"], "hello");
    expect_said(&mut listener, ("message", "127.0.0.2", "three"), true);
    talker.say("four");
    expect_said(&mut listener, ("message", "127.0.0.2", "four"), false);
}

#[test]
fn the_json_of_a_foreign_server_has_the_time_with_the_offset_of_the_time_zone() {
    let before = Timestamp::now().as_second();
    let (server, mut listener) = Peer::serve(|address| {
        let mut command = chat_to("tail", address, &["--json"]);
        command.env("TZ", "<+0545>-5:45");
        Process::spawn(command)
    });
    server.send(WELCOME);
    let object = next_object(&mut listener);
    assert_eq!(object["kind"], "welcome");
    let time = object["time"].as_str().expect("a time");
    assert!(time.ends_with("+05:45"), "{time}");
    let heard = time.parse::<Timestamp>().expect("RFC 3339").as_second();
    assert!((before..=Timestamp::now().as_second()).contains(&heard));
}

/// With --time, the local time stands before each line: that when it was heard or, of the past,
/// when it was said.
#[test]
fn each_line_begins_with_its_time_in_the_chosen_format() {
    const ZONE: &str = "IST-5:30";
    let zone = TimeZone::posix(ZONE).expect("a time zone");
    let (server, _talker) = room_with_a_past();
    for (option, form) in [("HH:MM", "%H:%M"), ("HH:MM:SS", "%H:%M:%S")] {
        let before = Timestamp::now().as_second();
        let mut command = tail(&server, &["--time", option, "--lines", "1"]);
        command.env("TZ", ZONE);
        let mut listener = Process::spawn(command);
        let line = listener.stdout().next_line().expect("a line");
        let (time, rest) = line.split_once(' ').expect("a time and a line");
        assert_eq!(rest, WELCOME);
        let is_of = |second, time: &str| {
            let heard = Timestamp::from_second(second).expect("a time");
            heard.to_zoned(zone.clone()).strftime(form).to_string() == time
        };
        let mut meanwhile = before..=Timestamp::now().as_second();
        assert!(
            meanwhile.any(|second| is_of(second, time)),
            "{time} is not local"
        );
        let past = listener.stdout().next_line().expect("a line");
        let (time, rest) = past.split_once(' ').expect("a time and a line");
        assert_eq!(rest, "<127.0.0.2> three");
        let mut before = before - 60..=Timestamp::now().as_second();
        assert!(before.any(|second| is_of(second, time)), "{time}");
    }
}

#[test]
fn a_pipe_gets_no_colors_whatever_the_terminal_can_do() {
    let (server, _talker) = room_with_a_past();
    for options in [&[][..], &["--color", "auto"], &["--color", "never"]] {
        let arguments = [&["--time", "HH:MM", "--lines", "1"], options].concat();
        let mut command = tail(&server, &arguments);
        command
            .env("TERM", "xterm-256color")
            .env("COLORTERM", "truecolor")
            .env("CLICOLOR_FORCE", "1");
        let mut listener = Process::spawn(command);
        for _ in 0..2 {
            let line = listener.stdout().next_line().expect("a line");
            assert!(!line.contains(char::is_control), "{line:?}");
        }
    }
}

#[test]
fn color_always_overrides_the_environment() {
    let (server, _talker) = room_with_a_past();
    let mut command = tail(&server, &["--color", "always", "--lines", "1"]);
    command.env("NO_COLOR", "1").env("TERM", "dumb");
    let mut listener = Process::spawn(command);
    let welcome = listener.stdout().next_line().expect("a line");
    assert_eq!(welcome, format!("\u{1b}[2m{WELCOME}\u{1b}[0m"));
    let said = listener.stdout().next_line().expect("a line");
    assert!(said.starts_with("\u{1b}[38;5;"), "{said:?}");
    assert!(said.ends_with("m<127.0.0.2> \u{1b}[0mthree"), "{said:?}");
}

#[test]
fn ones_own_name_is_highlighted_in_color() {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let options = ["--name", "alice", "--color", "always"];
    let mut client = Process::spawn(chat_to("client", server.address, &options));
    for line in [WELCOME, "-- you are now alice"] {
        let shown = client.stdout().next_line().expect("a line");
        assert!(shown.contains(line), "{shown:?}");
    }
    talker.say("hi Alice!");
    let said = client.stdout().next_line().expect("a line");
    let text = "hi \u{1b}[1m\u{1b}[7mAlice\u{1b}[0m!";
    assert!(said.ends_with(text), "{said:?}");
}

#[test]
fn json_has_no_colors() {
    let server = Server::start();
    let mut listener = Process::spawn(tail(&server, &["--json", "--color", "always"]));
    let line = listener.stdout().next_line().expect("a line");
    assert!(!line.contains("\\u001b") && !line.contains('\u{1b}'));
}

#[test]
fn the_clients_json_includes_its_own_lines() {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut client = Process::spawn(chat_to("client", server.address, &["--json"]));
    let you = next_object(&mut client)["you"].clone();
    client.type_line("hi \"there\"");
    let own = next_object(&mut client);
    assert_eq!(
        (&own["from"], &own["n"]),
        (&you, &json!(2)),
        "after a request for the past"
    );
    assert_eq!(own["text"], "hi \"there\"");
    client.type_line("/dance");
    let error = next_object(&mut client);
    assert_eq!((&error["kind"], &error["n"]), (&json!("error"), &json!(3)));
    talker.say("hi yourself");
    expect_said(&mut client, ("message", "127.0.0.2", "hi yourself"), false);
    client.close_stdin();
    let bye = next_object(&mut client);
    assert_eq!(
        (&bye["kind"], &bye["code"]),
        (&json!("bye"), &json!("quit"))
    );
    client.stdout().expect_end();
    assert_ends_quietly(&mut client);
}

#[test]
fn with_a_foreign_server_the_client_says_itself_what_it_says() {
    let (mut server, mut client) =
        Peer::serve(|address| Process::spawn(chat_to("client", address, &["--json"])));
    client.type_line("hi");
    server.send(WELCOME);
    expect_object(&mut client, ("welcome", None, WELCOME));
    expect_object(&mut client, ("own", None, "hi"));
    server.expect_line("hi");
}

#[test]
fn the_clients_own_lines_have_time_and_colors() {
    let server = Server::start();
    let options = ["--time", "HH:MM", "--color", "always"];
    let mut client = Process::spawn(chat_to("client", server.address, &options));
    let welcome = client.stdout().next_line().expect("a line");
    assert!(welcome.ends_with(&format!(" \u{1b}[2m{WELCOME}\u{1b}[0m")));
    client.type_line("hello");
    let own = client.stdout().next_line().expect("a line");
    assert!(own.starts_with("\u{1b}[2m"), "{own:?}");
    assert!(own.ends_with("\u{1b}[0m \u{1b}[1m<You>\u{1b}[0mhello"));
}

#[test]
fn a_client_in_a_pipe_says_nothing_before_it_has_its_name() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let mut client = Process::spawn(chat_to("client", server.address, &["--name", "disk"]));
    client.type_line("98% full");
    client.close_stdin();
    reader.expect_line("<disk> 98% full");
    let finished = client.finish();
    let mut shown: Vec<&str> = finished.stdout.lines().collect();
    shown.sort_unstable();
    assert_eq!(shown, ["-- you are now disk", "<You>98% full", WELCOME]);
    assert_eq!((finished.code, &finished.stderr[..]), (0, ""));
}

#[test]
fn a_client_in_a_pipe_that_gets_no_name_goes_on_without() {
    let server = Server::start();
    let mut bob = server.join("127.0.0.2");
    bob.say("/nick bob");
    bob.expect_line("-- you are now bob");
    let mut client = Process::spawn(chat_to("client", server.address, &["--name", "bob"]));
    client.stdout().expect_line(WELCOME);
    let refusal = client.stdout().next_line().expect("an answer");
    assert!(refusal.starts_with("!! bob is in use"), "{refusal}");
    client.type_line("hello");
    bob.expect_line("<127.0.0.1> hello");
    client.stdout().expect_line("<You>hello");
    client.close_stdin();
    client.stdout().expect_end();
    assert_ends_quietly(&mut client);
}

#[test]
fn a_python_server_is_not_asked_for_a_name() {
    let (mut server, mut client) =
        Peer::serve(|address| Process::spawn(chat_to("client", address, &["--name", "bob"])));
    client.type_line("hello");
    server.send(WELCOME);
    server.expect_line("hello");
    let shown = [(); 2].map(|()| client.stdout().next_line().expect("a line"));
    assert!(shown.iter().any(|line| line == WELCOME), "{shown:?}");
    assert!(shown.iter().any(|line| line == "<You>hello"), "{shown:?}");
    let told = client.stderr().next_line().expect("a warning");
    assert!(told.contains("gives no names"), "{told}");
}

/// A room that remembers three lines from `127.0.0.2`.
#[track_caller]
fn room_with_a_past() -> (Server, Peer) {
    let server = Server::sociable(&["--no-presence"]);
    let [talker, mut witness] = ["127.0.0.2", "127.0.0.3"].map(|ip| server.join(ip));
    talker.send("one\n/me waves\nthree\n");
    for line in ["<127.0.0.2> one", "* 127.0.0.2 waves", "<127.0.0.2> three"] {
        witness.expect_line(line);
    }
    (server, talker)
}

fn tail(server: &Server, options: &[&str]) -> Command {
    chat_to("tail", server.address, options)
}

/// A kind, a name, and a text.
type Said<'a> = (&'a str, Option<&'a str>, &'a str);

/// Expects a JSON object of exactly these values, and a time.
#[track_caller]
fn expect_object(program: &mut Process, (kind, name, text): Said<'_>) {
    let mut object = next_object(program);
    take_time(&mut object);
    assert_eq!(object, json!({ "kind": kind, "name": name, "text": text }));
}

/// Expects that somebody says something in a room of ours. What else the room tells is skipped.
#[track_caller]
fn expect_said(program: &mut Process, (kind, name, text): (&str, &str, &str), is_past: bool) {
    let mut object = next_object(program);
    while object["kind"] == "presence" || object["kind"] == "notice" {
        object = next_object(program);
    }
    let said = (&object["kind"], &object["name"], &object["text"]);
    assert_eq!(said, (&json!(kind), &json!(name), &json!(text)));
    assert_eq!(object.get("past").is_some(), is_past, "{object}");
    assert!(object["seq"].is_u64(), "{object}");
    take_time(&mut object);
}

#[track_caller]
fn next_object(program: &mut Process) -> Value {
    let line = program.stdout().next_line().expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[track_caller]
fn take_time(object: &mut Value) {
    let members = object.as_object_mut().expect("an object");
    let time = members.remove("time").expect("a time");
    let time = time.as_str().expect("a time is text");
    time.parse::<Timestamp>().expect("a time as in RFC 3339");
}

#[track_caller]
fn assert_names(stderr: &str, what: &str) {
    assert!(stderr.starts_with("chat: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(what), "no {what} in {stderr}");
}

#[track_caller]
fn assert_ends_quietly(program: &mut Process) {
    program.stderr().expect_end();
    assert_eq!(program.exit_code(), 0);
}
