//! The one telnet negotiation that the server answers: the timing mark.
//!
//! When a user presses the interrupt key (or types a character that telnet mistakes for
//! it, such as some kanji by their third byte), telnet sends a command and `DO
//! TIMING-MARK`, and discards all output until the server answers (RFC 860). Without an
//! answer its user would never hear anything again. The server answers when the line that
//! contains the request is complete; until the user presses Enter, telnet goes on
//! discarding. Telnet negotiates nothing else by itself on a port other than its own.

use memchr::{memchr, memmem};

const IAC: u8 = 255;

/// `IAC DO TIMING-MARK`.
const DO_TIMING_MARK: &[u8] = &[IAC, 253, 6];

/// The answer, `IAC WONT TIMING-MARK`. It ends the discarding as well as a mark does.
pub const WONT_TIMING_MARK: &[u8] = &[IAC, 252, 6];

/// Whether `line` contains a request for a timing mark. These bytes are not valid UTF-8, so
/// they cannot be text.
pub(crate) fn asks_for_timing_mark(line: &[u8]) -> bool {
    memchr(IAC, line).is_some_and(|at| memmem::find(&line[at..], DO_TIMING_MARK).is_some())
}

/// `line` without the requests for a timing mark, and without the commands right before
/// them (such as `IAC IP`).
pub(crate) fn without_timing_marks(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memmem::find(rest, DO_TIMING_MARK) {
        text.extend_from_slice(match &rest[..at] {
            [before @ .., IAC, _command] => before,
            before => before,
        });
        rest = &rest[at + DO_TIMING_MARK.len()..];
    }
    text.extend_from_slice(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_timing_marks_with_their_commands() {
        for (line, text) in [
            (&b"\xff\xf4\xff\xfd\x06after ^C"[..], &b"after ^C"[..]),
            (b"a\xff\xf3\xff\xfd\x06b\xff\xfd\x06c", b"abc"),
            (b"\xff\xfd\x06", b""),
        ] {
            assert!(asks_for_timing_mark(line));
            assert_eq!(without_timing_marks(line), text);
        }
        assert!(!asks_for_timing_mark(b"caf\xff \xff\xfd"));
    }
}
