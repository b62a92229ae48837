//! Decodes what a terminal sends: bytes in, keys and pastes out.

use std::time::{Duration, Instant};

use termina::{Event, Parser};

use super::editor::MAX_INPUT_BYTES;

/// How long to wait for the rest of a sequence that begins with ESC; after that it was the
/// Escape key.
const ESCAPE_TIMEOUT: Duration = Duration::from_millis(30);

/// After this time a sequence that is no paste is dropped. Otherwise some keys, such as
/// Alt-], would begin a sequence that swallows all input.
const SEQUENCE_TIMEOUT: Duration = Duration::from_millis(500);

/// The most that is held of an unfinished sequence, and so the longest paste.
const MAX_HELD_BYTES: usize = 2 * MAX_INPUT_BYTES;

/// A paste that pauses for this long may never end. Then a key of [`WAYS_OUT`] on its own
/// counts as that key.
const PASTE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bracketed paste (xterm).
const PASTE_BEGIN: &[u8] = b"\x1b[200~";
const PASTE_END: &[u8] = b"\x1b[201~";

/// Ctrl-C, Ctrl-D, Ctrl-Z and Ctrl-\.
const WAYS_OUT: [&[u8]; 4] = [b"\x03", b"\x04", b"\x1a", b"\x1c"];

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    /// A key, a paste, or another report of the terminal.
    Event(Event),
    /// A paste over the bound.
    TooMuch,
}

/// The decoder, with the unfinished sequence.
#[derive(Debug, Default)]
pub(crate) struct Keyboard {
    parser: Parser,
    /// The length of the unfinished sequence, which the parser holds.
    held_bytes: usize,
    /// Its last bytes, as many as [`PASTE_BEGIN`] has.
    last_bytes: Vec<u8>,
    is_in_paste: bool,
    /// When its first byte came.
    held_since: Option<Instant>,
    /// When its last byte came.
    last_held_at: Option<Instant>,
    /// Whether it may be the Escape key.
    is_escape_possible: bool,
    /// While the rest of a paste is skipped: how much of [`PASTE_END`] has come.
    skipped_to: Option<usize>,
}

