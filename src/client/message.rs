//! The kinds of lines from the server: who says what.
//!
//! The first characters of a line tell its kind. A server of our kind lets no client forge
//! another; for any other server's lines this is only what they look like.

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
        }
    }
}

/// When it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// Before we joined: it is from the room's history.
    Past {
        /// How many lines of the history follow it.
        following: usize,
    },
    Now,
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
    pub(crate) age: Age,
}

impl<'a> Message<'a> {
    /// Parses `line`, which is safe to show and has no line end.
    pub(crate) fn parse(line: &'a str) -> Self {
        let (kind, name, text) = parse(line);
        Self {
            kind,
            name,
            text,
            line,
            age: Age::Now,
        }
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
            ("!! bob is taken", Kind::Refusal, None, "bob is taken"),
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
