//! A line by somebody who is not in the room: neither announced nor listed, and gone at once.

use std::net::IpAddr;

use super::naming::words_of;
use super::replies::{MUTED, too_long};
use super::{Room, Scratch};
use crate::protocol::batch::Context;
use crate::protocol::event::{ErrorCode, Event, Speech};
use crate::protocol::name::Name;
use crate::protocol::text;

impl Room {
    /// Says `text` to everybody as somebody called `name`, at `address`. The name must be
    /// free, and is held for that address. Returns the number of the event.
    ///
    /// # Errors
    ///
    /// Why not, for programs and in safe words.
    pub(crate) fn say_once(
        &mut self,
        name: &str,
        address: IpAddr,
        text: &str,
        context: &mut Context<'_>,
    ) -> Result<u64, (ErrorCode, String)> {
        let name = Name::parse(name.as_bytes());
        let name = name.map_err(|bad| (ErrorCode::BadName, bad.to_string()))?;
        if text.trim().is_empty() {
            return Err((ErrorCode::Usage, "the text is empty".to_owned()));
        }
        if text.len() > self.max_line_bytes as usize {
            return Err((ErrorCode::TooLong, too_long(self.max_line_bytes)));
        }
        // Otherwise it would be the way around a mute.
        if self.is_muted_at(address) {
            return Err((ErrorCode::Muted, MUTED.to_owned()));
        }
        let held = self.names.hold(name.clone(), address, context.now);
        held.map_err(|conflict| words_of(&conflict, &name))?;
        let wire = self.wire();
        let Scratch { text: buffer, .. } = &mut self.scratch;
        buffer.clear();
        let event = Event::Message(Speech {
            from: None,
            n: None,
            name: name.as_str().into(),
            text: text::safe(text.as_bytes(), buffer).into(),
        });
        let place = self.log.say(&event, context.time, context.now);
        wire.say(None, Some(place), &event, context.batch);
        Ok(place.seq)
    }

    /// Whether a muted member is at `address`, or has left from there.
    fn is_muted_at(&self, address: IpAddr) -> bool {
        self.muted_places().any(|place| place == address)
            || self.muted().any(|member| member.address() == address)
    }
}
