//! Tokens: issuers on loopback, which say what a test tells them to.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use extauth::Authority;
use proto::envoy::service::auth::v3 as pb;
use serde_json::{Value, json};
use waykeeper_tests::tokens::{Signer, in_seconds, jwks};

use crate::pass_through::{Answer, Http, answers, ask_as, ok};
use crate::support::{authority, check};

/// The step `token`: keys at `address`.
fn remote(address: SocketAddr, rest: &str) -> String {
    let jwt = format!("jwt: {{remoteJwks: {{url: 'http://{address}/keys'}}, issuer: 'https://idp', audiences: [us]}}");
    format!("{{name: token, oauth2: {{accessTokenValidation: {{{jwt}{rest}}}}}}}")
}

/// The same with the keys of `signer`.
fn local(signer: &Signer, rest: &str) -> String {
    let keys = jwks([signer]);
    let jwt = format!("jwt: {{localJwks: {{inlineString: '{keys}'}}, issuer: 'https://idp', audiences: [us]}}");
    format!("{{name: token, oauth2: {{accessTokenValidation: {{{jwt}{rest}}}}}}}")
}

/// An AuthConfig `default/ask` of these steps, and a key `good` of `ann`.
fn config(steps: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Secret, type: extauth.solo.io/apikey, metadata: {{name: ann, labels: {{team: a}}}}, stringData: {{api-key: good}}}}
---
{{apiVersion: extauth.solo.io/v1, kind: AuthConfig, metadata: {{name: ask}}, spec: {{configs: [{steps}]{rest}}}}}
"
    )
}

const KEY: &str = "{name: key, apiKeyAuth: {labelSelector: {team: a}}}";

