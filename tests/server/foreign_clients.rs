//! Foreign clients: `nc`, `ncat`, `telnet`, and the Python original.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use crate::common::lines::LineReader;
use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Process, piped};
use crate::common::pty::{Keyboard, open_terminal};
use crate::common::server::Server;
use crate::common::{PATIENCE, can_test, can_test_with};

/// The Python original's behaviour, as a script for Python 3.
const PYTHON_CLIENT: &str = r#"
import select, socket, sys

server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    readable, _, _ = select.select([sys.stdin, server], [], [])
    for source in readable:
        if source == server:
            message = source.recv(2048)
            print(message.decode(), flush=True)
        else:
            message = sys.stdin.readline()
            server.send(message.encode())
            sys.stdout.write("<You>")
            sys.stdout.write(message)
            sys.stdout.flush()
"#;

#[test]
fn nc_talks_and_listens() {
    converse_with("nc", &[]);
}

#[test]
fn ncat_talks_and_listens() {
    converse_with("ncat", &[]);
}

#[test]
fn nc_delivers_its_unfinished_last_line_and_ends() {
    if !can_test_with("nc") {
        return;
    }
    let help = Command::new("nc").arg("-h").output().expect("nc");
    let help = [help.stdout, help.stderr].concat();
    let is_openbsd = String::from_utf8_lossy(&help).contains("OpenBSD");
    if !can_test(is_openbsd, "nc is not netcat-openbsd, which has -N") {
        return;
    }
    deliver_last_line_with("nc", &["-N"]);
}

#[test]
fn ncat_delivers_its_unfinished_last_line_and_ends() {
    deliver_last_line_with("ncat", &[]);
}

#[test]
fn telnet_talks_and_listens() {
    let server = Server::start();
    let Some(mut telnet) = start("telnet", &[], &server) else {
        return;
    };
    skip_to(telnet.stdout(), WELCOME);
    converse(&mut telnet, &server);
}

/// In line mode, and after a request for character mode, in which Enter is CR NUL and nothing is
/// edited or echoed: the server refuses, and telnet goes back.
#[test]
fn telnet_at_a_terminal_says_what_was_typed() {
    const ESCAPE: &[u8] = b"\x1d";
    let server = Server::start();
    let mut peer = server.join("127.0.0.2");
    let Some((mut keyboard, _telnet)) = start_at_a_terminal(&["telnet"], &server) else {
        return;
    };
    type_and_be_heard(&mut keyboard, &mut peer, "in line mode");
    skip_to(&mut keyboard, "once\r");
    keyboard.get_ref().type_bytes(ESCAPE);
    keyboard.expect_bytes(b"^]\r\ntelnet> ");
    keyboard.get_ref().type_bytes(b"mode character\r");
    type_and_be_heard(&mut keyboard, &mut peer, "in character mode");
    peer.say("as you like");
    skip_to(&mut keyboard, "<127.0.0.2> as you like\r");
    keyboard.get_ref().type_bytes(b"/msg 127.0.0.2 PIN\r");
    peer.expect_line("[127.0.0.1] PIN");
}

#[test]
fn busybox_telnet_at_a_terminal_says_what_was_typed() {
    let server = Server::start();
    let mut peer = server.join("127.0.0.2");
    let Some((mut keyboard, _telnet)) = start_at_a_terminal(&["busybox", "telnet"], &server) else {
        return;
    };
    type_and_be_heard(&mut keyboard, &mut peer, "in busybox");
    peer.say("as you like");
    skip_to(&mut keyboard, "<127.0.0.2> as you like\r");
}

