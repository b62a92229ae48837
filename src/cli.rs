//! The command line: clap's arguments in, typed configuration out.

mod address_rules;
#[cfg(feature = "stress")]
mod stress;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use log::LevelFilter;

use self::address_rules::AddressRules;
use crate::rate::Rate;
use crate::reactor::Policy;
use crate::reactor::listener::SEND_BUFFER_BYTES;
use crate::{admission, client, flow, room, server};

/// A chat room over TCP: a server for any box on a LAN, and a client for any shell
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say more on standard error: -v what happens, -vv each client, -vvv everything
    /// (the variable RUST_LOG chooses more finely)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    #[arg(display_order = LAST_BUT_HELP)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(ServerArgs),
    Client(ClientArgs),
    #[cfg(feature = "stress")]
    Stress(stress::StressArgs),
}

/// Run a room
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat server 192.168.1.5 8081    a room for the LAN, at this machine's address
  chat server 0.0.0.0 8081        at every address of this machine
  chat server 127.0.0.1 8081      for this machine alone
  chat server 0.0.0.0 8081 --allow 192.168.1.0/24 --allow 127.0.0.1
                                  for the LAN and this machine alone

The first --allow or --deny that matches an address decides. An address that
none matches is let in, but kept out if there is any --allow.

What you type at the console is said to everybody as the operator; /help there
tells what else you can do: who is here, send somebody away, ban an address.

Ctrl-C or SIGTERM closes the room: everybody is told, and gets what was said.
SIGUSR1 has it write a line of figures to standard error; so does its end.")]
struct ServerArgs {
    /// The IP address to listen on: one that this machine has, or 0.0.0.0 or :: for all
    #[arg(value_name = "IP", value_parser = parse_ip)]
    ip: IpAddr,

    /// The port to listen on; 0 for any free one
    #[arg(value_name = "PORT", value_parser = parse_port)]
    port: u16,

    /// The most clients in the room at once
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    #[arg(allow_negative_numbers = true, value_parser = parse_clients)]
    max_clients: u32,

    /// The most clients from one address; unless set, half of the room, and no limit
    /// from loopback
    #[arg(long, value_name = "N")]
    #[arg(allow_negative_numbers = true, value_parser = parse_clients)]
    max_per_ip: Option<u32>,

    #[command(flatten)]
    rules: AddressRules,

    /// The longest line a client may say, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Policy::DEFAULT.max_line_bytes)]
    #[arg(allow_negative_numbers = true, value_parser = parse_line_bytes)]
    max_line: u32,

    /// The most that may wait for a client that does not read, in bytes or with K or M
    #[arg(long, value_name = "BYTES", value_parser = parse_backlog)]
    #[arg(default_value_t = Bytes(flow::Bounds::DEFAULT.max_backlog_bytes))]
    max_backlog: Bytes,

    /// How long a client that reads too slowly has to catch up, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(allow_negative_numbers = true, value_parser = parse_seconds)]
    stall_timeout: u32,

    /// What the kernel may hold for each client, in bytes or with K or M: more is
    /// faster over long distances, less is gentler on a small box
    #[arg(long, value_name = "BYTES", value_parser = parse_send_buffer)]
    #[arg(default_value_t = Bytes(SEND_BUFFER_BYTES))]
    send_buffer: Bytes,

    /// The most lines a client may say in a second, after a burst of 50 (or a second's
    /// worth, if that is more); what is over waits [default: any number]
    #[arg(long, value_name = "LINES/S")]
    #[arg(allow_negative_numbers = true, value_parser = parse_rate)]
    rate: Option<u32>,

    /// How long a client may send nothing before it has to go, in seconds [default: for
    /// ever]
    #[arg(long, value_name = "SECONDS")]
    #[arg(allow_negative_numbers = true, value_parser = parse_seconds)]
    idle_timeout: Option<u32>,

    /// What newcomers are told after the greeting
    #[arg(long, value_name = "TEXT", value_parser = parse_welcome)]
    welcome: Option<String>,

    /// A file of which newcomers are told every line, at most 8 KiB
    #[arg(long, value_name = "FILE")]
    motd: Option<PathBuf>,

