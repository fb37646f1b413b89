//! The SASL mechanisms: PLAIN (RFC 4616), AMQPLAIN (a field table without its length, from AMQP 0-8), EXTERNAL (the client's
//! certificate) and ANONYMOUS.

use broker_core::error::{ConnectionCode, ConnectionError};

use super::Peer;
use crate::amqp::{Config, Mechanism};

/// What a client says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim<'a> {
    /// User name and password.
    Password { username: &'a str, password: &'a [u8] },
    /// The user that the client's certificate names.
    Certificate,
    /// Nobody in particular.
    Anonymous,
}

/// What connection.start offers to a client, separated by spaces.
pub(crate) fn offered(config: &Config, peer: &Peer) -> String {
    let names = MECHANISMS.into_iter().filter(|mechanism| is_offered(*mechanism, config, peer));
    names.map(Mechanism::name).collect::<Vec<_>>().join(" ")
}

const MECHANISMS: [Mechanism; 4] =
    [Mechanism::Plain, Mechanism::AmqPlain, Mechanism::External, Mechanism::Anonymous];

fn is_offered(mechanism: Mechanism, config: &Config, peer: &Peer) -> bool {
    let possible = match mechanism {
        Mechanism::Plain | Mechanism::AmqPlain => true,
        Mechanism::External => peer.certificate_name.is_some(),
        Mechanism::Anonymous => config.anonymous_user.is_some(),
    };
    possible && config.mechanisms.as_ref().is_none_or(|configured| configured.contains(&mechanism))
}

/// Reads the response of a mechanism. 503 if the mechanism is not offered, 502 if the response is malformed.
pub(crate) fn claim<'a>(
    mechanism: &str,
    response: &'a [u8],
    config: &Config,
    peer: &Peer,
) -> Result<Claim<'a>, ConnectionError> {
    let Some(known) = Mechanism::from_name(mechanism) else {
        return Err(
            ConnectionCode::CommandInvalid.error(format!("unknown authentication mechanism '{mechanism}'"))
        );
    };
    if !is_offered(known, config, peer) {
        return Err(
            ConnectionCode::CommandInvalid.error(format!("invalid authentication mechanism '{mechanism}'"))
        );
    }
    match known {
        Mechanism::Plain => {
            plain(response).ok_or_else(|| ConnectionCode::SyntaxError.error("PLAIN response invalid"))
        }
        Mechanism::AmqPlain => amqplain(response).ok_or_else(|| {
            ConnectionCode::SyntaxError
                .error("AMQPLAIN auth info is missing 'LOGIN' or 'PASSWORD', or is not a table")
        }),
        Mechanism::External => Ok(Claim::Certificate),
        Mechanism::Anonymous => Ok(Claim::Anonymous),
    }
}

/// `authorization-id NUL user NUL password`. The authorization id is ignored.
fn plain(response: &[u8]) -> Option<Claim<'_>> {
    let mut parts = response.splitn(3, |&byte| byte == 0);
    let _authorization_id = parts.next()?;
    let username = std::str::from_utf8(parts.next()?).ok()?;
    let password = parts.next()?;
    Some(Claim::Password { username, password })
}

/// `LOGIN` and `PASSWORD` as long strings; fields of other types cannot be skipped and end the search.
fn amqplain(mut table: &[u8]) -> Option<Claim<'_>> {
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
    Some(Claim::Password { username: username?, password: password? })
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
        let peer = Peer::plain("127.0.0.1:1".parse().unwrap());
        let result = claim(mechanism, response, &Config::default(), &peer).map_err(|error| error.code.code());
        assert_eq!(result, expect.map(|(username, password)| Claim::Password { username, password }));
    }

    #[test]
    fn what_is_offered_depends_on_certificate_and_configuration() {
        let mut peer = Peer::plain("127.0.0.1:1".parse().unwrap());
        let mut config = Config::default();
        assert_eq!(offered(&config, &peer), "PLAIN AMQPLAIN");
        peer.certificate_name = Some("CN=x".into());
        config.anonymous_user = Some("nobody".to_owned());
        assert_eq!(offered(&config, &peer), "PLAIN AMQPLAIN EXTERNAL ANONYMOUS");
        assert_eq!(claim("EXTERNAL", b"", &config, &peer), Ok(Claim::Certificate));
        assert_eq!(claim("ANONYMOUS", b"trace", &config, &peer), Ok(Claim::Anonymous));
        config.mechanisms = Some(vec![Mechanism::External]);
        assert_eq!(offered(&config, &peer), "EXTERNAL");
        let error = claim("PLAIN", b"\0guest\0guest", &config, &peer).unwrap_err();
        assert_eq!(error.to_string(), "COMMAND_INVALID - invalid authentication mechanism 'PLAIN'");
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
