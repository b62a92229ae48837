//! One connection of the crowd: it connects, comes in, and then reads lines and
//! writes what it is given.

use std::io;
use std::time::Instant;

use mio::net::TcpStream;

use super::protocol::{Handshake, MAX_WORDS_BYTES, safe_words};
use crate::connection::{Connection, Received};
use crate::line::Decoded;
use crate::room::{NOTICE_PREFIX, REFUSAL_PREFIX};
use crate::socket::has_connected;
use crate::write_queue::{Flushed, Frame};

/// The most that a server may send before what the handshake waits for.
const MAX_GREETING_BYTES: usize = 16 * 1024;

/// The most that is read from one client before it is the next one's turn.
const READ_BUDGET_BYTES: usize = 1024 * 1024;

/// What happens at a client that is in.
#[derive(Debug)]
pub enum News<'a> {
    /// It has received a line, given without its line end, at that moment.
    Line(&'a [u8], Instant),
    /// It has received a line that is longer than any that it may be sent: this is its
    /// beginning.
    TooLong(&'a [u8]),
    /// All that it was given to say is with the kernel.
    Taken(Instant),
    /// The server has ended the connection, or it broke.
    Gone(Instant),
}

/// Why a connection is no more.
#[derive(Debug)]
pub enum Departure {
    /// The server did not let it in, and said why.
    Refused(String),
    /// It ended or broke.
    Lost(io::Error),
}

/// Whether a client has to be served again though no event may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It waits for the next event.
    Blocked,
    /// It has used a budget up.
    BudgetSpent,
}

/// One of the crowd.
#[derive(Debug)]
pub struct Client {
    connection: Connection<TcpStream>,
    stage: Stage,
    /// Whether it is one of those who talk.
    pub is_talker: bool,
    /// Its number within the round, once it has one.
    pub number: Option<usize>,
    /// Whether it stands in the list of those to be served.
    pub is_listed: bool,
    /// The beginning of the last notice or refusal that the server sent it.
    last_words: Vec<u8>,
    /// What it was given to say is not with the kernel yet.
    is_blocked: bool,
}

#[derive(Debug)]
enum Stage {
    Connecting,
    /// What has come so far.
    Greeting(Vec<u8>),
    In,
}

impl Client {
    /// One that has begun to connect by `stream`, and is to read lines of no more
    /// than `max_line_bytes`.
    pub fn new(stream: TcpStream, is_talker: bool, max_line_bytes: u32) -> Self {
        Self {
            connection: Connection::new(stream, 0, max_line_bytes),
            stage: Stage::Connecting,
            is_talker,
            number: None,
            is_listed: false,
            last_words: Vec::new(),
            is_blocked: false,
        }
    }

    /// Whether it is connected and has come in.
    pub fn is_in(&self) -> bool {
        matches!(self.stage, Stage::In)
    }

    /// What it still waits for, in order to come in.
    pub fn why_not_in(&self) -> String {
        match &self.stage {
            Stage::Greeting(said) if said.is_empty() => "connected, but not greeted".to_owned(),
            Stage::Greeting(said) => {
                let said = safe_words(said);
                format!("connected, but not greeted as chat rooms do (\"{said}\")")
            }
            Stage::Connecting | Stage::In => "no answer".to_owned(),
        }
    }

    /// What the server last said to it, if it was a notice or a refusal.
    pub fn last_words(&self) -> Option<String> {
        (!self.last_words.is_empty()).then(|| safe_words(&self.last_words))
    }

    /// The socket is said to take data.
    pub fn mark_writable(&mut self) {
        self.connection.mark_writable();
    }

    /// Says `lines`. [`News::Taken`] tells when they are all with the kernel; until
    /// then it has to be served.
    pub fn say(&mut self, lines: &[u8]) {
        debug_assert!(!self.is_blocked);
        self.is_blocked = true;
        // An error shows when the connection is read, too.
        let _ = self.connection.send_frame(&Frame::from(lines));
    }

