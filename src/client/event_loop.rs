//! The client's poll loop: moves bytes between standard input, the server, standard output
//! and those who know what they mean.
//!
//! When the showing lags, nothing more is read from either side until it has caught up,
//! and when the server lags, nothing more is read from standard input: so memory is
//! bounded, and nothing is lost.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use log::info;
use mio::{Events, Interest, Poll, Token};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::low_level::emulate_default_handler;
use signal_hook_mio::v1_0::Signals;

use super::connect::{Failure, Link, Progress};
use super::conversation::{Conversation, Naming};
use super::face::{Face, LinkStatus, Moment, Status, Wish};
use super::incoming::{Farewell, Greeting};
use super::message::{Kind, Message};
use super::pauses::Pauses;
use super::terminal::{self, Terminal};
use super::{Config, Purpose, face, input, loss};
use crate::error::Error;
use crate::interrupt::retry_interrupted;
use crate::logging;
use crate::machine::unacknowledged_bytes;
use crate::process::is_ignored;
use crate::standard_io::{Readiness, StandardInput, StandardOutput};
use crate::write_queue::{Flushed, Frame, WriteQueue};

const INPUT: Token = Token(0);
const OUTPUT: Token = Token(1);
const SERVER: Token = Token(2);
const SIGNALS: Token = Token(3);

/// Read at once from either side.
const READ_BYTES: usize = 64 * 1024;

/// The most that waits to be sent, or to be shown, before reading stops.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// How long the server may be silent after we have ended our side, before its
/// end is not waited for any more. Ours ends at once; the Python original never
/// does.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(3);

/// A server that was there for so long is tried again soon after it has gone; one that
/// comes and goes, ever more seldom.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// How long a terminal that takes nothing is waited for at the end.
const TERMINAL_TIMEOUT: Duration = Duration::from_millis(500);

/// Where what is to be said comes from.
#[derive(Clone, Debug)]
pub enum Input {
    /// From standard input.
    Standard,
    /// It is this.
    Text(String),
    /// From nowhere: nothing is said.
    None,
}

/// A client that runs.
pub struct Client {
    config: Config,
    poll: Poll,
    events: Events,
    read_buffer: Box<[u8]>,

    /// `None` once nothing more comes from there.
    input: Option<StandardInput>,
    input_readiness: Readiness,
    is_input_ready: bool,

    link: Link,
    phase: Phase,
    pauses: Pauses,
    conversation: Conversation,
    /// We are to leave once all is said.
    is_leaving: bool,
    /// The first of what was not taken, in the room's words; and how many there were.
    refusals: (Option<String>, usize),

    face: Box<dyn Face>,
    output: StandardOutput,
    to_show: WriteQueue,
    /// Nobody reads what we show any more.
    is_output_closed: bool,
    /// Taken while a person types there.
    terminal: Option<Terminal>,
    signals: Option<Signals>,
    /// What is to be done once all is shown, and when at the latest.
    departure: Option<(Departure, Instant)>,
}

/// How the connection is.
enum Phase {
    /// It is being made, for the first time or again.
    Connecting {
        is_first: bool,
    },
    Open(Open),
    /// It is to be made again then.
    Away(Instant),
    /// There is none, and will be none any more.
    Ended(Ending),
}

/// How the last connection has ended.
enum Ending {
    /// The server has ended it, or is not waited for any more.
    InOrder,
    /// It broke.
    Broken(io::Error),
    /// The user has given it up.
    GivenUp,
}

/// What is known of an open connection.
struct Open {
    since: Instant,
    is_ready: bool,
    /// Our side has been ended.
    is_sending_ended: bool,
    /// Why something could not be sent.
    send_error: Option<io::Error>,
    /// Since when the server has been silent: all that it sent has been read.
    silent_since: Instant,
}

/// How a run ends that does not fail.
enum End {
    Done,
    /// As this signal has it.
    BySignal(i32),
}

/// In what way the terminal is left.
#[derive(Clone, Copy)]
enum Departure {
    /// To be stopped for a while.
    Suspension,
    /// To end by this signal.
    End(i32),
}

