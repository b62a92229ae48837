//! The room: who is in it, and what is said to whom.
//!
//! Decides, and carries nothing out: it knows no socket and no clock. Whatever
//! happens is told it by a method, and what is to be sent as a result goes into
//! the [`Turn`] that the method is given.

use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;

use crate::close::CloseReason;
use crate::http;
use crate::line::Decoded;
use crate::telnet;
use crate::text;
use crate::turn::{ClientId, Turn};
use crate::write_queue::Frame;

/// The first line of every conversation, and the mark by which other programs
/// know this kind of room.
pub const WELCOME: &str = "Welcome to this chatroom!";

/// How a line begins by which the server says that it did not do what was asked.
pub const REFUSAL_PREFIX: &str = "!! ";

/// How a notice of the server begins.
pub const NOTICE_PREFIX: &str = "-- ";

/// What a line that begins with a slash is answered. It repeats nothing of the
/// line: so all who get it can share it.
const NO_COMMANDS: &str = "this room has no commands, not even /help; \
                           to say a line that begins with / start it with //";

/// What the room allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a line, its line end not counted.
    pub max_line_bytes: u32,
}

/// A room and its members.
#[derive(Debug)]
pub struct Room {
    /// Indexed by [`ClientId`], whose numbers are dense.
    members: Vec<Option<Member>>,
    welcome: Frame,
    no_commands: Frame,
    too_long: Frame,
}

#[derive(Debug)]
struct Member {
    address: IpAddr,
    has_spoken: bool,
}

impl Room {
    /// An empty room.
    pub fn new(limits: Limits) -> Self {
        Self {
            members: Vec::new(),
            welcome: notice(format_args!("{WELCOME}")),
            no_commands: refusal(NO_COMMANDS),
            too_long: refusal(format_args!(
                "that line was not said: it is longer than {} bytes",
                limits.max_line_bytes
            )),
        }
    }

    /// `id`, admitted before, comes in from `address` and is welcomed.
    pub fn join(&mut self, id: ClientId, address: IpAddr, turn: &mut Turn) {
        if self.members.len() <= id.0 {
            self.members.resize_with(id.0 + 1, || None);
        }
        let newcomer = Member {
            address,
            has_spoken: false,
        };
        let before = self.members[id.0].replace(newcomer);
        debug_assert!(before.is_none(), "{id:?} is in the room already");
        turn.tell(id, Frame::clone(&self.welcome));
    }

    /// `id` goes, for whatever reason. Its address, if it was in the room.
    pub fn leave(&mut self, id: ClientId) -> Option<IpAddr> {
        let member = self.members.get_mut(id.0)?.take()?;
        Some(member.address)
    }

    /// `id` has sent a line. One that is no member is not heard.
    pub fn hear(&mut self, id: ClientId, heard: Decoded<'_>, turn: &mut Turn) {
        let Some(member) = self.members.get_mut(id.0).and_then(Option::as_mut) else {
            return;
        };
        let without_marks;
        let heard = match heard {
            Decoded::Line(line) if telnet::asks_for_timing_mark(line) => {
                turn.tell(id, Frame::from(telnet::WONT_TIMING_MARK));
                without_marks = telnet::without_timing_marks(line);
                Decoded::Line(&without_marks)
            }
            heard => heard,
        };
        if heard == Decoded::Line(b"") {
            return;
        }
        // Blanks before a request line do not hide it.
        let is_blank = matches!(heard, Decoded::Line(line) if line.trim_ascii().is_empty());
        let is_first = !member.has_spoken;
        member.has_spoken |= !is_blank;
        match heard {
            _ if is_first && is_another_protocol(heard) => {
                turn.close(id, CloseReason::WrongProtocol);
            }
            Decoded::TooLong(_) => turn.tell(id, Frame::clone(&self.too_long)),
            Decoded::Line([b'/', text @ ..]) if !text.starts_with(b"/") => {
                turn.tell(id, Frame::clone(&self.no_commands));
            }
            Decoded::Line(line) => {
                // A line that is to begin with a slash is sent with two.
                let text = line.strip_prefix(b"/").unwrap_or(line);
                let address = member.address;
                turn.say(Some(id), |out| push_message(out, address, text));
            }
        }
    }

