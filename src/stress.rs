//! The load harness: fills a room with clients, lets some of them talk, checks that every
//! line reaches every reader once and in order, and measures what that costs.
//!
//! One thread and one poll, like the server. [`run`] is the command `chat stress`; the
//! benches run the same [`step`]s with a [`crowd`] that speaks another [`protocol`].
//! `round` is pure: it decides who talks when, as the [`load`] says, and its `ledger`
//! finds what went wrong. Nothing here is shared with the code under test: `client` reads
//! and writes its own socket, `framing` cuts its own lines.

mod client;
pub mod crowd;
mod delays;
mod error;
pub mod flaw;
mod framing;
mod json;
mod ledger;
pub mod load;
pub(crate) mod payload;
pub mod plot;
mod progress;
pub mod protocol;
mod report;
mod round;
pub mod step;

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use self::crowd::{Arrivals, Crowd};
use self::error::StressError;
use self::ledger::Ledger;
use self::load::{End, Load, Pace};
use self::payload::MAX_TALKERS;
use self::progress::Bars;
use self::protocol::{Protocol, Wire};
use self::report::{Summary, Table};
use self::step::{Plan, Step, Watch};
use crate::client::connect::resolve;
use crate::error::Error;
use crate::platform::proc::Process;
use crate::platform::proc::raise_descriptor_limit;
use crate::platform::stdio;

/// Descriptors for everything but connections.
const SPARE_DESCRIPTORS: usize = 32;

/// The most memory that a ledger may take from the start.
const MAX_LEDGER_BYTES: usize = 1024 * 1024 * 1024;

/// Clients in the first step of a ramp.
const FIRST_RAMP_STEP: usize = 100;

/// The options of a stress test.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name or address.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) clients: usize,
    /// How many of the clients talk.
    pub(crate) talkers: usize,
    /// The size of a line with its LF.
    pub(crate) size_bytes: usize,
    pub(crate) wire: Wire,
    pub(crate) pace: Pace,
    pub(crate) end: End,
    /// Whether the number of clients grows in steps.
    pub(crate) ramp: bool,
    /// The server's process, if it runs on this machine.
    pub(crate) pid: Option<u32>,
    pub(crate) json: bool,
    /// The file for a chart of the delays.
    pub(crate) plot: Option<PathBuf>,
}

/// Runs a stress test and prints its results.
///
/// # Errors
///
/// When the test cannot run; when not every line reached every reader once and in order;
/// and when a client was refused, dropped, or could not connect.
pub fn run(config: &Config) -> Result<(), Error> {
    Test::prepare(config)?.run()
}

struct Test<'a> {
    config: &'a Config,
    server: SocketAddr,
    crowd: Crowd,
    watch: Option<Watch>,
    /// Opened before the test begins: a long test must not end without it.
    plot: Option<(&'a Path, File)>,
}

impl<'a> Test<'a> {
    fn prepare(config: &'a Config) -> Result<Self, Error> {
        check_limits(config)?;
        let server = resolve(&config.host, config.port)?[0];
        let watch = match config.pid {
            None => None,
            Some(pid) => Some(
                Watch::new(Process::new(pid))
                    .map_err(|source| StressError::Watch { pid, source })?,
            ),
        };
        let plot = match &config.plot {
            None => None,
            Some(path) => Some((
                path.as_path(),
                File::create(path).map_err(|e| write_plot_error(path, e))?,
            )),
        };
        let protocol = Protocol::chat(config.wire);
        let mut crowd =
            Crowd::new(server, protocol, config.talkers, config.size_bytes).map_err(Error::Poll)?;
        crowd.catch_interrupts().map_err(Error::Poll)?;
        Ok(Self {
            config,
            server,
            crowd,
            watch,
            plot,
        })
    }

