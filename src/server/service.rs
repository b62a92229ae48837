//! What the reactor serves: the room, and what a host has around it: who is let in, the
//! console, the operator, the transcript, signals, and a service manager.

#[cfg(feature = "nats")]
mod exchange;
mod outside;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::{Level, debug, info, log_enabled, warn};
use mio::{Interest, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXCPU};
use signal_hook_mio::v1_0::Signals;

use super::admission::{Admission, Refusal};
use super::arrivals::Arrivals;
use super::config::Config;
use super::console::Console;
use super::door::{self, Door};
#[cfg(feature = "tls")]
use super::identity::Identity;
#[cfg(feature = "nats")]
use super::link::Link;
use super::motd::read_motd;
use super::notifications::Notifications;
use super::operator::actions::{Actions, Question};
use super::operator::input::{OperatorInput, Typed};
use super::password::Password;
use super::stats::{Attendance, Stats};
use super::transcript::Transcript;
#[cfg(feature = "web")]
use super::web::{Scene, Web};
use crate::error::{Error, plain};
use crate::platform::logging::STATS;
use crate::platform::proc::is_ignored;
use crate::platform::service_manager::{self, NotifySocket};
use crate::platform::stdio::StandardOutput;
use crate::protocol::batch::{ClientId, Context, Encoding, Frame, OutsiderRequest};
use crate::protocol::close::CloseReason;
use crate::protocol::line::Decoded;
use crate::protocol::wording::{self, CLOSING, NOTICE_PREFIX};
use crate::rate::{AndMore, Bucket, LogLimit, Rate};
use crate::reactor::Reactor;
#[cfg(feature = "nats")]
use crate::reactor::flow::Restraint;
use crate::reactor::service::{Load, Next, Service, source_token};
#[cfg(feature = "web")]
use crate::reactor::service::{More, Wish};
use crate::room::Room;

const SIGNALS: Token = source_token(0);
const CONSOLE: Token = source_token(1);
const OPERATOR: Token = source_token(2);
const TRANSCRIPT: Token = source_token(3);
#[cfg(feature = "nats")]
const LINK: Token = source_token(4);

/// Once so much is gathered for readers here, what was said at other servers waits for the next
/// batch.
#[cfg(feature = "nats")]
const LINK_BUDGET_BYTES: usize = 64 * 1024;

/// Lines of statistics for SIGUSR1: more than any script asks for. Further signals are
/// ignored; the next line counts from the start anyway.
const STATS_RATE: Rate = Rate::new(10, 20);

/// How long a client that was refused has to show that it has a place.
const HEAR_OUT_TIMEOUT: Duration = Duration::from_secs(1);

/// What [`Server::new`] registers, and the door.
pub(super) struct Sources {
    pub(super) door: Option<Door>,
    pub(super) transcript: Option<Transcript>,
    pub(super) fifo: Option<File>,
    pub(super) manager: Option<(NotifySocket, Notifications)>,
    /// What SIGHUP reads again, too.
    #[cfg(feature = "tls")]
    pub(super) identity: Option<Identity>,
}

/// However many clients an address may have, so many handshakes of TLS may come from it at once:
/// then each is told why it is refused.
const MIN_HANDSHAKES_PER_ADDRESS: usize = 8;

