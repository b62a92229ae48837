//! The event loop without its poll: told what is ready and what time it is, it does one
//! iteration.
//!
//! An iteration goes through these stages, in this order:
//!
//! 1. *expire*: connections whose timer has expired are looked at; the service does
//!    what it has put off until now.
//! 2. *accept*: newcomers are taken in, within a budget.
//! 3. *read* and *act*: clients with input are read, and their lines go to the
//!    service, which says what is to be said into the batch being gathered. Then the
//!    service's own sources have their say.
//! 4. *send*: every reader is written its share of the batch, in one write. In a
//!    big room this is done in slices, and the loop goes round between them.
//! 5. *reap*: once the batch has been sent, connections that are done are removed, here
//!    and nowhere else.
//!
//! Sockets are a type parameter here and time is an argument, so that tests can
//! drive the real loop with scripted sockets.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mio::Token;

use super::acceptor::{ACCEPT_BUDGET, Accepted, Acceptor, CROWD_ACCEPT_BUDGET};
use super::clients::Clients;
use super::connection::transport::Transport;
use super::service::{Load, Next, Policy, Service};
use super::stream::Stream;
use crate::protocol::close::CloseReason;
use crate::protocol::time::Time;

/// How long all clients together have to take what they are owed when the server
/// shuts down.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// How far the loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Clients come and go.
    Running,
    /// Nobody is accepted any more; clients get what they are owed.
    ShuttingDown,
    /// There is nothing left to do.
    Ended,
}

/// The state of the loop.
#[derive(Debug)]
pub struct EventLoop<S> {
    clients: Clients<S>,
    acceptor: Acceptor,
    /// Of visitors.
    visitor_acceptor: Acceptor,
    /// Sources of the service that are ready.
    ready_sources: Vec<Token>,
    /// When to end at the latest, once the server is shutting down.
    ends_at: Option<Instant>,
}

impl<S: Stream> EventLoop<S> {
    /// A loop without clients.
    pub fn new(policy: Policy, now: Instant) -> Self {
        Self {
            clients: Clients::new(policy, now),
            acceptor: Acceptor::default(),
            visitor_acceptor: Acceptor::default(),
            ready_sources: Vec::new(),
            ends_at: None,
        }
    }

    /// Tells the service from now on that it is `time` by the wall clock.
    pub fn set_wall_time(&mut self, time: Time) {
        self.clients.set_wall_time(time);
    }

    /// Somebody waits to be accepted.
    pub fn mark_listener(&mut self) {
        self.acceptor.mark();
    }

    /// A visitor waits to be accepted.
    pub fn mark_visitors(&mut self) {
        self.visitor_acceptor.mark();
    }

    /// A source of the service is ready.
    pub fn mark_source(&mut self, token: Token) {
        self.ready_sources.push(token);
    }

    /// The client with this slab key can be read or written.
    pub fn mark_client(&mut self, key: usize, readable: bool, writable: bool) {
        self.clients.mark(key, readable, writable);
    }

    /// How it stands.
    pub fn load(&self) -> Load {
        self.clients.load()
    }

    /// Gives up the connections that are left: the loop has ended.
    pub fn abandon_all(&mut self) {
        self.clients.abandon_all();
    }

    /// Whether a batch is on its way to its readers.
    pub fn is_sending(&self) -> bool {
        self.clients.is_sending()
    }

