//! Frames and the shared log in, writes out: what one reader is still owed.
//!
//! A broadcast is encoded once and shared by all its readers; a queue holds only
//! which part of what its reader has not taken yet. The queue knows no socket: it
//! writes to any [`Stream`], and stops where that says it would block.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::rc::Rc;

use super::shared_log::{Chunk, Position, SharedLogs};
use super::stream::Stream;
use crate::platform::socket::retry_interrupted;
use crate::protocol::batch::{Encoding, Frame};

/// Slices handed to one vectored write. The kernel takes 1,024 (`IOV_MAX`); past
/// some dozens the call itself no longer weighs.
pub(crate) const MAX_SLICES: usize = 64;

/// A part of the log of this size goes out by reference; smaller ones are gathered into one
/// write with what comes after them.
const LARGE_PART_BYTES: usize = 4 * 1024;

/// What a segment costs besides its bytes: itself, and what a queue that grows
/// reserves.
const SEGMENT_COST_BYTES: usize = 2 * size_of::<Segment>();

/// How a flush ended that met no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// The queue is empty.
    All,
    /// The sink would block: go on once it is writable.
    Blocked,
    /// The budget is used up; the sink may well take more.
    BudgetSpent,
}

/// What a reader is owed, oldest first. Most readers are owed nothing: then it is one
/// null pointer.
#[derive(Debug, Default)]
pub struct WriteQueue(Option<Box<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// Invariant: neither the list nor any segment is empty, but while it is being changed.
    segments: VecDeque<Segment>,
    /// Invariant: the sum of the segments' lengths.
    queued_bytes: usize,
    /// Invariant: the part of `queued_bytes` that is in frames.
    frame_bytes: usize,
    /// Where its first run in the log of each encoding begins. Invariant: `None` when it has
    /// no run there.
    positions: [Option<Position>; Encoding::COUNT],
}

/// Bytes that are still to be written.
#[derive(Debug)]
enum Segment {
    /// A part of a frame.
    Frame { frame: Frame, range: Range<u32> },
    /// A part of the shared log.
    Run(Run),
}

/// A part of the shared log, which may go on through any number of chunks.
#[derive(Debug)]
struct Run {
    /// Where it begins. Invariant: `offset` lies within that chunk.
    chunk: Rc<Chunk>,
    offset: u32,
    len: usize,
    /// The position after its last byte.
    end: Position,
}

impl Run {
    fn position(&self) -> Position {
        self.chunk.position(self.offset as usize)
    }

    /// Whether it is in a file, where it is one range.
    fn is_in_file(&self) -> bool {
        self.chunk.file().is_some()
    }

    /// Adds its first bytes to `pieces`, at most `most_bytes`, a piece for each chunk.
    fn push_pieces<'a>(
        &'a self,
        pieces: &mut Vec<Cow<'a, [u8]>>,
        most_bytes: usize,
    ) -> io::Result<()> {
        let mut left_bytes = self.len.min(most_bytes);
        let mut chunk = &self.chunk;
        let mut offset = self.offset as usize;
        while left_bytes > 0 && pieces.len() < MAX_SLICES {
            let bytes = left_bytes.min(chunk.len() - offset);
            pieces.push(chunk.read(offset..offset + bytes)?);
            left_bytes -= bytes;
            match chunk.next() {
                Some(next) => chunk = next,
                None => break,
            }
            offset = 0;
        }
        Ok(())
    }

    /// Drops its first `count` bytes.
    fn advance(&mut self, count: usize) {
        self.len -= count;
        let mut offset = self.offset as usize + count;
        while self.len > 0 && offset >= self.chunk.len() {
            offset -= self.chunk.len();
            let next = self.chunk.next().expect("a run ends within the log");
            self.chunk = Rc::clone(next);
        }
        self.offset = u32::try_from(offset).expect("a chunk is far below 4 GiB");
    }
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Self::Frame { range, .. } => range.len(),
            Self::Run(run) => run.len,
        }
    }

    /// What is missing to the end of a line of which a part has been written.
    /// Segments begin where a line begins, so what was written of this one tells.
    fn rest_of_line(&self) -> Cow<'_, [u8]> {
        let (text, at) = match self {
            Self::Frame { frame, range, .. } => (Cow::Borrowed(&frame[..]), range.start as usize),
            Self::Run(run) => {
                let at = run.offset as usize;
                let from = at.saturating_sub(1);
                // A file in memory that cannot be read any more: nothing of it is owed.
                let text = run.chunk.read(from..run.chunk.len()).unwrap_or_default();
                (text, at - from)
            }
        };
        if at == 0 || text.get(at - 1).is_none_or(|&before| before == b'\n') {
            return Cow::Borrowed(&[]);
        }
        let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |lf| at + lf + 1);
        Cow::Owned(text[at..end].to_vec())
    }
}