/// The reactor's service: a room with its operator, console and transcript.
pub(super) struct Server {
    admission: Admission,
    /// `None` if the room has no password.
    door: Option<Door>,
    password_file: Option<PathBuf>,
    max_line_bytes: u32,
    attendance: Attendance,
    room: Room,
    /// For refused newcomers, who may try as often as they like.
    refusal_log: LogLimit,
    /// For wrong passwords.
    guess_log: LogLimit,
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
    /// `None` if there is no web port.
    #[cfg(feature = "web")]
    web: Option<Web>,
    /// `None` if all of the room is at this server.
    #[cfg(feature = "nats")]
    link: Option<Link>,
    /// `None` if no service manager wants to hear anything.
    manager: Option<(NotifySocket, Notifications)>,
    /// `None` without TLS.
    #[cfg(feature = "tls")]
    identity: Option<Identity>,
    /// `None` if nobody can type, or who does types at the console.
    operator: Option<OperatorInput>,
    /// Whether the operator's lines may be commands. If not, all are said: what comes from a
    /// program may hold lines that others wrote.
    pub(super) obeys_operator: bool,
    /// Whether a person types the operator's lines.
    is_typed: bool,
    question: Option<Question>,
    signals: Signals,
    /// Whether SIGHUP reads files again. Else it closes the room.
    hup_reloads: bool,
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
    pub(super) fn new(
        config: &Config,
        admission: Admission,
        room: Room,
        sources: Sources,
        max_outside: usize,
        reactor: &Reactor,
    ) -> io::Result<Self> {
        let Sources {
            door,
            mut transcript,
            fifo,
            manager,
            #[cfg(feature = "tls")]
            identity,
        } = sources;
        let registry = reactor.registry();
        // SIGXCPU comes when the soft limit of CPU time is used up: the hard one leaves time
        // to say goodbye.
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGUSR1, SIGXCPU])?;
        // Under nohup(1), which ignores SIGHUP, the room shall outlive its terminal.
        let hup_reloads = transcript.is_some() || manager.is_some() || door.is_some();
        #[cfg(feature = "tls")]
        let hup_reloads = hup_reloads || identity.as_ref().is_some_and(Identity::is_from_files);
        if hup_reloads || !is_ignored(SIGHUP) {
            signals.add_signal(SIGHUP)?;
        }
        if let Some(transcript) = &mut transcript {
            transcript.register(registry, TRANSCRIPT)?;
        }
        let max_line_bytes = config.room.max_line_bytes;
        let tokens = (OPERATOR, CONSOLE);
        let (console, operator) = match fifo {
            Some(fifo) => {
                let operator = OperatorInput::fifo(fifo, registry, OPERATOR, max_line_bytes)?;
                (None, Some(operator))
            }
            None => match Console::at_terminal(registry, tokens, max_line_bytes, config.quiet)? {
                Some(console) => (Some(console), None),
                None => {
                    let operator = OperatorInput::open(registry, OPERATOR, max_line_bytes)?;
                    (None, operator)
                }
            },
        };
        let console = match console {
            Some(console) => console,
            None => Console::lines_only(registry, CONSOLE)?,
        };
        for signal in console.signals() {
            signals.add_signal(signal)?;
        }
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
        let is_typed =
            console.is_typed_at() || operator.as_ref().is_some_and(OperatorInput::is_terminal);
        Ok(Self {
            admission,
            door,
            password_file: config.password_file.clone(),
            max_line_bytes,
            attendance: Attendance::default(),
            room,
            refusal_log: LogLimit::new(),
            guess_log: LogLimit::new(),
            drop_log: LogLimit::new(),
            protocol_log: LogLimit::new(),
            stats_bucket: Bucket::default(),
            reload_log: LogLimit::new(),
            console,
            is_quiet: config.quiet,
            arrivals: Arrivals::default(),
            transcript,
            motd: config.motd.clone(),
            notices: config.room.notices.clone(),
            #[cfg(feature = "web")]
            web: (config.web.as_ref())
                .map(|web| Web::new(web, config.has_tls(), max_line_bytes, config.rate)),
            #[cfg(feature = "nats")]
            link: None,
            manager,
            #[cfg(feature = "tls")]
            identity,
            hup_reloads,
            operator,
            obeys_operator: is_typed || config.operator_commands || config.operator_fifo.is_some(),
            is_typed,
            question: None,
            signals,
            closing: false,
            outside: HashMap::new(),
            max_outside,
        })
    }

    #[cfg(not(feature = "nats"))]
    fn serve_link(&mut self, _context: &mut Context<'_>) {}

    #[cfg(not(feature = "nats"))]
    fn exchange(&mut self, _context: &mut Context<'_>) {}

    pub(super) fn show(&mut self, lines: &str) {
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

    pub(super) fn stats(&self, load: Load) -> Stats {
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
                SIGHUP if self.hup_reloads => self.reload(context.now),
                SIGINT | SIGTERM | SIGHUP | SIGXCPU => is_to_close = true,
                signal => self.console.signalled(signal),
            }
        }
        if is_to_close {
            self.close(context)
        } else {
            Next::Continue
        }
    }

    /// Opens the transcript and reads the message of the day, the certificate and the password
    /// again.
    fn reload(&mut self, now: Instant) {
        if let Some((_, notifications)) = &mut self.manager {
            notifications.reloading(service_manager::monotonic_micros());
            self.tell_manager(now);
        }
        let reopened = self.transcript.as_mut().map(Transcript::reopen);
        let password = self.password_file.as_deref();
        let password = password.map(|path| Password::read(path, self.max_line_bytes));
        let password = password.map(|password| {
            if let Some(door) = &mut self.door {
                door.set_password(password?);
            }
            Ok::<_, Error>(())
        });
        let read = self.motd.as_deref().map(read_motd);
        let read = read.map(|motd| {
            let notices = [&self.notices[..], &motd?].concat();
            self.room.set_notices(&notices);
            Ok::<_, Error>(())
        });
        #[cfg(feature = "tls")]
        let shown = self.identity.as_ref().map(|identity| {
            let before = identity.fingerprint().ok();
            Ok::<_, Error>((before, identity.reload()?))
        });
        if let Some(suppressed) = self.reload_log.allow(now) {
            let more = AndMore(suppressed);
            #[cfg(feature = "tls")]
            match shown {
                Some(Ok((Some(before), key))) if before != key => warn!(
                    "the room's key is {key} now; guests who know {before} are warned, and have \
                     to forget it{more}"
                ),
                Some(Ok((_, key))) => info!("read the certificate again, for the key {key}{more}"),
                Some(Err(e)) => warn!("{e}; newcomers are still shown what it was{more}"),
                None => {}
            }
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
            match password {
                Some(Ok(())) => info!("read the password again{more}"),
                Some(Err(e)) => warn!("{e}; the password is still what it was{more}"),
                None => {}
            }
        }
        if let Some((_, notifications)) = &mut self.manager {
            notifications.reloaded();
        }
    }

    /// Sends the service manager what there is to say.
    pub(super) fn tell_manager(&mut self, now: Instant) {
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
        while let Some(typed) = self.next_typed(context.now) {
            let stats = self.stats(load);
            #[cfg(feature = "tls")]
            let key = self.identity.as_ref().and_then(|it| it.fingerprint().ok());
            let mut actions = Actions {
                #[cfg(feature = "tls")]
                key,
                room: &mut self.room,
                admission: &mut self.admission,
                console: &mut self.console,
                stats,
                may_ask: self.is_typed,
                question: &mut self.question,
            };
            if actions
                .take(&typed, self.obeys_operator, context)
                .is_break()
            {
                next = next.max(self.close(context));
            }
        }
        self.exchange(context);
        next
    }

    fn next_typed(&mut self, now: Instant) -> Option<Typed> {
        match &mut self.operator {
            Some(operator) => operator.next_line(now),
            None => self.console.next_typed(now, || self.room.everybody()),
        }
    }

    /// Whether anybody can type.
    pub(super) fn has_operator(&self) -> bool {
        self.operator.is_some() || self.console.is_typed_at()
    }

    /// Why somebody at `address` is refused: it is counted and logged, and is told this.
    fn refused(&mut self, address: IpAddr, refusal: Refusal, now: Instant) -> Frame {
        self.attendance.refused.count(refusal);
        if let Some(suppressed) = self.refusal_log.allow(now) {
            info!("refused {address}: {refusal}{}", AndMore(suppressed));
        }
        wording::refusal(refusal)
    }

    /// Somebody at `address` is in the room now.
    fn entered(&mut self, address: IpAddr, now: Instant) {
        debug!("{address} joined");
        self.admission.entered(address);
        self.attendance.joined();
        self.attendance_changed(now);
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
        #[cfg(feature = "nats")]
        if let Some(link) = &mut self.link {
            link.leave(context.now);
        }
        self.exchange(context);
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
        let is_secured = self.room.is_secured(client);
        let admitted = match &self.door {
            Some(_) => self.admission.admits(address, now),
            None => self.admission.admit(address, now),
        };
        let admitted = admitted.and_then(|()| self.admission.admits_by(address, is_secured));
        admitted.map_err(|refusal| self.refused(address, refusal, now))?;
        if let Some(door) = &mut self.door {
            if let Some((crowded_out, words)) = door.came(client, address) {
                self.attendance.refused.password += 1;
                let request = OutsiderRequest::TurnAway(crowded_out, words);
                context.batch.request_for_outsider(request);
            }
            return Err(Door::greeting());
        }
        self.entered(address, now);
        // With -v, who says nothing and leaves at once is shown, too.
        if log_enabled!(Level::Info) {
            self.show_arrival(address);
        } else if !self.is_quiet {
            self.arrivals.came(client, address, now);
            self.show_arrivals(now);
        }
        Ok(self.room.join(client, address, now))
    }

    fn secured(&mut self, client: ClientId) {
        self.room.secure(client);
    }

    fn is_address_full(&self, address: IpAddr, more: usize) -> bool {
        let left = self.admission.left_for(address);
        left.is_some_and(|left| left.max(MIN_HANDSHAKES_PER_ADDRESS) <= more)
    }

    fn hears_out(&mut self, client: ClientId, address: IpAddr, now: Instant) -> Option<Duration> {
        if self.door.as_ref().is_some_and(|door| door.has(client)) {
            return Some(door::PATIENCE);
        }
        if self.outside.contains_key(&client) {
            return Some(HEAR_OUT_TIMEOUT);
        }
        let is_heard = self.may_have_a_place(client, address, now);
        if is_heard {
            let outside = Outside {
                address,
                has_said_json: false,
            };
            self.outside.insert(client, outside);
        }
        is_heard.then_some(HEAR_OUT_TIMEOUT)
    }

    fn heard_out(&mut self, client: ClientId) -> Option<Frame> {
        let last_words = self.door.as_mut()?.give_up(client)?;
        self.attendance.refused.password += 1;
        Some(last_words)
    }

    fn let_in(
        &mut self,
        outsider: ClientId,
        client: ClientId,
        address: IpAddr,
        context: &mut Context<'_>,
    ) -> Result<Frame, Frame> {
        let reads = self.door.as_mut().and_then(|door| door.remove(outsider));
        let reads = reads.unwrap_or_default();
        if self.closing {
            return Err(wording::notice(format_args!("{NOTICE_PREFIX}{CLOSING}")));
        }
        let admitted = self.admission.admit(address, context.now);
        if let Err(refusal) = admitted {
            let words = self.refused(address, refusal, context.now);
            if reads == Encoding::Json && self.may_have_a_place(client, address, context.now) {
                let outside = Outside {
                    address,
                    has_said_json: true,
                };
                self.outside.insert(client, outside);
            }
            return Err(words);
        }
        self.entered(address, context.now);
        self.show_arrival(address);
        Ok(self.room.join_welcomed(client, address, reads, context))
    }

    #[cfg(feature = "web")]
    fn visits(&mut self, visitor: ClientId, address: IpAddr) -> bool {
        let web = self.web.as_mut();
        web.is_some_and(|web| web.visits(visitor, address, &self.admission))
    }

    #[cfg(feature = "web")]
    fn asked(
        &mut self,
        visitor: ClientId,
        bytes: &[u8],
        more: More,
        load: Load,
        context: &mut Context<'_>,
    ) -> Wish {
        let stats = self.stats(load);
        let Some(web) = &mut self.web else {
            return Wish::None;
        };
        let now = context.now;
        let scene = Scene {
            admission: &self.admission,
            door: self.door.as_mut(),
            room: &mut self.room,
            stats,
            is_closing: self.closing,
            context,
        };
        let wish = web.asked(visitor, bytes, more, scene);
        self.log_failure(now);
        self.exchange(context);
        wish
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
        if self.door.as_ref().is_some_and(|door| door.has(client)) {
            return self.hear_at_door(client, line, context);
        }
        if let Some(address) = self.arrivals.take(client) {
            self.show_arrival(address);
        }
        let reads = self.room.hear(client, line, context);
        self.exchange(context);
        reads
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
        if let Some(door) = &mut self.door {
            door.remove(client);
        }
        self.admission.closed(client);
        self.room.closed(client);
        #[cfg(feature = "web")]
        if let Some(web) = &mut self.web {
            web.closed(client);
        }
    }

    fn gives_way(&mut self, address: IpAddr, now: Instant) -> Option<ClientId> {
        self.admission.make_room(address, now)
    }

    fn deadline(&self) -> Option<Instant> {
        let operator = self.operator.as_ref().and_then(OperatorInput::deadline);
        let manager = self.manager.as_ref().and_then(|(_, it)| it.deadline());
        let room = self.room.deadline();
        let console = self.console.deadline();
        #[cfg(feature = "nats")]
        let link = self.link.as_ref().map(Link::deadline);
        #[cfg(not(feature = "nats"))]
        let link = None;
        let arrivals = self.arrivals.due_at();
        let deadlines = [room, operator, console, arrivals, manager, link];
        deadlines.into_iter().flatten().min()
    }

    fn expired(&mut self, load: Load, context: &mut Context<'_>) -> Next {
        self.show_arrivals(context.now);
        self.room.expire(context);
        self.serve_link(context);
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
                match &mut self.operator {
                    Some(operator) => operator.mark_ready(),
                    None => self.console.mark_ready(),
                }
                self.hear_operator(load, context)
            }
            #[cfg(feature = "nats")]
            LINK => {
                if let Some(link) = &mut self.link {
                    link.mark_ready();
                }
                self.serve_link(context);
                Next::Continue
            }
            // The console or the transcript: every iteration ends with a flush of both.
            _ => Next::Continue,
        })
    }

    #[cfg(feature = "nats")]
    fn restraint(&mut self, is_anybody_behind: bool) -> Restraint {
        let link = self.link.as_mut();
        link.map_or(Restraint::Nobody, |it| it.restraint(is_anybody_behind))
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
        #[cfg(feature = "nats")]
        if let Some(link) = &mut self.link {
            link.settle(self.room.here());
        }
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
