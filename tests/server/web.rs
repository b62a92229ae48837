//! The web port: the page, `/say`, figures, and the room by WebSocket. Frames and requests are
//! written by hand here; `curl` and Python's `websockets` are foreign clients.

use std::env;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::peer::{Peer, WELCOME};
use crate::common::probe::Probe;
use crate::common::process::{Process, piped};
use crate::common::server::{Server, password_file};
use crate::common::{PATIENCE, alone_under_load, can_test, can_test_with, eventually};
use crate::descriptors::start_with_limit;
use crate::idle::{OTHER_DESCRIPTORS, may_open};
use crate::json::{join_as_program, next_of_kind};

/// A server with a web port, and where that is.
#[track_caller]
fn start(options: &[&str]) -> (Server, SocketAddr) {
    let mut server = Server::with(&[&["--web", "0"], options].concat());
    let web = web_port_of(&mut server);
    (server, web)
}

/// Where the web port of `server` is, which was started with one.
#[track_caller]
fn web_port_of(server: &mut Server) -> SocketAddr {
    server.skip_banner();
    let line = server.stdout().next_line().expect("where the page is");
    let (_, address) = line.split_once("http://").expect("an address");
    let address = address.strip_suffix('/').expect("the page is at /");
    address.parse().expect("an address")
}

/// What came back of a request.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// Sends `request` from `ip`, and reads until the server ends its side.
#[track_caller]
fn ask_from(ip: &str, web: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut peer = Peer::connect_from(ip, web);
    peer.send(request);
    answer(&mut peer)
}

#[track_caller]
fn answer(peer: &mut Peer) -> Answer {
    let answer = peer.rest();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    Answer {
        status: status.expect("a status").parse().expect("a number"),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A request with these header `fields`, each with its end.
fn request(line: &str, web: SocketAddr, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: {web}\r\n{fields}\r\n")
}

#[track_caller]
fn get(web: SocketAddr, path: &str) -> Answer {
    ask_from("127.0.0.1", web, request(&format!("GET {path}"), web, ""))
}

fn say_request(web: SocketAddr, fields: &str, body: &str) -> String {
    let fields = format!(
        "Content-Type: application/json\r\nContent-Length: {}\r\n{fields}",
        body.len()
    );
    request("POST /say", web, &fields) + body
}

#[track_caller]
fn say_from(ip: &str, web: SocketAddr, name: &str, text: &str) -> Answer {
    let body = json!({ "name": name, "text": text }).to_string();
    ask_from(ip, web, say_request(web, "", &body))
}

/// One end of a WebSocket, by hand.
struct WebSocket {
    stream: TcpStream,
    /// The data of frames that came, as far as no one has read it.
    data: Vec<u8>,
}

/// What the server sends.
#[derive(Debug, PartialEq)]
enum Frame {
    Data(Vec<u8>),
    Pong(Vec<u8>),
    Close(Vec<u8>),
}

impl WebSocket {
    /// Asks for frames, and has read that they come.
    #[track_caller]
    fn open(ip: &str, web: SocketAddr) -> Self {
        Self::open_greeted(ip, web, &[WELCOME])
    }

    /// The same where the greeting has these lines.
    #[track_caller]
    fn open_greeted(ip: &str, web: SocketAddr, greeting: &[&str]) -> Self {
        let mut peer = Peer::connect_from(ip, web);
        peer.send(upgrade_request(web, ""));
        peer.expect_line("HTTP/1.1 101 Switching Protocols\r");
        let mut accept = None;
        loop {
            match peer.next_line().expect("a whole head").trim_end() {
                "" => break,
                line => {
                    accept = line
                        .strip_prefix("Sec-WebSocket-Accept: ")
                        .map(str::to_owned)
                        .or(accept)
                }
            }
        }
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        // What was read ahead is the first frame: the welcome.
        let mut socket = Self {
            data: Vec::new(),
            stream: {
                let greeting_bytes: usize = greeting.iter().map(|line| line.len() + 1).sum();
                peer.expect_bytes(&[0x82, greeting_bytes as u8]);
                greeting.iter().for_each(|line| peer.expect_line(line));
                peer.into_stream()
            },
        };
        socket
            .stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket");
        socket.data.clear();
        socket
    }

    /// The same as a program that has read its hello.
    #[track_caller]
    fn open_as_program(ip: &str, web: SocketAddr) -> (Self, Value) {
        let mut socket = Self::open(ip, web);
        socket.send("/json\n");
        let hello = socket.next_event();
        (socket, hello)
    }

    fn send(&mut self, text: &str) {
        self.send_frame(0x81, text.as_bytes());
    }

    fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.stream
            .write_all(&frame(first, payload))
            .expect("a server that reads");
    }

    #[track_caller]
    fn next_frame(&mut self) -> Frame {
        let mut bytes = |count: usize| {
            let mut bytes = vec![0; count];
            self.stream.read_exact(&mut bytes).expect("a whole frame");
            bytes
        };
        let head = bytes(2);
        let len = match head[1] {
            126 => bytes(2)
                .iter()
                .fold(0, |len, &byte| len << 8 | usize::from(byte)),
            len => len.into(),
        };
        assert!(len <= 16 * 1024, "frames are small, and not masked");
        let payload = bytes(len);
        match head[0] {
            0x82 => Frame::Data(payload),
            0x8a => Frame::Pong(payload),
            0x88 => Frame::Close(payload),
            other => panic!("{other:x}"),
        }
    }

    #[track_caller]
    fn next_line(&mut self) -> String {
        loop {
            if let Some(lf) = self.data.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.data.drain(..=lf).collect();
                return String::from_utf8(line[..lf].to_vec()).expect("UTF-8");
            }
            match self.next_frame() {
                Frame::Data(data) => self.data.extend(data),
                other => panic!("{other:?} in place of a line"),
            }
        }
    }

    #[track_caller]
    fn next_event(&mut self) -> Value {
        serde_json::from_str(&self.next_line()).expect("an object")
    }

    /// The next object of this kind; those before it are skipped.
    #[track_caller]
    fn next_of_kind(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next_event();
            if event["kind"] == kind {
                return event;
            }
        }
    }
}

