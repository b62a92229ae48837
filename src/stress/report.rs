//! The results of a step, for people and for programs.

use std::fmt::{self, Write as _};
use std::time::Duration;

use indicatif::{DecimalBytes, HumanCount};
use serde_json::{Value, json};

use super::delays::{Distribution, PERCENTILES, Time};
use super::flaw::Flaw;
use super::load::{Load, Pace};
use super::step::Step;

/// The share of the target rate from which it counts as met.
const MET_RATE: f64 = 0.95;

/// What the percentiles of a closed loop leave out: talkers are silent while a line is late.
pub(crate) const CLOSED_LOOP: &str = "in a closed loop: while a line is late, no other is said";

/// One step as a text of some lines, each with its LF.
pub(crate) struct Summary<'a> {
    pub(crate) load: &'a Load,
    pub(crate) step: &'a Step,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load, step } = self;
        let Step {
            arrivals, outcome, ..
        } = step;
        let tally = &outcome.tally;
        let per_second = |rate| PerSecond(rate).to_string();
        writeln!(
            f,
            "connections  {} made, {} refused, {} failed{}",
            count(arrivals.made),
            count(arrivals.refused),
            count(arrivals.failed),
            per_second(step.connections_per_second()),
        )?;
        writeln!(
            f,
            "lines        {} of {} bytes, {} talking{}{}, in {}",
            HumanCount(tally.lines),
            count(load.size_bytes),
            count(outcome.talkers),
            per_second(step.lines_per_second()),
            self.missed_rate(),
            Time(outcome.elapsed),
        )?;
        writeln!(
            f,
            "deliveries   {}{}",
            HumanCount(tally.deliveries),
            per_second(step.deliveries_per_second()),
        )?;
        writeln!(f, "             {}", Verdict(step))?;
        match outcome.delays.total() {
            None => writeln!(f, "delay        unknown: nothing was delivered")?,
            Some(delays) => writeln!(f, "delay        {}", percentiles(&delays))?,
        }
        if let Pace::InFlight(_) = load.pace {
            let silence = Time(outcome.longest_silence);
            writeln!(f, "             {CLOSED_LOOP}; longest silence {silence}")?;
        }
        if let Some(cost) = step.cost {
            if cost.talk_cpu.is_zero() && tally.deliveries > 0 {
                return writeln!(f, "server       used no CPU: is that the server's PID?");
            }
            write!(f, "server      ")?;
            if let Some(micros) = step.cpu_micros_per_connection() {
                write!(f, " {micros:.1} µs CPU per connection,")?;
            }
            if let Some(micros) = step.cpu_micros_per_delivery() {
                write!(f, " {micros:.3} µs CPU per delivery,")?;
            }
            if let Some(bytes) = step.bytes_per_connection() {
                write!(f, " {bytes:.0} B per connection,")?;
            }
            writeln!(f, " {} resident", DecimalBytes(cost.memory.resident_bytes))?;
        }
        if outcome.other_lines > 0 {
            let others = HumanCount(outcome.other_lines);
            writeln!(
                f,
                "others       {others} lines that are not part of this test"
            )?;
        }
        if step.was_interrupted {
            writeln!(f, "interrupted  the test was ended early")?;
        }
        Ok(())
    }
}

impl Summary<'_> {
    /// The target rate, if it was not met.
    fn missed_rate(&self) -> String {
        let Pace::PerSecond(each) = self.load.pace else {
            return String::new();
        };
        let target = each * self.step.outcome.talkers as f64;
        let is_missed = |rate: f64| rate < target * MET_RATE && !self.step.was_interrupted;
        if self.step.lines_per_second().is_some_and(is_missed) {
            format!(" instead of {}/s", HumanCount(target.round() as u64))
        } else {
            String::new()
        }
    }
}

