//! The listening socket: how it is made, and what its errors mean.

use std::io;
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{self, sockopt};

use super::event_loop::Accepted;
use crate::socket::tcp_socket;

/// Connections that the kernel completes and keeps until they are accepted. mio
/// and the standard library fix it at 128, too few when a whole room comes at
/// once. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// What the kernel may hold for one client that it has not acknowledged yet; the
/// kernel counts its own overhead against twice this (socket(7)). Left to itself it
/// goes up to 4 MiB (tcp(7): `tcp_wmem`), and a room that floods fills that for every
/// client: memory that no cache holds, so that the writes themselves take longer. On a
/// LAN much less keeps a connection busy: 192 KiB every 5 ms are 39 MB/s. Below what
/// `net.core.wmem_max` usually allows.
const SEND_BUFFER_BYTES: usize = 192 * 1024;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens on `address`; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and listen(2).
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = tcp_socket(address)?;
        // A restart must not wait until the old connections have timed out.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        // Accepted sockets inherit these on Linux: no call for each of them.
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)?;
        if address.is_ipv6() {
            // `::` is every address, the IPv4 ones too, whatever
            // net.ipv6.bindv6only says.
            sockopt::set_ipv6_v6only(&socket, false)?;
        }
        net::bind(&socket, &address)?;
        net::listen(&socket, BACKLOG)?;
        let inner = TcpListener::from_std(socket.into());
        let address = inner.local_addr()?;
        Ok(Self { inner, address })
    }

    /// Where it listens, with the port that it really has.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket, to be registered with a poll.
    pub fn source_mut(&mut self) -> &mut TcpListener {
        &mut self.inner
    }

    /// Accepts one connection. Which errors belong to that connection alone, and
    /// which to this machine, is said by accept(2).
    pub fn accept(&self) -> Accepted<TcpStream> {
        let error = match self.inner.accept() {
            Ok((stream, peer)) => return Accepted::Client(stream, peer.ip().to_canonical()),
            Err(e) => e,
        };
        match Errno::from_io_error(&error) {
            Some(Errno::WOULDBLOCK) => Accepted::Nobody,
            Some(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::PERM
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::NONET
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH,
            ) => Accepted::Skip,
            // A free descriptor is looked for before a waiting connection is.
            _ if !self.somebody_waits() => Accepted::Nobody,
            _ => Accepted::Exhausted(error),
        }
    }

    fn somebody_waits(&self) -> bool {
        let mut fds = [PollFd::new(&self.inner, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }
}

/// Whether `error` says that this process has all the descriptors it may have.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let _peer = std::net::TcpStream::connect(listener.address()).unwrap();
        let Accepted::Client(stream, address) = listener.accept() else {
            panic!("somebody waits");
        };
        assert!(sockopt::tcp_nodelay(&stream).unwrap());
        let allowed_bytes = sockopt::socket_send_buffer_size(&stream).unwrap();
        assert!((1..=2 * SEND_BUFFER_BYTES).contains(&allowed_bytes));
        assert_eq!(address, listener.address().ip());
        assert!(matches!(listener.accept(), Accepted::Nobody));
    }
}
