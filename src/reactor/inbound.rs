//! Which clients are read in an iteration, and how much.
//!
//! Clients that have just sent something come first, and then, in turn, those that were
//! not read to the end the last time: a person need not queue behind flooders. A client
//! that has used up its allowance while readers are behind is not read until they have
//! caught up.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::connection::input::{AfterRead, Heard, ReadLimits, ReadState};
use super::connection::transport::Stream;
use super::connection::{Connection, ConnectionSlab};
use super::flow::{Flow, MAX_ANSWERS_BYTES};
use super::service::Service;
use crate::protocol::batch::{ClientId, Context, Frame};
use crate::protocol::close::CloseReason;

/// The most that is read from one client before it is the next one's turn; also
/// the size of the one buffer that all reads share.
pub const READ_BUDGET_BYTES: usize = 16 * 1024;

/// Once a batch has gathered this much it is sent, and those not yet read have to
/// wait for the next one. Bounds the time for which nothing is written, and the
/// memory of a batch: to this, and what one read budget of the shortest lines comes
/// to once each has its sender's name or its answer.
pub const BATCH_BUDGET_BYTES: usize = 256 * 1024;

/// What a batch may come to once it has been copied to every reader: the more
/// readers, the less is gathered, so that the time a batch takes stays much the same.
/// One read budget is always gathered.
pub const FAN_OUT_BUDGET_BYTES: usize = 16 * 1024 * 1024;

/// With this many clients waiting to be read, newcomers wait in the kernel: that a client
/// which joined and talked has left again is found out only by reading it.
const UNREAD_CROWD: usize = 512;

/// The clients that may have input that was not read yet, each in one list.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Have become readable since they were last read.
    fresh: VecDeque<ClientId>,
    /// Were not read to the end.
    left_over: VecDeque<ClientId>,
    /// Have used up their allowance, and wait for readers to catch up.
    paused: Vec<ClientId>,
    /// Invariant: how many connections are in [`ReadState::Paused`].
    paused_count: usize,
    /// What reading has added to the batch being gathered, in bytes.
    gathered_bytes: usize,
    buffer: Box<[u8]>,
    lines: u64,
    bytes: u64,
}

/// How many of each list are still to be read in one iteration.
#[derive(Debug)]
pub(super) struct Round {
    fresh: usize,
    left_over: usize,
    is_left_over_begun: bool,
    /// Nobody else is read once so much has been gathered.
    budget_bytes: usize,
}

impl Inbound {
    pub(super) fn new() -> Self {
        Self {
            fresh: VecDeque::new(),
            left_over: VecDeque::new(),
            paused: Vec::new(),
            paused_count: 0,
            gathered_bytes: 0,
            buffer: vec![0; READ_BUDGET_BYTES].into_boxed_slice(),
            lines: 0,
            bytes: 0,
        }
    }

    /// Whether somebody can be read.
    pub(super) fn has_work(&self) -> bool {
        !(self.fresh.is_empty() && self.left_over.is_empty())
    }

    /// Whether newcomers should wait until those that are here have been read.
    pub(super) fn is_crowded(&self) -> bool {
        self.fresh.len() + self.left_over.len() + self.paused.len() >= UNREAD_CROWD
    }

    /// How many clients are paused.
    pub(super) fn paused(&self) -> usize {
        self.paused_count
    }

    /// How many lines and bytes members have sent.
    pub(super) fn heard(&self) -> (u64, u64) {
        (self.lines, self.bytes)
    }

    /// Lists `id` to be read, unless it is listed, or has to wait: edges that come
    /// meanwhile are of no use. A client that has left waits for nothing.
    pub(super) fn list<S: Stream>(&mut self, id: ClientId, connection: &mut Connection<S>) {
        let may_be_listed = match connection.input.state() {
            ReadState::Idle => true,
            ReadState::Listed => false,
            ReadState::Paused | ReadState::Delayed | ReadState::Answered => {
                !connection.is_in_room()
            }
        };
        if may_be_listed {
            self.set_state(connection, ReadState::Listed);
            self.fresh.push_back(id);
        }
    }

    /// Lists a client that waited for its answers to be taken, or for its rate.
    pub(super) fn list_again<S: Stream>(&mut self, id: ClientId, connection: &mut Connection<S>) {
        self.set_state(connection, ReadState::Idle);
        self.list(id, connection);
    }

