//! What the server says on one connection: the greeting or a refusal, the room's history,
//! the farewell, and unfinished lines. Knows no socket.

use std::time::{Duration, Instant};

use log::debug;

use super::line_splitter::{Line, LineSplitter};
use crate::frontend::message::{CONTINUATION_MARK, Kind, Message};
use crate::protocol::event::json::max_object_bytes;
use crate::protocol::event::{Event, Place};
use crate::protocol::line::{Decoded, LineDecoder};
use crate::protocol::text::made_safe;
use crate::protocol::wording::{REFUSAL_PREFIX, WELCOME};

/// How long an unfinished line is held back.
const HALF_LINE_TIMEOUT: Duration = Duration::from_millis(100);

/// No object is longer, whatever a room's longest line is. A longer one is skipped.
const MAX_OBJECT_BYTES: u32 = max_object_bytes(1024 * 1024) as u32;

/// Something from the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heard<'a> {
    /// A line of text.
    Line(Message<'a>),
    /// An object, safe to show, and what it says, if we know its kind.
    Object(&'a str, Option<&'a (Option<Place>, Event<'static>)>),
}

type Hear<'a> = &'a mut dyn FnMut(Heard<'_>);

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
    /// Another protocol's: this is no chat room.
    Foreign,
    /// A room that did not let us in.
    Refused,
}

/// How servers of other protocols greet: SSH, HTTP, mail and files (RFC 5321, 959, 3501, 1939),
/// news, VNC, rsync, NATS. (Others wait to be spoken to.)
const FOREIGN_OPENINGS: [&str; 16] = [
    "SSH-",
    "HTTP/",
    "220 ",
    "220-",
    "421 ",
    "554 ",
    "200 ",
    "201 ",
    "* OK",
    "* BYE",
    "* PREAUTH",
    "+OK",
    "-ERR",
    "RFB 0",
    "@RSYNCD:",
    "INFO {",
];

/// The lines from the server, in the context of those before.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// What has come while the greeting is awaited.
    opening: Vec<u8>,
    lines: LineSplitter,
    /// Objects are expected, between lines at first.
    objects: Option<LineDecoder>,
    stage: Stage,
    /// Since when there has been an unfinished line, and nothing left to read.
    half_line_since: Option<Instant>,
}

/// What the lines so far mean for the next.
#[derive(Debug)]
struct Stage {
    greeting: Greeting,
    /// The next line tells what kind of server it is, if any does.
    is_unknown: bool,
    /// A room of our kind is still greeting us: what it says was said before we came.
    is_past: bool,
}

impl Incoming {
    pub(crate) fn new() -> Self {
        Self {
            opening: Vec::new(),
            lines: LineSplitter::new(),
            objects: None,
            stage: Stage {
                greeting: Greeting::Awaited,
                is_unknown: false,
                is_past: false,
            },
            half_line_since: None,
        }
    }

    /// Takes what has arrived; `hear` gets what is in it.
    pub(crate) fn push(&mut self, bytes: &[u8], hear: Hear<'_>) {
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

    /// From now on objects may come, and every line has an end.
    pub(crate) fn expect_objects(&mut self) {
        self.half_line_since = None;
        let mut objects = LineDecoder::new(MAX_OBJECT_BYTES);
        objects.next_line(&mut &*self.lines.take_unfinished());
        self.objects = Some(objects);
    }

    /// There will be no objects.
    pub(crate) fn expect_lines(&mut self) {
        self.stage.is_past = false;
        if let Some(objects) = self.objects.take() {
            self.lines.push(objects.unfinished(), &mut |_| {});
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
    pub(crate) fn expire(&mut self, now: Instant, hear: Hear<'_>) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.end(hear);
        }
    }

    /// Passes on what is held back: its rest is overdue, or will never come.
    pub(crate) fn end(&mut self, hear: Hear<'_>) {
        self.half_line_since = None;
        if !self.opening.is_empty() {
            self.begin(hear);
        }
        let Self {
            lines,
            stage,
            objects,
            ..
        } = self;
        // An object without its end is none.
        if objects.is_none() {
            lines.flush(&mut |line| stage.pass(line, hear));
        }
    }

    pub(crate) fn greeting(&self) -> Greeting {
        self.stage.greeting
    }

    /// Whether its first line is not whole that tells what kind of server it is.
    pub(crate) fn is_undecided(&self) -> bool {
        self.stage.greeting == Greeting::Awaited || self.stage.is_unknown
    }

    /// Judges the server by its first bytes.
    fn begin(&mut self, hear: Hear<'_>) {
        let opening = std::mem::take(&mut self.opening);
        self.half_line_since = None;
        let Some(rest) = opening.strip_prefix(WELCOME.as_bytes()) else {
            self.stage.greeting = if opening.starts_with(REFUSAL_PREFIX.as_bytes()) {
                Greeting::Refused
            } else {
                self.stage.is_unknown = true;
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
        hear(Heard::Line(Message {
            kind: Kind::Welcome,
            ..Message::parse(WELCOME)
        }));
        self.stage.is_past = self.stage.greeting == Greeting::Ours;
        // So that its line end, which may come late, is no empty line.
        self.lines.push(WELCOME.as_bytes(), &mut |_| {});
        self.lines.flush(&mut |_| {});
        self.split(rest, hear);
    }

    fn split(&mut self, mut bytes: &[u8], hear: Hear<'_>) {
        let Self { lines, stage, .. } = self;
        if let Some(objects) = &mut self.objects {
            while let Some(decoded) = objects.next_line(&mut bytes) {
                match decoded {
                    Decoded::Line(line) => pass_object(line, stage, hear),
                    Decoded::TooLong(_) => debug!("skipped a line that is too long"),
                }
            }
            return;
        }
        if bytes.contains(&b'\n') {
            self.half_line_since = None;
        }
        lines.push(bytes, &mut |line| stage.pass(line, hear));
    }
}

impl Default for Incoming {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    fn pass(&mut self, line: Line<'_>, hear: Hear<'_>) {
        let is_first = std::mem::take(&mut self.is_unknown);
        let is_foreign = |opening: &str| line.text.starts_with(opening);
        if is_first && FOREIGN_OPENINGS.into_iter().any(is_foreign) {
            self.greeting = Greeting::Foreign;
        }
        // The rest of a line must not pass for a line that the server did not send. With a
        // server that does not end its lines, nobody can tell what belongs together.
        if line.continues && self.greeting == Greeting::Ours {
            let marked = format!("{CONTINUATION_MARK}{}", line.text);
            return hear(Heard::Line(Message {
                kind: Kind::Continuation,
                text: line.text,
                ..Message::other(&marked)
            }));
        }
        let mut message = Message::parse(line.text);
        message.is_past = self.is_past;
        hear(Heard::Line(message));
    }
}

/// Passes on a line of a server that has been asked for objects.
fn pass_object(line: &[u8], stage: &mut Stage, hear: Hear<'_>) {
    let safe = made_safe(line);
    if !safe.starts_with('{') {
        let line = Line {
            text: &safe,
            continues: false,
        };
        return stage.pass(line, hear);
    }
    match Event::read_json(safe.as_bytes()) {
        Ok(told) => {
            stage.is_past = false;
            hear(Heard::Object(&safe, told.as_ref()));
        }
        Err(e) => debug!("skipped a line: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that `act` passes on, each ended by a LF.
    fn heard(act: impl FnOnce(Hear<'_>)) -> String {
        let mut all = String::new();
        act(&mut |heard| {
            let (Heard::Line(Message { line, .. }) | Heard::Object(line, _)) = heard;
            all += &format!("{line}\n");
        });
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
        pushed(
            &mut incoming,
            b"!! the room is full (2 clients); try again later\n",
        );
        assert_eq!(incoming.greeting(), Greeting::Refused);
        let mut incoming = Incoming::new();
        pushed(&mut incoming, b"Welcome to this chatroom!\n!! not said\n");
        pushed(&mut incoming, b"!! not said\n");
        assert_eq!(incoming.greeting(), Greeting::Ours);
    }

    #[test]
    fn objects_come_between_lines_and_are_never_cut() {
        let text = format!("{WELCOME}\n-- bob");
        let after = " joined\n{\"kind\":\"wait\"}\n{\"kind\":\"later\"}\n{\"kind\"}\n{\"k";
        for at in 0..after.len() {
            let mut incoming = Incoming::new();
            pushed(&mut incoming, text.as_bytes());
            incoming.expect_objects();
            let mut all = pushed(&mut incoming, &after.as_bytes()[..at]);
            all += &pushed(&mut incoming, &after.as_bytes()[at..]);
            all += &heard(|hear| incoming.end(hear));
            assert_eq!(
                all, "-- bob joined\n{\"kind\":\"wait\"}\n{\"kind\":\"later\"}\n",
                "{at}"
            );
        }
    }

    #[test]
    fn what_a_room_of_ours_greets_with_is_past() {
        for (end, objects, expected) in [
            ("\n", true, [false, true, true, false]),
            ("\n", false, [false, true, false, false]),
            ("", true, [false, false, false, false]),
        ] {
            let mut incoming = Incoming::new();
            let mut past = Vec::new();
            let mut note = |heard: Heard<'_>| {
                if let Heard::Line(message) = heard {
                    past.push(message.is_past);
                }
            };
            incoming.push(format!("{WELCOME}{end}<a> 1\n").as_bytes(), &mut note);
            incoming.expect_objects();
            if !objects {
                incoming.expect_lines();
            }
            incoming.push(b"<a> 2\n{\"kind\":\"wait\"}\n<a> 3\n", &mut note);
            past.retain({
                let mut nth = 0;
                move |_| {
                    nth += 1;
                    // Without objects it is a line like any other.
                    objects || nth != 4
                }
            });
            assert_eq!(past, expected, "{end:?} {objects}");
        }
    }
}
