//! What connections cost the server: memory for each, CPU to accept one, to hold
//! them all idle, and to deliver a line to each.
//!
//! `cargo bench --bench connections` goes through 100, 1,000, 10,000 and as many
//! connections as this process may have; `-- N…` through the numbers given. Every
//! line delivered is counted and compared; a loss ends the run with an error.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use chat::machine::raise_descriptor_limit;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{AddressFamily, SocketType, bind, connect, ipproto, socket};

const WELCOME: &[u8] = b"Welcome to this chatroom!\n";

/// Descriptors kept for everything that is not a connection.
const SPARE_DESCRIPTORS: usize = 100;

/// As many as are tried unless told otherwise, however many descriptors there are.
const MOST_CONNECTIONS: usize = 20_000;

/// Connections made from one address of the loopback net: below the number of
/// ephemeral ports.
const CONNECTIONS_PER_ADDRESS: usize = 10_000;

const LINE_BYTES: usize = 64;

/// Lines sent to everybody, one after the other.
const LINES: usize = 10;

const IDLE_SPAN: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    let most = raise_descriptor_limit()?.saturating_sub(SPARE_DESCRIPTORS);
    let given: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let counts = match given.is_empty() {
        true => vec![100, 1_000, 10_000, most.min(MOST_CONNECTIONS)],
        false => given,
    };
    println!("| connections | memory each | accept, CPU each | idle, CPU | delivery, CPU each |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for count in counts {
        if count > most {
            println!("| {count} | skipped: the limit of open files allows {most} |");
            continue;
        }
        let figures = measure(count)?;
        println!(
            "| {count} | {:.0} B | {:.1} µs | {:.1} ms in {} s | {:.2} µs |",
            figures.bytes_each,
            figures.accept_micros_each,
            figures.idle_millis,
            IDLE_SPAN.as_secs(),
            figures.delivery_micros,
        );
    }
    Ok(())
}

struct Figures {
    bytes_each: f64,
    accept_micros_each: f64,
    idle_millis: f64,
    delivery_micros: f64,
}

fn measure(count: usize) -> io::Result<Figures> {
    let server = Server::start()?;
    let memory_before = server.anonymous_bytes()?;
    let cpu_before = server.cpu()?;
    let mut clients = Vec::with_capacity(count);
    for nth in 0..count {
        clients.push(join(server.address, nth)?);
    }
    for client in &mut clients {
        expect(client, WELCOME)?;
    }
    let accept = server.cpu()? - cpu_before;
    let memory = server.anonymous_bytes()?.saturating_sub(memory_before);

    let cpu_before = server.cpu()?;
    // Not to await anything: this is the time over which nothing is to happen.
    sleep(IDLE_SPAN);
    let idle = server.cpu()? - cpu_before;

    let (talker, readers) = clients.split_first_mut().expect("at least one client");
    let line = [vec![b'x'; LINE_BYTES - 1], b"\n".to_vec()].concat();
    let heard = [b"<127.1.0.1> ".to_vec(), line.clone()].concat();
    let cpu_before = server.cpu()?;
    for _ in 0..LINES {
        talker.write_all(&line)?;
        for reader in &mut *readers {
            expect(reader, &heard)?;
        }
    }
    let delivery = server.cpu()? - cpu_before;
    let deliveries = (LINES * readers.len()) as f64;
    Ok(Figures {
        bytes_each: memory as f64 / count as f64,
        accept_micros_each: accept.as_secs_f64() * 1e6 / count as f64,
        idle_millis: idle.as_secs_f64() * 1e3,
        delivery_micros: delivery.as_secs_f64() * 1e6 / deliveries,
    })
}

/// The server under test, ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> io::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_chat"))
            .args(["server", "127.0.0.1", "0", "--max-clients", "1000000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut first_line = String::new();
        // After its first line the console is closed; the room does not mind.
        let console = child.stdout.take().expect("it is piped");
        BufReader::new(console).read_line(&mut first_line)?;
        let address = first_line.trim().rsplit(' ').next().unwrap_or_default();
        let address = address.parse().map_err(io::Error::other)?;
        Ok(Self { child, address })
    }

    /// Memory of its own that is really there, proc_pid_smaps(5).
    fn anonymous_bytes(&self) -> io::Result<usize> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let kilobytes = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Anonymous:"))
            .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<usize>().ok())
            .ok_or_else(|| io::Error::other("smaps_rollup has no Anonymous"))?;
        Ok(kilobytes * 1024)
    }

    /// The time it has spent on a CPU, from the scheduler's own accounting.
    fn cpu(&self) -> io::Result<Duration> {
        let schedstat = fs::read_to_string(format!("/proc/{}/schedstat", self.child.id()))?;
        let nanos = schedstat
            .split_ascii_whitespace()
            .next()
            .and_then(|nanos| nanos.parse().ok())
            .ok_or_else(|| io::Error::other("schedstat has no time"))?;
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The `nth` client, from an address that has ports left.
fn join(server: SocketAddr, nth: usize) -> io::Result<TcpStream> {
    let host = 1 + (nth / CONNECTIONS_PER_ADDRESS) as u8;
    let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 1, 0, host)), 0);
    let socket = socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP))?;
    // Ends with a reset, which leaves no port behind in TIME_WAIT for the next run.
    set_socket_linger(&socket, Some(Duration::ZERO))?;
    bind(&socket, &from)?;
    connect(&socket, &server)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

fn expect(client: &mut TcpStream, expected: &[u8]) -> io::Result<()> {
    let mut received = vec![0; expected.len()];
    client.read_exact(&mut received)?;
    match received == expected {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "received {:?}",
            String::from_utf8_lossy(&received)
        ))),
    }
}
