//! The shadow model: a room, and beside it what every client should hear of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use chat::close::CloseReason;
use chat::figures::Load;
use chat::line::Decoded;
use chat::reactor::{Next, Service};
use chat::room::{self, Room};
use chat::turn::{ClientId, Part, Turn};
use chat::write_queue::Frame;
use mio::Token;

use crate::random::Random;

/// What those hear who are not let in.
pub(crate) const REFUSAL: &[u8] = b"!! not you\n";

/// A client, as the room saw it.
#[derive(Debug)]
pub(crate) struct Guest {
    address: Ipv4Addr,
    /// All that it is to hear, if it stays and reads.
    pub(crate) expected: Vec<u8>,
    /// Why it left, and whether it was told.
    pub(crate) left: Option<(CloseReason, Option<Frame>)>,
    /// Lines that the room heard of it.
    pub(crate) lines_heard: usize,
}

/// A room that takes down what each should hear. Guests are known by address: no two
/// have the same.
pub(crate) struct Model {
    room: Room,
    pub(crate) guests: BTreeMap<Ipv4Addr, Guest>,
    /// Who is in the room.
    inside: BTreeMap<ClientId, Ipv4Addr>,
    /// What the console was shown.
    pub(crate) shown: Vec<u8>,
    /// What everybody was to hear, all of it.
    pub(crate) said: Vec<u8>,
    /// Who was not let in.
    pub(crate) refused: BTreeSet<Ipv4Addr>,
    random: Random,
    /// What a command is answered.
    to_command: Vec<u8>,
    /// What a line over the limit is answered.
    to_long_line: Vec<u8>,
}

/// What `room` answers to `line`, to its sender alone.
fn answer(mut room: Room, line: Decoded<'_>) -> Vec<u8> {
    let (client, mut turn) = (ClientId(0), Turn::new());
    room.join(client, Ipv4Addr::LOCALHOST.into(), &mut turn);
    turn.clear();
    room.hear(client, line, &mut turn);
    turn.seal();
    let (_, edits) = turn.edits().next().expect("an answer");
    let mut answer = Vec::new();
    for part in turn.parts(edits) {
        if let Part::Private(frame) = part {
            answer.extend_from_slice(frame);
        }
    }
    answer
}

impl Model {
    pub(crate) fn new(max_line_bytes: u32, random: Random) -> Self {
        let room = || Room::new(room::Limits { max_line_bytes });
        Self {
            room: room(),
            guests: BTreeMap::new(),
            inside: BTreeMap::new(),
            shown: Vec::new(),
            said: Vec::new(),
            refused: BTreeSet::new(),
            random,
            to_command: answer(room(), Decoded::Line(b"/command")),
            to_long_line: answer(room(), Decoded::TooLong(b"long")),
        }
    }

    /// Takes down what `turn` has more of since it had `before` bytes: by the rules,
    /// all inside hear it but `speaker`.
    fn take_down(&mut self, turn: &Turn, before: usize, speaker: Option<ClientId>) {
        let said = &turn.shared()[before..];
        self.said.extend_from_slice(said);
        for (client, address) in &self.inside {
            if Some(*client) != speaker {
                let guest = self.guests.get_mut(address).expect("somebody inside");
                guest.expected.extend_from_slice(said);
            }
        }
    }

    fn guest(&mut self, client: ClientId) -> &mut Guest {
        let address = self.inside[&client];
        self.guests.get_mut(&address).expect("somebody inside")
    }
}

impl Service for Model {
    fn admit(&mut self, address: IpAddr) -> Result<(), Frame> {
        let IpAddr::V4(address) = address else {
            panic!("all come from IPv4 addresses");
        };
        match self.random.one_in(10) {
            true => {
                self.refused.insert(address);
                Err(Frame::from(REFUSAL))
            }
            false => Ok(()),
        }
    }

    fn joined(&mut self, client: ClientId, address: IpAddr, turn: &mut Turn) {
        let IpAddr::V4(address) = address else {
            panic!("all come from IPv4 addresses");
        };
        let guest = Guest {
            address,
            expected: format!("{}\n", room::WELCOME).into_bytes(),
            left: None,
            lines_heard: 0,
        };
        assert!(self.guests.insert(address, guest).is_none(), "comes twice");
        let before = self.inside.insert(client, address);
        assert_eq!(before, None, "{client:?} is taken");
        self.room.join(client, address.into(), turn);
    }

    fn received(&mut self, client: ClientId, line: Decoded<'_>, turn: &mut Turn) {
        let before = turn.shared().len();
        self.room.hear(client, line, turn);
        let is_command =
            matches!(line, Decoded::Line([b'/', text @ ..]) if !text.starts_with(b"/"));
        let answer = match line {
            Decoded::TooLong(_) => self.to_long_line.clone(),
            Decoded::Line(_) if is_command => self.to_command.clone(),
            Decoded::Line(_) => Vec::new(),
        };
        let guest = self.guest(client);
        assert!(guest.left.is_none(), "who has left is not heard");
        guest.lines_heard += 1;
        guest.expected.extend(answer);
        if let Decoded::Line(line) = line
            && !line.is_empty()
            && !is_command
        {
            let text = std::str::from_utf8(line).expect("what peers say here is plain");
            let said = format!("<{}> {text}\n", guest.address);
            assert_eq!(turn.shared()[before..], *said.as_bytes());
        }
        self.take_down(turn, before, Some(client));
    }

    fn farewell(&self, reason: CloseReason) -> Option<Frame> {
        self.room.farewell(reason)
    }

    fn left(&mut self, client: ClientId, reason: CloseReason, _turn: &mut Turn) {
        let farewell = self.farewell(reason);
        let guest = self.guest(client);
        if let Some(farewell) = &farewell
            && !reason.drops_backlog()
        {
            guest.expected.extend_from_slice(farewell);
        }
        assert!(guest.left.is_none(), "nobody leaves twice");
        guest.left = Some((reason, farewell));
        self.inside.remove(&client);
        assert!(self.room.leave(client).is_some());
    }

    fn source_ready(&mut self, _token: Token, turn: &mut Turn) -> io::Result<Next> {
        let before = turn.shared().len();
        self.room.close(turn);
        self.take_down(turn, before, None);
        Ok(Next::Shutdown)
    }

    fn report(&mut self, _load: Load) {}

    fn said(&mut self, text: &[u8]) {
        self.shown.extend_from_slice(text);
    }

    fn turn_ended(&mut self) {}
}
