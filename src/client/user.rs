//! The user's side of the client: standard input and output, and the terminal with its
//! signals.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};
use rustix::stdio::stdin;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook_mio::v1_0::Signals;

use super::frontend::{Action, Frontend, Moment};
use super::session::Session;
use super::terminal::{self, Terminal};
use crate::error::Error;
use crate::interrupt::retry_interrupted;
use crate::job;
use crate::logging;
use crate::process::is_ignored;
use crate::standard_io::{Readiness, StandardInput, StandardOutput};

/// The most that waits to be shown before nothing more is read that would be.
const MAX_UNSHOWN_BYTES: usize = 256 * 1024;

/// How long a terminal that takes nothing is waited for at the end.
const TERMINAL_TIMEOUT: Duration = Duration::from_millis(500);

/// Where what is typed comes from, and where things are shown.
pub struct User {
    frontend: Box<dyn Frontend>,
    /// `None` once nothing more comes from there.
    input: Option<StandardInput>,
    input_readiness: Readiness,
    is_input_ready: bool,
    output: StandardOutput,
    to_show: Vec<u8>,
    /// So much of that is shown.
    shown_bytes: usize,
    /// Nobody reads what we show any more.
    is_output_closed: bool,
    /// Taken while a person types there.
    terminal: Option<Terminal>,
    /// Those of the terminal, if there is one to be taken.
    signals: Option<Signals>,
    /// What is to be done once all is shown, and when at the latest.
    departure: Option<(Departure, Instant)>,
    /// Whether the terminal was told what it is told first, and not yet what it is told last.
    is_told: bool,
}

/// In what way the terminal is left.
#[derive(Clone, Copy)]
enum Departure {
    /// To be stopped for a while.
    Suspension(Whom),
    /// To end by this signal.
    End(i32, Whom),
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// This process, which has got it.
    Us,
    /// All processes that the terminal has in its foreground: it was typed.
    Foreground,
}

impl Whom {
    /// Sends them `signal`, as the kernel would. That a process may not signal itself, or its
    /// group, is not known.
    pub fn send(self, signal: Signal) {
        let is_in_foreground = || job::has_foreground(stdin()) == Some(true);
        let _ = match self {
            Self::Foreground if is_in_foreground() => kill_current_process_group(signal),
            _ => kill_process(getpid(), signal),
        };
    }
}

/// What a user has of standard input and output.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    /// Whether the input is read.
    pub reads_input: bool,
    /// Whether anything is ever shown.
    pub shows: bool,
    /// Whether both are a terminal with somebody before it.
    pub are_a_terminal: bool,
}

/// The tokens of what a user is registered by.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Standard input.
    pub input: Token,
    /// Standard output.
    pub output: Token,
    /// The signals.
    pub signals: Token,
}

impl User {
    /// One who sees `frontend`. A terminal is taken later, if there is one.
    ///
    /// # Errors
    ///
    /// When something cannot be registered.
    pub fn new(
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
        // Where nothing is shown it does not matter who reads it.
        if streams.shows {
            output.register(registry, tokens.output)?;
        }
        let signals = match streams.are_a_terminal {
            true => Some(register_signals(registry, tokens.signals)?),
            false => None,
        };
        Ok(Self {
            frontend,
            input,
            input_readiness,
            is_input_ready: input_readiness == Readiness::Always,
            output,
            to_show: Vec::new(),
            shown_bytes: 0,
            is_output_closed: false,
            terminal: None,
            signals,
            departure: None,
            is_told: false,
        })
    }

    /// What the user sees.
    pub fn frontend(&mut self) -> &mut dyn Frontend {
        &mut *self.frontend
    }

    /// Whether nobody sees what is shown any more.
    pub fn is_output_closed(&self) -> bool {
        self.is_output_closed
    }

