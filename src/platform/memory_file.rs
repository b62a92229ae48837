//! A file without a name, in memory: its pages can be handed to any number of sockets
//! without a copy.
//!
//! sendfile(2) puts a reference to the page into the socket, and the page stays there until
//! the peer's kernel has acknowledged it, or a peer on this machine has read it. So **what
//! has been sent must never be written again**. Whoever writes goes on behind the end, and
//! gives back what lies in front by [punching holes](MemoryFile::punch): a page that a
//! socket still refers to lives on, unchanged, until that socket is done with it.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create, sendfile};

/// Holes begin and end at multiples of this. The kernel takes whole folios out of a file,
/// but writes zeros into one that it takes out in part, and so into what sockets refer to. A
/// multiple of every page size, and of the largest folio where pages are 4 KiB.
pub const HOLE_BYTES: u64 = 2 * 1024 * 1024;

/// A file in memory; clones are the same file. It is gone with the last of them, but for
/// pages that sockets refer to.
#[derive(Clone, Debug)]
pub struct MemoryFile(Rc<File>);

impl MemoryFile {
    /// An empty file.
    ///
    /// # Errors
    ///
    /// Those of memfd_create(2), write(2) and sendfile(2): each is tried once here, so that
    /// a system or a filter of system calls that lacks one of them shows at the start.
    pub fn create() -> io::Result<Self> {
        if may_have_larger_folios() {
            return Err(io::Error::other(
                "the kernel keeps such files in huge pages",
            ));
        }
        let fd = memfd_create("chat-log", MemfdFlags::CLOEXEC)?;
        let file = Self(Rc::new(File::from(fd)));
        file.write(b"\n", 0)?;
        let (here, _there) = UnixStream::pair()?;
        file.send(&here, 0, 1)?;
        file.clear()?;
        Ok(file)
    }

    /// Writes `bytes` at `offset`, behind everything that was written before.
    ///
    /// # Errors
    ///
    /// Those of pwrite(2): no memory, or a limit on the size of files.
    pub fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// Reads what was written at `offset` until `buffer` is full.
    ///
    /// # Errors
    ///
    /// Those of pread(2), and `UnexpectedEof` past the end.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    /// Sends at most `len` bytes from `offset` on to `socket`, by reference, and returns
    /// how many it took.
    ///
    /// # Errors
    ///
    /// Those of sendfile(2), which are those of a write to the socket.
    pub fn send(&self, socket: impl AsFd, offset: u64, len: usize) -> io::Result<usize> {
        let mut offset = offset;
        Ok(sendfile(socket, &self.0, Some(&mut offset), len)?)
    }

    /// Gives back the memory of `range`, which begins and ends at multiples of
    /// [`HOLE_BYTES`]. It reads as zeros from then on.
    ///
    /// # Errors
    ///
    /// Those of fallocate(2).
    pub fn punch(&self, range: Range<u64>) -> io::Result<()> {
        debug_assert!(
            [range.start, range.end]
                .iter()
                .all(|at| at.is_multiple_of(HOLE_BYTES))
        );
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let len = range.end - range.start;
        Ok(fallocate(&self.0, flags, range.start, len)?)
    }

    /// The memory that it takes, in bytes, whole pages.
    ///
    /// # Errors
    ///
    /// Those of fstat(2).
    #[cfg(test)]
    pub(crate) fn allocated_bytes(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        // In units of 512 bytes, whatever the size of a page (stat(2)).
        Ok(self.0.metadata()?.blocks() * 512)
    }

    /// Gives back all memory. What is written next may go to any offset.
    ///
    /// # Errors
    ///
    /// Those of ftruncate(2).
    pub fn clear(&self) -> io::Result<()> {
        self.0.set_len(0)
    }
}

/// Whether the kernel may put more than [`HOLE_BYTES`] of a file into one folio: where pages
/// are larger than 4 KiB and huge pages are allowed for files in memory.
fn may_have_larger_folios() -> bool {
    let read = |name| fs::read_to_string(format!("/sys/kernel/mm/transparent_hugepage/{name}"));
    let largest = read("hpage_pmd_size").ok();
    let largest: Option<u64> = largest.and_then(|text| text.trim().parse().ok());
    largest.is_some_and(|bytes| bytes > HOLE_BYTES)
        && !read("shmem_enabled").is_ok_and(|modes| modes.contains("[never]"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_socket_keeps_what_it_was_sent_though_the_file_forgets_it() {
        let file = MemoryFile::create().unwrap();
        let text = b"0123456789abcdef".repeat(1024);
        for forget in [
            |file: &MemoryFile| file.punch(0..HOLE_BYTES),
            MemoryFile::clear,
        ] {
            file.write(&text, 0).unwrap();
            let (mut near, far) = UnixStream::pair().unwrap();
            let sent = file.send(&far, 0, text.len()).unwrap();
            assert_eq!(sent, text.len());
            forget(&file).unwrap();
            file.write(b"something else", HOLE_BYTES).unwrap();

            let mut received = vec![0; text.len()];
            near.read_exact(&mut received).unwrap();
            assert!(received == text, "every byte is as it was when it was sent");
            let mut left = [1; 16];
            file.read(&mut left, 0).unwrap();
            assert_eq!(left, [0; 16], "the memory was given back");
        }
    }
}
