//! A stream of bytes in, lines that are safe to show out.
//!
//! A server in the manner of the Python original sends text without line ends,
//! and any server may stop in the middle of a line. So a line that is not ended
//! is held only as long as its rest can be expected soon; who holds the clock
//! says when that is over.

use memchr::memchr;

use crate::text;

/// The most of an unfinished line that is held; past it, it is passed on in pieces.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// A line, or what there is of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Safe to show, without its line end.
    pub text: &'a str,
    /// It is the rest of a line whose beginning was passed on before.
    pub continues: bool,
}

/// Cuts what comes into lines.
#[derive(Debug, Default)]
pub struct LineSplitter {
    /// The beginning of a line whose end has not come yet.
    held: Vec<u8>,
    /// The last line was passed on before its end came. If that end is what comes
    /// next, it is no empty line.
    passed_early: bool,
    /// The line at hand, made safe.
    safe: Vec<u8>,
}

impl LineSplitter {
    /// Nothing is held.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes the lines that `bytes` complete on to `pass`.
    pub fn push(&mut self, mut bytes: &[u8], pass: &mut dyn FnMut(Line<'_>)) {
        while let Some(at) = memchr(b'\n', bytes) {
            self.held.extend_from_slice(&bytes[..at]);
            bytes = &bytes[at + 1..];
            if self.held.ends_with(b"\r") {
                self.held.pop();
            }
            if !(self.passed_early && self.held.is_empty()) {
                self.pass_held(pass);
            }
            self.passed_early = false;
        }
        self.held.extend_from_slice(bytes);
        while self.held.len() > MAX_HELD_BYTES {
            let rest = self
                .held
                .split_off(character_boundary(&self.held, MAX_HELD_BYTES));
            self.pass_held(pass);
            self.held = rest;
            self.passed_early = true;
        }
    }

    /// Whether the beginning of a line is held back.
    pub fn holds_half_a_line(&self) -> bool {
        !self.held.is_empty()
    }

    /// The end of the line that is held is not waited for any more: passes it on as a
    /// line of its own.
    pub fn pass_half_line(&mut self, pass: &mut dyn FnMut(Line<'_>)) {
        if self.held.ends_with(b"\r") {
            self.held.pop();
        }
        if !self.held.is_empty() {
            self.pass_held(pass);
            self.passed_early = true;
        }
    }

    fn pass_held(&mut self, pass: &mut dyn FnMut(Line<'_>)) {
        self.safe.clear();
        text::push_safe(&mut self.safe, &self.held);
        self.held.clear();
        pass(Line {
            text: std::str::from_utf8(&self.safe).expect("what is safe is UTF-8"),
            continues: self.passed_early,
        });
    }
}

/// The last place in `bytes`, not past `at`, that tears no character; `at`
/// itself if the bytes around it are not UTF-8.
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
        passed(|pass| splitter.pass_half_line(pass))
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
        assert!(splitter.holds_half_a_line());
        assert_eq!(half_line(&mut splitter), "Welcome to this chatroom!\n");
        assert!(!splitter.holds_half_a_line());
        assert_eq!(half_line(&mut splitter), "");
        assert_eq!(
            pushed(&mut splitter, b"\r\n<10.0.0.1> hi\n"),
            "<10.0.0.1> hi\n"
        );
        assert_eq!(pushed(&mut splitter, b"\n"), "\n");
    }

    #[test]
    fn the_rest_of_a_line_that_was_torn_is_known_to_be_that() {
        let mut splitter = LineSplitter::new();
        assert_eq!(pushed(&mut splitter, b"<10.0.0.1> slow "), "");
        assert_eq!(half_line(&mut splitter), "<10.0.0.1> slow \n");
        let rest = pushed(&mut splitter, b"!! forged\n!! said\n");
        assert_eq!(rest, "+!! forged\n!! said\n");
    }

    #[test]
    fn a_line_without_end_comes_in_pieces_that_tear_no_character() {
        let mut splitter = LineSplitter::new();
        let input = "ö".repeat(3 * MAX_HELD_BYTES);
        let mut all = String::new();
        for chunk in input.as_bytes().chunks(1001) {
            all += &pushed(&mut splitter, chunk);
            assert!(splitter.held.len() <= MAX_HELD_BYTES);
        }
        all += &half_line(&mut splitter);
        assert_eq!(all.replace(['\n', '+'], ""), input);
    }
}
