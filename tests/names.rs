//! Names, and what members ask the room for, over real sockets and over `nc`.

mod common;

use std::process::Command;

use common::peer::Peer;
use common::process::{Process, piped};
use common::server::Server;

/// Asks for a name, and gets it.
#[track_caller]
fn take_name(peer: &mut Peer, name: &str) {
    peer.say(&format!("/nick {name}"));
    peer.expect_line(&format!("-- you are {name} now"));
}

#[test]
fn a_name_stands_before_what_its_bearer_says() {
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
    for line in [
        "-- 2 here: 1 by name, 1 by address",
        "-- alice",
        "-- 127.0.0.3",
    ] {
        bob.expect_line(line);
    }
    alice.say("/quit");
    alice.expect_line("-- goodbye");
    alice.expect_end();
}

#[test]
fn nobody_passes_for_somebody_else() {
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
    ] {
        mallory.say(&format!("/nick {name}"));
        let answer = mallory.next_line().expect("an answer");
        assert!(answer.starts_with("!! "), "{name:?}: {answer}");
    }
    // Whatever it says, it is its own.
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
fn a_name_is_kept_for_who_loses_the_connection() {
    let server = Server::start();
    let [mut alice, mut bob] = ["127.0.0.2", "127.0.0.3"].map(|ip| server.join(ip));
    take_name(&mut alice, "alice");
    // Whoever returns before the room knows that the old connection is dead.
    let mut returned = server.join("127.0.0.2");
    returned.say("/nick alice");
    let answer = returned.next_line().expect("an answer");
    assert!(answer.starts_with("!! alice is taken, by a connection from your own"));
    alice.reset();
    returned.expect_line("-- you are alice now");
    // And whoever returns after that.
    returned.reset();
    bob.say("/nick alice");
    let mut answer = bob.next_line().expect("an answer");
    if answer == "!! alice is taken" {
        bob.say("/nick alice");
        answer = bob.next_line().expect("an answer");
    }
    assert!(answer.starts_with("!! alice is held"), "{answer}");
    take_name(&mut server.join("127.0.0.2"), "alice");
}

#[test]
fn nc_has_all_of_it() {
    let server = Server::sociable(&["--welcome", "Be kind."]);
    let nc = || {
        let mut command = Command::new("nc");
        let (ip, port) = (server.address.ip(), server.address.port());
        command.args([ip.to_string(), port.to_string()]);
        Process::spawn(piped(command))
    };
    if Command::new("nc").arg("-h").output().is_err() {
        println!("skipped: there is no nc here");
        return;
    }
    let mut alice = nc();
    for line in ["Welcome to this chatroom!", "-- Be kind."] {
        alice.stdout().expect_line(line);
    }
    alice.type_line("/nick alice");
    alice.stdout().expect_line("-- you are alice now");
    alice.stdout().expect_line("-- alice joined (1 here)");
    alice.type_line("is anybody here?");
    alice.type_line("/help");
    let help = alice.stdout().next_line().expect("help");
    assert!(help.starts_with("-- What you type is said"), "{help}");

    let mut bob = nc();
    for line in [
        "Welcome to this chatroom!",
        "-- Be kind.",
        "-- what was said last, moments ago:",
        "<alice> is anybody here?",
    ] {
        bob.stdout().expect_line(line);
    }
    bob.type_line("/nick Alice");
    let refusal = bob.stdout().next_line().expect("an answer");
    assert!(refusal.starts_with("!! Alice is taken"), "{refusal}");
    bob.type_line("/nick bob");
    bob.stdout().expect_line("-- you are bob now");
    bob.stdout().expect_line("-- bob joined (2 here)");
    bob.type_line("/msg alice here I am");
    bob.stdout().expect_line("-- sent to alice");
    bob.type_line("/quit");
    bob.stdout().expect_line("-- goodbye");
    // It waits for the end of its own input, too.
    bob.close_stdin();
    bob.stdout().expect_end();

    let mut rest = Vec::new();
    while rest.last().map(String::as_str) != Some("-- bob left (1 here)") {
        rest.push(alice.stdout().next_line().expect("bob leaves"));
    }
    assert!(
        rest.iter().any(|line| line == "[bob] here I am"),
        "{rest:?}"
    );
    assert!(
        rest.iter().any(|line| line == "-- bob joined (2 here)"),
        "{rest:?}"
    );
}
