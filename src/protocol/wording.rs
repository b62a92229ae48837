//! How the lines are written that the room sends: what each kind begins with, and the words
//! that other programs know again.

use std::fmt;
use std::io::Write;

use crate::protocol::batch::Frame;
use crate::protocol::close::CloseReason;
use crate::protocol::text;

/// The first line of every conversation, and the mark by which other programs
/// know this kind of room.
pub const WELCOME: &str = "Welcome to this chatroom!";

/// How a line begins by which the server says that it did not do what was asked.
pub const REFUSAL_PREFIX: &str = "!! ";

/// How a notice of the server begins.
pub const NOTICE_PREFIX: &str = "-- ";

/// How a notice begins, after that, by which the operator speaks.
pub(crate) const OPERATOR_PREFIX: &str = "operator: ";

/// What everybody is told when the server is about to end.
pub(crate) const CLOSING: &str = "the room is closing";

/// What a peer from a banned address is told.
pub(crate) const BANNED: &str = "this address is banned from the room";

/// What a peer is told whose address no rule lets in.
pub(crate) const DENIED: &str = "nobody is let in from this address";

/// Whether a refusal in `words` is final until an operator changes it, so that connecting
/// again is no use.
pub(crate) fn is_lasting_refusal(words: &str) -> bool {
    [BANNED, DENIED].contains(&words)
}

/// The words by which a member is told that it has to leave for this reason, if any.
pub fn farewell(reason: CloseReason) -> Option<&'static str> {
    match reason {
        CloseReason::Stuck => Some("you did not read for too long what was said: goodbye"),
        CloseReason::TooSlow => Some("you read too slowly to catch up with what was said: goodbye"),
        CloseReason::Idle => Some("you have said nothing for too long: goodbye"),
        CloseReason::Kicked => Some("the operator has sent you away: goodbye"),
        CloseReason::Banned => Some("the operator has banned your address: goodbye"),
        CloseReason::Quit => Some("goodbye"),
        CloseReason::PeerClosed
        | CloseReason::Lost(_)
        | CloseReason::WrongProtocol
        | CloseReason::Shutdown => None,
    }
}

/// The line by which one reader is told what was not done, and why.
pub fn refusal(words: impl fmt::Display) -> Frame {
    notice(format_args!("{REFUSAL_PREFIX}{words}"))
}

/// Appends what somebody says, after what shows who it is.
pub(crate) fn push_message(out: &mut Vec<u8>, before: fmt::Arguments<'_>, text: &[u8]) {
    let start = out.len();
    out.write_fmt(before).expect("a Vec takes every write");
    let end = out.len();
    text::push_safe(out, text);
    let line = &out[start..];
    if line.is_ascii() {
        return;
    }
    let line = std::str::from_utf8(line).expect("what is safe is UTF-8");
    if text::has_right_to_left(line) {
        out.splice(end..end, text::LEFT_TO_RIGHT_MARK.bytes());
    }
}

/// Appends a notice, without its LF.
pub(crate) fn push_notice(out: &mut Vec<u8>, words: &[u8]) {
    out.extend_from_slice(NOTICE_PREFIX.as_bytes());
    text::push_safe(out, words);
}

/// One line, or some, from the server to one reader.
pub fn notice(line: fmt::Arguments<'_>) -> Frame {
    Frame::from(format!("{line}\n").into_bytes())
}
