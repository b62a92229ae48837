//! The conversation, played by what a server says.

use super::*;

const GREETING: &[u8] = b"Welcome to this chatroom!\n";

fn named(is_strict: bool) -> (Conversation, Instant) {
    let now = Instant::now();
    let mut conversation = Conversation::new(Some("bob".to_owned()), is_strict);
    conversation.connected(now);
    conversation.say(b"hello\n");
    (conversation, now)
}

#[test]
fn a_strict_conversation_waits_for_the_greeting_and_ends_with_quit() {
    let now = Instant::now();
    let mut conversation = Conversation::new(None, true);
    conversation.connected(now);
    conversation.say(b"hello\n");
    assert_eq!(write_all(&mut conversation), "");
    assert!(!conversation.is_all_written());
    hear(&mut conversation, GREETING, now);
    assert_eq!(write_all(&mut conversation), "hello\n");
    assert!(conversation.finish());
    assert_eq!(write_all(&mut conversation), "/quit\n");
    assert!(!conversation.finish());

    let mut conversation = Conversation::new(None, true);
    conversation.connected(now);
    conversation.say(b"hello\n");
    conversation.expire(conversation.deadline().unwrap(), &mut |_| {});
    assert_eq!(write_all(&mut conversation), "hello\n");
    assert!(!conversation.finish(), "it may know no commands");
}

#[test]
fn a_finished_conversation_asks_for_no_name() {
    let now = Instant::now();
    let mut conversation = Conversation::new(Some("bob".to_owned()), false);
    conversation.connected(now);
    assert!(conversation.is_all_written() && !conversation.finish());
    hear(&mut conversation, GREETING, now);
    assert!(conversation.is_all_written());
}

fn hear(conversation: &mut Conversation, bytes: &[u8], now: Instant) {
    conversation.received(bytes, now, &mut |_| {});
}

fn write_all(conversation: &mut Conversation) -> String {
    let mut written = String::new();
    while !conversation.unwritten().is_empty() {
        written += std::str::from_utf8(&conversation.unwritten()[..1]).unwrap();
        conversation.wrote(1);
    }
    written
}

#[test]
fn without_a_name_nothing_waits() {
    let mut conversation = Conversation::new(None, false);
    conversation.connected(Instant::now());
    conversation.say(b"hello\n");
    assert_eq!(write_all(&mut conversation), "hello\n");
    assert!(conversation.is_all_written());
    assert_eq!(conversation.deadline(), None);
}

#[test]
fn a_name_is_asked_for_first_and_again_on_each_connection() {
    let (mut conversation, now) = named(false);
    assert_eq!(write_all(&mut conversation), "");
    for _ in 0..2 {
        hear(&mut conversation, GREETING, now);
        assert_eq!(write_all(&mut conversation), "/nick bob\n");
        assert!(!conversation.is_all_written());
        hear(&mut conversation, b"<eve> -- you are eve now\n", now);
        assert_eq!(write_all(&mut conversation), "");
        hear(&mut conversation, b"-- you are bob now\n", now);
        assert_eq!(conversation.naming(), Naming::Given);
        assert_eq!(write_all(&mut conversation), "hello\n");
        conversation.say(b"hello\n");
        conversation.connected(now);
    }
}

#[test]
fn the_name_taken_last_is_the_one_asked_for_again() {
    let (mut conversation, now) = named(false);
    hear(&mut conversation, GREETING, now);
    hear(
        &mut conversation,
        b"-- you are bob now\n-- you are rob now\n",
        now,
    );
    conversation.connected(now);
    hear(&mut conversation, GREETING, now);
    assert_eq!(write_all(&mut conversation), "/nick rob\n");
    assert_eq!(conversation.name(), Some("rob"));
}

#[test]
fn an_impossible_name_is_not_taken_for_ours() {
    let (mut conversation, now) = named(false);
    hear(&mut conversation, GREETING, now);
    hear(&mut conversation, b"-- you are two words now\n", now);
    assert_eq!(conversation.name(), None);
    assert_eq!(conversation.naming(), Naming::Open);
    assert_eq!(write_all(&mut conversation), "/nick bob\n");
}

#[test]
fn others_see_us_by_a_name_only_once_it_was_given() {
    let (mut conversation, now) = named(false);
    hear(&mut conversation, GREETING, now);
    assert_eq!(conversation.name(), None);
    hear(&mut conversation, b"-- you are bob now\n", now);
    conversation.connected(now);
    assert_eq!(conversation.name(), Some("bob"), "it was");
    hear(&mut conversation, GREETING, now);
    hear(&mut conversation, b"!! bob is taken\n", now);
    assert_eq!(conversation.name(), None);
}

