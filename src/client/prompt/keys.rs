//! What each key is for. They are those of Emacs, as in readline(3) and so in most shells.

use termina::event::{KeyCode, KeyEvent, Modifiers};
use tui_input::InputRequest;

use super::completion::Direction;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Itself.
    Char(char),
    /// All is said.
    Enter,
    /// A line more.
    NewLine,
    /// An edit or a motion.
    Request(InputRequest),
    /// What was typed before.
    Older,
    /// What was typed after that.
    Newer,
    /// Completion.
    Tab(Direction),
    /// To look for what was typed before.
    Search,
    /// To give that up.
    Cancel,
    /// To delete what is under the cursor; where there is nothing, the end.
    DeleteOrEnd,
    /// To end at once.
    Interrupt,
    /// To end at once, as after an error.
    Quit,
    /// To be stopped.
    Suspend,
    /// To clear the screen.
    ClearScreen,
    /// Nothing.
    Other,
}

impl Key {
    /// What `key` is for.
    pub fn of(key: KeyEvent) -> Self {
        let is_control = key.modifiers.contains(Modifiers::CONTROL);
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
            KeyCode::Enter if is_alt => Self::NewLine,
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
            // Ctrl-\ has the number of what comes after Ctrl-3.
            '\\' | '4' => Self::Quit,
            _ => Self::Other,
        }
    }
}
