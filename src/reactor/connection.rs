//! One socket: the stream, its line decoder, its write queue, and what is known
//! of its readiness.
//!
//! A connection does the reading and writing for one client and says what came
//! of it; who gets what, and when a connection is dropped, is decided elsewhere.
//! It is kept small, for a room may hold many: it owns no read buffer, and no
//! heap memory at all while its client is idle and owed nothing.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::platform::interrupt::retry_interrupted;
use crate::protocol::batch::{Batch, Edits, Part};
use crate::protocol::close::CloseReason;
use crate::protocol::line::LineDecoder;
use crate::reactor::flow;
use crate::reactor::rate::Bucket;
use crate::reactor::shared_log::Backlog;
use crate::reactor::write_queue::{Doing, Flushed, Frame, MAX_SLICES, WriteQueue};

/// The most that is written to one client that catches up before it is the next
/// one's turn.
pub const WRITE_BUDGET_BYTES: usize = 256 * 1024;

/// A socket that does not block, or what stands for one in a test.
pub trait Stream: Read + Write {
    /// Ends our side: the peer reads to the end of what was written. What the
    /// peer still sends can still be read.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Has the connection reset once it is closed: the kernel then keeps nothing of
    /// what the peer has not taken.
    fn reset_when_closed(&self) -> io::Result<()>;
}

impl Stream for mio::net::TcpStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    fn reset_when_closed(&self) -> io::Result<()> {
        Ok(set_socket_linger(self, Some(Duration::ZERO))?)
    }
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes; there may be more.
    Bytes(usize),
    /// Nothing for now. The next edge will tell.
    WouldBlock,
    /// The peer will send no more.
    End,
    /// The connection is broken.
    Failed(io::ErrorKind),
}

/// How far a connection is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// In the room.
    Open,
    /// Out of the room: it is written what it is owed, and no more is added.
    Flushing,
    /// It has all it is owed and our side is shut down. Until the peer ends its
    /// side too, its input is read and dropped: were a socket with unread input
    /// closed, the kernel would reset the connection, and the peer could lose
    /// what it was owed (RFC 2525, section 2.17).
    Lingering,
}

/// Whether a connection is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadState {
    /// Not before an event says so.
    Idle,
    /// It may have input, and is listed.
    Listed,
    /// It has used up its allowance, and waits for readers to catch up.
    Paused,
    /// It has said more than its rate allows, and waits until it may say more.
    Delayed,
    /// It has been answered so much that it is to take some of that first.
    Answered,
}

/// What bounds a talker, where that was asked for.
#[derive(Debug)]
pub struct Restraint {
    /// How many lines it may say.
    pub bucket: Bucket,
    /// What was read of it and may not be said yet.
    pub unheard: Vec<u8>,
    /// When it last sent something.
    pub heard_at: Instant,
}

impl Restraint {
    /// For a talker that has just come.
    pub fn new(now: Instant) -> Self {
        Self {
            bucket: Bucket::default(),
            unheard: Vec::new(),
            heard_at: now,
        }
    }
}

/// One client's socket and what belongs to it.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    /// Cuts what the client sends into lines.
    pub decoder: LineDecoder,
    queue: WriteQueue,
    /// Tells this connection from an earlier one that had the same slab key.
    pub serial: u64,
    /// How far it is on its way out.
    pub phase: Phase,
    /// Why it is to leave at the end of the turn, if it is.
    pub leaving: Option<CloseReason>,
    /// Whether it is to be read.
    pub reading: ReadState,
    /// Whether it stands in the list of those to be flushed.
    pub in_flush_list: bool,
    /// Whether it has taken some of its backlog since its last deadline to flush.
    pub progressed: bool,
    /// The same since flow control was last told.
    pub took_some: bool,
    /// It is behind, and to be judged once it has been flushed.
    pub is_to_be_looked_at: bool,
    /// It is not to get what it was owed: nothing of that may be kept.
    pub is_dropped: bool,
    /// It was never in the room.
    pub is_refused: bool,
    /// What flow control knows of it as a reader.
    pub reader: flow::Reader,
    /// What flow control knows of it as a talker.
    pub talker: flow::Talker,
    /// What bounds it as a talker besides, if anything does.
    pub restraint: Option<Box<Restraint>>,
    /// What waited for it and was dropped, in bytes, and is not in the figures yet.
    pub lost_bytes: usize,
    /// What its queue costs by itself, as it was last added to everybody's.
    pub counted_bytes: usize,
    /// The last write did not block, so the next may be tried.
    writable: bool,
    /// Nothing more will come from the peer.
    read_ended: bool,
    /// The peer can be sent nothing more. Invariant: the queue is empty then.
    write_ended: bool,
}

