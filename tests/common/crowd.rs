//! Clients in a thread of their own, so that a test can watch somebody else meanwhile: some talk
//! as fast as the server takes it, and all read.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::LOOK_EVERY;
use super::peer::Peer;

/// The length of a [`numbered_line`], LF included.
pub(crate) const LINE_BYTES: usize = 1000;

/// A line number that no flooder reaches during a test.
pub(crate) const NO_END: usize = usize::MAX;

/// The lines that a flooder queues at a time.
const BURST_LINES: usize = 64;

/// Read at a time by a member that reads as fast as it can.
const READ_BYTES: usize = 64 * 1024;

/// A unique line, without its LF.
pub(crate) fn numbered_line(number: usize) -> String {
    const WIDTH: usize = LINE_BYTES - 1;
    format!("{number:-<WIDTH$}")
}

pub(crate) struct Member {
    stream: TcpStream,
    says: Says,
    /// Said, but not yet taken by the kernel.
    unsent: Vec<u8>,
    reads_bytes: usize,
    reads_every: Duration,
    reads_next: Instant,
}

/// What a member says.
enum Says {
    /// A [`numbered_line`] of each of these numbers, as fast as they are taken.
    Lines(Range<usize>),
    /// What `text` returns, `left` more times.
    Texts {
        left: usize,
        every: Duration,
        next: Instant,
        text: Box<dyn FnMut() -> String + Send>,
    },
}

impl Member {
    /// Says nothing, and reads as fast as it can.
    pub(crate) fn reader(peer: Peer) -> Self {
        Self::flooder(peer, 0..0)
    }

    /// Says a [`numbered_line`] of each of these numbers, as fast as the server takes them.
    pub(crate) fn flooder(peer: Peer, numbers: Range<usize>) -> Self {
        Self::new(peer, Says::Lines(numbers))
    }

    /// Says `times` times what `text` returns.
    pub(crate) fn person(
        peer: Peer,
        times: usize,
        every: Duration,
        text: impl FnMut() -> String + Send + 'static,
    ) -> Self {
        let says = Says::Texts {
            left: times,
            every,
            next: Instant::now(),
            text: Box::new(text),
        };
        Self::new(peer, says)
    }

    fn new(peer: Peer, says: Says) -> Self {
        let stream = peer.into_stream();
        stream.set_nonblocking(true).expect("a TCP socket");
        Self {
            stream,
            says,
            unsent: Vec::new(),
            reads_bytes: READ_BYTES,
            reads_every: Duration::ZERO,
            reads_next: Instant::now(),
        }
    }

    /// Reads at most `bytes` each time that `every` has passed.
    pub(crate) fn reading(mut self, bytes: usize, every: Duration) -> Self {
        self.reads_bytes = bytes;
        self.reads_every = every;
        self
    }

    /// What it waits for now.
    fn poll_flags(&self, now: Instant) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.reads_next <= now);
        let has_more = matches!(&self.says, Says::Lines(numbers) if !numbers.is_empty());
        flags.set(PollFlags::OUT, has_more || !self.unsent.is_empty());
        flags
    }

    /// Says what is due.
    fn say(&mut self, now: Instant) {
        match &mut self.says {
            Says::Lines(numbers) if self.unsent.is_empty() => {
                for number in numbers.take(BURST_LINES) {
                    self.unsent.extend(numbered_line(number).into_bytes());
                    self.unsent.push(b'\n');
                }
            }
            Says::Texts {
                left: left @ 1..,
                every,
                next,
                text,
            } if *next <= now => {
                *left -= 1;
                *next += *every;
                self.unsent.extend(text().into_bytes());
                self.unsent.push(b'\n');
            }
            Says::Lines(_) | Says::Texts { .. } => {}
        }
        if self.unsent.is_empty() {
            return;
        }
        match self.stream.write(&self.unsent) {
            Ok(count) => drop(self.unsent.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The next read finds that it is gone.
            Err(_) => self.unsent.clear(),
        }
    }

    /// Reads once if that is due, and returns how much. `None` at the end.
    fn read(&mut self, buffer: &mut [u8], now: Instant) -> Option<usize> {
        if self.reads_next > now {
            return Some(0);
        }
        match self.stream.read(&mut buffer[..self.reads_bytes]) {
            Ok(0) => None,
            Ok(count) => {
                // A read that is late by less than a period is made up for.
                self.reads_next = now.max(self.reads_next + self.reads_every);
                Some(count)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }
}

/// Clients that talk and read by themselves, until this is dropped.
pub(crate) struct Crowd {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    /// How many were disconnected.
    lost: AtomicUsize,
    /// How much each has read.
    read_bytes: Vec<AtomicUsize>,
}

impl Crowd {
    pub(crate) fn start(members: impl IntoIterator<Item = Member>) -> Self {
        let members: Vec<Member> = members.into_iter().collect();
        let shared = Arc::new(Shared {
            read_bytes: members.iter().map(|_| AtomicUsize::new(0)).collect(),
            ..Shared::default()
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || live(members, &shared)
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// How much the member at `index` has read.
    pub(crate) fn read_bytes(&self, index: usize) -> usize {
        self.shared.read_bytes[index].load(Ordering::Relaxed)
    }

    /// How many were disconnected.
    pub(crate) fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only drop takes it");
        let ended = thread.join();
        if !thread::panicking() {
            ended.expect("a crowd that does not panic");
        }
    }
}

fn live(members: Vec<Member>, shared: &Shared) {
    let mut members: Vec<(usize, Member)> = members.into_iter().enumerate().collect();
    let mut buffer = vec![0; READ_BYTES];
    while !shared.is_over.load(Ordering::Relaxed) {
        await_any(&members);
        members.retain_mut(|(index, member)| {
            let now = Instant::now();
            member.say(now);
            let Some(count) = member.read(&mut buffer, now) else {
                shared.lost.fetch_add(1, Ordering::Relaxed);
                return false;
            };
            shared.read_bytes[*index].fetch_add(count, Ordering::Relaxed);
            true
        });
    }
}

/// Waits until a member can go on, or for some milliseconds: poll(2) does not know their clocks.
fn await_any(members: &[(usize, Member)]) {
    let now = Instant::now();
    let timeout = Timespec::try_from(LOOK_EVERY).expect("a short duration");
    let mut fds: Vec<PollFd<'_>> = members
        .iter()
        .map(|(_, member)| PollFd::new(&member.stream, member.poll_flags(now)))
        .collect();
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => panic!("{error}"),
    }
}
