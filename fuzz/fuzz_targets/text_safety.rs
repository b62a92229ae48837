//! Any bytes: what is shown is harmless text of a bounded length, and nothing is
//! changed that need not be.

#![no_main]

use chat::protocol::text::push_safe;
use chat_fuzz::{assert_harmless, is_harmless};
use libfuzzer_sys::fuzz_target;

/// The most bytes that one byte becomes: an invalid one, U+FFFD.
const MAX_GROWTH: usize = 3;

const BEFORE: &[u8] = b"what stands there\xff\n";

fuzz_target!(|bytes: &[u8]| {
    let shown = safe(bytes);
    let text = assert_harmless(&shown);
    assert!(shown.len() <= MAX_GROWTH * bytes.len());
    assert_eq!(safe(&shown), shown, "it is safe already");

    // Each character is either harmless, and stays, or one other stands for it.
    let original = String::from_utf8_lossy(bytes);
    assert_eq!(text.chars().count(), original.chars().count());
    for (shown, original) in text.chars().zip(original.chars()) {
        let is_annotation = ('\u{fff9}'..='\u{fffb}').contains(&original);
        let is_deprecated = ('\u{206a}'..='\u{206f}').contains(&original);
        let may_stay = is_harmless(original) && !is_annotation && !is_deprecated;
        assert_eq!(shown == original, may_stay, "{original:?} as {shown:?}");
    }
});

fn safe(bytes: &[u8]) -> Vec<u8> {
    let mut out = BEFORE.to_vec();
    push_safe(&mut out, bytes);
    assert!(out.starts_with(BEFORE), "it only appends");
    out.split_off(BEFORE.len())
}
