//! What the server says on one connection: the greeting or a refusal, the room's history,
//! the farewell, and unfinished lines. Knows no socket.

use std::time::{Duration, Instant};

use super::line_splitter::{Line, LineSplitter};
use super::message::{Age, CONTINUATION_MARK, Kind, Message};
use crate::protocol::close::CloseReason;
use crate::protocol::wording::{CLOSING, REFUSAL_PREFIX, WELCOME, farewell};
use crate::room::greeting;

/// How long an unfinished line is held back.
const HALF_LINE_TIMEOUT: Duration = Duration::from_millis(100);

/// How a server of our kind begins. Invariant: none is the beginning of another.
const OPENINGS: [&str; 3] = [
    "Welcome to this chatroom!\n",
    "Welcome to this chatroom!\r\n",
    REFUSAL_PREFIX,
];

/// What kind of server it is, judging by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// Not known yet: at most the words of the greeting have come.
    Awaited,
    /// A room that ends its lines, as ours does.
    Ours,
    /// A room like the Python original: it has no commands, and may never close the
    /// connection.
    Original,
    /// No chat room, or none that is known.
    Unknown,
    /// A room that did not let us in.
    Refused,
}

/// The server's last line, if that was a farewell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    None,
    /// The answer to `/quit`.
    Goodbye,
    /// The server closes the connection; we may return.
    Dropped,
    /// The server wants us to stay away.
    SentAway,
}

/// The lines from the server, in the context of those before.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// What has come while the greeting is awaited.
    opening: Vec<u8>,
    lines: LineSplitter,
    stage: Stage,
    /// Since when there has been an unfinished line, and nothing left to read.
    half_line_since: Option<Instant>,
}

/// What the lines so far mean for the next.
#[derive(Debug)]
struct Stage {
    greeting: Greeting,
    /// How many lines of the room's history are still to come; `None` before its heading.
    past: Option<usize>,
    farewell: Farewell,
}

impl Incoming {
    pub(crate) fn new() -> Self {
        Self {
            opening: Vec::new(),
            lines: LineSplitter::new(),
            stage: Stage {
                greeting: Greeting::Awaited,
                past: None,
                farewell: Farewell::None,
            },
            half_line_since: None,
        }
    }

    /// Takes what has arrived; `hear` gets the messages in it.
    pub(crate) fn push(&mut self, bytes: &[u8], hear: &mut dyn FnMut(&Message<'_>)) {
        if self.stage.greeting != Greeting::Awaited {
            return self.split(bytes, hear);
        }
        self.opening.extend_from_slice(bytes);
        // TCP may have cut it anywhere.
        let may_become = |opening: &str| {
            opening.len() > self.opening.len() && opening.as_bytes().starts_with(&self.opening)
        };
        if !OPENINGS.into_iter().any(may_become) {
            self.begin(hear);
        }
    }

    /// Nothing is left to read for now.
    pub(crate) fn drained(&mut self, now: Instant) {
        if self.lines.has_unfinished() || !self.opening.is_empty() {
            self.half_line_since.get_or_insert(now);
        }
    }

    /// When [`Incoming::expire`] is next due, if nothing more arrives.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.half_line_since.map(|since| since + HALF_LINE_TIMEOUT)
    }

