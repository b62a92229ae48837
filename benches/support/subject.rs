//! A server under test: how to start it and how to talk to it.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use chat::platform::proc::Process;
use chat::stress::protocol::{Protocol, Wire};

use super::floor;
use super::machine::Cores;

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The role of a server in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This project's.
    Own,
    /// The smallest loop that can broadcast.
    Floor,
    /// The same, with one write per client and iteration.
    JoinedFloor,
    /// The same, with large texts by reference.
    ReferenceFloor,
    /// A program that could be used instead.
    Peer,
}

pub(crate) struct Subject {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) most_readers: usize,
    pub(crate) protocol: Protocol,
    pub(crate) start: Start,
}

/// How a server is started.
pub(crate) enum Start {
    /// The last word of the first line it prints is its address.
    Announced(fn() -> Command),
    /// At the port passed to it.
    AtPort(fn(u16) -> io::Result<Command>),
}

impl Subject {
    pub(crate) fn chat() -> Self {
        Self::announced(Kind::Own, "chat", Protocol::chat(Wire::Text), || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_chat"));
            command.args(["server", "127.0.0.1", "0", "--max-clients", "1000000"]);
            // Other servers have no such features.
            command.args(["--no-presence", "--history", "0"]);
            // One core reads a thousand clients, up to a megabyte of each at a time: a second
            // or two may pass before it is the same client's turn again.
            command.args(["--max-backlog", "64M"]);
            command
        })
    }

    pub(crate) fn floor() -> Self {
        Self::announced(Kind::Floor, "floor", Protocol::unsigned(), || {
            let mut command = this_program();
            command.arg(floor::FLAG);
            command
        })
    }

    pub(crate) fn joined_floor() -> Self {
        Self::announced(
            Kind::JoinedFloor,
            "floor, joined",
            Protocol::unsigned(),
            || {
                let mut command = this_program();
                command.args([floor::FLAG, floor::JOINED]);
                command
            },
        )
    }

    pub(crate) fn reference_floor() -> Self {
        Self::announced(
            Kind::ReferenceFloor,
            "floor, joined, by reference",
            Protocol::unsigned(),
            || {
                let mut command = this_program();
                command.args([floor::FLAG, floor::BY_REFERENCE]);
                command
            },
        )
    }

    fn announced(
        kind: Kind,
        name: &'static str,
        protocol: Protocol,
        command: fn() -> Command,
    ) -> Self {
        Self {
            kind,
            name,
            most_readers: usize::MAX,
            protocol,
            start: Start::Announced(command),
        }
    }

    /// Starts the server, on a core of its own if there is one.
    pub(crate) fn start(&self, cores: Cores) -> io::Result<Running> {
        match self.start {
            Start::Announced(command) => start_announced(cores, command()),
            Start::AtPort(command) => {
                let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
                    .local_addr()?
                    .port();
                start_at(cores, port, command(port)?)
            }
        }
        .map_err(|e| io::Error::other(format!("{} does not start: {e}", self.name)))
    }
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("a program knows its own path"))
}

fn start_announced(cores: Cores, mut command: Command) -> io::Result<Running> {
    let mut child = spawn(cores, command.stdout(Stdio::piped()))?;
    let console = child.stdout.take().expect("a pipe");
    let mut console = BufReader::new(console);
    let mut first_line = String::new();
    console.read_line(&mut first_line)?;
    let address = first_line.trim().rsplit(' ').next().unwrap_or_default();
    let address = address.parse().map_err(io::Error::other)?;
    Ok(Running {
        process: Process::new(child.id()),
        child,
        address,
    })
}

fn start_at(cores: Cores, port: u16, mut command: Command) -> io::Result<Running> {
    let child = spawn(cores, command.stdout(Stdio::null()))?;
    let running = Running {
        process: Process::new(child.id()),
        child,
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
    };
    let began = Instant::now();
    while TcpStream::connect(running.address).is_err() {
        if began.elapsed() > START_TIMEOUT {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // It does not announce that it is ready, and gives no event to wait for.
        sleep(Duration::from_millis(20));
    }
    Ok(running)
}

fn spawn(cores: Cores, command: &mut Command) -> io::Result<Child> {
    cores.on_servers(|| command.stdin(Stdio::null()).stderr(Stdio::null()).spawn())
}

/// A running server. Ends when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
