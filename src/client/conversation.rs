//! One person's conversation with a room, over as many connections as it takes: what is
//! received, what waits to be sent or answered, and under which name. Knows no socket and no
//! clock.
//!
//! A room of our kind is asked for JSON: it answers each line, and knows us again after a loss.
//! To anything else lines are written, and what comes is shown.

mod history;
mod telling;
mod writing;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use memchr::memchr;

use self::history::History;
use self::telling::{Hear, Troubles, pass_entered, pass_event, shown, without_token};
use self::writing::Writing;
use super::config::ALL_PAST_LINES;
use super::incoming::{Greeting, Heard, Incoming};
use super::pending::{By, Line, Part, Pending};
use crate::frontend::entered::Entered;
use crate::frontend::message::{Kind, Message};
use crate::protocol::command::{self, Command};
use crate::protocol::event::text::read_operator;
use crate::protocol::event::{ByeCode, ErrorCode, Event, Hello, Person, Place, Reply, Several};
use crate::protocol::name::{self, Name};
use crate::protocol::wording::PASSWORD_NEEDED;

/// How long queued lines wait for the answer to the request for a name. Who only sends waits no
/// longer for the greeting, either.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a server may take to greet. What greets later, or never, is no chat room.
pub(crate) const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// The most that is held back of what a room greets with: above this, it is shown without times.
const MAX_GREETED_BYTES: usize = 1024 * 1024;

/// How long a server that has greeted as ours does may take to answer `/json`. Many clients may
/// have come at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// A longer line is not held until its end. No room takes it.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// How much is handed to the socket at once.
const WRITE_BYTES: usize = 64 * 1024;

/// How long a line may go unanswered before it looks so.
pub(crate) const PENDING_PATIENCE: Duration = Duration::from_secs(1);

/// How long the answers to lines that the room has taken may take to come again after a loss.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the prompt says how long there has been no answer.
const NO_ANSWER_STEP: Duration = Duration::from_secs(5);

/// The state of the request for a name on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Nothing was asked for, or not answered yet.
    Open,
    Given,
    /// The room has said why.
    Refused,
    /// This server knows no names.
    Impossible,
    /// There was no answer in time.
    Unanswered,
}

/// What the server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Not known yet.
    Unknown,
    /// It was asked for objects.
    Asked,
    Objects,
    Lines,
}

/// The room's last word, if it has had one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    None,
    /// The answer to `/quit`.
    Goodbye,
    /// The room ends the connection; we may return.
    Dropped,
    /// The room wants us to stay away.
    SentAway,
}

/// What a room wants that has a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PasswordWish {
    /// To hear it.
    Needed,
    /// To hear another one than it has.
    Wrong,
}

/// What was heard and is to be said, whatever becomes of the connection.
#[derive(Debug)]
pub struct Conversation {
    incoming: Incoming,
    wire: Wire,
    /// What is said of a line that has not ended.
    typed: Vec<u8>,
    /// Whether the beginning of that line is pending already.
    typed_on: bool,
    pending: Pending,
    writing: Writing,
    /// The room's answer to `/json` is still to come, before that to `/resume`. (It may be
    /// missing.)
    is_fresh_due: bool,
    gate: Gate,
    /// The server has not greeted in time.
    is_mute: bool,
    /// Nothing more will be said than is pending.
    is_leaving: bool,
    has_finished: bool,
    naming: Naming,
    /// The name to ask for: the one configured, or the last one given.
    wanted: Option<String>,
    /// Names that will do, too, the next one last, until there is one. Invariant: empty for a
    /// name that the user has asked for.
    spares: Vec<String>,
    /// The name that others see us by, as far as we know.
    name: Option<String>,
    /// The queued lines were meant to be said under a name.
    is_meant_by_name: bool,
    /// Nothing is said without the wanted name, and the room has to confirm that it has taken
    /// everything.
    is_strict: bool,
    /// How many lines of the room's past to ask for. `None` to have those of its greeting.
    past_lines: Option<u64>,
    /// What was said before we came, as the room greets with it, while the same is asked for with
    /// its times: lines. `None` to pass it on as it comes.
    greeted: Option<String>,
    history: History,
    /// What the room has said of its password, and was not answered.
    password_wish: Option<PasswordWish>,
    /// It was given the password on this connection.
    gave_password: bool,
    /// Why the room does not let us in, if that is about its password.
    kept_out: Option<String>,
    /// The room's last word on this connection.
    farewell: Farewell,
    /// When the room wants us back.
    again: Option<Duration>,
    /// Lines that the room has taken, it says, and whose answers may come yet, with their
    /// numbers.
    taken: VecDeque<(u64, Line)>,
    /// When these answers are lost: once an event from here on has come, or at that time.
    taken_until: Option<(u64, Instant)>,
    troubles: Troubles,
}

