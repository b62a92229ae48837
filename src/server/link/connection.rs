//! The connection to a node of NATS: from one to the next, never left unread.
//!
//! It knows no room: what comes is handed to the [machine](Machine), and what that wants is sent.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::{info, warn};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use serde_json::{Value, json};

use super::machine::{Machine, Output};
use crate::error::plain;
use crate::platform::socket::has_connected;
use crate::protocol::nats::{Decoder, MAX_MESSAGE_BYTES, Op, Writer};
use crate::protocol::text::made_safe;
use crate::rate::{AndMore, LogLimit};

/// A node has to answer within this, from the attempt to connect on.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a node is asked for a sign of life,
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// and how long it may give none.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause before another attempt is a random part of at least this,
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// doubled with each failure up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is read at once.
const READ_BYTES: usize = 64 * 1024;

/// What is read in one iteration.
const READ_BUDGET_BYTES: usize = 1024 * 1024;

/// A node that leaves more than this untaken is as good as dead.
const MAX_UNSENT_BYTES: usize = 4 * 1024 * 1024;

/// A node that takes smaller messages than this is not used: a batch has half of it at most.
const MIN_PAYLOAD_BYTES: usize = 128 * 1024;

/// More nodes than this are not remembered.
const MAX_NODES: usize = 64;

/// How a server proves to NATS that it may use it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    None,
    Token(String),
    User { name: String, password: String },
}

/// Says nothing of what is secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(..)",
            Self::User { .. } => "User(..)",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Until then no node is tried.
    Pausing(Instant),
    /// It has to get through by then.
    Connecting(Instant),
    /// It has to say who it is by then,
    Greeting(Instant),
    /// and to answer the first ping.
    LoggingIn(Instant),
    Ready,
}

#[derive(Debug)]
pub(super) struct Connection {
    token: Token,
    registry: Registry,
    credentials: Credentials,
    /// Its name for the operators of NATS.
    name: String,
    /// From the command line.
    configured: Vec<SocketAddr>,
    /// What the cluster says of itself.
    announced: Vec<SocketAddr>,
    node: SocketAddr,
    stream: Option<TcpStream>,
    phase: Phase,
    decoder: Decoder,
    buffer: Box<[u8]>,
    is_readable: bool,
    unsent: Vec<u8>,
    /// How much of it was sent.
    sent: usize,
    heard_at: Instant,
    ping_at: Instant,
    /// Since a node was last of use.
    failures: u32,
    /// How large a message it takes.
    max_payload_bytes: usize,
    random: fn() -> u128,
    log: LogLimit,
}

impl Connection {
    pub(super) fn new(
        nodes: Vec<SocketAddr>,
        credentials: Credentials,
        name: String,
        (registry, token): (&Registry, Token),
        random: fn() -> u128,
        now: Instant,
    ) -> io::Result<Self> {
        let node = nodes[0];
        Ok(Self {
            token,
            registry: registry.try_clone()?,
            credentials,
            name,
            configured: nodes,
            announced: Vec::new(),
            node,
            stream: None,
            phase: Phase::Pausing(now),
            decoder: Decoder::default(),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            is_readable: false,
            unsent: Vec::new(),
            sent: 0,
            heard_at: now,
            ping_at: now,
            failures: 0,
            max_payload_bytes: 0,
            random,
            log: LogLimit::new(),
        })
    }

    /// Something may have come, or may be sent.
    pub(super) fn mark_ready(&mut self) {
        self.is_readable = true;
    }

    /// Whether there may be something to read though no event comes.
    pub(super) fn has_work(&self) -> bool {
        self.is_readable && self.stream.is_some()
    }

    /// Reads, and does what is due.
    pub(super) fn serve(&mut self, machine: &mut Machine, now: Instant) {
        if let Phase::Pausing(until) = self.phase
            && until <= now
        {
            self.connect(machine, now);
        }
        if let Err(why) = self.go_on(machine, now) {
            self.lose(&why, machine, now);
        }
    }

    /// Hands over what the machine wants to be done, and sends it.
    pub(super) fn carry_out(&mut self, machine: &mut Machine, now: Instant) {
        let mut is_to_leave = false;
        while let Some(output) = machine.take_output() {
            let mut writer = Writer(&mut self.unsent);
            match output {
                Output::Publish {
                    subject,
                    reply,
                    headers,
                    payload,
                } => writer.publish(&subject, reply.as_deref(), &headers, &payload),
                Output::Subscribe {
                    subject,
                    subscription,
                } => writer.subscribe(&subject, subscription),
                Output::Unsubscribe { subscription } => writer.unsubscribe(subscription),
                Output::Reconnect => is_to_leave = true,
            }
        }
        if is_to_leave && self.stream.is_some() {
            let why = Trouble::Other("it does not answer for the stream".to_owned());
            self.lose(&why, machine, now);
        } else if let Err(why) = self.flush() {
            self.lose(&why, machine, now);
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Pausing(at)
            | Phase::Connecting(at)
            | Phase::Greeting(at)
            | Phase::LoggingIn(at) => at,
            Phase::Ready => self.ping_at.min(self.heard_at + SILENCE_TIMEOUT),
        }
    }

