//! The real event loop in a world without kernel and clock, where everything that can
//! happen to sockets does, in an order that a seed decides; beside it, a shadow model
//! of what each client should hear.
//!
//! A failure names its seed. To repeat one: `CHAT_SIMULATION_SEED=7 cargo test --test
//! simulation`. To run more: `CHAT_SIMULATION_SEEDS=1000000 cargo test --release
//! --test simulation`.

mod model;
mod random;
mod socket;
mod world;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::{Event, Happened, World};

/// Seeds tried unless the environment says otherwise: what takes some seconds without
/// optimisation.
const SEEDS: u64 = 100;

#[test]
fn whatever_happens_everybody_hears_the_same_once_and_in_order() {
    let number = |name| {
        env::var(name)
            .ok()
            .map(|value| value.parse().expect("a number"))
    };
    let seeds = match number("CHAT_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CHAT_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let is_one = seeds.end - seeds.start == 1;
    let mut happened = Happened::default();
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| World::new(seed).run())) {
            Ok(in_this_world) => happened += in_this_world,
            Err(panic) => {
                eprintln!("to see this again: CHAT_SIMULATION_SEED={seed}");
                resume_unwind(panic);
            }
        }
    }
    println!("{happened:?}");
    for event in Event::ALL {
        let has_happened = happened.count(event) > 0;
        assert!(is_one || has_happened, "{event:?} never happens");
    }
}
