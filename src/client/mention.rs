//! Where a text mentions somebody by name.

use std::ops::Range;

use crate::protocol::name;

/// A name to look for, without regard to case and form.
#[derive(Clone, Debug)]
pub(crate) struct Mention {
    folded: String,
}

impl Mention {
    pub(crate) fn of(name: &str) -> Self {
        Self {
            folded: name::fold(name),
        }
    }

    /// The byte ranges where `text` has the name as a whole word.
    pub(crate) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut rest = 0;
        while let Some(start) = text[rest..].find(may_be_in_a_name).map(|at| rest + at) {
            let end = text[start..]
                .find(|c| !may_be_in_a_name(c))
                .map_or(text.len(), |at| start + at);
            rest = end;
            // No name begins with punctuation or ends with a dot. A final hyphen or underscore
            // may belong to the name or to the text around it.
            let word = text[start..end].trim_start_matches(is_punctuation);
            let start = end - word.len();
            let shorter = [
                word.trim_end_matches('.'),
                word.trim_end_matches(is_punctuation),
            ];
            let is_meant = |word: &&str| name::fold(word) == self.folded;
            if let Some(word) = shorter.into_iter().find(is_meant) {
                found.push(start..start + word.len());
            }
        }
        found
    }
}

fn is_punctuation(c: char) -> bool {
    matches!(c, '.' | '-' | '_')
}

fn may_be_in_a_name(c: char) -> bool {
    name::may_be_in_a_word(c) || is_punctuation(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_word_of_its_own() {
        let mention = Mention::of("Zoë");
        for (text, found) in [
            ("Zoë", &["Zoë"][..]),
            ("zoë: and @ZOË, then", &["zoë", "ZOË"]),
            ("ask zoe\u{308}.", &["zoe\u{308}"]),
            ("zoë's, (zoë)", &["zoë", "zoë"]),
            ("--zoë-- ...zoë...", &["zoë", "zoë"]),
            ("zoë-b, zoë.com, a_zoë, zoës, zoe", &[]),
            ("", &[]),
        ] {
            let words: Vec<_> = mention.find(text).into_iter().map(|at| &text[at]).collect();
            assert_eq!(words, found, "{text}");
        }
        assert_eq!(Mention::of("b_").find("b_, b_. b"), [0..2, 4..6]);
    }
}
