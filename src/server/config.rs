//! The options of a server.

use std::path::PathBuf;
use std::time::Duration;

use super::admission;
#[cfg(feature = "tls")]
use super::identity::Source;
use crate::platform::addresses::ScopedIp;
use crate::rate::Rate;
use crate::reactor::flow;
use crate::room;

/// How TLS is spoken.
#[cfg(feature = "tls")]
#[derive(Clone, Debug)]
pub struct Tls {
    /// The port for lines over TLS, at the same address; 0 is any free port. `None` to speak it at
    /// the web port alone.
    pub port: Option<u16>,
    /// What the server shows of itself.
    pub source: Source,
}

/// The options of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on; `None` is every address. A socket that the service manager
    /// passes is used instead.
    pub ip: Option<ScopedIp>,
    /// The port to listen on; 0 is any free port.
    pub port: u16,
    /// The web port. `None`: there is none.
    pub web: Option<Web>,
    /// Whether only local networks may join, without those that the rules refuse.
    pub is_local_only: bool,
    /// A file with the password that everybody has to give. `None`: there is none.
    pub password_file: Option<PathBuf>,
    /// Who may join.
    pub admission: admission::Limits,
    /// The options of the room.
    pub room: room::Config,
    /// The message of the day: a file whose lines newcomers get as notices.
    pub motd: Option<PathBuf>,
    /// A file to append everything said to.
    pub transcript: Option<PathBuf>,
    /// How large it may be. `None`: no limit.
    pub transcript_max_bytes: Option<u64>,
    /// The bounds of unsent output, in size and in time.
    pub flow: flow::Bounds,
    /// The size of the kernel's send buffer for each client.
    pub send_buffer_bytes: usize,
    /// The rate limit for each client's lines. `None`: no limit.
    pub rate: Option<Rate>,
    /// How long a client may send nothing. `None`: no limit.
    pub idle_timeout: Option<Duration>,
    /// Whether lines from a pipe may be commands. Those from a terminal always may.
    pub operator_commands: bool,
    /// A FIFO for the operator instead of standard input. Its lines may be commands.
    pub operator_fifo: Option<PathBuf>,
    /// Whether and where TLS is spoken, too.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    /// Whether to write only the answers to the operator to standard output.
    pub quiet: bool,
}

impl Config {
    /// Whether TLS is spoken, too.
    pub(crate) fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }
}

/// The options of the web port.
#[derive(Clone, Debug)]
pub struct Web {
    /// The address to listen on. `None`: that of the room.
    pub ip: Option<ScopedIp>,
    /// The port to listen on; 0 is any free port.
    pub port: u16,
    /// What clients may call this machine, besides what it knows.
    pub names: Vec<String>,
}