impl Client {
    /// One that is to connect to a server at one of `addresses`.
    ///
    /// # Errors
    ///
    /// When something cannot be registered with the poll.
    pub fn new(config: &Config, addresses: Vec<SocketAddr>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let (face, is_at_a_terminal) = face(config);
        let mut conversation = Conversation::new(config.name.clone(), config.sends_only());
        let (input, input_readiness) = match input(config) {
            Input::Standard => {
                let input = StandardInput::new();
                let readiness = input.register(registry, INPUT)?;
                (Some(input), readiness)
            }
            Input::Text(text) => {
                conversation.say(text.as_bytes());
                (None, Readiness::Polled)
            }
            Input::None => (None, Readiness::Polled),
        };
        let output = StandardOutput::stdout();
        output.register(registry, OUTPUT)?;
        let signals = match is_at_a_terminal {
            true => Some(signals(registry)?),
            false => None,
        };
        let is_impatient = is_at_a_terminal;
        Ok(Self {
            is_leaving: input.is_none() && !matches!(config.purpose, Purpose::Tail { .. }),
            link: Link::new(addresses, is_impatient, registry.try_clone()?, SERVER),
            config: config.clone(),
            poll,
            events: Events::with_capacity(8),
            read_buffer: vec![0; READ_BYTES].into_boxed_slice(),
            input,
            input_readiness,
            is_input_ready: input_readiness == Readiness::Always,
            phase: Phase::Connecting { is_first: true },
            pauses: Pauses::new(RandomState::new().hash_one(std::process::id())),
            conversation,
            refusals: (None, 0),
            face,
            output,
            to_show: WriteQueue::new(),
            is_output_closed: false,
            terminal: None,
            signals,
            departure: None,
        })
    }

    /// Runs until it has served its purpose.
    ///
    /// # Errors
    ///
    /// Those of [`super::run`].
    pub fn run(mut self) -> Result<(), Error> {
        let end = self.run_to_end();
        if self.input.is_some() {
            StandardInput::new().discard_typed();
        }
        drop(self.terminal.take());
        logging::set_diverted(false);
        match end? {
            End::Done => Ok(()),
            End::BySignal(signal) => {
                // It does not return: all of these end programs.
                let _ = emulate_default_handler(signal);
                Ok(())
            }
        }
    }

    fn run_to_end(&mut self) -> Result<End, Error> {
        let progress = self.link.connect(Instant::now());
        self.take_progress(progress)?;
        loop {
            self.poll_and_mark().map_err(Error::Poll)?;
            let now = Moment::now();
            self.take_signals(now);
            self.read_input(now)?;
            self.grant_wishes(now);
            let progress = self.link.advance(now.instant);
            self.take_progress(progress)?;
            self.read_server(now);
            self.expire(now);
            self.grant_wishes(now);
            self.write_server();
            self.write_output()?;
            if let Some(end) = self.depart(now.instant) {
                return Ok(end);
            }
            if let Some(end) = self.end() {
                return end.map(|()| End::Done);
            }
        }
    }

