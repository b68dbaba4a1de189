//! The names counters go by.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A counter's name, whatever the window: a digest of the rule and of the values it counts apart.
///
/// 128 bits of BLAKE3 over length-prefixed parts: no choice of keys, values or
/// units makes two rules, or two callers of one rule, share a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterId(pub u128);

impl CounterId {
    /// In place of a rule, where a request brought its own limit.
    pub const NO_RULE: CounterId = CounterId(0);

    /// Appends its text: 22 letters, digits, `-` and `_`.
    pub fn write(self, text: &mut String) {
        URL_SAFE_NO_PAD.encode_string(self.0.to_be_bytes(), text);
    }

    /// The id whose text this is.
    pub fn read(text: &str) -> Option<CounterId> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(CounterId(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Display for CounterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.pad(&text)
    }
}

/// The counter that goes by `parts`, each of whatever length, told apart from all others.
pub fn digest(parts: impl FnOnce(&mut dyn FnMut(&[u8]))) -> CounterId {
    let mut hasher = blake3::Hasher::new();
    parts(&mut |part| {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    });
    finish(&hasher)
}

/// The digest's first 128 bits.
pub fn finish(hasher: &blake3::Hasher) -> CounterId {
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    CounterId(u128::from_le_bytes(bytes))
}
