//! Any line from a hostile server: reading it as an event takes memory in proportion, what
//! is read is safe to show, and comes out the same once it is written and read again.

#![no_main]

use std::alloc::System;

use chat::protocol::event::Event;
use chat::protocol::event::json::max_object_bytes;
use chat_fuzz::assert_harmless;
use libfuzzer_sys::fuzz_target;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What the most values that are read take: each in a list or a map that grows as it fills.
const MAX_VALUES_BYTES: usize = 2000 * 256;

/// How often a byte of the line may be copied: as it is, unescaped, made safe (which makes
/// three of one), each time into something that grows.
const MAX_COPIES: usize = 16;

/// Larger than any line here.
const MAX_BYTES: usize = max_object_bytes(1 << 20);

fuzz_target!(|line: &[u8]| {
    let region = Region::new(ALLOCATOR);
    let read = Event::read_json(line);
    // All that it ever took, though some was given back.
    let taken_bytes = region.change().bytes_allocated;
    let most_bytes = MAX_VALUES_BYTES + MAX_COPIES * line.len();
    assert!(taken_bytes <= most_bytes, "{taken_bytes} bytes");
    let Ok(Some((place, event))) = read else {
        return;
    };
    let mut text = Vec::new();
    event.write_text(&mut text);
    text.split(|&byte| byte == b'\n').for_each(|line| {
        assert_harmless(line);
    });
    // A hello has its place among its own fields.
    let place = place.filter(|_| !matches!(event, Event::Hello(_)));
    let mut written = Vec::new();
    event.write_json(place, MAX_BYTES, &mut written);
    assert_harmless(&written);
    assert_eq!(Event::read_json(&written), Ok(Some((place, event))));
});
