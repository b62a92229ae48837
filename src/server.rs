//! The chat server: connects the room with the reactor, admission, the console, the
//! operator, the transcript and signals.

pub mod admission;
pub(crate) mod arrivals;
pub(crate) mod config;
pub(crate) mod console;
pub(crate) mod door;
#[cfg(feature = "tls")]
pub mod identity;
pub mod line_sink;
#[cfg(feature = "nats")]
pub mod link;
pub(crate) mod motd;
pub(crate) mod network;
pub(crate) mod notifications;
pub(crate) mod operator;
pub(crate) mod password;
#[cfg(feature = "web")]
mod qr_code;
mod service;
pub(crate) mod stats;
pub(crate) mod transcript;
#[cfg(feature = "web")]
mod web;

use std::fmt::Write as _;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use log::{info, warn};
use rustix::io::Errno;

pub use self::config::{Config, Web};

use self::admission::{Admission, Capacity, Rule};
#[cfg(feature = "tls")]
use self::config::Tls;
use self::door::Door;
#[cfg(feature = "tls")]
use self::identity::Identity;
use self::motd::read_motd;
use self::notifications::Notifications;
use self::operator::input::open_fifo;
use self::password::Password;
use self::service::{Server, Sources};
use self::transcript::Transcript;
use self::transcript::tail::Tail;
use crate::error::{Error, plain};
#[cfg(feature = "web")]
use crate::frontend::terminal;
use crate::platform::addresses::{
    LOCAL_NETWORKS, ScopedIp, addresses_to_join, is_link_local_v6, is_local,
};
use crate::platform::logging::STATS;
use crate::platform::memory::Headroom;
use crate::platform::proc::{descriptor_limit, raise_descriptor_limit};
use crate::platform::random::random_bits;
use crate::platform::service_manager::{self, NotifySocket};
#[cfg(feature = "web")]
use crate::platform::stdio::terminal_size;
#[cfg(feature = "tls")]
use crate::protocol::tls::{Fingerprint, for_lines, for_web};
use crate::reactor::Reactor;
#[cfg(feature = "tls")]
use crate::reactor::handshakes::{Doors, MAX_HANDSHAKES};
use crate::reactor::listener::Listener;
use crate::reactor::service::{Policy, Service};
use crate::room::{self, Room};

/// A line may be so many times as long as a send buffer: it takes as many writes to each
/// reader, and delays everybody else by the time of these.
const MAX_WRITES_A_LINE: usize = 16;

/// Before each line at the operator's prompt: `15:04 `.
#[cfg(feature = "web")]
const TIME_COLUMNS: usize = 6;

/// Of the descriptors, one in so many is for visitors of the web port; there are
/// at most twice as many as [are allowed](Policy::max_visitors) until some are closed.
const VISITORS_PART: usize = 16;

/// Of the descriptors, one in so many is for newcomers that have not given the password.
const WAITING_PART: usize = 16;

/// There are at most so many of them.
const MAX_WAITING: usize = 256;

/// Output that waits, and input that is unfinished, may each take this share of the memory
/// that there is at the start.
const MEMORY_SHARES: usize = 4;

/// Connections alone may take this part of the memory that there is.
const CONNECTIONS_PART: usize = 2;

/// What one takes while it is idle or has one line on its way, nearly all of it in the kernel:
/// docs/openwrt.md has the measurement.
const CONNECTION_BYTES: usize = 4 * 1024;

/// This part of the descriptors, at most, is for those who are not clients yet.
#[cfg(feature = "tls")]
const HANDSHAKES_PART: usize = 8;

