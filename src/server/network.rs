//! Networks of addresses: as people write them, and what lies within them.
//!
//! An IPv4 address or network that is written as IPv6, such as `::ffff:10.1.2.3`, is
//! the IPv4 one.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// How many bits come before an IPv4 address that is written as IPv6 (RFC 4291,
/// 2.5.5.2).
const MAPPED_PREFIX_BITS: u8 = 96;

/// Reads a network that is written as `ADDRESS/BITS`, or an address alone, which is a
/// network of one. It is kept as it is written: see [`canonical`].
///
/// # Errors
///
/// What is wrong with `text`, and what to write instead.
pub(crate) fn parse(text: &str) -> Result<IpNet, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(
            "not an IP address such as 192.168.1.7, nor a network such as \
                    192.168.1.0/24; names are not looked up"
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
            "what follows the / is a number from 0 to {max_bits}"
        ));
    };
    // As IPv6, this would be a network of next to nobody; IPv4 is what is meant.
    if let IpAddr::V4(v4) = address.to_canonical()
        && address.is_ipv6()
        && network.prefix_len() < MAPPED_PREFIX_BITS
    {
        return Err(format!(
            "for an IPv4 address that is written as IPv6 it would be at least \
             /{MAPPED_PREFIX_BITS}; write {v4}/ and 0 to 32 bits"
        ));
    }
    Ok(network)
}

/// The one way to write `network`: as IPv4, if it is an IPv4 network that is written as
/// IPv6, and without bits beyond its prefix. So 10.0.0.7/24 is 10.0.0.0/24.
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

/// Whether `address` lies within `network`, however the two are written. An IPv4 address
/// lies within IPv4 networks alone: not even within `::/0`.
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
    fn networks_are_taken_as_people_write_them() {
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
    fn there_is_one_way_to_write_a_network() {
        for (given, meant) in [
            ("10.0.0.0/24", "10.0.0.0/24"),
            ("10.0.0.7/24", "10.0.0.0/24"),
            ("::ffff:10.0.0.7/120", "10.0.0.0/24"),
            ("::ffff:10.0.0.7/128", "10.0.0.7/32"),
            ("::ffff:1.2.3.4/96", "0.0.0.0/0"),
            // No network of IPv4 addresses alone.
            ("::ffff:1.2.3.4/95", "::fffe:0:0/95"),
            ("fe80::1/10", "fe80::/10"),
            ("::7/0", "::/0"),
        ] {
            assert_eq!(canonical(network(given)), network(meant), "{given}");
        }
    }

    #[test]
    fn an_address_is_within_a_network_however_they_are_written() {
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
        fn what_is_displayed_can_be_read_again(network in any_network()) {
            let canonical = canonical(network);
            prop_assert_eq!(parse(&canonical.to_string()), Ok(canonical));
        }

        #[test]
        fn a_canonical_network_is_the_same_network(network in any_network()) {
            let once = canonical(network);
            prop_assert_eq!(canonical(once), once);
            // First and last address; an IPv6 network may begin or end with one that is
            // written as IPv6 and is none.
            for address in [once.network(), once.broadcast()] {
                let is_of_its_kind = address.to_canonical().is_ipv4() == once.addr().is_ipv4();
                prop_assert_eq!(contains(network, address), is_of_its_kind);
            }
        }
    }
}
