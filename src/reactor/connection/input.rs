//! What one client sends: cut into lines, kept within its rate, and tested for being
//! chat at all.
//!
//! Telnet's questions and the first words of other protocols are a matter of the
//! connection: the room only hears lines.

use std::ops::ControlFlow;
use std::time::Instant;

use super::transport::{Received, Stream, Transport};
use crate::protocol::close::CloseReason;
use crate::protocol::line::{Decoded, LineDecoder};
use crate::protocol::{sniff, telnet};
use crate::rate::{Bucket, Rate};
use crate::reactor::flow::Talker;

/// The most that is read at once from a client whose rate is bounded: what it may not
/// say yet is kept in memory, and TCP keeps the rest at its end.
const RATED_READ_BYTES: usize = 4 * 1024;

/// Whether a client is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadState {
    /// Not before an event says so.
    Idle,
    /// It may have input, and stands in a list of those to be read.
    Listed,
    /// It has used up its allowance, and waits for readers to catch up.
    Paused,
    /// It has said more than its rate allows, and waits until it may say more.
    Delayed,
    /// It has many answers waiting, and is to take some of them first.
    Answered,
}

/// What a client has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    /// A line.
    Line(Decoded<'a>),
    /// Telnet waits for a timing mark.
    TimingMark,
    /// The first words of another protocol.
    Foreign,
}

/// Where reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterRead {
    /// At the budget, or because the client is to be disconnected: there may be more.
    More,
    WouldBlock,
    /// At what the client may say for now.
    Delayed {
        until: Instant,
    },
    Ended(CloseReason),
}

/// How a client's input is bounded, and what time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    pub(crate) rate: Option<Rate>,
    pub(crate) now: Instant,
}

/// The input of one client. It owns no heap memory while it holds no half line.
#[derive(Debug)]
pub(crate) struct Input {
    decoder: LineDecoder,
    /// It has sent more than blank lines.
    has_spoken: bool,
    state: ReadState,
    talker: Talker,
    /// What bounds it, where that was asked for.
    restraint: Option<Box<Restraint>>,
}

/// What bounds a talker.
#[derive(Debug)]
struct Restraint {
    /// How many lines it may say.
    bucket: Bucket,
    /// What was read of it and may not be said yet.
    unheard: Vec<u8>,
    /// When it last sent something.
    heard_at: Instant,
}

impl Input {
    pub(crate) fn new(max_line_bytes: u32) -> Self {
        Self {
            decoder: LineDecoder::new(max_line_bytes),
            has_spoken: false,
            state: ReadState::Idle,
            talker: Talker::default(),
            restraint: None,
        }
    }

    /// From now on its lines are rated, and it is known when it last sent something.
    pub(crate) fn restrain(&mut self, now: Instant) {
        self.restraint = Some(Box::new(Restraint {
            bucket: Bucket::default(),
            unheard: Vec::new(),
            heard_at: now,
        }));
    }

    pub(crate) fn state(&self) -> ReadState {
        self.state
    }

    pub(crate) fn set_state(&mut self, state: ReadState) {
        self.state = state;
    }

    pub(crate) fn talker(&mut self) -> &mut Talker {
        &mut self.talker
    }

    /// When it last sent something, as far as could be told by `now`: a client that is
    /// not read at present cannot be said to be silent. `None` where nobody asked.
    pub(crate) fn heard_at(&self, now: Instant) -> Option<Instant> {
        let restraint = self.restraint.as_ref()?;
        Some(match self.state {
            ReadState::Idle => restraint.heard_at,
            _ => now,
        })
    }

