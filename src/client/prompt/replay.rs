//! The room's history after a reconnection: shows only what was missed.

use std::collections::VecDeque;

use crate::client::message::{Age, Kind, Message};
use crate::protocol::wording::OPERATOR_PREFIX;
use crate::room::greeting;

/// How many of the last lines are recognised. A room's history is shorter by default.
const MAX_RECENT: usize = 500;

/// The most of a history that is held until it is known what was missed. A room's history is
/// smaller.
const MAX_HELD_BYTES: usize = 1024 * 1024;

/// Nobody takes more names than this.
const MAX_OWN_NAMES: usize = 100;

/// The last lines heard, and the history that the room is sending.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// The public lines of others, oldest first.
    recent: VecDeque<String>,
    /// The names and addresses under which we have said something.
    own_names: Vec<String>,
    /// How many greetings there were.
    greetings: usize,
    /// The history so far, without our own lines.
    past: Vec<String>,
    past_bytes: usize,
}

impl Replay {
    /// Passes `message` on to `show` if it is news, with the news among those held back before
    /// it. On the first connection every message is news.
    pub(crate) fn pass(&mut self, message: &Message<'_>, show: &mut dyn FnMut(&Message<'_>)) {
        if message.kind == Kind::Welcome {
            self.greetings += 1;
            self.past.clear();
            self.past_bytes = 0;
        }
        if self.greetings <= 1 {
            self.note(message);
            return show(message);
        }
        match message.age {
            Age::Past { following } => {
                if self.is_of_others(message) {
                    self.past.push(message.line.to_owned());
                    self.past_bytes += message.line.len();
                }
                if following == 0 || self.past_bytes > MAX_HELD_BYTES {
                    self.pass_missed(show);
                }
            }
            // The user knows the room already.
            Age::Now if message.kind == Kind::Welcome || is_heading(message) => {}
            Age::Now => {
                self.note(message);
                show(message);
            }
        }
    }

    /// We say something under `name`, or from that address: lines under it are no news.
    pub(crate) fn add_own_name(&mut self, name: &str) {
        let is_known = self.own_names.iter().any(|known| known == name);
        if !is_known && self.own_names.len() < MAX_OWN_NAMES {
            self.own_names.push(name.to_owned());
            // Lines of others under that name count as ours from now on, here as in the history.
            self.recent
                .retain(|line| Message::parse(line).name != Some(name));
        }
    }

    fn note(&mut self, message: &Message<'_>) {
        if self.is_of_others(message) {
            self.note_line(message.line);
        }
    }

    /// Whether others said it, and the history has it.
    fn is_of_others(&self, message: &Message<'_>) -> bool {
        let is_own = |name| self.own_names.iter().any(|own| own == name);
        is_remembered(message) && !message.name.is_some_and(is_own)
    }

    fn note_line(&mut self, line: &str) {
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(line.to_owned());
    }

    /// Shows what was missed: what follows the longest beginning of the history that equals
    /// the last lines we heard.
    fn pass_missed(&mut self, show: &mut dyn FnMut(&Message<'_>)) {
        let past = std::mem::take(&mut self.past);
        self.past_bytes = 0;
        let is_known = |&count: &usize| {
            let last = self.recent.range(self.recent.len() - count..);
            last.eq(&past[..count])
        };
        let most = past.len().min(self.recent.len());
        let known = (0..=most).rev().find(is_known).unwrap_or(0);
        let missed = &past[known..];
        for (nth, line) in missed.iter().enumerate() {
            self.note_line(line);
            let following = missed.len() - 1 - nth;
            show(&Message {
                age: Age::Past { following },
                ..Message::parse(line)
            });
        }
    }
}

/// Whether a room's history has messages of this kind.
fn is_remembered(message: &Message<'_>) -> bool {
    match message.kind {
        Kind::Message | Kind::Action => true,
        Kind::Notice => message.text.starts_with(OPERATOR_PREFIX),
        _ => false,
    }
}

