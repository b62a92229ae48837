//! The arguments of `chat stress`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::{parse_host, parse_port_to_connect};
use crate::stress::Config;
use crate::stress::load::{End, MAX_PER_SECOND, Pace};
use crate::stress::payload::MIN_SIZE_BYTES;

/// The shortest line, as clap wants it.
const MIN_LINE_BYTES: i64 = MIN_SIZE_BYTES as i64;

/// The longest time to talk: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// Learn what a room can hold
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat stress 192.168.1.5 8081 --clients 1000
      a thousand clients, one of whom talks; each line waits for the one before
  chat stress 127.0.0.1 8081 -t 4 -i 50 --pid $(pgrep -of 'chat server')
      four who talk as fast as they are heard, and what that costs the server
  chat stress 192.168.1.5 8081 --clients 10000 --ramp --rate 2
      more and more clients, until the box can take no more
  chat stress 192.168.1.5 8081 --rate 10 --duration 60 --plot delays.svg
      ten lines a second for a minute, and a picture of how long they took

Every line that is heard is checked: each client must hear each line of the
others once and in order. Exit codes: 0 so it was, 1 lines were lost, came twice
or out of order, 3 connections failed, 4 clients were dropped, 5 clients were
refused.

Ctrl-C ends the talking early; a second one, the waiting for what is still to
come. The lines are seen by everybody in the room, and on the server's console
unless it was started with -q. What others say meanwhile does no harm, unless a
bot repeats lines: they count as having come twice.")]
pub(super) struct StressArgs {
    /// The server's IP address or name
    #[arg(value_name = "HOST", value_parser = parse_host)]
    host: String,

    /// The server's port
    #[arg(value_name = "PORT", value_parser = parse_port_to_connect)]
    port: u16,

    /// How many clients join
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    clients: u32,

    /// How many of them talk; all of them listen
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    talkers: u32,

    /// The length of a line, its end counted
    #[arg(short, long, value_name = "BYTES", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u32).range(MIN_LINE_BYTES..=1_048_576))]
    size: u32,

    /// Lines that each talker says in a second; 0: as fast as they are heard. Above
    /// 1000 in all this keeps a core busy with waiting
    #[arg(short, long, value_name = "LINES/S", default_value_t = 0.0, value_parser = parse_rate)]
    #[arg(allow_negative_numbers = true)]
    rate: f64,

    /// Without --rate: lines of each talker that may be on their way at a time
    #[arg(short, long, value_name = "N", default_value = "1")]
    in_flight: NonZeroU32,

    /// Lines that each talker says; without this, the time decides
    #[arg(short, long, value_name = "N", conflicts_with = "duration")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    lines: Option<u32>,

    /// For how long they talk
    #[arg(short, long, value_name = "SECONDS", default_value = "10")]
    #[arg(value_parser = parse_seconds, allow_negative_numbers = true)]
    duration: Duration,

    /// Begin with 100 clients and go on to --clients in steps: 200, 500, 1000...
    #[arg(long)]
    ramp: bool,

    /// The number of the server's process, if it runs on this machine: also tell what
    /// CPU and memory it takes
    #[arg(short, long, value_name = "PID")]
    pid: Option<u32>,

    /// Print the result as JSON, for programs
    #[arg(long)]
    json: bool,

    /// Draw how long the lines took, as an SVG file; with --ramp, in the last step
    #[arg(long, value_name = "FILE.SVG")]
    plot: Option<PathBuf>,
}

impl StressArgs {
    pub(super) fn into_config(self) -> Config {
        Config {
            host: self.host,
            port: self.port,
            clients: self.clients as usize,
            talkers: self.talkers as usize,
            size_bytes: self.size as usize,
            pace: match self.rate > 0.0 {
                true => Pace::PerSecond(self.rate),
                false => Pace::InFlight(self.in_flight),
            },
            end: match self.lines {
                Some(lines) => End::Lines(lines),
                None => End::After(self.duration),
            },
            ramp: self.ramp,
            pid: self.pid,
            json: self.json,
            plot: self.plot,
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=MAX_PER_SECOND).contains(&rate) => Ok(rate),
        _ => Err(format!("a rate is a number from 0 to {MAX_PER_SECOND}")),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= MAX_SECONDS => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!(
            "a time is a number of seconds above 0, and at most {MAX_SECONDS}"
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
        assert!(parse_seconds("0").is_err() && parse_seconds("inf").is_err());
    }
}
