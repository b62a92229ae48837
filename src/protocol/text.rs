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
//! annotation characters.
//!
//! It cuts what is harmless only in small amounts: more than eight characters that share the
//! column of another, which terminals draw over neighbouring rows or hang on, and blanks wider
//! than 32 columns, which push the text after them into a row that looks like somebody else's
//! line. An ellipsis shows where.
//!
//! It keeps everything else, such as emoji joiners, direction marks and combining marks:
//! several scripts need them, and none can forge a line. But see [`has_right_to_left`].

use unicode_width::UnicodeWidthChar;

use crate::protocol::name::characters::is_mark;

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Takes the place of what was cut. An ellipsis, the usual sign that text was left out: a
/// cut must not look like what was sent, nor like broken UTF-8.
const CUT_MARK: char = '…';

/// How many combining marks, joiners and other characters without a column of their own may
/// follow a character that has one. The deepest stack in use has eight, a Tibetan syllable
/// (U+0F67 U+0F90 U+0FB5 U+0FA8 U+0FB3 U+0FBA U+0FBC U+0FBB U+0F82); the longest emoji
/// sequences have seven.
const MAX_JOINED: usize = 8;

/// How wide a run of blanks may be: enough for indentation and tables.
const MAX_BLANK_COLUMNS: usize = 32;

/// A tab moves to the next multiple of that; as the column is not known, it counts in full.
const TAB_COLUMNS: usize = 8;

/// What is looked at together. A run of spaces that is too wide contains a whole block.
const PLAIN_BLOCK_BYTES: usize = size_of::<u128>();

/// 1 in each byte of a block.
const EACH_BYTE: u128 = u128::MAX / 0xff;

const _: () = assert!(2 * PLAIN_BLOCK_BYTES - 1 <= MAX_BLANK_COLUMNS);

/// Appends a safe version of `text` to `out`: valid UTF-8 without LF, at most three times
/// as long as `text`.
///
/// ```
/// let mut shown = Vec::new();
/// chat::protocol::text::push_safe(&mut shown, b"caf\xc3\xa9 \x1b[2J\xff");
/// assert_eq!(shown, "café ␛[2J\u{fffd}".as_bytes());
/// ```
pub fn push_safe(out: &mut Vec<u8>, text: &[u8]) {
    push_within(out, text, 0);
}

/// [`push_safe`] for a whole line of a server, whose text is safe already if the server is of
/// our kind. The server has put one space before the text, and perhaps a
/// [`LEFT_TO_RIGHT_MARK`]: these add to what the text begins with.
pub(crate) fn push_safe_line(out: &mut Vec<u8>, line: &[u8]) {
    push_within(out, line, 1);
}

