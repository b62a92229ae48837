//! Where a room is, as people write it; and the arguments of every command that joins one.

use std::env;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::values::{Parse, parse_number, parse_port};
use crate::protocol::name::Name;

/// The port of a room unless another is given.
pub(super) const DEFAULT_PORT: u16 = 8081;

/// The longest timeout: an hour.
const MAX_SECONDS: u32 = 3600;

// Where the room is, for commands without a usual one. (clap would show a doc comment as what the
// command does.)
#[cfg(any(feature = "stress", feature = "tls"))]
#[derive(Args, Debug)]
pub(super) struct RoomArgs {
    /// The server's name or IP address; HOST:PORT will do, too
    #[arg(value_name = "HOST", value_parser = parse_place as Parse<Place, _>)]
    #[arg(value_hint = ValueHint::Hostname)]
    place: Place,

    /// The server's port [default: 8081]
    #[arg(value_name = "PORT", value_parser = parse_port_to_connect)]
    port: Option<u16>,
}

// Where the room is, for commands with a usual one.
#[derive(Args, Debug)]
pub(super) struct UsualRoomArgs {
    /// The server's name or address, or HOST:PORT [default: CHAT_ROOM]
    #[arg(value_name = "HOST", value_parser = parse_place as Parse<Place, _>)]
    #[arg(value_hint = ValueHint::Hostname)]
    place: Option<Place>,

    /// The server's port [default: 8081]
    #[arg(value_name = "PORT", value_parser = parse_port_to_connect)]
    port: Option<u16>,
}

/// The environment variable that says where the usual room is, as HOST or HOST:PORT.
const ROOM_VARIABLE: &str = "CHAT_ROOM";

/// What to say to somebody who names none.
pub(super) const NO_ROOM: &str = "which room? Give its <HOST>, or set CHAT_ROOM";

impl UsualRoomArgs {
    #[cfg(feature = "client")]
    pub(super) fn is_given(&self) -> bool {
        self.place.is_some()
    }

    /// Host and port, if they are given or the environment has them; or what is wrong with them.
    pub(super) fn usual_address(self) -> Result<Option<(String, u16)>, String> {
        if let Some(place) = self.place {
            return place.with_port(self.port).map(Some);
        }
        let usual = env::var(ROOM_VARIABLE).unwrap_or_default();
        if usual.is_empty() {
            return Ok(None);
        }
        let wrong = |expected| format!("{ROOM_VARIABLE} is {usual:?}: {expected}");
        let place = parse_place(&usual).map_err(wrong)?;
        place.with_port(None).map(Some)
    }

    /// Host and port, or what is wrong with them.
    pub(super) fn into_address(self) -> Result<(String, u16), String> {
        self.usual_address()?.ok_or_else(|| NO_ROOM.to_owned())
    }
}

#[cfg(any(feature = "stress", feature = "tls"))]
impl RoomArgs {
    /// Host and port, or what is wrong with them.
    pub(super) fn into_address(self) -> Result<(String, u16), String> {
        self.place.with_port(self.port)
    }
}

// The password of a room that has one.
#[derive(Args, Debug)]
pub(super) struct PasswordArgs {
    /// Give a room that has a password the one in the first line of this file
    ///
    /// Others than the owner and the group of the file must not be able to read it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub(super) password_file: Option<PathBuf>,

    /// Send the password in clear, where others on the network can read it
    ///
    /// It need not be given where the room is on this machine.
    #[cfg(not(feature = "tls"))]
    #[arg(long, hide_short_help = true)]
    pub(super) plain: bool,
}

/// Where a room is, as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl Place {
    /// With a port that may be given apart. `None` in both places is the default one.
    pub(super) fn with_port(self, port: Option<u16>) -> Result<(String, u16), String> {
        match (self.port, port) {
            (Some(own), Some(second)) => Err(format!(
                "two ports, {own} and {second}: write HOST PORT or HOST:PORT"
            )),
            (own, port) => Ok((self.host, own.or(port).unwrap_or(DEFAULT_PORT))),
        }
    }
}

/// A host name or IP address, and maybe a port: `box.lan`, `box.lan:8081`, `::1`, `[::1]`,
/// `[::1]:8081`.
pub(super) fn parse_place(text: &str) -> Result<Place, &'static str> {
    if text.contains("://") {
        return Err("that is an address for browsers; here expected HOST or HOST:PORT of the room");
    }
    let (host, port) = split_port(text);
    if host.is_empty() || host.contains(['[', ']']) {
        return Err("expected a name or an IP address, and maybe :PORT, as in 192.168.1.5:8081");
    }
    Ok(Place {
        host: host.to_owned(),
        port: port.map(parse_port_to_connect).transpose()?,
    })
}

/// Takes `:PORT` off, and the brackets that an IPv6 address then has. Without them, it has more
/// than one colon and no port.
pub(super) fn split_port(text: &str) -> (&str, Option<&str>) {
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    match (bracketed, text.split_once(':')) {
        (Some((host, "")), _) => (host, None),
        (Some((host, rest)), _) if rest.starts_with(':') => (host, Some(&rest[1..])),
        (None, Some((host, port))) if !port.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

pub(super) fn parse_port_to_connect(text: &str) -> Result<u16, &'static str> {
    match parse_port(text) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("expected a port from 1 to 65535"),
    }
}

pub(super) fn parse_name(text: &str) -> Result<String, String> {
    match Name::parse(text.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(e) => Err(match Name::near(text.as_bytes()) {
            Some(near) => format!("{e}: {near}"),
            None => e.to_string(),
        }),
    }
}

pub(super) fn parse_timeout(text: &str) -> Result<u32, String> {
    parse_number(text, 1..=MAX_SECONDS).map_err(|expected| format!("{expected}, in seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_in_many_ways() {
        for (text, host, port) in [
            ("room.lan", "room.lan", None),
            ("room.lan:80", "room.lan", Some(80)),
            ("10.0.0.1:8081", "10.0.0.1", Some(8081)),
            ("::1", "::1", None),
            ("[::1]", "::1", None),
            ("[::1]:7803", "::1", Some(7803)),
            ("fe80::1%lo", "fe80::1%lo", None),
            ("[fe80::1%lo]:1", "fe80::1%lo", Some(1)),
        ] {
            let host = host.to_owned();
            assert_eq!(parse_place(text), Ok(Place { host, port }), "{text}");
        }
        for wrong in [
            "",
            ":8081",
            "[]:1",
            "[::1",
            "[::1]8081",
            "box:",
            "box:http",
            "box:0",
            "http://192.168.1.5:8080/",
        ] {
            assert!(parse_place(wrong).is_err(), "{wrong}");
        }
        assert!(parse_port_to_connect("0").is_err());
        let place = |text| parse_place(text).unwrap();
        assert_eq!(place("box").with_port(None), Ok(("box".to_owned(), 8081)));
        assert_eq!(place("box:1").with_port(None), Ok(("box".to_owned(), 1)));
        assert_eq!(place("box").with_port(Some(2)), Ok(("box".to_owned(), 2)));
        assert!(place("box:1").with_port(Some(1)).is_err());
    }
}
