//! The user's side of the client: standard input and output, and the terminal with its
//! signals and job control.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use rustix::process::Signal;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook_mio::v1_0::Signals;

use super::session::Session;
use crate::error::Error;
use crate::frontend::terminal::{self, Terminal};
use crate::frontend::{Action, Frontend, Moment};
use crate::platform::job::{self, SignalTarget};
use crate::platform::logging;
use crate::platform::proc::is_ignored;
use crate::platform::socket::retry_interrupted;
use crate::platform::stdio::{
    BufferedOutput, Readiness, StandardInput, StandardOutput, terminal_size,
};

/// At this much unwritten output, nothing more is read that would add to it.
const MAX_UNSHOWN_BYTES: usize = 256 * 1024;

/// How long to wait for a stalled terminal at the end.
const TERMINAL_TIMEOUT: Duration = Duration::from_millis(500);

/// A frontend, with the input and output that it is for.
pub(crate) struct User {
    frontend: Box<dyn Frontend>,
    /// `None` after its end.
    input: Option<StandardInput>,
    input_readiness: Readiness,
    is_input_ready: bool,
    output: BufferedOutput,
    /// Nobody reads the output any more.
    is_output_closed: bool,
    /// In raw mode, once it is taken.
    terminal: Option<Terminal>,
    /// Those that a terminal sends; `None` without a terminal to take.
    signals: Option<Signals>,
    /// What to do once everything is written, or by then.
    departure: Option<(Departure, Instant)>,
    /// Whether [`terminal::BEGIN`] is written, and [`terminal::END`] is still to follow.
    needs_end: bool,
    #[cfg(feature = "client")]
    records: Option<super::records::Records>,
}

/// How the terminal is left.
#[derive(Clone, Copy)]
enum Departure {
    Suspend(SignalTarget),
    /// End by this signal.
    End(i32, SignalTarget),
}

/// What standard input and output are used for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    pub(crate) reads_input: bool,
    /// Whether anything is ever written to standard output.
    pub(crate) shows: bool,
    /// Whether both are a terminal that a person uses.
    pub(crate) is_terminal: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    pub(crate) input: Token,
    pub(crate) output: Token,
    pub(crate) signals: Token,
}

impl User {
    /// Registers the streams. A terminal is taken later, by [`User::take_terminal`].
    pub(crate) fn new(
        frontend: Box<dyn Frontend>,
        streams: Streams,
        registry: &Registry,
        tokens: Tokens,
    ) -> io::Result<Self> {
        let input = streams.reads_input.then(StandardInput::new);
        let input_readiness = match &input {
            Some(input) => input.register(registry, tokens.input)?,
            None => Readiness::Polled,
        };
        let output = StandardOutput::stdout();
        // Where nothing is written it does not matter whether anybody reads.
        if streams.shows {
            output.register(registry, tokens.output)?;
        }
        let signals = if streams.is_terminal {
            Some(register_signals(registry, tokens.signals)?)
        } else {
            None
        };
        Ok(Self {
            frontend,
            input,
            input_readiness,
            is_input_ready: input_readiness == Readiness::Always,
            output: BufferedOutput::new(output),
            is_output_closed: false,
            terminal: None,
            signals,
            departure: None,
            needs_end: false,
            #[cfg(feature = "client")]
            records: None,
        })
    }

    /// Writes down in `records` what is typed and shown.
    #[cfg(feature = "client")]
    pub(crate) fn keep(&mut self, records: super::records::Records) {
        self.records = Some(records);
    }

    pub(crate) fn frontend(&mut self) -> &mut dyn Frontend {
        &mut *self.frontend
    }

    /// Whether nobody reads the output any more.
    pub(crate) fn is_output_closed(&self) -> bool {
        self.is_output_closed
    }

    /// Takes the terminal, if there is one and it is not taken yet. In the background this
    /// suspends the program instead, as reading would, until it is in the foreground.
    ///
    /// # Errors
    ///
    /// Those of tcsetattr(3).
    pub(crate) fn take_terminal(&mut self, now: Moment) -> io::Result<()> {
        if self.signals.is_none() || self.terminal.is_some() || self.departure.is_some() {
            return Ok(());
        }
        if terminal::is_somebody_elses() {
            if !job::can_be_resumed() {
                let words = "another program has it, and there is no shell to hand it over";
                return Err(io::Error::other(words));
            }
            self.leave_terminal(Departure::Suspend(SignalTarget::Process), now);
            return Ok(());
        }
        self.terminal = Some(Terminal::take()?);
        self.begin_terminal();
        self.frontend.set_hidden(false);
        logging::set_diverted(true);
        Ok(())
    }

