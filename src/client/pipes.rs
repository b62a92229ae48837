//! The frontend for pipes and files: lines as they are, or JSON Lines, without cursor control.
//! At a terminal at which nothing is typed, lines are broken to its width.

use std::time::SystemTime;

use super::line_splitter::LineSplitter;
use crate::frontend::entered::without_password;
use crate::frontend::mention::Mention;
use crate::frontend::message::{Kind, Message};
use crate::frontend::people::People;
use crate::frontend::style::{OWN_NAME, Palette, margin, margin_columns, styled};
use crate::frontend::wrap::{Page, push_rows};
use crate::frontend::{Action, Frontend, LinkStatus, Moment, Status};
use crate::platform::local_time::Stamp;

/// The most that is held back of what a server greets with.
const MAX_HELD_BYTES: usize = 256 * 1024;

/// The format of the output.
#[derive(Debug)]
pub(crate) enum Format {
    /// Lines as they came, but for breaks.
    Text {
        palette: Palette,
        /// For the time before each line, if that is wanted.
        stamp: Option<Stamp>,
        /// The prefix of the user's own lines.
        own_prefix: String,
        /// The page to break lines for, at a terminal.
        page: Option<Page>,
    },
    /// JSON Lines.
    Json(Stamp),
}

#[derive(Debug)]
pub(crate) struct Pipes {
    format: Format,
    /// What a room of ours greets with is asked for instead.
    asks_for_past: bool,
    name: Option<String>,
    mention: Option<Mention>,
    people: People,
    /// What is shown of the server's lines if it does not tell programs. Kept while that is not
    /// known.
    held: Vec<u8>,
    /// Whether it tells programs, also what we say.
    tells: bool,
    /// Whether that is known.
    is_settled: bool,
    typed: LineSplitter,
    actions: Vec<Action>,
    out: Vec<u8>,
}