    fn poll_and_mark(&mut self) -> io::Result<()> {
        // After an interruption, such as having been stopped for a while, what has
        // arrived comes before what has timed out: so poll again.
        retry_interrupted(|| {
            let timeout = self.poll_timeout();
            self.poll.poll(&mut self.events, timeout)
        })?;
        for event in &self.events {
            match event.token() {
                INPUT => self.is_input_ready = true,
                // Whether it can be written to is tried whenever there is
                // something to write.
                SERVER => {
                    if let Phase::Open(open) = &mut self.phase {
                        open.is_ready |=
                            event.is_readable() || event.is_read_closed() || event.is_error();
                    }
                }
                // Also when nothing is to be shown: it may be that nobody reads
                // it any more.
                OUTPUT => self.is_output_closed |= self.output.is_hung_up(),
                _ => {}
            }
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Duration> {
        if self.may_read_input() || self.may_read_server() {
            return Some(Duration::ZERO);
        }
        let next = self.deadlines().into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn may_read_input(&self) -> bool {
        let is_wanted = match (&self.phase, &self.terminal) {
            (Phase::Ended(_) | Phase::Connecting { is_first: true }, _) => false,
            (_, Some(_)) => self.departure.is_none(),
            (Phase::Open(_), None) => {
                !self.is_leaving && self.conversation.waiting_bytes() < MAX_WAITING_BYTES
            }
            (Phase::Connecting { .. } | Phase::Away(_), None) => false,
        };
        is_wanted
            && self.is_input_ready
            && self.input.is_some()
            && !self.is_output_closed
            && self.shows_in_time()
    }

    fn may_read_server(&self) -> bool {
        let is_ready = matches!(&self.phase, Phase::Open(open) if open.is_ready);
        is_ready && self.shows_in_time()
    }

    fn shows_in_time(&self) -> bool {
        self.to_show.queued_bytes() + self.face.waiting_bytes() < MAX_WAITING_BYTES
    }

    /// When to do something though nothing happens.
    fn deadlines(&self) -> [Option<Instant>; 4] {
        let phase = match &self.phase {
            Phase::Connecting { .. } => self.link.deadline(),
            Phase::Away(until) => Some(*until),
            Phase::Open(open) => self.silence_deadline(open),
            Phase::Ended(_) => None,
        };
        let conversation = match &self.phase {
            // Never while there is more to be read: the rest of a line may be among it.
            Phase::Open(open) if !open.is_ready => self.conversation.deadline(),
            _ => None,
        };
        let departure = self.departure.map(|(_, until)| until);
        [phase, conversation, self.face.deadline(), departure]
    }

    /// When the server is not waited for any more. What we do not listen to is no silence.
    fn silence_deadline(&self, open: &Open) -> Option<Instant> {
        let is_silent = open.is_sending_ended && !open.is_ready;
        is_silent.then_some(open.silent_since + LAST_WORDS_TIMEOUT)
    }

    fn expire(&mut self, now: Moment) {
        self.face.expire(now);
        match &self.phase {
            Phase::Away(until) if *until <= now.instant => {
                self.phase = Phase::Connecting { is_first: false };
                let progress = self.link.connect(now.instant);
                // Not the first: no failure of it is an error.
                let _ = self.take_progress(progress);
            }
            Phase::Open(open) if !open.is_ready => {
                let silence = self.silence_deadline(open);
                self.hear(now, |conversation, hear| {
                    conversation.expire(now.instant, hear);
                });
                if silence.is_some_and(|at| at <= now.instant) {
                    self.leave_in_silence(now);
                }
            }
            _ => {}
        }
    }

    fn leave_in_silence(&mut self, now: Moment) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        match self
            .link
            .stream()
            .and_then(|stream| unacknowledged_bytes(stream))
        {
            // It does not read yet, but it may.
            Some(1..) => open.silent_since = now.instant,
            _ => {
                info!("{} does not end the connection", self.link.server());
                self.phase = Phase::Ended(Ending::InOrder);
            }
        }
    }

    fn take_signals(&mut self, now: Moment) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        let pending: Vec<i32> = signals.pending().collect();
        for signal in pending {
            match signal {
                // The size is asked for whenever something is drawn.
                SIGWINCH => {}
                SIGCONT => self.come_back_to_terminal(),
                SIGTSTP => self.leave_terminal(Departure::Suspension, now),
                signal => self.leave_terminal(Departure::End(signal), now),
            }
        }
    }

    fn leave_terminal(&mut self, departure: Departure, now: Moment) {
        self.face.set_hidden(true);
        self.departure = Some((departure, now.instant + TERMINAL_TIMEOUT));
    }

    /// The terminal may have been somebody else's meanwhile.
    fn come_back_to_terminal(&mut self) {
        let Some(terminal) = &self.terminal else {
            return;
        };
        if matches!(self.departure, Some((Departure::End(_), _))) {
            return;
        }
        // If it has gone, reading from it will tell.
        let _ = terminal.take_again();
        self.departure = None;
        self.to_show.push_frame(&Frame::from(terminal::BEGIN));
        self.face.set_hidden(false);
    }

    fn read_input(&mut self, now: Moment) -> Result<(), Error> {
        if !self.may_read_input() {
            return Ok(());
        }
        let Some(input) = &mut self.input else {
            return Ok(());
        };
        match retry_interrupted(|| input.read(&mut self.read_buffer)) {
            Ok(0) => {
                self.input = None;
                self.face.input_ended(now);
            }
            Ok(count) => self.face.typed(&self.read_buffer[..count], now),
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock => {
                    self.is_input_ready = self.input_readiness == Readiness::Always;
                }
                _ => return Err(Error::ReadInput(e)),
            },
        }
        Ok(())
    }

