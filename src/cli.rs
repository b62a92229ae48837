//! The command line: clap's arguments in, typed configuration out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand};
use log::LevelFilter;

use crate::room::Limits;
use crate::stress::pace::Pace;
use crate::stress::payload::MIN_SIZE_BYTES;
use crate::stress::run::End;
use crate::{client, server, stress};

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
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(ServerArgs),
    Client(ClientArgs),
    Stress(StressArgs),
}

/// Run a room
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat server 192.168.1.5 8081    a room for the LAN, at this machine's address
  chat server 0.0.0.0 8081        at every address of this machine
  chat server 127.0.0.1 8081      for this machine alone

Ctrl-C or SIGTERM closes the room: everybody is told, and gets what was said.")]
struct ServerArgs {
    /// The IP address to listen on: one that this machine has, or 0.0.0.0 or :: for all
    #[arg(value_name = "IP", value_parser = parse_ip)]
    ip: IpAddr,

    /// The port to listen on; 0 for any free one
    #[arg(value_name = "PORT", value_parser = parse_port)]
    port: u16,

    /// The most clients in the room at once
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_clients: u32,

    /// The longest line a client may say, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    max_line: u32,

    /// Show nothing on standard output; problems still go to standard error
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

/// Learn what a room can hold
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat stress 192.168.1.5 8081 --clients 1000
      a thousand clients, one of whom talks; each line waits for the one before
  chat stress 127.0.0.1 8081 -c 1000 -t 4 --in-flight 50 --pid $(pgrep -f 'chat server')
      four who talk as fast as they are heard, and what that costs the server here
  chat stress 192.168.1.5 8081 --clients 10000 --ramp --rate 2
      more and more clients, until the box can take no more
  chat stress 192.168.1.5 8081 --rate 10 --duration 60 --plot delays.svg
      ten lines a second for a minute, and a picture of how long they took

Every line that is heard is checked: each client must hear each line of the others
once and in order. If one does not, or is refused or dropped, the exit code is not 0.
Ctrl-C ends the talking early. What others say in the room meanwhile does no harm.")]
struct StressArgs {
    /// The server's IP address
    #[arg(value_name = "IP", value_parser = parse_ip)]
    ip: IpAddr,

    /// The server's port
    #[arg(value_name = "PORT", value_parser = parse_port_to_connect)]
    port: u16,

    /// How many clients join
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    clients: u32,

    /// How many of them talk; all of them listen
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    talkers: u32,

    /// The length of a line, its end counted
    #[arg(short, long, value_name = "BYTES", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(MIN_LINE_BYTES..=1_048_576))]
    size: u32,

    /// Lines that each talker says in a second; 0: as fast as they are delivered
    #[arg(short, long, value_name = "LINES/S", default_value_t = 0.0, value_parser = parse_rate)]
    #[arg(allow_negative_numbers = true)]
    rate: f64,

    /// With --rate 0: lines of each talker that may be on their way at a time
    #[arg(
        short,
        long,
        value_name = "N",
        default_value = "1",
        conflicts_with = "rate"
    )]
    in_flight: NonZeroU32,

    /// Lines that each talker says; without this, the time decides
    #[arg(short, long, value_name = "N", conflicts_with = "duration")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    lines: Option<u32>,

    /// For how long they talk
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    duration: u32,

    /// Begin with 100 clients and go on to --clients in steps: 200, 500, 1000...
    #[arg(long)]
    ramp: bool,

    /// The number of the server's process, if it runs on this machine: also tell what
    /// it takes of CPU and memory
    #[arg(short, long, value_name = "PID")]
    pid: Option<u32>,

    /// Print the result as JSON, for programs
    #[arg(long)]
    json: bool,

    /// Draw how long the lines took, as an SVG file
    #[arg(long, value_name = "FILE.SVG")]
    plot: Option<PathBuf>,
}

/// [`MIN_SIZE_BYTES`] as clap wants it.
const MIN_LINE_BYTES: i64 = MIN_SIZE_BYTES as i64;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failure, 2 wrong usage, 3 cannot connect,
4 the server closed the connection or it was lost, 5 the room is full";

/// What the program is to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Run a room.
    Server(server::Config),
    /// Join a room.
    Client(client::Config),
    /// Load a room and see.
    Stress(stress::Config),
}

impl Cli {
    /// Reads the command line. Ends the program when it is wrong, or asks for
    /// help.
    pub fn from_command_line() -> Self {
        let cli = Self::parse();
        if let Command::Stress(StressArgs {
            talkers, clients, ..
        }) = cli.command
            && talkers > clients
        {
            let message = format!(
                "{talkers} talkers cannot be among {clients} clients: raise --clients, or lower --talkers"
            );
            let mut command = Self::command();
            command.error(ErrorKind::ValueValidation, message).exit();
        }
        cli
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
            Command::Server(args) => Task::Server(server::Config {
                address: SocketAddr::new(args.ip, args.port),
                limits: Limits {
                    max_clients: args.max_clients as usize,
                    max_line_bytes: args.max_line,
                },
                quiet: args.quiet,
            }),
            Command::Client(args) => Task::Client(client::Config {
                host: args.host,
                port: args.port,
            }),
            Command::Stress(args) => Task::Stress(stress::Config {
                server: SocketAddr::new(args.ip, args.port),
                clients: args.clients as usize,
                talkers: args.talkers as usize,
                size_bytes: args.size as usize,
                pace: match args.rate > 0.0 {
                    true => Pace::PerSecond(args.rate),
                    false => Pace::InFlight(args.in_flight),
                },
                end: match args.lines {
                    Some(lines) => End::Lines(lines),
                    None => End::After(Duration::from_secs(args.duration.into())),
                },
                ramp: args.ramp,
                pid: args.pid,
                json: args.json,
                plot: args.plot,
            }),
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

fn parse_rate(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(rate) if (0.0..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a rate is a number from 0 to 1000000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        for (exit, meaning) in [
            (Exit::Success, "done"),
            (Exit::Failure, "failure"),
            (Exit::Usage, "wrong usage"),
            (Exit::CannotConnect, "cannot connect"),
            (Exit::ConnectionLost, "the server closed"),
            (Exit::Refused, "the room is full"),
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
        assert!(parse_ip("224.0.0.1").is_err() && parse_ip("localhost").is_err());
    }
}
