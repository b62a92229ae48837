//! What the fuzz targets share: an independent definition of harmless text.
//!
//! It does not use `chat::protocol::text`: a character forgotten there would be missed here,
//! too.

/// Whether `c` may be shown to others: no control character but tab, and nothing that ends a
/// line or changes the direction of text.
pub fn is_harmless(c: char) -> bool {
    let changes_direction =
        ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    let ends_line = matches!(c, '\u{2028}' | '\u{2029}');
    // Control characters are C0, DEL and C1, LF included.
    (c == '\t' || !c.is_control()) && !changes_direction && !ends_line
}

/// `bytes` as text.
///
/// # Panics
///
/// If they are not UTF-8, or hold a harmful character.
pub fn assert_harmless(bytes: &[u8]) -> &str {
    let text = std::str::from_utf8(bytes).expect("what is shown is UTF-8");
    let harmful = text.chars().find(|&c| !is_harmless(c));
    assert_eq!(harmful, None, "shown in {text:?}");
    text
}