impl WriteQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the bytes `range` of `frame` at the end.
    ///
    /// # Panics
    ///
    /// When `range` does not lie within `frame`, or the frame is of 4 GiB or
    /// more: no batch gathers as much.
    pub fn push(&mut self, frame: &Frame, range: Range<usize>) {
        assert!(range.end <= frame.len() && range.start <= range.end);
        if range.is_empty() {
            return;
        }
        let waiting = self.0.get_or_insert_default();
        waiting.queued_bytes += range.len();
        waiting.frame_bytes += range.len();
        waiting.segments.push_back(Segment::Frame {
            frame: Frame::clone(frame),
            range: below_4_gib(range.start)..below_4_gib(range.end),
        });
    }

    /// Adds the whole of `frame` at the end.
    pub fn push_frame(&mut self, frame: &Frame) {
        self.push(frame, 0..frame.len());
    }

    /// Adds the bytes `range` of the text of `chunk` at the end. Chunks that follow
    /// each other in the log are one segment.
    ///
    /// # Panics
    ///
    /// As [`WriteQueue::push`].
    pub fn push_chunk(&mut self, chunk: &Rc<Chunk>, range: Range<usize>) {
        assert!(range.end <= chunk.len() && range.start <= range.end);
        if range.is_empty() {
            return;
        }
        let waiting = self.0.get_or_insert_default();
        waiting.queued_bytes += range.len();
        let (position, end) = (chunk.position(range.start), chunk.position(range.end));
        if let Some(Segment::Run(last)) = waiting.segments.back_mut()
            && last.chunk.encoding() == chunk.encoding()
            && last.end == position
            // The parts of one that is in the file follow each other there.
            && last.is_in_file() == chunk.file().is_some()
        {
            last.len += range.len();
            last.end = end;
            return;
        }
        waiting.positions[chunk.encoding().index()].get_or_insert(position);
        waiting.segments.push_back(Segment::Run(Run {
            chunk: Rc::clone(chunk),
            offset: below_4_gib(range.start),
            len: range.len(),
            end,
        }));
    }

    /// The bytes that are still to be written.
    pub fn queued_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.queued_bytes)
    }

    /// What this queue costs by itself: its frames, counted as if it shared none, and
    /// its bookkeeping.
    pub fn own_cost_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| {
            waiting.frame_bytes + waiting.segments.len() * SEGMENT_COST_BYTES
        })
    }

    /// What `logs` have to keep for it: everything from its positions on.
    pub fn held_bytes(&self, logs: &SharedLogs) -> usize {
        let Some(waiting) = &self.0 else {
            return 0;
        };
        let held = Encoding::ALL.iter().filter_map(|&encoding| {
            let position = waiting.positions[encoding.index()]?;
            Some(logs.of(encoding).held_since(position))
        });
        held.sum()
    }

    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Forgets everything, and gives its memory back.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Forgets all but the first `promised_bytes`, and the rest of a line of which a part is
    /// among them or has been written, and adds `last_words`.
    pub fn cut_short(&mut self, promised_bytes: usize, last_words: &[u8]) {
        let mut promised = Vec::new();
        while promised.len() < promised_bytes
            && let Ok(pieces) = self.first_pieces(promised_bytes - promised.len())
        {
            let before = promised.len();
            if pieces.is_empty() {
                debug_assert!(false, "no more is promised than waits");
                break;
            }
            pieces
                .iter()
                .for_each(|piece| promised.extend_from_slice(piece));
            drop(pieces);
            self.advance(promised.len() - before);
        }
        let front = self.0.as_ref().and_then(|waiting| waiting.segments.front());
        let rest_of_line = front.map(Segment::rest_of_line).unwrap_or_default();
        let text = Frame::from([&promised, &*rest_of_line, last_words].concat());
        self.clear();
        self.push_frame(&text);
    }

    /// What comes first: at most `most_bytes`, in pieces.
    ///
    /// # Errors
    ///
    /// Those of reading a file in memory.
    pub(crate) fn first_pieces(&self, most_bytes: usize) -> io::Result<Vec<Cow<'_, [u8]>>> {
        match &self.0 {
            Some(waiting) => waiting.first_pieces(most_bytes, |_| false),
            None => Ok(Vec::new()),
        }
    }

    /// Drops the first `count` bytes: they have been written.
    pub(crate) fn advance(&mut self, count: usize) {
        if let Some(waiting) = &mut self.0 {
            waiting.advance(count);
            if waiting.segments.is_empty() {
                debug_assert_eq!((waiting.queued_bytes, waiting.frame_bytes), (0, 0));
                debug_assert_eq!(waiting.positions, [None; Encoding::COUNT]);
                self.0 = None;
            }
        }
    }

    /// Writes to `stream` until the queue is empty, the stream would block, or
    /// `budget_bytes` have been written.
    ///
    /// # Errors
    ///
    /// Those of the stream, but for `WouldBlock` (that is [`Flushed::Blocked`]) and
    /// `Interrupted` (tried again); `WriteZero` when it takes nothing.
    pub fn flush(&mut self, stream: &mut impl Stream, budget_bytes: usize) -> io::Result<Flushed> {
        let mut written_bytes = 0;
        while let Some(waiting) = &mut self.0 {
            if written_bytes >= budget_bytes {
                return Ok(Flushed::BudgetSpent);
            }
            let most_bytes = budget_bytes - written_bytes;
            match retry_interrupted(|| waiting.write_once(stream, most_bytes)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.advance(count);
                    written_bytes += count;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) => return Err(e),
            }
        }
        Ok(Flushed::All)
    }
}

