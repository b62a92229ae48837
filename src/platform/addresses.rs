//! The addresses of this machine.

use std::net::IpAddr;

/// The addresses of this machine, those of the LAN first and loopback last.
/// Link-local IPv6 addresses are left out: they mean nothing without the name of
/// an interface, which differs from machine to machine. Empty when the system
/// does not tell.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|address| !is_link_local_v6(address))
        .collect();
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6(), *address));
    addresses.dedup();
    addresses
}

/// Whether `address` means something only together with a network interface.
pub(crate) fn is_link_local_v6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The addresses by which a server that listens on `address` is reached: that
/// one, or when it is unspecified every address of this machine that it covers.
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
    fn loopback_is_among_the_addresses_and_last() {
        let addresses = addresses();
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
        assert!(addresses.is_sorted_by_key(IpAddr::is_loopback));
    }
}
