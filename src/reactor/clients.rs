//! The clients, in a slab keyed by token: how they join, how they leave, and what follows
//! from each read, write and timer in between.
//!
//! `Inbound` owns who is read, `Outbound` what is sent, `Timers` when a client is
//! looked at again; `Flow` decides who waits for whom. They do not know each other: the
//! result of one is passed on to the others here.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use log::{debug, warn};

use super::connection::input::{AfterRead, ReadLimits, ReadState, Standing};
use super::connection::transport::Transport;
use super::connection::{Advance, Connection, ConnectionSlab, Exit};
use super::flow::{Flow, LOOK_INTERVAL, MAX_FRAMES_BYTES, Total, Verdict};
use super::inbound::{Inbound, READ_BUDGET_BYTES};
use super::outbound::{Outbound, Slice};
use super::pacing::Pacing;
use super::service::{Load, More, Policy, Service, Traffic, Wish};
use super::stream::Stream;
use super::timers::{Kind, Timer, Timers};
use super::write_queue::Flushed;
use crate::platform::addresses::largest_crowds;
use crate::protocol::batch::{ClientId, Context, Frame, OutsiderRequest, StandingRequest};
use crate::protocol::close::CloseReason;
use crate::protocol::time::Time;
use crate::rate::{AndMore, LogLimit};

/// How long a client that has left may go without taking any of what it is still
/// owed.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client that has left may take altogether for what it is owed.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a peer has to end its side after we have ended ours.
pub const LINGER_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a client that was dropped has to take the line that it was dropped in and
/// what it is told; and then to end its side. After that it is reset, so that the kernel
/// keeps nothing for it.
pub const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a first line may stay unfinished that begins as another protocol does.
pub const FIRST_WORDS_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a program may go unread before it is told to wait.
pub const HELD_AFTER: Duration = Duration::from_secs(1);

/// How often it is told so again.
pub const HELD_INTERVAL: Duration = Duration::from_secs(10);

/// How long a visitor may take, from when it came, until it has said what it wants; and then
/// until it has its answer.
pub const VISIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Timers dealt with in one iteration.
pub const TIMER_BUDGET: usize = 256;

/// Connections that the slab has room for from the start. That costs address space, but no
/// memory before they come; and an allocation this large grows by moving pages
/// (mremap(2)), not by copying, which would leave a hole of its former size.
const INITIAL_CAPACITY: usize = 2048;

/// The clients.
#[derive(Debug)]
pub struct Clients<S> {
    connections: ConnectionSlab<S>,
    inbound: Inbound,
    outbound: Outbound,
    timers: Timers,
    flow: Flow,
    policy: Policy,
    /// The time of this iteration.
    now: Instant,
    /// The same by the wall clock.
    time: Time,
    pacing: Pacing,
    /// When the batch on its way, or the last one, began to be sent, and its size, until
    /// the time that took is known.
    sent: Option<(Instant, usize)>,
    /// A new period of flow control has begun.
    is_new_period: bool,
    /// Members that leave the room once a batch has been sent.
    leaving: Vec<ClientId>,
    /// How many of them, from the first on, leave with the batch on its way; the others
    /// leave with the one that is being gathered.
    leaving_now: usize,
    /// Clients that have left the room, and may be done.
    to_reap: Vec<ClientId>,
    /// Invariant: how many connections were refused, and are not heard any more.
    refused_count: usize,
    /// Visitors and where they are from, the oldest first. Others may be among them that have
    /// gone, or are visitors no more.
    visitors: VecDeque<(ClientId, IpAddr)>,
    /// Invariant: how many connections are a visitor's.
    visitor_count: usize,
    /// Those that are let in after all, with the next batch; and those of them that have ended
    /// before that.
    admitted: Vec<ClientId>,
    ended_before: Vec<(ClientId, CloseReason)>,
    /// How those stand that may come back, by the names that the service gives them.
    standings: HashMap<ClientId, Standing>,
    /// Limits warnings that all readers together are owed too much.
    total_log: LogLimit,
}

