//! The server's side of the client: a connection that is made, used, lost and made again,
//! and the conversation that outlives it.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use log::info;

use super::backoff::Backoff;
use super::config::{Config, PASSWORD_IN_CLEAR, Wish};
use super::connect::{Link, Progress};
use super::conversation::{
    Conversation, Farewell, GREETING_TIMEOUT, Naming, PENDING_PATIENCE, PasswordWish, Wire,
};
use super::ending::{Ending, Facts, NO_NAMES, Refusals};
use super::incoming::Greeting;
use super::stall::{STALLED_AFTER, Stall};
use crate::error::{Error, Lines};
use crate::frontend::message::{Kind, Message};
use crate::frontend::{Frontend, LinkStatus, MAX_SHOWN_LINES, Moment, Said, Status};
use crate::platform::socket::{retry_interrupted, unacknowledged_bytes};
use crate::protocol::wording::is_lasting_refusal;

/// How long the server may be silent after the client's half-close before the client stops
/// waiting for its end: the Python original never closes the connection. A server of our
/// kind does, once it has read everything, however late `--rate` makes that.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(3);

/// What was sent within this time may not have been read by a server that answers nothing and
/// whose connection breaks, although its kernel acknowledged it.
const UNSURE_FOR: Duration = Duration::from_secs(30);

/// A room that wants us back later than this is asked sooner.
const MAX_AWAY: Duration = Duration::from_secs(60);

/// A person is told about a connection that takes longer to be made.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);

/// How long after an attempt to connect Enter may cause another: whoever holds the key down must
/// not get around the backoff.
const HURRY_PAUSE: Duration = Duration::from_secs(2);

/// The prompt counts down a longer delay.
const LONG_DELAY: Duration = Duration::from_secs(3);

/// Shown when a request for a name times out.
const NO_ANSWER: &str = "the server has not answered about your name";

/// Shown to a user who joins without a name.
const HINT: &str = "/nick NAME sets your name, /help lists the commands";

/// The connection, and the conversation over it.
pub(crate) struct Session {
    config: Config,
    link: Link,
    phase: Phase,
    backoff: Backoff,
    conversation: Conversation,
    /// Whether a lost connection is made again.
    reconnects: bool,
    /// The client leaves once everything is sent.
    is_leaving: bool,
    /// Whether a server has ever let us in.
    was_let_in: bool,
    /// Whether a newcomer is still to be told how to get a name.
    owes_hint: bool,
    /// Whether nothing has been received on this connection.
    is_unheard: bool,
    /// The room's password, as far as it is known.
    password: Option<String>,
    /// Why the room's password was not given.
    kept_out: Option<&'static str>,
    /// Nobody has said that the key of the room is right, which wants the password.
    untrusted: Option<Error>,
    /// What a person was asked for last.
    asked_for: Option<PasswordWish>,
    /// A person was asked whether the room's key is right.
    asked_for_trust: bool,
    /// Why the last connection was refused, if it was.
    last_refusal: Option<String>,
    /// What the room did not take.
    refusals: Refusals,
    /// Whether some of what was sent on the last connection may not have arrived. Known, and
    /// told, before there is another.
    is_unsure: bool,
    /// The last lines that are not answered, as they are shown, and whether they look so.
    said: Vec<(String, bool)>,
    /// Since when there is something that the room is to do for us.
    waits_since: Option<Instant>,
    /// When the connection has last taken us further.
    progress_at: Option<Instant>,
    /// Whether a person is told what happens when it happens.
    is_for_person: bool,
    /// When the last attempt to connect was made.
    tried_at: Option<Instant>,
    /// Whether a person was told that it takes long to connect.
    is_slow: bool,
}

enum Phase {
    Connecting {
        is_first: bool,
    },
    Open(Open),
    /// Lost.
    Offline {
        /// When the next attempt is made.
        until: Instant,
        /// Whether that is worth a word.
        is_long: bool,
    },
    Ended(Ending),
}

