//! The transcript: what the room says, in a file.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;
use tempfile::TempDir;

use chat::server::line_sink::LINE_BACKLOG_BYTES;

use crate::common::PATIENCE;
use crate::common::lines::LineReader;
use crate::common::peer::Peer;
use crate::common::process::{CHAT, piped};
use crate::common::server::Server;

fn start(path: &Path) -> Server {
    let path = path.to_str().expect("a path of letters");
    Server::with(&["--transcript", path])
}

/// `speaker` says `line`, and `listener` hears it.
#[track_caller]
fn say(speaker: &Peer, listener: &mut Peer, line: &str) {
    speaker.say(line);
    listener.expect_line(&format!("<127.0.0.2> {line}"));
}

/// The lines of a transcript, without their times, which are checked.
#[track_caller]
fn lines_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a transcript");
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let line = |line: &str| {
        let (time, said) = line.split_once(' ').expect("a time and a line");
        let written: Timestamp = time.parse().expect("a time of RFC 3339");
        let age = Timestamp::now().duration_since(written);
        assert!(age.as_secs() <= 60 && age.as_secs() >= 0, "{line}");
        said.to_owned()
    };
    text.lines().map(line).collect()
}

#[test]
fn public_lines_are_appended_and_nothing_else() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("room.log");
    for run in 1..=2 {
        let mut server = start(&path);
        let speaker = server.join("127.0.0.2");
        let mut listener = server.join("127.0.0.3");
        say(&speaker, &mut listener, "hi");
        speaker.say("/msg 127.0.0.3 psst");
        listener.expect_line("[127.0.0.2] psst");
        speaker.say("/me waves");
        listener.expect_line("* 127.0.0.2 waves");
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), 0);
        let once = [
            "<127.0.0.2> hi",
            "* 127.0.0.2 waves",
            "-- the room is closing",
        ];
        assert_eq!(lines_of(&path), once.repeat(run));
    }
}

#[test]
fn a_room_remembers_what_was_said_before_a_restart() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("room.log");
    let options = ["--no-presence", "--history=3", "--transcript"];
    let options = [&options[..], &[path.to_str().expect("a path of letters")]].concat();
    let mut server = Server::sociable(&options);
    let speaker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    for line in ["one", "two", "three", "four"] {
        say(&speaker, &mut listener, line);
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    // A machine that goes down leaves half a line.
    let mut file = File::options().append(true).open(&path).expect("a file");
    file.write_all(b"2026-11-25T15:54:07+01:00 <127.0.0.2> to")
        .expect("a file");

    let mut server = Server::sociable(&options);
    let mut newcomer = server.join("127.0.0.3");
    let heading = "-- last 3 lines, latest just now:";
    newcomer.expect_line(heading);
    for line in ["two", "three", "four"] {
        newcomer.expect_line(&format!("<127.0.0.2> {line}"));
    }
    let speaker = server.join("127.0.0.2");
    say(&speaker, &mut newcomer, "five");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    let text = fs::read_to_string(&path).expect("a transcript");
    assert!(text.contains("<127.0.0.2> to…\n"), "{text}");
    assert!(text.contains(" <127.0.0.2> five\n"), "{text}");
}

#[test]
fn sighup_reopens_the_file() {
    let folder = TempDir::new().expect("a folder");
    let [path, moved] = ["room.log", "room.log.1"].map(|name| folder.path().join(name));
    let mut server = start(&path);
    let speaker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    say(&speaker, &mut listener, "before");
    fs::rename(&path, &moved).expect("a file");
    say(&speaker, &mut listener, "meanwhile");
    server.signal(Signal::HUP);
    let deadline = std::time::Instant::now() + PATIENCE;
    while !path.exists() {
        assert!(std::time::Instant::now() < deadline, "no new file");
        say(&speaker, &mut listener, "still");
    }
    say(&speaker, &mut listener, "after");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    let old = lines_of(&moved);
    assert_eq!(old[..2], ["<127.0.0.2> before", "<127.0.0.2> meanwhile"]);
    let new = lines_of(&path);
    assert_eq!(
        new[new.len() - 2..],
        ["<127.0.0.2> after", "-- the room is closing"]
    );
}

#[test]
fn a_transcript_that_cannot_be_moved_at_its_bound_does_not_stop_the_room() {
    let folder = TempDir::new().expect("a folder");
    let [path, moved] = ["room.log", "room.log.1"].map(|name| folder.path().join(name));
    fs::create_dir(&moved).expect("a folder");
    let path = path.to_str().expect("a path of letters");
    let mut server = Server::with(&["--transcript", path, "--transcript-max", "16K"]);
    let speaker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    let long = "x".repeat(4000);
    for _ in 0..8 {
        say(&speaker, &mut listener, &long);
    }
    let warning = server.stderr().next_line().expect("a warning");
    assert!(warning.contains("room.log: cannot move it to"), "{warning}");
    assert_eq!(lines_of(Path::new(path)).len(), 4);
    fs::remove_dir(&moved).expect("a folder");
    say(&speaker, &mut listener, "and on");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    assert_eq!(lines_of(&moved).len(), 4);
    // The four that waited, and these.
    let last = ["<127.0.0.2> and on", "-- the room is closing"];
    assert_eq!(lines_of(Path::new(path))[4..], last);
}

