//! What was said and some readers have yet to take, kept once for all of them.
//!
//! The log is a [file in memory](MemoryFile) to which each text is appended: a large batch
//! when it begins to be sent, for sockets take it from there by reference; a small one when
//! the first reader cannot take it at once. Each text is a [`Chunk`], and each chunk leads
//! to the next one. A reader that lags holds only the chunk where it stands and, through
//! it, everything said since; what the slowest reader has passed is freed by itself. So
//! fifty stuck readers, or ten thousand, cost one log: each adds its position in it, and
//! nothing for every batch it misses.
//!
//! Invariant: **a byte that was sent is never written again.** Sockets refer to the pages
//! for as long as their peers please. Offsets only grow; the memory of freed chunks is given
//! back by punching holes behind the slowest reader, which leaves referred pages alone.
//!
//! Where there is no such file, chunks are on the heap, and are sent by copy.
//!
//! It follows that a reader costs what it *holds*, everything since its position, not
//! only what it is owed of that: [`SharedLog::held_since`] is the measure.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::io;
use std::ops::Range;
use std::rc::{Rc, Weak};

use log::info;

use crate::platform::memory_file::{HOLE_BYTES, MemoryFile};
use crate::protocol::batch::Encoding;
use crate::protocol::websocket::push_framed;

/// What a chunk costs besides its text: itself, the reference counts, and what the
/// allocator adds to two allocations.
const CHUNK_COST_BYTES: usize = size_of::<Chunk>() + 48;

/// The logs of all encodings.
#[derive(Debug)]
pub struct SharedLogs {
    logs: [SharedLog; Encoding::COUNT],
    framed: [Framed; Encoding::COUNT],
    new_file: fn() -> Option<MemoryFile>,
}

/// The text of the batch that is being sent, in WebSocket's frames. Nobody lags here: a reader
/// that does not take all at once lags in the log of its encoding.
#[derive(Debug, Default)]
struct Framed {
    /// Empty where nobody reads it.
    text: Vec<u8>,
    /// The same, where it is sent by reference. `None` until some was.
    log: Option<SharedLog>,
}

/// The capacity of a framed text's buffer that is kept for the next batch.
const KEPT_TEXT_BYTES: usize = 64 * 1024;

/// A position in the log: how much had been put into it before, in bytes of cost.
pub type Position = u64;

/// Where texts become chunks.
#[derive(Debug, Default)]
pub struct SharedLog {
    /// Of its texts.
    encoding: Encoding,
    /// `None` where texts are kept on the heap.
    file: Option<Rc<LogFile>>,
    /// The last text could not be written to the file.
    is_file_full: bool,
    /// The newest chunk, if anybody still holds it.
    newest: Weak<Chunk>,
    /// Where the next chunk begins.
    end: Position,
    /// The text of the batch that is being sent, once it was needed here.
    of_this_batch: Option<Rc<Chunk>>,
    /// What all living chunks cost.
    held_bytes: Rc<Cell<usize>>,
}

/// The file, and how far it is written and freed.
#[derive(Debug)]
struct LogFile {
    file: MemoryFile,
    /// Where the next text goes. It only grows.
    end: Cell<u64>,
    /// Before this, all memory has been given back. A multiple of [`HOLE_BYTES`].
    punched_to: Cell<u64>,
}

/// The text of one batch, and the way to what was said after it.
#[derive(Debug)]
pub struct Chunk {
    encoding: Encoding,
    start: Position,
    text: Text,
    next: OnceCell<Rc<Chunk>>,
    held_bytes: Rc<Cell<usize>>,
}

#[derive(Debug)]
enum Text {
    Heap(Box<[u8]>),
    /// Invariant: the texts of chunks that follow each other follow each other here.
    File {
        file: Rc<LogFile>,
        offset: u64,
        len: usize,
    },
}

