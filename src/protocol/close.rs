//! Why a connection ends.

use std::fmt;
use std::io;

/// Why a connection ends. One peer's failure is a value of this type, never an error that
/// could end the event loop. Displayed as a clause about the peer, for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed its side.
    PeerClosed,
    /// Reading or writing failed: the peer reset the connection, or is unreachable.
    Lost(io::ErrorKind),
    /// The peer stalled: it did not read for too long.
    Stuck,
    /// The peer read too slowly to catch up in time.
    TooSlow,
    /// The server ran short of memory, and the peer held much of it with unfinished input.
    Overload,
    /// The peer sent nothing for longer than the idle timeout.
    Idle,
    /// The peer speaks another protocol, as a browser does.
    WrongProtocol,
    /// The peer asked to leave.
    Quit,
    /// The operator disconnected the peer.
    Kicked,
    /// The operator banned the peer's address.
    Banned,
    /// Another connection goes on with the peer's session.
    Replaced,
    /// The session that the peer would go on with was resumed just now.
    TooSoon,
    /// The server is shutting down.
    Shutdown,
}

impl CloseReason {
    /// Whether the server disconnects the peer against its will.
    pub(crate) fn is_forced(self) -> bool {
        match self {
            Self::Stuck
            | Self::TooSlow
            | Self::Overload
            | Self::Idle
            | Self::WrongProtocol
            | Self::Kicked
            | Self::Banned => true,
            Self::PeerClosed
            | Self::Lost(_)
            | Self::Quit
            | Self::Replaced
            | Self::TooSoon
            | Self::Shutdown => false,
        }
    }

    /// Whether the operator disconnects the peer.
    pub(crate) fn is_operators(self) -> bool {
        matches!(self, Self::Kicked | Self::Banned)
    }

    /// Whether the server discards the peer's unsent output.
    pub fn drops_backlog(self) -> bool {
        matches!(self, Self::Stuck | Self::TooSlow | Self::Overload)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("closed the connection"),
            Self::Lost(kind) => write!(f, "the connection was lost: {kind}"),
            Self::Stuck => f.write_str("did not read for too long"),
            Self::TooSlow => f.write_str("read too slowly to catch up"),
            Self::Overload => f.write_str("held too much unfinished input"),
            Self::Idle => f.write_str("said nothing for too long"),
            Self::WrongProtocol => f.write_str("speaks another protocol, not chat"),
            Self::Quit => f.write_str("quit"),
            Self::Kicked => f.write_str("kicked by the operator"),
            Self::Banned => f.write_str("banned by the operator"),
            Self::Replaced => f.write_str("goes on on another connection"),
            Self::TooSoon => f.write_str("came back too soon"),
            Self::Shutdown => f.write_str("the server is shutting down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_tell_who_ended_the_connection_and_what_happens_to_output() {
        for (reason, is_forced, drops_backlog, words) in [
            (CloseReason::PeerClosed, false, false, "closed"),
            (
                CloseReason::Lost(io::ErrorKind::TimedOut),
                false,
                false,
                "timed out",
            ),
            (CloseReason::Stuck, true, true, "did not read"),
            (CloseReason::TooSlow, true, true, "too slowly"),
            (CloseReason::Overload, true, true, "unfinished input"),
            (CloseReason::Idle, true, false, "said nothing"),
            (CloseReason::WrongProtocol, true, false, "protocol"),
            (CloseReason::Quit, false, false, "quit"),
            (CloseReason::Kicked, true, false, "kicked"),
            (CloseReason::Banned, true, false, "banned"),
            (CloseReason::Replaced, false, false, "another connection"),
            (CloseReason::TooSoon, false, false, "too soon"),
            (CloseReason::Shutdown, false, false, "shutting down"),
        ] {
            assert_eq!(reason.is_forced(), is_forced, "{reason}");
            assert_eq!(reason.drops_backlog(), drops_backlog, "{reason}");
            assert!(reason.to_string().contains(words), "{reason}");
        }
    }
}
