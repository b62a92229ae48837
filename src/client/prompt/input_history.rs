//! What was typed before.

use std::collections::HashMap;

/// So many inputs are remembered, and so many bytes of them; the oldest are forgotten first.
const MAX_INPUTS: usize = 500;
const MAX_INPUT_HISTORY_BYTES: usize = 1024 * 1024;

/// The inputs, and where among them one stands.
#[derive(Debug, Default)]
pub struct InputHistory {
    /// Oldest first.
    inputs: Vec<String>,
    /// Of all of them.
    bytes: usize,
    /// Which one is shown; `None` for none, but what is being typed.
    at: Option<usize>,
    /// What was being typed when one was shown first.
    draft: String,
    /// What has been made of some, by number: until something is entered.
    edits: HashMap<usize, String>,
}

impl InputHistory {
    /// Nothing was typed before.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes note of what was typed, unless it is nothing or the same as the one before.
    pub fn push(&mut self, input: &str) {
        self.at = None;
        self.draft.clear();
        self.edits.clear();
        let is_news = self.inputs.last().is_none_or(|last| last != input);
        if is_news && !input.trim().is_empty() {
            self.bytes += input.len();
            self.inputs.push(input.to_owned());
            while self.inputs.len() > MAX_INPUTS || self.bytes > MAX_INPUT_HISTORY_BYTES {
                self.bytes -= self.inputs.remove(0).len();
            }
        }
    }

    /// The one with this number is shown now; before that, `current` was.
    pub fn go_to(&mut self, number: usize, current: &str) {
        self.keep(current);
        self.at = Some(number);
    }

    /// The one before the one that is shown; `current` is what is shown now, which may have
    /// been edited.
    pub fn older(&mut self, current: &str) -> Option<&str> {
        let older = self.at.unwrap_or(self.inputs.len()).checked_sub(1)?;
        self.keep(current);
        self.at = Some(older);
        Some(self.shown(older))
    }

    /// The one after the one that is shown, or what was being typed.
    pub fn newer(&mut self, current: &str) -> Option<&str> {
        let newer = self.at? + 1;
        self.keep(current);
        if newer < self.inputs.len() {
            self.at = Some(newer);
            return Some(self.shown(newer));
        }
        self.at = None;
        Some(&self.draft)
    }

    /// Keeps what is shown until something is entered.
    fn keep(&mut self, current: &str) {
        match self.at {
            None => self.draft = current.to_owned(),
            Some(at) if self.shown(at) != current => {
                drop(self.edits.insert(at, current.to_owned()))
            }
            Some(_) => {}
        }
    }

    fn shown(&self, number: usize) -> &str {
        self.edits.get(&number).unwrap_or(&self.inputs[number])
    }

    /// The last one before the one with this number, or of all, that contains `query`
    /// without regard to case; and its number.
    pub fn find(&self, query: &str, before: Option<usize>) -> Option<(usize, &str)> {
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
        let mut history = InputHistory::new();
        for input in ["one", "two", "two", "  ", "Three"] {
            history.push(input);
        }
        history
    }

    #[test]
    fn one_goes_back_and_comes_to_what_was_being_typed() {
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
    fn what_is_made_of_one_is_kept_until_something_is_entered() {
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
    fn a_new_input_ends_the_going_back() {
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
    fn so_many_are_remembered() {
        let mut history = InputHistory::new();
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
