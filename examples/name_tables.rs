//! Prints src/protocol/name/tables.rs: `cargo run --example name_tables`.
//!
//! The Unicode crates know every character. Names use few of them, so their tables can be small;
//! plain integers need no relocation at startup.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{LowerHex, Write as _};
use std::iter;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, compose, is_combining_mark};
use unicode_script::{Script, UnicodeScript};
use unicode_security::GeneralSecurityProfile;
use unicode_security::confusable_detection::skeleton;
use unicode_security::general_security_profile::IdentifierType;

/// Allowed in names besides what UTS #39 recommends; it lists them as optional.
const ALSO_ALLOWED: [char; 4] = ['-', '.', 'ʻ', 'ʼ'];

/// A dot below, in scripts of India.
const NUKTA: u8 = 7;

/// A character's class in `tables::CLASSES`: its scripts, its combining class, its kind.
type Class = (u64, u8, u8);

#[allow(dead_code, reason = "a test includes this file")]
fn main() {
    print!("{}", generate());
}

pub(crate) fn generate() -> String {
    let closure = closure();
    let is_decomposed = |c: &char| nfd(*c) == [*c];
    let mut file = String::from(HEAD);

    let (classes, ranges) = classes(&closure);
    let _ = write!(file, "{CLASSES_DOC}");
    let _ = writeln!(
        file,
        "pub(super) static CLASSES: [(u64, u8, u8); {}] = [",
        classes.len()
    );
    for (scripts, combining_class, kind) in classes {
        let _ = writeln!(file, "    ({scripts:#x}, {combining_class}, {kind}),");
    }
    file.push_str("];\n");
    push_table(&mut file, RANGES_DOC, "RANGES", "u32", &ranges);

    let mut decompositions = Vec::new();
    let mut compositions = Vec::new();
    for &composed in closure
        .iter()
        .filter(|c| !is_decomposed(c) && !is_hangul(**c))
    {
        let parts = nfd(composed);
        push_mapping(&mut decompositions, composed, &parts);
        if let [first @ .., last] = &*parts
            && let [first] = &*first.iter().copied().nfc().collect::<Vec<_>>()
            && compose(*first, *last) == Some(composed)
        {
            compositions.push(packed([*first, *last, composed]));
        }
    }
    compositions.sort_unstable();
    push_table(
        &mut file,
        DECOMPOSITIONS_DOC,
        "DECOMPOSITIONS",
        "u64",
        &decompositions,
    );
    push_table(
        &mut file,
        COMPOSITIONS_DOC,
        "COMPOSITIONS",
        "u64",
        &compositions,
    );

    let mut foldings = Vec::new();
    let mut prototypes = Vec::new();
    for &c in closure.iter().filter(|c| is_decomposed(c)) {
        if !fold(c).chars().eq(c.to_lowercase()) {
            push_mapping(&mut foldings, c, &fold(c).chars().nfd().collect::<Vec<_>>());
        }
        let prototype: Vec<char> = skeleton(c.encode_utf8(&mut [0; 4])).collect();
        if prototype != [c] {
            push_mapping(&mut prototypes, c, &prototype);
        }
    }
    push_table(&mut file, FOLDINGS_DOC, "FOLDINGS", "u64", &foldings);
    push_table(&mut file, PROTOTYPES_DOC, "PROTOTYPES", "u64", &prototypes);
    file
}

const HEAD: &str = "\
//! The characters of names, as the Unicode crates have them.
//!
//! Generated: `cargo run --example name_tables > src/protocol/name/tables.rs`. A test
//! compares this file with what that prints.
";

const CLASSES_DOC: &str = "
/// What characters have in common: their scripts, one bit each, with the writing systems
/// of UTS #39, section 5.1; their canonical combining class; and their kind, the sum of
/// 1 for what names may hold, 2 for combining marks, and 4 for diacritics. The first is
/// that of all characters that do not matter.
";

const RANGES_DOC: &str = "
/// The characters from one entry to the next have the same class. The low 8 bits are its
/// index, the others the first character.
";

const DECOMPOSITIONS_DOC: &str = "
/// Canonical decompositions, Hangul's excepted: three characters of 21 bits each, the
/// last two being a part of what the first becomes. A longer result has several entries.
";

const COMPOSITIONS_DOC: &str = "
/// Two characters and what they compose to, Hangul's excepted.
";

const FOLDINGS_DOC: &str = "
/// Case foldings that differ from the lower case, as in `DECOMPOSITIONS`.
";

const PROTOTYPES_DOC: &str = "
/// What decomposed characters look like (UTS #39, section 4), as in `DECOMPOSITIONS`.
";

