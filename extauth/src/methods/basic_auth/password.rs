//! A password as an AuthConfig keeps it: a hash of one of four kinds, and how slow it is to check.

use api::Redacted;
use api::gloo::auth_config::PasswordKind;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordVerifier as _};
use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq as _;

use super::apr1;

/// What one check may cost: Envoy waits 200 ms unless told otherwise, and whoever guesses makes us work.
const MOST_BCRYPT_COST: u32 = 12;
const MOST_ARGON2: (u32, u32, u32) = (64 * 1024, 10, 4);

/// A hash to compare a password with.
#[derive(Clone)]
pub enum Password {
    Apr1 { salt: Vec<u8>, hash: [u8; apr1::LENGTH] },
    Sha1 { salt: Vec<u8>, hash: [u8; 20] },
    Bcrypt { hash: String, cost: u32 },
    Argon2 { hash: Box<PasswordHash>, cost: u64 },
}

impl Password {
    /// Reads what is written about one user.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead.
    pub fn read(kind: PasswordKind, salt: Option<&str>, hash: Option<&Redacted>) -> Result<Password, String> {
        let text = hash.and_then(|hash| std::str::from_utf8(hash.expose()).ok()).unwrap_or_default();
        let salted = salt.unwrap_or_default().as_bytes().to_vec();
        match kind {
            PasswordKind::Apr1 => {
                let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"./".contains(&byte);
                let hash = text
                    .as_bytes()
                    .try_into()
                    .ok()
                    .filter(|hash: &[u8; apr1::LENGTH]| hash.iter().all(|byte| letters(*byte)));
                let hash = hash.ok_or("hashedPassword: write the 22 characters after the last $ of an apr1 hash, and what stands before that $ as salt")?;
                Ok(Password::Apr1 { salt: salted, hash })
            }
            PasswordKind::Sha1 => {
                let hash = from_hex(text)
                    .ok_or("hashedPassword: write the SHA-1 of password and salt as 40 hexadecimal digits")?;
                Ok(Password::Sha1 { salt: salted, hash })
            }
            PasswordKind::Bcrypt => {
                let parts: bcrypt::HashParts =
                    text.parse().map_err(|_| "hashedPassword: write a whole bcrypt hash, as $2b$10$…".to_owned())?;
                let cost = parts.get_cost();
                if cost > MOST_BCRYPT_COST {
                    return Err(format!(
                        "hashedPassword: a cost of {cost} takes too long to check; hash it with at most {MOST_BCRYPT_COST}"
                    ));
                }
                Ok(Password::Bcrypt { hash: text.to_owned(), cost })
            }
            PasswordKind::Argon2 => {
                let broken = "hashedPassword: write a whole argon2 hash, as $argon2id$v=19$m=19456,t=2,p=1$…";
                let hash = PasswordHash::new(text).map_err(|_| broken)?;
                let params = Params::try_from(&hash).map_err(|_| broken)?;
                let is_argon2 = hash.algorithm.as_str().starts_with("argon2");
                if !is_argon2 || hash.hash.is_none() || hash.salt.is_none() {
                    return Err(broken.to_owned());
                }
                let (memory, time, lanes) = MOST_ARGON2;
                if params.m_cost() > memory || params.t_cost() > time || params.p_cost() > lanes {
                    return Err(format!(
                        "hashedPassword: takes too long to check; hash it with at most m={memory},t={time},p={lanes}"
                    ));
                }
                let cost = u64::from(params.m_cost()) * u64::from(params.t_cost());
                Ok(Password::Argon2 { hash: Box::new(hash), cost })
            }
        }
    }

    /// One that no password matches, of a kind of which there is no user.
    pub fn unknown(kind: PasswordKind) -> Password {
        match kind {
            PasswordKind::Sha1 => Password::Sha1 { salt: Vec::new(), hash: [0; 20] },
            // No letter of the alphabet.
            _ => Password::Apr1 { salt: Vec::new(), hash: [0; apr1::LENGTH] },
        }
    }

    /// Whether `password` is the one. Comparing takes the same time whatever it finds.
    pub fn is(&self, password: &[u8]) -> bool {
        match self {
            Password::Apr1 { salt, hash } => apr1::hash(password, salt).ct_eq(hash).into(),
            Password::Sha1 { salt, hash } => {
                let made: [u8; 20] = Sha1::new().chain_update(password).chain_update(salt).finalize().into();
                made.ct_eq(hash).into()
            }
            Password::Bcrypt { hash, .. } => bcrypt::verify(password, hash).unwrap_or(false),
            Password::Argon2 { hash, .. } => Argon2::default().verify_password(password, &**hash).is_ok(),
        }
    }

