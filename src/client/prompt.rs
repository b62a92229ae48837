//! The frontend for a person at a terminal: a line at the bottom that is edited, and what
//! happens above it.
//!
//! Pure: bytes typed and messages in, bytes for the terminal out. The terminal's own
//! scrolling, selection and history stay what they are, for nothing is drawn but the rows
//! of the prompt; these are taken away, what has arrived is written in their place, and
//! they are drawn again below it, all in one write.

pub mod completion;
pub mod editor;
pub mod input_history;
pub mod keyboard;
pub mod keys;
pub mod layout;
pub mod replay;
pub mod screen;

use std::time::Instant;

use jiff::Timestamp;
use signal_hook::consts::{SIGINT, SIGQUIT};
use termina::Event;
use unicode_width::UnicodeWidthStr;

use self::editor::{Editor, MAX_INPUT_BYTES, Pressed, TooMuch};
use self::keyboard::{Keyboard, Typed};
use self::layout::{Size, lay_out};
use self::replay::Replay;
use self::screen::Screen;
use super::frontend::{Action, Frontend, LinkStatus, Moment, Status};
use super::mention::Mention;
use super::message::{Age, Message};
use super::own_words::OwnWords;
use super::people::People;
use super::session::MAX_UNSENT_BYTES;
use super::style::{Palette, margin, styled};
use crate::error::Lines;
use crate::rate::{Bucket, Rate};
use crate::room::{NOTICE_PREFIX, REFUSAL_PREFIX};
use crate::stamp::Stamp;

/// What stands at the end of the prompt.
const PROMPT_END: &str = "> ";

/// Nobody can make a bell ring on and on: once a second, after a burst.
fn bell_rate() -> Rate {
    Rate::new(1, 3)
}

/// When the terminal's bell is rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bell {
    /// Not at all.
    Never,
    /// When somebody speaks of us by name, or to us alone.
    #[default]
    Mention,
    /// When somebody says anything.
    All,
}

/// A person's taste.
#[derive(Debug)]
pub struct Look {
    /// Whether there are colours.
    pub palette: Palette,
    /// How the time is written in the margin, if it is.
    pub stamp: Option<Stamp>,
    /// When the bell is rung.
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
    /// Known only if others see us by one.
    name: Option<String>,
    address: Option<String>,
    mention: Option<Mention>,
    screen: Screen,
    /// What is to be written above.
    above: String,
    rings: bool,
    /// How often it may ring.
    bell: Bucket,
    /// The screen is to be cleared first.
    clears: bool,
    /// What is drawn is not what it should be.
    is_stale: bool,
    is_hidden: bool,
    actions: Vec<Action>,
}

impl Prompt {
    /// Nothing is typed, nothing heard, and nothing drawn.
    pub fn new(look: Look, size: Size) -> Self {
        Self {
            look,
            size,
            keyboard: Keyboard::new(),
            editor: Editor::new(),
            people: People::new(),
            replay: Replay::new(),
            link: LinkStatus::In { is_ours: false },
            waiting_lines: 0,
            waiting_bytes: 0,
            name: None,
            address: None,
            mention: None,
            screen: Screen::new(),
            above: String::new(),
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
            // What else a terminal may report is nothing that was typed.
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
        let words = format!(
            "that is too much to paste: {MAX_INPUT_BYTES} bytes are the most; \
             chat send takes any amount"
        );
        self.notify(&words, true, now);
    }

    fn entered(&mut self, text: String, now: Moment) {
        self.is_stale = true;
        if text.trim().is_empty() {
            if matches!(self.link, LinkStatus::Away | LinkStatus::Holding) {
                self.actions.push(Action::Hurry);
            }
            return;
        }
        // A room that is not of our kind knows no commands: all is said to everybody.
        let knows_commands = self.link != LinkStatus::In { is_ours: false };
        let is_waiting = matches!(self.link, LinkStatus::Away | LinkStatus::Holding);
        let is_one_line = text.lines().count() == 1;
        if is_waiting && is_one_line && OwnWords::of(&text, knows_commands).is_quit() {
            return self.actions.push(Action::Leave);
        }
        if knows_commands && text.lines().any(is_command_behind_a_blank) {
            self.editor.put_back(text);
            let words = "not sent: a command must not have a blank before its slash; \
                         to say a slash, begin with //";
            return self.notify(words, true, now);
        }
        if self.link == LinkStatus::Leaving {
            self.editor.put_back(text);
            return self.notify("not sent: you are leaving", true, now);
        }
        if self.waiting_bytes + text.len() > MAX_UNSENT_BYTES {
            self.editor.put_back(text);
            return self.notify("not sent: too much waits already", true, now);
        }
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let words = OwnWords::of(line, knows_commands);
            if let Some(shown) = words.shown(self.look.palette) {
                self.push_above(&shown, Some(now.time));
            }
            if words.is_for_everybody() {
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

    /// Something is said by the name that we have now, or from our address.
    fn note_own_name(&mut self) {
        if let Some(name) = self.name.as_ref().or(self.address.as_ref()) {
            self.replay.say_by(name);
        }
    }

    /// Has `line`, which may be styled, written above, with the time if that is wanted.
    fn push_above(&mut self, line: &str, time: Option<Timestamp>) {
        self.above += &margin(&mut self.look.stamp, self.look.palette, time);
        self.above += line;
        self.above += "\r\n";
    }

    /// The prompt, as plain text: the state and the name, as far as they find room.
    fn prompt(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        let state = match (self.editor.search(), self.link, self.waiting_lines) {
            (Some((query, true)), _, _) => format!("(find: {query}) "),
            (Some((query, false)), _, _) => format!("(nothing has: {query}) "),
            (None, LinkStatus::In { .. }, _) => String::new(),
            (None, LinkStatus::Holding, lines) => format!("[{} waiting] ", Lines(lines)),
            (None, LinkStatus::Leaving, _) => "[leaving] ".to_owned(),
            (None, LinkStatus::Away, 0) => "[offline] ".to_owned(),
            (None, LinkStatus::Away, lines) => format!("[offline, {} waiting] ", Lines(lines)),
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

/// Whether everybody would see a command that was not meant for them.
fn is_command_behind_a_blank(text: &str) -> bool {
    let trimmed = text.trim_start();
    let is_command = !matches!(
        OwnWords::of(trimmed, true),
        OwnWords::Said(_) | OwnWords::NoCommand(_)
    );
    trimmed.len() < text.len() && is_command
}

impl Frontend for Prompt {
    fn typed(&mut self, bytes: &[u8], now: Moment) {
        for typed in self.keyboard.push(bytes, now.instant) {
            // What was typed after that is for who comes next.
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
        let (prefix, style) = match is_trouble {
            true => (REFUSAL_PREFIX, self.look.palette.error()),
            false => (NOTICE_PREFIX, self.look.palette.dim()),
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
        // What waits will be said by it.
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
            // All of it (ED), and the cursor to its beginning (CUP).
            text += "\x1b[2J\x1b[H";
        }
        text += &std::mem::take(&mut self.above);
        self.is_stale = false;
        if !self.is_hidden && !self.screen.is_drawn() {
            let prompt = self.prompt();
            let layout = lay_out(&prompt, self.editor.text(), self.editor.cursor(), self.size);
            let style = match self.link {
                LinkStatus::In { .. } => self.look.palette.bold(),
                LinkStatus::Away | LinkStatus::Holding | LinkStatus::Leaving => {
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
            // Others have written there meanwhile; the row of the cursor is free.
            self.screen.forget();
            self.above.insert_str(0, screen::CLEAR_ROW);
        }
    }
}

#[cfg(test)]
mod tests;
