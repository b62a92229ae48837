//! Log messages on standard error, for the person who runs the program.

use std::env;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use env_logger::{Builder, Env, Target};
use log::{Level, LevelFilter};
use rustix::fs::fstat;
use rustix::stdio::stderr;
use rustix::termios::isatty;

use crate::platform::stdio::StandardOutput;

/// The log target of statistics that the user asked for: logged at any level.
pub(crate) const STATS: &str = "chat::stats";

/// Further messages are dropped.
const MAX_DIVERTED: usize = 1000;

/// Messages for the code that draws on the terminal. `None` when they go to standard error.
static DIVERTED: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Diverts messages to [`take_diverted`] if standard error is a terminal, for code that
/// draws there. `false` writes the messages not yet taken to standard error, and all later
/// ones.
pub(crate) fn set_diverted(is_diverted: bool) {
    let diverted = (is_diverted && isatty(stderr())).then(Vec::new);
    let left = std::mem::replace(&mut *lock_diverted(), diverted);
    for message in left.into_iter().flatten() {
        // Not eprintln: it panics when standard error is gone.
        let _ = writeln!(io::stderr(), "{message}");
    }
}

/// The diverted messages since the last call, one line each.
pub(crate) fn take_diverted() -> Vec<String> {
    let mut diverted = lock_diverted();
    diverted.as_mut().map(std::mem::take).unwrap_or_default()
}

fn lock_diverted() -> MutexGuard<'static, Option<Vec<String>>> {
    DIVERTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queues `message` if messages are diverted. Returns whether they are.
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

/// Whether standard error is a stream to the journal (systemd.exec(5): `JOURNAL_STREAM`). A
/// program that this one was started by may have replaced it since.
fn is_journal() -> bool {
    let Ok(stat) = fstat(stderr()) else {
        return false;
    };
    env::var("JOURNAL_STREAM")
        .is_ok_and(|stream| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The first characters of a message: for people, or for the journal, which takes the
/// priority from there (sd-daemon(3)) and adds the rest itself.
fn prefix(level: Level, is_journal: bool) -> String {
    if is_journal {
        let priority = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        format!("<{priority}>")
    } else {
        format!("chat: {}: ", level.as_str().to_lowercase())
    }
}

/// Writes the error that ends the program.
pub fn last_words(error: impl fmt::Display) {
    let prefix = if is_journal() { "<3>" } else { "chat: " };
    // Not eprintln: it panics when standard error is gone.
    let _ = writeln!(io::stderr(), "{prefix}{error}");
}

/// Starts logging at `level`, or as the environment variable `RUST_LOG` says, if set. Call
/// it once.
pub fn init(level: LevelFilter) {
    let filter = format!("{level},{STATS}={}", level.max(LevelFilter::Info));
    let is_journal = is_journal();
    Builder::from_env(Env::default().default_filter_or(filter))
        .format(move |out, record| {
            let prefix = prefix(record.level(), is_journal);
            writeln!(out, "{prefix}{}", record.args())
        })
        .target(Target::Pipe(Box::new(LogOutput::new(
            StandardOutput::stderr(),
            if is_journal { "<4>" } else { "chat: " },
        ))))
        .init();
}

/// Writes messages without blocking: a paused terminal or a pipe without a reader must not
/// stall the room. It drops and counts the messages that `output` does not take at once.
struct LogOutput<W> {
    output: W,
    /// Begins the message of how many were lost.
    prefix: &'static str,
    /// Dropped messages not yet reported.
    lost: usize,
    /// `output` took only part of the last message, so its line has no end yet.
    torn: bool,
}

impl<W: Write> LogOutput<W> {
    fn new(output: W, prefix: &'static str) -> Self {
        Self {
            output,
            prefix,
            lost: 0,
            torn: false,
        }
    }
}

impl<W: Write> Write for LogOutput<W> {
    /// Takes one whole message per call. Never fails: nobody could report the error.
    fn write(&mut self, message: &[u8]) -> io::Result<usize> {
        if divert(message) {
            return Ok(message.len());
        }
        let mut text = Vec::new();
        if self.torn {
            text.push(b'\n');
        }
        if self.lost > 0 {
            writeln!(text, "{}{} messages were lost", self.prefix, self.lost)?;
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

    /// Accepts everything, or nothing while blocked.
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
    fn lost_messages_are_counted() {
        let shown = Shown {
            text: Vec::new(),
            blocked: false,
        };
        let mut log = LogOutput::new(shown, "chat: ");
        log.write_all(b"one\n").unwrap();
        log.output.blocked = true;
        log.write_all(b"two\n").unwrap();
        log.write_all(b"three\n").unwrap();
        log.output.blocked = false;
        log.write_all(b"four\n").unwrap();
        assert_eq!(log.output.text, b"one\nchat: 2 messages were lost\nfour\n");
    }
}
