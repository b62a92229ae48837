//! Programs whose connections break at any byte, in both directions, hear every event once and in
//! order, and each of their lines is said once and in order, or its program knows that it is in
//! doubt.
//!
//! The oracle is a program that is never lost: what it has heard is what the room has said.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use chat::rate::Rate;
use chat::reactor::acceptor::Accepted;
use chat::reactor::event_loop::EventLoop;
use chat::reactor::service::Policy;
use chat::room;
use serde_json::Value;

use crate::plain_service::PlainService;
use crate::random::Random;
use crate::scripted_stream::{Chance, FarEnd, ScriptedStream};

const A_SECOND: Duration = Duration::from_secs(1);

/// The event loop with a room, and all connections that there have been.
struct Net {
    random: Random,
    event_loop: EventLoop<ScriptedStream>,
    service: PlainService,
    now: Instant,
    ends: Vec<(FarEnd, IpAddr)>,
    waiting: VecDeque<usize>,
    /// The connection at each slab key.
    at_key: BTreeMap<usize, usize>,
}

impl Net {
    fn new(random: &mut Random) -> Self {
        let now = Instant::now();
        let policy = Policy {
            rate: random.one_in(3).then(|| Rate::new(1, 5)),
            by_reference_bytes: random.one_in(2).then_some(1000),
            ..Policy::DEFAULT
        };
        let config = room::Config {
            announces_presence: random.one_in(2),
            ..room::Config::plain(policy.max_line_bytes)
        };
        Self {
            random: random.fork(),
            event_loop: EventLoop::new(policy, now),
            service: PlainService::new(config, 1000),
            now,
            ends: Vec::new(),
            waiting: VecDeque::new(),
            at_key: BTreeMap::new(),
        }
    }

    fn connect(&mut self, host: u8, takes_bytes: usize) -> usize {
        let end = FarEnd::new();
        end.takes(0);
        end.takes_more(takes_bytes);
        self.ends.push((end, Ipv4Addr::new(10, 0, 0, host).into()));
        let connection = self.ends.len() - 1;
        self.waiting.push_back(connection);
        self.event_loop.mark_listener();
        connection
    }

    fn end(&self, connection: usize) -> &FarEnd {
        &self.ends[connection].0
    }

    fn iterate(&mut self) {
        for (&key, &connection) in &self.at_key {
            let end = self.end(connection).clone();
            let (readable, writable) = end.take_edges();
            if end.is_open_here() && (readable || writable) {
                self.event_loop.mark_client(key, readable, writable);
            }
        }
        let Self {
            ends,
            waiting,
            at_key,
            random,
            ..
        } = self;
        let accept = |key: usize| match waiting.pop_front() {
            Some(connection) => {
                at_key.insert(key, connection);
                let (end, address) = &ends[connection];
                let random = RefCell::new(random.fork());
                let chance: Chance = Rc::new(move |limit| random.borrow_mut().below(limit));
                Accepted::Client(end.cut_stream(chance), *address)
            }
            None => Accepted::Nobody,
        };
        let iterated = self.event_loop.iterate(self.now, &mut self.service, accept);
        iterated.expect("a service without sources of its own");
    }

    fn settle(&mut self) {
        for _ in 0..100_000 {
            self.iterate();
            let is_at_rest = self.event_loop.poll_timeout(&self.service, self.now)
                != Some(Duration::ZERO)
                && self.waiting.is_empty();
            let has_edge = |&connection: &usize| {
                let end = self.end(connection);
                let is_marked = end.input.borrow().edge || end.output.borrow().edge;
                end.is_open_here() && is_marked
            };
            if is_at_rest && !self.at_key.values().any(has_edge) {
                return;
            }
        }
        panic!("the loop does not come to rest");
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        while let Some(timeout) = self.event_loop.poll_timeout(&self.service, self.now)
            && self.now + timeout <= until
        {
            self.now += timeout;
            self.settle();
        }
        self.now = until;
        self.settle();
    }
}