/// All characters of names, of what normalises to names, and of what the program derives from
/// names to compare them.
fn closure() -> BTreeSet<char> {
    let composed: Vec<char> = all_characters()
        .filter(|&c| !is_hangul(c) && nfd(c) != [c])
        .collect();
    let mut closure: BTreeSet<char> = all_characters().filter(|&c| is_allowed(c)).collect();
    let mut pending: Vec<char> = closure.iter().copied().collect();
    while !pending.is_empty() {
        let mut found = BTreeSet::new();
        for c in pending {
            found.extend(c.to_uppercase().chain(c.to_lowercase()));
            found.extend(fold(c).chars());
            found.extend(nfd(c));
            found.extend(skeleton(c.encode_utf8(&mut [0; 4])));
        }
        let is_known = |part: &char| closure.contains(part) || found.contains(part);
        let typed: Vec<char> = composed
            .iter()
            .copied()
            .filter(|&c| nfd(c).iter().all(is_known))
            .collect();
        found.extend(typed);
        pending = found.difference(&closure).copied().collect();
        closure.extend(&pending);
    }
    closure
}

/// The classes, and the first character of each range that has one.
fn classes(closure: &BTreeSet<char>) -> (Vec<Class>, Vec<u32>) {
    let of_all: Vec<(char, Class)> = {
        let mut scripts = Scripts::default();
        all_characters()
            .map(|c| {
                let class = if closure.contains(&c) {
                    class(c, &mut scripts)
                } else {
                    (0, 0, 0)
                };
                (c, class)
            })
            .collect()
    };
    let mut classes = Vec::new();
    let mut ranges = Vec::new();
    let mut before = None;
    for (c, class) in of_all {
        if before != Some(class) {
            let known = classes.iter().position(|known| *known == class);
            let index = known.unwrap_or_else(|| {
                classes.push(class);
                classes.len() - 1
            });
            let index = u8::try_from(index).expect("at most 256 classes");
            ranges.push(u32::from(c) << 8 | u32::from(index));
        }
        before = Some(class);
    }
    (classes, ranges)
}

fn class(c: char, scripts: &mut Scripts) -> Class {
    let (is_allowed, is_mark) = (is_allowed(c), is_combining_mark(c));
    let combining_class = canonical_combining_class(c);
    let is_diacritic = is_mark && (c.script() == Script::Inherited || combining_class == NUKTA);
    let kind = u8::from(is_allowed) | u8::from(is_mark) << 1 | u8::from(is_diacritic) << 2;
    let scripts = if is_allowed { scripts.of(c) } else { 0 };
    (scripts, combining_class, kind)
}

/// The bit of each script.
struct Scripts(BTreeMap<&'static str, u32>);

impl Default for Scripts {
    /// The first bits belong to Latin and to the writing systems that mix scripts.
    fn default() -> Self {
        Self(iter::zip(["Latn", "Hanb", "Jpan", "Kore"], 0..).collect())
    }
}

impl Scripts {
    fn of(&mut self, c: char) -> u64 {
        let scripts = c.script_extension();
        if scripts.is_common() || scripts.is_inherited() {
            return u64::MAX;
        }
        let mut names: Vec<&str> = scripts.iter().map(Script::short_name).collect();
        for script in scripts.iter() {
            names.extend(match script {
                Script::Han => &["Hanb", "Jpan", "Kore"][..],
                Script::Hiragana | Script::Katakana => &["Jpan"],
                Script::Hangul => &["Kore"],
                Script::Bopomofo => &["Hanb"],
                _ => &[],
            });
        }
        names.into_iter().fold(0, |bits, name| {
            let next = self.0.len() as u32;
            let bit = *self.0.entry(name).or_insert(next);
            bits | 1_u64.checked_shl(bit).expect("at most 64 scripts")
        })
    }
}

fn all_characters() -> impl Iterator<Item = char> {
    '\0'..=char::MAX
}

fn is_allowed(c: char) -> bool {
    ALSO_ALLOWED.contains(&c) || c.identifier_type() == Some(IdentifierType::Recommended)
}

fn is_hangul(c: char) -> bool {
    ('가'..='힣').contains(&c)
}

fn nfd(c: char) -> Vec<char> {
    iter::once(c).nfd().collect()
}

fn fold(c: char) -> String {
    caseless::default_case_fold_str(c.encode_utf8(&mut [0; 4]))
}

fn push_mapping(table: &mut Vec<u64>, from: char, to: &[char]) {
    assert!(!to.is_empty(), "{from:?} vanishes");
    table.extend(to.chunks(2).map(|part| {
        let second = part.get(1).copied().unwrap_or_default();
        packed([from, part[0], second])
    }));
}

fn packed(chars: [char; 3]) -> u64 {
    chars
        .iter()
        .fold(0, |packed, c| packed << 21 | u64::from(*c))
}

fn push_table<T: LowerHex>(file: &mut String, doc: &str, name: &str, of: &str, table: &[T]) {
    let _ = writeln!(
        file,
        "{doc}pub(super) static {name}: [{of}; {}] = [",
        table.len()
    );
    for row in table.chunks(5) {
        let row: Vec<String> = row.iter().map(|entry| format!("{entry:#x},")).collect();
        let _ = writeln!(file, "    {}", row.join(" "));
    }
    file.push_str("];\n");
}
