//! The command line: what it tells of itself, and what it says to one that makes
//! no sense.

mod common;

use common::process::{Process, chat};

#[test]
fn help_shows_the_defaults() {
    let finished = Process::spawn(chat(["server", "--help"])).finish();
    assert_eq!(finished.code, 0);
    assert_eq!(finished.stderr, "");
    let help = finished.stdout;
    for text in [
        "--max-clients",
        "[default: 20000]",
        "--max-line",
        "[default: 4096]",
    ] {
        assert!(help.contains(text), "no {text} in:\n{help}");
    }
}

#[test]
fn version_is_the_crate_s() {
    let finished = Process::spawn(chat(["--version"])).finish();
    assert_eq!(finished.code, 0);
    assert_eq!(
        finished.stdout,
        format!("chat {}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// Command lines that make no sense, and what of each the answer must name.
const USAGE_ERRORS: &[(&str, &str)] = &[
    ("", "Usage"),
    ("serve", "serve"),
    ("--loud", "--loud"),
    ("server", "<IP>"),
    ("server 127.0.0.1", "<PORT>"),
    ("server 127.0.0.1 http", "http"),
    ("server 127.0.0.1 65536", "65536"),
    ("server 127.0.0.1 -1", "-1"),
    ("server 127.0.0.1 8081 more", "more"),
    ("server 127.0.0.256 8081", "127.0.0.256"),
    ("server localhost 8081", "localhost"),
    ("server 127.0.0.1 8081 --loud", "--loud"),
    ("server 127.0.0.1 8081 --max-clients", "--max-clients"),
    ("server 127.0.0.1 8081 --max-clients 0", "--max-clients"),
    ("server 127.0.0.1 8081 --max-clients many", "many"),
    ("server 127.0.0.1 8081 --max-per-ip 0", "--max-per-ip"),
    ("server 127.0.0.1 8081 --allow", "--allow"),
    ("server 127.0.0.1 8081 --allow box.lan", "box.lan"),
    ("server 127.0.0.1 8081 --deny 10.0.0.0/33", "10.0.0.0/33"),
    ("server 127.0.0.1 8081 --max-line 0", "--max-line"),
    ("server 127.0.0.1 8081 --max-line -5", "-5"),
    ("server 127.0.0.1 8081 --max-line 4k", "4k"),
    ("client", "<HOST>"),
    ("client 127.0.0.1", "<PORT>"),
    ("client 127.0.0.1 chat", "chat"),
    ("client 127.0.0.1 0", "<PORT>"),
    ("client 127.0.0.1 65536", "65536"),
    ("client 127.0.0.1 8081 more", "more"),
];

#[test]
fn usage_errors_name_what_is_wrong() {
    for (arguments, culprit) in USAGE_ERRORS {
        let finished = Process::spawn(chat(arguments.split_whitespace())).finish();
        let said = &finished.stderr;
        assert_eq!(finished.code, 2, "{arguments:?}: {said}");
        assert_eq!(finished.stdout, "", "{arguments:?}");
        assert!(said.contains(culprit), "{arguments:?}: {said}");
        assert!(said.contains("--help"), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
}