    fn grant_wishes(&mut self, now: Moment) {
        for wish in self.face.wishes() {
            match wish {
                Wish::Say(bytes) => self.conversation.say(&bytes),
                // Whoever asks twice does not want to wait for the server.
                Wish::Leave => {
                    let is_open = matches!(self.phase, Phase::Open(_));
                    if self.is_leaving || !is_open {
                        self.phase = Phase::Ended(Ending::GivenUp);
                    }
                    self.is_leaving = true;
                }
                Wish::EndBy(signal) => self.leave_terminal(Departure::End(signal), now),
                Wish::Suspend => self.leave_terminal(Departure::Suspension, now),
            }
        }
        self.face.set_status(self.status());
        if self.terminal.is_some() {
            for line in logging::take_diverted() {
                self.face.tell(&line, false, now);
            }
        }
    }

    fn status(&self) -> Status {
        let link = match &self.phase {
            _ if self.is_leaving => LinkStatus::Leaving,
            Phase::Open(_) => LinkStatus::In {
                is_ours: self.conversation.greeting() == Greeting::Ours,
            },
            Phase::Connecting { .. } | Phase::Away(_) | Phase::Ended(_) => LinkStatus::Away,
        };
        Status {
            link,
            waiting_lines: match link {
                LinkStatus::Away => self.conversation.waiting_lines(),
                LinkStatus::In { .. } | LinkStatus::Leaving => 0,
            },
            waiting_bytes: self.conversation.waiting_bytes(),
            name: self.conversation.name().map(str::to_owned),
        }
    }

    fn take_progress(&mut self, progress: Progress) -> Result<(), Error> {
        let now = Moment::now();
        let is_first = matches!(self.phase, Phase::Connecting { is_first: true });
        match progress {
            Progress::Pending => {}
            Progress::Connected => {
                info!("connected to {}", self.link.server());
                self.conversation.connected(now.instant);
                self.phase = Phase::Open(Open {
                    since: now.instant,
                    is_ready: true,
                    is_sending_ended: false,
                    send_error: None,
                    silent_since: now.instant,
                });
                match is_first {
                    true => self.take_terminal().map_err(Error::Terminal)?,
                    false => self.face.tell("connected again", false, now),
                }
            }
            Progress::Failed(attempts) if is_first => {
                return Err(Error::Connect {
                    host: self.config.host.clone(),
                    port: self.config.port,
                    attempts,
                });
            }
            Progress::Failed(attempts) => {
                log_failures(&attempts);
                self.phase = Phase::Away(now.instant + self.pauses.next());
            }
        }
        Ok(())
    }

    fn take_terminal(&mut self) -> io::Result<()> {
        if self.signals.is_some() {
            self.terminal = Some(Terminal::take()?);
            self.to_show.push_frame(&Frame::from(terminal::BEGIN));
            logging::set_diverted(true);
        }
        Ok(())
    }

    fn read_server(&mut self, now: Moment) {
        if !self.may_read_server() {
            return;
        }
        let (Phase::Open(open), Some(stream)) = (&mut self.phase, self.link.stream()) else {
            return;
        };
        match retry_interrupted(|| stream.read(&mut self.read_buffer)) {
            Ok(0) => self.server_has_gone(None, now),
            Ok(count) => {
                let buffer = std::mem::take(&mut self.read_buffer);
                self.hear(now, |conversation, hear| {
                    conversation.received(&buffer[..count], now.instant, hear);
                });
                self.read_buffer = buffer;
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock if open.send_error.is_none() => {
                    open.is_ready = false;
                    open.silent_since = now.instant;
                    self.conversation.drained(now.instant);
                }
                _ => {
                    let source = open.send_error.take().unwrap_or(e);
                    self.server_has_gone(Some(source), now);
                }
            },
        }
    }

