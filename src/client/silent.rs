//! The frontend of `chat send`: says what comes from standard input, and shows nothing.

use crate::frontend::message::Message;
use crate::frontend::{Action, Frontend, Moment, Status};

#[derive(Debug, Default)]
pub(crate) struct Silent {
    actions: Vec<Action>,
}

impl Frontend for Silent {
    fn typed(&mut self, bytes: &[u8], _now: Moment) {
        self.actions.push(Action::Say(bytes.to_vec()));
    }

    fn input_ended(&mut self, _now: Moment) {
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
