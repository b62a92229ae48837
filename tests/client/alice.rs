//! Alice, a user at a terminal, and what can happen to her.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use rustix::fs::OFlags;
use rustix::process::Signal;

use crate::common::peer::Peer;
use crate::common::process::{Process, chat, chat_client};
use crate::common::screen::Screen;
use crate::common::server::Server;

pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";

/// A room, another member, and alice's client at a terminal.
pub(crate) struct Alice {
    pub(crate) server: Server,
    /// From 127.0.0.2.
    pub(crate) reader: Peer,
    /// 60 columns wide.
    pub(crate) screen: Screen,
    /// The terminal before the client started.
    pub(crate) found: (String, OFlags),
    pub(crate) client: Process,
}

/// Waits until alice has her name.
#[track_caller]
pub(crate) fn alice_at_a_terminal(options: &[&str]) -> Alice {
    let server = Server::start();
    let reader = server.join("127.0.0.2");
    let mut screen = Screen::new(60, 24);
    let found = screen.state();
    let mut command = chat_client(server.address);
    command.args(["--name", "alice"]).args(options);
    let client = screen.run(command);
    screen.expect("the name, and the prompt", |rows| {
        let has_name = rows.iter().any(|row| row.ends_with("-- you are now alice"));
        has_name && rows.last().is_some_and(|row| row == "alice>")
    });
    Alice {
        server,
        reader,
        screen,
        found,
        client,
    }
}

/// A server played by the test, and a client on `screen` that is connected to it.
#[track_caller]
pub(crate) fn client_of_the_test_at(screen: &Screen, options: &[&str]) -> (Peer, Process) {
    Peer::serve(|address| {
        let mut command = chat_client(address);
        command.args(options);
        screen.run(command)
    })
}

/// Starts a server at the address of an earlier one.
#[track_caller]
pub(crate) fn restart(address: SocketAddr) -> Server {
    let mut command = chat([
        "server",
        &address.ip().to_string(),
        &address.port().to_string(),
    ]);
    command
        .args(["--no-presence", "--history=0"])
        .stdin(Stdio::null());
    Server::spawn(command)
}

/// Ends alice's server, and listens in its place.
#[track_caller]
pub(crate) fn lose_server(alice: &mut Alice) -> TcpListener {
    alice.server.signal(Signal::KILL);
    alice.server.wait();
    alice.screen.expect_last_row("[offline] alice>");
    TcpListener::bind(alice.server.address).expect("a port that is free again")
}

/// What a hello says to a client whose session is gone.
pub(crate) const NEW_SESSION: &str = r#""epoch":"new","resumed":false,"heard":0,"again":1"#;

/// Plays a server that has been started anew, and grants its client the name that it asks for.
#[track_caller]
pub(crate) fn let_in(server: &mut Peer, name: &str) {
    server.greet_with(NEW_SESSION);
    server.grant(1, name);
    has_no_past(server, 2);
}

/// Plays a server that is asked, in line `n`, for what was said before, and has nothing.
#[track_caller]
pub(crate) fn has_no_past(server: &mut Peer, n: u64) {
    server.expect_line("/last 500 0");
    server.say(&format!(r#"{{"kind":"reply","n":{n},"to":"last"}}"#));
}
