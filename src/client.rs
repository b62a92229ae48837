//! The client: standard input, the server's socket and standard output in one
//! poll loop, none of which can hold up the others.
//!
//! What is typed is sent as it is, and shown with `<You>` before each line; what
//! arrives is shown, made safe. When the showing lags, nothing more is read from
//! either side until it has caught up, and when the server lags, nothing more is
//! read from standard input: so memory is bounded, and nothing is lost.

pub mod connect;
pub mod line_display;

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use log::info;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use self::connect::connect;
use self::line_display::LineDisplay;
use crate::error::Error;
use crate::machine::unacknowledged_bytes;
use crate::room::WELCOME;
use crate::standard_io::{Readiness, StandardInput, StandardOutput};
use crate::write_queue::{Flushed, Frame, WriteQueue};

const INPUT: Token = Token(0);
const OUTPUT: Token = Token(1);
const SERVER: Token = Token(2);

/// The mark of what one has said oneself. As in the Python original no space
/// follows.
const OWN_PREFIX: &str = "<You>";

/// Read at once from either side.
const READ_BYTES: usize = 64 * 1024;

/// The most that waits to be sent, or to be shown, before reading stops.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// How long a line from the server that stops in its middle is held back.
const HALF_LINE_TIMEOUT: Duration = Duration::from_millis(100);

/// How long the server may be silent after we have ended our side, before its
/// end is not waited for any more. Ours ends at once; the Python original never
/// does.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(3);

/// What a client is told to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Joins a room, and stays until standard input ends, or the room.
///
/// # Errors
///
/// When the server cannot be reached or goes away, and when standard input or
/// output fails. A standard output that nobody reads any more is no error.
pub fn run(config: &Config) -> Result<(), Error> {
    let stream = connect(&config.host, config.port)?;
    let server = stream.peer_addr().map_err(Error::Poll)?;
    info!("connected to {server}");
    let mut client = Client::new(TcpStream::from_std(stream), server).map_err(Error::Poll)?;
    loop {
        client.poll_and_mark().map_err(Error::Poll)?;
        client.read_input()?;
        client.read_server();
        client.expire(Instant::now());
        client.write_server();
        client.write_output()?;
        if let Some(end) = client.end() {
            client.input.discard_typed();
            return end;
        }
    }
}

struct Client {
    poll: Poll,
    events: Events,
    read_buffer: Box<[u8]>,

    input: StandardInput,
    input_readiness: Readiness,
    input_ready: bool,
    input_ended: bool,
    /// The last byte typed; the last line must be ended before our side is.
    last_typed: u8,
    typed: LineDisplay,

    stream: TcpStream,
    server: SocketAddr,
    server_ready: bool,
    to_send: WriteQueue,
    /// Our side has been ended.
    sending_ended: bool,
    /// The server's side has ended; why, if it was no orderly end.
    server_ended: Option<Option<io::Error>>,
    /// Something could not be sent.
    send_error: Option<io::Error>,
    heard: LineDisplay,
    /// Whether anything has been heard yet.
    greeted: bool,
    /// The first that was heard was a refusal.
    refused: bool,
    /// Since when the server has been silent: all that it sent has been read.
    silent_since: Instant,
    /// Since when the end of a half-line has been waited for.
    half_line_since: Option<Instant>,

    output: StandardOutput,
    to_show: WriteQueue,
    /// Nobody reads what we show any more.
    output_closed: bool,
}