/// Runs a room until SIGINT, SIGTERM, SIGXCPU or the operator closes it; or SIGHUP, if there is
/// nothing that it reads again.
///
/// # Errors
///
/// If it cannot listen, cannot use a file, or the poll fails.
pub fn run(config: &Config) -> Result<(), Error> {
    let line_bytes = config.room.max_line_bytes as usize;
    if line_bytes > MAX_WRITES_A_LINE * config.send_buffer_bytes {
        return Err(Error::Contradiction {
            max_line_bytes: line_bytes,
            send_buffer_bytes: config.send_buffer_bytes,
            least_bytes: line_bytes.div_ceil(MAX_WRITES_A_LINE),
        });
    }
    let mut room = config.room.clone();
    if let Some(path) = &config.motd {
        room.notices.extend(read_motd(path)?);
    }
    let password = config
        .password_file
        .as_deref()
        .map(|path| Password::read(path, config.room.max_line_bytes))
        .transpose()?;
    let transcript = config.transcript.as_deref();
    let transcript = transcript.map(|path| open_transcript(path, config.transcript_max_bytes));
    let mut transcript = transcript.transpose()?;
    let fifo = config.operator_fifo.as_deref();
    let fifo = fifo.map(open_operator_fifo).transpose()?;
    random_bits().map_err(Error::Random)?;
    let random = || random_bits().expect("the system had random bits at the start");
    let mut room = Room::new(room, random);
    if let (Some(path), Some(transcript)) = (&config.transcript, &mut transcript) {
        recall(&mut room, path, transcript);
    }
    // Each client needs a descriptor.
    let descriptors = raise_descriptor_limit().unwrap_or_else(|e| {
        warn!("cannot raise the limit on open files: {}", plain(&e));
        descriptor_limit()
    });
    let headroom = Headroom::now();
    let room_for = headroom.machine_bytes / CONNECTIONS_PART / CONNECTION_BYTES;
    let shortage = if room_for < descriptors {
        format!("there is memory for {room_for} connections; lower --max-clients")
    } else {
        format!(
            "the limit on open files is {descriptors}; raise it (ulimit -n, LimitNOFILE=) or lower \
             --max-clients"
        )
    };
    let descriptors = descriptors.min(room_for);
    // What is not a client yet needs one, too.
    #[cfg(feature = "tls")]
    let max_handshakes = match config.tls {
        Some(_) => (descriptors / HANDSHAKES_PART).min(MAX_HANDSHAKES),
        None => 0,
    };
    #[cfg(feature = "tls")]
    let descriptors = descriptors - max_handshakes;
    let max_visitors = (descriptors / VISITORS_PART / 2).clamp(1, Policy::DEFAULT.max_visitors);
    let visitors = config.web.as_ref().map_or(0, |_| 2 * max_visitors);
    let max_waiting = (descriptors / WAITING_PART).clamp(1, MAX_WAITING);
    let waiting = password.as_ref().map_or(0, |_| max_waiting);
    let door = password.map(|it| Door::new(it, max_waiting, config.room.max_line_bytes));
    let capacity = Capacity::of(descriptors.saturating_sub(visitors + waiting));
    let mut limits = config.admission.clone();
    if config.is_local_only {
        limits.rules.extend(LOCAL_NETWORKS.map(Rule::Allow));
    }
    let admission = Admission::within(limits, capacity);
    let (max_clients, wanted) = (admission.max_clients(), config.admission.max_clients);
    let listener = listen(config)?;
    let address = listener.address();
    // Half of the descriptors for those that are refused is for those among them that come back.
    let max_outside = capacity.refused / 2;
    let policy = Policy {
        max_visitors,
        ..policy(config, &headroom, capacity.refused - max_outside)
    };
    let mut reactor = Reactor::new(listener, policy).map_err(Error::Poll)?;
    let web = config.web.as_ref();
    let web_listener = web.map(|web| listen_for_visitors(web, config, address.ip()));
    let web_listener = web_listener.transpose()?;
    let web_address = web_listener.as_ref().map(Listener::address);
    if let Some(address) = web_address {
        info!("listening for browsers on {address}");
    }
    #[cfg(feature = "tls")]
    let (identity, web_listener, secured) = match &config.tls {
        Some(tls) => {
            let (identity, secured) = secure(
                config,
                tls,
                address.ip(),
                web_listener,
                &mut reactor,
                max_handshakes,
            )?;
            (Some(identity), None, Some(secured))
        }
        None => (None, web_listener, None),
    };
    if let Some(listener) = web_listener {
        reactor.take_visitors(listener).map_err(Error::Poll)?;
    }
    let manager = NotifySocket::from_env().map(|socket| {
        let watchdog = service_manager::watchdog_timeout();
        (
            socket,
            Notifications::new(address, watchdog, Instant::now()),
        )
    });
    let sources = Sources {
        door,
        transcript,
        fifo,
        manager,
        #[cfg(feature = "tls")]
        identity,
    };
    let mut server = Server::new(config, admission, room, sources, max_outside, &reactor)
        .map_err(Error::Poll)?;
    #[cfg(feature = "nats")]
    if let Some(link) = &config.link {
        if line_bytes > link::MAX_LINE_BYTES as usize {
            return Err(Error::TooLongToLink {
                max_line_bytes: line_bytes,
                most_bytes: link::MAX_LINE_BYTES as usize,
            });
        }
        server.link(link, &reactor, random)?;
    }
    info!("listening on {address}");
    // A few less are not worth a warning: no limit is set so exactly.
    if 2 * max_clients < wanted {
        warn!("accepting up to {max_clients} clients, not {wanted}: {shortage}");
    } else {
        info!("accepting up to {max_clients} clients");
    }
    let reachable_at = |ip| {
        let mut addresses = addresses_to_join(ip);
        if config.is_local_only {
            addresses.retain(is_local);
        }
        addresses
    };
    let is_clear_local = config.admission.is_clear_local;
    let in_clear_at = |ip| {
        let mut addresses = reachable_at(ip);
        addresses.retain(|address| !is_clear_local || address.is_loopback());
        addresses
    };
    server.show(&banner(address, &in_clear_at(address.ip())));
    #[cfg(feature = "tls")]
    if let Some((port, fingerprint)) = secured {
        let reachable_at = reachable_at(address.ip());
        let is_only_way = is_clear_local;
        server.show(&tls_banner(port, &fingerprint, &reachable_at, is_only_way));
    }
    let is_secured = config.has_tls();
    let scheme = if is_secured { "https" } else { "http" };
    if let Some(address) = web_address {
        let reachable_at = if is_secured {
            reachable_at(address.ip())
        } else {
            in_clear_at(address.ip())
        };
        server.show(&page_banner(scheme, address.port(), &reachable_at));
        #[cfg(feature = "web")]
        if terminal::is_capable()
            && let Some((columns, _)) = terminal_size()
            && let Some(first) = reachable_at.iter().find(|it| !is_link_local_v6(it))
            && !first.is_loopback()
            && let Some(rows) = qr_code::rows(
                &page_address(scheme, *first, address.port()),
                columns.saturating_sub(TIME_COLUMNS),
            )
        {
            server.show(&rows);
        }
    }
    if let Some(path) = &config.password_file {
        let path = path.display();
        server.show(&format!(
            "guests need the password that {path} has in its first line\n"
        ));
    }
    if config.is_local_only && (is_secured || !is_clear_local) {
        server.show("only this machine and private networks are let in; to choose, use --allow\n");
    }
    if server.has_operator() {
        server.show(if server.obeys_operator {
            "everybody sees what you type here; /help lists the commands\n"
        } else {
            "everybody sees each line from standard input; \
             commands need --operator-commands\n"
        });
    }
    server.tell_manager(Instant::now());
    reactor.run(&mut server).map_err(Error::Poll)?;
    info!(target: STATS, "{}", server.stats(reactor.load()));
    // Flush the console and the transcript after the last iteration.
    server.iteration_ended();
    Ok(())
}

