//! What browsers keep for us: sealed, so that nobody but us can read or make it, and each seal for one purpose of one AuthConfig.
//!
//! A text that is sealed for one AuthConfig, provider or client opens for no other, whoever has written that one: their keys are
//! derived from all of these.

use std::fmt;
use std::sync::Arc;

use api::Redacted;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use zeroize::Zeroizing;

/// The form of what is sealed. Another one is another byte.
const FORM: u8 = 1;
/// A shorter key can be guessed.
const SHORTEST: usize = 32;

/// A key of the operator's.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Arc<Redacted>);

impl SigningKey {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<SigningKey, String> {
        match text.len() >= SHORTEST {
            true => Ok(SigningKey(Arc::new(Redacted::new(text)))),
            false => Err(format!("is too short: write at least {SHORTEST} characters that nobody can guess")),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// What is sealed with where an AuthConfig has no key of its own.
#[derive(Debug, Clone)]
pub struct Signing {
    key: SigningKey,
    /// Whether it is of this process alone, and gone with it.
    pub fleeting: bool,
}

impl Signing {
    /// The operator's key, or one that nobody else has.
    pub fn with(key: Option<&SigningKey>) -> Signing {
        match key {
            Some(key) => Signing { key: key.clone(), fleeting: false },
            None => {
                let made = Zeroizing::new(rand::random::<[u8; 32]>());
                Signing { key: SigningKey(Arc::new(Redacted::new(made.to_vec()))), fleeting: true }
            }
        }
    }

    /// Its bytes.
    pub fn expose(&self) -> &[u8] {
        self.key.0.expose()
    }
}

/// Seals and opens for one purpose.
pub struct Seals {
    sealing: LessSafeKey,
    binding: hmac::Key,
}

impl Seals {
    /// Of the key `master`, for what `parts` say together; none by a fault of the library's.
    pub fn of(master: &[u8], parts: &[&str]) -> Option<Seals> {
        let secret = Salt::new(HKDF_SHA256, b"waykeeper oidc 1").extract(master);
        let derived = |purpose: &[u8]| -> Option<Zeroizing<[u8; 32]>> {
            let mut info: Vec<u8> = purpose.to_vec();
            for part in parts {
                // By their lengths no two lists of parts are the same bytes.
                info.extend_from_slice(&u64::try_from(part.len()).ok()?.to_be_bytes());
                info.extend_from_slice(part.as_bytes());
            }
            let mut key = Zeroizing::new([0; 32]);
            secret.expand(&[&info], HKDF_SHA256).ok()?.fill(&mut *key).ok()?;
            Some(key)
        };
        let sealing = UnboundKey::new(&AES_256_GCM, &*derived(b"seal")?).ok()?;
        let binding = hmac::Key::new(hmac::HMAC_SHA256, &*derived(b"bind")?);
        Some(Seals { sealing: LessSafeKey::new(sealing), binding })
    }

    /// `text`, sealed for whoever shows `beside` as well.
    pub fn seal(&self, text: &[u8], beside: &[u8]) -> Option<String> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len() + AES_256_GCM.tag_len());
        sealed.push(FORM);
        sealed.extend_from_slice(&nonce);
        let mut hidden = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.sealing.seal_in_place_append_tag(nonce, Aad::from(beside), &mut hidden).ok()?;
        sealed.append(&mut hidden);
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What was sealed, if it was, here and so.
    pub fn open(&self, sealed: &str, beside: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (form, rest) = bytes.split_first()?;
        let (nonce, hidden) = rest.split_at_checked(NONCE_LEN)?;
        if *form != FORM {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut hidden = Zeroizing::new(hidden.to_vec());
        let length = self.sealing.open_in_place(nonce, Aad::from(beside), &mut hidden).ok()?.len();
        hidden.truncate(length);
        Some(hidden)
    }

    /// A text that only we can make of `parts`.
    pub fn bound(&self, parts: &[&[u8]]) -> String {
        let mut context = hmac::Context::with_key(&self.binding);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        URL_SAFE_NO_PAD.encode(context.sign())
    }
}

impl fmt::Debug for Seals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seals")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_sealed_opens_for_the_same_purpose_and_no_other() {
        let seals = |master: &[u8], parts: &[&str]| Seals::of(master, parts).unwrap();
        let ours = seals(b"key", &["t.login", "https://idp", "client"]);
        let sealed = ours.seal(b"canary", b"beside").unwrap();
        assert!(!sealed.contains("canary") && sealed != ours.seal(b"canary", b"beside").unwrap());
        assert_eq!(ours.open(&sealed, b"beside").unwrap().as_slice(), b"canary");
        assert!(ours.open(&sealed, b"besides").is_none());
        for other in [
            seals(b"kez", &["t.login", "https://idp", "client"]),
            seals(b"key", &["t.other", "https://idp", "client"]),
            seals(b"key", &["t.login", "https://idp", "clienu"]),
            seals(b"key", &["t.loginh", "ttps://idp", "client"]),
            seals(b"key", &["t.login", "https://idp"]),
        ] {
            assert!(other.open(&sealed, b"beside").is_none());
            assert_ne!(other.bound(&[b"a"]), ours.bound(&[b"a"]));
        }
        assert_ne!(ours.bound(&[b"ab", b"c"]), ours.bound(&[b"a", b"bc"]));
        assert_eq!(format!("{ours:?} {:?}", Signing::with(None)), "Seals Signing { key: SigningKey, fleeting: true }");
    }

    #[test]
    fn keys_that_can_be_guessed_are_refused() {
        assert!(SigningKey::parse(&"x".repeat(31)).is_err() && SigningKey::parse(&"x".repeat(32)).is_ok());
        let key = SigningKey::parse(&"canary".repeat(6)).unwrap();
        let signing = Signing::with(Some(&key));
        assert!(!signing.fleeting && !format!("{signing:?}").contains("canary"));
        assert_ne!(Signing::with(None).expose(), Signing::with(None).expose());
    }

    proptest! {
        #[test]
        fn whatever_is_changed_does_not_open(at in 0_usize..200, to in any::<u8>(), cut in 0_usize..200) {
            let seals = Seals::of(b"key", &["a"]).unwrap();
            let sealed = seals.seal(b"a text of some length that is sealed", b"").unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
            let at = at % bytes.len();
            let same = bytes[at] == to;
            bytes[at] = to;
            prop_assert_eq!(seals.open(&URL_SAFE_NO_PAD.encode(&bytes), b"").is_some(), same);
            let cut = cut % sealed.len();
            prop_assert!(seals.open(&sealed[..cut], b"").is_none());
        }
    }
}
