//! The arguments of `chat client`, and of the two that do half of what it does: `chat
//! send` and `chat tail`.

use clap::{Args, ValueEnum};

use super::values::{parse_host, parse_number, parse_port_to_connect};
use crate::client::config::{Bell, ColorChoice, Config, Purpose, View};
use crate::name::Name;
use crate::stamp;

/// Join a room
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat client 192.168.1.5 8081
      type, and read; Ctrl-D or /quit leaves
  chat client 192.168.1.5 8081 --name alice --time HH:MM
      be called alice, and see when things are said
  tail -f backup.log | chat client 192.168.1.5 8081
      say each line of it

In the room, /help tells what else you can do: take a name, say something to one
person alone, see who is here.

At a terminal you get a line to type in that stays whole whatever arrives:
  Tab             completes a name or a command; again: the next that fits
  Up, Down        what you said before; Ctrl-R finds it by a part of it
  Ctrl-A, Ctrl-E  to the beginning, to the end; Alt-B, Alt-F go by words
  Ctrl-W, Ctrl-U, Ctrl-K, Ctrl-Y
                  cut a word, all before, all after; put in what was cut
  Alt-Enter       another line before you send them all
  Ctrl-D          leaves, if nothing is typed; Ctrl-C leaves at once
What you paste is sent when you press Enter; Ctrl-U drops it.

In a pipe, each line of standard input is said; what others say goes to standard
output. When the input ends, the client delivers everything, and ends. See also
chat send and chat tail.

Exit codes: 0 you left, or the input has ended and all was sent, or nobody reads
the output any more; 1 failure; 2 wrong usage; 3 cannot connect; 4 the server
closed the connection or it was lost; 5 not let in. Ctrl-C ends the client as
that signal does (130 in a shell).")]
pub(super) struct ClientArgs {
    #[command(flatten)]
    room: RoomArgs,

    /// The name to ask for; after a lost connection it is the one you had last
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,

    #[command(flatten)]
    view: ViewArgs,

    /// When to ring the terminal's bell: mention means when somebody says your name,
    /// or something to you alone
    #[arg(long, value_name = "WHEN", default_value = "mention")]
    bell: BellArg,

    /// At a terminal: end when the connection is lost, in place of trying again
    #[arg(long)]
    no_reconnect: bool,
}

/// Say something in a room, and leave
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat send 192.168.1.5 8081 the backup is done
  df -h / | chat send 192.168.1.5 8081 --name disk
  chat send 192.168.1.5 8081 /msg alice the backup is done

Nothing is shown. It ends when the room has taken everything, and with --name it
says nothing unless it gets that name. What begins with a slash is a command, as
it is for everybody, and // stands for a slash. A word that begins with - is an
option unless -- comes before: chat send 192.168.1.5 8081 -- -v is broken

Exit codes: 0 all was taken; 1 failure; 2 wrong usage; 3 cannot connect; 4 the
connection was lost, or what answers does not greet as a chat room; 5 not let
in, or the room did not take what was said, or did not give the name; the reason
is on standard error.")]
pub(super) struct SendArgs {
    #[command(flatten)]
    room: RoomArgs,

    /// The name to say it by
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    name: Option<String>,

    /// What to say [default: each line of standard input]
    #[arg(value_name = "TEXT", allow_negative_numbers = true, value_parser = parse_text)]
    text: Vec<String>,
}

/// Listen in a room, and say nothing
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  chat tail 192.168.1.5 8081
  chat tail 192.168.1.5 8081 --lines 0 | grep --line-buffered coffee
  chat tail 192.168.1.5 8081 --json | jq -r 'select(.kind == \"message\").text'

With --json, each line is an object with four members: kind is welcome, message,
action (/me), private (/msg), notice, refusal, continuation (the rest of a line
that came in parts), or other for a server of another kind; name is that of who
says it, or null; text is what is said; time is when it was heard, as in RFC
3339. What was said before has no time, null, and a fifth member: \"past\": true.
chat client --json has one more kind, own: what it says itself.

It listens until the room ends, or until nobody reads its output any more.

Exit codes: 0 nobody reads its output any more; 1 failure; 2 wrong usage;
3 cannot connect; 4 the server closed the connection or it was lost; 5 not let
in.")]
pub(super) struct TailArgs {
    #[command(flatten)]
    room: RoomArgs,

    /// How many of the last lines that the room remembers to show first
    /// [default: all of them]
    #[arg(short = 'n', long, value_name = "N")]
    #[arg(allow_negative_numbers = true, value_parser = parse_lines)]
    lines: Option<u32>,

    #[command(flatten)]
    view: ViewArgs,
}

/// Where the room is.
#[derive(Args, Debug)]
struct RoomArgs {
    /// The server's IP address or name
    #[arg(value_name = "HOST", value_parser = parse_host)]
    host: String,

    /// The server's port
    #[arg(value_name = "PORT", value_parser = parse_port_to_connect)]
    port: u16,
}

/// How things are shown.
#[derive(Args, Debug)]
struct ViewArgs {
    /// Show the local time before each line
    #[arg(long, value_name = "FORMAT")]
    time: Option<TimeFormat>,

    /// Show names in colours: auto means at a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorArg,

    /// Show each line as a JSON object, for programs
    #[arg(long, conflicts_with = "time")]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColorArg {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BellArg {
    Never,
    Mention,
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TimeFormat {
    #[value(name = "HH:MM")]
    HoursMinutes,
    #[value(name = "HH:MM:SS")]
    HoursMinutesSeconds,
}

impl ClientArgs {
    pub(super) fn into_config(self) -> Config {
        Config {
            host: self.room.host,
            port: self.room.port,
            name: self.name,
            purpose: Purpose::Chat {
                view: self.view.into_view(),
                bell: match self.bell {
                    BellArg::Never => Bell::Never,
                    BellArg::Mention => Bell::Mention,
                    BellArg::All => Bell::All,
                },
                reconnects: !self.no_reconnect,
            },
        }
    }
}

impl SendArgs {
    pub(super) fn into_config(self) -> Config {
        Config {
            host: self.room.host,
            port: self.room.port,
            name: self.name,
            purpose: Purpose::Send {
                text: (!self.text.is_empty()).then(|| self.text.join(" ")),
            },
        }
    }
}

impl TailArgs {
    pub(super) fn into_config(self) -> Config {
        Config {
            host: self.room.host,
            port: self.room.port,
            name: None,
            purpose: Purpose::Tail {
                view: self.view.into_view(),
                max_past: self.lines.map(|lines| lines as usize),
            },
        }
    }
}

impl ViewArgs {
    fn into_view(self) -> View {
        View {
            is_json: self.json,
            color: match self.color {
                ColorArg::Auto => ColorChoice::Auto,
                ColorArg::Always => ColorChoice::Always,
                ColorArg::Never => ColorChoice::Never,
            },
            time: self.time.map(|format| match format {
                TimeFormat::HoursMinutes => stamp::Format::HoursMinutes,
                TimeFormat::HoursMinutesSeconds => stamp::Format::HoursMinutesSeconds,
            }),
        }
    }
}

fn parse_name(text: &str) -> Result<String, String> {
    match Name::parse(text.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

fn parse_text(text: &str) -> Result<String, &'static str> {
    match text {
        "" => Err("there is nothing to say in it"),
        text => Ok(text.to_owned()),
    }
}

fn parse_lines(text: &str) -> Result<u32, String> {
    parse_number(text, 0..=1_000_000)
}
