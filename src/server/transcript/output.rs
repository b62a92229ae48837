//! Where a transcript goes, and how much of it into one file.
//!
//! With a bound, a regular file that has no room for the next line moves to `.1`, in the place of
//! an older one. If it cannot be moved, that is like a full disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mio::{Interest, Registry, Token};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::tail::rotated;
use crate::error::plain;
use crate::platform::stdio;

/// Writes without stopping this process: see [`stdio::would_stop_us`].
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    is_terminal: bool,
    /// `None`: the file may grow.
    bound: Option<Bound>,
}

/// How large a regular file may be.
#[derive(Debug)]
struct Bound {
    path: PathBuf,
    max_bytes: u64,
    size_bytes: u64,
    /// The last write has left no line unfinished. One that it has left ends in the same file.
    is_at_line_start: bool,
}

impl Bound {
    /// How much of `lines` belongs into the file: whole lines, or the rest of one. 0: its time
    /// is over.
    fn fitting_bytes(&self, lines: &[u8]) -> usize {
        let first_line_bytes = || memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        if !self.is_at_line_start {
            return first_line_bytes();
        }
        let left_bytes = self.max_bytes.saturating_sub(self.size_bytes);
        let left_bytes = usize::try_from(left_bytes).unwrap_or(usize::MAX);
        if lines.len() <= left_bytes {
            return lines.len();
        }
        match memchr::memrchr(b'\n', &lines[..left_bytes]) {
            Some(end) => end + 1,
            // No file has room for it.
            None if self.size_bytes == 0 => first_line_bytes(),
            None => 0,
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        if let Some(&last) = bytes.last() {
            self.is_at_line_start = last == b'\n';
        }
    }
}

impl Output {
    /// Opens for appending. Does not wait for a pipe's reader, and does not acquire a
    /// controlling terminal. A regular file is at most `max_bytes` long.
    ///
    /// # Errors
    ///
    /// Those of open(2). `BrokenPipe` for a pipe without a reader.
    pub(super) fn open(path: &Path, max_bytes: Option<u64>) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = OpenOptions::new()
            .append(true)
            .create(true)
            // The flags fit an i32. The standard library adds O_CLOEXEC.
            .custom_flags(flags.bits() as i32)
            .open(path);
        let file = opened.map_err(|e| match Errno::from_io_error(&e) {
            Some(Errno::NXIO) if is_pipe(path) => {
                io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads this pipe")
            }
            _ => e,
        })?;
        let metadata = file.metadata()?;
        let max_bytes = max_bytes.filter(|_| metadata.is_file());
        Ok(Self {
            is_terminal: file.is_terminal(),
            file,
            bound: max_bytes.map(|max_bytes| Bound {
                path: path.to_owned(),
                max_bytes,
                size_bytes: metadata.len(),
                is_at_line_start: true,
            }),
        })
    }

    /// Registers it for writing. A regular file is always writable.
    ///
    /// # Errors
    ///
    /// Those of epoll_ctl(2) except EPERM.
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        stdio::register(self.file.as_fd(), registry, token, Interest::WRITABLE)?;
        Ok(())
    }

    /// Whether this is the same file as `old`, opened again; an unfinished line goes on in it.
    ///
    /// # Errors
    ///
    /// Those of fstat(2).
    pub(super) fn continues(&mut self, old: &Self) -> io::Result<bool> {
        let (metadata, of_old) = (self.file.metadata()?, old.file.metadata()?);
        let is_same = (metadata.dev(), metadata.ino()) == (of_old.dev(), of_old.ino());
        if let (true, Some(bound), Some(old)) = (is_same, &mut self.bound, &old.bound) {
            bound.is_at_line_start = old.is_at_line_start;
        }
        Ok(is_same)
    }

    /// Moves the file to `.1`, and goes on in a new one with the same permissions.
    fn rotate(&mut self, path: &Path, max_bytes: u64) -> io::Result<()> {
        match path.canonicalize() {
            Ok(from) => {
                let to = rotated(&from);
                fs::rename(&from, &to).map_err(|e| {
                    let (to, e) = (to.display(), plain(&e));
                    io::Error::other(format!("cannot move it to {to}: {e}"))
                })?;
            }
            // Moved already, by somebody else or before opening the next one failed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let next = Self::open(path, Some(max_bytes))?;
        // Best effort: some file systems have no permissions.
        let permissions = self.file.metadata().map(|metadata| metadata.permissions());
        let _ = permissions.and_then(|permissions| next.file.set_permissions(permissions));
        *self = next;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_terminal && stdio::would_stop_us(self.file.as_fd()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let Some(bound) = &self.bound
            && bound.fitting_bytes(bytes) == 0
        {
            self.rotate(&bound.path.clone(), bound.max_bytes)?;
        }
        let Some(bound) = &mut self.bound else {
            return self.file.write(bytes);
        };
        let written_bytes = self.file.write(&bytes[..bound.fitting_bytes(bytes)])?;
        bound.wrote(&bytes[..written_bytes]);
        Ok(written_bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_pipe(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_line_ends_in_its_file() {
        let mut bound = Bound {
            path: PathBuf::new(),
            max_bytes: 8,
            size_bytes: 0,
            is_at_line_start: true,
        };
        assert_eq!(bound.fitting_bytes(b"one\ntwo\nthree\n"), 8);
        bound.wrote(b"one\ntw");
        assert_eq!(bound.fitting_bytes(b"o and more\nthree\n"), 11);
        bound.wrote(b"o and more\n");
        assert_eq!(bound.fitting_bytes(b"three\n"), 0);
    }
}
