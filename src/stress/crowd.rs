//! Many connections to one server, from one thread and one poll.
//!
//! The crowd connects, comes in as its [`Protocol`] says, reads, and writes what it is
//! given. What to say, and whether what comes back is right, is for the `Round`.
//!
//! An iteration works like one of the server's loop: the poll only marks ready clients,
//! these are served within their budgets, and lost ones are removed last.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{bind, connect, sockopt};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::register_conditional_default;
use signal_hook_mio::v1_0::Signals;
use slab::Slab;

use super::client::{Client, Departure, News, Served};
use super::load::Load;
use super::protocol::Protocol;
use super::round::{Outcome, Progress, Round};
use crate::client::connect::Socket;
#[cfg(feature = "tls")]
use crate::client::known_rooms::Guard;
use crate::platform::socket::tcp_socket;

/// How long the server may let nobody in before the remaining connections are given up.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// The most that a server may add to a line.
const MAX_PREFIX_BYTES: usize = 512;

/// The same where it sends JSON, which has lists of people, too.
const MAX_JSON_BYTES: usize = 32 * 1024;

const EVENTS_CAPACITY: usize = 1024;

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Connections from one source address: well below the number of ephemeral ports (some
/// 28,000, ip(7): `ip_local_port_range`), some of which others use.
const CONNECTIONS_PER_ADDRESS: usize = 10_000;

/// Tokens of clients are their slab keys, counted from 0.
const SIGNALS: Token = Token(usize::MAX);

/// The connections and their poll.
pub struct Crowd {
    poll: Poll,
    events: Events,
    server: SocketAddr,
    /// Where connections come from, in turn. Empty: the kernel decides, but for a server on the
    /// loopback.
    sources: Vec<SocketAddr>,
    protocol: Protocol,
    /// `None` on plain connections.
    #[cfg(feature = "tls")]
    guard: Option<Guard>,
    /// How many clients talk: the first that connect.
    talkers: usize,
    max_line_bytes: usize,
    clients: Slab<Client>,
    /// Keys of the clients to serve. Invariant: those with `is_listed`, each once.
    ready: Vec<usize>,
    /// Connections begun, whatever their result.
    begun: usize,
    /// How many clients are not in yet. Invariant: 0 outside [`Crowd::grow_to`].
    pending: usize,
    arrivals: Arrivals,
    departures: Departures,
    signals: Option<Signals>,
    interrupts: usize,
    /// Whether another one ends the process.
    interrupts_kill: Arc<AtomicBool>,
    read_buffer: Box<[u8]>,
}

/// The results of the connections asked for.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// How many there should be, those of earlier steps included.
    pub(crate) wanted: usize,
    /// How many were asked for.
    pub asked: usize,
    /// Connected and let in.
    pub made: usize,
    /// Connected, and refused with words.
    pub refused: usize,
    /// The server's last words of refusal.
    pub(crate) refusal: Option<String>,
    /// Not connected, or not let in without words.
    pub failed: usize,
    /// Why, of the last that failed.
    pub(crate) failure: Option<io::Error>,
    pub(crate) last_made_at: Option<Instant>,
}

/// Connections that ended after the client was let in.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    pub(crate) dropped: usize,
    /// What the server last said to one of them.
    pub(crate) last_words: Option<String>,
}

/// Watches the progress of a step.
pub trait Observer {
    /// This many clients are in.
    fn connected(&mut self, count: usize);

    /// The round has come this far.
    fn talked(&mut self, progress: Progress);
}

/// Watches nothing.
impl Observer for () {
    fn connected(&mut self, _count: usize) {}
    fn talked(&mut self, _progress: Progress) {}
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowd")
            .field("server", &self.server)
            .field("clients", &self.len())
            .finish_non_exhaustive()
    }
}

