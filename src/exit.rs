//! The exit codes.

use std::process::ExitCode;

/// How the program ended, for shells and scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Success = 0,
    /// A failure without a code of its own.
    Failure = 1,
    /// The command line was wrong. clap uses the same code.
    Usage = 2,
    /// The client reached no server.
    CannotConnect = 3,
    /// The connection ended before the client was done.
    ConnectionLost = 4,
    /// The room refused the client or a line from it.
    Refused = 5,
    /// The room may have taken a line or not.
    InDoubt = 6,
    /// The room's key is unknown, or another than is known.
    #[cfg(feature = "tls")]
    Untrusted = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
