//! The room: its members, their names, and who hears what.
//!
//! It decides and does no I/O: it knows no socket and no clock. Each event is a method
//! call, with the time where that matters; the method writes what to send into the
//! [batch](Context::batch) it is given. For work that is due later, the caller calls
//! [`Room::expire`] at the room's [deadline](Room::deadline).

#[cfg(feature = "web")]
mod drop_in;
pub(crate) mod greeting;
pub(crate) mod log;
pub mod member;
pub(crate) mod members;
mod mutes;
pub(crate) mod names;
mod naming;
mod operator;
pub mod presence;
pub(crate) mod replay;
pub(crate) mod replies;
mod resumption;
pub(crate) mod roster;
pub(crate) mod sessions;
mod wire;

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use self::greeting::Greeting;
use self::log::Log;
use self::member::{Label, Member};
use self::members::{Members, Replaced};
use self::mutes::Mutes;
use self::names::{Claims, NameRegistry};
use self::presence::{PRESENCE_WINDOW, Presence};
use self::replay::Replay;
use self::replies::{HELP, MUTED, Replies, TO_ONESELF, frame, past_heading, too_long};
use self::roster::{Called, Unnamed, roster};
use self::sessions::{Expired, Sessions, Token};
use self::wire::Wire;
use crate::protocol::batch::{Batch, ClientId, Context, Encoding, Frame, StandingRequest};
use crate::protocol::close::CloseReason;
use crate::protocol::command::{self, BadCommand, Command};
use crate::protocol::event::{
    Bye, ByeCode, ErrorCode, Event, Here, MAX_PEOPLE, Person, Place, Reply, Speech,
};
use crate::protocol::line::Decoded;
use crate::protocol::name::{MAX_NAME_COLUMNS, Name};
use crate::protocol::text;
use crate::protocol::time::Time;
use crate::protocol::wording::{CLOSING, IN_ALREADY, OPERATOR, WELCOME, farewell};

/// What a request for a name counts for in a batch, besides its answer: to compare looks
/// takes up to a tenth of a millisecond, in which some writes could be made.
const NAME_COST_BYTES: usize = 4 * 1024;

/// What [`Scratch`] keeps from line to line: most lines are not longer, and need no filter.
const KEPT_SCRATCH_BYTES: usize = 4 * 1024;

/// The options of a room.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest line, without its line end.
    pub max_line_bytes: u32,
    /// Lines for newcomers after the welcome, each sent as a notice.
    pub notices: Vec<String>,
    /// The number of past lines that newcomers get; 0 for none.
    pub history_lines: usize,
    /// Whether the room announces joins, leaves and renames.
    pub announces_presence: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_line_bytes: 4096,
            notices: Vec::new(),
            history_lines: 20,
            announces_presence: true,
        }
    }
}

impl Config {
    /// A room that only relays lines: no notices, no history, no presence.
    pub fn plain(max_line_bytes: u32) -> Self {
        Self {
            max_line_bytes,
            notices: Vec::new(),
            history_lines: 0,
            announces_presence: false,
        }
    }
}

