//! The floor: the smallest loop that can broadcast. It writes whatever it reads to all
//! other clients, without lines, names, checks or queues.
//!
//! Joined, it gathers all input of one iteration and writes it to every client at once,
//! the sender included. By reference, it does the same, but large texts go out from a file
//! in memory, without a copy for each client.
//!
//! Its sockets block, so one slow reader stalls all clients. That makes it a floor, and no
//! server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use chat::platform::memory_file::MemoryFile;
use chat::reactor::outbound::BY_REFERENCE_BYTES;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept, bind, getsockname,
    ipproto, listen, recv, send, socket_with, sockopt,
};

/// The argument that makes a bench run as the floor.
pub(crate) const FLAG: &str = "--be-the-floor";

/// The argument after [`FLAG`] for the joined floor.
pub(crate) const JOINED: &str = "joined";

/// The argument after [`FLAG`] for the one that sends by reference.
pub(crate) const BY_REFERENCE: &str = "by-reference";

const WELCOME: &[u8] = b"Welcome to this chatroom!\n";

const EVENTS_CAPACITY: usize = 1024;

const READ_BYTES: usize = 64 * 1024;

/// Runs the floor if this process was started as one; otherwise returns. Prints where it
/// listens.
pub(crate) fn be_it_if_asked() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == FLAG) {
        let file = args.get(1).filter(|arg| *arg == BY_REFERENCE);
        let file = file.map(|_| MemoryFile::create()).transpose()?;
        let joins = file.is_some() || args.get(1).is_some_and(|arg| arg == JOINED);
        chat::platform::proc::raise_descriptor_limit()?;
        Floor::bind(file)?.run(joins)?;
    }
    Ok(())
}

struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// Indexed by the number in their events.
    clients: Vec<Option<OwnedFd>>,
    /// For large texts, and how much was written to it.
    file: Option<MemoryFile>,
    written_bytes: u64,
}

impl Floor {
    fn bind(file: Option<MemoryFile>) -> io::Result<Self> {
        let listener = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::NONBLOCK,
            Some(ipproto::TCP),
        )?;
        sockopt::set_tcp_nodelay(&listener, true)?;
        bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        listen(&listener, 4096)?;
        let address = SocketAddr::try_from(getsockname(&listener)?)?;
        println!("listening on {address}");
        let epoll = epoll::create(CreateFlags::empty())?;
        watch(&epoll, &listener)?;
        Ok(Self {
            epoll,
            listener,
            clients: Vec::new(),
            file,
            written_bytes: 0,
        })
    }

    fn run(mut self, joins: bool) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS_CAPACITY);
        let mut text = Vec::with_capacity(READ_BYTES);
        loop {
            events.clear();
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for event in &events {
                // Copied: the kernel's struct is packed.
                let number = { event.data }.u64() as usize;
                if number == self.listener.as_raw_fd() as usize {
                    self.accept()?;
                    continue;
                }
                text.reserve(READ_BYTES);
                let Some(client) = &self.clients[number] else {
                    continue;
                };
                match recv(client, spare_capacity(&mut text), RecvFlags::empty()) {
                    Ok((_, 0)) | Err(_) => self.clients[number] = None,
                    Ok(_) if joins => {}
                    Ok(_) => {
                        self.write_all(&text, Some(number))?;
                        text.clear();
                    }
                }
            }
            self.write_all(&text, None)?;
            text.clear();
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let client = match accept(&self.listener) {
                Ok(client) => client,
                Err(Errno::AGAIN) => return Ok(()),
                Err(e) => return Err(e.into()),
            };
            watch(&self.epoll, &client)?;
            let _ = send(&client, WELCOME, SendFlags::NOSIGNAL);
            let number = client.as_raw_fd() as usize;
            if number >= self.clients.len() {
                self.clients.resize_with(number + 1, || None);
            }
            self.clients[number] = Some(client);
        }
    }

    fn write_all(&mut self, text: &[u8], except: Option<usize>) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let offset = self.written_bytes;
        let file = (self.file.as_ref()).filter(|_| text.len() >= BY_REFERENCE_BYTES);
        if let Some(file) = file {
            file.write(text, offset)?;
            self.written_bytes += text.len() as u64;
        }
        for (number, client) in self.clients.iter().enumerate() {
            if let Some(client) = client
                && Some(number) != except
            {
                if let Some(file) = file {
                    let _ = file.send(client, offset, text.len());
                    continue;
                }
                // The socket blocks, so a short write means a broken connection. send(2) is
                // a tenth cheaper than write(2).
                let _ = send(client, text, SendFlags::NOSIGNAL);
            }
        }
        file.map_or(Ok(()), MemoryFile::clear)
    }
}

fn watch(epoll: &OwnedFd, socket: &OwnedFd) -> io::Result<()> {
    let data = EventData::new_u64(socket.as_raw_fd() as u64);
    Ok(epoll::add(epoll, socket, data, EventFlags::IN)?)
}
