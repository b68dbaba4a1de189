//! Asking a provider for tokens (RFC 6749): for a code, for a refresh token; and telling it that tokens are over (RFC 7009).
//!
//! A code is good once, and so may a refresh token be: requests that come with the same one are one question, and what came of it
//! is kept for a moment, for those that a browser has sent before it heard of it. Kept is a keyed hash of what was asked with.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::json::unique_object;
use api::{Fingerprint, Redacted};
use bytes::Bytes;
use form_urlencoded::Serializer;
use futures_util::FutureExt as _;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response, Uri};
use outbound::cache::Bounds;
use outbound::http::{Client, Limits, Speaks};
use outbound::source::{Fetched, Settings};
use outbound::{Outcome, Source, Unavailable, Why};
use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use super::provider::Provider;
use crate::methods::Trust;
use crate::methods::proof::basic;

/// Of an answer.
const MOST_BYTES: usize = 128 * 1024;
/// What is kept for a moment.
const BOUNDS: Bounds = Bounds { entries: 10_000, bytes: 32 << 20 };
/// How long tokens are kept for whoever asks with the same code or refresh token.
const KEPT: Duration = Duration::from_secs(60);
/// How long it is kept that they are refused.
const REFUSED: Duration = Duration::from_secs(5);
/// How long a provider may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for tokens.
#[derive(Debug)]
pub struct Tokens {
    source: Source<Turn, Arc<Told>>,
}

/// What a provider says.
pub enum Told {
    /// These tokens.
    Tokens(TokenSet),
    /// Not for this code or refresh token.
    Refused,
    /// Nothing that can be used.
    Unusable(String),
    /// That it is done.
    Done,
}

/// Tokens.
pub struct TokenSet {
    /// Who it is.
    pub id: Option<Zeroizing<String>>,
    /// What the application may do.
    pub access: Zeroizing<String>,
    /// Where new ones come from.
    pub refresh: Option<Zeroizing<String>>,
    /// When the access token is over, in seconds.
    pub access_until: Option<u64>,
}

/// What is asked. It is known by its fingerprint, and what it asks with is taken out of it by the call.
#[derive(Clone)]
struct Turn {
    fingerprint: Fingerprint,
    question: Arc<Mutex<Option<Question>>>,
}

/// A form for a provider.
struct Question {
    provider: Arc<Provider>,
    to: Uri,
    form: Form,
    tokens: bool,
}

