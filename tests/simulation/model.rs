//! A room on the loop, and the oracle beside it, which is told the loop's decisions and says
//! what every client should hear.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use chat::protocol::batch::{ClientId, Context, Encoding, Frame};
use chat::protocol::close::CloseReason;
use chat::protocol::line::Decoded;
use chat::reactor::service::{Load, Next, Service};
use chat::room;
use mio::Token;

use crate::cutter::Cutter;
use crate::oracle::Oracle;
use crate::plain_service::PlainService;
use crate::random::Random;
use crate::scripted_stream::FarEnd;

/// What refused clients hear.
pub(crate) const REFUSAL: &[u8] = b"!! not you\n";

/// A client, as the room saw it.
#[derive(Debug)]
pub(crate) struct Guest {
    /// How much it must hear at least, in bytes: what had been said when it asked to leave.
    pub(crate) least_expected: Option<usize>,
    /// Why it left.
    pub(crate) left: Option<CloseReason>,
    /// Cuts its input into the lines that have been heard.
    cutter: Cutter,
}

/// A room, and a record of what each guest should hear. Guests are numbered: the first one
/// admitted or refused is 0.
pub(crate) struct Model {
    service: PlainService,
    pub(crate) oracle: Oracle,
    /// The far end of each connection, by number.
    pub(crate) ends: Vec<FarEnd>,
    pub(crate) guests: BTreeMap<usize, Guest>,
    /// Guests in the room.
    inside: BTreeMap<ClientId, usize>,
    /// How much each of them should have heard when the first left in this iteration, in bytes.
    /// Empty if nobody has.
    owed_bytes: BTreeMap<usize, usize>,
    /// How many have come, refused ones included.
    arrivals: usize,
    /// What the console has shown.
    pub(crate) shown: Vec<u8>,
    /// Guests that were refused.
    pub(crate) refused: BTreeSet<usize>,
    /// How often the room did what it had put off.
    pub(crate) expirations: usize,
    random: Random,
}

impl Model {
    pub(crate) fn new(config: &room::Config, random: Random) -> Self {
        Self {
            service: PlainService::new(config.clone(), usize::MAX),
            oracle: Oracle::new(config.history_lines, config.announces_presence),
            ends: Vec::new(),
            guests: BTreeMap::new(),
            inside: BTreeMap::new(),
            owed_bytes: BTreeMap::new(),
            arrivals: 0,
            shown: Vec::new(),
            refused: BTreeSet::new(),
            expirations: 0,
            random,
        }
    }

    /// Whether the admitted guest `number` has said a line that was not heard.
    pub(crate) fn is_unheard(&mut self, number: usize) -> bool {
        let guest = self.guests.get_mut(&number).expect("it came in");
        let input = self.ends[number].input.borrow();
        let sent = input
            .sent
            .as_deref()
            .expect("a peer that keeps what it sends");
        guest.cutter.next(sent, input.is_ended).is_some()
    }
}

impl Service for Model {
    fn join(
        &mut self,
        client: ClientId,
        address: IpAddr,
        context: &mut Context<'_>,
    ) -> Result<Frame, Frame> {
        let number = self.arrivals;
        self.arrivals += 1;
        if self.random.one_in(10) {
            self.refused.insert(number);
            return Err(Frame::from(REFUSAL));
        }
        let greeting = self.service.join(client, address, context)?;
        let guest = Guest {
            least_expected: None,
            left: None,
            cutter: Cutter::default(),
        };
        assert!(self.guests.insert(number, guest).is_none(), "comes twice");
        let before = self.inside.insert(client, number);
        assert_eq!(before, None, "{client:?} is taken");
        self.oracle.joined(number, address, context.now);
        Ok(greeting)
    }

    fn received(
        &mut self,
        client: ClientId,
        line: Decoded<'_>,
        context: &mut Context<'_>,
    ) -> Encoding {
        let encoding = self.service.received(client, line, context);
        let number = self.inside[&client];
        let guest = self.guests.get_mut(&number).expect("somebody inside");
        assert!(guest.left.is_none(), "a guest is heard that has left");
        assert!(
            guest.least_expected.is_none(),
            "a guest is heard that is about to leave"
        );
        let input = self.ends[number].input.borrow();
        let sent = input
            .sent
            .as_deref()
            .expect("a peer that keeps what it sends");
        let line = guest.cutter.next(sent, input.is_ended);
        let line = line.unwrap_or_else(|| panic!("{number} is heard, but has said nothing more"));
        self.oracle.received(number, line, context.now);
        let leaves = self.oracle.leaves(number).is_some();
        assert_eq!(
            context.batch.closes(client),
            leaves,
            "whether {number} leaves"
        );
        if leaves {
            guest.least_expected = Some(self.oracle.heard(number).len());
        }
        encoding
    }

    fn left(
        &mut self,
        client: ClientId,
        reason: CloseReason,
        context: &mut Context<'_>,
    ) -> Option<Frame> {
        if self.owed_bytes.is_empty() {
            let inside = self.inside.values();
            let owed = inside.map(|&number| (number, self.oracle.heard(number).len()));
            self.owed_bytes = owed.collect();
        }
        let number = self.inside.remove(&client).expect("nobody leaves twice");
        let guest = self.guests.get_mut(&number).expect("somebody inside");
        assert!(guest.left.is_none(), "nobody leaves twice");
        guest.left = Some(reason);
        let input = self.ends[number].input.borrow();
        let is_true = match reason {
            CloseReason::PeerClosed => input.is_ended,
            CloseReason::Lost(_) => input.is_reset || input.is_cut,
            _ => true,
        };
        assert!(is_true, "{number} has left: {reason}");
        if let CloseReason::PeerClosed | CloseReason::WrongProtocol = reason {
            // The room does not hear the first words of another protocol. It hears every other
            // line of a client that was read to its end.
            let sent = input
                .sent
                .as_deref()
                .expect("a peer that keeps what it sends");
            if let Some(foreign) = guest.cutter.next(sent, input.is_ended) {
                self.oracle.received(number, foreign, context.now);
                let leaves = self.oracle.leaves(number);
                assert_eq!(leaves, Some(CloseReason::WrongProtocol));
            }
        }
        if let CloseReason::Quit | CloseReason::WrongProtocol = reason {
            assert_eq!(self.oracle.leaves(number), Some(reason));
        }
        let last_words = self.service.left(client, reason, context);
        let is_meant = reason == CloseReason::Quit;
        self.oracle
            .left(number, is_meant, self.owed_bytes[&number], context.now);
        last_words
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = self.service.deadline();
        assert_eq!(deadline, self.oracle.due_at());
        deadline
    }

    fn expired(&mut self, load: Load, context: &mut Context<'_>) -> Next {
        self.expirations += 1;
        self.oracle.expired(context.now);
        self.service.expired(load, context)
    }

    fn source_ready(
        &mut self,
        token: Token,
        load: Load,
        context: &mut Context<'_>,
    ) -> io::Result<Next> {
        self.oracle.closing();
        self.service.source_ready(token, load, context)
    }

    fn said(&mut self, text: &[u8]) {
        self.shown.extend_from_slice(text);
    }

    fn iteration_ended(&mut self) {
        self.owed_bytes.clear();
        self.service.iteration_ended();
    }
}