fn upgrade_request(web: SocketAddr, fields: &str) -> String {
    let fields = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}"
    );
    request("GET /ws", web, &fields)
}

/// A client's frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 250];
    let mut frame = match payload.len() {
        len @ 0..126 => vec![first, 0x80 | len as u8],
        len => [&[first, 0x80 | 126][..], &(len as u16).to_be_bytes()].concat(),
    };
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

#[test]
fn the_page_is_there_and_runs_nothing_else() {
    let (_server, web) = start(&[]);
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/?from=a%20bookmark", "text/html; charset=utf-8"),
        ("/chat.js", "text/javascript; charset=utf-8"),
        ("/chat.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let whole = get(web, path);
        assert_eq!(
            (whole.status, whole.header("Content-Type")),
            (200, Some(content_type))
        );
        assert_eq!(
            whole.header("Content-Length"),
            Some(&*whole.body.len().to_string())
        );
        let csp = whole.header("Content-Security-Policy").expect("a policy");
        assert!(csp.starts_with("default-src 'none';") && csp.contains(&format!("ws://{web};")));
        assert!(csp.contains("frame-ancestors 'none'") && !csp.contains("unsafe"));
        assert_eq!(whole.header("Access-Control-Allow-Origin"), None);
        let head = ask_from("127.0.0.1", web, request(&format!("HEAD {path}"), web, ""));
        assert_eq!((&head.head, &*head.body), (&whole.head, ""));
    }
    for (line, status) in [
        ("GET /index.html", 404),
        ("GET /../etc/passwd", 404),
        ("GET //", 404),
        ("POST /", 405),
        ("OPTIONS /say", 405),
        ("GET /say", 405),
        ("POST /ws", 405),
        ("GET /ws", 426),
    ] {
        let answer = ask_from("127.0.0.1", web, request(line, web, ""));
        assert_eq!(answer.status, status, "{line}");
        assert!(!answer.body.is_empty());
        assert_eq!(answer.header("Allow").is_some(), status == 405);
    }
    for (path, status) in [("/index.html", 404), ("/say", 405), ("/ws", 405)] {
        let answer = ask_from("127.0.0.1", web, request(&format!("HEAD {path}"), web, ""));
        assert_eq!((answer.status, &*answer.body), (status, ""), "{path}");
    }
}

