//! The chat server: wires the room to the reactor, the console, the operator, the
//! transcript and the signals.

pub mod admission;
pub(crate) mod console;
pub mod line_sink;
pub(crate) mod network;
pub(crate) mod operator;
pub(crate) mod stats;
pub(crate) mod transcript;

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use mio::{Interest, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;

use self::admission::Admission;
use self::console::Console;
use self::operator::actions::Actions;
use self::operator::input::OperatorInput;
use self::stats::{Attendance, Stats};
use self::transcript::Transcript;
use crate::error::{Error, plain};
use crate::platform::addresses::addresses_to_join;
use crate::platform::logging::STATS;
use crate::platform::proc::{is_ignored, raise_descriptor_limit};
use crate::platform::stdio::StandardOutput;
use crate::protocol::batch::{ClientId, Context, Frame};
use crate::protocol::close::CloseReason;
use crate::protocol::line::Decoded;
use crate::protocol::wording;
use crate::rate::{AndMore, LogLimit, Rate};
use crate::reactor::listener::Listener;
use crate::reactor::service::{Load, Next, Policy, Service, source_token};
use crate::reactor::{Reactor, flow};
use crate::room::{self, Room};

const SIGNALS: Token = source_token(0);
const CONSOLE: Token = source_token(1);
const OPERATOR: Token = source_token(2);
const TRANSCRIPT: Token = source_token(3);

/// The longest message of the day, in bytes: every newcomer is sent all of it.
const MAX_MOTD_BYTES: u64 = 8 * 1024;

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
    info!(target: STATS, "{}", server.stats(reactor.load()));
    // What the last iteration has left for the console and the transcript.
    server.iteration_ended();
    Ok(())
}

fn open_transcript(path: &Path) -> Result<Transcript, Error> {
    Transcript::open(path).map_err(|source| Error::OpenTranscript {
        path: path.to_owned(),
        source,
    })
}

/// The lines of the message of the day in the file at `path`.
fn read_motd(path: &Path) -> Result<Vec<String>, Error> {
    let text = read_page(path).map_err(|source| Error::ReadMotd {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::to_owned).collect())
}

fn read_page(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_MOTD_BYTES + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_MOTD_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_MOTD_BYTES} bytes, and every newcomer would be sent it"
        )));
    }
    Ok(text)
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
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
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

    fn stats(&self, load: Load) -> Stats {
        let attendance = self.attendance;
        Stats { attendance, load }
    }

    /// Signals that come together count as one.
    fn signalled(&mut self, load: Load, context: &mut Context<'_>) -> Next {
        let mut is_to_close = false;
        let pending: Vec<i32> = self.signals.pending().collect();
        for signal in pending {
            match (signal, &mut self.transcript) {
                (SIGUSR1, _) => info!(target: STATS, "{}", self.stats(load)),
                (SIGHUP, Some(transcript)) => match transcript.reopen() {
                    Ok(()) => info!("reopened the transcript"),
                    Err(e) => warn!(
                        "cannot reopen the transcript ({}); \
                         still writing to the old file",
                        plain(&e)
                    ),
                },
                _ => is_to_close = true,
            }
        }
        if is_to_close {
            self.close(context)
        } else {
            Next::Continue
        }
    }

    /// Does what the operator has typed.
    fn hear_operator(&mut self, load: Load, context: &mut Context<'_>) -> Next {
        let mut next = Next::Continue;
        while let Some(typed) = self
            .operator
            .as_mut()
            .and_then(|operator| operator.next_line(context.now))
        {
            let stats = self.stats(load);
            let mut actions = Actions {
                room: &mut self.room,
                admission: &mut self.admission,
                console: &mut self.console,
                stats,
            };
            if actions.take(&typed, context).is_break() {
                next = next.max(self.close(context));
            }
        }
        next
    }

    /// Closes the room; if that was done before, at once.
    fn close(&mut self, context: &mut Context<'_>) -> Next {
        if self.closing {
            return Next::Exit;
        }
        info!("closing the room");
        self.closing = true;
        self.room.close(context);
        Next::Shutdown
    }
}

