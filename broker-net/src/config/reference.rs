//! docs/configuration.md, made from the table of keys.

use std::fmt::Write as _;

use super::keys::KEYS;
use super::without_effect::WITHOUT_EFFECT;

const INTRODUCTION: &str = "\
# Configuration

Without any configuration RingMQ serves guest/guest from loopback on port 5672. `ringmq --help` lists the flags; each has an environment
variable. Everything else is set in a file in the style of rabbitmq.conf, given with `--config FILE`: one `key = value` per line, comments
behind `#`, values with special characters in single quotes. `--set key=value` sets single keys. Flags override `--set`, and `--set`
overrides the file. A key that is not listed here is an error, with its line number. `--check-config` checks the configuration and ends.

Numbers of bytes take units: `kB`, `MB`, `GB` count in powers of 1000; `k`, `kiB`, `M`, `MiB`, `G`, `GiB` in powers of 1024. `$name` stands for
any word.

Certificates are read again on SIGHUP: new connections get the new ones, and connections that are open stay open.

This page is made from the code: `ringmq --help-config` prints it.

| key | default | meaning |
| --- | --- | --- |
";

/// The page.
#[must_use]
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for key in KEYS {
        let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
        let _ = writeln!(page, "| `{}` | {default} | {} |", key.name, key.meaning);
    }
    page.push_str("\n## Accepted without effect\n\nSo that a rabbitmq.conf can be used as it is. Each is logged at start.\n\n");
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

    use super::super::{Listener, Settings, keys};
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
    fn keys_are_unique_and_their_defaults_are_accepted() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..index].iter().all(|other| other.name != key.name), "{}", key.name);
            assert!(WITHOUT_EFFECT.iter().all(|(other, _)| *other != key.name), "{}", key.name);
            if key.default.is_empty() || key.default.contains([',', '=']) {
                continue;
            }
            let mut settings = Settings::default();
            keys::set(&mut settings, key.name, key.default).unwrap();
            let same = Settings { tcp: None, prometheus: Listener::default(), ..settings.clone() };
            let same = Settings { management: Listener::default(), ..same };
            assert_eq!(same, Settings::default(), "{} = {}", key.name, key.default);
        }
    }
}
