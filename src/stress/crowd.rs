//! Many connections to one server, from one thread and one poll.
//!
//! The crowd connects, comes in as its [`Protocol`] says, reads, and writes what it
//! is given. What is said, and whether what is heard is right, is not its business:
//! it hands over lines as they come.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use slab::Slab;

use super::participant::{Event, Gone, Participant};
use super::protocol::Protocol;
use super::source_address::source_address;

/// How long the server has to let anybody in before the rest is given up.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server may add to a line.
const MAX_PREFIX_BYTES: usize = 512;

const EVENTS_CAPACITY: usize = 1024;

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Tokens of clients are their slab keys, counted from 0.
const SIGNALS: Token = Token(usize::MAX);

/// The connections and their poll.
pub struct Crowd {
    poll: Poll,
    events: Events,
    server: SocketAddr,
    protocol: Protocol,
    /// The first so many connections talk.
    talkers: usize,
    max_line_bytes: u32,
    clients: Slab<Participant>,
    /// Connections begun, whatever became of them.
    begun: usize,
    /// How many of the clients are not in yet.
    pending: usize,
    arrivals: Arrivals,
    signals: Option<Signals>,
    interrupted: bool,
    read_buffer: Box<[u8]>,
}

/// What became of the connections that were asked for.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Connected and let in.
    pub made: usize,
    /// Connected, and sent away with words: the last of them.
    pub refused: usize,
    /// The last words of the server to one that it refused.
    pub refusal: Option<String>,
    /// Not connected, or not let in for no reason given.
    pub failed: usize,
    /// What the last of those failed of.
    pub failure: Option<io::Error>,
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
    /// A crowd for `server`, of nobody yet. The first `talkers` of it are to talk;
    /// what they say comes in lines of `size_bytes`.
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
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_CAPACITY),
            server,
            protocol,
            talkers,
            max_line_bytes: u32::try_from(size_bytes + MAX_PREFIX_BYTES).unwrap_or(u32::MAX),
            clients: Slab::new(),
            begun: 0,
            pending: 0,
            arrivals: Arrivals::default(),
            signals: None,
            interrupted: false,
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
        })
    }

    /// From now on SIGINT and SIGTERM do not end the process but make
    /// [`Crowd::is_interrupted`] true. A second one ends it.
    ///
    /// # Errors
    ///
    /// When the signals cannot be caught.
    pub fn catch_interrupts(&mut self) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        self.poll
            .registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Whether the user wants an end.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// How many are in.
    pub fn len(&self) -> usize {
        self.clients.len() - self.pending
    }

    /// The protocol that it speaks.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// How many connections have been begun, whatever became of them.
    pub fn begun(&self) -> usize {
        self.begun
    }

    /// Whether nobody is in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes connections until `count` have been begun in all, and waits until each
    /// is in or has come to nothing; `observe` is called again and again with the
    /// number of those in. Gives up when nobody is let in for [`GREETING_TIMEOUT`],
    /// and at an interrupt.
    ///
    /// # Errors
    ///
    /// When the poll fails. What becomes of a connection is no error but counted.
    pub fn grow_to(
        &mut self,
        count: usize,
        observe: &mut dyn FnMut(usize),
    ) -> io::Result<Arrivals> {
        let mut in_before = self.len();
        let mut progressed_at = Instant::now();
        while (self.begun < count || self.pending > 0) && !self.interrupted {
            while self.begun < count && self.pending < self.protocol.connect_window {
                self.begin();
            }
            if self.pending > 0 {
                self.turn(Some(GREETING_TIMEOUT), |_, _| {})?;
            }
            observe(self.len());
            if self.len() != in_before {
                in_before = self.len();
                progressed_at = Instant::now();
            } else if progressed_at.elapsed() >= GREETING_TIMEOUT {
                self.give_up_pending();
                self.arrivals.failed += count - self.begun;
                self.begun = count;
            }
        }
        if self.interrupted {
            self.give_up_pending();
        }
        Ok(std::mem::take(&mut self.arrivals))
    }

    fn begin(&mut self) {
        let nth = self.begun;
        self.begun += 1;
        let entry = self.clients.vacant_entry();
        let registered = start_connecting(self.server, nth).and_then(|mut stream| {
            self.poll.registry().register(
                &mut stream,
                Token(entry.key()),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            Ok(stream)
        });
        match registered {
            Ok(stream) => {
                let is_talker = nth < self.talkers;
                entry.insert(Participant::new(stream, is_talker, self.max_line_bytes));
                self.pending += 1;
            }
            Err(e) => self.arrivals.note(Gone::Lost(e)),
        }
    }

    fn give_up_pending(&mut self) {
        let before = self.clients.len();
        self.clients.retain(|_, client| client.is_in());
        let given_up = before - self.clients.len();
        self.pending = 0;
        if given_up > 0 {
            self.arrivals.failed += given_up;
            self.arrivals.failure = Some(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "connected, but not greeted within {} s as chat rooms do",
                    GREETING_TIMEOUT.as_secs()
                ),
            ));
        }
    }

    /// Numbers those who are in, the talkers first, and tells for each whether it
    /// listens; also returns the keys by which [`Crowd::send`] knows the talkers.
    pub fn number(&mut self) -> (Vec<bool>, Vec<usize>) {
        let mut keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        keys.sort_by_key(|&key| !self.clients[key].is_talker);
        let mut listening = Vec::with_capacity(keys.len());
        for (number, &key) in keys.iter().enumerate() {
            let client = &mut self.clients[key];
            client.number = number;
            listening.push(self.protocol.listens(client.is_talker));
        }
        keys.retain(|&key| self.clients[key].is_talker);
        (listening, keys)
    }

    /// Waits for events and handles them; what happens at those who are in is told
    /// to `tell`, with their number.
    ///
    /// # Errors
    ///
    /// Those of the poll.
    pub fn turn(
        &mut self,
        timeout: Option<Duration>,
        mut tell: impl FnMut(usize, Event<'_>),
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            // A signal: it has come as an event too, or will.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            if event.token() == SIGNALS {
                self.interrupted |= take_signal(&mut self.signals);
                continue;
            }
            let Token(key) = event.token();
            let Some(client) = self.clients.get_mut(key) else {
                continue;
            };
            let was_in = client.is_in();
            let number = client.number;
            let mut tell = |event: Event<'_>| tell(number, event);
            let handled = client.handle(event, &self.protocol, &mut self.read_buffer, &mut tell);
            if !was_in && client.is_in() {
                self.pending -= 1;
                self.arrivals.made += 1;
            }
            let Err(gone) = handled else {
                continue;
            };
            if client.is_in() {
                tell(Event::Gone);
            } else {
                self.pending -= 1;
                self.arrivals.note(gone);
            }
            self.clients.remove(key);
        }
        Ok(())
    }

    /// Has the client with this key say `lines`. Returns whether they are all with
    /// the kernel; if not, [`Event::Flushed`] will tell.
    pub fn send(&mut self, key: usize, lines: &[u8]) -> bool {
        match self.clients.get_mut(key) {
            Some(client) => client.send(lines),
            None => false,
        }
    }
}

fn take_signal(signals: &mut Option<Signals>) -> bool {
    let pending = signals.iter_mut().flat_map(Signals::pending).count() > 0;
    if pending {
        // The next one ends the process.
        *signals = None;
    }
    pending
}

impl Arrivals {
    fn note(&mut self, gone: Gone) {
        match gone {
            Gone::Refused(words) => {
                self.refused += 1;
                self.refusal = Some(words);
            }
            Gone::Lost(error) => {
                self.failed += 1;
                self.failure = Some(error);
            }
        }
    }
}

/// Begins a connection to `server`, the `nth` of this process.
fn start_connecting(server: SocketAddr, nth: usize) -> io::Result<TcpStream> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(ipproto::TCP),
    )?;
    // Ends with a reset, which leaves no port in TIME_WAIT: the next run needs it.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(source) = source_address(server.ip(), process::id(), nth) {
        bind(&socket, &SocketAddr::new(source, 0))?;
    }
    match connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from_std(socket.into())),
        Err(e) => Err(e.into()),
    }
}