impl Client {
    fn new(mut stream: TcpStream, server: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut stream, SERVER, Interest::READABLE | Interest::WRITABLE)?;
        let input = StandardInput::new();
        let input_readiness = input.register(registry, INPUT)?;
        let output = StandardOutput::stdout();
        output.register(registry, OUTPUT)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(8),
            read_buffer: vec![0; READ_BYTES].into_boxed_slice(),
            input,
            input_readiness,
            input_ready: input_readiness == Readiness::Always,
            input_ended: false,
            last_typed: b'\n',
            typed: LineDisplay::new(OWN_PREFIX),
            stream,
            server,
            server_ready: false,
            to_send: WriteQueue::new(),
            sending_ended: false,
            server_ended: None,
            send_error: None,
            heard: LineDisplay::new(""),
            greeted: false,
            refused: false,
            silent_since: Instant::now(),
            half_line_since: None,
            output,
            to_show: WriteQueue::new(),
            output_closed: false,
        })
    }

    fn poll_and_mark(&mut self) -> io::Result<()> {
        let timeout = self.poll_timeout();
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        }
        for event in &self.events {
            match event.token() {
                INPUT => self.input_ready = true,
                // Whether it can be written to is tried whenever there is
                // something to write.
                SERVER => {
                    self.server_ready |=
                        event.is_readable() || event.is_read_closed() || event.is_error();
                }
                // Also when nothing is to be shown: it may be that nobody reads
                // it any more.
                _ => self.output_closed |= self.output.is_hung_up(),
            }
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Duration> {
        if self.may_read_input() || self.may_read_server() {
            return Some(Duration::ZERO);
        }
        [self.half_line_deadline(), self.last_words_deadline()]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn may_read_input(&self) -> bool {
        self.input_ready
            && !self.input_ended
            && !self.output_closed
            && self.server_ended.is_none()
            && self.to_send.queued_bytes() < MAX_WAITING_BYTES
            && self.to_show.queued_bytes() < MAX_WAITING_BYTES
    }

    fn may_read_server(&self) -> bool {
        self.server_ready
            && self.server_ended.is_none()
            && self.to_show.queued_bytes() < MAX_WAITING_BYTES
    }

    /// None while there is more to be read: the rest may be among it.
    fn half_line_deadline(&self) -> Option<Instant> {
        let since = self.half_line_since.filter(|_| !self.server_ready)?;
        Some(since + HALF_LINE_TIMEOUT)
    }

    /// None while there is more to be read: what we do not listen to is no
    /// silence.
    fn last_words_deadline(&self) -> Option<Instant> {
        let waits = self.sending_ended && self.server_ended.is_none() && !self.server_ready;
        waits.then(|| self.silent_since + LAST_WORDS_TIMEOUT)
    }

    fn expire(&mut self, now: Instant) {
        if self.half_line_deadline().is_some_and(|at| at <= now) {
            self.show_half_line();
        }
        if self.last_words_deadline().is_some_and(|at| at <= now) {
            match unacknowledged_bytes(&self.stream) {
                // It does not read yet, but it may.
                Some(1..) => self.silent_since = now,
                _ => {
                    info!("{} does not end the connection", self.server);
                    self.server_ended = Some(None);
                }
            }
        }
    }

    fn read_input(&mut self) -> Result<(), Error> {
        if !self.may_read_input() {
            return Ok(());
        }
        match self.input.read(&mut self.read_buffer) {
            Ok(0) => self.input_ended(),
            Ok(count) => {
                let typed = &self.read_buffer[..count];
                self.last_typed = typed[count - 1];
                self.to_send.push_frame(&Frame::from(typed));
                let mut shown = Vec::new();
                self.typed.push(typed, &mut shown);
                self.show(&shown);
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock => {
                    self.input_ready = self.input_readiness == Readiness::Always;
                }
                io::ErrorKind::Interrupted => {}
                _ => return Err(Error::ReadInput(e)),
            },
        }
        Ok(())
    }

    fn input_ended(&mut self) {
        self.input_ended = true;
        if self.last_typed != b'\n' {
            self.to_send.push_frame(&Frame::from(&b"\n"[..]));
            let mut shown = Vec::new();
            self.typed.push(b"\n", &mut shown);
            self.show(&shown);
        }
    }

    fn read_server(&mut self) {
        if !self.may_read_server() {
            return;
        }
        match self.stream.read(&mut self.read_buffer) {
            Ok(0) => self.server_ended(None),
            Ok(count) => {
                let mut heard = &self.read_buffer[..count];
                let mut shown = Vec::new();
                if !std::mem::replace(&mut self.greeted, true) {
                    self.refused = heard.starts_with(b"!! ");
                    // The Python original ends neither this nor, it may be, any
                    // other line.
                    if let Some(rest) = heard.strip_prefix(WELCOME.as_bytes()) {
                        self.heard.push(WELCOME.as_bytes(), &mut shown);
                        self.heard.show_half_line(&mut shown);
                        heard = rest;
                    }
                    if heard.starts_with(b"\n") {
                        self.heard.mark_continuations();
                    }
                }
                if heard.contains(&b'\n') {
                    self.half_line_since = None;
                }
                self.heard.push(heard, &mut shown);
                self.show(&shown);
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock if self.send_error.is_none() => {
                    self.server_ready = false;
                    self.silent_since = Instant::now();
                    if self.heard.holds_half_a_line() {
                        self.half_line_since.get_or_insert(self.silent_since);
                    }
                }
                io::ErrorKind::Interrupted => {}
                _ => self.server_ended(Some(e)),
            },
        }
    }

    fn server_ended(&mut self, error: Option<io::Error>) {
        self.show_half_line();
        self.server_ended = Some(error);
    }

    fn show_half_line(&mut self) {
        self.half_line_since = None;
        let mut shown = Vec::new();
        self.heard.show_half_line(&mut shown);
        self.show(&shown);
    }

    fn write_server(&mut self) {
        if self.sending_ended || self.send_error.is_some() || self.server_ended.is_some() {
            return;
        }
        match self.to_send.flush(&mut self.stream, usize::MAX) {
            Ok(Flushed::All) if self.input_ended => {
                // An error means that the server has gone; reading tells that.
                let _ = self.stream.shutdown(Shutdown::Write);
                self.sending_ended = true;
                self.silent_since = Instant::now();
            }
            Ok(_) => {}
            Err(e) => {
                // It may have said why before it went: read to the end.
                self.send_error = Some(e);
                self.server_ready = true;
            }
        }
    }

    fn show(&mut self, lines: &[u8]) {
        self.to_show.push_frame(&Frame::from(lines));
    }

    fn write_output(&mut self) -> Result<(), Error> {
        if !self.output_closed {
            match self.to_show.flush(&mut self.output, usize::MAX) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.output_closed = true,
                Err(e) => return Err(Error::WriteOutput(e)),
            }
        }
        self.to_show.clear();
        Ok(())
    }

    /// Whether all is over, and how.
    fn end(&mut self) -> Option<Result<(), Error>> {
        let nothing_to_send = self.to_send.is_empty() || self.send_error.is_some();
        if self.output_closed && (nothing_to_send || self.server_ended.is_some()) {
            return Some(Ok(()));
        }
        if !self.to_show.is_empty() {
            return None;
        }
        let error = self.server_ended.take()?;
        if self.refused {
            return Some(Err(Error::Refused {
                server: self.server,
            }));
        }
        if self.sending_ended && error.is_none() {
            return Some(Ok(()));
        }
        let unsent = self.send_error.is_some() || !self.to_send.is_empty();
        Some(Err(Error::ConnectionLost {
            server: self.server,
            source: error.or(self.send_error.take()),
            unsent,
        }))
    }
}
