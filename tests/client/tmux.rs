//! The client in a shell in tmux, which keeps what scrolls away and rewraps rows when it is
//! resized.

use std::process::{Command, Output};
use std::thread;
use std::time::Instant;

use tempfile::TempDir;

use crate::common::process::CHAT;
use crate::common::server::Server;
use crate::common::{LOOK_EVERY, PATIENCE, can_test_with, eventually, peer::Peer};

#[test]
fn the_client_is_stopped_and_continued_by_the_shell() {
    let Some(mut at) = Tmux::with_a_client() else {
        return;
    };
    at.press(&["half a line"]);
    at.expect_last_row("alice> half a line");
    for round in 0..2 {
        at.press(&["C-z"]);
        at.expect_prompt();
        at.assert_found_again();
        at.reader.say(&format!("round {round}"));
        at.press(&["fg", "Enter"]);
        at.expect_rows(&[&format!("<127.0.0.2> round {round}"), "alice> half a line"]);
    }
    at.press(&["Enter"]);
    at.reader.expect_line("<alice> half a line");
}

#[test]
fn a_client_that_a_script_runs_is_stopped_and_ended_with_it() {
    let Some(at) = Tmux::with_a_client() else {
        return;
    };
    at.press(&["C-d"]);
    at.expect_prompt();
    let port = at.server.address.port();
    let script =
        format!("sh -c '{CHAT} client --no-time 127.0.0.1 {port} --name alice; echo went on'");
    at.press(&[&script, "Enter"]);
    at.expect_last_row("alice>");
    at.press(&["C-z"]);
    at.expect_prompt();
    at.press(&["fg", "Enter"]);
    at.expect_last_row("alice>");
    at.press(&["C-c"]);
    at.expect_prompt();
    assert!(
        !at.rows().contains(&"went on".to_owned()),
        "{:?}",
        at.rows()
    );
}

#[test]
fn a_client_in_the_background_waits_there_and_can_be_ended() {
    let Some(at) = Tmux::with_a_client() else {
        return;
    };
    at.press(&["C-z"]);
    at.expect_prompt();
    at.continue_in_background();
    at.press(&["fg", "Enter"]);
    at.expect_last_row("alice>");
    at.press(&["half"]);
    at.expect_last_row("alice> half");
    at.press(&["C-z"]);
    at.expect_prompt();
    at.continue_in_background();
    // A stopped process ends only once it is continued. A shell's `wait` also returns for a job
    // that has stopped again, but not with an exit code.
    at.press(&["kill %1; bg; wait %1; echo code $?", "Enter"]);
    at.expect("its end", |rows| rows.iter().any(|row| row == "code 143"));
    at.assert_found_again();
}

#[test]
fn every_way_out_leaves_the_terminal_as_it_was() {
    for (keys, code) in [
        (&["C-d"][..], 0),
        (&["/quit", "Enter"], 0),
        (&["half", "C-c"], 130),
        (&["C-\\"], 131),
    ] {
        let Some(at) = Tmux::with_a_client() else {
            return;
        };
        at.press(keys);
        at.expect_shell(code);
        at.assert_found_again();
    }
    let Some(at) = Tmux::with_a_client() else {
        return;
    };
    at.press(&["half"]);
    at.server.signal(rustix::process::Signal::KILL);
    at.expect("the loss", |rows| {
        rows.last()
            .is_some_and(|row| row == "[offline] alice> half")
    });
    at.press(&["C-u", "C-d"]);
    at.expect_shell(0);
    at.assert_found_again();
}

#[test]
fn scrollback_holds_the_lines_and_no_prompt() {
    const MESSAGES: usize = 1000;
    let Some(at) = Tmux::with_a_client() else {
        return;
    };
    at.press(&["half a 世界 line"]);
    for number in 0..MESSAGES {
        at.reader.say(&format!("message {number}"));
    }
    let last = format!("<127.0.0.2> message {}", MESSAGES - 1);
    at.expect_rows(&[&last, "alice> half a 世界 line"]);
    let all = at.tmux(&["capture-pane", "-p", "-S", "-"]);
    let all = String::from_utf8_lossy(&all.stdout).into_owned();
    let messages: Vec<&str> = all
        .lines()
        .filter(|row| row.starts_with("<127.0.0.2>"))
        .collect();
    assert_eq!(messages.len(), MESSAGES);
    assert!(
        (messages.iter().enumerate()).all(|(n, row)| *row == format!("<127.0.0.2> message {n}"))
    );
    assert_eq!(all.matches("alice> half").count(), 1, "{all}");
}

#[test]
fn a_terminal_that_rewraps_rows_keeps_one_prompt() {
    let Some(mut at) = Tmux::with_a_client() else {
        return;
    };
    let line = "a line that is long enough to be broken at the width of a phone";
    at.press(&[line]);
    for columns in [40, 100, 25, 60, 80] {
        at.tmux(&["resize-window", "-x", &columns.to_string(), "-y", "24"]);
        // The client leaves the last column to the cursor.
        let typed: Vec<char> = format!("alice> {line}").chars().collect();
        let typed = typed.chunks(columns - 1).map(String::from_iter);
        let typed: Vec<String> = typed.map(|row| row.trim_end().to_owned()).collect();
        let is_drawn = |rows: &[String]| {
            let is_prompt = |row: &&String| row.starts_with("alice>");
            rows.ends_with(&typed) && rows.iter().filter(is_prompt).count() == 1
        };
        at.expect("one prompt, broken as it should be", is_drawn);
        let said = format!("{columns} columns");
        at.reader.say(&said);
        at.expect("the message above it", |rows| {
            let above = &rows[..rows.len() - typed.len().min(rows.len())];
            is_drawn(rows) && above.last() == Some(&format!("<127.0.0.2> {said}"))
        });
    }
    at.press(&["Enter"]);
    at.reader.expect_line(&format!("<alice> {line}"));
}

