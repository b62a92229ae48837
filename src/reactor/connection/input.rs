//! What one client sends: freed of telnet, cut into lines, kept within its rate, and
//! tested for being chat at all.
//!
//! Telnet and the first words of other protocols are a matter of the connection: the room
//! only hears lines.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::transport::{Received, Transport};
use crate::protocol::close::CloseReason;
use crate::protocol::line::{Decoded, LineDecoder};
use crate::protocol::sniff::{FirstWords, Verdict};
use crate::protocol::telnet::{self, Telnet, Text};
use crate::protocol::websocket::{Ended, Receiver};
use crate::rate::{Bucket, Rate};
use crate::reactor::flow::Talker;
use crate::reactor::stream::Stream;

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
    /// Many frames of its own wait for it, and it is to take some of them first.
    Owed,
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
    /// At the budget, or where `hear` broke off: there may be more.
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
    /// Whether inputs are [restrained](Input::restrain).
    pub(crate) is_restrained: bool,
    pub(crate) now: Instant,
}

impl ReadLimits {
    /// The most that is read into `buffer`.
    fn budget_bytes(&self, buffer: &[u8]) -> usize {
        match self.rate {
            Some(_) => buffer.len().min(RATED_READ_BYTES),
            None => buffer.len(),
        }
    }
}

/// The input of one client. It owns no heap memory while it holds no half line.
#[derive(Debug)]
pub(crate) struct Input {
    telnet: Telnet,
    decoder: LineDecoder,
    first_words: FirstWords,
    state: ReadState,
    /// What it sends is lines of a program: nothing but LF ends one, and an unfinished one
    /// is never said.
    is_program: bool,
    /// Whether it is [held](Self::is_held) will be looked at.
    pub(crate) is_watched: bool,

    talker: Talker,
    /// What it held when that was last counted.
    counted_bytes: u32,
    /// Where it is needed.
    memory: Option<Box<Memory>>,
}

/// What has to be remembered of some talkers.
#[derive(Debug)]
struct Memory {
    /// How many lines it may say.
    bucket: Bucket,
    /// What was read of it and is still to be heard, without telnet's commands.
    unheard: Vec<u8>,
    /// [`Text::telnet_from`] of that.
    telnet_from: usize,
    /// When it last sent something.
    heard_at: Instant,
}

/// What a client has said lately, and when.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) talker: Talker,
    /// Where lines are rated, or silence ends: how many it may say, and for how long it had
    /// sent nothing.
    restraint: Option<(Bucket, Duration)>,
}

impl Input {
    pub(crate) fn new(max_line_bytes: u32) -> Self {
        Self {
            telnet: Telnet::new(),
            decoder: LineDecoder::new(max_line_bytes),
            first_words: FirstWords::default(),
            state: ReadState::Idle,
            is_program: false,
            is_watched: false,
            talker: Talker::default(),
            counted_bytes: 0,
            memory: None,
        }
    }

    /// From now on its lines are rated, and it is known when it last sent something.
    pub(crate) fn restrain(&mut self, now: Instant) {
        self.memory = Some(Box::new(Memory::new(now)));
    }

    /// How many bytes it holds, of a half line and of what is still to be heard: when this
    /// was last asked, and now. `received_bytes` more are no input yet.
    pub(crate) fn take_held_bytes(&mut self, received_bytes: usize) -> (usize, usize) {
        let unheard = self
            .memory
            .as_ref()
            .map_or(0, |memory| memory.unheard.len());
        let held_bytes = self.decoder.unfinished().len() + unheard + received_bytes;
        let before = self.counted_bytes as usize;
        // Far below 4 GiB: a line, and one read.
        self.counted_bytes = u32::try_from(held_bytes).unwrap_or(u32::MAX);
        (before, self.counted_bytes as usize)
    }

    /// How many bytes it held when that was last asked.
    pub(crate) fn held_bytes(&self) -> usize {
        self.counted_bytes as usize
    }

    /// Forgets what it holds: the client is not heard any more.
    pub(crate) fn forget(&mut self, max_line_bytes: u32) {
        self.decoder = LineDecoder::new(max_line_bytes);
        self.memory = None;
    }

    pub(crate) fn state(&self) -> ReadState {
        self.state
    }

    /// Whether it has to wait before it is read.
    pub(crate) fn is_held(&self) -> bool {
        matches!(
            self.state,
            ReadState::Paused | ReadState::Delayed | ReadState::Owed
        )
    }

    /// Whether what it sends is lines of a program.
    pub(crate) fn is_program(&self) -> bool {
        self.is_program
    }

    /// From now on what it sends is lines of a program.
    pub(crate) fn become_program(&mut self) {
        self.is_program = true;
    }

    pub(crate) fn set_state(&mut self, state: ReadState) {
        self.state = state;
    }

    pub(crate) fn talker(&self) -> &Talker {
        &self.talker
    }

    pub(crate) fn talker_mut(&mut self) -> &mut Talker {
        &mut self.talker
    }

