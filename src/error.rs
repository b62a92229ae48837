//! Errors that end the program, worded for the person who started it.
//!
//! Each message says what happened, to what, and what to do about it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use crate::exit::Exit;
use crate::platform::addresses::{ScopedIp, is_link_local_v6};

/// An error that ends the program.
#[derive(Debug)]
pub enum Error {
    /// Two options do not go together.
    Contradiction {
        /// The longest line.
        max_line_bytes: usize,
        /// What the kernel may hold for each client.
        send_buffer_bytes: usize,
        /// The least send buffer for such lines.
        least_bytes: usize,
    },
    /// The server cannot listen on this address and port.
    Listen {
        /// From the command line.
        ip: ScopedIp,
        /// From the command line.
        port: u16,
        /// From socket(2), bind(2) or listen(2), or that there is no such interface.
        source: io::Error,
    },
    /// The server cannot use the socket that the service manager has passed.
    PassedSocket(io::Error),
    /// The server cannot open the operator's FIFO.
    OpenOperatorFifo {
        /// From the command line.
        path: PathBuf,
        /// From open(2), or that it is something else.
        source: io::Error,
    },
    /// The server cannot read the message of the day, or it is too long.
    ReadMotd {
        /// From the command line.
        path: PathBuf,
        /// From open(2) or read(2), or the limit.
        source: io::Error,
    },
    /// A line could be longer than fits between servers.
    #[cfg(feature = "nats")]
    TooLongToLink {
        /// The longest line.
        max_line_bytes: usize,
        /// The longest that fits.
        most_bytes: usize,
    },
    /// The server cannot read the file of `--nats-creds`.
    #[cfg(feature = "nats")]
    ReadCredentials {
        /// From the command line.
        path: PathBuf,
        /// From open(2) or read(2), or what is wrong with it.
        source: io::Error,
    },
    /// The password cannot be read, or others can read it.
    ReadPassword {
        /// From the command line.
        path: PathBuf,
        /// From open(2) or read(2), or what is wrong with it.
        source: io::Error,
    },
    /// The server cannot open the transcript.
    OpenTranscript {
        /// From the command line.
        path: PathBuf,
        /// From open(2).
        source: io::Error,
    },
    /// The server cannot use its key or its certificate, or not make it.
    #[cfg(feature = "tls")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What the system says, or what is wrong with what is in there.
        source: io::Error,
    },
    /// There is no place to keep the server's key.
    #[cfg(feature = "tls")]
    NoStateFolder,
    /// The client cannot use the file of known rooms.
    #[cfg(feature = "tls")]
    KnownRooms {
        /// The file.
        path: PathBuf,
        /// From open(2), read(2) or write(2).
        source: io::Error,
    },
    /// There is nothing to forget.
    #[cfg(feature = "tls")]
    NotKnown {
        /// As it would be noted.
        room: String,
    },
    /// The user has joined a room of this host with TLS, and does not ask for it.
    #[cfg(feature = "tls")]
    KnownWithTls {
        /// From the command line.
        host: String,
    },
    /// Nobody has seen this key before, or would see it now.
    #[cfg(feature = "tls")]
    UnknownKey {
        /// From the command line.
        host: String,
        /// From the command line.
        port: u16,
        /// The fingerprint of the key.
        shown: String,
    },
    /// The user has seen this key, and says that it is not the room's.
    #[cfg(feature = "tls")]
    WrongKey {
        /// From the command line.
        host: String,
        /// From the command line.
        port: u16,
        /// The fingerprint of the key.
        shown: String,
    },
    /// The room wants a password, and nobody has said that its key is right.
    #[cfg(feature = "tls")]
    UnconfirmedKey {
        /// From the command line.
        host: String,
        /// From the command line.
        port: u16,
        /// The fingerprint of the key.
        shown: String,
    },
    /// The room shows another key than it should.
    #[cfg(feature = "tls")]
    OtherKey {
        /// From the command line.
        host: String,
        /// From the command line.
        port: u16,
        /// The fingerprint of the key that was expected.
        trusted: String,
        /// The fingerprint of the key that was shown.
        shown: String,
        /// Whether the user has given the former.
        is_given: bool,
    },
    /// TLS cannot be set up.
    #[cfg(feature = "tls")]
    Tls(rustls::Error),
    /// The client cannot open the file of `--log`.
    OpenLog {
        /// From the command line.
        path: PathBuf,
        /// From open(2).
        source: io::Error,
    },
    /// The poll failed, or the registration of a source with it.
    Poll(io::Error),
    /// The system has no random bits to give.
    Random(io::Error),
    /// The resolver found no address for a host name.
    Resolve {
        /// From the command line.
        host: String,
        /// From the command line.
        port: u16,
        /// From getaddrinfo(3), or that there is no such interface.
        source: io::Error,
    },
    /// No address of the host accepted the connection.
    Connect {
        /// From the command line.
        host: String,
        /// From the command line.
        port: u16,
        /// One error per address, in the order tried.
        attempts: Vec<(SocketAddr, io::Error)>,
    },
    /// The server closed the connection, or the connection broke.
    ConnectionLost {
        /// The server's address.
        server: SocketAddr,
        /// What broke the connection. `None` if the server closed it.
        source: Option<io::Error>,
        /// Whether the last lines that the user said may not have arrived.
        unsent: bool,
    },
    /// The room refused the client.
    Refused {
        /// The server's address.
        server: SocketAddr,
        /// The server's reason. `None` if the user has seen it already.
        words: Option<String>,
    },
    /// The room refused some of the lines it was sent.
    NotTaken {
        /// The server's address.
        server: SocketAddr,
        /// The room's reason for the first refused line.
        words: String,
        /// The number of further refused lines.
        more: usize,
    },
    /// The room has not answered all lines that it was sent.
    InDoubt {
        /// The server's last address.
        server: SocketAddr,
        /// What broke the connection, if something did.
        source: Option<io::Error>,
        /// The lines.
        lines: Vec<String>,
        /// The number of other such lines, which the user has been told.
        more: usize,
    },
    /// The client has left lines out, and told the user which and why.
    LeftOut {
        /// The server's last address.
        server: SocketAddr,
        /// The number of these lines.
        lines: usize,
    },
    /// The user gave up before the client could send all lines.
    NotSaid {
        /// The server's last address.
        server: SocketAddr,
        /// The number of unsent lines.
        lines: usize,
    },
    /// The server did not greet as a chat room does.
    NoRoom {
        /// The server's address.
        server: SocketAddr,
        /// Whether the client sent it lines.
        has_said: bool,
        /// Whether that was over TLS.
        is_secured: bool,
    },
    /// The server accepted the connection, and said too little in time.
    NoAnswer {
        /// Whether it greeted as a chat room does.
        has_greeted: bool,
        /// Whether the connection was over TLS.
        is_secured: bool,
        /// The server's address.
        server: SocketAddr,
        /// From the command line.
        timeout: Duration,
    },
    /// The client cannot set the terminal's mode.
    Terminal(io::Error),
    /// The program cannot read standard input.
    ReadInput(io::Error),
    /// The program cannot write to standard output.
    WriteOutput(io::Error),
    /// A stress test failed; `crate::stress::error` has the cases.
    #[cfg(feature = "stress")]
    Stress {
        /// What happened, to what, and what to do.
        message: String,
        /// The code to end with.
        exit: Exit,
    },
}

