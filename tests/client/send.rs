//! `chat send`: what it says, that it ends once the room has taken everything, and what it
//! reports when the room has not.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::lines::LineReader;
use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Finished, Process, chat_to};
use crate::common::server::Server;

const CANNOT_CONNECT: i32 = 3;
const CONNECTION_LOST: i32 = 4;
const REFUSED: i32 = 5;
const IN_DOUBT: i32 = 6;

/// Longer than a server that has everything may stay silent.
const PAUSE: Duration = Duration::from_secs(4);

#[test]
fn the_words_of_the_command_line_are_said_as_one_line() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    for (words, line) in [
        (&["the", "backup  is", "done"][..], "the backup  is done"),
        (&["-5", "degrees"], "-5 degrees"),
        (&["--", "-x", "--name"], "-x --name"),
        (&["//etc", "is", "full"], "/etc is full"),
        (&["/me", "waves"], "* 127.0.0.1 waves"),
    ] {
        assert_is_silent_and_done(&send(&server, words).finish());
        let expected = if line.starts_with('*') {
            line.to_owned()
        } else {
            format!("<127.0.0.1> {line}")
        };
        reader.expect_line(&expected);
    }
}

#[test]
fn with_words_standard_input_is_not_read() {
    let server = Server::start();
    let (input, mut typing) = io::pipe().expect("a pipe");
    typing.write_all(b"for another\n").expect("an open pipe");
    let mut command = chat_to("send", server.address, &["hello"]);
    command.stdin(input.try_clone().expect("a free descriptor"));
    assert_is_silent_and_done(&Process::spawn(command).finish());
    LineReader::new(input).expect_line("for another");
}

#[test]
fn without_words_each_line_of_standard_input_is_said_even_if_unfinished() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let mut sender = send(&server, &[]);
    sender.type_line("one");
    reader.expect_line("<127.0.0.1> one");
    let mut stdin = sender.take_stdin();
    stdin.write_all(b"two\nand a half").expect("a client");
    drop(stdin);
    assert_is_silent_and_done(&sender.finish());
    reader.expect_line("<127.0.0.1> two");
    reader.expect_line("<127.0.0.1> and a half");
}

/// `chat send` shows nothing anyway.
#[test]
fn all_is_said_though_standard_output_is_closed() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    for words in [&["hello"][..], &[]] {
        let (reading, output) = io::pipe().expect("a pipe");
        drop(reading);
        let mut command = chat_to("send", server.address, words);
        command.stdout(output);
        let mut sender = Process::spawn(command);
        if words.is_empty() {
            sender.type_line("hello");
        }
        sender.close_stdin();
        reader.expect_line("<127.0.0.1> hello");
        sender.stderr().expect_end();
        assert_eq!(sender.exit_code(), 0);
    }
}

#[test]
fn an_empty_input_is_taken_at_once() {
    let server = Server::start();
    let mut command = chat_to("send", server.address, &[]);
    command.stdin(Stdio::null());
    assert_is_silent_and_done(&Process::spawn(command).finish());
}

#[test]
fn twenty_thousand_lines_from_a_pipe_all_arrive() {
    const LINES: usize = 20_000;
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    let mut sender = send(&server, &[]);
    let mut stdin = sender.take_stdin();
    let typing = thread::spawn(move || {
        for number in 0..LINES {
            writeln!(stdin, "line {number}").expect("a client that reads");
        }
    });
    for number in 0..LINES {
        reader.expect_line(&format!("<127.0.0.1> line {number}"));
    }
    typing.join().expect("everything could be typed");
    assert_is_silent_and_done(&sender.finish());
}

#[test]
fn whatever_others_say_nothing_is_shown() {
    let server = Server::sociable(&[]);
    let talker = Peer::connect_from("127.0.0.2", server.address);
    let mut sender = send(&server, &[]);
    let mut reader = Peer::connect_from("127.0.0.3", server.address);
    talker.say("can you hear me?");
    while reader.next_line().as_deref() != Some("<127.0.0.2> can you hear me?") {}
    sender.type_line("/who");
    sender.type_line("no");
    while reader.next_line().as_deref() != Some("<127.0.0.1> no") {}
    sender.close_stdin();
    assert_is_silent_and_done(&sender.finish());
}

