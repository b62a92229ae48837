//! The server under a service manager: notifications, the socket that it passes, reloading, its
//! journal, and an operator without a terminal. Promises 7 and 9 there: a manager that is stuck
//! does not stop the room, and an idle room sleeps.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::PATIENCE;
use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Process, piped, under_test};
use crate::common::server::{Server, server_command, sociable_command};

/// The socket of a service manager, in a folder of its own.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { socket, folder }
    }

    fn supervise(&self, mut command: Command) -> Server {
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        Server::spawn(command)
    }

    #[track_caller]
    fn expect(&self, expected: &str) {
        assert_eq!(self.next(), expected);
    }

    #[track_caller]
    fn next(&self) -> String {
        received(&self.socket)
    }

    /// The time of the reload that begins.
    #[track_caller]
    fn expect_reload(&self) -> u64 {
        let message = self.next();
        let micros = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        micros.expect("a reload").parse().expect("microseconds")
    }
}

#[track_caller]
fn received(socket: &UnixDatagram) -> String {
    let mut message = [0; 1024];
    let count = socket.recv(&mut message).expect("a message");
    String::from_utf8(message[..count].to_vec()).expect("text")
}

fn status(server: &Server, here: usize) -> String {
    format!("STATUS=listening on {}, {here} here", server.address)
}

#[test]
fn the_manager_hears_of_the_beginning_of_people_and_of_the_end() {
    let manager = Manager::new();
    let mut server = manager.supervise(sociable_command("127.0.0.1", &[]));
    manager.expect(&format!("READY=1\n{}", status(&server, 0)));
    let mut alice = server.join("127.0.0.2");
    alice.expect_line("-- 127.0.0.2 joined (1 here)");
    manager.expect(&status(&server, 1));
    server.expect_idle();
    drop(alice);
    manager.expect(&status(&server, 0));
    server.signal(Signal::TERM);
    manager.expect("STOPPING=1\nSTATUS=closing the room");
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_manager_may_listen_at_an_abstract_socket() {
    let name = format!("chat-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("an address");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut command = server_command("127.0.0.1", &[]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let _server = Server::spawn(command);
    assert!(received(&socket).starts_with("READY=1\n"));
}

#[test]
fn a_manager_that_is_stuck_or_gone_does_not_stop_the_room() {
    let manager = Manager::new();
    let mut server = manager.supervise(server_command("127.0.0.1", &[]));
    let mut alice = server.join("127.0.0.2");
    let bob = server.join("127.0.0.3");
    // More than a socket takes (net.unix.max_dgram_qlen).
    for nth in 0..600 {
        server.signal(Signal::HUP);
        bob.say(&format!("line {nth}"));
        alice.expect_line(&format!("<127.0.0.3> line {nth}"));
    }
    manager.expect(&format!("READY=1\n{}", status(&server, 0)));
    // The rest comes once its socket has room.
    while manager.next() != status(&server, 2) {}
    drop(manager);
    server.signal(Signal::HUP);
    let warning = server.stderr().next_line().expect("a warning");
    assert!(warning.contains("cannot notify the service manager"));
    bob.say("still here");
    alice.expect_line("<127.0.0.3> still here");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_watchdog_is_fed_if_it_is_for_this_process() {
    let manager = Manager::new();
    let mut command = server_command("127.0.0.1", &[]);
    command.env("WATCHDOG_USEC", "200000");
    let server = manager.supervise(command);
    assert!(manager.next().starts_with("READY=1\n"));
    for _ in 0..5 {
        manager.expect("WATCHDOG=1");
    }
    drop(server);

    let manager = Manager::new();
    let mut command = server_command("127.0.0.1", &[]);
    command.env("WATCHDOG_USEC", "200000");
    command.env("WATCHDOG_PID", "1");
    let server = manager.supervise(command);
    assert!(manager.next().starts_with("READY=1\n"));
    server.expect_idle();
    manager.socket.set_nonblocking(true).expect("a socket");
    assert!(manager.socket.recv(&mut [0; 8]).is_err());
}

/// `chat server` with `passed` as the descriptor that a service manager passes.
fn activated(passed: OwnedFd, arguments: &[&str]) -> Command {
    let mut shell = Command::new("sh");
    let script = r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" server "$@" 3<&0 0</dev/null"#;
    shell.args(["-c", script]).arg(under_test()).args(arguments);
    let mut shell = piped(shell);
    shell.stdin(Stdio::from(passed));
    shell
}

#[test]
fn a_passed_socket_needs_no_address_and_serves_those_who_came_before() {
    for arguments in [&[][..], &["192.0.2.1", "1"]] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = listener.local_addr().expect("an address");
        let mut early = Peer::connect_from("127.0.0.2", address);
        let mut command = activated(listener.into(), arguments);
        command.args(["--no-presence", "--history=0"]);
        let mut server = Server::spawn(command);
        assert_eq!(server.address, address);
        early.expect_line(WELCOME);
        let mut late = server.join("127.0.0.3");
        early.say("hi");
        late.expect_line("<127.0.0.2> hi");
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), 0);
    }
}

