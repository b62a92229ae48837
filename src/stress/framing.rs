//! Cuts what a server sends into lines, for the harness alone.
//!
//! The server has [`crate::protocol::line`] for that, and it must not judge itself: a fault that
//! tears or glues lines would cancel out here. This one is strict: LF ends a line, and
//! nothing else does; a CR is part of the line.

use std::mem;

use memchr::memchr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut<'a> {
    /// A whole line, without its LF.
    Line(&'a [u8]),
    /// The beginning of a line over the limit. The rest is skipped.
    TooLong(&'a [u8]),
}

#[derive(Debug)]
pub(crate) struct LineReader {
    /// The line whose LF has not come yet. Invariant: at most `max_bytes` long.
    unfinished: Vec<u8>,
    max_bytes: usize,
    /// The line at hand is over the limit and was reported.
    is_skipping: bool,
}

impl LineReader {
    /// A reader of lines of at most `max_bytes`, LF not counted.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            unfinished: Vec::new(),
            max_bytes,
            is_skipping: false,
        }
    }

    /// Takes the next `bytes` of the stream, and passes each line they complete to `tell`.
    pub(crate) fn push(&mut self, bytes: &[u8], mut tell: impl FnMut(Cut<'_>)) {
        let mut rest = bytes;
        while let Some(at) = memchr(b'\n', rest) {
            let end = &rest[..at];
            rest = &rest[at + 1..];
            let mut line = mem::take(&mut self.unfinished);
            if mem::take(&mut self.is_skipping) {
                continue;
            }
            if line.is_empty() {
                // The common case, without a copy.
                tell(self.cut(end));
            } else {
                line.extend_from_slice(end);
                tell(self.cut(&line));
            }
        }
        if self.is_skipping {
            return;
        }
        self.unfinished.extend_from_slice(rest);
        if self.unfinished.len() > self.max_bytes {
            self.is_skipping = true;
            tell(Cut::TooLong(&mem::take(&mut self.unfinished)));
        }
    }

    fn cut<'a>(&self, line: &'a [u8]) -> Cut<'a> {
        if line.len() > self.max_bytes {
            Cut::TooLong(line)
        } else {
            Cut::Line(line)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is cut from `bytes` that come in chunks: lines, and `!` for a long one.
    fn cut(bytes: &[u8], chunk_bytes: usize) -> Vec<String> {
        let mut reader = LineReader::new(5);
        let mut cut = Vec::new();
        for chunk in bytes.chunks(chunk_bytes) {
            reader.push(chunk, |line| {
                cut.push(match line {
                    Cut::Line(line) => String::from_utf8(line.to_vec()).unwrap(),
                    Cut::TooLong(_) => "!".to_owned(),
                });
            });
            assert!(reader.unfinished.len() <= 5);
        }
        cut
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let bytes = b"one\n\ntwo\r\nlonger than that\nfives\nsixsix\nlast\nunfinished";
        for chunk_bytes in 1..=bytes.len() {
            let mut cut = cut(bytes, chunk_bytes);
            assert_eq!(cut.pop().as_deref(), Some("!"), "it is too long already");
            let expected = ["one", "", "two\r", "!", "fives", "!", "last"];
            assert_eq!(cut, expected, "{chunk_bytes}");
        }
        assert_eq!(cut(b"half", 1), [""; 0]);
    }
}
