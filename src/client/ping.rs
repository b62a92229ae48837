//! `chat ping`: is there a room? Connects, reads the greeting, and leaves before anybody is
//! told that somebody was here.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use log::debug;

use super::connect::{Failure, Socket, resolve};
#[cfg(feature = "tls")]
use super::known_rooms::{Guard, Security};
use crate::error::Error;
use crate::platform::socket::retry_interrupted;
use crate::platform::stdio::print;
use crate::protocol::text::made_safe;
use crate::protocol::wording::{REFUSAL_PREFIX, WELCOME};

/// No greeting and no refusal is as long.
const MAX_ANSWER_BYTES: usize = 512;

/// How long to wait for the server's end of the connection: a close with unread input would
/// look to it like a failure. A server like the Python original never closes.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(100);

/// What to look for, and for how long.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name or IP address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// For the connection and the greeting together.
    pub(crate) timeout: Duration,
    #[cfg(feature = "tls")]
    pub(crate) security: Security,
}

/// What a server says first, as far as it has come.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Unfinished,
    Welcome,
    /// It does not let us in, for this reason.
    Refusal(String),
    /// It speaks another protocol.
    Foreign,
}

impl Answer {
    fn of(heard: &[u8]) -> Self {
        let (welcome, refusal) = (WELCOME.as_bytes(), REFUSAL_PREFIX.as_bytes());
        // The Python original does not end its line.
        if heard.starts_with(welcome) {
            return Self::Welcome;
        }
        if let Some(words) = heard.strip_prefix(refusal) {
            return match words.iter().position(|&byte| byte == b'\n') {
                Some(end) => Self::Refusal(made_safe(words[..end].trim_ascii_end())),
                None if heard.len() < MAX_ANSWER_BYTES => Self::Unfinished,
                None => Self::Foreign,
            };
        }
        if welcome.starts_with(heard) || refusal.starts_with(heard) {
            Self::Unfinished
        } else {
            Self::Foreign
        }
    }
}

/// Looks for a room, and prints how long it took to answer. The timeout does not bound the
/// lookup of a name.
///
/// # Errors
///
/// When the server cannot be reached, does not answer in time, is no chat room or refuses
/// the client; and when standard output fails.
pub fn run(config: &Config) -> Result<(), Error> {
    let Config { host, port, .. } = config;
    let addresses = resolve(host, *port)?;
    #[cfg(feature = "tls")]
    let guard = Guard::new(host, *port, &addresses, &config.security, false)?;
    let begun = Instant::now();
    let until = begun + config.timeout;
    let (stream, server) = connect(&addresses, until).map_err(|attempts| Error::Connect {
        host: config.host.clone(),
        port: config.port,
        attempts,
    })?;
    #[cfg(feature = "tls")]
    let is_secured = guard.is_some();
    #[cfg(not(feature = "tls"))]
    let is_secured = false;
    #[cfg(feature = "tls")]
    let stream = match guard {
        Some(guard) => match shake_hands(stream, server, guard, config, until)? {
            Some(stream) => stream,
            None => {
                return Err(Error::NoAnswer {
                    server,
                    timeout: config.timeout,
                    has_greeted: false,
                    is_secured,
                });
            }
        },
        None => Socket::from(stream),
    };
    #[cfg(not(feature = "tls"))]
    let stream = Socket::from(stream);
    let mut stream = stream;
    let answer = read_answer(&mut stream, until);
    let delay = begun.elapsed();
    leave(&mut stream);
    match answer {
        Ok(Answer::Welcome) => {
            // The smallest build has no floating-point numbers in it.
            let (millis, micros) = (delay.as_millis(), delay.subsec_micros() % 1000);
            let tenths = micros / 100;
            let line = format!("chat server at {server} answered in {millis}.{tenths} ms\n");
            print(line.as_bytes()).map_err(Error::WriteOutput)
        }
        Ok(Answer::Refusal(words)) => Err(Error::Refused {
            server,
            words: Some(words),
        }),
        Ok(Answer::Foreign) => Err(Error::NoRoom {
            server,
            has_said: false,
            is_secured,
        }),
        // Only the end of the connection leaves it so.
        Ok(Answer::Unfinished) => Err(Error::ConnectionLost {
            server,
            source: None,
            unsent: false,
        }),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(Error::NoAnswer {
            server,
            timeout: config.timeout,
            has_greeted: false,
            is_secured,
        }),
        Err(e) => Err(Error::ConnectionLost {
            server,
            source: Some(e),
            unsent: false,
        }),
    }
}

