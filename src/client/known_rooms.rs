//! Rooms and their keys, as ssh knows hosts: the first key that a room shows is noted, and from
//! then on it has to be that one.
//!
//! The file is `known_rooms` in the user's state folder. A line is a room, its key, and the day it
//! was noted: `box.lan:8443 sha256:… 2026-11-27`. A key that nobody has said to be right has
//! `unconfirmed` behind that: whoever came first may have shown it. It gets no password.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use log::warn;
use rustls::ClientConfig;

use crate::error::Error;
use crate::platform::addresses::ScopedIp;
use crate::platform::state::{PRIVATE, make_folder, open_locked, replace, user_folder};
use crate::platform::stdio::print;
use crate::protocol::time::Time;
#[cfg(feature = "stress")]
use crate::protocol::tls::HTTP;
use crate::protocol::tls::{Fingerprint, client_config};

const FILE: &str = "known_rooms";

/// The last field of a room whose key nobody has said to be right.
const UNCONFIRMED: &str = "unconfirmed";

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
    /// Somebody has said that `trusted` is right.
    is_confirmed: bool,
    /// `trusted` is from the user, and not noted.
    is_given: bool,
    /// `trusted` was shown at this first visit, and is not noted.
    is_new: bool,
    /// The user was told what `trusted` is.
    is_told: bool,
    /// Whether a room may be visited that is not known: somebody sees what its key is.
    takes_first: bool,
}

impl Guard {
    /// What to look at when joining the room at `host` and `port`: `None` on a plain connection.
    /// The host has these `addresses`.
    ///
    /// # Errors
    ///
    /// When `host` is known with TLS, and that is not asked for; or what is known cannot be read.
    pub(crate) fn new(
        host: &str,
        port: u16,
        addresses: &[SocketAddr],
        security: &Security,
        takes_first: bool,
    ) -> Result<Option<Self>, Error> {
        let known = read()?;
        let noted = noted(&known, &room(host, port));
        // A room that is known is not asked without its lock, whoever forgets to say so.
        if security.is_plain || !security.is_tls && noted.is_none() {
            if !security.is_plain && knows_host(&known, host, addresses) {
                return Err(Error::KnownWithTls {
                    host: host.to_owned(),
                });
            }
            return Ok(None);
        }
        let is_noted_confirmed = noted.is_some_and(|noted| noted.is_confirmed);
        let noted = noted.map(|noted| {
            // To take it for a room that is not known would be to trust anybody.
            let problem = || {
                format!(
                    "the key of {} is {:?}, which is none",
                    room(host, port),
                    noted.key
                )
            };
            Fingerprint::parse(noted.key).ok_or_else(|| unusable(io::Error::other(problem())))
        });
        let noted = noted.transpose()?;
        let is_noted = is_noted_confirmed && security.fingerprint == noted;
        let is_given = security.fingerprint.is_some() && !is_noted;
        Ok(Some(Self {
            config: Arc::new(client_config().map_err(Error::Tls)?),
            host: host.to_owned(),
            port,
            is_given,
            is_new: false,
            is_told: false,
            is_confirmed: is_given || is_noted_confirmed,
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
                    note(&host, port, &shown, true);
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
                self.trusted = Some(shown);
                self.is_new = true;
                self.is_told = true;
                Ok(Visit::First)
            }
            None => Err(Error::UnknownKey {
                host,
                port,
                shown: shown.to_string(),
            }),
        }
    }

    /// Asks for WebSocket, and not for lines: at a web port, both are spoken.
    #[cfg(feature = "stress")]
    pub(crate) fn ask_for_websocket(&mut self) {
        Arc::make_mut(&mut self.config).alpn_protocols = vec![HTTP.to_vec()];
    }

    /// The room's key, as far as it is known.
    pub(crate) fn key(&self) -> Option<String> {
        self.trusted.as_ref().map(ToString::to_string)
    }

    /// What to end with when the user says that the key is not the room's.
    pub(crate) fn rejects(&self) -> Error {
        Error::WrongKey {
            host: self.host.clone(),
            port: self.port,
            shown: self.key().unwrap_or_default(),
        }
    }

    /// Whether somebody has said that the room's key is right: no other gets a password.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.is_confirmed
    }

