//! Promise 12: over TLS nobody reads along, nobody cuts in, and what is said is what is said on a
//! plain connection. Foreign programs say so, which share no code with ours.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::common::peer::{Peer, WELCOME};
use crate::common::process::{Process, chat, chat_to, piped};
use crate::common::secured::SecuredServer;
use crate::common::server::{PASSWORD, Server, password_file, server_command};
use crate::common::{alone_under_load, can_test_with, eventually};

/// A client for Python 3 that checks the certificate and its names, as browsers do. It says a
/// line in pieces, ends its side, and reads to the end.
const PYTHON_CLIENT: &str = r#"
import socket, ssl, sys

context = ssl.create_default_context(cafile=sys.argv[3])
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.set_alpn_protocols(["chat/1"])
plain = socket.create_connection((sys.argv[1], int(sys.argv[2])))
server = context.wrap_socket(plain, server_hostname=sys.argv[1])
print(server.version(), server.selected_alpn_protocol(), flush=True)
for piece in ["in pie", "ces\nunfinished"]:
    server.sendall(piece.encode())
heard = b""
while b"goodbye" not in heard:
    heard += server.recv(4096)
print(heard.decode(), end="", flush=True)
server.unwrap().close()
"#;

/// A client with a password-like line that a capture must not hold.
const SECRET: &str = "the cake is under the stairs";

#[test]
fn openssl_talks_and_listens() {
    if !can_test_with("openssl") {
        return;
    }
    let room = SecuredServer::start();
    let mut bob = room.server.join("127.0.0.2");
    let mut alice = room.openssl();
    alice.stdout().expect_line(WELCOME);
    alice.type_line("grüße");
    bob.expect_line("<127.0.0.1> grüße");
    bob.say("hello");
    alice.stdout().expect_line("<127.0.0.2> hello");
    alice.type_line("/quit");
    assert_eq!(alice.stdout().rest(), "-- goodbye\n");
}

#[test]
fn ncat_talks_and_listens() {
    if !can_test_with("ncat") {
        return;
    }
    let room = SecuredServer::start();
    let mut bob = room.server.join("127.0.0.2");
    let mut command = Command::new("ncat");
    command.args(["--ssl", "127.0.0.1", &room.tls_address.port().to_string()]);
    let mut alice = Process::spawn(piped(command));
    alice.stdout().expect_line(WELCOME);
    alice.type_line("hello");
    bob.expect_line("<127.0.0.1> hello");
    bob.say("hi");
    alice.stdout().expect_line("<127.0.0.2> hi");
    alice.type_line("/quit");
    alice.stdout().expect_line("-- goodbye");
    // It does not tell the server that its input has ended.
    alice.close_stdin();
    assert_eq!(alice.exit_code(), 0);
}

#[test]
fn python_trusts_the_certificate_and_its_names() {
    if !can_test_with("python3") {
        return;
    }
    let room = SecuredServer::start();
    let mut bob = room.server.join("127.0.0.2");
    let mut command = Command::new("python3");
    let port = room.tls_address.port().to_string();
    command.args(["-c", PYTHON_CLIENT, "127.0.0.1", &port, &room.certificate()]);
    let mut alice = Process::spawn(piped(command));
    alice.stdout().expect_line("TLSv1.3 chat/1");
    bob.expect_line("<127.0.0.1> in pieces");
    bob.say("goodbye");
    bob.expect_line("<127.0.0.1> unfinished");
    let told = alice.finish();
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    assert_eq!(told.stdout, format!("{WELCOME}\n<127.0.0.2> goodbye\n"));
}

#[test]
fn only_those_who_speak_chat_or_nothing_by_name_are_let_in() {
    if !can_test_with("openssl") {
        return;
    }
    let room = SecuredServer::start();
    for (arguments, is_in) in [
        (&["-alpn", "chat/1"][..], true),
        (&["-alpn", "http/1.1"], false),
        (&["-tls1_2"], false),
    ] {
        let mut command = Command::new("openssl");
        let address = room.tls_address.to_string();
        command.args(["s_client", "-quiet", "-connect", &address]);
        command.args(arguments);
        let mut client = Process::spawn(piped(command));
        if is_in {
            client.stdout().expect_line(WELCOME);
        } else {
            client.stdout().expect_end();
        }
    }
}

