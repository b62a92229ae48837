//! How what is said looks on a terminal.

use std::fmt::Write as _;

use anstyle::{Color, Effects, Style};
use jiff::Timestamp;

use super::mention::Mention;
use super::message::{Kind, Message};
use super::name_colors::{ERROR_COLOR, name_color};
use crate::room::OPERATOR_PREFIX;
use crate::stamp::Stamp;

/// Before what one has said oneself.
pub const OWN_NAME: &str = "You";

/// Colours and other distinctions, or none of them.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Whether there are any.
    pub is_colored: bool,
}

impl Palette {
    fn style(self, style: Style) -> Style {
        match self.is_colored {
            true => style,
            false => Style::new(),
        }
    }

    /// What is of no great importance.
    pub fn dim(self) -> Style {
        self.style(Effects::DIMMED.into())
    }

    /// What is to be seen.
    pub fn bold(self) -> Style {
        self.style(Effects::BOLD.into())
    }

    /// What was not done.
    pub fn error(self) -> Style {
        self.style(
            Style::new()
                .fg_color(Some(Color::Ansi256(ERROR_COLOR)))
                .bold(),
        )
    }

    /// One's own name, where others speak of it.
    pub fn mention(self) -> Style {
        self.style((Effects::BOLD | Effects::INVERT).into())
    }

    /// A name, and what stands around it.
    pub fn name(self, name: &str) -> Style {
        self.style(Style::new().fg_color(Some(Color::Ansi256(name_color(name)))))
    }
}

/// The `time` as it stands in the margin, if that is wanted; blanks where it is not known.
pub fn margin(stamp: &mut Option<Stamp>, palette: Palette, time: Option<Timestamp>) -> String {
    let style = palette.dim();
    match (stamp, time) {
        (None, _) => String::new(),
        (Some(stamp), Some(time)) => format!("{style}{}{style:#} ", stamp.at(time)),
        (Some(stamp), None) => " ".repeat(stamp.at(Timestamp::UNIX_EPOCH).len() + 1),
    }
}

/// A message as it looks, without a line end; and whether it mentions who reads it.
#[derive(Debug, PartialEq, Eq)]
pub struct Styled {
    /// The line.
    pub line: String,
    /// Whether it is meant for who reads it: mentions the name, or is said to it alone.
    pub is_for_us: bool,
}

/// What `message` looks like to the bearer of the name in `mention`.
pub fn styled(message: &Message<'_>, mention: Option<&Mention>, palette: Palette) -> Styled {
    let plain = |style: Style| format!("{style}{}{style:#}", message.line);
    let line = match (message.kind, message.name) {
        (Kind::Message | Kind::Action | Kind::Private, Some(name)) => {
            return styled_speech(message, name, mention, palette);
        }
        (Kind::Welcome | Kind::Notice | Kind::Continuation, _) => plain(palette.dim()),
        (Kind::Refusal, _) => plain(palette.error()),
        _ => message.line.to_owned(),
    };
    let is_operator = message.kind == Kind::Notice && message.text.starts_with(OPERATOR_PREFIX);
    let mentions_us = || mention.is_some_and(|mention| !mention.find(message.text).is_empty());
    Styled {
        line,
        is_for_us: is_operator && mentions_us(),
    }
}

fn styled_speech(
    message: &Message<'_>,
    name: &str,
    mention: Option<&Mention>,
    palette: Palette,
) -> Styled {
    let Message { kind, text, .. } = *message;
    // With what keeps a text that is written from right to left on its side.
    let before = &message.line[..message.line.len() - text.len()];
    let mut style = palette.name(name);
    if kind == Kind::Private && palette.is_colored {
        style = style.bold();
    }
    let mentions = mention
        .map(|mention| mention.find(text))
        .unwrap_or_default();
    let is_for_us = kind == Kind::Private || !mentions.is_empty();
    let mut line = format!("{style}{before}{style:#}");
    let highlight = palette.mention();
    let mut written = 0;
    for range in mentions {
        line += &text[written..range.start];
        written = range.end;
        write!(line, "{highlight}{}{highlight:#}", &text[range]).expect("a String takes it");
    }
    line += &text[written..];
    Styled { line, is_for_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLORS: Palette = Palette { is_colored: true };
    const PLAIN: Palette = Palette { is_colored: false };

    #[test]
    fn without_colors_every_line_is_as_it_came() {
        let bob = Mention::of("bob");
        for line in [
            "<alice> hi bob",
            "<אב> \u{200e}שלום",
            "* alice waves at bob",
            "[alice] psst",
            "-- bob left (1 here)",
            "!! bob is taken",
            "<alice> https://example.org/?q=a:b#bob, (https://[::1]/)",
            "whatever",
        ] {
            assert_eq!(styled(&Message::parse(line), Some(&bob), PLAIN).line, line);
        }
    }

    #[test]
    fn names_have_colors_and_mentions_stand_out() {
        let bob = Mention::of("bob");
        let color = name_color("alice").0;
        let said = styled(&Message::parse("<alice> hi Bob, bob!"), Some(&bob), COLORS);
        assert_eq!(
            said.line,
            format!(
                "\x1b[38;5;{color}m<alice> \x1b[0mhi \x1b[1m\x1b[7mBob\x1b[0m, \
                 \x1b[1m\x1b[7mbob\x1b[0m!"
            )
        );
        assert!(said.is_for_us);
        let told = styled(&Message::parse("[alice] psst"), Some(&bob), COLORS);
        let bold = format!("\x1b[1m\x1b[38;5;{color}m[alice] \x1b[0mpsst");
        assert_eq!(told.line, bold);
    }

    #[test]
    fn what_is_for_us_is_known_as_such() {
        let bob = Mention::of("bob");
        for (line, is_for_us) in [
            ("<alice> hi", false),
            ("<alice> hi bob", true),
            ("* alice pokes bob", true),
            ("[alice] psst", true),
            ("-- bob is now rob (2 here)", false),
            ("!! bob is taken", false),
            ("-- operator: bob, are you there?", true),
        ] {
            let styled = styled(&Message::parse(line), Some(&bob), COLORS);
            assert_eq!(styled.is_for_us, is_for_us, "{line}");
        }
        assert!(!styled(&Message::parse("<alice> hi bob"), None, COLORS).is_for_us);
    }

    #[test]
    fn notices_are_dim_and_errors_are_marked() {
        let notice = styled(&Message::parse("-- news"), None, COLORS).line;
        assert_eq!(notice, "\x1b[2m-- news\x1b[0m");
        let rest = Message {
            kind: Kind::Continuation,
            ..Message::parse("… of it")
        };
        assert_eq!(styled(&rest, None, COLORS).line, "\x1b[2m… of it\x1b[0m");
        let refusal = styled(&Message::parse("!! no"), None, COLORS).line;
        assert_eq!(refusal, "\x1b[1m\x1b[38;5;160m!! no\x1b[0m");
    }
}
