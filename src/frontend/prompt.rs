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
mod screen;

use std::time::{Duration, Instant, SystemTime};

use signal_hook::consts::{SIGINT, SIGQUIT};
use termina::Event;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use self::editor::{Editor, MAX_INPUT_BYTES, Pressed, TooMuch};
use self::keyboard::{Keyboard, Typed};
use self::layout::{Row, Size, lay_out};
use self::screen::Screen;
use super::entered::{Entered, has_password, password_of, without_password};
use super::ignored::{Ignored, Request};
use super::mention::Mention;
use super::message::{Kind, Message};
use super::people::People;
use super::style::{Palette, margin, margin_columns, styled};
use super::wrap::{Page, push_rows};
use super::{Action, Bell, Frontend, LinkStatus, MAX_PENDING_BYTES, Moment, Status};
use crate::error::Lines;
use crate::platform::local_time::{Format, Stamp};
use crate::protocol::event::{self, Person};
use crate::protocol::name;
use crate::protocol::wording::{NOTICE_PREFIX, REFUSAL_PREFIX};
use crate::rate::{Bucket, Rate};

const PROMPT_END: &str = "> ";

/// What the user is asked before anything can be said.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    /// The room's password: what is typed is not shown, nor remembered.
    Password,
    /// Whether a room whose key is not confirmed, this one, may have it.
    Trust(String),
}

impl Question {
    fn prompt(&self) -> &'static str {
        match self {
            Self::Password => "password: ",
            Self::Trust(_) => "is that the key (yes or no)? ",
        }
    }

    /// What `answer` has done.
    ///
    /// # Errors
    ///
    /// When it is none, with what to tell the user: maybe nothing.
    fn answered(&self, answer: &str) -> Result<Action, &'static str> {
        match self {
            Self::Password if answer.is_empty() => Err(""),
            // The room's own words ask for a command.
            Self::Password => {
                let password = password_of(answer).unwrap_or(answer);
                Ok(Action::GivePassword(password.to_owned()))
            }
            Self::Trust(key) => {
                let answer = answer.trim();
                // With the padding that other programs show.
                if answer.trim_end_matches('=') == key {
                    return Ok(Action::TrustKey(true));
                }
                match answer.to_lowercase().as_str() {
                    "yes" | "y" => Ok(Action::TrustKey(true)),
                    "no" | "n" => Ok(Action::TrustKey(false)),
                    other if other.starts_with("sha256:") => {
                        Err("that is another key than this room's: say no, and ask its host")
                    }
                    _ => Err("say yes or no, or paste the key that the host sees"),
                }
            }
        }
    }
}

/// What the room's help does not know of.
const MORE_HELP: &str = "  /ignore NAME      hide what NAME says, for you alone; /unignore NAME";

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
    /// Whether there is a room to give a password to.
    gives_password: bool,
    /// What the user is asked, and where the answer is typed.
    asked: Option<(Question, Editor)>,
    people: People,
    ignored: Ignored,
    link: LinkStatus,
    /// The last lines that the room has not answered, and whether they look so.
    said: Vec<(String, bool)>,
    /// How many there are.
    said_lines: usize,
    said_bytes: usize,
    no_answer_for: Option<Duration>,
    /// In how many seconds a lost server is tried again.
    next_try: Option<u64>,
    /// `None` while others see us by our address.
    name: Option<String>,
    mention: Option<Mention>,
    screen: Screen,
    /// The width of the margin with the time.
    margin_columns: usize,
    /// For the day, where times are shown, and the one that was shown last.
    day: Option<(Stamp, String)>,
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
    /// What was entered lately, to be [remembered](Self::remember). `None` if nobody does that.
    inputs: Option<Vec<String>>,
    log: Option<Log>,
}

/// What was shown lately, for a log.
#[derive(Debug)]
struct Log {
    stamp: Stamp,
    lines: String,
}