#[test]
fn no_page_from_elsewhere_talks_into_the_room() {
    let (server, web) = start(&["--web-name", "chat.lan"]);
    let mut alice = server.join("127.0.0.2");
    let body = r#"{"name":"mallory","text":"not heard"}"#;
    let port = web.port();
    for (host, origin, status) in [
        ("evil.example", "", 421),
        ("evil.example", "http://evil.example", 421),
        ("127.0.0.1.evil.example", "", 421),
        (&*format!("localhost.evil.example:{port}"), "", 421),
        (&*web.to_string(), "http://evil.example", 403),
        (&*web.to_string(), "null", 403),
        (&*web.to_string(), "http://127.0.0.1:1", 403),
        (&*web.to_string(), &*format!("https://{web}"), 403),
        (&*web.to_string(), &*format!("http://localhost:{port}"), 403),
        ("chat.lan", &*format!("http://{web}"), 403),
    ] {
        let origin = match origin {
            "" => String::new(),
            origin => format!("Origin: {origin}\r\n"),
        };
        for request in [
            say_request(web, &origin, body),
            upgrade_request(web, &origin),
            request("GET /metrics", web, &origin),
        ] {
            let request = request.replacen(&web.to_string(), host, 1);
            assert_eq!(
                ask_from("127.0.0.1", web, &request).status,
                status,
                "{request}"
            );
        }
    }
    // What a page may send anywhere without asking first.
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain;application/json",
    ] {
        let request = say_request(web, "", body).replace("application/json", content_type);
        assert_eq!(
            ask_from("127.0.0.1", web, request).status,
            415,
            "{content_type}"
        );
    }
    for name in [
        "localhost",
        "chat.lan",
        "Chat.LAN:8080",
        "[::1]",
        "10.1.2.3:9",
    ] {
        let request = request("GET /", web, "").replacen(&web.to_string(), name, 1);
        assert_eq!(ask_from("127.0.0.1", web, request).status, 200, "{name}");
    }
    let own = format!("Origin: http://{web}\r\n");
    assert_eq!(
        ask_from("127.0.0.1", web, say_request(web, &own, body)).status,
        200
    );
    alice.expect_line("<mallory> not heard");
    alice.expect_nothing_new();
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let (server, web) = start(&[]);
    let mut alice = server.join("127.0.0.2");
    let body = r#"{"name":"a1","text":"x"}"#;
    let json = "Content-Type: application/json\r\n";
    let long = format!("X: {}\r\n", "x".repeat(9000));
    let chunked = format!("{json}Transfer-Encoding: chunked\r\n");
    for (fields, status) in [
        (
            &*format!("{json}Content-Length: 24\r\nContent-Length: 24\r\n"),
            400,
        ),
        (
            &*format!("{json}Content-Length: 24\r\nContent-Length: 5\r\n"),
            400,
        ),
        (&*format!("{json}Content-Length: 24, 24\r\n"), 400),
        (&*format!("{json}Content-Length: -1\r\n"), 400),
        (&*format!("{json}Content-Length: 0x18\r\n"), 400),
        (&*format!("{chunked}Content-Length: 24\r\n"), 400),
        (
            &*format!("{json}Host: evil.example\r\nContent-Length: 24\r\n"),
            400,
        ),
        (&*chunked, 411),
        (json, 411),
        (&*format!("{json}Content-Length: 99999999\r\n"), 413),
        (
            &*format!("{json}Content-Length: 99999999999999999999999\r\n"),
            413,
        ),
        (&*long, 431),
    ] {
        let request = request("POST /say", web, fields);
        assert_eq!(
            ask_from("127.0.0.1", web, request + body).status,
            status,
            "{fields}"
        );
    }
    for request in [
        "\x16\x03\x01\0\n\n",
        // A handshake of TLS is not waited for to end.
        "\x16\x03\x01",
        "GET / HTTP/1.1\r\n\r\n",
        "/nick bob\n\n",
        "\n\nX\n\n",
    ] {
        assert_eq!(ask_from("127.0.0.1", web, request).status, 400, "{request}");
    }
    // Two requests in one go: the second one is not heard.
    let twice = request("GET /healthz", web, "") + &say_request(web, "", body);
    assert_eq!(ask_from("127.0.0.1", web, twice).body, "ok\n");
    alice.expect_nothing_new();
}

