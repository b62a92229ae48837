//! What a run showed, for people and for programs.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};

use super::crowd::Arrivals;
use super::delays::{Distribution, PERCENTILES};
use super::process::Memory;
use super::run::{Outcome, STALL_TIMEOUT};
use crate::error::{Exit, plain};

/// One step of a stress test: connections made, and one run over all there are.
#[derive(Debug)]
pub struct Step {
    /// How many connections were asked for in this step.
    pub asked: usize,
    /// What became of them.
    pub arrivals: Arrivals,
    /// The time that took.
    pub connect_time: Duration,
    /// The size of a line in bytes.
    pub size_bytes: usize,
    /// What came of the run.
    pub outcome: Outcome,
    /// All delays of the run.
    pub delays: Distribution,
    /// What it cost the server, if that is known.
    pub cost: Option<Cost>,
}

/// What a step cost the server.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// CPU for the connections made in this step.
    pub connect_cpu: Duration,
    /// CPU for the run.
    pub run_cpu: Duration,
    /// Its memory before the first connection of all.
    pub memory_before: Memory,
    /// Its memory with all of them, before the run.
    pub memory: Memory,
}

impl Step {
    /// Whether everything was as it should be.
    pub fn is_flawless(&self) -> bool {
        let outcome = &self.outcome;
        self.arrivals.refused + self.arrivals.failed + outcome.dropped == 0
            && outcome.lost + outcome.tally.duplicated + outcome.tally.reordered == 0
    }

    /// CPU of the server for one connection, in microseconds.
    pub fn cpu_micros_per_connection(&self) -> Option<f64> {
        micros_per(self.cost?.connect_cpu, self.arrivals.made as u64)
    }

    /// CPU of the server for one line to one reader, in microseconds.
    pub fn cpu_micros_per_delivery(&self) -> Option<f64> {
        micros_per(self.cost?.run_cpu, self.outcome.tally.deliveries)
    }

    /// Memory of the server for one connection, in bytes.
    pub fn bytes_per_connection(&self) -> Option<u64> {
        let Cost {
            memory,
            memory_before,
            ..
        } = self.cost?;
        let grown = memory
            .anonymous_bytes
            .saturating_sub(memory_before.anonymous_bytes);
        grown.checked_div(self.outcome.clients as u64)
    }

    /// Lines to readers, in a second.
    pub fn deliveries_per_second(&self) -> f64 {
        per_second(self.outcome.tally.deliveries, self.outcome.elapsed)
    }

    /// Everything, for programs. Times are in seconds unless named otherwise.
    pub fn to_json(&self) -> Value {
        let Self {
            arrivals, outcome, ..
        } = self;
        let percentiles = PERCENTILES.map(|percent| {
            let millis = self.delays.at_percentile(percent).as_secs_f64() * 1e3;
            (percentile_name(percent), json!(millis))
        });
        json!({
            "clients": outcome.clients,
            "connections": {
                "asked": self.asked,
                "made": arrivals.made,
                "refused": arrivals.refused,
                "failed": arrivals.failed,
                "dropped": outcome.dropped,
                "seconds": self.connect_time.as_secs_f64(),
                "per_second": per_second(arrivals.made as u64, self.connect_time),
            },
            "lines": {
                "talkers": outcome.talkers,
                "size_bytes": self.size_bytes,
                "said": outcome.tally.lines,
                "seconds": outcome.elapsed.as_secs_f64(),
                "per_second": per_second(outcome.tally.lines, outcome.elapsed),
            },
            "deliveries": {
                "made": outcome.tally.deliveries,
                "per_second": self.deliveries_per_second(),
                "lost": outcome.lost,
                "duplicated": outcome.tally.duplicated,
                "reordered": outcome.tally.reordered,
                "echoed": outcome.tally.echoed,
                "stalled": outcome.stalled,
            },
            "other_lines": outcome.other_lines,
            "delay_ms": percentiles.into_iter().collect::<serde_json::Map<_, _>>(),
            "server": self.cost.map(|cost| json!({
                "cpu_us_per_connection": self.cpu_micros_per_connection(),
                "cpu_us_per_delivery": self.cpu_micros_per_delivery(),
                "bytes_per_connection": self.bytes_per_connection(),
                "anonymous_bytes": cost.memory.anonymous_bytes,
                "resident_bytes": cost.memory.resident_bytes,
            })),
        })
    }
}

