//! Rounds with servers played by the test.

use std::num::NonZeroU32;
use std::sync::LazyLock;

use super::super::framing::{Cut, LineReader};
use super::*;
use crate::stress::protocol::Wire;

static CHAT: LazyLock<Protocol> = LazyLock::new(|| Protocol::chat(Wire::Text));

const SECOND: u64 = 1_000_000_000;
const REPETITION: u64 = REPETITION_TIMEOUT.as_nanos() as u64;
const STALL: u64 = STALL_TIMEOUT.as_nanos() as u64;

fn in_flight(count: u32) -> Pace {
    Pace::InFlight(NonZeroU32::new(count).unwrap())
}

fn round(clients: usize, talkers: usize, pace: Pace, end: End) -> Round<'static> {
    let load = Load {
        pace,
        size_bytes: 32,
        end,
        round: 1,
    };
    Round::new(&load, &CHAT, vec![true; clients], talkers)
}

/// What is said now: by whom, and how many lines. The kernel takes it at once.
fn said(round: &mut Round, now_nanos: u64) -> Vec<(usize, usize)> {
    let mut batch = Vec::new();
    let mut said = Vec::new();
    while let Some(talker) = round.next_batch(now_nanos, &mut batch) {
        said.push((talker, batch.len() / 32));
        round.taken(talker, now_nanos);
    }
    said
}

fn line(talker: usize, number: u32) -> Vec<u8> {
    let mut line = b"<127.0.0.1> ".to_vec();
    Payload::new(1, 32).compose(talker, number, &mut line);
    line.pop();
    line
}

#[test]
fn in_a_closed_loop_a_line_waits_for_the_one_before() {
    let mut round = round(3, 1, in_flight(1), End::Lines(2));
    assert_eq!(said(&mut round, 0), [(0, 1)]);
    round.heard(1, &line(0, 0), 1);
    assert_eq!(said(&mut round, 2), []);
    round.heard(2, &line(0, 0), 3);
    assert_eq!(said(&mut round, 4), [(0, 1)]);
    round.heard(1, &line(0, 1), 5);
    assert!(!round.is_over(6));
    round.heard(2, &line(0, 1), 7);
    assert_eq!(said(&mut round, 8), []);
    assert!(!round.is_over(8), "a repetition may come");
    assert!(round.is_over(7 + REPETITION));
    let outcome = round.into_outcome(7 + REPETITION);
    assert_eq!((outcome.tally.lines, outcome.tally.deliveries), (2, 4));
    assert_eq!((outcome.lost, outcome.stalled), (0, false));
    assert_eq!(outcome.elapsed, Duration::from_nanos(7));
}

#[test]
fn several_lines_in_flight_go_out_together() {
    let mut round = round(2, 2, in_flight(5), End::Lines(7));
    assert_eq!(said(&mut round, 0), [(0, 5), (1, 5)]);
    round.heard(1, &line(0, 0), 1);
    round.heard(1, &line(0, 1), 1);
    assert_eq!(said(&mut round, 2), [(0, 2)]);
}

#[test]
fn lines_on_a_schedule_come_whether_or_not_they_are_heard() {
    let mut round = round(
        2,
        1,
        Pace::PerSecond(10.0),
        End::After(Duration::from_secs(1)),
    );
    assert_eq!(said(&mut round, 0), [(0, 1)]);
    assert_eq!(round.timeout(0), Duration::from_millis(100));
    assert_eq!(said(&mut round, SECOND / 20), []);
    assert_eq!(said(&mut round, SECOND / 2), [(0, 5)]);
    assert_eq!(
        said(&mut round, 2 * SECOND),
        [(0, 4)],
        "none is due at the end"
    );
    for number in 0..10 {
        round.heard(1, &line(0, number), 2 * SECOND);
    }
    assert!(round.is_over(2 * SECOND + REPETITION));
    let outcome = round.into_outcome(2 * SECOND + REPETITION);
    let worst = outcome.delays.total().unwrap().at_percentile(100.0);
    assert!(
        worst >= Duration::from_secs(2),
        "from when it was due: {worst:?}"
    );
}