    /// Has the conversation do something, and the face hear of it.
    fn hear(
        &mut self,
        now: Moment,
        act: impl FnOnce(&mut Conversation, &mut dyn FnMut(&Message<'_>)),
    ) {
        let naming = self.conversation.naming();
        let Self {
            conversation,
            face,
            refusals,
            ..
        } = self;
        act(conversation, &mut |message| {
            if message.kind == Kind::Refusal {
                refusals.0.get_or_insert_with(|| message.text.to_owned());
                refusals.1 += 1;
            }
            face.heard(message, now);
        });
        if naming != Naming::Impossible && self.conversation.naming() == Naming::Impossible {
            self.face.tell("this server gives no names", true, now);
        }
    }

    /// The server has ended the connection, or it broke.
    fn server_has_gone(&mut self, why: Option<io::Error>, now: Moment) {
        self.hear(now, |conversation, hear| {
            conversation.ended(now.instant, hear)
        });
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        // What could not be sent did not have to be, if the server has let us go.
        let why = match self.conversation.farewell() {
            Farewell::Goodbye => why,
            _ => why.or(open.send_error.take()),
        };
        let is_unsure = why.is_some()
            && (self.link.stream()).is_some_and(|stream| unacknowledged_bytes(stream) > Some(0));
        if open.since + STABLE_AFTER <= now.instant {
            self.pauses.reset();
        }
        if !self.is_to_come_back() {
            self.phase = Phase::Ended(match why {
                None => Ending::InOrder,
                Some(e) => Ending::Broken(e),
            });
            return;
        }
        let mut words = loss(self.link.server(), why.as_ref());
        words.push_str(match is_unsure {
            true => "; what you said last may not have arrived; trying again",
            false => "; trying again",
        });
        self.face.tell(&words, true, now);
        self.link.close();
        self.phase = Phase::Away(now.instant + self.pauses.next());
    }

    /// Whether a connection that was lost is to be made again.
    fn is_to_come_back(&self) -> bool {
        let is_wanted = matches!(
            self.config.purpose,
            Purpose::Chat {
                reconnects: true,
                ..
            }
        );
        is_wanted
            && self.terminal.is_some()
            && !self.is_leaving
            && self.conversation.farewell() == Farewell::None
            && self.conversation.greeting() != Greeting::Refused
    }

    fn write_server(&mut self) {
        let (Phase::Open(open), Some(stream)) = (&mut self.phase, self.link.stream()) else {
            return;
        };
        if open.is_sending_ended || open.send_error.is_some() {
            return;
        }
        while !self.conversation.unwritten().is_empty() {
            match retry_interrupted(|| stream.write(self.conversation.unwritten())) {
                Ok(count) => self.conversation.wrote(count),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    // It may have said why before it went: read to the end.
                    open.send_error = Some(e);
                    open.is_ready = true;
                    return;
                }
            }
        }
        if self.is_leaving && self.conversation.is_all_written() {
            // An error means that the server has gone; reading tells that.
            let _ = stream.shutdown(Shutdown::Write);
            open.is_sending_ended = true;
            open.silent_since = Instant::now();
        }
    }

    fn write_output(&mut self) -> Result<(), Error> {
        self.face.set_status(self.status());
        if matches!(self.phase, Phase::Ended(_)) {
            self.face.set_hidden(true);
        }
        loop {
            if self.to_show.is_empty() && !self.is_output_closed && self.may_show() {
                // The signal may come later than what is to be drawn.
                if self.terminal.is_some()
                    && let Some((columns, rows)) = terminal::size()
                {
                    self.face.resized(columns, rows);
                }
                let mut bytes = Vec::new();
                self.face.compose(&mut bytes);
                self.to_show.push_frame(&Frame::from(bytes));
            }
            if self.is_output_closed {
                self.to_show.clear();
            }
            if self.to_show.is_empty() {
                return Ok(());
            }
            match self.to_show.flush(&mut self.output, usize::MAX) {
                Ok(Flushed::All) => {}
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.is_output_closed = true,
                Err(e) => return Err(Error::WriteOutput(e)),
            }
        }
    }

    /// Nothing is shown on a terminal before it is ours.
    fn may_show(&self) -> bool {
        self.signals.is_none() || self.terminal.is_some()
    }

    /// Leaves the terminal, if that is wanted and all is shown, or has had its time.
    fn depart(&mut self, now: Instant) -> Option<End> {
        let (departure, until) = self.departure?;
        if !self.to_show.is_empty() && now < until {
            return None;
        }
        if let Departure::End(signal) = departure {
            return Some(End::BySignal(signal));
        }
        self.departure = None;
        if let Some(terminal) = &self.terminal {
            terminal.give_back();
        }
        // It returns when somebody has us go on, and then SIGCONT has come as well.
        let _ = emulate_default_handler(SIGTSTP);
        None
    }

    /// Whether all is over, and how.
    fn end(&mut self) -> Option<Result<(), Error>> {
        let server = self.link.server();
        let has_unsent = !self.conversation.is_all_written();
        let is_open = matches!(self.phase, Phase::Open(_));
        if self.is_output_closed && !(is_open && has_unsent) {
            return Some(Ok(()));
        }
        if self.config.sends_only() && self.conversation.naming() == Naming::Refused {
            return Some(Err(self.refused()));
        }
        if !matches!(self.phase, Phase::Ended(_)) || !self.to_show.is_empty() {
            return None;
        }
        let Phase::Ended(ending) =
            std::mem::replace(&mut self.phase, Phase::Ended(Ending::InOrder))
        else {
            return None;
        };
        if self.conversation.greeting() == Greeting::Refused {
            let words = self.refusals.0.take();
            return Some(Err(Error::Refused {
                server,
                // Others have shown them.
                words: words.filter(|_| self.config.sends_only()),
            }));
        }
        let has_said_goodbye = self.conversation.farewell() == Farewell::Goodbye;
        let is_done = (self.is_leaving || has_said_goodbye) && !has_unsent;
        Some(match ending {
            Ending::GivenUp if has_unsent => Err(Error::NotSaid {
                server,
                lines: self.conversation.waiting_lines().max(1),
            }),
            Ending::GivenUp => Ok(()),
            Ending::InOrder if is_done && self.config.sends_only() && self.refusals.1 > 0 => {
                Err(self.refused())
            }
            Ending::InOrder if is_done => Ok(()),
            Ending::InOrder => Err(Error::ConnectionLost {
                server,
                source: None,
                unsent: has_unsent,
            }),
            Ending::Broken(e) => Err(Error::ConnectionLost {
                server,
                source: Some(e),
                unsent: has_unsent,
            }),
        })
    }

    fn refused(&mut self) -> Error {
        Error::NotTaken {
            server: self.link.server(),
            words: self.refusals.0.take().unwrap_or_default(),
            more: self.refusals.1.saturating_sub(1),
        }
    }
}

/// Those that somebody at a terminal may send us: it must be left in order.
fn signals(registry: &mio::Registry) -> io::Result<Signals> {
    let mut signals = Signals::new([SIGWINCH, SIGCONT, SIGTSTP])?;
    for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP] {
        // Who has it ignored, as nohup(1) does, wants us to go on.
        if !is_ignored(signal) {
            signals.add_signal(signal)?;
        }
    }
    registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
    Ok(signals)
}

fn log_failures(failures: &[Failure]) {
    for (address, e) in failures {
        info!("{address}: {e}");
    }
}

impl Config {
    /// Whether nothing is heard, but that what is said was taken.
    fn sends_only(&self) -> bool {
        matches!(self.purpose, Purpose::Send { .. })
    }
}
