//! The cost of sending a line to all readers: by this server, by the floor that no server
//! can beat, and by installed programs that could be used instead.
//!
//! `cargo bench --bench fanout` prints tables, and writes them and a chart to
//! `target/bench`. Server and load generator have a core each. The trials of all servers
//! are interleaved and repeated; medians count. Every delivery is checked in the same run.

mod support;

use std::fmt::Write as _;
use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use chat::platform::proc::raise_descriptor_limit;
use chat::stress::load::{End, Pace};
use chat::stress::machine::Machine;
use clap::Parser;
use indicatif::HumanCount;

use support::chart::{self, Bars};
use support::delay::{self, Crowd, Delay};
use support::machine::Cores;
use support::options::Options;
use support::subject::{Kind, Subject};
use support::table::{bytes, markdown, micros, ratio};
use support::trial::{LINE_BYTES, Trial, Workload, median, trial};
use support::{floor, peers};

/// How long the talkers talk.
const TALK: Duration = Duration::from_secs(1);

/// Of a short run, which only shows that everything works.
const SMOKE_TALK: Duration = Duration::from_millis(50);

/// Lines from each talker where all clients talk.
const LINES_EACH: u32 = 20;

/// Talkers where some of a crowd talk.
const TALKERS: usize = 200;

/// Lines in flight from a talker that sends bursts: 64 KiB.
const BURST_LINES: u32 = 1024;

/// How long ordinary lines are said beside flooders.
const BESIDE_FLOODERS: Duration = Duration::from_secs(4);

/// Numbers of flooders, beside 1,000 readers.
const FLOODERS: [usize; 2] = [4, TALKERS];

/// The number of workloads.
const COLUMNS: usize = 8;

/// How many times fewer clients a short run has.
const SMOKE_DIVISOR: usize = 50;

fn main() -> io::Result<()> {
    floor::be_it_if_asked()?;
    let options = Options::parse();
    raise_descriptor_limit()?;
    let cores = Cores::divide()?;
    let columns = columns(options.smoke);
    let mut rows: Vec<Row> = subjects().into_iter().map(Row::new).collect();
    for (nth, column) in columns.iter().enumerate() {
        for _ in 0..options.repeat() {
            for row in rows.iter_mut().filter(|row| column.suits(&row.subject)) {
                match trial(&row.subject, &column.workload, cores) {
                    Ok(trial) => row.trials[nth].push(trial),
                    Err(e) if row.subject.kind == Kind::Peer => eprintln!("left out: {e}"),
                    Err(e) => return Err(e),
                }
            }
        }
        eprintln!("measured: {}", column.title);
    }
    let delays = delays(&options, cores)?;
    let what = format!("Server CPU for each delivery, in lines of {LINE_BYTES} bytes");
    let heading = options.heading(&what, &Machine::this().to_string());
    let chart = options.publish("fanout", &(heading + &report(&columns, &rows, &delays)))?;
    draw(&chart, &columns, &rows)
}

/// All servers, the most important first.
fn subjects() -> Vec<Subject> {
    let mut subjects = vec![
        Subject::chat(),
        Subject::floor(),
        Subject::joined_floor(),
        Subject::reference_floor(),
    ];
    subjects.extend(peers::installed());
    subjects
}

/// One workload.
struct Column {
    title: String,
    workload: Workload,
    /// The floor to compare with.
    floor: Kind,
    /// Whether peers are tried: under some loads they take too long.
    has_peers: bool,
}

impl Column {
    fn suits(&self, subject: &Subject) -> bool {
        let is_wanted = match subject.kind {
            Kind::Own => true,
            Kind::Floor | Kind::JoinedFloor => subject.kind == self.floor,
            Kind::ReferenceFloor => self.floor == Kind::JoinedFloor,
            Kind::Peer => self.has_peers,
        };
        is_wanted && self.workload.readers <= subject.most_readers
    }
}

