//! What a frontend is: input in, actions out; messages in, bytes to show out. No frontend
//! knows a descriptor or a clock.
//!
//! Here is also what a frontend is made of, for a client and for the server's console: how lines
//! are told apart, and the [`prompt`] of a person at a [`terminal`].

pub(crate) mod entered;
pub mod message;
pub mod terminal;

// What shows a conversation.
#[cfg(feature = "client")]
pub(crate) mod ignored;
#[cfg(feature = "client")]
pub(crate) mod mention;
#[cfg(feature = "client")]
pub(crate) mod people;
#[cfg(feature = "client")]
pub mod prompt;
#[cfg(feature = "client")]
pub mod style;
#[cfg(feature = "client")]
pub(crate) mod wrap;

use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;
use log::{info, warn};

use self::message::Message;

/// With this much unanswered, no more input is read, or accepted.
pub(crate) const MAX_PENDING_BYTES: usize = 256 * 1024;

/// A moment by the monotonic clock and by the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For timeouts.
    pub instant: Instant,
    /// To be shown.
    pub time: SystemTime,
}

impl Moment {
    /// Reads both clocks.
    pub fn now() -> Self {
        Self {
            instant: Instant::now(),
            time: SystemTime::now(),
        }
    }
}

/// What the user wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say these bytes.
    Say(Vec<u8>),
    /// Leave once everything is said.
    Leave,
    /// Wait no longer: retry a lost server, say what is held.
    Hurry,
    /// End at once, as by this signal.
    EndBy(i32),
    /// Stop until the shell resumes the program (job control).
    Suspend,
    /// Give the room this password.
    GivePassword(String),
    /// Give the room, whose key is not confirmed, its password; or leave.
    TrustKey(bool),
}

impl Action {
    /// Whether another program has the terminal after it.
    pub(crate) fn leaves_terminal(&self) -> bool {
        matches!(self, Self::EndBy(_) | Self::Suspend)
    }
}

/// The state of the session, to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// The connection.
    pub link: LinkStatus,
    /// Whether it is known what the server speaks, or there is none.
    pub is_settled: bool,
    /// What the user has said and the room has not answered.
    pub said: Said<'a>,
    /// For how long there has been no answer, if that is worth a word.
    pub no_answer_for: Option<Duration>,
    /// The name that others see us by, if we have one.
    pub name: Option<&'a str>,
}

/// Lines that the user has said and that the room has not answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// How many.
    pub lines: usize,
    /// The length of all of them.
    pub bytes: usize,
    /// The last of them, oldest first: at most [`MAX_SHOWN_LINES`].
    pub last: &'a [(String, bool)],
}

/// At most so many unanswered lines are shown.
pub const MAX_SHOWN_LINES: usize = 5;

/// The state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// In a room.
    In {
        /// Whether the room is of our kind, with commands.
        is_ours: bool,
    },
    /// In a room, with lines held back until the user decides.
    Holding,
    /// Lost, or not made yet.
    Offline,
    /// About to be closed by us.
    Leaving,
}

/// When to ring the terminal's bell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bell {
    /// Not at all
    Never,
    /// When a message mentions your name or is private
    Mention,
    /// For every message
    All,
}

/// One way to show a conversation and to take input.
pub trait Frontend {
    /// Takes `bytes` of standard input.
    fn typed(&mut self, bytes: &[u8], now: Moment);

    /// Standard input has ended.
    fn input_ended(&mut self, now: Moment);

    /// Takes the actions since the last call.
    fn actions(&mut self) -> Vec<Action>;

    /// Takes a message from the room.
    fn heard(&mut self, message: &Message<'_>, now: Moment);

    /// Takes one line from the client itself; `is_trouble` if something went wrong. Logs it,
    /// unless there is a better place.
    fn notify(&mut self, words: &str, is_trouble: bool, _now: Moment) {
        if is_trouble {
            warn!("{words}");
        } else {
            info!("{words}");
        }
    }

    /// Asks the user for the room's password, again if the last one `is_wrong`. Returns false if
    /// there is nobody to ask.
    fn ask_password(&mut self, _is_wrong: bool, _now: Moment) -> bool {
        false
    }

    /// Asks the user whether a room whose key is not confirmed, `_key`, may have the password.
    /// Returns false if there is nobody to ask.
    fn ask_trust(&mut self, _key: &str, _now: Moment) -> bool {
        false
    }

    /// Takes the state of the session.
    fn set_status(&mut self, status: &Status<'_>);

    /// Takes in how many seconds a lost server is tried again, if that is worth a word.
    fn set_next_try(&mut self, _seconds: Option<u64>) {}

    /// Appends what there is to show since the last call to `out`.
    fn compose(&mut self, out: &mut Vec<u8>);

    /// Roughly how many bytes wait to be composed.
    fn waiting_bytes(&self) -> usize;

    /// Takes what the user has entered since the last call, to be remembered.
    fn take_inputs(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// Takes what was shown since the last call, as whole lines for a log.
    fn take_log(&mut self) -> String {
        String::new()
    }

    /// When [`Frontend::expire`] is next due, if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Acts on deadlines that have passed.
    fn expire(&mut self, _now: Moment) {}

    /// Takes the terminal's size.
    fn resized(&mut self, _columns: usize, _rows: usize) {}

    /// Hides what is drawn, so that another program can write from the cursor on, or draws it
    /// again.
    fn set_hidden(&mut self, _is_hidden: bool) {}
}