impl Waiting {
    /// Hands the stream what comes first, up to `most_bytes`: a large part of the log by
    /// reference, anything else in one write.
    fn write_once(&self, stream: &mut impl Stream, most_bytes: usize) -> io::Result<usize> {
        if let Some(Segment::Run(run)) = self.segments.front()
            && run.len >= LARGE_PART_BYTES
            && let Some((file, start)) = run.chunk.file()
        {
            return stream.send_from(file, start + u64::from(run.offset), run.len.min(most_bytes));
        }
        let is_by_reference = |run: &Run| run.len >= LARGE_PART_BYTES && run.is_in_file();
        let pieces = self.first_pieces(most_bytes, is_by_reference)?;
        if let [only] = &pieces[..] {
            // A plain write is the cheaper system call.
            return stream.write(only);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        for (slice, piece) in slices.iter_mut().zip(&pieces) {
            *slice = IoSlice::new(piece);
        }
        stream.write_vectored(&slices[..pieces.len()])
    }

    /// What comes first, up to `most_bytes` or to a run to stop at, in at most [`MAX_SLICES`].
    fn first_pieces(
        &self,
        most_bytes: usize,
        stops_at: impl Fn(&Run) -> bool,
    ) -> io::Result<Vec<Cow<'_, [u8]>>> {
        let mut pieces = Vec::new();
        let mut left_bytes = most_bytes;
        for segment in &self.segments {
            match segment {
                Segment::Frame { frame, range, .. } => {
                    let bytes = &frame[range.start as usize..range.end as usize];
                    pieces.push(Cow::Borrowed(&bytes[..bytes.len().min(left_bytes)]));
                }
                Segment::Run(run) if stops_at(run) => break,
                Segment::Run(run) => run.push_pieces(&mut pieces, left_bytes)?,
            }
            left_bytes -= segment.len().min(left_bytes);
            if left_bytes == 0 || pieces.len() == MAX_SLICES {
                break;
            }
        }
        Ok(pieces)
    }

    /// Drops the first `count` bytes: they have been written.
    fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.queued_bytes);
        self.queued_bytes -= count;
        let mut moved_on = false;
        while count > 0 {
            let front = self.segments.front_mut().expect("no more than was queued");
            let taken = count.min(front.len());
            count -= taken;
            let is_done = taken == front.len();
            match front {
                Segment::Frame { range, .. } => {
                    // No more than the range's length, which is a u32.
                    range.start += taken as u32;
                    self.frame_bytes -= taken;
                }
                Segment::Run(run) => {
                    run.advance(taken);
                    moved_on = true;
                }
            }
            if is_done {
                self.segments.pop_front();
            }
        }
        if moved_on {
            // Frames are passed over once for each run that stood before them.
            let first = self.segments.iter().find_map(|segment| match segment {
                Segment::Frame { .. } => None,
                Segment::Run(run) => Some(run),
            });
            let [text, json] = &mut self.positions;
            match first.map(|run| (run.chunk.encoding(), run.position())) {
                Some((Encoding::Text, position)) => *text = Some(position),
                // Nobody goes back to text.
                Some((Encoding::Json, position)) => (*text, *json) = (None, Some(position)),
                None => (*text, *json) = (None, None),
            }
        }
    }
}

