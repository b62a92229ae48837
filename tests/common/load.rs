//! Clients by the thousand, in one thread around one epoll, so that a test can load the server
//! and watch somebody else meanwhile.
//!
//! They must cost less than the server: the kernel discards what is read (`MSG_TRUNC`, tcp(7)),
//! and nothing is parsed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chat::platform::proc::raise_descriptor_limit;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with, sockopt,
};

use super::eventually;
use super::peer::SMALL_BUFFER_BYTES;

/// The least length of the text that a flood repeats.
const FLOOD_BYTES: usize = 64 * 1024;

/// What the kernel buffers for a talker that waits for the server. Left to itself it would take
/// megabytes for each, and thousands of them would leave the server no memory.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The most that is read at once.
const READ_BYTES: usize = 1024 * 1024;

/// Clients served between two readings of the clock.
const EVENTS: usize = 128;

/// The longest time between two checks for the end.
const TICK: Duration = Duration::from_millis(10);

/// What a client says.
#[derive(Clone)]
pub(crate) enum Says {
    Nothing,
    /// The text again and again, as fast as the server takes it.
    Endlessly(Arc<[u8]>),
    /// The text each time that `every` has passed, and first after `first`. A client that is
    /// still sending one says the next one later.
    Each {
        text: Arc<[u8]>,
        first: Duration,
        every: Duration,
    },
}

impl Says {
    /// `line`, which ends with LF, as fast as the server takes it.
    pub(crate) fn flood(line: impl AsRef<[u8]>) -> Self {
        let line = line.as_ref();
        Self::Endlessly(line.repeat(FLOOD_BYTES.div_ceil(line.len())).into())
    }

    /// `text` once, at the start.
    pub(crate) fn once(text: impl AsRef<[u8]>) -> Self {
        Self::each(text, Duration::ZERO, Duration::MAX)
    }

    pub(crate) fn each(text: impl AsRef<[u8]>, first: Duration, every: Duration) -> Self {
        Self::Each {
            text: text.as_ref().into(),
            first,
            every,
        }
    }
}

/// How a client reads. One that pauses has a small receive buffer: what it does not read stays
/// with the server.
#[derive(Clone, Copy)]
pub(crate) enum Reads {
    /// As fast as it can.
    Always,
    /// Nothing once talking has begun.
    Never,
    /// Nothing for this long once talking has begun, then as fast as it can.
    After(Duration),
    /// At most `bytes` each time that `every` has passed.
    Trickling { bytes: usize, every: Duration },
}

/// The clients and their thread, until this is dropped.
pub(crate) struct Load {
    server: SocketAddr,
    shared: Arc<Shared>,
    groups: Vec<Arc<Group>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    talks: AtomicBool,
    is_over: AtomicBool,
    newcomers: Mutex<Vec<Client>>,
}

/// Clients that are counted together.
#[derive(Default)]
pub(crate) struct Group {
    greeted: AtomicUsize,
    lost: AtomicUsize,
    read_bytes: AtomicU64,
    said_bytes: AtomicU64,
}

impl Group {
    /// How many have read something.
    pub(crate) fn greeted(&self) -> usize {
        self.greeted.load(Ordering::Relaxed)
    }

    /// How many the server has disconnected.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn said_bytes(&self) -> u64 {
        self.said_bytes.load(Ordering::Relaxed)
    }
}

