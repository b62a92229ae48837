//! Any bytes in place of a TLS handshake, at either end, cut anywhere: they never end it, are
//! refused or waited on whatever the cuts are, and neither cost nor cause more than so much.

#![no_main]

use std::io::{self, Read, Write};
use std::sync::{Arc, LazyLock};

use chat::protocol::tls::{Session, client_config, provider, server_config};
use libfuzzer_sys::fuzz_target;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};

/// What may have come and be kept: the bound, and what one read adds.
const MOST_KEPT_BYTES: usize = (32 + 20) * 1024;

/// A ServerHello and what follows it, or a ClientHello and another, and an alert.
const MOST_ANSWERED_BYTES: usize = 4 * 1024;

static CONFIGS: LazyLock<(Arc<ClientConfig>, Arc<ServerConfig>)> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let params = CertificateParams::new(vec!["room".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let signing = provider().key_provider.load_private_key(private);
    let chain = vec![certificate.der().clone()];
    let certified = CertifiedKey::new(chain, signing.expect("a key of a known kind"));
    let server = server_config(Arc::new(SingleCertAndKey::from(certified)));
    let client = client_config().expect("algorithms that go together");
    let server = server.expect("algorithms that go together");
    (Arc::new(client), Arc::new(server))
});

struct Wire<'a> {
    incoming: &'a [u8],
    answered_bytes: usize,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.incoming.read(buffer) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            read => read,
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answered_bytes += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// The first byte chooses the end, and the size of the pieces.
fuzz_target!(|data: &[u8]| {
    let [how, bytes @ ..] = data else {
        return;
    };
    let is_server = how & 0x80 != 0;
    let piece_bytes = 1 + usize::from(how & 0x7f) * 16;
    let whole = is_refused(is_server, [bytes]);
    let torn = is_refused(is_server, bytes.chunks(piece_bytes));
    assert_eq!(whole, torn, "in pieces");
});

/// Whether `pieces` are refused.
fn is_refused<'a>(is_server: bool, pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let (client, server) = &*CONFIGS;
    let session = if is_server {
        Session::server(server)
    } else {
        Session::client(client)
    };
    let mut session = session.expect("a configuration");
    let mut wire = Wire {
        incoming: &[],
        answered_bytes: 0,
    };
    for piece in pieces {
        wire.incoming = piece;
        let shaken = session.shake_hands(&mut wire);
        assert!(wire.answered_bytes <= MOST_ANSWERED_BYTES);
        assert!(session.received_bytes() <= MOST_KEPT_BYTES);
        match shaken {
            Ok(is_over) => assert!(!is_over, "nobody is there to end a handshake"),
            Err(e) => {
                assert_eq!(e.kind(), io::ErrorKind::InvalidData);
                return true;
            }
        }
    }
    false
}
