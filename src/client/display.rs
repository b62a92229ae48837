//! Which frontend shows a conversation, and how: what the options say, and what standard
//! input and output are.

use std::env;

use rustix::stdio::stdout;
use rustix::termios::isatty;

use super::config::{ColorChoice, Config, Purpose, View};
use super::frontend::Frontend;
use super::pipes::{Format, Pipes};
use super::prompt::layout::Size;
use super::prompt::{Look, Prompt};
use super::style::Palette;
use crate::platform::local_time::{self, Stamp};
use crate::platform::stdio::{StandardInput, terminal_size};

/// The size of a terminal that does not report one.
const DEFAULT_SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// The frontend for `config`, which does not only send, and whether it is the one for a person
/// at a terminal.
pub(crate) fn frontend(config: &Config) -> (Box<dyn Frontend>, bool) {
    let view = match config.purpose {
        Purpose::Chat { view, bell, .. } if !view.is_json && is_at_a_terminal() => {
            let look = Look {
                palette: palette(view.color),
                stamp: view.time.map(Stamp::local),
                bell,
            };
            return (Box::new(Prompt::new(look, size())), true);
        }
        Purpose::Chat { view, .. } | Purpose::Tail { view, .. } => view,
        Purpose::Send { .. } => unreachable!("a client that only sends shows nothing"),
    };
    let asks_for_past = config.past_lines().is_some();
    (Box::new(Pipes::new(format(view), asks_for_past)), false)
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
    terminal_size().map_or(DEFAULT_SIZE, |(columns, rows)| Size { columns, rows })
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
