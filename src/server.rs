//! The chat server: wires the room to the reactor, the console and the signals.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::Token;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;

use crate::admission::{self, Admission};
use crate::close::CloseReason;
use crate::console::Console;
use crate::error::Error;
use crate::figures::{Attendance, Figures, Load};
use crate::flow;
use crate::line::Decoded;
use crate::log_limit::{AndMore, LogLimit};
use crate::logging::FIGURES;
use crate::machine::raise_descriptor_limit;
use crate::rate::Rate;
use crate::reactor::clients::SLICE_BYTES;
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
    /// What the kernel may hold for each client, in bytes.
    pub send_buffer_bytes: usize,
    /// How many lines a second each client may say, if that is bounded.
    pub rate: Option<Rate>,
    /// How long each client may be silent, if that is bounded.
    pub idle_timeout: Option<Duration>,
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
    let listener = Listener::bind(config.address, config.send_buffer_bytes).map_err(|source| {
        Error::Listen {
            address: config.address,
            source,
        }
    })?;
    let address = listener.address();
    let policy = Policy {
        max_line_bytes: config.room.max_line_bytes,
        flow: config.flow,
        rate: config.rate,
        idle_timeout: config.idle_timeout,
        slice_bytes: SLICE_BYTES,
    };
    let mut reactor = Reactor::new(listener, policy).map_err(Error::Poll)?;
    let mut server = Server::new(config, &reactor).map_err(Error::Poll)?;
    info!("listening on {address}");
    info!("room for {} clients", config.admission.max_clients);
    server.show(&banner(address, &addresses_to_join(address.ip())));
    reactor.run(&mut server).map_err(Error::Poll)?;
    server.report(reactor.load());
    Ok(())
}

/// The service that the reactor serves: a room, shown on a console.
struct Server {
    admission: Admission,
    attendance: Attendance,
    room: Room,
    /// Messages that newcomers can cause, as often as they like.
    refusal_log: LogLimit,
    /// Messages of clients that are dropped.
    drop_log: LogLimit,
    /// Messages of clients that speak another protocol.
    protocol_log: LogLimit,
    /// `None` when it is to be quiet.
    console: Option<Console<StandardOutput>>,
    signals: Signals,
    closing: bool,
}

impl Server {
    fn new(config: &Config, reactor: &Reactor) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
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
            attendance: Attendance::default(),
            room: Room::new(config.room),
            refusal_log: LogLimit::new(),
            drop_log: LogLimit::new(),
            protocol_log: LogLimit::new(),
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
        let (mut is_asked_for_figures, mut is_told_to_end) = (false, false);
        for signal in self.signals.pending() {
            match signal {
                SIGUSR1 => is_asked_for_figures = true,
                _ => is_told_to_end = true,
            }
        }
        match (is_told_to_end, is_asked_for_figures) {
            (true, _) if self.closing => Next::Exit,
            (true, _) => {
                info!("closing the room");
                self.closing = true;
                self.room.close(turn);
                Next::Shutdown
            }
            (false, true) => Next::Report,
            (false, false) => Next::Continue,
        }
    }
}

impl Service for Server {
    fn admit(&mut self, address: IpAddr) -> Result<(), Frame> {
        let now = Instant::now();
        self.admission.admit(address, now).map_err(|refusal| {
            self.attendance.refused.count(refusal);
            if let Some(suppressed) = self.refusal_log.allow(now) {
                info!("{address} is refused: {refusal}{}", AndMore(suppressed));
            }
            room::refusal(refusal)
        })
    }

    fn joined(&mut self, client: ClientId, address: IpAddr, turn: &mut Turn) {
        debug!("{address} comes in");
        self.admission.entered(address);
        self.attendance.joined();
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
        self.attendance.left(reason);
        match reason {
            CloseReason::Stuck | CloseReason::TooSlow => {
                if let Some(suppressed) = self.drop_log.allow(Instant::now()) {
                    warn!("{address} is dropped: {reason}{}", AndMore(suppressed));
                }
            }
            CloseReason::WrongProtocol => {
                if let Some(suppressed) = self.protocol_log.allow(Instant::now()) {
                    info!("{address} is sent away: {reason}{}", AndMore(suppressed));
                }
            }
            _ => debug!("{address} leaves: {reason}"),
        }
        if let Some(console) = &mut self.console {
            match reason.is_of_our_making() {
                true => console.line(format_args!("{address} disconnected: {reason}")),
                false => console.line(format_args!("{address} disconnected")),
            }
        }
    }

    fn source_ready(&mut self, token: Token, turn: &mut Turn) -> io::Result<Next> {
        match token {
            SIGNALS => Ok(self.signalled(turn)),
            // The console: it is flushed at the end of every turn.
            _ => Ok(Next::Continue),
        }
    }

    fn report(&mut self, load: Load) {
        let attendance = self.attendance;
        info!(target: FIGURES, "{}", Figures { attendance, load });
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
