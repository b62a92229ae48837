//! Any sequence of comings, goings and lines: whatever is shown is one whole line
//! of a known kind, nobody speaks under another's address or name or hears itself, no
//! two have names that look alike, and all hear the same in the same order.

#![no_main]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use chat::protocol::batch::{Batch, ClientId, Part};
use chat::protocol::line::Decoded;
use chat::protocol::sniff::is_request_line;
use chat::protocol::telnet::WONT_TIMING_MARK;
use chat::protocol::text::{has_right_to_left, push_safe};
use chat::protocol::wording::{NOTICE_PREFIX, REFUSAL_PREFIX, WELCOME};
use chat::room::{Config, Room};
use chat_fuzz::assert_harmless;
use libfuzzer_sys::fuzz_target;

/// Few, so that they are left and taken again.
const SEATS: usize = 5;

/// What a telnet command begins with.
const IAC: u8 = 255;

/// The telnet command that is to be answered, once for a line that holds it.
const DO_TIMING_MARK: &[u8] = &[IAC, 253, 6];

#[derive(Arbitrary, Debug)]
enum Act<'a> {
    Join(Seat, IpAddr),
    Leave(Seat),
    Line(Seat, &'a [u8]),
    TooLong(Seat, &'a [u8]),
    /// The operator says something.
    Operator(&'a [u8]),
    /// So many milliseconds go by.
    Wait(u16),
    Close,
    EndTurn,
}

/// The number of a client, free again once it has left.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Seat(#[arbitrary(with = |u: &mut Unstructured| u.int_in_range(0..=SEATS - 1))] usize);

fuzz_target!(|acts: Vec<Act>| {
    let mut stage = Stage::new();
    for act in acts {
        match act {
            Act::Join(Seat(seat), address) => stage.join(ClientId(seat), address),
            Act::Leave(Seat(seat)) => stage.leave(ClientId(seat)),
            Act::Line(Seat(seat), line) => stage.hear(ClientId(seat), Decoded::Line(line)),
            Act::TooLong(Seat(seat), line) => stage.hear(ClientId(seat), Decoded::TooLong(line)),
            Act::Operator(text) => stage.hear_operator(text),
            Act::Wait(millis) => stage.wait(Duration::from_millis(millis.into())),
            Act::Close => stage.close(),
            Act::EndTurn => stage.end_turn(),
        }
    }
    stage.end_turn();
});

fn new_room() -> Room {
    Room::new(Config {
        history_lines: 3,
        ..Config::default()
    })
}

/// A room, the turn it speaks into, and what is known of both from outside.
struct Stage {
    room: Room,
    now: Instant,
    turn: Batch,
    members: BTreeMap<ClientId, Member>,
    /// What the turn's shared text consists of.
    said: Vec<Said>,
}

struct Member {
    address: IpAddr,
    /// It has sent nothing but blanks: another protocol would show with what comes.
    is_silent: bool,
    /// It has said more than blanks: what comes is not another protocol.
    is_talking: bool,
    /// It came in this turn.
    is_new: bool,
    /// Where the shared text begins for it.
    hears_from: usize,
    /// Lines that it has sent this turn: as many answers may it get.
    sent_lines: usize,
    /// Those of them that telnet waits for an answer to.
    timing_marks: usize,
}

struct Said {
    by: Option<ClientId>,
    bytes: Range<usize>,
}

impl Stage {
    fn new() -> Self {
        Self {
            room: new_room(),
            now: Instant::now(),
            turn: Batch::new(),
            members: BTreeMap::new(),
            said: Vec::new(),
        }
    }

    fn join(&mut self, id: ClientId, address: IpAddr) {
        // A number is free once its client is gone, and not while it is sent away.
        if self.members.contains_key(&id) || self.turn.closes(id) {
            return;
        }
        self.turn.begin_for(id);
        let before = self.turn.shared().len();
        self.room.join(id, address, self.now, &mut self.turn);
        self.note_said(before, None);
        let newcomer = Member {
            address,
            is_silent: true,
            is_talking: false,
            is_new: true,
            hears_from: before,
            sent_lines: 0,
            timing_marks: 0,
        };
        self.members.insert(id, newcomer);
    }

    fn leave(&mut self, id: ClientId) {
        let address = self.members.remove(&id).map(|member| member.address);
        let left = self.room.leave(id, self.now, &mut self.turn);
        assert_eq!(left.map(|member| member.address()), address);
    }

    fn hear(&mut self, id: ClientId, heard: Decoded) {
        // As the reactor has it: of who is sent away nothing more is heard.
        if self.turn.closes(id) {
            return;
        }
        let before = self.turn.shared().len();
        let size_before = self.turn.size_bytes();
        let label = self.label(id);
        self.room.hear(id, heard, self.now, &mut self.turn);
        self.note_said(before, label.as_deref().map(|label| (id, label)));
        self.check_names();

        let said = &self.turn.shared()[before..];
        let Some(member) = self.members.get_mut(&id) else {
            assert_eq!(self.turn.size_bytes(), size_before, "a stranger is heard");
            return;
        };
        member.sent_lines += 1;
        match heard {
            Decoded::TooLong(_) => assert_eq!(said, b"", "it is not said in part"),
            Decoded::Line(line) if is_ordinary(line) => {
                if member.is_silent && is_request_line(line) {
                    assert!(self.turn.closes(id), "a browser is let talk");
                } else if member.is_talking {
                    assert_eq!(
                        Some(said),
                        label.map(|label| message(&label, line)).as_deref(),
                        "nothing is lost"
                    );
                }
            }
            Decoded::Line(line) => {
                let is_mark = |bytes: &[u8]| bytes == DO_TIMING_MARK;
                let asks = line.windows(DO_TIMING_MARK.len()).any(is_mark);
                member.timing_marks += usize::from(asks);
            }
        }
        let is_blank = matches!(heard, Decoded::Line(line) if line.trim_ascii().is_empty());
        member.is_silent &= is_blank;
        member.is_talking |= !said.is_empty() && !is_blank;
        if self.turn.closes(id) {
            assert_eq!(said, b"", "who is let go has said nothing");
        }
    }

    fn hear_operator(&mut self, text: &[u8]) {
        let before = self.turn.shared().len();
        self.room.hear_operator(text, self.now, &mut self.turn);
        self.note_said(before, None);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let before = self.turn.shared().len();
        self.room.expire(self.now, &mut self.turn);
        self.note_said(before, None);
        let is_due = |deadline| deadline <= self.now;
        assert!(
            !self.room.deadline().is_some_and(is_due),
            "all that is due is done"
        );
    }

    /// What a member is called.
    fn label(&self, id: ClientId) -> Option<String> {
        let mut members = self.room.members();
        members.find_map(|(member_id, member)| (member_id == id).then(|| member.to_string()))
    }

    fn check_names(&self) {
        let names = self
            .room
            .members()
            .filter_map(|(_, member)| member.name().cloned());
        let names: Vec<_> = names.collect();
        for (nth, name) in names.iter().enumerate() {
            assert!(
                !names[..nth].iter().any(|other| other.looks_like(name)),
                "{name}"
            );
        }
    }

    fn close(&mut self) {
        let before = self.turn.shared().len();
        self.room.close(&mut self.turn);
        self.note_said(before, None);
    }

    /// Checks what has been said since `before`, and takes note of it.
    fn note_said(&mut self, before: usize, by: Option<(ClientId, &str)>) {
        let end = self.turn.shared().len();
        if end == before {
            return;
        }
        let line = assert_one_line(&self.turn.shared()[before..]);
        let is_of_a_kind = match by {
            None => line.starts_with(NOTICE_PREFIX),
            Some((_, label)) => {
                line.starts_with(&format!("<{label}> ")) || line.starts_with(&format!("* {label} "))
            }
        };
        assert!(is_of_a_kind, "said by {by:?}: {line:?}");
        let bytes = before..end;
        let by = by.map(|(id, _)| id);
        self.said.push(Said { by, bytes });
    }

    fn end_turn(&mut self) {
        self.turn.seal();
        for (&id, member) in &self.members {
            let heard = match self.turn.edits().find(|&(reader, _)| reader == id) {
                Some((_, edits)) => check_parts(&self.turn, member, self.turn.parts(edits)),
                None => {
                    assert!(!member.is_new, "{id:?} is not welcomed");
                    self.turn.shared().to_vec()
                }
            };
            let expected: Vec<u8> = self
                .said
                .iter()
                .filter(|said| said.by != Some(id) && said.bytes.start >= member.hears_from)
                .flat_map(|said| &self.turn.shared()[said.bytes.clone()])
                .copied()
                .collect();
            assert_eq!(heard, expected, "what {id:?} hears");
        }

        let sent_away = self.turn.take_closes();
        self.turn.clear();
        self.said.clear();
        for (id, _) in sent_away {
            self.leave(id);
        }
        for member in self.members.values_mut() {
            member.is_new = false;
            member.hears_from = 0;
            member.sent_lines = 0;
            member.timing_marks = 0;
        }
    }
}

/// Checks what a reader is told alone, and returns what it hears besides.
fn check_parts<'a>(
    turn: &Batch,
    reader: &Member,
    parts: impl Iterator<Item = Part<'a>>,
) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut refusals = 0;
    let mut telnet_answers = 0;
    let mut is_welcomed = !reader.is_new;
    for part in parts.filter(|part| !part.is_empty()) {
        match part {
            Part::Shared(bytes) => {
                assert!(is_welcomed, "the welcome comes first");
                heard.extend_from_slice(&turn.shared()[bytes]);
            }
            Part::Private(frame, _) if !is_welcomed => {
                let text = frame.strip_suffix(b"\n").expect("whole lines");
                let mut lines = text.split(|&byte| byte == b'\n').map(assert_harmless);
                assert_eq!(lines.next(), Some(WELCOME));
                is_welcomed = true;
            }
            Part::Private(frame, _) if frame[..] == *WONT_TIMING_MARK => telnet_answers += 1,
            Part::Private(frame, _) => {
                let lines = frame.strip_suffix(b"\n").expect("whole lines");
                for line in lines.split(|&byte| byte == b'\n').map(assert_harmless) {
                    refusals += usize::from(line.starts_with(REFUSAL_PREFIX));
                    assert!(
                        [REFUSAL_PREFIX, NOTICE_PREFIX, "["]
                            .iter()
                            .any(|prefix| line.starts_with(prefix)),
                        "told {line:?}"
                    );
                }
            }
        }
    }
    assert!(is_welcomed);
    assert!(refusals <= reader.sent_lines);
    assert_eq!(telnet_answers, reader.timing_marks);
    heard
}

fn assert_one_line(bytes: &[u8]) -> &str {
    assert_harmless(bytes.strip_suffix(b"\n").expect("it ends with a LF"))
}

/// Whether there is nothing to a line but what it says.
fn is_ordinary(line: &[u8]) -> bool {
    !line.is_empty() && !line.starts_with(b"/") && !line.contains(&IAC)
}

fn message(label: &str, text: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    push_safe(&mut said, text);
    let said = String::from_utf8(said).expect("what is safe is UTF-8");
    let is_mixed = has_right_to_left(label) || has_right_to_left(&said);
    let mark = if is_mixed { "\u{200e}" } else { "" };
    let mut message = format!("<{label}> {mark}{said}").into_bytes();
    message.push(b'\n');
    message
}
