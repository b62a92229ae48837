//! One TLS connection between plaintext and a stream that does not block.
//!
//! A session may hold bytes both ways: records that the stream has not taken, and what was
//! received and not read yet. Reading may have something to write, and the other way round. What
//! the stream takes is written from where rustls has made it; only what it refuses is kept.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection};

/// The most that one record holds (RFC 8446, section 5.1): so much is encrypted at once, and may
/// wait for the stream.
pub(crate) const RECORD_BYTES: usize = 16 * 1024;

/// The most that a peer may send without anything to read in it: of the handshake, or of messages
/// after it, as a new key. A ClientHello takes hundreds of bytes, with keys that a quantum computer
/// does not find, too, less than two thousand; a chain of certificates some thousands; a record
/// 16 KiB and some bytes.
const MAX_SILENT_BYTES: usize = 32 * 1024;

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
    /// How much more has come over the wire than there was to read in it. Below 0 while the end
    /// of a record has come whose beginning was counted.
    overhead_bytes: isize,
    has_said_goodbye: bool,
    /// What came last was not from the peer, or not as it sent it.
    has_failed: bool,
}

impl Session {
    /// The server's end.
    ///
    /// # Errors
    ///
    /// When the `config` does not do.
    pub fn server(config: &Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(ServerConnection::new(Arc::clone(config))?.into()))
    }

    /// The client's end.
    ///
    /// # Errors
    ///
    /// When the `config` does not do.
    pub fn client(config: &Arc<ClientConfig>) -> Result<Self, Error> {
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
            overhead_bytes: 0,
            has_said_goodbye: false,
            has_failed: false,
        }
    }

    /// Goes on with the handshake as far as `stream` lets it. Returns whether it is over.
    ///
    /// # Errors
    ///
    /// Those of the stream, but for `WouldBlock`; `UnexpectedEof`; and `InvalidData` when the peer
    /// does not speak TLS, or not as we do.
    pub fn shake_hands(&mut self, stream: &mut (impl Read + Write)) -> io::Result<bool> {
        loop {
            match self.send(stream) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
            if !self.tls.is_handshaking() {
                (self.partial_bytes, self.overhead_bytes) = (0, 0);
                return Ok(true);
            }
            match self.receive(stream) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if self.partial_bytes > MAX_SILENT_BYTES => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The certificate with whose key the peer has signed, once the handshake is over.
    pub(crate) fn peer(&self) -> Option<&CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// Whether the peer has asked for the line protocol by its name.
    pub(crate) fn speaks_chat(&self) -> bool {
        self.tls.alpn_protocol() == Some(b"chat/1")
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
            if let Some(count) = self.read_once(stream, buffer)? {
                return Ok(count);
            }
        }
    }

    /// The same, but reads from the stream once at most: `None` if nothing can be read in what
    /// has come.
    ///
    /// # Errors
    ///
    /// As [`Session::read`].
    pub(crate) fn read_once(
        &mut self,
        stream: &mut (impl Read + Write),
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        match self.tls.reader().read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Ok(count) => {
                self.unread_bytes = self.unread_bytes.saturating_sub(count);
                return Ok(Some(count));
            }
            Err(e) => return Err(e),
        }
        if self.has_failed {
            return Err(io::ErrorKind::InvalidData.into());
        }
        match self.receive(stream) {
            // What came before is heard.
            Err(e) if e.kind() == io::ErrorKind::InvalidData => self.has_failed = true,
            Ok(_) if self.partial_bytes > MAX_SILENT_BYTES => self.has_failed = true,
            received => drop(received?),
        }
        // An answer, as to a new key, goes before what is written next (RFC 8446, section 4.6.3):
        // reading changes nothing of what is held back.
        Ok(None)
    }

    /// How much more has come over the wire, since this was last asked, than there is to read in
    /// it: that is work, too.
    pub(crate) fn take_overhead_bytes(&mut self) -> usize {
        let overhead_bytes = usize::try_from(self.overhead_bytes).unwrap_or(0);
        self.overhead_bytes -= overhead_bytes as isize;
        overhead_bytes
    }

    /// Whether this side has [ended](Self::say_goodbye).
    pub(crate) fn has_said_goodbye(&self) -> bool {
        self.has_said_goodbye
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
    pub fn received_bytes(&self) -> usize {
        self.partial_bytes + self.unread_bytes
    }

    fn receive(&mut self, stream: &mut (impl Read + Write)) -> io::Result<usize> {
        let count = self.tls.read_tls(stream)?;
        self.partial_bytes += count;
        // Neither is near the limits of an isize.
        self.overhead_bytes += count as isize;
        match self.tls.process_new_packets() {
            Ok(state) => {
                let unread_bytes = state.plaintext_bytes_to_read();
                self.overhead_bytes -= unread_bytes.saturating_sub(self.unread_bytes) as isize;
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
            let written = match slices {
                // The plain write is the cheaper system call.
                [only] => self.stream.write(only),
                _ => self.stream.write_vectored(slices),
            };
            taken = match written {
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::server::ServerSessionMemoryCache;
    use rustls::sign::{CertifiedKey, SingleCertAndKey};

    use super::*;
    use crate::protocol::tls::{Fingerprint, client_config, provider, server_config};

    /// One end of a wire that takes and gives bytes in portions of these sizes, in turn; a portion
    /// of none would block.
    #[derive(Default)]
    struct End {
        incoming: VecDeque<u8>,
        outgoing: Vec<u8>,
        portions: VecDeque<usize>,
        has_ended: bool,
    }

    impl End {
        fn new(portions: &[usize]) -> Self {
            Self {
                portions: portions.iter().copied().collect(),
                ..Self::default()
            }
        }

        fn next_portion(&mut self) -> io::Result<usize> {
            let Some(portion) = self.portions.pop_front() else {
                return Ok(usize::MAX);
            };
            self.portions.push_back(portion);
            if portion > 0 {
                Ok(portion)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }

    impl Read for End {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.incoming.is_empty() && self.has_ended {
                return Ok(0);
            }
            if self.incoming.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let portion = self.next_portion()?.min(buffer.len());
            self.incoming.read(&mut buffer[..portion])
        }
    }

    impl Write for End {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let portion = self.next_portion()?.min(bytes.len());
            self.outgoing.extend_from_slice(&bytes[..portion]);
            Ok(portion)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A session and its end of the wire.
    struct Side {
        session: Session,
        wire: End,
        to_say: VecDeque<u8>,
        heard: Vec<u8>,
        has_heard_goodbye: bool,
    }

    impl Side {
        fn new(session: Session, portions: &[usize], says: &[u8]) -> Self {
            Self {
                session,
                wire: End::new(portions),
                to_say: says.iter().copied().collect(),
                heard: Vec::new(),
                has_heard_goodbye: false,
            }
        }

        /// Goes on as far as it can.
        fn go_on(&mut self) -> io::Result<()> {
            if !self.session.shake_hands(&mut self.wire)? {
                return Ok(());
            }
            let mut buffer = [0; 1000];
            loop {
                match self.session.read(&mut self.wire, &mut buffer) {
                    Ok(0) => break self.has_heard_goodbye = true,
                    Ok(count) => self.heard.extend_from_slice(&buffer[..count]),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
            while !self.to_say.is_empty() {
                let (one, other) = self.to_say.as_slices();
                let slices = [IoSlice::new(one), IoSlice::new(other)];
                match self.session.write(&mut self.wire, &slices) {
                    Ok(count) => drop(self.to_say.drain(..count)),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(e) => return Err(e),
                }
                assert!(
                    self.session.pending_bytes() < RECORD_BYTES + 100,
                    "one record waits"
                );
            }
            match self.session.say_goodbye(&mut self.wire) {
                Err(e) if e.kind() != io::ErrorKind::WouldBlock => Err(e),
                _ => Ok(()),
            }
        }
    }

    fn key() -> (KeyPair, Vec<u8>) {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let params = CertificateParams::new(vec!["box".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        (key, certificate)
    }

    fn server_with(key: &KeyPair, certificate: Vec<u8>) -> Session {
        let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let signing = provider().key_provider.load_private_key(private).unwrap();
        let certified = CertifiedKey::new(vec![certificate.into()], signing);
        let config = server_config(Arc::new(SingleCertAndKey::from(certified))).unwrap();
        Session::server(&Arc::new(config)).unwrap()
    }

    fn server() -> Session {
        let (key, certificate) = key();
        server_with(&key, certificate)
    }

    fn client() -> Session {
        Session::client(&Arc::new(client_config().unwrap())).unwrap()
    }

    /// Lets both go on until neither has anything to say, but for what does not get through.
    fn converse(one: &mut Side, other: &mut Side) -> io::Result<()> {
        let is_done = |side: &Side| {
            side.to_say.is_empty() && side.has_heard_goodbye && side.session.pending_bytes() == 0
        };
        for _ in 0..1_000_000 {
            one.go_on()?;
            other.wire.incoming.extend(one.wire.outgoing.drain(..));
            other.go_on()?;
            one.wire.incoming.extend(other.wire.outgoing.drain(..));
            if is_done(one) && is_done(other) {
                return Ok(());
            }
        }
        panic!("they do not get on");
    }

    /// A client and a server after the handshake.
    fn introduced() -> (Side, Side) {
        let mut client = Side::new(client(), &[], b"");
        let mut server = Side::new(server(), &[], b"");
        for _ in 0..3 {
            client.session.shake_hands(&mut client.wire).unwrap();
            server.wire.incoming.extend(client.wire.outgoing.drain(..));
            server.session.shake_hands(&mut server.wire).unwrap();
            client.wire.incoming.extend(server.wire.outgoing.drain(..));
        }
        assert_eq!(server.session.received_bytes(), 0);
        (client, server)
    }

    /// What `side` says before its end, as it goes over the wire.
    fn ciphertext(side: &mut Side, says: &[u8]) -> Vec<u8> {
        let count = side
            .session
            .write(&mut side.wire, &[IoSlice::new(says)])
            .unwrap();
        assert_eq!(count, says.len());
        side.session.say_goodbye(&mut side.wire).unwrap();
        std::mem::take(&mut side.wire.outgoing)
    }

    #[test]
    fn what_is_cut_anywhere_is_heard_so_far_and_has_not_ended() {
        const SAID: &[u8] = b"a line\nand another one\n";
        let (mut client, mut server) = introduced();
        let whole = ciphertext(&mut server, SAID);
        let mut last_heard = 0;
        for cut in 0..=whole.len() {
            // The same reader gets one byte after the other.
            client
                .wire
                .incoming
                .extend(cut.checked_sub(1).map(|at| whole[at]));
            client.go_on().unwrap();
            assert_eq!(client.heard, SAID[..client.heard.len()]);
            assert_eq!(client.has_heard_goodbye, cut == whole.len());
            let is_in_between =
                !(1..whole.len()).contains(&cut) || client.session.received_bytes() > 0;
            assert!(
                is_in_between || client.heard.len() > last_heard,
                "bytes are counted"
            );
            last_heard = client.heard.len();
        }
        assert_eq!(client.heard, SAID);
    }

    #[test]
    fn an_end_without_a_goodbye_is_a_loss_wherever_it_comes() {
        for cut_bytes in 0..30 {
            let (mut client, mut server) = introduced();
            let whole = ciphertext(&mut server, b"hi\n");
            let kept = whole.len().saturating_sub(1 + cut_bytes);
            client.wire.incoming.extend(&whole[..kept]);
            client.wire.has_ended = true;
            let lost = client.go_on().unwrap_err();
            assert_eq!(lost.kind(), io::ErrorKind::UnexpectedEof);
            assert!(b"hi\n".starts_with(&client.heard));
        }
    }

    #[test]
    fn a_changed_bit_is_a_loss_wherever_it_is() {
        let length = {
            let (_, mut server) = introduced();
            ciphertext(&mut server, b"hi\n").len()
        };
        // A head of five bytes, a byte that says what this is, and a tag.
        let first_record = b"hi\n".len() + 22;
        // What a head says besides the length means nothing in TLS 1.3.
        let means_nothing = |at: usize| at % first_record < 3;
        for at in (0..length).filter(|&at| !means_nothing(at)) {
            let (mut client, mut server) = introduced();
            let mut changed = ciphertext(&mut server, b"hi\n");
            changed[at] ^= 1;
            client.wire.incoming.extend(changed);
            client.wire.has_ended = true;
            assert!(client.go_on().is_err(), "byte {at}");
            assert!(!client.has_heard_goodbye);
            assert_eq!(client.heard.is_empty(), at < first_record, "byte {at}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_proves_nothing() {
        let (_, public) = key();
        let (impostor, _) = key();
        let mut server = Side::new(server_with(&impostor, public), &[], b"");
        let mut client = Side::new(client(), &[], b"hello\n");
        let refused = converse(&mut client, &mut server).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert_eq!(server.heard, b"");
    }

    #[test]
    fn the_key_is_the_same_in_every_certificate() {
        let (key, certificate) = key();
        let again = CertificateParams::new(vec!["other".to_owned()]).unwrap();
        let again = again.self_signed(&key).unwrap().der().to_vec();
        let shown = [certificate, again].map(|certificate| {
            let mut server = Side::new(server_with(&key, certificate), &[], b"");
            let mut client = Side::new(client(), &[], b"");
            converse(&mut client, &mut server).unwrap();
            Fingerprint::of(client.session.peer().unwrap()).unwrap()
        });
        assert_eq!(shown[0], shown[1]);
    }

    #[test]
    fn a_handshake_is_not_held_for_ever() {
        let mut server = Side::new(server(), &[], b"");
        // The head of a ClientHello of 64 KiB, and then records with more of it.
        let head = [&[22, 3, 1, 64, 0, 1, 0, 255, 255][..], &[0; 16 * 1024 - 4]].concat();
        let more = [&[22, 3, 1, 64, 0][..], &[0; 16 * 1024]].concat();
        server.wire.incoming.extend(head);
        server.go_on().unwrap();
        server.wire.incoming.extend(more);
        let refused = server.go_on().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_comes_without_anything_to_read_is_counted() {
        let (mut client, mut server) = introduced();
        for _ in 0..30 {
            client.session.tls.refresh_traffic_keys().unwrap();
            client.session.flush(&mut client.wire).unwrap();
        }
        client
            .session
            .write(&mut client.wire, &[IoSlice::new(b"hi")])
            .unwrap();
        let sent_bytes = client.wire.outgoing.len();
        // A few at a time: none of them alone is much to do.
        server.wire.portions = VecDeque::from([100]);
        server.wire.incoming.extend(client.wire.outgoing.drain(..));
        let (mut reads, mut overhead_bytes) = (0, 0);
        let text = loop {
            let read = server.session.read_once(&mut server.wire, &mut [0; 10]);
            reads += 1;
            overhead_bytes += server.session.take_overhead_bytes();
            if let Some(count) = read.unwrap() {
                break count;
            }
        };
        assert_eq!((text, overhead_bytes), (2, sent_bytes - 2));
        assert!(reads > sent_bytes / 100, "{reads}");
    }

    #[test]
    fn messages_without_anything_to_read_end_the_connection() {
        let (key, certificate) = key();
        let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let signing = provider().key_provider.load_private_key(private).unwrap();
        let certified = CertifiedKey::new(vec![certificate.into()], signing);
        let mut config = server_config(Arc::new(SingleCertAndKey::from(certified))).unwrap();
        config.session_storage = ServerSessionMemoryCache::new(1);
        config.send_tls13_tickets = 1000;
        let mut server = Side::new(Session::server(&Arc::new(config)).unwrap(), &[], b"");
        let mut client = Side::new(client(), &[], b"");
        server.session.tls.set_buffer_limit(None);
        let refused = converse(&mut client, &mut server).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bytes_pass_through_wires_of_any_kind(
            portions in [
                proptest::collection::vec(0..3000_usize, 1..9),
                proptest::collection::vec(0..3000_usize, 1..9),
            ],
            lengths in [0..60_000_usize, 0..60_000_usize],
        ) {
            // A wire that takes nothing at all is none.
            let portions = portions.map(|mut portions| {
                portions.push(1);
                portions
            });
            let says = lengths.map(|length| {
                (0..length).map(|at| (at * at / 7) as u8).collect::<Vec<u8>>()
            });
            let mut client = Side::new(client(), &portions[0], &says[0]);
            let mut server = Side::new(server(), &portions[1], &says[1]);
            converse(&mut client, &mut server).unwrap();
            prop_assert_eq!(client.heard, &says[1][..]);
            prop_assert_eq!(server.heard, &says[0][..]);
        }
    }
}