    /// How many of the last lines newcomers are shown, 0 for none
    #[arg(long, value_name = "N", default_value_t = 20)]
    #[arg(allow_negative_numbers = true, value_parser = parse_history)]
    history: u32,

    /// Tell nobody who joins, leaves and takes a new name
    #[arg(long)]
    no_presence: bool,

    /// Append all that is said to a file, each line with its time; SIGHUP opens it anew
    #[arg(long, value_name = "FILE")]
    transcript: Option<PathBuf>,

    /// Show nothing on standard output but what is asked for at the console; problems
    /// and figures still go to standard error
    #[arg(short, long)]
    quiet: bool,
}

/// Join a room
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat client 192.168.1.5 8081                          type, and read
  uptime | chat client 192.168.1.5 8081                 say what a command prints
  tail -f backup.log | chat client 192.168.1.5 8081     and go on saying it

Each line of standard input is said; what others say goes to standard output.
When standard input ends, the client delivers everything, and ends.")]
struct ClientArgs {
    /// The server's IP address or name
    #[arg(value_name = "HOST", value_parser = parse_host)]
    host: String,

    /// The server's port
    #[arg(value_name = "PORT", value_parser = parse_port_to_connect)]
    port: u16,
}

/// A year.
const MAX_SECONDS: u32 = 31_536_000;

/// Less than this is one read, and would have everybody wait for everybody.
const MIN_BACKLOG_BYTES: usize = 16 * 1024;

/// More could be no bound for any machine that this is meant for.
const MAX_BACKLOG_BYTES: usize = 1024 * 1024 * 1024;

/// What somebody may paste at once though lines are bounded: a stack trace.
const LEAST_BURST: u32 = 50;

/// The kernel's own least is about this (socket(7): twice the value, at least 2,048).
const MIN_SEND_BUFFER_BYTES: usize = 4 * 1024;

const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024 * 1024;

/// Every newcomer is sent it.
const MAX_WELCOME_BYTES: usize = 1000;

/// Where the help of a command shows what all commands have.
const LAST_BUT_HELP: usize = 900;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failure, 2 wrong usage, 3 cannot connect,
4 the server closed the connection or it was lost, 5 not let in, as when the room is full";

/// What the program is to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Run a room.
    Server(Box<server::Config>),
    /// Join a room.
    Client(client::Config),
    /// Load a room and see.
    #[cfg(feature = "stress")]
    Stress(crate::stress::Config),
}

impl Cli {
    /// Reads the command line. Ends the program when it is wrong, or asks for
    /// help.
    pub fn from_command_line() -> Self {
        Self::parse()
    }

    /// The least important messages that are logged.
    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::Warn,
            1 => LevelFilter::Info,
            2 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        }
    }

    /// What the program is to do.
    pub fn into_task(self) -> Task {
        match self.command {
            Command::Server(args) => Task::Server(Box::new(server::Config {
                address: SocketAddr::new(args.ip, args.port),
                admission: admission::Limits {
                    max_clients: args.max_clients as usize,
                    max_per_address: args.max_per_ip.map(|max| max as usize),
                    rules: args.rules.into_rules(),
                },
                room: room::Config {
                    max_line_bytes: args.max_line,
                    notices: args.welcome.into_iter().collect(),
                    history_lines: args.history as usize,
                    announces_presence: !args.no_presence,
                },
                motd: args.motd,
                transcript: args.transcript,
                flow: flow::Bounds {
                    max_backlog_bytes: args.max_backlog.0,
                    stall_timeout: Duration::from_secs(args.stall_timeout.into()),
                },
                send_buffer_bytes: args.send_buffer.0,
                rate: args.rate.map(|rate| Rate::new(rate, rate.max(LEAST_BURST))),
                idle_timeout: args
                    .idle_timeout
                    .map(|timeout| Duration::from_secs(timeout.into())),
                quiet: args.quiet,
            })),
            Command::Client(args) => Task::Client(client::Config {
                host: args.host,
                port: args.port,
            }),
            #[cfg(feature = "stress")]
            Command::Stress(args) => Task::Stress(args.into_config()),
        }
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, &'static str> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_multicast() || ip == Ipv4Addr::BROADCAST => {
            Err("no machine has this address: it stands for many at once")
        }
        Ok(ip) => Ok(ip),
        Err(_) => Err(
            "not an IP address, such as 192.168.1.5, or 0.0.0.0 for every address of this machine",
        ),
    }
}

