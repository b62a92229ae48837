//! Parsing and matching of networks (CIDR).
//!
//! An IPv4-mapped IPv6 address or network, such as `::ffff:10.1.2.3`, is the IPv4 one.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The bits before the IPv4 address in an IPv4-mapped one (RFC 4291, 2.5.5.2).
const MAPPED_PREFIX_BITS: u8 = 96;

/// Parses `ADDRESS/BITS`, or an address alone, which is a network of one. The result is as
/// written, not [`canonical`].
///
/// # Errors
///
/// What is wrong with `text`, and what to write instead.
pub(crate) fn parse(text: &str) -> Result<IpNet, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    if address.contains('%') {
        return Err(
            "rules know no network interface: leave out the % and what is after it".to_owned(),
        );
    }
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(
            "expected an IP address such as 192.168.1.7 or a network such as 192.168.1.0/24; \
             host names are not looked up"
                .to_owned(),
        );
    };
    let Some(prefix) = prefix else {
        return Ok(address.into());
    };
    if let Ok(mask) = prefix.parse()
        && let Ok(bits) = ipnet::ip_mask_to_prefix(mask)
    {
        return Err(format!(
            "write the mask as a number of bits: {address}/{bits}"
        ));
    }
    let max_bits = IpNet::from(address).max_prefix_len();
    let Some(network) = prefix
        .parse()
        .ok()
        .and_then(|bits| IpNet::new(address, bits).ok())
    else {
        return Err(format!(
            "expected a number of bits from 0 to {max_bits} after the /"
        ));
    };
    // Taken literally, this network contains almost no address. IPv4 is meant.
    if let IpAddr::V4(v4) = address.to_canonical()
        && address.is_ipv6()
        && network.prefix_len() < MAPPED_PREFIX_BITS
    {
        return Err(format!(
            "an IPv4-mapped network has at least /{MAPPED_PREFIX_BITS}; \
             write {v4}/ and 0 to 32 bits"
        ));
    }
    Ok(network)
}

/// The canonical form of `network`: IPv4 if it is IPv4-mapped, and without bits beyond the
/// prefix. 10.0.0.7/24 becomes 10.0.0.0/24.
pub(crate) fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(mapped) = network
        && let Some(address) = mapped.addr().to_ipv4_mapped()
        && let Some(prefix_bits) = mapped.prefix_len().checked_sub(MAPPED_PREFIX_BITS)
        && let Ok(network) = Ipv4Net::new(address, prefix_bits)
    {
        return network.trunc().into();
    }
    network.trunc()
}

/// Whether `network` contains `address`, in any spelling. Only IPv4 networks contain IPv4
/// addresses: even `::/0` does not.
pub(crate) fn contains(network: IpNet, address: IpAddr) -> bool {
    canonical(network).contains(&address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn an_error_says_what_to_write_instead() {
        let table = [
            ("", "such as 192.168.1.0/24"),
            ("box.lan", "names are not looked up"),
            ("192.168.1", "such as 192.168.1.0/24"),
            ("192.168.1.*", "such as 192.168.1.0/24"),
            ("192.168.1.300/24", "such as 192.168.1.0/24"),
            ("192.168.1.7:8081", "such as 192.168.1.0/24"),
            ("fe80::1%eth0", "leave out the %"),
            ("/24", "such as 192.168.1.0/24"),
            ("192.168.1.0/", "from 0 to 32"),
            ("192.168.1.0/33", "from 0 to 32"),
            ("192.168.1.0/-1", "from 0 to 32"),
            ("192.168.1.0/24/8", "from 0 to 32"),
            ("fe80::/129", "from 0 to 128"),
            ("192.168.1.0/255.255.255.0", "192.168.1.0/24"),
            ("192.168.1.0/255.0.255.0", "from 0 to 32"),
            ("::ffff:10.0.0.0/8", "10.0.0.0/ and 0 to 32"),
        ];
        for (given, remedy) in table {
            let said = parse(given).unwrap_err();
            assert!(said.contains(remedy), "{said}");
        }
    }

    #[test]
    fn parses_networks_as_written() {
        for (given, meant) in [
            ("10.0.0.7", "10.0.0.7/32"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "::ffff:10.0.0.0/104"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse(given), Ok(network(meant)));
        }
    }

    #[test]
    fn canonical_form_is_unique() {
        for (given, meant) in [
            ("10.0.0.0/24", "10.0.0.0/24"),
            ("10.0.0.7/24", "10.0.0.0/24"),
            ("::ffff:10.0.0.7/120", "10.0.0.0/24"),
            ("::ffff:10.0.0.7/128", "10.0.0.7/32"),
            ("::ffff:1.2.3.4/96", "0.0.0.0/0"),
            // Also contains addresses that are not IPv4.
            ("::ffff:1.2.3.4/95", "::fffe:0:0/95"),
            ("fe80::1/10", "fe80::/10"),
            ("::7/0", "::/0"),
        ] {
            assert_eq!(canonical(network(given)), network(meant), "{given}");
        }
    }

    #[test]
    fn contains_compares_any_spelling() {
        for (around, address, is_within) in [
            ("10.0.0.7/24", "10.0.0.200", true),
            ("10.0.0.7/24", "::ffff:10.0.0.200", true),
            ("::ffff:10.0.0.7/120", "10.0.0.200", true),
            ("::ffff:10.0.0.7/120", "::ffff:10.0.0.200", true),
            ("10.0.0.7/24", "10.0.1.0", false),
            ("10.0.0.7/24", "::10.0.0.7", false),
            ("127.0.0.1/32", "127.0.0.1", true),
            ("127.0.0.1/32", "::1", false),
            ("0.0.0.0/0", "fe80::1", false),
            ("::/0", "::ffff:10.0.0.7", false),
            ("fe80::/10", "fe80::1", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(contains(network(around), address), is_within, "{around}");
        }
    }

    fn any_network() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (any::<std::net::Ipv4Addr>(), 0_u8..=32).prop_map(|(address, bits)| IpNet::new(
                address.into(),
                bits
            )
            .unwrap()),
            (any::<std::net::Ipv6Addr>(), 0_u8..=128).prop_map(|(address, bits)| IpNet::new(
                address.into(),
                bits
            )
            .unwrap()),
            (any::<std::net::Ipv4Addr>(), 96_u8..=128).prop_map(|(address, bits)| {
                IpNet::new(address.to_ipv6_mapped().into(), bits).unwrap()
            }),
        ]
    }

    proptest! {
        #[test]
        fn displayed_networks_can_be_parsed(network in any_network()) {
            let canonical = canonical(network);
            prop_assert_eq!(parse(&canonical.to_string()), Ok(canonical));
        }

        #[test]
        fn a_canonical_network_is_the_same_network(network in any_network()) {
            let once = canonical(network);
            prop_assert_eq!(canonical(once), once);
            // The first and the last address. That of an IPv6 network may be IPv4-mapped.
            for address in [once.network(), once.broadcast()] {
                let is_of_its_kind = address.to_canonical().is_ipv4() == once.addr().is_ipv4();
                prop_assert_eq!(contains(network, address), is_of_its_kind);
            }
        }
    }
}
