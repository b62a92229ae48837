//! Of what the room remembers, what somebody who comes back has missed.

use std::collections::VecDeque;

use crate::client::message::{Age, Kind, Message};
use crate::room::history;

/// So many of the last lines are known again. A room remembers fewer, unless it was told
/// to.
const MAX_RECENT: usize = 200;

/// What was heard last, and what the room says was said before.
#[derive(Debug, Default)]
pub struct Missed {
    /// Oldest first.
    recent: VecDeque<String>,
    /// How often we were greeted.
    greetings: usize,
    /// What the room remembers, as far as it has told: until it is known what of that is
    /// news.
    past: Vec<String>,
}

impl Missed {
    /// Nothing was heard.
    pub fn new() -> Self {
        Self::default()
    }

    /// Passes on to `show` what is news of `message`, and of those before that were held
    /// back. On the first connection that is every message.
    pub fn pass(&mut self, message: &Message<'_>, show: &mut dyn FnMut(&Message<'_>)) {
        if message.kind == Kind::Welcome {
            self.greetings += 1;
            self.past.clear();
        }
        if self.greetings <= 1 {
            self.note(message.line);
            return show(message);
        }
        match message.age {
            Age::Past { following } => {
                self.past.push(message.line.to_owned());
                if following == 0 {
                    self.pass_missed(show);
                }
            }
            // Whoever comes back knows where it is.
            Age::Now if message.kind == Kind::Welcome || is_heading(message) => {}
            Age::Now => {
                self.note(message.line);
                show(message);
            }
        }
    }

    /// We said `line` ourselves, as others see it.
    pub fn note(&mut self, line: &str) {
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(line.to_owned());
    }

    /// All that was said after the last line that we know was missed.
    fn pass_missed(&mut self, show: &mut dyn FnMut(&Message<'_>)) {
        let past = std::mem::take(&mut self.past);
        let known = past.iter().rposition(|line| self.recent.contains(line));
        let missed = &past[known.map_or(0, |at| at + 1)..];
        for (nth, line) in missed.iter().enumerate() {
            self.note(line);
            let following = missed.len() - 1 - nth;
            show(&Message {
                age: Age::Past { following },
                ..Message::parse(line)
            });
        }
    }
}

fn is_heading(message: &Message<'_>) -> bool {
    message.kind == Kind::Notice && history::count_in_heading(message.text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::incoming::Incoming;

    fn shown(missed: &mut Missed, incoming: &mut Incoming, text: &str) -> Vec<String> {
        let mut shown = Vec::new();
        incoming.push(text.as_bytes(), &mut |message| {
            missed.pass(message, &mut |message| shown.push(message.line.to_owned()));
        });
        shown
    }

    fn greeting(lines: &[&str]) -> String {
        let count = lines.len();
        let heading = format!("-- the last {count} lines, the latest moments ago:");
        format!(
            "Welcome to this chatroom!\n{heading}\n{}\n",
            lines.join("\n")
        )
    }

    #[test]
    fn at_first_everything_is_news() {
        let mut missed = Missed::new();
        let greeting = greeting(&["<a> 1", "<a> 2"]);
        let shown = shown(&mut missed, &mut Incoming::new(), &greeting);
        assert_eq!(shown.join("\n") + "\n", greeting);
    }

    #[test]
    fn whoever_comes_back_is_shown_what_was_missed_and_no_more() {
        let mut missed = Missed::new();
        let mut incoming = Incoming::new();
        shown(&mut missed, &mut incoming, &greeting(&["<a> 1", "<a> 2"]));
        shown(&mut missed, &mut incoming, "<a> 3\n");
        missed.note("<me> 4");
        for (remembered, news) in [
            (
                &["<a> 2", "<a> 3", "<me> 4", "<a> 5", "<a> 6"][..],
                &["<a> 5", "<a> 6"][..],
            ),
            (&["<a> 5", "<a> 6"], &[]),
            (&["<a> 8", "<a> 9"], &["<a> 8", "<a> 9"]),
        ] {
            let mut incoming = Incoming::new();
            let greeting = greeting(remembered);
            assert_eq!(shown(&mut missed, &mut incoming, &greeting), news);
        }
        let mut incoming = Incoming::new();
        let greeted = shown(
            &mut missed,
            &mut incoming,
            "Welcome to this chatroom!\n<a> 3\n",
        );
        assert_eq!(greeted, ["<a> 3"], "said again");
    }

    #[test]
    fn a_greeting_that_was_cut_short_is_forgotten() {
        let mut missed = Missed::new();
        shown(
            &mut missed,
            &mut Incoming::new(),
            "Welcome to this chatroom!\n",
        );
        let cut =
            "Welcome to this chatroom!\n-- the last 3 lines, the latest moments ago:\n<a> 1\n";
        assert!(shown(&mut missed, &mut Incoming::new(), cut).is_empty());
        let whole = greeting(&["<a> 1", "<a> 2"]);
        assert_eq!(
            shown(&mut missed, &mut Incoming::new(), &whole),
            ["<a> 1", "<a> 2"]
        );
    }
}
