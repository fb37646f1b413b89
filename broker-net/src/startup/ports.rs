//! The addresses that the broker listens on.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, getsockname, socket, sockopt};

use super::StartError;

/// How long a port may be taken before somebody else is taken to be there.
const TAKEN_PATIENCE: Duration = Duration::from_secs(1);

/// Time between two tries.
const TAKEN_PAUSE: Duration = Duration::from_millis(5);

/// Binds a listener. `flag` gave the address.
pub fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| explain(flag, address, source))
}

/// An address to listen on.
#[derive(Debug)]
pub struct Claim {
    /// The address, with the port that the system gives for port 0.
    pub address: SocketAddr,
    /// Keeps the port that the system gave from other processes that ask for one. It does not listen.
    _reserved: Option<OwnedFd>,
}

impl Claim {
    /// Nobody listens there, and no port is reserved.
    fn free(address: SocketAddr) -> Self {
        Self { address, _reserved: None }
    }
}

/// Finds out that nobody listens on an address, and which port the system gives for port 0: that one is reserved for the shards
/// as long as the claim is there.
///
/// Every shard listens on the AMQP address, with SO_REUSEPORT, and so could any other process of the same
/// user: two brokers would share the port and each get half of the connections. A socket without that option
/// cannot be bound where anybody listens, so this binds one and closes it; it never listens itself, so that no
/// client is accepted before the shards are there.
///
/// A listener of a broker that was killed a moment ago is still there until the kernel has taken its rings apart, so a
/// port that is taken is tried again for a while.
pub fn claim(flag: &'static str, address: SocketAddr) -> Result<Claim, StartError> {
    let start = Instant::now();
    loop {
        match try_bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                // Connections of a broker that was killed linger until their clients notice. They are in the way of
                // this socket, and not in the way of the shards.
                if !has_listener(address.port()) {
                    return Ok(Claim::free(address));
                }
                if start.elapsed() > TAKEN_PATIENCE {
                    return Err(explain(flag, address, error));
                }
                thread::sleep(TAKEN_PAUSE);
            }
            result => return result.map_err(|source| explain(flag, address, source)),
        }
    }
}

fn try_bind(address: SocketAddr) -> io::Result<Claim> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let probe = socket(family, SocketType::STREAM, None)?;
    if address.port() != 0 {
        sockopt::set_socket_reuseaddr(&probe, true)?;
        rustix::net::bind(&probe, &address)?;
        return Ok(Claim::free(address));
    }
    // The shards' sockets may be bound beside it. The system never chooses a port that any socket is bound to.
    sockopt::set_socket_reuseport(&probe, true)?;
    rustix::net::bind(&probe, &address)?;
    Ok(Claim { address: SocketAddr::try_from(getsockname(&probe)?)?, _reserved: Some(probe) })
}

/// True if any process listens on the port, on whatever address of this machine; also if that cannot be found out.
fn has_listener(port: u16) -> bool {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    let listens = |table: String| table.lines().any(|line| is_listener(line, port));
    tables.into_iter().any(|table| table.map_or_else(|error| error.kind() != io::ErrorKind::NotFound, listens))
}

/// A line of those tables: `sl local_address rem_address st ...`, numbers in hexadecimal.
fn is_listener(line: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1).and_then(|address| address.rsplit_once(':'));
    local.is_some_and(|(_, local)| u16::from_str_radix(local, 16) == Ok(port)) && fields.nth(1) == Some(LISTEN)
}

fn explain(flag: &'static str, address: SocketAddr, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken { flag, address },
        _ => StartError::Listen { flag, address, source },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use rustix::net::listen;

    use super::*;

    #[track_caller]
    fn check_taken(address: SocketAddr) {
        let error = claim("--amqp", address).unwrap_err();
        assert_eq!(error.to_string(), format!("--amqp {address}: the port is taken by another process"));
    }

    #[test]
    fn a_port_that_is_free_is_claimed_and_can_be_bound_afterwards() {
        let claimed = claim("--amqp", "127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(claimed.address.port(), 0);
        bind("--amqp", claimed.address).expect_err("it is reserved");
        let address = claimed.address;
        drop(claimed);
        bind("--amqp", address).unwrap();
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_taken() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        check_taken(other.local_addr().unwrap());
    }

    fn shared() -> OwnedFd {
        let shared = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseport(&shared, true).unwrap();
        shared
    }

    #[test]
    fn a_port_that_could_be_shared_is_taken() {
        let other = shared();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        rustix::net::bind(&other, &any).unwrap();
        listen(&other, 1).unwrap();
        check_taken(getsockname(&other).unwrap().try_into().unwrap());
    }

    #[test]
    fn connections_that_linger_do_not_take_the_port() {
        let listener = shared();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        rustix::net::bind(&listener, &any).unwrap();
        listen(&listener, 1).unwrap();
        let address = getsockname(&listener).unwrap().try_into().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        let _server = rustix::net::accept(&listener).unwrap();
        drop(listener);
        assert_eq!(claim("--amqp", address).unwrap().address, address);
    }

    #[test]
    fn a_listener_is_told_from_a_connection() {
        let line = |state| format!("   0: 0100007F:1628 00000000:0000 {state} 00000000:00000000 00:00000000");
        assert!(is_listener(&line("0A"), 5672));
        assert!(!is_listener(&line("0A"), 5673));
        assert!(!is_listener(&line("01"), 5672));
        assert!(!is_listener("  sl  local_address rem_address   st tx_queue rx_queue", 5672));
    }
}
