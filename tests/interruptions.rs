//! A program that is stopped and continued (Ctrl-Z, then `fg`) goes on as if
//! nothing had been: the kernel interrupts its waiting with EINTR.

mod common;

use rustix::process::Signal;

use common::peer::WELCOME;
use common::process::{Process, chat_client};
use common::server::Server;

#[test]
fn a_server_goes_on_after_it_was_stopped() {
    let server = Server::start();
    let alice = server.join("127.0.0.2");
    let mut bob = server.join("127.0.0.3");

    server.stop();
    alice.say("are you asleep?");
    server.signal(Signal::CONT);
    bob.expect_line("<127.0.0.2> are you asleep?");

    server.stop();
    server.signal(Signal::CONT);
    alice.say("and again");
    bob.expect_line("<127.0.0.2> and again");
}

#[test]
fn a_client_goes_on_after_it_was_stopped() {
    let server = Server::start();
    let mut peer = server.join("127.0.0.2");
    let mut client = Process::spawn(chat_client(server.address));
    client.stdout().expect_line(WELCOME);

    client.stop();
    peer.say("are you asleep?");
    client.type_line("not any more");
    client.signal(Signal::CONT);
    peer.expect_line("<127.0.0.1> not any more");

    let mut shown = [client.stdout().next_line(), client.stdout().next_line()];
    shown.sort();
    assert_eq!(
        shown.each_ref().map(Option::as_deref),
        [
            Some("<127.0.0.2> are you asleep?"),
            Some("<You>not any more")
        ]
    );
    client.stop();
    client.signal(Signal::CONT);
    client.close_stdin();
    assert_eq!(client.exit_code(), 0);
}
