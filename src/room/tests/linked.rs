//! A room of which a part is at other servers.

use super::*;
use crate::protocol::label::ServerLabel;
use crate::room::elsewhere::Outgoing;

fn label(text: &str) -> ServerLabel {
    ServerLabel::parse(text).unwrap()
}

/// alice and bob are at box-a; at box-b there are 9,204 people.
fn linked() -> Stage {
    let mut stage = Stage::of_alice_and_bob();
    stage.room.span(label("box-a"));
    let box_b = label("box-b");
    stage.room.set_others([(&box_b, 9204)].into_iter());
    stage
}

/// The lines that go out.
fn outgoing(stage: &mut Stage) -> Vec<String> {
    let outgoing = stage.room.take_outgoing().into_iter();
    outgoing
        .map(|outgoing| match outgoing {
            Outgoing::Line(line) => String::from_utf8(line).unwrap(),
            Outgoing::Question { .. } => panic!("a line was said"),
        })
        .collect()
}

/// Answers the one question that goes out, and returns it and whom it is for.
fn answer(stage: &mut Stage, answer: Option<&str>) -> (String, String) {
    let mut outgoing = stage.room.take_outgoing();
    let Some(Outgoing::Question {
        whom,
        question,
        about,
    }) = outgoing.pop()
    else {
        panic!("a question was asked");
    };
    stage.act(|room, context| room.question_sent(about, Some(7), context));
    stage.act(|room, context| room.answered(7, answer.map(str::as_bytes), context));
    (whom.to_string(), String::from_utf8(question).unwrap())
}

#[test]
fn a_line_is_said_when_it_has_come_back() {
    let mut stage = linked();
    stage.says(ALICE, "hi");
    stage.says(BOB, "/me waves");
    stage.act(|room, context| room.hear_operator(b"tea", context));
    stage.expect(BOB, "");
    assert_eq!(
        outgoing(&mut stage),
        [
            r#"{"kind":"message","name":"alice","text":"hi"}"#,
            r#"{"kind":"action","name":"bob","text":"waves"}"#,
            r#"{"kind":"operator","text":"tea"}"#,
        ]
    );
    stage.act(|room, context| room.say_own(1, context));
    stage.expect(ALICE, "");
    stage.expect(BOB, "<alice> hi\n");
    stage.leave(BOB);
    stage.act(|room, context| room.say_own(2, context));
    stage.expect(ALICE, "* bob waves\n-- operator: tea\n");
}

#[test]
fn whoever_speaks_elsewhere_is_called_by_name_and_server() {
    let mut stage = linked();
    let lines = [
        r#"{"kind":"message","name":"alice","text":"hi \u001b[2J","from":7,"n":3}"#,
        r#"{"kind":"action","name":"10.0.0.1","text":"waves"}"#,
        r#"{"kind":"operator","at":"box-c","text":"tea"}"#,
        r#"{"kind":"action","name":"operator","text":"makes tea"}"#,
    ];
    let lines = lines.join("\n") + "\n";
    stage.act(|room, context| room.hear_from(&label("box-b"), lines.as_bytes(), context));
    let heard = "<alice@box-b> hi ␛[2J\n* 10.0.0.1@box-b waves\n-- operator@box-b: tea\n\
                 * operator@box-b makes tea\n";
    stage.expect(ALICE, heard);
    stage.expect(BOB, heard);
}

#[test]
fn nobody_elsewhere_says_what_only_a_room_says() {
    let mut stage = linked();
    for line in [
        "",
        "nonsense",
        r#"{"kind":"notice","text":"the room is closing"}"#,
        r#"{"kind":"message","name":"operator","text":"x"}"#,
        r#"{"kind":"message","name":"bob@box-a","text":"x"}"#,
        r#"{"kind":"message","name":"a> x\n<b","text":"x"}"#,
        r#"{"kind":"private","name":"bob","to":"alice","text":"x"}"#,
    ] {
        stage.act(|room, context| room.hear_from(&label("box-b"), line.as_bytes(), context));
        stage.expect(ALICE, "");
    }
}

#[test]
fn who_tells_how_many_are_elsewhere_and_asks_who() {
    let mut stage = linked();
    stage.says(ALICE, "/who");
    stage.expect(ALICE, "-- 2 here: alice, bob\n-- box-b: 9,204\n");
    stage.says(ALICE, "/who box-a");
    stage.expect(ALICE, "-- 2 here: alice, bob\n-- box-b: 9,204\n");
    stage.says(ALICE, "/who box-b");
    let reply = r#"{"kind":"reply","to":"who","text":"2 here: carol,\ndave"}"#;
    let asked = answer(&mut stage, Some(reply));
    assert_eq!(asked, ("box-b".to_owned(), "who".to_owned()));
    stage.expect(ALICE, "-- box-b: 2 here: carol,\n-- box-b: dave\n");
    stage.says(ALICE, "/who box-b");
    answer(&mut stage, None);
    stage.expect(
        ALICE,
        "!! box-b cannot be reached; /who lists the servers\n",
    );
    stage.says(ALICE, "/who is there");
    stage.expect(ALICE, "!! no server is called is there; /who lists them\n");
    let answered = stage.act(|room, context| room.answer_to(&label("box-b"), b"who", context));
    let expected = r#"{"kind":"reply","to":"who","text":"2 here: alice, bob"}"#;
    assert_eq!(String::from_utf8(answered).unwrap(), expected);
}