fn claims(more: &Value) -> Value {
    let mut claims = json!({"iss": "https://idp", "sub": "ann", "aud": "us", "exp": in_seconds(600)});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

/// A question about `path` with these headers.
fn at(path: &str, headers: &[(&str, &str)]) -> pb::CheckRequest {
    let mut check = check(Some("default.ask"), headers);
    let http = check.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
    http.path = path.to_owned();
    check
}

async fn ask(authority: &Authority, headers: &[(&str, &str)]) -> Answer {
    ask_as(authority, at("/", headers)).await
}

async fn bearing(authority: &Authority, token: &str) -> Answer {
    ask(authority, &[("authorization", &format!("Bearer {token}"))]).await
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const CHALLENGE: (&str, &str) = ("www-authenticate", "Bearer error=\"invalid_token\"");

#[tokio::test]
async fn what_a_good_token_claims_is_told_and_nobody_else_may_say_it() {
    let signer = Signer::p256("a");
    let uses = ", requiredScopes: {scope: [read, 'a:b']}, dynamicMetadataFromClaims: {organisation: org, everything: deep, none: missing},
        claimsToHeaders: [{claim: org, header: X-Org}, {claim: roles, header: X-Roles}, {claim: more, header: x-roles, append: true},
            {claim: missing, header: X-Missing}, {claim: level, header: x-level, append: true}]";
    let authority = authority(&config(&local(&signer, uses), ""));
    let all = claims(
        &json!({"scope": "write a:b read", "org": "acme", "roles": ["a", "b"], "more": "c", "level": 3, "deep": {"x": [1]}}),
    );
    let token = signer.token(&all);
    let header = format!("Bearer {token}");
    let sent = [
        ("authorization", header.as_str()),
        ("x-org", "evil"),
        ("x_org", "evil"),
        ("x-missing", "1"),
        ("x-user-id", "root"),
        ("x-level", "9"),
        ("x-roles", "root"),
    ];
    let answer = ask(&authority, &sent).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = [("x-user-id", "https://idp;ann"), ("x-org", "acme"), ("x-roles", "a,b,c"), ("x-level", "3")];
    assert_eq!(answer.set, map(&told));
    assert_eq!(answer.removed, ["x-missing"]);
    let metadata = json!({"token": {"organisation": "acme", "everything": {"x": [1]}}, "userId": "https://idp;ann"});
    assert_eq!(answer.metadata, metadata);

    // In the query, as RFC 6750 has it, and not in two places.
    assert_eq!(ask_as(&authority, at(&format!("/a?x=1&access_token={token}&y"), &[])).await.status, 200);
    for path in [format!("/?access_token={token}"), "/?access_token=x".to_owned(), "/?a&access_token".to_owned()] {
        assert_eq!(ask_as(&authority, at(&path, &[("authorization", &header)])).await.status, 403, "{path}");
    }
    assert_eq!(ask_as(&authority, at(&format!("/#?access_token={token}"), &[])).await.status, 403);

    for (scope, status) in [
        (json!("read"), 403),
        (json!("read a:b x"), 200),
        (json!("READ a:b"), 403),
        (json!("read,a:b"), 403),
        (json!(["read", "a:b"]), 403),
        (json!(null), 403),
    ] {
        let token = signer.token(&claims(&json!({"scope": scope})));
        let answer = bearing(&authority, &token).await;
        assert_eq!((answer.status, answer.told.len()), (status, 0), "{scope}");
    }
    // What no header can carry, or what would become more than it is.
    for org in [json!("a\nb"), json!("a\u{0}"), json!(["a,b"]), json!("x".repeat(8193))] {
        let token = signer.token(&claims(&json!({"scope": "read a:b", "org": org})));
        assert_eq!(bearing(&authority, &token).await.status, 403, "{org}");
    }
}

#[tokio::test]
async fn no_token_and_one_that_is_not_good_are_answered_as_gloo_answers_them() {
    let (signer, other) = (Signer::ed25519("a"), Signer::ed25519("a"));
    let authority = authority(&config(&local(&signer, ""), ""));
    for header in ["balbla", "Basic YTpi", "Bearer", "Bearer a b", ""] {
        let answer = ask(&authority, &[("authorization", header)]).await;
        assert_eq!((answer.status, answer.told.len(), &*answer.body), (403, 0, ""), "{header}");
    }
    assert_eq!(ask(&authority, &[]).await.status, 403);
    let over = signer.token(&claims(&json!({"exp": in_seconds(-60)})));
    let elsewhere = signer.token(&claims(&json!({"iss": "https://other"})));
    let theirs = signer.token(&claims(&json!({"aud": "them"})));
    let unknown = Signer::ed25519("b").token(&claims(&json!({})));
    for token in [&over, &elsewhere, &theirs, &unknown, &other.token(&claims(&json!({}))), "opaque", "a.b.c"] {
        let answer = bearing(&authority, token).await;
        assert_eq!((answer.status, &*answer.body), (401, ""), "{token}");
        assert_eq!(answer.told.into_iter().collect::<BTreeMap<_, _>>(), map(&[CHALLENGE]));
    }
    let answer = bearing(&authority, &signer.token(&claims(&json!({})))).await;
    assert_eq!((answer.status, answer.set), (200, map(&[("x-user-id", "https://idp;ann")])));
    // Whoever is nobody in particular is not taken for somebody.
    let nobody = signer.token(&json!({"iss": "https://idp", "aud": "us"}));
    let answer = ask(&authority, &[("authorization", &format!("Bearer {nobody}")), ("x-user-id", "root")]).await;
    assert_eq!((answer.status, answer.set, answer.removed), (200, map(&[]), vec!["x-user-id".to_owned()]));
}

#[tokio::test]
async fn keys_at_an_address_are_fetched_once_and_anew_for_one_that_is_unknown() {
    let (idp, address) = Http::start().await;
    let (old, new, never) = (Signer::ed25519("old"), Signer::rsa("new"), Signer::p256("never"));
    idp.says(ok("", &jwks([&old])));
    let authority = authority(&config(&remote(address, ""), ""));
    authority.index().prepare([&api::Name::new("default", "ask")]);
    let old_token = old.token(&claims(&json!({})));
    for _ in 0..3 {
        assert_eq!(bearing(&authority, &old_token).await.status, 200);
    }
    assert_eq!(idp.times(), 1);
    let (head, _) = idp.asked();
    assert_eq!(head[0], "GET /keys HTTP/1.1");
    assert!(
        head.iter().any(|line| line == "accept: application/json") && !head.iter().any(|line| line.contains("Bearer"))
    );
    // The issuer signs with another key from now on.
    idp.says(ok("", &jwks([&new])));
    assert_eq!(bearing(&authority, &new.token(&claims(&json!({})))).await.status, 200);
    assert_eq!((bearing(&authority, &old_token).await.status, idp.times()), (401, 2));
    // Nobody can have them fetched as often as he likes.
    for _ in 0..5 {
        assert_eq!(bearing(&authority, &never.token(&claims(&json!({})))).await.status, 401);
    }
    assert_eq!(idp.times(), 2);
}

#[tokio::test]
async fn where_the_keys_cannot_be_had_nobody_passes_and_no_negation_holds() {
    let signer = Signer::ed25519("a");
    let token = signer.token(&claims(&json!({})));
    let header = format!("Bearer {token}");
    let (idp, address) = Http::start().await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let redirect = answers(302, &format!("location: http://{address}/other\r\n"), "");
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(512 * 1024));
    let twice = jwks([&signer]).replacen('{', "{\"keys\":[],", 1);
    for (address, says) in [
        (nobody, String::new()),
        (address, answers(500, "", &jwks([&signer]))),
        (address, answers(404, "", &jwks([&signer]))),
        (address, answers(204, "", "")),
        (address, redirect),
        (address, ok("", "<html>")),
        (address, ok("", &large)),
        (address, ok("", &twice)),
        (address, ok("", "{}")),
    ] {
        idp.says(says.clone());
        let said = &says[..says.len().min(60)];
        let token = remote(address, "");
        let both = |expression: &str| {
            authority(&config(&format!("{token}, {KEY}"), &format!(", booleanExpr: '{expression}'")))
        };
        let asked = [("authorization", header.as_str()), ("api-key", "good")];
        let alone = authority(&config(&token, ""));
        assert_eq!(ask(&alone, &asked).await.status, 503, "{said}");
        // It is still not known.
        assert_eq!(ask(&alone, &asked).await.status, 503, "{said}");
        assert_eq!(ask(&both("!token && key"), &asked).await.status, 503, "{said}");
        assert_eq!(ask(&both("token && key"), &asked).await.status, 503, "{said}");
        assert_eq!(ask(&both("token || key"), &asked).await.status, 200, "{said}");
        assert_eq!(ask(&both("!(token || !key)"), &asked).await.status, 503, "{said}");
        // Without a token there is nothing to find out.
        assert_eq!(ask(&alone, &[]).await.status, 403, "{said}");
        assert_eq!(ask(&both("!token && key"), &[("api-key", "good")]).await.status, 200, "{said}");
    }
    // An issuer without keys is one that signs nothing.
    idp.says(ok("", r#"{"keys":[]}"#));
    assert_eq!(ask(&authority(&config(&remote(address, ""), "")), &[("authorization", &header)]).await.status, 401);
}

#[tokio::test]
async fn nobody_is_asked_for_keys_where_clouds_hand_out_credentials() {
    for url in ["http://169.254.169.254/latest", "http://[::ffff:169.254.169.254]/", "http://0.0.0.0/keys"] {
        let step = format!("{{oauth2: {{accessTokenValidation: {{jwt: {{remoteJwks: {{url: '{url}'}}}}}}}}}}");
        let authority = authority(&config(&step, ""));
        let compiled = authority.index();
        let said = format!("{:?}", compiled.declared(&api::Name::new("default", "ask")).unwrap().problems);
        assert!(said.contains("nobody is asked there"), "{said}");
        let token = Signer::ed25519("a").token(&claims(&json!({})));
        assert_eq!(bearing(&authority, &token).await.status, 503, "{url}");
    }
}

#[tokio::test]
async fn later_steps_know_the_claims_and_are_not_told_by_clients_what_they_would_be() {
    let signer = Signer::ed25519("a");
    let (web, address) = Http::start().await;
    let asks = format!(
        "{{name: web, passThroughAuth: {{http: {{url: 'http://{address}/', request: {{allowedHeaders: [x-org, x-user-id], passThroughState: true}}}}}}}}"
    );
    let token = local(&signer, ", claimsToHeaders: [{claim: org, header: X-Org}]");
    let authority = authority(&config(&format!("{token}, {asks}"), ""));
    let all = claims(&json!({"deep": {"a": [1]}}));
    let header = format!("Bearer {}", signer.token(&all));
    let answer = ask(&authority, &[("authorization", &header), ("x-org", "evil"), ("x-user-id", "root")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (head, body) = web.asked();
    assert!(
        head.iter().any(|line| line == "x-user-id: https://idp;ann") && !head.iter().any(|line| line.contains("evil"))
    );
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({"state": {"jwtAccessToken": all}}));
}
