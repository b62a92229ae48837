//! What the commands have in common about TLS.

use std::path::PathBuf;

use clap::Args;

use super::room::RoomArgs;
use super::values::{Parse, parse_port};
use crate::client::known_rooms::Security;
use crate::protocol::tls::Fingerprint;
use crate::server::config::Tls;
use crate::server::identity::Source;

// How a server speaks TLS.
#[derive(Args, Debug)]
pub(super) struct ServerTlsArgs {
    /// Also speak TLS, on --tls-port and the --web port
    ///
    /// The room's key is made at the first start, and kept under $STATE_DIRECTORY or
    /// $XDG_STATE_HOME/chat. Guests know the room by it; the first lines on standard output have
    /// what they need to compare.
    #[arg(long)]
    tls: bool,

    /// The port for TLS; 0 for any free port
    ///
    /// At the same IP. What is spoken there is what is spoken at PORT, with TLS 1.3 around it:
    /// chat client --tls, ncat --ssl or openssl s_client.
    #[arg(long, value_name = "PORT", value_parser = parse_port, requires = "tls")]
    #[arg(hide_short_help = true)]
    tls_port: Option<u16>,

    /// Show this certificate, and not one that is made
    ///
    /// A file in PEM, with the certificates that lead to its authority. SIGHUP has it read again.
    #[arg(long, value_name = "FILE", requires_all = ["tls", "tls_key"], hide_short_help = true)]
    tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert, in PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        hide_short_help = true
    )]
    tls_key: Option<PathBuf>,
}

impl ServerTlsArgs {
    /// `None` without TLS.
    pub(super) fn into_tls(self, has_web: bool) -> Result<Option<Tls>, String> {
        if !self.tls {
            return Ok(None);
        }
        let port = self.tls_port;
        if port.is_none() && !has_web {
            return Err("--tls needs a port: give --tls-port PORT, or --web PORT".to_owned());
        }
        let source = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Source::Files { certificate, key },
            _ => Source::Own,
        };
        Ok(Some(Tls { port, source }))
    }
}

// How whoever joins is to be sure of the room.
#[derive(Args, Debug)]
pub(super) struct TlsArgs {
    /// Speak TLS: nobody else can read what is said
    ///
    /// PORT is the server's port for TLS. The room is known by its key: the first time, at a
    /// terminal, the client notes it; after that it has to be the same.
    #[arg(long)]
    tls: bool,

    /// Go on without TLS, where others can read along
    ///
    /// Without this, a host that is known with TLS is not joined, and a password is not sent to
    /// another machine.
    #[arg(long, conflicts_with = "tls", hide_short_help = true)]
    plain: bool,

    /// With --tls: the room's key, as its host sees it
    #[arg(long, value_name = "sha256:KEY", value_parser = parse_fingerprint as Parse<Fingerprint, _>)]
    #[arg(requires = "tls", hide_short_help = true)]
    fingerprint: Option<Fingerprint>,
}

impl TlsArgs {
    pub(super) fn into_security(self) -> Security {
        Security {
            is_tls: self.tls,
            is_plain: self.plain,
            fingerprint: self.fingerprint,
        }
    }
}

fn parse_fingerprint(text: &str) -> Result<Fingerprint, &'static str> {
    Fingerprint::parse(text)
        .ok_or("expected sha256: and 43 characters, as the server prints when it starts")
}

// Whose key to forget.
#[derive(Args, Debug)]
#[command(after_help = FORGET_EXAMPLES)]
pub(super) struct ForgetArgs {
    #[command(flatten)]
    room: RoomArgs,
}

const FORGET_EXAMPLES: &str = "\
Examples:
  chat forget 192.168.1.5 8443

The next chat client --tls takes the key that the room shows then. Forget it only if the host \
says that there is a new one.";

impl ForgetArgs {
    /// Host and port, or what is wrong with them.
    pub(super) fn into_address(self) -> Result<(String, u16), String> {
        self.room.into_address()
    }
}
