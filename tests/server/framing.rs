//! Lines stay lines, however the network cuts and joins them, and however long they are.

use crate::common::peer::Peer;
use crate::common::server::Server;

/// A server, a talker (from 127.0.0.2), and a listener.
fn room(options: &[&str]) -> (Server, Peer, Peer) {
    let server = Server::with(options);
    let talker = server.join("127.0.0.2");
    let listener = server.join("127.0.0.3");
    (server, talker, listener)
}

#[test]
fn a_segment_may_hold_many_lines() {
    let (_server, talker, mut listener) = room(&[]);
    talker.send("one\ntwo\nthree\n");
    listener.expect_line("<127.0.0.2> one");
    listener.expect_line("<127.0.0.2> two");
    listener.expect_line("<127.0.0.2> three");
}

#[test]
fn a_line_may_span_many_segments() {
    let (_server, talker, mut listener) = room(&[]);
    for byte in "byte by byte, é and 🦀 too\r\n".bytes() {
        talker.send([byte]);
    }
    listener.expect_line("<127.0.0.2> byte by byte, é and 🦀 too");
}

#[test]
fn an_unfinished_line_does_not_mix_with_others() {
    let (server, talker, mut listener) = room(&[]);
    let other = server.join("127.0.0.4");
    talker.send("first half, ");
    other.say("in between");
    listener.expect_line("<127.0.0.4> in between");
    talker.send("second half\n");
    listener.expect_line("<127.0.0.2> first half, second half");
}

#[test]
fn crlf_ends_a_line_as_lf_does() {
    let (_server, talker, mut listener) = room(&[]);
    talker.send("from a telnet\r\nfrom a nc\n");
    listener.expect_line("<127.0.0.2> from a telnet");
    listener.expect_line("<127.0.0.2> from a nc");
}

#[test]
fn cr_nul_ends_a_line_wherever_it_is_cut() {
    let (_server, talker, mut listener) = room(&[]);
    talker.send("from a telnet\r\0from a nc\n");
    listener.expect_line("<127.0.0.2> from a telnet");
    listener.expect_line("<127.0.0.2> from a nc");
    for byte in "in character mode\r\0a\0b\n".bytes() {
        talker.send([byte]);
    }
    listener.expect_line("<127.0.0.2> in character mode");
    listener.expect_line("<127.0.0.2> a␀b");
}

#[test]
fn empty_lines_are_ignored() {
    let (_server, talker, mut listener) = room(&[]);
    talker.send("\n\r\n\n\nnot empty\n\n \n\r\nlast\n");
    listener.expect_line("<127.0.0.2> not empty");
    listener.expect_line("<127.0.0.2>  ");
    listener.expect_line("<127.0.0.2> last");
}

#[test]
fn a_line_of_exactly_the_limit_passes() {
    const LIMIT_BYTES: usize = 16;
    let (_server, talker, mut listener) = room(&["--max-line", "16"]);
    let ascii = "a".repeat(LIMIT_BYTES);
    let two_bytes_each = "é".repeat(LIMIT_BYTES / 2);

    talker.send(format!("{ascii}\n{ascii}\r\n{two_bytes_each}\r\n"));
    listener.expect_line(&format!("<127.0.0.2> {ascii}"));
    listener.expect_line(&format!("<127.0.0.2> {ascii}"));
    listener.expect_line(&format!("<127.0.0.2> {two_bytes_each}"));

    for byte in format!("{ascii}\r\n").bytes() {
        talker.send([byte]);
    }
    listener.expect_line(&format!("<127.0.0.2> {ascii}"));
}

#[test]
fn a_line_over_the_limit_is_refused_and_skipped_to_its_end() {
    let (_server, mut talker, mut listener) = room(&["--max-line", "16"]);
    for too_long in [
        "a".repeat(17),
        "é".repeat(9),
        "b".repeat(100_000),
        // The beginning of each of these lines, taken alone, would be a command or an HTTP
        // request.
        format!("/{}", "c".repeat(16)),
        format!("GET / HTTP/1.1{}", " ".repeat(16)),
    ] {
        talker.send(format!("before\n{too_long}\nafter\n"));
        let refusal = talker.next_line().expect("an answer");
        assert!(refusal.starts_with("!! "), "{refusal}");
        assert!(refusal.contains("16"), "the limit is not in {refusal:?}");
        listener.expect_line("<127.0.0.2> before");
        listener.expect_line("<127.0.0.2> after");
    }

    listener.say("hello");
    talker.expect_line("<127.0.0.3> hello");
}

#[test]
fn the_default_limit_is_4096() {
    let (_server, mut talker, mut listener) = room(&[]);
    let longest = "a".repeat(4096);
    talker.say(&longest);
    listener.expect_line(&format!("<127.0.0.2> {longest}"));

    talker.say(&format!("{longest}a"));
    let refusal = talker.next_line().expect("an answer");
    assert!(refusal.starts_with("!! "), "{refusal}");
}

#[test]
fn an_endless_line_takes_no_memory() {
    const LINE_BYTES: usize = 16 << 20;
    /// Code used for the first time counts, too.
    const ALLOWED_GROWTH_BYTES: usize = 2 << 20;
    let (server, mut talker, mut listener) = room(&[]);
    let before = server.peak_bytes();
    talker.send("a".repeat(LINE_BYTES));
    talker.send("\nafter\n");
    assert!(talker.next_line().expect("an answer").starts_with("!! "));
    listener.expect_line("<127.0.0.2> after");
    let after = server.peak_bytes();
    assert!(
        after < before + ALLOWED_GROWTH_BYTES,
        "grew from {before} to {after} bytes"
    );
}
