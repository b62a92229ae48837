//! One person's conversation with a room, over as many connections as it takes: what is
//! received, what waits to be sent, and under which name. Knows no socket and no clock.

use std::time::{Duration, Instant};

use super::entered::Entered;
use super::incoming::{Farewell, Greeting, Incoming};
use super::message::{Kind, Message};
use super::outbox::Outbox;
use crate::protocol::name::Name;
use crate::room::replies::name_given;

/// How long queued lines wait for the greeting, and then for the answer to the request for a
/// name.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// The state of the request for a name on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Nothing was asked for, or not answered yet.
    Open,
    Given,
    /// The room has said why.
    Refused,
    /// This server knows no names.
    Impossible,
    /// There was no answer in time.
    Unanswered,
}

/// What was heard and is to be said, whatever becomes of the connection.
#[derive(Debug)]
pub struct Conversation {
    incoming: Incoming,
    outbox: Outbox,
    /// Unwritten commands that go before the outbox.
    request: Vec<u8>,
    gate: Gate,
    has_finished: bool,
    naming: Naming,
    /// The name to ask for: the one configured, or the last one given.
    wanted: Option<String>,
    /// The name that others see us by, as far as we know.
    name: Option<String>,
    /// The queued lines were meant to be said under a name.
    is_meant_by_name: bool,
    /// Nothing is said before the greeting (or [`NAME_TIMEOUT`]), nor without the wanted name,
    /// and the room has to confirm that it has taken everything.
    is_strict: bool,
}

/// Whether the outbox may be written.
#[derive(Debug)]
enum Gate {
    Open,
    /// Waits for the greeting, until then.
    Greeting(Instant),
    /// Waits for the name, until then; `None` for ever, where nothing is said without it.
    Answer(Option<Instant>),
    /// The name we had before the connection was lost is somebody else's now, and lines wait
    /// that were meant to be said under it: the user has to decide.
    Held,
    /// There will be no name, and nothing is said without one.
    Shut,
}

impl Conversation {
    /// A conversation without a connection. With `is_strict` it says nothing before the room
    /// has greeted us, or has had three seconds to, and nothing at all without the `wanted`
    /// name; and it ends with `/quit`, whose answer confirms that the room took everything.
    pub fn new(wanted: Option<String>, is_strict: bool) -> Self {
        Self {
            incoming: Incoming::new(),
            outbox: Outbox::default(),
            request: Vec::new(),
            gate: Gate::Open,
            has_finished: false,
            naming: Naming::Open,
            wanted,
            name: None,
            is_meant_by_name: false,
            is_strict,
        }
    }

    /// A new connection has been made.
    pub fn connected(&mut self, now: Instant) {
        self.incoming = Incoming::new();
        self.outbox.rewind();
        self.request.clear();
        self.naming = Naming::Open;
        // Queued lines are for a room, not for a server that refuses us or a proxy without a
        // room behind it.
        let is_waiting = !self.outbox.is_empty();
        self.gate = if self.wanted.is_some() || self.is_strict || is_waiting {
            Gate::Greeting(now + NAME_TIMEOUT)
        } else {
            Gate::Open
        };
    }

    /// Nothing more will be said. To be called once all is [written](Self::is_all_written).
    /// Returns whether there is something to write now, before the half-close.
    pub(crate) fn finish(&mut self) -> bool {
        let asks = self.is_strict && !self.has_finished && self.greeting() == Greeting::Ours;
        self.has_finished = true;
        if asks {
            self.outbox.push(b"/quit\n");
        } else {
            // No name is needed any more.
            self.gate = Gate::Open;
        }
        asks
    }

    /// `bytes` have arrived; `hear` gets the messages in them.
    pub fn received(&mut self, bytes: &[u8], now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        self.listen(now, |incoming, hear| incoming.push(bytes, hear), hear);
    }

    /// Nothing is left to read for now.
    pub fn drained(&mut self, now: Instant) {
        self.incoming.drained(now);
    }

