//! One run of a load over a crowd: the talkers talk, and everything that is heard is
//! checked.

use std::io;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::delays::Delays;
use super::ledger::{Heard, Ledger, Tally};
use super::pace::{Pace, Timetable};
use super::participant::Event;
use super::payload::Payload;

/// How long the server may deliver nothing, though something is owed, before the
/// rest is given up as lost.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Lines are handed to the kernel in pieces of about this size.
const BATCH_BYTES: usize = 64 * 1024;

/// What a run is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How fast the talkers talk.
    pub pace: Pace,
    /// The size of a line, LF counted, in bytes.
    pub size_bytes: usize,
    /// When the talkers fall silent.
    pub end: End,
    /// Tells the lines of this run from those of others.
    pub run: u32,
}

/// When the talkers fall silent.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// After so many lines each.
    Lines(u32),
    /// After this time.
    After(Duration),
}

/// What came of a run.
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
    /// Connections that ended during the run.
    pub dropped: usize,
    /// What the server last said to one of those.
    pub last_words: Option<String>,
    /// Lines that were not of this run: notices, and what others said.
    pub other_lines: u64,
    /// From the first line said to the last one heard.
    pub elapsed: Duration,
    /// How long the lines took.
    pub delays: Delays,
    /// Whether the rest was given up after [`STALL_TIMEOUT`].
    pub stalled: bool,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What was said and heard so far.
    pub tally: Tally,
    /// Time since it began.
    pub elapsed: Duration,
}

/// Runs `load` over `crowd`; `observe` is called again and again meanwhile. Ends when
/// all has been said and heard, after [`STALL_TIMEOUT`] without a delivery that is
/// owed, or, at an interrupt, when what was said is heard.
///
/// # Errors
///
/// When the poll fails. What goes wrong with lines and connections is counted.
pub fn run(
    crowd: &mut Crowd,
    load: &Load,
    observe: &mut dyn FnMut(Progress),
) -> io::Result<Outcome> {
    let mut run = Run::new(crowd, load);
    loop {
        let now_nanos = run.now_nanos();
        run.talk(crowd, now_nanos);
        if run.is_over(crowd, now_nanos) {
            return Ok(run.into_outcome());
        }
        let timeout = run.timeout(now_nanos);
        crowd.turn(Some(timeout), |number, event| run.take_note(number, event))?;
        observe(run.progress());
    }
}

/// The state of a run.
struct Run {
    load: Load,
    payload: Payload,
    ledger: Ledger,
    talkers: Vec<Talker>,
    /// Numbers of talkers who may have something to say now.
    ready: Vec<usize>,
    /// When lines come due, where that is by the clock.
    timetable: Option<Timetable>,
    /// Nobody says anything new any more.
    is_silent: bool,
    clients: usize,
    dropped: usize,
    /// The last line of each chunk that was not of this run, and whose it was.
    last_other: Option<(usize, String)>,
    last_words: Option<String>,
    other_lines: u64,
    delays: Delays,
    began: Instant,
    /// When something was last said or heard, since the run began.
    progress_nanos: u64,
    batch: Vec<u8>,
}

struct Talker {
    key: usize,
    /// Lines that it may have said by now, where that is by the clock.
    due: u32,
    is_ready: bool,
    /// Waits until the kernel has taken what it said.
    is_blocked: bool,
    is_gone: bool,
}

impl Run {
    fn new(crowd: &mut Crowd, load: &Load) -> Self {
        let (listening, keys) = crowd.number();
        let talkers: Vec<Talker> = keys
            .into_iter()
            .map(|key| Talker {
                key,
                due: 0,
                is_ready: true,
                is_blocked: false,
                is_gone: false,
            })
            .collect();
        Self {
            load: *load,
            payload: Payload::new(load.run, load.size_bytes),
            clients: listening.len(),
            ledger: Ledger::new(listening, talkers.len()),
            ready: (0..talkers.len()).collect(),
            timetable: match load.pace {
                Pace::PerSecond(rate) if !talkers.is_empty() => {
                    Some(Timetable::new(talkers.len(), rate))
                }
                _ => None,
            },
            talkers,
            is_silent: false,
            dropped: 0,
            last_other: None,
            last_words: None,
            other_lines: 0,
            delays: Delays::default(),
            began: Instant::now(),
            progress_nanos: 0,
            batch: Vec::new(),
        }
    }

