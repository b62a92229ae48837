//! What is kept from the room: other protocols, and telnet's own.

use std::time::Duration;

use proptest::prelude::*;

use super::harness::Loop;
use crate::protocol::close::CloseReason;
use crate::reactor::clients::FIRST_WORDS_TIMEOUT;

/// Begin as no chat does, and go on with what a web page might say. `true` if that is known
/// without a line end.
const FOREIGN: [(&[u8], bool); 14] = [
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nsaid\n", false),
    (b"\n \t\r\nPOST /x HTTP/1.1\nsaid\n", false),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nsaid\n", false),
    (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nsaid\n", false),
    (b"INVITE sip:said@x SIP/2.0\r\nsaid\n", false),
    (b"EHLO mail.example.com\r\nsaid\n", false),
    (b"\xef\xbb\xbf\0GET / HTTP/1.1\r\nsaid\n", true),
    (b"\x16\x03\x01\x02\x00\x01\x00\nsaid\n", true),
    (b"\x80\x2e\x01\x00\x02\x00\x15said\n", true),
    // STUN in the framing of RFC 4571, with a user name.
    (
        b"\x00\x1c\x00\x01\x00\x08\x21\x12\xa4\x42\n\x06\x00\x05\nsaid\n",
        true,
    ),
    (b"\r\n\r\n\x00\r\nQUIT\nsaid\n", true),
    (
        b"PROXY TCP4 192.168.1.9 192.168.1.5 56324 8081\r\nsaid\n",
        true,
    ),
    (b"SSH-2.0-said\r\nsaid\n", true),
    (b"\x05\x01\x00said\n", true),
];

#[test]
fn a_first_line_of_another_protocol_closes_the_connection_unheard() {
    for (words, _) in FOREIGN {
        let mut room = Loop::new();
        let (_, ann) = room.join();
        let (browser, socket) = room.join();
        socket.sends(words);
        room.readable(browser);
        assert_eq!(ann.received(), "", "{}", words.escape_ascii());
        assert!(socket.saw_end() || !socket.is_open_here());
        assert_eq!(room.host.left[0].1, CloseReason::WrongProtocol);
    }
}

#[test]
fn another_protocol_is_recognised_wherever_it_is_torn() {
    for (words, _) in FOREIGN {
        for at in 1..words.len() {
            let mut room = Loop::new();
            let (_, ann) = room.join();
            let (browser, socket) = room.join();
            for part in [&words[..at], &words[at..]] {
                socket.sends(part);
                room.readable(browser);
            }
            assert_eq!(ann.received(), "", "{} cut at {at}", words.escape_ascii());
            assert_eq!(room.host.left[0].1, CloseReason::WrongProtocol);
        }
    }
}

#[test]
fn what_nobody_types_is_closed_without_a_line_end() {
    for (words, _) in FOREIGN.iter().filter(|(_, is_early)| *is_early) {
        let mut room = Loop::new();
        let (browser, socket) = room.join();
        let until_said = words.windows(4).position(|part| part == b"said");
        socket.sends(&words[..until_said.expect("it says so")]);
        room.readable(browser);
        assert_eq!(room.host.left[0].1, CloseReason::WrongProtocol);
    }
}

#[test]
fn a_torn_first_line_of_another_protocol_has_ten_seconds() {
    for torn in [
        &b"GET / HTT"[..],
        b"\r\n POST ",
        b"DESCRIBE rtsp://x/ RTSP/1.",
        b"SSH-2",
        b"PROXY T",
        b"EHLO mail.x",
        b"\x80\x2e",
    ] {
        let mut room = Loop::new();
        let (_, ann) = room.join();
        let (browser, socket) = room.join();
        for byte in torn {
            socket.sends([*byte]);
            room.readable(browser);
        }
        room.wait(FIRST_WORDS_TIMEOUT - Duration::from_millis(1));
        assert_eq!(room.host.left, [], "{}", torn.escape_ascii());
        room.wait(Duration::from_millis(1));
        room.settle();
        assert_eq!(room.host.left.len(), 1, "{}", torn.escape_ascii());
        assert_eq!(room.host.left[0].1, CloseReason::WrongProtocol);
        assert_eq!(ann.received(), "");
    }
}

#[test]
fn who_types_slowly_is_not_closed() {
    for typed in ["GET me a coffee", "hello", "SSH-keys", "G"] {
        let mut room = Loop::new();
        let (_, ann) = room.join();
        let (bob, socket) = room.join();
        for byte in typed.bytes() {
            socket.sends([byte]);
            room.readable(bob);
            room.wait(FIRST_WORDS_TIMEOUT * 9 / 10);
        }
        room.wait(FIRST_WORDS_TIMEOUT * 3);
        socket.sends("\n");
        room.readable(bob);
        assert_eq!(ann.received(), format!("<10.0.0.1> {typed}\n"));
    }
}

#[test]
fn a_first_line_that_became_chat_is_left_in_peace() {
    let mut room = Loop::new();
    let (_, ann) = room.join();
    let (bob, socket) = room.join();
    socket.sends("GET /");
    room.readable(bob);
    socket.sends("etc/passwd, please\nGET /");
    room.readable(bob);
    room.wait(FIRST_WORDS_TIMEOUT * 3);
    socket.sends(" is what I meant\n");
    room.readable(bob);
    assert_eq!(
        ann.received(),
        "<10.0.0.1> GET /etc/passwd, please\n<10.0.0.1> GET / is what I meant\n"
    );
}

#[test]
fn what_ends_torn_is_not_said() {
    for (words, is_said) in [
        (&b"GET /x HTTP/1."[..], false),
        (b"SSH-2.0", false),
        (b"\x16", false),
        (b"GET me a coffee", true),
        (b"hello\nGET /x HTTP/1.", true),
    ] {
        let mut room = Loop::new();
        let (_, ann) = room.join();
        let (bob, socket) = room.join();
        socket.sends(words);
        socket.ends();
        room.readable(bob);
        assert_eq!(
            !ann.received().is_empty(),
            is_said,
            "{}",
            words.escape_ascii()
        );
        assert_eq!(room.host.left.len(), 1);
    }
}

#[test]
fn who_has_spoken_may_quote_another_protocol() {
    let mut room = Loop::new();
    let (_, ann) = room.join();
    let (bob, socket) = room.join();
    socket.sends("hello\nGET / HTTP/1.1\n\u{1b}[2J\n\0\n");
    room.readable(bob);
    assert_eq!(
        ann.received(),
        "<10.0.0.1> hello\n<10.0.0.1> GET / HTTP/1.1\n<10.0.0.1> ␛[2J\n<10.0.0.1> ␀\n"
    );
    assert_eq!(room.host.left, []);
}

#[test]
fn a_request_line_that_is_too_long_closes_the_connection_as_well() {
    let mut room = Loop::new();
    let (_, ann) = room.join();
    let (browser, socket) = room.join();
    socket.sends(format!("GET /{}", "a".repeat(10_000)));
    room.readable(browser);
    assert_eq!(ann.received(), "");
    assert_eq!(room.host.left[0].1, CloseReason::WrongProtocol);
}

#[test]
fn telnet_is_answered_at_once_and_what_was_typed_is_said() {
    let mut room = Loop::new();
    let (_, ann) = room.join();
    let (bob, socket) = room.join();
    let answers_to = |room: &mut Loop, words: &[u8]| {
        socket.sends(words);
        room.readable(bob);
        std::mem::take(&mut socket.output.borrow_mut().received)
    };
    // DO SGA, DO ECHO.
    let answers = answers_to(&mut room, b"\xff\xfd\x03\xff\xfd\x01helo");
    assert_eq!(answers, b"\xff\xfc\x03\xff\xfc\x01");
    // Backspace, and Enter in character mode.
    assert_eq!(answers_to(&mut room, b"\x7flo\r"), b"");
    assert_eq!(answers_to(&mut room, b"\0wrong\x15"), b"");
    assert_eq!(ann.received(), "<10.0.0.1> hello\n");
    // Ctrl-C: IP, DO TIMING-MARK.
    let answers = answers_to(&mut room, b"\xff\xf4\xff\xfd\x06\r\n\r\0");
    assert_eq!(answers, b"\xff\xfc\x06");
    assert_eq!(ann.received(), "", "empty lines say nothing");
}

#[test]
fn without_telnet_backspace_is_text() {
    let mut room = Loop::new();
    let (_, ann) = room.join();
    let (bob, socket) = room.join();
    socket.sends("a\u{8}b\u{7f}\nthe end of a line learnt too late\u{8}\r\0");
    room.readable(bob);
    assert_eq!(
        ann.received(),
        "<10.0.0.1> a␈b␡\n<10.0.0.1> the end of a line learnt too lat\n"
    );
}

const COMMANDS: [&str; 6] = [
    "/msg ann PIN",
    "/nick x",
    "/me PIN",
    "/who",
    "/help",
    "/quit",
];

/// Whatever a telnet, a file or a keyboard puts before it.
#[test]
fn what_came_before_the_first_sign_of_telnet_is_as_it_was_sent_however_much_is_put_aside() {
    // More than a newcomer says in one go, so the rest is heard later.
    let before = [&b"line\n".repeat(20)[..], b"H\x7flo\n"].concat();
    for pieces in [1, 2] {
        let mut room = Loop::new();
        let (_, ann) = room.join();
        let (bob, socket) = room.join();
        if pieces == 2 {
            socket.sends(&before);
            room.readable(bob);
            socket.sends(b"\xff\xfb\x01");
        } else {
            socket.sends([&before[..], b"\xff\xfb\x01"].concat());
        }
        room.readable(bob);
        assert!(ann.received().ends_with("> H␡lo\n"), "in {pieces} pieces");
    }
}

#[test]
fn a_command_behind_something_invisible_is_refused() {
    for before in [
        &b" "[..],
        b"\xef\xbb\xbf",
        b"\xff",
        b"\xff\xfd\x01 \xff\xf1",
        b"\xff\xfa\x18\0x\xff\xf0\t",
        b"hi\n\x1b[200~",
        b"hi\n\0\x01",
        b"hi\n\xff",
    ] {
        for command in COMMANDS {
            let mut room = Loop::new();
            let (_, ann) = room.join();
            let (bob, socket) = room.join();
            socket.sends([before, command.as_bytes(), b"\r\n"].concat());
            room.readable(bob);
            let heard = ann.received();
            assert!(["", "<10.0.0.1> hi\n"].contains(&&*heard), "{heard}");
            let received = std::mem::take(&mut socket.output.borrow_mut().received);
            let answer = String::from_utf8_lossy(&received);
            assert!(
                answer.contains("!! not sent, it looks like a command"),
                "{answer}"
            );
            assert_eq!(room.host.left, [], "{command}");
        }
    }
}

#[test]
fn a_command_behind_telnets_own_is_one() {
    for before in [
        &b"\xff\xfd\x01"[..],
        b"\xff\xf4\xff\xfd\x06",
        b"x\xff\xf7",
        b"\xff\xf4\xff",
    ] {
        let mut room = Loop::new();
        let (_, ann) = room.join();
        let (bob, socket) = room.join();
        socket.sends([before, b"/msg 10.0.0.0 PIN\r\n/quit\r\0"].concat());
        room.readable(bob);
        assert_eq!(
            ann.received(),
            "[10.0.0.1] PIN\n",
            "{}",
            before.escape_ascii()
        );
        assert_eq!(room.host.left[0].1, CloseReason::Quit);
    }
}

/// What shows nothing, or is no character; and what telnet adds to it.
fn invisible() -> impl Strategy<Value = Vec<u8>> {
    let text = "[\u{0}-\u{9}\u{b}-\u{20}\u{7f}-\u{a0}\u{ad}\u{300}-\u{36f}\u{115f}\u{180b}-\u{180e}\
                \u{2000}-\u{200f}\u{2028}-\u{202f}\u{205f}-\u{206f}\u{2800}\u{3000}\u{3164}\
                \u{fe00}-\u{fe0f}\u{feff}\u{fff9}-\u{fffb}\u{fffd}]{1,3}";
    let others: &[&[u8]] = &[
        b"\xff\xfd\x03",
        b"\xff\xf1",
        b"\xff\xfa\x1f\0\x1f\0\x18\xff\xf0",
        b"\xff\xff",
        b"\xff",
        b"\xc3",
        b"\xef\xbb",
        b"\x1b[C",
        b"\x1b[200~",
        b"\x1bOA",
        b"\r\0",
        b"\n",
    ];
    let part = prop_oneof![
        text.prop_map(String::into_bytes),
        prop::sample::select(others).prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_command_is_said_whatever_invisible_stands_before_it(
        before in invisible(),
        command in prop::sample::select(&COMMANDS[..]),
        piece_bytes in 1_usize..20,
    ) {
        let mut room = Loop::new();
        let (_, ann) = room.join();
        let (bob, socket) = room.join();
        let words = [b"hi\n", &before[..], command.as_bytes(), b"\r\n"].concat();
        for piece in words.chunks(piece_bytes) {
            socket.sends(piece);
            room.readable(bob);
        }
        for line in ann.received().lines() {
            let said = line.strip_prefix("<10.0.0.1> ").unwrap_or_default();
            prop_assert!(!said.contains('/'), "{}", line);
        }
    }
}
