//! The one thing telnet needs to be told to work as a chat client.
//!
//! When somebody presses an interrupt key (or types a character that telnet takes
//! for one, as the third byte of some kanji), telnet sends a command and `DO
//! TIMING-MARK`, and throws away all output until that is answered (RFC 860): who
//! uses it would hear nothing more. It is answered with the line it stands in: until
//! Enter is pressed, telnet goes on throwing away. Everything else that telnet may negotiate it
//! does without, towards a port that is not its own.

use memchr::{memchr, memmem};

const IAC: u8 = 255;

/// `IAC DO TIMING-MARK`.
const DO_TIMING_MARK: &[u8] = &[IAC, 253, 6];

/// The answer, `IAC WONT TIMING-MARK`: it ends the throwing away as well as the
/// mark itself would.
pub const WONT_TIMING_MARK: &[u8] = &[IAC, 252, 6];

/// Whether telnet waits for an answer to something in this line. The bytes are
/// no UTF-8, so nobody can have meant them as text.
pub(crate) fn asks_for_timing_mark(line: &[u8]) -> bool {
    memchr(IAC, line).is_some_and(|at| memmem::find(&line[at..], DO_TIMING_MARK).is_some())
}

/// `line` without the requests for a timing mark, and without the commands
/// (`IAC IP` and its kin) that come right before them.
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
    fn timing_marks_are_cut_out_with_their_commands() {
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