    /// Why a room whose key is not confirmed gets no password.
    pub(crate) fn unconfirmed(&self) -> Error {
        Error::UnconfirmedKey {
            host: self.host.clone(),
            port: self.port,
            shown: self.key().unwrap_or_default(),
        }
    }

    /// What the user has to compare, unless that was told.
    pub(crate) fn key_to_tell(&mut self) -> Option<String> {
        let key = self.trusted.as_ref()?;
        let was_told = std::mem::replace(&mut self.is_told, true);
        (!was_told).then(|| format!("the room's key is {key}"))
    }

    /// The room has let its visitor in: it is known from now on. One that wants a password is
    /// known only with a yes.
    pub(crate) fn keep(&mut self) {
        if let (Some(key), true) = (&self.trusted, std::mem::take(&mut self.is_new)) {
            note(&self.host, self.port, key, false);
        }
    }

    /// The user says that the room's key is right, or wrong.
    pub(crate) fn confirm(&mut self, is_right: bool) {
        self.is_new = false;
        self.is_confirmed = is_right;
        let Some(key) = &self.trusted else {
            return;
        };
        if is_right {
            return note(&self.host, self.port, key, true);
        }
        let room = room(&self.host, self.port);
        if let Err(e) = change(|known| without(known, &room)) {
            warn!("the room's key is noted, and could not be forgotten: {e}");
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
    let Some(Noted { key, .. }) = noted(&known, &room) else {
        return Err(Error::NotKnown { room });
    };
    change(|known| without(known, &room)).map_err(unusable)?;
    let words = format!("forgot {room}, whose key was {key}\n");
    print(words.as_bytes()).map_err(Error::WriteOutput)
}

fn note(host: &str, port: u16, key: &Fingerprint, is_confirmed: bool) {
    let today = Time::from(SystemTime::now()).to_string();
    let (today, _) = today.split_once('T').unwrap_or_default();
    let room = room(host, port);
    let noted = change(|known| with(known, &room, &key.to_string(), today, is_confirmed));
    if let Err(e) = noted {
        warn!("the room's key could not be noted: {e}");
    }
}

/// A room as it stands in the file.
fn room(host: &str, port: u16) -> String {
    let host = canonical(host);
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// An address in one spelling; a name in lower case.
fn canonical(host: &str) -> String {
    match (host.parse::<ScopedIp>(), ip_of(host)) {
        (Ok(scoped), Some(IpAddr::V6(_))) => scoped.to_string(),
        (_, Some(ip)) => ip.to_string(),
        (_, None) => host.trim_end_matches('.').to_ascii_lowercase(),
    }
}

/// The address that `host` is, in any spelling that the resolver takes: 127.1 is one (inet_aton(3)).
fn ip_of(host: &str) -> Option<IpAddr> {
    if let Ok(scoped) = host.parse::<ScopedIp>() {
        return Some(scoped.ip.to_canonical());
    }
    let number = |part: &str| {
        let lower = part.to_ascii_lowercase();
        let (digits, radix) = match (lower.strip_prefix("0x"), lower.strip_prefix('0')) {
            (Some(digits), _) => (digits, 16),
            (None, Some(digits)) if !digits.is_empty() => (digits, 8),
            _ => (&*lower, 10),
        };
        let has_sign = digits.starts_with('+');
        u32::from_str_radix(digits, radix)
            .ok()
            .filter(|_| !has_sign)
    };
    let parts: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last().filter(|(_, bytes)| bytes.len() <= 3)?;
    let rest_bits = 32 - 8 * u32::try_from(bytes.len()).ok()?;
    if bytes.iter().any(|&byte| byte > 0xff) || u64::from(*last) >> rest_bits > 0 {
        return None;
    }
    let high = bytes
        .iter()
        .enumerate()
        .map(|(nth, byte)| byte << (24 - 8 * nth));
    Some(Ipv4Addr::from_bits(high.sum::<u32>() | last).into())
}

/// What stands for a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noted<'a> {
    key: &'a str,
    is_confirmed: bool,
}

/// What stands for `room`. `None` if the room is not known.
fn noted<'a>(known: &'a str, room: &str) -> Option<Noted<'a>> {
    let mut lines = known.lines().filter(|line| is_about(line, room));
    let mut fields = lines.next()?.split_whitespace().skip(1);
    Some(Noted {
        key: fields.next().unwrap_or_default(),
        is_confirmed: !fields.any(|field| field == UNCONFIRMED),
    })
}

