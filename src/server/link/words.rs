//! How the rooms stand, in words.

use crate::protocol::event::text::Count;
use crate::protocol::label::ServerLabel;

use super::machine::{Notice, Why};

/// So many servers are named at once.
const MAX_NAMED: usize = 5;

/// What people at the server `own` are told, where `here` people are in the room now.
pub(crate) fn words(notice: &Notice, own: &ServerLabel, here: usize) -> String {
    match notice {
        Notice::Wait => "one moment: the other rooms do not answer".to_owned(),
        Notice::Resumed => "the other rooms answer again".to_owned(),
        Notice::Apart { doubtful, why } => {
            let why = match why {
                Why::NoAnswer => String::new(),
                Why::LabelTaken => format!(" (another server is called {own}, too)"),
            };
            let doubt = match doubtful {
                0 => String::new(),
                1 => "; the last line may not have been heard elsewhere".to_owned(),
                lines => format!(
                    "; the last {} lines may not have been heard elsewhere",
                    Count(*lines)
                ),
            };
            format!("the rooms are apart{why}: only those on {own} hear you{doubt}")
        }
        Notice::Together { missed: 0, .. } => "together again".to_owned(),
        Notice::Together { missed: 1, .. } => {
            "together again; 1 line was said elsewhere meanwhile:".to_owned()
        }
        Notice::Together { missed, shown } => {
            let last = if *missed == *shown as u64 {
                String::new()
            } else {
                format!(", the last {shown}")
            };
            let missed = Count(*missed as usize);
            format!("together again; {missed} lines were said elsewhere meanwhile{last}:")
        }
        Notice::Lost { label, lines: 1 } => format!("1 line from {label} was lost"),
        Notice::Lost { label, lines } => {
            format!("{} lines from {label} were lost", Count(*lines as usize))
        }
        Notice::OutOfReach(gone) => {
            let named = gone.iter().take(MAX_NAMED).map(|label| label.to_string());
            let mut named: Vec<String> = named.collect();
            let more = gone.len() - named.len();
            if more > 0 {
                named.push(format!("{} more servers", Count(more)));
            }
            let verb = if gone.len() == 1 { "is" } else { "are" };
            let here = Count(here);
            match named.split_last() {
                Some((last, before @ [_, ..])) => {
                    let before = before.join(", ");
                    format!("{before} and {last} {verb} out of reach ({here} here)")
                }
                _ => format!("{} {verb} out of reach ({here} here)", named.concat()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_in_plain_words() {
        let label = |text: &str| ServerLabel::parse(text).unwrap();
        let apart = |doubtful, why| Notice::Apart { doubtful, why };
        let together = |missed, shown| Notice::Together { missed, shown };
        let lost = |lines| Notice::Lost {
            label: label("box-b"),
            lines,
        };
        let gone = |count: usize| {
            let labels = (0..count).map(|n| label(&format!("b{n}")));
            Notice::OutOfReach(labels.collect())
        };
        for (notice, text) in [
            (
                apart(0, Why::NoAnswer),
                "the rooms are apart: only those on box-a hear you",
            ),
            (
                apart(1, Why::NoAnswer),
                "the rooms are apart: only those on box-a hear you; \
                 the last line may not have been heard elsewhere",
            ),
            (
                apart(1234, Why::LabelTaken),
                "the rooms are apart (another server is called box-a, too): only those on box-a \
                 hear you; the last 1,234 lines may not have been heard elsewhere",
            ),
            (together(0, 0), "together again"),
            (
                together(1, 1),
                "together again; 1 line was said elsewhere meanwhile:",
            ),
            (
                together(3, 3),
                "together again; 3 lines were said elsewhere meanwhile:",
            ),
            (
                together(1214, 20),
                "together again; 1,214 lines were said elsewhere meanwhile, the last 20:",
            ),
            (lost(1), "1 line from box-b was lost"),
            (lost(12), "12 lines from box-b were lost"),
            (gone(1), "b0 is out of reach (9,204 here)"),
            (gone(2), "b0 and b1 are out of reach (9,204 here)"),
            (
                gone(8),
                "b0, b1, b2, b3, b4 and 3 more servers are out of reach (9,204 here)",
            ),
        ] {
            assert_eq!(words(&notice, &label("box-a"), 9204), text);
        }
    }
}
