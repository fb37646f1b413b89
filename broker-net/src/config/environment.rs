//! Keys that are set by environment variables: `RINGMQ_` and the key's name in capitals, its dots as underscores.

use super::keys;
use super::layer::{Given, Layer, Origin};

/// What the names of all variables begin with.
const PREFIX: &str = "RINGMQ_";

/// The variable that sets a key; `None` for keys with words of the operator's choice.
pub(super) fn variable(key: &str) -> Option<String> {
    (!key.contains('$')).then(|| format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "_")))
}

/// Reads the variables. Those that name no key are left alone: others may have their own that begin so, and orchestrators
/// make up some.
pub(super) fn read(variables: &[(String, String)]) -> Layer {
    let mut layer = Layer::default();
    let names = keys::all().map(|key| key.name).chain(keys::ALIASES.iter().map(|(alias, _)| *alias));
    let known: Vec<_> = names.filter_map(|name| Some((variable(name)?, name))).collect();
    for (name, value) in variables {
        if let Some((_, key)) = known.iter().find(|(variable, _)| variable == name) {
            let path: Vec<_> = key.split('.').collect();
            layer.set(&path, Given::Untyped(value), Origin::Environment(name.clone()));
        }
    }
    layer
}

/// The variables of this process that may be ours.
pub(super) fn variables() -> Vec<(String, String)> {
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| name.starts_with(PREFIX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_variable_of_its_own() {
        let mut names: Vec<_> = keys::all().filter_map(|key| variable(key.name)).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn variables_set_keys_and_others_are_left_alone() {
        let variables = [
            ("RINGMQ_SSL_OPTIONS_CERTFILE", "/c"),
            ("RINGMQ_LISTENERS_TCP", "5672, 127.0.0.1:5673"),
            ("RINGMQ_PORT", "tcp://10.0.0.1:5672"),
        ];
        let layer = read(&variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let settings = layer.settings().unwrap();
        assert_eq!(settings.tls.own.certfile, Some("/c".into()));
        assert_eq!(settings.tcp.len(), 2);
        let wrong = read(&[("RINGMQ_HEARTBEAT".to_owned(), "often".to_owned())]);
        assert!(wrong.problems[0].to_string().starts_with("RINGMQ_HEARTBEAT: heartbeat = often: expected"));
    }
}