#[test]
fn a_capture_of_a_conversation_has_no_readable_word() {
    let (_folder, password) = password_file(PASSWORD);
    let password = password.to_str().expect("a path in UTF-8");
    let room = SecuredServer::with(&["--password-file", password]);
    let mut bob = room.server.join("127.0.0.2");
    bob.send(format!("/pass {PASSWORD}\n/who\n"));
    while bob.next_line().expect("who is here") != "-- 1 here: 127.0.0.2" {}
    let tap = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let tapped = tap.local_addr().expect("an address");
    let captured = thread::spawn(move || capture(&tap, room.tls_address));
    let options = [
        "--tls",
        "--fingerprint",
        &room.fingerprint,
        "--password-file",
        password,
        "--name",
        "alice",
        SECRET,
    ];
    let mut client = chat_to("send", tapped, &options);
    client.env("XDG_STATE_HOME", room.folder.path());
    assert_eq!(Process::spawn(client).finish().code, 0);
    bob.expect_line(&format!("<alice> {SECRET}"));

    let captured = captured.join().expect("a capture");
    assert!(
        captured.len() > 1000,
        "the certificate alone takes some hundred"
    );
    // What both ends say to each other, and what any line has.
    for word in [
        SECRET, PASSWORD, "pass", "alice", "Welcome", "/json", "/nick", "kind", "hello", "127.0.0",
    ] {
        let found = captured.windows(word.len()).any(|it| it == word.as_bytes());
        assert!(!found, "{word} can be read");
    }
}

/// Passes on what one client and the server say, and returns all of it.
fn capture(tap: &TcpListener, server: std::net::SocketAddr) -> Vec<u8> {
    let (client, _) = tap.accept().expect("a client");
    let server = TcpStream::connect(server).expect("a server");
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        let mut passed = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            passed.extend_from_slice(&buffer[..count]);
            let _ = to.write_all(&buffer[..count]);
        }
        let _ = to.shutdown(Shutdown::Write);
        passed
    };
    let copy = |stream: &TcpStream| stream.try_clone().expect("a free descriptor");
    let (from_client, to_server) = (copy(&client), copy(&server));
    let there = thread::spawn(move || pass(from_client, to_server));
    let mut all = pass(server, client);
    all.extend(there.join().expect("it does not fail"));
    all
}

#[test]
fn what_is_cut_off_is_not_said() {
    if !can_test_with("openssl") {
        return;
    }
    let room = SecuredServer::start();
    let mut bob = room.server.join("127.0.0.2");
    let mut alice = room.openssl();
    alice.stdout().expect_line(WELCOME);
    let mut stdin = alice.take_stdin();
    stdin.write_all(b"pay 100\npay 1000").expect("it reads");
    bob.expect_line("<127.0.0.1> pay 100");
    // A barrier: it is asleep, so it has sent all.
    alice.await_sleep();
    alice.signal(Signal::KILL);
    let mut carol = room.server.join("127.0.0.3");
    eventually("alice to be gone", || {
        carol.say("/who");
        let here = carol.next_line().expect("an answer");
        (here == "-- 2 here: 127.0.0.2, 127.0.0.3").then_some(())
    });
    carol.say("is she gone?");
    bob.expect_line("<127.0.0.3> is she gone?");
}

#[test]
fn garbage_ends_a_connection_and_nothing_else() {
    let room = SecuredServer::start();
    let mut bob = room.server.join("127.0.0.2");
    for garbage in [
        &b"hello?\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        // A record of the handshake that is longer than any, and one that says nothing.
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        b"\x15\x03\x03\x00\x02\x02\x28",
        &[0; 5000],
    ] {
        let mut stranger = TcpStream::connect(room.tls_address).expect("a server");
        stranger.write_all(garbage).expect("it is taken");
        let mut alert = Vec::new();
        // Reset, if it had not read all of it.
        let _ = stranger.read_to_end(&mut alert);
        assert!(!alert.starts_with(b"Welcome"), "{garbage:?}");
    }
    bob.say("/who");
    bob.expect_line("-- 1 here: 127.0.0.2");
}

