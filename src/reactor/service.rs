//! What a reactor serves, what it allows its clients, and how the two talk.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mio::Token;

use super::flow;
use super::listener::SEND_BUFFER_BYTES;
use super::outbound::{BY_REFERENCE_BYTES, SLICE_BYTES};
#[cfg(doc)]
use crate::protocol::batch::OutsiderRequest;
use crate::protocol::batch::{ClientId, Context, Encoding, Frame};
use crate::protocol::close::CloseReason;
use crate::protocol::line::Decoded;
use crate::rate::Rate;

/// Tokens from here on belong to the service's own sources; the reactor keeps the last
/// one for its listener, and the one before them for the listener of visitors. Clients' tokens
/// are their slab keys, counted from 0.
const FIRST_SOURCE: usize = LISTENER.0 - MAX_SOURCES;

/// The token of the listener where peers speak first.
pub(super) const VISITORS: Token = Token(FIRST_SOURCE - 1);

/// The token of the listener for TLS; that of the web port, if TLS is spoken there, is before it.
#[cfg(feature = "tls")]
pub(super) const TLS_LISTENER: Token = Token(FIRST_SOURCE - 2);

/// Tokens from here on belong to connections whose handshakes are not over.
#[cfg(feature = "tls")]
pub(super) const FIRST_HANDSHAKE: usize = usize::MAX / 2;

/// The listener's token.
pub(super) const LISTENER: Token = Token(usize::MAX);

/// How many sources of its own a service can have.
pub const MAX_SOURCES: usize = 16;

/// The token of a service's own `index`th source.
///
/// # Panics
///
/// When `index` is not below [`MAX_SOURCES`].
pub const fn source_token(index: usize) -> Token {
    assert!(index < MAX_SOURCES);
    Token(FIRST_SOURCE + index)
}

/// Whether `token` is that of a service's own source.
pub(super) fn is_source(token: Token) -> bool {
    token.0 >= FIRST_SOURCE && token != LISTENER
}

/// What the loop allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Bytes of a line, its line end not counted.
    pub max_line_bytes: u32,
    /// What may wait for readers, and how long.
    pub flow: flow::Bounds,
    /// What half lines, and lines that are still to be heard, may take in all.
    pub max_input_bytes: usize,
    /// How many lines each may say, if that is bounded. Excess lines are delayed.
    pub rate: Option<Rate>,
    /// How long each may be silent, if that is bounded.
    pub idle_timeout: Option<Duration>,
    /// How many refused connections are kept until they have taken the refusal. Further ones
    /// are told, if they take that at once, and closed on the spot: a crowd of the refused
    /// must not use up the descriptors.
    pub max_refused: usize,
    /// How many visitors there may be: above this, one is closed.
    pub max_visitors: usize,
    /// What the kernel may hold for each client. A batch is not larger.
    pub send_buffer_bytes: usize,
    /// From which size on a batch is sent by reference; `None` for never. Tests use other
    /// values.
    pub by_reference_bytes: Option<usize>,
    /// How much of a batch is sent before others are read and accepted; tests use
    /// another value.
    pub slice_bytes: usize,
}

impl Policy {
    /// What fits most rooms.
    pub const DEFAULT: Self = Self {
        max_line_bytes: 4096,
        flow: flow::Bounds::DEFAULT,
        max_input_bytes: usize::MAX,
        rate: None,
        idle_timeout: None,
        max_refused: 64,
        max_visitors: 256,
        send_buffer_bytes: SEND_BUFFER_BYTES,
        by_reference_bytes: Some(BY_REFERENCE_BYTES),
        slice_bytes: SLICE_BYTES,
    };
}

/// What a reactor serves: decides what is said, and to whom. It says it into the batch of
/// the [`Context`] that comes with each call.
pub trait Service {
    /// `client`, at `address`, has connected. Returns its greeting, which it is sent at
    /// once; it has joined.
    ///
    /// # Errors
    ///
    /// What it is told before it is disconnected: it has not joined.
    fn join(
        &mut self,
        client: ClientId,
        address: IpAddr,
        context: &mut Context<'_>,
    ) -> Result<Frame, Frame>;

    /// `client` has been refused. Returns for how long it is heard all the same, if at all: it
    /// may have a place that it has only lost, or know the password. If it shows the former, the
    /// service [restores its standing](crate::protocol::batch::StandingRequest::Restore): it is a
    /// member then, and gets what is said from there on. If the latter, the service
    /// [has it let in](OutsiderRequest::LetIn).
    fn hears_out(
        &mut self,
        _client: ClientId,
        _address: IpAddr,
        _now: Instant,
    ) -> Option<Duration> {
        None
    }

    /// `client`, which was heard out, has had its time, or said too much. Returns its last words
    /// from us, if any.
    fn heard_out(&mut self, _client: ClientId) -> Option<Frame> {
        None
    }