/// The whole of a step, in a few lines.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            arrivals, outcome, ..
        } = self;
        let tally = &outcome.tally;
        writeln!(
            f,
            "connections  {} made, {} refused, {} failed; {} in {}",
            HumanCount(arrivals.made as u64),
            HumanCount(arrivals.refused as u64),
            HumanCount(arrivals.failed as u64),
            Rate(arrivals.made as u64, self.connect_time),
            Millis(self.connect_time),
        )?;
        writeln!(
            f,
            "lines        {} of {} bytes from {}; {} in {}",
            HumanCount(tally.lines),
            self.size_bytes,
            Talkers(outcome.talkers),
            Rate(tally.lines, outcome.elapsed),
            Millis(outcome.elapsed),
        )?;
        writeln!(
            f,
            "deliveries   {}; {}",
            HumanCount(tally.deliveries),
            Rate(tally.deliveries, outcome.elapsed),
        )?;
        writeln!(f, "             {}", Verdict(outcome))?;
        write!(f, "delay       ")?;
        if self.delays.is_empty() {
            write!(f, " of nothing")?;
        }
        for percent in PERCENTILES {
            if !self.delays.is_empty() {
                let delay = Millis(self.delays.at_percentile(percent));
                write!(f, " {} {delay}", percentile_name(percent))?;
            }
        }
        writeln!(f)?;
        if let Some(cost) = self.cost {
            write!(f, "server       CPU")?;
            if let Some(micros) = self.cpu_micros_per_connection() {
                write!(f, " {micros:.1} µs a connection,")?;
            }
            if let Some(micros) = self.cpu_micros_per_delivery() {
                write!(f, " {micros:.3} µs a delivery")?;
            }
            write!(f, "; memory")?;
            // None for what it had from an earlier test.
            if let Some(bytes @ 1..) = self.bytes_per_connection() {
                write!(f, " {bytes} B a connection,")?;
            }
            writeln!(f, " {} resident", HumanBytes(cost.memory.resident_bytes))?;
        }
        Ok(())
    }
}

/// What went wrong in a step.
#[derive(Debug)]
pub struct Flaws {
    server: SocketAddr,
    refused: usize,
    refusal: Option<String>,
    failed: usize,
    failure: Option<String>,
    dropped: usize,
    last_words: Option<String>,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    stalled: bool,
}

impl Flaws {
    /// Those of `step`, at `server`.
    pub fn of(server: SocketAddr, step: &Step) -> Self {
        let Step {
            arrivals, outcome, ..
        } = step;
        Self {
            server,
            refused: arrivals.refused,
            refusal: arrivals.refusal.clone(),
            failed: arrivals.failed,
            failure: arrivals.failure.as_ref().map(plain),
            dropped: outcome.dropped,
            last_words: outcome.last_words.clone(),
            lost: outcome.lost,
            duplicated: outcome.tally.duplicated,
            reordered: outcome.tally.reordered,
            stalled: outcome.stalled,
        }
    }

    /// With which code the program ends: the gravest flaw decides.
    pub fn exit(&self) -> Exit {
        if self.lost + self.duplicated + self.reordered > 0 {
            Exit::Failure
        } else if self.dropped > 0 {
            Exit::ConnectionLost
        } else if self.failed > 0 {
            Exit::CannotConnect
        } else {
            Exit::Refused
        }
    }
}

