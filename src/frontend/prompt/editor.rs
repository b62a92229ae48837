//! The text that is being typed, of one line or several: keys in, text out.

use termina::event::{KeyEvent, KeyEventKind};
use tui_input::{Input, InputRequest};
use unicode_segmentation::UnicodeSegmentation;

use super::completion::{Completion, Direction};
use super::input_history::InputHistory;
use super::keymap::Key;
use crate::frontend::people::People;
use crate::protocol::command::COMMANDS;
use crate::protocol::text;

/// The most that is typed or pasted at once: sixteen lines of a room's default limit.
pub(crate) const MAX_INPUT_BYTES: usize = 64 * 1024;

/// The effect of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pressed {
    /// The text, the cursor or the search changed.
    Changed,
    Entered(String),
    Nothing,
    /// Ctrl-D on an empty line.
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

#[derive(Debug)]
pub(crate) struct Editor {
    /// What a slash may begin.
    commands: &'static [&'static str],
    input: Input,
    history: InputHistory,
    /// The completion in progress, until another key comes.
    completion: Option<Completion>,
    search: Option<Search>,
}

/// A search in the history.
#[derive(Debug, Default)]
struct Search {
    query: String,
    /// The index of the input that was found last.
    found: Option<usize>,
    /// Nothing contains the query.
    fails: bool,
    /// The text and the cursor before the search.
    before: (String, usize),
}

/// That of a member.
impl Default for Editor {
    fn default() -> Self {
        Self::completing(&COMMANDS)
    }
}

impl Editor {
    /// An empty text, for which Tab knows these `commands`.
    pub(crate) fn completing(commands: &'static [&'static str]) -> Self {
        Self {
            commands,
            input: Input::default(),
            history: InputHistory::default(),
            completion: None,
            search: None,
        }
    }

    pub(crate) fn text(&self) -> &str {
        self.input.value()
    }

    /// The byte of the text before which the cursor is.
    pub(crate) fn cursor(&self) -> usize {
        byte_of(self.text(), self.input.cursor())
    }

    /// The query of the search in progress, and whether it was found.
    pub(crate) fn search(&self) -> Option<(&str, bool)> {
        let search = self.search.as_ref()?;
        Some((&search.query, !search.fails))
    }

    /// Has `inputs` come back as if they had been entered before.
    pub(crate) fn remember(&mut self, inputs: impl IntoIterator<Item = String>) {
        for input in inputs {
            let input: String = input.chars().map(safe).collect();
            self.history.push(&input);
        }
    }

    /// Restores text that was entered but could not be sent.
    pub(crate) fn put_back(&mut self, typed: String) {
        let at = typed.chars().count();
        self.set(typed, at);
    }

    /// Inserts all of `pasted`, or nothing if that would be too much.
    pub(crate) fn paste(&mut self, pasted: &str) -> Result<(), TooMuch> {
        self.end_search();
        self.completion = None;
        // Terminals paste line ends as they are, or as the Enter key.
        let lines = pasted.replace("\r\n", "\n").replace('\r', "\n");
        let safe: String = lines.chars().map(safe).collect();
        // A final line end was not meant to be pasted.
        let safe = safe.strip_suffix('\n').unwrap_or(&safe);
        self.insert(safe)
    }

    /// Handles `key`; `people` and `own_name` serve completion.
    pub(crate) fn press(
        &mut self,
        key: KeyEvent,
        people: &People,
        own_name: Option<&str>,
    ) -> Pressed {
        if key.kind == KeyEventKind::Release {
            return Pressed::Nothing;
        }
        let key = Key::of(key);
        if self.search.is_some() {
            match self.press_in_search(key) {
                Some(pressed) => return pressed,
                // Any other key ends the search, and then has its usual effect.
                None => self.end_search(),
            }
            return match self.press_key(key, people, own_name) {
                // The prompt no longer shows the search.
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

    /// Replaces the text, and moves the cursor before its character `cursor`. Keeps the text
    /// that was cut last.
    fn set(&mut self, text: String, cursor: usize) {
        let input = std::mem::take(&mut self.input);
        self.input = input.with_value(text);
        // Also makes the next cut replace what was cut before.
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

    /// Moves up within a block of lines, else to older history.
    fn up(&mut self) -> Pressed {
        let cursor = self.cursor();
        if let Some(line_start) = self.text()[..cursor].rfind('\n').map(|at| at + 1) {
            let above = self.text()[..line_start - 1]
                .rfind('\n')
                .map_or(0, |at| at + 1);
            return self.move_to_line(line_start, above);
        }
        let older = self.history.older(self.input.value()).map(str::to_owned);
        self.recall(older)
    }

    /// Moves down within a block of lines, else to newer history.
    fn down(&mut self) -> Pressed {
        let cursor = self.cursor();
        if let Some(below) = self.text()[cursor..].find('\n').map(|at| cursor + at + 1) {
            let line_start = self.text()[..cursor].rfind('\n').map_or(0, |at| at + 1);
            return self.move_to_line(line_start, below);
        }
        let newer = self.history.newer(self.input.value()).map(str::to_owned);
        self.recall(newer)
    }

    fn recall(&mut self, typed_before: Option<String>) -> Pressed {
        let Some(text) = typed_before else {
            return Pressed::Nothing;
        };
        self.set_text(text);
        Pressed::Changed
    }

    /// Moves the cursor from the line that begins at the byte `from` to the one that begins
    /// at `to`, and keeps its column if that line is long enough.
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
                completion.step(direction);
                Some(completion)
            }
            None => {
                let (text, cursor) = (self.text(), self.cursor());
                Completion::of(text, cursor, self.commands, people, own_name)
            }
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

    /// Handles `key` during a search; `None` if the key ends the search.
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

    /// Finds the latest input before the index `from` that contains the query.
    fn find(&mut self, from: Option<usize>) -> Pressed {
        let Some(search) = &mut self.search else {
            return Pressed::Nothing;
        };
        let found = if search.query.is_empty() {
            None
        } else {
            self.history.find(&search.query, from)
        };
        search.fails = found.is_none() && !search.query.is_empty();
        if let Some((at, text)) = found {
            search.found = Some(at);
            let text = text.to_owned();
            self.set_text(text);
        }
        Pressed::Changed
    }

    /// Ends the search; what was found stays, and is the place in the history.
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

/// The text would be longer than [`MAX_INPUT_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

/// The character for `c` in the typed text, with what the room would replace replaced.
fn safe(c: char) -> char {
    match c {
        '\n' => c,
        c => text::replacement(c).unwrap_or(c),
    }
}

/// The byte at which the character with the index `chars` begins.
fn byte_of(text: &str, chars: usize) -> usize {
    text.char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests;
