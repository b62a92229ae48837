//! `--rate` and `--idle-timeout`: how much, and how little, a client may say.

use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::common::server::Server;

#[test]
fn a_paste_passes_at_once_and_excess_lines_are_delayed_not_dropped() {
    const BURST: u32 = 50;
    const RATE: u32 = 50;
    const LINES: u32 = 100;
    let server = Server::with(&["--rate", &RATE.to_string()]);
    let talker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    let began = Instant::now();
    talker.send(
        (0..LINES)
            .map(|number| format!("{number}\n"))
            .collect::<String>(),
    );
    talker.leave();
    for number in 0..LINES {
        listener.expect_line(&format!("<127.0.0.2> {number}"));
        let due = Duration::from_secs_f64(
            f64::from((number + 1).saturating_sub(BURST)) / f64::from(RATE),
        );
        assert!(began.elapsed() >= due, "line {number} came too early");
    }
}

#[test]
fn without_a_rate_nobody_is_delayed() {
    const LINES: usize = 5000;
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    let began = Instant::now();
    talker.send("again\n".repeat(LINES));
    for _ in 0..LINES {
        listener.expect_line("<127.0.0.2> again");
    }
    assert!(began.elapsed() < PATIENCE);
}

/// The talker goes on as soon as it was heard, until the silent client is dropped.
#[test]
fn a_silent_client_is_told_and_dropped_and_a_talker_stays() {
    const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
    let server = Server::with(&["--idle-timeout", "2"]);
    let began = Instant::now();
    let talker = server.join("127.0.0.3");
    let mut silent = server.join("127.0.0.2");
    let farewell = loop {
        talker.say("on and on");
        match silent.next_line().expect("a line") {
            line if line.starts_with("-- ") => break line,
            line => assert_eq!(line, "<127.0.0.3> on and on"),
        }
    };
    assert!(began.elapsed() >= IDLE_TIMEOUT);
    assert!(farewell.starts_with("-- goodbye"), "{farewell}");
    silent.expect_end();

    // The talker's last line may have come too late for the silent client.
    let mut witness = server.join("127.0.0.4");
    talker.say("still here");
    while witness.next_line().expect("a line") != "<127.0.0.3> still here" {}
}
