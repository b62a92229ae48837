//! The arguments of `chat send`.

use std::time::Duration;

use clap::Args;

use super::room::{RoomArgs, parse_name, parse_timeout};
use super::values::Parse;
use crate::client::config::{Config, Purpose};

#[derive(Args, Debug)]
#[command(after_help = SEND_EXAMPLES, after_long_help = SEND_NOTES)]
pub(super) struct SendArgs {
    #[command(flatten)]
    room: RoomArgs,

    /// The name to say it under
    #[arg(long, value_name = "NAME", value_parser = parse_name as Parse<String>)]
    name: Option<String>,

    /// How long to wait for the room to go on
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(allow_negative_numbers = true, value_parser = parse_timeout as Parse<u32>)]
    timeout: u32,

    /// What to say [default: each line of standard input]
    #[arg(value_name = "TEXT", allow_negative_numbers = true, value_parser = parse_text as Parse<String, _>)]
    text: Vec<String>,
}

const SEND_EXAMPLES: &str = "\
Examples:
  chat send 192.168.1.5 8081 the backup is done
  df -h / | chat send 192.168.1.5 8081 --name disk";

const SEND_NOTES: &str = "\
Examples:
  chat send 192.168.1.5 8081 the backup is done
  df -h / | chat send 192.168.1.5 8081 --name disk
  chat send 192.168.1.5 8081 /msg alice the backup is done

It shows nothing, and ends once the room has answered its last line. A room that takes it no \
further for --timeout seconds is given up; one that paces its members says so, and is waited for. \
With --name it says nothing \
unless it gets that name. A leading slash makes a command, as everywhere; // stands for a \
slash. A word that begins with - is an option unless it follows --:
  chat send 192.168.1.5 8081 -- -v is broken

Exit codes: 0 the room took everything; 1 failure; 2 wrong usage; 3 cannot connect; 4 the \
connection was lost, nothing answered in time, or what answered is no chat server; 5 refused: \
not let in, the text not taken, or the name not given, with the reason on standard error; 6 in \
doubt: lines were sent and not answered (they are on standard error).";

impl SendArgs {
    pub(super) fn into_config(self) -> Config {
        Config {
            host: self.room.host,
            port: self.room.port,
            name: self.name,
            purpose: Purpose::Send {
                text: (!self.text.is_empty()).then(|| self.text.join(" ")),
                timeout: Duration::from_secs(self.timeout.into()),
            },
        }
    }
}

fn parse_text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() {
        Err("an empty text says nothing")
    } else {
        Ok(text.to_owned())
    }
}
