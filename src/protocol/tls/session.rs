//! One TLS connection between plaintext and a stream that does not block.
//!
//! A session may hold bytes both ways: records that the stream has not taken, and what was
//! received and not read yet. Reading may have something to write, and the other way round. What
//! the stream takes is written from where rustls has made it; only what it refuses is kept.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection};

use super::Fingerprint;

/// The most that one record holds (RFC 8446, section 5.1): so much is encrypted at once, and may
/// wait for the stream.
pub(crate) const RECORD_BYTES: usize = 16 * 1024;

/// The most that a peer may send before the handshake is over. A ClientHello takes hundreds of
/// bytes, with keys that a quantum computer does not find, too, less than two thousand; a chain of
/// certificates some thousands.
const MAX_HANDSHAKE_BYTES: usize = 32 * 1024;

/// One end of a TLS connection, without its stream.
#[derive(Debug)]
pub struct Session {
    tls: Connection,
    /// Ciphertext that the stream has not taken, from `written` on.
    pending: Vec<u8>,
    written: usize,
    /// What has come of a record, or of a handshake, that is not complete.
    partial_bytes: usize,
    /// What has come and is decrypted, and was not read.
    unread_bytes: usize,
    has_said_goodbye: bool,
}

impl Session {
    /// The server's end.
    ///
    /// # Errors
    ///
    /// When the `config` does not do.
    pub(crate) fn server(config: &Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(ServerConnection::new(Arc::clone(config))?.into()))
    }

    /// The client's end.
    ///
    /// # Errors
    ///
    /// When the `config` does not do.
    pub(crate) fn client(config: &Arc<ClientConfig>) -> Result<Self, Error> {
        // It is neither sent nor looked at.
        let name = ServerName::try_from("room.invalid").expect("a name");
        let tls = ClientConnection::new(Arc::clone(config), name)?;
        Ok(Self::new(tls.into()))
    }

    fn new(mut tls: Connection) -> Self {
        tls.set_buffer_limit(Some(RECORD_BYTES));
        Self {
            tls,
            pending: Vec::new(),
            written: 0,
            partial_bytes: 0,
            unread_bytes: 0,
            has_said_goodbye: false,
        }
    }

    /// Goes on with the handshake as far as `stream` lets it. Returns whether it is over.
    ///
    /// # Errors
    ///
    /// Those of the stream, but for `WouldBlock`; `UnexpectedEof`; and `InvalidData` when the peer
    /// does not speak TLS, or not as we do.
    pub(crate) fn shake_hands(&mut self, stream: &mut (impl Read + Write)) -> io::Result<bool> {
        loop {
            match self.send(stream) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
            if !self.tls.is_handshaking() {
                return Ok(true);
            }
            match self.receive(stream) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if self.partial_bytes > MAX_HANDSHAKE_BYTES => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }

    /// The key that the peer has shown, once the handshake is over.
    ///
    /// # Errors
    ///
    /// When it has shown none.
    pub(crate) fn peer(&self) -> Result<Fingerprint, Error> {
        match self.tls.peer_certificates() {
            Some([certificate, ..]) => Fingerprint::of(certificate),
            _ => Err(Error::NoCertificatesPresented),
        }
    }

    /// Reads what the peer has said; 0 once it has said that it ends its side.
    ///
    /// # Errors
    ///
    /// Those of the stream; `UnexpectedEof` when it ends though the peer has not said so: what is
    /// missing may have been cut off by somebody else; and `InvalidData`.
    pub(crate) fn read(
        &mut self,
        stream: &mut (impl Read + Write),
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Ok(count) => {
                    self.unread_bytes = self.unread_bytes.saturating_sub(count);
                    return Ok(count);
                }
                Err(e) => return Err(e),
            }
            self.receive(stream)?;
            // An answer that cannot be sent does not keep us from hearing what was said.
            let _ = self.send(stream);
        }
    }

    /// Encrypts what comes first in `slices`, at most a record, and writes that. What the stream
    /// does not take is kept; before it is, nothing more is taken here.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    pub(crate) fn write(
        &mut self,
        stream: &mut impl Write,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.send(stream)?;
        let taken = self.tls.writer().write_vectored(slices)?;
        match self.send(stream) {
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
            _ => Ok(taken),
        }
    }

    /// Writes what is kept.
    ///
    /// # Errors
    ///
    /// Those of the stream.
    pub(crate) fn flush(&mut self, stream: &mut impl Write) -> io::Result<()> {
        self.send(stream)
    }

    /// Says once that this side ends: to what was cut off otherwise, the peer would not trust.
    ///
    /// # Errors
    ///
    /// Those of the stream. After `WouldBlock`, it is to be [flushed](Self::flush).
    pub(crate) fn say_goodbye(&mut self, stream: &mut impl Write) -> io::Result<()> {
        if !std::mem::replace(&mut self.has_said_goodbye, true) {
            self.tls.send_close_notify();
        }
        self.send(stream)
    }

    /// How many bytes wait for the stream.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.len() - self.written
    }

    /// How many bytes have come and were not read.
    pub(crate) fn received_bytes(&self) -> usize {
        self.partial_bytes + self.unread_bytes
    }

    fn receive(&mut self, stream: &mut (impl Read + Write)) -> io::Result<usize> {
        let count = self.tls.read_tls(stream)?;
        self.partial_bytes += count;
        match self.tls.process_new_packets() {
            Ok(state) => {
                let unread_bytes = state.plaintext_bytes_to_read();
                if unread_bytes > self.unread_bytes {
                    // A record is complete, and what has come of the next is not known.
                    self.partial_bytes = 0;
                }
                self.unread_bytes = unread_bytes;
                Ok(count)
            }
            Err(e) => {
                // The alert that says why.
                let _ = self.send(stream);
                Err(io::Error::new(io::ErrorKind::InvalidData, e))
            }
        }
    }

    /// Writes what is kept, and what rustls has to send, until the stream would block: it tells
    /// once it takes more only if it has.
    fn send(&mut self, stream: &mut impl Write) -> io::Result<()> {
        loop {
            while self.written < self.pending.len() {
                match stream.write(&self.pending[self.written..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => self.written += count,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            self.written = 0;
            if !self.pending.is_empty() {
                // Most have nothing pending most of the time.
                self.pending = Vec::new();
            }
            if !self.tls.wants_write() {
                return Ok(());
            }
            let mut keeping = Keeping {
                stream,
                refused: &mut self.pending,
            };
            match self.tls.write_tls(&mut keeping) {
                Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
                _ => {}
            }
        }
    }
}

/// A stream that takes everything, and keeps what the one behind it refuses.
struct Keeping<'a, W> {
    stream: &'a mut W,
    refused: &'a mut Vec<u8>,
}

impl<W: Write> Write for Keeping<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = 0;
        if self.refused.is_empty() {
            taken = match self.stream.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                // rustls keeps what it has, and is asked again.
                Err(e) => return Err(e),
            };
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if taken < total {
            let mut to_skip = taken;
            for slice in slices {
                let skipped = to_skip.min(slice.len());
                to_skip -= skipped;
                self.refused.extend_from_slice(&slice[skipped..]);
            }
        }
        Ok(total)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
