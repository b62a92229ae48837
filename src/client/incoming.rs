//! What the server says on one connection: knows the greeting, the refusal, the room's
//! memory, the goodbye and the half-line, and no socket.

use std::time::{Duration, Instant};

use super::line_splitter::{Line, LineSplitter};
use super::message::{Age, CONTINUATION_MARK, Kind, Message};
use crate::close::CloseReason;
use crate::room::history;
use crate::room::{CLOSING, REFUSAL_PREFIX, WELCOME, farewell};

/// How long a line that stops in its middle is held back.
const HALF_LINE_TIMEOUT: Duration = Duration::from_millis(100);

/// How a server of our kind begins. Invariant: none begins as another, but for a line end.
const OPENINGS: [&str; 3] = [
    "Welcome to this chatroom!\n",
    "Welcome to this chatroom!\r\n",
    REFUSAL_PREFIX,
];

/// What the server has shown itself to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// It has said nothing yet, or no more than the greeting's words.
    Awaited,
    /// It has let us in, and ends its lines: it is of our kind.
    Ours,
    /// It has let us in, and is of the kind of the Python original: it knows no commands,
    /// and may never end the connection.
    Original,
    /// It is no chat room, or none that is known.
    Unknown,
    /// It has not let us in.
    Refused,
}

/// How the server has taken its leave, if it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It has not.
    None,
    /// It lets us go, as we have asked.
    Goodbye,
    /// It ends the connection though we have not asked it to, for now.
    Dropped,
    /// It has sent us away, and does not want us back at once.
    SentAway,
}

/// The server's side of the conversation.
#[derive(Debug)]
pub struct Incoming {
    /// What has come while it was not clear yet what the server is.
    opening: Vec<u8>,
    lines: LineSplitter,
    stage: Stage,
    /// Since when the end of a half-line has been waited for, with nothing left to
    /// be read.
    half_line_since: Option<Instant>,
}

/// What lines mean depends on those before.
#[derive(Debug)]
struct Stage {
    greeting: Greeting,
    /// So many lines that the room remembers are still to come; `None` before that is
    /// known.
    past: Option<usize>,
    farewell: Farewell,
}

impl Incoming {
    /// Nothing has been said yet.
    pub fn new() -> Self {
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

    /// Takes what has arrived, and passes the messages in it on to `hear`.
    pub fn push(&mut self, bytes: &[u8], hear: &mut dyn FnMut(&Message<'_>)) {
        if self.stage.greeting != Greeting::Awaited {
            return self.split(bytes, hear);
        }
        self.opening.extend_from_slice(bytes);
        // The network may have cut it anywhere.
        let may_become = |opening: &str| {
            opening.len() > self.opening.len() && opening.as_bytes().starts_with(&self.opening)
        };
        if !OPENINGS.into_iter().any(may_become) {
            self.begin(hear);
        }
    }

    /// Nothing is left to be read for now.
    pub fn drained(&mut self, now: Instant) {
        if self.lines.has_unfinished() || !self.opening.is_empty() {
            self.half_line_since.get_or_insert(now);
        }
    }

    /// When [`Incoming::expire`] has something to pass on, if nothing more arrives.
    pub fn deadline(&self) -> Option<Instant> {
        self.half_line_since.map(|since| since + HALF_LINE_TIMEOUT)
    }

    /// Passes on a half-line whose end has been waited for long enough.
    pub fn expire(&mut self, now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.end(hear);
        }
    }

    /// Nothing more will arrive: passes on what was held back.
    pub fn end(&mut self, hear: &mut dyn FnMut(&Message<'_>)) {
        self.half_line_since = None;
        if !self.opening.is_empty() {
            self.begin(hear);
        }
        let Self { lines, stage, .. } = self;
        lines.flush(&mut |line| stage.pass(line, hear));
    }

    /// What the server has shown itself to be.
    pub fn greeting(&self) -> Greeting {
        self.stage.greeting
    }

    /// How the server has taken its leave.
    pub fn farewell(&self) -> Farewell {
        self.stage.farewell
    }

    /// Looks at the very first bytes.
    fn begin(&mut self, hear: &mut dyn FnMut(&Message<'_>)) {
        let opening = std::mem::take(&mut self.opening);
        self.half_line_since = None;
        let Some(rest) = opening.strip_prefix(WELCOME.as_bytes()) else {
            self.stage.greeting = match opening.starts_with(REFUSAL_PREFIX.as_bytes()) {
                true => Greeting::Refused,
                false => Greeting::Unknown,
            };
            return self.split(&opening, hear);
        };
        self.stage.greeting = match rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
            true => Greeting::Ours,
            // The original does not end its greeting; what comes next may be glued to it.
            false => Greeting::Original,
        };
        hear(&Message {
            kind: Kind::Welcome,
            ..Message::parse(WELCOME)
        });
        // So its end, late or not, is no empty line.
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
        // Of a server that does not end its lines nobody can tell what belongs together.
        // Of another, the rest of a line must not pass for a line of its own, which the
        // server did not say.
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
                let count = history::count_in_heading(message.text);
                *past = count.filter(|&count| count <= history::MAX_HISTORY_LINES as usize);
            }
            None => {}
        }
        hear(&message);
    }
}

/// For which reason `message` says goodbye, if it does.
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
    fn a_greeting_that_does_not_end_is_waited_for_only_so_long() {
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
    fn a_half_line_is_passed_on_after_a_while_that_more_of_it_does_not_lengthen() {
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
    fn a_line_that_is_ended_in_time_is_not_torn() {
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
    fn a_farewell_is_told_from_what_others_say() {
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
    fn what_the_room_remembers_is_told_from_what_is_said_now() {
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
