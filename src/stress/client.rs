//! One connection of the crowd: it connects, comes in, then reads lines and writes what
//! it is given.
//!
//! It shares nothing with the server's side of a connection, which it is there to judge, but for
//! TLS, which is a library's on both sides.

use std::io::{self, Read, Write};
use std::mem;
use std::time::{Duration, Instant};

use super::framing::{Cut, LineReader};
use super::json::{self, JsonReader, Told};
use super::protocol::{Handshake, MAX_WORDS_BYTES, safe_words};
use super::websocket::{self, WebSocket};
use crate::client::connect::Socket;
#[cfg(feature = "tls")]
use crate::client::known_rooms::Guard;
use crate::error::tls_hint;
use crate::platform::socket::has_connected;
use crate::platform::socket::retry_interrupted;
use crate::protocol::wording::{NOTICE_PREFIX, PASSWORD_NEEDED, REFUSAL_PREFIX};

/// The most that a server may send before what the handshake waits for.
const MAX_GREETING_BYTES: usize = 16 * 1024;

/// The most that is read from one client before the next is served.
const READ_BUDGET_BYTES: usize = 1024 * 1024;

/// What happens at a client that is in.
#[derive(Debug)]
pub(crate) enum News<'a> {
    /// A line came, given without its LF, at that moment.
    Line(&'a [u8], Instant),
    /// The room told something, in JSON: no line of anybody's.
    Notice,
    /// A line came that is longer than any the client may be sent: its beginning.
    TooLong(&'a [u8]),
    /// The kernel has taken all that the client was given to say.
    Taken(Instant),
    /// The server ended the connection, or it broke.
    Gone(Instant),
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Departure {
    /// The server did not let the client in, and said why.
    Refused(String),
    /// It ended or broke.
    Lost(io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// The next event tells when to serve the client again.
    Blocked,
    /// More can be read, and no event will tell.
    BudgetSpent,
}

#[derive(Debug)]
pub(crate) struct Client {
    socket: Socket,
    stage: Stage,
    pub(crate) is_talker: bool,
    /// Its number within the round, once it has one.
    pub(crate) number: Option<usize>,
    /// Whether it is in the list of clients to serve.
    pub(crate) is_listed: bool,
    lines: LineReader,
    json: Option<Box<JsonReader>>,
    frames: Option<Box<WebSocket>>,
    /// The beginning of the last notice or refusal from the server.
    last_words: Vec<u8>,
    /// What the kernel has not taken yet.
    unsent: Vec<u8>,
    /// [`News::Taken`] is due once `unsent` is empty.
    is_saying: bool,
    /// The last write did not block.
    is_writable: bool,
    /// Writing failed. What the server sent before can still be read.
    write_error: Option<io::Error>,
}

#[derive(Debug)]
enum Stage {
    Connecting,
    /// TLS is agreed on, if it is to be spoken.
    ShakingHands,
    /// WebSocket is asked for.
    Upgrading,
    /// What has come so far.
    Greeting(Vec<u8>),
    In,
}

impl Client {
    /// A client that has begun to connect by `socket`.
    pub(crate) fn new(socket: Socket, is_talker: bool, max_line_bytes: usize) -> Self {
        Self {
            socket,
            stage: Stage::Connecting,
            is_talker,
            number: None,
            is_listed: false,
            lines: LineReader::new(max_line_bytes),
            json: None,
            frames: None,
            last_words: Vec::new(),
            unsent: Vec::new(),
            is_saying: false,
            is_writable: true,
            write_error: None,
        }
    }

    pub(crate) fn is_in(&self) -> bool {
        matches!(self.stage, Stage::In)
    }

    /// What it has waited for in vain, for so long.
    pub(crate) fn why_not_in(&self, patience: Duration, is_secured: bool) -> io::Error {
        let within = format!("within {} s", patience.as_secs());
        match &self.stage {
            Stage::Greeting(said) if said.is_empty() => {
                let hint = tls_hint(is_secured);
                io::Error::other(format!("connected, but no greeting {within}{hint}"))
            }
            Stage::Greeting(said) => {
                let said = safe_words(said);
                io::Error::other(format!(
                    "no chat server: unexpected greeting \"{said}\" {within}"
                ))
            }
            Stage::Connecting | Stage::ShakingHands | Stage::Upgrading | Stage::In => {
                io::Error::new(io::ErrorKind::TimedOut, format!("no answer {within}"))
            }
        }
    }

    pub(crate) fn last_words(&self) -> Option<String> {
        (!self.last_words.is_empty()).then(|| safe_words(&self.last_words))
    }

    pub(crate) fn mark_writable(&mut self) {
        self.is_writable = true;
    }

    /// Says `lines`. Serve the client until [`News::Taken`] tells that the kernel has
    /// them all.
    pub(crate) fn say(&mut self, lines: &[u8]) {
        debug_assert!(!self.is_saying);
        self.is_saying = true;
        self.send_framed(lines);
    }

    /// Does what can be done without blocking. What happens once the client is in goes
    /// to `tell`.
    ///
    /// # Errors
    ///
    /// When the connection is over.
    pub(crate) fn serve(
        &mut self,
        handshake: &Handshake,
        #[cfg(feature = "tls")] guard: Option<&mut Guard>,
        buffer: &mut [u8],
        tell: &mut impl FnMut(News<'_>),
    ) -> Result<Served, Departure> {
        if let Stage::Connecting = self.stage {
            if !has_connected(self.socket.stream()).map_err(Departure::Lost)? {
                return Ok(Served::Blocked);
            }
            self.stage = Stage::ShakingHands;
        }
        if let Stage::ShakingHands = self.stage {
            #[cfg(feature = "tls")]
            if let Some(guard) = guard {
                let shown = self.socket.shake_hands().map_err(|e| {
                    Departure::Lost(if handshake.is_framed {
                        io::Error::other(format!("{e}; {}", websocket::WEB_PORT_NEEDED))
                    } else {
                        e
                    })
                })?;
                let Some(shown) = shown else {
                    return Ok(Served::Blocked);
                };
                let trusted = guard.judge(shown).map_err(io::Error::other);
                trusted.map_err(Departure::Lost)?;
            }
            self.stage = Stage::Upgrading;
            if handshake.is_framed {
                self.frames = Some(Box::new(WebSocket::new()));
                self.send(websocket::REQUEST);
            }
        }
        let is_taken = self.flush();
        if let Stage::Upgrading = self.stage {
            let said = self.await_upgrade(buffer).map_err(Departure::Lost)?;
            let Some(said) = said else {
                return Ok(Served::Blocked);
            };
            self.stage = Stage::Greeting(said);
            self.send_framed(&handshake.hello);
        }
        if let Stage::Greeting(said) = &mut self.stage {
            let said = mem::take(said);
            self.greet(said, handshake, buffer)?;
        }
        if !self.is_in() {
            return Ok(Served::Blocked);
        }
        if self.is_saying && is_taken {
            self.is_saying = false;
            tell(News::Taken(Instant::now()));
        }
        self.read_lines(buffer, tell)
    }

    /// Reads until the server has agreed to frames, if there are to be some. Returns what it said
    /// in them already.
    fn await_upgrade(&mut self, buffer: &mut [u8]) -> io::Result<Option<Vec<u8>>> {
        let mut said = Vec::new();
        while self.frames.as_ref().is_some_and(|frames| !frames.is_open()) {
            let Some(count) = self.read(buffer)? else {
                return Ok(None);
            };
            said.extend_from_slice(&buffer[..count]);
        }
        Ok(Some(said))
    }

    /// Reads until the server has sent what is awaited; `said` came before.
    fn greet(
        &mut self,
        mut said: Vec<u8>,
        handshake: &Handshake,
        buffer: &mut [u8],
    ) -> Result<(), Departure> {
        let rest_at = loop {
            if let Some(words) = refusal_in(&said, &handshake.refused) {
                return Err(Departure::Refused(words));
            }
            if let Some(at) = memchr::memmem::find(&said, &handshake.awaited) {
                break if handshake.reads_json {
                    at
                } else {
                    at + handshake.awaited.len()
                };
            }
            if said.len() > MAX_GREETING_BYTES {
                let error = io::Error::other("no chat server: unexpected greeting");
                return Err(Departure::Lost(error));
            }
            match self.read(buffer) {
                Ok(Some(count)) => said.extend_from_slice(&buffer[..count]),
                Ok(None) => {
                    self.stage = Stage::Greeting(said);
                    return Ok(());
                }
                Err(error) => {
                    return Err(match farewell_in(&said) {
                        Some(words) => Departure::Refused(words),
                        None => Departure::Lost(error),
                    });
                }
            }
        };
        // No round has begun, so nobody counts these lines.
        let mut json = handshake.reads_json.then(Box::<JsonReader>::default);
        self.lines.push(&said[rest_at..], |cut| {
            if let (Some(json), Cut::Line(line)) = (&mut json, cut) {
                json.read(line);
            }
        });
        self.json = json;
        self.stage = Stage::In;
        Ok(())
    }

    fn read_lines(
        &mut self,
        buffer: &mut [u8],
        tell: &mut impl FnMut(News<'_>),
    ) -> Result<Served, Departure> {
        let mut read_bytes = 0;
        while read_bytes < READ_BUDGET_BYTES {
            let Some(count) = self.read(buffer).map_err(Departure::Lost)? else {
                return Ok(Served::Blocked);
            };
            read_bytes += count;
            let now = Instant::now();
            let (last_words, json) = (&mut self.last_words, &mut self.json);
            let mut keep = |words: &[u8]| {
                last_words.clear();
                last_words.extend_from_slice(&words[..words.len().min(MAX_WORDS_BYTES)]);
            };
            self.lines
                .push(&buffer[..count], |cut| match (cut, &mut *json) {
                    (Cut::TooLong(beginning), _) => tell(News::TooLong(beginning)),
                    (Cut::Line(line), None) => {
                        let prefixes = [NOTICE_PREFIX, REFUSAL_PREFIX].map(str::as_bytes);
                        if prefixes.iter().any(|prefix| line.starts_with(prefix)) {
                            keep(line);
                        }
                        tell(News::Line(line, now));
                    }
                    (Cut::Line(object), Some(json)) => match json.read(object) {
                        Told::Line(line) => tell(News::Line(line, now)),
                        Told::Garbled => tell(News::Line(object, now)),
                        Told::Other => tell(News::Notice),
                        Told::Own => {}
                        Told::Bye(words) => keep(words),
                    },
                });
        }
        Ok(Served::BudgetSpent)
    }

    /// Reads once, and takes the data out of frames: that may be none. `None` when reading would
    /// block.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let closed = || {
            let words = "the server closed the connection";
            io::Error::new(io::ErrorKind::UnexpectedEof, words)
        };
        match retry_interrupted(|| self.socket.read(buffer)) {
            Ok(0) => Err(closed()),
            // Over TLS, without a goodbye.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(closed()),
            Ok(count) => match &mut self.frames {
                None => Ok(Some(count)),
                Some(frames) => frames
                    .receive(&mut buffer[..count])
                    .map(Some)
                    // Of a client that is in, these are all that is told of its end.
                    .inspect_err(|e| self.last_words = e.to_string().into_bytes()),
            },
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.write_error.take().map_or(Ok(None), Err)
            }
            Err(e) => Err(e),
        }
    }

    fn send_framed(&mut self, bytes: &[u8]) {
        match &mut self.frames {
            Some(frames) => {
                let frame = frames.frame(bytes);
                self.send(&frame);
            }
            None => self.send(bytes),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut taken = 0;
        if self.unsent.is_empty() {
            taken = self.write(bytes);
        }
        self.unsent.extend_from_slice(&bytes[taken..]);
    }

    /// Returns whether the kernel has taken all.
    fn flush(&mut self) -> bool {
        let mut unsent = mem::take(&mut self.unsent);
        let taken = self.write(&unsent);
        if taken < unsent.len() {
            unsent.drain(..taken);
            self.unsent = unsent;
        }
        self.unsent.is_empty() && self.has_passed_on()
    }

    /// Whether nothing is left of what was written: TLS may have kept some.
    fn has_passed_on(&mut self) -> bool {
        match self.socket.flush() {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
            Err(e) => {
                self.write_error = Some(e);
                true
            }
        }
    }

    /// Returns how many of `bytes` need not be written again.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && self.is_writable {
            match retry_interrupted(|| self.socket.write(&bytes[taken..])) {
                Ok(count) => taken += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.is_writable = false,
                Err(e) => {
                    self.write_error = Some(e);
                    return bytes.len();
                }
            }
        }
        taken
    }
}

/// What the line in `said` says that begins with `refused`, once it is whole.
fn refusal_in(said: &[u8], refused: &[u8]) -> Option<String> {
    if refused.is_empty() {
        return None;
    }
    let mut lines = said.split_inclusive(|&byte| byte == b'\n');
    let line = lines.find(|line| line.starts_with(refused) && line.ends_with(b"\n"))?;
    words_of(line)
}

/// What a server has said last before it closed the connection, if that is more than that it has a
/// password.
fn farewell_in(said: &[u8]) -> Option<String> {
    let last = said.trim_ascii_end().rsplit(|&byte| byte == b'\n').next()?;
    words_of(last).filter(|words| words != PASSWORD_NEEDED)
}

/// What the room itself says in `line`: a notice, a refusal, or an object that is one.
fn words_of(line: &[u8]) -> Option<String> {
    let prefixes = [NOTICE_PREFIX, REFUSAL_PREFIX].map(str::as_bytes);
    let words = prefixes
        .iter()
        .find_map(|prefix| line.strip_prefix(*prefix));
    match words {
        Some(words) => Some(safe_words(words)),
        None => json::refusal_in(line).map(|words| safe_words(words.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_says_why_it_lets_nobody_in() {
        let needed = "Welcome!\n-- this room has a password: /pass PASSWORD\n";
        let wrong = "!! wrong password; try again\n";
        let refused = |said: &str, refused: &str| refusal_in(said.as_bytes(), refused.as_bytes());
        assert_eq!(refused(needed, "-- this").as_deref(), Some(PASSWORD_NEEDED));
        assert_eq!(
            refused(&format!("{needed}{wrong}"), "!! wrong").as_deref(),
            Some("wrong password; try again")
        );
        for (said, start) in [
            (needed, ""),
            (needed, "!! wrong"),
            ("Welcome!\n!! wrong pass", "!! wrong"),
            ("<a> !! wrong password\n", "!! wrong"),
        ] {
            assert_eq!(refused(said, start), None, "{said}");
        }
        for (last, words) in [
            ("", None),
            ("-- too many\n", Some("too many")),
            ("!! full\r\n", Some("full")),
            (
                r#"{"kind":"bye","code":"password","text":"goodbye"}"#,
                Some("goodbye"),
            ),
            (r#"{"kind":"hello","text":"x"}"#, None),
            ("<a> hi\n", None),
        ] {
            let said = format!("{needed}{last}");
            assert_eq!(farewell_in(said.as_bytes()).as_deref(), words, "{last}");
        }
    }
}
