//! The configuration of a client: what the command line tells it to do.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

#[cfg(feature = "tls")]
use super::known_rooms::Security;
pub use crate::frontend::Bell;
use crate::platform::local_time;

/// No room remembers more.
pub(super) const ALL_PAST_LINES: u64 = 10_000;

/// Why a password is not sent.
pub(crate) const PASSWORD_IN_CLEAR: &str = if cfg!(feature = "tls") {
    "it has a password, which others on the network could read: give --tls and the server's port \
     for TLS, if it has one, or --plain if they may"
} else {
    "it has a password, which others on the network could read: give --plain if they may"
};

/// What to join, and what for.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's name or IP address.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) name: Wish,
    /// A file with the room's password.
    pub(crate) password_file: Option<PathBuf>,
    /// Whether a password may be sent in clear, where others can read it.
    #[cfg(not(feature = "tls"))]
    pub(crate) is_plain: bool,
    #[cfg(feature = "tls")]
    pub(crate) security: Security,
    pub(crate) purpose: Purpose,
}

/// Which name to ask for.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    None,
    /// The user asks for this one.
    Asked(String),
    /// The user has it elsewhere. At a terminal it will do, or one of these; else it is none.
    Usual(String, Vec<String>),
}

/// Which of its three commands runs the client.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// `chat client`: sends what is typed and shows what others say.
    Chat {
        view: View,
        bell: Bell,
        room: RoomBy,
        /// Where to append what a prompt shows.
        log: Option<PathBuf>,
        /// Whether a lost connection is made again. By default only at a terminal.
        reconnects: Option<bool>,
    },
    /// `chat send`: sends a text and ends once the room has taken it.
    Send {
        /// `None` to send standard input.
        text: Option<String>,
        /// How long the room may take to go on.
        timeout: Duration,
    },
    /// `chat tail`: shows what others say.
    Tail {
        view: View,
        /// How many lines of the room's history to show; `None` for all.
        max_past: Option<usize>,
        /// Whether a lost connection is made again.
        reconnects: bool,
    },
}

/// Who has said where the room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomBy {
    CommandLine,
    Environment,
    /// It was joined last.
    Memory,
}

/// How messages are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// As JSON Lines.
    pub(crate) is_json: bool,
    pub(crate) color: ColorChoice,
    pub(crate) time: Times,
}

/// Which time to show before each line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Times {
    /// Hours and minutes at a prompt, none elsewhere.
    Usual,
    Never,
    Always(local_time::Format),
}

impl View {
    /// The format of the time before each line; `None` for no time.
    pub(crate) fn time_format(&self, is_at_prompt: bool) -> Option<local_time::Format> {
        match self.time {
            Times::Always(format) => Some(format),
            Times::Usual if is_at_prompt => Some(local_time::Format::HoursMinutes),
            Times::Usual | Times::Never => None,
        }
    }
}

/// Whether to use colours. `NO_COLOR`: no-color.org.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ColorChoice {
    /// At a terminal, unless the variable NO_COLOR is set
    Auto,
    Always,
    Never,
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
            Purpose::Chat { .. } | Purpose::Send { text: None, .. }
        )
    }

    /// Whether a password may be sent in clear, where others can read it.
    pub(crate) fn is_plain(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.security.is_plain;
        #[cfg(not(feature = "tls"))]
        self.is_plain
    }

    /// Where the room is, as people write it.
    pub(crate) fn place(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// Where to append what a prompt shows.
    pub(crate) fn log(&self) -> Option<&PathBuf> {
        match &self.purpose {
            Purpose::Chat { log, .. } => log.as_ref(),
            Purpose::Tail { .. } | Purpose::Send { .. } => None,
        }
    }

    /// The text to send instead of standard input.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.purpose {
            Purpose::Send { text, .. } => text.as_deref(),
            Purpose::Chat { .. } | Purpose::Tail { .. } => None,
        }
    }

    /// Whether a lost connection is made again.
    pub(crate) fn reconnects(&self, is_for_person: bool) -> bool {
        match self.purpose {
            Purpose::Chat { reconnects, .. } => reconnects.unwrap_or(is_for_person),
            Purpose::Tail { reconnects, .. } => reconnects,
            Purpose::Send { .. } => false,
        }
    }

    /// Whether what is heard is shown as JSON.
    pub(crate) fn is_json(&self) -> bool {
        match &self.purpose {
            Purpose::Chat { view, .. } | Purpose::Tail { view, .. } => view.is_json,
            Purpose::Send { .. } => false,
        }
    }

    /// Whether the time stands before each line at a prompt.
    pub(crate) fn shows_time_at_prompt(&self) -> bool {
        match &self.purpose {
            Purpose::Chat { view, .. } => view.time_format(true).is_some(),
            Purpose::Tail { .. } | Purpose::Send { .. } => false,
        }
    }

    /// How many lines of the room's past to ask for; `None` to take what it greets with.
    pub(crate) fn past_lines(&self) -> Option<u64> {
        let max_past = match self.purpose {
            Purpose::Tail { max_past, .. } => max_past,
            Purpose::Chat { .. } | Purpose::Send { .. } => None,
        };
        let all = self.is_json().then_some(ALL_PAST_LINES);
        max_past.map(|lines| lines as u64).or(all)
    }

    /// How long the room may take to go on, if that is bounded.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        match self.purpose {
            Purpose::Send { timeout, .. } => Some(timeout),
            Purpose::Chat { .. } | Purpose::Tail { .. } => None,
        }
    }
}
