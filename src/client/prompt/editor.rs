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
        let older = self.history.older(self.input.value()).map(str::to_owned);
        self.recall(older)
    }

    /// Down within a block of lines, else to what was typed after that.
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
mod tests;
