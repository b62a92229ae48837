//! The real event loop in a world without kernel and clock. Everything that can happen to
//! sockets does, in an order chosen by a seed; an oracle beside it knows from what was sent what
//! each client should hear.
//!
//! A failure names its seed. To repeat one: `CHAT_SIMULATION_SEED=7 cargo test --test
//! simulation`. To run more: `CHAT_SIMULATION_SEEDS=1000000 cargo test --release --test
//! simulation`.
//!
//! `recording.txt` holds one hash for each of the first thousand seeds, of what was heard. A
//! change meant to keep the server's behaviour keeps them. After any other:
//! `CHAT_SIMULATION_RECORD=1 cargo test --release --test simulation` writes the file again.

mod cutter;
mod exactly_once;
mod fnv;
mod model;
mod oracle;
#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../common/plain_service.rs"]
mod plain_service;
mod random;
#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../common/scripted_stream.rs"]
mod scripted_stream;
mod secured;
#[path = "../common/tls_configs.rs"]
mod tls_configs;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::LazyLock;

use world::{Event, Happened, Outcome, World};

/// Seeds run unless the environment asks for more: some seconds without optimisation.
const SEEDS: u64 = if cfg!(debug_assertions) { 100 } else { 1000 };

/// Seeds in `recording.txt`, one per line.
const RECORDED_SEEDS: u64 = 1000;

const RECORDING: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/simulation/recording.txt"
);

fn number(variable: &str) -> Option<u64> {
    let value = env::var(variable).ok()?;
    Some(value.parse().expect("a number"))
}

fn run(seed: u64, world: impl FnOnce(u64) -> World) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| world(seed).run())) {
        Ok(outcome) => outcome,
        Err(panic) => {
            eprintln!("to see this again: CHAT_SIMULATION_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// The outcome of each seed, run once for both tests.
static OUTCOMES: LazyLock<BTreeMap<u64, Outcome>> = LazyLock::new(|| {
    let seeds = match number("CHAT_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None if is_to_be_recorded() => 0..RECORDED_SEEDS,
        None => 0..number("CHAT_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    seeds.map(|seed| (seed, run(seed, World::new))).collect()
});

fn is_to_be_recorded() -> bool {
    number("CHAT_SIMULATION_RECORD").is_some()
}

#[test]
fn whatever_happens_everybody_hears_the_same_once_and_in_order() {
    let mut happened = Happened::default();
    for outcome in OUTCOMES.values() {
        happened += outcome.happened.clone();
    }
    println!("{happened:?}");
    for event in Event::ALL {
        let has_happened = happened.count(event) > 0;
        assert!(
            OUTCOMES.len() == 1 || has_happened,
            "{event:?} never happens"
        );
    }
}

#[test]
fn the_same_holds_where_half_of_them_speak_tls() {
    let seeds = match number("CHAT_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        // A handshake takes a millisecond.
        None => 0..number("CHAT_SIMULATION_SEEDS").unwrap_or(SEEDS) / 4,
    };
    for seed in seeds {
        run(seed, World::secured);
    }
}

#[test]
fn the_first_thousand_seeds_are_heard_as_recorded() {
    if is_to_be_recorded() {
        let hashes = OUTCOMES
            .values()
            .map(|outcome| format!("{}\n", outcome.heard));
        fs::write(RECORDING, hashes.collect::<String>()).expect("a writable recording");
        return;
    }
    let recording = fs::read_to_string(RECORDING).expect("a recording beside this file");
    let recorded: Vec<&str> = recording.lines().collect();
    assert_eq!(recorded.len() as u64, RECORDED_SEEDS);
    let differing: Vec<u64> = OUTCOMES
        .range(..RECORDED_SEEDS)
        .filter(|(seed, outcome)| outcome.heard.to_string() != recorded[**seed as usize])
        .map(|(seed, _)| *seed)
        .collect();
    assert!(
        differing.is_empty(),
        "not heard as recorded: seeds {differing:?}"
    );
}

#[test]
fn whatever_breaks_each_line_is_said_once_and_each_event_heard_once() {
    let seeds = match number("CHAT_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CHAT_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let is_one = seeds.end - seeds.start == 1;
    let mut all = [0; 5];
    for seed in seeds {
        let run = catch_unwind(|| exactly_once::run(seed)).unwrap_or_else(|panic| {
            eprintln!("to see this again: CHAT_SIMULATION_SEED={seed}");
            resume_unwind(panic)
        });
        let exactly_once::Happened {
            resumed,
            in_doubt,
            lost,
            over,
            too_soon,
        } = run;
        let counts = [resumed, in_doubt, lost as usize, over, too_soon];
        all = std::array::from_fn(|nth| all[nth] + counts[nth]);
    }
    println!("resumed, in doubt, events lost, replaced, too soon: {all:?}");
    assert!(is_one || all.iter().all(|&count| count > 0), "{all:?}");
}
