//! How this program makes its TCP sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};

/// A peer that has been silent for so long is asked whether it is still there,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// again after so long,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// and is gone if it has not answered so often.
pub const KEEPALIVE_PROBES: u32 = 6;

/// A peer that has not acknowledged what was sent to it for so long is gone: it has
/// vanished, or has had no room for it all that time (tcp(7): `TCP_USER_TIMEOUT`).
pub const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// A TCP socket for an address of the same family as `address`, which does not block
/// and is not handed down to other programs.
///
/// # Errors
///
/// Those of socket(2).
pub fn tcp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    Ok(socket)
}

/// Whether the connection of `stream`, which was begun, has been made; neither so nor an error
/// while it is not known. mio's documentation of `TcpStream::connect` has these steps.
///
/// # Errors
///
/// Those of connect(2).
pub fn has_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(e) = stream.take_error()? {
        return Err(e);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(e) if Errno::from_io_error(&e) == Some(Errno::INPROGRESS) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Has the kernel find out whether a silent peer of `socket` is still there.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    Ok(())
}

/// Has the kernel give a peer of `socket` up that does not take what it is sent for
/// [`USER_TIMEOUT`], which takes a quarter of an hour otherwise.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn give_up_on_the_unreachable(socket: impl AsFd) -> io::Result<()> {
    let timeout_ms = USER_TIMEOUT.as_millis().try_into();
    sockopt::set_tcp_user_timeout(socket, timeout_ms.expect("some minutes"))?;
    Ok(())
}
