//! Visitors, and members whose bytes are in WebSocket's frames.

use std::net::Ipv4Addr;
use std::time::Duration;

use mio::Token;
use proptest::prelude::*;

use super::harness::{ANSWER, JOIN, JOINED, Loop, POLICY, Socket, WELCOME};
use crate::protocol::close::CloseReason;
use crate::reactor::clients::{LINGER_TIMEOUT, VISIT_TIMEOUT};
use crate::reactor::event_loop::Status;
use crate::reactor::flow::{Bounds, GRACE};
use crate::reactor::service::Policy;

/// A client's frame. The mask changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// The frames in `bytes`, by their first byte. The last one must not be torn.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (len, rest) = match second {
            126 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), &rest[2..]),
            &len => (usize::from(len), rest),
        };
        frames.push((*first, rest[..len].to_vec()));
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "half a header");
    frames
}

/// What the frames in `bytes` carry.
fn data(bytes: &[u8]) -> String {
    let frames = frames(bytes).into_iter();
    let data = frames.filter(|(first, _)| *first == 0x82);
    String::from_utf8(data.flat_map(|(_, payload)| payload).collect()).unwrap()
}

#[test]
fn a_visitor_is_answered_and_let_go() {
    let mut room = Loop::new();
    let (key, socket) = room.visit();
    assert_eq!(socket.received(), "");
    socket.sends("a requ");
    room.readable(key);
    assert_eq!(socket.received(), "");
    socket.sends("est\nand more of it");
    room.readable(key);
    assert_eq!(socket.received_bytes(), ANSWER);
    assert!(
        socket.saw_end() && socket.is_open_here(),
        "it may not have read that yet"
    );
    assert_eq!(socket.unread_bytes(), 0, "else closing would be a reset");
    socket.ends();
    room.readable(key);
    assert!(!socket.is_open_here());

    let (key, socket) = room.visit();
    socket.sends("another\n");
    socket.ends();
    room.readable(key);
    assert_eq!(socket.received_bytes(), ANSWER);
    assert!(!socket.is_open_here());
    let (key, socket) = room.visit();
    socket.sends("half a requ");
    socket.ends();
    room.readable(key);
    assert!(!socket.is_open_here());
}

#[test]
fn a_visitor_has_ten_seconds_in_all() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (slow, slow_socket) = room.visit();
    let (_, silent_socket) = room.visit();
    for _ in 0..9 {
        slow_socket.sends("x");
        room.readable(slow);
        room.wait(Duration::from_secs(1));
    }
    ann_socket.sends("a line\n");
    room.readable(ann);
    assert_eq!(slow_socket.received(), "", "it is not in the room");
    room.wait(VISIT_TIMEOUT - Duration::from_secs(9));
    assert_eq!(slow_socket.received_bytes(), ANSWER);
    assert_eq!(silent_socket.received_bytes(), ANSWER);
    room.wait(LINGER_TIMEOUT);
    assert!(!slow_socket.is_open_here() && !silent_socket.is_open_here());
    // Nor is there more time for the answer.
    let (key, socket) = room.visit();
    socket.takes(3);
    socket.sends("a request\n");
    room.readable(key);
    room.wait(VISIT_TIMEOUT);
    assert!(!socket.is_open_here());
}

#[test]
fn of_too_many_visitors_the_oldest_goes() {
    let mut room = Loop::with_policy(Policy {
        max_visitors: 3,
        ..POLICY
    });
    let (key, joined) = room.visit();
    joined.sends(JOIN);
    room.readable(key);
    let visitors: Vec<Socket> = (0..5).map(|_| room.visit().1).collect();
    let are_open: Vec<bool> = visitors.iter().map(Socket::is_open_here).collect();
    assert_eq!(are_open, [false, false, true, true, true]);
    assert!(joined.is_open_here(), "it is no visitor any more");
}

#[test]
fn too_many_visitors_from_one_address_make_way_for_each_other() {
    let mut room = Loop::with_policy(Policy {
        max_visitors: 8,
        ..POLICY
    });
    let (slow, slow_socket) = room.visit();
    let crowds = [[10, 0, 0, 1], [10, 0, 0, 2]].map(Ipv4Addr::from);
    let crowd: Vec<Socket> = (0..40)
        .map(|nth| room.visit_from(crowds[nth % 2]).1)
        .collect();
    assert_eq!(crowd.iter().filter(|it| it.is_open_here()).count(), 7);
    assert!(crowd[39].is_open_here());
    slow_socket.sends("a request\n");
    room.readable(slow);
    assert_eq!(slow_socket.received_bytes(), ANSWER);
}

