//! Keys as keyed hashes: what is kept of a key tells nothing about it.
//!
//! The hash key is random and of this process alone, so neither a memory dump
//! of the index nor the timing of a lookup helps to guess an API key.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Turns keys into fingerprints.
pub struct Hasher(Zeroizing<[u8; 32]>);

impl Hasher {
    /// A hasher with a fresh random key.
    pub fn new() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// The fingerprint of `key`.
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        Fingerprint(*blake3::keyed_hash(&self.0, key).as_bytes())
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

/// A keyed hash of an API key. Comparison takes the same time whatever it finds.
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 32]);

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Fingerprint {}

impl std::hash::Hash for Fingerprint {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_have_equal_fingerprints_under_one_hasher_only() {
        let (one, other) = (Hasher::new(), Hasher::new());
        assert_eq!(one.fingerprint(b"mykey"), one.fingerprint(b"mykey"));
        assert_ne!(one.fingerprint(b"mykey"), one.fingerprint(b"mykez"));
        assert_ne!(one.fingerprint(b"mykey"), other.fingerprint(b"mykey"));
    }
}