/// The state of an open connection.
struct Open {
    since: Instant,
    /// Whether there may be something to read.
    is_ready: bool,
    /// Whether our side is closed.
    is_half_closed: bool,
    /// Why the last write failed.
    send_error: Option<io::Error>,
    /// Since when everything that the server sent has been read.
    silent_since: Instant,
    /// When something was last written.
    written_at: Option<Instant>,
    stall: Stall,
}

impl Session {
    /// A session over `link`, for a person at a terminal or for programs.
    pub(crate) fn new(config: &Config, link: Link, is_for_person: bool) -> Self {
        Self {
            link,
            phase: Phase::Connecting { is_first: true },
            backoff: Backoff::new(RandomState::new().hash_one(std::process::id())),
            conversation: conversation(config, is_for_person),
            reconnects: config.reconnects(is_for_person),
            is_leaving: false,
            was_let_in: false,
            owes_hint: false,
            is_unheard: true,
            password: None,
            kept_out: None,
            untrusted: None,
            asked_for: None,
            asked_for_trust: false,
            last_refusal: None,
            refusals: Refusals::default(),
            is_unsure: false,
            said: Vec::new(),
            waits_since: None,
            progress_at: None,
            is_for_person,
            tried_at: None,
            is_slow: false,
            config: config.clone(),
        }
    }

    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// When no address can even be tried.
    pub(crate) fn connect(&mut self, now: Moment) -> Result<(), Error> {
        self.tried_at = Some(now.instant);
        let progress = self.link.connect(now.instant);
        self.take_progress(progress, now)
    }

    /// Goes on connecting.
    ///
    /// # Errors
    ///
    /// When no address has answered, and none ever has.
    pub(crate) fn advance(&mut self, now: Moment) -> Result<(), Error> {
        let progress = self.link.advance(now.instant);
        self.take_progress(progress, now)
    }

    /// Whether there is something to show: a connection, or that it takes long to make one.
    pub(crate) fn has_begun(&self) -> bool {
        self.is_slow || !matches!(self.phase, Phase::Connecting { is_first: true })
    }

    /// Whether a room has ever let us in.
    #[cfg(feature = "client")]
    pub(crate) fn was_let_in(&self) -> bool {
        self.was_let_in
    }

    /// Whether there will be no further connection.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Notes that the socket may be readable.
    pub(crate) fn mark_ready(&mut self) {
        if let Phase::Open(open) = &mut self.phase {
            open.is_ready = true;
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.is_ready)
    }

    /// Whether there is a room to say more to, and space to queue it.
    pub(crate) fn takes_more(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
            && !self.is_leaving
            && !self.conversation.pending().is_full()
            // What a program says is shown as said: not before the room has let it in.
            && (self.is_for_person || self.config.sends_only() || self.hears_lines())
    }

    /// Whether what is said now is heard, as far as that is known.
    fn hears_lines(&self) -> bool {
        matches!(self.conversation.wire(), Wire::Objects | Wire::Lines)
    }

    /// Whether it is known what the server speaks, or there is none.
    fn is_settled(&self) -> bool {
        let is_open = matches!(self.phase, Phase::Open(_));
        !is_open || self.hears_lines() || self.conversation.greeting() == Greeting::Refused
    }

    /// Whether something is to be sent or answered, on this connection or on the next.
    pub(crate) fn is_sending(&self) -> bool {
        match self.phase {
            Phase::Open(_) => self.conversation.is_sending(),
            Phase::Connecting { .. } | Phase::Offline { .. } => self.returns_to_deliver(),
            Phase::Ended(_) => false,
        }
    }

