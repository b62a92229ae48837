//! The addresses of this machine, and how a link-local one is written.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

/// An IP address; a link-local IPv6 one with the network interface that it is meant for, by
/// name or by number: `fe80::1%br-lan` (RFC 4007, 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopedIp {
    /// The address.
    pub ip: IpAddr,
    interface: Option<String>,
}

impl ScopedIp {
    /// The address of a socket there. Without an interface, this asks the system nothing.
    ///
    /// # Errors
    ///
    /// If this machine has no such interface, in words for people.
    pub(crate) fn with_port(&self, port: u16) -> io::Result<SocketAddr> {
        match (self.ip, &self.interface) {
            (IpAddr::V6(ip), Some(interface)) => {
                let index = index_of(interface)?;
                Ok(SocketAddrV6::new(ip, port, 0, index).into())
            }
            (ip, _) => Ok(SocketAddr::new(ip, port)),
        }
    }
}

impl FromStr for ScopedIp {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let Some((ip, interface)) = text.split_once('%') else {
            let ip = text.parse().map_err(drop)?;
            let interface = None;
            return Ok(Self { ip, interface });
        };
        let ip: Ipv6Addr = ip.parse().map_err(drop)?;
        if !ip.is_unicast_link_local() || interface.is_empty() {
            return Err(());
        }
        Ok(Self {
            ip: ip.into(),
            interface: Some(interface.to_owned()),
        })
    }
}

impl fmt::Display for ScopedIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip.fmt(f)?;
        match &self.interface {
            Some(interface) => write!(f, "%{interface}"),
            None => Ok(()),
        }
    }
}

/// The number of a network interface, given by its name or number.
fn index_of(interface: &str) -> io::Result<u32> {
    let any = socket(AddressFamily::INET6, SocketType::DGRAM, None)
        .or_else(|_| socket(AddressFamily::UNIX, SocketType::DGRAM, None))?;
    let named = netdevice::name_to_index(any, interface);
    let index = named.ok().or_else(|| interface.parse().ok());
    index.ok_or_else(|| {
        let words = format!(
            "this machine has no network interface {interface} (ip -brief link lists them)"
        );
        io::Error::new(io::ErrorKind::NotFound, words)
    })
}

/// The addresses of this machine, loopback last. Without link-local IPv6 addresses: they
/// need the name of an interface, which differs between machines. Empty if the system call
/// fails.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|address| !is_link_local_v6(address))
        .collect();
    addresses.sort_unstable_by_key(|address| (address.is_loopback(), address.is_ipv6(), *address));
    addresses.dedup();
    addresses
}

/// Whether `address` needs the name of an interface.
pub(crate) fn is_link_local_v6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The addresses at which clients reach a server that listens on `address`: that one, or if
/// it is unspecified, all of this machine that it covers.
pub(crate) fn addresses_to_join(address: IpAddr) -> Vec<IpAddr> {
    if !address.is_unspecified() {
        return vec![address];
    }
    let mut addresses = addresses();
    if address.is_ipv4() {
        addresses.retain(IpAddr::is_ipv4);
    }
    if addresses.is_empty() {
        return vec![address];
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_has_an_interface_by_name_or_number() {
        let scoped = |text: &str| text.parse::<ScopedIp>();
        let scope = |text: &str| match scoped(text).unwrap().with_port(8081) {
            Ok(SocketAddr::V6(address)) => address.scope_id(),
            other => panic!("{text}: {other:?}"),
        };
        let loopback = scope("fe80::1%lo");
        assert!(loopback > 0);
        assert_eq!(scope(&format!("fe80::1%{loopback}")), loopback);
        assert_eq!(scope("fe80::1"), 0);
        assert_eq!(scope("::1"), 0);
        assert_eq!(
            scoped("fe80::1%br-lan").unwrap().to_string(),
            "fe80::1%br-lan"
        );
        let missing = scoped("fe80::1%missing").unwrap().with_port(1).unwrap_err();
        assert!(missing.to_string().contains("interface missing"));
        for wrong in [
            "fe80::1%",
            "%lo",
            "10.0.0.1%lo",
            "2001:db8::1%lo",
            "box%lo",
            "box",
        ] {
            assert_eq!(scoped(wrong), Err(()), "{wrong}");
        }
    }

    #[test]
    fn loopback_comes_last() {
        let addresses = addresses();
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
        assert!(addresses.is_sorted_by_key(IpAddr::is_loopback));
    }
}
