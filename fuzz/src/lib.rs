//! What the fuzz targets share: what is safe to show, said a second time.
//!
//! Said without a look at `chat::protocol::text`: were the targets to ask that which they
//! test, a character forgotten there would be forgotten here.

/// Whether `c` may be shown to somebody else: not a control character but tab, and
/// nothing that ends a line or changes the direction of what follows.
pub fn is_harmless(c: char) -> bool {
    let changes_direction =
        ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
    // Controls are C0, DEL and C1; LF is one of them.
    (c == '\t' || !c.is_control()) && !changes_direction && !ends_line
}

/// `bytes` as text.
///
/// # Panics
///
/// When they are not UTF-8, or hold a character that is not harmless.
pub fn assert_harmless(bytes: &[u8]) -> &str {
    let text = std::str::from_utf8(bytes).expect("what is shown is UTF-8");
    let harmful = text.chars().find(|&c| !is_harmless(c));
    assert_eq!(harmful, None, "shown in {text:?}");
    text
}
