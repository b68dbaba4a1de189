//! A JSON Web Key Set (RFC 7517): the keys in it with which signatures of tokens can be checked.
//!
//! What a key may check is said by the key, never by a token.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::json;

/// A larger set is not read.
pub const MOST_BYTES: usize = 512 * 1024;
/// More keys than this are not read.
const MOST_KEYS: usize = 256;
/// A longer name is none.
const LONGEST_KID: usize = 1024;
/// Bits of the modulus of an RSA key.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// How a token is signed (RFC 7518, RFC 8037, RFC 9864). Nothing that whoever checks could also sign with is among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};

impl Algorithm {
    /// The one that is called so in a token or a key.
    pub fn named(name: &str) -> Option<Algorithm> {
        Some(match name {
            "RS256" => Rs256,
            "RS384" => Rs384,
            "RS512" => Rs512,
            "PS256" => Ps256,
            "PS384" => Ps384,
            "PS512" => Ps512,
            "ES256" => Es256,
            "ES384" => Es384,
            "EdDSA" | "Ed25519" => EdDsa,
            _ => return None,
        })
    }
}

/// The numbers of a public key.
#[derive(Clone, PartialEq, Eq)]
pub enum Numbers {
    /// Modulus and exponent, without zeros in front.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point on P-256, uncompressed.
    P256(Vec<u8>),
    /// A point on P-384, uncompressed.
    P384(Vec<u8>),
    /// A point on Curve25519.
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Numbers::Rsa(..) => "Rsa",
            Numbers::P256(_) => "P256",
            Numbers::P384(_) => "P384",
            Numbers::Ed25519(_) => "Ed25519",
        })
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its name, by which a token says who signed it.
    pub kid: String,
    /// Its numbers.
    pub numbers: Numbers,
    /// What it checks.
    pub algorithms: Vec<Algorithm>,
}

/// The keys of a set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySet {
    /// Those that can be used.
    pub keys: Vec<PublicKey>,
    /// Why others cannot, each with its place in the list.
    pub ignored: Vec<(usize, &'static str)>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// Why it is none. A key that cannot be used is ignored.
    pub fn parse(text: &[u8]) -> Result<KeySet, &'static str> {
        if text.len() > MOST_BYTES {
            return Err("has more than 512 KiB");
        }
        let mut set = json::unique_object(text)?;
        let Some(Value::Array(written)) = set.remove("keys") else { return Err("has no list called keys") };
        if written.len() > MOST_KEYS {
            return Err("has more than 256 keys");
        }
        let mut read = KeySet::default();
        for (index, key) in written.iter().enumerate() {
            let key = key.as_object().ok_or("has a key that is no mapping")?;
            match public_key(key) {
                Ok(key) => read.keys.push(key),
                Err(why) => read.ignored.push((index, why)),
            }
        }
        Ok(read)
    }
}

/// Whoever reads the set can sign with it.
pub(crate) const PRIVATE: &str =
    "is a private key, which everybody who reads it could sign with: make a new one, and write its public part alone";

/// So can whoever reads this one.
pub(crate) const SHARED: &str = "is a shared secret, with which whoever checks tokens could also sign them";

