//! What the integration tests share: the real binary, real sockets, and waits
//! that end with the event they wait for.

#![allow(
    dead_code,
    reason = "each program that includes this takes what it needs"
)]

pub(crate) mod crowd;
pub(crate) mod flood;
pub(crate) mod lines;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod pty;
pub(crate) mod screen;
pub(crate) mod server;

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen before it fails. No test takes
/// this long: it is a bound for machines that are busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two looks at what cannot be awaited.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks again and again until `look` finds something; for conditions that the
/// kernel shows but gives no event for.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(LOOK_EVERY);
    }
}
