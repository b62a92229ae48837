//! A client that is stopped and continued (Ctrl-Z, then `fg`) goes on as before: the kernel
//! interrupts its poll with EINTR.

use rustix::process::Signal;

use crate::common::peer::WELCOME;
use crate::common::process::{Process, chat_client};
use crate::common::server::Server;

#[test]
fn a_stopped_client_goes_on_when_continued() {
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
