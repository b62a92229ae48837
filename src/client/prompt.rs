//! The frontend for a person at a terminal: a line that is edited at the bottom, messages
//! above it.
//!
//! Pure: input and messages in, bytes for the terminal out. The terminal's own scrollback and
//! selection keep working, because nothing is drawn but the rows of the prompt: they are
//! erased, new messages are written in their place, and they are drawn again below, all in
//! one write.

mod completion;
mod editor;
mod input_history;
mod keyboard;
mod keymap;
pub mod layout;
mod replay;
mod screen;

use std::time::{Instant, SystemTime};

use signal_hook::consts::{SIGINT, SIGQUIT};
use termina::Event;
use unicode_width::UnicodeWidthStr;

use self::editor::{Editor, MAX_INPUT_BYTES, Pressed, TooMuch};
use self::keyboard::{Keyboard, Typed};
use self::layout::{Size, lay_out};
use self::replay::Replay;
use self::screen::Screen;
use super::config::Bell;
use super::entered::Entered;
use super::frontend::{Action, Frontend, LinkStatus, Moment, Status};
use super::mention::Mention;
use super::message::{Age, Message};
use super::outbox::MAX_UNSENT_BYTES;
use super::people::People;
use super::style::{Palette, margin, margin_columns, styled};
use super::wrap::{Page, push_rows};
use crate::error::Lines;
use crate::platform::local_time::Stamp;
use crate::protocol::wording::{NOTICE_PREFIX, REFUSAL_PREFIX};
use crate::rate::{Bucket, Rate};

const PROMPT_END: &str = "> ";

/// Nobody can make the bell ring on and on: it rings once a second, after a burst of three.
fn bell_rate() -> Rate {
    Rate::new(1, 3)
}

/// The user's preferences.
#[derive(Debug)]
pub struct Look {
    /// The colours.
    pub palette: Palette,
    /// For the time in the margin, if that is wanted.
    pub stamp: Option<Stamp>,
    /// When to ring the bell.
    pub bell: Bell,
}

/// The line that is edited, and what is to be written above it.
#[derive(Debug)]
pub struct Prompt {
    look: Look,
    size: Size,
    keyboard: Keyboard,
    editor: Editor,
    people: People,
    replay: Replay,
    link: LinkStatus,
    waiting_lines: usize,
    waiting_bytes: usize,
    /// `None` while others see us by our address.
    name: Option<String>,
    address: Option<String>,
    mention: Option<Mention>,
    screen: Screen,
    /// The width of the margin with the time.
    margin_columns: usize,
    /// Lines to be written above the prompt, each ended by a LF. They are broken when they are
    /// written: only then the width of the terminal is known.
    above: String,
    /// The cursor's row is free, whatever it shows.
    takes_row: bool,
    rings: bool,
    bell: Bucket,
    /// The screen is to be cleared first.
    clears: bool,
    /// The prompt has to be drawn again.
    is_stale: bool,
    is_hidden: bool,
    actions: Vec<Action>,
}

impl Prompt {
    /// An empty prompt on a terminal of this `size`.
    pub fn new(mut look: Look, size: Size) -> Self {
        Self {
            margin_columns: margin_columns(&mut look.stamp),
            look,
            size,
            keyboard: Keyboard::default(),
            editor: Editor::default(),
            people: People::default(),
            replay: Replay::default(),
            link: LinkStatus::In { is_ours: false },
            waiting_lines: 0,
            waiting_bytes: 0,
            name: None,
            address: None,
            mention: None,
            screen: Screen::default(),
            above: String::new(),
            takes_row: false,
            rings: false,
            bell: Bucket::default(),
            clears: false,
            is_stale: true,
            is_hidden: false,
            actions: Vec::new(),
        }
    }

    fn take(&mut self, event: Event, now: Moment) {
        let pressed = match event {
            Event::Key(key) => {
                let own_name = self.name.as_deref();
                self.editor.press(key, &self.people, own_name)
            }
            Event::Paste(text) => match self.editor.paste(&text) {
                Ok(()) => Pressed::Changed,
                Err(TooMuch) => return self.refuse_paste(now),
            },
            // Whatever else a terminal reports is no input.
            _ => return,
        };
        match pressed {
            Pressed::Changed => self.is_stale = true,
            Pressed::Nothing => {}
            Pressed::Entered(text) => self.entered(text, now),
            Pressed::EndOfInput => self.actions.push(Action::Leave),
            Pressed::Interrupt => self.actions.push(Action::EndBy(SIGINT)),
            Pressed::Quit => self.actions.push(Action::EndBy(SIGQUIT)),
            Pressed::Suspend => self.actions.push(Action::Suspend),
            Pressed::ClearScreen => self.clears = true,
        }
    }

