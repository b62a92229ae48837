//! Markdown tables.

use std::fmt::Write as _;

/// A Markdown table. The first column is text, the others are numbers. All rows have as
/// many cells as the heading.
pub(crate) fn markdown(heading: &[String], rows: &[Vec<String>]) -> String {
    let mut text = row(heading);
    text += "| --- |";
    for _ in 1..heading.len() {
        text += " ---: |";
    }
    text += "\n";
    for cells in rows {
        debug_assert_eq!(cells.len(), heading.len());
        text += &row(cells);
    }
    text
}

fn row(cells: &[String]) -> String {
    let mut text = "|".to_owned();
    for cell in cells {
        write!(text, " {cell} |").expect("a String takes every write");
    }
    text + "\n"
}

/// A time in microseconds, with about three digits.
pub(crate) fn micros(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 0.1 => format!("{value:.3} µs"),
        Some(value) if value < 10.0 => format!("{value:.2} µs"),
        Some(value) => format!("{value:.1} µs"),
    }
}

/// A number of bytes.
pub(crate) fn bytes(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 1_000.0 => format!("{value:.0} B"),
        Some(value) if value < 1e6 => format!("{:.1} kB", value / 1e3),
        Some(value) => format!("{:.1} MB", value / 1e6),
    }
}

/// `value` as a multiple of `base`.
pub(crate) fn ratio(value: Option<f64>, base: Option<f64>) -> String {
    match (value, base) {
        (Some(value), Some(base)) if base > 0.0 => format!("{:.2} ×", value / base),
        _ => "–".to_owned(),
    }
}
