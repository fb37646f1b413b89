//! Values of field tables, on the wire and in scripts. The letters are those that RabbitMQ reads and writes.
//!
//! In a script: `12` is a long-int, `12:l` has the letter `l`, `1.5:d` is a double, `12:T` a timestamp; `true`, `void`, `"text"` or
//! a bare word, `[1, a]` an array, `{name: value}` a table. `"text":x` is a byte array.

use std::fmt;

use anyhow::{Context, bail, ensure};

/// A value with the letter that says its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    /// One of the letters `bBsuIilLT` and the number.
    Integer(u8, i128),
    Float(f32),
    Double(f64),
    /// Scale and unscaled number.
    Decimal(u8, u32),
    /// One of the letters `Sx`.
    Text(u8, String),
    Array(Vec<Self>),
    Table(Table),
    Void,
}

/// Entries in the order of the wire.
pub(super) type Table = Vec<(String, Value)>;

/// Size in octets and signedness of an integer with this letter.
fn integer_form(letter: u8) -> Option<(usize, bool)> {
    Some(match letter {
        b'b' => (1, true),
        b'B' => (1, false),
        b's' => (2, true),
        b'u' => (2, false),
        b'I' => (4, true),
        b'i' => (4, false),
        b'l' | b'L' => (8, true),
        b'T' => (8, false),
        _ => return None,
    })
}

impl Value {
    /// Appends letter and value.
    pub(super) fn encode(&self, output: &mut Vec<u8>) -> anyhow::Result<()> {
        match self {
            Self::Bool(value) => output.extend([b't', u8::from(*value)]),
            Self::Integer(letter, value) => {
                let (size, _) = integer_form(*letter).context("not the letter of an integer")?;
                output.push(*letter);
                output.extend(&value.to_be_bytes()[16 - size..]);
            }
            Self::Float(value) => {
                output.push(b'f');
                output.extend(value.to_be_bytes());
            }
            Self::Double(value) => {
                output.push(b'd');
                output.extend(value.to_be_bytes());
            }
            Self::Decimal(scale, value) => {
                output.extend([b'D', *scale]);
                output.extend(value.to_be_bytes());
            }
            Self::Text(letter, text) => {
                output.push(*letter);
                output.extend(u32::try_from(text.len())?.to_be_bytes());
                output.extend(text.as_bytes());
            }
            Self::Array(values) => {
                let mut items = Vec::new();
                for value in values {
                    value.encode(&mut items)?;
                }
                output.push(b'A');
                output.extend(u32::try_from(items.len())?.to_be_bytes());
                output.extend(items);
            }
            Self::Table(table) => {
                output.push(b'F');
                encode_table(table, output)?;
            }
            Self::Void => output.push(b'V'),
        }
        Ok(())
    }

    fn decode(input: &mut Input<'_>) -> anyhow::Result<Self> {
        let letter = input.octet()?;
        if let Some((size, signed)) = integer_form(letter) {
            let mut octets = [0; 16];
            octets[16 - size..].copy_from_slice(input.take(size)?);
            let value = i128::from_be_bytes(octets);
            let shift = 128 - 8 * size;
            return Ok(Self::Integer(letter, if signed { value << shift >> shift } else { value }));
        }
        Ok(match letter {
            b't' => Self::Bool(input.octet()? != 0),
            b'f' => Self::Float(f32::from_be_bytes(input.take(4)?.try_into()?)),
            b'd' => Self::Double(f64::from_be_bytes(input.take(8)?.try_into()?)),
            b'D' => Self::Decimal(input.octet()?, u32::from_be_bytes(input.take(4)?.try_into()?)),
            b'S' | b'x' => Self::Text(letter, input.long_string()?),
            b'A' => {
                let mut items = Input(input.long_octets()?);
                let mut values = Vec::new();
                while !items.0.is_empty() {
                    values.push(Self::decode(&mut items)?);
                }
                Self::Array(values)
            }
            b'F' => Self::Table(decode_table(input)?),
            b'V' => Self::Void,
            _ => bail!("unknown letter {:?} in a field table", char::from(letter)),
        })
    }
}

/// Appends a table with its length.
pub(super) fn encode_table(table: &Table, output: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    for (name, value) in table {
        entries.push(u8::try_from(name.len())?);
        entries.extend(name.as_bytes());
        value.encode(&mut entries)?;
    }
    output.extend(u32::try_from(entries.len())?.to_be_bytes());
    output.extend(entries);
    Ok(())
}

/// Reads a table with its length.
pub(super) fn decode_table(input: &mut Input<'_>) -> anyhow::Result<Table> {
    let mut entries = Input(input.long_octets()?);
    let mut table = Vec::new();
    while !entries.0.is_empty() {
        table.push((entries.short_string()?, Value::decode(&mut entries)?));
    }
    Ok(table)
}

