//! The configuration of a client: what the command line tells it to do.

use clap::ValueEnum;

use crate::platform::local_time;

/// What to join, and what for.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name or IP address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The name to ask for.
    pub(crate) name: Option<String>,
    pub(crate) purpose: Purpose,
}

/// Which of its three commands runs the client.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// `chat client`: sends what is typed and shows what others say.
    Chat {
        view: View,
        bell: Bell,
        /// Whether a lost connection is made again, at a terminal.
        reconnects: bool,
    },
    /// `chat send`: sends a text and ends once the room has taken it.
    Send {
        /// `None` to send standard input.
        text: Option<String>,
    },
    /// `chat tail`: shows what others say.
    Tail {
        view: View,
        /// How many lines of the room's history to show; `None` for all.
        max_past: Option<usize>,
    },
}

/// How messages are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// As JSON Lines.
    pub(crate) is_json: bool,
    pub(crate) color: ColorChoice,
    /// The format of the time before each line; `None` for no time.
    pub(crate) time: Option<local_time::Format>,
}

/// Whether to use colours. `NO_COLOR`: no-color.org.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ColorChoice {
    /// At a terminal, unless the variable NO_COLOR is set
    Auto,
    Always,
    Never,
}

/// When to ring the terminal's bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bell {
    /// Not at all
    Never,
    /// When a message mentions your name or is private
    Mention,
    /// For every message
    All,
}

impl Config {
    /// Whether the client shows nothing and ends once the room has taken what it sent.
    pub(crate) fn sends_only(&self) -> bool {
        matches!(self.purpose, Purpose::Send { .. })
    }

    /// Whether standard input is sent.
    pub(crate) fn reads_input(&self) -> bool {
        matches!(
            self.purpose,
            Purpose::Chat { .. } | Purpose::Send { text: None }
        )
    }

    /// The text to send instead of standard input.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.purpose {
            Purpose::Send { text } => text.as_deref(),
            Purpose::Chat { .. } | Purpose::Tail { .. } => None,
        }
    }

    /// Whether a connection that a person has lost is made again.
    pub(crate) fn reconnects(&self) -> bool {
        matches!(
            self.purpose,
            Purpose::Chat {
                reconnects: true,
                ..
            }
        )
    }
}
