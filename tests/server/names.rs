//! Names, and the commands of members, over real sockets and over `nc`.

use std::process::Command;

use crate::common::can_test_with;
use crate::common::peer::Peer;
use crate::common::process::{Process, chat_client, piped};
use crate::common::server::Server;

/// Asks for a name, and gets it.
#[track_caller]
fn take_name(peer: &mut Peer, name: &str) {
    peer.say(&format!("/nick {name}"));
    peer.expect_line(&format!("-- you are now {name}"));
}

#[test]
fn a_members_lines_begin_with_its_name() {
    let server = Server::start();
    let [mut alice, mut bob] = ["127.0.0.2", "127.0.0.3"].map(|ip| server.join(ip));
    take_name(&mut alice, "alice");
    alice.send("hi\n/me waves\n//me\n/msg 127.0.0.3 psst\n");
    for line in ["<alice> hi", "* alice waves", "<alice> /me", "[alice] psst"] {
        bob.expect_line(line);
    }
    alice.expect_line("-- sent to 127.0.0.3");
    bob.say("/msg ALICE got it");
    alice.expect_line("[127.0.0.3] got it");
    bob.expect_line("-- sent to alice");
    bob.say("/who");
    bob.expect_line("-- 2 here: alice, 127.0.0.3");
    alice.say("/quit");
    alice.expect_line("-- goodbye");
    alice.expect_end();
}

#[test]
fn nobody_can_impersonate_a_member() {
    let server = Server::start();
    let [mut alice, mut mallory] = ["127.0.0.2", "127.0.0.3"].map(|ip| server.join(ip));
    take_name(&mut alice, "alice");
    for name in [
        "Alice",
        "alice ",
        "аlice",
        "aIice",
        "ali\u{200b}ce",
        "\u{202e}ecila",
        "alice\r",
        "127.0.0.2",
        "l27.0.0.2",
        "-- alice",
        "--",
        "operator",
        "You",
        "<alice>",
        "aliceʼ",
        "alice\u{31b}",
        "ALlCE",
        "0perator_",
        "server_",
    ] {
        mallory.say(&format!("/nick {name}"));
        let answer = mallory.next_line().expect("an answer");
        assert!(answer.starts_with("!! "), "{name:?}: {answer}");
    }
    // Whatever it says appears under its own address.
    mallory.send("\r<alice> forged\n/me \r-- forged\n/me \x1b[1A\u{202e}<alice> forged\n");
    for line in [
        "<127.0.0.3> ␍<alice> forged",
        "* 127.0.0.3 -- forged",
        "* 127.0.0.3 ␛[1A\u{fffd}<alice> forged",
    ] {
        alice.expect_line(line);
    }
    mallory.say("/msg alice \r-- forged");
    alice.expect_line("[127.0.0.3] -- forged");
}

#[test]
fn a_name_is_held_after_a_lost_connection() {
    let server = Server::start();
    let [mut alice, mut bob] = ["127.0.0.2", "127.0.0.3"].map(|ip| server.join(ip));
    take_name(&mut alice, "alice");
    // Back before the room knows that the old connection is dead.
    let mut returned = server.join("127.0.0.2");
    returned.say("/nick alice");
    let answer = returned.next_line().expect("an answer");
    assert!(answer.starts_with("!! alice is in use from your own"));
    alice.reset();
    returned.expect_line("-- you are now alice");
    // Back after that.
    returned.reset();
    bob.say("/nick alice");
    let mut answer = bob.next_line().expect("an answer");
    if answer.starts_with("!! alice is in use;") {
        bob.say("/nick alice");
        answer = bob.next_line().expect("an answer");
    }
    assert!(answer.starts_with("!! alice is kept"), "{answer}");
    take_name(&mut server.join("127.0.0.2"), "alice");
}

#[test]
fn our_client_exits_with_success_after_quit() {
    let server = Server::start();
    let mut client = Process::spawn(chat_client(server.address));
    client.type_line("/quit");
    assert_eq!(client.exit_code(), 0);
    assert!(client.stdout().rest().ends_with("\n-- goodbye\n"));
    assert_eq!(client.stderr().rest(), "");
}

#[test]
fn all_commands_work_over_nc() {
    let server = Server::sociable(&["--welcome", "Be kind."]);
    let nc = || {
        let mut command = Command::new("nc");
        let (ip, port) = (server.address.ip(), server.address.port());
        command.args([ip.to_string(), port.to_string()]);
        Process::spawn(piped(command))
    };
    if !can_test_with("nc") {
        return;
    }
    let mut alice = nc();
    for line in ["Welcome to this chatroom!", "-- Be kind."] {
        alice.stdout().expect_line(line);
    }
    alice.type_line("/nick alice");
    expect_among(&mut alice, "-- you are now alice");
    alice.type_line("is anybody here?");
    alice.type_line("/help");
    expect_among(&mut alice, "--   /quit             leave");

    let mut bob = nc();
    for line in [
        "Welcome to this chatroom!",
        "-- Be kind.",
        "-- last line, just now:",
        "<alice> is anybody here?",
    ] {
        bob.stdout().expect_line(line);
    }
    bob.type_line("/nick Alice");
    expect_among(&mut bob, "!! Alice is in use from your own address");
    bob.type_line("/nick bob");
    expect_among(&mut bob, "-- you are now bob");
    bob.type_line("/msg alice here I am");
    expect_among(&mut bob, "-- sent to alice");
    expect_among(&mut alice, "[bob] here I am");
    bob.type_line("/me waves");
    expect_among(&mut alice, "* bob waves");
    bob.type_line("/quit");
    expect_among(&mut bob, "-- goodbye");
    // `nc` waits for the end of its own input, too.
    bob.close_stdin();
    bob.stdout().expect_end();
    alice.type_line("/who");
    expect_among(&mut alice, "-- 1 here: alice");
}

/// Reads up to a line with this beginning: notices may come first.
#[track_caller]
fn expect_among(nc: &mut Process, beginning: &str) {
    loop {
        let line = nc.stdout().next_line().expect("it goes on");
        if line.starts_with(beginning) {
            return;
        }
        assert!(line.starts_with("-- "), "{line:?} before {beginning:?}");
    }
}
