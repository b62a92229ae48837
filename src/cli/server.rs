//! The arguments of `chat server`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::address_rules::AddressRules;
use super::room::{DEFAULT_PORT, Place, split_port};
use super::values::{Bytes, Parse, parse_bytes, parse_ip, parse_number, parse_port};
#[cfg(feature = "web")]
use crate::platform::addresses::ScopedIp;
use crate::platform::service_manager::passes_sockets;
#[cfg(feature = "web")]
use crate::protocol::http::is_host_name;
#[cfg(feature = "nats")]
use crate::protocol::label::ServerLabel;
use crate::rate::Rate;
use crate::reactor::flow;
use crate::reactor::listener::SEND_BUFFER_BYTES;
use crate::reactor::service::Policy;
use crate::room;
use crate::room::greeting::MAX_HISTORY_LINES;
use crate::server::admission::Rule;
#[cfg(feature = "nats")]
use crate::server::link;
use crate::server::{self, admission};

/// A year.
const MAX_SECONDS: u32 = 31_536_000;

/// One read, and flow control would act on every reader at once.
const MIN_BACKLOG_BYTES: usize = 16 * 1024;

/// More would not bound memory on any machine that this is meant for.
const MAX_BACKLOG_BYTES: usize = 1024 * 1024 * 1024;

/// Room to paste a stack trace in spite of `--rate`.
const MIN_BURST_LINES: u32 = 50;

/// About the kernel's own minimum (socket(7): twice the value, at least 2,048).
const MIN_SEND_BUFFER_BYTES: usize = 4 * 1024;

const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024 * 1024;

/// A few screens.
const MIN_TRANSCRIPT_BYTES: u64 = 16 * 1024;

/// That of NATS's clients.
#[cfg(feature = "nats")]
const NATS_PORT: u16 = 4222;

/// The server sends the welcome to every newcomer.
const MAX_WELCOME_BYTES: usize = 1000;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = NOTES)]
pub(super) struct ServerArgs {
    /// The IP address to listen on [default: every address, for this machine and private networks
    /// only]
    ///
    /// Without an IP, and without --allow, only loopback, link-local and private addresses are
    /// let in (RFC 1918, RFC 6598, RFC 4193): a router's outer side stays shut. 0.0.0.0 or ::
    /// is every address, for everybody. A link-local address needs its network interface, as in
    /// fe80::1%eth0. A socket from the service manager (LISTEN_FDS) is used instead of IP and
    /// PORT.
    #[arg(value_name = "IP", value_parser = parse_listen as Parse<Place, _>)]
    place: Option<Place>,

    /// The port to listen on; 0 for any free port [default: 8081]
    ///
    /// A number alone is the port, too: chat server 8082.
    #[arg(value_name = "PORT", value_parser = parse_port)]
    port: Option<u16>,

    /// The maximum number of clients
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    #[arg(allow_negative_numbers = true, value_parser = parse_clients as Parse<u32>)]
    max_clients: u32,

    /// The maximum number of clients from one address [default: half of --max-clients, but no
    /// limit from loopback]
    ///
    /// Each IPv6 address counts by itself, though a whole /64 may be one person's, or one LAN's.
    /// So does a ban: --deny and /ban also take networks.
    #[arg(long, value_name = "N", hide_short_help = true)]
    #[arg(allow_negative_numbers = true, value_parser = parse_clients as Parse<u32>)]
    max_per_ip: Option<u32>,

    #[command(flatten)]
    rules: AddressRules,

    /// Let in only who gives the password in the first line of this file
    ///
    /// Others than the owner and the group of the file must not be able to read it, unless it is in
    /// $CREDENTIALS_DIRECTORY or /run/secrets. SIGHUP reads it again. Guests send the password over
    /// TLS; without --tls, say with --plain who may send it in clear.
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    password_file: Option<PathBuf>,

    /// Who may join without TLS, and be read by others [default: all; with a password, local]
    ///
    /// With local, other machines are refused on PORT, and redirected to https on the --web port.
    #[arg(long, value_name = "WHO", hide_short_help = true)]
    plain: Option<Plain>,

