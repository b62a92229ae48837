//! A room without console and operator, with one source that asks for a shutdown. Its visitors
//! speak no HTTP: [`JOIN`] makes one a member, and any other line is answered.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use chat::protocol::batch::{ClientId, Context, Encoding, Frame};
use chat::protocol::close::CloseReason;
use chat::protocol::line::Decoded;
use chat::protocol::wording;
use chat::reactor::service::{Load, More, Next, Service, Wish};
use chat::room::{self, Room};
use chat::server::admission::{Admission, Limits};
use mio::Token;

/// What a visitor says that wants WebSocket's frames.
pub(crate) const JOIN: &[u8] = b"frames\n";

/// The answer to that.
pub(crate) const JOINED: &[u8] = b"frames from here on\n";

/// The answer to any other line, and to none in time.
pub(crate) const ANSWER: &[u8] = b"answer\n";

pub(crate) struct PlainService {
    admission: Admission,
    room: Room,
    /// Members that left, and why.
    pub(crate) left: Vec<(ClientId, CloseReason)>,
    /// Iterations of the loop so far.
    pub(crate) iterations: usize,
}

impl PlainService {
    /// A room for `max_clients`.
    pub(crate) fn new(config: room::Config, max_clients: usize) -> Self {
        Self {
            admission: Admission::new(Limits {
                max_clients,
                max_per_address: None,
                rules: Vec::new(),
            }),
            room: Room::new(config, || 0),
            left: Vec::new(),
            iterations: 0,
        }
    }
}

impl Service for PlainService {
    fn join(
        &mut self,
        client: ClientId,
        address: IpAddr,
        context: &mut Context<'_>,
    ) -> Result<Frame, Frame> {
        let admitted = self.admission.admit(address, context.now);
        admitted.map_err(wording::refusal)?;
        self.admission.entered(address);
        Ok(self.room.join(client, address, context.now))
    }

    fn visits(&mut self, _visitor: ClientId, _address: IpAddr) -> bool {
        true
    }

    fn asked(
        &mut self,
        _visitor: ClientId,
        bytes: &[u8],
        more: More,
        _load: Load,
        _context: &mut Context<'_>,
    ) -> Wish {
        if bytes.starts_with(JOIN) {
            Wish::Membership {
                answer: JOINED.into(),
                head_bytes: JOIN.len(),
            }
        } else if bytes.contains(&b'\n') || more == More::TooLate {
            Wish::Answer(ANSWER.into())
        } else {
            Wish::Unknown {
                until_bytes: 0,
                interim: &[],
            }
        }
    }

    fn received(
        &mut self,
        client: ClientId,
        line: Decoded<'_>,
        context: &mut Context<'_>,
    ) -> Encoding {
        self.room.hear(client, line, context)
    }

    fn left(
        &mut self,
        client: ClientId,
        reason: CloseReason,
        context: &mut Context<'_>,
    ) -> Option<Frame> {
        let departed = self.room.leave(client, reason, context);
        let departed = departed.expect("nobody leaves twice");
        self.admission.left(departed.address);
        self.left.push((client, reason));
        departed.last_words
    }

    fn deadline(&self) -> Option<Instant> {
        self.room.deadline()
    }

    fn expired(&mut self, _load: Load, context: &mut Context<'_>) -> Next {
        self.room.expire(context);
        Next::Continue
    }

    fn source_ready(
        &mut self,
        _token: Token,
        _load: Load,
        context: &mut Context<'_>,
    ) -> io::Result<Next> {
        self.room.close(context);
        Ok(Next::Shutdown)
    }

    fn said(&mut self, _text: &[u8]) {}

    fn iteration_ended(&mut self) {
        self.iterations += 1;
    }
}
