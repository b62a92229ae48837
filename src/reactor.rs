//! The event loop: one thread, one [`Poll`], and everything that waits on it.
//!
//! The reactor owns the poll, the listener and the connections. It knows when
//! something can be read or written, and gives everybody a turn; what is said to
//! whom it leaves to a [`Service`]. One turn of the loop goes through these
//! stages, in this order:
//!
//! 1. *poll* and *mark*: each event only notes what is ready. No I/O.
//! 2. *accept*: newcomers, within a budget.
//! 3. *fill* and *act*: who has input is read, and its lines go to the service,
//!    which gathers its answers in the [`Turn`].
//! 4. *flush*: every reader is written its share of the turn, in one write.
//! 5. *reap*: who has left is removed, here and nowhere else.
//!
//! mio's events are edges: they come once. Whoever stops before the socket would
//! block stays in a list and is taken up again in the next turn, for which the
//! poll does not wait then.

pub mod clients;
pub mod listener;

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use log::warn;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use self::clients::Clients;
use self::listener::{Accepted, Listener, is_out_of_descriptors};
use crate::close::CloseReason;
use crate::line::Decoded;
use crate::turn::{ClientId, Turn};
use crate::write_queue::Frame;

/// Events taken from the kernel in one turn.
const EVENTS_CAPACITY: usize = 1024;

/// Newcomers accepted in one turn, so that a rush at the door does not silence
/// the room.
const ACCEPT_BUDGET: usize = 256;

/// How long accepting pauses when the machine is short of descriptors or memory.
/// It resumes earlier if a connection goes.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two warnings that accepting pauses.
const ACCEPT_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How long everybody together has to take what they are owed when the server
/// ends.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// The listener's token. Tokens of clients are their slab keys, counted from 0;
/// those of other sources are counted down from the top.
const LISTENER: Token = Token(usize::MAX);

/// The token of a service's own `index`th source, an index below
/// [`MAX_SOURCES`].
pub const fn source_token(index: usize) -> Token {
    assert!(index < MAX_SOURCES);
    Token(LISTENER.0 - 1 - index)
}

/// How many sources of its own a service can have.
pub const MAX_SOURCES: usize = 16;

/// What a reactor serves: decides what is said, and to whom.
pub trait Service {
    /// Somebody at `address` is at the door. An error is what it is told before
    /// it is sent away.
    fn admit(&mut self, address: IpAddr) -> Result<(), Frame>;

    /// Somebody who was admitted has come in.
    fn joined(&mut self, client: ClientId, address: IpAddr, turn: &mut Turn);

    /// A client has sent a line.
    fn received(&mut self, client: ClientId, line: Decoded<'_>, turn: &mut Turn);

    /// A client has left. Its id may be given to somebody else from now on.
    fn left(&mut self, client: ClientId, reason: CloseReason, turn: &mut Turn);

    /// A source that the service registered itself, with a [`source_token`], is
    /// ready.
    ///
    /// # Errors
    ///
    /// Only those that leave no way to go on: they end the loop.
    fn source_ready(&mut self, token: Token, turn: &mut Turn) -> io::Result<Next>;

    /// This is what everybody was sent in this turn.
    fn said(&mut self, text: &[u8]);

    /// The turn is over. What was put off to be done once a turn is done now.
    fn turn_ended(&mut self);
}

/// How the loop is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// As before.
    Continue,
    /// Take in nobody any more, let everybody have what they are owed, and end.
    Shutdown,
    /// End now.
    Exit,
}

/// The event loop and all that it owns.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    events: Events,
    /// `None` once the server is ending.
    acceptor: Option<Acceptor>,
    clients: Clients<TcpStream>,
    turn: Turn,
    /// Sources of the service that are ready.
    ready_sources: Vec<Token>,
    /// When to end at the latest, once the server is ending.
    ends_at: Option<Instant>,
}

/// The listener, and what is known of its readiness.
#[derive(Debug)]
struct Acceptor {
    listener: Listener,
    /// Somebody may be waiting.
    ready: bool,
    /// Until when accepting pauses.
    paused_until: Option<Instant>,
    warned_at: Option<Instant>,
}

