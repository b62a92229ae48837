//! System calls that a signal has interrupted (signal(7)).

use std::io;

/// Calls `call` until its result is not that a signal interrupted it.
pub fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
