//! What is said in one turn of the loop, and what each reader gets of it.
//!
//! All that the room says in a turn is joined into one text that every reader
//! gets in one write. Most readers get it as it stands. The few exceptions are
//! kept as edits: who spoke does not hear itself (its own lines are omitted), and
//! what is for one reader alone is inserted at the place where it was said. So
//! the cost of a turn is one text, plus one edit for each exception, and nothing
//! at all for each ordinary reader.

use std::ops::Range;

use crate::protocol::close::CloseReason;
use crate::reactor::write_queue::{Doing, Frame};

/// The most of the text's buffer that is kept from turn to turn: a rare flood does
/// not cost memory for ever.
const KEPT_TEXT_BYTES: usize = 64 * 1024;

/// The most edits for which memory is kept.
const KEPT_EDITS: usize = 1024;

/// Names a client for as long as it is connected; the number is free again after
/// that. Small and dense: the numbers are the keys of the reactor's slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub usize);

/// Gathers what is said in a turn.
#[derive(Debug, Default)]
pub struct Batch {
    /// What everybody gets, but for the edits.
    shared: Vec<u8>,
    /// Invariant: how many lines `shared` has.
    shared_lines: usize,
    /// Invariant: once sealed, ordered by reader; a reader's own edits stand in
    /// the order in which they came, which is that of their places in `shared`.
    edits: Vec<Edit>,
    /// Who is to be sent away.
    closes: Vec<(ClientId, CloseReason)>,
    /// Bytes of the frames that are for one reader alone.
    private_bytes: usize,
}

#[derive(Debug)]
struct Edit {
    reader: ClientId,
    /// Where in the shared text.
    at: usize,
    change: Change,
}

#[derive(Debug)]
enum Change {
    /// These are the reader's own.
    Omit { bytes: usize, lines: usize },
    /// This is for the reader alone.
    Insert(Frame, Doing),
}

/// The exceptions of one reader.
#[derive(Clone, Copy, Debug)]
pub struct Edits<'a>(&'a [Edit]);

/// How much one reader gets of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Of the lines for everybody.
    pub lines: usize,
    /// Of those, and of what is for it alone.
    pub bytes: usize,
}

/// A part of what a reader with exceptions gets.
#[derive(Debug)]
pub enum Part<'a> {
    /// These bytes of the shared text.
    Shared(Range<usize>),
    /// A frame for this reader alone, and whose doing it is.
    Private(&'a Frame, Doing),
}

