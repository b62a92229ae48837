//! What a person's client writes down: what was typed and where, for the next time, and a log of
//! what the screen showed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;

use super::config::Config;
use super::memory::Memory;
use crate::error::{Error, plain};
use crate::frontend::{Frontend, Moment};

#[derive(Debug)]
pub(crate) struct Records {
    memory: Memory,
    /// To be noted once it is joined.
    room: Option<String>,
    log: Option<Log>,
}

impl Records {
    /// Those that `config` wants.
    ///
    /// # Errors
    ///
    /// When the log cannot be opened.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            memory: Memory::of_user(),
            room: Some(config.place()),
            log: config.log().cloned().map(Log::open).transpose()?,
        })
    }

    /// Writes down what is new at `frontend`, and the room if it `has_joined`.
    pub(crate) fn note(&mut self, frontend: &mut dyn Frontend, has_joined: bool, now: Moment) {
        let inputs = frontend.take_inputs();
        if !inputs.is_empty() {
            self.memory.note_inputs(&inputs);
        }
        if has_joined && let Some(room) = self.room.take() {
            self.memory.note_room(&room);
        }
        if let Some(log) = &mut self.log {
            let lines = frontend.take_log();
            if let Some(words) = log.append(&lines) {
                frontend.notify(&words, true, now);
            }
        }
    }
}

/// What the screen showed, line by line.
#[derive(Debug)]
struct Log {
    file: File,
    path: PathBuf,
    /// A line is there without its end.
    is_torn: bool,
    has_failed: bool,
}

impl Log {
    fn open(path: PathBuf) -> Result<Self, Error> {
        // A FIFO must not hold up the program.
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).expect("flags of open(2)");
        let mut options = OpenOptions::new();
        let options = options.append(true).create(true).mode(0o600);
        match options.custom_flags(flags).open(&path) {
            Ok(file) => Ok(Self {
                file,
                path,
                is_torn: false,
                has_failed: false,
            }),
            Err(source) => Err(Error::OpenLog { path, source }),
        }
    }

    /// Appends whole `lines`, or what is possible. Returns what to say of it, once.
    fn append(&mut self, lines: &str) -> Option<String> {
        if lines.is_empty() {
            return None;
        }
        let end = if self.is_torn { "\n" } else { "" };
        let text = format!("{end}{lines}");
        let (count, result) = write_all(&mut self.file, text.as_bytes());
        if count > 0 {
            self.is_torn = text.as_bytes()[count - 1] != b'\n';
        }
        let e = result.err()?;
        if std::mem::replace(&mut self.has_failed, true) {
            return None;
        }
        let path = self.path.display();
        Some(format!(
            "cannot write to {path}: {}; lines will be missing there",
            plain(&e)
        ))
    }
}

/// How much was written, and why that is not all.
fn write_all(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (written, Err(e)),
        }
    }
    (written, Ok(()))
}
