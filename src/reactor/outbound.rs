//! How batches get to their readers, and what readers are still owed of earlier ones.
//!
//! A batch for twenty thousand readers takes a while, during which nobody would be
//! read or accepted. So it is sent in slices, and the loop goes round between
//! them; what is said meanwhile is gathered for the next batch. Every reader gets the
//! batches in the same order, for one is sent to all before the next one begins.

use std::collections::VecDeque;
use std::io;

use log::info;

use super::connection::output::{Change, WRITE_BUDGET_BYTES};
use super::connection::{Connection, ConnectionSlab};
use super::shared_log::SharedLogs;
use super::stream::Stream;
use super::write_queue::Flushed;
use crate::platform::memory_file::MemoryFile;
use crate::protocol::batch::{Batch, ClientId, Edits, Encoding, Share};

/// How much is written before the loop goes round to read and accept: some
/// milliseconds' worth.
pub const SLICE_BYTES: usize = 16 * 1024 * 1024;

/// What a write counts towards the slice besides its bytes: on a fast machine the
/// kernel takes about as long for a write as for copying so much.
pub const WRITE_COST_BYTES: usize = 16 * 1024;

/// Batches of this size are sent by reference: below it, a copy for each reader costs less
/// than the bookkeeping of a reference.
pub const BY_REFERENCE_BYTES: usize = 12 * 1024;

/// For fewer readers, putting the batch into the file costs more than the copies.
const BY_REFERENCE_READERS: usize = 8;

/// The batch being gathered, the batch on its way, and what waits of earlier ones.
#[derive(Debug)]
pub(super) struct Outbound {
    /// What is being said, to be sent when the batch on its way has been.
    gathering: Batch,
    /// The batch on its way.
    sending: Batch,
    /// The key from which on readers have not got it yet. `None` when all have.
    cursor: Option<usize>,
    /// The serial number of the first client that came too late for it.
    first_late: u64,
    /// The batch on its way is sent by reference to readers of each encoding.
    by_reference: [bool; Encoding::COUNT],
    /// From which size on batches are.
    by_reference_bytes: usize,
    /// What was said and some readers have yet to take.
    logs: SharedLogs,
    readers: Readers,
    /// Have something to write, and the socket is said to take it.
    to_flush: VecDeque<ClientId>,
    /// Invariant: what the write queues cost by themselves, as last counted.
    own_cost_bytes: usize,
    /// Invariant: how many write queues are not empty, as last counted.
    lagging: usize,
    lines: u64,
    bytes: u64,
    lost_bytes: u64,
}

/// How many connections read otherwise than most: text, and not in frames.
#[derive(Debug, Default)]
struct Readers {
    /// JSON, and not in frames.
    json: usize,
    /// In frames, each encoding.
    framed: [usize; Encoding::COUNT],
}

impl Readers {
    /// Counts `change` to `count` of those that read as `connection` does.
    fn count<S: Stream>(&mut self, connection: &Connection<S>, change: fn(usize) -> usize) {
        let encoding = connection.output.encoding();
        let count = match encoding {
            _ if connection.is_framed() => &mut self.framed[encoding.index()],
            Encoding::Json => &mut self.json,
            Encoding::Text => return,
        };
        *count = change(*count);
    }

    /// How many of `connections` read each encoding without frames.
    fn plain(&self, connections: usize) -> [usize; Encoding::COUNT] {
        let others = self.json + self.framed.iter().sum::<usize>();
        [connections - others, self.json]
    }
}

/// How much may still be written before the loop goes round.
#[derive(Debug)]
pub(super) struct Slice {
    left_bytes: usize,
}

impl Slice {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left_bytes: bytes }
    }

    fn is_over(&self) -> bool {
        self.left_bytes == 0
    }

    fn take(&mut self, bytes: usize) {
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
    }
}

impl Outbound {
    /// Batches of `by_reference_bytes` and more are sent by reference, where the system
    /// can.
    pub(super) fn new(by_reference_bytes: Option<usize>) -> Self {
        let new_file: fn() -> Option<MemoryFile> = match by_reference_bytes {
            None => || None,
            Some(_) => || {
                MemoryFile::create()
                    .inspect_err(|e| info!("each reader is sent a copy of what is said: {e}"))
                    .ok()
            },
        };
        Self {
            gathering: Batch::new(),
            sending: Batch::new(),
            cursor: None,
            first_late: 0,
            by_reference: [false; Encoding::COUNT],
            by_reference_bytes: by_reference_bytes.unwrap_or(usize::MAX),
            logs: SharedLogs::new(new_file),
            readers: Readers::default(),
            to_flush: VecDeque::new(),
            own_cost_bytes: 0,
            lagging: 0,
            lines: 0,
            bytes: 0,
            lost_bytes: 0,
        }
    }