impl Error {
    /// The program's exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Contradiction { .. } => Exit::Usage,
            #[cfg(feature = "nats")]
            Self::TooLongToLink { .. } => Exit::Usage,
            #[cfg(feature = "nats")]
            Self::ReadCredentials { .. } => Exit::Failure,
            Self::Listen { .. }
            | Self::PassedSocket(_)
            | Self::OpenOperatorFifo { .. }
            | Self::ReadMotd { .. }
            | Self::ReadPassword { .. }
            | Self::OpenTranscript { .. }
            | Self::OpenLog { .. }
            | Self::Poll(_)
            | Self::Random(_)
            | Self::Terminal(_)
            | Self::ReadInput(_)
            | Self::WriteOutput(_) => Exit::Failure,
            #[cfg(feature = "tls")]
            Self::Identity { .. }
            | Self::NoStateFolder
            | Self::KnownRooms { .. }
            | Self::NotKnown { .. }
            | Self::Tls(_) => Exit::Failure,
            #[cfg(feature = "tls")]
            Self::KnownWithTls { .. }
            | Self::UnknownKey { .. }
            | Self::WrongKey { .. }
            | Self::UnconfirmedKey { .. }
            | Self::OtherKey { .. } => Exit::Untrusted,
            Self::Resolve { .. } | Self::Connect { .. } => Exit::CannotConnect,
            Self::ConnectionLost { .. }
            | Self::NotSaid { .. }
            | Self::NoRoom { .. }
            | Self::NoAnswer { .. } => Exit::ConnectionLost,
            Self::Refused { .. } | Self::NotTaken { .. } | Self::LeftOut { .. } => Exit::Refused,
            Self::InDoubt { .. } => Exit::InDoubt,
            #[cfg(feature = "stress")]
            Self::Stress { exit, .. } => *exit,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction {
                max_line_bytes,
                send_buffer_bytes,
                least_bytes,
            } => write!(
                f,
                "--max-line {max_line_bytes} and --send-buffer {send_buffer_bytes} do not go \
                 together: each such line would delay everybody; raise --send-buffer to \
                 {least_bytes} or more"
            ),
            #[cfg(feature = "nats")]
            Self::TooLongToLink {
                max_line_bytes,
                most_bytes,
            } => write!(
                f,
                "--max-line {max_line_bytes} and --nats do not go together: servers tell each \
                 other lines of at most {most_bytes} bytes; lower --max-line"
            ),
            #[cfg(feature = "nats")]
            Self::ReadCredentials { path, source } => write!(
                f,
                "cannot use {} for --nats-creds: {}",
                path.display(),
                plain(source)
            ),
            Self::Listen { ip, port, source } => {
                let problem = ListenProblem(ip.ip, *port, source);
                if ip.ip.is_ipv6() {
                    write!(f, "cannot listen on [{ip}]:{port}: {problem}")
                } else {
                    write!(f, "cannot listen on {ip}:{port}: {problem}")
                }
            }
            Self::PassedSocket(source) => write!(
                f,
                "cannot use the socket that the service manager passed: {}; \
                 its unit needs ListenStream= with an IP address or a port, and Accept=no",
                plain(source)
            ),
            Self::OpenOperatorFifo { path, source } => write!(
                f,
                "cannot use {} for --operator-commands: {}; make a FIFO there with mkfifo",
                path.display(),
                plain(source)
            ),
            Self::ReadMotd { path, source } => write!(
                f,
                "cannot use {} for --motd: {}",
                path.display(),
                plain(source)
            ),
            Self::ReadPassword { path, source } => write!(
                f,
                "cannot use {} for --password-file: {}",
                path.display(),
                plain(source)
            ),
            Self::OpenTranscript { path, source } => write!(
                f,
                "cannot append to {} for --transcript: {}",
                path.display(),
                plain(source)
            ),
            #[cfg(feature = "tls")]
            Self::Identity { path, source } => write!(
                f,
                "cannot use {} for --tls: {}",
                path.display(),
                plain(source)
            ),
            #[cfg(feature = "tls")]
            Self::NoStateFolder => f.write_str(
                "no place to keep the key for --tls: set HOME or XDG_STATE_HOME, or give \
                 --tls-cert and --tls-key",
            ),
            #[cfg(feature = "tls")]
            Self::KnownRooms { path, source } => write!(
                f,
                "cannot use {}, which has the keys of known rooms: {}",
                path.display(),
                plain(source)
            ),
            #[cfg(feature = "tls")]
            Self::NotKnown { room } => write!(
                f,
                "no room is known at {room} (known are those in known_rooms, in \
                 ~/.local/state/chat or $XDG_STATE_HOME/chat)"
            ),
            #[cfg(feature = "tls")]
            Self::KnownWithTls { host } => write!(
                f,
                "you have joined {host} with TLS before: give --tls and its port for TLS, or \
                 --plain to be read by others"
            ),
            #[cfg(feature = "tls")]
            Self::UnknownKey { host, port, shown } => write!(
                f,
                "the room at {host} port {port} is not known; its key is\n  {shown}\n\
                 Compare that with what its host sees. If it is the same, give --fingerprint and \
                 the key, or join once at a terminal: chat client --tls {host} {port}"
            ),
            #[cfg(feature = "tls")]
            Self::WrongKey { host, port, shown } => write!(
                f,
                "you did not take the key of the room at {host} port {port},\n  {shown}\n\
                 It is not noted, and the password was not sent. Somebody may be listening in \
                 between: ask the host for the room's key, and give --fingerprint and that"
            ),
            #[cfg(feature = "tls")]
            Self::UnconfirmedKey { host, port, shown } => write!(
                f,
                "the room at {host} port {port} has a password, and you have never said that its \
                 key is right:\n  {shown}\nCompare that with what its host sees. If it is the \
                 same, give --fingerprint and the key, or join once at a terminal and say yes: \
                 chat client --tls {host} {port}"
            ),
            #[cfg(feature = "tls")]
            Self::OtherKey {
                host,
                port,
                trusted,
                shown,
                is_given: true,
            } => write!(
                f,
                "the key of the room at {host} port {port} is\n  {shown}\nand not, as \
                 --fingerprint says,\n  {trusted}\nSomebody may be listening in between, or the \
                 fingerprint is another room's: ask the host"
            ),
            #[cfg(feature = "tls")]
            Self::OtherKey {
                host,
                port,
                trusted,
                shown,
                is_given: false,
            } => write!(
                f,
                "the key of the room at {host} port {port} has changed. It was\n  {trusted}\nand \
                 is now\n  {shown}\nSomebody may be listening in between, or the room has a new \
                 key: ask the host. If it has: chat forget {host} {port}"
            ),
            #[cfg(feature = "tls")]
            Self::Tls(source) => write!(f, "cannot set up TLS: {source}"),
            Self::OpenLog { path, source } => write!(
                f,
                "cannot append to {} for --log: {}",
                path.display(),
                plain(source)
            ),
            Self::Poll(source) => write!(
                f,
                "cannot wait for events: {} (check the limits: ulimit -n, /proc/sys/fs/epoll)",
                plain(source)
            ),
            Self::Resolve { host, port, source } if host.contains('%') => {
                write!(f, "cannot connect to {host} port {port}: {source}")
            }
            Self::Random(source) => write!(
                f,
                "cannot get random bits for sessions: {} (getrandom(2) needs Linux 3.17, and a \
                 sandbox that allows it)",
                plain(source)
            ),
            Self::Resolve { host, port, source } => write!(
                f,
                "cannot connect to {host} port {port}: unknown host name ({source}); \
                 check the name, or give an IP address"
            ),
            Self::Connect {
                host,
                port,
                attempts,
            } => write_connect(f, host, *port, attempts),
            Self::ConnectionLost {
                server,
                source,
                unsent,
            } => {
                match source {
                    None => write!(f, "the server at {server} closed the connection")?,
                    Some(e) => write!(f, "the connection to {server} was lost: {}", plain(e))?,
                }
                if *unsent {
                    f.write_str("; what you said last may not have arrived")
                } else {
                    Ok(())
                }
            }
            Self::Refused { server, words } => {
                write!(f, "the room at {server} did not let you in")?;
                match words {
                    Some(words) => write!(f, ": {words}"),
                    None => Ok(()),
                }
            }
            Self::NotTaken {
                server,
                words,
                more,
            } => {
                write!(f, "the room at {server} refused: {words}")?;
                match more {
                    0 => Ok(()),
                    more => write!(f, " (and {more} more)"),
                }
            }
            Self::LeftOut { server, lines } => {
                let count = Lines(*lines);
                write!(f, "{count} not said in the room at {server} (see above)")
            }
            Self::NotSaid { server, lines } => {
                write!(f, "{} could not be sent to {server}", Lines(*lines))
            }
            Self::NoRoom {
                server,
                has_said,
                is_secured,
            } => {
                write!(f, "no chat server at {server}: unexpected greeting")?;
                if *has_said {
                    f.write_str("; your lines may not have been delivered")?;
                }
                write!(f, " (is the port right?){}", tls_hint(*is_secured))
            }
            Self::InDoubt {
                server,
                source,
                lines,
                more,
            } => {
                if let Some(e) = source {
                    write!(f, "the connection to {server} was lost: {}; ", plain(e))?;
                }
                let count = Lines(lines.len() + more);
                write!(
                    f,
                    "not known whether the room at {server} has taken {count}"
                )?;
                if *more > 0 {
                    f.write_str(" (see above)")?;
                }
                lines.iter().try_for_each(|line| write!(f, "\n{line}"))
            }
            Self::NoAnswer {
                server,
                timeout,
                has_greeted: true,
                is_secured: _,
            } => write!(
                f,
                "no answer from {server} within {} s (it hangs, or the network is down)",
                timeout.as_secs()
            ),
            Self::NoAnswer {
                server,
                timeout,
                has_greeted: false,
                is_secured,
            } => write!(
                f,
                "no answer from {server} within {} s: it accepts connections, but does \
                 not greet as a chat server does (is the port right?){}",
                timeout.as_secs(),
                tls_hint(*is_secured)
            ),
            Self::Terminal(source) => write!(
                f,
                "cannot set the terminal's mode: {} (set TERM=dumb to do without)",
                plain(source)
            ),
            Self::ReadInput(source) => write!(f, "cannot read standard input: {}", plain(source)),
            Self::WriteOutput(source) => {
                write!(f, "cannot write to standard output: {}", plain(source))
            }
            #[cfg(feature = "stress")]
            Self::Stress { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

/// A number of lines. Displayed as `1 line` or `2 lines`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines(pub(crate) usize);

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 line"),
            count => write!(f, "{count} lines"),
        }
    }
}

