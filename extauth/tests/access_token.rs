//! Tokens: issuers on loopback, which say what a test tells them to.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use extauth::methods::Pem;
use extauth::{Authority, Compilation, Compiler, Settings};
use proto::envoy::service::auth::v3 as pb;
use serde_json::{Value, json};
use waykeeper_tests::tokens::{Signer, in_seconds, jwks};

use crate::pass_through::{Answer, Http, Log, answers, ask_as, ok};
use crate::support::{authority, check, compile, compiler, snapshot};

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
    let fetched = async {
        while idp.times() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), fetched).await.expect("nobody has to ask for them");
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
async fn that_a_key_is_none_of_those_is_not_known_while_they_cannot_be_fetched() {
    let (idp, address) = Http::start().await;
    let (known, other) = (Signer::ed25519("known"), Signer::ed25519("other"));
    idp.says(ok("", &jwks([&known])));
    let good = known.token(&claims(&json!({})));
    let header = format!("Bearer {}", other.token(&claims(&json!({}))));
    for (expression, status) in [("token", 503), ("!token", 503)] {
        let authority = authority(&config(&remote(address, ""), &format!(", booleanExpr: '{expression}'")));
        idp.says(ok("", &jwks([&known])));
        bearing(&authority, &good).await;
        idp.says(answers(500, "", ""));
        assert_eq!(ask(&authority, &[("authorization", &header)]).await.status, status, "{expression}");
        // What was known is known.
        let expected = if expression == "token" { 200 } else { 403 };
        assert_eq!(bearing(&authority, &good).await.status, expected, "{expression}");
    }
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

/// The step `token`: an issuer at `address` is asked, by the client `us` with a secret.
fn asks(address: SocketAddr, more: &str, rest: &str) -> String {
    let introspection = format!(
        "introspectionUrl: 'http://{address}/introspect', clientId: us, clientSecretRef: {{name: client}}{more}"
    );
    format!("{{name: token, oauth2: {{accessTokenValidation: {{introspection: {{{introspection}}}{rest}}}}}}}")
}

fn secret(kind: &str, key: &str, value: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Secret, type: {kind}, metadata: {{name: client}}, stringData: {{{key}: '{value}'}}}}\n"
    )
}

/// Such an AuthConfig with the Secret.
fn with_secret(steps: &str, rest: &str) -> String {
    config(steps, rest) + &secret("extauth.solo.io/oauth", "client-secret", "p w")
}

fn json_ok(body: &Value) -> String {
    ok("content-type: application/json\r\n", &body.to_string())
}

#[tokio::test]
async fn an_issuer_says_who_a_token_is_and_is_asked_once() {
    let (idp, address) = Http::start().await;
    let uses = ", requiredScopes: {scope: [read]}, claimsToHeaders: [{claim: org, header: X-Org}], dynamicMetadataFromClaims: {plan: plan}";
    let authority = authority(&with_secret(&asks(address, ", userIdAttributeName: username", uses), ""));
    let said = json!({"active": true, "username": "ann", "scope": "write read", "org": "acme", "plan": {"a": 1}, "exp": in_seconds(600)});
    idp.says(json_ok(&said));
    let token = "2YotnFZFEjr1zCsicMWpAA+/~==";
    let sent = [("authorization", &*format!("Bearer {token}")), ("x-org", "evil"), ("x-user-id", "root")];
    let answer = ask(&authority, &sent).await;
    assert_eq!((answer.status, answer.set), (200, map(&[("x-org", "acme"), ("x-user-id", "ann")])));
    assert_eq!(answer.metadata, json!({"token": {"plan": {"a": 1}}, "userId": "ann"}));
    let (head, body) = idp.asked();
    assert_eq!(head[0], "POST /introspect HTTP/1.1");
    for line in
        ["authorization: Basic dXM6cCt3", "content-type: application/x-www-form-urlencoded", "accept: application/json"]
    {
        assert!(head.iter().any(|said| said == line), "{line}: {head:?}");
    }
    assert_eq!(body, "token=2YotnFZFEjr1zCsicMWpAA%2B%2F%7E%3D%3D&token_type_hint=access_token");
    for _ in 0..5 {
        assert_eq!(ask(&authority, &sent).await.status, 200);
    }
    assert_eq!(idp.times(), 1);
    // Another token is another question; what makes no token is none.
    idp.says(json_ok(&json!({"active": false})));
    assert_eq!((bearing(&authority, "other").await.status, idp.times()), (403, 2));
    for path in ["/?access_token=", "/", "/?access_token=a%0ab"] {
        assert_eq!(ask_as(&authority, at(path, &[])).await.status, 403);
    }
    assert_eq!(idp.times(), 2);
    // A no is not kept: it may be the other way round by now. In the query it is the same token.
    idp.says(json_ok(&said));
    assert_eq!(ask_as(&authority, at("/?access_token=other", &[])).await.status, 200);
    assert_eq!((bearing(&authority, "other").await.status, idp.times()), (200, 3));
}

