//! Why a connection ends.

use std::fmt;
use std::io;

/// Why a connection ends. What goes wrong with one peer is a value of this type,
/// never an error that could end the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer has closed its side.
    PeerClosed,
    /// Reading or writing failed: the peer has reset the connection, vanished,
    /// or cannot be reached any more.
    Lost(io::ErrorKind),
    /// The peer did not read for too long.
    Stuck,
    /// The peer read too slowly to catch up in time.
    TooSlow,
    /// The peer has said nothing for longer than is allowed.
    Idle,
    /// The peer speaks another protocol: it is a browser, say.
    WrongProtocol,
    /// The peer has asked for it.
    Quit,
    /// The operator has sent the peer away.
    Kicked,
    /// The operator lets nobody in from the peer's address any more.
    Banned,
    /// The server is ending.
    Shutdown,
}

impl CloseReason {
    /// Whether it is the server that ends the connection, against what the peer wants.
    pub(crate) fn is_of_our_making(self) -> bool {
        match self {
            Self::Stuck
            | Self::TooSlow
            | Self::Idle
            | Self::WrongProtocol
            | Self::Kicked
            | Self::Banned => true,
            Self::PeerClosed | Self::Lost(_) | Self::Quit | Self::Shutdown => false,
        }
    }

    /// Whether the peer is to lose what it is still owed.
    pub fn drops_backlog(self) -> bool {
        matches!(self, Self::Stuck | Self::TooSlow)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("closed the connection"),
            Self::Lost(kind) => write!(f, "the connection was lost: {kind}"),
            Self::Stuck => f.write_str("did not read for too long"),
            Self::TooSlow => f.write_str("read too slowly to catch up"),
            Self::Idle => f.write_str("said nothing for too long"),
            Self::WrongProtocol => f.write_str("speaks HTTP or TLS, not chat"),
            Self::Quit => f.write_str("said goodbye"),
            Self::Kicked => f.write_str("sent away by the operator"),
            Self::Banned => f.write_str("banned by the operator"),
            Self::Shutdown => f.write_str("the server is ending"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_says_whose_doing_it_is_and_what_becomes_of_the_backlog() {
        for (reason, is_of_our_making, drops_backlog, words) in [
            (CloseReason::PeerClosed, false, false, "closed"),
            (
                CloseReason::Lost(io::ErrorKind::TimedOut),
                false,
                false,
                "timed out",
            ),
            (CloseReason::Stuck, true, true, "did not read"),
            (CloseReason::TooSlow, true, true, "too slowly"),
            (CloseReason::Idle, true, false, "said nothing"),
            (CloseReason::WrongProtocol, true, false, "HTTP"),
            (CloseReason::Quit, false, false, "goodbye"),
            (CloseReason::Kicked, true, false, "sent away"),
            (CloseReason::Banned, true, false, "banned"),
            (CloseReason::Shutdown, false, false, "the server is ending"),
        ] {
            assert_eq!(reason.is_of_our_making(), is_of_our_making, "{reason}");
            assert_eq!(reason.drops_backlog(), drops_backlog, "{reason}");
            assert!(reason.to_string().contains(words), "{reason}");
        }
    }
}
