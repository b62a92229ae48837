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

use unicode_width::UnicodeWidthStr;

use characters::{
    combining_class, compose, composed, decomposed, is_allowed, is_diacritic, is_mark,
    is_of_one_script, skeleton,
};

pub(in crate::protocol) mod characters;
// As examples/name_tables.rs prints it.
#[rustfmt::skip]
mod tables;

/// In columns of a terminal.
pub(crate) const MAX_NAME_COLUMNS: usize = 24;

/// In UTF-8, normalised. A name is part of every line that its member says.
pub(crate) const MAX_NAME_BYTES: usize = 96;

/// Normalisation form C rarely makes text shorter than a third of what was typed.
const MAX_TYPED_BYTES: usize = 3 * MAX_NAME_BYTES;

/// No living script needs more combining marks on a letter; more reach into other lines.
const MAX_MARKS_ON_A_LETTER: usize = 3;

/// On a letter that does not compose with all of them. Languages from Yoruba to Navajo need
/// two, such as a dot below and a tone; nobody could tell which of three was added.
const MAX_LOOSE_DIACRITICS: usize = 2;

/// Above and below letters of any script; the vowel signs of Arabic have lower classes.
const MIN_DIACRITIC_CLASS: u8 = 200;

const DOT_ABOVE: char = '\u{307}';

/// The letters among the characters of names that hardly change the one before them.
/// Hawaiian and Ukrainian names need them.
const MODIFIER_LETTERS: [char; 2] = ['ʻ', 'ʼ'];

/// The client shows `<You>` before the user's own lines; the operator speaks in notices.
/// Their skeletons are the words themselves.
const RESERVED: [&str; 3] = ["you", "operator", "server"];

/// A valid name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// As typed, in normalisation form C.
    shown: Box<str>,
    /// Case-folded.
    folded: Box<str>,
    /// The skeletons (UTS #39, section 4) of four spellings: as typed, in lower case and
    /// capitalised, all three case-folded; in upper case; and as typed. The same of the
    /// name without what readers may overlook. Invariant: sorted, no duplicates.
    looks: Box<[Box<str>]>,
}

