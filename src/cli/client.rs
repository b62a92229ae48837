//! The arguments of `chat client`, and of `chat tail`, which does half of what it does.

use clap::{Args, ValueEnum};

use super::room::{RoomArgs, parse_name};
use super::values::{Parse, parse_number};
use crate::client::config::{Bell, ColorChoice, Config, Purpose, View};
use crate::platform::local_time;

#[derive(Args, Debug)]
#[command(after_help = CLIENT_EXAMPLES, after_long_help = CLIENT_NOTES)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    room: RoomArgs,

    /// The name to ask for
    ///
    /// After a lost connection the client asks for the last name you had.
    #[arg(long, value_name = "NAME", value_parser = parse_name as Parse<String>)]
    name: Option<String>,

    #[command(flatten)]
    view: ViewArgs,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: super::tls::TlsArgs,

    /// When to ring the terminal's bell
    #[arg(long, value_name = "WHEN", default_value = "mention")]
    bell: Bell,

    #[command(flatten)]
    reconnect: ReconnectArgs,

    /// At a terminal: end when the connection is lost, instead of reconnecting
    #[arg(long, hide_short_help = true, conflicts_with = "reconnect")]
    no_reconnect: bool,
}

const CLIENT_EXAMPLES: &str = "\
Examples:
  chat client 192.168.1.5 --name alice
  journalctl -f -u backup | chat client 192.168.1.5 8081";

const CLIENT_NOTES: &str = "\
Examples:
  chat client 192.168.1.5 8081
      type and read; Ctrl-D or /quit leaves
  chat client 192.168.1.5 8081 --name alice --time HH:MM
      join as alice, and show the time of each message
  journalctl -f -u backup | chat client 192.168.1.5 8081
      say each line of a log

In the room, /help lists the commands: take a name, send a private message, see who is here.

At a terminal you type in a line at the bottom that no message interrupts:
  Tab: complete a name or a command; again for the next match
  Up, Down: what you entered before; Ctrl-R searches it
  Ctrl-A, Ctrl-E: to the beginning, to the end; Alt-B, Alt-F: by words
  Ctrl-W, Ctrl-U, Ctrl-K: cut a word, all before, all after; Ctrl-Y: paste the cut
  Alt-Enter: another line before you send them all
  Ctrl-D: leave, if the line is empty; Ctrl-C: leave at once

Pasted text is sent when you press Enter; Ctrl-U drops it.

In a pipe, the client sends each line of standard input, and writes what others say to \
standard output. At the end of the input it delivers everything and ends. See also chat send \
and chat tail.

A line that the room has not answered stays above the prompt, dim after a second. With \
--reconnect a client in a pipe goes on after a loss, as one at a terminal does.

Exit codes: 0 you left, the input ended and all was sent, or nobody reads the output any more; \
1 failure; 2 wrong usage; 3 cannot connect; 4 the server closed the connection or it was lost; \
5 refused by the room, or a line was left out (standard error says why); 6 in doubt: lines may \
or may not have been taken (they are on standard error). Ctrl-C ends the client by SIGINT (130 \
in a shell).";

#[derive(Args, Debug)]
#[command(after_help = TAIL_EXAMPLES, after_long_help = TAIL_NOTES)]
pub(super) struct TailArgs {
    #[command(flatten)]
    room: RoomArgs,

    /// How many lines of the room's history to show first [default: all]
    #[arg(short = 'n', long, value_name = "N")]
    #[arg(allow_negative_numbers = true, value_parser = parse_lines as Parse<u32>)]
    lines: Option<u32>,

    #[command(flatten)]
    reconnect: ReconnectArgs,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: super::tls::TlsArgs,

    #[command(flatten)]
    view: ViewArgs,
}

const TAIL_EXAMPLES: &str = "\
Examples:
  chat tail 192.168.1.5 8081
  chat tail 192.168.1.5 8081 --json | jq -r 'select(.kind == \"message\").text'";

const TAIL_NOTES: &str = "\
Examples:
  chat tail 192.168.1.5 8081
  chat tail 192.168.1.5 8081 --lines 0 | grep --line-buffered coffee
  chat tail 192.168.1.5 8081 --json | jq -r 'select(.kind == \"message\").text'

It runs until the room ends, or until nobody reads its output any more. With --reconnect it \
goes on after a loss or a restart, without a hole and without a double.

With --json, each line is an object of the room, as it came but for the token: the first is \
hello; message, action (/me), private (/msg), operator and presence have a seq and a time, and \
those of the room's past \"past\": true. A server of another kind sends none. Then each line \
becomes an object with four members: kind (welcome, message, action, private, notice, refusal, \
continuation, other), name, text, time.

chat client --json shows what it says itself as the room says it; with a server of another kind \
it has one more kind, own.

Exit codes: 0 nobody reads the output any more; 1 failure; 2 wrong usage; 3 cannot connect; \
4 the server closed the connection or it was lost; 5 refused by the room.";

// What to do after a loss.
#[derive(Args, Debug)]
struct ReconnectArgs {
    /// Reconnect when the connection is lost, and go on where it was (the default at a terminal)
    #[arg(long, hide_short_help = true)]
    reconnect: bool,
}

// How messages are shown.
#[derive(Args, Debug)]
struct ViewArgs {
    /// Show the local time before each line
    #[arg(long, value_name = "FORMAT")]
    time: Option<TimeFormat>,

    /// When to use colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,

    /// Show each line as a JSON object, for programs
    #[arg(long, conflicts_with = "time")]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TimeFormat {
    #[value(name = "HH:MM")]
    HoursMinutes,
    #[value(name = "HH:MM:SS")]
    HoursMinutesSeconds,
}

impl ClientArgs {
    /// The configuration, or what is wrong with the arguments.
    pub(super) fn into_config(self) -> Result<Config, String> {
        let (host, port) = self.room.into_address()?;
        Ok(Config {
            host,
            port,
            name: self.name,
            #[cfg(feature = "tls")]
            security: self.tls.into_security(),
            purpose: Purpose::Chat {
                view: self.view.into_view(),
                bell: self.bell,
                reconnects: match (self.reconnect.reconnect, self.no_reconnect) {
                    (true, _) => Some(true),
                    (false, true) => Some(false),
                    (false, false) => None,
                },
            },
        })
    }
}

impl TailArgs {
    /// The configuration, or what is wrong with the arguments.
    pub(super) fn into_config(self) -> Result<Config, String> {
        let (host, port) = self.room.into_address()?;
        Ok(Config {
            host,
            port,
            name: None,
            #[cfg(feature = "tls")]
            security: self.tls.into_security(),
            purpose: Purpose::Tail {
                view: self.view.into_view(),
                max_past: self.lines.map(|lines| lines as usize),
                reconnects: self.reconnect.reconnect,
            },
        })
    }
}

impl ViewArgs {
    fn into_view(self) -> View {
        View {
            is_json: self.json,
            color: self.color,
            time: self.time.map(|format| match format {
                TimeFormat::HoursMinutes => local_time::Format::HoursMinutes,
                TimeFormat::HoursMinutesSeconds => local_time::Format::HoursMinutesSeconds,
            }),
        }
    }
}

fn parse_lines(text: &str) -> Result<u32, String> {
    parse_number(text, 0..=1_000_000)
}
