//! Breaks lines into the rows of a terminal, and indents the rows after a break.
//!
//! A terminal breaks a line where it is full and goes on in the first column. What one person
//! says could so look like the line of another. We break lines before the terminal does, and
//! no row after a break begins in the first column.
//!
//! The price is that a terminal copies a broken word, such as a long URL, with the break in
//! it. Nothing but spaces is inserted, since web browsers remove a line end and the spaces
//! around it from a pasted address. A URL that fits into a row is never broken.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::protocol::text::{LEFT_TO_RIGHT_MARK, has_right_to_left};

/// How far a row after a break is indented beyond the margin. Lines begin in the column of
/// the margin with `<`, `*`, `[` or two characters and a space: two columns would not stand
/// out from that.
const INDENT: usize = 4;

const TAB_COLUMNS: usize = 8;

/// Turns the terminal's own wrapping off and on (DECAWM).
pub(crate) const WRAP_OFF: &str = "\x1b[?7l";
pub(crate) const WRAP_ON: &str = "\x1b[?7h";

/// Ends all styles (SGR).
const PLAIN: &str = "\x1b[0m";

/// What lines are broken for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// The width of the terminal.
    pub(crate) columns: usize,
    /// The width of what precedes each line, such as the time.
    pub(crate) margin_columns: usize,
    /// Whether the terminal obeys control sequences.
    pub(crate) is_capable: bool,
}

impl Page {
    /// Half of a very narrow terminal is for text, whatever the margin takes.
    fn indent(self) -> usize {
        (self.margin_columns + INDENT).min(self.columns / 2)
    }
}

/// Appends `line` in as many rows as it takes, without a line end after the last. It is safe
/// to show, but may have styles (SGR).
///
/// Blanks at a break are left out, and tabs become spaces.
pub(crate) fn push_rows(out: &mut String, line: &str, page: Page) {
    let is_short = line.len() <= page.columns && line.is_ascii() && !line.contains('\t');
    if is_short {
        return out.push_str(line);
    }
    let units = units(line);
    let mut rows = Rows::new(out, line, page);
    let mut rest = &units[..];
    while let Some(unit) = rest.first() {
        let count = match unit.kind {
            Kind::Style => {
                rows.change_style(unit.text);
                1
            }
            Kind::Blank => {
                rows.hold_blank(unit);
                1
            }
            Kind::Letter | Kind::Wide => {
                let count = word_units(rest);
                rows.push_word(&rest[..count]);
                count
            }
        };
        rest = &rest[count..];
    }
    rows.finish();
}

/// What is not broken: a character as people see them, or a style.
#[derive(Debug)]
struct Unit<'a> {
    text: &'a str,
    columns: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Style,
    /// A line can be broken there.
    Blank,
    /// Part of a word.
    Letter,
    /// A word by itself: Chinese and Japanese are written without blanks.
    Wide,
}

impl<'a> Unit<'a> {
    fn of(grapheme: &'a str) -> Self {
        let is_blank = grapheme.chars().all(|c| {
            let is_unbreakable = matches!(c, '\u{a0}' | '\u{2007}' | '\u{202f}');
            c.is_whitespace() && !is_unbreakable
        });
        let columns = columns(grapheme);
        Self {
            text: grapheme,
            columns,
            kind: match columns {
                _ if is_blank => Kind::Blank,
                0 | 1 => Kind::Letter,
                _ => Kind::Wide,
            },
        }
    }

    /// As many columns as any terminal may use for it.
    fn most_columns(&self) -> usize {
        if self.text.is_ascii() {
            self.columns
        } else {
            self.columns.max(2 * self.text.chars().count())
        }
    }
}

fn units(line: &str) -> Vec<Unit<'_>> {
    let mut units = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let is_style = rest.starts_with('\x1b');
        let (part, after) = if is_style {
            rest.split_at(rest.find('m').map_or(rest.len(), |at| at + 1))
        } else {
            rest.split_at(rest.find('\x1b').unwrap_or(rest.len()))
        };
        if is_style {
            units.push(Unit {
                text: part,
                columns: 0,
                kind: Kind::Style,
            });
        } else {
            units.extend(part.graphemes(true).map(Unit::of));
        }
        rest = after;
    }
    units
}

