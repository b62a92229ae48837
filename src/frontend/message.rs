//! The kinds of lines from the server: who says what.
//!
//! The first characters of a line tell its kind. A server of our kind lets no client forge
//! another; for any other server's lines this is only what they look like.

use std::time::SystemTime;

use crate::protocol::event::{ByeCode, Event};
use crate::protocol::text::LEFT_TO_RIGHT_MARK;
use crate::protocol::wording::{NOTICE_PREFIX, REFUSAL_PREFIX};

/// Marks the rest of a line whose beginning was shown before.
pub(crate) const CONTINUATION_MARK: &str = "… ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The greeting.
    Welcome,
    /// Said to everyone.
    Message,
    /// `/me`.
    Action,
    /// `/msg`, to us.
    Private,
    /// From the server.
    Notice,
    /// From the server: what was not done, and why.
    Refusal,
    /// The rest of a line that was shown before its end came.
    Continuation,
    /// From a server of another kind.
    Other,
    /// Not from the server: what the user has entered, and the room has dealt with.
    Entered,
}

impl Kind {
    /// Its name in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Message => "message",
            Self::Action => "action",
            Self::Private => "private",
            Self::Notice => "notice",
            Self::Refusal => "refusal",
            Self::Continuation => "continuation",
            Self::Other => "other",
            Self::Entered => "own",
        }
    }
}

/// A line from the server. All of it is safe to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub(crate) kind: Kind,
    /// The name or address of the person who says it.
    pub(crate) name: Option<&'a str>,
    /// The line without kind and name.
    pub(crate) text: &'a str,
    /// The line as it came.
    pub(crate) line: &'a str,
    /// Whether it was said before we came.
    pub(crate) is_past: bool,
    /// When it was said, if that was not just now, and the room tells.
    pub(crate) time: Option<SystemTime>,
    /// What a program is told, if the room tells programs.
    pub(crate) told: Option<Told<'a>>,
}

/// An object from the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    /// As it came, without what is secret.
    pub(crate) json: &'a str,
    /// What it says, if we know its kind.
    pub(crate) event: Option<&'a Event<'static>>,
    /// We have said it ourselves, or it lets us go.
    pub(crate) is_own: bool,
}

impl<'a> Message<'a> {
    /// Parses `line`, which is safe to show and has no line end.
    pub(crate) fn parse(line: &'a str) -> Self {
        let (kind, name, text) = parse(line);
        Self {
            kind,
            name,
            text,
            ..Self::other(line)
        }
    }

    /// A line of no known kind.
    pub(crate) fn other(line: &'a str) -> Self {
        Self {
            kind: Kind::Other,
            name: None,
            text: line,
            line,
            is_past: false,
            time: None,
            told: None,
        }
    }

    /// What the user has entered.
    pub(crate) fn entered(line: &'a str) -> Self {
        Self {
            kind: Kind::Entered,
            ..Self::other(line)
        }
    }

    /// The time to show with it: of what was said before we came, when it was said, if known.
    pub(crate) fn time_shown(&self, now: SystemTime) -> Option<SystemTime> {
        self.time.or((!self.is_past).then_some(now))
    }

    /// Whether people are shown it.
    pub(crate) fn is_for_people(&self) -> bool {
        self.told.is_none_or(|told| match told.event {
            None | Some(Event::Hello(_) | Event::Wait) => false,
            // Everybody was told before.
            Some(Event::Bye(bye)) => !told.is_own && bye.code != ByeCode::Closing,
            Some(_) => true,
        })
    }

    /// Each line of it: the answer to a command may have several.
    pub(crate) fn lines(self) -> impl Iterator<Item = Self> {
        self.line.split('\n').map(move |line| Self { line, ..self })
    }
}

fn parse(line: &str) -> (Kind, Option<&str>, &str) {
    let speech = match line.as_bytes().first() {
        Some(b'<') => parse_speech(line, "<", "> ").map(|parts| (Kind::Message, parts)),
        Some(b'*') => parse_speech(line, "* ", " ").map(|parts| (Kind::Action, parts)),
        Some(b'[') => parse_speech(line, "[", "] ").map(|parts| (Kind::Private, parts)),
        _ => None,
    };
    if let Some((kind, (name, text))) = speech {
        return (kind, Some(name), text);
    }
    for (kind, prefix) in [
        (Kind::Notice, NOTICE_PREFIX),
        (Kind::Refusal, REFUSAL_PREFIX),
    ] {
        if let Some(text) = line.strip_prefix(prefix) {
            return (kind, None, text);
        }
    }
    (Kind::Other, None, line)
}

/// The name between `opening` and `closing`, and what follows.
fn parse_speech<'a>(line: &'a str, opening: &str, closing: &str) -> Option<(&'a str, &'a str)> {
    let (name, text) = line.strip_prefix(opening)?.split_once(closing)?;
    let is_name = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
    // The mark keeps right-to-left text on its side.
    let text = text.strip_prefix(LEFT_TO_RIGHT_MARK).unwrap_or(text);
    is_name(name).then_some((name, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_characters_tell_the_kind() {
        for (line, kind, name, text) in [
            (
                "<alice> hi > there",
                Kind::Message,
                Some("alice"),
                "hi > there",
            ),
            ("<10.0.0.1> ", Kind::Message, Some("10.0.0.1"), ""),
            (
                "* bob waves * twice",
                Kind::Action,
                Some("bob"),
                "waves * twice",
            ),
            ("[bob] psst] !", Kind::Private, Some("bob"), "psst] !"),
            (
                "-- bob left (1 here)",
                Kind::Notice,
                None,
                "bob left (1 here)",
            ),
            ("!! bob is in use", Kind::Refusal, None, "bob is in use"),
            ("<אב> \u{200e}שלום", Kind::Message, Some("אב"), "שלום"),
            ("<no name here", Kind::Other, None, "<no name here"),
            ("<> nobody", Kind::Other, None, "<> nobody"),
            ("<two words> x", Kind::Other, None, "<two words> x"),
            ("* bob", Kind::Other, None, "* bob"),
            ("--", Kind::Other, None, "--"),
            ("", Kind::Other, None, ""),
        ] {
            let message = Message::parse(line);
            assert_eq!((message.kind, message.name), (kind, name), "{line}");
            assert_eq!((message.text, message.line), (text, line));
        }
    }
}
