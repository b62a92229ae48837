//! What the server says, made fit to show: knows the greeting, the refusal and the
//! half-line, and no socket.

use std::time::{Duration, Instant};

use super::line_display::LineDisplay;
use crate::room::{REFUSAL_PREFIX, WELCOME};

/// How long a line that stops in its middle is held back.
const HALF_LINE_TIMEOUT: Duration = Duration::from_millis(100);

/// What is said to who has asked to leave; it stands in a line of its own.
const GOODBYE: &[u8] = b"\n-- goodbye\n";

/// The server's side of the conversation.
#[derive(Debug)]
pub struct Incoming {
    lines: LineDisplay,
    has_begun: bool,
    is_refusal: bool,
    /// The end of what has arrived, as long as a goodbye.
    last_bytes: Vec<u8>,
    /// Since when the end of a half-line has been waited for, with nothing left to
    /// be read.
    half_line_since: Option<Instant>,
}

impl Incoming {
    /// Nothing has been said yet.
    pub fn new() -> Self {
        Self {
            lines: LineDisplay::new(""),
            has_begun: false,
            is_refusal: false,
            last_bytes: Vec::new(),
            half_line_since: None,
        }
    }

    /// Takes what has arrived, and appends to `out` the lines to show.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.last_bytes
            .extend_from_slice(&bytes[bytes.len().saturating_sub(GOODBYE.len())..]);
        let surplus = self.last_bytes.len().saturating_sub(GOODBYE.len());
        self.last_bytes.drain(..surplus);
        let bytes = match self.has_begun {
            true => bytes,
            false => self.begin(bytes, out),
        };
        if bytes.contains(&b'\n') {
            self.half_line_since = None;
        }
        self.lines.push(bytes, out);
    }

    /// Nothing is left to be read for now.
    pub fn drained(&mut self, now: Instant) {
        if self.lines.holds_half_a_line() {
            self.half_line_since.get_or_insert(now);
        }
    }

    /// When [`Incoming::expire`] has something to show, if nothing more arrives.
    pub fn deadline(&self) -> Option<Instant> {
        self.half_line_since.map(|since| since + HALF_LINE_TIMEOUT)
    }

    /// Shows a half-line whose end has been waited for long enough.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.end(out);
        }
    }

    /// Nothing more will arrive: shows what was held back.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.half_line_since = None;
        self.lines.show_half_line(out);
    }

    /// Whether the server did not let us in.
    pub fn is_refusal(&self) -> bool {
        self.is_refusal
    }

    /// Whether the last that the server said is that it lets us go, as we have asked.
    pub fn is_goodbye(&self) -> bool {
        self.last_bytes == GOODBYE
    }

    /// Looks at the very first bytes, and returns what follows the greeting. Both
    /// are short and sent at once, so they arrive in one piece.
    fn begin<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        self.has_begun = true;
        self.is_refusal = bytes.starts_with(REFUSAL_PREFIX.as_bytes());
        let Some(rest) = bytes.strip_prefix(WELCOME.as_bytes()) else {
            return bytes;
        };
        // The Python original does not end its greeting; what comes next may be
        // glued to it.
        self.lines.push(WELCOME.as_bytes(), out);
        self.lines.show_half_line(out);
        if rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
            self.lines.mark_continuations();
        }
        rest
    }
}

impl Default for Incoming {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(incoming: &mut Incoming, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        incoming.push(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn expired(incoming: &mut Incoming, now: Instant) -> String {
        let mut out = Vec::new();
        incoming.expire(now, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_greeting_is_a_line_of_its_own_however_it_ends() {
        for end in ["", "\n", "\r\n"] {
            let mut incoming = Incoming::new();
            let bytes = format!("Welcome to this chatroom!{end}<10.0.0.1> hi\n");
            assert_eq!(
                shown(&mut incoming, bytes.as_bytes()),
                "Welcome to this chatroom!\n<10.0.0.1> hi\n"
            );
            assert!(!incoming.is_refusal());
        }
    }

    #[test]
    fn a_half_line_is_shown_after_a_while_that_more_of_it_does_not_lengthen() {
        let mut incoming = Incoming::new();
        let start = Instant::now();
        assert_eq!(shown(&mut incoming, b"<10.0.0.1> so"), "");
        assert_eq!(incoming.deadline(), None, "more may be there to be read");
        incoming.drained(start);
        assert_eq!(shown(&mut incoming, b" slow"), "");
        incoming.drained(start + HALF_LINE_TIMEOUT / 2);
        assert_eq!(incoming.deadline(), Some(start + HALF_LINE_TIMEOUT));
        assert_eq!(expired(&mut incoming, start + HALF_LINE_TIMEOUT / 2), "");
        let late = start + HALF_LINE_TIMEOUT;
        assert_eq!(expired(&mut incoming, late), "<10.0.0.1> so slow\n");
        assert_eq!(incoming.deadline(), None);
    }

    #[test]
    fn a_line_that_is_ended_in_time_is_not_torn() {
        let mut incoming = Incoming::new();
        let start = Instant::now();
        assert_eq!(shown(&mut incoming, b"<10.0.0.1> a"), "");
        incoming.drained(start);
        assert_eq!(shown(&mut incoming, b"b\n<10.0.0.1> c"), "<10.0.0.1> ab\n");
        let later = start + HALF_LINE_TIMEOUT;
        assert_eq!(expired(&mut incoming, later), "", "c has its own time");
        incoming.drained(later);
        assert_eq!(incoming.deadline(), Some(later + HALF_LINE_TIMEOUT));
    }

    #[test]
    fn a_refusal_is_one_only_in_place_of_the_greeting() {
        let mut incoming = Incoming::new();
        shown(&mut incoming, b"!! the room is full (2 clients)\n");
        assert!(incoming.is_refusal());
        let mut incoming = Incoming::new();
        shown(&mut incoming, b"Welcome to this chatroom!\n!! not said\n");
        shown(&mut incoming, b"!! not said\n");
        assert!(!incoming.is_refusal());
    }

    #[test]
    fn a_goodbye_is_told_from_what_others_say() {
        for (text, is_goodbye) in [
            ("hi\n-- goodbye\n", true),
            ("<bob> -- goodbye\n", false),
            ("\n-- goodbye\n<bob> hi\n", false),
        ] {
            let mut incoming = Incoming::new();
            for byte in text.as_bytes() {
                incoming.push(&[*byte], &mut Vec::new());
            }
            assert_eq!(incoming.is_goodbye(), is_goodbye, "{text}");
        }
    }
}