/// Follows what is said of a server that answers as no chat room does. One that speaks TLS waits to
/// be spoken to, too, and takes our lines for something else.
pub(crate) fn tls_hint(is_secured: bool) -> &'static str {
    if cfg!(feature = "tls") && !is_secured {
        "; if it speaks TLS, give --tls"
    } else {
        ""
    }
}

/// Displayed as why the server cannot listen, and what to do.
struct ListenProblem<'a>(IpAddr, u16, &'a io::Error);

impl fmt::Display for ListenProblem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address, port, error) = *self;
        match error.kind() {
            io::ErrorKind::PermissionDenied if port < 1024 => f.write_str(
                "permission denied (ports below 1024 need root; choose a higher one, such as 8081)",
            ),
            io::ErrorKind::AddrInUse => write!(
                f,
                "the port is in use (choose another, or find its owner: ss -ltnp sport = :{port})"
            ),
            io::ErrorKind::AddrNotAvailable => {
                f.write_str("this machine does not have that address (choose one of")?;
                for own in crate::platform::addresses::addresses() {
                    write!(f, " {own}")?;
                }
                let all = if address.is_ipv4() { "0.0.0.0" } else { "::" };
                write!(f, ", or {all} for all)")
            }
            io::ErrorKind::InvalidInput if is_link_local_v6(&address) => write!(
                f,
                "a link-local address needs its network interface (as in {address}%eth0, or \
                 choose another address, or :: for all)"
            ),
            _ if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) => {
                f.write_str("this machine has no IPv6 (choose an IPv4 address, or enable it)")
            }
            _ => f.write_str(&plain(error)),
        }
    }
}

