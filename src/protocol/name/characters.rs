//! The characters of names: which there are, how they are normalised and folded, and what
//! they look like.
//!
//! Unicode's rules, for the characters that [`tables`](super::tables) has: those that names may hold, and
//! what comes of them. Text with other characters keeps these as they are; no name has them.

use super::tables::{CLASSES, COMPOSITIONS, DECOMPOSITIONS, FOLDINGS, PROTOTYPES, RANGES};

/// As the kinds in [`CLASSES`].
const ALLOWED: u8 = 1;
const MARK: u8 = 2;
const DIACRITIC: u8 = 4;

/// As the scripts in [`CLASSES`].
const LATIN: u64 = 1;
const EAST_ASIAN_SYSTEMS: u64 = 0b1110;

/// The number of bits of a character in the tables.
const CHARACTER_BITS: u32 = 21;

/// The number of bits of a class in [`RANGES`].
const CLASS_BITS: u32 = 8;

/// Of all characters. Most text has none from there on, which saves the search.
const FIRST_MARK: char = '\u{300}';
const FIRST_COMPOSED: char = 'À';

struct Class {
    scripts: u64,
    combining_class: u8,
    kind: u8,
}

fn class(c: char) -> Class {
    let after = RANGES.partition_point(|range| range >> CLASS_BITS <= u32::from(c));
    let index = RANGES[after - 1] & ((1 << CLASS_BITS) - 1);
    let (scripts, combining_class, kind) = CLASSES[index as usize];
    Class {
        scripts,
        combining_class,
        kind,
    }
}

/// Whether UTS #39 recommends `c` for identifiers, or it is one of `-`, `.`, U+02BB and
/// U+02BC.
pub(super) fn is_allowed(c: char) -> bool {
    class(c).kind & ALLOWED != 0
}

/// Whether `c` is a combining mark.
pub(in crate::protocol) fn is_mark(c: char) -> bool {
    c >= FIRST_MARK && class(c).kind & MARK != 0
}

/// Whether `c` is a mark that changes letters of several scripts, or a nukta. The marks of
/// a single script, such as vowel signs, are none.
pub(super) fn is_diacritic(c: char) -> bool {
    c >= FIRST_MARK && class(c).kind & DIACRITIC != 0
}

/// The canonical combining class of `c`: 0 for what begins a letter; marks of the same
/// class are at the same side of it.
pub(super) fn combining_class(c: char) -> u8 {
    if c < FIRST_MARK {
        0
    } else {
        class(c).combining_class
    }
}

/// Whether `text` is written in one script, or in Latin and what Chinese, Japanese or
/// Korean is written in (UTS #39, section 5.2, *Highly Restrictive*).
pub(super) fn is_of_one_script(text: &str) -> bool {
    if text.is_ascii() {
        return true;
    }
    let (mut common, mut common_but_latin) = (u64::MAX, u64::MAX);
    for c in text.chars() {
        let scripts = class(c).scripts;
        common &= scripts;
        if scripts & LATIN == 0 {
            common_but_latin &= scripts;
        }
    }
    common != 0 || common_but_latin & EAST_ASIAN_SYSTEMS != 0
}

/// Normalisation form D.
pub(super) fn decomposed(text: &str) -> Vec<char> {
    let mut parts: Vec<char> = Vec::with_capacity(text.len());
    for c in text.chars() {
        if c < FIRST_COMPOSED {
            parts.push(c);
        } else if let Some(syllable) = hangul::index(c) {
            parts.extend(hangul::decomposed(syllable));
        } else {
            parts.extend(mapped(&DECOMPOSITIONS, c));
        }
    }
    put_marks_in_order(&mut parts);
    parts
}

/// Normalisation form C.
pub(super) fn composed(text: &str) -> String {
    if text.is_ascii() {
        text.to_owned()
    } else {
        compose(&decomposed(text))
    }
}

/// `text` for comparison without case: full case folding of normalised text (the Unicode
/// Standard, section 3.13, canonical caseless matching).
pub(super) fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut folded = String::with_capacity(text.len());
    for c in decomposed(text) {
        if let Some(parts) = find(&FOLDINGS, c) {
            folded.extend(parts);
        } else {
            folded.extend(c.to_lowercase());
        }
    }
    composed(&folded)
}

/// What `text` looks like (UTS #39, section 4).
pub(super) fn skeleton(text: &str) -> String {
    let prototypes = decomposed(text)
        .into_iter()
        .flat_map(|c| mapped(&PROTOTYPES, c));
    let mut prototypes: Vec<char> = prototypes.collect();
    put_marks_in_order(&mut prototypes);
    prototypes.into_iter().collect()
}

/// What `table` has for `c`; otherwise `c`.
fn mapped(table: &'static [u64], c: char) -> impl Iterator<Item = char> {
    let found = find(table, c);
    let itself = found.is_none().then_some(c);
    found.into_iter().flatten().chain(itself)
}

