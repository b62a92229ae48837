//! Promise 2, nothing lost, for a client that half-closes: what it sent is said, and what it is
//! owed is sent.

use crate::common::crowd::{Crowd, Member, numbered_line};
use crate::common::flood::{KEEPS_ALL, OVER_SEND_BUFFER, flood, long_line};
use crate::common::server::Server;

#[test]
fn the_unfinished_last_line_is_said() {
    let server = Server::start();
    let mut listener = server.join("127.0.0.2");
    let talker = server.join("127.0.0.3");
    talker.send("whole\nunfinished");
    talker.leave();
    listener.expect_line("<127.0.0.3> whole");
    listener.expect_line("<127.0.0.3> unfinished");
}

#[test]
fn a_client_may_talk_and_leave_at_once() {
    const LINES: usize = 500;
    let server = Server::start();
    let mut listener = server.join("127.0.0.2");
    let talker = server.join("127.0.0.3");
    let text: String = (0..LINES).map(|number| format!("{number}\n")).collect();
    talker.send(text);
    talker.leave();
    for number in 0..LINES {
        listener.expect_line(&format!("<127.0.0.3> {number}"));
    }
}

#[test]
fn a_half_closed_client_is_sent_what_it_is_owed() {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut witness = server.join("127.0.0.3");
    let mut slow = server.join("127.0.0.4");
    slow.limit_receive_buffer();

    flood(&talker, &mut witness, OVER_SEND_BUFFER);
    slow.send("that is all from me");
    slow.close_write();
    witness.expect_line("<127.0.0.4> that is all from me");

    for number in OVER_SEND_BUFFER {
        slow.expect_line(&talker.said(&long_line(number)));
    }
    slow.expect_end();
}

#[test]
fn a_half_closed_client_is_sent_what_it_is_owed_during_a_flood() {
    const LINES: usize = 5000;
    /// Less than kernel and server hold for the leaving client before the flood must wait for
    /// it.
    const OWED_LINES: usize = 500;
    const LAST_WORDS: &str = "that is all from me";
    let server = Server::with(KEEPS_ALL);
    let flooder = server.join("127.0.0.2");
    let said = flooder.said("");
    let mut witness = server.join("127.0.0.3");
    let mut leaver = server.join("127.0.0.4");
    leaver.limit_receive_buffer();

    let _crowd = Crowd::start([Member::flooder(flooder, 0..LINES)]);
    let mut heard = 0;
    loop {
        let line = witness.next_line().expect("a line");
        if line == leaver.said(LAST_WORDS) {
            break;
        }
        assert_eq!(line, format!("{said}{}", numbered_line(heard)));
        heard += 1;
        if heard == OWED_LINES {
            leaver.send(LAST_WORDS);
            leaver.close_write();
        }
    }
    let mut owed = 0;
    while let Some(line) = leaver.next_line() {
        assert_eq!(line, format!("{said}{}", numbered_line(owed)));
        owed += 1;
    }
    assert!(owed >= heard, "{owed} of {heard} lines that came before");
    for number in heard..LINES {
        witness.expect_line(&format!("{said}{}", numbered_line(number)));
    }
}
