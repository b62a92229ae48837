//! The room: who is in it, what they are called, and what is said to whom.
//!
//! Decides, and carries nothing out: it knows no socket and no clock. Whatever
//! happens is told it by a method, with the time where that matters, and what is to be
//! sent as a result goes into the [`Batch`] that the method is given. What it has to do
//! later it does when it is asked at its [deadline](Room::deadline).

pub mod history;
pub mod member;
pub mod names;
pub mod presence;
pub mod replies;
pub mod roster;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use self::history::{Age, History};
use self::member::{Count, Label, Member};
use self::names::{CLAIM_TIMEOUT, Claim, Claims, Conflict, NameRegistry};
use self::presence::Presence;
use self::replies::Replies;
use self::roster::{Called, Unnamed, roster};
use crate::protocol::batch::{ClientId, Context, Frame};
use crate::protocol::close::CloseReason;
use crate::protocol::command::{self, Command};
use crate::protocol::line::Decoded;
use crate::protocol::name::{MAX_NAME_COLUMNS, Name};
use crate::protocol::text;
use crate::protocol::wording::{
    CLOSING, NOTICE_PREFIX, OPERATOR_PREFIX, WELCOME, farewell, notice, push_message, push_notice,
    refusal,
};

/// What a room is like.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes of a line, its line end not counted.
    pub max_line_bytes: u32,
    /// What newcomers are told after the welcome: a notice for each line.
    pub notices: Vec<String>,
    /// How many of the last lines newcomers are shown.
    pub history_lines: usize,
    /// Whether it is told who comes, goes and has a new name.
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
    /// A room that only passes on what is said.
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
    /// Indexed by [`ClientId`], whose numbers are dense.
    members: Vec<Option<Member>>,
    names: NameRegistry,
    /// Invariant: the members without a name.
    unnamed: Unnamed,
    claims: Claims,
    /// `None` when it is not announced.
    presence: Option<Presence>,
    history: History,
    /// What every newcomer is told first.
    opening: Vec<u8>,
    /// The opening with the history, as of when it was last wanted. Invariant: `None`
    /// when the history has changed since.
    greeting: Option<(Age, Frame)>,
    /// The answer to who is here. Invariant: `None` when it has changed.
    roster: Option<Frame>,
    replies: Replies,
}

impl Room {
    /// An empty room.
    pub fn new(config: Config) -> Self {
        let mut opening = format!("{WELCOME}\n").into_bytes();
        for line in &config.notices {
            push_notice(&mut opening, line.as_bytes());
            opening.push(b'\n');
        }
        Self {
            members: Vec::new(),
            names: NameRegistry::new(),
            unnamed: Unnamed::default(),
            claims: Claims::default(),
            presence: config.announces_presence.then(Presence::new),
            history: History::new(config.history_lines),
            opening,
            greeting: None,
            roster: None,
            replies: Replies::new(config.max_line_bytes),
        }
    }

    /// `id`, admitted before, joins from `address`. Returns its greeting.
    pub fn join(&mut self, id: ClientId, address: IpAddr, now: Instant) -> Frame {
        if self.members.len() <= id.key {
            self.members.resize_with(id.key + 1, || None);
        }
        let before = self.members[id.key].replace(Member::new(id.serial, address));
        debug_assert!(before.is_none(), "{id:?} is in the room already");
        self.unnamed.add(id, address);
        self.roster = None;
        if let Some(presence) = &mut self.presence {
            presence.joined(id, now);
        }
        self.greeting(now)
    }

    /// `id` goes, for whatever reason. What it was, if it was in the room.
    pub fn leave(&mut self, id: ClientId, context: &mut Context<'_>) -> Option<Member> {
        let member = self
            .members
            .get_mut(id.key)?
            .take_if(|member| member.serial() == id.serial)?;
        self.roster = None;
        if let Some(presence) = &mut self.presence {
            presence.left(id, member.label(), context.now);
        }
        self.claims.forget(id);
        match member.name() {
            Some(name) => {
                self.names.release(name, member.address(), context.now);
                self.satisfy_claims(id, context);
            }
            None => self.unnamed.remove(id, member.address()),
        }
        Some(member)
    }