/// A client that says each of its lines until it is answered.
struct Program {
    host: u8,
    connection: Option<usize>,
    received: String,
    /// Hellos that are still to come on this connection.
    hellos: usize,
    token: Option<String>,
    you: u64,
    last_seq: u64,
    /// Where it began to hear in this session.
    since: u64,
    /// What it has heard of the room's log since then.
    heard: BTreeMap<u64, String>,
    /// How many events the room said were lost since then, and in all.
    lost: u64,
    lost_in_all: u64,
    /// Not yet sent on this connection.
    unsent: VecDeque<String>,
    /// Sent on this connection, and not answered.
    sent: VecDeque<String>,
    /// The number of the first of those.
    first_n: u64,
    in_doubt: Vec<String>,
    retry_at: Option<Instant>,
    /// How often it went on with its session.
    resumed: usize,
    too_soon: usize,
    /// Somebody else goes on with its session.
    is_over: bool,
}

impl Program {
    fn new(host: u8, lines: Vec<String>) -> Self {
        Self {
            host,
            connection: None,
            received: String::new(),
            hellos: 0,
            token: None,
            you: 0,
            last_seq: 0,
            since: 0,
            heard: BTreeMap::new(),
            lost: 0,
            lost_in_all: 0,
            unsent: lines.into(),
            sent: VecDeque::new(),
            first_n: 1,
            in_doubt: Vec::new(),
            retry_at: None,
            resumed: 0,
            too_soon: 0,
            is_over: false,
        }
    }

    fn connect(&mut self, net: &mut Net, takes_bytes: usize) {
        if self.is_over || self.retry_at.is_some_and(|at| at > net.now) {
            return;
        }
        self.retry_at = None;
        let connection = net.connect(self.host, takes_bytes);
        self.connection = Some(connection);
        self.received.clear();
        let mut opening = "/json\n".to_owned();
        self.hellos = 1;
        if let Some(token) = &self.token {
            opening += &format!("/resume {token} {}\n", self.last_seq);
            self.hellos = 2;
        }
        net.end(connection).sends(opening);
    }

    /// Sends the next `count` lines.
    fn send(&mut self, net: &Net, count: usize) {
        let Some(connection) = self.connection.filter(|_| self.hellos == 0) else {
            return;
        };
        for _ in 0..count {
            let Some(line) = self.unsent.pop_front() else {
                return;
            };
            net.end(connection).sends(format!("{line}\n"));
            self.sent.push_back(line);
        }
    }

    /// The connection breaks: within a line, perhaps; by a FIN or a reset, or nobody knows yet.
    fn lose(&mut self, net: &mut Net) {
        self.read(net);
        let Some(connection) = self.connection.take() else {
            return;
        };
        let end = net.end(connection).clone();
        if let Some(line) = self.unsent.front().filter(|_| self.hellos == 0) {
            end.sends(&line[..net.random.below(line.len() + 1)]);
        }
        match net.random.below(4) {
            0 => end.ends(),
            1 | 2 => end.resets(),
            // It stays open, and unread.
            _ => {}
        }
    }

    fn read(&mut self, net: &Net) {
        let Some(connection) = self.connection else {
            return;
        };
        self.received += &net.end(connection).received();
        while let Some(end) = self.received.find('\n') {
            let line: String = self.received.drain(..=end).collect();
            if line.starts_with('{') {
                let event = serde_json::from_str(&line).expect("an object");
                self.hear(&event, net.now);
            }
        }
        let end = net.end(connection);
        if end.saw_end() || !end.is_open_here() {
            self.connection = None;
        }
    }

