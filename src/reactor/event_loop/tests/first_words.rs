//! What is kept from the room: other protocols, and telnet's questions.

use super::harness::Loop;
use crate::protocol::close::CloseReason;
use crate::protocol::telnet::WONT_TIMING_MARK;

const BROWSERS: [&[u8]; 4] = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\nbody\n",
    b"\n \t\r\nPOST /x HTTP/1.1\nbody\n",
    b"\x16\x03\x01\x02\x00\x01\x00\n",
    b"\x16\x03\x01\x02\x00\x01",
];

#[test]
fn a_first_line_of_another_protocol_closes_the_connection_unheard() {
    for words in BROWSERS {
        let mut room = Loop::new();
        let (_, ann) = room.join();
        let (browser, socket) = room.join();
        socket.sends(words);
        if !words.ends_with(b"\n") {
            socket.ends();
        }
        room.readable(browser);
        let heard = ann.received();
        assert!(
            !heard.contains("HTTP") && !heard.contains("body"),
            "{heard}"
        );
        assert!(socket.saw_end() || !socket.is_open_here());
        let (_, reason) = room.host.left[0];
        let at_its_end = [CloseReason::PeerClosed, CloseReason::WrongProtocol];
        assert!(at_its_end.contains(&reason), "{reason}");
        assert!(words.ends_with(b"\n") == (reason == CloseReason::WrongProtocol));
    }
}

#[test]
fn who_has_spoken_may_quote_another_protocol() {
    let mut room = Loop::new();
    let (_, ann) = room.join();
    let (bob, socket) = room.join();
    socket.sends("hello\nGET / HTTP/1.1\n");
    room.readable(bob);
    assert_eq!(
        ann.received(),
        "<10.0.0.1> hello\n<10.0.0.1> GET / HTTP/1.1\n"
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
fn telnet_is_answered_and_what_was_typed_is_said() {
    let mut room = Loop::new();
    let (_, ann) = room.join();
    let (bob, socket) = room.join();
    socket.sends(b"\xff\xf4\xff\xfd\x06hi\n\xff\xf4\xff\xfd\x06\n");
    room.readable(bob);
    assert_eq!(
        ann.received(),
        "<10.0.0.1> hi\n",
        "an empty line says nothing"
    );
    let answers = std::mem::take(&mut socket.output.borrow_mut().received);
    assert_eq!(answers, [WONT_TIMING_MARK, WONT_TIMING_MARK].concat());
}
