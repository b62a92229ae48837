//! Shared frames in, vectored writes out: what one reader is still owed.
//!
//! A broadcast is encoded once, as a [`Frame`] that all its readers share; a
//! queue holds only which part of which frame its reader has not taken yet. The
//! queue knows no socket: it writes to any [`io::Write`], and stops where that
//! says it would block.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::rc::Rc;

use crate::interrupt::retry_interrupted;

/// Text encoded once and shared by all who are to read it. One thread, so no
/// atomic counts.
pub type Frame = Rc<[u8]>;

/// Slices handed to one vectored write. The kernel takes 1,024 (`IOV_MAX`); past
/// some dozens the call itself no longer weighs.
pub const MAX_SLICES: usize = 64;

/// What a segment costs besides its bytes: itself, the frame's reference counts,
/// and what the allocator adds.
const SEGMENT_COST_BYTES: usize = size_of::<Segment>() + 40;

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

/// What a reader is owed, oldest first.
#[derive(Debug, Default)]
pub struct WriteQueue {
    /// Invariant: no segment is empty.
    segments: VecDeque<Segment>,
    /// Invariant: the sum of the segments' lengths.
    queued_bytes: usize,
}

/// The part of a frame that is still to be written.
#[derive(Debug)]
struct Segment {
    frame: Frame,
    start: u32,
    end: u32,
}

impl Segment {
    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    fn bytes(&self) -> &[u8] {
        &self.frame[self.start as usize..self.end as usize]
    }
}

impl WriteQueue {
    /// An empty queue. It owns no heap memory until something is queued.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the bytes `range` of `frame` at the end.
    ///
    /// # Panics
    ///
    /// When `range` does not lie within `frame`, or the frame is of 4 GiB or
    /// more: no turn of the loop gathers as much.
    pub fn push(&mut self, frame: &Frame, range: Range<usize>) {
        assert!(range.end <= frame.len() && range.start <= range.end);
        if range.is_empty() {
            return;
        }
        self.queued_bytes += range.len();
        self.segments.push_back(Segment {
            frame: Frame::clone(frame),
            start: u32::try_from(range.start).expect("a frame is far below 4 GiB"),
            end: u32::try_from(range.end).expect("a frame is far below 4 GiB"),
        });
    }

    /// Adds the whole of `frame` at the end.
    pub fn push_frame(&mut self, frame: &Frame) {
        self.push(frame, 0..frame.len());
    }

    /// The bytes that are still to be written.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// What the queue costs, counted as if it shared nothing: the bytes that are
    /// still to be written, and the bookkeeping for them.
    pub fn cost_bytes(&self) -> usize {
        self.queued_bytes + self.segments.len() * SEGMENT_COST_BYTES
    }

    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Forgets everything, and gives its memory back.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes to `sink` until the queue is empty, the sink would block, or
    /// `budget_bytes` have been written.
    ///
    /// # Errors
    ///
    /// Those of the sink, but for `WouldBlock` (that is [`Flushed::Blocked`]) and
    /// `Interrupted` (tried again); `WriteZero` when it takes nothing.
    pub fn flush(&mut self, sink: &mut impl Write, budget_bytes: usize) -> io::Result<Flushed> {
        let mut written_bytes = 0;
        while !self.segments.is_empty() {
            if written_bytes >= budget_bytes {
                return Ok(Flushed::BudgetSpent);
            }
            let most_bytes = budget_bytes - written_bytes;
            match retry_interrupted(|| self.write_once(sink, most_bytes)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.advance(count);
                    written_bytes += count;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Flushed::Blocked),
                Err(e) => return Err(e),
            }
        }
        debug_assert_eq!(self.queued_bytes, 0);
        // What grew while the reader lagged is not kept for the next time.
        self.segments = VecDeque::new();
        Ok(Flushed::All)
    }

    /// Hands the sink what comes first, up to `most_bytes`, in one write.
    fn write_once(&self, sink: &mut impl Write, most_bytes: usize) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut used = 0;
        let mut left_bytes = most_bytes;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            if left_bytes == 0 {
                break;
            }
            let bytes = segment.bytes();
            let taken = &bytes[..bytes.len().min(left_bytes)];
            left_bytes -= taken.len();
            *slice = IoSlice::new(taken);
            used += 1;
        }
        match &slices[..used] {
            // A plain write is the cheaper system call.
            [only] => sink.write(only),
            several => sink.write_vectored(several),
        }
    }

    /// Drops the first `count` bytes: they have been written.
    fn advance(&mut self, mut count: usize) {
        debug_assert!(count <= self.queued_bytes);
        self.queued_bytes -= count;
        while count > 0 {
            let front = self.segments.front_mut().expect("no more than was queued");
            if count < front.len() {
                // Less than the segment's length, which is a u32.
                front.start += count as u32;
                return;
            }
            count -= front.len();
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

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
        let mut sink = Script::default();
        assert_eq!(queue.flush(&mut sink, usize::MAX).unwrap(), Flushed::All);
        assert_eq!(
            (sink.taken.as_slice(), sink.writes),
            (&b"one two three"[..], 1)
        );
        assert_eq!(queue.segments.capacity(), 0, "an idle queue owns nothing");
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
            pushes in prop::collection::vec(("[a-z]{0,12}", 0_usize..6, 0_usize..6), 0..30),
            steps in prop::collection::vec(step(), 0..60),
            budget in 1_usize..20,
        ) {
            let mut queue = WriteQueue::new();
            let mut sink = Script::new(steps);
            let mut expected = Vec::new();
            for (text, skip_front, skip_back) in pushes {
                let start = skip_front.min(text.len());
                let end = text.len().saturating_sub(skip_back).max(start);
                expected.extend_from_slice(&text.as_bytes()[start..end]);
                queue.push(&Frame::from(text.as_bytes()), start..end);
                queue.flush(&mut sink, budget).unwrap();
                prop_assert_eq!(sink.taken.len() + queue.queued_bytes(), expected.len());
            }
            while queue.flush(&mut sink, budget).unwrap() != Flushed::All {}
            prop_assert_eq!(sink.taken, expected);
        }
    }
}
