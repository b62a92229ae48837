//! The chat server: wires the room to the reactor, the console and the signals.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use log::{debug, info, warn};
use mio::Token;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use crate::admission::{self, Admission, RefusalCounts};
use crate::close::CloseReason;
use crate::console::Console;
use crate::error::Error;
use crate::flow;
use crate::line::Decoded;
use crate::log_limit::{AndMore, LogLimit};
use crate::machine::raise_descriptor_limit;
use crate::reactor::listener::Listener;
use crate::reactor::{Next, Policy, Reactor, Service, source_token};
use crate::room::{self, Room};
use crate::standard_io::StandardOutput;
use crate::turn::{ClientId, Turn};
use crate::write_queue::Frame;

const SIGNALS: Token = source_token(0);
const CONSOLE: Token = source_token(1);

/// What a server is told to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub address: SocketAddr,
    /// Who gets in.
    pub admission: admission::Limits,
    /// What the room allows.
    pub room: room::Limits,
    /// What may wait for readers, and how long.
    pub flow: flow::Bounds,
    /// Whether nothing is shown on standard output.
    pub quiet: bool,
}

/// Runs a room until it is told to end by SIGINT or SIGTERM.
///
/// # Errors
///
/// When it cannot listen where it was told to, or the poll itself fails.
pub fn run(config: &Config) -> Result<(), Error> {
    // Each client is one.
    if let Err(e) = raise_descriptor_limit() {
        warn!("the limit of open files stays as it is: {e}");
    }
    let listener = Listener::bind(config.address).map_err(|source| Error::Listen {
        address: config.address,
        source,
    })?;
    let address = listener.address();
    let policy = Policy {
        max_line_bytes: config.room.max_line_bytes,
        flow: config.flow,
    };
    let mut reactor = Reactor::new(listener, policy).map_err(Error::Poll)?;
    let mut server = Server::new(config, &reactor).map_err(Error::Poll)?;
    info!("listening on {address}");
    info!("room for {} clients", config.admission.max_clients);
    server.show(&banner(address, &addresses_to_join(address.ip())));
    reactor.run(&mut server).map_err(Error::Poll)
}

/// The service that the reactor serves: a room, shown on a console.
struct Server {
    admission: Admission,
    refusals: RefusalCounts,
    room: Room,
    /// Messages that newcomers can cause, as often as they like.
    refusal_log: LogLimit,
    /// Messages of clients that are dropped.
    drop_log: LogLimit,
    /// `None` when it is to be quiet.
    console: Option<Console<StandardOutput>>,
    signals: Signals,
    closing: bool,
}

impl Server {
    fn new(config: &Config, reactor: &Reactor) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        reactor
            .registry()
            .register(&mut signals, SIGNALS, mio::Interest::READABLE)?;
        let console = match config.quiet {
            true => None,
            false => {
                let output = StandardOutput::stdout();
                output.register(reactor.registry(), CONSOLE)?;
                Some(Console::new(output))
            }
        };
        Ok(Self {
            admission: Admission::new(config.admission.clone()),
            refusals: RefusalCounts::default(),
            room: Room::new(config.room),
            refusal_log: LogLimit::new(),
            drop_log: LogLimit::new(),
            console,
            signals,
            closing: false,
        })
    }

    fn show(&mut self, lines: &str) {
        if let Some(console) = &mut self.console {
            console.lines(lines.as_bytes());
            console.flush();
        }
    }

    /// Signals that come together count as one.
    fn signalled(&mut self, turn: &mut Turn) -> Next {
        if self.signals.pending().count() == 0 {
            return Next::Continue;
        }
        if std::mem::replace(&mut self.closing, true) {
            return Next::Exit;
        }
        info!("closing the room");
        self.room.close(turn);
        Next::Shutdown
    }
}

impl Service for Server {
    fn admit(&mut self, address: IpAddr) -> Result<(), Frame> {
        self.admission.admit(address).map_err(|refusal| {
            self.refusals.count(refusal);
            if let Some(suppressed) = self.refusal_log.allow(Instant::now()) {
                info!("{address} is refused: {refusal}{}", AndMore(suppressed));
            }
            room::refusal(refusal)
        })
    }

    fn joined(&mut self, client: ClientId, address: IpAddr, turn: &mut Turn) {
        debug!("{address} comes in");
        self.admission.entered(address);
        self.room.join(client, address, turn);
        if let Some(console) = &mut self.console {
            console.line(format_args!("{address} connected"));
        }
    }

    fn received(&mut self, client: ClientId, line: Decoded<'_>, turn: &mut Turn) {
        self.room.hear(client, line, turn);
    }

    fn farewell(&self, reason: CloseReason) -> Option<Frame> {
        self.room.farewell(reason)
    }

    fn left(&mut self, client: ClientId, reason: CloseReason, _turn: &mut Turn) {
        let Some(address) = self.room.leave(client) else {
            return;
        };
        self.admission.left(address);
        match reason {
            CloseReason::Stuck | CloseReason::TooSlow => {
                if let Some(suppressed) = self.drop_log.allow(Instant::now()) {
                    warn!("{address} is dropped: {reason}{}", AndMore(suppressed));
                }
            }
            CloseReason::WrongProtocol => info!("{address} is sent away: {reason}"),
            _ => debug!("{address} leaves: {reason}"),
        }
        if let Some(console) = &mut self.console {
            console.line(format_args!("{address} disconnected"));
        }
    }

    fn source_ready(&mut self, token: Token, turn: &mut Turn) -> io::Result<Next> {
        match token {
            SIGNALS => Ok(self.signalled(turn)),
            // The console: it is flushed at the end of every turn.
            _ => Ok(Next::Continue),
        }
    }

    fn said(&mut self, text: &[u8]) {
        if let Some(console) = &mut self.console {
            console.lines(text);
        }
    }

    fn turn_ended(&mut self) {
        if let Some(console) = &mut self.console {
            console.flush();
        }
    }
}

/// What the console shows first: where the room is, and how to get there.
fn banner(listening_on: SocketAddr, reachable_at: &[IpAddr]) -> String {
    let port = listening_on.port();
    let mut text = format!("listening on {listening_on}\njoin with:\n");
    for program in ["chat client", "nc"] {
        for address in reachable_at {
            writeln!(text, "  {program} {address} {port}").expect("a String takes every write");
        }
    }
    text
}

/// The addresses by which a server that listens on `address` is reached: that
/// one, or when it is unspecified every address of this machine that it covers.
fn addresses_to_join(address: IpAddr) -> Vec<IpAddr> {
    if !address.is_unspecified() {
        return vec![address];
    }
    let mut addresses = crate::machine::addresses();
    if address.is_ipv4() {
        addresses.retain(IpAddr::is_ipv4);
    }
    match addresses.is_empty() {
        true => vec![address],
        false => addresses,
    }
}
