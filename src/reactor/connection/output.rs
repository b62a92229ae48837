//! What one client is owed: straight from the batch to its socket, and only what that
//! does not take into a queue.

use std::io::{self, IoSlice};

use super::transport::Transport;
use super::websocket::{self, Written};
use crate::protocol::batch::{Batch, Edits, Encoding, Frame, Part};
use crate::protocol::websocket::{MAX_FRAME_BYTES, Sender};
use crate::reactor::flow::Reader;
use crate::reactor::shared_log::SharedLogs;
use crate::reactor::stream::Stream;
use crate::reactor::write_queue::{Flushed, MAX_SLICES, WriteQueue};

/// The most that is written to one client that catches up before it is the next
/// one's turn.
pub(crate) const WRITE_BUDGET_BYTES: usize = 256 * 1024;

/// The most that is looked up at once to be sent as WebSocket's frames.
const GATHERED_BYTES: usize = 4 * MAX_FRAME_BYTES;

/// The output of one client. It owns no heap memory while the client is owed nothing.
#[derive(Debug, Default)]
pub(crate) struct Output {
    queue: WriteQueue,
    reader: Reader,
    /// Of what the client is sent next.
    encoding: Encoding,
    /// It stands in the list of clients to be flushed.
    pub(crate) is_listed: bool,
    /// It is behind, and flow control is to look at it once it has been flushed.
    pub(crate) is_to_be_looked_at: bool,
    /// It has taken something from its queue since flow control was last told.
    took_some: bool,
    /// Bytes that waited and were dropped, and are not in the statistics yet.
    /// All of a queue is far below 4 GiB.
    lost_bytes: u32,
}

/// What has changed about an output since the last time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) lost_bytes: usize,
    /// What its queue, and what waits behind it, cost by themselves then, and cost now.
    pub(crate) own_cost_bytes: (usize, usize),
    pub(crate) took_some: bool,
}

impl Output {
    pub(crate) fn queue(&self) -> &WriteQueue {
        &self.queue
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// What waits, here or in the `transport`.
    pub(crate) fn unwritten_bytes<S: Stream>(&self, transport: &Transport<S>) -> usize {
        self.queue.queued_bytes() + transport.pending_bytes()
    }

    /// What the queue keeps in memory because the client lags, in bytes.
    pub(crate) fn held_bytes(&self, logs: &SharedLogs) -> usize {
        self.queue.held_bytes(logs) + self.queue.own_cost_bytes()
    }

    /// What has changed since this was last asked. What waits cost `before_bytes` then.
    pub(crate) fn take_change<S: Stream>(
        &mut self,
        transport: &Transport<S>,
        before_bytes: usize,
    ) -> Change {
        let own_cost_bytes = self.queue.own_cost_bytes() + transport.pending_bytes();
        Change {
            lost_bytes: std::mem::take(&mut self.lost_bytes) as usize,
            own_cost_bytes: (before_bytes, own_cost_bytes),
            took_some: std::mem::take(&mut self.took_some),
        }
    }

    /// Sends the shared text of `batch` as it stands: straight from there to the
    /// kernel, or from the log if that is to be `by_reference`. Only what the kernel does
    /// not take is queued.
    ///
    /// # Errors
    ///
    /// Here and in the other methods that write: the peer can be sent nothing
    /// more, and what was queued is lost. What it sent before may still be there to
    /// be read.
    pub(crate) fn send_shared<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        batch: &Batch,
        by_reference: bool,
        logs: &mut SharedLogs,
    ) -> io::Result<Flushed> {
        if transport.is_secured() {
            return self.send_shared_secured(transport, batch, logs);
        }
        let text = batch.shared(self.encoding);
        let written = if !self.queue.is_empty() {
            0
        } else if by_reference && let Some((file, offset)) = logs.chunk(self.encoding, text).file()
        {
            transport.send_from(file, offset, text.len())?
        } else {
            transport.write_plain(text)?
        };
        if written == text.len() || transport.write_ended() {
            return Ok(Flushed::All);
        }
        self.queue
            .push_chunk(logs.chunk(self.encoding, text), written..text.len());
        self.flush_rest(transport, None, written)
    }

