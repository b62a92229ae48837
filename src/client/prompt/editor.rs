//! The line that is being typed, or the lines: keys in, text out.

use termina::event::{KeyEvent, KeyEventKind};
use tui_input::{Input, InputRequest};
use unicode_segmentation::UnicodeSegmentation;

use super::completion::{Completion, Direction};
use super::input_history::InputHistory;
use super::keys::Key;
use crate::client::people::People;
use crate::text;

/// The most that is typed or pasted at once: sixteen of the longest lines that a room
/// takes unless told otherwise.
pub const MAX_INPUT_BYTES: usize = 64 * 1024;

/// What has come of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// Another text, or another place in it.
    Changed,
    /// This was entered.
    Entered(String),
    /// Nothing can come of it here.
    Nothing,
    /// Nothing more is to be typed: Ctrl-D where nothing is typed.
    EndOfInput,
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-\.
    Quit,
    /// Ctrl-Z.
    Suspend,
    /// Ctrl-L.
    ClearScreen,
}

/// What is being typed.
#[derive(Debug, Default)]
pub struct Editor {
    input: Input,
    history: InputHistory,
    /// While a word is being completed: until another key comes.
    completion: Option<Completion>,
    /// While something typed before is being looked for.
    search: Option<Search>,
}

/// A search for something that was typed before.
#[derive(Debug, Default)]
struct Search {
    query: String,
    /// The number of the one that was found last.
    found: Option<usize>,
    /// Nothing contains the query.
    fails: bool,
    /// What was being typed, and where the cursor was.
    before: (String, usize),
}

impl Editor {
    /// Nothing is typed.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is typed.
    pub fn text(&self) -> &str {
        self.input.value()
    }

    /// Before which byte of that the cursor is.
    pub fn cursor(&self) -> usize {
        byte_of(self.text(), self.input.cursor())
    }

    /// What is looked for, if something is; and whether it was found.
    pub fn search(&self) -> Option<(&str, bool)> {
        let search = self.search.as_ref()?;
        Some((&search.query, !search.fails))
    }

    /// Takes `typed` back, which was entered but could not be said.
    pub fn put_back(&mut self, typed: String) {
        let at = typed.chars().count();
        self.set(typed, at);
    }

    /// Inserts what was pasted, as one.
    ///
    /// # Errors
    ///
    /// When there would be too much: nothing is inserted then.
    pub fn paste(&mut self, pasted: &str) -> Result<(), TooMuch> {
        self.end_search();
        self.completion = None;
        // Terminals paste line ends as they are, or as the Enter key would be typed.
        let lines = pasted.replace("\r\n", "\n").replace('\r', "\n");
        let safe: String = lines.chars().map(safe).collect();
        // The end of the last line is not what was meant to be pasted.
        let safe = safe.strip_suffix('\n').unwrap_or(&safe);
        self.insert(safe)
    }

    /// What comes of `key`; `people` and `own_name` are for the completion of names.
    pub fn press(&mut self, key: KeyEvent, people: &People, own_name: Option<&str>) -> Pressed {
        if key.kind == KeyEventKind::Release {
            return Pressed::Nothing;
        }
        let key = Key::of(key);
        if self.search.is_some() {
            match self.press_in_search(key) {
                Some(pressed) => return pressed,
                // Whatever else it is ends the search, and then does what it does.
                None => self.end_search(),
            }
            return match self.press_key(key, people, own_name) {
                // Another prompt is to be seen.
                Pressed::Nothing => Pressed::Changed,
                pressed => pressed,
            };
        }
        self.press_key(key, people, own_name)
    }

    fn press_key(&mut self, key: Key, people: &People, own_name: Option<&str>) -> Pressed {
        match key {
            Key::Tab(direction) => return self.complete(direction, people, own_name),
            _ => self.completion = None,
        }
        match key {
            Key::Char(c) => self.insert_char(c),
            Key::Enter => self.enter(),
            Key::NewLine => self.insert_char('\n'),
            Key::Request(InputRequest::Yank) => self.yank(),
            Key::Request(request) => self.request(request),
            Key::Older => self.up(),
            Key::Newer => self.down(),
            Key::Search => {
                self.search = Some(Search {
                    before: (self.text().to_owned(), self.input.cursor()),
                    ..Search::default()
                });
                Pressed::Changed
            }
            Key::DeleteOrEnd if self.text().is_empty() => Pressed::EndOfInput,
            Key::DeleteOrEnd => self.request(InputRequest::DeleteNextChar),
            Key::Interrupt => Pressed::Interrupt,
            Key::Quit => Pressed::Quit,
            Key::Suspend => Pressed::Suspend,
            Key::ClearScreen => Pressed::ClearScreen,
            Key::Tab(_) | Key::Cancel | Key::Other => Pressed::Nothing,
        }
    }