fn is_about(line: &str, room: &str) -> bool {
    host_and_port(line).is_some_and(|(host, port)| {
        let (known, wanted) = (canonical(host), room.rsplit_once(':'));
        wanted.is_some_and(|(host, wanted)| host_of(host) == known && port == wanted)
    })
}

/// The host and the port of the room that `line` is about.
fn host_and_port(line: &str) -> Option<(&str, &str)> {
    let (host, port) = line.split_whitespace().next()?.rsplit_once(':')?;
    Some((host_of(host), port))
}

/// A host without the brackets of an address.
fn host_of(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// Whether a room at `host` is known: by that name or address, or by one of its `addresses`.
fn knows_host(known: &str, host: &str, addresses: &[SocketAddr]) -> bool {
    let host = canonical(host);
    let mut hosts = known.lines().filter_map(host_and_port);
    hosts.any(|(known, _)| {
        let is_at = |ip| addresses.iter().any(|at| at.ip().to_canonical() == ip);
        canonical(known) == host || ip_of(known).is_some_and(is_at)
    })
}

/// `known`, and `room` with its key. One that `is_confirmed` takes the place of what stands for
/// the room; another one takes nobody's.
fn with(known: &str, room: &str, key: &str, today: &str, is_confirmed: bool) -> String {
    if !is_confirmed && noted(known, room).is_some() {
        return known.to_owned();
    }
    let mut changed = without(known, room);
    if !changed.is_empty() && !changed.ends_with('\n') {
        changed.push('\n');
    }
    changed += &format!("{room} {key} {today}");
    if !is_confirmed {
        changed += &format!(" {UNCONFIRMED}");
    }
    changed + "\n"
}

fn without(known: &str, room: &str) -> String {
    let lines = known.split_inclusive('\n');
    lines.filter(|line| !is_about(line, room)).collect()
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

/// Puts what `change` makes of it in the place of what is known. Others wait meanwhile.
fn change(change: impl FnOnce(&str) -> String) -> io::Result<()> {
    let path = path().ok_or_else(|| io::Error::other("neither HOME nor XDG_STATE_HOME is set"))?;
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    change_file(&path, change)
}

fn change_file(path: &Path, change: impl FnOnce(&str) -> String) -> io::Result<()> {
    let mut file = open_locked(path, PRIVATE)?;
    let mut known = String::new();
    file.read_to_string(&mut known)?;
    let changed = change(&known);
    if changed != known {
        // A link stays one.
        replace(&fs::canonicalize(path)?, changed.as_bytes(), PRIVATE)?;
    }
    Ok(())
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

    fn key_of<'a>(known: &'a str, room: &str) -> Option<&'a str> {
        noted(known, room).map(|noted| noted.key)
    }

    #[test]
    fn a_room_is_known_by_its_host_and_port_in_any_spelling() {
        let known = format!(
            "box.lan:8443 {KEY} 2026-11-27\n[::1]:1\t{KEY}\t2026-11-27\n \
             127.0.0.1:2  {KEY}\n[0:0::2]:3 {KEY}\ntorn:1"
        );
        for (host, port, is_known) in [
            ("box.lan", 8443, true),
            ("Box.LAN.", 8443, true),
            ("box.lan", 844, false),
            ("ox.lan", 8443, false),
            ("::1", 1, true),
            ("0:0:0:0:0:0:0:1", 1, true),
            ("127.0.0.1", 2, true),
            ("127.1", 2, true),
            ("127.0.1", 2, true),
            ("2130706433", 2, true),
            ("0x7f.0.0.01", 2, true),
            ("::ffff:127.0.0.1", 2, true),
            ("127.0.0.2", 2, false),
            ("::2", 3, true),
        ] {
            let key = key_of(&known, &room(host, port));
            assert_eq!(key, is_known.then_some(KEY), "{host} {port}");
        }
        assert_eq!(key_of(&known, "torn:1"), Some(""));
        for (host, is_known) in [
            ("box.lan", true),
            ("::1", true),
            ("127.1", true),
            ("lan", false),
            ("", false),
        ] {
            assert_eq!(knows_host(&known, host, &[]), is_known, "{host}");
        }
        for (address, is_known) in [("127.0.0.1:9", true), ("127.0.0.2:9", false)] {
            let addresses = [address.parse().unwrap()];
            assert_eq!(
                knows_host(&known, "name", &addresses),
                is_known,
                "{address}"
            );
        }
        let rest = without(&known, "127.0.0.1:2");
        assert!(!rest.contains("127") && rest.contains("torn"), "{rest}");
    }

    #[test]
    fn what_is_no_address_is_a_name() {
        for host in [
            "",
            ".",
            "1.2.3.4.5",
            "256.1.1.1",
            "4294967296",
            "1.2.3.256",
            "0x",
            "+1",
            "08",
            "a.1",
        ] {
            assert_eq!(ip_of(host), None, "{host}");
        }
        for host in ["0", "0x0", "0.0", "00.0.0.0"] {
            assert_eq!(ip_of(host), Some(Ipv4Addr::UNSPECIFIED.into()), "{host}");
        }
    }

    #[test]
    fn only_a_yes_takes_the_place_of_what_is_noted() {
        let torn = "box:1 old";
        let first = with(torn, "box:2", "new", "2026-11-27", false);
        assert_eq!(first, "box:1 old\nbox:2 new 2026-11-27 unconfirmed\n");
        assert!(!noted(&first, "box:2").unwrap().is_confirmed);
        assert_eq!(with(&first, "box:2", "other", "2026-11-28", false), first);
        let second = with(&first, "box:2", "other", "2026-11-28", true);
        assert_eq!(second, "box:1 old\nbox:2 other 2026-11-28\n");
        assert!(noted(&second, "box:2").unwrap().is_confirmed);
    }

    #[test]
    fn nothing_is_lost_when_many_note_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::thread::scope(|scope| {
            for host in 0..8 {
                let link = &link;
                scope.spawn(move || {
                    for port in 0..20 {
                        let room = room(&format!("box{host}"), port);
                        change_file(link, |known| with(known, &room, KEY, "x", true)).unwrap();
                    }
                });
            }
        });
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 8 * 20);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_key_without_a_yes_is_not_confirmed() {
        let mut guard = Guard {
            takes_first: true,
            is_confirmed: false,
            ..guard(None, false)
        };
        let visit = guard.judge(Fingerprint::parse(KEY).unwrap()).unwrap();
        assert_eq!(visit, Visit::First);
        assert_eq!(guard.key().as_deref(), Some(KEY));
        assert!(!guard.is_confirmed());
        let error = guard.unconfirmed();
        assert_eq!(error.exit(), crate::exit::Exit::Untrusted);
        let said = error.to_string();
        assert!(said.contains("say yes") && said.contains(KEY), "{said}");
    }

    fn guard(trusted: Option<&str>, is_given: bool) -> Guard {
        Guard {
            config: Arc::new(client_config().unwrap()),
            host: "box".to_owned(),
            port: 1,
            trusted: trusted.and_then(Fingerprint::parse),
            is_confirmed: true,
            is_given,
            is_new: false,
            is_told: false,
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
