//! One room at several servers, over real nodes of NATS: machines apart, rooms apart; together
//! again, together again.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::nats::Node;
use crate::common::peer::{Peer, WELCOME};
use crate::common::server::{Server, server_command};

/// A server called `label` at `node`.
#[track_caller]
fn linked(node: &Node, label: &str, options: &[&str]) -> Server {
    let url = node.url();
    let link = ["--nats", &url, "--label", label];
    Server::with(&[&link[..], options].concat())
}

/// A server that is together with the others, and somebody there called `name`.
#[track_caller]
fn together(node: &Node, label: &str, name: &str) -> (Server, Peer) {
    let server = linked(node, label, &[]);
    let peer = await_together(&server, name);
    (server, peer)
}

/// Somebody called `name` who is at `server`, once that is together with the others.
#[track_caller]
fn await_together(server: &Server, name: &str) -> Peer {
    let mut peer = named(server.address, name);
    let other = server.join("127.0.0.9");
    // It is said when the stream has it.
    other.say("up");
    peer.expect_line("<127.0.0.9> up");
    other.leave();
    peer
}

#[track_caller]
fn named(at: SocketAddr, name: &str) -> Peer {
    let mut peer = Peer::connect(at);
    peer.expect_line(WELCOME);
    peer.say(&format!("/nick {name}"));
    peer.expect_line(&format!("-- you are now {name}"));
    peer
}

/// Reads until `line` comes.
#[track_caller]
fn skip_to(peer: &mut Peer, line: &str) {
    while peer.next_line().expect("a room that goes on") != line {}
}

/// Reads up to the next line that begins with `start`, and returns it.
#[track_caller]
fn await_line(peer: &mut Peer, start: &str) -> String {
    loop {
        let line = peer.next_line().expect("a room that goes on");
        if line.starts_with(start) {
            return line;
        }
    }
}

#[test]
fn people_at_two_servers_are_in_one_room() {
    let Some(node) = Node::start() else { return };
    let (_a, mut alice) = together(&node, "box-a", "alice");
    let (_b, mut bob) = together(&node, "box-b", "bob");
    skip_to(&mut alice, "<127.0.0.9@box-b> up");
    alice.say("hi");
    bob.expect_line("<alice@box-a> hi");
    bob.say("/me waves");
    alice.expect_line("* bob@box-b waves");
    alice.say("/msg bob@box-b psst");
    bob.expect_line("[alice@box-a] psst");
    alice.expect_line("-- sent to bob@box-b");
    alice.say("/msg carol@box-b psst");
    alice.expect_line("!! nobody at box-b is called carol; /who box-b lists them");
    alice.say("/who box-b");
    alice.expect_line("-- box-b: 1 here: bob");
    alice.say("/msg bob@box-c psst");
    alice.expect_line("!! bob@box-c cannot be reached; try again later");
}

#[test]
fn an_operator_is_heard_everywhere() {
    let Some(node) = Node::start() else { return };
    let (_a, mut alice) = together(&node, "box-a", "alice");
    let url = node.url();
    let mut command = server_command("127.0.0.1", &["--nats", &url, "--label", "box-b"]);
    command.stdin(Stdio::piped());
    let mut b = Server::spawn(command);
    let _bob = await_together(&b, "bob");
    b.type_line("tea is ready");
    skip_to(&mut alice, "-- operator@box-b: tea is ready");
}

#[test]
fn floods_of_two_servers_are_heard_in_one_order() {
    const LINES: usize = 2000;
    let Some(node) = Node::start() else { return };
    let (a, mut alice) = together(&node, "box-a", "alice");
    let (b, mut bob) = together(&node, "box-b", "bob");
    skip_to(&mut alice, "<127.0.0.9@box-b> up");
    let flooders = [
        (a.address, "anna"),
        (a.address, "abel"),
        (b.address, "bill"),
    ];
    let flooders = flooders.map(|(at, name)| named(at, name));
    let flooders = flooders.map(|peer| {
        thread::spawn(move || {
            let lines = (0..LINES).map(|n| format!("{n}\n"));
            peer.send(lines.collect::<String>());
            peer
        })
    });
    let hear_all = |peer: &mut Peer| -> Vec<String> {
        let lines = (0..3 * LINES).map(|_| peer.next_line().expect("a room that goes on"));
        let bare = lines.map(|line| line.replace("@box-a", "").replace("@box-b", ""));
        bare.collect()
    };
    let (at_a, at_b) = thread::scope(|scope| {
        let at_a = scope.spawn(|| hear_all(&mut alice));
        let at_b = scope.spawn(|| hear_all(&mut bob));
        (at_a.join().unwrap(), at_b.join().unwrap())
    });
    assert_eq!(at_a, at_b);
    for name in ["anna", "abel", "bill"] {
        let start = format!("<{name}> ");
        let own = at_a.iter().filter_map(|line| line.strip_prefix(&start));
        let expected = (0..LINES).map(|n| n.to_string());
        assert!(own.map(str::to_owned).eq(expected), "{name}");
    }
    for flooder in flooders {
        flooder.join().expect("it says all");
    }
}

