//! The room: its members, their names, and who hears what.
//!
//! It decides and does no I/O: it knows no socket and no clock. Each event is a method
//! call, with the time where that matters; the method writes what to send into the
//! [batch](Context::batch) it is given. For work that is due later, the caller calls
//! [`Room::expire`] at the room's [deadline](Room::deadline).

pub(crate) mod history;
pub mod member;
pub(crate) mod names;
pub mod presence;
pub(crate) mod replies;
pub(crate) mod roster;

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
use crate::protocol::command::{self, BadCommand, Command};
use crate::protocol::line::Decoded;
use crate::protocol::name::{MAX_NAME_COLUMNS, Name};
use crate::protocol::text;
use crate::protocol::wording::{
    CLOSING, NOTICE_PREFIX, OPERATOR_PREFIX, WELCOME, farewell, notice, push_message, push_notice,
    refusal,
};

/// Members that there is room for from the start: address space, and no memory before they
/// come. An allocation this large (mallopt(3): `M_MMAP_THRESHOLD`) grows by moving pages.
const INITIAL_CAPACITY: usize = 8 * 1024;

/// What a request for a name counts for in a batch, besides its answer: to compare looks
/// takes up to a tenth of a millisecond, in which some writes could be made.
const NAME_COST_BYTES: usize = 4 * 1024;

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
    /// Indexed by [`ClientId::key`], which is dense.
    members: Vec<Option<Member>>,
    names: NameRegistry,
    /// Invariant: the members without a name.
    unnamed: Unnamed,
    claims: Claims,
    /// `None` if the room does not announce presence.
    presence: Option<Presence>,
    history: History,
    /// The welcome and the notices for newcomers.
    opening: Vec<u8>,
    /// A cache: the opening and the history, whose heading has this age. Invariant:
    /// `None` when the history has changed since.
    greeting: Option<(Age, Frame)>,
    /// A cache. Invariant: `None` when the members or their names have changed since.
    roster: Option<Frame>,
    replies: Replies,
}

impl Room {
    /// An empty room.
    pub fn new(config: Config) -> Self {
        Self {
            members: Vec::with_capacity(INITIAL_CAPACITY),
            names: NameRegistry::new(),
            unnamed: Unnamed::default(),
            claims: Claims::default(),
            presence: config.announces_presence.then(Presence::new),
            history: History::new(config.history_lines),
            opening: opening(&config.notices),
            greeting: None,
            roster: None,
            replies: Replies::new(config.max_line_bytes),
        }
    }

    /// Replaces what newcomers are shown after the welcome.
    pub(crate) fn set_notices(&mut self, notices: &[String]) {
        self.opening = opening(notices);
        self.greeting = None;
    }

    /// Adds the member `id` at `address`. Returns its greeting: whole lines, to be sent
    /// before anything else.
    pub fn join(&mut self, id: ClientId, address: IpAddr, now: Instant) -> Frame {
        if self.members.len() <= id.key {
            self.members.resize_with(id.key + 1, || None);
        }
        let before = self.members[id.key].replace(Member::new(id.serial, address));
        debug_assert!(before.is_none(), "another member has the key of {id:?}");
        self.unnamed.add(id, address);
        self.roster = None;
        if let Some(presence) = &mut self.presence {
            presence.joined(id, now);
        }
        self.greeting(now)
    }

    /// Removes the member `id`, for whatever reason, and returns it. `None` if it was not
    /// in the room.
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

    /// Handles a line from `id`. Ignores clients that are not members.
    pub fn hear(&mut self, id: ClientId, heard: Decoded<'_>, context: &mut Context<'_>) {
        if self.find(id).is_none() {
            return;
        }
        match heard {
            Decoded::Line(b"") => {}
            Decoded::TooLong(_) => context.batch.tell(id, Frame::clone(&self.replies.too_long)),
            Decoded::Line(line @ [b'/', text @ ..]) if !text.starts_with(b"/") => {
                self.obey(id, line, context);
            }
            Decoded::Line(line) if command::is_misplaced(line) => {
                let refused = self.replies.bad_command(BadCommand::Misplaced);
                context.batch.tell(id, refused);
            }
            Decoded::Line(line) => {
                // A second slash escapes the first.
                let text = line.strip_prefix(b"/").unwrap_or(line);
                self.introduce(id, context);
                let member = self.member(id);
                let said = context.batch.say(Some(id), |out| {
                    push_message(out, format_args!("<{member}> "), text);
                });
                self.remember(said, context.now);
            }
        }
    }

    /// Says `text` to everybody, as the operator.
    pub fn hear_operator(&mut self, text: &[u8], context: &mut Context<'_>) {
        let before = format_args!("{NOTICE_PREFIX}{OPERATOR_PREFIX}");
        let said = context
            .batch
            .say(None, |out| push_message(out, before, text));
        self.remember(said, context.now);
    }

    /// When [`Room::expire`] is due. `None` if nothing is pending.
    pub fn deadline(&self) -> Option<Instant> {
        self.presence.as_ref().and_then(Presence::due_at)
    }

