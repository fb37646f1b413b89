//! The configuration file, in TOML.

use std::fs;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Found, Kind};
use super::layer::{Given, Layer, Origin, unknown};

/// Most bytes of a configuration file.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file. What is wrong with it is among the layer's problems.
pub(super) fn read(path: &Path) -> Layer {
    let mut layer = Layer::default();
    let text = fs::metadata(path).and_then(|metadata| match metadata.len() {
        0..=MAX_BYTES => fs::read_to_string(path),
        _ => Err(std::io::Error::other(format!("more than {MAX_BYTES} bytes"))),
    });
    match text {
        Ok(text) => parse(path, &text, &mut layer),
        Err(error) => layer.problem(Origin::File(path.to_owned(), 0), error.to_string()),
    }
    layer
}

fn parse(path: &Path, text: &str, layer: &mut Layer) {
    let mut reader = Reader { path, text, layer };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let hint = if path.extension().is_some_and(|extension| extension == "conf") {
            "; the file is to be TOML: `ringmq --import-config FILE` turns a rabbitmq.conf into it"
        } else {
            ""
        };
        let origin = reader.origin(error.span().unwrap_or_default());
        // The parser's first line says what is wrong, the others show where.
        let message = error.message().lines().next().unwrap_or_default();
        reader.layer.problem(origin, format!("{message}{hint}"));
    }
    if errors.is_empty() {
        reader.table(table.get_ref(), &mut Vec::new());
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    layer: &'a mut Layer,
}

impl Reader<'_> {
    fn origin(&self, span: Range<usize>) -> Origin {
        let before = self.text.get(..span.start).unwrap_or_default();
        Origin::File(self.path.to_owned(), before.matches('\n').count() + 1)
    }

    fn table(&mut self, table: &DeTable<'_>, path: &mut Vec<String>) {
        // The parser sorts by name; people read from the top.
        let mut rows: Vec<_> = table.iter().collect();
        rows.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in rows {
            path.push(key.get_ref().clone().into_owned());
            self.row(path, key.span(), value);
            path.pop();
        }
    }

    fn row(&mut self, path: &mut Vec<String>, span: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let origin = self.origin(span);
        if let DeValue::Table(table) = value.get_ref() {
            return self.table(table, path);
        }
        let kind = match keys::find(path, true) {
            Found::Key(key, _) => key.kind,
            Found::Element(key, _) if key.kind == Kind::Names => Kind::Switch,
            Found::Element(..) => Kind::Address,
            Found::WithoutEffect(_) => return self.layer.set(path, Given::Typed(""), origin),
            Found::Unknown => return self.layer.problem(origin, unknown(&path.join("."))),
        };
        let refuse = |expected: &str| format!("{}: expected {expected}", path.join("."));
        let given = match value.get_ref() {
            DeValue::Array(values) if matches!(kind, Kind::List | Kind::Names) => {
                let texts = values.iter().map(|value| scalar(value.get_ref(), Kind::Address));
                texts.collect::<Result<Vec<_>, _>>().map(|texts| {
                    let origin = origin.clone();
                    self.layer.set(path, Given::List(&texts), origin);
                })
            }
            scalar_value => scalar(scalar_value, kind).map(|text| {
                self.layer.set(path, Given::Typed(&text), origin.clone());
            }),
        };
        if let Err(expected) = given {
            self.layer.problem(origin, refuse(expected));
        }
    }
}

