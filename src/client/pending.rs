//! Lines that the user has said and the room has not answered: none is lost silently, and none
//! is said twice.
//!
//! The room answers each line with its number. After a loss it says how many it has acted on:
//! those are taken, and the others are said again, in order. If the session is gone, nobody
//! knows what became of the lines that were sent: they are in doubt. So is a line that seems to
//! end connections: the oldest one unanswered at two losses in a row.
//!
//! Knows no socket and no clock.
#![cfg_attr(not(test), expect(dead_code, reason = "no server numbers lines yet"))]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Lines on their way.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Oldest first.
    lines: VecDeque<Line>,
    /// How many of them, from the first on, were sent since the room said last how many it has
    /// acted on. Invariant: these have the numbers from `first_n` on.
    sent: usize,
    /// The number of the first line, once it is sent.
    first_n: u64,
    /// The room has said hello on this connection. Before, nothing is sent.
    is_open: bool,
    /// At how many losses in a row the first line was the oldest one unanswered.
    losses: u32,
    /// When the room last answered, or explained why it does not.
    progress_at: Option<Instant>,
}

/// A line that the user has said.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    text: Vec<u8>,
    /// When it was last sent.
    sent_at: Option<Instant>,
}

/// What a resumed session knows of the lines that were sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resumption {
    /// The room has acted on these.
    pub(crate) taken: Vec<Vec<u8>>,
    /// The room has not, and this one is not said again: it may be what ends the connections.
    pub(crate) suspect: Option<Vec<u8>>,
}

/// A line that is the oldest unanswered at so many losses in a row is not said again.
const MAX_LOSSES: u32 = 2;

impl Pending {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The user says `line`, without its line end. An empty one has no number and no answer.
    pub(crate) fn say(&mut self, line: Vec<u8>) {
        if !line.is_empty() {
            self.lines.push_back(Line {
                text: line,
                sent_at: None,
            });
        }
    }

    /// The next line to be sent. `None` if there is none, or the room has not said hello.
    pub(crate) fn next_to_send(&mut self, now: Instant) -> Option<&[u8]> {
        if !self.is_open {
            return None;
        }
        let line = self.lines.get_mut(self.sent)?;
        line.sent_at = Some(now);
        self.sent += 1;
        Some(&line.text)
    }

    /// The room has answered our line `n`. Returns the lines that are done with: that one, and
    /// those before it, whose answers are no longer in the room's log.
    pub(crate) fn answered(&mut self, n: u64, now: Instant) -> Vec<Vec<u8>> {
        self.progress_at = Some(now);
        self.take_until(n)
    }

    /// The room explains why it does not answer.
    pub(crate) fn waited(&mut self, now: Instant) {
        self.progress_at = Some(now);
    }

    /// The connection is lost.
    pub(crate) fn lost(&mut self) {
        // A connection without a hello has sent nothing.
        if std::mem::take(&mut self.is_open) && self.sent > 0 {
            self.losses += 1;
        }
    }

    /// The room goes on with our session, in which it has acted on `heard` lines.
    pub(crate) fn resumed(&mut self, heard: u64, now: Instant) -> Resumption {
        let taken = self.take_until(heard);
        let suspect = if self.losses >= MAX_LOSSES {
            self.losses = 0;
            self.lines.pop_front().map(|line| line.text)
        } else {
            None
        };
        self.open(heard, now);
        Resumption { taken, suspect }
    }

    /// The room has begun a new session for us, in which it has acted on `heard` lines. Returns
    /// the lines that are in doubt: sent in the old session, and not answered.
    pub(crate) fn begun(&mut self, heard: u64, now: Instant) -> Vec<Vec<u8>> {
        let in_doubt = self.lines.drain(..self.sent).map(|line| line.text);
        let in_doubt = in_doubt.collect();
        self.losses = 0;
        self.open(heard, now);
        in_doubt
    }

