//! `chat stress`: it reports what a server did, and above all what it did wrong.

mod common;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use common::peer::WELCOME;
use common::process::{CHAT, Finished, Process, chat, piped};
use common::pty::open_terminal;
#[cfg(feature = "tls")]
use common::secured::SecuredServer;
use common::server::{Server, password_file, server_command};

fn stress_command(server: SocketAddr, options: &[&str]) -> Command {
    let (ip, port) = (server.ip().to_string(), server.port().to_string());
    let mut command = chat(["stress", &ip, &port]);
    command.args(options);
    command
}

#[track_caller]
fn stress(server: SocketAddr, options: &[&str]) -> Finished {
    Process::spawn(stress_command(server, options)).finish()
}

/// The result of a test's only step, as JSON.
#[track_caller]
fn stress_json(server: SocketAddr, options: &[&str]) -> (Finished, Value) {
    let finished = stress(server, &[options, &["--json"]].concat());
    let report: Value = serde_json::from_str(&finished.stdout).expect("JSON on standard output");
    let step = report["steps"][0].clone();
    (finished, step)
}

#[test]
fn every_line_reaches_everybody_else() {
    let server = Server::start();
    let options = ["--clients", "50", "--talkers", "3", "--lines", "40"];
    let (finished, step) = stress_json(server.address, &options);
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.code, 0);
    assert_eq!(step["connections"]["made"], 50);
    assert_eq!(step["lines"]["said"], 3 * 40);
    assert_eq!(step["deliveries"]["made"], 3 * 40 * 49);
    for flaw in ["lost", "duplicated", "reordered", "echoed"] {
        assert_eq!(step["deliveries"][flaw], 0, "{flaw}");
    }
    assert_eq!(step["flaws"], serde_json::json!([]));
    assert!(step["delay_ms"]["p50"].as_f64() > Some(0.0));
    assert!(step["cost"].is_null());
    assert_eq!(step["loop"], "closed");
    assert!(step["longest_silence_ms"].as_f64() > Some(0.0));
    // What the room tells of the clients is none of anybody's lines.
    assert_eq!(step["lines"]["others"], 0);
}

#[test]
fn a_room_with_a_password_lets_in_a_crowd_that_knows_it() {
    let (server, folder) = Server::locked(&[]);
    let file = folder.path().join("password");
    let file = file.to_str().expect("a plain path");
    for wire in ["text", "json"] {
        let options = ["-c", "20", "--lines", "10", "--wire", wire];
        let (finished, step) = stress_json(
            server.address,
            &[&options[..], &["--password-file", file]].concat(),
        );
        assert_eq!((finished.code, &*finished.stderr), (0, ""));
        assert_eq!(step["connections"]["made"], 20);
        assert_eq!(step["deliveries"]["made"], 10 * 19);
        let (_other, wrong) = password_file("black tea");
        let wrong = wrong.to_str().expect("a plain path");
        let finished = stress(
            server.address,
            &["-c", "2", "--wire", wire, "--password-file", wrong],
        );
        assert_eq!(finished.code, 5, "{}", finished.stderr);
        assert!(
            finished.stderr.contains("wrong password"),
            "{}",
            finished.stderr
        );
    }
}

#[test]
fn a_crowd_without_the_password_is_refused_at_once() {
    let (server, _folder) = Server::locked(&[]);
    for wire in ["text", "json"] {
        let begun = Instant::now();
        let finished = stress(server.address, &["-c", "20", "--wire", wire]);
        assert_eq!(finished.code, 5, "{}", finished.stderr);
        let words = "this room has a password: /pass PASSWORD (give --password-file FILE)";
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
        assert!(begun.elapsed() < Duration::from_secs(8));
    }
}