impl Load {
    /// No clients yet. The new thread runs on this thread's core.
    pub(crate) fn start(server: SocketAddr) -> Self {
        raise_descriptor_limit().expect("setrlimit(2) up to the hard limit");
        let shared = Arc::<Shared>::default();
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || Generator::new(shared).run()
        });
        Self {
            server,
            shared,
            groups: Vec::new(),
            thread: Some(thread),
        }
    }

    /// Adds `count` clients from `ip`, as `client` describes each; returns once all are greeted.
    #[track_caller]
    pub(crate) fn join(
        &mut self,
        count: usize,
        ip: &str,
        reads: Reads,
        says: impl Fn(usize) -> Says,
    ) -> Arc<Group> {
        /// Few enough for the shortest listen backlog.
        const AT_ONCE: usize = 100;
        let group = self.group();
        for begun in 0..count {
            self.adopt(
                &group,
                connect_from(ip, self.server, Wait::Yes),
                reads,
                says(begun),
            );
            eventually("newcomers to be greeted", || {
                (begun < group.greeted() + AT_ONCE).then_some(())
            });
        }
        eventually("all newcomers to be greeted", || {
            (group.greeted() == count).then_some(())
        });
        group
    }

    /// A group without clients.
    pub(crate) fn group(&mut self) -> Arc<Group> {
        let group = Arc::<Group>::default();
        self.groups.push(Arc::clone(&group));
        group
    }

    /// Adds a client that has connected, or will soon.
    pub(crate) fn adopt(&self, group: &Arc<Group>, socket: OwnedFd, reads: Reads, says: Says) {
        rustix::io::ioctl_fionbio(&socket, true).expect("a TCP socket");
        if !matches!(says, Says::Nothing) {
            sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES).expect("a TCP socket");
        }
        if matches!(reads, Reads::Never | Reads::Trickling { .. }) {
            sockopt::set_socket_recv_buffer_size(&socket, SMALL_BUFFER_BYTES)
                .expect("a TCP socket");
        }
        let client = Client {
            socket,
            group: Arc::clone(group),
            reads,
            says,
            sent_bytes: 0,
            is_greeted: false,
            interest: EventFlags::empty(),
        };
        let newcomers = &self.shared.newcomers;
        newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(client);
    }

    /// Everybody begins to talk; later clients do so at once.
    pub(crate) fn talk(&self) {
        self.shared.talks.store(true, Ordering::Relaxed);
    }

    /// How many clients of all groups the server has disconnected.
    pub(crate) fn lost(&self) -> usize {
        self.groups.iter().map(|group| group.lost()).sum()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only drop takes it");
        let ended = thread.join();
        if !thread::panicking() {
            ended.expect("a load that does not panic");
        }
    }
}

/// Whether to wait until a connection is made.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wait {
    Yes,
    No,
}

/// A connection from `ip`, one of 127.0.0.0/8, which tell senders apart.
#[track_caller]
pub(crate) fn connect_from(ip: &str, to: SocketAddr, wait: Wait) -> OwnedFd {
    let mut flags = SocketFlags::CLOEXEC;
    flags.set(SocketFlags::NONBLOCK, wait == Wait::No);
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
        .expect("a free descriptor");
    let ip: IpAddr = ip.parse().expect("an IP address");
    bind(&socket, &SocketAddr::new(ip, 0)).expect("an address of this machine");
    sockopt::set_tcp_nodelay(&socket, true).expect("a TCP socket");
    match connect(&socket, &to) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) if wait == Wait::No => {}
        Err(error) => panic!("a server that listens: {error}"),
    }
    socket
}

struct Client {
    socket: OwnedFd,
    group: Arc<Group>,
    reads: Reads,
    says: Says,
    /// How much of the text the kernel has taken.
    sent_bytes: usize,
    is_greeted: bool,
    interest: EventFlags,
}

/// Something that a client has to do at a certain time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Duty {
    Say,
    Read,
}

struct Generator {
    shared: Arc<Shared>,
    epoll: OwnedFd,
    clients: Vec<Option<Client>>,
    due: BinaryHeap<Reverse<(Instant, usize, Duty)>>,
    buffer: Vec<u8>,
    talks: bool,
}

