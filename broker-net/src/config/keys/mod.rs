//! Every configuration key: its name, the type of its values, its default, what it means, and how it is set.
//!
//! docs/configuration.md is made from these tables, one file per subject. Names are RabbitMQ's where RabbitMQ has such a key.

mod access;
mod listeners;
mod log;
mod process;
mod protocol;
mod resources;
mod tls;

use super::settings::Settings;
use super::without_effect::WITHOUT_EFFECT;

/// A key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name, words between dots. A word `$name` stands for any word of the operator's choice.
    pub(super) name: &'static str,
    /// What its values look like.
    pub(super) kind: Kind,
    /// What holds without it, as an environment variable would say it; empty: nothing.
    pub(super) default: &'static str,
    /// What it means.
    pub(super) meaning: &'static str,
    /// A change takes effect on SIGHUP.
    pub(super) reload: bool,
    /// It is never printed.
    pub(super) secret: bool,
    pub(super) set: Set,
}

/// How a key is set: the first text is what `$name` stands for.
#[derive(Debug)]
pub(super) enum Set {
    /// One value.
    One(fn(&mut Settings, &str, &str) -> Result<(), String>),
    /// A list, which replaces what was there.
    Many(fn(&mut Settings, &str, &[String]) -> Result<(), String>),
}

/// What the values of a key look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Number,
    /// A whole number or a word, such as `infinity`.
    Limit,
    /// A number of bytes, or a text with a unit.
    Bytes,
    /// A number of milliseconds, or a text with a unit, or a word such as `infinity`.
    Milliseconds,
    /// A number of seconds, or a text with a unit.
    Seconds,
    /// A fraction from 0 to 1.
    Fraction,
    /// A number, from 0 on, with or without a fraction.
    Multiple,
    /// A port or a text.
    Address,
    /// A text.
    Text,
    /// `false` or a text.
    TextOrFalse,
    /// A list of texts or numbers.
    List,
    /// A list of names, or a table of names with `true` or `false`.
    Names,
}

impl Kind {
    /// What the documentation calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Switch => "boolean",
            Self::Number => "number",
            Self::Limit => "number or text",
            Self::Bytes => "bytes",
            Self::Milliseconds => "time (ms)",
            Self::Seconds => "time (s)",
            Self::Fraction => "fraction",
            Self::Multiple => "multiple",
            Self::Address => "address",
            Self::Text => "text",
            Self::TextOrFalse => "text or false",
            Self::List | Self::Names => "list",
        }
    }
}

/// What most keys are: a change needs a restart.
const RESTART: Key = Key {
    name: "",
    kind: Kind::Text,
    default: "",
    meaning: "",
    reload: false,
    secret: false,
    set: Set::One(|_, _, _| Ok(())),
};

/// A change takes effect on SIGHUP.
const RELOAD: Key = Key { reload: true, ..RESTART };

/// All keys, by subject.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    subjects().flat_map(|(_, keys)| keys)
}

/// The subjects and their keys.
pub(super) fn subjects() -> impl Iterator<Item = (&'static str, &'static [Key])> {
    [
        ("Process", process::KEYS),
        ("Listeners", listeners::KEYS),
        ("TLS", tls::KEYS),
        ("Users and logins", access::KEYS),
        ("Connections, channels, messages", protocol::KEYS),
        ("Memory and disk", resources::KEYS),
        ("Log", log::KEYS),
    ]
    .into_iter()
}

/// Keys of which the one that is set last, or by what has precedence, counts.
const EXCLUSIVE: [(&str, &str); 2] = [
    ("vm_memory_high_watermark.relative", "vm_memory_high_watermark.absolute"),
    ("disk_free_limit.absolute", "disk_free_limit.relative"),
];

/// RabbitMQ's names of keys whose names cannot be in TOML, because other names begin with them and a dot; and other names for the
/// same.
pub(super) const ALIASES: [(&str, &str); 6] = [
    ("log.console", "log.console.enabled"),
    ("log.file", "log.file.path"),
    ("log.level", "log.default.level"),
    ("max_channels_per_connection", "channel_max"),
    ("vm_memory_high_watermark", "vm_memory_high_watermark.relative"),
    ("disk_free_limit", "disk_free_limit.absolute"),
];

