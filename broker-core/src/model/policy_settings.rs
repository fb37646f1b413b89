//! The settings that policies may have, and which values; the texts are RabbitMQ's.

use serde_json::{Map, Value};

use super::pattern::Pattern;
use super::policy::PolicyDefinition;
use super::queue::settings::age_ms;

/// A setting: its key, what RabbitMQ's text calls it, what it accepts, whether operator policies may have it.
struct Setting {
    key: &'static str,
    noun: &'static str,
    accepts: Accepts,
    operator: bool,
}

/// Values that are accepted.
enum Accepts {
    /// A number from..=to.
    Number(i64, i64),
    /// True or false.
    Flag,
    /// Any text.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A number and a unit of time.
    Age,
}

const MAX: i64 = i64::MAX;
const LOCATORS: Accepts = Accepts::OneOf(&["client-local", "balanced", "random", "least-leaders"]);
const OVERFLOWS: Accepts = Accepts::OneOf(&["drop-head", "reject-publish", "reject-publish-dlx"]);
const STRATEGIES: Accepts = Accepts::OneOf(&["at-most-once", "at-least-once"]);
const RETRIES: Accepts = Accepts::OneOf(&["disabled", "all", "failed", "returned"]);

const fn setting(key: &'static str, noun: &'static str, accepts: Accepts, operator: bool) -> Setting {
    Setting { key, noun, accepts, operator }
}

/// Every setting.
const SETTINGS: [Setting; 26] = [
    setting("alternate-exchange", "alternate exchange name", Accepts::Text, false),
    setting("consumer-timeout", "consumer timeout", Accepts::Number(0, MAX), false),
    setting("dead-letter-exchange", "dead letter exchange name", Accepts::Text, false),
    setting("dead-letter-routing-key", "dead letter routing key", Accepts::Text, false),
    setting("dead-letter-strategy", "dead letter strategy", STRATEGIES, false),
    setting("delayed-message", "delayed message value", Accepts::Flag, false),
    setting("delayed-retry-max", "delayed retry maximum", Accepts::Number(0, MAX), false),
    setting("delayed-retry-min", "delayed retry minimum", Accepts::Number(0, MAX), false),
    setting("delayed-retry-type", "delayed retry type", RETRIES, false),
    setting("delivery-limit", "delivery limit", Accepts::Number(-MAX, MAX), true),
    setting("expires", "queue expiry", Accepts::Number(1, MAX), true),
    setting("initial-cluster-size", "cluster size", Accepts::Number(0, MAX), false),
    setting("max-age", "max age", Accepts::Age, false),
    setting("max-in-memory-bytes", "maximum memory in bytes", Accepts::Number(0, MAX), true),
    setting("max-in-memory-length", "maximum memory in bytes", Accepts::Number(0, MAX), true),
    setting("max-length", "maximum length", Accepts::Number(0, MAX), true),
    setting("max-length-bytes", "maximum length in bytes", Accepts::Number(0, MAX), true),
    setting("message-ttl", "message TTL", Accepts::Number(0, MAX), true),
    setting("overflow", "overflow value", OVERFLOWS, true),
    setting("queue-leader-locator", "queue leader locator value", LOCATORS, false),
    setting(
        "queue-master-locator",
        "master locator",
        Accepts::OneOf(&["min-masters", "client-local", "random"]),
        false,
    ),
    setting("queue-mode", "queue-mode value", Accepts::OneOf(&["default", "lazy"]), false),
    setting("queue-version", "queue-version value", Accepts::Number(1, 2), true),
    setting("stream-filter-size-bytes", "filter size. Valid range is 16-255", Accepts::Number(16, 255), false),
    setting("stream-max-segment-size-bytes", "segment size", Accepts::Number(0, MAX), false),
    setting("target-group-size", "qq target count value", Accepts::Number(1, MAX), true),
];

impl Accepts {
    fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Number(from, to) => value.as_i64().is_some_and(|number| (*from..=*to).contains(&number)),
            Self::Flag => value.is_boolean(),
            Self::Text => value.is_string(),
            Self::OneOf(names) => value.as_str().is_some_and(|name| names.contains(&name)),
            Self::Age => value.as_str().is_some_and(|age| age_ms(age).is_some()),
        }
    }
}