    pub(crate) fn mark_input_ready(&mut self) {
        self.is_input_ready = true;
    }

    /// Something has happened to the output: its reader may have gone, also while nothing is
    /// to be written.
    pub(crate) fn look_at_output(&mut self) {
        self.is_output_closed |= self.output.output().is_hung_up();
    }

    /// Whether the output keeps up; if not, nothing more may be read that would add to it.
    pub(crate) fn keeps_up(&self) -> bool {
        self.departure.is_none()
            && self.output.waiting_bytes() + self.frontend.waiting_bytes() < MAX_UNSHOWN_BYTES
    }

    /// Whether to read standard input now: a pipe or file only if the `session` takes more, a
    /// terminal always.
    pub(crate) fn may_read_input(&self, session: &Session) -> bool {
        let is_wanted = match &self.terminal {
            // Whatever else lags, the user needs a way out.
            Some(_) => self.departure.is_none(),
            None => session.takes_more() && self.keeps_up(),
        };
        is_wanted && self.is_input_ready && self.input.is_some() && !self.is_output_closed
    }

    /// Reads at most one `buffer` of standard input.
    ///
    /// # Errors
    ///
    /// Those of read(2).
    pub(crate) fn read_input(&mut self, buffer: &mut [u8], now: Moment) -> Result<(), Error> {
        let Some(input) = &mut self.input else {
            return Ok(());
        };
        match retry_interrupted(|| input.read(buffer)) {
            Ok(0) => {
                self.input = None;
                self.frontend.input_ended(now);
            }
            Ok(count) => self.frontend.typed(&buffer[..count], now),
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock => {
                    self.is_input_ready = self.input_readiness == Readiness::Always;
                }
                _ => return Err(Error::ReadInput(e)),
            },
        }
        Ok(())
    }

    /// Carries out what the user wants done, and shows the state of the `session`.
    pub(crate) fn perform_actions(&mut self, session: &mut Session, now: Moment) {
        for action in self.frontend.actions() {
            match action {
                Action::Say(bytes) => session.say(&bytes),
                Action::Leave => session.leave(),
                Action::Hurry => session.hurry(now),
                Action::GivePassword(password) => {
                    session.give_password(password, now, &mut *self.frontend);
                }
                Action::TrustKey(is_trusted) => {
                    session.trust_key(is_trusted, now, &mut *self.frontend);
                }
                Action::EndBy(signal) => {
                    self.leave_terminal(Departure::End(signal, SignalTarget::Foreground), now);
                }
                Action::Suspend => {
                    self.leave_terminal(Departure::Suspend(SignalTarget::Foreground), now)
                }
            }
        }
        self.frontend.set_status(&session.status(now));
        self.frontend.set_next_try(session.next_try(now.instant));
        if session.has_ended() {
            self.frontend.set_hidden(true);
        }
        for line in logging::take_diverted() {
            self.frontend.notify(&line, false, now);
        }
        #[cfg(feature = "client")]
        if let Some(records) = &mut self.records {
            records.note(&mut *self.frontend, session.was_let_in(), now);
        }
    }

    /// Acts on the signals that have come.
    pub(crate) fn take_signals(&mut self, now: Moment) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        let pending: Vec<i32> = signals.pending().collect();
        // A shell's kill(1) resumes a suspended program before it ends it; the order in which
        // both signals arrive is open.
        for &signal in &pending {
            match signal {
                // The size is read whenever something is drawn.
                SIGWINCH | SIGCONT => {}
                SIGTSTP => self.leave_terminal(Departure::Suspend(SignalTarget::Process), now),
                signal => self.leave_terminal(Departure::End(signal, SignalTarget::Process), now),
            }
        }
        if pending.contains(&SIGCONT) && !pending.contains(&SIGTSTP) {
            self.come_back_to_terminal(now);
        }
    }

    /// When [`User::expire`] or [`User::depart`] is next due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let departure = self.departure.map(|(_, until)| until);
        [departure, self.frontend.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Acts on deadlines that have passed.
    pub(crate) fn expire(&mut self, now: Moment) {
        self.frontend.expire(now);
    }

    /// Writes as much of the output as is taken.
    ///
    /// # Errors
    ///
    /// Those of write(2), but for EPIPE.
    pub(crate) fn show(&mut self) -> Result<(), Error> {
        loop {
            if self.is_output_closed {
                self.output.clear();
                return Ok(());
            }
            if self.output.is_empty() && self.may_show() {
                self.compose();
            }
            if self.departure.is_some() && std::mem::take(&mut self.needs_end) {
                self.output.buffer().extend_from_slice(terminal::END);
            }
            if self.output.is_empty() {
                return Ok(());
            }
            match self.output.write_waiting() {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.is_output_closed = true,
                Err(e) => return Err(Error::WriteOutput(e)),
            }
        }
    }

    pub(crate) fn is_all_shown(&self) -> bool {
        self.output.is_empty()
    }

    /// Leaves the terminal, if that is wanted and everything is written or the deadline has
    /// passed: suspends the program, or returns the signal by which it is to end.
    pub(crate) fn depart(&mut self, now: Instant) -> Option<(i32, SignalTarget)> {
        let (departure, until) = self.departure?;
        if !self.output.is_empty() && now < until {
            return None;
        }
        let target = match departure {
            Departure::End(signal, target) => return Some((signal, target)),
            Departure::Suspend(target) => target,
        };
        self.departure = None;
        if let Some(terminal) = &self.terminal {
            terminal.give_back();
        }
        // Returns once the program is resumed; SIGCONT has come by then.
        target.send(Signal::STOP);
        None
    }

    /// Nothing is written to a terminal before it is ours.
    fn may_show(&self) -> bool {
        self.signals.is_none() || self.terminal.is_some()
    }

    fn compose(&mut self) {
        // SIGWINCH may come later than what is to be drawn.
        if let Some((columns, rows)) = terminal_size() {
            self.frontend.resized(columns, rows);
        }
        self.frontend.compose(self.output.buffer());
    }

    fn leave_terminal(&mut self, departure: Departure, now: Moment) {
        if matches!(self.departure, Some((Departure::End(..), _))) {
            return;
        }
        if matches!(departure, Departure::Suspend(_)) && !job::can_be_resumed() {
            return (self.frontend).notify(terminal::NOT_SUSPENDED, true, now);
        }
        self.frontend.set_hidden(true);
        self.departure = Some((departure, now.instant + TERMINAL_TIMEOUT));
    }

    /// Another program may have had the terminal meanwhile, or still have it.
    fn come_back_to_terminal(&mut self, now: Moment) {
        if matches!(self.departure, Some((Departure::End(..), _))) {
            return;
        }
        self.departure = None;
        if self.terminal.is_some() && terminal::is_somebody_elses() {
            return self.leave_terminal(Departure::Suspend(SignalTarget::Process), now);
        }
        self.frontend.set_hidden(false);
        if let Some(terminal) = &self.terminal {
            // If it has gone, reading will tell.
            let _ = terminal.take_again();
            self.begin_terminal();
        }
    }

    fn begin_terminal(&mut self) {
        self.output.buffer().extend_from_slice(terminal::BEGIN);
        self.needs_end = true;
    }
}

impl Drop for User {
    /// Leaves the terminal as it was found. Unread input is discarded, so that no other program
    /// gets it.
    fn drop(&mut self) {
        if self.terminal.is_some() && !terminal::is_somebody_elses() {
            // After an error something may still be drawn. What the terminal does not take at
            // once is lost.
            self.frontend.set_hidden(true);
            let _ = self.show();
        }
        if self.input.is_some() {
            StandardInput::new().discard_typed();
        }
        drop(self.terminal.take());
        logging::set_diverted(false);
    }
}

/// The signals after which the terminal must be left in order.
fn register_signals(registry: &Registry, token: Token) -> io::Result<Signals> {
    let mut signals = Signals::new([SIGWINCH, SIGCONT])?;
    for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGTSTP] {
        // An ignored signal, as under nohup(1), stays ignored.
        if !is_ignored(signal) {
            signals.add_signal(signal)?;
        }
    }
    registry.register(&mut signals, token, Interest::READABLE)?;
    Ok(signals)
}