/// Names and values of a form.
pub type Form = Vec<(&'static str, Zeroizing<String>)>;

/// How it is proven who asks.
#[derive(Debug)]
pub struct Asker {
    /// What the provider calls the client.
    pub id: String,
    /// Its secret, if it has one.
    pub secret: Option<Redacted>,
    /// What else stands in a question for tokens.
    pub more: Vec<(String, String)>,
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Turn {}

impl Hash for Turn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl Tokens {
    /// Of the provider called `who`, asked by `asker`; none by a fault of ours.
    pub fn of(who: &str, asker: Asker, trust: &Trust) -> Option<Tokens> {
        let limits = Limits { body: MOST_BYTES, ..Limits::default() };
        let client = Client::speaking(Speaks::Either, limits, trust.authorities()).ok()?;
        let (asker, who): (_, Arc<str>) = (Arc::new(asker), who.into());
        let settings = Settings { bounds: BOUNDS, patience: PATIENCE, ..Settings::new(&who) };
        let source = Source::new(settings, move |turn: Turn, deadline: Instant| {
            let (client, asker, who) = (client.clone(), asker.clone(), who.clone());
            async move {
                // From here on nobody else has it.
                let question = turn.question.lock().take();
                match question.and_then(|question| Some((asker.request(&question)?, question.tokens))) {
                    Some((request, tokens)) => {
                        client.call(request, deadline).await.and_then(|answer| read(&answer, tokens))
                    }
                    None => Outcome::Unavailable(Unavailable::new(&who, Why::Fault, "")),
                }
            }
            .boxed()
        });
        Some(Tokens { source })
    }

    /// Tokens for a code or a refresh token, which are in `form`; `unique` tells one from the other. None: they are not there by
    /// `deadline`, and will be.
    pub async fn ask(
        &self,
        provider: &Arc<Provider>,
        form: Form,
        unique: &str,
        deadline: Instant,
    ) -> Option<Outcome<Arc<Told>>> {
        let to = provider.token.clone();
        let turn = turn(unique, Question { provider: provider.clone(), to, form, tokens: true });
        match self.source.ask(&turn, deadline).await {
            Outcome::Unavailable(Unavailable { why: Why::TooLate, .. }) if self.source.is_under_way(&turn) => None,
            outcome => Some(outcome),
        }
    }

    /// Tells the provider that `token` is over.
    pub async fn revoke(&self, provider: &Arc<Provider>, to: &Uri, token: &str, hint: &str, deadline: Instant) {
        let form =
            vec![("token", Zeroizing::new(token.to_owned())), ("token_type_hint", Zeroizing::new(hint.to_owned()))];
        let question = Question { provider: provider.clone(), to: to.clone(), form, tokens: false };
        // Whatever it says: here the session is over.
        let _ = self.source.ask(&turn(&format!("revoke {token}"), question), deadline).await;
    }
}

fn turn(unique: &str, question: Question) -> Turn {
    Turn { fingerprint: Fingerprint::of(unique.as_bytes()), question: Arc::new(Mutex::new(Some(question))) }
}

impl Asker {
    fn request(&self, question: &Question) -> Option<Request<Bytes>> {
        let mut form = Serializer::new(String::new());
        for (name, value) in &question.form {
            form.append_pair(name, value);
        }
        if question.tokens {
            form.extend_pairs(&self.more);
        }
        let mut authorization = None;
        match &self.secret {
            Some(secret) if question.provider.takes_basic => authorization = Some(basic(&self.id, secret)?),
            Some(secret) => {
                form.append_pair("client_id", &self.id);
                form.append_pair("client_secret", std::str::from_utf8(secret.expose()).ok()?);
            }
            None => drop(form.append_pair("client_id", &self.id)),
        }
        let mut request = Request::post(question.to.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Bytes::from(form.finish()))
            .ok()?;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        Some(request)
    }
}

fn read(answer: &Response<Bytes>, tokens: bool) -> Outcome<Fetched<Arc<Told>>> {
    let (told, kept) = match (tokens, answer.status().as_u16()) {
        (false, _) => (Told::Done, Duration::ZERO),
        (true, 200) => match token_set(answer.body(), SystemTime::now()) {
            Ok(set) => (Told::Tokens(set), KEPT),
            Err(why) => (Told::Unusable(why.to_owned()), Duration::ZERO),
        },
        (true, 400) if error(answer.body()).as_deref() == Some("invalid_grant") => (Told::Refused, REFUSED),
        (true, status) => (Told::Unusable(unusable(status, answer.body())), Duration::ZERO),
    };
    Outcome::Answered(Fetched { value: Arc::new(told), bytes: answer.body().len() * 2 + 512, fresh_for: kept })
}

/// What a provider calls what is wrong (RFC 6749, 5.2).
fn error(body: &[u8]) -> Option<String> {
    let said = unique_object(body).ok()?;
    let error = said.get("error")?.as_str()?;
    let plain = error.len() <= 64 && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    plain.then(|| error.to_owned())
}

fn unusable(status: u16, body: &[u8]) -> String {
    match error(body) {
        Some(error) => format!("it answers {status}, {error}, where tokens are asked for"),
        None => format!("it answers {status} where tokens are asked for"),
    }
}

fn token_set(body: &[u8], now: SystemTime) -> Result<TokenSet, &'static str> {
    let said = unique_object(body).map_err(|_| "its tokens cannot be read")?;
    let token = |name: &str| match said.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(token)) if is_token(token) => Ok(Some(Zeroizing::new(token.clone()))),
        Some(_) => Err("a token that is none"),
    };
    let bearer = said.get("token_type").and_then(Json::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !bearer {
        return Err("its tokens are no bearer's");
    }
    Ok(TokenSet {
        id: token("id_token")?,
        access: token("access_token")?.ok_or("it gives no access token")?,
        refresh: token("refresh_token")?,
        access_until: lifetime(&said)?.map(|seconds| seconds_of(now).saturating_add(seconds)),
    })
}

/// Some providers write the number as a text.
fn lifetime(said: &Map<String, Json>) -> Result<Option<u64>, &'static str> {
    match said.get("expires_in") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => text.parse().map(Some).map_err(|_| "a lifetime that is none"),
        Some(Json::Number(number)) => match number.as_f64().filter(|seconds| (0.0..1e12).contains(seconds)) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Some(seconds) => Ok(Some(seconds as u64)),
            None => Err("a lifetime that is none"),
        },
        Some(_) => Err("a lifetime that is none"),
    }
}

