//! The console at a terminal: the same prompt as a client's, with the operator in front of it.
//!
//! It never holds up the room. What the terminal does not take at once waits, up to a bound;
//! lines beyond it are counted. In the background (credentials(7)) it does not read, and writes
//! lines without a prompt, as any program does there. The terminal is given back as it was found
//! whenever another program has its turn, and at the end.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::{Instant, SystemTime};

use log::warn;
use mio::{Registry, Token};
use rustix::process::Signal;
use signal_hook::consts::{SIGCONT, SIGINT, SIGQUIT, SIGTSTP, SIGWINCH};
use signal_hook::low_level::emulate_default_handler;

use crate::error::{Lines, plain};
use crate::frontend::message::Message;
use crate::frontend::prompt::layout::Size;
use crate::frontend::prompt::{Look, Prompt};
use crate::frontend::style::Palette;
use crate::frontend::terminal::{self, Terminal};
use crate::frontend::{Action, Bell, Frontend, LinkStatus, Moment, Said, Status};
use crate::platform::job::{self, SignalTarget};
use crate::platform::local_time::{Format, Stamp};
use crate::platform::logging;
use crate::platform::proc::is_ignored;
use crate::platform::socket::retry_interrupted;
use crate::platform::stdio::{BufferedOutput, StandardInput, StandardOutput, terminal_size};
use crate::protocol::event::Person;
use crate::protocol::wording::OPERATOR;
use crate::rate::Bucket;
use crate::server::line_sink::LINE_BACKLOG_BYTES;
use crate::server::operator::COMMANDS;
use crate::server::operator::input::{RATE, Typed};

const READ_BYTES: usize = 4096;

/// What is read in one iteration: a terminal that a program writes to never blocks.
const READS_AT_ONCE: usize = 16;

#[derive(Debug)]
pub(crate) struct OperatorTerminal {
    prompt: Prompt,
    /// `None` after its end.
    input: Option<StandardInput>,
    /// There may be something to read.
    is_ready: bool,
    /// Reading goes on then: the rest of what there is has to wait for the room.
    reads_on_at: Option<Instant>,
    /// Holds what is composed.
    output: BufferedOutput,
    /// There may be something to compose.
    has_news: bool,
    /// The terminal has gone.
    is_closed: bool,
    /// Lost lines that no notice reports yet.
    dropped_lines: usize,
    /// In raw mode, once it was taken for the first time.
    terminal: Option<Terminal>,
    /// The terminal is in raw mode, and shows the prompt: no other program has its turn.
    is_taken: bool,
    /// What was typed and is not carried out yet.
    typed: VecDeque<Typed>,
    typed_bytes: usize,
    bucket: Bucket,
    /// When the rate limit allows the next line of these.
    waits_until: Option<Instant>,
    max_line_bytes: usize,
    /// The operator's own lines are not shown by the room.
    echoes: bool,
}

impl OperatorTerminal {
    /// Whether the operator is a person at a terminal that shows the console, too.
    pub(crate) fn is_there() -> bool {
        StandardInput::new().is_for_us() && terminal::is_for_person()
    }

    /// Takes the terminal, if this process is in its foreground.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2).
    pub(crate) fn new(
        registry: &Registry,
        input_token: Token,
        output_token: Token,
        max_line_bytes: u32,
        echoes: bool,
    ) -> io::Result<Self> {
        let input = StandardInput::new();
        input.register(registry, input_token)?;
        let output = StandardOutput::stdout();
        output.register(registry, output_token)?;
        let look = Look {
            palette: Palette {
                is_colored: terminal::is_colored(),
            },
            stamp: Some(Stamp::local(Format::HoursMinutes)),
            bell: Bell::Mention,
        };
        let size = terminal_size();
        let size = size.map_or_else(Size::default, |(columns, rows)| Size { columns, rows });
        let mut prompt = Prompt::new(look, size).completing(&COMMANDS);
        prompt.set_hidden(true);
        let mut console = Self {
            prompt,
            input: Some(input),
            is_ready: false,
            reads_on_at: None,
            output: BufferedOutput::new(output),
            has_news: false,
            is_closed: false,
            dropped_lines: 0,
            terminal: None,
            is_taken: false,
            typed: VecDeque::new(),
            typed_bytes: 0,
            bucket: Bucket::default(),
            waits_until: None,
            max_line_bytes: max_line_bytes as usize,
            echoes,
        };
        console.tell_status();
        console.take();
        Ok(console)
    }

    /// The signals after which the terminal must be drawn, or left in order. An ignored one, as
    /// under nohup(1), stays ignored.
    pub(crate) fn signals() -> impl Iterator<Item = i32> {
        let signals = [SIGWINCH, SIGCONT, SIGTSTP, SIGQUIT].into_iter();
        signals.filter(|&signal| !is_ignored(signal))
    }

