//! RequestAuthentications, as requests with tokens meet them through the real Envoy, and those who want to get past.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use waykeeper_tests::curl::{Curl, Reply};
use waykeeper_tests::echo::{Answer, Echo, send};
use waykeeper_tests::issuer::{self, Issuer};
use waykeeper_tests::tokens::{Signer, in_seconds, jwks};
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

const PAGE: &str = include_str!("../../docs/request-authentication.md");

/// Services `web` and `other` on one application, and where the keys of an issuer are: a Service, and an address.
const TOWN: &str = "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: t}
spec:
  clusterIP: 127.0.20.81
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: t}
spec:
  clusterIP: 127.0.20.82
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: keys, namespace: t, labels: {istio.io/use-waypoint: none}}
spec:
  clusterIP: 127.0.20.83
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, namespace: t, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.81]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: other, namespace: t, labels: {kubernetes.io/service-name: other}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.81]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: keys, namespace: t, labels: {kubernetes.io/service-name: keys}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.75]}]
";
const WEB: &str = "127.0.20.81:8000";
const OTHER: &str = "127.0.20.82:8000";
const ISSUER: &str = "https://issuer.example";

fn town() -> (Folder, Echo) {
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    (folder, Echo::start("127.0.10.81:8080"))
}

/// A RequestAuthentication of `web` with these rules.
fn authentication(rules: &[Value]) -> String {
    let policy = json!({"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
        "metadata": {"name": "web", "namespace": "t"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "web"}], "jwtRules": rules}});
    format!("{policy}\n---\n")
}

fn policy(spec: &Value) -> String {
    let mut policy = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "web", "namespace": "t"}, "spec": spec});
    policy["spec"]["targetRefs"] = json!([{"group": "", "kind": "Service", "name": "web"}]);
    format!("{policy}\n---\n")
}

/// Applies `manifests` and waits until they are in force: with them comes a route that says which edit it is.
fn apply(folder: &Folder, manifests: &str) {
    static EDITS: AtomicUsize = AtomicUsize::new(0);
    let edit = EDITS.fetch_add(1, Ordering::SeqCst).to_string();
    let mark = json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
    "metadata": {"name": "mark", "namespace": "t"},
    "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "web"}], "rules": [
        {"backendRefs": [{"name": "web", "port": 8000}]},
        {"matches": [{"path": {"type": "Exact", "value": "/mark"}}], "filters": [{"type": "ResponseHeaderModifier",
            "responseHeaderModifier": {"set": [{"name": "x-edit", "value": edit}]}}],
         "backendRefs": [{"name": "web", "port": 8000}]},
    ]}});
    // A policy of the whole Service would close the mark as well: it is told by the header, which every answer of the rule has.
    folder.apply("policy.yaml", &format!("{manifests}{mark}\n"));
    eventually("the edit", Duration::from_secs(20), || {
        let reply = Curl::to(&format!("http://{WEB}/mark")).send();
        if reply.header("x-edit") == Some(edit.as_str()) { Ok(()) } else { Err(format!("{reply:?}")) }
    });
}

fn claims(more: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "sub": "ann", "aud": "web", "exp": in_seconds(600)});
    for (key, value) in more.as_object().unwrap() {
        claims[key] = value.clone();
    }
    claims
}

fn get(headers: &[&str]) -> Reply {
    headers.iter().fold(Curl::to(&format!("http://{WEB}/")), |curl, header| curl.header(header)).send()
}

fn with(token: &str) -> Reply {
    get(&[&format!("authorization: Bearer {token}")])
}

/// Bytes of our choice to `at`.
fn raw(at: &str, target: &str, headers: &str) -> Answer {
    let request = format!("GET {target} HTTP/1.1\nHost: web\n{headers}Connection: close\n\n").replace('\n', "\r\n");
    send(at, request.as_bytes())
}

fn says(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.body.as_str())
}