impl fmt::Display for Flaws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server at {} fell short", self.server)?;
        let mut flaw = |count: u64, what: &str, why: Option<&str>| match (count, why) {
            (0, _) => Ok(()),
            (_, None) => write!(f, "; {}{what}", HumanCount(count)),
            (_, Some(why)) => write!(f, "; {}{what} ({why})", HumanCount(count)),
        };
        flaw(self.lost, " deliveries lost", None)?;
        flaw(self.duplicated, " deliveries twice", None)?;
        flaw(self.reordered, " deliveries out of order", None)?;
        let last_words = self.last_words.as_deref();
        flaw(self.dropped as u64, " connections dropped", last_words)?;
        let failure = self.failure.as_deref();
        flaw(self.failed as u64, " connections failed", failure)?;
        let refusal = self.refusal.as_deref();
        flaw(self.refused as u64, " connections refused", refusal)?;
        match self.stalled {
            true => write!(
                f,
                "; it delivered nothing for {} s though something was owed",
                STALL_TIMEOUT.as_secs()
            ),
            false => Ok(()),
        }
    }
}

/// The heading of a table with one [`Row`] a step.
pub const ROW_HEADING: &str = "  clients  connects/s   deliveries/s        p50        p99        max    lost  CPU/delivery  memory/client";

/// A step as one row of a table.
#[derive(Debug)]
pub struct Row<'a>(pub &'a Step);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(step) = self;
        let delay = |percent| Millis(step.delays.at_percentile(percent)).to_string();
        let connects_per_second = per_second(step.arrivals.made as u64, step.connect_time);
        write!(
            f,
            "{:>9}  {:>10}  {:>13}  {:>9}  {:>9}  {:>9}  {:>6}",
            HumanCount(step.outcome.clients as u64).to_string(),
            HumanCount(connects_per_second as u64).to_string(),
            HumanCount(step.deliveries_per_second() as u64).to_string(),
            delay(50.0),
            delay(99.0),
            delay(100.0),
            HumanCount(step.outcome.lost).to_string(),
        )?;
        match step.cpu_micros_per_delivery() {
            Some(micros) => write!(f, "  {micros:>9.3} µs")?,
            None => write!(f, "  {:>12}", "-")?,
        }
        match step.bytes_per_connection() {
            Some(bytes @ 1..) => write!(f, "  {bytes:>11} B"),
            _ => write!(f, "  {:>13}", "-"),
        }
    }
}

/// Whether all was heard as it was said.
struct Verdict<'a>(&'a Outcome);

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(outcome) = self;
        let tally = &outcome.tally;
        if outcome.lost + tally.duplicated + tally.reordered == 0 {
            write!(f, "each line reached each reader once, in order")?;
        } else {
            write!(
                f,
                "{} lost, {} came twice, {} out of order",
                HumanCount(outcome.lost),
                HumanCount(tally.duplicated),
                HumanCount(tally.reordered),
            )?;
        }
        if outcome.dropped > 0 {
            let dropped = HumanCount(outcome.dropped as u64);
            write!(f, "; {dropped} connections dropped by the server")?;
        }
        if tally.echoed > 0 {
            let echoed = HumanCount(tally.echoed);
            write!(f, "; {echoed} came back to who said them")?;
        }
        Ok(())
    }
}

struct Talkers(usize);

impl fmt::Display for Talkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "1 talker"),
            several => write!(f, "{} talkers", HumanCount(several as u64)),
        }
    }
}

struct Rate(u64, Duration);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = per_second(self.0, self.1);
        match rate < 10.0 {
            true => write!(f, "{rate:.1}/s"),
            false => write!(f, "{}/s", HumanCount(rate.round() as u64)),
        }
    }
}

/// A time in the unit in which it is best read.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_secs_f64() * 1e3;
        match millis {
            ..10.0 => write!(f, "{millis:.2} ms"),
            ..100.0 => write!(f, "{millis:.1} ms"),
            ..10_000.0 => write!(f, "{millis:.0} ms"),
            _ => write!(f, "{:.1} s", millis / 1e3),
        }
    }
}

/// The name of a percentile: `p50`, `p99.9`, `max`.
pub fn percentile_name(percent: f64) -> String {
    match percent >= 100.0 {
        true => "max".to_owned(),
        false => format!("p{percent}"),
    }
}

fn micros_per(total: Duration, count: u64) -> Option<f64> {
    (count > 0).then(|| total.as_secs_f64() * 1e6 / count as f64)
}

fn per_second(count: u64, time: Duration) -> f64 {
    match time.is_zero() {
        true => 0.0,
        false => count as f64 / time.as_secs_f64(),
    }
}
