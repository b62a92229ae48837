//! More than the kernel will hold for a client that does not read.

use std::ops::Range;

use super::peer::Peer;

/// So many long lines are more than the 4 MiB that the kernel may hold for a client's
/// connection (`tcp_wmem`).
pub(crate) const OVER_KERNEL_BUFFERS: Range<usize> = 0..1500;

/// So many are more than the kernel holds for a client of the server (with its limited
/// receive buffer), and less than what the server does besides.
pub(crate) const OVER_SEND_BUFFER: Range<usize> = 0..250;

/// The options of a server that keeps whatever a test floods it with for a client that
/// does not read: nobody is dropped, however late it reads.
pub(crate) const KEEPS_ALL: &[&str] = &["--max-backlog", "64M"];

/// How long a long line is, at least.
pub(crate) const LONG_LINE_BYTES: usize = 4000;

/// Lines said before the witness has to have read them.
const BURST: usize = 50;

/// A long line that is unlike every other.
pub(crate) fn long_line(number: usize) -> String {
    format!("{number} {:.<LONG_LINE_BYTES$}", "")
}

/// Has `talker` say the long lines of these numbers, and `witness` read each of
/// them: when this returns, the server has sent all of them to the whole room.
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