/// Over TLS an issuer is asked only if somebody trusted says that it is the one.
#[tokio::test]
async fn over_tls_only_an_issuer_of_a_trusted_authority_is_asked_and_only_by_its_name() {
    let signer = Signer::ed25519("a");
    let (idp, address, pem) = Http::start_with_tls().await;
    let port = address.port();
    let own = Pem::parse(&STANDARD.encode(pem)).unwrap();
    for (host, trusted, status) in
        [("localhost", Some(own.clone()), 200), ("127.0.0.1", Some(own), 503), ("localhost", None, 503)]
    {
        let at = format!("https://{host}:{port}");
        let keys = format!("jwt: {{remoteJwks: {{url: '{at}/keys'}}, issuer: 'https://idp', audiences: [us]}}");
        let introspection = format!("introspectionUrl: '{at}/introspect', userinfoUrl: '{at}/userinfo'");
        let signed = signer.token(&claims(&json!({})));
        for (says, step, token) in [
            (ok("", &jwks([&signer])), keys, signed.as_str()),
            (json_ok(&json!({"active": true, "sub": "ann"})), introspection, "opaque"),
        ] {
            idp.says(says);
            let settings = Settings { https_passthrough_ca_cert: trusted.clone(), ..Settings::default() };
            let yaml = config(&format!("{{name: token, oauth2: {{accessTokenValidation: {{{step}}}}}}}"), "");
            let compiled = compile(&Compiler::new(&settings), &snapshot(1, &yaml), Compilation::default());
            let authority = Authority::new();
            authority.install(compiled.index);
            assert_eq!(bearing(&authority, token).await.status, status, "{host} {step}");
        }
    }
}

/// Whoever is to be somebody by a claim and is nobody does not pass as nobody.
#[tokio::test]
async fn a_token_that_names_no_user_where_one_is_named_is_refused() {
    let (idp, address) = Http::start().await;
    let authority = authority(&with_secret(&asks(address, ", userIdAttributeName: username", ""), ""));
    for (number, (user, expected)) in [
        (json!("ann"), Some("ann")),
        (json!(7), Some("7")),
        (json!(""), None),
        (json!(null), None),
        (json!(true), None),
        (json!(["ann"]), None),
        (json!({"a": 1}), None),
    ]
    .into_iter()
    .enumerate()
    {
        idp.says(json_ok(&json!({"active": true, "sub": "root", "username": user})));
        let answer = bearing(&authority, &format!("token{number}")).await;
        let status = if expected.is_some() { 200 } else { 403 };
        assert_eq!((answer.status, answer.set.get("x-user-id").map(String::as_str)), (status, expected), "{user}");
    }
}

