//! What is a good name, and which names look alike.
//!
//! A name stands before every line that its bearer says, on terminals of every kind.
//! So it must not be taken for another's, nor for anything that the server itself
//! says: it is made of letters, digits, `_`, `-` and `.` alone, of those that
//! Unicode recommends for identifiers (UTS #39, General Security Profile), which are
//! visible, have one meaning, and do not change the direction of the text.
//!
//! Pure: who bears which name is the [registry](crate::room::names)'s.

use std::fmt;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::confusable_detection::skeleton;
use unicode_security::{GeneralSecurityProfile, RestrictionLevel, RestrictionLevelDetection};
use unicode_width::UnicodeWidthStr;

/// The widest name, in columns of a terminal.
pub const MAX_NAME_COLUMNS: usize = 24;

/// Marks upon one letter. No living script needs more; more reach into other lines.
const MAX_MARKS_ON_A_LETTER: usize = 3;

/// Of a character in UTF-8.
const MAX_CHARACTER_BYTES: usize = 4;

const DOT_ABOVE: char = '\u{307}';

/// Names by which the room speaks of others than its members: the client shows
/// `<You>` before one's own lines, and the operator speaks in notices.
const RESERVED: [&str; 3] = ["you", "operator", "server"];

static RESERVED_NAMES: LazyLock<[Name; 3]> =
    LazyLock::new(|| RESERVED.map(|name| Name::of(name.to_owned())));

/// A good name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// In normalisation form C, as it was typed.
    shown: Box<str>,
    /// Without regard to case.
    folded: Box<str>,
    /// What it looks like: as it is shown, in small letters and with a capital first, all
    /// without regard to case; and in capitals. Invariant: sorted, and all different.
    looks: Box<[Box<str>]>,
}

/// Why a name is none. Displayed as who wanted it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BadName {
    /// There is nothing.
    Empty,
    /// It is too wide.
    Wide,
    /// It has a character that no name has.
    Character,
    /// It begins with something that is no letter and no digit.
    Beginning,
    /// It ends with a dot, which would be taken for that of a sentence.
    End,
    /// It mixes scripts that do not go together, such as Latin and Cyrillic.
    Scripts,
    /// It has too many marks on a letter, or some that cannot be seen.
    Marks,
    /// It is, or looks like, an IP address.
    Address,
    /// It has no letter: it would be taken for a number of people.
    Number,
    /// It stands for somebody who is no member.
    Reserved,
}

impl BadName {
    /// All there are.
    pub const ALL: [Self; 10] = [
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
    /// The name that `text` gives, bytes as they were typed.
    ///
    /// # Errors
    ///
    /// Why it is none.
    ///
    /// ```
    /// use chat::protocol::name::{BadName, Name};
    /// assert_eq!(Name::parse(b"Zo\xc3\xab").unwrap().as_str(), "Zoë");
    /// assert_eq!(Name::parse(b"10.0.0.1"), Err(BadName::Address));
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self, BadName> {
        let text = std::str::from_utf8(text).map_err(|_| BadName::Character)?;
        // Looking alike is dear to find out: not for what cannot be a name anyway.
        if text.len() > MAX_NAME_COLUMNS * (1 + MAX_MARKS_ON_A_LETTER) * MAX_CHARACTER_BYTES {
            return Err(BadName::Wide);
        }
        let shown: String = text.nfc().collect();
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
        let look = |text: &str| skeleton(text).collect::<String>();
        let mut initial = shown.chars();
        let initial = initial.next().into_iter().flat_map(char::to_uppercase);
        let rest = shown.chars().skip(1);
        let capitalised: String = initial.chain(rest).collect();
        let mut looks = [
            fold(&look(&shown)),
            fold(&look(&folded)),
            fold(&look(&capitalised)),
            // Capitals alone are as different as can be: KAI is not KAL, where Kai with a
            // capital I in it would be Kal.
            look(&shown.to_uppercase()),
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

    /// As it is shown.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The same for all names that differ in case alone: for comparing, not for
    /// showing.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// What it looks like: names that have one of these in common can be taken for each
    /// other. For comparing, not for showing.
    pub fn looks(&self) -> impl Iterator<Item = &str> {
        self.looks.iter().map(|look| &**look)
    }

    /// Whether one can be taken for the other.
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

/// `text` without regard to case: full case folding of normalised text (the Unicode
/// Standard, section 3.13, canonical caseless matching).
pub fn fold(text: &str) -> String {
    let folded = caseless::default_case_fold_str(&text.nfd().collect::<String>());
    folded.nfc().collect()
}

fn check_characters(name: &str) -> Result<(), BadName> {
    for c in name.chars() {
        let is_of_a_name = c.is_alphanumeric() || is_combining_mark(c);
        match c {
            '_' | '-' | '.' => {}
            _ if c.identifier_allowed() && is_of_a_name => {}
            _ => return Err(BadName::Character),
        }
    }
    match (name.chars().next(), name.chars().next_back()) {
        (None, _) => return Err(BadName::Empty),
        // Some vowel signs are letters to Unicode, and marks that need another letter.
        (Some(first), _) if !first.is_alphanumeric() || is_combining_mark(first) => {
            return Err(BadName::Beginning);
        }
        (_, Some('.')) => return Err(BadName::End),
        _ => {}
    }
    if !name.check_restriction_level(RestrictionLevel::HighlyRestrictive) {
        return Err(BadName::Scripts);
    }
    check_marks(name)
}

/// Marks that cannot be seen are not upon a letter: one that stands there twice, or the
/// dot of an i that has its dot (UTS #39, section 5.4).
fn check_marks(name: &str) -> Result<(), BadName> {
    let mut before = None;
    let mut marks = 0;
    for c in name.nfd() {
        let is_mark = is_combining_mark(c);
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

/// Whether it has nothing but dots and what can be taken for digits: some programs
/// take even `10.1` for an address (inet_aton(3)).
fn looks_like_an_address(name: &str) -> bool {
    // What looks like a digit becomes that, but for 1 and 0, which become letters; and
    // the zero of Arabic becomes a dot.
    let look: String = skeleton(name).collect();
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
    fn people_of_all_countries_have_names() {
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
    fn what_is_no_name_is_told_why() {
        let table: &[(&str, BadName)] = &[
            ("", BadName::Empty),
            ("abcdefghijklmnopqrstuvwxy", BadName::Wide),
            ("陳陳陳陳陳陳陳陳陳陳陳陳陳", BadName::Wide),
            // Not one of ours.
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
            // Looks like a notice, or like nothing.
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
            // Somebody else.
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
    fn names_that_differ_in_case_alone_are_one() {
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
    fn names_that_look_alike_are_found() {
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