/// What the loop allows its clients, by the options and by the memory that there is.
fn policy(config: &Config, headroom: &Headroom, max_refused: usize) -> Policy {
    let share_bytes = headroom.process_bytes / MEMORY_SHARES;
    let pinned_bytes = headroom.tcp_bytes / 2;
    let flow = config.flow.within(share_bytes, pinned_bytes);
    info!(
        "at most {} bytes for output, {share_bytes} for unfinished input, and {pinned_bytes} in \
         the kernel for clients that do not read",
        flow.max_total_bytes
    );
    Policy {
        max_line_bytes: config.room.max_line_bytes,
        flow,
        max_input_bytes: share_bytes,
        rate: config.rate,
        idle_timeout: config.idle_timeout,
        max_refused,
        send_buffer_bytes: config.send_buffer_bytes,
        ..Policy::DEFAULT
    }
}

/// Has `reactor` speak TLS, too. Returns what the server shows of itself, the port, and what
/// guests know the room by.
#[cfg(feature = "tls")]
fn secure(
    config: &Config,
    tls: &Tls,
    room_ip: IpAddr,
    web: Option<Listener>,
    reactor: &mut Reactor,
    max_handshakes: usize,
) -> Result<(Identity, (u16, Fingerprint)), Error> {
    let identity = Identity::load(tls.source.clone())?;
    let fingerprint = identity.fingerprint().map_err(Error::Tls)?;
    let handshakes = identity.config().map_err(Error::Tls)?;
    let ip = config.ip.clone();
    let ip = ip.unwrap_or_else(|| ScopedIp::from(room_ip));
    let listen = |port| listen_at(Some(&ip), port, config.send_buffer_bytes);
    let lines = tls.port.map(listen).transpose()?;
    let listeners = [&lines, &web].into_iter().flatten();
    let ports: Vec<u16> = listeners.map(|it| it.address().port()).collect();
    let doors = Doors {
        lines: lines.map(|it| (it, Arc::new(for_lines(handshakes.clone())))),
        web: web.map(|it| (it, Arc::new(for_web(handshakes)))),
    };
    reactor.secure(doors, max_handshakes).map_err(Error::Poll)?;
    info!("listening for TLS on {ports:?}");
    // One of both is asked for.
    let port = ports.first().copied().unwrap_or_default();
    Ok((identity, (port, fingerprint)))
}

