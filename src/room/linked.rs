//! A room of which a part is at other servers: what is said here goes there first, and is said here
//! in the order in which it comes back.
//!
//! The room knows no network. What is to go out is [taken](Room::take_outgoing) from it, and it is
//! told what came of that, and what was said elsewhere.

use std::fmt;
use std::net::IpAddr;

use super::elsewhere::{About, Elsewhere, Outgoing, Question, Waiting};
use super::member::Speaker;
use super::replies::frame;
use super::roster::Called;
use super::{Room, speech};
use crate::protocol::batch::{Context, Encoding};
use crate::protocol::event::json::max_object_bytes;
use crate::protocol::event::{ErrorCode, Event, Reply, Speech};
use crate::protocol::label::{AT, ServerLabel, split_at_label};
use crate::protocol::name::{MAX_NAME_COLUMNS, Name};
use crate::protocol::text;
use crate::protocol::wording::{NOTICE_PREFIX, OPERATOR};

/// The question who is there. All others are private messages, as events.
const WHO: &[u8] = b"who";

/// An answer about who is there has at most this many lines.
const MAX_WHO_LINES: usize = 20;

/// For whoever carries what is said between servers.
impl Room {
    /// From now on the room spans other servers; at those, this one is called `label`.
    pub(crate) fn span(&mut self, label: ServerLabel) {
        self.elsewhere = Some(Box::new(Elsewhere::new(label)));
    }

    /// Takes what is to go out, in order.
    pub(crate) fn take_outgoing(&mut self) -> Vec<Outgoing> {
        let elsewhere = self.elsewhere.as_mut();
        elsewhere.map_or_else(Vec::new, |it| std::mem::take(&mut it.outgoing))
    }

    /// The question goes by this number, or its server is out of reach.
    pub(crate) fn question_sent(
        &mut self,
        question: Question,
        number: Option<u64>,
        context: &mut Context<'_>,
    ) {
        match (number, &mut self.elsewhere) {
            (Some(number), Some(elsewhere)) => {
                elsewhere.questions.push((number, question));
            }
            _ => self.tell_answer(question, None, context),
        }
    }

    /// The answer to the question with this number has come, or will not.
    pub(crate) fn answered(
        &mut self,
        number: u64,
        answer: Option<&[u8]>,
        context: &mut Context<'_>,
    ) {
        let Some(elsewhere) = &mut self.elsewhere else {
            return;
        };
        let mut asked = elsewhere.questions.iter();
        if let Some(at) = asked.position(|&(asked, _)| asked == number) {
            let (_, question) = elsewhere.questions.swap_remove(at);
            self.tell_answer(question, answer, context);
        }
    }

    /// The oldest `count` things that were said here are said now.
    pub(crate) fn say_own(&mut self, count: usize, context: &mut Context<'_>) {
        for _ in 0..count {
            let waiting = self.elsewhere.as_mut();
            let Some(Waiting { by, event }) = waiting.and_then(|it| it.waiting.pop_front()) else {
                debug_assert!(false, "so many were said");
                return;
            };
            let place = self.log.say(&event, context.time, context.now);
            let but = by.filter(|by| by.n.is_none()).map(|by| by.connection);
            // Who has left has no share of this batch.
            let but = but.filter(|&connection| self.members.on(connection).is_some());
            self.wire().say(but, Some(place), &event, context.batch);
        }
    }

