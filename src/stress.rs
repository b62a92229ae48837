//! The load harness: fills a room with connections, has some of them talk, checks
//! that everybody hears every line once and in order, and says what that took.
//!
//! One thread and one poll, like the server. [`run()`] is the command `chat stress`;
//! the benches use the parts: a [`crowd`] of connections that speak some
//! [`protocol`], a [`mod@run`] of a load over it, and what a [`process`] costs.
//! Decisions are pure: [`pace`] says when a line is due, [`payload`] what it says,
//! [`ledger`] who has heard it, [`delays`] how long that took.

pub mod crowd;
pub mod delays;
pub mod ledger;
pub mod pace;
pub mod participant;
pub mod payload;
pub mod plot;
pub mod process;
pub mod progress;
pub mod protocol;
pub mod report;
pub mod run;
pub mod source_address;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use self::crowd::{Arrivals, Crowd};
use self::ledger::Ledger;
use self::pace::Pace;
use self::process::{Memory, Process};
use self::protocol::Protocol;
use self::report::{Cost, Flaws, ROW_HEADING, Row, Step};
use self::run::{End, Load};
use crate::error::Error;
use crate::machine::raise_descriptor_limit;

/// Descriptors for everything that is not a connection.
const SPARE_DESCRIPTORS: usize = 32;

/// The most memory that the books of a run may take.
const MAX_LEDGER_BYTES: usize = 1024 * 1024 * 1024;

/// The number of clients in the first step of a ramp.
const FIRST_RAMP_STEP: usize = 100;

/// What a stress test is to be like.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server.
    pub server: SocketAddr,
    /// How many connections to make.
    pub clients: usize,
    /// How many of them talk.
    pub talkers: usize,
    /// The size of a line, LF counted, in bytes.
    pub size_bytes: usize,
    /// How fast they talk.
    pub pace: Pace,
    /// When they fall silent.
    pub end: End,
    /// Whether the number of clients grows in steps.
    pub ramp: bool,
    /// The server's process, if it runs on this machine.
    pub pid: Option<u32>,
    /// Whether the result is for programs.
    pub json: bool,
    /// Where to draw a picture of the delays.
    pub plot: Option<PathBuf>,
}

/// Runs a stress test and prints what it showed.
///
/// # Errors
///
/// When it cannot be run at all, and when not every line reached every reader once
/// and in order, or a connection was refused, failed or was dropped.
pub fn run(config: &Config) -> Result<(), Error> {
    check_limits(config)?;
    let watch = config.pid.map(Watch::new).transpose()?;
    let mut crowd = Crowd::new(
        config.server,
        Protocol::chat(),
        config.talkers,
        config.size_bytes,
    )
    .map_err(Error::Poll)?;
    crowd.catch_interrupts().map_err(Error::Poll)?;
    let counts = match config.ramp {
        true => ramp(config.talkers, config.clients),
        false => vec![config.clients],
    };
    if config.ramp && !config.json {
        print(format_args!("{ROW_HEADING}"))?;
    }
    let mut steps = Vec::new();
    for count in counts {
        let step = take_step(config, watch.as_ref(), &mut crowd, count)?;
        if config.ramp && !config.json {
            print(format_args!("{}", Row(&step)))?;
        }
        let goes_on = step.is_flawless() && !crowd.is_interrupted();
        steps.push(step);
        if !goes_on {
            break;
        }
    }
    report(config, &steps)
}

/// Makes connections until there are `count`, and runs the load over them.
fn take_step(
    config: &Config,
    watch: Option<&Watch>,
    crowd: &mut Crowd,
    count: usize,
) -> Result<Step, Error> {
    let cpu = || watch.map(Watch::cpu).transpose();
    let asked = count - crowd.begun();
    let cpu_at_first = cpu()?;
    let began = Instant::now();
    let mut bar = progress::connecting(count);
    let arrivals = crowd
        .grow_to(count, &mut |now_in| bar.connected(now_in))
        .map_err(Error::Poll)?;
    drop(bar);
    let connect_time = began.elapsed();
    if crowd.is_empty() {
        return Err(nobody_is_in(config.server, arrivals));
    }

    let cpu_when_in = cpu()?;
    let memory = watch.map(Watch::memory).transpose()?;
    let load = Load {
        pace: config.pace,
        size_bytes: config.size_bytes,
        end: config.end,
        run: RandomState::new().build_hasher().finish() as u32,
    };
    let mut bar = progress::talking(config.end, config.talkers);
    let outcome =
        run::run(crowd, &load, &mut |now| bar.talked(config.end, now)).map_err(Error::Poll)?;
    drop(bar);
    let cost = match (watch, memory, cpu_at_first, cpu_when_in, cpu()?) {
        (Some(watch), Some(memory), Some(at_first), Some(when_in), Some(at_last)) => Some(Cost {
            connect_cpu: when_in.saturating_sub(at_first),
            run_cpu: at_last.saturating_sub(when_in),
            memory_before: watch.memory_before,
            memory,
        }),
        _ => None,
    };
    Ok(Step {
        asked,
        arrivals,
        connect_time,
        size_bytes: config.size_bytes,
        delays: outcome.delays.total(),
        outcome,
        cost,
    })
}

