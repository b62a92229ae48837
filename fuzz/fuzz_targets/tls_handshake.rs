//! Any bytes in place of a TLS handshake, at either end, cut anywhere: they never end it, are
//! refused or waited on whatever the cuts are, and neither cost nor cause more than so much.

#![no_main]

#[path = "../../tests/common/tls_configs.rs"]
mod tls_configs;

use std::io::{self, Read, Write};

use chat::protocol::tls::Session;
use libfuzzer_sys::fuzz_target;

use self::tls_configs::CONFIGS;

/// What may have come and be kept: the bound, and what one read adds.
const MOST_KEPT_BYTES: usize = (32 + 20) * 1024;

/// A ServerHello and what follows it, or a ClientHello and another, and an alert.
const MOST_ANSWERED_BYTES: usize = 4 * 1024;

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