    /// At the server `label` these lines were said. What no server says is left out.
    pub(crate) fn hear_from(
        &mut self,
        label: &ServerLabel,
        lines: &[u8],
        context: &mut Context<'_>,
    ) {
        for line in lines.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let Ok(Some((_, event))) = Event::read_json(line) else {
                continue;
            };
            let is_action = matches!(event, Event::Action(_));
            let event = match event {
                Event::Message(speech) | Event::Action(speech) => {
                    let is_operator = is_action && speech.name == OPERATOR;
                    if !is_operator && !is_name(&speech.name) {
                        continue;
                    }
                    let speech = Speech {
                        from: None,
                        n: None,
                        name: format!("{}{AT}{label}", speech.name).into(),
                        ..speech
                    };
                    if is_action {
                        Event::Action(speech)
                    } else {
                        Event::Message(speech)
                    }
                }
                Event::Operator { text, .. } => Event::Operator {
                    at: Some(label.to_string().into()),
                    text,
                },
                _ => continue,
            };
            let place = self.log.say(&event, context.time, context.now);
            self.wire().say(None, Some(place), &event, context.batch);
        }
    }

    /// The other servers, and how many people are at each.
    pub(crate) fn set_others<'a>(&mut self, others: impl Iterator<Item = (&'a ServerLabel, u64)>) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.others = others.map(|(label, here)| (*label, here)).collect();
        }
    }

    /// From now on newcomers are told `words`: the rooms are apart. `None`: they are not.
    pub(crate) fn set_apart(&mut self, words: Option<&str>) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.apart = words.map(|words| {
                let text = words.to_owned().into();
                frame(&Event::Notice { text })
            });
        }
    }

    /// Tells everybody how the rooms stand.
    pub(crate) fn tell_of_link(&mut self, words: impl fmt::Display, context: &mut Context<'_>) {
        let event = Event::Notice {
            text: words.to_string().into(),
        };
        self.wire().say(None, None, &event, context.batch);
    }

    /// What was said here waits. Programs whose lines are among that are told so.
    pub(crate) fn tell_who_waits(&mut self, context: &mut Context<'_>) {
        let Some(elsewhere) = &self.elsewhere else {
            return;
        };
        let mut told = Vec::new();
        for by in elsewhere.waiting.iter().filter_map(|it| it.by) {
            if by.n.is_some() && !told.contains(&by.id) {
                told.push(by.id);
            }
        }
        for id in told {
            self.tell(id, &Event::Wait, context.batch);
        }
    }

    /// What `question` of the server `from` comes to.
    pub(crate) fn answer_to(
        &mut self,
        from: &ServerLabel,
        question: &[u8],
        context: &mut Context<'_>,
    ) -> Vec<u8> {
        let answer = if question == WHO {
            let roster = self.roster();
            let text = String::from_utf8_lossy(&roster);
            let lines = text
                .lines()
                .map(|line| line.trim_start_matches(NOTICE_PREFIX));
            let lines: Vec<&str> = lines.collect();
            Event::Reply(Reply::lines("who", lines.join("\n")))
        } else {
            match Event::read_json(question) {
                Ok(Some((_, Event::Private { speech, to }))) => {
                    self.hear_private(from, speech, &to, context)
                }
                _ => refused(ErrorCode::Usage),
            }
        };
        let mut line = Vec::new();
        answer.write_json(None, max_object_bytes(self.max_line_bytes), &mut line);
        line
    }

    /// Somebody at the server `from` says something to the member called `to` alone.
    fn hear_private(
        &mut self,
        from: &ServerLabel,
        speech: Speech<'static>,
        to: &str,
        context: &mut Context<'_>,
    ) -> Event<'static> {
        if !is_name(&speech.name) {
            return refused(ErrorCode::BadName);
        }
        let reader = match self.whom(to.as_bytes()) {
            Called::One(reader) => reader,
            Called::Many(_) => return refused(ErrorCode::Several),
            Called::Nobody => return refused(ErrorCode::Nobody),
        };
        let to = self.member(reader).to_string();
        let speech = Speech {
            from: None,
            n: None,
            name: format!("{}{AT}{from}", speech.name).into(),
            ..speech
        };
        let place = self.log.whisper(&speech, &to, reader.serial, context.time);
        let event = Event::Private {
            speech,
            to: to.clone().into(),
        };
        self.tell_at(reader, Some(place), &event, context.batch);
        Event::Reply(Reply::sent(to))
    }
}

/// What members ask.
impl Room {
    /// How many people are in the room, at all servers.
    pub(crate) fn here_everywhere(&self) -> usize {
        let elsewhere = self.elsewhere.as_ref();
        self.here() + elsewhere.map_or(0, |it| it.here())
    }

    /// `by` wants to know who is there: here, unless `at` names another server. Returns whether it
    /// does.
    pub(super) fn ask_who(&mut self, by: Speaker, at: &[u8], context: &mut Context<'_>) -> bool {
        let Some(elsewhere) = &mut self.elsewhere else {
            return false;
        };
        let at = String::from_utf8_lossy(at);
        let at = at.strip_prefix(AT).unwrap_or(&at);
        if at.is_empty() || *at == *elsewhere.label {
            return false;
        }
        if let Some(label) = ServerLabel::parse(at) {
            elsewhere.ask(by, label, WHO.to_vec(), About::Who(label));
        } else {
            let at = text::excerpt(at.as_bytes(), MAX_NAME_COLUMNS);
            let words = format_args!("no server is called {at}; /who lists them");
            self.refuse(by, ErrorCode::Nobody, words, context.batch);
        }
        true
    }

