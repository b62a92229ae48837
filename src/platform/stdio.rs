//! Standard input, output and error in an event loop, without ever blocking it.
//!
//! The open file descriptions are not ours alone: a shell, a pager or the next program may
//! share them, and does not expect to find them non-blocking after we exit. So this module
//! never changes the mode of an inherited description:
//!
//! - It calls poll(2) before each read from standard input.
//! - It opens standard output and error again by their paths under `/proc`, and on other systems
//!   than Linux, where such a path leads to the same description, terminals by their names. These
//!   descriptions are our own and may be non-blocking. Where that fails, it calls poll(2)
//!   before each write and writes little at a time.
//!
//! Regular files are always ready: registering one returns `Readiness::Always`. epoll refuses
//! them (EPERM); kqueue takes them, and says nothing at their end.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    LocalModes, QueueSelector, isatty, tcflush, tcgetattr, tcgetwinsize, ttyname,
};

use crate::platform::job;
use crate::platform::socket::retry_interrupted;
use crate::platform::system::IS_LINUX;

/// `PIPE_BUF`: a pipe that poll(2) reports as writable takes this much without blocking. The
/// least that POSIX allows is 512.
const PIPE_BUF_BYTES: usize = if IS_LINUX { 4096 } else { 512 };

/// How to learn that a source is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// By events from the poll.
    Polled,
    /// It is always ready; there are no events.
    Always,
}

