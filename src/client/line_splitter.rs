//! A stream of bytes in, lines that are safe to show out.
//!
//! [`LineDecoder`] does the framing. What is added here serves whoever shows the lines: a
//! server in the manner of the Python original sends text without line ends, and any server
//! may stop in the middle of a line. So an unfinished line is shown once its rest is
//! overdue, or once it is too long to hold; what comes after is marked as its continuation.
//! The caller has the clock.

use std::mem;

use crate::protocol::line::{Decoded, LineDecoder};
use crate::protocol::text;

/// The most of an unfinished line that is held; a longer one is passed on in pieces.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// The decoder's limit, which no line exceeds: as much as is held, and one chunk of input.
const LIMIT_BYTES: u32 = 2 * MAX_HELD_BYTES as u32;

/// A line, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Safe to show, without its line end.
    pub(crate) text: &'a str,
    /// Whether the beginning of this line was passed on before.
    pub(crate) continues: bool,
}

#[derive(Debug)]
pub(crate) struct LineSplitter {
    decoder: LineDecoder,
    /// The last line was passed on before its end. If that end is what comes next, it is no
    /// empty line.
    passed_early: bool,
    /// The current line, made safe.
    safe: Vec<u8>,
}

impl LineSplitter {
    pub(crate) fn new() -> Self {
        Self {
            decoder: LineDecoder::new(LIMIT_BYTES),
            passed_early: false,
            safe: Vec::new(),
        }
    }