/// A room and its members.
#[derive(Debug)]
pub struct Room {
    members: Members,
    sessions: Sessions,
    names: NameRegistry,
    /// Invariant: the members without a name.
    unnamed: Unnamed,
    claims: Claims,
    mutes: Mutes,
    /// `None` if the room does not announce presence.
    presence: Option<Presence>,
    log: Log,
    replay: Replay,
    /// Names this life of the log.
    epoch: u64,
    greeting: Greeting,
    /// A cache. Invariant: `None` when the members or their names have changed since.
    roster: Option<Frame>,
    /// A cache, as of then. Invariant: `None` when others have been told since who joined,
    /// left, or took a name. Whatever happened and was not told yet, will be.
    people_lately: Option<(Instant, Rc<[Person<'static>]>)>,
    replies: Replies,
    scratch: Scratch,
    max_line_bytes: u32,
    /// Invariant: how many connections read JSON.
    program_count: usize,
    /// Connections that nobody else can read.
    secured: HashSet<ClientId>,
    is_closing: bool,
    /// Whatever nobody can guess.
    random: fn() -> u128,
}

/// Who says a line.
#[derive(Clone, Copy, Debug)]
struct Speaker {
    id: ClientId,
    connection: ClientId,
    /// The number of the line. `None` for those who read text.
    n: Option<u64>,
}

/// A connection that has ended.
#[derive(Debug)]
pub struct Departed {
    /// Where it came from.
    pub address: IpAddr,
    /// The address, and the name if there is one, for the operator.
    pub label: String,
    /// What it is told last, if anything: whole lines.
    pub last_words: Option<Frame>,
}

/// Where the parts of an event are composed that cannot be borrowed from somewhere else: so a
/// line that is said costs no allocation.
#[derive(Debug, Default)]
struct Scratch {
    name: String,
    text: Vec<u8>,
}

impl Room {
    /// An empty room. What `random` returns must be as hard to guess as a password.
    pub fn new(config: Config, random: fn() -> u128) -> Self {
        Self {
            members: Members::new(),
            sessions: Sessions::default(),
            names: NameRegistry::new(),
            unnamed: Unnamed::default(),
            claims: Claims::default(),
            mutes: Mutes::default(),
            presence: config.announces_presence.then(Presence::new),
            log: Log::new(),
            replay: Replay::default(),
            epoch: random() as u64,
            greeting: Greeting::new(&config.notices, config.history_lines),
            roster: None,
            people_lately: None,
            replies: Replies::new(config.max_line_bytes),
            scratch: Scratch::default(),
            max_line_bytes: config.max_line_bytes,
            program_count: 0,
            secured: HashSet::new(),
            is_closing: false,
            random,
        }
    }

    /// Remembers what was said in the room's last life, oldest first. It is `now`, and by the
    /// wall clock `time`.
    pub(crate) fn recall<'a>(
        &mut self,
        said: impl IntoIterator<Item = (Time, Event<'a>)>,
        time: Time,
        now: Instant,
    ) {
        for (said_at, event) in said {
            let age = time.since(said_at);
            let instant = now.checked_sub(age).unwrap_or(now);
            self.log.say(&event, said_at, instant);
        }
    }

    /// Replaces what newcomers are shown after the welcome.
    pub(crate) fn set_notices(&mut self, notices: &[String]) {
        self.greeting.set_notices(notices);
    }

    /// Adds the member `id` at `address`. Returns its greeting: whole lines, to be sent
    /// before anything else.
    pub fn join(&mut self, id: ClientId, address: IpAddr, now: Instant) -> Frame {
        self.members.insert(id, Member::new(id.serial, address));
        self.unnamed.add(id, address);
        self.roster = None;
        if let Some(presence) = &mut self.presence {
            presence.joined(id, now);
        }
        self.mutes.joined(id.serial, address);
        if self.is_muted_one_lost_at(address) {
            self.mutes.mute(id.serial);
        }
        self.log.note_join(id.serial);
        self.greeting.frame(&self.log, now)
    }

    /// Adds the member `id` at `address`, which has had its welcome already, and reads so. Returns
    /// the rest of its greeting, to be sent before anything else.
    pub(crate) fn join_welcomed(
        &mut self,
        id: ClientId,
        address: IpAddr,
        reads: Encoding,
        context: &mut Context<'_>,
    ) -> Frame {
        let greeting = self.join(id, address, context.now);
        if reads == Encoding::Text {
            return Frame::from(&greeting[WELCOME.len() + 1..]);
        }
        self.members.get_mut(id).expect("a member").speaks();
        self.begin_session(id, context);
        for text in self.greeting.notices() {
            let notice = Event::Notice { text };
            self.tell(id, &notice, context.batch);
        }
        Frame::from([])
    }

    /// Nobody else can read `connection`.
    pub(crate) fn secure(&mut self, connection: ClientId) {
        self.secured.insert(connection);
    }

    /// Whether nobody else can read `connection`.
    pub(crate) fn is_secured(&self, connection: ClientId) -> bool {
        self.secured.contains(&connection)
    }

    /// There is no `connection` any more.
    pub(crate) fn closed(&mut self, connection: ClientId) {
        self.secured.remove(&connection);
    }

    /// `connection` has ended. `None` if nobody was on it. Who read JSON there is only lost,
    /// unless somebody means it to leave.
    pub fn leave(
        &mut self,
        connection: ClientId,
        reason: CloseReason,
        context: &mut Context<'_>,
    ) -> Option<Departed> {
        if let Some(Replaced { id, address }) = self.members.end_replaced(connection) {
            self.program_count -= 1;
            return Some(Departed {
                address,
                label: address.to_string(),
                last_words: self.farewell(id, reason),
            });
        }
        let id = self.members.on(connection)?;
        let member = self.member(id);
        let is_program = member.reads() == Encoding::Json;
        let departed = Departed {
            address: member.address(),
            label: member.full_label(),
            last_words: self.farewell(id, reason),
        };
        self.program_count -= usize::from(is_program);
        if self.sessions.is_resumable(id.serial) && is_loss(reason) {
            context
                .batch
                .request_standing(StandingRequest::Keep(connection, id));
            self.members.lose(id);
            let displaced = self.sessions.lose(connection, context.now);
            if let Some(displaced) = displaced.and_then(|serial| self.members.away(serial)) {
                self.remove(displaced, false, context);
            }
        } else {
            if reason == CloseReason::Quit || reason.is_operators() {
                // It was not dead: nobody gets its name for having asked.
                self.claims.take(id);
            }
            self.remove(id, reason.is_operators(), context);
        }
        Some(departed)
    }

    /// Removes the member `id`, and ends its session if it has one. `is_kicked` if the operator
    /// wants that.
    fn remove(&mut self, id: ClientId, is_kicked: bool, context: &mut Context<'_>) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        if member.reads() == Encoding::Json {
            self.sessions.end(id.serial);
            context.batch.request_standing(StandingRequest::Drop(id));
        }
        self.roster = None;
        if let Some(presence) = &mut self.presence
            && !member.is_absent()
        {
            presence.left(id, member.label(), is_kicked, context.now);
        }
        self.claims.forget(id);
        self.mutes.left(id.serial, member.address());
        match member.name() {
            Some(name) => {
                self.names.release(name, member.address(), context.now);
                self.satisfy_claims(id, context);
            }
            None if member.is_absent() => {}
            None => self.unnamed.remove(id, member.address()),
        }
    }

    /// Others are told that the member `id`, which is lost, has gone. It may come back.
    fn become_absent(&mut self, id: ClientId, now: Instant) {
        let member = self.members.get_mut(id).expect("a member");
        if !member.set_absent(true) {
            return;
        }
        match member.name() {
            Some(name) => self.names.hide(name),
            None => self.unnamed.remove(id, member.address()),
        }
        self.claims.forget(id);
        self.roster = None;
        if let Some(presence) = &mut self.presence {
            presence.left(id, member.label(), false, now);
        }
    }

    /// The member `id` is back.
    fn become_present(&mut self, id: ClientId, now: Instant) {
        let member = self.members.get_mut(id).expect("a member");
        if !member.set_absent(false) {
            return;
        }
        match member.name() {
            Some(name) => self.names.show(name, id),
            None => self.unnamed.add(id, member.address()),
        }
        self.roster = None;
        if let Some(presence) = &mut self.presence {
            presence.joined(id, now);
        }
    }

    /// Handles a line from `connection`, and returns how it reads from now on. Ignores
    /// connections on which nobody is.
    pub fn hear(
        &mut self,
        connection: ClientId,
        heard: Decoded<'_>,
        context: &mut Context<'_>,
    ) -> Encoding {
        let Some(id) = self.members.on(connection) else {
            return Encoding::Text;
        };
        if heard == Decoded::Line(b"") {
            return self.member(id).reads();
        }
        let member = self.members.get_mut(id).expect("a member");
        if member.speaks() && is_json(heard) {
            self.begin_session(id, context);
            return Encoding::Json;
        }
        let reads = member.reads();
        if reads == Encoding::Json && is_password(heard) {
            // A program says it ahead of need, where the room has none. It has no number.
            return reads;
        }
        if member.may_resume()
            && let Decoded::Line(line @ [b'/', ..]) = heard
            && let Ok(Command::Resume { token, seq }) = command::parse(line)
        {
            self.resume(id, Token::parse(token), seq, context);
            return reads;
        }
        let n = match reads {
            Encoding::Text => None,
            Encoding::Json => match self.sessions.hear(connection) {
                Some(n) => Some(n),
                None => return reads,
            },
        };
        self.act(Speaker { id, connection, n }, heard, context);
        reads
    }

    /// Acts on a line that is not empty.
    fn act(&mut self, by: Speaker, heard: Decoded<'_>, context: &mut Context<'_>) {
        match heard {
            Decoded::TooLong(_) => {
                let words = || too_long(self.max_line_bytes);
                self.refuse_with(
                    by,
                    &self.replies.too_long,
                    ErrorCode::TooLong,
                    words,
                    context,
                );
            }
            Decoded::Line(line @ [b'/', text @ ..]) if !text.starts_with(b"/") => {
                self.obey(by, line, context);
            }
            Decoded::Line(line) if command::is_misplaced(line) => {
                self.refuse_command(by, BadCommand::Misplaced, context);
            }
            Decoded::Line(line) => {
                // A second slash escapes the first.
                let text = line.strip_prefix(b"/").unwrap_or(line);
                self.say(by, Event::Message, text, context);
            }
        }
    }

    /// The member on `connection` is not read for a while, though it may have said something.
    pub fn held(&self, connection: ClientId, context: &mut Context<'_>) {
        if let Some(id) = self.members.on(connection)
            && self.member(id).reads() == Encoding::Json
        {
            self.tell(id, &Event::Wait, context.batch);
        }
    }

    /// When [`Room::expire`] is due. `None` if nothing is pending.
    pub fn deadline(&self) -> Option<Instant> {
        let presence_due_at = self.presence.as_ref().and_then(Presence::due_at);
        presence_due_at
            .into_iter()
            .chain(self.sessions.deadline())
            .min()
    }

    /// Sees to sessions that were lost some time ago, and sends the presence notice if it is
    /// due.
    pub fn expire(&mut self, context: &mut Context<'_>) {
        while let Some(expired) = self.sessions.expire(context.now) {
            let (Expired::Absent(serial) | Expired::Ended(serial)) = expired;
            let Some(id) = self.members.away(serial) else {
                debug_assert!(false, "who is lost is away");
                continue;
            };
            match expired {
                Expired::Absent(_) => self.become_absent(id, context.now),
                Expired::Ended(_) => self.remove(id, false, context),
            }
        }
        let presence_due_at = self.presence.as_ref().and_then(Presence::due_at);
        if presence_due_at.is_some_and(|due_at| due_at <= context.now) {
            self.tell_presence(context);
        }
    }

    /// The number of members.
    pub fn here(&self) -> usize {
        self.names.len() + self.unnamed.len()
    }

    /// The list of members, in notices.
    pub(crate) fn roster(&mut self) -> Frame {
        let (names, unnamed) = (&self.names, &self.unnamed);
        let roster = self
            .roster
            .get_or_insert_with(|| roster(names, unnamed, |name, _| Label::Name(Rc::clone(name))));
        Frame::clone(roster)
    }

    /// The list of members with all addresses, for the operator.
    pub(crate) fn full_roster(&self) -> Frame {
        let full_label = |_: &_, id| self.member(id).full_label();
        roster(&self.names, &self.unnamed, full_label)
    }

    /// All members. Each has the id of the connection on which it joined.
    pub fn members(&self) -> impl Iterator<Item = (ClientId, &Member)> {
        self.members.iter()
    }

    /// The member `id`, on `connection`, is to leave the room for good.
    fn end(&mut self, id: ClientId, connection: ClientId, reason: CloseReason, batch: &mut Batch) {
        // Until it has left, nobody else shall go on with its session.
        self.sessions.revoke(id.serial);
        batch.close(connection, reason);
    }

    /// What the member `id` is told last when it is disconnected for `reason`.
    fn farewell(&self, id: ClientId, reason: CloseReason) -> Option<Frame> {
        let code = ByeCode::of(reason)?;
        let bye = |n, heard, text: &'static str| {
            Event::Bye(Bye {
                n,
                code,
                heard,
                again: code.again(),
                text: text.into(),
            })
        };
        match self.sessions.heard(id.serial) {
            // That the room is closing was said to everybody.
            None => Some(frame(&bye(None, None, farewell(reason)?))),
            Some(heard) => {
                let n = (reason == CloseReason::Quit).then_some(heard);
                let text = farewell(reason).unwrap_or(CLOSING);
                // That of the session that was asked for is another one.
                let heard = (reason != CloseReason::TooSoon).then_some(heard);
                Some(self.wire().object(None, &bye(n, heard, text)))
            }
        }
    }