impl Generator {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            epoll: epoll::create(CreateFlags::CLOEXEC).expect("a free descriptor"),
            clients: Vec::new(),
            due: BinaryHeap::new(),
            buffer: vec![0; READ_BYTES],
            talks: false,
        }
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        while !self.shared.is_over.load(Ordering::Relaxed) {
            self.take_in();
            if !self.talks && self.shared.talks.load(Ordering::Relaxed) {
                self.talks = true;
                for key in 0..self.clients.len() {
                    self.begin(key);
                }
            }
            let now = Instant::now();
            let next = self.due.peek().map(|Reverse((at, ..))| *at - now.min(*at));
            let timeout = Timespec::try_from(next.unwrap_or(TICK).min(TICK)).expect("short");
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("{error}"),
            }
            for event in &events {
                // Copied: the kernel's struct is packed.
                let key = { event.data }.u64() as usize;
                self.serve(key, event.flags);
            }
            self.do_duties();
        }
    }

    fn take_in(&mut self) {
        let newcomers = std::mem::take(
            &mut *self
                .shared
                .newcomers
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for mut client in newcomers {
            let key = self.clients.len();
            client.interest = EventFlags::IN;
            let data = EventData::new_u64(key as u64);
            epoll::add(&self.epoll, &client.socket, data, client.interest).expect("a new socket");
            self.clients.push(Some(client));
            if self.talks {
                self.begin(key);
            }
        }
    }

    /// The client begins to talk, and to read as configured.
    fn begin(&mut self, key: usize) {
        let Some(client) = &mut self.clients[key] else {
            return;
        };
        let now = Instant::now();
        match client.says {
            Says::Nothing => {}
            Says::Endlessly(_) => self.want(key, EventFlags::OUT, true),
            Says::Each { first, .. } => self.due.push(Reverse((now + first, key, Duty::Say))),
        }
        let client = self.clients[key].as_ref().expect("a client at this key");
        match client.reads {
            Reads::Always => return,
            Reads::Never => {}
            Reads::After(pause) => self.due.push(Reverse((now + pause, key, Duty::Read))),
            Reads::Trickling { every, .. } => {
                self.due.push(Reverse((now + every, key, Duty::Read)));
            }
        }
        self.want(key, EventFlags::IN, false);
    }

    fn want(&mut self, key: usize, flags: EventFlags, wants: bool) {
        let Some(client) = &mut self.clients[key] else {
            return;
        };
        let before = client.interest;
        client.interest.set(flags, wants);
        if client.interest != before {
            let data = EventData::new_u64(key as u64);
            epoll::modify(&self.epoll, &client.socket, data, client.interest)
                .expect("a socket that is watched");
        }
    }

    fn serve(&mut self, key: usize, flags: EventFlags) {
        let Some(client) = &self.clients[key] else {
            return;
        };
        let wants_input = client.interest.contains(EventFlags::IN);
        let has_ended = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        if has_ended || (wants_input && flags.contains(EventFlags::IN)) {
            self.read(key, READ_BYTES);
        }
        if flags.contains(EventFlags::OUT) {
            self.write(key);
        }
    }

    fn do_duties(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, key, duty))) = self.due.peek()
            && at <= now
        {
            self.due.pop();
            let Some(client) = &mut self.clients[key] else {
                continue;
            };
            match (duty, &client.says, client.reads) {
                (Duty::Say, Says::Each { text, every, .. }, _) => {
                    if client.sent_bytes == 0 || client.sent_bytes == text.len() {
                        client.sent_bytes = 0;
                        if let Some(next) = at.checked_add(*every) {
                            self.due.push(Reverse((next.max(now), key, Duty::Say)));
                        }
                        self.write(key);
                    } else {
                        self.due.push(Reverse((now + TICK, key, Duty::Say)));
                    }
                }
                (Duty::Say, ..) => unreachable!("others need no clock"),
                (Duty::Read, _, Reads::Trickling { bytes, every }) => {
                    self.due
                        .push(Reverse((at.max(now - every) + every, key, Duty::Read)));
                    self.read(key, bytes);
                }
                (Duty::Read, ..) => self.want(key, EventFlags::IN, true),
            }
        }
    }

    fn read(&mut self, key: usize, bytes: usize) {
        let Some(client) = &mut self.clients[key] else {
            return;
        };
        // Nothing is copied: the length only says how much to discard.
        match recv(&client.socket, &mut self.buffer[..bytes], RecvFlags::TRUNC) {
            Ok((_, 0)) => self.lose(key),
            Ok((_, read_bytes)) => {
                if !std::mem::replace(&mut client.is_greeted, true) {
                    client.group.greeted.fetch_add(1, Ordering::Relaxed);
                }
                let counter = &client.group.read_bytes;
                counter.fetch_add(read_bytes as u64, Ordering::Relaxed);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.lose(key),
        }
    }

    fn write(&mut self, key: usize) {
        let Some(client) = &mut self.clients[key] else {
            return;
        };
        let (text, is_endless) = match &client.says {
            Says::Nothing => return,
            Says::Endlessly(text) => (text, true),
            Says::Each { text, .. } => (text, false),
        };
        if is_endless && client.sent_bytes == text.len() {
            client.sent_bytes = 0;
        }
        match send(
            &client.socket,
            &text[client.sent_bytes..],
            SendFlags::NOSIGNAL,
        ) {
            Ok(taken_bytes) => {
                client.sent_bytes += taken_bytes;
                let counter = &client.group.said_bytes;
                counter.fetch_add(taken_bytes as u64, Ordering::Relaxed);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // The next read finds that it is gone.
            Err(_) => client.sent_bytes = text.len(),
        }
        let is_done = !is_endless && client.sent_bytes == text.len();
        self.want(key, EventFlags::OUT, !is_done);
    }

    fn lose(&mut self, key: usize) {
        if let Some(client) = self.clients[key].take() {
            client.group.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
