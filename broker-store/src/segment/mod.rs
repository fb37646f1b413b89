//! The bytes of a segment: records, the index that is written when a segment is sealed, and the scan that
//! rebuilds it. Everything here works on slices and knows no file.

pub(crate) mod format;
pub(crate) mod index;
pub(crate) mod scan;
