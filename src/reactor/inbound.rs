//! Which clients are read in an iteration, and how much.
//!
//! Clients that said little lately come first ([`Class`]), and each is read a little at a
//! time: a person need not queue behind flooders. A client that has used up its allowance
//! while readers are behind is not read until they have caught up.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::connection::input::{AfterRead, Heard, ReadLimits, ReadState};
use super::connection::{Connection, ConnectionSlab};
use super::flow::{Class, Flow, MAX_FRAMES_BYTES};
use super::service::Service;
use super::shared_log::SharedLogs;
use super::stream::Stream;
use crate::protocol::batch::{ClientId, Context, Encoding, Frame};
use crate::protocol::close::CloseReason;

/// The most that is read from one client before it is the next one's turn, and that it
/// says; also the size of the one buffer that all reads share.
pub const READ_BUDGET_BYTES: usize = 16 * 1024;

/// With this many light clients waiting to be read, fewer newcomers are
/// accepted at once: that a client which joined and talked has left again is found out only
/// by reading it.
const UNREAD_CROWD: usize = 512;

/// The clients that may have input that was not read yet, each in one list.
#[derive(Debug)]
pub(super) struct Inbound {
    /// By the class that they were of when they were listed.
    listed: [VecDeque<ClientId>; Class::COUNT],
    /// Have used up their allowance, and wait for readers to catch up.
    paused: Vec<ClientId>,
    /// Invariant: how many connections are in [`ReadState::Paused`].
    paused_count: usize,
    /// What reading has added to the batch being gathered, in bytes.
    gathered_bytes: usize,
    /// The most that one client says in one go.
    quantum_bytes: usize,
    buffer: Box<[u8]>,
    /// Invariant: what all inputs hold, as last counted.
    held_bytes: usize,
    lines: u64,
    bytes: u64,
}

/// How many of each list are still to be read in one iteration.
#[derive(Debug)]
pub(super) struct Round {
    left: [usize; Class::COUNT],
    /// Nobody else is read once so much has been gathered; but for one client that is not
    /// light.
    budget_bytes: usize,
    has_read_heavy: bool,
}

impl Inbound {
    /// Nobody to be read yet. In one go a client says at most `quantum_bytes`.
    pub(super) fn new(quantum_bytes: usize) -> Self {
        Self {
            listed: Default::default(),
            paused: Vec::new(),
            paused_count: 0,
            gathered_bytes: 0,
            quantum_bytes,
            buffer: vec![0; READ_BUDGET_BYTES].into_boxed_slice(),
            held_bytes: 0,
            lines: 0,
            bytes: 0,
        }
    }

    /// Whether somebody can be read.
    pub(super) fn has_work(&self) -> bool {
        !self.listed.iter().all(VecDeque::is_empty)
    }