impl SharedLogs {
    /// Empty logs, each in a file of its own if `new_file` makes one.
    pub fn new(new_file: fn() -> Option<MemoryFile>) -> Self {
        let encodings = [Encoding::Text, Encoding::Json];
        Self {
            logs: encodings.map(|encoding| SharedLog::new(encoding, new_file())),
            framed: Default::default(),
            new_file,
        }
    }

    /// The log of the texts in `encoding`.
    pub fn of(&self, encoding: Encoding) -> &SharedLog {
        &self.logs[encoding.index()]
    }

    /// The chunk of the batch that is being sent, whose text in `encoding` is `text`. Made at
    /// the first call, it is the same until [`SharedLogs::end_batch`].
    pub fn chunk(&mut self, encoding: Encoding, text: &[u8]) -> &Rc<Chunk> {
        self.logs[encoding.index()].chunk(text)
    }

    /// Puts `text` into frames for the batch that is being sent; in a file, too, if that is to be
    /// sent `by_reference`.
    pub fn put_framed(&mut self, encoding: Encoding, text: &[u8], by_reference: bool) {
        let framed = &mut self.framed[encoding.index()];
        push_framed(&mut framed.text, text);
        if by_reference {
            let new_log = || SharedLog::new(encoding, (self.new_file)());
            let log = framed.log.get_or_insert_with(new_log);
            if log.file.is_some() {
                log.chunk(&framed.text);
            }
        }
    }

    /// What was put into frames for this batch. `None` where that is nothing.
    pub fn framed(&self, encoding: Encoding) -> Option<&[u8]> {
        let text = &self.framed[encoding.index()].text;
        (!text.is_empty()).then_some(text)
    }

    /// The file that has [`framed`](Self::framed), and at which offset, if it is sent by reference.
    pub fn framed_file(&self, encoding: Encoding) -> Option<(&MemoryFile, u64)> {
        let log = self.framed[encoding.index()].log.as_ref()?;
        log.of_this_batch.as_ref()?.file()
    }

    /// The batch has been sent to everybody: readers that still need its texts hold them.
    pub fn end_batch(&mut self) {
        self.logs.iter_mut().for_each(SharedLog::end_batch);
        for framed in &mut self.framed {
            framed.text.clear();
            framed.text.shrink_to(KEPT_TEXT_BYTES);
            framed.log.iter_mut().for_each(SharedLog::end_batch);
        }
    }

    /// What all readers together keep in memory, in bytes.
    pub fn held_bytes(&self) -> usize {
        let framed = self.framed.iter().filter_map(|framed| framed.log.as_ref());
        let logs = self.logs.iter().chain(framed);
        logs.map(SharedLog::held_bytes).sum()
    }
}

impl SharedLog {
    /// An empty log, in `file`; without one, on the heap.
    pub fn new(encoding: Encoding, file: Option<MemoryFile>) -> Self {
        let file = file.map(|file| {
            Rc::new(LogFile {
                file,
                end: Cell::new(0),
                punched_to: Cell::new(0),
            })
        });
        Self {
            encoding,
            file,
            ..Self::default()
        }
    }

