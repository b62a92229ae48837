//! Rooms over TLS: whom the client trusts, and what it says when it does not.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Finished, Process, chat, chat_to};
use crate::common::screen::Screen;
use crate::common::secured::SecuredServer;
use crate::common::server::{Server, server_command};

/// A user who has a folder for what is to be kept.
struct User(TempDir);

impl User {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn command(&self, mut command: Command) -> Command {
        command.env("XDG_STATE_HOME", self.0.path());
        command
    }

    /// Runs `command` to its end.
    #[track_caller]
    fn run(&self, command: Command) -> Finished {
        let mut process = Process::spawn(self.command(command));
        process.close_stdin();
        process.finish()
    }

    fn known_rooms(&self) -> String {
        fs::read_to_string(self.0.path().join("chat/known_rooms")).unwrap_or_default()
    }

    /// Changes what is known, as if it had been another room's.
    fn know_another(&self, fingerprint: &str) {
        let path = self.0.path().join("chat/known_rooms");
        let known = self.known_rooms().replace(fingerprint, ANOTHER);
        fs::write(path, known).expect("a file");
    }
}

const ANOTHER: &str = "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

#[track_caller]
fn expect_untrusted(told: &Finished, words: &[&str]) {
    assert_eq!(told.code, 7, "{}", told.stderr);
    for word in words {
        assert!(told.stderr.contains(word), "no {word} in {}", told.stderr);
    }
    assert_eq!(told.stdout, "");
}

#[test]
fn a_script_takes_only_a_key_that_it_is_given_or_that_is_known() {
    let room = SecuredServer::start();
    let mut bob = room.server.join("127.0.0.2");
    let user = User::new();
    let send = |options: &[&str]| chat_to("send", room.tls_address, options);
    for command in ["send", "ping", "tail", "client"] {
        let told = user.run(chat_to(command, room.tls_address, &["--tls"]));
        expect_untrusted(&told, &["not known", &room.fingerprint, "--fingerprint"]);
    }
    assert_eq!(user.known_rooms(), "");
    let told = user.run(send(&["--tls", "--fingerprint", ANOTHER, "one"]));
    expect_untrusted(&told, &[ANOTHER, &room.fingerprint, "ask the host"]);

    let given = ["--tls", "--fingerprint", &room.fingerprint, "two"];
    assert_eq!(user.run(send(&given)).code, 0);
    bob.expect_line("<127.0.0.1> two");
    let known = user.known_rooms();
    let noted = format!("{} {} 20", room.tls_address, room.fingerprint);
    assert!(known.starts_with(&noted), "{known}");
    assert_eq!(user.run(send(&["--tls", "three"])).code, 0);
    bob.expect_line("<127.0.0.1> three");
    assert_eq!(user.known_rooms(), known);
    assert_eq!(
        user.run(chat_to("ping", room.tls_address, &["--tls"])).code,
        0
    );

    // What was said before was said by nobody who was not trusted.
    bob.say("/who");
    bob.expect_line("-- 1 here: 127.0.0.2");
}

#[test]
fn a_host_that_is_known_with_tls_is_not_joined_without() {
    let room = SecuredServer::start();
    let user = User::new();
    let plainly = |options: &[&str]| {
        let options = [options, &["hello"]].concat();
        user.run(chat_to("send", room.server.address, &options))
    };
    assert_eq!(plainly(&[]).code, 0);
    let given = ["--tls", "--fingerprint", &room.fingerprint];
    assert_eq!(user.run(chat_to("ping", room.tls_address, &given)).code, 0);
    expect_untrusted(&plainly(&[]), &["127.0.0.1", "--tls", "--plain"]);
    // By whatever name.
    for host in ["127.1", "2130706433", "::ffff:127.0.0.1", "localhost"] {
        let port = room.server.address.port().to_string();
        let told = user.run(chat(["ping", host, &port]));
        expect_untrusted(&told, &[host, "--tls", "--plain"]);
    }
    assert_eq!(plainly(&["--plain"]).code, 0);
    // A room that is known is joined over TLS without a word: nothing else is spoken there.
    let told = user.run(chat_to("send", room.tls_address, &["hello"]));
    assert_eq!(told.code, 0, "{}", told.stderr);

    let forget = || user.run(chat_to("forget", room.tls_address, &[]));
    let told = forget();
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    assert!(told.stdout.contains(&room.fingerprint), "{}", told.stdout);
    assert_eq!(plainly(&[]).code, 0);
    let told = forget();
    assert_eq!(told.code, 1);
    assert!(
        told.stderr.contains("no room is known at"),
        "{}",
        told.stderr
    );
}

