//! A room with a password: how a client gives it, to whom, and where it is not to be found.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::alice::CTRL_D;
use crate::common::peer::{Peer, WELCOME, client_of_the_test};
use crate::common::process::{Finished, Process, chat, chat_client, chat_to};
use crate::common::screen::Screen;
#[cfg(feature = "tls")]
use crate::common::secured::SecuredServer;
#[cfg(feature = "tls")]
use crate::common::server::server_command;
use crate::common::server::{PASSWORD, Server, password_file};

const REFUSED: i32 = 5;

#[cfg(feature = "tls")]
const UNTRUSTED: i32 = 7;

/// Somebody who is in the room, and whom others see as `alice`.
#[track_caller]
fn alice_in(server: &Server) -> Peer {
    let mut alice = server.join("127.0.0.2");
    alice.send(format!("/pass {PASSWORD}\n/nick alice\n"));
    while alice.next_line().expect("an answer") != "-- you are now alice" {}
    alice
}

/// What everybody reads of what is said, without presence.
#[track_caller]
fn next_said(alice: &mut Peer) -> String {
    loop {
        let line = alice.next_line().expect("a room that goes on");
        if !line.starts_with("-- ") {
            return line;
        }
    }
}

fn run_to_end(mut command: Command) -> Finished {
    command.stdin(Stdio::null());
    Process::spawn(command).finish()
}

#[test]
fn a_program_gives_what_is_in_the_file() {
    let (server, folder) = Server::locked(&["--welcome", "Be kind."]);
    let file = folder.path().join("password");
    let file = file.to_str().expect("a plain path");
    let mut alice = alice_in(&server);
    alice.say("before");
    let sent = run_to_end(chat_to(
        "send",
        server.address,
        &["--password-file", file, "--name", "backup", "done"],
    ));
    assert_eq!((sent.code, &*sent.stdout, &*sent.stderr), (0, "", ""));
    assert_eq!(next_said(&mut alice), "<backup> done");
    // Lines from a pipe wait until the room has let them in.
    let mut command = chat_client(server.address);
    command.args(["--password-file", file]);
    let mut client = Process::spawn(command);
    client.type_line("from a pipe");
    assert_eq!(next_said(&mut alice), "<127.0.0.1> from a pipe");
    client.close_stdin();
    let finished = client.finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    for line in ["<alice> before", "<backup> done", "-- Be kind."] {
        assert!(finished.stdout.contains(line), "{}", finished.stdout);
    }
    assert!(
        !finished.stdout.contains("has a password"),
        "{}",
        finished.stdout
    );
    for options in [&[][..], &["--json"], &["--lines", "1"]] {
        let arguments = [&["--password-file", file], options].concat();
        let mut tail = Process::spawn(chat_to("tail", server.address, &arguments));
        loop {
            let line = tail.stdout().next_line().expect("the past");
            if line.contains("from a pipe") {
                break;
            }
        }
    }
}

#[test]
fn without_the_password_a_program_says_what_is_missing_and_nothing_is_said() {
    let (server, _folder) = Server::locked(&[]);
    let (_other, wrong) = password_file("black tea");
    let wrong = wrong.to_str().expect("a plain path");
    let mut alice = alice_in(&server);
    for name in ["send", "tail", "client"] {
        for (file, words) in [
            (None, "--password-file FILE"),
            (Some(wrong), "wrong password"),
        ] {
            let mut command = chat_to(name, server.address, &[]);
            command.args(file.iter().flat_map(|file| ["--password-file", file]));
            let mut client = Process::spawn(command);
            if name == "client" {
                client.type_line("hello");
            }
            client.close_stdin();
            let finished = client.finish();
            assert_eq!(finished.code, REFUSED, "{}", finished.stderr);
            assert!(finished.stderr.contains(words), "{}", finished.stderr);
            // Nothing looks as if it were said.
            assert!(!finished.stdout.contains("hello"), "{}", finished.stdout);
        }
    }
    let sent = run_to_end(chat_to("send", server.address, &["hello"]));
    assert_eq!(sent.code, REFUSED, "{}", sent.stderr);
    let ping = run_to_end(chat_to("ping", server.address, &[]));
    assert_eq!(ping.code, 0, "{}", ping.stderr);
    let missing = run_to_end(chat_to(
        "send",
        server.address,
        &["--password-file", "/none", "hello"],
    ));
    assert_eq!(missing.code, 1, "{}", missing.stderr);
    alice.say("/me waits");
    alice.say("/dance");
    loop {
        let line = alice.next_line().expect("an answer");
        assert!(!line.contains("hello"), "{line}");
        if line.starts_with("!! unknown command") {
            break;
        }
    }
}

