//! Fill: whose input is read in a turn, and how much of it.
//!
//! Who has just sent something comes first, and then, in turn, those who were not
//! read to the end the last time: a person need not queue behind flooders. Whoever
//! has used up its allowance while readers are behind is not read until they have
//! caught up.

use std::collections::VecDeque;
use std::time::Instant;

use super::deadlines::Kind;
use super::{Clients, Listed};
use crate::protocol::batch::{Batch, ClientId};
use crate::protocol::close::CloseReason;
use crate::reactor::Service;
use crate::reactor::connection::{Connection, Phase, ReadState, Received, Stream};
use crate::reactor::flow::MAX_ANSWERS_BYTES;
use crate::reactor::rate::Rate;
use crate::server::stats::Traffic;

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

/// The most that is read at once from a client whose rate is bounded: what it may not
/// say yet is kept in memory, and TCP keeps the rest at its end.
const RATED_READ_BYTES: usize = 4 * 1024;

/// So many clients that wait to be read are a crowd: newcomers wait for it in the kernel.
/// Who comes, says something and goes is found to have gone only when it is read.
const UNREAD_CROWD: usize = 512;

/// Those that may have input that was not read yet, each in one of the lists.
#[derive(Debug, Default)]
pub(super) struct ReadLists {
    /// Have become readable since they were last read.
    fresh: VecDeque<Listed>,
    /// Were not read to the end.
    left_over: VecDeque<Listed>,
    /// Have used up their allowance, and wait for readers to catch up.
    paused: Vec<Listed>,
}

impl ReadLists {
    /// Whether anybody can be read.
    pub(super) fn has_work(&self) -> bool {
        !(self.fresh.is_empty() && self.left_over.is_empty())
    }
}

/// Where reading stopped.
enum AfterRead {
    /// At the budget: there may be more.
    More,
    WouldBlock,
    /// At what the client may say for now.
    Delayed {
        until: Instant,
    },
    Ended(CloseReason),
}

impl<S: Stream> Clients<S> {
    /// Reads those that have input, hands their lines to `service`, and leaves what
    /// it says to them in `turn`.
    pub fn fill(&mut self, service: &mut impl Service, turn: &mut Batch) {
        let turn_budget_bytes = self.turn_budget_bytes();
        // What those say could not be sent yet, and would be in the way of those who
        // come meanwhile.
        let left_over = match self.is_sending() {
            true => 0,
            false => self.read_lists.left_over.len(),
        };
        for _ in 0..self.read_lists.fresh.len() {
            if self.gathered_bytes >= turn_budget_bytes {
                break;
            }
            let listed = self.read_lists.fresh.pop_front();
            self.fill_from(listed.expect("so many are listed"), service, turn);
        }
        for number in 0..left_over {
            // One of them is read in any case, however many are fresh.
            if number > 0 && self.gathered_bytes >= turn_budget_bytes {
                break;
            }
            let listed = self.read_lists.left_over.pop_front();
            self.fill_from(listed.expect("so many are listed"), service, turn);
        }
    }

    fn turn_budget_bytes(&self) -> usize {
        (FAN_OUT_BUDGET_BYTES / self.slab.len().max(1)).clamp(READ_BUDGET_BYTES, TURN_BUDGET_BYTES)
    }

    fn fill_from(&mut self, listed: Listed, service: &mut impl Service, turn: &mut Batch) {
        let key = listed.key;
        let Some(connection) = listed.find(&mut self.slab) else {
            return;
        };
        if connection.reading != ReadState::Listed {
            return;
        }
        if connection.is_member() && !self.flow.may_say_more(&connection.talker) {
            connection.reading = ReadState::Paused;
            self.read_lists.paused.push(listed);
            return;
        }
        if connection.is_member() && connection.queue().answers_cost_bytes() > MAX_ANSWERS_BYTES {
            connection.reading = ReadState::Answered;
            return;
        }
        connection.reading = ReadState::Idle;
        let said_before = turn.size_bytes();
        let read_before = self.traffic.bytes_in;
        let mut reading = Reading {
            id: ClientId(key),
            rate: self.policy.rate,
            now: self.now,
            traffic: &mut self.traffic,
            service,
            turn,
        };
        let after_read = reading.read(connection, &mut self.read_buffer);
        let said_bytes = turn.size_bytes() - said_before;
        let read_bytes = self.traffic.bytes_in - read_before;
        self.gathered_bytes += said_bytes;
        let weight_bytes = said_bytes.max(read_bytes as usize);
        self.flow.said(&mut connection.talker, weight_bytes);
        match after_read {
            AfterRead::More => {
                connection.reading = ReadState::Listed;
                self.read_lists.left_over.push_back(listed);
            }
            AfterRead::Delayed { until } => {
                connection.reading = ReadState::Delayed;
                self.arm(key, until, Kind::Speak);
            }
            AfterRead::WouldBlock => {}
            AfterRead::Ended(reason) => self.leave(key, reason),
        }
        self.close_those_asked_for(turn);
    }

