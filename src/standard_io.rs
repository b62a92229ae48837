//! Standard input and output inside a poll loop, which they must never block.
//!
//! They are not ours alone: a shell, a pager or the next program may hold the
//! same open file description, and would be surprised to find it non-blocking
//! after we have gone. So the mode of what we were given is never changed:
//!
//! - Standard input is asked by poll(2) before each read.
//! - Standard output is opened a second time, by its name under `/proc`. That
//!   gives a description of our own, which may be non-blocking. Where this cannot
//!   be had, each write is small and asked for by poll(2).
//!
//! Regular files cannot be polled (epoll answers EPERM) and need not be: they
//! are always ready. [`StandardInput::register`] and its twin say so.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::process::getpgrp;
use rustix::stdio::{stdin, stdout};
use rustix::termios::{QueueSelector, tcflush, tcgetpgrp};

/// What a pipe that poll(2) calls writable takes without blocking: `PIPE_BUF`.
const PIPE_BUF_BYTES: usize = 4096;

/// How a source is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The poll tells when it is ready.
    Polled,
    /// It is always ready; the poll will never say so.
    Always,
}

/// Standard input.
#[derive(Debug)]
pub struct StandardInput {
    fd: BorrowedFd<'static>,
}

impl StandardInput {
    /// The standard input of this process.
    pub fn new() -> Self {
        Self { fd: stdin() }
    }

    /// Registers it for reading.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2), but for EPERM, which is [`Readiness::Always`].
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<Readiness> {
        register(self.fd, registry, token, Interest::READABLE)
    }

    /// Throws away what was typed at the terminal and not read: the shell that
    /// comes next must not take it for a command. Does nothing when standard
    /// input is no terminal, or not ours at the moment.
    pub fn discard_typed(&self) {
        let in_foreground = tcgetpgrp(self.fd).is_ok_and(|group| group == getpgrp());
        if in_foreground {
            // It is a courtesy; nothing is to be done when it fails.
            let _ = tcflush(self.fd, QueueSelector::IFlush);
        }
    }
}

impl Default for StandardInput {
    fn default() -> Self {
        Self::new()
    }
}

impl Read for StandardInput {
    /// Reads what is there; `WouldBlock` when there is nothing.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if ready(self.fd, PollFlags::IN)?.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match rustix::io::read(self.fd, buffer) {
            // The terminal has gone: that is the end of what is typed there.
            Err(Errno::IO) => Ok(0),
            result => Ok(result?),
        }
    }
}

/// Standard output.
#[derive(Debug)]
pub struct StandardOutput {
    way: Way,
}

/// How to write without blocking.
#[derive(Debug)]
enum Way {
    /// To a description of our own.
    Reopened(OwnedFd),
    /// To a socket, where each call can say that it must not block.
    Socket,
    /// To a regular file, which does not block.
    File,
    /// As much as poll(2) vouches for.
    Asking,
}

impl StandardOutput {
    /// The standard output of this process.
    pub fn new() -> Self {
        let kind = fstat(stdout()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let way = match kind {
            Ok(FileType::RegularFile) => Way::File,
            Ok(FileType::Socket) => Way::Socket,
            _ => match reopen(stdout()) {
                Ok(fd) => Way::Reopened(fd),
                Err(_) => Way::Asking,
            },
        };
        Self { way }
    }

    /// Registers it for writing.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2), but for EPERM, which is [`Readiness::Always`].
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<Readiness> {
        register(self.fd(), registry, token, Interest::WRITABLE)
    }

    /// Whether nobody can read any more what is written here: the reader of the
    /// pipe, the terminal or the socket's peer has gone.
    pub fn is_hung_up(&self) -> bool {
        ready(self.fd(), PollFlags::empty()).is_ok_and(|events| !events.is_empty())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Reopened(fd) => fd.as_fd(),
            Way::Socket | Way::File | Way::Asking => stdout(),
        }
    }
}

impl Default for StandardOutput {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for StandardOutput {
    /// Writes what is taken at once; `WouldBlock` when that is nothing, and
    /// `BrokenPipe` when nobody reads it any more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &self.way {
            Way::Reopened(fd) => rustix::io::write(fd, bytes),
            Way::File => rustix::io::write(stdout(), bytes),
            Way::Socket => send(stdout(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Asking => match ready(stdout(), PollFlags::OUT)?.is_empty() {
                true => Err(Errno::WOULDBLOCK),
                false => rustix::io::write(stdout(), &bytes[..bytes.len().min(PIPE_BUF_BYTES)]),
            },
        };
        match written {
            // The terminal has gone.
            Err(Errno::IO) => Err(io::ErrorKind::BrokenPipe.into()),
            result => Ok(result?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reopen(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// What poll(2) says of `fd` at once; errors and hang-ups are among it always.
fn ready(fd: BorrowedFd<'_>, wanted: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(&fd, wanted)];
    let at_once = Timespec::default();
    poll(&mut fds, Some(&at_once))?;
    Ok(fds[0].revents())
}

fn register(
    fd: BorrowedFd<'_>,
    registry: &Registry,
    token: Token,
    interest: Interest,
) -> io::Result<Readiness> {
    match registry.register(&mut SourceFd(&fd.as_raw_fd()), token, interest) {
        Ok(()) => Ok(Readiness::Polled),
        Err(e) if Errno::from_io_error(&e) == Some(Errno::PERM) => Ok(Readiness::Always),
        Err(e) => Err(e),
    }
}
