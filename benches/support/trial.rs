//! One trial: a fresh server, a crowd, a load, and what that cost the server.

use std::io;
use std::time::Duration;

use chat::process::Memory;
use chat::stress::crowd::Crowd;
use chat::stress::flaw::List;
use chat::stress::load::{End, Load, Pace};
use chat::stress::step::{Plan, Step, Watch};

use super::machine::Cores;
use super::subject::{Kind, Subject};

/// The size of a line, LF counted.
pub(crate) const LINE_BYTES: usize = 64;

/// A load, and for how many.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    /// Clients that hear each line.
    pub(crate) readers: usize,
    pub(crate) talkers: usize,
    /// Whether the talkers are among the readers. Who talks is not sent what it
    /// says, so otherwise there is one more client for each.
    pub(crate) readers_talk: bool,
    pub(crate) pace: Pace,
    pub(crate) end: End,
    /// For how long nothing happens before the talking begins.
    pub(crate) idle: Duration,
}

/// What a trial showed. Times are the server's CPU.
pub(crate) struct Trial {
    /// To take in a connection, in microseconds.
    pub(crate) accept_micros: f64,
    /// Its own memory for a connection, in bytes.
    pub(crate) bytes_each: f64,
    /// While nothing happened, in milliseconds.
    pub(crate) idle_millis: f64,
    /// For a line to one reader, in microseconds.
    pub(crate) delivery_micros: f64,
    /// The memory of the server just started.
    pub(crate) memory_at_start: Memory,
    /// Deliveries made.
    pub(crate) deliveries: u64,
    /// Deliveries lost, made twice or out of order, or not made because a client was
    /// dropped.
    pub(crate) mistakes: u64,
}

/// Tries `subject` with `workload`. A peer may make mistakes; they are counted.
///
/// # Errors
///
/// When the server does not start, does not let everybody in, or delivers nothing;
/// and at any mistake of this project's server or a floor.
pub(crate) fn trial(subject: &Subject, workload: &Workload, cores: Cores) -> io::Result<Trial> {
    let server = subject.start(cores)?;
    let protocol = subject.protocol.clone();
    let mut crowd = Crowd::new(server.address, protocol, workload.talkers, LINE_BYTES)?;
    let watch = Watch::new(server.process)?;
    let plan = Plan {
        clients: match workload.readers_talk {
            true => workload.readers,
            false => workload.readers + workload.talkers,
        },
        idle: workload.idle,
        load: Load {
            pace: workload.pace,
            size_bytes: LINE_BYTES,
            end: workload.end,
            round: 1,
        },
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

/// The middle one of what `figure` gives for each trial.
pub(crate) fn median(trials: &[Trial], figure: impl Fn(&Trial) -> f64) -> Option<f64> {
    let mut figures: Vec<f64> = trials.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        1 => Some(figures[middle]),
        _ => Some((figures.get(middle.checked_sub(1)?)? + figures.get(middle)?) / 2.0),
    }
}