    fn run(mut self) -> Result<(), Error> {
        let config = self.config;
        let table = Table {
            has_costs: self.watch.is_some(),
        };
        let prints_rows = config.ramp && !config.json;
        let counts = if config.ramp {
            ramp(config.talkers, config.clients)
        } else {
            vec![config.clients]
        };
        if prints_rows {
            print(&table.heading())?;
        }
        let mut steps = Vec::new();
        for clients in counts {
            let (load, step) = self.take_step(clients)?;
            if prints_rows {
                print(&table.row(&step))?;
            }
            let goes_on = step.flaws().is_empty() && !step.was_interrupted;
            steps.push((load, step));
            if !goes_on {
                break;
            }
        }
        self.report(&steps)
    }

    fn take_step(&mut self, clients: usize) -> Result<(Load, Step), Error> {
        let config = self.config;
        let load = Load {
            pace: config.pace,
            size_bytes: config.size_bytes,
            end: config.end,
            round: RandomState::new().build_hasher().finish() as u32,
        };
        let plan = Plan {
            clients,
            idle: Duration::ZERO,
            load,
        };
        let mut bars = Bars::new(clients, config.talkers, config.end);
        let step = Step::take(&mut self.crowd, &plan, self.watch.as_ref(), &mut bars)
            .map_err(Error::Poll)?;
        // Clients that were let in and dropped at once are a result.
        if step.outcome.clients + step.departures.dropped == 0 {
            return Err(nobody_is_in(self.server, step.arrivals));
        }
        Ok((load, step))
    }

    /// Prints the results. An error when the last step has flaws.
    fn report(self, steps: &[(Load, Step)]) -> Result<(), Error> {
        let config = self.config;
        if config.json {
            let steps: Vec<_> = steps
                .iter()
                .map(|(load, s)| report::json(load, s))
                .collect();
            let address = self.server.to_string();
            print(&format!(
                "{:#}",
                json!({ "server": address, "steps": steps })
            ))?;
        } else if let ([(load, step)], false) = (steps, config.ramp) {
            print(Summary { load, step }.to_string().trim_end())?;
        }
        let Some((_, last)) = steps.last() else {
            return Ok(());
        };
        if let Some((path, mut file)) = self.plot {
            let title = format!(
                "chat stress {}: {} clients, {} talking, lines of {} bytes",
                self.server, last.outcome.clients, last.outcome.talkers, config.size_bytes
            );
            file.write_all(plot::draw(&title, &last.outcome.delays).as_bytes())
                .map_err(|e| write_plot_error(path, e))?;
        }
        let flaws = last.flaws();
        if flaws.is_empty() {
            return Ok(());
        }
        Err(StressError::Flawed {
            server: self.server,
            flaws,
        }
        .into())
    }
}

/// Checks that this machine can run the test.
fn check_limits(config: &Config) -> Result<(), StressError> {
    let needed = config.clients + SPARE_DESCRIPTORS;
    // If the limit cannot be raised, a connection fails later and says so.
    let limit = raise_descriptor_limit().unwrap_or(usize::MAX);
    if needed > limit {
        return Err(StressError::TooFewDescriptors { needed, limit });
    }
    let most = (MAX_LEDGER_BYTES / Ledger::size_bytes(config.clients, 1))
        .min(config.clients)
        .min(MAX_TALKERS);
    if config.talkers > most {
        return Err(StressError::TooManyTalkers {
            talkers: config.talkers,
            clients: config.clients,
            most,
        });
    }
    Ok(())
}

/// The client counts of a ramp: 100, 200, 500, 1,000 and so on, from at least `talkers`
/// up to `clients`.
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

/// Why no client was let in.
fn nobody_is_in(server: SocketAddr, arrivals: Arrivals) -> Error {
    match (arrivals.refusal, arrivals.failure) {
        (Some(words), _) => Error::Refused {
            server,
            words: Some(words),
        },
        (None, Some(failure)) => Error::Connect {
            host: server.ip().to_string(),
            port: server.port(),
            attempts: vec![(server, failure)],
        },
        (None, None) => StressError::Interrupted.into(),
    }
}

fn write_plot_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    StressError::WritePlot { path, source }.into()
}

/// Prints `text` and a LF.
fn print(text: &str) -> Result<(), Error> {
    stdio::print(format!("{text}\n").as_bytes()).map_err(Error::WriteOutput)
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