    fn connect(&mut self, machine: &mut Machine, now: Instant) {
        self.node = self.next_node();
        let until = now + GREETING_TIMEOUT;
        let connected = TcpStream::connect(self.node).and_then(|mut stream| {
            let interests = Interest::READABLE | Interest::WRITABLE;
            self.registry.register(&mut stream, self.token, interests)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => {
                self.stream = Some(stream);
                self.phase = Phase::Connecting(until);
                self.decoder = Decoder::default();
                (self.unsent, self.sent) = (Vec::new(), 0);
            }
            Err(e) => self.lose(&Trouble::Io(e), machine, now),
        }
    }

    /// One of those that are known, but not the last one if there are others.
    fn next_node(&mut self) -> SocketAddr {
        let all = self.configured.iter().chain(&self.announced);
        let mut nodes: Vec<SocketAddr> = all.copied().collect();
        if nodes.len() > 1 && self.failures > 0 {
            nodes.retain(|&node| node != self.node);
        }
        let nth = (self.random)() % nodes.len() as u128;
        nodes[nth as usize]
    }

    fn go_on(&mut self, machine: &mut Machine, now: Instant) -> Result<(), Trouble> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        match self.phase {
            Phase::Connecting(until) => {
                if has_connected(stream)? {
                    stream.set_nodelay(true)?;
                    self.phase = Phase::Greeting(until);
                    self.is_readable = true;
                } else if until <= now {
                    return Err(Trouble::Other("it does not answer".to_owned()));
                } else {
                    return Ok(());
                }
            }
            Phase::Greeting(until) | Phase::LoggingIn(until) if until <= now => {
                return Err(Trouble::Other("it does not answer as NATS does".to_owned()));
            }
            _ => {}
        }
        self.read(machine, now)?;
        if self.phase == Phase::Ready {
            if now >= self.heard_at + SILENCE_TIMEOUT {
                return Err(Trouble::Other("it has gone silent".to_owned()));
            }
            if now >= self.ping_at {
                self.ping_at = now + PING_INTERVAL;
                Writer(&mut self.unsent).ping();
            }
        }
        self.flush()
    }