/// A connection to the first of `addresses` that accepts it; each has its share of the time.
fn connect(
    addresses: &[SocketAddr],
    until: Instant,
) -> Result<(TcpStream, SocketAddr), Vec<Failure>> {
    let mut failures = Vec::new();
    for (address, remaining) in addresses.iter().copied().zip((1..=addresses.len()).rev()) {
        let share = time_left(until) / u32::try_from(remaining).unwrap_or(u32::MAX);
        match TcpStream::connect_timeout(&address, share) {
            Ok(stream) => return Ok((stream, address)),
            Err(e) => {
                debug!("{address}: {e}");
                failures.push((address, e));
            }
        }
    }
    Err(failures)
}

/// Makes sure of the room. `None` if that takes too long.
#[cfg(feature = "tls")]
fn shake_hands(
    stream: TcpStream,
    server: SocketAddr,
    mut guard: Guard,
    config: &Config,
    until: Instant,
) -> Result<Option<Socket<TcpStream>>, Error> {
    let failed = |e| Error::Connect {
        host: config.host.clone(),
        port: config.port,
        attempts: vec![(server, e)],
    };
    let mut stream = Socket::secured(stream, &guard).map_err(Error::Tls)?;
    loop {
        let timeout = Some(time_left(until));
        stream.stream().set_read_timeout(timeout).map_err(failed)?;
        match stream.shake_hands().map_err(failed)? {
            Some(shown) => {
                guard.judge(shown)?;
                return Ok(Some(stream));
            }
            None if Instant::now() >= until => return Ok(None),
            None => {}
        }
    }
}

/// What the server says until it is clear what that is, or until its end.
///
/// # Errors
///
/// Those of read(2). `WouldBlock` if it says too little in time.
fn read_answer(stream: &mut Socket<TcpStream>, until: Instant) -> io::Result<Answer> {
    let mut heard = [0; MAX_ANSWER_BYTES];
    let mut length = 0;
    loop {
        stream.stream().set_read_timeout(Some(time_left(until)))?;
        let count = retry_interrupted(|| stream.read(&mut heard[length..]))?;
        length += count;
        let answer = Answer::of(&heard[..length]);
        if answer != Answer::Unfinished || count == 0 {
            return Ok(answer);
        }
    }
}

/// Closes the connection in order. Failures do not matter any more.
fn leave(stream: &mut Socket<TcpStream>) {
    let _ = stream.say_goodbye();
    let _ = stream.stream().shutdown(Shutdown::Write);
    let until = Instant::now() + GOODBYE_TIMEOUT;
    let mut rest = [0; MAX_ANSWER_BYTES];
    while Instant::now() < until
        && (stream.stream().set_read_timeout(Some(time_left(until)))).is_ok()
        && stream.read(&mut rest).is_ok_and(|count| count > 0)
    {}
}

/// Never zero, which would mean no timeout.
fn time_left(until: Instant) -> Duration {
    let left = until.saturating_duration_since(Instant::now());
    left.max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_as_soon_as_it_can_be() {
        let refusal = |words: &str| Answer::Refusal(words.to_owned());
        for (heard, expected) in [
            ("", Answer::Unfinished),
            ("Welcome to this chat", Answer::Unfinished),
            ("Welcome to this chatroom!", Answer::Welcome),
            ("Welcome to this chatroom!\r\n-- hi\n", Answer::Welcome),
            ("!", Answer::Unfinished),
            ("!! the room is fu", Answer::Unfinished),
            ("!! the room is full\n", refusal("the room is full")),
            ("!! \x1b[2J\r\nmore", refusal("␛[2J")),
            ("SSH-2.0-OpenSSH_9.6\r\n", Answer::Foreign),
            ("Welcome to this chatroom?", Answer::Foreign),
            ("\n", Answer::Foreign),
        ] {
            assert_eq!(Answer::of(heard.as_bytes()), expected, "{heard:?}");
        }
    }

    #[test]
    fn a_refusal_without_end_is_no_refusal() {
        let mut heard = b"!! ".to_vec();
        heard.resize(MAX_ANSWER_BYTES, b'x');
        assert_eq!(Answer::of(&heard), Answer::Foreign);
    }
}
