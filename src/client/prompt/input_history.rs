//! What was typed before.

/// So many inputs are remembered; the oldest are forgotten first.
const MAX_INPUTS: usize = 500;

/// The inputs, and where among them one stands.
#[derive(Debug, Default)]
pub struct InputHistory {
    /// Oldest first.
    inputs: Vec<String>,
    /// Which one is shown; `None` for none, but what is being typed.
    at: Option<usize>,
    /// What was being typed when one was shown first.
    draft: String,
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
        let is_news = self.inputs.last().is_none_or(|last| last != input);
        if is_news && !input.trim().is_empty() {
            if self.inputs.len() == MAX_INPUTS {
                self.inputs.remove(0);
            }
            self.inputs.push(input.to_owned());
        }
    }

    /// The one before the one that is shown; `current` is what is shown now.
    pub fn older(&mut self, current: &str) -> Option<&str> {
        let at = match self.at {
            None => self.inputs.len(),
            Some(at) => at,
        };
        let older = at.checked_sub(1)?;
        if self.at.is_none() {
            self.draft = current.to_owned();
        }
        self.at = Some(older);
        Some(&self.inputs[older])
    }

    /// The one after the one that is shown, or what was being typed.
    pub fn newer(&mut self) -> Option<&str> {
        let newer = self.at? + 1;
        if newer < self.inputs.len() {
            self.at = Some(newer);
            return Some(&self.inputs[newer]);
        }
        self.at = None;
        Some(&self.draft)
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
        assert_eq!(history.newer(), None);
        assert_eq!(history.older("draft"), Some("Three"));
        assert_eq!(history.older("Three"), Some("two"));
        assert_eq!(history.older("two"), Some("one"));
        assert_eq!(history.older("one"), None);
        assert_eq!(history.newer(), Some("two"));
        assert_eq!(history.newer(), Some("Three"));
        assert_eq!(history.newer(), Some("draft"));
        assert_eq!(history.newer(), None);
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
    }
}
