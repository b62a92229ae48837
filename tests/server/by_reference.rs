//! Promise 10, cost: large batches go out by reference, and promise 2, nothing lost: what a
//! reader is owed stays as it was said, whatever is said meanwhile.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::common::crowd::{Crowd, Member};
use crate::common::eventually;
use crate::common::flood::{KEEPS_ALL, LONG_LINE_BYTES, long_line};
use crate::common::process::run_by;
use crate::common::server::{Server, server_command};

const READERS: usize = 10;

/// Some ten megabytes.
const LINES: usize = 2500;

/// Lines that are sent at once.
const BURST: usize = 25;

#[test]
fn a_reader_that_stops_in_the_middle_gets_every_byte_as_it_was_said() {
    let server = Server::with(KEEPS_ALL);
    flood_beside_one_that_stops(&server, |server| {
        let least_bytes = (LINES - 500) * LONG_LINE_BYTES;
        assert!(log_bytes(server) > least_bytes, "it is kept in the file");
    });
    eventually("the memory of the file to be given back", || {
        (log_bytes(&server) == 0).then_some(())
    });
}

#[test]
fn without_a_file_in_memory_everybody_gets_a_copy() {
    // No file may have a byte.
    let limit = ["sh", "-c", r#"ulimit -f 0 && exec "$0" "$@""#];
    let mut command = server_command("127.0.0.1", KEEPS_ALL);
    command.arg("-v");
    let mut server = Server::spawn(run_by(&limit, &command));
    flood_beside_one_that_stops(&server, |server| {
        assert_eq!(log_bytes(server), 0);
    });
    let notice = "each reader is sent a copy of what is said";
    while !server
        .stderr()
        .next_line()
        .expect("a notice")
        .contains(notice)
    {}
}

/// A reader takes the first of some megabytes, which others get at once, and later the rest.
/// `stopped` is called when everything has been said.
#[track_caller]
fn flood_beside_one_that_stops(server: &Server, stopped: impl Fn(&Server)) {
    let mut stopping = server.join("127.0.0.9");
    stopping.limit_receive_buffer();
    let mut witness = server.join("127.0.0.3");
    let talker = server.join("127.0.0.2");
    let readers = (0..READERS).map(|_| Member::reader(server.join("127.0.0.4")));
    let _readers = Crowd::start(readers);
    for start in (0..LINES).step_by(BURST) {
        let burst = start..start + BURST;
        let text: String = burst
            .clone()
            .map(|number| long_line(number) + "\n")
            .collect();
        talker.send(text);
        for number in burst.clone() {
            witness.expect_line(&talker.said(&long_line(number)));
        }
        if start < 4 * BURST {
            for number in burst {
                stopping.expect_line(&talker.said(&long_line(number)));
            }
        }
    }
    stopped(server);
    for number in 4 * BURST..LINES {
        stopping.expect_line(&talker.said(&long_line(number)));
    }
}

/// The memory that the server's file takes.
fn log_bytes(server: &Server) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("proc(5)");
    descriptors
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = fs::read_link(&path).ok()?;
            let is_log = target.to_string_lossy().starts_with("/memfd:chat-log");
            // In units of 512 bytes, whatever the size of a page (stat(2)).
            is_log.then(|| fs::metadata(&path).map_or(0, |file| 512 * file.blocks() as usize))
        })
        .sum()
}