/// On the socket from the service manager, or else at the address.
fn listen(config: &Config) -> Result<Listener, Error> {
    let passed = service_manager::take_listener().map_err(Error::PassedSocket)?;
    if let Some(passed) = passed {
        let listener = Listener::passed(passed, config.send_buffer_bytes);
        let listener = listener.map_err(Error::PassedSocket)?;
        if config.ip.is_some() {
            info!("using the socket that the service manager passed, not IP and PORT");
        }
        return Ok(listener);
    }
    listen_at(config.ip.as_ref(), config.port, config.send_buffer_bytes)
}

/// At `ip`, or else at every address.
fn listen_at(
    ip: Option<&ScopedIp>,
    port: u16,
    send_buffer_bytes: usize,
) -> Result<Listener, Error> {
    let bind = |ip: &ScopedIp| {
        let address = ip.with_port(port);
        address.and_then(|it| Listener::bind(it, send_buffer_bytes))
    };
    let all = ScopedIp::from(IpAddr::from(Ipv6Addr::UNSPECIFIED));
    let all_v4 = ScopedIp::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    let (ip, listener) = match ip {
        Some(ip) => (ip.clone(), bind(ip)),
        None => match bind(&all) {
            // There is no IPv6, or it is disabled.
            Err(e)
                if [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
                    .map(Some)
                    .contains(&Errno::from_io_error(&e)) =>
            {
                let listener = bind(&all_v4);
                (all_v4, listener)
            }
            listener => (all, listener),
        },
    };
    listener.map_err(|source| Error::Listen { ip, port, source })
}

/// At the address of the web port, which is that of the room unless it has its own.
fn listen_for_visitors(web: &Web, config: &Config, room_ip: IpAddr) -> Result<Listener, Error> {
    let ip = web.ip.clone().or_else(|| config.ip.clone());
    let ip = ip.unwrap_or_else(|| ScopedIp::from(room_ip));
    let port = web.port;
    let address = ip.with_port(port);
    let listener = address.and_then(|it| Listener::bind(it, config.send_buffer_bytes));
    listener.map_err(|source| Error::Listen { ip, port, source })
}

fn open_operator_fifo(path: &Path) -> Result<File, Error> {
    open_fifo(path).map_err(|source| Error::OpenOperatorFifo {
        path: path.to_owned(),
        source,
    })
}

/// Lets the room remember what the end of its transcript says.
fn recall(room: &mut Room, path: &Path, transcript: &mut Transcript) {
    match Tail::read(path, room::log::LOG_BYTES) {
        Ok(tail) => {
            room.recall(tail.said(), SystemTime::now().into(), Instant::now());
            if tail.is_torn {
                transcript.end_torn_line();
            }
        }
        Err(e) => warn!(
            "cannot read the transcript {} ({}); newcomers get no lines from before",
            path.display(),
            plain(&e)
        ),
    }
}

fn open_transcript(path: &Path, max_bytes: Option<u64>) -> Result<Transcript, Error> {
    Transcript::open(path, max_bytes).map_err(|source| Error::OpenTranscript {
        path: path.to_owned(),
        source,
    })
}

/// Where the page is, after [`banner`]. A browser takes no address with a network interface.
fn page_banner(scheme: &str, port: u16, reachable_at: &[IpAddr]) -> String {
    let mut text = String::new();
    for address in reachable_at.iter().filter(|it| !is_link_local_v6(it)) {
        let own = if address.is_loopback() {
            "on this machine only, in a browser"
        } else {
            "in a browser"
        };
        let address = page_address(scheme, *address, port);
        writeln!(text, "{own}: {address}").expect("a String takes every write");
    }
    text
}

fn page_address(scheme: &str, ip: IpAddr, port: u16) -> String {
    format!("{scheme}://{}/", SocketAddr::new(ip, port))
}

/// The first lines on the console: where the server listens, and how to join; what others use
/// first, then what works on this machine only.
fn banner(listening_on: SocketAddr, reachable_at: &[IpAddr]) -> String {
    let port = listening_on.port();
    let mut text = format!("listening on {listening_on}\n");
    for (is_own, heading) in [
        (false, "join with:\n"),
        (true, "on this machine only, join with:\n"),
    ] {
        let mut heading = Some(heading);
        let addresses = reachable_at.iter();
        for address in addresses.filter(|address| address.is_loopback() == is_own) {
            text.push_str(heading.take().unwrap_or_default());
            let interface = if is_link_local_v6(address) {
                "%INTERFACE"
            } else {
                ""
            };
            for program in ["chat client", "nc"] {
                writeln!(text, "  {program} {address}{interface} {port}")
                    .expect("a String takes every write");
            }
        }
    }
    if reachable_at.iter().any(is_link_local_v6) {
        text.push_str("INTERFACE is the network interface of who joins, such as eth0\n");
    }
    text
}

/// How to join over TLS, and what the client is to show then.
#[cfg(feature = "tls")]
fn tls_banner(
    port: u16,
    fingerprint: &Fingerprint,
    reachable_at: &[IpAddr],
    is_only_way: bool,
) -> String {
    let mut text = String::from(if is_only_way {
        "from other machines, join over TLS:\n"
    } else {
        "or so that nobody else can read it, over TLS:\n"
    });
    for address in reachable_at {
        let interface = if is_link_local_v6(address) {
            "%INTERFACE"
        } else {
            ""
        };
        writeln!(
            text,
            "  chat client --tls {address}{interface} {port}   # {fingerprint}"
        )
        .expect("a String takes every write");
    }
    text
}