/// What `table` has for `c`.
fn find(table: &'static [u64], c: char) -> Option<impl Iterator<Item = char>> {
    let first = table.partition_point(|entry| *entry < packed([c, '\0', '\0']));
    let entries = table[first..].iter().map(|entry| unpacked(*entry));
    let mut entries = entries.take_while(move |[from, ..]| *from == c).peekable();
    entries.peek()?;
    let parts =
        entries.flat_map(|[_, first, second]| [Some(first), (second != '\0').then_some(second)]);
    Some(parts.flatten())
}

fn packed(characters: [char; 3]) -> u64 {
    let pack = |packed, c| packed << CHARACTER_BITS | u64::from(c);
    characters.into_iter().fold(0, pack)
}

fn unpacked(entry: u64) -> [char; 3] {
    [2, 1, 0].map(|place| {
        let bits = (entry >> (place * CHARACTER_BITS)) as u32 & ((1 << CHARACTER_BITS) - 1);
        char::from_u32(bits).expect("a character")
    })
}

/// The canonical order: marks on the same letter by their combining class.
fn put_marks_in_order(text: &mut [char]) {
    let is_mark = |c: &char| combining_class(*c) != 0;
    for letter in text.chunk_by_mut(|_, next| is_mark(next)) {
        // The first of the text may be a mark itself.
        let marks = usize::from(!is_mark(&letter[0]));
        if letter.len() > marks + 1 {
            letter[marks..].sort_by_key(|c| combining_class(*c));
        }
    }
}

/// Normalisation form C of decomposed text (the Unicode Standard, section 3.11).
pub(super) fn compose(parts: &[char]) -> String {
    let mut text: Vec<char> = Vec::with_capacity(parts.len());
    // Where the last character without a combining class is, and the class of what
    // follows it.
    let mut starter = None;
    let mut class_before = 0;
    for &c in parts {
        let class = combining_class(c);
        let is_blocked = |at: usize| at + 1 < text.len() && class_before >= class;
        if let Some(at) = starter
            && !is_blocked(at)
            && let Some(composed) = composition(text[at], c)
        {
            text[at] = composed;
            continue;
        }
        if class == 0 {
            starter = Some(text.len());
        }
        class_before = class;
        text.push(c);
    }
    text.into_iter().collect()
}

fn composition(first: char, second: char) -> Option<char> {
    if second < FIRST_MARK {
        return None;
    }
    let at = COMPOSITIONS.partition_point(|entry| *entry < packed([first, second, '\0']));
    let found = COMPOSITIONS.get(at).map(|entry| unpacked(*entry));
    match found {
        Some([its_first, its_second, composed]) if (its_first, its_second) == (first, second) => {
            Some(composed)
        }
        _ => hangul::composition(first, second),
    }
}

/// Hangul syllables compose of their letters by arithmetic (the Unicode Standard,
/// section 3.12).
mod hangul {
    const SYLLABLES: char = '가';
    const INITIALS: char = 'ᄀ';
    const VOWELS: char = 'ᅡ';
    /// One before the first: a syllable may have no final.
    const FINALS: char = '\u{11a7}';

    const INITIAL_COUNT: u32 = 19;
    const VOWEL_COUNT: u32 = 21;
    const FINAL_COUNT: u32 = 28;

    /// The number of the syllable `c`.
    pub(super) fn index(c: char) -> Option<u32> {
        offset(c, SYLLABLES, INITIAL_COUNT * VOWEL_COUNT * FINAL_COUNT)
    }

    pub(super) fn decomposed(index: u32) -> impl Iterator<Item = char> {
        let (open, last) = (index / FINAL_COUNT, index % FINAL_COUNT);
        let initial = nth(INITIALS, open / VOWEL_COUNT);
        let vowel = nth(VOWELS, open % VOWEL_COUNT);
        let last = (last != 0).then(|| nth(FINALS, last));
        [initial, vowel].into_iter().chain(last)
    }

    pub(super) fn composition(first: char, second: char) -> Option<char> {
        if let Some(initial) = offset(first, INITIALS, INITIAL_COUNT) {
            let vowel = offset(second, VOWELS, VOWEL_COUNT)?;
            return Some(nth(
                SYLLABLES,
                (initial * VOWEL_COUNT + vowel) * FINAL_COUNT,
            ));
        }
        let open = index(first).filter(|index| index % FINAL_COUNT == 0)?;
        let last = offset(second, FINALS, FINAL_COUNT).filter(|last| *last != 0)?;
        Some(nth(SYLLABLES, open + last))
    }

    fn offset(c: char, first: char, count: u32) -> Option<u32> {
        let offset = u32::from(c).checked_sub(u32::from(first))?;
        (offset < count).then_some(offset)
    }

    fn nth(first: char, offset: u32) -> char {
        char::from_u32(u32::from(first) + offset).expect("one of a block")
    }
}

