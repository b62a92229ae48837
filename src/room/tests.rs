//! The room's behaviour: what each member hears of what others do.

mod names;
mod newcomers;
mod operator;
mod programs;
mod properties;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::names::{CLAIM_TIMEOUT, HOLD, MAX_CLAIMS};
use super::presence::PRESENCE_WINDOW;
use super::*;
use crate::protocol::batch::{Batch, Part};

const ALICE: ClientId = ClientId::nth(0);
const BOB: ClientId = ClientId::nth(1);
const CAROL: ClientId = ClientId::nth(2);

/// What the room takes for random.
const SECRET: u128 = 0xfeed;

const SECOND: Duration = Duration::from_secs(1);

/// A room, a clock, and a record of what the members hear.
struct Stage {
    room: Room,
    now: Instant,
    /// What each member has heard since [`Stage::heard`] was last called.
    heard: BTreeMap<ClientId, String>,
    /// What was said to everybody.
    said: String,
    closed: Vec<(ClientId, CloseReason)>,
    /// Those that have not ended.
    connections: BTreeSet<ClientId>,
    standings: Vec<StandingRequest>,
    /// What each of them gets.
    encodings: BTreeMap<ClientId, Encoding>,
}

impl Stage {
    fn new(config: Config) -> Self {
        Self {
            room: Room::new(config, || SECRET),
            now: Instant::now(),
            heard: BTreeMap::new(),
            said: String::new(),
            closed: Vec::new(),
            connections: BTreeSet::new(),
            standings: Vec::new(),
            encodings: BTreeMap::new(),
        }
    }

    /// A plain room with two members, from 10.0.0.1 and 10.0.0.2.
    fn of_two() -> Self {
        let mut stage = Self::new(Config::plain(4096));
        stage.join(ALICE, "10.0.0.1");
        stage.join(BOB, "10.0.0.2");
        stage.heard.clear();
        stage
    }

    /// The same with the names alice and bob.
    fn of_alice_and_bob() -> Self {
        let mut stage = Self::of_two();
        stage.says(ALICE, "/nick alice");
        stage.says(BOB, "/nick bob");
        stage.heard.clear();
        stage
    }

    /// Calls `act` with a batch of its own, and records what each member hears.
    fn act<R>(&mut self, act: impl FnOnce(&mut Room, &mut Context<'_>) -> R) -> R {
        let mut batch = Batch::new();
        let mut context = Context {
            now: self.now,
            time: Time::default(),
            batch: &mut batch,
        };
        let result = act(&mut self.room, &mut context);
        batch.seal();
        self.closed.extend(batch.take_closes());
        self.standings.extend(batch.take_standing_requests());
        self.said += &text(batch.shared(Encoding::Text));
        let edits: BTreeMap<ClientId, _> = batch.edits_from(0).collect();
        for id in &self.connections {
            let heard = self.heard.entry(*id).or_default();
            let encoding = self.encodings.entry(*id).or_default();
            let Some(&edits) = edits.get(id) else {
                *heard += &text(batch.shared(*encoding));
                continue;
            };
            let before = *encoding;
            *encoding = edits.switch().unwrap_or(before);
            for part in batch.parts(edits, before) {
                *heard += &match part {
                    Part::Shared(encoding, range) => text(&batch.shared(encoding)[range]),
                    Part::Private(frame) => String::from_utf8_lossy(frame).into_owned(),
                };
            }
        }
        result
    }

    /// What was asked for the standings of clients since the last call.
    fn standings(&mut self) -> Vec<StandingRequest> {
        std::mem::take(&mut self.standings)
    }

    fn join(&mut self, id: ClientId, address: &str) {
        let address = address.parse().unwrap();
        let greeting = self.room.join(id, address, self.now);
        self.heard.insert(id, text(&greeting));
        self.connections.insert(id);
    }

    fn leave(&mut self, id: ClientId) {
        self.leave_for(CloseReason::PeerClosed, id);
    }

    /// The connection `id` ends. Returns what it is told last.
    fn leave_for(&mut self, reason: CloseReason, id: ClientId) -> String {
        let departed = self.act(|room, context| room.leave(id, reason, context));
        let departed = departed.expect("it has not ended before");
        self.heard.remove(&id);
        self.encodings.remove(&id);
        self.connections.remove(&id);
        departed
            .last_words
            .map_or(String::new(), |words| text(&words))
    }

    fn hears(&mut self, id: ClientId, heard: Decoded<'_>) {
        self.act(|room, context| room.hear(id, heard, context));
    }

    fn says(&mut self, id: ClientId, line: impl AsRef<[u8]>) {
        self.hears(id, Decoded::Line(line.as_ref()));
    }

    /// Lets `time` pass; the room does what becomes due.
    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self.room.deadline()
            && deadline <= until
        {
            self.now = deadline;
            self.act(Room::expire);
            assert_ne!(
                self.room.deadline(),
                Some(deadline),
                "expire does what is due"
            );
        }
        self.now = until;
    }

