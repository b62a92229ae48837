//! What newcomers see, and what others see of newcomers.

use super::*;

#[test]
fn only_the_newcomer_is_welcomed() {
    let mut stage = Stage::new(Config::plain(4096));
    stage.join(ALICE, "10.0.0.1");
    stage.join(BOB, "10.0.0.2");
    for id in [ALICE, BOB] {
        stage.expect(id, "Welcome to this chatroom!\n");
    }
    assert_eq!(stage.said(), "");
}

#[test]
fn presence_is_announced_once_per_window() {
    let mut stage = Stage::new(Config {
        announces_presence: true,
        ..Config::plain(4096)
    });
    assert_eq!(stage.room.deadline(), None, "no timer runs");
    stage.join(ALICE, "10.0.0.1");
    stage.join(BOB, "10.0.0.2");
    stage.says(BOB, "/nick bob");
    stage.heard.clear();
    stage.wait(PRESENCE_WINDOW);
    for id in [ALICE, BOB] {
        stage.expect(id, "-- 10.0.0.1 and bob joined (2 here)\n");
    }
    assert_eq!(stage.room.deadline(), None, "no timer runs");
    stage.says(ALICE, "/nick alice");
    stage.join(CAROL, "10.0.0.3");
    stage.heard.clear();
    stage.leave(CAROL);
    stage.leave(BOB);
    stage.wait(PRESENCE_WINDOW);
    stage.expect(ALICE, "-- bob left, 10.0.0.1 is now alice (1 here)\n");
}

#[test]
fn who_speaks_is_introduced_first() {
    let mut stage = Stage::new(Config {
        announces_presence: true,
        ..Config::plain(4096)
    });
    stage.join(BOB, "10.0.0.2");
    stage.wait(PRESENCE_WINDOW);
    stage.join(ALICE, "10.0.0.1");
    stage.join(CAROL, "10.0.0.3");
    stage.says(ALICE, "/nick alice");
    stage.heard.clear();
    stage.says(ALICE, "hi");
    stage.expect(BOB, "-- alice and 10.0.0.3 joined (3 here)\n<alice> hi\n");
    assert_eq!(stage.room.deadline(), None, "nothing is left to tell");
    for (name, line, heard) in [
        ("alicia", "hi", "<alicia> hi\n"),
        ("al", "/me waves", "* al waves\n"),
        ("alice", "/msg 10.0.0.2 psst", "[alice] psst\n"),
    ] {
        let before = stage.label(ALICE);
        stage.says(ALICE, format!("/nick {name}"));
        stage.expect(BOB, "");
        stage.says(ALICE, line);
        let notice = format!("-- {before} is now {name} (3 here)\n");
        stage.expect(BOB, &(notice + heard));
        stage.says(ALICE, "/me leaves it at that");
        stage.expect(BOB, &format!("* {name} leaves it at that\n"));
    }
    // Who has come back is no news.
    stage.leave(ALICE);
    stage.join(ALICE, "10.0.0.1");
    stage.says(ALICE, "/nick alice");
    stage.says(ALICE, "again");
    stage.expect(BOB, "<alice> again\n");
}

#[test]
fn ten_thousand_who_all_speak_cost_a_notice_of_bounded_size_each_at_most() {
    const GUESTS: usize = 10_000;
    let mut stage = Stage::new(Config {
        announces_presence: true,
        ..Config::plain(4096)
    });
    let address = "10.0.0.1".parse().unwrap();
    // All come, and then all speak.
    for id in 0..GUESTS {
        stage.room.join(ClientId::nth(id), address, stage.now);
    }
    let mut batch = Batch::new();
    let mut context = Context {
        now: stage.now,
        time: Time::default(),
        batch: &mut batch,
    };
    let mut speak = |room: &mut Room, id: usize| {
        let line = Decoded::Line(b"hi");
        room.hear(ClientId::nth(id), line, &mut context);
    };
    for id in 0..GUESTS {
        speak(&mut stage.room, id);
    }
    // Each comes and speaks at once.
    for id in GUESTS..2 * GUESTS {
        stage.room.join(ClientId::nth(id), address, stage.now);
        speak(&mut stage.room, id);
    }
    let said = text(batch.shared(Encoding::Text));
    let notices: Vec<&str> = said.lines().filter(|line| line.starts_with("--")).collect();
    assert_eq!(notices.len(), 1 + GUESTS);
    assert_eq!(notices[0], "-- 10,000 joined (10,000 here)");
    assert_eq!(notices[1], "-- 10.0.0.1 joined (10,001 here)");
    assert!(notices.iter().all(|notice| notice.len() < 40));
}

