//! Apache's MD5 of a password (`htpasswd -m`): a thousand rounds, which was slow once.

use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

/// More of a salt than this is not used.
pub const MOST_SALT: usize = 8;
/// How many letters a hash has.
pub const LENGTH: usize = 22;

const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The hash as it stands after the last `$`.
pub fn hash(password: &[u8], salt: &[u8]) -> [u8; LENGTH] {
    let salt = &salt[..salt.len().min(MOST_SALT)];
    let mut digest = first(password, salt);
    for round in 0..1000 {
        let mut md5 = Md5::new();
        md5.update(if round % 2 == 1 { password } else { &digest[..] });
        if round % 3 != 0 {
            md5.update(salt);
        }
        if round % 7 != 0 {
            md5.update(password);
        }
        md5.update(if round % 2 == 1 { &digest[..] } else { password });
        digest = Zeroizing::new(md5.finalize().into());
    }
    letters(&digest)
}

fn first(password: &[u8], salt: &[u8]) -> Zeroizing<[u8; 16]> {
    let inner: Zeroizing<[u8; 16]> =
        Zeroizing::new(Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize().into());
    let mut md5 = Md5::new().chain_update(password).chain_update(b"$apr1$").chain_update(salt);
    for piece in password.chunks(16) {
        md5.update(&inner[..piece.len()]);
    }
    let mut length = password.len();
    while length > 0 {
        md5.update(if length % 2 == 1 { &[0] } else { &password[..1] });
        length /= 2;
    }
    Zeroizing::new(md5.finalize().into())
}

/// Six bits a letter, the lowest first, over the bytes in an order of its own.
fn letters(digest: &[u8; 16]) -> [u8; LENGTH] {
    let mut out = [0; LENGTH];
    for (group, letters) in out.chunks_mut(4).enumerate() {
        let bytes = match group {
            5 => [0, 0, digest[11]],
            // The last of the five regular groups ends where the order begins anew.
            4 => [digest[4], digest[10], digest[5]],
            _ => [digest[group], digest[group + 6], digest[group + 12]],
        };
        let mut bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for letter in letters {
            *letter = LETTERS[(bits & 0x3f) as usize];
            bits >>= 6;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn as_htpasswd_and_openssl_print_it() {
        for (password, salt, hashed) in [
            ("password", "TYiryv0/", "8BvzLUO9IfGPGGsPnAgSu1"),
            ("password", "0adzfifo", "14o4fMw/Pm2L34SvyyA2r."),
            ("", "salt", "AnXM5PAEa9T4ruYbwPoUh/"),
            ("x", "x", "n3KC.RJYHZhK50zaCOGff0"),
            ("a longer password than sixteen bytes ü", "salt", "vhO50c26ZnteMVGWHWMIB0"),
        ] {
            let made = hash(password.as_bytes(), salt.as_bytes());
            assert_eq!(std::str::from_utf8(&made).unwrap(), hashed, "{password}");
        }
    }
}
