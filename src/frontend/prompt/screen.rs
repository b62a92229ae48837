//! Draws the rows of the prompt, and erases them before something else is written.
//!
//! The cursor's place is known only within these rows. What is written above them is the
//! terminal's to scroll and keep.
//!
//! While the prompt is drawn, the terminal's own wrapping is off: a character that the terminal
//! takes to be wider than we do must not add a row.

use std::fmt::Write as _;

use anstyle::Style;

use super::layout::{Layout, Row, Size};
use crate::frontend::wrap::{WRAP_OFF, WRAP_ON};

/// Clears the cursor's row and all below it (CR, ED; ECMA-48).
pub(crate) const CLEAR_ROW: &str = "\r\x1b[J";

#[derive(Debug, Default)]
pub(crate) struct Screen {
    drawn: Option<Drawn>,
}

#[derive(Debug)]
struct Drawn {
    /// The width of each row.
    rows: Vec<usize>,
    cursor_row: usize,
    cursor_column: usize,
    /// The width of the terminal at that time.
    columns: usize,
}

impl Screen {
    pub(crate) fn is_drawn(&self) -> bool {
        self.drawn.is_some()
    }

    /// Appends what erases the prompt from a terminal of this `size` to `out`; the cursor is
    /// then where the prompt began.
    ///
    /// Assumes, as practically all terminals do, that one that became narrower has broken the
    /// rows that no longer fit.
    pub(crate) fn erase(&mut self, out: &mut String, size: Size) {
        let Some(drawn) = self.drawn.take() else {
            return;
        };
        let columns = size.columns.max(1);
        let mut rows_up = drawn.cursor_row;
        if columns < drawn.columns {
            let height = |row: &usize| row.div_ceil(columns).max(1);
            rows_up = drawn.rows[..drawn.cursor_row].iter().map(height).sum();
            // After the last column of a row the cursor waits in that row.
            rows_up += drawn.cursor_column.saturating_sub(1) / columns;
        }
        push_up(out, rows_up);
        out.push_str(CLEAR_ROW);
    }

    /// Something else has overwritten what was drawn.
    pub(crate) fn forget(&mut self) {
        self.drawn = None;
    }

    /// Appends what draws `layout`, its prompt in `style`, to `out`. The terminal has this
    /// `size`, and its cursor is at the beginning of an empty row.
    pub(crate) fn draw(&mut self, out: &mut String, layout: &Layout, style: Style, size: Size) {
        out.push_str(WRAP_OFF);
        let last = layout.rows.len() - 1;
        for (index, row) in layout.rows.iter().enumerate() {
            push_row(out, row, layout, index, style);
            if index < last {
                out.push_str("\r\n");
            }
        }
        push_up(out, last - layout.cursor_row);
        if layout.rows[last] != layout.before_cursor || layout.cursor_row != last {
            // Written again up to the cursor, which so gets to its place however wide the
            // terminal takes the characters before it to be.
            out.push('\r');
            push_row(out, &layout.before_cursor, layout, layout.cursor_row, style);
        }
        out.push_str(WRAP_ON);
        self.drawn = Some(Drawn {
            rows: layout.rows.iter().map(|row| row.columns).collect(),
            cursor_row: layout.cursor_row,
            cursor_column: layout.before_cursor.columns,
            columns: size.columns,
        });
    }
}

fn push_row(out: &mut String, row: &Row, layout: &Layout, index: usize, style: Style) {
    if index == layout.rows_above && layout.prompt_bytes > 0 {
        let (prompt, text) = row.text.split_at(layout.prompt_bytes);
        write!(out, "{style}{prompt}{style:#}{text}").expect("a String takes it");
    } else {
        out.push_str(&row.text);
    }
}

/// Moves the cursor up (CUU, ECMA-48).
fn push_up(out: &mut String, rows: usize) {
    if rows > 0 {
        write!(out, "\x1b[{rows}A").expect("a String takes it");
    }
}