    fn refuse_paste(&mut self, now: Moment) {
        let words =
            format!("paste too large: at most {MAX_INPUT_BYTES} bytes; chat send takes any amount");
        self.notify(&words, true, now);
    }

    fn entered(&mut self, text: String, now: Moment) {
        self.is_stale = true;
        let is_waiting = matches!(self.link, LinkStatus::Offline | LinkStatus::Holding);
        if text.trim().is_empty() {
            if is_waiting {
                self.actions.push(Action::Hurry);
            }
            return;
        }
        // A room of another kind has no commands: it says everything to everyone.
        let has_commands = self.link != LinkStatus::In { is_ours: false };
        let is_one_line = text.lines().count() == 1;
        if is_waiting && is_one_line && Entered::of(&text, has_commands).is_quit() {
            return self.actions.push(Action::Leave);
        }
        if has_commands && text.lines().any(is_command_behind_space) {
            self.editor.put_back(text);
            let words = "not sent: a command must not have a space before its slash; \
                         to say a slash, type //";
            return self.notify(words, true, now);
        }
        if self.link == LinkStatus::Leaving {
            self.editor.put_back(text);
            return self.notify("not sent: you are leaving", true, now);
        }
        if self.waiting_bytes + text.len() > MAX_UNSENT_BYTES {
            self.editor.put_back(text);
            return self.notify("not sent: too many lines are waiting already", true, now);
        }
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let entered = Entered::of(line, has_commands);
            if let Some(echo) = entered.echo(self.look.palette) {
                self.push_above(&echo, Some(now.time));
            }
            if entered.is_public() {
                self.note_own_name();
            }
            self.waiting_bytes += line.len() + 1;
            self.actions
                .push(Action::Say(format!("{line}\n").into_bytes()));
        }
    }

    fn show(&mut self, message: &Message<'_>, now: Moment) {
        let styled = styled(message, self.mention.as_ref(), self.look.palette);
        let time = (message.age == Age::Now).then_some(now.time);
        self.push_above(&styled.line, time);
        let is_wanted = match self.look.bell {
            Bell::Never => false,
            Bell::Mention => styled.is_for_us,
            Bell::All => message.name.is_some(),
        };
        if is_wanted
            && message.age == Age::Now
            && self.bell.ready_at(bell_rate(), now.instant).is_none()
        {
            self.bell.take(bell_rate(), now.instant);
            self.rings = true;
        }
    }

    /// Notes that something is said under our present name or address.
    fn note_own_name(&mut self) {
        if let Some(name) = self.name.as_ref().or(self.address.as_ref()) {
            self.replay.add_own_name(name);
        }
    }

    /// Adds `line`, which may be styled, above the prompt.
    fn push_above(&mut self, line: &str, time: Option<SystemTime>) {
        self.above += &margin(&mut self.look.stamp, self.look.palette, time);
        self.above += line;
        self.above.push('\n');
    }

    /// The prompt as plain text: the state and the name, as far as there is room.
    fn prompt(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        let state = match (self.editor.search(), self.link, self.waiting_lines) {
            (Some((query, true)), _, _) => format!("(search: {query}) "),
            (Some((query, false)), _, _) => format!("(no match: {query}) "),
            (None, LinkStatus::In { .. }, _) => String::new(),
            (None, LinkStatus::Holding, lines) => format!("[{} waiting] ", Lines(lines)),
            (None, LinkStatus::Leaving, _) => "[leaving] ".to_owned(),
            (None, LinkStatus::Offline, 0) => "[offline] ".to_owned(),
            (None, LinkStatus::Offline, lines) => format!("[offline, {} waiting] ", Lines(lines)),
        };
        let prompts = [
            format!("{state}{name}{PROMPT_END}"),
            format!("{state}{PROMPT_END}"),
        ];
        let fits = |prompt: &String| prompt.width() * 2 <= self.size.columns;
        let prompt = prompts.into_iter().find(fits);
        prompt.unwrap_or_else(|| PROMPT_END.to_owned())
    }
}