    /// Passes on an unfinished line whose rest is overdue.
    pub(crate) fn expire(&mut self, now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.end(hear);
        }
    }

    /// Passes on what is held back: its rest is overdue, or will never come.
    pub(crate) fn end(&mut self, hear: &mut dyn FnMut(&Message<'_>)) {
        self.half_line_since = None;
        if !self.opening.is_empty() {
            self.begin(hear);
        }
        let Self { lines, stage, .. } = self;
        lines.flush(&mut |line| stage.pass(line, hear));
    }

    pub(crate) fn greeting(&self) -> Greeting {
        self.stage.greeting
    }

    pub(crate) fn farewell(&self) -> Farewell {
        self.stage.farewell
    }

    /// Judges the server by its first bytes.
    fn begin(&mut self, hear: &mut dyn FnMut(&Message<'_>)) {
        let opening = std::mem::take(&mut self.opening);
        self.half_line_since = None;
        let Some(rest) = opening.strip_prefix(WELCOME.as_bytes()) else {
            self.stage.greeting = if opening.starts_with(REFUSAL_PREFIX.as_bytes()) {
                Greeting::Refused
            } else {
                Greeting::Unknown
            };
            return self.split(&opening, hear);
        };
        self.stage.greeting = if rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
            Greeting::Ours
        } else {
            // The original does not end its greeting; what comes next may be glued to it.
            Greeting::Original
        };
        hear(&Message {
            kind: Kind::Welcome,
            ..Message::parse(WELCOME)
        });
        // So that its line end, which may come late, is no empty line.
        self.lines.push(WELCOME.as_bytes(), &mut |_| {});
        self.lines.flush(&mut |_| {});
        self.split(rest, hear);
    }

    fn split(&mut self, bytes: &[u8], hear: &mut dyn FnMut(&Message<'_>)) {
        if bytes.contains(&b'\n') {
            self.half_line_since = None;
        }
        let Self { lines, stage, .. } = self;
        lines.push(bytes, &mut |line| stage.pass(line, hear));
    }
}

impl Default for Incoming {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    fn pass(&mut self, line: Line<'_>, hear: &mut dyn FnMut(&Message<'_>)) {
        // The rest of a line must not pass for a line that the server did not send. With a
        // server that does not end its lines, nobody can tell what belongs together.
        if line.continues && self.greeting == Greeting::Ours {
            let marked = format!("{CONTINUATION_MARK}{}", line.text);
            return hear(&Message {
                kind: Kind::Continuation,
                name: None,
                text: line.text,
                line: &marked,
                age: Age::Now,
            });
        }
        let mut message = Message::parse(line.text);
        self.farewell = match farewell_in(&message) {
            Some(CloseReason::Quit) => Farewell::Goodbye,
            Some(CloseReason::Kicked | CloseReason::Banned | CloseReason::Idle) => {
                Farewell::SentAway
            }
            Some(CloseReason::Stuck | CloseReason::TooSlow | CloseReason::Shutdown) => {
                Farewell::Dropped
            }
            _ => Farewell::None,
        };
        match &mut self.past {
            Some(following @ 1..) => {
                *following -= 1;
                message.age = Age::Past {
                    following: *following,
                };
            }
            Some(0) => {}
            past @ None if message.kind == Kind::Notice && self.greeting == Greeting::Ours => {
                let count = greeting::count_in_heading(message.text);
                *past = count.filter(|&count| count <= greeting::MAX_HISTORY_LINES as usize);
            }
            None => {}
        }
        hear(&message);
    }
}

