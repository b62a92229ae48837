//! Which frontend shows a conversation, and how: what the options say, and what standard
//! input and output are.

use rustix::stdio::stdout;
use rustix::termios::isatty;

use super::config::{ColorChoice, Config, Purpose, RoomBy, View};
use super::memory::Memory;
use super::pipes::{Format, Pipes};
use crate::frontend::prompt::layout::Size;
use crate::frontend::prompt::{Look, Prompt};
use crate::frontend::style::Palette;
use crate::frontend::terminal;
use crate::frontend::{Frontend, Moment};
use crate::platform::local_time::{self, Stamp};
use crate::platform::stdio::terminal_size;

/// The frontend for `config`, which does not only send, and whether it is the one for a person
/// at a terminal.
pub(crate) fn frontend(config: &Config) -> (Box<dyn Frontend>, bool) {
    let view = match config.purpose {
        Purpose::Chat {
            view, bell, room, ..
        } if is_at_prompt(view) => {
            let look = Look {
                palette: palette(view.color),
                stamp: view.time_format(true).map(Stamp::local),
                bell,
            };
            let mut prompt = Prompt::new(look, size());
            prompt.remember(Memory::of_user().inputs());
            if config.log().is_some() {
                prompt.keep_log();
            }
            let by = match room {
                RoomBy::CommandLine => None,
                RoomBy::Environment => Some("from CHAT_ROOM"),
                RoomBy::Memory => Some("the room you were in last"),
            };
            if let Some(by) = by {
                let words = format!("joining {} ({by})", config.place());
                prompt.notify(&words, false, Moment::now());
            }
            return (Box::new(prompt), true);
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
    let text = Format::text(
        palette(view.color),
        view.time_format(false).map(Stamp::local),
    );
    if isatty(stdout()) {
        text.at_terminal(size().columns, terminal::is_capable())
    } else {
        text
    }
}

fn size() -> Size {
    terminal_size().map_or_else(Size::default, |(columns, rows)| Size { columns, rows })
}

fn palette(choice: ColorChoice) -> Palette {
    let is_colored = match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal::is_colored(),
    };
    Palette { is_colored }
}

/// Whether what is shown so is shown at a prompt.
pub(crate) fn is_at_prompt(view: View) -> bool {
    !view.is_json && terminal::is_for_person()
}
