//! Asking the issuer about a token: whether it is active (RFC 7662), and who its owner is (OpenID Connect Core, 5.3).
//!
//! What it says of one counts for a while, never longer than the token lives. Kept is a keyed hash of the token, not the token.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::gloo::auth_config::{AccessTokenValidation, Target};
use api::json::unique_object;
use api::{Fingerprint, Redacted};
use bytes::Bytes;
use form_urlencoded::Serializer;
use futures_util::FutureExt as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, Uri};
use outbound::cache::Bounds;
use outbound::http::{Authorities, Client, Limits, Speaks};
use outbound::source::{Fetched, Settings};
use outbound::{Outcome, Source, Why};
use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use crate::methods::Context;
use crate::methods::proof::basic;

/// Of an answer.
const MOST_BYTES: usize = 64 * 1024;
/// What is kept of one step's tokens.
const BOUNDS: Bounds = Bounds { entries: 10_000, bytes: 4 << 20 };

/// An issuer.
#[derive(Debug)]
pub struct Issuer {
    source: Source<Presented, Arc<Told>>,
    /// Who it is.
    pub who: Arc<str>,
}

/// What an issuer says of a token. None of it is printed.
pub enum Told {
    /// It is good.
    Good(Arc<Facts>),
    /// It is not.
    NotGood(&'static str),
    /// Nothing that can be used.
    Unusable(String),
}

/// What it says of a good one.
#[derive(Default)]
pub struct Facts {
    /// Of the token, if it was asked about that.
    pub token: Option<Map<String, Json>>,
    /// Of its owner, if it was asked about that.
    pub owner: Option<Map<String, Json>>,
}

/// A token that is asked about. What is kept is known by its fingerprint and has no token.
#[derive(Clone)]
struct Presented {
    fingerprint: Fingerprint,
    token: Arc<Mutex<Option<Zeroizing<String>>>>,
}

impl PartialEq for Presented {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Presented {}

impl Hash for Presented {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// How it is asked.
struct Asks {
    client: Client,
    introspection: Option<(Uri, Proof)>,
    userinfo: Option<Uri>,
    kept: Duration,
}

/// How we prove who asks.
struct Proof {
    authorization: Option<HeaderValue>,
    /// Where there is no secret, the client's name stands in the question.
    client_id: Option<String>,
}

impl Issuer {
    /// The one of `validation`, which is asked with `secret`; none by a fault of ours.
    pub fn of(validation: &AccessTokenValidation, secret: Option<&Redacted>, context: &Context) -> Option<Issuer> {
        let introspection = validation.introspection.as_ref();
        let asked = introspection.and_then(|introspection| introspection.introspection_url.as_deref());
        let asked = asked.or(validation.introspection_url.as_deref());
        let targets: Vec<Target> = [asked, validation.userinfo_url.as_deref()]
            .into_iter()
            .flatten()
            .map(|url| Target::of_url(url).ok())
            .collect::<Option<_>>()?;
        let limits = Limits { body: MOST_BYTES, ..Limits::default() };
        let tls = targets.iter().any(|target| target.tls);
        let trusted = if tls { context.trust.authorities() } else { Arc::new(Authorities::empty()) };
        let client = Client::speaking(Speaks::Either, limits, trusted).ok()?;
        let who: Arc<str> = targets.first()?.authority().into();
        let mut uris = targets.iter().map(uri);
        let introspection = match asked {
            Some(_) => Some((uris.next()??, Proof::of(introspection.and_then(|i| i.client_id.as_deref()), secret)?)),
            None => None,
        };
        let userinfo = match validation.userinfo_url {
            Some(_) => Some(uris.next()??),
            None => None,
        };
        let asks = Arc::new(Asks { client, introspection, userinfo, kept: validation.kept() });
        let settings = Settings { bounds: BOUNDS, ..Settings::new(&who) };
        let source = Source::new(settings, move |presented: Presented, deadline: Instant| {
            let asks = asks.clone();
            async move { asks.fetched(&presented, deadline).await }.boxed()
        });
        Some(Issuer { source, who })
    }