/// Why nobody was let in.
fn nobody_is_in(server: SocketAddr, arrivals: Arrivals) -> Error {
    if let Some(words) = arrivals.refusal {
        return Error::Refused {
            server,
            words: Some(words),
        };
    }
    let failure = arrivals.failure;
    let failure = failure.unwrap_or_else(|| io::ErrorKind::Interrupted.into());
    Error::Connect {
        host: server.ip().to_string(),
        port: server.port(),
        attempts: vec![(server, failure)],
    }
}

/// Prints what the steps showed, and finds whether all went well.
fn report(config: &Config, steps: &[Step]) -> Result<(), Error> {
    if config.json {
        let steps: Vec<_> = steps.iter().map(Step::to_json).collect();
        let report = json!({ "server": config.server.to_string(), "steps": steps });
        print(format_args!("{report:#}"))?;
    } else if let ([only], false) = (steps, config.ramp) {
        print(format_args!("{}", only.to_string().trim_end()))?;
    }
    if let (Some(path), Some(last)) = (&config.plot, steps.last()) {
        let outcome = &last.outcome;
        let title = format!(
            "{}: {} clients, {} talking, lines of {} bytes",
            config.server, outcome.clients, outcome.talkers, config.size_bytes
        );
        plot::draw(path, &title, &outcome.delays).map_err(|reason| Error::WritePlot {
            path: path.clone(),
            reason,
        })?;
    }
    match steps.last() {
        Some(last) if !last.is_flawless() => {
            Err(Error::Flawed(Box::new(Flaws::of(config.server, last))))
        }
        _ => Ok(()),
    }
}

/// Whether what is asked for can be had on this machine at all.
fn check_limits(config: &Config) -> Result<(), Error> {
    let needed = config.clients + SPARE_DESCRIPTORS;
    let limit = raise_descriptor_limit().unwrap_or(usize::MAX);
    if needed > limit {
        return Err(Error::TooFewDescriptors { needed, limit });
    }
    let ledger_bytes = Ledger::size_bytes(config.clients, config.talkers);
    if ledger_bytes > MAX_LEDGER_BYTES {
        return Err(Error::TooManyTalkers {
            talkers: config.talkers,
            clients: config.clients,
            most: MAX_LEDGER_BYTES / Ledger::size_bytes(config.clients, 1),
        });
    }
    Ok(())
}

/// The numbers of clients in the steps of a ramp: 100, 200, 500, 1,000 and so on,
/// from where there are enough for the `talkers` up to `clients`.
fn ramp(talkers: usize, clients: usize) -> Vec<usize> {
    let decades = std::iter::successors(Some(FIRST_RAMP_STEP), |step| step.checked_mul(10));
    let mut steps: Vec<usize> = decades
        .take_while(|&step| step < clients)
        .flat_map(|step| [step, step * 2, step * 5])
        .filter(|&step| step >= talkers && step < clients)
        .collect();
    steps.push(clients);
    steps
}

/// Prints a line to standard output. Whoever closes it early (`| head`) has seen
/// enough.
fn print(line: std::fmt::Arguments<'_>) -> Result<(), Error> {
    match writeln!(io::stdout(), "{line}") {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::WriteOutput(e)),
        _ => Ok(()),
    }
}

/// The server's process, looked at from outside.
struct Watch {
    pid: u32,
    process: Process,
    memory_before: Memory,
}

impl Watch {
    fn new(pid: u32) -> Result<Self, Error> {
        let process = Process::new(pid);
        process.cpu().map_err(|source| watch_error(pid, source))?;
        let memory_before = process
            .memory()
            .map_err(|source| watch_error(pid, source))?;
        Ok(Self {
            pid,
            process,
            memory_before,
        })
    }

    fn cpu(&self) -> Result<Duration, Error> {
        self.process.cpu().map_err(|e| watch_error(self.pid, e))
    }

    fn memory(&self) -> Result<Memory, Error> {
        self.process.memory().map_err(|e| watch_error(self.pid, e))
    }
}

fn watch_error(pid: u32, source: io::Error) -> Error {
    Error::WatchProcess { pid, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_grows_to_what_was_asked_for() {
        assert_eq!(ramp(1, 50), [50]);
        assert_eq!(ramp(1, 100), [100]);
        assert_eq!(ramp(1, 1_500), [100, 200, 500, 1_000, 1_500]);
        assert_eq!(ramp(300, 2_000), [500, 1_000, 2_000]);
    }
}
