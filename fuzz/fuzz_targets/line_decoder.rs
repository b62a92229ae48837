//! Any bytes, cut anywhere, with any limit: the decoder returns the lines that are there, each
//! as soon as it is certain, and holds no more memory than it says.

#![no_main]

use std::alloc::System;

use arbitrary::{Arbitrary, Unstructured};
use chat::protocol::line::{Decoded, LineDecoder};
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

/// Counts heap bytes: the decoder's buffer is private.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Small, so that inputs of a fuzzer's size exceed it.
const MAX_LIMIT_BYTES: u32 = 300;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    #[arbitrary(with = |u: &mut Unstructured| u.int_in_range(0..=MAX_LIMIT_BYTES))]
    limit_bytes: u32,
    /// How the input is cut; the rest comes in one piece.
    piece_bytes: Vec<u8>,
    bytes: &'a [u8],
}

/// A line that the decoder must return.
#[derive(Debug)]
struct Line<'a> {
    decoded: Decoded<'a>,
    /// How much input makes the line certain; `None` if only the end of the stream does.
    certain_after: Option<usize>,
}

fuzz_target!(|input: Input| {
    let limit = input.limit_bytes as usize;
    let expected = expected(input.bytes, limit);
    check(&input, cut(input.bytes, &input.piece_bytes), &expected);
    check(&input, vec![input.bytes], &expected);
    check(&input, input.bytes.chunks(1).collect(), &expected);
});

/// The lines of `bytes`, found the slow and obvious way.
fn expected(bytes: &[u8], limit: usize) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let line_end = bytes[start..].iter().position(|&byte| byte == b'\n');
        let raw = &bytes[start..line_end.map_or(bytes.len(), |at| start + at)];
        let line = raw.strip_suffix(b"\r").unwrap_or(raw);
        let end = start + raw.len() + 1;
        lines.push(if line.len() > limit {
            // A CR just above the limit may be half a line end.
            let over = limit + 1 + usize::from(raw[limit] == b'\r');
            Line {
                decoded: Decoded::TooLong(&line[..limit]),
                certain_after: Some(start + over),
            }
        } else {
            Line {
                decoded: Decoded::Line(line),
                certain_after: line_end.map(|_| end),
            }
        });
        start = end;
    }
    lines
}

fn cut<'a>(mut bytes: &'a [u8], piece_bytes: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &length in piece_bytes {
        let (piece, rest) = bytes.split_at(bytes.len().min(length.into()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces
}

/// Decodes `pieces` and the end of the stream, and compares at every step.
fn check(input: &Input, pieces: Vec<&[u8]>, expected: &[Line]) {
    let limit = input.limit_bytes as usize;
    let mut decoder = LineDecoder::new(input.limit_bytes);
    let mut held = Held::default();
    let mut given = 0;
    let mut fed = 0;
    let mut unfinished = 0;
    for piece in pieces {
        let mut rest = piece;
        while let Some(decoded) = held.during(|| decoder.next_line(&mut rest)) {
            assert_eq!(decoded, expected[given].decoded, "line {given}");
            given += 1;
            assert!(
                held.bytes <= limit + 1 + PARTIAL_BYTES,
                "{held:?} with a line handed out"
            );
        }
        assert!(rest.is_empty(), "all input is taken");
        fed += piece.len();

        let is_certain = |line: &Line| line.certain_after.is_some_and(|bytes| bytes <= fed);
        assert!(expected[..given].last().is_none_or(is_certain), "too early");
        assert!(!expected.get(given).is_some_and(is_certain), "too late");

        assert_eq!(decoder.unfinished().is_empty(), held.bytes == 0);
        unfinished = match piece.iter().rposition(|&byte| byte == b'\n') {
            Some(line_end) => piece.len() - line_end - 1,
            None => unfinished + piece.len(),
        };
        let nothing_to_keep = unfinished > limit + 1 || unfinished == 0;
        let most_bytes = if nothing_to_keep {
            0
        } else {
            limit + 1 + PARTIAL_BYTES
        };
        assert!(held.bytes <= most_bytes, "{held:?} after {fed} bytes");
    }
    if let Some(decoded) = decoder.finish() {
        assert_eq!(decoded, expected[given].decoded, "the unfinished line");
        given += 1;
    }
    assert_eq!(given, expected.len());
    assert_eq!(decoder.finish(), None, "it ends once");
}

/// What an unfinished line takes on the heap besides its bytes: the boxed vector.
const PARTIAL_BYTES: usize = size_of::<Vec<u8>>() + size_of::<usize>();

/// What the decoder has on the heap.
#[derive(Debug, Default)]
struct Held {
    bytes: usize,
}

impl Held {
    /// Counts what `call` allocates and frees.
    fn during<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let before = ALLOCATOR.stats();
        let result = call();
        let change = ALLOCATOR.stats() - before;
        self.bytes = self.bytes + change.bytes_allocated - change.bytes_deallocated;
        result
    }
}
