//! What the console shows first.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

/// What the console shows first: where the room is, and how to get there.
pub fn banner(listening_on: SocketAddr, reachable_at: &[IpAddr]) -> String {
    let port = listening_on.port();
    let mut text = format!("listening on {listening_on}\njoin with:\n");
    for program in ["chat client", "nc"] {
        for address in reachable_at {
            writeln!(text, "  {program} {address} {port}").expect("a String takes every write");
        }
    }
    text
}

/// The addresses by which a server that listens on `address` is reached: that
/// one, or when it is unspecified every address of this machine that it covers.
pub fn addresses_to_join(address: IpAddr) -> Vec<IpAddr> {
    if !address.is_unspecified() {
        return vec![address];
    }
    let mut addresses = crate::platform::machine::addresses();
    if address.is_ipv4() {
        addresses.retain(IpAddr::is_ipv4);
    }
    match addresses.is_empty() {
        true => vec![address],
        false => addresses,
    }
}
