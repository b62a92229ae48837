//! How messages look on a terminal: colours, mentions, and the time in the margin.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anstyle::{Ansi256Color, Color, Effects, Style};

use super::entered::{Entered, without_password};
use super::mention::Mention;
use super::message::{Kind, Message};
use super::people::People;
use crate::platform::local_time::Stamp;
use crate::protocol::event::Event;
use crate::protocol::event::text::read_operator;
use crate::protocol::name;
use crate::protocol::text::{LEFT_TO_RIGHT_MARK, has_right_to_left, made_safe};

/// The name in front of the user's own lines.
pub(crate) const OWN_NAME: &str = "You";

/// Colours that can be told apart and read both on black and on white, of the 216 that
/// practically every terminal shows alike (xterm's colour cube). Their contrast is at least
/// 3.8 on both; no colour reaches 4.6 on both (WCAG 2.2, section 1.4.3, asks for 4.5, or 3
/// for large or bold letters).
const NAME_COLORS: [u8; 16] = [
    130, 166, 100, 64, 28, 29, 30, 31, 32, 27, 63, 99, 129, 133, 164, 162,
];

/// Red, which no name has.
const ERROR_COLOR: Ansi256Color = Ansi256Color(160);

/// The styles of what is shown; none of them without colours.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Whether colours are wanted.
    pub is_colored: bool,
}

impl Palette {
    fn style(self, style: Style) -> Style {
        if self.is_colored { style } else { Style::new() }
    }

    /// For what matters least: notices, times.
    pub(crate) fn dim(self) -> Style {
        self.style(Effects::DIMMED.into())
    }

    pub(crate) fn bold(self) -> Style {
        self.style(Effects::BOLD.into())
    }

    /// For refusals and failures.
    pub(crate) fn error(self) -> Style {
        self.style(
            Style::new()
                .fg_color(Some(Color::Ansi256(ERROR_COLOR)))
                .bold(),
        )
    }

    /// For the user's name in what others say.
    fn mention(self) -> Style {
        self.style((Effects::BOLD | Effects::INVERT).into())
    }

    fn name(self, name: &str) -> Style {
        self.style(Style::new().fg_color(Some(Color::Ansi256(name_color(name)))))
    }
}

/// The colour of a name, the same wherever it is seen and in whatever case it is written.
fn name_color(name: &str) -> Ansi256Color {
    // FNV-1a, which is the same on every machine (www.isthe.com/chongo/tech/comp/fnv).
    let mut hash: u32 = 0x811c_9dc5;
    for byte in name::fold(name).bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    // The low bits of this hash are its poorest.
    let index = (hash ^ (hash >> 16)) as usize % NAME_COLORS.len();
    Ansi256Color(NAME_COLORS[index])
}

impl Entered<'_> {
    /// The line to show, of somebody with this name in the room, if that is known; `None` where
    /// the room's answer says enough.
    pub(crate) fn echo(self, palette: Palette, name: Option<&str>) -> Option<String> {
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
            // As others see it: `* You waves` would be no English.
            Self::Action(text) => line(format!("* {}", name.unwrap_or(OWN_NAME)), text),
            Self::Private { to, text } => line(format!("[{OWN_NAME} to {to}]"), text),
            Self::BadCommand(text) => {
                let (dim, text) = (palette.dim(), without_password(text));
                Some(format!("{dim}{text}{dim:#}"))
            }
            Self::Command | Self::Quit => None,
        }
    }
}

/// The margin with the `time`, empty without a `stamp`; spaces where the time is unknown.
pub(crate) fn margin(
    stamp: &mut Option<Stamp>,
    palette: Palette,
    time: Option<SystemTime>,
) -> String {
    match (stamp, time) {
        (Some(stamp), Some(time)) => {
            let style = palette.dim();
            format!("{style}{}{style:#} ", stamp.at(time))
        }
        (None, Some(_)) => String::new(),
        (stamp, None) => " ".repeat(margin_columns(stamp)),
    }
}

/// The width of the [`margin`].
pub(crate) fn margin_columns(stamp: &mut Option<Stamp>) -> usize {
    match stamp {
        Some(stamp) => stamp.at(UNIX_EPOCH).len() + 1,
        None => 0,
    }
}

/// A message as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Styled {
    /// Without a line end.
    pub(crate) line: String,
    /// Whether it mentions the user or is private.
    pub(crate) is_for_us: bool,
}

/// Styles `message` for the user whose name `mention` finds.
pub(crate) fn styled(
    message: &Message<'_>,
    mention: Option<&Mention>,
    others: &People,
    palette: Palette,
) -> Styled {
    let plain = |style: Style| format!("{style}{}{style:#}", message.line);
    let line = match (message.kind, message.name) {
        (Kind::Message | Kind::Action | Kind::Private, Some(name)) => {
            return styled_speech(message, name, mention, others, palette);
        }
        (Kind::Notice, _) => match read_operator(message.text) {
            Some((_, said)) => styled_operator(message, said, palette),
            None => plain(palette.dim()),
        },
        (Kind::Welcome | Kind::Continuation, _) => plain(palette.dim()),
        (Kind::Refusal, _) => plain(palette.error()),
        _ => message.line.to_owned(),
    };
    let event = message.told.and_then(|told| told.event);
    let is_operator = matches!(event, Some(Event::Operator { .. }));
    let mentions_us =
        || mention.is_some_and(|mention| !mention.find(message.text, others).is_empty());
    Styled {
        line,
        is_for_us: is_operator && mentions_us(),
    }
}