/// A host as it is given; an IPv6 address may stand in brackets, as it does
/// where a port follows it.
fn parse_host(text: &str) -> Result<String, &'static str> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match bracketed.unwrap_or(text) {
        "" => Err("a name or an IP address is needed"),
        host => Ok(host.to_owned()),
    }
}

/// A whole number within `range`. An option that is left out is no limit, so 0 is none.
fn parse_number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        format!(
            "expected a whole number from {} to {}",
            range.start(),
            range.end()
        )
    })
}

fn parse_clients(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=1_000_000)
}

fn parse_line_bytes(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=1_048_576).map_err(|expected| format!("{expected}, in bytes"))
}

fn parse_history(text: &str) -> Result<u32, String> {
    parse_number(text, 0..=10_000)
}

/// A welcome is one line; a control character would be shown as such.
fn parse_welcome(text: &str) -> Result<String, &'static str> {
    match text {
        _ if text.trim().is_empty() => Err("a welcome says something"),
        _ if text.len() > MAX_WELCOME_BYTES => Err("that is too long for a welcome; see --motd"),
        _ if text.contains(char::is_control) => Err("a welcome is one line; --motd has many"),
        _ => Ok(text.to_owned()),
    }
}

fn parse_rate(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=1_000_000)
        .map_err(|expected| format!("{expected}; without this option there is no limit"))
}

fn parse_seconds(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=MAX_SECONDS).map_err(|expected| format!("{expected}, in seconds"))
}

/// A number of bytes, written with K (1,024) or M where that comes out even.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => write!(f, "{}M", bytes >> 20),
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 10) => write!(f, "{}K", bytes >> 10),
            bytes => write!(f, "{bytes}"),
        }
    }
}

/// A number of bytes: `65536`, `64K` or `1M`.
fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit_bytes = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1024,
        "m" | "mb" | "mib" => 1024 * 1024,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit_bytes)
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

fn parse_port(text: &str) -> Result<u16, &'static str> {
    text.parse()
        .map_err(|_| "a port is a number from 0 to 65535")
}

fn parse_port_to_connect(text: &str) -> Result<u16, &'static str> {
    match parse_port(text) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("a port to connect to is a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        for (exit, meaning) in [
            (Exit::Success, "done"),
            (Exit::Failure, "failure"),
            (Exit::Usage, "wrong usage"),
            (Exit::CannotConnect, "cannot connect"),
            (Exit::ConnectionLost, "the server closed"),
            (Exit::Refused, "not let in"),
        ] {
            assert!(EXIT_CODES.contains(&format!("{} {meaning}", exit as u8)));
        }
    }

    #[test]
    fn hosts_and_ports_are_taken_as_people_write_them() {
        assert_eq!(parse_host("[::1]").as_deref(), Ok("::1"));
        assert_eq!(parse_host("room.lan").as_deref(), Ok("room.lan"));
        assert!(parse_host("").is_err());
        assert_eq!((parse_port("0"), parse_port("65535")), (Ok(0), Ok(65535)));
        assert!(parse_port("65536").is_err() && parse_port_to_connect("0").is_err());
        assert_eq!(
            (parse_bytes("64K"), parse_bytes("1MiB")),
            (Some(65536), Some(1 << 20))
        );
        assert_eq!((parse_bytes("12"), parse_bytes("0b")), (Some(12), Some(0)));
        for wrong in [
            "",
            "K",
            "1T",
            "-1",
            "1.5M",
            "1 M",
            "99999999999999999999",
            "1KK",
        ] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
        for text in ["1M", "128K", "1025", "0"] {
            assert_eq!(Bytes(parse_bytes(text).unwrap()).to_string(), text);
        }
        assert!(parse_backlog("15K").is_err() && parse_send_buffer("65M").is_err());
        assert!(parse_ip("224.0.0.1").is_err() && parse_ip("localhost").is_err());
    }
}