#[test]
fn half_handshakes_keep_nobody_out() {
    const HALF: usize = 700;
    let _alone = alone_under_load();
    let room = SecuredServer::start();
    let mut bob = room.server.join("127.0.0.2");
    let before = room.server.descriptors();
    let strangers: Vec<TcpStream> = (0..HALF)
        .map(|nth| {
            let mut stranger = TcpStream::connect(room.tls_address).expect("a server");
            // Nothing, or the beginning of a ClientHello.
            let begun = &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..nth % 12];
            stranger.write_all(begun).expect("it is taken");
            stranger
        })
        .collect();
    let mut ping = chat_to(
        "ping",
        room.tls_address,
        &["--tls", "--fingerprint", &room.fingerprint],
    );
    ping.env("XDG_STATE_HOME", room.folder.path());
    let told = Process::spawn(ping).finish();
    assert_eq!(told.code, 0, "{}", told.stderr);
    bob.say("/who");
    bob.expect_line("-- 1 here: 127.0.0.2");
    let bound = before + 256;
    eventually("the others to be closed", || {
        (room.server.descriptors() <= bound).then_some(())
    });
    // Those that are left have their time, and no more.
    let begun = Instant::now();
    eventually("the rest to be closed", || {
        (room.server.descriptors() <= before).then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(15));
    room.server.expect_idle();
    drop(strangers);
}

#[test]
fn a_session_that_began_over_tls_goes_on_over_tls_only() {
    if !can_test_with("openssl") {
        return;
    }
    let room = SecuredServer::start();
    let begin = || {
        let mut client = room.openssl();
        client.stdout().expect_line(WELCOME);
        client.type_line("/json");
        let hello = client.stdout().next_line().expect("a hello");
        (client, hello)
    };
    let (client, hello) = begin();
    let token = hello.split_once("\"token\":\"").expect("a token").1;
    let token = token.split('"').next().expect("its end").to_owned();
    let resume = format!("/resume {token} 0");
    drop(client);

    let mut thief = room.server.join("127.0.0.1");
    thief.say("/json");
    thief.next_line().expect("a hello");
    thief.say(&resume);
    let answer = thief.next_line().expect("a hello");
    assert!(answer.contains("\"resumed\":false"), "{answer}");

    let (mut client, _) = begin();
    client.type_line(&resume);
    let answer = client.stdout().next_line().expect("a hello");
    assert!(answer.contains("\"resumed\":true"), "{answer}");
}

#[test]
fn a_session_that_began_over_tls_has_its_place_in_a_full_room() {
    if !can_test_with("openssl") {
        return;
    }
    let room = SecuredServer::with(&["--max-clients", "1"]);
    let mut client = room.openssl();
    client.stdout().expect_line(WELCOME);
    client.type_line("/json");
    let hello = client.stdout().next_line().expect("a hello");
    let token = hello.split_once("\"token\":\"").expect("a token").1;
    let token = token.split('"').next().expect("its end");
    drop(client);

    // Until the place is free.
    let _bob = loop {
        let mut bob = Peer::connect_from("127.0.0.2", room.server.address);
        if bob.next_line().as_deref() == Some(WELCOME) {
            break bob;
        }
    };
    let mut client = room.openssl();
    let refusal = "!! the room is full (1 clients); try again later";
    client.stdout().expect_line(refusal);
    client.type_line("/json");
    client.type_line(&format!("/resume {token} 0"));
    let answer = client.stdout().next_line().expect("a hello");
    assert!(answer.contains("\"resumed\":true"), "{answer}");
}

#[test]
fn sighup_has_the_own_certificate_read_again() {
    if !can_test_with("openssl") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    make_certificate(folder.path());
    let start = || {
        let mut command = server_command("127.0.0.1", &["-v", "--tls", "--tls-port", "0"]);
        command.args(["--tls-cert", &path("certificate")]);
        command.args(["--tls-key", &path("key"), "--operator-commands"]);
        Process::spawn(piped(command))
    };
    let set_mode = |bits| fs::set_permissions(path("key"), Permissions::from_mode(bits));
    set_mode(0o644).expect("a file of ours");
    let told = start().finish();
    assert_eq!(told.code, 1);
    assert!(told.stderr.contains("others can read"), "{}", told.stderr);
    set_mode(0o600).expect("a file of ours");
    fs::rename(path("key"), path("kept")).expect("a folder of ours");
    mknodat(CWD, path("key"), FileType::Fifo, Mode::RUSR, 0).expect("a FIFO");
    let told = start().finish();
    assert_eq!(told.code, 1, "nobody waits for a key");
    fs::rename(path("kept"), path("key")).expect("a folder of ours");
    let mut server = start();
    let port = loop {
        let line = server.stdout().next_line().expect("the banner");
        if let Some(way) = line.trim().strip_prefix("chat client --tls 127.0.0.1 ") {
            break way.split(' ').next().expect("a port").to_owned();
        }
    };
    let shown = || {
        let mut ping = chat(["ping", "127.0.0.1", &port, "--tls"]);
        ping.env("XDG_STATE_HOME", folder.path());
        let told = Process::spawn(ping).finish();
        assert_eq!(told.code, 7);
        let fingerprint = told
            .stderr
            .lines()
            .nth(1)
            .expect("a fingerprint")
            .to_owned();
        assert!(fingerprint.contains("sha256:"), "{fingerprint}");
        fingerprint
    };
    let reload = |server: &mut Process, words: &str| {
        server.signal(Signal::HUP);
        while !server.stderr().next_line().expect("words").contains(words) {}
    };
    let first = shown();
    make_certificate(folder.path());
    assert_eq!(shown(), first, "nobody has asked for it");
    reload(&mut server, "guests who know sha256:");
    let second = shown();
    assert_ne!(second, first);
    reload(&mut server, "read the certificate again");
    server.type_line("/stats");
    let known = format!("the room's key is {}", second.trim());
    while server.stdout().next_line().expect("an answer") != known {}
    fs::write(path("key"), "").expect("a file");
    reload(&mut server, "newcomers are still shown what it was");
    assert_eq!(shown(), second);
}

