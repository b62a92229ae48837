//! How long ordinary lines take: people say a short line now and then, and a reader notes when
//! each arrives.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::peer::{Peer, WELCOME};

const PEOPLE: usize = 8;

/// How often some of the people speak.
const SAYS_EVERY: Duration = Duration::from_millis(25);

/// How long to wait for lines after the last one was said.
const WAIT: Duration = Duration::from_secs(20);

/// More than twice the longest line that `--max-line` allows.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Begins each of their lines and nobody else's: only they have these addresses.
const MARK: &[u8] = b"<127.9.0.";

/// Short enough for any `--max-line`.
const TEXT: &[u8] = b"o\n";

/// The people and their reader.
pub(crate) struct Probe {
    people: Vec<OwnedFd>,
    witness: OwnedFd,
    buffer: Vec<u8>,
    /// Bytes of an unfinished line at the start of the buffer.
    kept_bytes: usize,
    said_at: Vec<Instant>,
    /// How long each heard line took, for each person in the order said.
    heard: [Vec<Duration>; PEOPLE],
    has_ended: bool,
}

/// How long each of some lines took to be heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delays {
    /// Sorted.
    times: Vec<Duration>,
    /// Lines never heard; each counts as the time it was waited for.
    pub(crate) unheard: usize,
}

impl Delays {
    pub(crate) fn new(mut times: Vec<Duration>, unheard: usize) -> Self {
        times.sort_unstable();
        Self { times, unheard }
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn median(&self) -> Duration {
        self.times[self.times.len() / 2]
    }

    pub(crate) fn p99(&self) -> Duration {
        self.times[self.times.len() * 99 / 100]
    }

    pub(crate) fn longest(&self) -> Duration {
        self.times[self.times.len() - 1]
    }
}

impl Probe {
    /// All of them join.
    #[track_caller]
    pub(crate) fn join(server: SocketAddr) -> Self {
        let join = |ip: &str| {
            let mut peer = Peer::connect_from(ip, server);
            peer.expect_line(WELCOME);
            OwnedFd::from(into_nonblocking(peer))
        };
        let people = (1..=PEOPLE).map(|nth| join(&format!("127.9.0.{nth}")));
        let people: Vec<OwnedFd> = people.collect();
        Self {
            witness: join("127.8.0.1"),
            people,
            buffer: vec![0; READ_BYTES],
            kept_bytes: 0,
            said_at: Vec::new(),
            heard: Default::default(),
            has_ended: false,
        }
    }

    /// They talk for `span`; waits for the last lines.
    #[track_caller]
    pub(crate) fn run(mut self, span: Duration) -> Delays {
        let end = Instant::now() + span;
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end || self.has_ended {
                break;
            }
            if next <= now {
                self.say();
                next = now.max(next + SAYS_EVERY);
            }
            self.listen(next.saturating_duration_since(now));
        }
        let patience = Instant::now() + WAIT;
        while self.heard_lines() < self.said_at.len()
            && !self.has_ended
            && Instant::now() < patience
        {
            self.listen(SAYS_EVERY);
        }
        let unheard = self.said_at.len() - self.heard_lines();
        let time = |(number, at): (usize, &Instant)| {
            let heard_after = self.heard[number % PEOPLE].get(number / PEOPLE);
            heard_after
                .copied()
                .unwrap_or_else(|| WAIT.max(at.elapsed()))
        };
        Delays::new(self.said_at.iter().enumerate().map(time).collect(), unheard)
    }

    fn heard_lines(&self) -> usize {
        self.heard.iter().map(Vec::len).sum()
    }

    fn say(&mut self) {
        let number = self.said_at.len();
        let person = &self.people[number % PEOPLE];
        self.said_at.push(Instant::now());
        // What a disconnected person says stays unheard.
        let _ = send(person, TEXT, SendFlags::NOSIGNAL);
    }

    fn listen(&mut self, timeout: Duration) {
        let timeout = Timespec::try_from(timeout).expect("a short duration");
        let ready: Vec<bool> = {
            let all = std::iter::once(&self.witness).chain(&self.people);
            let mut fds: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) => {}
                Err(Errno::INTR) => return,
                Err(error) => panic!("{error}"),
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        if ready[0] {
            self.hear();
        }
        for (person, _) in self
            .people
            .iter()
            .zip(&ready[1..])
            .filter(|(_, ready)| **ready)
        {
            // Discarded within the kernel (tcp(7)).
            let _ = recv(
                person,
                &mut self.buffer[self.kept_bytes..],
                RecvFlags::TRUNC,
            );
        }
    }

    fn hear(&mut self) {
        let room = &mut self.buffer[self.kept_bytes..];
        let end = match recv(&self.witness, room, RecvFlags::empty()) {
            Ok((_, 0)) => {
                self.has_ended = true;
                return;
            }
            Ok((_, bytes)) => self.kept_bytes + bytes,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => {
                self.has_ended = true;
                return;
            }
        };
        let now = Instant::now();
        let lines_end = memchr::memrchr(b'\n', &self.buffer[..end]).map_or(0, |lf| lf + 1);
        let lines = &self.buffer[..lines_end];
        for at in memchr::memmem::find_iter(lines, MARK) {
            if at > 0 && lines[at - 1] != b'\n' {
                continue;
            }
            let line = &lines[at..at + memchr::memchr(b'\n', &lines[at..]).expect("whole lines")];
            let person = std::str::from_utf8(&line[MARK.len()..])
                .ok()
                .and_then(|line| line.strip_suffix("> o")?.parse::<usize>().ok());
            let person = person.expect("a line of one of the people") - 1;
            let number = self.heard[person].len() * PEOPLE + person;
            self.heard[person].push(now - self.said_at[number]);
        }
        self.buffer.copy_within(lines_end..end, 0);
        self.kept_bytes = end - lines_end;
        assert!(self.kept_bytes < READ_BYTES / 2, "a line without end");
    }
}

fn into_nonblocking(peer: Peer) -> TcpStream {
    let stream = peer.into_stream();
    stream.set_nonblocking(true).expect("a TCP socket");
    stream
}