    /// Passes on the lines that `bytes` complete.
    pub(crate) fn push(&mut self, bytes: &[u8], pass: &mut dyn FnMut(Line<'_>)) {
        for mut chunk in bytes.chunks(MAX_HELD_BYTES) {
            while let Some(Decoded::Line(line) | Decoded::TooLong(line)) =
                self.decoder.next_line(&mut chunk)
            {
                let continues = mem::take(&mut self.passed_early);
                if !(continues && line.is_empty()) {
                    pass_line(&mut self.safe, line, continues, pass);
                }
            }
            while self.decoder.unfinished().len() > MAX_HELD_BYTES {
                self.pass_piece(pass);
            }
        }
    }

    /// Takes the part of a line that is held back, as it came.
    pub(crate) fn take_unfinished(&mut self) -> Vec<u8> {
        let unfinished = self.decoder.unfinished().to_vec();
        self.decoder.finish();
        unfinished
    }

    /// Whether part of a line is held back.
    pub(crate) fn has_unfinished(&self) -> bool {
        !self.decoder.unfinished().is_empty()
    }

    /// Stops waiting for the end of the unfinished line, and passes on what is held of it.
    pub(crate) fn flush(&mut self, pass: &mut dyn FnMut(Line<'_>)) {
        let finished = self.decoder.finish();
        if let Some(Decoded::Line(line) | Decoded::TooLong(line)) = finished
            && !line.is_empty()
        {
            let continues = mem::replace(&mut self.passed_early, true);
            pass_line(&mut self.safe, line, continues, pass);
        }
    }

    /// Passes on as much of the unfinished line as may be held, and keeps the rest.
    fn pass_piece(&mut self, pass: &mut dyn FnMut(Line<'_>)) {
        let held = self.decoder.unfinished().to_vec();
        let (piece, mut rest) = held.split_at(character_boundary(&held, MAX_HELD_BYTES));
        let continues = mem::replace(&mut self.passed_early, true);
        pass_line(&mut self.safe, piece, continues, pass);
        self.decoder.finish();
        let line = self.decoder.next_line(&mut rest);
        debug_assert_eq!(line, None, "the rest of an unfinished line");
    }
}

fn pass_line(safe: &mut Vec<u8>, line: &[u8], continues: bool, pass: &mut dyn FnMut(Line<'_>)) {
    safe.clear();
    text::push_safe_line(safe, line);
    let text = std::str::from_utf8(safe).expect("safe text is UTF-8");
    pass(Line { text, continues });
}

/// The last place in `bytes`, not after `at`, that splits no character; `at` itself if the
/// bytes around it are not UTF-8.
fn character_boundary(bytes: &[u8], at: usize) -> usize {
    let continues = |at: usize| bytes.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (at.saturating_sub(3)..=at)
        .rev()
        .find(|&candidate| !continues(candidate))
        .unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that `act` passes on, each ended by a LF, continuations behind a `+`.
    fn passed(act: impl FnOnce(&mut dyn FnMut(Line<'_>))) -> String {
        let mut all = String::new();
        act(&mut |line| {
            all += if line.continues { "+" } else { "" };
            all += line.text;
            all.push('\n');
        });
        all
    }

    fn pushed(splitter: &mut LineSplitter, bytes: &[u8]) -> String {
        passed(|pass| splitter.push(bytes, pass))
    }

    fn half_line(splitter: &mut LineSplitter) -> String {
        passed(|pass| splitter.flush(pass))
    }

    #[test]
    fn every_split_point_gives_the_same_lines() {
        let input = "<10.0.0.1> grüße\r\n\n\x1b[2J x\n".as_bytes();
        for at in 0..=input.len() {
            let mut splitter = LineSplitter::new();
            let mut all = pushed(&mut splitter, &input[..at]);
            all += &pushed(&mut splitter, &input[at..]);
            assert_eq!(all, "<10.0.0.1> grüße\n\n␛[2J x\n", "cut at {at}");
        }
    }

    #[test]
    fn half_a_line_is_passed_on_once_and_its_late_end_adds_nothing() {
        let mut splitter = LineSplitter::new();
        assert_eq!(pushed(&mut splitter, b"Welcome to this chatroom!"), "");
        assert!(splitter.has_unfinished());
        assert_eq!(half_line(&mut splitter), "Welcome to this chatroom!\n");
        assert!(!splitter.has_unfinished());
        assert_eq!(half_line(&mut splitter), "");
        assert_eq!(
            pushed(&mut splitter, b"\r\n<10.0.0.1> hi\n"),
            "<10.0.0.1> hi\n"
        );
        assert_eq!(pushed(&mut splitter, b"\n"), "\n");
    }

    #[test]
    fn the_rest_of_a_torn_line_is_marked() {
        let mut splitter = LineSplitter::new();
        assert_eq!(pushed(&mut splitter, b"<10.0.0.1> slow "), "");
        assert_eq!(half_line(&mut splitter), "<10.0.0.1> slow \n");
        let rest = pushed(&mut splitter, b"!! forged\n!! said\n");
        assert_eq!(rest, "+!! forged\n!! said\n");
    }

    #[test]
    fn a_line_without_end_comes_in_pieces_that_tear_no_character() {
        let input = format!("x{}", "ö".repeat(3 * MAX_HELD_BYTES));
        for chunk_bytes in [1001, input.len()] {
            let mut splitter = LineSplitter::new();
            let mut all = String::new();
            for chunk in input.as_bytes().chunks(chunk_bytes) {
                all += &pushed(&mut splitter, chunk);
                assert!(splitter.decoder.unfinished().len() <= MAX_HELD_BYTES);
            }
            all += &half_line(&mut splitter);
            assert_eq!(all.replace(['\n', '+'], ""), input);
            assert!(all.lines().all(|line| line.len() <= MAX_HELD_BYTES + 1));
            assert!(all.lines().skip(1).all(|line| line.starts_with('+')));
        }
    }

    #[test]
    fn a_cr_that_ends_no_line_is_shown_wherever_pieces_are_cut() {
        let mut splitter = LineSplitter::new();
        let before = "x".repeat(MAX_HELD_BYTES - 1);
        let mut all = pushed(&mut splitter, format!("{before}\ry").as_bytes());
        all += &pushed(&mut splitter, b"z\r\n");
        assert_eq!(all, format!("{before}␍\n+yz\n"));
    }
}