#[test]
fn a_program_says_one_line_without_joining() {
    let (server, web) = start(&["--max-line", "100"]);
    let mut alice = server.join("127.0.0.2");
    let (mut bot, hello) = join_as_program(&server, "127.0.0.3");
    let said = say_from("127.0.0.4", web, "backup", "the backup is done\u{1b}[31m");
    assert_eq!(said.status, 200);
    alice.expect_line("<backup> the backup is done␛[31m");
    let event = next_of_kind(&mut bot, "message");
    assert_eq!(event["seq"], said.json()["seq"]);
    assert_eq!(
        (&event["name"], event.get("from")),
        (&json!("backup"), None)
    );
    assert_eq!(hello["here"], 2, "it is not listed");

    alice.say("/nick alice");
    alice.expect_line("-- you are now alice");
    for (ip, name, text, status, code) in [
        ("127.0.0.4", "alice", "x", 409, "name_taken"),
        ("127.0.0.2", "ALICE", "x", 409, "name_taken"),
        ("127.0.0.4", "al\u{456}ce", "x", 400, "bad_name"),
        ("127.0.0.4", "a1ice", "x", 409, "name_alike"),
        ("127.0.0.5", "backup", "x", 409, "name_held"),
        ("127.0.0.4", "operator", "x", 400, "bad_name"),
        ("127.0.0.4", "127.0.0.1", "x", 400, "bad_name"),
        ("127.0.0.4", "", "x", 400, "bad_name"),
        ("127.0.0.4", "backup", "  ", 400, "usage"),
        ("127.0.0.4", "backup", &"x".repeat(101), 413, "too_long"),
    ] {
        let no = say_from(ip, web, name, text);
        assert_eq!(
            (no.status, &no.json()["code"]),
            (status, &json!(code)),
            "{name}: {text}"
        );
        assert!(
            no.json()["text"]
                .as_str()
                .is_some_and(|words| !words.is_empty())
        );
    }
    for body in [
        "",
        "{}",
        "[]",
        "nonsense",
        r#"{"name":"backup"}"#,
        r#"{"name":1,"text":"x"}"#,
    ] {
        let no = ask_from("127.0.0.4", web, say_request(web, "", body));
        assert_eq!(
            (no.status, &no.json()["code"]),
            (400, &json!("usage")),
            "{body}"
        );
    }
    // It is no command, whatever it looks like.
    assert_eq!(say_from("127.0.0.4", web, "backup", "/quit").status, 200);
    alice.expect_line("<backup> /quit");
    alice.expect_nothing_new();
    // The name is for that address.
    let mut bob = server.join("127.0.0.5");
    bob.say("/nick backup");
    assert!(bob.next_line().expect("a line").contains("is kept"));
    let mut carol = server.join("127.0.0.4");
    carol.say("/nick backup");
    carol.expect_line("-- you are now backup");
    assert_eq!(say_from("127.0.0.4", web, "backup", "x").status, 409);
}

#[test]
fn a_body_may_come_late_and_its_sender_may_wait_to_be_asked() {
    let (server, web) = start(&[]);
    let mut alice = server.join("127.0.0.2");
    let body = r#"{"name":"slow","text":"in pieces"}"#;
    let request = say_request(web, "Expect: 100-continue\r\n", body);
    let head = request.strip_suffix(body).expect("the body");
    let mut peer = Peer::connect(web);
    for byte in head.as_bytes() {
        peer.send([*byte]);
    }
    peer.expect_line("HTTP/1.1 100 Continue\r");
    peer.expect_line("\r");
    for byte in body.as_bytes() {
        peer.send([*byte]);
    }
    assert_eq!(answer(&mut peer).status, 200);
    alice.expect_line("<slow> in pieces");
    // Half a body.
    let peer = &mut Peer::connect(web);
    peer.send(&request[..request.len() - 1]);
    peer.close_write();
    assert!(peer.rest().contains("HTTP/1.1 400 "));
    alice.expect_nothing_new();
}

#[test]
fn a_repeated_request_with_a_key_says_nothing_again() {
    let (server, web) = start(&[]);
    let mut alice = server.join("127.0.0.2");
    let body = r#"{"name":"ci","text":"red"}"#;
    let keyed = say_request(web, "Idempotency-Key: run-1\r\n", body);
    let first = ask_from("127.0.0.4", web, &keyed);
    assert_eq!(first.status, 200);
    assert_eq!(ask_from("127.0.0.4", web, &keyed).json(), first.json());
    alice.expect_line("<ci> red");
    alice.expect_nothing_new();
    let other = keyed.replace("red", "bad");
    assert_eq!(ask_from("127.0.0.4", web, other).status, 422);
    let next = keyed.replace("run-1", "run-2");
    assert_ne!(ask_from("127.0.0.4", web, next).json(), first.json());
    alice.expect_line("<ci> red");
    // A key is its address' own.
    let elsewhere = keyed.replace(r#""ci""#, r#""cj""#);
    assert_eq!(ask_from("127.0.0.5", web, elsewhere).status, 200);
    alice.expect_line("<cj> red");
    for key in ["", "two words", &"x".repeat(256)] {
        let wrong = keyed.replace("run-1", key);
        assert_eq!(ask_from("127.0.0.4", web, wrong).status, 400, "{key}");
    }
    alice.expect_nothing_new();
}

#[test]
fn lines_from_one_address_are_rated() {
    let (_server, web) = start(&["--rate", "1"]);
    let mut answers = (0..60).map(|_| say_from("127.0.0.4", web, "ci", "again"));
    let refused = answers.find(|answer| answer.status != 200);
    let refused = refused.expect("fifty lines, and then one each second");
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (429, &json!("too_many"))
    );
    assert_eq!(refused.header("Retry-After"), Some("1"));
    assert_eq!(say_from("127.0.0.5", web, "cj", "another").status, 200);
}