    /// Takes the terminal, if there is one and it is not ours yet. In the background it
    /// stops us instead, as reading from it would, until we are in the foreground.
    ///
    /// # Errors
    ///
    /// Those of tcsetattr(3).
    pub fn take_terminal(&mut self, now: Moment) -> io::Result<()> {
        if self.signals.is_none() || self.terminal.is_some() || self.departure.is_some() {
            return Ok(());
        }
        if terminal::is_somebody_elses() {
            if !job::can_be_resumed() {
                let words = "it belongs to another program, and no shell could give it to this one";
                return Err(io::Error::other(words));
            }
            self.leave_terminal(Departure::Suspension(Whom::Us), now);
            return Ok(());
        }
        self.terminal = Some(Terminal::take()?);
        self.tell_terminal();
        self.frontend.set_hidden(false);
        logging::set_diverted(true);
        Ok(())
    }

    /// Something may have been typed.
    pub fn mark_input_ready(&mut self) {
        self.is_input_ready = true;
    }

    /// Something has happened to the output, also while nothing is to be shown: it may be
    /// that nobody reads it any more.
    pub fn look_at_output(&mut self) {
        self.is_output_closed |= self.output.is_hung_up();
    }

    /// Whether what is shown keeps up with what happens: else nothing more is to.
    pub fn keeps_up(&self) -> bool {
        self.departure.is_none()
            && self.to_show.len() + self.frontend.waiting_bytes() < MAX_UNSHOWN_BYTES
    }

    /// Whether what is typed is to be read now; of a pipe or file only if the `session`
    /// takes it, while a person may always type.
    pub fn may_read_input(&self, session: &Session) -> bool {
        let is_wanted = match &self.terminal {
            // Whatever else lags: there has to be a way out.
            Some(_) => self.departure.is_none(),
            None => session.takes_more() && self.keeps_up(),
        };
        is_wanted && self.is_input_ready && self.input.is_some() && !self.is_output_closed
    }

    /// Reads what was typed, as much as `buffer` holds.
    ///
    /// # Errors
    ///
    /// Those of read(2).
    pub fn read_input(&mut self, buffer: &mut [u8], now: Moment) -> Result<(), Error> {
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

    /// Has the `session` do what the user wants, and tells the user how things stand.
    pub fn perform_actions(&mut self, session: &mut Session, now: Moment) {
        for action in self.frontend.actions() {
            match action {
                Action::Say(bytes) => session.say(&bytes),
                Action::Leave => session.leave(),
                Action::Hurry => session.hurry(now),
                Action::EndBy(signal) => {
                    self.leave_terminal(Departure::End(signal, Whom::Foreground), now);
                }
                Action::Suspend => {
                    self.leave_terminal(Departure::Suspension(Whom::Foreground), now)
                }
            }
        }
        self.frontend.set_status(&session.status());
        if session.has_ended() {
            self.frontend.set_hidden(true);
        }
        for line in logging::take_diverted() {
            self.frontend.notify(&line, false, now);
        }
    }

    /// Does what the signals want that have come.
    pub fn take_signals(&mut self, now: Moment) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        let pending: Vec<i32> = signals.pending().collect();
        // Who stops us for good has us go on first (kill(1) of a shell), in any order.
        for &signal in &pending {
            match signal {
                // The size is asked for whenever something is drawn.
                SIGWINCH | SIGCONT => {}
                SIGTSTP => self.leave_terminal(Departure::Suspension(Whom::Us), now),
                signal => self.leave_terminal(Departure::End(signal, Whom::Us), now),
            }
        }
        if pending.contains(&SIGCONT) && !pending.contains(&SIGTSTP) {
            self.come_back_to_terminal(now);
        }
    }