impl Part<'_> {
    /// How many bytes it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Shared(range) => range.len(),
            Self::Private(frame, _) => frame.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Batch {
    /// A turn in which nothing has been said.
    pub fn new() -> Self {
        Self::default()
    }

    /// `newcomer` has just come in: what was said before is not for it.
    pub fn begin_for(&mut self, newcomer: ClientId) {
        // Its id may have been somebody else's.
        self.edits.retain(|edit| edit.reader != newcomer);
        if !self.shared.is_empty() {
            self.omit(newcomer, 0..self.shared.len(), self.shared_lines);
        }
    }

    /// Says one line to everybody but `from`. `compose` appends the line, without
    /// its LF, to what it is given, and must not touch what stands there. Returns the
    /// line, with its LF.
    pub fn say(&mut self, from: Option<ClientId>, compose: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let start = self.shared.len();
        compose(&mut self.shared);
        self.shared.push(b'\n');
        self.shared_lines += 1;
        if let Some(reader) = from {
            self.omit(reader, start..self.shared.len(), 1);
        }
        &self.shared[start..]
    }

    /// Tells one reader `frame` (whole lines, or a telnet command) at this point of
    /// the turn: an answer to what it has asked, or a notice.
    pub fn tell(&mut self, reader: ClientId, frame: Frame) {
        self.insert(reader, frame, Doing::Own);
    }

    /// The same for what another member has caused: it is that one who waits if the reader
    /// does not take it.
    pub fn tell_from_another(&mut self, reader: ClientId, frame: Frame) {
        self.insert(reader, frame, Doing::Anothers);
    }

    fn insert(&mut self, reader: ClientId, frame: Frame, doing: Doing) {
        self.private_bytes += frame.len();
        self.edits.push(Edit {
            reader,
            at: self.shared.len(),
            change: Change::Insert(frame, doing),
        });
    }

    /// Takes back what `newcomer` has just been told, to be sent to it at once: it has
    /// nothing to wait for.
    pub fn take_greeting(&mut self, newcomer: ClientId) -> Vec<Frame> {
        let is_greeting =
            |edit: &Edit| edit.reader == newcomer && matches!(edit.change, Change::Insert(..));
        let others = self.edits.iter().rposition(|edit| !is_greeting(edit));
        let greeting = self.edits.drain(others.map_or(0, |last| last + 1)..);
        let frames: Vec<Frame> = greeting
            .filter_map(|edit| match edit.change {
                Change::Insert(frame, _) => Some(frame),
                Change::Omit { .. } => None,
            })
            .collect();
        self.private_bytes -= frames.iter().map(|frame| frame.len()).sum::<usize>();
        frames
    }

    /// Asks for `client` to be sent away once it has got what this turn holds for
    /// it. Nothing more is heard from it.
    pub fn close(&mut self, client: ClientId, reason: CloseReason) {
        self.closes.push((client, reason));
    }

    /// Whether it has been asked for `client` to be sent away, and not yet taken
    /// note of.
    pub fn closes(&self, client: ClientId) -> bool {
        self.closes.iter().any(|&(closed, _)| closed == client)
    }

    /// Takes the list of those to be sent away.
    pub fn take_closes(&mut self) -> Vec<(ClientId, CloseReason)> {
        std::mem::take(&mut self.closes)
    }

    /// What everybody gets, but for the edits.
    pub fn shared(&self) -> &[u8] {
        &self.shared
    }

    /// What has been gathered, in bytes: the text, and the exceptions.
    pub fn size_bytes(&self) -> usize {
        self.shared.len() + self.private_bytes + self.edits.len() * size_of::<Edit>()
    }

    /// Whether there is nothing to send and nobody to send away.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.edits.is_empty() && self.closes.is_empty()
    }

    /// Ends the gathering: puts the edits in order, so that [`Batch::edits`] can
    /// go through them side by side with the readers.
    pub fn seal(&mut self) {
        // Stable: a reader's own edits keep their order.
        self.edits.sort_by_key(|edit| edit.reader);
    }

    /// The readers from `first` on who get something else than the shared text as it
    /// stands, ordered by id, each once. Only after [`Batch::seal`].
    pub fn edits_from(&self, first: ClientId) -> impl Iterator<Item = (ClientId, Edits<'_>)> {
        debug_assert!(self.edits.is_sorted_by_key(|edit| edit.reader));
        let start = self.edits.partition_point(|edit| edit.reader < first);
        self.edits[start..]
            .chunk_by(|a, b| a.reader == b.reader)
            .map(|edits| (edits[0].reader, Edits(edits)))
    }

    /// [`Batch::edits_from`] the first.
    pub fn edits(&self) -> impl Iterator<Item = (ClientId, Edits<'_>)> {
        self.edits_from(ClientId(0))
    }

    /// How much a reader without exceptions gets.
    pub fn whole_share(&self) -> Share {
        Share {
            lines: self.shared_lines,
            bytes: self.shared.len(),
        }
    }

    /// How much a reader with these exceptions gets.
    pub fn share(&self, edits: Edits<'_>) -> Share {
        let mut share = self.whole_share();
        for edit in edits.0 {
            match &edit.change {
                Change::Omit { bytes, lines } => {
                    share.bytes -= bytes;
                    share.lines -= lines;
                }
                Change::Insert(frame, _) => share.bytes += frame.len(),
            }
        }
        share
    }

    /// What a reader with these exceptions gets, in order.
    pub fn parts<'a>(&self, edits: Edits<'a>) -> impl Iterator<Item = Part<'a>> {
        let mut done = 0;
        let last = self.shared.len();
        let before = edits.0.iter().flat_map(move |edit| {
            debug_assert!(done <= edit.at, "edits do not overlap");
            let shared = Part::Shared(done..edit.at);
            done = edit.at;
            let private = match &edit.change {
                Change::Omit { bytes, .. } => {
                    done += bytes;
                    None
                }
                Change::Insert(frame, doing) => Some(Part::Private(frame, *doing)),
            };
            std::iter::once(shared).chain(private)
        });
        let after_last_edit = edits.0.last().map_or(0, Edit::end);
        before.chain(std::iter::once(Part::Shared(after_last_edit..last)))
    }

    /// Forgets everything said. Buffers of an ordinary size are kept for the next
    /// turn.
    pub fn clear(&mut self) {
        self.shared.clear();
        self.shared.shrink_to(KEPT_TEXT_BYTES);
        self.shared_lines = 0;
        self.edits.clear();
        self.edits.shrink_to(KEPT_EDITS);
        self.closes.clear();
        self.private_bytes = 0;
    }

    /// Omits `range`, so many `lines`, for `reader`, in one edit with what it said
    /// just before.
    fn omit(&mut self, reader: ClientId, range: Range<usize>, new_lines: usize) {
        if let Some(Edit {
            reader: last_reader,
            at,
            change: Change::Omit { bytes, lines },
        }) = self.edits.last_mut()
            && *last_reader == reader
            && *at + *bytes == range.start
        {
            *bytes += range.len();
            *lines += new_lines;
            return;
        }
        self.edits.push(Edit {
            reader,
            at: range.start,
            change: Change::Omit {
                bytes: range.len(),
                lines: new_lines,
            },
        });
    }
}

