//! One person's conversation with a room, over as many connections as it takes: what
//! comes, what is to be said, and the name it is said by. Knows no socket.

use std::time::{Duration, Instant};

use super::incoming::{Farewell, Greeting, Incoming};
use super::message::{Kind, Message};
use super::outbox::Outbox;
use crate::name::Name;
use crate::room::command::{self, Command};
use crate::room::replies::name_given;

/// How long what is to be said waits for the greeting, and then for the answer to the
/// wish for a name.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);

/// What has become of the wish for a name on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// There is none, or not yet an answer.
    Open,
    /// It was given.
    Given,
    /// It was not given; the room has said why.
    Refused,
    /// This server gives no names.
    Impossible,
    /// It was not answered in time.
    Unanswered,
}

/// A conversation.
#[derive(Debug)]
pub struct Conversation {
    incoming: Incoming,
    outbox: Outbox,
    /// What this connection begins with, as far as it is not written.
    request: Vec<u8>,
    gate: Gate,
    has_finished: bool,
    naming: Naming,
    /// The name to ask for: that which is wanted, or was given last.
    wanted: Option<String>,
    /// The name that others see us by, as far as we know.
    name: Option<String>,
    /// What waits was meant to be said by a name.
    is_meant_by_name: bool,
    /// Nothing is said before the room has greeted us, or has had [`NAME_TIMEOUT`] to, and
    /// nothing at all without the name that is wanted; and the room has to say that it has
    /// taken everything.
    is_strict: bool,
}

/// Whether what is to be said may be.
#[derive(Debug)]
enum Gate {
    Open,
    /// A name is to be asked for, or what waits is to be said, once the server has greeted us.
    Greeting(Instant),
    /// The answer is awaited, and for ever where nothing is said without the name.
    Answer(Option<Instant>),
    /// The name we had before the connection was lost is somebody else's, and something waits
    /// that was meant to be said by it: the user has to decide.
    Held,
    /// There will be no name, and without one nothing is said.
    Shut,
}

impl Conversation {
    /// One that is not connected yet. One that `is_strict` says nothing before the room has
    /// greeted us, or has had three seconds to, and nothing at all without the name that is
    /// `wanted`; and it ends by asking to be let go: the answer tells that all was taken.
    pub fn new(wanted: Option<String>, is_strict: bool) -> Self {
        Self {
            incoming: Incoming::new(),
            outbox: Outbox::new(),
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

    /// There is a new connection.
    pub fn connected(&mut self, now: Instant) {
        self.incoming = Incoming::new();
        self.outbox.rewind();
        self.request.clear();
        self.naming = Naming::Open;
        // Who refuses us, or takes connections for a room that is not there, must not be told
        // what waits to be said to a room.
        let is_waiting = !self.outbox.is_empty();
        self.gate = match self.wanted.is_some() || self.is_strict || is_waiting {
            true => Gate::Greeting(now + NAME_TIMEOUT),
            false => Gate::Open,
        };
    }

    /// Nothing more is to be said. Called once all is [written](Self::is_all_written); whether
    /// there is something to be written now, before our side is ended.
    pub fn finish(&mut self) -> bool {
        let asks = self.is_strict && !self.has_finished && self.greeting() == Greeting::Ours;
        self.has_finished = true;
        if asks {
            self.outbox.push(b"/quit\n");
        } else {
            // Nobody will say anything by a name.
            self.gate = Gate::Open;
        }
        asks
    }

    /// `bytes` have arrived; the messages in it are passed on to `hear`.
    pub fn received(&mut self, bytes: &[u8], now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        self.listen(now, |incoming, hear| incoming.push(bytes, hear), hear);
    }

    /// Nothing is left to be read for now.
    pub fn drained(&mut self, now: Instant) {
        self.incoming.drained(now);
    }

    /// When [`Conversation::expire`] has something to do, if nothing more arrives.
    pub fn deadline(&self) -> Option<Instant> {
        let gate = match self.gate {
            Gate::Greeting(until) => Some(until),
            Gate::Answer(until) => until,
            Gate::Open | Gate::Held | Gate::Shut => None,
        };
        [gate, self.incoming.deadline()].into_iter().flatten().min()
    }

    /// Waits no longer for what has been waited for long enough.
    pub fn expire(&mut self, now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        self.listen(now, |incoming, hear| incoming.expire(now, hear), hear);
        match self.gate {
            Gate::Greeting(until) | Gate::Answer(Some(until)) if until <= now => {
                self.go_on_without_name(Naming::Unanswered);
            }
            _ => {}
        }
    }

    /// The connection has ended: what was held back is passed on.
    pub fn ended(&mut self, now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        self.listen(now, |incoming, hear| incoming.end(hear), hear);
        self.is_meant_by_name |= self.name.is_some();
        self.request.clear();
        self.gate = Gate::Open;
    }

    /// `bytes` are to be said. While something is [held](Self::is_holding), a command that
    /// tells nobody anything goes before; anything else is said after what is held.
    pub fn say(&mut self, bytes: &[u8]) {
        if self.is_holding() {
            if !tells_somebody(bytes.trim_ascii_end()) {
                return self.request.extend_from_slice(bytes);
            }
            self.release();
        }
        self.outbox.push(bytes);
    }

    /// Whether something waits that was meant to be said by a name that we have lost.
    pub fn is_holding(&self) -> bool {
        matches!(self.gate, Gate::Held)
    }

    /// That is to be said after all.
    pub fn release(&mut self) {
        if self.is_holding() {
            self.gate = Gate::Open;
            self.is_meant_by_name = false;
        }
    }

    /// What may be written now.
    pub fn unwritten(&self) -> &[u8] {
        match self.gate {
            _ if !self.request.is_empty() => &self.request,
            Gate::Open => self.outbox.unwritten(),
            Gate::Greeting(_) | Gate::Answer(_) | Gate::Held | Gate::Shut => &[],
        }
    }

    /// The first `count` bytes of that were written.
    pub fn wrote(&mut self, count: usize) {
        match self.request.is_empty() {
            false => drop(self.request.drain(..count)),
            true => self.outbox.wrote(count),
        }
    }

    /// Whether all that was to be said is written. Who is strict has to be greeted first.
    pub fn is_all_written(&self) -> bool {
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

    /// The name that others see us by, or saw us by when there was a connection last.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What has become of the wish for it.
    pub fn naming(&self) -> Naming {
        self.naming
    }

    /// What the server has shown itself to be.
    pub fn greeting(&self) -> Greeting {
        self.incoming.greeting()
    }

    /// How the server has taken its leave.
    pub fn farewell(&self) -> Farewell {
        self.incoming.farewell()
    }

    /// There is no name, for this reason, or none was wanted.
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

    /// Takes note of what `message` says of our name.
    fn note(&mut self, message: &Message<'_>) {
        let is_awaited = matches!(self.gate, Gate::Answer(_));
        match message.kind {
            Kind::Notice => {
                let given = name_given(message.text);
                // A server of another kind may say anything.
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

    /// Has `incoming` pass messages on to `hear`, and takes note of them.
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

/// Whether others get to see `line`.
fn tells_somebody(line: &[u8]) -> bool {
    let is_speech = !line.starts_with(b"/") || line.starts_with(b"//");
    is_speech
        || matches!(
            command::parse(line),
            Ok(Command::Me(_) | Command::Message { .. })
        )
}

#[cfg(test)]
mod tests;