/// Whether all lines were delivered as they were said.
struct Verdict<'a>(&'a Step);

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(step) = self;
        let tally = &step.outcome.tally;
        let not_made = tally.abandoned + tally.undecided;
        let flaws = step.flaws();
        let is_flawed = flaws.iter().any(Flaw::is_of_deliveries);
        if is_flawed {
            f.write_str("not every line reached every reader once, in order")?;
        } else if tally.deliveries == 0 {
            f.write_str("nothing was delivered, so nothing is known")?;
        } else if not_made > 0 {
            f.write_str("every line reached the remaining readers once, in order")?;
        } else {
            f.write_str("every line reached every reader once, in order")?;
        }
        if not_made > 0 {
            let not_made = HumanCount(not_made);
            write!(f, "; {not_made} not made, for dropped clients")?;
        }
        if tally.echoed > 0 {
            let echoed = HumanCount(tally.echoed);
            write!(f, "; {echoed} came back to their talker")?;
        }
        Ok(())
    }
}

/// The steps of a ramp, one per row.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) has_costs: bool,
}

impl Table {
    pub(crate) fn heading(self) -> String {
        let mut text = format!(
            "{:>9} {:>10} {:>12} {:>7} {:>7} {:>7} {:>7}",
            "clients", "connects/s", "deliveries/s", "p50", "p99", "max", "silence"
        );
        if self.has_costs {
            text += "  CPU/delivery  memory/client";
        }
        text + "  flaws"
    }

    pub(crate) fn row(self, step: &Step) -> String {
        let rate = |rate: Option<f64>| match rate {
            Some(rate) => HumanCount(rate.round() as u64).to_string(),
            None => "-".to_owned(),
        };
        let delays = step.outcome.delays.total();
        let delay = |percent| match &delays {
            Some(delays) => Time(delays.at_percentile(percent)).to_string(),
            None => "-".to_owned(),
        };
        let mut text = format!(
            "{:>9} {:>10} {:>12} {:>7} {:>7} {:>7} {:>7}",
            count(step.outcome.clients),
            rate(step.connections_per_second()),
            rate(step.deliveries_per_second()),
            delay(50.0),
            delay(99.0),
            delay(100.0),
            Time(step.outcome.longest_silence),
        );
        if self.has_costs {
            let cost = |cost: Option<f64>, unit: &str, digits| match cost {
                Some(cost) => format!("{cost:.digits$} {unit}"),
                None => "-".to_owned(),
            };
            let cpu = cost(step.cpu_micros_per_delivery(), "µs", 3);
            let memory = cost(step.bytes_per_connection(), "B", 0);
            write!(text, "  {cpu:>12}  {memory:>13}").expect("a String takes every write");
        }
        let flaws: Vec<String> = step.flaws().iter().map(Flaw::brief).collect();
        if flaws.is_empty() {
            text += "  none";
        } else {
            text = text + "  " + &flaws.join(", ");
        }
        text
    }
}

/// All results of a step.
pub(crate) fn json(load: &Load, step: &Step) -> Value {
    let Step {
        arrivals, outcome, ..
    } = step;
    let tally = &outcome.tally;
    let delays = outcome.delays.total().map(|delays| {
        let percentiles = PERCENTILES.map(|percent| {
            let delay = millis(delays.at_percentile(percent));
            (percentile_name(percent).replace('.', "_"), json!(delay))
        });
        Value::from_iter(percentiles)
    });
    let (rate, in_flight) = match load.pace {
        Pace::PerSecond(rate) => (Some(rate), None),
        Pace::InFlight(count) => (None, Some(count)),
    };
    json!({
        "clients": outcome.clients,
        "talkers": outcome.talkers,
        "asked": {
            "clients": arrivals.asked,
            "size_bytes": load.size_bytes,
            "lines_per_second_each": rate,
            "in_flight_each": in_flight,
        },
        "connections": {
            "made": arrivals.made,
            "refused": arrivals.refused,
            "failed": arrivals.failed,
            "dropped": step.departures.dropped,
            "seconds": seconds(step.connect_time),
            "per_second": rounded(step.connections_per_second()),
        },
        "lines": {
            "said": tally.lines,
            "seconds": seconds(outcome.elapsed),
            "per_second": rounded(step.lines_per_second()),
            "garbled": outcome.garbled,
            "others": outcome.other_lines,
            "notices": outcome.notices,
        },
        "deliveries": {
            "made": tally.deliveries,
            "per_second": rounded(step.deliveries_per_second()),
            "lost": outcome.lost,
            "duplicated": tally.duplicated,
            "reordered": tally.reordered,
            "echoed": tally.echoed,
            "not_made_with_dropped_clients": tally.abandoned + tally.undecided,
        },
        "loop": if in_flight.is_some() { "closed" } else { "open" },
        "delay_ms": delays,
        "longest_silence_ms": millis(outcome.longest_silence),
        "stalled": outcome.stalled,
        "interrupted": step.was_interrupted,
        "flaws": step.flaws().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "cost": step.cost.map(|cost| json!({
            "cpu_us_per_connection": rounded(step.cpu_micros_per_connection()),
            "cpu_us_per_delivery": rounded(step.cpu_micros_per_delivery()),
            "bytes_per_connection": rounded(step.bytes_per_connection()),
            "anonymous_bytes": cost.memory.anonymous_bytes,
            "resident_bytes": cost.memory.resident_bytes,
        })),
    })
}

