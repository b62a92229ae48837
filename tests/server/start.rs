//! How a server starts: what it prints when it does, and what it reports when it cannot.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{CHAT, Process, chat, piped};
use crate::common::server::{Server, server_command};
use crate::common::{can_test, shell_with_a_network};

#[test]
fn the_banner_says_how_to_join() {
    let mut server = Server::start();
    assert_ne!(server.address.port(), 0);
    server.skip_banner();
    let _guest = server.join("127.0.0.2");
    server.stdout().expect_line("127.0.0.2 connected");
}

#[test]
fn the_banner_names_every_address_of_the_machine() {
    let mut server = Server::spawn(server_command("0.0.0.0", &[]));
    let port = server.address.port();
    let mut guest = Peer::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    guest.expect_line(WELCOME);

    let (mut ways, mut is_for_all) = (Vec::new(), true);
    loop {
        let line = server.stdout().next_line().expect("a console line");
        match (line.strip_prefix("  "), &line[..]) {
            (Some(way), _) => {
                assert_eq!(is_for_all, !way.contains(" 127."), "{way}");
                ways.push(way.to_owned());
            }
            (None, "join with:") => assert_eq!(ways.len(), 0),
            (None, "on this machine only, join with:") => is_for_all = false,
            (None, _) => break assert_eq!(line, "127.0.0.1 connected"),
        }
    }
    assert!(!is_for_all);
    assert!(ways.contains(&format!("chat client 127.0.0.1 {port}")));
    assert!(ways.contains(&format!("nc 127.0.0.1 {port}")));
    for way in ways {
        let address = way
            .strip_prefix("chat client ")
            .or_else(|| way.strip_prefix("nc "))
            .unwrap_or_else(|| panic!("{way:?} is no way to join"))
            .replace(' ', ":");
        Peer::connect(address.parse().expect("an IPv4 address")).expect_line(WELCOME);
    }
}

/// The shell's own network, with an address of each kind.
const AT_EVERY_ADDRESS: &str = r#"
    for address in 192.168.1.5 203.0.113.7; do ip address add $address/24 dev lo; done
    "$0" server --history=0 --no-presence </dev/null &
    read go
    "$0" send 192.168.1.5 8081 from the LAN
    "$0" send 127.0.0.1 8081 from here
    "$0" send 203.0.113.7 8081 from outside
    kill $!
    wait $!
    "$0" server 8082 --allow 203.0.113.0/24 </dev/null &
    read go
    "$0" send 203.0.113.7 8082 from outside
    "$0" send 192.168.1.5 8082 from the LAN
    kill $!
"#;

#[test]
fn a_room_at_every_address_is_for_private_networks_unless_told_otherwise() {
    let Some(mut shell) = shell_with_a_network(AT_EVERY_ADDRESS) else {
        return;
    };
    // With or without IPv6.
    let first = shell.stdout().next_line().expect("a line");
    let everywhere = ["listening on [::]:8081", "listening on 0.0.0.0:8081"];
    assert!(everywhere.contains(&&first[..]), "{first}");
    let mut banner = Vec::new();
    while banner
        .last()
        .is_none_or(|line: &String| !line.starts_with("only "))
    {
        banner.push(shell.stdout().next_line().expect("a line"));
    }
    let ways = [
        "join with:",
        "  chat client 192.168.1.5 8081",
        "  nc 192.168.1.5 8081",
        "on this machine only, join with:",
        "  chat client 127.0.0.1 8081",
        "  nc 127.0.0.1 8081",
    ];
    assert_eq!(banner[..ways.len()], ways);
    shell.type_line("go");
    let next = "only this machine and private networks are let in; to choose, use --allow";
    assert_eq!(banner.last().map(String::as_str), Some(next));
    for (console, said) in [
        ("192.168.1.5 connected", "<192.168.1.5> from the LAN"),
        ("127.0.0.1 connected", "<127.0.0.1> from here"),
    ] {
        shell.stdout().expect_line(console);
        shell.stdout().expect_line(said);
        let left = console.replace("connected", "disconnected");
        shell.stdout().expect_line(&left);
    }
    while shell.stdout().next_line().expect("a line") != "  nc 203.0.113.7 8082" {}
    shell.type_line("go");
    let finished = shell.finish();
    assert!(finished.stdout.contains("<203.0.113.7> from outside"));
    assert!(!finished.stdout.contains("from the LAN"));
    let refusal = "your address is not allowed here; ask the operator";
    assert_eq!(
        finished.stderr.matches(refusal).count(),
        2,
        "{}",
        finished.stderr
    );
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // RFC 5737: an address that no machine has.
    let line = start_error(chat(["server", "192.0.2.1", "8081"]), "192.0.2.1:8081");
    assert!(line.contains("address"), "{line}");
}

