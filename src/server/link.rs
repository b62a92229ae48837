//! The link to the other servers of the room, over NATS with JetStream.
//!
//! The machine decides, and knows neither socket nor clock; the connection carries out, and knows no
//! room. Both live in the reactor's loop as one source of the service: it must be read whatever its
//! readers do, so it is no client.

mod connection;
mod hearing;
mod machine;
mod peers;
mod saying;
#[cfg(test)]
mod simulation;
mod stream;
mod subjects;
mod words;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use log::warn;
use mio::{Registry, Token};

use self::connection::{Connection, Credentials};
use self::machine::Machine;
pub(super) use self::machine::{Notice, Said, Why};
pub(super) use self::words::words;
use crate::error::Error;
use crate::platform::secret_file::read_secret;
use crate::protocol::label::ServerLabel;
use crate::rate::{AndMore, LogLimit};
use crate::reactor::flow::Restraint;

/// The longest line in a room that spans several servers: as an event, it fits a batch.
pub(super) const MAX_LINE_BYTES: u32 = 16 * 1024;

/// A file of credentials is short.
const MAX_CREDENTIALS_BYTES: u64 = 4 * 1024;

/// The options of a link.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where NATS is: each a host and a port.
    pub nodes: Vec<(String, u16)>,
    /// The room's name there.
    pub room: ServerLabel,
    /// What this server is called there.
    pub label: ServerLabel,
    /// A file with what proves to NATS that this server may use it.
    pub credentials: Option<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Link {
    machine: Machine,
    connection: Connection,
    /// When it was last settled.
    now: Instant,
    log: LogLimit,
}

impl Link {
    /// Connects as soon as the loop runs.
    ///
    /// # Errors
    ///
    /// If no node has an address, or the credentials cannot be used.
    pub(super) fn new(
        config: &Config,
        source: (&Registry, Token),
        random: fn() -> u128,
        now: Instant,
    ) -> Result<Self, Error> {
        let nodes = resolve(&config.nodes)?;
        let credentials = match &config.credentials {
            Some(path) => read_credentials(path).map_err(|source| Error::ReadCredentials {
                path: path.clone(),
                source,
            })?,
            None => Credentials::None,
        };
        let name = format!("chat {}", config.label);
        let connection = Connection::new(nodes, credentials, name, source, random, now);
        let (room, label) = (config.room, config.label);
        Ok(Self {
            machine: Machine::new(room, label, random() as u64, now),
            connection: connection.map_err(Error::Poll)?,
            now,
            log: LogLimit::new(),
        })
    }

    pub(super) fn label(&self) -> &ServerLabel {
        self.machine.label()
    }

    pub(super) fn others(&self) -> impl Iterator<Item = (&ServerLabel, u64)> {
        self.machine.others()
    }

    pub(super) fn mark_ready(&mut self) {
        self.connection.mark_ready();
    }

    /// Takes in what has come.
    pub(super) fn serve(&mut self, now: Instant) {
        self.now = now;
        self.connection.serve(&mut self.machine, now);
    }

    /// What is to be said or done in the room next.
    pub(super) fn take_said(&mut self) -> Option<Said> {
        self.machine.take_said()
    }

    /// Somebody here says a line.
    pub(super) fn say(&mut self, line: &[u8]) {
        self.machine.say(line);
    }

    /// Asks another server. Returns the number of the question, unless nobody can be asked now.
    pub(super) fn ask(
        &mut self,
        whom: ServerLabel,
        question: Vec<u8>,
        now: Instant,
    ) -> Option<u64> {
        self.machine.ask(whom, question, now)
    }

    pub(super) fn answer(&mut self, reply: String, answer: Vec<u8>) {
        self.machine.answer(reply, answer);
    }

    /// The stream cannot be used.
    pub(super) fn warn_of_stream(&mut self, why: &str, now: Instant) {
        if let Some(suppressed) = self.log.allow(now) {
            let more = AndMore(suppressed);
            warn!("the room cannot be linked: {why}{more}");
        }
    }

    /// Whether somebody here is behind. Returns whose lines are not to be taken now.
    pub(super) fn restraint(&mut self, is_anybody_behind: bool) -> Restraint {
        self.machine.set_behind(is_anybody_behind);
        self.machine.restraint(self.now)
    }

    /// Does what is due at the end of an iteration, now that so many people are here.
    pub(super) fn settle(&mut self, here: usize) {
        self.machine.set_here(here as u64);
        self.machine.settle(self.now);
        self.connection.carry_out(&mut self.machine, self.now);
    }

    /// The room closes.
    pub(super) fn leave(&mut self, now: Instant) {
        self.machine.leave(now);
        self.connection.carry_out(&mut self.machine, now);
    }

    /// When to be [served](Self::serve) though no event may come.
    pub(super) fn deadline(&self) -> Instant {
        if self.connection.has_work() || self.machine.has_said() {
            return self.now;
        }
        let connection = self.connection.deadline();
        let machine = self.machine.deadline(self.now);
        machine.map_or(connection, |at| at.min(connection))
    }
}

/// The addresses of `nodes`. The resolver may make us wait: only here, before the loop runs.
fn resolve(nodes: &[(String, u16)]) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = Vec::new();
    for (host, port) in nodes {
        let resolved = (host.as_str(), *port).to_socket_addrs();
        addresses.extend(resolved.map_err(|source| Error::Resolve {
            host: host.clone(),
            port: *port,
            source,
        })?);
    }
    Ok(addresses)
}

/// A user's name and, on a second line, the password; or one line alone: a token.
fn read_credentials(path: &Path) -> io::Result<Credentials> {
    let text = read_secret(path, MAX_CREDENTIALS_BYTES)?;
    let text = String::from_utf8(text).map_err(|_| io::Error::other("it is not UTF-8 text"))?;
    let mut lines = text.lines();
    match (lines.next(), lines.next(), lines.next()) {
        (Some(token), None, _) if !token.is_empty() => Ok(Credentials::Token(token.to_owned())),
        (Some(name), Some(password), None) => Ok(Credentials::User {
            name: name.to_owned(),
            password: password.to_owned(),
        }),
        _ => Err(io::Error::other(
            "expected a user's name and its password on two lines, or a token on one",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn credentials_are_a_user_and_a_password_or_a_token_and_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("creds");
        let read = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            read_credentials(&path)
        };
        let token = Credentials::Token("s3cret".to_owned());
        assert_eq!(read("s3cret\n", 0o600).unwrap(), token);
        let user = Credentials::User {
            name: "box-a".to_owned(),
            password: "pass word".to_owned(),
        };
        assert_eq!(read("box-a\npass word\n", 0o400).unwrap(), user);
        let printed = format!("{user:?}{token:?}");
        assert!(!printed.contains("s3cret") && !printed.contains("pass word"));
        let readable = read("s3cret\n", 0o644).unwrap_err();
        assert!(readable.to_string().contains("chmod o-rwx"));
        for wrong in ["", "\n", "a\nb\nc\n"] {
            assert!(read(wrong, 0o600).is_err(), "{wrong:?}");
        }
    }
}
