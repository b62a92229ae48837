//! Lines that wait to be sent, kept over lost connections.

use memchr::{memchr_iter, memrchr};

/// The queue is full at about this size: then no more input is read, or accepted.
pub(crate) const MAX_UNSENT_BYTES: usize = 256 * 1024;

/// The most of a partly written line that is kept to be sent again from its beginning on
/// another connection. No room takes a longer line.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// Lines that wait to be written, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// Where the first line begins that is not completely written; later, if that line is
    /// longer than [`MAX_KEPT_BYTES`]. What is before is done with.
    line_start: usize,
    /// How many of the bytes are written on this connection.
    /// Invariant: not before `line_start`.
    written: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// The first `count` unwritten bytes have been written.
    pub(crate) fn wrote(&mut self, count: usize) {
        self.written += count;
        debug_assert!(self.written <= self.bytes.len());
        if let Some(at) = memrchr(b'\n', &self.bytes[self.line_start..self.written]) {
            self.line_start += at + 1;
        }
        if self.written - self.line_start > MAX_KEPT_BYTES {
            self.line_start = self.written;
        }
        // Rarely, as it moves what is left.
        if self.line_start > self.bytes.len() / 2 {
            self.bytes.drain(..self.line_start);
            self.written -= self.line_start;
            self.line_start = 0;
        }
    }

    /// Starts over for a new connection: a partly written line is sent again from its
    /// beginning.
    pub(crate) fn rewind(&mut self) {
        self.written = self.line_start;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unwritten().is_empty()
    }

    /// How many lines are not completely written.
    pub(crate) fn lines(&self) -> usize {
        memchr_iter(b'\n', self.unwritten()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partly_written_line_is_sent_again_from_its_beginning() {
        let mut outbox = Outbox::default();
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
    fn an_endless_line_is_kept_only_up_to_the_bound() {
        let mut outbox = Outbox::default();
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
