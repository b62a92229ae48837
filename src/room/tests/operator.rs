//! What members hear of what the operator says, and does to them.

use super::*;

/// Carol reads JSON.
fn with_carol() -> Stage {
    let mut stage = Stage::of_alice_and_bob();
    stage.join(CAROL, "10.0.0.3");
    stage.says(CAROL, "/json");
    stage.says(CAROL, "/nick carol");
    stage.heard.clear();
    stage
}

/// What it says of itself as a program, without place and time.
fn heard_without_place(stage: &mut Stage, id: ClientId) -> String {
    let heard = stage.heard(id);
    let objects = heard.lines().map(|line| match line.split_once("000Z\",") {
        Some((_, rest)) => format!("{{{rest}\n"),
        None => format!("{line}\n"),
    });
    objects.collect()
}

#[test]
fn the_operator_acts_and_whispers_under_a_name_that_nobody_else_can_have() {
    let mut stage = with_carol();
    stage.act(|room, context| room.see_operator(b"waves", context));
    stage.expect(ALICE, "* operator waves\n");
    let action = "{\"kind\":\"action\",\"name\":\"operator\",\"text\":\"waves\"}\n";
    assert_eq!(heard_without_place(&mut stage, CAROL), action);
    for (to, reader, told) in [
        ("BOB", BOB, "[operator] psst ␛\n"),
        (
            "carol",
            CAROL,
            "{\"kind\":\"private\",\"name\":\"operator\",\"to\":\"carol\",\"text\":\"psst ␛\"}\n",
        ),
    ] {
        stage.heard.clear();
        let sent = stage.act(|room, context| room.whisper_as_operator(to, b"psst \x1b", context));
        assert_eq!(sent.unwrap(), to.to_lowercase());
        assert_eq!(heard_without_place(&mut stage, reader), told);
        stage.expect(ALICE, "");
    }
    for nobody in ["zoe", "10.0.0.9", ""] {
        let sent = stage.act(|room, context| room.whisper_as_operator(nobody, b"x", context));
        assert!(sent.is_err(), "{nobody}");
    }
    stage.heard.clear();
    stage.says(ALICE, "/msg Operator psst");
    stage.expect(ALICE, "!! the operator gets no /msg: say it to everybody\n");
    stage.says(ALICE, "/nick operator");
    assert!(stage.heard(ALICE).starts_with("!! "));
}

#[test]
fn the_operator_sees_what_was_said_lately() {
    let mut stage = Stage::of_alice_and_bob();
    for line in ["one", "two", "/me waves", "/msg bob psst", "/who"] {
        stage.says(ALICE, line);
    }
    let lines = |count| -> Vec<String> {
        let past = stage.room.said_lately(count);
        let line = |(_, event): (_, Event<'_>)| {
            let mut line = Vec::new();
            event.write_text(&mut line);
            text(&line)
        };
        past.map(line).collect()
    };
    assert_eq!(lines(2), ["<alice> two", "* alice waves"]);
    assert_eq!(lines(99), ["<alice> one", "<alice> two", "* alice waves"]);
}

/// Each line that it says is answered, and nobody else hears of it.
#[test]
fn nothing_that_a_muted_member_says_is_passed_on() {
    let refused = "!! not sent: the operator muted you; wait until it ends\n";
    let mut stage = with_carol();
    for id in [BOB, CAROL] {
        assert!(stage.act(|room, context| room.mute(id, context)));
        assert!(!stage.act(|room, context| room.mute(id, context)));
    }
    let told = "the operator has muted you: nobody sees what you say";
    stage.expect(BOB, &format!("-- {told}\n"));
    stage.expect(
        CAROL,
        &format!("{{\"kind\":\"notice\",\"text\":\"{told}\"}}\n"),
    );
    stage.said();
    for (nth, line) in ["hi", "/me waves", "/msg alice psst", "//x"]
        .into_iter()
        .enumerate()
    {
        stage.says(BOB, line);
        stage.expect(BOB, refused);
        stage.says(CAROL, line);
        let error = format!("{{\"kind\":\"error\",\"n\":{},\"code\":\"muted\",", nth + 2);
        let heard = stage.heard(CAROL);
        assert!(
            heard.starts_with(&error) && heard.lines().count() == 1,
            "{heard}"
        );
    }
    stage.says(BOB, "/who");
    assert!(stage.heard(BOB).starts_with("-- 3 here"));
    assert_eq!(stage.said(), "");
    stage.expect(ALICE, "");

    assert_eq!(stage.room.muted().count(), 2);
    assert!(stage.act(|room, context| room.unmute(BOB, context)));
    assert!(!stage.act(|room, context| room.unmute(BOB, context)));
    stage.expect(BOB, "-- you are no longer muted\n");
    stage.says(BOB, "hi");
    stage.expect(ALICE, "<bob> hi\n");
}

