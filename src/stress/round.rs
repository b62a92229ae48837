//! One round of talking: decides who says what and when, checks every line that comes
//! back, and knows when the round is over. Pure: the caller tells it what happens and
//! the time, in nanoseconds since the round began, and sends what it returns.

use std::collections::VecDeque;
use std::time::Duration;

use super::delays::Delays;
use super::ledger::{Heard, Ledger, Tally};
use super::load::{End, Load, Pace, Timetable};
use super::payload::{Parsed, Payload};
use super::protocol::{Protocol, safe_words};
use crate::protocol::wording::REFUSAL_PREFIX;

/// How long the server may deliver nothing, while deliveries are outstanding, before
/// these are given up as lost.
pub(crate) const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a round listens on after the last delivery: repetitions come late.
const REPETITION_TIMEOUT: Duration = Duration::from_millis(100);

/// The same, while a reader misses a line that may still come out of order.
const REORDER_TIMEOUT: Duration = Duration::from_secs(1);

/// Talkers are handed lines in pieces of about this size.
const BATCH_BYTES: usize = 64 * 1024;

/// The most lines that come due before the round looks at anything else.
const DUE_BUDGET_LINES: usize = 10_000;

/// The result of a round.
#[derive(Debug)]
pub struct Outcome {
    /// Clients that were in at the start.
    pub clients: usize,
    /// How many of them talked.
    pub talkers: usize,
    /// What was said and delivered.
    pub tally: Tally,
    /// Missing deliveries.
    pub lost: u64,
    /// Lines of this round that were not as a talker said them: torn, glued, or never
    /// said at all.
    pub garbled: u64,
    /// Lines of nobody in this round: what others said.
    pub(crate) other_lines: u64,
    /// What the room itself told the clients.
    pub(crate) notices: u64,
    /// The last refusal of a line, in the server's words.
    pub(crate) complaint: Option<String>,
    /// Until the last line was said or delivered; unless ended early, at least as long
    /// as planned.
    pub(crate) elapsed: Duration,
    pub(crate) delays: Delays,
    /// The longest time without a delivery while some were outstanding.
    pub(crate) longest_silence: Duration,
    /// Whether deliveries were given up after [`STALL_TIMEOUT`].
    pub(crate) stalled: bool,
}

/// How far a round has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What was said and delivered so far.
    pub tally: Tally,
    /// Time since the start.
    pub elapsed: Duration,
}

/// The state of a round. Clients are known by their number; talkers come first.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    load: Load,
    protocol: &'a Protocol,
    payload: Payload,
    ledger: Ledger,
    talkers: Vec<Talker>,
    /// Talkers that may have something to say. Invariant: those with `is_ready`.
    ready: VecDeque<usize>,
    /// When lines are due, in an open loop.
    timetable: Option<Timetable>,
    /// No more lines come due.
    is_silent: bool,
    /// The round was cut short: even lines that are due are not said.
    is_hushed: bool,
    clients: usize,
    present: usize,
    /// Invariant: the number of talkers with `is_blocked`.
    blocked: usize,
    garbled: u64,
    other_lines: u64,
    notices: u64,
    complaint: Option<String>,
    delays: Delays,
    longest_silence_nanos: u64,
    /// When a line was last said, or delivered for the first time.
    progressed_nanos: u64,
    /// When anything of this round last happened, or the server began to owe something.
    quiet_since_nanos: u64,
}

#[derive(Clone, Debug, Default)]
struct Talker {
    /// How many lines have come due, in an open loop.
    due: u32,
    is_ready: bool,
    /// The kernel has not taken all of its last batch.
    is_blocked: bool,
    is_gone: bool,
}

impl<'a> Round<'a> {
    /// A round of `load`. `reads` says of each client whether it reads; the first
    /// `talkers` of them talk.
    pub(crate) fn new(
        load: &Load,
        protocol: &'a Protocol,
        reads: Vec<bool>,
        talkers: usize,
    ) -> Self {
        let timetable = match load.pace {
            Pace::PerSecond(rate) if talkers > 0 => Some(Timetable::new(talkers, rate)),
            _ => None,
        };
        let mut round = Self {
            load: *load,
            protocol,
            payload: Payload::new(load.round, load.size_bytes),
            clients: reads.len(),
            present: reads.len(),
            ledger: Ledger::new(reads, talkers),
            talkers: vec![Talker::default(); talkers],
            ready: VecDeque::new(),
            timetable,
            is_silent: false,
            is_hushed: false,
            blocked: 0,
            garbled: 0,
            other_lines: 0,
            notices: 0,
            complaint: None,
            delays: Delays::default(),
            longest_silence_nanos: 0,
            progressed_nanos: 0,
            quiet_since_nanos: 0,
        };
        (0..talkers).for_each(|talker| round.make_ready(talker));
        round
    }

    /// Cuts the round short: nothing more is said, not even lines that are due.
    pub(crate) fn hush(&mut self) {
        self.is_silent = true;
        self.is_hushed = true;
    }

