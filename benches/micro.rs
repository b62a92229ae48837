//! What the parts of a delivery cost by themselves, without a kernel: cutting bytes
//! into lines, making text safe, writing events and reading them, queueing, and an
//! iteration of the whole loop over sockets that take everything.
//!
//! `cargo bench --bench micro`; a name after `--` chooses.

#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../tests/common/plain_service.rs"]
mod plain_service;
#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../tests/simulation/random.rs"]
mod random;
#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../tests/common/scripted_stream.rs"]
mod scripted_stream;
#[allow(dead_code, reason = "each of its users takes what it needs")]
#[path = "../tests/simulation/secured.rs"]
mod secured;
#[path = "../tests/common/tls_configs.rs"]
mod tls_configs;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Instant;

use chat::protocol::batch::Frame;
use chat::protocol::event::json::max_object_bytes;
use chat::protocol::event::{Event, Place, Speech};
use chat::protocol::line::{Decoded, LineDecoder};
use chat::protocol::telnet::Telnet;
use chat::protocol::text::push_safe;
use chat::protocol::time::Time;
use chat::reactor::acceptor::Accepted;
use chat::reactor::event_loop::EventLoop;
use chat::reactor::service::Policy;
use chat::reactor::write_queue::{Flushed, WriteQueue};
use chat::room::Config;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

use self::plain_service::PlainService;
use self::random::Random;
use self::scripted_stream::{Input, Meter, ScriptedStream};
use self::secured::Secured;

const MAX_LINE_BYTES: u32 = Policy::DEFAULT.max_line_bytes;

/// A line of the size that the other benches use.
const LINE: &[u8; 64] = b"the quick brown fox jumps over the lazy dog, and then back home\n";

/// One read's worth of lines.
const READ_BYTES: usize = 16 * 1024;

fn main() {
    divan::main();
}

/// Lines cut out of one read's worth, which arrives in pieces of so many bytes.
#[divan::bench(args = [16_384, 1_448, 7])]
fn decode(bencher: Bencher<'_, '_>, piece_bytes: usize) {
    let input: Vec<u8> = LINE.iter().copied().cycle().take(READ_BYTES).collect();
    let mut telnet = Telnet::new();
    let mut decoder = LineDecoder::new(MAX_LINE_BYTES);
    bencher
        .counter(BytesCount::new(input.len()))
        .bench_local(|| {
            let mut lines = 0;
            for piece in input.chunks(piece_bytes) {
                let text = telnet.decode(piece, &mut Vec::new());
                let mut piece = &*text.bytes;
                while let Some(line) = decoder.next_line(&mut piece) {
                    assert!(matches!(line, Decoded::Line(_)));
                    lines += 1;
                }
            }
            assert!(lines >= input.len() / LINE.len());
            lines
        });
}

/// What rustls takes to encrypt a line for one of so many readers, each in turn.
#[divan::bench(args = [1, 1000])]
fn encrypt(bencher: Bencher<'_, '_>, readers: usize) {
    let introduced = || Secured::introduced(Random::new(0)).0;
    let mut readers: Vec<Secured> = (0..readers).map(|_| introduced()).collect();
    let line = [b"<127.0.0.1> ", &LINE[..]].concat();
    let mut record = Vec::new();
    bencher
        .counter(ItemsCount::new(readers.len()))
        .bench_local(|| {
            for reader in &mut readers {
                record.clear();
                reader.encrypt_at_once(black_box(&line), &mut record);
            }
            black_box(&record).len()
        });
}

fn message() -> (Option<Place>, Event<'static>) {
    let place = Place {
        seq: 1235,
        time: Time::from_millis(1_795_787_483_123),
        is_past: false,
    };
    let text = std::str::from_utf8(LINE).expect("ASCII").trim_end();
    let speech = Speech {
        from: Some(57),
        n: Some(1),
        name: "alice".into(),
        text: text.into(),
    };
    (Some(place), Event::Message(speech))
}

/// What is said, as it is written once for all who read text.
#[divan::bench]
fn write_text(bencher: Bencher<'_, '_>) {
    let (_, event) = message();
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        black_box(&event).write_text(&mut out);
        black_box(&out).len()
    });
}

/// The same for all who read JSON.
#[divan::bench]
fn write_json(bencher: Bencher<'_, '_>) {
    let (place, event) = message();
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        black_box(&event).write_json(place, max_object_bytes(MAX_LINE_BYTES), &mut out);
        black_box(&out).len()
    });
}

/// What a client does with that.
#[divan::bench]
fn read_json(bencher: Bencher<'_, '_>) {
    let (place, event) = message();
    let mut line = Vec::new();
    event.write_json(place, max_object_bytes(MAX_LINE_BYTES), &mut line);
    bencher.bench_local(|| Event::read_json(black_box(&line)));
}

/// What is left of a line over the limit: it is skipped.
#[divan::bench]
fn decode_endless(bencher: Bencher<'_, '_>) {
    let input = vec![b'x'; READ_BYTES];
    let mut decoder = LineDecoder::new(MAX_LINE_BYTES);
    bencher
        .counter(BytesCount::new(input.len()))
        .bench_local(|| {
            let mut piece = black_box(input.as_slice());
            while decoder.next_line(&mut piece).is_some() {}
        });
}

