//! Parsers for the values that more than one command takes.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use crate::platform::addresses::ScopedIp;

/// A parser of a value. As a pointer, so that clap's code around it is compiled once for each
/// type of value, and not for each option.
pub(super) type Parse<T, E = String> = fn(&str) -> Result<T, E>;

/// The port of a room unless another is given.
pub(super) const DEFAULT_PORT: u16 = 8081;

pub(super) fn parse_ip(text: &str) -> Result<ScopedIp, &'static str> {
    match text.parse::<ScopedIp>() {
        Ok(at) if at.ip.is_multicast() || at.ip == Ipv4Addr::BROADCAST => {
            Err("this is a multicast or broadcast address; give the address of one machine")
        }
        Ok(at) => Ok(at),
        Err(()) if text.contains('%') => Err(
            "expected a link-local IPv6 address before the % and a network interface after it, \
             as in fe80::1%eth0",
        ),
        Err(()) => Err("expected an IP address, such as 192.168.1.5, or 0.0.0.0 for every address"),
    }
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

/// A whole number within `range`. No limit is an option left out, never 0.
pub(super) fn parse_number(text: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        format!(
            "expected a whole number from {} to {}",
            range.start(),
            range.end()
        )
    })
}

/// A number of bytes. Displayed in K (1,024) or M where it is a multiple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => write!(f, "{}M", bytes >> 20),
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 10) => write!(f, "{}K", bytes >> 10),
            bytes => write!(f, "{bytes}"),
        }
    }
}

/// A number of bytes such as `65536`, `64K` or `1M`. `None` if it is not one or too large.
pub(super) fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit_bytes = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1024,
        "m" | "mb" | "mib" => 1024 * 1024,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit_bytes)
}

pub(super) fn parse_port(text: &str) -> Result<u16, &'static str> {
    text.parse().map_err(|_| "expected a port from 0 to 65535")
}

pub(super) fn parse_port_to_connect(text: &str) -> Result<u16, &'static str> {
    match parse_port(text) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err("expected a port from 1 to 65535"),
    }
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
        ] {
            assert!(parse_place(wrong).is_err(), "{wrong}");
        }
        let place = |text| parse_place(text).unwrap();
        assert_eq!(place("box").with_port(None), Ok(("box".to_owned(), 8081)));
        assert_eq!(place("box:1").with_port(None), Ok(("box".to_owned(), 1)));
        assert_eq!(place("box").with_port(Some(2)), Ok(("box".to_owned(), 2)));
        assert!(place("box:1").with_port(Some(1)).is_err());
    }

    #[test]
    fn parses_ports_and_sizes() {
        assert_eq!((parse_port("0"), parse_port("65535")), (Ok(0), Ok(65535)));
        assert!(parse_port("65536").is_err() && parse_port_to_connect("0").is_err());
        assert_eq!(
            (parse_bytes("64K"), parse_bytes("1MiB")),
            (Some(65536), Some(1 << 20))
        );
        assert_eq!((parse_bytes("12"), parse_bytes("0b")), (Some(12), Some(0)));
        for wrong in [
            "",
            "K",
            "1T",
            "-1",
            "1.5M",
            "1 M",
            "99999999999999999999",
            "1KK",
        ] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
        for text in ["1M", "128K", "1025", "0"] {
            assert_eq!(Bytes(parse_bytes(text).unwrap()).to_string(), text);
        }
        assert!(parse_ip("224.0.0.1").is_err() && parse_ip("localhost").is_err());
        assert!(parse_ip("fe80::1%br-lan").is_ok() && parse_ip("::1%lo").is_err());
    }
}
