//! The face for pipes and files: lines as they are, or JSON, and nothing that moves a
//! cursor.

use jiff::Timestamp;
use log::{info, warn};
use serde_json::json;

use super::face::{Face, Moment, Status, Wish};
use super::line_splitter::LineSplitter;
use super::mention::Mention;
use super::message::{Age, Kind, Message};
use super::style::{OWN_NAME, Palette, styled};
use crate::room::history;
use crate::stamp::Stamp;

/// How lines are written.
#[derive(Debug)]
pub enum Format {
    /// As they came, each with the time before it where there is a stamp.
    Text {
        /// Whether there are colours.
        palette: Palette,
        /// How the time is written, if it is.
        stamp: Option<Stamp>,
    },
    /// One JSON object each.
    Json(Stamp),
    /// Not at all.
    Nothing,
}

/// What is shown, and how.
#[derive(Debug)]
pub struct Plain {
    format: Format,
    /// Of what was said before we came, only so many of the last lines; `None` for all.
    max_past: Option<usize>,
    mention: Option<Mention>,
    typed: LineSplitter,
    /// The last byte typed; the last line must be ended before our side is.
    last_typed: u8,
    wishes: Vec<Wish>,
    out: Vec<u8>,
}

impl Plain {
    /// Nothing was typed, nothing heard. Of what was said before we came, `max_past` lines
    /// are shown, or all.
    pub fn new(format: Format, max_past: Option<usize>) -> Self {
        Self {
            format,
            max_past,
            mention: None,
            typed: LineSplitter::new(),
            last_typed: b'\n',
            wishes: Vec::new(),
            out: Vec::new(),
        }
    }

    fn say(&mut self, bytes: &[u8], now: Moment) {
        self.wishes.push(Wish::Say(bytes.to_vec()));
        let Self {
            typed, format, out, ..
        } = self;
        typed.push(bytes, &mut |line| format.push_own(out, line.text, now.time));
    }

    fn is_to_be_shown(&self, message: &Message<'_>) -> bool {
        let Some(max_past) = self.max_past else {
            return true;
        };
        match message.age {
            Age::Past { following } => following < max_past,
            // It would promise more than follows.
            Age::Now => {
                message.kind != Kind::Notice || history::count_in_heading(message.text).is_none()
            }
        }
    }
}

impl Face for Plain {
    fn typed(&mut self, bytes: &[u8], now: Moment) {
        if let Some(&last) = bytes.last() {
            self.last_typed = last;
        }
        self.say(bytes, now);
    }

    fn input_ended(&mut self, now: Moment) {
        if self.last_typed != b'\n' {
            self.say(b"\n", now);
        }
        self.wishes.push(Wish::Leave);
    }

    fn wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    fn heard(&mut self, message: &Message<'_>, now: Moment) {
        if self.is_to_be_shown(message) {
            self.format
                .push_heard(&mut self.out, message, self.mention.as_ref(), now.time);
        }
    }

    fn tell(&mut self, words: &str, is_trouble: bool, _now: Moment) {
        match is_trouble {
            true => warn!("{words}"),
            false => info!("{words}"),
        }
    }

    fn set_status(&mut self, status: Status) {
        self.mention = status.name.as_deref().map(Mention::of);
    }

    fn compose(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.out);
    }

    fn waiting_bytes(&self) -> usize {
        self.out.len()
    }
}

impl Format {
    fn push_heard(
        &mut self,
        out: &mut Vec<u8>,
        message: &Message<'_>,
        mention: Option<&Mention>,
        now: Timestamp,
    ) {
        match self {
            Self::Nothing => {}
            Self::Text { palette, stamp } => {
                push_time(out, stamp, *palette, now);
                match palette.is_colored {
                    true => {
                        out.extend_from_slice(styled(message, mention, *palette).line.as_bytes())
                    }
                    false => out.extend_from_slice(message.line.as_bytes()),
                }
                out.push(b'\n');
            }
            Self::Json(stamp) => {
                let mut object = json!({
                    "kind": message.kind.as_str(),
                    "name": message.name,
                    "text": message.text,
                    "time": stamp.at(now),
                });
                if message.age != Age::Now {
                    object["past"] = true.into();
                }
                push_json(out, &object);
            }
        }
    }

    fn push_own(&mut self, out: &mut Vec<u8>, text: &str, now: Timestamp) {
        match self {
            Self::Nothing => {}
            Self::Text { palette, stamp } => {
                push_time(out, stamp, *palette, now);
                let style = palette.bold();
                // As in the Python original no space follows.
                let line = format!("{style}<{OWN_NAME}>{style:#}{text}\n");
                out.extend_from_slice(line.as_bytes());
            }
            Self::Json(stamp) => push_json(
                out,
                &json!({ "kind": "own", "name": null, "text": text, "time": stamp.at(now) }),
            ),
        }
    }
}

