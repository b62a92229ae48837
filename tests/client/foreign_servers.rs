//! Our client with foreign servers, above all the Python original: lines that never end, and
//! connections that never end.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::peer::{WELCOME, client_of_the_test};

/// The Python server sends its welcome without a line end, and relays bytes unchanged behind
/// `<ip> `.
#[test]
fn a_conversation_with_the_python_server() {
    let (mut server, mut client) = client_of_the_test(Stdio::piped());

    server.send(WELCOME);
    client.stdout().expect_line(WELCOME);
    server.send("<127.0.0.2> hello\n");
    client.stdout().expect_line("<127.0.0.2> hello");
    client.type_line("hello yourself");
    client.stdout().expect_line("<You>hello yourself");
    server.expect_line("hello yourself");
    server.send("<127.0.0.2> no line end");
    client.stdout().expect_line("<127.0.0.2> no line end");
}

/// TCP may deliver the welcome and what follows in one segment.
#[test]
fn a_welcome_without_line_end_is_a_line_of_its_own() {
    let (server, mut client) = client_of_the_test(Stdio::piped());
    server.send(format!("{WELCOME}<127.0.0.2> hello\n"));
    client.stdout().expect_line(WELCOME);
    client.stdout().expect_line("<127.0.0.2> hello");
}

#[test]
fn a_half_line_is_shown_when_the_server_closes() {
    let (server, mut client) = client_of_the_test(Stdio::null());
    server.send("last wor");
    drop(server);
    assert_eq!(client.finish().stdout, "last wor\n");
}

#[test]
fn a_server_that_never_closes_is_left_after_some_seconds_of_silence() {
    const LEAST_PATIENCE: Duration = Duration::from_secs(1);
    let started = Instant::now();
    let (mut server, mut client) = client_of_the_test(Stdio::null());
    server.expect_end();
    server.say("goodbye");

    let finished = client.finish();
    assert_eq!(finished.stdout, "goodbye\n");
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.code, 0);
    assert!(started.elapsed() > LEAST_PATIENCE);
}
