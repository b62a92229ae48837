//! The chat server: connects the room with the reactor, admission, the console, the
//! operator, the transcript and signals.

pub mod admission;
pub(crate) mod arrivals;
pub(crate) mod console;
pub mod line_sink;
pub(crate) mod motd;
pub(crate) mod network;
pub(crate) mod notifications;
pub(crate) mod operator;
pub(crate) mod stats;
pub(crate) mod transcript;

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, debug, info, log_enabled, warn};
use mio::{Interest, Token};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXCPU};
use signal_hook_mio::v1_0::Signals;

use self::admission::{Admission, Capacity, Refusal, Rule};
use self::arrivals::Arrivals;
use self::console::Console;
use self::motd::read_motd;
use self::notifications::Notifications;
use self::operator::actions::Actions;
use self::operator::input::{OperatorInput, open_fifo};
use self::stats::{Attendance, Stats};
use self::transcript::Transcript;
use self::transcript::tail::Tail;
use crate::error::{Error, plain};
use crate::platform::addresses::{
    LOCAL_NETWORKS, ScopedIp, addresses_to_join, is_link_local_v6, is_local,
};
use crate::platform::logging::STATS;
use crate::platform::memory::Headroom;
use crate::platform::proc::{descriptor_limit, is_ignored, raise_descriptor_limit};
use crate::platform::random::random_bits;
use crate::platform::service_manager::{self, NotifySocket};
use crate::platform::stdio::StandardOutput;
use crate::protocol::batch::{ClientId, Context, Encoding, Frame};
use crate::protocol::close::CloseReason;
use crate::protocol::command::{self, Command};
use crate::protocol::line::Decoded;
use crate::protocol::wording;
use crate::rate::{AndMore, Bucket, LogLimit, Rate};
use crate::reactor::listener::Listener;
use crate::reactor::service::{Load, Next, Policy, Service, source_token};
use crate::reactor::{Reactor, flow};
use crate::room::{self, Room};

/// A line may be so many times as long as a send buffer: it takes as many writes to each
/// reader, and delays everybody else by the time of these.
const MAX_WRITES_A_LINE: usize = 16;

/// Output that waits, and input that is unfinished, may each take this share of the memory
/// that there is at the start.
const MEMORY_SHARES: usize = 4;

const SIGNALS: Token = source_token(0);
const CONSOLE: Token = source_token(1);
const OPERATOR: Token = source_token(2);
const TRANSCRIPT: Token = source_token(3);

/// Lines of statistics for SIGUSR1: more than any script asks for. Further signals are
/// ignored; the next line counts from the start anyway.
const STATS_RATE: Rate = Rate::new(10, 20);

/// The options of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on; `None` is every address. A socket that the service manager
    /// passes is used instead.
    pub ip: Option<ScopedIp>,
    /// The port to listen on; 0 is any free port.
    pub port: u16,
    /// Whether only local networks may join, without those that the rules refuse.
    pub is_local_only: bool,
    /// Who may join.
    pub admission: admission::Limits,
    /// The options of the room.
    pub room: room::Config,
    /// The message of the day: a file whose lines newcomers get as notices.
    pub motd: Option<PathBuf>,
    /// A file to append everything said to.
    pub transcript: Option<PathBuf>,
    /// How large it may be. `None`: no limit.
    pub transcript_max_bytes: Option<u64>,
    /// The bounds of unsent output, in size and in time.
    pub flow: flow::Bounds,
    /// The size of the kernel's send buffer for each client.
    pub send_buffer_bytes: usize,
    /// The rate limit for each client's lines. `None`: no limit.
    pub rate: Option<Rate>,
    /// How long a client may send nothing. `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// Whether lines from a pipe may be commands. Those from a terminal always may.
    pub operator_commands: bool,
    /// A FIFO for the operator instead of standard input. Its lines may be commands.
    pub operator_fifo: Option<PathBuf>,
    /// Whether to write only the answers to the operator to standard output.
    pub quiet: bool,
}

