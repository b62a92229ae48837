//! Newcomers to the port of TLS, until their handshakes are over. Then they are clients like any
//! other, and are greeted at once.
//!
//! Nobody in the room waits for them, or pays for them: their number is bounded, so is the time
//! that each has, and in an iteration only some of them are computed for. They have a slab of
//! their own, and are registered again, once, by the key that they get as clients: the kernel
//! then reports anew what is ready.

use std::collections::VecDeque;
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
use crate::platform::addresses::largest_crowds;
use crate::platform::socket::retry_interrupted;
use crate::protocol::tls::{FIRST_BYTE, Session};

/// How long a handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many there may be at a time.
pub const MAX_HANDSHAKES: usize = 256;

/// How many are computed for in one iteration, of those that are to be answered, and of those that
/// were: three milliseconds' worth, on a small machine some fifteen.
const HANDSHAKE_BUDGET: usize = 16;

/// How many connections are accepted in one iteration.
const ACCEPT_BUDGET: usize = 64;

/// Where TLS is spoken.
#[derive(Debug)]
pub struct Doors {
    /// Where lines are, and nothing else.
    pub lines: Option<(Listener, Arc<ServerConfig>)>,
    /// The web port: HTTP, or lines, with TLS or without.
    pub web: Option<(Listener, Arc<ServerConfig>)>,
}

#[derive(Debug)]
struct Door {
    listener: Listener,
    acceptor: Acceptor,
    config: Arc<ServerConfig>,
}

/// What newcomers come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Lines = 0,
    Web = 1,
}

/// The listeners for TLS, and those who are not clients yet.
#[derive(Debug)]
pub(super) struct Handshakes {
    /// By [`Way`].
    doors: [Option<Door>; 2],
    /// How many there may be.
    most: usize,
    slab: Slab<Handshake>,
    next_serial: u64,
    /// When each has to be over, the oldest first. Some of them are.
    deadlines: VecDeque<(Instant, Id)>,
    /// May go on: those that are to be answered, and those that were.
    ready: [VecDeque<Id>; 2],
    /// Are over. By [`Way`]: clients, and visitors.
    finished: [VecDeque<Id>; 2],
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
    way: Way,
    /// `None` until it has said something, at the web port: it may do without.
    session: Option<Box<Session>>,
    address: IpAddr,
    is_listed: bool,
}

impl Handshakes {
    /// With whoever comes in by these `doors`, `most` at a time.
    ///
    /// # Errors
    ///
    /// When a listener cannot be registered.
    pub(super) fn new(doors: Doors, most: usize, registry: &Registry) -> io::Result<Self> {
        let mut opened = [None, None];
        for (way, door) in [doors.lines, doors.web].into_iter().enumerate() {
            if let Some((mut listener, config)) = door {
                let token = Token(TLS_LISTENER.0 - way);
                registry.register(listener.source_mut(), token, Interest::READABLE)?;
                opened[way] = Some(Door {
                    listener,
                    acceptor: Acceptor::default(),
                    config,
                });
            }
        }
        Ok(Self {
            doors: opened,
            most: most.max(1),
            slab: Slab::new(),
            next_serial: 0,
            deadlines: VecDeque::new(),
            ready: Default::default(),
            finished: Default::default(),
        })
    }

    /// Mark: somebody waits to be accepted, or, by what `token` says else, one may go on.
    pub(super) fn mark(&mut self, token: Token) {
        match TLS_LISTENER.0.checked_sub(token.0) {
            Some(way @ 0..2) => {
                if let Some(door) = &mut self.doors[way] {
                    door.acceptor.mark();
                }
            }
            _ => self.mark_ready(token.0 - FIRST_HANDSHAKE),
        }
    }

    fn mark_ready(&mut self, key: usize) {
        if let Some(handshake) = self.slab.get_mut(key)
            && !std::mem::replace(&mut handshake.is_listed, true)
        {
            let serial = handshake.serial;
            let is_answered = handshake.session.is_some();
            self.ready[usize::from(is_answered)].push_back(Id { key, serial });
        }
    }

    /// Whether there is something to do though no event may come.
    pub(super) fn has_work(&self) -> bool {
        let mut doors = self.doors.iter().flatten();
        doors.any(|door| door.acceptor.is_ready()) || self.ready.iter().any(|it| !it.is_empty())
    }

