//! What is shown of what is heard, and when the bell rings.

use super::*;

#[test]
fn the_bell_rings_as_configured() {
    for (bell, expected) in [(Bell::Never, 0), (Bell::Mention, 2), (Bell::All, 3)] {
        let look = Look {
            palette: Palette { is_colored: true },
            stamp: None,
            bell,
        };
        let mut scene = Scene::with(look, 40, 10);
        scene.hear("<alice> hi Bob");
        scene.hear("[alice] psst");
        scene.hear("<alice> hi all");
        // After three at once one has to wait.
        scene.hear("* alice waves");
        scene.hear("-- bob is now rob (2 here)");
        scene.type_keys("bob\x1b[D\r");
        assert_eq!(scene.rings(), expected, "{bell:?}");
    }
}

#[test]
fn history_does_not_ring_and_has_no_time() {
    let mut scene = with_times();
    let past = Message {
        is_past: true,
        ..Message::parse("<alice> hi bob")
    };
    scene.prompt.heard(&past, now());
    scene.draw();
    assert_eq!(
        (scene.rows()[0].as_str(), scene.rings()),
        ("      <alice> hi bob", 0)
    );
}

#[test]
fn only_the_present_name_is_a_mention() {
    let mut scene = Scene::new(40, 10);
    scene.set_status_of("rob", LinkStatus::In { is_ours: true }, 0);
    scene.hear("<alice> hi bob");
    assert_eq!(scene.rings(), 0);
    scene.hear("<alice> hi rob");
    assert_eq!(scene.rings(), 1);
}

#[test]
fn the_time_stands_in_the_margin_if_wanted() {
    let mut scene = with_times();
    scene.hear("<alice> hi");
    scene.type_keys("hi\r");
    assert_eq!(scene.rows(), ["00:00 <alice> hi", "00:00 <You> hi", "bob>"]);
}

/// One that is told the time.
fn with_times() -> Scene {
    let look = Look {
        palette: Palette { is_colored: false },
        stamp: Some(Stamp::new(
            TimeZone::utc(),
            local_time::Format::HoursMinutes,
        )),
        bell: Bell::Mention,
    };
    Scene::with(look, 40, 10)
}

#[test]
fn the_day_is_told_where_it_changes() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let mut scene = with_times();
    let yesterday = Message {
        is_past: true,
        time: Some(UNIX_EPOCH - DAY / 24),
        ..Message::parse("<alice> good night")
    };
    scene.prompt.heard(&yesterday, now());
    scene.hear("<alice> good morning");
    scene.hear("<alice> and you?");
    let tomorrow = Moment {
        time: UNIX_EPOCH + DAY,
        ..now()
    };
    scene.prompt.heard(&Message::parse("<alice> hi"), tomorrow);
    scene.draw();
    let rows = [
        "-- 1969-12-31",
        "23:00 <alice> good night",
        "-- 1970-01-01",
        "00:00 <alice> good morning",
        "00:00 <alice> and you?",
        "-- 1970-01-02",
        "00:00 <alice> hi",
        "bob>",
    ];
    assert_eq!(scene.rows(), rows);
}

#[test]
fn somebody_can_be_ignored_here() {
    let mut scene = Scene::new(70, 10);
    scene.type_keys("/ignore Alice\r");
    scene.hear("<alice> hi bob");
    scene.hear("[alice] psst");
    scene.hear("<carol> hi");
    scene.type_keys("/ignore bob\r/ignore\r/unignore alice\r ");
    scene.hear("<alice> at last");
    scene.type_keys("\x15 /ignore carol\r");
    let rows = [
        "-- ignoring Alice; /unignore Alice ends that",
        "<carol> hi",
        "!! that is you",
        "-- ignoring Alice",
        "-- no longer ignoring alice",
        "<alice> at last",
    ];
    assert_eq!(scene.rows()[..rows.len()], rows);
    assert!(scene.rows()[rows.len()].starts_with("!! not sent: a command"));
    assert_eq!((scene.said().len(), scene.rings()), (0, 0));
    let mut scene = Scene::new(70, 10);
    scene.set_link(LinkStatus::In { is_ours: false });
    scene.type_keys("/ignore alice\r");
    assert_eq!(scene.said(), ["/ignore alice\n"], "a room without commands");
}