/// Why a name is not valid. Displayed as the reply to the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum BadName {
    Empty,
    Wide,
    Space,
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
    pub(crate) const ALL: [Self; 11] = [
        Self::Empty,
        Self::Wide,
        Self::Space,
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
            Self::Empty => f.write_str("usage: /nick NAME"),
            Self::Wide => write!(
                f,
                "a name has at most {MAX_NAME_COLUMNS} columns and {MAX_NAME_BYTES} bytes"
            ),
            Self::Space => f.write_str("a name cannot have spaces"),
            Self::Character => f.write_str("a name has only letters, digits, _, - and ."),
            Self::Beginning => f.write_str("a name starts with a letter or a digit"),
            Self::End => f.write_str("a name cannot end with a dot"),
            Self::Scripts => f.write_str("a name cannot mix scripts, such as Latin and Cyrillic"),
            Self::Marks => f.write_str("that name has marks that are hard to see; leave them out"),
            Self::Address => f.write_str("a name cannot look like an IP address"),
            Self::Number => f.write_str("a name needs a letter"),
            Self::Reserved => f.write_str("that name is reserved; choose another"),
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
        if text.len() > MAX_TYPED_BYTES {
            return Err(BadName::Wide);
        }
        let shown = composed(text);
        check_characters(&shown)?;
        if shown.len() > MAX_NAME_BYTES || shown.width() > MAX_NAME_COLUMNS {
            return Err(BadName::Wide);
        }
        let plain = without_modifiers(&shown);
        let plainest = plain.as_ref().map_or(&shown, |[plain, _]| plain);
        if looks_like_an_address(plainest) {
            return Err(BadName::Address);
        }
        if !plainest.contains(char::is_alphabetic) {
            return Err(BadName::Number);
        }
        let name = Self::of(shown, plain);
        if name.looks().any(looks_reserved) {
            Err(BadName::Reserved)
        } else {
            Ok(name)
        }
    }

    /// The name most like `text`, which may be none: what no name holds is left out, with a `_`
    /// for blanks within, and what is too long is cut.
    pub(crate) fn near(text: &[u8]) -> Option<Self> {
        let text = &text[..text.len().min(MAX_TYPED_BYTES)];
        let text = String::from_utf8_lossy(text);
        let words = text.split_whitespace();
        let words: Vec<String> = words
            .map(|word| word.chars().filter(|c| may_be_in_a_name(*c)).collect())
            .filter(|word: &String| !word.is_empty())
            .collect();
        let name = composed(&words.join("_"));
        let name = name.trim_start_matches(|c: char| !c.is_alphanumeric() || is_mark(c));
        let name = fitting(name, 0).trim_end_matches('.');
        Self::parse(name.as_bytes()).ok()
    }

    /// The name with a number behind it.
    #[cfg(feature = "client")]
    pub(crate) fn numbered(&self, number: u32) -> Option<Self> {
        let digits = number.to_string();
        let name = format!("{}{digits}", fitting(&self.shown, digits.len()));
        Self::parse(name.as_bytes()).ok()
    }

    fn of(shown: String, plain: Option<[String; 2]>) -> Self {
        let mut looks = looks_of(&shown);
        let mut plain = plain.map_or_else(Vec::new, Vec::from);
        plain.dedup();
        looks.extend(plain.iter().flat_map(|plain| looks_of(plain)));
        looks.sort_unstable();
        looks.dedup();
        Self {
            folded: fold(&shown).into(),
            shown: shown.into(),
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

fn may_be_in_a_name(c: char) -> bool {
    matches!(c, '_' | '-' | '.') || (is_allowed(c) && may_be_in_a_word(c))
}

/// The looks of `name`, as it stands.
fn looks_of(name: &str) -> Vec<Box<str>> {
    let as_typed = skeleton(name);
    // Not case-folded: in upper case, KAI differs from KAL, but folded its I would look like
    // the l of Kal.
    let mut in_upper_case = vec![name.to_uppercase(), as_typed.to_uppercase()];
    in_upper_case.dedup();
    let mut others = vec![fold(name), capitalised(name)];
    others.retain(|spelling| spelling != name);
    others.dedup();
    let in_upper_case = in_upper_case.iter().map(|spelling| skeleton(spelling));
    let others = others.iter().map(|spelling| skeleton(spelling));

    let mut looks: Vec<String> = in_upper_case.collect();
    // In upper case, an M no longer looks like rn.
    let folded = others
        .chain([as_typed.clone()])
        .map(|look| skeleton(&fold(&look)));
    looks.extend(folded);
    looks.push(as_typed);
    looks.into_iter().map(String::into_boxed_str).collect()
}

/// The beginning of `name` that leaves space for `more` columns and bytes.
fn fitting(name: &str, more: usize) -> &str {
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    let fits = |end: &usize| {
        end + more <= MAX_NAME_BYTES && name[..*end].width() + more <= MAX_NAME_COLUMNS
    };
    &name[..ends.take_while(fits).last().unwrap_or(0)]
}

fn capitalised(name: &str) -> String {
    let mut initial = name.chars();
    let initial = initial.next().into_iter().flat_map(char::to_uppercase);
    initial.chain(name.chars().skip(1)).collect()
}

/// Two spellings of `name`, which is normalised, without what readers may overlook:
/// modifier letters, and diacritics that their letter does not compose with. A letter that
/// composes, such as é, is one of its own. The second spelling lacks the first diacritic of
/// such a letter instead: a dot below ë yields ẹ and a diaeresis, but readers may see ë.
///
/// `None` if there are none.
fn without_modifiers(name: &str) -> Option<[String; 2]> {
    let is_modifier = |c: char| MODIFIER_LETTERS.contains(&c) || is_diacritic(c);
    if !name.contains(is_modifier) {
        return None;
    }
    let mut spellings = [String::new(), String::new()];
    for letter in letters(&decomposed(name)) {
        let mut others = letter.to_vec();
        if has_loose_diacritic(letter)
            && let Some(first) = letter.iter().position(|c| is_diacritic(*c))
        {
            others.remove(first);
        }
        for (spelling, parts) in spellings.iter_mut().zip([letter, &others]) {
            let parts = compose(parts);
            spelling.extend(parts.chars().filter(|c| !is_modifier(*c)));
        }
    }
    Some(spellings.map(|spelling| composed(&spelling)))
}

/// The letters of decomposed text, each with its diacritics.
fn letters(parts: &[char]) -> impl Iterator<Item = &[char]> {
    parts.chunk_by(|_, next| combining_class(*next) != 0)
}

/// Whether a diacritic is left over when `letter` is composed.
fn has_loose_diacritic(letter: &[char]) -> bool {
    letter.len() > 1 && compose(letter).contains(is_diacritic)
}

/// `look` without the punctuation at its end.
fn stem(look: &str) -> &str {
    look.trim_end_matches(['_', '-', '.'])
}

/// Whether `look` is a reserved word with punctuation after it or digits for letters.
fn looks_reserved(look: &str) -> bool {
    let letter = |c: char| match c {
        '0' => 'o',
        '3' => 'e',
        '4' => 'a',
        '5' => 's',
        '7' => 't',
        _ => c.to_ascii_lowercase(),
    };
    let is_it = |word: &&str| stem(look).chars().map(letter).eq(word.chars());
    RESERVED.iter().any(is_it)
}

fn check_characters(name: &str) -> Result<(), BadName> {
    for c in name.chars() {
        match c {
            ' ' => return Err(BadName::Space),
            _ if may_be_in_a_name(c) => {}
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
    let parts = decomposed(name);
    let is_diacritic = |c: &&char| combining_class(**c) >= MIN_DIACRITIC_CLASS;
    let has_too_many = |letter: &[char]| {
        letter.iter().filter(is_diacritic).count() > MAX_LOOSE_DIACRITICS
            && has_loose_diacritic(letter)
    };
    if letters(&parts).any(has_too_many) {
        return Err(BadName::Marks);
    }
    let mut before = None;
    let mut marks = 0;
    for c in parts {
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

/// Whether `name` consists of dots and of what looks like digits, but for punctuation at
/// its end: some programs accept even `10.1` as an address (inet_aton(3)).
fn looks_like_an_address(name: &str) -> bool {
    // The skeleton of a digit look-alike is the digit, except that 1 and 0 become letters.
    // The Arabic zero becomes a dot.
    let look = skeleton(name);
    let look = stem(&look);
    let is_digit_or_dot = |c: char| c.is_ascii_digit() || matches!(c, 'l' | 'O' | 'o' | '.');
    look.contains('.') && look.chars().all(is_digit_or_dot)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use proptest::sample::select;
    use unicode_normalization::UnicodeNormalization;
    use unicode_security::confusable_detection;

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    #[test]
    fn what_is_no_name_is_near_one() {
        for (text, near) in [
            ("Anna Maria", Some("Anna_Maria")),
            ("  anna   maria ! ", Some("anna_maria")),
            ("hi/there", Some("hithere")),
            ("<alice>", Some("alice")),
            ("_www-data.", Some("www-data")),
            (
                "a b c d e f g h i j k l m n o p",
                Some("a_b_c_d_e_f_g_h_i_j_k_l_"),
            ),
            (
                "陳陳陳陳陳陳陳陳陳陳陳陳陳",
                Some("陳陳陳陳陳陳陳陳陳陳陳陳"),
            ),
            ("alice", Some("alice")),
            ("opera tor", Some("opera_tor")),
            ("operator", None),
            ("0 1 2", None),
            ("!!", None),
            ("", None),
        ] {
            let found = Name::near(text.as_bytes());
            assert_eq!(found.as_ref().map(Name::as_str), near, "{text}");
        }
        let long = "abcdefghijklmnopqrstuvwx";
        for (text, number, numbered) in [
            ("alice", 2, "alice2"),
            (long, 2, "abcdefghijklmnopqrstuvw2"),
            (long, 10, "abcdefghijklmnopqrstuv10"),
        ] {
            let found = name(text).numbered(number);
            assert_eq!(found.as_ref().map(Name::as_str), Some(numbered));
        }
    }

    #[test]
    fn accepts_names_in_many_scripts() {
        for text in [
            "alice",
            "Adébáyọ\u{300}",
            "Kaʻiulani",
            "Дем\u{2bc}ян",
            "Nguyễn",
            "bronių\u{301}ʼ",
            "佐々木",
            "ルーシー",
            "أَحمد",
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
            ("al ice", BadName::Space),
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
            // Variant letter shapes.
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
            ("operator_", BadName::Reserved),
            ("0perator_", BadName::Reserved),
            ("server_", BadName::Reserved),
            ("SERVER-_", BadName::Reserved),
            ("you.-", BadName::Reserved),
            ("Y0U_", BadName::Reserved),
            ("0p3r4t0r", BadName::Reserved),
            ("OPERA7OR", BadName::Reserved),
            ("53rver", BadName::Reserved),
            ("operatorʼ", BadName::Reserved),
            ("seʻrver_", BadName::Reserved),
            ("server\u{31b}", BadName::Reserved),
            // An address behind something that readers may overlook.
            ("192.168.1.7ʼ", BadName::Address),
            ("l92.168.1.7_", BadName::Address),
            ("l92.168.1.7\u{301}", BadName::Address),
            ("312ʼ", BadName::Number),
            // Other modifier letters, and other marks.
            ("aliceʹ", BadName::Character),
            ("aliceˈ", BadName::Character),
            ("aliceˬ", BadName::Character),
            ("aliceꞌ", BadName::Character),
            ("alice\u{302e}", BadName::Character),
            ("alice\u{34f}", BadName::Character),
            // A third mark, which readers may overlook.
            ("o\u{31b}\u{309}\u{323}", BadName::Marks),
        ];
        for &(text, why) in table {
            assert_eq!(Name::parse(text.as_bytes()), Err(why), "{text:?}");
        }
        assert_eq!(Name::parse(b"ali\xffce"), Err(BadName::Character));
        for text in [
            "operators",
            "operat",
            "younes",
            "server1",
            "Your",
            "1server",
        ] {
            assert_eq!(name(text).as_str(), text);
        }
        let long = "a".repeat(100_000);
        assert_eq!(Name::parse(long.as_bytes()), Err(BadName::Wide));
        for why in BadName::ALL {
            let words = why.to_string();
            let is_about_names = words.to_lowercase().contains("name");
            assert!(words.len() < 70 && is_about_names, "{words}");
        }
    }

    #[test]
    fn a_name_has_at_most_as_many_bytes_as_fit_into_lines() {
        let ka = "\u{915}\u{94d}"; // A consonant and its virama: six bytes, one column.
        let longest = ka.repeat(MAX_NAME_BYTES / ka.len());
        assert_eq!(name(&longest).as_str().len(), MAX_NAME_BYTES);
        let longer = format!("{longest}\u{915}");
        assert!(longer.width() <= MAX_NAME_COLUMNS);
        assert_eq!(Name::parse(longer.as_bytes()), Err(BadName::Wide));
        // The name counts, not how it was typed.
        let syllables: String = "한".repeat(MAX_NAME_COLUMNS / 2);
        let typed: String = syllables.nfd().collect();
        assert!(typed.len() > MAX_NAME_BYTES);
        assert_eq!(name(&typed).as_str(), syllables);
        let kelvins = "\u{212a}".repeat(MAX_NAME_COLUMNS);
        assert_eq!(name(&kelvins).as_str(), "K".repeat(MAX_NAME_COLUMNS));
    }

    #[test]
    fn the_looks_of_the_reserved_words_are_these_words() {
        for word in RESERVED {
            assert_eq!(skeleton(word), word);
            assert!(looks_reserved(word) && !looks_reserved(&format!("{word}s")));
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
            ("alice", "ALlCE"),
            ("alice", "aliceʼ"),
            ("alice", "aʻlice"),
            ("alice", "alice\u{31b}"),
            ("alice", "ALlCE\u{31b}"),
            ("alice\u{301}", "alice\u{301}\u{31b}"),
            ("Zoë", "zoe\u{308}\u{323}"),
            ("प्रिया", "प\u{93c}्रिया"),
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
            ("alice", "alice_"),
            ("alice", "alice2"),
            ("alice", "alicé"),
            ("Zoe", "Zoë"),
            ("Adébáyọ\u{300}", "Adebayo"),
            ("Kaʻiulani", "Keʻiulani"),
        ] {
            assert!(!name(a).looks_like(&name(b)), "{a} {b}");
        }
    }

    fn spellings(name: &str) -> [String; 4] {
        [
            name.to_owned(),
            name.to_lowercase(),
            capitalised(name),
            name.to_uppercase(),
        ]
    }

    /// Variants of `name` that readers could mistake for it.
    fn look_alikes(name: &str) -> impl Strategy<Value = String> + use<> {
        let shapes = prop::collection::vec(any::<prop::sample::Index>(), 24);
        let added =
            prop::collection::vec((any::<prop::sample::Index>(), select(&**MODIFIERS)), 0..3);
        (
            select(spellings(name).to_vec()),
            shapes,
            any::<bool>(),
            added,
        )
            .prop_map(|(spelling, shapes, is_thorough, added)| {
                let mut letters: Vec<String> = spelling.chars().map(String::from).collect();
                for (letter, shape) in letters.iter_mut().zip(shapes) {
                    if let Some(confusable) = CONFUSABLES.get(letter)
                        && (is_thorough || shape.index(3) == 0)
                    {
                        *letter = shape.get(confusable).to_string();
                    }
                }
                for (place, modifier) in added {
                    let place = place.index(letters.len());
                    let letter = &mut letters[place];
                    let changed = format!("{letter}{modifier}");
                    // A letter that composes is another one.
                    if changed.nfc().collect::<String>().contains(modifier) {
                        *letter = changed;
                    }
                }
                letters.concat()
            })
    }

    /// Modifier letters and marks, more than names may hold.
    static MODIFIERS: LazyLock<Vec<char>> = LazyLock::new(|| {
        let blocks = ('\u{2b0}'..='\u{36f}').chain('\u{64b}'..='\u{65f}');
        blocks.chain(['\u{93c}', '\u{200d}', '\u{fe0f}']).collect()
    });

    /// What looks like a character: each with all of the same skeleton, and its wide form.
    static CONFUSABLES: LazyLock<HashMap<String, Vec<char>>> = LazyLock::new(|| {
        let mut by_look: HashMap<String, Vec<char>> = HashMap::new();
        for c in '\0'..='\u{1ffff}' {
            let look = confusable_detection::skeleton(c.encode_utf8(&mut [0; 4])).collect();
            by_look.entry(look).or_default().push(c);
        }
        let mut confusables = HashMap::new();
        for likes in by_look.into_values().filter(|likes| likes.len() > 1) {
            for like in &likes {
                // Most are not allowed in names: a few will do.
                let (names, others): (Vec<char>, Vec<char>) =
                    likes.iter().partition(|c| is_allowed(**c));
                let few = others.len().min(names.len() / 2);
                let wide = char::from_u32(u32::from(*like) + 0xfee0).filter(|_| like.is_ascii());
                let others = names
                    .into_iter()
                    .chain(others.into_iter().take(few))
                    .chain(wide)
                    .collect();
                confusables.insert(like.to_string(), others);
            }
        }
        confusables
    });

    const BASES: [&str; 11] = [
        "alice",
        "Bob_2",
        "Kai",
        "ivan",
        "corn-Mill",
        "mike",
        "Leo.l",
        "Олег",
        "марія",
        "Ελένη",
        "Σοφία",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_two_look_alikes_of_a_name_are_names_of_different_looks(
            (base, one, other) in select(&BASES[..])
                .prop_flat_map(|base| (Just(base), look_alikes(base), look_alikes(base))),
        ) {
            let parse = |text: &str| Name::parse(text.as_bytes()).ok();
            let (one, other) = (parse(&one), parse(&other));
            for like in one.iter().chain(&other) {
                for spelling in spellings(base) {
                    let spelling = name(&spelling);
                    prop_assert!(like.looks_like(&spelling), "{} {}", like, spelling);
                }
            }
            // An m looks like rn, but not in capitals: what looks like its name does so in
            // too many ways to look like each other.
            if let (Some(one), Some(other), false) = (one, other, base.contains(['m', 'M'])) {
                prop_assert!(one.looks_like(&other), "{} {}", one, other);
            }
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
