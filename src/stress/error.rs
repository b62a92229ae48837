//! Why a stress test fails.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::flaw::{Flaw, List};
use crate::error::{Error, plain};
use crate::exit::Exit;
use crate::platform::addresses::ScopedIp;

#[derive(Debug)]
pub(crate) enum StressError {
    /// The test needs more descriptors than this process may have.
    TooFewDescriptors { needed: usize, limit: usize },
    /// More talkers than can be checked, or than there are clients.
    TooManyTalkers {
        talkers: usize,
        clients: usize,
        most: usize,
    },
    /// The server's process cannot be watched.
    Watch { pid: u32, source: io::Error },
    /// A file for results cannot be written.
    WriteFile { path: PathBuf, source: io::Error },
    /// Connections cannot come from there.
    Source { ip: ScopedIp, source: io::Error },
    /// Connections to the server cannot come from there: one is IPv4 and the other IPv6.
    SourceFamily { ip: ScopedIp, server: SocketAddr },
    /// The user ended the test before any client was let in.
    Interrupted,
    /// The server did something wrong.
    Flawed {
        server: SocketAddr,
        /// The gravest first. Invariant: not empty.
        flaws: Vec<Flaw>,
    },
}

impl From<StressError> for Error {
    fn from(error: StressError) -> Self {
        Self::Stress {
            message: error.to_string(),
            exit: error.exit(),
        }
    }
}

impl StressError {
    fn exit(&self) -> Exit {
        match self {
            Self::TooManyTalkers { .. } | Self::SourceFamily { .. } => Exit::Usage,
            Self::TooFewDescriptors { .. }
            | Self::Watch { .. }
            | Self::WriteFile { .. }
            | Self::Source { .. }
            | Self::Interrupted => Exit::Failure,
            Self::Flawed { flaws, .. } => flaws.first().map_or(Exit::Failure, Flaw::exit),
        }
    }
}

impl fmt::Display for StressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewDescriptors { needed, limit } => write!(
                f,
                "this test needs {needed} open files; the limit is {limit} (raise it as root: \
                 ulimit -n {needed}; or run several tests with fewer clients)"
            ),
            Self::TooManyTalkers {
                talkers,
                clients,
                most,
            } => write!(
                f,
                "too many talkers for {clients} clients: {talkers}; at most {most} \
                 (--talkers, --clients)"
            ),
            Self::Watch { pid, source } => {
                write!(f, "cannot watch process {pid}: {}", plain(source))?;
                match source.kind() {
                    io::ErrorKind::PermissionDenied => {
                        f.write_str(" (run as root, or as the server's user)")
                    }
                    _ => f.write_str(
                        " (find the server's PID on this machine: pgrep -of 'chat server')",
                    ),
                }
            }
            Self::WriteFile { path, source } => {
                write!(f, "cannot write {}: {}", path.display(), plain(source))
            }
            Self::Source { ip, source } => write!(
                f,
                "cannot connect from {ip}: {} (--source takes addresses of this machine: \
                 ip -brief address)",
                plain(source)
            ),
            Self::SourceFamily { ip, server } => write!(
                f,
                "cannot connect from {ip} to {server}: one is IPv4 and the other IPv6 (--source)"
            ),
            Self::Interrupted => f.write_str("interrupted before any client was let in"),
            Self::Flawed { server, flaws } => {
                write!(f, "the server at {server} failed the test: {}", List(flaws))
            }
        }
    }
}
