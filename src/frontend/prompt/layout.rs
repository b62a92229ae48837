//! The layout of the typed text over the rows of a terminal.
//!
//! Every row is broken one column before the terminal would break it: so the rows are known,
//! and the cursor has a place at the end of each.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

const TAB: &str = "    ";

/// The size of a terminal, in characters of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its width.
    pub columns: usize,
    /// Its height.
    pub rows: usize,
}

/// That of a terminal that does not report one.
impl Default for Size {
    fn default() -> Self {
        Self {
            columns: 80,
            rows: 24,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) text: String,
    /// The width of the text.
    pub(crate) columns: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Invariant: not empty.
    pub(crate) rows: Vec<Row>,
    /// How many rows are above the prompt.
    pub(crate) rows_above: usize,
    /// How many bytes of the first row after these are the prompt.
    pub(crate) prompt_bytes: usize,
    pub(crate) cursor_row: usize,
    /// The part of the cursor's row before the cursor.
    pub(crate) before_cursor: Row,
}

/// Lays out `prompt` and `text` on a terminal of this `size`, with the cursor before the byte
/// `cursor` of `text`. Uses at most half of the terminal's rows: of a longer text it shows
/// those around the cursor, and how many there are above and below. Both texts are safe to
/// show.
pub(crate) fn lay_out(prompt: &str, text: &str, cursor: usize, size: Size) -> Layout {
    let max_columns = size.columns.saturating_sub(1).max(1);
    let mut rows = vec![Row {
        text: prompt.to_owned(),
        columns: prompt.width(),
    }];
    let mut cursor_at = None;
    for (at, grapheme) in text.grapheme_indices(true) {
        let is_break = grapheme.ends_with('\n');
        let shown = match grapheme {
            "\t" => TAB,
            _ if is_break => "",
            grapheme => grapheme,
        };
        let columns = shown.width();
        if last(&rows).columns + columns > max_columns && last(&rows).columns > 0 {
            rows.push(Row::default());
        }
        if cursor_at.is_none() && at >= cursor {
            cursor_at = Some((rows.len() - 1, last(&rows).clone()));
        }
        let row = rows.last_mut().expect("never empty");
        row.text.push_str(shown);
        row.columns += columns;
        if is_break {
            rows.push(Row::default());
        }
    }
    let (cursor_row, before_cursor) =
        cursor_at.unwrap_or_else(|| (rows.len() - 1, last(&rows).clone()));
    let layout = Layout {
        rows,
        rows_above: 0,
        prompt_bytes: prompt.len(),
        cursor_row,
        before_cursor,
    };
    layout.cut_to((size.rows / 2).max(1), max_columns)
}

impl Layout {
    /// Puts `rows` above the prompt.
    pub(crate) fn put_above(&mut self, rows: Vec<Row>) {
        self.rows_above += rows.len();
        self.cursor_row += rows.len();
        self.rows.splice(..0, rows);
    }

