//! Rooms and their keys, as ssh knows hosts: the first key that a room shows is noted, and from
//! then on it has to be that one.
//!
//! The file is `known_rooms` in the user's state folder. A line is a room, its key, and the day it
//! was noted: `box.lan:8443 sha256:… 2026-11-27`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use log::warn;
use rustls::ClientConfig;

use crate::error::Error;
use crate::platform::state::{PRIVATE, make_folder, replace, user_folder};
use crate::platform::stdio::print;
use crate::protocol::time::Time;
#[cfg(feature = "stress")]
use crate::protocol::tls::HTTP;
use crate::protocol::tls::{Fingerprint, client_config};

const FILE: &str = "known_rooms";

/// What a user asks for.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// The connection is to be secured by TLS, whether the room is known or not.
    pub(crate) is_tls: bool,
    /// It need not be, though the host is known with TLS.
    pub(crate) is_plain: bool,
    /// The room's key, which the user knows from elsewhere.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// Whether a room has been visited before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Somebody has to compare its key.
    First,
    Later,
}

/// Decides whether the room at the other end is the one that is meant.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) config: Arc<ClientConfig>,
    host: String,
    port: u16,
    trusted: Option<Fingerprint>,
    /// `trusted` is from the user, and not noted.
    is_given: bool,
    /// Whether a room may be visited that is not known: somebody sees what its key is.
    takes_first: bool,
}

impl Guard {
    /// What to look at when joining the room at `host` and `port`: `None` on a plain connection.
    ///
    /// # Errors
    ///
    /// When `host` is known with TLS, and that is not asked for; or what is known cannot be read.
    pub(crate) fn new(
        host: &str,
        port: u16,
        security: &Security,
        takes_first: bool,
    ) -> Result<Option<Self>, Error> {
        let known = read()?;
        let noted = key_of(&known, &room(host, port));
        // A room that is known is not asked without its lock, whoever forgets to say so.
        if security.is_plain || !security.is_tls && noted.is_none() {
            if !security.is_plain && knows_host(&known, host) {
                return Err(Error::KnownWithTls {
                    host: host.to_owned(),
                });
            }
            return Ok(None);
        }
        let noted = noted.map(|noted| {
            // To take it for a room that is not known would be to trust anybody.
            let problem = || {
                format!(
                    "the key of {} is {noted:?}, which is none",
                    room(host, port)
                )
            };
            Fingerprint::parse(noted).ok_or_else(|| unusable(io::Error::other(problem())))
        });
        let noted = noted.transpose()?;
        Ok(Some(Self {
            config: Arc::new(client_config().map_err(Error::Tls)?),
            host: host.to_owned(),
            port,
            is_given: security.fingerprint.is_some() && security.fingerprint != noted,
            trusted: security.fingerprint.clone().or(noted),
            takes_first,
        }))
    }

    /// Judges the key that a room has `shown`.
    ///
    /// # Errors
    ///
    /// When it is not that room, or that cannot be known.
    pub(crate) fn judge(&mut self, shown: Fingerprint) -> Result<Visit, Error> {
        let (host, port) = (self.host.clone(), self.port);
        match &self.trusted {
            Some(trusted) if *trusted == shown => {
                // A script may have nowhere to note it, and need not.
                if std::mem::take(&mut self.is_given) && path().is_some() {
                    note(&host, port, &shown);
                }
                Ok(Visit::Later)
            }
            Some(trusted) => Err(Error::OtherKey {
                host,
                port,
                trusted: trusted.to_string(),
                shown: shown.to_string(),
                is_given: self.is_given,
            }),
            None if self.takes_first => {
                note(&host, port, &shown);
                self.trusted = Some(shown);
                Ok(Visit::First)
            }
            None => Err(Error::UnknownKey {
                host,
                port,
                shown: shown.to_string(),
            }),
        }
    }
}

impl Guard {
    /// Asks for WebSocket, and not for lines: at a web port, both are spoken.
    #[cfg(feature = "stress")]
    pub(crate) fn ask_for_websocket(&mut self) {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![HTTP.to_vec()];
    }

    /// What to end with when the user says that `key` is not the room's.
    pub(crate) fn rejects(&self, key: &Fingerprint) -> Error {
        Error::WrongKey {
            host: self.host.clone(),
            port: self.port,
            shown: key.to_string(),
        }
    }

    /// From now on the room is known by `key`; with `None`, it is not known any more.
    pub(crate) fn set_known(&self, key: Option<&Fingerprint>) {
        match key {
            Some(key) => note(&self.host, self.port, key),
            None => {
                let known = read().and_then(|known| {
                    write(&without(&known, &room(&self.host, self.port))).map_err(unusable)
                });
                if let Err(e) = known {
                    warn!("the room's key is noted, and could not be forgotten: {e}");
                }
            }
        }
    }
}

