//! The client's memory is bounded, whichever of its neighbours stalls.

use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use crate::common::crowd::{Crowd, Member, numbered_line};
use crate::common::peer::{client_of_the_test, client_of_the_test_with_output};
use crate::common::process::Process;

/// Several times what the kernel buffers for a program that does not read.
const OFFERED_BYTES: usize = 64 << 20;

/// The client's queues in both directions, and the allocator's slack.
const ALLOWED_GROWTH_BYTES: usize = 2 << 20;

/// A program that takes nothing for this long counts as stalled.
const STALLED_AFTER: Duration = Duration::from_millis(500);

#[test]
fn an_unread_output_stalls_the_server() {
    let (server, client) = client_of_the_test(Stdio::piped());
    let stream = server.into_stream();
    stream
        .set_write_timeout(Some(STALLED_AFTER))
        .expect("a TCP socket");
    assert_is_held_up(&client, stream);
}

#[test]
fn a_stalled_server_stalls_the_input() {
    let (ours, theirs) = input();
    let (server, client) = client_of_the_test_with_output(theirs, Stdio::null());
    server.say("no greeting");
    assert_is_held_up(&client, ours);
}

#[test]
fn an_unread_output_stalls_the_input() {
    let (ours, theirs) = input();
    let (server, client) = client_of_the_test_with_output(theirs, Stdio::piped());
    server.say("no greeting");
    let _server = Crowd::start([Member::reader(server)]);
    assert_is_held_up(&client, ours);
}

/// The user's side, and the client's.
fn input() -> (UnixStream, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    ours.set_write_timeout(Some(STALLED_AFTER))
        .expect("a socket");
    (ours, theirs.into())
}

/// Expects that `client` stops taking what `source` sends instead of buffering it.
#[track_caller]
fn assert_is_held_up(client: &Process, mut source: impl Write) {
    let before = client.anonymous_bytes();
    let burst: String = (0..64).map(|number| numbered_line(number) + "\n").collect();
    let mut taken_bytes = 0;
    while taken_bytes < OFFERED_BYTES {
        match source.write(burst.as_bytes()) {
            Ok(count) => taken_bytes += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                client.expect_idle();
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let grown_bytes = client.anonymous_bytes().saturating_sub(before);
    println!("of {taken_bytes} bytes taken {grown_bytes} are kept");
    assert!(taken_bytes < OFFERED_BYTES, "{taken_bytes}");
    assert!(grown_bytes < ALLOWED_GROWTH_BYTES, "{grown_bytes}");
}