impl<S: Stream> Clients<S> {
    /// No connections yet.
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        let batch_bytes = policy
            .send_buffer_bytes
            .min(policy.flow.max_backlog_bytes / 4);
        Self {
            connections: ConnectionSlab::with_capacity(INITIAL_CAPACITY),
            inbound: Inbound::new(READ_BUDGET_BYTES.min(batch_bytes)),
            outbound: Outbound::new(policy.by_reference_bytes),
            timers: Timers::default(),
            flow: Flow::new(policy.flow, now),
            policy,
            now,
            time: Time::default(),
            pacing: Pacing::new(batch_bytes),
            sent: None,
            is_new_period: false,
            leaving: Vec::new(),
            leaving_now: 0,
            to_reap: Vec::new(),
            refused_count: 0,
            visitors: VecDeque::new(),
            visitor_count: 0,
            admitted: Vec::new(),
            ended_before: Vec::new(),
            standings: HashMap::new(),
            total_log: LogLimit::new(),
        }
    }

    /// Whether there are no connections, not even on their way out.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.len() == 0
    }

    /// The slab key that the next connection will get.
    pub(super) fn next_key(&self) -> usize {
        self.connections.next_id().key
    }

    /// The client that has this slab key now.
    #[cfg(test)]
    pub(super) fn id(&self, key: usize) -> ClientId {
        self.connections.id(key).expect("the key is in use")
    }

    /// How they stand.
    pub(super) fn load(&self) -> Load {
        let (lines_in, bytes_in) = self.inbound.heard();
        let (lines_out, bytes_out, bytes_lost) = self.outbound.sent();
        Load {
            traffic: Traffic {
                lines_in,
                bytes_in,
                lines_out,
                bytes_out,
                bytes_lost,
            },
            backlog_bytes: self.outbound.owed_bytes(),
            paused: self.inbound.paused(),
        }
    }

    /// Whether there is something to do though no event may come.
    pub(super) fn has_work(&self) -> bool {
        self.inbound.has_work()
            || self.outbound.has_work()
            || self.outbound.has_gathered()
            || !self.leaving.is_empty()
            || !self.to_reap.is_empty()
    }

    /// Whether a batch is on its way to its readers.
    pub(super) fn is_sending(&self) -> bool {
        self.outbound.is_sending()
    }

    /// Whether a crowd waits to be read, and newcomers should wait for it.
    pub(super) fn is_crowd_unread(&self) -> bool {
        self.inbound.is_crowded()
    }

    /// From now on it is `now`.
    pub(super) fn set_time(&mut self, now: Instant) {
        self.now = now;
        self.is_new_period = self.flow.set_time(now);
        if !self.outbound.is_sending()
            && let Some((began_at, bytes)) = self.sent.take()
        {
            self.pacing.sent(bytes, now - began_at);
        }
    }

    /// From now on it is `time` by the wall clock.
    pub(super) fn set_wall_time(&mut self, time: Time) {
        self.time = time;
    }

    /// What the service is given with a call.
    pub(super) fn context(&mut self) -> Context<'_> {
        Context {
            now: self.now,
            time: self.time,
            batch: self.outbound.gathering(),
        }
    }

    /// The next moment at which [`Clients::expire`] has something to do.
    pub(super) fn next_timer_at(&self) -> Option<Instant> {
        self.timers.next_at()
    }

    /// Mark: `key` is said to be ready. Nothing is read or written here.
    pub(super) fn mark(&mut self, key: usize, readable: bool, writable: bool) {
        let Some(id) = self.connections.id(key) else {
            debug_assert!(false, "a closed socket has no events");
            return;
        };
        let connection = self.connection(key);
        if writable && connection.mark_writable() {
            self.list_for_flushing(id);
        }
        if readable {
            self.list_for_reading(id);
        }
    }

    /// Takes a newcomer in, over `transport`: it joins and is greeted, or is told why not and
    /// closed.
    pub(super) fn take_in(
        &mut self,
        mut transport: Transport<S>,
        address: IpAddr,
        service: &mut impl Service,
    ) {
        self.make_way(address, service);
        let id = self.connections.next_id();
        let max_line_bytes = self.policy.max_line_bytes;
        let is_secured = transport.is_secured();
        if is_secured {
            service.secured(id);
        }
        match service.join(id, address, &mut self.context()) {
            Ok(greeting) => {
                self.connections.insert(transport, max_line_bytes);
                self.welcome(id, &greeting);
            }
            Err(refusal) => {
                let heard_for = service.hears_out(id, address, self.now);
                if heard_for.is_none() && self.refused_count >= self.policy.max_refused {
                    // Whether it is heard or not, there is no more to be done for it.
                    let _ = transport.write(&refusal);
                    transport.say_goodbye();
                    return service.closed(id);
                }
                self.connections.insert(transport, max_line_bytes);
                self.turn_away(id, refusal, heard_for);
            }
        }
        if is_secured {
            // What came with the end of the handshake has been read, and no edge will tell.
            self.list_for_reading(id);
        }
        self.see_to_outsiders(service);
    }

    /// A newcomer from `address` is about to join: another client may have to go for that.
    fn make_way(&mut self, address: IpAddr, service: &mut impl Service) {
        if let Some(id) = service.gives_way(address, self.now)
            && let Some(connection) = self.connections.get(id)
        {
            connection.end();
            self.to_reap.push(id);
        }
    }

    /// `id` has joined.
    fn welcome(&mut self, id: ClientId, greeting: &Frame) {
        self.outbound.gathering().begin_for(id);
        if self.is_restrained() {
            let now = self.now;
            self.connection(id.key).input.restrain(now);
        }
        if let Some(timeout) = self.policy.idle_timeout {
            self.arm(id, self.now + timeout, Kind::Idle);
        }
        self.send_frame(id, greeting);
    }

    /// `id` may not join, but is heard for so long, if at all.
    fn turn_away(&mut self, id: ClientId, refusal: Frame, heard_for: Option<Duration>) {
        if let Some(heard_for) = heard_for {
            let now = self.now;
            let is_restrained = self.is_restrained();
            let connection = self.connection(id.key);
            connection.stay_outside();
            if is_restrained {
                connection.input.restrain(now);
            }
            self.arm(id, now + heard_for, Kind::HearOut);
            return self.send_frame(id, &refusal);
        }
        self.depart_refused(id, Some(refusal));
    }

    /// Tells, lets in or turns away clients outside the room, as `service` has asked for. Returns
    /// what the last one that was let in is called now.
    fn see_to_outsiders(&mut self, service: &mut impl Service) -> Option<ClientId> {
        let mut let_in = None;
        for request in self.outbound.gathering().take_outsider_requests() {
            let (OutsiderRequest::Tell(id, _)
            | OutsiderRequest::TurnAway(id, _)
            | OutsiderRequest::LetIn(id, _)) = request;
            let connection = self.connections.get(id);
            if !connection.is_some_and(|it| it.is_outside()) {
                continue;
            }
            match request {
                OutsiderRequest::Tell(_, words) => self.send_frame(id, &words),
                OutsiderRequest::TurnAway(_, words) => self.depart_refused(id, Some(words)),
                OutsiderRequest::LetIn(_, address) => {
                    let_in = self.let_outsider_in(id, address, service);
                }
            }
        }
        let_in
    }

    /// `outsider` is to join now, as if it had just come: so members have joined in the order of
    /// their serial numbers. Returns its new id.
    fn let_outsider_in(
        &mut self,
        outsider: ClientId,
        address: IpAddr,
        service: &mut impl Service,
    ) -> Option<ClientId> {
        self.make_way(address, service);
        let id = self.connections.rename(outsider.key)?;
        let connection = self.connection(id.key);
        // Lists know it by another id.
        connection.output.is_listed = false;
        if connection.is_secured() {
            service.secured(id);
        }
        self.outbound.gathering().begin_for(id);
        match service.let_in(outsider, id, address, &mut self.context()) {
            Ok(greeting) => {
                self.connection(id.key).come_in();
                if let Some(timeout) = self.policy.idle_timeout {
                    self.arm(id, self.now + timeout, Kind::Idle);
                }
                if !greeting.is_empty() {
                    self.send_frame(id, &greeting);
                }
            }
            Err(refusal) => {
                let heard_for = service.hears_out(id, address, self.now);
                self.turn_away(id, refusal, heard_for);
            }
        }
        service.closed(outsider);
        // What it has said already may have been put aside.
        let connection = self.connections.at(id.key).expect("it was renamed");
        self.inbound.list_again(id, connection, &self.flow);
        Some(id)
    }

    /// `id` is not let in, and not heard any more. Where too many such take their time to go, it
    /// is closed at once.
    fn depart_refused(&mut self, id: ClientId, last_words: Option<Frame>) {
        let is_too_many = self.refused_count >= self.policy.max_refused;
        self.refused_count += 1;
        self.depart(id, Exit::Refused, last_words);
        if is_too_many {
            // What it is told is on its way; there is no more to be done for it.
            self.connection(id.key).end();
        }
        self.to_reap.push(id);
    }

    /// How many visitors may be taken in before some are closed, which happens once no batch is
    /// on its way.
    pub(super) fn places_for_visitors(&self) -> usize {
        (2 * self.policy.max_visitors).saturating_sub(self.visitor_count)
    }

    /// Takes in a visitor's stream: it is to say what it wants. If there are too many, another
    /// one goes.
    pub(super) fn take_in_visitor(
        &mut self,
        transport: Transport<S>,
        address: IpAddr,
        service: &mut impl Service,
    ) {
        let most = self.policy.max_visitors;
        let id = self.connections.next_id();
        if !service.visits(id, address) {
            return;
        }
        if self.visitors.len() >= most {
            let connections = &mut self.connections;
            let mut is_visitor = |id| connections.get(id).is_some_and(|it| it.is_visitor());
            self.visitors.retain(|&(id, _)| is_visitor(id));
        }
        if self.visitor_count >= most
            && let Some(other) = self.visitor_to_go(address)
        {
            self.connection(other.key).end();
            self.to_reap.push(other);
        }
        self.connections
            .insert(transport, self.policy.max_line_bytes);
        self.connection(id.key).visit(address);
        self.visitor_count += 1;
        self.visitors.push_back((id, address));
        self.arm(id, self.now + VISIT_TIMEOUT, Kind::Visit);
        if self.connection(id.key).is_secured() {
            service.secured(id);
            self.list_for_reading(id);
        }
    }

    /// Of the [largest crowd](largest_crowds) of visitors, now that one comes from `newcomer`, the
    /// oldest, which has had the most time: nobody's crowd takes the places of others.
    fn visitor_to_go(&mut self, newcomer: IpAddr) -> Option<ClientId> {
        let visitors = self.visitors.iter().map(|(_, address)| *address);
        let crowds = largest_crowds(visitors.chain([newcomer]));
        let at = (self.visitors.iter()).position(|(_, address)| crowds.contains(address))?;
        self.visitors.remove(at).map(|(id, _)| id)
    }

    /// Reads a visitor, and gives it what it wants.
    fn read_visitor(&mut self, id: ClientId, service: &mut impl Service) {
        let connection = self.connections.at(id.key).expect("it is to be read");
        let (new_bytes, after_read) = self.inbound.read_visitor(connection);
        let more = match after_read {
            AfterRead::Ended(CloseReason::PeerClosed) => More::Never,
            AfterRead::Ended(_) => {
                connection.end();
                return self.to_reap.push(id);
            }
            _ if new_bytes == 0 => return,
            _ => More::MayCome,
        };
        self.ask_for_wish(id, more, service);
        if after_read == AfterRead::More
            && let Some(connection) = self.connections.get(id)
        {
            self.inbound.list(id, connection, &self.flow);
        }
    }

    /// Has `service` say what the visitor `id` wants, and does it.
    fn ask_for_wish(&mut self, id: ClientId, more: More, service: &mut impl Service) {
        let load = self.load();
        let connection = self.connections.at(id.key).expect("it visits");
        let Some(visit) = connection.visiting() else {
            return;
        };
        if more == More::MayCome && !visit.is_due() {
            return;
        }
        let batch = self.outbound.gathering();
        let said_before = batch.size_bytes();
        let mut context = Context {
            now: self.now,
            time: self.time,
            batch,
        };
        let wish = service.asked(id, visit.bytes(), more, load, &mut context);
        let said_bytes = context.batch.size_bytes() - said_before;
        self.inbound.count_gathered(said_bytes);
        match wish {
            Wish::Unknown {
                until_bytes,
                interim,
            } if more == More::MayCome => {
                visit.wait_until(until_bytes);
                if !interim.is_empty() {
                    self.send_frame(id, &Frame::from(interim));
                }
            }
            Wish::Answer(answer) => self.depart(id, Exit::Answered, Some(answer)),
            Wish::Membership { answer, head_bytes } => {
                self.become_member(id, &answer, head_bytes, service);
            }
            Wish::Unknown { .. } | Wish::None => {
                connection.end();
                self.to_reap.push(id);
            }
        }
    }

    /// The visitor `visitor` wants to be a member. It joins now, as if it had just come.
    fn become_member(
        &mut self,
        visitor: ClientId,
        answer: &[u8],
        head_bytes: usize,
        service: &mut impl Service,
    ) {
        let connection = self.connections.at(visitor.key);
        let connection = connection.expect("it was read just now");
        let Some((address, early)) = connection.upgrade(answer, head_bytes) else {
            return;
        };
        self.outbound.frames(connection);
        self.visitor_count -= 1;
        service.closed(visitor);
        self.make_way(address, service);
        let id = self.connections.rename(visitor.key);
        let id = id.expect("it has become a member");
        if self.connection(id.key).is_secured() {
            service.secured(id);
        }
        match service.join(id, address, &mut self.context()) {
            Ok(greeting) => self.welcome(id, &greeting),
            Err(refusal) => {
                let heard_for = service.hears_out(id, address, self.now);
                self.turn_away(id, refusal, heard_for);
            }
        }
        self.see_to_outsiders(service);
        let now = self.now;
        self.connection(id.key).receive_early(early, now);
        // More may have come than was read, and no edge will tell.
        self.list_for_reading(id);
    }

    /// Reads those that have input, and hands their lines to `service`.
    pub(super) fn read(&mut self, service: &mut impl Service) {
        let is_sending = self.outbound.is_sending();
        let budget_bytes = self.pacing.budget_bytes();
        let mut round = self.inbound.begin_round(budget_bytes, is_sending);
        while let Some(id) = self.inbound.next(&mut round) {
            let Some(connection) = self.connections.get(id) else {
                continue;
            };
            if connection.visiting().is_some() {
                self.read_visitor(id, service);
                continue;
            }
            self.restrain(service);
            let logs = self.outbound.logs();
            let connection = self.connections.at(id.key).expect("it is to be read");
            if self.inbound.may_read(id, connection, &self.flow, logs) {
                self.read_client(id, service);
            }
            self.watch_if_held(id);
            self.close_those_asked_for();
        }
    }

    /// Asks `service` who has to wait for something that it knows of.
    fn restrain(&mut self, service: &mut impl Service) {
        let restraint = service.restraint(self.flow.is_anybody_behind());
        self.flow.restrain(restraint);
    }

    fn read_client(&mut self, id: ClientId, service: &mut impl Service) {
        let limits = ReadLimits {
            rate: self.policy.rate,
            is_restrained: self.is_restrained(),
            now: self.now,
        };
        let mut context = Context {
            now: self.now,
            time: self.time,
            batch: self.outbound.gathering(),
        };
        let connection = self.connections.at(id.key).expect("it is to be read");
        let after_read =
            self.inbound
                .read(id, connection, &self.flow, limits, service, &mut context);
        let id = self.see_to_outsiders(service).unwrap_or(id);
        let connection = self.connection(id.key);
        if connection.has_said_too_much() {
            let last_words = service.heard_out(id);
            return self.depart_refused(id, last_words);
        }
        if connection.input.becomes_suspect() {
            self.arm(id, self.now + FIRST_WORDS_TIMEOUT, Kind::FirstWords);
        }
        if let Some(sent) = self.connection(id.key).send_framing() {
            self.after_write(id, sent);
        }
        match after_read {
            AfterRead::Delayed { until } => self.arm(id, until, Kind::Speak),
            AfterRead::Ended(reason) => self.close(id, reason),
            AfterRead::More | AfterRead::WouldBlock => {}
        }
    }

    /// If `id` is a program that has to wait before it is read, it will be told so.
    fn watch_if_held(&mut self, id: ClientId) {
        let input = &mut self.connection(id.key).input;
        if input.is_program() && input.is_held() && !std::mem::replace(&mut input.is_watched, true)
        {
            self.arm(id, self.now + HELD_AFTER, Kind::Held);
        }
    }

    /// Sends a slice: of the batch on its way, or else of what has been gathered, and then
    /// of what laggards are owed. `said` is told the text of a batch that begins.
    pub(super) fn send(&mut self, said: impl FnOnce(&[u8])) {
        self.close_those_asked_for();
        let is_anything_new = self.outbound.has_gathered() || self.leaving.len() > self.leaving_now;
        if is_anything_new && !self.outbound.is_sending() {
            self.let_in();
            self.leaving_now = self.leaving.len();
            self.sent = Some((self.now, self.inbound.gathered_bytes()));
            self.inbound.begin_batch();
            let first_late = self.connections.next_id().serial;
            let connections = self.connections.len();
            let text = self.outbound.begin_sending(first_late, connections);
            if !text.is_empty() {
                said(text);
            }
        }
        let mut slice = Slice::new(self.policy.slice_bytes);
        while let Some((id, sent)) = self.outbound.send_some(&mut self.connections, &mut slice) {
            self.after_write(id, sent);
        }
        let mut slice = Slice::new(self.policy.slice_bytes);
        for _ in 0..self.outbound.to_flush() {
            let flushed = self.outbound.flush_next(&mut self.connections, &mut slice);
            if let Some((id, flushed)) = flushed {
                self.after_write(id, flushed);
                self.look_if_due(id);
            }
        }
    }

    /// Those that were admitted are in the room with the batch that begins now.
    fn let_in(&mut self) {
        for id in std::mem::take(&mut self.admitted) {
            if let Some(connection) = self.connections.get(id) {
                connection.enter();
            }
        }
        for (id, reason) in std::mem::take(&mut self.ended_before) {
            self.close(id, reason);
        }
    }

    /// `id` is to leave with the batch that is being gathered; or, if it has left
    /// already, nothing more is expected of it. A client's first reason holds.
    pub(super) fn close(&mut self, id: ClientId, reason: CloseReason) {
        let connection = self.connection(id.key);
        if connection.visiting().is_some() {
            connection.end();
            self.to_reap.push(id);
        } else if connection.is_outside() {
            self.depart_refused(id, None);
        } else if connection.is_admitted() {
            self.ended_before.push((id, reason));
        } else if connection.leave(reason) {
            self.leaving.push(id);
        } else if !connection.is_in_room() {
            self.to_reap.push(id);
        }
    }

    /// Everybody in the room is to leave with the batch that is being gathered.
    pub(super) fn close_all(&mut self, reason: CloseReason) {
        for id in self.ids() {
            self.close(id, reason);
        }
    }

    /// Closes the clients that the service asked to close, and changes the standings of those
    /// that come back.
    fn close_those_asked_for(&mut self) {
        self.change_standings();
        for (id, reason) in self.outbound.gathering().take_closes() {
            if self.connections.contains(id) {
                self.close(id, reason);
            }
        }
    }

    fn change_standings(&mut self) {
        for asked in self.outbound.gathering().take_standing_requests() {
            match asked {
                StandingRequest::Keep(id, name) => {
                    if let Some(connection) = self.connections.get(id) {
                        let standing = connection.input.standing(self.now);
                        self.standings.insert(name, standing);
                    }
                }
                StandingRequest::Restore(name, id) => {
                    let standing = self.standings.remove(&name);
                    self.restore(id, standing.unwrap_or_default());
                }
                StandingRequest::Drop(name) => {
                    self.standings.remove(&name);
                }
            }
        }
    }

    /// The client `id` has come back, and stands as it stood.
    fn restore(&mut self, id: ClientId, mut standing: Standing) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if connection.admit() {
            self.admitted.push(id);
        }
        let input = &mut connection.input;
        // What it asked for to come back counts, too.
        self.flow.add(&mut standing.talker, input.talker());
        input.restore(standing, self.now);
        let heard_at = input.heard_at(self.now);
        if let (Some(timeout), Some(heard_at)) = (self.policy.idle_timeout, heard_at) {
            self.arm(id, heard_at + timeout, Kind::Idle);
        }
    }

    /// Reap: once the batch has been sent, those that were to leave with it leave the
    /// room, and connections that are done are removed, nowhere but here. What `service`
    /// says to that goes into the next batch. Returns how many were removed.
    pub(super) fn reap(&mut self, service: &mut impl Service) -> usize {
        if self.is_sending() {
            // Members that leave may still be owed the batch.
            return 0;
        }
        let leaving: Vec<ClientId> = self.leaving.drain(..self.leaving_now).collect();
        self.leaving_now = 0;
        for id in leaving {
            let Some(connection) = self.connections.get(id) else {
                continue;
            };
            let reason = connection.leaving().expect("it is to leave");
            let exit = if reason.drops_backlog() {
                Exit::Dropped
            } else {
                Exit::Ordinary
            };
            let last_words = service.left(id, reason, &mut self.context());
            self.change_standings();
            self.depart(id, exit, last_words);
            self.to_reap.push(id);
        }
        let before = self.connections.len();
        for id in std::mem::take(&mut self.to_reap) {
            let Some(connection) = self.connections.get(id) else {
                continue;
            };
            match connection.advance() {
                Advance::Wait => {}
                Advance::Flush => {
                    let last = self.now + FLUSH_TIMEOUT;
                    self.arm(id, last, Kind::Flush { last });
                }
                Advance::Linger(exit) => {
                    let timeout = match exit {
                        Exit::Dropped => LAST_WORDS_TIMEOUT,
                        Exit::Ordinary | Exit::Refused | Exit::Answered => LINGER_TIMEOUT,
                    };
                    self.arm(id, self.now + timeout, Kind::Linger);
                    service.lingers(id);
                }
                Advance::Close => {
                    self.remove(id);
                    service.closed(id);
                }
            }
        }
        before - self.connections.len()
    }

    /// `id` is out of the room. It still gets `last_words` and, unless it is dropped, what
    /// it is owed: it has to take some of that within each [`FLUSH_TIMEOUT`], and all of it
    /// in time.
    fn depart(&mut self, id: ClientId, exit: Exit, last_words: Option<Frame>) {
        let last_words_bytes = last_words.as_ref().map_or(0, |words| words.len());
        self.outbound.count_sent(last_words_bytes);
        let connection = self.connection(id.key);
        let (written, timeout) = if exit == Exit::Dropped {
            let last_words = last_words.as_deref().unwrap_or_default();
            (Some(connection.cut_short(last_words)), LAST_WORDS_TIMEOUT)
        } else {
            let sent = last_words.map(|words| connection.send_frame(&words));
            let is_answered = exit == Exit::Answered;
            (
                sent,
                if is_answered {
                    VISIT_TIMEOUT
                } else {
                    CLOSE_TIMEOUT
                },
            )
        };
        connection.depart(exit);
        let written = connection.send_framing().or(written);
        let is_flushed = connection.is_flushed();
        let state = connection.input.state();
        if !is_flushed {
            let at = self.now + timeout.min(FLUSH_TIMEOUT);
            let last = self.now + timeout;
            self.arm(id, at, Kind::Flush { last });
        }
        if !matches!(state, ReadState::Idle | ReadState::Listed) {
            // What it still says is read and dropped, or it would be reset.
            self.list_for_reading(id);
        }
        if let Some(written) = written {
            self.after_write(id, written);
        }
    }

    /// Gives up on a connection that has left: what it was owed is lost to it, and the
    /// kernel forgets it, too.
    fn give_up(&mut self, id: ClientId) {
        self.connection(id.key).reset();
        self.to_reap.push(id);
    }

    /// Gives up everybody: the loop ends.
    pub(super) fn abandon_all(&mut self) {
        for id in self.ids() {
            self.connection(id.key).end();
            self.observe(id);
            self.remove(id);
        }
    }

    /// Closes the socket, and so takes it out of the poll.
    fn remove(&mut self, id: ClientId) {
        let mut connection = self.connections.remove(id.key);
        self.flow.release(connection.output.reader());
        self.outbound.count_change(&connection.take_change());
        self.outbound.forget(&connection);
        connection.input.forget(self.policy.max_line_bytes);
        self.inbound.count_held(&mut connection);
        let is_refused = connection.exit() == Some(Exit::Refused);
        self.visitor_count -= usize::from(connection.is_visitor());
        self.refused_count -= usize::from(is_refused);
    }

    /// Deals with the timers that have expired.
    pub(super) fn expire(&mut self, service: &mut impl Service) {
        for _ in 0..TIMER_BUDGET {
            let Some(timer) = self.timers.pop_due(self.now) else {
                return;
            };
            let id = timer.of;
            let Some(connection) = self.connections.get(id) else {
                continue;
            };
            match timer.kind {
                Kind::Look => {
                    // The kernel tells that a socket is writable only once much of its
                    // buffer is free again: a slow reader may have made room and not
                    // be told of.
                    connection.mark_writable();
                    connection.output.is_to_be_looked_at = true;
                    self.list_for_flushing(id);
                }
                Kind::Speak if connection.input.state() == ReadState::Delayed => {
                    self.inbound.list_again(id, connection, &self.flow);
                }
                Kind::Speak => {}
                Kind::FirstWords => {
                    if connection.is_member() && connection.input.is_still_suspect() {
                        self.close(id, CloseReason::WrongProtocol);
                    }
                }
                Kind::HearOut if connection.is_outside() => {
                    let last_words = service.heard_out(id);
                    self.depart_refused(id, last_words);
                }
                Kind::HearOut => {}
                Kind::Visit => self.ask_for_wish(id, More::TooLate, service),
                Kind::Held => {
                    let is_held = connection.is_member() && connection.input.is_held();
                    connection.input.is_watched = is_held;
                    if is_held {
                        self.arm(id, self.now + HELD_INTERVAL, Kind::Held);
                        service.held(id, &mut self.context());
                    }
                }
                Kind::Idle => self.idle_timeout_over(id),
                Kind::Flush { last } => match connection.take_progress() {
                    Some(true) if self.now < last => {
                        let at = last.min(self.now + FLUSH_TIMEOUT);
                        self.arm(id, at, Kind::Flush { last });
                    }
                    Some(_) => self.give_up(id),
                    None => {}
                },
                Kind::Linger if connection.exit() == Some(Exit::Dropped) => self.give_up(id),
                Kind::Linger => {
                    connection.end();
                    self.to_reap.push(id);
                }
            }
        }
    }

    /// Looks whether `id` has been silent for too long.
    fn idle_timeout_over(&mut self, id: ClientId) {
        let now = self.now;
        let connection = self.connection(id.key);
        let is_member = connection.is_member();
        let heard_at = connection.input.heard_at(now);
        let (Some(timeout), Some(heard_at)) = (self.policy.idle_timeout, heard_at) else {
            return;
        };
        match heard_at + timeout {
            _ if !is_member => {}
            at if at > now => self.arm(id, at, Kind::Idle),
            _ => self.close(id, CloseReason::Idle),
        }
    }

    /// Sends `frame` to one client, before whatever the next batch holds for it.
    fn send_frame(&mut self, id: ClientId, frame: &Frame) {
        self.outbound.count_sent(frame.len());
        let sent = self.connection(id.key).send_frame(frame);
        self.after_write(id, sent);
    }

    /// Deals with the result of a write to `id`.
    fn after_write(&mut self, id: ClientId, written: io::Result<Flushed>) {
        let connection = self.connection(id.key);
        match written {
            Ok(Flushed::All) if connection.is_in_room() => {}
            Ok(Flushed::All) => self.to_reap.push(id),
            Ok(Flushed::Blocked) => {}
            Ok(Flushed::BudgetSpent) => self.list_for_flushing(id),
            // To say the rest at its rate could take hours, and nobody is there any more.
            Err(e) if connection.input.state() == ReadState::Delayed => {
                self.close(id, CloseReason::Lost(e.kind()));
            }
            Err(e) => {
                // What the peer sent before it went is still to be read, and the
                // read also tells how it went.
                debug!("client {}: writing failed: {e}", id.key);
                self.list_for_reading(id);
            }
        }
        self.observe(id);
    }

    /// Looks at what `id` is owed, which has changed.
    fn observe(&mut self, id: ClientId) {
        let connection = self.connections.at(id.key).expect("it is looked at");
        let change = connection.take_change();
        self.outbound.count_change(&change);
        let held_bytes = connection.held_bytes(self.outbound.logs());
        if connection.input.state() == ReadState::Owed
            && connection.owed_by_itself_bytes(self.outbound.logs()) <= MAX_FRAMES_BYTES / 2
        {
            self.inbound.list_again(id, connection, &self.flow);
        }
        let reader = connection.output.reader();
        let verdict = self
            .flow
            .observe(reader, held_bytes, change.took_some, self.now);
        self.carry_out(id, verdict);
    }

    /// Has flow control judge `id`, which was behind, if it is time to.
    fn look_if_due(&mut self, id: ClientId) {
        let connection = self.connections.at(id.key).expect("it was just flushed");
        if std::mem::take(&mut connection.output.is_to_be_looked_at) {
            let held_bytes = connection.held_bytes(self.outbound.logs());
            let reader = connection.output.reader();
            let verdict = self.flow.look(reader, held_bytes, self.now);
            self.carry_out(id, verdict);
        }
    }

    /// Looks at what all readers together are owed, and lets paused talkers go on if it is
    /// little enough.
    pub(super) fn relieve(&mut self, service: &mut impl Service) {
        self.restrain(service);
        if self.inbound.held_bytes() > self.policy.max_input_bytes {
            self.drop_the_most_unfinished();
        }
        let owed_bytes = self.outbound.owed_bytes();
        // The kernel counts its own overhead against twice the size that was asked for.
        let per_reader_bytes = 2 * self.policy.send_buffer_bytes;
        let pinned_bytes = per_reader_bytes.saturating_mul(self.outbound.lagging());
        let total = self.flow.observe_total(owed_bytes, pinned_bytes);
        if total == Total::BecameTooMuch {
            if let Some(suppressed) = self.total_log.allow(self.now) {
                warn!(
                    "{owed_bytes} bytes wait for readers here, and {pinned_bytes} in the kernel, \
                     more than there is room for: only people who say little are heard until \
                     readers have taken some{}",
                    AndMore(suppressed)
                );
            }
            for id in self.ids() {
                if !self.connection(id.key).is_flushed() {
                    self.observe(id);
                }
            }
        }
        if total == Total::Recovered || self.is_new_period || !self.flow.is_congested() {
            self.inbound
                .resume_paused(&mut self.connections, &self.flow);
        }
        if !self.inbound.has_work() {
            // The loop will wait, and not only for the kernel to take what it was sent.
            self.sent = None;
        }
    }

    /// Half lines take more memory than there is for them: the clients with most of it go,
    /// until there is some to spare.
    fn drop_the_most_unfinished(&mut self) {
        let holders = self.connections.iter();
        let mut holders: Vec<(usize, ClientId)> = holders
            .filter(|(_, connection)| connection.is_member() || connection.is_outside())
            .filter(|(_, connection)| connection.input.held_bytes() > 0)
            .map(|(id, connection)| (connection.input.held_bytes(), id))
            .collect();
        holders.sort_unstable_by(|one, other| other.cmp(one));
        let most_bytes = self.policy.max_input_bytes;
        for (_, id) in holders {
            if self.inbound.held_bytes() <= most_bytes - most_bytes / 4 {
                return;
            }
            self.close(id, CloseReason::Overload);
            let connection = self.connections.at(id.key).expect("it is here");
            connection.input.forget(self.policy.max_line_bytes);
            self.inbound.count_held(connection);
        }
    }

    /// Whether inputs have a rate or an idle timeout.
    fn is_restrained(&self) -> bool {
        self.policy.rate.is_some() || self.policy.idle_timeout.is_some()
    }

    /// Does what flow control says about `id`.
    fn carry_out(&mut self, id: ClientId, verdict: Verdict) {
        match verdict {
            Verdict::Fine => {}
            Verdict::Watch => self.arm(id, self.now + LOOK_INTERVAL, Kind::Look),
            Verdict::Drop(reason) if self.connection(id.key).is_in_room() => {
                self.close(id, reason);
            }
            // It has left already, and had its time.
            Verdict::Drop(_) => self.give_up(id),
        }
    }

    fn list_for_reading(&mut self, id: ClientId) {
        let connection = self.connections.at(id.key).expect("it is here");
        self.inbound.list(id, connection, &self.flow);
    }

    fn list_for_flushing(&mut self, id: ClientId) {
        let connection = self.connections.at(id.key).expect("it is here");
        self.outbound.list(id, connection);
    }

    fn arm(&mut self, id: ClientId, at: Instant, kind: Kind) {
        let connections = &self.connections;
        let timer = Timer { at, of: id, kind };
        self.timers.arm(timer, |id| connections.contains(id));
    }

    /// The connection with a key that is known to be in use.
    fn connection(&mut self, key: usize) -> &mut Connection<S> {
        self.connections.at(key).expect("the key is in use")
    }

    fn ids(&self) -> Vec<ClientId> {
        self.connections.iter().map(|(id, _)| id).collect()
    }
}