#[test]
fn lines_that_are_too_long_are_counted_and_the_others_are_said() {
    let server = Server::with(&["--max-line", "20"]);
    let mut reader = server.join("127.0.0.2");
    let mut sender = send(&server, &[]);
    for line in ["short", &"x".repeat(21), &"y".repeat(1000), "short again"] {
        sender.type_line(line);
    }
    sender.close_stdin();
    let finished = sender.finish();
    let why = "not sent: the line is longer than 20 bytes; split it (and 1 more)";
    assert_fails(&finished, REFUSED, &[why, &server.address.to_string()]);
    reader.expect_line("<127.0.0.1> short");
    reader.expect_line("<127.0.0.1> short again");
}

#[test]
fn refusals_are_shown_in_the_rooms_words() {
    let server = Server::start();
    for (words, why) in [
        (&["/dance"][..], "unknown command"),
        (
            &["/msg", "nobody", "hi"],
            "nobody here is called nobody; /who lists everybody",
        ),
        (&["/msg", "nobody"], "usage: /msg NAME TEXT"),
        (&["/nick", "127.0.0.9"], "IP address"),
        (&["/kick", "127.0.0.2"], "only the operator can do that"),
    ] {
        assert_fails(&send(&server, words).finish(), REFUSED, &[why]);
    }
}

#[test]
fn what_the_client_does_by_itself_is_not_taken() {
    let server = Server::start();
    let finished = send(&server, &["/json"]).finish();
    let why = "not said: the client does that by itself: /json\n";
    assert!(finished.stderr.contains(why), "{}", finished.stderr);
    let summary = format!(
        "1 line not said in the room at {} (see above)\n",
        server.address
    );
    assert!(finished.stderr.ends_with(&summary), "{}", finished.stderr);
    assert_eq!(finished.code, REFUSED);
}

#[test]
fn a_private_message_can_be_sent() {
    let server = Server::start();
    let [mut friend, mut other] = ["127.0.0.2", "127.0.0.3"].map(|ip| server.join(ip));
    let words = ["--name", "disk", "/msg", "127.0.0.2", "nearly full"];
    assert_is_silent_and_done(&send(&server, &words).finish());
    friend.expect_line("[disk] nearly full");
    friend.say("thanks");
    other.expect_line("<127.0.0.2> thanks");
}

#[test]
fn with_a_name_all_is_said_under_it() {
    let server = Server::start();
    let mut reader = server.join("127.0.0.2");
    assert_is_silent_and_done(&send(&server, &["--name", "disk", "98%", "full"]).finish());
    reader.expect_line("<disk> 98% full");

    let mut sender = send(&server, &["--name", "disk"]);
    sender.type_line("one");
    sender.type_line("two");
    sender.close_stdin();
    assert_is_silent_and_done(&sender.finish());
    reader.expect_line("<disk> one");
    reader.expect_line("<disk> two");
}

#[test]
fn nothing_is_said_if_the_name_is_refused() {
    let server = Server::start();
    let [mut bob, mut reader] = ["127.0.0.2", "127.0.0.3"].map(|ip| server.join(ip));
    bob.say("/nick bob");
    bob.expect_line("-- you are now bob");

    let finished = send(&server, &["--name", "bob", "I am bob"]).finish();
    assert_fails(&finished, REFUSED, &["bob is in use; choose another"]);
    // An input that has not ended makes no difference.
    let mut sender = send(&server, &["--name", "bob"]);
    sender.type_line("I am bob");
    let _stdin = sender.take_stdin();
    assert_fails(
        &sender.finish(),
        REFUSED,
        &["bob is in use; choose another"],
    );

    bob.say("I am");
    reader.expect_line("<bob> I am");
}