    /// What `id` has heard since the last call.
    fn heard(&mut self, id: ClientId) -> String {
        self.heard
            .get_mut(&id)
            .map(std::mem::take)
            .unwrap_or_default()
    }

    fn said(&mut self) -> String {
        std::mem::take(&mut self.said)
    }

    #[track_caller]
    fn expect(&mut self, id: ClientId, heard: &str) {
        assert_eq!(self.heard(id), heard);
    }

    fn label(&self, id: ClientId) -> String {
        self.room.member(id).to_string()
    }
}

fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes)
        .expect("what is said is UTF-8")
        .to_owned()
}

#[test]
fn what_each_line_says() {
    let table: &[(&[u8], &str)] = &[
        (b"hello", "<10.0.0.1> hello\n"),
        (b" spaces  stay ", "<10.0.0.1>  spaces  stay \n"),
        (b"", ""),
        (b"//away", "<10.0.0.1> /away\n"),
        (b"///away", "<10.0.0.1> //away\n"),
        (b"/away", ""),
        (b"/me waves  at you ", "* 10.0.0.1 waves  at you \n"),
        (b"/ME waves", "* 10.0.0.1 waves\n"),
        (b"<10.0.0.2> forged", "<10.0.0.1> <10.0.0.2> forged\n"),
        (b"-- forged", "<10.0.0.1> -- forged\n"),
        (b"\r<10.0.0.2> forged", "<10.0.0.1> ␍<10.0.0.2> forged\n"),
        (b"/me \r-- forged", "* 10.0.0.1 -- forged\n"),
        (b"/me x\r-- forged", "* 10.0.0.1 x␍-- forged\n"),
        (b"\x1b[2J\xff", "<10.0.0.1> ␛[2J\u{fffd}\n"),
        ("/me \u{202e}x".as_bytes(), "* 10.0.0.1 \u{fffd}x\n"),
    ];
    for &(line, said) in table {
        let mut stage = Stage::of_two();
        stage.says(ALICE, line);
        assert_eq!(stage.said(), said, "{}", line.escape_ascii());
        stage.expect(BOB, said);
        assert_eq!(stage.closed, []);
    }
}