impl Service for Server {
    fn join(
        &mut self,
        client: ClientId,
        address: IpAddr,
        context: &mut Context<'_>,
    ) -> Result<Frame, Frame> {
        let now = context.now;
        if let Err(refusal) = self.admission.admit(address, now) {
            self.attendance.refused.count(refusal);
            if let Some(suppressed) = self.refusal_log.allow(now) {
                info!("refused {address}: {refusal}{}", AndMore(suppressed));
            }
            return Err(wording::refusal(refusal));
        }
        debug!("{address} joined");
        self.admission.entered(address);
        self.attendance.joined();
        self.show_event(format_args!("{address} connected"));
        Ok(self.room.join(client, address, now))
    }

    fn received(&mut self, client: ClientId, line: Decoded<'_>, context: &mut Context<'_>) {
        self.room.hear(client, line, context);
    }

    fn left(
        &mut self,
        client: ClientId,
        reason: CloseReason,
        context: &mut Context<'_>,
    ) -> Option<Frame> {
        let now = context.now;
        let member = self.room.leave(client, context)?;
        self.admission.left(member.address());
        self.attendance.left(reason);
        let who = member.full_label();
        match reason {
            CloseReason::Stuck | CloseReason::TooSlow => {
                if let Some(suppressed) = self.drop_log.allow(now) {
                    warn!("dropped {who}: {reason}{}", AndMore(suppressed));
                }
            }
            CloseReason::WrongProtocol => {
                if let Some(suppressed) = self.protocol_log.allow(now) {
                    info!("disconnected {who}: {reason}{}", AndMore(suppressed));
                }
            }
            _ => debug!("{who} left: {reason}"),
        }
        if reason.is_forced() {
            self.show_event(format_args!("{who} disconnected: {reason}"));
        } else {
            self.show_event(format_args!("{who} disconnected"));
        }
        self.room.farewell(reason)
    }

    fn deadline(&self) -> Option<Instant> {
        let operator = self.operator.as_ref().and_then(OperatorInput::deadline);
        [self.room.deadline(), operator].into_iter().flatten().min()
    }

    fn expired(&mut self, load: Load, context: &mut Context<'_>) -> Next {
        self.room.expire(context);
        self.hear_operator(load, context)
    }

    fn source_ready(
        &mut self,
        token: Token,
        load: Load,
        context: &mut Context<'_>,
    ) -> io::Result<Next> {
        Ok(match token {
            SIGNALS => self.signalled(load, context),
            OPERATOR => {
                if let Some(operator) = &mut self.operator {
                    operator.mark_ready();
                }
                self.hear_operator(load, context)
            }
            // The console, or the transcript: they are flushed at the end of every
            // iteration.
            _ => Next::Continue,
        })
    }

    fn said(&mut self, text: &[u8]) {
        if !self.is_quiet {
            self.console.lines(text);
        }
        if let Some(transcript) = &mut self.transcript {
            transcript.said(text);
        }
    }

    fn iteration_ended(&mut self) {
        self.console.flush();
        if let Some(transcript) = &mut self.transcript {
            transcript.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::NamedTempFile;

    use super::*;

    #[test]
    fn every_line_is_told_and_no_more_than_a_page() {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(b"Be kind.\r\n\ncaf\xe9").unwrap();
        let lines = read_motd(file.path()).unwrap();
        assert_eq!(lines, ["Be kind.", "", "caf\u{fffd}"]);

        file.write_all(&vec![b'x'; MAX_MOTD_BYTES as usize])
            .unwrap();
        let error = read_motd(file.path()).unwrap_err().to_string();
        assert!(error.contains("8192 bytes"), "{error}");
        let missing = file.path().with_extension("missing");
        let error = read_motd(&missing).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
}