    fn request(&mut self, request: InputRequest) -> Pressed {
        match self.input.handle(request) {
            Some(_) => Pressed::Changed,
            None => Pressed::Nothing,
        }
    }

    fn yank(&mut self) -> Pressed {
        let before = self.input.clone();
        let pressed = self.request(InputRequest::Yank);
        if self.text().len() <= MAX_INPUT_BYTES {
            return pressed;
        }
        self.input = before;
        Pressed::Nothing
    }

    fn insert_char(&mut self, c: char) -> Pressed {
        match self.insert(safe(c).encode_utf8(&mut [0; 4])) {
            Ok(()) => Pressed::Changed,
            Err(TooMuch) => Pressed::Nothing,
        }
    }

    fn insert(&mut self, typed: &str) -> Result<(), TooMuch> {
        if self.text().len() + typed.len() > MAX_INPUT_BYTES {
            return Err(TooMuch);
        }
        let (before, after) = self.text().split_at(self.cursor());
        let text = [before, typed, after].concat();
        let cursor = self.input.cursor() + typed.chars().count();
        self.set(text, cursor);
        Ok(())
    }

    /// `text` takes the place of what is typed, and the cursor comes before its character
    /// `cursor`; what was cut out last can still be put in again.
    fn set(&mut self, text: String, cursor: usize) {
        let input = std::mem::take(&mut self.input);
        self.input = input.with_value(text);
        // Also has what is cut next take the place of what was cut before.
        self.input.handle(InputRequest::SetCursor(cursor));
    }

    fn set_text(&mut self, text: String) {
        let end = text.chars().count();
        self.set(text, end);
    }

    fn enter(&mut self) -> Pressed {
        let text = self.text().to_owned();
        self.set_text(String::new());
        self.history.push(&text);
        Pressed::Entered(text)
    }

    /// Up within a block of lines, else to what was typed before.
    fn up(&mut self) -> Pressed {
        let cursor = self.cursor();
        if let Some(line_start) = self.text()[..cursor].rfind('\n').map(|at| at + 1) {
            let above = self.text()[..line_start - 1]
                .rfind('\n')
                .map_or(0, |at| at + 1);
            return self.move_to_line(line_start, above);
        }
        match self.history.older(self.input.value()).map(str::to_owned) {
            Some(older) => {
                self.set_text(older);
                Pressed::Changed
            }
            None => Pressed::Nothing,
        }
    }

    /// Down within a block of lines, else to what was typed after that.
    fn down(&mut self) -> Pressed {
        let cursor = self.cursor();
        if let Some(below) = self.text()[cursor..].find('\n').map(|at| cursor + at + 1) {
            let line_start = self.text()[..cursor].rfind('\n').map_or(0, |at| at + 1);
            return self.move_to_line(line_start, below);
        }
        match self.history.newer(self.input.value()).map(str::to_owned) {
            Some(newer) => {
                self.set_text(newer);
                Pressed::Changed
            }
            None => Pressed::Nothing,
        }
    }

    /// The cursor goes from the line that begins at the byte `from` to the one that begins
    /// at `to`, and stands behind as many characters there, if there are so many.
    fn move_to_line(&mut self, from: usize, to: usize) -> Pressed {
        let text = self.text();
        let column = text[from..self.cursor()].graphemes(true).count();
        let line = text[to..].lines().next().unwrap_or_default();
        let chars: usize = line
            .graphemes(true)
            .take(column)
            .map(|g| g.chars().count())
            .sum();
        let cursor = text[..to].chars().count() + chars;
        self.request(InputRequest::SetCursor(cursor))
    }

    fn complete(
        &mut self,
        direction: Direction,
        people: &People,
        own_name: Option<&str>,
    ) -> Pressed {
        let completion = match self.completion.take() {
            Some(mut completion) => {
                completion.turn(direction);
                Some(completion)
            }
            None => Completion::of(self.text(), self.cursor(), people, own_name),
        };
        let Some(mut completion) = completion else {
            return Pressed::Nothing;
        };
        let text = self.text();
        let (before, after) = (
            &text[..completion.place.start],
            &text[completion.place.end..],
        );
        let candidate = completion.candidate();
        let cursor = before.chars().count() + candidate.chars().count();
        let text = [before, candidate, after].concat();
        completion.place.end = completion.place.start + candidate.len();
        self.completion = Some(completion);
        self.set(text, cursor);
        Pressed::Changed
    }

