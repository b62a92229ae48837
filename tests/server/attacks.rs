//! Attacks on the room, by the thousand: clients that come and go, ask, take names, stall, and
//! do anything at all. Ordinary lines arrive in time, newcomers are greeted, the server lives,
//! and its memory is bounded.
//!
//! A second or two for each here; minutes, and greater numbers, in `.ci/long attacks`
//! (`CHAT_ATTACK_SECONDS` sets the time for each).

use std::collections::VecDeque;
use std::env;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chat::platform::proc::raise_descriptor_limit;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};
use rustix::process::Signal;

use crate::common::load::{Load, Reads, Says, Wait, connect_from};
use crate::common::peer::Peer;
use crate::common::probe::{Delays, Probe};
use crate::common::server::Server;
use crate::common::{alone_under_load, eventually};
use crate::json::{join_as_program, next_of_kind};

/// How long an ordinary line may take. Generous: the machine may be busy.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// How long an attack takes in CI.
const BRIEF: Duration = Duration::from_secs(1);

/// How long an attack takes by hand, unless the environment says otherwise.
const LONG_SECONDS: u64 = 30;

/// The most anonymous memory of a server under attack.
const MOST_BYTES: usize = 64 << 20;

fn long() -> Duration {
    let seconds = env::var("CHAT_ATTACK_SECONDS");
    Duration::from_secs(seconds.map_or(LONG_SECONDS, |seconds| seconds.parse().expect("a number")))
}

/// Expects that every line was heard in time.
#[track_caller]
fn expect_in_time(name: &str, delays: &Delays) {
    println!(
        "{name}: an ordinary line: median {:?}, longest {:?}, {} of {} unheard",
        delays.median(),
        delays.longest(),
        delays.unheard,
        delays.len()
    );
    assert_eq!(delays.unheard, 0, "{name}");
    assert!(delays.longest() < HEARD_WITHIN, "{name}: {delays:?}");
}

/// Expects that the server lives, greets newcomers, and has closed the connections of clients
/// that left.
#[track_caller]
fn expect_at_rest(name: &str, server: &mut Server, descriptors: usize) {
    assert!(server.is_running(), "{name}");
    eventually(
        "the server to close the connections of clients that left",
        || (server.descriptors() <= descriptors).then_some(()),
    );
    let mut newcomer = server.join("127.0.0.2");
    newcomer.say("/quit");
    newcomer.rest();
    let (now, peak) = (server.anonymous_bytes(), server.peak_bytes());
    println!("{name}: {now} bytes of memory, {peak} at most, files included");
    assert!(peak < MOST_BYTES, "{name}: {peak} bytes");
}

// Clients that come and go.

/// How a newcomer leaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goes {
    /// Closes, without a word.
    Silently,
    WithReset,
    AfterALine,
    /// In the middle of a line, with a reset.
    InALine,
    /// By `/quit`, then waits for the server to close.
    Politely,
}

const WAYS: [Goes; 5] = [
    Goes::Silently,
    Goes::WithReset,
    Goes::AfterALine,
    Goes::InALine,
    Goes::Politely,
];