    fn now_nanos(&self) -> u64 {
        self.nanos_at(Instant::now())
    }

    fn nanos_at(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.began).as_nanos() as u64
    }

    /// Has everybody say what may be said now.
    fn talk(&mut self, crowd: &mut Crowd, now_nanos: u64) {
        let is_time_up = match self.load.end {
            End::After(duration) => u128::from(now_nanos) >= duration.as_nanos(),
            End::Lines(_) => false,
        };
        if crowd.is_interrupted() || self.timetable.is_none() && is_time_up {
            self.is_silent = true;
        }
        self.come_due(now_nanos);
        for number in std::mem::take(&mut self.ready) {
            self.talkers[number].is_ready = false;
            while self.say_batch(crowd, number, now_nanos) {}
        }
    }

    /// Notes whose lines have come due by the clock.
    fn come_due(&mut self, now_nanos: u64) {
        while let Some(timetable) = &mut self.timetable {
            let (talker, due_nanos) = timetable.next();
            let is_past_end = match self.load.end {
                End::Lines(lines) => self.talkers[talker].due >= lines,
                End::After(duration) => u128::from(due_nanos) >= duration.as_nanos(),
            };
            if self.is_silent || is_past_end {
                self.is_silent = true;
                return;
            }
            if due_nanos > now_nanos {
                return;
            }
            timetable.advance();
            self.talkers[talker].due += 1;
            self.make_ready(talker);
        }
    }

    /// Says what the talker may say, up to a batch. Returns whether it may be able
    /// to say more.
    fn say_batch(&mut self, crowd: &mut Crowd, number: usize, now_nanos: u64) -> bool {
        let talker = &mut self.talkers[number];
        if talker.is_blocked || talker.is_gone {
            return false;
        }
        self.batch.clear();
        let protocol = crowd.protocol();
        while self.batch.len() < BATCH_BYTES {
            let said = self.ledger.said(number);
            let due_nanos = match (self.load.pace, &self.timetable) {
                (Pace::PerSecond(_), Some(timetable)) if said < talker.due => {
                    timetable.moment_of(number, said)
                }
                (Pace::InFlight(most), _)
                    if !self.is_silent
                        && self.ledger.in_flight(number) < most.get() as usize
                        && self.load.end.allows(said) =>
                {
                    now_nanos
                }
                _ => break,
            };
            let line = self.ledger.say(number, due_nanos);
            self.batch.extend_from_slice(&protocol.before);
            self.payload.compose(number as u32, line, &mut self.batch);
            self.batch.extend_from_slice(&protocol.after);
        }
        if self.batch.is_empty() {
            return false;
        }
        self.progress_nanos = now_nanos;
        talker.is_blocked = !crowd.send(talker.key, &self.batch);
        !talker.is_blocked
    }

    fn make_ready(&mut self, number: usize) {
        let talker = &mut self.talkers[number];
        if !talker.is_ready {
            talker.is_ready = true;
            self.ready.push(number);
        }
    }

    fn take_note(&mut self, number: usize, event: Event<'_>) {
        match event {
            Event::Line(line, at) => self.hear(number, line, at),
            Event::Flushed => {
                if let Some(talker) = self.talkers.get_mut(number) {
                    talker.is_blocked = false;
                    self.make_ready(number);
                }
            }
            Event::Gone => {
                self.dropped += 1;
                self.ledger.leave(number);
                if let Some(talker) = self.talkers.get_mut(number) {
                    talker.is_gone = true;
                }
                // The rest of a line that was cut off may have freed a talker.
                (0..self.talkers.len()).for_each(|talker| self.make_ready(talker));
                if let Some((_, words)) = self.last_other.take_if(|(whose, _)| *whose == number) {
                    self.last_words = Some(words);
                }
            }
        }
    }

    fn hear(&mut self, number: usize, line: &[u8], at: Instant) {
        let Some((talker, line_number)) = self.payload.parse(line) else {
            self.hear_other(number, line);
            return;
        };
        let now_nanos = self.nanos_at(at);
        match self.ledger.hear(number, talker, line_number) {
            Heard::InOrder(due_nanos) => {
                self.delays.record(due_nanos, now_nanos);
                self.progress_nanos = now_nanos;
            }
            Heard::Late | Heard::Again | Heard::Own => {}
            Heard::Unknown => {
                self.hear_other(number, line);
                return;
            }
        }
        let talker = talker as usize;
        if let Pace::InFlight(most) = self.load.pace
            && self.ledger.in_flight(talker) < most.get() as usize
        {
            self.make_ready(talker);
        }
    }

    fn hear_other(&mut self, number: usize, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        self.other_lines += 1;
        if line.starts_with(b"-- ") || line.starts_with(b"!! ") {
            self.last_other = Some((number, String::from_utf8_lossy(line).into_owned()));
        }
    }

    fn is_over(&self, crowd: &Crowd, now_nanos: u64) -> bool {
        let all_is_said = (0..)
            .zip(&self.talkers)
            .all(|(number, talker)| talker.is_gone || self.has_said_all(number, talker));
        let all_is_heard = self.ledger.awaited() == 0;
        all_is_said && all_is_heard || crowd.is_empty() || self.is_stalled(now_nanos)
    }

    fn has_said_all(&self, number: usize, talker: &Talker) -> bool {
        let said = self.ledger.said(number);
        let is_done = match self.load.pace {
            Pace::PerSecond(_) => self.is_silent && said >= talker.due,
            Pace::InFlight(_) => self.is_silent || !self.load.end.allows(said),
        };
        is_done && !talker.is_blocked
    }

    /// Whether something is owed and nothing comes.
    fn is_stalled(&self, now_nanos: u64) -> bool {
        let quiet_nanos = now_nanos.saturating_sub(self.progress_nanos);
        let is_owed = || self.ledger.awaited() > 0 || self.talkers.iter().any(|t| t.is_blocked);
        u128::from(quiet_nanos) >= STALL_TIMEOUT.as_nanos() && is_owed()
    }

    /// How long to wait for events at most.
    fn timeout(&self, now_nanos: u64) -> Duration {
        let next_nanos = match (&self.timetable, self.load.end) {
            (Some(timetable), _) if !self.is_silent => timetable.next().1,
            (None, End::After(duration)) if !self.is_silent => duration.as_nanos() as u64,
            _ => return STALL_TIMEOUT,
        };
        let wait = Duration::from_nanos(next_nanos.saturating_sub(now_nanos));
        // The poll counts in milliseconds and rounds up: a line would be late by as
        // much as it takes to be heard. So the last millisecond is not slept.
        Duration::from_millis(wait.as_millis() as u64).min(STALL_TIMEOUT)
    }

    fn progress(&self) -> Progress {
        Progress {
            tally: self.ledger.tally(),
            elapsed: self.began.elapsed(),
        }
    }

    fn into_outcome(self) -> Outcome {
        let stalled = self.is_stalled(self.now_nanos());
        Outcome {
            clients: self.clients,
            talkers: self.talkers.len(),
            tally: self.ledger.tally(),
            lost: self.ledger.lost(),
            dropped: self.dropped,
            last_words: self.last_words,
            other_lines: self.other_lines,
            elapsed: Duration::from_nanos(self.progress_nanos),
            stalled,
            delays: self.delays,
        }
    }
}

impl End {
    /// Whether who has `said` so many lines may say another.
    fn allows(&self, said: u32) -> bool {
        match *self {
            Self::Lines(lines) => said < lines,
            Self::After(_) => true,
        }
    }
}
