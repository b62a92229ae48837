//! The cost of connections: memory for each, CPU to accept one, to hold all of them idle,
//! and to deliver a line to each. The same for the floor, the smallest loop that can do it.
//!
//! `cargo bench --bench connections` goes from 100 connections to as many as this process
//! may have, prints a table, and writes it and a chart to `target/bench`. Every delivery
//! is checked.

mod support;

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use chat::platform::proc::raise_descriptor_limit;
use chat::stress::load::{End, Pace};
use chat::stress::machine::Machine;
use clap::Parser;
use indicatif::HumanCount;

use support::chart::{self, Lines};
use support::floor;
use support::machine::Cores;
use support::options::Options;
use support::subject::Subject;
use support::table::{bytes, markdown, micros};
use support::trial::{LINE_BYTES, Trial, Workload, median, trial};

/// Descriptors for everything but connections.
const SPARE_DESCRIPTORS: usize = 100;

/// The most that are tried, however many descriptors there are.
const MOST_CONNECTIONS: usize = 20_000;

const COUNTS: [usize; 4] = [100, 1_000, 5_000, 10_000];
const SMOKE_COUNTS: [usize; 2] = [10, 200];

const IDLE: Duration = Duration::from_secs(2);
const SMOKE_IDLE: Duration = Duration::from_millis(100);

/// How long lines are said to all connections, one after the other.
const TALK: Duration = Duration::from_secs(1);
const SMOKE_TALK: Duration = Duration::from_millis(50);

fn main() -> io::Result<()> {
    floor::be_it_if_asked()?;
    let options = Options::parse();
    let most = raise_descriptor_limit()?.saturating_sub(SPARE_DESCRIPTORS);
    let cores = Cores::divide()?;
    let (mut counts, idle, talk) = if options.smoke {
        (SMOKE_COUNTS.to_vec(), SMOKE_IDLE, SMOKE_TALK)
    } else {
        (COUNTS.to_vec(), IDLE, TALK)
    };
    if !options.smoke {
        counts.push(MOST_CONNECTIONS.min(most));
    }
    counts.retain(|&count| count <= most);

    let subjects = [Subject::chat(), Subject::floor()];
    let mut measured = Vec::new();
    for count in counts {
        let mut trials = [Vec::new(), Vec::new()];
        for _ in 0..options.repeat() {
            for (subject, trials) in subjects.iter().zip(&mut trials) {
                trials.push(measure(subject, count, idle, talk, cores)?);
            }
        }
        eprintln!("measured: {count} connections");
        measured.push((count, trials));
    }
    let what = format!(
        "One line after the other to all connections, in lines of {LINE_BYTES} bytes; memory is \
         the server's own (anonymous)"
    );
    let heading = options.heading(&what, &Machine::this().to_string());
    let chart = options.publish("connections", &(heading + &report(&measured, idle)))?;
    draw(&chart, &subjects, &measured)
}

fn measure(
    subject: &Subject,
    count: usize,
    idle: Duration,
    talk: Duration,
    cores: Cores,
) -> io::Result<Trial> {
    let workload = Workload {
        readers: count - 1,
        talkers: 1,
        readers_talk: false,
        pace: Pace::InFlight(NonZeroU32::MIN),
        end: End::After(talk),
        idle,
    };
    trial(subject, &workload, cores)
}

/// The trials of this server and of the floor, by the number of connections.
type Measured = [(usize, [Vec<Trial>; 2])];

fn report(measured: &Measured, idle: Duration) -> String {
    let heading = [
        "connections",
        "memory each",
        "CPU to accept",
        "the floor's",
        "CPU per delivery",
        "the floor's",
        "CPU while idle",
    ];
    let rows: Vec<Vec<String>> = measured
        .iter()
        .map(|(count, [own, floor])| {
            let idle_millis = median(own, |trial| trial.idle_millis).unwrap_or_default();
            vec![
                HumanCount(*count as u64).to_string(),
                bytes(median(own, |trial| trial.bytes_each)),
                micros(median(own, |trial| trial.accept_micros)),
                micros(median(floor, |trial| trial.accept_micros)),
                micros(median(own, |trial| trial.delivery_micros)),
                micros(median(floor, |trial| trial.delivery_micros)),
                format!("{idle_millis:.1} ms in {:.0} s", idle.as_secs_f64().ceil()),
            ]
        })
        .collect();
    markdown(&heading.map(str::to_owned), &rows)
}

fn draw(path: &Path, subjects: &[Subject; 2], measured: &Measured) -> io::Result<()> {
    let panel = |title: &str, figure: fn(&Trial) -> f64| Lines {
        title: title.to_owned(),
        lines: subjects
            .iter()
            .enumerate()
            .map(|(nth, subject)| {
                let points = measured.iter().filter_map(|(count, trials)| {
                    Some((*count as f64, median(&trials[nth], figure)?))
                });
                (subject.name.to_owned(), points.collect())
            })
            .collect(),
    };
    let panels = [
        panel("memory for each connection, bytes", |trial| {
            trial.bytes_each
        }),
        panel("CPU to accept one, µs", |trial| trial.accept_micros),
        panel("CPU for a line to one of them, µs", |trial| {
            trial.delivery_micros
        }),
    ];
    chart::lines(path, &panels)
}
