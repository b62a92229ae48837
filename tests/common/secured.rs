//! A room with a port for TLS, and what tests need to come in there.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, piped};
use super::server::{Server, server_command};

/// A server that speaks TLS, too, and the folder where it keeps its key.
pub(crate) struct SecuredServer {
    pub(crate) server: Server,
    pub(crate) tls_address: SocketAddr,
    /// The fingerprint of its key, as the banner has it.
    pub(crate) fingerprint: String,
    pub(crate) folder: TempDir,
}

impl SecuredServer {
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    #[track_caller]
    pub(crate) fn with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = server_command("127.0.0.1", options);
        command.args(["--tls", "--tls-port", "0"]);
        command.env("XDG_STATE_HOME", folder.path());
        let mut server = Server::spawn(command);
        server.skip_banner();
        let heading = server.stdout().next_line().expect("the banner");
        assert!(heading.ends_with("over TLS:"), "{heading}");
        let way = server.stdout().next_line().expect("a way to join");
        let (command, fingerprint) = way.split_once("   # ").expect("a fingerprint");
        let place = command.trim().strip_prefix("chat client --tls ");
        let place = place.expect("a command").replace(' ', ":");
        Self {
            tls_address: place.parse().expect("IP and port"),
            fingerprint: fingerprint.to_owned(),
            server,
            folder,
        }
    }

    /// The file with the server's certificate.
    pub(crate) fn certificate(&self) -> String {
        let path = self.folder.path().join("chat/tls-certificate.pem");
        path.to_str().expect("a path in UTF-8").to_owned()
    }

    /// `openssl s_client`, connected, and without a word of its own.
    #[track_caller]
    pub(crate) fn openssl(&self) -> Process {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-quiet",
            "-verify_quiet",
            "-verify_return_error",
        ]);
        command.args(["-CAfile", &self.certificate()]);
        command.args(["-connect", &self.tls_address.to_string()]);
        Process::spawn(piped(command))
    }
}
