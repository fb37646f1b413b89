//! What is logged, where, and how.

use std::path::PathBuf;

use super::super::value::{boolean, log_level, word};
use super::{Key, Kind, RELOAD, RESTART, Set};

/// RabbitMQ's categories, and the targets that they are here.
const CATEGORIES: [(&str, &[&str]); 4] = [
    ("connection", &["broker_net::amqp", "broker_net::transport"]),
    ("management", &["broker_net::http"]),
    ("queue", &["broker_core"]),
    ("storage", &["broker_store"]),
];

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "log.default.level",
        default: "info",
        meaning: "What is logged: `debug`, `info`, `warning`, `error`, `critical` or `none`; or a filter of `target=level` pairs, \
                  separated by commas. Flag `--log`.",
        set: Set::One(|settings, _, value| log_level(value).map(|level| settings.log.level = level)),
        ..RELOAD
    },
    Key {
        name: "log.console.enabled",
        kind: Kind::Switch,
        default: "true",
        meaning: "The log goes to standard error. There it has no times if that is the journal of systemd, and the levels that the \
                  journal knows. Also `log.console = false`.",
        set: Set::One(|settings, _, value| boolean(value).map(|on| settings.log.off = !on)),
        ..RELOAD
    },
    Key {
        name: "log.console.level",
        meaning: "What goes to standard error, if not `log.default.level`.",
        set: Set::One(|settings, _, value| log_level(value).map(|level| settings.log.console_level = Some(level))),
        ..RELOAD
    },
    Key {
        name: "log.console.formatter",
        default: "plaintext",
        meaning: "`json`: one object per line.",
        set: Set::One(|settings, _, value| {
            settings.log.json = word(value, [("plaintext", false), ("json", true)])?;
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "log.file.path",
        kind: Kind::TextOrFalse,
        default: "false",
        meaning: "A file that the log goes to as well, opened again on SIGHUP. It is not rotated here. Also `log.file = \"/path\"`.",
        set: Set::One(|settings, _, value| {
            settings.log.file = (value != "false").then(|| PathBuf::from(value));
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "log.file.level",
        meaning: "What goes to the file, if not `log.default.level`.",
        set: Set::One(|settings, _, value| log_level(value).map(|level| settings.log.file_level = Some(level))),
        ..RELOAD
    },
    Key {
        name: "log.file.formatter",
        default: "plaintext",
        meaning: "`json`: one object per line.",
        set: Set::One(|settings, _, value| {
            settings.log.file_json = word(value, [("plaintext", false), ("json", true)])?;
            Ok(())
        }),
        ..RESTART
    },
    Key {
        name: "log.audit.file",
        kind: Kind::TextOrFalse,
        default: "false",
        meaning: "A file for what administrators change, one JSON object per line, opened again on SIGHUP. It is then not in the rest of \
                  the log.",
        set: Set::One(|settings, _, value| {
            settings.log.audit_file = (value != "false").then(|| PathBuf::from(value));
            Ok(())
        }),
        ..RELOAD
    },
    Key {
        name: "log.audit.amqp",
        kind: Kind::Switch,
        default: "false",
        meaning: "What AMQP clients declare, delete, bind and unbind is told there too, or, without such a file, in the rest of the log. Not what is there already, and not what goes by itself: queues that are exclusive, auto-delete or expire. Where queues live briefly, the log grows quickly.",
        set: Set::One(|settings, _, value| boolean(value).map(|on| settings.connections.audit = on)),
        ..RELOAD
    },
    Key {
        name: "log.$name.level",
        meaning: "What is logged of a part of the broker, if it is another level than elsewhere: `connection`, `management`, `queue` or \
                  `storage`.",
        set: Set::One(|settings, name, value| {
            let level = log_level(value)?;
            let category = CATEGORIES.iter().find(|(category, _)| *category == name);
            let (_, targets) = category.ok_or("only connection, management, queue and storage have levels")?;
            for target in *targets {
                settings.log.categories.insert(target, level.clone());
            }
            Ok(())
        }),
        ..RELOAD
    },
];
