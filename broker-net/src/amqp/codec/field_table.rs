//! Checks a field table before anything parses it recursively.
//!
//! `amq-protocol` parses nested tables by recursion, so 100 KB of nested table would end the process by a stack overflow.
//! The walk here uses a stack of fixed size; what it accepts, `amq-protocol` parses.

use super::error::WireError;
use super::fields::Fields;

/// Tables and arrays that may be inside each other, the outermost counted. RabbitMQ's own deepest is 3 (`x-death`).
pub const MAX_TABLE_DEPTH: usize = 32;

/// A table or array that is being walked.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// Octets of the payload before its end.
    end: usize,
    /// Its values have names.
    table: bool,
}

/// Reads a whole field table: four octets of length, then the entries. Returns its octets, length included.
pub(super) fn read<'a>(fields: &mut Fields<'a>) -> Result<&'a [u8], WireError> {
    let start = *fields;
    let mut levels = [Level::default(); MAX_TABLE_DEPTH];
    let mut depth = 0;
    descend(fields, &mut levels, &mut depth, true, usize::MAX)?;
    while let Some(level) = depth.checked_sub(1).and_then(|innermost| levels.get(innermost)).copied() {
        if fields.offset() == level.end {
            depth -= 1;
            continue;
        }
        if level.table {
            fields.short_string()?;
        }
        let offset = fields.offset();
        match value_size(fields)? {
            ValueSize::Fixed(size) => {
                fields.bytes(size)?;
            }
            ValueSize::Long => {
                fields.long_bytes()?;
            }
            ValueSize::Nested { table } => descend(fields, &mut levels, &mut depth, table, level.end)?,
        }
        if fields.offset() > level.end {
            return Err(WireError::Truncated {
                offset,
                need: fields.offset() - offset,
                have: level.end.saturating_sub(offset),
            });
        }
    }
    let length = fields.offset() - start.offset();
    Ok(start.rest().get(..length).unwrap_or_default())
}

/// Enters the table or array whose length is the next field.
fn descend(
    fields: &mut Fields<'_>,
    levels: &mut [Level; MAX_TABLE_DEPTH],
    depth: &mut usize,
    table: bool,
    limit: usize,
) -> Result<(), WireError> {
    let offset = fields.offset();
    let length = fields.u32()? as usize;
    let have = fields.rest().len().min(limit.saturating_sub(fields.offset()));
    if length > have {
        return Err(WireError::Truncated { offset, need: length, have });
    }
    let level = levels.get_mut(*depth).ok_or(WireError::TableTooDeep { offset })?;
    *level = Level { end: fields.offset() + length, table };
    *depth += 1;
    Ok(())
}

enum ValueSize {
    Fixed(usize),
    /// Four octets of length, then as many octets.
    Long,
    Nested {
        table: bool,
    },
}

/// Reads the letter of a value's type. These are the letters that RabbitMQ and its clients use; the table in
/// the 0-9-1 specification (section 4.2.1) has others, which nobody sends.
fn value_size(fields: &mut Fields<'_>) -> Result<ValueSize, WireError> {
    let offset = fields.offset();
    Ok(match fields.u8()? {
        b'V' => ValueSize::Fixed(0),
        b't' | b'b' | b'B' => ValueSize::Fixed(1),
        b's' | b'U' | b'u' => ValueSize::Fixed(2),
        b'I' | b'i' | b'f' => ValueSize::Fixed(4),
        b'D' => ValueSize::Fixed(5),
        b'L' | b'l' | b'd' | b'T' => ValueSize::Fixed(8),
        b'S' | b'x' => ValueSize::Long,
        b'A' => ValueSize::Nested { table: false },
        b'F' => ValueSize::Nested { table: true },
        _ => return Err(WireError::BadField { offset }),
    })
}