/// Whether what is pending may be sent.
#[derive(Debug)]
enum Gate {
    Open,
    /// Waits until it is known what the server speaks; until then.
    Greeting(Instant),
    /// Waits until the user has given the room's password.
    Password,
    /// Waits for the name, until then; `None` for ever, where nothing is said without it.
    Answer(Option<Instant>),
    /// The name we had before the connection was lost is somebody else's now, and lines wait
    /// that were meant to be said under it: the user has to decide.
    Held,
    /// There will be no name, and nothing is said without one.
    Shut,
}

impl Conversation {
    /// A conversation without a connection. With `is_strict` it says nothing without the
    /// `wanted` name, and needs a confirmation that the room took everything.
    pub fn new(wanted: Option<String>, is_strict: bool) -> Self {
        Self {
            incoming: Incoming::new(),
            wire: Wire::Unknown,
            typed: Vec::new(),
            typed_on: false,
            pending: Pending::new(),
            writing: Writing::default(),
            is_fresh_due: false,
            gate: Gate::Open,
            is_mute: false,
            is_leaving: false,
            has_finished: false,
            naming: Naming::Open,
            wanted,
            spares: Vec::new(),
            name: None,
            is_meant_by_name: false,
            is_strict,
            past_lines: None,
            greeted: None,
            history: History::default(),
            password_wish: None,
            gave_password: false,
            kept_out: None,
            farewell: Farewell::None,
            again: None,
            taken: VecDeque::new(),
            taken_until: None,
            troubles: Troubles::default(),
        }
    }

    /// If the wanted name is not to be had, one of `spares` will do, the first above all. Nobody
    /// has asked for any.
    pub(crate) fn be_content_with(&mut self, spares: &[String]) {
        self.spares = spares.iter().rev().cloned().collect();
    }

    /// Asks for so many lines of the room's past instead of taking those of its greeting.
    pub(crate) fn ask_for_past(&mut self, lines: u64) {
        self.past_lines = Some(lines);
    }

    /// Asks for the times of what a room greets with.
    pub(crate) fn ask_for_times(&mut self) {
        self.greeted = Some(String::new());
    }

    /// A new connection has been made.
    pub fn connected(&mut self, now: Instant) {
        self.incoming = Incoming::new();
        self.wire = Wire::Unknown;
        self.writing.clear();
        self.naming = Naming::Open;
        self.is_mute = false;
        self.password_wish = None;
        self.gave_password = false;
        self.kept_out = None;
        self.farewell = Farewell::None;
        self.again = None;
        // Queued lines are for a room, not for a server that refuses us or a proxy without a
        // room behind it.
        let patience = if self.is_strict {
            NAME_TIMEOUT
        } else {
            GREETING_TIMEOUT
        };
        self.gate = Gate::Greeting(now + patience);
    }

    /// Nothing more will be said than what is pending, and a line that was begun.
    pub(crate) fn leave(&mut self) {
        if !self.typed.is_empty() || self.typed_on {
            self.say(b"\n");
        }
        self.is_leaving = true;
    }

