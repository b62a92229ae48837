//! The shadow model: a room, and beside it what every client should hear of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Instant;

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
    /// All that it is to hear, if it stays and reads.
    pub(crate) expected: Vec<u8>,
    /// What that was when it asked to be let go, in bytes.
    pub(crate) least_expected: Option<usize>,
    /// Why it left, and what it was told.
    pub(crate) left: Option<(CloseReason, Option<Frame>)>,
    /// Lines that the room heard of it.
    pub(crate) lines_heard: usize,
}

/// A room that takes down what each should hear. Guests are known by their number: the
/// first that is let in or refused is 0.
pub(crate) struct Model {
    room: Room,
    /// The same room, to which the same happens, and whose words are read at once.
    shadow: Room,
    alone: Turn,
    pub(crate) guests: BTreeMap<usize, Guest>,
    /// Who is in the room.
    inside: BTreeMap<ClientId, usize>,
    /// How many have come, those among them who were refused.
    arrivals: usize,
    /// What the console was shown.
    pub(crate) shown: Vec<u8>,
    /// What everybody was to hear, all of it.
    pub(crate) said: Vec<u8>,
    /// Who was not let in.
    pub(crate) refused: BTreeSet<usize>,
    /// How often the room did what it had put off.
    pub(crate) expirations: usize,
    random: Random,
}

/// Appends what `reader` gets of a sealed turn.
fn push_share(expected: &mut Vec<u8>, turn: &Turn, reader: ClientId) {
    let Some((_, edits)) = turn.edits().find(|&(edited, _)| edited == reader) else {
        expected.extend_from_slice(turn.shared());
        return;
    };
    for part in turn.parts(edits) {
        match part {
            Part::Shared(range) => expected.extend_from_slice(&turn.shared()[range]),
            Part::Private(frame, _) => expected.extend_from_slice(frame),
        }
    }
}

impl Model {
    pub(crate) fn new(config: &room::Config, random: Random) -> Self {
        Self {
            room: Room::new(config.clone()),
            shadow: Room::new(config.clone()),
            alone: Turn::new(),
            guests: BTreeMap::new(),
            inside: BTreeMap::new(),
            arrivals: 0,
            shown: Vec::new(),
            said: Vec::new(),
            refused: BTreeSet::new(),
            expirations: 0,
            random,
        }
    }

    /// Has the room `act`, and takes down who is to hear what of that.
    fn act<R>(&mut self, turn: &mut Turn, act: impl Fn(&mut Room, &mut Turn) -> R) -> R {
        let before = turn.shared().len();
        let result = act(&mut self.room, turn);
        let alone = &mut self.alone;
        alone.clear();
        act(&mut self.shadow, alone);
        alone.seal();
        assert_eq!(turn.shared()[before..], *alone.shared());
        self.said.extend_from_slice(alone.shared());
        for (client, number) in &self.inside {
            let guest = self.guests.get_mut(number).expect("somebody inside");
            push_share(&mut guest.expected, alone, *client);
        }
        result
    }

    fn guest(&mut self, client: ClientId) -> &mut Guest {
        let number = self.inside[&client];
        self.guests.get_mut(&number).expect("somebody inside")
    }
}

impl Service for Model {
    fn admit(&mut self, _address: IpAddr, _now: Instant) -> Result<(), Frame> {
        let number = self.arrivals;
        self.arrivals += 1;
        if self.random.one_in(10) {
            self.refused.insert(number);
            return Err(Frame::from(REFUSAL));
        }
        Ok(())
    }

    fn joined(&mut self, client: ClientId, address: IpAddr, now: Instant, turn: &mut Turn) {
        let number = self.arrivals - 1;
        let guest = Guest {
            expected: Vec::new(),
            least_expected: None,
            left: None,
            lines_heard: 0,
        };
        assert!(self.guests.insert(number, guest).is_none(), "comes twice");
        let before = self.inside.insert(client, number);
        assert_eq!(before, None, "{client:?} is taken");
        self.act(turn, |room, turn| {
            room.join(client, address, now, turn);
        });
    }

    fn received(&mut self, client: ClientId, line: Decoded<'_>, now: Instant, turn: &mut Turn) {
        let guest = self.guest(client);
        assert!(guest.left.is_none(), "who has left is not heard");
        guest.lines_heard += 1;
        self.act(turn, |room, turn| room.hear(client, line, now, turn));
        let guest = self.guest(client);
        if turn.closes(client) {
            guest.least_expected.get_or_insert(guest.expected.len());
        }
    }

    fn farewell(&self, reason: CloseReason) -> Option<Frame> {
        self.room.farewell(reason)
    }

    fn left(&mut self, client: ClientId, reason: CloseReason, now: Instant, turn: &mut Turn) {
        let farewell = self.farewell(reason);
        let guest = self.guest(client);
        assert!(guest.left.is_none(), "nobody leaves twice");
        guest.left = Some((reason, farewell));
        self.inside.remove(&client);
        let member = self.act(turn, |room, turn| room.leave(client, now, turn));
        assert!(member.is_some());
    }

    fn deadline(&self) -> Option<Instant> {
        self.room.deadline()
    }

    fn expired(&mut self, now: Instant, turn: &mut Turn) -> Next {
        self.expirations += 1;
        self.act(turn, |room, turn| room.expire(now, turn));
        Next::Continue
    }

    fn source_ready(&mut self, _token: Token, _now: Instant, turn: &mut Turn) -> io::Result<Next> {
        self.act(turn, |room, turn| room.close(turn));
        Ok(Next::Shutdown)
    }

    fn report(&mut self, _load: Load) {}

    fn said(&mut self, text: &[u8]) {
        self.shown.extend_from_slice(text);
    }

    fn turn_ended(&mut self) {}
}
