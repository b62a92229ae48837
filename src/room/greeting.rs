//! What a newcomer is sent first, as text: the welcome, the room's notices, and the last lines
//! that were said.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use super::log::Log;
use crate::protocol::batch::Frame;
use crate::protocol::event::Event;
use crate::protocol::text;
use crate::protocol::wording::{NOTICE_PREFIX, WELCOME};

/// The server sends it all to each newcomer at once, and the kernel buffers it for those
/// that do not read.
pub(crate) const MAX_HISTORY_BYTES: usize = 16 * 1024;

/// The limit of the `--history` option.
pub(crate) const MAX_HISTORY_LINES: u32 = 10_000;

#[derive(Debug)]
pub(crate) struct Greeting {
    /// The welcome and the notices.
    opening: Vec<u8>,
    /// The number of past lines that newcomers get.
    max_lines: usize,
    /// A cache: the greeting whose last line has this number and this age.
    composed: Option<(u64, Age, Frame)>,
}

impl Greeting {
    pub(crate) fn new(notices: &[String], max_lines: usize) -> Self {
        Self {
            opening: opening(notices),
            max_lines,
            composed: None,
        }
    }

    pub(crate) fn set_notices(&mut self, notices: &[String]) {
        self.opening = opening(notices);
        self.composed = None;
    }

    /// The room's notices.
    pub(crate) fn notices(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let lines = self.opening.split(|&byte| byte == b'\n').skip(1);
        let notices = lines.filter_map(|line| line.strip_prefix(NOTICE_PREFIX.as_bytes()));
        notices.map(String::from_utf8_lossy)
    }

    /// The number of past lines that newcomers get.
    pub(crate) fn max_lines(&self) -> usize {
        self.max_lines
    }

    /// Whole lines, shared by all who join at about the same time.
    pub(crate) fn frame(&mut self, log: &Log, now: Instant) -> Frame {
        let said_at = log.said_at().unwrap_or(now);
        let age = Age::of(now.saturating_duration_since(said_at));
        if let Some((seq, as_of, frame)) = &self.composed
            && (*seq, *as_of) == (log.last_said(), age)
        {
            return Frame::clone(frame);
        }
        let mut text = self.opening.clone();
        let (count, lines) = history(log, self.max_lines);
        if count > 0 {
            push_notice(&mut text, &heading(count, age));
            text.extend_from_slice(&lines);
        }
        let frame = Frame::from(text);
        self.composed = Some((log.last_said(), age, Frame::clone(&frame)));
        frame
    }
}

fn opening(notices: &[String]) -> Vec<u8> {
    let mut opening = format!("{WELCOME}\n").into_bytes();
    for line in notices {
        push_notice(&mut opening, &text::made_safe(line.as_bytes()));
    }
    opening
}

fn push_notice(out: &mut Vec<u8>, words: &str) {
    Event::Notice { text: words.into() }.write_text(out);
    out.push(b'\n');
}

/// The last lines, as many as fit, and how many these are.
fn history(log: &Log, max_lines: usize) -> (usize, Vec<u8>) {
    let mut lines = Vec::new();
    let mut text = Vec::new();
    for (_, event) in log.latest().take(max_lines) {
        let start = text.len();
        event.write_text(&mut text);
        text.push(b'\n');
        if text.len() > MAX_HISTORY_BYTES {
            break;
        }
        lines.push(start..text.len());
    }
    let in_order = lines.iter().rev().map(|line| &text[line.clone()]);
    (lines.len(), in_order.collect::<Vec<_>>().concat())
}

/// The words before the last `count` lines. `age` is that of the last one.
fn heading(count: usize, age: Age) -> String {
    match count {
        1 => format!("last line, {age}:"),
        count => format!("last {count} lines, latest {age}:"),
    }
}

/// A duration, rounded down to one unit. Displayed as `3 minutes ago`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// Less than a minute.
    Moments,
    Minutes(u64),
    Hours(u64),
    Days(u64),
}

impl Age {
    fn of(time: Duration) -> Self {
        match time.as_secs() {
            seconds if seconds < 60 => Self::Moments,
            seconds if seconds < 60 * 60 => Self::Minutes(seconds / 60),
            seconds if seconds < 24 * 60 * 60 => Self::Hours(seconds / 60 / 60),
            seconds => Self::Days(seconds / 24 / 60 / 60),
        }
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match self {
            Self::Moments => return f.write_str("just now"),
            Self::Minutes(count) => (count, "minute"),
            Self::Hours(count) => (count, "hour"),
            Self::Days(count) => (count, "day"),
        };
        let plural = if *count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{plural} ago")
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::event::Speech;
    use crate::protocol::time::Time;

    fn say(log: &mut Log, text: &str, now: Instant) {
        let speech = Speech {
            from: None,
            n: None,
            name: "a".into(),
            text: text.into(),
        };
        log.say(&Event::Message(speech), Time::default(), now);
    }

    fn text(max_lines: usize, log: &Log) -> String {
        let (count, lines) = history(log, max_lines);
        let lines = String::from_utf8(lines).unwrap();
        assert_eq!(lines.lines().count(), count);
        lines
    }

    #[test]
    fn the_last_lines_are_told_in_order_and_nothing_before_one_that_is_too_long() {
        let now = Instant::now();
        let mut log = Log::new();
        assert_eq!(text(3, &log), "");
        for line in ["1", "2", "3", "4"] {
            say(&mut log, line, now);
        }
        assert_eq!(text(3, &log), "<a> 2\n<a> 3\n<a> 4\n");
        assert_eq!(text(0, &log), "");
        say(&mut log, &"x".repeat(MAX_HISTORY_BYTES), now);
        assert_eq!(text(3, &log), "");
        say(&mut log, "after", now);
        assert_eq!(text(3, &log), "<a> after\n");
    }

    #[test]
    fn ages_are_rounded_down_to_one_unit() {
        for (seconds, words) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (3599, "59 minutes ago"),
            (3600, "1 hour ago"),
            (86_399, "23 hours ago"),
            (86_400, "1 day ago"),
            (900_000, "10 days ago"),
        ] {
            let age = Age::of(Duration::from_secs(seconds));
            assert_eq!(age.to_string(), words);
        }
    }

    proptest! {
        #[test]
        fn it_is_the_longest_tail_that_fits(
            max_lines in 0_usize..6,
            lengths in vec(0_usize..MAX_HISTORY_BYTES / 2, 0..20),
        ) {
            let now = Instant::now();
            let mut log = Log::new();
            let mut lines: Vec<String> = Vec::new();
            for (nth, length) in lengths.into_iter().enumerate() {
                let said = char::from(b'a' + nth as u8).to_string().repeat(length);
                say(&mut log, &said, now);
                lines.push(format!("<a> {said}\n"));
                let fits = |count: &usize| {
                    let end = &lines[lines.len() - count..];
                    *count <= max_lines && end.concat().len() <= MAX_HISTORY_BYTES
                };
                let most = (0..=lines.len()).filter(fits).max().unwrap();
                prop_assert_eq!(text(max_lines, &log), lines[lines.len() - most..].concat());
            }
        }
    }
}
