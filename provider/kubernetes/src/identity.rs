//! Whose ServiceAccount a token is, by the API server's word.
//!
//! Only a yes is kept, for [`KEPT`] and by a keyed hash of the token; whatever else comes of it, a token that is not
//! good, an API server that is away, an answer that cannot be read, is nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use zeroize::Zeroize as _;

use crate::machine::Failure;
use crate::server::Server;
use crate::settings::KubernetesArgs;

/// Where tokens are reviewed.
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// How long a yes is good for.
const KEPT: Duration = Duration::from_secs(60);
/// So many are kept at most.
const MOST_KEPT: usize = 1_000;
/// So many are asked about at a time: whoever can connect can make us ask.
const AT_A_TIME: usize = 16;
/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest token; theirs have about a thousand bytes.
const LONGEST: usize = 16 << 10;

/// A ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pod to which the token is bound, if it is.
    pub pod: Option<String>,
}

/// Where the name of the pod stands of a token that is bound to one.
const POD: &str = "authentication.kubernetes.io/pod-name";

/// Asks the API server whose tokens are.
#[derive(Clone)]
pub struct Accounts(Arc<Inner>);

struct Inner {
    server: Server,
    audience: &'static str,
    key: [u8; 32],
    kept: Mutex<Kept>,
    asking: Semaphore,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("audience", &self.0.audience).finish_non_exhaustive()
    }
}

impl Accounts {
    /// Of tokens for `audience` and no other.
    ///
    /// # Errors
    /// When the settings name no API server.
    pub async fn new(args: &KubernetesArgs, audience: &'static str) -> anyhow::Result<Self> {
        let server = Server::new(args.kubeconfig.as_deref()).await?;
        let asking = Semaphore::new(AT_A_TIME);
        Ok(Self(Arc::new(Inner { server, audience, key: rand::random(), kept: Mutex::default(), asking })))
    }

    /// Whose `token` is; none on any doubt.
    pub async fn of(&self, token: &str) -> Option<Account> {
        let Inner { server, audience, key, kept, asking } = &*self.0;
        if !may_be_one(token) {
            return None;
        }
        let digest = *blake3::keyed_hash(key, token.as_bytes()).as_bytes();
        if let Some(known) = kept.lock().get(&digest, Instant::now()) {
            return Some(known);
        }
        let asked = async {
            let _turn = asking.acquire().await.map_err(|_| Failure::TimedOut)?;
            let mut review = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "spec": {"token": token, "audiences": [audience]},
            });
            let answer = server.ask_about(REVIEWS, &review).await;
            if let Some(serde_json::Value::String(token)) = review.pointer_mut("/spec/token") {
                token.zeroize();
            }
            answer
        };
        let begun = Instant::now();
        let answer = match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => {
                tracing::warn!(%failure, "a token cannot be reviewed: whoever bears it is turned away");
                return None;
            }
            Err(_) => {
                tracing::warn!("a token was not reviewed in time: whoever bears it is turned away");
                return None;
            }
        };
        let account = reviewed(&answer, audience)?;
        kept.lock().put(digest, account.clone(), begun);
        Some(account)
    }
}

/// Whether `token` has the form of one: three parts of base64.
fn may_be_one(token: &str) -> bool {
    let fits = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    token.len() <= LONGEST && token.split('.').count() == 3 && token.split('.').all(fits)
}

/// Whose token it is, by an answer about one of `audience`.
fn reviewed(answer: &[u8], audience: &str) -> Option<Account> {
    #[derive(Deserialize)]
    struct Review {
        kind: String,
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        authenticated: bool,
        #[serde(default)]
        audiences: Vec<String>,
        user: User,
        #[serde(default)]
        error: String,
    }
    #[derive(Deserialize)]
    struct User {
        username: String,
        #[serde(default)]
        extra: HashMap<String, Vec<String>>,
    }
    let Review { kind, status } = serde_json::from_slice(answer).ok()?;
    // An authenticator that knows nothing of audiences names none: then it may be a token for anybody.
    let ours = status.audiences.iter().any(|one| one == audience);
    if kind != "TokenReview" || !status.authenticated || !status.error.is_empty() || !ours {
        return None;
    }
    let (namespace, name) = status.user.username.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let fits = |part: &str| !part.is_empty() && !part.contains(':');
    let pod = match status.user.extra.get(POD).map(Vec::as_slice) {
        Some([pod]) if !pod.is_empty() => Some(pod.clone()),
        _ => None,
    };
    (fits(namespace) && fits(name)).then(|| Account { namespace: namespace.to_owned(), name: name.to_owned(), pod })
}