#[test]
fn a_port_in_use_is_refused() {
    let occupant = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = occupant.local_addr().expect("a bound socket");
    let command = chat(["server", "127.0.0.1", &address.port().to_string()]);
    let line = start_error(command, &address.to_string());
    assert!(line.contains("in use"), "{line}");
}

#[test]
fn a_port_that_needs_privileges_is_refused() {
    const PRIVILEGED_PORT: u16 = 80;
    const NOBODY: u32 = 65534;
    let first_unprivileged: u16 =
        fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
            .ok()
            .and_then(|port| port.trim().parse().ok())
            .expect("a port number (ip(7))");
    let lack = format!("port {PRIVILEGED_PORT} needs no privileges on this machine");
    if !can_test(first_unprivileged > PRIVILEGED_PORT, lack) {
        return;
    }

    let folder = tempfile::tempdir().expect("a temporary folder");
    let everybody = Permissions::from_mode(0o755);
    fs::set_permissions(folder.path(), everybody).expect("our own folder");
    let binary = folder.path().join("chat");
    // A copy made by this process would be "text file busy" whenever another thread forks during
    // the copy.
    let copied = Command::new("cp").arg(CHAT).arg(&binary).status();
    assert!(copied.is_ok_and(|status| status.success()));
    let mut command = piped(Command::new(binary));
    command.args(["server", "127.0.0.1", &PRIVILEGED_PORT.to_string()]);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let line = start_error(command, "127.0.0.1:80");
    assert!(line.to_lowercase().contains("permission"), "{line}");
}

#[test]
fn a_new_server_may_take_over_the_port_at_once() {
    // No other test listens there: nobody can take the port in between.
    const IP: &str = "127.0.0.77";
    let mut first = Server::spawn(server_command(IP, &[]));
    let mut guest = first.join("127.0.0.2");
    first.signal(Signal::TERM);
    guest.expect_line("-- the room is closing");
    guest.expect_end();
    assert_eq!(first.exit_code(), 0);

    let port = first.address.port().to_string();
    let second = Server::spawn(chat(["server", IP, &port]));
    assert_eq!(second.address, first.address);
    second.join("127.0.0.2");
}

/// The one line in which a server says why it cannot start.
#[track_caller]
fn start_error(command: Command, address: &str) -> String {
    let finished = Process::spawn(command).finish();
    assert_eq!(finished.code, 1, "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    let mut lines = finished.stderr.lines();
    let line = lines.next().expect("one line");
    assert_eq!(lines.next(), None, "after {line:?}");
    let what_happened = line
        .strip_prefix(&format!("chat: cannot listen on {address}: "))
        .unwrap_or_else(|| panic!("{line:?} does not say what failed where"));
    what_happened.to_owned()
}

#[test]
fn a_pipe_without_a_writer_does_not_delay_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pipe = folder.path().join("motd");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let pipe = pipe.to_str().expect("a path of letters");
    for option in ["--motd", "--transcript"] {
        let finished = Process::spawn(server_command("127.0.0.1", &[option, pipe])).finish();
        assert_eq!(finished.code, 1, "{option}");
        let words = format!("{pipe} for {option}: no");
        assert!(finished.stderr.contains(&words), "{}", finished.stderr);
    }
}
