//! Keyed hashes: what is kept of a key or password tells nothing about it.
//!
//! The hash key is random and of this process alone, so that neither a memory dump nor the timing
//! of a comparison helps to guess what was hashed. It is the only thing in this crate that is not
//! the same in every process, and it shows nowhere: fingerprints are compared and never printed.

use std::fmt;
use std::sync::LazyLock;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The hash key of this process.
static KEY: LazyLock<Zeroizing<[u8; 32]>> = LazyLock::new(|| Zeroizing::new(rand::random()));

/// A keyed hash. Comparison takes the same time whatever it finds.
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `secret`; in another process it is another one.
    pub fn of(secret: &[u8]) -> Self {
        Self::keyed(&KEY, secret)
    }

    /// A hasher under the key of fingerprints: for what is hashed piece by piece and may hold secrets.
    pub fn hasher() -> blake3::Hasher {
        blake3::Hasher::new_keyed(&KEY)
    }

    fn keyed(key: &[u8; 32], secret: &[u8]) -> Self {
        Self(*blake3::keyed_hash(key, secret).as_bytes())
    }
}

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
    fn equal_secrets_have_equal_fingerprints_under_one_key_only() {
        assert_eq!(Fingerprint::of(b"mykey"), Fingerprint::of(b"mykey"));
        assert_ne!(Fingerprint::of(b"mykey"), Fingerprint::of(b"mykez"));
        assert_ne!(Fingerprint::keyed(&[1; 32], b"mykey"), Fingerprint::keyed(&[2; 32], b"mykey"));
        assert_eq!(format!("{:?}", Fingerprint::of(b"mykey")), "Fingerprint");
    }
}
