//! The arguments of `chat server`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::address_rules::AddressRules;
use super::values::{Bytes, parse_bytes, parse_ip, parse_number, parse_port};
use crate::rate::Rate;
use crate::reactor::flow;
use crate::reactor::listener::SEND_BUFFER_BYTES;
use crate::reactor::service::Policy;
use crate::room;
use crate::room::history::MAX_HISTORY_LINES;
use crate::server::{self, admission};

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
pub(super) struct ServerArgs {
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

impl ServerArgs {
    pub(super) fn into_config(self) -> server::Config {
        server::Config {
            address: SocketAddr::new(self.ip, self.port),
            admission: admission::Limits {
                max_clients: self.max_clients as usize,
                max_per_address: self.max_per_ip.map(|max| max as usize),
                rules: self.rules.into_rules(),
            },
            room: room::Config {
                max_line_bytes: self.max_line,
                notices: self.welcome.into_iter().collect(),
                history_lines: self.history as usize,
                announces_presence: !self.no_presence,
            },
            motd: self.motd,
            transcript: self.transcript,
            flow: flow::Bounds {
                max_backlog_bytes: self.max_backlog.0,
                stall_timeout: Duration::from_secs(self.stall_timeout.into()),
            },
            send_buffer_bytes: self.send_buffer.0,
            rate: self.rate.map(|rate| Rate::new(rate, rate.max(LEAST_BURST))),
            idle_timeout: self
                .idle_timeout
                .map(|timeout| Duration::from_secs(timeout.into())),
            quiet: self.quiet,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_within_bounds() {
        assert!(parse_backlog("15K").is_err() && parse_send_buffer("65M").is_err());
    }
}
