//! From a host name and a port to a connection.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use log::debug;

use crate::error::Error;

/// How long one address has to answer before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to `host`, a name or an IP address, trying all its addresses in the
/// order the resolver gives them; also returns the one that answered. Blocks
/// meanwhile: there is nothing else to do yet.
///
/// # Errors
///
/// When the name is not known, or none of its addresses takes the connection.
pub fn connect(host: &str, port: u16) -> Result<(TcpStream, SocketAddr), Error> {
    let addresses = (host, port)
        .to_socket_addrs()
        .map_err(|source| Error::Resolve {
            host: host.to_owned(),
            port,
            source,
        })?;
    let mut attempts = Vec::new();
    for address in addresses {
        match connect_to(address) {
            Ok(stream) => return Ok((stream, address)),
            Err(e) => {
                debug!("{address}: {e}");
                attempts.push((address, e));
            }
        }
    }
    Err(Error::Connect {
        host: host.to_owned(),
        port,
        attempts,
    })
}

fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    // A typed line is to leave at once.
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