    /// Whether checking it takes no longer than answering.
    pub fn is_quick(&self) -> bool {
        matches!(self, Password::Sha1 { .. })
    }

    /// How slow checking it is, among those of its kind.
    pub fn cost(&self) -> u64 {
        match self {
            Password::Apr1 { .. } | Password::Sha1 { .. } => 0,
            Password::Bcrypt { cost, .. } => u64::from(*cost),
            Password::Argon2 { cost, .. } => *cost,
        }
    }
}

fn from_hex(text: &str) -> Option<[u8; 20]> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| digit.try_into().ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    (digits.len() == 40).then(|| bytes.try_into().ok()).flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const BCRYPT: &str = "$2b$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    const ARGON2: &str = "$argon2id$v=19$m=32,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$";

    fn read(kind: PasswordKind, salt: &str, hash: &str) -> Result<Password, String> {
        Password::read(kind, Some(salt), Some(&Redacted::new(hash)))
    }

    #[test]
    fn each_kind_knows_its_password_and_no_other() {
        let argon2 = {
            use argon2::PasswordHasher as _;
            let params = Params::new(32, 2, 1, None).unwrap();
            Argon2::from(params).hash_password_with_salt(b"password", b"somesaltsomesalt").unwrap().to_string()
        };
        let bcrypt = bcrypt::hash("password", 4).unwrap();
        for (kind, salt, hash) in [
            (PasswordKind::Apr1, "TYiryv0/", "8BvzLUO9IfGPGGsPnAgSu1"),
            (PasswordKind::Sha1, "TYiryv0/", "010eb058a59f4ac5ba05639b0263cf91b4345fd6"),
            (PasswordKind::Sha1, "TYiryv0/", "010EB058A59F4AC5BA05639B0263CF91B4345FD6"),
            (PasswordKind::Bcrypt, "", &bcrypt),
            (PasswordKind::Bcrypt, "", &bcrypt.replace("$2b$", "$2y$")),
            (PasswordKind::Argon2, "", &argon2),
        ] {
            let password = read(kind, salt, hash).unwrap();
            assert!(password.is(b"password"), "{hash}");
            for wrong in ["", "Password", "password ", "passwor", "password\0"] {
                assert!(!password.is(wrong.as_bytes()), "{hash}: {wrong:?}");
            }
            assert!(!Password::unknown(kind).is(b"password"));
        }
    }

    #[test]
    fn what_is_no_hash_or_takes_too_long_is_said() {
        for (kind, hash, part) in [
            (PasswordKind::Apr1, "$apr1$TYiryv0/$8BvzLUO9IfGPGGsPnAgSu1", "after the last $"),
            (PasswordKind::Apr1, "8BvzLUO9IfGPGGsPnAgSu", "22 characters"),
            (PasswordKind::Sha1, "010eb058a59f4ac5ba05639b0263cf91b4345fd", "40 hexadecimal"),
            (PasswordKind::Sha1, "010eb058a59f4ac5ba05639b0263cf91b4345fd60", "40 hexadecimal"),
            (PasswordKind::Sha1, "", "40 hexadecimal"),
            (PasswordKind::Sha1, "010eb058a59f4ac5ba05639b0263cf91b4345fdg", "40 hexadecimal"),
            (PasswordKind::Bcrypt, "hunter2", "whole bcrypt"),
            (PasswordKind::Bcrypt, &BCRYPT.replace("$04$", "$13$"), "at most 12"),
            (PasswordKind::Argon2, "hunter2", "whole argon2"),
            (PasswordKind::Argon2, ARGON2, "whole argon2"),
            (
                PasswordKind::Argon2,
                "$argon2id$v=19$m=1048576,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAA",
                "too long",
            ),
            (PasswordKind::Argon2, "$pbkdf2-sha256$i=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", "whole argon2"),
        ] {
            let why = read(kind, "TYiryv0/", hash).err().unwrap();
            assert!(why.contains(part), "{hash}: {why}");
            assert!(hash.is_empty() || !why.contains(hash), "{why}");
        }
    }
}
