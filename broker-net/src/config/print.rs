//! The configuration in force, as TOML.

use std::fmt::Write as _;

use super::keys::{self, Key, Kind, Set};
use super::layer::{Entry, Layer, Value};

/// Every key with its value and where that comes from. It can be read again; what is secret is left out.
pub(super) fn print(layer: &Layer) -> String {
    let mut page = String::from("# The configuration in force. Behind each value stands where it comes from.\n");
    for (subject, keys) in keys::subjects() {
        let _ = writeln!(page, "\n# {subject}");
        for key in keys {
            let entries: Vec<_> = layer.entries.iter().filter(|entry| std::ptr::eq(entry.key, key)).collect();
            for entry in &entries {
                set(&mut page, entry);
            }
            if entries.is_empty() {
                default(&mut page, key, layer);
            }
        }
    }
    page
}

fn set(page: &mut String, entry: &Entry) {
    let Entry { key, value, origin, .. } = entry;
    let name = dotted(entry);
    let _ = if key.secret {
        writeln!(page, "# {name} is set and not shown  # {origin}")
    } else {
        writeln!(page, "{name} = {}  # {origin}", literal(key.kind, value))
    };
}

fn default(page: &mut String, key: &Key, layer: &Layer) {
    let displaced = keys::displaced_by(key).is_some_and(|other| layer.get(other).is_some());
    let _ = if key.default.is_empty() || displaced || key.name.contains('$') {
        writeln!(page, "# {} is not set", key.name)
    } else if key.secret || matches!((key.kind, key.default), (Kind::List, "PLAIN,AMQPLAIN")) {
        // This default means more than the same list does when it is set.
        writeln!(page, "# {} = {}  # default", key.name, literal(key.kind, &default_value(key)))
    } else {
        writeln!(page, "{} = {}  # default", key.name, literal(key.kind, &default_value(key)))
    };
}

/// The default of a key.
pub(super) fn default_value(key: &Key) -> Value {
    match key.set {
        Set::One(_) => Value::One(key.default.to_owned()),
        Set::Many(_) => Value::Many(key.default.split(',').map(str::to_owned).collect()),
    }
}

/// The key's name with `$name` filled in, in quotes where TOML wants them.
fn dotted(entry: &Entry) -> String {
    let bare = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let name = if bare(&entry.name) { entry.name.clone() } else { text(&entry.name) };
    entry.key.name.replace("$name", &name)
}

/// A value in TOML.
pub(super) fn literal(kind: Kind, value: &Value) -> String {
    match value {
        Value::One(text) => scalar(kind, text),
        Value::Many(texts) => {
            let texts: Vec<_> = texts.iter().map(|text| scalar(Kind::Address, text)).collect();
            format!("[{}]", texts.join(", "))
        }
    }
}

fn scalar(kind: Kind, value: &str) -> String {
    let number = || value.parse::<i64>().is_ok();
    match kind {
        // These have been checked. RabbitMQ also says on and off.
        Kind::Switch => if matches!(value, "true" | "on") { "true" } else { "false" }.to_owned(),
        Kind::TextOrFalse if value == "false" => value.to_owned(),
        Kind::Text | Kind::TextOrFalse => text(value),
        Kind::Fraction | Kind::Multiple if value.parse::<f64>().is_ok() => value.to_owned(),
        _ if number() => value.to_owned(),
        _ => text(value),
    }
}

fn text(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}