fn columns(smoke: bool) -> [Column; COLUMNS] {
    let (divisor, talk) = if smoke {
        (SMOKE_DIVISOR, SMOKE_TALK)
    } else {
        (1, TALK)
    };
    let scale = |count: usize| count.div_ceil(divisor);
    let in_flight = |count| Pace::InFlight(NonZeroU32::new(count).expect("not 0"));
    let (few, many, most) = (scale(100), scale(1_000), scale(10_000));
    let crowd = scale(TALKERS);
    let closed = |readers| Column {
        title: format!("closed loop, {} readers", HumanCount(readers as u64)),
        workload: Workload {
            readers,
            talkers: 1,
            readers_talk: false,
            pace: in_flight(1),
            end: End::After(talk),
            idle: Duration::ZERO,
        },
        floor: Kind::Floor,
        has_peers: true,
    };
    let everybody = |how, lines_in_flight| Column {
        title: format!(
            "{} talk, {LINES_EACH} lines each {how}",
            HumanCount(many as u64)
        ),
        workload: Workload {
            talkers: many,
            readers_talk: true,
            pace: in_flight(lines_in_flight),
            end: End::Lines(LINES_EACH),
            ..closed(many).workload
        },
        floor: Kind::JoinedFloor,
        has_peers: false,
    };
    [
        closed(few),
        closed(many),
        closed(most),
        Column {
            title: format!("flood, {} readers", HumanCount(many as u64)),
            workload: Workload {
                talkers: 4,
                pace: in_flight(50),
                ..closed(many).workload
            },
            floor: Kind::JoinedFloor,
            has_peers: true,
        },
        Column {
            title: format!(
                "4 talk in bursts of 64 KiB, {} readers",
                HumanCount(many as u64)
            ),
            workload: Workload {
                talkers: 4,
                pace: in_flight(BURST_LINES),
                ..closed(many).workload
            },
            floor: Kind::JoinedFloor,
            has_peers: false,
        },
        Column {
            title: format!(
                "{crowd} talk, {LINES_EACH} in flight each, {} readers",
                HumanCount(many as u64)
            ),
            workload: Workload {
                talkers: crowd,
                pace: in_flight(LINES_EACH),
                ..closed(many).workload
            },
            floor: Kind::JoinedFloor,
            has_peers: false,
        },
        everybody("one by one", 1),
        everybody("at once", LINES_EACH),
    ]
}

/// The columns that the report and the chart name.
const CLOSED_1000: usize = 1;
const CLOSED_10000: usize = 2;
const FLOOD: usize = 3;

/// One server, and its trials for each column.
struct Row {
    subject: Subject,
    trials: [Vec<Trial>; COLUMNS],
}

impl Row {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            trials: Default::default(),
        }
    }

    fn median(&self, column: usize, figure: fn(&Trial) -> f64) -> Option<f64> {
        median(&self.trials[column], figure)
    }

    /// Of the largest number of connections that this server was tried with.
    fn median_of_most(&self, figure: fn(&Trial) -> f64) -> Option<f64> {
        let most = [CLOSED_10000, CLOSED_1000, 0];
        most.into_iter()
            .find_map(|column| self.median(column, figure))
    }

    fn deliveries(&self) -> u64 {
        self.trials.iter().flatten().map(|t| t.deliveries).sum()
    }

    fn mistakes(&self) -> u64 {
        self.trials.iter().flatten().map(|t| t.mistakes).sum()
    }
}

/// How long an ordinary line takes beside each number of flooders, in interleaved trials.
fn delays(options: &Options, cores: Cores) -> io::Result<Vec<(Crowd, Vec<Delay>)>> {
    let (divisor, span) = if options.smoke {
        (SMOKE_DIVISOR, SMOKE_TALK)
    } else {
        (1, BESIDE_FLOODERS)
    };
    let mut rows = FLOODERS.map(|flooders| {
        let crowd = Crowd {
            flooders: flooders.div_ceil(divisor),
            readers: 1_000_usize.div_ceil(divisor),
        };
        (crowd, Vec::new())
    });
    for _ in 0..options.repeat() {
        for (crowd, delays) in &mut rows {
            delays.push(delay::trial(*crowd, span, cores)?);
        }
    }
    eprintln!("measured: an ordinary line beside flooders");
    Ok(rows.into())
}

