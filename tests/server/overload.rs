//! Promises 2 to 6 under loads that somebody might bring about on purpose, as the issue that
//! asks for each gives them: how long an ordinary line takes, who is dropped, and what it costs.
//!
//! By hand, on a machine that does nothing else: `.ci/long overload`. Each figure is a line;
//! bounds are for the binary as it is released, the server on one core and the load on another.
//! `CHAT_UNDER_TEST=target/release/chat cargo test --profile checked --test server --
//! --ignored overload --nocapture --test-threads=1` tests that binary.

use std::env;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::common::alone_under_load;
use crate::common::cores::{Cores, Shares, Watch};
use crate::common::load::{Group, Load, Reads, Says, Wait, connect_from};
use crate::common::probe::{Delays, Probe};
use crate::common::server::Server;

/// How often a scene is tried until it holds, unless the environment says otherwise
/// (`CHAT_OVERLOAD_TRIES`): others may load the machine.
const TRIES: usize = 3;

/// A line of 64 bytes.
const LINE: [u8; 64] = {
    let mut line = [b'='; 64];
    line[63] = b'\n';
    line
};

/// A server on a core of its own, those who load it, and ordinary people.
struct Scene {
    // Dropped in this order: the load goes before the server does.
    load: Load,
    probe: Probe,
    server: Server,
    cores: Cores,
}

impl Scene {
    fn set(options: &[&str]) -> Self {
        let cores = Cores::divide();
        let server = cores.on_servers(|| Server::sociable(options));
        Self {
            load: Load::start(server.address),
            probe: Probe::join(&server),
            server,
            cores,
        }
    }

    /// So many clients that say nothing and read.
    fn readers(&mut self, count: usize) -> Arc<Group> {
        let join = |load: &mut Load, count, ip: &str| {
            load.join(count, ip, Reads::Always, |_| Says::Nothing)
        };
        join(&mut self.load, count, "127.0.1.1")
    }

    fn talkers(&mut self, count: usize, says: impl Fn(usize) -> Says) -> Arc<Group> {
        self.load.join(count, "127.0.2.1", Reads::Always, says)
    }

    /// Clients with the longest name that the server takes.
    fn named_talkers(&mut self, count: usize, says: impl Fn(usize) -> Says) -> Arc<Group> {
        let group = self.load.group();
        for nth in 0..count {
            let socket = join_with_a_long_name(&self.server, nth);
            self.load.adopt(&group, socket, Reads::Always, says(nth));
        }
        group
    }

    /// Everybody talks for so long.
    fn play(self, span: Duration) -> Figures {
        let watch = Watch::start(self.server.pid());
        self.load.talk();
        let delays = self.probe.run(span);
        let figures = Figures {
            delays,
            shares: watch.shares(),
            lost: self.load.lost(),
            peak_bytes: self.server.peak_bytes(),
        };
        drop(self.load);
        drop(self.server);
        drop(self.cores);
        figures
    }
}

/// What came of a scene.
#[derive(Debug)]
struct Figures {
    delays: Delays,
    shares: Shares,
    /// How many of the load were disconnected.
    lost: usize,
    peak_bytes: usize,
}

/// What must hold for an ordinary line.
#[derive(Clone, Copy, Default)]
struct Bounds {
    median: Option<Duration>,
    p99: Option<Duration>,
    longest: Option<Duration>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (delays, shares) = (&self.delays, self.shares);
        write!(
            f,
            "an ordinary line: median {:.1} ms, p99 {:.1} ms, longest {:.1} ms, {} of {} unheard; \
             {} dropped; server at most {:.1} MB; \
             CPU: server {:.0}%, load {:.0}%, others {:.0}%",
            ms(delays.median()),
            ms(delays.p99()),
            ms(delays.longest()),
            delays.unheard,
            delays.len(),
            self.lost,
            self.peak_bytes as f64 / 1e6,
            shares.server,
            shares.load,
            shares.others,
        )
    }
}

impl Figures {
    /// What does not hold: nothing, or a line of text. Nobody may be dropped.
    fn fault(&self, bounds: Bounds) -> Option<String> {
        let over = |what: &str, found: Duration, most: Option<Duration>| {
            most.filter(|most| found > *most)
                .map(|most| format!("{what} {found:?}, not {most:?} at most"))
        };
        let unheard = self.delays.unheard;
        over("median", self.delays.median(), bounds.median)
            .or_else(|| over("p99", self.delays.p99(), bounds.p99))
            .or_else(|| over("longest", self.delays.longest(), bounds.longest))
            .or_else(|| (unheard > 0).then(|| format!("{unheard} lines were not heard")))
            .or_else(|| (self.lost > 0).then(|| format!("{} were dropped", self.lost)))
    }
}

