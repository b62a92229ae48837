//! What the parts of a delivery cost by themselves, without a kernel: cutting bytes
//! into lines, making text safe, queueing, and a turn of the whole loop over sockets
//! that take everything.
//!
//! `cargo bench --bench micro`; a name after `--` chooses.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Instant;

use chat::close::CloseReason;
use chat::connection::Stream;
use chat::figures::Load;
use chat::line::{Decoded, LineDecoder};
use chat::reactor::event_loop::{Accepted, EventLoop};
use chat::reactor::{Next, Policy, Service};
use chat::room::{Config, Room};
use chat::text::push_safe;
use chat::turn::{ClientId, Turn};
use chat::write_queue::{Flushed, Frame, WriteQueue};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use mio::Token;

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
    let mut decoder = LineDecoder::new(MAX_LINE_BYTES);
    bencher
        .counter(BytesCount::new(input.len()))
        .bench_local(|| {
            let mut lines = 0;
            for mut piece in input.chunks(piece_bytes) {
                while let Some(line) = decoder.next_line(&mut piece) {
                    assert!(matches!(line, Decoded::Line(_)));
                    lines += 1;
                }
            }
            assert!(lines >= input.len() / LINE.len());
            lines
        });
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
        let mut sink = Socket {
            input: Input::default(),
            written: Rc::clone(&written),
            taken_bytes,
        };
        let flushed = queue
            .flush(&mut sink, usize::MAX)
            .expect("it has no errors");
        assert_eq!(flushed, Flushed::All);
        assert_eq!(written.get(), FRAMES * LINE.len());
    });
}

/// One line to so many readers: a turn of the loop, from the read to the writes.
#[divan::bench(args = [100, 1_000, 10_000])]
fn turn_of_one_line(bencher: Bencher<'_, '_>, readers: usize) {
    let mut room = Bench::with_clients(readers + 1);
    bencher
        .counter(ItemsCount::new(readers))
        .bench_local(|| room.turn_with_lines_of(1));
}

/// Everybody says a line in the same turn, and gets the others' lines.
#[divan::bench(args = [100, 1_000])]
fn turn_of_everybody(bencher: Bencher<'_, '_>, clients: usize) {
    let mut room = Bench::with_clients(clients);
    bencher
        .counter(ItemsCount::new(clients * (clients - 1)))
        .bench_local(|| room.turn_with_lines_of(clients));
}

/// A room on the real loop, with sockets that are none.
struct Bench {
    event_loop: EventLoop<Socket>,
    service: RoomAlone,
    inputs: Vec<Input>,
    written: Rc<Cell<usize>>,
    now: Instant,
}

/// What a socket has to be read, once.
type Input = Rc<Cell<Option<&'static [u8]>>>;

impl Bench {
    fn with_clients(count: usize) -> Self {
        let mut bench = Self {
            event_loop: EventLoop::new(Policy::DEFAULT, Instant::now()),
            service: RoomAlone(Room::new(Config::plain(MAX_LINE_BYTES))),
            inputs: Vec::new(),
            written: Rc::default(),
            now: Instant::now(),
        };
        while bench.inputs.len() < count {
            bench.event_loop.mark_listener();
            let Bench {
                event_loop,
                service,
                inputs,
                written,
                now,
            } = &mut bench;
            let accept = |_| {
                if inputs.len() == count {
                    return Accepted::Nobody;
                }
                let input = Input::default();
                inputs.push(Rc::clone(&input));
                let socket = Socket {
                    input,
                    written: Rc::clone(written),
                    taken_bytes: usize::MAX,
                };
                Accepted::Client(socket, IpAddr::V4(Ipv4Addr::LOCALHOST))
            };
            let turned = event_loop.turn(*now, service, accept);
            turned.expect("nothing can fail");
        }
        bench
    }

    /// The first so many clients say a line each, and all get what they are due.
    fn turn_with_lines_of(&mut self, talkers: usize) {
        self.written.set(0);
        for (key, input) in self.inputs.iter().enumerate().take(talkers) {
            input.set(Some(LINE));
            self.event_loop.mark_client(key, true, false);
        }
        let line_bytes = b"<127.0.0.1> ".len() + LINE.len();
        let deliveries = talkers * (self.inputs.len() - 1);
        // A large turn is written in slices, and each of them writes something.
        for _ in 0..deliveries {
            self.turn();
            if self.written.get() == deliveries * line_bytes {
                return;
            }
        }
        panic!("{} bytes of {deliveries} lines", self.written.get());
    }

    fn turn(&mut self) {
        let nobody = |_| Accepted::Nobody;
        let turned = self.event_loop.turn(self.now, &mut self.service, nobody);
        turned.expect("nothing can fail");
    }
}

/// A socket that has what it is given to be read, and takes what it is written.
struct Socket {
    input: Input,
    written: Rc<Cell<usize>>,
    /// In one write.
    taken_bytes: usize,
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let input = self.input.take().ok_or(io::ErrorKind::WouldBlock)?;
        buffer[..input.len()].copy_from_slice(input);
        Ok(input.len())
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.taken_bytes);
        self.written.set(self.written.get() + taken);
        Ok(taken)
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let offered = slices.iter().map(|slice| slice.len()).sum::<usize>();
        let taken = offered.min(self.taken_bytes);
        self.written.set(self.written.get() + taken);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Socket {
    fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    fn reset_when_closed(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A room without console and signals.
struct RoomAlone(Room);

impl Service for RoomAlone {
    fn admit(&mut self, _address: IpAddr, _now: Instant) -> Result<(), Frame> {
        Ok(())
    }

    fn joined(&mut self, client: ClientId, address: IpAddr, now: Instant, turn: &mut Turn) {
        self.0.join(client, address, now, turn);
    }

    fn received(&mut self, client: ClientId, line: Decoded<'_>, now: Instant, turn: &mut Turn) {
        self.0.hear(client, line, now, turn);
    }

    fn farewell(&self, _reason: CloseReason) -> Option<Frame> {
        None
    }

    fn left(&mut self, client: ClientId, _reason: CloseReason, now: Instant, turn: &mut Turn) {
        self.0.leave(client, now, turn);
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    fn expired(&mut self, now: Instant, turn: &mut Turn) -> Next {
        self.0.expire(now, turn);
        Next::Continue
    }

    fn source_ready(&mut self, _token: Token, _now: Instant, _turn: &mut Turn) -> io::Result<Next> {
        Ok(Next::Continue)
    }

    fn report(&mut self, _load: Load) {}

    fn said(&mut self, _text: &[u8]) {}

    fn turn_ended(&mut self) {}
}