    /// When there is something to do though nothing may happen.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let timeout = self.deadlines.front().map(|(at, _)| *at);
        let doors = self.doors.iter().flatten();
        let pauses = doors.filter_map(|door| door.acceptor.paused_until());
        pauses.chain(timeout).min()
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
        for way in [Way::Lines, Way::Web] {
            self.accept(way, now, registry, &is_full);
        }
        for nth in [1, 0] {
            for _ in 0..HANDSHAKE_BUDGET {
                let Some(id) = self.ready[nth].pop_front() else {
                    break;
                };
                self.go_on(id);
            }
        }
    }

    fn accept(
        &mut self,
        way: Way,
        now: Instant,
        registry: &Registry,
        is_full: &impl Fn(IpAddr, usize) -> bool,
    ) {
        for _ in 0..ACCEPT_BUDGET {
            let Some(door) = &mut self.doors[way as usize] else {
                return;
            };
            let acceptor = &mut door.acceptor;
            if acceptor.paused_until().is_some_and(|at| at <= now) {
                acceptor.resume();
            }
            if !acceptor.is_ready() {
                return;
            }
            match door.listener.accept() {
                Accepted::Client(stream, address) => {
                    let already = self.slab.iter().filter(|(_, it)| it.address == address);
                    if !is_full(address, already.count()) {
                        self.begin(stream, address, way, now, registry);
                    }
                }
                Accepted::Secured(..) | Accepted::Skip => {}
                Accepted::Nobody => acceptor.drained(),
                Accepted::Exhausted {
                    error,
                    is_of_descriptors,
                } => acceptor.pause(&error, is_of_descriptors, now),
            }
        }
    }

    /// Whether there are a [next client](Self::next_client), and a
    /// [next visitor](Self::next_visitor).
    pub(super) fn has_finished(&self) -> [bool; 2] {
        [0, 1].map(|way| !self.finished[way].is_empty())
    }

    /// Hands over one whose handshake is over, registered as the client with the key `key`.
    pub(super) fn next_client(
        &mut self,
        registry: &Registry,
        key: usize,
    ) -> Option<Accepted<TcpStream>> {
        self.next_finished(Way::Lines, registry, key)
    }

    /// The same for one who speaks first, over TLS or not.
    pub(super) fn next_visitor(
        &mut self,
        registry: &Registry,
        key: usize,
    ) -> Option<Accepted<TcpStream>> {
        self.next_finished(Way::Web, registry, key)
    }

    fn next_finished(
        &mut self,
        way: Way,
        registry: &Registry,
        key: usize,
    ) -> Option<Accepted<TcpStream>> {
        while let Some(id) = self.finished[way as usize].pop_front() {
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
                    return Some(match session {
                        Some(session) => Accepted::Secured(stream, session, address),
                        None => Accepted::Client(stream, address),
                    });
                }
                Err(e) => warn!("{} could not be let in: {e}", handshake.address),
            }
        }
        None
    }

    fn begin(
        &mut self,
        mut stream: TcpStream,
        address: IpAddr,
        way: Way,
        now: Instant,
        registry: &Registry,
    ) {
        if self.slab.len() >= self.most
            && let Some(surplus) = self.surplus()
        {
            self.remove(surplus);
        }
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
            way,
            session: None,
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

    /// There are too many: which one goes.
    fn surplus(&self) -> Option<Id> {
        let all: Vec<Standing> = self.slab.iter().map(Standing::of).collect();
        surplus(&all, self.most).map(|standing| standing.id)
    }

    fn go_on(&mut self, id: Id) {
        if !is_there(&self.slab, id) {
            return;
        }
        let handshake = &mut self.slab[id.key];
        handshake.is_listed = false;
        let config = self.doors[handshake.way as usize].as_ref();
        let config = &config.expect("it came in there").config;
        match handshake.go_on(config) {
            Ok(Some(way)) => {
                // It is not to be marked any more.
                handshake.is_listed = true;
                self.finished[way as usize].push_back(id);
            }
            Ok(None) => {}
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

impl Handshake {
    /// Goes on, and says what it has come for once that is known.
    fn go_on(&mut self, config: &Arc<ServerConfig>) -> io::Result<Option<Way>> {
        let session = match &mut self.session {
            Some(session) => session,
            none => {
                if self.way == Way::Web {
                    let mut first = [0];
                    match retry_interrupted(|| self.stream.peek(&mut first)) {
                        Ok(1..) if first[0] == FIRST_BYTE => {}
                        // It has nothing to do with TLS, or nothing to say.
                        Ok(_) => return Ok(Some(Way::Web)),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                        Err(e) => return Err(e),
                    }
                }
                let session = Session::server(config).map_err(io::Error::other)?;
                none.insert(Box::new(session))
            }
        };
        if !session.shake_hands(&mut self.stream)? {
            return Ok(None);
        }
        let asks_for_lines = session.speaks_chat();
        Ok(Some(if asks_for_lines { Way::Lines } else { self.way }))
    }
}

/// How far a handshake has come.
#[derive(Clone, Copy, Debug)]
struct Standing {
    id: Id,
    address: IpAddr,
    /// It has had our answer.
    is_answered: bool,
    /// It has said something that was not looked at.
    is_listed: bool,
}

impl Standing {
    fn of((key, handshake): (usize, &Handshake)) -> Self {
        let serial = handshake.serial;
        Self {
            id: Id { key, serial },
            address: handshake.address,
            is_answered: handshake.session.is_some(),
            is_listed: handshake.is_listed,
        }
    }
}

/// Of `all`, of which there are to be `most`, the one that goes: it belongs to the
/// [largest crowd](largest_crowds).
///
/// First goes whoever says nothing, the longest first. A crowd that says something gets answers to
/// the oldest of them, as fast as these can be computed, and some time for its own: then whoever is
/// quick gets through.
fn surplus(all: &[Standing], most: usize) -> Option<Standing> {
    let crowds = largest_crowds(all.iter().map(|it| it.address));
    let unanswered = all.iter().filter(|it| it.is_listed && !it.is_answered);
    let are_many = unanswered.count() > most / 4;
    let candidates = all.iter().filter(|it| crowds.contains(&it.address));
    let surplus = candidates.min_by_key(|it| match (it.is_answered, it.is_listed) {
        (false, false) => (0, it.id.serial),
        (false, true) if are_many => (1, !it.id.serial),
        (true, false) => (2, it.id.serial),
        (false, true) => (3, !it.id.serial),
        (true, true) => (4, !it.id.serial),
    });
    surplus.copied()
}

fn is_there(slab: &Slab<Handshake>, id: Id) -> bool {
    slab.get(id.key).is_some_and(|it| it.serial == id.serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each from an address of its own.
    fn standings(all: &[(bool, bool)]) -> Vec<Standing> {
        let standing = |(nth, &(is_answered, is_listed)): (usize, &(bool, bool))| Standing {
            id: Id {
                key: nth,
                serial: nth as u64,
            },
            address: IpAddr::from([10, 0, 0, nth as u8]),
            is_answered,
            is_listed,
        };
        all.iter().enumerate().map(standing).collect()
    }

    #[test]
    fn whoever_is_quick_gets_through_a_crowd() {
        const SILENT: (bool, bool) = (false, false);
        const WAITS_FOR_US: (bool, bool) = (false, true);
        const ANSWERED: (bool, bool) = (true, false);
        const READY: (bool, bool) = (true, true);
        for (all, goes) in [
            (&[][..], None),
            (&[READY, SILENT, ANSWERED, WAITS_FOR_US, SILENT], Some(1)),
            // Few wait for an answer: they get it, and who had one goes.
            (&[WAITS_FOR_US, ANSWERED, READY, ANSWERED], Some(1)),
            // Many do: the newest of them goes, and who had one has some time.
            (&[ANSWERED, WAITS_FOR_US, WAITS_FOR_US, READY], Some(2)),
            (&[READY, WAITS_FOR_US], Some(1)),
            (&[READY, READY], Some(1)),
        ] {
            let surplus = surplus(&standings(all), 4);
            assert_eq!(surplus.map(|it| it.id.key), goes, "{all:?}");
        }
        // Whoever has few is not of the crowd.
        let mut all = standings(&[SILENT, READY, READY]);
        all[2].address = all[1].address;
        assert_eq!(surplus(&all, 4).map(|it| it.id.key), Some(2));
    }
}
