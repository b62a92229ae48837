//! Our place in a room's log: who we are to the room, and what we have heard of it, so that each
//! event is told once and in order, however often the connection is lost.

use super::telling::{Hear, pass_object};
use crate::protocol::event::{Event, Hello, Place};
use crate::protocol::time::Time;

/// How many events are asked for when a session could not be resumed.
const MAX_CAUGHT_UP: u64 = 500;

/// The most events that wait while the room tells what was said before.
const MAX_LATER: usize = 1000;

#[derive(Debug, Default)]
pub(super) struct History {
    /// Who we are to the room, once we have been told.
    identity: Option<Identity>,
    /// What we had heard before the session that could not be resumed, while the room is telling
    /// what came after.
    known: Option<Known>,
    /// What the room tells up to this number was missed while the connection was lost.
    missed_to: u64,
    /// While the room tells what was said before, what is said now waits: there is one order.
    later: Option<Vec<Later>>,
}

/// Who we are to a room, and what we have heard there.
#[derive(Debug)]
struct Identity {
    you: u64,
    token: String,
    heard: Known,
}

/// The last event heard.
#[derive(Clone, Debug)]
struct Known {
    epoch: String,
    seq: u64,
    time: Time,
}

/// An object, what it says, and whether that is our own.
type Later = (String, Option<(Option<Place>, Event<'static>)>, bool);

impl History {
    /// The id that the room knows us by.
    pub(super) fn you(&self) -> Option<u64> {
        self.identity.as_ref().map(|identity| identity.you)
    }

    /// How to ask the room to go on where we were; `None` if it does not know us.
    pub(super) fn resume_request(&self) -> Option<String> {
        let Identity { token, heard, .. } = self.identity.as_ref()?;
        Some(format!("/resume {token} {}\n", heard.seq))
    }

    /// Whether the room may know us again.
    pub(super) fn can_resume(&self) -> bool {
        self.identity.is_some()
    }

    /// The server is not the room that knew us.
    pub(super) fn forget(&mut self) {
        self.identity = None;
    }

    /// The room has said `hello`. Returns how many events to ask for, up to that: what was missed
    /// without the session or, at first, `past_lines`.
    pub(super) fn begin(
        &mut self,
        hello: &Hello<'_>,
        place: Option<Place>,
        past_lines: u64,
    ) -> u64 {
        let before = self.identity.take().map(|identity| identity.heard);
        let mut heard = Known {
            epoch: hello.epoch.clone().into_owned(),
            seq: hello.seq,
            time: place.map(|place| place.time).unwrap_or_default(),
        };
        if let Some(before) = &before {
            heard.time = heard.time.max(before.time);
        }
        let mut missed = 0;
        self.missed_to = if hello.resumed { hello.seq } else { 0 };
        if hello.resumed {
            heard.seq = before.map_or(hello.seq, |before| before.seq);
        } else {
            missed = match &before {
                // Numbered anew.
                Some(known) if known.epoch != heard.epoch => MAX_CAUGHT_UP,
                Some(known) => hello.seq.saturating_sub(known.seq).min(MAX_CAUGHT_UP),
                None => past_lines,
            };
            if missed > 0 {
                self.known = before;
                self.later = Some(Vec::new());
            }
        }
        self.identity = Some(Identity {
            you: hello.you,
            token: hello.token.clone().into_owned(),
            heard,
        });
        missed
    }

    /// Whether an event at `place` was not heard before; notes that it is now.
    pub(super) fn is_news(&mut self, place: &Place) -> bool {
        let Some(Identity { heard, .. }) = &mut self.identity else {
            return true;
        };
        if place.is_past {
            return match &self.known {
                Some(known) if known.epoch == heard.epoch => place.seq > known.seq,
                Some(known) => place.time > known.time,
                None => true,
            };
        }
        let is_news = place.seq > heard.seq;
        if is_news {
            heard.seq = place.seq;
            heard.time = place.time;
        }
        is_news
    }

    /// Tells what the object `json` says, or puts it off until the room has told what was said
    /// before.
    pub(super) fn tell(
        &mut self,
        json: &str,
        told: Option<&(Option<Place>, Event<'static>)>,
        is_own: bool,
        hear: Hear<'_>,
    ) {
        let place = told.and_then(|(place, _)| place.as_ref());
        let is_past = place.is_some_and(|place| place.is_past);
        let is_late = place.is_some_and(|place| place.seq <= self.missed_to);
        match &mut self.later {
            Some(later) if !is_past => {
                later.push((json.to_owned(), told.cloned(), is_own));
                if later.len() > MAX_LATER {
                    self.pass_later(hear);
                }
            }
            _ => pass_object(json, told, is_own, is_late, hear),
        }
    }

    /// The room has told what was said before, or never will.
    pub(super) fn caught_up(&mut self, hear: Hear<'_>) {
        self.known = None;
        self.pass_later(hear);
    }

    fn pass_later(&mut self, hear: Hear<'_>) {
        for (json, told, is_own) in self.later.take().unwrap_or_default() {
            pass_object(&json, told.as_ref(), is_own, false, hear);
        }
    }
}