#[test]
fn what_a_room_says_before_it_closes_newcomers_is_shown() {
    const WORDS: &str = "too many wrong passwords from your address; try again in 9 s";
    let (_folder, file) = password_file("green tea");
    let file = file.to_str().expect("a plain path");
    for (wire, last) in [
        ("text", format!("-- {WORDS}")),
        (
            "json",
            format!(r#"{{"kind":"bye","code":"password","again":9,"text":"{WORDS}"}}"#),
        ),
    ] {
        let server = server_that(move |_, mut stream| {
            greet(&mut stream);
            let needed = "-- this room has a password: /pass PASSWORD";
            writeln!(stream, "{needed}").expect("a client that reads");
            let mut said = BufReader::new(stream.try_clone().expect("a free descriptor"));
            let mut line = String::new();
            while !line.starts_with("/pass ") {
                line.clear();
                assert_ne!(said.read_line(&mut line).expect("a line"), 0);
            }
            writeln!(stream, "{last}").expect("a client that reads");
            stream
                .shutdown(std::net::Shutdown::Write)
                .expect("a client that reads");
            read_all(stream);
        });
        let finished = stress(
            server,
            &["-c", "2", "--wire", wire, "--password-file", file],
        );
        assert_eq!(finished.code, 5, "{}", finished.stderr);
        assert!(finished.stderr.contains(WORDS), "{}", finished.stderr);
    }
}

#[cfg(feature = "tls")]
#[test]
fn websocket_is_spoken_over_tls_at_the_web_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = ["--tls", "--tls-port", "0", "--web", "0"];
    let mut command = server_command("127.0.0.1", &options);
    command.env("XDG_STATE_HOME", folder.path());
    let mut server = Server::spawn(command);
    let (mut web, mut lines, mut key) = (None, None, None);
    while web.is_none() || lines.is_none() {
        let line = server.stdout().next_line().expect("a banner");
        if let Some((_, address)) = line.split_once("https://") {
            web = address.trim_end_matches('/').parse().ok();
        } else if let Some((way, fingerprint)) = line.split_once("   # ") {
            let place = way.trim().strip_prefix("chat client --tls ");
            lines = place.and_then(|place| place.replace(' ', ":").parse().ok());
            key = Some(fingerprint.to_owned());
        }
    }
    let key = key.expect("a fingerprint");
    let options = ["-c", "5", "--lines", "10", "--wire", "websocket", "--tls"];
    let options = [&options[..], &["--fingerprint", &key]].concat();
    let (finished, step) = stress_json(web.expect("an address"), &options);
    assert_eq!((finished.code, &*finished.stderr), (0, ""));
    assert_eq!(step["deliveries"]["made"], 10 * 4);
    let finished = stress(lines.expect("an address"), &options);
    assert_eq!(finished.code, 3, "{}", finished.stderr);
    let words = "; --wire websocket needs the server's web port\n";
    assert!(finished.stderr.ends_with(words), "{}", finished.stderr);
}

#[cfg(feature = "tls")]
#[test]
fn a_crowd_gives_the_password_over_tls() {
    let (_folder, file) = password_file("green tea");
    let file = file.to_str().expect("a plain path");
    let room = SecuredServer::with(&["--password-file", file]);
    let options = [
        &["-c", "20", "--lines", "10", "--wire", "json"][..],
        &["--tls", "--fingerprint", &room.fingerprint],
        &["--password-file", file],
    ];
    let (finished, step) = stress_json(room.tls_address, &options.concat());
    assert_eq!((finished.code, &*finished.stderr), (0, ""));
    assert_eq!(step["deliveries"]["made"], 10 * 19);
}

#[test]
fn results_name_the_machine_and_the_arguments() {
    let server = Server::start();
    let options = ["-c", "3", "--lines", "2", "--json"];
    let finished = stress(server.address, &options);
    let report: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert!(report["cores"].as_u64() > Some(0));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a Linux");
    assert_eq!(report["kernel"], format!("Linux {}", kernel.trim()));
    assert!(!report["cpu"].as_str().expect("a name").is_empty());
    let arguments = report["arguments"].as_array().expect("a list");
    assert_eq!(arguments[0], "stress");
    assert_eq!(arguments[3..], options);
}

#[test]
fn all_can_talk_at_once() {
    let server = Server::start();
    let options = ["-c", "60", "-t", "60", "--in-flight", "20", "--lines", "20"];
    let (finished, step) = stress_json(server.address, &options);
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.code, 0);
    assert_eq!(step["deliveries"]["made"], 60 * 59 * 20);
}

