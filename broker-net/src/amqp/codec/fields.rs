//! A cursor over the fields of a payload.

use super::error::WireError;

/// The fields that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    /// Octets of the payload before `rest`.
    offset: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload, offset: 0 }
    }

    /// Octets read so far.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.truncated(count))?;
        self.rest = rest;
        self.offset += count;
        Ok(bytes)
    }

    /// A short string: one octet of length, then text.
    pub(super) fn short_string(&mut self) -> Result<&'a str, WireError> {
        let offset = self.offset;
        let bytes = self.short_bytes()?;
        std::str::from_utf8(bytes).map_err(|_| WireError::NotUtf8 { offset })
    }

    /// A short string of which the broker looks at the length only.
    pub(super) fn short_bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u8()?;
        self.bytes(length.into())
    }

    /// What a long string, table, array or byte array holds: four octets of length, then as many octets.
    pub(super) fn long_bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u32()?;
        // On a target where this does not fit, such a length would not fit the payload either.
        self.bytes(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Everything must have been read.
    pub(super) fn finish(self) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            have => Err(WireError::TrailingBytes { offset: self.offset, have }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.truncated(N))?;
        self.rest = rest;
        self.offset += N;
        Ok(*array)
    }

    #[cold]
    fn truncated(&self, need: usize) -> WireError {
        WireError::Truncated { offset: self.offset, need, have: self.rest.len() }
    }
}
