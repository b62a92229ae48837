//! One person's conversation with a room, over as many connections as it takes: what
//! comes, what is to be said, and the name it is said by. Knows no socket.

use std::time::{Duration, Instant};

use super::incoming::{Farewell, Greeting, Incoming};
use super::message::{Kind, Message};
use super::outbox::Outbox;
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
}

/// A conversation.
#[derive(Debug)]
pub struct Conversation {
    incoming: Incoming,
    outbox: Outbox,
    /// What this connection begins with, as far as it is not written.
    request: Vec<u8>,
    gate: Gate,
    naming: Naming,
    /// The name that is wanted, or was given last.
    name: Option<String>,
    /// Nothing is said without it.
    insists_on_name: bool,
}

/// Whether what is to be said may be.
#[derive(Debug)]
enum Gate {
    Open,
    /// A name is to be asked for, once the server has greeted us.
    Greeting(Instant),
    /// The answer is awaited, and for ever where nothing is said without the name.
    Answer(Option<Instant>),
    /// There will be no name, and without one nothing is said.
    Shut,
}

impl Conversation {
    /// One that is not connected yet. With `insists_on_name`, nothing is said until the
    /// room has given the `name`.
    pub fn new(name: Option<String>, insists_on_name: bool) -> Self {
        Self {
            incoming: Incoming::new(),
            outbox: Outbox::new(),
            request: Vec::new(),
            gate: Gate::Open,
            naming: Naming::Open,
            name,
            insists_on_name,
        }
    }