#[test]
fn the_web_port_takes_http_and_lines_over_tls_and_http_without() {
    if !can_test_with("curl") || !can_test_with("openssl") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = server_command("127.0.0.1", &["--tls", "--web", "0"]);
    command.env("XDG_STATE_HOME", folder.path());
    let mut server = Server::spawn(command);
    server.skip_banner();
    server
        .stdout()
        .expect_line("or so that nobody else can read it, over TLS:");
    let way = server.stdout().next_line().expect("a way to join");
    let page = server.stdout().next_line().expect("the page's address");
    let (_, web) = page.split_once("https://").expect("over TLS");
    let web = web.trim_end_matches('/').to_owned();
    let port = web.rsplit(':').next().expect("a port");
    let is_same = way.starts_with(&format!("  chat client --tls 127.0.0.1 {port}   # sha256:"));
    assert!(is_same, "{way}");
    let mut bob = server.join("127.0.0.2");

    let certificate = folder.path().join("chat/tls-certificate.pem");
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "20", "--cacert"]);
        command.arg(&certificate).args(arguments);
        Process::spawn(piped(command)).finish()
    };
    assert_eq!(curl(&[&format!("https://{web}/healthz")]).stdout, "ok\n");
    assert_eq!(curl(&[&format!("http://{web}/healthz")]).stdout, "ok\n");
    let say = |origin: &str| {
        let (origin, url) = (format!("Origin: {origin}"), format!("https://{web}/say"));
        let json = "Content-Type: application/json";
        let body = r#"{"name":"web","text":"hi"}"#;
        let told = curl(&[
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            json,
            "-H",
            &origin,
            "-d",
            body,
            &url,
        ]);
        told.stdout
    };
    assert_eq!(
        say(&format!("http://{web}")),
        "403",
        "a page that others may have changed"
    );
    assert!(say(&format!("https://{web}")).starts_with('2'));
    assert!(bob.next_line().is_some_and(|line| line.ends_with("> hi")));
    let (url, body) = (
        format!("https://{web}/say"),
        r#"{"name":"web","text":"patience"}"#,
    );
    let patient = ["--expect100-timeout", "20", "-H", "Expect: 100-continue"];
    let told = curl(&[&patient[..], &["--json", body, &url]].concat());
    assert!(told.stdout.contains("seq"), "{}", told.stderr);
    let line = bob.next_line().expect("a line");
    assert!(line.ends_with("> patience"), "{line}");

    for (alpn, is_in) in [("chat/1", true), ("http/1.1", false), ("h2", false)] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &web, "-alpn", alpn]);
        let mut client = Process::spawn(piped(command));
        if is_in {
            client.stdout().expect_line(WELCOME);
            client.type_line("by name");
            bob.expect_line("<127.0.0.1> by name");
        } else if alpn == "h2" {
            client.stdout().expect_end();
        }
    }
}

