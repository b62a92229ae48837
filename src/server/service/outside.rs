//! Those who are not in the room and are heard all the same: refused clients that may have a place,
//! and whoever has not given the password.

use std::net::IpAddr;
use std::time::Instant;

use log::{info, warn};

use super::super::admission::Refusal;
use super::super::door::{Door, NotLetIn, Outcome};
use super::{Outside, Server};
use crate::protocol::batch::{ClientId, Context, Encoding, OutsiderRequest};
use crate::protocol::command::{self, Command};
use crate::protocol::line::Decoded;
use crate::rate::AndMore;

impl Server {
    /// Whether somebody at `address`, who is refused because the room is full, may have a place
    /// that it has only lost, and can be heard.
    pub(super) fn may_have_a_place(&self, client: ClientId, address: IpAddr, now: Instant) -> bool {
        let is_secured = self.room.is_secured(client);
        self.outside.len() < self.max_outside
            && self.admission.admits_by(address, is_secured).is_ok()
            && self.admission.readmits(address, self.max_outside)
            && self.room.has_sessions()
            && matches!(
                self.admission.admit(address, now),
                Err(Refusal::AddressFull { .. } | Refusal::RoomFull { .. })
            )
    }

    /// Logs a wrong password, if there was one.
    pub(super) fn log_failure(&mut self, now: Instant) {
        let failure = self.door.as_mut().and_then(Door::take_failure);
        if let Some((address, why)) = failure
            && let Some(suppressed) = self.guess_log.allow(now)
        {
            let more = AndMore(suppressed);
            match why {
                NotLetIn::Wrong => info!("wrong password from {address}{more}"),
                NotLetIn::TooMany { .. } => warn!(
                    "too many wrong passwords from {address}: for some seconds none of its is \
                     looked at{more}"
                ),
            }
        }
    }

    /// Hears a line of a client that was refused: it says `/json`, and then the token of a
    /// session, or is not heard any more.
    pub(super) fn hear_out(
        &mut self,
        client: ClientId,
        outside: Outside,
        line: Decoded<'_>,
        context: &mut Context<'_>,
    ) -> Encoding {
        let Outside {
            address,
            has_said_json,
        } = outside;
        let command = match line {
            Decoded::Line(line @ [b'/', ..]) => command::parse(line).ok(),
            _ => None,
        };
        match command {
            Some(Command::Json) if !has_said_json => {
                let outside = Outside {
                    address,
                    has_said_json: true,
                };
                self.outside.insert(client, outside);
                Encoding::Json
            }
            Some(Command::Resume { token, seq }) if has_said_json => {
                if self.admission.readmits(address, self.max_outside)
                    && (self.room).resume_outside(client, address, token, seq, context)
                {
                    self.entered(address, context.now);
                    self.show_arrival(address);
                }
                Encoding::Json
            }
            _ if matches!(line, Decoded::Line(b"")) => {
                // As inside, it says nothing.
                self.outside.insert(client, outside);
                if has_said_json {
                    Encoding::Json
                } else {
                    Encoding::Text
                }
            }
            _ => Encoding::Text,
        }
    }

    /// Hears a line of a client that has not given the password. Returns how it reads from now on.
    pub(super) fn hear_at_door(
        &mut self,
        client: ClientId,
        line: Decoded<'_>,
        context: &mut Context<'_>,
    ) -> Encoding {
        let Some(door) = &mut self.door else {
            return Encoding::Text;
        };
        let (reads, outcome) = door.hear(client, line, context.now);
        self.log_failure(context.now);
        let request = match outcome {
            Outcome::Waits => return reads,
            Outcome::Told(words) => OutsiderRequest::Tell(client, words),
            Outcome::SentAway(words) => {
                self.attendance.refused.password += 1;
                OutsiderRequest::TurnAway(client, words)
            }
            Outcome::Knows(address) => OutsiderRequest::LetIn(client, address),
        };
        context.batch.request_for_outsider(request);
        reads
    }
}
