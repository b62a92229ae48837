//! Bytes to and from one socket, and what is known of its readiness.
//!
//! A transport tries and says what came of it; it decides nothing. Whether something
//! can be written, and whether a side has ended, are questions to it: a transport that
//! holds bytes of its own will have other answers than the plain one here.

use std::io::{self, IoSlice};

use crate::platform::memory_file::MemoryFile;
use crate::platform::socket::retry_interrupted;
use crate::reactor::stream::Stream;
use crate::reactor::write_queue::{Flushed, WriteQueue};

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes; there may be more.
    Bytes(usize),
    /// Nothing for now. The next edge will tell.
    WouldBlock,
    /// The peer will send no more.
    End,
    /// The connection is broken.
    Failed(io::ErrorKind),
}

#[derive(Debug)]
pub(crate) struct Transport<S> {
    stream: S,
    /// The last write did not block, so the next may be tried. Invariant: not once our side
    /// has ended; so a write asks one thing.
    is_writable: bool,
    /// Nothing more will come from the peer.
    read_ended: bool,
    /// The peer can be sent nothing more.
    write_ended: bool,
}

impl<S: Stream> Transport<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            is_writable: true,
            read_ended: false,
            write_ended: false,
        }
    }

    pub(crate) fn mark_writable(&mut self) {
        self.is_writable = !self.write_ended;
    }

    pub(crate) fn read_ended(&self) -> bool {
        self.read_ended
    }

    pub(crate) fn write_ended(&self) -> bool {
        self.write_ended
    }

    /// Reads once; after an interruption, again. After [`Received::Failed`] both sides
    /// have ended.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Received {
        if self.read_ended {
            return Received::End;
        }
        match retry_interrupted(|| self.stream.read(buffer)) {
            Ok(0) => {
                self.read_ended = true;
                Received::End
            }
            Ok(count) => Received::Bytes(count),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && !self.write_ended => {
                Received::WouldBlock
            }
            Err(e) => {
                self.end();
                Received::Failed(match e.kind() {
                    // Writing has failed before: once what had arrived is read,
                    // the connection is lost.
                    io::ErrorKind::WouldBlock => io::ErrorKind::BrokenPipe,
                    kind => kind,
                })
            }
        }
    }

    /// Writes once, and returns how many bytes were taken: none if the socket would
    /// block, or our side has ended.
    ///
    /// # Errors
    ///
    /// Those of the stream, but for `WouldBlock`, and `WriteZero`: our side has ended.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_by(|stream| stream.write(bytes))
    }

    /// The same for bytes in several places; nothing, if that is what they are.
    ///
    /// # Errors
    ///
    /// As [`Transport::write`].
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [] => Ok(0),
            // The plain write is the cheaper system call.
            [only] => self.write(only),
            _ => self.write_by(|stream| stream.write_vectored(slices)),
        }
    }

    /// The same, by reference: `len` bytes of `file` from `offset` on.
    ///
    /// # Errors
    ///
    /// As [`Transport::write`].
    pub(crate) fn send_from(
        &mut self,
        file: &MemoryFile,
        offset: u64,
        len: usize,
    ) -> io::Result<usize> {
        self.write_by(|stream| stream.send_from(file, offset, len))
    }

    #[inline(always)]
    fn write_by(
        &mut self,
        mut write: impl FnMut(&mut S) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if !self.is_writable {
            return Ok(0);
        }
        match retry_interrupted(|| write(&mut self.stream)) {
            Ok(0) => Err(self.write_failed(io::ErrorKind::WriteZero.into())),
            Ok(count) => Ok(count),
            Err(e) => self.not_written(e),
        }
    }

    /// Apart from [`Transport::write_by`], which almost always succeeds.
    #[cold]
    fn not_written(&mut self, error: io::Error) -> io::Result<usize> {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.is_writable = false;
            return Ok(0);
        }
        Err(self.write_failed(error))
    }

    /// Writes what waits in `queue`, as far as the socket takes it and the budget goes.
    ///
    /// # Errors
    ///
    /// As [`Transport::write`].
    pub(crate) fn flush(
        &mut self,
        queue: &mut WriteQueue,
        budget_bytes: usize,
    ) -> io::Result<Flushed> {
        if !self.is_writable && !queue.is_empty() {
            return Ok(Flushed::Blocked);
        }
        match queue.flush(&mut self.stream, budget_bytes) {
            Ok(flushed) => {
                self.is_writable &= flushed != Flushed::Blocked;
                Ok(flushed)
            }
            Err(e) => Err(self.write_failed(e)),
        }
    }

    /// Ends our side.
    pub(crate) fn shutdown_write(&mut self) {
        // An error means that the peer is gone already; reading will say so.
        let _ = self.stream.shutdown_write();
    }

    /// Has the kernel keep nothing of what was written and not taken, once the
    /// connection is closed.
    pub(crate) fn reset_when_closed(&mut self) {
        // An error means that there is nothing left to reset.
        let _ = self.stream.reset_when_closed();
    }

    /// Gives up both sides.
    pub(crate) fn end(&mut self) {
        self.read_ended = true;
        self.end_write();
    }

    fn end_write(&mut self) {
        self.write_ended = true;
        self.is_writable = false;
    }

    /// Ends our side, for what was to be written cannot be.
    pub(super) fn write_failed(&mut self, error: io::Error) -> io::Error {
        self.end_write();
        error
    }
}