fn write_connect(
    f: &mut fmt::Formatter<'_>,
    host: &str,
    port: u16,
    attempts: &[(SocketAddr, io::Error)],
) -> fmt::Result {
    write!(f, "cannot connect to {host} port {port}: ")?;
    for (nth, (address, error)) in attempts.iter().enumerate() {
        if nth > 0 {
            f.write_str(", ")?;
        }
        if attempts.len() > 1 || address.ip().to_string() != host {
            write!(f, "{address}: ")?;
        }
        f.write_str(&plain(error))?;
    }
    // What is not from the system says itself what to do.
    let has_answered =
        |(_, e): &(_, io::Error)| e.get_ref().is_some() && e.kind() != io::ErrorKind::TimedOut;
    let is_refused = |(_, e): &(_, io::Error)| e.kind() == io::ErrorKind::ConnectionRefused;
    let has_no_interface = |(address, e): &(SocketAddr, io::Error)| {
        is_link_local_v6(&address.ip()) && e.kind() == io::ErrorKind::InvalidInput
    };
    if attempts.iter().any(has_no_interface) {
        write!(
            f,
            " (a link-local address needs your network interface, as in {host}%eth0)"
        )
    } else if attempts.iter().any(is_refused) {
        f.write_str(" (is a server running there, on that port?)")
    } else if attempts.iter().any(has_answered) {
        Ok(())
    } else {
        f.write_str(" (check the address, the network and the firewall)")
    }
}

