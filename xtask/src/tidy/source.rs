//! Rules for one source file. They look at lines, not at syntax: good enough for code that rustfmt has formatted.

use std::fs;
use std::path::Path;

use crate::workspace::Workspace;

/// Code lines of a file, tests not counted, above which it should be split.
const MAX_CODE_LINES: usize = 500;

/// Files that may be longer, each with the reason. An exception that is no longer needed is a finding.
const LONG_FILES: &[(&str, &str)] = &[];

/// Glommio is used in four places only, so that it can be replaced.
const GLOMMIO: &str = concat!("glommio", "::");
const GLOMMIO_REASON: &str = "only the four modules that wrap it may use it";
const GLOMMIO_PLACES: &[&str] = &[
    "broker-store/src/doorbell.rs",
    "broker-store/src/fs/uring.rs",
    "broker-store/tests/it/uring.rs",
    "broker-core/src/shard/driver",
    "broker-net/src/transport",
];

/// Directories of pure machines: bytes, events and the time come in as arguments.
const PURE: &[&str] = &["broker-core/src/model/", "broker-core/src/shard/", "broker-net/src/amqp/"];

/// The drivers in those directories, which do the I/O.
const DRIVERS: &[&str] = &["broker-core/src/shard/driver", "broker-net/src/amqp/driver"];

/// Clocks, sockets, files, threads and runtimes.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::fs",
    "File::",
    "std::thread",
    "tokio::",
    "rustix::",
];

/// What is nowhere, with the reason. The words are put together here so that this file passes.
const BANNED: &[(&str, &str)] = &[
    (concat!("dbg", "!("), "left over from debugging"),
    (concat!("todo", "!("), "unfinished"),
    (concat!("unimplemented", "!("), "unfinished"),
    (concat!("#[", "ignore"), "a test that does not run proves nothing"),
    (concat!("TO", "DO"), "write an issue instead"),
    (concat!("FIX", "ME"), "write an issue instead"),
    (concat!("XX", "X"), "write an issue instead"),
];

/// A thread that sleeps orders nothing. These places poll for something that another process does, or let the time of a
/// message in it run out.
const SLEEPERS: &[&str] = &[
    "broker-net/src/ctl/change.rs",
    "broker-net/src/ctl/check.rs",
    "broker-net/src/ctl/process.rs",
    "broker-net/src/notify.rs",
    "broker-net/src/startup/ports.rs",
    "xtask/src/broker.rs",
    "xtask/src/conformance/peer.rs",
    "xtask/src/conformance/player.rs",
    "xtask/src/workspace.rs",
];
const SLEEP: &str = concat!("thread::", "sleep");

/// A Rust source file, read.
pub(super) struct Source {
    /// Relative to the root of the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    pub(super) fn read_all(workspace: &Workspace) -> anyhow::Result<Vec<Self>> {
        let read = |path: &Path| {
            let text = fs::read_to_string(workspace.root().join(path))?;
            Ok(Self { path: path.to_string_lossy().replace('\\', "/"), text })
        };
        workspace.files("rs")?.iter().map(|path| read(path)).collect()
    }

    /// Every finding in this file.
    pub(super) fn check(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let lines = self.code_lines();
        if lines > MAX_CODE_LINES && !self.is_test_file() && !LONG_FILES.iter().any(|(path, _)| *path == self.path)
        {
            findings.push(format!("{}: {lines} code lines, {MAX_CODE_LINES} are the limit", self.path));
        }
        if !self.is_within(GLOMMIO_PLACES) {
            findings.extend(self.find_in_code(GLOMMIO, GLOMMIO_REASON));
        }
        if self.is_within(PURE) && !self.is_within(DRIVERS) && !self.is_test_file() {
            let impure = IMPURE.iter();
            findings.extend(impure.flat_map(|word| self.find_in_code(word, "this is a pure machine")));
        }
        for (word, reason) in BANNED {
            findings.extend(self.find(self.text.lines(), word, reason));
        }
        if !self.is_within(SLEEPERS) {
            findings.extend(self.find(self.text.lines(), SLEEP, "a sleep orders nothing"));
        }
        findings
    }

    fn is_within(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// A file that holds the tests of another one.
    fn is_test_file(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The lines before the inline tests.
    fn lines(&self) -> impl Iterator<Item = &str> {
        let mut lines = self.text.lines().peekable();
        std::iter::from_fn(move || {
            let line = lines.next()?;
            let tests = line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.ends_with(" {"));
            (!tests).then_some(line)
        })
    }

    /// Lines that are neither empty nor comments.
    fn code_lines(&self) -> usize {
        self.lines().filter(|line| is_code(line)).count()
    }

    fn find_in_code(&self, word: &str, reason: &str) -> Vec<String> {
        self.find(self.lines().map(|line| if is_code(line) { line } else { "" }), word, reason)
    }

    fn find<'a>(&self, lines: impl Iterator<Item = &'a str>, word: &str, reason: &str) -> Vec<String> {
        let found = lines.enumerate().filter(|(_, line)| line.contains(word));
        found.map(|(index, _)| format!("{}:{}: `{word}`: {reason}", self.path, index + 1)).collect()
    }
}

