//! Promise 7, the console never blocks the room: standard output shows the conversation, and
//! never delays it.

use std::fs::OpenOptions;
use std::io::{Read, Seek};
use std::process::Stdio;

use rustix::process::Signal;

use crate::common::peer::Peer;
use crate::common::pty::open_terminal;
use crate::common::server::{Server, server_command};

#[test]
fn the_console_shows_joins_lines_and_leaves() {
    let mut server = Server::start();
    server.skip_banner();
    let alice = server.join("127.0.0.2");
    server.stdout().expect_line("127.0.0.2 connected");
    let mut bob = server.join("127.0.0.3");
    server.stdout().expect_line("127.0.0.3 connected");

    alice.say("good morning");
    server.stdout().expect_line("<127.0.0.2> good morning");
    bob.expect_line("<127.0.0.2> good morning");
    alice.leave();
    server.stdout().expect_line("127.0.0.2 disconnected");
    bob.reset();
    server.stdout().expect_line("127.0.0.3 disconnected");
}

/// For example a load balancer's health check every few seconds.
#[test]
fn a_silent_visit_is_shown_only_with_v() {
    let mut quiet = Server::start();
    quiet.skip_banner();
    for _ in 0..5 {
        quiet.join("127.0.0.2").leave();
    }
    let talker = quiet.join("127.0.0.3");
    talker.say("hi");
    quiet.stdout().expect_line("127.0.0.3 connected");
    quiet.stdout().expect_line("<127.0.0.3> hi");
    let _silent = quiet.join("127.0.0.4");
    quiet.stdout().expect_line("127.0.0.4 connected");
    talker.leave();
    quiet.stdout().expect_line("127.0.0.3 disconnected");

    let mut verbose = Server::spawn_with_log(server_command("127.0.0.1", &[]));
    let address = verbose.address;
    verbose
        .stdout()
        .expect_line(&format!("listening on {address}"));
    verbose.skip_banner();
    verbose.join("127.0.0.2").leave();
    verbose.stdout().expect_line("127.0.0.2 connected");
    verbose.stdout().expect_line("127.0.0.2 disconnected");
}

#[test]
fn commands_are_not_on_the_console() {
    let mut server = Server::start();
    server.skip_banner();
    let mut alice = server.join("127.0.0.2");
    server.stdout().expect_line("127.0.0.2 connected");

    alice.say("/nonsense");
    assert!(alice.next_line().expect("an answer").starts_with("!! "));
    alice.say("in clear");
    server.stdout().expect_line("<127.0.0.2> in clear");
}

#[test]
fn quiet_leaves_standard_output_empty() {
    let mut server = Server::spawn_with_log(server_command("127.0.0.1", &["--quiet"]));
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    alice.say("psst");
    bob.expect_line("<127.0.0.2> psst");
    alice.leave();

    server.signal(Signal::TERM);
    let finished = server.finish();
    assert_eq!(finished.code, 0);
    assert_eq!(finished.stdout, "");
}

#[test]
fn the_room_goes_on_when_the_console_is_closed() {
    let mut server = Server::start();
    server.close_stdout();
    assert_goes_on(server);
}

#[test]
fn the_room_goes_on_when_nobody_reads_the_console() {
    assert_goes_on(Server::start());
}

#[test]
fn the_room_goes_on_when_the_terminal_is_paused() {
    let (_paused, terminal) = open_terminal();
    assert_goes_on(server_with_console(terminal));
}

#[test]
fn the_room_goes_on_when_the_disk_is_full() {
    let full = OpenOptions::new().write(true).open("/dev/full");
    assert_goes_on(server_with_console(full.expect("full(4)")));
}

#[test]
fn a_console_in_a_file_misses_nothing() {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let mut server = server_with_console(file.try_clone().expect("a free descriptor"));
    let (alice, bob) = talk_at_length(&server);
    alice.leave();
    bob.leave();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);

    let mut shown = String::new();
    file.rewind().expect("a regular file");
    file.read_to_string(&mut shown).expect("UTF-8");
    let said = shown
        .lines()
        .filter(|line| line.starts_with("<127.0.0.2> "));
    assert_eq!(said.count(), LINES);
    assert!(shown.contains("\n127.0.0.2 disconnected\n127.0.0.3 disconnected\n"));
}

#[test]
fn lines_that_could_not_be_shown_are_counted() {
    let mut server = Server::start();
    server.skip_banner();
    let _in_the_room = talk_at_length(&server);

    // Somebody reads the console again.
    let mut shown = 0;
    let missing = loop {
        let line = server.stdout().next_line().expect("a console line");
        if let Some(notice) = line.strip_prefix("-- ") {
            let (count, _) = notice.split_once(' ').expect("a count");
            break count.parse::<usize>().expect("a count");
        }
        shown += usize::from(line.starts_with("<127.0.0.2> "));
    };
    assert!(shown > 0 && missing > 0, "{shown} shown, {missing} missing");
    assert_eq!(shown + missing, LINES);

    let _late = server.join("127.0.0.4");
    server.stdout().expect_line("127.0.0.4 connected");
}

/// How many lines [`talk_at_length`] says.
const LINES: usize = 1000;

/// Says more than the console's backlog and a pipe hold while nobody reads them; the room must
/// hear all of it. Returns the talker and the listener.
#[track_caller]
fn talk_at_length(server: &Server) -> (Peer, Peer) {
    const LINE_BYTES: usize = 1000;
    let mut alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    // Until it speaks, a newcomer is shown a second late.
    bob.say("go on");
    alice.expect_line("<127.0.0.3> go on");
    for number in 0..LINES {
        let line = format!("{number} {:-<LINE_BYTES$}", "");
        alice.say(&line);
        bob.expect_line(&alice.said(&line));
    }
    (alice, bob)
}

#[track_caller]
fn assert_goes_on(mut server: Server) {
    let _in_the_room = talk_at_length(&server);
    server.expect_idle();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}

#[track_caller]
fn server_with_console(console: impl Into<Stdio>) -> Server {
    let mut command = server_command("127.0.0.1", &[]);
    command.stdout(console);
    Server::spawn_with_log(command)
}
