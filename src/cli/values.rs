//! Parsers for the values that more than one command takes.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use crate::platform::addresses::ScopedIp;

/// A parser of a value. As a pointer, so that clap's code around it is compiled once for each
/// type of value, and not for each option.
pub(super) type Parse<T, E = String> = fn(&str) -> Result<T, E>;

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
pub(super) fn parse_bytes<N: TryFrom<u64>>(text: &str) -> Option<N> {
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let unit_bytes = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1024,
        "m" | "mb" | "mib" => 1024 * 1024,
        _ => return None,
    };
    let bytes = digits.parse::<u64>().ok()?.checked_mul(unit_bytes)?;
    N::try_from(bytes).ok()
}

pub(super) fn parse_port(text: &str) -> Result<u16, &'static str> {
    text.parse().map_err(|_| "expected a port from 0 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_ports_and_sizes() {
        assert_eq!((parse_port("0"), parse_port("65535")), (Ok(0), Ok(65535)));
        assert!(parse_port("65536").is_err());
        assert_eq!(
            (parse_bytes("64K"), parse_bytes("5000M")),
            (Some(65536_u32), Some(5000_u64 << 20))
        );
        assert_eq!(parse_bytes::<u32>("5000M"), None);
        assert_eq!(parse_bytes("12"), Some(12_usize));
        assert_eq!(parse_bytes("0b"), Some(0_usize));
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
            assert_eq!(parse_bytes::<u64>(wrong), None, "{wrong}");
        }
        for text in ["1M", "128K", "1025", "0"] {
            assert_eq!(Bytes(parse_bytes(text).unwrap()).to_string(), text);
        }
        assert!(parse_ip("224.0.0.1").is_err() && parse_ip("localhost").is_err());
        assert!(parse_ip("fe80::1%br-lan").is_ok() && parse_ip("::1%lo").is_err());
    }
}