fn report(columns: &[Column], rows: &[Row], delays: &[(Crowd, Vec<Delay>)]) -> String {
    let titles = |first: &str| -> Vec<String> {
        let titles = columns.iter().map(|column| column.title.clone());
        std::iter::once(first.to_owned()).chain(titles).collect()
    };
    let cost = |row: &Row, column| row.median(column, |trial| trial.delivery_micros);
    let cells = |row: &Row, cell: &dyn Fn(usize) -> String| -> Vec<String> {
        let cells = (0..columns.len()).map(cell);
        std::iter::once(row.subject.name.to_owned())
            .chain(cells)
            .collect()
    };
    let costs: Vec<_> = rows
        .iter()
        .map(|row| cells(row, &|column| micros(cost(row, column))))
        .collect();
    let mut text = markdown(&titles("CPU per delivery"), &costs);

    text += "\nThe same as multiples of the floor of each column.\n\n";
    let floor_cost = |column: usize| {
        let is_floor = |row: &&Row| row.subject.kind == columns[column].floor;
        cost(rows.iter().find(is_floor)?, column)
    };
    let ratios: Vec<_> = rows
        .iter()
        .map(|row| cells(row, &|column| ratio(cost(row, column), floor_cost(column))))
        .collect();
    text += &markdown(&titles("against the floor"), &ratios);

    text += "\nHow long an ordinary line takes beside flooders that read, too.\n\n";
    let heading = ["chat", "median", "99%", "longest"].map(str::to_owned);
    let of_trials = |delays: &[Delay], figure: fn(&Delay) -> Duration| {
        let micros = median(delays, |delay| figure(delay).as_secs_f64() * 1e6);
        micros.map_or_else(
            || "–".to_owned(),
            |micros| format!("{:.1} ms", micros / 1e3),
        )
    };
    let delays: Vec<Vec<String>> = delays
        .iter()
        .map(|(crowd, delays)| {
            let Crowd { flooders, readers } = crowd;
            vec![
                format!(
                    "{flooders} flooders, {} readers",
                    HumanCount(*readers as u64)
                ),
                of_trials(delays, |delay| delay.median),
                of_trials(delays, |delay| delay.p99),
                of_trials(delays, |delay| delay.longest),
            ]
        })
        .collect();
    text += &markdown(&heading, &delays);

    text += "\nWhat connections and starting cost; memory is the server's own (anonymous).\n\n";
    let heading = [
        "",
        "CPU to accept",
        "memory per connection",
        "memory at start",
        "resident at start",
        "deliveries",
        "went wrong",
    ];
    let others: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let most = |figure| row.median_of_most(figure);
            vec![
                row.subject.name.to_owned(),
                micros(most(|trial| trial.accept_micros)),
                bytes(most(|trial| trial.bytes_each)),
                bytes(most(|trial| trial.memory_at_start.anonymous_bytes as f64)),
                bytes(most(|trial| trial.memory_at_start.resident_bytes as f64)),
                HumanCount(row.deliveries()).to_string(),
                HumanCount(row.mistakes()).to_string(),
            ]
        })
        .collect();
    text += &markdown(&heading.map(str::to_owned), &others);
    writeln!(
        text,
        "\nA `–` stands where a server cannot hold so many, or was not tried. The Python server \
         takes what one `recv` returns for one message: in a flood its lines lack the sender, \
         and lines that do not divide its 2,048 bytes would be torn. The floors' lines lack the \
         names that make ours a fifth longer."
    )
    .expect("a String takes every write");
    text
}

fn draw(path: &Path, columns: &[Column], rows: &[Row]) -> io::Result<()> {
    let panels = [CLOSED_1000, CLOSED_10000, FLOOD].map(|column| Bars {
        title: format!("{}: server CPU per delivery", columns[column].title),
        bars: rows
            .iter()
            .filter_map(|row| {
                let cost = row.median(column, |trial| trial.delivery_micros)?;
                Some((row.subject.name.to_owned(), cost))
            })
            .collect(),
    });
    chart::bars(path, &panels, |cost| micros(Some(cost)))
}
