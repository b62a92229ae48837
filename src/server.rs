//! The chat server: wires the room to the reactor, the console, the operator, the
//! transcript and the signals.

pub mod admission;
pub mod banner;
pub mod console;
pub mod line_sink;
pub mod motd;
pub mod network;
pub mod operator;
pub mod operator_input;
mod requests;
pub mod stats;
pub mod transcript;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::Token;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;

use self::banner::{addresses_to_join, banner};
use self::motd::read_motd;
use self::operator_input::OperatorInput;
use crate::error::{Error, plain};
use crate::platform::logging::FIGURES;
use crate::platform::machine::raise_descriptor_limit;
use crate::platform::proc::is_ignored;
use crate::platform::stdio::StandardOutput;
use crate::protocol::batch::{Batch, ClientId};
use crate::protocol::close::CloseReason;
use crate::protocol::line::Decoded;
use crate::protocol::text;
use crate::protocol::wording;
use crate::reactor::flow;
use crate::reactor::listener::Listener;
use crate::reactor::log_limit::{AndMore, LogLimit};
use crate::reactor::rate::Rate;
use crate::reactor::write_queue::Frame;
use crate::reactor::{Next, Policy, Reactor, Service, source_token};
use crate::room::{self, Room};
use crate::server::admission::Admission;
use crate::server::console::Console;
use crate::server::stats::{Attendance, Figures, Load};
use crate::server::transcript::Transcript;

const SIGNALS: Token = source_token(0);
const CONSOLE: Token = source_token(1);
const OPERATOR: Token = source_token(2);
const TRANSCRIPT: Token = source_token(3);

/// How wide an answer is at the console.
const CONSOLE_COLUMNS: usize = 78;

/// What a server is told to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub address: SocketAddr,
    /// Who gets in.
    pub admission: admission::Limits,
    /// What the room is like.
    pub room: room::Config,
    /// A file of which newcomers are told every line.
    pub motd: Option<PathBuf>,
    /// A file to which all that is said is appended.
    pub transcript: Option<PathBuf>,
    /// What may wait for readers, and how long.
    pub flow: flow::Bounds,
    /// What the kernel may hold for each client, in bytes.
    pub send_buffer_bytes: usize,
    /// How many lines a second each client may say, if that is bounded.
    pub rate: Option<Rate>,
    /// How long each client may be silent, if that is bounded.
    pub idle_timeout: Option<Duration>,
    /// Whether nothing is shown on standard output but what the operator asks for.
    pub quiet: bool,
}

/// Runs a room until it is told to end: by SIGINT, SIGTERM, its operator, or SIGHUP if
/// there is no transcript to be opened anew.
///
/// # Errors
///
/// When it cannot listen where it was told to, a file cannot be used, or the poll itself
/// fails.
pub fn run(config: &Config) -> Result<(), Error> {
    let mut room = config.room.clone();
    if let Some(path) = &config.motd {
        room.notices.extend(read_motd(path)?);
    }
    let transcript = config.transcript.as_deref();
    let transcript = transcript.map(open_transcript).transpose()?;
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
        ..Policy::DEFAULT
    };
    let mut reactor = Reactor::new(listener, policy).map_err(Error::Poll)?;
    let mut server =
        Server::new(config, Room::new(room), transcript, &reactor).map_err(Error::Poll)?;
    info!("listening on {address}");
    info!("room for {} clients", config.admission.max_clients);
    server.show(&banner(address, &addresses_to_join(address.ip())));
    if server.operator.is_some() {
        server.show("what you type is said to everybody; /help tells what else you can do\n");
    }
    reactor.run(&mut server).map_err(Error::Poll)?;
    server.are_figures_to_log = true;
    server.report(reactor.load());
    // What the last turn has left for the console and the transcript.
    server.turn_ended();
    Ok(())
}

fn open_transcript(path: &Path) -> Result<Transcript, Error> {
    Transcript::open(path).map_err(|source| Error::OpenTranscript {
        path: path.to_owned(),
        source,
    })
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
    console: Console<StandardOutput>,
    /// The console shows only what the operator asks for.
    is_quiet: bool,
    transcript: Option<Transcript>,
    /// `None` when there is nobody to type anything.
    operator: Option<OperatorInput>,
    /// The operator has asked for the figures.
    are_figures_to_show: bool,
    /// A signal has asked for them, or the end has come.
    are_figures_to_log: bool,
    signals: Signals,
    closing: bool,
}