#[test]
fn who_may_come_is_said_by_tokens_whose_keys_their_issuer_tells() {
    let _turn = turn();
    let (folder, echo) = town();
    let (signer, stranger) = (Signer::rsa("key"), Signer::ed25519("key"));
    let asked = Arc::new(AtomicUsize::new(0));
    let (keys, count) = (jwks([&signer]), asked.clone());
    let _issuer = Issuer::start("127.0.10.75:8080", move |head, _| {
        count.fetch_add(usize::from(head.starts_with("GET /keys ")), Ordering::SeqCst);
        issuer::json(200, &keys)
    });
    let (_, block) = PAGE.split_once("```yaml\n").unwrap();
    folder.apply("policy.yaml", block.split("```").next().unwrap());
    let waykeeper = Waykeeper::up(&folder, &[]);

    // Its whole way: no token, a good one, one of the wrong group, of another issuer's key, for others, and an old one.
    assert_eq!(says(&get(&[])), (403, "RBAC: access denied"));
    let staff = claims(json!({"groups": ["blue", "staff"], "team": "red"}));
    let good = with(&signer.token(&staff));
    assert_eq!(good.status, 200, "{good:?}\n{}", waykeeper.log());
    let head = echo.reached().pop().unwrap();
    assert!(head.contains("x-team: red\r\n") && !head.contains("authorization"), "{head}");
    assert_eq!(says(&with(&signer.token(&claims(json!({"groups": "staff"}))))).0, 200);
    assert_eq!(says(&with(&signer.token(&claims(json!({"groups": "guests"}))))), (403, "RBAC: access denied"));
    echo.reached();
    for (token, answer) in [
        (stranger.token(&staff), (401, "Jwt verification fails")),
        (signer.token(&claims(json!({"groups": "staff", "exp": in_seconds(-600)}))), (401, "Jwt is expired")),
        (signer.token(&claims(json!({"groups": "staff", "nbf": in_seconds(600)}))), (401, "Jwt not yet valid")),
        (signer.token(&claims(json!({"groups": "staff", "iss": "other"}))), (401, "Jwt issuer is not configured")),
        (signer.token(&claims(json!({"groups": "staff", "aud": "b"}))), (403, "Audiences in Jwt are not allowed")),
        (signer.signed(r#"{"alg":"none"}"#, &staff.to_string()), (401, "Jwt header [alg] is not supported")),
    ] {
        let reply = with(&token);
        // What Envoy says of an algorithm that it does not know is its own affair.
        let words = if token.starts_with("eyJhbGciOiJub25l") { answer.1 } else { reply.body.as_str() };
        assert_eq!((reply.status, words), answer, "{reply:?}");
    }
    assert_eq!(with("no.token.atall").status, 401);
    assert_eq!(echo.reached(), [""; 0], "nothing of it reached the application");
    let (few, workers) = (asked.load(Ordering::SeqCst), 4 * std::thread::available_parallelism().unwrap().get());
    assert!((1..=workers).contains(&few), "keys are kept: asked {few} times");
    let status = waykeeper.status().to_string();
    assert!(status.contains("looks at tokens for Service t/web"), "{status}");

    // The same keys at an address; and from nobody, so that no token is good.
    for (url, status) in [("http://127.0.10.75:8080/keys", 200), ("http://127.0.10.75:8081/keys", 401)] {
        let rule = json!({"issuer": ISSUER, "jwksUri": url, "timeout": "1s"});
        apply(&folder, &authentication(&[rule]));
        assert_eq!((with(&signer.token(&staff)).status, get(&[]).status), (status, 200), "{url}");
    }
    // Where the keys cannot be asked for, nobody comes, and the status says why.
    let rule = json!({"issuer": ISSUER, "jwksUri": "http://nokeys.t.svc/keys"});
    folder.apply("policy.yaml", &authentication(&[rule]));
    eventually("a refusal", Duration::from_secs(20), || match get(&[]) {
        reply if reply.status == 500 && reply.body.contains("Service t/nokeys port 80, and there is none") => Ok(()),
        reply => Err(format!("{reply:?}")),
    });
    assert_eq!(Curl::to(&format!("http://{OTHER}/")).send().status, 200, "the rest is served");
}

#[test]
fn what_is_in_a_token_decides_and_a_token_is_where_the_rule_says() {
    let _turn = turn();
    let (folder, echo) = town();
    let signer = Signer::p256("key");
    let waykeeper = Waykeeper::up(&folder, &[]);
    let rule = |more: Value| {
        let mut rule = json!({"issuer": ISSUER, "jwks": jwks([&signer])});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let token = signer.token(&claims(json!({"azp": "app", "scope": "read write", "n": 5, "org": {"team": ["red"]}})));
    let plain = [authentication(&[rule(json!({}))]), String::new()].concat();
    apply(&folder, &plain);
    assert_eq!((get(&[]).status, with(&token).status, with("a.b.c").status), (200, 200, 401));
    assert_eq!(raw(WEB, &format!("/?access_token={token}"), "").status(), 200);
    assert_eq!(raw(WEB, "/?access_token=a.b.c", "").status(), 401);

    let when = |key: &str, value: &str| json!({"when": [{"key": key, "values": [value]}]});
    let from = |field: &str, value: &str| json!({"from": [{"source": {field: [value]}}]});
    for (rules, with_token, without) in [
        (from("requestPrincipals", "*"), 200, 403),
        (from("requestPrincipals", "https://issuer.example/ann"), 200, 403),
        (from("requestPrincipals", "https://issuer.example/*"), 200, 403),
        (from("requestPrincipals", "*/ann"), 200, 403),
        (from("requestPrincipals", "https://issuer.example/an"), 403, 403),
        (from("requestPrincipals", "https://other/*"), 403, 403),
        (from("notRequestPrincipals", "*"), 403, 200),
        (when("request.auth.principal", "*/ann"), 200, 403),
        (when("request.auth.audiences", "web"), 200, 403),
        (when("request.auth.audiences", "we"), 403, 403),
        (when("request.auth.presenter", "app"), 200, 403),
        (when("request.auth.claims[scope]", "write"), 200, 403),
        (when("request.auth.claims[org][team]", "red"), 200, 403),
        (when("request.auth.claims[org]", "*"), 403, 403),
        (when("request.auth.claims[n]", "5"), 403, 403),
    ] {
        // A request for the mark has no token: what nobody may is told by another Service's policy, with its own.
        let allow = policy(&json!({"rules": [rules.clone(), {"to": [{"operation": {"paths": ["/mark"]}}]}]}));
        apply(&folder, &format!("{plain}{allow}"));
        assert_eq!((with(&token).status, get(&[]).status), (with_token, without), "ALLOW {rules}");
    }
    for (rules, with_token, without) in [
        (from("requestPrincipals", "*"), 403, 200),
        (from("notRequestPrincipals", "*"), 200, 403),
        (from("requestPrincipals", "*nn"), 403, 200),
        (when("request.auth.claims[n]", "5"), 403, 200),
        (when("request.auth.claims[org]", "*"), 403, 200),
    ] {
        let mut refused = rules.clone();
        refused["to"] = json!([{"operation": {"notPaths": ["/mark"]}}]);
        apply(&folder, &format!("{plain}{}", policy(&json!({"action": "DENY", "rules": [refused]}))));
        assert_eq!((with(&token).status, get(&[]).status), (with_token, without), "DENY {rules}");
    }
    // Where nobody looks at tokens, they let nobody pass and keep nobody from being refused.
    let mut refused = from("requestPrincipals", "https://other/x");
    refused["to"] = json!([{"operation": {"notPaths": ["/mark"]}}]);
    apply(&folder, &policy(&json!({"action": "DENY", "rules": [refused]})));
    assert_eq!((with(&token).status, get(&[]).status), (403, 403));
    let status = waykeeper.status().to_string();
    assert!(status.contains("nobody looks at tokens at port 8000 of Service t/web"), "{status}");

    // Elsewhere, and passed on.
    let places = json!({"fromHeaders": [{"name": "x-token", "prefix": "Token "}], "fromParams": ["t"],
        "fromCookies": ["session"], "forwardOriginalToken": true, "outputPayloadToHeader": "x-payload"});
    apply(&folder, &authentication(&[rule(places)]));
    echo.reached();
    for (target, headers) in [
        ("/", format!("x-token: Token {token}\n")),
        (&*format!("/?t={token}"), String::new()),
        ("/", format!("cookie: a=b; session={token}\n")),
    ] {
        let answer = raw(WEB, target, &headers);
        assert_eq!((answer.status(), answer.saw("x-payload").len()), (200, 1), "{answer:?}");
        assert!(
            answer.reached().unwrap().contains(&token.to_ascii_lowercase()[..20]) || answer.text.contains(&token[..20])
        );
        assert_eq!(raw(WEB, &target.replace(&token, "a.b.c"), &headers.replace(&token, "a.b.c")).status(), 401);
    }
    // Nobody looks there now.
    assert_eq!(with("a.b.c").status, 200);

    // Two issuers in one place, and a third in another.
    let second = Signer::ed25519("two");
    let other = |issuer: &str, more: Value| {
        let mut rule = json!({"issuer": issuer, "jwks": jwks([&second])});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rule
    };
    let third = other("third", json!({"fromHeaders": [{"name": "x-third"}]}));
    apply(&folder, &authentication(&[rule(json!({})), other("second", json!({})), third]));
    let of_second = second.token(&claims(json!({"iss": "second"})));
    let of_third = second.token(&claims(json!({"iss": "third"})));
    assert_eq!([with(&token).status, with(&of_second).status, with(&of_third).status], [200, 200, 401]);
    let both =
        |one: &str, third: &str| get(&[&format!("authorization: Bearer {one}"), &format!("x-third: {third}")]).status;
    assert_eq!([both(&token, &of_third), both(&token, "a.b.c"), both("a.b.c", &of_third)], [200, 401, 401]);
}

/// The application believes what is in tokens: nobody else says it, and no second token hides behind the first.
#[test]
fn nobody_says_what_only_tokens_say() {
    let _turn = turn();
    let (folder, echo) = town();
    let signer = Signer::ed25519("key");
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let rule = json!({"issuer": ISSUER, "jwks": jwks([&signer]), "forwardOriginalToken": true,
        "outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}, {"header": "x-team", "claim": "team"}]});
    apply(&folder, &authentication(&[rule]));
    let token = signer.token(&claims(json!({})));
    let bearer = format!("authorization: Bearer {token}\n");
    for (at, headers, sub) in [
        (WEB, bearer.clone(), &["ann"][..]),
        (WEB, format!("{bearer}x-sub: bob\nX_Sub: bob\nx-team: red\nx_team: red\n"), &["ann"]),
        (WEB, "x-sub: bob\nX_Sub: bob\nx-team: red\nx_team: red\n".to_owned(), &[]),
        // By another Service of the same application.
        (OTHER, format!("{bearer}x-sub: bob\nX_Sub: bob\nx-team: red\nX-Team: blue\nx_team: red\n"), &[]),
        // A preflight brings no token, and says nothing either.
        (WEB, "origin: http://a\naccess-control-request-method: GET\nx-sub: bob\n".to_owned(), &[]),
    ] {
        let answer = raw(at, "/", &headers);
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(answer.saw("x-sub"), sub, "{at} {headers}");
        for header in ["x-team", "x_team", "x_sub"] {
            assert!(answer.saw(header).is_empty(), "{at} {headers}: {answer:?}");
        }
    }
    echo.reached();
    let forged = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJib2IifQ.AAAA";
    for headers in [
        format!("{bearer}authorization: Bearer {forged}\n"),
        format!("authorization: Bearer {forged}\n{bearer}"),
        format!("authorization: Bearer {token}, Bearer {forged}\n"),
        format!("authorization: bearer {forged}\n"),
        format!("authorization: BEARER {forged}\n"),
        format!("authorization: Bearer\t{forged}\n"),
        format!("authorization: Bearer {forged}\n"),
    ] {
        let answer = raw(WEB, "/", &headers);
        assert!((400..402).contains(&answer.status()), "{headers}: {answer:?}");
    }
    for target in [
        format!("/?access_token={token}&access_token={forged}"),
        format!("/?access_token={forged}&access_token={token}"),
        format!("/?access_token={token};access_token={forged}"),
        format!("/?Access_Token={forged}"),
        format!("/?%61ccess_token={forged}"),
        format!("/?access_token={forged}"),
    ] {
        let answer = raw(WEB, &target, "");
        assert!((400..402).contains(&answer.status()), "{target}: {answer:?}");
    }
    assert_eq!(echo.reached(), [""; 0], "nothing of it reached the application");
    assert_eq!(raw(WEB, "/?q=a;b&c=%20", &bearer).status(), 200);
    assert_eq!(raw(WEB, "/", "authorization: Basic YTpi\n").status(), 200, "which is no token");
}
