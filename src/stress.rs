//! The load harness: fills a room with clients, lets some of them talk, checks that every
//! line reaches every reader once and in order, and measures what that costs.
//!
//! One thread and one poll, like the server. [`run`] is the command `chat stress`; the
//! benches run the same [`step`]s with a [`crowd`] that speaks another [`protocol`].
//! `round` is pure: it decides who talks when, as the [`load`] says, and its `ledger`
//! finds what went wrong. Nothing here is shared with the code under test: `client` reads
//! and writes its own socket, `framing` cuts its own lines, `websocket` its own frames.

mod client;
pub mod crowd;
mod delays;
mod error;
pub mod flaw;
mod framing;
mod json;
mod ledger;
pub mod load;
pub mod machine;
pub(crate) mod payload;
pub mod plot;
mod progress;
pub mod protocol;
mod report;
mod round;
pub mod step;
mod websocket;

use std::env;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::warn;
use rustix::net::bind;
use serde_json::json;

use self::crowd::{Arrivals, Crowd};
use self::error::StressError;
use self::ledger::Ledger;
use self::load::{End, Load, Pace};
use self::machine::Machine;
use self::payload::MAX_TALKERS;
use self::progress::Bars;
use self::protocol::{Protocol, Wire};
use self::report::{Summary, Table};
use self::step::{Plan, Step, Watch};
use crate::client::config::PASSWORD_IN_CLEAR;
use crate::client::connect::resolve;
#[cfg(feature = "tls")]
use crate::client::known_rooms::{Guard, Security};
use crate::error::Error;
use crate::platform::addresses::ScopedIp;
use crate::platform::proc::{Process, raise_descriptor_limit};
use crate::platform::secret_file::read_password;
use crate::platform::socket::tcp_socket;
use crate::platform::stdio;
use crate::protocol::wording::PASSWORD_NEEDED;

/// Descriptors for everything but connections.
const SPARE_DESCRIPTORS: usize = 32;

/// The most memory that a ledger may take from the start.
const MAX_LEDGER_BYTES: usize = 1024 * 1024 * 1024;

/// The most clients of a test.
pub(crate) const MAX_CLIENTS: usize = 1_000_000;

/// Clients in the first step of a ramp.
const FIRST_RAMP_STEP: usize = 100;

/// The options of a stress test.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name or address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// A file with the room's password.
    pub(crate) password_file: Option<PathBuf>,
    /// Whether a password may be sent in clear, where others can read it.
    #[cfg(not(feature = "tls"))]
    pub(crate) is_plain: bool,
    #[cfg(feature = "tls")]
    pub(crate) security: Security,
    /// `None`: a ramp goes on until something fails.
    pub(crate) clients: Option<usize>,
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
    /// Where connections come from, in turn. Empty: this is left to the kernel.
    pub(crate) sources: Vec<ScopedIp>,
    /// The longest 99th percentile of the delays that passes.
    pub(crate) max_p99: Option<Duration>,
    pub(crate) json: bool,
    /// The file for all counts.
    pub(crate) csv: Option<PathBuf>,
    /// The file for a chart of the delays.
    pub(crate) plot: Option<PathBuf>,
}

/// Runs a stress test and prints its results.
///
/// # Errors
///
/// When the test cannot run; when not every line reached every reader once and in order, or
/// in time; and when a client was refused, dropped, or could not connect.
pub fn run(config: &Config) -> Result<(), Error> {
    Test::prepare(config)?.run()
}

struct Test<'a> {
    config: &'a Config,
    server: SocketAddr,
    /// How many clients there are at last.
    clients: usize,
    crowd: Crowd,
    watch: Option<Watch>,
    csv: Option<Output<'a>>,
    plot: Option<Output<'a>>,
}

/// A file for results. Opened before the test begins: a long test must not end without it.
struct Output<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Output<'a> {
    fn open(path: &'a Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(|e| write_error(path, e))?;
        Ok(Self { path, file })
    }

    fn write(mut self, text: &str) -> Result<(), Error> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|e| write_error(self.path, e))
    }
}

