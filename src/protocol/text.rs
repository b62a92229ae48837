//! Makes text safe for other people's terminals.
//!
//! Many people read a room with `nc`, on a terminal that obeys every control sequence. So
//! the server relays only text without side effects. Our client may talk to another kind
//! of server, so it filters again with the same functions.
//!
//! [`push_safe`] replaces: bytes that are not UTF-8 (as the Unicode Standard recommends in
//! section 3.9, and `String::from_utf8_lossy` does), the C0 controls except tab, DEL, the
//! C1 controls, the line and paragraph separators, the characters that change the
//! direction of the text after them ("Trojan Source", CVE-2021-42574), and the interlinear
//! annotation characters. It keeps everything else, such as emoji joiners, direction marks
//! and combining marks: several scripts need them, and none can forge a line. But see
//! [`has_right_to_left`].

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// A multiple of every vector register's width.
const PLAIN_BLOCK_BYTES: usize = 32;

/// Appends a safe version of `text` to `out`: valid UTF-8 without LF, at most three times
/// as long as `text`.
///
/// ```
/// let mut shown = Vec::new();
/// chat::protocol::text::push_safe(&mut shown, b"caf\xc3\xa9 \x1b[2J\xff");
/// assert_eq!(shown, "café ␛[2J\u{fffd}".as_bytes());
/// ```
pub fn push_safe(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        push_safe_str(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            push_char(out, REPLACEMENT);
        }
    }
}

/// `words` in lines of at most `max_columns` characters, broken at spaces.
pub(crate) fn wrap(words: &str, max_columns: usize) -> String {
    let mut lines = String::new();
    let mut columns = 0;
    for word in words.split(' ') {
        let word_columns = word.chars().count();
        match columns {
            0 => {}
            _ if columns + 1 + word_columns > max_columns => {
                lines.push('\n');
                columns = 0;
            }
            _ => {
                lines.push(' ');
                columns += 1;
            }
        }
        lines.push_str(word);
        columns += word_columns;
    }
    lines
}

/// The left-to-right mark. Between a sender and right-to-left text, it keeps the terminal
/// from showing the sender on the other side of the text.
pub(crate) const LEFT_TO_RIGHT_MARK: &str = "\u{200e}";

/// Whether `text` contains right-to-left characters, so that a terminal with bidirectional
/// support may reorder it and the text beside it.
pub fn has_right_to_left(text: &str) -> bool {
    !text.is_ascii() && text.chars().any(is_right_to_left)
}

/// The ranges of the right-to-left scripts, future ones included (DerivedBidiClass.txt,
/// defaults R and AL), and the marks RLM and ALM.
fn is_right_to_left(c: char) -> bool {
    matches!(
        c,
        '\u{590}'..='\u{8ff}'
            | '\u{200f}'
            | '\u{fb1d}'..='\u{fdff}'
            | '\u{fe70}'..='\u{feff}'
            | '\u{10800}'..='\u{10fff}'
            | '\u{1e800}'..='\u{1efff}'
    )
}

/// A safe version of the first `max_chars` characters of `text`, to quote in an answer.
pub(crate) fn excerpt(text: &[u8], max_chars: usize) -> String {
    let text: String = String::from_utf8_lossy(text)
        .chars()
        .take(max_chars)
        .collect();
    text.chars().map(|c| replacement(c).unwrap_or(c)).collect()
}

/// Whether `text` is only printable ASCII and tabs, as most chat is.
fn is_plain(text: &[u8]) -> bool {
    let plain = |byte: u8| (b' '..0x7f).contains(&byte) | (byte == b'\t');
    // No early exit within a block, so that the compiler can vectorise it.
    let (blocks, rest) = text.as_chunks::<PLAIN_BLOCK_BYTES>();
    blocks
        .iter()
        .all(|block| block.iter().fold(true, |all, &byte| all & plain(byte)))
        && rest.iter().all(|&byte| plain(byte))
}