    /// Puts `key` down to be read, unless it is, or has to wait: edges that come
    /// meanwhile are of no use. Who has left waits for nothing.
    pub(super) fn list_for_reading(&mut self, key: usize) {
        let connection = &mut self.slab[key];
        let may_be_listed = match connection.reading {
            ReadState::Idle => true,
            ReadState::Listed => false,
            ReadState::Paused | ReadState::Delayed | ReadState::Answered => {
                connection.phase != Phase::Open
            }
        };
        if may_be_listed {
            connection.reading = ReadState::Listed;
            let serial = connection.serial;
            self.read_lists.fresh.push_back(Listed { key, serial });
        }
    }

    /// Lets those that are paused be read again; whoever may still not say anything
    /// is paused again when its turn comes.
    pub(super) fn resume_paused(&mut self) {
        for listed in self.read_lists.paused.drain(..) {
            if let Some(connection) = listed.find(&mut self.slab)
                && connection.reading == ReadState::Paused
            {
                connection.reading = ReadState::Listed;
                self.read_lists.left_over.push_back(listed);
            }
        }
    }

    /// Whether so many have sent something that they are to be heard, or found to have
    /// gone, before others are let in.
    pub fn is_crowd_unread(&self) -> bool {
        let ReadLists {
            fresh,
            left_over,
            paused,
        } = &self.read_lists;
        fresh.len() + left_over.len() + paused.len() >= UNREAD_CROWD
    }

    /// How many are paused.
    pub(super) fn paused(&self) -> usize {
        let connections = self.slab.iter();
        connections
            .filter(|(_, connection)| connection.reading == ReadState::Paused)
            .count()
    }
}

/// What reading one client needs besides its connection.
struct Reading<'a, S> {
    id: ClientId,
    rate: Option<Rate>,
    now: Instant,
    traffic: &'a mut Traffic,
    service: &'a mut S,
    turn: &'a mut Batch,
}

impl<V: Service> Reading<'_, V> {
    /// Reads `connection` until it would block, ends, has said what it may, or
    /// `buffer` has been filled once. A client that has left the room is read as
    /// well, but not heard.
    fn read<S: Stream>(&mut self, connection: &mut Connection<S>, buffer: &mut [u8]) -> AfterRead {
        if connection.is_member()
            && let Some(restraint) = &mut connection.restraint
        {
            let unheard = std::mem::take(&mut restraint.unheard);
            if let Some(stopped) = self.hear(connection, &unheard) {
                return stopped;
            }
        }
        let mut budget_bytes = match self.rate {
            Some(_) => buffer.len().min(RATED_READ_BYTES),
            None => buffer.len(),
        };
        while budget_bytes > 0 {
            match connection.receive(&mut buffer[..budget_bytes]) {
                Received::Bytes(count) => {
                    budget_bytes -= count;
                    if !connection.is_member() {
                        continue;
                    }
                    self.traffic.bytes_in += count as u64;
                    if let Some(stopped) = self.hear(connection, &buffer[..count]) {
                        return stopped;
                    }
                }
                Received::WouldBlock => return AfterRead::WouldBlock,
                Received::End => {
                    if connection.is_member()
                        && let Some(line) = connection.decoder.finish()
                    {
                        self.traffic.lines_in += 1;
                        self.service.received(self.id, line, self.now, self.turn);
                    }
                    return AfterRead::Ended(CloseReason::PeerClosed);
                }
                Received::Failed(kind) => return AfterRead::Ended(CloseReason::Lost(kind)),
            }
        }
        AfterRead::More
    }

    /// Hands the lines in `input` to the service. If not all of it may be heard now,
    /// the rest is kept for later, and what is returned ends the reading.
    fn hear<S: Stream>(
        &mut self,
        connection: &mut Connection<S>,
        mut input: &[u8],
    ) -> Option<AfterRead> {
        loop {
            if let (Some(rate), Some(restraint)) = (self.rate, &mut connection.restraint)
                && !input.is_empty()
                && let Some(until) = restraint.bucket.ready_at(rate, self.now)
            {
                restraint.unheard = input.to_vec();
                return Some(AfterRead::Delayed { until });
            }
            if let Some(restraint) = &mut connection.restraint
                && !input.is_empty()
            {
                restraint.heard_at = self.now;
            }
            let line = connection.decoder.next_line(&mut input)?;
            if let (Some(rate), Some(restraint)) = (self.rate, &mut connection.restraint) {
                restraint.bucket.take(rate, self.now);
            }
            self.traffic.lines_in += 1;
            self.service.received(self.id, line, self.now, self.turn);
            if self.turn.closes(self.id) {
                return Some(AfterRead::More);
            }
        }
    }
}