#[test]
fn ten_thousand_simultaneous_joins_are_one_line() {
    let mut stage = Stage::new(Config {
        announces_presence: true,
        ..Config::plain(4096)
    });
    for id in 0..10_000 {
        stage.join(ClientId::nth(id), "10.0.0.1");
    }
    stage.heard.clear();
    stage.wait(PRESENCE_WINDOW);
    assert_eq!(stage.said(), "-- 10,000 joined (10,000 here)\n");
    for id in 0..10_000 {
        stage.expect(ClientId::nth(id), "-- 10,000 joined (10,000 here)\n");
    }
}

#[test]
fn newcomers_get_the_notices_and_the_history() {
    let mut stage = Stage::new(Config {
        history_lines: 3,
        notices: vec!["Be kind.".to_owned(), String::new()],
        ..Config::plain(4096)
    });
    let opening = "Welcome to this chatroom!\n-- Be kind.\n-- \n";
    stage.join(ALICE, "10.0.0.1");
    stage.expect(ALICE, opening);
    stage.says(ALICE, "one");
    stage.join(BOB, "10.0.0.2");
    stage.expect(
        BOB,
        &format!("{opening}-- last line, just now:\n<10.0.0.1> one\n"),
    );
    stage.says(ALICE, "/nick alice");
    stage.says(ALICE, "/msg 10.0.0.2 not this");
    stage.says(ALICE, "/who");
    stage.says(ALICE, "two");
    stage.says(BOB, "/me threes");
    stage.act(|room, context| room.hear_operator(b"four", context));
    stage.now += 125 * SECOND;
    stage.join(CAROL, "10.0.0.3");
    let history = "-- last 3 lines, latest 2 minutes ago:\n\
                   <alice> two\n* 10.0.0.2 threes\n-- operator: four\n";
    stage.expect(CAROL, &format!("{opening}{history}"));
}

#[test]
fn a_room_remembers_its_last_life() {
    let mut stage = Stage::new(Config {
        history_lines: 2,
        ..Config::plain(4096)
    });
    let time = Time::from_millis(1_000_000);
    let earlier = Time::from_millis(1_000_000 - 125_000);
    let said = ["one", "two", "three"].map(|text| {
        (
            earlier,
            Event::Operator {
                at: None,
                text: text.into(),
            },
        )
    });
    stage.room.recall(said, time, stage.now);
    stage.join(ALICE, "10.0.0.1");
    let heading = |age| format!("Welcome to this chatroom!\n-- last 2 lines, latest {age}:\n");
    let [two, three, four] = ["two", "three", "four"].map(|text| format!("-- operator: {text}\n"));
    stage.expect(ALICE, &(heading("2 minutes ago") + &two + &three));
    stage.act(|room, context| room.hear_operator(b"four", context));
    stage.join(BOB, "10.0.0.2");
    stage.expect(BOB, &(heading("just now") + &three + &four));
}

#[test]
fn newcomers_share_one_greeting() {
    let mut stage = Stage::new(Config::default());
    stage.join(ALICE, "10.0.0.1");
    stage.says(ALICE, "one");
    let greet = |stage: &mut Stage| stage.room.greeting.frame(&stage.room.log, stage.now);
    let first = greet(&mut stage);
    stage.now += 59 * SECOND;
    assert!(Frame::ptr_eq(&first, &greet(&mut stage)));
    stage.now += SECOND;
    let later = greet(&mut stage);
    assert!(text(&later).contains("1 minute ago"));
    stage.says(ALICE, "two");
    assert!(text(&greet(&mut stage)).ends_with("one\n<10.0.0.1> two\n"));
}