impl<S: Stream> Connection<S> {
    /// A connection on a fresh `stream`. `serial` tells it from others that had
    /// its key before.
    pub fn new(stream: S, serial: u64, max_line_bytes: u32) -> Self {
        Self {
            stream,
            decoder: LineDecoder::new(max_line_bytes),
            queue: WriteQueue::new(),
            serial,
            phase: Phase::Open,
            leaving: None,
            reading: ReadState::Idle,
            in_flush_list: false,
            progressed: false,
            took_some: false,
            is_to_be_looked_at: false,
            is_dropped: false,
            is_refused: false,
            reader: flow::Reader::default(),
            talker: flow::Talker::default(),
            restraint: None,
            lost_bytes: 0,
            counted_bytes: 0,
            writable: true,
            read_ended: false,
            write_ended: false,
        }
    }

    /// The socket itself.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether it is in the room, and stays there as far as is known.
    pub fn is_member(&self) -> bool {
        self.phase == Phase::Open && self.leaving.is_none()
    }

    /// Whether the end of what the peer sends has been read.
    pub fn read_ended(&self) -> bool {
        self.read_ended
    }

    /// Whether nothing waits to be written.
    pub fn is_flushed(&self) -> bool {
        self.queue.is_empty()
    }

    /// What waits to be written.
    pub fn queue(&self) -> &WriteQueue {
        &self.queue
    }

    /// Takes back what waits to be written, but for the rest of a line that was begun;
    /// `last_words` take its place.
    pub fn cut_short(&mut self, last_words: &[u8]) {
        if !self.write_ended {
            let waited_bytes = self.queue.queued_bytes();
            self.queue.cut_short(last_words);
            let kept_bytes = self.queue.queued_bytes() - last_words.len();
            self.lost_bytes += waited_bytes - kept_bytes;
        }
    }

    /// Has the kernel keep nothing of what was written and not taken, once the
    /// connection is closed.
    pub fn reset_when_closed(&mut self) {
        // An error means that there is nothing left to reset.
        let _ = self.stream.reset_when_closed();
    }

    /// Gives the connection up, in both directions.
    pub fn abort(&mut self) {
        self.read_ended = true;
        self.end_writing();
    }

