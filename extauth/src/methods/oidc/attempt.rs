//! One attempt to log in: what the provider is told, and what must come back from it, bound to the browser that began.
//!
//! Nothing is kept here but which attempts are over. What is needed at the end travels with the browser, in `state`, and opens only
//! beside the cookie of the browser that began; nonce and verifier are made of both, so that whoever has one of them has nothing.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use outbound::Cache;
use outbound::cache::Bounds;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use serde_json::{Value as Json, json};

use super::cookies::LOGIN;
use super::seal::Seals;

/// A longer path is not gone back to: it would not fit into an address.
const LONGEST_PATH: usize = 2048;
/// So many attempts that are over are remembered.
const USED: Bounds = Bounds { entries: 10_000, bytes: usize::MAX };

/// Begins and ends attempts.
pub struct Attempts {
    seals: Seals,
    used: Mutex<Cache<String, ()>>,
}

/// An attempt that begins.
pub struct Begun {
    /// What binds it to the browser.
    pub secret: String,
    /// What the provider is to give back.
    pub state: String,
    /// What the token is to say.
    pub nonce: String,
    /// What the code is bound to.
    pub challenge: String,
}

/// An attempt that comes back.
#[derive(PartialEq, Eq, Debug)]
pub struct Returned {
    /// Which one.
    pub id: String,
    /// The path that was asked for; empty, none that can be gone back to.
    pub path: String,
    /// What the token must say.
    pub nonce: String,
    /// What the code was bound to.
    pub verifier: String,
}

impl Attempts {
    /// With these seals.
    pub fn with(seals: Seals) -> Attempts {
        Attempts { seals, used: Mutex::new(Cache::new(USED)) }
    }

    /// One that ends at `path`, of the browser that brings `secret`; none by a fault of the library's.
    pub fn begin(&self, secret: Option<&str>, path: &str, now: SystemTime) -> Option<Begun> {
        // A browser may log in in several windows at once.
        let secret = secret.filter(|secret| is_secret(secret)).map_or_else(random, str::to_owned);
        let id = random();
        let at = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
        let path = if path.len() <= LONGEST_PATH { path } else { "" };
        let state = self.seals.seal(json!([id, at, path]).to_string().as_bytes(), secret.as_bytes())?;
        let Returned { nonce, verifier, .. } = self.made(&id, &secret, path);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        Some(Begun { secret, state, nonce, challenge })
    }

    /// The attempt that comes back with `state` to the browser that brings `secret`; none if it was not begun there, or long ago.
    pub fn end(&self, secret: &str, state: &str, now: SystemTime) -> Option<Returned> {
        let text = self.seals.open(state, Some(secret).filter(|secret| is_secret(secret))?.as_bytes())?;
        let read: Json = serde_json::from_slice(&text).ok()?;
        let (id, at, path) = (read.get(0)?.as_str()?, read.get(1)?.as_u64()?, read.get(2)?.as_str()?);
        let age = now.duration_since(UNIX_EPOCH + Duration::from_secs(at)).unwrap_or_default();
        (age.as_secs() < u64::from(LOGIN)).then(|| self.made(id, secret, path))
    }

    /// Whether the attempt `id` is not over yet. From now on it is.
    pub fn uses(&self, id: &str, now: Instant) -> bool {
        let mut used = self.used.lock();
        let first = used.get(&id.to_owned(), now).is_none();
        used.put(id.to_owned(), (), 1, now + Duration::from_secs(u64::from(LOGIN) + 60));
        first
    }

    /// Whether it is over.
    pub fn is_used(&self, id: &str, now: Instant) -> bool {
        self.used.lock().get(&id.to_owned(), now).is_some()
    }

    fn made(&self, id: &str, secret: &str, path: &str) -> Returned {
        let of = |what: &str| self.seals.bound(&[what.as_bytes(), id.as_bytes(), secret.as_bytes()]);
        Returned { id: id.to_owned(), path: path.to_owned(), nonce: of("nonce"), verifier: of("verifier") }
    }
}

fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Whether `text` is one that we have made, by its form.
fn is_secret(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attempts")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn attempts(name: &str) -> Attempts {
        Attempts::with(Seals::of(b"key", &[name]).unwrap())
    }

    #[test]
    fn an_attempt_ends_where_it_began_in_time_and_nowhere_else() {
        let (ours, now) = (attempts("a"), UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let begun = ours.begin(None, "/a?b=c", now).unwrap();
        let returned = ours.end(&begun.secret, &begun.state, now + Duration::from_secs(599)).unwrap();
        assert_eq!((returned.path.as_str(), &returned.nonce), ("/a?b=c", &begun.nonce));
        assert_eq!(begun.challenge, URL_SAFE_NO_PAD.encode(digest(&SHA256, returned.verifier.as_bytes())));
        assert!((43..=128).contains(&returned.verifier.len()), "RFC 7636, 4.1");
        assert!(ours.end(&begun.secret, &begun.state, now + Duration::from_secs(600)).is_none());
        let other = ours.begin(None, "/", now).unwrap();
        assert!(ours.end(&other.secret, &begun.state, now).is_none(), "another browser's");
        assert!(attempts("b").end(&begun.secret, &begun.state, now).is_none(), "another AuthConfig's");
        assert!(ours.end("", &begun.state, now).is_none() && ours.end(&begun.secret, "", now).is_none());
        // A second window of the same browser, and a secret that is none of ours.
        let again = ours.begin(Some(&begun.secret), "/", now).unwrap();
        assert_eq!(again.secret, begun.secret);
        assert_ne!((&again.state, &again.nonce, &again.challenge), (&begun.state, &begun.nonce, &begun.challenge));
        assert_ne!(ours.begin(Some("chosen"), "/", now).unwrap().secret, "chosen");
        let long = ours.begin(None, &"/x".repeat(2000), now).unwrap();
        assert_eq!(ours.end(&long.secret, &long.state, now).unwrap().path, "");
    }

    #[test]
    fn an_attempt_is_used_once() {
        let (ours, now) = (attempts("a"), Instant::now());
        assert!(!ours.is_used("x", now) && ours.uses("x", now) && ours.is_used("x", now) && !ours.uses("x", now));
        assert!(ours.uses("y", now) && ours.uses("x", now + Duration::from_secs(1000)));
    }
}
