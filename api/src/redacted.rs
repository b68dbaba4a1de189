//! Secret material that cannot be printed by accident.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that print as `[redacted]` and are wiped when dropped.
///
/// [`Redacted::expose`] is the only way to the bytes; it is meant to be found by grep.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(Zeroizing<Vec<u8>>);

impl Redacted {
    /// Takes ownership of `bytes`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves. Do not log, format or store what this returns.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl serde::Serialize for Redacted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}
