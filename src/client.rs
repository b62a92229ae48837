//! The client: standard input, the server's socket and standard output in one
//! poll loop, none of which can hold up the others.
//!
//! The [loop](event_loop) moves bytes. What they mean is decided without it: the
//! [conversation] knows the room's side, a [frontend] the user's: the [prompt] on a terminal,
//! the [plain] one everywhere else.

pub mod connect;
pub mod conversation;
pub mod ending;
pub mod event_loop;
pub mod frontend;
pub mod incoming;
pub mod line_splitter;
pub mod mention;
pub mod message;
pub mod name_colors;
pub mod outbox;
pub mod own_words;
pub mod pauses;
pub mod people;
pub mod plain;
pub mod prompt;
pub mod session;
pub mod style;
pub mod terminal;
pub mod user;

use std::env;

use rustix::stdio::stdout;
use rustix::termios::isatty;

use self::connect::resolve;
use self::event_loop::Client;
use self::frontend::Frontend;
use self::plain::{Format, Plain};
use self::prompt::layout::Size;
use self::prompt::{Bell, Look, Prompt};
use self::style::Palette;
use crate::error::Error;
use crate::stamp::{self, Stamp};
use crate::standard_io::StandardInput;

/// What a terminal that does not tell its size is taken to have.
const USUAL_SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// What a client is told to do.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name or IP address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The name to ask for.
    pub name: Option<String>,
    /// What to do there.
    pub purpose: Purpose,
}

/// What a client is for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To say what is typed, and to show what others say.
    Chat {
        /// How.
        view: View,
        /// When the terminal's bell is rung, if there is one.
        bell: Bell,
        /// Whether a connection that a person has lost is made again.
        reconnects: bool,
    },
    /// To say one thing.
    Send {
        /// It; `None` for what standard input has.
        text: Option<String>,
    },
    /// To show what others say.
    Tail {
        /// How.
        view: View,
        /// How many of the lines that the room remembers are shown; `None` for all.
        max_past: Option<usize>,
    },
}

/// How what is said is shown.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// As JSON, one object a line.
    pub is_json: bool,
    /// Whether there are colours.
    pub color: ColorChoice,
    /// How the time is written before each line, if it is.
    pub time: Option<stamp::Format>,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal, unless the variable `NO_COLOR` is set (no-color.org).
    #[default]
    Auto,
    /// Anyway.
    Always,
    /// Not at all.
    Never,
}

/// Joins a room, and stays until standard input or the room ends, or the purpose of
/// `config` is served.
///
/// # Errors
///
/// When the server cannot be reached, does not let us in or goes away, when it does not
/// take what was to be said, and when standard input or output fails. A standard output
/// that nobody reads any more is no error.
pub fn run(config: &Config) -> Result<(), Error> {
    let addresses = resolve(&config.host, config.port)?;
    let client = Client::new(config, addresses).map_err(Error::Poll)?;
    client.run()
}

/// The frontend for `config`, and whether it is the one for a person at a terminal.
fn frontend(config: &Config) -> (Box<dyn Frontend>, bool) {
    match &config.purpose {
        Purpose::Chat { view, bell, .. } if !view.is_json && is_at_a_terminal() => {
            let look = Look {
                palette: palette(view.color),
                stamp: view.time.map(Stamp::local),
                bell: *bell,
            };
            let size =
                terminal::size().map_or(USUAL_SIZE, |(columns, rows)| Size { columns, rows });
            let prompt = Prompt::new(look, size);
            (Box::new(prompt), true)
        }
        Purpose::Chat { view, .. } => (Box::new(Plain::new(format(*view), None)), false),
        Purpose::Tail { view, max_past } => (Box::new(Plain::new(format(*view), *max_past)), false),
        Purpose::Send { .. } => (Box::new(Plain::new(Format::Nothing, None)), false),
    }
}

/// Where what is to be said comes from.
enum Input {
    /// From standard input.
    Standard,
    /// It is this.
    Text(String),
    /// From nowhere: nothing is said.
    None,
}

fn input(config: &Config) -> Input {
    match &config.purpose {
        Purpose::Chat { .. } | Purpose::Send { text: None } => Input::Standard,
        Purpose::Send { text: Some(text) } => Input::Text(format!("{text}\n")),
        Purpose::Tail { .. } => Input::None,
    }
}

fn format(view: View) -> Format {
    match view.is_json {
        true => Format::Json(Stamp::local(stamp::Format::Rfc3339)),
        false => Format::text(palette(view.color), view.time.map(Stamp::local)),
    }
}

fn palette(choice: ColorChoice) -> Palette {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_colored = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_terminal_that_obeys() && !is_set("NO_COLOR"),
    };
    Palette { is_colored }
}

/// Whether somebody types and looks at a terminal that moves its cursor as it is told.
fn is_at_a_terminal() -> bool {
    StandardInput::new().is_terminal() && is_terminal_that_obeys()
}

fn is_terminal_that_obeys() -> bool {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    isatty(stdout()) && !is_dumb
}

impl Config {
    /// Whether nothing is heard, but that what is said was taken.
    fn sends_only(&self) -> bool {
        matches!(self.purpose, Purpose::Send { .. })
    }

    /// Whether a connection that a person has lost is made again.
    fn reconnects(&self) -> bool {
        matches!(
            self.purpose,
            Purpose::Chat {
                reconnects: true,
                ..
            }
        )
    }
}
