//! The result of a client, from what is known once there is no connection any more.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::conversation::{Farewell, GREETING_TIMEOUT, Naming};
use super::incoming::Greeting;
use crate::error::Error;

/// Shown when a name is wanted from a server that is not of our kind.
pub(crate) const NO_NAMES: &str = "this server gives no names";

/// How the last connection ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The server closed it.
    InOrder,
    Broken(io::Error),
    /// The server fell silent, and the client stopped waiting.
    Silent,
    /// The user gave it up.
    GivenUp,
    /// The room took the client no further in time.
    TimedOut,
    /// There is no room.
    Elsewhere,
    /// The user does not trust the room.
    Untrusted(Error),
}

/// What else is known at that time.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) server: SocketAddr,
    /// Whether the connection was over TLS.
    pub(crate) is_secured: bool,
    pub(crate) greeting: Greeting,
    pub(crate) farewell: Farewell,
    /// Why the room did not let us in, if that was about its password.
    pub(crate) kept_out: Option<String>,
    pub(crate) naming: Naming,
    /// Whether a server has ever let us in.
    pub(crate) was_let_in: bool,
    /// Whether we meant to leave.
    pub(crate) is_leaving: bool,
    /// Whether nothing is shown, and the room has to take everything.
    pub(crate) sends_only: bool,
    /// Whether the room answers each line.
    pub(crate) answers: bool,
    /// How long the room was given, if the client has a timeout.
    pub(crate) timeout: Duration,
    /// How many lines were not even written.
    pub(crate) unsent_lines: usize,
    /// Lines that were written to a room that answers, and not answered.
    pub(crate) in_doubt: Vec<String>,
    /// How many more such lines there were before, which are on standard error.
    pub(crate) doubted_lines: usize,
    /// How many lines were left out, which standard error names with the reason.
    pub(crate) left_out_lines: usize,
    /// Whether some of what was written may not have arrived.
    pub(crate) is_unsure: bool,
    pub(crate) refusals: Refusals,
}

/// What the room did not take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals {
    /// The room's words about the first.
    pub(crate) first: Option<String>,
    pub(crate) count: usize,
}

impl Refusals {
    pub(crate) fn add(&mut self, words: &str) {
        self.first.get_or_insert_with(|| words.to_owned());
        self.count += 1;
    }
}

impl Facts {
    /// The error of a client that only sends, once it cannot send any more, although the
    /// connection is still open.
    pub(crate) fn end_early(&self) -> Option<Error> {
        let is_refused = self.greeting == Greeting::Refused && self.refusals.count > 0;
        match self.naming {
            _ if !self.sends_only => None,
            _ if is_refused => Some(self.refused()),
            Naming::Refused => Some(self.not_taken()),
            Naming::Impossible => Some(Error::NotTaken {
                server: self.server,
                words: NO_NAMES.to_owned(),
                more: 0,
            }),
            Naming::Unanswered => Some(self.no_room(true)),
            Naming::Open | Naming::Given => None,
        }
    }

    /// The result of a client whose last connection ended with `ending`.
    pub(crate) fn end(self, ending: Ending) -> Result<(), Error> {
        let server = self.server;
        if let Some(words) = self.kept_out {
            let words = Some(words);
            return Err(Error::Refused { server, words });
        }
        let unsent = self.unsent_lines > 0;
        // To a user who was in before, a refused return matters less than unsent lines, and
        // not at all once the user gave up.
        let has_left = self.was_let_in && (unsent || matches!(ending, Ending::GivenUp));
        if self.greeting == Greeting::Refused && !has_left {
            return Err(self.refused());
        }
        if self.answers && !matches!(ending, Ending::Untrusted(_)) {
            return self.end_of_session(ending);
        }
        // A server that answers nothing may close without a word.
        let is_let_go = self.is_leaving;
        match ending {
            Ending::GivenUp if unsent => Err(Error::NotSaid {
                server,
                lines: self.unsent_lines,
            }),
            Ending::GivenUp => Ok(()),
            Ending::TimedOut => Err(self.no_answer()),
            Ending::Elsewhere if self.greeting == Greeting::Awaited => Err(Error::NoAnswer {
                server,
                timeout: GREETING_TIMEOUT,
                has_greeted: false,
                is_secured: self.is_secured,
            }),
            Ending::Elsewhere => Err(self.no_room(false)),
            Ending::InOrder | Ending::Silent if self.sends_only && !self.is_room() => {
                Err(self.no_room(true))
            }
            Ending::InOrder | Ending::Silent if !is_let_go || unsent || self.is_unsure => {
                Err(Error::ConnectionLost {
                    server,
                    source: None,
                    unsent: unsent || self.is_unsure || self.is_leaving,
                })
            }
            Ending::InOrder | Ending::Silent if self.sends_only && self.refusals.count > 0 => {
                Err(self.not_taken())
            }
            Ending::InOrder | Ending::Silent => self.taken(),
            Ending::Broken(e) => Err(Error::ConnectionLost {
                server,
                source: Some(e),
                unsent: unsent || self.is_unsure,
            }),
            Ending::Untrusted(error) => Err(error),
        }
    }