    /// Does what can be done without waiting. What happens once it is in is told to
    /// `tell`.
    ///
    /// # Errors
    ///
    /// When the connection is no more.
    pub fn serve(
        &mut self,
        handshake: &Handshake,
        buffer: &mut [u8],
        tell: &mut impl FnMut(News<'_>),
    ) -> Result<Served, Departure> {
        if let Stage::Connecting = self.stage {
            if !has_connected(self.connection.stream()).map_err(Departure::Lost)? {
                return Ok(Served::Blocked);
            }
            self.stage = Stage::Greeting(Vec::new());
            if !handshake.hello.is_empty() {
                // An error shows when the connection is read, too.
                let _ = self.connection.send_frame(&Frame::from(&*handshake.hello));
            }
        }
        let flushed = self.connection.flush();
        if let Stage::Greeting(_) = self.stage {
            self.greet(&handshake.awaited, buffer)?;
        }
        if !self.is_in() {
            return Ok(Served::Blocked);
        }
        if self.is_blocked && self.connection.is_flushed() {
            self.is_blocked = false;
            tell(News::Taken(Instant::now()));
        }
        let read = self.read_lines(buffer, tell)?;
        match flushed {
            Ok(Flushed::BudgetSpent) => Ok(Served::BudgetSpent),
            _ => Ok(read),
        }
    }

    /// Reads until what is `awaited` has come.
    fn greet(&mut self, awaited: &[u8], buffer: &mut [u8]) -> Result<(), Departure> {
        let Stage::Greeting(greeting) = &mut self.stage else {
            return Ok(());
        };
        while !awaited.is_empty() {
            let ended = match self.connection.receive(buffer) {
                Received::Bytes(count) => {
                    greeting.extend_from_slice(&buffer[..count]);
                    None
                }
                Received::WouldBlock => return Ok(()),
                Received::End => Some(closed_by_server()),
                Received::Failed(kind) => Some(kind.into()),
            };
            if memchr::memmem::find(greeting, awaited).is_some() {
                break;
            }
            if let Some(error) = ended {
                return Err(match greeting.strip_prefix(REFUSAL_PREFIX.as_bytes()) {
                    Some(words) => Departure::Refused(safe_words(words)),
                    None => Departure::Lost(error),
                });
            }
            if greeting.len() > MAX_GREETING_BYTES {
                return Err(Departure::Lost(io::Error::other(
                    "what the server says is not the greeting of a chat room",
                )));
            }
        }
        self.stage = Stage::In;
        Ok(())
    }

    /// Reads until nothing is left, or the budget is.
    fn read_lines(
        &mut self,
        buffer: &mut [u8],
        tell: &mut impl FnMut(News<'_>),
    ) -> Result<Served, Departure> {
        let mut read_bytes = 0;
        while read_bytes < READ_BUDGET_BYTES {
            let count = match self.connection.receive(buffer) {
                Received::Bytes(count) => count,
                Received::WouldBlock => return Ok(Served::Blocked),
                Received::End => return Err(Departure::Lost(closed_by_server())),
                Received::Failed(kind) => return Err(Departure::Lost(kind.into())),
            };
            read_bytes += count;
            let now = Instant::now();
            let mut input = &buffer[..count];
            while let Some(decoded) = self.connection.decoder.next_line(&mut input) {
                let line = match decoded {
                    Decoded::Line(line) => line,
                    Decoded::TooLong(beginning) => {
                        tell(News::TooLong(beginning));
                        continue;
                    }
                };
                let prefixes = [NOTICE_PREFIX, REFUSAL_PREFIX].map(str::as_bytes);
                if prefixes.iter().any(|prefix| line.starts_with(prefix)) {
                    self.last_words.clear();
                    let kept_bytes = line.len().min(MAX_WORDS_BYTES);
                    self.last_words.extend_from_slice(&line[..kept_bytes]);
                }
                tell(News::Line(line, now));
            }
        }
        Ok(Served::BudgetSpent)
    }
}

fn closed_by_server() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the connection",
    )
}
