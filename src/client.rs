//! The client: standard input, the server's socket and standard output in one
//! poll loop, none of which can hold up the others.
//!
//! What is typed is sent as it is, and shown with `<You>` before each line; what
//! arrives is shown, made safe. When the showing lags, nothing more is read from
//! either side until it has caught up, and when the server lags, nothing more is
//! read from standard input: so memory is bounded, and nothing is lost.

pub mod connect;
pub mod incoming;
pub mod line_display;

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use log::info;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use self::connect::connect;
use self::incoming::Incoming;
use self::line_display::LineDisplay;
use crate::error::Error;
use crate::interrupt::retry_interrupted;
use crate::machine::unacknowledged_bytes;
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
    let (stream, server) = connect(&config.host, config.port)?;
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
    server_side: ServerSide,
    /// Why something could not be sent.
    send_error: Option<io::Error>,
    incoming: Incoming,
    /// Since when the server has been silent: all that it sent has been read.
    silent_since: Instant,

    output: StandardOutput,
    to_show: WriteQueue,
    /// Nobody reads what we show any more.
    output_closed: bool,
}

/// How far the server's side of the connection is.
enum ServerSide {
    Open,
    /// It has been ended in order, or is not waited for any more.
    Ended,
    /// It broke.
    Lost(io::Error),
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
            server_side: ServerSide::Open,
            send_error: None,
            incoming: Incoming::new(),
            silent_since: Instant::now(),
            output,
            to_show: WriteQueue::new(),
            output_closed: false,
        })
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
        let next = self.deadlines().into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn may_read_input(&self) -> bool {
        self.input_ready
            && !self.input_ended
            && !self.output_closed
            && self.server_is_open()
            && self.to_send.queued_bytes() < MAX_WAITING_BYTES
            && self.to_show.queued_bytes() < MAX_WAITING_BYTES
    }

    fn may_read_server(&self) -> bool {
        self.server_ready
            && self.server_is_open()
            && self.to_show.queued_bytes() < MAX_WAITING_BYTES
    }

    fn server_is_open(&self) -> bool {
        matches!(self.server_side, ServerSide::Open)
    }

    /// When to do something though nothing happens. Never while there is more to
    /// be read: the rest of a line may be among it, and what we do not listen to is
    /// no silence.
    fn deadlines(&self) -> [Option<Instant>; 2] {
        if self.server_ready || !self.server_is_open() {
            return [None, None];
        }
        let last_words = self.silent_since + LAST_WORDS_TIMEOUT;
        [
            self.incoming.deadline(),
            self.sending_ended.then_some(last_words),
        ]
    }

    fn expire(&mut self, now: Instant) {
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        let [half_line, last_words] = self.deadlines();
        if is_due(half_line) {
            self.show(|client, out| client.incoming.expire(now, out));
        }
        if is_due(last_words) {
            match unacknowledged_bytes(&self.stream) {
                // It does not read yet, but it may.
                Some(1..) => self.silent_since = now,
                _ => {
                    info!("{} does not end the connection", self.server);
                    self.server_side = ServerSide::Ended;
                }
            }
        }
    }

    fn read_input(&mut self) -> Result<(), Error> {
        if !self.may_read_input() {
            return Ok(());
        }
        match retry_interrupted(|| self.input.read(&mut self.read_buffer)) {
            Ok(0) => self.end_input(),
            Ok(count) => {
                self.last_typed = self.read_buffer[count - 1];
                self.to_send
                    .push_frame(&Frame::from(&self.read_buffer[..count]));
                self.show(|client, out| client.typed.push(&client.read_buffer[..count], out));
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock => {
                    self.input_ready = self.input_readiness == Readiness::Always;
                }
                _ => return Err(Error::ReadInput(e)),
            },
        }
        Ok(())
    }

    fn end_input(&mut self) {
        self.input_ended = true;
        if self.last_typed != b'\n' {
            self.to_send.push_frame(&Frame::from(&b"\n"[..]));
            self.show(|client, out| client.typed.push(b"\n", out));
        }
    }

    fn read_server(&mut self) {
        if !self.may_read_server() {
            return;
        }
        match retry_interrupted(|| self.stream.read(&mut self.read_buffer)) {
            Ok(0) => self.end_server_side(ServerSide::Ended),
            Ok(count) => {
                self.show(|client, out| client.incoming.push(&client.read_buffer[..count], out));
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock if self.send_error.is_none() => {
                    self.server_ready = false;
                    self.silent_since = Instant::now();
                    self.incoming.drained(self.silent_since);
                }
                _ => self.end_server_side(ServerSide::Lost(e)),
            },
        }
    }

    fn end_server_side(&mut self, how: ServerSide) {
        self.server_side = how;
        self.show(|client, out| client.incoming.end(out));
    }

    fn write_server(&mut self) {
        if self.sending_ended || self.send_error.is_some() || !self.server_is_open() {
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
                self.to_send.clear();
                self.server_ready = true;
            }
        }
    }

    /// Queues for output what `compose` appends to the buffer it is given.
    fn show(&mut self, compose: impl FnOnce(&mut Self, &mut Vec<u8>)) {
        let mut lines = Vec::new();
        compose(self, &mut lines);
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
        let unsent = self.send_error.is_some() || !self.to_send.is_empty();
        let is_sending = !self.to_send.is_empty() && self.server_is_open();
        if self.output_closed && !is_sending {
            return Some(Ok(()));
        }
        if self.server_is_open() || !self.to_show.is_empty() {
            return None;
        }
        let server = self.server;
        if self.incoming.is_refusal() {
            return Some(Err(Error::Refused {
                server,
                words: None,
            }));
        }
        let source = match std::mem::replace(&mut self.server_side, ServerSide::Ended) {
            ServerSide::Lost(e) => Some(self.send_error.take().unwrap_or(e)),
            _ if self.sending_ended || self.incoming.is_goodbye() => return Some(Ok(())),
            _ => self.send_error.take(),
        };
        Some(Err(Error::ConnectionLost {
            server,
            source,
            unsent,
        }))
    }
}