/// RFC 6749, appendix A.12.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
}

/// `time` in seconds, as tokens say it.
pub fn seconds_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Told::Tokens(_) => "Tokens",
            Told::Refused => "Refused",
            Told::Unusable(_) => "Unusable",
            Told::Done => "Done",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    fn told(status: u16, body: &str) -> Arc<Told> {
        let answer = Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap();
        match read(&answer, true) {
            Outcome::Answered(fetched) => fetched.value,
            Outcome::Unavailable(why) => panic!("{why}"),
        }
    }

    #[test]
    fn tokens_are_read_and_nothing_that_is_none() {
        let good = json!({"token_type": "bearer", "access_token": "a", "id_token": "i", "refresh_token": "r", "expires_in": 60});
        let set = token_set(good.to_string().as_bytes(), UNIX_EPOCH + Duration::from_secs(100)).unwrap();
        assert_eq!((set.id.unwrap().as_str(), set.refresh.unwrap().as_str(), set.access_until), ("i", "r", Some(160)));
        let text = json!({"token_type": "Bearer", "access_token": "a", "expires_in": "60", "id_token": null});
        let set = token_set(text.to_string().as_bytes(), UNIX_EPOCH).unwrap();
        assert_eq!((set.access.as_str(), set.access_until, set.id.is_none()), ("a", Some(60), true));
        for (name, value) in [
            ("token_type", json!("mac")),
            ("token_type", json!(null)),
            ("access_token", json!(null)),
            ("access_token", json!("")),
            ("access_token", json!(1)),
            ("id_token", json!("a\nb")),
            ("expires_in", json!(-1)),
            ("expires_in", json!("soon")),
            ("expires_in", json!([])),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            assert!(token_set(bad.to_string().as_bytes(), UNIX_EPOCH).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_says_that_a_code_is_not_good_says_so() {
        assert!(matches!(&*told(400, r#"{"error":"invalid_grant"}"#), Told::Refused));
        for (status, body, why) in [
            (401, r#"{"error":"invalid_grant"}"#, "401, invalid_grant"),
            (400, r#"{"error":"invalid_client"}"#, "400, invalid_client"),
            (400, r#"{"error":"canary CANARY"}"#, "answers 400 where"),
            (302, "", "answers 302"),
            (500, "canary", "answers 500"),
            (200, "canary", "cannot be read"),
            (200, r#"{"access_token":"canary","access_token":"b","token_type":"bearer"}"#, "cannot be read"),
        ] {
            match &*told(status, body) {
                Told::Unusable(said) => assert!(said.contains(why) && !said.contains("canary"), "{said}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn who_asks_is_proven_in_the_header_in_the_form_or_not_at_all() {
        let provider = |takes_basic| {
            Arc::new(Provider {
                issuer: String::new(),
                authorization: String::new(),
                token: Uri::from_static("http://a/"),
                revocation: None,
                end_session: None,
                takes_basic,
                says_issuer: false,
                keys: crate::methods::access_token::keys::Keys::of(Default::default()),
            })
        };
        let asked = |secret: Option<&str>, takes_basic, tokens| {
            let client = Asker {
                id: "a b".to_owned(),
                secret: secret.map(Redacted::new),
                more: vec![("x".to_owned(), "y".to_owned())],
            };
            let form = vec![("code", Zeroizing::new("c&d".to_owned()))];
            let to = Uri::from_static("http://a/");
            let request = client.request(&Question { provider: provider(takes_basic), to, form, tokens }).unwrap();
            let header = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            (header, String::from_utf8(request.body().to_vec()).unwrap())
        };
        let basic = Some(format!("Basic {}", STANDARD.encode("a+b:p%3Aw")));
        assert_eq!(asked(Some("p:w"), true, true), (basic, "code=c%26d&x=y".to_owned()));
        assert_eq!(asked(Some("p:w"), false, false), (None, "code=c%26d&client_id=a+b&client_secret=p%3Aw".to_owned()));
        assert_eq!(asked(None, true, true), (None, "code=c%26d&x=y&client_id=a+b".to_owned()));
    }
}
