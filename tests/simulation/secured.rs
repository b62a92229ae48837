//! Peers that speak TLS: what they say and hear in the clear, while the streams carry records.
//!
//! The peer's side is rustls without a line of the server's, so that a fault there cannot be
//! undone here.

use std::io::{self, Read, Write};
use std::sync::Arc;

use chat::protocol::tls::Session;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::random::Random;
use crate::tls_configs::CONFIGS;

/// The server may read so much of the next records before it knows what they hold: the largest
/// record with its head, its kind and its tag, and all that holds as much text.
pub(crate) const MOST_AHEAD_BYTES: usize = 2 * (16 * 1024 + 22);

/// One peer's side of TLS.
pub(crate) struct Secured {
    tls: ClientConnection,
    random: Random,
}

/// Two ends of a wire, in memory.
#[derive(Default)]
struct Wire {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.incoming.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(self.incoming.len());
        buffer[..count].copy_from_slice(&self.incoming[..count]);
        self.incoming.drain(..count);
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Secured {
    /// A peer and the server's session, whose handshake is over.
    pub(crate) fn introduced(random: Random) -> (Self, Box<Session>) {
        let (client, server) = &*CONFIGS;
        let name = ServerName::try_from("room").expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(client), name).expect("a configuration");
        tls.set_buffer_limit(None);
        let mut session = Session::server(server).expect("a configuration");
        let mut wire = Wire::default();
        loop {
            while tls.wants_write() {
                tls.write_tls(&mut wire.incoming)
                    .expect("a Vec that takes all");
            }
            let is_over = session
                .shake_hands(&mut wire)
                .expect("a peer that speaks TLS");
            let mut answer = wire.outgoing.split_off(0);
            hear(&mut tls, &mut answer.as_slice());
            answer.clear();
            if is_over {
                return (Self { tls, random }, Box::new(session));
            }
        }
    }

    /// `text` in records of any size.
    pub(crate) fn encrypt(&mut self, mut text: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        while !text.is_empty() {
            let size = self.random.between(1, text.len());
            let most = *self.random.pick(&[1, 100, usize::MAX]);
            let (now, rest) = text.split_at(size.min(most));
            self.encrypt_at_once(now, &mut records);
            text = rest;
        }
        records
    }

    /// Appends `text`, in as few records as hold it, to `records`.
    pub(crate) fn encrypt_at_once(&mut self, text: &[u8], records: &mut Vec<u8>) {
        let mut writer = self.tls.writer();
        writer.write_all(text).expect("a Vec that takes all");
        self.flush(records);
    }

    /// The record that says that nothing follows.
    pub(crate) fn goodbye(&mut self) -> Vec<u8> {
        let mut record = Vec::new();
        self.tls.send_close_notify();
        self.flush(&mut record);
        record
    }

    fn flush(&mut self, records: &mut Vec<u8>) {
        while self.tls.wants_write() {
            self.tls.write_tls(records).expect("a Vec that takes all");
        }
    }

    /// The text in all `records` that have come, and whether the last says that nothing follows.
    pub(crate) fn decrypt(mut self, mut records: &[u8]) -> (Vec<u8>, bool) {
        let mut text = Vec::new();
        let mut has_ended = false;
        while !records.is_empty() {
            assert!(!has_ended, "something follows the goodbye");
            hear(&mut self.tls, &mut records);
            match self.tls.reader().read_to_end(&mut text) {
                Ok(_) => has_ended = true,
                Err(e) => assert_eq!(e.kind(), io::ErrorKind::WouldBlock),
            }
        }
        (text, has_ended)
    }
}

/// Takes what the server has sent, as far as there is room for it.
fn hear(tls: &mut ClientConnection, records: &mut &[u8]) {
    while !records.is_empty() && tls.wants_read() {
        tls.read_tls(records).expect("a slice that gives all");
        tls.process_new_packets()
            .expect("records as they were sent");
    }
}