/// What is left to be read of a frame.
#[derive(Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, count: usize) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("the frame is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn octet(&mut self) -> anyhow::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn short(&mut self) -> anyhow::Result<u16> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into()?))
    }

    pub(super) fn long(&mut self) -> anyhow::Result<u32> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into()?))
    }

    pub(super) fn long_long(&mut self) -> anyhow::Result<u64> {
        Ok(u64::from_be_bytes(self.take(8)?.try_into()?))
    }

    pub(super) fn short_string(&mut self) -> anyhow::Result<String> {
        let length = self.octet()?;
        Ok(String::from_utf8_lossy(self.take(length.into())?).into_owned())
    }

    pub(super) fn long_string(&mut self) -> anyhow::Result<String> {
        Ok(String::from_utf8_lossy(self.long_octets()?).into_owned())
    }

    fn long_octets(&mut self) -> anyhow::Result<&'a [u8]> {
        let length = self.long()?;
        self.take(usize::try_from(length)?)
    }
}

impl fmt::Display for Value {
    /// As in a script; tables in the order of their names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(b'I', value) => write!(f, "{value}"),
            Self::Integer(letter, value) => write!(f, "{value}:{}", char::from(*letter)),
            Self::Float(value) => write!(f, "{value}:f"),
            Self::Double(value) => write!(f, "{value}:d"),
            Self::Decimal(scale, value) => write!(f, "{value}e-{scale}:D"),
            Self::Text(b'S', text) => write!(f, "{text:?}"),
            Self::Text(letter, text) => write!(f, "{text:?}:{}", char::from(*letter)),
            Self::Array(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Table(table) => f.write_str(&table_text(table)),
            Self::Void => f.write_str("void"),
        }
    }
}

/// A table as in a script, in the order of its names: brokers keep none.
pub(super) fn table_text(table: &Table) -> String {
    let mut entries: Vec<String> = table.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    entries.sort();
    format!("{{{}}}", entries.join(", "))
}

/// Reads a value of a script and returns it with the text behind it.
pub(super) fn parse(text: &str) -> anyhow::Result<(Value, &str)> {
    let text = text.trim_start();
    if let Some(rest) = text.strip_prefix('[') {
        return parse_array(rest);
    }
    if let Some(rest) = text.strip_prefix('{') {
        return parse_table(rest);
    }
    let quoted = text.starts_with('"');
    let (word, rest) = parse_text(text)?;
    let (letter, rest) = match rest.strip_prefix(':') {
        Some(after) if after.starts_with(|letter: char| letter.is_ascii_alphabetic()) => {
            (after.as_bytes().first().copied(), &after[1..])
        }
        _ => (None, rest),
    };
    let value = match letter {
        Some(b'f') => Value::Float(word.parse()?),
        Some(b'd') => Value::Double(word.parse()?),
        Some(letter @ (b'S' | b'x')) => Value::Text(letter, word),
        Some(letter) => {
            ensure!(integer_form(letter).is_some(), "no type has the letter {}", char::from(letter));
            Value::Integer(letter, word.parse()?)
        }
        None if quoted => Value::Text(b'S', word),
        None => match word.as_str() {
            "true" | "false" => Value::Bool(word == "true"),
            "void" => Value::Void,
            _ => word.parse().map_or_else(|_| Value::Text(b'S', word), |number| Value::Integer(b'I', number)),
        },
    };
    Ok((value, rest))
}

/// Reads a quoted text or a bare word.
fn parse_text(text: &str) -> anyhow::Result<(String, &str)> {
    if let Some(rest) = text.strip_prefix('"') {
        return parse_quoted(rest);
    }
    let end = text.find([',', ':', ']', '}']).unwrap_or(text.len());
    Ok((text[..end].trim_end().to_owned(), &text[end..]))
}

/// Reads what follows the quote, with the escapes of Rust's texts.
fn parse_quoted(rest: &str) -> anyhow::Result<(String, &str)> {
    let mut word = String::new();
    let mut letters = rest.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok((word, letters.as_str())),
            '\\' => word.push(match letters.next().context("nothing is behind a backslash")? {
                'n' => '\n',
                'r' => '\r',
                '0' => '\0',
                other => other,
            }),
            other => word.push(other),
        }
    }
    bail!("a quote is not closed")
}

fn parse_array(mut rest: &str) -> anyhow::Result<(Value, &str)> {
    let mut values = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(rest) = rest.strip_prefix(']') {
            return Ok((Value::Array(values), rest));
        }
        ensure!(!rest.is_empty(), "an array is not closed");
        let value;
        (value, rest) = parse(rest)?;
        values.push(value);
    }
}

fn parse_table(mut rest: &str) -> anyhow::Result<(Value, &str)> {
    let mut table = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((Value::Table(table), rest));
        }
        let (name, after) = parse_text(rest)?;
        let after = after.strip_prefix(':').context("a table is not closed, or a name in it has no value")?;
        let value;
        (value, rest) = parse(after)?;
        table.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_after_script_and_wire() {
        let text = "{a: 1, b: -5:l, c: true, d: \"x y\", e: [1, {f: void}], g: 1.5:d, h: 7:T, i: -1:b, j: \"z\":x, k: \"<<\\\"q\\\">>\"}";
        let (value, rest) = parse(text).unwrap();
        assert_eq!((value.to_string().as_str(), rest), (text, ""));
        let mut octets = Vec::new();
        value.encode(&mut octets).unwrap();
        assert_eq!(Value::decode(&mut Input(&octets)).unwrap(), value);
    }

    #[test]
    fn a_word_is_a_text() {
        assert_eq!(parse("~q, 1").unwrap(), (Value::Text(b'S', "~q".into()), ", 1"));
    }
}
