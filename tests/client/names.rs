//! Under which name one comes into a room.

use std::process::Command;

use crate::common::process::{Process, chat_client};
use crate::common::screen::Screen;
use crate::common::server::Server;

/// A client at a terminal, to which the environment says this.
fn client_of(server: &Server, variables: &[(&str, &str)], options: &[&str]) -> (Screen, Process) {
    let screen = Screen::new(80, 24);
    let mut command: Command = chat_client(server.address);
    command.envs(variables.iter().copied()).args(options);
    let client = screen.run(command);
    (screen, client)
}

#[test]
fn at_a_terminal_one_has_ones_login_name() {
    let server = Server::sociable(&[]);
    let (mut first, _client) = client_of(&server, &[("USER", "alice")], &[]);
    // Then newcomers are told that she is here.
    first.expect_row("-- alice joined (1 here)");
    let (mut second, _client) = client_of(&server, &[("LOGNAME", "alice")], &[]);
    second.expect_last_row("alice2>");
    first.read_rest();
    let rows = first.rows().concat();
    assert!(!rows.contains("asked for your name"), "{rows}");
    second.assert_told_once("-- you are now alice2");
    let rows = second.rows();
    assert!(!rows.iter().any(|row| row.starts_with("!!")), "{rows:#?}");
}

#[test]
fn options_and_chat_name_go_before_the_login_name() {
    let server = Server::start();
    let login = ("USER", "alice");
    for (variables, options, prompt) in [
        (
            &[login, ("CHAT_NAME", "Anna Maria")][..],
            &[][..],
            "Anna_Maria>",
        ),
        (&[login, ("CHAT_NAME", "anna")], &["--name", "bob"], "bob>"),
        (&[login, ("CHAT_NAME", "anna")], &["--no-name"], ">"),
        (&[("USER", "root")], &[], ">"),
        (&[], &[], ">"),
    ] {
        let (mut screen, _client) = client_of(&server, variables, options);
        screen.expect_last_row(prompt);
        screen.expect_row("Welcome to this chatroom!");
        screen.type_keys("/who\r");
        screen.expect("an answer", |rows| {
            rows.iter().any(|row| row.contains(" here: "))
        });
        screen.expect_last_row(prompt);
    }
}

#[test]
fn in_a_pipe_one_has_a_name_only_for_the_asking() {
    let server = Server::start();
    let mut command = chat_client(server.address);
    command.env("USER", "alice").env("CHAT_NAME", "anna");
    let mut client = Process::spawn(command);
    client.type_line("/who");
    client.close_stdin();
    let finished = client.finish();
    assert!(finished.stdout.contains("127.0.0.1"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("you are"), "{}", finished.stdout);
}

/// The room says which name would do.
#[test]
fn a_name_with_a_space_is_answered_with_one_that_would_do() {
    let server = Server::start();
    let (mut screen, _client) = client_of(&server, &[], &[]);
    screen.expect_last_row(">");
    screen.type_keys("/nick Anna Maria\r");
    screen.expect_row("!! a name cannot have spaces: /nick Anna_Maria");
}
