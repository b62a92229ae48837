//! The room's last lines, for newcomers.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

/// The server sends it all to each newcomer at once, and the kernel buffers it for those
/// that do not read.
pub(crate) const MAX_HISTORY_BYTES: usize = 16 * 1024;

/// The limit of the `--history` option.
pub(crate) const MAX_HISTORY_LINES: u32 = 10_000;

/// A ring of lines, bounded in lines and in bytes.
#[derive(Debug)]
pub(crate) struct History {
    max_lines: usize,
    /// All lines, each with its LF, oldest first.
    text: VecDeque<u8>,
    /// The length of each line in bytes. Invariant: the sum is the length of `text`.
    line_bytes: VecDeque<usize>,
    /// The time of the last line.
    said_at: Option<Instant>,
}

impl History {
    pub(crate) fn new(max_lines: usize) -> Self {
        Self {
            max_lines,
            text: VecDeque::new(),
            line_bytes: VecDeque::new(),
            said_at: None,
        }
    }

    /// Appends `line`, which ends with its LF, and drops the oldest lines above the
    /// bounds.
    pub(crate) fn push(&mut self, line: &[u8], now: Instant) {
        debug_assert!(line.ends_with(b"\n"));
        if self.max_lines == 0 {
            return;
        }
        while self.line_bytes.len() >= self.max_lines
            || self.text.len() + line.len() > MAX_HISTORY_BYTES
        {
            let Some(oldest_bytes) = self.line_bytes.pop_front() else {
                // The line alone is too long. The history stays empty: no gap.
                return;
            };
            self.text.drain(..oldest_bytes);
        }
        self.text.extend(line);
        self.line_bytes.push_back(line.len());
        self.said_at = Some(now);
    }

    pub(crate) fn len(&self) -> usize {
        self.line_bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.line_bytes.is_empty()
    }

    /// The age of the last line.
    pub(crate) fn age(&self, now: Instant) -> Age {
        let said_at = self.said_at.unwrap_or(now);
        Age::of(now.saturating_duration_since(said_at))
    }

    /// The words before the history. `age` is that of the last line.
    pub(crate) fn heading(&self, age: Age) -> String {
        match self.len() {
            1 => format!("the last line, {age} ago:"),
            count => format!("the last {count} lines, the latest {age} ago:"),
        }
    }

    /// Appends all lines to `out`.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        let (first, second) = self.text.as_slices();
        out.extend_from_slice(first);
        out.extend_from_slice(second);
    }
}

/// The number of lines that follow `words`, if they are a [heading](History::heading).
pub(crate) fn count_in_heading(words: &str) -> Option<usize> {
    let rest = words.strip_prefix("the last ")?.strip_suffix(" ago:")?;
    if rest.starts_with("line, ") {
        Some(1)
    } else {
        rest.split_once(" lines, the latest ")?.0.parse().ok()
    }
}

/// A duration, rounded down to one unit. Displayed as `3 minutes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// Less than a minute.
    Moments,
    Minutes(u64),
    Hours(u64),
    Days(u64),
}

impl Age {
    pub(crate) fn of(time: Duration) -> Self {
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
    fn keeps_the_last_lines_in_order() {
        let now = Instant::now();
        let mut history = History::new(3);
        assert!(history.is_empty());
        for line in ["1\n", "2\n", "3\n", "4\n"] {
            history.push(line.as_bytes(), now);
        }
        assert_eq!((text(&history), history.len()), (b"2\n3\n4\n".to_vec(), 3));
    }

    #[test]
    fn a_heading_gives_the_number_of_lines() {
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
    fn an_oversized_line_leaves_no_gap() {
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
    fn a_limit_of_zero_keeps_nothing() {
        let mut history = History::new(0);
        history.push(b"1\n", Instant::now());
        assert!(history.is_empty() && text(&history).is_empty());
    }

    #[test]
    fn ages_are_rounded_down_to_one_unit() {
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
        fn keeps_the_longest_tail_that_fits(
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
