//! The connection to the server, as it is made and made again.

#[cfg(feature = "tls")]
use std::io::IoSlice;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use log::debug;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::sockopt;

#[cfg(feature = "tls")]
use super::known_rooms::{Guard, Visit};
use crate::error::Error;
use crate::platform::addresses::ScopedIp;
use crate::platform::socket::{has_connected, keep_alive, set_user_timeout};
#[cfg(feature = "tls")]
use crate::protocol::tls::{Fingerprint, Session};

/// The kernel probes a server that has been silent for this long. With its six probes ten seconds
/// apart, one that has vanished is noticed within 100 s, though nobody says a thing. It costs a
/// packet and its answer in each such time, and wakes no program.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(40);

/// What a person has sent may stay unacknowledged for so long (tcp(7): `TCP_USER_TIMEOUT`).
const USER_TIMEOUT: Duration = Duration::from_secs(100);

/// How long one address has to answer before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The addresses of `host`, a name or an IP address, in the order the resolver gives
/// them: at least one. Blocks meanwhile: there is nothing else to do yet.
///
/// # Errors
///
/// When the name is not known.
pub(crate) fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let resolved = match host.parse::<ScopedIp>() {
        Ok(ip) => ip.with_port(port).map(|address| vec![address]),
        Err(()) => (host, port).to_socket_addrs().and_then(|addresses| {
            let addresses: Vec<SocketAddr> = addresses.collect();
            if addresses.is_empty() {
                return Err(io::Error::other("it has no address"));
            }
            Ok(addresses)
        }),
    };
    resolved.map_err(|source| Error::Resolve {
        host: host.to_owned(),
        port,
        source,
    })
}

/// Where the server is, and how to be sure that it is the one.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) addresses: Vec<SocketAddr>,
    /// `None` without TLS.
    #[cfg(feature = "tls")]
    pub(crate) guard: Option<Guard>,
}

/// The connection, if there is one, and where it leads.
#[derive(Debug)]
pub(crate) struct Link {
    way: Way,
    registry: Registry,
    token: Token,
    state: State,
    /// The address that is connected or being tried, or was last.
    server: SocketAddr,
    /// Whether a server that does not acknowledge what it is sent is given up.
    is_impatient: bool,
    /// What the user is to be told of the connection.
    news: Option<News>,
    /// Whether the user was told that the room is the one that is known.
    #[cfg(feature = "tls")]
    has_told: bool,
}

#[derive(Debug)]
enum State {
    Closed,
    Connecting {
        stream: TcpStream,
        /// The index of the address.
        nth: usize,
        until: Instant,
        /// Of the addresses before.
        failures: Vec<Failure>,
    },
    /// Connected, and before the end of the TLS handshake.
    #[cfg(feature = "tls")]
    ShakingHands {
        socket: Socket,
        nth: usize,
        until: Instant,
        failures: Vec<Failure>,
    },
    Open(Socket),
}

/// What there is to tell of a connection.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) words: String,
    /// Whether the user has to do something.
    pub(crate) is_trouble: bool,
}

/// An address, and why it did not answer.
pub(crate) type Failure = (SocketAddr, io::Error);

/// How far an attempt to connect has got.
#[derive(Debug)]
pub(crate) enum Progress {
    Pending,
    Connected,
    /// No address has answered.
    Failed(Vec<Failure>),
    /// The server is not the one that is meant, or that cannot be known.
    #[cfg(feature = "tls")]
    Untrusted(Error),
}

