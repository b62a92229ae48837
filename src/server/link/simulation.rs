//! Several machines and a model of the stream, from a seed: whatever is lost, doubled, late or out
//! of order between them, each line is said once, and in one order for all.
//!
//! A failure names its seed. To repeat one: `CHAT_SIMULATION_SEED=7 cargo test --lib link::`. To run
//! more: `CHAT_SIMULATION_SEEDS=100000`.
//!
//! The model judges by what it has stored itself, and by the lines' names: it knows nothing of how
//! a machine keeps its order.

#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../../../tests/simulation/random.rs"]
mod random;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::env;
use std::panic;
use std::time::{Duration, Instant};

use super::machine::{Machine, Notice, Output, Said};
use crate::protocol::label::ServerLabel;
use crate::protocol::nats::{Decoder, Op};

const SEEDS: u64 = 400;

/// For how long people talk; then everything works again.
const TALK_MS: u64 = 45_000;

/// After that everything must be in order.
const HEALED_MS: u64 = TALK_MS + 40_000;

struct Random(random::Random);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0.below(end as usize) as u64
    }

    /// True so many times in a thousand.
    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What goes wrong, each in so many of a thousand cases.
#[derive(Clone, Copy, Debug)]
struct Faults {
    republish_lost: u64,
    republish_doubled: u64,
    ack_lost: u64,
    get_lost: u64,
    get_lags: u64,
    /// What was stored is not known to be stored, and is stored again.
    id_forgotten: u64,
    max_delay_ms: u64,
}

/// Something that comes to pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Bytes for a connection.
    Arrives {
        server: usize,
        connection: u64,
        bytes: Vec<u8>,
    },
    /// What a server has published arrives at NATS.
    Published {
        server: usize,
        connection: u64,
        subject: String,
        reply: Option<String>,
        headers: Vec<(&'static str, String)>,
        payload: Vec<u8>,
    },
    Connects(usize),
    Disconnects(usize),
    Talks(usize),
    Restarts(usize),
    /// The stream is deleted.
    Resets,
    /// The oldest is gone.
    Purges,
    Unavailable(bool),
    Wakes(usize),
}

struct Server {
    label: ServerLabel,
    life: u64,
    machine: Machine,
    /// 0: none.
    connection: u64,
    subscribed: BTreeSet<u64>,
    said: u64,
    /// Own lines that were given to the machine, and are not said yet.
    waiting: VecDeque<String>,
    log: Vec<Entry>,
    wakes_at: u64,
}

#[derive(Clone, Debug)]
enum Entry {
    Own(String),
    Theirs(String),
    Notice(Notice),
}

#[derive(Clone, Debug)]
struct Stored {
    label: String,
    headers: Vec<(&'static str, String)>,
    payload: Vec<u8>,
}

struct World {
    start: Instant,
    now_ms: u64,
    random: Random,
    faults: Faults,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    event_count: u64,
    servers: Vec<Server>,
    connections: u64,
    is_available: bool,
    exists: bool,
    epoch: u64,
    last: u64,
    stored: BTreeMap<u64, Stored>,
    ids: HashMap<String, u64>,
    /// Where each line is, first and again: the epoch, and its number there.
    places: HashMap<String, Vec<(u64, u64)>>,
    has_purged: bool,
    has_forgotten: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(random::Random::new(seed));
        let wild = |random: &mut Random, most| match random.below(3) {
            0 => 0,
            _ => random.below(most),
        };
        let faults = Faults {
            republish_lost: wild(&mut random, 300),
            republish_doubled: wild(&mut random, 200),
            ack_lost: wild(&mut random, 300),
            get_lost: wild(&mut random, 300),
            get_lags: wild(&mut random, 300),
            id_forgotten: wild(&mut random, 100),
            max_delay_ms: 1 + wild(&mut random, 60),
        };
        let start = Instant::now();
        let mut world = Self {
            start,
            now_ms: 0,
            random,
            faults,
            events: BinaryHeap::new(),
            event_count: 0,
            servers: Vec::new(),
            connections: 0,
            is_available: true,
            exists: false,
            epoch: 1,
            last: 0,
            stored: BTreeMap::new(),
            ids: HashMap::new(),
            places: HashMap::new(),
            has_purged: false,
            has_forgotten: false,
        };
        let count = 2 + world.random.below(3);
        for nth in 0..count {
            let server = world.server(nth as usize, 1);
            world.servers.push(server);
            let at = world.random.below(200);
            world.at(at, Event::Connects(nth as usize));
        }
        world.plan(count);
        world
    }