    /// Keeps at most `max_rows`, the cursor's among them.
    fn cut_to(mut self, max_rows: usize, max_columns: usize) -> Self {
        let count = self.rows.len();
        if count <= max_rows {
            return self;
        }
        // The cursor's row is the last, unless it is near the end.
        let start = (self.cursor_row + 1)
            .saturating_sub(max_rows)
            .min(count - max_rows);
        let end = start + max_rows;
        let below = count - end;
        self.rows.truncate(end);
        self.rows.drain(..start);
        self.cursor_row -= start;
        if start > 0 {
            self.prompt_bytes = 0;
        }
        // The count of hidden rows takes a row of its own, if there is one to spare.
        if start > 0 && self.cursor_row > 0 {
            self.rows[0] = more(start + 1, "above", max_columns);
        }
        if below > 0 && self.cursor_row + 1 < self.rows.len() {
            let last = self.rows.len() - 1;
            self.rows[last] = more(below + 1, "below", max_columns);
        }
        self
    }
}

fn last(rows: &[Row]) -> &Row {
    rows.last().expect("never empty")
}

fn more(count: usize, place: &str, max_columns: usize) -> Row {
    let text = format!("… {count} more rows {place}");
    // All characters are one column wide.
    let text: String = text.chars().take(max_columns).collect();
    let columns = text.width();
    Row { text, columns }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(columns: usize, rows: usize) -> Size {
        Size { columns, rows }
    }

    fn texts(layout: &Layout) -> Vec<&str> {
        layout.rows.iter().map(|row| &row.text[..]).collect()
    }

    #[test]
    fn a_short_text_is_one_row() {
        let layout = lay_out("> ", "hello", 2, size(80, 24));
        assert_eq!(texts(&layout), ["> hello"]);
        assert_eq!((layout.prompt_bytes, layout.cursor_row), (2, 0));
        assert_eq!(layout.before_cursor.text, "> he");
        assert_eq!(layout.before_cursor.columns, 4);
    }

    #[test]
    fn rows_are_broken_before_the_terminal_would() {
        let layout = lay_out("> ", "abcdefghij", 10, size(8, 24));
        assert_eq!(texts(&layout), ["> abcde", "fghij"]);
        assert_eq!((layout.cursor_row, layout.before_cursor.columns), (1, 5));
        let full = lay_out("> ", "abcde", 5, size(8, 24));
        assert_eq!((full.cursor_row, full.before_cursor.columns), (0, 7));
    }

    #[test]
    fn no_character_is_torn() {
        // A wide one does not fit in the last column; a family of four is one.
        let layout = lay_out("", "abc世👩\u{200d}👩\u{200d}👧e\u{301}", 3, size(5, 24));
        assert_eq!(
            texts(&layout),
            ["abc", "世👩\u{200d}👩\u{200d}👧", "e\u{301}"]
        );
        assert_eq!((layout.cursor_row, layout.before_cursor.columns), (1, 0));
    }

    #[test]
    fn a_block_of_lines_is_shown_as_such() {
        let layout = lay_out("> ", "one\n\tx\n", 8, size(80, 24));
        assert_eq!(texts(&layout), ["> one", "    x", ""]);
        assert_eq!((layout.cursor_row, layout.before_cursor.columns), (2, 0));
        let layout = lay_out("> ", "one\ntwo", 3, size(80, 24));
        assert_eq!(
            (layout.cursor_row, &layout.before_cursor.text[..]),
            (0, "> one")
        );
    }

    #[test]
    fn of_a_long_block_the_rows_around_the_cursor_are_shown() {
        let text = (0..10).map(|n| format!("{n}\n")).collect::<String>();
        for (cursor, rows, cursor_row) in [
            (20, ["… 7 more rows above", "7", "8", "9", ""], 4),
            (10, ["… 2 more rows above", "2", "3", "4", "5"], 4),
            (6, ["> 0", "1", "2", "3", "… 7 more rows below"], 3),
            (0, ["> 0", "1", "2", "3", "… 7 more rows below"], 0),
        ] {
            let layout = lay_out("> ", &text, cursor, size(80, 10));
            assert_eq!(texts(&layout), rows);
            assert_eq!(layout.cursor_row, cursor_row);
        }
    }

    proptest! {
        #[test]
        fn every_row_leaves_a_column_for_the_cursor(
            text in "[a-z世👩\u{200d}\u{301}\t\n ]{0,60}",
            cursor in 0..60_usize,
            columns in 5..20_usize,
            rows in 0..10_usize,
        ) {
            let cursor = text.char_indices().map(|(at, _)| at).nth(cursor).unwrap_or(text.len());
            let layout = lay_out("> ", &text, cursor, size(columns, rows));
            prop_assert!(layout.rows.len() <= (rows / 2).max(1));
            for row in &layout.rows {
                prop_assert!(row.columns < columns, "{row:?}");
            }
            let row = &layout.rows[layout.cursor_row];
            prop_assert!(row.text.starts_with(&layout.before_cursor.text), "{layout:?}");
        }
    }
}
