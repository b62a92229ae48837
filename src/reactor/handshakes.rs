//! Newcomers to the port of TLS, until their handshakes are over. Then they are clients like any
//! other, and are greeted at once.
//!
//! Nobody in the room waits for them, or pays for them: their number is bounded, so is the time
//! that each has, and in an iteration only some of them are computed for. They have a slab of
//! their own, and are registered again, once, by the key that they get as clients: the kernel
//! then reports anew what is ready.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ServerConfig;
use slab::Slab;

use super::acceptor::{Accepted, Acceptor};
use super::listener::Listener;
use super::service::{FIRST_HANDSHAKE, TLS_LISTENER};
use crate::protocol::tls::Session;

/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many there may be at a time.
pub const MAX_HANDSHAKES: usize = 256;

/// How many are computed for in one iteration: two milliseconds' worth, on a small machine ten.
const HANDSHAKE_BUDGET: usize = 16;

/// How many connections are accepted in one iteration.
const ACCEPT_BUDGET: usize = 64;

/// The listener for TLS, and those who are not clients yet.
#[derive(Debug)]
pub(super) struct Handshakes {
    listener: Listener,
    acceptor: Acceptor,
    config: Arc<ServerConfig>,
    /// How many there may be.
    most: usize,
    slab: Slab<Handshake>,
    next_serial: u64,
    /// When each has to be over, the oldest first. Some of them are.
    deadlines: VecDeque<(Instant, Id)>,
    /// May go on.
    ready: VecDeque<Id>,
    /// Are over.
    finished: VecDeque<Id>,
}

/// A key in the slab, which is used again, and a serial number, which is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    key: usize,
    serial: u64,
}

#[derive(Debug)]
struct Handshake {
    serial: u64,
    stream: TcpStream,
    session: Box<Session>,
    address: IpAddr,
    is_listed: bool,
}

impl Handshakes {
    /// With whoever connects to `listener`, `most` at a time.
    ///
    /// # Errors
    ///
    /// When the listener cannot be registered.
    pub(super) fn new(
        mut listener: Listener,
        config: Arc<ServerConfig>,
        most: usize,
        registry: &Registry,
    ) -> io::Result<Self> {
        registry.register(listener.source_mut(), TLS_LISTENER, Interest::READABLE)?;
        Ok(Self {
            listener,
            acceptor: Acceptor::default(),
            config,
            most: most.max(1),
            slab: Slab::new(),
            next_serial: 0,
            deadlines: VecDeque::new(),
            ready: VecDeque::new(),
            finished: VecDeque::new(),
        })
    }

    /// Mark: somebody waits to be accepted.
    pub(super) fn mark_listener(&mut self) {
        self.acceptor.mark();
    }

    /// Mark: the one with this key is said to be ready.
    pub(super) fn mark(&mut self, key: usize) {
        if let Some(handshake) = self.slab.get_mut(key)
            && !std::mem::replace(&mut handshake.is_listed, true)
        {
            let serial = handshake.serial;
            self.ready.push_back(Id { key, serial });
        }
    }

    /// Whether there is something to do though no event may come.
    pub(super) fn has_work(&self) -> bool {
        self.acceptor.is_ready() || !self.ready.is_empty()
    }