    /// The result of a client of a room that answers.
    fn end_of_session(self, ending: Ending) -> Result<(), Error> {
        let server = self.server;
        let is_given_up = matches!(ending, Ending::GivenUp);
        let is_late = matches!(ending, Ending::TimedOut);
        let source = match ending {
            Ending::Broken(e) => Some(e),
            _ => None,
        };
        let is_let_go = self.is_leaving || is_given_up || self.farewell == Farewell::Goodbye;
        if !self.in_doubt.is_empty() || (is_let_go && self.doubted_lines > 0) {
            return Err(Error::InDoubt {
                server,
                source,
                lines: self.in_doubt,
                more: self.doubted_lines,
            });
        }
        match self.unsent_lines {
            0 if is_let_go && self.sends_only && self.refusals.count > 0 => Err(self.not_taken()),
            // The last line is answered: it does not matter how the connection ended.
            0 if is_let_go => self.taken(),
            _ if is_late => Err(self.no_answer()),
            lines @ 1.. if is_given_up => Err(Error::NotSaid { server, lines }),
            lines => Err(Error::ConnectionLost {
                server,
                source,
                unsent: lines > 0,
            }),
        }
    }

    fn no_answer(&self) -> Error {
        Error::NoAnswer {
            server: self.server,
            timeout: self.timeout,
            has_greeted: self.is_room(),
            is_secured: self.is_secured,
        }
    }

    fn no_room(&self, has_said: bool) -> Error {
        Error::NoRoom {
            server: self.server,
            has_said,
            is_secured: self.is_secured,
        }
    }

    /// The result once the room has taken all that was said.
    fn taken(&self) -> Result<(), Error> {
        match self.left_out_lines {
            0 => Ok(()),
            lines => Err(Error::LeftOut {
                server: self.server,
                lines,
            }),
        }
    }

    /// Whether the server is known to be a chat room.
    fn is_room(&self) -> bool {
        match self.greeting {
            Greeting::Ours | Greeting::Original => true,
            Greeting::Awaited | Greeting::Unknown | Greeting::Foreign | Greeting::Refused => false,
        }
    }

    fn refused(&self) -> Error {
        Error::Refused {
            server: self.server,
            // The other frontends have shown them.
            words: self.refusals.first.clone().filter(|_| self.sends_only),
        }
    }

