//! A running `chat server`.

use std::fs::{self, Permissions};
use std::io::Read;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::lines::LineReader;
use super::peer::{Peer, WELCOME};
use super::process::{Process, chat};
use super::pty::{Keyboard, open_terminal};

/// The password of [`Server::locked`].
pub(crate) const PASSWORD: &str = "green tea";

/// A file with `password`, which nobody else can read, in a folder of its own.
pub(crate) fn password_file(password: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a place for files");
    let path = folder.path().join("password");
    fs::write(&path, format!("{password}\n")).expect("a folder to write to");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file of ours");
    (folder, path)
}

/// A listening server; it dereferences to a [`Process`].
pub(crate) struct Server {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// A server at a free port of 127.0.0.1, without presence and history.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// [`start`](Self::start) with options.
    #[track_caller]
    pub(crate) fn with(options: &[&str]) -> Self {
        Self::spawn(server_command("127.0.0.1", options))
    }

    /// A server with presence and history.
    #[track_caller]
    pub(crate) fn sociable(options: &[&str]) -> Self {
        Self::spawn(sociable_command("127.0.0.1", options))
    }

    /// [`sociable`](Self::sociable) with the password [`PASSWORD`], which goes in clear; and the
    /// folder with its file.
    #[track_caller]
    pub(crate) fn locked(options: &[&str]) -> (Self, TempDir) {
        let (folder, path) = password_file(PASSWORD);
        let path = path.to_str().expect("a plain path");
        let required = ["--password-file", path, "--plain", "all"];
        (Self::sociable(&[&required[..], options].concat()), folder)
    }

    /// [`sociable`](Self::sociable), or the error of a server that does not start.
    #[track_caller]
    pub(crate) fn try_sociable(options: &[&str]) -> Result<Self, String> {
        let mut process = Process::spawn(sociable_command("127.0.0.1", options));
        match process.stdout().next_line() {
            Some(line) => Ok(Self {
                address: address_in(&line),
                process,
            }),
            None => Err(process.finish().stderr),
        }
    }

    /// Runs `command`, and reads its address from the first line on its console.
    #[track_caller]
    pub(crate) fn spawn(command: Command) -> Self {
        let mut process = Process::spawn(command);
        let address = listening_on(process.stdout());
        Self { process, address }
    }

    /// A server whose standard output and standard error are a terminal, with the terminal's two
    /// sides: the test's, and the server's.
    #[track_caller]
    pub(crate) fn at_a_terminal() -> (Self, LineReader<Keyboard>, OwnedFd) {
        let (mut keyboard, terminal) = open_terminal();
        let duplicate = || Stdio::from(terminal.try_clone().expect("a free descriptor"));
        let mut command = server_command("127.0.0.1", &[]);
        command.stdout(duplicate()).stderr(duplicate());
        let process = Process::spawn(command);
        let address = listening_on(&mut keyboard);
        (Self { process, address }, keyboard, terminal)
    }

    /// A server whose standard output the test cannot read: its log says where it listens.
    #[track_caller]
    pub(crate) fn spawn_with_log(mut command: Command) -> Self {
        command.arg("-v");
        let mut process = Process::spawn(command);
        let address = loop {
            let line = process.stderr().next_line().expect("an address in the log");
            if let Some((_, address)) = line.split_once("listening on ") {
                break address.parse().expect("an address after `listening on`");
            }
        };
        Self { process, address }
    }

    /// Skips the rest of the banner.
    #[track_caller]
    pub(crate) fn skip_banner(&mut self) {
        let (ip, port) = (self.address.ip(), self.address.port());
        self.stdout().expect_line(if ip.is_loopback() {
            "on this machine only, join with:"
        } else {
            "join with:"
        });
        self.stdout()
            .expect_line(&format!("  chat client {ip} {port}"));
        self.stdout().expect_line(&format!("  nc {ip} {port}"));
    }

    /// A client from `ip` that has read its welcome: it is in the room, and will be sent every
    /// line from now on.
    #[track_caller]
    pub(crate) fn join(&self, ip: &str) -> Peer {
        let mut peer = Peer::connect_from(ip, self.address);
        peer.expect_line(WELCOME);
        peer
    }
}

/// Reads the first line of a console.
#[track_caller]
fn listening_on<R: Read + AsFd>(console: &mut LineReader<R>) -> SocketAddr {
    address_in(&console.next_line().expect("a first line"))
}

#[track_caller]
fn address_in(first_line: &str) -> SocketAddr {
    first_line
        .trim_end()
        .strip_prefix("listening on ")
        .and_then(|address| address.parse().ok())
        .unwrap_or_else(|| panic!("{first_line:?} does not say where the server listens"))
}

/// `chat server` at a free port of `ip`, without presence and history.
pub(crate) fn server_command(ip: &str, options: &[&str]) -> Command {
    let mut command = sociable_command(ip, options);
    command.args(["--no-presence", "--history=0"]);
    command
}

/// `chat server` at a free port of `ip`, with its defaults.
pub(crate) fn sociable_command(ip: &str, options: &[&str]) -> Command {
    let mut command = chat(["server", ip, "0"]);
    command.args(options).stdin(Stdio::null());
    command
}

impl Deref for Server {
    type Target = Process;

    fn deref(&self) -> &Self::Target {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.process
    }
}
