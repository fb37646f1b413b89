//! The addresses that the broker listens on.

use std::io;
use std::net::{SocketAddr, TcpListener};

use super::StartError;

/// Binds a listener. `flag` gave the address.
pub fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken { flag, address },
        _ => StartError::Listen {
            flag,
            address,
            source,
        },
    })
}

/// Finds out that nobody listens on an address, and which port the system gives for port 0.
///
/// Every shard listens on the AMQP address, with SO_REUSEPORT, and so could any other process of the same user: two brokers
/// would share the port and each get half of the connections. A listener without that option is refused if there is any
/// other, so this makes one and closes it.
pub fn claim(flag: &'static str, address: SocketAddr) -> Result<SocketAddr, StartError> {
    bind(flag, address)?
        .local_addr()
        .map_err(|source| StartError::Listen {
            flag,
            address,
            source,
        })
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketType, bind as bind_socket, listen, socket, sockopt};

    use super::*;

    #[test]
    fn a_port_that_is_free_is_claimed_and_can_be_bound_afterwards() {
        let address = claim("--amqp", "127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(address.port(), 0);
        bind("--amqp", address).unwrap();
    }

    #[test]
    fn a_port_shared_by_reuseport_is_taken() {
        let other = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseport(&other, true).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        bind_socket(&other, &any).unwrap();
        listen(&other, 1).unwrap();
        let address = SocketAddr::try_from(rustix::net::getsockname(&other).unwrap()).unwrap();
        let error = claim("--amqp", address).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("--amqp {address}: the port is taken by another process")
        );
    }
}