#[test]
fn readers_of_json_are_checked_as_well() {
    let mut server = Server::start();
    let options = ["-c", "5", "-t", "2", "--lines", "20", "--wire", "json"];
    let (finished, step) = stress_json(server.address, &options);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(step["deliveries"]["made"], 2 * 20 * 4);
    // They hear themselves, as every reader of JSON does.
    assert_eq!(step["deliveries"]["echoed"], 0);
    server.signal(Signal::USR1);
    let statistics = server.stderr().next_line().expect("a line of statistics");
    let lines = 5 + 2 * 20;
    let asked = format!(" lines_in={lines} ");
    assert!(statistics.contains(&asked), "no /json: {statistics}");
}

#[cfg(feature = "web")]
#[cfg(feature = "tls")]
#[test]
fn readers_over_tls_are_checked_as_well_in_a_room_that_is_known() {
    let room = SecuredServer::start();
    let options = [
        "-c", "20", "-t", "3", "--lines", "40", "--size", "4000", "--tls",
    ];
    let strange = stress(room.tls_address, &options);
    assert_eq!(strange.code, 7, "{}", strange.stderr);
    assert!(
        strange.stderr.contains(&room.fingerprint),
        "{}",
        strange.stderr
    );
    let known = ["--fingerprint", &room.fingerprint];
    let (finished, step) = stress_json(room.tls_address, &[&options[..], &known].concat());
    assert_eq!((finished.stderr.as_str(), finished.code), ("", 0));
    assert_eq!(step["deliveries"]["made"], 3 * 40 * 19);
}