    /// The longest line that a client may send, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Policy::DEFAULT.max_line_bytes)]
    #[arg(hide_short_help = true)]
    #[arg(allow_negative_numbers = true, value_parser = parse_line_bytes as Parse<u32>)]
    max_line: u32,

    /// Disconnect a stalled client above this much unsent output
    ///
    /// A number of bytes, or of KiB or MiB with K or M.
    #[arg(long, value_name = "BYTES", value_parser = parse_backlog as Parse<Bytes, _>, hide_short_help = true)]
    #[arg(default_value_t = Bytes(flow::Bounds::DEFAULT.max_backlog_bytes))]
    max_backlog: Bytes,

    /// Disconnect a slow reader that has not caught up after this many seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        hide_short_help = true
    )]
    #[arg(allow_negative_numbers = true, value_parser = parse_seconds as Parse<u32>)]
    stall_timeout: u32,

    /// The size of the kernel's send buffer for each client
    ///
    /// A number of bytes, or of KiB or MiB with K or M. A larger buffer is faster over long
    /// distances; a smaller one saves memory.
    #[arg(long, value_name = "BYTES", value_parser = parse_send_buffer as Parse<Bytes, _>, hide_short_help = true)]
    #[arg(default_value_t = Bytes(SEND_BUFFER_BYTES))]
    send_buffer: Bytes,

    /// The maximum number of lines per second from one client [default: no limit]
    ///
    /// It applies after a burst of 50 lines, or of one second's worth if that is more. Excess
    /// lines are delayed, not dropped.
    #[arg(long, value_name = "LINES/S", hide_short_help = true)]
    #[arg(allow_negative_numbers = true, value_parser = parse_rate as Parse<u32>)]
    rate: Option<u32>,

    /// Disconnect a client that has sent nothing for this many seconds [default: never]
    #[arg(long, value_name = "SECONDS", hide_short_help = true)]
    #[arg(allow_negative_numbers = true, value_parser = parse_seconds as Parse<u32>)]
    idle_timeout: Option<u32>,

    /// Show this line to newcomers after the greeting
    #[arg(long, value_name = "TEXT", value_parser = parse_welcome as Parse<String>)]
    welcome: Option<String>,

    /// Show this file to newcomers after the greeting, at most 8 KiB
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    motd: Option<PathBuf>,

    /// Show this many past lines to newcomers
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(allow_negative_numbers = true, value_parser = parse_history as Parse<u32>)]
    history: u32,

    /// Do not announce who joins, leaves or takes a new name
    #[arg(long, hide_short_help = true)]
    no_presence: bool,

    /// Append everything said to this file
    ///
    /// Each line begins with its time. SIGHUP reopens the file, for log rotation. When the
    /// server starts, the room remembers what the end of the file says (--history).
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,

    /// Before the transcript is larger, move it to FILE.1 [default: no limit]
    ///
    /// A number of bytes, or of KiB or MiB with K or M. An older FILE.1 is overwritten, so that
    /// both together take at most twice this.
    #[arg(long, value_name = "BYTES", value_parser = parse_transcript_max as Parse<u64, _>)]
    #[arg(requires = "transcript", hide_short_help = true)]
    transcript_max: Option<u64>,

    /// Obey commands from standard input even if it is a pipe
    ///
    /// From a terminal, lines that begin with a slash are always commands. From a pipe, every
    /// line is said as it is, because others may have written it: a log, for example. With
    /// =FIFO, the operator's lines come from there and not from standard input; whoever writes
    /// to it may come and go.
    #[arg(long, value_name = "FIFO", num_args = 0..=1, require_equals = true)]
    #[arg(hide_short_help = true)]
    operator_commands: Option<Option<PathBuf>>,

    /// Also serve a page for browsers, on this port
    ///
    /// Its address is that of the room, unless given. People join by opening that page. Programs say a line with POST /say, and read statistics
    /// from /metrics.
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = parse_web as Parse<(Option<ScopedIp>, u16)>)]
    #[cfg(feature = "web")]
    web: Option<(Option<ScopedIp>, u16)>,

    /// A name by which browsers reach this machine; can be repeated
    ///
    /// The machine's own name, localhost and all addresses work without this. Other names are
    /// refused: any web site could point its own name here.
    #[arg(long, value_name = "NAME", value_parser = parse_host_name as Parse<String>)]
    #[arg(requires = "web", hide_short_help = true)]
    #[cfg(feature = "web")]
    web_name: Vec<String>,

    /// Span other servers: people at all that use this room of NATS are in one room
    ///
    /// The room is a stream of JetStream, which the first server makes. Several nodes are separated
    /// by commas: nats://10.0.0.9:4222,10.0.0.10:4222/lounge. The port is 4222 by default. People
    /// at other servers are called as in alice@box-b.
    #[arg(long, value_name = "nats://HOST[:PORT]/ROOM", hide_short_help = true)]
    #[cfg(feature = "nats")]
    nats: Option<String>,

    /// What this server is called at the others [default: this host's name]
    ///
    /// 1 to 32 of a to z, 0 to 9 and -. No two servers of a room may be called the same.
    #[arg(long, value_name = "NAME", requires = "nats", hide_short_help = true)]
    #[cfg(feature = "nats")]
    label: Option<String>,

    /// Log in to NATS with what is in this file, which others must not be able to read
    ///
    /// A user's name and, on a second line, its password; or a token on one line.
    #[arg(long, value_name = "FILE", requires = "nats", hide_short_help = true)]
    #[cfg(feature = "nats")]
    nats_creds: Option<PathBuf>,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: super::tls::ServerTlsArgs,

    /// Write only the answers to the operator to standard output
    ///
    /// Warnings and statistics still go to standard error.
    #[arg(short, long, hide_short_help = true)]
    quiet: bool,
}