/// Checks a policy or operator policy; the first thing that is wrong, in RabbitMQ's words.
pub fn check(operator: bool, policy: &PolicyDefinition) -> Result<(), String> {
    let wrong = |text: String| Err(format!("Validation failed\n\n{text}\n"));
    if let Err(error) = Pattern::new(&policy.pattern) {
        return wrong(format!("pattern should be regular expression but is invalid: {error}"));
    }
    if policy.definition.is_empty() {
        return wrong("no policy provided".to_owned());
    }
    let known = |key: &str| SETTINGS.iter().find(|setting| setting.key == key && (setting.operator || !operator));
    let unknown: Vec<_> = policy.definition.iter().filter(|(key, _)| known(key).is_none()).collect();
    if !unknown.is_empty() {
        let list: Vec<String> =
            unknown.iter().map(|(key, value)| format!("{{{},{}}}", term_of(key), erlang(value))).collect();
        return wrong(format!("[{}] are not recognised policy settings", list.join(",")));
    }
    for (key, value) in &policy.definition {
        if let Some(setting) = known(key).filter(|setting| !setting.accepts.accepts(value)) {
            return wrong(format!("{} is not a valid {}", erlang(value), setting.noun));
        }
    }
    Ok(())
}

fn term_of(text: &str) -> String {
    match text {
        "" => "<<>>".to_owned(),
        text if text.is_ascii() => format!("<<\"{text}\">>"),
        text => format!("<<\"{text}\"/utf8>>"),
    }
}

/// A JSON value as Erlang prints the term that it is in RabbitMQ.
fn erlang(value: &Value) -> String {
    let list = |items: Vec<String>| items.join(",");
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => term_of(text),
        Value::Array(values) => format!("[{}]", list(values.iter().map(erlang).collect())),
        Value::Object(map) => format!("#{{{}}}", list(entries(map))),
    }
}

fn entries(map: &Map<String, Value>) -> Vec<String> {
    map.iter().map(|(key, value)| format!("{} => {}", term_of(key), erlang(value))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(operator: bool, pattern: &str, definition: &Value) -> String {
        let definition = definition.as_object().unwrap().clone();
        let (vhost, name, pattern) = ("/".to_owned(), "p".to_owned(), pattern.to_owned());
        let policy =
            PolicyDefinition { vhost, name, pattern, apply_to: Default::default(), definition, priority: 0 };
        match check(operator, &policy) {
            Ok(()) => String::new(),
            Err(text) => text.trim_start_matches("Validation failed\n\n").trim_end().to_owned(),
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_rabbitmqs_words() {
        for (definition, text) in [
            (json!({"max-length": 5, "overflow": "reject-publish-dlx"}), ""),
            (json!({"nope": 1}), "[{<<\"nope\">>,1}] are not recognised policy settings"),
            (json!({"max-length": "x"}), "<<\"x\">> is not a valid maximum length"),
            (json!({"max-length": -1, "overflow": "z"}), "-1 is not a valid maximum length"),
            (json!({"expires": 0}), "0 is not a valid queue expiry"),
            (json!({"delivery-limit": -1}), ""),
            (json!({"stream-filter-size-bytes": 5}), "5 is not a valid filter size. Valid range is 16-255"),
            (json!({"message-ttl": true}), "true is not a valid message TTL"),
            (json!({"max-age": "1D"}), ""),
            (json!({}), "no policy provided"),
        ] {
            assert_eq!(checked(false, "q", &definition), text, "{definition}");
        }
        assert!(
            checked(false, "(", &json!({"max-length": 5})).starts_with("pattern should be regular expression")
        );
    }

    #[test]
    fn operator_policies_have_fewer_settings() {
        assert_eq!(checked(true, "q", &json!({"max-length": 5})), "");
        assert_eq!(
            checked(true, "q", &json!({"dead-letter-exchange": "x"})),
            "[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings"
        );
    }
}
