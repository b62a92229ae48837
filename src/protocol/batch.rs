//! The text of one fan-out, and each reader's share of it.
//!
//! Everything that the room says while a batch is gathered is joined into one shared text
//! for each [encoding](Encoding) that somebody reads, and each reader gets it in one write.
//! Most readers get the text as it is. The exceptions are edits, which count in lines, as
//! these are the same in each encoding: a sender of text does not get its own lines, so they
//! are omitted; a frame for one reader alone is inserted where it was said. So a batch costs
//! one text per encoding, one edit per exception, and nothing per ordinary reader.

use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use crate::protocol::close::CloseReason;
use crate::protocol::time::Time;

/// The capacity of the text's buffer that [`Batch::clear`] keeps: a rare flood does not
/// cost memory for ever.
const KEPT_TEXT_BYTES: usize = 64 * 1024;

/// The capacity for edits that [`Batch::clear`] keeps.
const KEPT_EDITS: usize = 1024;

/// The capacity for lines that [`Batch::clear`] keeps.
const KEPT_LINES: usize = 1024;

/// The cost of an edit in [`Batch::size_bytes`], for comparison with budgets.
const EDIT_COST_BYTES: usize = 40;

/// Text that is encoded once and shared by its readers. There is one thread, so the
/// reference count is not atomic.
pub type Frame = Rc<[u8]>;

/// Identifies a client of a server; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId {
    /// The key of its connection in the reactor's slab: small, dense, and reused once the
    /// client is gone.
    pub key: usize,
    /// The number of earlier clients: the generation of the key.
    pub serial: u64,
}

impl ClientId {
    /// The client that joined after `n` others, if none of them has left.
    pub const fn nth(n: usize) -> Self {
        Self {
            key: n,
            serial: n as u64,
        }
    }
}

/// How a reader gets what is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Text, for people. What is said is encoded so in any case: for the console.
    #[default]
    Text,
    /// JSON, for programs.
    Json,
}

impl Encoding {
    /// How many there are.
    pub const COUNT: usize = 2;

    /// Those in use where everybody reads text.
    pub const ONLY_TEXT: &[Self] = &[Self::Text];

    /// Those in use where somebody reads JSON.
    pub const ALL: &[Self] = &[Self::Text, Self::Json];

    /// Counted from 0.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The arguments of every event for the room and the service.
#[derive(Debug)]
pub struct Context<'a> {
    /// The time of this iteration.
    pub now: Instant,
    /// The same by the wall clock, which may be set: to be told, not to be counted with.
    pub time: Time,
    /// Collects what is said as a result.
    pub batch: &'a mut Batch,
}

/// The shared text and its edits.
#[derive(Debug, Default)]
pub struct Batch {
    /// What is said to everybody, before edits, in each encoding.
    shared: [Lines; Encoding::COUNT],
    /// Invariant: once sealed, sorted by reader; a reader's edits keep their order, which
    /// is that of their lines in `shared`.
    edits: Vec<Edit>,
    /// Clients to disconnect.
    closes: Vec<(ClientId, CloseReason)>,
    /// What is to become of the standings of clients that come back.
    standings: Vec<StandingRequest>,
    /// What is to become of clients outside the room.
    outsiders: Vec<OutsiderRequest>,
    /// Invariant: the size of all inserted frames.
    private_bytes: usize,
    /// What work counts for that shows in no text.
    charged_bytes: usize,
}

/// What a client has said lately counts against it. One that comes back on another connection
/// has not said any less: its standing is kept meanwhile, under a name that the service chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandingRequest {
    /// That of the first client is kept under the second name.
    Keep(ClientId, ClientId),
    /// What is kept under the first name is that of the second client.
    Restore(ClientId, ClientId),
    /// What is kept under this name is dropped.
    Drop(ClientId),
}

/// What is to become of a client that is not let in, and still heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutsiderRequest {
    /// It alone is told this. Nothing else reaches it.
    Tell(ClientId, Frame),
    /// It is told this, and disconnected.
    TurnAway(ClientId, Frame),
    /// The client, which is at this address, is to join by another id, as if it had just come.
    LetIn(ClientId, IpAddr),
}

/// Lines in one encoding. Those that are said while it is not in use are empty here: nobody
/// gets them.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<u32>,
}

#[derive(Debug)]
struct Edit {
    reader: ClientId,
    /// The number of lines before it.
    at: usize,
    change: Change,
}

#[derive(Debug)]
enum Change {
    /// The reader does not get this many lines: its own, or those before it came.
    Omit(usize),
    /// The reader alone gets this frame.
    Insert(Frame),
    /// From here on, the reader gets this encoding.
    Switch(Encoding),
}

impl Lines {
    fn count(&self) -> usize {
        self.ends.len()
    }

    fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a batch is far below 4 GiB")
    }

    /// Where these lines are in the bytes.
    fn range(&self, lines: Range<usize>) -> Range<usize> {
        let end_of = |count: usize| match count.min(self.ends.len()) {
            0 => 0,
            count => self.ends[count - 1] as usize,
        };
        end_of(lines.start)..end_of(lines.end)
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_TEXT_BYTES);
        self.ends.clear();
        self.ends.shrink_to(KEPT_LINES);
    }
}

/// All edits of one reader.
#[derive(Clone, Copy, Debug)]
pub struct Edits<'a>(&'a [Edit]);

impl Edits<'_> {
    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The encoding that the reader gets from these edits on, if they change it.
    pub fn switch(&self) -> Option<Encoding> {
        self.0.iter().rev().find_map(|edit| match edit.change {
            Change::Switch(encoding) => Some(encoding),
            _ => None,
        })
    }
}

/// How much of a batch one reader gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Lines said to everybody.
    pub lines: usize,
    /// Bytes of those lines and of the reader's private frames.
    pub bytes: usize,
}

/// A contiguous part of an edited text.
#[derive(Debug)]
pub enum Part<'a> {
    /// This range of the shared text in this encoding, in bytes.
    Shared(Encoding, Range<usize>),
    /// A private frame.
    Private(&'a Frame),
}