#[test]
fn a_room_does_not_wait_for_a_node_at_its_start_and_is_together_later() {
    let Some(mut node) = Node::absent("") else {
        return;
    };
    let a = linked(&node, "box-a", &[]);
    let mut alice = Peer::connect(a.address);
    // Before that, or a moment later.
    skip_to(
        &mut alice,
        "-- the rooms are apart: only those on box-a hear you",
    );
    let bob = Peer::connect_from("127.0.0.2", a.address);
    bob.say("alone");
    alice.expect_line("<127.0.0.2> alone");
    node.run();
    alice.expect_line("-- together again");
    let (_b, carol) = together(&node, "box-b", "carol");
    carol.say("hi");
    skip_to(&mut alice, "<carol@box-b> hi");
}

/// With the words on the screens: a node that stops, and goes on after a while.
#[test]
fn people_are_told_that_the_others_do_not_answer_and_when_they_do_again() {
    let Some(node) = Node::start() else { return };
    let (_a, mut alice) = together(&node, "box-a", "alice");
    let (b, mut bob) = together(&node, "box-b", "bob");
    skip_to(&mut alice, "<127.0.0.9@box-b> up");
    let carol = named(b.address, "carol");
    node.process().stop();
    let stopped_at = Instant::now();
    carol.say("one");
    carol.say("two");
    bob.expect_line("-- one moment: the other rooms do not answer");
    assert!(stopped_at.elapsed() > Duration::from_millis(1900));
    bob.expect_line("<carol> one");
    assert!(stopped_at.elapsed() > Duration::from_millis(9900));
    bob.expect_line("<carol> two");
    bob.expect_line(
        "-- the rooms are apart: only those on box-b hear you; \
         the last 2 lines may not have been heard elsewhere",
    );
    carol.say("three");
    bob.expect_line("<carol> three");
    node.process().signal(Signal::CONT);
    let together = await_line(&mut bob, "-- together again");
    assert_eq!(together, "-- together again");
    carol.say("four");
    bob.expect_line("<carol> four");
    let heard = await_line(&mut alice, "<carol@box-b> four");
    assert_eq!(heard, "<carol@box-b> four");
}

#[test]
fn of_two_servers_with_one_label_the_second_says_why_it_is_alone() {
    let Some(node) = Node::start() else { return };
    let (_a, mut alice) = together(&node, "box-a", "alice");
    let mut second = linked(&node, "box-a", &[]);
    let warning = second.stderr().next_line().expect("a warning");
    assert!(
        warning.contains("choose another name with --label"),
        "{warning}"
    );
    let mut bob = second.join("127.0.0.2");
    let carol = second.join("127.0.0.3");
    carol.say("alone");
    skip_to(&mut bob, "<127.0.0.3> alone");
    alice.expect_nothing_new();
}

/// The configuration in the documentation, as it stands there.
#[test]
fn the_documented_permissions_pin_a_label_to_a_user() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/many-machines.md");
    let page = fs::read_to_string(page).expect("the documentation");
    let users = page
        .split("```")
        .find(|block| block.contains("# users.conf"));
    let users = users.expect("a block of that name");
    let users = users
        .strip_prefix("conf\n")
        .expect("a block of configuration");
    let Some(node) = Node::with(users) else {
        return;
    };
    let password = |user: &str| {
        let (_, after) = users
            .split_once(&format!("user: {user}, password: "))
            .unwrap();
        after.split([',', '\n']).next().unwrap().trim().to_owned()
    };
    let [of_a, of_b] = ["box-a", "box-b"].map(|user| {
        let text = format!("{user}\n{}\n", password(user));
        node.credentials(user, &text)
    });
    let a = linked(&node, "box-a", &["--nats-creds", &of_a]);
    let mut alice = await_together(&a, "alice");
    let b = linked(&node, "box-b", &["--nats-creds", &of_b]);
    let mut bob = await_together(&b, "bob");
    skip_to(&mut alice, "<127.0.0.9@box-b> up");
    alice.say("hi");
    bob.expect_line("<alice@box-a> hi");
    bob.say("/msg alice@box-a psst");
    alice.expect_line("[bob@box-b] psst");
    bob.expect_line("-- sent to alice@box-a");
    bob.say("/who box-a");
    bob.expect_line("-- box-a: 1 here: alice");
    // Another label than the user's is no use.
    let mut forger = linked(&node, "box-c", &["--nats-creds", &of_b]);
    let warning = forger.stderr().next_line().expect("a warning");
    assert!(warning.contains("Permissions Violation"), "{warning}");
    let wrong = node.credentials("wrong", "box-a\nnot the password\n");
    let mut refused = linked(&node, "box-d", &["--nats-creds", &wrong]);
    let warning = refused.stderr().next_line().expect("a warning");
    assert!(warning.contains("check --nats-creds"), "{warning}");
    alice.expect_nothing_new();
}
