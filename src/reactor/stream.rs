//! What a socket is to the reactor: TCP, or a test's stand-in for it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::platform::memory_file::MemoryFile;

/// A socket that does not block, or what stands for one in a test.
pub trait Stream: Read + Write {
    /// Sends at most `len` bytes of `file` from `offset` on, by reference, and returns how
    /// many were taken. They must never be written again.
    ///
    /// # Errors
    ///
    /// Those of [`MemoryFile::send`].
    fn send_from(&mut self, file: &MemoryFile, offset: u64, len: usize) -> io::Result<usize>;

    /// Ends our side: the peer reads to the end of what was written. What the
    /// peer still sends can still be read.
    ///
    /// # Errors
    ///
    /// Those of shutdown(2).
    fn shutdown_write(&self) -> io::Result<()>;

    /// Has the connection reset once it is closed: the kernel then keeps nothing of
    /// what the peer has not taken.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    fn reset_when_closed(&self) -> io::Result<()>;
}

impl Stream for mio::net::TcpStream {
    fn send_from(&mut self, file: &MemoryFile, offset: u64, len: usize) -> io::Result<usize> {
        file.send(self, offset, len)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset_when_closed(&self) -> io::Result<()> {
        Ok(set_socket_linger(self, Some(Duration::ZERO))?)
    }
}
