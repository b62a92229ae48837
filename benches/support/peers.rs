//! Programs that could be used instead, where installed: how to start each for many
//! clients without limits on queued output, and how to talk to it.
//!
//! All lines carry the same payload, LF included. A publish-and-subscribe server sends a
//! publisher nothing unless it subscribes as well, so talkers and readers are different
//! clients there.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use chat::stress::protocol::{Handshake, Protocol};

use super::subject::{Kind, Start, Subject};
use super::trial::LINE_BYTES;

pub(crate) fn installed() -> Vec<Subject> {
    let all = [
        ("redis-server", redis as fn() -> Subject),
        ("nats-server", nats),
        ("mosquitto", mosquitto),
        ("ncat", ncat),
        ("python3", thread_per_client),
    ];
    all.into_iter()
        .filter(|(program, _)| {
            let is_installed = is_installed(program);
            if !is_installed {
                eprintln!("left out: {program} is not installed");
            }
            is_installed
        })
        .map(|(_, subject)| subject())
        .collect()
}

/// The one room, channel, subject or topic.
const ROOM: &str = "room";

fn redis() -> Subject {
    let subscribe = command(&["SUBSCRIBE", ROOM]);
    let publish = command(&["PUBLISH", ROOM, ""]);
    // The last, empty argument stands for the line.
    let before = publish.strip_suffix(b"$0\r\n\r\n").expect("it ends so");
    Subject {
        kind: Kind::Peer,
        name: "redis pub/sub",
        most_readers: usize::MAX,
        protocol: Protocol {
            reader: Handshake {
                hello: subscribe,
                awaited: b":1\r\n".to_vec(),
                ..Handshake::default()
            },
            separate_talker: Some(Handshake::default()),
            before: [before, format!("${LINE_BYTES}\r\n").as_bytes()].concat(),
            after: b"\r\n".to_vec(),
            ..Protocol::unsigned()
        },
        start: Start::AtPort(|port| {
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--protected-mode", "no", "--save", "", "--appendonly", "no"]);
            command.args(["--maxclients", "30000", "--tcp-backlog", "4096"]);
            command.args(["--client-output-buffer-limit", "pubsub 0 0 0"]);
            Ok(command)
        }),
    }
}

/// A command in the Redis protocol: an array of bulk strings.
fn command(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    text.into_bytes()
}

fn nats() -> Subject {
    let hello = format!("CONNECT {{\"verbose\":false,\"echo\":false}}\r\nSUB {ROOM} 1\r\nPING\r\n");
    Subject {
        kind: Kind::Peer,
        name: "nats",
        most_readers: usize::MAX,
        protocol: Protocol {
            reader: Handshake {
                hello: hello.into_bytes(),
                awaited: b"PONG\r\n".to_vec(),
                ..Handshake::default()
            },
            separate_talker: None,
            before: format!("PUB {ROOM} {LINE_BYTES}\r\n").into_bytes(),
            after: b"\r\n".to_vec(),
            ..Protocol::unsigned()
        },
        start: Start::AtPort(|port| {
            let mut command = Command::new("nats-server");
            command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
            Ok(command)
        }),
    }
}

fn mosquitto() -> Subject {
    // MQTT 3.1.1: packets of a type, the length of the rest, and the rest.
    let connect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
    let topic = [&[0, ROOM.len() as u8], ROOM.as_bytes()].concat();
    let subscribe = [b"\x82\x09\x00\x01", topic.as_slice(), b"\x00"].concat();
    let publish_bytes = u8::try_from(topic.len() + LINE_BYTES).expect("one byte of length");
    assert!(publish_bytes < 128);
    Subject {
        kind: Kind::Peer,
        name: "mosquitto, QoS 0",
        most_readers: usize::MAX,
        protocol: Protocol {
            reader: Handshake {
                hello: [connect.as_slice(), &subscribe].concat(),
                // Granted, at QoS 0.
                awaited: b"\x90\x03\x00\x01\x00".to_vec(),
                ..Handshake::default()
            },
            separate_talker: Some(Handshake {
                hello: connect.to_vec(),
                // The connection is accepted.
                awaited: b"\x20\x02\x00\x00".to_vec(),
                ..Handshake::default()
            }),
            before: [&[0x30, publish_bytes], topic.as_slice()].concat(),
            after: Vec::new(),
            ..Protocol::unsigned()
        },
        start: Start::AtPort(|port| {
            let mut config = scratch_file(&format!("mosquitto-{port}.conf"))?;
            writeln!(config.1, "listener {port} 127.0.0.1")?;
            writeln!(config.1, "allow_anonymous true")?;
            writeln!(config.1, "set_tcp_nodelay true")?;
            writeln!(config.1, "max_queued_messages 0")?;
            let mut command = Command::new("mosquitto");
            command.arg("-c").arg(config.0);
            Ok(command)
        }),
    }
}

fn ncat() -> Subject {
    Subject {
        kind: Kind::Peer,
        name: "ncat --chat",
        // It uses select(2), which is limited to 1,024 descriptors.
        most_readers: 900,
        protocol: Protocol {
            reader: Handshake {
                hello: Vec::new(),
                awaited: b"already connected:".to_vec(),
                ..Handshake::default()
            },
            // Its listen backlog.
            connect_window: 10,
            ..Protocol::unsigned()
        },
        start: Start::AtPort(|port| {
            let mut command = Command::new("ncat");
            command.args(["--listen", "--chat", "--max-conns", "1000"]);
            command.args(["127.0.0.1", &port.to_string()]);
            Ok(command)
        }),
    }
}

fn thread_per_client() -> Subject {
    Subject {
        kind: Kind::Peer,
        name: "a thread a client, Python",
        most_readers: 1_000,
        protocol: Protocol::unsigned(),
        start: Start::AtPort(|port| {
            let script = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/benches/support/thread_per_client.py"
            );
            let mut command = Command::new("python3");
            command.args([script, &port.to_string()]);
            Ok(command)
        }),
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn scratch_file(name: &str) -> io::Result<(PathBuf, fs::File)> {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let file = fs::File::create(&path)?;
    Ok((path, file))
}
