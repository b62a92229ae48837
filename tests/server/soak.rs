//! A room for some minutes in which everybody does as they like: at the end no descriptor, no
//! memory and no line is missing.
//!
//! `.ci/long soak`; `CHAT_SOAK_SECONDS` sets the time.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use rustix::process::Signal;

use crate::common::eventually;
use crate::common::peer::Peer;
use crate::common::server::{Server, server_command};

/// Guests at a time, besides the two that stay from beginning to end.
const GUESTS: usize = 300;

/// Unless the environment says otherwise.
const SECONDS: u64 = 180;

/// How often the talker speaks; all others act in between.
const TICK: Duration = Duration::from_millis(2);

/// What guests say that talk all the time.
const FLOOD: &[u8] = &{
    let mut line = [b'~'; 2000];
    line[1999] = b'\n';
    line
};

/// A guest that never waits for the server.
struct Guest {
    stream: TcpStream,
    reads: bool,
    floods: bool,
}

/// Random enough for this (a linear congruential generator).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }
}

impl Guest {
    fn connect(server: &Server, random: &mut Random) -> Self {
        let stream = TcpStream::connect(server.address).expect("a server that listens");
        stream.set_nonblocking(true).expect("a TCP socket");
        Self {
            stream,
            reads: random.below(8) > 0,
            floods: random.below(40) == 0,
        }
    }

    /// Reads what has come, and sometimes says something. False once it has left or was dropped.
    fn act(&mut self, random: &mut Random) -> bool {
        let mut buffer = [0; 64 * 1024];
        if self.reads {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        let text: &[u8] = match random.below(400) {
            0 => b"half a line",
            1 => b"a line\n",
            2 => b"\n/nonsense\n//slash\n",
            3 => b"\x1b[2J\xff\xfe\n",
            4 => &[b'x'; 5000],
            _ if self.floods => FLOOD,
            _ => return true,
        };
        // What the kernel does not take at once is skipped.
        match self.stream.write(text) {
            Ok(taken_bytes) => taken_bytes > 0,
            Err(e) => e.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Leaves, in one way or another.
    fn go(self, random: &mut Random) {
        match random.below(3) {
            0 => sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
                .expect("a TCP socket"),
            1 => drop(self.stream.shutdown(Shutdown::Write)),
            _ => {}
        }
    }
}

#[test]
#[ignore = "takes some minutes"]
fn soak_for_minutes_and_nothing_is_missing() {
    let seconds =
        env::var("CHAT_SOAK_SECONDS").map_or(SECONDS, |seconds| seconds.parse().expect("a number"));
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(seconds);
    let options = ["-q", "--max-backlog", "256K", "--stall-timeout", "3"];
    let mut server = Server::spawn_with_log(server_command("127.0.0.1", &options));
    let mut talker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    let descriptors_before = server.descriptors();
    let mut guests: Vec<Guest> = (0..GUESTS)
        .map(|_| Guest::connect(&server, &mut random))
        .collect();

    let (mut said, mut heard, mut came) = (0_u64, 0_u64, GUESTS);
    let bytes_at_first = server.anonymous_bytes();
    let mut most_bytes = 0;
    while Instant::now() < until {
        talker.say(&format!("number {said}"));
        said += 1;
        for guest in &mut guests {
            if !guest.act(&mut random) || random.below(3000) == 0 {
                let newcomer = Guest::connect(&server, &mut random);
                std::mem::replace(guest, newcomer).go(&mut random);
                came += 1;
            }
        }
        drain(&mut listener, &mut heard);
        while talker.has_more() {
            talker.next_line().expect("a line of somebody else");
        }
        if said.is_multiple_of(500) {
            most_bytes = most_bytes.max(server.anonymous_bytes());
        }
        await_readable(&listener, TICK);
    }

    drop(guests);
    while heard < said {
        count(&listener.next_line().expect("a line"), &mut heard);
    }
    drop(talker);
    eventually("the server to close all other connections", || {
        // The server may still have much to say; a listener that does not read it is dropped.
        drain(&mut listener, &mut heard);
        (server.descriptors() < descriptors_before).then_some(())
    });
    let figures = eventually("an empty backlog", || {
        drain(&mut listener, &mut heard);
        let figures = next_figures(&mut server);
        let nothing = ["clients=1 ", "backlog_bytes=0 ", "paused=0 "];
        nothing
            .iter()
            .all(|pair| figures.contains(pair))
            .then_some(figures)
    });
    eprintln!("{said} lines, {came} guests, at most {most_bytes} bytes; {figures}");
    assert!(most_bytes < 16 << 20, "{most_bytes} bytes");
    let kept_bytes = server.anonymous_bytes().saturating_sub(bytes_at_first);
    assert!(kept_bytes < 4 << 20, "{kept_bytes} bytes are kept");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}

#[track_caller]
fn next_figures(server: &mut Server) -> String {
    server.signal(Signal::USR1);
    loop {
        let line = server.stderr().next_line().expect("a line of figures");
        if line.contains("clients=") {
            return line;
        }
    }
}

/// Reads what has come, and checks that no line of the talker is missing.
fn drain(listener: &mut Peer, heard: &mut u64) {
    while listener.has_more() {
        count(&listener.next_line().expect("a line"), heard);
    }
}

#[track_caller]
fn count(line: &str, heard: &mut u64) {
    if let Some(number) = line.strip_prefix("<127.0.0.2> number ") {
        assert_eq!(number.parse(), Ok(*heard), "one is missing");
        *heard += 1;
    }
}

fn await_readable(peer: &Peer, timeout: Duration) {
    let timeout = Timespec::try_from(timeout).expect("a short duration");
    let mut fds = [PollFd::new(peer.get_ref(), PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).expect("a working poll");
}
