//! Reads the operator's lines in the event loop: from standard input, which is a terminal or a
//! pipe, or from a FIFO in the file system.
//!
//! A program at the other end of the pipe must not flood the room: this reads lines at a
//! bounded rate and leaves the rest in the pipe.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use log::warn;
use mio::{Interest, Registry, Token};
use rustix::fs::OFlags;

use crate::error::plain;
use crate::platform::socket::retry_interrupted;
use crate::platform::stdio::{StandardInput, register};
use crate::protocol::line::{Decoded, LineDecoder};
use crate::rate::{Bucket, Rate};

/// More than anybody types or pastes.
pub(crate) const RATE: Rate = Rate::new(20, 200);

const READ_BYTES: usize = 4096;

#[derive(Debug)]
pub(crate) struct OperatorInput {
    input: Input,
    decoder: LineDecoder,
    bucket: Bucket,
    /// There may be something to read.
    is_ready: bool,
    has_ended: bool,
    /// [`Typed::End`] has been returned, or is not needed.
    is_end_reported: bool,
    /// The input not yet decoded begins at `taken_bytes`.
    buffer: Vec<u8>,
    taken_bytes: usize,
    /// When the rate limit allows the next line, if there may be one in `buffer`.
    waits_until: Option<Instant>,
}

#[derive(Debug)]
enum Input {
    Standard(StandardInput),
    /// Open for writing too: it has no end while we hold it, though every writer goes.
    Fifo(File),
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Standard(input) => input.read(buffer),
            Self::Fifo(fifo) => fifo.read(buffer),
        }
    }
}

/// The operator's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Without its LF.
    Line(Vec<u8>),
    TooLong,
    /// End of file at a terminal. That of a pipe surprises nobody.
    End,
}

impl OperatorInput {
    /// Standard input, registered as `token`. `None` if nobody can type there.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2).
    pub(crate) fn open(
        registry: &Registry,
        token: Token,
        max_line_bytes: u32,
    ) -> io::Result<Option<Self>> {
        let input = StandardInput::new();
        if !input.is_for_us() {
            return Ok(None);
        }
        input.register(registry, token)?;
        let is_end_reported = !input.is_terminal();
        let input = Input::Standard(input);
        Ok(Some(Self::new(input, is_end_reported, max_line_bytes)))
    }

    /// The FIFO from [`open_fifo`], registered as `token`.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2).
    pub(crate) fn fifo(
        fifo: File,
        registry: &Registry,
        token: Token,
        max_line_bytes: u32,
    ) -> io::Result<Self> {
        register(fifo.as_fd(), registry, token, Interest::READABLE)?;
        Ok(Self::new(Input::Fifo(fifo), true, max_line_bytes))
    }

    fn new(input: Input, is_end_reported: bool, max_line_bytes: u32) -> Self {
        Self {
            input,
            decoder: LineDecoder::new(max_line_bytes),
            bucket: Bucket::default(),
            is_ready: false,
            has_ended: false,
            is_end_reported,
            buffer: Vec::new(),
            taken_bytes: 0,
            waits_until: None,
        }
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(&self.input, Input::Standard(input) if input.is_terminal())
    }

    /// In the background of a terminal.
    fn is_somebody_elses(&self) -> bool {
        matches!(&self.input, Input::Standard(input) if input.is_somebody_elses())
    }

    /// The poll has reported that there is something to read.
    pub(crate) fn mark_ready(&mut self) {
        self.is_ready = true;
    }

    /// When the rate limit allows another call of [`OperatorInput::next_line`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waits_until
    }

    /// The next input, if there is any at `now`. Call it until it returns `None`.
    pub(crate) fn next_line(&mut self, now: Instant) -> Option<Typed> {
        self.waits_until = None;
        loop {
            if self.taken_bytes < self.buffer.len() {
                self.waits_until = self.bucket.ready_at(RATE, now);
                if self.waits_until.is_some() {
                    return None;
                }
            }
            let mut rest = &self.buffer[self.taken_bytes..];
            let line = self.decoder.next_line(&mut rest).map(typed);
            self.taken_bytes = self.buffer.len() - rest.len();
            if line.is_some() {
                self.bucket.take(RATE, now);
                return line;
            }
            if !self.read() {
                let is_news = self.has_ended && !std::mem::replace(&mut self.is_end_reported, true);
                return is_news.then_some(Typed::End);
            }
            if self.has_ended
                && let Some(unfinished) = self.decoder.finish().map(typed)
            {
                return Some(unfinished);
            }
        }
    }

    /// Reads into the buffer. Returns whether there is input, or the end of it.
    fn read(&mut self) -> bool {
        // In the background, wait: the next line typed in the foreground is a new event.
        if !self.is_ready || self.has_ended || self.is_somebody_elses() {
            self.is_ready = false;
            return false;
        }
        self.taken_bytes = 0;
        self.buffer.resize(READ_BYTES, 0);
        let read = retry_interrupted(|| self.input.read(&mut self.buffer));
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.has_ended = true,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.is_ready = false;
                self.buffer = Vec::new();
            }
            Err(e) => {
                warn!(
                    "cannot read the operator's input ({}); continuing without an operator",
                    plain(&e)
                );
                self.has_ended = true;
            }
        }
        self.is_ready
    }
}

/// Opens the FIFO at `path` for an operator, without waiting for a writer.
///
/// # Errors
///
/// Those of open(2), or that there is something else.
pub(crate) fn open_fifo(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let fifo = OpenOptions::new()
        .read(true)
        .write(true)
        // The flags fit an i32. The standard library adds O_CLOEXEC.
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    if fifo.metadata()?.file_type().is_fifo() {
        Ok(fifo)
    } else {
        Err(io::Error::other("not a FIFO"))
    }
}

fn typed(decoded: Decoded<'_>) -> Typed {
    match decoded {
        Decoded::Line(line) => Typed::Line(line.to_vec()),
        Decoded::TooLong(_) => Typed::TooLong,
    }
}
