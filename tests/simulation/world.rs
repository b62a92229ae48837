//! What happens, and what must hold whatever happens.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::Ipv4Addr;
use std::ops::AddAssign;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chat::protocol::close::CloseReason;
use chat::protocol::tls::Session;
use chat::rate::Rate;
use chat::reactor::acceptor::Accepted;
use chat::reactor::clients::CLOSE_TIMEOUT;
use chat::reactor::event_loop::{EventLoop, Status};
use chat::reactor::flow::{ALLOWANCE_BYTES, Bounds};
use chat::reactor::inbound::READ_BUDGET_BYTES;
use chat::reactor::outbound::WRITE_COST_BYTES;
use chat::reactor::pacing::MAX_BATCH_BYTES;
use chat::reactor::service::{Policy, Traffic, source_token};
use chat::room;

use crate::fnv::Fnv;
use crate::model::{self, Model};
use crate::oracle;
use crate::random::Random;
use crate::scripted_stream::{Chance, FarEnd, ScriptedStream};
use crate::secured::{MOST_AHEAD_BYTES, Secured};

/// Small, so that they are reached often.
const BOUNDS: Bounds = Bounds {
    max_backlog_bytes: 16 * 1024,
    stall_timeout: Duration::from_secs(3),
    max_total_bytes: 64 * 1024,
    max_pinned_bytes: usize::MAX,
};

pub(crate) const MAX_LINE_BYTES: u32 = 200;

/// What the room allows, chosen by the seed, too.
fn policy(seed: u64, random: &mut Random) -> Policy {
    Policy {
        // Half of the worlds have no file in memory; small batches go by reference, too.
        by_reference_bytes: (seed % 2 == 1).then_some(1000),
        max_line_bytes: MAX_LINE_BYTES,
        flow: BOUNDS,
        send_buffer_bytes: 128 * 1024,
        max_input_bytes: usize::MAX,
        rate: random.one_in(4).then(|| Rate::new(20_000, 50)),
        idle_timeout: random.one_in(4).then(|| Duration::from_secs(5)),
        // From one write at a time to all at once.
        slice_bytes: random.between(1, 20 * WRITE_COST_BYTES),
        ..Policy::DEFAULT
    }
}

/// What the room does besides relaying lines.
fn room(random: &mut Random) -> room::Config {
    room::Config {
        history_lines: random.below(4),
        announces_presence: random.one_in(2),
        ..room::Config::plain(MAX_LINE_BYTES)
    }
}

/// What can happen in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    SlicedBatch,
    ByReference,
    ReusedKey,
    TooMuch,
    Paused,
    Dropped,
    Idle,
    Quit,
    Refused,
    Expired,
}

impl Event {
    pub(crate) const ALL: [Self; 10] = [
        Self::SlicedBatch,
        Self::ByReference,
        Self::ReusedKey,
        Self::TooMuch,
        Self::Paused,
        Self::Dropped,
        Self::Idle,
        Self::Quit,
        Self::Refused,
        Self::Expired,
    ];
}

/// How often each has happened: a test checks that it does at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Happened(BTreeMap<Event, usize>);

impl Happened {
    pub(crate) fn count(&self, event: Event) -> usize {
        self.0.get(&event).copied().unwrap_or_default()
    }

    fn note(&mut self, event: Event, times: usize) {
        *self.0.entry(event).or_default() += times;
    }
}

impl AddAssign for Happened {
    fn add_assign(&mut self, other: Self) {
        for (event, times) in other.0 {
            self.note(event, times);
        }
    }
}

/// The outcome of a world.
pub(crate) struct Outcome {
    pub(crate) happened: Happened,
    /// A hash over the bytes that each peer got, in the order in which the peers connected, each
    /// after its number.
    pub(crate) heard: Fnv,
}

/// What may be gathered before the loop notices that it is too much: a batch, and the one being
/// sent, either of which may end within a read. The answers to a read full of the shortest
/// commands are the most.
const SLACK_BYTES: usize = 2 * (MAX_BATCH_BYTES + 200 * READ_BUDGET_BYTES / 2);

/// How much of others is read at most while a client waits that is below its allowance: those who
/// have said less lately come before it.
const FAIR_BYTES: u64 = (2 * MAX_PEERS * READ_BUDGET_BYTES) as u64;

