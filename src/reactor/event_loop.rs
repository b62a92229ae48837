//! The event loop without its poll: told what is ready and what time it is, it
//! does one turn.
//!
//! One turn goes through these stages, in this order:
//!
//! 1. *expire*: connections whose deadline has passed are looked at; the service does
//!    what it has put off until now.
//! 2. *accept*: newcomers are taken in, within a budget.
//! 3. *fill* and *act*: clients with input are read, and their lines go to the
//!    service, which gathers what is to be said in the [`Batch`]. Then the
//!    service's own sources have their say.
//! 4. *flush*: every reader is written its share of the turn, in one write. In a
//!    big room this is done in slices, and the loop goes round between them.
//! 5. *reap*: once the turn has been sent, connections that are done are removed, here
//!    and nowhere else.
//!
//! Sockets are a type parameter here and time is an argument, so that tests can
//! drive the real loop with sockets that follow a script.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use log::warn;
use mio::Token;

use super::clients::Clients;
use super::listener::is_out_of_descriptors;
use super::{Next, Policy, Service};
use crate::protocol::batch::Batch;
use crate::protocol::close::CloseReason;
use crate::reactor::connection::Stream;
use crate::server::stats::Load;

/// Connections accepted in one turn, so that a rush of newcomers does not silence
/// the room.
pub const ACCEPT_BUDGET: usize = 256;

/// While a crowd waits to be read, newcomers come in one by one, so far apart: those who
/// come, talk and go in thousands are not let in faster than they are found to have gone,
/// and yet nobody can keep others out for ever.
pub const CROWD_ACCEPT_INTERVAL: Duration = Duration::from_millis(10);

/// How long accepting pauses when the machine is short of descriptors or memory.
/// It resumes earlier if a connection goes.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two warnings that accepting pauses.
const ACCEPT_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How long all clients together have to take what they are owed when the server
/// shuts down.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// The result of trying to accept a connection.
#[derive(Debug)]
pub enum Accepted<S> {
    /// A connection, and where from. IPv4 peers of an IPv6 socket are given by
    /// their IPv4 address.
    Client(S, IpAddr),
    /// Nobody is waiting.
    Nobody,
    /// This one came to nothing; there may be others.
    Skip,
    /// The machine is short of something. Those who wait must wait on.
    Exhausted(io::Error),
}

/// How far the loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Clients come and go.
    Running,
    /// Nobody is taken in any more; clients get what they are owed.
    ShuttingDown,
    /// There is nothing left to do.
    Ended,
}

/// The state of the loop.
#[derive(Debug)]
pub struct EventLoop<S> {
    clients: Clients<S>,
    /// What is said now, to be sent when the turn on its way has been.
    turn: Batch,
    acceptor: Acceptor,
    /// Sources of the service that are ready.
    ready_sources: Vec<Token>,
    /// When to end at the latest, once the server is shutting down.
    ends_at: Option<Instant>,
}

/// What is known of the listener's readiness.
#[derive(Debug, Default)]
struct Acceptor {
    /// Somebody may be waiting. Invariant: never while accepting pauses, nor once
    /// the server is shutting down.
    ready: bool,
    /// Until when accepting pauses.
    paused_until: Option<Instant>,
    warned_at: Option<Instant>,
    /// When somebody was last accepted.
    accepted_at: Option<Instant>,
}

impl<S: Stream> EventLoop<S> {
    /// A loop without clients.
    pub fn new(policy: Policy, now: Instant) -> Self {
        Self {
            clients: Clients::new(policy, now),
            turn: Batch::new(),
            acceptor: Acceptor::default(),
            ready_sources: Vec::new(),
            ends_at: None,
        }
    }