impl Prompt {
    /// An empty prompt on a terminal of this `size`.
    pub fn new(mut look: Look, size: Size) -> Self {
        Self {
            margin_columns: margin_columns(&mut look.stamp),
            day: look
                .stamp
                .as_ref()
                .map(|stamp| (stamp.with_format(Format::Day), String::new())),
            look,
            size,
            keyboard: Keyboard::default(),
            editor: Editor::default(),
            gives_password: true,
            asked: None,
            people: People::default(),
            ignored: Ignored::default(),
            link: LinkStatus::In { is_ours: false },
            said: Vec::new(),
            said_lines: 0,
            said_bytes: 0,
            no_answer_for: None,
            next_try: None,
            name: None,
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
            inputs: None,
            log: None,
        }
    }

    /// The same for somebody who has other commands than a member.
    pub(crate) fn completing(mut self, commands: &'static [&'static str]) -> Self {
        self.editor = Editor::completing(commands);
        self.gives_password = false;
        self
    }

    /// Has `inputs` come back as if they had been entered before, and keeps what is entered from
    /// now on, to be [taken](Frontend::take_inputs).
    pub fn remember(&mut self, inputs: impl IntoIterator<Item = String>) {
        self.editor.remember(inputs);
        self.inputs.get_or_insert_default();
    }

    /// Keeps what is shown, to be [taken](Frontend::take_log).
    pub(crate) fn keep_log(&mut self) {
        self.log = Some(Log {
            stamp: Stamp::local(Format::Rfc3339),
            lines: String::new(),
        });
    }

    fn take_typed(&mut self, typed: Typed, now: Moment) {
        match typed {
            Typed::Event(event) => self.take(event, now),
            Typed::Unfinished(text) => {
                self.take(Event::Paste(text), now);
                let words = "this paste has no end: Enter ends it, and sends nothing";
                self.notify(words, true, now);
            }
            Typed::TooMuch => self.refuse_paste(now),
        }
    }

    /// These are here, and nobody else.
    pub(crate) fn set_people(&mut self, people: &[Person<'_>]) {
        self.people.set(people);
    }

    fn take(&mut self, event: Event, now: Moment) {
        if let Some((_, answer)) = &mut self.asked {
            let pressed = match event {
                Event::Key(key) => answer.press(key, &People::default(), None),
                Event::Paste(text) => match answer.paste(&text) {
                    Ok(()) => Pressed::Changed,
                    Err(TooMuch) => return self.refuse_paste(now),
                },
                _ => return,
            };
            return self.act(pressed, now);
        }
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
        self.act(pressed, now);
    }

    fn act(&mut self, pressed: Pressed, now: Moment) {
        match pressed {
            Pressed::Entered(answer) if self.asked.is_some() => {
                self.is_stale = true;
                let answer = answer.lines().next().unwrap_or_default();
                let answered = self
                    .asked
                    .as_ref()
                    .map(|(question, _)| question.answered(answer));
                match answered {
                    Some(Ok(action)) => {
                        self.asked = None;
                        self.actions.push(action);
                    }
                    Some(Err(words)) if !words.is_empty() => self.notify(words, true, now),
                    Some(Err(_)) | None => {}
                }
            }
            Pressed::Changed => self.is_stale = true,
            Pressed::Nothing => {}
            Pressed::Entered(text) => {
                if let Some(inputs) = &mut self.inputs
                    && !text.trim().is_empty()
                {
                    inputs.push(text.clone());
                }
                self.entered(text, now);
            }
            Pressed::EndOfInput => self.actions.push(Action::Leave),
            Pressed::Interrupt => self.actions.push(Action::EndBy(SIGINT)),
            Pressed::Quit => self.actions.push(Action::EndBy(SIGQUIT)),
            Pressed::Suspend => self.actions.push(Action::Suspend),
            Pressed::ClearScreen => self.clears = true,
        }
    }

    fn ask(&mut self, question: Question) -> bool {
        self.asked = Some((question, Editor::completing(&[])));
        self.is_stale = true;
        true
    }

    /// A room of another kind has none: it says everything to everyone.
    fn has_commands(&self) -> bool {
        self.link != LinkStatus::In { is_ours: false }
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
        let has_commands = self.has_commands();
        let is_one_line = text.lines().count() == 1;
        if is_waiting && is_one_line && Entered::of(&text, has_commands).is_quit() {
            return self.actions.push(Action::Leave);
        }
        let has_quit = || text.lines().any(|line| Entered::of(line, true).is_quit());
        if has_commands && !is_one_line && has_quit() {
            self.editor.put_back(text);
            let words = "not sent: /quit must be a line of its own; to say it, type //quit";
            return self.notify(words, true, now);
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
        if self.said_bytes + text.len() > MAX_PENDING_BYTES {
            self.editor.put_back(text);
            return self.notify("not sent: too many lines are waiting already", true, now);
        }
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let request = Request::of(line).filter(|_| has_commands);
            if self.gives_password && has_password(line) {
                match password_of(line) {
                    Some(password) => {
                        self.actions.push(Action::GivePassword(password.to_owned()));
                    }
                    None => self.notify("not sent: usage: /pass PASSWORD", true, now),
                }
            } else if let Some(request) = request {
                self.ignore(request, now);
            } else if self.link == LinkStatus::Offline && Entered::of(line, true).is_for_room() {
                let command = line.split_whitespace().next().unwrap_or_default();
                let words = format!("offline: {command} was not sent; try again once you are back");
                self.notify(&words, true, now);
            } else {
                self.said_bytes += line.len() + 1;
                self.actions
                    .push(Action::Say(format!("{line}\n").into_bytes()));
            }
        }
    }

    fn ignore(&mut self, request: Request<'_>, now: Moment) {
        let is_own = |name: &str| {
            let own = self.name.as_deref();
            own.is_some_and(|own| name::fold(own) == name::fold(name))
        };
        let (words, is_trouble) = match request {
            Request::Ignore(name) if is_own(name) => ("that is you".to_owned(), true),
            request => self.ignored.obey(request),
        };
        self.notify(&words, is_trouble, now);
    }

    /// Shows a line of the user's own.
    fn show_own(
        &mut self,
        own: Entered<'_>,
        name: Option<&str>,
        time: Option<SystemTime>,
        now: Moment,
    ) {
        let name = name.or(self.name.as_deref());
        if let Some(echo) = own.echo(self.look.palette, name) {
            self.push_above(&echo, time, now);
        }
    }

    fn show(&mut self, message: &Message<'_>, now: Moment) {
        let time = message.time_shown(now.time);
        if let Some(own) = said_by_us(message) {
            return self.show_own(own, message.name, time, now);
        }
        let mention = self.mention.as_ref();
        let styled = styled(message, mention, &self.people, self.look.palette);
        self.push_above(&styled.line, time, now);
        let is_wanted = match self.look.bell {
            Bell::Never => false,
            Bell::Mention => styled.is_for_us,
            Bell::All => message.name.is_some(),
        };
        if is_wanted && !message.is_past && self.bell.ready_at(bell_rate(), now.instant).is_none() {
            self.bell.take(bell_rate(), now.instant);
            self.rings = true;
        }
    }

    /// Adds `line`, which may be styled, above the prompt; before it the day, where that changes.
    fn push_above(&mut self, line: &str, time: Option<SystemTime>, now: Moment) {
        if let Some((stamp, day)) = &mut self.day {
            if day.is_empty() {
                *day = stamp.at(now.time).to_owned();
            }
            let of_line = stamp.at(time.unwrap_or(now.time));
            if of_line != day {
                *day = of_line.to_owned();
                let dim = self.look.palette.dim();
                self.above += &format!("{dim}{NOTICE_PREFIX}{day}{dim:#}\n");
            }
        }
        if let Some(log) = &mut self.log {
            log.lines += log.stamp.at(time.unwrap_or(now.time));
            log.lines.push(' ');
            push_plain(&mut log.lines, line);
            log.lines.push('\n');
        }
        self.above += &margin(&mut self.look.stamp, self.look.palette, time);
        self.above += line;
        self.above.push('\n');
    }

    /// The rows above the prompt: what was said and is not answered, as far as there is room.
    fn said_rows(&self) -> Vec<Row> {
        let palette = self.look.palette;
        let max_columns = self.size.columns.saturating_sub(1);
        let text_columns = max_columns.saturating_sub(self.margin_columns);
        let has_commands = self.has_commands();
        let shown = self.said.iter().filter_map(|(line, is_late)| {
            let plain = Palette { is_colored: false };
            Some((
                Entered::of(line, has_commands).echo(plain, self.name.as_deref())?,
                *is_late,
            ))
        });
        let shown: Vec<_> = shown.collect();
        let max_rows = self.size.rows / 4;
        let mut rows = Vec::new();
        for (line, is_late) in &shown[shown.len().saturating_sub(max_rows)..] {
            let line = line.replace('\t', " ");
            let text = if *is_late {
                format!("{line} …")
            } else {
                line
            };
            let text = fitting(&text, text_columns);
            let margin = " ".repeat(self.margin_columns.min(max_columns));
            let style = if *is_late {
                palette.dim()
            } else {
                palette.bold()
            };
            rows.push(Row {
                columns: margin.len() + text.width(),
                text: format!("{margin}{style}{text}{style:#}"),
            });
        }
        rows
    }

    /// The prompt as plain text: the state and the name, as far as there is room.
    fn prompt(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        let mut states = self.states();
        states.push(String::new());
        let prompts = states.iter().flat_map(|state| {
            let names = [name, ""].into_iter();
            names.map(move |name| format!("{state}{name}{PROMPT_END}"))
        });
        let fits = |prompt: &String| prompt.width() * 2 <= self.size.columns;
        let prompt = prompts.into_iter().find(fits);
        prompt.unwrap_or_else(|| PROMPT_END.to_owned())
    }

    /// What the prompt says of the state, in fewer and fewer words.
    fn states(&self) -> Vec<String> {
        let lines = self.said_lines;
        if let Some((query, is_found)) = self.editor.search() {
            let words = if is_found { "search" } else { "no match" };
            return vec![format!("({words}: {query}) ")];
        }
        let (word, waiting, next_try) = match (self.link, self.no_answer_for) {
            (LinkStatus::Holding, _) => return vec![format!("[{} waiting] ", Lines(lines))],
            (LinkStatus::In { .. }, None) => return vec![String::new()],
            (LinkStatus::In { .. }, Some(time)) => {
                return vec![format!("[no answer for {} s] ", time.as_secs())];
            }
            (LinkStatus::Leaving, None) => return vec!["[leaving] ".to_owned()],
            (LinkStatus::Leaving, Some(time)) => {
                let seconds = time.as_secs();
                let long = format!("[leaving, no answer for {seconds} s] ");
                return vec![long, "[leaving] ".to_owned()];
            }
            (LinkStatus::Offline, _) => (
                "offline",
                (lines > 0).then(|| format!(", {} waiting", Lines(lines))),
                self.next_try
                    .map(|seconds| format!(", next try in {seconds} s")),
            ),
        };
        let waiting = waiting.unwrap_or_default();
        let next_try = next_try.unwrap_or_default();
        vec![
            format!("[{word}{waiting}{next_try}] "),
            format!("[{word}{next_try}] "),
            format!("[{word}{waiting}] "),
            format!("[{word}] "),
        ]
    }
}