/// A busy server answers later than a person would wait. If the client had said something
/// meanwhile, a server that refuses the name would read it before the end.
#[test]
fn nothing_is_said_before_the_name_is_granted_however_long_that_takes() {
    let [mut gives, mut refuses] = [(); 2].map(|()| {
        let (mut server, sender) = sender_of_the_test(&["--name", "disk", "98% full"]);
        server.greet();
        server.expect_line("/nick disk");
        (server, sender)
    });
    let pause_ends = Instant::now() + PAUSE;
    gives.1.expect_to_run_until(pause_ends);
    refuses.1.expect_to_run_until(pause_ends);

    let (mut server, mut sender) = refuses;
    server.refuse(1, "disk is in use; choose another");
    server.expect_line("/quit");
    server.expect_end();
    drop(server);
    assert_fails(
        &sender.finish(),
        REFUSED,
        &["disk is in use; choose another"],
    );

    let (mut server, mut sender) = gives;
    server.say(r#"{"kind":"reply","n":1,"to":"nick","name":"disk"}"#);
    server.take(2, "98% full");
    server.let_go(3);
    assert_is_silent_and_done(&sender.finish());
}

#[test]
fn a_full_room_is_reported_in_its_words() {
    let server = Server::with(&["--max-clients", "1"]);
    let mut guest = server.join("127.0.0.2");
    for options in [&["hello"][..], &["--name", "bob", "hello"], &[]] {
        let mut sender = send(&server, options);
        let _stays_open = sender.take_stdin();
        let named = [
            "did not let you in",
            "the room is full (1 clients); try again later",
        ];
        assert_fails(&sender.finish(), REFUSED, &named);
    }
    guest.expect_nothing_new();
}

#[test]
fn a_missing_server_is_named() {
    // tcpmux: nobody listens there.
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    for words in [&["hello"][..], &[]] {
        let finished = Process::spawn(chat_to("send", nowhere, words)).finish();
        assert_fails(&finished, CANNOT_CONNECT, &["127.0.0.1 port 1"]);
    }
}

#[test]
fn a_line_that_was_not_answered_is_in_doubt() {
    for lose in [drop as fn(Peer), Peer::reset] {
        let (mut server, mut sender) = sender_of_the_test(&[]);
        server.greet();
        for line in ["one", "two", "/msg bob three"] {
            sender.type_line(line);
            server.expect_line(line);
        }
        server.echo(1, 1, "one");
        let address = server.local_address().to_string();
        lose(server);
        let finished = sender.finish();
        assert!(finished.stderr.contains(&address), "{}", finished.stderr);
        assert!(
            finished
                .stderr
                .ends_with("has taken 2 lines\ntwo\n/msg bob three\n"),
            "{}",
            finished.stderr
        );
        assert_eq!(finished.code, IN_DOUBT);
    }
}

/// A server that greets and then hangs, before or after it has heard something.
#[test]
fn a_server_that_hangs_ends_it_in_time() {
    let (mut greets, mut first) = sender_of_the_test(&["--timeout", "1", "hello"]);
    greets.greet();
    greets.expect_line("hello");
    let finished = first.finish();
    assert!(
        finished.stderr.ends_with("has taken 1 line\nhello\n"),
        "{}",
        finished.stderr
    );
    assert_eq!(finished.code, IN_DOUBT);

    let (mute, mut second) = sender_of_the_test(&["--timeout", "1", "hello"]);
    assert_fails(
        &second.finish(),
        CONNECTION_LOST,
        &["no answer from", "within 1 s"],
    );
    drop(mute);

    // Its input may pause for longer.
    let (mut server, mut third) = sender_of_the_test(&["--timeout", "1"]);
    server.greet();
    third.expect_to_run_until(Instant::now() + Duration::from_secs(2));
    third.type_line("late");
    server.expect_line("late");
    // The room explains itself.
    for _ in 0..4 {
        third.expect_to_run_until(Instant::now() + Duration::from_millis(500));
        server.say(r#"{"kind":"wait"}"#);
    }
    server.echo(1, 1, "late");
    third.close_stdin();
    server.let_go(2);
    assert_is_silent_and_done(&third.finish());
}

#[test]
fn once_all_is_answered_it_does_not_matter_how_the_connection_ends() {
    let (mut server, mut sender) = sender_of_the_test(&["all", "of", "it"]);
    server.greet();
    server.take(1, "all of it");
    server.expect_line("/quit");
    server.reset();
    assert_is_silent_and_done(&sender.finish());
}

#[test]
fn a_room_that_ends_the_connection_says_what_it_has_not_taken() {
    let (mut server, mut sender) = sender_of_the_test(&["hello"]);
    server.greet();
    server.expect_line("hello");
    server.say(r#"{"kind":"bye","code":"closing","heard":0,"again":1,"text":""}"#);
    drop(server);
    let named = ["closed the connection", "may not have arrived"];
    assert_fails(&sender.finish(), CONNECTION_LOST, &named);
}

/// This takes some seconds, in which the server is silent.
#[test]
fn a_server_that_paces_its_clients_gets_everything() {
    const LINES: usize = 200;
    let server = Server::with(&["--rate", "40"]);
    let mut reader = server.join("127.0.0.2");
    let mut sender = send(&server, &[]);
    let mut stdin = sender.take_stdin();
    let lines: String = (0..LINES).map(|number| format!("{number}\n")).collect();
    stdin.write_all(lines.as_bytes()).expect("a client");
    drop(stdin);
    assert_is_silent_and_done(&sender.finish());
    for number in 0..LINES {
        reader.expect_line(&format!("<127.0.0.1> {number}"));
    }
    reader.expect_nothing_new();
}

#[test]
fn a_room_that_closes_on_a_sender_that_is_paced_is_a_lost_connection() {
    let mut server = Server::with(&["--rate", "1"]);
    let mut reader = server.join("127.0.0.2");
    let mut sender = send(&server, &[]);
    for number in 0..100 {
        sender.type_line(&number.to_string());
    }
    sender.close_stdin();
    reader.expect_line("<127.0.0.1> 0");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    assert_fails(
        &sender.finish(),
        CONNECTION_LOST,
        &["closed the connection"],
    );
}

#[test]
fn a_server_without_a_greeting_is_no_room() {
    for (answer, is_known) in [
        (&b"HTTP/1.0 400 Bad Request\r\n\r\n"[..], true),
        (b"<hello>\r\n", false),
        (b"", false),
    ] {
        let (mut server, mut sender) = sender_of_the_test(&["hello"]);
        server.send(answer);
        if !is_known {
            server.expect_line("hello");
        }
        server.expect_end();
        drop(server);
        let named = ["no chat server at"];
        assert_fails(&sender.finish(), CONNECTION_LOST, &named);
    }
}

/// The Python server never ends its greeting or the connection, and knows no commands.
#[test]
fn a_python_server_gets_the_text_and_nothing_else() {
    const TEXT: &str = "grün\t\"and\" \\ \u{202e}odd";
    let (mut server, mut sender) = sender_of_the_test(&[TEXT]);
    server.send(WELCOME);
    server.expect_line(TEXT);
    server.expect_end();
    assert_is_silent_and_done(&sender.finish());
}

#[test]
fn with_a_name_nothing_is_said_to_a_server_without_names() {
    let (mut server, mut sender) = sender_of_the_test(&["--name", "disk", "hello"]);
    server.send(WELCOME);
    let finished = sender.finish();
    assert_eq!((finished.code, &finished.stdout[..]), (5, ""));
    assert!(
        finished.stderr.contains("gives no names"),
        "{}",
        finished.stderr
    );
    assert_eq!(finished.stderr.lines().count(), 1);
    server.expect_end();
}

#[test]
fn a_python_server_that_reads_late_gets_everything() {
    let long_line = "x".repeat(4 * 1024 * 1024);
    let (mut server, mut sender) = sender_of_the_test(&[]);
    server.send(WELCOME);
    let mut stdin = sender.take_stdin();
    let expected = long_line.clone();
    let typing = thread::spawn(move || {
        writeln!(stdin, "{long_line}").expect("a client that reads");
    });
    sender.expect_to_run_until(Instant::now() + PAUSE);
    let received = server.next_line().expect("a line");
    assert!(received == expected, "{} bytes", received.len());
    typing.join().expect("everything could be typed");
    server.expect_end();
    assert_is_silent_and_done(&sender.finish());
}

/// A `chat send` to `server`, its standard input open.
#[track_caller]
fn send(server: &Server, arguments: &[&str]) -> Process {
    Process::spawn(chat_to("send", server.address, arguments))
}

#[track_caller]
fn sender_of_the_test(arguments: &[&str]) -> (Peer, Process) {
    Peer::serve(|address| Process::spawn(chat_to("send", address, arguments)))
}

#[track_caller]
fn assert_is_silent_and_done(finished: &Finished) {
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.stdout, "");
    assert_eq!(finished.code, 0);
}

/// Expects one line on standard error that contains all of `named`, and this exit code.
#[track_caller]
fn assert_fails(finished: &Finished, code: i32, named: &[&str]) {
    let stderr = &finished.stderr;
    assert!(stderr.starts_with("chat: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for name in named {
        assert!(stderr.contains(name), "no {name:?} in {stderr}");
    }
    assert_eq!(finished.stdout, "");
    assert_eq!(finished.code, code);
}