#[test]
fn readers_by_websocket_are_checked_as_well() {
    let mut server = Server::with(&["--web", "0"]);
    server.skip_banner();
    let line = server.stdout().next_line().expect("where the page is");
    let web = line.trim_matches(|letter: char| !letter.is_ascii_digit());
    let web = web.parse().expect("an address");
    // The batches are large enough to be sent by reference, where that is possible.
    let options = ["-c", "12", "-t", "2", "--lines", "600", "-i", "300"];
    let (finished, step) = stress_json(web, &[&options[..], &["--wire", "websocket"]].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(step["deliveries"]["made"], 2 * 600 * 11);
    assert_eq!(step["deliveries"]["echoed"], 0);

    // No other port speaks it.
    let options = ["-c", "2", "--lines", "1", "--wire", "websocket"];
    let finished = stress(server.address, &options);
    assert_eq!(finished.code, 3);
    let words = "no WebSocket here: the answer is \"Welcome to this chatroom!\"; \
                 --wire websocket needs the server's web port\n";
    assert!(finished.stderr.contains(words), "{}", finished.stderr);
}

#[test]
fn a_frame_that_no_room_sends_is_an_error() {
    let server = server_that(|nth, mut stream| {
        let hello = b"{\"kind\":\"hello\",\"you\":1}\n";
        let head = b"HTTP/1.1 101 Switching Protocols\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let answer = [head, &[0x82, hello.len() as u8][..], hello].concat();
        stream.write_all(&answer).expect("a client that reads");
        if nth == 0 {
            // Once it talks, after its request and the frame that asks for JSON.
            let mut said = BufReader::new(stream.try_clone().expect("a free descriptor"));
            let ask_frame_bytes = 2 + 4 + b"/json\n".len();
            while said.read_line(&mut String::new()).expect("a line") > b"\r\n".len() {}
            let talk = &mut vec![0; ask_frame_bytes + 1];
            said.read_exact(talk).expect("a client that talks");
            let text_frame = [0x81, 1, b'x'];
            stream.write_all(&text_frame).expect("a client that reads");
        }
        read_all(stream);
    });
    let options = ["-c", "2", "--lines", "1", "--wire", "websocket"];
    let (finished, step) = stress_json(server, &options);
    assert_eq!(step["connections"]["made"], 2);
    let expected = "1 client dropped (a wrong WebSocket frame: not binary and whole, [81])";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
}

#[test]
fn rate_and_duration_are_kept() {
    let server = Server::start();
    let options = ["-c", "4", "-t", "2", "--rate", "50", "--duration", "1"];
    let (finished, step) = stress_json(server.address, &options);
    assert_eq!(finished.code, 0);
    // One second of lines, the first at its start.
    assert_eq!(step["lines"]["said"], 2 * 50);
    let rate = step["lines"]["per_second"].as_f64().expect("a number");
    assert!((50.0..=101.0).contains(&rate), "{rate}");
}

#[test]
fn people_get_a_table() {
    let server = Server::start();
    let finished = stress(server.address, &["--clients", "10", "--lines", "5"]);
    let words = [
        "10 made, 0 refused, 0 failed",
        "5 of 64 bytes, 1 talking",
        "deliveries   45",
        "every line reached every reader once, in order",
        "p50 ",
        "p99.9 ",
        "max ",
        "in a closed loop: while a line is late, no other is said; longest silence ",
    ];
    for words in words {
        assert!(finished.stdout.contains(words), "{}", finished.stdout);
    }
    // No progress bar without a terminal.
    assert_eq!(finished.stderr, "");
}

#[test]
fn a_terminal_shows_progress_bars() {
    let server = Server::start();
    let (mut screen, terminal) = open_terminal();
    let mut command = stress_command(server.address, &["-c", "3", "-d", "1"]);
    command.stderr(terminal);
    let mut process = Process::spawn(command);
    let shown = screen.rest();
    assert!(shown.contains("talking"), "{shown:?}");
    // Updated, with more than zeros.
    let is_counted = |line: &str| line.contains(" deliveries") && !line.contains(" 0 deliveries");
    assert!(shown.split('\r').any(is_counted), "{shown:?}");
    let warning = "the room's history, and its transcript if it keeps one, fill";
    assert!(shown.contains(warning), "{shown:?}");
    assert_eq!(process.exit_code(), 0);
}

#[test]
fn a_ramp_has_a_row_for_each_step() {
    let server = Server::start();
    let options = ["--clients", "300", "--ramp", "--lines", "3"];
    let finished = stress(server.address, &options);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let clients: Vec<&str> = finished
        .stdout
        .lines()
        .filter_map(|row| row.split_whitespace().next())
        .collect();
    assert_eq!(clients, ["clients", "100", "200", "300", "delays"]);
    let note = "delays are in a closed loop";
    assert!(finished.stdout.contains(note), "{}", finished.stdout);
}

#[test]
fn a_ramp_alone_goes_on_until_something_fails() {
    let server = Server::with(&["--max-clients", "450"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    let (csv, plot) = (path("counts.csv"), path("ramp.svg"));
    let options = ["--ramp", "--lines", "2", "--csv", &csv, "--plot", &plot];
    let finished = stress(server.address, &options);
    assert_eq!(finished.code, 5, "{}", finished.stderr);
    let rows: Vec<&str> = finished.stdout.lines().collect();
    assert!(rows[2].trim_start().starts_with("200 ") && rows[2].ends_with(" none"));
    assert!(rows[3].trim_start().starts_with("450 ") && rows[3].ends_with(" 50 refused"));
    assert_eq!(rows.len(), 5, "{}", finished.stdout);

    let counts = fs::read_to_string(csv).expect("a file");
    let mut rows = counts.lines();
    assert_eq!(rows.next(), Some("clients,what,delay_us,count"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(',').collect()).collect();
    let sum = |clients, what| -> u64 {
        let rows = rows.iter().filter(|row| row[..2] == [clients, what]);
        rows.map(|row| row[3].parse::<u64>().expect("a count"))
            .sum()
    };
    assert_eq!((sum("500", "made"), sum("500", "refused")), (250, 50));
    assert_eq!(sum("200", "deliveries"), 2 * 199);
    assert_eq!(sum("200", "delay"), 2 * 199);
    assert_eq!(sum("500", "delay"), 2 * 449);

    let svg = fs::read_to_string(plot).expect("a file");
    for words in ["clients", "delay, ms", "median", "p99"] {
        assert!(svg.contains(words), "no {words}");
    }
}

#[test]
fn a_ramp_that_nothing_stops_says_what_the_end_is() {
    let server = Server::start();
    let (ip, port) = (server.address.ip(), server.address.port());
    let mut command = piped(Command::new("sh"));
    let script = format!("ulimit -n 182 && exec {CHAT} stress {ip} {port} --ramp --lines 1");
    command.args(["-c", &script]);
    let finished = Process::spawn(command).finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let note = "nothing failed; 150 clients are as many as this process can have";
    assert!(finished.stdout.contains(note), "{}", finished.stdout);
}

#[test]
fn delays_above_the_maximum_are_a_failure() {
    let server = Server::start();
    let options = ["-c", "3", "--lines", "5", "--max-p99"];
    let finished = stress(server.address, &[&options[..], &["0.001"]].concat());
    assert_eq!(finished.code, 1);
    let words = "above the 0.00 ms of --max-p99";
    assert!(finished.stderr.contains(words), "{}", finished.stderr);
    // The lines are all there.
    let verdict = "every line reached every reader once, in order";
    assert!(finished.stdout.contains(verdict), "{}", finished.stdout);
    let finished = stress(server.address, &[&options[..], &["60000"]].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
}

#[test]
fn connections_come_from_the_given_addresses() {
    let options = ["--source", "127.0.0.2", "--source", "127.0.0.3"];
    let run = |options: &[&str]| {
        // A new one each time: it may not have noticed yet that the last clients are gone.
        let server = Server::with(&["--max-per-ip", "2"]);
        stress(server.address, &[options, &["--lines", "1"]].concat())
    };
    let finished = run(&[&options[..], &["-c", "4"]].concat());
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let finished = run(&[&options[..], &["-c", "5"]].concat());
    let refused = "1 connection refused";
    assert!(finished.stderr.contains(refused), "{}", finished.stderr);

    // Documentation's addresses (RFC 5737) are nobody's.
    let finished = run(&["--source", "192.0.2.1"]);
    assert_eq!(finished.code, 1);
    let words = "cannot connect from 192.0.2.1: ";
    assert!(finished.stderr.contains(words), "{}", finished.stderr);
    let finished = run(&["--source", "::1"]);
    assert_eq!(finished.code, 2);
    let words = "one is IPv4 and the other IPv6";
    assert!(finished.stderr.contains(words), "{}", finished.stderr);
}

#[test]
fn the_cost_of_a_local_server_is_reported() {
    let server = Server::start();
    let pid = server.pid().to_string();
    let options = ["-c", "500", "--lines", "5", "--pid", &pid];
    let (finished, step) = stress_json(server.address, &options);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let figure = |name: &str| step["cost"][name].as_f64().expect(name);
    assert!(figure("cpu_us_per_connection") > 0.1);
    assert!(figure("cpu_us_per_delivery") > 0.1);
    let bytes = figure("bytes_per_connection");
    assert!((1.0..1000.0).contains(&bytes), "{bytes}");
    assert!(figure("resident_bytes") > figure("anonymous_bytes"));
}

#[test]
fn a_missing_process_is_named() {
    let server = Server::start();
    // Above the kernel's maximum (proc_sys_kernel(5)).
    let finished = stress(server.address, &["--pid", "99999999"]);
    assert_eq!(finished.code, 1);
    assert!(
        finished.stderr.contains("process 99999999"),
        "{}",
        finished.stderr
    );
    assert!(finished.stderr.contains("pgrep"), "{}", finished.stderr);
}

#[test]
fn a_chart_is_drawn() {
    let server = Server::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("delays.svg");
    let path = path.to_str().expect("a plain path");
    let finished = stress(server.address, &["--lines", "50", "--plot", path]);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let svg = fs::read_to_string(path).expect("a file");
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("median") && svg.contains("deliveries, %"));
}

#[test]
fn a_chart_that_cannot_be_written_is_an_error() {
    let server = Server::start();
    let path = "/nowhere/delays.svg";
    let finished = stress(server.address, &["--plot", path]);
    assert_eq!(finished.code, 1);
    assert!(finished.stderr.contains(path), "{}", finished.stderr);
    assert_eq!(finished.stdout, "", "found out only after the start");
}

#[test]
fn without_a_server_all_connections_fail() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let finished = stress(nobody, &["--clients", "3"]);
    assert_eq!(finished.code, 3);
    let expected = "connection refused (is a server running there, on that port?)";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
}

#[test]
fn a_full_room_is_reported() {
    let server = Server::with(&["--max-clients", "5"]);
    let (finished, step) = stress_json(server.address, &["-c", "12", "--lines", "10"]);
    assert_eq!(finished.code, 5);
    assert_eq!(step["connections"]["made"], 5);
    assert_eq!(step["connections"]["refused"], 7);
    // The clients that got in were tested all the same.
    assert_eq!(step["deliveries"]["made"], 10 * 4);
    assert!(finished.stderr.contains("7 connections refused"));
    assert!(finished.stderr.contains("the room is full"));
}

#[test]
fn a_full_room_ends_a_ramp() {
    let server = Server::with(&["--max-clients", "150"]);
    let finished = stress(server.address, &["-c", "1000", "--ramp", "--lines", "2"]);
    assert_eq!(finished.code, 5);
    assert_eq!(finished.stdout.lines().count(), 4, "{}", finished.stdout);
}

#[test]
fn too_few_descriptors_are_reported_before_the_start() {
    let server = Server::start();
    let (ip, port) = (server.address.ip(), server.address.port());
    let mut command = piped(Command::new("sh"));
    let script = format!("ulimit -n 64 && exec {CHAT} stress {ip} {port} --clients 100");
    command.args(["-c", &script]);
    let finished = Process::spawn(command).finish();
    assert_eq!(finished.code, 1);
    for words in ["132 open files", "the limit is 64", "ulimit -n 132"] {
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
}

#[test]
fn concurrent_runs_do_not_disturb_each_other() {
    let server = Server::start();
    let options = ["-c", "50", "-t", "2", "--lines", "100"];
    let mut first = Process::spawn(stress_command(server.address, &options));
    let mut second = Process::spawn(stress_command(server.address, &options));
    for process in [&mut first, &mut second] {
        let finished = process.finish();
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        let verdict = "every line reached every reader once, in order";
        assert!(finished.stdout.contains(verdict), "{}", finished.stdout);
    }
}

#[test]
fn ctrl_c_ends_the_talking_but_not_the_report() {
    let mut server = Server::start();
    let mut process = Process::spawn(stress_command(server.address, &["-d", "600", "-r", "20"]));
    // The room's console shows that talking has begun.
    while !server.stdout().next_line().expect("a line").contains('~') {}
    process.signal(Signal::INT);
    let finished = process.finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(finished.stdout.contains("every line reached every reader"));
}

#[test]
fn impossible_options_are_refused() {
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    for (options, words) in [
        (
            ["-c", "3", "-t", "4"],
            "too many talkers for 3 clients: 4; at most 3",
        ),
        (
            ["--size", "10", "-c", "2"],
            "expected a whole number from 25 to 1048576",
        ),
        (["--rate", "-1", "-c", "2"], "a rate must be from 0"),
        (
            ["--clients", "1", "-t", "1"],
            "expected a whole number from 2 to 1000000",
        ),
        (["--lines", "5", "--duration", "3"], "cannot be used with"),
        (["--duration", "0", "-c", "2"], "a time must be above 0"),
        (["--max-p99", "0", "-c", "2"], "a delay must be above 0"),
    ] {
        let finished = stress(nobody, &options);
        assert_eq!(finished.code, 2);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
}

/// A room for two, played by the test: the second client is sent what `relay` makes of each line
/// of the first.
fn room_for_two(mut relay: impl FnMut(String) -> Vec<String> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    thread::spawn(move || {
        let accept = || {
            let (mut stream, _) = listener.accept().expect("a client");
            stream
                .write_all(WELCOME.as_bytes())
                .expect("a client that reads");
            stream
        };
        let talker = accept();
        let mut reader = accept();
        for line in BufReader::new(talker).lines() {
            let Ok(line) = line else { return };
            for line in relay(line) {
                let line = format!("<127.0.0.1> {line}\n");
                // A reader that has heard enough may be gone.
                let _ = reader.write_all(line.as_bytes());
            }
        }
    });
    address
}

/// Five lines at once, to a room for two.
const FIVE_LINES: [&str; 6] = ["-c", "2", "--lines", "5", "--in-flight", "5"];

#[test]
fn a_correct_room_passes() {
    let room = room_for_two(|line| vec![line]);
    let (finished, step) = stress_json(room, &FIVE_LINES);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(step["deliveries"]["made"], 5);
}

#[test]
fn a_lost_line_is_counted() {
    let mut count = 0;
    let room = room_for_two(move |line| {
        count += 1;
        if count == 3 { vec![] } else { vec![line] }
    });
    let (finished, step) = stress_json(room, &FIVE_LINES);
    assert_eq!(finished.code, 1);
    assert!(finished.stderr.contains("1 delivery lost"));
    assert_eq!(step["deliveries"]["lost"], 1);
    assert_eq!(step["deliveries"]["made"], 4);
}

#[test]
fn a_duplicated_line_is_counted() {
    let room = room_for_two(|line| vec![line.clone(), line]);
    let (finished, step) = stress_json(room, &FIVE_LINES);
    assert_eq!(finished.code, 1);
    assert_eq!(step["deliveries"]["made"], 5);
    assert_eq!(step["deliveries"]["duplicated"], 5);
}

#[test]
fn lines_out_of_order_are_counted() {
    let mut kept = Vec::new();
    let room = room_for_two(move |line| {
        kept.insert(0, line);
        match kept.len() {
            5 => std::mem::take(&mut kept),
            _ => vec![],
        }
    });
    let (finished, step) = stress_json(room, &FIVE_LINES);
    assert_eq!(finished.code, 1);
    // The last line came first, and was in order as far as was known then.
    assert_eq!(step["deliveries"]["reordered"], 4);
    assert_eq!(step["deliveries"]["lost"], 0);
}

#[test]
fn a_torn_line_counts_as_lost() {
    let mut count = 0;
    let room = room_for_two(move |line| {
        count += 1;
        if count == 3 {
            vec![line[..40].to_owned(), line[40..].to_owned()]
        } else {
            vec![line]
        }
    });
    let (finished, step) = stress_json(room, &FIVE_LINES);
    assert_eq!(finished.code, 1);
    assert_eq!(step["deliveries"]["lost"], 1);
    assert_eq!(step["lines"]["garbled"], 1);
    assert_eq!(step["lines"]["others"], 1);
}

#[test]
fn a_dropped_connection_is_counted_and_its_farewell_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let room = thread::spawn(move || {
        let mut streams = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().expect("a client");
            writeln!(stream, "{WELCOME}").expect("a client that reads");
            streams.push(stream);
        }
        let mut line = String::new();
        let mut talker = BufReader::new(streams.remove(0));
        talker.read_line(&mut line).expect("a line");
        // The other one is dropped.
        let mut reader = streams.remove(0);
        writeln!(reader, "-- you read too slowly").expect("a client that reads");
        drop(reader);
        // The talker goes on until it has nothing left to say.
        while talker.read_line(&mut line).is_ok_and(|count| count > 0) {}
    });
    let (finished, step) = stress_json(address, &["-c", "2", "--lines", "3"]);
    assert_eq!(finished.code, 4);
    assert_eq!(step["connections"]["dropped"], 1);
    let expected = "1 client dropped (-- you read too slowly)";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
    room.join().expect("a room without errors");
}

/// A server that runs `serve` with each client, all at the same time.
fn server_that(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (nth, stream) in listener.incoming().enumerate() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(nth, stream.expect("a client")));
        }
    });
    address
}

