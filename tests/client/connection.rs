//! How the client finds its server, and what it reports when there is none, or when it goes.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::Signal;

use crate::alice::{CTRL_C, CTRL_D};
use crate::common::can_test;
use crate::common::peer::{WELCOME, client_of_the_test};
use crate::common::process::{CHAT, Process, chat, chat_client, piped};
use crate::common::screen::Screen;
use crate::common::server::{Server, server_command};

const CANNOT_CONNECT: i32 = 3;
const CONNECTION_LOST: i32 = 4;
const REFUSED: i32 = 5;

#[test]
fn a_host_name_works() {
    let server = Server::start();
    let port = server.address.port().to_string();
    let mut client = Process::spawn(chat(["client", "localhost", &port]));
    client.stdout().expect_line(WELCOME);
}

#[test]
fn the_port_may_be_part_of_the_address() {
    let mut server = Server::start();
    server.skip_banner();
    let address = server.address.to_string();
    for arguments in [&["send", &address, "7", "files"][..], &["ping", &address]] {
        let finished = Process::spawn(chat(arguments)).finish();
        assert_eq!(finished.code, 0, "{}", finished.stderr);
    }
    server.stdout().expect_line("127.0.0.1 connected");
    server.stdout().expect_line("<127.0.0.1> 7 files");
    for command in ["client", "tail"] {
        let mut client = Process::spawn(chat([command, &address]));
        client.stdout().expect_line(WELCOME);
    }
}

/// One of the name's two addresses has no server, whichever comes first.
#[test]
fn all_addresses_of_a_name_are_tried() {
    const FIRST: &str = "127.9.9.1";
    const SECOND: &str = "127.9.9.2";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let hosts = folder.path().join("hosts");
    let names = format!("{FIRST} room.test\n{SECOND} room.test\n");
    fs::write(&hosts, names).expect("room for a file");
    let with_hosts = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c"])
            .arg(r#"mount --bind "$0" /etc/hosts && exec "$@""#)
            .arg(&hosts)
            .arg(program)
            .args(arguments);
        piped(command)
    };
    let possible = with_hosts("true", &[])
        .status()
        .is_ok_and(|status| status.success());
    if !can_test(
        possible,
        "an /etc/hosts of its own for the client is not possible here",
    ) {
        return;
    }

    for ip in [FIRST, SECOND] {
        let server = Server::spawn(server_command(ip, &[]));
        let port = server.address.port().to_string();
        let mut client = Process::spawn(with_hosts(CHAT, &["client", "room.test", &port]));
        client.stdout().expect_line(WELCOME);
    }
}

#[test]
fn a_missing_server_is_named() {
    // Port 1 is tcpmux: nobody listens there.
    let finished = Process::spawn(chat(["client", "127.0.0.1", "1"])).finish();
    assert_fails(&finished.stderr, &["127.0.0.1", "1"]);
    assert_eq!(finished.stdout, "");
    assert_eq!(finished.code, CANNOT_CONNECT);
}

#[test]
fn an_unknown_host_is_named() {
    // No DNS server is asked about an invalid name.
    let finished = Process::spawn(chat(["client", "no..such..host", "8081"])).finish();
    assert_fails(&finished.stderr, &["no..such..host", "8081"]);
    assert_eq!(finished.stdout, "");
    assert_eq!(finished.code, CANNOT_CONNECT);
}

#[test]
fn a_room_that_closes_is_a_lost_connection() {
    let mut server = Server::start();
    let mut client = Process::spawn(chat_client(server.address));
    client.stdout().expect_line(WELCOME);
    // Standard input stays open: the user did not leave.
    let _stdin = client.take_stdin();
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);

    let finished = client.finish();
    assert_eq!(finished.stdout, "-- the room is closing\n");
    assert_fails(&finished.stderr, &[&server.address.to_string()]);
    assert_eq!(finished.code, CONNECTION_LOST);
}

#[test]
fn a_server_that_vanishes_is_a_lost_connection() {
    let (server, mut client) = client_of_the_test(Stdio::piped());
    let _stdin = client.take_stdin();
    let address = server.local_address();
    server.say("soon gone");
    client.stdout().expect_line("soon gone");
    server.reset();

    let finished = client.finish();
    assert_fails(&finished.stderr, &[&address.to_string()]);
    assert_eq!(finished.code, CONNECTION_LOST);
}

#[test]
fn a_full_room_is_shown_and_has_an_exit_code_of_its_own() {
    let server = Server::with(&["--max-clients", "1"]);
    let _guest = server.join("127.0.0.2");
    for input_ends in [false, true] {
        let mut client = Process::spawn(chat_client(server.address));
        let stdin = client.take_stdin();
        let _stays_open = (!input_ends).then_some(stdin);
        let finished = client.finish();
        assert_eq!(
            finished.stdout,
            "!! the room is full (1 clients); try again later\n"
        );
        assert_fails(&finished.stderr, &[&server.address.to_string()]);
        assert_eq!(finished.code, REFUSED);
    }
}

/// Expects one line that says what failed and contains all of `named`.
#[track_caller]
fn assert_fails(stderr: &str, named: &[&str]) {
    assert!(stderr.starts_with("chat: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for name in named {
        assert!(stderr.contains(name), "{stderr}");
    }
}

/// A full backlog lets a connection wait, as a firewall does that drops it.
#[test]
fn who_waits_for_a_connection_is_told_and_can_give_up() {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a free descriptor");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    rustix::net::bind(&socket, &any).expect("a free port");
    rustix::net::listen(&socket, 0).expect("a bound socket");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("a bound socket");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
    }
    for (keys, code) in [(CTRL_D, Some(0)), (CTRL_C, None)] {
        let mut screen = Screen::new(60, 24);
        let mut client = screen.run(chat_client(address));
        screen.expect_row(&format!("-- connecting to {address} …"));
        screen.expect_last_row("[offline] >");
        screen.type_keys(keys);
        assert_eq!(client.wait().code(), code);
    }
}