    /// Reads once; after an interruption, again.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
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
                self.abort();
                Received::Failed(match e.kind() {
                    // Writing has failed before: once what had arrived is read,
                    // the connection is lost.
                    io::ErrorKind::WouldBlock => io::ErrorKind::BrokenPipe,
                    kind => kind,
                })
            }
        }
    }

    /// Notes that the socket is said to take data again. True when there is
    /// something to flush.
    pub fn mark_writable(&mut self) -> bool {
        self.writable = true;
        !self.queue.is_empty()
    }

    /// Sends the shared text of the turn as it stands: straight from there to
    /// the kernel, and only what the kernel does not take is queued.
    ///
    /// # Errors
    ///
    /// Here and in the other methods that write: the peer can be sent nothing
    /// more, and what was queued is dropped. What it sent before may still be
    /// there to be read.
    pub fn send_shared(&mut self, turn: &Batch, backlog: &mut Backlog) -> io::Result<Flushed> {
        let text = turn.shared();
        let written = self.write_at_once(&[IoSlice::new(text)])?;
        if written == text.len() || self.write_ended {
            return Ok(Flushed::All);
        }
        self.queue
            .push_chunk(backlog.chunk(text), written..text.len());
        self.flush_rest(written)
    }

    /// Sends the turn to a reader for whom it has exceptions, in one write as
    /// well.
    pub fn send_edited(
        &mut self,
        turn: &Batch,
        edits: Edits<'_>,
        backlog: &mut Backlog,
    ) -> io::Result<Flushed> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut used = 0;
        let mut total_bytes = 0;
        for part in turn.parts(edits).filter(|part| !part.is_empty()) {
            total_bytes += part.len();
            if let Some(slice) = slices.get_mut(used) {
                *slice = IoSlice::new(match part {
                    Part::Shared(range) => &turn.shared()[range],
                    Part::Private(frame, _) => frame,
                });
                used += 1;
            }
        }
        let written = self.write_at_once(&slices[..used])?;
        if written == total_bytes || self.write_ended {
            return Ok(Flushed::All);
        }
        let mut to_skip = written;
        for part in turn.parts(edits) {
            let skipped = to_skip.min(part.len());
            to_skip -= skipped;
            match part {
                Part::Shared(range) if range.len() == skipped => {}
                Part::Shared(range) => {
                    let owed = range.start + skipped..range.end;
                    self.queue.push_chunk(backlog.chunk(turn.shared()), owed);
                }
                Part::Private(frame, doing) => {
                    self.queue.push(frame, skipped..frame.len(), doing);
                }
            }
        }
        self.flush_rest(written)
    }

    /// Sends `frame` to this client alone.
    pub fn send_frame(&mut self, frame: &Frame) -> io::Result<Flushed> {
        let written = self.write_at_once(&[IoSlice::new(frame)])?;
        if self.write_ended {
            return Ok(Flushed::All);
        }
        self.queue.push(frame, written..frame.len(), Doing::Own);
        self.flush_rest(written)
    }

    /// Writes `slices` if nothing waits before them, and returns how many bytes of
    /// them were taken.
    fn write_at_once(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if slices.is_empty() || !self.writable || !self.queue.is_empty() || self.write_ended {
            return Ok(0);
        }
        let written = retry_interrupted(|| match slices {
            // A plain write is the cheaper system call.
            [only] => self.stream.write(only),
            _ => self.stream.write_vectored(slices),
        });
        match written {
            Ok(0) => Err(self.write_failed(io::ErrorKind::WriteZero.into())),
            Ok(count) => Ok(count),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(e) => Err(self.write_failed(e)),
        }
    }

    /// After `written` bytes were taken at once, goes on with what had to be
    /// queued. When nothing was taken there is no point: either the socket blocks,
    /// or more waited before, which has its own place in the turn.
    fn flush_rest(&mut self, written: usize) -> io::Result<Flushed> {
        match written {
            0 if !self.queue.is_empty() => Ok(Flushed::Blocked),
            _ => self.flush(),
        }
    }

    /// Writes what waits, as far as the socket takes it and the write budget
    /// goes. After [`Flushed::BudgetSpent`] no edge will come: flush again.
    pub fn flush(&mut self) -> io::Result<Flushed> {
        if !self.writable {
            return Ok(Flushed::Blocked);
        }
        let before = self.queue.queued_bytes();
        match self.queue.flush(&mut self.stream, WRITE_BUDGET_BYTES) {
            Ok(flushed) => {
                let has_taken = self.queue.queued_bytes() < before;
                self.progressed |= has_taken;
                self.took_some |= has_taken;
                self.writable = flushed != Flushed::Blocked;
                Ok(flushed)
            }
            Err(e) => Err(self.write_failed(e)),
        }
    }

    /// Ends our side of the connection.
    pub fn shutdown_write(&mut self) {
        // An error means that the peer is gone already; reading will say so.
        let _ = self.stream.shutdown_write();
    }

    fn write_failed(&mut self, error: io::Error) -> io::Error {
        self.end_writing();
        error
    }

    fn end_writing(&mut self) {
        self.write_ended = true;
        self.lost_bytes += self.queue.queued_bytes();
        self.queue.clear();
    }
}
