//! One end of a TCP connection, held by the test: a plain client of the room, or a server for
//! the chat client.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::process::Stdio;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};

use super::PATIENCE;
use super::lines::LineReader;
use super::process::{Process, chat_client};

/// The first line of every conversation, without its LF.
pub(crate) const WELCOME: &str = "Welcome to this chatroom!";

/// The smallest receive buffer: what the client does not read stays with the server.
pub(crate) const SMALL_BUFFER_BYTES: usize = 4096;

/// A server played by the test, and a `chat client` that is connected to it.
#[track_caller]
pub(crate) fn client_of_the_test(stdin: Stdio) -> (Peer, Process) {
    client_of_the_test_with_output(stdin, Stdio::piped())
}

/// [`client_of_the_test`] with this standard output.
#[track_caller]
pub(crate) fn client_of_the_test_with_output(
    stdin: impl Into<Stdio>,
    stdout: impl Into<Stdio>,
) -> (Peer, Process) {
    Peer::serve(|address| {
        let mut command = chat_client(address);
        command.stdin(stdin).stdout(stdout);
        Process::spawn(command)
    })
}

/// A TCP connection read by lines; it dereferences to a [`LineReader`].
pub(crate) struct Peer {
    lines: LineReader<TcpStream>,
}

impl Peer {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        Self::new(TcpStream::connect(to).expect("a server that listens"))
    }

    /// Connects from `ip`, one of 127.0.0.0/8, which tell senders apart.
    pub(crate) fn connect_from(ip: &str, to: SocketAddr) -> Self {
        let ip: IpAddr = ip.parse().expect("an IP address");
        // A program that another test starts meanwhile must not inherit it.
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .expect("a free descriptor");
        rustix::net::bind(&socket, &SocketAddr::new(ip, 0)).expect("an address of this machine");
        rustix::net::connect(&socket, &to).expect("a server that listens");
        Self::new(TcpStream::from(socket))
    }

    /// The test as a server, and the client that `start` connects to it.
    #[track_caller]
    pub(crate) fn serve<T>(start: impl FnOnce(SocketAddr) -> T) -> (Self, T) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = start(listener.local_addr().expect("a bound socket"));
        (Self::accept(&listener), client)
    }

    /// Accepts the next connection.
    #[track_caller]
    pub(crate) fn accept(listener: &TcpListener) -> Self {
        let patience = Timespec::try_from(PATIENCE).expect("a short duration");
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        let ready = rustix::event::poll(&mut fds, Some(&patience)).expect("a working poll");
        assert_eq!(ready, 1, "nobody connected");
        let (stream, _) = listener.accept().expect("a connection that waits");
        Self::new(stream)
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        Self {
            lines: LineReader::new(stream),
        }
    }

    /// Greets the client as a room of ours, which has begun a session.
    #[track_caller]
    pub(crate) fn greet(&mut self) {
        self.greet_with(r#""epoch":"e","resumed":false,"heard":0"#);
    }

    /// [`greet`](Self::greet) with a hello that has these `fields`. Returns how the client asked
    /// to go on with its session, if it did.
    #[track_caller]
    pub(crate) fn greet_with(&mut self, fields: &str) -> Option<String> {
        self.say(WELCOME);
        self.expect_line("/json");
        let resumes = fields.contains(r#""resumed":true"#) || fields.contains("again");
        let asked = resumes.then(|| self.next_line().expect("a session to go on with"));
        if asked.is_some() {
            // To `/json`.
            self.hello(8, r#""epoch":"e","resumed":false,"heard":0"#);
        }
        self.hello(7, fields);
        asked
    }

    /// Says to the client that it is `you`.
    pub(crate) fn hello(&self, you: u64, fields: &str) {
        self.say(&format!(
            "{{\"kind\":\"hello\",\"wire\":1,\"version\":\"0\",\"seq\":0,\"you\":{you},\
             \"token\":\"{you}.ab\",\"lost\":0,\"hold\":60,\"name\":\"127.0.0.1\",\
             \"here\":1,\"people\":[],\"max_line\":4096,{fields}}}"
        ));
    }

    /// Tells that somebody else has said `text`, as the event `seq`.
    pub(crate) fn tell(&self, seq: u64, name: &str, text: &str) {
        self.say(&format!(
            "{{\"seq\":{seq},\"time\":\"2026-11-27T13:51:23.123Z\",\"kind\":\"message\",\
             \"from\":9,\"name\":\"{name}\",\"text\":\"{text}\"}}"
        ));
    }

    /// Expects the client to say `text` as its line `n`, and says that it was said.
    #[track_caller]
    pub(crate) fn take(&mut self, n: u64, text: &str) {
        self.expect_line(text);
        self.echo(n, n, text);
    }

    /// Tells the client that it has said `text` as its line `n`, the event `seq`.
    pub(crate) fn echo(&self, seq: u64, n: u64, text: &str) {
        self.say(&format!(
            "{{\"seq\":{seq},\"time\":\"2026-11-27T13:51:23.123Z\",\"kind\":\"message\",\
             \"from\":7,\"n\":{n},\"name\":\"127.0.0.1\",\"text\":\"{text}\"}}"
        ));
    }

    /// Expects the client to ask for `name` as its line `n`, and grants it.
    #[track_caller]
    pub(crate) fn grant(&mut self, n: u64, name: &str) {
        self.expect_line(&format!("/nick {name}"));
        self.say(&format!(
            "{{\"kind\":\"reply\",\"n\":{n},\"to\":\"nick\",\"name\":\"{name}\"}}"
        ));
    }

    /// Expects the client to leave with its line `n`, and lets it go.
    #[track_caller]
    pub(crate) fn let_go(mut self, n: u64) {
        self.expect_line("/quit");
        self.say(&format!(
            "{{\"kind\":\"bye\",\"n\":{n},\"code\":\"quit\",\"heard\":{n},\"again\":null,\
             \"text\":\"goodbye\"}}"
        ));
        self.expect_end();
    }

    /// Refuses the client's line `n`.
    pub(crate) fn refuse(&self, n: u64, text: &str) {
        self.say(&format!(
            "{{\"kind\":\"error\",\"n\":{n},\"code\":\"name_taken\",\"text\":\"{text}\"}}"
        ));
    }

    fn stream(&self) -> &TcpStream {
        self.lines.get_ref()
    }

    /// The stream itself, without what was read ahead.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.lines.into_inner()
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream().local_addr().expect("a connected socket")
    }

    /// What everybody else in the room reads when this peer says `text`.
    pub(crate) fn said(&self, text: &str) -> String {
        format!("<{}> {text}", self.local_address().ip())
    }

    pub(crate) fn say(&self, text: &str) {
        self.send(format!("{text}\n"));
    }

    /// Expects that the room has sent nothing unread: the next line answers what is asked now.
    #[track_caller]
    pub(crate) fn expect_nothing_new(&mut self) {
        self.say("/dance");
        let answer = self.next_line().expect("an answer");
        assert!(answer.starts_with("!! unknown command"), "{answer}");
    }

    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        self.stream()
            .write_all(bytes.as_ref())
            .expect("a server that reads");
    }

    /// [`send`](Self::send) to a server that may have closed the connection.
    pub(crate) fn try_send(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream().write_all(bytes.as_ref())
    }

    /// Half-closes: the other side may go on.
    pub(crate) fn close_write(&self) {
        self.stream()
            .shutdown(std::net::Shutdown::Write)
            .expect("a connected socket");
    }

    /// Leaves, and waits until the server has closed the connection.
    #[track_caller]
    pub(crate) fn leave(mut self) {
        self.close_write();
        self.expect_end();
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        sockopt::set_socket_linger(self.stream(), Some(Duration::ZERO)).expect("a TCP socket");
    }

    /// Expects the other side to give up this connection, orderly or not, with nothing before.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        match self.read_line() {
            Ok(None) => {}
            Ok(Some(line)) => panic!("{line:?} came instead of the end"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
    }

    /// Limits what the kernel buffers for this peer, so that senders notice when nobody reads.
    pub(crate) fn limit_receive_buffer(&self) {
        self.limit_receive_buffer_to(128 * 1024);
    }

    /// [`limit_receive_buffer`](Self::limit_receive_buffer) to `bytes`, or to the kernel's
    /// minimum.
    pub(crate) fn limit_receive_buffer_to(&self, bytes: usize) {
        sockopt::set_socket_recv_buffer_size(self.stream(), bytes).expect("a TCP socket");
    }
}

impl Deref for Peer {
    type Target = LineReader<TcpStream>;

    fn deref(&self) -> &Self::Target {
        &self.lines
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.lines
    }
}
