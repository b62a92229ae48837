//! The addresses of this machine, and how a link-local one is written.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

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

impl From<IpAddr> for ScopedIp {
    fn from(ip: IpAddr) -> Self {
        let interface = None;
        Self { ip, interface }
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

/// The number of a network interface, given by its name or number. One without an address has
/// no name here: nobody could be reached there.
fn index_of(interface: &str) -> io::Result<u32> {
    let interfaces = if_addrs::get_if_addrs()?;
    let named = interfaces.iter().find(|it| it.name == interface);
    let index = named.and_then(|it| it.index);
    index.or_else(|| interface.parse().ok()).ok_or_else(|| {
        let words = format!(
            "this machine has no network interface {interface} (ip -brief link lists them)"
        );
        io::Error::new(io::ErrorKind::NotFound, words)
    })
}

/// The networks whose addresses no router on the Internet passes on: loopback, link-local
/// (RFC 3927, RFC 4291), private (RFC 1918), shared (RFC 6598) and unique local ones (RFC 4193).
pub(crate) const LOCAL_NETWORKS: [IpNet; 9] = [
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v4([100, 64, 0, 0], 10),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    v6(0xfe80, 10),
    v6(0xfc00, 7),
];

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

const fn v6(first: u16, bits: u8) -> IpNet {
    let address = Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0);
    IpNet::V6(Ipv6Net::new_assert(address, bits))
}

/// Whether `address` is of the [`LOCAL_NETWORKS`].
pub(crate) fn is_local(address: &IpAddr) -> bool {
    LOCAL_NETWORKS.iter().any(|it| it.contains(address))
}

/// The addresses of this machine, those that others are likely to reach first, loopback last:
/// local before public ones, and of these the ones where packets to elsewhere come from, which
/// those of bridges to containers are not. Without link-local IPv6 addresses: they
/// need the name of an interface, which differs between machines. Empty if the system call
/// fails.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|address| !is_link_local_v6(address))
        .collect();
    rank(&mut addresses, &sources_to_elsewhere());
    addresses.dedup();
    addresses
}

fn rank(addresses: &mut [IpAddr], sources: &[IpAddr]) {
    addresses.sort_unstable_by_key(|address| {
        (
            address.is_loopback(),
            !is_local(address),
            !sources.contains(address),
            address.is_ipv6(),
            *address,
        )
    });
}

/// Where packets to another network come from. Nothing is sent: connecting such a socket only
/// looks up the route.
fn sources_to_elsewhere() -> Vec<IpAddr> {
    // For documentation (RFC 5737, RFC 3849): they are nobody's, so only a default route leads
    // there.
    let elsewhere = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let source = |(any, there): (&str, &str)| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(there).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    elsewhere.into_iter().filter_map(source).collect()
}

/// Whether `address` needs the name of an interface.
pub(crate) fn is_link_local_v6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The addresses that somebody can have by asking nobody: with IPv6 the whole /64.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// Of `all`, which has an address as often as it has connections, those that have the most, in
/// the networks that have the most: some of them have to go, and nobody who has few.
pub(crate) fn largest_crowds(all: impl Iterator<Item = IpAddr>) -> HashSet<IpAddr> {
    let mut networks: HashMap<IpAddr, usize> = HashMap::new();
    let mut addresses: HashMap<IpAddr, usize> = HashMap::new();
    for address in all {
        *networks.entry(network_of(address)).or_default() += 1;
        *addresses.entry(address).or_default() += 1;
    }
    let most = networks.values().max().copied();
    addresses.retain(|address, _| networks.get(&network_of(*address)).copied() == most);
    let most = addresses.values().max().copied();
    addresses.retain(|_, count| Some(*count) == most);
    addresses.into_keys().collect()
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
    fn a_crowd_is_of_a_network_and_in_it_of_an_address() {
        let crowds = |all: &[&str]| {
            let all = all.iter().map(|text| text.parse().unwrap());
            let mut crowds: Vec<String> = (largest_crowds(all).iter())
                .map(ToString::to_string)
                .collect();
            crowds.sort();
            crowds.join(" ")
        };
        assert_eq!(crowds(&[]), "");
        assert_eq!(crowds(&["10.0.0.1", "10.0.0.2"]), "10.0.0.1 10.0.0.2");
        assert_eq!(crowds(&["10.0.0.1", "10.0.0.2", "10.0.0.1"]), "10.0.0.1");
        let of_one_network = ["2001:db8::1", "2001:db8::2", "2001:db8::2"];
        assert_eq!(
            crowds(&[&of_one_network[..], &["10.0.0.1", "10.0.0.1"]].concat()),
            "2001:db8::2"
        );
    }

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
    fn addresses_that_others_reach_come_first() {
        let parse = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mut addresses = parse(&[
            "127.0.0.1",
            "172.17.0.1",
            "192.168.1.5",
            "203.0.113.7",
            "::1",
            "2001:db8::7",
            "fd00::5",
        ]);
        rank(&mut addresses, &parse(&["192.168.1.5", "fd00::5"]));
        let ranked = parse(&[
            "192.168.1.5",
            "fd00::5",
            "172.17.0.1",
            "203.0.113.7",
            "2001:db8::7",
            "127.0.0.1",
            "::1",
        ]);
        assert_eq!(addresses, ranked);
    }

    #[test]
    fn local_addresses_are_those_that_the_internet_does_not_pass_on() {
        let is_local = |text: &str| is_local(&text.parse().unwrap());
        for local in [
            "127.0.0.1",
            "10.0.0.7",
            "172.31.255.255",
            "192.168.1.5",
            "169.254.7.7",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "fe80::1",
            "febf::1",
            "fd12::1",
        ] {
            assert!(is_local(local), "{local}");
        }
        for public in [
            "9.255.255.255",
            "172.32.0.1",
            "192.169.0.1",
            "100.63.255.255",
            "100.128.0.0",
            "203.0.113.7",
            "::2",
            "fec0::1",
            "2001:db8::7",
        ] {
            assert!(!is_local(public), "{public}");
        }
    }

    #[test]
    fn loopback_comes_last() {
        let addresses = addresses();
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
        assert!(addresses.is_sorted_by_key(IpAddr::is_loopback));
    }
}
