//! One round of talking: decides who says what and when, checks everything that is
//! heard, and knows when all is over. Pure: it is told what happens and what time it
//! is, in nanoseconds since the round began, and says what is to be sent.

use std::collections::VecDeque;
use std::time::Duration;

use super::delays::Delays;
use super::ledger::{Heard, Ledger, Tally};
use super::load::{End, Load, Pace, Timetable};
use super::payload::Payload;
use super::protocol::{Protocol, safe_words};
use crate::room::REFUSAL_PREFIX;

/// How long the server may deliver nothing, though something is owed, before the
/// rest is given up as lost.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// For how long a round listens on after all has been heard: what comes twice comes
/// late.
pub const REPETITION_TIMEOUT: Duration = Duration::from_millis(100);

/// The same, while somebody has passed over a line that may yet come out of order.
pub const REORDER_TIMEOUT: Duration = Duration::from_secs(1);

/// Lines are handed over in pieces of about this size.
const BATCH_BYTES: usize = 64 * 1024;

/// The most lines that come due before something else is looked at.
const DUE_BUDGET_LINES: usize = 10_000;

/// What came of a round.
#[derive(Debug)]
pub struct Outcome {
    /// Those who were in when it began.
    pub clients: usize,
    /// Those of them who talked.
    pub talkers: usize,
    /// What was said and heard.
    pub tally: Tally,
    /// Deliveries that there should have been.
    pub lost: u64,
    /// Lines that were not of this round: notices, and what others said.
    pub other_lines: u64,
    /// The last line by which the server said that it did not do something.
    pub complaint: Option<String>,
    /// Until the last line was said or heard, and at least for as long as was planned
    /// if it was not ended before.
    pub elapsed: Duration,
    /// How long the lines took.
    pub delays: Delays,
    /// Whether the rest was given up after [`STALL_TIMEOUT`].
    pub stalled: bool,
}

/// How far a round is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What was said and heard so far.
    pub tally: Tally,
    /// Time since it began.
    pub elapsed: Duration,
}

/// The state of a round. Clients are known by their number; the talkers come first.
#[derive(Debug)]
pub struct Round {
    load: Load,
    payload: Payload,
    /// What stands before and after each line.
    around: (Vec<u8>, Vec<u8>),
    ledger: Ledger,
    talkers: Vec<Talker>,
    /// Talkers who may have something to say now. Invariant: those whose `is_ready`
    /// is set.
    ready: VecDeque<usize>,
    /// When lines come due, where that is by the clock.
    timetable: Option<Timetable>,
    /// Nothing new comes due any more.
    is_silent: bool,
    /// That was not planned.
    is_hushed: bool,
    clients: usize,
    present: usize,
    /// Invariant: the number of talkers whose `is_blocked` is set.
    blocked: usize,
    other_lines: u64,
    complaint: Option<String>,
    delays: Delays,
    /// When a line was last said, or heard for the first time.
    progressed_nanos: u64,
    /// When anything of this round last happened, or something began to be owed.
    quiet_since_nanos: u64,
}

#[derive(Clone, Debug, Default)]
struct Talker {
    /// Lines that have come due, where that is by the clock.
    due: u32,
    is_ready: bool,
    /// What it said last is not with the kernel yet.
    is_blocked: bool,
    is_gone: bool,
}

impl Round {
    /// A round of `load` with as many clients as `reads` has entries, which say
    /// whether they read; the first `talkers` talk, as `protocol` has it.
    pub fn new(load: &Load, protocol: &Protocol, reads: Vec<bool>, talkers: usize) -> Self {
        let timetable = match load.pace {
            Pace::PerSecond(rate) if talkers > 0 => Some(Timetable::new(talkers, rate)),
            _ => None,
        };
        let mut round = Self {
            load: *load,
            payload: Payload::new(load.round, load.size_bytes),
            around: (protocol.before.clone(), protocol.after.clone()),
            clients: reads.len(),
            present: reads.len(),
            ledger: Ledger::new(reads, talkers),
            talkers: vec![Talker::default(); talkers],
            ready: VecDeque::new(),
            timetable,
            is_silent: false,
            is_hushed: false,
            blocked: 0,
            other_lines: 0,
            complaint: None,
            delays: Delays::default(),
            progressed_nanos: 0,
            quiet_since_nanos: 0,
        };
        (0..talkers).for_each(|talker| round.make_ready(talker));
        round
    }

    /// The talkers fall silent, whatever was planned, and whatever is due.
    pub fn hush(&mut self) {
        self.is_silent = true;
        self.is_hushed = true;
    }

