//! Regular expressions that administrators write: permissions and policies.
//!
//! RabbitMQ's are PCRE. What the automaton of `regex` cannot do (look-around, back-references) is left to a backtracking
//! matcher whose steps are bounded; a name on which it gives up does not match.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// Memory that one compiled expression may take, in bytes. An expression that needs more is refused.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Steps of the backtracking matcher for one name.
const BACKTRACK_STEPS: usize = 100_000;

/// A compiled expression.
#[derive(Debug)]
pub struct Pattern(Kind);

#[derive(Debug)]
enum Kind {
    Automaton(Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// Why a text is not an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern(String);

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadPattern {}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// If it is malformed, or too large.
    pub fn new(pattern: &str) -> Result<Self, BadPattern> {
        match RegexBuilder::new(pattern).size_limit(COMPILED_BYTES_MAX).build() {
            Ok(regex) => Ok(Self(Kind::Automaton(regex))),
            Err(regex::Error::Syntax(_)) => fancy_regex::RegexBuilder::new(pattern)
                .backtrack_limit(BACKTRACK_STEPS)
                .delegate_size_limit(COMPILED_BYTES_MAX)
                .build()
                .map(|regex| Self(Kind::Backtracking(Box::new(regex))))
                .map_err(|error| BadPattern(error.to_string())),
            Err(error) => Err(BadPattern(error.to_string())),
        }
    }

    /// True if the name contains a match.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        match &self.0 {
            Kind::Automaton(regex) => regex.is_match(name),
            Kind::Backtracking(regex) => regex.is_match(name).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_parts_of_names() {
        for (pattern, name, expected) in [
            ("^a", "abc", true),
            ("b", "abc", true),
            ("", "abc", true),
            ("^(?!amq\\.).*", "amq.topic", false),
            ("^(?!amq\\.).*", "mine", true),
            ("^(a+)+$(?<!b)", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().is_match(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn malformed_and_huge_ones_are_refused() {
        assert!(Pattern::new("(").is_err());
        assert!(Pattern::new("a{99999}{99999}").is_err());
    }
}
