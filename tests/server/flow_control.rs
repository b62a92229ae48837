//! Promise 3, a stalled reader cannot freeze the room: it costs the others nothing and is
//! dropped. Promises 2 and 4, nothing lost and backpressure for flooders: the room waits for a
//! slow reader. Promise 5: memory is bounded meanwhile.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use chat::rate::{LOG_BURST, LOG_INTERVAL};
use chat::reactor::flow::{GRACE, LOOK_INTERVAL};
use rustix::process::Signal;

use crate::common::crowd::{Crowd, LINE_BYTES, Member, NO_END, numbered_line};
use crate::common::flood::KEEPS_ALL;
use crate::common::peer::{Peer, SMALL_BUFFER_BYTES};
use crate::common::process::anonymous_bytes;
use crate::common::server::Server;
use crate::common::{LOOK_EVERY, alone_under_load, eventually};

const STUCK: &str = "dropped 127.0.0.9: did not read";

#[test]
fn fifty_stuck_clients_cost_the_others_nothing() {
    /// Some backlogs, but not one for each stalled client.
    const ALLOWED_GROWTH_BYTES: usize = 4 << 20;
    let (grown_bytes, _) = flood_beside_fifty_stuck(anonymous_bytes);
    println!("the server grew by {grown_bytes} bytes");
    assert!(grown_bytes <= ALLOWED_GROWTH_BYTES, "{grown_bytes}");
}

#[test]
#[ignore = "measures time, and what the kernel has for all programs: run it alone"]
fn fifty_stuck_clients_cost_the_kernel_little_and_the_others_no_time() {
    const ALLOWED_GROWTH_BYTES: usize = 30 << 20;
    /// The grace that stalled clients have, and the time to drop them.
    const LONGEST_PAUSE: Duration = Duration::from_secs(3);
    let (grown_bytes, pause) = flood_beside_fifty_stuck(|_| kernel_tcp_bytes());
    println!("the kernel's TCP memory grew by {grown_bytes} bytes");
    println!("the longest pause was {pause:?}");
    assert!(grown_bytes <= ALLOWED_GROWTH_BYTES, "{grown_bytes}");
    assert!(pause < LONGEST_PAUSE, "{pause:?}");
}

/// A flood of 20 MB, of which a reader gets every line in order. Returns the most by which
/// `memory_bytes` of the server grew, and the reader's longest wait.
#[track_caller]
fn flood_beside_fifty_stuck(memory_bytes: fn(pid: u32) -> usize) -> (usize, Duration) {
    const LINES: usize = 20_000;
    const STUCK_CLIENTS: usize = 50;
    let _alone = alone_under_load();
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let said = talker.said("");
    let mut reader = server.join("127.0.0.3");
    let descriptors = server.descriptors();
    let _stuck = join_stuck(&server, STUCK_CLIENTS);
    let pid = server.pid();
    let before = memory_bytes(pid);

    let most_bytes = sample(move || memory_bytes(pid));
    let _crowd = Crowd::start([Member::flooder(talker, 0..LINES)]);
    let mut pause = Duration::ZERO;
    for number in 0..LINES {
        let waiting = Instant::now();
        reader.expect_line(&format!("{said}{}", numbered_line(number)));
        pause = pause.max(waiting.elapsed());
    }
    let grown_bytes = most_bytes().saturating_sub(before);
    eventually("the stalled clients to be dropped", || {
        (server.descriptors() == descriptors).then_some(())
    });
    let warnings = end(server);
    assert!(warnings[0].contains(STUCK), "{warnings:?}");
    assert!(warnings.len() <= LOG_BURST as usize, "{warnings:?}");
    (grown_bytes, pause)
}

#[test]
fn a_slow_reader_is_waited_for_and_gets_everything() {
    const LINES: usize = 5000;
    const LINES_AT_A_TIME: usize = 10;
    /// One megabyte per second.
    const READS_EVERY: Duration = Duration::from_millis(10);
    /// What server and kernel hold for one reader, and the slack of a batch.
    const MOST_AHEAD_BYTES: usize = 2 << 20;
    let _alone = alone_under_load();
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let said = talker.said("");
    let witness = server.join("127.0.0.3");
    let mut slow = server.join("127.0.0.4");
    slow.limit_receive_buffer();

    let crowd = Crowd::start([Member::flooder(talker, 0..LINES), Member::reader(witness)]);
    const WITNESS: usize = 1;
    let (mut next, mut ahead_bytes) = (Instant::now(), 0);
    for number in 0..LINES {
        if number % LINES_AT_A_TIME == 0 {
            // Time itself is tested: a slow reader is one that waits.
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next = Instant::now() + READS_EVERY;
        }
        slow.expect_line(&format!("{said}{}", numbered_line(number)));
        let lead_bytes = crowd
            .read_bytes(WITNESS)
            .saturating_sub(number * LINE_BYTES);
        ahead_bytes = ahead_bytes.max(lead_bytes);
    }
    println!("the others were ahead by {ahead_bytes} bytes at most");
    assert!(ahead_bytes < MOST_AHEAD_BYTES, "{ahead_bytes}");
    assert_eq!(crowd.lost(), 0);
    let warnings = end(server);
    assert!(warnings.is_empty(), "{warnings:?}");
}