    /// The same in WebSocket's frames: those of the batch, or frames of its own if something
    /// goes before these.
    pub(crate) fn send_framed<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        sender: &mut Sender,
        batch: &Batch,
        logs: &mut SharedLogs,
    ) -> io::Result<Flushed> {
        let text = batch.shared(self.encoding);
        let written = if !self.queue.is_empty() {
            Written::default()
        } else if sender.is_idle()
            && let Some(framed) = logs.framed(self.encoding)
        {
            let file = logs.framed_file(self.encoding);
            let bytes = match file.filter(|_| !transport.is_secured()) {
                Some((file, offset)) => transport.send_from(file, offset, framed.len())?,
                None => transport.write(framed)?,
            };
            let stream_bytes = if bytes == framed.len() {
                text.len()
            } else {
                sender.sent_framed(text.len(), bytes)
            };
            Written {
                bytes,
                stream_bytes,
            }
        } else {
            websocket::write(transport, sender, [text], text.len())?
        };
        if written.stream_bytes == text.len() || transport.write_ended() {
            return Ok(passed_on(transport));
        }
        let owed = written.stream_bytes..text.len();
        self.queue.push_chunk(logs.chunk(self.encoding, text), owed);
        self.flush_rest(transport, Some(sender), written.bytes)
    }

    /// The same for a reader for whom it is encrypted. Apart, so that the others do not pay for
    /// that.
    #[cold]
    #[inline(never)]
    fn send_shared_secured<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        batch: &Batch,
        logs: &mut SharedLogs,
    ) -> io::Result<Flushed> {
        let text = batch.shared(self.encoding);
        let written = if self.queue.is_empty() {
            transport.write(text)?
        } else {
            0
        };
        if written == text.len() || transport.write_ended() {
            return Ok(passed_on(transport));
        }
        self.queue
            .push_chunk(logs.chunk(self.encoding, text), written..text.len());
        self.flush_rest(transport, None, written)
    }

    /// Sends `batch` to a reader with exceptions: in one write as well, or, if that is to be
    /// `by_reference`, in one for each large part. Here and in the other methods that write,
    /// `framing` goes in between, if there is one; then nothing is sent by reference.
    pub(crate) fn send_edited<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        mut framing: Option<&mut Sender>,
        batch: &Batch,
        edits: Edits<'_>,
        by_reference: bool,
        logs: &mut SharedLogs,
    ) -> io::Result<Flushed> {
        if by_reference && framing.is_none() && self.queue.is_empty() && !transport.write_ended() {
            self.queue_edited(batch, edits, 0, logs);
            return self.flush(transport, None);
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut used = 0;
        let mut total_bytes = 0;
        let parts = batch.parts(edits, self.encoding);
        for part in parts.filter(|part| part.size_bytes() > 0) {
            total_bytes += part.size_bytes();
            if let Some(slice) = slices.get_mut(used) {
                *slice = IoSlice::new(match part {
                    Part::Shared(encoding, range) => &batch.shared(encoding)[range],
                    Part::Private(frame) => frame,
                });
                used += 1;
            }
        }
        let written = if !self.queue.is_empty() {
            Written::default()
        } else if let Some(sender) = &mut framing {
            let parts = slices[..used].iter().map(|slice| &**slice);
            websocket::write(transport, sender, parts, total_bytes)?
        } else {
            Written::plain(transport.write_vectored(&slices[..used])?)
        };
        if written.stream_bytes == total_bytes || transport.write_ended() {
            return Ok(passed_on(transport));
        }
        self.queue_edited(batch, edits, written.stream_bytes, logs);
        self.flush_rest(transport, framing, written.bytes)
    }

    /// Queues `batch` without its first `written` bytes.
    fn queue_edited(
        &mut self,
        batch: &Batch,
        edits: Edits<'_>,
        written: usize,
        logs: &mut SharedLogs,
    ) {
        let mut to_skip = written;
        for part in batch.parts(edits, self.encoding) {
            let skipped = to_skip.min(part.size_bytes());
            to_skip -= skipped;
            match part {
                Part::Shared(_, range) if range.len() == skipped => {}
                Part::Shared(encoding, range) => {
                    let owed = range.start + skipped..range.end;
                    let chunk = logs.chunk(encoding, batch.shared(encoding));
                    self.queue.push_chunk(chunk, owed);
                }
                Part::Private(frame) => {
                    self.queue.push(frame, skipped..frame.len());
                }
            }
        }
    }

    /// From now on the client is sent `encoding`.
    pub(crate) fn switch(&mut self, encoding: Encoding) {
        self.encoding = encoding;
    }

    /// Sends `frame` to this client alone.
    pub(crate) fn send_frame<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        mut framing: Option<&mut Sender>,
        frame: &Frame,
    ) -> io::Result<Flushed> {
        let written = if !self.queue.is_empty() {
            Written::default()
        } else if let Some(sender) = &mut framing {
            websocket::write(transport, sender, [&**frame], frame.len())?
        } else {
            Written::plain(transport.write(frame)?)
        };
        if transport.write_ended() {
            return Ok(Flushed::All);
        }
        (self.queue).push(frame, written.stream_bytes..frame.len());
        self.flush_rest(transport, framing, written.bytes)
    }

    /// Writes what waits, as far as the socket takes it and the write budget
    /// goes. After [`Flushed::BudgetSpent`] no edge will come: flush again.
    pub(crate) fn flush<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        framing: Option<&mut Sender>,
    ) -> io::Result<Flushed> {
        let before = self.unwritten_bytes(transport);
        let flushed = match framing {
            Some(sender) => match self.flush_framed(transport, sender) {
                Ok(Flushed::All) if transport.pending_bytes() > 0 => {
                    transport.flush(&mut self.queue, WRITE_BUDGET_BYTES)
                }
                flushed => flushed,
            },
            None => transport.flush(&mut self.queue, WRITE_BUDGET_BYTES),
        };
        match flushed {
            Ok(_) => self.took_some |= self.unwritten_bytes(transport) < before,
            Err(_) => self.lose(),
        }
        flushed
    }

    fn flush_framed<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        sender: &mut Sender,
    ) -> io::Result<Flushed> {
        let mut written_bytes = 0;
        while !self.queue.is_empty() || !sender.is_idle() {
            if written_bytes >= WRITE_BUDGET_BYTES {
                return Ok(Flushed::BudgetSpent);
            }
            let pieces = self.queue.first_pieces(GATHERED_BYTES);
            let pieces = pieces.map_err(|e| transport.write_failed(e))?;
            let queued_bytes = self.queue.queued_bytes();
            let stream = pieces.iter().map(|piece| &**piece);
            let written = websocket::write(transport, sender, stream, queued_bytes)?;
            if written.bytes == 0 {
                return Ok(Flushed::Blocked);
            }
            drop(pieces);
            self.queue.advance(written.stream_bytes);
            written_bytes += written.bytes;
        }
        Ok(Flushed::All)
    }

    /// Takes back what waits, but for the first `promised_bytes` and the rest of a line that
    /// was begun; `last_words` take its place.
    pub(crate) fn cut_short(&mut self, promised_bytes: usize, last_words: &[u8]) {
        let waited_bytes = self.queue.queued_bytes();
        self.queue.cut_short(promised_bytes, last_words);
        let kept_bytes = self.queue.queued_bytes() - last_words.len();
        self.lost_bytes = (self.lost_bytes).saturating_add(saturated(waited_bytes - kept_bytes));
    }

    /// What waits is lost: the peer can be sent nothing more.
    pub(crate) fn lose(&mut self) {
        let queued_bytes = saturated(self.queue.queued_bytes());
        self.lost_bytes = self.lost_bytes.saturating_add(queued_bytes);
        self.queue.clear();
    }

    /// After `written` bytes were taken at once, headers included, goes on with what had to be
    /// queued. When nothing was taken there is no point: either the socket blocks,
    /// or more waited before, which is flushed in its own time.
    fn flush_rest<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        framing: Option<&mut Sender>,
        written: usize,
    ) -> io::Result<Flushed> {
        if written == 0 && !self.queue.is_empty() {
            return Ok(Flushed::Blocked);
        }
        self.flush(transport, framing)
    }
}

/// What came of a write of everything: a secured transport may hold some of that back.
#[inline(always)]
fn passed_on<S: Stream>(transport: &Transport<S>) -> Flushed {
    if transport.pending_bytes() == 0 {
        Flushed::All
    } else {
        Flushed::Blocked
    }
}

fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