#[test]
fn a_full_disk_does_not_stop_the_room() {
    let mut server = start(Path::new("/dev/full"));
    let speaker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    let long = "x".repeat(4000);
    for _ in 0..200 {
        say(&speaker, &mut listener, &long);
    }
    let warning = server.stderr().next_line().expect("a warning");
    assert!(warning.contains("/dev/full"), "{warning}");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn an_unread_pipe_does_not_stop_the_room_and_lost_lines_are_counted() {
    const LINE_BYTES: usize = 4000;
    // More than a pipe and the backlog hold.
    const LINES: usize = (LINE_BACKLOG_BYTES + 1024 * 1024) / LINE_BYTES;
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("room.pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    // Opened without waiting for the server to write.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let pipe = rustix::fs::open(&path, flags, Mode::empty()).expect("a pipe");
    let server = start(&path);
    let speaker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    let long = "x".repeat(LINE_BYTES);
    for _ in 0..LINES {
        say(&speaker, &mut listener, &long);
    }
    let mut pipe = LineReader::new(File::from(pipe));
    let mut kept = 0;
    let notice = loop {
        let line = pipe.next_line().expect("a line");
        if !line.ends_with(&long) {
            break line;
        }
        kept += 1;
    };
    let lost = LINES - kept;
    assert!(
        notice.ends_with(&format!(" -- {lost} lines could not be written here")),
        "{notice}"
    );
    say(&speaker, &mut listener, "and on");
    let line = pipe.next_line().expect("a line");
    assert!(line.ends_with(" <127.0.0.2> and on"), "{line}");
}

#[test]
fn without_a_transcript_sighup_closes_the_room() {
    let mut server = Server::start();
    let mut alice = server.join("127.0.0.2");
    server.signal(Signal::HUP);
    alice.expect_line("-- the room is closing");
    alice.expect_end();
    assert_eq!(server.exit_code(), 0);
}

/// A server limited to files of some kilobytes, as by systemd's `LimitFSIZE=`.
fn limit_file_size(options: &[&str]) -> Command {
    // ulimit counts in blocks of 512 bytes, in some shells of 1,024.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#"ulimit -f 8 && exec "$0" "$@""#, CHAT])
        .args(["server", "127.0.0.1", "0", "--no-presence", "--history=0"])
        .args(options);
    let mut shell = piped(shell);
    shell.stdin(Stdio::null());
    shell
}

/// Says more than the limit lets a file hold.
#[track_caller]
fn talk_past_the_limit(server: &Server) -> (Peer, Peer) {
    let speaker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    let long = "x".repeat(1000);
    for _ in 0..20 {
        say(&speaker, &mut listener, &long);
    }
    (speaker, listener)
}

#[test]
fn a_limit_on_file_sizes_is_like_a_full_disk() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("room.log");
    let path = path.to_str().expect("a path of letters");
    let mut server = Server::spawn(limit_file_size(&["--transcript", path]));
    let _in_the_room = talk_past_the_limit(&server);
    let warning = server.stderr().next_line().expect("a warning");
    assert!(warning.contains("file too large"), "{warning}");
    assert!(!server.stderr().has_more(), "a second warning");
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    let text = fs::read_to_string(path).expect("a transcript");
    assert!((4000..=8192).contains(&text.len()), "{} bytes", text.len());
}

#[test]
fn a_limit_on_file_sizes_does_not_end_a_room_with_its_console_in_a_file() {
    let folder = TempDir::new().expect("a folder");
    let console = File::create(folder.path().join("console")).expect("a file");
    let mut command = limit_file_size(&[]);
    command.stdout(console);
    let mut server = Server::spawn_with_log(command);
    let _in_the_room = talk_past_the_limit(&server);
    server.signal(Signal::TERM);
    let finished = server.exit_code();
    assert_eq!(finished, 0);
    assert!(server.stderr().rest().contains("file too large"));
}

#[test]
fn a_storm_of_sighup_on_a_full_disk_is_logged_at_a_bounded_rate() {
    const SIGNALS: usize = 300;
    let mut server = start(Path::new("/dev/full"));
    let speaker = server.join("127.0.0.2");
    let mut listener = server.join("127.0.0.3");
    for _ in 0..SIGNALS {
        server.signal(Signal::HUP);
        server.signal(Signal::USR1);
        say(&speaker, &mut listener, "still here");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    let log = server.stderr().rest();
    for (words, most) in [("cannot write", 20), ("clients=", 200)] {
        let count = log.matches(words).count();
        assert!((1..=most).contains(&count), "{count} times: {words}");
    }
}

#[test]
fn the_room_says_goodbye_when_its_cpu_time_is_used_up() {
    let mut server = Server::start();
    let mut alice = server.join("127.0.0.2");
    server.signal(Signal::XCPU);
    alice.expect_line("-- the room is closing");
    assert_eq!(server.exit_code(), 0);
}