    fn hear(&mut self, event: &Value, now: Instant) {
        match event["kind"].as_str().expect("a kind") {
            "hello" => {
                self.hellos -= 1;
                if self.hellos == 0 {
                    self.greeted(event);
                }
                return;
            }
            "bye" => {
                match event["code"].as_str().expect("a code") {
                    "too_soon" => {
                        self.retry_at = Some(now + A_SECOND);
                        self.too_soon += 1;
                    }
                    "replaced" => self.is_over = true,
                    _ => {}
                }
                return;
            }
            _ if self.hellos > 0 => return,
            _ => {}
        }
        let seq = event["seq"].as_u64();
        if let Some(seq) = seq {
            assert!(
                seq > self.last_seq,
                "{} heard {event} after {}",
                self.host,
                self.last_seq
            );
            self.last_seq = seq;
            self.heard.insert(seq, event["text"].to_string());
        }
        let is_own = event["from"].is_null() || event["from"] == self.you;
        if let Some(n) = event["n"].as_u64().filter(|_| is_own)
            && (n >= self.first_n || seq.is_none())
        {
            assert_eq!(n, self.first_n, "{}: answers come in order", self.host);
            self.first_n += 1;
            self.sent.pop_front().expect("nothing else is answered");
        }
    }

    fn greeted(&mut self, hello: &Value) {
        let number = |field: &str| hello[field].as_u64().expect("a number");
        let heard = number("heard");
        if hello["resumed"] == true {
            assert_eq!(number("you"), self.you);
            for _ in self.first_n..=heard {
                self.sent
                    .pop_front()
                    .expect("no more was heard than was sent");
            }
            for line in self.sent.drain(..).rev() {
                self.unsent.push_front(line);
            }
            self.lost += number("lost");
            self.lost_in_all += number("lost");
            self.resumed += 1;
        } else {
            self.in_doubt.extend(self.sent.drain(..));
            self.since = number("seq");
            self.last_seq = self.since;
            self.heard.clear();
            self.lost = 0;
        }
        self.first_n = heard + 1;
        self.you = number("you");
        self.token = Some(hello["token"].as_str().expect("a token").to_owned());
    }

    fn is_done(&self) -> bool {
        self.is_over || (self.unsent.is_empty() && self.sent.is_empty())
    }
}

fn lines(random: &mut Random, host: u8) -> Vec<String> {
    let mut lines = vec![format!("GET /{host} HTTP/1.1"), format!("/nick p{host}")];
    for nth in 0..random.between(1, 40) {
        lines.push(match random.below(8) {
            0 => format!("/me does {host}.{nth}."),
            1 => format!("/msg p{} psst {host}.{nth}.", random.between(1, 3)),
            2 => "/who".to_owned(),
            3 => "/nick !".to_owned(),
            _ => format!("says {host}.{nth}."),
        });
    }
    lines
}

/// What of `line` is said to everybody.
fn public(line: &str) -> Option<&str> {
    match line.strip_prefix("/me ") {
        Some(action) => Some(action),
        None => (!line.starts_with('/')).then_some(line),
    }
}

/// How often something has happened: a test checks that it does at all.
#[derive(Debug, Default)]
pub(crate) struct Happened {
    pub(crate) resumed: usize,
    pub(crate) in_doubt: usize,
    pub(crate) lost: u64,
    pub(crate) over: usize,
    pub(crate) too_soon: usize,
}

