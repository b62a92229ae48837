//! Lines that the user has said and the room has not answered: none is lost silently, and none
//! is said twice.
//!
//! The room answers each line with its number. After a loss it says how many it has acted on:
//! those are taken, and the others are said again, in order. If the session is gone, nobody
//! knows what became of the lines that were sent: they are in doubt. So is a line that seems to
//! end connections: the oldest one unanswered at two losses in a row.
//!
//! A room of another kind answers nothing. There, a line is done with once it is written.
//!
//! Knows no socket and no clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::frontend::MAX_PENDING_BYTES;

/// Nor with so many lines: each takes more memory than its text.
const MAX_PENDING_LINES: usize = 4096;

/// Lines on their way.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Oldest first.
    lines: VecDeque<Line>,
    /// The length of their texts, with their ends.
    bytes: usize,
    /// How many of them, from the first on, were sent since the room said last how many it has
    /// acted on. Invariant: these have the numbers from `first_n` on.
    sent: usize,
    /// The number of the first line, once it is sent.
    first_n: u64,
    /// Whether the room has said hello on this connection, or is one that never does. Before,
    /// nothing is sent.
    is_open: bool,
    /// The room answers.
    is_numbered: bool,
    /// At how many losses in a row the first line was the oldest one unanswered.
    losses: u32,
    /// When the room last answered, or explained why it does not.
    progress_at: Option<Instant>,
}

/// A line that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Without its line end.
    pub(crate) text: Vec<u8>,
    pub(crate) by: By,
    /// Sent though the others have to wait.
    is_ahead: bool,
    /// A part of a line that is too long to be held: which one.
    part: Part,
    /// When it was last sent.
    sent_at: Option<Instant>,
}

/// What there is of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    First,
    Middle,
    Last,
}

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    User,
    /// The client itself: it is not shown.
    Client,
}

/// What a resumed session knows of the lines that were sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resumption {
    /// The room has acted on these.
    pub(crate) taken: Vec<Line>,
    /// The room has not, and this one is not said again: it may be what ends the connections.
    pub(crate) suspect: Option<Line>,
}

/// A line that is the oldest unanswered at so many losses in a row is not said again.
const MAX_LOSSES: u32 = 2;

impl Line {
    /// Whether a room that answers numbers it.
    fn has_number(&self) -> bool {
        !self.text.is_empty() && matches!(self.part, Part::Whole | Part::First)
    }

    /// Whether the line ends with it, to a room that answers or not.
    pub(crate) fn is_end(&self, is_numbered: bool) -> bool {
        is_numbered || matches!(self.part, Part::Whole | Part::Last)
    }
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The user says `line`, without its line end. An empty one has no number and no answer.
    pub(crate) fn say(&mut self, line: Vec<u8>) {
        self.say_part(line, Part::Whole);
    }

    /// The user says this part of a line. A room that answers gets only the first: it has no
    /// room for such a line.
    pub(crate) fn say_part(&mut self, text: Vec<u8>, part: Part) {
        self.insert(self.lines.len(), text, By::User, false);
        self.lines.back_mut().expect("just added").part = part;
    }

    /// Says `line` before all that was not sent yet, even while that has to wait, but after what
    /// was said ahead before.
    pub(crate) fn say_ahead(&mut self, line: Vec<u8>, by: By) {
        let unsent = self.lines.range(self.sent..);
        let ahead = unsent.take_while(|line| line.is_ahead).count();
        self.insert(self.sent + ahead, line, by, true);
    }

    /// The next line to be sent; `is_held` if only those ahead of the others may be. `None` if
    /// there is none, or the room has not said hello.
    pub(crate) fn next_to_send(&mut self, is_held: bool, now: Instant) -> Option<&Line> {
        if !self.is_open {
            return None;
        }
        while self.is_numbered && !self.lines.get(self.sent)?.has_number() {
            let line = self.lines.remove(self.sent).expect("looked at");
            self.bytes -= line.text.len() + 1;
        }
        let line = self.lines.get_mut(self.sent)?;
        if is_held && !line.is_ahead {
            return None;
        }
        line.sent_at = Some(now);
        self.sent += 1;
        Some(line)
    }

