//! Sessions: a program is the same member on whatever connection.

use super::programs::events;
use super::*;
use crate::protocol::event::Hello;
use crate::room::sessions::{ABSENCE, HOLD, MAX_LOST_PER_ADDRESS, RESUME_INTERVAL};

/// The connections of one program, one after the other, beside alice and bob.
const FIRST: ClientId = ClientId::nth(10);
const SECOND: ClientId = ClientId::nth(11);
const THIRD: ClientId = ClientId::nth(12);

/// The token of the program's session.
const TOKEN: &str = "10.0000000000000000000000000000feed";

/// A room with presence, alice who reads text, and the program carol.
fn with_carol() -> Stage {
    let mut stage = Stage::new(Config {
        announces_presence: true,
        ..Config::plain(4096)
    });
    stage.join(ALICE, "10.0.0.1");
    stage.says(ALICE, "/nick alice");
    stage.join(FIRST, "10.0.0.3");
    stage.says(FIRST, "/json");
    stage.says(FIRST, "/nick carol");
    stage.wait(PRESENCE_WINDOW);
    stage.heard.clear();
    stage
}

/// The program comes back on `connection`, and has heard what was said up to event `seq`.
fn come_back(stage: &mut Stage, connection: ClientId, seq: u64) {
    stage.join(connection, "10.0.0.3");
    stage.says(connection, "/json");
    stage.heard.clear();
    stage.says(connection, format!("/resume {TOKEN} {seq}"));
}

/// The hello that `connection` has heard first, and the numbers of the events after it.
fn resumption(stage: &mut Stage, connection: ClientId) -> (Hello<'static>, Vec<u64>) {
    let mut heard = events(stage, connection).into_iter();
    let Some((None, Event::Hello(hello))) = heard.next() else {
        panic!("no hello");
    };
    let seqs = heard.map(|(place, _)| place.expect("an event of the log").seq);
    (hello, seqs.collect())
}