impl Edit {
    /// Where the shared text goes on after this edit.
    fn end(&self) -> usize {
        match self.change {
            Change::Omit { bytes, .. } => self.at + bytes,
            Change::Insert(..) => self.at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const A: ClientId = ClientId(0);
    const B: ClientId = ClientId(1);
    const C: ClientId = ClientId(2);

    fn say(turn: &mut Batch, from: Option<ClientId>, text: &str) {
        turn.say(from, |out| out.extend_from_slice(text.as_bytes()));
    }

    fn frame(text: &str) -> Frame {
        Frame::from(text.as_bytes())
    }

    /// What `reader` gets of a sealed turn.
    fn heard(turn: &Batch, reader: ClientId) -> String {
        let Some((_, edits)) = turn.edits().find(|&(with_edits, _)| with_edits == reader) else {
            return String::from_utf8(turn.shared().to_vec()).unwrap();
        };
        let mut text = Vec::new();
        for part in turn.parts(edits) {
            let bytes = match &part {
                Part::Shared(range) => &turn.shared()[range.clone()],
                Part::Private(frame, _) => frame,
            };
            assert_eq!(
                (part.len(), part.is_empty()),
                (bytes.len(), bytes.is_empty())
            );
            text.extend_from_slice(bytes);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn who_speaks_hears_all_but_itself_in_one_order() {
        let mut turn = Batch::new();
        say(&mut turn, Some(A), "a1");
        say(&mut turn, Some(B), "b1");
        say(&mut turn, Some(A), "a2");
        turn.seal();
        assert_eq!(heard(&turn, A), "b1\n");
        assert_eq!(heard(&turn, B), "a1\na2\n");
        assert_eq!(heard(&turn, C), "a1\nb1\na2\n");
    }

    #[test]
    fn what_is_told_stands_where_it_was_said() {
        let mut turn = Batch::new();
        say(&mut turn, Some(A), "before");
        turn.tell(B, frame("for b\n"));
        turn.tell(A, frame("for a\n"));
        say(&mut turn, Some(B), "after");
        turn.tell(B, frame("for b again\n"));
        turn.seal();
        assert_eq!(heard(&turn, A), "for a\nafter\n");
        assert_eq!(heard(&turn, B), "before\nfor b\nfor b again\n");
        assert_eq!(heard(&turn, C), "before\nafter\n");
    }

    #[test]
    fn a_newcomer_gets_nothing_of_what_was_said_before_it_came() {
        let mut turn = Batch::new();
        turn.tell(B, frame("for whoever had this id before\n"));
        say(&mut turn, Some(A), "before");
        turn.begin_for(B);
        turn.tell(B, frame("welcome\n"));
        say(&mut turn, Some(A), "after");
        turn.seal();
        assert_eq!(heard(&turn, B), "welcome\nafter\n");
        assert_eq!(heard(&turn, C), "before\nafter\n");
    }

    #[test]
    fn a_greeting_is_taken_back_and_nothing_else() {
        let mut turn = Batch::new();
        turn.tell(A, frame("for a\n"));
        say(&mut turn, Some(A), "before");
        let size_before = turn.size_bytes();
        turn.begin_for(B);
        let size_of_omission = turn.size_bytes() - size_before;
        turn.tell(B, frame("welcome\n"));
        turn.tell(B, frame("this was said\n"));
        let greeting = turn.take_greeting(B);
        assert_eq!(greeting, [frame("welcome\n"), frame("this was said\n")]);
        assert_eq!(turn.size_bytes(), size_before + size_of_omission);
        assert_eq!(turn.take_greeting(B), []);
        say(&mut turn, Some(A), "after");
        turn.seal();
        assert_eq!(heard(&turn, B), "after\n");
        assert_eq!(heard(&turn, A), "for a\n");
    }

    #[test]
    fn a_run_of_lines_by_one_sender_is_one_edit() {
        let mut turn = Batch::new();
        for _ in 0..100 {
            say(&mut turn, Some(A), "again");
        }
        assert_eq!(turn.edits.len(), 1);
    }

    #[test]
    fn lines_are_counted_with_those_that_a_reader_does_not_get() {
        let mut turn = Batch::new();
        for speaker in [A, A, B, A] {
            say(&mut turn, Some(speaker), "x");
        }
        turn.begin_for(C);
        turn.tell(A, frame("for a\n"));
        say(&mut turn, None, "notice");
        turn.seal();
        let share = |reader| {
            let (_, edits) = turn.edits_from(reader).next().unwrap();
            let Share { lines, bytes } = turn.share(edits);
            (lines, bytes)
        };
        assert_eq!(turn.whole_share().lines, 5);
        for (reader, lines) in [(A, 2), (B, 4), (C, 1)] {
            assert_eq!(share(reader), (lines, heard(&turn, reader).len()));
        }
    }

    #[test]
    fn what_a_turn_has_gathered_is_its_text_and_its_exceptions() {
        let mut turn = Batch::new();
        assert_eq!(turn.size_bytes(), 0);
        say(&mut turn, None, "notice");
        assert_eq!(turn.size_bytes(), 7);
        turn.tell(A, frame("for a\n"));
        turn.tell(B, frame("b\n"));
        assert_eq!(turn.size_bytes(), 7 + 6 + 2 + 2 * size_of::<Edit>());
    }

    #[test]
    fn a_turn_with_anything_at_all_in_it_is_not_empty() {
        let acts: [fn(&mut Batch); 3] = [
            |turn| say(turn, None, "notice"),
            |turn| turn.tell(A, frame("for a\n")),
            |turn| turn.close(A, CloseReason::Shutdown),
        ];
        for act in acts {
            let mut turn = Batch::new();
            assert!(turn.is_empty());
            act(&mut turn);
            assert!(!turn.is_empty());
        }
    }

    #[test]
    fn a_cleared_turn_is_empty() {
        let mut turn = Batch::new();
        say(&mut turn, None, "notice");
        turn.tell(A, frame("x\n"));
        turn.close(A, CloseReason::Shutdown);
        turn.seal();
        assert_eq!(turn.shared(), b"notice\n");
        assert!(!turn.is_empty() && turn.closes(A));
        turn.clear();
        assert!(turn.is_empty() && !turn.closes(A));
        say(&mut turn, None, "next");
        assert_eq!(turn.shared(), b"next\n");
    }

    #[test]
    fn who_is_to_be_sent_away_is_taken_once_with_every_reason() {
        let mut turn = Batch::new();
        let asked = [
            (A, CloseReason::Idle),
            (B, CloseReason::Stuck),
            (A, CloseReason::Shutdown),
        ];
        for (client, reason) in asked {
            turn.close(client, reason);
        }
        assert!(turn.closes(A) && turn.closes(B) && !turn.closes(C));
        assert_eq!(turn.take_closes(), asked);
        assert!(!turn.closes(A) && turn.take_closes().is_empty());
    }

    #[test]
    fn what_an_ordinary_turn_needs_is_kept_and_what_a_flood_needs_is_not() {
        let ordinary = (32 * 1024, 512);
        let flood = (1024 * 1024, 16 * 1024);
        let mut turn = Batch::new();
        let mut kept_of = |(text_bytes, edits)| {
            say(&mut turn, None, &"x".repeat(text_bytes));
            (0..edits).for_each(|_| turn.tell(A, frame("for a\n")));
            turn.clear();
            (turn.shared.capacity(), turn.edits.capacity())
        };
        let (text_bytes, edits) = kept_of(ordinary);
        assert!(text_bytes >= ordinary.0 && edits >= ordinary.1);
        let (text_bytes, edits) = kept_of(flood);
        assert!(text_bytes < flood.0 && edits < flood.1);
    }

    proptest! {
        #[test]
        fn every_reader_gets_what_it_would_get_line_by_line(
            acts in prop::collection::vec((any::<bool>(), 0_usize..5, "[a-z]{0,5}"), 0..40),
        ) {
            let mut turn = Batch::new();
            let mut expected: BTreeMap<ClientId, String> =
                (0..5).map(|id| (ClientId(id), String::new())).collect();
            for (is_said, id, text) in acts {
                let id = ClientId(id);
                let line = format!("{text}\n");
                if is_said {
                    say(&mut turn, Some(id), &text);
                    for (reader, heard) in &mut expected {
                        if *reader != id {
                            heard.push_str(&line);
                        }
                    }
                } else {
                    turn.tell(id, frame(&line));
                    expected.get_mut(&id).unwrap().push_str(&line);
                }
            }
            turn.seal();
            for (reader, expected) in expected {
                prop_assert_eq!(heard(&turn, reader), expected);
            }
        }
    }
}
