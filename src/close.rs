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
    /// The peer did not read, and is owed more than the bound.
    BacklogFull,
    /// The peer speaks another protocol: it is a browser, say.
    WrongProtocol,
    /// The server is ending.
    Shutdown,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("it closed the connection"),
            Self::Lost(kind) => write!(f, "the connection was lost: {kind}"),
            Self::BacklogFull => {
                f.write_str("it was not reading, and more than the limit was waiting for it")
            }
            Self::WrongProtocol => f.write_str("it speaks HTTP or TLS, not chat"),
            Self::Shutdown => f.write_str("the server is ending"),
        }
    }
}