impl Crowd {
    /// An empty crowd for `server`. The first `talkers` clients will talk, in lines of
    /// `size_bytes`.
    ///
    /// # Errors
    ///
    /// When the poll cannot be made.
    pub fn new(
        server: SocketAddr,
        protocol: Protocol,
        talkers: usize,
        size_bytes: usize,
    ) -> io::Result<Self> {
        let added_bytes = if protocol.reader.reads_json {
            MAX_JSON_BYTES + size_bytes
        } else {
            MAX_PREFIX_BYTES
        };
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_CAPACITY),
            server,
            sources: Vec::new(),
            protocol,
            #[cfg(feature = "tls")]
            guard: None,
            talkers,
            max_line_bytes: size_bytes + added_bytes,
            clients: Slab::new(),
            ready: Vec::new(),
            begun: 0,
            pending: 0,
            arrivals: Arrivals::default(),
            departures: Departures::default(),
            signals: None,
            interrupts: 0,
            interrupts_kill: Arc::default(),
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
        })
    }

    /// Has connections come from these addresses in turn, which must be this machine's own and
    /// of the server's family. Their port is 0.
    pub(crate) fn come_from(&mut self, sources: Vec<SocketAddr>) {
        self.sources = sources;
    }

    /// Has clients speak TLS, to a room that `guard` knows.
    #[cfg(feature = "tls")]
    pub(crate) fn secure(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    /// Catches SIGINT and SIGTERM. The first ends connecting and talking, the second the
    /// wait for outstanding lines, a third the process.
    ///
    /// # Errors
    ///
    /// When the signals cannot be caught.
    pub(crate) fn catch_interrupts(&mut self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            register_conditional_default(signal, Arc::clone(&self.interrupts_kill))?;
        }
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        self.poll
            .registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(())
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupts > 0
    }

    /// How many clients are in.
    fn len(&self) -> usize {
        self.clients.len() - self.pending
    }

    /// Begins connections up to `count` in all, and waits until each is let in, refused
    /// or failed. Gives up when none of that happens for [`GREETING_TIMEOUT`], and at an
    /// interrupt.
    ///
    /// # Errors
    ///
    /// When the poll fails. A failed connection is counted, and no error.
    pub(crate) fn grow_to(
        &mut self,
        count: usize,
        observer: &mut impl Observer,
    ) -> io::Result<Arrivals> {
        self.arrivals.wanted = count;
        self.arrivals.asked = count.saturating_sub(self.begun);
        let mut pending_at = Instant::now();
        let mut settled_before = 0;
        while (self.begun < count || self.pending > 0) && !self.is_interrupted() {
            while self.begun < count && self.pending < self.protocol.connect_window {
                self.begin();
            }
            if self.pending > 0 {
                let patience = GREETING_TIMEOUT.saturating_sub(pending_at.elapsed());
                self.iterate(patience, |_, _| {})?;
            }
            observer.connected(self.len());
            let settled = self.arrivals.made + self.arrivals.refused + self.arrivals.failed;
            if settled != settled_before {
                settled_before = settled;
                pending_at = Instant::now();
            } else if pending_at.elapsed() >= GREETING_TIMEOUT {
                break;
            }
        }
        self.give_up_pending();
        self.begun = self.begun.max(count);
        Ok(std::mem::take(&mut self.arrivals))
    }

    fn begin(&mut self) {
        let nth = self.begun;
        self.begun += 1;
        let entry = self.clients.vacant_entry();
        let source = match self.sources[..] {
            [] => source_address(self.server.ip(), process::id(), nth)
                .map(|source| SocketAddr::new(source, 0)),
            [..] => Some(self.sources[nth % self.sources.len()]),
        };
        let registered = start_connecting(self.server, source).and_then(|mut stream| {
            self.poll.registry().register(
                &mut stream,
                Token(entry.key()),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            #[cfg(feature = "tls")]
            if let Some(guard) = &self.guard {
                return Socket::secured(stream, guard).map_err(io::Error::other);
            }
            Ok(Socket::from(stream))
        });
        match registered {
            Ok(socket) => {
                let is_talker = nth < self.talkers;
                entry.insert(Client::new(socket, is_talker, self.max_line_bytes));
                self.pending += 1;
            }
            Err(e) => self.arrivals.count(Departure::Lost(e)),
        }
    }

    /// Drops the clients that are not in yet. Unless the user interrupted, they have
    /// failed, and so have the connections not yet begun.
    fn give_up_pending(&mut self) {
        let mut given_up = Vec::new();
        #[cfg(feature = "tls")]
        let is_secured = self.guard.is_some();
        #[cfg(not(feature = "tls"))]
        let is_secured = false;
        self.clients.retain(|_, client| {
            if !client.is_in() {
                given_up.push(client.why_not_in(GREETING_TIMEOUT, is_secured));
            }
            client.is_in()
        });
        self.pending = 0;
        if let (Some(reason), false) = (given_up.pop(), self.is_interrupted()) {
            let settled = self.arrivals.made + self.arrivals.refused;
            self.arrivals.failed = self.arrivals.asked - settled;
            self.arrivals.failure = Some(if self.len() > 0 {
                let words = format!("{reason}; is the server out of open files?");
                io::Error::new(reason.kind(), words)
            } else {
                reason
            });
        }
    }

    /// Runs a round of `load`. Ends when all lines are delivered, when the server stalls,
    /// and after a second interrupt.
    ///
    /// # Errors
    ///
    /// When the poll fails. Lost lines and connections are counted, and no error.
    pub(crate) fn talk(
        &mut self,
        load: &Load,
        observer: &mut impl Observer,
    ) -> io::Result<Outcome> {
        let Numbered { reads, talkers } = self.assign_numbers();
        let protocol = self.protocol.clone();
        let mut round = Round::new(load, &protocol, reads, talkers.len());
        let mut batch = Vec::new();
        let began = Instant::now();
        let nanos = |moment: Instant| {
            let since = moment.saturating_duration_since(began).as_nanos();
            u64::try_from(since).expect("below 584 years")
        };
        loop {
            if self.is_interrupted() {
                round.hush();
            }
            let now = nanos(Instant::now());
            while let Some(talker) = round.next_batch(now, &mut batch) {
                let key = talkers[talker];
                if let Some(client) = self.clients.get_mut(key) {
                    client.say(&batch);
                    list(&mut self.ready, key, client);
                }
            }
            let timeout = round.timeout(now);
            self.iterate(timeout, |client, news| match news {
                News::Line(line, at) => round.heard(client, line, nanos(at)),
                News::Notice => round.heard_notice(),
                News::TooLong(beginning) => round.heard_other(beginning),
                News::Taken(at) => round.taken(client, nanos(at)),
                News::Gone(at) => round.gone(client, nanos(at)),
            })?;
            observer.talked(round.progress(now));
            // Judged by the time before the iteration: had this process been stopped, the
            // input that came meanwhile has been read by now.
            if round.is_over(now) || self.interrupts > 1 {
                self.let_interrupts_kill();
                return Ok(round.into_outcome(now));
            }
        }
    }

    /// After an interrupt, the next one ends the process.
    fn let_interrupts_kill(&self) {
        self.interrupts_kill
            .store(self.is_interrupted(), Ordering::Relaxed);
    }

    /// Numbers the clients that are in, talkers first.
    fn assign_numbers(&mut self) -> Numbered {
        let mut keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        keys.sort_by_key(|&key| !self.clients[key].is_talker);
        let mut reads = Vec::with_capacity(keys.len());
        for (number, &key) in keys.iter().enumerate() {
            let client = &mut self.clients[key];
            client.number = Some(number);
            reads.push(self.protocol.reads(client.is_talker));
        }
        keys.retain(|&key| self.clients[key].is_talker);
        Numbered {
            reads,
            talkers: keys,
        }
    }

    /// Waits for events for at most `timeout`, and handles them. News of clients with a
    /// number go to `tell`.
    fn iterate(
        &mut self,
        timeout: Duration,
        mut tell: impl FnMut(usize, News<'_>),
    ) -> io::Result<()> {
        self.mark(timeout)?;
        let mut gone = Vec::new();
        for key in std::mem::take(&mut self.ready) {
            let Some(client) = self.clients.get_mut(key) else {
                continue;
            };
            client.is_listed = false;
            let was_in = client.is_in();
            let number = client.number;
            let mut tell = |news: News<'_>| {
                if let Some(number) = number {
                    tell(number, news);
                }
            };
            let handshake = self.protocol.handshake(client.is_talker);
            let served = client.serve(
                handshake,
                #[cfg(feature = "tls")]
                self.guard.as_mut(),
                &mut self.read_buffer,
                &mut tell,
            );
            if client.is_in() && !was_in {
                self.pending -= 1;
                self.arrivals.made += 1;
                self.arrivals.last_made_at = Some(Instant::now());
            }
            match served {
                Ok(Served::Blocked) => {}
                Ok(Served::BudgetSpent) => list(&mut self.ready, key, client),
                Err(departure) => {
                    if client.is_in() {
                        tell(News::Gone(Instant::now()));
                        self.departures.count(client.last_words());
                    } else {
                        self.pending -= 1;
                        self.arrivals.count(departure);
                    }
                    gone.push(key);
                }
            }
        }
        for key in gone {
            self.clients.remove(key);
        }
        Ok(())
    }

    /// Polls, and lists the clients that are ready. No I/O.
    fn mark(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = if self.ready.is_empty() {
            sleep_time(timeout)
        } else {
            Duration::ZERO
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            // The signal comes as an event as well.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let Token(key) = event.token();
            if event.token() == SIGNALS {
                let pending = self.signals.iter_mut().flat_map(Signals::pending);
                // Signals that come together count as one.
                self.interrupts += usize::from(pending.count() > 0);
            } else if let Some(client) = self.clients.get_mut(key) {
                if event.is_writable() {
                    client.mark_writable();
                }
                list(&mut self.ready, key, client);
            }
        }
        Ok(())
    }

    /// The departures since the last call.
    pub(crate) fn take_departures(&mut self) -> Departures {
        std::mem::take(&mut self.departures)
    }
}

