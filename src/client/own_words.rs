//! What one has entered oneself, and what it looks like above the prompt.

use super::style::{OWN_NAME, Palette};
use crate::room::command::{self, Command};
use crate::text::{LEFT_TO_RIGHT_MARK, has_right_to_left};

/// A line that was entered, as the room will take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnWords<'a> {
    /// Said to everybody.
    Said(&'a str),
    /// Done: `/me`.
    Done(&'a str),
    /// Said to one alone: `/msg`.
    Told {
        /// To whom.
        to: &'a str,
        /// What.
        text: &'a str,
    },
    /// It asks to be let go.
    Quit,
    /// A command that the room will answer.
    Command,
    /// A command that the room will refuse, as there is none such.
    NoCommand(&'a str),
}

impl<'a> OwnWords<'a> {
    /// What `line` is to a room, which may know commands or not.
    pub fn of(line: &'a str, knows_commands: bool) -> Self {
        if !knows_commands || !line.starts_with('/') {
            return Self::Said(line);
        }
        if line.starts_with("//") {
            return Self::Said(&line[1..]);
        }
        let text = |part: &'a [u8]| std::str::from_utf8(part).unwrap_or(line);
        match command::parse(line.as_bytes()) {
            Ok(Command::Me(action)) => Self::Done(text(action)),
            Ok(Command::Message { to, text: words }) => Self::Told {
                to: text(to),
                text: text(words),
            },
            Ok(Command::Quit) => Self::Quit,
            Ok(Command::Nick(_) | Command::Who | Command::Help) => Self::Command,
            Err(_) => Self::NoCommand(line),
        }
    }

    /// Whether it asks to be let go.
    pub fn is_quit(self) -> bool {
        self == Self::Quit
    }

    /// Whether everybody gets to see it.
    pub fn is_for_everybody(self) -> bool {
        matches!(self, Self::Said(_) | Self::Done(_))
    }

    /// What it looks like; `None` if the answer will tell enough.
    pub fn shown(self, palette: Palette) -> Option<String> {
        let bold = palette.bold();
        let line = |before: String, text: &str| {
            let mark = match has_right_to_left(text) {
                true => LEFT_TO_RIGHT_MARK,
                false => "",
            };
            Some(format!("{bold}{before}{bold:#} {mark}{text}"))
        };
        match self {
            Self::Said(text) => line(format!("<{OWN_NAME}>"), text),
            Self::Done(text) => line(format!("* {OWN_NAME}"), text),
            Self::Told { to, text } => line(format!("[{OWN_NAME} to {to}]"), text),
            Self::NoCommand(text) => {
                let dim = palette.dim();
                Some(format!("{dim}{text}{dim:#}"))
            }
            Self::Command | Self::Quit => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_says_is_shown_as_others_would_see_it() {
        let plain = Palette { is_colored: false };
        for (line, shown) in [
            ("hi there", Some("<You> hi there")),
            ("//usr/bin", Some("<You> /usr/bin")),
            (" /who", Some("<You>  /who")),
            ("שלום", Some("<You> \u{200e}שלום")),
            ("/me waves", Some("* You waves")),
            ("/MSG bob: psst", Some("[You to bob] psst")),
            ("/who", None),
            ("/nick bob", None),
            ("/quit", None),
            ("/dance", Some("/dance")),
            ("/msg bob", Some("/msg bob")),
        ] {
            let words = OwnWords::of(line, true);
            assert_eq!(words.shown(plain).as_deref(), shown, "{line}");
            assert_eq!(words.is_quit(), line == "/quit");
        }
    }

    #[test]
    fn where_there_are_no_commands_everything_is_said() {
        let plain = Palette { is_colored: false };
        for line in ["/who", "//x", "/quit"] {
            let words = OwnWords::of(line, false);
            assert_eq!(words.shown(plain), Some(format!("<You> {line}")));
        }
    }
}
