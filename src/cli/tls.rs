//! What the commands have in common about TLS.

use std::path::PathBuf;

use clap::Args;

use super::values::parse_port;
use crate::server::config::Tls;
use crate::server::identity::Source;

// How a server speaks TLS.
#[derive(Args, Debug)]
pub(super) struct ServerTlsArgs {
    /// Speak TLS, too, at --tls-port
    ///
    /// The room's key is made at the first start, and kept under $STATE_DIRECTORY or
    /// $XDG_STATE_HOME/chat. Guests know the room by it; the first lines on standard output have
    /// what they need to compare.
    #[arg(long, requires = "tls_port")]
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
    pub(super) fn into_tls(self) -> Option<Tls> {
        let port = self.tls_port.filter(|_| self.tls)?;
        let source = match (self.tls_cert, self.tls_key) {
            (Some(certificate), Some(key)) => Source::Files { certificate, key },
            _ => Source::Own,
        };
        Some(Tls { port, source })
    }
}