/// Iterations that such a client may wait though nothing is read, said or sent meanwhile: a batch
/// being sent may still have this many slices, at most one per reader, and each may be for readers
/// that take nothing.
const FAIR_IDLE_ITERATIONS: usize = 2 * MAX_PEERS + 2;

const MAX_PEERS: usize = 12;

const ERROR_OUT_OF_DESCRIPTORS: i32 = 24;

/// What clients ask of the room. Some ask for the same name, and write to whoever got it.
const COMMANDS: [&str; 21] = [
    "/command\n",
    "/nik bob\n",
    "/kick bob\n",
    "//nick\n",
    "GET / HTTP/1.1\n",
    "\u{1b}[2J\n",
    "/nick\n",
    "/nick you\n",
    "/msg bob\n",
    "/nick alice\n",
    "/nick Alice\n",
    "/nick b0b\n",
    "/nick bob\n",
    "/me waves\n",
    "/msg alice psst\n",
    "/msg bob psst\n",
    " /msg bob psst\n",
    "/msg 10.0.0.1 psst\n",
    "/who\n",
    "/help\n",
    "/quit\n",
];

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// Whatever comes, at once.
    All,
    /// This many bytes at a time.
    Some(usize),
    Nothing,
}

/// The far end of a connection, and its behaviour.
struct Peer {
    number: usize,
    address: Ipv4Addr,
    end: FarEnd,
    /// `None` on a plain connection.
    secured: Option<Secured>,
    /// What has come to it, once the world has ended.
    heard: Vec<u8>,
    reads: Reads,
    /// It has always read everything at once.
    is_diligent: bool,
    /// What it has said, answers included. While this is little, it is never paused.
    said_bytes: usize,
    /// Within an unfinished line.
    is_within_line: bool,
    /// It has half-closed or reset.
    is_over: bool,
    /// How much it was to hear when the server read its end.
    least_expected: Option<usize>,
    /// While it waits to be read: the bytes read when that began, and the iterations since in
    /// which nothing moved.
    waits: Option<(u64, usize)>,
}

impl Peer {
    fn says(&mut self, text: &[u8]) {
        match &mut self.secured {
            None => self.end.sends(text),
            Some(secured) => self.end.sends_in(&secured.encrypt(text), text),
        }
    }

    /// Takes in what has come. No more will.
    fn hear_all(&mut self) {
        self.heard = self.end.received_bytes();
        if let Some(secured) = self.secured.take() {
            let (heard, has_ended) = secured.decrypt(&self.heard);
            self.heard = heard;
            // What ends otherwise may have been cut off.
            let is_gone = self.end.input.borrow().is_reset;
            assert!(
                has_ended || is_gone || !self.end.saw_end(),
                "{} is not told of the end",
                self.number
            );
        }
    }
}

