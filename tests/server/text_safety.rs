//! What clients say is shown as text: it can neither drive a terminal nor pass for something
//! else.

use crate::common::server::Server;

/// What a client sends as one line, and what the others are shown.
const LINES: &[(&[u8], &str)] = &[
    // Text is left alone.
    (
        "plain, ümläut, 漢字, 🦀".as_bytes(),
        "plain, ümläut, 漢字, 🦀",
    ),
    (b"a\ttab", "a\ttab"),
    (b"  spaces  ", "  spaces  "),
    // C0, DEL: their pictures.
    (b"\x1b[2J\x1b[1;31mred", "␛[2J␛[1;31mred"),
    (b"\x00\x01\x07\x08\x1f", "␀␁␇␈␟"),
    (b"\x7f", "␡"),
    // A CR within a line could overwrite the line to forge another.
    (b"x\r<127.0.0.9> forged", "x␍<127.0.0.9> forged"),
    (b"two\r\r", "two␍"),
    // C1 as characters, line separators, marks that change direction.
    (
        "\u{80}\u{9b}31m\u{9f}".as_bytes(),
        "\u{fffd}\u{fffd}31m\u{fffd}",
    ),
    ("\u{2028}\u{2029}".as_bytes(), "\u{fffd}\u{fffd}"),
    (
        "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}".as_bytes(),
        "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
    ),
    (
        "\u{2066}\u{2067}\u{2068}\u{2069}".as_bytes(),
        "\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
    ),
    // Right-to-left text needs none of them.
    ("שלום".as_bytes(), "\u{200e}שלום"),
    // Not UTF-8: a byte alone, C1 as a byte, a surrogate, an overlong form, a
    // character cut off.
    (b"\xff", "\u{fffd}"),
    (b"a\x9bb", "a\u{fffd}b"),
    (b"\xed\xa0\x80", "\u{fffd}\u{fffd}\u{fffd}"),
    (b"\xc0\xaf", "\u{fffd}\u{fffd}"),
    (b"\xf0\x9f\xa6", "\u{fffd}"),
    // Other kinds of lines cannot be forged.
    (b"-- the room is closing", "-- the room is closing"),
    (b"!! not done", "!! not done"),
    (b"Welcome to this chatroom!", "Welcome to this chatroom!"),
];

#[test]
fn unsafe_text_is_made_harmless() {
    let mut server = Server::start();
    server.skip_banner();
    let talker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    server.stdout().expect_line("127.0.0.2 connected");
    server.stdout().expect_line("127.0.0.3 connected");

    for (sent, shown) in LINES {
        talker.send([sent, &b"\n"[..]].concat());
        let line = format!("<127.0.0.2> {shown}");
        listener.expect_line(&line);
        server.stdout().expect_line(&line);
    }
}

/// What is harmless only in small amounts is cut visibly, wherever it is shown, and however it
/// was said.
#[test]
fn wide_blanks_and_high_stacks_are_cut_wherever_they_are_shown() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let transcript = folder.path().join("transcript");
    let transcript = transcript.to_str().expect("a path of UTF-8");
    let mut server = Server::sociable(&["--no-presence", "--transcript", transcript]);
    server.skip_banner();
    let mallory = server.join("127.0.0.2");
    let mut alice = server.join("127.0.0.3");
    for address in ["127.0.0.2", "127.0.0.3"] {
        server.stdout().expect_line(&format!("{address} connected"));
    }

    let spaces = " ".repeat(32);
    let high = format!("Z{}", "\u{301}".repeat(8));
    for (sent, shown) in [
        (
            format!("ok{}<alice> my bank is evil.example", " ".repeat(68)),
            format!("ok{spaces}…<alice> my bank is evil.example"),
        ),
        (format!("ok{}x", "\t".repeat(10)), "ok\t\t\t\t…x".to_owned()),
        (
            format!("ok{}-- operator: go", "\u{3164}".repeat(30)),
            format!("ok{}…-- operator: go", "\u{3164}".repeat(16)),
        ),
        (format!("Z{}o", "\u{301}".repeat(600)), format!("{high}…o")),
        // Exactly at the limits, also at the beginning.
        (format!("{spaces}{high}"), format!("{spaces}{high}")),
    ] {
        mallory.say(&sent);
        mallory.say(&format!("/me {sent}"));
        mallory.say(&format!("/msg 127.0.0.3 {sent}"));
        alice.expect_line(&format!("<127.0.0.2> {shown}"));
        alice.expect_line(&format!("* 127.0.0.2 {}", shown.trim_start()));
        alice.expect_line(&format!("[127.0.0.2] {}", shown.trim_start()));
        server.stdout().expect_line(&format!("<127.0.0.2> {shown}"));
        server
            .stdout()
            .expect_line(&format!("* 127.0.0.2 {}", shown.trim_start()));
    }

    // The history, and the transcript.
    let mut late = server.join("127.0.0.4");
    late.expect_line("-- last 10 lines, latest just now:");
    let line = format!("<127.0.0.2> ok{spaces}…<alice> my bank is evil.example");
    late.expect_line(&line);
    let written = std::fs::read_to_string(transcript).expect("a transcript");
    assert!(written.contains(&line), "{written}");
    assert!(!written.contains(&" ".repeat(34)), "{written}");
    assert!(!written.contains(&"\u{301}".repeat(9)), "{written}");
}

#[test]
fn an_unfinished_last_line_is_made_harmless() {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    talker.send(b"half \x1b[2J a \xf0\x9f\xa6");
    talker.leave();
    listener.expect_line("<127.0.0.2> half ␛[2J a \u{fffd}");
}