#[test]
fn a_blocked_talker_catches_up_and_its_delays_count_from_the_due_time() {
    let mut round = round(2, 1, Pace::PerSecond(10.0), End::Lines(3));
    let mut batch = Vec::new();
    assert_eq!(round.next_batch(0, &mut batch), Some(0));
    assert_eq!(round.next_batch(SECOND, &mut batch), None, "it is blocked");
    round.taken(0, SECOND);
    assert_eq!(said(&mut round, SECOND), [(0, 2)]);
    round.heard(1, &line(0, 0), SECOND);
    round.heard(1, &line(0, 1), SECOND);
    let outcome = round.into_outcome(SECOND);
    let delay = outcome.delays.total().unwrap().at_percentile(1.0);
    assert!(delay >= Duration::from_millis(890), "{delay:?}");
}

#[test]
fn a_silent_server_that_owes_lines_is_given_up_even_while_lines_come_due() {
    let end = End::After(Duration::from_secs(3600));
    let mut round = round(2, 1, Pace::PerSecond(1.0), end);
    said(&mut round, 0);
    for second in 1..10 {
        said(&mut round, second * SECOND);
        assert!(!round.is_over(second * SECOND), "{second}");
    }
    assert!(round.is_over(STALL));
    let outcome = round.into_outcome(STALL);
    assert!(outcome.stalled);
    assert_eq!(outcome.lost, 10);
}

#[test]
fn a_quiet_room_in_which_nothing_is_owed_is_not_stalled() {
    let end = End::After(Duration::from_secs(3600));
    let mut round = round(2, 1, Pace::PerSecond(0.01), end);
    said(&mut round, 0);
    round.heard(1, &line(0, 0), 1);
    assert!(!round.is_over(99 * SECOND));
    assert!(round.timeout(SECOND) > Duration::from_secs(9));
}

#[test]
fn a_server_that_takes_nothing_is_given_up() {
    let mut round = round(1, 1, in_flight(1), End::After(Duration::from_secs(1)));
    assert_eq!(round.next_batch(0, &mut Vec::new()), Some(0));
    assert!(!round.is_over(STALL - 1));
    assert!(round.is_over(STALL));
    assert!(round.into_outcome(STALL).stalled);
}

#[test]
fn when_the_time_is_up_nothing_new_is_said() {
    let mut round = round(2, 1, in_flight(1), End::After(Duration::from_secs(1)));
    said(&mut round, 0);
    assert_eq!(round.timeout(0), Duration::from_secs(1));
    round.heard(1, &line(0, 0), 2 * SECOND);
    assert_eq!(said(&mut round, 2 * SECOND), []);
    assert!(round.is_over(2 * SECOND + REPETITION));
}

#[test]
fn hushed_talkers_say_nothing_new() {
    let mut round = round(2, 1, Pace::PerSecond(10.0), End::Lines(1000));
    said(&mut round, SECOND);
    assert!(round.next_batch(2 * SECOND, &mut Vec::new()).is_some());
    round.hush();
    round.taken(0, 3 * SECOND);
    assert_eq!(said(&mut round, 4 * SECOND), [], "not even what is due");
    for number in 0..21 {
        round.heard(1, &line(0, number), 4 * SECOND);
    }
    assert!(round.is_over(4 * SECOND + REPETITION));
}

#[test]
fn a_client_left_alone_falls_silent() {
    let mut round = round(2, 1, in_flight(1), End::After(Duration::from_secs(60)));
    said(&mut round, 0);
    round.gone(1, 1);
    assert_eq!(said(&mut round, 2), []);
    assert!(round.is_over(1 + REPETITION));
}

