//! docs/configuration.md, made from the table of keys.

use std::fmt::Write as _;

use super::keys::{self, Key};
use super::print::{default_value, literal};
use super::without_effect::WITHOUT_EFFECT;

const INTRODUCTION: &str = "\
# Configuration

Without any configuration RingMQ serves guest/guest from loopback on port 5672. What is to be otherwise is set by, from the strongest to the
weakest:

1. flags (`ringmq --help` lists them), and the variables that stand for them: `RINGMQ_AMQP` for `--amqp`;
2. an environment variable for each key: `RINGMQ_` and the key's name in capitals, with underscores for dots, such as
   `RINGMQ_SSL_OPTIONS_CERTFILE`. Other variables that begin so are left alone;
3. `--set key=value`, as often as needed;
4. the configuration file, in TOML: `--config FILE`, else `/etc/ringmq/ringmq.toml` if it is there. `--config ''` reads none.

A command line can be read by everybody on the machine for as long as the broker runs: passwords (`default_pass`, `anonymous_login_pass`) belong into
the file, which should not be readable by others, or into variables, which only root and the broker's user can read.

A key that one of them sets is not looked for in those below it, lists included. Keys are RabbitMQ's, as tables or dotted:

```toml
heartbeat = 30
listeners.tcp = [5672, \"[::1]:5673\"]
consumer_timeout = \"30m\"

[ssl_options]
certfile = \"/etc/ringmq/cert.pem\"
keyfile = \"/etc/ringmq/key.pem\"

[vm_memory_high_watermark]
absolute = \"4GiB\"
```

| type | values |
| --- | --- |
| bytes | a number, or a text with a unit: `kB`, `MB`, `GB` count in powers of 1000; `k`, `kiB`, `M`, `MiB`, `G`, `GiB` in powers of 1024 |
| time | a number in the unit that the table names, or a text with a unit: `ms`, `s`, `m`, `h`, `d` |
| list | `[\"a\", \"b\"]`; a single value; or RabbitMQ's way, `key.name = value` for each element. Variables and `--set` put commas between elements, and say `none` for an empty list |
| address | a port on all addresses, or `ip:port` in quotes |

Whatever is wrong is told with its file, line and key, all of it at once, and the broker does not start.

| command | does |
| --- | --- |
| `ringmq --check-config` | checks the configuration and ends |
| `ringmq --print-config` | prints the configuration in force as TOML that can be read again, with where each value comes from. Secrets are left out |
| `ringmq --import-config rabbitmq.conf` | prints a rabbitmq.conf as TOML, and says which of its lines have no effect here and why, and which are not known. advanced.config and rabbitmq-env.conf are not read: they hold Erlang terms and settings of its virtual machine |
| `ringmq --help-config` | prints this page, which is made from the code |

SIGHUP has the file and the certificates read again. Keys with a mark in the column *SIGHUP* then take effect, for connections
and channels that come later if nothing else is said; the log names them, and those whose change needs a restart. A file with faults changes
nothing.
";

/// The page.
#[must_use]
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for (subject, keys) in keys::subjects() {
        let _ = writeln!(
            page,
            "\n## {subject}\n\n| key | type | default | SIGHUP | meaning |\n| --- | --- | --- | --- | --- |"
        );
        for key in keys {
            let Key { name, kind, meaning, .. } = key;
            let reload = if key.reload { "✓" } else { "" };
            let default = match key.default {
                "" => String::new(),
                _ => format!("`{}`", literal(*kind, &default_value(key))),
            };
            let _ = writeln!(page, "| `{name}` | {} | {default} | {reload} | {meaning} |", kind.name());
        }
    }
    page.push_str("\n## Other names\n\nThese are understood too.\n\n| name | key |\n| --- | --- |\n");
    for (alias, key) in keys::ALIASES {
        let _ = writeln!(page, "| `{alias}` | `{key}` |");
    }
    page.push_str("\n## Without effect\n\nKeys of RabbitMQ that mean nothing here. Each that is set is logged at start. `*` stands for any words.\n\n");
    page.push_str("| key | why |\n| --- | --- |\n");
    for (key, reason) in WITHOUT_EFFECT {
        let _ = writeln!(page, "| `{key}` | {reason} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::layer::{Entry, Origin};
    use super::super::{Settings, keys};
    use super::*;

    #[test]
    fn configuration_page_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let page = reference();
        if fs::read_to_string(&path).unwrap_or_default() != page {
            fs::write(&path, page).unwrap();
            panic!("docs/configuration.md was out of date and has been written anew");
        }
    }

    #[test]
    fn keys_are_unique_and_their_defaults_are_those_that_hold() {
        let all: Vec<_> = keys::all().collect();
        for (index, key) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other.name != key.name), "{}", key.name);
            assert!(WITHOUT_EFFECT.iter().all(|(other, _)| *other != key.name), "{}", key.name);
            if key.default.is_empty() {
                continue;
            }
            let origin = Origin::Flag("");
            let entry = Entry { key, name: String::new(), value: default_value(key), origin };
            let mut settings = Settings::default();
            entry.apply(&mut settings).unwrap();
            if key.name == "auth_mechanisms" {
                // Without the key, what else is possible is offered too.
                settings.connections.mechanisms = None;
            }
            assert_eq!(settings, Settings::default(), "{} = {}", key.name, key.default);
        }
    }

    #[test]
    fn aliases_are_of_keys() {
        for (alias, name) in keys::ALIASES {
            assert!(keys::all().any(|key| key.name == name), "{alias}");
            assert!(keys::all().all(|key| key.name != alias), "{alias}");
        }
    }
}