/// Who may come without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Plain {
    /// Everybody who is let in
    All,
    /// This machine only
    Local,
}

const EXAMPLES: &str = "\
Examples:
  chat server
  chat server 0.0.0.0 8081 --allow 192.168.1.0/24 --allow 127.0.0.1";

const NOTES: &str = "\
Examples:
  chat server
      a room for the LAN, on port 8081 of every address of this machine
  chat server 8082
      the same on another port
  chat server 192.168.1.5
      on port 8081 of one address, for everybody who reaches it
  chat server 0.0.0.0 8081
      at every address of this machine, for everybody
  chat server 127.0.0.1 8081
      for this machine alone
  chat server 0.0.0.0 8081 --allow 192.168.1.0/24 --allow 127.0.0.1
      at every address, but only for the LAN and this machine

The first --allow or --deny that matches an address decides. With any --allow, all other \
addresses are refused, loopback included; without one, they are let in, or with no IP only local \
ones.

Everyone in the room sees what you type at the console. /help there lists the operator's \
commands: see who is here, disconnect someone, ban an address. Lines from a pipe are only said, \
unless --operator-commands is given.

Ctrl-C or SIGTERM closes the room: the server says goodbye, delivers what was said and exits. \
So does SIGHUP, unless nohup(1) has it ignored; with a transcript, --tls-cert or a password, or under a \
service manager, SIGHUP has the server open the transcript and read the message of the day, the \
certificate and the password again. SIGUSR1 logs statistics to standard error, as does exit.";

#[cfg(feature = "tls")]
const PASSWORD_IN_CLEAR: &str = "--password-file: without --tls, guests send the password in \
     clear, and others on the network can read it; give --tls, or --plain all if others may read \
     it, or --plain local for this machine only";

#[cfg(not(feature = "tls"))]
const PASSWORD_IN_CLEAR: &str = "--password-file: guests send the password in clear, and others \
     on the network can read it; give --plain all if others may read it, or --plain local for \
     this machine only";

