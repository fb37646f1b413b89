//! SASL: who gets in, by which mechanism, from where; and what the others hear.

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::{AMQPMethod as Connection, Start};
use amq_protocol::types::FieldTable;

use crate::harness::{Broker, Login, Raw, own_process, scenario};

const PROXY: &[&str] = &["--set", "proxy_protocol = true"];

/// What the broker says first, on a connection that has sent `before` and the protocol header.
fn start(raw: &mut Raw, before: &[u8]) -> Start {
    raw.write(before);
    raw.write(b"AMQP\x00\x00\x09\x01");
    match raw.method(0) {
        AMQPClass::Connection(Connection::Start(start)) => start,
        other => panic!("{other:?} is not connection.start"),
    }
}

/// The mechanisms on offer.
fn mechanisms(broker: &Broker) -> String {
    start(&mut Raw::connect(broker), b"").mechanisms.to_string()
}

/// Tries to log in behind a PROXY header; the code of the refusal, if there is one.
fn login_from(broker: &Broker, header: &[u8]) -> Option<u16> {
    let mut raw = Raw::connect(broker);
    start(&mut raw, header);
    raw.start_ok(&Login::default());
    match raw.method(0) {
        AMQPClass::Connection(Connection::Tune(_)) => None,
        AMQPClass::Connection(Connection::Close(close)) => Some(close.reply_code),
        other => panic!("{other:?} does not answer start-ok"),
    }
}

#[test]
fn unknown_mechanism_is_closed_without_a_word() {
    scenario(async |broker| {
        for mechanism in ["MAGIC", "ANONYMOUS", "EXTERNAL"] {
            let mut raw = Raw::connect(broker);
            start(&mut raw, b"");
            raw.start_ok(&Login { mechanism, ..Login::default() });
            assert_eq!(raw.rest(), b"", "{mechanism}");
        }
    });
}

#[test]
fn malformed_response_is_closed_without_a_word() {
    scenario(async |broker| {
        let mut raw = Raw::connect(broker);
        start(&mut raw, b"");
        raw.start_ok(&Login { response: b"guest".to_vec(), ..Login::default() });
        assert_eq!(raw.rest(), b"");
    });
}

#[test]
fn anonymous_is_offered_and_let_in_only_if_a_user_is_configured() {
    scenario(async |broker| assert_eq!(mechanisms(broker), "PLAIN AMQPLAIN"));
    own_process(&["--set", "anonymous_login_user = guest"], async |broker| {
        assert_eq!(mechanisms(broker), "PLAIN AMQPLAIN ANONYMOUS");
        let response = Vec::new();
        Raw::login(broker, &Login { mechanism: "ANONYMOUS", response, ..Login::default() });
    });
}

#[test]
fn configured_mechanisms_replace_the_default() {
    own_process(&["--set", "auth_mechanisms.1 = AMQPLAIN"], async |broker| {
        assert_eq!(mechanisms(broker), "AMQPLAIN");
        let mut raw = Raw::connect(broker);
        start(&mut raw, b"");
        raw.start_ok(&Login::default());
        assert_eq!(raw.rest(), b"");
    });
}

#[test]
fn guest_may_connect_from_loopback_only() {
    own_process(PROXY, async |broker| {
        assert_eq!(login_from(broker, b"PROXY TCP4 127.0.0.1 127.0.0.1 40000 5672\r\n"), None);
        assert_eq!(login_from(broker, b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 5672\r\n"), Some(403));
        assert_eq!(login_from(broker, b"PROXY TCP6 2001:db8::1 ::1 40000 5672\r\n"), Some(403));
        assert_eq!(login_from(broker, b"PROXY UNKNOWN\r\n"), None);
        let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
        binary.extend_from_slice(&[192, 0, 2, 1, 127, 0, 0, 1, 0x9c, 0x40, 0x16, 0x28]);
        assert_eq!(login_from(broker, &binary), Some(403));
    });
    own_process(&[PROXY, &["--set", "loopback_users.guest = false"]].concat(), async |broker| {
        assert_eq!(login_from(broker, b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 5672\r\n"), None);
    });
}

#[test]
fn connection_without_the_proxys_header_is_closed() {
    own_process(PROXY, async |broker| {
        let mut raw = Raw::connect(broker);
        raw.write(b"AMQP\x00\x00\x09\x01 and on");
        assert_eq!(raw.rest(), b"");
    });
}

#[test]
fn header_of_a_proxy_that_is_not_trusted_is_no_amqp() {
    let trusted = ["--set", "proxy_protocol_trusted_sources = 192.0.2.0/24, 2001:db8::1"];
    own_process(&[PROXY, &trusted].concat(), async |broker| {
        let mut raw = Raw::connect(broker);
        raw.write(b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 5672\r\n");
        assert_eq!(raw.rest(), b"AMQP\x00\x00\x09\x01");
        assert_eq!(mechanisms(broker), "PLAIN AMQPLAIN", "others are spoken to without PROXY protocol");
    });
    own_process(&[PROXY, &["--set", "proxy_protocol_trusted_sources = 127.0.0.1"]].concat(), async |broker| {
        assert_eq!(login_from(broker, b"PROXY TCP4 192.0.2.1 127.0.0.1 40000 5672\r\n"), Some(403));
    });
}

#[test]
fn user_of_a_new_data_directory_is_configured() {
    let flags = ["--set", "default_user = al", "--set", "default_pass = se#cret", "--set", "default_vhost = prod"];
    own_process(&flags, async |broker| {
        let response = b"\0al\0se#cret".to_vec();
        Raw::login(broker, &Login { response, vhost: "prod", ..Login::default() });
        let mut raw = Raw::connect(broker);
        start(&mut raw, b"");
        raw.start_ok(&Login { capabilities: FieldTable::default(), ..Login::default() });
        assert_eq!(raw.rest(), b"");
    });
}
