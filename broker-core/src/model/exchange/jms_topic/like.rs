//! The patterns of `like`: `%` is any text and `_` any byte, neither of which has a line feed in it.

/// How long a pattern may be, in bytes. A header costs at most its length times that of the pattern.
const PATTERN_BYTES_MAX: usize = 1000;

/// How much memory a regular expression may take, in bytes.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// A pattern that a whole text is matched against.
#[derive(Debug)]
pub(super) enum Pattern {
    Like(Box<[Token]>),
    /// Its first match is to be the whole text.
    Regex(regex::bytes::Regex),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token {
    Byte(u8),
    One,
    Any,
}

impl Pattern {
    /// `None` if the pattern is too long.
    pub(super) fn like(pattern: &[u8], escape: Option<u8>) -> Option<Self> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return None;
        }
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut rest = pattern;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            tokens.push(match (first, after.split_first()) {
                (first, Some((escaped, after))) if Some(*first) == escape => {
                    rest = after;
                    Token::Byte(*escaped)
                }
                (b'_', _) => Token::One,
                (b'%', _) => Token::Any,
                (byte, _) => Token::Byte(*byte),
            });
        }
        Some(Self::Like(tokens.into()))
    }

    /// `None` if it is no regular expression, or takes too much memory.
    pub(super) fn regex(pattern: &[u8]) -> Option<Self> {
        let pattern = std::str::from_utf8(pattern).ok()?;
        let mut builder = regex::bytes::RegexBuilder::new(pattern);
        builder
            .unicode(false)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build()
            .ok()
            .map(Self::Regex)
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Like(tokens) => matches_tokens(tokens, text),
            Self::Regex(regex) => regex.find(text).is_some_and(|found| found.len() == text.len()),
        }
    }
}

/// Only the last `%` is ever given more text: the ones before it have taken as little as they can, and no more would help.
fn matches_tokens(tokens: &[Token], text: &[u8]) -> bool {
    let (mut token_at, mut text_at) = (0, 0);
    // The token after the last `%`, and where in the text that one ends.
    let mut last_any = None;
    while let Some(byte) = text.get(text_at) {
        match tokens.get(token_at) {
            Some(Token::Any) => {
                token_at += 1;
                last_any = Some((token_at, text_at));
                continue;
            }
            Some(token) if *token == Token::Byte(*byte) || (*token == Token::One && *byte != b'\n') => {
                token_at += 1;
                text_at += 1;
                continue;
            }
            _ => {}
        }
        match last_any {
            Some((after, end)) if text.get(end) != Some(&b'\n') => {
                last_any = Some((after, end + 1));
                (token_at, text_at) = (after, end + 1);
            }
            _ => return false,
        }
    }
    tokens.iter().skip(token_at).all(|token| *token == Token::Any)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, escape: Option<u8>, text: &str, expect: bool) {
        let matches = Pattern::like(pattern.as_bytes(), escape).unwrap().matches(text.as_bytes());
        assert_eq!(matches, expect, "{pattern} {text}");
    }

    #[test]
    fn wildcards_and_escapes() {
        check("bl%", None, "blue", true);
        check("bl%", None, "bl", true);
        check("l%", None, "blue", false);
        check("bl_e", None, "blue", true);
        check("bl_e", None, "ble", false);
        check("b_!_ue", Some(b'!'), "bl_ue", true);
        check("b_!_ue", Some(b'!'), "blxue", false);
        check("100!%", Some(b'!'), "100%", true);
        check("a!", Some(b'!'), "a!", true);
        check("%a%b%", None, "xxaxxabx", true);
        check("a.c", None, "abc", false);
        check("", None, "", true);
        check("%", None, "", true);
        check("_", None, "", false);
        check("a%b", None, "a\nb", false);
    }

    #[test]
    fn patterns_are_bounded() {
        assert!(Pattern::like(&[b'%'; PATTERN_BYTES_MAX], None).is_some());
        assert!(Pattern::like(&[b'%'; PATTERN_BYTES_MAX + 1], None).is_none());
        assert!(Pattern::regex(b"(").is_none());
        assert!(Pattern::regex(b"a{1000}{1000}").is_none());
    }

    #[test]
    fn a_regular_expression_matches_the_whole_text() {
        let regex = Pattern::regex(b"b.+e").unwrap();
        assert!(regex.matches(b"blue"));
        assert!(!regex.matches(b"a blue"));
        assert!(!regex.matches(b"blue a"));
    }

    /// What a pattern means, without care for the time it takes.
    fn naive(tokens: &[Token], text: &[u8]) -> bool {
        match (tokens.split_first(), text.split_first()) {
            (None, text) => text.is_none(),
            (Some((Token::Any, tokens)), None) => naive(tokens, text),
            (Some((Token::Any, after)), Some((byte, rest))) => {
                naive(after, text) || (*byte != b'\n' && naive(tokens, rest))
            }
            (Some((Token::One, after)), Some((byte, rest))) => *byte != b'\n' && naive(after, rest),
            (Some((Token::Byte(wanted), after)), Some((byte, rest))) => wanted == byte && naive(after, rest),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_the_naive_one_does(pattern in "[ab\n_%]{0,8}", text in "[ab\n]{0,10}") {
            let Some(Pattern::Like(tokens)) = Pattern::like(pattern.as_bytes(), None) else { panic!() };
            prop_assert_eq!(matches_tokens(&tokens, text.as_bytes()), naive(&tokens, text.as_bytes()));
        }
    }
}
