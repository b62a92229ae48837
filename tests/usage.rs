//! The command line: what it prints about itself, and how it reports wrong usage.

mod common;

use std::env;
use std::fs;
use std::io;
use std::iter;
use std::path::PathBuf;
use std::process::Command;

use common::can_test_with;
use common::process::{Process, chat, piped, under_test};
use common::screen::Screen;

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
fn version_is_the_crates() {
    let finished = Process::spawn(chat(["--version"])).finish();
    assert_eq!(finished.code, 0);
    assert_eq!(
        finished.stdout,
        format!("chat {}\n", env!("CARGO_PKG_VERSION"))
    );
}

/// The commands that use a room.
const COMMANDS: [&str; 5] = ["server", "client", "send", "tail", "ping"];

#[test]
fn completions_cover_every_command() {
    for (shell, before, after) in [
        ("bash", "chat,", ")"),
        ("zsh", "\n'", ":"),
        (
            "fish",
            r#"complete -c chat -n "__fish_chat_needs_command" -f -a ""#,
            r#"""#,
        ),
    ] {
        let finished = Process::spawn(chat(["completions", shell])).finish();
        assert_eq!((finished.code, &finished.stderr[..]), (0, ""));
        for command in COMMANDS.iter().chain(&["completions", "man"]) {
            let told = format!("{before}{command}{after}");
            assert!(finished.stdout.contains(&told), "no {told} for {shell}");
        }
        assert!(finished.stdout.contains("no-reconnect"), "{shell}");
    }
}

/// A new home, in which ssh knows two hosts.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary folder");
    let known = "[roomsix.test]:2222,roomfive.test ssh-ed25519 AAAA\n";
    fs::create_dir(home.path().join(".ssh")).expect("a new folder");
    fs::write(home.path().join(".ssh/known_hosts"), known).expect("a new file");
    // A shell that may not complete this would still offer it.
    fs::write(home.path().join("rooms.txt"), "").expect("a new file");
    home
}

/// What is typed, and what Tab makes of it: a blank follows what is whole.
const COMPLETED: [(&str, &str); 6] = [
    ("chat cl", "chat client "),
    ("chat client roomf", "chat client roomfive.test "),
    ("chat client --no-rec", "chat client --no-reconnect "),
    ("chat send box roo", "chat send box roo"),
    (
        "chat tail box --time HH:MM:",
        "chat tail box --time HH:MM:SS ",
    ),
    (
        "chat stress box --plot roo",
        "chat stress box --plot rooms.txt ",
    ),
];

/// Types into `shell`, once `setup` has installed the completions.
#[track_caller]
fn complete_in(shell: &str, options: &[&str], setup: &str) {
    if !can_test_with(shell) {
        return;
    }
    let home = home();
    let mut screen = Screen::new(80, 24);
    let mut command = piped(Command::new(shell));
    command.args(options).current_dir(home.path());
    command.env("HOME", home.path()).env("CHAT", under_test());
    command.stderr(screen.side());
    let _shell = screen.run(command);
    screen.type_keys(&format!("{setup}; PS1='ready> '\n"));
    screen.expect_last_row("ready>");
    for (typed, completed) in COMPLETED {
        // What follows shows that Tab has been dealt with, also where it does nothing.
        screen.type_keys(&format!("{typed}\t#"));
        screen.expect_last_row(&format!("ready> {completed}#"));
        // Ctrl-U takes it back.
        screen.type_keys("\x15");
        screen.expect_last_row("ready>");
    }
}

#[test]
fn bash_completes_hosts_times_and_files() {
    let setup = r#"eval "$("$CHAT" completions bash)""#;
    complete_in("bash", &["--norc", "--noprofile", "-i"], setup);
}

#[test]
fn zsh_completes_hosts_times_and_files() {
    let setup = r#"mkdir -p ~/.zfunc; "$CHAT" completions zsh > ~/.zfunc/_chat; fpath+=~/.zfunc; autoload -Uz compinit; compinit -u"#;
    complete_in("zsh", &["-f", "-i"], setup);
}

#[test]
fn fish_completes_hosts_times_and_files() {
    if !can_test_with("fish") {
        return;
    }
    let home = home();
    let setup = r#"mkdir -p ~/.config/fish/completions
        $CHAT completions fish > ~/.config/fish/completions/chat.fish"#;
    // fish looks for completions of programs only.
    let program = PathBuf::from(under_test());
    let folder = program.parent().expect("a folder");
    let path = env::var_os("PATH").unwrap_or_default();
    let paths = iter::once(folder.to_owned()).chain(env::split_paths(&path));
    let path = env::join_paths(paths).expect("paths without a colon");
    let fish = |script: &str| {
        let mut command = piped(Command::new("fish"));
        command.args(["-c", script]).current_dir(home.path());
        command.env("HOME", home.path()).env("CHAT", under_test());
        command.env_remove("XDG_CONFIG_HOME").env("PATH", &path);
        Process::spawn(command).finish()
    };
    assert_eq!(fish(setup).code, 0);
    for (typed, completed) in COMPLETED {
        let offered = fish(&format!("complete -C {typed:?}")).stdout;
        let offered: Vec<&str> = offered.lines().collect();
        let last_word = completed.trim_end().rsplit(' ').next();
        if typed == completed {
            assert!(offered.is_empty(), "{typed}: {offered:?}");
        } else {
            let words = offered.iter().map(|line| line.split('\t').next());
            assert_eq!(words.collect::<Vec<_>>(), [last_word], "{typed}");
        }
    }
}

