//! What the user entered, and its echo above the prompt.

use super::style::{OWN_NAME, Palette};
use crate::protocol::command::{self, Command};
use crate::protocol::text::{LEFT_TO_RIGHT_MARK, has_right_to_left, made_safe};

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
            Ok(Command::Nick(_) | Command::Who | Command::Help) => Self::Command,
            Err(_) => Self::BadCommand(line),
        }
    }

    pub(crate) fn is_quit(self) -> bool {
        self == Self::Quit
    }

    /// Whether everyone in the room gets to see it.
    pub(crate) fn is_public(self) -> bool {
        matches!(self, Self::Said(_) | Self::Action(_))
    }

    /// Whether anyone else gets to see it.
    pub(crate) fn reaches_others(self) -> bool {
        self.is_public() || matches!(self, Self::Private { .. })
    }

    /// The line to show; `None` where the room's answer says enough.
    pub(crate) fn echo(self, palette: Palette) -> Option<String> {
        let bold = palette.bold();
        let line = |before: String, text: &str| {
            let text = made_safe(text.as_bytes());
            let mark = if has_right_to_left(&text) {
                LEFT_TO_RIGHT_MARK
            } else {
                ""
            };
            Some(format!("{bold}{before}{bold:#} {mark}{text}"))
        };
        match self {
            Self::Said(text) => line(format!("<{OWN_NAME}>"), text),
            Self::Action(text) => line(format!("* {OWN_NAME}"), text),
            Self::Private { to, text } => line(format!("[{OWN_NAME} to {to}]"), text),
            Self::BadCommand(text) => {
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
    fn lines_are_echoed_as_others_see_them() {
        let plain = Palette { is_colored: false };
        for (line, shown) in [
            ("hi there", Some("<You> hi there")),
            ("//usr/bin", Some("<You> /usr/bin")),
            (" /who", Some("<You>  /who")),
            ("a\t\t\t\t\tb", Some("<You> a\t\t\t\t…b")),
            ("שלום", Some("<You> \u{200e}שלום")),
            ("/me waves", Some("* You waves")),
            ("/MSG bob: psst", Some("[You to bob] psst")),
            ("/who", None),
            ("/nick bob", None),
            ("/quit", None),
            ("/dance", Some("/dance")),
            ("/msg bob", Some("/msg bob")),
        ] {
            let entered = Entered::of(line, true);
            assert_eq!(entered.echo(plain).as_deref(), shown, "{line}");
            assert_eq!(entered.is_quit(), line == "/quit");
        }
    }

    #[test]
    fn without_commands_everything_is_said() {
        let plain = Palette { is_colored: false };
        for line in ["/who", "//x", "/quit"] {
            let entered = Entered::of(line, false);
            assert_eq!(entered.echo(plain), Some(format!("<You> {line}")));
        }
    }
}
