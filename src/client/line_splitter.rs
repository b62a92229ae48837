//! A stream of bytes in, lines that are safe to show out.
//!
//! A server in the manner of the Python original sends text without line ends,
//! and any server may stop in the middle of a line. So a line that is not ended
//! is held only as long as its rest can be expected soon; who holds the clock
//! says when that is over.

use memchr::memchr;

use crate::text;

/// The most of an unfinished line that is held; past it, it is shown in pieces.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// What stands before the rest of a line whose beginning was shown before.
const CONTINUATION_MARK: &str = "… ";

/// Makes lines that can be shown, each with the same prefix.
#[derive(Debug)]
pub struct LineDisplay {
    prefix: &'static str,
    /// The beginning of a line whose end has not come yet.
    held: Vec<u8>,
    /// The last line was shown before its end came. If that end is what comes
    /// next, it is no empty line.
    shown_early: bool,
    /// Whether what follows a line shown early is marked as its continuation.
    marks_continuations: bool,
}

impl LineDisplay {
    /// Shows each line with `prefix` before it.
    pub fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            held: Vec::new(),
            shown_early: false,
            marks_continuations: false,
        }
    }

    /// From now on, whatever follows a line that was shown before its end is
    /// marked: it must not pass for a line of its own, which the server did not
    /// say. For servers that end their lines; of others nobody can tell what
    /// belongs together.
    pub fn mark_continuations(&mut self) {
        self.marks_continuations = true;
    }

    /// Appends to `out` the lines that `bytes` complete, safe, each ended by a
    /// LF.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(at) = memchr(b'\n', bytes) {
            self.held.extend_from_slice(&bytes[..at]);
            bytes = &bytes[at + 1..];
            if self.held.ends_with(b"\r") {
                self.held.pop();
            }
            if !(self.shown_early && self.held.is_empty()) {
                self.show_held(out);
            }
            self.shown_early = false;
        }
        self.held.extend_from_slice(bytes);
        while self.held.len() > MAX_HELD_BYTES {
            let rest = self
                .held
                .split_off(character_boundary(&self.held, MAX_HELD_BYTES));
            self.show_held(out);
            self.held = rest;
            self.shown_early = true;
        }
    }

    /// Whether the beginning of a line is held back.
    pub fn holds_half_a_line(&self) -> bool {
        !self.held.is_empty()
    }

    /// The end of the line that is held is not waited for any more: appends it
    /// to `out` as a line of its own.
    pub fn show_half_line(&mut self, out: &mut Vec<u8>) {
        if self.held.ends_with(b"\r") {
            self.held.pop();
        }
        if !self.held.is_empty() {
            self.show_held(out);
            self.shown_early = true;
        }
    }

    fn show_held(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.as_bytes());
        if self.shown_early && self.marks_continuations {
            out.extend_from_slice(CONTINUATION_MARK.as_bytes());
        }
        text::push_safe(out, &self.held);
        out.push(b'\n');
        self.held.clear();
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

    fn shown(display: &mut LineDisplay, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        display.push(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn half_line(display: &mut LineDisplay) -> String {
        let mut out = Vec::new();
        display.show_half_line(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_split_point_shows_the_same_lines() {
        let input = "<10.0.0.1> grüße\r\n\n\x1b[2J x\n".as_bytes();
        for at in 0..=input.len() {
            let mut display = LineDisplay::new("");
            let mut all = shown(&mut display, &input[..at]);
            all += &shown(&mut display, &input[at..]);
            assert_eq!(all, "<10.0.0.1> grüße\n\n␛[2J x\n", "cut at {at}");
        }
    }

    #[test]
    fn the_prefix_stands_directly_before_each_line() {
        let mut display = LineDisplay::new("<You>");
        assert_eq!(
            shown(&mut display, b"one\n\ntwo\nthr"),
            "<You>one\n<You>\n<You>two\n"
        );
        assert_eq!(half_line(&mut display), "<You>thr\n");
    }

    #[test]
    fn half_a_line_is_shown_once_and_its_late_end_adds_nothing() {
        let mut display = LineDisplay::new("");
        assert_eq!(shown(&mut display, b"Welcome to this chatroom!"), "");
        assert!(display.holds_half_a_line());
        assert_eq!(half_line(&mut display), "Welcome to this chatroom!\n");
        assert!(!display.holds_half_a_line());
        assert_eq!(half_line(&mut display), "");
        assert_eq!(
            shown(&mut display, b"\r\n<10.0.0.1> hi\n"),
            "<10.0.0.1> hi\n"
        );
        assert_eq!(shown(&mut display, b"\n"), "\n");
    }

    #[test]
    fn the_rest_of_a_line_that_was_torn_cannot_pass_for_another() {
        let mut display = LineDisplay::new("");
        display.mark_continuations();
        assert_eq!(shown(&mut display, b"<10.0.0.1> slow "), "");
        assert_eq!(half_line(&mut display), "<10.0.0.1> slow \n");
        let rest = shown(&mut display, b"!! forged\n!! said\n");
        assert_eq!(rest, "… !! forged\n!! said\n");
    }

    #[test]
    fn a_line_without_end_is_shown_in_pieces_that_tear_no_character() {
        let mut display = LineDisplay::new("");
        let input = "ö".repeat(3 * MAX_HELD_BYTES);
        let mut all = String::new();
        for chunk in input.as_bytes().chunks(1001) {
            all += &shown(&mut display, chunk);
            assert!(display.held.len() <= MAX_HELD_BYTES);
        }
        all += &half_line(&mut display);
        assert_eq!(all.replace('\n', ""), input);
    }
}
