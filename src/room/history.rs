//! The room's last lines, for those who come later.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// The most that is kept, in bytes: a newcomer is sent it all at once, and each that
/// does not read it has it wait in the kernel.
pub const MAX_HISTORY_BYTES: usize = 16 * 1024;

/// The most lines that a room can be told to keep.
pub const MAX_HISTORY_LINES: u32 = 10_000;

/// The last lines that were said. Older ones go first, when there are too many or too
/// many bytes.
#[derive(Debug)]
pub struct History {
    max_lines: usize,
    /// The lines, each with its LF, one after the other.
    text: VecDeque<u8>,
    /// Invariant: how many bytes each line has; their sum is that of `text`.
    line_bytes: VecDeque<usize>,
    /// When the last one was said.
    said_at: Option<Instant>,
}

impl History {
    /// Of no more than `max_lines`. With none it is always empty.
    pub fn new(max_lines: usize) -> Self {
        Self {
            max_lines,
            text: VecDeque::new(),
            line_bytes: VecDeque::new(),
            said_at: None,
        }
    }

    /// A `line` was said, given with its LF.
    pub fn push(&mut self, line: &[u8], now: Instant) {
        debug_assert!(line.ends_with(b"\n"));
        if self.max_lines == 0 {
            return;
        }
        while self.line_bytes.len() >= self.max_lines
            || self.text.len() + line.len() > MAX_HISTORY_BYTES
        {
            let Some(oldest_bytes) = self.line_bytes.pop_front() else {
                // It is too much alone, and without it there is nothing to show.
                return;
            };
            self.text.drain(..oldest_bytes);
        }
        self.text.extend(line);
        self.line_bytes.push_back(line.len());
        self.said_at = Some(now);
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.line_bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.line_bytes.is_empty()
    }

    /// How long ago the last one was said.
    pub fn age(&self, now: Instant) -> Age {
        let said_at = self.said_at.unwrap_or(now);
        Age::of(now.saturating_duration_since(said_at))
    }

    /// What stands before them for a newcomer, the last one of whom is of that `age`.
    pub fn heading(&self, age: Age) -> String {
        match self.len() {
            1 => format!("the last line, {age} ago:"),
            count => format!("the last {count} lines, the latest {age} ago:"),
        }
    }

    /// Appends all of them to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let (first, second) = self.text.as_slices();
        out.extend_from_slice(first);
        out.extend_from_slice(second);
    }
}

/// How many lines follow after `words`, if that is a [heading](History::heading).
pub fn count_in_heading(words: &str) -> Option<usize> {
    let rest = words.strip_prefix("the last ")?.strip_suffix(" ago:")?;
    if rest.starts_with("line, ") {
        Some(1)
    } else {
        rest.split_once(" lines, the latest ")?.0.parse().ok()
    }
}

/// A length of time as people speak of it. Displayed as `3 minutes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Less than a minute.
    Moments,
    /// So many.
    Minutes(u64),
    /// So many.
    Hours(u64),
    /// So many.
    Days(u64),
}

impl Age {
    /// `time`, rounded down.
    pub fn of(time: Duration) -> Self {
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
            Self::Moments => return f.write_str("moments"),
            Self::Minutes(count) => (count, "minute"),
            Self::Hours(count) => (count, "hour"),
            Self::Days(count) => (count, "day"),
        };
        let plural = if *count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(history: &History) -> Vec<u8> {
        let mut out = Vec::new();
        history.write_to(&mut out);
        out
    }

    #[test]
    fn the_last_lines_are_kept_in_order() {
        let now = Instant::now();
        let mut history = History::new(3);
        assert!(history.is_empty());
        for line in ["1\n", "2\n", "3\n", "4\n"] {
            history.push(line.as_bytes(), now);
        }
        assert_eq!((text(&history), history.len()), (b"2\n3\n4\n".to_vec(), 3));
    }

    #[test]
    fn a_heading_tells_how_many_lines_follow() {
        let now = Instant::now();
        let mut history = History::new(3);
        for count in 1..=3 {
            history.push(b"line\n", now);
            for age in [Age::Moments, Age::Hours(1), Age::Days(2)] {
                let heading = history.heading(age);
                assert_eq!(count_in_heading(&heading), Some(count), "{heading}");
            }
        }
        for words in ["the last bus left", "the last -1 lines, the latest a ago:"] {
            assert_eq!(count_in_heading(words), None);
        }
    }

    #[test]
    fn a_line_that_is_too_much_alone_leaves_no_gap() {
        let now = Instant::now();
        let mut history = History::new(3);
        history.push(b"before\n", now);
        let mut long = vec![b'x'; MAX_HISTORY_BYTES];
        long.push(b'\n');
        history.push(&long, now);
        assert!(history.is_empty() && text(&history).is_empty());
        history.push(b"after\n", now);
        assert_eq!(text(&history), b"after\n");
    }

    #[test]
    fn without_lines_nothing_is_kept() {
        let mut history = History::new(0);
        history.push(b"1\n", Instant::now());
        assert!(history.is_empty() && text(&history).is_empty());
    }

    #[test]
    fn ages_are_told_as_people_do() {
        let now = Instant::now();
        let mut history = History::new(1);
        history.push(b"1\n", now);
        for (seconds, words) in [
            (0, "moments"),
            (59, "moments"),
            (60, "1 minute"),
            (3599, "59 minutes"),
            (3600, "1 hour"),
            (86_399, "23 hours"),
            (86_400, "1 day"),
            (900_000, "10 days"),
        ] {
            let age = history.age(now + Duration::from_secs(seconds));
            assert_eq!(age.to_string(), words);
        }
    }

    proptest! {
        #[test]
        fn it_is_the_longest_end_of_all_that_fits(
            max_lines in 0_usize..6,
            lengths in prop::collection::vec(0_usize..MAX_HISTORY_BYTES / 2, 0..20),
        ) {
            let now = Instant::now();
            let mut history = History::new(max_lines);
            let mut lines: Vec<Vec<u8>> = Vec::new();
            for (nth, length) in lengths.into_iter().enumerate() {
                let mut line = vec![b'a' + nth as u8; length];
                line.push(b'\n');
                history.push(&line, now);
                lines.push(line);
                let fits = |count: &usize| {
                    let end = &lines[lines.len() - count..];
                    *count <= max_lines && end.concat().len() <= MAX_HISTORY_BYTES
                };
                let most = (0..=lines.len()).filter(fits).max().unwrap();
                prop_assert_eq!(history.len(), most);
                prop_assert_eq!(text(&history), lines[lines.len() - most..].concat());
            }
        }
    }
}
