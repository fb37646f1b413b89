//! Users of a new data directory, and how clients log in.

use super::{Key, Kind, RESTART, Set};
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
        ..RESTART
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
        ..RESTART
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
        ..RESTART
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
        ..RESTART
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