/// Prints `text` to standard output, outside any event loop. A reader that closes the pipe
/// early (`| head`) has seen enough: that is no error.
///
/// # Errors
///
/// Those of write(2) except EPIPE.
pub fn print(text: &[u8]) -> io::Result<()> {
    match io::stdout().write_all(text) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[derive(Debug)]
pub(crate) struct StandardInput {
    fd: BorrowedFd<'static>,
}

impl StandardInput {
    pub(crate) fn new() -> Self {
        Self { fd: stdin() }
    }

    /// Registers it for reading.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2) except EPERM, which is [`Readiness::Always`].
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<Readiness> {
        register(self.fd, registry, token, Interest::READABLE)
    }

    /// Whether its input is meant for us: it is a pipe, the terminal of our session, or the
    /// terminal that is also our standard output. A daemon that only inherited a terminal
    /// must not steal the input of whoever uses that.
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

    pub(crate) fn is_terminal(&self) -> bool {
        isatty(self.fd)
    }

    /// Whether it is a terminal and this process is in its background: a read would stop the
    /// process (termios(3): SIGTTIN).
    pub(crate) fn is_somebody_elses(&self) -> bool {
        job::has_foreground(self.fd) == Some(false)
    }

    /// Discards unread input from the terminal, which the shell would take for a command
    /// after we exit. Does nothing if standard input is not a terminal, or this process is
    /// in the background.
    pub(crate) fn discard_typed(&self) {
        if job::has_foreground(self.fd) == Some(true) {
            // Best effort.
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
    /// Reads what is available. `WouldBlock` if nothing is.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if ready(self.fd, PollFlags::IN)?.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match rustix::io::read(self.fd, buffer) {
            // A terminal that has hung up: end of file.
            Err(Errno::IO) if is_terminal(self.fd) => Ok(0),
            result => Ok(result?),
        }
    }
}

/// Standard output or standard error.
#[derive(Debug)]
pub(crate) struct StandardOutput {
    inherited: BorrowedFd<'static>,
    method: Method,
    is_terminal: bool,
}

/// How to write without blocking.
#[derive(Debug)]
enum Method {
    /// Write to a non-blocking description of our own.
    Reopened(OwnedFd),
    /// Send to a socket with `MSG_DONTWAIT`.
    Socket,
    /// Write to a regular file, which does not block.
    File,
    /// Write at most [`PIPE_BUF_BYTES`] after poll(2) reports readiness. That suffices for a
    /// pipe. The only other case is the terminal of another session, where a write may
    /// still block.
    PollFirst,
}

impl StandardOutput {
    pub(crate) fn stdout() -> Self {
        Self::new(stdout())
    }

    pub(crate) fn stderr() -> Self {
        Self::new(stderr())
    }

    fn new(inherited: BorrowedFd<'static>) -> Self {
        let kind = fstat(inherited).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let method = match kind {
            Ok(FileType::RegularFile) => Method::File,
            Ok(FileType::Socket) => Method::Socket,
            _ => match reopen(inherited) {
                Ok(fd) => Method::Reopened(fd),
                Err(_) => Method::PollFirst,
            },
        };
        Self {
            inherited,
            method,
            is_terminal: isatty(inherited),
        }
    }

    /// Registers it for writing.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2) except EPERM, which is [`Readiness::Always`].
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<Readiness> {
        register(self.fd(), registry, token, Interest::WRITABLE)
    }

    /// Whether the reader is gone: the pipe's read end, the terminal, or the socket's peer.
    pub(crate) fn is_hung_up(&self) -> bool {
        ready(self.fd(), PollFlags::empty()).is_ok_and(|events| !events.is_empty())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.method {
            Method::Reopened(fd) => fd.as_fd(),
            Method::Socket | Method::File | Method::PollFirst => self.inherited,
        }
    }
}

impl Write for StandardOutput {
    /// Writes what fits at once. `WouldBlock` if that is nothing, `BrokenPipe` if the reader
    /// is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fd = self.fd();
        if self.is_terminal && would_stop_us(fd) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = match &self.method {
            Method::Reopened(_) | Method::File => rustix::io::write(fd, bytes),
            // Not every system has MSG_NOSIGNAL; std ignores SIGPIPE.
            Method::Socket => send(fd, bytes, SendFlags::DONTWAIT),
            Method::PollFirst => {
                if ready(fd, PollFlags::OUT)?.is_empty() {
                    Err(Errno::WOULDBLOCK)
                } else {
                    rustix::io::write(fd, &bytes[..bytes.len().min(PIPE_BUF_BYTES)])
                }
            }
        };
        match written {
            // A terminal that has hung up.
            Err(Errno::IO) if is_terminal(fd) => Err(io::ErrorKind::BrokenPipe.into()),
            result => Ok(result?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output, and what it has not taken yet.
#[derive(Debug)]
pub(crate) struct BufferedOutput {
    output: StandardOutput,
    bytes: Vec<u8>,
    /// How many of them are written.
    written_bytes: usize,
}

impl BufferedOutput {
    /// What is kept of the buffer once everything is written.
    const IDLE_BYTES: usize = 4096;

    pub(crate) fn new(output: StandardOutput) -> Self {
        Self {
            output,
            bytes: Vec::new(),
            written_bytes: 0,
        }
    }

    pub(crate) fn output(&self) -> &StandardOutput {
        &self.output
    }

    /// For more bytes, to be written after those that wait.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.len() - self.written_bytes
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(Self::IDLE_BYTES);
        self.written_bytes = 0;
    }

    /// Writes until nothing waits, or no more is taken. Returns whether nothing waits.
    ///
    /// # Errors
    ///
    /// Those of write(2).
    pub(crate) fn write_waiting(&mut self) -> io::Result<bool> {
        while self.waiting_bytes() > 0 {
            let rest = &self.bytes[self.written_bytes..];
            match retry_interrupted(|| self.output.write(rest)) {
                Ok(count) => self.written_bytes += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        self.clear();
        Ok(true)
    }
}

/// Opens the file of `fd` again. A terminal of another user, as after su(1), can still be
/// opened as the terminal of our session.
fn reopen(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = if IS_LINUX {
        let by_descriptor = format!("/proc/self/fd/{}", fd.as_raw_fd());
        open(by_descriptor, flags, Mode::empty())
    } else {
        ttyname(fd, Vec::new()).and_then(|name| open(name, flags, Mode::empty()))
    };
    match opened {
        Err(_) if is_of_our_session(fd) => Ok(open("/dev/tty", flags, Mode::empty())?),
        opened => Ok(opened?),
    }
}

/// Whether a write to the terminal `fd` would stop this process: it is in the background,
/// and `stty tostop` is set (termios(3): SIGTTOU).
pub(crate) fn would_stop_us(fd: BorrowedFd<'_>) -> bool {
    tcgetattr(fd).is_ok_and(|mode| mode.local_modes.contains(LocalModes::TOSTOP))
        && job::has_foreground(fd) == Some(false)
}

fn is_of_our_session(fd: BorrowedFd<'_>) -> bool {
    job::has_foreground(fd).is_some()
}

/// Whether `fd` is a terminal, even one that has hung up: isatty(3) denies that.
fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
}

/// The columns and rows of the terminal at standard output, if it reports them.
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// The result of poll(2) without waiting. Includes errors and hang-ups.
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
    if !IS_LINUX && is_always_ready(fd) {
        return Ok(Readiness::Always);
    }
    match registry.register(&mut SourceFd(&fd.as_raw_fd()), token, interest) {
        Ok(()) => Ok(Readiness::Polled),
        Err(e) if Errno::from_io_error(&e) == Some(Errno::PERM) => Ok(Readiness::Always),
        Err(e) => Err(e),
    }
}

/// Whether there are no events of `fd`, by what it is: a file, a folder, a device such as /dev/null.
fn is_always_ready(fd: BorrowedFd<'_>) -> bool {
    let kind = fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    !matches!(kind, Ok(FileType::Fifo | FileType::Socket)) && !isatty(fd)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    use mio::Poll;

    use super::*;

    #[test]
    fn what_epoll_refuses_is_known_by_its_kind() {
        let (near, _far) = UnixStream::pair().unwrap();
        let (reader, _writer) = io::pipe().unwrap();
        let file = tempfile::tempfile().unwrap();
        let null = File::open("/dev/null").unwrap();
        let poll = Poll::new().unwrap();
        for (fd, is_always) in [
            (near.as_fd(), false),
            (reader.as_fd(), false),
            (file.as_fd(), true),
            (null.as_fd(), true),
        ] {
            let readiness = register(fd, poll.registry(), Token(0), Interest::READABLE).unwrap();
            assert_eq!(readiness == Readiness::Always, is_always);
            assert_eq!(is_always_ready(fd), is_always);
        }
    }
}
