//! Promise 9, nothing while nothing happens: an idle room takes no CPU. And of promise 10, low
//! cost: the memory of an idle connection.

use std::time::Duration;

use chat::platform::proc::raise_descriptor_limit;
use chat::reactor::clients::FLUSH_TIMEOUT;

use crate::common::peer::Peer;
use crate::common::server::Server;
use crate::common::{alone_under_load, can_test};

/// The most descriptors that other tests of this binary have open besides thousands of guests.
pub(crate) const OTHER_DESCRIPTORS: usize = 500;

#[test]
fn an_idle_room_takes_no_cpu() {
    const GUESTS: usize = 300;
    const LONGER_THAN_ANY_TIMEOUT: Duration = FLUSH_TIMEOUT.saturating_add(Duration::from_secs(1));
    let server = Server::start();
    let mut guests: Vec<Peer> = (0..GUESTS).map(|_| server.join("127.0.0.2")).collect();
    guests[0].say("now be quiet");
    for guest in &mut guests[1..] {
        guest.expect_line("<127.0.0.2> now be quiet");
    }
    guests[1].send("an unfinished line keeps nobody busy");
    server.expect_idle_for(LONGER_THAN_ANY_TIMEOUT);
}

#[test]
fn a_server_has_one_thread() {
    let server = Server::start();
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    alice.say("is anybody else here?");
    bob.expect_line("<127.0.0.2> is anybody else here?");
    assert_eq!(server.threads(), 1);
}

#[test]
fn an_idle_connection_takes_160_bytes_at_most() {
    const GUESTS_BEFORE: usize = 500;
    const GUESTS: usize = 4000;
    const GUESTS_PER_ADDRESS: usize = 100;
    /// With assertions, mio notes in each stream where it is registered.
    const NOTED_BY_MIO_BYTES: usize = if cfg!(debug_assertions) { 16 } else { 0 };
    const MOST_BYTES_EACH: usize = 160 + NOTED_BY_MIO_BYTES;
    if !may_open(GUESTS_BEFORE + GUESTS + OTHER_DESCRIPTORS) {
        return;
    }

    let _alone = alone_under_load();
    let server = Server::sociable(&["--history=0"]);
    let _guests_before = join_many(&server, GUESTS_BEFORE, GUESTS_PER_ADDRESS);
    let before = server.anonymous_bytes();
    let _guests = join_many(&server, GUESTS, GUESTS_PER_ADDRESS);
    let after = server.anonymous_bytes();

    let bytes_each = after.saturating_sub(before).div_ceil(GUESTS);
    println!("{bytes_each} bytes of user memory for each connection");
    assert!(bytes_each <= MOST_BYTES_EACH, "{bytes_each} bytes");
}

fn join_many(server: &Server, guests: usize, guests_per_address: usize) -> Vec<Peer> {
    (0..guests)
        .map(|guest| server.join(&format!("127.0.1.{}", 1 + guest / guests_per_address)))
        .collect()
}

/// Lets this process, and the server it starts, open this many descriptors, if permitted.
pub(crate) fn may_open(descriptors: usize) -> bool {
    let most = raise_descriptor_limit().expect("a soft limit may be raised to the hard one");
    let lack = format!("{most} descriptors are too few, this takes {descriptors}");
    can_test(most >= descriptors, lack)
}