/// How long to sleep in order to be back after `wait`. The poll counts in milliseconds
/// and rounds up, and the kernel may oversleep by a thousandth (epoll_wait(2), timer
/// slack). A line would be said late by as much as its delivery takes. So the loop polls
/// without sleeping at the end of a wait.
fn sleep_time(wait: Duration) -> Duration {
    let millis = (wait - wait / 200).as_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// Lists a client to serve.
fn list(ready: &mut Vec<usize>, key: usize, client: &mut Client) {
    if !std::mem::replace(&mut client.is_listed, true) {
        ready.push(key);
    }
}

/// The clients of a round, by their numbers.
struct Numbered {
    /// Whether each client reads.
    reads: Vec<bool>,
    /// The key of each talker.
    talkers: Vec<usize>,
}

impl Arrivals {
    fn count(&mut self, departure: Departure) {
        match departure {
            Departure::Refused(words) => {
                self.refused += 1;
                self.refusal = Some(words);
            }
            Departure::Lost(error) => {
                self.failed += 1;
                self.failure = Some(error);
            }
        }
    }
}

impl Departures {
    fn count(&mut self, last_words: Option<String>) {
        self.dropped += 1;
        self.last_words = last_words.or(self.last_words.take());
    }
}

/// Begins a connection to `server` from `source`. `None` leaves that to the kernel.
fn start_connecting(server: SocketAddr, source: Option<SocketAddr>) -> io::Result<TcpStream> {
    let socket = tcp_socket(server)?;
    // Close with a reset: ports left in TIME_WAIT would be missing in the next test.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    let connected = match source {
        Some(source) => bind(&socket, &source).and_then(|()| connect(&socket, &server)),
        None => connect(&socket, &server),
    };
    match connected {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from_std(socket.into())),
        // bind(2) and ip(7): ephemeral ports are used up, with a source and without.
        Err(e @ (Errno::ADDRINUSE | Errno::ADDRNOTAVAIL)) => {
            let words = "this machine has no port left for it; --source adds an address";
            Err(io::Error::new(io::Error::from(e).kind(), words))
        }
        Err(e) => Err(e.into()),
    }
}

