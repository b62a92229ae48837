//! The bots of docs/bots.md, as they stand there.

use std::fs;

use tempfile::TempDir;

use crate::common::can_test_with;
use crate::common::process::{Process, piped};
use crate::common::server::Server;

#[test]
fn the_clock_in_shell_answers() {
    if can_test_with("nc") && can_test_with("jq") {
        let answer = ask("sh", "clock", "!time");
        assert!(answer.starts_with("<clock> 127.0.0.2: it is "), "{answer}");
        assert!(answer.ends_with(" UTC"), "{answer}");
    }
}

#[test]
fn the_dice_in_python_answer() {
    if can_test_with("python3") {
        let answer = ask("python", "dice", "!roll");
        assert!(answer.starts_with("<dice> 127.0.0.2 rolls "), "{answer}");
    }
}

/// Runs the bot in `language`, which takes `name`, and returns its answer to `question`.
#[track_caller]
fn ask(language: &str, name: &str, question: &str) -> String {
    let server = Server::sociable(&[]);
    let folder = TempDir::new().expect("a folder");
    let script = folder.path().join("bot");
    fs::write(&script, bot_in(language)).expect("a file");
    let program = if language == "sh" { "sh" } else { "python3" };
    let mut command = std::process::Command::new(program);
    let (ip, port) = (server.address.ip(), server.address.port());
    command
        .arg(&script)
        .args([ip.to_string(), port.to_string()]);
    let mut listener = server.join("127.0.0.3");
    let _bot = Process::spawn(piped(command));
    let mut line_with = |words: &str| -> String {
        let mut lines = std::iter::from_fn(|| listener.next_line());
        lines
            .find(|line| line.contains(words))
            .expect("a line of the room")
    };
    line_with(&format!("{name} "));
    server.join("127.0.0.2").say(question);
    line_with(&format!("<{name}> "))
}

/// The block of code in `language`.
fn bot_in(language: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/bots.md");
    let page = fs::read_to_string(path).expect("it is part of the project");
    let (_, code) = page
        .split_once(&format!("```{language}\n"))
        .expect("a block");
    let (code, _) = code.split_once("```").expect("its end");
    assert!(code.lines().count() <= 25, "a bot is short");
    code.to_owned()
}
