//! What the user entered.

use crate::protocol::command::{self, Command};

/// How a line begins behind which a password stands, or one that was meant: `/pas`, `/password`.
/// Longest first.
const BEFORE_PASSWORD: [&str; 2] = ["/pass", "/pas"];

/// How much of `line` anybody may see, if it gives a password: the command.
fn command_bytes(line: &str) -> Option<usize> {
    let command = line.trim_start();
    let begins = |with: &&&str| {
        let word = command.get(..with.len());
        word.is_some_and(|word| word.eq_ignore_ascii_case(with))
    };
    let beginning = BEFORE_PASSWORD.iter().find(begins)?;
    Some(line.len() - command.len() + beginning.len())
}

/// Whether a line of `text` gives a password, or seems meant to.
pub(crate) fn has_password(text: &str) -> bool {
    text.lines().any(|line| command_bytes(line).is_some())
}

/// The `text` as anybody may see it: up to a password, if one is in it.
pub(crate) fn without_password(text: &str) -> &str {
    let mut shown = 0;
    for line in text.split_inclusive('\n') {
        if let Some(bytes) = command_bytes(line) {
            return &text[..shown + bytes];
        }
        shown += line.len();
    }
    text
}

/// The password that `line` gives.
pub(crate) fn password_of(line: &str) -> Option<&str> {
    let Ok(Command::Pass(password)) = command::parse(line.trim_start().as_bytes()) else {
        return None;
    };
    std::str::from_utf8(password).ok()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_seen_by_nobody() {
        for (text, shown, password) in [
            ("/pass green tea", "/pass", Some("green tea")),
            ("/PASS  x", "/PASS", Some("x")),
            (" \t/pass x", " \t/pass", Some("x")),
            ("/pass", "/pass", None),
            ("/pas x", "/pas", None),
            ("/password x", "/pass", None),
            ("/passé x", "/pass", None),
            ("/pasé x", "/pas", None),
        ] {
            assert_eq!(without_password(text), shown);
            assert!(has_password(text), "{text}");
            assert_eq!(password_of(text), password, "{text}");
        }
        assert_eq!(without_password("one\n/pass x\ntwo"), "one\n/pass");
        for text in ["", "//pass x", "I /pass x", "/part", "/pä"] {
            assert_eq!(without_password(text), text);
            assert!(!has_password(text), "{text}");
        }
    }
}