impl Part<'_> {
    /// The length in bytes; may be 0.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Shared(_, range) => range.len(),
            Self::Private(frame) => frame.len(),
        }
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Omits everything said so far for `newcomer`, which has just joined.
    pub fn begin_for(&mut self, newcomer: ClientId) {
        self.omit(newcomer, 0, self.lines());
    }

    /// Says one line to everybody, but not to `but`. `write` must append it without its LF,
    /// in each encoding of `in_use`, and leave the buffer's contents alone.
    pub fn say(
        &mut self,
        but: Option<ClientId>,
        in_use: &[Encoding],
        mut write: impl FnMut(Encoding, &mut Vec<u8>),
    ) {
        let at = self.lines();
        for &encoding in in_use {
            let lines = &mut self.shared[encoding.index()];
            lines.ends.resize(at, lines.end());
            write(encoding, &mut lines.bytes);
            lines.bytes.push(b'\n');
            lines.ends.push(lines.end());
        }
        if let Some(reader) = but {
            self.omit(reader, at, 1);
        }
    }

    /// From here on `reader` gets `encoding`.
    pub fn switch(&mut self, reader: ClientId, encoding: Encoding) {
        self.edit(reader, Change::Switch(encoding));
    }

    /// Inserts `frame`, whole lines or a telnet command, for one reader at this point: an
    /// answer, a notice, or what another member says to it alone.
    pub fn tell(&mut self, reader: ClientId, frame: Frame) {
        self.private_bytes += frame.len();
        self.edit(reader, Change::Insert(frame));
    }

    /// Counts work that takes the time of sending this many bytes, and shows in no text:
    /// budgets are compared with the sum.
    pub fn charge(&mut self, bytes: usize) {
        self.charged_bytes += bytes;
    }

    /// Asks the reactor to disconnect `client` once it has its share of this batch. The
    /// reactor discards further input of the client.
    pub fn close(&mut self, client: ClientId, reason: CloseReason) {
        self.closes.push((client, reason));
    }

    /// Whether `client` is on the list that [`Batch::take_closes`] would return.
    pub fn closes(&self, client: ClientId) -> bool {
        self.closes.iter().any(|&(closed, _)| closed == client)
    }

    /// Takes the list of clients to disconnect, in the order of the requests.
    pub fn take_closes(&mut self) -> Vec<(ClientId, CloseReason)> {
        std::mem::take(&mut self.closes)
    }

    /// Asks the reactor to keep, restore or drop a standing.
    pub fn request_standing(&mut self, standing: StandingRequest) {
        self.standings.push(standing);
    }

    /// Takes these requests, in order.
    pub fn take_standing_requests(&mut self) -> Vec<StandingRequest> {
        std::mem::take(&mut self.standings)
    }

    /// Asks the reactor to tell, let in or turn away somebody outside the room.
    pub fn request_for_outsider(&mut self, request: OutsiderRequest) {
        self.outsiders.push(request);
    }

    /// Whether it is decided what becomes of `client`, which was outside the room: it is not to
    /// be heard any more by this id.
    pub fn decides_about(&self, client: ClientId) -> bool {
        self.outsiders.iter().any(|request| match *request {
            OutsiderRequest::Tell(..) => false,
            OutsiderRequest::TurnAway(id, _) | OutsiderRequest::LetIn(id, _) => id == client,
        })
    }

    /// Takes these requests, in order.
    pub fn take_outsider_requests(&mut self) -> Vec<OutsiderRequest> {
        std::mem::take(&mut self.outsiders)
    }

    /// The text for everybody in `encoding`, before edits.
    pub fn shared(&self, encoding: Encoding) -> &[u8] {
        &self.shared[encoding.index()].bytes
    }

    /// The number of lines for everybody.
    pub fn lines(&self) -> usize {
        self.shared[Encoding::Text.index()].count()
    }

    /// The size of the text, in the encoding in which it is largest, and of the edits, in
    /// bytes.
    pub fn size_bytes(&self) -> usize {
        let [text, json] = &self.shared;
        let edits_bytes = self.edits.len() * EDIT_COST_BYTES;
        text.bytes.len().max(json.bytes.len())
            + self.private_bytes
            + edits_bytes
            + self.charged_bytes
    }

    /// Whether there is nothing to send and nobody to disconnect.
    pub fn is_empty(&self) -> bool {
        self.lines() == 0 && self.edits.is_empty() && self.closes.is_empty()
    }

    /// Sorts the edits by reader, for [`Batch::edits_from`]. Call it after the last
    /// change.
    pub fn seal(&mut self) {
        // Stable: each reader's edits keep their order.
        self.edits.sort_by_key(|edit| edit.reader);
    }

    /// Each reader that has edits and a key of at least `first_key`, in order. The batch
    /// must be [sealed](Batch::seal).
    pub fn edits_from(&self, first_key: usize) -> impl Iterator<Item = (ClientId, Edits<'_>)> {
        debug_assert!(self.edits.is_sorted_by_key(|edit| edit.reader));
        let start = self
            .edits
            .partition_point(|edit| edit.reader.key < first_key);
        self.edits[start..]
            .chunk_by(|a, b| a.reader == b.reader)
            .map(|edits| (edits[0].reader, Edits(edits)))
    }

    /// The share of a reader of `encoding` without edits.
    pub fn whole_share(&self, encoding: Encoding) -> Share {
        Share {
            lines: self.lines(),
            bytes: self.shared(encoding).len(),
        }
    }

    /// The share of a reader of `encoding` with these edits.
    pub fn share(&self, edits: Edits<'_>, encoding: Encoding) -> Share {
        let omitted = edits.0.iter().map(|edit| match edit.change {
            Change::Omit(lines) => lines,
            Change::Insert(_) | Change::Switch(_) => 0,
        });
        Share {
            lines: self.lines() - omitted.sum::<usize>(),
            bytes: (self.parts(edits, encoding))
                .map(|part| part.size_bytes())
                .sum(),
        }
    }

    /// The text for a reader of `encoding` with these edits, in order.
    pub fn parts<'a>(
        &'a self,
        edits: Edits<'a>,
        mut encoding: Encoding,
    ) -> impl Iterator<Item = Part<'a>> {
        let mut done = 0;
        edits
            .0
            .iter()
            .map(Some)
            .chain([None])
            .flat_map(move |edit| {
                let at = edit.map_or(self.lines(), |edit| edit.at);
                debug_assert!(done <= at, "edits do not overlap");
                let lines = &self.shared[encoding.index()];
                let shared = Part::Shared(encoding, lines.range(done..at));
                done = at;
                let private = match edit.map(|edit| &edit.change) {
                    Some(Change::Insert(frame)) => Some(Part::Private(frame)),
                    Some(Change::Omit(lines)) => {
                        done += lines;
                        None
                    }
                    Some(Change::Switch(next)) => {
                        encoding = *next;
                        None
                    }
                    None => None,
                };
                [shared].into_iter().chain(private)
            })
    }

    /// Empties the batch. Keeps buffers of an ordinary size for the next one.
    pub fn clear(&mut self) {
        self.shared.iter_mut().for_each(Lines::clear);
        self.edits.clear();
        self.edits.shrink_to(KEPT_EDITS);
        self.closes.clear();
        self.standings.clear();
        self.outsiders.clear();
        self.private_bytes = 0;
        self.charged_bytes = 0;
    }

    fn edit(&mut self, reader: ClientId, change: Change) {
        let at = self.lines();
        self.edits.push(Edit { reader, at, change });
    }

    /// Omits `new_lines` lines from the line `at` on for `reader`. Extends the reader's last
    /// edit if that ends here, so a run of lines is one edit.
    fn omit(&mut self, reader: ClientId, at: usize, new_lines: usize) {
        if let Some(Edit {
            reader: last_reader,
            at: last_at,
            change: Change::Omit(lines),
        }) = self.edits.last_mut()
            && *last_reader == reader
            && *last_at + *lines == at
        {
            *lines += new_lines;
        } else if new_lines > 0 {
            let change = Change::Omit(new_lines);
            self.edits.push(Edit { reader, at, change });
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
        batch.say(from, Encoding::ALL, |encoding, out| match encoding {
            Encoding::Text => out.extend_from_slice(text.as_bytes()),
            Encoding::Json => out.extend_from_slice(format!("{{{text}}}").as_bytes()),
        });
    }

    fn frame(text: &str) -> Frame {
        Frame::from(text.as_bytes())
    }

    /// `reader`'s text of a sealed batch.
    fn heard(batch: &Batch, reader: ClientId) -> String {
        let Some((_, edits)) = batch
            .edits_from(0)
            .find(|&(with_edits, _)| with_edits == reader)
        else {
            return String::from_utf8(batch.shared(Encoding::Text).to_vec()).unwrap();
        };
        let mut text = Vec::new();
        for part in batch.parts(edits, Encoding::Text) {
            let bytes = match &part {
                Part::Shared(encoding, range) => &batch.shared(*encoding)[range.clone()],
                Part::Private(frame) => frame,
            };
            assert_eq!(part.size_bytes(), bytes.len());
            text.extend_from_slice(bytes);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn senders_hear_all_others_in_the_common_order() {
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
    fn private_frames_keep_their_place() {
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
    fn newcomers_get_nothing_said_before_they_joined() {
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
    fn newcomers_get_nothing_of_the_last_client_with_their_key() {
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
    fn a_reader_that_switches_gets_each_line_in_one_encoding() {
        let mut batch = Batch::new();
        say(&mut batch, None, "before");
        batch.say(None, Encoding::ONLY_TEXT, |_, out| {
            out.extend_from_slice(b"only text")
        });
        batch.switch(A, Encoding::Json);
        batch.tell(A, frame("{hello}\n"));
        say(&mut batch, Some(B), "after");
        batch.say(None, Encoding::ONLY_TEXT, |_, out| {
            out.extend_from_slice(b"too late")
        });
        batch.seal();
        assert_eq!(heard(&batch, A), "before\nonly text\n{hello}\n{after}\n");
        assert_eq!(heard(&batch, B), "before\nonly text\ntoo late\n");
        let json = String::from_utf8_lossy(batch.shared(Encoding::Json));
        assert_eq!(json, "{before}\n{after}\n");
        let (_, edits) = batch.edits_from(0).next().unwrap();
        assert_eq!(edits.switch(), Some(Encoding::Json));
        assert_eq!(batch.share(edits, Encoding::Text).lines, 4);
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
    fn a_share_excludes_omitted_lines() {
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
            let Share { lines, bytes } = batch.share(edits, Encoding::Text);
            (lines, bytes)
        };
        assert_eq!(batch.whole_share(Encoding::Text).lines, 5);
        for (reader, lines) in [(A, 2), (B, 4), (C, 1)] {
            assert_eq!(share(reader), (lines, heard(&batch, reader).len()));
        }
    }

    #[test]
    fn the_size_is_that_of_the_text_and_the_edits() {
        let mut batch = Batch::new();
        assert_eq!(batch.size_bytes(), 0);
        say(&mut batch, None, "notice");
        let largest_bytes = "{notice}\n".len();
        assert_eq!(batch.size_bytes(), largest_bytes);
        batch.tell(A, frame("for a\n"));
        batch.tell(B, frame("b\n"));
        assert_eq!(
            batch.size_bytes(),
            largest_bytes + 6 + 2 + 2 * EDIT_COST_BYTES
        );
    }

    #[test]
    fn a_batch_with_any_content_is_not_empty() {
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
    fn a_cleared_batch_is_empty() {
        let mut batch = Batch::new();
        say(&mut batch, None, "notice");
        batch.tell(A, frame("x\n"));
        batch.close(A, CloseReason::Shutdown);
        batch.seal();
        assert_eq!(batch.shared(Encoding::Text), b"notice\n");
        assert!(!batch.is_empty() && batch.closes(A));
        batch.clear();
        assert!(batch.is_empty() && !batch.closes(A));
        say(&mut batch, None, "next");
        assert_eq!(batch.shared(Encoding::Text), b"next\n");
    }

    #[test]
    fn closes_are_taken_once_with_every_reason() {
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
    fn clear_keeps_ordinary_buffers_and_frees_those_of_a_flood() {
        let ordinary = (32 * 1024, 512);
        let flood = (1024 * 1024, 16 * 1024);
        let mut batch = Batch::new();
        let mut kept_of = |(text_bytes, edits)| {
            say(&mut batch, None, &"x".repeat(text_bytes));
            (0..edits).for_each(|_| batch.tell(A, frame("for a\n")));
            batch.clear();
            (batch.shared[0].bytes.capacity(), batch.edits.capacity())
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
