//! Where a text mentions somebody by name.

use std::ops::Range;

use super::people::People;
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

    /// The byte ranges where `text` has the name as a whole word, unless that word is the name
    /// of one of the `others`.
    pub(crate) fn find(&self, text: &str, others: &People) -> Vec<Range<usize>> {
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
            let whole = word.trim_end_matches('.');
            let shorter = word.trim_end_matches(is_punctuation);
            let is_meant = |word: &&str| name::fold(word) == self.folded;
            let word = if is_meant(&whole) {
                Some(whole)
            } else {
                Some(shorter).filter(|word| is_meant(word) && !others.has(whole))
            };
            if let Some(word) = word {
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
    use crate::frontend::message::Message;

    #[test]
    fn the_exact_name_of_somebody_present_wins() {
        let mut people = People::default();
        people.heard(&Message::parse("<rob_> hi"));
        people.heard(&Message::parse("<ROB> hi"));
        let mention = Mention::of("rob");
        for (text, found) in [
            ("rob_ and Rob_.", &[][..]),
            ("rob, rob- and rob.", &[0..3, 5..8, 14..17]),
        ] {
            assert_eq!(mention.find(text, &people), found, "{text}");
        }
    }

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
            let words: Vec<_> = mention
                .find(text, &People::default())
                .into_iter()
                .map(|at| &text[at])
                .collect();
            assert_eq!(words, found, "{text}");
        }
        let found = Mention::of("b_").find("b_, b_. b", &People::default());
        assert_eq!(found, [0..2, 4..6]);
    }
}
