//! The room's side of the client: a connection that is made, used, lost and made again, and
//! the conversation that goes on over it.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use log::info;

use super::Config;
use super::connect::{Failure, Link, Progress};
use super::conversation::{Conversation, Naming};
use super::face::{Face, LinkStatus, Moment, Status};
use super::incoming::{Farewell, Greeting};
use super::message::{Kind, Message};
use super::pauses::Pauses;
use crate::error::{Error, plain};
use crate::interrupt::retry_interrupted;
use crate::machine::unacknowledged_bytes;

/// The most that waits to be sent before nothing more is read that is to be.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// How long the server may be silent after we have ended our side, before its
/// end is not waited for any more: the Python original never ends the connection. Ours
/// does once it has taken everything, which `--rate` can delay, and is waited for.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(3);

/// A server that was there for so long is tried again soon after it has gone; one that
/// comes and goes, ever more seldom.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Told to who wants a name of a server that is not of our kind.
const NO_NAMES: &str = "this server gives no names";

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
    /// The first of what was not taken, in the room's words; and how many there were.
    refusals: (Option<String>, usize),
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

/// How the last connection has ended.
enum Ending {
    /// The server has ended it, or is not waited for any more.
    InOrder,
    /// It broke.
    Broken(io::Error),
    /// The user has given it up.
    GivenUp,
}

