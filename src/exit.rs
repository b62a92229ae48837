//! The exit codes.

use std::process::ExitCode;

/// How the program ends, as other programs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All was done.
    Success = 0,
    /// Something went wrong that has no code of its own.
    Failure = 1,
    /// The command line was wrong. clap uses the same code.
    Usage = 2,
    /// The client reached no server.
    CannotConnect = 3,
    /// The server went away before the client was done.
    ConnectionLost = 4,
    /// The room did not take the client in, or what it was sent.
    Refused = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
