//! From which addresses many connections can be made.
//!
//! A connection is known by its two ends, so from one address no more can be made
//! to a server than there are ephemeral ports (ip(7): `ip_local_port_range`, some
//! 28,000). To a server on the loopback there are 16 million addresses to come
//! from.

use std::net::{IpAddr, Ipv4Addr};

/// Connections made from one address: well below the number of ephemeral ports,
/// some of which others have.
pub const CONNECTIONS_PER_ADDRESS: usize = 10_000;

/// The address for the `nth` connection to `server`, where it matters. Processes
/// with different `process` numbers mostly use different ones, so that several can
/// be run side by side.
pub fn source_address(server: IpAddr, process: u32, nth: usize) -> Option<IpAddr> {
    let IpAddr::V4(server) = server else {
        return None;
    };
    if !server.is_loopback() {
        return None;
    }
    let block = u8::try_from(nth / CONNECTIONS_PER_ADDRESS % 256).expect("below 256");
    let [.., high, low] = process.to_be_bytes();
    // 127.0 is left to others, and no part is 0 or 255.
    let address = Ipv4Addr::new(127, 1 + high % 254, 1 + low % 254, 1 + block % 254);
    Some(IpAddr::V4(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(server: &str, process: u32, nth: usize) -> Option<String> {
        let server = server.parse().unwrap();
        source_address(server, process, nth).map(|address| address.to_string())
    }

    #[test]
    fn loopback_connections_come_from_many_addresses() {
        let first = source("127.0.0.1", 0x0203, 0).unwrap();
        assert_eq!(first, "127.3.4.1");
        assert_eq!(source("127.0.0.1", 0x0203, 9_999).unwrap(), first);
        assert_eq!(source("127.0.0.1", 0x0203, 10_000).unwrap(), "127.3.4.2");
        assert_ne!(source("127.0.0.1", 0x0204, 0).unwrap(), first);
    }

    #[test]
    fn others_are_left_to_the_kernel() {
        assert_eq!(source("192.168.1.5", 1, 0), None);
        assert_eq!(source("::1", 1, 0), None);
    }
}