    /// Sends the presence notice if it is due.
    pub fn expire(&mut self, context: &mut Context<'_>) {
        if self.deadline().is_some_and(|due_at| due_at <= context.now) {
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

    /// All members, by key.
    pub fn members(&self) -> impl Iterator<Item = (ClientId, &Member)> {
        self.members.iter().enumerate().filter_map(|(key, member)| {
            let member = member.as_ref()?;
            let serial = member.serial();
            Some((ClientId { key, serial }, member))
        })
    }

    /// The member with the name `label`, or all members at the address `label`.
    pub(crate) fn called(&self, label: &str) -> Vec<(ClientId, &Member)> {
        if let Ok(address) = label.parse::<IpAddr>() {
            let address = address.to_canonical();
            let is_there = |(_, member): &(ClientId, &Member)| member.address() == address;
            return self.members().filter(is_there).collect();
        }
        let found = Name::parse(label.as_bytes()).ok();
        let found = found.and_then(|name| self.names.find(&name));
        found.map(|id| (id, self.member(id))).into_iter().collect()
    }

    /// The last notice to a member that is disconnected for `reason`, if there is one.
    pub fn farewell(&self, reason: CloseReason) -> Option<Frame> {
        farewell(reason).map(|words| notice(format_args!("{NOTICE_PREFIX}{words}")))
    }

    /// Tells everybody that the room is closing.
    pub fn close(&self, context: &mut Context<'_>) {
        context
            .batch
            .say(None, |out| push_notice(out, CLOSING.as_bytes()));
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
            let member = members[id.key].as_ref();
            member.expect("a member that has not left").label()
        };
        if let Some(presence) = &mut self.presence
            && let Some(words) = presence.notice(here, label)
        {
            context
                .batch
                .say(None, |out| push_notice(out, words.as_bytes()));
        }
    }

    /// Adds a line that was said to everybody to the history.
    fn remember(&mut self, line: &[u8], now: Instant) {
        self.history.push(line, now);
        self.greeting = None;
    }

    /// Carries out a command.
    fn obey(&mut self, id: ClientId, line: &[u8], context: &mut Context<'_>) {
        match command::parse(line) {
            Ok(Command::Nick(name)) => {
                context.batch.charge(NAME_COST_BYTES);
                self.rename(id, name, context);
            }
            Ok(Command::Me(action)) => {
                self.introduce(id, context);
                let member = self.member(id);
                let said = context.batch.say(Some(id), |out| {
                    push_message(out, format_args!("* {member} "), action);
                });
                self.remember(said, context.now);
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

    fn rename(&mut self, id: ClientId, text: &[u8], context: &mut Context<'_>) {
        let name = match Name::parse(text) {
            Ok(name) => name,
            Err(bad) => return context.batch.tell(id, self.replies.bad_name(bad)),
        };
        self.claims.forget_others(id, &name);
        if self.member(id).name().is_some_and(|own| **own == name) {
            return context.batch.tell(id, replies::named(name));
        }
        let Err(conflict) = self.give_name(id, name.clone(), context) else {
            return;
        };
        let refused = match conflict {
            Conflict::Taken(holder) if self.is_at_the_same_address(id, holder) => {
                self.claim(id, holder, &name, context);
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

    /// Gives `name` to `id` and confirms it, unless there is a conflict.
    fn give_name(
        &mut self,
        id: ClientId,
        name: Name,
        context: &mut Context<'_>,
    ) -> Result<(), Conflict> {
        let member = self.members[id.key].as_mut().expect("a member");
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

    /// Records that `id` claims the `name` of `holder`, at the same address: `holder` may be
    /// an older connection of the same user, dead without the server knowing. The notice to
    /// `holder` probes the connection.
    fn claim(&mut self, id: ClientId, holder: ClientId, name: &Name, context: &mut Context<'_>) {
        let is_news = self.claims.add(Claim {
            claimant: id,
            holder,
            name: name.clone(),
            until: context.now + CLAIM_TIMEOUT,
        });
        if is_news {
            let words =
                "somebody else at your address would be called as you are; you keep the name";
            context
                .batch
                .tell(holder, notice(format_args!("{NOTICE_PREFIX}{words}")));
        }
    }

    /// `holder` has left or changed its name: gives the old name to its claimant.
    fn satisfy_claims(&mut self, holder: ClientId, context: &mut Context<'_>) {
        let Some(claim) = self.claims.take(holder) else {
            return;
        };
        if claim.until <= context.now {
            return;
        }
        let given = self.give_name(claim.claimant, claim.name.clone(), context);
        if let Err(Conflict::Taken(owner)) = given
            && owner == holder
        {
            // The holder has only changed the spelling.
            self.claims.add(claim);
        }
    }

    /// Sends the private message `text` from `id` to the member called `to`.
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
                self.introduce(id, context);
                let mut line = Vec::new();
                let sender = self.member(id);
                push_message(&mut line, format_args!("[{sender}] "), text);
                line.push(b'\n');
                context.batch.tell(reader, Frame::from(line));
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
                // Repeat no more than the length of a name.
                let label = text::excerpt(to, MAX_NAME_COLUMNS);
                context
                    .batch
                    .tell(id, refusal(format_args!("no one is called {label} here")));
            }
        }
    }

    fn member(&self, id: ClientId) -> &Member {
        self.find(id).expect("a member")
    }

    fn find(&self, id: ClientId) -> Option<&Member> {
        let member = self.members.get(id.key)?.as_ref()?;
        (member.serial() == id.serial).then_some(member)
    }

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

/// The welcome and the notices for newcomers.
fn opening(notices: &[String]) -> Vec<u8> {
    let mut opening = format!("{WELCOME}\n").into_bytes();
    for line in notices {
        push_notice(&mut opening, line.as_bytes());
        opening.push(b'\n');
    }
    opening
}

#[cfg(test)]
mod tests;
