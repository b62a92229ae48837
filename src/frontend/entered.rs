//! What the user entered.

use crate::protocol::command::{self, Command};

/// A line that was entered, as the room will take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered<'a> {
    /// Said to everyone.
    Said(&'a str),
    /// `/me`.
    Action(&'a str),
    /// `/msg`.
    Private {
        to: &'a str,
        text: &'a str,
    },
    Quit,
    /// A command that the room will answer.
    Command,
    /// A command that the room will refuse.
    BadCommand(&'a str),
}

impl<'a> Entered<'a> {
    /// What `line` is to a room that may have commands or not.
    pub(crate) fn of(line: &'a str, has_commands: bool) -> Self {
        if !has_commands || !line.starts_with('/') {
            return Self::Said(line);
        }
        if line.starts_with("//") {
            return Self::Said(&line[1..]);
        }
        let text = |part: &'a [u8]| std::str::from_utf8(part).unwrap_or(line);
        match command::parse(line.as_bytes()) {
            Ok(Command::Me(action)) => Self::Action(text(action)),
            Ok(Command::Message { to, text: words }) => Self::Private {
                to: text(to),
                text: text(words),
            },
            Ok(Command::Quit) => Self::Quit,
            Ok(_) => Self::Command,
            Err(_) => Self::BadCommand(line),
        }
    }

    pub(crate) fn is_quit(self) -> bool {
        self == Self::Quit
    }

    /// Whether the room alone can carry it out, and nobody waits for it.
    pub(crate) fn is_for_room(self) -> bool {
        self == Self::Command
    }

    /// Whether everyone in the room gets to see it.
    pub(crate) fn is_public(self) -> bool {
        matches!(self, Self::Said(_) | Self::Action(_))
    }

    /// Whether anyone else gets to see it.
    pub(crate) fn reaches_others(self) -> bool {
        self.is_public() || matches!(self, Self::Private { .. })
    }
}