    /// Since when the oldest line that was sent waits for its answer, whatever was answered or
    /// explained meanwhile apart. `None` while nothing does.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        let first = self.lines.front().filter(|_| self.sent > 0)?;
        first.sent_at.max(self.progress_at)
    }

    /// How many lines have waited for their answer for `patience`: to be shown so.
    pub(crate) fn overdue(&self, patience: Duration, now: Instant) -> usize {
        let sent = self.lines.iter().take(self.sent);
        let is_overdue = |line: &&Line| line.sent_at.is_some_and(|at| at + patience <= now);
        sent.take_while(is_overdue).count()
    }

    /// Whether every line was answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What is left when the user leaves: the lines in doubt, and those that were never sent.
    pub(crate) fn into_rest(mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let unsent = self.lines.split_off(self.sent);
        let text = |lines: VecDeque<Line>| lines.into_iter().map(|line| line.text).collect();
        (text(self.lines), text(unsent))
    }

    /// Takes the lines that were sent, up to number `n`.
    fn take_until(&mut self, n: u64) -> Vec<Vec<u8>> {
        let count = n.saturating_add(1).saturating_sub(self.first_n);
        // A server may say anything.
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.sent);
        if count > 0 {
            self.losses = 0;
            self.sent -= count;
            self.first_n += count as u64;
        }
        self.lines.drain(..count).map(|line| line.text).collect()
    }

    fn open(&mut self, heard: u64, now: Instant) {
        self.sent = 0;
        self.first_n = heard.saturating_add(1);
        self.is_open = true;
        self.progress_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn sent(pending: &mut Pending, now: Instant) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(line) = pending.next_to_send(now) {
            sent.push(String::from_utf8(line.to_vec()).unwrap());
        }
        sent
    }

    fn of(lines: &[&str]) -> Pending {
        let mut pending = Pending::new();
        for line in lines {
            pending.say(line.as_bytes().to_vec());
        }
        pending
    }

    fn text(lines: Vec<Vec<u8>>) -> Vec<String> {
        let text = |line| String::from_utf8(line).unwrap();
        lines.into_iter().map(text).collect()
    }

    #[test]
    fn what_the_room_has_not_acted_on_is_said_again_once() {
        let now = Instant::now();
        let mut pending = of(&["one", "", "two", "three"]);
        assert!(sent(&mut pending, now).is_empty(), "before the hello");
        assert!(pending.begun(0, now).is_empty());
        assert_eq!(sent(&mut pending, now), ["one", "two", "three"]);
        assert_eq!(text(pending.answered(1, now)), ["one"]);
        assert!(pending.answered(1, now).is_empty(), "replayed");
        pending.lost();
        pending.say(b"four".to_vec());
        assert!(sent(&mut pending, now).is_empty());
        let resumption = pending.resumed(2, now);
        assert_eq!(text(resumption.taken), ["two"]);
        assert_eq!(resumption.suspect, None);
        assert_eq!(sent(&mut pending, now), ["three", "four"]);
        assert_eq!(text(pending.answered(4, now)), ["three", "four"]);
        assert!(pending.is_empty());
    }

    #[test]
    fn without_the_session_what_was_sent_is_in_doubt() {
        let now = Instant::now();
        let mut pending = of(&["one", "two"]);
        pending.begun(0, now);
        sent(&mut pending, now);
        pending.lost();
        pending.say(b"three".to_vec());
        assert_eq!(text(pending.begun(0, now)), ["one", "two"]);
        assert_eq!(sent(&mut pending, now), ["three"]);
        pending.say(b"four".to_vec());
        let (in_doubt, unsent) = pending.into_rest();
        assert_eq!(
            (text(in_doubt), text(unsent)),
            (vec!["three".to_owned()], vec!["four".to_owned()])
        );
    }

    #[test]
    fn a_line_that_ends_connections_is_not_said_a_third_time() {
        let now = Instant::now();
        let mut pending = of(&["GET / HTTP/1.1", "hi"]);
        pending.begun(0, now);
        for suspect in [None, Some(b"GET / HTTP/1.1".to_vec())] {
            assert_eq!(sent(&mut pending, now).len(), 2);
            pending.lost();
            // One that never said hello does not count.
            pending.lost();
            let resumption = pending.resumed(0, now);
            assert_eq!(resumption.suspect, suspect);
        }
        assert_eq!(sent(&mut pending, now), ["hi"]);
        assert_eq!(text(pending.answered(1, now)), ["hi"]);
    }

    #[test]
    fn a_line_that_was_taken_is_no_suspect() {
        let now = Instant::now();
        let mut pending = of(&["one", "two"]);
        pending.begun(0, now);
        for heard in [0, 1] {
            sent(&mut pending, now);
            pending.lost();
            let resumption = pending.resumed(heard, now);
            assert_eq!(resumption.taken.len() as u64, heard);
            assert_eq!(resumption.suspect, None);
        }
        sent(&mut pending, now);
        pending.lost();
        assert_eq!(pending.resumed(1, now).suspect, None, "its first loss");
    }

    #[test]
    fn how_long_a_line_waits_counts_from_the_last_sign_of_life() {
        let now = Instant::now();
        let [second, third] = [1, 2].map(|seconds| now + Duration::from_secs(seconds));
        let mut pending = of(&["one"]);
        pending.begun(0, now);
        assert_eq!(pending.waits_since(), None);
        sent(&mut pending, now);
        assert_eq!(pending.waits_since(), Some(now));
        assert_eq!(pending.overdue(Duration::from_secs(1), now), 0);
        assert_eq!(pending.overdue(Duration::from_secs(1), second), 1);
        pending.waited(second);
        assert_eq!(pending.waits_since(), Some(second));
        pending.answered(1, third);
        assert_eq!(pending.waits_since(), None);
    }

    #[test]
    fn a_hostile_server_ends_no_line_that_was_not_sent() {
        let now = Instant::now();
        let mut pending = of(&["one", "two"]);
        pending.begun((1 << 53) - 1, now);
        pending.next_to_send(now);
        assert_eq!(text(pending.answered((1 << 53) + 5, now)), ["one"]);
        assert!(pending.answered(0, now).is_empty());
        pending.lost();
        assert!(pending.resumed(0, now).taken.is_empty());
        assert_eq!(sent(&mut pending, now), ["two"]);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Say,
        Send,
        /// The server acts on so many of the lines on their way, and answers.
        Serve(usize),
        /// So many answers arrive.
        Read(usize),
        /// The connection ends, at either end or both.
        Break,
        /// It ends when the server has acted on a line, before its answer has arrived.
        LoseAnswers,
        Reconnect,
        /// The server is started anew.
        Restart,
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => Just(Act::Say),
            4 => Just(Act::Send),
            4 => (0_usize..4).prop_map(Act::Serve),
            4 => (0_usize..4).prop_map(Act::Read),
            2 => Just(Act::Break),
            1 => Just(Act::LoseAnswers),
            4 => Just(Act::Reconnect),
            1 => Just(Act::Restart),
        ]
    }

    /// A server with one session, and a network that breaks.
    #[derive(Default)]
    struct World {
        /// What the server has acted on, in all its lives.
        log: Vec<u32>,
        heard: u64,
        /// The server does not know our session any more.
        is_new: bool,
        is_connected: bool,
        on_their_way: VecDeque<u32>,
        answers: VecDeque<u64>,
    }

    impl World {
        fn serve(&mut self) {
            if let Some(line) = self.on_their_way.pop_front() {
                self.log.push(line);
                self.heard += 1;
                self.answers.push_back(self.heard);
            }
        }

        fn end(&mut self, pending: &mut Pending) {
            if std::mem::take(&mut self.is_connected) {
                pending.lost();
            }
            self.on_their_way.clear();
            self.answers.clear();
        }
    }

    fn number(line: &[u8]) -> u32 {
        std::str::from_utf8(line).unwrap().parse().unwrap()
    }

    proptest! {
        #[test]
        fn each_line_is_said_once_in_order_or_its_user_is_told(acts in vec(any_act(), 0..120)) {
            let now = Instant::now();
            let mut world = World { is_new: true, ..World::default() };
            let mut pending = Pending::new();
            let mut said = 0;
            let mut done: Vec<u32> = Vec::new();
            let mut in_doubt: Vec<u32> = Vec::new();
            let finally = [Act::Break, Act::Reconnect, Act::Send, Act::Serve(1000), Act::Read(1000)];
            for act in acts.into_iter().chain(finally) {
                match act {
                    Act::Say => {
                        pending.say(said.to_string().into_bytes());
                        said += 1;
                    }
                    Act::Send => while let Some(line) = pending.next_to_send(now) {
                        prop_assert!(world.is_connected);
                        world.on_their_way.push_back(number(line));
                    },
                    Act::Serve(count) => for _ in 0..count {
                        world.serve();
                    },
                    Act::Read(count) => for _ in 0..count {
                        if let Some(n) = world.answers.pop_front() {
                            let answered = pending.answered(n, now);
                            prop_assert!(answered.len() <= 1);
                            done.extend(answered.iter().map(|line| number(line)));
                        }
                    },
                    Act::Break => world.end(&mut pending),
                    Act::LoseAnswers => {
                        world.serve();
                        world.end(&mut pending);
                    }
                    Act::Reconnect if !world.is_connected => {
                        if std::mem::take(&mut world.is_new) {
                            world.heard = 0;
                            let lines = pending.begun(0, now);
                            in_doubt.extend(lines.iter().map(|line| number(line)));
                        } else {
                            let resumption = pending.resumed(world.heard, now);
                            done.extend(resumption.taken.iter().map(|line| number(line)));
                            in_doubt.extend(resumption.suspect.iter().map(|line| number(line)));
                        }
                        world.is_connected = true;
                    }
                    Act::Reconnect => {}
                    Act::Restart => {
                        world.end(&mut pending);
                        world.is_new = true;
                    }
                }
            }
            prop_assert!(pending.is_empty());
            // In the order in which they were said, and none twice.
            prop_assert!(world.log.is_sorted_by(|a, b| a < b), "{:?}", world.log);
            for line in 0..said {
                let is_logged = world.log.contains(&line);
                let is_told = in_doubt.contains(&line);
                prop_assert!(is_logged || is_told, "{line} is lost");
                prop_assert!(done.contains(&line) != is_told, "{line}");
                prop_assert!(!done.contains(&line) || is_logged, "{line} is not in the log");
            }
        }
    }
}