/// The text of a value, if it has the type that `kind` wants; else what is wanted.
fn scalar(value: &DeValue<'_>, kind: Kind) -> Result<String, &'static str> {
    match (kind, value) {
        (Kind::Switch | Kind::TextOrFalse, DeValue::Boolean(on)) => Ok(on.to_string()),
        (Kind::Switch, _) => Err("true or false"),
        (Kind::Text, DeValue::String(text)) => Ok(text.clone().into_owned()),
        (Kind::Text, _) => Err("a text in quotes"),
        (Kind::TextOrFalse, DeValue::String(text)) => Ok(text.clone().into_owned()),
        (Kind::TextOrFalse, _) => Err("a text in quotes, or false"),
        (Kind::Fraction | Kind::Multiple, DeValue::Float(number)) => Ok(number.to_string()),
        (Kind::Number | Kind::Fraction | Kind::Multiple, DeValue::Integer(number)) => {
            integer(number).ok_or("a decimal number")
        }
        (Kind::Number | Kind::Fraction | Kind::Multiple, _) => Err("a number without quotes"),
        (_, DeValue::String(text)) => Ok(text.clone().into_owned()),
        (_, DeValue::Integer(number)) => integer(number).ok_or("a decimal number"),
        (Kind::Limit, _) => Err("a number or a text in quotes"),
        (Kind::Bytes, _) => Err("a number of bytes, or a text with a unit such as \"512MiB\""),
        (Kind::Milliseconds | Kind::Seconds, _) => Err("a number, or a text with a unit such as \"10s\""),
        _ => Err("a text in quotes or a number"),
    }
}

/// Decimal digits, whatever the number was written in.
fn integer(number: &toml::de::DeInteger<'_>) -> Option<String> {
    i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Settings;

    fn read_text(text: &str) -> Result<Settings, Vec<String>> {
        let mut layer = Layer::default();
        parse(Path::new("ringmq.toml"), text, &mut layer);
        layer.settings().map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[track_caller]
    fn check_refused(text: &str, expect: &str) {
        assert_eq!(read_text(text).unwrap_err(), [expect]);
    }

    #[test]
    fn tables_and_dotted_keys_are_the_same() {
        let tables = "heartbeat = 10\n[listeners]\ntcp = [5672, '127.0.0.1:5673']\n[listeners.tcp_]\n";
        let tables = tables.replace("[listeners.tcp_]\n", "[ssl_options]\ncertfile = \"/c\"\n");
        let dotted =
            "heartbeat = \"10s\"\nlisteners.tcp = [5672, '127.0.0.1:5673']\nssl_options.certfile = '/c'\n";
        assert_eq!(read_text(&tables), read_text(dotted));
        let settings = read_text(dotted).unwrap();
        assert_eq!(settings.connections.heartbeat_s, 10);
        assert_eq!(settings.tcp.iter().map(std::net::SocketAddr::port).collect::<Vec<_>>(), [5672, 5673]);
    }

    #[test]
    fn lists_may_be_tables_of_names_as_in_rabbitmq() {
        let settings = read_text(
            "listeners.tcp.b = 1\nlisteners.tcp.a = '127.0.0.1:2'\nloopback_users.guest = false\n\
             default_user_tags = { management = true, monitoring = true }",
        )
        .unwrap();
        assert_eq!(settings.tcp.iter().map(std::net::SocketAddr::port).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(settings.connections.loopback_users, Vec::<String>::new());
        assert_eq!(settings.default_user_tags, ["management", "monitoring"]);
    }

    #[test]
    fn values_have_types_and_units() {
        let settings = read_text(
            "consumer_timeout = \"15m\"\nmax_message_size = 0x1000\ndisk_free_limit.absolute = '2GB'\n\
             connection_max = 'infinity'\nvm_memory_high_watermark.relative = 0.5\nlog.console = false",
        )
        .unwrap();
        assert_eq!(settings.consumer_timeout_ms, Some(900_000));
        assert_eq!(settings.connections.max_message_size, 4096);
        assert_eq!(settings.disk, crate::config::Watermark::Absolute(2_000_000_000));
        assert!(settings.log.off);
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (text, expect) in [
            ("\nheartbeats = 3", "ringmq.toml:2: unknown key `heartbeats`; is `heartbeat` meant?"),
            (
                "[ssl_options]\n\ncertfil = '/c'",
                "ringmq.toml:3: unknown key `ssl_options.certfil`; is `ssl_options.certfile` meant?",
            ),
            ("channel_max = '3'", "ringmq.toml:1: channel_max: expected a number without quotes"),
            ("channel_max = 0", "ringmq.toml:1: channel_max = 0: expected a number from 1 to 65535"),
            ("channel_max = [1]", "ringmq.toml:1: channel_max: expected a number without quotes"),
            ("proxy_protocol = 'on'", "ringmq.toml:1: proxy_protocol: expected true or false"),
            ("default_user = 3", "ringmq.toml:1: default_user: expected a text in quotes"),
            ("default_user = 1979-05-27", "ringmq.toml:1: default_user: expected a text in quotes"),
            ("loopback_users = [true]", "ringmq.toml:1: loopback_users: expected a text in quotes or a number"),
            ("heartbeat.x = 1", "ringmq.toml:1: unknown key `heartbeat.x`; is `heartbeat` meant?"),
        ] {
            check_refused(text, expect);
        }
        let broken = read_text("heartbeat = 1\nheartbeat =\n").unwrap_err();
        assert!(broken[0].starts_with("ringmq.toml:2: "), "{broken:?}");
        let all = read_text("heartbeat = -1\nchannel_max = 0").unwrap_err();
        assert_eq!(all.len(), 2, "every fault is told: {all:?}");
    }

    #[test]
    fn secrets_are_not_in_errors() {
        let mut layer = Layer::default();
        parse(Path::new("f"), "default_pass = ['hunter2']", &mut layer);
        let problems = layer.settings().unwrap_err();
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let problems = read(Path::new("/nowhere/ringmq.toml")).problems;
        assert!(problems[0].to_string().starts_with("/nowhere/ringmq.toml:"), "{problems:?}");
    }
}