impl Server {
    fn new(
        config: &Config,
        room: Room,
        mut transcript: Option<Transcript>,
        reactor: &Reactor,
    ) -> io::Result<Self> {
        let registry = reactor.registry();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1])?;
        // Who has it ignored, as nohup(1) does, wants the room to outlive its terminal.
        if transcript.is_some() || !is_ignored(SIGHUP) {
            signals.add_signal(SIGHUP)?;
        }
        registry.register(&mut signals, SIGNALS, mio::Interest::READABLE)?;
        let output = StandardOutput::stdout();
        output.register(registry, CONSOLE)?;
        if let Some(transcript) = &mut transcript {
            transcript.register(registry, TRANSCRIPT)?;
        }
        let max_line_bytes = config.room.max_line_bytes;
        Ok(Self {
            admission: Admission::new(config.admission.clone()),
            attendance: Attendance::default(),
            room,
            refusal_log: LogLimit::new(),
            drop_log: LogLimit::new(),
            protocol_log: LogLimit::new(),
            console: Console::new(output),
            is_quiet: config.quiet,
            transcript,
            operator: OperatorInput::open(registry, OPERATOR, max_line_bytes)?,
            are_figures_to_show: false,
            are_figures_to_log: false,
            signals,
            closing: false,
        })
    }

    fn show(&mut self, lines: &str) {
        if !self.is_quiet {
            self.console.lines(lines.as_bytes());
            self.console.flush();
        }
    }

    /// Shows what happens to somebody.
    fn show_event(&mut self, event: fmt::Arguments<'_>) {
        if !self.is_quiet {
            self.console.line(event);
        }
    }

    /// Signals that come together count as one.
    fn signalled(&mut self, turn: &mut Batch) -> Next {
        let mut next = Next::Continue;
        let pending: Vec<i32> = self.signals.pending().collect();
        for signal in pending {
            next = next.max(match (signal, &mut self.transcript) {
                (SIGUSR1, _) => {
                    self.are_figures_to_log = true;
                    Next::Report
                }
                (SIGHUP, Some(transcript)) => {
                    match transcript.reopen() {
                        Ok(()) => info!("the transcript has been opened anew"),
                        Err(e) => warn!(
                            "the transcript cannot be opened anew ({}); \
                             the old file goes on being written",
                            plain(&e)
                        ),
                    }
                    Next::Continue
                }
                _ => Next::Shutdown,
            });
        }
        match next {
            Next::Shutdown => self.close(turn),
            next => next,
        }
    }

    /// Closes the room; if that was done before, at once.
    fn close(&mut self, turn: &mut Batch) -> Next {
        if self.closing {
            return Next::Exit;
        }
        info!("closing the room");
        self.closing = true;
        self.room.close(turn);
        Next::Shutdown
    }
}

impl Service for Server {
    fn admit(&mut self, address: IpAddr, now: Instant) -> Result<(), Frame> {
        self.admission.admit(address, now).map_err(|refusal| {
            self.attendance.refused.count(refusal);
            if let Some(suppressed) = self.refusal_log.allow(now) {
                info!("{address} is refused: {refusal}{}", AndMore(suppressed));
            }
            wording::refusal(refusal)
        })
    }

    fn joined(&mut self, client: ClientId, address: IpAddr, now: Instant, turn: &mut Batch) {
        debug!("{address} comes in");
        self.admission.entered(address);
        self.attendance.joined();
        self.room.join(client, address, now, turn);
        self.show_event(format_args!("{address} connected"));
    }

    fn received(&mut self, client: ClientId, line: Decoded<'_>, now: Instant, turn: &mut Batch) {
        self.room.hear(client, line, now, turn);
    }

    fn farewell(&self, reason: CloseReason) -> Option<Frame> {
        self.room.farewell(reason)
    }

    fn left(&mut self, client: ClientId, reason: CloseReason, now: Instant, turn: &mut Batch) {
        let Some(member) = self.room.leave(client, now, turn) else {
            return;
        };
        self.admission.left(member.address());
        self.attendance.left(reason);
        let who = member.full_label();
        match reason {
            CloseReason::Stuck | CloseReason::TooSlow => {
                if let Some(suppressed) = self.drop_log.allow(now) {
                    warn!("{who} is dropped: {reason}{}", AndMore(suppressed));
                }
            }
            CloseReason::WrongProtocol => {
                if let Some(suppressed) = self.protocol_log.allow(now) {
                    info!("{who} is sent away: {reason}{}", AndMore(suppressed));
                }
            }
            _ => debug!("{who} leaves: {reason}"),
        }
        match reason.is_of_our_making() {
            true => self.show_event(format_args!("{who} disconnected: {reason}")),
            false => self.show_event(format_args!("{who} disconnected")),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let operator = self.operator.as_ref().and_then(OperatorInput::deadline);
        [self.room.deadline(), operator].into_iter().flatten().min()
    }

    fn expired(&mut self, now: Instant, turn: &mut Batch) -> Next {
        self.room.expire(now, turn);
        self.hear_operator(now, turn)
    }

    fn source_ready(&mut self, token: Token, now: Instant, turn: &mut Batch) -> io::Result<Next> {
        match token {
            SIGNALS => Ok(self.signalled(turn)),
            OPERATOR => {
                if let Some(operator) = &mut self.operator {
                    operator.mark_ready();
                }
                Ok(self.hear_operator(now, turn))
            }
            // The console, or the transcript: they are flushed at the end of every turn.
            _ => Ok(Next::Continue),
        }
    }

    fn report(&mut self, load: Load) {
        let attendance = self.attendance;
        let figures = Figures { attendance, load };
        if std::mem::take(&mut self.are_figures_to_show) {
            let lines = text::wrap(&figures.to_string(), CONSOLE_COLUMNS);
            self.console.line(format_args!("{lines}"));
        }
        if std::mem::take(&mut self.are_figures_to_log) {
            info!(target: FIGURES, "{figures}");
        }
    }

    fn said(&mut self, text: &[u8]) {
        if !self.is_quiet {
            self.console.lines(text);
        }
        if let Some(transcript) = &mut self.transcript {
            transcript.said(text);
        }
    }

    fn turn_ended(&mut self) {
        self.console.flush();
        if let Some(transcript) = &mut self.transcript {
            transcript.flush();
        }
    }
}
