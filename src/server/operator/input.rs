//! The operator's lines, from standard input: a terminal or a pipe, read in the same
//! loop as everything else.
//!
//! What a program pours into the pipe must not flood the room: lines are taken at a
//! bounded rate, and the rest waits in the pipe.

use std::io::{self, Read};
use std::time::Instant;

use log::warn;
use mio::{Registry, Token};

use crate::error::plain;
use crate::platform::socket::retry_interrupted;
use crate::platform::stdio::StandardInput;
use crate::protocol::line::{Decoded, LineDecoder};
use crate::rate::{Bucket, Rate};

/// Lines taken in a second, and at once: more than anybody types or pastes.
const LINES_PER_SECOND: u32 = 20;
const BURST_LINES: u32 = 200;

/// Read at once.
const READ_BYTES: usize = 4096;

/// The operator's side of the console.
#[derive(Debug)]
pub(crate) struct OperatorInput {
    input: StandardInput,
    decoder: LineDecoder,
    rate: Rate,
    bucket: Bucket,
    /// There may be something to be read.
    is_ready: bool,
    has_ended: bool,
    /// The end has been told, or need not be.
    is_end_told: bool,
    /// What was read and not taken yet is that from `taken_bytes` on.
    buffer: Vec<u8>,
    taken_bytes: usize,
    /// When the next line may be taken, if one waits.
    waits_until: Option<Instant>,
}

/// What the operator has typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// A line, without its LF.
    Line(Vec<u8>),
    /// One that is too long.
    TooLong,
    /// Nothing more will come, where a person would be surprised by that.
    End,
}

impl OperatorInput {
    /// Standard input, registered as `token`, if somebody can type there.
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
        let is_end_told = !input.is_terminal();
        Ok(Some(Self {
            input,
            decoder: LineDecoder::new(max_line_bytes),
            rate: Rate::new(LINES_PER_SECOND, BURST_LINES),
            bucket: Bucket::default(),
            is_ready: false,
            has_ended: false,
            is_end_told,
            buffer: Vec::new(),
            taken_bytes: 0,
            waits_until: None,
        }))
    }

    /// Something can be read.
    pub(crate) fn mark_ready(&mut self) {
        self.is_ready = true;
    }

    /// When [`OperatorInput::next_line`] has a line though nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waits_until
    }

    /// The next line, if there is one now. To be called until there is none.
    pub(crate) fn next_line(&mut self, now: Instant) -> Option<Typed> {
        self.waits_until = None;
        loop {
            if self.taken_bytes < self.buffer.len() {
                self.waits_until = self.bucket.ready_at(self.rate, now);
                if self.waits_until.is_some() {
                    return None;
                }
            }
            let mut rest = &self.buffer[self.taken_bytes..];
            let line = self.decoder.next_line(&mut rest).map(typed);
            self.taken_bytes = self.buffer.len() - rest.len();
            if line.is_some() {
                self.bucket.take(self.rate, now);
                return line;
            }
            if !self.read() {
                let is_news = self.has_ended && !std::mem::replace(&mut self.is_end_told, true);
                return is_news.then_some(Typed::End);
            }
            if self.has_ended
                && let Some(unfinished) = self.decoder.finish().map(typed)
            {
                return Some(unfinished);
            }
        }
    }

    /// Whether there is more, or the end.
    fn read(&mut self) -> bool {
        // When it is ours again, the next line typed will tell.
        if !self.is_ready || self.has_ended || self.input.is_somebody_elses() {
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
                    "cannot read standard input ({}); the room goes on",
                    plain(&e)
                );
                self.has_ended = true;
            }
        }
        self.is_ready
    }
}

fn typed(decoded: Decoded<'_>) -> Typed {
    match decoded {
        Decoded::Line(line) => Typed::Line(line.to_vec()),
        Decoded::TooLong(_) => Typed::TooLong,
    }
}
