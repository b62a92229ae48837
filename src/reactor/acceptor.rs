//! When newcomers are accepted, and when they have to wait in the kernel's backlog.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use log::warn;

#[cfg(feature = "tls")]
use crate::protocol::tls::Session;

/// Connections accepted in one iteration, so that a rush of newcomers does not silence
/// the room.
pub const ACCEPT_BUDGET: usize = 256;

/// The same while a crowd waits to be read: what bounds newcomers is the work that they
/// make in an iteration, and not a rate, so that nobody can keep others out for long.
pub const CROWD_ACCEPT_BUDGET: usize = 64;

/// How long accepting pauses when the machine is short of descriptors or memory.
/// It resumes earlier if a connection goes.
pub const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The least time between two warnings that accepting pauses.
const ACCEPT_WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The result of trying to accept a connection.
#[derive(Debug)]
pub enum Accepted<S> {
    /// A connection, and where from. IPv4 peers of an IPv6 socket are given by
    /// their IPv4 address.
    Client(S, IpAddr),
    /// The same, whose TLS handshake is over.
    #[cfg(feature = "tls")]
    Secured(S, Box<Session>, IpAddr),
    /// Nobody is waiting.
    Nobody,
    /// This one came to nothing; there may be others.
    Skip,
    /// The machine is short of something. Those who wait must wait on.
    Exhausted {
        /// Of what, in the system's words.
        error: io::Error,
        /// It is this process that has all the descriptors it may have.
        is_of_descriptors: bool,
    },
}

/// What is known of the listener's readiness.
#[derive(Debug, Default)]
pub(super) struct Acceptor {
    /// Somebody may be waiting. Invariant: never while accepting pauses, nor once it has
    /// ended.
    is_ready: bool,
    has_ended: bool,
    /// Until when accepting pauses.
    paused_until: Option<Instant>,
    warned_at: Option<Instant>,
}

impl Acceptor {
    /// Somebody waits to be accepted.
    pub(super) fn mark(&mut self) {
        // While accepting pauses it would only fail again.
        self.is_ready = self.paused_until.is_none() && !self.has_ended;
    }

    /// Until when accepting pauses, if it does.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Whether somebody may be waiting, and be accepted.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Nobody waits any more.
    pub(super) fn drained(&mut self) {
        self.is_ready = false;
    }

    /// A pause is over, if there was one, because its time is or because somebody went.
    pub(super) fn resume(&mut self) {
        if self.paused_until.take().is_some() {
            self.is_ready = true;
        }
    }

    /// Nobody is accepted any more.
    pub(super) fn end(&mut self) {
        *self = Self {
            has_ended: true,
            ..Self::default()
        };
    }

    /// Stops accepting for a while: newcomers wait in the kernel's backlog, and no
    /// edge will tell of them.
    pub(super) fn pause(&mut self, error: &io::Error, is_of_descriptors: bool, now: Instant) {
        self.is_ready = false;
        self.paused_until = Some(now + ACCEPT_PAUSE);
        if self
            .warned_at
            .is_some_and(|at| now < at + ACCEPT_WARNING_INTERVAL)
        {
            return;
        }
        self.warned_at = Some(now);
        let remedy = if is_of_descriptors {
            "; raise the limit (ulimit -n) or lower --max-clients"
        } else {
            ""
        };
        warn!("newcomers have to wait until somebody leaves: {error}{remedy}");
    }
}