#[test]
fn repetitions_after_the_last_line_are_found() {
    let mut round = round(2, 1, in_flight(1), End::Lines(1));
    said(&mut round, 0);
    round.heard(1, &line(0, 0), 1);
    assert!(!round.is_over(2));
    round.heard(1, &line(0, 0), 3);
    assert!(!round.is_over(1 + REPETITION));
    assert_eq!(round.into_outcome(SECOND).tally.duplicated, 1);
}

#[test]
fn a_line_passed_over_has_time_to_come() {
    let mut round = round(2, 1, in_flight(2), End::Lines(2));
    said(&mut round, 0);
    round.heard(1, &line(0, 1), 1);
    assert!(!round.is_over(1 + REPETITION));
    round.heard(1, &line(0, 0), 2 + REPETITION);
    assert!(round.is_over(2 + 2 * REPETITION));
    let outcome = round.into_outcome(SECOND);
    assert_eq!((outcome.tally.reordered, outcome.lost), (1, 0));
}

#[test]
fn a_reader_that_is_gone_is_not_waited_for() {
    let mut round = round(3, 1, in_flight(1), End::Lines(2));
    said(&mut round, 0);
    round.heard(1, &line(0, 0), 1);
    round.gone(2, 2);
    assert_eq!(said(&mut round, 3), [(0, 1)]);
    round.gone(1, 4);
    round.gone(0, 5);
    assert!(round.is_over(5));
}

#[test]
fn a_talker_that_is_gone_owes_nothing() {
    let mut round = round(3, 2, in_flight(1), End::Lines(1));
    assert_eq!(round.next_batch(0, &mut Vec::new()), Some(0));
    round.gone(0, 1);
    assert_eq!(said(&mut round, 2), [(1, 1)]);
    round.heard(2, &line(1, 0), 3);
    assert!(round.is_over(3 + REPETITION));
    let outcome = round.into_outcome(3 + REPETITION);
    assert_eq!((outcome.lost, outcome.tally.undecided), (0, 2));
}

#[test]
fn what_the_server_says_is_kept_and_made_safe() {
    let mut round = round(2, 1, in_flight(1), End::Lines(1));
    round.heard(1, b"-- 3 joined", 0);
    round.heard(1, b"!! too \x1b[31mlong", 0);
    round.heard(1, b"<127.0.0.1> hello", 0);
    let outcome = round.into_outcome(0);
    assert_eq!((outcome.other_lines, outcome.notices), (1, 2));
    assert_eq!(outcome.complaint.as_deref(), Some("!! too ␛[31mlong"));
}

#[test]
fn a_notice_that_quotes_a_line_is_no_flaw() {
    let mut round = round(2, 1, in_flight(1), End::Lines(1));
    assert_eq!(said(&mut round, 0), [(0, 1)]);
    let quoted = String::from_utf8(line(0, 0)).unwrap();
    round.heard(1, format!("-- last line: {quoted}").as_bytes(), 1);
    round.heard(1, &line(0, 0), 2);
    let outcome = round.into_outcome(2);
    assert_eq!((outcome.garbled, outcome.tally.duplicated), (0, 0));
    assert_eq!((outcome.notices, outcome.tally.deliveries), (1, 1));
}

#[test]
fn the_longest_silence_counts_while_something_is_owed() {
    let mut round = round(3, 1, Pace::PerSecond(1.0), End::Lines(2));
    assert_eq!(said(&mut round, 0), [(0, 1)]);
    round.heard(1, &line(0, 0), 10);
    round.heard(2, &line(0, 0), 40);
    // Nothing is owed until the next line.
    assert_eq!(said(&mut round, SECOND), [(0, 1)]);
    round.heard(1, &line(0, 1), SECOND + 20);
    round.heard(2, &line(0, 1), SECOND + 25);
    let outcome = round.into_outcome(SECOND + 25);
    assert_eq!(outcome.longest_silence, Duration::from_nanos(30));
}