/// Forgets the key of a room, so that the next one it shows is taken; and says so.
///
/// # Errors
///
/// When no such room is known, or the file cannot be written.
pub fn forget(host: &str, port: u16) -> Result<(), Error> {
    let known = read()?;
    let room = room(host, port);
    let Some(key) = key_of(&known, &room) else {
        return Err(Error::NotKnown { room });
    };
    write(&without(&known, &room)).map_err(unusable)?;
    let words = format!("forgot {room}, whose key was {key}\n");
    print(words.as_bytes()).map_err(Error::WriteOutput)
}

fn note(host: &str, port: u16, key: &Fingerprint) {
    let noted = read().and_then(|known| {
        let room = room(host, port);
        let today = Time::from(SystemTime::now()).to_string();
        let (today, _) = today.split_once('T').unwrap_or_default();
        let line = format!("{room} {key} {today}\n");
        write(&(without(&known, &room) + &line)).map_err(unusable)
    });
    if let Err(e) = noted {
        warn!("the room's key could not be noted: {e}");
    }
}

/// A room as it stands in the file.
fn room(host: &str, port: u16) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// What stands for the key of `room`. `None` if the room is not known.
fn key_of<'a>(known: &'a str, room: &str) -> Option<&'a str> {
    let mut lines = known.lines().map(|line| line.split(' '));
    lines.find_map(|mut fields| {
        (fields.next() == Some(room)).then(|| fields.next().unwrap_or_default())
    })
}

fn knows_host(known: &str, host: &str) -> bool {
    let room = room(host, 0);
    let (host, _) = room.rsplit_once(':').unwrap_or_default();
    let mut rooms = known.lines().filter_map(|line| line.split(' ').next());
    rooms.any(|room| {
        room.rsplit_once(':')
            .is_some_and(|(found, _)| found == host)
    })
}

fn without(known: &str, room: &str) -> String {
    let lines = known.split_inclusive('\n');
    lines
        .filter(|line| line.split(' ').next() != Some(room))
        .collect()
}

/// What is known. Nothing yet is no error.
fn read() -> Result<String, Error> {
    let Some(path) = path() else {
        return Ok(String::new());
    };
    match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        // To go on would be to trust anybody.
        read => read.map_err(unusable),
    }
}

fn write(known: &str) -> io::Result<()> {
    let path = path().ok_or_else(|| io::Error::other("neither HOME nor XDG_STATE_HOME is set"))?;
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    replace(&path, known.as_bytes(), PRIVATE)
}

fn path() -> Option<PathBuf> {
    Some(user_folder()?.join(FILE))
}

fn unusable(source: io::Error) -> Error {
    Error::KnownRooms {
        path: path().unwrap_or_else(|| FILE.into()),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn a_room_is_known_by_its_host_and_port_in_any_spelling() {
        let known = format!("box.lan:8443 {KEY} 2026-11-27\n[::1]:1 {KEY} 2026-11-27\ntorn:1");
        for (host, port, is_known) in [
            ("box.lan", 8443, true),
            ("Box.LAN.", 8443, true),
            ("box.lan", 844, false),
            ("ox.lan", 8443, false),
            ("::1", 1, true),
        ] {
            let key = key_of(&known, &room(host, port));
            assert_eq!(key, is_known.then_some(KEY), "{host} {port}");
        }
        assert_eq!(key_of(&known, "torn:1"), Some(""));
        for (host, is_known) in [
            ("box.lan", true),
            ("::1", true),
            ("lan", false),
            ("", false),
        ] {
            assert_eq!(knows_host(&known, host), is_known, "{host}");
        }
        let rest = without(&known, "box.lan:8443");
        assert_eq!(rest, format!("[::1]:1 {KEY} 2026-11-27\ntorn:1"));
    }

    fn guard(trusted: Option<&str>, is_given: bool) -> Guard {
        Guard {
            config: Arc::new(client_config().unwrap()),
            host: "box".to_owned(),
            port: 1,
            trusted: trusted.and_then(Fingerprint::parse),
            is_given,
            takes_first: false,
        }
    }

    #[test]
    fn only_the_key_that_is_known_is_taken() {
        let shown = || Fingerprint::parse(KEY).unwrap();
        let other = KEY.replace("47", "74");
        let judged = guard(Some(KEY), false).judge(shown());
        assert_eq!(judged.unwrap(), Visit::Later);
        for (mut guard, words) in [
            (guard(None, false), "not known"),
            (guard(Some(&other), false), "chat forget box 1"),
            (guard(Some(&other), true), "--fingerprint"),
        ] {
            let error = guard.judge(shown()).unwrap_err();
            assert_eq!(error.exit(), crate::exit::Exit::Untrusted);
            let said = error.to_string();
            assert!(said.contains(words) && said.contains(KEY), "{said}");
        }
    }
}
