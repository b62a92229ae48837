//! What the client shows, and what it does when nobody reads its output any more.

use std::fs::OpenOptions;
use std::io::{Read, Seek, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::common::lines::LineReader;
use crate::common::peer::{Peer, WELCOME, client_of_the_test};
use crate::common::process::{CHAT, Process, chat_client, chat_to, piped, run_by};
use crate::common::server::Server;

#[test]
fn text_from_any_server_is_made_harmless() {
    let (server, mut client) = client_of_the_test(Stdio::piped());
    for (sent, shown) in [
        (&b"plain, \xc3\xa9 and \ttab"[..], "plain, é and \ttab"),
        (b"\x1b]0;title\x07\x1b[2J", "␛]0;title␇␛[2J"),
        (b"x\r<You>forged", "x␍<You>forged"),
        (b"crlf\r", "crlf"),
        (b"\xff\x9b\xc2\x9b", "\u{fffd}\u{fffd}\u{fffd}"),
        (b"\xe2\x80\xae\xe2\x81\xa6", "\u{fffd}\u{fffd}"),
    ] {
        server.send([sent, b"\n"].concat());
        client.stdout().expect_line(shown);
    }
}

#[test]
fn a_client_ends_quietly_when_its_output_is_closed_and_a_line_comes() {
    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut client = Process::spawn(chat_client(server.address));
    client.stdout().expect_line(WELCOME);
    client.close_stdout();
    talker.say("is anybody there?");
    assert_ends_quietly(&mut client);
}

#[test]
fn a_client_ends_quietly_when_its_output_is_closed_and_nothing_comes() {
    let server = Server::start();
    let mut client = Process::spawn(chat_client(server.address));
    client.stdout().expect_line(WELCOME);
    client.close_stdout();
    assert_ends_quietly(&mut client);
}

#[test]
fn head_gets_its_line_and_the_pipeline_ends() {
    let server = Server::start();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", r#""$0" client 127.0.0.1 "$1" | head -1"#, CHAT])
        .arg(server.address.port().to_string());
    let mut pipeline = Process::spawn(piped(shell));
    // Nothing is typed and standard input stays open. The shell waits for both `head` and the
    // client, which must notice the closed pipe by itself.
    let stdin = pipeline.take_stdin();
    let finished = pipeline.finish();
    assert_eq!(finished.stdout, format!("{WELCOME}\n"));
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.code, 0);
    drop(stdin);
}

