//! One connection of the crowd: it connects, comes in, and then reads lines and
//! writes what it is given.

use std::io;
use std::time::Instant;

use mio::net::TcpStream;

use super::protocol::Protocol;
use crate::connection::{Connection, Received};
use crate::line::Decoded;
use crate::write_queue::Frame;

/// The most that a server may send before what the handshake waits for.
const MAX_GREETING_BYTES: usize = 16 * 1024;

/// How a server's words to one that it does not let in begin.
const REFUSAL: &[u8] = b"!! ";

/// What happened at one of those who are in.
#[derive(Debug)]
pub enum Event<'a> {
    /// It has received a line, given without its line end, at that moment.
    Line(&'a [u8], Instant),
    /// All that it was given to say is with the kernel.
    Flushed,
    /// The server has ended the connection, or it broke.
    Gone,
}

/// Why a connection is no more.
#[derive(Debug)]
pub enum Gone {
    /// The server did not let it in, and said why.
    Refused(String),
    /// It ended or broke.
    Lost(io::Error),
}

/// One of the crowd.
#[derive(Debug)]
pub struct Participant {
    connection: Connection<TcpStream>,
    stage: Stage,
    /// Whether it is one of those who talk.
    pub is_talker: bool,
    /// Its number within the run.
    pub number: usize,
}

#[derive(Debug)]
enum Stage {
    Connecting,
    /// What has come so far.
    Greeting(Vec<u8>),
    In,
}

impl Participant {
    /// One that has begun to connect by `stream`, and is to read lines of no more
    /// than `max_line_bytes`.
    pub fn new(stream: TcpStream, is_talker: bool, max_line_bytes: u32) -> Self {
        Self {
            connection: Connection::new(stream, 0, max_line_bytes),
            stage: Stage::Connecting,
            is_talker,
            number: usize::MAX,
        }
    }

    /// Whether it is connected and has come in.
    pub fn is_in(&self) -> bool {
        matches!(self.stage, Stage::In)
    }

    /// Says `lines`. Returns whether they are all with the kernel; if not,
    /// [`Event::Flushed`] will tell.
    pub fn send(&mut self, lines: &[u8]) -> bool {
        // An error shows when the connection is read, too.
        let _ = self.connection.send_frame(&Frame::from(lines));
        self.connection.is_flushed()
    }

    /// Does what can be done now that the poll has reported `event`. What happens
    /// once it is in is told to `tell`.
    ///
    /// # Errors
    ///
    /// When the connection is no more.
    pub fn handle(
        &mut self,
        event: &mio::event::Event,
        protocol: &Protocol,
        buffer: &mut [u8],
        tell: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Gone> {
        if let Stage::Connecting = self.stage {
            if !is_connected(self.connection.stream()).map_err(Gone::Lost)? {
                return Ok(());
            }
            self.stage = Stage::Greeting(Vec::new());
            let hello = &protocol.handshake(self.is_talker).hello;
            if !hello.is_empty() {
                self.send(hello);
            }
        }
        if event.is_writable()
            && self.connection.mark_writable()
            && self.connection.flush().is_ok()
            && self.connection.is_flushed()
        {
            tell(Event::Flushed);
        }
        if let Stage::Greeting(_) = self.stage {
            self.greet(&protocol.handshake(self.is_talker).awaited, buffer)?;
        }
        if self.is_in() {
            self.read_lines(buffer, tell)?;
        }
        Ok(())
    }

    /// Reads until what is `awaited` has come.
    fn greet(&mut self, awaited: &[u8], buffer: &mut [u8]) -> Result<(), Gone> {
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
                return Err(match greeting.starts_with(REFUSAL) {
                    true => {
                        let words = &greeting[REFUSAL.len()..];
                        Gone::Refused(String::from_utf8_lossy(words).trim_end().to_owned())
                    }
                    false => Gone::Lost(error),
                });
            }
            if greeting.len() > MAX_GREETING_BYTES {
                return Err(Gone::Lost(io::Error::other(
                    "what the server says is not the greeting of a chat room",
                )));
            }
        }
        self.stage = Stage::In;
        Ok(())
    }

    /// Reads until nothing is left.
    fn read_lines(
        &mut self,
        buffer: &mut [u8],
        tell: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Gone> {
        loop {
            let count = match self.connection.receive(buffer) {
                Received::Bytes(count) => count,
                Received::WouldBlock => return Ok(()),
                Received::End => return Err(Gone::Lost(closed_by_server())),
                Received::Failed(kind) => return Err(Gone::Lost(kind.into())),
            };
            let now = Instant::now();
            let mut input = &buffer[..count];
            while let Some(Decoded::Line(line) | Decoded::TooLong(line)) =
                self.connection.decoder.next_line(&mut input)
            {
                tell(Event::Line(line, now));
            }
        }
    }
}

fn closed_by_server() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the connection",
    )
}

/// Whether a connection that was begun has been made, connect(2).
fn is_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) => Err(e),
    }
}