    /// Fills `batch` with the next lines to say, and returns their talker. That talker
    /// gets nothing more until [`Round::taken`]. `None` when there is nothing to say now.
    pub(crate) fn next_batch(&mut self, now_nanos: u64, batch: &mut Vec<u8>) -> Option<usize> {
        self.come_due(now_nanos);
        while let Some(number) = self.ready.pop_front() {
            self.talkers[number].is_ready = false;
            batch.clear();
            let was_owed = self.is_owed();
            while batch.len() < BATCH_BYTES
                && let Some(due_nanos) = self.due_line(number, now_nanos)
            {
                let line = self.ledger.say(number, due_nanos);
                batch.extend_from_slice(&self.protocol.before);
                self.payload.compose(number, line, batch);
                batch.extend_from_slice(&self.protocol.after);
            }
            if batch.is_empty() {
                continue;
            }
            self.progressed_nanos = now_nanos;
            if !was_owed {
                self.quiet_since_nanos = now_nanos;
            }
            self.talkers[number].is_blocked = true;
            self.blocked += 1;
            return Some(number);
        }
        None
    }

    /// When the next line of this talker was due, if it may say one now.
    fn due_line(&self, number: usize, now_nanos: u64) -> Option<u64> {
        let talker = &self.talkers[number];
        let said = self.ledger.said(number);
        if talker.is_blocked || talker.is_gone || said == Ledger::MAX_LINES {
            return None;
        }
        match (self.load.pace, &self.timetable) {
            (Pace::InFlight(most), _) => {
                let may_say = !self.is_silent
                    && self.load.end.allows(said)
                    && self.ledger.in_flight(number) < most.get() as usize;
                may_say.then_some(now_nanos)
            }
            (Pace::PerSecond(_), Some(timetable)) => {
                let may_say = !self.is_hushed && said < talker.due;
                may_say.then(|| timetable.moment_of(number, said))
            }
            (Pace::PerSecond(_), None) => None,
        }
    }

    /// Notes which lines have come due, and whether the time is up.
    fn come_due(&mut self, now_nanos: u64) {
        let Some(mut timetable) = self.timetable.take() else {
            self.is_silent |= self.load.end.is_past(now_nanos);
            return;
        };
        for _ in 0..DUE_BUDGET_LINES {
            let (talker, due_nanos) = timetable.peek();
            let end = self.load.end;
            self.is_silent |= end.is_past(due_nanos) || !end.allows(self.talkers[talker].due);
            if self.is_silent || due_nanos > now_nanos {
                break;
            }
            timetable.advance();
            self.talkers[talker].due += 1;
            self.make_ready(talker);
        }
        self.timetable = Some(timetable);
    }

    /// The kernel has taken all of this talker's last batch.
    pub(crate) fn taken(&mut self, talker: usize, now_nanos: u64) {
        if self.unblock(talker) {
            // The kernel takes a lot on behalf of a server that does nothing. So this is
            // a sign of life only where no delivery is outstanding.
            if self.ledger.awaited() == 0 {
                self.quiet_since_nanos = now_nanos;
            }
            self.make_ready(talker);
        }
    }

    /// Returns whether it was blocked.
    fn unblock(&mut self, talker: usize) -> bool {
        let was_blocked = std::mem::take(&mut self.talkers[talker].is_blocked);
        self.blocked -= usize::from(was_blocked);
        was_blocked
    }

    /// A client has received `line`, given without its LF.
    pub(crate) fn heard(&mut self, client: usize, line: &[u8], now_nanos: u64) {
        let (talker, number) = match self.payload.parse(line) {
            Some(Parsed {
                prefix,
                talker,
                number,
            }) if self.protocol.allows(prefix) => (talker, number),
            _ => return self.heard_other(line),
        };
        let silence_nanos = self.silence_nanos(now_nanos);
        match self.ledger.hear(client, talker, number) {
            Heard::Unknown => return self.heard_other(line),
            Heard::InOrder(due_nanos) => {
                self.delays.record(due_nanos, now_nanos);
                self.progressed_nanos = now_nanos;
            }
            Heard::Late => self.progressed_nanos = now_nanos,
            Heard::Again | Heard::Own => {}
        }
        self.longest_silence_nanos = self.longest_silence_nanos.max(silence_nanos);
        self.quiet_since_nanos = now_nanos;
        if let Pace::InFlight(most) = self.load.pace
            && self.ledger.in_flight(talker) < most.get() as usize
        {
            self.make_ready(talker);
        }
    }

    /// How long nothing has come though the server owes something.
    fn silence_nanos(&self, now_nanos: u64) -> u64 {
        if self.is_owed() {
            now_nanos.saturating_sub(self.quiet_since_nanos)
        } else {
            0
        }
    }

    /// A client has been told something by the room itself.
    pub(crate) fn heard_notice(&mut self) {
        self.notices += 1;
    }