fn is_code(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with("//")
}

/// Exceptions of [`LONG_FILES`] that no file needs.
pub(super) fn stale_exceptions(sources: &[Source]) -> Vec<String> {
    let needed =
        |path: &str| sources.iter().any(|source| source.path == path && source.code_lines() > MAX_CODE_LINES);
    let stale = LONG_FILES.iter().filter(|(path, _)| !needed(path));
    stale.map(|(path, _)| format!("{path}: needs no exception for its length any more")).collect()
}

/// The median of the code lines per file.
pub(super) fn median_lines(sources: &[Source]) -> usize {
    let mut lines: Vec<usize> = sources.iter().map(Source::code_lines).collect();
    lines.sort_unstable();
    lines.get(lines.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[track_caller]
    fn check(path: &str, text: &str, expect: &[&str]) {
        assert_eq!(source(path, text).check(), expect);
    }

    #[test]
    fn code_lines_leave_out_comments_and_inline_tests() {
        let text =
            "//! Doc.\n\nuse a;\nfn f() {\n    // why\n    g();\n}\n\n#[cfg(test)]\nmod tests {\n    x\n}\n";
        assert_eq!(source("a.rs", text).code_lines(), 4);
        assert_eq!(source("a.rs", "use a;\n#[cfg(test)]\nmod tests;\nuse b;\n").code_lines(), 4);
    }

    #[test]
    fn a_long_file_is_a_finding() {
        let text = "x;\n".repeat(MAX_CODE_LINES + 1);
        check("a.rs", &text, &["a.rs: 501 code lines, 500 are the limit"]);
        check("a.rs", &"x;\n".repeat(MAX_CODE_LINES), &[]);
        check("a/tests.rs", &text, &[]);
    }

    #[test]
    fn glommio_is_named_in_its_modules_only_but_may_be_spoken_of() {
        let text = format!("use {GLOMMIO}net;\n");
        let expect = format!("broker-net/src/amqp/mod.rs:1: `{GLOMMIO}`: {GLOMMIO_REASON}");
        check("broker-net/src/transport/tcp.rs", &text, &[]);
        check("broker-net/src/amqp/mod.rs", &format!("// {text}"), &[]);
        check("broker-net/src/amqp/mod.rs", &text, &[&expect]);
    }

    #[test]
    fn a_pure_machine_has_no_clock_but_its_tests_and_its_driver_may() {
        let text = "let now = Instant::now();\n";
        let expect = "broker-core/src/model/q.rs:1: `Instant::now`: this is a pure machine";
        check("broker-core/src/model/q.rs", text, &[expect]);
        check("broker-core/src/shard/driver.rs", text, &[]);
        check("broker-core/src/model/q/tests.rs", text, &[]);
        check("broker-core/src/model/q.rs", &format!("#[cfg(test)]\nmod tests {{\n{text}}}\n"), &[]);
        check("broker-net/src/server.rs", text, &[]);
    }

    #[test]
    fn leftovers_are_found_in_tests_too() {
        for (word, reason) in BANNED {
            let text = format!("#[cfg(test)]\nmod tests {{\n{word}\n}}\n");
            check("a.rs", &text, &[&format!("a.rs:3: `{word}`: {reason}")]);
        }
        check("a.rs", &format!("{SLEEP}(d)\n"), &[&format!("a.rs:1: `{SLEEP}`: a sleep orders nothing")]);
        check("xtask/src/broker.rs", &format!("{SLEEP}(d)\n"), &[]);
    }
}
