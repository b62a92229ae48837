//! An idle client takes no CPU, and has one thread.

use crate::common::peer::WELCOME;
use crate::common::process::{Process, chat_client};
use crate::common::screen::Screen;
use crate::common::server::Server;

#[test]
fn an_idle_client_takes_no_cpu() {
    let server = Server::start();
    let mut client = Process::spawn(chat_client(server.address));
    client.stdout().expect_line(WELCOME);
    client.expect_idle();
}

#[test]
fn a_client_has_one_thread_in_a_pipe_and_at_a_terminal() {
    let server = Server::start();
    let mut in_a_pipe = Process::spawn(chat_client(server.address));
    in_a_pipe.stdout().expect_line(WELCOME);
    in_a_pipe.type_line("hello");
    in_a_pipe.stdout().expect_line("<You>hello");
    assert_eq!(in_a_pipe.threads(), 1);

    let mut screen = Screen::new(80, 24);
    let at_a_terminal = screen.run(chat_client(server.address));
    screen.expect_last_row(">");
    screen.type_keys("hello\r");
    screen.expect_row("<You> hello");
    assert_eq!(at_a_terminal.threads(), 1);
}