    /// `id` has sent a line. One that is no member is not heard.
    pub fn hear(&mut self, id: ClientId, heard: Decoded<'_>, context: &mut Context<'_>) {
        let Some(member) = self.find(id) else {
            return;
        };
        match heard {
            Decoded::Line(b"") => {}
            Decoded::TooLong(_) => context.batch.tell(id, Frame::clone(&self.replies.too_long)),
            Decoded::Line(line @ [b'/', text @ ..]) if !text.starts_with(b"/") => {
                self.obey(id, line, context);
            }
            Decoded::Line(line) => {
                // A line that is to begin with a slash is sent with two.
                let text = line.strip_prefix(b"/").unwrap_or(line);
                let said = context.batch.say(Some(id), |out| {
                    push_message(out, format_args!("<{member}> "), text);
                });
                self.remember(said, context.now);
                self.note_speech(id);
            }
        }
    }

    /// The operator says `text` to everybody.
    pub fn hear_operator(&mut self, text: &[u8], context: &mut Context<'_>) {
        let before = format_args!("{NOTICE_PREFIX}{OPERATOR_PREFIX}");
        let said = context
            .batch
            .say(None, |out| push_message(out, before, text));
        self.remember(said, context.now);
    }

    /// When the room wants to be asked to [go on](Room::expire), if nothing happens
    /// before.
    pub fn deadline(&self) -> Option<Instant> {
        self.presence.as_ref().and_then(Presence::due_at)
    }

    /// Does what is due.
    pub fn expire(&mut self, context: &mut Context<'_>) {
        let here = self.here();
        let members = &self.members;
        let label = |id: ClientId| {
            let member = members[id.key].as_ref();
            member.expect("a member that has not left").label()
        };
        if let Some(presence) = &mut self.presence
            && presence
                .due_at()
                .is_some_and(|due_at| due_at <= context.now)
            && let Some(words) = presence.notice(here, label)
        {
            context
                .batch
                .say(None, |out| push_notice(out, words.as_bytes()));
        }
    }

    /// How many are here.
    pub fn here(&self) -> usize {
        self.names.len() + self.unnamed.len()
    }

    /// Who is here, in notices.
    pub fn roster(&mut self) -> Frame {
        let (names, unnamed) = (&self.names, &self.unnamed);
        let roster = self
            .roster
            .get_or_insert_with(|| roster(names, unnamed, |name, _| Label::Name(Rc::clone(name))));
        Frame::clone(roster)
    }

    /// The same with everybody's address, for the operator.
    pub fn full_roster(&self) -> Frame {
        let full_label = |_: &_, id| self.member(id).full_label();
        roster(&self.names, &self.unnamed, full_label)
    }

    /// Everybody who is here.
    pub fn members(&self) -> impl Iterator<Item = (ClientId, &Member)> {
        self.members.iter().enumerate().filter_map(|(key, member)| {
            let member = member.as_ref()?;
            let serial = member.serial();
            Some((ClientId { key, serial }, member))
        })
    }

    /// Those who are called `label`; if that is an address, all who come from there.
    pub fn called(&self, label: &str) -> Vec<(ClientId, &Member)> {
        if let Ok(address) = label.parse::<IpAddr>() {
            let address = address.to_canonical();
            let is_there = |(_, member): &(ClientId, &Member)| member.address() == address;
            return self.members().filter(is_there).collect();
        }
        let found = Name::parse(label.as_bytes()).ok();
        let found = found.and_then(|name| self.names.find(&name));
        found.map(|id| (id, self.member(id))).into_iter().collect()
    }

    /// What a member is told that has to leave for this reason, if anything.
    pub fn farewell(&self, reason: CloseReason) -> Option<Frame> {
        farewell(reason).map(|words| notice(format_args!("{NOTICE_PREFIX}{words}")))
    }

