//! What is said in one go, and what each reader gets of it.
//!
//! All that the room says while a batch is gathered is joined into one text that every
//! reader gets in one write. Most readers get it as it stands. The few exceptions are
//! edits: a sender does not get its own lines (they are omitted), and what is for one
//! reader alone is inserted at the place where it was said. So a batch costs one text,
//! one edit for each exception, and nothing for each ordinary reader.

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use crate::protocol::close::CloseReason;

/// The most of the text's buffer that is kept from batch to batch: a rare flood does
/// not cost memory for ever.
const KEPT_TEXT_BYTES: usize = 64 * 1024;

/// The most edits for which memory is kept.
const KEPT_EDITS: usize = 1024;

/// What an edit counts for in [`Batch::size_bytes`], which budgets are compared with.
const EDIT_COST_BYTES: usize = 40;

/// Text encoded once and shared by all who are to read it. One thread, so no
/// atomic counts.
pub type Frame = Rc<[u8]>;

/// Names one client of a server, and never another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId {
    /// The key of its connection in the reactor's slab: small and dense, and used again
    /// once the client is gone.
    pub key: usize,
    /// How many clients came before it: tells it from others with the same key.
    pub serial: u64,
}

impl ClientId {
    /// The client that comes after `n` others to a server that nobody has left yet.
    pub const fn nth(n: usize) -> Self {
        Self {
            key: n,
            serial: n as u64,
        }
    }
}

/// What the room and the service are given with each event.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time of this iteration.
    pub now: Instant,
    /// Where to say what is to be said as a result.
    pub batch: &'a mut Batch,
}

/// Who made a private frame necessary: that one is held up while the reader does not
/// take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The reader itself: it is an answer.
    Reader,
    /// Another member, with a private message.
    Other,
}

/// Gathers what is said.
#[derive(Debug, Default)]
pub struct Batch {
    /// What everybody gets, but for the edits.
    shared: Vec<u8>,
    /// Invariant: how many lines `shared` has.
    shared_lines: usize,
    /// Invariant: once sealed, ordered by reader; a reader's own edits stand in
    /// the order in which they came, which is that of their places in `shared`.
    edits: Vec<Edit>,
    /// Clients to be disconnected.
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
    /// These lines are the reader's own.
    Omit { bytes: usize, lines: usize },
    /// This is for the reader alone.
    Insert(Frame, Cause),
}

/// The exceptions of one reader.
#[derive(Clone, Copy, Debug)]
pub struct Edits<'a>(&'a [Edit]);

/// How much one reader gets of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Lines that were said to everybody.
    pub lines: usize,
    /// Bytes of those and of what is for this reader alone.
    pub bytes: usize,
}

/// A part of what a reader with exceptions gets.
#[derive(Debug)]
pub enum Part<'a> {
    /// These bytes of the shared text.
    Shared(Range<usize>),
    /// A frame for this reader alone, and what caused it.
    Private(&'a Frame, Cause),
}

impl Part<'_> {
    /// How many bytes it has; a part may be empty.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Shared(range) => range.len(),
            Self::Private(frame, _) => frame.len(),
        }
    }
}

impl Batch {
    /// A batch in which nothing has been said.
    pub fn new() -> Self {
        Self::default()
    }

