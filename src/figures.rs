//! What a server has done so far, in figures.

use crate::turn::Share;

/// What went through the connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Lines that clients sent, commands and refused ones too.
    pub lines_in: u64,
    /// Bytes that clients sent while they were in the room.
    pub bytes_in: u64,
    /// Lines for everybody, counted once for each reader they were sent to.
    pub lines_out: u64,
    /// Bytes sent to readers: what the kernel has taken, what still waits for it, and
    /// what is lost.
    pub bytes_out: u64,
    /// Bytes that were waiting for readers when these were given up.
    pub bytes_lost: u64,
}

impl Traffic {
    /// A reader was sent so much of a turn.
    pub fn sent(&mut self, share: Share) {
        self.lines_out += share.lines as u64;
        self.bytes_out += share.bytes as u64;
    }
}
