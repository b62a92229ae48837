//! Bytes from a terminal in, keys and pastes out.

use std::time::{Duration, Instant};

use termina::{Event, Parser};

/// How long the rest of what begins with an Escape is waited for; after that it was the
/// key of that name.
pub const ESCAPE_TIMEOUT: Duration = Duration::from_millis(30);

/// What is typed.
#[derive(Debug, Default)]
pub struct Keyboard {
    parser: Parser,
    /// Since when the rest of something has been waited for.
    incomplete_since: Option<Instant>,
}

impl Keyboard {
    /// Nothing was typed.
    pub fn new() -> Self {
        Self::default()
    }

    /// What `bytes` complete.
    pub fn push(&mut self, bytes: &[u8], now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            // One by one, to learn whether the last of them completes something.
            self.parser.parse(&[byte], true);
            let before = events.len();
            events.extend(std::iter::from_fn(|| self.parser.pop()));
            self.incomplete_since = match events.len() == before {
                true => Some(now),
                false => None,
            };
        }
        events
    }

    /// When [`Keyboard::expire`] has something to do, if nothing is typed.
    pub fn deadline(&self) -> Option<Instant> {
        self.incomplete_since.map(|since| since + ESCAPE_TIMEOUT)
    }

    /// What was waited for long enough.
    pub fn expire(&mut self, now: Instant) -> Option<Event> {
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        self.incomplete_since = None;
        self.parser.parse(b"", false);
        self.parser.pop()
    }
}

#[cfg(test)]
mod tests {
    use termina::event::{KeyCode, KeyEvent, Modifiers};

    use super::*;

    fn key(code: KeyCode) -> Event {
        Event::Key(code.into())
    }

    #[test]
    fn keys_are_the_same_however_their_bytes_are_cut() {
        let bytes = "aö世\x1b[A\x1b[1;5C\x1bb\x1b[200~one\r\ntwo\x1b[201~\r".as_bytes();
        let expected = [
            key(KeyCode::Char('a')),
            key(KeyCode::Char('ö')),
            key(KeyCode::Char('世')),
            key(KeyCode::Up),
            Event::Key(KeyEvent::new(KeyCode::Right, Modifiers::CONTROL)),
            Event::Key(KeyEvent::new(KeyCode::Char('b'), Modifiers::ALT)),
            Event::Paste("one\r\ntwo".to_owned()),
            key(KeyCode::Enter),
        ];
        for at in 0..=bytes.len() {
            let mut keyboard = Keyboard::new();
            let now = Instant::now();
            let mut events = keyboard.push(&bytes[..at], now);
            events.extend(keyboard.push(&bytes[at..], now));
            assert_eq!(events, expected, "cut at {at}");
            assert_eq!(keyboard.deadline(), None);
        }
    }

    #[test]
    fn an_escape_alone_is_a_key_after_a_while() {
        let mut keyboard = Keyboard::new();
        let now = Instant::now();
        assert_eq!(keyboard.push(b"\x1b", now), []);
        let at = keyboard.deadline().unwrap();
        assert_eq!(at, now + ESCAPE_TIMEOUT);
        assert_eq!(keyboard.expire(now), None);
        assert_eq!(keyboard.expire(at), Some(key(KeyCode::Escape)));
        assert_eq!(keyboard.push(b"a", at), [key(KeyCode::Char('a'))]);
    }

    #[test]
    fn a_paste_that_comes_late_stays_one() {
        let mut keyboard = Keyboard::new();
        let now = Instant::now();
        assert_eq!(keyboard.push(b"\x1b[200~one", now), []);
        let at = keyboard.deadline().unwrap();
        assert_eq!(keyboard.expire(at), None);
        let events = keyboard.push(b" two\x1b[201~", at);
        assert_eq!(events, [Event::Paste("one two".to_owned())]);
    }
}