fn public_key(key: &Map<String, Value>) -> Result<PublicKey, &'static str> {
    if ["d", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|part| key.contains_key(*part)) {
        return Err(PRIVATE);
    }
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let kid = text("kid").filter(|kid| !kid.is_empty() && kid.len() <= LONGEST_KID);
    let kid = kid.ok_or("has no kid, so that no token names it")?.to_owned();
    if key.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err("is not for signatures: its use is not sig");
    }
    let verifies = |operations: &Value| operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
    if !key.get("key_ops").is_none_or(verifies) {
        return Err("is not for checking signatures: its key_ops have no verify");
    }
    let number = |name: &str| -> Result<Vec<u8>, &'static str> {
        let read = text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        read.filter(|bytes| !bytes.is_empty()).ok_or("has a number that is missing or is not base64url")
    };
    let point = |length: usize| -> Result<Vec<u8>, &'static str> {
        let (x, y) = (number("x")?, number("y")?);
        if (x.len(), y.len()) != (length, length) {
            return Err("has a point of another length than its curve has");
        }
        Ok([&[4][..], &x, &y].concat())
    };
    let (numbers, fits): (Numbers, &[Algorithm]) = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => {
            let without_zeros = |bytes: Vec<u8>| bytes.into_iter().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
            let (modulus, exponent) = (without_zeros(number("n")?), without_zeros(number("e")?));
            let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
            if !RSA_BITS.contains(&bits) {
                return Err("is of RSA and has fewer than 2048 bits or more than 8192");
            }
            // 1 would let everything through.
            if exponent.len() > 4 || exponent.last().is_none_or(|last| last % 2 == 0) || exponent == [1] {
                return Err("is of RSA and has an exponent that no key has");
            }
            (Numbers::Rsa(modulus, exponent), &[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512])
        }
        (Some("EC"), Some("P-256")) => (Numbers::P256(point(32)?), &[Es256]),
        (Some("EC"), Some("P-384")) => (Numbers::P384(point(48)?), &[Es384]),
        (Some("OKP"), Some("Ed25519")) => {
            let x = number("x")?;
            if x.len() != 32 {
                return Err("has a point of another length than its curve has");
            }
            (Numbers::Ed25519(x), &[EdDsa])
        }
        (Some("oct"), _) => return Err(SHARED),
        _ => return Err("is of a kind that is not used: RSA, EC with P-256 or P-384, and OKP with Ed25519 are"),
    };
    let algorithms = match key.get("alg") {
        None => fits.to_vec(),
        Some(named) => match named.as_str().and_then(Algorithm::named).filter(|named| fits.contains(named)) {
            Some(named) => vec![named],
            None => return Err("has an alg that is not used or does not fit its kind"),
        },
    };
    Ok(PublicKey { kid, numbers, algorithms })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    /// `count` bytes that begin with `first`.
    fn bytes(first: u8, count: usize) -> String {
        let mut bytes = vec![7; count];
        bytes[0] = first;
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn with(mut key: Value, more: &Value) -> Value {
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    }

    fn rsa(more: &Value) -> Value {
        with(json!({"kty": "RSA", "kid": "a", "n": bytes(0x80, 256), "e": "AQAB"}), more)
    }

    fn ec(more: &Value) -> Value {
        with(json!({"kty": "EC", "crv": "P-256", "kid": "a", "x": bytes(1, 32), "y": bytes(1, 32)}), more)
    }

    fn read(key: &Value) -> Result<PublicKey, &'static str> {
        let set = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes())?;
        match set.ignored.first() {
            Some((0, why)) => Err(why),
            _ => Ok(set.keys[0].clone()),
        }
    }

    #[test]
    fn no_part_of_a_private_key_is_read_and_no_exponent_is_even_or_one() {
        for part in ["d", "p", "q", "dp", "dq", "qi", "oth"] {
            assert_eq!(read(&rsa(&json!({part: "AQAB"}))).unwrap_err(), PRIVATE, "{part}");
        }
        let exponent = |bytes: &[u8]| read(&rsa(&json!({"e": URL_SAFE_NO_PAD.encode(bytes)}))).map(drop);
        for right in [&[3][..], &[1, 0, 1], &[0, 1, 0, 1], &[2, 3], &[255, 255, 255, 255]] {
            assert_eq!(exponent(right), Ok(()), "{right:?}");
        }
        for wrong in [&[][..], &[0], &[1], &[0, 1], &[2], &[3, 2], &[1, 0, 0, 0, 1]] {
            assert!(exponent(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_says_what_it_checks() {
        let all = [Rs256, Rs384, Rs512, Ps256, Ps384, Ps512];
        assert_eq!(read(&rsa(&json!({}))).unwrap().algorithms, all);
        assert_eq!(read(&rsa(&json!({"alg": "PS384", "use": "sig"}))).unwrap().algorithms, [Ps384]);
        assert_eq!(read(&ec(&json!({"key_ops": ["verify"]}))).unwrap().algorithms, [Es256]);
        let larger = json!({"crv": "P-384", "x": bytes(1, 48), "y": bytes(0, 48), "alg": "ES384"});
        assert_eq!(read(&ec(&larger)).unwrap().algorithms, [Es384]);
        let edwards = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": bytes(1, 32)});
        assert_eq!(read(&edwards).unwrap().algorithms, [EdDsa]);
        assert_eq!(read(&with(edwards, &json!({"alg": "Ed25519"}))).unwrap().algorithms, [EdDsa]);
        // Zeros in front are not part of a number.
        let padded = rsa(&json!({"n": URL_SAFE_NO_PAD.encode([&[0][..], &[0x80; 256]].concat())}));
        assert_eq!(read(&padded).unwrap().numbers, Numbers::Rsa(vec![0x80; 256], vec![1, 0, 1]));
    }

    #[test]
    fn what_cannot_be_used_is_ignored_with_the_reason() {
        for (key, why) in [
            (rsa(&json!({"kid": ""})), "no kid"),
            (rsa(&json!({"kid": 1})), "no kid"),
            (rsa(&json!({"kid": "k".repeat(1025)})), "no kid"),
            (rsa(&json!({"use": "enc"})), "not for signatures"),
            (rsa(&json!({"use": null})), "not for signatures"),
            (rsa(&json!({"key_ops": ["sign"]})), "key_ops"),
            (rsa(&json!({"key_ops": "verify"})), "key_ops"),
            (rsa(&json!({"n": bytes(0x7f, 256)})), "2048"),
            (rsa(&json!({"n": bytes(1, 1025)})), "8192"),
            (rsa(&json!({"n": ""})), "base64url"),
            (rsa(&json!({"n": "AA"})), "2048"),
            (rsa(&json!({"n": "a+/="})), "base64url"),
            (rsa(&json!({"e": "AQ"})), "exponent"),
            (rsa(&json!({"e": "AA"})), "exponent"),
            (rsa(&json!({"e": "Ag"})), "exponent"),
            (rsa(&json!({"e": bytes(1, 5)})), "exponent"),
            (rsa(&json!({"alg": "HS256"})), "alg"),
            (rsa(&json!({"alg": "none"})), "alg"),
            (rsa(&json!({"alg": "ES256"})), "alg"),
            (rsa(&json!({"alg": "rs256"})), "alg"),
            (ec(&json!({"alg": "ES384"})), "alg"),
            (ec(&json!({"x": bytes(1, 31)})), "length"),
            (ec(&json!({"y": bytes(1, 33)})), "length"),
            (ec(&json!({"crv": "P-521"})), "kind"),
            (ec(&json!({"crv": "secp256k1"})), "kind"),
            (ec(&json!({"kty": "ec"})), "kind"),
            (json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": bytes(1, 31)}), "length"),
            (json!({"kty": "OKP", "crv": "X25519", "kid": "a", "x": bytes(1, 32)}), "kind"),
            (json!({"kty": "oct", "kid": "a", "k": "AAAA"}), "shared secret"),
            (json!({"kid": "a"}), "kind"),
            (rsa(&json!({"d": "AA"})), "private"),
            (ec(&json!({"d": null})), "private"),
        ] {
            let said = read(&key).unwrap_err();
            assert!(said.contains(why), "{key}: {said}");
        }
    }

    #[test]
    fn a_set_that_is_none_is_refused_whole() {
        let parse = |text: &str| KeySet::parse(text.as_bytes()).unwrap_err();
        assert_eq!(parse("no"), "is not JSON");
        assert_eq!(parse("[]"), "is no mapping");
        assert_eq!(parse("{}"), "has no list called keys");
        assert_eq!(parse(r#"{"keys":{}}"#), "has no list called keys");
        assert_eq!(parse(r#"{"keys":[1]}"#), "has a key that is no mapping");
        assert_eq!(parse(r#"{"keys":[{"kid":"a","kid":"b"}]}"#), "says a key twice");
        assert!(parse(&json!({"keys": vec![json!({}); 257]}).to_string()).contains("256"));
        assert!(parse(&" ".repeat(MOST_BYTES + 1)).contains("512"));
        assert_eq!(KeySet::parse(br#"{"keys":[]}"#), Ok(KeySet::default()));
        let two = json!({"keys": [ec(&json!({"kid": ""})), ec(&json!({"kid": "b"}))], "more": 1}).to_string();
        let two = KeySet::parse(two.as_bytes()).unwrap();
        assert_eq!((two.keys.len(), two.ignored[0].0), (1, 0));
    }
}
