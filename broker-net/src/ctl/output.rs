//! What is printed: words about what is being done, and tables in the formats of rabbitmqctl.

use std::io::{self, BufWriter, StdoutLock, Write};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::Options;

/// How a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Formatter {
    /// Columns between tabs
    Table,
    /// The same, under another name
    Tsv,
    /// Columns in quotes between commas
    Csv,
    /// An array of objects
    Json,
    /// A table with lines around it
    #[value(name = "pretty_table")]
    PrettyTable,
}

/// Prints to standard output.
#[derive(Debug)]
pub(super) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    formatter: Formatter,
    quiet: bool,
    silent: bool,
    headers: bool,
}

impl Printer {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            out: BufWriter::new(io::stdout().lock()),
            formatter: options.formatter,
            quiet: options.quiet || options.silent,
            silent: options.silent,
            headers: !options.silent && !options.no_table_headers,
        }
    }

    /// Whether everything is printed as JSON.
    pub(super) fn is_json(&self) -> bool {
        self.formatter == Formatter::Json
    }

    /// A word about what is being done, unless nobody wants to hear it or a program reads. It is printed at once.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        if !self.quiet && matches!(self.formatter, Formatter::Table | Formatter::PrettyTable) {
            writeln!(self.out, "{text}")?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// What came of it.
    pub(super) fn message(&mut self, text: &str) -> io::Result<()> {
        match self.formatter {
            Formatter::Json => writeln!(self.out, "{}", json!({"message": text})),
            _ if self.silent => Ok(()),
            _ => writeln!(self.out, "{text}"),
        }
    }

    /// Something that was asked for.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// An empty line, where a table of people has no rows.
    pub(super) fn nothing(&mut self) -> io::Result<()> {
        if !self.silent && self.formatter == Formatter::Table { writeln!(self.out) } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Rows with a value for each column.
    pub(super) fn table(&mut self, columns: &[String], rows: &[Vec<Value>]) -> io::Result<()> {
        self.out.write_all(render(self.formatter, self.headers, columns, rows).as_bytes())
    }
}

fn render(formatter: Formatter, headers: bool, columns: &[String], rows: &[Vec<Value>]) -> String {
    if rows.is_empty() && formatter != Formatter::Json {
        return String::new();
    }
    let texts = || rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>());
    let head = || headers.then(|| columns.to_vec()).into_iter();
    match formatter {
        Formatter::Table | Formatter::Tsv => head().chain(texts()).map(|row| row.join("\t") + "\n").collect(),
        Formatter::Csv => {
            let quoted = |row: Vec<String>| {
                let cells: Vec<String> =
                    row.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
                cells.join(",") + "\n"
            };
            head().chain(texts()).map(quoted).collect()
        }
        Formatter::Json => {
            let objects: Vec<String> = rows.iter().map(|row| object(columns, row)).collect();
            let rows = objects.join("\n,");
            if rows.is_empty() { "[\n]\n".to_owned() } else { format!("[\n{rows}\n]\n") }
        }
        Formatter::PrettyTable => pretty(columns, &texts().collect::<Vec<_>>()),
    }
}

/// An object with its members in the order of the columns. What is not there is empty, as rabbitmqctl has it.
fn object(columns: &[String], row: &[Value]) -> String {
    let member = |(column, value): (&String, &Value)| {
        let value = if value.is_null() { &Value::from("") } else { value };
        format!("{}:{value}", Value::from(column.as_str()))
    };
    let members: Vec<String> = columns.iter().zip(row).map(member).collect();
    format!("{{{}}}", members.join(","))
}

fn pretty(columns: &[String], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(columns.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let rule = |left: &str, middle: &str, right: &str| {
        let lines: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", lines.join(middle))
    };
    let line = |row: &[String]| {
        let pad =
            |(cell, width): (&String, &usize)| format!(" {cell}{} ", " ".repeat(width - cell.chars().count()));
        let cells: Vec<String> = row.iter().zip(&widths).map(pad).collect();
        format!("│{}│\n", cells.join("│"))
    };
    let between = rule("├", "┼", "┤");
    let body: Vec<String> = rows.iter().map(|row| line(row)).collect();
    [rule("┌", "┬", "┐"), line(columns), between.clone(), body.join(&between), rule("└", "┴", "┘")].concat()
}

/// A value as tables show it: lists as `[a, b]`, tables as Erlang prints them, nothing for null.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape(text),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            format!("[{}]", items.iter().map(cell).collect::<Vec<_>>().join(", "))
        }
        other => term(other),
    }
}

/// A value as Erlang prints it.
fn term(value: &Value) -> String {
    match value {
        Value::Null => "undefined".to_owned(),
        Value::String(text) => format!("\"{}\"", escape(text).replace('"', "\\\"")),
        Value::Array(items) => format!("[{}]", items.iter().map(term).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let pair = |(name, value): (&String, &Value)| format!("{{\"{}\",{}}}", escape(name), term(value));
            format!("[{}]", members.iter().map(pair).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// A row stays on its line and a cell between its tabs.
fn escape(text: &str) -> String {
    text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(formatter: Formatter, headers: bool, expect: &str) {
        let columns = ["user", "tags"].map(str::to_owned);
        let rows = [vec![json!("guest"), json!(["a", "b"])], vec![json!("u"), json!(null)]];
        assert_eq!(render(formatter, headers, &columns, &rows), expect);
    }

    #[test]
    fn tables_are_rabbitmqctls() {
        check(Formatter::Table, true, "user\ttags\nguest\t[a, b]\nu\t\n");
        check(Formatter::Table, false, "guest\t[a, b]\nu\t\n");
        check(Formatter::Csv, true, "\"user\",\"tags\"\n\"guest\",\"[a, b]\"\n\"u\",\"\"\n");
        let json = "[\n{\"user\":\"guest\",\"tags\":[\"a\",\"b\"]}\n,{\"user\":\"u\",\"tags\":\"\"}\n]\n";
        check(Formatter::Json, true, json);
        let pretty = "┌───────┬────────┐\n│ user  │ tags   │\n├───────┼────────┤\n\
                      │ guest │ [a, b] │\n├───────┼────────┤\n│ u     │        │\n└───────┴────────┘\n";
        check(Formatter::PrettyTable, true, pretty);
    }

    #[test]
    fn a_table_without_rows_is_nothing_but_an_array_is_empty() {
        let columns = ["a".to_owned()];
        let empty = |formatter| render(formatter, true, &columns, &[]);
        assert_eq!([Formatter::Table, Formatter::Csv, Formatter::PrettyTable].map(empty), ["", "", ""]);
        assert_eq!(empty(Formatter::Json), "[\n]\n");
    }

    #[test]
    fn arguments_are_printed_as_erlang_prints_them() {
        let value = json!({"b": true, "k": 1, "l": "s\t", "t": {"u": 2}, "a": [1, "z"], "d": 0.5});
        let expect = r#"[{"a",[1,"z"]},{"b",true},{"d",0.5},{"k",1},{"l","s\t"},{"t",[{"u",2}]}]"#;
        assert_eq!(cell(&value), expect);
        assert_eq!(cell(&json!({})), "[]");
        assert_eq!(cell(&json!([])), "[]");
        assert_eq!(cell(&json!("a\tb\nc")), "a\\tb\\nc");
    }
}
