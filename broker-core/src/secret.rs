//! Passwords, which are never shown.

use std::fmt;

/// A password. What is printed of it is a row of asterisks; [`expose`](Self::expose) is the only way to it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"********\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let printed = format!("{:?}", Secret::from("swordfish"));
        assert!(!printed.contains("swordfish"), "{printed}");
        assert_eq!(Secret::from("swordfish").expose(), b"swordfish");
    }
}