/// An issuer that is gone is left alone after a while; one whose answers make no sense is asked again: whoever owns a token may
/// have brought that about.
#[tokio::test]
async fn what_speaks_against_an_issuer_is_that_it_is_gone_and_not_what_it_says() {
    let (idp, address) = Http::start().await;
    let told = json_ok(&json!({"active": true, "sub": "ann"}));
    let asks = config(
        &format!(
            "{{name: token, oauth2: {{accessTokenValidation: {{introspectionUrl: 'http://{address}/introspect'}}}}}}"
        ),
        "",
    );
    for (says, well) in
        [(ok("", &"x".repeat(2 << 20)), true), ("nonsense\r\n\r\n".to_owned(), true), (String::new(), false)]
    {
        let authority = authority(&asks);
        idp.says(says.clone());
        for number in 0..20 {
            assert_eq!(bearing(&authority, &format!("{number}")).await.status, 503);
        }
        idp.says(told.clone());
        let answer = bearing(&authority, "good").await;
        assert_eq!(answer.status, if well { 200 } else { 503 }, "{}", &says[..says.len().min(20)]);
    }
}

#[tokio::test]
async fn what_an_issuer_says_of_a_token_counts_for_its_time_and_has_to_be_enough() {
    let (idp, address) = Http::start().await;
    let uses = ", requiredScopes: {scope: [read]}, claimsToHeaders: [{claim: org, header: X-Org}]";
    let kept = authority(&with_secret(&asks(address, ", userIdAttributeName: id", uses), ""));
    let said = |more: Value| {
        let mut said = json!({"active": true, "id": "ann", "scope": "read"});
        said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json_ok(&said)
    };
    for (number, (more, status)) in [
        (json!({}), 200),
        (json!({"id": 7}), 200),
        (json!({"exp": in_seconds(-60)}), 403),
        (json!({"nbf": in_seconds(60)}), 403),
        (json!({"scope": "reads"}), 403),
        (json!({"scope": null}), 403),
        (json!({"id": null}), 403),
        (json!({"id": ""}), 403),
        (json!({"id": ["ann"]}), 403),
        (json!({"id": "a\nb"}), 403),
        (json!({"org": "a\nb"}), 403),
        (json!({"active": false}), 403),
    ]
    .into_iter()
    .enumerate()
    {
        idp.says(said(more.clone()));
        let answer = bearing(&kept, &format!("t{number}")).await;
        assert_eq!((answer.status, answer.told.len(), &*answer.body), (status, 0, ""), "{more}");
    }
    // With 0s each request is asked about, and so is one whose token lives no longer.
    let each = authority(&with_secret(&asks(address, "", ", cacheTimeout: 0s"), ""));
    idp.says(said(json!({})));
    let before = idp.times();
    for _ in 0..3 {
        assert_eq!(bearing(&each, "t").await.status, 200);
    }
    assert_eq!(idp.times(), before + 3);
    idp.says(said(json!({"exp": in_seconds(-5)})));
    let short = authority(&with_secret(&asks(address, "", ""), ""));
    for _ in 0..3 {
        assert_eq!(bearing(&short, "t").await.status, 200, "clocks differ");
    }
    assert_eq!(idp.times(), before + 6);
}

