//! The chat client: standard input, the server's socket and standard output in one poll
//! loop, where none of the three holds up the others.
//!
//! `event_loop` moves bytes between two sides, `session` (the server's) and `user` (the
//! user's). What they mean is decided by code that knows no socket and no clock:
//! [`conversation`] holds the protocol, a [`frontend`](crate::frontend) the display: the prompt
//! on a terminal, `pipes` everywhere else, and `silent` for `chat send`, which shows nothing.
//!
//! Without the feature `client` there is `chat send` alone, and [`ping`].

mod backoff;
pub mod config;
pub(crate) mod connect;
pub mod conversation;
mod ending;
mod event_loop;
mod incoming;
#[cfg(feature = "tls")]
pub mod known_rooms;
mod line_splitter;
mod pending;
pub mod ping;
mod session;
mod silent;
mod stall;
mod user;

// What shows a conversation.
#[cfg(feature = "client")]
pub(crate) mod display;
#[cfg(feature = "client")]
pub(crate) mod memory;
#[cfg(feature = "client")]
mod pipes;
#[cfg(feature = "client")]
mod records;

pub use self::config::Config;
use self::connect::{Way, resolve};
use self::event_loop::Client;
#[cfg(feature = "tls")]
use self::known_rooms::Guard;
use self::silent::Silent;
use crate::error::Error;
use crate::frontend::Frontend;
use crate::platform::secret_file::read_password;

/// Joins a room and stays until standard input or the room ends, or the purpose of `config`
/// is served.
///
/// # Errors
///
/// When the server cannot be reached, refuses the client, goes away or does not take what
/// the client sent, and when standard input or output fails. A standard output that nobody
/// reads any more is no error.
pub fn run(config: &Config) -> Result<(), Error> {
    let addresses = resolve(&config.host, config.port)?;
    let password = config.password_file.as_deref().map(|path| {
        read_password(path).map_err(|source| Error::ReadPassword {
            path: path.to_owned(),
            source,
        })
    });
    let password = password.transpose()?;
    let (frontend, is_at_a_terminal) = frontend(config);
    let way = Way {
        #[cfg(feature = "tls")]
        guard: Guard::new(
            &config.host,
            config.port,
            &addresses,
            &config.security,
            is_at_a_terminal,
        )?,
        addresses,
    };
    let client = Client::new(config, way, frontend, is_at_a_terminal).map_err(Error::Poll)?;
    let client = client.with_password(password);
    #[cfg(feature = "client")]
    let client = if is_at_a_terminal {
        client.with_records(records::Records::open(config)?)
    } else {
        client
    };
    client.run()
}

/// The frontend for `config`, and whether it is the one for a person at a terminal.
fn frontend(config: &Config) -> (Box<dyn Frontend>, bool) {
    #[cfg(feature = "client")]
    if !config.sends_only() {
        return display::frontend(config);
    }
    debug_assert!(config.sends_only());
    (Box::new(Silent::default()), false)
}
