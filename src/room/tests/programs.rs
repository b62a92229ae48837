//! What those hear who read JSON.

use super::*;
use crate::protocol::event::Place;
use crate::protocol::event::json::NoEvent;
use crate::room::log::MAX_PAST_BYTES;

/// The objects that `id` has heard since the last call.
pub(super) fn events(stage: &mut Stage, id: ClientId) -> Vec<(Option<Place>, Event<'static>)> {
    let heard = stage.heard(id);
    let read = |line: &str| Event::read_json(line.as_bytes());
    let read: Result<Vec<_>, NoEvent> = heard.lines().map(read).collect();
    let known = read.unwrap_or_else(|e| panic!("{e}: {heard}"));
    known
        .into_iter()
        .map(|event| event.expect("a known kind"))
        .collect()
}

/// The numbers of the reader's own lines in what it has heard.
fn answers(stage: &mut Stage, id: ClientId, own: u64) -> Vec<u64> {
    let n = |(_, event)| match event {
        Event::Message(speech) | Event::Action(speech) | Event::Private { speech, .. } => {
            speech.n.filter(|_| speech.from == Some(own))
        }
        Event::Reply(reply) => reply.n,
        Event::Error { n, .. } => n,
        Event::Bye(bye) => bye.n,
        _ => None,
    };
    events(stage, id).into_iter().filter_map(n).collect()
}

/// A room of alice, who reads text, and of a program at 10.0.0.2.
fn with_a_program() -> Stage {
    let mut stage = Stage::of_alice_and_bob();
    stage.leave(BOB);
    stage.join(CAROL, "10.0.0.2");
    stage.heard.clear();
    stage.says(CAROL, "/json");
    stage
}

