//! Keys with which signatures are checked.

use std::collections::HashMap;
use std::fmt;

use api::gloo::auth_config::jwks::{Algorithm, KeySet, Numbers, PublicKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// Of keys with one name so many are tried.
const MOST_NAMESAKES: usize = 4;

/// Keys by name.
pub struct Keys(HashMap<String, Vec<PublicKey>>);

/// What came of checking a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// One of the keys made it.
    Good,
    /// None of them did.
    Wrong,
    /// No key has that name.
    Unknown,
}

impl Keys {
    /// The keys of `set`.
    pub fn of(set: KeySet) -> Keys {
        let mut keys: HashMap<String, Vec<PublicKey>> = HashMap::new();
        for key in set.keys {
            let namesakes = keys.entry(key.kid.clone()).or_default();
            if namesakes.len() < MOST_NAMESAKES {
                namesakes.push(key);
            }
        }
        Keys(keys)
    }

    /// Whether `signature` is one of `message`, made by the key called `kid` in a way that this key is for.
    pub fn check(&self, kid: &str, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Checked {
        let Some(named) = self.0.get(kid) else { return Checked::Unknown };
        let mut fitting = named.iter().filter(|key| key.algorithms.contains(&algorithm));
        match fitting.any(|key| made(key, algorithm, message, signature)) {
            true => Checked::Good,
            false => Checked::Wrong,
        }
    }
}

fn made(key: &PublicKey, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    let rsa = |parameters: &RsaParameters| match &key.numbers {
        Numbers::Rsa(n, e) => RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok(),
        Numbers::P256(_) | Numbers::P384(_) | Numbers::Ed25519(_) => false,
    };
    match (algorithm, &key.numbers) {
        (Algorithm::Rs256, _) => rsa(&RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::Rs384, _) => rsa(&RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::Rs512, _) => rsa(&RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::Ps256, _) => rsa(&RSA_PSS_2048_8192_SHA256),
        (Algorithm::Ps384, _) => rsa(&RSA_PSS_2048_8192_SHA384),
        (Algorithm::Ps512, _) => rsa(&RSA_PSS_2048_8192_SHA512),
        (Algorithm::Es256, Numbers::P256(point)) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
        }
        (Algorithm::Es384, Numbers::P384(point)) => {
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
        }
        (Algorithm::EdDsa, Numbers::Ed25519(point)) => {
            UnparsedPublicKey::new(&ED25519, point).verify(message, signature).is_ok()
        }
        (Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa, _) => false,
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}