#[test]
fn refused_frames_are_kept_as_few_as_other_refused_clients() {
    let mut room = Loop::with_room_for(1);
    let _ann = room.join();
    let most = POLICY.max_refused;
    let refused: Vec<Socket> = (0..most + 10)
        .map(|_| {
            let (key, socket) = room.visit();
            socket.sends(JOIN);
            room.readable(key);
            socket
        })
        .collect();
    let received = refused.iter().map(Socket::received_bytes);
    assert!(
        received
            .map(|it| data(&it[JOINED.len()..]))
            .all(|it| it.starts_with("!! "))
    );
    let kept = refused.iter().filter(|it| it.is_open_here());
    assert_eq!(kept.count(), most);
}

#[test]
fn a_shutdown_does_not_wait_for_visitors() {
    let mut room = Loop::new();
    let (_, socket) = room.visit();
    room.event_loop.mark_source(Token(usize::MAX - 1));
    room.iterate();
    assert!(!socket.is_open_here());
    assert_eq!(room.status, Status::Ended);
}

#[test]
fn frames_carry_what_a_plain_connection_would() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (bob, bob_socket) = room.join_with_frames();
    let writes_before = bob_socket.writes();
    ann_socket.sends("hello\n");
    room.readable(ann);
    assert_eq!(data(&bob_socket.received_bytes()), "<10.0.0.0> hello\n");
    assert_eq!(bob_socket.writes() - writes_before, 1);
    let line = [
        frame(0x02, b"he"),
        frame(0x89, b"ping"),
        frame(0x80, b"llo\n"),
    ]
    .concat();
    for byte in line {
        bob_socket.sends([byte]);
        room.readable(bob);
    }
    assert_eq!(ann_socket.received(), "<127.0.0.1> hello\n");
    assert_eq!(
        frames(&bob_socket.received_bytes()),
        [(0x8a, b"ping".to_vec())]
    );
}

#[test]
fn what_came_with_the_request_is_heard() {
    let mut room = Loop::new();
    let (_, ann_socket) = room.join();
    let (key, socket) = room.visit();
    socket.sends(
        [
            JOIN,
            &frame(0x82, b"early\nun"),
            &frame(0x82, b"finished\n"),
        ]
        .concat(),
    );
    room.readable(key);
    assert_eq!(
        ann_socket.received(),
        "<127.0.0.1> early\n<127.0.0.1> unfinished\n"
    );
    let received = socket.received_bytes();
    assert_eq!(data(&received[JOINED.len()..]), WELCOME);
}

#[test]
fn a_close_frame_is_the_end_of_the_input_and_is_answered() {
    for (sent, reason, answer) in [
        (
            frame(0x88, b"\x03\xe9"),
            CloseReason::PeerClosed,
            vec![0x03, 0xe9],
        ),
        (frame(0x88, b""), CloseReason::PeerClosed, vec![]),
        (
            vec![0x82, 1, b'x'],
            CloseReason::WrongProtocol,
            vec![0x03, 0xea],
        ),
        (
            frame(0x81, b"\xff"),
            CloseReason::WrongProtocol,
            vec![0x03, 0xef],
        ),
    ] {
        let mut room = Loop::new();
        let (key, socket) = room.join_with_frames();
        socket.sends([sent, frame(0x82, b"not heard\n")].concat());
        room.readable(key);
        assert_eq!(room.host.left[0].1, reason);
        assert_eq!(frames(&socket.received_bytes()), [(0x88, answer)]);
        assert!(socket.saw_end() && socket.is_open_here());
        socket.ends();
        room.readable(key);
        assert!(!socket.is_open_here());
    }
}

#[test]
fn a_drop_ends_the_frame_that_was_begun() {
    let bounds = Bounds {
        max_backlog_bytes: 64 * 1024,
        ..Bounds::DEFAULT
    };
    for taken_bytes in [0, 1, 3, 5, 1000, 20_000] {
        let mut room = Loop::with_policy(Policy {
            flow: bounds,
            ..POLICY
        });
        let (ann, ann_socket) = room.join();
        let (_, plain_socket) = room.join();
        let (key, socket) = room.join_with_frames();
        socket.takes(taken_bytes);
        let text = format!("{}\n", "x".repeat(2000));
        for _ in 0..100 {
            ann_socket.sends(text.repeat(3));
            room.readable(ann);
        }
        room.wait(2 * GRACE);
        assert_eq!(room.host.left.last().unwrap().1, CloseReason::Stuck);
        socket.takes(usize::MAX);
        room.writable(key);
        let received = socket.received_bytes();
        let (last, others) = (frames(&received).pop().unwrap(), data(&received));
        assert_eq!(last, (0x88, vec![0x03, 0xf0]));
        let (said, last_words) = others.split_once("-- ").unwrap();
        assert!(last_words.starts_with("goodbye: you stopped reading"));
        assert!(said.is_empty() || said.ends_with('\n'));
        assert!(plain_socket.received().starts_with(said));
    }
}