impl ServerArgs {
    /// The configuration, or what is wrong with the arguments.
    pub(super) fn into_config(self) -> Result<server::Config, String> {
        let (host, own_port) = self
            .place
            .map_or_else(Default::default, |place| (place.host, place.port));
        let ip = (!host.is_empty()).then(|| parse_ip(&host)).transpose()?;
        if let (Some(first), Some(second)) = (own_port, self.port) {
            return Err(format!(
                "two ports, {first} and {second}: write IP PORT, as in 192.168.1.5 {second}, or \
                 PORT alone"
            ));
        }
        #[cfg(feature = "nats")]
        let link = match self.nats {
            Some(nats) => Some(parse_link(&nats, self.label.as_deref(), self.nats_creds)?),
            None => None,
        };
        let port = own_port.or(self.port);
        let rules = self.rules.into_rules();
        let has_allow = rules.iter().any(|rule| matches!(rule, Rule::Allow(_)));
        #[cfg(all(feature = "tls", feature = "web"))]
        let has_web = self.web.is_some();
        #[cfg(all(feature = "tls", not(feature = "web")))]
        let has_web = false;
        #[cfg(feature = "tls")]
        let tls = self.tls.into_tls(has_web)?;
        #[cfg(feature = "tls")]
        let has_tls = tls.is_some();
        #[cfg(not(feature = "tls"))]
        let has_tls = false;
        let is_locked = self.password_file.is_some();
        if is_locked && !has_tls && self.plain.is_none() {
            return Err(PASSWORD_IN_CLEAR.to_owned());
        }
        Ok(server::Config {
            is_local_only: ip.is_none() && !has_allow && !passes_sockets(),
            ip,
            port: port.unwrap_or(DEFAULT_PORT),
            #[cfg(feature = "web")]
            web: self.web.map(|(ip, port)| server::Web {
                ip,
                port,
                names: self.web_name,
            }),
            #[cfg(not(feature = "web"))]
            web: None,
            #[cfg(feature = "nats")]
            link,
            admission: admission::Limits {
                max_clients: self.max_clients as usize,
                max_per_address: self.max_per_ip.map(|max| max as usize),
                rules,
                is_clear_local: match self.plain {
                    Some(plain) => plain == Plain::Local,
                    None => is_locked,
                },
            },
            password_file: self.password_file,
            room: room::Config {
                max_line_bytes: self.max_line,
                notices: self.welcome.into_iter().collect(),
                history_lines: self.history as usize,
                announces_presence: !self.no_presence,
            },
            motd: self.motd,
            transcript: self.transcript,
            transcript_max_bytes: self.transcript_max,
            flow: flow::Bounds {
                max_backlog_bytes: self.max_backlog.0,
                stall_timeout: Duration::from_secs(self.stall_timeout.into()),
                ..flow::Bounds::DEFAULT
            },
            send_buffer_bytes: self.send_buffer.0,
            rate: self
                .rate
                .map(|rate| Rate::new(rate, rate.max(MIN_BURST_LINES))),
            idle_timeout: self
                .idle_timeout
                .map(|timeout| Duration::from_secs(timeout.into())),
            operator_commands: self.operator_commands.is_some(),
            operator_fifo: self.operator_commands.flatten(),
            #[cfg(feature = "tls")]
            tls,
            quiet: self.quiet,
        })
    }
}

/// An address, a port or both. Without an address, the host is empty.
fn parse_listen(text: &str) -> Result<Place, &'static str> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let (host, port) = (String::new(), Some(parse_port(text)?));
        return Ok(Place { host, port });
    }
    let (host, port) = split_port(text);
    parse_ip(host)?;
    Ok(Place {
        host: host.to_owned(),
        port: port.map(parse_port).transpose()?,
    })
}

/// A port, and maybe an address before it.
#[cfg(feature = "web")]
fn parse_web(text: &str) -> Result<(Option<ScopedIp>, u16), String> {
    let (host, port) = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        (None, Some(text))
    } else {
        let (host, port) = split_port(text);
        (Some(host), port)
    };
    let port = port.ok_or("expected a port, such as 8080 or 192.168.1.5:8080")?;
    Ok((host.map(parse_ip).transpose()?, parse_port(port)?))
}