impl Reactor {
    /// A reactor that takes in whoever comes to `listener`.
    ///
    /// # Errors
    ///
    /// When the poll cannot be made or the listener not be registered.
    pub fn new(mut listener: Listener, max_line_bytes: u32) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry()
            .register(listener.source_mut(), LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_CAPACITY),
            acceptor: Some(Acceptor {
                listener,
                ready: false,
                paused_until: None,
                warned_at: None,
            }),
            clients: Clients::new(max_line_bytes),
            turn: Turn::new(),
            ready_sources: Vec::new(),
            ends_at: None,
        })
    }

    /// Where a service registers sources of its own, each with a
    /// [`source_token`].
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Runs until the service ends it.
    ///
    /// # Errors
    ///
    /// When the poll itself fails, or the service says so. Never because of a
    /// peer.
    pub fn run(&mut self, service: &mut impl Service) -> io::Result<()> {
        loop {
            self.poll_and_mark()?;
            let now = Instant::now();
            self.clients.expire(now);
            self.accept(service, now);
            self.clients.fill(service, &mut self.turn);
            match self.serve_sources(service)? {
                Next::Continue => {}
                Next::Shutdown => self.begin_shutdown(now),
                Next::Exit => return Ok(()),
            }
            self.flush(service);
            self.reap(service, now);
            service.turn_ended();
            if self.has_ended(now) {
                return Ok(());
            }
        }
    }

    fn poll_and_mark(&mut self) -> io::Result<()> {
        let timeout = self.poll_timeout();
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            // A signal: it has a source of its own, and comes as an event.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        }
        for event in &self.events {
            match event.token() {
                LISTENER => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.ready = true;
                    }
                }
                Token(number) if number > LISTENER.0 - 1 - MAX_SOURCES => {
                    self.ready_sources.push(event.token());
                }
                // Errors and hang-ups are hints to try: only what comes of a
                // read or a write decides.
                Token(key) => self.clients.mark(
                    key,
                    event.is_readable() || event.is_read_closed() || event.is_error(),
                    event.is_writable() || event.is_write_closed() || event.is_error(),
                ),
            }
        }
        Ok(())
    }

    /// Not at all while there is work left; else until the next deadline; else,
    /// when nothing happens, for ever.
    fn poll_timeout(&self) -> Option<Duration> {
        let acceptor = self.acceptor.as_ref();
        let may_accept = acceptor.is_some_and(|acceptor| acceptor.ready);
        if may_accept || self.clients.has_work() || !self.turn.is_empty() {
            return Some(Duration::ZERO);
        }
        let paused_until = acceptor.and_then(|acceptor| acceptor.paused_until);
        [self.clients.next_deadline(), paused_until, self.ends_at]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn accept(&mut self, service: &mut impl Service, now: Instant) {
        if let Some(acceptor) = &mut self.acceptor
            && acceptor.paused_until.is_some_and(|until| until <= now)
        {
            acceptor.resume();
        }
        for _ in 0..ACCEPT_BUDGET {
            let Some(acceptor) = self.acceptor.as_mut().filter(|acceptor| acceptor.ready) else {
                return;
            };
            match acceptor.listener.accept() {
                Accepted::Client(stream, address) => {
                    if let Err(e) = self.take_in(stream, address, service, now)
                        && let Some(acceptor) = &mut self.acceptor
                    {
                        acceptor.pause(&e, now);
                    }
                }
                Accepted::Skip => {}
                Accepted::Nobody => acceptor.ready = false,
                Accepted::Exhausted(e) => acceptor.pause(&e, now),
            }
        }
    }

    /// Takes in a newcomer, or tells it why not. An error is the machine's, not
    /// the newcomer's.
    fn take_in(
        &mut self,
        mut stream: TcpStream,
        address: IpAddr,
        service: &mut impl Service,
        now: Instant,
    ) -> io::Result<()> {
        let token = Token(self.clients.vacant_key());
        // Once, for both directions. The kernel reports what is ready already.
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, token, interest)?;
        match service.admit(address) {
            Ok(()) => {
                let client = self.clients.insert(stream);
                service.joined(client, address, &mut self.turn);
            }
            Err(refusal) => self.clients.insert_refused(stream, &refusal, now),
        }
        Ok(())
    }

    fn serve_sources(&mut self, service: &mut impl Service) -> io::Result<Next> {
        for token in std::mem::take(&mut self.ready_sources) {
            match service.source_ready(token, &mut self.turn)? {
                Next::Continue => {}
                other => return Ok(other),
            }
        }
        Ok(Next::Continue)
    }

    fn flush(&mut self, service: &mut impl Service) {
        self.turn.seal();
        self.clients.flush(&self.turn);
        if !self.turn.shared().is_empty() {
            service.said(self.turn.shared());
        }
    }

    fn reap(&mut self, service: &mut impl Service, now: Instant) {
        self.clients.close_those_asked_for(&mut self.turn);
        // What is said from here on belongs to the next turn.
        self.turn.clear();
        let removed = self.clients.reap(service, &mut self.turn, now);
        if let Some(acceptor) = &mut self.acceptor
            && removed > 0
            && acceptor.paused_until.is_some()
        {
            acceptor.resume();
        }
    }

    fn begin_shutdown(&mut self, now: Instant) {
        self.acceptor = None;
        self.ends_at.get_or_insert(now + SHUTDOWN_TIMEOUT);
        self.clients.close_all(CloseReason::Shutdown);
    }

    fn has_ended(&self, now: Instant) -> bool {
        self.ends_at
            .is_some_and(|at| self.clients.is_empty() || at <= now)
    }
}

impl Acceptor {
    fn resume(&mut self) {
        self.paused_until = None;
        self.ready = true;
    }

    /// Stops accepting for a while: who comes waits in the kernel's backlog, and
    /// no edge will tell of it.
    fn pause(&mut self, error: &io::Error, now: Instant) {
        self.ready = false;
        self.paused_until = Some(now + ACCEPT_PAUSE);
        if self
            .warned_at
            .is_some_and(|at| now < at + ACCEPT_WARNING_INTERVAL)
        {
            return;
        }
        self.warned_at = Some(now);
        let remedy = match is_out_of_descriptors(error) {
            true => "; a higher limit (ulimit -n) or a lower --max-clients would help",
            false => "",
        };
        warn!(
            "nobody can be taken in for now: {error}; \
             who comes waits until somebody leaves{remedy}"
        );
    }
}