#[test]
fn pasted_text_is_sent_on_enter() {
    const LINES: usize = 200;
    let Some(mut at) = Tmux::with_a_client() else {
        return;
    };
    let block: String = (0..LINES)
        .map(|number| format!("line {number}\n"))
        .collect();
    at.tmux(&["set-buffer", &block]);
    at.tmux(&["paste-buffer", "-p"]);
    at.expect_last_row(&format!("line {}", LINES - 1));
    // If any of it had been said, that would be heard before the answer.
    at.reader.say("/who");
    at.reader.expect_line("-- 2 here: alice, 127.0.0.2");
    at.press(&["Enter"]);
    for number in 0..LINES {
        at.reader.expect_line(&format!("<alice> line {number}"));
    }
    at.expect_rows(&[&format!("<You> line {}", LINES - 1), "alice>"]);
}

/// A server, another member (from 127.0.0.2), and alice's client in a shell in tmux.
struct Tmux {
    server: Server,
    reader: Peer,
    /// Holds tmux's socket, and what the shell writes.
    folder: TempDir,
}

impl Tmux {
    /// 80 columns, 24 rows; `None` without tmux.
    #[track_caller]
    fn with_a_client() -> Option<Self> {
        if !can_test_with("tmux") {
            return None;
        }
        let server = Server::start();
        let at = Self {
            reader: server.join("127.0.0.2"),
            server,
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        at.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "sh",
        ]);
        let port = at.server.address.port();
        let before = at.folder.path().join("before");
        at.press(&[
            &format!("PS1='$ '; clear; stty -a > {}; ", before.display()),
            &format!("{CHAT} client --no-time 127.0.0.1 {port} --name alice"),
            "Enter",
        ]);
        at.expect("the name, and the prompt", |rows| {
            rows.ends_with(&["-- you are now alice".to_owned(), "alice>".to_owned()])
        });
        Some(at)
    }

    fn tmux(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command
            .env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .arg("-u");
        command.arg("-S").arg(self.folder.path().join("socket"));
        command.args(arguments).output().expect("tmux")
    }

    /// Presses keys and types words, in tmux's notation.
    fn press(&self, keys: &[&str]) {
        let arguments = [&["send-keys"], keys].concat();
        self.tmux(&arguments);
    }

    /// The rows that are not empty.
    fn rows(&self) -> Vec<String> {
        let shown = self.tmux(&["capture-pane", "-p"]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let rows = shown.lines().map(|row| row.trim_end().to_owned());
        rows.filter(|row| !row.is_empty()).collect()
    }

    #[track_caller]
    fn expect(&self, what: &str, is_so: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows();
            if is_so(&rows) {
                return;
            }
            let shown = rows.join("\n");
            assert!(
                Instant::now() < deadline,
                "waited too long for {what}; shown is:\n{shown}\n"
            );
            // tmux gives no event when a screen changes.
            thread::sleep(LOOK_EVERY);
        }
    }

    #[track_caller]
    fn expect_rows(&self, last: &[&str]) {
        self.expect(&format!("{last:?}"), |rows| {
            rows.len() >= last.len() && rows[rows.len() - last.len()..].iter().eq(last)
        });
    }

    #[track_caller]
    fn expect_last_row(&self, row: &str) {
        self.expect_rows(&[row]);
    }

    /// Waits for the shell's prompt.
    #[track_caller]
    fn expect_prompt(&self) {
        self.expect_last_row("$");
    }

    /// Waits until the client has ended with `code`.
    #[track_caller]
    fn expect_shell(&self, code: i32) {
        self.expect("the shell", |rows| {
            rows.last().is_some_and(|row| row == "$")
        });
        self.press(&["echo code $?", "Enter"]);
        let ended = format!("code {code}");
        self.expect(&ended, |rows| {
            rows.contains(&ended) && rows.last().is_some_and(|row| row == "$")
        });
    }

    /// Continues the stopped client in the background, and waits until it has stopped itself
    /// again.
    #[track_caller]
    fn continue_in_background(&self) {
        let jobs = self.folder.path().join("jobs").display().to_string();
        let again = format!("bg; until jobs > {jobs}; grep -q Stopped {jobs}; do :; done; clear");
        self.press(&[&again, "Enter"]);
        self.expect("a clear screen", |rows| rows == ["$"]);
    }

    /// Expects the terminal modes from before the client started.
    #[track_caller]
    fn assert_found_again(&self) {
        let after = self.folder.path().join("after");
        let done = self.folder.path().join("done");
        self.press(&[
            &format!("stty -a > {}; : > {}", after.display(), done.display()),
            "Enter",
        ]);
        eventually("stty to end", || done.exists().then_some(()));
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name));
        let (before, after) = (read("before"), read("after"));
        assert_eq!(before.expect("written first"), after.expect("just written"));
        std::fs::remove_file(done).expect("just made");
        self.press(&["clear", "Enter"]);
        self.expect("a clear screen", |rows| rows == ["$"]);
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}