    /// Whether the room answers each line.
    pub(crate) fn is_numbered(&self) -> bool {
        self.is_numbered
    }

    /// The room has answered our line `n`. Returns the lines that are done with: that one, and
    /// those before it, whose answers are no longer in the room's log.
    pub(crate) fn answered(&mut self, n: u64, now: Instant) -> Vec<Line> {
        self.progress_at = Some(now);
        self.take_until(n)
    }

    /// `count` lines were written to a room that answers nothing.
    pub(crate) fn written(&mut self, count: usize) -> Vec<Line> {
        debug_assert!(!self.is_numbered && count <= self.sent);
        self.take(count.min(self.sent))
    }

    /// The room explains why it does not answer.
    pub(crate) fn waited(&mut self, now: Instant) {
        self.progress_at = Some(now);
    }

    /// The room ends the connection, and has acted on `heard` lines, and on no others. Returns
    /// those; the others are to be said again.
    pub(crate) fn ended(&mut self, heard: u64) -> Vec<Line> {
        let taken = self.take_until(heard);
        self.sent = 0;
        self.losses = 0;
        self.is_open = false;
        taken
    }

    /// The connection is lost.
    pub(crate) fn lost(&mut self) {
        // A connection without a hello has sent nothing.
        let was_open = std::mem::take(&mut self.is_open);
        if !self.is_numbered {
            // A line that was not written to its end was not said.
            self.sent = 0;
        } else if was_open && self.sent > 0 {
            self.losses += 1;
        }
    }

    /// The room goes on with our session, in which it has acted on `heard` lines.
    pub(crate) fn resumed(&mut self, heard: u64, now: Instant) -> Resumption {
        let taken = self.take_until(heard);
        let suspect = if self.losses >= MAX_LOSSES {
            self.losses = 0;
            self.take(1).pop()
        } else {
            None
        };
        self.open(heard, now);
        Resumption { taken, suspect }
    }

    /// The room has begun a new session for us, in which it has acted on `heard` lines. Returns
    /// the lines that are in doubt: sent in the old session, and not answered.
    pub(crate) fn begun(&mut self, heard: u64, now: Instant) -> Vec<Line> {
        let in_doubt = self.take(self.sent);
        // The client's own were for the old session.
        self.lines.retain(|line| line.by == By::User);
        self.bytes = self.lines.iter().map(|line| line.text.len() + 1).sum();
        self.losses = 0;
        self.open(heard, now);
        in_doubt
    }

    /// The room is of a kind that answers nothing. Returns the lines that are in doubt.
    pub(crate) fn begun_unanswered(&mut self, now: Instant) -> Vec<Line> {
        let in_doubt = self.begun(0, now);
        self.is_numbered = false;
        in_doubt
    }