/// It reads only once it is dropped, and gets whole lines up to that. It has some seconds to do
/// so.
#[test]
fn a_stalled_client_has_a_grace_and_is_told_why_it_is_dropped() {
    let _alone = alone_under_load();
    let mut server = Server::start();
    let talker = server.join("127.0.0.2");
    let said = talker.said("");
    let reader = server.join("127.0.0.3");
    let mut stuck = server.join("127.0.0.9");
    stuck.limit_receive_buffer();

    let began = Instant::now();
    let _crowd = Crowd::start([Member::flooder(talker, 0..NO_END), Member::reader(reader)]);
    let warning = server.stderr().next_line().expect("a warning");
    let graced = began.elapsed();
    assert!(graced >= GRACE - 2 * LOOK_INTERVAL, "{graced:?}");
    assert!(warning.contains(STUCK), "{warning}");
    let mut number = 0;
    let farewell = loop {
        let line = stuck.next_line().expect("a farewell before the end");
        if line.starts_with("-- ") {
            break line;
        }
        assert_eq!(line, format!("{said}{}", numbered_line(number)));
        number += 1;
    };
    assert!(farewell.starts_with("-- goodbye"), "{farewell}");
    stuck.expect_end();
}

/// Whether it counts as slow or as stalled depends on the kernel, which frees a reader's buffer
/// in big steps.
#[test]
fn a_trickling_reader_is_dropped_after_the_stall_timeout() {
    /// Less than the server may queue for the client that trickles.
    const LINES: usize = 20_000;
    const STALL_TIMEOUT: Duration = Duration::from_secs(2);
    let _alone = alone_under_load();
    let mut server = Server::with(&[KEEPS_ALL, &["--stall-timeout", "2"]].concat());
    let talker = server.join("127.0.0.2");
    let reader = server.join("127.0.0.3");
    let trickler = server.join("127.0.0.9");
    trickler.limit_receive_buffer_to(SMALL_BUFFER_BYTES);

    let began = Instant::now();
    let _crowd = Crowd::start([
        Member::flooder(talker, 0..LINES),
        Member::reader(reader),
        Member::reader(trickler).reading(1000, Duration::from_millis(100)),
    ]);
    let warning = server.stderr().next_line().expect("a warning");
    let graced = began.elapsed();
    assert!(graced >= STALL_TIMEOUT / 2, "{graced:?}");
    assert!(warning.contains("dropped 127.0.0.9"), "{warning}");
}

#[test]
fn two_hundred_simultaneous_drops_do_not_fill_the_log() {
    const STUCK_CLIENTS: usize = 200;
    let _alone = alone_under_load();
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let reader = server.join("127.0.0.3");
    let descriptors = server.descriptors();
    let _stuck = join_stuck(&server, STUCK_CLIENTS);

    let began = Instant::now();
    let crowd = Crowd::start([Member::flooder(talker, 0..NO_END), Member::reader(reader)]);
    eventually("the stalled clients to be dropped", || {
        (server.descriptors() == descriptors).then_some(())
    });
    drop(crowd);
    let warnings = end(server);
    let later = began.elapsed().as_secs() / LOG_INTERVAL.as_secs();
    let most = LOG_BURST as usize + usize::try_from(later).expect("a short test");
    assert!(
        (LOG_BURST as usize..=most).contains(&warnings.len()),
        "{warnings:?}"
    );
}

/// Ends the server, and returns its warnings.
#[track_caller]
fn end(mut server: Server) -> Vec<String> {
    server.signal(Signal::TERM);
    let finished = server.finish();
    assert_eq!(finished.code, 0);
    let lines = finished.stderr.lines().map(str::to_owned);
    lines.filter(|line| line.contains("warn: ")).collect()
}

/// Clients from 127.0.0.9 that never read.
fn join_stuck(server: &Server, count: usize) -> Vec<Peer> {
    let join = |_| {
        let stuck = server.join("127.0.0.9");
        stuck.limit_receive_buffer_to(SMALL_BUFFER_BYTES);
        stuck
    };
    (0..count).map(join).collect()
}

/// Measures repeatedly until the returned function is called, which returns the maximum.
pub(super) fn sample(measure: impl Fn() -> usize + Send + 'static) -> impl FnOnce() -> usize {
    let (until, is_over) = mpsc::channel::<()>();
    let sampler = thread::spawn(move || {
        let mut most = 0;
        while is_over.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            most = most.max(measure());
        }
        most
    });
    move || {
        drop(until);
        sampler.join().expect("a program that runs")
    }
}

/// Kernel memory of all TCP connections on this machine, counted in pages (proc_net(5),
/// `sockstat`).
pub(super) fn kernel_tcp_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let sockstat = fs::read_to_string("/proc/net/sockstat").expect("proc_net(5)");
    let pages: usize = sockstat
        .lines()
        .find_map(|line| line.strip_prefix("TCP: ")?.split_once("mem "))
        .and_then(|(_, pages)| pages.trim().parse().ok())
        .expect("a line `TCP: … mem PAGES`");
    pages * PAGE_BYTES
}
