//! Standard input, output and error in a poll loop, which they must never block.
//!
//! They are not ours alone: a shell, a pager or the next program may hold the
//! same open file description, and would be surprised to find it non-blocking
//! after we have gone. So the mode of what we were given is never changed:
//!
//! - Standard input is asked by poll(2) before each read.
//! - Standard output and error are opened a second time, by their names under
//!   `/proc`. That gives descriptions of our own, which may be non-blocking. Where
//!   this cannot be had, each write is small and asked for by poll(2).
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
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{LocalModes, QueueSelector, isatty, tcflush, tcgetattr};

use crate::platform::job;

/// What a pipe that poll(2) calls writable takes without blocking: `PIPE_BUF`.
const PIPE_BUF_BYTES: usize = 4096;

/// How a source is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The poll tells when it is ready.
    Polled,
    /// It is always ready; the poll will never say so.
    Always,
}

/// Prints `text` to standard output, outside any poll loop. A reader that closes the
/// pipe early (`| head`) has seen enough: that is no error.
///
/// # Errors
///
/// Those of write(2), but for EPIPE.
pub fn print(text: &[u8]) -> io::Result<()> {
    match io::stdout().write_all(text) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Standard input.
#[derive(Debug)]
pub(crate) struct StandardInput {
    fd: BorrowedFd<'static>,
}

impl StandardInput {
    /// The standard input of this process.
    pub(crate) fn new() -> Self {
        Self { fd: stdin() }
    }

    /// Registers it for reading.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2), but for EPERM, which is [`Readiness::Always`].
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<Readiness> {
        register(self.fd, registry, token, Interest::READABLE)
    }

    /// Whether somebody can type there for us: it is a pipe, the terminal of our session,
    /// or one that we show things on as well. Of a terminal that was only inherited, as by a
    /// daemon, somebody else would miss what we read.
    pub(crate) fn is_for_us(&self) -> bool {
        let Ok(stat) = fstat(self.fd) else {
            return false;
        };
        let is_shown_on = || fstat(stdout()).is_ok_and(|shown| shown.st_rdev == stat.st_rdev);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => true,
            _ => isatty(self.fd) && (is_of_our_session(self.fd) || is_shown_on()),
        }
    }

    /// Whether it is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        isatty(self.fd)
    }

    /// Whether it is a terminal at which the foreground belongs to others: to read there
    /// would stop this process (termios(3): SIGTTIN).
    pub(crate) fn is_somebody_elses(&self) -> bool {
        job::has_foreground(self.fd) == Some(false)
    }

    /// Throws away what was typed at the terminal and not read: the shell that
    /// comes next must not take it for a command. Does nothing when standard
    /// input is no terminal, or not ours at the moment.
    pub(crate) fn discard_typed(&self) {
        if job::has_foreground(self.fd) == Some(true) {
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
            Err(Errno::IO) if is_terminal(self.fd) => Ok(0),
            result => Ok(result?),
        }
    }
}

/// Standard output or standard error.
#[derive(Debug)]
pub(crate) struct StandardOutput {
    given: BorrowedFd<'static>,
    way: Way,
    is_terminal: bool,
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
    /// As much as poll(2) vouches for: a pipe takes [`PIPE_BUF_BYTES`] then. For
    /// the terminal of another session, which is all that is left, it vouches for
    /// less; there a write may wait.
    Asking,
}

impl StandardOutput {
    /// The standard output of this process.
    pub(crate) fn stdout() -> Self {
        Self::new(stdout())
    }

    /// The standard error of this process.
    pub(crate) fn stderr() -> Self {
        Self::new(stderr())
    }

    fn new(given: BorrowedFd<'static>) -> Self {
        let kind = fstat(given).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let way = match kind {
            Ok(FileType::RegularFile) => Way::File,
            Ok(FileType::Socket) => Way::Socket,
            _ => match reopen(given) {
                Ok(fd) => Way::Reopened(fd),
                Err(_) => Way::Asking,
            },
        };
        Self {
            given,
            way,
            is_terminal: isatty(given),
        }
    }

    /// Registers it for writing.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2), but for EPERM, which is [`Readiness::Always`].
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<Readiness> {
        register(self.fd(), registry, token, Interest::WRITABLE)
    }

    /// Whether nobody can read any more what is written here: the reader of the
    /// pipe, the terminal or the socket's peer has gone.
    pub(crate) fn is_hung_up(&self) -> bool {
        ready(self.fd(), PollFlags::empty()).is_ok_and(|events| !events.is_empty())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Reopened(fd) => fd.as_fd(),
            Way::Socket | Way::File | Way::Asking => self.given,
        }
    }
}

impl Write for StandardOutput {
    /// Writes what is taken at once; `WouldBlock` when that is nothing, and
    /// `BrokenPipe` when nobody reads it any more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fd = self.fd();
        if self.is_terminal && would_stop_us(fd) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = match &self.way {
            Way::Reopened(_) | Way::File => rustix::io::write(fd, bytes),
            Way::Socket => send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Asking => {
                if ready(fd, PollFlags::OUT)?.is_empty() {
                    Err(Errno::WOULDBLOCK)
                } else {
                    rustix::io::write(fd, &bytes[..bytes.len().min(PIPE_BUF_BYTES)])
                }
            }
        };
        match written {
            // The terminal has gone.
            Err(Errno::IO) if is_terminal(fd) => Err(io::ErrorKind::BrokenPipe.into()),
            result => Ok(result?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what `fd` refers to once more. A terminal that belongs to somebody else,
/// as after su(1), can still be opened as the terminal of our session.
fn reopen(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let by_descriptor = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let opened = open(by_descriptor, flags, Mode::empty());
    match opened {
        Err(_) if is_of_our_session(fd) => Ok(open("/dev/tty", flags, Mode::empty())?),
        opened => Ok(opened?),
    }
}

/// Whether to write to the terminal `fd` would stop this process, as it does in the
/// background after `stty tostop` (termios(3): SIGTTOU).
fn would_stop_us(fd: BorrowedFd<'_>) -> bool {
    tcgetattr(fd).is_ok_and(|mode| mode.local_modes.contains(LocalModes::TOSTOP))
        && job::has_foreground(fd) == Some(false)
}

/// Whether `fd` is the terminal of our session.
fn is_of_our_session(fd: BorrowedFd<'_>) -> bool {
    job::has_foreground(fd).is_some()
}

/// Whether `fd` is a terminal, or was one before it was hung up.
fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
}

/// What poll(2) says of `fd` at once; errors and hang-ups are among it always.
fn ready(fd: BorrowedFd<'_>, wanted: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(&fd, wanted)];
    let at_once = Timespec::default();
    poll(&mut fds, Some(&at_once))?;
    Ok(fds[0].revents())
}

pub(crate) fn register(
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