    /// Acts on one of [these signals](Self::signals).
    pub(crate) fn signalled(&mut self, signal: i32) {
        match signal {
            // The size is read when something is drawn.
            SIGWINCH => self.has_news = true,
            SIGCONT => {
                // Another program may have had the terminal meanwhile, or still have it.
                self.forget();
                self.take();
            }
            SIGTSTP => self.suspend(SignalTarget::Process),
            SIGQUIT => self.quit(),
            _ => {}
        }
    }

    /// Shows whole lines.
    pub(crate) fn lines(&mut self, lines: &[u8]) {
        let now = Moment::now();
        for line in String::from_utf8_lossy(lines).lines() {
            self.show(&Message::parse(line), now);
        }
    }

    /// Shows a line of what was said before, at `time`.
    pub(crate) fn past_line(&mut self, line: &str, time: SystemTime) {
        let message = Message {
            is_past: true,
            time: Some(time),
            ..Message::parse(line)
        };
        self.show(&message, Moment::now());
    }

    fn show(&mut self, message: &Message<'_>, now: Moment) {
        if self.has_room() {
            self.prompt.heard(message, now);
            self.has_news = true;
        } else {
            self.dropped_lines += 1;
        }
    }

    /// After a loss, nothing is added until everything before it is written: then the notice
    /// stands where the lines are missing.
    fn has_room(&self) -> bool {
        let waiting_bytes = self.output.waiting_bytes() + self.prompt.waiting_bytes();
        self.dropped_lines == 0 && !self.is_closed && waiting_bytes < LINE_BACKLOG_BYTES
    }

    /// There may be something to read.
    pub(crate) fn mark_ready(&mut self) {
        self.is_ready = true;
    }