    /// How long the next poll may wait: not at all while there is work left, else
    /// until the next deadline, and without one for ever.
    pub fn poll_timeout(&self, service: &impl Service, now: Instant) -> Option<Duration> {
        if self.clients.has_work() || self.acceptor.is_ready() || self.visitor_acceptor.is_ready() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.clients.next_timer_at(),
            self.acceptor.paused_until(),
            self.visitor_acceptor.paused_until(),
            self.ends_at,
            service.deadline(),
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Does one iteration. `accept` accepts one connection, which will have the slab
    /// key that it is given.
    ///
    /// # Errors
    ///
    /// Those of the service's own sources.
    pub fn iterate(
        &mut self,
        now: Instant,
        service: &mut impl Service,
        accept: impl FnMut(usize) -> Accepted<S>,
    ) -> io::Result<Status> {
        self.iterate_with_visitors(now, service, accept, |_| Accepted::Nobody)
    }

    /// The same where there are visitors, who speak first: `accept_visitor` accepts one.
    ///
    /// # Errors
    ///
    /// Those of [`EventLoop::iterate`].
    pub fn iterate_with_visitors(
        &mut self,
        now: Instant,
        service: &mut impl Service,
        accept: impl FnMut(usize) -> Accepted<S>,
        accept_visitor: impl FnMut(usize) -> Accepted<S>,
    ) -> io::Result<Status> {
        self.clients.set_time(now);
        self.clients.expire(service);
        let mut next = Next::Continue;
        if service.deadline().is_some_and(|deadline| deadline <= now) {
            next = service.expired(self.clients.load(), &mut self.clients.context());
        }
        let budget = if self.clients.is_crowd_unread() {
            CROWD_ACCEPT_BUDGET
        } else {
            ACCEPT_BUDGET
        };
        let (clients, acceptor) = (&mut self.clients, &mut self.acceptor);
        accept_some(
            clients,
            acceptor,
            budget,
            now,
            accept,
            |clients, it, address| {
                clients.take_in(it, address, service);
            },
        );
        // A request makes as much work as somebody who joins.
        let acceptor = &mut self.visitor_acceptor;
        let budget = CROWD_ACCEPT_BUDGET.min(clients.places_for_visitors());
        let accept = accept_visitor;
        accept_some(
            clients,
            acceptor,
            budget,
            now,
            accept,
            |clients, it, address| {
                clients.take_in_visitor(it, address, service);
            },
        );
        self.clients.read(service);
        match next.max(self.serve_sources(service)?) {
            Next::Continue => {}
            Next::Shutdown => self.begin_shutdown(now),
            Next::Exit => return Ok(Status::Ended),
        }
        self.clients.send(|text| service.said(text));
        if self.clients.reap(service) > 0 {
            self.acceptor.resume();
            self.visitor_acceptor.resume();
        }
        self.clients.relieve();
        service.iteration_ended();
        Ok(self.status(now))
    }

    fn serve_sources(&mut self, service: &mut impl Service) -> io::Result<Next> {
        let mut next = Next::Continue;
        for token in std::mem::take(&mut self.ready_sources) {
            let load = self.clients.load();
            next = next.max(service.source_ready(token, load, &mut self.clients.context())?);
        }
        Ok(next)
    }

    fn begin_shutdown(&mut self, now: Instant) {
        self.acceptor.end();
        self.visitor_acceptor.end();
        self.ends_at.get_or_insert(now + SHUTDOWN_TIMEOUT);
        self.clients.close_all(CloseReason::Shutdown);
    }

    fn status(&self, now: Instant) -> Status {
        match self.ends_at {
            None => Status::Running,
            Some(at) if at <= now || self.clients.is_empty() => Status::Ended,
            Some(_) => Status::ShuttingDown,
        }
    }
}

/// Accepts connections within `budget`, and has `take_in` take each.
fn accept_some<S: Stream>(
    clients: &mut Clients<S>,
    acceptor: &mut Acceptor,
    budget: usize,
    now: Instant,
    mut accept: impl FnMut(usize) -> Accepted<S>,
    mut take_in: impl FnMut(&mut Clients<S>, Transport<S>, IpAddr),
) {
    if acceptor.paused_until().is_some_and(|until| until <= now) {
        acceptor.resume();
    }
    for _ in 0..budget {
        if !acceptor.is_ready() {
            return;
        }
        match accept(clients.next_key()) {
            Accepted::Client(stream, address) => {
                take_in(clients, Transport::new(stream), address);
            }
            #[cfg(feature = "tls")]
            Accepted::Secured(stream, session, address) => {
                take_in(clients, Transport::secured(stream, session), address);
            }
            Accepted::Skip => {}
            Accepted::Nobody => acceptor.drained(),
            Accepted::Exhausted {
                error,
                is_of_descriptors,
            } => acceptor.pause(&error, is_of_descriptors, now),
        }
    }
}

#[cfg(test)]
mod tests;
