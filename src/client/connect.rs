//! The connection to the server, as it is made and made again.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use log::debug;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::sockopt;

use crate::error::Error;
use crate::platform::addresses::ScopedIp;
use crate::platform::socket::{has_connected, keep_alive, set_user_timeout};

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

/// The connection, if there is one, and where it leads.
#[derive(Debug)]
pub(crate) struct Link {
    addresses: Vec<SocketAddr>,
    registry: Registry,
    token: Token,
    state: State,
    /// The address that is connected or being tried, or was last.
    server: SocketAddr,
    /// Whether a server that does not acknowledge what it is sent is given up.
    is_impatient: bool,
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
    Open(TcpStream),
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
}

impl Link {
    /// No connection yet, to a server at one of `addresses`. With `is_impatient`, a server
    /// that acknowledges nothing for some minutes is given up.
    pub(crate) fn new(
        addresses: Vec<SocketAddr>,
        is_impatient: bool,
        registry: Registry,
        token: Token,
    ) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            server: addresses.first().copied().unwrap_or(nowhere),
            addresses,
            registry,
            token,
            state: State::Closed,
            is_impatient,
        }
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    pub(crate) fn stream(&mut self) -> Option<&mut TcpStream> {
        match &mut self.state {
            State::Open(stream) => Some(stream),
            State::Closed | State::Connecting { .. } => None,
        }
    }

    /// Begins to connect: tries one address after the other until one answers.
    pub(crate) fn connect(&mut self, now: Instant) -> Progress {
        self.try_from(0, now, Vec::new())
    }

    /// Goes on connecting; to be called on readiness and at the [deadline](Self::deadline).
    pub(crate) fn advance(&mut self, now: Instant) -> Progress {
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
                    Ok(()) => return self.opened(),
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
            State::Closed | State::Open(_) => None,
        }
    }

    pub(crate) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Closes the connection by a reset: whatever is on its way is lost.
    pub(crate) fn abandon(&mut self) {
        if let State::Open(stream) = &self.state {
            // Without it the server may hear our end before what comes next.
            let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
        self.state = State::Closed;
    }

    fn opened(&mut self) -> Progress {
        if let State::Connecting { stream, .. } = std::mem::replace(&mut self.state, State::Closed)
        {
            self.state = State::Open(stream);
        }
        Progress::Connected
    }

    fn try_from(&mut self, first: usize, now: Instant, mut failures: Vec<Failure>) -> Progress {
        self.state = State::Closed;
        for (nth, address) in self.addresses.iter().copied().enumerate().skip(first) {
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