/// The reason that `message` gives for a farewell, if it is one.
fn farewell_in(message: &Message<'_>) -> Option<CloseReason> {
    let reasons = [
        CloseReason::Quit,
        CloseReason::Kicked,
        CloseReason::Banned,
        CloseReason::Idle,
        CloseReason::Stuck,
        CloseReason::TooSlow,
    ];
    match message.kind {
        Kind::Notice if message.text == CLOSING => Some(CloseReason::Shutdown),
        Kind::Notice => (reasons.into_iter()).find(|&why| farewell(why) == Some(message.text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that `act` passes on, each ended by a LF.
    fn heard(act: impl FnOnce(&mut dyn FnMut(&Message<'_>))) -> String {
        let mut all = String::new();
        act(&mut |message| all += &format!("{}\n", message.line));
        all
    }

    fn pushed(incoming: &mut Incoming, bytes: &[u8]) -> String {
        heard(|hear| incoming.push(bytes, hear))
    }

    fn expired(incoming: &mut Incoming, now: Instant) -> String {
        heard(|hear| incoming.expire(now, hear))
    }

    #[test]
    fn a_greeting_is_a_line_of_its_own_however_it_ends_and_is_cut() {
        for (end, greeting) in [
            ("", Greeting::Original),
            ("\n", Greeting::Ours),
            ("\r\n", Greeting::Ours),
        ] {
            let text = format!("{WELCOME}{end}<10.0.0.1> hi\n");
            for at in 0..text.len() {
                let mut incoming = Incoming::new();
                let mut all = pushed(&mut incoming, &text.as_bytes()[..at]);
                all += &pushed(&mut incoming, &text.as_bytes()[at..]);
                assert_eq!(all, "Welcome to this chatroom!\n<10.0.0.1> hi\n", "at {at}");
                assert_eq!(incoming.greeting(), greeting, "at {at}");
            }
        }
        assert!(
            OPENINGS[..2]
                .iter()
                .all(|opening| opening.starts_with(WELCOME))
        );
    }

    #[test]
    fn a_greeting_without_end_is_passed_on_in_time() {
        for (beginning, greeting) in [
            ("Welcome to this chatroom!", Greeting::Original),
            ("Welco", Greeting::Unknown),
            ("!", Greeting::Unknown),
        ] {
            let mut incoming = Incoming::new();
            let start = Instant::now();
            assert_eq!(pushed(&mut incoming, beginning.as_bytes()), "");
            assert_eq!(incoming.greeting(), Greeting::Awaited);
            incoming.drained(start);
            let late = start + HALF_LINE_TIMEOUT;
            assert_eq!(expired(&mut incoming, late), format!("{beginning}\n"));
            assert_eq!(incoming.greeting(), greeting);
            assert_eq!(pushed(&mut incoming, b"\n<a> hi\n"), "<a> hi\n");
        }
    }

    #[test]
    fn an_unfinished_line_is_passed_on_in_time_whatever_else_comes_of_it() {
        let mut incoming = Incoming::new();
        let start = Instant::now();
        assert_eq!(pushed(&mut incoming, b"<10.0.0.1> so"), "");
        assert_eq!(incoming.deadline(), None, "more may be there to be read");
        incoming.drained(start);
        assert_eq!(pushed(&mut incoming, b" slow"), "");
        incoming.drained(start + HALF_LINE_TIMEOUT / 2);
        assert_eq!(incoming.deadline(), Some(start + HALF_LINE_TIMEOUT));
        assert_eq!(expired(&mut incoming, start + HALF_LINE_TIMEOUT / 2), "");
        let late = start + HALF_LINE_TIMEOUT;
        assert_eq!(expired(&mut incoming, late), "<10.0.0.1> so slow\n");
        assert_eq!(incoming.deadline(), None);
    }

    #[test]
    fn a_line_that_ends_in_time_is_passed_on_whole() {
        let mut incoming = Incoming::new();
        let start = Instant::now();
        assert_eq!(pushed(&mut incoming, b"<10.0.0.1> a"), "");
        incoming.drained(start);
        assert_eq!(pushed(&mut incoming, b"b\n<10.0.0.1> c"), "<10.0.0.1> ab\n");
        let later = start + HALF_LINE_TIMEOUT;
        assert_eq!(expired(&mut incoming, later), "", "c has its own time");
        incoming.drained(later);
        assert_eq!(incoming.deadline(), Some(later + HALF_LINE_TIMEOUT));
    }

    #[test]
    fn the_rest_of_a_torn_line_is_marked_if_the_server_ends_its_lines() {
        for (end, shown) in [("\n", "… !! forged\n"), ("", "!! forged\n")] {
            let mut incoming = Incoming::new();
            pushed(
                &mut incoming,
                format!("{WELCOME}{end}<10.0.0.1> sl").as_bytes(),
            );
            heard(|hear| incoming.end(hear));
            assert_eq!(pushed(&mut incoming, b"!! forged\n"), shown);
        }
    }

    #[test]
    fn a_refusal_is_one_only_in_place_of_the_greeting() {
        let mut incoming = Incoming::new();
        pushed(&mut incoming, b"!! the room is full (2 clients)\n");
        assert_eq!(incoming.greeting(), Greeting::Refused);
        let mut incoming = Incoming::new();
        pushed(&mut incoming, b"Welcome to this chatroom!\n!! not said\n");
        pushed(&mut incoming, b"!! not said\n");
        assert_eq!(incoming.greeting(), Greeting::Ours);
    }

    #[test]
    fn a_farewell_is_not_confused_with_what_others_say() {
        for (text, farewell) in [
            ("hi\n-- goodbye\n", Farewell::Goodbye),
            ("<bob> -- goodbye\n", Farewell::None),
            ("-- operator: goodbye\n", Farewell::None),
            ("-- goodbye\n<bob> hi\n", Farewell::None),
            (
                "-- the operator has sent you away: goodbye\n",
                Farewell::SentAway,
            ),
            (
                "-- you read too slowly to catch up with what was said: goodbye\n",
                Farewell::Dropped,
            ),
            ("-- the room is closing\n", Farewell::Dropped),
        ] {
            let mut incoming = Incoming::new();
            for byte in text.as_bytes() {
                incoming.push(&[*byte], &mut |_| {});
            }
            assert_eq!(incoming.farewell(), farewell, "{text}");
        }
    }

    #[test]
    fn history_is_not_confused_with_what_is_said_now() {
        let mut ages = Vec::new();
        let greeting = "Welcome to this chatroom!\n-- be nice\n\
            -- the last 2 lines, the latest 3 minutes ago:\n<a> 1\n<b> 2\n<c> 3\n\
            -- the last 2 lines, the latest 3 minutes ago:\n<d> 4\n";
        Incoming::new().push(greeting.as_bytes(), &mut |message| ages.push(message.age));
        let past = |following| Age::Past { following };
        let now = Age::Now;
        assert_eq!(ages, [now, now, now, past(1), past(0), now, now, now]);

        ages.clear();
        let greeting = "Welcome to this chatroom!\n\
            -- the last 99999999 lines, the latest 3 minutes ago:\n<a> 1\n";
        Incoming::new().push(greeting.as_bytes(), &mut |message| ages.push(message.age));
        assert_eq!(ages, [now, now, now], "no room remembers so much");
    }
}
