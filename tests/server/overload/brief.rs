//! The same for a second or two each, for CI: strict about who is dropped and what is heard,
//! generous with times.

use std::time::Duration;

use super::long_names::{long_name, longest_name_units};
use super::scene::{Bounds, Figures, Scene};
use super::{
    LINE, ask_who_is_here, beside_half_lines, beside_readers_that_pause, server_with_little_memory,
};
use crate::common::alone_under_load;
use crate::common::load::Says;

const GENEROUS: Bounds = Bounds {
    median: Some(Duration::from_secs(2)),
    p99: None,
    longest: Some(Duration::from_secs(8)),
};

const A_SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn expect_to_hold(figures: &Figures) {
    println!("{figures}");
    assert_eq!(figures.fault(GENEROUS), None, "{figures}");
}

#[test]
fn readers_that_pause_are_not_dropped_for_what_one_read_expands_to() {
    let _alone = alone_under_load();
    let figures = beside_readers_that_pause(Scene::brief(&[]), Duration::from_millis(2500));
    expect_to_hold(&figures);
}

#[test]
fn a_reader_that_asks_much_is_answered_and_not_dropped() {
    let _alone = alone_under_load();
    let scene = Scene::brief(&[]);
    let answered = ask_who_is_here(&scene.server, 100);
    assert!(answered.is_ok(), "{answered:?}");
}

#[test]
fn hundreds_of_flooders_delay_nobody() {
    let _alone = alone_under_load();
    let mut scene = Scene::brief(&[]);
    scene.talkers(300, |_| Says::flood(LINE));
    expect_to_hold(&scene.play(A_SECOND));
}

#[test]
fn hundreds_that_keep_changing_names_delay_nobody() {
    let _alone = alone_under_load();
    let mut scene = Scene::brief(&[]);
    let units = longest_name_units(&scene.server);
    scene.talkers(100, |nth| {
        let (name, other) = (long_name(units, nth), long_name(units - 1, nth));
        Says::flood(format!("/nick {name}\n/nick {other}\n"))
    });
    expect_to_hold(&scene.play(A_SECOND));
}

#[test]
fn newcomers_are_greeted_beside_a_crowd_that_floods_and_one_that_waits() {
    const GREETED_WITHIN: Duration = Duration::from_secs(6);
    let _alone = alone_under_load();
    let mut scene = Scene::brief(&[]);
    scene.talkers(600, |_| Says::flood(LINE));
    let (found, _) = scene.besiege(1500, A_SECOND / 2, GREETED_WITHIN);
    println!("{found}");
    assert_eq!(found.fault(GREETED_WITHIN), None, "{found}");
}

#[test]
fn extreme_values_of_options_delay_nobody() {
    let _alone = alone_under_load();
    for options in [
        ["--max-backlog", "16K", "--send-buffer", "4K"],
        ["--max-backlog", "16K", "--max-line", "1048576"],
        ["--send-buffer", "4K", "--stall-timeout", "1"],
    ] {
        let mut scene = Scene::brief(&options);
        scene.talkers(100, |_| Says::flood(LINE));
        expect_to_hold(&scene.play(A_SECOND / 2));
    }
}

/// The most expensive clients may be dropped.
#[test]
fn half_lines_do_not_end_a_server_with_little_memory() {
    let _alone = alone_under_load();
    // Of the address space, in KiB: the program itself takes part of that.
    let scene = Scene::around(server_with_little_memory(16_384), None);
    let figures = beside_half_lines(scene, 3000, A_SECOND);
    assert!(!figures.has_died, "{figures}");
    assert_eq!(figures.fault_of_delays(GENEROUS), None, "{figures}");
}