/// Kinds of text, each a line's worth.
const TEXTS: [(&str, &str); 4] = [
    (
        "ascii",
        "the quick brown fox jumps over the lazy dog, twice at least",
    ),
    (
        "german",
        "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg",
    ),
    ("emoji", "👩‍👩‍👧‍👦 und 🏳️‍🌈 und 👍🏽, alle heil"),
    (
        "hostile",
        "\u{1b}[2J\u{202e}evil\r\u{9b}31m\u{7f}\0\u{2066}!\u{1b}]0;title\u{7}",
    ),
];

/// A line of text made safe.
#[divan::bench(args = TEXTS.map(|(name, _)| name))]
fn make_safe(bencher: Bencher<'_, '_>, name: &str) {
    let text = TEXTS.iter().find(|(known, _)| *known == name);
    let text = text.expect("it is one of them").1.as_bytes();
    let mut out = Vec::with_capacity(4 * text.len());
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| {
            out.clear();
            push_safe(&mut out, black_box(text));
            assert!(!out.is_empty());
        });
}

/// A hundred frames queued for one reader, whose socket takes so many bytes at a time.
#[divan::bench(args = [1 << 20, 1_000])]
fn queue(bencher: Bencher<'_, '_>, taken_bytes: usize) {
    const FRAMES: usize = 100;
    let frame = Frame::from(LINE.as_slice());
    bencher.counter(ItemsCount::new(FRAMES)).bench_local(|| {
        let mut queue = WriteQueue::new();
        for _ in 0..FRAMES {
            queue.push_frame(&frame);
        }
        let written = Rc::new(Cell::new(0));
        let mut sink = ScriptedStream::metered(
            Rc::default(),
            Meter {
                written_bytes: Rc::clone(&written),
                write_bytes: taken_bytes,
            },
        );
        let flushed = queue
            .flush(&mut sink, usize::MAX)
            .expect("it has no errors");
        assert_eq!(flushed, Flushed::All);
        assert_eq!(written.get(), FRAMES * LINE.len());
    });
}

/// One line to `readers`: an iteration of the loop, from the read to the writes.
#[divan::bench(args = [100, 1_000, 10_000])]
fn batch_of_one_line(bencher: Bencher<'_, '_>, readers: usize) {
    let mut room = Bench::with_clients(readers + 1);
    bencher
        .counter(ItemsCount::new(readers))
        .bench_local(|| room.batch_with_lines_of(1));
}

/// Everybody says a line in the same batch, and gets the others' lines.
#[divan::bench(args = [100, 1_000])]
fn batch_of_everybody(bencher: Bencher<'_, '_>, clients: usize) {
    let mut room = Bench::with_clients(clients);
    bencher
        .counter(ItemsCount::new(clients * (clients - 1)))
        .bench_local(|| room.batch_with_lines_of(clients));
}

/// A room on the real loop, with sockets that are none.
struct Bench {
    event_loop: EventLoop<ScriptedStream<Meter>>,
    service: PlainService,
    inputs: Vec<Rc<RefCell<Input>>>,
    /// By all of them.
    written_bytes: Rc<Cell<usize>>,
    now: Instant,
}

impl Bench {
    fn with_clients(count: usize) -> Self {
        let mut bench = Self {
            event_loop: EventLoop::new(Policy::DEFAULT, Instant::now()),
            service: PlainService::new(Config::plain(MAX_LINE_BYTES), usize::MAX),
            inputs: Vec::new(),
            written_bytes: Rc::default(),
            now: Instant::now(),
        };
        while bench.inputs.len() < count {
            bench.event_loop.mark_listener();
            let Bench {
                event_loop,
                service,
                inputs,
                written_bytes,
                now,
            } = &mut bench;
            let accept = |_| {
                if inputs.len() == count {
                    return Accepted::Nobody;
                }
                let input = Rc::default();
                inputs.push(Rc::clone(&input));
                let meter = Meter {
                    written_bytes: Rc::clone(written_bytes),
                    write_bytes: usize::MAX,
                };
                let socket = ScriptedStream::metered(input, meter);
                Accepted::Client(socket, IpAddr::V4(Ipv4Addr::LOCALHOST))
            };
            let iterated = event_loop.iterate(*now, service, accept);
            iterated.expect("nothing can fail");
        }
        bench
    }

    /// The first so many clients say a line each, and all get what they are due.
    fn batch_with_lines_of(&mut self, talkers: usize) {
        self.written_bytes.set(0);
        for (key, input) in self.inputs.iter().enumerate().take(talkers) {
            input.borrow_mut().push(LINE);
            self.event_loop.mark_client(key, true, false);
        }
        let line_bytes = b"<127.0.0.1> ".len() + LINE.len();
        let deliveries = talkers * (self.inputs.len() - 1);
        // A large batch is written in slices, and each of them writes something.
        for _ in 0..deliveries {
            self.iterate();
            if self.written_bytes.get() == deliveries * line_bytes {
                return;
            }
        }
        let bytes = self.written_bytes.get();
        panic!("{bytes} bytes of {deliveries} lines");
    }

    fn iterate(&mut self) {
        let nobody = |_| Accepted::Nobody;
        let iterated = self.event_loop.iterate(self.now, &mut self.service, nobody);
        iterated.expect("nothing can fail");
    }
}
