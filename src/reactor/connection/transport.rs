//! Bytes to and from one socket, and what is known of its readiness.
//!
//! A transport tries and says what came of it; it decides nothing. Whether something
//! can be written, and whether a side has ended, are questions to it: one that is secured by TLS
//! holds bytes of its own, both ways.

use std::io::{self, IoSlice};
#[cfg(feature = "tls")]
use std::io::{Read, Write};

use crate::platform::memory_file::MemoryFile;
use crate::platform::socket::retry_interrupted;
#[cfg(feature = "tls")]
use crate::protocol::tls::{RECORD_BYTES, Session};
use crate::reactor::stream::Stream;
use crate::reactor::write_queue::{Flushed, WriteQueue};

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes; there may be more. None if something has come that is nothing to read yet.
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
    /// `None` on a plain connection.
    #[cfg(feature = "tls")]
    session: Option<Box<Session>>,
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
            #[cfg(feature = "tls")]
            session: None,
            is_writable: true,
            read_ended: false,
            write_ended: false,
        }
    }

    /// One over which all bytes go through `session`, whose handshake is over.
    #[cfg(feature = "tls")]
    pub(crate) fn secured(stream: S, session: Box<Session>) -> Self {
        Self {
            session: Some(session),
            ..Self::new(stream)
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

    /// Whether its bytes go through TLS.
    #[inline(always)]
    pub(crate) fn is_secured(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.session.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// How many bytes it has taken that the socket has not.
    #[inline(always)]
    pub(crate) fn pending_bytes(&self) -> usize {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session
            && !self.write_ended
        {
            return session.pending_bytes();
        }
        0
    }

    /// How many bytes it has read from the socket that were not read here.
    pub(crate) fn received_bytes(&self) -> usize {
        #[cfg(feature = "tls")]
        if let Some(session) = &self.session {
            return session.received_bytes();
        }
        0
    }

    /// Reads once; after an interruption, again. After [`Received::Failed`] both sides
    /// have ended. A secured connection that ends without saying so has failed: somebody else
    /// may have cut it.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Received {
        if self.read_ended {
            return Received::End;
        }
        match retry_interrupted(|| self.read_stream(buffer)) {
            Ok(Some(0)) => {
                self.read_ended = true;
                Received::End
            }
            Ok(count) => Received::Bytes(count.unwrap_or(0)),
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

    #[inline(always)]
    fn read_stream(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session
            // After that, what comes is thrown away, whatever it is.
            && !session.has_said_goodbye()
        {
            return session.read_once(&mut self.stream, buffer);
        }
        self.stream.read(buffer).map(Some)
    }

    /// How many bytes more were taken from the socket, since this was last asked, than there was
    /// to read in them.
    pub(crate) fn take_overhead_bytes(&mut self) -> usize {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.take_overhead_bytes();
        }
        0
    }

    /// Writes once, and returns how many bytes were taken: none if the socket would
    /// block, or our side has ended.
    ///
    /// # Errors
    ///
    /// Those of the stream, but for `WouldBlock`, and `WriteZero`: our side has ended.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if self.session.is_some() {
            return self.write_secured(&[IoSlice::new(bytes)]);
        }
        self.write_plain(bytes)
    }

    /// The same on a plain connection.
    ///
    /// # Errors
    ///
    /// As [`Transport::write`].
    #[inline(always)]
    pub(crate) fn write_plain(&mut self, bytes: &[u8]) -> io::Result<usize> {
        debug_assert!(!self.is_secured());
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
            #[cfg(feature = "tls")]
            _ if self.session.is_some() => self.write_secured(slices),
            _ => self.write_by(|stream| stream.write_vectored(slices)),
        }
    }

    /// The same on a plain connection, by reference: `len` bytes of `file` from `offset` on.
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
        debug_assert!(
            !self.is_secured(),
            "what is encrypted for each is not shared"
        );
        self.write_by(|stream| stream.send_from(file, offset, len))
    }

    /// The same, through the session.
    #[cfg(feature = "tls")]
    #[cold]
    #[inline(never)]
    fn write_secured(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if !self.is_writable || self.write_ended {
            return Ok(0);
        }
        let session = self.session.as_mut().expect("it is secured");
        match session.write(&mut self.stream, slices) {
            Ok(count) => {
                // What it holds back goes first.
                self.is_writable = session.pending_bytes() == 0;
                Ok(count)
            }
            Err(e) => self.not_written(e),
        }
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
        match self.flush_stream(queue, budget_bytes) {
            Ok(flushed) => {
                self.is_writable &= flushed != Flushed::Blocked;
                Ok(flushed)
            }
            Err(e) => Err(self.write_failed(e)),
        }
    }

    #[inline(always)]
    fn flush_stream(&mut self, queue: &mut WriteQueue, budget_bytes: usize) -> io::Result<Flushed> {
        #[cfg(feature = "tls")]
        if self.session.is_some() {
            return self.flush_secured(queue, budget_bytes);
        }
        queue.flush(&mut self.stream, budget_bytes)
    }

    #[cfg(feature = "tls")]
    #[inline(never)]
    fn flush_secured(
        &mut self,
        queue: &mut WriteQueue,
        budget_bytes: usize,
    ) -> io::Result<Flushed> {
        if self.write_ended {
            // What the session holds is lost.
            return Ok(Flushed::All);
        }
        let stream = &mut self.stream;
        let session = self.session.as_mut().expect("it is secured");
        let flushed = queue.flush(&mut Secured { session, stream }, budget_bytes)?;
        match session.flush(stream) {
            Ok(()) => Ok(flushed),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Flushed::Blocked),
            Err(e) => Err(e),
        }
    }

    /// Tells the peer of a secured connection that nothing more will come. Returns whether
    /// nothing of that is left to be written.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session
            && !self.write_ended
        {
            return match session.say_goodbye(&mut self.stream) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.is_writable = false;
                    false
                }
                Ok(()) => true,
                // The peer is gone already: it gets nothing of what the session holds.
                Err(_) => {
                    self.end_write();
                    true
                }
            };
        }
        true
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

/// What a [`WriteQueue`] is written to on a secured connection.
#[cfg(feature = "tls")]
struct Secured<'a, S> {
    session: &'a mut Session,
    stream: &'a mut S,
}

#[cfg(feature = "tls")]
impl<S: Stream> Read for Secured<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.session.read(self.stream, buffer)
    }
}

#[cfg(feature = "tls")]
impl<S: Stream> Write for Secured<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.session.write(self.stream, slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.session.flush(self.stream)
    }
}

#[cfg(feature = "tls")]
impl<S: Stream> Stream for Secured<'_, S> {
    fn send_from(&mut self, file: &MemoryFile, offset: u64, len: usize) -> io::Result<usize> {
        self.write(&first_record(file, offset, len)?)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.stream.shutdown_write()
    }

    fn reset_when_closed(&self) -> io::Result<()> {
        self.stream.reset_when_closed()
    }
}

/// What is encrypted for each reader cannot be sent by reference.
#[cfg(feature = "tls")]
fn first_record(file: &MemoryFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len.min(RECORD_BYTES)];
    file.read(&mut bytes, offset)?;
    Ok(bytes)
}