    /// What it says of `token`, by `deadline`.
    pub async fn ask(&self, token: Zeroizing<String>, deadline: Instant) -> Outcome<Arc<Told>> {
        let fingerprint = Fingerprint::of(token.as_bytes());
        self.source.ask(&Presented { fingerprint, token: Arc::new(Mutex::new(Some(token))) }, deadline).await
    }
}

fn uri(target: &Target) -> Option<Uri> {
    let scheme = if target.tls { "https" } else { "http" };
    Uri::builder().scheme(scheme).authority(target.authority()).path_and_query(&*target.path).build().ok()
}

impl Proof {
    fn of(client_id: Option<&str>, secret: Option<&Redacted>) -> Option<Proof> {
        let client_id = client_id.filter(|id| !id.is_empty()).map(str::to_owned);
        let Some(secret) = secret else { return Some(Proof { authorization: None, client_id }) };
        Some(Proof { authorization: Some(basic(&client_id?, secret)?), client_id: None })
    }
}

impl Asks {
    async fn fetched(&self, presented: &Presented, deadline: Instant) -> Outcome<Fetched<Arc<Told>>> {
        // From here on nobody keeps it.
        let token = presented.token.lock().take();
        let Some(token) = token else { return said(Told::Unusable("was asked twice".to_owned()), Duration::ZERO) };
        let mut facts = Facts::default();
        let mut bytes = 256;
        if let Some((uri, proof)) = &self.introspection {
            let Some(request) = introspect(uri, proof, &token) else {
                return said(Told::Unusable("cannot be asked about this token".to_owned()), Duration::ZERO);
            };
            match self.answered(request, deadline).await {
                Outcome::Answered(answer) => match answer.and_then(|answer| introspected(&answer)) {
                    Ok(told) => {
                        bytes += size(&told);
                        facts.token = Some(told);
                    }
                    Err(other) => return said(other, Duration::ZERO),
                },
                Outcome::Unavailable(unavailable) => return Outcome::Unavailable(unavailable),
            }
        }
        if let Some(uri) = &self.userinfo {
            let Some(request) = inform(uri, &token) else {
                return said(Told::Unusable("cannot be asked about this token".to_owned()), Duration::ZERO);
            };
            match self.answered(request, deadline).await {
                Outcome::Answered(answer) => match answer.and_then(|answer| informed(&answer)) {
                    Ok(told) => {
                        bytes += size(&told);
                        facts.owner = Some(told);
                    }
                    Err(other) => return said(other, Duration::ZERO),
                },
                Outcome::Unavailable(unavailable) => return Outcome::Unavailable(unavailable),
            }
        }
        let lives = facts.token.as_ref().and_then(|token| token.get("exp")).and_then(Json::as_f64);
        let kept = lives.map_or(self.kept, |exp| self.kept.min(until(exp, SystemTime::now())));
        Outcome::Answered(Fetched { value: Arc::new(Told::Good(Arc::new(facts))), bytes, fresh_for: kept })
    }