/// Runs a room until SIGINT, SIGTERM, SIGXCPU or the operator closes it; or SIGHUP, if there
/// is neither a transcript nor a service manager.
///
/// # Errors
///
/// If it cannot listen, cannot use a file, or the poll fails.
pub fn run(config: &Config) -> Result<(), Error> {
    let line_bytes = config.room.max_line_bytes as usize;
    if line_bytes > MAX_WRITES_A_LINE * config.send_buffer_bytes {
        return Err(Error::Contradiction {
            max_line_bytes: line_bytes,
            send_buffer_bytes: config.send_buffer_bytes,
            least_bytes: line_bytes.div_ceil(MAX_WRITES_A_LINE),
        });
    }
    let mut room = config.room.clone();
    if let Some(path) = &config.motd {
        room.notices.extend(read_motd(path)?);
    }
    let transcript = config.transcript.as_deref();
    let transcript = transcript.map(|path| open_transcript(path, config.transcript_max_bytes));
    let mut transcript = transcript.transpose()?;
    let fifo = config.operator_fifo.as_deref();
    let fifo = fifo.map(open_operator_fifo).transpose()?;
    random_bits().map_err(Error::Random)?;
    let random = || random_bits().expect("the system had random bits at the start");
    let mut room = Room::new(room, random);
    if let (Some(path), Some(transcript)) = (&config.transcript, &mut transcript) {
        recall(&mut room, path, transcript);
    }
    // Each client needs a descriptor.
    let descriptors = raise_descriptor_limit().unwrap_or_else(|e| {
        warn!("cannot raise the limit on open files: {}", plain(&e));
        descriptor_limit()
    });
    let capacity = Capacity::of(descriptors);
    let mut limits = config.admission.clone();
    if config.is_local_only {
        limits.rules.extend(LOCAL_NETWORKS.map(Rule::Allow));
    }
    let admission = Admission::within(limits, capacity);
    let (max_clients, wanted) = (admission.max_clients(), config.admission.max_clients);
    let listener = listen(config)?;
    let address = listener.address();
    let headroom = Headroom::now();
    let share_bytes = headroom.process_bytes / MEMORY_SHARES;
    let pinned_bytes = headroom.tcp_bytes / 2;
    let flow = config.flow.within(share_bytes, pinned_bytes);
    info!(
        "at most {} bytes for output, {share_bytes} for unfinished input, and {pinned_bytes} in \
         the kernel for clients that do not read",
        flow.max_total_bytes
    );
    // Half of the descriptors for those that are refused is for those among them that come back.
    let max_outside = capacity.refused / 2;
    let policy = Policy {
        max_line_bytes: config.room.max_line_bytes,
        flow,
        max_input_bytes: share_bytes,
        rate: config.rate,
        idle_timeout: config.idle_timeout,
        max_refused: capacity.refused - max_outside,
        send_buffer_bytes: config.send_buffer_bytes,
        ..Policy::DEFAULT
    };
    let mut reactor = Reactor::new(listener, policy).map_err(Error::Poll)?;
    let manager = NotifySocket::from_env().map(|socket| {
        let watchdog = service_manager::watchdog_timeout();
        (
            socket,
            Notifications::new(address, watchdog, Instant::now()),
        )
    });
    let sources = Sources {
        transcript,
        fifo,
        manager,
    };
    let mut server = Server::new(config, admission, room, sources, max_outside, &reactor)
        .map_err(Error::Poll)?;
    info!("listening on {address}");
    // A few less are not worth a warning: no limit is set so exactly.
    if 2 * max_clients < wanted {
        warn!(
            "accepting up to {max_clients} clients, not {wanted}: the limit on open files is \
             {descriptors}; raise it (ulimit -n, LimitNOFILE=) or lower --max-clients"
        );
    } else {
        info!("accepting up to {max_clients} clients");
    }
    let mut reachable_at = addresses_to_join(address.ip());
    if config.is_local_only {
        reachable_at.retain(is_local);
    }
    server.show(&banner(address, &reachable_at));
    if config.is_local_only {
        server.show(
            "only this machine and private networks are let in; --allow lets in others instead\n",
        );
    }
    if server.operator.is_some() {
        server.show(if server.obeys_operator {
            "everyone sees what you type here; /help lists the commands\n"
        } else {
            "everyone sees each line from standard input; \
             commands need --operator-commands\n"
        });
    }
    server.tell_manager(Instant::now());
    reactor.run(&mut server).map_err(Error::Poll)?;
    info!(target: STATS, "{}", server.stats(reactor.load()));
    // Flush the console and the transcript after the last iteration.
    server.iteration_ended();
    Ok(())
}