    /// Queues `bytes`.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.conversation.say(bytes);
    }

    /// The room gets this password, if it asks for one.
    pub(crate) fn set_password(&mut self, password: String) {
        self.password = Some(password);
        self.asked_for = None;
    }

    /// A person gives the room this password, asked for or not.
    pub(crate) fn give_password(
        &mut self,
        password: String,
        now: Moment,
        frontend: &mut dyn Frontend,
    ) {
        self.set_password(password);
        if let Some(wish) = self.conversation.password_wish() {
            self.meet_password_wish(wish, now, frontend);
        } else if self.is_settled() {
            let words = "the room has not asked for a password; it gets this one once it does";
            frontend.notify(words, false, now);
        }
    }

    /// A person says whether the key of the room, which wants the password, is right.
    pub(crate) fn trust_key(&mut self, is: bool, now: Moment, frontend: &mut dyn Frontend) {
        self.link.confirm_key(is);
        if is {
            self.answer_password_wish(now, frontend);
        } else if let Some(error) = self.link.reject_key() {
            self.link.close();
            self.phase = Phase::Ended(Ending::Untrusted(error));
        }
    }

    /// Leaves once everything is sent; at once when called again, or when there is no
    /// connection to send it.
    pub(crate) fn leave(&mut self) {
        self.conversation.leave();
        if self.has_ended() {
            return;
        }
        let waits = match self.phase {
            // Held lines would wait for ever, and so does a question for the password.
            Phase::Open(_) => {
                !self.conversation.is_holding() && self.conversation.password_wish().is_none()
            }
            // A person who has said nothing waits for nothing.
            Phase::Connecting { is_first: true } => {
                !self.is_for_person || self.conversation.is_sending()
            }
            Phase::Connecting { is_first: false } => self.returns_to_deliver(),
            Phase::Offline { .. } => self.returns_to_deliver(),
            Phase::Ended(_) => false,
        };
        if self.is_leaving || !waits {
            self.give_up();
        }
        self.is_leaving = true;
    }

    /// Retries a lost server now instead of later, but not more often than [`HURRY_PAUSE`] allows;
    /// sends what is held.
    pub(crate) fn hurry(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Open(_)) {
            self.conversation.release();
        }
        if let Phase::Offline { until, .. } = &mut self.phase {
            let allowed_at = self.tried_at.map_or(now.instant, |at| at + HURRY_PAUSE);
            *until = allowed_at.max(now.instant).min(*until);
        }
    }

    /// In how many seconds a person's lost server is tried again, if that is worth a word.
    pub(crate) fn next_try(&self, now: Instant) -> Option<u64> {
        match self.phase {
            Phase::Offline { until, is_long } if is_long && self.is_for_person => {
                let left = until.saturating_duration_since(now);
                Some(left.as_secs() + u64::from(left.subsec_nanos() > 0))
            }
            _ => None,
        }
    }

    pub(crate) fn status(&mut self, now: Moment) -> Status<'_> {
        let link = match &self.phase {
            _ if self.is_leaving => LinkStatus::Leaving,
            Phase::Open(_) if self.conversation.is_holding() => LinkStatus::Holding,
            Phase::Open(_) => LinkStatus::In {
                is_ours: self.conversation.wire() != Wire::Lines,
            },
            Phase::Connecting { .. } | Phase::Offline { .. } | Phase::Ended(_) => {
                LinkStatus::Offline
            }
        };
        let pending = self.conversation.pending();
        // All of it may be more than a screen.
        let last = pending.of_user(PENDING_PATIENCE, now.instant).rev();
        let mut said: Vec<_> = last
            .take(MAX_SHOWN_LINES)
            .map(|(line, is_late)| (String::from_utf8_lossy(line).into_owned(), is_late))
            .collect();
        said.reverse();
        self.said = said;
        Status {
            link,
            is_settled: self.is_settled(),
            said: Said {
                lines: pending.user_lines(),
                bytes: pending.bytes(),
                last: &self.said,
            },
            no_answer_for: self.conversation.no_answer_for(now.instant),
            name: self.conversation.name(),
        }
    }

    /// Reads at most one `buffer` from the server and passes it on to `frontend`.
    pub(crate) fn read(&mut self, buffer: &mut [u8], now: Moment, frontend: &mut dyn Frontend) {
        let (Phase::Open(open), Some(stream)) = (&mut self.phase, self.link.stream()) else {
            return;
        };
        match retry_interrupted(|| stream.read(buffer)) {
            Ok(0) => self.connection_lost(None, now, frontend),
            Ok(count) => {
                open.stall.received(now.instant);
                self.hear(now, frontend, |conversation, hear| {
                    conversation.received(&buffer[..count], now.instant, hear);
                });
                self.answer_password_wish(now, frontend);
                self.leave_what_is_no_room(now, frontend);
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock if open.send_error.is_none() => {
                    open.is_ready = false;
                    // What others say does not postpone the end of a client that only sends.
                    if !self.config.sends_only() || !open.is_half_closed {
                        open.silent_since = now.instant;
                    }
                    self.conversation.drained(now.instant);
                }
                _ => {
                    let source = open.send_error.take().unwrap_or(e);
                    self.connection_lost(Some(source), now, frontend);
                }
            },
        }
    }

    /// Writes what may be written; then half-closes the connection if the client is leaving.
    pub(crate) fn write(&mut self, now: Moment, frontend: &mut dyn Frontend) {
        let Self {
            phase,
            link,
            conversation,
            progress_at,
            ..
        } = self;
        let (Phase::Open(open), Some(stream)) = (phase, link.stream()) else {
            return;
        };
        if open.is_half_closed || open.send_error.is_some() {
            return;
        }
        // What TLS keeps back is nobody's to ask for.
        match stream.flush() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
            // Writing says so, too.
            _ => {}
        }
        loop {
            if conversation.unwritten(now.instant).is_empty() {
                let asks = self.is_leaving && conversation.is_all_done() && conversation.finish();
                if !asks {
                    break;
                }
            }
            match retry_interrupted(|| stream.write(conversation.unwritten(now.instant))) {
                Ok(count) => {
                    conversation.wrote(count, &mut |message| frontend.heard(message, now));
                    open.written_at = Some(now.instant);
                    *progress_at = Some(now.instant);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    // The server may have said why before it went: read to the end.
                    open.send_error = Some(e);
                    open.is_ready = true;
                    return;
                }
            }
        }
        if self.is_leaving && conversation.is_all_done() {
            match stream.say_goodbye() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Fails if the server has gone, which reading will tell.
                _ => {}
            }
            let _ = stream.stream().shutdown(Shutdown::Write);
            open.is_half_closed = true;
            open.silent_since = now.instant;
        }
    }

    /// Acts on deadlines that have passed.
    pub(crate) fn expire(&mut self, now: Moment, frontend: &mut dyn Frontend) {
        if let Some(news) = self.link.take_news() {
            frontend.notify(&news.words, news.is_trouble, now);
        }
        match &self.phase {
            Phase::Connecting { is_first: true }
                if self.slow_at().is_some_and(|at| at <= now.instant) =>
            {
                self.is_slow = true;
                let place = self.config.place();
                frontend.notify(&format!("connecting to {place} …"), false, now);
            }
            Phase::Offline { until, .. } if *until <= now.instant => {
                self.phase = Phase::Connecting { is_first: false };
                // Only the first attempt can fail with an error.
                let _ = self.connect(now);
            }
            Phase::Open(open) if !open.is_ready => {
                let silence = self.silence_deadline(open);
                self.hear(now, frontend, |conversation, hear| {
                    conversation.expire(now.instant, hear);
                });
                if silence.is_some_and(|at| at <= now.instant) {
                    self.end_in_silence(now);
                }
                self.look_at_acknowledgements(now, frontend);
                self.leave_what_is_no_room(now, frontend);
            }
            _ => {}
        }
        self.note_waiting(now);
        if self.timeout_at().is_some_and(|at| at <= now.instant) {
            self.link.abandon();
            self.phase = Phase::Ended(Ending::TimedOut);
        }
    }

    /// When [`Session::expire`] is next due.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let deadline = match &self.phase {
            Phase::Connecting { .. } => {
                let deadlines = [self.link.deadline(), self.slow_at()];
                deadlines.into_iter().flatten().min()
            }
            Phase::Offline { until, .. } => match self.next_try(now) {
                // When it is a second less.
                Some(seconds @ 1..) => Some(*until - Duration::from_secs(seconds - 1)),
                _ => Some(*until),
            },
            // Not while there is more to read: it may hold the rest of a line.
            Phase::Open(open) if open.is_ready => None,
            Phase::Open(open) => {
                let deadlines = [
                    self.silence_deadline(open),
                    self.conversation.deadline(now),
                    open.stall.deadline(),
                ];
                deadlines.into_iter().flatten().min()
            }
            Phase::Ended(_) => None,
        };
        [deadline, self.timeout_at()].into_iter().flatten().min()
    }

    /// When a person is told that it takes long to connect, and was not.
    fn slow_at(&self) -> Option<Instant> {
        let is_first = matches!(self.phase, Phase::Connecting { is_first: true });
        let is_due = is_first && self.is_for_person && !self.is_slow;
        self.tried_at
            .filter(|_| is_due)
            .map(|at| at + CONNECT_PATIENCE)
    }

    /// When a client that only sends has waited long enough for the room to take it further.
    fn timeout_at(&self) -> Option<Instant> {
        let progress_at = self.conversation.pending().progress_at();
        let since = [self.progress_at, progress_at].into_iter().flatten();
        let since = since.fold(self.waits_since?, Instant::max);
        Some(since + self.config.timeout()?)
    }

    /// Notes whether there is something that the room is to do for us.
    fn note_waiting(&mut self, now: Moment) {
        let waits = self.is_leaving || self.conversation.is_sending();
        if waits && !self.has_ended() {
            self.waits_since.get_or_insert(now.instant);
        } else {
            self.waits_since = None;
        }
    }

    /// Gives up a connection whose other end is out of reach.
    fn look_at_acknowledgements(&mut self, now: Moment, frontend: &mut dyn Frontend) {
        let Phase::Open(Open { stall, .. }) = &mut self.phase else {
            return;
        };
        stall.waits(self.conversation.pending().waits_since());
        if stall.deadline().is_none_or(|at| at > now.instant) {
            return;
        }
        let stream = self.link.stream();
        let bytes = stream.and_then(|it| unacknowledged_bytes(it.stream()));
        let bytes = bytes.unwrap_or(0);
        if stall.check(bytes, now.instant) {
            let seconds = STALLED_AFTER.as_secs();
            let words = format!("nothing has got through for {seconds} s");
            let source = io::Error::other(words);
            self.connection_lost(Some(source), now, frontend);
        }
    }

    /// The result of the session, once it is over. Output may still be pending.
    pub(crate) fn end(&mut self) -> Option<Result<(), Error>> {
        if self.config.sends_only()
            && let Some(error) = self.facts(0).end_early()
        {
            return Some(Err(error));
        }
        if let Some(error) = self.untrusted.take() {
            return Some(Err(error));
        }
        let ending = match &mut self.phase {
            Phase::Ended(ending) => std::mem::replace(ending, Ending::InOrder),
            _ => return None,
        };
        // The error says why somebody is not let in again, and `leave_behind` what was not said.
        let is_kept_out = matches!(ending, Ending::Untrusted(_))
            || self.kept_out.is_some()
            || self.conversation.kept_out().is_some();
        let is_kept_out = is_kept_out && !self.config.sends_only();
        let (in_doubt, unsent_lines) = if is_kept_out {
            Default::default()
        } else {
            self.conversation.give_up()
        };
        let facts = Facts {
            in_doubt,
            ..self.facts(unsent_lines)
        };
        Some(facts.end(ending))
    }

    /// The result of a session that is of no more use to the user, whatever its state.
    pub(crate) fn break_off(&mut self) -> Result<(), Error> {
        if self.conversation.is_sending() && !self.has_ended() {
            self.give_up();
        }
        self.end().unwrap_or(Ok(()))
    }

    /// Whether nothing is shown, and the room has to take everything.
    pub(crate) fn only_sends(&self) -> bool {
        self.config.sends_only()
    }

    /// The program ends now. Returns the lines that are in doubt, and how many were never sent.
    pub(crate) fn leave_behind(&mut self) -> (Vec<String>, usize) {
        self.conversation.give_up()
    }

    fn facts(&self, unsent_lines: usize) -> Facts {
        // A person knows.
        let told_to_program = |lines| if self.is_for_person { 0 } else { lines };
        Facts {
            server: self.link.server(),
            is_secured: self.link.is_secured(),
            greeting: self.conversation.greeting(),
            farewell: self.conversation.farewell(),
            kept_out: self
                .kept_out
                .or(self.conversation.kept_out())
                .map(str::to_owned),
            naming: self.conversation.naming(),
            was_let_in: self.was_let_in,
            is_leaving: self.is_leaving,
            sends_only: self.config.sends_only(),
            answers: self.conversation.can_resume(),
            timeout: self.config.timeout().unwrap_or_default(),
            unsent_lines,
            in_doubt: Vec::new(),
            doubted_lines: told_to_program(self.conversation.troubles().doubted_lines()),
            left_out_lines: told_to_program(self.conversation.troubles().left_out_lines()),
            is_unsure: self.is_unsure,
            refusals: self.refusals.clone(),
        }
    }

    fn give_up(&mut self) {
        self.link.close();
        self.phase = Phase::Ended(Ending::GivenUp);
    }

    fn take_progress(&mut self, progress: Progress, now: Moment) -> Result<(), Error> {
        let is_first = matches!(self.phase, Phase::Connecting { is_first: true });
        match progress {
            Progress::Pending => {}
            Progress::Connected => {
                info!("connected to {}", self.link.server());
                self.conversation.connected(now.instant);
                self.is_unheard = true;
                self.is_unsure = false;
                self.progress_at = Some(now.instant);
                self.phase = Phase::Open(Open {
                    since: now.instant,
                    is_ready: true,
                    is_half_closed: false,
                    send_error: None,
                    silent_since: now.instant,
                    written_at: None,
                    stall: Stall::new(now.instant),
                });
            }
            #[cfg(feature = "tls")]
            Progress::Untrusted(error) => return Err(error),
            Progress::Failed(attempts) if is_first => {
                return Err(Error::Connect {
                    host: self.config.host.clone(),
                    port: self.config.port,
                    attempts,
                });
            }
            Progress::Failed(attempts) => {
                for (address, e) in &attempts {
                    info!("{address}: {e}");
                }
                let delay = self.backoff.after_failure();
                self.phase = offline(now, delay);
            }
        }
        Ok(())
    }

    /// The server has closed the connection, or it broke.
    fn connection_lost(
        &mut self,
        source: Option<io::Error>,
        now: Moment,
        frontend: &mut dyn Frontend,
    ) {
        self.hear(now, frontend, |conversation, hear| {
            conversation.ended(now.instant, hear)
        });
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        // After a goodbye the server did not have to take what could not be sent.
        let source = match self.conversation.farewell() {
            Farewell::Goodbye => source,
            _ => source.or(open.send_error.take()),
        };
        let open_for = now.instant.duration_since(open.since);
        // A room that answers leaves no doubt but about what it has not answered.
        if self.conversation.wire() == Wire::Lines {
            let unacknowledged = self.link.stream();
            let unacknowledged = unacknowledged.and_then(|it| unacknowledged_bytes(it.stream()));
            let was_sent_just_now = open
                .written_at
                .is_some_and(|at| at + UNSURE_FOR > now.instant);
            self.is_unsure = unacknowledged > Some(0) || (source.is_some() && was_sent_just_now);
        }
        if self.conversation.wire() == Wire::Objects && self.conversation.is_sending() {
            // What is still on its way will be said again.
            self.link.abandon();
        } else {
            self.link.close();
        }
        if !self.should_reconnect() {
            self.phase = Phase::Ended(match source {
                None => Ending::InOrder,
                Some(e) => Ending::Broken(e),
            });
            return;
        }
        let lost = Error::ConnectionLost {
            server: self.link.server(),
            source,
            unsent: self.is_unsure,
        };
        // A refusal has already told why.
        if self.last_refusal.is_none() {
            let hint = if self.is_for_person {
                ", Enter retries now"
            } else {
                ""
            };
            let words = format!("{lost}; reconnecting{hint}");
            frontend.notify(&words, true, now);
        }
        let delay = self.backoff.after_loss(open_for);
        let delay = delay.max(self.conversation.again().unwrap_or_default().min(MAX_AWAY));
        self.phase = offline(now, delay);
    }

    /// Gives the room its password, asks a person for it, or leaves.
    fn answer_password_wish(&mut self, now: Moment, frontend: &mut dyn Frontend) {
        let Some(wish) = self.conversation.password_wish() else {
            return;
        };
        if wish == PasswordWish::Wrong {
            self.password = None;
        }
        self.meet_password_wish(wish, now, frontend);
    }

    fn meet_password_wish(&mut self, wish: PasswordWish, now: Moment, frontend: &mut dyn Frontend) {
        if !matches!(self.phase, Phase::Open(_)) {
            return;
        }
        let is_local = self.link.server().ip().to_canonical().is_loopback();
        let is_wrong = wish == PasswordWish::Wrong;
        let is_secured = self.link.is_secured();
        let why = if !is_secured && !is_local && !self.config.is_plain() {
            PASSWORD_IN_CLEAR
        } else if let Some(error) = self.link.lack_of_trust() {
            if self.asked_for_trust {
                return;
            } else if self.is_leaving && self.is_for_person {
                return self.give_up();
            } else if frontend.ask_trust(&self.link.key().unwrap_or_default(), now) {
                self.asked_for_trust = true;
                if let Some(words) = self.link.key_to_tell() {
                    frontend.notify(&words, true, now);
                }
                return;
            }
            self.untrusted = Some(error);
            self.link.close();
            return self.phase = Phase::Ended(Ending::InOrder);
        } else if let Some(password) = &self.password {
            return self.conversation.give_password(password, now.instant);
        } else if self.asked_for == Some(wish) {
            return;
        } else if self.is_leaving && self.is_for_person {
            return self.give_up();
        } else if frontend.ask_password(is_wrong, now) {
            self.asked_for = Some(wish);
            return;
        } else if is_wrong {
            "wrong password"
        } else {
            "it has a password: give --password-file FILE"
        };
        self.keep_out(why);
    }

    fn keep_out(&mut self, why: &'static str) {
        self.kept_out = Some(why);
        self.link.close();
        self.phase = Phase::Ended(Ending::InOrder);
    }

    /// Leaves a server that is known to be no chat room.
    fn leave_what_is_no_room(&mut self, now: Moment, frontend: &mut dyn Frontend) {
        if !self.conversation.is_no_room() || !matches!(self.phase, Phase::Open(_)) {
            return;
        }
        if self.was_let_in && self.should_reconnect() {
            let words = match self.conversation.greeting() {
                Greeting::Foreign => "another program answers there now".to_owned(),
                _ => format!("no greeting within {} s", GREETING_TIMEOUT.as_secs()),
            };
            return self.connection_lost(Some(io::Error::other(words)), now, frontend);
        }
        self.link.close();
        self.phase = Phase::Ended(Ending::Elsewhere);
    }

    fn should_reconnect(&self) -> bool {
        let may_return = match self.conversation.farewell() {
            Farewell::None | Farewell::Dropped => true,
            Farewell::Goodbye | Farewell::SentAway => false,
        };
        let is_kept_out = self.last_refusal.as_deref().is_some_and(is_lasting_refusal);
        let stays = !self.is_leaving || self.returns_to_deliver();
        self.reconnects && self.was_let_in && stays && may_return && !is_kept_out
    }

    /// Whether to come back, though only to say what is not said or answered.
    fn returns_to_deliver(&self) -> bool {
        // A person who leaves is told what is not said.
        self.reconnects
            && !self.is_for_person
            && self.conversation.can_resume()
            && self.conversation.is_sending()
    }

    /// Lets the conversation `act`, and passes what it hears on to the frontend.
    fn hear(
        &mut self,
        now: Moment,
        frontend: &mut dyn Frontend,
        act: impl FnOnce(&mut Conversation, &mut dyn FnMut(&Message<'_>)),
    ) {
        let naming = self.conversation.naming();
        let was_let_in_before = self.was_let_in;
        let was_holding = self.conversation.is_holding();
        let Self {
            conversation,
            refusals,
            was_let_in,
            is_unheard,
            last_refusal,
            ..
        } = self;
        act(conversation, &mut |message| {
            if message.kind == Kind::Entered {
                return frontend.heard(message, now);
            }
            let is_refusal = message.kind == Kind::Refusal;
            if is_refusal {
                refusals.add(message.text);
            }
            if std::mem::take(is_unheard) {
                let words = is_refusal.then(|| message.text.to_owned());
                let is_known = words.is_some() && *last_refusal == words;
                *last_refusal = words;
                if is_known {
                    // Shown once, however often we try.
                    return;
                }
                if message.kind == Kind::Welcome && std::mem::replace(was_let_in, true) {
                    return frontend.notify("connected again", false, now);
                }
            }
            frontend.heard(message, now);
        });
        if matches!(conversation.wire(), Wire::Objects | Wire::Lines) {
            self.link.keep_key();
        }
        for words in conversation.take_troubles() {
            frontend.notify(&words, true, now);
        }
        let has_joined = !was_let_in_before && self.was_let_in;
        let is_ours = self.conversation.greeting() == Greeting::Ours;
        self.owes_hint |= has_joined && is_ours && !matches!(self.config.name, Wish::Asked(_));
        // Not between what the room says of its past, and that.
        if self.owes_hint && self.conversation.has_told_past() {
            self.owes_hint = false;
            frontend.notify(HINT, false, now);
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

    /// Asks the user what to do with the held lines; a user who is leaving has decided.
    fn ask_about_held(&mut self, frontend: &mut dyn Frontend, now: Moment) {
        if self.is_leaving {
            return self.give_up();
        }
        let waiting = Lines(self.conversation.pending().user_lines());
        let words = format!(
            "{waiting} would be said without your name: Enter sends, \
             /nick NAME takes another name first"
        );
        frontend.notify(&words, true, now);
    }

    /// When to stop waiting for the server's end. Unread input is no silence.
    fn silence_deadline(&self, open: &Open) -> Option<Instant> {
        let is_silent = open.is_half_closed && !open.is_ready;
        // One that answers has answered everything.
        let may_never_end = self.conversation.greeting() != Greeting::Ours
            || self.conversation.wire() == Wire::Objects;
        (is_silent && may_never_end).then_some(open.silent_since + LAST_WORDS_TIMEOUT)
    }

    fn end_in_silence(&mut self, now: Moment) {
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        let stream = self.link.stream();
        match stream.and_then(|it| unacknowledged_bytes(it.stream())) {
            // The server does not read yet, but may.
            Some(1..) => open.silent_since = now.instant,
            _ => {
                info!("{} does not end the connection", self.link.server());
                self.phase = Phase::Ended(Ending::Silent);
            }
        }
    }
}

fn offline(now: Moment, delay: Duration) -> Phase {
    Phase::Offline {
        until: now.instant + delay,
        is_long: delay >= LONG_DELAY,
    }
}

impl Drop for Session {
    /// Whoever leaves at once would seem to be lost, and others would be told later.
    fn drop(&mut self) {
        let may_say_so = self.conversation.may_quit();
        if let (true, Some(stream)) = (may_say_so, self.link.stream()) {
            // What the kernel does not take is not said.
            let _ = stream.write(b"/quit\n");
        }
    }
}

fn conversation(config: &Config, is_for_person: bool) -> Conversation {
    let (wanted, spares) = match &config.name {
        Wish::Asked(name) => (Some(name), &[][..]),
        Wish::Usual(name, spares) if is_for_person => (Some(name), &spares[..]),
        Wish::Usual(..) | Wish::None => (None, &[][..]),
    };
    let mut conversation = Conversation::new(wanted.cloned(), config.sends_only());
    conversation.be_content_with(spares);
    if let Some(lines) = config.past_lines() {
        conversation.ask_for_past(lines);
    }
    if is_for_person && config.shows_time_at_prompt() {
        conversation.ask_for_times();
    }
    conversation
}
