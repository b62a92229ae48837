//! The client's poll loop, between the session and the user.
//!
//! Backpressure bounds memory without losing anything: while output lags, neither side is
//! read; while the server lags, standard input is not read.

use std::io;
use std::process;
use std::time::{Duration, Instant};

use log::warn;
use mio::{Events, Poll, Token};
use rustix::process::Signal;
use signal_hook::low_level::emulate_default_handler;

use super::config::Config;
use super::connect::{Link, Way};
use super::session::Session;
use super::user::{Streams, Tokens, User};
use crate::error::{Error, Lines};
use crate::frontend::{Frontend, Moment};
use crate::platform::job::{self, SignalTarget};
use crate::platform::socket::retry_interrupted;

const SERVER: Token = Token(0);
const USER: Tokens = Tokens {
    input: Token(1),
    output: Token(2),
    signals: Token(3),
};

/// How much one read(2) takes from either side.
const READ_BYTES: usize = 64 * 1024;

/// What a shell adds to the number of the signal that ended a program to get its exit code.
const SIGNAL_EXIT_BASE: i32 = 128;

pub(crate) struct Client {
    poll: Poll,
    events: Events,
    read_buffer: Box<[u8]>,
    session: Session,
    user: User,
}

/// How a run ends, unless it fails.
enum End {
    Done,
    Signal(i32, SignalTarget),
}

impl Client {
    /// A client of the server at the end of this `way`, shown by `frontend`.
    pub(crate) fn new(
        config: &Config,
        way: Way,
        frontend: Box<dyn Frontend>,
        is_at_a_terminal: bool,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let streams = Streams {
            reads_input: config.reads_input(),
            shows: !config.sends_only(),
            is_terminal: is_at_a_terminal,
        };
        let user = User::new(frontend, streams, registry, USER)?;
        // A person would rather reconnect than wait for a server that may have vanished. A
        // program may have sent more than a server with --rate takes within minutes.
        let is_impatient = is_at_a_terminal;
        let link = Link::new(way, is_impatient, registry.try_clone()?, SERVER);
        let mut session = Session::new(config, link, is_at_a_terminal);
        if let Some(text) = config.text() {
            session.say(format!("{text}\n").as_bytes());
            session.leave();
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(8),
            read_buffer: vec![0; READ_BYTES].into_boxed_slice(),
            session,
            user,
        })
    }

    /// Has this password for a room that asks for one.
    pub(crate) fn with_password(mut self, password: Option<String>) -> Self {
        if let Some(password) = password {
            self.session.set_password(password);
        }
        self
    }

    /// Writes down what a person types and sees.
    #[cfg(feature = "client")]
    pub(crate) fn with_records(mut self, records: super::records::Records) -> Self {
        self.user.keep(records);
        self
    }

    /// Runs until the client has served its purpose.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let end = self.run_to_end();
        let (in_doubt, unsent) = self.session.leave_behind();
        let only_sends = self.session.only_sends();
        // Restores the terminal before anything else is printed.
        drop(self);
        for line in in_doubt {
            warn!("not known whether the room has taken this: {line}");
        }
        // The other errors are about the server, and tell of the unsent lines, too.
        let is_untold = match &end {
            Ok(_) => true,
            #[cfg(feature = "tls")]
            Err(
                Error::OtherKey { .. }
                | Error::UnknownKey { .. }
                | Error::UnconfirmedKey { .. }
                | Error::WrongKey { .. },
            ) => true,
            // Nothing that is only sent is on its way before the room has let it in.
            Err(Error::Refused { .. }) => !only_sends,
            Err(e) => matches!(
                e,
                Error::Poll(_) | Error::Terminal(_) | Error::ReadInput(_) | Error::WriteOutput(_)
            ),
        };
        if unsent > 0 && is_untold {
            warn!("{} could not be sent", Lines(unsent));
        }
        if let End::Signal(signal, target) = end? {
            // As the kernel would send it, so that a shell script around the client ends too.
            if let Some(signal) = Signal::from_named_raw(signal) {
                target.send(signal);
            }
            if job::is_init() {
                process::exit(SIGNAL_EXIT_BASE + signal);
            }
            // Does not return: the default action of all of these ends the process.
            let _ = emulate_default_handler(signal);
        }
        Ok(())
    }

    fn run_to_end(&mut self) -> Result<End, Error> {
        self.session.connect(Moment::now())?;
        loop {
            self.poll_and_mark().map_err(Error::Poll)?;
            let now = Moment::now();
            self.user.take_signals(now);
            if self.user.may_read_input(&self.session) {
                self.user.read_input(&mut self.read_buffer, now)?;
            }
            self.user.expire(now);
            self.user.perform_actions(&mut self.session, now);

            self.session.advance(now)?;
            if self.may_read_server() {
                self.session
                    .read(&mut self.read_buffer, now, self.user.frontend());
            }
            self.session.expire(now, self.user.frontend());
            if self.session.has_begun() {
                self.user.take_terminal(now).map_err(Error::Terminal)?;
            }
            self.session.write(now, self.user.frontend());

            self.user.perform_actions(&mut self.session, now);
            self.user.show()?;
            if let Some((signal, target)) = self.user.depart(now.instant) {
                return Ok(End::Signal(signal, target));
            }
            if let Some(end) = self.end() {
                return end.map(|()| End::Done);
            }
        }
    }

    fn poll_and_mark(&mut self) -> io::Result<()> {
        // After an interruption, such as a suspension, input that has arrived goes before
        // timeouts that have passed: poll again.
        retry_interrupted(|| {
            let timeout = self.poll_timeout();
            self.poll.poll(&mut self.events, timeout)
        })?;
        for event in &self.events {
            match event.token() {
                // Writing is tried whenever there is something to write.
                SERVER if event.is_readable() || event.is_read_closed() || event.is_error() => {
                    self.session.mark_ready();
                }
                token if token == USER.input => self.user.mark_input_ready(),
                token if token == USER.output => self.user.look_at_output(),
                // The others only have to wake the loop.
                _ => {}
            }
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Duration> {
        if self.user.may_read_input(&self.session) || self.may_read_server() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let deadlines = [self.session.deadline(now), self.user.deadline()];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    fn may_read_server(&self) -> bool {
        self.session.is_ready() && self.user.keeps_up()
    }

    fn end(&mut self) -> Option<Result<(), Error>> {
        if self.user.is_output_closed() && !self.session.is_sending() {
            return Some(self.session.break_off());
        }
        if self.user.is_all_shown() {
            self.session.end()
        } else {
            None
        }
    }
}