/// What `message` says, if it is the user's own.
fn said_by_us<'a>(message: &Message<'a>) -> Option<Entered<'a>> {
    let told = message.told.filter(|told| told.is_own)?;
    match (message.kind, told.event) {
        (Kind::Message, _) => Some(Entered::Said(message.text)),
        (Kind::Action, _) => Some(Entered::Action(message.text)),
        (Kind::Private, Some(event::Event::Private { to, .. })) => Some(Entered::Private {
            to,
            text: message.text,
        }),
        _ => None,
    }
}

/// Appends `line` without its styles.
fn push_plain(out: &mut String, line: &str) {
    let mut parts = line.split('\x1b');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        // Select Graphic Rendition (ECMA-48): the only sequences there are.
        out.push_str(part.split_once('m').map_or("", |(_, text)| text));
    }
}

/// As much of `text` as fits into so many columns, with an ellipsis if that is not all.
fn fitting(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut fitting = String::new();
    for grapheme in text.graphemes(true) {
        if fitting.width() + grapheme.width() + 1 > columns {
            break;
        }
        fitting.push_str(grapheme);
    }
    fitting.push('…');
    fitting
}

/// Whether `text` is a command that the room would say to everyone because of a space.
fn is_command_behind_space(text: &str) -> bool {
    let trimmed = text.trim_start();
    let is_command = Request::of(trimmed).is_some()
        || !matches!(
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
            self.take_typed(typed, now);
        }
    }

    fn input_ended(&mut self, _now: Moment) {
        self.actions.push(Action::Leave);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn heard(&mut self, message: &Message<'_>, now: Moment) {
        if message.kind == Kind::Entered {
            let own = Entered::of(message.text, self.has_commands());
            return self.show_own(own, None, Some(now.time), now);
        }
        self.people.heard(message);
        if self.ignored.hides(message) {
            return;
        }
        if let Some(told) = message.told {
            for message in message.lines().filter(Message::is_for_people) {
                self.show(&message, now);
            }
            if matches!(told.event, Some(event::Event::Reply(reply)) if reply.to == "help") {
                self.notify(MORE_HELP, false, now);
            }
            return;
        }
        self.show(message, now);
    }

    fn notify(&mut self, words: &str, is_trouble: bool, now: Moment) {
        let (prefix, style) = if is_trouble {
            (REFUSAL_PREFIX, self.look.palette.error())
        } else {
            (NOTICE_PREFIX, self.look.palette.dim())
        };
        let line = format!("{style}{prefix}{words}{style:#}");
        self.push_above(&line, Some(now.time), now);
    }

    fn ask_password(&mut self, is_wrong: bool, now: Moment) -> bool {
        let words = if is_wrong {
            "wrong password"
        } else {
            "this room has a password; what you type of it is not shown"
        };
        self.notify(words, is_wrong, now);
        self.ask(Question::Password)
    }

    fn ask_trust(&mut self, key: &str, now: Moment) -> bool {
        let words = "this room has a password, and you have never said that its key is right: \
                      compare the key with the one that its host sees";
        self.notify(words, false, now);
        self.ask(Question::Trust(key.to_owned()))
    }

    fn set_status(&mut self, status: &Status<'_>) {
        let before = (self.link, self.said_lines, self.no_answer_for);
        self.link = status.link;
        self.said_lines = status.said.lines;
        self.said_bytes = status.said.bytes;
        self.no_answer_for = status.no_answer_for;
        self.is_stale |= before != (self.link, self.said_lines, self.no_answer_for);
        if self.said != status.said.last {
            self.said = status.said.last.to_vec();
            self.is_stale = true;
        }
        let is_renamed = self.name.as_deref() != status.name;
        if is_renamed {
            self.name = status.name.map(str::to_owned);
            self.mention = status.name.map(Mention::of);
            self.is_stale = true;
        }
    }

    fn set_next_try(&mut self, seconds: Option<u64>) {
        self.is_stale |= self.next_try != seconds;
        self.next_try = seconds;
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
            let mut layout = match &self.asked {
                Some((question @ Question::Password, _)) => {
                    lay_out(question.prompt(), "", 0, self.size)
                }
                Some((question, answer)) => {
                    let (text, cursor) = (answer.text(), answer.cursor());
                    lay_out(question.prompt(), text, cursor, self.size)
                }
                None => {
                    let (mut text, cursor) = (self.editor.text(), self.editor.cursor());
                    if self.gives_password {
                        text = without_password(text);
                    }
                    lay_out(&self.prompt(), text, cursor, self.size)
                }
            };
            layout.put_above(self.said_rows());
            let style = match self.link {
                LinkStatus::In { .. } if self.no_answer_for.is_none() => self.look.palette.bold(),
                LinkStatus::In { .. }
                | LinkStatus::Offline
                | LinkStatus::Holding
                | LinkStatus::Leaving => self.look.palette.error(),
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

    fn take_inputs(&mut self) -> Vec<String> {
        self.inputs.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn take_log(&mut self) -> String {
        let lines = self.log.as_mut().map(|log| std::mem::take(&mut log.lines));
        lines.unwrap_or_default()
    }

    fn deadline(&self) -> Option<Instant> {
        self.keyboard.deadline()
    }

    fn expire(&mut self, now: Moment) {
        for typed in self.keyboard.expire(now.instant) {
            self.take_typed(typed, now);
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
