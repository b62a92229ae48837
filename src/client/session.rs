//! The room's side of the client: a connection that is made, used, lost and made again, and
//! the conversation that goes on over it.

mod reconnection;

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use log::info;

use super::Config;
use super::connect::Link;
use super::conversation::{Conversation, Naming};
use super::ending::{Ending, Facts, NO_NAMES, Refusals};
use super::frontend::{Frontend, LinkStatus, Moment, Status};
use super::incoming::Greeting;
use super::message::{Kind, Message};
use super::pauses::Pauses;
use crate::error::{Error, Lines};
use crate::interrupt::retry_interrupted;
use crate::machine::unacknowledged_bytes;

/// No more than about this waits to be sent: before that, nothing more is read, or entered,
/// that is to be.
pub const MAX_UNSENT_BYTES: usize = 256 * 1024;

/// How long the server may be silent after we have ended our side, before its
/// end is not waited for any more: the Python original never ends the connection. Ours
/// does once it has taken everything, which `--rate` can delay, and is waited for.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(3);

/// Told to who wants a name of a server that does not answer.
const NO_ANSWER: &str = "the server has not answered about your name";

/// Told to who comes in without a name.
const HINT: &str = "/nick NAME gives you a name, /help tells what else there is";

/// The connection, and what goes on over it.
pub struct Session {
    config: Config,
    link: Link,
    phase: Phase,
    pauses: Pauses,
    conversation: Conversation,
    /// Whether a connection that is lost is made again.
    comes_back: bool,
    /// We are to leave once all is said.
    is_leaving: bool,
    /// Whether a server has ever let us in.
    was_in: bool,
    /// Whether nothing has been heard on this connection.
    is_unheard: bool,
    /// Why we were not let in last.
    not_let_in: Option<String>,
    /// What the room did not take.
    refusals: Refusals,
    /// Whether some of what was sent on the connection that was lost last may not have arrived;
    /// that is known, and told, before there is another.
    is_unsure: bool,
    /// The address by which others see us.
    address: Option<String>,
}

/// How the connection is.
enum Phase {
    /// It is being made, for the first time or again.
    Connecting {
        is_first: bool,
    },
    Open(Open),
    /// It is to be made again then.
    Away(Instant),
    /// There is none, and will be none any more.
    Ended(Ending),
}

/// What is known of an open connection.
struct Open {
    /// Since when it is.
    since: Instant,
    /// There may be something to be read.
    is_ready: bool,
    /// Our side has been ended.
    is_sending_ended: bool,
    /// Why something could not be sent.
    send_error: Option<io::Error>,
    /// Since when the server has been silent: all that it sent has been read.
    silent_since: Instant,
    /// When something was sent last.
    written_at: Option<Instant>,
}

impl Session {
    /// One for `config` by `link`. With `comes_back`, a connection that is lost is made again.
    pub fn new(config: &Config, link: Link, comes_back: bool) -> Self {
        Self {
            link,
            phase: Phase::Connecting { is_first: true },
            pauses: Pauses::new(RandomState::new().hash_one(std::process::id())),
            conversation: Conversation::new(config.name.clone(), config.sends_only()),
            comes_back,
            is_leaving: false,
            was_in: false,
            is_unheard: true,
            not_let_in: None,
            refusals: Refusals::default(),
            is_unsure: false,
            address: None,
            config: config.clone(),
        }
    }

    /// Whether there is a connection, or was one.
    pub fn has_connected(&self) -> bool {
        !matches!(self.phase, Phase::Connecting { is_first: true })
    }

    /// Whether there will be no connection any more.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// The socket may have something for us.
    pub fn mark_ready(&mut self) {
        if let Phase::Open(open) = &mut self.phase {
            open.is_ready = true;
        }
    }