    /// `newcomer` has just joined: what was said before is not for it.
    pub fn begin_for(&mut self, newcomer: ClientId) {
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
    /// the batch: an answer to what it asked, or a notice.
    pub fn tell(&mut self, reader: ClientId, frame: Frame) {
        self.insert(reader, frame, Cause::Reader);
    }

    /// The same for what another member caused.
    pub fn tell_from_another(&mut self, reader: ClientId, frame: Frame) {
        self.insert(reader, frame, Cause::Other);
    }

    fn insert(&mut self, reader: ClientId, frame: Frame, cause: Cause) {
        self.private_bytes += frame.len();
        self.edits.push(Edit {
            reader,
            at: self.shared.len(),
            change: Change::Insert(frame, cause),
        });
    }

    /// Asks for `client` to be disconnected once it has got what this batch holds for
    /// it. Nothing more is heard from it.
    pub fn close(&mut self, client: ClientId, reason: CloseReason) {
        self.closes.push((client, reason));
    }

    /// Whether `client` is to be disconnected, and nobody has taken note of it yet.
    pub fn closes(&self, client: ClientId) -> bool {
        self.closes.iter().any(|&(closed, _)| closed == client)
    }

    /// Takes the list of clients to be disconnected, in the order asked for.
    pub fn take_closes(&mut self) -> Vec<(ClientId, CloseReason)> {
        std::mem::take(&mut self.closes)
    }

    /// What everybody gets, but for the edits.
    pub fn shared(&self) -> &[u8] {
        &self.shared
    }

    /// How much has been gathered, in bytes: the text, and the exceptions.
    pub fn size_bytes(&self) -> usize {
        self.shared.len() + self.private_bytes + self.edits.len() * EDIT_COST_BYTES
    }

    /// Whether there is nothing to send and nobody to disconnect.
    pub fn is_empty(&self) -> bool {
        self.shared.is_empty() && self.edits.is_empty() && self.closes.is_empty()
    }

    /// Ends the gathering: puts the edits in order, so that [`Batch::edits_from`] can
    /// go through them side by side with the readers.
    pub fn seal(&mut self) {
        // Stable: a reader's own edits keep their order.
        self.edits.sort_by_key(|edit| edit.reader);
    }

    /// The readers with exceptions whose keys are `first_key` or above, in order, each
    /// once. Only after [`Batch::seal`].
    pub fn edits_from(&self, first_key: usize) -> impl Iterator<Item = (ClientId, Edits<'_>)> {
        debug_assert!(self.edits.is_sorted_by_key(|edit| edit.reader));
        let start = self
            .edits
            .partition_point(|edit| edit.reader.key < first_key);
        self.edits[start..]
            .chunk_by(|a, b| a.reader == b.reader)
            .map(|edits| (edits[0].reader, Edits(edits)))
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
                Change::Insert(frame, cause) => Some(Part::Private(frame, *cause)),
            };
            std::iter::once(shared).chain(private)
        });
        let after_last_edit = edits.0.last().map_or(0, Edit::end);
        before.chain(std::iter::once(Part::Shared(after_last_edit..last)))
    }

    /// Forgets everything said. Buffers of an ordinary size are kept for the next
    /// batch.
    pub fn clear(&mut self) {
        self.shared.clear();
        self.shared.shrink_to(KEPT_TEXT_BYTES);
        self.shared_lines = 0;
        self.edits.clear();
        self.edits.shrink_to(KEPT_EDITS);
        self.closes.clear();
        self.private_bytes = 0;
    }

    /// Omits `range`, which has `new_lines`, for `reader`, in one edit with what it said
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

    const A: ClientId = ClientId::nth(0);
    const B: ClientId = ClientId::nth(1);
    const C: ClientId = ClientId::nth(2);

    fn say(batch: &mut Batch, from: Option<ClientId>, text: &str) {
        batch.say(from, |out| out.extend_from_slice(text.as_bytes()));
    }

    fn frame(text: &str) -> Frame {
        Frame::from(text.as_bytes())
    }

    /// What `reader` gets of a sealed batch.
    fn heard(batch: &Batch, reader: ClientId) -> String {
        let Some((_, edits)) = batch
            .edits_from(0)
            .find(|&(with_edits, _)| with_edits == reader)
        else {
            return String::from_utf8(batch.shared().to_vec()).unwrap();
        };
        let mut text = Vec::new();
        for part in batch.parts(edits) {
            let bytes = match &part {
                Part::Shared(range) => &batch.shared()[range.clone()],
                Part::Private(frame, _) => frame,
            };
            assert_eq!(part.size_bytes(), bytes.len());
            text.extend_from_slice(bytes);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn who_speaks_hears_all_but_itself_in_one_order() {
        let mut batch = Batch::new();
        say(&mut batch, Some(A), "a1");
        say(&mut batch, Some(B), "b1");
        say(&mut batch, Some(A), "a2");
        batch.seal();
        assert_eq!(heard(&batch, A), "b1\n");
        assert_eq!(heard(&batch, B), "a1\na2\n");
        assert_eq!(heard(&batch, C), "a1\nb1\na2\n");
    }

    #[test]
    fn what_is_told_stands_where_it_was_said() {
        let mut batch = Batch::new();
        say(&mut batch, Some(A), "before");
        batch.tell(B, frame("for b\n"));
        batch.tell(A, frame("for a\n"));
        say(&mut batch, Some(B), "after");
        batch.tell(B, frame("for b again\n"));
        batch.seal();
        assert_eq!(heard(&batch, A), "for a\nafter\n");
        assert_eq!(heard(&batch, B), "before\nfor b\nfor b again\n");
        assert_eq!(heard(&batch, C), "before\nafter\n");
    }

    #[test]
    fn a_newcomer_gets_nothing_of_what_was_said_before_it_came() {
        let mut batch = Batch::new();
        say(&mut batch, Some(A), "before");
        batch.begin_for(B);
        batch.tell(B, frame("welcome\n"));
        say(&mut batch, Some(A), "after");
        batch.seal();
        assert_eq!(heard(&batch, B), "welcome\nafter\n");
        assert_eq!(heard(&batch, C), "before\nafter\n");
    }

    #[test]
    fn a_newcomer_gets_nothing_that_was_for_the_last_one_with_its_key() {
        let mut batch = Batch::new();
        batch.tell(B, frame("for b\n"));
        let newcomer = ClientId { serial: 9, ..B };
        batch.begin_for(newcomer);
        say(&mut batch, Some(newcomer), "after");
        batch.seal();
        assert_eq!(heard(&batch, B), "for b\nafter\n");
        assert_eq!(heard(&batch, newcomer), "");
    }

    #[test]
    fn a_run_of_lines_by_one_sender_is_one_edit() {
        let mut batch = Batch::new();
        for _ in 0..100 {
            say(&mut batch, Some(A), "again");
        }
        assert_eq!(batch.edits.len(), 1);
    }

    #[test]
    fn lines_are_counted_with_those_that_a_reader_does_not_get() {
        let mut batch = Batch::new();
        for speaker in [A, A, B, A] {
            say(&mut batch, Some(speaker), "x");
        }
        batch.begin_for(C);
        batch.tell(A, frame("for a\n"));
        say(&mut batch, None, "notice");
        batch.seal();
        let share = |reader: ClientId| {
            let (_, edits) = batch.edits_from(reader.key).next().unwrap();
            let Share { lines, bytes } = batch.share(edits);
            (lines, bytes)
        };
        assert_eq!(batch.whole_share().lines, 5);
        for (reader, lines) in [(A, 2), (B, 4), (C, 1)] {
            assert_eq!(share(reader), (lines, heard(&batch, reader).len()));
        }
    }

    #[test]
    fn what_a_turn_has_gathered_is_its_text_and_its_exceptions() {
        let mut batch = Batch::new();
        assert_eq!(batch.size_bytes(), 0);
        say(&mut batch, None, "notice");
        assert_eq!(batch.size_bytes(), 7);
        batch.tell(A, frame("for a\n"));
        batch.tell(B, frame("b\n"));
        assert_eq!(batch.size_bytes(), 7 + 6 + 2 + 2 * EDIT_COST_BYTES);
    }

    #[test]
    fn a_turn_with_anything_at_all_in_it_is_not_empty() {
        let acts: [fn(&mut Batch); 3] = [
            |batch| say(batch, None, "notice"),
            |batch| batch.tell(A, frame("for a\n")),
            |batch| batch.close(A, CloseReason::Shutdown),
        ];
        for act in acts {
            let mut batch = Batch::new();
            assert!(batch.is_empty());
            act(&mut batch);
            assert!(!batch.is_empty());
        }
    }

    #[test]
    fn a_cleared_turn_is_empty() {
        let mut batch = Batch::new();
        say(&mut batch, None, "notice");
        batch.tell(A, frame("x\n"));
        batch.close(A, CloseReason::Shutdown);
        batch.seal();
        assert_eq!(batch.shared(), b"notice\n");
        assert!(!batch.is_empty() && batch.closes(A));
        batch.clear();
        assert!(batch.is_empty() && !batch.closes(A));
        say(&mut batch, None, "next");
        assert_eq!(batch.shared(), b"next\n");
    }

    #[test]
    fn who_is_to_be_sent_away_is_taken_once_with_every_reason() {
        let mut batch = Batch::new();
        let asked = [
            (A, CloseReason::Idle),
            (B, CloseReason::Stuck),
            (A, CloseReason::Shutdown),
        ];
        for (client, reason) in asked {
            batch.close(client, reason);
        }
        assert!(batch.closes(A) && batch.closes(B) && !batch.closes(C));
        assert_eq!(batch.take_closes(), asked);
        assert!(!batch.closes(A) && batch.take_closes().is_empty());
    }

    #[test]
    fn what_an_ordinary_turn_needs_is_kept_and_what_a_flood_needs_is_not() {
        let ordinary = (32 * 1024, 512);
        let flood = (1024 * 1024, 16 * 1024);
        let mut batch = Batch::new();
        let mut kept_of = |(text_bytes, edits)| {
            say(&mut batch, None, &"x".repeat(text_bytes));
            (0..edits).for_each(|_| batch.tell(A, frame("for a\n")));
            batch.clear();
            (batch.shared.capacity(), batch.edits.capacity())
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
            let mut batch = Batch::new();
            let mut expected: BTreeMap<ClientId, String> =
                (0..5).map(|id| (ClientId::nth(id), String::new())).collect();
            for (is_said, id, text) in acts {
                let id = ClientId::nth(id);
                let line = format!("{text}\n");
                if is_said {
                    say(&mut batch, Some(id), &text);
                    for (reader, heard) in &mut expected {
                        if *reader != id {
                            heard.push_str(&line);
                        }
                    }
                } else {
                    batch.tell(id, frame(&line));
                    expected.get_mut(&id).unwrap().push_str(&line);
                }
            }
            batch.seal();
            for (reader, expected) in expected {
                prop_assert_eq!(heard(&batch, reader), expected);
            }
        }
    }
}
