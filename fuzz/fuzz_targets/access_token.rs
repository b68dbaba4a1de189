//! Never: a token that panics, goes unanswered, or is good without being signed with the key and right in all that is asked of it.
#![no_main]

use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use extauth::{Authority, Compilation, Compiler, Settings};
use libfuzzer_sys::fuzz_target;
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use serde_json::Value;
use waykeeper_fuzz::{documents, snapshot};
use waykeeper_tests::tokens::{Signer, jwks};

static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::ed25519("key"));

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let manifest = format!(
        "{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: token}}, spec: {{configs: [{{oauth2: {{accessTokenValidation: {{
           jwt: {{localJwks: {{inlineString: '{}'}}, issuer: i, audiences: [a]}}, requiredScopes: {{scope: [s]}},
           claimsToHeaders: [{{claim: c, header: x-c}}], dynamicMetadataFromClaims: {{m: c}}}}}}}}]}}}}",
        jwks([&*SIGNER])
    );
    let snapshot = snapshot(&documents(manifest.as_bytes()));
    assert!(snapshot.broken.is_empty() && snapshot.auth_configs.len() == 1, "the fixture is wrong");
    let authority = Authority::new();
    let compiled = Compiler::new(&Settings::default()).compile(Compilation::default(), &snapshot, Instant::now());
    authority.install(compiled.index);
    authority
});

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest).into_owned();
    match first % 4 {
        // Whatever a client may send, with a good signature under it or not.
        0 => assert!(!allowed(Some(format!("Bearer {text}")), String::new()), "{text}"),
        1 => assert!(!allowed(None, text.clone()), "{text}"),
        2 => signed(&SIGNER.header().to_string(), &text),
        _ => {
            let (header, claims) = text.split_once('\n').unwrap_or((&text, ""));
            signed(header, claims);
        }
    }
});

/// A token of these texts, signed with the key: good only if they are right.
fn signed(header: &str, claims: &str) {
    let good = allowed(Some(format!("Bearer {}", SIGNER.signed(header, claims))), String::new());
    assert!(!good || right(header, claims), "{header} {claims}");
}

/// What is asked of a token, as another reader sees it.
fn right(header: &str, claims: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    let (Some(header), Some(claims)) = (read(header), read(claims)) else { return false };
    let algorithm = header["alg"] == "EdDSA" || header["alg"] == "Ed25519";
    let audience = claims["aud"] == "a" || claims["aud"].as_array().is_some_and(|all| all.iter().any(|one| one == "a"));
    let scope = claims["scope"].as_str().is_some_and(|scopes| scopes.split(' ').any(|scope| scope == "s"));
    let lasts = claims.get("exp").is_none_or(|exp| exp.as_f64().is_some_and(|exp| exp > 1.7e9));
    algorithm
        && header["kid"] == "key"
        && header.get("crit").is_none()
        && claims["iss"] == "i"
        && audience
        && scope
        && lasts
}

fn allowed(authorization: Option<String>, query: String) -> bool {
    let headers = authorization.map(|value| ("authorization".to_owned(), value)).into_iter().collect();
    let http = HttpRequest { headers, path: format!("/?{query}"), ..Default::default() };
    let check = pb::CheckRequest {
        attributes: Some(pb::AttributeContext {
            request: Some(Request { http: Some(http), ..Default::default() }),
            context_extensions: [("config_id".to_owned(), "default.token".to_owned())].into(),
            ..Default::default()
        }),
    };
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    });
    let answer = runtime.block_on(AUTHORITY.answer(&check, Instant::now() + Duration::from_secs(10)));
    matches!(answer.http_response.expect("every answer says what to do"), HttpResponse::OkResponse(_))
}