/// What the operator says is no mere notice.
fn styled_operator(message: &Message<'_>, text: &str, palette: Palette) -> String {
    let before = &message.line[..message.line.len() - text.len()];
    let bold = palette.bold();
    format!("{bold}{before}{bold:#}{text}")
}

fn styled_speech(
    message: &Message<'_>,
    name: &str,
    mention: Option<&Mention>,
    others: &People,
    palette: Palette,
) -> Styled {
    let Message { kind, text, .. } = *message;
    // Includes the mark before right-to-left text.
    let before = &message.line[..message.line.len() - text.len()];
    let mut style = palette.name(name);
    if kind == Kind::Private && palette.is_colored {
        style = style.bold();
    }
    let mentions = mention
        .map(|mention| mention.find(text, others))
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
    use std::collections::HashSet;

    use super::*;
    use crate::frontend::message::Told;

    /// In an empty room.
    fn styled(message: &Message<'_>, mention: Option<&Mention>, palette: Palette) -> Styled {
        super::styled(message, mention, &People::default(), palette)
    }

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
            "!! bob is in use",
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
    fn mentions_and_private_messages_are_for_us() {
        let bob = Mention::of("bob");
        for (line, is_for_us) in [
            ("<alice> hi", false),
            ("<alice> hi bob", true),
            ("* alice pokes bob", true),
            ("[alice] psst", true),
            ("-- bob is now rob (2 here)", false),
            ("!! bob is in use", false),
            ("-- operator: bob, are you there?", false),
        ] {
            let styled = styled(&Message::parse(line), Some(&bob), COLORS);
            assert_eq!(styled.is_for_us, is_for_us, "{line}");
        }
        assert!(!styled(&Message::parse("<alice> hi bob"), None, COLORS).is_for_us);
        let text = "bob, are you there?";
        let event = Event::Operator {
            at: None,
            text: text.into(),
        };
        let told = Some(Told {
            json: "",
            event: Some(&event),
            is_own: false,
        });
        let message = Message {
            told,
            ..Message::parse("-- operator: bob, are you there?")
        };
        assert!(styled(&message, Some(&bob), COLORS).is_for_us);
    }

    #[test]
    fn notices_are_dim_and_errors_are_marked() {
        let operator = styled(&Message::parse("-- operator@box-b: tea"), None, COLORS).line;
        assert_eq!(operator, "\x1b[1m-- operator@box-b: \x1b[0mtea");
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

    /// The relative luminance (WCAG) of a colour of the cube.
    fn luminance(color: u8) -> f64 {
        const LEVELS: [f64; 6] = [0.0, 95.0, 135.0, 175.0, 215.0, 255.0];
        let index = usize::from(color - 16);
        let linear = |level: f64| match level / 255.0 {
            small if small <= 0.04045 => small / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        };
        let [red, green, blue] =
            [index / 36, index / 6 % 6, index % 6].map(|part| linear(LEVELS[part]));
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    #[test]
    fn every_color_can_be_read_on_black_and_on_white() {
        for color in NAME_COLORS.into_iter().chain([ERROR_COLOR.0]) {
            let luminance = luminance(color);
            let on_black = (luminance + 0.05) / 0.05;
            let on_white = 1.05 / (luminance + 0.05);
            assert!(
                on_black >= 3.79 && on_white >= 3.79,
                "{color}: {on_black:.2}, {on_white:.2}"
            );
        }
    }

    #[test]
    fn a_name_has_one_color_and_names_have_many() {
        // On every machine, and tomorrow.
        assert_eq!(name_color("alice"), Ansi256Color(29));
        assert_eq!(name_color("Zoë"), name_color("zoE\u{308}"));
        let colors: HashSet<u8> = (0..200)
            .map(|n| name_color(&format!("user{n}")).0)
            .collect();
        assert_eq!(colors.len(), NAME_COLORS.len());
        assert!(!NAME_COLORS.contains(&ERROR_COLOR.0));
    }

    #[test]
    fn lines_are_echoed_as_others_see_them() {
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
            assert_eq!(entered.echo(PLAIN, None).as_deref(), shown, "{line}");
            assert_eq!(entered.is_quit(), line == "/quit");
        }
    }

    #[test]
    fn without_commands_everything_is_said() {
        for line in ["/who", "//x", "/quit"] {
            let entered = Entered::of(line, false);
            assert_eq!(entered.echo(PLAIN, None), Some(format!("<You> {line}")));
        }
    }
}
