//! Promise 6, running out of descriptors is no disaster: the server neither spins nor goes deaf.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{CHAT, piped};
use crate::common::server::Server;

const DESCRIPTOR_LIMIT: usize = 64;
const GUESTS: usize = 100;

#[test]
fn out_of_descriptors_members_chat_on_and_newcomers_wait() {
    let mut server = Server::start();
    server.allow_more_descriptors(DESCRIPTOR_LIMIT);
    let (mut inside, mut waiting) = more_than_can_come_in(&mut server);
    assert!(inside.len() >= waiting.len(), "too few got in");
    let (speaker, others) = inside.split_first_mut().expect("somebody inside");
    speaker.say("we are all here");
    for guest in others {
        guest.expect_line("<127.0.0.2> we are all here");
    }

    for _ in 0..waiting.len() {
        inside.pop().expect("somebody inside").leave();
    }
    for guest in &mut waiting {
        guest.expect_line(WELCOME);
    }
    waiting[0].say("we are in");
    waiting[1].expect_line("<127.0.0.2> we are in");
}

#[test]
fn waiting_newcomers_get_in_when_the_shortage_ends_though_nobody_leaves() {
    const SOME_SECONDS: Duration = Duration::from_secs(10);
    let mut server = Server::start();
    server.allow_more_descriptors(DESCRIPTOR_LIMIT);
    let (_inside, mut waiting) = more_than_can_come_in(&mut server);

    let raised = Instant::now();
    server.allow_more_descriptors(GUESTS);
    for guest in &mut waiting {
        guest.expect_line(WELCOME);
    }
    assert!(raised.elapsed() < SOME_SECONDS, "{:?}", raised.elapsed());
}

#[test]
fn the_last_descriptor_is_no_shortage_while_nobody_waits() {
    const MORE_THAN_A_PAUSE: Duration = Duration::from_secs(2);
    let mut server = Server::start();
    let mut alice = server.join("127.0.0.2");
    server.allow_more_descriptors(1);
    let bob = server.join("127.0.0.3");
    server.expect_idle_for(MORE_THAN_A_PAUSE);
    assert!(!server.stderr().has_more(), "a warning without a shortage");

    let mut carol = Peer::connect_from("127.0.0.4", server.address);
    expect_warning(&mut server);
    bob.leave();
    carol.expect_line(WELCOME);
    carol.say("there was one place left");
    alice.expect_line("<127.0.0.4> there was one place left");
}

#[test]
fn a_hard_limit_lowers_the_number_of_clients_and_is_reported() {
    const FULL: &str = "!! the room is full (30 clients); try again later";
    let mut server = start_with_limit("-n", &[]);
    let warning = server.stderr().next_line().expect("a warning");
    let words = "accepting up to 30 clients, not 20000: the limit on open files is 64;";
    assert!(warning.contains(words), "{warning}");
    let mut inside: Vec<Peer> = (0..30).map(|_| server.join("127.0.0.2")).collect();
    let mut refused: Vec<Peer> = (0..GUESTS)
        .map(|_| Peer::connect_from("127.0.0.2", server.address))
        .collect();
    for guest in &mut refused {
        guest.expect_line(FULL);
    }
    assert!(server.descriptors() < DESCRIPTOR_LIMIT);
    inside[0].say("we are all here");
    inside[29].expect_line("<127.0.0.2> we are all here");
    assert!(!server.stderr().has_more(), "a warning without a shortage");
}

#[test]
fn the_server_raises_its_own_soft_limit() {
    let server = start_with_limit("-Sn", &[]);
    let mut guests: Vec<Peer> = (0..GUESTS).map(|_| server.join("127.0.0.2")).collect();
    guests[0].say("we are all here");
    guests[GUESTS - 1].expect_line("<127.0.0.2> we are all here");
}

/// Connects [`GUESTS`] clients to a server limited to [`DESCRIPTOR_LIMIT`] descriptors, and
/// waits until it is at rest: some are inside and have read their welcome, the others wait.
#[track_caller]
fn more_than_can_come_in(server: &mut Server) -> (Vec<Peer>, Vec<Peer>) {
    let guests: Vec<Peer> = (0..GUESTS)
        .map(|_| Peer::connect_from("127.0.0.2", server.address))
        .collect();
    expect_warning(server);
    server.expect_no_cpu_time();
    assert!(!server.stderr().has_more(), "a second warning");

    let (mut inside, waiting): (Vec<Peer>, Vec<Peer>) =
        guests.into_iter().partition(|guest| guest.has_more());
    assert!(waiting.len() >= GUESTS - DESCRIPTOR_LIMIT);
    for guest in &mut inside {
        guest.expect_line(WELCOME);
    }
    (inside, waiting)
}

#[track_caller]
fn expect_warning(server: &mut Server) {
    let warning = server.stderr().next_line().expect("a warning");
    assert!(warning.contains("Too many open files"), "{warning}");
}

/// A server limited to [`DESCRIPTOR_LIMIT`] descriptors from the start. `which` tells `ulimit`
/// to set the soft limit (`-Sn`) or the hard one, too (`-n`).
pub(crate) fn start_with_limit(which: &str, options: &[&str]) -> Server {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!(
            r#"ulimit {which} {DESCRIPTOR_LIMIT} && exec "$0" "$@""#
        ))
        .args([
            CHAT,
            "server",
            "127.0.0.1",
            "0",
            "--no-presence",
            "--history=0",
        ])
        .args(options);
    let mut limited = piped(shell);
    limited.stdin(Stdio::null());
    Server::spawn(limited)
}
