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
    /// Nothing is said without it, or to who has not greeted us; and the room has to say that
    /// it has taken everything.
    is_strict: bool,
}

/// Whether what is to be said may be.
#[derive(Debug)]
enum Gate {
    Open,
    /// A name is to be asked for, once the server has greeted us.
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
    /// One that is not connected yet. One that `is_strict` says nothing until the room has
    /// greeted us, and given the name that is `wanted`, and ends by asking to be let go: then
    /// the answer tells that everything was taken.
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
            is_strict,
        }
    }

    /// There is a new connection.
    pub fn connected(&mut self, now: Instant) {
        self.incoming = Incoming::new();
        self.outbox.rewind();
        self.request.clear();
        self.naming = Naming::Open;
        self.gate = match self.wanted.is_some() || self.is_strict {
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
                self.nobody_gives_a_name();
            }
            _ => {}
        }
    }

    /// The connection has ended: what was held back is passed on.
    pub fn ended(&mut self, now: Instant, hear: &mut dyn FnMut(&Message<'_>)) {
        self.listen(now, |incoming, hear| incoming.end(hear), hear);
    }

    /// `bytes` are to be said. While something is [held](Self::is_holding), another name is
    /// asked for first; whatever else it is, what is held is said before.
    pub fn say(&mut self, bytes: &[u8]) {
        if self.is_holding() {
            if let Ok(Command::Nick(_)) = command::parse(bytes.trim_ascii_end()) {
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

    /// The server is not of our kind, or does not answer.
    fn nobody_gives_a_name(&mut self) {
        if self.wanted.is_none() {
            self.gate = Gate::Open;
            return;
        }
        self.naming = Naming::Impossible;
        self.name = None;
        self.gate = match self.is_strict {
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
            outbox,
            gate,
            naming,
            wanted,
            name,
            is_strict,
            ..
        } = self;
        pass(incoming, &mut |message: &Message<'_>| {
            let answer = match message.kind {
                Kind::Notice => name_given(message.text)
                    .filter(|name| Name::parse(name.as_bytes()).is_ok())
                    .map(str::to_owned),
                _ => None,
            };
            let is_refused = message.kind == Kind::Refusal && matches!(gate, Gate::Answer(_));
            if let Some(given) = answer {
                *wanted = Some(given.clone());
                *name = Some(given);
                *naming = Naming::Given;
                *gate = Gate::Open;
            } else if is_refused {
                *naming = Naming::Refused;
                let had_a_name = name.take().is_some();
                *gate = match is_strict {
                    true => Gate::Shut,
                    false if had_a_name && !outbox.is_empty() => Gate::Held,
                    false => Gate::Open,
                };
            }
            hear(message);
        });
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
                Greeting::Original | Greeting::Unknown => self.nobody_gives_a_name(),
                Greeting::Refused => self.gate = Gate::Shut,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &[u8] = b"Welcome to this chatroom!\n";

    fn named(is_strict: bool) -> (Conversation, Instant) {
        let now = Instant::now();
        let mut conversation = Conversation::new(Some("bob".to_owned()), is_strict);
        conversation.connected(now);
        conversation.say(b"hello\n");
        (conversation, now)
    }

    #[test]
    fn whoever_is_strict_says_nothing_before_it_is_greeted_and_asks_to_be_let_go() {
        let now = Instant::now();
        let mut conversation = Conversation::new(None, true);
        conversation.connected(now);
        conversation.say(b"hello\n");
        assert_eq!(write_all(&mut conversation), "");
        assert!(!conversation.is_all_written());
        hear(&mut conversation, GREETING, now);
        assert_eq!(write_all(&mut conversation), "hello\n");
        assert!(conversation.finish());
        assert_eq!(write_all(&mut conversation), "/quit\n");
        assert!(!conversation.finish());

        let mut conversation = Conversation::new(None, true);
        conversation.connected(now);
        conversation.say(b"hello\n");
        conversation.expire(conversation.deadline().unwrap(), &mut |_| {});
        assert_eq!(write_all(&mut conversation), "hello\n");
        assert!(!conversation.finish(), "it may know no commands");
    }

    #[test]
    fn whoever_has_nothing_to_say_asks_for_no_name() {
        let now = Instant::now();
        let mut conversation = Conversation::new(Some("bob".to_owned()), false);
        conversation.connected(now);
        assert!(conversation.is_all_written() && !conversation.finish());
        hear(&mut conversation, GREETING, now);
        assert!(conversation.is_all_written());
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
    fn others_see_us_by_a_name_only_once_it_was_given() {
        let (mut conversation, now) = named(false);
        hear(&mut conversation, GREETING, now);
        assert_eq!(conversation.name(), None);
        hear(&mut conversation, b"-- you are bob now\n", now);
        conversation.connected(now);
        assert_eq!(conversation.name(), Some("bob"), "it was");
        hear(&mut conversation, GREETING, now);
        hear(&mut conversation, b"!! bob is taken\n", now);
        assert_eq!(conversation.name(), None);
    }

    #[test]
    fn what_was_to_be_said_by_a_name_that_is_lost_waits_for_the_user() {
        let lost = || {
            let (mut conversation, now) = named(false);
            hear(&mut conversation, GREETING, now);
            hear(&mut conversation, b"-- you are bob now\n", now);
            conversation.connected(now);
            hear(&mut conversation, GREETING, now);
            write_all(&mut conversation);
            hear(&mut conversation, b"!! bob is taken\n", now);
            assert_eq!(write_all(&mut conversation), "");
            assert!(conversation.is_holding());
            (conversation, now)
        };
        let (mut conversation, _) = lost();
        conversation.release();
        assert_eq!(write_all(&mut conversation), "hello\n");

        let (mut conversation, _) = lost();
        conversation.say(b"/who\n");
        assert_eq!(write_all(&mut conversation), "hello\n/who\n");

        let (mut conversation, now) = lost();
        conversation.say(b"/nick rob\n");
        assert_eq!(write_all(&mut conversation), "/nick rob\n");
        assert!(conversation.is_holding());
        hear(&mut conversation, b"-- you are rob now\n", now);
        assert_eq!(write_all(&mut conversation), "hello\n");
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
        for greeting in [&b"Welcome to this chatroom!<a> hi"[..], b"220 mail\r\n"] {
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
