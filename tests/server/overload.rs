//! Promises 2 to 6 under loads that somebody might bring about on purpose, as the issue that
//! asks for each gives them: how long an ordinary line takes, who is dropped, and what it costs.
//!
//! By hand, on a machine that does nothing else: `.ci/long overload`. Each figure is a line;
//! bounds are for the binary as it is released, the server on one core and the load on another.
//! `CHAT_UNDER_TEST=target/release/chat cargo test --profile checked --test server --
//! --ignored overload --nocapture --test-threads=1` tests that binary.

use std::env;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::catch_unwind;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::Signal;

use super::flow_control::{kernel_tcp_bytes, sample};
use crate::common::alone_under_load;
use crate::common::cores::{Cores, Shares, Watch};
use crate::common::load::{Group, Load, Reads, Says, Wait, connect_from};
use crate::common::peer::Peer;
use crate::common::probe::{Delays, Probe};
use crate::common::process::run_by;
use crate::common::server::{Server, sociable_command};

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
        Self::around(server, cores)
    }

    fn around(server: Server, cores: Cores) -> Self {
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
        self.play_to_the_end(span).0
    }

    /// [`play`](Self::play), and what the server wrote to standard error until it was told to
    /// end.
    fn play_to_the_end(mut self, span: Duration) -> (Figures, String) {
        let pid = self.server.pid();
        let watch = Watch::start(pid);
        let kernel_before = kernel_tcp_bytes();
        let kernel = sample(kernel_tcp_bytes);
        self.load.talk();
        let delays = self.probe.run(span);
        let has_died = !self.server.is_running();
        let figures = Figures {
            delays,
            shares: watch.shares(),
            lost: self.load.lost(),
            peak_bytes: if has_died {
                0
            } else {
                self.server.peak_bytes()
            },
            kernel_bytes: kernel().saturating_sub(kernel_before),
            has_died,
        };
        drop(self.load);
        if !has_died {
            self.server.signal(Signal::TERM);
        }
        let said = self.server.stderr().rest();
        drop(self.cores);
        (figures, said)
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
    /// By how much the kernel's memory for TCP grew at most, of this machine.
    kernel_bytes: usize,
    has_died: bool,
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
             {} dropped; server at most {:.1} MB, kernel {:.1} MB more; \
             CPU: server {:.0}%, load {:.0}%, others {:.0}%",
            ms(delays.median()),
            ms(delays.p99()),
            ms(delays.longest()),
            delays.unheard,
            delays.len(),
            self.lost,
            self.peak_bytes as f64 / 1e6,
            self.kernel_bytes as f64 / 1e6,
            shares.server,
            shares.load,
            shares.others,
        )
    }
}

impl Figures {
    /// What does not hold: nothing, or a line of text. Nobody may be dropped.
    fn fault(&self, bounds: Bounds) -> Option<String> {
        if self.has_died {
            return Some("the server has ended".to_owned());
        }
        let lost = self.lost;
        self.fault_of_delays(bounds)
            .or_else(|| (lost > 0).then(|| format!("{lost} were dropped")))
    }