#[cfg(feature = "web")]
fn parse_host_name(text: &str) -> Result<String, String> {
    if is_host_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a host, such as chat.lan, without http:// and port".to_owned())
    }
}

/// Where the room is at NATS, and what this server is called there.
#[cfg(feature = "nats")]
fn parse_link(
    nats: &str,
    label: Option<&str>,
    credentials: Option<PathBuf>,
) -> Result<link::Config, String> {
    let usage = || {
        let expected = "expected nats://HOST:PORT/ROOM, such as nats://10.0.0.9:4222/lounge";
        format!("--nats {nats}: {expected}")
    };
    if nats.contains('@') {
        return Err("--nats: a password does not belong here; use --nats-creds FILE".to_owned());
    }
    let rest = nats.strip_prefix("nats://").ok_or_else(usage)?;
    let (hosts, room) = rest.split_once('/').ok_or_else(usage)?;
    let room = ServerLabel::parse(room)
        .ok_or("--nats: the room's name may have 1 to 32 of a to z, 0 to 9 and -")?;
    let mut nodes = Vec::new();
    for node in hosts.split(',') {
        let (host, port) = split_port(node);
        if host.is_empty() {
            return Err(usage());
        }
        let port = port.map(parse_port).transpose()?.unwrap_or(NATS_PORT);
        nodes.push((host.to_owned(), port));
    }
    let label = match label {
        Some(label) => ServerLabel::parse(label).ok_or_else(|| {
            format!("--label {label}: expected 1 to 32 of a to z, 0 to 9 and -, such as box-a")
        })?,
        None => ServerLabel::of_host(&rustix::system::uname().nodename().to_string_lossy())
            .ok_or("this host's name makes no label: give one with --label, such as box-a")?,
    };
    Ok(link::Config {
        nodes,
        room,
        label,
        credentials,
    })
}

fn parse_clients(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=1_000_000)
}

fn parse_line_bytes(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=1_048_576).map_err(|expected| format!("{expected}, in bytes"))
}

fn parse_history(text: &str) -> Result<u32, String> {
    parse_number(text, 0..=MAX_HISTORY_LINES)
}

/// A welcome is one line. Newcomers would see a control character's picture.
fn parse_welcome(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("the welcome is empty".to_owned())
    } else if text.len() > MAX_WELCOME_BYTES {
        Err(format!(
            "longer than {MAX_WELCOME_BYTES} bytes; use --motd for a long text"
        ))
    } else if text.contains(char::is_control) {
        Err("contains a control character; use --motd for several lines".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn parse_rate(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=1_000_000)
        .map_err(|expected| format!("{expected}; leave the option out for no limit"))
}

fn parse_seconds(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=MAX_SECONDS).map_err(|expected| format!("{expected}, in seconds"))
}

fn parse_backlog(text: &str) -> Result<Bytes, &'static str> {
    match parse_bytes(text) {
        Some(bytes) if (MIN_BACKLOG_BYTES..=MAX_BACKLOG_BYTES).contains(&bytes) => Ok(Bytes(bytes)),
        _ => Err("expected a number of bytes from 16K to 1024M, such as 65536, 256K or 8M"),
    }
}

fn parse_send_buffer(text: &str) -> Result<Bytes, &'static str> {
    match parse_bytes(text) {
        Some(bytes) if (MIN_SEND_BUFFER_BYTES..=MAX_SEND_BUFFER_BYTES).contains(&bytes) => {
            Ok(Bytes(bytes))
        }
        _ => Err("expected a number of bytes from 4K to 64M, such as 65536, 128K or 1M"),
    }
}

