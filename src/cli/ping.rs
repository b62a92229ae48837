//! The arguments of `chat ping`.

use std::time::Duration;

use clap::Args;

use super::room::{UsualRoomArgs, parse_timeout};
use super::values::Parse;
use crate::client::ping::Config;

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = NOTES)]
pub(super) struct PingArgs {
    #[command(flatten)]
    room: UsualRoomArgs,

    /// How long to wait for an answer
    #[arg(short, long, value_name = "SECONDS", default_value_t = 5)]
    #[arg(allow_negative_numbers = true, value_parser = parse_timeout as Parse<u32>)]
    timeout: u32,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: super::tls::TlsArgs,
}

const EXAMPLES: &str = "\
Examples:
  chat ping 192.168.1.5 8081
  chat ping 192.168.1.5 8081 > /dev/null || systemctl restart chat";

const NOTES: &str = "\
Examples:
  chat ping 192.168.1.5 8081
  chat ping 192.168.1.5 8081 --timeout 1
  chat ping 192.168.1.5 8081 > /dev/null || systemctl restart chat

It connects, reads the greeting and leaves. Nobody in the room is told, and the server's \
console shows it only with -v.

Exit codes: 0 there is a room; 1 failure; 2 wrong usage; 3 cannot connect; 4 no answer in time, \
or what answered is no chat server; 5 refused by the room (it is full, for example), with the \
reason on standard error; 7 the room's key is unknown or has changed.";

impl PingArgs {
    /// The configuration, or what is wrong with the arguments.
    pub(super) fn into_config(self) -> Result<Config, String> {
        let (host, port) = self.room.into_address()?;
        Ok(Config {
            host,
            port,
            timeout: Duration::from_secs(self.timeout.into()),
            #[cfg(feature = "tls")]
            security: self.tls.into_security(),
        })
    }
}