/// Clients that come and go in a thread of their own, until this is dropped.
struct Churn {
    is_over: Arc<AtomicBool>,
    came: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Churn {
    /// `per_second` clients each second, as far as this machine can, leaving in these ways in
    /// turn.
    fn start(server: &Server, ways: &'static [Goes], per_second: u32) -> Self {
        /// Often enough that only a few come at once.
        const PACES_PER_SECOND: u32 = 200;
        /// What is missed in longer pauses is skipped.
        const CATCHES_UP: Duration = Duration::from_millis(200);
        let (is_over, came) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let address = server.address;
        let thread = thread::spawn({
            let (is_over, came) = (Arc::clone(&is_over), Arc::clone(&came));
            move || {
                let mut polite = VecDeque::new();
                let mut next = Instant::now();
                while !is_over.load(Ordering::Relaxed) {
                    for _ in 0..per_second / PACES_PER_SECOND {
                        let number = came.fetch_add(1, Ordering::Relaxed);
                        // Each address has ports enough for connections in TIME_WAIT (tcp(7)).
                        let ip = format!("127.20.{}.1", number % 200);
                        let socket = connect_from(&ip, address, Wait::No);
                        come_and_go(socket, ways[number % ways.len()], &mut polite);
                    }
                    next = Instant::now().max(next + CATCHES_UP) - CATCHES_UP
                        + Duration::from_secs(1) / PACES_PER_SECOND;
                    // Time itself is tested: so many visits in a second.
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            }
        });
        Self {
            is_over,
            came,
            thread: Some(thread),
        }
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::Relaxed)
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only drop takes it");
        let ended = thread.join();
        if !thread::panicking() {
            ended.expect("a churn that does not panic");
        }
    }
}

/// This never waits for the server: if that is late, nobody hears what is said.
fn come_and_go(socket: OwnedFd, goes: Goes, polite: &mut VecDeque<OwnedFd>) {
    /// The most clients that wait for the server to close.
    const MOST_POLITE: usize = 2000;
    let words: &[u8] = match goes {
        Goes::Silently | Goes::WithReset => b"",
        Goes::AfterALine => b"a line\n",
        Goes::InALine => b"half a li",
        Goes::Politely => b"/quit\n",
    };
    let _ = send(&socket, words, SendFlags::NOSIGNAL);
    match goes {
        Goes::WithReset | Goes::InALine => {
            sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("a TCP socket");
        }
        Goes::Politely => polite.push_back(socket),
        Goes::Silently | Goes::AfterALine => {}
    }
    let is_let_go = |socket: &OwnedFd| loop {
        match recv(socket, &mut [0; 4096], RecvFlags::empty()) {
            Ok((_, 1..)) => {}
            Err(rustix::io::Errno::AGAIN) => break false,
            Ok((_, 0)) | Err(_) => break true,
        }
    };
    while polite.len() > MOST_POLITE || polite.front().is_some_and(is_let_go) {
        polite.pop_front();
    }
}

/// Expects the server to withstand clients that come and go in these ways for `span`.
#[track_caller]
fn expect_to_withstand_churn(name: &str, ways: &'static [Goes], per_second: u32, span: Duration) {
    let _alone = alone_under_load();
    let mut server = Server::sociable(&["--max-clients", "9000"]);
    let probe = Probe::join(server.address);
    let descriptors = server.descriptors();
    let churn = Churn::start(&server, ways, per_second);
    let delays = probe.run(span);
    println!("{name}: {} came", churn.came());
    drop(churn);
    expect_in_time(name, &delays);
    expect_at_rest(name, &mut server, descriptors);
}

#[test]
fn thousands_of_visits_delay_nobody() {
    expect_to_withstand_churn("churn", &WAYS, 20_000, BRIEF);
}

#[test]
#[ignore = "takes minutes"]
fn long_thousands_of_visits_delay_nobody() {
    for nth in 0..WAYS.len() {
        let name = format!("churn, {:?}", WAYS[nth]);
        expect_to_withstand_churn(&name, &WAYS[nth..=nth], 20_000, long());
    }
    expect_to_withstand_churn("churn, all ways", &WAYS, 20_000, long());
}

// Clients that ask.

#[track_caller]
fn expect_to_answer(count: usize, span: Duration) {
    let _alone = alone_under_load();
    let mut server = Server::sociable(&[]);
    let probe = Probe::join(server.address);
    let descriptors = server.descriptors();
    let mut load = Load::start(server.address);
    let curious = load.join(count, "127.0.4.1", Reads::Always, |_| Says::once("/who\n"));
    let greeted_bytes = curious.read_bytes();
    load.talk();
    let delays = probe.run(span);
    eventually("everybody to be answered", || {
        let least_bytes = count as u64 * "-- 1 here: 127.0.0.1\n".len() as u64;
        (curious.read_bytes() - greeted_bytes > least_bytes).then_some(())
    });
    assert_eq!(load.lost(), 0);
    drop(load);
    expect_in_time("/who", &delays);
    expect_at_rest("/who", &mut server, descriptors);
}

#[test]
fn a_thousand_simultaneous_questions_are_answered_and_delay_nobody() {
    expect_to_answer(1000, BRIEF);
}

#[test]
#[ignore = "takes minutes"]
fn long_ten_thousand_simultaneous_questions_are_answered_and_delay_nobody() {
    expect_to_answer(10_000, long());
}

// Programs that resume.

#[test]
#[ignore = "takes minutes"]
fn long_thousands_that_resume_at_once_delay_nobody() {
    /// For each address, no more than it may have lost.
    const PROGRAMS: usize = 1000;
    const ADDRESSES: [&str; 8] = [
        "127.5.0.1",
        "127.5.0.2",
        "127.5.0.3",
        "127.5.0.4",
        "127.5.0.5",
        "127.5.0.6",
        "127.5.0.7",
        "127.5.0.8",
    ];
    const MOST_HELD_BYTES: usize = 16 << 20;
    const LONGEST: Duration = Duration::from_secs(1);

    let _alone = alone_under_load();
    raise_descriptor_limit().expect("setrlimit(2) up to the hard limit");
    let server = Server::sociable(&[]);
    let mut alice = server.join("127.0.0.2");
    let (mut canary, _) = join_as_program(&server, "127.0.0.3");
    canary.say("/nick canary");
    next_of_kind(&mut canary, "reply");
    let mut programs = Vec::new();
    let mut returns = ADDRESSES.map(|_| Vec::new());
    for (ip, returns) in ADDRESSES.iter().zip(&mut returns) {
        for _ in 0..PROGRAMS {
            let (program, hello) = join_as_program(&server, ip);
            let token = hello["token"].as_str().expect("a token");
            returns.push(format!("/json\n/resume {token} {}\n", hello["seq"]));
            programs.push(program);
        }
    }
    let count = programs.len();

    let mut load = Load::start(server.address);
    let probe = Probe::join(server.address);
    // As a switch that restarts loses them all. A program that has not come back after 10 s is
    // announced as gone: the canary shows that those are over.
    canary.reset();
    programs.into_iter().for_each(Peer::reset);
    for (ip, returns) in ADDRESSES.iter().zip(returns) {
        load.join(PROGRAMS, ip, Reads::Always, |nth| Says::once(&returns[nth]));
    }
    let before = server.anonymous_bytes();
    let probe = thread::spawn(move || probe.run(Duration::from_secs(5)));
    load.talk();
    let mut most = before;
    while !probe.is_finished() {
        most = most.max(server.anonymous_bytes());
        // Time itself is tested: how much is held at once.
        thread::sleep(Duration::from_millis(2));
    }
    let delays = probe.join().expect("a probe that does not panic");
    while !alice.next_line().expect("a line").contains("canary left") {}
    alice.say("/who");
    let here = loop {
        let line = alice.next_line().expect("an answer");
        if let Some((here, _)) = line.split_once(" here: ") {
            break here.to_owned();
        }
    };
    assert_eq!(here.replace(',', ""), format!("-- {}", count + 1));

    let held = most - before;
    println!("{count} resumed at once: {held} bytes more, at most");
    expect_in_time("resumed", &delays);
    assert!(delays.longest() <= LONGEST, "{:?}", delays.longest());
    assert!(held <= MOST_HELD_BYTES, "{held} bytes");
}

// Clients that take names.

/// `count` clients join, take a name each, and leave all at once; `times` times.
#[track_caller]
fn expect_to_withstand_names(count: usize, times: usize) {
    let _alone = alone_under_load();
    let mut server = Server::sociable(&[]);
    let descriptors = server.descriptors();
    for _ in 0..times {
        let probe = Probe::join(server.address);
        let span = BRIEF.max(Duration::from_micros(500) * count as u32);
        let probe = thread::spawn(move || probe.run(span));
        let mut load = Load::start(server.address);
        load.talk();
        let named = load.join(count, "127.0.4.1", Reads::Always, |nth| {
            Says::once(format!("/nick person{nth}\n"))
        });
        let mut witness = server.join("127.0.0.2");
        eventually("everybody to have a name", || {
            witness.say("/msg 127.0.4.1 are you unnamed?");
            let answer = loop {
                let line = witness.next_line().expect("an answer");
                if line.contains("127.0.4.1") && !line.contains(" joined") {
                    break line;
                }
            };
            (answer.starts_with("!! nobody here is called")).then_some(())
        });
        assert_eq!(named.lost(), 0);
        drop(load);
        let delays = probe.join().expect("a probe that does not panic");
        expect_in_time("names", &delays);
    }
    expect_at_rest("names", &mut server, descriptors);
}

#[test]
fn crowds_that_take_names_and_leave_together_delay_nobody() {
    expect_to_withstand_names(900, 1);
}

#[test]
#[ignore = "takes minutes"]
fn long_nine_thousand_that_take_names_and_leave_together_delay_nobody() {
    expect_to_withstand_names(9000, 10);
}

// Clients that do not read, or hardly.

#[track_caller]
fn expect_to_stand_the_stuck(each: usize, span: Duration) {
    let _alone = alone_under_load();
    let mut server = Server::sociable(&["--max-backlog", "256K", "--stall-timeout", "2"]);
    let descriptors = server.descriptors();
    let probe = Probe::join(server.address);
    let mut load = Load::start(server.address);
    let stuck = load.join(each, "127.0.4.1", Reads::Never, |_| Says::Nothing);
    let trickling = Reads::Trickling {
        bytes: 1000,
        every: Duration::from_millis(100),
    };
    let trickling = load.join(each, "127.0.4.2", trickling, |_| Says::Nothing);
    let readers = load.join(each, "127.0.4.3", Reads::Always, |_| Says::Nothing);
    let line = [&[b'='; 999][..], b"\n"].concat();
    let flooder = load.join(1, "127.0.4.4", Reads::Always, |_| Says::flood(&line));
    load.talk();
    let delays = probe.run(span);
    eventually(
        "the stalled and the trickling clients to be dropped",
        || (stuck.lost() + trickling.lost() == 2 * each).then_some(()),
    );
    assert_eq!(readers.lost() + flooder.lost(), 0);
    drop(load);
    expect_in_time("stuck", &delays);
    expect_at_rest("stuck", &mut server, descriptors);
}

#[test]
fn hundreds_of_stalled_and_slow_readers_delay_nobody_and_are_dropped() {
    expect_to_stand_the_stuck(200, BRIEF);
}

#[test]
#[ignore = "takes minutes"]
fn long_hundreds_of_stalled_and_slow_readers_delay_nobody_and_are_dropped() {
    expect_to_stand_the_stuck(900, long());
}

// Clients that do anything at all.

/// Random enough for this (splitmix64).
struct Random(u64);

impl Random {
    /// `CHAT_CHAOS_SEED` replays one.
    fn seeded() -> Self {
        let seed = env::var("CHAT_CHAOS_SEED").map_or_else(
            |_| {
                let since = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970");
                since.subsec_nanos().into()
            },
            |seed| seed.parse().expect("a number"),
        );
        println!("CHAT_CHAOS_SEED={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Some of the server's options, with values that let the people join and talk.
fn random_options(random: &mut Random) -> Vec<&'static str> {
    const VALUES: [(&str, &[&str]); 9] = [
        ("--max-backlog", &["16K", "64K", "1M", "64M"]),
        ("--send-buffer", &["4K", "16K", "128K", "4M"]),
        ("--max-line", &["16", "200", "4096", "100000"]),
        ("--stall-timeout", &["1", "2", "30"]),
        ("--rate", &["5", "100", "100000"]),
        ("--history", &["0", "5", "200"]),
        ("--max-clients", &["300", "2000"]),
        ("--max-per-ip", &["20", "200"]),
        ("--welcome", &["hello", "a welcome\u{301} 🎉"]),
    ];
    let mut options = Vec::new();
    for (option, values) in VALUES {
        if random.below(3) == 0 {
            options.extend([option, random.one(values)]);
        }
    }
    for flag in ["--no-presence", "-v", "-vv"] {
        if random.below(4) == 0 {
            options.push(flag);
        }
    }
    options
}

/// Some lines, well-formed or not.
fn random_text(random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 24] = [
        b"\n",
        b"\r\n",
        b"\n",
        b"\r\0",
        b"hello",
        b" ",
        b"/nick ",
        b"/who\n",
        b"/help\n",
        b"/me ",
        b"/msg 127.0.4.2 ",
        b"/msg person1 ",
        b"person1",
        "पु".as_bytes(),
        "e\u{301}\u{302}".as_bytes(),
        "\u{202e}\u{200b}".as_bytes(),
        "👩‍👩‍👧".as_bytes(),
        b"\xff\xfb\x01",
        b"\xff\xfe\xfd",
        b"\xc3",
        b"\x1b[2J",
        b"\t\t\t",
        &[b'x'; 300],
        &[b'y'; 5000],
    ];
    let mut text = Vec::new();
    for _ in 0..=random.below(40) {
        text.extend_from_slice(random.one(&PIECES));
    }
    text
}

/// Clients that do anything at all for `span`. Returns what to report on failure.
#[track_caller]
fn expect_to_withstand_chaos(random: &mut Random, span: Duration) {
    let seed = random.0;
    let options = random_options(random);
    let name = format!("chaos, CHAT_CHAOS_SEED={seed}, {}", options.join(" "));
    println!("{name}");
    let mut server = Server::sociable(&options);
    let probe = Probe::join(server.address);
    let load = {
        let mut load = Load::start(server.address);
        let group = load.group();
        for _ in 0..20 + random.below(200) {
            let reads = match random.below(6) {
                0 => Reads::Never,
                1 => Reads::After(Duration::from_millis(random.below(3000) as u64)),
                2 => Reads::Trickling {
                    bytes: 1 + random.below(5000),
                    every: Duration::from_millis(20),
                },
                _ => Reads::Always,
            };
            let text = random_text(random);
            let says = match random.below(6) {
                0 => Says::Nothing,
                1 => Says::flood(&text),
                2 => Says::once(&text),
                _ => {
                    let first = Duration::from_millis(random.below(500) as u64);
                    let every = Duration::from_millis(1 + random.below(500) as u64);
                    Says::each(&text, first, every)
                }
            };
            let ip = format!("127.0.4.{}", 1 + random.below(9));
            load.adopt(
                &group,
                connect_from(&ip, server.address, Wait::No),
                reads,
                says,
            );
        }
        load
    };
    let churn = (random.below(2) == 0).then(|| Churn::start(&server, &WAYS, 2000));
    load.talk();
    let delays = probe.run(span);
    drop(churn);
    drop(load);
    assert!(server.is_running(), "{name}");
    assert_eq!(delays.unheard, 0, "{name}");
    let peak = server.peak_bytes();
    println!("{name}: longest {:?}, {peak} bytes", delays.longest());
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0, "{name}");
}

#[test]
fn whatever_a_crowd_does_everybody_is_heard_and_the_room_ends_well() {
    let _alone = alone_under_load();
    let mut random = Random::seeded();
    for _ in 0..2 {
        expect_to_withstand_chaos(&mut random, Duration::from_secs(1));
    }
}

#[test]
#[ignore = "takes minutes"]
fn long_whatever_a_crowd_does_everybody_is_heard_and_the_room_ends_well() {
    let _alone = alone_under_load();
    let mut random = Random::seeded();
    let until = Instant::now() + 4 * long();
    while Instant::now() < until {
        expect_to_withstand_chaos(&mut random, Duration::from_secs(3));
    }
}