#[test]
fn hello_says_who_is_here() {
    let mut stage = with_a_program();
    let heard = stage.heard(CAROL);
    let expected = format!(
        concat!(
            r#"{{"kind":"hello","wire":1,"version":"{}","epoch":"000000000000feed","seq":0,"#,
            r#""you":2,"token":"2.0000000000000000000000000000feed","resumed":false,"heard":0,"#,
            r#""lost":0,"hold":60,"name":"10.0.0.2","here":2,"#,
            r#""people":[[0,"alice"],[2,"10.0.0.2"]],"max_line":4096}}"#,
            "\n",
        ),
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(heard, expected);
    stage.expect(ALICE, "");
}

#[test]
fn json_comes_first_or_not_at_all() {
    let mut stage = Stage::of_two();
    stage.says(ALICE, "");
    stage.says(ALICE, "hi");
    stage.says(ALICE, "/json");
    let heard = stage.heard(ALICE);
    assert!(heard.starts_with("!! /json goes before"), "{heard}");
    stage.says(BOB, "");
    stage.heard.clear();
    stage.says(BOB, "/JSON");
    assert!(stage.heard(BOB).starts_with(r#"{"kind":"hello""#));
    stage.says(BOB, "/json");
    let heard = stage.heard(BOB);
    assert!(
        heard.starts_with(r#"{"kind":"error","n":1,"code":"too_late""#),
        "{heard}"
    );
}

#[test]
fn a_program_hears_its_own_lines_and_others_as_before() {
    let mut stage = with_a_program();
    stage.heard.clear();
    stage.says(CAROL, "anybody in?");
    stage.says(CAROL, "/me waves");
    stage.says(ALICE, "hi");
    stage.act(|room, context| room.hear_operator(b"tea", context));
    stage.expect(
        ALICE,
        "<10.0.0.2> anybody in?\n* 10.0.0.2 waves\n-- operator: tea\n",
    );
    let time = "1970-01-01T00:00:00.000Z";
    let expected = [
        r#""kind":"message","from":2,"n":1,"name":"10.0.0.2","text":"anybody in?""#,
        r#""kind":"action","from":2,"n":2,"name":"10.0.0.2","text":"waves""#,
        r#""kind":"message","from":0,"name":"alice","text":"hi""#,
        r#""kind":"operator","text":"tea""#,
    ];
    let expected = expected.iter().enumerate();
    let expected = expected.map(|(nth, rest)| {
        let seq = nth + 1;
        format!("{{\"seq\":{seq},\"time\":\"{time}\",{rest}}}\n")
    });
    stage.expect(CAROL, &expected.collect::<String>());
}

#[test]
fn each_line_that_is_not_empty_is_answered_once_with_its_number() {
    let mut stage = with_a_program();
    stage.heard.clear();
    let lines = [
        "hi",
        "//hi",
        "/me waves",
        "/nick",
        "/nick !",
        "/nick alice",
        "/nick carol",
        "/nick carol",
        "/msg alice psst",
        "/msg carol psst",
        "/msg nobody psst",
        "/msg 10.9.9.9 psst",
        "/who",
        "/last 5",
        "/last x",
        "/help",
        "/dance",
        " /msg alice psst",
        "/kick alice",
        "/json",
        "/resume",
        "/resume 1.2 3",
    ];
    for line in lines {
        stage.says(CAROL, "");
        stage.says(CAROL, line);
    }
    stage.hears(CAROL, Decoded::TooLong(b"x"));
    let count = lines.len() as u64 + 1;
    let expected: Vec<u64> = (1..=count).collect();
    assert_eq!(answers(&mut stage, CAROL, CAROL.serial), expected);
    stage.says(CAROL, "/quit");
    assert_eq!(stage.closed, [(CAROL, CloseReason::Quit)]);
    let bye = stage.leave_for(CloseReason::Quit, CAROL);
    let n = count + 1;
    let expected = format!(
        r#"{{"kind":"bye","n":{n},"code":"quit","heard":{n},"again":null,"text":"goodbye"}}"#
    );
    assert_eq!(bye, expected + "\n");
}

#[test]
fn what_nobody_asked_for_has_no_number() {
    let mut stage = with_a_program();
    stage.says(ALICE, "/msg 10.0.0.2 psst");
    stage.act(|room, context| room.held(CAROL, context));
    stage.says(CAROL, "/nick carol");
    stage.join(BOB, "10.0.0.2");
    stage.heard.clear();
    stage.says(BOB, "/nick carol");
    let heard = stage.heard(CAROL);
    assert!(
        heard.starts_with(r#"{"kind":"notice","text":"someone"#),
        "{heard}"
    );
}

#[test]
fn a_claimed_name_is_told_to_a_program_as_its_own() {
    let mut stage = with_a_program();
    stage.says(ALICE, "/nick carol");
    stage.join(BOB, "10.0.0.1");
    stage.says(BOB, "/json");
    stage.says(BOB, "/nick carol");
    stage.heard.clear();
    stage.leave_for(CloseReason::PeerClosed, ALICE);
    stage.expect(BOB, "{\"kind\":\"you\",\"name\":\"carol\"}\n");
}

#[test]
fn a_private_message_has_a_place_and_answers_its_sender() {
    let mut stage = with_a_program();
    stage.heard.clear();
    stage.says(CAROL, "/msg alice tea?");
    stage.says(ALICE, "/msg 10.0.0.2 yes");
    stage.expect(ALICE, "[10.0.0.2] tea?\n-- sent to 10.0.0.2\n");
    let time = "1970-01-01T00:00:00.000Z";
    let expected = [
        r#""from":2,"n":1,"name":"10.0.0.2","to":"alice","text":"tea?""#,
        r#""from":0,"name":"alice","to":"10.0.0.2","text":"yes""#,
    ];
    let expected = expected.iter().enumerate().map(|(nth, rest)| {
        let seq = nth + 1;
        format!("{{\"seq\":{seq},\"time\":\"{time}\",\"kind\":\"private\",{rest}}}\n")
    });
    stage.expect(CAROL, &expected.collect::<String>());
}

#[test]
fn presence_is_told_by_id_and_name() {
    let mut stage = Stage::new(Config {
        announces_presence: true,
        ..Config::plain(4096)
    });
    stage.join(ALICE, "10.0.0.1");
    stage.says(ALICE, "/json");
    stage.wait(PRESENCE_WINDOW);
    stage.heard.clear();
    stage.join(BOB, "10.0.0.2");
    stage.says(ALICE, "/nick alice");
    stage.heard.clear();
    stage.wait(PRESENCE_WINDOW);
    let heard = stage.heard(ALICE);
    let expected = r#""kind":"presence","joined":[[1,"10.0.0.2"]],"left":[],"renamed":[[0,"10.0.0.1","alice"]],"here":2}"#;
    assert!(heard.ends_with(&format!("{expected}\n")), "{heard}");
}

#[test]
fn the_past_is_told_up_to_an_event_and_marked() {
    let mut stage = with_a_program();
    for line in ["one", "two", "three"] {
        stage.says(ALICE, line);
    }
    stage.heard.clear();
    stage.says(CAROL, "/last 2 2");
    let heard = events(&mut stage, CAROL);
    let seqs: Vec<_> = heard
        .iter()
        .map(|(place, _)| place.map(|place| (place.seq, place.is_past)))
        .collect();
    assert_eq!(seqs, [Some((1, true)), Some((2, true)), None]);
    let reply = Event::Reply(Reply {
        n: Some(1),
        ..Reply::to("last")
    });
    assert_eq!(heard[2].1, reply);
    stage.says(ALICE, "/last 2");
    stage.expect(ALICE, "-- last 2 lines:\n<alice> two\n<alice> three\n");
    stage.says(ALICE, "/last 1 1");
    stage.expect(ALICE, "-- last line:\n<alice> one\n");
    // Nothing from before a member joined, but for the history.
    stage.join(BOB, "10.0.0.3");
    stage.says(BOB, "/last 9");
    stage.says(ALICE, "four");
    stage.heard.clear();
    stage.says(BOB, "/last 9");
    stage.expect(BOB, "-- last line:\n<alice> four\n");
}

#[test]
fn whatever_the_past_is_it_is_told_in_parts_of_bounded_size() {
    let mut stage = with_a_program();
    let text = "x".repeat(1000);
    for _ in 0..200 {
        stage.says(ALICE, &text);
    }
    stage.heard.clear();
    for (line, heading) in [("/last 999", ""), ("/last 999 100", "")] {
        stage.says(CAROL, line);
        let heard = stage.heard(CAROL);
        assert!(
            heard.len() <= MAX_PAST_BYTES + 1000,
            "{}{heading}",
            heard.len()
        );
        assert!(heard.lines().count() > 50);
    }
}

#[test]
fn every_bye_says_how_much_was_heard() {
    for (reason, code, again) in [
        (CloseReason::Kicked, "kicked", "null"),
        (CloseReason::Banned, "banned", "null"),
        (CloseReason::Idle, "idle", "null"),
        (CloseReason::Stuck, "stuck", "1"),
        (CloseReason::TooSlow, "slow", "1"),
        (CloseReason::Overload, "overload", "10"),
        (CloseReason::Shutdown, "closing", "1"),
    ] {
        let mut stage = with_a_program();
        stage.says(CAROL, "hi");
        let bye = stage.leave_for(reason, CAROL);
        let expected =
            format!(r#"{{"kind":"bye","code":"{code}","heard":1,"again":{again},"text":""#);
        assert!(bye.starts_with(&expected), "{bye}");
    }
}

#[test]
fn a_room_of_text_readers_writes_no_json() {
    let mut stage = with_a_program();
    stage.leave_for(CloseReason::Quit, CAROL);
    let mut batch = Batch::new();
    let mut context = Context {
        now: stage.now,
        time: Time::default(),
        batch: &mut batch,
    };
    stage.room.hear(ALICE, Decoded::Line(b"hi"), &mut context);
    assert_eq!(batch.shared(Encoding::Json), b"");
    assert_eq!(batch.shared(Encoding::Text), b"<alice> hi\n");
}
