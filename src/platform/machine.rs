//! What we need to know about the machine we run on.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use rustix::fs::fstat;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The addresses of this machine, those of the LAN first and loopback last.
/// Link-local IPv6 addresses are left out: they mean nothing without the name of
/// an interface, which differs from machine to machine. Empty when the system
/// does not tell.
pub fn addresses() -> Vec<IpAddr> {
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
pub fn is_link_local_v6(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Lets this process open as many descriptors as it may at all, and returns how
/// many those are.
///
/// # Errors
///
/// Those of setrlimit(2).
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: most,
            maximum: most,
        },
    )?;
    Ok(most.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    }))
}

/// How many bytes written to the TCP connection `socket` its peer has not
/// acknowledged yet, as /proc/net/tcp has it (proc_pid_net(5)). `None` where that
/// cannot be told.
pub fn unacknowledged_bytes(socket: impl AsFd) -> Option<u64> {
    let inode = fstat(socket).ok()?.st_ino.to_string();
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|path| {
        let table = std::fs::read_to_string(path).ok()?;
        table.lines().find_map(|row| {
            // sl local remote st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
            let mut fields = row.split_ascii_whitespace();
            let queues = fields.nth(4)?;
            if fields.nth(4)? != inode {
                return None;
            }
            let (unacknowledged, _) = queues.split_once(':')?;
            u64::from_str_radix(unacknowledged, 16).ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn loopback_is_among_the_addresses_and_last() {
        let addresses = addresses();
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
        assert!(addresses.is_sorted_by_key(IpAddr::is_loopback));
    }

    #[test]
    fn what_a_peer_does_not_take_is_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(unacknowledged_bytes(&socket), Some(0));
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 65536]).is_ok() {}
        assert!(unacknowledged_bytes(&socket) > Some(0));
    }
}