    /// What a member is told that has to leave for this reason, if anything.
    pub fn farewell(&self, reason: CloseReason) -> Option<Frame> {
        let why = match reason {
            CloseReason::Stuck => "you did not read for too long what was said",
            CloseReason::TooSlow => "you read too slowly to catch up with what was said",
            CloseReason::Idle => "you have said nothing for too long",
            CloseReason::PeerClosed
            | CloseReason::Lost(_)
            | CloseReason::WrongProtocol
            | CloseReason::Shutdown => return None,
        };
        Some(notice(format_args!("{NOTICE_PREFIX}{why}: goodbye")))
    }

    /// The server is about to end.
    pub fn close(&self, turn: &mut Turn) {
        turn.say(None, |out| {
            out.extend_from_slice(NOTICE_PREFIX.as_bytes());
            out.extend_from_slice(b"the room is closing");
        });
    }
}

/// The line by which one reader is told what was not done, and why.
pub fn refusal(words: impl fmt::Display) -> Frame {
    notice(format_args!("{REFUSAL_PREFIX}{words}"))
}

/// Whether what was heard first is a browser's doing.
fn is_another_protocol(heard: Decoded<'_>) -> bool {
    match heard {
        Decoded::Line(line) => http::is_request_line(line) || http::begins_tls_handshake(line),
        Decoded::TooLong(beginning) => {
            http::may_begin_request_line(beginning) || http::begins_tls_handshake(beginning)
        }
    }
}

/// Appends what others see when the member at `address` says `text`.
fn push_message(out: &mut Vec<u8>, address: IpAddr, text: &[u8]) {
    write!(out, "<{address}> ").expect("a Vec takes every write");
    text::push_safe(out, text);
}