    fn not_taken(&self) -> Error {
        Error::NotTaken {
            server: self.server,
            words: self.refusals.first.clone().unwrap_or_default(),
            more: self.refusals.count.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    /// A client that has sent everything to one of our servers, and is about to leave.
    fn facts(sends_only: bool) -> Facts {
        Facts {
            server: "127.0.0.1:1".parse().unwrap(),
            is_secured: false,
            greeting: Greeting::Ours,
            farewell: Farewell::None,
            kept_out: None,
            naming: Naming::Open,
            was_let_in: true,
            is_leaving: true,
            sends_only,
            answers: false,
            timeout: Duration::from_secs(30),
            unsent_lines: 0,
            in_doubt: Vec::new(),
            doubted_lines: 0,
            left_out_lines: 0,
            is_unsure: false,
            refusals: Refusals::default(),
        }
    }

    fn refused_once() -> Refusals {
        Refusals {
            first: Some("no".to_owned()),
            count: 1,
        }
    }

    /// The exit code of such a client after `change`.
    fn code(sends_only: bool, ending: Ending, change: impl FnOnce(&mut Facts)) -> Exit {
        let mut facts = facts(sends_only);
        change(&mut facts);
        match facts.end(ending) {
            Ok(()) => Exit::Success,
            Err(e) => e.exit(),
        }
    }

    fn broken() -> Ending {
        Ending::Broken(io::ErrorKind::ConnectionReset.into())
    }

    #[test]
    fn a_client_that_has_sent_everything_ends_well() {
        for sends_only in [false, true] {
            for answers in [false, true] {
                let ends_well = |ending, greeting| {
                    let exit = code(sends_only, ending, |facts| {
                        facts.answers = answers;
                        facts.greeting = greeting;
                    });
                    assert_eq!(exit, Exit::Success);
                };
                ends_well(Ending::InOrder, Greeting::Ours);
                ends_well(Ending::Silent, Greeting::Original);
                ends_well(Ending::GivenUp, Greeting::Ours);
                ends_well(Ending::GivenUp, Greeting::Refused);
            }
        }
        assert_eq!(code(false, Ending::InOrder, |_| {}), Exit::Success);
    }

    #[test]
    fn a_client_that_only_sends_needs_a_confirmation() {
        for greeting in [Greeting::Awaited, Greeting::Unknown] {
            for ending in [Ending::InOrder, Ending::Silent] {
                let exit = code(true, ending, |facts| facts.greeting = greeting);
                assert_eq!(exit, Exit::ConnectionLost);
            }
            let exit = code(false, Ending::Silent, |facts| facts.greeting = greeting);
            assert_eq!(exit, Exit::Success);
        }
    }

    #[test]
    fn in_a_room_that_answers_only_what_is_not_answered_matters() {
        let endings: [fn() -> Ending; 4] = [
            || Ending::InOrder,
            || Ending::Silent,
            || Ending::TimedOut,
            broken,
        ];
        for sends_only in [false, true] {
            for ending in endings {
                let exit = |change: fn(&mut Facts)| {
                    code(sends_only, ending(), |facts| {
                        facts.answers = true;
                        change(facts);
                    })
                };
                assert_eq!(exit(|_| {}), Exit::Success);
                assert_eq!(exit(|facts| facts.is_leaving = false), Exit::ConnectionLost);
                assert_eq!(exit(|facts| facts.unsent_lines = 1), Exit::ConnectionLost);
                assert_eq!(exit(|facts| facts.doubted_lines = 1), Exit::InDoubt);
                let in_doubt = exit(|facts| {
                    facts.in_doubt = vec!["hi".to_owned()];
                    facts.unsent_lines = 1;
                });
                assert_eq!(in_doubt, Exit::InDoubt);
            }
        }
        let refused = |facts: &mut Facts| {
            facts.answers = true;
            facts.refusals = refused_once();
        };
        assert_eq!(code(true, Ending::InOrder, refused), Exit::Refused);
    }

    #[test]
    fn a_program_learns_that_lines_were_left_out() {
        for sends_only in [false, true] {
            for answers in [false, true] {
                let exit = code(sends_only, Ending::InOrder, |facts| {
                    facts.answers = answers;
                    facts.left_out_lines = 1;
                });
                assert_eq!(exit, Exit::Refused);
            }
        }
    }

    #[test]
    fn what_may_not_have_arrived_is_a_lost_connection() {
        for sends_only in [false, true] {
            let is_lost = |ending, change: fn(&mut Facts)| {
                assert_eq!(code(sends_only, ending, change), Exit::ConnectionLost);
            };
            is_lost(broken(), |_| {});
            is_lost(Ending::InOrder, |facts| facts.is_leaving = false);
            is_lost(Ending::InOrder, |facts| facts.unsent_lines = 1);
            is_lost(Ending::InOrder, |facts| facts.is_unsure = true);
            is_lost(Ending::GivenUp, |facts| facts.unsent_lines = 2);
            is_lost(Ending::Silent, |facts| {
                facts.greeting = Greeting::Original;
                facts.unsent_lines = 1;
            });
            is_lost(Ending::InOrder, |facts| {
                facts.greeting = Greeting::Refused;
                facts.unsent_lines = 1;
            });
        }
    }

    #[test]
    fn a_refusal_is_an_error_of_a_client_that_only_sends() {
        for (sends_only, exit) in [(false, Exit::Success), (true, Exit::Refused)] {
            let refused = |facts: &mut Facts| facts.refusals = refused_once();
            assert_eq!(code(sends_only, Ending::InOrder, refused), exit);
        }
        let not_let_in = |facts: &mut Facts| facts.greeting = Greeting::Refused;
        assert_eq!(code(false, Ending::InOrder, not_let_in), Exit::Refused);
        assert_eq!(code(false, broken(), not_let_in), Exit::Refused);
        let never_in = |facts: &mut Facts| {
            facts.greeting = Greeting::Refused;
            facts.was_let_in = false;
            facts.unsent_lines = 1;
        };
        assert_eq!(code(false, Ending::InOrder, never_in), Exit::Refused);
    }

    #[test]
    fn a_client_that_only_sends_ends_as_soon_as_it_cannot() {
        let ends_early = |sends_only, change: fn(&mut Facts)| {
            let mut facts = facts(sends_only);
            change(&mut facts);
            facts.end_early().map(|error| error.exit())
        };
        let refused_name: fn(&mut Facts) = |facts| facts.naming = Naming::Refused;
        let no_names: fn(&mut Facts) = |facts| facts.naming = Naming::Impossible;
        let unanswered: fn(&mut Facts) = |facts| facts.naming = Naming::Unanswered;
        assert_eq!(ends_early(true, unanswered), Some(Exit::ConnectionLost));
        let not_let_in: fn(&mut Facts) = |facts| {
            facts.greeting = Greeting::Refused;
            facts.refusals = refused_once();
        };
        for change in [refused_name, no_names, not_let_in] {
            assert_eq!(ends_early(true, change), Some(Exit::Refused));
            assert_eq!(ends_early(false, change), None);
        }
        assert_eq!(ends_early(true, |_| {}), None);
        // The text of a refusal may still be in flight.
        assert_eq!(
            ends_early(true, |facts| facts.greeting = Greeting::Refused),
            None
        );
    }
}
