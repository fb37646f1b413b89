//! A rabbitmq.conf, read for what it means here.
//!
//! Its lines are `key = value`, with comments behind `#`; a value in single quotes is taken as it is.

use std::fmt::Write as _;
use std::path::Path;
use std::{fs, io};

use super::keys::{self, Found};
use super::layer::{Given, Layer, Origin};
use super::print::literal;

/// Most bytes of a file.
const MAX_BYTES: u64 = 1 << 20;

/// What has become of a rabbitmq.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// TOML for RingMQ. Comments say what has become of each line.
    pub toml: String,
    /// How many of its lines are settings that hold here.
    pub mapped: usize,
    /// How many have no effect here.
    pub without_effect: usize,
    /// How many are not known, or have values that cannot be used.
    pub refused: usize,
}

/// Reads a rabbitmq.conf.
///
/// # Errors
/// The file cannot be read, or has more than 1 MiB.
pub fn import(path: &Path) -> io::Result<Imported> {
    if fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::other(format!("more than {MAX_BYTES} bytes")));
    }
    Ok(imported(path, &fs::read_to_string(path)?))
}

fn imported(path: &Path, text: &str) -> Imported {
    let mut layer = Layer::default();
    let mut refused = Vec::new();
    // Of each entry the lines that it comes from.
    let mut lines: Vec<(&'static str, Vec<usize>)> = Vec::new();
    let mut mapped = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let line = without_comment(line).trim();
        if line.is_empty() {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            refused.push((number, "expected `key = value`".to_owned()));
            continue;
        };
        let path_words = words(key.trim());
        let origin = Origin::File(path.to_owned(), number);
        let problems = layer.problems.len();
        layer.set(&path_words, Given::Typed(unquoted(value.trim())), origin);
        if let Some(problem) = layer.problems.get(problems) {
            refused.push((number, problem.reason.clone()));
            let unusable = keys::find(&path_words, true);
            if let Found::Key(key, _) | Found::Element(key, _) = unusable {
                layer.entries.retain(|entry| !std::ptr::eq(entry.key, key));
            }
        } else if let Found::Key(key, _) | Found::Element(key, _) = keys::find(&path_words, true) {
            mapped += 1;
            match lines.iter_mut().find(|(name, _)| *name == key.name) {
                Some((_, numbers)) => numbers.push(number),
                None => lines.push((key.name, vec![number])),
            }
        }
    }
    let toml = written(path, &layer, &lines, &refused);
    Imported { toml, mapped, without_effect: layer.without_effect.len(), refused: refused.len() }
}

fn written(path: &Path, layer: &Layer, lines: &[(&str, Vec<usize>)], refused: &[(usize, String)]) -> String {
    let mut page = format!("# From {}. Behind each key stand the lines that it comes from.\n\n", path.display());
    for entry in &layer.entries {
        let numbers = lines.iter().find(|(name, _)| *name == entry.key.name).map(|(_, numbers)| numbers);
        let numbers: Vec<_> = numbers.into_iter().flatten().map(ToString::to_string).collect();
        let value = literal(entry.key.kind, &entry.value);
        let _ = writeln!(page, "{} = {value}  # line {}", entry.full_name(), numbers.join(", "));
    }
    page.push_str("\n# Other than in RabbitMQ\n");
    if layer.get("proxy_protocol").is_some() && layer.get("proxy_protocol_trusted_sources").is_none() {
        page.push_str(
            "# RabbitMQ believes a proxy at any address. It is safer to name the networks of your proxies here.\n\
             proxy_protocol_trusted_sources = [\"0.0.0.0/0\", \"::/0\"]\n",
        );
    }
    if layer.get("management.tcp.ip").is_none() {
        page.push_str("# The management API listens on 127.0.0.1; RabbitMQ's listens on all addresses:\n# management.tcp.ip = \"::\"\n");
    }
    let section = |page: &mut String, title: &str, rows: &mut dyn Iterator<Item = (usize, &str)>| {
        let mut rows = rows.peekable();
        if rows.peek().is_some() {
            let _ = writeln!(page, "\n# {title}");
        }
        for (number, reason) in rows {
            let _ = writeln!(page, "# line {number}: {}", reason.replace('\n', " "));
        }
    };
    let line = |origin: &Origin| match origin {
        Origin::File(_, line) => *line,
        _ => 0,
    };
    let mut without = layer.without_effect.iter().map(|problem| (line(&problem.origin), problem.reason.as_str()));
    section(&mut page, "Without effect", &mut without);
    let mut refused = refused.iter().map(|(number, reason)| (*number, reason.as_str()));
    section(&mut page, "Not known, or not possible", &mut refused);
    page
}