/// `grep -q` may end before the room has granted the name to speak under.
#[test]
fn lines_read_are_said_even_after_the_output_is_closed() {
    let (mut server, mut client) =
        Peer::serve(|address| Process::spawn(chat_to("client", address, &["--name", "disk"])));
    server.greet();
    server.expect_line("/nick disk");
    client.stdout().expect_line(WELCOME);
    client.type_line("98% full");
    client.stdout().expect_line("<You>98% full");
    client.close_stdout();
    // The closed pipe has woken the client; asleep again, it knows.
    client.await_sleep();
    server.say(r#"{"kind":"reply","n":1,"to":"nick","name":"disk"}"#);
    server.take(2, "98% full");
    assert_ends_quietly(&mut client);
}

/// The reader of the output goes while there is no server.
#[test]
fn lines_read_are_said_again_even_after_the_output_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut client = Process::spawn(chat_to("client", address, &["--reconnect"]));
    let mut server = Peer::accept(&listener);
    server.greet();
    client.stdout().expect_line(WELCOME);
    client.type_line("98% full");
    server.expect_line("98% full");
    drop(listener);
    drop(server);
    let loss = client.stderr().next_line().expect("a loss");
    assert!(loss.contains("closed the connection"), "{loss}");
    client.close_stdout();
    client.await_sleep();
    let listener = TcpListener::bind(address).expect("a port that is free again");
    let mut server = Peer::accept(&listener);
    server.greet_with(r#""epoch":"e","resumed":true,"heard":0"#);
    server.take(1, "98% full");
    assert_ends_quietly(&mut client);
}

#[test]
fn a_slow_reader_of_the_output_misses_nothing() {
    const LINES: usize = 1000;
    const LINE_BYTES: usize = 500;
    let line = |number: usize| format!("{number} {:-<LINE_BYTES$}", "");

    let server = Server::start();
    let talker = server.join("127.0.0.2");
    let mut witness = server.join("127.0.0.3");
    let mut client = Process::spawn(chat_client(server.address));
    client.stdout().expect_line(WELCOME);
    for number in 0..LINES {
        talker.say(&line(number));
        witness.expect_line(&talker.said(&line(number)));
    }
    for number in 0..LINES {
        client.stdout().expect_line(&talker.said(&line(number)));
    }
}

#[test]
fn an_output_file_keeps_what_it_holds() {
    let server = Server::start();
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(b"from another program\n")
        .expect("room for a file");
    let mut client = client_with_output(&server, file.try_clone().expect("a free descriptor"));
    assert_ends_quietly(&mut client);

    let mut written = String::new();
    file.rewind().expect("a regular file");
    file.read_to_string(&mut written).expect("UTF-8");
    assert_eq!(written, format!("from another program\n{WELCOME}\n"));
}

#[test]
fn an_output_may_be_a_socket() {
    let server = Server::start();
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    let mut client = client_with_output(&server, OwnedFd::from(theirs));
    assert_eq!(LineReader::new(ours).rest(), format!("{WELCOME}\n"));
    assert_ends_quietly(&mut client);
}

#[test]
fn an_output_may_be_dev_null() {
    let server = Server::start();
    let mut client = client_with_output(&server, Stdio::null());
    assert_ends_quietly(&mut client);
}

#[test]
fn an_unwritable_output_is_reported() {
    let server = Server::start();
    let full = OpenOptions::new().write(true).open("/dev/full");
    let mut client = client_with_output(&server, full.expect("full(4)"));
    let stderr = client.stderr().rest();
    assert!(stderr.starts_with("chat: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert_eq!(client.exit_code(), 1);
}

/// For example under `ulimit -f` or systemd's `LimitFSIZE=`.
#[test]
fn a_limit_on_file_sizes_is_reported() {
    let server = Server::start();
    let file = tempfile::tempfile().expect("a temporary file");
    let command = chat_client(server.address);
    let mut limited = run_by(&["sh", "-c", r#"ulimit -f 0 && exec "$0" "$@""#], &command);
    limited.stdin(Stdio::null()).stdout(file);
    let mut client = Process::spawn(limited);
    let stderr = client.stderr().rest();
    assert!(stderr.contains("file too large"), "{stderr}");
    assert_eq!(client.exit_code(), 1);
}

#[test]
fn a_client_that_cannot_write_tells_which_lines_are_in_doubt() {
    let file = tempfile::tempfile().expect("a temporary file");
    let (mut server, mut client) = Peer::serve(|address| {
        let script = r#"ulimit -f 1 && exec "$0" "$@""#;
        let mut limited = run_by(&["sh", "-c", script], &chat_client(address));
        limited.stdout(file);
        Process::spawn(limited)
    });
    server.greet();
    client.type_line("hi");
    server.expect_line("hi");
    server.tell(1, "bob", &"x".repeat(4000));
    let stderr = client.stderr().rest();
    let doubt = "not known whether the room has taken this: hi\n";
    assert!(stderr.contains(doubt), "{stderr}");
    assert!(stderr.contains("file too large"), "{stderr}");
    assert_eq!(client.exit_code(), 1);
}

/// A client with nothing to say.
fn client_with_output(server: &Server, output: impl Into<Stdio>) -> Process {
    let mut command = chat_client(server.address);
    command.stdin(Stdio::null()).stdout(output);
    Process::spawn(command)
}

#[track_caller]
fn assert_ends_quietly(client: &mut Process) {
    client.stderr().expect_end();
    assert_eq!(client.exit_code(), 0);
}