#[test]
fn answers_go_only_to_the_member_that_asked() {
    let table: &[(&str, &str)] = &[
        ("/dance with me", "!! unknown command; /help lists"),
        ("/", "!! unknown command; /help lists"),
        ("/nik alice", "!! unknown command; did you mean /nick?"),
        ("/nick", "!! usage: /nick NAME\n"),
        ("/me ", "!! usage: /me ACTION\n"),
        ("/msg bob", "!! usage: /msg NAME TEXT\n"),
        ("/nick alice", "-- you are now alice\n"),
        ("/nick al ice", "!! a name cannot have spaces: /nick al_ice"),
        (
            "/nick 10.0.0.2",
            "!! a name cannot look like an IP address\n",
        ),
        ("/nick operator", "!! that name is reserved; choose another"),
        ("/nick ali\u{200b}ce", "!! a name has only letters"),
        ("/nick \u{202e}ecila", "!! a name has only letters"),
        ("/nick -- alice joined", "!! a name"),
        (
            "/msg dave hi",
            "!! nobody here is called dave; /who lists everybody\n",
        ),
        (
            "/msg 10.0.0.9 hi",
            "!! nobody here is called 10.0.0.9; /who lists everybody\n",
        ),
        (
            "/msg 10.0.0.1 hi",
            "!! that is you; /who lists the others\n",
        ),
        (
            "/msg \u{1b}[2J\u{202e} hi",
            "!! nobody here is called ␛[2J\u{fffd}; /who lists everybody\n",
        ),
        ("/who", "-- 2 here: 10.0.0.1, 10.0.0.2\n"),
        ("/help", "-- What you type is said"),
    ];
    for &(line, answer) in table {
        let mut stage = Stage::of_two();
        stage.says(ALICE, line);
        let heard = stage.heard(ALICE);
        assert!(
            heard.starts_with(answer) && heard.ends_with('\n'),
            "{line}: {heard}"
        );
        stage.expect(BOB, "");
        assert_eq!((stage.said(), &stage.closed[..]), (String::new(), &[][..]));
    }
}

#[test]
fn quit_disconnects() {
    let mut stage = Stage::of_two();
    stage.says(ALICE, "/quit");
    assert_eq!(stage.closed, [(ALICE, CloseReason::Quit)]);
    let farewell = stage.room.farewell(ALICE, CloseReason::Quit).unwrap();
    assert_eq!(farewell[..], b"-- goodbye\n"[..]);
}

#[test]
fn a_private_message_reaches_only_its_reader() {
    let mut stage = Stage::of_alice_and_bob();
    stage.join(CAROL, "10.0.0.3");
    stage.heard.clear();
    for to in ["bob", "BOB", "10.0.0.3"] {
        stage.says(ALICE, format!("/msg {to} -- not \r a notice"));
        let reader = if to == "10.0.0.3" { CAROL } else { BOB };
        let label = stage.label(reader);
        stage.expect(reader, "[alice] -- not ␍ a notice\n");
        stage.expect(ALICE, &format!("-- sent to {label}\n"));
        for other in [BOB, CAROL] {
            stage.expect(other, "");
        }
    }
    assert_eq!(stage.said(), "");
    stage.says(CAROL, "/msg alice hi");
    stage.expect(ALICE, "[10.0.0.3] hi\n");
    // An address stands for unnamed members only.
    stage.says(CAROL, "/msg 10.0.0.2 hi");
    stage.expect(
        CAROL,
        "-- sent to alice\n!! nobody here is called 10.0.0.2; /who lists everybody\n",
    );
    stage.join(ClientId::nth(3), "10.0.0.3");
    stage.says(ALICE, "/msg 10.0.0.3 hi");
    stage.expect(
        ALICE,
        "!! 2 people at 10.0.0.3 have no name; ask the one you mean to take one (/nick NAME)\n",
    );
}

#[test]
fn right_to_left_text_does_not_reorder_the_line() {
    let mut stage = Stage::of_two();
    for (line, said) in [
        ("שלום", "<10.0.0.1> \u{200e}שלום\n"),
        (
            "\u{200f}\u{200e}<bob> I quit",
            "<10.0.0.1> \u{200e}\u{200f}\u{200e}<bob> I quit\n",
        ),
        ("/me مرحبا", "* 10.0.0.1 \u{200e}مرحبا\n"),
        ("grüße", "<10.0.0.1> grüße\n"),
    ] {
        stage.says(ALICE, line);
        stage.expect(BOB, said);
    }
    stage.says(ALICE, "/nick יעל");
    stage.says(ALICE, "hi");
    stage.says(ALICE, "/msg 10.0.0.2 hi");
    stage.expect(BOB, "<יעל> \u{200e}hi\n[יעל] \u{200e}hi\n");
    assert!(text(&stage.room.roster()).contains(" here: יעל\u{200e}, "));
}