/// Reads to the end, and discards it.
fn read_all(mut stream: TcpStream) {
    // A client that ends may reset the connection.
    let _ = io::copy(&mut stream, &mut io::sink());
}

fn greet(stream: &mut TcpStream) {
    writeln!(stream, "{WELCOME}").expect("a client that reads");
}

#[test]
fn a_server_that_is_no_chat_room_is_reported() {
    let server = server_that(|_, mut stream| {
        writeln!(stream, "220 mail.example \x1b[31mESMTP").expect("a client that reads");
        read_all(stream);
    });
    let finished = stress(server, &["-c", "2"]);
    assert_eq!(finished.code, 3, "{}", finished.stderr);
    let expected =
        "no chat server: unexpected greeting \"220 mail.example ␛[31mESMTP\" within 10 s";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
}

#[test]
fn a_client_dropped_before_the_talking_counts() {
    // The second client is dropped, and only then is the third one let in.
    let is_gone = Barrier::new(2);
    let server = server_that(move |nth, mut stream| {
        if nth == 2 {
            is_gone.wait();
        }
        greet(&mut stream);
        match nth {
            1 => {
                drop(stream);
                is_gone.wait();
            }
            _ => read_all(stream),
        }
    });
    let (finished, step) = stress_json(server, &["-c", "3", "--rate", "1", "--lines", "1"]);
    assert_eq!(step["connections"]["made"], 3);
    assert_eq!(step["connections"]["dropped"], 1);
    // The server delivers nothing, which is graver.
    assert_eq!(finished.code, 1);
    assert!(
        finished.stderr.contains("1 client dropped"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_server_that_neither_reads_nor_delivers_is_reported() {
    let server = server_that(|_, mut stream| {
        greet(&mut stream);
        thread::park();
    });
    let (finished, step) = stress_json(server, &["-c", "2", "--lines", "1"]);
    assert_eq!(finished.code, 1);
    assert_eq!(step["stalled"], true);
    assert_eq!(step["deliveries"]["lost"], 1);
    assert!(step["delay_ms"].is_null());
    let expected = "1 delivery lost; no delivery for 10 s while some were outstanding";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
}

#[test]
fn the_lines_of_a_dropped_talker_do_not_count_as_lost() {
    let server = server_that(|nth, mut stream| {
        greet(&mut stream);
        match nth {
            0 => {
                let mut line = String::new();
                BufReader::new(stream).read_line(&mut line).expect("a line");
            }
            _ => read_all(stream),
        }
    });
    let (finished, step) = stress_json(server, &["-c", "3", "--lines", "5"]);
    assert_eq!(finished.code, 4, "{}", finished.stderr);
    assert_eq!(step["deliveries"]["lost"], 0);
    assert_eq!(step["deliveries"]["not_made_with_dropped_clients"], 2);
    assert_eq!(step["connections"]["dropped"], 1);
}

#[test]
fn long_lines_are_said_whole() {
    // Nobody reads its console, which does not matter here.
    let server = Server::spawn_with_log(server_command(
        "127.0.0.1",
        &["--max-line", "1048576", "-q"],
    ));
    let options = [
        "-c",
        "3",
        "-s",
        "1000000",
        "--in-flight",
        "20",
        "--lines",
        "20",
    ];
    let (finished, step) = stress_json(server.address, &options);
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert_eq!(step["deliveries"]["made"], 40);
}

#[test]
fn the_refusal_of_a_line_is_shown() {
    let server = Server::with(&["--max-line", "40"]);
    let finished = stress(server.address, &["-c", "2", "--lines", "1"]);
    assert_eq!(finished.code, 1);
    let expected = "(!! not sent: the line is longer than 40 bytes; split it)";
    assert!(finished.stderr.contains(expected), "{}", finished.stderr);
}

#[test]
fn a_second_ctrl_c_ends_the_waiting() {
    let mut server = Server::start();
    let options = ["-c", "2", "-d", "600"];
    let mut process = Process::spawn(stress_command(server.address, &options));
    while !server.stdout().next_line().expect("a line").contains('~') {}
    server.stop();
    // Each line waits for the one before: asleep, the client waits for one that the server owes.
    process.await_sleep();
    process.signal(Signal::INT);
    // Time itself is tested: after one Ctrl-C it waits for the line that is owed.
    process.expect_to_run_until(Instant::now() + Duration::from_millis(500));
    process.signal(Signal::INT);
    let finished = process.finish();
    assert!(
        finished.stdout.contains("interrupted"),
        "{}",
        finished.stdout
    );
    server.signal(Signal::CONT);
}
