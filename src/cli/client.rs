//! The arguments of `chat client`, and of `chat tail`, which does half of what it does.

use std::env;
use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::room::{NO_ROOM, PasswordArgs, UsualRoomArgs, parse_name, parse_place};
use super::values::{Parse, parse_number};
use crate::client::config::{Bell, ColorChoice, Config, Purpose, RoomBy, Times, View, Wish};
use crate::client::display::is_at_prompt;
use crate::client::memory::Memory;
use crate::platform::local_time;
use crate::protocol::name::Name;

#[derive(Args, Debug)]
#[command(after_help = CLIENT_EXAMPLES, after_long_help = CLIENT_NOTES)]
pub(super) struct ClientArgs {
    #[command(flatten)]
    room: UsualRoomArgs,

    /// The name to ask for [default: CHAT_NAME or your login]
    ///
    /// The default is for a prompt; in a pipe you have no name unless you ask for one. If your login
    /// is in use, you get it with a digit behind it. After a lost connection the client asks for
    /// the last name you had.
    #[arg(long, value_name = "NAME", value_parser = parse_name as Parse<String>)]
    name: Option<String>,

    /// Ask for no name: others see your address
    #[arg(long, hide_short_help = true, conflicts_with = "name")]
    no_name: bool,

    #[command(flatten)]
    view: ViewArgs,

    /// Show no time before each line
    #[arg(long, hide_short_help = true, overrides_with = "time")]
    no_time: bool,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: super::tls::TlsArgs,

    /// When to ring the terminal's bell
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "mention",
        hide_short_help = true
    )]
    bell: Bell,

    /// Append what the screen shows to FILE, with dates
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    log: Option<PathBuf>,

    #[command(flatten)]
    password: PasswordArgs,

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
  chat client
      join the room of CHAT_ROOM or, at a terminal, the one joined last
  chat client 192.168.1.5 8081 --name alice --log alice.log
      join as alice, and keep what the screen shows
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

/ignore NAME hides what NAME says, for you alone; /unignore NAME shows it again. The client keeps the \
last room and what you typed, except /msg, in ~/.local/state/chat or $XDG_STATE_HOME/chat.

In a pipe, the client sends each line of standard input, and writes what others say to \
standard output. At the end of the input it delivers everything and ends. See also chat send \
and chat tail.

A line that the room has not answered stays above the prompt, dim after a second. With \
--reconnect a client in a pipe goes on after a loss, as one at a terminal does.

Exit codes: 0 you left, the input ended and all was sent, or nobody reads the output any more; \
1 failure; 2 wrong usage; 3 cannot connect; 4 the server closed the connection or it was lost; \
5 refused by the room, or a line was left out (standard error says why); 6 in doubt: lines may \
or may not have been taken (they are on standard error); 7 the room's key is unknown, has changed, \
or is not the one that you want. Ctrl-C ends the client by SIGINT (130 in a shell).";

#[derive(Args, Debug)]
#[command(after_help = TAIL_EXAMPLES, after_long_help = TAIL_NOTES)]
pub(super) struct TailArgs {
    #[command(flatten)]
    room: UsualRoomArgs,

    /// How many lines of the room's history to show first [default: all]
    #[arg(short = 'n', long, value_name = "N")]
    #[arg(allow_negative_numbers = true, value_parser = parse_lines as Parse<u32>)]
    lines: Option<u32>,

    #[command(flatten)]
    password: PasswordArgs,

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
4 the server closed the connection or it was lost; 5 refused by the room; 7 the room's key is \
unknown or has changed.";

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
    /// Show the local time [default at a prompt: HH:MM]
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

/// Where the room is that was joined last.
fn last_room() -> Result<(String, u16), String> {
    let room = Memory::of_user().room();
    let place = room.and_then(|room| parse_place(&room).ok());
    place.ok_or_else(|| NO_ROOM.to_owned())?.with_port(None)
}

/// The environment variable with the name to ask for at a terminal.
const NAME_VARIABLE: &str = "CHAT_NAME";

/// The user's login name (login(1), POSIX).
const LOGIN_VARIABLES: [&str; 2] = ["USER", "LOGNAME"];

/// A digit behind a name that is taken is at most this.
const MAX_DIGIT: u32 = 9;

/// Which name to ask for.
fn wish(asked: Option<String>, wants_none: bool) -> Wish {
    if let Some(name) = asked {
        return Wish::Asked(name);
    }
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let login = || {
        let login = LOGIN_VARIABLES.into_iter().find_map(variable)?;
        usual_name(&login)
    };
    let usual = match variable(NAME_VARIABLE) {
        _ if wants_none => None,
        Some(name) => Name::near(name.as_bytes()),
        None => login(),
    };
    usual.map_or(Wish::None, |name| {
        let spares = (2..=MAX_DIGIT).filter_map(|digit| name.numbered(digit));
        let spares = spares.map(|name| name.as_str().to_owned());
        Wish::Usual(name.as_str().to_owned(), spares.collect())
    })
}

/// What somebody who logs in so is called. Several people may be root.
fn usual_name(login: &str) -> Option<Name> {
    // A directory may add a domain: `HOME\alice`, `alice@home`.
    let login = login.rsplit('\\').next()?.split('@').next()?;
    Name::near(login.as_bytes()).filter(|_| login != "root")
}

impl ClientArgs {
    /// The configuration, or what is wrong with the arguments.
    pub(super) fn into_config(self) -> Result<Config, String> {
        let view = self.view.into_view();
        let is_at_prompt = is_at_prompt(view);
        if self.log.is_some() && !is_at_prompt {
            let words = "--log needs a prompt at a terminal; elsewhere, redirect standard output";
            return Err(words.to_owned());
        }
        let is_given = self.room.is_given();
        let (room, (host, port)) = match self.room.usual_address()? {
            Some(address) if is_given => (RoomBy::CommandLine, address),
            Some(address) => (RoomBy::Environment, address),
            None if is_at_prompt => (RoomBy::Memory, last_room()?),
            None => return Err(NO_ROOM.to_owned()),
        };
        Ok(Config {
            host,
            port,
            name: wish(self.name, self.no_name),
            password_file: self.password.password_file,
            #[cfg(not(feature = "tls"))]
            is_plain: self.password.plain,
            #[cfg(feature = "tls")]
            security: self.tls.into_security(),
            purpose: Purpose::Chat {
                view: View {
                    time: if self.no_time {
                        Times::Never
                    } else {
                        view.time
                    },
                    ..view
                },
                bell: self.bell,
                room,
                log: self.log,
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
            name: Wish::None,
            password_file: self.password.password_file,
            #[cfg(not(feature = "tls"))]
            is_plain: self.password.plain,
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
            time: match self.time {
                None => Times::Usual,
                Some(TimeFormat::HoursMinutes) => Times::Always(local_time::Format::HoursMinutes),
                Some(TimeFormat::HoursMinutesSeconds) => {
                    Times::Always(local_time::Format::HoursMinutesSeconds)
                }
            },
        }
    }
}

fn parse_lines(text: &str) -> Result<u32, String> {
    parse_number(text, 0..=1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_made_a_name() {
        for (login, name) in [
            ("alice", Some("alice")),
            ("HOME\\alice", Some("alice")),
            ("alice@home.lan", Some("alice")),
            ("anna maria", Some("anna_maria")),
            ("_apt", Some("apt")),
            ("root", None),
            ("operator", None),
            ("1000", None),
            ("", None),
        ] {
            let found = usual_name(login);
            assert_eq!(found.as_ref().map(Name::as_str), name, "{login}");
        }
    }
}
