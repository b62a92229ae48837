//! Any bytes at the web port: a head is read the same wherever it is cut, what it holds cannot
//! write into the answer, and frames carry the same bytes however they arrive.

#![no_main]

use chat::protocol::http::{self, Answer, HostNames};
use chat::protocol::websocket::{Ended, Receiver};
use libfuzzer_sys::fuzz_target;

/// The peer's text is not UTF-8: known within a piece, whose beginning may have been handed on.
const NOT_UTF_8: Ended = Ended::Failed(1007);

// The first byte chooses the size of the pieces.
fuzz_target!(|data: &[u8]| {
    let [how, bytes @ ..] = data else {
        return;
    };
    read_head(bytes);
    let (whole, ended) = receive([bytes]);
    for piece_bytes in [1, usize::from(*how) + 1] {
        let (cut, cut_ended) = receive(bytes.chunks(piece_bytes));
        assert_eq!(ended, cut_ended, "in pieces of {piece_bytes}");
        if ended != Some(NOT_UTF_8) {
            assert_eq!(whole, cut, "in pieces of {piece_bytes}");
        }
    }
});

/// The data in frames that come in `pieces`, and how they end.
fn receive<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<Ended>) {
    let mut receiver = Receiver::default();
    let mut data = Vec::new();
    for piece in pieces {
        let had_ended = receiver.ended();
        let mut piece = piece.to_vec();
        let data_bytes = receiver.receive(&mut piece);
        data.extend_from_slice(&piece[..data_bytes]);
        if had_ended.is_some() {
            assert_eq!(
                (data_bytes, receiver.ended()),
                (0, had_ended),
                "the end is one"
            );
        }
        assert!(receiver.take_ping().is_none_or(|ping| ping.len() <= 125));
    }
    (data, receiver.ended())
}

fn read_head(bytes: &[u8]) {
    let whole = http::parse(bytes);
    for cut in 0..bytes.len() {
        match http::parse(&bytes[..cut]) {
            Ok(None) => {}
            Ok(Some((request, head_bytes))) => {
                assert!(head_bytes <= cut && http::may_end_head(&bytes[..cut]));
                assert_eq!(whole, Ok(Some((request, head_bytes))), "cut at {cut}");
            }
            Err(_) => assert!(whole.is_err(), "cut at {cut}"),
        }
    }
    if let Ok(Some((request, _))) = whole
        && HostNames::default().check(&request).is_ok()
    {
        let answer = Answer::ok("text/plain", &b"body"[..]);
        let lines = |named| {
            let encoded = answer.encode(named, true);
            encoded.split(|&it| it == b'\n').count()
        };
        assert_eq!(lines(Some(&request)), lines(None), "{request:?}");
    }
}
