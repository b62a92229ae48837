//! The history of what was entered.

use std::collections::HashMap;

use crate::frontend::entered::has_password;

/// Beyond these bounds the oldest inputs are forgotten.
const MAX_INPUTS: usize = 500;
const MAX_INPUT_HISTORY_BYTES: usize = 1024 * 1024;

/// The inputs, and the place among them.
#[derive(Debug, Default)]
pub(crate) struct InputHistory {
    /// Oldest first.
    inputs: Vec<String>,
    /// The size of all of them.
    bytes: usize,
    /// The index of the input that is shown; `None` for the draft.
    at: Option<usize>,
    /// What was being typed before the history was shown.
    draft: String,
    /// Edited inputs by index, until something is entered.
    edits: HashMap<usize, String>,
}

impl InputHistory {
    /// Adds `input`, unless it is blank, secret or the same as the last.
    pub(crate) fn push(&mut self, input: &str) {
        self.at = None;
        self.draft.clear();
        self.edits.clear();
        let is_news = self.inputs.last().is_none_or(|last| last != input);
        if is_news && !input.trim().is_empty() && !has_password(input) {
            self.bytes += input.len();
            self.inputs.push(input.to_owned());
            while self.inputs.len() > MAX_INPUTS || self.bytes > MAX_INPUT_HISTORY_BYTES {
                self.bytes -= self.inputs.remove(0).len();
            }
        }
    }

    /// Moves to the input with the index `at`; `current` was shown before.
    pub(crate) fn go_to(&mut self, at: usize, current: &str) {
        self.keep(current);
        self.at = Some(at);
    }

    /// Moves to the input before; `current` is what is shown, which may have been edited.
    pub(crate) fn older(&mut self, current: &str) -> Option<&str> {
        let older = self.at.unwrap_or(self.inputs.len()).checked_sub(1)?;
        self.keep(current);
        self.at = Some(older);
        Some(self.shown(older))
    }

    /// Moves to the input after, or to the draft.
    pub(crate) fn newer(&mut self, current: &str) -> Option<&str> {
        let newer = self.at? + 1;
        self.keep(current);
        if newer < self.inputs.len() {
            self.at = Some(newer);
            return Some(self.shown(newer));
        }
        self.at = None;
        Some(&self.draft)
    }

    /// Keeps edits until something is entered.
    fn keep(&mut self, current: &str) {
        match self.at {
            None => self.draft = current.to_owned(),
            Some(at) if self.shown(at) != current => {
                drop(self.edits.insert(at, current.to_owned()))
            }
            Some(_) => {}
        }
    }

    fn shown(&self, at: usize) -> &str {
        self.edits.get(&at).unwrap_or(&self.inputs[at])
    }

    /// The latest input before the index `before`, or of all, that contains `query` without
    /// regard to case; and its index.
    pub(crate) fn find(&self, query: &str, before: Option<usize>) -> Option<(usize, &str)> {
        let query = query.to_lowercase();
        let before = before.unwrap_or(self.inputs.len());
        let found = (0..before).rfind(|&at| self.inputs[at].to_lowercase().contains(&query))?;
        Some((found, &self.inputs[found]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> InputHistory {
        let mut history = InputHistory::default();
        for input in ["one", "two", "two", "  ", "Three"] {
            history.push(input);
        }
        history
    }

    #[test]
    fn older_and_newer_lead_back_to_the_draft() {
        let mut history = history();
        assert_eq!(history.newer(""), None);
        assert_eq!(history.older("draft"), Some("Three"));
        assert_eq!(history.older("Three"), Some("two"));
        assert_eq!(history.older("two"), Some("one"));
        assert_eq!(history.older("one"), None);
        assert_eq!(history.newer("one"), Some("two"));
        assert_eq!(history.newer("two"), Some("Three"));
        assert_eq!(history.newer("Three"), Some("draft"));
        assert_eq!(history.newer("draft"), None);
    }

    #[test]
    fn edits_are_kept_until_something_is_entered() {
        let mut history = history();
        history.older("");
        assert_eq!(history.older("Three!"), Some("two"));
        assert_eq!(history.newer("a draft"), Some("Three!"));
        assert_eq!(history.older("Three!"), Some("a draft"));
        history.push("a draft");
        assert_eq!(history.older(""), Some("a draft"));
        assert_eq!(history.older("a draft"), Some("Three"));
        assert_eq!(history.older("Three"), Some("two"));
    }

    #[test]
    fn a_new_input_moves_to_the_end() {
        let mut history = history();
        history.older("");
        history.older("");
        history.push("four");
        assert_eq!(history.older(""), Some("four"));
    }

    #[test]
    fn inputs_are_found_by_what_they_contain() {
        let history = history();
        assert_eq!(history.find("t", None), Some((2, "Three")));
        assert_eq!(history.find("T", Some(2)), Some((1, "two")));
        assert_eq!(history.find("t", Some(1)), None);
        assert_eq!(history.find("x", None), None);
    }

    #[test]
    fn the_oldest_are_forgotten_past_the_bounds() {
        let mut history = InputHistory::default();
        for number in 0..=MAX_INPUTS {
            history.push(&number.to_string());
        }
        assert_eq!(history.inputs.len(), MAX_INPUTS);
        assert_eq!(history.inputs[0], "1");
        for number in 0..20 {
            history.push(&number.to_string().repeat(MAX_INPUT_HISTORY_BYTES / 30));
        }
        assert!(history.bytes <= MAX_INPUT_HISTORY_BYTES && history.inputs.len() > 5);
        let bytes: usize = history.inputs.iter().map(String::len).sum();
        assert_eq!(history.bytes, bytes);
    }
}