fn push_time(out: &mut Vec<u8>, stamp: &mut Option<Stamp>, palette: Palette, now: Timestamp) {
    if let Some(stamp) = stamp {
        let style = palette.dim();
        let time = format!("{style}{}{style:#} ", stamp.at(now));
        out.extend_from_slice(time.as_bytes());
    }
}

fn push_json(out: &mut Vec<u8>, object: &serde_json::Value) {
    out.extend_from_slice(object.to_string().as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use jiff::tz::TimeZone;

    use super::*;
    use crate::stamp;

    fn now() -> Moment {
        Moment {
            instant: Instant::now(),
            time: Timestamp::UNIX_EPOCH,
        }
    }

    fn text(stamp: Option<stamp::Format>) -> Format {
        Format::Text {
            palette: Palette { is_colored: false },
            stamp: stamp.map(|format| Stamp::new(TimeZone::UTC, format)),
        }
    }

    fn json() -> Format {
        Format::Json(Stamp::new(TimeZone::UTC, stamp::Format::Rfc3339))
    }

    fn hear(plain: &mut Plain, line: &str, age: Age) {
        let message = Message {
            age,
            ..Message::parse(line)
        };
        plain.heard(&message, now());
    }

    fn shown(plain: &mut Plain) -> String {
        let mut out = Vec::new();
        plain.compose(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_shown_as_they_came_with_the_time_if_asked_for() {
        for (stamp, expected) in [
            (None, "<alice> hi\n"),
            (Some(stamp::Format::HoursMinutes), "00:00 <alice> hi\n"),
        ] {
            let mut plain = Plain::new(text(stamp), None);
            hear(&mut plain, "<alice> hi", Age::Now);
            assert_eq!(shown(&mut plain), expected);
            assert_eq!(shown(&mut plain), "");
        }
    }

    #[test]
    fn what_is_typed_is_said_and_shown_line_by_line() {
        let mut plain = Plain::new(text(None), None);
        plain.typed(b"one\n\ntw", now());
        plain.typed(b"o", now());
        plain.input_ended(now());
        assert_eq!(shown(&mut plain), "<You>one\n<You>\n<You>two\n");
        let say = |bytes: &[u8]| Wish::Say(bytes.to_vec());
        assert_eq!(
            plain.wishes(),
            [say(b"one\n\ntw"), say(b"o"), say(b"\n"), Wish::Leave]
        );
    }

    #[test]
    fn json_has_one_object_a_line() {
        let mut plain = Plain::new(json(), None);
        hear(&mut plain, "<alice> \"hi\"\t\\", Age::Now);
        hear(&mut plain, "-- bob left (1 here)", Age::Now);
        hear(&mut plain, "* bob waves", Age::Past { following: 0 });
        let time = "1970-01-01T00:00:00+00:00";
        assert_eq!(
            shown(&mut plain),
            format!(
                r#"{{"kind":"message","name":"alice","text":"\"hi\"\t\\","time":"{time}"}}
{{"kind":"notice","name":null,"text":"bob left (1 here)","time":"{time}"}}
{{"kind":"action","name":"bob","past":true,"text":"waves","time":"{time}"}}
"#
            )
        );
        plain.typed(b"hi\n", now());
        assert!(shown(&mut plain).starts_with(r#"{"kind":"own","name":null,"text":"hi","#));
    }

    #[test]
    fn of_the_past_only_so_much_is_shown_as_is_wanted() {
        for (max_past, expected) in [
            (
                None,
                "-- the last 2 lines, the latest moments ago:\n<a> 1\n<a> 2\n<a> 3\n",
            ),
            (Some(1), "<a> 2\n<a> 3\n"),
            (Some(0), "<a> 3\n"),
            (Some(9), "<a> 1\n<a> 2\n<a> 3\n"),
        ] {
            let mut plain = Plain::new(text(None), max_past);
            hear(
                &mut plain,
                "-- the last 2 lines, the latest moments ago:",
                Age::Now,
            );
            hear(&mut plain, "<a> 1", Age::Past { following: 1 });
            hear(&mut plain, "<a> 2", Age::Past { following: 0 });
            hear(&mut plain, "<a> 3", Age::Now);
            assert_eq!(shown(&mut plain), expected);
        }
    }
}
