//! What was said and some readers have yet to take, kept once for all of them.
//!
//! When the first reader cannot take a batch's text at once, that text becomes a
//! [`Chunk`], and each chunk leads to the next one. A reader that lags holds only the
//! chunk where it stands and, through it, everything said since; what the slowest reader
//! has passed is freed by itself. So fifty stuck readers, or ten thousand, cost one log:
//! each adds its place in it, and nothing for every batch it misses.
//!
//! It follows that a reader costs what it *holds*, everything since its place, not
//! only what it is owed of that: [`SharedLog::held_since`] is the measure.

use std::cell::{Cell, OnceCell};
use std::rc::{Rc, Weak};

/// What a chunk costs besides its text: itself, the reference counts, and what the
/// allocator adds to two allocations.
const CHUNK_COST_BYTES: usize = size_of::<Chunk>() + 48;

/// A place in the log: how much had been put into it before, in bytes of cost.
pub type Place = u64;

/// Where texts become chunks.
#[derive(Debug, Default)]
pub struct SharedLog {
    /// The newest chunk, if anybody still holds it.
    newest: Weak<Chunk>,
    /// Where the next chunk begins.
    end: Place,
    /// The text of the batch that is being sent, once a reader needed it.
    of_this_batch: Option<Rc<Chunk>>,
    /// What all living chunks cost.
    held_bytes: Rc<Cell<usize>>,
}

/// The text of one batch, and the way to what was said after it.
#[derive(Debug)]
pub struct Chunk {
    start: Place,
    text: Box<[u8]>,
    next: OnceCell<Rc<Chunk>>,
    held_bytes: Rc<Cell<usize>>,
}

impl SharedLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chunk of the batch that is being sent, whose text is `text`. It is made at
    /// the first call; until [`SharedLog::end_batch`], later calls return the same.
    pub fn chunk(&mut self, text: &[u8]) -> &Rc<Chunk> {
        if self.of_this_batch.is_none() {
            let chunk = Rc::new(Chunk {
                start: self.end,
                text: text.into(),
                next: OnceCell::new(),
                held_bytes: Rc::clone(&self.held_bytes),
            });
            self.held_bytes.update(|bytes| bytes + chunk.cost_bytes());
            self.end = chunk.end();
            if let Some(before) = self.newest.upgrade() {
                let linked = before.next.set(Rc::clone(&chunk));
                debug_assert!(linked.is_ok(), "the newest chunk has no next one");
            }
            self.newest = Rc::downgrade(&chunk);
            self.of_this_batch = Some(chunk);
        }
        let chunk = self.of_this_batch.as_ref().expect("it was made just now");
        debug_assert_eq!(*chunk.text, *text, "one batch has one text");
        chunk
    }

    /// The batch has been sent to everybody: readers that still need its text hold it.
    pub fn end_batch(&mut self) {
        self.of_this_batch = None;
    }

    /// What a reader at `place` keeps in memory, in bytes: everything that was put
    /// here since.
    pub fn held_since(&self, place: Place) -> usize {
        usize::try_from(self.end - place).unwrap_or(usize::MAX)
    }

    /// What all readers together keep in memory, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.get()
    }
}

impl Chunk {
    /// Its text: whole lines.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The place of the byte at `offset` of its text; of the one after the last, that
    /// is the beginning of the next chunk.
    pub fn place(&self, offset: usize) -> Place {
        if offset < self.text.len() {
            self.start + offset as Place
        } else {
            self.end()
        }
    }

    /// What was said next, if anything was since.
    pub fn next(&self) -> Option<&Rc<Chunk>> {
        self.next.get()
    }

    fn end(&self) -> Place {
        self.start + self.cost_bytes() as Place
    }

    fn cost_bytes(&self) -> usize {
        self.text.len() + CHUNK_COST_BYTES
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.held_bytes.update(|bytes| bytes - self.cost_bytes());
        // Left to itself, each chunk would drop the next one within its own drop, and
        // a long log would overflow the stack.
        let mut next = self.next.take();
        while let Some(mut chunk) = next.and_then(Rc::into_inner) {
            next = chunk.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(log: &mut SharedLog, text: &str) -> Rc<Chunk> {
        let chunk = Rc::clone(log.chunk(text.as_bytes()));
        log.end_batch();
        chunk
    }

    #[test]
    fn a_batch_is_one_chunk_however_many_need_it() {
        let mut log = SharedLog::new();
        let first = Rc::clone(log.chunk(b"one\n"));
        assert!(Rc::ptr_eq(&first, log.chunk(b"one\n")));
        log.end_batch();
        assert!(!Rc::ptr_eq(&first, &put(&mut log, "two\n")));
    }

    #[test]
    fn who_holds_a_chunk_holds_all_that_came_after_it_and_nothing_else() {
        let mut log = SharedLog::new();
        drop(put(&mut log, "before\n"));
        assert_eq!(log.held_bytes(), 0, "nobody needs it");

        let one = put(&mut log, "one\n");
        put(&mut log, "two\n");
        put(&mut log, "three\n");
        let all_bytes = "one\ntwo\nthree\n".len() + 3 * CHUNK_COST_BYTES;
        assert_eq!(log.held_bytes(), all_bytes);
        assert_eq!(log.held_since(one.place(0)), all_bytes);
        assert_eq!(log.held_since(one.place(3)), all_bytes - 3);

        let two = Rc::clone(one.next().unwrap());
        assert_eq!((one.place(4), two.text()), (two.place(0), &b"two\n"[..]));
        drop(one);
        assert_eq!(log.held_bytes(), log.held_since(two.place(0)));
        drop(two);
        assert_eq!(log.held_bytes(), 0);
    }

    #[test]
    fn a_long_log_is_freed_without_recursion() {
        let mut log = SharedLog::new();
        let oldest = put(&mut log, "x\n");
        for _ in 0..1_000_000 {
            put(&mut log, "x\n");
        }
        drop(oldest);
        assert_eq!(log.held_bytes(), 0);
    }
}