/// Whether `text` is a command that the room would say to everyone because of a space.
fn is_command_behind_space(text: &str) -> bool {
    let trimmed = text.trim_start();
    let is_command = !matches!(
        Entered::of(trimmed, true),
        Entered::Said(_) | Entered::BadCommand(_)
    );
    trimmed.len() < text.len() && is_command
}

impl Frontend for Prompt {
    fn typed(&mut self, bytes: &[u8], now: Moment) {
        for typed in self.keyboard.push(bytes, now.instant) {
            // What was typed after that is not for us.
            if self.actions.iter().any(Action::leaves_terminal) {
                return;
            }
            match typed {
                Typed::Event(event) => self.take(event, now),
                Typed::TooMuch => self.refuse_paste(now),
            }
        }
    }

    fn input_ended(&mut self, _now: Moment) {
        self.actions.push(Action::Leave);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn heard(&mut self, message: &Message<'_>, now: Moment) {
        self.people.heard(message);
        let mut replay = std::mem::take(&mut self.replay);
        replay.pass(message, &mut |message| self.show(message, now));
        self.replay = replay;
    }

    fn notify(&mut self, words: &str, is_trouble: bool, now: Moment) {
        let (prefix, style) = if is_trouble {
            (REFUSAL_PREFIX, self.look.palette.error())
        } else {
            (NOTICE_PREFIX, self.look.palette.dim())
        };
        self.push_above(&format!("{style}{prefix}{words}{style:#}"), Some(now.time));
    }

    fn set_status(&mut self, status: &Status<'_>) {
        let before = (self.link, self.waiting_lines);
        self.link = status.link;
        self.waiting_lines = status.waiting_lines;
        self.waiting_bytes = status.waiting_bytes;
        self.is_stale |= before != (self.link, self.waiting_lines);
        let is_renamed = self.name.as_deref() != status.name;
        let is_elsewhere = self.address.as_deref() != status.address;
        if is_renamed {
            self.name = status.name.map(str::to_owned);
            self.mention = status.name.map(Mention::of);
            self.is_stale = true;
        }
        if is_elsewhere {
            self.address = status.address.map(str::to_owned);
        }
        // Waiting lines will be said under it.
        if (is_renamed || is_elsewhere) && self.waiting_bytes > 0 {
            self.note_own_name();
        }
    }

    fn compose(&mut self, out: &mut Vec<u8>) {
        let mut text = String::new();
        let is_news = !self.above.is_empty() || self.clears || self.is_stale;
        if is_news {
            self.screen.erase(&mut text, self.size);
        }
        if std::mem::take(&mut self.clears) {
            // Clear the screen (ED), move the cursor to its beginning (CUP).
            text += "\x1b[2J\x1b[H";
        }
        if std::mem::take(&mut self.takes_row) {
            text += screen::CLEAR_ROW;
        }
        let page = Page {
            columns: self.size.columns,
            margin_columns: self.margin_columns,
            is_capable: true,
        };
        for line in std::mem::take(&mut self.above).split_terminator('\n') {
            push_rows(&mut text, line, page);
            text += "\r\n";
        }
        self.is_stale = false;
        if !self.is_hidden && !self.screen.is_drawn() {
            let prompt = self.prompt();
            let layout = lay_out(&prompt, self.editor.text(), self.editor.cursor(), self.size);
            let style = match self.link {
                LinkStatus::In { .. } => self.look.palette.bold(),
                LinkStatus::Offline | LinkStatus::Holding | LinkStatus::Leaving => {
                    self.look.palette.error()
                }
            };
            self.screen.draw(&mut text, &layout, style, self.size);
        }
        if std::mem::take(&mut self.rings) {
            text.push('\x07');
        }
        out.extend_from_slice(text.as_bytes());
    }

    fn waiting_bytes(&self) -> usize {
        self.above.len()
    }

    fn deadline(&self) -> Option<Instant> {
        self.keyboard.deadline()
    }

    fn expire(&mut self, now: Moment) {
        for event in self.keyboard.expire(now.instant) {
            self.take(event, now);
        }
    }

    fn resized(&mut self, columns: usize, rows: usize) {
        let size = Size { columns, rows };
        if size != self.size {
            self.size = size;
            self.is_stale = true;
        }
    }

    fn set_hidden(&mut self, is_hidden: bool) {
        self.is_hidden = is_hidden;
        self.is_stale = true;
        if !is_hidden {
            // Other programs have written meanwhile; the cursor's row is free.
            self.screen.forget();
            self.takes_row = true;
        }
    }
}

#[cfg(test)]
mod tests;
