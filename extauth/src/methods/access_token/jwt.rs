//! Whether a JSON Web Token (RFC 7519, signed as in RFC 7515) is good: a pure function of the token, the keys, what is expected
//! of it and the time.
//!
//! Nothing in a token is believed before its signature is checked, and the way in which it is checked is one that the key is
//! for, whatever the token says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::gloo::auth_config::jwks::Algorithm;
use api::json::unique_object;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::keys::{Checked, Keys};

/// How far clocks may differ.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// A larger token is none.
const LONGEST: usize = super::bearer::LONGEST;
/// A header is small.
const LONGEST_HEADER: usize = 4 * 1024;

/// What is expected of a token besides a signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Who issued it; none, anybody.
    pub issuer: Option<String>,
    /// Whom it is for: one of these; none, anybody.
    pub audiences: Vec<String>,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no key of the name that it says. There may be one by now.
    UnknownKey,
    /// It is not good, and will not be.
    For(&'static str),
}

use Refused::For;

/// The claims of `token`, if it is good at the time `now`.
///
/// # Errors
/// Why it is not.
pub fn verify(token: &str, keys: &Keys, expected: &Expected, now: SystemTime) -> Result<Map<String, Value>, Refused> {
    if token.len() > LONGEST {
        return Err(For("the token is too large"));
    }
    let (message, signature) = token.rsplit_once('.').ok_or(For("the token is no JWT"))?;
    let (header, payload) = message.split_once('.').ok_or(For("the token is no JWT"))?;
    if payload.contains('.') || header.len() > LONGEST_HEADER {
        return Err(For("the token is no signed JWT"));
    }
    let header = mapping(header).map_err(|()| For("the token's header cannot be read"))?;
    // What must be understood is not, and of `b64` (RFC 7797) that is true wherever it stands.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(For("the token's header has what must be understood and is not"));
    }
    let text = |name: &str| header.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let algorithm = text("alg").and_then(Algorithm::named).ok_or(For("the token's alg is none that is used"))?;
    let kid = text("kid").ok_or(For("the token has no kid"))?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| For("the token's signature cannot be read"))?;
    match keys.check(kid, algorithm, message.as_bytes(), &signature) {
        Checked::Good => {}
        Checked::Wrong => return Err(For("the token's signature is wrong")),
        Checked::Unknown => return Err(Refused::UnknownKey),
    }
    let claims = mapping(payload).map_err(|()| For("the token's claims cannot be read"))?;
    times(&claims, now).map_err(For)?;
    who(&claims, expected).map_err(For)?;
    Ok(claims)
}

/// A part that is JSON in base64url: a mapping.
fn mapping(part: &str) -> Result<Map<String, Value>, ()> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(drop)?;
    unique_object(&bytes).map_err(drop)
}

/// Whether it is the time for something with these claims, of a token or of what an issuer says of one.
///
/// # Errors
/// Why it is not.
pub fn times(claims: &Map<String, Value>, now: SystemTime) -> Result<(), &'static str> {
    let now = now.duration_since(UNIX_EPOCH).map_err(|_| "the clock is wrong")?.as_secs_f64();
    let leeway = LEEWAY.as_secs_f64();
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or("a time of the token is none"),
    };
    if time("exp")?.is_some_and(|exp| now >= exp + leeway) {
        return Err("the token is over");
    }
    if time("nbf")?.is_some_and(|nbf| now < nbf - leeway) {
        return Err("the token does not count yet");
    }
    if time("iat")?.is_some_and(|iat| now < iat - leeway) {
        return Err("the token is from the future");
    }
    Ok(())
}

fn who(claims: &Map<String, Value>, expected: &Expected) -> Result<(), &'static str> {
    let is_text = |name: &str| claims.get(name).is_none_or(Value::is_string);
    if !is_text("iss") || !is_text("sub") {
        return Err("the token's issuer or subject is no text");
    }
    let issuer = claims.get("iss").and_then(Value::as_str);
    if expected.issuer.as_deref().is_some_and(|expected| issuer != Some(expected)) {
        return Err("the token is of another issuer");
    }
    let audiences: Vec<&str> = match claims.get("aud") {
        None => Vec::new(),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => {
            several.iter().map(Value::as_str).collect::<Option<_>>().ok_or("the token's audience is no text")?
        }
        Some(_) => return Err("the token's audience is no text"),
    };
    let meant = |audience: &&str| expected.audiences.iter().any(|expected| expected == audience);
    if !expected.audiences.is_empty() && !audiences.iter().any(meant) {
        return Err("the token is for others");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
