//! What was said and somebody has yet to take, kept once for all of them.
//!
//! When the first reader cannot take a turn's text at once, that text becomes a
//! [`Chunk`], and each chunk leads to the next one. Whoever lags holds only the chunk
//! where it stands, and so, through it, everything said since; what the slowest
//! reader has passed goes by itself. So fifty stuck readers, or ten thousand, cost one
//! backlog: each adds its place in it, and nothing for every turn it misses.
//!
//! It follows that a reader costs what it *holds*, everything since its place, and
//! not only what it is owed of that: [`Backlog::held_since`] is the measure.

use std::cell::{Cell, OnceCell};
use std::rc::{Rc, Weak};

/// What a chunk costs besides its text: itself, the reference counts, and what the
/// allocator adds to two allocations.
const CHUNK_COST_BYTES: usize = size_of::<Chunk>() + 48;

/// A place in the backlog: how much had been put into it before, in bytes of cost.
pub type Place = u64;

/// Where texts become chunks.
#[derive(Debug, Default)]
pub struct Backlog {
    /// The newest chunk, if anybody still holds it.
    newest: Weak<Chunk>,
    /// Where the next chunk begins.
    end: Place,
    /// The text of the turn that is being sent, once somebody needed it.
    of_this_turn: Option<Rc<Chunk>>,
    /// What all living chunks cost.
    held_bytes: Rc<Cell<usize>>,
}

/// The text of one turn, and the way to what was said after it.
#[derive(Debug)]
pub struct Chunk {
    start: Place,
    text: Box<[u8]>,
    next: OnceCell<Rc<Chunk>>,
    held_bytes: Rc<Cell<usize>>,
}

impl Backlog {
    /// An empty backlog.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chunk of the turn that is being sent, whose text is `text`. It is made at
    /// the first call; until [`Backlog::end_turn`], later calls return the same.
    pub fn chunk(&mut self, text: &[u8]) -> &Rc<Chunk> {
        if self.of_this_turn.is_none() {
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
            self.of_this_turn = Some(chunk);
        }
        let chunk = self.of_this_turn.as_ref().expect("it was made just now");
        debug_assert_eq!(*chunk.text, *text, "one turn has one text");
        chunk
    }

    /// The turn has been sent to everybody: those who need its text hold it.
    pub fn end_turn(&mut self) {
        self.of_this_turn = None;
    }

    /// What somebody who stands at `place` keeps in memory, in bytes: everything
    /// that was put here since.
    pub fn held_since(&self, place: Place) -> usize {
        usize::try_from(self.end - place).unwrap_or(usize::MAX)
    }

    /// What everybody together keeps in memory, in bytes.
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
        match offset < self.text.len() {
            true => self.start + offset as Place,
            false => self.end(),
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
        // a long backlog would take the stack with it.
        let mut next = self.next.take();
        while let Some(mut chunk) = next.and_then(Rc::into_inner) {
            next = chunk.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(backlog: &mut Backlog, text: &str) -> Rc<Chunk> {
        let chunk = Rc::clone(backlog.chunk(text.as_bytes()));
        backlog.end_turn();
        chunk
    }

    #[test]
    fn a_turn_is_one_chunk_however_many_need_it() {
        let mut backlog = Backlog::new();
        let first = Rc::clone(backlog.chunk(b"one\n"));
        assert!(Rc::ptr_eq(&first, backlog.chunk(b"one\n")));
        backlog.end_turn();
        assert!(!Rc::ptr_eq(&first, &put(&mut backlog, "two\n")));
    }

    #[test]
    fn who_holds_a_chunk_holds_all_that_came_after_it_and_nothing_else() {
        let mut backlog = Backlog::new();
        drop(put(&mut backlog, "before\n"));
        assert_eq!(backlog.held_bytes(), 0, "nobody needs it");

        let one = put(&mut backlog, "one\n");
        put(&mut backlog, "two\n");
        put(&mut backlog, "three\n");
        let all_bytes = "one\ntwo\nthree\n".len() + 3 * CHUNK_COST_BYTES;
        assert_eq!(backlog.held_bytes(), all_bytes);
        assert_eq!(backlog.held_since(one.place(0)), all_bytes);
        assert_eq!(backlog.held_since(one.place(3)), all_bytes - 3);

        let two = Rc::clone(one.next().unwrap());
        assert_eq!((one.place(4), two.text()), (two.place(0), &b"two\n"[..]));
        drop(one);
        assert_eq!(backlog.held_bytes(), backlog.held_since(two.place(0)));
        drop(two);
        assert_eq!(backlog.held_bytes(), 0);
    }

    #[test]
    fn a_long_backlog_goes_without_recursion() {
        let mut backlog = Backlog::new();
        let oldest = put(&mut backlog, "x\n");
        for _ in 0..1_000_000 {
            put(&mut backlog, "x\n");
        }
        drop(oldest);
        assert_eq!(backlog.held_bytes(), 0);
    }
}