fn parse_transcript_max(text: &str) -> Result<u64, &'static str> {
    match parse_bytes(text) {
        Some(bytes) if bytes >= MIN_TRANSCRIPT_BYTES => Ok(bytes),
        _ => Err("expected a number of bytes from 16K, such as 65536, 256K or 8M"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn config(arguments: &str) -> Result<server::Config, String> {
        let command = ServerArgs::augment_args(Command::new("server").no_binary_name(true));
        let matches = command.get_matches_from(arguments.split_whitespace());
        ServerArgs::from_arg_matches(&matches)
            .unwrap()
            .into_config()
    }

    #[test]
    fn without_an_address_only_local_networks_are_let_in() {
        for (arguments, ip, port, is_local_only) in [
            ("", None, 8081, true),
            ("0", None, 0, true),
            ("8082 --deny 10.0.0.1", None, 8082, true),
            ("8082 --allow 203.0.113.0/24", None, 8082, false),
            ("192.168.1.5", Some("192.168.1.5"), 8081, false),
            ("192.168.1.5 1", Some("192.168.1.5"), 1, false),
            ("192.168.1.5:1", Some("192.168.1.5"), 1, false),
            ("[fe80::1%lo]:1", Some("fe80::1%lo"), 1, false),
            ("0.0.0.0 8081", Some("0.0.0.0"), 8081, false),
        ] {
            let config = config(arguments).unwrap();
            assert_eq!(config.ip.map(|ip| ip.to_string()).as_deref(), ip);
            assert_eq!((config.port, config.is_local_only), (port, is_local_only));
        }
        assert!(config("8081 8082").is_err() && config("::1 1").is_ok());
        assert!(config("[::1]:1 2").unwrap_err().contains("two ports"));
    }

    #[cfg(feature = "web")]
    #[test]
    fn the_web_port_has_an_address_of_its_own_or_none() {
        for (arguments, ip, port) in [
            ("--web 8080", None, 8080),
            ("--web 192.168.1.5:8080", Some("192.168.1.5"), 8080),
            ("--web [::1]:0", Some("::1"), 0),
            ("--web [fe80::1%lo]:1", Some("fe80::1%lo"), 1),
        ] {
            let web = config(arguments).unwrap().web.unwrap();
            assert_eq!(web.ip.map(|ip| ip.to_string()).as_deref(), ip);
            assert_eq!(web.port, port);
        }
        let named = config("--web 1 --web-name chat.lan --web-name box").unwrap();
        assert_eq!(named.web.unwrap().names, ["chat.lan", "box"]);
        assert!(config("").unwrap().web.is_none());
        for wrong in [
            "192.168.1.5",
            "::1",
            "box:80",
            ":80",
            "",
            "99999",
            "1.2.3.4:http",
        ] {
            assert!(parse_web(wrong).is_err(), "{wrong}");
        }
        for wrong in ["http://chat.lan", "chat.lan:80", "", "a b"] {
            assert!(parse_host_name(wrong).is_err(), "{wrong}");
        }
    }

    #[cfg(feature = "nats")]
    #[test]
    fn a_link_has_nodes_a_room_and_a_label() {
        let link = |arguments: &str| config(arguments).map(|config| config.link.unwrap());
        let nats = "--nats nats://10.0.0.9,[::1]:4223/lounge";
        let config = link(&format!("{nats} --label box-a --nats-creds x")).unwrap();
        let nodes = [("10.0.0.9".to_owned(), 4222), ("::1".to_owned(), 4223)];
        assert_eq!(config.nodes, nodes);
        assert_eq!((&*config.room, &*config.label), ("lounge", "box-a"));
        for (wrong, words) in [
            ("--nats 10.0.0.9/lounge", "expected nats://"),
            ("--nats nats://10.0.0.9", "expected nats://"),
            ("--nats nats:///lounge", "expected nats://"),
            ("--nats nats://10.0.0.9/Lounge", "the room's name"),
            ("--nats nats://me:secret@10.0.0.9/lounge", "--nats-creds"),
            ("--nats nats://10.0.0.9:x/lounge", "port"),
            (
                "--nats nats://10.0.0.9/lounge --label A",
                "--label A: expected",
            ),
        ] {
            let error = link(wrong).unwrap_err();
            assert!(
                error.contains(words) && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn sizes_are_within_bounds() {
        assert!(parse_backlog("15K").is_err() && parse_send_buffer("65M").is_err());
    }
}
