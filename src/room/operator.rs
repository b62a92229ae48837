//! What the operator says in the room, and does to its members.

use std::net::IpAddr;

use super::Room;
use super::member::Member;
use super::roster::Called;
use crate::protocol::batch::{ClientId, Context};
use crate::protocol::close::CloseReason;
use crate::protocol::event::{Event, Place, Speech};
use crate::protocol::name::Name;
use crate::protocol::text;
use crate::protocol::wording::OPERATOR;

impl Room {
    /// Says `text` to everybody, as the operator.
    pub fn hear_operator(&mut self, text: &[u8], context: &mut Context<'_>) {
        let text = text::made_safe(text).into();
        self.say_as_operator(&Event::Operator { text }, context);
    }

    /// Shows everybody what the operator does (`/me`).
    pub(crate) fn see_operator(&mut self, action: &[u8], context: &mut Context<'_>) {
        self.say_as_operator(&Event::Action(speech(action)), context);
    }

    fn say_as_operator(&mut self, event: &Event<'_>, context: &mut Context<'_>) {
        let place = self.log.say(event, context.time, context.now);
        self.wire().say(None, Some(place), event, context.batch);
    }

    /// Says `text` to the member called `to` alone, as the operator. Returns what that is called.
    ///
    /// # Errors
    ///
    /// Nobody is called so, or several are.
    pub(crate) fn whisper_as_operator(
        &mut self,
        to: &str,
        text: &[u8],
        context: &mut Context<'_>,
    ) -> Result<String, Called> {
        let reader = match self.whom(to.as_bytes()) {
            Called::One(reader) => reader,
            nobody_or_several => return Err(nobody_or_several),
        };
        let to = self.member(reader).to_string();
        let speech = speech(text);
        let place = self.log.whisper(&speech, &to, reader.serial, context.time);
        let event = Event::Private {
            speech,
            to: to.as_str().into(),
        };
        self.tell_at(reader, Some(place), &event, context.batch);
        Ok(to)
    }

    /// The last `count` things that were said to everybody, oldest first.
    pub(crate) fn said_lately(&self, count: usize) -> impl Iterator<Item = (Place, Event<'_>)> {
        self.log.last(count, u64::MAX, 0, 0)
    }

    /// The member with the name `label`, or all members at the address `label`.
    pub(crate) fn called(&self, label: &str) -> Vec<(ClientId, &Member)> {
        if let Ok(address) = label.parse::<IpAddr>() {
            let address = address.to_canonical();
            let is_there = |(_, member): &(ClientId, &Member)| member.address() == address;
            return self.members().filter(is_there).collect();
        }
        let found = Name::parse(label.as_bytes()).ok();
        // A member without a connection can be sent away, too.
        let found = found.and_then(|name| self.names.find(&name).or(self.names.owner(&name)));
        found.map(|id| (id, self.member(id))).into_iter().collect()
    }

    /// The member `id` is to leave the room, and does not come back: the operator means it.
    pub(crate) fn send_away(
        &mut self,
        id: ClientId,
        reason: CloseReason,
        context: &mut Context<'_>,
    ) {
        match self.members.connection(id) {
            Some(connection) => self.end(id, connection, reason, context.batch),
            None => self.remove(id, reason.is_operators(), context),
        }
    }

    /// From now on nothing that the member `id` says is passed on. Returns whether this was
    /// otherwise before.
    pub(crate) fn mute(&mut self, id: ClientId, context: &mut Context<'_>) -> bool {
        let is_new = self.mutes.mute(id.serial);
        if is_new {
            let text = "the operator has muted you: nobody sees what you say".into();
            self.tell(id, &Event::Notice { text }, context.batch);
        }
        is_new
    }

    /// What the member `id` says is passed on again. Returns whether this was otherwise before.
    pub(crate) fn unmute(&mut self, id: ClientId, context: &mut Context<'_>) -> bool {
        let address = self.member(id).address();
        let was_muted = self.mutes.unmute(id.serial, address);
        if was_muted {
            let text = "you are no longer muted".into();
            self.tell(id, &Event::Notice { text }, context.batch);
        }
        was_muted
    }

    /// Whoever joins from `address`, where a muted member has left, may speak. Returns whether
    /// this was otherwise before.
    pub(crate) fn unmute_place(&mut self, address: IpAddr) -> bool {
        self.mutes.unmute_place(address.to_canonical())
    }

    /// The muted members.
    pub(crate) fn muted(&self) -> impl Iterator<Item = &Member> {
        let members = self.members();
        let muted = members.filter(|(id, _)| self.mutes.is_muted(id.serial));
        // In a room of thousands nobody is looked for beyond the last one.
        let count = self.mutes.members().count();
        muted.map(|(_, member)| member).take(count)
    }

    /// Whether a muted member at `address` has lost its connection: whoever comes from there may be
    /// the same person, who has no need to resume.
    pub(super) fn is_muted_one_lost_at(&self, address: IpAddr) -> bool {
        let away = self.mutes.members().filter_map(|it| self.members.away(it));
        let mut lost = away.filter(|&id| self.members.connection(id).is_none());
        lost.any(|id| self.member(id).address() == address)
    }

    /// The addresses from which newcomers are muted.
    pub(crate) fn muted_places(&self) -> impl Iterator<Item = IpAddr> {
        self.mutes.places()
    }
}

/// As the operator says it: by a name that nobody else can have.
fn speech(text: &[u8]) -> Speech<'static> {
    Speech {
        from: None,
        n: None,
        name: OPERATOR.into(),
        text: text::made_safe(text).into(),
    }
}
