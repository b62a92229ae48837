//! The chat client: standard input, the server's socket and standard output in one poll
//! loop, where none of the three holds up the others.
//!
//! `event_loop` moves bytes between two sides, `session` (the server's) and `user` (the
//! user's). What they mean is decided by code that knows no socket and no clock:
//! [`conversation`] holds the protocol, a [`frontend`] the display: the [`prompt`] on a
//! terminal, `pipes` everywhere else.

mod backoff;
pub mod config;
pub(crate) mod connect;
pub mod conversation;
mod echo;
mod ending;
mod event_loop;
pub mod frontend;
mod incoming;
mod line_splitter;
mod mention;
pub mod message;
mod outbox;
mod people;
mod pipes;
pub mod prompt;
mod session;
pub mod style;
pub mod terminal;
mod user;
mod wrap;

use std::env;

use rustix::stdio::stdout;
use rustix::termios::isatty;

pub use self::config::Config;
use self::config::{ColorChoice, Purpose, View};
use self::connect::resolve;
use self::event_loop::Client;
use self::frontend::Frontend;
use self::pipes::{Format, Pipes};
use self::prompt::layout::Size;
use self::prompt::{Look, Prompt};
use self::style::Palette;
use crate::error::Error;
use crate::platform::local_time::{self, Stamp};
use crate::platform::stdio::StandardInput;

/// The size of a terminal that does not report one.
const DEFAULT_SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// Joins a room and stays until standard input or the room ends, or the purpose of `config`
/// is served.
///
/// # Errors
///
/// When the server cannot be reached, refuses the client, goes away or does not take what
/// the client sent, and when standard input or output fails. A standard output that nobody
/// reads any more is no error.
pub fn run(config: &Config) -> Result<(), Error> {
    let addresses = resolve(&config.host, config.port)?;
    let (frontend, is_at_a_terminal) = frontend(config);
    let client = Client::new(config, addresses, frontend, is_at_a_terminal).map_err(Error::Poll)?;
    client.run()
}

/// The frontend for `config`, and whether it is the one for a person at a terminal.
fn frontend(config: &Config) -> (Box<dyn Frontend>, bool) {
    let (format, max_past) = match &config.purpose {
        Purpose::Chat { view, bell, .. } if !view.is_json && is_at_a_terminal() => {
            let look = Look {
                palette: palette(view.color),
                stamp: view.time.map(Stamp::local),
                bell: *bell,
            };
            return (Box::new(Prompt::new(look, size())), true);
        }
        Purpose::Chat { view, .. } => (format(*view), None),
        Purpose::Tail { view, max_past } => (format(*view), *max_past),
        Purpose::Send { .. } => (Format::Nothing, None),
    };
    (Box::new(Pipes::new(format, max_past)), false)
}

fn format(view: View) -> Format {
    if view.is_json {
        return Format::Json(Stamp::local(local_time::Format::Rfc3339));
    }
    let text = Format::text(palette(view.color), view.time.map(Stamp::local));
    if isatty(stdout()) {
        text.at_terminal(size().columns, is_output_capable())
    } else {
        text
    }
}

fn size() -> Size {
    terminal::size().map_or(DEFAULT_SIZE, |(columns, rows)| Size { columns, rows })
}

fn palette(choice: ColorChoice) -> Palette {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_colored = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => is_output_capable() && !is_set("NO_COLOR"),
    };
    Palette { is_colored }
}

/// Whether a person types at, and reads from, a terminal with cursor control.
fn is_at_a_terminal() -> bool {
    StandardInput::new().is_terminal() && is_output_capable()
}

/// Whether standard output is a terminal that obeys control sequences.
fn is_output_capable() -> bool {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    isatty(stdout()) && !is_dumb
}