fn below_4_gib(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a frame or a chunk is far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::{Read, Write};

    use proptest::prelude::*;

    use super::*;
    use crate::platform::memory_file::MemoryFile;

    /// What a scripted sink does with one write.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Take(usize),
        Block,
        Interrupt,
        Fail,
    }

    /// A sink that follows a script and then takes everything.
    #[derive(Default)]
    struct Script {
        steps: VecDeque<Step>,
        taken: Vec<u8>,
        writes: usize,
        /// How many of the writes were by reference.
        by_reference: usize,
    }

    impl Script {
        fn new(steps: impl IntoIterator<Item = Step>) -> Self {
            Self {
                steps: steps.into_iter().collect(),
                ..Self::default()
            }
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.write_vectored(&[IoSlice::new(bytes)])
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            self.writes += 1;
            let most = match self.steps.pop_front() {
                Some(Step::Take(most)) => most,
                Some(Step::Block) => return Err(io::ErrorKind::WouldBlock.into()),
                Some(Step::Interrupt) => return Err(io::ErrorKind::Interrupted.into()),
                Some(Step::Fail) => return Err(io::ErrorKind::ConnectionReset.into()),
                None => usize::MAX,
            };
            let all = slices.iter().flat_map(|slice| slice.iter().copied());
            let before = self.taken.len();
            self.taken.extend(all.take(most));
            Ok(self.taken.len() - before)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Read for Script {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            unreachable!("a queue does not read")
        }
    }

    impl Stream for Script {
        fn send_from(&mut self, file: &MemoryFile, offset: u64, len: usize) -> io::Result<usize> {
            self.by_reference += 1;
            let mut bytes = vec![0; len];
            file.read(&mut bytes, offset)?;
            self.write(&bytes)
        }

        fn shutdown_write(&self) -> io::Result<()> {
            unreachable!("a queue ends nothing")
        }

        fn reset_when_closed(&self) -> io::Result<()> {
            unreachable!("a queue ends nothing")
        }
    }

    fn logs(in_file: bool) -> SharedLogs {
        if in_file {
            SharedLogs::new(|| Some(MemoryFile::create().unwrap()))
        } else {
            SharedLogs::new(|| None)
        }
    }

    fn queue(texts: &[&str]) -> WriteQueue {
        let mut queue = WriteQueue::new();
        for text in texts {
            queue.push_frame(&Frame::from(text.as_bytes()));
        }
        queue
    }

    #[test]
    fn many_frames_leave_in_one_write() {
        let mut queue = queue(&["one ", "two ", "three"]);
        assert!(!queue.is_empty());
        let mut sink = Script::default();
        assert_eq!(queue.flush(&mut sink, usize::MAX).unwrap(), Flushed::All);
        assert!(queue.is_empty());
        assert_eq!(
            (sink.taken.as_slice(), sink.writes),
            (&b"one two three"[..], 1)
        );
        assert_eq!(size_of::<WriteQueue>(), size_of::<usize>());
    }

    #[test]
    fn a_short_write_in_the_middle_of_a_frame_goes_on_there() {
        let mut queue = queue(&["abc", "def"]);
        let mut sink = Script::new([Step::Take(4), Step::Block]);
        assert_eq!(
            queue.flush(&mut sink, usize::MAX).unwrap(),
            Flushed::Blocked
        );
        assert_eq!(queue.queued_bytes(), 2);
        queue.push_frame(&Frame::from(&b"ghi"[..]));
        assert_eq!(queue.flush(&mut sink, usize::MAX).unwrap(), Flushed::All);
        assert_eq!(sink.taken, b"abcdefghi");
    }

    #[test]
    fn an_interrupted_write_is_tried_again() {
        let mut sink = Script::new([Step::Interrupt, Step::Take(1), Step::Interrupt]);
        assert_eq!(
            queue(&["ab"]).flush(&mut sink, usize::MAX).unwrap(),
            Flushed::All
        );
        assert_eq!(sink.taken, b"ab");
    }

    #[test]
    fn the_budget_ends_a_flush_that_could_go_on() {
        let mut queue = queue(&["abcdef"]);
        let mut sink = Script::new([Step::Take(2), Step::Take(2)]);
        assert_eq!(queue.flush(&mut sink, 3).unwrap(), Flushed::BudgetSpent);
        assert_eq!(
            (sink.taken.as_slice(), queue.queued_bytes()),
            (&b"abc"[..], 3)
        );
    }

    #[test]
    fn a_sink_that_fails_or_takes_nothing_is_an_error() {
        let failed = queue(&["a"]).flush(&mut Script::new([Step::Fail]), usize::MAX);
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let nothing = queue(&["a"]).flush(&mut Script::new([Step::Take(0)]), usize::MAX);
        assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn more_frames_than_one_write_takes() {
        let frame = Frame::from(&b"x"[..]);
        let mut queue = WriteQueue::new();
        for _ in 0..3 * MAX_SLICES + 1 {
            queue.push_frame(&frame);
        }
        let mut sink = Script::default();
        assert_eq!(queue.flush(&mut sink, usize::MAX).unwrap(), Flushed::All);
        assert_eq!((sink.taken.len(), sink.writes), (3 * MAX_SLICES + 1, 4));
        assert_eq!(
            Rc::strong_count(&frame),
            1,
            "nothing is held for what was written"
        );
    }

    /// Two batches of the log, the second without its middle, and a frame between.
    fn mixed_queue(log: &mut SharedLogs) -> WriteQueue {
        let mut queue = WriteQueue::new();
        queue.push_chunk(log.chunk(Encoding::Text, b"one\n"), 0..4);
        log.end_batch();
        queue.push_chunk(log.chunk(Encoding::Text, b"two\nthree\nfour\n"), 0..4);
        queue.push_frame(&Frame::from(&b"for you\n"[..]));
        queue.push_chunk(log.chunk(Encoding::Text, b"two\nthree\nfour\n"), 10..15);
        log.end_batch();
        queue
    }

    #[test]
    fn batches_that_follow_each_other_are_one_segment() {
        for mut log in [false, true].map(logs) {
            let mut queue = WriteQueue::new();
            for _ in 0..1000 {
                queue.push_chunk(log.chunk(Encoding::Text, b"again\n"), 0..6);
                log.end_batch();
            }
            assert_eq!(queue.0.as_ref().unwrap().segments.len(), 1);
            let mut sink = Script::default();
            assert_eq!(queue.flush(&mut sink, usize::MAX).unwrap(), Flushed::All);
            assert_eq!(sink.taken, b"again\n".repeat(1000));
            assert_eq!(log.held_bytes(), 0);
        }
    }

    #[test]
    fn a_queue_holds_the_logs_of_both_encodings() {
        let mut log = logs(false);
        let mut queue = WriteQueue::new();
        queue.push_chunk(log.chunk(Encoding::Text, b"one\n"), 0..4);
        // At the same position of the other log.
        log.chunk(Encoding::Json, b"{on}\n");
        log.end_batch();
        queue.push_chunk(log.chunk(Encoding::Json, b"{two}\n"), 0..6);
        log.end_batch();
        assert_eq!(queue.held_bytes(&log), log.held_bytes());
        let mut sink = Script::new([Step::Take(4), Step::Block]);
        queue.flush(&mut sink, usize::MAX).unwrap();
        assert_eq!(queue.held_bytes(&log), log.of(Encoding::Json).held_bytes());
        assert_eq!(log.of(Encoding::Text).held_bytes(), 0);
        queue.flush(&mut sink, usize::MAX).unwrap();
        assert_eq!(sink.taken, b"one\n{two}\n");
        assert_eq!(log.held_bytes(), 0);
    }

    #[test]
    fn large_parts_of_a_log_in_a_file_leave_by_reference_and_small_ones_together() {
        let mut log = logs(true);
        let mut queue = WriteQueue::new();
        let text = [b'x'; 3 * LARGE_PART_BYTES];
        let mut expected = 0;
        for range in [
            0..9,
            20..30,
            40..LARGE_PART_BYTES,
            2 * LARGE_PART_BYTES..text.len(),
        ] {
            expected += range.len();
            queue.push_chunk(log.chunk(Encoding::Text, &text), range);
        }
        queue.push_frame(&Frame::from(&b"for you\n"[..]));
        log.end_batch();
        let mut sink = Script::default();
        assert_eq!(queue.flush(&mut sink, usize::MAX).unwrap(), Flushed::All);
        assert_eq!(sink.taken.len(), expected + 8);
        assert_eq!((sink.writes, sink.by_reference), (3, 1));
    }

    #[test]
    fn a_queue_holds_the_log_from_its_place_on() {
        let mut log = logs(false);
        let mut queue = mixed_queue(&mut log);
        let own_bytes = 8 + 3 * SEGMENT_COST_BYTES;
        assert_eq!(queue.own_cost_bytes(), own_bytes);
        assert_eq!(queue.held_bytes(&log), log.held_bytes());

        // Past the first batch, which goes by itself, into the frame.
        let mut sink = Script::new([Step::Take(9), Step::Block]);
        queue.flush(&mut sink, usize::MAX).unwrap();
        let own_bytes = 7 + 2 * SEGMENT_COST_BYTES;
        assert_eq!(queue.own_cost_bytes(), own_bytes);
        let left_bytes = queue.held_bytes(&log);
        assert_eq!(left_bytes, log.held_bytes() - 10);
        queue.clear();
        assert_eq!((queue.held_bytes(&log), log.held_bytes()), (0, 0));
    }

    #[test]
    fn cut_short_it_ends_the_line_that_was_begun() {
        let everything = b"one\ntwo\nfor you\nfour\n";
        for written in 0..everything.len() {
            for mut log in [false, true].map(logs) {
                let mut queue = mixed_queue(&mut log);
                let mut sink = Script::new([Step::Take(written), Step::Block]);
                if written > 0 {
                    queue.flush(&mut sink, usize::MAX).unwrap();
                }
                queue.cut_short(0, b"-- bye\n");
                assert_eq!(log.held_bytes(), 0);
                let mut sink = Script {
                    taken: sink.taken,
                    ..Script::default()
                };
                queue.flush(&mut sink, usize::MAX).unwrap();
                let begun = everything[..written]
                    .iter()
                    .filter(|&&b| b == b'\n')
                    .count();
                let is_within = written > 0 && everything[written - 1] != b'\n';
                let lines: Vec<_> = everything.split_inclusive(|&b| b == b'\n').collect();
                let whole = lines[..begun + usize::from(is_within)].concat();
                assert_eq!(sink.taken, [&whole[..], b"-- bye\n"].concat());
            }
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_usize..9).prop_map(Step::Take),
            2 => Just(Step::Block),
            1 => Just(Step::Interrupt),
        ]
    }

    proptest! {
        #[test]
        fn whatever_the_sink_does_every_byte_leaves_once_and_in_order(
            pushes in prop::collection::vec(
                (any::<bool>(), "[a-z]{0,12}", 0_usize..6, 0_usize..6),
                0..30,
            ),
            is_in_file in any::<bool>(),
            steps in prop::collection::vec(step(), 0..60),
            budget in 1_usize..20,
        ) {
            let mut log = logs(is_in_file);
            let mut queue = WriteQueue::new();
            let mut sink = Script::new(steps);
            let mut expected = Vec::new();
            for (is_shared, text, skip_front, skip_back) in pushes {
                let start = skip_front.min(text.len());
                let end = text.len().saturating_sub(skip_back).max(start);
                expected.extend_from_slice(&text.as_bytes()[start..end]);
                let frame = Frame::from(text.as_bytes());
                if is_shared {
                    queue.push_chunk(log.chunk(Encoding::Text, text.as_bytes()), start..end);
                } else {
                    queue.push(&frame, start..end);
                }
                log.end_batch();
                queue.flush(&mut sink, budget).unwrap();
                // A chunk of which a part has been written is kept whole.
                let most_written = 11;
                prop_assert!(queue.held_bytes(&log) + most_written >= log.held_bytes());
                prop_assert_eq!(sink.taken.len() + queue.queued_bytes(), expected.len());
            }
            while queue.flush(&mut sink, budget).unwrap() != Flushed::All {}
            prop_assert_eq!(sink.taken, expected);
            prop_assert_eq!(log.held_bytes(), 0);
        }
    }
}