    /// Reads until `transport` would block or ends, the client has said what it may, or
    /// `buffer` has been filled once; `hear` is handed what was sent. Returns how many
    /// bytes were read, and where it stopped.
    pub(crate) fn read<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        buffer: &mut [u8],
        limits: ReadLimits,
        hear: &mut impl FnMut(Heard<'_>) -> ControlFlow<()>,
    ) -> (usize, AfterRead) {
        let mut read_bytes = 0;
        if let Some(restraint) = &mut self.restraint {
            let unheard = std::mem::take(&mut restraint.unheard);
            if let Some(stopped) = self.hear(&unheard, limits, hear) {
                return (read_bytes, stopped);
            }
        }
        let budget_bytes = match limits.rate {
            Some(_) => buffer.len().min(RATED_READ_BYTES),
            None => buffer.len(),
        };
        while read_bytes < budget_bytes {
            match transport.read(&mut buffer[..budget_bytes - read_bytes]) {
                Received::Bytes(count) => {
                    read_bytes += count;
                    if let Some(stopped) = self.hear(&buffer[..count], limits, hear) {
                        return (read_bytes, stopped);
                    }
                }
                Received::WouldBlock => return (read_bytes, AfterRead::WouldBlock),
                Received::End => {
                    if let Some(line) = self.decoder.finish() {
                        // It is told to leave in any case.
                        let _ = recognise(line, &mut self.has_spoken, hear);
                    }
                    return (read_bytes, AfterRead::Ended(CloseReason::PeerClosed));
                }
                Received::Failed(kind) => {
                    return (read_bytes, AfterRead::Ended(CloseReason::Lost(kind)));
                }
            }
        }
        (read_bytes, AfterRead::More)
    }

    /// Reads and drops what the client still sends though it has left the room.
    pub(crate) fn discard<S: Stream>(
        transport: &mut Transport<S>,
        buffer: &mut [u8],
        limits: ReadLimits,
    ) -> AfterRead {
        let mut budget_bytes = match limits.rate {
            Some(_) => buffer.len().min(RATED_READ_BYTES),
            None => buffer.len(),
        };
        while budget_bytes > 0 {
            match transport.read(&mut buffer[..budget_bytes]) {
                Received::Bytes(count) => budget_bytes -= count,
                Received::WouldBlock => return AfterRead::WouldBlock,
                Received::End => return AfterRead::Ended(CloseReason::PeerClosed),
                Received::Failed(kind) => return AfterRead::Ended(CloseReason::Lost(kind)),
            }
        }
        AfterRead::More
    }

    /// Hands the lines in `input` on. If not all of it may be heard now, the rest is
    /// kept for later, and what is returned ends the reading.
    fn hear(
        &mut self,
        mut input: &[u8],
        limits: ReadLimits,
        hear: &mut impl FnMut(Heard<'_>) -> ControlFlow<()>,
    ) -> Option<AfterRead> {
        let ReadLimits { rate, now } = limits;
        loop {
            if let Some(restraint) = &mut self.restraint
                && !input.is_empty()
            {
                if let Some(until) = rate.and_then(|rate| restraint.bucket.ready_at(rate, now)) {
                    restraint.unheard = input.to_vec();
                    return Some(AfterRead::Delayed { until });
                }
                restraint.heard_at = now;
            }
            let line = self.decoder.next_line(&mut input)?;
            if let (Some(rate), Some(restraint)) = (rate, &mut self.restraint) {
                restraint.bucket.take(rate, now);
            }
            if recognise(line, &mut self.has_spoken, hear).is_break() {
                return Some(AfterRead::More);
            }
        }
    }
}

/// Hands `line` on as what it is.
fn recognise(
    line: Decoded<'_>,
    has_spoken: &mut bool,
    hear: &mut impl FnMut(Heard<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let without_marks;
    let line = match line {
        Decoded::Line(text) if telnet::asks_for_timing_mark(text) => {
            hear(Heard::TimingMark)?;
            without_marks = telnet::without_timing_marks(text);
            Decoded::Line(&without_marks)
        }
        line => line,
    };
    // Blank lines before a request line do not hide it.
    let is_blank = matches!(line, Decoded::Line(text) if text.trim_ascii().is_empty());
    let is_first = !*has_spoken && !is_blank;
    *has_spoken |= is_first;
    if is_first && is_another_protocol(line) {
        return hear(Heard::Foreign);
    }
    hear(Heard::Line(line))
}

/// Whether these are the first words of a browser, say.
fn is_another_protocol(first: Decoded<'_>) -> bool {
    match first {
        Decoded::Line(line) => sniff::is_request_line(line) || sniff::begins_tls_handshake(line),
        Decoded::TooLong(beginning) => {
            sniff::may_begin_request_line(beginning) || sniff::begins_tls_handshake(beginning)
        }
    }
}