/// Plays a scene until it holds, some times at most.
#[track_caller]
fn try_out(name: &str, bounds: Bounds, scene: impl Fn() -> Figures) {
    try_until(name, || {
        let figures = scene();
        (figures.to_string(), figures.fault(bounds))
    });
}

/// `play` returns its figures, and what does not hold.
#[track_caller]
fn try_until(name: &str, mut play: impl FnMut() -> (String, Option<String>)) {
    let _alone = alone_under_load();
    let tries = env::var("CHAT_OVERLOAD_TRIES").map_or(TRIES, |n| n.parse().expect("a number"));
    for left in (0..tries).rev() {
        let (figures, fault) = play();
        let Some(fault) = fault else {
            println!("{name}: {figures}; holds");
            return;
        };
        println!("{name}: {figures}; FAILS: {fault}");
        assert_ne!(left, 0, "{name}: {fault}");
    }
}

const fn ms(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A client with one of the longest names that the server takes, for each number another.
#[track_caller]
fn join_with_a_long_name(server: &Server, nth: usize) -> OwnedFd {
    let mut peer = server.join("127.0.3.1");
    for units in (1..=24).rev() {
        peer.say(&format!("/nick {}", long_name(units, nth)));
        loop {
            let answer = peer.next_line().expect("an answer");
            if answer.starts_with("-- you are ") {
                return peer.into_stream().into();
            }
            if answer.starts_with("!! ") {
                break;
            }
        }
    }
    panic!("no name is good");
}

/// Columns of 12 bytes each; up to 512 different names.
fn long_name(units: usize, nth: usize) -> String {
    const LETTERS: [char; 8] = ['क', 'ख', 'ग', 'घ', 'च', 'छ', 'ज', 'त'];
    let letter = |unit: usize| match unit {
        0..3 => LETTERS[nth >> (3 * unit) & 7],
        _ => 'क',
    };
    let mark = |letter| {
        if letter == 'क' {
            "\u{93c}\u{941}\u{902}"
        } else {
            "\u{941}\u{902}"
        }
    };
    (0..units)
        .flat_map(|unit| [letter(unit).to_string(), mark(letter(unit)).to_owned()])
        .collect()
}

// S1: what a read expands to.

const S1B: Bounds = Bounds {
    median: None,
    p99: ms(100),
    longest: ms(250),
};

/// 16 KiB of the shortest lines each 5 s from each of ten.
fn ten_with_long_names(apart: Duration) -> Figures {
    let mut scene = Scene::set(&[]);
    scene.readers(700);
    scene.named_talkers(10, |nth| {
        let first = Duration::from_millis(500) + apart * nth as u32;
        Says::each("x\n".repeat(8192), first, seconds(5))
    });
    scene.play(seconds(11))
}

#[test]
#[ignore = "measures time"]
fn s1b_ten_with_the_longest_names_at_once_delay_nobody() {
    try_out("S1b, at once", S1B, || ten_with_long_names(Duration::ZERO));
}

#[test]
#[ignore = "measures time"]
fn s1b_ten_with_the_longest_names_in_turn_delay_nobody() {
    try_out("S1b, in turn", S1B, || {
        ten_with_long_names(Duration::from_millis(500))
    });
}

// S8: who has said much queues before who has said nothing.

const S8: Bounds = Bounds {
    median: None,
    p99: ms(150),
    longest: ms(500),
};

#[test]
#[ignore = "measures time"]
fn s8_seven_hundred_flooders_without_pause_delay_nobody() {
    try_out("S8, 700 flooders", S8, || {
        let mut scene = Scene::set(&[]);
        scene.talkers(700, |_| Says::flood(LINE));
        scene.play(seconds(15))
    });
}

// S10: joining under a crowd.

/// What became of newcomers from other addresses, one after the other.
struct Newcomers {
    /// Those whose handshake was complete: until they were greeted.
    greeted_after: Delays,
    /// Those whose handshake was not complete in time.
    outside: usize,
    /// From when they began to connect until the handshake was complete.
    longest_handshake: Duration,
}

/// Somebody comes every quarter of a second for `span`, and waits for `patience`.
fn newcomers(to: SocketAddr, span: Duration, patience: Duration) -> Newcomers {
    struct Newcomer {
        socket: OwnedFd,
        began: Instant,
        connected: Option<Instant>,
        greeted: Option<Instant>,
        gone: bool,
    }
    const EVERY: Duration = Duration::from_millis(250);
    const TICK: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000,
    };
    let (began, mut next) = (Instant::now(), Instant::now());
    let mut all: Vec<Newcomer> = Vec::new();
    loop {
        let now = Instant::now();
        if next <= now && now < began + span {
            next += EVERY;
            all.push(Newcomer {
                socket: connect_from(&format!("127.7.0.{}", all.len() + 1), to, Wait::No),
                began: now,
                connected: None,
                greeted: None,
                gone: false,
            });
        }
        let is_waiting = |one: &Newcomer| one.greeted.is_none() && !one.gone;
        if now >= began + span && !all.iter().any(is_waiting) || now >= began + span + patience {
            break;
        }
        let mut waiting: Vec<&mut Newcomer> =
            all.iter_mut().filter(|one| is_waiting(one)).collect();
        let flags = |one: &Newcomer| match one.connected {
            None => PollFlags::OUT,
            Some(_) => PollFlags::IN,
        };
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = waiting
                .iter()
                .map(|one| PollFd::new(&one.socket, flags(one)))
                .collect();
            match poll(&mut fds, Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        for (one, _) in waiting.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            if one.connected.is_none() {
                one.connected = Some(Instant::now());
                continue;
            }
            match recv(&one.socket, &mut [0; 16], RecvFlags::empty()) {
                Ok((_, 1..)) => one.greeted = Some(Instant::now()),
                Err(Errno::AGAIN) => {}
                Ok(_) | Err(_) => one.gone = true,
            }
        }
    }
    let now = Instant::now();
    let inside: Vec<&Newcomer> = all.iter().filter(|one| one.connected.is_some()).collect();
    let since = |one: &Newcomer| one.connected.expect("it is inside");
    let wait = |one: &&Newcomer| one.greeted.unwrap_or(now) - since(one);
    let ungreeted = inside.iter().filter(|one| one.greeted.is_none()).count();
    Newcomers {
        greeted_after: Delays::new(inside.iter().map(wait).collect(), ungreeted),
        outside: all.len() - inside.len(),
        longest_handshake: inside
            .iter()
            .map(|one| since(one) - one.began)
            .max()
            .unwrap_or_default(),
    }
}