    /// What comes of `key` while something is looked for; `None` if it ends that.
    fn press_in_search(&mut self, key: Key) -> Option<Pressed> {
        let search = self.search.as_mut()?;
        match key {
            Key::Char(c) => {
                search.query.push(safe(c));
                let from = search.found.map(|at| at + 1);
                Some(self.find(from))
            }
            Key::Request(InputRequest::DeletePrevChar) => {
                search.query.pop();
                Some(self.find(None))
            }
            Key::Search => {
                let from = search.found;
                Some(self.find(from))
            }
            Key::Cancel | Key::Interrupt => {
                let (text, cursor) = std::mem::take(&mut search.before);
                self.search = None;
                self.set(text, cursor);
                Some(Pressed::Changed)
            }
            _ => None,
        }
    }

    /// Looks for the last one that contains the query before that with the number `from`.
    fn find(&mut self, from: Option<usize>) -> Pressed {
        let Some(search) = &mut self.search else {
            return Pressed::Nothing;
        };
        let found = match search.query.is_empty() {
            true => None,
            false => self.history.find(&search.query, from),
        };
        search.fails = found.is_none() && !search.query.is_empty();
        if let Some((at, text)) = found {
            search.found = Some(at);
            let text = text.to_owned();
            self.set_text(text);
        }
        Pressed::Changed
    }

    /// What was found is kept, and older and newer is what was typed before and after it.
    fn end_search(&mut self) {
        if let Some(Search {
            found: Some(found),
            before: (before, _),
            ..
        }) = self.search.take()
        {
            self.history.go_to(found, &before);
        }
    }
}

/// There would be more than [`MAX_INPUT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuch;

/// What stands for `c` in a text that is being typed. What the room would not show as it
/// is, is not shown so here, either.
fn safe(c: char) -> char {
    match c {
        '\n' => c,
        c => text::replacement(c).unwrap_or(c),
    }
}

/// Where in `text` the character with this number begins.
fn byte_of(text: &str, chars: usize) -> usize {
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;
    use termina::Event;

    use super::*;
    use crate::client::message::Message;
    use crate::client::prompt::keyboard::{Keyboard, Typed};

    const BACKSPACE: &str = "\x7f";
    const LEFT: &str = "\x1b[D";
    const UP: &str = "\x1b[A";
    const DOWN: &str = "\x1b[B";

    /// Types, and returns what came of the last key.
    fn type_keys(editor: &mut Editor, keys: &str) -> Pressed {
        let mut people = People::new();
        for line in ["<alice> hi", "<alf> hi"] {
            people.heard(&Message::parse(line));
        }
        let mut keyboard = Keyboard::new();
        let now = Instant::now();
        let mut events = keyboard.push(keys.as_bytes(), now);
        if let Some(at) = keyboard.deadline() {
            events.extend(keyboard.expire(at).into_iter().map(Typed::Event));
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
        let mut editor = Editor::new();
        type_keys(&mut editor, keys);
        let (before, after) = editor.text().split_at(editor.cursor());
        assert_eq!(format!("{before}|{after}"), expected, "{keys:?}");
    }

    #[test]
    fn the_keys_of_emacs_do_what_they_do_everywhere() {
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
            let mut editor = Editor::new();
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
            let mut editor = Editor::new();
            assert_eq!(type_keys(&mut editor, keys), expected);
        }
    }

    #[test]
    fn a_paste_is_inserted_as_it_is_and_not_entered() {
        assert_typed(
            "a\x1b[200~one\r\ntwo\rthree\n\x1b[201~b",
            "aone\ntwo\nthreeb|",
        );
        assert_typed("ad\x1b[D\x1b[200~b\tc\x1b[201~", "ab\tc|d");
        assert_typed("\x1b[200~\x1b[2J\x07\u{202e}\x1b[201~", "␛[2J␇\u{fffd}|");
    }

    #[test]
    fn too_long_a_paste_is_not_inserted() {
        let mut editor = Editor::new();
        editor.paste("begun").unwrap();
        assert_eq!(editor.paste(&"x".repeat(MAX_INPUT_BYTES)), Err(TooMuch));
        assert_eq!(editor.text(), "begun");
    }

    #[test]
    fn one_goes_up_and_down_in_a_block_and_then_in_what_was_typed_before() {
        let mut editor = Editor::new();
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
    fn what_was_typed_before_is_found_by_what_it_contains() {
        let mut editor = Editor::new();
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
    fn a_query_that_is_made_shorter_is_looked_for_anew() {
        let mut editor = Editor::new();
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
            let mut editor = Editor::new();
            let mut keyboard = Keyboard::new();
            let people = People::new();
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
}
