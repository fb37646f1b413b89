//! The PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt): a header before everything else, in which a proxy says where
//! a connection comes from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_lite::AsyncReadExt as _;
use glommio::net::TcpStream;

/// What a header of version 2 starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, in octets.
const MAX_LINE: usize = 107;

/// The longest rest of a header of version 2 that is read, in octets; a longer one ends the connection.
const MAX_REST: usize = 4096;

/// Reads the header. Returns where the client is; `None` if the proxy speaks for itself (a health check).
pub(super) async fn read_header(tcp: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; SIGNATURE.len()];
    tcp.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return read_binary(tcp).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(malformed());
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_LINE {
            return Err(malformed());
        }
        // What is behind the line is not the proxy's: it must not be read here.
        let mut octet = [0];
        tcp.read_exact(&mut octet).await?;
        line.push(octet[0]);
    }
    parse_line(&line).ok_or_else(malformed)
}

async fn read_binary(tcp: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 4];
    tcp.read_exact(&mut head).await?;
    let [command, family, length @ ..] = head;
    let length = usize::from(u16::from_be_bytes(length));
    if length > MAX_REST {
        return Err(malformed());
    }
    let mut rest = vec![0; length];
    tcp.read_exact(&mut rest).await?;
    parse_binary(command, family, &rest).ok_or_else(malformed)
}

/// `PROXY TCP4 source destination source-port destination-port\r\n`. The outer `None` is a malformed one.
fn parse_line(line: &[u8]) -> Option<Option<SocketAddr>> {
    let text = std::str::from_utf8(line).ok()?.trim_end();
    let mut words = text.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let source: IpAddr = words.next()?.parse().ok()?;
    let fits = matches!((family, source), ("TCP4", IpAddr::V4(_)) | ("TCP6", IpAddr::V6(_)));
    let port = words.nth(1)?.parse().ok()?;
    fits.then_some(Some(SocketAddr::new(source, port)))
}

/// Version and command, family and transport, addresses. The outer `None` is a malformed one.
fn parse_binary(command: u8, family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    match command {
        // LOCAL: the proxy itself.
        0x20 => return Some(None),
        0x21 => {}
        _ => return None,
    }
    let port = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk()?));
    match family {
        0x11 => {
            let source = Ipv4Addr::from(*rest.first_chunk::<4>()?);
            Some(Some(SocketAddr::new(source.into(), port(8)?)))
        }
        0x21 => {
            let source = Ipv6Addr::from(*rest.first_chunk::<16>()?);
            Some(Some(SocketAddr::new(source.into(), port(32)?)))
        }
        _ => Some(None),
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no header of the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn lines_say_where_the_client_is() {
        let line = b"PROXY TCP4 192.0.2.1 10.0.0.1 40000 5672\r\n";
        assert_eq!(parse_line(line), Some(Some(address("192.0.2.1:40000"))));
        assert_eq!(parse_line(b"PROXY TCP6 2001:db8::1 ::1 4 5\r\n"), Some(Some(address("[2001:db8::1]:4"))));
        assert_eq!(parse_line(b"PROXY UNKNOWN\r\n"), Some(None));
        for line in
            [&b"PROXY\r\n"[..], b"PROXY TCP4 ::1 ::1 1 2\r\n", b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 x y 1 2"]
        {
            assert_eq!(parse_line(line), None);
        }
    }

    #[test]
    fn binary_headers_say_where_the_client_is() {
        let rest = [192, 0, 2, 1, 10, 0, 0, 1, 0x9c, 0x40, 0x16, 0x28];
        assert_eq!(parse_binary(0x21, 0x11, &rest), Some(Some(address("192.0.2.1:40000"))));
        let mut rest = [0; 36];
        rest[15] = 1;
        rest[33] = 7;
        assert_eq!(parse_binary(0x21, 0x21, &rest), Some(Some(address("[::1]:7"))));
        assert_eq!(parse_binary(0x20, 0x00, &[]), Some(None));
        assert_eq!(parse_binary(0x21, 0x11, &[1, 2]), None);
        assert_eq!(parse_binary(0x12, 0x11, &[]), None);
    }

    proptest! {
        #[test]
        fn no_header_is_a_panic(
            command in any::<u8>(),
            family in any::<u8>(),
            rest in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            parse_binary(command, family, &rest);
            parse_line(&rest);
        }
    }
}