#[test]
fn the_roster_is_composed_once_for_all_readers() {
    let mut stage = Stage::of_two();
    let first = stage.room.roster();
    assert!(Frame::ptr_eq(&first, &stage.room.roster()));
    stage.says(ALICE, "/nick alice");
    let second = stage.room.roster();
    assert_eq!(text(&second), "-- 2 here: alice, 10.0.0.2\n");
    stage.leave(ALICE);
    assert_eq!(text(&stage.room.roster()), "-- 1 here: 10.0.0.2\n");
}

#[test]
fn the_operator_speaks_in_notices() {
    let mut stage = Stage::of_two();
    stage.act(|room, context| room.hear_operator(b"be\rkind", context));
    for id in [ALICE, BOB] {
        stage.expect(id, "-- operator: be␍kind\n");
    }
}

#[test]
fn finds_members_by_name_or_address() {
    let mut stage = Stage::of_alice_and_bob();
    stage.join(CAROL, "10.0.0.1");
    let called = |stage: &Stage, label: &str| -> Vec<ClientId> {
        let called = stage.room.called(label);
        called.into_iter().map(|(id, _)| id).collect()
    };
    assert_eq!(called(&stage, "BOB"), [BOB]);
    assert_eq!(called(&stage, "10.0.0.1"), [ALICE, CAROL]);
    assert_eq!(called(&stage, "::ffff:10.0.0.1"), [ALICE, CAROL]);
    assert_eq!(called(&stage, "dave"), []);
    assert_eq!(called(&stage, ""), []);
}

#[test]
fn the_refusal_of_a_long_line_gives_the_limit() {
    let mut stage = Stage::of_two();
    stage.hears(ALICE, Decoded::TooLong(b"so long"));
    stage.expect(
        ALICE,
        "!! not sent: the line is longer than 4096 bytes; split it\n",
    );
    assert_eq!((stage.said(), &stage.closed[..]), (String::new(), &[][..]));
}

#[test]
fn a_member_leaves_once_and_is_not_heard_afterwards() {
    let mut stage = Stage::of_two();
    let leave = |stage: &mut Stage| {
        stage.act(|room, context| room.leave(ALICE, CloseReason::PeerClosed, context))
    };
    let departed = leave(&mut stage).unwrap();
    assert_eq!(departed.address, "10.0.0.1".parse::<IpAddr>().unwrap());
    assert!(leave(&mut stage).is_none());
    stage.says(ALICE, "still here");
    stage.expect(BOB, "");
}

#[test]
fn disconnected_members_that_can_read_learn_why() {
    let stage = Stage::of_two();
    for (reason, why) in [
        (CloseReason::Stuck, "you stopped reading"),
        (CloseReason::TooSlow, "you read too slowly"),
        (CloseReason::Idle, "you said nothing"),
        (CloseReason::Kicked, "the operator kicked you"),
        (CloseReason::Banned, "the operator banned your address"),
    ] {
        let farewell = text(&stage.room.farewell(ALICE, reason).unwrap());
        assert_eq!(
            farewell
                .strip_prefix("-- goodbye: ")
                .map(|words| words.starts_with(why)),
            Some(true),
            "{farewell}"
        );
    }
    for reason in [
        CloseReason::PeerClosed,
        CloseReason::Lost(std::io::ErrorKind::ConnectionReset),
        CloseReason::WrongProtocol,
        CloseReason::Shutdown,
    ] {
        assert_eq!(stage.room.farewell(ALICE, reason), None, "{reason}");
    }
}

#[test]
fn closing_is_announced_to_everybody() {
    let mut stage = Stage::of_two();
    stage.act(|room, context| room.close(context));
    stage.expect(ALICE, "-- the room is closing\n");
}