    /// Lets those that are paused be read again; a client that may still not say
    /// anything is paused again when its turn comes.
    pub(super) fn resume_paused<S: Stream>(&mut self, connections: &mut ConnectionSlab<S>) {
        let mut paused = std::mem::take(&mut self.paused);
        for id in paused.drain(..) {
            if let Some(connection) = connections.get(id)
                && connection.input.state() == ReadState::Paused
            {
                self.set_state(connection, ReadState::Listed);
                self.left_over.push_back(id);
            }
        }
        self.paused = paused;
    }

    /// The batch that was being gathered is complete, and another begins.
    pub(super) fn begin_batch(&mut self) {
        self.gathered_bytes = 0;
    }

    /// A round of reading in a room of `clients`. While a batch is being sent, those left
    /// over are skipped: what they say could not be sent yet, and would delay fresh ones.
    pub(super) fn begin_round(&self, clients: usize, is_sending: bool) -> Round {
        let fan_out_bytes = FAN_OUT_BUDGET_BYTES / clients.max(1);
        Round {
            fresh: self.fresh.len(),
            left_over: if is_sending { 0 } else { self.left_over.len() },
            is_left_over_begun: false,
            budget_bytes: fan_out_bytes.clamp(READ_BUDGET_BYTES, BATCH_BUDGET_BYTES),
        }
    }

    /// The next client to be read in this round. One of those left over is read in any
    /// case, however many are fresh.
    pub(super) fn next(&mut self, round: &mut Round) -> Option<ClientId> {
        let is_full = self.gathered_bytes >= round.budget_bytes;
        if round.fresh > 0 && !round.is_left_over_begun && !is_full {
            round.fresh -= 1;
            return self.fresh.pop_front();
        }
        if round.left_over == 0 || (round.is_left_over_begun && is_full) {
            return None;
        }
        round.is_left_over_begun = true;
        round.left_over -= 1;
        self.left_over.pop_front()
    }

    /// Reads `connection`, hands its lines to `service`, and says where reading stopped.
    /// `None` if it is not to be read.
    pub(super) fn read<S: Stream>(
        &mut self,
        id: ClientId,
        connection: &mut Connection<S>,
        flow: &mut Flow,
        limits: ReadLimits,
        service: &mut impl Service,
        context: &mut Context<'_>,
    ) -> Option<AfterRead> {
        if connection.input.state() != ReadState::Listed {
            return None;
        }
        if connection.is_member() && !flow.may_say_more(connection.input.talker()) {
            self.set_state(connection, ReadState::Paused);
            self.paused.push(id);
            return None;
        }
        let answers_bytes = connection.output.queue().answers_cost_bytes();
        if connection.is_member() && answers_bytes > MAX_ANSWERS_BYTES {
            self.set_state(connection, ReadState::Answered);
            return None;
        }
        self.set_state(connection, ReadState::Idle);
        let said_before = context.batch.size_bytes();
        let lines = &mut self.lines;
        let (read_bytes, after_read) = connection.read(&mut self.buffer, limits, &mut |heard| {
            match heard {
                Heard::Line(line) => {
                    *lines += 1;
                    service.received(id, line, context);
                }
                Heard::Telnet(answers) => context.batch.tell(id, Frame::from(answers)),
                Heard::Foreign => {
                    *lines += 1;
                    context.batch.close(id, CloseReason::WrongProtocol);
                }
            }
            if context.batch.closes(id) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let said_bytes = context.batch.size_bytes() - said_before;
        self.bytes += read_bytes as u64;
        self.gathered_bytes += said_bytes;
        flow.said(connection.input.talker(), said_bytes.max(read_bytes));
        match after_read {
            AfterRead::More => {
                self.set_state(connection, ReadState::Listed);
                self.left_over.push_back(id);
            }
            AfterRead::Delayed { .. } => self.set_state(connection, ReadState::Delayed),
            AfterRead::WouldBlock | AfterRead::Ended(_) => {}
        }
        Some(after_read)
    }

    fn set_state<S: Stream>(&mut self, connection: &mut Connection<S>, state: ReadState) {
        self.paused_count -= usize::from(connection.input.state() == ReadState::Paused);
        self.paused_count += usize::from(state == ReadState::Paused);
        connection.input.set_state(state);
    }
}