/// What a name is.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A key, and what `$name` stands for in it.
    Key(&'static Key, &'a str),
    /// An element of a list, which has a name of its own here.
    Element(&'static Key, &'a str),
    /// A key of RabbitMQ that means nothing here, and why.
    WithoutEffect(&'static str),
    /// Nothing that is known.
    Unknown,
}

/// Looks a key up by the words of its name. `scalar` is false for a table, which no alias can be.
pub(super) fn find<S: AsRef<str>>(path: &[S], scalar: bool) -> Found<'_> {
    if let Some(alias) = ALIASES.iter().find(|(alias, _)| scalar && fits(alias, path).is_some())
        && let Some(key) = all().find(|key| key.name == alias.1)
    {
        return Found::Key(key, "");
    }
    if let Some((key, name)) = all().find_map(|key| Some((key, fits(key.name, path)?))) {
        return Found::Key(key, name);
    }
    if let Some((element, list)) = path.split_last() {
        let lists = all().filter(|key| matches!(key.set, Set::Many(_)));
        if let Some(key) = lists.into_iter().find(|key| fits(key.name, list).is_some()) {
            return Found::Element(key, element.as_ref());
        }
    }
    match WITHOUT_EFFECT.iter().find(|(pattern, _)| fits(pattern, path).is_some()) {
        Some((_, reason)) => Found::WithoutEffect(reason),
        None => Found::Unknown,
    }
}

/// The key that `key` displaces.
pub(super) fn displaced_by(key: &Key) -> Option<&'static str> {
    EXCLUSIVE.iter().find_map(|(one, other)| match key.name {
        name if name == *one => Some(*other),
        name if name == *other => Some(*one),
        _ => None,
    })
}

/// Whether a name fits a pattern; if so, what `$name` stands for. A last word `*` stands for any words.
fn fits<'a, S: AsRef<str>>(pattern: &str, path: &'a [S]) -> Option<&'a str> {
    let mut name = "";
    let mut words = path.iter().map(AsRef::as_ref);
    for expected in pattern.split('.') {
        if expected == "*" {
            return words.next().map(|_| name);
        }
        match words.next()? {
            word if expected == "$name" => name = word,
            word if word == expected => {}
            _ => return None,
        }
    }
    words.next().is_none().then_some(name)
}

/// The known name that an unknown one most likely means.
pub(super) fn suggestion(name: &str) -> Option<&'static str> {
    let close = |known: &'static str| {
        let distance = strsim::damerau_levenshtein(name, known);
        // A word of which a third is wrong means something else.
        (distance * 3 <= known.len()).then_some((distance, known))
    };
    let known = all().map(|key| key.name).chain(ALIASES.iter().map(|(alias, _)| *alias));
    let last_word = || {
        let mut ending = all().map(|key| key.name).filter(|known| known.ends_with(&format!(".{name}")));
        ending.next().filter(|_| ending.next().is_none())
    };
    known.filter_map(close).min().map(|(_, known)| known).or_else(last_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_with_their_aliases_and_elements() {
        let found = |name: &str| match find(&name.split('.').collect::<Vec<_>>(), true) {
            Found::Key(key, _) => key.name.to_owned(),
            Found::Element(key, element) => format!("{}[{element}]", key.name),
            Found::WithoutEffect(reason) => reason.to_owned(),
            Found::Unknown => "unknown".to_owned(),
        };
        for (name, expect) in [
            ("heartbeat", "heartbeat"),
            ("log.console", "log.console.enabled"),
            ("listeners.tcp.default", "listeners.tcp[default]"),
            ("num_acceptors.tcp", "every shard accepts"),
            ("num_acceptors", "unknown"),
            ("heartbeat.x", "unknown"),
        ] {
            assert_eq!(found(name), expect, "{name}");
        }
    }

    #[test]
    fn unknown_names_are_compared_with_known_ones() {
        assert_eq!(suggestion("hart_beat"), Some("heartbeat"));
        assert_eq!(suggestion("ssl_options.certfil"), Some("ssl_options.certfile"));
        assert_eq!(suggestion("cacertfile"), Some("ssl_options.cacertfile"));
        assert_eq!(suggestion("certfile"), None, "several keys end so");
        assert_eq!(suggestion("xyz"), None);
    }
}