    /// Where to say what is to be said.
    pub(super) fn gathering(&mut self) -> &mut Batch {
        &mut self.gathering
    }

    /// Whether something has been said that is to be sent.
    pub(super) fn has_gathered(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// Whether a batch is on its way.
    pub(super) fn is_sending(&self) -> bool {
        self.cursor.is_some()
    }

    /// Whether something can be written.
    pub(super) fn has_work(&self) -> bool {
        self.is_sending() || !self.to_flush.is_empty()
    }

    /// The logs that lagging readers share.
    pub(super) fn logs(&self) -> &SharedLogs {
        &self.logs
    }

    /// How many readers lag.
    pub(super) fn lagging(&self) -> usize {
        self.lagging
    }

    /// What is kept in memory for readers that lag, in bytes.
    pub(super) fn owed_bytes(&self) -> usize {
        self.logs.held_bytes() + self.own_cost_bytes
    }

    /// How many lines and bytes were meant for readers, and how many bytes were lost.
    pub(super) fn sent(&self) -> (u64, u64, u64) {
        (self.lines, self.bytes, self.lost_bytes)
    }

    /// What has been gathered is sent from now on, to those of `connections` with serial
    /// numbers below `first_late`. Returns the text that all get.
    pub(super) fn begin_sending(&mut self, first_late: u64, connections: usize) -> &[u8] {
        debug_assert!(!self.is_sending(), "one batch comes after the other");
        std::mem::swap(&mut self.sending, &mut self.gathering);
        debug_assert!(!self.has_gathered(), "it was cleared when it had been sent");
        self.sending.seal();
        self.cursor = Some(0);
        self.first_late = first_late;
        let plain_readers = self.readers.plain(connections);
        for &encoding in Encoding::ALL {
            let text = self.sending.shared(encoding);
            let pays_for = |readers: [usize; Encoding::COUNT]| {
                text.len() >= self.by_reference_bytes
                    && readers[encoding.index()] >= BY_REFERENCE_READERS
            };
            self.by_reference[encoding.index()] =
                pays_for(plain_readers) && self.logs.chunk(encoding, text).file().is_some();
            if self.readers.framed[encoding.index()] > 0 {
                let by_reference = pays_for(self.readers.framed);
                self.logs.put_framed(encoding, text, by_reference);
            }
        }
        self.sending.shared(Encoding::Text)
    }

    /// Sends the batch on its way to the next readers, until one of them has to be looked
    /// at for what came of it, the slice is over, or all have got it.
    pub(super) fn send_some<S: Stream>(
        &mut self,
        connections: &mut ConnectionSlab<S>,
        slice: &mut Slice,
    ) -> Option<(ClientId, io::Result<Flushed>)> {
        let first_key = self.cursor?;
        let stopped_at = if self.sending.lines() == 0 {
            self.send_to_those_told(connections, slice, first_key)
        } else {
            self.send_to_all(connections, slice, first_key)
        };
        match stopped_at {
            Stop::At(id, sent) => {
                self.cursor = Some(id.key + 1);
                Some((id, sent))
            }
            Stop::SliceOver(key) => {
                self.cursor = Some(key);
                None
            }
            Stop::End => {
                self.cursor = None;
                self.sending.clear();
                self.logs.end_batch();
                None
            }
        }
    }

    fn send_to_all<S: Stream>(
        &mut self,
        connections: &mut ConnectionSlab<S>,
        slice: &mut Slice,
        first_key: usize,
    ) -> Stop {
        let batch = &self.sending;
        let mut edits = batch.edits_from(first_key).peekable();
        let mut next_edited_key = edits.peek().map_or(usize::MAX, |(reader, _)| reader.key);
        for key in first_key..connections.end_key() {
            let Some(connection) = connections.at(key) else {
                continue;
            };
            let id = ClientId {
                key,
                serial: connection.serial(),
            };
            let mut own_edits = None;
            if key >= next_edited_key {
                // Those of clients that are gone are passed over.
                while edits.next_if(|&(reader, _)| reader < id).is_some() {}
                own_edits = edits.next_if(|&(reader, _)| reader == id);
                next_edited_key = edits.peek().map_or(usize::MAX, |(reader, _)| reader.key);
            }
            if !connection.is_in_room() {
                if connection.is_flushed() {
                    continue;
                }
                // The log that it holds has grown.
                return Stop::At(id, Ok(Flushed::Blocked));
            }
            if id.serial >= self.first_late {
                continue;
            }
            if slice.is_over() {
                return Stop::SliceOver(key);
            }
            let encoding = connection.output.encoding();
            let by_reference = self.by_reference[encoding.index()];
            let whole = batch.whole_share(encoding);
            slice.take(whole.bytes + WRITE_COST_BYTES);
            let (share, sent) = if let Some((_, edits)) = own_edits {
                let part_bytes = whole.bytes / (edits.count() + 1);
                let by_reference = by_reference && part_bytes >= self.by_reference_bytes;
                let logs = &mut self.logs;
                let sent = connection.send_edited(batch, edits, by_reference, logs);
                switch(connection, edits, &mut self.readers);
                (batch.share(edits, encoding), sent)
            } else {
                let sent = connection.send_shared(batch, by_reference, &mut self.logs);
                (whole, sent)
            };
            count(&mut self.lines, &mut self.bytes, share);
            if !matches!(sent, Ok(Flushed::All)) {
                return Stop::At(id, sent);
            }
        }
        Stop::End
    }

    /// The same for a batch in which nothing was said to everybody.
    fn send_to_those_told<S: Stream>(
        &mut self,
        connections: &mut ConnectionSlab<S>,
        slice: &mut Slice,
        first_key: usize,
    ) -> Stop {
        let batch = &self.sending;
        for (id, edits) in batch.edits_from(first_key) {
            let Some(connection) = connections.get(id) else {
                continue;
            };
            if !connection.is_in_room() || id.serial >= self.first_late {
                continue;
            }
            if slice.is_over() {
                return Stop::SliceOver(id.key);
            }
            let share = batch.share(edits, connection.output.encoding());
            slice.take(share.bytes + WRITE_COST_BYTES);
            let sent = connection.send_edited(batch, edits, false, &mut self.logs);
            switch(connection, edits, &mut self.readers);
            count(&mut self.lines, &mut self.bytes, share);
            if !matches!(sent, Ok(Flushed::All)) {
                return Stop::At(id, sent);
            }
        }
        Stop::End
    }

    /// Lists `id` to be flushed, unless it is.
    pub(super) fn list<S: Stream>(&mut self, id: ClientId, connection: &mut Connection<S>) {
        if !connection.output.is_listed {
            connection.output.is_listed = true;
            self.to_flush.push_back(id);
        }
    }

    /// How many are listed to be flushed.
    pub(super) fn to_flush(&self) -> usize {
        self.to_flush.len()
    }

    /// Sends the next of those listed what its socket takes of what it is owed, and
    /// returns what came of it. `None` if it is gone, or the slice is over.
    pub(super) fn flush_next<S: Stream>(
        &mut self,
        connections: &mut ConnectionSlab<S>,
        slice: &mut Slice,
    ) -> Option<(ClientId, io::Result<Flushed>)> {
        if slice.is_over() {
            return None;
        }
        let id = self.to_flush.pop_front()?;
        let connection = connections.get(id)?;
        connection.output.is_listed = false;
        slice.take(WRITE_BUDGET_BYTES);
        Some((id, connection.flush()))
    }

    /// What `connection` is sent is in frames from now on.
    pub(super) fn frames<S: Stream>(&mut self, connection: &Connection<S>) {
        self.readers.count(connection, |count| count + 1);
    }

    /// `connection` is gone.
    pub(super) fn forget<S: Stream>(&mut self, connection: &Connection<S>) {
        self.readers.count(connection, |count| count - 1);
    }

    /// Counts bytes that one client is sent besides the batches.
    pub(super) fn count_sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Counts what has changed about one client's output.
    pub(super) fn count_change(&mut self, change: &Change) {
        let (before, now) = change.own_cost_bytes;
        self.own_cost_bytes = self.own_cost_bytes + now - before;
        self.lagging = self.lagging + usize::from(now > 0) - usize::from(before > 0);
        self.lost_bytes += change.lost_bytes as u64;
    }
}

/// Has `connection` get the encoding that its `edits` ask for from now on.
fn switch<S: Stream>(connection: &mut Connection<S>, edits: Edits<'_>, readers: &mut Readers) {
    if let Some(encoding) = edits.switch() {
        debug_assert_eq!(encoding, Encoding::Json, "nobody goes back to text");
        readers.count(connection, |count| count - 1);
        connection.output.switch(encoding);
        readers.count(connection, |count| count + 1);
    }
}

/// Where sending stopped.
enum Stop {
    /// At this reader: what came of it is to be dealt with.
    At(ClientId, io::Result<Flushed>),
    /// Before the reader with this key.
    SliceOver(usize),
    End,
}

fn count(lines: &mut u64, bytes: &mut u64, share: Share) {
    *lines += share.lines as u64;
    *bytes += share.bytes as u64;
}