/// What is known of an open connection.
struct Open {
    since: Instant,
    is_ready: bool,
    /// Our side has been ended.
    is_sending_ended: bool,
    /// Why something could not be sent.
    send_error: Option<io::Error>,
    /// Since when the server has been silent: all that it sent has been read.
    silent_since: Instant,
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
            refusals: (None, 0),
            config: config.clone(),
        }
    }

    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// When no address can even be tried.
    pub fn connect(&mut self, now: Moment, face: &mut dyn Face) -> Result<(), Error> {
        let progress = self.link.connect(now.instant);
        self.take_progress(progress, now, face)
    }

    /// Goes on with that.
    ///
    /// # Errors
    ///
    /// When no address has answered, and none has before.
    pub fn advance(&mut self, now: Moment, face: &mut dyn Face) -> Result<(), Error> {
        let progress = self.link.advance(now.instant);
        self.take_progress(progress, now, face)
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
            && self.conversation.waiting_bytes() < MAX_WAITING_BYTES
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
        let waits = match self.phase {
            Phase::Open(_) => true,
            Phase::Connecting { is_first } => is_first,
            Phase::Away(_) | Phase::Ended(_) => false,
        };
        if self.is_leaving || !waits {
            self.phase = Phase::Ended(Ending::GivenUp);
        }
        self.is_leaving = true;
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        let link = match &self.phase {
            _ if self.is_leaving => LinkStatus::Leaving,
            Phase::Open(_) => LinkStatus::In {
                is_ours: self.conversation.greeting() == Greeting::Ours,
            },
            Phase::Connecting { .. } | Phase::Away(_) | Phase::Ended(_) => LinkStatus::Away,
        };
        Status {
            link,
            waiting_lines: match link {
                LinkStatus::Away => self.conversation.waiting_lines(),
                LinkStatus::In { .. } | LinkStatus::Leaving => 0,
            },
            waiting_bytes: self.conversation.waiting_bytes(),
            name: self.conversation.name().map(str::to_owned),
        }
    }

    /// Reads what the server has sent, as much as `buffer` holds, and has `face` hear it.
    pub fn read(&mut self, buffer: &mut [u8], now: Moment, face: &mut dyn Face) {
        let (Phase::Open(open), Some(stream)) = (&mut self.phase, self.link.stream()) else {
            return;
        };
        match retry_interrupted(|| stream.read(buffer)) {
            Ok(0) => self.server_has_gone(None, now, face),
            Ok(count) => {
                self.hear(now, face, |conversation, hear| {
                    conversation.received(&buffer[..count], now.instant, hear);
                });
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock if open.send_error.is_none() => {
                    open.is_ready = false;
                    open.silent_since = now.instant;
                    self.conversation.drained(now.instant);
                }
                _ => {
                    let source = open.send_error.take().unwrap_or(e);
                    self.server_has_gone(Some(source), now, face);
                }
            },
        }
    }

    /// Writes what may be written, and ends our side once all is, if we are to leave.
    pub fn write(&mut self) {
        let (Phase::Open(open), Some(stream)) = (&mut self.phase, self.link.stream()) else {
            return;
        };
        if open.is_sending_ended || open.send_error.is_some() {
            return;
        }
        while !self.conversation.unwritten().is_empty() {
            match retry_interrupted(|| stream.write(self.conversation.unwritten())) {
                Ok(count) => self.conversation.wrote(count),
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
            open.silent_since = Instant::now();
        }
    }

    /// Does what is due by now though nothing has happened.
    pub fn expire(&mut self, now: Moment, face: &mut dyn Face) {
        match &self.phase {
            Phase::Away(until) if *until <= now.instant => {
                self.phase = Phase::Connecting { is_first: false };
                // Not the first: no failure of it is an error.
                let _ = self.connect(now, face);
            }
            Phase::Open(open) if !open.is_ready => {
                let silence = self.silence_deadline(open);
                self.hear(now, face, |conversation, hear| {
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
        let server = self.link.server();
        let has_unsent = !self.conversation.is_all_written();
        match self.conversation.naming() {
            Naming::Refused if self.config.sends_only() => return Some(Err(self.refused())),
            Naming::Impossible if self.config.sends_only() => {
                return Some(Err(Error::NotTaken {
                    server,
                    words: NO_NAMES.to_owned(),
                    more: 0,
                }));
            }
            _ => {}
        }
        let ending = match &mut self.phase {
            Phase::Ended(ending) => std::mem::replace(ending, Ending::InOrder),
            _ => return None,
        };
        if self.conversation.greeting() == Greeting::Refused {
            let words = self.refusals.0.take();
            return Some(Err(Error::Refused {
                server,
                // Others have shown them.
                words: words.filter(|_| self.config.sends_only()),
            }));
        }
        let is_let_go = match self.conversation.farewell() {
            Farewell::Goodbye => true,
            // Ours says no more to who has ended its side, once it has read to that end.
            Farewell::None => self.is_leaving,
            Farewell::Dropped | Farewell::SentAway => false,
        };
        let is_done = is_let_go && !has_unsent;
        Some(match ending {
            Ending::GivenUp if has_unsent => Err(Error::NotSaid {
                server,
                lines: self.conversation.waiting_lines().max(1),
            }),
            Ending::GivenUp => Ok(()),
            Ending::InOrder if is_done && self.config.sends_only() && self.refusals.1 > 0 => {
                Err(self.refused())
            }
            Ending::InOrder if is_done => Ok(()),
            Ending::InOrder => Err(Error::ConnectionLost {
                server,
                source: None,
                unsent: has_unsent || self.is_leaving,
            }),
            Ending::Broken(e) => Err(Error::ConnectionLost {
                server,
                source: Some(e),
                unsent: has_unsent,
            }),
        })
    }

    fn refused(&mut self) -> Error {
        Error::NotTaken {
            server: self.link.server(),
            words: self.refusals.0.take().unwrap_or_default(),
            more: self.refusals.1.saturating_sub(1),
        }
    }

    fn take_progress(
        &mut self,
        progress: Progress,
        now: Moment,
        face: &mut dyn Face,
    ) -> Result<(), Error> {
        let is_first = matches!(self.phase, Phase::Connecting { is_first: true });
        match progress {
            Progress::Pending => {}
            Progress::Connected => {
                info!("connected to {}", self.link.server());
                self.conversation.connected(now.instant);
                self.phase = Phase::Open(Open {
                    since: now.instant,
                    is_ready: true,
                    is_sending_ended: false,
                    send_error: None,
                    silent_since: now.instant,
                });
                if !is_first {
                    face.tell("connected again", false, now);
                }
            }
            Progress::Failed(attempts) if is_first => {
                return Err(Error::Connect {
                    host: self.config.host.clone(),
                    port: self.config.port,
                    attempts,
                });
            }
            Progress::Failed(attempts) => {
                log_failures(&attempts);
                self.phase = Phase::Away(now.instant + self.pauses.next_pause());
            }
        }
        Ok(())
    }

    /// Has the conversation do something, and the face hear of it.
    fn hear(
        &mut self,
        now: Moment,
        face: &mut dyn Face,
        act: impl FnOnce(&mut Conversation, &mut dyn FnMut(&Message<'_>)),
    ) {
        let naming = self.conversation.naming();
        let Self {
            conversation,
            refusals,
            ..
        } = self;
        act(conversation, &mut |message| {
            if message.kind == Kind::Refusal {
                refusals.0.get_or_insert_with(|| message.text.to_owned());
                refusals.1 += 1;
            }
            face.heard(message, now);
        });
        let is_news = naming != Naming::Impossible;
        if is_news && self.conversation.naming() == Naming::Impossible && !self.config.sends_only()
        {
            face.tell(NO_NAMES, true, now);
        }
    }

    /// The server has ended the connection, or it broke.
    fn server_has_gone(&mut self, why: Option<io::Error>, now: Moment, face: &mut dyn Face) {
        self.hear(now, face, |conversation, hear| {
            conversation.ended(now.instant, hear)
        });
        let Phase::Open(open) = &mut self.phase else {
            return;
        };
        // What could not be sent did not have to be, if the server has let us go.
        let why = match self.conversation.farewell() {
            Farewell::Goodbye => why,
            _ => why.or(open.send_error.take()),
        };
        let is_unsure = why.is_some()
            && (self.link.stream()).is_some_and(|stream| unacknowledged_bytes(stream) > Some(0));
        if open.since + STABLE_AFTER <= now.instant {
            self.pauses.reset();
        }
        if !self.is_to_come_back() {
            self.phase = Phase::Ended(match why {
                None => Ending::InOrder,
                Some(e) => Ending::Broken(e),
            });
            return;
        }
        let mut words = loss(self.link.server(), why.as_ref());
        words.push_str(match is_unsure {
            true => "; what you said last may not have arrived; trying again",
            false => "; trying again",
        });
        face.tell(&words, true, now);
        self.link.close();
        self.phase = Phase::Away(now.instant + self.pauses.next_pause());
    }

    /// Whether a connection that was lost is to be made again.
    fn is_to_come_back(&self) -> bool {
        self.comes_back
            && !self.is_leaving
            && matches!(
                self.conversation.farewell(),
                Farewell::None | Farewell::Dropped
            )
            && self.conversation.greeting() != Greeting::Refused
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
                self.phase = Phase::Ended(Ending::InOrder);
            }
        }
    }
}

fn log_failures(failures: &[Failure]) {
    for (address, e) in failures {
        info!("{address}: {e}");
    }
}

/// What is said of a connection that has ended, for this reason or in order.
fn loss(server: SocketAddr, why: Option<&io::Error>) -> String {
    match why {
        None => format!("the server at {server} closed the connection"),
        Some(e) => format!("the connection to {server} was lost: {}", plain(e)),
    }
}
