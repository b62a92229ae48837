//! The key bindings: those of Emacs, as in readline(3) and so in most shells.

use termina::event::{KeyCode, KeyEvent, Modifiers};
use tui_input::InputRequest;

use super::completion::Direction;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Types a character.
    Char(char),
    /// Enters the text.
    Enter,
    /// Adds a line to the text.
    NewLine,
    /// Edits, or moves the cursor.
    Request(InputRequest),
    /// Goes back in the history.
    Older,
    /// Goes forward in the history.
    Newer,
    /// Completes a word.
    Tab(Direction),
    /// Searches the history.
    Search,
    /// Cancels the search.
    Cancel,
    /// Deletes the character at the cursor; ends the input where there is no text.
    DeleteOrEnd,
    /// Ends the program, as by SIGINT.
    Interrupt,
    /// Ends the program, as by SIGQUIT.
    Quit,
    /// Suspends the program.
    Suspend,
    ClearScreen,
    /// Does nothing.
    Other,
}

impl Key {
    pub(crate) fn of(key: KeyEvent) -> Self {
        let is_control = key.modifiers.contains(Modifiers::CONTROL);
        let is_shift = key.modifiers.contains(Modifiers::SHIFT);
        let is_alt = key.modifiers.intersects(Modifiers::ALT | Modifiers::META);
        match key.code {
            KeyCode::Char(c) if is_control => Self::of_control(c.to_ascii_lowercase()),
            KeyCode::Char(c) if is_alt => match c.to_ascii_lowercase() {
                'b' => Self::Request(InputRequest::GoToPrevWord),
                'f' => Self::Request(InputRequest::GoToNextWord),
                'd' => Self::Request(InputRequest::DeleteNextWord),
                _ => Self::Other,
            },
            KeyCode::Char(c) => Self::Char(c),
            KeyCode::Enter if is_alt || is_control || is_shift => Self::NewLine,
            KeyCode::Enter => Self::Enter,
            KeyCode::Tab => Self::Tab(Direction::Next),
            KeyCode::BackTab => Self::Tab(Direction::Previous),
            KeyCode::Backspace if is_alt || is_control => {
                Self::Request(InputRequest::DeletePrevWord)
            }
            KeyCode::Backspace => Self::Request(InputRequest::DeletePrevChar),
            KeyCode::Delete if is_alt || is_control => Self::Request(InputRequest::DeleteNextWord),
            KeyCode::Delete => Self::Request(InputRequest::DeleteNextChar),
            KeyCode::Left if is_alt || is_control => Self::Request(InputRequest::GoToPrevWord),
            KeyCode::Left => Self::Request(InputRequest::GoToPrevChar),
            KeyCode::Right if is_alt || is_control => Self::Request(InputRequest::GoToNextWord),
            KeyCode::Right => Self::Request(InputRequest::GoToNextChar),
            KeyCode::Home => Self::Request(InputRequest::GoToStart),
            KeyCode::End => Self::Request(InputRequest::GoToEnd),
            KeyCode::Up => Self::Older,
            KeyCode::Down => Self::Newer,
            KeyCode::Escape => Self::Cancel,
            _ => Self::Other,
        }
    }

    fn of_control(c: char) -> Self {
        match c {
            'a' => Self::Request(InputRequest::GoToStart),
            'b' => Self::Request(InputRequest::GoToPrevChar),
            'c' => Self::Interrupt,
            'd' => Self::DeleteOrEnd,
            'e' => Self::Request(InputRequest::GoToEnd),
            'f' => Self::Request(InputRequest::GoToNextChar),
            'g' => Self::Cancel,
            'h' => Self::Request(InputRequest::DeletePrevChar),
            'j' | 'm' => Self::Enter,
            'k' => Self::Request(InputRequest::DeleteTillEnd),
            'l' => Self::ClearScreen,
            'n' => Self::Newer,
            'p' => Self::Older,
            'r' => Self::Search,
            'u' => Self::Request(InputRequest::DeleteFromStart),
            'w' => Self::Request(InputRequest::DeletePrevWord),
            'y' => Self::Request(InputRequest::Yank),
            'z' => Self::Suspend,
            // Terminals send the same byte for Ctrl-\ and Ctrl-4.
            '\\' | '4' => Self::Quit,
            _ => Self::Other,
        }
    }
}
