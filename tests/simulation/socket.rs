//! A TCP connection without a kernel: what one end does to the other, and the edges
//! that a poll would report of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;

use chat::connection::Stream;

use crate::random::Random;

/// What is between the two ends.
#[derive(Debug)]
pub(crate) struct Wire {
    /// All that the peer has said.
    pub(crate) sent: Vec<u8>,
    /// Said by the peer, and not read by the server yet.
    pub(crate) to_server: VecDeque<u8>,
    /// The peer says no more.
    pub(crate) peer_ended: bool,
    /// The peer has reset the connection.
    pub(crate) peer_reset: bool,
    /// What the peer has got.
    pub(crate) to_peer: Vec<u8>,
    /// How much more the server's kernel takes before writes block.
    pub(crate) room_bytes: usize,
    /// A write has blocked since the last edge.
    blocked: bool,
    pub(crate) readable_edge: bool,
    pub(crate) writable_edge: bool,
    /// The server has read the end of what the peer said, or that it was reset.
    pub(crate) end_was_read: bool,
    /// The server has ended its side.
    pub(crate) server_ended: bool,
    /// The server has closed the socket.
    pub(crate) server_closed: bool,
    /// Reads and writes are cut short at random.
    random: Random,
}

/// The peer's end.
#[derive(Clone, Debug)]
pub(crate) struct PeerEnd(pub(crate) Rc<RefCell<Wire>>);

/// The server's end.
#[derive(Debug)]
pub(crate) struct ServerEnd(Rc<RefCell<Wire>>);

pub(crate) fn connection(random: Random) -> (PeerEnd, ServerEnd) {
    let wire = Rc::new(RefCell::new(Wire {
        sent: Vec::new(),
        to_server: VecDeque::new(),
        peer_ended: false,
        peer_reset: false,
        to_peer: Vec::new(),
        room_bytes: 0,
        blocked: false,
        // What a poll reports of a socket that has just been registered.
        readable_edge: false,
        writable_edge: true,
        end_was_read: false,
        server_ended: false,
        server_closed: false,
        random,
    }));
    (PeerEnd(Rc::clone(&wire)), ServerEnd(wire))
}

impl PeerEnd {
    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut wire = self.0.borrow_mut();
        if !wire.server_closed && !wire.peer_ended && !wire.peer_reset {
            wire.sent.extend_from_slice(bytes);
            wire.to_server.extend(bytes);
            wire.readable_edge = true;
        }
    }

    pub(crate) fn end(&self) {
        let mut wire = self.0.borrow_mut();
        wire.peer_ended = true;
        wire.readable_edge = true;
    }

    pub(crate) fn reset(&self) {
        let mut wire = self.0.borrow_mut();
        wire.peer_reset = true;
        // Both are told of, as EPOLLHUP and EPOLLERR are.
        wire.readable_edge = true;
        wire.writable_edge = true;
    }

    /// Reads, so that the server can write so much more.
    pub(crate) fn take(&self, bytes: usize) {
        let mut wire = self.0.borrow_mut();
        wire.room_bytes = wire.room_bytes.saturating_add(bytes);
        if wire.blocked && wire.room_bytes > 0 {
            wire.blocked = false;
            wire.writable_edge = true;
        }
    }

    /// What a poll reports, once: readable, writable.
    pub(crate) fn take_edges(&self) -> (bool, bool) {
        let mut wire = self.0.borrow_mut();
        let edges = (wire.readable_edge, wire.writable_edge);
        (wire.readable_edge, wire.writable_edge) = (false, false);
        edges
    }
}

impl Wire {
    /// So many bytes, or fewer.
    fn cut_short(&mut self, bytes: usize) -> usize {
        match self.random.one_in(3) {
            true => self.random.between(1, bytes),
            false => bytes,
        }
    }
}

impl Read for ServerEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        if wire.random.one_in(20) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if wire.peer_reset {
            // The kernel forgets what had not been read.
            wire.end_was_read = true;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let most = buffer.len().min(wire.to_server.len());
        if most == 0 {
            wire.end_was_read |= wire.peer_ended;
            return match wire.peer_ended {
                true => Ok(0),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let count = wire.cut_short(most);
        let (first, second) = wire.to_server.as_slices();
        let from_first = count.min(first.len());
        buffer[..from_first].copy_from_slice(&first[..from_first]);
        buffer[from_first..count].copy_from_slice(&second[..count - from_first]);
        wire.to_server.drain(..count);
        Ok(count)
    }
}

impl Write for ServerEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let wire = &mut *self.0.borrow_mut();
        assert!(!wire.server_ended, "nothing is written after the end");
        if wire.random.one_in(20) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if wire.peer_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        assert!(offered > 0, "an empty write is of no use");
        let most = offered.min(wire.room_bytes);
        if most == 0 {
            wire.blocked = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = wire.cut_short(most);
        let mut left_bytes = count;
        for slice in slices {
            let taken = left_bytes.min(slice.len());
            wire.to_peer.extend_from_slice(&slice[..taken]);
            left_bytes -= taken;
        }
        wire.room_bytes -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for ServerEnd {
    fn shutdown_write(&self) -> io::Result<()> {
        self.0.borrow_mut().server_ended = true;
        Ok(())
    }

    fn reset_when_closed(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.0.borrow_mut().server_closed = true;
    }
}
