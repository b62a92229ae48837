//! Which names are valid, and which names look alike.
//!
//! A name prefixes every line that its member says, on terminals of every kind. It must
//! not pass for another member's name or for the server's own words. So it consists of
//! letters, digits, `_`, `-` and `.`, and only of characters that Unicode recommends for
//! identifiers (UTS #39, General Security Profile): they are visible, unambiguous, and do
//! not change the direction of the text.
//!
//! Which member has which name is the business of `room::names`.

use std::fmt;
use std::sync::LazyLock;

use unicode_width::UnicodeWidthStr;

use characters::{composed, decomposed, is_allowed, is_mark, is_of_one_script, skeleton};

mod characters;
// As examples/name_tables.rs prints it.
#[rustfmt::skip]
mod tables;

/// In columns of a terminal.
pub(crate) const MAX_NAME_COLUMNS: usize = 24;

/// No living script needs more combining marks on a letter; more reach into other lines.
const MAX_MARKS_ON_A_LETTER: usize = 3;

/// In UTF-8.
const MAX_CHARACTER_BYTES: usize = 4;

const DOT_ABOVE: char = '\u{307}';

/// The client shows `<You>` before the user's own lines; the operator speaks in notices.
const RESERVED: [&str; 3] = ["you", "operator", "server"];

static RESERVED_NAMES: LazyLock<[Name; 3]> =
    LazyLock::new(|| RESERVED.map(|name| Name::of(name.to_owned())));

/// A valid name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// As typed, in normalisation form C.
    shown: Box<str>,
    /// Case-folded.
    folded: Box<str>,
    /// The skeletons (UTS #39, section 4) of four spellings: as typed, in lower case and
    /// capitalised, all three case-folded; and in upper case. Invariant: sorted, no
    /// duplicates.
    looks: Box<[Box<str>]>,
}

/// Why a name is not valid. Displayed as the reply to the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum BadName {
    Empty,
    Wide,
    Character,
    Beginning,
    /// A dot at the end would pass for the end of a sentence.
    End,
    /// Mixed scripts, such as Latin and Cyrillic.
    Scripts,
    /// Too many combining marks on a letter, or invisible ones.
    Marks,
    /// An IP address, or something that looks like one.
    Address,
    /// Without a letter, it would pass for a number of people.
    Number,
    Reserved,
}

impl BadName {
    pub(crate) const ALL: [Self; 10] = [
        Self::Empty,
        Self::Wide,
        Self::Character,
        Self::Beginning,
        Self::End,
        Self::Scripts,
        Self::Marks,
        Self::Address,
        Self::Number,
        Self::Reserved,
    ];
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name is missing: /nick alice"),
            Self::Wide => write!(f, "a name has at most {MAX_NAME_COLUMNS} columns"),
            Self::Character => {
                f.write_str("a name is made of letters, digits, _, - and ., without blanks")
            }
            Self::Beginning => f.write_str("a name begins with a letter or a digit"),
            Self::End => f.write_str("a name does not end with a dot"),
            Self::Scripts => f.write_str("a name does not mix scripts, such as Latin and Cyrillic"),
            Self::Marks => f.write_str("that name has marks on a letter that few could see"),
            Self::Address => f.write_str("a name must not look like an IP address"),
            Self::Number => f.write_str("a name has a letter in it"),
            Self::Reserved => f.write_str("that name is reserved"),
        }
    }
}

