//! Any sequence of joins, leaves and lines: everything shown is one whole line of a known kind;
//! nobody speaks under another's address or name, or hears itself; no two names look alike; all
//! hear the same in the same order. Whoever reads JSON gets objects of bounded size, hears all, its
//! own lines too, and has each line answered once, with its number, on whatever connection.

#![no_main]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use chat::protocol::batch::{Batch, ClientId, Context, Encoding, Part};
use chat::protocol::close::CloseReason;
use chat::protocol::event::Event;
use chat::protocol::event::json::max_object_bytes;
use chat::protocol::line::Decoded;
use chat::protocol::text::{has_right_to_left, push_safe};
use chat::protocol::time::Time;
use chat::protocol::wording::{NOTICE_PREFIX, REFUSAL_PREFIX, WELCOME};
use chat::room::{Config, Room};
use chat_fuzz::assert_harmless;
use libfuzzer_sys::fuzz_target;

/// Few, so that they are reused.
const SEATS: usize = 5;

/// What the room takes for random, so that tokens can be guessed.
const SECRET: u128 = 0xfeed;

#[derive(Arbitrary, Debug)]
enum Act<'a> {
    Join(Seat, IpAddr),
    Leave(Seat),
    Line(Seat, &'a [u8]),
    Json(Seat),
    /// The token of the client that came as the given one after the first.
    Resume(Seat, u8, u16),
    TooLong(Seat, &'a [u8]),
    /// The operator says something.
    Operator(&'a [u8]),
    /// Milliseconds pass.
    Wait(u16),
    Close,
    EndBatch,
}

/// A client's number, free again once the client has left.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Seat(#[arbitrary(with = |u: &mut Unstructured| u.int_in_range(0..=SEATS - 1))] usize);

fuzz_target!(|acts: Vec<Act>| {
    let mut stage = Stage::new();
    for act in acts {
        match act {
            Act::Join(Seat(seat), address) => stage.join(seat, address),
            Act::Leave(Seat(seat)) => {
                stage.leave(stage.ids[seat], CloseReason::PeerClosed);
            }
            Act::Line(Seat(seat), line) => stage.hear(stage.ids[seat], Decoded::Line(line)),
            Act::Json(Seat(seat)) => stage.hear(stage.ids[seat], Decoded::Line(b"/json")),
            Act::Resume(Seat(seat), nth, seq) => {
                let serial = SEATS as u64 + u64::from(nth);
                let line = format!("/resume {serial}.{SECRET:032x} {seq}");
                stage.hear(stage.ids[seat], Decoded::Line(line.as_bytes()));
            }
            Act::TooLong(Seat(seat), line) => stage.hear(stage.ids[seat], Decoded::TooLong(line)),
            Act::Operator(text) => stage.hear_operator(text),
            Act::Wait(millis) => stage.wait(Duration::from_millis(millis.into())),
            Act::Close => stage.close(),
            Act::EndBatch => stage.end_batch(),
        }
    }
    stage.end_batch();
});

fn new_room() -> Room {
    let config = Config {
        history_lines: 3,
        ..Config::default()
    };
    Room::new(config, || SECRET)
}

/// A room, the batch it writes into, and what an observer knows of both.
struct Stage {
    room: Room,
    now: Instant,
    batch: Batch,
    members: BTreeMap<ClientId, Member>,
    /// The last client that took each seat.
    ids: [ClientId; SEATS],
    next_serial: u64,
    /// The parts of the batch's shared text.
    said: Vec<Said>,
}

struct Member {
    address: IpAddr,
    /// Where in the shared text it begins to hear.
    hears_from: usize,
    /// Lines it has sent in this batch: the most answers it may get.
    sent_lines: usize,
    /// What it gets from the next batch on.
    reads: Encoding,
    /// The number of its last line that was answered.
    answered: u64,
    /// The last event that it has heard.
    seq: u64,
    /// It is the member that came on another connection, and has that one's label.
    is_resumed: bool,
    /// Its id, as its hello says.
    you: Option<u64>,
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
            batch: Batch::new(),
            members: BTreeMap::new(),
            ids: std::array::from_fn(ClientId::nth),
            next_serial: SEATS as u64,
            said: Vec::new(),
        }
    }

    fn join(&mut self, seat: usize, address: IpAddr) {
        // A seat is free once its client is gone, not while it is being disconnected.
        let before = self.ids[seat];
        if self.members.contains_key(&before) || self.batch.closes(before) {
            return;
        }
        let id = ClientId {
            key: seat,
            serial: self.next_serial,
        };
        self.next_serial += 1;
        self.ids[seat] = id;
        let greeting = self.room.join(id, address, self.now);
        let greeting = greeting.strip_suffix(b"\n").expect("whole lines");
        let mut lines = greeting.split(|&byte| byte == b'\n').map(assert_harmless);
        assert_eq!(lines.next(), Some(WELCOME));
        self.batch.begin_for(id);
        let newcomer = Member {
            address,
            hears_from: self.batch.shared(Encoding::Text).len(),
            sent_lines: 0,
            reads: Encoding::Text,
            answered: 0,
            seq: 0,
            is_resumed: false,
            you: None,
        };
        self.members.insert(id, newcomer);
    }

    /// Calls `act` on the room, now and with this batch.
    fn act<R>(&mut self, act: impl FnOnce(&mut Room, &mut Context<'_>) -> R) -> R {
        let mut context = Context {
            now: self.now,
            time: Time::default(),
            batch: &mut self.batch,
        };
        act(&mut self.room, &mut context)
    }

    fn leave(&mut self, id: ClientId, reason: CloseReason) {
        let address = self.members.remove(&id).map(|member| member.address);
        let left = self.act(|room, context| room.leave(id, reason, context));
        assert_eq!(left.map(|departed| departed.address), address);
    }

    fn hear(&mut self, id: ClientId, heard: Decoded) {
        // As in the reactor: nothing more is heard from a client being disconnected.
        if self.batch.closes(id) {
            return;
        }
        let before = self.batch.shared(Encoding::Text).len();
        let size_before = self.batch.size_bytes();
        let label = self.label(id);
        let is_resume = matches!(heard, Decoded::Line(line) if line.to_ascii_lowercase().starts_with(b"/resume"));
        self.act(|room, context| room.hear(id, heard, context));
        if is_resume && let Some(member) = self.members.get_mut(&id) {
            member.is_resumed = true;
        }
        let introduced = self.note_introduction(before);
        self.note_said(introduced, Some((id, label.as_deref())));
        self.check_names();

        let said = &self.batch.shared(Encoding::Text)[introduced..];
        let Some(member) = self.members.get_mut(&id) else {
            assert_eq!(
                self.batch.size_bytes(),
                size_before,
                "a client was heard that is not in the room"
            );
            return;
        };
        member.sent_lines += 1;
        match heard {
            Decoded::TooLong(_) => {
                assert_eq!(said, b"", "a line that is too long was said in part")
            }
            Decoded::Line(line) if is_ordinary(line) => match label {
                Some(label) => assert_eq!(said, message(&label, line), "nothing is lost"),
                None => assert!(!said.is_empty(), "nothing is lost"),
            },
            Decoded::Line(_) => {}
        }
        if self.batch.closes(id) {
            assert_eq!(said, b"", "a client was heard that is being disconnected");
        }
    }

    fn hear_operator(&mut self, text: &[u8]) {
        let before = self.batch.shared(Encoding::Text).len();
        self.act(|room, context| room.hear_operator(text, context));
        self.note_said(before, None);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let before = self.batch.shared(Encoding::Text).len();
        self.act(Room::expire);
        self.note_said(before, None);
        let is_due = |deadline| deadline <= self.now;
        assert!(
            !self.room.deadline().is_some_and(is_due),
            "all that is due is done"
        );
    }

    /// What a member is called, if it is on the connection on which it came.
    fn label(&self, id: ClientId) -> Option<String> {
        let is_resumed = self
            .members
            .get(&id)
            .is_some_and(|member| member.is_resumed);
        let mut members = self.room.members().filter(|_| !is_resumed);
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
        let before = self.batch.shared(Encoding::Text).len();
        self.act(|room, context| room.close(context));
        self.note_said(before, None);
    }

    /// A speaker is introduced before it is heard. Records that notice, if one begins at
    /// `before`, and returns where it ends.
    fn note_introduction(&mut self, before: usize) -> usize {
        let said = &self.batch.shared(Encoding::Text)[before..];
        if !said.starts_with(NOTICE_PREFIX.as_bytes()) {
            return before;
        }
        let line_end = said.iter().position(|&byte| byte == b'\n');
        let end = before + line_end.expect("whole lines") + 1;
        self.note_line(before..end, None);
        end
    }

    /// Checks what was said since `before`, and records it.
    fn note_said(&mut self, before: usize, by: Option<(ClientId, Option<&str>)>) {
        let end = self.batch.shared(Encoding::Text).len();
        if end > before {
            self.note_line(before..end, by);
        }
    }

    fn note_line(&mut self, bytes: Range<usize>, by: Option<(ClientId, Option<&str>)>) {
        let line = assert_one_line(&self.batch.shared(Encoding::Text)[bytes.clone()]);
        let is_of_a_kind = match by {
            None => line.starts_with(NOTICE_PREFIX),
            Some((_, None)) => line.starts_with(['<', '*']),
            Some((_, Some(label))) => {
                line.starts_with(&format!("<{label}> ")) || line.starts_with(&format!("* {label} "))
            }
        };
        assert!(is_of_a_kind, "said by {by:?}: {line:?}");
        let by = by.map(|(id, _)| id);
        self.said.push(Said { by, bytes });
    }

    fn end_batch(&mut self) {
        self.batch.seal();
        for (&id, member) in &mut self.members {
            let edits = self.batch.edits_from(0).find(|&(reader, _)| reader == id);
            let before = member.reads;
            if let Some(encoding) = edits.and_then(|(_, edits)| edits.switch()) {
                member.reads = encoding;
            }
            if member.reads == Encoding::Json {
                if self.batch.closes(id) {
                    // Another connection may go on with its session, and be answered.
                    continue;
                }
                let parts = edits.map(|(_, edits)| self.batch.parts(edits, before));
                check_objects(
                    &self.batch,
                    member,
                    parts.into_iter().flatten(),
                    edits.is_none(),
                );
                continue;
            }
            let heard = match edits {
                Some((_, edits)) => {
                    check_parts(&self.batch, member, self.batch.parts(edits, before))
                }
                None => self.batch.shared(Encoding::Text).to_vec(),
            };
            let expected: Vec<u8> = self
                .said
                .iter()
                .filter(|said| said.by != Some(id) && said.bytes.start >= member.hears_from)
                .flat_map(|said| &self.batch.shared(Encoding::Text)[said.bytes.clone()])
                .copied()
                .collect();
            assert_eq!(heard, expected, "what {id:?} hears");
        }

        let sent_away = self.batch.take_closes();
        self.batch.clear();
        self.said.clear();
        for (id, reason) in sent_away {
            self.leave(id, reason);
        }
        for member in self.members.values_mut() {
            member.hears_from = 0;
            member.sent_lines = 0;
        }
    }
}

/// Checks what one reader alone is told, and returns what it hears besides.
fn check_parts<'a>(
    batch: &Batch,
    reader: &Member,
    parts: impl Iterator<Item = Part<'a>>,
) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut refusals = 0;
    for part in parts {
        match part {
            Part::Shared(encoding, bytes) => {
                heard.extend_from_slice(&batch.shared(encoding)[bytes])
            }
            Part::Private(frame) => {
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
    assert!(refusals <= reader.sent_lines);
    heard
}

/// Checks what a reader of JSON gets: all of what is said, if it `has_all`, or else `parts`.
fn check_objects<'a>(
    batch: &Batch,
    reader: &mut Member,
    parts: impl Iterator<Item = Part<'a>>,
    has_all: bool,
) {
    let mut heard = Vec::new();
    if has_all {
        heard.extend_from_slice(batch.shared(Encoding::Json));
    }
    for part in parts {
        heard.extend_from_slice(match &part {
            Part::Shared(encoding, bytes) => &batch.shared(*encoding)[bytes.clone()],
            Part::Private(frame) => frame,
        });
    }
    let lines = heard.split_inclusive(|&byte| byte == b'\n');
    for line in lines.filter(|line| line.starts_with(b"{")) {
        let line = line.strip_suffix(b"\n").expect("whole lines");
        assert!(line.len() <= max_object_bytes(Config::default().max_line_bytes));
        let (place, event) = Event::read_json(line)
            .expect("an event")
            .expect("a known kind");
        let is_past = place.is_some_and(|place| place.is_past);
        if let Some(place) = place.filter(|_| !is_past) {
            assert!(place.seq > reader.seq, "once and in order");
            reader.seq = place.seq;
        }
        let n = match &event {
            Event::Hello(hello) => {
                reader.seq = if hello.resumed { 0 } else { hello.seq };
                reader.answered = hello.heard;
                reader.you = Some(hello.you);
                None
            }
            Event::Message(speech) | Event::Action(speech) | Event::Private { speech, .. } => {
                speech.n.filter(|_| speech.from == reader.you)
            }
            Event::Reply(reply) => reply.n,
            Event::Error { n, .. } => *n,
            _ => None,
        };
        // Answers from before a loss are told again.
        if let Some(n) = n.filter(|&n| n > reader.answered || place.is_none()) {
            assert_eq!(n, reader.answered + 1, "each line is answered once");
            reader.answered = n;
        }
    }
}

fn assert_one_line(bytes: &[u8]) -> &str {
    assert_harmless(bytes.strip_suffix(b"\n").expect("it ends with a LF"))
}

/// Whether a line is plain text. A slash after the first character may belong to a command
/// behind something invisible.
fn is_ordinary(line: &[u8]) -> bool {
    const SLASHES: [char; 5] = ['/', '\u{2044}', '\u{2215}', '\u{29f8}', '\u{ff0f}'];
    match line {
        [] | [b'/', ..] => false,
        [b'!'..=b'~', ..] => true,
        _ => !String::from_utf8_lossy(line).contains(SLASHES),
    }
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
