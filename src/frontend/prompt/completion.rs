//! Tab completion of commands and names.

use std::ops::Range;

use crate::frontend::ignored;
use crate::frontend::people::People;

/// Commands whose first argument is a name.
const NAMING_COMMANDS: [&str; 5] = ["/msg", "/kick", "/ban", "/mute", "/unmute"];

/// The candidates for the word at the cursor, and the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// The word's place in the text; its end moves as candidates are inserted.
    pub(crate) place: Range<usize>,
    candidates: Vec<String>,
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Next,
    Previous,
}

impl Completion {
    /// Completes the word in `text` that ends at the byte `cursor`: to one of `commands` at the
    /// beginning, to a name elsewhere, but not to `own_name`. `None` without candidates.
    pub(crate) fn of(
        text: &str,
        cursor: usize,
        commands: &[&str],
        people: &People,
        own_name: Option<&str>,
    ) -> Option<Self> {
        let before = &text[..cursor];
        let start = before.rfind(char::is_whitespace).map_or(0, |at| {
            at + before[at..].chars().next().map_or(0, char::len_utf8)
        });
        let word = &before[start..];
        let is_first = before[..start].trim().is_empty();
        if is_first && word.starts_with('/') {
            let word = word.to_ascii_lowercase();
            let commands = commands.iter().copied().chain(ignored::COMMANDS);
            let meant = commands.filter(|command| command.starts_with(&word));
            return Self::new(start..cursor, meant.map(|command| format!("{command} ")));
        }
        // Allows for `@name`, as elsewhere, and `(name`.
        let name = word.trim_start_matches(|c: char| c.is_ascii_punctuation());
        let start = cursor - name.len();
        let word = &before[start..];
        let first = before[..start].trim();
        let is_first_word = |command: &&str| first.eq_ignore_ascii_case(command);
        let mut naming = NAMING_COMMANDS.iter().chain(&ignored::COMMANDS);
        let names_somebody = naming.any(is_first_word);
        if word.is_empty() && !names_somebody {
            return None;
        }
        let end = if is_first { ": " } else { " " };
        let names = people.beginning_with(word);
        let others = names.filter(|name| Some(*name) != own_name);
        Self::new(start..cursor, others.map(|name| format!("{name}{end}")))
    }

    fn new(place: Range<usize>, candidates: impl Iterator<Item = String>) -> Option<Self> {
        let candidates: Vec<_> = candidates.collect();
        (!candidates.is_empty()).then_some(Self {
            place,
            candidates,
            at: 0,
        })
    }

    /// The text that takes the word's place.
    pub(crate) fn candidate(&self) -> &str {
        &self.candidates[self.at]
    }

    /// Moves on to another candidate.
    pub(crate) fn step(&mut self, direction: Direction) {
        let count = self.candidates.len();
        self.at = match direction {
            Direction::Next => (self.at + 1) % count,
            Direction::Previous => (self.at + count - 1) % count,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::message::Message;
    use crate::protocol::command::COMMANDS;

    fn people() -> People {
        let mut people = People::default();
        for line in ["<alice> hi", "<Zoë> hi", "<alf> hi", "<bob> hi"] {
            people.heard(&Message::parse(line));
        }
        people
    }

    /// All candidates for the word at the end of `text`, and where that begins.
    fn candidates(text: &str) -> (usize, Vec<String>) {
        match Completion::of(text, text.len(), &COMMANDS, &people(), Some("bob")) {
            Some(completion) => (completion.place.start, completion.candidates),
            None => (0, Vec::new()),
        }
    }

    #[test]
    fn commands_and_names_are_completed_where_they_stand() {
        for (text, start, expected) in [
            ("/m", 0, &["/me ", "/msg "][..]),
            ("/N", 0, &["/nick "]),
            ("/dance", 0, &[]),
            ("al", 0, &["alf: ", "alice: "]),
            ("AL", 0, &["alf: ", "alice: "]),
            ("@al", 1, &["alf: ", "alice: "]),
            ("hi al", 3, &["alf ", "alice "]),
            ("hi\u{2003}zo", 5, &["Zoë "]),
            ("hi @zoe\u{308}", 4, &["Zoë "]),
            ("hi (al", 4, &["alf ", "alice "]),
            ("hi /m", 0, &[]),
            ("/msg ", 5, &["alf ", "Zoë ", "alice "]),
            ("/ignore al", 8, &["alf ", "alice "]),
            ("/ign", 0, &["/ignore "]),
            ("/msg a", 5, &["alf ", "alice "]),
            ("b", 0, &[]),
            ("hi ", 0, &[]),
            ("", 0, &[]),
        ] {
            let (at, found) = candidates(text);
            assert_eq!(found, expected, "{text}");
            assert_eq!(at, start, "{text}");
        }
    }

    #[test]
    fn candidates_are_visited_in_both_directions() {
        let mut completion = Completion::of("al", 2, &COMMANDS, &people(), None).unwrap();
        let mut seen = vec![completion.candidate().to_owned()];
        for direction in [Direction::Next, Direction::Next, Direction::Previous] {
            completion.step(direction);
            seen.push(completion.candidate().to_owned());
        }
        assert_eq!(seen, ["alf: ", "alice: ", "alf: ", "alice: "]);
    }
}
