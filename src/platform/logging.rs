//! Diagnostics for who runs the program, on standard error.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use env_logger::{Builder, Env, Target};
use log::LevelFilter;
use rustix::stdio::stderr;
use rustix::termios::isatty;

use crate::platform::stdio::StandardOutput;

/// The target of statistics that the user asked for: they are logged whatever level
/// the command line asks for.
pub(crate) const STATS: &str = "chat::stats";

/// The most messages that wait to be taken; what is over is lost.
const MAX_DIVERTED: usize = 1000;

/// Messages on their way to whoever has the terminal, while somebody has.
static DIVERTED: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Has messages wait to be [taken](take_diverted), if they would be shown on a terminal;
/// for somebody who draws there. Or has them go to standard error again, and before them
/// what was not taken.
pub(crate) fn set_diverted(is_diverted: bool) {
    let diverted = (is_diverted && isatty(stderr())).then(Vec::new);
    let left = std::mem::replace(&mut *lock_diverted(), diverted);
    for message in left.into_iter().flatten() {
        // Not eprintln: it panics when standard error is gone.
        let _ = writeln!(io::stderr(), "{message}");
    }
}

/// The messages since this was last asked, each a line.
pub(crate) fn take_diverted() -> Vec<String> {
    let mut diverted = lock_diverted();
    diverted.as_mut().map(std::mem::take).unwrap_or_default()
}

fn lock_diverted() -> MutexGuard<'static, Option<Vec<String>>> {
    DIVERTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `message` will be taken by somebody.
fn divert(message: &[u8]) -> bool {
    let mut diverted = lock_diverted();
    let Some(messages) = &mut *diverted else {
        return false;
    };
    if messages.len() < MAX_DIVERTED {
        messages.push(String::from_utf8_lossy(message).trim_end().to_owned());
    }
    true
}

/// Starts logging what is at least as important as `level`; the environment
/// variable `RUST_LOG`, when it is set, decides instead.
pub fn init(level: LevelFilter) {
    let filter = format!("{level},{STATS}={}", level.max(LevelFilter::Info));
    Builder::from_env(Env::default().default_filter_or(filter))
        .format(|out, record| {
            let level = record.level().as_str().to_lowercase();
            writeln!(out, "chat: {level}: {}", record.args())
        })
        .target(Target::Pipe(Box::new(LogOutput::new(
            StandardOutput::stderr(),
        ))))
        .init();
}

/// Where messages go. A terminal that is paused or a pipe that nobody reads must
/// not hold up the room: what is not taken at once is dropped and counted.
struct LogOutput<W> {
    output: W,
    /// Messages lost and not yet reported.
    lost: usize,
    /// The last message was taken in part: its line has not ended.
    torn: bool,
}

impl<W: Write> LogOutput<W> {
    fn new(output: W) -> Self {
        Self {
            output,
            lost: 0,
            torn: false,
        }
    }
}

impl<W: Write> Write for LogOutput<W> {
    /// Takes one message whole, as the logger hands it over. Never fails: there is
    /// nobody left to tell.
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        if divert(message) {
            return Ok(message.len());
        }
        let mut text = Vec::new();
        if self.torn {
            text.push(b'\n');
        }
        if self.lost > 0 {
            writeln!(text, "chat: {} messages could not be shown", self.lost)?;
        }
        text.extend_from_slice(message);
        match self.output.write(&text) {
            Ok(count) => {
                self.lost = 0;
                self.torn = count < text.len();
            }
            Err(_) => self.lost += 1,
        }
        Ok(message.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what fits into a buffer.
    struct Shown {
        text: Vec<u8>,
        blocked: bool,
    }

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.blocked {
                Err(io::ErrorKind::WouldBlock.into())
            } else {
                self.text.write(bytes)
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn messages_that_cannot_be_shown_are_counted() {
        let mut log = LogOutput::new(Shown {
            text: Vec::new(),
            blocked: false,
        });
        log.write_all(b"one\n").unwrap();
        log.output.blocked = true;
        log.write_all(b"two\n").unwrap();
        log.write_all(b"three\n").unwrap();
        log.output.blocked = false;
        log.write_all(b"four\n").unwrap();
        assert_eq!(
            log.output.text,
            b"one\nchat: 2 messages could not be shown\nfour\n"
        );
    }
}
