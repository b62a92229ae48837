//! The frontend of `chat send`: says what comes from standard input, and shows nothing.

use super::frontend::{Action, Frontend, Moment, Status};
use super::message::Message;

#[derive(Debug, Default)]
pub(crate) struct Silent {
    /// Whether the last line of input has not ended. It must be before the half-close.
    is_unfinished: bool,
    actions: Vec<Action>,
}

impl Frontend for Silent {
    fn typed(&mut self, bytes: &[u8], _now: Moment) {
        if let Some(&last) = bytes.last() {
            self.is_unfinished = last != b'\n';
        }
        self.actions.push(Action::Say(bytes.to_vec()));
    }

    fn input_ended(&mut self, now: Moment) {
        if self.is_unfinished {
            self.typed(b"\n", now);
        }
        self.actions.push(Action::Leave);
    }

    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn heard(&mut self, _message: &Message<'_>, _now: Moment) {}

    fn set_status(&mut self, _status: &Status<'_>) {}

    fn compose(&mut self, _out: &mut Vec<u8>) {}

    fn waiting_bytes(&self) -> usize {
        0
    }
}