fn push_safe_str(out: &mut Vec<u8>, text: &str) {
    let mut copied = 0;
    for (at, c) in text.char_indices() {
        if let Some(shown) = replacement(c) {
            out.extend_from_slice(&text.as_bytes()[copied..at]);
            push_char(out, shown);
            copied = at + c.len_utf8();
        }
    }
    out.extend_from_slice(&text.as_bytes()[copied..]);
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The replacement for `c`. `None` if `c` is safe.
pub(crate) fn replacement(c: char) -> Option<char> {
    match c {
        '\t' => None,
        // Each C0 control has a picture: ESC becomes ␛.
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)),
        '\u{7f}' => Some('\u{2421}'),
        // C1 controls, such as CSI as a single character.
        '\u{80}'..='\u{9f}' => Some(REPLACEMENT),
        // Line and paragraph separator: line ends to some programs.
        '\u{2028}' | '\u{2029}' => Some(REPLACEMENT),
        // Embeddings, overrides and isolates, and the deprecated format
        // characters that swap mirrored and shaped forms.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}' => Some(REPLACEMENT),
        // Interlinear annotation: some displays hide the annotated text.
        '\u{fff9}'..='\u{fffb}' => Some(REPLACEMENT),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn safe(text: impl AsRef<[u8]>) -> String {
        let mut out = Vec::new();
        push_safe(&mut out, text.as_ref());
        String::from_utf8(out).expect("what is shown is UTF-8")
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in [
            "",
            "plain ASCII, tabs\ttoo ~",
            "ß, tabs\ttoo",
            "Grüße, 世界, привет, שלום, مرحبا",
            "👩\u{200d}👩\u{200d}👧 🏴\u{e0067}\u{e0062}\u{e007f} e\u{301}",
        ] {
            assert_eq!(safe(text), text);
        }
    }

    #[test]
    fn controls_become_visible() {
        assert_eq!(safe("\x1b[31mred\x07"), "␛[31mred␇");
        assert_eq!(safe("a\rb\nc\0d\x7f"), "a␍b␊c␀d␡");
        assert_eq!(safe("\u{9b}31m\u{85}"), "\u{fffd}31m\u{fffd}");
        assert_eq!(
            safe("\u{202e}evil\u{2066}\u{2028}"),
            "\u{fffd}evil\u{fffd}\u{fffd}"
        );
        assert_eq!(
            safe("\u{fff9}one\u{fffa}two\u{fffb}"),
            "\u{fffd}one\u{fffd}two\u{fffd}"
        );
    }

    #[test]
    fn finds_a_single_bad_byte_at_any_position() {
        for length in 1..3 * PLAIN_BLOCK_BYTES {
            for at in 0..length {
                let mut text = vec![b'x'; length];
                text[at] = 0x1b;
                let expected = format!("{}␛{}", "x".repeat(at), "x".repeat(length - at - 1));
                assert_eq!(safe(&text), expected);
            }
        }
    }

    #[test]
    fn recognises_right_to_left_text() {
        for text in [
            "שלום",
            "مرحبا",
            "\u{200f}",
            "\u{61c}",
            "a א",
            "\u{fb4f}",
            "𞤀",
        ] {
            assert!(has_right_to_left(text), "{text}");
        }
        for text in ["", "plain", "Grüße, 世界, привет", "\u{200e}", "👩"] {
            assert!(!has_right_to_left(text), "{text}");
        }
    }

    #[test]
    fn wraps_at_spaces() {
        assert_eq!(wrap("one two three", 7), "one two\nthree");
        assert_eq!(wrap("one two three", 6), "one\ntwo\nthree");
        assert_eq!(wrap("longer than that", 4), "longer\nthan\nthat");
        assert_eq!(wrap("", 4), "");
    }

    #[test]
    fn an_excerpt_is_short_and_safe() {
        assert_eq!(excerpt(b"\x1b[2J\xff and so on", 6), "␛[2J\u{fffd} ");
        assert_eq!(excerpt("é".as_bytes(), 6), "é");
    }

    #[test]
    fn two_bad_bytes_do_not_cancel_out() {
        for first in 0..PLAIN_BLOCK_BYTES {
            for second in first + 1..PLAIN_BLOCK_BYTES {
                let mut text = [b'x'; PLAIN_BLOCK_BYTES];
                (text[first], text[second]) = (0x1b, 0x1b);
                assert_eq!(safe(text).matches('␛').count(), 2);
            }
        }
    }

    #[test]
    fn ordinary_ascii_takes_the_fast_path() {
        let line = "a line of plain ASCII, longer than a block, with tabs\ttoo ~";
        assert!(line.len() > PLAIN_BLOCK_BYTES);
        assert!(is_plain(line.as_bytes()) && !is_plain("é".as_bytes()));
    }

    #[test]
    fn every_character_shown_is_harmless() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let shown = safe(c.encode_utf8(&mut [0; 4]));
            assert!(
                shown.chars().all(|c| !c.is_control() || c == '\t'),
                "U+{:04X} is shown as {shown:?}",
                u32::from(c)
            );
        }
    }

    proptest! {
        #[test]
        fn the_result_is_bounded_and_idempotent(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let once = safe(&bytes);
            prop_assert!(once.len() <= 3 * bytes.len());
            prop_assert!(once.chars().all(|c| replacement(c).is_none()));
            prop_assert_eq!(&safe(&once), &once);
        }

        #[test]
        fn agrees_with_lossy_decoding_but_for_replacements(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let lossy = String::from_utf8_lossy(&bytes);
            let expected: String = lossy.chars().map(|c| replacement(c).unwrap_or(c)).collect();
            prop_assert_eq!(safe(&bytes), expected);
        }
    }
}
