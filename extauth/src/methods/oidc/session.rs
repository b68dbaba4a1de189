//! A session: the tokens of somebody who has logged in, from what the provider has given to what a browser keeps, and back.

use std::fmt;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use serde_json::{Map, Value as Json, json};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::provider::Provider;
use super::tokens::{TokenSet, seconds_of};
use crate::methods::access_token::jwt::{self, Expected, Refused};

/// The tokens of somebody.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// Who it is: signed by the provider, looked at when it came.
    pub id: Zeroizing<String>,
    /// What the application may do.
    pub access: Zeroizing<String>,
    /// Where new ones come from.
    pub refresh: Option<Zeroizing<String>>,
    /// From when on the tokens are over, in seconds.
    pub until: u64,
    /// When it began, in seconds.
    pub began: u64,
}

/// What a login asks of tokens.
#[derive(Debug)]
pub struct Asks {
    /// For whom they must be.
    pub client: String,
    /// How an id token may be signed; none, in any way that its key is for.
    pub algorithms: Vec<String>,
    /// Whether the claims of access tokens are used, so that these must be signed too.
    pub reads_access: bool,
    /// Whether tokens that are over are replaced.
    pub refreshes: bool,
}

/// Whose tokens are expected.
pub enum Of<'a> {
    /// Of the one who began with this nonce.
    Nonce(&'a str),
    /// Of the one whose session this is.
    Session(&'a Session),
}

impl Asks {
    /// The session that `set` makes at `now`.
    ///
    /// # Errors
    /// Why it makes none.
    pub fn session(
        &self,
        set: &TokenSet,
        provider: &Provider,
        of: &Of<'_>,
        now: SystemTime,
    ) -> Result<Session, Refused> {
        let id = match (&set.id, of) {
            (Some(id), _) => id.clone(),
            // A provider need not say again who it is.
            (None, Of::Session(earlier)) => earlier.id.clone(),
            (None, Of::Nonce(_)) => return Err(Refused::For("the provider gives no id token")),
        };
        let claims = match &set.id {
            Some(id) => self.verified(id, set, provider, of, now)?,
            None => claims(&id).ok_or(Refused::For("the id token cannot be read"))?,
        };
        if self.reads_access {
            let expected = Expected { issuer: Some(provider.issuer.clone()), audiences: Vec::new() };
            jwt::verify(&set.access, &provider.keys, &expected, now).map_err(|why| match why {
                Refused::UnknownKey => Refused::UnknownKey,
                Refused::For(_) => {
                    Refused::For("the access token is no JWT of this provider, so that its claims cannot be used")
                }
            })?;
        }
        let earlier = match of {
            Of::Session(earlier) => Some(earlier),
            Of::Nonce(_) => None,
        };
        let refresh = set.refresh.clone().or_else(|| earlier.and_then(|earlier| earlier.refresh.clone()));
        let refresh = refresh.filter(|_| self.refreshes);
        let id_until = claims.get("exp").and_then(Json::as_f64).filter(|exp| *exp > 0.0).map(whole);
        let until = match (set.id.is_some(), refresh.is_some()) {
            // What can be replaced is, when the first of them is over.
            (true, true) => id_until.into_iter().chain(set.access_until).min(),
            (true, false) => id_until,
            (false, _) => set.access_until,
        };
        let until = until.ok_or(Refused::For("the tokens do not say how long they are good"))?;
        let began = earlier.map_or_else(|| seconds_of(now), |earlier| earlier.began);
        Ok(Session { id, access: set.access.clone(), refresh, until, began })
    }

    /// OpenID Connect Core, 3.1.3.7 and 12.2.
    fn verified(
        &self,
        id: &str,
        set: &TokenSet,
        provider: &Provider,
        of: &Of<'_>,
        now: SystemTime,
    ) -> Result<Map<String, Json>, Refused> {
        let expected = Expected { issuer: Some(provider.issuer.clone()), audiences: vec![self.client.clone()] };
        let claims = jwt::verify(id, &provider.keys, &expected, now)?;
        let refused = |why| Err(Refused::For(why));
        let algorithm = algorithm(id).ok_or(Refused::For("the id token has no alg"))?;
        if !self.algorithms.is_empty() && !self.algorithms.contains(&algorithm) {
            return refused("the id token is signed in another way than idTokenAlgs lists");
        }
        let text = |name: &str| claims.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
        if text("sub").is_none() || !claims.contains_key("exp") || !claims.contains_key("iat") {
            return refused("the id token lacks sub, exp or iat");
        }
        let several = claims.get("aud").and_then(Json::as_array).is_some_and(|audiences| audiences.len() > 1);
        match claims.get("azp") {
            Some(party) if party.as_str() != Some(&*self.client) => {
                return refused("the id token is for another party");
            }
            None if several => return refused("the id token is for several and does not say for which party"),
            _ => {}
        }
        match of {
            Of::Nonce(nonce) => {
                let said = text("nonce").unwrap_or_default();
                if !bool::from(said.as_bytes().ct_eq(nonce.as_bytes())) {
                    return refused("the id token is of another login");
                }
            }
            Of::Session(earlier) => {
                let before = self::claims(&earlier.id).unwrap_or_default();
                if claims.get("sub") != before.get("sub") || claims.get("iss") != before.get("iss") {
                    return refused("the new id token is of somebody else");
                }
                if claims.contains_key("nonce") && claims.get("nonce") != before.get("nonce") {
                    return refused("the new id token is of another login");
                }
            }
        }
        let fits =
            |said: &Json| said.as_str().is_some_and(|said| half(&algorithm, &set.access).as_deref() == Some(said));
        if claims.get("at_hash").is_some_and(|said| !fits(said)) {
            return refused("the id token came with another access token");
        }
        Ok(claims)
    }
}

impl Session {
    /// As it is kept.
    pub fn written(&self) -> Zeroizing<Vec<u8>> {
        let refresh = self.refresh.as_deref();
        Zeroizing::new(json!([*self.id, *self.access, refresh, self.until, self.began]).to_string().into_bytes())
    }

    /// One that was kept.
    pub fn read(text: &[u8]) -> Option<Session> {
        let read: Json = serde_json::from_slice(text).ok()?;
        let text = |at: usize| read.get(at).and_then(Json::as_str).map(|text| Zeroizing::new(text.to_owned()));
        let number = |at: usize| read.get(at).and_then(Json::as_u64);
        Some(Session { id: text(0)?, access: text(1)?, refresh: text(2), until: number(3)?, began: number(4)? })
    }

    /// Whether its tokens are good at `now`.
    pub fn is_good(&self, now: SystemTime) -> bool {
        seconds_of(now) < self.until
    }

    /// What the id token says.
    pub fn claims(&self) -> Option<Map<String, Json>> {
        claims(&self.id)
    }
}

/// What a token says, which was looked at before.
pub fn claims(token: &str) -> Option<Map<String, Json>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?).ok()
}

fn algorithm(token: &str) -> Option<String> {
    let header: Json = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?).ok()?;
    header.get("alg")?.as_str().map(str::to_owned)
}

/// The left half of the hash of `token` (OpenID Connect Core, 3.1.3.6).
fn half(algorithm: &str, token: &str) -> Option<String> {
    let hash: &'static Algorithm = match algorithm {
        "EdDSA" => &SHA512,
        name if name.ends_with("256") => &SHA256,
        name if name.ends_with("384") => &SHA384,
        name if name.ends_with("512") => &SHA512,
        _ => return None,
    };
    let whole = digest(hash, token.as_bytes());
    Some(URL_SAFE_NO_PAD.encode(whole.as_ref().get(..whole.as_ref().len() / 2)?))
}

/// Whole seconds. Clocks may differ, but what is replaced is replaced by ours.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(seconds: f64) -> u64 {
    seconds as u64
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("until", &self.until).field("began", &self.began).finish_non_exhaustive()
    }
}