impl Link {
    /// No connection yet, to a server at the end of this `way`. With `is_impatient`, a server
    /// that acknowledges nothing for some minutes is given up.
    pub(crate) fn new(way: Way, is_impatient: bool, registry: Registry, token: Token) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            server: way.addresses.first().copied().unwrap_or(nowhere),
            way,
            registry,
            token,
            state: State::Closed,
            is_impatient,
            news: None,
            #[cfg(feature = "tls")]
            has_told: false,
        }
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    pub(crate) fn stream(&mut self) -> Option<&mut Socket> {
        match &mut self.state {
            State::Open(socket) => Some(socket),
            _ => None,
        }
    }

    /// Whether nobody else can read the connection.
    pub(crate) fn is_secured(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.way.guard.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Why the room must not have a password: nobody has said that its key is right.
    pub(crate) fn lack_of_trust(&self) -> Option<Error> {
        #[cfg(feature = "tls")]
        if let Some(guard) = &self.way.guard {
            return (!guard.is_confirmed()).then(|| guard.unconfirmed());
        }
        None
    }

    /// The room's key.
    pub(crate) fn key(&self) -> Option<String> {
        #[cfg(feature = "tls")]
        return self.way.guard.as_ref()?.key();
        #[cfg(not(feature = "tls"))]
        None
    }

    /// The room's key, for the user to compare, unless that was told.
    pub(crate) fn key_to_tell(&mut self) -> Option<String> {
        #[cfg(feature = "tls")]
        return self.way.guard.as_mut()?.key_to_tell();
        #[cfg(not(feature = "tls"))]
        None
    }

    /// The room has let its visitor in.
    pub(crate) fn keep_key(&mut self) {
        #[cfg(feature = "tls")]
        if let Some(guard) = &mut self.way.guard {
            guard.keep();
        }
    }

    /// The user says that the room's key is right, or wrong.
    pub(crate) fn confirm_key(&mut self, is_right: bool) {
        #[cfg(feature = "tls")]
        if let Some(guard) = &mut self.way.guard {
            guard.confirm(is_right);
        }
        #[cfg(not(feature = "tls"))]
        let _ = is_right;
    }

    /// The user says that the new key is not the room's. Returns what to end with.
    pub(crate) fn reject_key(&self) -> Option<Error> {
        #[cfg(feature = "tls")]
        return Some(self.way.guard.as_ref()?.rejects());
        #[cfg(not(feature = "tls"))]
        None
    }

    /// What the user is to be told of the connection, once.
    pub(crate) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Begins to connect: tries one address after the other until one answers.
    pub(crate) fn connect(&mut self, now: Instant) -> Progress {
        self.try_from(0, now, Vec::new())
    }

    /// Goes on connecting; to be called on readiness and at the [deadline](Self::deadline).
    pub(crate) fn advance(&mut self, now: Instant) -> Progress {
        #[cfg(feature = "tls")]
        if matches!(self.state, State::ShakingHands { .. }) {
            return self.shake_hands(now);
        }
        let State::Connecting {
            stream,
            nth,
            until,
            failures,
        } = &mut self.state
        else {
            return Progress::Pending;
        };
        let failure = match has_connected(stream) {
            Ok(true) => {
                match prepare(stream, self.is_impatient) {
                    Ok(()) => return self.opened(now),
                    // The connection has been reset already.
                    Err(e) => e,
                }
            }
            Ok(false) if now < *until => return Progress::Pending,
            Ok(false) => Errno::TIMEDOUT.into(),
            Err(e) => e,
        };
        let (nth, mut failures) = (*nth, std::mem::take(failures));
        failures.push((self.server, failure));
        self.try_from(nth + 1, now, failures)
    }

    /// When the next address is to be tried.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Connecting { until, .. } => Some(*until),
            #[cfg(feature = "tls")]
            State::ShakingHands { until, .. } => Some(*until),
            State::Closed | State::Open(_) => None,
        }
    }

    pub(crate) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Closes the connection by a reset: whatever is on its way is lost.
    pub(crate) fn abandon(&mut self) {
        if let State::Open(socket) = &self.state {
            // Without it the server may hear our end before what comes next.
            let _ = sockopt::set_socket_linger(socket.stream(), Some(Duration::ZERO));
        }
        self.state = State::Closed;
    }

    #[cfg_attr(not(feature = "tls"), expect(unused_variables))]
    fn opened(&mut self, now: Instant) -> Progress {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let State::Connecting {
            stream,
            nth,
            failures,
            ..
        } = state
        else {
            return Progress::Pending;
        };
        #[cfg(feature = "tls")]
        if let Some(guard) = &self.way.guard {
            let socket = match Socket::secured(stream, guard) {
                Ok(socket) => socket,
                Err(e) => return Progress::Untrusted(Error::Tls(e)),
            };
            self.state = State::ShakingHands {
                socket,
                nth,
                until: now + CONNECT_TIMEOUT,
                failures,
            };
            return self.shake_hands(now);
        }
        self.state = State::Open(Socket::from(stream));
        Progress::Connected
    }

    #[cfg(feature = "tls")]
    fn shake_hands(&mut self, now: Instant) -> Progress {
        let state = std::mem::replace(&mut self.state, State::Closed);
        let State::ShakingHands {
            mut socket,
            nth,
            until,
            mut failures,
        } = state
        else {
            return Progress::Pending;
        };
        let failure = match socket.shake_hands() {
            Ok(None) if now < until => {
                self.state = State::ShakingHands {
                    socket,
                    nth,
                    until,
                    failures,
                };
                return Progress::Pending;
            }
            Ok(None) => Errno::TIMEDOUT.into(),
            Ok(Some(shown)) => {
                let guard = self.way.guard.as_mut().expect("it began the handshake");
                return match guard.judge(shown) {
                    Ok(visit) => {
                        let is_told = std::mem::replace(&mut self.has_told, true);
                        self.news = match visit {
                            Visit::First => {
                                let key = guard.key().unwrap_or_default();
                                let words = format!(
                                    "first visit: the room's key is {key} (compare it with the \
                                     host's)"
                                );
                                Some(News {
                                    words,
                                    is_trouble: true,
                                })
                            }
                            Visit::Later if is_told => None,
                            Visit::Later => Some(News {
                                words: "over TLS, to the key you know".to_owned(),
                                is_trouble: false,
                            }),
                        };
                        self.state = State::Open(socket);
                        Progress::Connected
                    }
                    Err(e) => Progress::Untrusted(e),
                };
            }
            Err(e) => e,
        };
        failures.push((self.server, failure));
        self.try_from(nth + 1, now, failures)
    }

    fn try_from(&mut self, first: usize, now: Instant, mut failures: Vec<Failure>) -> Progress {
        self.state = State::Closed;
        for (nth, address) in self.way.addresses.iter().copied().enumerate().skip(first) {
            self.server = address;
            match begin(address, &self.registry, self.token) {
                Ok(stream) => {
                    self.state = State::Connecting {
                        stream,
                        nth,
                        until: now + CONNECT_TIMEOUT,
                        failures,
                    };
                    return Progress::Pending;
                }
                Err(e) => {
                    debug!("{address}: {e}");
                    failures.push((address, e));
                }
            }
        }
        Progress::Failed(failures)
    }
}

