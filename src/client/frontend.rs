//! Between a person, or a program, and the conversation: what is typed turns into actions,
//! what happens turns into bytes to be shown. No frontend knows a descriptor or a clock.

use std::time::Instant;

use jiff::Timestamp;

use super::message::Message;

/// A moment, by the clock that never goes back and by the one on the wall.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the one.
    pub instant: Instant,
    /// By the other.
    pub time: Timestamp,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self {
            instant: Instant::now(),
            time: Timestamp::now(),
        }
    }
}

/// What is wanted from the loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To say these bytes.
    Say(Vec<u8>),
    /// To leave once all is said.
    Leave,
    /// To wait no longer: to try a lost server at once, to say what is held.
    Hurry,
    /// To end at once, as this signal would have it.
    EndBy(i32),
    /// To be stopped, and to go on later: job control.
    Suspend,
}

impl Action {
    /// Whether somebody else has the terminal after it.
    pub fn leaves_terminal(&self) -> bool {
        matches!(self, Self::EndBy(_) | Self::Suspend)
    }
}

/// How things stand.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// The connection.
    pub link: LinkStatus,
    /// So many lines wait to be said. Known only while they have to wait.
    pub waiting_lines: usize,
    /// So many bytes wait to be said.
    pub waiting_bytes: usize,
    /// The name that others see us by, if we have one.
    pub name: Option<&'a str>,
    /// The address that others see us by if we have none, as far as can be told: a router
    /// on the way may show them another.
    pub address: Option<&'a str>,
}

/// How the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStatus {
    /// We are in a room; whether it is one of our kind, with commands.
    In {
        /// Whether it is.
        is_ours: bool,
    },
    /// We are in a room, and what waits is held until the user decides.
    Holding,
    /// There is none; it is tried again.
    Away,
    /// We are about to leave.
    Leaving,
}

/// One way to show things.
pub trait Frontend {
    /// `bytes` were typed, or came from wherever standard input does.
    fn typed(&mut self, bytes: &[u8], now: Moment);

    /// Nothing more will be typed.
    fn input_ended(&mut self, now: Moment);

    /// What is wanted since this was last asked.
    fn actions(&mut self) -> Vec<Action>;

    /// The room said this.
    fn heard(&mut self, message: &Message<'_>, now: Moment);

    /// The client itself has something to tell, in one line; `is_trouble` if it did
    /// not go as wanted.
    fn notify(&mut self, words: &str, is_trouble: bool, now: Moment);

    /// This is how things stand.
    fn set_status(&mut self, status: &Status<'_>);

    /// Appends to `out` what is to be shown since this was last asked.
    fn compose(&mut self, out: &mut Vec<u8>);

    /// How many bytes wait to be composed, about.
    fn waiting_bytes(&self) -> usize;

    /// When [`Frontend::expire`] has something to do, if nothing happens.
    fn deadline(&self) -> Option<Instant>;

    /// Does what is to be done by now.
    fn expire(&mut self, now: Moment);

    /// The terminal has so many columns and rows.
    fn resized(&mut self, columns: usize, rows: usize);

    /// Gives the terminal back, from where the cursor stands to its end, or takes it
    /// again.
    fn set_hidden(&mut self, is_hidden: bool);
}
