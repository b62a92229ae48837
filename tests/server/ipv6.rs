//! The room at an IPv6 address, and at all addresses of both families.

use std::net::{SocketAddr, TcpListener};

use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Process, chat_client};
use crate::common::server::{Server, server_command};
use crate::common::{can_test, shell_with_a_network};

#[test]
fn a_room_at_an_ipv6_address_says_how_to_join_it() {
    if !ipv6_works() {
        return;
    }
    let mut server = Server::spawn(server_command("::1", &[]));
    assert_eq!(server.address.ip().to_string(), "::1");
    server.skip_banner();

    let mut guest = Peer::connect(server.address);
    guest.expect_line(WELCOME);
    server.stdout().expect_line("::1 connected");
    let mut client = Process::spawn(chat_client(server.address));
    client.stdout().expect_line(WELCOME);

    guest.say("hello over IPv6");
    client.stdout().expect_line("<::1> hello over IPv6");
    client.type_line("hello again");
    guest.expect_line("<::1> hello again");
}

#[test]
fn a_room_at_every_address_shows_ipv4_peers_as_ipv4() {
    if !ipv6_works() {
        return;
    }
    let server = Server::spawn(server_command("::", &[]));
    let port = server.address.port();
    let over_ipv4 = join_at(&format!("127.0.0.1:{port}"));
    let mut over_ipv6 = join_at(&format!("[::1]:{port}"));

    over_ipv4.say("hello over IPv4");
    over_ipv6.expect_line("<127.0.0.1> hello over IPv4");
}

fn join_at(address: &str) -> Peer {
    let address: SocketAddr = address.parse().expect("an address");
    let mut peer = Peer::connect(address);
    peer.expect_line(WELCOME);
    peer
}

fn ipv6_works() -> bool {
    let works = TcpListener::bind("[::1]:0").is_ok();
    can_test(works, "this machine has no ::1")
}

/// The shell's own network, with a link-local address at `lo`.
const AT_LINK_LOCAL: &str = r#"
    ip -6 address add fe80::1/64 dev lo nodad || exit 9
    "$0" server fe80::1%lo 8081 --history=0 --no-presence </dev/null &
    read go
    "$0" send fe80::1%lo 8081 by name
    "$0" send '[fe80::1%1]' 8081 by number
    "$0" send fe80::1 8081 nowhere
    "$0" send fe80::1%missing 8081 nowhere
    "$0" server fe80::1%missing 8081
    kill $!
"#;

#[test]
fn a_link_local_address_has_its_interface() {
    let Some(mut shell) = shell_with_a_network(AT_LINK_LOCAL) else {
        return;
    };
    shell.stdout().expect_line("listening on [fe80::1%1]:8081");
    shell.stdout().expect_line("join with:");
    for program in ["chat client", "nc"] {
        let line = format!("  {program} fe80::1%INTERFACE 8081");
        shell.stdout().expect_line(&line);
    }
    shell.type_line("go");
    let finished = shell.finish();
    for said in ["<fe80::1> by name", "<fe80::1> by number"] {
        assert!(finished.stdout.contains(said), "{}", finished.stdout);
    }
    let errors = [
        "chat: cannot connect to fe80::1 port 8081: invalid argument \
         (a link-local address needs your network interface, as in fe80::1%eth0)",
        "chat: cannot connect to fe80::1%missing port 8081: this machine has no network \
         interface missing (ip -brief link lists them)",
        "chat: cannot listen on [fe80::1%missing]:8081: this machine has no network \
         interface missing (ip -brief link lists them)",
    ];
    let said = finished
        .stderr
        .lines()
        .filter(|line| !line.contains("clients="));
    assert_eq!(said.collect::<Vec<_>>(), errors);
}
