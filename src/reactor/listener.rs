//! The listening socket: how it is made, and what its errors mean.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use log::{debug, warn};
use mio::net::{TcpListener, TcpStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, sockopt};

use super::acceptor::Accepted;
use crate::platform::socket::{
    INHERITS_OPTIONS, USER_TIMEOUT, is_of_connection, keep_alive, set_send_buffer,
    set_user_timeout, tcp_socket,
};
use crate::platform::system::IS_LINUX;

/// Connections that the kernel completes and keeps until they are accepted. mio
/// and the standard library fix it at 128, too few when a whole room comes at
/// once. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// What the kernel may hold for one client that it has not acknowledged yet, unless
/// set otherwise; the kernel counts its own overhead against twice this (socket(7)).
///
/// Left to itself the kernel goes up to 4 MiB (tcp(7): `tcp_wmem`), and a room that
/// floods fills that for every client that is slow: memory that a small router does
/// not have, and that no cache holds, so that the writes themselves take longer. On a
/// LAN much less keeps a connection busy: 128 KiB every 5 ms are 26 MB/s. For readers
/// far away it is the bound: 128 KiB every 100 ms are 1.3 MB/s. Below what
/// `net.core.wmem_max` usually allows.
pub const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// What the kernel may keep of what a client says and we have not read; it counts its
/// own overhead against twice this. Left to itself it goes up to 6 MiB and more for
/// each that talks fast (tcp(7): `tcp_rmem`), and keeps all of that for a flooder that
/// is not read for a while. This is what every connection begins with anyway.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    address: SocketAddr,
    /// The send buffer for connections that may have inherited no options: the system hands
    /// none down, or they are older than these. `None` once there can be no more of them.
    lacking_send_buffer_bytes: Cell<Option<usize>>,
}

