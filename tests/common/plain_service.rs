//! A room without console and operator, with one source that asks for a shutdown. Its visitors
//! speak no HTTP: [`JOIN`] makes one a member, and any other line is answered. It may have a door:
//! [`KNOCK`] opens it, and any other line is answered.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use chat::protocol::batch::{ClientId, Context, Encoding, Frame, OutsiderRequest};
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

/// What opens the door.
pub(crate) const KNOCK: &[u8] = b"knock";

/// What newcomers are told at the door, and whoever says something else.
pub(crate) const SHUT: &str = "it is shut\n";

/// What somebody is told who has waited there too long, or said too much.
pub(crate) const TOO_LONG: &str = "too long\n";

/// How long somebody may wait there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct PlainService {
    admission: Admission,
    room: Room,
    /// Who waits at the door, and from where. `None`: there is none.
    pub(crate) waiting: Option<HashMap<ClientId, IpAddr>>,
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
                is_clear_local: false,
            }),
            room: Room::new(config, || 0),
            waiting: None,
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
        if let Some(waiting) = &mut self.waiting {
            waiting.insert(client, address);
            return Err(SHUT.as_bytes().into());
        }
        self.let_in(client, client, address, context)
    }

    fn hears_out(&mut self, client: ClientId, _address: IpAddr, _now: Instant) -> Option<Duration> {
        let waiting = self.waiting.as_ref()?;
        waiting.contains_key(&client).then_some(PATIENCE)
    }

    fn heard_out(&mut self, client: ClientId) -> Option<Frame> {
        self.waiting.as_mut()?.remove(&client)?;
        Some(TOO_LONG.as_bytes().into())
    }

    fn let_in(
        &mut self,
        _outsider: ClientId,
        client: ClientId,
        address: IpAddr,
        context: &mut Context<'_>,
    ) -> Result<Frame, Frame> {
        let admitted = self.admission.admit(address, context.now);
        admitted.map_err(wording::refusal)?;
        self.admission.entered(address);
        Ok(self.room.join(client, address, context.now))
    }

    fn closed(&mut self, client: ClientId) {
        if let Some(waiting) = &mut self.waiting {
            waiting.remove(&client);
        }
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
        let waiting = self.waiting.as_ref();
        if let Some(&address) = waiting.and_then(|waiting| waiting.get(&client)) {
            let request = match line {
                Decoded::Line(KNOCK) => OutsiderRequest::LetIn(client, address),
                Decoded::Line(b"") => return Encoding::Text,
                _ => OutsiderRequest::Tell(client, SHUT.as_bytes().into()),
            };
            context.batch.request_for_outsider(request);
            return Encoding::Text;
        }
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
