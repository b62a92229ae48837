//! Any bytes: what is shown is harmless text of bounded length, without wide gaps or high stacks
//! of marks, and nothing is changed without need.

#![no_main]

use std::iter::Peekable;
use std::str::Chars;

use chat::protocol::text::push_safe;
use chat_fuzz::{assert_harmless, is_harmless};
use libfuzzer_sys::fuzz_target;

/// The most that one byte grows: an invalid one becomes U+FFFD.
const MAX_GROWTH: usize = 3;

const MAX_BLANK_COLUMNS: usize = 32;

const MAX_MARKS: usize = 8;

const CUT_MARK: char = '…';

const BEFORE: &[u8] = b"what stands there\xff\n";

fuzz_target!(|bytes: &[u8]| {
    let shown = safe(bytes);
    let text = assert_harmless(&shown);
    assert!(shown.len() <= MAX_GROWTH * bytes.len());
    assert_eq!(safe(&shown), shown, "it is safe already");
    assert_bounded(text);
    assert_faithful(text, &String::from_utf8_lossy(bytes));
});

fn safe(bytes: &[u8]) -> Vec<u8> {
    let mut out = BEFORE.to_vec();
    push_safe(&mut out, bytes);
    assert!(out.starts_with(BEFORE), "it only appends");
    out.split_off(BEFORE.len())
}

/// Runs of blanks and of marks are bounded, whatever hides between them.
fn assert_bounded(text: &str) {
    let (mut columns, mut marks) = (0, 0);
    for c in text.chars() {
        match blank_columns(c) {
            0 if is_hidden(c) || is_mark(c) => {}
            0 => columns = 0,
            width => columns += width,
        }
        marks = match c {
            _ if is_mark(c) => marks + 1,
            _ if is_hidden(c) => marks,
            _ => 0,
        };
        assert!(
            columns <= MAX_BLANK_COLUMNS,
            "{columns} columns in {text:?}"
        );
        assert!(marks <= MAX_MARKS, "{marks} marks in {text:?}");
    }
}

/// Each character is harmless and kept, replaced by one other, or part of a run cut for its
/// length.
fn assert_faithful(text: &str, original: &str) {
    let mut rest = text.chars().peekable();
    let mut is_cut = false;
    for c in original.chars() {
        let is_next = rest.peek().is_some_and(|&next| stands_for(next, c));
        if is_next {
            rest.next();
            is_cut = false;
            continue;
        }
        assert!(!c.is_ascii_graphic(), "{c:?} is missing in {text:?}");
        if !is_cut {
            assert_eq!(rest.peek(), Some(&CUT_MARK), "{c:?} is missing in {text:?}");
            assert!(is_too_much(text, &rest, c), "{c:?} could stay in {text:?}");
            rest.next();
            is_cut = true;
        }
    }
    assert_eq!(rest.next(), None, "added to {original:?}");
}

fn stands_for(shown: char, original: char) -> bool {
    let is_annotation = ('\u{fff9}'..='\u{fffb}').contains(&original);
    let is_deprecated = ('\u{206a}'..='\u{206f}').contains(&original);
    let may_stay = is_harmless(original) && !is_annotation && !is_deprecated;
    if may_stay {
        shown == original
    } else {
        shown != original && shown != CUT_MARK
    }
}

/// Whether `c` exceeds what may follow the text shown before `rest`.
fn is_too_much(text: &str, rest: &Peekable<Chars<'_>>, c: char) -> bool {
    let rest_bytes: usize = rest.clone().map(char::len_utf8).sum();
    let before = &text[..text.len() - rest_bytes];
    let columns: usize = before
        .chars()
        .rev()
        .take_while(|&c| blank_columns(c) > 0 || !c.is_ascii())
        .map(blank_columns)
        .sum();
    let has_blanks = columns + blank_columns(c) > MAX_BLANK_COLUMNS;
    // In a chain of emoji every other character is a joiner.
    let last = before.chars().rev().take(2 * MAX_MARKS);
    let has_marks = last.filter(|c| !c.is_ascii()).count() >= MAX_MARKS;
    has_blanks || has_marks
}

/// The width of `c` if it may be blank.
fn blank_columns(c: char) -> usize {
    match c {
        '\t' => 8,
        ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' => 1,
        '\u{2800}' | '\u{1d159}' | '\u{13430}'..='\u{1343f}' | '\u{13441}' | '\u{13442}' => 1,
        '\u{1160}' | '\u{ffa0}' | '\u{180e}' => 1,
        '\u{3000}' | '\u{115f}' | '\u{3164}' => 2,
        _ => 0,
    }
}

/// The combining marks of some scripts.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5bd}' | '\u{64b}'..='\u{65f}'
        | '\u{93e}'..='\u{94d}' | '\u{e47}'..='\u{e4e}' | '\u{20d0}'..='\u{20f0}'
        | '\u{fe00}'..='\u{fe0f}')
}

/// Some of what no terminal shows.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
        | '\u{e0001}'..='\u{e007f}')
}