#[test]
fn a_person_sees_the_key_of_a_room_at_the_first_visit() {
    let room = SecuredServer::start();
    let user = User::new();
    let visit = |screen: &Screen| {
        let command = chat_to(
            "client",
            room.tls_address,
            &["--tls", "--name", "alice", "--no-time"],
        );
        screen.run(user.command(command))
    };
    let mut bob = room.server.join("127.0.0.2");
    let mut screen = Screen::new(130, 24);
    let mut client = visit(&screen);
    let words = format!(
        "first visit: the room's key is {} (compare it with the host's)",
        room.fingerprint
    );
    screen.expect("the key", |rows| {
        rows.iter().any(|row| row.contains(&words))
    });
    screen.type_keys("hello\r");
    bob.expect_line("<alice> hello");
    screen.type_keys("\x04");
    assert_eq!(client.exit_code(), 0);

    let mut screen = Screen::new(100, 24);
    let mut client = visit(&screen);
    screen.expect_row(WELCOME);
    screen.expect_row("-- over TLS, to the key you know");
    screen.type_keys("again\r");
    bob.expect_line("<alice> again");
    screen.type_keys("\x04");
    screen.read_until_end_of(&mut client);
    assert!(!screen.written().contains("first visit"));

    user.know_another(&room.fingerprint);
    let screen = Screen::new(100, 24);
    let mut client = visit(&screen);
    assert_eq!(client.exit_code(), 7);
    let told = client.stderr().rest();
    for word in [
        "has changed",
        ANOTHER,
        &room.fingerprint,
        "chat forget 127.0.0.1",
    ] {
        assert!(told.contains(word), "no {word} in {told}");
    }
}

#[test]
fn a_room_that_comes_back_with_another_key_is_not_joined_again() {
    let room = SecuredServer::start();
    let user = User::new();
    let given = ["--tls", "--fingerprint", &room.fingerprint, "--reconnect"];
    let mut tail = Process::spawn(user.command(chat_to("tail", room.tls_address, &given)));
    tail.stdout().expect_line(WELCOME);
    // Without a word of goodbye.
    room.server.signal(Signal::KILL);
    let port = room.tls_address.port().to_string();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let mut other = server_command("127.0.0.1", &["--tls", "--tls-port", &port]);
    other.env("XDG_STATE_HOME", elsewhere.path());
    let _other = Process::spawn(other);
    let told = tail.finish();
    assert_eq!(told.code, 7, "{}", told.stderr);
    assert!(told.stderr.contains("has changed"), "{}", told.stderr);
}

#[test]
fn a_room_that_is_cut_off_is_said_to_be_in_our_words() {
    let room = SecuredServer::start();
    let user = User::new();
    let given = ["--tls", "--fingerprint", &room.fingerprint];
    let mut tail = Process::spawn(user.command(chat_to("tail", room.tls_address, &given)));
    tail.stdout().expect_line(WELCOME);
    // What a killed server has not read would reset the connection.
    let bob = room.server.join("127.0.0.2");
    bob.say("hello");
    tail.stdout().expect_line("<127.0.0.2> hello");
    room.server.signal(Signal::KILL);
    let told = tail.finish();
    let words = format!(
        "chat: the connection to {} was lost: it was cut off\n",
        room.tls_address
    );
    assert_eq!((told.code, told.stderr), (4, words));
}

#[test]
fn a_server_without_tls_is_no_server_with_it() {
    let room = SecuredServer::start();
    let user = User::new();
    for command in ["ping", "send"] {
        let given = ["--tls", "--fingerprint", &room.fingerprint];
        let told = user.run(chat_to(command, room.server.address, &given));
        assert_eq!(told.code, 3, "{}", told.stderr);
        assert!(
            told.stderr.ends_with(
                "no TLS is spoken there; leave --tls out, or give the server's port for TLS\n"
            ),
            "{}",
            told.stderr
        );
    }
}

#[test]
fn whoever_forgets_tls_is_reminded_of_it() {
    let room = SecuredServer::start();
    let mut web = Server::with(&["--web", "0"]);
    web.skip_banner();
    let page = web.stdout().next_line().expect("where the page is");
    let page = page.trim_matches(|letter: char| !letter.is_ascii_digit());
    let web_address = page.parse().expect("an address");
    let user = User::new();
    let clients = [
        ("client", room.tls_address),
        ("tail", room.tls_address),
        ("ping", room.tls_address),
        ("send", room.tls_address),
        ("send", web_address),
    ];
    let clients = clients.map(|(command, address)| {
        let words = if command == "send" {
            &["hello"][..]
        } else {
            &[]
        };
        Process::spawn(user.command(chat_to(command, address, words)))
    });
    for mut client in clients {
        let told = client.finish();
        assert_eq!(told.code, 4, "{}", told.stderr);
        let hint = "(is the port right?); if it speaks TLS, give --tls\n";
        assert!(told.stderr.ends_with(hint), "{}", told.stderr);
    }
    // Where it is given, it is no remedy.
    let (_server, mut client) = Peer::serve(|address| {
        Process::spawn(user.command(chat_to("ping", address, &["--tls", "--timeout", "1"])))
    });
    let told = client.finish();
    assert!(!told.stderr.contains("give --tls"), "{}", told.stderr);
}

#[test]
fn options_of_tls_that_do_nothing_alone_are_wrong_usage() {
    for options in [
        &["--fingerprint", ANOTHER][..],
        &["--tls", "--plain"],
        &["--tls", "--fingerprint", "sha256:short"],
    ] {
        let arguments = [&["ping", "127.0.0.1", "1"], options].concat();
        assert_eq!(User::new().run(chat(arguments)).code, 2, "{options:?}");
    }
}