impl<'a> Test<'a> {
    fn prepare(config: &'a Config) -> Result<Self, Error> {
        let clients = check_limits(config)?;
        let servers = resolve(&config.host, config.port)?;
        let (server, sources) = sources(&config.sources, &servers)?;
        let watch = match config.pid {
            None => None,
            Some(pid) => Some(
                Watch::new(Process::new(pid))
                    .map_err(|source| StressError::Watch { pid, source })?,
            ),
        };
        let open = |path: &'a Option<PathBuf>| path.as_deref().map(Output::open).transpose();
        let (csv, plot) = (open(&config.csv)?, open(&config.plot)?);
        #[cfg(feature = "tls")]
        let guard = Guard::new(&config.host, config.port, &servers, &config.security, false)?;
        #[cfg(feature = "tls")]
        if let (Some(guard), Some(_)) = (&guard, &config.password_file)
            && !guard.is_confirmed()
        {
            return Err(guard.unconfirmed());
        }
        #[cfg(feature = "tls")]
        let is_safe = guard.is_some() || config.security.is_plain;
        #[cfg(not(feature = "tls"))]
        let is_safe = config.is_plain;
        let protocol = protocol(config, server, is_safe)?;
        let mut crowd =
            Crowd::new(server, protocol, config.talkers, config.size_bytes).map_err(Error::Poll)?;
        crowd.come_from(sources);
        #[cfg(feature = "tls")]
        if let Some(mut guard) = guard {
            if config.wire == Wire::Websocket {
                guard.ask_for_websocket();
            }
            crowd.secure(guard);
        }
        crowd.catch_interrupts().map_err(Error::Poll)?;
        Ok(Self {
            config,
            server,
            clients,
            crowd,
            watch,
            csv,
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
            ramp(config.talkers, self.clients)
        } else {
            vec![self.clients]
        };
        if io::stderr().is_terminal() {
            warn!(
                "the room's history, and its transcript if it keeps one, fill with the lines of \
                 this test"
            );
        }
        if prints_rows {
            print(&table.heading())?;
        }
        let mut is_at_the_end = true;
        let mut steps = Vec::new();
        for clients in counts {
            let (load, step) = self.take_step(clients)?;
            if prints_rows {
                print(&table.row(&step))?;
            }
            let goes_on = step.flaws().is_empty() && !step.was_interrupted;
            steps.push((load, step));
            if !goes_on {
                is_at_the_end = false;
                break;
            }
        }
        if prints_rows && matches!(config.pace, Pace::InFlight(_)) {
            print(&format!("delays are {}", report::CLOSED_LOOP))?;
        }
        if prints_rows && config.clients.is_none() && is_at_the_end {
            print(&format!(
                "nothing failed; {} clients are as many as this process can have \
                 (ulimit -n, --talkers)",
                self.clients
            ))?;
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
            max_p99: config.max_p99,
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
            let machine = Machine::this();
            let arguments = env::args_os().skip(1);
            let arguments: Vec<_> = arguments
                .map(|it| it.to_string_lossy().into_owned())
                .collect();
            print(&format!(
                "{:#}",
                json!({
                    "server": self.server.to_string(),
                    "version": env!("CARGO_PKG_VERSION"),
                    "kernel": machine.kernel,
                    "cpu": machine.cpu,
                    "cores": machine.cores,
                    "arguments": arguments,
                    "steps": steps,
                })
            ))?;
        } else if let ([(load, step)], false) = (steps, config.ramp) {
            print(Summary { load, step }.to_string().trim_end())?;
        }
        let Some((_, last)) = steps.last() else {
            return Ok(());
        };
        if let Some(csv) = self.csv {
            let rows = steps.iter().map(|(_, step)| report::csv(step));
            csv.write(&(report::CSV_HEADING.to_owned() + &rows.collect::<String>()))?;
        }
        if let Some(plot) = self.plot {
            let title = format!(
                "chat stress {}: {} clients, {} talking, lines of {} bytes",
                self.server, last.outcome.clients, last.outcome.talkers, config.size_bytes
            );
            let outcomes = steps.iter().map(|(_, step)| &step.outcome);
            plot.write(&if config.ramp {
                plot::draw_ramp(&title, outcomes)
            } else {
                plot::draw(&title, &last.outcome.delays)
            })?;
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

/// Checks that this machine can run the test. Returns how many clients there are at last.
fn check_limits(config: &Config) -> Result<usize, StressError> {
    // If the limit cannot be raised, a connection fails later and says so.
    let limit = raise_descriptor_limit().unwrap_or(usize::MAX);
    let clients = config.clients.unwrap_or_else(|| {
        let by_ledger = MAX_LEDGER_BYTES / Ledger::size_bytes(1, config.talkers);
        let by_descriptors = limit.saturating_sub(SPARE_DESCRIPTORS);
        MAX_CLIENTS
            .min(by_ledger)
            .min(by_descriptors)
            .max(FIRST_RAMP_STEP)
    });
    let needed = clients + SPARE_DESCRIPTORS;
    if needed > limit {
        return Err(StressError::TooFewDescriptors { needed, limit });
    }
    let most = (MAX_LEDGER_BYTES / Ledger::size_bytes(clients, 1))
        .min(clients)
        .min(MAX_TALKERS);
    if config.talkers > most {
        return Err(StressError::TooManyTalkers {
            talkers: config.talkers,
            clients,
            most,
        });
    }
    Ok(clients)
}

/// Which of its addresses to reach the server at, and from where.
fn sources(
    given: &[ScopedIp],
    servers: &[SocketAddr],
) -> Result<(SocketAddr, Vec<SocketAddr>), StressError> {
    let is_v4 = given.first().map(|first| first.ip.is_ipv4());
    let server = servers
        .iter()
        .find(|server| is_v4 == Some(server.is_ipv4()));
    let server = *server.unwrap_or(&servers[0]);
    let mut sources = Vec::with_capacity(given.len());
    for ip in given {
        if ip.ip.is_ipv4() != server.is_ipv4() {
            let ip = ip.clone();
            return Err(StressError::SourceFamily { ip, server });
        }
        let try_it = ip.with_port(0).and_then(|source| {
            bind(&tcp_socket(source)?, &source)?;
            Ok(source)
        });
        sources.push(try_it.map_err(|source| {
            let ip = ip.clone();
            StressError::Source { ip, source }
        })?);
    }
    Ok((server, sources))
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

/// How to talk to the `server`, and what to tell it first. A password may go to another machine
/// if that `is_safe`, or said to be.
fn protocol(config: &Config, server: SocketAddr, is_safe: bool) -> Result<Protocol, Error> {
    let protocol = Protocol::chat(config.wire);
    let Some(path) = &config.password_file else {
        return Ok(protocol);
    };
    if !is_safe && !server.ip().to_canonical().is_loopback() {
        let words = Some(PASSWORD_IN_CLEAR.to_owned());
        return Err(Error::Refused { server, words });
    }
    let password = read_password(path).map_err(|source| Error::ReadPassword {
        path: path.clone(),
        source,
    })?;
    Ok(protocol.with_password(&password))
}

/// Why no client was let in.
fn nobody_is_in(server: SocketAddr, arrivals: Arrivals) -> Error {
    match (arrivals.refusal, arrivals.failure) {
        (Some(words), _) => {
            let hint = match &*words {
                PASSWORD_NEEDED => " (give --password-file FILE)",
                _ => "",
            };
            let words = Some(words + hint);
            Error::Refused { server, words }
        }
        // Nobody who does not trust the server goes in.
        (None, Some(failure)) => failure.downcast().unwrap_or_else(|failure| Error::Connect {
            host: server.ip().to_string(),
            port: server.port(),
            attempts: vec![(server, failure)],
        }),
        (None, None) => StressError::Interrupted.into(),
    }
}

fn write_error(path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    StressError::WriteFile { path, source }.into()
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