/// The columns of a grapheme. Some terminals show the parts of an emoji sequence one by one.
fn columns(grapheme: &str) -> usize {
    let parts = grapheme.chars().filter_map(UnicodeWidthChar::width).sum();
    grapheme.width().max(parts)
}

/// How many units the word that begins `units` has, the styles in it included.
fn word_units(units: &[Unit<'_>]) -> usize {
    if units[0].kind == Kind::Wide {
        return 1;
    }
    let is_end = |unit: &Unit<'_>| matches!(unit.kind, Kind::Blank | Kind::Wide);
    units.iter().position(is_end).unwrap_or(units.len())
}

/// A line, as far as it is laid out.
struct Rows<'a> {
    out: &'a mut String,
    page: Page,
    /// Begins each row after a break.
    indent: String,
    /// The present row.
    row: String,
    /// Where the next character goes.
    column: usize,
    /// Where the present row begins.
    start: usize,
    /// How wide the row is at most, on any terminal.
    most_columns: usize,
    /// The styles in force.
    style: String,
    /// Blanks, and the styles among them, that are left out if a break follows.
    held: String,
    held_columns: usize,
    /// The styles in force after that.
    held_style: String,
}

impl<'a> Rows<'a> {
    fn new(out: &'a mut String, line: &str, page: Page) -> Self {
        let mut indent = " ".repeat(page.indent());
        if has_right_to_left(line) {
            // Or a terminal might take the row for one that is written from the right, and
            // show the indent there.
            indent += LEFT_TO_RIGHT_MARK;
        }
        Self {
            out,
            page,
            indent,
            row: String::new(),
            column: 0,
            start: 0,
            most_columns: 0,
            style: String::new(),
            held: String::new(),
            held_columns: 0,
            held_style: String::new(),
        }
    }

    fn change_style(&mut self, style: &str) {
        self.held += style;
        if style == PLAIN {
            self.held_style.clear();
        } else {
            self.held_style += style;
        }
    }

    fn hold_blank(&mut self, blank: &Unit<'_>) {
        if blank.text == "\t" {
            let at = self.column + self.held_columns;
            let columns = TAB_COLUMNS - at % TAB_COLUMNS;
            self.held += &" ".repeat(columns);
            self.held_columns += columns;
        } else {
            self.held += blank.text;
            self.held_columns += blank.columns;
        }
    }