#[test]
fn a_lost_program_goes_on_where_it_was() {
    let mut stage = with_carol();
    stage.says(FIRST, "one");
    let seq = stage.room.log.last_seq();
    stage.leave(FIRST);
    stage.says(ALICE, "two");
    stage.says(ALICE, "/msg carol psst");
    stage.says(ALICE, "/me waits");
    stage.heard.clear();
    come_back(&mut stage, SECOND, seq);
    let (hello, missed) = resumption(&mut stage, SECOND);
    assert!(hello.resumed);
    assert_eq!((hello.you, &*hello.name), (FIRST.serial, "carol"));
    assert_eq!((hello.heard, hello.lost, hello.here), (2, 0, 2));
    assert_eq!((&*hello.token, hello.seq), (TOKEN, seq + 3));
    assert_eq!(missed, [seq + 1, seq + 2, seq + 3]);
    stage.says(SECOND, "three");
    stage.expect(ALICE, "<carol> three\n");
    let heard = stage.heard(SECOND);
    assert!(
        heard.contains(r#""from":10,"n":3,"name":"carol""#),
        "{heard}"
    );
    // Nobody was told anything.
    stage.wait(ABSENCE + HOLD);
    stage.expect(ALICE, "");
    assert_eq!(stage.room.deadline(), None, "no timer runs");
}

#[test]
fn who_is_lost_for_long_is_told_as_gone_and_keeps_its_name_for_a_while() {
    let mut stage = with_carol();
    stage.leave(FIRST);
    stage.wait(ABSENCE / 2);
    assert_eq!(stage.room.here(), 2);
    stage.wait(ABSENCE / 2 + PRESENCE_WINDOW);
    stage.expect(ALICE, "-- carol left (1 here)\n");
    assert!(!text(&stage.room.roster()).contains("carol"));
    stage.says(ALICE, "/msg carol psst");
    stage.expect(
        ALICE,
        "!! nobody here is called carol; /who lists everybody\n",
    );
    stage.says(ALICE, "/nick carol");
    stage.expect(ALICE, "!! carol is in use; choose another\n");
    come_back(&mut stage, SECOND, 0);
    let (hello, _) = resumption(&mut stage, SECOND);
    assert_eq!(
        (hello.resumed, &*hello.name, hello.here),
        (true, "carol", 2)
    );
    stage.wait(PRESENCE_WINDOW);
    stage.expect(ALICE, "-- carol joined (2 here)\n");
    stage.leave(SECOND);
    stage.wait(HOLD + PRESENCE_WINDOW);
    assert_eq!(stage.room.here(), 1);
    assert_eq!(stage.room.members().count(), 1);
    come_back(&mut stage, THIRD, 0);
    let (hello, missed) = resumption(&mut stage, THIRD);
    assert_eq!(
        (hello.resumed, hello.you, missed),
        (false, THIRD.serial, vec![])
    );
    assert_eq!(&*hello.name, "10.0.0.3");
}

#[test]
fn whoever_is_told_as_gone_is_in_no_list() {
    for name in [None, Some("carol")] {
        let mut stage = Stage::new(Config::plain(4096));
        stage.join(FIRST, "10.0.0.3");
        stage.says(FIRST, "/json");
        if let Some(name) = name {
            stage.says(FIRST, format!("/nick {name}"));
        }
        stage.leave(FIRST);
        stage.wait(ABSENCE);
        stage.join(BOB, "10.0.0.2");
        stage.heard.clear();
        stage.says(BOB, "/json");
        let (hello, _) = resumption(&mut stage, BOB);
        let people: Vec<_> = hello.people.iter().map(|person| person.id).collect();
        assert_eq!((hello.here, people), (1, vec![BOB.serial]), "{name:?}");
    }
}

#[test]
fn the_connection_that_is_replaced_is_not_heard_and_told_so() {
    let mut stage = with_carol();
    stage.says(FIRST, "one");
    stage.standings();
    come_back(&mut stage, SECOND, 0);
    assert_eq!(stage.closed, [(FIRST, CloseReason::Replaced)]);
    assert!(resumption(&mut stage, SECOND).0.resumed);
    let kept = [
        StandingRequest::Keep(FIRST, FIRST),
        StandingRequest::Restore(FIRST, SECOND),
    ];
    let asked = stage.standings();
    assert!(asked.ends_with(&kept), "{asked:?}");
    stage.heard.clear();
    stage.says(FIRST, "left undecoded");
    stage.expect(ALICE, "");
    let bye = stage.leave_for(CloseReason::Replaced, FIRST);
    let expected = r#"{"kind":"bye","code":"replaced","heard":2,"again":null,"#;
    assert!(bye.starts_with(expected), "{bye}");
    // Its end is nobody's loss.
    stage.wait(ABSENCE + HOLD);
    assert_eq!(stage.room.here(), 2);
    assert_eq!(stage.room.program_count, 1);
}

#[test]
fn a_session_is_resumed_once_in_a_second() {
    let mut stage = with_carol();
    come_back(&mut stage, SECOND, 0);
    stage.closed.clear();
    come_back(&mut stage, THIRD, 0);
    assert_eq!(stage.closed, [(THIRD, CloseReason::TooSoon)]);
    let bye = stage.leave_for(CloseReason::TooSoon, THIRD);
    assert!(
        bye.starts_with(r#"{"kind":"bye","code":"too_soon","again":1,"#),
        "{bye}"
    );
    stage.says(SECOND, "still me");
    assert!(stage.heard(ALICE).ends_with("<carol> still me\n"));
    stage.wait(RESUME_INTERVAL);
    stage.join(BOB, "10.0.0.3");
    stage.says(BOB, "/json");
    stage.heard.clear();
    stage.says(BOB, format!("/resume {TOKEN} 0"));
    assert!(resumption(&mut stage, BOB).0.resumed);
}

#[test]
fn a_token_that_is_not_right_begins_a_session_of_its_own() {
    let mut stage = with_carol();
    stage.leave(FIRST);
    let forged = "10.0000000000000000000000000000beef";
    let own = "11.0000000000000000000000000000feed";
    for (nth, token) in [forged, own, "x", "10."].into_iter().enumerate() {
        let connection = ClientId::nth(20 + nth);
        stage.join(connection, "10.0.0.3");
        stage.says(connection, "/json");
        stage.heard.clear();
        stage.says(connection, format!("/resume {token} 0"));
        let (hello, missed) = resumption(&mut stage, connection);
        assert_eq!(
            (hello.resumed, hello.you, hello.heard),
            (false, connection.serial, 0)
        );
        assert!(missed.is_empty());
        stage.says(connection, "hi");
        assert!(stage.heard(connection).contains(r#""n":1,"#));
    }
    // From another address.
    stage.join(BOB, "10.0.0.2");
    stage.says(BOB, "/json");
    stage.heard.clear();
    stage.says(BOB, format!("/resume {TOKEN} 0"));
    assert!(!resumption(&mut stage, BOB).0.resumed);
}

#[test]
fn resume_goes_right_after_json() {
    let mut stage = with_carol();
    stage.join(SECOND, "10.0.0.3");
    stage.says(SECOND, format!("/resume {TOKEN} 0"));
    assert!(
        stage
            .heard(SECOND)
            .contains("!! /resume goes right after /json")
    );
    stage.join(THIRD, "10.0.0.3");
    stage.says(THIRD, "/json");
    stage.says(THIRD, "hi");
    stage.heard.clear();
    stage.says(THIRD, format!("/resume {TOKEN} 0"));
    let heard = stage.heard(THIRD);
    assert!(
        heard.starts_with(r#"{"kind":"error","n":2,"code":"too_late""#),
        "{heard}"
    );
}

#[test]
fn an_end_that_somebody_means_is_no_loss() {
    type End = fn(&mut Stage);
    let ends: [(CloseReason, End); 4] = [
        (CloseReason::Quit, |stage| stage.says(FIRST, "/quit")),
        (CloseReason::Kicked, |stage| {
            stage.act(|room, context| room.send_away(FIRST, CloseReason::Kicked, context));
        }),
        (CloseReason::Idle, |_| {}),
        (CloseReason::Shutdown, |stage| stage.act(Room::close)),
    ];
    for (reason, end) in ends {
        let mut stage = with_carol();
        end(&mut stage);
        if reason != CloseReason::Idle {
            // Before the connection has ended, too.
            come_back(&mut stage, SECOND, 0);
            let heard = stage.heard(SECOND);
            assert!(!heard.contains(r#""resumed":true"#), "{reason}");
        }
        stage.leave_for(reason, FIRST);
        assert!(stage.room.members().all(|(id, _)| id != FIRST), "{reason}");
    }
}

#[test]
fn whoever_is_lost_can_be_kicked() {
    for wait in [Duration::ZERO, ABSENCE] {
        let mut stage = with_carol();
        stage.leave(FIRST);
        stage.wait(wait);
        let called = stage.room.called("carol");
        assert_eq!(called.len(), 1);
        stage.act(|room, context| room.send_away(FIRST, CloseReason::Kicked, context));
        assert_eq!(stage.room.members().count(), 1);
        come_back(&mut stage, SECOND, 0);
        assert!(!resumption(&mut stage, SECOND).0.resumed);
    }
}

#[test]
fn private_messages_are_told_again_to_their_two_ends_alone() {
    let mut stage = with_carol();
    stage.join(BOB, "10.0.0.2");
    stage.says(BOB, "/nick bob");
    stage.says(BOB, "/msg alice not for carol");
    stage.says(FIRST, "/msg bob from carol");
    let from_carol = stage.room.log.last_seq();
    stage.says(BOB, "/msg carol to carol");
    stage.leave(FIRST);
    come_back(&mut stage, SECOND, from_carol - 2);
    let (hello, missed) = resumption(&mut stage, SECOND);
    assert_eq!(hello.lost, 0);
    assert_eq!(missed, [from_carol, from_carol + 1]);
}

#[test]
fn nothing_from_before_the_session_is_told_again() {
    let mut stage = Stage::new(Config::plain(4096));
    stage.join(ALICE, "10.0.0.1");
    stage.says(ALICE, "not for newcomers");
    stage.join(FIRST, "10.0.0.3");
    stage.says(FIRST, "/json");
    let began_after = stage.room.log.last_seq();
    stage.says(ALICE, "for all");
    stage.leave(FIRST);
    come_back(&mut stage, SECOND, 0);
    let (hello, missed) = resumption(&mut stage, SECOND);
    assert!(hello.resumed);
    assert_eq!((hello.lost, missed), (0, vec![began_after + 1]));
}

#[test]
fn what_the_log_has_lost_is_counted() {
    let mut stage = with_carol();
    let seq = stage.room.log.last_seq();
    stage.leave(FIRST);
    let text = "x".repeat(1000);
    for _ in 0..1000 {
        stage.says(ALICE, &text);
    }
    come_back(&mut stage, SECOND, seq);
    let (hello, missed) = resumption(&mut stage, SECOND);
    assert!(hello.lost > 500);
    assert_eq!(hello.lost + missed.len() as u64, 1000);
    assert_eq!(missed.last(), Some(&(seq + 1000)));
}

#[test]
fn a_crowd_that_is_lost_is_bounded() {
    let mut stage = Stage::new(Config::plain(4096));
    for nth in 0..=MAX_LOST_PER_ADDRESS {
        let id = ClientId::nth(nth);
        stage.join(id, "10.0.0.1");
        stage.says(id, "/json");
        stage.leave(id);
    }
    assert_eq!(stage.room.members().count(), MAX_LOST_PER_ADDRESS);
    assert_eq!(stage.room.here(), MAX_LOST_PER_ADDRESS);
    stage.wait(HOLD);
    assert_eq!(stage.room.members().count(), 0);
    assert_eq!(stage.room.here(), 0);
    assert_eq!(stage.room.program_count, 0);
}
