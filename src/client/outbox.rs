//! What is to be said, until the kernel has taken it.

use memchr::memrchr;

/// The most of a line that was begun and is kept, so that it can be said from its
/// beginning on another connection. No room takes a longer one.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// Lines that wait to be written, oldest first.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// Where the first line begins that was not written to its end; later, if that is longer
    /// than [`MAX_KEPT_BYTES`]. What is before is done with.
    line_start: usize,
    /// So many of these bytes were written on this connection. Invariant: not before
    /// `line_start`.
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
        if let Some(at) = memrchr(b'\n', &self.bytes[self.line_start..self.written]) {
            self.line_start += at + 1;
        }
        if self.written - self.line_start > MAX_KEPT_BYTES {
            self.line_start = self.written;
        }
        // Seldom, so that what is left is moved seldom.
        if self.line_start > self.bytes.len() / 2 {
            self.bytes.drain(..self.line_start);
            self.written -= self.line_start;
            self.line_start = 0;
        }
    }

    /// The connection is lost: what was begun is to be said from its beginning.
    pub fn rewind(&mut self) {
        self.written = self.line_start;
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