/// What PuTTY's Telnet sends: with its default settings, and with local line editing and local
/// echo turned off.
#[test]
fn putty_is_refused_its_options_and_says_what_was_typed() {
    /// WILL NAWS, TSPEED, TTYPE, NEW-ENVIRON; DO ECHO; WILL SGA, DO SGA.
    const FIRST_WORDS: &[u8] =
        b"\xff\xfb\x1f\xff\xfb\x20\xff\xfb\x18\xff\xfb\x27\xff\xfd\x01\xff\xfb\x03\xff\xfd\x03";
    const REFUSALS: &[u8] =
        b"\xff\xfe\x1f\xff\xfe\x20\xff\xfe\x18\xff\xfe\x27\xff\xfc\x01\xff\xfe\x03\xff\xfc\x03";
    let server = Server::start();
    let mut peer = server.join("127.0.0.2");
    let mut putty = server.join("127.0.0.3");
    putty.send(FIRST_WORDS);
    putty.expect_bytes(REFUSALS);
    putty.send("edited by PuTTY\r\n");
    peer.expect_line("<127.0.0.3> edited by PuTTY");
    for byte in "each kye\u{7f}\u{8}ey by itself, naïvé\u{7f}e\r\0".bytes() {
        putty.send([byte]);
    }
    peer.expect_line("<127.0.0.3> each key by itself, naïve");
    // Special commands: Break, Erase Character, No Operation; the size of the window.
    putty.send(b"\xff\xf3no\xff\xf7\xff\xf7ye\xff\xf1s\xff\xfa\x1f\0\x50\0\n\xff\xf0\r\n");
    peer.expect_line("<127.0.0.3> yes");
    putty.expect_nothing_new();
}

/// After an interrupt, telnet discards everything until the server has answered its DO
/// TIMING-MARK (RFC 860).
#[test]
fn ctrl_c_does_not_make_telnet_deaf() {
    const CTRL_C: &[u8] = b"\x03";
    let server = Server::start();
    let mut peer = server.join("127.0.0.2");
    let Some((mut keyboard, _telnet)) = start_at_a_terminal(&["telnet"], &server) else {
        return;
    };

    keyboard.get_ref().type_bytes(CTRL_C);
    keyboard.get_ref().type_bytes(b"never mind\n");
    peer.expect_line("<127.0.0.1> never mind");
    peer.say("can you hear me?");
    skip_to(&mut keyboard, "<127.0.0.2> can you hear me?\r");
}

/// What telnet sends for Ctrl-C, and the answer it waits for.
#[test]
fn a_request_for_a_timing_mark_is_answered_and_not_said() {
    const IAC_IP_IAC_DO_TIMING_MARK: &[u8] = b"\xff\xf4\xff\xfd\x06";
    const IAC_WONT_TIMING_MARK: &[u8] = b"\xff\xfc\x06";
    let server = Server::start();
    let mut telnet = server.join("127.0.0.2");
    let mut peer = server.join("127.0.0.3");
    telnet.send([IAC_IP_IAC_DO_TIMING_MARK, b"hi\n"].concat());
    telnet.expect_bytes(IAC_WONT_TIMING_MARK);
    peer.expect_line("<127.0.0.2> hi");
    peer.say("hello");
    telnet.expect_line("<127.0.0.3> hello");
}

#[test]
fn the_python_client_talks_and_listens() {
    let server = Server::start();
    let Some(mut python) = start("python3", &["-c", PYTHON_CLIENT], &server) else {
        return;
    };
    let mut peer = server.join("127.0.0.2");
    // It prints what it receives with the line end, and adds one of its own.
    python.stdout().expect_line(WELCOME);
    python.stdout().expect_line("");
    python.type_line("hello");
    python.stdout().expect_line("<You>hello");
    peer.expect_line("<127.0.0.1> hello");
    peer.say("hello yourself");
    python.stdout().expect_line("<127.0.0.2> hello yourself");
    python.stdout().expect_line("");
}