#[test]
fn who_may_not_join_gets_nothing() {
    let (server, web) = start(&["--deny", "127.0.0.9", "--max-per-ip", "1"]);
    for line in ["GET /", "GET /metrics", "GET /healthz"] {
        let answer = ask_from("127.0.0.9", web, request(line, web, ""));
        assert_eq!(
            (answer.status, &*answer.body),
            (403, "your address is not allowed here; ask the operator\n")
        );
    }
    assert_eq!(say_from("127.0.0.9", web, "x", "x").status, 403);
    let upgraded = ask_from("127.0.0.9", web, upgrade_request(web, ""));
    assert_eq!(upgraded.status, 403);
    // In a full room the page is there, and says why one cannot join.
    let _alice = server.join("127.0.0.2");
    assert_eq!(
        ask_from("127.0.0.2", web, request("GET /", web, "")).status,
        200
    );
    let mut peer = Peer::connect_from("127.0.0.2", web);
    peer.send(upgrade_request(web, ""));
    while peer.next_line().expect("a head") != "\r" {}
    let refusal = b"!! too many connections from your address (1); close one\n";
    peer.expect_bytes(&[&[0x82, refusal.len() as u8], &refusal[..]].concat());
    peer.expect_bytes(&[0x88, 2, 0x03, 0xf5]);
    peer.expect_end();
}

#[test]
fn figures_are_what_prometheus_reads() {
    let (server, web) = start(&[]);
    let _alice = server.join("127.0.0.2");
    assert_eq!(get(web, "/healthz").body, "ok\n");
    let metrics = get(web, "/metrics");
    let content_type = metrics.header("Content-Type");
    assert_eq!(
        content_type,
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let mut typed = None;
    for line in metrics.body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            typed = rest.split_once(' ');
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            let (family, kind) = typed.expect("a type before its samples");
            assert_eq!(name.split('{').next(), Some(family));
            assert_eq!(kind == "counter", family.ends_with("_total"), "{family}");
            value.parse::<u64>().expect("a number");
        }
    }
    assert!(metrics.body.contains("\nchat_clients 1\n"));
    assert!(
        metrics
            .body
            .contains("\nchat_dropped_total{reason=\"stuck\"} 0\n")
    );
}

#[test]
fn frames_and_lines_talk() {
    let (server, web) = start(&[]);
    let mut alice = server.join("127.0.0.2");
    let mut bob = WebSocket::open("127.0.0.3", web);
    alice.say("hello, bob");
    assert_eq!(bob.next_line(), "<127.0.0.2> hello, bob");
    // A message is cut anywhere, by frames and by the network.
    let message = [
        frame(0x01, "hel".as_bytes()),
        frame(0x89, b"there?"),
        frame(0x00, "lo, \u{e4}".as_bytes()),
        frame(0x80, "lice\nand ".as_bytes()),
        frame(0x82, b"more\n"),
    ]
    .concat();
    for byte in message {
        bob.stream.write_all(&[byte]).expect("a server that reads");
    }
    assert_eq!(bob.next_frame(), Frame::Pong(b"there?".to_vec()));
    alice.expect_line("<127.0.0.3> hello, älice");
    alice.expect_line("<127.0.0.3> and more");
    let (mut carol, hello) = WebSocket::open_as_program("127.0.0.4", web);
    assert_eq!(hello["here"], 3);
    let text = "x".repeat(4000);
    for _ in 0..50 {
        alice.say(&text);
    }
    for _ in 0..50 {
        assert_eq!(carol.next_of_kind("message")["text"], text);
        assert_eq!(bob.next_line(), format!("<127.0.0.2> {text}"));
    }
    carol.send("/quit\n");
    assert_eq!(carol.next_of_kind("bye")["code"], "quit");
    assert_eq!(carol.next_frame(), Frame::Close(vec![0x03, 0xe8]));
    assert_eq!(carol.stream.read(&mut [0]).expect("an end"), 0);
    // What breaks the rules ends, with a code.
    bob.stream
        .write_all(b"\x81\x01x")
        .expect("a server that reads");
    assert_eq!(bob.next_frame(), Frame::Close(vec![0x03, 0xea]));
}