impl Pipes {
    /// With `asks_for_past`, what a room of ours greets with is not shown: it is asked for.
    pub(crate) fn new(format: Format, asks_for_past: bool) -> Self {
        Self {
            format,
            asks_for_past,
            name: None,
            mention: None,
            people: People::default(),
            held: Vec::new(),
            tells: false,
            is_settled: false,
            typed: LineSplitter::new(),
            actions: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Shows the lines that were typed, but those that a room shows by itself.
    fn echo(&mut self, bytes: &[u8], now: Moment) {
        let Self {
            typed,
            format,
            out,
            tells,
            ..
        } = self;
        typed.push(bytes, &mut |line| match format {
            Format::Json(_) if *tells => {}
            _ => format.push_own(out, without_password(line.text), now.time),
        });
    }

    /// Whether `message` is text in place of which a room that tells programs has objects.
    fn may_be_told_better(&self, message: &Message<'_>) -> bool {
        let is_wanted = match self.format {
            Format::Json(_) => true,
            Format::Text { .. } => self.asks_for_past && message.kind != Kind::Welcome,
        };
        is_wanted && !self.is_settled && self.held.len() < MAX_HELD_BYTES
    }

    /// Shows the line of a server that tells programs nothing.
    fn release(&mut self) {
        self.out.append(&mut self.held);
    }
}

impl Frontend for Pipes {
    fn typed(&mut self, bytes: &[u8], now: Moment) {
        self.actions.push(Action::Say(bytes.to_vec()));
        self.echo(bytes, now);
    }

    fn input_ended(&mut self, now: Moment) {
        if self.typed.has_unfinished() {
            self.echo(b"\n", now);
        }
        self.actions.push(Action::Leave);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn heard(&mut self, message: &Message<'_>, now: Moment) {
        if message.kind == Kind::Entered {
            // It was shown when it was read.
            return;
        }
        // A new connection.
        self.is_settled &= message.kind != Kind::Welcome || message.told.is_some();
        self.people.heard(message);
        let is_text = matches!(self.format, Format::Text { .. });
        if let Some(told) = message.told {
            self.held.clear();
            self.tells = true;
            if is_text && (told.is_own || !message.is_for_people()) {
                return;
            }
        }
        let is_held = message.told.is_none() && self.may_be_told_better(message);
        let out = if is_held {
            &mut self.held
        } else {
            &mut self.out
        };
        let mention = self.mention.as_ref();
        self.format
            .push_heard(out, message, mention, &self.people, now.time);
    }

    fn set_status(&mut self, status: &Status<'_>) {
        self.is_settled = status.is_settled;
        if self.is_settled {
            self.release();
        }
        if status.link == LinkStatus::Offline {
            self.tells = false;
        }
        if self.name.as_deref() != status.name {
            self.name = status.name.map(str::to_owned);
            self.mention = status.name.map(Mention::of);
        }
    }

    fn compose(&mut self, out: &mut Vec<u8>) {
        if let Format::Text {
            page: Some(page), ..
        } = self.format
        {
            let text = String::from_utf8(std::mem::take(&mut self.out)).expect("safe text");
            let mut rows = String::new();
            for line in text.split_terminator('\n') {
                push_rows(&mut rows, line, page);
                rows.push('\n');
            }
            out.extend_from_slice(rows.as_bytes());
        } else if out.is_empty() {
            std::mem::swap(out, &mut self.out);
        } else {
            out.append(&mut self.out);
        }
    }

    fn waiting_bytes(&self) -> usize {
        self.out.len()
    }

    fn resized(&mut self, columns: usize, _rows: usize) {
        if let Format::Text {
            page: Some(page), ..
        } = &mut self.format
        {
            page.columns = columns;
        }
    }
}

impl Format {
    /// Lines as they came.
    pub(crate) fn text(palette: Palette, stamp: Option<Stamp>) -> Self {
        let style = palette.bold();
        Self::Text {
            palette,
            stamp,
            own_prefix: format!("{style}<{OWN_NAME}>{style:#}"),
            page: None,
        }
    }

    /// Has lines broken for a terminal of this width, which obeys control sequences or not.
    pub(crate) fn at_terminal(mut self, columns: usize, is_capable: bool) -> Self {
        if let Self::Text { stamp, page, .. } = &mut self {
            *page = Some(Page {
                columns,
                margin_columns: margin_columns(stamp),
                is_capable,
            });
        }
        self
    }

    fn push_heard(
        &mut self,
        out: &mut Vec<u8>,
        message: &Message<'_>,
        mention: Option<&Mention>,
        people: &People,
        now: SystemTime,
    ) {
        match self {
            Self::Text { palette, stamp, .. } => {
                let time = message.time_shown(now);
                for message in message.lines() {
                    out.extend_from_slice(margin(stamp, *palette, time).as_bytes());
                    if palette.is_colored {
                        let styled = styled(&message, mention, people, *palette);
                        out.extend_from_slice(styled.line.as_bytes());
                    } else {
                        out.extend_from_slice(message.line.as_bytes());
                    }
                    out.push(b'\n');
                }
            }
            Self::Json(_) if message.told.is_some() => {
                let json = message.told.map_or("", |told| told.json);
                out.extend_from_slice(json.as_bytes());
                out.push(b'\n');
            }
            Self::Json(stamp) => {
                let kind = message.kind.as_str();
                // The time of what is past is not known.
                let time = (!message.is_past).then(|| stamp.at(now));
                push_json(out, kind, message.name, message.text, time);
            }
        }
    }

    fn push_own(&mut self, out: &mut Vec<u8>, text: &str, now: SystemTime) {
        match self {
            Self::Text {
                palette,
                stamp,
                own_prefix,
                ..
            } => {
                out.extend_from_slice(margin(stamp, *palette, Some(now)).as_bytes());
                // As in the Python original no space follows.
                out.extend_from_slice(own_prefix.as_bytes());
                out.extend_from_slice(text.as_bytes());
                out.push(b'\n');
            }
            Self::Json(stamp) => push_json(out, "own", None, text, Some(stamp.at(now))),
        }
    }
}

/// Appends one object, its members in the documented order; without a `time` it is marked as
/// past.
fn push_json(out: &mut Vec<u8>, kind: &str, name: Option<&str>, text: &str, time: Option<&str>) {
    out.extend_from_slice(b"{\"kind\":");
    push_json_value(out, Some(kind));
    out.extend_from_slice(b",\"name\":");
    push_json_value(out, name);
    out.extend_from_slice(b",\"text\":");
    push_json_value(out, Some(text));
    out.extend_from_slice(b",\"time\":");
    push_json_value(out, time);
    if time.is_none() {
        out.extend_from_slice(b",\"past\":true");
    }
    out.extend_from_slice(b"}\n");
}

fn push_json_value(out: &mut Vec<u8>, value: Option<&str>) {
    serde_json::to_writer(out, &value).expect("a Vec takes every write");
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, UNIX_EPOCH};

    use tz::TimeZone;

    use super::*;
    use crate::platform::local_time;

    fn now() -> Moment {
        Moment {
            instant: Instant::now(),
            time: UNIX_EPOCH,
        }
    }

    fn text(stamp: Option<local_time::Format>) -> Format {
        let stamp = stamp.map(|format| Stamp::new(TimeZone::utc(), format));
        Format::text(Palette { is_colored: false }, stamp)
    }

    fn json() -> Format {
        Format::Json(Stamp::new(TimeZone::utc(), local_time::Format::Rfc3339))
    }

    fn hear(pipes: &mut Pipes, line: &str, is_past: bool) {
        let message = Message {
            is_past,
            ..Message::parse(line)
        };
        pipes.heard(&message, now());
    }

    fn shown(pipes: &mut Pipes) -> String {
        let mut out = Vec::new();
        pipes.compose(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_shown_as_they_came_with_the_time_if_asked_for() {
        for (stamp, expected) in [
            (None, "<alice> hi\n"),
            (Some(local_time::Format::HoursMinutes), "00:00 <alice> hi\n"),
        ] {
            let mut pipes = Pipes::new(text(stamp), false);
            hear(&mut pipes, "<alice> hi", false);
            assert_eq!(shown(&mut pipes), expected);
            assert_eq!(shown(&mut pipes), "");
        }
    }

    #[test]
    fn input_is_said_and_echoed_line_by_line() {
        let mut pipes = Pipes::new(text(None), false);
        pipes.typed(b"one\n\ntw", now());
        pipes.typed(b"o", now());
        pipes.input_ended(now());
        assert_eq!(shown(&mut pipes), "<You>one\n<You>\n<You>two\n");
        let say = |bytes: &[u8]| Action::Say(bytes.to_vec());
        assert_eq!(
            pipes.actions(),
            [say(b"one\n\ntw"), say(b"o"), Action::Leave]
        );
        pipes.typed(b"\n/pas green tea\n", now());
        assert!(shown(&mut pipes).ends_with("<You>/pas\n"));
    }

    #[test]
    fn json_has_one_object_per_line() {
        let mut pipes = Pipes::new(json(), true);
        pipes.is_settled = true;
        hear(&mut pipes, "<alice> \"hi\"\t\\", false);
        hear(&mut pipes, "-- bob left (1 here)", false);
        hear(&mut pipes, "* bob waves", true);
        let time = "1970-01-01T00:00:00+00:00";
        assert_eq!(
            shown(&mut pipes),
            format!(
                r#"{{"kind":"message","name":"alice","text":"\"hi\"\t\\","time":"{time}"}}
{{"kind":"notice","name":null,"text":"bob left (1 here)","time":"{time}"}}
{{"kind":"action","name":"bob","text":"waves","time":null,"past":true}}
"#
            )
        );
        pipes.typed(b"hi\n", now());
        assert!(shown(&mut pipes).starts_with(r#"{"kind":"own","name":null,"text":"hi","#));
    }
}