#[test]
fn the_manual_lists_every_command_and_has_a_page_for_each() {
    let page = Process::spawn(chat(["man"])).finish();
    assert_eq!((page.code, &page.stderr[..]), (0, ""));
    assert!(page.stdout.contains(".TH chat 1"), "{}", page.stdout);
    for command in COMMANDS {
        let title = format!("chat\\-{command}");
        assert!(page.stdout.contains(&format!("{title}(1)")), "{command}");
        let page = Process::spawn(chat(["man", command])).finish();
        assert_eq!((page.code, &page.stderr[..]), (0, ""));
        assert!(page.stdout.contains(&format!("{title} \\- ")), "{command}");
        assert!(page.stdout.contains(&format!(r"\fBchat {command}\fR")));
        let (_, notes) = page.stdout.split_once("\n.SH NOTES\n").expect("notes");
        let example = format!("\n  chat {command} ");
        assert!(notes.starts_with("Examples:"), "{command}: {notes}");
        assert!(notes.contains(&example), "{command}: {notes}");
        let has_codes = notes.contains("\nExit codes: 0 ");
        assert!(has_codes || command == "server", "{command}: {notes}");
    }
}

#[test]
fn output_may_be_cut_short() {
    for arguments in [&["man"][..], &["man", "client"], &["completions", "bash"]] {
        let (reading, output) = io::pipe().expect("a pipe");
        drop(reading);
        let mut command = chat(arguments);
        command.stdout(output);
        let mut program = Process::spawn(command);
        program.stderr().expect_end();
        assert_eq!(program.exit_code(), 0);
    }
}

/// Wrong command lines, and what the answer to each must contain.
const USAGE_ERRORS: &[(&str, &str)] = &[
    ("", "Usage"),
    ("serve", "serve"),
    ("--loud", "--loud"),
    ("server 8081 8082", "two ports, 8081 and 8082"),
    ("server 65536", "from 0 to 65535"),
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
    ("client 127.0.0.1:8081 8082", "two ports, 8081 and 8082"),
    ("client 127.0.0.1:0", "[HOST]"),
    ("client [::1 8081", "[HOST]"),
    ("client 127.0.0.1 chat", "chat"),
    ("client 127.0.0.1 0", "[PORT]"),
    ("client 127.0.0.1 65536", "65536"),
    ("client 127.0.0.1 8081 more", "more"),
    ("client 127.0.0.1 8081 --name", "--name"),
    ("client 127.0.0.1 8081 --name <bob>", "<bob>"),
    ("client 127.0.0.1 8081 --bell loud", "loud"),
    ("client 127.0.0.1 8081 --json --time HH:MM", "--time"),
    ("send", "<HOST>"),
    ("send 127.0.0.1 0", "write HOST:PORT"),
    ("send 127.0.0.1 8081 --name 127.0.0.2 hi", "127.0.0.2"),
    ("send 127.0.0.1 8081 --name hi/there hi", "hi/there"),
    ("send 127.0.0.1 8081 -x", "-x"),
    ("tail", "<HOST>"),
    ("tail 127.0.0.1:http", "[HOST]"),
    ("tail 127.0.0.1 8081 more", "more"),
    ("tail 127.0.0.1 8081 --name bob", "--name"),
    ("tail 127.0.0.1 8081 --bell never", "--bell"),
    ("tail 127.0.0.1 8081 --lines", "--lines"),
    ("tail 127.0.0.1 8081 --lines -1", "-1"),
    ("tail 127.0.0.1 8081 --lines few", "few"),
    ("tail 127.0.0.1 8081 --lines 1000001", "1000001"),
    ("tail 127.0.0.1 8081 --time noon", "noon"),
    ("tail 127.0.0.1 8081 --color maybe", "maybe"),
    ("tail 127.0.0.1 8081 --json --time HH:MM", "--time"),
    ("ping", "<HOST>"),
    ("ping 127.0.0.1 0", "[PORT]"),
    ("stress 127.0.0.1:8081 8082", "two ports, 8081 and 8082"),
    ("ping 127.0.0.1 8081 --timeout 0", "--timeout"),
    ("ping 127.0.0.1 8081 --timeout soon", "soon"),
    ("completions", "<SHELL>"),
    ("completions tcsh", "tcsh"),
    ("man nothing", "nothing"),
];

/// For example in a script whose variable is empty.
#[test]
fn an_empty_text_cannot_be_sent() {
    for words in [&[""][..], &["", ""]] {
        let arguments = [&["send", "127.0.0.1", "1"], words].concat();
        let finished = Process::spawn(chat(arguments)).finish();
        assert_eq!(finished.code, 2, "{}", finished.stderr);
        assert!(finished.stderr.contains("TEXT"), "{}", finished.stderr);
    }
}

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