/// It is in the room until the batch has been sent that was being gathered.
#[test]
fn what_is_said_after_a_loss_within_a_frame_harms_nobody() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (_, plain_socket) = room.join();
    let (key, socket) = room.join_with_frames();
    socket.takes(1000);
    let line = format!("{}\n", "x".repeat(3000));
    ann_socket.sends(&line);
    room.readable(ann);
    assert_eq!(socket.received_bytes().len(), 1000);
    socket.resets();
    ann_socket.sends("and more\n");
    room.event_loop.mark_client(key, true, false);
    room.readable(ann);
    assert!(!socket.is_open_here());
    assert!(plain_socket.received().ends_with("> and more\n"));
}

#[test]
fn a_frame_that_was_begun_is_lost_with_the_connection() {
    let mut room = Loop::new();
    let (ann, ann_socket) = room.join();
    let (key, socket) = room.join_with_frames();
    socket.takes(9);
    ann_socket.sends(format!("{}\n", "x".repeat(1000)));
    room.readable(ann);
    socket.refuses_writes();
    // When that is found out, what it has said is still heard and answered.
    socket.sends([frame(0x82, b"two\n"), frame(0x82, b"/who\n")].concat());
    room.writable(key);
    assert_eq!(ann_socket.received(), "<127.0.0.1> two\n");
    assert!(!socket.is_open_here());
}

#[test]
fn a_large_batch_goes_to_many_by_reference_wherever_it_stops() {
    let mut room = Loop::with_policy(Policy {
        by_reference_bytes: Some(1000),
        ..POLICY
    });
    let (ann, ann_socket) = room.join();
    let framed: Vec<(usize, Socket)> = (0..20).map(|_| room.join_with_frames()).collect();
    for (nth, (_, socket)) in framed.iter().enumerate() {
        socket.keep_references();
        // In a header, behind it, in what it is for, and behind all.
        socket.takes([2, 4, 1000, usize::MAX][nth % 4]);
    }
    let line = format!("{}\n", "x".repeat(999));
    ann_socket.sends(line.repeat(30));
    room.readable(ann);
    let said = format!("<10.0.0.0> {line}").repeat(30);
    for (key, socket) in framed {
        assert!(socket.references() > 0);
        socket.assert_references_hold();
        socket.takes_more(usize::MAX);
        room.writable(key);
        assert!(data(&socket.received_bytes()) == said);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Somebody else says this many lines of this length.
    Say { lines: usize, bytes: usize },
    /// The one with frames says a line.
    Speak,
    /// It sends a ping.
    Ping,
    /// It takes this many bytes more.
    Take(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1_usize..30, 1_usize..2000).prop_map(|(lines, bytes)| Step::Say { lines, bytes }),
        Just(Step::Speak),
        Just(Step::Ping),
        prop_oneof![0_usize..10, 0_usize..40_000].prop_map(Step::Take),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_taken_at_once_the_frames_carry_the_stream(
        steps in steps(),
        readers in 0_usize..12,
        framed in 0_usize..12,
    ) {
        let mut room = Loop::new();
        let (ann, ann_socket) = room.join();
        // So many that large batches go to them by reference.
        let plain: Vec<Socket> = (0..=readers).map(|_| room.join().1).collect();
        let framed: Vec<Socket> = (0..framed).map(|_| room.join_with_frames().1).collect();
        let (key, socket) = room.join_with_frames();
        socket.takes(0);
        let mut pings = 0_u8;
        for step in steps {
            match step {
                Step::Say { lines, bytes } => {
                    ann_socket.sends(format!("{}\n", "x".repeat(bytes)).repeat(lines));
                    room.readable(ann);
                }
                Step::Speak => {
                    socket.sends(frame(0x82, b"me\n"));
                    room.readable(key);
                }
                Step::Ping => {
                    pings += 1;
                    socket.sends(frame(0x89, &[pings]));
                    room.readable(key);
                }
                Step::Take(bytes) => {
                    socket.takes_more(bytes);
                    room.writable(key);
                }
            }
        }
        socket.takes(usize::MAX);
        room.writable(key);
        let received = socket.received_bytes();
        let heard = plain[0].received();
        let others: String = heard.split_inclusive('\n')
            .filter(|line| !line.starts_with("<127.0.0.1>"))
            .collect();
        prop_assert_eq!(data(&received), others);
        for other in framed {
            prop_assert_eq!(&data(&other.received_bytes()), &heard);
        }
        let pongs: Vec<u8> = frames(&received).iter()
            .filter(|(first, _)| *first == 0x8a)
            .map(|(_, payload)| payload[0])
            .collect();
        prop_assert!(pongs.is_sorted_by(|one, next| one < next));
        prop_assert_eq!(pongs.last().copied().unwrap_or(0), pings);
    }
}