#[test]
fn a_close_frame_is_a_loss_and_a_session_goes_on_by_another_connection() {
    let (server, web) = start(&[]);
    let mut alice = server.join("127.0.0.2");
    let (mut bot, hello) = WebSocket::open_as_program("127.0.0.3", web);
    bot.send("/nick bot\none\n");
    let seq = bot.next_of_kind("message")["seq"]
        .as_u64()
        .expect("a place");
    alice.expect_line("<bot> one");
    bot.send_frame(0x88, &1001_u16.to_be_bytes());
    assert_eq!(bot.next_frame(), Frame::Close(vec![0x03, 0xe9]));
    drop(bot);
    alice.say("while it is away");
    let token = hello["token"].as_str().expect("a token");
    let mut back = WebSocket::open("127.0.0.3", web);
    back.send(&format!("/json\n/resume {token} {seq}\n"));
    assert_eq!(back.next_of_kind("hello")["resumed"], false);
    let resumed = back.next_of_kind("hello");
    let fields = [&resumed["resumed"], &resumed["name"], &resumed["heard"]];
    assert_eq!(fields, [&json!(true), &json!("bot"), &json!(2)]);
    assert_eq!(back.next_event()["text"], "while it is away");
    // Plain, next.
    let mut plain = server.join("127.0.0.3");
    eventually("a second since the last resume", || {
        plain.send(format!("/json\n/resume {token} {seq}\n"));
        next_of_kind(&mut plain, "hello");
        let second = crate::json::next_event(&mut plain);
        if second["code"] != "too_soon" {
            assert_eq!(second["resumed"], true);
            return Some(());
        }
        plain = server.join("127.0.0.3");
        None
    });
    assert_eq!(back.next_of_kind("bye")["code"], "replaced");
    assert_eq!(back.next_frame(), Frame::Close(vec![0x03, 0xe8]));
}

#[test]
fn a_room_that_closes_says_so_in_the_last_frames() {
    let (mut server, web) = start(&[]);
    let (mut bot, _) = WebSocket::open_as_program("127.0.0.3", web);
    let _silent = Peer::connect(web);
    server.signal(Signal::TERM);
    assert_eq!(bot.next_of_kind("bye")["code"], "closing");
    assert_eq!(bot.next_frame(), Frame::Close(vec![0x03, 0xe9]));
    drop(bot);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn a_request_has_ten_seconds() {
    let (_server, web) = start(&[]);
    let began = Instant::now();
    let mut silent = Peer::connect(web);
    let mut slow = Peer::connect(web);
    slow.send("GET / HTTP/1.1\r\n");
    assert_eq!(answer(&mut slow).status, 408);
    silent.expect_end();
    assert!(began.elapsed() > Duration::from_secs(9));
}

#[test]
fn ten_thousand_half_open_heads_are_bounded_and_delay_nobody() {
    const HEADS: usize = 10_000;
    const MOST_VISITORS: usize = 512;
    let _alone = alone_under_load();
    let (server, web) = start(&[]);
    let before = server.descriptors();
    let probe = Probe::join(server.address);
    let probing = std::thread::spawn(move || probe.run(Duration::from_secs(2)));
    // As many as this process may hold at once.
    let mut heads = std::collections::VecDeque::new();
    let mut most = 0;
    for nth in 0..HEADS {
        let head = Peer::connect(web);
        // What does not get there was closed already.
        let _ = head.try_send("GET / HTTP/1.1\r\nX: ");
        heads.push_back(head);
        if heads.len() > 600 {
            heads.pop_front();
        }
        if nth % 100 == 0 {
            most = most.max(server.descriptors());
        }
    }
    assert!(most <= before + MOST_VISITORS + 8, "{most}");
    assert_eq!(get(web, "/healthz").body, "ok\n", "the oldest make room");
    let delays = probing.join().expect("a probe");
    println!(
        "an ordinary line: median {:?}, longest {:?}",
        delays.median(),
        delays.longest()
    );
    assert_eq!(delays.unheard, 0);
    assert!(delays.longest() < Duration::from_secs(5));
}

#[test]
fn a_crowd_that_visits_turns_nobody_else_away() {
    const CROWD: usize = 30_000;
    const REQUESTS: usize = 40;
    // So few may visit at once that the crowd fills the places anew all the time.
    let mut server = start_with_limit("-n", &["--web", "0"]);
    let web = web_port_of(&mut server);
    let is_over = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut crowd = std::collections::VecDeque::new();
            for _ in 0..CROWD {
                let one = Peer::connect_from("127.0.0.2", web);
                let _ = one.try_send("GET / HTTP/1.1\r\n");
                crowd.push_back(one);
                if crowd.len() > 200 {
                    crowd.pop_front();
                }
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let request = request("GET /healthz", web, "");
        let answers = (0..REQUESTS).map(|_| {
            let mut stream = Peer::connect_from("127.0.0.3", web).into_stream();
            let mut answer = String::new();
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_string(&mut answer);
            answer.ends_with("ok\n")
        });
        let answered = answers.filter(|&is_answered| is_answered).count();
        is_over.store(true, Ordering::Relaxed);
        answered
    });
    assert_eq!(answered, REQUESTS);
}

