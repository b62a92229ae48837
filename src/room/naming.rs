//! How a member gets a name: at once, or when a connection of its own that holds it has ended.

use std::borrow::Cow;
use std::rc::Rc;

use super::member::Label;
use super::names::{CLAIM_TIMEOUT, Claim, Conflict};
use super::{Room, Speaker};
use crate::protocol::batch::{ClientId, Context};
use crate::protocol::event::{ErrorCode, Event, Reply};
use crate::protocol::name::Name;

impl Room {
    /// `by` asks to be called `text`.
    pub(super) fn rename(&mut self, by: Speaker, text: &[u8], context: &mut Context<'_>) {
        let id = by.id;
        let name = match Name::parse(text) {
            Ok(name) => name,
            Err(bad) => {
                if let Some(near) = Name::near(text) {
                    let words = format_args!("{bad}: /nick {near}");
                    return self.refuse(by, ErrorCode::BadName, words, context.batch);
                }
                let text = self.replies.bad_name(bad);
                return self.refuse_with(by, &text, ErrorCode::BadName, || bad, context);
            }
        };
        self.claims.forget_others(id, &name);
        if self.member(id).name().is_some_and(|own| **own == name) {
            return self.reply(by, Reply::nick(name.as_str()), context.batch);
        }
        let given = self.give_name(
            id,
            name.clone(),
            |name| {
                let reply = Reply::nick(name);
                Event::Reply(Reply { n: by.n, ..reply })
            },
            context,
        );
        let Err(conflict) = given else {
            return;
        };
        match conflict {
            Conflict::Taken(holder) if self.is_at_the_same_address(id, holder) => {
                self.claim(id, holder, &name, context);
                let words = format_args!(
                    "{name} is in use from your own address. If that is an old connection \
                     of yours, you get the name when it times out"
                );
                self.refuse(by, ErrorCode::NameClaimed, words, context.batch);
            }
            conflict => {
                let (code, words) = words_of(&conflict, &name);
                self.refuse(by, code, words, context.batch);
            }
        }
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
        let member = self.members.get_mut(id).expect("a member");
        let old = member.label();
        let name = self
            .names
            .take(id, member.address(), member.name(), name, context.now)?;
        member.take_name(Rc::clone(&name));
        self.tell(id, &confirm(name.as_str().into()), context.batch);
        if let Label::Address(address) = old {
            self.unnamed.remove(id, address);
        }
        self.roster = None;
        if let Some(presence) = &mut self.presence {
            presence.renamed(id, old, context.now);
        }
        self.claims.forget(id);
        // A holder that takes another name is not dead. One that only respells its name keeps it.
        if let Some(claim) = self.claims.take(id)
            && self.names.find(&claim.name) == Some(id)
        {
            self.claims.add(claim);
        }
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
            let text = "someone at your address asked for your name; you keep it";
            let event = Event::Notice { text: text.into() };
            self.tell(holder, &event, context.batch);
        }
    }

    /// The connection of `holder` was dead: gives its name to the claimant.
    pub(super) fn satisfy_claims(&mut self, holder: ClientId, context: &mut Context<'_>) {
        let Some(claim) = self.claims.take(holder) else {
            return;
        };
        if claim.until <= context.now {
            return;
        }
        // Somebody may have taken a name that looks like it meanwhile.
        let _ = self.give_name(
            claim.claimant,
            claim.name,
            |name| Event::You { name },
            context,
        );
    }
}

/// Why somebody cannot have `name`.
pub(super) fn words_of(conflict: &Conflict, name: &Name) -> (ErrorCode, String) {
    match conflict {
        Conflict::Taken(_) => (
            ErrorCode::NameTaken,
            format!("{name} is in use; choose another"),
        ),
        Conflict::LooksLike(other) => (
            ErrorCode::NameAlike,
            format!("{name} looks like {other}, who is here; choose another"),
        ),
        Conflict::Held(left) => {
            let seconds = left.as_millis().div_ceil(1000);
            let words = format!(
                "{name} is kept for its last owner for another {seconds} s; choose another"
            );
            (ErrorCode::NameHeld, words)
        }
    }
}
