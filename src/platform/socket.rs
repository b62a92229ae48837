//! TCP sockets: creation, options, and the kernel's view of a connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mio::net::TcpStream;
use rustix::fs::fstat;
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketType, ipproto, socket, sockopt};

use crate::platform::system::IS_LINUX;

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
    let socket = socket(family, SocketType::STREAM, Some(ipproto::TCP))?;
    // Not every system has flags for these at socket(2). One thread starts no program meanwhile.
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
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

/// How long data sent on `socket` may stay unacknowledged before the kernel gives the connection
/// up. Its own timeout, which systems without this option keep, is a quarter of an hour.
///
/// # Errors
///
/// Those of setsockopt(2).
pub(crate) fn set_user_timeout(socket: impl AsFd, timeout: Duration) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if IS_LINUX {
        let timeout_ms = timeout.as_millis().try_into();
        sockopt::set_tcp_user_timeout(socket, timeout_ms.expect("some minutes"))?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, timeout);
    Ok(())
}

/// Whether a socket that is accepted has the options of the listening one.
pub(crate) const INHERITS_OPTIONS: bool = IS_LINUX;

/// Sets what the kernel may hold for `socket` that its peer has not acknowledged, to `bytes` or
/// to what the kernel allows, and returns that.
///
/// # Errors
///
/// Those of setsockopt(2).
pub(crate) fn set_send_buffer(socket: impl AsFd, bytes: usize) -> io::Result<usize> {
    let socket = socket.as_fd();
    let set = |bytes| sockopt::set_socket_send_buffer_size(socket, bytes);
    set_most(bytes, set)?;
    let got_bytes = sockopt::socket_send_buffer_size(socket)?;
    // Linux allows as much again for its own overhead, and shows the sum (socket(7)).
    Ok(if IS_LINUX { got_bytes / 2 } else { got_bytes })
}

/// Where the kernel refuses more than it allows, half of that is tried, and so on. Linux takes
/// any number, and sets what it allows.
fn set_most(bytes: usize, mut set: impl FnMut(usize) -> Result<(), Errno>) -> io::Result<()> {
    let mut bytes = bytes;
    while let Err(e) = set(bytes) {
        if e != Errno::NOBUFS || bytes <= 1 {
            return Err(e.into());
        }
        bytes /= 2;
    }
    Ok(())
}

/// Whether an error of accept(2) is of the connection that was to be accepted, and not of this
/// machine, as its manual pages have it.
pub(crate) fn is_of_connection(error: Errno) -> bool {
    #[cfg(target_os = "linux")]
    if error == Errno::NONET {
        return true;
    }
    matches!(
        error,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
    )
}

/// The number of bytes written to the TCP connection `socket` that its peer has not
/// acknowledged, from /proc/net/tcp (proc_pid_net(5)). `None` if unknown, as on other systems.
pub(crate) fn unacknowledged_bytes(socket: impl AsFd) -> Option<u64> {
    if !IS_LINUX {
        return None;
    }
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

    use super::*;

    #[test]
    fn a_kernel_that_refuses_a_large_buffer_gives_what_it_allows() {
        let mut buffer_bytes = 0;
        let most = |most: usize| {
            move |bytes: usize| {
                if bytes > most {
                    return Err(Errno::NOBUFS);
                }
                Ok(bytes)
            }
        };
        let allowed = most(300_000);
        set_most(1_000_000, |bytes| {
            allowed(bytes).map(|got| buffer_bytes = got)
        })
        .unwrap();
        assert_eq!(buffer_bytes, 250_000);
        let none = most(0);
        assert!(set_most(1_000_000, |bytes| none(bytes).map(drop)).is_err());
        let other = set_most(1, |_| Err(Errno::INVAL)).unwrap_err();
        assert_eq!(Errno::from_io_error(&other), Some(Errno::INVAL));
    }

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