impl Keyboard {
    /// Takes `bytes`, and returns what they complete.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Instant) -> Vec<Typed> {
        let mut typed = Vec::new();
        let is_stalled = self
            .last_held_at
            .is_some_and(|at| at + PASTE_TIMEOUT <= now);
        let has_ended = self.sequence_deadline().is_some_and(|at| at <= now);
        if has_ended || is_stalled && WAYS_OUT.contains(&bytes) {
            self.forget();
        }
        for &byte in bytes {
            if self.skipped_to.is_some() {
                self.skip(byte, now);
                continue;
            }
            // Byte by byte, to learn whether the last byte completes something.
            self.parser.parse(&[byte], true);
            let before = typed.len();
            typed.extend(std::iter::from_fn(|| self.parser.pop()).map(Typed::Event));
            if typed.len() > before {
                self.hold_nothing();
                continue;
            }
            self.held_bytes += 1;
            self.last_bytes.push(byte);
            if self.last_bytes.len() > PASTE_BEGIN.len() {
                self.last_bytes.remove(0);
            }
            self.is_in_paste |= self.last_bytes == PASTE_BEGIN;
            self.held_since.get_or_insert(now);
            self.last_held_at = Some(now);
            self.is_escape_possible = true;
            if self.held_bytes > MAX_HELD_BYTES {
                self.forget();
                // The rest of the paste must not count as keys.
                self.skipped_to = Some(0);
                typed.push(Typed::TooMuch);
            }
        }
        typed
    }

    /// When [`Keyboard::expire`] is next due, if nothing is typed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.is_escape_possible {
            self.last_held_at.map(|at| at + ESCAPE_TIMEOUT)
        } else {
            self.sequence_deadline()
        }
    }

    /// When the unfinished sequence is dropped, however much may come.
    fn sequence_deadline(&self) -> Option<Instant> {
        if self.is_in_paste || self.skipped_to.is_some() {
            None
        } else {
            self.held_since.map(|since| since + SEQUENCE_TIMEOUT)
        }
    }

    /// Returns what an overdue sequence means without its rest.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Event> {
        if self.deadline().is_none_or(|at| at > now) {
            return Vec::new();
        }
        if !std::mem::take(&mut self.is_escape_possible) {
            self.forget();
            return Vec::new();
        }
        self.parser.parse(b"", false);
        let events: Vec<_> = std::iter::from_fn(|| self.parser.pop()).collect();
        if !events.is_empty() {
            self.hold_nothing();
        }
        events
    }

    fn hold_nothing(&mut self) {
        self.held_bytes = 0;
        self.last_bytes.clear();
        self.is_in_paste = false;
        self.held_since = None;
        self.last_held_at = None;
        self.is_escape_possible = false;
    }

    fn skip(&mut self, byte: u8, now: Instant) {
        let matched = self.skipped_to.unwrap_or(0);
        let matched = match byte {
            _ if byte == PASTE_END[matched] => matched + 1,
            _ if byte == PASTE_END[0] => 1,
            _ => 0,
        };
        self.last_held_at = Some(now);
        self.skipped_to = Some(matched);
        if matched == PASTE_END.len() {
            self.forget();
        }
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use termina::event::{KeyCode, KeyEvent, Modifiers};

    use super::*;

    fn key(code: KeyCode) -> Typed {
        Typed::Event(Event::Key(code.into()))
    }

    #[test]
    fn keys_are_the_same_however_their_bytes_are_cut() {
        let bytes = "aö世\x1b[A\x1b[1;5C\x1bb\x1b[200~one\r\ntwo\x1b[201~\r".as_bytes();
        let expected = [
            key(KeyCode::Char('a')),
            key(KeyCode::Char('ö')),
            key(KeyCode::Char('世')),
            key(KeyCode::Up),
            Typed::Event(Event::Key(KeyEvent::new(
                KeyCode::Right,
                Modifiers::CONTROL,
            ))),
            Typed::Event(Event::Key(KeyEvent::new(
                KeyCode::Char('b'),
                Modifiers::ALT,
            ))),
            Typed::Event(Event::Paste("one\r\ntwo".to_owned())),
            key(KeyCode::Enter),
        ];
        for at in 0..=bytes.len() {
            let mut keyboard = Keyboard::default();
            let now = Instant::now();
            let mut events = keyboard.push(&bytes[..at], now);
            events.extend(keyboard.push(&bytes[at..], now));
            assert_eq!(events, expected, "cut at {at}");
            assert_eq!(keyboard.deadline(), None);
        }
    }

    #[test]
    fn an_escape_alone_is_a_key_after_a_while() {
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        assert_eq!(keyboard.push(b"\x1b", now), []);
        let at = keyboard.deadline().unwrap();
        assert_eq!(at, now + ESCAPE_TIMEOUT);
        assert_eq!(keyboard.expire(now), []);
        let events = keyboard.expire(at);
        assert_eq!(events, [Event::Key(KeyCode::Escape.into())]);
        assert_eq!(keyboard.push(b"a", at), [key(KeyCode::Char('a'))]);
    }

    #[test]
    fn a_paste_that_comes_late_stays_one() {
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        assert_eq!(keyboard.push(b"\x1b[200~one", now), []);
        let at = keyboard.deadline().unwrap();
        assert_eq!(keyboard.expire(at), []);
        assert_eq!(keyboard.deadline(), None);
        let events = keyboard.push(b" two\x1b[201~", at);
        assert_eq!(events, [Typed::Event(Event::Paste("one two".to_owned()))]);
    }

    #[test]
    fn an_unknown_sequence_does_not_break_the_next_paste() {
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        keyboard.push(b"\x1b[99;99;99x\x1b[200~one\r", now);
        let later = now + SEQUENCE_TIMEOUT;
        keyboard.expire(later);
        let typed = keyboard.push(b"two\x1b[201~", later);
        let paste = Typed::Event(Event::Paste("one\rtwo".to_owned()));
        assert_eq!(typed, [paste]);
    }

    #[test]
    fn a_paste_that_never_ends_is_given_up() {
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        keyboard.push(b"\x1b[200~half", now);
        assert_eq!(keyboard.push(b"\x03", now), [], "it may be part of it");
        let later = now + PASTE_TIMEOUT;
        let typed = keyboard.push(b"\x03", later);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), Modifiers::CONTROL);
        assert_eq!(typed, [Typed::Event(Event::Key(ctrl_c))]);
    }

    #[test]
    fn no_part_of_an_oversized_paste_counts_as_keys() {
        let mut keyboard = Keyboard::default();
        let now = Instant::now();
        keyboard.push(b"\x1b[200~", now);
        let typed = keyboard.push("line\r".repeat(MAX_HELD_BYTES).as_bytes(), now);
        assert_eq!(typed, [Typed::TooMuch]);
        assert_eq!(keyboard.push(b"\x1b\x1b[201\x1b[20", now), []);
        assert_eq!(keyboard.push(b"1~a", now), [key(KeyCode::Char('a'))]);
    }

    #[test]
    fn keys_that_begin_what_never_ends_do_not_swallow_the_rest() {
        for keys in ["\x1b]", "\x1bP", "\x1b[<", "\x1b[?", "\x1b[>1", "\x1bO"] {
            let mut keyboard = Keyboard::default();
            let mut now = Instant::now();
            keyboard.push(keys.as_bytes(), now);
            for _ in 0..2 {
                now = keyboard.deadline().unwrap_or(now);
                keyboard.expire(now);
            }
            assert_eq!(keyboard.deadline(), None);
            let typed = keyboard.push(b"a", now);
            assert_eq!(typed, [key(KeyCode::Char('a'))], "after {keys:?}");
        }
    }
}