    /// Tells everybody that the room is closing. Nobody comes back.
    pub fn close(&mut self, context: &mut Context<'_>) {
        self.is_closing = true;
        self.sessions.revoke_all();
        let event = Event::Notice {
            text: CLOSING.into(),
        };
        self.wire().say(None, None, &event, context.batch);
    }

    /// [`Room::people`], as of a moment ago, without those of whom others have not been told:
    /// these are told to everybody soon. Many may come, or come back, at once, and each gets
    /// the list.
    fn people_lately(&mut self, now: Instant) -> Rc<[Person<'static>]> {
        if let Some((as_of, people)) = &self.people_lately
            && now < *as_of + PRESENCE_WINDOW
        {
            return Rc::clone(people);
        }
        let people = self.people(|id| {
            let presence = self.presence.as_ref();
            !presence.is_some_and(|presence| presence.is_untold(id))
        });
        let people: Rc<[_]> = people.into_iter().map(Person::into_owned).collect();
        self.people_lately = Some((now, Rc::clone(&people)));
        people
    }

    /// As many members as a list may have.
    pub(crate) fn everybody(&self) -> Vec<Person<'_>> {
        self.people(|_| true)
    }

    /// As many members as a list may have, of those that `is_listed`; those with names first.
    fn people(&self, is_listed: impl Fn(ClientId) -> bool) -> Vec<Person<'_>> {
        let named = self.names.names().filter(|&(_, id)| is_listed(id));
        let named = named.map(|(name, id)| Person {
            id: id.serial,
            name: name.as_str().into(),
        });
        let others = self.members.iter();
        let is_other = |member: &Member| member.name().is_none() && !member.is_absent();
        let others = others.filter(|&(id, member)| is_other(member) && is_listed(id));
        let others = others.map(|(id, member)| Person {
            id: id.serial,
            name: member.address().to_string().into(),
        });
        named.chain(others).take(MAX_PEOPLE).collect()
    }

    /// `id` is about to be heard: others must know first who that is.
    fn introduce(&mut self, id: ClientId, context: &mut Context<'_>) {
        let presence = self.presence.as_ref();
        if presence.is_some_and(|presence| presence.is_untold(id)) {
            self.tell_presence(context);
        }
    }

    /// Sends the presence notice.
    fn tell_presence(&mut self, context: &mut Context<'_>) {
        let here = self.here();
        let members = &self.members;
        let label = |id: ClientId| {
            let member = members.get(id);
            member.expect("a member that has not left").label()
        };
        let present = || {
            let all = members.iter();
            all.filter(|(_, member)| !member.is_absent())
                .map(|(id, _)| id)
        };
        if let Some(presence) = &mut self.presence
            && let Some(changes) = presence.notice(here, label, present)
        {
            self.people_lately = None;
            let place = self.log.presence(changes.clone(), context.time);
            let event = Event::Presence(changes);
            self.wire().say(None, Some(place), &event, context.batch);
        }
    }

    /// Somebody says `text` to everybody, as an event of the kind that `kind` makes of it.
    fn say<'a>(
        &'a mut self,
        by: Speaker,
        kind: impl FnOnce(Speech<'a>) -> Event<'a>,
        text: &'a [u8],
        context: &mut Context<'_>,
    ) {
        if self.mutes.is_muted(by.id.serial) {
            return self.refuse_muted(by, context);
        }
        self.introduce(by.id, context);
        let wire = self.wire();
        let event = kind(speech(&self.members, by, text, &mut self.scratch));
        let place = self.log.say(&event, context.time, context.now);
        // Who reads JSON hears its own lines: that is how it knows that they were said.
        let but = by.n.is_none().then_some(by.connection);
        wire.say(but, Some(place), &event, context.batch);
    }

    /// Carries out a command.
    fn obey(&mut self, by: Speaker, line: &[u8], context: &mut Context<'_>) {
        match command::parse(line) {
            Ok(Command::Nick(name)) => {
                context.batch.charge(NAME_COST_BYTES);
                self.rename(by, name, context);
            }
            Ok(Command::Me(action)) => {
                self.say(by, Event::Action, action, context);
            }
            Ok(Command::Message { to, text }) => self.whisper(by, to, text, context),
            Ok(Command::Who) if by.n.is_none() => {
                let roster = self.roster();
                context.batch.tell(by.connection, roster);
            }
            Ok(Command::Who) => {
                let here = Here {
                    here: self.here() as u64,
                    people: self.everybody().into(),
                };
                self.reply(by, Reply::who(here), context.batch);
            }
            Ok(Command::Last { count, seq }) => self.tell_past(by, count, seq, context.batch),
            Ok(Command::Help) if by.n.is_none() => {
                context
                    .batch
                    .tell(by.connection, Frame::clone(&self.replies.help));
            }
            Ok(Command::Help) => self.reply(by, Reply::lines("help", HELP), context.batch),
            Ok(Command::Quit) => {
                self.end(by.id, by.connection, CloseReason::Quit, context.batch);
            }
            Ok(Command::Json) => {
                let words = "/json goes before anything else that you say";
                self.refuse(by, ErrorCode::TooLate, words, context.batch);
            }
            Ok(Command::Resume { .. }) => {
                let words = "/resume goes right after /json, before anything else that you say";
                self.refuse(by, ErrorCode::TooLate, words, context.batch);
            }
            Ok(Command::Pass(_)) => {
                self.refuse(by, ErrorCode::TooLate, IN_ALREADY, context.batch);
            }
            Err(bad) => self.refuse_command(by, bad, context),
        }
    }

    /// Tells `by` the last `count` things said to everybody up to event `seq`.
    fn tell_past(&self, by: Speaker, count: u64, seq: Option<u64>, batch: &mut Batch) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let joined = self.log.said_before(by.id.serial);
        let before = self.greeting.max_lines();
        let past = self
            .log
            .last(count, seq.unwrap_or(u64::MAX), joined, before);
        let (count, lines) = self.wire().past(self.member(by.id).reads(), past);
        if by.n.is_none() {
            self.reply(by, Reply::lines("last", past_heading(count)), batch);
        }
        if count > 0 {
            batch.tell(by.connection, lines);
        }
        if by.n.is_some() {
            self.reply(by, Reply::to("last"), batch);
        }
    }

    /// Answers a line: it was done.
    fn reply(&self, by: Speaker, reply: Reply<'_>, batch: &mut Batch) {
        let reply = Reply { n: by.n, ..reply };
        self.tell(by.id, &Event::Reply(reply), batch);
    }

    /// Answers a line: what it asks for is not done, for a reason in safe words.
    fn refuse(&self, by: Speaker, code: ErrorCode, words: impl fmt::Display, batch: &mut Batch) {
        let error = Event::Error {
            n: by.n,
            code,
            text: words.to_string().into(),
        };
        self.tell(by.id, &error, batch);
    }

    /// The same where the text is composed already.
    fn refuse_with<W: fmt::Display>(
        &self,
        by: Speaker,
        text: &Frame,
        code: ErrorCode,
        words: impl FnOnce() -> W,
        context: &mut Context<'_>,
    ) {
        match by.n {
            None => context.batch.tell(by.connection, Frame::clone(text)),
            Some(_) => self.refuse(by, code, words(), context.batch),
        }
    }

    fn refuse_muted(&self, by: Speaker, context: &mut Context<'_>) {
        let text = &self.replies.muted;
        self.refuse_with(by, text, ErrorCode::Muted, || MUTED, context);
    }

    fn refuse_command(&self, by: Speaker, bad: BadCommand, context: &mut Context<'_>) {
        let text = self.replies.bad_command(bad);
        self.refuse_with(by, &text, bad.code(), || bad, context);
    }

    /// Tells the member `id` alone. It hears nothing while it has no connection.
    fn tell(&self, id: ClientId, event: &Event<'_>, batch: &mut Batch) {
        self.tell_at(id, None, event, batch);
    }

    /// The same for an event that is in the log, from which who resumes gets it.
    fn tell_at(&self, id: ClientId, place: Option<Place>, event: &Event<'_>, batch: &mut Batch) {
        if let Some(connection) = self.members.connection(id) {
            let told = match self.member(id).reads() {
                Encoding::Text => frame(event),
                Encoding::Json => self.wire().object(place, event),
            };
            batch.tell(connection, told);
        }
    }

    fn wire(&self) -> Wire {
        Wire {
            max_line_bytes: self.max_line_bytes,
            has_programs: self.program_count > 0,
        }
    }

    /// Whom a private message to `label` reaches.
    fn whom(&self, label: &[u8]) -> Called {
        match String::from_utf8_lossy(label).parse::<IpAddr>() {
            Ok(address) => self.unnamed.called(address.to_canonical()),
            Err(_) => match Name::parse(label)
                .ok()
                .and_then(|name| self.names.find(&name))
            {
                Some(reader) => Called::One(reader),
                None => Called::Nobody,
            },
        }
    }

    /// Sends the private message `text` to the member called `to`.
    fn whisper(&mut self, by: Speaker, to: &[u8], text: &[u8], context: &mut Context<'_>) {
        if self.mutes.is_muted(by.id.serial) {
            return self.refuse_muted(by, context);
        }
        match self.whom(to) {
            Called::One(reader) if reader == by.id => {
                let text = &self.replies.to_oneself;
                self.refuse_with(by, text, ErrorCode::Yourself, || TO_ONESELF, context);
            }
            Called::One(reader) => {
                self.introduce(by.id, context);
                let to = self.member(reader).to_string();
                let wire = self.wire();
                let connection = self.members.connection(reader);
                let reads = self.member(reader).reads();
                let speech = speech(&self.members, by, text, &mut self.scratch);
                let place = self.log.whisper(&speech, &to, reader.serial, context.time);
                let to = to.as_str().into();
                let event = Event::Private { speech, to };
                let is_any_json = by.n.is_some() || reads == Encoding::Json;
                let object = is_any_json.then(|| wire.object(Some(place), &event));
                let text = (reads == Encoding::Text).then(|| frame(&event));
                let told = match &object {
                    // Who reads JSON has its own message as the answer.
                    Some(object) if by.n.is_some() => Frame::clone(object),
                    _ => {
                        let Event::Private { to, .. } = &event else {
                            unreachable!("it was just made");
                        };
                        frame(&Event::Reply(Reply::sent(&**to)))
                    }
                };
                context.batch.tell(by.connection, told);
                if let (Some(connection), Some(told)) = (connection, text.or(object)) {
                    context.batch.tell(connection, told);
                }
            }
            called @ Called::Many(_) => {
                let words = called.words(String::from_utf8_lossy(to));
                self.refuse(by, ErrorCode::Several, words, context.batch);
            }
            Called::Nobody if to.eq_ignore_ascii_case(OPERATOR.as_bytes()) => {
                let words = "the operator gets no /msg: say it to everybody";
                self.refuse(by, ErrorCode::Nobody, words, context.batch);
            }
            called @ Called::Nobody => {
                // Repeat no more than the length of a name.
                let words = called.words(text::excerpt(to, MAX_NAME_COLUMNS));
                self.refuse(by, ErrorCode::Nobody, words, context.batch);
            }
        }
    }

    fn member(&self, id: ClientId) -> &Member {
        self.members.get(id).expect("a member")
    }
}