    /// When the next call of [`OperatorTerminal::next_typed`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let deadlines = [self.prompt.deadline(), self.waits_until, self.reads_on_at];
        deadlines.into_iter().flatten().min()
    }

    /// The next input, if there is any at `now`. Call it until it returns `None`. `people` are
    /// those whose names Tab knows.
    pub(crate) fn next_typed<'a>(
        &mut self,
        now: Instant,
        people: impl Fn() -> Vec<Person<'a>>,
    ) -> Option<Typed> {
        let moment = Moment {
            instant: now,
            time: SystemTime::now(),
        };
        // Though more lines wait than the rate allows: there must be a way out.
        self.listen(moment, people);
        self.waits_until = None;
        if !self.typed.is_empty() {
            self.waits_until = self.bucket.ready_at(RATE, now);
        }
        if self.waits_until.is_some() {
            return None;
        }
        let typed = self.typed.pop_front()?;
        self.bucket.take(RATE, now);
        if let Typed::Line(line) = &typed {
            self.typed_bytes -= line.len();
            self.tell_status();
        }
        Some(typed)
    }

    /// Takes what was typed.
    fn listen<'a>(&mut self, now: Moment, people: impl Fn() -> Vec<Person<'a>>) {
        let is_due = |due_at: Option<Instant>| due_at.is_some_and(|due_at| due_at <= now.instant);
        if is_due(self.prompt.deadline()) {
            self.prompt.expire(now);
            self.perform_actions(now);
        }
        self.reads_on_at = None;
        let mut buffer = [0; READ_BYTES];
        for _ in 0..READS_AT_ONCE {
            let Some(count) = self.read(&mut buffer) else {
                return;
            };
            let bytes = &buffer[..count];
            if bytes.contains(&b'\t') {
                self.prompt.set_people(&people());
            }
            self.prompt.typed(bytes, now);
            self.perform_actions(now);
        }
        self.reads_on_at = Some(now.instant);
    }

    /// `None` if there is nothing to read.
    fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if !self.is_ready {
            return None;
        }
        // In the foreground again, without having been stopped: no signal tells that.
        self.take();
        let input = self.input.as_mut().filter(|_| self.is_taken);
        let Some(input) = input else {
            // The next line that is typed in the foreground is a new event.
            self.is_ready = false;
            return None;
        };
        let failure = match retry_interrupted(|| input.read(buffer)) {
            Ok(0) => None,
            Ok(count) => return Some(count),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.is_ready = false;
                return None;
            }
            Err(e) => Some(e),
        };
        if let Some(e) = failure {
            warn!("cannot read the operator's input: {}", plain(&e));
        }
        self.is_ready = false;
        self.leave();
        self.input = None;
        self.typed.push_back(Typed::End);
        None
    }

    fn perform_actions(&mut self, now: Moment) {
        self.has_news = true;
        for action in self.prompt.actions() {
            match action {
                Action::Say(bytes) => {
                    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                    self.enter(line, now);
                }
                Action::Leave => {
                    self.prompt
                        .notify("type /quit to close the room", false, now);
                }
                // There is no connection to wait for, and nobody asks for a password.
                Action::Hurry | Action::GivePassword(_) | Action::TrustKey(_) => {}
                // As the kernel would send it to whatever else runs in the foreground. Ours
                // arrives as every signal.
                Action::EndBy(SIGINT) => SignalTarget::Foreground.send(Signal::INT),
                Action::EndBy(_) => self.quit(),
                Action::Suspend => self.suspend(SignalTarget::Foreground),
            }
        }
        self.tell_status();
    }

    fn enter(&mut self, line: &[u8], now: Moment) {
        if line.len() > self.max_line_bytes {
            return self.typed.push_back(Typed::TooLong);
        }
        if self.echoes
            && let Ok(text) = std::str::from_utf8(line)
        {
            self.prompt.heard(&Message::entered(text), now);
        }
        self.typed_bytes += line.len();
        self.typed.push_back(Typed::Line(line.to_vec()));
    }

    fn tell_status(&mut self) {
        self.prompt.set_status(&Status {
            link: LinkStatus::In { is_ours: true },
            is_settled: true,
            said: Said {
                lines: self.typed.len(),
                bytes: self.typed_bytes,
                last: &[],
            },
            no_answer_for: None,
            name: Some(OPERATOR),
        });
    }

    /// Takes the terminal, if it is not taken, and no other program has its turn there.
    fn take(&mut self) {
        if self.is_taken || self.input.is_none() || terminal::is_somebody_elses() {
            return;
        }
        let taken = match &self.terminal {
            Some(terminal) => terminal.take_again(),
            None => Terminal::take().map(|terminal| self.terminal = Some(terminal)),
        };
        // If the terminal has gone, reading tells.
        if taken.is_ok() {
            self.is_taken = true;
            self.output.buffer().extend_from_slice(terminal::BEGIN);
            self.prompt.set_hidden(false);
            self.has_news = true;
            logging::set_diverted(true);
        }
    }

    /// Erases the prompt and gives the terminal back. What it does not take at once is written
    /// later.
    fn leave(&mut self) {
        if !std::mem::take(&mut self.is_taken) {
            return;
        }
        logging::set_diverted(false);
        self.prompt.set_hidden(true);
        self.has_news = true;
        if !terminal::is_somebody_elses() {
            self.flush();
        }
        if let Some(terminal) = &self.terminal {
            terminal.give_back();
        }
    }

    /// Whatever stood on the terminal has been written over, and its mode may have changed.
    fn forget(&mut self) {
        if std::mem::take(&mut self.is_taken) {
            logging::set_diverted(false);
            self.prompt.set_hidden(false);
            self.prompt.set_hidden(true);
        }
    }

    /// Stops until a shell resumes the program. The room stands still meanwhile.
    fn suspend(&mut self, target: SignalTarget) {
        if !job::can_be_resumed() {
            self.has_news = true;
            return (self.prompt).notify(terminal::NOT_SUSPENDED, true, Moment::now());
        }
        self.leave();
        // Returns once the program is resumed: SIGCONT has come by then.
        target.send(Signal::STOP);
    }

    /// Ends the program as SIGQUIT does.
    fn quit(&mut self) {
        self.leave();
        // Does not return.
        let _ = emulate_default_handler(SIGQUIT);
    }

    /// Writes as much as the terminal takes. Call it after lines, and when the output is
    /// writable.
    pub(crate) fn flush(&mut self) {
        for line in logging::take_diverted() {
            self.note(&line);
        }
        loop {
            if self.is_closed {
                return self.output.clear();
            }
            if self.output.is_empty() && std::mem::take(&mut self.has_news) {
                self.compose();
            }
            if self.output.is_empty() {
                if self.dropped_lines == 0 {
                    return;
                }
                let lost = Lines(std::mem::take(&mut self.dropped_lines));
                self.note(&format!("{lost} could not be shown here"));
                continue;
            }
            match self.output.write_waiting() {
                Ok(true) => {}
                Ok(false) => return,
                // The terminal has hung up, and does not come back.
                Err(_) => self.is_closed = true,
            }
        }
    }

    /// Shows a line of the program's own.
    fn note(&mut self, words: &str) {
        if self.has_room() {
            self.prompt.notify(words, false, Moment::now());
            self.has_news = true;
        } else {
            self.dropped_lines += 1;
        }
    }

    fn compose(&mut self) {
        if self.is_taken
            && let Some((columns, rows)) = terminal_size()
        {
            self.prompt.resized(columns, rows);
        }
        self.prompt.compose(self.output.buffer());
    }
}

impl Drop for OperatorTerminal {
    /// Leaves the terminal as it was found. Unread input is discarded, so that no other program
    /// gets it.
    fn drop(&mut self) {
        let was_taken = self.is_taken;
        self.leave();
        if was_taken {
            StandardInput::new().discard_typed();
        }
    }
}