/// On the socket from the service manager, or else at the address.
fn listen(config: &Config) -> Result<Listener, Error> {
    let passed = service_manager::take_listener().map_err(Error::PassedSocket)?;
    if let Some(passed) = passed {
        let listener = Listener::passed(passed, config.send_buffer_bytes);
        let listener = listener.map_err(Error::PassedSocket)?;
        if config.ip.is_some() {
            info!("using the socket that the service manager passed, not IP and PORT");
        }
        return Ok(listener);
    }
    let port = config.port;
    let bind = |ip: &ScopedIp| {
        let address = ip.with_port(port);
        address.and_then(|it| Listener::bind(it, config.send_buffer_bytes))
    };
    let all = ScopedIp::from(IpAddr::from(Ipv6Addr::UNSPECIFIED));
    let all_v4 = ScopedIp::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    let (ip, listener) = match &config.ip {
        Some(ip) => (ip.clone(), bind(ip)),
        None => match bind(&all) {
            // There is no IPv6, or it is disabled.
            Err(e)
                if [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
                    .map(Some)
                    .contains(&Errno::from_io_error(&e)) =>
            {
                let listener = bind(&all_v4);
                (all_v4, listener)
            }
            listener => (all, listener),
        },
    };
    listener.map_err(|source| Error::Listen { ip, port, source })
}

fn open_operator_fifo(path: &Path) -> Result<File, Error> {
    open_fifo(path).map_err(|source| Error::OpenOperatorFifo {
        path: path.to_owned(),
        source,
    })
}

/// Lets the room remember what the end of its transcript says.
fn recall(room: &mut Room, path: &Path, transcript: &mut Transcript) {
    match Tail::read(path, room::log::LOG_BYTES) {
        Ok(tail) => {
            room.recall(tail.said(), SystemTime::now().into(), Instant::now());
            if tail.is_torn {
                transcript.end_torn_line();
            }
        }
        Err(e) => warn!(
            "cannot read the transcript {} ({}); newcomers get no lines from before",
            path.display(),
            plain(&e)
        ),
    }
}

fn open_transcript(path: &Path, max_bytes: Option<u64>) -> Result<Transcript, Error> {
    Transcript::open(path, max_bytes).map_err(|source| Error::OpenTranscript {
        path: path.to_owned(),
        source,
    })
}

/// The first lines on the console: where the server listens, and how to join; what others use
/// first, then what works on this machine only.
fn banner(listening_on: SocketAddr, reachable_at: &[IpAddr]) -> String {
    let port = listening_on.port();
    let mut text = format!("listening on {listening_on}\n");
    for (is_own, heading) in [
        (false, "join with:\n"),
        (true, "on this machine only, join with:\n"),
    ] {
        let mut heading = Some(heading);
        let addresses = reachable_at.iter();
        for address in addresses.filter(|address| address.is_loopback() == is_own) {
            text.push_str(heading.take().unwrap_or_default());
            let interface = if is_link_local_v6(address) {
                "%INTERFACE"
            } else {
                ""
            };
            for program in ["chat client", "nc"] {
                writeln!(text, "  {program} {address}{interface} {port}")
                    .expect("a String takes every write");
            }
        }
    }
    if reachable_at.iter().any(is_link_local_v6) {
        text.push_str("INTERFACE is the network interface of who joins, such as eth0\n");
    }
    text
}

/// What [`Server::new`] registers.
struct Sources {
    transcript: Option<Transcript>,
    fifo: Option<File>,
    manager: Option<(NotifySocket, Notifications)>,
}

/// The reactor's service: a room with its operator, console and transcript.
struct Server {
    admission: Admission,
    attendance: Attendance,
    room: Room,
    /// For refused newcomers, who may try as often as they like.
    refusal_log: LogLimit,
    /// For slow and stalled readers.
    drop_log: LogLimit,
    /// For clients that speak another protocol.
    protocol_log: LogLimit,
    stats_bucket: Bucket,
    /// For SIGHUP, which may come as often as its sender likes.
    reload_log: LogLimit,
    console: Console<StandardOutput>,
    /// The console shows only answers to the operator.
    is_quiet: bool,
    /// Empty while every newcomer is shown at once, or none is.
    arrivals: Arrivals,
    transcript: Option<Transcript>,
    motd: Option<PathBuf>,
    /// What newcomers are shown besides the message of the day.
    notices: Vec<String>,
    /// `None` if no service manager wants to hear anything.
    manager: Option<(NotifySocket, Notifications)>,
    /// `None` if nobody can type.
    operator: Option<OperatorInput>,
    /// Whether the operator's lines may be commands. If not, all are said: what comes from a
    /// program may hold lines that others wrote.
    obeys_operator: bool,
    signals: Signals,
    closing: bool,
    /// Who was refused because the room, or its share of it, is full, and is heard for a moment.
    outside: HashMap<ClientId, Outside>,
    max_outside: usize,
}

/// A client that was refused, and may have a place that it has only lost.
struct Outside {
    address: IpAddr,
    has_said_json: bool,
}

impl Server {
    fn new(
        config: &Config,
        admission: Admission,
        room: Room,
        sources: Sources,
        max_outside: usize,
        reactor: &Reactor,
    ) -> io::Result<Self> {
        let Sources {
            mut transcript,
            fifo,
            manager,
        } = sources;
        let registry = reactor.registry();
        // SIGXCPU comes when the soft limit of CPU time is used up: the hard one leaves time
        // to say goodbye.
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGXCPU])?;
        // Under nohup(1), which ignores SIGHUP, the room shall outlive its terminal.
        if transcript.is_some() || manager.is_some() || !is_ignored(SIGHUP) {
            signals.add_signal(SIGHUP)?;
        }
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
        let output = StandardOutput::stdout();
        output.register(registry, CONSOLE)?;
        if let Some(transcript) = &mut transcript {
            transcript.register(registry, TRANSCRIPT)?;
        }
        let max_line_bytes = config.room.max_line_bytes;
        let operator = match fifo {
            Some(fifo) => OperatorInput::fifo(fifo, registry, OPERATOR, max_line_bytes).map(Some),
            None => OperatorInput::open(registry, OPERATOR, max_line_bytes),
        }?;
        let is_typed = operator.as_ref().is_some_and(OperatorInput::is_terminal);
        Ok(Self {
            admission,
            attendance: Attendance::default(),
            room,
            refusal_log: LogLimit::new(),
            drop_log: LogLimit::new(),
            protocol_log: LogLimit::new(),
            stats_bucket: Bucket::default(),
            reload_log: LogLimit::new(),
            console: Console::new(output),
            is_quiet: config.quiet,
            arrivals: Arrivals::default(),
            transcript,
            motd: config.motd.clone(),
            notices: config.room.notices.clone(),
            manager,
            operator,
            obeys_operator: is_typed || config.operator_commands || config.operator_fifo.is_some(),
            signals,
            closing: false,
            outside: HashMap::new(),
            max_outside,
        })
    }

    fn show(&mut self, lines: &str) {
        if !self.is_quiet {
            self.console.lines(lines.as_bytes());
            self.console.flush();
        }
    }

    fn show_event(&mut self, event: fmt::Arguments<'_>) {
        if !self.is_quiet {
            self.console.line(event);
        }
    }

    fn show_arrival(&mut self, address: IpAddr) {
        self.show_event(format_args!("{address} connected"));
    }

    fn stats(&self, load: Load) -> Stats {
        let attendance = self.attendance;
        Stats { attendance, load }
    }

    /// Handles pending signals. Several that close the room at once count as one.
    fn signalled(&mut self, load: Load, context: &mut Context<'_>) -> Next {
        let mut is_to_close = false;
        let pending: Vec<i32> = self.signals.pending().collect();
        for signal in pending {
            match signal {
                SIGUSR1 => {
                    if self
                        .stats_bucket
                        .ready_at(STATS_RATE, context.now)
                        .is_none()
                    {
                        self.stats_bucket.take(STATS_RATE, context.now);
                        info!(target: STATS, "{}", self.stats(load));
                    }
                }
                SIGHUP if self.transcript.is_some() || self.manager.is_some() => {
                    self.reload(context.now);
                }
                _ => is_to_close = true,
            }
        }
        if is_to_close {
            self.close(context)
        } else {
            Next::Continue
        }
    }

    /// Opens the transcript and reads the message of the day again.
    fn reload(&mut self, now: Instant) {
        if let Some((_, notifications)) = &mut self.manager {
            notifications.reloading(service_manager::monotonic_micros());
            self.tell_manager(now);
        }
        let reopened = self.transcript.as_mut().map(Transcript::reopen);
        let read = self.motd.as_deref().map(read_motd);
        let read = read.map(|motd| {
            let notices = [&self.notices[..], &motd?].concat();
            self.room.set_notices(&notices);
            Ok::<_, Error>(())
        });
        if let Some(suppressed) = self.reload_log.allow(now) {
            let more = AndMore(suppressed);
            match reopened {
                Some(Ok(())) => info!("reopened the transcript{more}"),
                Some(Err(e)) => warn!(
                    "cannot reopen the transcript ({}); still writing to the old file{more}",
                    plain(&e)
                ),
                None => {}
            }
            match read {
                Some(Ok(())) => info!("read the message of the day again{more}"),
                Some(Err(e)) => warn!("{e}; newcomers still see what it was{more}"),
                None => {}
            }
        }
        if let Some((_, notifications)) = &mut self.manager {
            notifications.reloaded();
        }
    }

    /// Sends the service manager what there is to say.
    fn tell_manager(&mut self, now: Instant) {
        if let Some((socket, notifications)) = &mut self.manager {
            notifications.deliver(now, |message| socket.send(message));
        }
    }

    /// Somebody has joined or left.
    fn attendance_changed(&mut self, now: Instant) {
        if let Some((_, notifications)) = &mut self.manager {
            notifications.changed(now);
        }
    }

    /// Shows the newcomers that have stayed.
    fn show_arrivals(&mut self, now: Instant) {
        while let Some(address) = self.arrivals.next_due(now) {
            self.show_arrival(address);
        }
    }

    /// Carries out the operator's input.
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
            if actions
                .take(&typed, self.obeys_operator, context)
                .is_break()
            {
                next = next.max(self.close(context));
            }
        }
        next
    }

    /// Hears a line of a client that was refused: it says `/json`, and then the token of a
    /// session, or is not heard any more.
    fn hear_out(
        &mut self,
        client: ClientId,
        outside: Outside,
        line: Decoded<'_>,
        context: &mut Context<'_>,
    ) -> Encoding {
        let Outside {
            address,
            has_said_json,
        } = outside;
        let command = match line {
            Decoded::Line(line @ [b'/', ..]) => command::parse(line).ok(),
            _ => None,
        };
        match command {
            Some(Command::Json) if !has_said_json => {
                let outside = Outside {
                    address,
                    has_said_json: true,
                };
                self.outside.insert(client, outside);
                Encoding::Json
            }
            Some(Command::Resume { token, seq }) if has_said_json => {
                if self.admission.readmits(address, self.max_outside)
                    && (self.room).resume_outside(client, address, token, seq, context)
                {
                    self.admission.entered(address);
                    self.attendance.joined();
                    self.attendance_changed(context.now);
                    self.show_arrival(address);
                }
                Encoding::Json
            }
            _ if matches!(line, Decoded::Line(b"")) => {
                // As inside, it says nothing.
                self.outside.insert(client, outside);
                if has_said_json {
                    Encoding::Json
                } else {
                    Encoding::Text
                }
            }
            _ => Encoding::Text,
        }
    }

    /// Closes the room gracefully; if it is closing already, exits at once.
    fn close(&mut self, context: &mut Context<'_>) -> Next {
        if self.closing {
            return Next::Exit;
        }
        info!("closing the room");
        self.closing = true;
        if let Some((_, notifications)) = &mut self.manager {
            notifications.closing();
        }
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
        self.attendance_changed(now);
        // With -v, who says nothing and leaves at once is shown, too.
        if log_enabled!(Level::Info) {
            self.show_arrival(address);
        } else if !self.is_quiet {
            self.arrivals.came(client, address, now);
            self.show_arrivals(now);
        }
        Ok(self.room.join(client, address, now))
    }

    fn hears_out(&mut self, client: ClientId, address: IpAddr, now: Instant) -> bool {
        let is_heard = self.outside.len() < self.max_outside
            && self.admission.readmits(address, self.max_outside)
            && self.room.has_sessions()
            && matches!(
                self.admission.admit(address, now),
                Err(Refusal::AddressFull { .. } | Refusal::RoomFull { .. })
            );
        if is_heard {
            let outside = Outside {
                address,
                has_said_json: false,
            };
            self.outside.insert(client, outside);
        }
        is_heard
    }

    fn received(
        &mut self,
        client: ClientId,
        line: Decoded<'_>,
        context: &mut Context<'_>,
    ) -> Encoding {
        if let Some(outside) = self.outside.remove(&client) {
            return self.hear_out(client, outside, line, context);
        }
        if let Some(address) = self.arrivals.take(client) {
            self.show_arrival(address);
        }
        self.room.hear(client, line, context)
    }

    fn held(&mut self, client: ClientId, context: &mut Context<'_>) {
        self.room.held(client, context);
    }

    fn left(
        &mut self,
        client: ClientId,
        reason: CloseReason,
        context: &mut Context<'_>,
    ) -> Option<Frame> {
        let now = context.now;
        let departed = self.room.leave(client, reason, context)?;
        self.admission.departed(client, departed.address);
        self.attendance.left(reason);
        self.attendance_changed(now);
        let who = departed.label;
        match reason {
            CloseReason::Stuck | CloseReason::TooSlow | CloseReason::Overload => {
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
        if self.arrivals.take(client).is_some() {
            // Nobody has been told that it was here.
        } else if reason.is_forced() {
            self.show_event(format_args!("{who} disconnected: {reason}"));
        } else {
            self.show_event(format_args!("{who} disconnected"));
        }
        departed.last_words
    }

    fn lingers(&mut self, client: ClientId) {
        self.admission.lingers(client);
    }

    fn closed(&mut self, client: ClientId) {
        self.outside.remove(&client);
        self.admission.closed(client);
    }

    fn gives_way(&mut self, address: IpAddr, now: Instant) -> Option<ClientId> {
        self.admission.make_room(address, now)
    }

    fn deadline(&self) -> Option<Instant> {
        let operator = self.operator.as_ref().and_then(OperatorInput::deadline);
        let manager = self.manager.as_ref().and_then(|(_, it)| it.deadline());
        let room = self.room.deadline();
        let deadlines = [room, operator, self.arrivals.due_at(), manager];
        deadlines.into_iter().flatten().min()
    }

    fn expired(&mut self, load: Load, context: &mut Context<'_>) -> Next {
        self.show_arrivals(context.now);
        self.room.expire(context);
        if let Some((_, notifications)) = &mut self.manager {
            notifications.expire(self.attendance.clients, context.now);
        }
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
            // The console or the transcript: every iteration ends with a flush of both.
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
        let manager = self.manager.as_ref();
        if manager.is_some_and(|(_, notifications)| notifications.is_pending()) {
            self.tell_manager(Instant::now());
        }
    }
}
