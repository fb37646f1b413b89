//! The SASL mechanisms PLAIN (RFC 4616) and AMQPLAIN (a field table without its length, from AMQP 0-8).

use broker_core::error::{ConnectionCode, ConnectionError};

/// What connection.start offers, separated by spaces.
pub(crate) const MECHANISMS: &str = "PLAIN AMQPLAIN";

/// A user name and a password, borrowed from the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: &'a [u8],
}

/// Reads the response of a mechanism. 503 if the mechanism is not offered, 502 if the response is malformed.
pub(crate) fn credentials<'a>(mechanism: &str, response: &'a [u8]) -> Result<Credentials<'a>, ConnectionError> {
    match mechanism {
        "PLAIN" => plain(response)
            .ok_or_else(|| ConnectionCode::SyntaxError.error(format!("response {response:?} invalid"))),
        "AMQPLAIN" => amqplain(response).ok_or_else(|| {
            ConnectionCode::SyntaxError
                .error("AMQPLAIN auth info is missing 'LOGIN' or 'PASSWORD', or is not a table")
        }),
        _ => Err(ConnectionCode::CommandInvalid.error(format!("unknown authentication mechanism '{mechanism}'"))),
    }
}

/// `authorization-id NUL user NUL password`. The authorization id is ignored.
fn plain(response: &[u8]) -> Option<Credentials<'_>> {
    let mut parts = response.splitn(3, |&byte| byte == 0);
    let _authorization_id = parts.next()?;
    let username = std::str::from_utf8(parts.next()?).ok()?;
    let password = parts.next()?;
    Some(Credentials { username, password })
}

/// `LOGIN` and `PASSWORD` as long strings; fields of other types cannot be skipped and end the search.
fn amqplain(mut table: &[u8]) -> Option<Credentials<'_>> {
    let (mut username, mut password) = (None, None);
    while !table.is_empty() {
        let (name, rest) = split_prefixed::<1>(table)?;
        let (b'S', rest) = rest.split_first().map(|(kind, rest)| (*kind, rest))? else {
            return None;
        };
        let (value, rest) = split_prefixed::<4>(rest)?;
        match name {
            b"LOGIN" => username = Some(std::str::from_utf8(value).ok()?),
            b"PASSWORD" => password = Some(value),
            _ => {}
        }
        table = rest;
    }
    Some(Credentials { username: username?, password: password? })
}

/// A string behind its length, which has `N` bytes in network order.
fn split_prefixed<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(N)?;
    let length = length.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mechanism: &str, response: &[u8], expect: Result<(&str, &[u8]), u16>) {
        let result = credentials(mechanism, response)
            .map(|credentials| (credentials.username, credentials.password))
            .map_err(|error| error.code.code());
        assert_eq!(result, expect);
    }

    #[test]
    fn plain_takes_user_and_password_after_the_authorization_id() {
        check("PLAIN", b"\0guest\0guest", Ok(("guest", b"guest")));
        check("PLAIN", b"admin\0guest\0a\0b", Ok(("guest", b"a\0b")));
        check("PLAIN", b"\0\0", Ok(("", b"")));
    }

    #[test]
    fn malformed_response_is_502_and_unknown_mechanism_503() {
        for response in [&b""[..], b"guest", b"\0guest", b"\0\xff\0x"] {
            check("PLAIN", response, Err(502));
        }
        for response in [&b""[..], b"\x05LOGIN", b"\x05LOGINS\0\0\0\x09guest", b"\x05LOGINI\0\0\0\x01"] {
            check("AMQPLAIN", response, Err(502));
        }
        check("EXTERNAL", b"", Err(503));
    }

    #[test]
    fn amqplain_is_a_table_without_its_length() {
        let response = b"\x05LOGINS\0\0\0\x05guest\x08PASSWORDS\0\0\0\x06secret";
        check("AMQPLAIN", response, Ok(("guest", b"secret")));
    }
}
