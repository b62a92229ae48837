//! One trial: a fresh server, a crowd, a load, and what that cost the server.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use chat::stress::crowd::Crowd;
use chat::stress::pace::Pace;
use chat::stress::process::Memory;
use chat::stress::run::{self, End, Load, Outcome};

use super::machine::Cores;
use super::subject::Subject;

/// The size of a line, LF counted.
pub(crate) const LINE_BYTES: usize = 64;

/// A load, and for how many.
#[derive(Clone, Copy)]
pub(crate) struct Workload {
    /// Connections that hear each line.
    pub(crate) readers: usize,
    pub(crate) talkers: usize,
    /// Whether the talkers are among the readers. Who talks is not sent what it
    /// says, so otherwise there is one more connection for each.
    pub(crate) readers_talk: bool,
    pub(crate) pace: Pace,
    pub(crate) end: End,
    /// For how long nothing happens before the talking begins.
    pub(crate) idle: Duration,
}

impl Workload {
    fn connections(&self) -> usize {
        match self.readers_talk {
            true => self.readers,
            false => self.readers + self.talkers,
        }
    }
}

/// What a trial showed.
pub(crate) struct Trial {
    /// CPU of the server to take in a connection, in microseconds.
    pub(crate) accept_micros: f64,
    /// Its own memory for a connection, in bytes.
    pub(crate) bytes_each: f64,
    /// CPU of the server while nothing happened, in milliseconds.
    pub(crate) idle_millis: f64,
    /// CPU of the server for a line to one reader, in microseconds.
    pub(crate) delivery_micros: f64,
    /// The memory of the server just started.
    pub(crate) memory_at_start: Memory,
    /// Deliveries that went wrong: lost, twice, or out of order; and connections that
    /// were dropped.
    pub(crate) flaws: u64,
    /// Deliveries made.
    pub(crate) deliveries: u64,
}

/// Tries `subject` with `workload`.
///
/// # Errors
///
/// When the server does not start, or does not let everybody in.
pub(crate) fn trial(subject: &Subject, workload: &Workload, cores: Cores) -> io::Result<Trial> {
    let server = subject.start(cores)?;
    let protocol = subject.protocol.clone();
    let mut crowd = Crowd::new(server.address, protocol, workload.talkers, LINE_BYTES)?;
    let memory_at_start = server.process.memory()?;
    let cpu_at_first = server.process.cpu()?;
    let count = workload.connections();
    let arrivals = crowd.grow_to(count, &mut |_| {})?;
    if arrivals.made < count {
        let failure = arrivals.failure.map_or_else(String::new, |e| e.to_string());
        return Err(io::Error::other(format!(
            "{} let in {} of {count}: {failure}",
            subject.name, arrivals.made
        )));
    }
    let cpu_when_in = server.process.cpu()?;
    let memory = server.process.memory()?;
    // Not to await anything: this is the time over which nothing is to happen.
    sleep(workload.idle);
    let cpu_before_run = server.process.cpu()?;
    let load = Load {
        pace: workload.pace,
        size_bytes: LINE_BYTES,
        end: workload.end,
        run: 1,
    };
    let outcome = run::run(&mut crowd, &load, &mut |_| {})?;
    let run_cpu = server.process.cpu()?.saturating_sub(cpu_before_run);
    let idle_cpu = cpu_before_run.saturating_sub(cpu_when_in);
    let accept_cpu = cpu_when_in.saturating_sub(cpu_at_first);
    let grown_bytes = memory
        .anonymous_bytes
        .saturating_sub(memory_at_start.anonymous_bytes);
    let Outcome {
        tally,
        lost,
        dropped,
        ..
    } = outcome;
    Ok(Trial {
        accept_micros: accept_cpu.as_secs_f64() * 1e6 / count as f64,
        bytes_each: grown_bytes as f64 / count as f64,
        idle_millis: idle_cpu.as_secs_f64() * 1e3,
        delivery_micros: run_cpu.as_secs_f64() * 1e6 / tally.deliveries.max(1) as f64,
        memory_at_start,
        flaws: lost + tally.duplicated + tally.reordered + dropped as u64,
        deliveries: tally.deliveries,
    })
}

/// The middle one of what `figure` gives for each trial.
pub(crate) fn median(trials: &[Trial], figure: impl Fn(&Trial) -> f64) -> Option<f64> {
    let mut figures: Vec<f64> = trials.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}