    /// Somebody waits to be accepted.
    pub fn mark_listener(&mut self) {
        // While accepting pauses it would only fail again.
        self.acceptor.ready = self.acceptor.paused_until.is_none() && self.ends_at.is_none();
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

    /// Whether a turn is on its way to its readers.
    pub fn is_sending(&self) -> bool {
        self.clients.is_sending()
    }

    /// How long the next poll may wait: not at all while there is work left, else
    /// until the next deadline, and without one for ever.
    pub fn poll_timeout(&self, service: &impl Service, now: Instant) -> Option<Duration> {
        if self.clients.has_work() || !self.turn.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.next_accept_at(now),
            self.clients.next_deadline(),
            self.acceptor.paused_until,
            self.ends_at,
            service.deadline(),
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Does one turn. `accept` accepts one connection, which will have the slab
    /// key that it is given.
    ///
    /// # Errors
    ///
    /// Those of the service's own sources.
    pub fn turn(
        &mut self,
        now: Instant,
        service: &mut impl Service,
        accept: impl FnMut(usize) -> Accepted<S>,
    ) -> io::Result<Status> {
        self.clients.set_time(now);
        self.clients.expire();
        let is_due = service.deadline().is_some_and(|deadline| deadline <= now);
        let next = match is_due {
            true => service.expired(now, &mut self.turn),
            false => Next::Continue,
        };
        self.accept(now, service, accept);
        self.clients.fill(service, &mut self.turn);
        match next.max(self.serve_sources(service, now)?) {
            Next::Continue => {}
            Next::Report => service.report(self.load()),
            Next::Shutdown => self.begin_shutdown(now),
            Next::Exit => return Ok(Status::Ended),
        }
        self.flush(service);
        self.reap(service);
        self.clients.relieve();
        service.turn_ended();
        Ok(self.status(now))
    }

    fn accept(
        &mut self,
        now: Instant,
        service: &mut impl Service,
        mut accept: impl FnMut(usize) -> Accepted<S>,
    ) {
        if self.acceptor.paused_until.is_some_and(|until| until <= now) {
            self.acceptor.resume();
        }
        for _ in 0..ACCEPT_BUDGET {
            if self.next_accept_at(now).is_none_or(|at| at > now) {
                return;
            }
            let key = self.clients.vacant_key();
            match accept(key) {
                Accepted::Client(stream, address) => match service.admit(address, now) {
                    Ok(()) => {
                        self.acceptor.accepted_at = Some(now);
                        let client = self.clients.insert(stream);
                        debug_assert_eq!(client.0, key, "it was registered by that key");
                        self.turn.begin_for(client);
                        service.joined(client, address, now, &mut self.turn);
                        for frame in self.turn.take_greeting(client) {
                            self.clients.send_frame(client, &frame);
                        }
                    }
                    Err(refusal) => self.clients.insert_refused(stream, &refusal),
                },
                Accepted::Skip => {}
                Accepted::Nobody => self.acceptor.ready = false,
                Accepted::Exhausted(e) => self.acceptor.pause(&e, now),
            }
        }
    }

    /// When somebody may be accepted, if somebody waits.
    fn next_accept_at(&self, now: Instant) -> Option<Instant> {
        if !self.acceptor.ready {
            return None;
        }
        let last = self.acceptor.accepted_at;
        match self.clients.is_crowd_unread() {
            true => Some(last.map_or(now, |last| last + CROWD_ACCEPT_INTERVAL)),
            false => Some(now),
        }
    }

    fn serve_sources(&mut self, service: &mut impl Service, now: Instant) -> io::Result<Next> {
        let mut next = Next::Continue;
        for token in std::mem::take(&mut self.ready_sources) {
            next = next.max(service.source_ready(token, now, &mut self.turn)?);
        }
        Ok(next)
    }

    fn flush(&mut self, service: &mut impl Service) {
        self.clients.close_those_asked_for(&mut self.turn);
        let is_anything_new = !self.turn.is_empty() || self.clients.has_leavers();
        if is_anything_new && !self.clients.is_sending() {
            self.clients.begin_sending(&mut self.turn);
            if !self.clients.shared_text().is_empty() {
                service.said(self.clients.shared_text());
            }
        }
        self.clients.send_slice();
        self.clients.flush_slice();
    }

    fn reap(&mut self, service: &mut impl Service) {
        if self.clients.is_sending() {
            return;
        }
        // What is said from here on belongs to the next turn.
        let removed = self.clients.reap(service, &mut self.turn);
        if removed > 0 && self.acceptor.paused_until.is_some() {
            self.acceptor.resume();
        }
    }

    fn begin_shutdown(&mut self, now: Instant) {
        self.acceptor = Acceptor::default();
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

impl Acceptor {
    fn resume(&mut self) {
        self.paused_until = None;
        self.ready = true;
    }

    /// Stops accepting for a while: newcomers wait in the kernel's backlog, and no
    /// edge will tell of them.
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
        warn!("newcomers have to wait until somebody leaves: {error}{remedy}");
    }
}

#[cfg(test)]
mod tests;