    /// After the list of who is here: who is elsewhere.
    pub(super) fn tell_others(&self, by: Speaker, context: &mut Context<'_>) {
        let list = self.elsewhere.as_ref().and_then(|it| it.list());
        if let Some(text) = list {
            let event = Event::Notice { text: text.into() };
            self.tell(by.id, &event, context.batch);
        }
    }

    /// `by` says something to the member called `to` alone. Returns whether that is one at another
    /// server; if not, what it is called here.
    pub(super) fn whisper_elsewhere<'a>(
        &mut self,
        by: Speaker,
        to: &'a [u8],
        text: &[u8],
    ) -> Result<(), &'a [u8]> {
        let Some(elsewhere) = &mut self.elsewhere else {
            return Err(to);
        };
        let at = std::str::from_utf8(to).ok().and_then(split_at_label);
        let Some((name, label)) = at else {
            return Err(to);
        };
        if label == elsewhere.label {
            return Err(name.as_bytes());
        }
        let speech = Speech {
            from: None,
            n: None,
            ..speech(&self.members, by, text, &mut self.scratch)
        };
        let event = Event::Private {
            speech,
            to: name.into(),
        };
        let mut question = Vec::new();
        event.write_json(None, max_object_bytes(self.max_line_bytes), &mut question);
        let about = About::Message {
            to: format!("{name}{AT}{label}"),
            text: text.to_vec(),
        };
        elsewhere.ask(by, label, question, about);
        Ok(())
    }

    fn tell_answer(
        &mut self,
        Question { by, about }: Question,
        answer: Option<&[u8]>,
        context: &mut Context<'_>,
    ) {
        if self.members.get(by.id).is_none() {
            return;
        }
        let answer = answer.and_then(|it| Event::read_json(it).ok().flatten());
        match (about, answer) {
            (
                About::Who(label),
                Some((
                    _,
                    Event::Reply(Reply {
                        text: Some(text), ..
                    }),
                )),
            ) => {
                let lines = text.lines().take(MAX_WHO_LINES);
                let lines: Vec<String> = lines.map(|line| format!("{label}: {line}")).collect();
                self.reply(by, Reply::lines("who", lines.join("\n")), context.batch);
            }
            (About::Message { to, text }, Some((_, Event::Reply(_)))) => {
                self.tell_sent(by, &to, &text, context);
            }
            (About::Message { to, .. }, Some((_, Event::Error { code, .. }))) => {
                let Some((name, label)) = split_at_label(&to) else {
                    return;
                };
                let name = text::excerpt(name.as_bytes(), MAX_NAME_COLUMNS);
                let words = match code {
                    ErrorCode::Several => format!(
                        "several people at {to} have no name; ask the one you mean to take one \
                         (/nick NAME)"
                    ),
                    _ => format!("nobody at {label} is called {name}; /who {label} lists them"),
                };
                self.refuse(by, code, words, context.batch);
            }
            (About::Who(label), _) => {
                let words = format_args!("{label} cannot be reached; /who lists the servers");
                self.refuse(by, ErrorCode::Unreachable, words, context.batch);
            }
            (About::Message { to, .. }, _) => {
                let words = format_args!("{to} cannot be reached; try again later");
                self.refuse(by, ErrorCode::Unreachable, words, context.batch);
            }
        }
    }

    /// What `by` said to `to` alone, at another server, has arrived.
    fn tell_sent(&mut self, by: Speaker, to: &str, text: &[u8], context: &mut Context<'_>) {
        let wire = self.wire();
        let speech = speech(&self.members, by, text, &mut self.scratch);
        let place = self.log.whisper(&speech, to, by.id.serial, context.time);
        let event = Event::Private {
            speech,
            to: to.into(),
        };
        let Some(connection) = self.members.connection(by.id) else {
            return;
        };
        let told = match self.members.get(by.id).map(|member| member.reads()) {
            Some(Encoding::Json) => wire.object(Some(place), &event),
            _ => frame(&Event::Reply(Reply::sent(to))),
        };
        context.batch.tell(connection, told);
    }
}

/// Whether somebody can be called so at its own server.
fn is_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || Name::parse(name.as_bytes()).is_ok()
}

/// For a server: in what words its member is told, it knows itself.
fn refused(code: ErrorCode) -> Event<'static> {
    Event::Error {
        n: None,
        code,
        text: code.as_str().into(),
    }
}
