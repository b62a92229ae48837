//! The bytes that are being written, and which lines they are.

use std::collections::VecDeque;

use crate::client::pending::Line;

#[derive(Debug, Default)]
pub(super) struct Writing {
    /// Whole lines, the first of which may be partly written.
    bytes: Vec<u8>,
    /// How much of that, from the first byte on, asks for objects.
    asking_bytes: usize,
    /// How much of each line of the rest is not yet written.
    lines: VecDeque<usize>,
}

impl Writing {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The connection is another one.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes the `request` for objects, before any line.
    pub(super) fn ask(&mut self, request: &str) {
        debug_assert!(self.lines.is_empty());
        self.bytes.extend_from_slice(request.as_bytes());
        self.asking_bytes = self.bytes.len();
    }

    /// Writes `line`, with its end if it `is_ended`.
    pub(super) fn push(&mut self, line: &Line, is_ended: bool) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&line.text);
        if is_ended {
            self.bytes.push(b'\n');
        }
        self.lines.push_back(self.bytes.len() - start);
    }

    /// The first `count` bytes have been written. Returns how many lines end with these.
    pub(super) fn wrote(&mut self, count: usize) -> usize {
        self.bytes.drain(..count);
        let asked = count.min(self.asking_bytes);
        self.asking_bytes -= asked;
        let mut rest = count - asked;
        let mut ended = 0;
        while let Some(bytes) = self.lines.front_mut().filter(|_| rest > 0) {
            let written = rest.min(*bytes);
            rest -= written;
            *bytes -= written;
            if *bytes == 0 {
                self.lines.pop_front();
                ended += 1;
            }
        }
        ended
    }
}