/// A connection to a server, plain or not.
#[derive(Debug)]
pub(crate) struct Socket<S = TcpStream> {
    stream: S,
    #[cfg(feature = "tls")]
    session: Option<Box<Session>>,
}

impl<S> From<S> for Socket<S> {
    fn from(stream: S) -> Self {
        Self {
            stream,
            #[cfg(feature = "tls")]
            session: None,
        }
    }
}

impl<S: Read + Write> Socket<S> {
    /// Over TLS, with a handshake that has not begun.
    ///
    /// # Errors
    ///
    /// When the configuration does not do.
    #[cfg(feature = "tls")]
    pub(crate) fn secured(stream: S, guard: &Guard) -> Result<Self, rustls::Error> {
        let session = Some(Box::new(Session::client(&guard.config)?));
        Ok(Self { stream, session })
    }

    /// Goes on with the handshake. Returns the server's key once that is over.
    ///
    /// # Errors
    ///
    /// What is wrong, in words for people.
    #[cfg(feature = "tls")]
    pub(crate) fn shake_hands(&mut self) -> io::Result<Option<Fingerprint>> {
        let Some(session) = &mut self.session else {
            return Ok(None);
        };
        match session.shake_hands(&mut self.stream) {
            Ok(false) => Ok(None),
            Ok(true) => {
                let shown = session.peer().map(Fingerprint::of);
                let shown = shown.ok_or(rustls::Error::NoCertificatesPresented);
                shown.and_then(|it| it).map(Some).map_err(io::Error::other)
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(misunderstood(&e)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(io::Error::other(
                "the connection ended in the TLS handshake (is that the server's port for TLS?)",
            )),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    /// Says that nothing more will come from us. Returns whether that is written.
    ///
    /// # Errors
    ///
    /// Those of write(2).
    pub(crate) fn say_goodbye(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.say_goodbye(&mut self.stream);
        }
        Ok(())
    }
}

impl<S: Read + Write> Read for Socket<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            let cut_off = |e: io::Error| match e.kind() {
                kind @ io::ErrorKind::UnexpectedEof => io::Error::new(kind, "it was cut off"),
                _ => e,
            };
            let read = session.read(&mut self.stream, buffer);
            return read.map_err(cut_off);
        }
        self.stream.read(buffer)
    }
}

impl<S: Read + Write> Write for Socket<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.write(&mut self.stream, &[IoSlice::new(bytes)]);
        }
        self.stream.write(bytes)
    }

    /// Writes what TLS has kept.
    fn flush(&mut self) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.flush(&mut self.stream);
        }
        self.stream.flush()
    }
}

/// What to say of a server that a handshake has failed with by `e`.
#[cfg(feature = "tls")]
fn misunderstood(e: &io::Error) -> io::Error {
    use rustls::{AlertDescription, Error};
    let source = e.get_ref().and_then(|source| source.downcast_ref());
    match source {
        None | Some(Error::InvalidMessage(_)) => io::Error::other(
            "no TLS is spoken there; leave --tls out, or give the server's port for TLS",
        ),
        Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => io::Error::other(
            "the server speaks TLS, but not for what is asked (is the port right?)",
        ),
        Some(source) => io::Error::other(format!("the TLS handshake failed: {source}")),
    }
}

fn begin(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(stream)
}

fn prepare(stream: &TcpStream, is_impatient: bool) -> io::Result<()> {
    // A typed line is sent at once.
    stream.set_nodelay(true)?;
    keep_alive(stream)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    if is_impatient {
        set_user_timeout(stream, USER_TIMEOUT)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_server_that_has_vanished_is_found_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for is_impatient in [false, true] {
            let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let stream = TcpStream::from_std(stream);
            assert!(has_connected(&stream).unwrap());
            prepare(&stream, is_impatient).unwrap();
            assert!(sockopt::socket_keepalive(&stream).unwrap());
            let probed_for =
                sockopt::tcp_keepintvl(&stream).unwrap() * sockopt::tcp_keepcnt(&stream).unwrap();
            let noticed_after = sockopt::tcp_keepidle(&stream).unwrap() + probed_for;
            assert!(noticed_after <= Duration::from_secs(100));
            assert!(sockopt::tcp_nodelay(&stream).unwrap());
            let timeout_ms = sockopt::tcp_user_timeout(&stream).unwrap();
            assert_eq!(
                u128::from(timeout_ms) == USER_TIMEOUT.as_millis(),
                is_impatient
            );
        }
    }
}