/// A certificate and its key, of another kind than ours.
#[track_caller]
fn make_certificate(folder: &Path) {
    let mut command = Command::new("openssl");
    command.args([
        "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-subj", "/CN=box",
    ]);
    command.args(["-days", "2", "-keyout", "key", "-out", "certificate"]);
    let made = command.current_dir(folder).output().expect("openssl");
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn the_key_is_where_systemd_says_or_else_the_users() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    for (state_directory, key) in [
        (path("a") + ":/nowhere", "a/tls-key.pem"),
        (String::new(), "user/chat/tls-key.pem"),
        ("elsewhere".to_owned(), "user/chat/tls-key.pem"),
    ] {
        let mut command = server_command("127.0.0.1", &["--tls", "--tls-port", "0"]);
        command.env("STATE_DIRECTORY", state_directory);
        command.env("XDG_STATE_HOME", path("user"));
        command.current_dir(folder.path());
        let mut server = Server::spawn(command);
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), 0);
        fs::remove_file(path(key)).expect(key);
    }
}

#[test]
fn options_that_do_nothing_alone_are_wrong_usage() {
    for options in [
        &["--tls"][..],
        &["--tls-port", "0"],
        &["--tls", "--tls-port", "0", "--tls-key", "key"],
        &["--tls", "--tls-port", "0", "--tls-cert", "certificate"],
    ] {
        let told = Process::spawn(server_command("127.0.0.1", options)).finish();
        assert_eq!(told.code, 2, "{options:?}: {}", told.stderr);
    }
    let mut command = server_command("127.0.0.1", &["--tls", "--tls-port", "0"]);
    command.env("XDG_STATE_HOME", "/proc/self");
    let told = Process::spawn(command).finish();
    assert_eq!(told.code, 1);
    let is_told = told
        .stderr
        .contains("cannot use /proc/self/chat/tls-key.pem for --tls");
    assert!(is_told, "{}", told.stderr);
}

#[test]
fn a_reader_over_tls_that_stops_reading_delays_nobody_and_is_dropped() {
    const LINES: usize = 4000;
    if !can_test_with("openssl") {
        return;
    }
    let _alone = alone_under_load();
    let room = SecuredServer::with(&["--send-buffer", "16K", "--max-backlog", "64K"]);
    let mut stuck = room.openssl();
    stuck.stdout().expect_line(WELCOME);
    stuck.stop();
    let mut bob = room.server.join("127.0.0.2");
    let talker = Peer::connect_from("127.0.0.3", room.server.address);
    let line = "x".repeat(1000);
    let begun = Instant::now();
    let saying = thread::spawn(move || {
        let mut talker = talker;
        talker.expect_line(WELCOME);
        for _ in 0..LINES {
            talker.say(&line);
        }
        talker
    });
    for _ in 0..LINES {
        assert!(bob.next_line().is_some_and(|line| line.len() > 1000));
    }
    println!(
        "{LINES} lines past a stuck reader took {:?}",
        begun.elapsed()
    );
    let _talker = saying.join().expect("it does not fail");
    eventually("the stuck one to be dropped", || {
        bob.say("/who");
        let answer = bob.next_line()?;
        answer.starts_with("-- 2 here").then_some(())
    });
}

/// Joins so many times, and stays until its input ends.
const PYTHON_CROWD: &str = r#"
import socket, ssl, sys

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
address = (sys.argv[1], int(sys.argv[2]))
for count in map(int, sys.argv[3:]):
    crowd = [context.wrap_socket(socket.create_connection(address)) for _ in range(count)]
    for guest in crowd:
        assert guest.recv(100).startswith(b"Welcome")
    globals()[f"crowd_{count}"] = crowd
    print(count, flush=True)
    sys.stdin.readline()
"#;

#[test]
fn an_idle_connection_takes_8_kb_at_most() {
    const GUESTS_BEFORE: usize = 50;
    const GUESTS: usize = 400;
    if !can_test_with("python3") {
        return;
    }
    let _alone = alone_under_load();
    let room = SecuredServer::start();
    let mut command = Command::new("python3");
    let port = room.tls_address.port().to_string();
    let counts = [GUESTS_BEFORE, GUESTS].map(|count| count.to_string());
    command
        .args(["-c", PYTHON_CROWD, "127.0.0.1", &port])
        .args(&counts);
    let mut crowd = Process::spawn(piped(command));
    crowd.stdout().expect_line(&counts[0]);
    let before = room.server.anonymous_bytes();
    crowd.type_line("");
    crowd.stdout().expect_line(&counts[1]);
    let bytes_each = (room.server.anonymous_bytes() - before) / GUESTS;
    println!("{bytes_each} bytes of user memory for each connection");
    assert!(bytes_each <= 8192, "{bytes_each} bytes");
}
