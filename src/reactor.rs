//! One thread, one [`Poll`], and everything that waits on it.
//!
//! The reactor owns the poll, the listener and the event loop. It knows when something can
//! be read or written; what is said to whom it leaves to a [`Service`].
//!
//! mio's events are edges: they come once. The reactor only polls and marks what
//! is ready; [`event_loop`] does the work, and keeps a list of whatever it could not
//! finish, for which the next poll does not wait.

pub mod acceptor;
pub mod clients;
pub mod connection;
pub mod event_loop;
pub mod flow;
#[cfg(feature = "tls")]
pub mod handshakes;
pub mod inbound;
pub mod listener;
pub mod outbound;
pub mod pacing;
pub mod service;
pub mod shared_log;
pub mod stream;
mod timers;
pub mod write_queue;

use std::io;
use std::time::{Duration, Instant, SystemTime};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use self::acceptor::Accepted;
use self::event_loop::{EventLoop, Status};
#[cfg(feature = "tls")]
use self::handshakes::{Doors, Handshakes};
use self::listener::Listener;
#[cfg(feature = "tls")]
use self::service::{FIRST_HANDSHAKE, TLS_LISTENER};
use self::service::{LISTENER, Load, Policy, Service, VISITORS, is_source};
use crate::platform::socket::retry_interrupted;

/// Events taken from the kernel in one iteration.
const EVENTS_CAPACITY: usize = 1024;

/// The poll, the listener, and the loop that they drive.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    events: Events,
    /// `None` once the server is shutting down.
    listener: Option<Listener>,
    /// Where peers speak first, if anywhere. `None`, too, once the server is shutting down.
    visitors: Option<Listener>,
    /// `None`, too, without TLS.
    #[cfg(feature = "tls")]
    handshakes: Option<Handshakes>,
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
            visitors: None,
            #[cfg(feature = "tls")]
            handshakes: None,
            event_loop: EventLoop::new(policy, Instant::now()),
        })
    }

    /// Takes visitors in, too: who connects to `listener` speaks first.
    ///
    /// # Errors
    ///
    /// When the listener cannot be registered.
    pub fn take_visitors(&mut self, mut listener: Listener) -> io::Result<()> {
        self.poll
            .registry()
            .register(listener.source_mut(), VISITORS, Interest::READABLE)?;
        self.visitors = Some(listener);
        Ok(())
    }

    /// Takes in, too, whoever comes in by these `doors` and finishes a TLS handshake; `most` at a
    /// time may be about that.
    ///
    /// # Errors
    ///
    /// When a listener cannot be registered.
    #[cfg(feature = "tls")]
    pub fn secure(&mut self, doors: Doors, most: usize) -> io::Result<()> {
        self.handshakes = Some(Handshakes::new(doors, most, self.poll.registry())?);
        Ok(())
    }

    /// Where a service registers sources of its own, each with a
    /// [`source_token`](service::source_token).
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
            #[cfg(feature = "tls")]
            self.go_on_with_handshakes(service);
            let registry = self.poll.registry();
            let accept_from = |listener: &Option<Listener>, key| match listener {
                Some(listener) => accept(listener, registry, Token(key)),
                None => Accepted::Nobody,
            };
            #[cfg(feature = "tls")]
            let handshakes = std::cell::RefCell::new(&mut self.handshakes);
            let accept_client = |key| {
                #[cfg(feature = "tls")]
                if let Some(handshakes) = &mut **handshakes.borrow_mut()
                    && let Some(finished) = handshakes.next_client(registry, key)
                {
                    return finished;
                }
                accept_from(&self.listener, key)
            };
            let accept_visitor = |key| {
                #[cfg(feature = "tls")]
                if let Some(handshakes) = &mut **handshakes.borrow_mut()
                    && let Some(finished) = handshakes.next_visitor(registry, key)
                {
                    return finished;
                }
                accept_from(&self.visitors, key)
            };
            self.event_loop.set_wall_time(SystemTime::now().into());
            let iterated = self.event_loop.iterate_with_visitors(
                Instant::now(),
                service,
                accept_client,
                accept_visitor,
            );
            match iterated? {
                Status::Running => {}
                Status::ShuttingDown => {
                    (self.listener, self.visitors) = (None, None);
                    #[cfg(feature = "tls")]
                    (self.handshakes = None);
                }
                Status::Ended => {
                    self.event_loop.abandon_all();
                    return Ok(());
                }
            }
        }
    }

    #[cfg(feature = "tls")]
    fn go_on_with_handshakes(&mut self, service: &impl Service) {
        if let Some(handshakes) = &mut self.handshakes {
            handshakes.advance(Instant::now(), self.poll.registry(), |address, more| {
                service.is_address_full(address, more)
            });
            let [clients, visitors] = handshakes.has_finished();
            if clients {
                self.event_loop.mark_listener();
            }
            if visitors {
                self.event_loop.mark_visitors();
            }
        }
    }

    fn poll_timeout(&self, service: &impl Service, now: Instant) -> Option<Duration> {
        let timeout = self.event_loop.poll_timeout(service, now);
        #[cfg(feature = "tls")]
        if let Some(handshakes) = &self.handshakes {
            if handshakes.has_work() {
                return Some(Duration::ZERO);
            }
            let own = handshakes.deadline();
            let own = own.map(|at| at.saturating_duration_since(now));
            return [timeout, own].into_iter().flatten().min();
        }
        timeout
    }

    /// Waits for events, and marks what is ready. No I/O.
    fn poll_and_mark(&mut self, service: &impl Service) -> io::Result<()> {
        // A signal that interrupts has a source of its own, and comes as an event.
        retry_interrupted(|| {
            let timeout = self.poll_timeout(service, Instant::now());
            self.poll.poll(&mut self.events, timeout)
        })?;
        for event in &self.events {
            match event.token() {
                LISTENER => self.event_loop.mark_listener(),
                VISITORS => self.event_loop.mark_visitors(),
                #[cfg(feature = "tls")]
                token if (Token(FIRST_HANDSHAKE)..=TLS_LISTENER).contains(&token) => {
                    if let Some(handshakes) = &mut self.handshakes {
                        handshakes.mark(token);
                    }
                }
                token if is_source(token) => self.event_loop.mark_source(token),
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
        && let Err(error) =
            registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)
    {
        return Accepted::Exhausted {
            error,
            is_of_descriptors: false,
        };
    }
    accepted
}