    /// There is a new connection.
    pub fn connected(&mut self, now: Instant) {
        self.incoming = Incoming::new();
        self.outbox.rewind();
        self.request.clear();
        self.naming = Naming::Open;
        self.gate = match self.name {
            Some(_) => Gate::Greeting(now + NAME_TIMEOUT),
            None => Gate::Open,
        };
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
            Gate::Open | Gate::Shut => None,
        };
        [gate, self.incoming.deadline()].into_iter().flatten().min()
    }

    /// Waits no longer for what has been waited for long enough.
    pub fn expire(&mut self, now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        self.listen(now, |incoming, hear| incoming.expire(now, hear), hear);
        match self.gate {
            Gate::Greeting(until) | Gate::Answer(Some(until)) if until <= now => {
                self.nobody_gives_a_name();
            }
            _ => {}
        }
    }

    /// The connection has ended: what was held back is passed on.
    pub fn ended(&mut self, now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        self.listen(now, |incoming, hear| incoming.end(hear), hear);
    }

    /// `bytes` are to be said.
    pub fn say(&mut self, bytes: &[u8]) {
        self.outbox.push(bytes);
    }

    /// What may be written now.
    pub fn unwritten(&self) -> &[u8] {
        match self.gate {
            _ if !self.request.is_empty() => &self.request,
            Gate::Open => self.outbox.unwritten(),
            Gate::Greeting(_) | Gate::Answer(_) | Gate::Shut => &[],
        }
    }

    /// The first `count` bytes of that were written.
    pub fn wrote(&mut self, count: usize) {
        match self.request.is_empty() {
            false => drop(self.request.drain(..count)),
            true => self.outbox.wrote(count),
        }
    }

    /// Whether all that was to be said is written.
    pub fn is_all_written(&self) -> bool {
        self.request.is_empty() && self.outbox.is_empty()
    }

    /// How many bytes wait to be written.
    pub fn waiting_bytes(&self) -> usize {
        self.outbox.unwritten().len()
    }

    /// How many lines wait to be written.
    pub fn waiting_lines(&self) -> usize {
        self.outbox.lines()
    }

    /// The name that is wanted, or was given last.
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

    fn nobody_gives_a_name(&mut self) {
        self.naming = Naming::Impossible;
        self.gate = match self.insists_on_name {
            true => Gate::Shut,
            false => Gate::Open,
        };
    }

    /// Has `incoming` pass messages on to `hear`, and takes note of them.
    fn listen(
        &mut self,
        now: Instant,
        pass: impl FnOnce(&mut Incoming, &mut dyn FnMut(&Message<'_>)),
        hear: &mut dyn FnMut(&Message<'_>),
    ) {
        let Self {
            incoming,
            gate,
            naming,
            name,
            insists_on_name,
            ..
        } = self;
        pass(incoming, &mut |message: &Message<'_>| {
            let answer = match message.kind {
                Kind::Notice => name_given(message.text).map(str::to_owned),
                _ => None,
            };
            let is_refused = message.kind == Kind::Refusal && matches!(gate, Gate::Answer(_));
            if let Some(given) = answer {
                *name = Some(given);
                *naming = Naming::Given;
                *gate = Gate::Open;
            } else if is_refused {
                *naming = Naming::Refused;
                *gate = match insists_on_name {
                    true => Gate::Shut,
                    false => Gate::Open,
                };
            }
            hear(message);
        });
        if let (Gate::Greeting(_), Some(name)) = (&self.gate, &self.name) {
            match self.incoming.greeting() {
                Greeting::Awaited => {}
                Greeting::Ours => {
                    self.request = format!("/nick {name}\n").into_bytes();
                    let until = now + NAME_TIMEOUT;
                    self.gate = Gate::Answer((!self.insists_on_name).then_some(until));
                }
                Greeting::Foreign => self.nobody_gives_a_name(),
                Greeting::Refused => self.gate = Gate::Shut,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &[u8] = b"Welcome to this chatroom!\n";

    fn named(insists_on_name: bool) -> (Conversation, Instant) {
        let now = Instant::now();
        let mut conversation = Conversation::new(Some("bob".to_owned()), insists_on_name);
        conversation.connected(now);
        conversation.say(b"hello\n");
        (conversation, now)
    }

    fn hear(conversation: &mut Conversation, bytes: &[u8], now: Instant) {
        conversation.received(bytes, now, &mut |_| {});
    }

    fn write_all(conversation: &mut Conversation) -> String {
        let mut written = String::new();
        while !conversation.unwritten().is_empty() {
            written += std::str::from_utf8(&conversation.unwritten()[..1]).unwrap();
            conversation.wrote(1);
        }
        written
    }

    #[test]
    fn without_a_name_nothing_waits() {
        let mut conversation = Conversation::new(None, false);
        conversation.connected(Instant::now());
        conversation.say(b"hello\n");
        assert_eq!(write_all(&mut conversation), "hello\n");
        assert!(conversation.is_all_written());
        assert_eq!(conversation.deadline(), None);
    }

    #[test]
    fn a_name_is_asked_for_first_and_again_on_each_connection() {
        let (mut conversation, now) = named(false);
        assert_eq!(write_all(&mut conversation), "");
        for _ in 0..2 {
            hear(&mut conversation, GREETING, now);
            assert_eq!(write_all(&mut conversation), "/nick bob\n");
            assert!(!conversation.is_all_written());
            hear(&mut conversation, b"<eve> -- you are eve now\n", now);
            assert_eq!(write_all(&mut conversation), "");
            hear(&mut conversation, b"-- you are bob now\n", now);
            assert_eq!(conversation.naming(), Naming::Given);
            assert_eq!(write_all(&mut conversation), "hello\n");
            conversation.say(b"hello\n");
            conversation.connected(now);
        }
    }

    #[test]
    fn the_name_taken_last_is_the_one_asked_for_again() {
        let (mut conversation, now) = named(false);
        hear(&mut conversation, GREETING, now);
        hear(
            &mut conversation,
            b"-- you are bob now\n-- you are rob now\n",
            now,
        );
        conversation.connected(now);
        hear(&mut conversation, GREETING, now);
        assert_eq!(write_all(&mut conversation), "/nick rob\n");
        assert_eq!(conversation.name(), Some("rob"));
    }

    #[test]
    fn a_name_that_is_refused_silences_who_insists_on_it() {
        for insists in [false, true] {
            let (mut conversation, now) = named(insists);
            hear(&mut conversation, GREETING, now);
            write_all(&mut conversation);
            hear(&mut conversation, b"!! bob is taken\n", now);
            assert_eq!(conversation.naming(), Naming::Refused);
            let said = write_all(&mut conversation);
            assert_eq!(said, if insists { "" } else { "hello\n" });
            // It may be free later.
            hear(&mut conversation, b"-- you are bob now\n", now);
            assert_eq!(conversation.naming(), Naming::Given);
        }
    }

    #[test]
    fn a_server_that_gives_no_names_is_not_asked() {
        for greeting in [&b"Welcome to this chatroom!"[..], b"220 mail\r\n"] {
            for insists in [false, true] {
                let (mut conversation, now) = named(insists);
                hear(&mut conversation, greeting, now);
                assert_eq!(conversation.naming(), Naming::Impossible);
                let said = write_all(&mut conversation);
                assert_eq!(said, if insists { "" } else { "hello\n" });
            }
        }
        let (mut conversation, now) = named(false);
        let until = conversation.deadline().unwrap();
        assert_eq!(until, now + NAME_TIMEOUT);
        conversation.expire(until, &mut |_| {});
        assert_eq!(write_all(&mut conversation), "hello\n");
    }

    #[test]
    fn who_insists_on_a_name_waits_for_the_answer_however_late() {
        for insists in [false, true] {
            let (mut conversation, now) = named(insists);
            hear(&mut conversation, GREETING, now);
            write_all(&mut conversation);
            let until = now + NAME_TIMEOUT;
            assert_eq!(conversation.deadline(), (!insists).then_some(until));
            conversation.expire(until, &mut |_| {});
            let said = write_all(&mut conversation);
            assert_eq!(said, if insists { "" } else { "hello\n" });
        }
    }

    #[test]
    fn what_was_begun_is_said_again_on_the_next_connection() {
        let mut conversation = Conversation::new(None, false);
        let now = Instant::now();
        conversation.connected(now);
        conversation.say(b"one\ntwo\n");
        conversation.wrote(5);
        conversation.connected(now);
        assert_eq!(
            (conversation.unwritten(), conversation.waiting_lines()),
            (&b"two\n"[..], 1)
        );
    }
}
