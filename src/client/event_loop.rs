//! The client's poll loop: between the room and the user, neither of whom holds up the
//! other for longer than it must.
//!
//! When the showing lags, nothing more is read from either side until it has caught up,
//! and when the server lags, nothing more is read from standard input: so memory is
//! bounded, and nothing is lost.

use std::io;
use std::net::SocketAddr;
use std::process;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustix::process::Signal;
use signal_hook::low_level::emulate_default_handler;

use super::connect::Link;
use super::frontend::Moment;
use super::session::Session;
use super::user::{Streams, Tokens, User, Whom};
use super::{Config, Input, frontend, input};
use crate::error::Error;
use crate::interrupt::retry_interrupted;
use crate::job;

const SERVER: Token = Token(0);
const USER: Tokens = Tokens {
    input: Token(1),
    output: Token(2),
    signals: Token(3),
};

/// Read at once from either side.
const READ_BYTES: usize = 64 * 1024;

/// To this a shell adds the number of the signal that has ended a program: its exit code.
const BY_SIGNAL: i32 = 128;

/// A client that runs.
pub struct Client {
    poll: Poll,
    events: Events,
    read_buffer: Box<[u8]>,
    session: Session,
    user: User,
}

/// How a run ends that does not fail.
enum End {
    Done,
    /// As this signal has it.
    BySignal(i32, Whom),
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
        let (frontend, is_at_a_terminal) = frontend(config);
        let input = input(config);
        let streams = Streams {
            reads_input: matches!(input, Input::Standard),
            shows: !config.sends_only(),
            are_a_terminal: is_at_a_terminal,
        };
        let user = User::new(frontend, streams, registry, USER)?;
        // A person would rather try again than wait for a server that may have vanished. A
        // program has said more than a server with --rate may take for minutes.
        let is_impatient = is_at_a_terminal;
        let link = Link::new(addresses, is_impatient, registry.try_clone()?, SERVER);
        let comes_back = is_at_a_terminal && config.reconnects();
        let mut session = Session::new(config, link, comes_back);
        if let Input::Text(text) = input {
            session.say(text.as_bytes());
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

    /// Runs until it has served its purpose.
    ///
    /// # Errors
    ///
    /// Those of [`super::run`].
    pub fn run(mut self) -> Result<(), Error> {
        let end = self.run_to_end();
        // The terminal, if there is one, is as it was found before anything else is said.
        drop(self);
        if let End::BySignal(signal, whom) = end? {
            // As if it had come from the kernel: a shell script that runs us ends, too.
            if let Some(signal) = Signal::from_named_raw(signal) {
                whom.send(signal);
            }
            if job::is_init() {
                process::exit(BY_SIGNAL + signal);
            }
            // It does not return: all of these end programs.
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
            if self.session.has_connected() {
                self.user.take_terminal(now).map_err(Error::Terminal)?;
            }
            if self.may_read_server() {
                self.session
                    .read(&mut self.read_buffer, now, self.user.frontend());
            }
            self.session.expire(now, self.user.frontend());
            self.session.write(now);

            self.user.perform_actions(&mut self.session, now);
            self.user.show()?;
            if let Some((signal, whom)) = self.user.depart(now.instant) {
                return Ok(End::BySignal(signal, whom));
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
                // Whether it can be written to is tried whenever there is something to
                // write.
                SERVER if event.is_readable() || event.is_read_closed() || event.is_error() => {
                    self.session.mark_ready();
                }
                token if token == USER.input => self.user.mark_input_ready(),
                token if token == USER.output => self.user.look_at_output(),
                // Of the others it is enough that they have waked us.
                _ => {}
            }
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Duration> {
        if self.user.may_read_input(&self.session) || self.may_read_server() {
            return Some(Duration::ZERO);
        }
        let deadlines = [self.session.deadline(), self.user.deadline()];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn may_read_server(&self) -> bool {
        self.session.is_ready() && self.user.keeps_up()
    }

    fn end(&mut self) -> Option<Result<(), Error>> {
        if self.user.is_output_closed() && !self.session.is_sending() {
            return Some(Ok(()));
        }
        match self.user.is_all_shown() {
            true => self.session.end(),
            false => None,
        }
    }
}
