//! Promise 10, cost: large batches go out by reference, and promise 2, nothing lost: what a
//! reader is owed stays as it was said, whatever is said meanwhile. Promise 5: what the stalled
//! hold is shared.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::common::crowd::{Crowd, Member};
use crate::common::flood::{KEEPS_ALL, LONG_LINE_BYTES, long_line};
use crate::common::process::run_by;
use crate::common::server::{Server, server_command};
use crate::common::{can_test, eventually};

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

#[test]
#[ignore = "measures what all programs leave of this machine's memory"]
fn a_thousand_that_never_read_cost_a_few_megabytes() {
    const MOST_BYTES: usize = 32 << 20;
    let server = Server::with(&["--max-per-ip", "2000"]);
    let taken_bytes = talk_beside_stalled(&server, 1000, 600_000);
    println!("1,000 that never read, 600 kB: {taken_bytes} bytes of memory");
    assert!(taken_bytes <= MOST_BYTES, "{taken_bytes}");
}

#[test]
#[ignore = "measures what all programs leave of this machine's memory"]
fn fifty_that_never_read_cost_nothing_in_a_long_flood() {
    const MOST_BYTES: usize = 16 << 20;
    let server = Server::start();
    let taken_bytes = talk_beside_stalled(&server, 50, 20_000_000);
    println!("50 that never read, 20 MB: {taken_bytes} bytes of memory");
    assert!(taken_bytes <= MOST_BYTES, "{taken_bytes}");
}

#[test]
#[ignore = "needs root and control groups"]
fn a_room_with_32_mb_of_memory_goes_on_beside_a_thousand_that_never_read() {
    let group = ControlGroup::with_limit(32 << 20);
    can_test(group.is_some(), "no control group of memory can be made");
    let Some(group) = group else { return };
    let enter = format!(
        "echo $$ >{}/cgroup.procs && exec \"$0\" \"$@\"",
        group.0.display()
    );
    let command = server_command("127.0.0.1", &["--max-per-ip", "2000"]);
    let mut server = Server::spawn(run_by(&["sh", "-c", &enter], &command));
    talk_beside_stalled(&server, 1000, 30_000_000);
    assert!(server.is_running());
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    alice.say("still here?");
    while bob.next_line().expect("a line") != alice.said("still here?") {}
    drop(server);
}

/// Somebody says `bytes`, and a reader gets them all, beside clients that never read. Returns
/// by how much the available memory of the machine fell.
#[track_caller]
fn talk_beside_stalled(server: &Server, stalled: usize, bytes: usize) -> usize {
    let _stalled: Vec<_> = (0..stalled).map(|_| server.join("127.0.0.9")).collect();
    let talker = server.join("127.0.0.2");
    let reader = server.join("127.0.0.3");
    let before = available_bytes();
    let crowd = Crowd::start([Member::reader(reader)]);
    let line = [&[b'x'; 499][..], b"\n"].concat();
    for _ in 0..bytes.div_ceil(100 * line.len()) {
        talker.send(line.repeat(100));
    }
    eventually("the reader to get everything", || {
        (crowd.read_bytes(0) >= bytes).then_some(())
    });
    // Asleep, it has sent the stalled what their sockets take.
    server.await_sleep();
    before.saturating_sub(available_bytes())
}

fn available_bytes() -> usize {
    let text = fs::read_to_string("/proc/meminfo").expect("proc_meminfo(5)");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    kibibytes
        .map(|kibibytes: usize| kibibytes * 1024)
        .expect("MemAvailable")
}

/// A control group that is removed with the last process in it.
struct ControlGroup(PathBuf);

impl ControlGroup {
    fn with_limit(bytes: usize) -> Option<Self> {
        let hierarchies = [
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ];
        hierarchies.into_iter().find_map(|(root, limit)| {
            let path = Path::new(root).join(format!("chat-test-{}", std::process::id()));
            fs::create_dir(&path).ok()?;
            let group = Self(path);
            // Version 1 mounts its hierarchies in an ordinary folder.
            let is_group = group.0.join(limit).exists();
            let is_limited = is_group && fs::write(group.0.join(limit), bytes.to_string()).is_ok();
            is_limited.then_some(group)
        })
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let removed = || fs::remove_dir(&self.0).ok();
        eventually("the control group to be empty", removed);
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
