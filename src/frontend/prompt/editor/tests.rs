//! The editor, driven by what a terminal sends.

use std::time::Instant;

use proptest::prelude::*;
use termina::Event;

use super::*;
use crate::frontend::message::Message;
use crate::frontend::prompt::keyboard::{Keyboard, Typed};

const BACKSPACE: &str = "\x7f";
const LEFT: &str = "\x1b[D";
const UP: &str = "\x1b[A";
const DOWN: &str = "\x1b[B";

/// Types, and returns what came of the last key.
fn type_keys(editor: &mut Editor, keys: &str) -> Pressed {
    let mut people = People::default();
    for line in ["<alice> hi", "<alf> hi"] {
        people.heard(&Message::parse(line));
    }
    let mut keyboard = Keyboard::default();
    let now = Instant::now();
    let mut events = keyboard.push(keys.as_bytes(), now);
    if let Some(at) = keyboard.deadline() {
        events.extend(keyboard.expire(at));
    }
    let mut pressed = Pressed::Nothing;
    for event in events {
        match event {
            Typed::Event(Event::Key(key)) => pressed = editor.press(key, &people, None),
            Typed::Event(Event::Paste(text)) => editor.paste(&text).expect("not too much"),
            other => panic!("{other:?}"),
        }
    }
    pressed
}

/// What is typed after `keys`, with a `|` where the cursor is.
#[track_caller]
fn assert_typed(keys: &str, expected: &str) {
    let mut editor = Editor::default();
    type_keys(&mut editor, keys);
    let (before, after) = editor.text().split_at(editor.cursor());
    assert_eq!(format!("{before}|{after}"), expected, "{keys:?}");
}

#[test]
fn emacs_keys_work_as_in_readline() {
    for (keys, expected) in [
        ("hello", "hello|"),
        ("hello\x01", "|hello"),
        ("hello\x01\x05", "hello|"),
        ("hello\x02\x02", "hel|lo"),
        ("hello\x01\x06", "h|ello"),
        ("hello\x1b[H\x1b[C", "h|ello"),
        ("hello\x1b[H\x1b[F", "hello|"),
        ("hello\x1b[D\x1b[3~", "hell|"),
        ("hello\x01\x04", "|ello"),
        ("hello\x08", "hell|"),
        ("one two\x1bb", "one |two"),
        ("one two\x1b[1;5D\x1b[1;5D", "|one two"),
        ("one two\x01\x1bf", "one |two"),
        ("one two\x17", "one |"),
        ("one two\x1b\x7f", "one |"),
        ("one two\x01\x1bd", "|two"),
        ("one two\x1b[D\x15", "|o"),
        ("one two\x01\x0b", "|"),
        ("one two\x17\x01\x19", "two|one "),
        ("one two three\x17\x17\x01\x19", "two three|one "),
        ("one two\x17x\x17\x19", "one x|"),
        ("one\x1b\rtwo", "one\ntwo|"),
    ] {
        assert_typed(keys, expected);
    }
}

#[test]
fn a_character_is_what_a_person_takes_for_one() {
    let family = "👩\u{200d}👩\u{200d}👧";
    assert_typed(&format!("a{family}{BACKSPACE}"), "a|");
    assert_typed(&format!("a{family}b{LEFT}{LEFT}"), &format!("a|{family}b"));
    assert_typed(&format!("e\u{301}世{LEFT}{LEFT}"), "|e\u{301}世");
    assert_typed(&format!("世界{BACKSPACE}"), "世|");
}

#[test]
fn what_is_entered_is_handed_over_and_gone() {
    for end in ["\r", "\n"] {
        let mut editor = Editor::default();
        let pressed = type_keys(&mut editor, &format!("hello{end}"));
        assert_eq!(pressed, Pressed::Entered("hello".to_owned()));
        assert_eq!(editor.text(), "");
    }
}

#[test]
fn ways_out() {
    for (keys, expected) in [
        ("\x04", Pressed::EndOfInput),
        ("half\x03", Pressed::Interrupt),
        ("half\x1a", Pressed::Suspend),
        ("half\x1c", Pressed::Quit),
        ("half\x0c", Pressed::ClearScreen),
    ] {
        let mut editor = Editor::default();
        assert_eq!(type_keys(&mut editor, keys), expected);
    }
}