    fn read(&mut self, machine: &mut Machine, now: Instant) -> Result<(), Trouble> {
        let mut read_bytes = 0;
        while self.is_readable && read_bytes < READ_BUDGET_BYTES {
            let Some(stream) = &mut self.stream else {
                return Ok(());
            };
            let count = match stream.read(&mut self.buffer) {
                Ok(0) => return Err(Trouble::Other("it has closed the connection".to_owned())),
                Ok(count) => count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.is_readable = false;
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            read_bytes += count;
            self.heard_at = now;
            self.decoder.feed(&self.buffer[..count]);
            self.hear(machine, now)?;
        }
        Ok(())
    }

    /// Acts on what was read.
    fn hear(&mut self, machine: &mut Machine, now: Instant) -> Result<(), Trouble> {
        loop {
            let op = self.decoder.take();
            let Some(op) = op.map_err(|it| Trouble::Other(it.to_string()))? else {
                return Ok(());
            };
            match op {
                Op::Message(message) => machine.received(&message, now),
                Op::Ping => Writer(&mut self.unsent).pong(),
                Op::Pong => {
                    if let Phase::LoggingIn(_) = self.phase {
                        self.phase = Phase::Ready;
                        self.failures = 0;
                        self.ping_at = now + PING_INTERVAL;
                        info!("linked by NATS at {}", self.node);
                        machine.connected(self.max_payload_bytes, now);
                    }
                }
                Op::Ok => {}
                Op::Info(info) => {
                    let info: Value = serde_json::from_slice(info).unwrap_or_default();
                    self.learn(&info)?;
                }
                Op::Err(words) => {
                    let words = made_safe(words.as_bytes());
                    if !words.to_ascii_lowercase().contains("permissions violation") {
                        return Err(Trouble::Refusal(words));
                    }
                    // What it was about has no answer: the machine notices.
                    if let Some(suppressed) = self.log.allow(now) {
                        warn!(
                            "NATS at {}: {words}; docs/many-machines.md has the permissions that \
                             a server needs{}",
                            self.node,
                            AndMore(suppressed)
                        );
                    }
                }
            }
        }
    }

    /// A node says who it is, the first time or because that has changed.
    fn learn(&mut self, info: &Value) -> Result<(), Trouble> {
        let urls = info["connect_urls"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        let announced = urls.iter().filter_map(|url| url.as_str()?.parse().ok());
        let announced: Vec<SocketAddr> = announced.take(MAX_NODES).collect();
        if !announced.is_empty() {
            self.announced = announced;
        }
        if info["ldm"] == true {
            return Err(Trouble::LameDuck);
        }
        let Phase::Greeting(until) = self.phase else {
            return Ok(());
        };
        let max_payload = info["max_payload"].as_u64().unwrap_or_default();
        self.max_payload_bytes = usize::try_from(max_payload).unwrap_or(usize::MAX);
        self.max_payload_bytes = self.max_payload_bytes.min(MAX_MESSAGE_BYTES);
        if self.max_payload_bytes < MIN_PAYLOAD_BYTES {
            return Err(Trouble::Other(format!(
                "its max_payload is {max_payload} bytes; set it to {MIN_PAYLOAD_BYTES} or more"
            )));
        }
        if info["headers"] != true {
            let words = "it has no headers; use nats-server 2.9 or later";
            return Err(Trouble::Other(words.to_owned()));
        }
        if info["tls_required"] == true {
            let words = "it wants TLS, which --nats does not speak; link over a private network";
            return Err(Trouble::Other(words.to_owned()));
        }
        if info["auth_required"] == true && self.credentials == Credentials::None {
            let words = "it wants credentials; give them with --nats-creds FILE";
            return Err(Trouble::Other(words.to_owned()));
        }
        let mut connect = json!({
            "verbose": false,
            "pedantic": false,
            "lang": "chat",
            "version": env!("CARGO_PKG_VERSION"),
            "name": self.name,
            "protocol": 1,
            "echo": false,
            "headers": true,
            "no_responders": true,
        });
        match &self.credentials {
            Credentials::None => {}
            Credentials::Token(token) => connect["auth_token"] = json!(token),
            Credentials::User { name, password } => {
                connect["user"] = json!(name);
                connect["pass"] = json!(password);
            }
        }
        let mut writer = Writer(&mut self.unsent);
        writer.connect(&connect.to_string());
        writer.ping();
        self.phase = Phase::LoggingIn(until);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        if matches!(self.phase, Phase::Pausing(_) | Phase::Connecting(_)) {
            return Ok(());
        }
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while self.sent < self.unsent.len() {
            match stream.write(&self.unsent[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.unsent.drain(..self.sent);
                    self.sent = 0;
                    if self.unsent.len() > MAX_UNSENT_BYTES {
                        return Err(Trouble::Other("it takes nothing".to_owned()));
                    }
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.unsent.clear();
        self.unsent.shrink_to(READ_BYTES);
        self.sent = 0;
        Ok(())
    }

    /// The connection is of no more use.
    fn lose(&mut self, why: &Trouble, machine: &mut Machine, now: Instant) {
        let was_ready = self.phase == Phase::Ready;
        // Closing it takes it out of the poll.
        self.stream = None;
        self.is_readable = false;
        self.failures = self.failures.saturating_add(1);
        let most = SHORTEST_PAUSE.saturating_mul(1 << self.failures.min(10));
        let most = most.min(LONGEST_PAUSE).as_millis();
        let pause = (self.random)() % most;
        let pause = Duration::from_millis(pause as u64).max(SHORTEST_PAUSE);
        self.phase = Phase::Pausing(now + pause);
        // The longer nothing works, the more rarely that is said.
        if self.failures.is_power_of_two() {
            let verb = if was_ready { "left" } else { "cannot use" };
            warn!("{verb} NATS at {}: {why}; trying again", self.node);
        }
        machine.disconnected(now);
        if !was_ready && self.failures as usize >= self.configured.len() {
            machine.unreachable();
        }
    }
}

/// Why a node is left.
#[derive(Debug)]
enum Trouble {
    Io(io::Error),
    /// It is about to stop.
    LameDuck,
    /// It has refused us, in these words.
    Refusal(String),
    Other(String),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => plain(e).fmt(f),
            Self::LameDuck => f.write_str("it is about to stop"),
            Self::Refusal(words) if words.to_ascii_lowercase().contains("authorization") => {
                write!(f, "it says {words}; check --nats-creds FILE")
            }
            Self::Refusal(words) => write!(f, "it says {words}"),
            Self::Other(words) => f.write_str(words),
        }
    }
}