/// Whether a program that goes for this reason may come back as the same member.
fn is_loss(reason: CloseReason) -> bool {
    match reason {
        CloseReason::PeerClosed
        | CloseReason::Lost(_)
        | CloseReason::Stuck
        | CloseReason::TooSlow
        | CloseReason::Overload => true,
        CloseReason::Idle
        | CloseReason::WrongProtocol
        | CloseReason::Quit
        | CloseReason::Kicked
        | CloseReason::Banned
        | CloseReason::Replaced
        | CloseReason::TooSoon
        | CloseReason::Shutdown => false,
    }
}

fn is_json(heard: Decoded<'_>) -> bool {
    matches!(heard, Decoded::Line(line @ [b'/', ..]) if command::parse(line) == Ok(Command::Json))
}

fn is_password(heard: Decoded<'_>) -> bool {
    matches!(heard, Decoded::Line(line @ [b'/', ..])
        if matches!(command::parse(line), Ok(Command::Pass(_))))
}

/// What `by` says, made safe.
fn speech<'a>(
    members: &'a Members,
    by: Speaker,
    text: &'a [u8],
    scratch: &'a mut Scratch,
) -> Speech<'a> {
    let member = members.get(by.id).expect("a member");
    scratch.text.clear();
    scratch.text.shrink_to(KEPT_SCRATCH_BYTES);
    let name = match member.name() {
        Some(name) => name.as_str(),
        None => {
            scratch.name.clear();
            write!(scratch.name, "{}", member.address()).expect("a String takes every write");
            &scratch.name
        }
    };
    Speech {
        from: Some(by.id.serial),
        n: by.n,
        name: name.into(),
        text: text::safe(text, &mut scratch.text).into(),
    }
}

#[cfg(test)]
mod tests;
