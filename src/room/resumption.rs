//! How a program begins a session, and goes on with it on another connection.

use std::borrow::Cow;
use std::net::IpAddr;

use super::Room;
use super::sessions::{HOLD, NotResumed, Origin, Resumed, Token};
use crate::protocol::batch::{ClientId, Context, Encoding, StandingRequest};
use crate::protocol::close::CloseReason;
use crate::protocol::event::{Event, Hello, WIRE_VERSION};

/// What has become of a session that goes on.
#[derive(Clone, Copy, Debug)]
struct Continuation {
    /// How many lines of the member the room has acted on.
    heard: u64,
    /// How many events that it missed are not told again.
    lost: u64,
}

impl Room {
    /// The member `id`, who has said nothing yet, reads JSON from now on.
    pub(super) fn begin_session(&mut self, id: ClientId, context: &mut Context<'_>) {
        let member = self.members.get_mut(id).expect("a member");
        member.read_json(self.log.last_seq());
        let address = member.address();
        let origin = self.origin(id, address);
        self.program_count += 1;
        let token = self.sessions.begin(id, origin, (self.random)());
        context.batch.switch(id, Encoding::Json);
        self.greet(id, token, None, context);
    }

    /// The member `fresh` has just come, and would rather be the one with the session of
    /// `token`, which has heard what was said up to event `seq`.
    pub(super) fn resume(
        &mut self,
        fresh: ClientId,
        token: Option<Token>,
        seq: u64,
        context: &mut Context<'_>,
    ) {
        if self.is_closing {
            // It is told so, and comes back.
            return;
        }
        let origin = self.origin(fresh, self.member(fresh).address());
        let resumed = token.ok_or(NotResumed::Unknown);
        let resumed =
            resumed.and_then(|token| self.sessions.resume(token, fresh, origin, context.now));
        let resumed = match resumed {
            Ok(resumed) => resumed,
            Err(NotResumed::Unknown) => {
                let token = self.sessions.token(fresh.serial);
                let token = token.expect("it has a session");
                return self.greet(fresh, token, None, context);
            }
            Err(NotResumed::TooSoon) => {
                return self.end(fresh, fresh, CloseReason::TooSoon, context.batch);
            }
        };
        // A mute is that of the member which it is now.
        self.mutes.forget(fresh.serial);
        self.remove(fresh, false, context);
        self.go_on(fresh, resumed, seq, context);
    }

    /// Whether somebody who is refused may have a place all the same.
    pub(crate) fn has_sessions(&self) -> bool {
        !self.sessions.is_empty() && !self.is_closing
    }

    /// A client at `address` that was refused, on `connection`, asks to go on with a session.
    /// Returns whether it is a member now.
    pub(crate) fn resume_outside(
        &mut self,
        connection: ClientId,
        address: IpAddr,
        token: &str,
        seq: u64,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(token) = Token::parse(token).filter(|_| !self.is_closing) else {
            return false;
        };
        let origin = self.origin(connection, address);
        let resumed = self.sessions.resume(token, connection, origin, context.now);
        let Ok(resumed) = resumed else {
            return false;
        };
        self.program_count += 1;
        context.batch.begin_for(connection);
        context.batch.switch(connection, Encoding::Json);
        self.go_on(connection, resumed, seq, context);
        true
    }

    /// Where `connection`, from `address`, comes from.
    fn origin(&self, connection: ClientId, address: IpAddr) -> Origin {
        if self.is_secured(connection) {
            Origin::Tls(address)
        } else {
            Origin::Clear(address)
        }
    }

    /// On the connection `fresh` a session goes on, with what was said after event `seq`.
    fn go_on(&mut self, fresh: ClientId, resumed: Resumed, seq: u64, context: &mut Context<'_>) {
        let id = match resumed.replaced {
            Some(connection) => self.members.on(connection),
            None => self.members.away(resumed.id),
        };
        let (Some(id), Some(token)) = (id, self.sessions.token(resumed.id)) else {
            debug_assert!(false, "a session has a member");
            return;
        };
        if let Some(replaced) = self.members.resume(id, fresh) {
            context
                .batch
                .request_standing(StandingRequest::Keep(replaced, id));
            context.batch.close(replaced, CloseReason::Replaced);
        }
        context
            .batch
            .request_standing(StandingRequest::Restore(id, fresh));
        if let Some(member) = self.members.get_mut(id) {
            // What it says next on this connection is for the room.
            member.may_resume();
        }
        self.become_present(id, context.now);
        let wire = self.wire();
        // Whatever it asks for: what was said before it came is not for it.
        let seq = seq.max(self.member(id).began_after());
        let (lost, missed) = self
            .replay
            .since(&self.log, seq, id.serial, |place, event, out| {
                wire.push_object(Some(place), event, out);
            });
        let heard = resumed.heard;
        self.greet(id, token, Some(Continuation { heard, lost }), context);
        for frame in missed {
            context.batch.tell(fresh, frame);
        }
    }

    /// Says hello to the member `id`.
    fn greet(
        &mut self,
        id: ClientId,
        token: Token,
        continuation: Option<Continuation>,
        context: &mut Context<'_>,
    ) {
        let people = self.people_lately(context.now);
        let hello = Event::Hello(Hello {
            wire: WIRE_VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
            epoch: format!("{:016x}", self.epoch).into(),
            seq: self.log.last_seq(),
            you: id.serial,
            token: token.to_string().into(),
            resumed: continuation.is_some(),
            heard: continuation.map_or(0, |continuation| continuation.heard),
            lost: continuation.map_or(0, |continuation| continuation.lost),
            hold: HOLD.as_secs(),
            name: self.member(id).to_string().into(),
            here: self.here() as u64,
            people: Cow::Borrowed(&people),
            max_line: self.max_line_bytes.into(),
        });
        self.tell(id, &hello, context.batch);
    }
}