    /// How its client stands: it may come back on another connection.
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let memory = self.memory.as_ref();
        Standing {
            talker: self.talker.clone(),
            restraint: memory.map(|memory| (memory.bucket, now.duration_since(memory.heard_at))),
        }
    }

    /// From now on its client stands so.
    pub(crate) fn restore(&mut self, standing: Standing, now: Instant) {
        self.talker = standing.talker;
        if let (Some(memory), Some((bucket, silence))) = (&mut self.memory, standing.restraint) {
            memory.bucket = bucket;
            // The time without a connection is nobody's silence.
            memory.heard_at = now.checked_sub(silence).unwrap_or(now);
        }
    }

    /// When it last sent something, as far as could be told by `now`: a client that is
    /// not read at present cannot be said to be silent. `None` where nobody asked.
    pub(crate) fn heard_at(&self, now: Instant) -> Option<Instant> {
        let memory = self.memory.as_ref()?;
        Some(match self.state {
            ReadState::Idle => memory.heard_at,
            _ => now,
        })
    }

    /// `text`, which was read, is to be heard with the next read.
    pub(crate) fn hear_later(&mut self, text: Vec<u8>, now: Instant) {
        if !text.is_empty() {
            let memory = self
                .memory
                .get_or_insert_with(|| Box::new(Memory::new(now)));
            memory.unheard = text;
        }
    }

    /// Reads until `transport` would block or ends, the client has said what it may, or
    /// `buffer` has been filled once; `hear` is handed what was sent. What comes in frames
    /// goes through `receiver`. Returns how many bytes were read, and where it stopped.
    pub(crate) fn read<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        mut receiver: Option<&mut Receiver>,
        buffer: &mut [u8],
        limits: ReadLimits,
        hear: &mut impl FnMut(Heard<'_>) -> ControlFlow<()>,
    ) -> (usize, AfterRead) {
        let mut read_bytes = 0;
        if let Some(memory) = &mut self.memory
            && !memory.unheard.is_empty()
        {
            let unheard = Text {
                bytes: std::mem::take(&mut memory.unheard).into(),
                telnet_from: memory.telnet_from,
            };
            let stopped = self.hear(&unheard, limits, hear);
            let is_done = (self.memory.as_ref()).is_none_or(|memory| memory.unheard.is_empty());
            if is_done && !limits.is_restrained {
                self.memory = None;
            }
            if let Some(stopped) = stopped {
                return (read_bytes, stopped);
            }
        }
        let budget_bytes = limits.budget_bytes(buffer);
        while read_bytes < budget_bytes {
            if let Some(ended) = receiver.as_ref().and_then(|receiver| receiver.ended()) {
                let _ = self.end(hear);
                return (read_bytes, AfterRead::Ended(reason_of(ended)));
            }
            let received = transport.read(&mut buffer[..budget_bytes - read_bytes]);
            read_bytes += transport.take_overhead_bytes();
            match received {
                Received::Bytes(count) => {
                    read_bytes += count;
                    let count = match &mut receiver {
                        Some(receiver) => receiver.receive(&mut buffer[..count]),
                        None => count,
                    };
                    let bytes = &buffer[..count];
                    let mut answers = Vec::new();
                    let text = if self.is_program {
                        Text::without_telnet(bytes)
                    } else {
                        self.telnet.decode(bytes, &mut answers)
                    };
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
        let mut budget_bytes = limits.budget_bytes(buffer);
        while budget_bytes > 0 {
            let received = transport.read(&mut buffer[..budget_bytes]);
            budget_bytes = budget_bytes.saturating_sub(transport.take_overhead_bytes());
            match received {
                Received::Bytes(count) => budget_bytes = budget_bytes.saturating_sub(count),
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
        let ReadLimits { rate, now, .. } = limits;
        let mut input = &*text.bytes;
        loop {
            if let Some(memory) = &mut self.memory
                && !input.is_empty()
            {
                if let Some(until) = rate.and_then(|rate| memory.bucket.ready_at(rate, now)) {
                    memory.put_aside(text, input);
                    return Some(AfterRead::Delayed { until });
                }
                memory.heard_at = now;
            }
            let Some(line) = self.decoder.next_line(&mut input) else {
                let is_chat =
                    self.is_program || self.first_words.may_become_chat(self.decoder.unfinished());
                return (!is_chat && hear(Heard::Foreign).is_break()).then_some(AfterRead::More);
            };
            if let (Some(rate), Some(memory)) = (rate, &mut self.memory) {
                memory.bucket.take(rate, now);
            }
            let is_telnet = text.bytes.len() - input.len() > text.telnet_from;
            let heard = if self.is_program {
                hear(Heard::Line(line))
            } else {
                recognise(line, is_telnet, &mut self.first_words, hear)
            };
            if heard.is_break() {
                if !input.is_empty() {
                    let memory = &mut self.memory;
                    let memory = memory.get_or_insert_with(|| Box::new(Memory::new(now)));
                    memory.put_aside(text, input);
                }
                return Some(AfterRead::More);
            }
        }
    }

    /// Nothing more will come: the unfinished line is one, unless it is torn.
    fn end(&mut self, hear: &mut impl FnMut(Heard<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        if self.is_program {
            return ControlFlow::Continue(());
        }
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
        !self.is_program && self.first_words.become_suspect(self.decoder.unfinished())
    }

    /// Whether that line has not become chat in the meantime.
    pub(crate) fn is_still_suspect(&mut self) -> bool {
        self.first_words
            .are_still_suspect(self.decoder.unfinished())
    }
}

impl Memory {
    fn new(now: Instant) -> Self {
        Self {
            bucket: Bucket::default(),
            unheard: Vec::new(),
            telnet_from: usize::MAX,
            heard_at: now,
        }
    }

    /// Keeps `rest`, the end of `text`, to be heard later.
    fn put_aside(&mut self, text: &Text<'_>, rest: &[u8]) {
        let heard_bytes = text.bytes.len() - rest.len();
        self.unheard = rest.to_vec();
        self.telnet_from = text.telnet_from.saturating_sub(heard_bytes);
    }
}

/// Why a connection ends whose frames have. A close frame is what the end of a plain connection
/// is: no word of leaving.
fn reason_of(ended: Ended) -> CloseReason {
    match ended {
        Ended::Closed(_) => CloseReason::PeerClosed,
        Ended::Failed(_) => CloseReason::WrongProtocol,
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
