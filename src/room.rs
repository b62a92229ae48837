//! The room: its members, their names, and who hears what.
//!
//! It decides and does no I/O: it knows no socket and no clock. Each event is a method
//! call, with the time where that matters; the method writes what to send into the
//! [batch](Context::batch) it is given. For work that is due later, the caller calls
//! [`Room::expire`] at the room's [deadline](Room::deadline).

pub(crate) mod greeting;
pub(crate) mod log;
pub mod member;
pub(crate) mod names;
pub mod presence;
pub(crate) mod replies;
pub(crate) mod roster;
pub(crate) mod sessions;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use self::greeting::Greeting;
use self::log::Log;
use self::member::{Label, Member};
use self::names::{CLAIM_TIMEOUT, Claim, Claims, Conflict, NameRegistry};
use self::presence::Presence;
use self::replies::{Replies, frame, refusal};
use self::roster::{Called, Unnamed, roster};
use crate::protocol::batch::{ClientId, Context, Encoding, Frame};
use crate::protocol::close::CloseReason;
use crate::protocol::command::{self, BadCommand, Command};
use crate::protocol::event::text::Count;
use crate::protocol::event::{Bye, ByeCode, ErrorCode, Event, Reply, Speech};
use crate::protocol::line::Decoded;
use crate::protocol::name::{MAX_NAME_COLUMNS, Name};
use crate::protocol::text;
use crate::protocol::time::Time;
use crate::protocol::wording::{CLOSING, farewell};

/// Members that there is room for from the start: address space, and no memory before they
/// come. An allocation this large (mallopt(3): `M_MMAP_THRESHOLD`) grows by moving pages.
const INITIAL_CAPACITY: usize = 8 * 1024;

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
    /// Indexed by [`ClientId::key`], which is dense.
    members: Vec<Option<Member>>,
    names: NameRegistry,
    /// Invariant: the members without a name.
    unnamed: Unnamed,
    claims: Claims,
    /// `None` if the room does not announce presence.
    presence: Option<Presence>,
    log: Log,
    greeting: Greeting,
    /// A cache. Invariant: `None` when the members or their names have changed since.
    roster: Option<Frame>,
    replies: Replies,
    scratch: Scratch,
}

/// Where the parts of an event are composed that cannot be borrowed from somewhere else: so a
/// line that is said costs no allocation.
#[derive(Debug, Default)]
struct Scratch {
    name: String,
    text: Vec<u8>,
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
            log: Log::new(),
            greeting: Greeting::new(&config.notices, config.history_lines),
            roster: None,
            replies: Replies::new(config.max_line_bytes),
            scratch: Scratch::default(),
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
        self.greeting.frame(&self.log, now)
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