#[test]
fn lines_meant_for_a_lost_name_wait_for_the_user() {
    let lost = || {
        let (mut conversation, now) = named(false);
        hear(&mut conversation, GREETING, now);
        hear(&mut conversation, b"-- you are bob now\n", now);
        lose(&mut conversation, now);
        hear(&mut conversation, GREETING, now);
        write_all(&mut conversation);
        hear(&mut conversation, b"!! bob is taken\n", now);
        assert_eq!(write_all(&mut conversation), "");
        assert!(conversation.is_holding());
        (conversation, now)
    };
    let (mut conversation, _) = lost();
    conversation.release();
    assert_eq!(write_all(&mut conversation), "hello\n");

    for (said, goes_after) in [
        ("more\n", true),
        ("//more\n", true),
        ("/me waves\n", true),
        ("/msg al hi\n", true),
        ("/who\n", false),
        ("/nik rob\n", false),
    ] {
        let (mut conversation, _) = lost();
        conversation.say(said.as_bytes());
        let expected = if goes_after {
            format!("hello\n{said}")
        } else {
            said.to_owned()
        };
        assert_eq!(write_all(&mut conversation), expected);
        assert_eq!(conversation.is_holding(), !goes_after);
    }

    let (mut conversation, now) = lost();
    conversation.say(b"/nick rob\n");
    assert_eq!(write_all(&mut conversation), "/nick rob\n");
    assert!(conversation.is_holding());
    hear(&mut conversation, b"-- you are rob now\n", now);
    assert_eq!(write_all(&mut conversation), "hello\n");

    // It waits as long as it takes, over any number of connections.
    let (mut conversation, now) = lost();
    for answer in [&b"!! bob is taken\n"[..], b""] {
        lose(&mut conversation, now);
        hear(&mut conversation, GREETING, now);
        assert_eq!(write_all(&mut conversation), "/nick bob\n");
        hear(&mut conversation, answer, now);
        conversation.expire(now + NAME_TIMEOUT, &mut |_| {});
        assert!(conversation.is_holding());
        assert_eq!(write_all(&mut conversation), "");
    }
}

/// Loses the connection, and makes another.
fn lose(conversation: &mut Conversation, now: Instant) {
    conversation.ended(now, &mut |_| {});
    conversation.connected(now);
}

#[test]
fn a_refused_name_silences_only_a_strict_conversation() {
    for insists in [false, true] {
        let (mut conversation, now) = named(insists);
        hear(&mut conversation, GREETING, now);
        write_all(&mut conversation);
        hear(&mut conversation, b"!! bob is taken\n", now);
        assert_eq!(conversation.naming(), Naming::Refused);
        let said = write_all(&mut conversation);
        assert_eq!(said, if insists { "" } else { "hello\n" });
        // It may be free later.
        hear(&mut conversation, b"-- you are bob now\n", now);
        assert_eq!(conversation.naming(), Naming::Given);
    }
}

#[test]
fn a_server_that_gives_no_names_is_not_asked() {
    for greeting in [&b"Welcome to this chatroom!<a> hi"[..], b"220 mail\r\n"] {
        for insists in [false, true] {
            let (mut conversation, now) = named(insists);
            hear(&mut conversation, greeting, now);
            assert_eq!(conversation.naming(), Naming::Impossible);
            let said = write_all(&mut conversation);
            assert_eq!(said, if insists { "" } else { "hello\n" });
        }
    }
    let (mut conversation, now) = named(false);
    let until = conversation.deadline().unwrap();
    assert_eq!(until, now + NAME_TIMEOUT);
    conversation.expire(until, &mut |_| {});
    assert_eq!(write_all(&mut conversation), "hello\n");
}

#[test]
fn a_strict_conversation_waits_for_its_name_however_long() {
    for insists in [false, true] {
        let (mut conversation, now) = named(insists);
        hear(&mut conversation, GREETING, now);
        write_all(&mut conversation);
        let until = now + NAME_TIMEOUT;
        assert_eq!(conversation.deadline(), (!insists).then_some(until));
        conversation.expire(until, &mut |_| {});
        let said = write_all(&mut conversation);
        assert_eq!(said, if insists { "" } else { "hello\n" });
    }
}

#[test]
fn a_partly_written_line_is_sent_again_on_the_next_connection() {
    let mut conversation = Conversation::new(None, false);
    let now = Instant::now();
    conversation.connected(now);
    conversation.say(b"one\ntwo\n");
    conversation.wrote(5);
    for greeting in [
        "!! the room is full (1 clients)\n",
        "Welcome to this chatroom!\n",
    ] {
        conversation.connected(now);
        assert_eq!(conversation.unwritten(), b"", "before {greeting}");
        assert_eq!(conversation.waiting_lines(), 1);
        conversation.received(greeting.as_bytes(), now, &mut |_| {});
    }
    assert_eq!(conversation.unwritten(), b"two\n");
}
