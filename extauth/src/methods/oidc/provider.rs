//! What a provider says of itself (OpenID Connect Discovery): where it is asked what, and with which keys it signs.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use api::gloo::auth_config::jwks::{KeySet, MOST_BYTES};
use api::gloo::auth_config::{DiscoveryOverride, OidcAuthorizationCode, Target};
use api::json::unique_object;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::ACCEPT;
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use outbound::http::{Authorities, Client, Limits, Speaks};
use outbound::{Outcome, Unavailable, Why};
use serde_json::{Map, Value as Json};

use crate::methods::Trust;
use crate::methods::access_token::keys::Keys;
use crate::methods::access_token::remote::Remote;

/// A provider.
pub struct Provider {
    /// What its tokens call it.
    pub issuer: String,
    /// Where browsers are sent to log in.
    pub authorization: String,
    /// Where codes become tokens.
    pub token: Uri,
    /// Where tokens are ended.
    pub revocation: Option<Uri>,
    /// Where browsers are sent to log out.
    pub end_session: Option<String>,
    /// Whether it takes a secret in a header.
    pub takes_basic: bool,
    /// Whether what comes back from it says its name (RFC 9207).
    pub says_issuer: bool,
    /// The keys that it signs with.
    pub keys: Keys,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// How it is found out.
struct Asks {
    client: Client,
    who: Arc<str>,
    uri: Uri,
    /// What it must call itself, but for a slash at the end.
    issuer: String,
    /// Whether it is asked over TLS, and so must be all that it names.
    tls: bool,
    own: DiscoveryOverride,
}

/// The provider of `login`, asked before it is needed and again and again; none by a fault of ours.
pub fn remote(login: &OidcAuthorizationCode, trust: &Trust) -> Option<Remote<Provider>> {
    let target = Target::of_url(&login.discovery_url()).ok()?;
    let limits = Limits { body: MOST_BYTES, idle: 1, ..Limits::default() };
    let trusted = if target.tls { trust.authorities() } else { Arc::new(Authorities::empty()) };
    let who: Arc<str> = target.authority().into();
    let asks = Arc::new(Asks {
        client: Client::speaking(Speaks::Either, limits, trusted).ok()?,
        who: who.clone(),
        uri: uri(&target)?,
        issuer: plain(login.issuer_url.as_deref()?).to_owned(),
        tls: target.tls,
        own: login.discovery_override.clone().unwrap_or_default(),
    });
    Some(Remote::asking(&who, login.poll(), move |deadline| {
        let asks = asks.clone();
        async move { asks.provider(deadline).await }.boxed()
    }))
}

/// `target` as it is asked.
pub fn uri(target: &Target) -> Option<Uri> {
    let scheme = if target.tls { "https" } else { "http" };
    Uri::builder().scheme(scheme).authority(target.authority()).path_and_query(&*target.path).build().ok()
}

/// Gloo's readers write issuers with and without a slash at the end.
fn plain(issuer: &str) -> &str {
    issuer.strip_suffix('/').unwrap_or(issuer)
}

impl Asks {
    async fn provider(&self, deadline: Instant) -> Outcome<Arc<Provider>> {
        let said = match self.answered(self.uri.clone(), deadline).await {
            Outcome::Answered(answer) => self.read(&answer),
            Outcome::Unavailable(unavailable) => return Outcome::Unavailable(unavailable),
        };
        let (mut provider, keys) = match said {
            Ok(said) => said,
            Err(why) => return self.unreadable(&why),
        };
        self.answered(keys, deadline).await.and_then(|answer| match KeySet::parse(answer.body()) {
            _ if answer.status() != StatusCode::OK => self.unreadable("its keys have not the status 200"),
            Ok(set) => {
                provider.keys = Keys::of(set);
                Outcome::Answered(Arc::new(provider))
            }
            Err(why) => self.unreadable(&format!("its JSON Web Key Set {why}")),
        })
    }

    async fn answered(&self, uri: Uri, deadline: Instant) -> Outcome<Response<Bytes>> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        self.client.call(request, deadline).await
    }

    fn unreadable<T>(&self, why: &str) -> Outcome<T> {
        Outcome::Unavailable(Unavailable::new(&self.who, Why::Unreadable, why))
    }

