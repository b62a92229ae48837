//! How a connection is made, lost, and made again.

use std::io;
use std::time::Duration;

use log::info;

use super::{Ending, Open, Phase, Session};
use crate::client::connect::{Failure, Progress};
use crate::client::frontend::{Frontend, Moment};
use crate::client::incoming::Farewell;
use crate::error::Error;
use crate::machine::unacknowledged_bytes;
use crate::room::wording::is_lasting_refusal;

/// What was sent not longer ago than this may not have been read by a server whose
/// connection breaks, though its kernel has acknowledged it.
const UNSURE_FOR: Duration = Duration::from_secs(30);

impl Session {
    /// Begins to connect.
    ///
    /// # Errors
    ///
    /// When no address can even be tried.
    pub fn connect(&mut self, now: Moment) -> Result<(), Error> {
        let progress = self.link.connect(now.instant);
        self.take_progress(progress, now)
    }

    /// Goes on with that.
    ///
    /// # Errors
    ///
    /// When no address has answered, and none has before.
    pub fn advance(&mut self, now: Moment) -> Result<(), Error> {
        let progress = self.link.advance(now.instant);
        self.take_progress(progress, now)
    }

    /// A lost server is tried again now, not later; what is held is said.
    pub fn hurry(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Open(_)) {
            self.conversation.release();
        }
        if let Phase::Away(until) = &mut self.phase {
            *until = now.instant;
        }
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
                let local = (self.link.stream()).and_then(|stream| stream.local_addr().ok());
                self.address = local.map(|local| local.ip().to_canonical().to_string());
                self.phase = Phase::Open(Open {
                    since: now.instant,
                    is_ready: true,
                    is_sending_ended: false,
                    send_error: None,
                    silent_since: now.instant,
                    written_at: None,
                });
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
                self.phase = Phase::Away(now.instant + self.pauses.after_failure());
            }
        }
        Ok(())
    }

    /// The server has ended the connection, or it broke.
    pub(super) fn server_has_gone(
        &mut self,
        why: Option<io::Error>,
        now: Moment,
        frontend: &mut dyn Frontend,
    ) {
        self.hear(now, frontend, |conversation, hear| {
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
        let unacknowledged = self.link.stream().and_then(unacknowledged_bytes);
        let was_sent_just_now = open
            .written_at
            .is_some_and(|at| at + UNSURE_FOR > now.instant);
        self.is_unsure = unacknowledged > Some(0) || (why.is_some() && was_sent_just_now);
        let was_there_for = now.instant.duration_since(open.since);
        self.link.close();
        if !self.is_to_come_back() {
            self.phase = Phase::Ended(match why {
                None => Ending::InOrder,
                Some(e) => Ending::Broken(e),
            });
            return;
        }
        let lost = Error::ConnectionLost {
            server: self.link.server(),
            source: why,
            unsent: self.is_unsure,
        };
        let words = format!("{lost}; trying again, Enter tries at once");
        // A refusal has told enough.
        if self.not_let_in.is_none() {
            frontend.notify(&words, true, now);
        }
        self.phase = Phase::Away(now.instant + self.pauses.after_loss(was_there_for));
    }

    /// Whether a connection that was lost is to be made again.
    fn is_to_come_back(&self) -> bool {
        let is_wanted_back = match self.conversation.farewell() {
            Farewell::None | Farewell::Dropped => true,
            Farewell::Goodbye | Farewell::SentAway => false,
        };
        let is_kept_out = self.not_let_in.as_deref().is_some_and(is_lasting_refusal);
        self.comes_back && self.was_in && !self.is_leaving && is_wanted_back && !is_kept_out
    }
}

fn log_failures(failures: &[Failure]) {
    for (address, e) in failures {
        info!("{address}: {e}");
    }
}