pub(crate) fn run(seed: u64) -> Happened {
    let mut random = Random::new(seed ^ 0x5e55_1045);
    let mut net = Net::new(&mut random);
    let mut oracle = Program::new(200, Vec::new());
    oracle.connect(&mut net, usize::MAX);
    net.settle();
    oracle.read(&net);
    let all: Vec<Vec<String>> = (1..=3).map(|host| lines(&mut random, host)).collect();
    let mut programs: Vec<Program> = (1..=3)
        .map(|host| Program::new(host, all[usize::from(host) - 1].clone()))
        .collect();
    // Two that hold one token, at times.
    let is_doubled = random.one_in(8);
    let flood = net.connect(201, usize::MAX);
    for _ in 0..random.between(20, 200) {
        let program = random.below(programs.len());
        let program = &mut programs[program];
        match random.below(16) {
            0..4 => {
                if program.connection.is_none() {
                    let takes_bytes = *random.pick(&[usize::MAX, usize::MAX, 5000, 300, 0]);
                    program.connect(&mut net, takes_bytes);
                }
            }
            4..8 => program.send(&net, random.between(1, 20)),
            8..10 => program.read(&net),
            10 => {
                if let Some(connection) = program.connection {
                    net.end(connection).takes_more(random.between(1, 3000));
                }
            }
            11 => program.lose(&mut net),
            12 => {
                // At once, twice in a row, the old one open.
                program.lose(&mut net);
                program.connect(&mut net, 5000);
            }
            13 if random.one_in(10) => {
                let line = format!("{}\n", "x".repeat(100));
                net.end(flood).sends(line.repeat(3000));
            }
            13 if is_doubled => {
                let token = program.token.clone();
                let mut other = Program::new(program.host, Vec::new());
                (other.token, other.last_seq) = (token, program.last_seq);
                other.connect(&mut net, usize::MAX);
            }
            14 => net.wait(Duration::from_millis(random.below(2000) as u64)),
            15 if random.one_in(10) => net.wait(Duration::from_secs(70)),
            _ => net.iterate(),
        }
        if random.one_in(2) {
            net.settle();
        }
        oracle.read(&net);
    }
    // From now on nothing breaks.
    for round in 0.. {
        for program in &mut programs {
            if let Some(connection) = program.connection {
                let end = net.end(connection);
                if end.output.borrow().room_bytes < usize::MAX / 2 {
                    end.takes_more(usize::MAX / 2);
                }
            }
        }
        net.settle();
        for program in &mut programs {
            program.read(&net);
            if program.connection.is_none() {
                program.connect(&mut net, usize::MAX / 2);
            }
            program.send(&net, usize::MAX);
        }
        net.wait(A_SECOND);
        programs.iter_mut().for_each(|program| program.read(&net));
        oracle.read(&net);
        let is_open = |program: &Program| program.is_over || program.connection.is_some();
        if programs
            .iter()
            .all(|program| program.is_done() && is_open(program))
        {
            break;
        }
        assert!(round < 500, "somebody waits for ever for an answer");
    }
    check(&oracle, &programs, &all);
    let mut happened = Happened::default();
    for program in &programs {
        happened.resumed += program.resumed;
        happened.in_doubt += program.in_doubt.len();
        happened.lost += program.lost_in_all;
        happened.over += usize::from(program.is_over);
        happened.too_soon += program.too_soon;
    }
    happened
}

fn check(oracle: &Program, programs: &[Program], all: &[Vec<String>]) {
    let said: Vec<String> = oracle
        .heard
        .values()
        .map(|text| text.replace('"', ""))
        .collect();
    for (program, lines) in programs.iter().zip(all) {
        let own = |text: &&String| {
            let host = program.host;
            text.contains(&format!(" {host}.")) || text.contains(&format!("GET /{host} "))
        };
        let own: Vec<&String> = said.iter().filter(own).collect();
        let mut expected = lines.iter().filter_map(|line| public(line)).peekable();
        // In order, once each; what is missing is in doubt, or was never sent.
        for text in own {
            loop {
                let next = expected.next();
                let next = next.unwrap_or_else(|| panic!("{text} was said twice, or out of order"));
                if next == text {
                    break;
                }
                program.expect_excused(next);
            }
        }
        expected.for_each(|missing| program.expect_excused(missing));
        // It heard what was said, all of it but for what was lost.
        for (seq, text) in &program.heard {
            if let Some(said) = oracle.heard.get(seq) {
                assert_eq!(said, text);
            }
        }
        if !program.is_over {
            let was_said = oracle.heard.range(program.since + 1..);
            let missed = was_said.filter(|(seq, _)| !program.heard.contains_key(seq));
            let missed = missed.count() as u64;
            assert!(missed <= program.lost, "{} missed {missed}", program.host);
        }
    }
}

impl Program {
    fn expect_excused(&self, text: &str) {
        let is_it = |line: &String| public(line) == Some(text);
        let is_excused = self.in_doubt.iter().any(is_it)
            || (self.is_over && self.sent.iter().chain(&self.unsent).any(is_it));
        assert!(
            is_excused,
            "{} was never told that {text:?} is lost",
            self.host
        );
    }
}