    /// The chunk of the batch that is being sent, whose text is `text`. It is made at
    /// the first call; until [`SharedLog::end_batch`], later calls return the same.
    pub fn chunk(&mut self, text: &[u8]) -> &Rc<Chunk> {
        if self.of_this_batch.is_none() {
            let chunk = Rc::new(Chunk {
                encoding: self.encoding,
                start: self.end,
                text: self.keep(text),
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
        debug_assert_eq!(chunk.len(), text.len(), "one batch has one text");
        chunk
    }

    /// The batch has been sent to everybody: readers that still need its text hold it.
    pub fn end_batch(&mut self) {
        self.of_this_batch = None;
    }

    /// What a reader at `position` keeps in memory, in bytes: everything that was put
    /// here since.
    pub fn held_since(&self, position: Position) -> usize {
        usize::try_from(self.end - position).unwrap_or(usize::MAX)
    }

    /// What all readers together keep in memory, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes.get()
    }

    /// Writes `text` where chunks are kept.
    fn keep(&mut self, text: &[u8]) -> Text {
        let Some(file) = &self.file else {
            return Text::Heap(text.into());
        };
        let appended = file.append(text);
        if let Err(e) = &appended
            && !self.is_file_full
        {
            info!(
                "each reader is sent a copy of what is said: no more fits the file in memory: {e}"
            );
        }
        self.is_file_full = appended.is_err();
        appended.map_or_else(
            |_| Text::Heap(text.into()),
            |offset| Text::File {
                file: Rc::clone(file),
                offset,
                len: text.len(),
            },
        )
    }
}

impl LogFile {
    fn append(&self, text: &[u8]) -> io::Result<u64> {
        let offset = self.end.get();
        self.file.write(text, offset)?;
        self.end.set(offset + text.len() as u64);
        Ok(offset)
    }

    /// Nobody needs what is before `end`: chunks are freed in the order in which they were
    /// made.
    fn free_to(&self, end: u64) {
        let from = self.punched_to.get();
        let to = end - end % HOLE_BYTES;
        debug_assert!(
            from <= to,
            "a chunk is freed before those that come after it"
        );
        let freed = if end == self.end.get() {
            self.file.clear()
        } else if from < to {
            self.file.punch(from..to)
        } else {
            return;
        };
        // If that failed, the file takes memory for longer, and nothing else changes.
        if freed.is_ok() {
            self.punched_to.set(to);
        }
    }
}

impl Chunk {
    /// The encoding of its text.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The length of its text, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "no text is empty")]
    pub fn len(&self) -> usize {
        match &self.text {
            Text::Heap(text) => text.len(),
            Text::File { len, .. } => *len,
        }
    }

    /// A part of its text.
    ///
    /// # Errors
    ///
    /// Those of reading a file in memory.
    pub fn read(&self, range: Range<usize>) -> io::Result<Cow<'_, [u8]>> {
        match &self.text {
            Text::Heap(text) => Ok(Cow::Borrowed(&text[range])),
            Text::File { file, offset, .. } => {
                let mut text = vec![0; range.len()];
                file.file.read(&mut text, offset + range.start as u64)?;
                Ok(Cow::Owned(text))
            }
        }
    }

    /// The file that its text is in, and at which offset. The text of the next chunk
    /// follows there, if that is in a file, too.
    pub fn file(&self) -> Option<(&MemoryFile, u64)> {
        match &self.text {
            Text::Heap(_) => None,
            Text::File { file, offset, .. } => Some((&file.file, *offset)),
        }
    }

    /// The position of the byte at `offset` of its text; of the one after the last, that
    /// is the beginning of the next chunk.
    pub fn position(&self, offset: usize) -> Position {
        if offset < self.len() {
            self.start + offset as Position
        } else {
            self.end()
        }
    }

    /// What was said next, if anything was since.
    pub fn next(&self) -> Option<&Rc<Chunk>> {
        self.next.get()
    }

    fn end(&self) -> Position {
        self.start + self.cost_bytes() as Position
    }

    fn cost_bytes(&self) -> usize {
        self.len() + CHUNK_COST_BYTES
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.held_bytes.update(|bytes| bytes - self.cost_bytes());
        if let Text::File { file, offset, len } = &self.text {
            file.free_to(offset + *len as u64);
        }
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

    fn on_heap() -> SharedLog {
        SharedLog::new(Encoding::Text, None)
    }

    fn in_file() -> SharedLog {
        SharedLog::new(Encoding::Text, Some(MemoryFile::create().unwrap()))
    }

    fn put(log: &mut SharedLog, text: &[u8]) -> Rc<Chunk> {
        let chunk = Rc::clone(log.chunk(text));
        log.end_batch();
        chunk
    }

    fn text(chunk: &Chunk) -> Cow<'_, [u8]> {
        chunk.read(0..chunk.len()).unwrap()
    }

    #[test]
    fn a_batch_is_one_chunk_however_many_need_it() {
        for mut log in [on_heap(), in_file()] {
            let first = Rc::clone(log.chunk(b"one\n"));
            assert!(Rc::ptr_eq(&first, log.chunk(b"one\n")));
            log.end_batch();
            assert!(!Rc::ptr_eq(&first, &put(&mut log, b"two\n")));
        }
    }

    #[test]
    fn who_holds_a_chunk_holds_all_that_came_after_it_and_nothing_else() {
        for mut log in [on_heap(), in_file()] {
            drop(put(&mut log, b"before\n"));
            assert_eq!(log.held_bytes(), 0, "nobody needs it");

            let one = put(&mut log, b"one\n");
            put(&mut log, b"two\n");
            put(&mut log, b"three\n");
            let all_bytes = "one\ntwo\nthree\n".len() + 3 * CHUNK_COST_BYTES;
            assert_eq!(log.held_bytes(), all_bytes);
            assert_eq!(log.held_since(one.position(0)), all_bytes);
            assert_eq!(log.held_since(one.position(3)), all_bytes - 3);

            let two = Rc::clone(one.next().unwrap());
            assert_eq!(one.position(4), two.position(0));
            assert_eq!(*text(&two), *b"two\n");
            drop(one);
            assert_eq!(log.held_bytes(), log.held_since(two.position(0)));
            drop(two);
            assert_eq!(log.held_bytes(), 0);
        }
    }

    #[test]
    fn a_long_log_is_freed_without_recursion() {
        for mut log in [on_heap(), in_file()] {
            let oldest = put(&mut log, b"x\n");
            for _ in 0..300_000 {
                put(&mut log, b"x\n");
            }
            drop(oldest);
            assert_eq!(log.held_bytes(), 0);
        }
    }

    /// The memory that the file takes, in bytes.
    fn allocated_bytes(log: &SharedLog) -> u64 {
        log.file.as_ref().unwrap().file.allocated_bytes().unwrap()
    }

    #[test]
    fn the_file_takes_memory_for_what_the_slowest_reader_is_owed() {
        const TEXT_BYTES: usize = 100_000;
        let mut log = in_file();
        let mut held: std::collections::VecDeque<_> = (b'a'..=b'z')
            .map(|letter| put(&mut log, &[letter; TEXT_BYTES]))
            .collect();
        let all_bytes = (26 * TEXT_BYTES) as u64;
        assert!((all_bytes..all_bytes + 4096).contains(&allocated_bytes(&log)));
        // Chunks are freed one by one as the slowest reader moves on, and the rest is as
        // it was.
        for letter in b'a'..=b'z' {
            let left_bytes = (held.len() * TEXT_BYTES) as u64;
            assert!(allocated_bytes(&log) <= left_bytes + HOLE_BYTES + 4096);
            assert_eq!(*text(&held[0]), [letter; TEXT_BYTES]);
            held.pop_front();
        }
        assert_eq!(allocated_bytes(&log), 0, "nobody needs any of it");

        // What is written afterwards goes elsewhere.
        let later = put(&mut log, b"later\n");
        assert_eq!(later.file().unwrap().1, all_bytes);
        assert_eq!(*text(&later), *b"later\n");
    }

    #[test]
    fn what_the_file_does_not_take_is_kept_on_the_heap() {
        let mut log = in_file();
        let one = put(&mut log, b"one\n");
        // Further than any file may grow.
        let end = &log.file.as_ref().unwrap().end;
        let end = end.replace(i64::MAX as u64);
        let two = put(&mut log, b"two\n");
        log.file.as_ref().unwrap().end.set(end);
        let three = put(&mut log, b"three\n");
        let is_in_file = [&one, &two, &three].map(|chunk| chunk.file().is_some());
        assert_eq!(is_in_file, [true, false, true]);
        assert_eq!(*text(one.next().unwrap()), *b"two\n");
        assert_eq!(*text(two.next().unwrap()), *b"three\n");
        drop((one, two, three));
        assert_eq!((log.held_bytes(), allocated_bytes(&log)), (0, 0));
    }
}
