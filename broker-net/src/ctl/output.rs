//! What is printed: words about what is being done, and tables in the formats of rabbitmqctl.

use std::io::{self, BufWriter, StdoutLock, Write};

use clap::ValueEnum;
use serde_json::{Map, Value};

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
    talks: bool,
    headers: bool,
}

impl Printer {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            out: BufWriter::new(io::stdout().lock()),
            formatter: options.formatter,
            talks: !options.quiet && !options.silent && options.formatter != Formatter::Json,
            headers: !options.silent && !options.no_table_headers,
        }
    }

    /// A word about what is being done, unless nobody wants to hear it. It is printed at once.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        if self.talks {
            writeln!(self.out, "{text}")?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Something that was asked for.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
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
    let texts = || rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>());
    match formatter {
        Formatter::Table | Formatter::Tsv => {
            let head = (headers && !rows.is_empty()).then(|| columns.to_vec());
            head.into_iter().chain(texts()).map(|row| row.join("\t") + "\n").collect()
        }
        Formatter::Csv => {
            let quoted = |row: Vec<String>| {
                let cells: Vec<String> =
                    row.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
                cells.join(",") + "\n"
            };
            headers.then(|| columns.to_vec()).into_iter().chain(texts()).map(quoted).collect()
        }
        Formatter::Json => {
            let object = |row: &Vec<Value>| -> Value {
                columns.iter().cloned().zip(row.iter().cloned()).collect::<Map<_, _>>().into()
            };
            let objects: Vec<String> = rows.iter().map(|row| object(row).to_string()).collect();
            format!("[\n{}\n]\n", objects.join("\n,"))
        }
        Formatter::PrettyTable => pretty(columns, &texts().collect::<Vec<_>>()),
    }
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
    let body: String = rows.iter().map(|row| line(row)).collect();
    [rule("┌", "┬", "┐"), line(columns), rule("├", "┼", "┤"), body, rule("└", "┴", "┘")].concat()
}

/// A value as tables show it: lists as `[a, b]`, nothing for null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace(['\t', '\n', '\r'], " "),
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        let json = "[\n{\"tags\":[\"a\",\"b\"],\"user\":\"guest\"}\n,{\"tags\":null,\"user\":\"u\"}\n]\n";
        check(Formatter::Json, true, json);
        let pretty = "┌───────┬────────┐\n│ user  │ tags   │\n├───────┼────────┤\n\
                      │ guest │ [a, b] │\n│ u     │        │\n└───────┴────────┘\n";
        check(Formatter::PrettyTable, true, pretty);
    }

    #[test]
    fn a_table_without_rows_has_no_header() {
        assert_eq!(render(Formatter::Table, true, &["a".to_owned()], &[]), "");
    }
}