    /// The server is about to end.
    pub fn close(&self, context: &mut Context<'_>) {
        context
            .batch
            .say(None, |out| push_notice(out, CLOSING.as_bytes()));
    }

    /// Notes that `id` says something to others.
    fn note_speech(&mut self, id: ClientId) {
        if let Some(presence) = &mut self.presence {
            presence.spoke(id);
        }
    }

    /// Keeps a line that was said to everybody for those who come later.
    fn remember(&mut self, line: &[u8], now: Instant) {
        self.history.push(line, now);
        self.greeting = None;
    }

    /// Does what `line` of the member `id` asks for.
    fn obey(&mut self, id: ClientId, line: &[u8], context: &mut Context<'_>) {
        match command::parse(line) {
            Ok(Command::Nick(name)) => self.name(id, name, context),
            Ok(Command::Me(action)) => {
                let member = self.member(id);
                let said = context.batch.say(Some(id), |out| {
                    push_message(out, format_args!("* {member} "), action);
                });
                self.remember(said, context.now);
                self.note_speech(id);
            }
            Ok(Command::Message { to, text }) => self.whisper(id, to, text, context),
            Ok(Command::Who) => {
                let roster = self.roster();
                context.batch.tell(id, roster);
            }
            Ok(Command::Help) => context.batch.tell(id, Frame::clone(&self.replies.help)),
            Ok(Command::Quit) => context.batch.close(id, CloseReason::Quit),
            Err(bad) => context.batch.tell(id, self.replies.bad_command(bad)),
        }
    }

    /// `id` wants to be called `text`.
    fn name(&mut self, id: ClientId, text: &[u8], context: &mut Context<'_>) {
        let name = match Name::parse(text) {
            Ok(name) => name,
            Err(bad) => return context.batch.tell(id, self.replies.bad_name(bad)),
        };
        self.claims.forget_others(id, &name);
        if self.member(id).name().is_some_and(|own| **own == name) {
            return context.batch.tell(id, replies::named(name));
        }
        // Else it would have spoken under a name that nobody is ever told of.
        let presence = self.presence.as_ref();
        if presence.is_some_and(|presence| presence.has_spoken_untold(id)) {
            return context.batch.tell(id, Frame::clone(&self.replies.too_soon));
        }
        let Err(conflict) = self.give_name(id, name.clone(), context) else {
            return;
        };
        let refused = match conflict {
            Conflict::Taken(bearer) if self.is_at_the_same_address(id, bearer) => {
                self.claim(id, bearer, &name, context);
                refusal(format_args!(
                    "{name} is taken, by a connection from your own address; \
                     should that be dead, the name is yours once it has ended"
                ))
            }
            Conflict::Taken(_) => refusal(format_args!("{name} is taken")),
            Conflict::LooksLike(other) => refusal(format_args!(
                "{name} looks too much like {other}, who is here"
            )),
            Conflict::Held(left) => refusal(format_args!(
                "{name} is held for whoever had it; it is free in {} s",
                left.as_millis().div_ceil(1000)
            )),
        };
        context.batch.tell(id, refused);
    }

    /// Gives `id` its `name`, and tells it, if it can have it.
    fn give_name(
        &mut self,
        id: ClientId,
        name: Name,
        context: &mut Context<'_>,
    ) -> Result<(), Conflict> {
        let member = self.members[id.key].as_mut().expect("it is here");
        let old = member.label();
        let name = self
            .names
            .take(id, member.address(), member.name(), name, context.now)?;
        member.take_name(name);
        context.batch.tell(id, replies::named(&member));
        if let Label::Address(address) = old {
            self.unnamed.remove(id, address);
        }
        self.roster = None;
        if let Some(presence) = &mut self.presence {
            presence.renamed(id, old, context.now);
        }
        self.claims.forget(id);
        self.satisfy_claims(id, context);
        Ok(())
    }

