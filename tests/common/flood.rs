//! Floods: more than the kernel buffers for a client that does not read.

use std::ops::Range;

use super::peer::Peer;

/// Long lines that exceed the 4 MiB the kernel may buffer for a connection (`tcp_wmem`).
pub(crate) const OVER_KERNEL_BUFFERS: Range<usize> = 0..1500;

/// Long lines that exceed what the kernel buffers for a client of the server (with its limited
/// receive buffer), but not what the server queues besides.
pub(crate) const OVER_SEND_BUFFER: Range<usize> = 0..250;

/// The options of a server that queues any flood of these tests for a client that does not read:
/// it drops nobody, however late they read.
pub(crate) const KEEPS_ALL: &[&str] = &["--max-backlog", "64M"];

/// The least length of a long line.
pub(crate) const LONG_LINE_BYTES: usize = 4000;

/// Lines said before the witness reads them.
const BURST: usize = 50;

/// A unique long line.
pub(crate) fn long_line(number: usize) -> String {
    format!("{number} {:.<LONG_LINE_BYTES$}", "")
}

/// `talker` says the long lines of these numbers, and `witness` reads each. On return the server
/// has sent all of them to the whole room.
#[track_caller]
pub(crate) fn flood(talker: &Peer, witness: &mut Peer, numbers: Range<usize>) {
    for start in numbers.clone().step_by(BURST) {
        let burst = start..numbers.end.min(start + BURST);
        for number in burst.clone() {
            talker.say(&long_line(number));
        }
        for number in burst {
            witness.expect_line(&talker.said(&long_line(number)));
        }
    }
}