#[test]
fn a_private_message_goes_to_another_server_and_its_fate_comes_back() {
    let mut stage = linked();
    stage.says(ALICE, "/msg carol@box-b psst");
    let (whom, question) = answer(
        &mut stage,
        Some(r#"{"kind":"reply","to":"msg","name":"carol"}"#),
    );
    assert_eq!(whom, "box-b");
    stage.expect(ALICE, "-- sent to carol@box-b\n");
    stage.expect(BOB, "");
    for (fate, words) in [
        (
            Some(r#"{"kind":"error","code":"nobody","text":"x"}"#),
            "!! nobody at box-b is called carol; /who box-b lists them\n",
        ),
        (
            Some(r#"{"kind":"error","code":"several","text":"x"}"#),
            "!! several people at carol@box-b have no name; ask the one you mean to take one \
             (/nick NAME)\n",
        ),
        (None, "!! carol@box-b cannot be reached; try again later\n"),
    ] {
        stage.says(ALICE, "/msg carol@box-b psst");
        answer(&mut stage, fate);
        stage.expect(ALICE, words);
    }
    // The same question, at the other end.
    let mut other = Stage::of_two();
    other.says(BOB, "/nick carol");
    other.expect(BOB, "-- you are now carol\n");
    other.room.span(label("box-b"));
    let asked = question.as_bytes();
    let fate = other.act(|room, context| room.answer_to(&label("box-a"), asked, context));
    let expected = r#"{"kind":"reply","to":"msg","name":"carol"}"#;
    assert_eq!(String::from_utf8(fate).unwrap(), expected);
    other.expect(BOB, "[alice@box-a] psst\n");
    other.expect(ALICE, "");
}

#[test]
fn a_private_message_to_ones_own_server_stays_there() {
    let mut stage = linked();
    stage.says(ALICE, "/msg bob@box-a psst");
    stage.expect(BOB, "[alice] psst\n");
    stage.expect(ALICE, "-- sent to bob\n");
    assert!(stage.room.take_outgoing().is_empty());
}

#[test]
fn programs_get_their_own_lines_with_numbers_and_are_told_to_wait() {
    let mut stage = Stage::of_two();
    for (id, name) in [(ALICE, "alice"), (BOB, "bob")] {
        stage.says(id, "/json");
        stage.says(id, format!("/nick {name}"));
    }
    stage.room.span(label("box-a"));
    stage.heard.clear();
    stage.says(ALICE, "hi");
    stage.says(ALICE, "/msg carol@box-b psst");
    stage.act(|room, context| room.tell_who_waits(context));
    stage.expect(ALICE, "{\"kind\":\"wait\"}\n");
    stage.expect(BOB, "");
    stage.act(|room, context| room.say_own(1, context));
    let echo = stage.heard(ALICE);
    assert!(
        echo.contains(r#""from":0,"n":2,"name":"alice","text":"hi""#),
        "{echo}"
    );
    answer(
        &mut stage,
        Some(r#"{"kind":"reply","to":"msg","name":"carol"}"#),
    );
    let sent = stage.heard(ALICE);
    assert!(
        sent.contains(r#""n":3,"name":"alice","to":"carol@box-b","text":"psst""#),
        "{sent}"
    );
}

#[test]
fn newcomers_are_told_that_the_rooms_are_apart() {
    let mut stage = linked();
    stage.room.set_apart(Some("the rooms are apart"));
    stage.join(CAROL, "10.0.0.3");
    stage.expect(CAROL, "Welcome to this chatroom!\n-- the rooms are apart\n");
    stage.leave(CAROL);
    stage.room.set_apart(None);
    stage.join(ClientId::nth(3), "10.0.0.3");
    stage.expect(ClientId::nth(3), "Welcome to this chatroom!\n");
}

#[test]
fn presence_counts_everybody_everywhere() {
    let mut stage = Stage::new(Config {
        announces_presence: true,
        ..Config::plain(4096)
    });
    stage.room.span(label("box-a"));
    let box_b = label("box-b");
    stage.room.set_others([(&box_b, 9204)].into_iter());
    stage.join(ALICE, "10.0.0.1");
    stage.heard.clear();
    stage.now += PRESENCE_WINDOW;
    stage.act(|room, context| room.expire(context));
    stage.expect(ALICE, "-- 10.0.0.1 joined (9,205 here)\n");
}
