//! TLS, and users that certificates name.

use super::super::value::{boolean, number, word};
use super::{Key, Kind, RELOAD, Set};
use crate::amqp::{CertLogin, SanType};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "ssl_options.cacertfile",
        meaning: "PEM file of the authorities that sign client certificates.",
        set: Set::One(|settings, _, value| {
            settings.tls.cacertfile = Some(value.into());
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "ssl_options.certfile",
        meaning: "PEM file of the broker's certificate, and of those between it and its authority.",
        set: Set::One(|settings, _, value| {
            settings.tls.own.certfile = Some(value.into());
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "ssl_options.keyfile",
        meaning: "PEM file of the broker's key.",
        set: Set::One(|settings, _, value| {
            settings.tls.own.keyfile = Some(value.into());
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "ssl_options.server_names.$name.certfile",
        meaning: "PEM file of the certificate for clients that ask for the server `$name` (SNI): a host name in quotes, in which a \
                  first label `*` stands for any one label. Others get `ssl_options.certfile`.",
        set: Set::One(|settings, name, value| {
            settings.tls.server_names.entry(name.to_owned()).or_default().certfile = Some(value.into());
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "ssl_options.server_names.$name.keyfile",
        meaning: "PEM file of its key.",
        set: Set::One(|settings, name, value| {
            settings.tls.server_names.entry(name.to_owned()).or_default().keyfile = Some(value.into());
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "ssl_options.verify",
        default: "verify_none",
        meaning: "`verify_peer`: clients are asked for a certificate, and a certificate of an authority that is not in \
                  `cacertfile` is refused. `verify_none`: they are not asked.",
        set: Set::One(|settings, _, value| {
            settings.tls.verify_peer = word(value, [("verify_none", false), ("verify_peer", true)])?;
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "ssl_options.fail_if_no_peer_cert",
        kind: Kind::Switch,
        default: "false",
        meaning: "With `verify_peer`: a client without certificate is refused.",
        set: Set::One(|settings, _, value| boolean(value).map(|on| settings.tls.fail_if_no_peer_cert = on)),
        ..RELOAD
    },
    Key {
        name: "ssl_options.versions",
        kind: Kind::List,
        default: "tlsv1.3,tlsv1.2",
        meaning: "`tlsv1.3` or `tlsv1.2`. If only `tlsv1.3` is named, 1.2 is refused. Older versions are never spoken.",
        set: Set::Many(|settings, _, values| {
            let versions = values.iter().map(|value| word(value, [("tlsv1.3", true), ("tlsv1.2", false)]));
            let versions = versions.collect::<Result<Vec<_>, _>>()?;
            settings.tls.only_tls13 = !versions.is_empty() && versions.into_iter().all(|tls13| tls13);
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "ssl_cert_login_from",
        default: "distinguished_name",
        meaning: "With the mechanism EXTERNAL, the user's name is the certificate's `distinguished_name`, `common_name` or \
                  `subject_alternative_name`.",
        set: Set::One(|settings, _, value| {
            settings.connections.cert_login = word(
                value,
                [
                    ("distinguished_name", CertLogin::DistinguishedName),
                    ("common_name", CertLogin::CommonName),
                    ("subject_alternative_name", CertLogin::SubjectAlternativeName),
                    ("subject_alt_name", CertLogin::SubjectAlternativeName),
                ],
            )?;
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "ssl_cert_login_san_type",
        default: "dns",
        meaning: "Which kind of alternative name is the user's: `dns`, `ip`, `email` or `uri`.",
        set: Set::One(|settings, _, value| {
            settings.connections.san_type = word(
                value,
                [("dns", SanType::Dns), ("ip", SanType::Ip), ("email", SanType::Email), ("uri", SanType::Uri)],
            )?;
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "ssl_cert_login_san_index",
        kind: Kind::Number,
        default: "0",
        meaning: "Which of the alternative names of that kind, from 0.",
        set: Set::One(|settings, _, value| {
            number(value, 0, 1000).map(|index| settings.connections.san_index = index)
        }),
        ..RELOAD
    },
];