/// To a thousandth: more is noise.
fn rounded(figure: Option<f64>) -> Option<f64> {
    figure.map(|figure| (figure * 1e3).round() / 1e3)
}

fn seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

fn count(count: usize) -> String {
    HumanCount(count as u64).to_string()
}

/// A rate after the count it belongs to; nothing where it is not known.
struct PerSecond(Option<f64>);

impl fmt::Display for PerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(rate) if rate < 10.0 => write!(f, ", {rate:.1}/s"),
            Some(rate) => write!(f, ", {}/s", HumanCount(rate.round() as u64)),
        }
    }
}

/// `p50`, `p99.9`, `max`.
fn percentile_name(percent: f64) -> String {
    if percent >= 100.0 {
        "max".to_owned()
    } else {
        format!("p{percent}")
    }
}

/// The head of what [`csv`] writes.
pub(crate) const CSV_HEADING: &str = "clients,what,delay_us,count\n";

/// The counts of a step as rows. All can be added up over several processes and machines; what
/// follows from them, such as percentiles, cannot, and is not there.
pub(crate) fn csv(step: &Step) -> String {
    let Step {
        arrivals, outcome, ..
    } = step;
    let tally = &outcome.tally;
    let clients = arrivals.wanted;
    let mut rows = String::new();
    let mut row = |what: &str, delay: &dyn fmt::Display, count: u64| {
        writeln!(rows, "{clients},{what},{delay},{count}").expect("a String takes every write");
    };
    for (what, count) in [
        ("made", arrivals.made as u64),
        ("refused", arrivals.refused as u64),
        ("failed", arrivals.failed as u64),
        ("dropped", step.departures.dropped as u64),
        ("lines", tally.lines),
        ("deliveries", tally.deliveries),
        ("lost", outcome.lost),
        ("garbled", outcome.garbled),
        ("duplicated", tally.duplicated),
        ("reordered", tally.reordered),
    ] {
        row(what, &"", count);
    }
    let delays = outcome.delays.total();
    for (micros, count) in delays.iter().flat_map(Distribution::recorded) {
        row("delay", &micros, count);
    }
    rows
}

/// The percentiles of `delays` in one line.
pub(crate) fn percentiles(delays: &Distribution) -> String {
    let named = PERCENTILES.map(|percent| {
        let delay = Time(delays.at_percentile(percent));
        format!("{} {delay}", percentile_name(percent))
    });
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_where_they_are_known() {
        assert_eq!(PerSecond(Some(0.5)).to_string(), ", 0.5/s");
        assert_eq!(PerSecond(Some(12_345.6)).to_string(), ", 12,346/s");
        assert_eq!(PerSecond(None).to_string(), "");
    }

    #[test]
    fn percentiles_have_the_usual_names() {
        let names = PERCENTILES.map(percentile_name);
        assert_eq!(names, ["p50", "p90", "p99", "p99.9", "max"]);
    }

    #[test]
    fn heading_and_rows_are_for_a_terminal() {
        let width = |has_costs| Table { has_costs }.heading().len();
        assert!(width(false) <= 80 && width(true) <= 110);
    }
}