#[tokio::test]
async fn what_an_issuer_says_that_is_no_answer_lets_nobody_pass_and_speaks_against_nobody() {
    let (idp, address) = Http::start().await;
    let token = asks(address, "", "");
    let alone = authority(&with_secret(&token, ""));
    let expression = |expression: &str| {
        authority(&with_secret(&format!("{token}, {KEY}"), &format!(", booleanExpr: '{expression}'")))
    };
    let (neither, either) = (expression("!token && key"), expression("token || key"));
    let good = json_ok(&json!({"active": true}));
    for (number, says) in [
        answers(500, "", r#"{"active":true}"#),
        answers(401, "", ""),
        answers(404, "", r#"{"active":true}"#),
        answers(201, "", r#"{"active":true}"#),
        answers(302, &format!("location: http://{address}/other\r\n"), ""),
        ok("", ""),
        ok("", "<html>"),
        ok("", "[true]"),
        ok("", "{}"),
        ok("", r#"{"active":"true"}"#),
        ok("", r#"{"active":1}"#),
        ok("", r#"{"active":false,"active":true}"#),
        ok("", r#"{"active":true,"exp":"1900000000"}"#),
        ok("", &json!({"active": true, "x": "x".repeat(70_000)}).to_string()),
        "nonsense\r\n\r\n".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let said = says[..says.len().min(90)].to_owned();
        idp.says(says);
        let header = format!("Bearer t{number}");
        let sent = [("authorization", header.as_str()), ("api-key", "good")];
        for _ in 0..2 {
            assert_eq!(ask(&alone, &sent).await.status, 503, "{said}");
        }
        assert_eq!(ask(&neither, &sent).await.status, 503, "{said}");
        assert_eq!(ask(&either, &sent).await.status, 200, "{said}");
        // Or whoever can make an issuer answer nonsense could have nobody asked any more.
        idp.says(good.clone());
        assert_eq!(ask(&alone, &sent).await.status, 200, "{said}");
    }
    // Nor can whoever owns a token about which there is much to say.
    idp.says(ok("", &json!({"active": true, "x": "x".repeat(70_000)}).to_string()));
    for number in 0..8 {
        assert_eq!(bearing(&alone, &format!("large{number}")).await.status, 503);
    }
    idp.says(good);
    assert_eq!(bearing(&alone, "small").await.status, 200);
    // Who is not there at all is left alone after a while, and nobody passes.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let (alone, neither) = (
        authority(&with_secret(&asks(nobody, "", ""), "")),
        authority(&with_secret(&asks(nobody, "", ""), ", booleanExpr: '!token'")),
    );
    for number in 0..8 {
        assert_eq!(bearing(&alone, &format!("t{number}")).await.status, 503);
        assert_eq!(bearing(&neither, &format!("t{number}")).await.status, 503);
    }
}

#[tokio::test]
async fn an_issuer_tells_later_steps_of_the_owner() {
    let (idp, address) = Http::start().await;
    let (web, shown) = Http::start().await;
    let later = format!(
        "{{name: web, passThroughAuth: {{http: {{url: 'http://{shown}/', request: {{passThroughState: true}}}}}}}}"
    );
    let state = |web: &Http| serde_json::from_str::<Value>(&web.asked().1).unwrap()["state"].clone();
    let told = json!({"active": true, "sub": "ann", "plan": "gold"});
    idp.says(json_ok(&told));
    let alone = authority(&with_secret(&format!("{}, {later}", asks(address, "", "")), ""));
    assert_eq!((bearing(&alone, "t").await.status, state(&web)), (200, json!({"introspection": told})));

    let rest = format!(", userinfoUrl: 'http://{address}/me'");
    let both = authority(&with_secret(&format!("{}, {later}", asks(address, "", &rest)), ""));
    let me = |status: u16, me: Value| {
        let told = told.clone();
        *idp.speaks.lock().unwrap() = std::sync::Arc::new(move |head, _| match head.starts_with("GET /me ") {
            true if head.contains("\r\nauthorization: Bearer t") => answers(status, "", &me.to_string()),
            true => answers(401, "", ""),
            false => json_ok(&told),
        });
    };
    let before = idp.times();
    for _ in 0..3 {
        me(200, json!({"sub": "ann", "mail": "a@b"}));
        let state = (bearing(&both, "t").await.status, state(&web));
        assert_eq!(state, (200, json!({"introspection": {"sub": "ann", "mail": "a@b"}})));
    }
    assert_eq!(idp.times(), before + 2, "both are kept");
    for (number, (status, info, expected)) in [
        (401, json!({}), 403),
        (403, json!({}), 403),
        (200, json!({"sub": "bob"}), 503),
        (200, json!([]), 503),
        (500, json!({"sub": "ann"}), 503),
        (302, json!({"sub": "ann"}), 503),
    ]
    .into_iter()
    .enumerate()
    {
        me(status, info.clone());
        assert_eq!(bearing(&both, &format!("t{number}")).await.status, expected, "{status} {info}");
    }
    // Beside a signed token, which is looked at first.
    let signer = Signer::ed25519("a");
    let signed = authority(&config(&format!("{}, {later}", local(&signer, &rest)), ""));
    let before = idp.times();
    assert_eq!(bearing(&signed, "t").await.status, 401);
    assert_eq!(idp.times(), before, "nobody is asked about what is no good anyway");
    let claims = claims(&json!({}));
    let good = signer.token(&claims);
    let bearer = good.clone();
    *idp.speaks.lock().unwrap() = std::sync::Arc::new(move |head, _| match head.contains(&bearer) {
        true => json_ok(&json!({"sub": "ann", "mail": "a@b"})),
        false => answers(401, "", ""),
    });
    for _ in 0..2 {
        let known = (bearing(&signed, &good).await.status, state(&web));
        assert_eq!(known, (200, json!({"jwtAccessToken": claims, "introspection": {"sub": "ann", "mail": "a@b"}})));
    }
    assert_eq!(idp.times(), before + 1);
    let another = authority_of_bob(&signer, address, &idp).await;
    assert_eq!(another, 503);
}

/// What a token of `ann` gets whose owner the issuer calls `bob`.
async fn authority_of_bob(signer: &Signer, address: SocketAddr, idp: &Http) -> i32 {
    idp.says(json_ok(&json!({"sub": "bob"})));
    let signed = authority(&config(&local(signer, &format!(", userinfoUrl: 'http://{address}/me'")), ""));
    bearing(&signed, &signer.token(&claims(&json!({})))).await.status
}

#[tokio::test]
async fn without_its_secret_nobody_is_asked_and_with_another_one_everybody_anew() {
    let (idp, address) = Http::start().await;
    idp.says(json_ok(&json!({"active": true})));
    let step = asks(address, "", "");
    let compiler = compiler();
    let (authority, mut last, mut revision) = (Authority::new(), Compilation::default(), 0);
    let mut serve = |secret: &str| {
        revision += 1;
        last = compile(&compiler, &snapshot(revision, &(config(&step, "") + secret)), std::mem::take(&mut last));
        authority.install(last.index.clone());
        let index = authority.index();
        format!("{:?}", index.declared(&api::Name::new("default", "ask")).unwrap().problems)
    };
    for (wrong, why) in [
        (String::new(), "does not exist"),
        (secret("Opaque", "client-secret", "canary"), "its type is"),
        (secret("extauth.solo.io/apikey", "api-key", "canary"), "its type is"),
        (secret("extauth.solo.io/oauth", "clientSecret", "canary"), "has no entry client-secret"),
        (secret("extauth.solo.io/oauth", "client-secret", ""), "has no entry client-secret"),
    ] {
        let said = serve(&wrong);
        assert!(said.contains(why) && !said.contains("canary"), "{said}");
        assert_eq!((bearing(&authority, "t").await.status, idp.times()), (503, 0), "{why}");
    }
    assert_eq!(serve(&secret("extauth.solo.io/oauth", "client-secret", "one")), "[]");
    for _ in 0..2 {
        assert_eq!(bearing(&authority, "t").await.status, 200);
    }
    assert_eq!(idp.times(), 1);
    assert!(idp.asked().0.iter().any(|line| line == "authorization: Basic dXM6b25l"));
    // What is kept was said to whoever had the old secret.
    assert_eq!(serve(&secret("extauth.solo.io/oauth", "client-secret", "two")), "[]");
    assert_eq!((bearing(&authority, "t").await.status, idp.times()), (200, 2));
    assert!(idp.asked().0.iter().any(|line| line == "authorization: Basic dXM6dHdv"));
    // Taken away, it is taken away.
    serve("");
    assert_eq!((bearing(&authority, "t").await.status, idp.times()), (503, 2));
}

#[tokio::test]
async fn who_comes_together_is_asked_about_once() {
    let (idp, address) = Http::start().await;
    idp.says(json_ok(&json!({"active": true})));
    let public = format!(
        "{{oauth2: {{accessTokenValidation: {{introspection: {{introspectionUrl: 'http://{address}/', clientId: 'u s', disableClientSecret: true}}}}}}}}"
    );
    let authority = authority(&config(&public, ""));
    let all = futures_util::future::join_all((0..50).map(|_| bearing(&authority, "t"))).await;
    assert!(all.iter().all(|answer| answer.status == 200));
    let (head, body) = idp.asked();
    assert_eq!((idp.times(), &*body), (1, "token=t&token_type_hint=access_token&client_id=u+s"));
    assert!(!head.iter().any(|line| line.starts_with("authorization")), "{head:?}");
}

/// Whatever is logged, down to what the libraries beneath say.
#[test]
fn no_token_no_secret_and_nothing_that_is_said_of_anybody_is_in_a_log_or_a_status() {
    let (log, runtime) = (Log::default(), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    let writer = log.clone();
    let all =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let said = tracing::subscriber::with_default(all, || {
        runtime.block_on(async {
            let (idp, address) = Http::start().await;
            let signer = Signer::ed25519("a");
            let uses = ", claimsToHeaders: [{claim: org, header: X-Org}], dynamicMetadataFromClaims: {a: org}";
            let asked = format!("{uses}, userinfoUrl: 'http://{address}/me?hidden=1'");
            let by_issuer =
                asks(address, ", userIdAttributeName: id", &asked).replace("/introspect", "/introspect?hidden=1");
            let manifest = with_secret(&by_issuer, "").replace("p w", "canary-secret");
            let signed = config(&remote(address, uses), "")
                .replace("name: ask}", "name: signed}")
                .replace("/keys", "/keys?hidden=1");
            let manifest = format!("{manifest}---\n{signed}");
            let compiled = compile(&compiler(), &snapshot(1, &manifest), Compilation::default());
            let mut said = format!("{:?} {compiled:?}", extauth::report::report(&compiled.index));
            let authority = Authority::new();
            authority.install(compiled.index);
            let told = json!({"active": true, "id": "canary-user", "org": "canary-org", "sub": "s"});
            for (number, (answer, status)) in [
                (json_ok(&told), 200),
                (json_ok(&json!({"active": false, "x": "canary"})), 403),
                (json_ok(&json!({"active": true, "x": "canary"})), 403),
                (json_ok(&json!({"active": "canary"})), 503),
                (json_ok(&json!({"active": true, "id": "canary\n"})), 403),
                (answers(500, "x-a: canary\r\n", "canary"), 503),
                (answers(302, "location: http://canary/\r\n", ""), 503),
                (ok("", "canary"), 503),
                ("canary\r\n\r\n".to_owned(), 503),
            ]
            .into_iter()
            .enumerate()
            {
                idp.says(answer);
                assert_eq!(bearing(&authority, &format!("canary{number}")).await.status, status, "{number}");
            }
            let with_keys = |keys: String| {
                idp.says(keys);
                let anew = compile(&compiler(), &snapshot(1, &manifest), Compilation::default());
                authority.install(anew.index);
            };
            let signed = async |token: &str| {
                let mut asks = at(&format!("/a?access_token={token}"), &[]);
                let attributes = asks.attributes.as_mut().unwrap();
                attributes.context_extensions.insert("config_id".to_owned(), "default.signed".to_owned());
                ask_as(&authority, asks).await.status
            };
            let good = signer.token(&claims(&json!({"org": "canary", "sub": "canary"})));
            with_keys(ok("", "canary"));
            assert_eq!(signed(&good).await, 503);
            with_keys(ok("", &jwks([&signer])));
            assert_eq!((signed(&good).await, signed("canary").await), (200, 401));
            said += &format!("{authority:?}");
            said
        })
    });
    let logs = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logs.contains("cannot be used; denying") && logs.contains("hyper"), "it is all there");
    // Addresses are declared, and show where that does.
    for (text, parts) in
        [(&said, &["canary", "Y2FuYXJ5"][..]), (&logs, &["canary", "Y2FuYXJ5", "access_token=", "hidden="])]
    {
        let lines: Vec<&str> = text.lines().filter(|line| parts.iter().any(|part| line.contains(part))).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}
