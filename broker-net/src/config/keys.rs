//! Every configuration key: its name in RabbitMQ, its default, what it means, and how it is set.
//!
//! docs/configuration.md is made from this table.

use broker_core::limits::LARGEST_MESSAGE_BYTES;

use super::settings::{Settings, Watermark};
use super::value::{address, boolean, bytes, fraction, ip, limit, log_level, number};
use super::without_effect::WITHOUT_EFFECT;
use crate::amqp::{CertLogin, MIN_FRAME_MAX, Mechanism, SanType};

/// A key of the configuration file.
pub(super) struct Key {
    /// Its name. `$name` stands for any word of the operator's choice.
    pub(super) name: &'static str,
    /// What holds without it.
    pub(super) default: &'static str,
    /// What it means.
    pub(super) meaning: &'static str,
    set: fn(&mut Settings, &str, &str) -> Result<(), String>,
}

/// All keys, by subject.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "listeners.tcp",
        default: "",
        meaning: "`none`: no listener without TLS.",
        set: |settings, _, value| match value {
            "none" => {
                settings.tcp = Some(std::collections::BTreeMap::new());
                Ok(())
            }
            _ => Err("expected none".to_owned()),
        },
    },
    Key {
        name: "listeners.tcp.$name",
        default: "5672",
        meaning: "Where AMQP 0-9-1 clients connect without TLS: a port on all addresses, or `ip:port`. `--amqp` overrides it.",
        set: |settings, name, value| {
            let address = address(value)?;
            settings.tcp.get_or_insert_default().insert(name.to_owned(), address);
            Ok(())
        },
    },
    Key {
        name: "listeners.ssl",
        default: "none",
        meaning: "`none`: no listener with TLS.",
        set: |settings, _, value| match value {
            "none" => {
                settings.ssl.clear();
                Ok(())
            }
            _ => Err("expected none".to_owned()),
        },
    },
    Key {
        name: "listeners.ssl.$name",
        default: "",
        meaning: "Where AMQP 0-9-1 clients connect with TLS. `ssl_options.certfile` and `.keyfile` are needed. `--amqps` overrides it.",
        set: |settings, name, value| {
            settings.ssl.insert(name.to_owned(), address(value)?);
            Ok(())
        },
    },
    Key {
        name: "proxy_protocol",
        default: "false",
        meaning: "Every AMQP connection must start with a PROXY protocol header, version 1 or 2, which says where the client is.",
        set: |settings, _, value| boolean(value).map(|on| settings.proxy_protocol = on),
    },
    Key {
        name: "ssl_options.cacertfile",
        default: "",
        meaning: "PEM file of the authorities that sign client certificates.",
        set: |settings, _, value| {
            settings.tls.cacertfile = Some(value.into());
            Ok(())
        },
    },
    Key {
        name: "ssl_options.certfile",
        default: "",
        meaning: "PEM file of the broker's certificate, and of those between it and its authority. Read again on SIGHUP.",
        set: |settings, _, value| {
            settings.tls.certfile = Some(value.into());
            Ok(())
        },
    },
    Key {
        name: "ssl_options.keyfile",
        default: "",
        meaning: "PEM file of the broker's key. Read again on SIGHUP.",
        set: |settings, _, value| {
            settings.tls.keyfile = Some(value.into());
            Ok(())
        },
    },
    Key {
        name: "ssl_options.verify",
        default: "verify_none",
        meaning: "`verify_peer`: clients are asked for a certificate, and a certificate of an authority that is not in \
                  `cacertfile` is refused. `verify_none`: they are not asked.",
        set: |settings, _, value| {
            settings.tls.verify_peer = match value {
                "verify_peer" => true,
                "verify_none" => false,
                _ => return Err("expected verify_peer or verify_none".to_owned()),
            };
            Ok(())
        },
    },
    Key {
        name: "ssl_options.fail_if_no_peer_cert",
        default: "false",
        meaning: "With `verify_peer`: a client without certificate is refused.",
        set: |settings, _, value| boolean(value).map(|on| settings.tls.fail_if_no_peer_cert = on),
    },
    Key {
        name: "ssl_options.versions.$name",
        default: "",
        meaning: "`tlsv1.3` or `tlsv1.2`. If only `tlsv1.3` is named, 1.2 is refused. Older versions are never spoken.",
        set: |settings, _, value| {
            settings.tls.only_tls13 = match value {
                "tlsv1.3" => !settings.tls.tls12_named,
                "tlsv1.2" => {
                    settings.tls.tls12_named = true;
                    false
                }
                _ => return Err("expected tlsv1.3 or tlsv1.2".to_owned()),
            };
            Ok(())
        },
    },
    Key {
        name: "ssl_cert_login_from",
        default: "distinguished_name",
        meaning: "With the mechanism EXTERNAL, the user's name is the certificate's `distinguished_name`, `common_name` or \
                  `subject_alternative_name`.",
        set: |settings, _, value| {
            settings.connections.cert_login = match value {
                "distinguished_name" => CertLogin::DistinguishedName,
                "common_name" => CertLogin::CommonName,
                "subject_alternative_name" | "subject_alt_name" => CertLogin::SubjectAlternativeName,
                _ => {
                    return Err("expected distinguished_name, common_name or subject_alternative_name".to_owned());
                }
            };
            Ok(())
        },
    },
    Key {
        name: "ssl_cert_login_san_type",
        default: "dns",
        meaning: "Which kind of alternative name is the user's: `dns`, `ip`, `email` or `uri`.",
        set: |settings, _, value| {
            settings.connections.san_type = match value {
                "dns" => SanType::Dns,
                "ip" => SanType::Ip,
                "email" => SanType::Email,
                "uri" => SanType::Uri,
                _ => return Err("expected dns, ip, email or uri".to_owned()),
            };
            Ok(())
        },
    },
    Key {
        name: "ssl_cert_login_san_index",
        default: "0",
        meaning: "Which of the alternative names of that kind, from 0.",
        set: |settings, _, value| number(value, 0, 1000).map(|index| settings.connections.san_index = index),
    },
    Key {
        name: "auth_mechanisms.$name",
        default: "PLAIN, AMQPLAIN",
        meaning: "SASL mechanisms that are offered: `PLAIN`, `AMQPLAIN`, `EXTERNAL` (by client certificate), `ANONYMOUS` (needs \
                  `anonymous_login_user`). The first such line replaces the default.",
        set: |settings, _, value| {
            let mechanism = Mechanism::from_name(value)
                .ok_or_else(|| "expected PLAIN, AMQPLAIN, EXTERNAL or ANONYMOUS".to_owned())?;
            settings.connections.mechanisms.get_or_insert_default().push(mechanism);
            Ok(())
        },
    },
    Key {
        name: "anonymous_login_user",
        default: "none",
        meaning: "The user that clients of the mechanism ANONYMOUS become. Without it the mechanism is not offered, other than \
                  in RabbitMQ.",
        set: |settings, _, value| {
            settings.connections.anonymous_user = (value != "none").then(|| value.to_owned());
            Ok(())
        },
    },
    Key {
        name: "anonymous_login_pass",
        default: "guest",
        meaning: "The password of that user.",
        set: |settings, _, value| {
            settings.connections.anonymous_pass = value.to_owned();
            Ok(())
        },
    },
    Key {
        name: "loopback_users",
        default: "",
        meaning: "`none`: every user may connect from anywhere.",
        set: |settings, _, value| match value {
            "none" => {
                settings.connections.loopback_users.clear();
                Ok(())
            }
            _ => Err("expected none".to_owned()),
        },
    },
    Key {
        name: "loopback_users.$name",
        default: "guest = true",
        meaning: "`true`: the user may connect from loopback addresses only.",
        set: |settings, name, value| {
            let users = &mut settings.connections.loopback_users;
            let on = boolean(value)?;
            users.retain(|user| user != name);
            if on {
                users.push(name.to_owned());
            }
            Ok(())
        },
    },
    Key {
        name: "default_user",
        default: "guest",
        meaning: "The user of a new data directory.",
        set: |settings, _, value| {
            settings.default_user = value.to_owned();
            Ok(())
        },
    },
    Key {
        name: "default_pass",
        default: "guest",
        meaning: "Its password.",
        set: |settings, _, value| {
            settings.default_pass = value.to_owned();
            Ok(())
        },
    },
    Key {
        name: "default_user_tags.$name",
        default: "administrator = true",
        meaning: "Tags of that user. The first such line replaces the default.",
        set: |settings, name, value| {
            if !std::mem::replace(&mut settings.default_user_tags_set, true) {
                settings.default_user_tags.clear();
            }
            if boolean(value)? {
                settings.default_user_tags.push(name.to_owned());
            }
            Ok(())
        },
    },
    Key {
        name: "default_vhost",
        default: "/",
        meaning: "The virtual host of a new data directory.",
        set: |settings, _, value| {
            settings.default_vhost = value.to_owned();
            Ok(())
        },
    },
    Key {
        name: "default_permissions.configure",
        default: ".*",
        meaning: "What the default user may configure in the default virtual host, a regular expression.",
        set: |settings, _, value| {
            settings.default_permissions[0] = value.to_owned();
            Ok(())
        },
    },
    Key {
        name: "default_permissions.write",
        default: ".*",
        meaning: "What it may write to.",
        set: |settings, _, value| {
            settings.default_permissions[1] = value.to_owned();
            Ok(())
        },
    },
    Key {
        name: "default_permissions.read",
        default: ".*",
        meaning: "What it may read from.",
        set: |settings, _, value| {
            settings.default_permissions[2] = value.to_owned();
            Ok(())
        },
    },
    Key {
        name: "heartbeat",
        default: "60",
        meaning: "Heartbeat interval that is proposed to clients, in seconds. 0 proposes none.",
        set: |settings, _, value| {
            number(value, 0, u16::MAX).map(|seconds| settings.connections.heartbeat_s = seconds)
        },
    },
    Key {
        name: "frame_max",
        default: "131072",
        meaning: "Largest frame, in bytes, from 4096 on. A larger one ends the connection with 501.",
        set: |settings, _, value| {
            number(value, MIN_FRAME_MAX, 131_072).map(|bytes| settings.connections.frame_max = bytes)
        },
    },
    Key {
        name: "initial_frame_max",
        default: "8192",
        meaning: "Largest frame before tuning, in bytes.",
        set: |settings, _, value| {
            number(value, MIN_FRAME_MAX, 131_072).map(|bytes| settings.connections.initial_frame_max = bytes)
        },
    },
    Key {
        name: "handshake_timeout",
        default: "10000",
        meaning: "How long a client may take until its connection is open, in milliseconds.",
        set: |settings, _, value| {
            number(value, 1, 3_600_000).map(|time| settings.connections.handshake_timeout_ms = time)
        },
    },
    Key {
        name: "channel_max",
        default: "2047",
        meaning: "Highest channel number, and most channels of a connection. Beyond it the connection ends with 530.",
        set: |settings, _, value| {
            number(value, 1, u16::MAX).map(|channels| settings.connections.channel_max = channels)
        },
    },
    Key {
        name: "channel_max_per_node",
        default: "infinity",
        meaning: "Most channels of all connections. Beyond it the connection ends with 530.",
        set: |settings, _, value| limit(value).map(|most| settings.connections.channel_max_per_node = most),
    },
    Key {
        name: "consumer_max_per_channel",
        default: "infinity",
        meaning: "Most consumers of a channel. Beyond it the connection ends with 530.",
        set: |settings, _, value| limit(value).map(|most| settings.connections.consumer_max_per_channel = most),
    },
    Key {
        name: "connection_max",
        default: "infinity",
        meaning: "Most connections. Beyond it `connection.open` is refused with 530.",
        set: |settings, _, value| limit(value).map(|most| settings.connections.connection_max = most),
    },
    Key {
        name: "max_message_size",
        default: "33554432",
        meaning: "Largest body of a message, in bytes, up to 48 MiB. Beyond it the channel is closed with 406.",
        set: |settings, _, value| match bytes(value)? {
            size @ 1..=LARGEST_MESSAGE_BYTES => {
                settings.connections.max_message_size = size;
                Ok(())
            }
            _ => Err(format!("expected 1 to {LARGEST_MESSAGE_BYTES} bytes")),
        },
    },
    Key {
        name: "consumer_timeout",
        default: "1800000",
        meaning: "How long a delivery may stay unacknowledged, in milliseconds; then its channel is closed with 406. `undefined` or \
                  `infinity`: forever.",
        set: |settings, _, value| {
            let value = if matches!(value, "undefined" | "false") { "infinity" } else { value };
            limit(value).map(|time| settings.consumer_timeout_ms = time)
        },
    },
    Key {
        name: "default_queue_type",
        default: "classic",
        meaning: "Type of queues that are declared without `x-queue-type`: `classic` is the only value here. A virtual host can have a \
                  default of its own.",
        set: |_, _, value| match value {
            "classic" => Ok(()),
            _ => Err("expected classic; other defaults are set on a virtual host".to_owned()),
        },
    },
    Key {
        name: "vm_memory_high_watermark.relative",
        default: "0.6",
        meaning: "Beyond this part of the memory that the broker may use (the control group's limit, or the machine's memory), \
                  connections that publish are blocked. 0 blocks them always.",
        set: |settings, _, value| fraction(value).map(|part| settings.memory = Watermark::Relative(part)),
    },
    Key {
        name: "vm_memory_high_watermark.absolute",
        default: "",
        meaning: "The same as a number of bytes.",
        set: |settings, _, value| bytes(value).map(|size| settings.memory = Watermark::Absolute(size)),
    },
    Key {
        name: "total_memory_available_override_value",
        default: "",
        meaning: "How much memory the broker may use, in bytes, if the system does not say.",
        set: |settings, _, value| bytes(value).map(|size| settings.total_memory = Some(size)),
    },
    Key {
        name: "disk_free_limit.absolute",
        default: "50MB",
        meaning: "With fewer bytes free on the disk of the data directory, connections that publish are blocked.",
        set: |settings, _, value| bytes(value).map(|size| settings.disk = Watermark::Absolute(size)),
    },
    Key {
        name: "disk_free_limit.relative",
        default: "",
        meaning: "The same in parts of the memory.",
        set: |settings, _, value| fraction(value).map(|part| settings.disk = Watermark::Relative(part)),
    },
    Key {
        name: "log.console",
        default: "true",
        meaning: "The log goes to standard error; `false` switches it off.",
        set: |settings, _, value| boolean(value).map(|on| settings.log.off = !on),
    },
    Key {
        name: "log.console.level",
        default: "info",
        meaning: "What is logged: `debug`, `info`, `warning`, `error`, `critical` or `none`. `--log` overrides it.",
        set: |settings, _, value| log_level(value).map(|level| level.clone_into(&mut settings.log.level)),
    },
    Key {
        name: "log.default.level",
        default: "",
        meaning: "As `log.console.level`.",
        set: |settings, _, value| log_level(value).map(|level| level.clone_into(&mut settings.log.level)),
    },
    Key {
        name: "log.console.formatter",
        default: "plaintext",
        meaning: "`json`: one object per line.",
        set: |settings, _, value| {
            settings.log.json = match value {
                "json" => true,
                "plaintext" => false,
                _ => return Err("expected plaintext or json".to_owned()),
            };
            Ok(())
        },
    },
    Key {
        name: "log.file",
        default: "false",
        meaning: "`false`, the only value: the log goes to standard error, and from there where the operator wants it.",
        set: |_, _, value| match value {
            "false" => Ok(()),
            _ => Err("expected false: the log goes to standard error".to_owned()),
        },
    },
    Key {
        name: "management.tcp.port",
        default: "15672",
        meaning: "Port of the management API. `--http` overrides it.",
        set: |settings, _, value| number(value, 0, u16::MAX).map(|port| settings.management.port = Some(port)),
    },
    Key {
        name: "management.tcp.ip",
        default: "",
        meaning: "Address of the management API.",
        set: |settings, _, value| ip(value).map(|ip| settings.management.ip = Some(ip)),
    },
    Key {
        name: "prometheus.tcp.port",
        default: "15692",
        meaning: "Port of the metrics. `--metrics` overrides it.",
        set: |settings, _, value| number(value, 0, u16::MAX).map(|port| settings.prometheus.port = Some(port)),
    },
    Key {
        name: "prometheus.tcp.ip",
        default: "",
        meaning: "Address of the metrics.",
        set: |settings, _, value| ip(value).map(|ip| settings.prometheus.ip = Some(ip)),
    },
];

/// Sets a key, or says why it cannot be set.
pub(super) fn set(settings: &mut Settings, key: &str, value: &str) -> Result<(), String> {
    for known in KEYS {
        if let Some(name) = matches(known.name, key) {
            return (known.set)(settings, name, value).map_err(|reason| format!("{key} = {value}: {reason}"));
        }
    }
    match WITHOUT_EFFECT.iter().find(|(pattern, _)| matches(pattern, key).is_some()) {
        Some((_, reason)) => {
            settings.without_effect.push(format!("{key} has no effect: {reason}"));
            Ok(())
        }
        None => Err(format!("unknown key `{key}`")),
    }
}

/// Whether a key fits a pattern; if so, what `$name` stands for.
fn matches<'a>(pattern: &str, key: &'a str) -> Option<&'a str> {
    match pattern.strip_suffix("$name") {
        Some(prefix) => key.strip_prefix(prefix).filter(|name| !name.is_empty()),
        None => (pattern == key).then_some(""),
    }
}
