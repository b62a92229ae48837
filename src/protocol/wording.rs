//! The wording of the server's lines: the prefix of each kind, and the phrases that clients
//! recognise.

use std::fmt;

use crate::protocol::batch::Frame;
use crate::protocol::close::CloseReason;

/// The first line of every conversation. Clients recognise a chat server by it.
pub const WELCOME: &str = "Welcome to this chatroom!";

/// Begins a line that refuses a request.
pub const REFUSAL_PREFIX: &str = "!! ";

/// Begins a notice.
pub const NOTICE_PREFIX: &str = "-- ";

/// What the operator is called. Nobody else can be.
pub(crate) const OPERATOR: &str = "operator";

/// Follows [`NOTICE_PREFIX`] when the operator speaks.
pub(crate) const OPERATOR_PREFIX: &str = "operator: ";

/// The notice to everybody before the server exits.
pub(crate) const CLOSING: &str = "the room is closing";

/// The refusal of a banned address.
pub(crate) const BANNED: &str = "your address is banned here; ask the operator";

/// The refusal of an address by the rules.
pub(crate) const DENIED: &str = "your address is not allowed here; ask the operator";

/// The refusal of an address that may not come without TLS.
pub(crate) const IN_CLEAR: &str =
    "without TLS only the room's own machine may join; try chat client --tls, or ask the operator";

/// What a newcomer is told by a room with a password.
pub(crate) const PASSWORD_NEEDED: &str = "this room has a password: /pass PASSWORD";

/// What a member is told that says `/pass`.
pub(crate) const IN_ALREADY: &str = "you are in already; no password is needed";

/// Whether a refusal in `words` is final until an operator changes it, so that connecting
/// again is no use.
pub(crate) fn is_lasting_refusal(words: &str) -> bool {
    [BANNED, DENIED, IN_CLEAR].contains(&words)
}

/// The last notice to a member that is disconnected for `reason`. `None` if nobody would
/// read it, or the room is closing, which has a notice of its own.
pub fn farewell(reason: CloseReason) -> Option<&'static str> {
    match reason {
        CloseReason::Stuck => Some("goodbye: you stopped reading for too long"),
        CloseReason::TooSlow => Some("goodbye: you read too slowly to catch up"),
        CloseReason::Overload => Some(
            "goodbye: the server is short of memory, and your unfinished lines hold much of it",
        ),
        CloseReason::Idle => Some("goodbye: you said nothing for too long"),
        CloseReason::Kicked => Some("goodbye: the operator kicked you"),
        CloseReason::Banned => Some("goodbye: the operator banned your address"),
        CloseReason::Quit => Some("goodbye"),
        CloseReason::Replaced => Some("goodbye: your session continues on another connection"),
        CloseReason::TooSoon => {
            Some("your session was resumed a moment ago; try again in a second")
        }
        CloseReason::PeerClosed
        | CloseReason::Lost(_)
        | CloseReason::WrongProtocol
        | CloseReason::Shutdown => None,
    }
}

/// A line that refuses a request of one reader.
pub fn refusal(words: impl fmt::Display) -> Frame {
    notice(format_args!("{REFUSAL_PREFIX}{words}"))
}

/// A frame of whole lines. `line` is without its last LF.
pub fn notice(line: fmt::Arguments<'_>) -> Frame {
    Frame::from(format!("{line}\n").into_bytes())
}