    fn is_at_the_same_address(&self, one: ClientId, other: ClientId) -> bool {
        self.member(one).address() == self.member(other).address()
    }

    /// Notes that `id` wants the `name` of `bearer`, which is at the same address: that may
    /// be a connection of its own that is dead, and not yet known to be. So it is sent
    /// something, which will show.
    fn claim(&mut self, id: ClientId, bearer: ClientId, name: &Name, context: &mut Context<'_>) {
        let is_news = self.claims.add(Claim {
            claimant: id,
            bearer,
            name: name.clone(),
            until: context.now + CLAIM_TIMEOUT,
        });
        if is_news {
            let words =
                "somebody else at your address would be called as you are; you keep the name";
            context
                .batch
                .tell_from_another(bearer, notice(format_args!("{NOTICE_PREFIX}{words}")));
        }
    }

    /// `bearer` has another name, or none any more: who waits for the old one gets it.
    fn satisfy_claims(&mut self, bearer: ClientId, context: &mut Context<'_>) {
        let Some(claim) = self.claims.remove_of_bearer(bearer) else {
            return;
        };
        if claim.until <= context.now {
            return;
        }
        let given = self.give_name(claim.claimant, claim.name.clone(), context);
        if let Err(Conflict::Taken(owner)) = given
            && owner == bearer
        {
            // It only writes it in another way now.
            self.claims.add(claim);
        }
    }

    /// `id` says `text` to the member called `to`, and to nobody else.
    fn whisper(&mut self, id: ClientId, to: &[u8], text: &[u8], context: &mut Context<'_>) {
        let label = String::from_utf8_lossy(to);
        let called = match label.parse::<IpAddr>() {
            Ok(address) => self.unnamed.called(address.to_canonical()),
            Err(_) => match Name::parse(to).ok().and_then(|name| self.names.find(&name)) {
                Some(reader) => Called::One(reader),
                None => Called::Nobody,
            },
        };
        match called {
            Called::One(reader) if reader == id => {
                context
                    .batch
                    .tell(id, Frame::clone(&self.replies.to_oneself));
            }
            Called::One(reader) => {
                let mut line = Vec::new();
                let sender = self.member(id);
                push_message(&mut line, format_args!("[{sender}] "), text);
                line.push(b'\n');
                context.batch.tell_from_another(reader, Frame::from(line));
                self.note_speech(id);
                let reader = self.member(reader);
                context
                    .batch
                    .tell(id, notice(format_args!("{NOTICE_PREFIX}sent to {reader}")));
            }
            Called::Many(count) => context.batch.tell(
                id,
                refusal(format_args!(
                    "{} people without a name are at {label}; write to one who has taken one",
                    Count(count)
                )),
            ),
            Called::Nobody => {
                // No longer than a name can be.
                let label = text::excerpt(to, MAX_NAME_COLUMNS);
                context
                    .batch
                    .tell(id, refusal(format_args!("no one is called {label} here")));
            }
        }
    }

    /// A member that is known to be here.
    fn member(&self, id: ClientId) -> &Member {
        self.find(id).expect("it is here")
    }

    fn find(&self, id: ClientId) -> Option<&Member> {
        let member = self.members.get(id.key)?.as_ref()?;
        (member.serial() == id.serial).then_some(member)
    }

    /// What a newcomer is told.
    fn greeting(&mut self, now: Instant) -> Frame {
        let age = self.history.age(now);
        if let Some((as_of, greeting)) = &self.greeting
            && *as_of == age
        {
            return Frame::clone(greeting);
        }
        let mut text = self.opening.clone();
        if !self.history.is_empty() {
            push_notice(&mut text, self.history.heading(age).as_bytes());
            text.push(b'\n');
            self.history.write_to(&mut text);
        }
        let greeting = Frame::from(text);
        self.greeting = Some((age, Frame::clone(&greeting)));
        greeting
    }
}

#[cfg(test)]
mod tests;