/// A talker says three lines, and the reader is sent `bytes` for them, in every possible
/// size of chunks: how many were delivered, lost, duplicated, garbled, and others.
#[track_caller]
fn found(bytes: &[u8]) -> [u64; 5] {
    let found = |chunk_bytes| {
        let mut round = round(2, 1, in_flight(3), End::Lines(3));
        assert_eq!(said(&mut round, 0), [(0, 3)]);
        let mut reader = LineReader::new(1000);
        for chunk in bytes.chunks(chunk_bytes) {
            reader.push(chunk, |cut| match cut {
                Cut::Line(line) => round.heard(1, line, 1),
                Cut::TooLong(beginning) => round.heard_other(beginning),
            });
        }
        let Outcome {
            tally,
            lost,
            garbled,
            other_lines,
            ..
        } = round.into_outcome(1);
        let Tally {
            deliveries,
            duplicated,
            ..
        } = tally;
        [deliveries, lost, duplicated, garbled, other_lines]
    };
    let first = found(1);
    for chunk_bytes in 2..=bytes.len() {
        assert_eq!(found(chunk_bytes), first, "in chunks of {chunk_bytes}");
    }
    first
}

#[test]
fn faults_of_framing_are_found_without_the_servers_decoder() {
    let [a, b, c] = [0, 1, 2].map(|number| line(0, number));
    let unsigned = &b["<127.0.0.1> ".len()..];
    let (head, tail) = b.split_at(30);
    let whole = [&a[..], b"\n", &b, b"\n", &c, b"\n"].concat();
    assert_eq!(found(&whole), [3, 0, 0, 0, 0]);
    for (fault, bytes, expected) in [
        (
            "torn",
            [&a[..], b"\n", head, b"\n", tail, b"\n", &c, b"\n"].concat(),
            [2, 1, 0, 1, 1],
        ),
        (
            "glued",
            [&a[..], &b[..], b"\n", &c, b"\n"].concat(),
            [1, 2, 0, 1, 0],
        ),
        (
            "glued, unsigned",
            [&a[..], unsigned, b"\n", &c, b"\n"].concat(),
            [1, 2, 0, 1, 0],
        ),
        (
            "unsigned",
            [&a[..], b"\n", unsigned, b"\n", &c, b"\n"].concat(),
            [2, 1, 0, 1, 0],
        ),
        (
            "a LF shown in front",
            [
                &a[..],
                "\n<127.0.0.1> ␊".as_bytes(),
                unsigned,
                b"\n",
                &c,
                b"\n",
            ]
            .concat(),
            [2, 1, 0, 1, 0],
        ),
        (
            "glued on a LF shown",
            [&a[..], "␊".as_bytes(), &b, b"\n", &c, b"\n"].concat(),
            [1, 2, 0, 1, 0],
        ),
        (
            "doubled",
            [&a[..], b"\n", &b, b"\n", &b, b"\n", &c, b"\n"].concat(),
            [3, 0, 1, 0, 0],
        ),
        (
            "doubled within",
            [&a[..], b"\n", &b, unsigned, b"\n", &c, b"\n"].concat(),
            [2, 1, 0, 1, 0],
        ),
        (
            "first byte dropped",
            [&a[..], b"\n", &b[1..], b"\n", &c, b"\n"].concat(),
            [2, 1, 0, 1, 0],
        ),
        (
            "last byte dropped",
            [&a[..], b"\n", &b[..b.len() - 1], b"\n", &c, b"\n"].concat(),
            [2, 1, 0, 1, 0],
        ),
        (
            "CR added",
            [&a[..], b"\n", &b, b"\r\n", &c, b"\n"].concat(),
            [2, 1, 0, 1, 0],
        ),
        (
            "never ended",
            [&a[..], b"\n", &b, b"\n", &c[..]].concat(),
            [2, 1, 0, 0, 0],
        ),
    ] {
        assert_eq!(found(&bytes), expected, "{fault}");
    }
}
