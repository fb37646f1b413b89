//! Users of a new data directory, and how clients log in.

use super::super::value::{limit, milliseconds, number};
use super::{Key, Kind, RELOAD, RESTART, Set};
use crate::amqp::Mechanism;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "auth_mechanisms",
        kind: Kind::List,
        default: "PLAIN,AMQPLAIN",
        meaning: "SASL mechanisms that are offered: `PLAIN`, `AMQPLAIN`, `EXTERNAL` (by client certificate), `ANONYMOUS` (needs \
                  `anonymous_login_user`). The default also offers `EXTERNAL` to clients with a trusted certificate, and `ANONYMOUS` if \
                  there is a user for it.",
        set: Set::Many(|settings, _, values| {
            let mechanisms = values.iter().map(|value| {
                Mechanism::from_name(value)
                    .ok_or_else(|| format!("`{value}` is not PLAIN, AMQPLAIN, EXTERNAL or ANONYMOUS"))
            });
            settings.connections.mechanisms = Some(mechanisms.collect::<Result<_, _>>()?);
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "anonymous_login_user",
        default: "none",
        meaning: "The user that clients of the mechanism ANONYMOUS become. Without it the mechanism is not offered, other than \
                  in RabbitMQ.",
        set: Set::One(|settings, _, value| {
            settings.connections.anonymous_user = (value != "none").then(|| value.to_owned());
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "anonymous_login_pass",
        default: "guest",
        meaning: "The password of that user.",
        secret: true,
        set: Set::One(|settings, _, value| {
            settings.connections.anonymous_pass = value.into();
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "loopback_users",
        kind: Kind::Names,
        default: "guest",
        meaning: "Users that may connect from loopback addresses only.",
        set: Set::Many(|settings, _, values| {
            settings.connections.loopback_users = values.to_vec();
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "login_failures.max",
        kind: Kind::Limit,
        default: "30",
        meaning: "How often clients of one address (of IPv6: of one /64 network) may fail to log in, over AMQP and HTTP together, within \
                  `login_failures.window`. Beyond it logins from there are refused without looking at the password: AMQP clients as if it \
                  were wrong, HTTP clients with 429. Failures of 10 000 addresses are remembered. `infinity`: as often as they like.",
        set: Set::One(|settings, _, value| {
            limit(value).map(|most| settings.connections.login_limit.failures = most)
        }),
        ..RELOAD
    },
    Key {
        name: "login_failures.window",
        kind: Kind::Milliseconds,
        default: "60000",
        meaning: "How long a failure counts at least; it counts at most twice as long.",
        set: Set::One(|settings, _, value| {
            milliseconds(value, 1, 86_400_000).map(|time| settings.connections.login_limit.window_ms = time)
        }),
        ..RELOAD
    },
    Key {
        name: "unauthenticated_connections_max",
        kind: Kind::Number,
        default: "1000",
        meaning: "Most AMQP connections that are not open yet, shared out among the shards. More are not accepted until others are open \
                  or gone, at the latest after `handshake_timeout`; meanwhile they wait in the system's queue. Until it is open, a \
                  connection may send frames of `initial_frame_max`.",
        set: Set::One(|settings, _, value| {
            number(value, 1, 1_000_000).map(|most| settings.connections.unauthenticated_max = most)
        }),
        ..RELOAD
    },
    Key {
        name: "default_user",
        default: "guest",
        meaning: "The user of a new data directory.",
        set: Set::One(|settings, _, value| {
            settings.default_user = value.to_owned();
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "default_pass",
        default: "guest",
        meaning: "Its password.",
        secret: true,
        set: Set::One(|settings, _, value| {
            settings.default_pass = value.into();
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "default_user_tags",
        kind: Kind::Names,
        default: "administrator",
        meaning: "Tags of that user.",
        set: Set::Many(|settings, _, values| {
            settings.default_user_tags = values.to_vec();
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "default_vhost",
        default: "/",
        meaning: "The virtual host of a new data directory.",
        set: Set::One(|settings, _, value| {
            settings.default_vhost = value.to_owned();
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "default_permissions.configure",
        default: ".*",
        meaning: "What the default user may configure in the default virtual host, a regular expression.",
        set: Set::One(|settings, _, value| {
            settings.default_permissions[0] = value.to_owned();
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "default_permissions.write",
        default: ".*",
        meaning: "What it may write to.",
        set: Set::One(|settings, _, value| {
            settings.default_permissions[1] = value.to_owned();
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "default_permissions.read",
        default: ".*",
        meaning: "What it may read from.",
        set: Set::One(|settings, _, value| {
            settings.default_permissions[2] = value.to_owned();
            Ok(())
        }),
        ..RESTART
    },
];
