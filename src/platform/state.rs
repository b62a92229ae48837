//! Where a program keeps what is to outlive it, and how that is written.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::random::random_bits;

use rustix::fs::{FlockOperation, flock};

/// The user's folder for us (XDG Base Directory Specification). `None` if the user has none.
pub(crate) fn user_folder() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).filter(|path| Path::new(path).is_absolute());
    let state = of("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(Path::new(&of("HOME")?).join(".local/state")));
    Some(state?.join("chat"))
}

/// Makes `folder`, for this user alone, unless there is one.
///
/// # Errors
///
/// Those of mkdir(2).
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)
}

/// The mode of a file that nobody else may read.
pub(crate) const PRIVATE: u32 = 0o600;

/// Opens the file at `path` to read it and to append to it, for this program alone until it is
/// closed. Makes it, if there is none.
///
/// # Errors
///
/// Those of open(2) and flock(2).
pub(crate) fn open_locked(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).append(true).create(true).mode(mode);
    loop {
        let file = options.open(path)?;
        // Each has the lock for a moment only.
        flock(&file, FlockOperation::LockExclusive)?;
        let opened = file.metadata()?;
        let is_there =
            |found: fs::Metadata| (found.dev(), found.ino()) == (opened.dev(), opened.ino());
        // Else another program has replaced the file meanwhile: that one got further.
        if fs::metadata(path).is_ok_and(is_there) {
            return Ok(file);
        }
    }
}

/// Puts `bytes` in the place of what is at `path`, or changes nothing.
///
/// # Errors
///
/// Those of [`write_beside`] and rename(2).
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fresh = write_beside(path, bytes, mode)?;
    fs::rename(&fresh, path).inspect_err(|_| drop(fs::remove_file(&fresh)))
}

/// Writes `bytes` to a new file beside `path`, so that it is on the disk, and returns that file.
///
/// # Errors
///
/// Those of open(2), write(2) and fsync(2).
pub(crate) fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut fresh = OsString::from(path);
    // In a container every process has the same number.
    fresh.push(format!(".{:032x}", random_bits()?));
    let fresh = PathBuf::from(fresh);
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(mode);
    let mut file = options.open(&fresh)?;
    let written = file.write_all(bytes);
    if let Err(e) = written.and_then(|()| file.sync_all()) {
        // Half of it is of no use, and takes room on a full disk.
        let _ = fs::remove_file(&fresh);
        return Err(e);
    }
    Ok(fresh)
}
