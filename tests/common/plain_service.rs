//! A room without console and operator, and one source that asks for a shutdown.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use chat::protocol::batch::{Batch, ClientId};
use chat::protocol::close::CloseReason;
use chat::protocol::line::Decoded;
use chat::protocol::wording;
use chat::reactor::write_queue::Frame;
use chat::reactor::{Next, Service};
use chat::room::{self, Room};
use chat::server::admission::{Admission, Limits};
use chat::server::stats::Load;
use mio::Token;

pub(crate) struct PlainService {
    admission: Admission,
    room: Room,
    /// Who has left, and why.
    pub(crate) left: Vec<(ClientId, CloseReason)>,
    /// How many turns of the loop there were.
    pub(crate) turns: usize,
}

impl PlainService {
    /// A room for so many at once.
    pub(crate) fn new(config: room::Config, max_clients: usize) -> Self {
        Self {
            admission: Admission::new(Limits {
                max_clients,
                max_per_address: None,
                rules: Vec::new(),
            }),
            room: Room::new(config),
            left: Vec::new(),
            turns: 0,
        }
    }
}

impl Service for PlainService {
    fn admit(&mut self, address: IpAddr, now: Instant) -> Result<(), Frame> {
        self.admission.admit(address, now).map_err(wording::refusal)
    }

    fn joined(&mut self, client: ClientId, address: IpAddr, now: Instant, turn: &mut Batch) {
        self.admission.entered(address);
        self.room.join(client, address, now, turn);
    }

    fn received(&mut self, client: ClientId, line: Decoded<'_>, now: Instant, turn: &mut Batch) {
        self.room.hear(client, line, now, turn);
    }

    fn farewell(&self, reason: CloseReason) -> Option<Frame> {
        self.room.farewell(reason)
    }

    fn left(&mut self, client: ClientId, reason: CloseReason, now: Instant, turn: &mut Batch) {
        let member = self.room.leave(client, now, turn);
        self.admission
            .left(member.expect("nobody leaves twice").address());
        self.left.push((client, reason));
    }

    fn deadline(&self) -> Option<Instant> {
        self.room.deadline()
    }

    fn expired(&mut self, now: Instant, turn: &mut Batch) -> Next {
        self.room.expire(now, turn);
        Next::Continue
    }

    fn source_ready(&mut self, _token: Token, _now: Instant, turn: &mut Batch) -> io::Result<Next> {
        self.room.close(turn);
        Ok(Next::Shutdown)
    }

    fn report(&mut self, _load: Load) {}

    fn said(&mut self, _text: &[u8]) {}

    fn turn_ended(&mut self) {
        self.turns += 1;
    }
}