#[test]
fn an_idle_connection_takes_256_bytes_at_most() {
    /// More than that many timers of newcomers are swept.
    const BEFORE: usize = 1200;
    const CONNECTIONS: usize = 3000;
    /// With assertions, mio notes in each stream where it is registered.
    const NOTED_BY_MIO_BYTES: usize = if cfg!(debug_assertions) { 16 } else { 0 };
    if !may_open(BEFORE + CONNECTIONS + OTHER_DESCRIPTORS) {
        return;
    }
    let _alone = alone_under_load();
    let (server, web) = start(&[]);
    let open = |count: usize| -> Vec<WebSocket> {
        (0..count)
            .map(|_| WebSocket::open("127.0.0.2", web))
            .collect()
    };
    let _before = open(BEFORE);
    let before = server.anonymous_bytes();
    let _sockets = open(CONNECTIONS);
    let bytes = server.anonymous_bytes().saturating_sub(before);
    let bytes_each = bytes.div_ceil(CONNECTIONS);
    println!("{bytes_each} bytes of user memory for each WebSocket connection");
    assert!(bytes_each <= 256 + NOTED_BY_MIO_BYTES, "{bytes_each}");
    server.expect_idle();
}

#[test]
fn curl_says_a_line_and_reads_the_page() {
    if !can_test_with("curl") {
        return;
    }
    let (server, web) = start(&[]);
    let mut alice = server.join("127.0.0.2");
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS"])
            .args(arguments)
            .output()
            .expect("curl");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let say = format!("http://{web}/say");
    // From a terminal, by a file of some size, and over HTTP/1.0.
    let long = format!(r#"{{"name":"curl","text":"{}"}}"#, "x".repeat(4000));
    for body in [r#"{"name":"curl","text":"hello"}"#, &long] {
        let said = curl(&["-H", "Content-Type: application/json", "-d", body, &say]);
        assert!(said.starts_with("{\"seq\":"), "{said}");
    }
    alice.expect_line("<curl> hello");
    assert!(alice.next_line().expect("a line").len() > 4000);
    let old = curl(&["-0", &format!("http://{web}/healthz")]);
    assert_eq!(old, "ok\n");
    let page = curl(&[&format!("http://localhost:{}/", web.port())]);
    assert_eq!(page, get(web, "/").body);
}

/// Prometheus' own reader of its text format.
const PROMETHEUS_PARSER: &str = r#"
import sys, prometheus_client.parser as parser

for family in parser.text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(family.type, sample.name, dict(sample.labels), sample.value)
"#;

#[test]
#[ignore = "needs what is not in Debian: .ci/long web_clients"]
fn prometheus_reads_the_figures() {
    let python = env::var("CHAT_TEST_PYTHON").expect("a python3 with prometheus_client");
    let (server, web) = start(&[]);
    let _alice = server.join("127.0.0.2");
    let figures = get(web, "/metrics").body;
    let mut command = Command::new(python);
    command.args(["-c", PROMETHEUS_PARSER]);
    let mut parser = Process::spawn(piped(command));
    let mut input = parser.take_stdin();
    input
        .write_all(figures.as_bytes())
        .expect("a parser that reads");
    drop(input);
    let parsed = parser.finish();
    assert_eq!(parsed.code, 0, "{}", parsed.stderr);
    for sample in [
        "gauge chat_clients {} 1",
        "counter chat_joined_total {} 1",
        "counter chat_dropped_total {'reason': 'stuck'} 0",
    ] {
        let is_there = parsed.stdout.lines().any(|line| line == sample);
        assert!(is_there, "no {sample}: {}", parsed.stdout);
    }
    // Each line with a figure is one sample, and all have a type.
    let lines = figures.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(parsed.stdout.lines().count(), lines.count());
    assert!(!parsed.stdout.contains("unknown"), "{}", parsed.stdout);
}

#[test]
#[ignore = "needs what is not in Debian: .ci/long web_clients"]
fn wscat_talks_and_listens() {
    assert!(can_test_with("wscat"));
    let (server, web) = start(&[]);
    let mut alice = server.join("127.0.0.2");
    let mut command = Command::new("wscat");
    let url = format!("ws://{web}/ws");
    // It ends no line by itself.
    command.args([
        "--connect",
        &url,
        "--execute",
        "hello from wscat\n",
        "--wait",
        "-1",
    ]);
    let mut wscat = Process::spawn(piped(command));
    wscat.stdout().expect_line(WELCOME);
    alice.expect_line("<127.0.0.1> hello from wscat");
    alice.say("hello, wscat");
    while !(wscat.stdout().next_line())
        .is_some_and(|line| line.contains("<127.0.0.2> hello, wscat"))
    {}
    wscat.signal(Signal::INT);
}

/// A client of Python's `websockets`.
const PYTHON_CLIENT: &str = r#"
import asyncio, sys, websockets

async def main(address):
    async with websockets.connect(f"ws://{address}/ws", origin=f"http://{address}") as socket:
        print((await socket.recv()).decode(), end="", flush=True)
        await socket.send("hello from Python\n")
        await (await socket.ping())
        print((await socket.recv()).decode(), end="", flush=True)

asyncio.run(main(sys.argv[1]))
"#;

#[test]
fn a_websocket_client_of_others_talks_and_listens() {
    let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let has = Command::new(python)
            .args(["-c", "import websockets"])
            .output();
        has.is_ok_and(|output| output.status.success())
    });
    if !can_test(python.is_some(), "no python3 has the module websockets") {
        return;
    }
    let (server, web) = start(&[]);
    let mut alice = server.join("127.0.0.2");
    let mut command = Command::new(python.expect("it was found"));
    command.args(["-c", PYTHON_CLIENT, &web.to_string()]);
    let mut client = Process::spawn(piped(command));
    client.stdout().expect_line(WELCOME);
    alice.expect_line("<127.0.0.1> hello from Python");
    alice.say("hello, Python");
    client.stdout().expect_line("<127.0.0.2> hello, Python");
    let finished = client.finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