    /// Handles a line from `id`, and returns how it reads from now on. Ignores clients that
    /// are not members.
    pub fn hear(
        &mut self,
        id: ClientId,
        heard: Decoded<'_>,
        context: &mut Context<'_>,
    ) -> Encoding {
        if self.find(id).is_none() {
            return Encoding::Text;
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
                self.say(id, Event::Message, text, context);
            }
        }
        Encoding::Text
    }

    /// Says `text` to everybody, as the operator.
    pub fn hear_operator(&mut self, text: &[u8], context: &mut Context<'_>) {
        let text = text::safe(text, &mut self.scratch.text).into();
        let event = Event::Operator { text };
        context
            .batch
            .say(None, Encoding::ONLY_TEXT, |_, out| event.write_text(out));
        self.log.say(&event, context.time, context.now);
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
        let code = ByeCode::of(reason)?;
        Some(frame(&Event::Bye(Bye {
            n: None,
            code,
            heard: None,
            again: None,
            text: farewell(reason)?.into(),
        })))
    }

    /// Tells everybody that the room is closing.
    pub fn close(&self, context: &mut Context<'_>) {
        let event = Event::Notice {
            text: CLOSING.into(),
        };
        context
            .batch
            .say(None, Encoding::ONLY_TEXT, |_, out| event.write_text(out));
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
            && let Some(changes) = presence.notice(here, label)
        {
            let event = Event::Presence(changes.clone());
            context
                .batch
                .say(None, Encoding::ONLY_TEXT, |_, out| event.write_text(out));
            self.log.presence(changes, context.time);
        }
    }

    /// `id` says `text` to everybody, as an event of the kind that `kind` makes of it.
    fn say<'a>(
        &'a mut self,
        id: ClientId,
        kind: impl FnOnce(Speech<'a>) -> Event<'a>,
        text: &'a [u8],
        context: &mut Context<'_>,
    ) {
        self.introduce(id, context);
        let event = kind(speech(&self.members, id, text, &mut self.scratch));
        context.batch.say(Some(id), Encoding::ONLY_TEXT, |_, out| {
            event.write_text(out)
        });
        self.log.say(&event, context.time, context.now);
    }

    /// Carries out a command.
    fn obey(&mut self, id: ClientId, line: &[u8], context: &mut Context<'_>) {
        match command::parse(line) {
            Ok(Command::Nick(name)) => {
                context.batch.charge(NAME_COST_BYTES);
                self.rename(id, name, context);
            }
            Ok(Command::Me(action)) => {
                self.say(id, Event::Action, action, context);
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
            let reply = Event::Reply(Reply::nick(name.as_str()));
            return context.batch.tell(id, frame(&reply));
        }
        let given = self.give_name(
            id,
            name.clone(),
            |name| Event::Reply(Reply::nick(name)),
            context,
        );
        let Err(conflict) = given else {
            return;
        };
        let refused = match conflict {
            Conflict::Taken(holder) if self.is_at_the_same_address(id, holder) => {
                self.claim(id, holder, &name, context);
                refusal(
                    ErrorCode::NameClaimed,
                    format_args!(
                        "{name} is taken, by a connection from your own address; \
                         should that be dead, the name is yours once it has ended"
                    ),
                )
            }
            Conflict::Taken(_) => refusal(ErrorCode::NameTaken, format_args!("{name} is taken")),
            Conflict::LooksLike(other) => refusal(
                ErrorCode::NameAlike,
                format_args!("{name} looks too much like {other}, who is here"),
            ),
            Conflict::Held(left) => refusal(
                ErrorCode::NameHeld,
                format_args!(
                    "{name} is held for whoever had it; it is free in {} s",
                    left.as_millis().div_ceil(1000)
                ),
            ),
        };
        context.batch.tell(id, refused);
    }

    /// Gives `name` to `id` and tells it so with the event that `confirm` makes of it, unless
    /// there is a conflict.
    fn give_name(
        &mut self,
        id: ClientId,
        name: Name,
        confirm: impl FnOnce(Cow<'_, str>) -> Event<'_>,
        context: &mut Context<'_>,
    ) -> Result<(), Conflict> {
        let member = self.members[id.key].as_mut().expect("a member");
        let old = member.label();
        let name = self
            .names
            .take(id, member.address(), member.name(), name, context.now)?;
        context
            .batch
            .tell(id, frame(&confirm(name.as_str().into())));
        member.take_name(name);
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
            let text =
                "somebody else at your address would be called as you are; you keep the name";
            let event = Event::Notice { text: text.into() };
            context.batch.tell(holder, frame(&event));
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
        let (claimant, name) = (claim.claimant, claim.name.clone());
        let given = self.give_name(claimant, name, |name| Event::You { name }, context);
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
                let to = self.member(reader).to_string();
                let sent = Event::Reply(Reply::sent(to.as_str()));
                context.batch.tell(id, frame(&sent));
                let speech = speech(&self.members, id, text, &mut self.scratch);
                self.log.whisper(&speech, &to, reader.serial, context.time);
                let to = to.as_str().into();
                let event = Event::Private { speech, to };
                context.batch.tell(reader, frame(&event));
            }
            Called::Many(count) => context.batch.tell(
                id,
                refusal(
                    ErrorCode::Several,
                    format_args!(
                        "{} people without a name are at {label}; write to one who has taken one",
                        Count(count)
                    ),
                ),
            ),
            Called::Nobody => {
                // Repeat no more than the length of a name.
                let label = text::excerpt(to, MAX_NAME_COLUMNS);
                let words = format_args!("no one is called {label} here");
                context.batch.tell(id, refusal(ErrorCode::Nobody, words));
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
}

/// What `id` says, made safe.
fn speech<'a>(
    members: &'a [Option<Member>],
    id: ClientId,
    text: &'a [u8],
    scratch: &'a mut Scratch,
) -> Speech<'a> {
    let member = members[id.key].as_ref().expect("a member");
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
        from: Some(id.serial),
        n: None,
        name: name.into(),
        text: text::safe(text, &mut scratch.text).into(),
    }
}

#[cfg(test)]
mod tests;