    fn server(&mut self, nth: usize, life: u64) -> Server {
        let label = ServerLabel::parse(&format!("s{nth}")).unwrap();
        let room = ServerLabel::parse("r").unwrap();
        let now = self.now();
        let instance = nth as u64 * 1000 + life;
        Server {
            machine: Machine::new(room, label, instance, now),
            label,
            life,
            connection: 0,
            subscribed: BTreeSet::new(),
            said: 0,
            waiting: VecDeque::new(),
            log: Vec::new(),
            wakes_at: u64::MAX,
        }
    }

    /// What happens besides talk: a few of these, or nothing.
    fn plan(&mut self, count: u64) {
        for _ in 0..200 + self.random.below(400) {
            let server = self.random.below(count) as usize;
            let at = self.random.below(TALK_MS);
            self.at(at, Event::Talks(server));
        }
        for _ in 0..self.random.below(6) {
            let at = self.random.below(TALK_MS);
            let server = self.random.below(count) as usize;
            match self.random.below(8) {
                0..3 => self.at(at, Event::Disconnects(server)),
                3..6 => {
                    let longest = if self.random.chance(300) {
                        20_000
                    } else {
                        7_000
                    };
                    let until = (at + self.random.below(longest)).min(TALK_MS);
                    self.at(at, Event::Unavailable(true));
                    self.at(until, Event::Unavailable(false));
                }
                6 => self.at(at, Event::Restarts(server)),
                _ if self.random.chance(500) => self.at(at, Event::Resets),
                _ => self.at(at, Event::Purges),
            }
        }
        self.at(TALK_MS, Event::Unavailable(false));
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.now_ms)
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.event_count += 1;
        self.events.push(Reverse((at_ms, self.event_count, event)));
    }

    fn later(&mut self, event: Event) {
        let delay = 1 + self.random.below(self.faults.max_delay_ms);
        self.at(self.now_ms + delay, event);
    }

    fn run(&mut self) {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > HEALED_MS {
                return;
            }
            if at >= TALK_MS {
                self.faults = Faults {
                    republish_lost: 0,
                    republish_doubled: 0,
                    ack_lost: 0,
                    get_lost: 0,
                    get_lags: 0,
                    id_forgotten: 0,
                    max_delay_ms: 2,
                };
            }
            self.now_ms = at;
            if let Some(server) = self.happen(event) {
                self.attend_to(server);
            }
        }
    }

    /// Returns the server that has something to do now.
    fn happen(&mut self, event: Event) -> Option<usize> {
        let now = self.now();
        match event {
            Event::Arrives {
                server: nth,
                connection,
                bytes,
            } => {
                let server = &mut self.servers[nth];
                if server.connection != connection {
                    return None;
                }
                let mut decoder = Decoder::default();
                decoder.feed(&bytes);
                let Ok(Some(Op::Message(message))) = decoder.take() else {
                    panic!("the model speaks NATS's protocol");
                };
                server.machine.received(&message, now);
                Some(nth)
            }
            Event::Published {
                server,
                connection,
                subject,
                reply,
                headers,
                payload,
            } => {
                self.published(server, connection, &subject, reply, headers, payload);
                None
            }
            Event::Connects(nth) => {
                self.connections += 1;
                let server = &mut self.servers[nth];
                server.connection = self.connections;
                server.subscribed.clear();
                server.machine.connected(1024 * 1024, now);
                Some(nth)
            }
            Event::Disconnects(nth) => {
                self.disconnect(nth);
                Some(nth)
            }
            Event::Talks(nth) => {
                for _ in 0..1 + self.random.below(3) {
                    let server = &mut self.servers[nth];
                    server.said += 1;
                    let line = format!("{}.{}.{}", server.label, server.life, server.said);
                    server.waiting.push_back(line.clone());
                    server.machine.say(line.as_bytes());
                }
                Some(nth)
            }
            Event::Restarts(nth) => {
                // What was not said yet is lost with the process.
                let life = self.servers[nth].life + 1;
                self.servers[nth] = self.server(nth, life);
                let at = self.now_ms + 100;
                self.at(at, Event::Connects(nth));
                None
            }
            Event::Resets => {
                self.exists = false;
                self.epoch += 1;
                self.last = 0;
                self.stored.clear();
                self.ids.clear();
                None
            }
            Event::Purges => {
                self.has_purged = true;
                self.stored.clear();
                None
            }
            Event::Unavailable(is_unavailable) => {
                self.is_available = !is_unavailable;
                None
            }
            Event::Wakes(nth) => {
                if self.servers[nth].wakes_at > self.now_ms {
                    return None;
                }
                self.servers[nth].wakes_at = u64::MAX;
                Some(nth)
            }
        }
    }

    fn disconnect(&mut self, nth: usize) {
        let now = self.now();
        let server = &mut self.servers[nth];
        if server.connection == 0 {
            return;
        }
        server.connection = 0;
        server.machine.disconnected(now);
        let at = self.now_ms + 50 + self.random.below(500);
        self.at(at, Event::Connects(nth));
    }

    /// Has a server do what it wants, and wakes it when it wants that.
    fn attend_to(&mut self, nth: usize) {
        let now = self.now();
        let mut reconnects = false;
        loop {
            let server = &mut self.servers[nth];
            let mut is_done = true;
            while let Some(said) = server.machine.take_said() {
                is_done = false;
                match said {
                    Said::Own { lines } => {
                        for _ in 0..lines {
                            let line = server.waiting.pop_front().expect("it was given so many");
                            server.log.push(Entry::Own(line));
                        }
                    }
                    Said::Theirs { lines, .. } => {
                        let lines = String::from_utf8(lines).unwrap();
                        let lines = lines.lines().map(|line| Entry::Theirs(line.to_owned()));
                        server.log.extend(lines);
                    }
                    Said::Notice(notice) => server.log.push(Entry::Notice(notice)),
                    _ => {}
                }
            }
            server.machine.settle(now);
            let connection = server.connection;
            while let Some(output) = self.servers[nth].machine.take_output() {
                is_done = false;
                match output {
                    Output::Subscribe { subscription, .. } => {
                        self.servers[nth].subscribed.insert(subscription);
                    }
                    Output::Unsubscribe { subscription } => {
                        self.servers[nth].subscribed.remove(&subscription);
                    }
                    Output::Reconnect => reconnects = true,
                    Output::Publish {
                        subject,
                        reply,
                        headers,
                        payload,
                    } => {
                        assert_ne!(connection, 0, "there is a connection to publish on");
                        self.later(Event::Published {
                            server: nth,
                            connection,
                            subject,
                            reply,
                            headers,
                            payload,
                        });
                    }
                }
            }
            if is_done {
                break;
            }
        }
        if reconnects {
            self.disconnect(nth);
            return self.attend_to(nth);
        }
        if let Some(deadline) = self.servers[nth].machine.deadline(now) {
            let machine = &self.servers[nth].machine;
            assert!(
                deadline > now,
                "s{nth} would spin at {}: {machine:#?}",
                self.now_ms
            );
            let at = (deadline - self.start).as_millis() as u64 + 1;
            if at < self.servers[nth].wakes_at {
                self.servers[nth].wakes_at = at;
                self.at(at, Event::Wakes(nth));
            }
        }
    }

    fn published(
        &mut self,
        from: usize,
        connection: u64,
        subject: &str,
        reply: Option<String>,
        headers: Vec<(&'static str, String)>,
        payload: Vec<u8>,
    ) {
        if self.servers[from].connection != connection && !self.random.chance(500) {
            // It was on its way when the connection broke.
            return;
        }
        let answer = |headers: String, payload: String| (headers, payload.into_bytes());
        let answered = match subject.strip_prefix("$JS.API.") {
            Some(_) if !self.is_available => None,
            Some("STREAM.INFO.CHAT_r") if !self.exists => Some(answer(
                String::new(),
                "{\"error\":{\"err_code\":10059}}".into(),
            )),
            Some("STREAM.INFO.CHAT_r") => {
                let config = "{\"allow_direct\":true,\"republish\":{\"src\":\"chat.r.say.*\",\
                              \"dest\":\"chat.r.heard.{{wildcard(1)}}\"}}";
                Some(answer(String::new(), format!("{{\"config\":{config}}}")))
            }
            Some("STREAM.CREATE.CHAT_r") => {
                self.exists = true;
                Some(answer(String::new(), "{\"config\":{}}".into()))
            }
            Some("DIRECT.GET.CHAT_r") => self.get(&payload),
            _ if subject.starts_with("chat.r.say.") => {
                if self.exists && self.is_available {
                    self.store(subject, headers, payload)
                } else if self.exists {
                    None
                } else {
                    Some(("NATS/1.0 503\r\n\r\n".to_owned(), Vec::new()))
                }
            }
            _ => {
                for to in (0..self.servers.len()).filter(|&to| to != from) {
                    self.send(to, subject, None, "", &payload);
                }
                None
            }
        };
        if let (Some(reply), Some((headers, payload))) = (reply, answered) {
            self.send(from, &reply, None, &headers, &payload);
        }
    }

    /// The answer to a direct get.
    fn get(&mut self, asked: &[u8]) -> Option<(String, Vec<u8>)> {
        let asked: serde_json::Value = serde_json::from_slice(asked).unwrap();
        assert_eq!(asked["next_by_subj"], "chat.r.say.*");
        let first = asked["seq"].as_u64().unwrap();
        let (lost, lags) = (self.faults.get_lost, self.faults.get_lags);
        if self.random.chance(lost) {
            return None;
        }
        let found = self.stored.range(first..).next();
        match found {
            Some((&seq, stored)) if !self.random.chance(lags) => {
                let subject = format!("Nats-Subject: chat.r.say.{}\r\n", stored.label);
                Some((headers(seq, stored, &subject), stored.payload.clone()))
            }
            _ => Some((
                "NATS/1.0 404 Message Not Found\r\n\r\n".to_owned(),
                Vec::new(),
            )),
        }
    }

    /// Stores a batch, publishes it again, and acknowledges it.
    fn store(
        &mut self,
        subject: &str,
        headers_given: Vec<(&'static str, String)>,
        payload: Vec<u8>,
    ) -> Option<(String, Vec<u8>)> {
        let label = subject.rsplit('.').next().unwrap().to_owned();
        let id = headers_given[0].1.clone();
        let forgotten = self.faults.id_forgotten;
        let known = self.ids.get(&id).copied();
        let known = known.filter(|_| !self.random.chance(forgotten));
        let (seq, is_duplicate) = match known {
            Some(seq) => (seq, true),
            None => {
                self.has_forgotten |= self.ids.contains_key(&id);
                self.last += 1;
                let seq = self.last;
                self.ids.insert(id, seq);
                let text = String::from_utf8(payload.clone()).unwrap();
                for (nth, line) in text.lines().enumerate() {
                    let place = (self.epoch, seq * 10_000 + nth as u64);
                    self.places.entry(line.to_owned()).or_default().push(place);
                }
                let stored = Stored {
                    label: label.clone(),
                    headers: headers_given,
                    payload,
                };
                self.stored.insert(seq, stored.clone());
                let heard = format!("chat.r.heard.{label}");
                for to in 0..self.servers.len() {
                    let (lost, doubled) =
                        (self.faults.republish_lost, self.faults.republish_doubled);
                    let times = match () {
                        () if self.random.chance(lost) => 0,
                        () if self.random.chance(doubled) => 2,
                        () => 1,
                    };
                    for _ in 0..times {
                        self.send(
                            to,
                            &heard,
                            Some(1),
                            &headers(seq, &stored, ""),
                            &stored.payload,
                        );
                    }
                }
                (seq, false)
            }
        };
        let lost = self.faults.ack_lost;
        (!self.random.chance(lost)).then(|| {
            let ack = format!("{{\"seq\":{seq},\"duplicate\":{is_duplicate}}}");
            (String::new(), ack.into_bytes())
        })
    }

    fn send(
        &mut self,
        to: usize,
        subject: &str,
        subscription: Option<u64>,
        headers: &str,
        payload: &[u8],
    ) {
        let server = &self.servers[to];
        let is_listening = subscription.is_none_or(|it| server.subscribed.contains(&it));
        if server.connection == 0 || !is_listening {
            return;
        }
        let connection = server.connection;
        let (head, total) = (headers.len(), headers.len() + payload.len());
        let mut bytes = if headers.is_empty() {
            format!("MSG {subject} 1 {total}\r\n").into_bytes()
        } else {
            format!("HMSG {subject} 1 {head} {total}\r\n{headers}").into_bytes()
        };
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.later(Event::Arrives {
            server: to,
            connection,
            bytes,
        });
    }

    fn judge(&self) {
        let was_reset = self.epoch > 1;
        for server in &self.servers {
            let mut seen = BTreeSet::new();
            let mut last_own = 0;
            let mut last_place = (0, 0);
            let mut missed = 0;
            let mut is_apart = false;
            let was_apart = server
                .log
                .iter()
                .any(|it| matches!(it, Entry::Notice(Notice::Apart { .. })));
            for entry in &server.log {
                let line = match entry {
                    Entry::Notice(Notice::Apart { .. }) => {
                        assert!(!is_apart, "{}: apart twice", server.label);
                        is_apart = true;
                        continue;
                    }
                    Entry::Notice(Notice::Together {
                        missed: count,
                        shown: some,
                    }) => {
                        assert!(is_apart, "{}: together twice", server.label);
                        is_apart = false;
                        missed += count - *some as u64;
                        continue;
                    }
                    Entry::Notice(Notice::Lost { .. }) => {
                        let may_be = self.has_purged || was_reset || self.anybody_was_apart();
                        assert!(may_be, "{}: {entry:?}", server.label);
                        continue;
                    }
                    Entry::Notice(_) => continue,
                    Entry::Own(line) => {
                        let number = line.rsplit('.').next().unwrap().parse().unwrap();
                        assert_eq!(last_own + 1, number, "{}: own lines in order", server.label);
                        last_own = number;
                        line
                    }
                    Entry::Theirs(line) => line,
                };
                assert!(seen.insert(line), "{}: {line} twice", server.label);
                // Own lines that were said apart have no place, or one that nobody sees.
                let is_own = matches!(entry, Entry::Own(_));
                if let Some(places) = self.places.get(line)
                    && !(is_own && (was_apart || self.has_purged))
                    && !was_reset
                {
                    let place = places.iter().find(|&&place| place > last_place);
                    let place =
                        place.unwrap_or_else(|| panic!("{}: {line} too late", server.label));
                    last_place = *place;
                }
            }
            assert!(!is_apart, "{} is still apart", server.label);
            assert_eq!(
                last_own, server.said,
                "{}: own lines are said",
                server.label
            );
            // Nothing is missing that was stored after it came. (Where its first batch was stored
            // twice, nobody knows which of the two places it heard of first.)
            if !was_reset && !self.has_purged && !self.has_forgotten && server.life == 1 {
                let own = format!("{}.", server.label);
                let first = server.log.iter().find_map(|entry| match entry {
                    Entry::Theirs(line) => self.places.get(line),
                    Entry::Own(_) | Entry::Notice(_) => None,
                });
                let first = first.map_or((u64::MAX, 0), |places| places[0]);
                let stored = self.places.iter();
                let others =
                    stored.filter(|&(line, places)| !line.starts_with(&own) && places[0] > first);
                let others: BTreeSet<&String> = others.map(|(line, _)| line).collect();
                let heard: BTreeSet<&String> = seen.iter().copied().collect();
                let unheard = others.difference(&heard).count() as u64;
                assert!(
                    unheard <= missed,
                    "{}: {unheard} missing, {missed} told",
                    server.label
                );
            }
        }
    }

    fn anybody_was_apart(&self) -> bool {
        let logs = self.servers.iter().map(|server| &server.log);
        logs.flatten()
            .any(|entry| matches!(entry, Entry::Notice(Notice::Apart { .. })))
            || self.servers.iter().any(|server| server.life > 1)
    }
}

fn headers(seq: u64, stored: &Stored, more: &str) -> String {
    let given = stored.headers.iter();
    let given = given.map(|(name, value)| format!("{name}: {value}\r\n"));
    let given = given.collect::<String>();
    format!("NATS/1.0\r\n{given}Nats-Sequence: {seq}\r\n{more}\r\n")
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn each_line_is_said_once_and_in_one_order_whatever_happens_between_servers() {
    let seeds = match number("CHAT_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CHAT_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    let (mut parted, mut lines) = (0, 0);
    for seed in seeds {
        let mut world = World::new(seed);
        let result = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            world.run();
            world.judge();
        }));
        if let Err(cause) = result {
            eprintln!("to see this again: CHAT_SIMULATION_SEED={seed}");
            panic::resume_unwind(cause);
        }
        parted += u64::from(world.anybody_was_apart());
        lines += world
            .servers
            .iter()
            .map(|server| server.log.len())
            .sum::<usize>();
    }
    println!("{lines} lines were said; in {parted} runs a room was apart or began again");
}
