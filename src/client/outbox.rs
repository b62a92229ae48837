//! What is to be said, until the kernel has taken it.

use memchr::memrchr;

/// The most of a line that was begun and is kept, so that it can be said from its
/// beginning on another connection. No room takes a longer one.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// Lines that wait to be written, oldest first.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Invariant: begins where a line does, unless that line is longer than
    /// [`MAX_KEPT_BYTES`].
    bytes: Vec<u8>,
    /// So many of these were written on this connection.
    written: usize,
}

impl Outbox {
    /// Nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// `bytes` are to be said as well.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What has not been written.
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// The first `count` bytes of that were written now.
    pub fn wrote(&mut self, count: usize) {
        self.written += count;
        debug_assert!(self.written <= self.bytes.len());
        let line_start = memrchr(b'\n', &self.bytes[..self.written]).map_or(0, |at| at + 1);
        let done = match self.written - line_start {
            begun if begun > MAX_KEPT_BYTES => self.written,
            _ => line_start,
        };
        self.bytes.drain(..done);
        self.written -= done;
    }

    /// The connection is lost: what was begun is to be said from its beginning.
    pub fn rewind(&mut self) {
        self.written = 0;
    }

    /// Whether all was written.
    pub fn is_empty(&self) -> bool {
        self.unwritten().is_empty()
    }

    /// How many lines have not been written to their end.
    pub fn lines(&self) -> usize {
        memchr::memchr_iter(b'\n', self.unwritten()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_said_again_from_the_beginning_of_its_line() {
        let mut outbox = Outbox::new();
        outbox.push(b"one\ntwo\nthree\n");
        assert_eq!(outbox.lines(), 3);
        outbox.wrote(6);
        assert_eq!(
            (outbox.unwritten(), outbox.lines()),
            (&b"o\nthree\n"[..], 2)
        );
        outbox.rewind();
        assert_eq!(outbox.unwritten(), b"two\nthree\n");
        outbox.wrote(10);
        outbox.rewind();
        assert!(outbox.is_empty() && outbox.lines() == 0);
    }

    #[test]
    fn a_line_that_does_not_end_is_kept_only_so_long() {
        let mut outbox = Outbox::new();
        let piece = vec![b'x'; MAX_KEPT_BYTES / 2];
        for _ in 0..10 {
            outbox.push(&piece);
            outbox.wrote(piece.len());
            assert!(outbox.is_empty() && outbox.bytes.len() <= MAX_KEPT_BYTES);
        }
        outbox.push(b"rest\n");
        outbox.wrote(5);
        outbox.rewind();
        assert!(outbox.is_empty());
    }
}