fn is_heading(message: &Message<'_>) -> bool {
    message.kind == Kind::Notice && greeting::count_in_heading(message.text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::incoming::Incoming;

    /// A replay for somebody called `me`.
    fn replay() -> Replay {
        let mut replay = Replay::default();
        replay.add_own_name("me");
        replay
    }

    /// What is shown of `text` on a new connection.
    fn shown(replay: &mut Replay, text: &str) -> Vec<String> {
        let mut shown = Vec::new();
        Incoming::new().push(text.as_bytes(), &mut |message| {
            replay.pass(message, &mut |message| {
                shown.push(message.line.to_owned());
            });
        });
        shown
    }

    #[test]
    fn ones_own_lines_are_known_under_every_name() {
        let mut replay = Replay::default();
        replay.add_own_name("10.0.0.1");
        shown(&mut replay, "Welcome to this chatroom!\n<a> 1\n");
        replay.add_own_name("bob");
        shown(&mut replay, "<a> 2\n");
        let back = greeting(&["<a> 1", "<10.0.0.1> x", "<bob> y", "<a> 2", "<a> 3"]);
        assert_eq!(shown(&mut replay, &back), ["<a> 3"]);
    }

    #[test]
    fn what_others_said_by_a_name_before_it_was_ours_hides_nothing() {
        let mut replay = Replay::default();
        shown(
            &mut replay,
            "Welcome to this chatroom!\n<a> 1\n<bob> 2\n<a> 3\n",
        );
        replay.add_own_name("bob");
        let back = greeting(&["<a> 1", "<bob> 2", "<a> 3", "<bob> mine", "<a> 4"]);
        assert_eq!(shown(&mut replay, &back), ["<a> 4"]);
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
        let greeting = greeting(&["<a> 1", "<me> 2"]);
        let shown = shown(&mut replay(), &greeting);
        assert_eq!(shown.join("\n") + "\n", greeting);
    }

    #[test]
    fn after_a_reconnection_only_what_was_missed_is_shown() {
        for (remembered, missed) in [
            (
                &["<a> 2", "<a> 3", "<a> 4", "* b 5"][..],
                &["<a> 4", "* b 5"][..],
            ),
            (&["<a> 2", "<a> 3"], &[]),
            (&["<a> 8", "-- operator: 9"], &["<a> 8", "-- operator: 9"]),
            // A line said twice does not count as heard before.
            (
                &["<a> 2", "<a> 3", "<c> new", "<a> 3", "<d> 4"],
                &["<c> new", "<a> 3", "<d> 4"],
            ),
            // One's own lines are known, wherever they stand.
            (
                &["<me> x", "<a> 3", "<me> y", "<a> 4", "<me> z"],
                &["<a> 4"],
            ),
        ] {
            let mut replay = replay();
            let before = greeting(&["<a> 1", "<a> 2"]) + "-- b left (2 here)\n<a> 3\n";
            shown(&mut replay, &before);
            assert_eq!(shown(&mut replay, &greeting(remembered)), missed);
            assert!(
                shown(&mut replay, &greeting(remembered)).is_empty(),
                "twice"
            );
        }
    }

    #[test]
    fn what_is_said_now_is_news_though_it_was_said_before() {
        let mut replay = replay();
        shown(&mut replay, "Welcome to this chatroom!\n<a> 3\n");
        let greeted = shown(&mut replay, "Welcome to this chatroom!\n<a> 3\n<me> 4\n");
        assert_eq!(greeted, ["<a> 3", "<me> 4"]);
    }

    #[test]
    fn a_greeting_that_was_cut_short_is_forgotten() {
        let mut replay = Replay::default();
        shown(&mut replay, "Welcome to this chatroom!\n");
        let whole = greeting(&["<a> 1", "<a> 2"]);
        let cut = whole.strip_suffix("<a> 2\n").unwrap();
        assert!(shown(&mut replay, cut).is_empty());
        assert_eq!(shown(&mut replay, &whole), ["<a> 1", "<a> 2"]);
    }

    #[test]
    fn an_endless_history_is_not_held_back() {
        let mut replay = Replay::default();
        shown(&mut replay, "Welcome to this chatroom!\n");
        let lines = format!("<a> {}\n", "x".repeat(1000)).repeat(1100);
        let text = format!(
            "Welcome to this chatroom!\n-- the last 9999 lines, the latest moments ago:\n{lines}"
        );
        assert!(shown(&mut replay, &text).len() > 1000);
        assert!(replay.past_bytes < MAX_HELD_BYTES);
    }
}
