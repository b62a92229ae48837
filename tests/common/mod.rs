//! What the integration tests share: the real binary, real sockets, and waits that end with
//! their event.

#![allow(
    dead_code,
    reason = "each program that includes this takes what it needs"
)]

pub(crate) mod cores;
pub(crate) mod crowd;
pub(crate) mod flood;
pub(crate) mod lines;
pub(crate) mod load;
pub(crate) mod peer;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod pty;
pub(crate) mod screen;
#[cfg(feature = "tls")]
pub(crate) mod secured;
pub(crate) mod server;

use std::env;
use std::fmt::Display;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::process::{Process, piped, under_test};

/// How long a test waits for an event before it fails. No test takes this long: the bound is for
/// busy machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The pause between two checks of a condition that gives no event.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Set in CI: a test that lacks something fails instead of skipping itself.
const REQUIRE_ALL: &str = "CHAT_REQUIRE_ALL";

/// Whether a test `has` what it needs. If not, this reports it and the test must return; with
/// `CHAT_REQUIRE_ALL` set, it panics.
#[track_caller]
pub(crate) fn can_test(has: bool, otherwise: impl Display) -> bool {
    if !has {
        let is_required = env::var_os(REQUIRE_ALL).is_some();
        assert!(!is_required, "{REQUIRE_ALL} is set, but {otherwise}");
        println!("skipped: {otherwise}");
    }
    has
}

/// [`can_test`] for a program in the `PATH`.
#[track_caller]
pub(crate) fn can_test_with(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_installed = env::split_paths(&path).any(|folder| folder.join(program).is_file());
    can_test(is_installed, format_args!("{program} is not installed"))
}

/// A shell that runs `script` in a network of its own, where only loopback is up; `$0` is the
/// program under test. `None` if that cannot be had here.
#[track_caller]
pub(crate) fn shell_with_a_network(script: &str) -> Option<Process> {
    if !can_test_with("ip") || !can_test_with("unshare") {
        return None;
    }
    let script = format!("ip link set lo up && echo up || exit 9\n{script}");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", &script]);
    command.arg(under_test());
    let mut shell = Process::spawn(piped(command));
    let is_up = shell.stdout().next_line().as_deref() == Some("up");
    can_test(is_up, "there is no namespace to be had").then_some(shell)
}

/// Held by tests that flood a server, measure time, or open thousands of connections: the tests
/// of a binary run side by side, and two of these would disturb each other.
pub(crate) fn alone_under_load() -> MutexGuard<'static, ()> {
    static UNDER_LOAD: Mutex<()> = Mutex::new(());
    // A failed test leaves nothing that the next one depends on.
    UNDER_LOAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Repeats `look` until it returns something: for conditions that the kernel shows without
/// giving an event.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(LOOK_EVERY);
    }
}
