//! A TCP connection without a kernel: what each end does to the other, and the edges that a poll
//! would report.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use chat::platform::memory_file::MemoryFile;
use chat::reactor::stream::Stream;

/// What the peer sends.
#[derive(Debug, Default)]
pub(crate) struct Input {
    /// Not yet read by the server.
    unread: VecDeque<u8>,
    /// Everything sent, if it is kept.
    pub(crate) sent: Option<Vec<u8>>,
    /// The peer has half-closed.
    pub(crate) is_ended: bool,
    /// The peer has reset the connection.
    pub(crate) is_reset: bool,
    /// The connection ends, though over TLS the peer has not said so.
    pub(crate) is_cut: bool,
    pub(crate) edge: bool,
    /// The server has read the end of the input, or that it was reset.
    pub(crate) end_was_read: bool,
}

/// What the server writes.
#[derive(Debug)]
pub(crate) struct Output {
    /// What the peer has received.
    pub(crate) received: Vec<u8>,
    /// What it was handed by reference, and what that was then, if that is kept.
    references: Option<Vec<(MemoryFile, u64, Vec<u8>)>>,
    /// How often the server has tried to write.
    pub(crate) writes: usize,
    /// How much more is taken before writes block.
    pub(crate) room_bytes: usize,
    /// The error that every write returns.
    error: Option<io::ErrorKind>,
    /// A write has blocked since the last edge.
    is_blocked: bool,
    pub(crate) edge: bool,
    /// The server has half-closed.
    is_ended: bool,
    /// The server wants a reset on close.
    pub(crate) is_reset: bool,
    /// The server has closed the socket.
    pub(crate) is_closed: bool,
}

/// Returns a number below the given one: it cuts reads and writes short.
pub(crate) type Chance = Rc<dyn Fn(usize) -> usize>;

/// The peer's end.
#[derive(Clone, Debug)]
pub(crate) struct FarEnd {
    pub(crate) input: Rc<RefCell<Input>>,
    pub(crate) output: Rc<RefCell<Output>>,
}

/// Takes what the server writes.
pub(crate) trait Outlet {
    /// Takes some of `slices`, and returns how much.
    fn take(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Takes some of `len` bytes of `file` by reference, and returns how much.
    fn take_from(&mut self, file: &MemoryFile, offset: u64, len: usize) -> io::Result<usize>;

    /// The server half-closes.
    fn end(&self) {}

    /// The server wants a reset on close.
    fn reset(&self) {}

    /// The server closes the socket.
    fn close(&self) {}
}

/// The server's end.
pub(crate) struct ScriptedStream<O: Outlet = ToPeer> {
    input: Rc<RefCell<Input>>,
    outlet: O,
    chance: Option<Chance>,
}

/// Passes writes on to the peer.
pub(crate) struct ToPeer {
    output: Rc<RefCell<Output>>,
    chance: Option<Chance>,
}

/// Takes any write at next to no cost, and only counts it: for benches.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// May be shared.
    pub(crate) written_bytes: Rc<Cell<usize>>,
    /// The most that one write takes.
    pub(crate) write_bytes: usize,
}

impl Default for Output {
    /// Takes everything.
    fn default() -> Self {
        Self {
            received: Vec::new(),
            references: None,
            writes: 0,
            room_bytes: usize::MAX,
            error: None,
            is_blocked: false,
            // What a poll reports of a socket just registered.
            edge: true,
            is_ended: false,
            is_reset: false,
            is_closed: false,
        }
    }
}

impl FarEnd {
    /// A peer that takes everything, and keeps what it sends and receives.
    pub(crate) fn new() -> Self {
        let input = Input {
            sent: Some(Vec::new()),
            ..Input::default()
        };
        Self {
            input: Rc::new(RefCell::new(input)),
            output: Rc::default(),
        }
    }

    /// The server's end.
    pub(crate) fn stream(&self) -> ScriptedStream {
        self.stream_by(None)
    }

    /// The server's end, with reads and writes interrupted and cut short by `chance`.
    pub(crate) fn cut_stream(&self, chance: Chance) -> ScriptedStream {
        self.stream_by(Some(chance))
    }