fn with_bearer(web: SocketAddr, line: &str, password: &str) -> String {
    request(line, web, &format!("Authorization: Bearer {password}\r\n"))
}

#[test]
fn a_room_with_a_password_wants_it_of_all_but_the_page() {
    let (_folder, path) = password_file("green tea");
    let path = path.to_str().expect("a plain path");
    let (server, web) = start(&["--password-file", path, "--plain", "all"]);
    for path in ["/", "/chat.js", "/healthz"] {
        assert_eq!(get(web, path).status, 200, "{path}");
    }
    let locked = get(web, "/metrics");
    assert_eq!(locked.status, 401);
    assert_eq!(locked.header("WWW-Authenticate"), Some("Bearer"));
    assert!(!locked.body.contains("chat_clients"));
    let figures = ask_from(
        "127.0.0.1",
        web,
        with_bearer(web, "GET /metrics", "green tea"),
    );
    assert!(figures.body.contains("chat_clients 0"), "{figures:?}");
    let mut reader = server.join("127.0.0.2");
    reader.send("/pass green tea\n/who\n");
    while !(reader.next_line().expect("who is here")).contains("1 here") {}
    let body = json!({ "name": "backup", "text": "done" }).to_string();
    let say = |fields: &str| ask_from("127.0.0.3", web, say_request(web, fields, &body)).status;
    assert_eq!(say(""), 401);
    assert_eq!(say("Authorization: Basic Z3JlZW4gdGVh\r\n"), 401);
    assert_eq!(say("authorization: bearer green tea\r\n"), 200);
    reader.expect_line("<backup> done");
    for _ in 0..5 {
        assert_eq!(say("Authorization: Bearer x\r\n"), 401);
    }
    assert_eq!(say("Authorization: Bearer green tea\r\n"), 429);
}

#[test]
fn by_websocket_the_door_is_the_same() {
    let (_folder, path) = password_file("green tea");
    let path = path.to_str().expect("a plain path");
    let (server, web) = start(&["--password-file", path, "--plain", "all"]);
    let mut reader = server.join("127.0.0.2");
    reader.send("/pass green tea\n/who\n");
    while !(reader.next_line().expect("who is here")).contains("1 here") {}
    let greeting = [WELCOME, "-- this room has a password: /pass PASSWORD"];
    let mut guest = WebSocket::open_greeted("127.0.0.3", web, &greeting);
    reader.say("a secret");
    guest.send("/json\n/pass x\n");
    assert_eq!(guest.next_event()["code"], "password_needed");
    assert_eq!(guest.next_event()["code"], "wrong_password");
    // Torn, and with more behind it.
    guest.send("/pass gre");
    guest.send("en tea\nhello\n");
    assert_eq!(guest.next_event()["kind"], "hello");
    assert_eq!(guest.next_event()["text"], "hello");
    reader.expect_line("<127.0.0.3> hello");
    let mut talker = WebSocket::open_greeted("127.0.0.4", web, &greeting);
    talker.send("1\n2\n3\n");
    for _ in 0..2 {
        let asked = talker.next_line();
        assert!(asked.starts_with("!! this room has a password"), "{asked}");
    }
    assert_eq!(
        talker.next_line(),
        "-- goodbye: this room has a password; ask the host for it"
    );
    assert!(matches!(talker.next_frame(), Frame::Close(_)));
}