impl Name {
    /// Parses a name as typed.
    ///
    /// # Errors
    ///
    /// Why it is not valid.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, BadName> {
        let text = std::str::from_utf8(text).map_err(|_| BadName::Character)?;
        // The looks are expensive: rule out what cannot be a name first.
        if text.len() > MAX_NAME_COLUMNS * (1 + MAX_MARKS_ON_A_LETTER) * MAX_CHARACTER_BYTES {
            return Err(BadName::Wide);
        }
        let shown = composed(text);
        check_characters(&shown)?;
        if shown.width() > MAX_NAME_COLUMNS {
            return Err(BadName::Wide);
        }
        let name = Self::of(shown);
        if looks_like_an_address(&name.shown) {
            return Err(BadName::Address);
        }
        if !name.shown.contains(char::is_alphabetic) {
            return Err(BadName::Number);
        }
        if RESERVED_NAMES.iter().any(|one| name.looks_like(one)) {
            Err(BadName::Reserved)
        } else {
            Ok(name)
        }
    }

    fn of(shown: String) -> Self {
        let folded = fold(&shown);
        let mut initial = shown.chars();
        let initial = initial.next().into_iter().flat_map(char::to_uppercase);
        let rest = shown.chars().skip(1);
        let capitalised: String = initial.chain(rest).collect();
        let mut looks = [
            fold(&skeleton(&shown)),
            fold(&skeleton(&folded)),
            fold(&skeleton(&capitalised)),
            // Not case-folded: in upper case, KAI differs from KAL, but folded its I
            // would look like the l of Kal.
            skeleton(&shown.to_uppercase()),
        ]
        .map(String::into_boxed_str)
        .to_vec();
        looks.sort_unstable();
        looks.dedup();
        Self {
            shown: shown.into(),
            folded: folded.into(),
            looks: looks.into(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.shown
    }

    /// Equal for names that differ only in case. For comparison only.
    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }

    /// Names that share one of these look alike. For comparison only.
    pub(crate) fn looks(&self) -> impl Iterator<Item = &str> {
        self.looks.iter().map(|look| &**look)
    }

    /// Whether readers could mistake one name for the other.
    pub fn looks_like(&self, other: &Self) -> bool {
        self.looks()
            .any(|look| other.looks().any(|its| its == look))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// `text` for comparison without case. For names, and what may be one.
pub(crate) fn fold(text: &str) -> String {
    characters::folded(text)
}

/// Whether `c` may be part of a name, or of a word that is none.
pub(crate) fn may_be_in_a_word(c: char) -> bool {
    c.is_alphanumeric() || is_mark(c)
}

fn check_characters(name: &str) -> Result<(), BadName> {
    for c in name.chars() {
        match c {
            '_' | '-' | '.' => {}
            _ if is_allowed(c) && may_be_in_a_word(c) => {}
            _ => return Err(BadName::Character),
        }
    }
    match (name.chars().next(), name.chars().next_back()) {
        (None, _) => return Err(BadName::Empty),
        // Some vowel signs are alphanumeric in Unicode, but need a letter before them.
        (Some(first), _) if !first.is_alphanumeric() || is_mark(first) => {
            return Err(BadName::Beginning);
        }
        (_, Some('.')) => return Err(BadName::End),
        _ => {}
    }
    if !is_of_one_script(name) {
        return Err(BadName::Scripts);
    }
    check_marks(name)
}

/// Refuses too many marks on a letter, and invisible ones: a repeated mark, or a dot above
/// a letter that has one (UTS #39, section 5.4).
fn check_marks(name: &str) -> Result<(), BadName> {
    let mut before = None;
    let mut marks = 0;
    for c in decomposed(name) {
        let is_mark = is_mark(c);
        marks = if is_mark { marks + 1 } else { 0 };
        let is_hidden = match (before, c) {
            (Some('i' | 'j' | 'ı' | 'ȷ' | 'і' | 'ј'), DOT_ABOVE) => true,
            (Some(before), mark) => is_mark && before == mark,
            (None, _) => false,
        };
        if is_hidden || marks > MAX_MARKS_ON_A_LETTER {
            return Err(BadName::Marks);
        }
        before = Some(c);
    }
    Ok(())
}

/// Whether `name` consists of dots and of what looks like digits: some programs accept even
/// `10.1` as an address (inet_aton(3)).
fn looks_like_an_address(name: &str) -> bool {
    // The skeleton of a digit look-alike is the digit, except that 1 and 0 become letters.
    // The Arabic zero becomes a dot.
    let look = skeleton(name);
    let is_digit_or_dot = |c: char| c.is_ascii_digit() || matches!(c, 'l' | 'O' | 'o' | '.');
    look.contains('.') && look.chars().all(is_digit_or_dot)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    #[test]
    fn accepts_names_in_many_scripts() {
        for text in [
            "alice",
            "Bob_2",
            "j.r.r-tolkien",
            "7of9",
            "Zoë",
            "Łukasz",
            "Ξένια",
            "Наташа",
            "יעל",
            "فاطمة",
            "प्रिया",
            "สมชาย",
            "陳大文",
            "さくら",
            "김민수",
            "abcdefghijklmnopqrstuvwx",
        ] {
            assert_eq!(name(text).as_str(), text);
        }
        assert_eq!(name("Zoe\u{308}").as_str(), "Zoë", "it is composed");
    }

    #[test]
    fn refuses_bad_names_with_the_reason() {
        let table: &[(&str, BadName)] = &[
            ("", BadName::Empty),
            ("abcdefghijklmnopqrstuvwxy", BadName::Wide),
            ("陳陳陳陳陳陳陳陳陳陳陳陳陳", BadName::Wide),
            // Not for names.
            ("al ice", BadName::Character),
            ("<alice>", BadName::Character),
            ("alice>", BadName::Character),
            ("[alice]", BadName::Character),
            ("*", BadName::Character),
            ("!!", BadName::Character),
            ("alice:", BadName::Character),
            ("ali\rce", BadName::Character),
            ("ali\tce", BadName::Character),
            ("\u{1b}[2J", BadName::Character),
            ("👩", BadName::Character),
            // Invisible, or changing the direction.
            ("ali\u{200b}ce", BadName::Character),
            ("ali\u{200d}ce", BadName::Character),
            ("ali\u{feff}ce", BadName::Character),
            ("ali\u{ad}ce", BadName::Character),
            ("\u{202e}ecila", BadName::Character),
            ("ali\u{200e}ce", BadName::Character),
            ("ali\u{2066}ce", BadName::Character),
            ("ali\u{e0061}ce", BadName::Character),
            ("\u{3164}", BadName::Character),
            ("\u{a0}", BadName::Character),
            // Other shapes of letters.
            ("ａｌｉｃｅ", BadName::Character),
            ("𝐚𝐥𝐢𝐜𝐞", BadName::Character),
            // Like a notice, or hardly visible.
            ("--", BadName::Beginning),
            ("-alice", BadName::Beginning),
            (".", BadName::Beginning),
            ("_", BadName::Beginning),
            ("\u{301}alice", BadName::Beginning),
            ("\u{bc0}", BadName::Beginning),
            ("a\u{323}\u{308}\u{304}\u{301}", BadName::Marks),
            // An address.
            ("192.168.1.7", BadName::Address),
            ("l92.l68.l.7", BadName::Address),
            ("1O.0.O.1", BadName::Address),
            ("10.1", BadName::Address),
            ("999.1.1.1", BadName::Address),
            ("1o.o.o.1", BadName::Address),
            ("192۰168۰1۰7", BadName::Address),
            ("192٠168٠1٠7", BadName::Address),
            ("312", BadName::Number),
            ("3-2", BadName::Number),
            ("٣١٢", BadName::Number),
            ("::1", BadName::Character),
            ("fe80::1", BadName::Character),
            // Reserved, or a look-alike.
            ("You", BadName::Reserved),
            ("yOU", BadName::Reserved),
            ("Υоu", BadName::Scripts),
            ("ΥΟU", BadName::Scripts),
            ("operator", BadName::Reserved),
            ("0perator", BadName::Reserved),
            ("оperatоr", BadName::Scripts),
            ("operator.", BadName::End),
            ("аdmin", BadName::Scripts),
            ("ТIM", BadName::Scripts),
            ("кate", BadName::Scripts),
            ("alice\u{64e}", BadName::Scripts),
            ("alice\u{e47}", BadName::Scripts),
            ("ali\u{307}ce", BadName::Marks),
            ("al\u{131}\u{307}ce", BadName::Marks),
            ("j\u{307}on", BadName::Marks),
            ("zoe\u{308}\u{308}", BadName::Marks),
            ("anna\u{301}\u{301}", BadName::Marks),
            ("Server", BadName::Reserved),
        ];
        for &(text, why) in table {
            assert_eq!(Name::parse(text.as_bytes()), Err(why), "{text:?}");
        }
        assert_eq!(Name::parse(b"ali\xffce"), Err(BadName::Character));
        let long = "a".repeat(100_000);
        assert_eq!(Name::parse(long.as_bytes()), Err(BadName::Wide));
        for why in BadName::ALL {
            let words = why.to_string();
            assert!(words.len() < 70 && words.contains("name"), "{words}");
        }
    }

    #[test]
    fn names_that_differ_only_in_case_are_equal() {
        for (a, b) in [
            ("alice", "ALICE"),
            ("Straße", "STRASSE"),
            ("Ξένιας", "ΞΈΝΙΑΣ"),
            ("zoe\u{308}", "ZOË"),
            ("Наташа", "НАТАША"),
        ] {
            assert_eq!(name(a).folded(), name(b).folded(), "{a} {b}");
            assert!(name(a).looks_like(&name(b)));
        }
        assert_ne!(name("alice").folded(), name("alicia").folded());
    }

    #[test]
    fn finds_names_that_look_alike() {
        for (a, b) in [
            ("ape", "аре"),
            ("bob", "b0b"),
            ("BOB", "b0b"),
            ("alice", "aIice"),
            ("alice", "al1ce"),
            ("ALICE", "aIice"),
            ("ivan", "Ivan"),
            ("Ivan", "lvan"),
            ("corn", "com"),
            ("SCOPE", "ЅСОРЕ"),
            ("scope", "ЅСОРЕ"),
            ("ivan", "lvan"),
            ("Tim", "ТІМ"),
            ("mike", "ΜΙΚΕ"),
            ("kate", "КАТЕ"),
            ("Mia", "МІА"),
        ] {
            assert!(name(a).looks_like(&name(b)), "{a} {b}");
            assert!(name(b).looks_like(&name(a)), "{b} {a}");
        }
        for (a, b) in [
            ("alice", "alicia"),
            ("bob", "rob"),
            ("anna", "hannah"),
            ("Kai", "Kal"),
            ("mia", "mla"),
        ] {
            assert!(!name(a).looks_like(&name(b)), "{a} {b}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_harmless(text in "\\PC{1,12}|[a-zA-Zа-яא-ת0-9._\u{300}-\u{310}-]{1,30}") {
            if let Ok(name) = Name::parse(text.as_bytes()) {
                let shown = name.as_str();
                prop_assert!((1..=MAX_NAME_COLUMNS).contains(&shown.width()));
                prop_assert!(shown.parse::<std::net::IpAddr>().is_err());
                prop_assert!(shown.chars().all(|c| crate::protocol::text::replacement(c).is_none()));
                prop_assert!(!shown.contains(|c: char| c.is_whitespace() || "<>[]*!/:,()".contains(c)));
                prop_assert!(name.looks_like(&name));
                prop_assert_eq!(Name::parse(shown.as_bytes()), Ok(name.clone()));
                for same in [shown.to_uppercase(), shown.to_lowercase()] {
                    if let Ok(same) = Name::parse(same.as_bytes()) {
                        prop_assert!(name.folded() != same.folded() || name.looks_like(&same));
                    }
                }
            }
        }
    }
}
