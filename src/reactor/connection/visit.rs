//! What a visitor has sent: somebody on the port where peers speak first, who has not said yet
//! what it wants.

use std::net::IpAddr;

use super::input::AfterRead;
use super::transport::{Received, Transport};
use crate::protocol::close::CloseReason;
use crate::reactor::stream::Stream;

/// The most that is read before its service has said that it needs more.
pub(crate) const REQUEST_BYTES: usize = 8 * 1024;

/// One visitor's request, as far as it has come.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(super) address: IpAddr,
    bytes: Vec<u8>,
    /// Before this many bytes have come, there is no point in asking the service.
    until_bytes: usize,
}

impl Visit {
    pub(super) fn new(address: IpAddr) -> Self {
        Self {
            address,
            bytes: Vec::new(),
            until_bytes: 0,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether enough has come to ask its service.
    pub(crate) fn is_due(&self) -> bool {
        self.bytes.len() >= self.until_bytes
    }

    /// Its service needs this many bytes to say more.
    pub(crate) fn wait_until(&mut self, until_bytes: usize) {
        self.until_bytes = until_bytes;
    }

    /// Reads until `transport` would block or ends, or as much has come as is needed. Returns
    /// how many bytes were read, and where it stopped.
    pub(super) fn read<S: Stream>(
        &mut self,
        transport: &mut Transport<S>,
        buffer: &mut [u8],
    ) -> (usize, AfterRead) {
        let before = self.bytes.len();
        let most_bytes = self.until_bytes.max(REQUEST_BYTES);
        let mut overhead_bytes = 0;
        let stopped = loop {
            let left_bytes = most_bytes.saturating_sub(self.bytes.len());
            let left_bytes = left_bytes.min(buffer.len());
            if left_bytes == 0 || overhead_bytes > REQUEST_BYTES {
                break AfterRead::More;
            }
            let received = transport.read(&mut buffer[..left_bytes]);
            overhead_bytes += transport.take_overhead_bytes();
            match received {
                Received::Bytes(count) => self.bytes.extend_from_slice(&buffer[..count]),
                Received::WouldBlock => break AfterRead::WouldBlock,
                Received::End => break AfterRead::Ended(CloseReason::PeerClosed),
                Received::Failed(kind) => break AfterRead::Ended(CloseReason::Lost(kind)),
            }
        };
        (self.bytes.len() - before + overhead_bytes, stopped)
    }
}
