//! What one client sends: freed of telnet, cut into lines, kept within its rate, and
//! tested for being chat at all.
//!
//! Telnet and the first words of other protocols are a matter of the connection: the room
//! only hears lines.

use std::ops::ControlFlow;
use std::time::Instant;

use super::transport::{Received, Stream, Transport};
use crate::protocol::close::CloseReason;
use crate::protocol::line::{Decoded, LineDecoder};
use crate::protocol::sniff::{FirstWords, Verdict};
use crate::protocol::telnet::{self, Telnet, Text};
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
    /// Requests of a telnet, which is to be answered this.
    Telnet(&'a [u8]),
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
    telnet: Telnet,
    decoder: LineDecoder,
    first_words: FirstWords,
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
            telnet: Telnet::new(),
            decoder: LineDecoder::new(max_line_bytes),
            first_words: FirstWords::default(),
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
            let unheard = self.telnet.text(unheard);
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
                    let mut answers = Vec::new();
                    let text = self.telnet.decode(&buffer[..count], &mut answers);
                    if !answers.is_empty() && hear(Heard::Telnet(&answers)).is_break() {
                        return (read_bytes, AfterRead::More);
                    }
                    if let Some(stopped) = self.hear(&text, limits, hear) {
                        return (read_bytes, stopped);
                    }
                }
                Received::WouldBlock => return (read_bytes, AfterRead::WouldBlock),
                Received::End => {
                    // It is told to leave in any case.
                    let _ = self.end(hear);
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

    /// Hands the lines in `text` on. If not all of it may be heard now, the rest is
    /// kept for later, and what is returned ends the reading.
    fn hear(
        &mut self,
        text: &Text<'_>,
        limits: ReadLimits,
        hear: &mut impl FnMut(Heard<'_>) -> ControlFlow<()>,
    ) -> Option<AfterRead> {
        let ReadLimits { rate, now } = limits;
        let mut input = &*text.bytes;
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
            let Some(line) = self.decoder.next_line(&mut input) else {
                let is_chat = self.first_words.may_become_chat(self.decoder.unfinished());
                return (!is_chat && hear(Heard::Foreign).is_break()).then_some(AfterRead::More);
            };
            if let (Some(rate), Some(restraint)) = (rate, &mut self.restraint) {
                restraint.bucket.take(rate, now);
            }
            let is_telnet = text.bytes.len() - input.len() > text.telnet_from;
            if recognise(line, is_telnet, &mut self.first_words, hear).is_break() {
                return Some(AfterRead::More);
            }
        }
    }

    /// Nothing more will come: the unfinished line is one, unless it is torn.
    fn end(&mut self, hear: &mut impl FnMut(Heard<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        if !self.first_words.end_as_chat(self.decoder.unfinished()) {
            return hear(Heard::Foreign);
        }
        let is_telnet = self.telnet.is_there();
        match self.decoder.finish() {
            Some(line) => recognise(line, is_telnet, &mut self.first_words, hear),
            None => ControlFlow::Continue(()),
        }
    }

    /// Whether its unfinished first line begins as another protocol does, since the last
    /// read: it is to be [looked at](Self::is_still_suspect) in some seconds.
    pub(crate) fn becomes_suspect(&mut self) -> bool {
        self.first_words.become_suspect(self.decoder.unfinished())
    }

    /// Whether that line has not become chat in the meantime.
    pub(crate) fn is_still_suspect(&mut self) -> bool {
        self.first_words
            .are_still_suspect(self.decoder.unfinished())
    }
}

/// Hands `line` on as what it is.
fn recognise(
    line: Decoded<'_>,
    is_telnet: bool,
    first_words: &mut FirstWords,
    hear: &mut impl FnMut(Heard<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let edited = match line {
        Decoded::Line(text) if is_telnet => telnet::edited(text),
        _ => None,
    };
    let meant = edited.as_deref().map_or(line, Decoded::Line);
    // As it was sent, too: whether a line is chat must not depend on where it was cut.
    if !first_words.may_become_chat(line.bytes()) {
        return hear(Heard::Foreign);
    }
    match first_words.judge(meant) {
        Verdict::Blank => hear(Heard::Line(Decoded::Line(b""))),
        Verdict::Chat => hear(Heard::Line(meant)),
        Verdict::Foreign => hear(Heard::Foreign),
    }
}