    fn stream_by(&self, chance: Option<Chance>) -> ScriptedStream {
        ScriptedStream {
            input: Rc::clone(&self.input),
            outlet: ToPeer {
                output: Rc::clone(&self.output),
                chance: chance.clone(),
            },
            chance,
        }
    }

    pub(crate) fn sends(&self, text: impl AsRef<[u8]>) {
        self.sends_in(text.as_ref(), text.as_ref());
    }

    /// Sends `text` as these `records`.
    pub(crate) fn sends_in(&self, records: &[u8], text: &[u8]) {
        let mut input = self.input.borrow_mut();
        if self.is_open_here() && !input.is_ended && !input.is_reset && !input.is_cut {
            input.push_in(records, text);
        }
    }

    /// Nothing more comes, and the peer has not said so.
    pub(crate) fn is_cut_off(&self) {
        let mut input = self.input.borrow_mut();
        input.is_cut = true;
        input.edge = true;
    }

    pub(crate) fn ends(&self) {
        let mut input = self.input.borrow_mut();
        input.is_ended = true;
        input.edge = true;
    }

    /// What was sent and not read is lost.
    pub(crate) fn resets(&self) {
        let mut input = self.input.borrow_mut();
        input.is_reset = true;
        self.refuses_writes();
        // A poll reports both, as EPOLLHUP and EPOLLERR.
        input.edge = true;
        self.output.borrow_mut().edge = true;
    }

    pub(crate) fn refuses_writes(&self) {
        self.output.borrow_mut().error = Some(io::ErrorKind::BrokenPipe);
    }

    /// From now on the server can write `room_bytes`.
    pub(crate) fn takes(&self, room_bytes: usize) {
        self.output.borrow_mut().room_bytes = room_bytes;
    }

    /// Reads, so that the server can write `bytes` more.
    pub(crate) fn takes_more(&self, bytes: usize) {
        let mut output = self.output.borrow_mut();
        output.room_bytes = output.room_bytes.saturating_add(bytes);
        if output.is_blocked && output.room_bytes > 0 {
            output.is_blocked = false;
            output.edge = true;
        }
    }

    /// What a poll reports, once: readable, writable.
    pub(crate) fn take_edges(&self) -> (bool, bool) {
        let (mut input, mut output) = (self.input.borrow_mut(), self.output.borrow_mut());
        let edges = (input.edge, output.edge);
        (input.edge, output.edge) = (false, false);
        edges
    }

    /// Bytes sent that the server has not read.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.input.borrow().unread.len()
    }

    /// What it has received since the last call.
    pub(crate) fn received(&self) -> String {
        String::from_utf8(self.received_bytes()).expect("the server sends UTF-8")
    }

    /// The same where it need not be text.
    pub(crate) fn received_bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.output.borrow_mut().received)
    }

    /// Asserts that nothing that was handed over by reference was written again. Where it was
    /// given back, the file has zeros, and a socket would have the page.
    pub(crate) fn assert_references_hold(&self) {
        let output = self.output.borrow();
        for (file, offset, bytes) in output.references.iter().flatten() {
            let mut now = vec![0; bytes.len()];
            // Past its end the file has been given back.
            let _ = file.read(&mut now, *offset);
            let holds = now
                .iter()
                .zip(bytes)
                .all(|(&now, &then)| now == then || now == 0);
            assert!(holds, "bytes at {offset} were written again");
        }
    }

    /// From now on what it is handed by reference is kept, to be looked at again.
    pub(crate) fn keep_references(&self) {
        self.output.borrow_mut().references = Some(Vec::new());
    }

    /// How many times the server has sent it something by reference that is kept.
    pub(crate) fn references(&self) -> usize {
        self.output.borrow().references.as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn writes(&self) -> usize {
        self.output.borrow().writes
    }

    pub(crate) fn is_open_here(&self) -> bool {
        !self.output.borrow().is_closed
    }

    /// Whether the server has half-closed.
    pub(crate) fn saw_end(&self) -> bool {
        self.output.borrow().is_ended
    }

    /// Whether the server has had the connection reset.
    pub(crate) fn was_reset(&self) -> bool {
        let output = self.output.borrow();
        output.is_closed && output.is_reset
    }
}