#[test]
fn a_password_goes_in_clear_to_other_machines_only_if_it_may() {
    let script = "ip address add 192.0.2.1/32 dev lo
        umask 077; echo green tea > /tmp/chat-password.$$
        $0 server 192.0.2.1 8081 --plain all --password-file /tmp/chat-password.$$ >&2 &
        until $0 ping 192.0.2.1 > /dev/null 2>&1; do sleep 0.1; done
        for plain in '' --plain; do
            $0 send 192.0.2.1 --password-file /tmp/chat-password.$$ $plain hello; echo $?
        done
        kill $!; rm /tmp/chat-password.$$; wait";
    let Some(mut shell) = crate::common::shell_with_a_network(script) else {
        return;
    };
    shell.stdout().expect_line("5");
    shell.stdout().expect_line("0");
    let finished = shell.finish();
    assert!(
        finished.stderr.contains("--plain if they may"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_person_is_asked_and_nobody_sees_what_is_typed() {
    let (server, folder) = Server::locked(&[]);
    let mut alice = alice_in(&server);
    alice.say("before");
    let home = tempfile::tempdir().expect("a temporary folder");
    let log = home.path().join("log");
    let mut screen = Screen::new(80, 24);
    let mut command = chat(["client", "--name", "bob", "--log"]);
    command.arg(&log).arg(server.address.to_string());
    command.env("HOME", home.path());
    let mut client = screen.run(command);
    screen.expect_last_row("password:");
    screen.type_keys("green teapot\r");
    screen.expect("the question again", |rows| {
        rows.iter().any(|row| row.ends_with("!! wrong password"))
            && rows.last().is_some_and(|row| row == "password:")
    });
    // As the room asks for it.
    screen.type_keys("/pass grean\x7f\x7fen tea\r");
    screen.expect_last_row("bob>");
    screen.expect("the past", |rows| {
        rows.iter().any(|row| row.ends_with("<alice> before"))
    });
    screen.type_keys("hello\r");
    assert_eq!(next_said(&mut alice), "<bob> hello");
    // Nor by Up.
    screen.type_keys("\x1b[A");
    screen.expect_last_row("bob> hello");
    screen.type_keys("\x15/pass green tea\r");
    screen.expect("a word of it", |rows| {
        rows.iter()
            .any(|row| row.contains("has not asked for a password"))
    });
    screen.type_keys(&format!("/pas green tea\r{CTRL_D}"));
    assert_eq!(client.exit_code(), 0);
    screen.read_rest();
    let arguments = fs::read(format!("/proc/{}/cmdline", server.pid())).expect("a running server");
    assert!(!String::from_utf8_lossy(&arguments).contains("green"));
    drop(server);
    drop(folder);
    assert!(!screen.written().contains("gre"), "{}", screen.written());
    for file in files_below(home.path()) {
        let text = fs::read_to_string(&file).expect("a file of the client's");
        assert!(!text.contains("gre"), "{}: {text}", file.display());
        assert!(file != log || text.contains("wrong password"), "{text}");
    }
}

#[test]
fn a_password_among_the_lines_of_a_pipe_is_on_no_output() {
    let (mut server, mut client) = client_of_the_test(Stdio::piped());
    server.greet();
    client.type_line("/pass S3cret");
    client.type_line("/pas S3cret");
    server.expect_line("/pas S3cret");
    drop(server);
    client.close_stdin();
    let finished = client.finish();
    for (out, words) in [
        (&finished.stdout, "<You>/pass\n<You>/pas\n"),
        (&finished.stderr, ": /pass\n"),
        (&finished.stderr, "taken 1 line\n/pas\n"),
    ] {
        assert!(out.contains(words) && !out.contains("S3cret"), "{out}");
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let entries = entries.map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn a_person_who_is_asked_may_leave() {
    let (server, _folder) = Server::locked(&[]);
    for keys in [CTRL_D, "gre\x15\x04"] {
        let mut screen = Screen::new(80, 24);
        let mut client = screen.run(chat_client(server.address));
        screen.expect_last_row("password:");
        screen.type_keys(keys);
        assert_eq!(client.exit_code(), 0);
    }
}

#[test]
fn a_person_without_the_password_is_sent_away() {
    let (server, _folder) = Server::locked(&[]);
    let mut screen = Screen::new(80, 24);
    let mut client = screen.run(chat_client(server.address));
    for wrong in 0..3 {
        screen.expect("the question", |rows| {
            let told = rows.iter().filter(|row| row.ends_with("!! wrong password"));
            told.count() == wrong && rows.last().is_some_and(|row| row == "password:")
        });
        screen.type_keys("x\r");
    }
    assert_eq!(client.exit_code(), REFUSED);
}

#[test]
fn a_lost_client_gives_the_password_again_and_goes_on() {
    let (_folder, file) = password_file(PASSWORD);
    let needed = r#"{"kind":"error","code":"password_needed","text":"x"}"#;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut command = chat_client(listener.local_addr().expect("a bound socket"));
    command.args(["--reconnect", "--password-file"]).arg(file);
    let mut client = Process::spawn(command);
    let mut server = Peer::accept(&listener);
    server.say(WELCOME);
    server.expect_line("/json");
    server.say(needed);
    server.expect_line("/pass green tea");
    server.hello(7, r#""epoch":"e","resumed":false,"heard":0"#);
    server.expect_line("/last 10000 0");
    server.say(r#"{"kind":"reply","n":1,"to":"last"}"#);
    client.type_line("one");
    server.expect_line("one");
    drop(server);
    let mut server = Peer::accept(&listener);
    server.say(WELCOME);
    server.expect_line("/json");
    // Nobody is told a password that does not ask for it.
    server.expect_line("/resume 7.ab 0");
    server.say(needed);
    server.expect_line("/pass green tea");
    server.expect_line("/resume 7.ab 0");
    server.hello(8, r#""epoch":"e","resumed":false,"heard":0"#);
    server.hello(7, r#""epoch":"e","resumed":true,"heard":1"#);
    server.take(2, "one");
    client.close_stdin();
    server.let_go(3);
    assert_eq!(client.finish().code, 0);
}

/// The password may be another one by then.
#[test]
fn a_lost_client_that_is_not_let_in_again_names_what_it_has_not_said() {
    let (_folder, file) = password_file(PASSWORD);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut command = chat_client(listener.local_addr().expect("a bound socket"));
    command.args(["--reconnect", "--password-file"]).arg(file);
    let mut client = Process::spawn(command);
    let mut server = Peer::accept(&listener);
    server.greet();
    client.type_line("one");
    server.expect_line("one");
    drop(server);
    let mut server = Peer::accept(&listener);
    server.say(WELCOME);
    server.expect_line("/json");
    server.expect_line("/resume 7.ab 0");
    server.say(r#"{"kind":"error","code":"password_needed","text":"x"}"#);
    server.expect_line("/pass green tea");
    server.say(r#"{"kind":"error","code":"wrong_password","text":"x"}"#);
    let finished = client.finish();
    assert_eq!(finished.code, REFUSED, "{}", finished.stderr);
    for words in [
        "wrong password",
        "not known whether the room has taken this: one",
    ] {
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
}

/// Whoever answers at the first visit may be anybody.
#[cfg(feature = "tls")]
#[test]
fn a_room_that_is_new_gets_the_password_only_after_a_yes() {
    const QUESTION: &str = "is that the key (yes or no)?";
    let (_folder, file) = password_file(PASSWORD);
    let file = file.to_str().expect("a plain path");
    let room = SecuredServer::with(&["--password-file", file]);
    let mut alice = alice_in(&room.server);
    let home = tempfile::tempdir().expect("a temporary folder");
    let known = || fs::read_to_string(home.path().join("chat/known_rooms")).unwrap_or_default();
    let run = |screen: &mut Screen, options: &[&str]| {
        let options = [&["--tls", "--name", "bob"], options].concat();
        let mut command = chat_to("client", room.tls_address, &options);
        command.env("XDG_STATE_HOME", home.path());
        screen.run(command)
    };
    for (keys, code) in [("no\r", UNTRUSTED), ("N\r", UNTRUSTED), (CTRL_D, 0)] {
        let mut screen = Screen::new(100, 24);
        let mut client = run(&mut screen, &["--password-file", file]);
        screen.expect_last_row(QUESTION);
        screen.expect("the key", |rows| rows.concat().contains(&room.fingerprint));
        assert_eq!(known(), "");
        screen.type_keys(keys);
        assert_eq!(client.exit_code(), code);
        assert_eq!(known(), "");
        if code == UNTRUSTED {
            let told = client.stderr().rest();
            for words in [
                "you did not take the key",
                &room.fingerprint,
                "was not sent",
            ] {
                assert!(told.contains(words), "no {words} in {told}");
            }
        }
    }
    // Each of these is a yes, if not the first.
    let padded = format!("maybe\r\r{}=\r", room.fingerprint);
    for keys in ["y\r", "YES\r", &padded] {
        let mut screen = Screen::new(100, 24);
        let mut client = run(&mut screen, &["--password-file", file]);
        screen.expect_last_row(QUESTION);
        screen.type_keys(keys);
        screen.expect_last_row("bob>");
        if keys.starts_with("maybe") {
            let hint = "!! say yes or no, or paste the key that the host sees";
            let rows = screen.rows();
            let told = rows.iter().filter(|row| row.ends_with(hint)).count();
            assert_eq!(told, 2, "{rows:#?}");
        }
        assert!(known().contains(&room.fingerprint), "{}", known());
        screen.type_keys(CTRL_D);
        assert_eq!(client.exit_code(), 0);
        fs::remove_file(home.path().join("chat/known_rooms")).expect("a file");
    }
    alice.say("/who");
    alice.expect_line("-- 1 here: alice");
    let mut screen = Screen::new(100, 24);
    let mut client = run(&mut screen, &[]);
    screen.expect_last_row(QUESTION);
    screen.type_keys("yes\r");
    screen.expect_last_row("password:");
    screen.type_keys("green tea\r");
    screen.expect_last_row("bob>");
    assert!(known().contains(&room.fingerprint), "{}", known());
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
    // Now it is known, to programs, too.
    let mut screen = Screen::new(100, 24);
    let mut client = run(&mut screen, &["--password-file", file]);
    screen.expect_last_row("bob>");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
    let mut command = chat_to(
        "send",
        room.tls_address,
        &["--tls", "--password-file", file, "done"],
    );
    command.env("XDG_STATE_HOME", home.path());
    let sent = run_to_end(command);
    assert_eq!((sent.code, &*sent.stderr), (0, ""));
    while next_said(&mut alice) != "<127.0.0.1> done" {}
}

/// An impostor may show its key before it asks for anything.
#[cfg(feature = "tls")]
#[test]
fn a_key_that_was_noted_without_a_yes_gets_no_password() {
    const UNTRUSTED: i32 = 7;
    let (_folder, file) = password_file(PASSWORD);
    let file = file.to_str().expect("a plain path");
    let room = SecuredServer::with(&["--max-clients", "1"]);
    let home = tempfile::tempdir().expect("a temporary folder");
    let known = || fs::read_to_string(home.path().join("chat/known_rooms")).unwrap_or_default();
    let tls_address = room.tls_address;
    let visit = |screen: &Screen| {
        let options = ["--tls", "--name", "bob", "--password-file", file];
        let mut command = chat_to("client", tls_address, &options);
        command.env("XDG_STATE_HOME", home.path());
        screen.run(command)
    };
    let member = room.server.join("127.0.0.2");
    let screen = Screen::new(100, 24);
    assert_eq!(visit(&screen).exit_code(), REFUSED);
    assert_eq!(known(), "", "nobody was let in");
    drop(member);
    let mut screen = Screen::new(100, 24);
    let mut client = visit(&screen);
    screen.expect_last_row("bob>");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
    let noted = known();
    assert!(noted.ends_with(" unconfirmed\n"), "{noted}");

    // The same key, and now it asks.
    let SecuredServer {
        server,
        fingerprint,
        folder,
        ..
    } = room;
    drop(server);
    let port = tls_address.port().to_string();
    let options = ["--tls", "--tls-port", &port, "--password-file", file];
    let mut command = server_command("127.0.0.1", &options);
    command.env("XDG_STATE_HOME", folder.path());
    let _server = Server::spawn(command);
    for (command, options) in [("send", &["hello"][..]), ("tail", &[]), ("client", &[])] {
        let options = [&["--password-file", file], options].concat();
        let mut command = chat_to(command, tls_address, &options);
        command.env("XDG_STATE_HOME", home.path());
        let told = run_to_end(command);
        assert_eq!(told.code, UNTRUSTED, "{}", told.stderr);
        for word in [&fingerprint, "--fingerprint", "say yes"] {
            assert!(told.stderr.contains(word), "no {word} in {}", told.stderr);
        }
    }
    assert_eq!(known(), noted);
    let mut screen = Screen::new(100, 24);
    let mut client = visit(&screen);
    screen.expect_last_row("is that the key (yes or no)?");
    screen.expect("the key", |rows| rows.concat().contains(&fingerprint));
    screen.type_keys("yes\r");
    screen.expect_last_row("bob>");
    screen.type_keys(CTRL_D);
    assert_eq!(client.exit_code(), 0);
    assert_eq!(
        known().trim(),
        noted.trim_end().trim_end_matches(" unconfirmed")
    );
}