/// Tokens that are known to be good.
#[derive(Default)]
struct Kept(HashMap<[u8; 32], (Account, Instant)>);

impl Kept {
    fn get(&self, digest: &[u8; 32], now: Instant) -> Option<Account> {
        let (account, since) = self.0.get(digest)?;
        is_fresh(*since, now).then(|| account.clone())
    }

    fn put(&mut self, digest: [u8; 32], account: Account, now: Instant) {
        if self.0.len() >= MOST_KEPT {
            self.0.retain(|_, (_, since)| is_fresh(*since, now));
        }
        if self.0.len() < MOST_KEPT {
            self.0.insert(digest, (account, now));
        }
    }
}

fn is_fresh(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < KEPT
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const OURS: &str = "ours";

    fn answer() -> Value {
        json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": "x"}, "status": {
            "authenticated": true, "audiences": [OURS], "user": {"username": "system:serviceaccount:shop:gloo-proxy-a"},
        }})
    }

    fn of(answer: &Value) -> Option<Account> {
        reviewed(answer.to_string().as_bytes(), OURS)
    }

    #[test]
    fn a_token_is_its_service_accounts_and_on_any_doubt_nobodys() {
        let account = Account { namespace: "shop".to_owned(), name: "gloo-proxy-a".to_owned(), pod: None };
        assert_eq!(of(&answer()), Some(account.clone()));
        let mut for_two = answer();
        for_two["status"]["audiences"] = json!(["https://kubernetes.default.svc", OURS]);
        assert_eq!(of(&for_two), Some(account));
        for (names, pod) in [(json!(["a-x"]), Some("a-x".to_owned())), (json!([""]), None), (json!(["a", "b"]), None)] {
            let mut bound = answer();
            bound["status"]["user"]["extra"] = json!({POD: names, "other": []});
            assert_eq!(of(&bound).map(|account| account.pod), Some(pod), "{bound}");
        }
        let doubts: [(&str, Value); 12] = [
            ("/status/authenticated", json!(false)),
            ("/status/authenticated", Value::Null),
            ("/status/audiences", json!(["https://kubernetes.default.svc"])),
            ("/status/audiences", json!([])),
            ("/status/audiences", Value::Null),
            ("/status/error", json!("expired")),
            ("/status/user/username", json!("admin")),
            ("/status/user/username", json!("system:serviceaccount:shop")),
            ("/status/user/username", json!("system:serviceaccount::gloo-proxy-a")),
            ("/status/user/username", json!("system:serviceaccount:shop:a:b")),
            ("/status", Value::Null),
            ("/kind", json!("Status")),
        ];
        for (place, value) in doubts {
            let mut answer = answer();
            if let Some(at) = answer.pointer_mut(place) {
                *at = value.clone();
            } else {
                answer["status"]["error"] = value.clone();
            }
            assert_eq!(of(&answer), None, "{place} {value}");
        }
        assert_eq!(reviewed(b"", OURS), None);
    }

    #[test]
    fn only_what_may_be_a_token_is_asked_about() {
        assert!(may_be_one("eyJhb.eyJ_-d.c2ln"));
        let long = format!("a.b.{}", "c".repeat(LONGEST));
        for other in ["", "a.b", "a.b.c.d", "a..c", "a.b.c\n", "a.b.é", long.as_str()] {
            assert!(!may_be_one(other), "{other:?}");
        }
    }

    #[test]
    fn a_yes_is_kept_for_a_while_and_of_as_many_as_there_is_room_for() {
        let account = |name: &str| Account { namespace: "shop".to_owned(), name: name.to_owned(), pod: None };
        let (mut kept, begun) = (Kept::default(), Instant::now());
        kept.put([1; 32], account("a"), begun);
        assert_eq!(kept.get(&[1; 32], begun + KEPT / 2), Some(account("a")));
        assert_eq!(kept.get(&[2; 32], begun), None);
        assert_eq!(kept.get(&[1; 32], begun + KEPT), None);
        for number in 0..MOST_KEPT + 5 {
            let mut digest = [9; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            kept.put(digest, account("b"), begun);
        }
        assert_eq!(kept.0.len(), MOST_KEPT);
        kept.put([3; 32], account("c"), begun + KEPT);
        assert_eq!((kept.0.len(), kept.get(&[3; 32], begun + KEPT)), (1, Some(account("c"))), "old ones make room");
    }
}