/// One line from the server to one reader.
fn notice(line: fmt::Arguments<'_>) -> Frame {
    Frame::from(format!("{line}\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::Part;

    const ALICE: ClientId = ClientId(0);
    const BOB: ClientId = ClientId(1);

    /// A room of two, past the welcome, and an empty turn.
    fn room_of_two() -> (Room, Turn) {
        let mut room = Room::new(Limits {
            max_line_bytes: 4096,
        });
        let mut turn = Turn::new();
        room.join(ALICE, "10.0.0.1".parse().unwrap(), &mut turn);
        room.join(BOB, "10.0.0.2".parse().unwrap(), &mut turn);
        turn.clear();
        (room, turn)
    }

    fn shared(turn: &Turn) -> &str {
        std::str::from_utf8(turn.shared()).unwrap()
    }

    /// What is told to `reader` alone.
    fn told(turn: &mut Turn, reader: ClientId) -> Vec<u8> {
        turn.seal();
        let mut bytes = Vec::new();
        for (_, edits) in turn.edits().filter(|&(id, _)| id == reader) {
            for part in turn.parts(edits) {
                if let Part::Private(frame) = part {
                    bytes.extend_from_slice(frame);
                }
            }
        }
        bytes
    }

    fn told_text(turn: &mut Turn, reader: ClientId) -> String {
        String::from_utf8(told(turn, reader)).unwrap()
    }

    #[test]
    fn a_newcomer_is_welcomed_and_nobody_else_is_told() {
        let mut room = room_of_two().0;
        room.leave(BOB);
        let mut turn = Turn::new();
        room.join(BOB, "10.0.0.3".parse().unwrap(), &mut turn);
        assert_eq!(told_text(&mut turn, BOB), "Welcome to this chatroom!\n");
        assert_eq!(
            (told_text(&mut turn, ALICE), shared(&turn)),
            (String::new(), "")
        );
    }

    #[test]
    fn what_each_line_says() {
        let table: &[(&[u8], &str)] = &[
            (b"hello", "<10.0.0.1> hello\n"),
            (b" spaces  stay ", "<10.0.0.1>  spaces  stay \n"),
            (b"", ""),
            (b"//away", "<10.0.0.1> /away\n"),
            (b"/away", ""),
            (b"<10.0.0.2> forged", "<10.0.0.1> <10.0.0.2> forged\n"),
            (b"-- forged", "<10.0.0.1> -- forged\n"),
            (b"\r<10.0.0.2> forged", "<10.0.0.1> ␍<10.0.0.2> forged\n"),
            (b"\x1b[2J\xff", "<10.0.0.1> ␛[2J\u{fffd}\n"),
        ];
        for &(line, said) in table {
            let (mut room, mut turn) = room_of_two();
            room.hear(ALICE, Decoded::Line(line), &mut turn);
            assert_eq!(shared(&turn), said, "{}", line.escape_ascii());
            assert!(!turn.closes(ALICE));
        }
    }

    #[test]
    fn a_command_is_answered_to_its_sender_alone() {
        let (mut room, mut turn) = room_of_two();
        room.hear(ALICE, Decoded::Line(b"/dance with me"), &mut turn);
        let answer = told_text(&mut turn, ALICE);
        assert!(
            answer.starts_with("!! ") && answer.ends_with('\n'),
            "{answer}"
        );
        assert!(answer.contains("/help"), "{answer}");
        assert_eq!(
            (told_text(&mut turn, BOB), shared(&turn)),
            (String::new(), "")
        );
    }

    #[test]
    fn a_line_too_long_is_refused_with_the_limit() {
        let (mut room, mut turn) = room_of_two();
        room.hear(ALICE, Decoded::TooLong(b"so long"), &mut turn);
        let answer = told_text(&mut turn, ALICE);
        assert!(answer.starts_with("!! ") && answer.contains("4096 bytes"));
        assert_eq!(shared(&turn), "");
        assert!(!turn.closes(ALICE));
    }

    #[test]
    fn a_browser_is_told_by_its_first_line_and_sent_away() {
        for first in [
            Decoded::Line(b"GET / HTTP/1.1"),
            Decoded::TooLong(b"POST /aaaaaa"),
            Decoded::Line(b"\x16\x03\x01\x02\x00\x01"),
            Decoded::TooLong(b"\x16\x03\x01\x02\x00\x01"),
        ] {
            let (mut room, mut turn) = room_of_two();
            room.hear(ALICE, Decoded::Line(b""), &mut turn);
            room.hear(ALICE, Decoded::Line(b" \t\r"), &mut turn);
            turn.clear();
            room.hear(ALICE, first, &mut turn);
            assert!(turn.closes(ALICE) && shared(&turn).is_empty());

            let (mut room, mut turn) = room_of_two();
            room.hear(ALICE, Decoded::Line(b"hello"), &mut turn);
            room.hear(ALICE, first, &mut turn);
            assert!(!turn.closes(ALICE));
        }
    }

    #[test]
    fn who_leaves_has_its_address_told_once() {
        let (mut room, _) = room_of_two();
        assert_eq!(room.leave(ALICE), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(room.leave(ALICE), None, "nobody leaves twice");
    }

    #[test]
    fn who_is_sent_away_is_told_why_if_it_is_there_to_be_told() {
        let (room, _) = room_of_two();
        for (reason, why) in [
            (CloseReason::Stuck, "you did not read"),
            (CloseReason::TooSlow, "you read too slowly"),
            (CloseReason::Idle, "you have said nothing"),
        ] {
            let farewell = room.farewell(reason).unwrap();
            let text = std::str::from_utf8(&farewell).unwrap();
            assert!(text.starts_with("-- ") && text.contains(why), "{text}");
            assert!(text.ends_with(": goodbye\n"), "{text}");
        }
        for reason in [
            CloseReason::PeerClosed,
            CloseReason::Lost(std::io::ErrorKind::ConnectionReset),
            CloseReason::WrongProtocol,
            CloseReason::Shutdown,
        ] {
            assert_eq!(room.farewell(reason), None, "{reason}");
        }
    }

    #[test]
    fn everybody_is_told_that_the_room_is_closing() {
        let (room, mut turn) = room_of_two();
        room.close(&mut turn);
        assert_eq!(shared(&turn), "-- the room is closing\n");
    }

    #[test]
    fn a_refusal_is_marked_as_one() {
        assert_eq!(refusal("no")[..], b"!! no\n"[..]);
    }

    #[test]
    fn telnet_is_answered_and_what_was_typed_is_said() {
        let (mut room, mut turn) = room_of_two();
        let line = b"\xff\xf4\xff\xfd\x06hi";
        room.hear(ALICE, Decoded::Line(line), &mut turn);
        assert_eq!(shared(&turn), "<10.0.0.1> hi\n");
        assert_eq!(told(&mut turn, ALICE), *telnet::WONT_TIMING_MARK);

        turn.clear();
        room.hear(ALICE, Decoded::Line(b"\xff\xf4\xff\xfd\x06"), &mut turn);
        assert_eq!(shared(&turn), "", "what is left is an empty line");
    }

    #[test]
    fn a_member_that_has_left_is_not_heard() {
        let (mut room, mut turn) = room_of_two();
        room.leave(ALICE);
        room.hear(ALICE, Decoded::Line(b"still here"), &mut turn);
        assert!(turn.is_empty());
    }
}
