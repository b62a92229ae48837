//! One step of a test: a crowd grows, talks, and what that cost the server is taken
//! down. For `chat stress` and the benches alike.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::crowd::{Arrivals, Crowd, Departures, Observer};
use super::flaw::Flaw;
use super::load::Load;
use super::round::Outcome;
use crate::error::plain;
use crate::process::{Memory, Process};

/// What a step is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many connections there are to be.
    pub clients: usize,
    /// For how long nothing happens before the talking begins.
    pub idle: Duration,
    /// The talking.
    pub load: Load,
}

/// What came of a step.
#[derive(Debug)]
pub struct Step {
    /// What became of the connections that were asked for.
    pub arrivals: Arrivals,
    /// Until the last of them was let in.
    pub connect_time: Duration,
    /// Who was let in and has left.
    pub departures: Departures,
    /// What came of the talking.
    pub outcome: Outcome,
    /// What all that cost the server. `None` if that was not to be looked at, or its
    /// process has ended.
    pub cost: Option<Cost>,
    /// Whether the user ended it early.
    pub was_interrupted: bool,
}

/// The server's process, looked at from outside.
#[derive(Debug)]
pub struct Watch {
    process: Process,
    /// Before the first connection of all.
    memory_at_first: Memory,
}

/// What a step cost the server.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU for the connections made in this step.
    pub connect_cpu: Duration,
    /// CPU while nothing happened.
    pub idle_cpu: Duration,
    /// CPU for the talking.
    pub talk_cpu: Duration,
    /// Its memory before the first connection of all.
    pub memory_at_first: Memory,
    /// Its memory with all connections, before the talking.
    pub memory: Memory,
}

impl Watch {
    /// Looks at `process` from now on.
    ///
    /// # Errors
    ///
    /// When that cannot be done: see [`Process`].
    pub fn new(process: Process) -> io::Result<Self> {
        process.cpu()?;
        Ok(Self {
            memory_at_first: process.memory()?,
            process,
        })
    }
}

impl Step {
    /// Takes a step with `crowd`.
    ///
    /// # Errors
    ///
    /// When the poll fails.
    pub fn take(
        crowd: &mut Crowd,
        plan: &Plan,
        watch: Option<&Watch>,
        observer: &mut impl Observer,
    ) -> io::Result<Self> {
        // Whether it can be looked at was found out before: now it can only have
        // ended, and that is no reason to drop what is known.
        let cpu = || watch?.process.cpu().ok();
        let at_first = cpu();
        let began = Instant::now();
        let arrivals = crowd.grow_to(plan.clients, observer)?;
        let connect_time = arrivals
            .last_made_at
            .map_or(Duration::ZERO, |at| at - began);
        let when_in = cpu();
        let memory = watch.and_then(|watch| watch.process.memory().ok());
        // Not to await anything: this is the time over which nothing is to happen.
        sleep(plan.idle);
        let after_idling = cpu();
        let outcome = crowd.talk(&plan.load, observer)?;
        let after_talking = cpu();
        let between = |from: Option<Duration>, to: Option<Duration>| to?.checked_sub(from?);
        let cost = || {
            Some(Cost {
                connect_cpu: between(at_first, when_in)?,
                idle_cpu: between(when_in, after_idling)?,
                talk_cpu: between(after_idling, after_talking)?,
                memory_at_first: watch?.memory_at_first,
                memory: memory?,
            })
        };
        Ok(Self {
            arrivals,
            connect_time,
            departures: crowd.take_departures(),
            outcome,
            cost: cost(),
            was_interrupted: crowd.is_interrupted(),
        })
    }

    /// All that was not as it should be, the gravest first.
    pub fn flaws(&self) -> Vec<Flaw> {
        let Self {
            arrivals,
            departures,
            outcome,
            ..
        } = self;
        let tally = &outcome.tally;
        let mut flaws = vec![
            Flaw::Lost {
                count: outcome.lost,
                complaint: outcome.complaint.clone(),
            },
            Flaw::Duplicated(tally.duplicated),
            Flaw::Reordered(tally.reordered),
            Flaw::Stalled(outcome.stalled),
            Flaw::Dropped {
                count: departures.dropped as u64,
                last_words: departures.last_words.clone(),
            },
            Flaw::Failed {
                count: arrivals.failed as u64,
                failure: arrivals.failure.as_ref().map(plain),
            },
            Flaw::Refused {
                count: arrivals.refused as u64,
                refusal: arrivals.refusal.clone(),
            },
        ];
        flaws.retain(|flaw| !flaw.is_none());
        flaws
    }

    /// CPU of the server for one connection, in microseconds.
    pub fn cpu_micros_per_connection(&self) -> Option<f64> {
        micros_per(self.cost?.connect_cpu, self.arrivals.made as u64)
    }

    /// CPU of the server for one line to one reader, in microseconds.
    pub fn cpu_micros_per_delivery(&self) -> Option<f64> {
        micros_per(self.cost?.talk_cpu, self.outcome.tally.deliveries)
    }

    /// Memory of the server for one connection, in bytes. `None` also if it had that
    /// memory already.
    pub fn bytes_per_connection(&self) -> Option<f64> {
        let cost = self.cost?;
        let before = cost.memory_at_first.anonymous_bytes;
        let grown = cost.memory.anonymous_bytes.checked_sub(before)?;
        (grown > 0).then(|| grown as f64 / self.outcome.clients as f64)
    }

    /// Connections made in a second. `None` where there is too little to tell from.
    pub fn connections_per_second(&self) -> Option<f64> {
        per_second(self.arrivals.made as u64, self.connect_time)
    }

    /// Lines said in a second.
    pub fn lines_per_second(&self) -> Option<f64> {
        per_second(self.outcome.tally.lines, self.outcome.elapsed)
    }

    /// Lines to readers in a second.
    pub fn deliveries_per_second(&self) -> Option<f64> {
        per_second(self.outcome.tally.deliveries, self.outcome.elapsed)
    }
}

fn micros_per(total: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| total.as_secs_f64() * 1e6 / count as f64)
}

/// The shortest time from which a rate is told.
const LEAST_RATE_TIME: Duration = Duration::from_millis(1);

fn per_second(count: u64, time: Duration) -> Option<f64> {
    (count > 0 && time >= LEAST_RATE_TIME).then(|| count as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_where_there_is_something_to_tell_from() {
        let second = Duration::from_secs(1);
        assert_eq!(micros_per(second, 1000), Some(1000.0));
        assert_eq!(micros_per(second, 0), None);
        assert_eq!(per_second(50, second / 2), Some(100.0));
        assert_eq!(per_second(50, Duration::from_nanos(30)), None);
        assert_eq!(per_second(0, second), None);
    }
}