/// The error's text with a lower-case first letter and without the number that the
/// standard library adds: `connection refused`.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen_error(errno: Errno) -> String {
        let error = Error::Listen {
            ip: "192.0.2.1".parse().unwrap(),
            port: 80,
            source: errno.into(),
        };
        assert_eq!(error.exit(), Exit::Failure);
        error.to_string()
    }

    #[test]
    fn a_listen_error_says_what_where_and_what_to_do() {
        for (errno, what, remedy) in [
            (Errno::ACCESS, "permission denied", "choose a higher one"),
            (Errno::ADDRINUSE, "the port is in use", "sport = :80"),
            (
                Errno::ADDRNOTAVAIL,
                "does not have that address",
                "or 0.0.0.0 for all",
            ),
            (Errno::AFNOSUPPORT, "no IPv6", "choose an IPv4 address"),
        ] {
            let message = listen_error(errno);
            assert!(
                message.starts_with("cannot listen on 192.0.2.1:80: "),
                "{message}"
            );
            assert!(
                message.contains(what) && message.contains(remedy),
                "{message}"
            );
        }
    }

    #[test]
    fn a_connect_error_lists_every_address() {
        let error = Error::Connect {
            host: "room.lan".into(),
            port: 8081,
            attempts: vec![
                ("[::1]:8081".parse().unwrap(), Errno::CONNREFUSED.into()),
                ("127.0.0.1:8081".parse().unwrap(), Errno::TIMEDOUT.into()),
            ],
        };
        assert_eq!(
            error.to_string(),
            "cannot connect to room.lan port 8081: [::1]:8081: connection refused, \
             127.0.0.1:8081: connection timed out (is a server running there, on that port?)"
        );
        assert_eq!(error.exit(), Exit::CannotConnect);
    }

    #[test]
    fn a_connect_error_does_not_repeat_an_address() {
        let error = Error::Connect {
            host: "127.0.0.1".into(),
            port: 1,
            attempts: vec![("127.0.0.1:1".parse().unwrap(), Errno::HOSTUNREACH.into())],
        };
        assert_eq!(
            error.to_string(),
            "cannot connect to 127.0.0.1 port 1: no route to host \
             (check the address, the network and the firewall)"
        );
    }
}