    /// The service has `outsider` let in: it is `client` now. As with [`Service::join`].
    ///
    /// # Errors
    ///
    /// What it is told before it is disconnected: it has not joined.
    fn let_in(
        &mut self,
        _outsider: ClientId,
        _client: ClientId,
        _address: IpAddr,
        _context: &mut Context<'_>,
    ) -> Result<Frame, Frame> {
        Err(Frame::from([]))
    }

    /// `client`, which is about to join or to be let in, or visits, has come over TLS.
    fn secured(&mut self, _client: ClientId) {}

    /// Whether `address` has as many connections as it may have, with `more` that are not known
    /// as clients yet.
    fn is_address_full(&self, _address: IpAddr, _more: usize) -> bool {
        false
    }

    /// `visitor`, at `address`, has connected where peers speak first. Returns whether it may
    /// say what it wants.
    fn visits(&mut self, _visitor: ClientId, _address: IpAddr) -> bool {
        false
    }

    /// Says what `visitor` is to have, which has sent `bytes` so far.
    fn asked(
        &mut self,
        _visitor: ClientId,
        _bytes: &[u8],
        _more: More,
        _load: Load,
        _context: &mut Context<'_>,
    ) -> Wish {
        Wish::None
    }

    /// A member has sent a line. Returns how the member reads from now on: once it reads
    /// JSON, it is a program, and what it sends is cut into lines accordingly. Its
    /// output switches where the service [says so](crate::protocol::batch::Batch::switch).
    fn received(
        &mut self,
        client: ClientId,
        line: Decoded<'_>,
        context: &mut Context<'_>,
    ) -> Encoding;

    /// A member that is a program has not been read for a while, though it may have sent
    /// something.
    fn held(&mut self, _client: ClientId, _context: &mut Context<'_>) {}

    /// A member has left. Returns its last words from us, if any: whole lines.
    fn left(
        &mut self,
        client: ClientId,
        reason: CloseReason,
        context: &mut Context<'_>,
    ) -> Option<Frame>;

    /// `client`, which has left, has got what it is owed. Its socket stays open until the
    /// peer closes its side, for half a second at most.
    fn lingers(&mut self, _client: ClientId) {}

    /// The socket of `client`, which has left, is closed; or it was a visitor, and becomes a
    /// client by another id.
    fn closed(&mut self, _client: ClientId) {}

    /// A newcomer from `address` is about to [join](Service::join). Returns a client that
    /// [lingers](Service::lingers) and is to be closed at once to make room for it.
    fn gives_way(&mut self, _address: IpAddr, _now: Instant) -> Option<ClientId> {
        None
    }

    /// When the service wants to [go on](Service::expired) though nothing may have
    /// happened; `None` for never.
    fn deadline(&self) -> Option<Instant>;

    /// Its deadline has passed.
    fn expired(&mut self, load: Load, context: &mut Context<'_>) -> Next;

    /// A source that the service registered itself, with a [`source_token`], is
    /// ready.
    ///
    /// # Errors
    ///
    /// Only those that leave no way to go on: they end the loop.
    fn source_ready(
        &mut self,
        token: Token,
        load: Load,
        context: &mut Context<'_>,
    ) -> io::Result<Next>;

    /// A batch is complete: `text` is what all its readers get.
    fn said(&mut self, text: &[u8]);

    /// The iteration is over: the place for what is to be done once in each.
    fn iteration_ended(&mut self);
}

/// Whether a visitor will say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// It may.
    MayCome,
    /// It has ended its side.
    Never,
    /// Its time is over.
    TooLate,
}

/// What a visitor wants, and gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That is not known before `until_bytes` have come.
    Unknown {
        /// Counted from the first one. No more is read.
        until_bytes: usize,
        /// What it is told meanwhile; may be empty.
        interim: &'static [u8],
    },
    /// This answer, and then the end.
    Answer(Frame),
    /// To be a client, and to have what it says and hears in WebSocket's frames.
    Membership {
        /// What it is told before the first frame.
        answer: Frame,
        /// What it has sent before the first frame.
        head_bytes: usize,
    },
    /// Nothing: it is closed.
    None,
}

/// How the loop is to go on. Ordered: of two answers the greater one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// As before.
    Continue,
    /// Accept nobody any more, let everybody have what they are owed, and end.
    Shutdown,
    /// End now.
    Exit,
}

/// What went through the connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Lines that members sent, commands and refused ones too.
    pub lines_in: u64,
    /// Bytes that members sent.
    pub bytes_in: u64,
    /// Lines for everybody, counted once for each reader they were sent to.
    pub lines_out: u64,
    /// Bytes meant for readers: what the kernel has taken, what still waits for it, and
    /// what is lost.
    pub bytes_out: u64,
    /// Bytes that waited for readers that were dropped or went.
    pub bytes_lost: u64,
}

/// How the event loop stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// What went through it.
    pub traffic: Traffic,
    /// What is kept in memory for readers that lag, in bytes.
    pub backlog_bytes: usize,
    /// Clients that are not read because readers are behind.
    pub paused: usize,
}