    fn push_word(&mut self, word: &[Unit<'_>]) {
        let columns: usize = word.iter().map(|unit| unit.columns).sum();
        let at = self.column + self.held_columns;
        let fits = at + columns <= self.page.columns;
        let fits_after_break = self.page.indent() + columns <= self.page.columns;
        // A word that fits into no row begins where it stands.
        if !fits && at > self.start && (fits_after_break || at >= self.page.columns) {
            self.end_row();
        }
        self.keep_held();
        for unit in word {
            if unit.kind == Kind::Style {
                self.change_style(unit.text);
                continue;
            }
            let is_full = self.column + unit.columns > self.page.columns;
            if is_full && self.column > self.start {
                self.end_row();
            }
            self.keep_held();
            self.row += unit.text;
            self.column += unit.columns;
            self.most_columns += unit.most_columns();
        }
    }

    fn keep_held(&mut self) {
        // Blanks are no wider than they are taken to be, but for those beyond ASCII.
        self.most_columns +=
            self.held_columns + self.held.chars().filter(|c| !c.is_ascii()).count();
        self.row += &self.held;
        self.column += self.held_columns;
        self.style.clone_from(&self.held_style);
        self.held.clear();
        self.held_columns = 0;
    }

    /// Goes on in a new row, without the blanks that are held.
    fn end_row(&mut self) {
        self.finish_row();
        self.out.push_str("\r\n");
        self.row.push_str(&self.indent);
        self.row.push_str(&self.held_style);
        self.style.clone_from(&self.held_style);
        self.held.clear();
        self.held_columns = 0;
        self.start = self.page.indent();
        self.column = self.start;
        self.most_columns = self.start;
    }

    fn finish(mut self) {
        if self.column + self.held_columns <= self.page.columns {
            self.keep_held();
        }
        self.finish_row();
    }

    fn finish_row(&mut self) {
        // So that the indent has no style.
        if !self.style.is_empty() {
            self.row.push_str(PLAIN);
        }
        // A terminal that takes a character to be wider than we do must not break the row.
        let may_overflow = self.page.is_capable && self.most_columns > self.page.columns;
        if may_overflow {
            self.out.push_str(WRAP_OFF);
        }
        self.out.push_str(&self.row);
        if may_overflow {
            self.out.push_str(WRAP_ON);
        }
        self.row.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use proptest::prelude::*;

    use super::*;
    use crate::frontend::mention::Mention;
    use crate::frontend::message::Message;
    use crate::frontend::people::People;
    use crate::frontend::style::{Palette, styled};
    use crate::protocol::text::made_safe;

    fn page(columns: usize) -> Page {
        Page {
            columns,
            margin_columns: 0,
            is_capable: true,
        }
    }

    fn broken(line: &str, columns: usize) -> String {
        let mut out = String::new();
        push_rows(&mut out, line, page(columns));
        out
    }

    /// The rows without control sequences.
    fn rows(line: &str, columns: usize) -> Vec<String> {
        let broken = broken(line, columns)
            .replace(WRAP_OFF, "")
            .replace(WRAP_ON, "");
        broken.split("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn a_line_that_fits_is_as_it_was() {
        for line in ["", "<a> hi", "<alice> just 20 col", "<alice> just 20 wide"] {
            assert_eq!(broken(line, 20), line);
        }
        assert_eq!(rows("<alice> 世世世世世世", 20), ["<alice> 世世世世世世"]);
        assert_eq!(
            rows("<alice> e\u{301}e\u{301}e\u{301}", 11),
            ["<alice> e\u{301}e\u{301}e\u{301}"]
        );
    }

    #[test]
    fn lines_are_broken_between_words_and_indented() {
        assert_eq!(
            rows("<alice> the quick brown fox jumps", 20),
            ["<alice> the quick", "    brown fox jumps"]
        );
        // The blanks at a break are left out, however many there are.
        let wide = format!("<alice> hello{}world{}", " ".repeat(32), " ".repeat(32));
        assert_eq!(rows(&wide, 20), ["<alice> hello", "    world"]);
        assert_eq!(
            rows("<alice> 10\u{a0}kilometres", 20),
            ["<alice>", "    10\u{a0}kilometres"]
        );
    }

    #[test]
    fn a_word_that_fits_into_no_row_is_broken_where_rows_are_full() {
        assert_eq!(
            rows("<alice> 0123456789012345678901234567890", 20),
            ["<alice> 012345678901", "    2345678901234567", "    890"]
        );
    }

    #[test]
    fn no_character_is_torn() {
        assert_eq!(
            rows("<alice> 世界世界世界世界世", 19),
            ["<alice> 世界世界世", "    界世界世"]
        );
        let family = "👨\u{200d}👩\u{200d}👧\u{200d}👦";
        assert_eq!(
            rows(&format!("<alice> ab {family} {family}"), 20),
            [format!("<alice> ab {family}"), format!("    {family}")]
        );
        let marked = "e\u{301}\u{323}".repeat(30);
        let shown = rows(&format!("<a> {marked}"), 20);
        assert!(
            shown.iter().all(|row| row.ends_with("e\u{301}\u{323}")),
            "{shown:?}"
        );
        assert_eq!(shown.len(), 2);
    }

    #[test]
    fn tabs_go_where_a_terminal_has_them() {
        assert_eq!(rows("<a> x\ty\tz", 30), ["<a> x   y       z"]);
        assert_eq!(rows("<a> x\ty\tz", 16), ["<a> x   y", "    z"]);
    }

    #[test]
    fn styles_go_on_after_a_break_and_leave_the_indent_plain() {
        assert_eq!(
            broken("\x1b[2m-- one two three four five\x1b[0m", 20),
            "\x1b[2m-- one two three\x1b[0m\r\n    \x1b[2mfour five\x1b[0m"
        );
        assert_eq!(
            broken("<a> 5678901234567 \x1b[7mbob\x1b[0m hi", 20),
            "<a> 5678901234567\r\n    \x1b[7mbob\x1b[0m hi"
        );
    }

    #[test]
    fn the_terminal_breaks_no_row_whose_width_it_may_see_otherwise() {
        let cyrillic = "привет ".repeat(9);
        let shown = broken(&cyrillic, 40);
        for row in shown.split("\r\n").filter(|row| row.chars().count() > 30) {
            assert!(
                row.starts_with(WRAP_OFF) && row.ends_with(WRAP_ON),
                "{row:?}"
            );
        }
        assert!(!broken(&"hello ".repeat(9), 40).contains('\x1b'));
        let mut out = String::new();
        let page = Page {
            is_capable: false,
            ..page(40)
        };
        push_rows(&mut out, &cyrillic, page);
        assert!(!out.contains('\x1b'));
    }

    #[test]
    fn rows_of_right_to_left_text_are_indented_on_the_left() {
        let shown = rows("<a> \u{200e}שלום שלום שלום שלום שלום", 20);
        assert_eq!(shown[1], "    \u{200e}שלום שלום");
    }

    #[test]
    fn the_narrowest_terminals_show_it_all() {
        for columns in 1..20 {
            let shown = rows("<alice> a 世界 and on", columns).concat();
            assert_eq!(shown.replace(' ', ""), "<alice>a世界andon");
        }
    }

    /// Malicious text, and text as people write it.
    fn text() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            "[ \t]{0,80}",
            "[a-z]{1,12}",
            "[a-z./]{1,250}",
            "[世界和平ー。]{1,30}",
            "(<alice>|--|!!|\\*|\\[bob\\]) [a-z ]{1,10}",
            "[\u{a0}\u{3000}\u{2003}\u{2800}\u{3164}\u{200b}]{1,40}",
            "[e\u{301}\u{323}\u{e47}]{1,20}",
            "(👨\u{200d}👩\u{200d}👧|🇩🇪|👍🏽|❤\u{fe0f}|1\u{fe0f}\u{20e3}){1,9}",
            "[а-яа-я ]{1,60}",
            "[א-ת ]{1,30}",
            "bob ",
        ];
        prop::collection::vec(pieces, 0..10)
            .prop_map(|pieces| made_safe(pieces.concat().as_bytes()))
    }

    proptest! {
        /// What a terminal shows that wraps rows by itself, without regard to ours.
        #[test]
        fn no_row_but_the_first_begins_in_the_first_columns(
            text in text(),
            columns in 20..200_usize,
            is_colored: bool,
        ) {
            let line = format!("<mallory> {text}");
            let shown = styled(
                &Message::parse(&line),
                Some(&Mention::of("bob")),
                &People::default(),
                Palette { is_colored },
            );
            let mut out = broken(&shown.line, columns);
            let count = out.matches("\r\n").count() + 1;
            out += "\r\n$";
            let nonzero = |count| NonZero::new(u16::try_from(count).unwrap()).unwrap();
            let mut terminal = vt100::Parser::new(nonzero(count + 8), nonzero(columns), 0);
            terminal.process(out.as_bytes());
            let rows: Vec<String> = terminal.screen().rows(0, columns as u16).collect();

            prop_assert_eq!(&rows[count], "$", "as many rows as were meant: {:?}", rows);
            let begins = "<mallory>";
            prop_assert!(rows[0].starts_with(begins), "{:?}", rows);
            let indent = " ".repeat(INDENT);
            for row in &rows[1..count] {
                let text = row.strip_prefix(&indent);
                prop_assert!(text.is_some_and(|text| !text.is_empty()), "{:?}", rows);
            }
            // Nothing is lost or reordered.
            let visible = |text: &str| text.replace(|c: char| {
                c.is_whitespace() || c.width() == Some(0)
            }, "");
            prop_assert_eq!(visible(&rows[..count].concat()), visible(&line));
        }

        #[test]
        fn nothing_is_left_out_but_blanks(text in text(), columns in 4..200_usize) {
            let without_blanks = |text: &str| text.replace([' ', '\t', '\u{3000}', '\u{2003}', '\u{200e}'], "");
            let line = format!("<mallory> {text}");
            let shown = rows(&line, columns);
            prop_assert_eq!(without_blanks(&shown.concat()), without_blanks(&line));
        }

        #[test]
        fn no_word_is_broken_that_fits_into_a_row(
            words in prop::collection::vec("[a-zа-я]{1,16}", 1..30),
            columns in 20..200_usize,
        ) {
            let shown = rows(&words.join(" "), columns);
            let all = shown.join(" ");
            prop_assert_eq!(all.split_whitespace().collect::<Vec<_>>(), words);
            // Each row is as full as it can be.
            for pair in shown.windows(2) {
                let next = pair[1].split_whitespace().next().unwrap_or_default();
                prop_assert!(pair[0].width() + 1 + next.width() > columns, "{shown:?}");
            }
        }
    }
}
