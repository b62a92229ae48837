//! However many come at once, all get in.

use std::fs;

use rustix::process::Signal;

use crate::common::peer::{Peer, WELCOME};
use crate::common::server::Server;
use crate::common::{alone_under_load, can_test};

/// More than the server accepts at a time before it turns to those inside.
const NEWCOMERS: usize = 600;

#[test]
fn simultaneous_newcomers_are_all_welcomed() {
    let longest_backlog: usize = fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|length| length.trim().parse().ok())
        .expect("a number (listen(2))");
    let lack = format!("only {longest_backlog} connections can wait to be accepted here");
    if !can_test(longest_backlog >= NEWCOMERS, lack) {
        return;
    }
    let _alone = alone_under_load();

    let server = Server::start();
    server.stop();
    let mut newcomers: Vec<Peer> = (0..NEWCOMERS)
        .map(|_| Peer::connect_from("127.0.0.2", server.address))
        .collect();
    server.signal(Signal::CONT);
    for newcomer in &mut newcomers {
        newcomer.expect_line(WELCOME);
    }
}