/// The Python original receives at most 2,048 bytes at a time, and shows each piece as a
/// message: the pieces must add up to the lines sent.
#[test]
fn a_client_that_receives_as_the_python_one_does_misses_nothing() {
    const RECV_BYTES: usize = 2048;
    let server = Server::start();
    let mut peer = server.join("127.0.0.2");
    let mut python = TcpStream::connect(server.address).expect("a server that listens");
    python.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let receive = |expected: &str| {
        let mut received = Vec::new();
        let mut piece = [0; RECV_BYTES];
        while received.len() < expected.len() {
            let length = (&python).read(&mut piece).expect("what the server sent");
            assert_ne!(length, 0, "the server closed the connection");
            received.extend_from_slice(&piece[..length]);
        }
        assert_eq!(String::from_utf8(received).as_deref(), Ok(expected));
    };
    receive(&format!("{WELCOME}\n"));

    let long = "é".repeat(2000);
    peer.say(&long);
    peer.say("short");
    receive(&format!("<127.0.0.2> {long}\n<127.0.0.2> short\n"));
    python.write_all(b"hello\n").expect("a server that reads");
    peer.expect_line("<127.0.0.1> hello");
}

#[track_caller]
fn converse_with(program: &str, options: &[&str]) {
    let server = Server::start();
    let Some(mut client) = start(program, options, &server) else {
        return;
    };
    client.stdout().expect_line(WELCOME);
    converse(&mut client, &server);
}

/// A conversation with a client that has shown its welcome.
#[track_caller]
fn converse(client: &mut Process, server: &Server) {
    let mut peer = server.join("127.0.0.2");
    client.type_line("hello");
    peer.expect_line("<127.0.0.1> hello");
    peer.say("hello yourself");
    client.stdout().expect_line("<127.0.0.2> hello yourself");
}

#[track_caller]
fn deliver_last_line_with(program: &str, options: &[&str]) {
    let server = Server::start();
    let mut peer = server.join("127.0.0.2");
    let Some(mut client) = start(program, options, &server) else {
        return;
    };
    let mut stdin = client.take_stdin();
    stdin.write_all(b"one\nand a half").expect("a client");
    drop(stdin);
    peer.expect_line("<127.0.0.1> one");
    peer.expect_line("<127.0.0.1> and a half");
    assert_eq!(client.finish().stdout, format!("{WELCOME}\n"));
}

/// Types `words` with a mistake and its correction, and expects the others to hear them once,
/// corrected.
#[track_caller]
fn type_and_be_heard(keyboard: &mut LineReader<Keyboard>, peer: &mut Peer, words: &str) {
    let keyboard = keyboard.get_ref();
    keyboard.type_bytes(format!("tiped\u{7f}\u{7f}\u{7f}\u{7f}yped {words}\r").as_bytes());
    peer.expect_line(&format!("<127.0.0.1> typed {words}"));
    keyboard.type_bytes(b"once\r");
    peer.expect_line("<127.0.0.1> once");
}

/// Starts a program in a terminal of its own, if it is installed, and waits until it has shown
/// the welcome.
fn start_at_a_terminal(
    program: &[&str],
    server: &Server,
) -> Option<(LineReader<Keyboard>, Process)> {
    if !["setsid", program[0]].into_iter().all(can_test_with) {
        return None;
    }
    // Keys send signals only to programs whose controlling terminal this is.
    let (mut keyboard, terminal) = open_terminal();
    let duplicate = || Stdio::from(terminal.try_clone().expect("a free descriptor"));
    let mut command = join_with("setsid", &[&["--ctty"], program].concat(), server);
    command.stdin(duplicate()).stdout(duplicate());
    let process = Process::spawn(command);
    drop(terminal);
    skip_to(&mut keyboard, &format!("{WELCOME}\r"));
    Some((keyboard, process))
}

/// Skips what a program shows before `line`.
#[track_caller]
fn skip_to<R: Read + AsFd>(shown: &mut LineReader<R>, line: &str) {
    while shown.next_line().expect("more to be shown") != line {}
}

/// Starts a program that joins the room, if it is installed.
fn start(program: &str, options: &[&str], server: &Server) -> Option<Process> {
    can_test_with(program).then(|| Process::spawn(join_with(program, options, server)))
}

/// `program`, connecting to the room.
fn join_with(program: &str, options: &[&str], server: &Server) -> Command {
    let mut command = Command::new(program);
    command
        .args(options)
        .arg(server.address.ip().to_string())
        .arg(server.address.port().to_string());
    piped(command)
}
