//! The arguments of `chat stress`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::room::{PasswordArgs, RoomArgs};
use super::values::{Parse, parse_ip, parse_number};
use crate::platform::addresses::ScopedIp;
use crate::stress::load::{End, MAX_PER_SECOND, Pace};
use crate::stress::payload::MIN_SIZE_BYTES;
use crate::stress::protocol::Wire;
use crate::stress::{Config, MAX_CLIENTS};

const DEFAULT_CLIENTS: u32 = 100;

/// A day.
const MAX_SECONDS: f64 = 86_400.0;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = NOTES)]
pub(super) struct StressArgs {
    #[command(flatten)]
    room: RoomArgs,

    #[command(flatten)]
    password: PasswordArgs,
    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: super::tls::TlsArgs,

    /// Number of clients [default: 100]
    ///
    /// With --ramp, the default is to go on until something fails.
    #[arg(short, long, value_name = "N")]
    #[arg(value_parser = parse_clients as Parse<u32>)]
    clients: Option<u32>,

    /// Number of clients that talk; all of them read
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = parse_talkers as Parse<u32>)]
    talkers: u32,

    /// Size of a line, line end included
    #[arg(
        short,
        long,
        value_name = "BYTES",
        default_value_t = 64,
        hide_short_help = true
    )]
    #[arg(value_parser = parse_size as Parse<u32>)]
    size: u32,

    /// Lines per second from each talker; 0: as fast as lines are delivered
    ///
    /// With a rate, delays account for coordinated omission: that of a line counts from when it
    /// was due, said by then or not. Without one, a late line holds up those after it, and
    /// percentiles look better than they are. Above 1000 lines per second in total, a core of
    /// this machine is busy waiting.
    #[arg(short, long, value_name = "LINES/S", default_value_t = 0.0, value_parser = parse_rate)]
    #[arg(allow_negative_numbers = true)]
    rate: f64,

    /// Without --rate: lines of each talker in flight at a time
    #[arg(
        short,
        long,
        value_name = "N",
        default_value = "1",
        hide_short_help = true
    )]
    in_flight: NonZeroU32,

    /// Stop after this many lines from each talker, instead of after --duration
    #[arg(
        short,
        long,
        value_name = "N",
        conflicts_with = "duration",
        hide_short_help = true
    )]
    #[arg(value_parser = parse_lines as Parse<u32>)]
    lines: Option<u32>,

    /// What the clients read: text as people get it, or JSON as programs and pages do
    ///
    /// With websocket, PORT is the server's web port.
    #[arg(
        long,
        value_name = "WIRE",
        default_value = "text",
        hide_short_help = true
    )]
    wire: Wire,

    /// How long to talk
    #[arg(short, long, value_name = "SECONDS", default_value = "10")]
    #[arg(value_parser = parse_seconds as Parse<Duration>, allow_negative_numbers = true)]
    duration: Duration,

    /// Add clients in steps until something fails
    ///
    /// The steps are 100 clients, 200, 500, 1000 and so on; with --clients, that number is the
    /// last. See also --max-p99.
    #[arg(long)]
    ramp: bool,

    /// PID of the server, if it runs on this machine: also measure its CPU and memory
    #[arg(short, long, value_name = "PID", hide_short_help = true)]
    pid: Option<u32>,

    /// Fail if the 99th percentile of delays is above this
    #[arg(long, value_name = "MS", value_parser = parse_millis as Parse<Duration>)]
    #[arg(allow_negative_numbers = true)]
    max_p99: Option<Duration>,

    /// Connect from this address of this machine; can be repeated
    ///
    /// Each address has some 28,000 ports for connections to the same server.
    #[arg(long, value_name = "IP", value_parser = parse_ip, hide_short_help = true)]
    source: Vec<ScopedIp>,

    /// Print the results as JSON
    #[arg(long, hide_short_help = true)]
    json: bool,

    /// Write all counts, and how many lines took how long, to this file
    ///
    /// The rows of several tests, side by side, can be added up: those that agree in everything
    /// but the last column.
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    csv: Option<PathBuf>,

    /// Draw a chart of the delays as SVG; with --ramp, against the number of clients
    #[arg(long, value_name = "FILE.SVG", hide_short_help = true)]
    plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  chat stress 192.168.1.5 8081 --clients 1000
  chat stress 192.168.1.5 8081 --ramp --rate 2 --max-p99 100";

