//! The user's side of the client: standard input and output, and the terminal with its
//! signals.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::low_level::emulate_default_handler;
use signal_hook_mio::v1_0::Signals;

use super::face::{Face, Moment, Wish};
use super::session::Session;
use super::terminal::{self, Terminal};
use crate::error::Error;
use crate::interrupt::retry_interrupted;
use crate::logging;
use crate::process::is_ignored;
use crate::standard_io::{Readiness, StandardInput, StandardOutput};
use crate::write_queue::{Flushed, Frame, WriteQueue};

/// The most that waits to be shown before nothing more is read that would be.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// How long a terminal that takes nothing is waited for at the end.
const TERMINAL_TIMEOUT: Duration = Duration::from_millis(500);

/// Where what is typed comes from, and where things are shown.
pub struct User {
    face: Box<dyn Face>,
    /// `None` once nothing more comes from there.
    input: Option<StandardInput>,
    input_readiness: Readiness,
    is_input_ready: bool,
    output: StandardOutput,
    to_show: WriteQueue,
    /// Nobody reads what we show any more.
    is_output_closed: bool,
    /// Taken while a person types there.
    terminal: Option<Terminal>,
    /// Those of the terminal, if there is one to be taken.
    signals: Option<Signals>,
    /// What is to be done once all is shown, and when at the latest.
    departure: Option<(Departure, Instant)>,
}

/// In what way the terminal is left.
#[derive(Clone, Copy)]
enum Departure {
    /// To be stopped for a while.
    Suspension,
    /// To end by this signal.
    End(i32),
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
    /// One who sees `face`. A terminal is taken later, if there is one.
    ///
    /// # Errors
    ///
    /// When something cannot be registered.
    pub fn new(
        face: Box<dyn Face>,
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
            face,
            input,
            input_readiness,
            is_input_ready: input_readiness == Readiness::Always,
            output,
            to_show: WriteQueue::new(),
            is_output_closed: false,
            terminal: None,
            signals,
            departure: None,
        })
    }

    /// What the user sees.
    pub fn face(&mut self) -> &mut dyn Face {
        &mut *self.face
    }

    /// Whether nothing is typed any more.
    pub fn has_no_input(&self) -> bool {
        self.input.is_none()
    }

    /// Whether nobody sees what is shown any more.
    pub fn is_output_closed(&self) -> bool {
        self.is_output_closed
    }

    /// Takes the terminal, if there is one and it is not ours yet.
    ///
    /// # Errors
    ///
    /// Those of tcsetattr(3).
    pub fn take_terminal(&mut self) -> io::Result<()> {
        if self.signals.is_some() && self.terminal.is_none() {
            self.terminal = Some(Terminal::take()?);
            self.to_show.push_frame(&Frame::from(terminal::BEGIN));
            logging::set_diverted(true);
        }
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
        self.to_show.queued_bytes() + self.face.waiting_bytes() < MAX_WAITING_BYTES
    }

    /// Whether what is typed is to be read now; of a pipe or file only if the `session`
    /// takes it, while a person may always type.
    pub fn may_read_input(&self, session: &Session) -> bool {
        let is_wanted = match &self.terminal {
            Some(_) => self.departure.is_none() && !session.has_ended(),
            None => session.takes_more(),
        };
        is_wanted
            && self.is_input_ready
            && self.input.is_some()
            && !self.is_output_closed
            && self.keeps_up()
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
                self.face.input_ended(now);
            }
            Ok(count) => self.face.typed(&buffer[..count], now),
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock => {
                    self.is_input_ready = self.input_readiness == Readiness::Always;
                }
                _ => return Err(Error::ReadInput(e)),
            },
        }
        Ok(())
    }

    /// Has the `session` do what the user wishes, and the user know how that stands.
    pub fn grant_wishes(&mut self, session: &mut Session, now: Moment) {
        for wish in self.face.wishes() {
            match wish {
                Wish::Say(bytes) => session.say(&bytes),
                Wish::Leave => session.leave(),
                Wish::EndBy(signal) => self.leave_terminal(Departure::End(signal), now),
                Wish::Suspend => self.leave_terminal(Departure::Suspension, now),
            }
        }
        self.face.set_status(session.status());
        if session.has_ended() {
            self.face.set_hidden(true);
        }
        for line in logging::take_diverted() {
            self.face.tell(&line, false, now);
        }
    }

    /// Does what the signals want that have come.
    pub fn take_signals(&mut self, now: Moment) {
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

    /// When [`User::expire`] or [`User::depart`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let departure = self.departure.map(|(_, until)| until);
        [departure, self.face.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due by now.
    pub fn expire(&mut self, now: Moment) {
        self.face.expire(now);
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
                return Ok(());
            }
            if self.to_show.is_empty() && self.may_show() {
                self.compose();
            }
            if self.to_show.is_empty() {
                return Ok(());
            }
            match self.to_show.flush(&mut self.output, usize::MAX) {
                Ok(Flushed::All) => {}
                Ok(Flushed::Blocked | Flushed::BudgetSpent) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.is_output_closed = true,
                Err(e) => return Err(Error::WriteOutput(e)),
            }
        }
    }

    /// Whether all is shown.
    pub fn is_all_shown(&self) -> bool {
        self.to_show.is_empty()
    }

    /// Leaves the terminal, if that is wanted and all is shown, or has had its time: for a
    /// while, or for good; then by the signal that is returned.
    pub fn depart(&mut self, now: Instant) -> Option<i32> {
        let (departure, until) = self.departure?;
        if !self.to_show.is_empty() && now < until {
            return None;
        }
        if let Departure::End(signal) = departure {
            return Some(signal);
        }
        self.departure = None;
        if let Some(terminal) = &self.terminal {
            terminal.give_back();
        }
        // It returns when somebody has us go on, and then SIGCONT has come as well.
        let _ = emulate_default_handler(SIGTSTP);
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
            self.face.resized(columns, rows);
        }
        let mut bytes = Vec::new();
        self.face.compose(&mut bytes);
        self.to_show.push_frame(&Frame::from(bytes));
    }

    fn leave_terminal(&mut self, departure: Departure, now: Moment) {
        // A shell without job control would not have us go on again.
        if matches!(departure, Departure::Suspension) && is_ignored(SIGTSTP) {
            return;
        }
        self.face.set_hidden(true);
        self.departure = Some((departure, now.instant + TERMINAL_TIMEOUT));
    }

    /// The terminal may have been somebody else's meanwhile.
    fn come_back_to_terminal(&mut self) {
        if matches!(self.departure, Some((Departure::End(_), _))) {
            return;
        }
        self.departure = None;
        self.face.set_hidden(false);
        if let Some(terminal) = &self.terminal {
            // If it has gone, reading from it will tell.
            let _ = terminal.take_again();
            self.to_show.push_frame(&Frame::from(terminal::BEGIN));
        }
    }
}

impl Drop for User {
    /// Leaves the terminal as it was found; what was typed there and not read is nobody
    /// else's.
    fn drop(&mut self) {
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