#[test]
fn a_mute_holds_for_what_is_said_without_joining() {
    let mut stage = Stage::of_alice_and_bob();
    let at = "10.0.0.2".parse().unwrap();
    let say = |stage: &mut Stage, from| {
        let said = stage.act(|room, context| room.say_once("backup", from, "done", context));
        said.map_err(|(code, _)| code).is_ok()
    };
    stage.act(|room, context| room.mute(BOB, context));
    assert!(!say(&mut stage, at), "it is here");
    assert!(say(&mut stage, "10.0.0.9".parse().unwrap()));
    stage.leave(BOB);
    assert!(!say(&mut stage, at), "it has left");
    stage.room.unmute_place(at);
    assert!(
        !say(&mut stage, at),
        "the name is kept for the other address"
    );
    stage.heard.clear();
    let said = stage.act(|room, context| room.say_once("disk", at, "full", context));
    assert!(said.is_ok());
    stage.expect(ALICE, "<disk> full\n");
}

#[test]
fn who_comes_again_is_still_muted() {
    let mut stage = Stage::of_alice_and_bob();
    stage.act(|room, context| room.mute(BOB, context));
    stage.leave(BOB);
    stage.join(CAROL, "10.0.0.2");
    stage.says(CAROL, "/nick rob");
    stage.heard.clear();
    stage.says(CAROL, "hi");
    assert!(stage.heard(CAROL).starts_with("!! not sent: "));
    stage.expect(ALICE, "");
    let places: Vec<_> = stage.room.muted_places().collect();
    assert_eq!(places, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
    assert!(stage.act(|room, context| room.unmute(CAROL, context)));
    assert_eq!(stage.room.muted_places().count(), 0);
    assert!(!stage.room.unmute_place("10.0.0.2".parse().unwrap()));
}

/// A program that has lost its connection is the same member when it is back.
#[test]
fn a_mute_outlasts_a_lost_connection() {
    let mut stage = with_carol();
    stage.act(|room, context| room.mute(CAROL, context));
    stage.leave_for(
        CloseReason::Lost(std::io::ErrorKind::ConnectionReset),
        CAROL,
    );
    let again = ClientId::nth(3);
    stage.join(again, "10.0.0.3");
    stage.says(again, "/json");
    stage.says(again, "/resume 2.0000000000000000000000000000feed 0");
    stage.heard.clear();
    stage.says(again, "hi");
    assert!(stage.heard(again).contains("\"code\":\"muted\""));
    stage.expect(ALICE, "");
    // It is here again: who comes from there now may speak.
    let other = ClientId::nth(4);
    stage.join(other, "10.0.0.3");
    stage.says(other, "hello");
    stage.expect(ALICE, "<10.0.0.3> hello\n");
    stage.leave_for(CloseReason::Quit, again);
    let places: Vec<_> = stage.room.muted_places().collect();
    assert_eq!(places, ["10.0.0.3".parse::<IpAddr>().unwrap()]);
}

/// As by closing a tab of the page, and opening another one.
#[test]
fn who_comes_again_while_its_session_waits_is_muted() {
    let mut stage = with_carol();
    stage.act(|room, context| room.mute(CAROL, context));
    stage.leave_for(CloseReason::PeerClosed, CAROL);
    let (again, other) = (ClientId::nth(3), ClientId::nth(4));
    stage.join(again, "10.0.0.3");
    stage.join(other, "10.0.0.4");
    stage.says(again, "hi");
    stage.expect(ALICE, "");
    stage.says(other, "hi");
    stage.expect(ALICE, "<10.0.0.4> hi\n");
    stage.act(|room, context| assert!(room.unmute(again, context)));
    stage.says(again, "hi");
    stage.expect(ALICE, "<10.0.0.3> hi\n");
}

#[test]
fn others_are_told_who_was_kicked() {
    for reason in [CloseReason::Kicked, CloseReason::Banned] {
        let mut stage = Stage::new(Config::default());
        for (id, name) in [(ALICE, "alice"), (BOB, "bob")] {
            stage.join(id, "10.0.0.1");
            stage.says(id, format!("/nick {name}"));
        }
        stage.wait(2 * SECOND);
        stage.heard.clear();
        stage.act(|room, context| room.send_away(BOB, reason, context));
        stage.leave_for(reason, BOB);
        stage.wait(2 * SECOND);
        stage.expect(ALICE, "-- bob was kicked (1 here)\n");
    }
}
