//! One trial: a fresh server, a crowd, a load, and the server's costs.

use std::io;
use std::time::Duration;

use chat::platform::proc::Memory;
use chat::stress::crowd::Crowd;
use chat::stress::flaw::List;
use chat::stress::load::{End, Load, Pace};
use chat::stress::step::{Plan, Step, Watch};

use super::machine::Cores;
use super::subject::{Kind, Subject};

/// LF included.
pub(crate) const LINE_BYTES: usize = 64;

/// A load, and the clients it is for.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    /// Clients that receive each line.
    pub(crate) readers: usize,
    pub(crate) talkers: usize,
    /// Whether the talkers are among the readers. A talker does not get its own lines, so
    /// otherwise each talker is one more client.
    pub(crate) readers_talk: bool,
    pub(crate) pace: Pace,
    pub(crate) end: End,
    /// The time without load between connecting and talking.
    pub(crate) idle: Duration,
}

/// The results of a trial. Times are the server's CPU.
pub(crate) struct Trial {
    pub(crate) accept_micros: f64,
    /// Anonymous memory per connection.
    pub(crate) bytes_each: f64,
    pub(crate) idle_millis: f64,
    pub(crate) delivery_micros: f64,
    pub(crate) memory_at_start: Memory,
    pub(crate) deliveries: u64,
    /// Deliveries lost, duplicated, out of order, or missing because of a dropped client.
    pub(crate) mistakes: u64,
}

/// Tries `subject` with `workload`. A peer's mistakes are counted.
///
/// # Errors
///
/// When the server does not start, refuses clients, or delivers nothing; and at any mistake of
/// this project's server or a floor.
pub(crate) fn trial(subject: &Subject, workload: &Workload, cores: Cores) -> io::Result<Trial> {
    let server = subject.start(cores)?;
    let protocol = subject.protocol.clone();
    let mut crowd = Crowd::new(server.address, protocol, workload.talkers, LINE_BYTES)?;
    let watch = Watch::new(server.process)?;
    let plan = Plan {
        clients: if workload.readers_talk {
            workload.readers
        } else {
            workload.readers + workload.talkers
        },
        idle: workload.idle,
        load: Load {
            pace: workload.pace,
            size_bytes: LINE_BYTES,
            end: workload.end,
            round: 1,
        },
        max_p99: None,
    };
    let step = Step::take(&mut crowd, &plan, Some(&watch), &mut ())?;
    let fault = |what: &str| io::Error::other(format!("{}: {what}", subject.name));
    let flaws = step.flaws();
    let tally = &step.outcome.tally;
    let must_be_flawless = subject.kind != Kind::Peer;
    if step.arrivals.made < plan.clients || must_be_flawless && !flaws.is_empty() {
        return Err(fault(&List(&flaws).to_string()));
    }
    if tally.deliveries == 0 {
        return Err(fault("nothing was delivered"));
    }
    let cost = step.cost.ok_or_else(|| fault("its process has ended"))?;
    Ok(Trial {
        accept_micros: step.cpu_micros_per_connection().unwrap_or(f64::NAN),
        bytes_each: step.bytes_per_connection().unwrap_or_default(),
        idle_millis: cost.idle_cpu.as_secs_f64() * 1e3,
        delivery_micros: step.cpu_micros_per_delivery().unwrap_or(f64::NAN),
        memory_at_start: cost.memory_at_first,
        deliveries: tally.deliveries,
        mistakes: step.outcome.lost
            + tally.duplicated
            + tally.reordered
            + tally.abandoned
            + tally.undecided,
    })
}

/// The median of `figure` over `trials`.
pub(crate) fn median<T>(trials: &[T], figure: impl Fn(&T) -> f64) -> Option<f64> {
    let mut figures: Vec<f64> = trials.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        1 => Some(figures[middle]),
        _ => Some((figures.get(middle.checked_sub(1)?)? + figures.get(middle)?) / 2.0),
    }
}