    /// When there is something to do though nothing may happen.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let timeout = self.deadlines.front().map(|(at, _)| *at);
        let deadlines = [self.acceptor.paused_until(), timeout];
        deadlines.into_iter().flatten().min()
    }

    /// Accepts newcomers, and goes on with those that are ready. `is_full` tells whether an
    /// address has as many connections as it may have, with so many that are here.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        registry: &Registry,
        is_full: impl Fn(IpAddr, usize) -> bool,
    ) {
        while let Some(&(at, id)) = self.deadlines.front()
            && at <= now
        {
            self.deadlines.pop_front();
            if let Some(handshake) = self.remove(id) {
                debug!("{}: no TLS handshake in time", handshake.address);
            }
        }
        if self.acceptor.paused_until().is_some_and(|at| at <= now) {
            self.acceptor.resume();
        }
        for _ in 0..ACCEPT_BUDGET {
            if !self.acceptor.is_ready() {
                break;
            }
            match self.listener.accept() {
                Accepted::Client(stream, address) => {
                    let already = self.slab.iter().filter(|(_, it)| it.address == address);
                    if !is_full(address, already.count()) {
                        self.begin(stream, address, now, registry);
                    }
                }
                Accepted::Secured(..) | Accepted::Skip => {}
                Accepted::Nobody => self.acceptor.drained(),
                Accepted::Exhausted {
                    error,
                    is_of_descriptors,
                } => self.acceptor.pause(&error, is_of_descriptors, now),
            }
        }
        for _ in 0..HANDSHAKE_BUDGET {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            self.go_on(id);
        }
    }

    /// Whether there is a [next](Self::next_finished) one.
    pub(super) fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Hands over one whose handshake is over, registered as the client with the key `key`.
    pub(super) fn next_finished(
        &mut self,
        registry: &Registry,
        key: usize,
    ) -> Option<Accepted<TcpStream>> {
        while let Some(id) = self.finished.pop_front() {
            let Some(mut handshake) = self.remove(id) else {
                continue;
            };
            let interest = Interest::READABLE | Interest::WRITABLE;
            match registry.reregister(&mut handshake.stream, Token(key), interest) {
                Ok(()) => {
                    let Handshake {
                        stream,
                        session,
                        address,
                        ..
                    } = handshake;
                    return Some(Accepted::Secured(stream, session, address));
                }
                Err(e) => warn!("{} could not be let in: {e}", handshake.address),
            }
        }
        None
    }

    fn begin(&mut self, mut stream: TcpStream, address: IpAddr, now: Instant, registry: &Registry) {
        if self.slab.len() >= self.most
            && let Some(oldest) = self.oldest_of_the_most()
        {
            self.remove(oldest);
        }
        let session = match Session::server(&self.config) {
            Ok(session) => Box::new(session),
            Err(e) => return warn!("cannot begin a TLS handshake: {e}"),
        };
        let token = Token(FIRST_HANDSHAKE + self.slab.vacant_key());
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = registry.register(&mut stream, token, interest) {
            return warn!("cannot wait for a TLS handshake: {e}");
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        let key = self.slab.insert(Handshake {
            serial,
            stream,
            session,
            address,
            is_listed: false,
        });
        let id = Id { key, serial };
        self.deadlines.push_back((now + HANDSHAKE_TIMEOUT, id));
        if self.deadlines.len() > 2 * self.most {
            let slab = &self.slab;
            self.deadlines.retain(|(_, id)| is_there(slab, *id));
        }
    }

    /// There are too many: of the address that has most of them, the one that had most time. So
    /// nobody who has few is kept out.
    fn oldest_of_the_most(&self) -> Option<Id> {
        let mut by_address: HashMap<IpAddr, (usize, Id)> = HashMap::new();
        for (
            key,
            Handshake {
                serial, address, ..
            },
        ) in &self.slab
        {
            let id = Id {
                key,
                serial: *serial,
            };
            let (count, oldest) = by_address.entry(*address).or_insert((0, id));
            *count += 1;
            if oldest.serial > id.serial {
                *oldest = id;
            }
        }
        let most = by_address.into_values().max_by_key(|(count, _)| *count);
        most.map(|(_, oldest)| oldest)
    }

    fn go_on(&mut self, id: Id) {
        if !is_there(&self.slab, id) {
            return;
        }
        let handshake = &mut self.slab[id.key];
        handshake.is_listed = false;
        match handshake.session.shake_hands(&mut handshake.stream) {
            Ok(true) => {
                // It is not to be marked any more.
                handshake.is_listed = true;
                self.finished.push_back(id);
            }
            Ok(false) => {}
            Err(e) => {
                debug!("{}: no TLS handshake: {e}", handshake.address);
                self.remove(id);
            }
        }
    }

    /// Removes one, and so closes it unless it is used.
    fn remove(&mut self, id: Id) -> Option<Handshake> {
        let removed = is_there(&self.slab, id).then(|| self.slab.remove(id.key));
        // Nothing is to be woken up for.
        while let Some((_, id)) = self.deadlines.front()
            && !is_there(&self.slab, *id)
        {
            self.deadlines.pop_front();
        }
        removed
    }
}

fn is_there(slab: &Slab<Handshake>, id: Id) -> bool {
    slab.get(id.key).is_some_and(|it| it.serial == id.serial)
}