/// The source address for the `nth` connection to `server`; `None` leaves it to the
/// kernel. A server on the loopback can be reached from 16 million addresses, so more
/// connections can be made to it than one address has ports. Processes with different
/// numbers mostly use different addresses and can run side by side.
fn source_address(server: IpAddr, process: u32, nth: usize) -> Option<IpAddr> {
    let IpAddr::V4(server) = server else {
        return None;
    };
    if !server.is_loopback() {
        return None;
    }
    let block = u8::try_from(nth / CONNECTIONS_PER_ADDRESS % 256).expect("below 256");
    let [.., high, low] = process.to_be_bytes();
    // 127.0 is left to others, and no part is 0 or 255.
    let address = Ipv4Addr::new(127, 1 + high % 254, 1 + low % 254, 1 + block % 254);
    Some(IpAddr::V4(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(server: &str, process: u32, nth: usize) -> Option<String> {
        let server = server.parse().unwrap();
        source_address(server, process, nth).map(|address| address.to_string())
    }

    #[test]
    fn loopback_connections_come_from_many_addresses() {
        let first = source("127.0.0.1", 0x0203, 0).unwrap();
        assert_eq!(first, "127.3.4.1");
        assert_eq!(source("127.0.0.1", 0x0203, 9_999).unwrap(), first);
        assert_eq!(source("127.0.0.1", 0x0203, 10_000).unwrap(), "127.3.4.2");
        assert_ne!(source("127.0.0.1", 0x0204, 0).unwrap(), first);
    }

    #[test]
    fn others_are_left_to_the_kernel() {
        assert_eq!(source("192.168.1.5", 1, 0), None);
        assert_eq!(source("::1", 1, 0), None);
    }

    #[test]
    fn the_end_of_a_wait_is_not_slept() {
        let sleep_millis = |micros| sleep_time(Duration::from_micros(micros)).as_millis();
        assert_eq!(sleep_millis(0), 0);
        assert_eq!(sleep_millis(999), 0);
        assert_eq!(sleep_millis(2_500), 2);
        assert_eq!(sleep_millis(10_000_000), 9_950);
    }
}