    /// Since when the oldest line that was sent waits for its answer, whatever was answered or
    /// explained meanwhile apart. `None` while nothing does.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        let first = self.lines.front();
        let first = first.filter(|_| self.sent > 0 && self.is_numbered)?;
        first.sent_at.max(self.progress_at)
    }

    /// When the room last answered, explained why it does not, or said hello.
    pub(crate) fn progress_at(&self) -> Option<Instant> {
        self.progress_at
    }

    /// When a line will have waited for `patience` that has not yet.
    pub(crate) fn next_overdue(&self, patience: Duration, now: Instant) -> Option<Instant> {
        let sent = self
            .lines
            .iter()
            .take(self.sent)
            .filter_map(|line| line.sent_at);
        sent.map(|at| at + patience).find(|at| *at > now)
    }

    /// The lines of the user, oldest first, and whether each was not even sent, or has waited for
    /// its answer for `patience`: to be shown so.
    pub(crate) fn of_user(
        &self,
        patience: Duration,
        now: Instant,
    ) -> impl DoubleEndedIterator<Item = (&[u8], bool)> {
        let lines = self.lines.iter().enumerate();
        lines
            .filter(|(_, line)| line.by == By::User)
            .map(move |(nth, line)| {
                let is_on_its_way = nth < self.sent && self.is_open;
                let is_fresh = line.sent_at.is_some_and(|at| now < at + patience);
                (&line.text[..], !(is_on_its_way && is_fresh))
            })
    }

    /// How many lines were not sent.
    pub(crate) fn unsent_lines(&self) -> usize {
        self.lines.len() - self.sent
    }

    /// How many lines of the user wait, to be sent or to be answered.
    pub(crate) fn user_lines(&self) -> usize {
        let is_users = |line: &&Line| line.by == By::User;
        self.lines.iter().filter(is_users).count()
    }

    /// The length of all of them.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether no more should be said for now.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= MAX_PENDING_BYTES || self.lines.len() >= MAX_PENDING_LINES
    }

    /// Gives up: the lines of the user that were sent, which are in doubt, and how many were
    /// never sent.
    pub(crate) fn give_up(&mut self) -> (Vec<Line>, usize) {
        let mut in_doubt = if self.is_numbered {
            self.take(self.sent)
        } else {
            Vec::new()
        };
        in_doubt.retain(|line| line.by == By::User);
        let unsent = self.user_lines();
        *self = Self::default();
        (in_doubt, unsent)
    }

    fn insert(&mut self, at: usize, text: Vec<u8>, by: By, is_ahead: bool) {
        self.bytes += text.len() + 1;
        let line = Line {
            text,
            by,
            is_ahead,
            part: Part::Whole,
            sent_at: None,
        };
        self.lines.insert(at, line);
    }

    /// Takes the lines that were sent, up to number `n`.
    fn take_until(&mut self, n: u64) -> Vec<Line> {
        let count = n.saturating_add(1).saturating_sub(self.first_n);
        // A server may say anything.
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.sent);
        self.take(count)
    }

    /// Takes the first `count` lines.
    fn take(&mut self, count: usize) -> Vec<Line> {
        if count > 0 {
            self.losses = 0;
            self.sent = self.sent.saturating_sub(count);
            self.first_n += count as u64;
        }
        let taken: Vec<Line> = self.lines.drain(..count).collect();
        self.bytes -= taken.iter().map(|line| line.text.len() + 1).sum::<usize>();
        taken
    }

    fn open(&mut self, heard: u64, now: Instant) {
        self.sent = 0;
        self.first_n = heard.saturating_add(1);
        self.is_open = true;
        self.is_numbered = true;
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
        while let Some(line) = pending.next_to_send(false, now) {
            sent.push(String::from_utf8(line.text.clone()).unwrap());
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

    fn text(lines: Vec<Line>) -> Vec<String> {
        let text = |line: Line| String::from_utf8(line.text).unwrap();
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
        assert!(pending.lines.is_empty());
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
        let (in_doubt, unsent) = pending.give_up();
        assert_eq!((text(in_doubt), unsent), (vec!["three".to_owned()], 1));
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
            assert_eq!(resumption.suspect.map(|line| line.text), suspect);
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
        let patience = Duration::from_secs(1);
        assert_eq!(pending.next_overdue(patience, now), Some(second));
        assert_eq!(pending.next_overdue(patience, second), None);
        let looks = |pending: &Pending, now| pending.of_user(patience, now).next().unwrap().1;
        assert!(!looks(&pending, now) && looks(&pending, second));
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
        pending.next_to_send(false, now);
        assert_eq!(text(pending.answered((1 << 53) + 5, now)), ["one"]);
        assert!(pending.answered(0, now).is_empty());
        pending.lost();
        assert!(pending.resumed(0, now).taken.is_empty());
        assert_eq!(sent(&mut pending, now), ["two"]);
    }

    #[test]
    fn what_is_ahead_passes_what_is_held() {
        let now = Instant::now();
        let mut pending = of(&["one", "two"]);
        pending.begun(0, now);
        pending.say_ahead(b"/nick bob".to_vec(), By::Client);
        let ahead = pending.next_to_send(true, now);
        assert_eq!(ahead.map(|line| &line.text[..]), Some(&b"/nick bob"[..]));
        assert_eq!(pending.next_to_send(true, now), None);
        assert_eq!(pending.answered(1, now)[0].by, By::Client);
        pending.say_ahead(b"/nick a".to_vec(), By::User);
        pending.say_ahead(b"/nick b".to_vec(), By::User);
        let all = ["/nick a", "/nick b", "one", "two"];
        assert_eq!(sent(&mut pending, now), all);
        pending.answered(3, now);
        pending.lost();
        pending.say_ahead(b"/nick bob".to_vec(), By::Client);
        assert_eq!(text(pending.begun(0, now)), ["one", "two"]);
        assert!(pending.lines.is_empty() && pending.bytes() == 0);
    }

    #[test]
    fn a_room_that_answers_nothing_has_what_was_written() {
        let now = Instant::now();
        let mut pending = of(&["one", "", "two"]);
        assert!(pending.begun_unanswered(now).is_empty());
        assert_eq!(sent(&mut pending, now), ["one", "", "two"]);
        assert_eq!(pending.waits_since(), None);
        assert_eq!(text(pending.written(2)), ["one", ""]);
        pending.lost();
        assert!(pending.begun_unanswered(now).is_empty(), "no doubt");
        assert_eq!(sent(&mut pending, now), ["two"]);
    }

    #[test]
    fn a_room_that_answers_gets_the_first_part_of_a_line_that_is_too_long() {
        let now = Instant::now();
        let mut pending = Pending::new();
        for (text, part) in [("a", Part::First), ("b", Part::Middle), ("c", Part::Last)] {
            pending.say_part(text.into(), part);
        }
        pending.say("d".into());
        pending.begun_unanswered(now);
        assert_eq!(sent(&mut pending, now), ["a", "b", "c", "d"]);
        pending.lost();
        pending.begun(0, now);
        assert_eq!(sent(&mut pending, now), ["a", "d"]);
        assert_eq!(text(pending.answered(2, now)), ["a", "d"]);
        assert_eq!(pending.bytes(), 0);
    }

    #[test]
    fn after_an_orderly_end_nothing_is_in_doubt() {
        let now = Instant::now();
        let mut pending = of(&["one", "two"]);
        pending.begun(0, now);
        sent(&mut pending, now);
        assert_eq!(text(pending.ended(1)), ["one"]);
        pending.lost();
        assert!(pending.begun(0, now).is_empty());
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
                    Act::Send => while let Some(line) = pending.next_to_send(false, now) {
                        prop_assert!(world.is_connected);
                        world.on_their_way.push_back(number(&line.text));
                    },
                    Act::Serve(count) => for _ in 0..count {
                        world.serve();
                    },
                    Act::Read(count) => for _ in 0..count {
                        if let Some(n) = world.answers.pop_front() {
                            let answered = pending.answered(n, now);
                            prop_assert!(answered.len() <= 1);
                            done.extend(answered.iter().map(|line| number(&line.text)));
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
                            in_doubt.extend(lines.iter().map(|line| number(&line.text)));
                        } else {
                            let resumption = pending.resumed(world.heard, now);
                            done.extend(resumption.taken.iter().map(|line| number(&line.text)));
                            in_doubt.extend(resumption.suspect.iter().map(|line| number(&line.text)));
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
            prop_assert!(pending.lines.is_empty());
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
