//! What keys are set to, by whom, and which of it counts.
//!
//! A [`Layer`] is what one source says: the file, `--set`, the environment, the flags. They are put on top of each other; each
//! entry of a layer replaces what lower layers say of its key.

use std::fmt;
use std::path::PathBuf;

use super::keys::{self, Found, Key, Kind, Set};
use super::settings::Settings;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A line of the configuration file, from 1.
    File(PathBuf, usize),
    /// `--set`, with its key.
    Set(String),
    /// An environment variable.
    Environment(String),
    /// A flag, or the environment variable that stands for it.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Set(key) => write!(f, "--set {key}"),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// What is wrong with a configuration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) origin: Origin,
    pub(super) reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.reason)
    }
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    One(String),
    Many(Vec<String>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: &'static Key,
    /// What `$name` stands for in the key.
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Entry {
    pub(super) fn apply(&self, settings: &mut Settings) -> Result<(), String> {
        match (&self.key.set, &self.value) {
            (Set::One(set), Value::One(value)) => set(settings, &self.name, value),
            (Set::Many(set), Value::Many(values)) => set(settings, &self.name, values),
            (Set::One(_), Value::Many(_)) => Err("expected one value, not a list".to_owned()),
            (Set::Many(set), Value::One(value)) => set(settings, &self.name, std::slice::from_ref(value)),
        }
    }

    /// The key's name, with what `$name` stands for.
    pub(super) fn full_name(&self) -> String {
        self.key.name.replace("$name", &self.name)
    }

    fn is_for(&self, key: &Key, name: &str) -> bool {
        std::ptr::eq(self.key, key) && self.name == name
    }

    /// An error names the value, unless it is secret.
    fn described(&self, reason: &str) -> String {
        let value = match &self.value {
            _ if self.key.secret => String::new(),
            Value::One(value) => format!(" = {value}"),
            Value::Many(values) => format!(" = {}", values.join(",")),
        };
        format!("{}{value}: {reason}", self.full_name())
    }
}

/// What one source says, or all of them together.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) entries: Vec<Entry>,
    /// Keys of RabbitMQ that change nothing, with where they are set and why they have no effect.
    pub(super) without_effect: Vec<Problem>,
    pub(super) problems: Vec<Problem>,
}

/// A value as a source writes it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given<'a> {
    /// A text without type: lists have commas between their elements.
    Untyped(&'a str),
    /// One value of a type that was checked.
    Typed(&'a str),
    /// A list of such.
    List(&'a [String]),
}

impl Layer {
    /// Sets what is named by `path`. What is wrong is kept with the problems.
    pub(super) fn set<S: AsRef<str>>(&mut self, path: &[S], given: Given<'_>, origin: Origin) {
        let full_name = || path.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(".");
        match keys::find(path, true) {
            Found::Key(key, name) => {
                let entry = Entry { key, name: name.to_owned(), value: value(key, given), origin };
                self.put(entry);
            }
            Found::Element(key, element) => self.set_element(key, element, given, origin),
            Found::WithoutEffect(reason) => {
                self.without_effect
                    .push(Problem { origin, reason: format!("{} has no effect: {reason}", full_name()) });
            }
            Found::Unknown => self.problem(origin, unknown(&full_name())),
        }
    }

    /// Adds to a list, which becomes this layer's own with its first element.
    fn set_element(&mut self, key: &'static Key, element: &str, given: Given<'_>, origin: Origin) {
        let (Given::Untyped(text) | Given::Typed(text)) = given else {
            return self.problem(origin, format!("{}.{element}: expected one value", key.name));
        };
        let added = match (key.kind, text) {
            (Kind::Names, "true") => Some(element.to_owned()),
            (Kind::Names, "false") => None,
            (Kind::Names, _) => {
                return self.problem(origin, format!("{}.{element} = {text}: expected true or false", key.name));
            }
            _ => Some(text.to_owned()),
        };
        let there = self.entries.iter_mut().find(|entry| entry.is_for(key, ""));
        if let Some(Entry { value: Value::Many(values), .. }) = there {
            values.extend(added);
            return self.check_last_of(key);
        }
        self.put(Entry { key, name: String::new(), value: Value::Many(added.into_iter().collect()), origin });
    }

    /// Checks an entry and puts it in the place of another one for the same key.
    pub(super) fn put(&mut self, entry: Entry) {
        let displaced = keys::displaced_by(entry.key);
        self.entries.retain(|other| {
            !other.is_for(entry.key, &entry.name) && displaced.is_none_or(|name| other.key.name != name)
        });
        let key = entry.key;
        self.entries.push(entry);
        self.check_last_of(key);
    }

    fn check_last_of(&mut self, key: &Key) {
        let Some(entry) = self.entries.iter().rfind(|entry| std::ptr::eq(entry.key, key)) else { return };
        if let Err(reason) = entry.apply(&mut Settings::default()) {
            let (origin, reason) = (entry.origin.clone(), entry.described(&reason));
            self.problem(origin, reason);
        }
    }

    pub(super) fn problem(&mut self, origin: Origin, reason: String) {
        self.problems.push(Problem { origin, reason });
    }

    /// Puts another layer on top of this one.
    pub(super) fn cover(&mut self, above: Self) {
        for entry in above.entries {
            let displaced = keys::displaced_by(entry.key);
            self.entries.retain(|other| {
                !other.is_for(entry.key, &entry.name) && displaced.is_none_or(|name| other.key.name != name)
            });
            self.entries.push(entry);
        }
        self.without_effect.extend(above.without_effect);
        self.problems.extend(above.problems);
    }

    /// What holds with all this.
    pub(super) fn settings(&self) -> Result<Settings, Vec<Problem>> {
        let mut settings = Settings::default();
        let mut problems = self.problems.clone();
        for entry in &self.entries {
            if let Err(reason) = entry.apply(&mut settings) {
                let problem = Problem { origin: entry.origin.clone(), reason: entry.described(&reason) };
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// The entry of a key.
    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.name == name)
    }

    /// Keys whose values differ, each once.
    pub(super) fn changes<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (String, &'static Key)> {
        let differs = |entry: &&Entry, there: &Self| {
            let same = there.entries.iter().find(|candidate| candidate.is_for(entry.key, &entry.name));
            same.is_none_or(|same| same.value != entry.value)
        };
        let new = other.entries.iter().filter(move |entry| differs(entry, self));
        let gone = self
            .entries
            .iter()
            .filter(|entry| !other.entries.iter().any(|candidate| candidate.is_for(entry.key, &entry.name)));
        new.chain(gone).map(|entry| (entry.full_name(), entry.key))
    }
}

fn value(key: &Key, given: Given<'_>) -> Value {
    let list = |text: &str| match text.trim() {
        "" | "none" => Vec::new(),
        text => text.split(',').map(|text| text.trim().to_owned()).collect(),
    };
    match (&key.set, given) {
        (Set::One(_), Given::Untyped(text) | Given::Typed(text)) => Value::One(text.to_owned()),
        (Set::Many(_), Given::Untyped(text)) => Value::Many(list(text)),
        (Set::Many(_), Given::Typed("none")) => Value::Many(Vec::new()),
        (Set::Many(_), Given::Typed(text)) => Value::Many(vec![text.to_owned()]),
        (_, Given::List(values)) => Value::Many(values.to_vec()),
    }
}

/// The sentence about a key that nobody knows.
pub(super) fn unknown(name: &str) -> String {
    match keys::suggestion(name) {
        Some(known) => format!("unknown key `{name}`; is `{known}` meant?"),
        None => format!("unknown key `{name}`"),
    }
}
