//! The addresses that the broker listens on.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketType, getsockname, socket, sockopt};

use super::StartError;

/// Binds a listener. `flag` gave the address.
pub fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| explain(flag, address, source))
}

/// Finds out that nobody listens on an address, and which port the system gives for port 0.
///
/// Every shard listens on the AMQP address, with SO_REUSEPORT, and so could any other process of the same
/// user: two brokers would share the port and each get half of the connections. A socket without that option
/// cannot be bound where anybody listens, so this binds one and closes it; it never listens itself, so that no
/// client is accepted before the shards are there.
pub fn claim(flag: &'static str, address: SocketAddr) -> Result<SocketAddr, StartError> {
    try_bind(address).map_err(|source| explain(flag, address, source))
}

fn try_bind(address: SocketAddr) -> io::Result<SocketAddr> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let probe = socket(family, SocketType::STREAM, None)?;
    // Connections of an earlier process that linger on the port are no reason to refuse it.
    sockopt::set_socket_reuseaddr(&probe, true)?;
    rustix::net::bind(&probe, &address)?;
    Ok(SocketAddr::try_from(getsockname(&probe)?)?)
}

fn explain(flag: &'static str, address: SocketAddr, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken { flag, address },
        _ => StartError::Listen {
            flag,
            address,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::listen;

    use super::*;

    #[track_caller]
    fn check_taken(address: SocketAddr) {
        let error = claim("--amqp", address).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("--amqp {address}: the port is taken by another process")
        );
    }

    #[test]
    fn a_port_that_is_free_is_claimed_and_can_be_bound_afterwards() {
        let address = claim("--amqp", "127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(address.port(), 0);
        bind("--amqp", address).unwrap();
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_taken() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        check_taken(other.local_addr().unwrap());
    }

    #[test]
    fn a_port_that_could_be_shared_is_taken() {
        let other = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseport(&other, true).unwrap();
        sockopt::set_socket_reuseaddr(&other, true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        rustix::net::bind(&other, &any).unwrap();
        listen(&other, 1).unwrap();
        check_taken(getsockname(&other).unwrap().try_into().unwrap());
    }
}