    /// Whether fewer newcomers should be accepted until those that are here have been read.
    pub(super) fn is_crowded(&self) -> bool {
        let light = self.listed.iter().take(Class::LIGHT_COUNT);
        light.map(VecDeque::len).sum::<usize>() >= UNREAD_CROWD
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
    pub(super) fn list<S: Stream>(
        &mut self,
        id: ClientId,
        connection: &mut Connection<S>,
        flow: &Flow,
    ) {
        let may_be_listed = match connection.input.state() {
            ReadState::Idle => true,
            ReadState::Listed => false,
            ReadState::Paused | ReadState::Delayed | ReadState::Owed => !connection.is_in_room(),
        };
        if may_be_listed {
            self.list_again(id, connection, flow);
        }
    }

    /// Lists `id`, which was not listed.
    pub(super) fn list_again<S: Stream>(
        &mut self,
        id: ClientId,
        connection: &mut Connection<S>,
        flow: &Flow,
    ) {
        self.set_state(connection, ReadState::Listed);
        let class = flow.class(connection.input.talker());
        self.listed[class.index()].push_back(id);
    }

    /// Lets those that are paused be read again; a client that may still not say
    /// anything is paused again when its turn comes.
    pub(super) fn resume_paused<S: Stream>(
        &mut self,
        connections: &mut ConnectionSlab<S>,
        flow: &Flow,
    ) {
        let mut paused = std::mem::take(&mut self.paused);
        for id in paused.drain(..) {
            if let Some(connection) = connections.get(id)
                && connection.input.state() == ReadState::Paused
            {
                self.list_again(id, connection, flow);
            }
        }
        self.paused = paused;
    }

    /// The batch that was being gathered is complete, and another begins.
    pub(super) fn begin_batch(&mut self) {
        self.gathered_bytes = 0;
    }

    /// A round of reading that adds up to `budget_bytes` to the batch. While a batch is
    /// being sent, only light clients are read: what others say could not be sent yet, and
    /// would delay those who have said little.
    pub(super) fn begin_round(&self, budget_bytes: usize, is_sending: bool) -> Round {
        let mut left = [0; Class::COUNT];
        let classes = if is_sending {
            Class::LIGHT_COUNT
        } else {
            Class::COUNT
        };
        for (left, listed) in left.iter_mut().zip(&self.listed).take(classes) {
            *left = listed.len();
        }
        Round {
            left,
            budget_bytes,
            has_read_heavy: false,
        }
    }

    /// The next client to be read in this round: the lowest class first. One client that
    /// is not light is read in any case, however many are.
    pub(super) fn next(&mut self, round: &mut Round) -> Option<ClientId> {
        let is_full = self.gathered_bytes >= round.budget_bytes;
        let first = if !is_full {
            0
        } else if !round.has_read_heavy {
            Class::LIGHT_COUNT
        } else {
            return None;
        };
        let class = (first..Class::COUNT).find(|&class| round.left[class] > 0)?;
        round.has_read_heavy |= class >= Class::LIGHT_COUNT;
        round.left[class] -= 1;
        self.listed[class].pop_front()
    }

    /// How many bytes have been added to the batch being gathered.
    pub(super) fn gathered_bytes(&self) -> usize {
        self.gathered_bytes
    }

    /// Whether `connection`, whose turn has come, is to be read now. If not, it is known why:
    /// it may not say more, or has to take what it is owed first.
    pub(super) fn may_read<S: Stream>(
        &mut self,
        id: ClientId,
        connection: &mut Connection<S>,
        flow: &Flow,
        logs: &SharedLogs,
    ) -> bool {
        let talker = connection.input.talker();
        let is_heavy = !flow.class(talker).is_light();
        if connection.input.state() != ReadState::Listed {
            return false;
        } else if !connection.is_member() {
            return true;
        } else if !flow.may_say_more(talker) {
            self.set_state(connection, ReadState::Paused);
            self.paused.push(id);
            return false;
        } else if is_heavy && connection.owed_by_itself_bytes(logs) > MAX_FRAMES_BYTES {
            self.set_state(connection, ReadState::Owed);
            return false;
        }
        true
    }

    /// Reads `connection`, hands its lines to `service`, and says where reading stopped.
    pub(super) fn read<S: Stream>(
        &mut self,
        id: ClientId,
        connection: &mut Connection<S>,
        flow: &Flow,
        limits: ReadLimits,
        service: &mut impl Service,
        context: &mut Context<'_>,
    ) -> AfterRead {
        self.set_state(connection, ReadState::Idle);
        let class = flow.class(connection.input.talker());
        let quantum_bytes = class.quantum_bytes(self.quantum_bytes);
        let read_bytes = class.quantum_bytes(READ_BUDGET_BYTES);
        let said_before = context.batch.size_bytes();
        let mut becomes_program = false;
        let is_program = connection.input.is_program();
        let is_outside = connection.is_outside();
        let lines = &mut self.lines;
        let buffer = &mut self.buffer[..read_bytes];
        let (read_bytes, after_read) = connection.read(buffer, limits, &mut |heard| {
            match heard {
                Heard::Line(line) => {
                    *lines += 1;
                    let encoding = service.received(id, line, context);
                    becomes_program = encoding == Encoding::Json && !is_program;
                }
                // One that was refused is sent nothing but the refusal.
                Heard::Telnet(_) if is_outside => {}
                Heard::Telnet(answers) => context.batch.tell(id, Frame::from(answers)),
                Heard::Foreign => {
                    *lines += 1;
                    context.batch.close(id, CloseReason::WrongProtocol);
                }
            }
            let said_bytes = context.batch.size_bytes() - said_before;
            let is_over = context.batch.closes(id) || context.batch.decides_about(id);
            if is_over || said_bytes >= quantum_bytes || becomes_program {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if becomes_program {
            connection.input.become_program();
        }
        let said_bytes = context.batch.size_bytes() - said_before;
        self.count_held(connection);
        self.bytes += read_bytes as u64;
        self.gathered_bytes += said_bytes;
        flow.said(connection.input.talker_mut(), said_bytes.max(read_bytes));
        match after_read {
            AfterRead::More => self.list_again(id, connection, flow),
            AfterRead::Delayed { .. } => self.set_state(connection, ReadState::Delayed),
            AfterRead::WouldBlock | AfterRead::Ended(_) => {}
        }
        after_read
    }

    /// Reads the visitor on `connection`. Returns how many bytes came, and where reading
    /// stopped.
    pub(super) fn read_visitor<S: Stream>(
        &mut self,
        connection: &mut Connection<S>,
    ) -> (usize, AfterRead) {
        self.set_state(connection, ReadState::Idle);
        connection.read_visitor(&mut self.buffer)
    }

    /// So much was added to the batch besides what clients said.
    pub(super) fn count_gathered(&mut self, bytes: usize) {
        self.gathered_bytes += bytes;
    }

    /// What half lines and lines that are still to be heard take, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Counts what `connection` holds now.
    pub(super) fn count_held<S: Stream>(&mut self, connection: &mut Connection<S>) {
        let received_bytes = connection.received_bytes();
        let (before, now) = connection.input.take_held_bytes(received_bytes);
        self.held_bytes = self.held_bytes + now - before;
    }

    fn set_state<S: Stream>(&mut self, connection: &mut Connection<S>, state: ReadState) {
        self.paused_count -= usize::from(connection.input.state() == ReadState::Paused);
        self.paused_count += usize::from(state == ReadState::Paused);
        connection.input.set_state(state);
    }
}
