//! What can end a stress test, or be found by it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::flaw::{Flaw, List};
use crate::error::{Error, plain};
use crate::exit::Exit;

/// Why a stress test did not go well, or not at all.
#[derive(Debug)]
pub enum StressError {
    /// It needs more descriptors than this process may have.
    TooFewDescriptors {
        /// How many it needs.
        needed: usize,
        /// How many it may have.
        limit: usize,
    },
    /// There cannot be so many talkers.
    TooManyTalkers {
        /// How many were to talk.
        talkers: usize,
        /// Among how many.
        clients: usize,
        /// How many can.
        most: usize,
    },
    /// What the server's process costs cannot be told.
    Watch {
        /// Its number.
        pid: u32,
        /// Why not.
        source: io::Error,
    },
    /// The picture cannot be written.
    WritePlot {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The user ended it before anybody was let in.
    Interrupted,
    /// Not all was as it should be.
    Flawed {
        /// At which server.
        server: SocketAddr,
        /// The gravest first. Invariant: there is one.
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
    /// With which code the program ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::TooManyTalkers { .. } => Exit::Usage,
            Self::TooFewDescriptors { .. }
            | Self::Watch { .. }
            | Self::WritePlot { .. }
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
                "this takes {needed} open files, and a process may have {limit} here (raise the \
                 limit, as root: ulimit -n {needed}; or run several with fewer clients side by \
                 side)"
            ),
            Self::TooManyTalkers {
                talkers,
                clients,
                most,
            } => write!(
                f,
                "there cannot be {talkers} talkers among {clients} clients: {most} are the most \
                 (--talkers, --clients)"
            ),
            Self::Watch { pid, source } => {
                write!(f, "cannot watch the process {pid}: {}", plain(source))?;
                match source.kind() {
                    io::ErrorKind::PermissionDenied => {
                        f.write_str(" (run this as root, or as who started the server)")
                    }
                    _ => f.write_str(
                        " (the server's number on this machine: pgrep -of 'chat server')",
                    ),
                }
            }
            Self::WritePlot { path, source } => {
                write!(f, "cannot draw into {}: {}", path.display(), plain(source))
            }
            Self::Interrupted => f.write_str("interrupted before anybody was let in"),
            Self::Flawed { server, flaws } => {
                write!(f, "the server at {server} fell short: {}", List(flaws))
            }
        }
    }
}