#[test]
fn a_paste_is_inserted_as_it_is_and_not_entered() {
    assert_typed(
        "a\x1b[200~one\r\ntwo\rthree\n\x1b[201~",
        "aone\ntwo\nthree|",
    );
    assert_typed("ad\x1b[D\x1b[200~b\tc\x1b[201~", "ab\tc|d");
    assert_typed("\x1b[200~\x1b[2J\x07\u{202e}\x1b[201~", "␛[2J␇\u{fffd}|");
}

#[test]
fn too_long_a_paste_is_not_inserted() {
    let mut editor = Editor::default();
    editor.paste("begun").unwrap();
    assert_eq!(editor.paste(&"x".repeat(MAX_INPUT_BYTES)), Err(TooMuch));
    assert_eq!(editor.text(), "begun");
}

#[test]
fn up_and_down_move_in_a_block_and_then_in_the_history() {
    let mut editor = Editor::default();
    type_keys(&mut editor, "before\r");
    type_keys(&mut editor, "first\x1b\rx\x1b\rthird");
    for (key, before_cursor) in [
        (UP, "first\nx"),
        (UP, "f"),
        (DOWN, "first\nx"),
        (UP, "f"),
        (UP, "before"),
        (DOWN, "first\nx\nthird"),
    ] {
        type_keys(&mut editor, key);
        assert_eq!(&editor.text()[..editor.cursor()], before_cursor);
    }
}

#[test]
fn tab_goes_through_the_names() {
    assert_typed("al\t", "alf: |");
    assert_typed("al\t\t", "alice: |");
    assert_typed("al\t\t\x1b[Z", "alf: |");
    assert_typed("hi al!\x1b[D\t", "hi alf |!");
    assert_typed("al\thi al\t", "alf: hi alf |");
    assert_typed("/ms\tal\thi", "/msg alf hi|");
}

#[test]
fn the_history_is_searched_by_content() {
    let mut editor = Editor::default();
    type_keys(&mut editor, "the red fox\rthe blue sea\rhi\rdraft");
    type_keys(&mut editor, "\x12the");
    assert_eq!(
        (editor.text(), editor.search()),
        ("the blue sea", Some(("the", true)))
    );
    type_keys(&mut editor, "\x12");
    assert_eq!(editor.text(), "the red fox");
    type_keys(&mut editor, "\x12");
    assert_eq!(
        (editor.text(), editor.search()),
        ("the red fox", Some(("the", false)))
    );
    type_keys(&mut editor, "\x07");
    assert_eq!((editor.text(), editor.search()), ("draft", None));

    type_keys(&mut editor, "\x12blue\x1b[D!");
    assert_eq!((editor.text(), editor.search()), ("the blue se!a", None));
    type_keys(&mut editor, &format!("\x15\x12fox{UP}"));
    assert_eq!(editor.text(), "the red fox", "there is none older");
    type_keys(&mut editor, DOWN);
    assert_eq!(editor.text(), "a", "as it was edited");
    type_keys(&mut editor, "\x12red\x03");
    assert_eq!((editor.text(), editor.search()), ("a", None));
    let entered = type_keys(&mut editor, "\x15\x12red\r");
    assert_eq!(entered, Pressed::Entered("the red fox".to_owned()));
}

#[test]
fn a_shortened_query_is_searched_again() {
    let mut editor = Editor::default();
    type_keys(&mut editor, "aa\rab\r");
    type_keys(&mut editor, "\x12aa");
    assert_eq!(editor.text(), "aa");
    type_keys(&mut editor, BACKSPACE);
    assert_eq!(editor.text(), "ab");
    type_keys(&mut editor, "x");
    assert_eq!(editor.search(), Some(("ax", false)));
}

proptest! {
    #[test]
    fn whatever_is_typed_the_text_is_safe_and_the_cursor_within(
        keys in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut editor = Editor::default();
        let mut keyboard = Keyboard::default();
        let people = People::default();
        for event in keyboard.push(&keys, Instant::now()) {
            match event {
                Typed::Event(Event::Key(key)) => drop(editor.press(key, &people, None)),
                Typed::Event(Event::Paste(text)) => drop(editor.paste(&text)),
                _ => {}
            }
            let text = editor.text();
            prop_assert!(text.is_char_boundary(editor.cursor()));
            prop_assert!(text.chars().all(|c| c == '\n' || text::replacement(c).is_none()));
        }
    }
}