    /// An answer, whatever it says. That one is too large or makes no sense does not speak against the issuer: whoever owns the
    /// token may have brought it about, and would have nobody ask it.
    async fn answered(&self, request: Request<Bytes>, deadline: Instant) -> Outcome<Result<Response<Bytes>, Told>> {
        match self.client.call(request, deadline).await {
            Outcome::Answered(answer) => Outcome::Answered(Ok(answer)),
            Outcome::Unavailable(why) if matches!(why.why, Why::TooLarge | Why::Unreadable) => {
                Outcome::Answered(Err(Told::Unusable(why.to_string())))
            }
            Outcome::Unavailable(unavailable) => Outcome::Unavailable(unavailable),
        }
    }
}

/// How long it is until `exp`.
fn until(exp: f64, now: SystemTime) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Duration::try_from_secs_f64(exp - now).unwrap_or_default()
}

fn said(told: Told, fresh_for: Duration) -> Outcome<Fetched<Arc<Told>>> {
    Outcome::Answered(Fetched { value: Arc::new(told), bytes: 256, fresh_for })
}

fn size(facts: &Map<String, Json>) -> usize {
    // A tree takes more room than its text.
    serde_json::to_vec(facts).map_or(MOST_BYTES, |text| text.len()) * 2
}

fn introspect(uri: &Uri, proof: &Proof, token: &str) -> Option<Request<Bytes>> {
    let mut form = Serializer::new(String::new());
    form.append_pair("token", token).append_pair("token_type_hint", "access_token");
    if let Some(client_id) = &proof.client_id {
        form.append_pair("client_id", client_id);
    }
    let mut request = Request::post(uri.clone())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json")
        .body(Bytes::from(form.finish()))
        .ok()?;
    if let Some(authorization) = &proof.authorization {
        request.headers_mut().insert(AUTHORIZATION, authorization.clone());
    }
    Some(request)
}

fn inform(uri: &Uri, token: &str) -> Option<Request<Bytes>> {
    let mut bearer = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {token}"))).ok()?;
    bearer.set_sensitive(true);
    let request = Request::get(uri.clone()).header(ACCEPT, "application/json").header(AUTHORIZATION, bearer);
    request.body(Bytes::new()).ok()
}

/// What an answer says of the token; else what that means.
fn introspected(answer: &Response<Bytes>) -> Result<Map<String, Json>, Told> {
    let unusable = |why: &str| Told::Unusable(format!("its answer about a token {why}"));
    if answer.status().as_u16() != 200 {
        return Err(unusable(&format!("has status {}", answer.status().as_u16())));
    }
    let facts = unique_object(answer.body()).map_err(unusable)?;
    match facts.get("active") {
        Some(Json::Bool(true)) => {}
        Some(Json::Bool(false)) => return Err(Told::NotGood("the token is not active")),
        _ => return Err(unusable("does not say whether it is active")),
    }
    if ["exp", "nbf", "iat"].iter().any(|time| facts.get(*time).is_some_and(|time| !time.is_number())) {
        return Err(unusable("has a time that is none"));
    }
    Ok(facts)
}

/// What an answer says of the token's owner; else what that means.
fn informed(answer: &Response<Bytes>) -> Result<Map<String, Json>, Told> {
    let unusable = |why: &str| Told::Unusable(format!("its answer about a user {why}"));
    match answer.status().as_u16() {
        200 => unique_object(answer.body()).map_err(unusable),
        401 | 403 => Err(Told::NotGood("the token tells nothing of a user")),
        status => Err(unusable(&format!("has status {status}"))),
    }
}

impl Facts {
    /// Whether what is said of the owner is said of the one whom `claims` name (OpenID Connect Core, 5.3.2).
    pub fn are_of(&self, claims: &Map<String, Json>) -> bool {
        let named = claims.get("sub").zip(self.owner.as_ref().and_then(|owner| owner.get("sub")));
        named.is_none_or(|(claimed, told)| claimed == told)
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Told::Good(_) => "Good",
            Told::NotGood(_) => "NotGood",
            Told::Unusable(_) => "Unusable",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn who_asks_proves_it_as_rfc_6749_says() {
        let proof = Proof::of(Some("a b"), Some(&Redacted::new("p:w%ü"))).unwrap();
        let expected = format!("Basic {}", STANDARD.encode("a+b:p%3Aw%25%C3%BC"));
        let authorization = proof.authorization.unwrap();
        assert_eq!(authorization.to_str().unwrap(), expected);
        assert!(authorization.is_sensitive());
        let proof = Proof::of(Some("a"), None).unwrap();
        assert_eq!((proof.authorization, proof.client_id.as_deref()), (None, Some("a")));
        assert!(Proof::of(None, Some(&Redacted::new("x"))).is_none());
        let anybody = Proof::of(Some(""), None).unwrap();
        assert_eq!((anybody.authorization, anybody.client_id), (None, None));
    }

    /// Whatever prints requests leaves it out.
    #[test]
    fn the_token_is_no_header_to_be_shown() {
        let request = inform(&Uri::from_static("http://idp/userinfo"), "canary").unwrap();
        assert!(request.headers()[AUTHORIZATION].is_sensitive() && !format!("{request:?}").contains("canary"));
        assert!(inform(&Uri::from_static("http://idp/"), "a\nb").is_none());
    }

    #[test]
    fn what_is_kept_is_never_kept_longer_than_the_token_lives() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(until(1060.5, now), Duration::from_secs_f64(60.5));
        for over in [1000.0, 999.0, 0.0, -1.0, -1e300, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(until(over, now), Duration::ZERO, "{over}");
        }
    }

    fn answer(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap()
    }

    proptest! {
        /// Only a plain yes is one.
        #[test]
        fn whatever_an_issuer_says_only_active_is_active(
            status in prop_oneof![Just(200_u16), 100..600_u16],
            active in prop::sample::select(vec!["true", "false", "\"true\"", "1", "null", "[true]", "{}", "True", ""]),
            key in prop::sample::select(vec!["active", "Active", "\\u0061ctive", "activ"]),
            exp in prop::sample::select(vec!["1", "-1", "1.5", "\"1\"", "null"]),
        ) {
            let body = format!(r#"{{"{key}":{active},"exp":{exp}}}"#);
            let names_it = key == "active" || key.starts_with('\\');
            let good = status == 200 && active == "true" && names_it && !exp.contains('"') && exp != "null";
            prop_assert_eq!(introspected(&answer(status, &body)).is_ok(), good, "{} {}", status, body);
        }

        #[test]
        fn anything_is_read_or_refused(status in 100..600_u16, body in "\\PC{0,60}") {
            prop_assert!(introspected(&answer(status, &body)).is_err());
            let informed = informed(&answer(status, &body));
            prop_assert!(informed.is_err() || status == 200);
        }
    }

    #[test]
    fn what_is_said_of_somebody_else_is_noticed() {
        let facts = |owner: Json| Facts { token: None, owner: owner.as_object().cloned() };
        let claims = json!({"sub": "ann"}).as_object().unwrap().clone();
        assert!(facts(json!({"sub": "ann"})).are_of(&claims) && facts(json!({})).are_of(&claims));
        assert!(Facts::default().are_of(&claims) && facts(json!({"sub": "bob"})).are_of(&Map::new()));
        assert!(!facts(json!({"sub": "bob"})).are_of(&claims) && !facts(json!({"sub": null})).are_of(&claims));
    }
}
