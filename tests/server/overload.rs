//! Promises 2 to 6 under loads brought about on purpose, as the issues that ask for them
//! describe each: how long an ordinary line takes, who is dropped, and what it costs.
//!
//! By hand, on an otherwise idle machine: `.ci/long overload`. Each figure is a line; bounds are
//! for the release binary, with the server on one core and the load on another.
//! `CHAT_UNDER_TEST=target/release/chat cargo test --profile checked --test server -- --ignored
//! overload --nocapture --test-threads=1` tests that binary.

mod brief;
mod long_names;
mod newcomers;
mod scene;

use std::os::fd::OwnedFd;
use std::panic::catch_unwind;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use long_names::{join_with_a_long_name, long_name, longest_name_units};
use scene::{Bounds, Figures, Scene, try_out, try_until};

use crate::common::cores::Cores;
use crate::common::load::{Reads, Says};
use crate::common::process::run_by;
use crate::common::server::{Server, sociable_command};

/// A line of 64 bytes.
const LINE: [u8; 64] = {
    let mut line = [b'='; 64];
    line[63] = b'\n';
    line
};

const fn ms(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// S1: what a read expands to.

#[test]
#[ignore = "measures time"]
fn s1a_readers_that_pause_are_not_dropped_for_what_one_read_expands_to() {
    try_out("S1a", Bounds::default(), || {
        beside_readers_that_pause(Scene::set(&[]), seconds(5))
    });
}

fn beside_readers_that_pause(mut scene: Scene, span: Duration) -> Figures {
    let pause = Reads::After(Duration::from_millis(1200));
    scene.load.join(20, "127.0.5.1", pause, |_| Says::Nothing);
    scene.named_talkers(1, |_| Says::once("x\n".repeat(8192)));
    scene.play(span)
}

const S1B: Bounds = Bounds {
    median: None,
    p99: ms(100),
    longest: ms(250),
};

/// Ten clients say 16 KiB of the shortest lines every 5 s.
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

/// A reader asks who is here as often as one read holds, in a room of `names` long names.
/// Returns how long until all is answered, or what went wrong.
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
fn s1d_a_reader_that_asks_much_is_answered_and_not_dropped() {
    try_until("S1d", || {
        let scene = Scene::set(&[]);
        let address = &scene.server;
        let (answered, delays) = thread::scope(|scope| {
            let probe = scope.spawn(|| scene.probe.run(seconds(4)));
            let answered = ask_who_is_here(address, 200);
            (answered, probe.join().expect("a probe that does not panic"))
        });
        let text = format!(
            "answered after {answered:?}; an ordinary line meanwhile: median {:?}, longest {:?}",
            delays.median(),
            delays.longest()
        );
        (text, answered.err())
    });
}

// S8: clients that have said much queue ahead of those that have said nothing.

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

/// 16 KiB of lines at once from each of the `talkers`, again and again.
fn who_talk_at_once(talkers: usize, every: Duration, span: Duration) -> Figures {
    let mut scene = Scene::set(&[]);
    let text = LINE.repeat(16 * 1024 / LINE.len());
    let first = Duration::from_millis(500);
    scene.talkers(talkers, |_| Says::each(&text, first, every));
    scene.play(span)
}

#[test]
#[ignore = "measures time"]
fn s8_seven_hundred_that_say_16_kib_every_10_s_delay_nobody() {
    try_out("S8, 700 × 16 KiB each 10 s", S8, || {
        who_talk_at_once(700, seconds(10), seconds(20))
    });
}

#[test]
#[ignore = "measures time"]
fn s8_three_hundred_that_say_16_kib_every_5_s_delay_nobody() {
    try_out("S8, 300 × 16 KiB each 5 s", S8, || {
        who_talk_at_once(300, seconds(5), seconds(15))
    });
}

// S9: the cost of a line.

#[test]
#[ignore = "measures time"]
fn s9_four_hundred_that_keep_taking_long_names_delay_nobody() {
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

/// Each costs less, but more of them fit into a read.
#[test]
#[ignore = "measures time"]
fn s9_four_hundred_that_keep_taking_short_names_delay_nobody() {
    try_out("S9, short names", S8, || {
        let mut scene = Scene::set(&[]);
        scene.talkers(400, |nth| {
            Says::flood(format!("/nick m{nth}\n/nick w{nth}\n"))
        });
        scene.play(seconds(10))
    });
}

// S10: joining under a crowd.

#[test]
#[ignore = "measures time"]
fn s10_newcomers_are_greeted_beside_a_crowd_that_floods_and_one_that_waits() {
    const GREETED_WITHIN: Duration = Duration::from_secs(2);
    const PENDING: usize = 6000;
    try_until("S10", || {
        let mut scene = Scene::set(&[]);
        scene.talkers(700, |_| Says::flood(LINE));
        let (found, figures) = scene.besiege(PENDING, seconds(8), seconds(10));
        let text = format!("{found}; {figures}");
        (text, found.fault(GREETED_WITHIN))
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

// S11: values of options that do not work together.

/// The least and the greatest value of each option.
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

/// 500 flooders, whose lines have `line_bytes`, or fewer where the options allow no more.
/// Returns the figures, and what does not hold.
fn beside_flooders_with(
    options: &[&'static str; 4],
    line_bytes: usize,
) -> (String, Option<String>) {
    let cores = Cores::divide();
    let mut scene = match cores.on_servers(|| Server::try_sociable(options)) {
        Ok(server) => Scene::around(server, Some(cores)),
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

/// A fault unless the server's words name both options.
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

/// Readers that trickle keep the sum of all backlogs at its bound, above which nobody is heard.
fn beside_tricklers(options: &[&str]) -> (String, Option<String>) {
    let mut scene = Scene::set(options);
    let trickling = Reads::Trickling {
        bytes: 100,
        every: Duration::from_millis(20),
    };
    scene
        .load
        .join(100, "127.0.6.2", trickling, |_| Says::Nothing);
    let first = Duration::from_millis(100);
    let text = LINE.repeat(4096 / LINE.len());
    scene.talkers(20, |_| Says::each(&text, first, first));
    let figures = scene.play(seconds(5));
    // Trickling readers may be dropped.
    let fault = figures.fault_of_delays(S8);
    (figures.to_string(), fault)
}

#[test]
#[ignore = "measures time"]
fn s11_tricklers_do_not_silence_a_room_with_a_small_backlog() {
    try_until("S11, tricklers, --max-backlog 16K", || {
        beside_tricklers(&["--max-backlog", "16K"])
    });
}

#[test]
#[ignore = "measures time"]
fn s11_tricklers_do_not_silence_a_room() {
    try_until("S11, tricklers", || beside_tricklers(&[]));
}

// S12 and S15: memory of many clients.

#[test]
#[ignore = "measures time, and what the kernel has for all programs"]
fn s12_stuck_clients_that_lag_a_little_go_once_the_kernel_has_its_share() {
    /// The kernel may hold half of it: 128 KiB for each of 1,000, counted twice, are more.
    const LIMIT_KILOBYTES: usize = 262_144;
    try_until("S12", || {
        let cores = Cores::divide();
        let server = cores.on_servers(|| server_with_little_memory(LIMIT_KILOBYTES));
        let mut scene = Scene::around(server, Some(cores));
        scene
            .load
            .join(1000, "127.0.6.1", Reads::Never, |_| Says::Nothing);
        let line = [&[b'='; 1023][..], b"\n"].concat();
        let every = Duration::from_millis(100);
        scene.talkers(1, |_| Says::each(line.repeat(10), every, every));
        let (figures, said) = scene.play_to_the_end(seconds(8));
        let fault = figures.fault_of_delays(CROWD).or_else(|| {
            let is_kept = !said.contains("dropped 127.0.6.1: did not read");
            is_kept.then(|| "those that cost the kernel most were kept".to_owned())
        });
        (figures.to_string(), fault)
    });
}

#[test]
#[ignore = "measures time"]
fn s15_five_thousand_half_lines_do_not_end_a_server_with_little_memory() {
    try_until("S15", || {
        let cores = Cores::divide();
        let server = cores.on_servers(|| server_with_little_memory(20_480));
        let figures = beside_half_lines(Scene::around(server, Some(cores)), 5000, seconds(5));
        // The most expensive clients may be dropped.
        let fault = if figures.has_died {
            figures.fault(CROWD)
        } else {
            figures.fault_of_delays(CROWD)
        };
        (figures.to_string(), fault)
    });
}

/// A server with limited address space.
fn server_with_little_memory(kibibytes: usize) -> Server {
    let limit = format!("ulimit -v {kibibytes}; exec \"$0\" \"$@\"");
    let mut server = run_by(&["sh", "-c", &limit], &sociable_command("127.0.0.1", &[]));
    server.stdin(Stdio::null());
    Server::spawn(server)
}

fn beside_half_lines(mut scene: Scene, count: usize, span: Duration) -> Figures {
    scene.talkers(count, |_| Says::once([b'='; 4000]));
    scene.play(span)
}
