//! The service manager that started this program, if one did: systemd, or another that speaks
//! its protocols.
//!
//! It hears how the program is (sd_notify(3)) and may pass a listening socket
//! (sd_listen_fds(3)). Nothing here waits for it.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use listenfd::ListenFd;
use log::warn;
use rustix::time::{ClockId, clock_gettime};

/// Where the manager hears from this program.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl NotifySocket {
    /// The socket that the environment variable `NOTIFY_SOCKET` names. `None` without one; if
    /// it is unusable, also logs a warning.
    pub(crate) fn from_env() -> Option<Self> {
        let name = env::var_os("NOTIFY_SOCKET")?;
        let opened = address_of(name.as_encoded_bytes()).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok(Self { socket, address })
        });
        opened
            .inspect_err(|e| {
                let name = name.display();
                warn!("cannot notify the service manager at NOTIFY_SOCKET={name}: {e}");
            })
            .ok()
    }

    /// Sends one message: lines of `VARIABLE=VALUE`.
    ///
    /// # Errors
    ///
    /// Those of sendto(2). `WouldBlock` while the manager does not read.
    pub(crate) fn send(&self, message: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(message.as_bytes(), &self.address)?;
        Ok(())
    }
}

/// A path, or the name of an abstract socket after an `@`.
fn address_of(name: &[u8]) -> io::Result<SocketAddr> {
    use std::ffi::OsStr;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;

    match name {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(name)),
        _ => Err(io::Error::other("expected a path, or @ and a name")),
    }
}

/// How soon the manager takes this program for hung if it hears nothing from it
/// (sd_watchdog_enabled(3)). `None`: never.
pub(crate) fn watchdog_timeout() -> Option<Duration> {
    let variable = |name| env::var(name).ok();
    timeout_of(
        variable("WATCHDOG_USEC").as_deref(),
        variable("WATCHDOG_PID").as_deref(),
        process::id(),
    )
}

fn timeout_of(micros: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    let micros = micros?.parse().ok().filter(|&micros| micros > 0)?;
    Some(Duration::from_micros(micros))
}

/// The time by `CLOCK_MONOTONIC`, in microseconds.
pub(crate) fn monotonic_micros() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    micros.try_into().unwrap_or_default()
}

/// Whether the manager has passed sockets to this process.
pub(crate) fn passes_sockets() -> bool {
    let variable = |name| env::var(name).ok();
    let count = variable("LISTEN_FDS").and_then(|count| count.parse::<u32>().ok());
    let pid = variable("LISTEN_PID").and_then(|pid| pid.parse().ok());
    count > Some(0) && pid == Some(process::id())
}

/// The listening socket that the manager has passed, close-on-exec. `None` if it has passed
/// none. Call it once.
///
/// # Errors
///
/// If what it has passed is something else.
pub(crate) fn take_listener() -> io::Result<Option<TcpListener>> {
    if !passes_sockets() {
        return Ok(None);
    }
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        warn!(
            "the service manager has passed {} sockets; only the first is used",
            passed.len()
        );
    }
    let listener = passed.take_tcp_listener(0)?;
    match &listener {
        Some(listener) if !is_listening(listener)? => Err(io::Error::other("it does not listen")),
        _ => Ok(listener),
    }
}

#[cfg(not(target_vendor = "apple"))]
fn is_listening(listener: &TcpListener) -> io::Result<bool> {
    Ok(rustix::net::sockopt::socket_acceptconn(listener)?)
}

/// Whoever passes another one hears of it from accept(2).
#[cfg(target_vendor = "apple")]
fn is_listening(_: &TcpListener) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_it_names() {
        let second = Some(Duration::from_secs(1));
        for (micros, pid, timeout) in [
            (None, None, None),
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some(""), None),
            (Some("0"), Some("7"), None),
            (Some("soon"), Some("7"), None),
        ] {
            assert_eq!(timeout_of(micros, pid, 7), timeout, "{micros:?} {pid:?}");
        }
    }

    #[test]
    fn a_socket_has_a_path_or_an_abstract_name() {
        use std::os::linux::net::SocketAddrExt;

        let path = address_of(b"/run/notify").unwrap();
        assert_eq!(path.as_pathname().unwrap().to_str(), Some("/run/notify"));
        let name = address_of(b"@manager").unwrap();
        assert_eq!(name.as_abstract_name(), Some(&b"manager"[..]));
        for unusable in [&b""[..], b"notify", b"vsock:2:1234"] {
            assert!(address_of(unusable).is_err());
        }
    }
}