const NOTES: &str = "\
Examples:
  chat stress 192.168.1.5 8081 --clients 1000
      a thousand clients; one talks, each line waits for the one before
  chat stress 127.0.0.1 8081 -t 4 -i 50 --pid $(pgrep -of 'chat server')
      four talkers, as fast as lines are delivered; also the server's costs
  chat stress 192.168.1.5 8081 --ramp --rate 2 --max-p99 100
      more and more clients, until something fails, or 1% of the lines take 100 ms
  chat stress 192.168.1.5 8081 --rate 10 --duration 60 --plot delays.svg
      ten lines per second for a minute, and a chart of the delays

Every line is checked: it must reach every other client once, whole and in order.

Exit codes: 0 all lines did; 1 lines were lost, garbled, duplicated, reordered, or slower than \
--max-p99; 2 wrong usage; 3 connections failed; 4 clients were dropped; 5 clients were refused; \
7 the room's key is unknown or has changed.

Ctrl-C ends the talking early; a second Ctrl-C stops waiting for outstanding lines. Everyone in \
the room sees the lines, and so does the server's console unless it runs with -q; the room's \
history and its transcript fill with them. Other people may talk meanwhile, but lines that a bot \
repeats count as duplicated.";

impl StressArgs {
    /// The configuration, or what is wrong with the arguments.
    pub(super) fn into_config(self) -> Result<Config, String> {
        let (host, port) = self.room.into_address()?;
        Ok(Config {
            host,
            port,
            password_file: self.password.password_file,
            #[cfg(not(feature = "tls"))]
            is_plain: self.password.plain,
            #[cfg(feature = "tls")]
            security: self.tls.into_security(),
            clients: match self.clients {
                None if self.ramp => None,
                clients => Some(clients.unwrap_or(DEFAULT_CLIENTS) as usize),
            },
            talkers: self.talkers as usize,
            size_bytes: self.size as usize,
            wire: self.wire,
            pace: if self.rate > 0.0 {
                Pace::PerSecond(self.rate)
            } else {
                Pace::InFlight(self.in_flight)
            },
            end: match self.lines {
                Some(lines) => End::Lines(lines),
                None => End::After(self.duration),
            },
            ramp: self.ramp,
            pid: self.pid,
            sources: self.source,
            max_p99: self.max_p99,
            json: self.json,
            csv: self.csv,
            plot: self.plot,
        })
    }
}

fn parse_clients(text: &str) -> Result<u32, String> {
    parse_number(text, 2..=MAX_CLIENTS as u32)
}

fn parse_talkers(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=MAX_CLIENTS as u32)
}

fn parse_size(text: &str) -> Result<u32, String> {
    parse_number(text, MIN_SIZE_BYTES as u32..=1_048_576)
}

fn parse_lines(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=u32::MAX)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=MAX_PER_SECOND).contains(&rate) => Ok(rate),
        _ => Err(format!("a rate must be from 0 to {MAX_PER_SECOND}")),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= MAX_SECONDS => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!(
            "a time must be above 0 and at most {MAX_SECONDS} seconds"
        )),
    }
}

fn parse_millis(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(millis) if millis > 0.0 && millis <= MAX_SECONDS * 1e3 => {
            Ok(Duration::from_secs_f64(millis / 1e3))
        }
        _ => Err(format!(
            "a delay must be above 0 and at most {} milliseconds",
            MAX_SECONDS * 1e3
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_within_bounds() {
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        assert!(parse_rate("-1").is_err() && parse_rate("NaN").is_err());
        assert!(parse_rate("10001").is_err());
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_millis("0.5"), Ok(Duration::from_micros(500)));
        assert!(parse_millis("-1").is_err() && parse_millis("NaN").is_err());
        assert_eq!(parse_millis("86400000"), parse_seconds("86400"));
        assert!(parse_seconds("0").is_err() && parse_seconds("inf").is_err());
    }
}
