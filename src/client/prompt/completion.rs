//! What Tab makes of the beginning of a word: commands and names.

use std::ops::Range;

use crate::client::people::People;
use crate::room::command::COMMANDS;

/// What the word at the cursor may become, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Where in the text the word is; its end moves as candidates take its place.
    pub place: Range<usize>,
    candidates: Vec<String>,
    at: usize,
}

/// To which candidate one goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the next.
    Next,
    /// To the one before.
    Previous,
}

impl Completion {
    /// What the word in `text` that ends at the byte `cursor` may become: at the beginning
    /// a command, elsewhere a name; not `own_name`. `None` if there is nothing.
    pub fn of(text: &str, cursor: usize, people: &People, own_name: Option<&str>) -> Option<Self> {
        let before = &text[..cursor];
        let start = before.rfind(char::is_whitespace).map_or(0, |at| {
            at + before[at..].chars().next().map_or(0, char::len_utf8)
        });
        let word = &before[start..];
        let is_first = before[..start].trim().is_empty();
        if is_first && word.starts_with('/') {
            let word = word.to_ascii_lowercase();
            let meant = COMMANDS.iter().filter(|command| command.starts_with(&word));
            return Self::new(start..cursor, meant.map(|command| format!("{command} ")));
        }
        // As people address each other elsewhere, or between brackets.
        let name = word.trim_start_matches(|c: char| c.is_ascii_punctuation());
        let start = cursor - name.len();
        let word = &before[start..];
        let names_somebody = before[..start].trim().eq_ignore_ascii_case("/msg");
        if word.is_empty() && !names_somebody {
            return None;
        }
        let end = match is_first {
            true => ": ",
            false => " ",
        };
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

    /// What takes the word's place now.
    pub fn candidate(&self) -> &str {
        &self.candidates[self.at]
    }

    /// Goes on to another candidate.
    pub fn turn(&mut self, direction: Direction) {
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
    use crate::client::message::Message;

    fn people() -> People {
        let mut people = People::new();
        for line in ["<alice> hi", "<Zoë> hi", "<alf> hi", "<bob> hi"] {
            people.heard(&Message::parse(line));
        }
        people
    }

    /// All candidates for the word at the end of `text`, and where that begins.
    fn candidates(text: &str) -> (usize, Vec<String>) {
        match Completion::of(text, text.len(), &people(), Some("bob")) {
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
    fn one_goes_through_the_candidates_in_both_directions() {
        let mut completion = Completion::of("al", 2, &people(), None).unwrap();
        let mut seen = vec![completion.candidate().to_owned()];
        for direction in [Direction::Next, Direction::Next, Direction::Previous] {
            completion.turn(direction);
            seen.push(completion.candidate().to_owned());
        }
        assert_eq!(seen, ["alf: ", "alice: ", "alf: ", "alice: "]);
    }
}
