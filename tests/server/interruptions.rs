//! A server that is stopped and continued (Ctrl-Z, then `fg`) goes on as before: the kernel
//! interrupts its poll with EINTR.

use rustix::process::Signal;

use crate::common::server::Server;

#[test]
fn a_stopped_server_goes_on_when_continued() {
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
