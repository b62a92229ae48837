//! One step of a test: a crowd grows and talks, and the server's costs are measured.
//! `chat stress` and the benches share it.

use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::crowd::{Arrivals, Crowd, Departures, Observer};
use super::flaw::Flaw;
use super::load::Load;
use super::round::Outcome;
use crate::error::plain;
use crate::platform::proc::{Memory, Process};

/// What a step does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The number of connections, those of earlier steps included.
    pub clients: usize,
    /// The time without load between connecting and talking.
    pub idle: Duration,
    /// What the talkers do.
    pub load: Load,
    /// The longest 99th percentile of the delays that is no flaw. `None`: any.
    pub max_p99: Option<Duration>,
}

/// The result of a step.
#[derive(Debug)]
pub struct Step {
    /// The connections made, refused and failed.
    pub arrivals: Arrivals,
    /// Until the last connection was let in.
    pub(crate) connect_time: Duration,
    /// The clients that were let in and dropped.
    pub(crate) departures: Departures,
    /// The result of the talking.
    pub outcome: Outcome,
    /// The server's costs. `None` without a [`Watch`], or if the process has ended.
    pub cost: Option<Cost>,
    /// Whether the user ended the step early.
    pub(crate) was_interrupted: bool,
    max_p99: Option<Duration>,
}

/// The server's process, seen from outside.
#[derive(Debug)]
pub struct Watch {
    process: Process,
    /// Before the first connection.
    memory_at_first: Memory,
}

/// The server's costs in a step.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU for the connections made in this step.
    pub connect_cpu: Duration,
    /// CPU while idle.
    pub idle_cpu: Duration,
    /// CPU for the talking.
    pub talk_cpu: Duration,
    /// Memory before the first connection.
    pub memory_at_first: Memory,
    /// Memory with all connections, before the talking.
    pub memory: Memory,
}

impl Watch {
    /// Watches `process` from now on.
    ///
    /// # Errors
    ///
    /// Those of [`Process`].
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
        // `Watch::new` has read these files before. If that fails now, the process has
        // ended, and the rest of the result still counts.
        let cpu = || watch?.process.cpu().ok();
        let at_first = cpu();
        let began = Instant::now();
        let arrivals = crowd.grow_to(plan.clients, observer)?;
        let connect_time = arrivals
            .last_made_at
            .map_or(Duration::ZERO, |at| at - began);
        let when_in = cpu();
        let memory = watch.and_then(|watch| watch.process.memory().ok());
        // This awaits nothing: idle time is what is measured.
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
            max_p99: plan.max_p99,
        })
    }

    /// All faults of the server, the gravest first.
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
            Flaw::Garbled(outcome.garbled),
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
        if let (Some(max), Some(delays)) = (self.max_p99, outcome.delays.total()) {
            let p99 = delays.at_percentile(99.0);
            flaws.push(Flaw::Slow { p99, max });
        }
        flaws.retain(|flaw| !flaw.is_none());
        flaws
    }

    /// Server CPU per connection, in microseconds.
    pub fn cpu_micros_per_connection(&self) -> Option<f64> {
        micros_per(self.cost?.connect_cpu, self.arrivals.made as u64)
    }

    /// Server CPU per delivery, in microseconds.
    pub fn cpu_micros_per_delivery(&self) -> Option<f64> {
        micros_per(self.cost?.talk_cpu, self.outcome.tally.deliveries)
    }

    /// Server memory per connection. `None` also if the server had that memory before.
    pub fn bytes_per_connection(&self) -> Option<f64> {
        let cost = self.cost?;
        let before = cost.memory_at_first.anonymous_bytes;
        let grown = cost.memory.anonymous_bytes.checked_sub(before)?;
        (grown > 0).then(|| grown as f64 / self.outcome.clients as f64)
    }

    /// `None`, here and below, when the time is too short to tell.
    pub(crate) fn connections_per_second(&self) -> Option<f64> {
        per_second(self.arrivals.made as u64, self.connect_time)
    }

    pub(crate) fn lines_per_second(&self) -> Option<f64> {
        per_second(self.outcome.tally.lines, self.outcome.elapsed)
    }

    pub(crate) fn deliveries_per_second(&self) -> Option<f64> {
        per_second(self.outcome.tally.deliveries, self.outcome.elapsed)
    }
}

fn micros_per(total: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| total.as_secs_f64() * 1e6 / count as f64)
}

/// A rate over a shorter time means nothing.
const MIN_RATE_TIME: Duration = Duration::from_millis(1);

fn per_second(count: u64, time: Duration) -> Option<f64> {
    (count > 0 && time >= MIN_RATE_TIME).then(|| count as f64 / time.as_secs_f64())
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