    /// Whether there may be something to be read.
    pub fn is_ready(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.is_ready)
    }

    /// Whether there is room for more that is to be said, and somebody to say it to.
    pub fn takes_more(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
            && !self.is_leaving
            && self.conversation.waiting_bytes() < MAX_UNSENT_BYTES
    }

    /// Whether something that was to be said has a chance to be.
    pub fn is_sending(&self) -> bool {
        matches!(self.phase, Phase::Open(_)) && !self.conversation.is_all_written()
    }

    /// `bytes` are to be said.
    pub fn say(&mut self, bytes: &[u8]) {
        self.conversation.say(bytes);
    }

    /// We are to leave once all is said; at once, if that is wanted twice, or if there is
    /// nobody to say it to.
    pub fn leave(&mut self) {
        if self.has_ended() {
            return;
        }
        let waits = match self.phase {
            // What is held would be for ever.
            Phase::Open(_) => !self.conversation.is_holding(),
            Phase::Connecting { is_first } => is_first,
            Phase::Away(_) | Phase::Ended(_) => false,
        };
        if self.is_leaving || !waits {
            self.give_up();
        }
        self.is_leaving = true;
    }

    fn give_up(&mut self) {
        self.link.close();
        self.phase = Phase::Ended(Ending::GivenUp);
    }

    /// How things stand.
    pub fn status(&self) -> Status<'_> {
        let link = match &self.phase {
            _ if self.is_leaving => LinkStatus::Leaving,
            Phase::Open(_) if self.conversation.is_holding() => LinkStatus::Holding,
            Phase::Open(_) => LinkStatus::In {
                is_ours: self.conversation.greeting() == Greeting::Ours,
            },
            Phase::Connecting { .. } | Phase::Away(_) | Phase::Ended(_) => LinkStatus::Away,
        };
        Status {
            link,
            waiting_lines: match link {
                LinkStatus::Away | LinkStatus::Holding => self.conversation.waiting_lines(),
                LinkStatus::In { .. } | LinkStatus::Leaving => 0,
            },
            waiting_bytes: self.conversation.waiting_bytes(),
            name: self.conversation.name(),
            address: self.address.as_deref(),
        }
    }

    /// Reads what the server has sent, as much as `buffer` holds, and has `frontend` hear it.
    pub fn read(&mut self, buffer: &mut [u8], now: Moment, frontend: &mut dyn Frontend) {
        let (Phase::Open(open), Some(stream)) = (&mut self.phase, self.link.stream()) else {
            return;
        };
        match retry_interrupted(|| stream.read(buffer)) {
            Ok(0) => self.server_has_gone(None, now, frontend),
            Ok(count) => {
                self.hear(now, frontend, |conversation, hear| {
                    conversation.received(&buffer[..count], now.instant, hear);
                });
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock if open.send_error.is_none() => {
                    open.is_ready = false;
                    // To who only sends, what others say is none of the server's last words.
                    if !self.config.sends_only() || !open.is_sending_ended {
                        open.silent_since = now.instant;
                    }
                    self.conversation.drained(now.instant);
                }
                _ => {
                    let source = open.send_error.take().unwrap_or(e);
                    self.server_has_gone(Some(source), now, frontend);
                }
            },
        }
    }

    /// Writes what may be written, and ends our side once all is, if we are to leave.
    pub fn write(&mut self, now: Moment) {
        let (Phase::Open(open), Some(stream)) = (&mut self.phase, self.link.stream()) else {
            return;
        };
        if open.is_sending_ended || open.send_error.is_some() {
            return;
        }
        loop {
            if self.conversation.unwritten().is_empty() {
                let asks = self.is_leaving
                    && self.conversation.is_all_written()
                    && self.conversation.finish();
                if !asks {
                    break;
                }
            }
            match retry_interrupted(|| stream.write(self.conversation.unwritten())) {
                Ok(count) => {
                    self.conversation.wrote(count);
                    open.written_at = Some(now.instant);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    // It may have said why before it went: read to the end.
                    open.send_error = Some(e);
                    open.is_ready = true;
                    return;
                }
            }
        }
        if self.is_leaving && self.conversation.is_all_written() {
            // An error means that the server has gone; reading tells that.
            let _ = stream.shutdown(Shutdown::Write);
            open.is_sending_ended = true;
            open.silent_since = now.instant;
        }
    }

    /// Does what is due by now though nothing has happened.
    pub fn expire(&mut self, now: Moment, frontend: &mut dyn Frontend) {
        match &self.phase {
            Phase::Away(until) if *until <= now.instant => {
                self.phase = Phase::Connecting { is_first: false };
                // Not the first: no failure of it is an error.
                let _ = self.connect(now);
            }
            Phase::Open(open) if !open.is_ready => {
                let silence = self.silence_deadline(open);
                self.hear(now, frontend, |conversation, hear| {
                    conversation.expire(now.instant, hear);
                });
                if silence.is_some_and(|at| at <= now.instant) {
                    self.leave_in_silence(now);
                }
            }
            _ => {}
        }
    }

    /// When [`Session::expire`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Connecting { .. } => self.link.deadline(),
            Phase::Away(until) => Some(*until),
            // Never while there is more to be read: the rest of a line may be among it.
            Phase::Open(open) if open.is_ready => None,
            Phase::Open(open) => {
                let deadlines = [self.silence_deadline(open), self.conversation.deadline()];
                deadlines.into_iter().flatten().min()
            }
            Phase::Ended(_) => None,
        }
    }

    /// Whether all is over, and how; but for what is still to be shown.
    pub fn end(&mut self) -> Option<Result<(), Error>> {
        if self.config.sends_only()
            && let Some(error) = self.facts(0).end_early()
        {
            return Some(Err(error));
        }
        let ending = match &mut self.phase {
            Phase::Ended(ending) => std::mem::replace(ending, Ending::InOrder),
            _ => return None,
        };
        let unsent_lines = match self.conversation.is_all_written() {
            true => 0,
            false => self.conversation.waiting_lines().max(1),
        };
        Some(self.facts(unsent_lines).end(ending))
    }

    fn facts(&self, unsent_lines: usize) -> Facts {
        Facts {
            server: self.link.server(),
            greeting: self.conversation.greeting(),
            farewell: self.conversation.farewell(),
            naming: self.conversation.naming(),
            was_in: self.was_in,
            is_leaving: self.is_leaving,
            sends_only: self.config.sends_only(),
            unsent_lines,
            is_unsure: self.is_unsure,
            refusals: self.refusals.clone(),
        }
    }

    /// Has the conversation do something, and the frontend hear of it.
    fn hear(
        &mut self,
        now: Moment,
        frontend: &mut dyn Frontend,
        act: impl FnOnce(&mut Conversation, &mut dyn FnMut(&Message<'_>)),
    ) {
        let naming = self.conversation.naming();
        let had_been_in = self.was_in;
        let was_holding = self.conversation.is_holding();
        let Self {
            conversation,
            refusals,
            was_in,
            is_unheard,
            not_let_in,
            ..
        } = self;
        act(conversation, &mut |message| {
            let is_refusal = message.kind == Kind::Refusal;
            if is_refusal {
                refusals.add(message.text);
            }
            if std::mem::take(is_unheard) {
                let words = is_refusal.then(|| message.text.to_owned());
                let is_known = words.is_some() && *not_let_in == words;
                *not_let_in = words;
                if is_known {
                    // It is told once, however often we try.
                    return;
                }
                if message.kind == Kind::Welcome && std::mem::replace(was_in, true) {
                    frontend.notify("connected again", false, now);
                }
            }
            frontend.heard(message, now);
        });
        if !had_been_in && self.was_in && self.config.name.is_none() {
            self.hint(frontend, now);
        }
        if naming != self.conversation.naming() && !self.config.sends_only() {
            match self.conversation.naming() {
                Naming::Impossible => frontend.notify(NO_NAMES, true, now),
                Naming::Unanswered => frontend.notify(NO_ANSWER, true, now),
                Naming::Open | Naming::Given | Naming::Refused => {}
            }
        }
        if !was_holding && self.conversation.is_holding() {
            self.ask_about_held(frontend, now);
        }
    }

    /// Tells a newcomer how to go on, where that is known.
    fn hint(&self, frontend: &mut dyn Frontend, now: Moment) {
        if self.conversation.greeting() == Greeting::Ours {
            frontend.notify(HINT, false, now);
        }
    }

    /// Has the user decide about what is held; whoever is leaving has decided.
    fn ask_about_held(&mut self, frontend: &mut dyn Frontend, now: Moment) {
        if self.is_leaving {
            return self.give_up();
        }
        let waiting = Lines(self.conversation.waiting_lines());
        let words = format!(
            "{waiting} would be said without your name: Enter has it so, \
             /nick NAME takes another first"
        );
        frontend.notify(&words, true, now);
    }

    /// When the server is not waited for any more. What we do not listen to is no silence.
    fn silence_deadline(&self, open: &Open) -> Option<Instant> {
        let is_silent = open.is_sending_ended && !open.is_ready;
        let may_never_end = self.conversation.greeting() != Greeting::Ours;
        (is_silent && may_never_end).then_some(open.silent_since + LAST_WORDS_TIMEOUT)
    }

    fn leave_in_silence(&mut self, now: Moment) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        match self.link.stream().and_then(unacknowledged_bytes) {
            // It does not read yet, but it may.
            Some(1..) => open.silent_since = now.instant,
            _ => {
                info!("{} does not end the connection", self.link.server());
                self.phase = Phase::Ended(Ending::Silent);
            }
        }
    }
}
