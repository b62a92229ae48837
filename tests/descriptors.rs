//! Promise 6: out of descriptors, the server neither spins nor goes deaf.

mod common;

use std::process::{Command, Stdio};

use common::peer::{Peer, WELCOME};
use common::process::{CHAT, piped};
use common::server::Server;

const DESCRIPTOR_LIMIT: usize = 64;
const GUESTS: usize = 80;

#[test]
fn out_of_descriptors_those_inside_chat_on_and_those_outside_wait_for_a_place() {
    let mut server = start_with_limit("-n");
    let guests: Vec<Peer> = (0..GUESTS)
        .map(|_| Peer::connect_from("127.0.0.2", server.address))
        .collect();

    let warning = server.stderr().next_line().expect("a warning");
    assert!(warning.contains("Too many open files"), "{warning}");
    server.expect_no_cpu_time();
    assert!(!server.stderr().has_more(), "one warning is enough");

    let (mut inside, mut waiting): (Vec<Peer>, Vec<Peer>) =
        guests.into_iter().partition(|guest| guest.has_more());
    assert!(waiting.len() >= GUESTS - DESCRIPTOR_LIMIT);
    assert!(inside.len() >= waiting.len(), "so few found a place");
    for guest in &mut inside {
        guest.expect_line(WELCOME);
    }
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
fn the_server_raises_its_own_soft_limit() {
    let server = start_with_limit("-Sn");
    let mut guests: Vec<Peer> = (0..GUESTS).map(|_| server.join("127.0.0.2")).collect();
    guests[0].say("we are all here");
    guests[GUESTS - 1].expect_line("<127.0.0.2> we are all here");
}

/// A server that may have [`DESCRIPTOR_LIMIT`] descriptors open. `ulimit` is told
/// by `which` whether this is the soft limit (`-Sn`) or the hard one too (`-n`).
fn start_with_limit(which: &str) -> Server {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!(
            r#"ulimit {which} {DESCRIPTOR_LIMIT} && exec "$0" "$@""#
        ))
        .args([CHAT, "server", "127.0.0.1", "0"]);
    let mut limited = piped(shell);
    limited.stdin(Stdio::null());
    Server::spawn(limited)
}