    /// To be called once all is [done](Self::is_all_done). Returns whether there is something to
    /// write now, before the half-close.
    pub(crate) fn finish(&mut self) -> bool {
        let asks = self.wire == Wire::Objects && !self.has_finished;
        self.has_finished = true;
        if asks {
            self.pending.say_ahead(b"/quit".to_vec(), By::Client);
        } else {
            // No name is needed any more.
            self.gate = Gate::Open;
        }
        asks
    }

    /// `bytes` have arrived; `hear` gets the messages in them.
    pub fn received(&mut self, bytes: &[u8], now: Instant, hear: Hear<'_>) {
        self.listen(now, |incoming, pass| incoming.push(bytes, pass), hear);
    }

    /// Nothing is left to read for now.
    pub fn drained(&mut self, now: Instant) {
        self.incoming.drained(now);
    }

    /// When [`Conversation::expire`] is next due, or what is shown of the pending lines changes,
    /// if nothing more arrives.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let gate = match self.gate {
            Gate::Greeting(until) => Some(until),
            Gate::Answer(until) => until,
            Gate::Open | Gate::Password | Gate::Held | Gate::Shut => None,
        };
        let looks = self.pending.next_overdue(PENDING_PATIENCE, now);
        let words = self.pending.waits_since().map(|since| {
            let shown = self.no_answer_for(now).unwrap_or_default();
            since + shown + NO_ANSWER_STEP
        });
        let taken = self.taken_until.map(|(_, at)| at);
        let deadlines = [gate, self.incoming.deadline(), looks, words, taken];
        deadlines.into_iter().flatten().min()
    }

    /// Acts on deadlines that have passed.
    pub fn expire(&mut self, now: Instant, hear: Hear<'_>) {
        self.listen(now, |incoming, pass| incoming.expire(now, pass), hear);
        if self.taken_until.is_some_and(|(_, at)| at <= now) {
            self.miss_answers(hear);
        }
        match self.gate {
            Gate::Greeting(until) if until <= now => match self.greeting() {
                Greeting::Refused | Greeting::Foreign => self.gate = Gate::Shut,
                Greeting::Awaited if !self.is_strict => {
                    self.is_mute = true;
                    self.gate = Gate::Shut;
                }
                _ => {
                    self.speak_lines(Naming::Unanswered, now, hear);
                    self.incoming.expect_lines();
                }
            },
            Gate::Answer(Some(until)) if until <= now => {
                self.go_on_without_name(Naming::Unanswered);
            }
            _ => {}
        }
    }

    /// The connection has ended; `hear` gets what was held back.
    pub(crate) fn ended(&mut self, now: Instant, hear: Hear<'_>) {
        self.listen(now, |incoming, pass| incoming.end(pass), hear);
        self.pass_greeted(hear);
        self.history.caught_up(hear);
        self.is_meant_by_name |= self.name.is_some();
        self.writing.clear();
        self.gate = Gate::Open;
        self.pending.lost();
    }

    /// Says `bytes`, by whole lines. While lines are held for want of the name they were meant
    /// for, a command that reaches nobody else overtakes them; anything else releases them, and
    /// goes after.
    pub fn say(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let end = memchr(b'\n', bytes);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.typed.extend_from_slice(piece);
            bytes = rest.get(1..).unwrap_or_default();
            if end.is_some() {
                let mut line = std::mem::take(&mut self.typed);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if std::mem::take(&mut self.typed_on) {
                    self.pending.say_part(line, Part::Last);
                } else {
                    self.say_line(line);
                }
            } else if self.typed.len() > MAX_LINE_BYTES {
                let goes_on = std::mem::replace(&mut self.typed_on, true);
                let part = if goes_on { Part::Middle } else { Part::First };
                self.pending.say_part(std::mem::take(&mut self.typed), part);
            }
        }
    }

    fn say_line(&mut self, line: Vec<u8>) {
        if self.wire != Wire::Lines && is_handshake(&line) {
            // The room would not number it.
            let why = "the client does that by itself";
            return self.troubles.leave_out(why, &line);
        }
        if !self.is_holding() {
            return self.pending.say(line);
        }
        let text = std::str::from_utf8(&line);
        if text.is_ok_and(|line| !Entered::of(line, true).reaches_others()) {
            self.pending.say_ahead(line, By::User);
        } else {
            self.release();
            self.pending.say(line);
        }
    }

    /// Whether lines are held that were meant to be said under a name that we have lost.
    pub(crate) fn is_holding(&self) -> bool {
        matches!(self.gate, Gate::Held)
    }

    /// Says the held lines after all.
    pub(crate) fn release(&mut self) {
        if self.is_holding() {
            self.gate = Gate::Open;
            self.is_meant_by_name = false;
        }
    }

    /// The bytes that may be written now.
    pub fn unwritten(&mut self, now: Instant) -> &[u8] {
        if self.writing.is_empty() {
            let is_held = !matches!(self.gate, Gate::Open);
            let is_numbered = self.pending.is_numbered();
            while self.writing.bytes().len() < WRITE_BYTES
                && let Some(line) = self.pending.next_to_send(is_held, now)
            {
                self.writing.push(line, line.is_end(is_numbered));
            }
        }
        self.writing.bytes()
    }

    /// The first `count` of those bytes have been written. `hear` gets what is said with that.
    pub fn wrote(&mut self, count: usize, hear: Hear<'_>) {
        let lines = self.writing.wrote(count);
        if self.wire == Wire::Lines {
            let said = self.pending.written(lines);
            said.iter().for_each(|line| pass_entered(line, hear));
        }
    }

    /// Whether everything is written and, by a room that does so, answered. It is not before it
    /// is known what the server speaks.
    pub(crate) fn is_all_done(&self) -> bool {
        let has_begun = !matches!(self.gate, Gate::Greeting(_) | Gate::Password);
        let is_sent = self.writing.is_empty() && self.pending.unsent_lines() == 0;
        has_begun && is_sent && self.pending.user_lines() == 0
    }

    /// Whether `/quit` may be written, and was not.
    pub(crate) fn may_quit(&self) -> bool {
        self.wire == Wire::Objects && !self.has_finished && self.writing.is_empty()
    }

    /// Whether there is something to write, and a server to write it to.
    pub(crate) fn is_sending(&self) -> bool {
        !self.writing.is_empty() || self.pending.user_lines() > 0
    }

    /// The lines that wait to be written, or for their answers.
    pub(crate) fn pending(&self) -> &Pending {
        &self.pending
    }

    /// For how long a line has waited for its answer, in whole [`NO_ANSWER_STEP`]s.
    pub(crate) fn no_answer_for(&self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.pending.waits_since()?);
        let steps = waited.as_secs() / NO_ANSWER_STEP.as_secs();
        (steps > 0).then(|| Duration::from_secs(steps * NO_ANSWER_STEP.as_secs()))
    }

    /// The name that others see us by, or saw us by on the last connection.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn naming(&self) -> Naming {
        self.naming
    }

    pub(crate) fn greeting(&self) -> Greeting {
        self.incoming.greeting()
    }

    /// Whether what answers there is known to be no chat room: it greets as something else, or
    /// does not greet.
    pub(crate) fn is_no_room(&self) -> bool {
        self.is_mute || self.greeting() == Greeting::Foreign
    }

    /// Whether the room has told what was said before we came.
    pub(crate) fn has_told_past(&self) -> bool {
        let is_asked = self.greeted.as_ref().is_some_and(|lines| !lines.is_empty());
        matches!(self.wire, Wire::Objects | Wire::Lines) && !is_asked
    }

    pub(crate) fn wire(&self) -> Wire {
        self.wire
    }

    pub(crate) fn farewell(&self) -> Farewell {
        self.farewell
    }

    /// What the room wants to hear of its password, until that is given.
    pub(crate) fn password_wish(&self) -> Option<PasswordWish> {
        self.password_wish
    }

    /// Says the room's password, if the room waits for it.
    pub(crate) fn give_password(&mut self, password: &str, now: Instant) {
        if self.password_wish.take().is_some() {
            self.gave_password = true;
            self.writing.ask(&format!("/pass {password}\n"));
            if let Some(request) = self.history.resume_request() {
                self.writing.ask(&request);
            }
            self.gate = Gate::Greeting(now + HELLO_TIMEOUT);
        }
    }

    /// Why the room does not let us in, if that is about its password.
    pub(crate) fn kept_out(&self) -> Option<&str> {
        self.kept_out.as_deref()
    }

    /// When the room wants us back, after its farewell.
    pub(crate) fn again(&self) -> Option<Duration> {
        self.again
    }

    /// Whether the room may know us again.
    pub(crate) fn can_resume(&self) -> bool {
        self.history.can_resume()
    }

    /// What the user has to be told since the last call.
    pub(crate) fn take_troubles(&mut self) -> Vec<String> {
        self.troubles.take()
    }

    /// What the user was told, or has to be.
    pub(crate) fn troubles(&self) -> &Troubles {
        &self.troubles
    }

    /// There will be no other connection. Returns the lines that are in doubt, and how many were
    /// never sent.
    pub(crate) fn give_up(&mut self) -> (Vec<String>, usize) {
        let (in_doubt, unsent) = self.pending.give_up();
        let in_doubt = in_doubt.iter().map(|line| shown(&line.text));
        (in_doubt.collect(), unsent)
    }

    /// There is no name, because of `why`, or none was wanted.
    fn go_on_without_name(&mut self, why: Naming) {
        if self.wanted.is_some() {
            self.naming = why;
            self.name = None;
        }
        self.gate = match self.wanted {
            Some(_) if self.is_strict => Gate::Shut,
            Some(_) if self.is_meant_by_name && self.pending.user_lines() > 0 => Gate::Held,
            _ => Gate::Open,
        };
    }

    /// Others see us by `name` from now on.
    fn take_name(&mut self, name: &str) {
        // A server may send anything.
        if Name::parse(name.as_bytes()).is_ok() {
            self.wanted = Some(name.to_owned());
            self.spares.clear();
            self.name = Some(name.to_owned());
            self.naming = Naming::Given;
            self.gate = Gate::Open;
            self.is_meant_by_name = false;
        }
    }

    /// Asks for the wanted name, unless nothing will be said under it.
    fn ask_for_name(&mut self, now: Instant) {
        let says_nothing = self.is_leaving && self.pending.user_lines() == 0;
        match &self.wanted {
            Some(name) if !says_nothing => {
                let request = format!("/nick {name}").into_bytes();
                self.pending.say_ahead(request, By::Client);
                self.gate = Gate::Answer((!self.is_strict).then_some(now + NAME_TIMEOUT));
            }
            _ => self.gate = Gate::Open,
        }
    }

    /// Wants another name that will do than those of `people`: whoever has it would be told.
    fn pass_over_taken(&mut self, people: &[Person<'_>]) {
        let is_taken = |wanted: &String| {
            let wanted = name::fold(wanted);
            people
                .iter()
                .any(|person| name::fold(&person.name) == wanted)
        };
        while self.wanted.as_ref().is_some_and(is_taken)
            && let Some(spare) = self.spares.pop()
        {
            self.wanted = Some(spare);
        }
    }

    /// Asks for the next name that will do, if there is one.
    fn ask_for_spare(&mut self, now: Instant) -> bool {
        let Some(spare) = self.spares.pop() else {
            return false;
        };
        self.wanted = Some(spare);
        self.ask_for_name(now);
        true
    }

    /// Asks for objects, and to be known again.
    fn ask_for_objects(&mut self, now: Instant) {
        self.writing.ask("/json\n");
        if let Some(request) = self.history.resume_request() {
            self.writing.ask(&request);
        }
        self.is_fresh_due = self.can_resume();
        self.wire = Wire::Asked;
        self.gate = Gate::Greeting(now + HELLO_TIMEOUT);
        self.incoming.expect_objects();
    }

    /// The server has no objects for us.
    fn speak_lines(&mut self, why: Naming, now: Instant, hear: Hear<'_>) {
        self.wire = Wire::Lines;
        self.pass_greeted(hear);
        self.history.forget();
        let in_doubt = self.pending.begun_unanswered(now);
        self.troubles.doubt(&in_doubt);
        if !self.spares.is_empty() {
            // Nobody misses it.
            self.wanted = None;
        }
        self.go_on_without_name(why);
    }

    /// Lets `incoming` pass on what it hears, and `hear` get what is for the user.
    fn listen(
        &mut self,
        now: Instant,
        pass: impl FnOnce(&mut Incoming, &mut dyn FnMut(Heard<'_>)),
        hear: Hear<'_>,
    ) {
        let mut incoming = std::mem::take(&mut self.incoming);
        pass(&mut incoming, &mut |heard| match heard {
            Heard::Line(message) => self.take_line(&message, hear),
            Heard::Object(json, told) => self.take_object(json, told, now, hear),
        });
        self.incoming = incoming;
        if self.wire == Wire::Lines {
            self.incoming.expect_lines();
        }
        match self.incoming.greeting() {
            Greeting::Ours if self.wire == Wire::Unknown => self.ask_for_objects(now),
            Greeting::Refused if self.wire == Wire::Unknown && self.can_resume() => {
                self.ask_for_objects(now);
            }
            Greeting::Refused | Greeting::Foreign if self.wire == Wire::Unknown => {
                self.gate = Gate::Shut;
            }
            Greeting::Original | Greeting::Unknown
                if self.wire == Wire::Unknown && !self.incoming.is_undecided() =>
            {
                self.speak_lines(Naming::Impossible, now, hear);
            }
            _ => {}
        }
    }

    /// Takes a line of text.
    fn take_line(&mut self, message: &Message<'_>, hear: Hear<'_>) {
        let is_refusal = message.kind == Kind::Refusal;
        let is_known = self.can_resume() && matches!(self.wire, Wire::Unknown | Wire::Asked);
        if is_known && message.kind != Kind::Welcome && !is_refusal {
            // A room that we know tells what we have missed.
            return;
        }
        if is_known_wish(message) {
            // It says so again to programs.
            return;
        }
        match &mut self.greeted {
            Some(greeted) if message.is_past && was_said(message) => {
                greeted.push_str(message.line);
                greeted.push('\n');
                if greeted.len() > MAX_GREETED_BYTES {
                    self.pass_greeted(hear);
                    self.greeted = None;
                }
            }
            _ => hear(message),
        }
    }

    /// Passes on what the room has greeted with: it does not tell when that was said.
    fn pass_greeted(&mut self, hear: Hear<'_>) {
        let greeted = self.greeted.as_mut().map(std::mem::take);
        for line in greeted.unwrap_or_default().split_terminator('\n') {
            let is_past = true;
            hear(&Message {
                is_past,
                ..Message::parse(line)
            });
        }
    }

    /// Takes an object.
    fn take_object(
        &mut self,
        json: &str,
        told: Option<&(Option<Place>, Event<'static>)>,
        now: Instant,
        hear: Hear<'_>,
    ) {
        if let (Wire::Asked, Some((_, Event::Error { code, .. }))) = (self.wire, told) {
            let wish = match code {
                ErrorCode::PasswordNeeded => PasswordWish::Needed,
                ErrorCode::WrongPassword => PasswordWish::Wrong,
                _ => return,
            };
            self.password_wish = Some(wish);
            self.gate = Gate::Password;
            return;
        }
        let is_answer = |hello: &Hello<'_>| hello.resumed || !self.is_fresh_due;
        match (self.wire, told) {
            (Wire::Objects, _) | (Wire::Asked, Some((_, Event::Bye(_)))) => {}
            (Wire::Asked, Some((_, Event::Hello(hello)))) if is_answer(hello) => {}
            (Wire::Asked, Some((_, Event::Hello(_)))) => return self.is_fresh_due = false,
            // What is said meanwhile comes again.
            _ => return,
        }
        let Some(told @ (place, event)) = told else {
            return self.history.tell(json, None, false, hear);
        };
        let is_past = place.is_some_and(|place| place.is_past);
        let is_hello = matches!(event, Event::Hello(_));
        if let Some(place) = place
            && !is_hello
            && !self.history.is_news(place)
        {
            return;
        }
        let mut is_own = false;
        let mut is_shown = true;
        match event {
            Event::Hello(hello) => {
                self.greeted(hello, *place, now);
                let json = without_token(json, &hello.token);
                return pass_event(&json, *place, event, false, false, hear);
            }
            Event::Message(speech) | Event::Action(speech) | Event::Private { speech, .. } => {
                is_own = speech.from.is_some() && speech.from == self.history.you();
                if is_own && !is_past {
                    self.answered(speech.n, false, now, hear);
                }
            }
            Event::Reply(reply) => {
                let line = self.answered(reply.n, false, now, hear);
                is_shown = !is_request(line.as_ref(), "/last ");
                if !is_shown && let Some(greeted) = &mut self.greeted {
                    // It has come with its times.
                    greeted.clear();
                }
                if let Reply {
                    to,
                    name: Some(name),
                    ..
                } = reply
                    && to == "nick"
                {
                    self.take_name(name);
                }
                if !is_shown {
                    self.history.caught_up(hear);
                }
            }
            Event::Error { n, .. } => {
                let line = self.answered(*n, true, now, hear);
                is_shown = !is_request(line.as_ref(), "/last ");
                if !is_shown {
                    self.pass_greeted(hear);
                    self.history.caught_up(hear);
                }
                if is_request(line.as_ref(), "/nick ") {
                    is_shown = !self.ask_for_spare(now);
                    if is_shown {
                        self.go_on_without_name(Naming::Refused);
                    }
                }
            }
            Event::You { name } => self.take_name(name),
            Event::Presence(changes) => {
                if let Several::Named(renamed) = &changes.renamed
                    && let Some(us) = renamed
                        .iter()
                        .find(|rename| Some(rename.id) == self.history.you())
                {
                    self.take_name(&us.to);
                }
            }
            Event::Wait => self.pending.waited(now),
            Event::Bye(bye) => {
                let line = self.answered(bye.n, false, now, hear);
                is_own = is_request(line.as_ref(), "/quit");
                // Before its hello the room speaks of another session.
                if let Some(heard) = bye.heard.filter(|_| self.wire == Wire::Objects) {
                    let taken = self.pending.ended(heard);
                    taken.iter().for_each(|line| pass_entered(line, hear));
                }
                if bye.code == ByeCode::Password {
                    let words = &*bye.text;
                    let words = words.strip_prefix("goodbye: ").unwrap_or(words);
                    self.kept_out = Some(words.to_owned());
                }
                self.again = bye.again.map(Duration::from_secs);
                self.farewell = match (bye.code, bye.again) {
                    (ByeCode::Quit, _) => Farewell::Goodbye,
                    (_, Some(_)) => Farewell::Dropped,
                    (_, None) => Farewell::SentAway,
                };
            }
            Event::Operator { .. } | Event::Notice { .. } => {}
        }
        if is_shown {
            self.history.tell(json, Some(told), is_own, hear);
        }
        let reached = place.filter(|place| !place.is_past).map(|place| place.seq);
        if self
            .taken_until
            .is_some_and(|(seq, _)| reached >= Some(seq))
        {
            self.miss_answers(hear);
        }
    }

    /// The room has taken lines whose answers it does not have any more.
    fn miss_answers(&mut self, hear: Hear<'_>) {
        self.taken_until = None;
        for (_, line) in std::mem::take(&mut self.taken) {
            pass_entered(&line, hear);
            self.troubles.miss_answer(&line);
        }
    }

    /// The room knows who we are.
    fn greeted(&mut self, hello: &Hello<'_>, place: Option<Place>, now: Instant) {
        if self.wire == Wire::Objects {
            return;
        }
        self.wire = Wire::Objects;
        let greeted = self.greeted.as_ref();
        let greeted_lines = greeted.map(|lines| lines.split_terminator('\n').count() as u64);
        let past_lines = self.past_lines.or(greeted_lines).unwrap_or(0);
        // What it did not greet with.
        let is_ungreeted = self.gave_password && !self.is_strict;
        let past_lines = match self.past_lines {
            None if is_ungreeted => ALL_PAST_LINES,
            _ => past_lines,
        };
        let missed = self.history.begin(hello, place, past_lines);
        if hello.resumed {
            let resumption = self.pending.resumed(hello.heard, now);
            let first_n = (hello.heard + 1).saturating_sub(resumption.taken.len() as u64);
            self.taken.extend((first_n..).zip(resumption.taken));
            self.taken_until = Some((hello.seq, now + REPLAY_TIMEOUT));
            if let Some(line) = resumption.suspect {
                let why = "the connection ended twice while this was sent";
                self.troubles.leave_out(why, &line.text);
            }
            self.gate = Gate::Open;
            self.name = None;
        } else {
            let in_doubt = self.pending.begun(hello.heard, now);
            self.troubles.doubt(&in_doubt);
            self.pass_over_taken(&hello.people);
            self.ask_for_name(now);
        }
        if missed > 0 {
            let request = format!("/last {missed} {}", hello.seq).into_bytes();
            self.pending.say_ahead(request, By::Client);
        }
        if hello.lost > 0 {
            self.troubles.miss_events(hello.lost);
        }
        if hello.resumed && Name::parse(hello.name.as_bytes()).is_ok() {
            self.take_name(&hello.name);
        }
    }

    /// The room has answered our line `n`. Returns it; `hear` gets the lines before it whose
    /// answers are lost, and this one if it `is_refused`.
    fn answered(
        &mut self,
        n: Option<u64>,
        is_refused: bool,
        now: Instant,
        hear: Hear<'_>,
    ) -> Option<Line> {
        self.taken.retain(|(taken, _)| Some(*taken) != n);
        let mut done = self.pending.answered(n?, now);
        let line = done.pop();
        done.iter().for_each(|line| pass_entered(line, hear));
        if is_refused && let Some(line) = &line {
            pass_entered(line, hear);
        }
        line
    }
}

/// Whether a room asks for its password by `message`.
fn is_known_wish(message: &Message<'_>) -> bool {
    message.kind == Kind::Notice && message.is_past && message.text == PASSWORD_NEEDED
}

/// Whether `message`, a line that a room greets with, was said to everybody: the room remembers it.
fn was_said(message: &Message<'_>) -> bool {
    message.name.is_some() || read_operator(message.text).is_some()
}

/// Whether a program begins or goes on with a session by `line`.
fn is_handshake(line: &[u8]) -> bool {
    line.starts_with(b"/")
        && matches!(
            command::parse(line),
            Ok(Command::Json | Command::Resume { .. } | Command::Pass(_))
        )
}

/// Whether `line` is a request of the client's own that begins so.
fn is_request(line: Option<&Line>, beginning: &str) -> bool {
    line.is_some_and(|line| line.by == By::Client && line.text.starts_with(beginning.as_bytes()))
}

#[cfg(test)]
mod tests;