impl Input {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.push_in(bytes, bytes);
    }

    /// Text that goes over the wire as these `records`.
    fn push_in(&mut self, records: &[u8], text: &[u8]) {
        if let Some(sent) = &mut self.sent {
            sent.extend_from_slice(text);
        }
        self.unread.extend(records);
        self.edge = true;
    }
}

impl ScriptedStream<Meter> {
    /// A stream with `input` to be read, whose writes go into `meter`.
    pub(crate) fn metered(input: Rc<RefCell<Input>>, meter: Meter) -> Self {
        Self {
            input,
            outlet: meter,
            chance: None,
        }
    }
}

impl Outlet for Meter {
    fn take(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let taken = offered.min(self.write_bytes);
        self.written_bytes.set(self.written_bytes.get() + taken);
        Ok(taken)
    }

    fn take_from(&mut self, _: &MemoryFile, _: u64, len: usize) -> io::Result<usize> {
        let taken = len.min(self.write_bytes);
        self.written_bytes.set(self.written_bytes.get() + taken);
        Ok(taken)
    }
}

impl Outlet for ToPeer {
    fn take(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let output = &mut *self.output.borrow_mut();
        assert!(!output.is_ended, "written after the end");
        output.writes += 1;
        if is_interrupted(self.chance.as_ref()) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if let Some(kind) = output.error {
            return Err(kind.into());
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        assert!(offered > 0, "an empty write");
        let most = offered.min(output.room_bytes);
        if most == 0 {
            output.is_blocked = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = cut_short(self.chance.as_ref(), most);
        let mut left_bytes = count;
        for slice in slices {
            let taken = left_bytes.min(slice.len());
            output.received.extend_from_slice(&slice[..taken]);
            left_bytes -= taken;
        }
        output.room_bytes -= count;
        Ok(count)
    }

    fn take_from(&mut self, file: &MemoryFile, offset: u64, len: usize) -> io::Result<usize> {
        let mut bytes = vec![0; len];
        file.read(&mut bytes, offset)?;
        let count = self.take(&[IoSlice::new(&bytes)])?;
        if let Some(references) = &mut self.output.borrow_mut().references {
            bytes.truncate(count);
            references.push((file.clone(), offset, bytes));
        }
        Ok(count)
    }

    fn end(&self) {
        self.output.borrow_mut().is_ended = true;
    }

    fn reset(&self) {
        self.output.borrow_mut().is_reset = true;
    }

    fn close(&self) {
        self.output.borrow_mut().is_closed = true;
    }
}

fn is_interrupted(chance: Option<&Chance>) -> bool {
    chance.is_some_and(|below| below(20) == 0)
}

/// `bytes`, or fewer.
fn cut_short(chance: Option<&Chance>, bytes: usize) -> usize {
    match chance {
        Some(below) if below(3) == 0 => 1 + below(bytes),
        _ => bytes,
    }
}

impl<O: Outlet> Read for ScriptedStream<O> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if is_interrupted(self.chance.as_ref()) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut input = self.input.borrow_mut();
        if input.is_reset {
            // The kernel discards what was not read.
            input.end_was_read = true;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let most = buffer.len().min(input.unread.len());
        if most == 0 && (input.is_ended || input.is_cut) {
            input.end_was_read = true;
            return Ok(0);
        } else if most == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = cut_short(self.chance.as_ref(), most);
        input.unread.read_exact(&mut buffer[..count])?;
        Ok(count)
    }
}

impl<O: Outlet> Write for ScriptedStream<O> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outlet.take(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.outlet.take(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<O: Outlet> Stream for ScriptedStream<O> {
    fn send_from(&mut self, file: &MemoryFile, offset: u64, len: usize) -> io::Result<usize> {
        self.outlet.take_from(file, offset, len)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.outlet.end();
        Ok(())
    }

    fn reset_when_closed(&self) -> io::Result<()> {
        self.outlet.reset();
        Ok(())
    }
}

impl<O: Outlet> Drop for ScriptedStream<O> {
    fn drop(&mut self) {
        self.outlet.close();
    }
}