/// The words of a key; `\.` is a dot within one.
fn words(key: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut letters = key.chars();
    while let Some(letter) = letters.next() {
        let letter = match letter {
            '.' => {
                words.push(String::new());
                continue;
            }
            '\\' => letters.next().unwrap_or('\\'),
            letter => letter,
        };
        words.last_mut().expect("there is a word from the start").push(letter);
    }
    words
}

/// A `#` starts a comment where the line starts or behind a space; inside quotes it does not.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut before = ' ';
    for (at, letter) in line.char_indices() {
        match letter {
            '\'' => quoted = !quoted,
            '#' if !quoted && before.is_whitespace() => return &line[..at],
            _ => {}
        }
        before = letter;
    }
    line
}

/// A value in single quotes is taken as it is.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "\
## a comment

listeners.tcp.default = 5672   # clients
listeners.tcp.local = 127.0.0.1:5673
loopback_users = none
default_user = 'al#ice '
default_pass = a#b
heartbeat=10
log.console = true
log.console.formatter = json
vm_memory_high_watermark.relative = 0.4
collect_statistics_interval = 5000
auth_ldap.servers.1 = ldap.example
no.such.key = secret
channel_max = many
nonsense
proxy_protocol = true
";

    #[test]
    fn every_line_is_mapped_or_said_why_not() {
        let imported = imported(Path::new("rabbitmq.conf"), CONF);
        let expect = "\
# From rabbitmq.conf. Behind each key stand the lines that it comes from.

listeners.tcp = [5672, \"127.0.0.1:5673\"]  # line 3, 4
loopback_users = []  # line 5
default_user = \"al#ice \"  # line 6
default_pass = \"a#b\"  # line 7
heartbeat = 10  # line 8
log.console.enabled = true  # line 9
log.console.formatter = \"json\"  # line 10
vm_memory_high_watermark.relative = 0.4  # line 11
proxy_protocol = true  # line 17

# Other than in RabbitMQ
# RabbitMQ believes a proxy at any address. It is safer to name the networks of your proxies here.
proxy_protocol_trusted_sources = [\"0.0.0.0/0\", \"::/0\"]
# The management API listens on 127.0.0.1; RabbitMQ's listens on all addresses:
# management.tcp.ip = \"::\"

# Without effect
# line 12: collect_statistics_interval has no effect: statistics are read when somebody asks
# line 13: auth_ldap.servers.1 has no effect: users are in the broker itself

# Not known, or not possible
# line 14: unknown key `no.such.key`
# line 15: channel_max = many: expected a number from 1 to 65535
# line 16: expected `key = value`
";
        assert_eq!(imported.toml, expect);
        assert_eq!((imported.mapped, imported.without_effect, imported.refused), (10, 2, 3));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file, imported.toml.as_bytes()).unwrap();
        assert_eq!(super::super::file::read(file.path()).problems, []);
    }

    #[test]
    fn keys_of_rabbitmq_mean_something_or_have_a_reason() {
        // One key of each family in RabbitMQ's schemas.
        for line in [
            "auth_backends.1 = internal",
            "cluster_formation.peer_discovery_backend = classic_config",
            "deprecated_features.permit.transient_nonexcl_queues = false",
            "disk_monitor.failure_retries = 10",
            "log.exchange = true",
            "log.file.rotation.date = $D0",
            "management.rates_mode = basic",
            "mqtt.listeners.tcp.1 = 1883",
            "prometheus.return_per_object_metrics = true",
            "quorum_queue.property_equivalence.relaxed_checks_on_redeclaration = true",
            "raft.wal_max_size_bytes = 1000",
            "ssl_options.ciphers.1 = ECDHE-ECDSA-AES256-GCM-SHA384",
            "ssl_options.honor_cipher_order = true",
            "stomp.default_user = guest",
            "stream.initial_credits = 1",
            "tcp_listen_options.backlog = 128",
            "web_mqtt.tcp.port = 1",
        ] {
            let imported = imported(Path::new("rabbitmq.conf"), line);
            assert_eq!(imported.refused, 0, "{line}: {}", imported.toml);
        }
    }
}
