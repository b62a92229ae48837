//! What the server refuses, and whom it tells.

use crate::common::eventually;
use crate::common::peer::{Peer, WELCOME};
use crate::common::server::Server;

#[test]
fn http_is_closed_and_not_heard() {
    let server = Server::start();
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    let over_long = format!(
        "GET /{} HTTP/1.1\r\nsaid by a web page\n",
        "a".repeat(10_000)
    );
    for (number, request) in [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "POST /x HTTP/1.0\r\nContent-Length: 20\r\n\r\nsaid by a web page\r\n",
        "OPTIONS * HTTP/1.1\nsaid by a web page\n",
        &over_long,
        // The beginning of a TLS handshake: browsers ask by https, too.
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0said.by.a.web.page\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut browser = server.join("127.0.0.4");
        browser.send(request);
        browser.expect_closed();

        alice.say(&format!("talk {number}"));
        bob.expect_line(&format!("<127.0.0.2> talk {number}"));
    }
}

#[test]
fn http_in_pieces_is_closed_too() {
    let server = Server::start();
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    let mut browser = server.join("127.0.0.4");
    for byte in "GET / HTTP/1.1\r".bytes() {
        browser.send([byte]);
    }
    browser.send("\nsaid by a web page\n");
    browser.expect_closed();

    alice.say("undisturbed");
    bob.expect_line("<127.0.0.2> undisturbed");
}

/// Other protocols that a web page can speak, or that connect by mistake; the unit tests have
/// more.
#[test]
fn other_protocols_are_closed_unannounced() {
    let server = Server::sociable(&["--history=0"]);
    let mut alice = server.join("127.0.0.2");
    alice.expect_line("-- 127.0.0.2 joined (1 here)");
    for words in [
        // STUN over TCP (RFC 4571), with a user name chosen by the page.
        &b"\0\x20\0\x01\0\x0c\x21\x12\xa4\x42\0\0\0\0\0\0\0\0\0\0\0\0\0\x06\0\x08\nsaid\n"[..],
        b"OPTIONS * RTSP/1.0\r\nsaid\r\n",
        b"INVITE sip:said@192.168.1.5 SIP/2.0\r\nsaid\r\n",
        b" \t\xef\xbb\xbfGET / HTTP/1.1\r\nsaid\r\n",
        b"\0GET / HTTP/1.1\r\nsaid\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nsaid\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\nsaid\r\n",
        b"PROXY TCP4 192.168.1.9 192.168.1.5 56324 8081\r\nsaid\r\n",
        b"\r\n\r\n\0\r\nQUIT\nsaid\n",
        b"EHLO mail.example.com\r\nsaid\r\n",
        b"\x05\x01\0",
        b"\x04\x01\x1f\x91\x7f\0\0\x01said\0",
        b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10",
        // A TLS handshake without any line end.
        b"\x16\x03\x01\x02\0\x01\0",
    ] {
        let mut stranger = server.join("127.0.0.4");
        stranger.send(words);
        // Notices about Alice or earlier clients may come first.
        let last = std::iter::from_fn(|| stranger.read_line().ok().flatten()).last();
        assert!(last.is_none_or(|line| line.starts_with("-- ")));
    }
    let mut bob = server.join("127.0.0.3");
    alice.expect_line("-- 127.0.0.3 joined (2 here)");
    bob.expect_line("-- 127.0.0.3 joined (2 here)");
    bob.say("undisturbed");
    alice.expect_line("<127.0.0.3> undisturbed");
}

#[test]
fn a_command_behind_stray_bytes_is_refused_and_not_said() {
    let server = Server::start();
    let mut alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    alice.say("hello");
    bob.expect_line("<127.0.0.2> hello");
    for before in [
        &b"\xef\xbb\xbf"[..],
        b" ",
        b"\t",
        b"\xff",
        b"\0",
        b"\x1b[D",
        "　".as_bytes(),
    ] {
        alice.send([before, b"/msg bob PIN\r\n"].concat());
        let answer = alice.next_line().expect("an answer");
        assert!(
            answer.starts_with("!! not sent, it looks like a command") && answer.contains("//text"),
            "{answer}"
        );
    }
    alice.say("／msg bob PIN");
    assert!(alice.next_line().expect("an answer").starts_with("!! "));
    alice.say("  /etc/passwd");
    bob.expect_line("<127.0.0.2>   /etc/passwd");
}

#[test]
fn only_a_first_line_can_be_http() {
    let server = Server::start();
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    alice.send("look what I found:\nGET / HTTP/1.1\r\n");
    bob.expect_line("<127.0.0.2> look what I found:");
    bob.expect_line("<127.0.0.2> GET / HTTP/1.1");
}

#[test]
fn talk_that_begins_like_http_is_talk() {
    let server = Server::start();
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    alice.say("GET me a coffee");
    bob.expect_line("<127.0.0.2> GET me a coffee");
}

#[test]
fn an_unknown_command_is_answered_to_its_sender_alone() {
    let server = Server::start();
    let mut alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    for command in ["/nonsense", "/nonsense with words", "/", "/ "] {
        alice.say(command);
        let answer = alice.next_line().expect("an answer");
        assert!(
            answer.starts_with("!! ") && answer.contains("/help"),
            "{command:?} is answered with {answer:?}"
        );
    }
    alice.say("sorry");
    bob.expect_line("<127.0.0.2> sorry");
}

#[test]
fn two_slashes_say_one() {
    let server = Server::start();
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");
    alice.send("//etc/passwd\n///\n");
    bob.expect_line("<127.0.0.2> /etc/passwd");
    bob.expect_line("<127.0.0.2> //");
}

#[test]
fn a_full_room_says_so_and_closes_until_somebody_leaves() {
    let server = Server::with(&["--max-clients", "2"]);
    let mut alice = server.join("127.0.0.2");
    let bob = server.join("127.0.0.3");

    for _ in 0..3 {
        let mut late = Peer::connect_from("127.0.0.4", server.address);
        late.expect_line("!! the room is full (2 clients); try again later");
        late.expect_end();
    }

    bob.leave();
    let carol = server.join("127.0.0.4");
    carol.say("finally");
    alice.expect_line("<127.0.0.4> finally");
}

#[test]
fn a_refused_guest_that_stays_is_disconnected() {
    let server = Server::with(&["--max-clients", "2"]);
    let _alice = server.join("127.0.0.2");
    let descriptors_before = server.descriptors();

    let mut browser = server.join("127.0.0.3");
    browser.send("GET / HTTP/1.1\r\n\r\n");
    browser.expect_closed();
    let _bob = server.join("127.0.0.4");
    let mut late = Peer::connect_from("127.0.0.5", server.address);
    late.expect_line("!! the room is full (2 clients); try again later");
    late.expect_end();

    eventually(
        "the server to keep only the connections of Alice and Bob",
        || (server.descriptors() == descriptors_before + 1).then_some(()),
    );
}

#[test]
fn a_refused_guest_hears_nothing_and_says_nothing() {
    let server = Server::with(&["--max-clients", "1"]);
    let mut alice = server.join("127.0.0.2");
    let mut late = Peer::connect_from("127.0.0.3", server.address);
    late.send("let me in\n");
    alice.say("is anybody there?");
    late.expect_line("!! the room is full (1 clients); try again later");
    late.expect_closed();

    alice.close_write();
    alice.expect_end();
    let mut bob = Peer::connect_from("127.0.0.4", server.address);
    bob.expect_line(WELCOME);
}