    /// What it says of itself, without keys, and where these are.
    fn read(&self, answer: &Response<Bytes>) -> Result<(Provider, Uri), String> {
        if answer.status() != StatusCode::OK {
            return Err(format!("what it says of itself has the status {}", answer.status().as_u16()));
        }
        let said = unique_object(answer.body()).map_err(|why| format!("what it says of itself {why}"))?;
        let issuer = text(&said, "issuer").ok_or("it does not say who it is")?;
        if plain(issuer) != self.issuer {
            // Another's answer, or one that is meant for another (OpenID Connect Discovery, 4.3).
            return Err("it calls itself by another name than issuerUrl".to_owned());
        }
        let address = |own: &Option<String>, name: &str| -> Result<Option<Target>, String> {
            let written = own.as_deref().filter(|own| !own.is_empty());
            let Some(url) = written.or_else(|| text(&said, name)) else { return Ok(None) };
            let target = Target::of_url(url).map_err(|why| format!("its {name} {why}"))?;
            match target.tls || !self.tls || written.is_some() {
                true => Ok(Some(target)),
                false => Err(format!("its {name} is not over TLS")),
            }
        };
        let needed = |own, name: &str| address(own, name)?.ok_or(format!("it names no {name}"));
        let asked = |target: &Target| uri(target).ok_or("an address that cannot be asked".to_owned());
        let shown = |target: &Target| format!("{}{}", target.origin(), target.path);
        let own = &self.own;
        let keys = asked(&needed(&own.jwks_uri, "jwks_uri")?)?;
        let revocation = address(&own.revocation_endpoint, "revocation_endpoint")?;
        let end_session = address(&own.end_session_endpoint, "end_session_endpoint")?;
        let methods = match own.auth_methods.is_empty() {
            true => list(&said, "token_endpoint_auth_methods_supported"),
            false => Some(own.auth_methods.iter().map(String::as_str).collect()),
        };
        let takes = |method: &str| methods.as_ref().is_some_and(|methods| methods.contains(&method));
        let provider = Provider {
            issuer: issuer.to_owned(),
            authorization: shown(&needed(&own.auth_endpoint, "authorization_endpoint")?),
            token: asked(&needed(&own.token_endpoint, "token_endpoint")?)?,
            revocation: revocation.as_ref().map(asked).transpose()?,
            end_session: end_session.as_ref().map(shown),
            // What it takes unless it says otherwise.
            takes_basic: takes("client_secret_basic") || !takes("client_secret_post"),
            says_issuer: said.get("authorization_response_iss_parameter_supported") == Some(&Json::Bool(true)),
            keys: Keys::of(KeySet::default()),
        };
        Ok((provider, keys))
    }
}

fn text<'a>(said: &'a Map<String, Json>, name: &str) -> Option<&'a str> {
    said.get(name).and_then(Json::as_str).filter(|text| !text.is_empty())
}

fn list<'a>(said: &'a Map<String, Json>, name: &str) -> Option<Vec<&'a str>> {
    Some(said.get(name)?.as_array()?.iter().filter_map(Json::as_str).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said_is_a_text_that_says_something() {
        let said = json!({"a": "x", "b": "", "c": 7, "d": null}).as_object().unwrap().clone();
        assert_eq!(["a", "b", "c", "d", "e"].map(|name| text(&said, name)), [Some("x"), None, None, None, None]);
    }

    fn asks(issuer: &str) -> Asks {
        let tls = issuer.starts_with("https");
        Asks {
            client: Client::new(Limits::default(), Authorities::empty()).unwrap(),
            who: "idp".into(),
            uri: Uri::from_static("http://idp/"),
            issuer: plain(issuer).to_owned(),
            tls,
            own: DiscoveryOverride::default(),
        }
    }

    fn said(more: &Json) -> Response<Bytes> {
        let mut said = json!({"issuer": "https://idp/r", "authorization_endpoint": "https://idp/auth?x=1",
            "token_endpoint": "https://tokens.idp:8443/t", "jwks_uri": "https://idp/keys"});
        said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Response::new(Bytes::from(said.to_string()))
    }

    #[test]
    fn a_provider_says_where_it_is_asked() {
        let (provider, keys) = asks("https://idp/r/").read(&said(&json!({}))).unwrap();
        assert_eq!((provider.issuer.as_str(), keys.to_string().as_str()), ("https://idp/r", "https://idp:443/keys"));
        assert_eq!(provider.authorization, "https://idp/auth?x=1");
        assert!(provider.takes_basic && !provider.says_issuer && provider.revocation.is_none());
        let more = json!({"token_endpoint_auth_methods_supported": ["client_secret_post"], "revocation_endpoint": "https://idp/r",
            "end_session_endpoint": "https://idp/e", "authorization_response_iss_parameter_supported": true});
        let (provider, _) = asks("https://idp/r").read(&said(&more)).unwrap();
        assert!(!provider.takes_basic && provider.says_issuer && provider.revocation.is_some());
        let own = DiscoveryOverride {
            token_endpoint: Some("http://inside/t".to_owned()),
            auth_methods: vec!["client_secret_post".to_owned()],
            ..DiscoveryOverride::default()
        };
        let (provider, _) = Asks { own, ..asks("https://idp/r") }.read(&said(&json!({}))).unwrap();
        assert_eq!((provider.token.to_string().as_str(), provider.takes_basic), ("http://inside:80/t", false));
    }

    #[test]
    fn what_is_said_by_another_or_leads_out_of_tls_is_no_answer() {
        for (more, why) in [
            (json!({"issuer": "https://other"}), "another name"),
            (json!({"issuer": "https://idp/r//"}), "another name"),
            (json!({"issuer": null}), "does not say who"),
            (json!({"token_endpoint": "http://idp/t"}), "token_endpoint is not over TLS"),
            (json!({"jwks_uri": "http://169.254.169.254/"}), "jwks_uri is not over TLS"),
            (json!({"authorization_endpoint": "javascript:alert(1)"}), "authorization_endpoint is no URL"),
            (json!({"authorization_endpoint": null}), "names no authorization_endpoint"),
            (json!({"token_endpoint": "https://user:canary@idp/"}), "token_endpoint has a user"),
            (json!({"end_session_endpoint": "//idp"}), "end_session_endpoint is no URL"),
        ] {
            let read = asks("https://idp/r").read(&said(&more)).unwrap_err();
            assert!(read.contains(why) && !read.contains("canary"), "{more}: {read}");
        }
        let mut failed = said(&json!({}));
        *failed.status_mut() = StatusCode::FOUND;
        assert!(asks("https://idp/r").read(&failed).is_err());
        let twice = r#"{"issuer": "https://idp/r", "issuer": "https://idp/r"}"#;
        assert!(asks("https://idp/r").read(&Response::new(Bytes::from(twice))).unwrap_err().contains("twice"));
    }
}
