//! What a server says of itself, kept to be shown: notices and refusals.

use crate::text::push_safe;

/// The most that is kept of it.
pub const MAX_WORDS_BYTES: usize = 200;

/// The first line of what a server says, fit to be shown.
pub fn safe_words(text: &[u8]) -> String {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut safe = Vec::new();
    push_safe(&mut safe, &line[..line.len().min(MAX_WORDS_BYTES)]);
    String::from_utf8_lossy(safe.trim_ascii()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_it_is_shown_and_does_no_harm() {
        assert_eq!(
            safe_words(b"!! go\x07 away\x1b[2J\r\nnow"),
            "!! go\u{2407} away\u{241b}[2J\u{240d}"
        );
        assert_eq!(safe_words(&[b'x'; 999]).len(), MAX_WORDS_BYTES);
        assert_eq!(safe_words(b""), "");
    }
}