/// [`push_safe`], with `slack` more than the usual blanks and joined characters.
fn push_within(out: &mut Vec<u8>, text: &[u8], slack: usize) {
    if is_plain(text) {
        out.extend_from_slice(text);
        return;
    }
    let mut filter = Filter::new(out, slack);
    for chunk in text.utf8_chunks() {
        filter.push(chunk.valid());
        if !chunk.invalid().is_empty() {
            filter.push("\u{fffd}");
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

/// What follows a name so that it does not reorder the text after it.
pub(crate) fn mark_after(name: &str) -> &'static str {
    if has_right_to_left(name) {
        LEFT_TO_RIGHT_MARK
    } else {
        ""
    }
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

/// Whether `c` shows nothing but space, at most: white space, a joiner, a mark, a blank
/// letter and the like. Control characters are another matter.
pub(crate) fn is_invisible(c: char) -> bool {
    let is_blank = || {
        matches!(
            c,
            // Soft hyphen, fillers, the empty Braille pattern, annotation characters.
            '\u{ad}'
                | '\u{115f}'..='\u{1160}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1d159}'
                | '\u{e0000}'..='\u{e0fff}'
        )
    };
    !c.is_control() && (c.is_whitespace() || c.width() == Some(0) || is_blank())
}

/// A safe version of the first `max_chars` characters of `text`, to quote in an answer.
pub(crate) fn excerpt(text: &[u8], max_chars: usize) -> String {
    let text: String = String::from_utf8_lossy(text)
        .chars()
        .take(max_chars)
        .collect();
    made_safe(text.as_bytes())
}

/// A safe version of `text`, as [`push_safe`] has it: itself, if it is plain, or else in
/// `buffer`, whose contents are lost.
pub(crate) fn safe<'a>(text: &'a [u8], buffer: &'a mut Vec<u8>) -> &'a str {
    let safe = if is_plain(text) {
        text
    } else {
        buffer.clear();
        push_safe(buffer, text);
        buffer
    };
    std::str::from_utf8(safe).expect("what is safe is UTF-8")
}

/// A safe version of `text`, as [`push_safe`] has it.
pub(crate) fn made_safe(text: &[u8]) -> String {
    let mut safe = Vec::new();
    push_safe(&mut safe, text);
    String::from_utf8(safe).expect("what is safe is UTF-8")
}

/// Whether `text` is only printable ASCII and tabs, as most chat is, and no run of blanks in
/// it is too wide.
fn is_plain(text: &[u8]) -> bool {
    let (blocks, _) = text.as_chunks::<PLAIN_BLOCK_BYTES>();
    let are_plain = blocks.iter().all(|&block| {
        let block = u128::from_ne_bytes(block);
        is_printable(block) && block != EACH_BYTE * u128::from(b' ')
    });
    let is_end_printable = || match text.last_chunk() {
        Some(&block) => is_printable(u128::from_ne_bytes(block)),
        None => text.iter().all(|byte| (b' '..=b'~').contains(byte)),
    };
    are_plain && is_end_printable() || has_narrow_blanks(text)
}

/// Whether each byte of `block` is printable ASCII. All at once, and without a loop that it
/// would take the compiler's vectoriser to make fast.
fn is_printable(block: u128) -> bool {
    // Each term sets the highest bit of a byte that is no ASCII, is DEL, or comes before the
    // space; and of others only where a lower byte of the block is one of these.
    let above = block.wrapping_add(EACH_BYTE);
    let below = block.wrapping_sub(EACH_BYTE * u128::from(b' '));
    (block | above | below) & (EACH_BYTE << 7) == 0
}

/// [`is_plain`], looked at byte by byte.
fn has_narrow_blanks(text: &[u8]) -> bool {
    let mut columns = 0;
    text.iter().all(|&byte| {
        columns = match byte {
            b' ' => columns + 1,
            b'\t' => columns + TAB_COLUMNS,
            b'!'..=b'~' => 0,
            _ => return false,
        };
        columns <= MAX_BLANK_COLUMNS
    })
}

/// Copies text, but for what has to be replaced or cut.
struct Filter<'a> {
    out: &'a mut Vec<u8>,
    max_joined: usize,
    max_blank_columns: usize,
    /// How many joined characters the last character with a column has got.
    joined: usize,
    /// The last character was a [`JOINER`]: the next one shares its column, too.
    is_joining: bool,
    /// The width of the present run of blanks.
    blank_columns: usize,
    cutting: Cutting,
}

/// What is left out, up to a character of another class.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cutting {
    Nothing,
    Joined,
    /// And what is joined to them.
    Blanks,
}

/// What becomes of a character.
enum Verdict {
    Keep,
    Replace(char),
    Drop,
}

impl<'a> Filter<'a> {
    fn new(out: &'a mut Vec<u8>, slack: usize) -> Self {
        Self {
            out,
            max_joined: MAX_JOINED + slack,
            max_blank_columns: MAX_BLANK_COLUMNS + slack,
            joined: 0,
            is_joining: false,
            blank_columns: 0,
            cutting: Cutting::Nothing,
        }
    }

    fn push(&mut self, text: &str) {
        let mut copied = 0;
        for (at, c) in text.char_indices() {
            let shown = match self.judge(c) {
                Verdict::Keep => continue,
                Verdict::Replace(shown) => Some(shown),
                Verdict::Drop => None,
            };
            self.out.extend_from_slice(&text.as_bytes()[copied..at]);
            if let Some(shown) = shown {
                push_char(self.out, shown);
            }
            copied = at + c.len_utf8();
        }
        self.out.extend_from_slice(&text.as_bytes()[copied..]);
    }

    fn judge(&mut self, c: char) -> Verdict {
        let was_joining = std::mem::take(&mut self.is_joining);
        let was_joined = if was_joining { self.joined } else { 0 };
        let verdict = self.judge_class(Class::of(c), c == JOINER, was_joining);
        if let Verdict::Replace(CUT_MARK) = verdict {
            // The mark is a visible character: it joins what a joiner stands before.
            self.joined = was_joined;
        }
        verdict
    }

    fn judge_class(&mut self, class: Class, is_joiner: bool, was_joining: bool) -> Verdict {
        match class {
            class @ (Class::Visible | Class::Unsafe(_)) => {
                self.cutting = Cutting::Nothing;
                self.blank_columns = 0;
                if !was_joining {
                    self.joined = 0;
                }
                match class {
                    Class::Unsafe(shown) => Verdict::Replace(shown),
                    _ => Verdict::Keep,
                }
            }
            Class::Blank(columns) => {
                self.joined = 0;
                self.judge_blank(columns)
            }
            Class::Filler(columns) => self.judge_blank(columns),
            Class::Joined if self.cutting != Cutting::Nothing => Verdict::Drop,
            Class::Joined if self.joined == self.max_joined => self.cut(Cutting::Joined),
            Class::Joined => {
                self.joined += 1;
                self.is_joining = is_joiner;
                Verdict::Keep
            }
        }
    }

    fn judge_blank(&mut self, columns: usize) -> Verdict {
        if self.cutting == Cutting::Blanks {
            return Verdict::Drop;
        }
        self.cutting = Cutting::Nothing;
        self.blank_columns += columns;
        if self.blank_columns > self.max_blank_columns {
            return self.cut(Cutting::Blanks);
        }
        Verdict::Keep
    }

    fn cut(&mut self, cutting: Cutting) -> Verdict {
        self.blank_columns = 0;
        self.cutting = cutting;
        Verdict::Replace(CUT_MARK)
    }
}

/// U+200D, which makes one emoji of two.
const JOINER: char = '\u{200d}';

/// What a character does to the columns of a terminal.
enum Class {
    Visible,
    /// Must be replaced by this character, which is visible.
    Unsafe(char),
    /// Takes so many columns and shows nothing in them.
    Blank(usize),
    /// Takes so many columns and shows nothing, or takes none and joins the character before
    /// it, as the terminal likes.
    Filler(usize),
    /// Shares the column of the character before it, or shows nothing at all.
    Joined,
}

impl Class {
    fn of(c: char) -> Self {
        match c {
            ' ' => Self::Blank(1),
            // The common scripts without any of the rest, for speed.
            '!'..='~'
            | '\u{a1}'..='\u{ac}'
            | '\u{ae}'..='\u{2ff}'
            | '\u{370}'..='\u{482}'
            | '\u{48a}'..='\u{590}'
            | '\u{3400}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7a3}' => Self::Visible,
            '\t' => Self::Blank(TAB_COLUMNS),
            // The other spaces of Unicode (general category Zs).
            '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' => {
                Self::Blank(1)
            }
            '\u{3000}' => Self::Blank(2),
            // Braille without dots, a note without head, hieroglyphs without a sign.
            '\u{2800}' | '\u{1d159}' | '\u{13430}'..='\u{1343f}' | '\u{13441}' | '\u{13442}' => {
                Self::Blank(1)
            }
            // The Hangul fillers and the Mongolian vowel separator.
            '\u{115f}' | '\u{3164}' => Self::Filler(2),
            '\u{1160}' | '\u{ffa0}' | '\u{180e}' => Self::Filler(1),
            // The soft hyphen, which some hide; skin tones, which some draw over an emoji.
            '\u{ad}' | '\u{1f3fb}'..='\u{1f3ff}' => Self::Joined,
            _ => match replacement(c) {
                Some(shown) => Self::Unsafe(shown),
                // Variation selectors, joiners and tags have no width.
                None if c.width() == Some(0) || is_mark(c) => Self::Joined,
                None => Self::Visible,
            },
        }
    }
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

    use unicode_normalization::char::is_combining_mark;

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
    fn living_scripts_and_emoji_are_unchanged() {
        for text in [
            // Decomposed Vietnamese, then Hebrew with points and cantillation.
            "Tie\u{302}\u{301}ng Vie\u{323}\u{302}t, Nguye\u{302}\u{303}n, nga\u{300}y u\u{31b}\u{301}c",
            "בְּרֵאשִׁ֖ית בָּרָ֣א אֱלֹהִ֑ים אֵ֥ת הַשָּׁמַ֖יִם וְאֵ֥ת הָאָֽרֶץ׃",
            "بِسْمِ ٱللَّهِ ٱلرَّحْمَٰنِ ٱلرَّحِيمِ",
            "क्षत्रिय स्त्री कार्त्स्न्य ह्म्म्म्म्म्म्म्म्म्म्म्म्, मैं हिन्दी बोलता हूँ",
            "ที่นี่น้ำใสไหลเย็น ผู้ใหญ่ซื้อกุ้ง",
            "ကောင်းသောညနေပါ မြန်မာစာ",
            "ශ්\u{200d}රී ලංකාව, ස්ත්\u{200d}රී, ක්\u{200d}රමය",
            "ന്\u{200d}റെ, ര്\u{200d}",
            "می\u{200c}خواهم، کتاب\u{200c}ها",
            "ភាសាខ្មែរ\u{200b}ស្រី\u{200b}ស្ត្រី",
            // The deepest stack in use: the ten powers of Kalachakra.
            "ཧྐྵྨླྺྼྻྂ",
            "ᄒ\u{1161}\u{11ab}ᄀ\u{1173}\u{11af}, ㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋ",
            "ﾊﾞﾝﾊﾞﾝ, か\u{3099}, t\u{361}s, x\u{304}\u{302}",
            // Families, kisses with skin tones, flags of countries and parts of them, keycaps.
            "👨\u{200d}👩\u{200d}👧\u{200d}👦 👩🏽\u{200d}👩🏻\u{200d}👧🏿\u{200d}👦🏼 👍🏽",
            "👩🏻\u{200d}❤\u{fe0f}\u{200d}💋\u{200d}👨🏿 🧑🏻\u{200d}🤝\u{200d}🧑🏿 🏳\u{fe0f}\u{200d}🌈 👁\u{fe0f}\u{200d}🗨\u{fe0f}",
            "🇩🇪🇫🇷🇯🇵 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} 1\u{fe0f}\u{20e3}#\u{fe0f}\u{20e3} ❤\u{fe0f}",
        ] {
            assert_eq!(safe(text), text);
        }
    }

    #[test]
    fn marks_beyond_the_deepest_stack_are_cut_visibly() {
        let marks = |count: usize| "\u{301}".repeat(count);
        for count in [0, 1, 7, 8] {
            let text = format!("a{}b", marks(count));
            assert_eq!(safe(&text), text);
        }
        for count in [9, 10, 600, 2000] {
            assert_eq!(
                safe(format!("a{}b", marks(count))),
                format!("a{}…b", marks(8))
            );
        }
        // Each base has its own; without one, what stands before the text is the base.
        let full = format!("a{}", marks(8)).repeat(100);
        assert_eq!(safe(&full), full);
        assert_eq!(safe(marks(9)), marks(8) + "…");
    }

    /// Not only combining marks share a column; and what has none begins no new stack.
    #[test]
    fn nothing_else_stacks_without_bound_or_hides_a_stack() {
        for joined in [
            "\u{20dd}",
            "\u{fe0f}",
            "\u{200b}",
            "\u{200c}",
            "\u{2060}",
            "\u{feff}",
            "\u{ad}",
            "\u{e0067}",
            "\u{e0100}",
            "\u{1161}",
            "\u{11ab}",
            "\u{1f3fd}",
            "\u{e47}",
            "\u{488}",
            "\u{903}",
            "\u{34f}",
            "\u{200e}",
        ] {
            let all = format!("a{}b", joined.repeat(100));
            assert_eq!(safe(&all), format!("a{}…b", joined.repeat(8)), "{all:?}");
            let mixed = format!("a{}b", format!("{joined}\u{301}").repeat(100));
            let kept = format!("a{}…b", format!("{joined}\u{301}").repeat(4));
            assert_eq!(safe(&mixed), kept, "{mixed:?}");
        }
        for filler in ["\u{115f}", "\u{1160}", "\u{3164}", "\u{ffa0}", "\u{180e}"] {
            let stack = format!("a{}", format!("{filler}\u{301}").repeat(100));
            let shown = safe(&stack);
            let mut parts = shown.split('…').map(|part| part.matches('\u{301}').count());
            assert!(parts.all(|marks| marks <= 8), "{shown:?}");
        }
    }

    #[test]
    fn a_chain_of_emoji_is_one_character_and_bounded() {
        let chain = |count: usize| vec!["👩"; count].join("\u{200d}");
        assert_eq!(safe(chain(9)), chain(9));
        assert_eq!(safe(chain(18)), format!("{0}…{0}", chain(9)));
        // A replacement is joined as its original would be.
        let controls = vec!["\u{1b}"; 18].join("\u{200d}");
        assert_eq!(safe(controls), safe(chain(18)).replace('👩', "␛"));
        let shown = safe(chain(1000));
        assert!(shown.split('…').all(|part| part.matches('👩').count() <= 9));
    }

    /// Whatever shows nothing, and how many columns of it a terminal may leave blank.
    const BLANKS: [(char, usize); 27] = [
        (' ', 1),
        ('\t', 8),
        ('\u{a0}', 1),
        ('\u{1680}', 1),
        ('\u{2000}', 1),
        ('\u{2001}', 1),
        ('\u{2002}', 1),
        ('\u{2003}', 1),
        ('\u{2004}', 1),
        ('\u{2005}', 1),
        ('\u{2006}', 1),
        ('\u{2007}', 1),
        ('\u{2008}', 1),
        ('\u{2009}', 1),
        ('\u{200a}', 1),
        ('\u{202f}', 1),
        ('\u{205f}', 1),
        ('\u{3000}', 2),
        ('\u{2800}', 1),
        ('\u{1d159}', 1),
        ('\u{13430}', 1),
        ('\u{13441}', 1),
        ('\u{115f}', 2),
        ('\u{3164}', 2),
        ('\u{1160}', 1),
        ('\u{ffa0}', 1),
        ('\u{180e}', 1),
    ];

    #[test]
    fn blanks_up_to_32_columns_stay_and_wider_ones_are_cut_visibly() {
        for (blank, columns) in BLANKS {
            let blanks = |count: usize| String::from(blank).repeat(count);
            let most = 32 / columns;
            for before in ["", "x", "ü"] {
                let text = format!("{before}{}y", blanks(most));
                assert_eq!(safe(&text), text, "{blank:?}");
                for count in [most + 1, most + 2, 500] {
                    let text = format!("{before}{}y", blanks(count));
                    let kept = format!("{before}{}…y", blanks(most));
                    assert_eq!(safe(text), kept, "{blank:?}");
                }
            }
        }
        let ten_tabs = "ok\t\t\t\t\t\t\t\t\t\tx";
        assert_eq!(safe(ten_tabs), "ok\t\t\t\t…x");
    }

    #[test]
    fn every_white_space_is_a_blank() {
        let spaces = ('\0'..=char::MAX).filter(|c| c.is_whitespace() && replacement(*c).is_none());
        for space in spaces {
            assert!(BLANKS.iter().any(|(blank, _)| *blank == space), "{space:?}");
        }
    }

    #[test]
    fn blanks_are_one_run_whatever_their_kind_and_what_is_hidden_between_them() {
        for hidden in [
            "\u{200b}",
            "\u{feff}",
            "\u{fe0f}",
            "\u{ad}",
            "\u{2060}",
            "\u{e0020}",
            "\u{200e}",
        ] {
            let text = format!("a{}b", format!(" {hidden}").repeat(40));
            let kept = format!("a{}…b", format!(" {hidden}").repeat(32));
            assert_eq!(safe(text), kept);
        }
        let mixed: String = BLANKS.iter().map(|(blank, _)| blank).collect();
        let shown = safe(format!("a{mixed}{mixed}b"));
        assert_eq!(shown.matches('…').count(), 1);
        assert!(shown.ends_with("…b"), "{shown:?}");
    }

    #[test]
    fn tables_and_indentation_are_unchanged() {
        for text in [
            "\t\t\tif deeply { nested() }",
            "name                            size    modified",
            "                                an indentation of 32",
            "a\tb\tc\td\te\tf\tg\th\ti\tj\tk",
        ] {
            assert_eq!(safe(text), text);
        }
    }

    #[test]
    fn a_block_is_printable_if_each_byte_is() {
        for filling in [b' ', b'a', b'~'] {
            for byte in 0..=u8::MAX {
                for at in 0..PLAIN_BLOCK_BYTES {
                    let mut block = [filling; PLAIN_BLOCK_BYTES];
                    block[at] = byte;
                    let expected = (b' '..=b'~').contains(&byte);
                    let block = u128::from_ne_bytes(block);
                    assert_eq!(is_printable(block), expected, "{byte} at {at}");
                }
            }
        }
    }

    #[test]
    fn finds_a_run_that_is_too_wide_at_any_position() {
        for before in 0..3 * PLAIN_BLOCK_BYTES {
            for after in 0..3 * PLAIN_BLOCK_BYTES {
                let text = |blanks: &str| "x".repeat(before) + blanks + &"y".repeat(after);
                assert_eq!(safe(text(&" ".repeat(33))), text(&(" ".repeat(32) + "…")));
                let widest = text(&" ".repeat(32));
                assert_eq!(safe(&widest), widest);
            }
        }
    }

    #[test]
    fn a_whole_line_has_a_space_before_its_text() {
        let widest = " ".repeat(32) + "x";
        let highest = "\u{301}".repeat(8) + "א";
        for line in [format!("<a> {widest}"), format!("<a> \u{200e}{highest}")] {
            let mut out = Vec::new();
            push_safe_line(&mut out, line.as_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), line);
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
    fn recognises_what_shows_nothing() {
        for c in " \u{a0}\u{3000}\u{feff}\u{200b}\u{200e}\u{2060}\u{301}\u{ad}\u{3164}\u{2800}\u{fe0f}\u{e0020}".chars() {
            assert!(is_invisible(c), "U+{:04X}", u32::from(c));
        }
        for c in "a1/.漢😀ก\u{1b}\u{0}\u{7f}\u{fffd}".chars() {
            assert!(!is_invisible(c), "U+{:04X}", u32::from(c));
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

    /// The widest run of blanks, and the most characters on one, counted in a simple manner.
    fn extremes(shown: &str) -> (usize, usize) {
        let (mut columns, mut widest, mut joined, mut most) = (0, 0, 0, 0);
        for c in shown.chars() {
            let blank = BLANKS.iter().find(|(blank, _)| *blank == c);
            columns = match blank {
                Some((_, width)) => columns + width,
                None if c.width() == Some(0) => columns,
                None => 0,
            };
            joined = if is_combining_mark(c) { joined + 1 } else { 0 };
            (widest, most) = (widest.max(columns), most.max(joined));
        }
        (widest, most)
    }

    /// Blanks, marks, what joins, what hides, and a few letters.
    fn troublesome_text() -> impl Strategy<Value = String> {
        let pieces = "[ \t\u{a0}\u{3000}\u{3164}\u{180e}\u{1160}]{0,40}|[\u{301}\u{200d}\u{fe0f}\u{903}]{0,20}\
                      |[a世א👩🏽\u{200b}\u{1b}…]{1,3}";
        prop::collection::vec(pieces, 0..8).prop_map(|pieces| pieces.concat())
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
        fn nothing_gets_round_the_bounds(text in troublesome_text()) {
            let once = safe(&text);
            prop_assert!(once.len() <= 3 * text.len());
            prop_assert_eq!(&safe(&once), &once);
            let (widest, most) = extremes(&once);
            prop_assert!(widest <= 32 && most <= 8, "{widest} {most} {once:?}");
            // Visible characters stay, in order.
            let letters = |text: &str| text.replace(|c| !"a世א👩\u{1b}␛".contains(c), "");
            prop_assert_eq!(letters(&once), letters(&text).replace('\u{1b}', "␛"));
        }

        /// Our client must show what our server has sent.
        #[test]
        fn a_line_of_safe_text_is_safe(text in troublesome_text()) {
            for before in ["<a> ", "* אב \u{200e}"] {
                let line = format!("{before}{}", safe(&text));
                let mut out = Vec::new();
                push_safe_line(&mut out, line.as_bytes());
                prop_assert_eq!(String::from_utf8(out).unwrap(), line);
            }
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
