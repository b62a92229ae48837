//! The rows of the prompt on the terminal: drawn, and taken away before something else is
//! written.
//!
//! Where the terminal's cursor is, is known only within these rows. All that is written
//! above them is left to the terminal to wrap, scroll and keep.

use std::fmt::Write as _;

use anstyle::Style;

use super::layout::{Layout, Row, Size};

/// Clears the row of the cursor and all below it (CR, ED; ECMA-48).
pub const CLEAR_ROW: &str = "\r\x1b[J";

/// While the prompt is drawn the terminal does not break rows itself (DECAWM): should it
/// take a character for wider than we do, that must not add a row.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

/// What is drawn.
#[derive(Debug, Default)]
pub struct Screen {
    drawn: Option<Drawn>,
}

#[derive(Debug)]
struct Drawn {
    /// How wide each row is.
    rows: Vec<usize>,
    cursor_row: usize,
    cursor_column: usize,
    /// How wide the terminal was.
    columns: usize,
}

impl Screen {
    /// Nothing is drawn.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether something is drawn.
    pub fn is_drawn(&self) -> bool {
        self.drawn.is_some()
    }

    /// Appends to `out` what takes away what is drawn, on a terminal that is `size` now;
    /// the cursor is then where the prompt began.
    ///
    /// A terminal that has become narrower has broken the rows that did not fit any more,
    /// as practically all do; they are counted.
    pub fn erase(&mut self, out: &mut String, size: Size) {
        let Some(drawn) = self.drawn.take() else {
            return;
        };
        let columns = size.columns.max(1);
        let height = |row: &usize| match columns < drawn.columns {
            true => row.div_ceil(columns).max(1),
            false => 1,
        };
        let above: usize = drawn.rows[..drawn.cursor_row].iter().map(height).sum();
        let within = match columns < drawn.columns {
            // After the last column of a row the cursor waits in that row.
            true => drawn.cursor_column.saturating_sub(1) / columns,
            false => 0,
        };
        push_up(out, above + within);
        out.push_str(CLEAR_ROW);
    }

    /// What is drawn has gone, as when something else has cleared the screen.
    pub fn forget(&mut self) {
        self.drawn = None;
    }

    /// Appends to `out` what draws `layout`, its prompt in `style`, on a terminal of this
    /// `size` whose cursor is at the beginning of a row with nothing after it.
    pub fn draw(&mut self, out: &mut String, layout: &Layout, style: Style, size: Size) {
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
            // Written once more up to the cursor: so it is where it belongs, however
            // wide the terminal takes the characters before it to be.
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
    match index {
        0 if layout.prompt_bytes > 0 => {
            let (prompt, text) = row.text.split_at(layout.prompt_bytes);
            write!(out, "{style}{prompt}{style:#}{text}").expect("a String takes it");
        }
        _ => out.push_str(&row.text),
    }
}

/// CUU, ECMA-48.
fn push_up(out: &mut String, rows: usize) {
    if rows > 0 {
        write!(out, "\x1b[{rows}A").expect("a String takes it");
    }
}
