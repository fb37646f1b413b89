//! Erlang terms as text, as far as selectors need them: tuples, lists, binaries, strings, numbers, and the atoms that mean something.

/// How long a text may be, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 32 * 1024;

/// How deep tuples and lists may be nested. RabbitMQ allows 16, or with older releases whatever memory bears.
pub(super) const DEPTH_MAX: usize = 64;

/// All atoms that a selector can have.
const ATOMS: [&str; 27] = [
    "ident",
    "not",
    "and",
    "or",
    "is_null",
    "not_null",
    "like",
    "not_like",
    "between",
    "not_between",
    "range",
    "=",
    "<>",
    ">",
    "<",
    ">=",
    "<=",
    "in",
    "not_in",
    "+",
    "-",
    "*",
    "/",
    "true",
    "false",
    "no_escape",
    "regex",
];

/// A term.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Term {
    Atom(&'static str),
    Integer(i128),
    Float(f64),
    Binary(Box<[u8]>),
    Tuple(Vec<Self>),
    /// Also a string, which is a list of numbers: it equals no header, so its characters are not kept.
    List(Vec<Self>),
}

/// Reads a text; a dot may follow the term. `None` if it is no term, or beyond the limits.
pub(super) fn parse(text: &[u8]) -> Option<Term> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut parser = Parser { rest: text };
    parser.skip_space();
    let term = parser.term(0)?;
    parser.skip_space();
    parser.take(b".");
    parser.skip_space();
    parser.rest.is_empty().then_some(term)
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn term(&mut self, depth: usize) -> Option<Term> {
        if depth > DEPTH_MAX {
            return None;
        }
        let first = *self.rest.first()?;
        match first {
            b'{' => self.items(b"{", b"}", depth).map(Term::Tuple),
            b'[' => self.items(b"[", b"]", depth).map(Term::List),
            b'<' => self.binary(),
            b'"' => self.quoted(b'"').map(|_| Term::List(Vec::new())),
            b'\'' => atom(&self.quoted(b'\'')?),
            b'-' | b'+' => {
                self.next();
                self.skip_space();
                self.number(first == b'-')
            }
            b'0'..=b'9' => self.number(false),
            b'a'..=b'z' => {
                atom(self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@')))
            }
            _ => None,
        }
    }

    fn items(&mut self, open: &[u8], close: &[u8], depth: usize) -> Option<Vec<Term>> {
        self.take(open);
        self.skip_space();
        let mut items = Vec::new();
        if self.take(close) {
            return Some(items);
        }
        loop {
            items.push(self.term(depth + 1)?);
            self.skip_space();
            if self.take(close) {
                return Some(items);
            }
            if !self.take(b",") {
                return None;
            }
            self.skip_space();
        }
    }

    /// `<<"text">>` or `<<>>`.
    fn binary(&mut self) -> Option<Term> {
        if !self.take(b"<<") {
            return None;
        }
        self.skip_space();
        let bytes = if self.rest.first() == Some(&b'"') { self.quoted(b'"')? } else { Vec::new() };
        self.skip_space();
        self.take(b">>").then(|| Term::Binary(bytes.into()))
    }

    /// The text between two quotes.
    fn quoted(&mut self, quote: u8) -> Option<Vec<u8>> {
        self.next();
        let mut bytes = Vec::new();
        loop {
            match self.next()? {
                b'\\' => bytes.push(match self.next()? {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    other => other,
                }),
                byte if byte == quote => return Some(bytes),
                byte => bytes.push(byte),
            }
        }
    }

    /// Digits, with a fraction and then an exponent perhaps.
    fn number(&mut self, negative: bool) -> Option<Term> {
        let start = self.rest;
        if self.digits() == 0 {
            return None;
        }
        let fraction = matches!(self.rest, [b'.', b'0'..=b'9', ..]);
        if fraction {
            self.next();
            self.digits();
            if matches!(self.rest.first(), Some(b'e' | b'E')) {
                self.next();
                let _ = self.take(b"-") || self.take(b"+");
                if self.digits() == 0 {
                    return None;
                }
            }
        }
        let text = std::str::from_utf8(start.get(..start.len() - self.rest.len())?).ok()?;
        if fraction {
            let number: f64 = text.parse().ok()?;
            return number.is_finite().then_some(Term::Float(if negative { -number } else { number }));
        }
        let number: i128 = text.parse().ok()?;
        Some(Term::Integer(if negative { -number } else { number }))
    }

    fn digits(&mut self) -> usize {
        self.take_while(|byte| byte.is_ascii_digit()).len()
    }

    fn skip_space(&mut self) {
        self.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// True if `wanted` was there.
    fn take(&mut self, wanted: &[u8]) -> bool {
        let after = self.rest.strip_prefix(wanted);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }
}

fn atom(name: &[u8]) -> Option<Term> {
    ATOMS.into_iter().find(|atom| atom.as_bytes() == name).map(Term::Atom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: Option<Term>) {
        assert_eq!(parse(text.as_bytes()), expect, "{text}");
    }

    fn binary(text: &[u8]) -> Term {
        Term::Binary(text.into())
    }

    #[test]
    fn terms_are_read() {
        check("true.", Some(Term::Atom("true")));
        check(" '<>' . ", Some(Term::Atom("<>")));
        check("-12", Some(Term::Integer(-12)));
        check("+ 7.", Some(Term::Integer(7)));
        check("1.5e-3.", Some(Term::Float(1.5e-3)));
        check("1..", None);
        check("<<>>", Some(binary(b"")));
        check(r#"<<"a\"\\\n">>"#, Some(binary(b"a\"\\\n")));
        check("<<\"\u{e4}\">>.", Some(binary("\u{e4}".as_bytes())));
        check("[]", Some(Term::List(vec![])));
        check("\"text\"", Some(Term::List(vec![])));
        check("[1 , 2]", Some(Term::List(vec![Term::Integer(1), Term::Integer(2)])));
        let ident = Term::Tuple(vec![Term::Atom("ident"), binary(b"a")]);
        check("{'=', {ident,<<\"a\">>},\n1}.", Some(Term::Tuple(vec![Term::Atom("="), ident, Term::Integer(1)])));
    }

    #[test]
    fn what_is_no_term_of_a_selector_is_refused() {
        for text in [
            "",
            ".",
            "{",
            "}",
            "{1, ",
            "{1,}",
            "{1 2}",
            "<<",
            "<<\"open",
            "<<1>>",
            "'open",
            "\"open",
            "1 2",
            "True.",
            "_x",
            "$a",
            "true..",
            "erlang.",
            "'apply'",
            "1.0e",
            "1.0e999",
            "1e5",
            "-",
            "--1",
            "[1|2]",
            "#{}",
            "1234567890123456789012345678901234567890",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let nested = |depth: usize| format!("{}1{}", "{".repeat(depth), "}".repeat(depth));
        assert!(parse(nested(DEPTH_MAX).as_bytes()).is_some());
        check(&nested(DEPTH_MAX + 1), None);
        check(&"[".repeat(TEXT_BYTES_MAX), None);
        check(&" ".repeat(TEXT_BYTES_MAX), None);
        check(&format!("{}1", " ".repeat(TEXT_BYTES_MAX)), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_text_of_what_terms_are_made_of_panics(parts in prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", "<<", ">>", "\"", "'", "\\", ",", ".", " ", "-", "1", "0.5", "e9", "ident", "'='",
                "<<\"a\">>", "{ident,<<\"a\">>}", "like", "no_escape", "true",
            ]), 0..60)) {
            let _ = parse(parts.concat().as_bytes());
        }
    }
}
