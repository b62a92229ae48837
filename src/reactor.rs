//! One thread, one [`Poll`], and everything that waits on it.
//!
//! The reactor owns the poll, the listener and the connections. It knows when
//! something can be read or written, and gives everybody a turn; what is said to
//! whom it leaves to a [`Service`].
//!
//! mio's events are edges: they come once. The reactor only polls and marks what
//! is ready; [`event_loop`] does the work, and keeps a list of whatever it could not
//! finish, for which the next poll does not wait.

pub mod clients;
pub mod connection;
pub mod event_loop;
pub mod flow;
pub mod listener;
pub mod log_limit;
pub mod rate;
pub mod shared_log;
pub mod write_queue;

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use self::event_loop::{Accepted, EventLoop, Status};
use self::listener::Listener;
use crate::platform::interrupt::retry_interrupted;
use crate::protocol::batch::{Batch, ClientId};
use crate::protocol::close::CloseReason;
use crate::protocol::line::Decoded;
use crate::reactor::rate::Rate;
use crate::reactor::write_queue::Frame;
use crate::server::stats::Load;

/// Events taken from the kernel in one turn.
const EVENTS_CAPACITY: usize = 1024;

/// The listener's token. Tokens of clients are their slab keys, counted from 0;
/// those of other sources are counted down from the top.
const LISTENER: Token = Token(usize::MAX);

/// How many sources of its own a service can have.
pub const MAX_SOURCES: usize = 16;

/// The token of a service's own `index`th source.
///
/// # Panics
///
/// When `index` is not below [`MAX_SOURCES`].
pub const fn source_token(index: usize) -> Token {
    assert!(index < MAX_SOURCES);
    Token(LISTENER.0 - 1 - index)
}

/// What the loop allows its clients.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Bytes of a line, its line end not counted.
    pub max_line_bytes: u32,
    /// What may wait for readers, and how long.
    pub flow: flow::Bounds,
    /// How many lines each may say, if that is bounded. What is over waits.
    pub rate: Option<Rate>,
    /// How long each may be silent, if that is bounded.
    pub idle_timeout: Option<Duration>,
    /// How much of a turn is sent before others are read and accepted:
    /// [`clients::SLICE_BYTES`], but in tests.
    pub slice_bytes: usize,
}

impl Policy {
    /// What fits most rooms.
    pub const DEFAULT: Self = Self {
        max_line_bytes: 4096,
        flow: flow::Bounds::DEFAULT,
        rate: None,
        idle_timeout: None,
        slice_bytes: clients::SLICE_BYTES,
    };
}

/// What a reactor serves: decides what is said, and to whom.
pub trait Service {
    /// Somebody at `address` wants to come in. An error is what it is told before
    /// it is disconnected.
    fn admit(&mut self, address: IpAddr, now: Instant) -> Result<(), Frame>;

    /// A client that was admitted has come in.
    fn joined(&mut self, client: ClientId, address: IpAddr, now: Instant, turn: &mut Batch);

    /// A client has sent a line.
    fn received(&mut self, client: ClientId, line: Decoded<'_>, now: Instant, turn: &mut Batch);

    /// What a client is told that leaves for this reason, if anything: whole lines.
    fn farewell(&self, reason: CloseReason) -> Option<Frame>;

    /// A client has left. Its id may be given to another from now on.
    fn left(&mut self, client: ClientId, reason: CloseReason, now: Instant, turn: &mut Batch);

    /// When the service wants to [go on](Service::expired) though nothing may have
    /// happened; `None` for never.
    fn deadline(&self) -> Option<Instant>;

    /// Its deadline has passed.
    fn expired(&mut self, now: Instant, turn: &mut Batch) -> Next;

    /// A source that the service registered itself, with a [`source_token`], is
    /// ready.
    ///
    /// # Errors
    ///
    /// Only those that leave no way to go on: they end the loop.
    fn source_ready(&mut self, token: Token, now: Instant, turn: &mut Batch) -> io::Result<Next>;

    /// How the loop stands, as the service has asked to be told.
    fn report(&mut self, load: Load);

    /// This is what everybody was sent in this turn.
    fn said(&mut self, text: &[u8]);

    /// The turn is over: the place for what is to be done once a turn.
    fn turn_ended(&mut self);
}

/// How the loop is to go on. Ordered: of two answers the greater one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// As before.
    Continue,
    /// Have the service [report](Service::report).
    Report,
    /// Take in nobody any more, let everybody have what they are owed, and end.
    Shutdown,
    /// End now.
    Exit,
}

/// The poll, the listener, and the loop that they drive.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    events: Events,
    /// `None` once the server is shutting down.
    listener: Option<Listener>,
    event_loop: EventLoop<TcpStream>,
}

impl Reactor {
    /// A reactor that takes in whoever connects to `listener`.
    ///
    /// # Errors
    ///
    /// When the poll cannot be made or the listener not be registered.
    pub fn new(mut listener: Listener, policy: Policy) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry()
            .register(listener.source_mut(), LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_CAPACITY),
            listener: Some(listener),
            event_loop: EventLoop::new(policy, Instant::now()),
        })
    }

    /// Where a service registers sources of its own, each with a
    /// [`source_token`].
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// How the loop stands.
    pub fn load(&self) -> Load {
        self.event_loop.load()
    }

    /// Runs until the service ends it.
    ///
    /// # Errors
    ///
    /// When the poll itself fails, or the service says so. Never because of a
    /// peer.
    pub fn run(&mut self, service: &mut impl Service) -> io::Result<()> {
        loop {
            self.poll_and_mark(service)?;
            let (listener, registry) = (&self.listener, self.poll.registry());
            let accept = |key| match listener {
                Some(listener) => accept(listener, registry, Token(key)),
                None => Accepted::Nobody,
            };
            match self.event_loop.turn(Instant::now(), service, accept)? {
                Status::Running => {}
                Status::ShuttingDown => self.listener = None,
                Status::Ended => {
                    self.event_loop.abandon_all();
                    return Ok(());
                }
            }
        }
    }

    /// Waits for events, and marks what is ready. No I/O.
    fn poll_and_mark(&mut self, service: &impl Service) -> io::Result<()> {
        // A signal that interrupts has a source of its own, and comes as an event.
        retry_interrupted(|| {
            let timeout = self.event_loop.poll_timeout(service, Instant::now());
            self.poll.poll(&mut self.events, timeout)
        })?;
        for event in &self.events {
            match event.token() {
                LISTENER => self.event_loop.mark_listener(),
                Token(number) if number > LISTENER.0 - 1 - MAX_SOURCES => {
                    self.event_loop.mark_source(event.token());
                }
                // Errors and hang-ups are hints to try: only the result of a
                // read or a write decides.
                Token(key) => self.event_loop.mark_client(
                    key,
                    event.is_readable() || event.is_read_closed() || event.is_error(),
                    event.is_writable() || event.is_write_closed() || event.is_error(),
                ),
            }
        }
        Ok(())
    }
}

/// Accepts one connection and registers it with the poll, once and for both
/// directions; the kernel reports at once what is ready already.
fn accept(listener: &Listener, registry: &Registry, token: Token) -> Accepted<TcpStream> {
    let mut accepted = listener.accept();
    if let Accepted::Client(stream, _) = &mut accepted
        && let Err(e) = registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)
    {
        return Accepted::Exhausted(e);
    }
    accepted
}