pub(crate) struct World {
    random: Random,
    /// Chooses who speaks TLS, and in which records. `None` if nobody does.
    records: Option<Random>,
    policy: Policy,
    happened: Happened,
    event_loop: EventLoop<ScriptedStream>,
    model: Model,
    peers: Vec<Peer>,
    /// How many addresses they come from.
    addresses: usize,
    /// Peers waiting to be accepted, by number.
    waiting: VecDeque<(usize, ScriptedStream, Option<Box<Session>>)>,
    /// The number of the peer at each slab key.
    keys: Vec<usize>,
    is_out_of_descriptors: bool,
    /// A peer has connected since the last poll reported one.
    listener_edge: bool,
    now: Instant,
    status: Status,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::now();
        let mut random = Random::new(seed);
        let policy = policy(seed, &mut random);
        let room = room(&mut random);
        Self {
            policy,
            happened: Happened::default(),
            event_loop: EventLoop::new(policy, now),
            model: Model::new(&room, random.fork()),
            addresses: random.between(1, MAX_PEERS),
            random,
            records: None,
            peers: Vec::new(),
            waiting: VecDeque::new(),
            keys: Vec::new(),
            is_out_of_descriptors: false,
            listener_edge: false,
            now,
            status: Status::Running,
        }
    }

    /// The same where half of the peers speak TLS.
    pub(crate) fn secured(seed: u64) -> Self {
        Self {
            records: Some(Random::new(!seed)),
            ..Self::new(seed)
        }
    }

    pub(crate) fn run(mut self) -> Outcome {
        let steps = self.random.between(20, 200);
        let most_peers = self.random.between(2, MAX_PEERS);
        for _ in 0..steps {
            if self.peers.len() < most_peers && self.random.one_in(3) {
                self.connect();
            }
            if !self.peers.is_empty() {
                let index = self.random.below(self.peers.len());
                self.act(index);
            }
            if self.random.one_in(30) {
                self.is_out_of_descriptors ^= true;
            }
            if self.random.one_in(4) {
                self.now += Duration::from_millis(self.random.below(400) as u64);
            }
            if !self.random.one_in(4) {
                self.poll();
                self.iterate();
            }
        }
        if self.random.one_in(3) {
            self.shut_down();
        } else {
            self.come_to_rest();
        }
        let refused = self.model.refused.len();
        self.happened.note(Event::Refused, refused);
        self.happened.note(Event::Expired, self.model.expirations);
        for guest in self.model.guests.values() {
            let event = match guest.left {
                Some(CloseReason::Stuck | CloseReason::TooSlow) => Event::Dropped,
                Some(CloseReason::Idle) => Event::Idle,
                Some(CloseReason::Quit) => Event::Quit,
                _ => continue,
            };
            self.happened.note(event, 1);
        }
        let mut heard = Fnv::default();
        for peer in &self.peers {
            peer.end.assert_references_hold();
            self.happened
                .note(Event::ByReference, peer.end.references());
            heard.add(&(peer.heard.len() as u64).to_le_bytes());
            heard.add(&peer.heard);
        }
        Outcome {
            happened: self.happened,
            heard,
        }
    }

    fn connect(&mut self) {
        let number = self.peers.len();
        let address = Ipv4Addr::new(10, 0, 0, (number % self.addresses) as u8);
        let end = FarEnd::new();
        end.takes(0);
        end.keep_references();
        let random = RefCell::new(self.random.fork());
        let chance: Chance = Rc::new(move |limit| random.borrow_mut().below(limit));
        let server_end = end.cut_stream(chance);
        let records = self.records.as_mut();
        let secured = records.and_then(|random| {
            let random = random.one_in(2).then(|| random.fork())?;
            Some(Secured::introduced(random))
        });
        let (secured, session) = secured.unzip();
        let reads = *self.random.pick(&[
            Reads::All,
            Reads::All,
            Reads::Some(1),
            Reads::Some(500),
            Reads::Some(10_000),
            Reads::Nothing,
        ]);
        if reads == Reads::All {
            end.takes_more(usize::MAX);
        }
        self.model.ends.push(end.clone());
        self.peers.push(Peer {
            number,
            address,
            end,
            secured,
            heard: Vec::new(),
            reads,
            is_diligent: reads == Reads::All,
            said_bytes: 0,
            is_within_line: false,
            is_over: false,
            least_expected: None,
            waits: None,
        });
        self.waiting.push_back((number, server_end, session));
        self.listener_edge = true;
    }

    /// One peer does something.
    fn act(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if let Reads::Some(bytes) = peer.reads {
            peer.end.takes_more(bytes);
        }
        if peer.secured.is_some() && peer.end.saw_end() {
            // It has been told that this is the end.
            let no_record = [&[0x17, 3, 3, 0, 32][..], &[b'x'; 32]].concat();
            peer.end.sends_in(&no_record, b"");
        }
        if peer.is_over {
            return;
        }
        match self.random.below(20) {
            0 => {
                let is_cut = |random: &mut Random| random.one_in(3);
                match &mut peer.secured {
                    Some(_) if self.records.as_mut().is_some_and(is_cut) => peer.end.is_cut_off(),
                    Some(secured) => {
                        peer.end.sends_in(&secured.goodbye(), b"");
                        peer.end.ends();
                    }
                    None => peer.end.ends(),
                }
                peer.is_over = true;
            }
            1 if self.random.one_in(3) => {
                peer.end.resets();
                peer.is_over = true;
            }
            2 if self.random.one_in(2) => {
                peer.reads = Reads::Nothing;
                peer.is_diligent = false;
                peer.end.takes(self.random.below(2000));
            }
            3 => {
                peer.reads = Reads::All;
                peer.end.takes_more(usize::MAX);
            }
            4..=5 => self.flood(index),
            _ => self.say(index),
        }
    }

    /// A line or a part of one, a command, or nothing.
    fn say(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let mut text = match self.random.below(10) {
            0 => "\n".to_owned(),
            1 => "\r\n".to_owned(),
            2 if !peer.is_within_line => self.random.pick(&COMMANDS).to_string(),
            3 => "x".repeat(self.random.between(1, 250)),
            _ => format!("{} says {}", peer.address, self.random.below(1000)),
        };
        if !text.ends_with('\n') && !self.random.one_in(4) {
            text.push_str(if self.random.one_in(3) { "\r\n" } else { "\n" });
        }
        peer.is_within_line = !text.ends_with('\n');
        // Answers count, too.
        peer.said_bytes += text.len() + if text.starts_with('/') { 8000 } else { 1000 };
        peer.says(text.as_bytes());
    }

    fn flood(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let line = match self.random.below(4) {
            0 => self.random.pick(&COMMANDS).to_string(),
            1 => "y\n".to_owned(),
            _ => "z".repeat(self.random.between(1, 199)) + "\n",
        };
        let lines = self.random.between(1, 40_000 / line.len());
        if peer.is_within_line {
            peer.says(b"\n");
            peer.is_within_line = false;
        }
        peer.said_bytes += ALLOWANCE_BYTES;
        peer.says(line.repeat(lines).as_bytes());
    }

    /// Marks what a poll would report: some of the edges; the others come later.
    fn poll(&mut self) {
        if self.listener_edge && !self.random.one_in(4) {
            self.listener_edge = false;
            self.event_loop.mark_listener();
        }
        for (key, &index) in self.keys.iter().enumerate() {
            let Some(peer) = self.peers.get(index) else {
                continue;
            };
            if !peer.end.is_open_here() || self.random.one_in(5) {
                continue;
            }
            let (readable, writable) = peer.end.take_edges();
            if readable || writable {
                self.event_loop.mark_client(key, readable, writable);
            }
        }
    }

    fn iterate(&mut self) {
        // Once the server has read a peer's end, the peer is owed what had been said by then; it
        // may or may not hear the rest.
        let expected_before: Vec<usize> = self
            .peers
            .iter()
            .map(|peer| self.model.oracle.heard(peer.number).len())
            .collect();
        let traffic_before = self.event_loop.load().traffic;
        let unread_before: Vec<usize> = self
            .peers
            .iter()
            .map(|peer| peer.end.unread_bytes())
            .collect();
        let (waiting, peers, keys) = (&mut self.waiting, &self.peers, &mut self.keys);
        let is_out_of_descriptors = self.is_out_of_descriptors;
        let (mut reused_keys, shown_before) = (0, self.model.shown.len());
        let accept = |key: usize| {
            if is_out_of_descriptors && !waiting.is_empty() {
                let error = io::Error::from_raw_os_error(ERROR_OUT_OF_DESCRIPTORS);
                return Accepted::Exhausted {
                    error,
                    is_of_descriptors: true,
                };
            }
            let Some((number, server_end, session)) = waiting.pop_front() else {
                return Accepted::Nobody;
            };
            keys.resize(keys.len().max(key + 1), usize::MAX);
            reused_keys += usize::from(keys[key] != usize::MAX);
            keys[key] = number;
            let address = peers[number].address.into();
            match session {
                None => Accepted::Client(server_end, address),
                Some(session) => Accepted::Secured(server_end, session, address),
            }
        };
        let iterated = self.event_loop.iterate(self.now, &mut self.model, accept);
        self.status = iterated.expect("peers cannot cause an error");
        self.happened.note(Event::ReusedKey, reused_keys);
        let has_begun = self.model.shown.len() > shown_before;
        let is_sliced = has_begun && self.event_loop.is_sending();
        self.happened
            .note(Event::SlicedBatch, usize::from(is_sliced));
        self.check_bounds(&unread_before, &traffic_before);
        for (peer, &expected) in self.peers.iter_mut().zip(&expected_before) {
            // Over TLS the last that is read is what says that this is the end.
            let is_over = peer.secured.is_some() && peer.is_over && peer.end.unread_bytes() == 0;
            if is_over || peer.end.input.borrow().end_was_read {
                peer.least_expected.get_or_insert(expected);
            }
        }
    }

    fn check_bounds(&mut self, unread_before: &[usize], traffic_before: &Traffic) {
        let load = self.event_loop.load();
        self.happened.note(Event::Paused, load.paused);
        let is_over = load.backlog_bytes > BOUNDS.max_total_bytes;
        self.happened.note(Event::TooMuch, usize::from(is_over));
        let most_bytes = BOUNDS.max_total_bytes + SLACK_BYTES;
        assert!(load.backlog_bytes <= most_bytes, "{load:?}");
        let is_too_much = load.backlog_bytes > BOUNDS.max_total_bytes / 2;
        for (peer, &before) in self.peers.iter_mut().zip(unread_before) {
            let unread = peer.end.unread_bytes();
            let ahead_bytes = peer.secured.as_ref().map_or(0, |_| MOST_AHEAD_BYTES);
            assert!(
                before.saturating_sub(unread) <= READ_BUDGET_BYTES + ahead_bytes,
                "{} was read beyond its budget",
                peer.number
            );
            // A peer whose readable edge was not reported need not be read.
            let waits = unread > 0 && unread == before && !peer.end.input.borrow().edge;
            let guest = self.model.guests.get(&peer.number);
            let is_inside = guest.is_some_and(|guest| guest.left.is_none());
            let is_unhindered = self.policy.rate.is_none() && !is_too_much;
            let is_to_be_read = is_inside && is_unhindered && peer.said_bytes < ALLOWANCE_BYTES;
            let is_running = self.status == Status::Running;
            peer.waits = if waits && is_to_be_read && is_running {
                let (began, idle) = peer.waits.unwrap_or((load.traffic.bytes_in, 0));
                Some((began, idle + usize::from(load.traffic == *traffic_before)))
            } else {
                None
            };
            if let Some((began, idle)) = peer.waits {
                let others_bytes = load.traffic.bytes_in - began;
                assert!(
                    others_bytes <= FAIR_BYTES && idle <= FAIR_IDLE_ITERATIONS,
                    "{} waits too long: {others_bytes} bytes, {idle} iterations",
                    peer.number
                );
            }
        }
    }

    /// Everybody reads on, and time passes, until nothing moves.
    fn come_to_rest(&mut self) {
        self.is_out_of_descriptors = false;
        for peer in &mut self.peers {
            // A peer that reads nothing stays that way.
            if peer.reads != Reads::Nothing {
                peer.reads = Reads::All;
                peer.end.takes_more(usize::MAX);
            }
        }
        self.go_on(BOUNDS.stall_timeout + CLOSE_TIMEOUT);
        if self.policy.idle_timeout.is_none() {
            let timeout = self.event_loop.poll_timeout(&self.model, self.now);
            assert_eq!(timeout, None, "a timer is set though nothing is to come");
        }
        self.check_what_was_heard();
        let load = self.event_loop.load();
        assert_eq!(load.paused, 0, "clients are paused though nobody is behind");
        let is_owed = |peer: &Peer| peer.end.is_open_here() && peer.reads != Reads::All;
        if !self.peers.iter().any(is_owed) {
            assert_eq!(
                load.backlog_bytes, 0,
                "output is left though everybody has read"
            );
        }
        for peer in &self.peers {
            if peer.reads == Reads::Nothing {
                // A peer that asks but does not read the answers is not read, either.
                continue;
            }
            let guest = self.model.guests.get(&peer.number);
            if guest.is_some_and(|guest| matches!(guest.left, None | Some(CloseReason::PeerClosed)))
            {
                let is_unheard = self.model.is_unheard(peer.number);
                assert!(!is_unheard, "{} was not heard to the end", peer.number);
            }
            let is_closed = !peer.end.is_open_here();
            assert!(
                is_closed || peer.end.unread_bytes() == 0,
                "{} was not read to the end",
                peer.number
            );
            assert!(
                !peer.is_over || is_closed,
                "{} has gone, but its connection is open",
                peer.number
            );
        }
    }

    /// Asks the server to end.
    fn shut_down(&mut self) {
        self.event_loop.mark_source(source_token(0));
        self.iterate();
        let began = self.now;
        for peer in &mut self.peers {
            if peer.reads != Reads::Nothing {
                peer.reads = Reads::All;
                peer.end.takes_more(usize::MAX);
            }
        }
        self.go_on(Duration::from_secs(4));
        assert_eq!(self.status, Status::Ended);
        assert!(self.now - began <= Duration::from_secs(4));
        self.check_what_was_heard();
    }

    /// Polls and iterates as the reactor does, for `time` or until the end.
    fn go_on(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..1_000_000 {
            self.poll();
            let edges_left = self.peers.iter().any(|peer| {
                let is_registered = self.model.guests.contains_key(&peer.number)
                    || self.model.refused.contains(&peer.number);
                let (input, output) = (peer.end.input.borrow(), peer.end.output.borrow());
                is_registered && !output.is_closed && (input.edge || output.edge)
            });
            let timeout = if edges_left || self.listener_edge {
                Some(Duration::ZERO)
            } else {
                self.event_loop.poll_timeout(&self.model, self.now)
            };
            match timeout {
                _ if self.status == Status::Ended => return,
                Some(timeout) if self.now + timeout <= until => self.now += timeout,
                _ => return,
            }
            self.iterate();
        }
        panic!("the world does not come to rest");
    }

    /// The promises: one order; nothing lost, repeated or torn.
    fn check_what_was_heard(&mut self) {
        self.peers.iter_mut().for_each(Peer::hear_all);
        assert!(
            self.model.shown == self.model.oracle.said(),
            "the console does not show what was said"
        );
        for peer in &self.peers {
            let heard = peer.heard.as_slice();
            let input = peer.end.input.borrow();
            let is_reset = input.is_reset || input.is_cut;
            let Some(guest) = self.model.guests.get(&peer.number) else {
                let is_refusal = model::REFUSAL.starts_with(heard);
                assert!(is_refusal, "a refused client heard more than the refusal");
                continue;
            };
            let expected = self.model.oracle.heard(peer.number);
            let common = heard
                .iter()
                .zip(expected)
                .take_while(|(a, b)| a == b)
                .count();
            let rest = &heard[common..];
            let reason = guest.left;
            let farewell = reason.and_then(oracle::farewell).map(str::as_bytes);
            let name = peer.number;
            if let Some(farewell) = farewell {
                // The farewell may begin like what it should have heard.
                let lines = heard[..common].iter().rposition(|&byte| byte == b'\n');
                let last_line = &heard[lines.map_or(0, |end| end + 1)..];
                assert!(
                    rest.is_empty() || farewell.starts_with(last_line),
                    "{name} heard {:?} in place of its farewell",
                    String::from_utf8_lossy(rest)
                );
                if reason.is_some_and(CloseReason::drops_backlog) {
                    assert!(
                        !peer.is_diligent,
                        "{name} was dropped as slow, but reads at once"
                    );
                } else {
                    let before = heard.strip_suffix(farewell).map(<[u8]>::len);
                    assert!(
                        before.is_some() || !peer.is_diligent || is_reset,
                        "{name} was not told why it was disconnected"
                    );
                    assert!(
                        before.is_none_or(|bytes| bytes >= guest.least_expected.unwrap_or(0)),
                        "{name} did not hear what was said before it was disconnected"
                    );
                }
                continue;
            }
            assert!(
                rest.is_empty(),
                "{name} heard {:?}",
                String::from_utf8_lossy(rest)
            );
            if peer.reads == Reads::Nothing || is_reset {
                continue;
            }
            match (reason, peer.least_expected) {
                // It may have been given up since, if it read slowly.
                (Some(CloseReason::PeerClosed), Some(least)) => {
                    assert!(
                        !peer.is_diligent || common >= least,
                        "{name} did not hear what was said before it left"
                    );
                }
                (Some(CloseReason::WrongProtocol), _) => {
                    let least = guest.least_expected.unwrap_or(0);
                    assert!(
                        !peer.is_diligent || common >= least,
                        "{name} did not hear what was said before it was closed"
                    );
                }
                _ => assert_eq!(common, expected.len(), "{name} has not heard all"),
            }
        }
    }
}
