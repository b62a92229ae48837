//! Fill: whose input is read in a turn, and how much of it.
//!
//! Who has just sent something comes first, and then, in turn, those who were not
//! read to the end the last time: a person need not queue behind flooders. Whoever
//! has used up its allowance while readers are behind is not read until they have
//! caught up.

use std::collections::VecDeque;

use super::Clients;
use crate::close::CloseReason;
use crate::connection::{Connection, Received, Stream};
use crate::figures::Traffic;
use crate::reactor::Service;
use crate::turn::{ClientId, Turn};

/// The most that is read from one client before it is the next one's turn; also
/// the size of the one buffer that all reads share.
pub const READ_BUDGET_BYTES: usize = 16 * 1024;

/// Once a turn has gathered this much it is sent, and those not yet read have to
/// wait for the next turn. Bounds the time for which nothing is written, and the
/// memory of a turn: to this, and what one read budget of the shortest lines comes
/// to once each has its sender's name or its answer.
pub const TURN_BUDGET_BYTES: usize = 256 * 1024;

/// What a turn may come to once it has been copied to every reader: the more
/// readers, the less is gathered, so that the time a turn takes stays much the same.
/// One read budget is always gathered.
pub const FAN_OUT_BUDGET_BYTES: usize = 16 * 1024 * 1024;

/// Those that may have input that was not read yet. A key may be listed after its
/// connection has gone.
#[derive(Debug, Default)]
pub(super) struct ReadLists {
    /// Have become readable since they were last read.
    fresh: VecDeque<usize>,
    /// Were not read to the end.
    left_over: VecDeque<usize>,
    /// Have used up their allowance, and wait for readers to catch up.
    paused: Vec<usize>,
}

impl ReadLists {
    /// Whether anybody can be read.
    pub(super) fn has_work(&self) -> bool {
        !(self.fresh.is_empty() && self.left_over.is_empty())
    }

    /// How many are paused.
    pub(super) fn paused(&self) -> usize {
        self.paused.len()
    }
}

/// Where reading stopped.
enum AfterRead {
    /// At the budget: there may be more.
    More,
    WouldBlock,
    Ended(CloseReason),
}

impl<S: Stream> Clients<S> {
    /// Reads those that have input, hands their lines to `service`, and leaves what
    /// it says to them in `turn`.
    pub fn fill(&mut self, service: &mut impl Service, turn: &mut Turn) {
        let turn_budget_bytes = self.turn_budget_bytes();
        // What those say could not be sent yet, and would be in the way of those who
        // come meanwhile.
        let left_over = match self.is_sending() {
            true => 0,
            false => self.read_lists.left_over.len(),
        };
        for _ in 0..self.read_lists.fresh.len() {
            if turn.size_bytes() >= turn_budget_bytes {
                break;
            }
            let key = self.read_lists.fresh.pop_front();
            self.fill_from(key.expect("so many are listed"), service, turn);
        }
        for number in 0..left_over {
            // One of them is read in any case, however many are fresh.
            if number > 0 && turn.size_bytes() >= turn_budget_bytes {
                break;
            }
            let key = self.read_lists.left_over.pop_front();
            self.fill_from(key.expect("so many are listed"), service, turn);
        }
    }

    fn turn_budget_bytes(&self) -> usize {
        (FAN_OUT_BUDGET_BYTES / self.slab.len().max(1)).clamp(READ_BUDGET_BYTES, TURN_BUDGET_BYTES)
    }

    fn fill_from(&mut self, key: usize, service: &mut impl Service, turn: &mut Turn) {
        let Some(connection) = self.slab.get_mut(key) else {
            return;
        };
        let mut budget_bytes = READ_BUDGET_BYTES;
        if connection.is_member() {
            budget_bytes = budget_bytes.min(self.flow.allowance_bytes(&connection.talker));
            if budget_bytes == 0 {
                self.read_lists.paused.push(key);
                return;
            }
        }
        connection.in_read_list = false;
        let said_before = turn.size_bytes();
        let after_read = read_lines(
            connection,
            ClientId(key),
            &mut self.read_buffer[..budget_bytes],
            &mut self.traffic,
            service,
            turn,
        );
        let said_bytes = turn.size_bytes() - said_before;
        self.flow.said(&mut connection.talker, said_bytes);
        match after_read {
            AfterRead::More => {
                connection.in_read_list = true;
                self.read_lists.left_over.push_back(key);
            }
            AfterRead::WouldBlock => {}
            AfterRead::Ended(reason) => self.leave(key, reason),
        }
        self.close_those_asked_for(turn);
    }

    /// Puts `key` down to be read.
    pub(super) fn list_for_reading(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        if !connection.in_read_list {
            connection.in_read_list = true;
            self.read_lists.fresh.push_back(key);
        }
    }

    /// Lets those that are paused be read again; whoever may still not say anything
    /// is paused again when its turn comes.
    pub(super) fn resume_paused(&mut self) {
        self.read_lists
            .left_over
            .extend(self.read_lists.paused.drain(..));
    }
}

/// Reads `connection` until it would block, ends, or `buffer` has been filled once.
/// A client that has left the room is read as well, but not heard.
fn read_lines<S: Stream>(
    connection: &mut Connection<S>,
    id: ClientId,
    buffer: &mut [u8],
    traffic: &mut Traffic,
    service: &mut impl Service,
    turn: &mut Turn,
) -> AfterRead {
    let mut budget_bytes = buffer.len();
    while budget_bytes > 0 {
        match connection.receive(&mut buffer[..budget_bytes]) {
            Received::Bytes(count) => {
                budget_bytes -= count;
                if !connection.is_member() {
                    continue;
                }
                traffic.bytes_in += count as u64;
                let mut input = &buffer[..count];
                while let Some(line) = connection.decoder.next_line(&mut input) {
                    traffic.lines_in += 1;
                    service.received(id, line, turn);
                    if turn.closes(id) {
                        return AfterRead::More;
                    }
                }
            }
            Received::WouldBlock => return AfterRead::WouldBlock,
            Received::End => {
                if connection.is_member()
                    && let Some(line) = connection.decoder.finish()
                {
                    traffic.lines_in += 1;
                    service.received(id, line, turn);
                }
                return AfterRead::Ended(CloseReason::PeerClosed);
            }
            Received::Failed(kind) => return AfterRead::Ended(CloseReason::Lost(kind)),
        }
    }
    AfterRead::More
}
