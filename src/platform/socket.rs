//! TCP sockets: creation, options, and the kernel's view of a connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mio::net::TcpStream;
use rustix::fs::fstat;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with, sockopt};

/// The kernel probes a peer that has been silent for this long,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// repeats the probe at this interval,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// and resets the connection after this many unanswered probes.
pub(crate) const KEEPALIVE_PROBES: u32 = 6;

/// How long sent data may stay unacknowledged: the peer is unreachable, or its receive
/// buffer has been full all that time (tcp(7): `TCP_USER_TIMEOUT`).
pub(crate) const USER_TIMEOUT: Duration = Duration::from_secs(120);

/// A TCP socket of the same family as `address`, non-blocking and close-on-exec.
///
/// # Errors
///
/// Those of socket(2).
pub(crate) fn tcp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    Ok(socket)
}

/// Whether a connect in progress has succeeded. `false` means not yet. The steps are those of
/// mio's documentation of `TcpStream::connect`.
///
/// # Errors
///
/// Those of connect(2), if it has failed.
pub(crate) fn has_connected(stream: &TcpStream) -> io::Result<bool> {
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

/// Enables keepalive probes for `socket`.
///
/// # Errors
///
/// Those of setsockopt(2).
pub(crate) fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    let socket = socket.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    Ok(())
}

/// Sets [`USER_TIMEOUT`] for `socket`. The kernel's own timeout is a quarter of an hour.
///
/// # Errors
///
/// Those of setsockopt(2).
pub(crate) fn give_up_on_the_unreachable(socket: impl AsFd) -> io::Result<()> {
    let timeout_ms = USER_TIMEOUT.as_millis().try_into();
    sockopt::set_tcp_user_timeout(socket, timeout_ms.expect("some minutes"))?;
    Ok(())
}

/// The number of bytes written to the TCP connection `socket` that its peer has not
/// acknowledged, from /proc/net/tcp (proc_pid_net(5)). `None` if unknown.
pub(crate) fn unacknowledged_bytes(socket: impl AsFd) -> Option<u64> {
    let inode = fstat(socket).ok()?.st_ino.to_string();
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|path| {
        let table = std::fs::read_to_string(path).ok()?;
        table.lines().find_map(|row| {
            // sl local remote st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
            let mut fields = row.split_ascii_whitespace();
            let queues = fields.nth(4)?;
            if fields.nth(4)? != inode {
                return None;
            }
            let (unacknowledged, _) = queues.split_once(':')?;
            u64::from_str_radix(unacknowledged, 16).ok()
        })
    })
}

/// Repeats `call` while it fails with EINTR (signal(7)).
#[inline(always)]
pub(crate) fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::unacknowledged_bytes;

    #[test]
    fn data_that_the_peer_has_no_room_for_is_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(unacknowledged_bytes(&socket), Some(0));
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 65536]).is_ok() {}
        assert!(unacknowledged_bytes(&socket) > Some(0));
    }
}
