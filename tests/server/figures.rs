//! The server's statistics, on request and at exit.

use rustix::process::Signal;

use crate::common::peer::Peer;
use crate::common::server::Server;

/// Reads the next line of statistics.
#[track_caller]
fn next_figures(server: &mut Server) -> Figures {
    let line = server.stderr().next_line().expect("a line of figures");
    let figures = line.strip_prefix("chat: info: ").expect("a message");
    Figures(figures.to_owned())
}

struct Figures(String);

impl Figures {
    #[track_caller]
    fn get(&self, key: &str) -> u64 {
        let value = self.0.split(' ').find_map(|pair| {
            let (found, value) = pair.split_once('=')?;
            (found == key).then_some(value)
        });
        let value = value.unwrap_or_else(|| panic!("no {key} in {}", self.0));
        value.parse().expect("a number")
    }
}

#[test]
fn sigusr1_logs_one_line_and_exit_another() {
    let mut server = Server::with(&["--max-clients", "3", "--deny", "127.0.0.9"]);
    let alice = server.join("127.0.0.2");
    let [mut bob, mut carol] = ["127.0.0.3", "127.0.0.4"].map(|ip| server.join(ip));
    alice.send("one\ntwo\n");
    for reader in [&mut bob, &mut carol] {
        reader.expect_line("<127.0.0.2> one");
        reader.expect_line("<127.0.0.2> two");
    }
    for late in ["127.0.0.5", "127.0.0.9"] {
        let mut late = Peer::connect_from(late, server.address);
        assert!(late.next_line().is_some_and(|line| line.starts_with("!! ")));
    }
    bob.leave();

    server.signal(Signal::USR1);
    let figures = next_figures(&mut server);
    for (key, value) in [
        ("clients", 2),
        ("most", 3),
        ("joined", 3),
        ("lines_in", 2),
        ("bytes_in", 8),
        ("lines_out", 4),
        ("backlog_bytes", 0),
        ("paused", 0),
        ("dropped_stuck", 0),
        ("refused_full", 1),
        ("refused_denied", 1),
        ("refused_banned", 0),
    ] {
        assert_eq!(figures.get(key), value, "{key} in {}", figures.0);
    }

    alice.say("three");
    carol.expect_line("<127.0.0.2> three");
    server.signal(Signal::TERM);
    assert_eq!(next_figures(&mut server).get("lines_in"), 3);
    assert_eq!(server.exit_code(), 0);
    server.stderr().expect_end();
}

#[test]
fn a_client_that_speaks_another_protocol_is_counted() {
    let mut server = Server::start();
    let mut browser = server.join("127.0.0.2");
    browser.send("GET / HTTP/1.1\r\n\r\n");
    browser.expect_closed();
    server.signal(Signal::USR1);
    let figures = next_figures(&mut server);
    assert_eq!(
        (figures.get("dropped_protocol"), figures.get("clients")),
        (1, 0)
    );
}