    /// When [`User::expire`] or [`User::depart`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let departure = self.departure.map(|(_, until)| until);
        [departure, self.frontend.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due by now.
    pub fn expire(&mut self, now: Moment) {
        self.frontend.expire(now);
    }

    /// Shows what there is to be shown, as much as is taken.
    ///
    /// # Errors
    ///
    /// Those of write(2), but for EPIPE.
    pub fn show(&mut self) -> Result<(), Error> {
        loop {
            if self.is_output_closed {
                self.to_show.clear();
                self.shown_bytes = 0;
                return Ok(());
            }
            if self.to_show.is_empty() && self.may_show() {
                self.compose();
            }
            if self.departure.is_some() && std::mem::take(&mut self.is_told) {
                self.to_show.extend_from_slice(terminal::END);
            }
            if self.to_show.is_empty() {
                return Ok(());
            }
            match retry_interrupted(|| self.output.write(&self.to_show[self.shown_bytes..])) {
                Ok(count) => self.shown_bytes += count,
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::BrokenPipe => self.is_output_closed = true,
                    _ => return Err(Error::WriteOutput(e)),
                },
            }
            if self.shown_bytes == self.to_show.len() {
                self.to_show.clear();
                self.shown_bytes = 0;
            }
        }
    }

    /// Whether all is shown.
    pub fn is_all_shown(&self) -> bool {
        self.to_show.is_empty()
    }

    /// Leaves the terminal, if that is wanted and all is shown, or has had its time: for a
    /// while, or for good; then by the signal that is returned.
    pub fn depart(&mut self, now: Instant) -> Option<(i32, Whom)> {
        let (departure, until) = self.departure?;
        if !self.to_show.is_empty() && now < until {
            return None;
        }
        let whom = match departure {
            Departure::End(signal, whom) => return Some((signal, whom)),
            Departure::Suspension(whom) => whom,
        };
        self.departure = None;
        if let Some(terminal) = &self.terminal {
            terminal.give_back();
        }
        // It returns when somebody has us go on, and then SIGCONT has come as well.
        whom.send(Signal::STOP);
        None
    }

    /// Nothing is shown on a terminal before it is ours.
    fn may_show(&self) -> bool {
        self.signals.is_none() || self.terminal.is_some()
    }

    fn compose(&mut self) {
        // The signal may come later than what is to be drawn.
        if self.terminal.is_some()
            && let Some((columns, rows)) = terminal::size()
        {
            self.frontend.resized(columns, rows);
        }
        self.frontend.compose(&mut self.to_show);
    }

    fn leave_terminal(&mut self, departure: Departure, now: Moment) {
        if matches!(self.departure, Some((Departure::End(..), _))) {
            return;
        }
        if matches!(departure, Departure::Suspension(_)) && !job::can_be_resumed() {
            let words = "no shell is there to resume this program, so it is not stopped";
            return self.frontend.notify(words, true, now);
        }
        self.frontend.set_hidden(true);
        self.departure = Some((departure, now.instant + TERMINAL_TIMEOUT));
    }

    /// The terminal may have been somebody else's meanwhile, or still be.
    fn come_back_to_terminal(&mut self, now: Moment) {
        if matches!(self.departure, Some((Departure::End(..), _))) {
            return;
        }
        self.departure = None;
        if self.terminal.is_some() && terminal::is_somebody_elses() {
            return self.leave_terminal(Departure::Suspension(Whom::Us), now);
        }
        self.frontend.set_hidden(false);
        if let Some(terminal) = &self.terminal {
            // If it has gone, reading from it will tell.
            let _ = terminal.take_again();
            self.tell_terminal();
        }
    }

    fn tell_terminal(&mut self) {
        self.to_show.extend_from_slice(terminal::BEGIN);
        self.is_told = true;
    }
}

impl Drop for User {
    /// Leaves the terminal as it was found; what was typed there and not read is nobody
    /// else's.
    fn drop(&mut self) {
        if self.terminal.is_some() && !terminal::is_somebody_elses() {
            // After an error something may still be drawn. What is not taken at once is lost.
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

/// Those that somebody at a terminal may send us: it must be left in order.
fn register_signals(registry: &Registry, token: Token) -> io::Result<Signals> {
    let mut signals = Signals::new([SIGWINCH, SIGCONT])?;
    for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGTSTP] {
        // Who has it ignored, as nohup(1) does, wants us to go on.
        if !is_ignored(signal) {
            signals.add_signal(signal)?;
        }
    }
    registry.register(&mut signals, token, Interest::READABLE)?;
    Ok(signals)
}
