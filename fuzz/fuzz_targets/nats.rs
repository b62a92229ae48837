//! Any bytes from a node of NATS: they are the same operations however they arrive, and what is
//! incomplete takes bounded memory.

#![no_main]

use std::alloc::System;

use chat::protocol::nats::{Decoder, MAX_MESSAGE_BYTES, Malformed};
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

/// Counts heap bytes: the decoder's buffer is private.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A buffer that grows is copied, and has room to spare.
const MAX_HEAP_BYTES: usize = 4 * MAX_MESSAGE_BYTES;

// The first byte chooses the size of the pieces.
fuzz_target!(|data: &[u8]| {
    let [how, bytes @ ..] = data else {
        return;
    };
    let whole = decode([bytes]);
    for piece_bytes in [1, usize::from(*how) + 1] {
        let cut = decode(bytes.chunks(piece_bytes));
        assert_eq!(whole, cut, "in pieces of {piece_bytes}");
    }
});

/// The operations in what comes in `pieces`, as they print, and whether they end in nonsense.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, bool) {
    let mut decoder = Decoder::default();
    let mut operations = Vec::new();
    for piece in pieces {
        let region = Region::new(ALLOCATOR);
        decoder.feed(piece);
        let change = region.change();
        assert!(change.bytes_allocated <= MAX_HEAP_BYTES + 2 * piece.len());
        loop {
            match decoder.take() {
                Ok(Some(operation)) => operations.push(format!("{operation:?}")),
                Ok(None) => break,
                Err(Malformed) => return (operations, true),
            }
        }
    }
    (operations, false)
}