#[cfg(test)]
#[path = "../../../examples/name_tables.rs"]
#[allow(dead_code)]
mod generator;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use proptest::sample::select;
    use unicode_normalization::UnicodeNormalization;
    use unicode_normalization::char::{canonical_combining_class, is_combining_mark};
    use unicode_security::{GeneralSecurityProfile, RestrictionLevel, RestrictionLevelDetection};

    use super::*;

    /// The same, by the crates.
    mod oracle {
        use super::*;

        pub(super) fn is_allowed(c: char) -> bool {
            c.identifier_allowed()
                && (c.is_alphanumeric() || is_combining_mark(c) || "_-.".contains(c))
        }

        pub(super) fn folded(text: &str) -> String {
            let folded = caseless::default_case_fold_str(&text.nfd().collect::<String>());
            folded.nfc().collect()
        }

        pub(super) fn skeleton(text: &str) -> String {
            unicode_security::confusable_detection::skeleton(text).collect()
        }

        pub(super) fn is_of_one_script(text: &str) -> bool {
            text.check_restriction_level(RestrictionLevel::HighlyRestrictive)
        }
    }

    static ALLOWED_CHARACTERS: LazyLock<Vec<char>> = LazyLock::new(|| {
        ('\0'..=char::MAX)
            .filter(|c| oracle::is_allowed(*c))
            .collect()
    });

    #[track_caller]
    fn assert_as_the_crates_say(text: &str) {
        assert_eq!(decomposed(text), text.nfd().collect::<Vec<_>>(), "{text:?}");
        assert_eq!(composed(text), text.nfc().collect::<String>(), "{text:?}");
        for spelling in [text.to_owned(), text.to_uppercase(), folded(text)] {
            let text = &spelling;
            assert_eq!(folded(text), oracle::folded(text), "{text:?}");
            assert_eq!(skeleton(text), oracle::skeleton(text), "{text:?}");
        }
    }

    #[test]
    fn the_tables_are_what_the_generator_prints() {
        assert!(
            generator::generate() == include_str!("tables.rs"),
            "run it again"
        );
    }

    #[test]
    fn every_character_is_as_the_crates_say() {
        let mut typed = 0;
        for c in '\0'..=char::MAX {
            let is_of_a_name = c.is_alphanumeric() || is_combining_mark(c) || "_-.".contains(c);
            assert_eq!(
                is_allowed(c) && is_of_a_name,
                oracle::is_allowed(c),
                "{c:?}"
            );
            let text = c.to_string();
            // Characters that cannot become part of a name must not do so here, either.
            if !text.nfc().all(oracle::is_allowed) {
                assert!(!composed(&text).chars().all(oracle::is_allowed), "{c:?}");
                continue;
            }
            typed += 1;
            assert_eq!(is_mark(c), is_combining_mark(c), "{c:?}");
            assert_eq!(
                class(c).combining_class,
                canonical_combining_class(c),
                "{c:?}"
            );
            assert_as_the_crates_say(&text);
            assert!(
                c.to_uppercase()
                    .chain(text.nfd())
                    .all(|c| is_mark(c) == is_combining_mark(c))
            );
        }
        assert!(typed > 30_000, "only {typed}");
    }

    #[test]
    fn any_two_characters_mix_as_the_crates_say() {
        // One of each class: the crates tell the others apart no more than this.
        let mut seen = std::collections::HashMap::new();
        for &c in &*ALLOWED_CHARACTERS {
            use unicode_script::UnicodeScript;
            let scripts: Vec<_> = c
                .script_extension()
                .iter()
                .map(|script| script as u8)
                .collect();
            seen.entry(scripts).or_insert(c);
        }
        for first in seen.values() {
            for second in seen.values() {
                for text in [format!("{first}{second}"), format!("a{first}{second}")] {
                    assert_eq!(
                        is_of_one_script(&text),
                        oracle::is_of_one_script(&text),
                        "{text:?}"
                    );
                }
            }
        }
    }

    /// Characters that names may hold, with many marks.
    fn texts() -> impl Strategy<Value = String> {
        let marks: Vec<char> = ALLOWED_CHARACTERS
            .iter()
            .copied()
            .filter(|c| is_combining_mark(*c))
            .collect();
        let is_common = |c: &char| c.is_ascii() || ('\u{370}'..'\u{700}').contains(c);
        let common: Vec<char> = ALLOWED_CHARACTERS
            .iter()
            .copied()
            .filter(is_common)
            .collect();
        let script = (0..ALLOWED_CHARACTERS.len()).prop_flat_map(|at| {
            // Neighbours are often of one script.
            let near = &ALLOWED_CHARACTERS[at.saturating_sub(30)..]
                [..60.min(ALLOWED_CHARACTERS.len() - at)];
            prop::collection::vec(select(near), 1..5)
        });
        let c = prop_oneof![select(&**ALLOWED_CHARACTERS), select(common), select(marks),];
        let mixed = prop::collection::vec(c, 1..8);
        prop_oneof![script, mixed].prop_map(|text| text.into_iter().collect())
    }

    proptest! {
        #[test]
        fn texts_are_as_the_crates_say(text in texts()) {
            assert_as_the_crates_say(&text);
            let typed: String = text.nfd().collect();
            assert_as_the_crates_say(&typed);
            prop_assert_eq!(is_of_one_script(&text), oracle::is_of_one_script(&text));
        }

        #[test]
        fn any_text_can_be_compared(text in "\\PC{0,12}|[\\s\\S]{0,12}") {
            prop_assert_eq!(folded(&folded(&text)), folded(&text));
            composed(&skeleton(&text));
        }
    }
}
