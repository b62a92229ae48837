//! Any bytes where TLS is spoken, cut anywhere, before a handshake is over: nobody comes in by
//! them, the outcome does not depend on the cuts, and what the server says to them is short.

#![no_main]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, LazyLock};

use chat::protocol::tls::{Session, provider, server_config};
use libfuzzer_sys::fuzz_target;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// Of the server: its hello, its certificate and its signature, or an alert.
const MAX_ANSWER_BYTES: usize = 2048;

static CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("random bits");
    let parameters = CertificateParams::new(["room".to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let signing = provider().key_provider.load_private_key(private);
    let certified = CertifiedKey::new(
        vec![certificate.der().clone()],
        signing.expect("a key of the kind that is generated"),
    );
    let config = server_config(Arc::new(SingleCertAndKey::from(certified)));
    Arc::new(config.expect("algorithms that go together"))
});

/// What a peer sends, piece by piece, and is sent.
struct Wire<'a> {
    pieces: VecDeque<&'a [u8]>,
    ends: bool,
    sent_bytes: usize,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(piece) = self.pieces.front_mut() else {
            return if self.ends {
                Ok(0)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
        };
        let count = piece.read(buffer)?;
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        Ok(count)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sent_bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How far the handshake gets.
fn outcome(bytes: &[u8], piece_bytes: usize, ends: bool) -> Result<bool, io::ErrorKind> {
    let mut session = Session::server(&CONFIG).expect("a configuration that does");
    let mut wire = Wire {
        pieces: bytes.chunks(piece_bytes).collect(),
        ends,
        sent_bytes: 0,
    };
    let outcome = session.shake_hands(&mut wire);
    assert!(wire.sent_bytes <= MAX_ANSWER_BYTES, "{}", wire.sent_bytes);
    outcome.map_err(|e| e.kind())
}

// The first byte chooses the size of the pieces, and whether the peer ends its side.
fuzz_target!(|data: &[u8]| {
    let [how, bytes @ ..] = data else {
        return;
    };
    let (piece_bytes, ends) = (usize::from(how & 0x7f) + 1, how & 0x80 != 0);
    let whole = outcome(bytes, usize::MAX, ends);
    // To end it takes a key that was agreed on just now.
    assert_ne!(whole, Ok(true), "a stranger has finished");
    assert_eq!(whole, outcome(bytes, piece_bytes, ends), "in pieces");
    assert_eq!(whole, outcome(bytes, 1, ends), "byte by byte");
});
