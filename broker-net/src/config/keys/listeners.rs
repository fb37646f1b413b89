//! Where clients connect.

use super::super::value::{address, boolean, ip, network, number};
use super::{Key, Kind, RELOAD, RESTART, Set};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "listeners.tcp",
        kind: Kind::List,
        default: "5672",
        meaning: "Where AMQP 0-9-1 clients connect without TLS: ports on all addresses, or `ip:port`. Flag `--amqp`.",
        set: Set::Many(|settings, _, values| {
            settings.tcp = values.iter().map(|value| address(value)).collect::<Result<_, _>>()?;
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "listeners.ssl",
        kind: Kind::List,
        meaning: "Where AMQP 0-9-1 clients connect with TLS. `ssl_options.certfile` and `.keyfile` are needed. Flag `--amqps`.",
        set: Set::Many(|settings, _, values| {
            settings.ssl = values.iter().map(|value| address(value)).collect::<Result<_, _>>()?;
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "listeners.ws",
        kind: Kind::List,
        meaning: "Where AMQP 0-9-1 is spoken over WebSocket without TLS: ports on all addresses, or `ip:port`. Every path is taken. \
                  Flag `--ws`.",
        set: Set::Many(|settings, _, values| {
            settings.ws = values.iter().map(|value| address(value)).collect::<Result<_, _>>()?;
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "listeners.wss",
        kind: Kind::List,
        meaning: "The same with TLS. `ssl_options.certfile` and `.keyfile` are needed. Flag `--wss`.",
        set: Set::Many(|settings, _, values| {
            settings.wss = values.iter().map(|value| address(value)).collect::<Result<_, _>>()?;
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "proxy_protocol",
        kind: Kind::Switch,
        default: "false",
        meaning: "AMQP connections from `proxy_protocol_trusted_sources` must start with a header of the PROXY protocol, version 1 or \
                  2, which says where the client is.",
        set: Set::One(|settings, _, value| boolean(value).map(|on| settings.proxy_protocol = on)),
        ..RESTART
    },
    Key {
        name: "proxy_protocol_trusted_sources",
        kind: Kind::List,
        default: "127.0.0.0/8,::1/128",
        meaning: "Networks of the proxies that are believed, as `10.0.0.0/8` or single addresses. Connections from elsewhere are spoken \
                  to without PROXY protocol: a header that they send is no AMQP, and ends them.",
        set: Set::Many(|settings, _, values| {
            settings.proxy_sources = values.iter().map(|value| network(value)).collect::<Result<_, _>>()?;
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "management.tcp.port",
        kind: Kind::Number,
        default: "15672",
        meaning: "Port of the management API. Flag `--http`.",
        set: Set::One(|settings, _, value| number(value, 0, u16::MAX).map(|port| settings.management.port = port)),
        ..RESTART
    },
    Key {
        name: "management.tcp.ip",
        default: "127.0.0.1",
        meaning: "Address of the management API. RabbitMQ's is `::`, all addresses. Flag `--http`.",
        set: Set::One(|settings, _, value| ip(value).map(|ip| settings.management.ip = ip)),
        ..RESTART
    },
    Key {
        name: "management.ssl.port",
        kind: Kind::Number,
        meaning: "Port where the management API is served with TLS, beside `management.tcp.port`. Versions and server names are those of \
                  `ssl_options`; clients are not asked for certificates. Flag `--https`.",
        set: Set::One(|settings, _, value| {
            number(value, 0, u16::MAX).map(|port| settings.management_ssl.port = Some(port))
        }),
        ..RESTART
    },
    Key {
        name: "management.ssl.ip",
        default: "0.0.0.0",
        meaning: "Its address. Flag `--https`.",
        set: Set::One(|settings, _, value| ip(value).map(|ip| settings.management_ssl.ip = ip)),
        ..RESTART
    },
    Key {
        name: "management.ssl.certfile",
        meaning: "PEM file of its certificate, and of those between it and its authority. Without it, those of `ssl_options` serve.",
        set: Set::One(|settings, _, value| {
            settings.management_ssl.own.certfile = Some(value.into());
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "management.ssl.keyfile",
        meaning: "PEM file of its key.",
        set: Set::One(|settings, _, value| {
            settings.management_ssl.own.keyfile = Some(value.into());
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "management.connection_max",
        kind: Kind::Number,
        default: "1024",
        meaning: "Most connections that each port of the management API has open. More wait in the system's queue until one ends, as in RabbitMQ; one that is not used for a minute is ended. A browser has up to six.",
        set: Set::One(|settings, _, value| {
            number(value, 1, 1_000_000).map(|most| settings.management_connection_max = most)
        }),
        ..RESTART
    },
    Key {
        name: "prometheus.tcp.port",
        kind: Kind::Number,
        default: "15692",
        meaning: "Port of the metrics. Flag `--metrics`.",
        set: Set::One(|settings, _, value| number(value, 0, u16::MAX).map(|port| settings.prometheus.port = port)),
        ..RESTART
    },
    Key {
        name: "prometheus.tcp.ip",
        default: "0.0.0.0",
        meaning: "Address of the metrics. Flag `--metrics`.",
        set: Set::One(|settings, _, value| ip(value).map(|ip| settings.prometheus.ip = ip)),
        ..RESTART
    },
    Key {
        name: "prometheus.ssl.port",
        kind: Kind::Number,
        meaning: "Port where the metrics are served with TLS, beside `prometheus.tcp.port`.",
        set: Set::One(|settings, _, value| {
            number(value, 0, u16::MAX).map(|port| settings.prometheus_ssl.port = Some(port))
        }),
        ..RESTART
    },
    Key {
        name: "prometheus.ssl.ip",
        default: "0.0.0.0",
        meaning: "Its address.",
        set: Set::One(|settings, _, value| ip(value).map(|ip| settings.prometheus_ssl.ip = ip)),
        ..RESTART
    },
    Key {
        name: "prometheus.ssl.certfile",
        meaning: "PEM file of its certificate, and of those between it and its authority. Without it, those of `ssl_options` serve.",
        set: Set::One(|settings, _, value| {
            settings.prometheus_ssl.own.certfile = Some(value.into());
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "prometheus.ssl.keyfile",
        meaning: "PEM file of its key.",
        set: Set::One(|settings, _, value| {
            settings.prometheus_ssl.own.keyfile = Some(value.into());
            Ok(())
        }),
        ..RELOAD
    },
];