#[cfg(feature = "tls")]
#[test]
fn beside_a_passed_socket_tls_is_spoken_at_its_address_only() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = activated(listener.into(), &["--tls", "--tls-port", "0"]);
    command.env("XDG_STATE_HOME", folder.path());
    let mut server = Server::spawn(command);
    server.skip_banner();
    server.stdout().next_line().expect("a heading");
    let way = server.stdout().next_line().expect("a way to join");
    let port = way.split(' ').find_map(|word| word.parse::<u16>().ok());
    let port = port.expect("a port");
    let connect = std::net::TcpStream::connect::<(&str, u16)>;
    connect(("127.0.0.1", port)).expect("a server that listens");
    connect(("::1", port)).expect_err("another address");
}

#[test]
fn what_is_passed_has_to_be_a_socket_that_listens() {
    let file = File::open("/dev/null").expect("a file");
    let connected = UnixDatagram::unbound().expect("a socket");
    for passed in [OwnedFd::from(file), OwnedFd::from(connected)] {
        let finished = Process::spawn(activated(passed, &[])).finish();
        assert_eq!(finished.code, 1);
        let error = finished.stderr;
        let begin = "chat: cannot use the socket that the service manager passed: ";
        assert!(error.starts_with(begin), "{error}");
        assert!(error.contains("Accept=no"), "{error}");
    }
}

#[test]
fn a_reload_reads_the_message_of_the_day_again_and_everybody_stays() {
    let manager = Manager::new();
    let motd = manager.folder.path().join("motd");
    fs::write(&motd, "the first\n").expect("a file");
    let options = ["--motd", motd.to_str().expect("a path"), "--welcome=hello"];
    let mut server = manager.supervise(server_command("127.0.0.1", &options));
    assert!(manager.next().starts_with("READY=1\n"));
    let greeted_with = |server: &Server, words: &str| {
        let mut peer = server.join("127.0.0.2");
        peer.expect_line("-- hello");
        peer.expect_line(&format!("-- {words}"));
        peer
    };
    let mut alice = greeted_with(&server, "the first");
    manager.expect(&status(&server, 1));
    fs::write(&motd, "the second\n").expect("a file");
    server.signal(Signal::HUP);
    let first = manager.expect_reload();
    manager.expect("READY=1");
    let bob = greeted_with(&server, "the second");
    manager.expect(&status(&server, 2));
    bob.say("hi");
    alice.expect_line("<127.0.0.2> hi");

    fs::remove_file(&motd).expect("a file");
    server.signal(Signal::HUP);
    assert!(manager.expect_reload() > first);
    manager.expect("READY=1");
    let warning = server.stderr().next_line().expect("a warning");
    assert!(warning.contains("for --motd: no such file"), "{warning}");
    greeted_with(&server, "the second");
}

#[test]
fn messages_to_the_journal_begin_with_their_priority() {
    let journal = "$(stat -L -c %d:%i /dev/fd/2)";
    for (stream, [info, error]) in [
        (journal, ["<6>", "<3>"]),
        ("1:2", ["chat: info: ", "chat: "]),
    ] {
        let script = format!(r#"JOURNAL_STREAM={stream} exec "$0" server 127.0.0.1 "$@""#);
        let run = |arguments: &[&str]| {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(&script).arg(under_test());
            shell.args(arguments);
            let mut shell = piped(shell);
            shell.stdin(Stdio::null());
            Process::spawn(shell)
        };
        let mut server = run(&["0", "-v"]);
        let first = server.stderr().next_line().expect("a message");
        assert!(first.starts_with(&format!("{info}at most ")), "{first}");
        let failed = run(&["0", "--motd=/missing"]).finish();
        let begin = format!("{error}cannot use /missing");
        assert!(failed.stderr.starts_with(&begin), "{}", failed.stderr);
    }
}

fn make_fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
}

/// Writes to the FIFO like `echo`, which opens and closes it.
#[track_caller]
fn echo(line: &str, fifo: &Path) {
    let mut fifo = OpenOptions::new().write(true).open(fifo).expect("a FIFO");
    writeln!(fifo, "{line}").expect("a reader");
}

#[test]
fn operators_come_and_go_at_a_fifo() {
    let folder = TempDir::new().expect("a folder");
    let fifo = folder.path().join("operator");
    make_fifo(&fifo);
    let option = format!("--operator-commands={}", fifo.display());
    let mut server = Server::spawn(server_command("127.0.0.1", &[&option]));
    server.skip_banner();
    server
        .stdout()
        .expect_line("everybody sees what you type here; /help lists the commands");
    let mut alice = server.join("127.0.0.2");
    for line in ["dinner is ready", "in ten minutes"] {
        echo(line, &fifo);
        alice.expect_line(&format!("-- operator: {line}"));
    }
    server.expect_idle();
    echo("/kick 127.0.0.2", &fifo);
    alice.expect_line("-- goodbye: the operator kicked you");
    echo("/quit", &fifo);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn an_operators_fifo_has_to_be_one() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    for (path, problem) in [
        (file.clone(), "not a FIFO"),
        (file.with_extension("missing"), "no such file"),
    ] {
        let option = format!("--operator-commands={}", path.display());
        let finished = Process::spawn(server_command("127.0.0.1", &[&option])).finish();
        assert_eq!(finished.code, 1);
        let error = finished.stderr;
        assert!(
            error.contains(problem) && error.contains("mkfifo"),
            "{error}"
        );
    }
}