    fn fault_of_delays(&self, bounds: Bounds) -> Option<String> {
        let over = |what: &str, found: Duration, most: Option<Duration>| {
            most.filter(|most| found > *most)
                .map(|most| format!("{what} {found:?}, not {most:?} at most"))
        };
        let unheard = self.delays.unheard;
        over("median", self.delays.median(), bounds.median)
            .or_else(|| over("p99", self.delays.p99(), bounds.p99))
            .or_else(|| over("longest", self.delays.longest(), bounds.longest))
            .or_else(|| (unheard > 0).then(|| format!("{unheard} lines were not heard")))
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
    let units = numbers_of_units().find(|&units| is_called(&mut peer, &long_name(units, nth)));
    units.expect("a name that the server takes");
    peer.into_stream().into()
}

/// How many units the longest name has that the server takes.
#[track_caller]
fn longest_name_units(server: &Server) -> usize {
    let mut peer = server.join("127.0.3.2");
    let units = numbers_of_units().find(|&units| is_called(&mut peer, &long_name(units, 511)));
    units.expect("a name that the server takes")
}

/// From the most on.
fn numbers_of_units() -> impl Iterator<Item = usize> {
    (1..=24).rev()
}

/// Whether the server takes this name.
#[track_caller]
fn is_called(peer: &mut Peer, name: &str) -> bool {
    peer.say(&format!("/nick {name}"));
    loop {
        let answer = peer.next_line().expect("an answer");
        if answer.starts_with("-- you are ") {
            return true;
        }
        if answer.starts_with("!! ") {
            return false;
        }
    }
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

#[test]
#[ignore = "measures time"]
fn s1a_readers_that_pause_are_not_dropped_for_what_one_read_expands_to() {
    try_out("S1a", Bounds::default(), || {
        let mut scene = Scene::set(&[]);
        let pause = Reads::After(Duration::from_millis(1200));
        scene.load.join(20, "127.0.5.1", pause, |_| Says::Nothing);
        scene.named_talkers(1, |_| Says::once("x\n".repeat(8192)));
        scene.play(seconds(5))
    });
}

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

const S1C: Bounds = Bounds {
    median: ms(25),
    p99: None,
    longest: ms(500),
};

fn a_flooder_with_a_long_name(readers: usize) -> Figures {
    let mut scene = Scene::set(&[]);
    scene.readers(readers);
    scene.named_talkers(1, |_| Says::flood("x\n"));
    scene.play(seconds(8))
}

#[test]
#[ignore = "measures time"]
fn s1c_a_flooder_with_the_longest_name_delays_none_of_1000() {
    try_out("S1c, 1,000 readers", S1C, || {
        a_flooder_with_a_long_name(1000)
    });
}

#[test]
#[ignore = "measures time"]
fn s1c_a_flooder_with_the_longest_name_delays_none_of_3000() {
    try_out("S1c, 3,000 readers", S1C, || {
        a_flooder_with_a_long_name(3000)
    });
}

/// Somebody who reads asks who is here as often as one read holds, in a room of `names` with
/// long names. How long until all is answered, or what went wrong.
fn ask_who_is_here(server: &Server, names: usize) -> Result<Duration, String> {
    const TIMES: usize = 3276;
    let _members: Vec<OwnedFd> = (0..names)
        .map(|nth| join_with_a_long_name(server, nth))
        .collect();
    let mut curious = server.join("127.0.5.2");
    let began = Instant::now();
    curious.send("/who\n".repeat(TIMES));
    let mut answers = 0;
    while answers < TIMES {
        match curious.read_line() {
            Ok(Some(line)) if line.contains(" here: ") => answers += 1,
            Ok(Some(_)) => {}
            Ok(None) => return Err(format!("dropped after {answers} answers")),
            Err(error) => return Err(format!("{error} after {answers} answers")),
        }
    }
    Ok(began.elapsed())
}

#[test]
#[ignore = "measures time"]
fn s1d_who_asks_much_and_reads_is_answered_and_not_dropped() {
    try_until("S1d", || {
        let scene = Scene::set(&[]);
        let address = &scene.server;
        let (answered, delays) = thread::scope(|scope| {
            let probe = scope.spawn(|| scene.probe.run(seconds(4)));
            let answered = ask_who_is_here(address, 200);
            (answered, probe.join().expect("people who do not panic"))
        });
        let text = format!(
            "answered after {answered:?}; an ordinary line meanwhile: median {:?}, longest {:?}",
            delays.median(),
            delays.longest()
        );
        (text, answered.err())
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

/// 16 KiB of lines all at once from each of so many, again and again.
fn who_talk_at_once(talkers: usize, every: Duration, span: Duration) -> Figures {
    let mut scene = Scene::set(&[]);
    let text = LINE.repeat(16 * 1024 / LINE.len());
    let first = Duration::from_millis(500);
    scene.talkers(talkers, |_| Says::each(&text, first, every));
    scene.play(span)
}

#[test]
#[ignore = "measures time"]
fn s8_seven_hundred_who_say_16_kib_each_10_s_delay_nobody() {
    try_out("S8, 700 × 16 KiB each 10 s", S8, || {
        who_talk_at_once(700, seconds(10), seconds(20))
    });
}

#[test]
#[ignore = "measures time"]
fn s8_three_hundred_who_say_16_kib_each_5_s_delay_nobody() {
    try_out("S8, 300 × 16 KiB each 5 s", S8, || {
        who_talk_at_once(300, seconds(5), seconds(15))
    });
}

// S9: what a line costs.

#[test]
#[ignore = "measures time"]
fn s9_four_hundred_who_take_long_names_again_and_again_delay_nobody() {
    try_out("S9, long names", S8, || {
        let mut scene = Scene::set(&[]);
        let units = longest_name_units(&scene.server);
        scene.talkers(400, |nth| {
            let (name, other) = (long_name(units, nth), long_name(units - 1, nth));
            Says::flood(format!("/nick {name}\n/nick {other}\n"))
        });
        scene.play(seconds(10))
    });
}

/// These cost less each, but more of them fit into a read.
#[test]
#[ignore = "measures time"]
fn s9_four_hundred_who_take_short_names_again_and_again_delay_nobody() {
    try_out("S9, short names", S8, || {
        let mut scene = Scene::set(&[]);
        scene.talkers(400, |nth| {
            Says::flood(format!("/nick m{nth}\n/nick w{nth}\n"))
        });
        scene.play(seconds(10))
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
            kernel_bytes: 0,
            has_died: false,
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

// S11: values of options that do not go together.

/// Each option at its least and its most.
const EXTREMES: [(&str, [&str; 2]); 5] = [
    ("--max-backlog", ["16K", "1024M"]),
    ("--send-buffer", ["4K", "64M"]),
    ("--max-line", ["1", "1048576"]),
    ("--rate", ["1", "1000000"]),
    ("--stall-timeout", ["1", "31536000"]),
];

const S11: Bounds = Bounds {
    median: ms(50),
    p99: None,
    longest: None,
};

/// Every pair of values of two options.
fn pairs() -> impl Iterator<Item = [&'static str; 4]> {
    let numbers = (0..EXTREMES.len()).flat_map(|one| (0..one).map(move |other| (other, one)));
    numbers.flat_map(|(one, other)| {
        let ((one, values), (other, others)) = (EXTREMES[one], EXTREMES[other]);
        let each = values
            .into_iter()
            .flat_map(move |value| others.map(|other| (value, other)));
        each.map(move |(value, other_value)| [one, value, other, other_value])
    })
}

/// 500 flooders, who say lines of so many bytes or less, if no more may be said. Returns the
/// figures, and what does not hold.
fn beside_flooders_with(
    options: &[&'static str; 4],
    line_bytes: usize,
) -> (String, Option<String>) {
    let cores = Cores::divide();
    let mut scene = match cores.on_servers(|| Server::try_sociable(options)) {
        Ok(server) => Scene::around(server, cores),
        Err(said) => {
            return (
                format!("it says {:?}", said.trim()),
                unless_named(&said, options),
            );
        }
    };
    let most = options
        .iter()
        .skip_while(|option| **option != "--max-line")
        .nth(1);
    let most = most.map_or(4096, |bytes| bytes.parse().expect("a number"));
    let mut line = vec![b'='; line_bytes.min(most)];
    line.push(b'\n');
    let says = Says::flood(line);
    scene.talkers(500, |_| says.clone());
    let (figures, said) = scene.play_to_the_end(Duration::from_millis(2500));
    let fault = figures.fault(S11);
    let fault = fault.filter(|_| unless_named(&said, options).is_some());
    (figures.to_string(), fault)
}

/// A fault unless both options are named in what the server has said.
fn unless_named(said: &str, options: &[&str; 4]) -> Option<String> {
    let is_named = [0, 2].iter().all(|&nth| said.contains(options[nth]));
    (!is_named).then(|| format!("the server does not start, and does not say why: {said}"))
}

/// Tries all pairs before it fails.
#[track_caller]
fn try_pairs(name: &str, pairs: impl Iterator<Item = [&'static str; 4]>, line_bytes: usize) {
    let mut faults = Vec::new();
    for options in pairs {
        let name = format!("{name}, {}", options.join(" "));
        let tried =
            catch_unwind(|| try_until(&name, || beside_flooders_with(&options, line_bytes)));
        if tried.is_err() {
            faults.push(name);
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
#[ignore = "measures time"]
fn s11_pairs_of_extreme_values_delay_nobody_or_are_refused() {
    try_pairs("S11", pairs(), LINE.len() - 1);
}

#[test]
#[ignore = "measures time"]
fn s11_the_longest_lines_delay_nobody_or_are_refused() {
    let of_long_lines = |options: &[&str; 4]| options.contains(&"1048576");
    try_pairs(
        "S11, longest lines",
        pairs().filter(of_long_lines),
        1_048_576,
    );
}

// S12 and S15: the memory of the many.

#[test]
#[ignore = "measures time, and what the kernel has for all programs"]
fn s12_a_thousand_stuck_clients_that_lag_a_little_cost_the_kernel_little() {
    try_until("S12", || {
        let mut scene = Scene::set(&[]);
        scene
            .load
            .join(1000, "127.0.6.1", Reads::Never, |_| Says::Nothing);
        let line = [&[b'='; 1023][..], b"\n"].concat();
        let every = Duration::from_millis(100);
        scene.talkers(1, |_| Says::each(line.repeat(10), every, every));
        let figures = scene.play(seconds(4));
        let most_bytes = kernel_may_have_bytes() / 8;
        let fault = figures.fault_of_delays(CROWD).or_else(|| {
            let is_over = figures.kernel_bytes > most_bytes;
            is_over.then(|| format!("the kernel has more than {most_bytes} bytes more"))
        });
        (figures.to_string(), fault)
    });
}

/// From where on the kernel saves memory (tcp(7), `tcp_mem`: counted in pages).
fn kernel_may_have_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let pages = fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").expect("tcp(7)");
    let pages = pages.split_whitespace().nth(1).expect("three numbers");
    PAGE_BYTES * pages.parse::<usize>().expect("a number")
}

#[test]
#[ignore = "measures time"]
fn s15_five_thousand_half_lines_do_not_end_a_server_with_little_memory() {
    try_until("S15", || {
        let cores = Cores::divide();
        let mut server = sociable_command("127.0.0.1", &[]);
        server = run_by(
            &["sh", "-c", "ulimit -v 20480; exec \"$0\" \"$@\""],
            &server,
        );
        server.stdin(Stdio::null());
        let server = cores.on_servers(|| Server::spawn(server));
        let mut scene = Scene::around(server, cores);
        scene.talkers(5000, |_| Says::once([b'='; 4000]));
        let figures = scene.play(seconds(5));
        // Those who cost most may have gone.
        let fault = match figures.has_died {
            true => figures.fault(CROWD),
            false => figures.fault_of_delays(CROWD),
        };
        (figures.to_string(), fault)
    });
}
