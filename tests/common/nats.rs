//! Nodes of NATS with JetStream, for a room at several servers.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::can_test_with;
use super::process::{Process, piped};

/// The room that tests use.
const ROOM: &str = "lounge";

/// A node that listens on loopback, and keeps what it stores in a folder of its own.
pub(crate) struct Node {
    folder: TempDir,
    port: u16,
    /// `None` while it does not run.
    process: Option<Process>,
}

impl Node {
    /// A single node. `None` if there is no nats-server here.
    #[track_caller]
    pub(crate) fn start() -> Option<Self> {
        Self::with("")
    }

    /// [`start`](Self::start) with more configuration.
    #[track_caller]
    pub(crate) fn with(configuration: &str) -> Option<Self> {
        let mut node = Self::absent(configuration)?;
        node.run();
        Some(node)
    }

    /// One that does not run yet.
    #[track_caller]
    pub(crate) fn absent(configuration: &str) -> Option<Self> {
        if !can_test_with("nats-server") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let store = folder.path().display();
        let text = format!(
            "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{store}\" }}\n{configuration}\n"
        );
        fs::write(folder.path().join("nats.conf"), text).expect("a file");
        Some(Self {
            folder,
            port,
            process: None,
        })
    }

    /// Starts it, or starts it again.
    #[track_caller]
    pub(crate) fn run(&mut self) {
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(self.folder.path().join("nats.conf"));
        let mut process = Process::spawn(piped(command));
        loop {
            let line = process.stderr().next_line().expect("a node that starts");
            if line.contains("Server is ready") {
                break;
            }
        }
        self.process = Some(process);
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::KILL);
            process.wait();
        }
    }

    /// Has it end in order.
    pub(crate) fn terminate(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM);
            process.wait();
        }
    }

    /// For `--nats`.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}/{ROOM}", self.port)
    }

    /// A file for `--nats-creds`, which only its owner may read.
    pub(crate) fn credentials(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its owner");
        path.display().to_string()
    }
}

/// A port of loopback that nobody has a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}
