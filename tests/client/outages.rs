//! The network fails between a client and its room: nothing is lost, and nothing is said twice.
//! Server and client are in network namespaces of their own, with a cable between them that the
//! test pulls.

use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getuid};

use crate::common::can_test;
use crate::common::process::{Process, chat_client, chat_to, run_by};
use crate::common::screen::Screen;
use crate::common::server::{Server, sociable_command};

const SERVER_IP: &str = "10.77.0.1";
const CLIENT_IP: &str = "10.77.0.2";

/// Two network namespaces and a cable. They are removed when this is dropped.
struct Network {
    server: String,
    client: String,
}

impl Network {
    /// `None` where the test may not have one.
    #[track_caller]
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !can_test(getuid().is_root(), "network namespaces need root") {
            return None;
        }
        let name = format!(
            "chat{}-{}",
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let network = Self {
            server: format!("{name}s"),
            client: format!("{name}c"),
        };
        let Self { server, client } = &network;
        let can = run(&format!("netns add {server}")) && run(&format!("netns add {client}"));
        if !can_test(can, "network namespaces are not possible here") {
            return None;
        }
        for command in [
            format!("-n {server} link add cable type veth peer name cable netns {client}"),
            format!("-n {server} address add {SERVER_IP}/24 dev cable"),
            format!("-n {client} address add {CLIENT_IP}/24 dev cable"),
            format!("-n {server} link set lo up"),
            format!("-n {client} link set lo up"),
            format!("-n {server} link set cable up"),
            format!("-n {client} link set cable up"),
        ] {
            assert!(run(&command), "ip {command}");
        }
        Some(network)
    }

    fn pull_cable(&self) {
        assert!(run(&format!("-n {} link set cable down", self.server)));
    }

    fn plug_in(&self) {
        assert!(run(&format!("-n {} link set cable up", self.server)));
    }

    /// A server on its side of the cable.
    #[track_caller]
    fn serve(&self, command: &Command) -> Server {
        let mut command = self.at_server(command);
        command.stdin(Stdio::null());
        Server::spawn(command)
    }

    /// `command` on the client's side.
    fn at_client(&self, command: &Command) -> Command {
        run_by(&["ip", "netns", "exec", &self.client], command)
    }

    /// `command` on the server's side.
    fn at_server(&self, command: &Command) -> Command {
        run_by(&["ip", "netns", "exec", &self.server], command)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.server, &self.client] {
            run(&format!("netns delete {name}"));
        }
    }
}

/// Whether ip(8) does it.
fn run(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments.split(' ')).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Bob, beside the server, and alice at a terminal across the cable.
struct Talk {
    network: Network,
    server: Server,
    bob: Process,
    /// High enough for all that is said.
    screen: Screen,
    _alice: Process,
    /// How many lines each has said.
    said: usize,
    /// How many of these each has heard of the other.
    heard: usize,
}

impl Talk {
    #[track_caller]
    fn begin() -> Option<Self> {
        let network = Network::new()?;
        let server = network.serve(&sociable_command(SERVER_IP, &["--no-presence"]));
        let options = ["--name", "bob", "--reconnect"];
        let command = network.at_server(&chat_to("client", server.address, &options));
        let mut bob = Process::spawn(command);
        while bob.stdout().next_line().expect("a greeting") != "-- you are now bob" {}
        let screen = Screen::new(100, 60);
        let mut command = chat_client(server.address);
        command.args(["--name", "alice"]);
        let mut talk = Self {
            _alice: screen.run(network.at_client(&command)),
            network,
            server,
            bob,
            screen,
            said: 0,
            heard: 0,
        };
        talk.screen.expect_last_row("alice>");
        talk.say();
        talk.expect_all();
        Some(talk)
    }

    /// Both say something.
    fn say(&mut self) {
        self.screen
            .type_keys(&format!("from alice {}\r", self.said));
        self.bob.type_line(&format!("from bob {}", self.said));
        self.said += 1;
    }

    /// Both talk for so long.
    fn talk_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.say();
            // What is tested is time: lines before, during and after what happens in it.
            thread::sleep(time / 6);
        }
    }

    /// Expects that each hears what the other has said, in order, once, within `patience`.
    #[track_caller]
    fn expect_all_within(&mut self, patience: Duration) {
        let last = format!("<bob> from bob {}", self.said - 1);
        self.screen
            .expect_within(patience, &last, |rows| rows.contains(&last));
        while self.heard < self.said {
            let line = self.bob.stdout().next_line().expect("what alice says");
            if line.starts_with("<alice>") {
                assert_eq!(line, format!("<alice> from alice {}", self.heard));
                self.heard += 1;
            }
        }
        // In the order of the room, alice has the answers to all her lines before this.
        let over = format!("over {}", self.said);
        self.bob.type_line(&over);
        self.screen.expect_row(&format!("<bob> {over}"));
        let rows = self.screen.rows();
        for prefix in ["<bob> from bob ", "<You> from alice "] {
            let shown = rows.iter().filter_map(|row| row.strip_prefix(prefix));
            let shown: Vec<String> = shown.map(str::to_owned).collect();
            let all: Vec<String> = (0..self.said).map(|number| number.to_string()).collect();
            assert_eq!(shown, all, "{rows:#?}");
        }
    }

    #[track_caller]
    fn expect_all(&mut self) {
        self.expect_all_within(Duration::from_secs(20));
    }
}

#[test]
fn a_cable_pulled_for_three_seconds_loses_nothing() {
    let Some(mut talk) = Talk::begin() else {
        return;
    };
    talk.network.pull_cable();
    talk.talk_for(Duration::from_secs(3));
    let late = format!("<You> from alice {} …", talk.said - 2);
    talk.screen.expect_row(&late);
    talk.network.plug_in();
    talk.expect_all();
    talk.screen.expect_last_row("alice>");
    assert!(!talk.screen.written().contains("not known"));
}

/// Longer than the client keeps a connection that takes nothing: it says again what the room has
/// not heard.
#[test]
#[ignore = "takes minutes"]
fn a_cable_pulled_for_longer_loses_nothing() {
    for seconds in [30, 150] {
        let Some(mut talk) = Talk::begin() else {
            return;
        };
        talk.network.pull_cable();
        talk.talk_for(Duration::from_secs(seconds));
        talk.screen.expect("that it is offline", |rows| {
            rows.last().is_some_and(|row| row.starts_with("[offline"))
        });
        println!("after {seconds} s:\n{}\n", talk.screen.rows().join("\n"));
        talk.network.plug_in();
        // The server takes two minutes to notice, and holds the session for another one.
        talk.expect_all_within(Duration::from_secs(60));
        assert!(!talk.screen.written().contains("not known"));
    }
}

#[test]
#[ignore = "takes a minute"]
fn a_server_that_is_stopped_and_continued_has_everything() {
    let Some(mut talk) = Talk::begin() else {
        return;
    };
    talk.server.stop();
    talk.talk_for(Duration::from_secs(30));
    // It is alive, as far as anybody can tell.
    talk.screen.expect("no loss", |rows| {
        rows.last()
            .is_some_and(|row| row.starts_with("[no answer for"))
    });
    talk.server.signal(Signal::CONT);
    talk.expect_all();
}