    /// Puts what is to be said next into `batch`, and returns the talker who is to
    /// say it. Until [`Round::taken`] is told, nothing more comes from that one.
    /// `None` when nobody has anything to say for now.
    pub fn next_batch(&mut self, now_nanos: u64, batch: &mut Vec<u8>) -> Option<usize> {
        self.come_due(now_nanos);
        while let Some(number) = self.ready.pop_front() {
            self.talkers[number].is_ready = false;
            batch.clear();
            let was_owed = self.is_owed();
            while batch.len() < BATCH_BYTES
                && let Some(due_nanos) = self.due_line(number, now_nanos)
            {
                let line = self.ledger.say(number, due_nanos);
                batch.extend_from_slice(&self.around.0);
                self.payload.compose(number, line, batch);
                batch.extend_from_slice(&self.around.1);
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

    /// When the line was due that the talker may say now, if any.
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

    /// Notes which lines have come due by the clock, and whether the time is up.
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

    /// The kernel has taken all that this talker was last given to say.
    pub fn taken(&mut self, talker: usize, now_nanos: u64) {
        if self.unblock(talker) {
            // The kernel takes a lot for a server that does nothing. So this counts only
            // where there is nobody to hear it.
            if self.ledger.awaited() == 0 {
                self.quiet_since_nanos = now_nanos;
            }
            self.make_ready(talker);
        }
    }

    /// Whether it was blocked.
    fn unblock(&mut self, talker: usize) -> bool {
        let was_blocked = std::mem::take(&mut self.talkers[talker].is_blocked);
        self.blocked -= usize::from(was_blocked);
        was_blocked
    }

    /// A client has received `line`, which is given without its line end.
    pub fn heard(&mut self, client: usize, line: &[u8], now_nanos: u64) {
        let Some((talker, number)) = self.payload.parse(line) else {
            return self.heard_other(line);
        };
        match self.ledger.hear(client, talker, number) {
            Heard::Unknown => return self.heard_other(line),
            Heard::InOrder(due_nanos) => {
                self.delays.record(due_nanos, now_nanos);
                self.progressed_nanos = now_nanos;
            }
            Heard::Late => self.progressed_nanos = now_nanos,
            Heard::Again | Heard::Own => {}
        }
        self.quiet_since_nanos = now_nanos;
        if let Pace::InFlight(most) = self.load.pace
            && self.ledger.in_flight(talker) < most.get() as usize
        {
            self.make_ready(talker);
        }
    }

    /// A client has received a line that is none of this round.
    pub fn heard_other(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        self.other_lines += 1;
        if line.starts_with(REFUSAL_PREFIX.as_bytes()) {
            self.complaint = Some(safe_words(line));
        }
    }

    /// The connection of a client has ended.
    pub fn gone(&mut self, client: usize, now_nanos: u64) {
        self.present -= 1;
        self.ledger.leave(client);
        self.quiet_since_nanos = now_nanos;
        if client < self.talkers.len() {
            self.unblock(client);
            self.talkers[client].is_gone = true;
        }
        if self.present < 2 {
            // Nobody is left to be heard by somebody.
            self.hush();
        }
        // Somebody may have waited for this one alone.
        (0..self.talkers.len()).for_each(|talker| self.make_ready(talker));
    }

    fn make_ready(&mut self, talker: usize) {
        let is_ready = &mut self.talkers[talker].is_ready;
        if !std::mem::replace(is_ready, true) {
            self.ready.push_back(talker);
        }
    }

    /// Whether all has been said and heard, or the rest is given up.
    pub fn is_over(&self, now_nanos: u64) -> bool {
        self.present == 0
            || self.is_stalled(now_nanos)
            || self.is_done() && self.is_quiet_for(self.patience(), now_nanos)
    }

    /// Whether the server delivered nothing for [`STALL_TIMEOUT`] though something is
    /// owed.
    pub fn is_stalled(&self, now_nanos: u64) -> bool {
        self.is_owed() && self.is_quiet_for(STALL_TIMEOUT, now_nanos)
    }

    fn is_quiet_for(&self, span: Duration, now_nanos: u64) -> bool {
        now_nanos.saturating_sub(self.quiet_since_nanos) >= nanos(span)
    }

    /// Whether the server has something to deliver or to take.
    fn is_owed(&self) -> bool {
        self.ledger.awaited() > 0 || self.blocked > 0
    }

    /// Whether nothing more is to be said, and everything is heard.
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

    /// How long it is listened on once nothing is owed any more.
    fn patience(&self) -> Duration {
        match (self.ledger.tally().lines, self.ledger.has_missing()) {
            (0, _) => Duration::ZERO,
            (_, false) => REPETITION_TIMEOUT,
            (_, true) => REORDER_TIMEOUT,
        }
    }

    /// How long to wait at most for something to happen.
    pub fn timeout(&self, now_nanos: u64) -> Duration {
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

    /// How far it is.
    pub fn progress(&self, now_nanos: u64) -> Progress {
        Progress {
            tally: self.ledger.tally(),
            elapsed: Duration::from_nanos(now_nanos),
        }
    }

    /// What came of it.
    pub fn into_outcome(self, now_nanos: u64) -> Outcome {
        let mut elapsed_nanos = self.progressed_nanos;
        // What is said at a moment stands for the time until the next is due.
        if self.is_done() && !self.is_hushed {
            elapsed_nanos = elapsed_nanos.max(self.load.planned().map_or(0, nanos));
        }
        Outcome {
            clients: self.clients,
            talkers: self.talkers.len(),
            tally: self.ledger.tally(),
            lost: self.ledger.lost(),
            other_lines: self.other_lines,
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