#[test]
#[ignore = "measures time"]
fn s10_newcomers_are_greeted_beside_a_crowd_that_floods_and_one_that_waits() {
    const GREETED_WITHIN: Duration = Duration::from_secs(2);
    const PENDING: usize = 6000;
    try_until("S10", || {
        let mut scene = Scene::set(&[]);
        scene.talkers(700, |_| Says::flood(LINE));
        let Scene {
            mut load,
            probe,
            server,
            cores,
        } = scene;
        let watch = Watch::start(server.pid());
        let probe = thread::spawn(move || probe.run(seconds(9)));
        load.talk();
        let pending = load.group();
        // Here the clock is what the test is about: the flood is to be at its height.
        thread::sleep(seconds(1));
        for _ in 0..PENDING {
            let socket = connect_from("127.0.4.1", server.address, Wait::No);
            load.adopt(&pending, socket, Reads::Always, Says::Nothing);
        }
        let found = newcomers(server.address, seconds(8), seconds(10));
        let delays = probe.join().expect("people who do not panic");
        let figures = Figures {
            delays,
            shares: watch.shares(),
            lost: load.lost(),
            peak_bytes: server.peak_bytes(),
        };
        let (greeted, wait) = (pending.greeted(), &found.greeted_after);
        drop(load);
        drop(server);
        drop(cores);
        let text = format!(
            "{} newcomers inside: greeted after {:?} (median), {:?} (longest), {} not at all; {} outside; \
             handshake within {:?}; {greeted} of {PENDING} who waited were greeted; {figures}",
            wait.len(),
            wait.median(),
            wait.longest(),
            wait.unheard,
            found.outside,
            found.longest_handshake,
        );
        let fault = (wait.unheard > 0 || wait.longest() > GREETED_WITHIN)
            .then(|| format!("greeted after {:?}", wait.longest()));
        (text, fault)
    });
}

// A crowd that talks.

const CROWD: Bounds = Bounds {
    median: ms(20),
    p99: None,
    longest: ms(250),
};

fn beside_flooders(flooders: usize) -> Figures {
    let mut scene = Scene::set(&[]);
    scene.readers(1000);
    scene.talkers(flooders, |_| Says::flood(LINE));
    scene.play(seconds(8))
}

#[test]
#[ignore = "measures time"]
fn crowd_of_4_flooders_and_1000_readers_delays_nobody() {
    try_out("crowd, 4 flooders", CROWD, || beside_flooders(4));
}

#[test]
#[ignore = "measures time"]
fn crowd_of_200_flooders_and_1000_readers_delays_nobody() {
    try_out("crowd, 200 flooders", CROWD, || beside_flooders(200));
}