    /// When [`Conversation::expire`] is next due, if nothing more arrives.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let gate = match self.gate {
            Gate::Greeting(until) => Some(until),
            Gate::Answer(until) => until,
            Gate::Open | Gate::Held | Gate::Shut => None,
        };
        [gate, self.incoming.deadline()].into_iter().flatten().min()
    }

    /// Acts on deadlines that have passed.
    pub fn expire(&mut self, now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        self.listen(now, |incoming, hear| incoming.expire(now, hear), hear);
        match self.gate {
            Gate::Greeting(until) | Gate::Answer(Some(until)) if until <= now => {
                self.go_on_without_name(Naming::Unanswered);
            }
            _ => {}
        }
    }

    /// The connection has ended; `hear` gets what was held back.
    pub(crate) fn ended(&mut self, now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        self.listen(now, |incoming, hear| incoming.end(hear), hear);
        self.is_meant_by_name |= self.name.is_some();
        self.request.clear();
        self.gate = Gate::Open;
    }

    /// Queues `bytes`. While lines are held for want of the name they were meant for, a command
    /// that reaches nobody else overtakes them; anything else releases them, and goes after.
    pub fn say(&mut self, bytes: &[u8]) {
        if self.is_holding() {
            let line = std::str::from_utf8(bytes.trim_ascii_end());
            if line.is_ok_and(|line| !Entered::of(line, true).reaches_others()) {
                return self.request.extend_from_slice(bytes);
            }
            self.release();
        }
        self.outbox.push(bytes);
    }

    /// Whether lines are held that were meant to be said under a name that we have lost.
    pub(crate) fn is_holding(&self) -> bool {
        matches!(self.gate, Gate::Held)
    }

    /// Says the held lines after all.
    pub(crate) fn release(&mut self) {
        if self.is_holding() {
            self.gate = Gate::Open;
            self.is_meant_by_name = false;
        }
    }

    /// The bytes that may be written now.
    pub fn unwritten(&self) -> &[u8] {
        match self.gate {
            _ if !self.request.is_empty() => &self.request,
            Gate::Open => self.outbox.unwritten(),
            Gate::Greeting(_) | Gate::Answer(_) | Gate::Held | Gate::Shut => &[],
        }
    }

    /// The first `count` of those bytes have been written.
    pub fn wrote(&mut self, count: usize) {
        if self.request.is_empty() {
            self.outbox.wrote(count);
        } else {
            self.request.drain(..count);
        }
    }

    /// Whether everything is written, and a strict conversation has been greeted.
    pub(crate) fn is_all_written(&self) -> bool {
        let waits = self.is_strict && matches!(self.gate, Gate::Greeting(_));
        !waits && self.request.is_empty() && self.outbox.is_empty()
    }

    /// How many bytes wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.unwritten().len()
    }

    /// How many lines wait to be written.
    pub fn waiting_lines(&self) -> usize {
        self.outbox.lines()
    }

    /// The name that others see us by, or saw us by on the last connection.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn naming(&self) -> Naming {
        self.naming
    }

    pub(crate) fn greeting(&self) -> Greeting {
        self.incoming.greeting()
    }

    pub(crate) fn farewell(&self) -> Farewell {
        self.incoming.farewell()
    }

    /// There is no name, because of `why`, or none was wanted.
    fn go_on_without_name(&mut self, why: Naming) {
        if self.wanted.is_some() {
            self.naming = why;
            self.name = None;
        }
        self.gate = match self.wanted {
            Some(_) if self.is_strict => Gate::Shut,
            Some(_) if self.is_meant_by_name && !self.outbox.is_empty() => Gate::Held,
            _ => Gate::Open,
        };
    }

    /// Notes what `message` says about our name.
    fn note(&mut self, message: &Message<'_>) {
        let is_awaited = matches!(self.gate, Gate::Answer(_));
        match message.kind {
            Kind::Notice => {
                let given = name_given(message.text);
                // A server of another kind may send anything.
                if let Some(name) = given.filter(|name| Name::parse(name.as_bytes()).is_ok()) {
                    self.wanted = Some(name.to_owned());
                    self.name = Some(name.to_owned());
                    self.naming = Naming::Given;
                    self.gate = Gate::Open;
                    self.is_meant_by_name = false;
                }
            }
            Kind::Refusal if is_awaited => self.go_on_without_name(Naming::Refused),
            _ => {}
        }
    }

    /// Lets `incoming` pass messages on to `hear`, and notes them.
    fn listen(
        &mut self,
        now: Instant,
        pass: impl FnOnce(&mut Incoming, &mut dyn FnMut(&Message<'_>)),
        hear: &mut dyn FnMut(&Message<'_>),
    ) {
        let mut incoming = std::mem::take(&mut self.incoming);
        pass(&mut incoming, &mut |message: &Message<'_>| {
            self.note(message);
            hear(message);
        });
        self.incoming = incoming;
        if matches!(self.gate, Gate::Greeting(_)) {
            match self.incoming.greeting() {
                Greeting::Awaited => {}
                Greeting::Ours => match &self.wanted {
                    Some(name) => {
                        self.request = format!("/nick {name}\n").into_bytes();
                        let until = now + NAME_TIMEOUT;
                        self.gate = Gate::Answer((!self.is_strict).then_some(until));
                    }
                    None => self.gate = Gate::Open,
                },
                Greeting::Original | Greeting::Unknown => {
                    self.go_on_without_name(Naming::Impossible);
                }
                Greeting::Refused => self.gate = Gate::Shut,
            }
        }
    }
}

#[cfg(test)]
mod tests;
