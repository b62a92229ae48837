//! The room at an IPv6 address, and at all addresses of both families.

use std::net::{SocketAddr, TcpListener};

use crate::common::can_test;
use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Process, chat_client};
use crate::common::server::{Server, server_command};

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