    /// A client has received a line that no talker of this round has said.
    pub(crate) fn heard_other(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        // It may tell of a line of this round, and quote it: that is no torn line.
        if self.protocol.is_notice(line) {
            if line.starts_with(REFUSAL_PREFIX.as_bytes()) {
                self.complaint = Some(safe_words(line));
            }
            return self.heard_notice();
        }
        if self.payload.is_begun_in(line) {
            self.garbled += 1;
            return;
        }
        self.other_lines += 1;
    }

    /// The connection of a client has ended.
    pub(crate) fn gone(&mut self, client: usize, now_nanos: u64) {
        self.present -= 1;
        self.ledger.leave(client);
        self.quiet_since_nanos = now_nanos;
        if client < self.talkers.len() {
            self.unblock(client);
            self.talkers[client].is_gone = true;
        }
        if self.present < 2 {
            // A line needs a talker and a reader.
            self.hush();
        }
        // Talkers may have waited for this client alone.
        (0..self.talkers.len()).for_each(|talker| self.make_ready(talker));
    }

    fn make_ready(&mut self, talker: usize) {
        let is_ready = &mut self.talkers[talker].is_ready;
        if !std::mem::replace(is_ready, true) {
            self.ready.push_back(talker);
        }
    }

    /// Whether all lines are delivered, or the missing ones given up.
    pub(crate) fn is_over(&self, now_nanos: u64) -> bool {
        self.present == 0
            || self.is_stalled(now_nanos)
            || self.is_done() && self.is_quiet_for(self.patience(), now_nanos)
    }

    fn is_stalled(&self, now_nanos: u64) -> bool {
        self.is_owed() && self.is_quiet_for(STALL_TIMEOUT, now_nanos)
    }

    fn is_quiet_for(&self, span: Duration, now_nanos: u64) -> bool {
        now_nanos.saturating_sub(self.quiet_since_nanos) >= nanos(span)
    }

    /// Whether the server still has something to deliver or to take.
    fn is_owed(&self) -> bool {
        self.ledger.awaited() > 0 || self.blocked > 0
    }

    /// Whether all lines are said and delivered.
    fn is_done(&self) -> bool {
        !self.is_owed() && (0..self.talkers.len()).all(|number| self.has_said_all(number))
    }

    fn has_said_all(&self, number: usize) -> bool {
        let talker = &self.talkers[number];
        let said = self.ledger.said(number);
        let has_no_more = match self.load.pace {
            Pace::PerSecond(_) => self.is_silent && said >= talker.due,
            Pace::InFlight(_) => self.is_silent || !self.load.end.allows(said),
        };
        talker.is_gone || self.is_hushed || has_no_more || said == Ledger::MAX_LINES
    }

    /// How long to listen on once nothing is owed.
    fn patience(&self) -> Duration {
        match (self.ledger.tally().lines, self.ledger.has_missing()) {
            (0, _) => Duration::ZERO,
            (_, false) => REPETITION_TIMEOUT,
            (_, true) => REORDER_TIMEOUT,
        }
    }

    /// How long to wait for events at most.
    pub(crate) fn timeout(&self, now_nanos: u64) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let until = |moment_nanos: u64| moment_nanos.saturating_sub(now_nanos);
        let mut wait_nanos = if self.is_owed() {
            until(self.quiet_since_nanos + nanos(STALL_TIMEOUT))
        } else if self.is_done() {
            until(self.quiet_since_nanos + nanos(self.patience()))
        } else {
            u64::MAX
        };
        if !self.is_silent {
            wait_nanos = wait_nanos.min(match (&self.timetable, self.load.end) {
                (Some(timetable), _) => until(timetable.peek().1),
                (None, End::After(duration)) => until(nanos(duration)),
                (None, End::Lines(_)) => u64::MAX,
            });
        }
        Duration::from_nanos(wait_nanos)
    }

    pub(crate) fn progress(&self, now_nanos: u64) -> Progress {
        Progress {
            tally: self.ledger.tally(),
            elapsed: Duration::from_nanos(now_nanos),
        }
    }

    pub(crate) fn into_outcome(self, now_nanos: u64) -> Outcome {
        let mut elapsed_nanos = self.progressed_nanos;
        // A line stands for the time until the next one is due.
        if self.is_done() && !self.is_hushed {
            elapsed_nanos = elapsed_nanos.max(self.load.planned().map_or(0, nanos));
        }
        Outcome {
            clients: self.clients,
            talkers: self.talkers.len(),
            tally: self.ledger.tally(),
            lost: self.ledger.lost(),
            garbled: self.garbled,
            other_lines: self.other_lines,
            notices: self.notices,
            longest_silence: Duration::from_nanos(
                self.longest_silence_nanos
                    .max(self.silence_nanos(now_nanos)),
            ),
            stalled: self.is_stalled(now_nanos),
            complaint: self.complaint,
            elapsed: Duration::from_nanos(elapsed_nanos),
            delays: self.delays,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