impl Listener {
    /// Listens on `address`; port 0 is any free one. The kernel may hold
    /// `send_buffer_bytes` for each client.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and listen(2).
    pub fn bind(address: SocketAddr, send_buffer_bytes: usize) -> io::Result<Self> {
        let socket = tcp_socket(address)?;
        // A restart must not wait until the old connections have timed out.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if address.is_ipv6() {
            // `::` is every address, the IPv4 ones too, whatever
            // net.ipv6.bindv6only says.
            sockopt::set_ipv6_v6only(&socket, false)?;
        }
        warn_of_small_send_buffer(set_options(&socket, send_buffer_bytes)?, send_buffer_bytes);
        net::bind(&socket, &address)?;
        let lacking_send_buffer_bytes = (!INHERITS_OPTIONS).then_some(send_buffer_bytes);
        Self::listen(socket, lacking_send_buffer_bytes)
    }

    /// A socket that listens already, from the service manager. It gets the options of
    /// [`Listener::bind`], and so do the connections that wait there.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2) and listen(2).
    pub fn passed(listener: std::net::TcpListener, send_buffer_bytes: usize) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let socket = OwnedFd::from(listener);
        warn_of_small_send_buffer(set_options(&socket, send_buffer_bytes)?, send_buffer_bytes);
        Self::listen(socket, Some(send_buffer_bytes))
    }

    fn listen(socket: OwnedFd, lacking_send_buffer_bytes: Option<usize>) -> io::Result<Self> {
        // On a socket that listens already, this only sets the backlog.
        net::listen(&socket, BACKLOG)?;
        let inner = TcpListener::from_std(socket.into());
        let address = inner.local_addr()?;
        Ok(Self {
            inner,
            address,
            lacking_send_buffer_bytes: Cell::new(lacking_send_buffer_bytes),
        })
    }

    /// Where it listens, with the port that it really has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket, to be registered with a poll.
    pub fn source_mut(&mut self) -> &mut TcpListener {
        &mut self.inner
    }

    /// Accepts one connection.
    pub fn accept(&self) -> Accepted<TcpStream> {
        match self.inner.accept() {
            Ok((stream, peer)) => {
                if let Some(bytes) = self.lacking_send_buffer_bytes.get()
                    && let Err(e) = set_options(&stream, bytes)
                {
                    debug!("{peer} has not got its options: {e}");
                }
                Accepted::Client(stream, peer.ip().to_canonical())
            }
            Err(e) => {
                let meaning = not_accepted(e, || self.somebody_waits());
                if INHERITS_OPTIONS && matches!(meaning, Accepted::Nobody) {
                    self.lacking_send_buffer_bytes.set(None);
                }
                meaning
            }
        }
    }

    fn somebody_waits(&self) -> bool {
        let mut fds = [PollFd::new(&self.inner, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

/// Sets the options of a client's socket, and returns what send buffer the kernel has allowed.
/// On Linux accepted sockets inherit the options from the listener: no call for each of them.
fn set_options(socket: impl AsFd, send_buffer_bytes: usize) -> io::Result<usize> {
    let socket = socket.as_fd();
    sockopt::set_tcp_nodelay(socket, true)?;
    let got_bytes = set_send_buffer(socket, send_buffer_bytes)?;
    sockopt::set_socket_recv_buffer_size(socket, RECEIVE_BUFFER_BYTES)?;
    keep_alive(socket)?;
    set_user_timeout(socket, USER_TIMEOUT)?;
    Ok(got_bytes)
}

fn warn_of_small_send_buffer(got_bytes: usize, bytes: usize) {
    let name = if IS_LINUX {
        "net.core.wmem_max"
    } else {
        "kern.ipc.maxsockbuf"
    };
    if got_bytes < bytes {
        warn!(
            "the kernel allows a send buffer of {got_bytes} bytes, not {bytes}; \
             `sysctl {name}={bytes}` would let it"
        );
    }
}

/// What an error of accept(2) means.
fn not_accepted<S>(error: io::Error, somebody_waits: impl FnOnce() -> bool) -> Accepted<S> {
    match Errno::from_io_error(&error) {
        Some(Errno::WOULDBLOCK) => Accepted::Nobody,
        Some(errno) if is_of_connection(errno) => Accepted::Skip,
        // A free descriptor is looked for before a waiting connection is.
        _ if !somebody_waits() => Accepted::Nobody,
        errno => Accepted::Exhausted {
            error,
            is_of_descriptors: matches!(errno, Some(Errno::MFILE | Errno::NFILE)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::socket::KEEPALIVE_PROBES;

    #[test]
    fn a_shortage_is_told_from_a_connection_that_came_to_nothing() {
        let meaning = |errno: Errno, somebody_waits| {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            not_accepted::<TcpStream>(error, || somebody_waits)
        };
        for shortage in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            let Accepted::Exhausted {
                is_of_descriptors, ..
            } = meaning(shortage, true)
            else {
                panic!("{shortage:?}");
            };
            assert_eq!(
                is_of_descriptors,
                matches!(shortage, Errno::MFILE | Errno::NFILE)
            );
            assert!(matches!(meaning(shortage, false), Accepted::Nobody));
        }
        for passing in [
            Errno::CONNABORTED,
            Errno::PROTO,
            Errno::NETDOWN,
            Errno::INTR,
        ] {
            assert!(matches!(meaning(passing, true), Accepted::Skip));
        }
        assert!(matches!(meaning(Errno::AGAIN, true), Accepted::Nobody));
    }

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let address = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::bind(address, SEND_BUFFER_BYTES).unwrap();
        let _peer = std::net::TcpStream::connect(listener.address()).unwrap();
        expect_client_with_options(&listener);
        assert!(matches!(listener.accept(), Accepted::Nobody));
    }

    #[test]
    fn sockets_get_the_options_though_they_came_before_the_listener_had_them() {
        let passed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = passed.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect(address).unwrap();
        let _early = (connect(), connect());
        let listener = Listener::passed(passed, SEND_BUFFER_BYTES).unwrap();
        expect_client_with_options(&listener);
        expect_client_with_options(&listener);
        assert!(matches!(listener.accept(), Accepted::Nobody));
        assert_eq!(listener.lacking_send_buffer_bytes.get(), None);
        let _late = connect();
        expect_client_with_options(&listener);
    }

    #[track_caller]
    fn expect_client_with_options(listener: &Listener) {
        let Accepted::Client(stream, address) = listener.accept() else {
            panic!("somebody waits");
        };
        assert!(sockopt::tcp_nodelay(&stream).unwrap());
        let allowed_bytes = sockopt::socket_send_buffer_size(&stream).unwrap();
        assert!((1..=2 * SEND_BUFFER_BYTES).contains(&allowed_bytes));
        let allowed_bytes = sockopt::socket_recv_buffer_size(&stream).unwrap();
        assert!((1..=2 * RECEIVE_BUFFER_BYTES).contains(&allowed_bytes));
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let probing = sockopt::tcp_keepintvl(&stream).unwrap() * KEEPALIVE_PROBES;
        let vanished_after = sockopt::tcp_keepidle(&stream).unwrap() + probing;
        assert_eq!(vanished_after, USER_TIMEOUT, "silent or not");
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), KEEPALIVE_PROBES);
        let user_timeout_ms = sockopt::tcp_user_timeout(&stream).unwrap();
        assert_eq!(u128::from(user_timeout_ms), USER_TIMEOUT.as_millis());
        assert_eq!(address, listener.address().ip());
    }
}
