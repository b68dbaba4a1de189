//! Tokens that an issuer has signed, as a client of the real Envoy and the application behind it see them. The AuthConfigs are
//! those of `docs/access-token.md`.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use waykeeper_tests::echo::{Answer, Echo, get};
use waykeeper_tests::issuer::{self, Issuer};
use waykeeper_tests::tokens::{Signer, in_seconds, jwks};
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

/// Services `a` and `b`, on one application.
const TOWN: &str = "\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: t}
spec:
  clusterIP: 127.0.20.63
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: t, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.63]}]
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: t}
spec:
  clusterIP: 127.0.20.64
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: b, namespace: t, labels: {kubernetes.io/service-name: b}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.63]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a, namespace: t}
spec:
  parentRefs: [{group: '', kind: Service, name: a}]
  rules: [{backendRefs: [{name: a, port: 8000}]}]
";

const A: &str = "127.0.20.63:8000";
const B: &str = "127.0.20.64:8000";
const IDP: &str = "127.0.10.73:9003";

/// The AuthConfig called `name` on the page, asking the issuer of this test.
fn documented(name: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/access-token.md")).unwrap();
    let mut blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains(&format!("metadata: {{name: {name},"))).unwrap();
    let own = block.replace("https://idp.example/", &format!("http://{IDP}/"));
    assert!(own.contains(IDP), "{block}");
    own
}

/// That the route asks for the AuthConfig `name`, and has these options besides.
fn option(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: auth, namespace: t}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}}]\n  options: {{extauth: {{configRef: {{name: {name}}}}}{more}}}\n"
    )
}

fn town(policy: &str) -> (Folder, Echo) {
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    folder.apply("policy.yaml", policy);
    (folder, Echo::start("127.0.10.63:8080"))
}

fn ask(address: &str, token: &str, headers: &[&str]) -> Answer {
    let bearer = format!("authorization: Bearer {token}");
    get(address, "/", "a", &[&[bearer.as_str()], headers].concat())
}

/// What a client may try to be taken for.
const EVIL: [&str; 5] = ["x-org: root", "X_Org: root", "x.org: root", "x-user-id: root", "X_User-Id: root"];

/// The application saw none of what [`EVIL`] says.
fn unspoilt(answer: &Answer) {
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(!answer.reached().unwrap().contains("root"), "{answer:?}");
}

fn claims(more: &Value) -> Value {
    let mut claims = json!({"iss": "https://idp.example", "sub": "ann", "aud": ["orders"], "scope": "read write", "org": "acme",
        "plan": "gold", "exp": in_seconds(600)});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

/// An issuer with the keys in `set`, and how often it was asked for them.
fn with_keys(set: &Arc<Mutex<String>>) -> (Issuer, Arc<AtomicUsize>) {
    let (set, asked) = (set.clone(), Arc::new(AtomicUsize::new(0)));
    let counts = asked.clone();
    let issuer = Issuer::start(IDP, move |head, _| {
        assert!(head.starts_with("GET /keys HTTP/1.1"), "{head}");
        counts.fetch_add(1, Ordering::SeqCst);
        issuer::json(200, &set.lock().unwrap())
    });
    (issuer, asked)
}

#[test]
fn a_token_says_who_it_is_and_nobody_else_can() {
    let _turn = turn();
    let (old, new) = (Signer::p256("old"), Signer::rsa("new"));
    let set = Arc::new(Mutex::new(jwks([&old])));
    let (idp, asked) = with_keys(&set);
    let limit = "---\napiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {name: plans, namespace: t}\nspec:\n  raw:\n    descriptors: [{key: plan, value: silver, rateLimit: {requestsPerUnit: 2, unit: DAY}}]\n    rateLimits: [{actions: [{metadata: {descriptorKey: plan, metadataKey: {key: envoy.filters.http.ext_authz, path: [{key: token}, {key: plan}]}}}]}]\n";
    let option = option("tokens", ", rateLimitConfigs: {refs: [{name: plans}]}");
    let (folder, _echo) = town(&[documented("tokens"), option, limit.to_owned()].concat());
    let _waykeeper = Waykeeper::up(&folder, &[]);

    let token = old.token(&claims(&json!({})));
    let answer = ask(A, &token, &EVIL);
    unspoilt(&answer);
    assert_eq!(
        (answer.saw("x-org"), answer.saw("x-user-id")),
        (vec!["acme"], vec!["https://idp.example;ann"]),
        "{answer:?}"
    );
    // A token without the claim: nothing, and not what the client says.
    let answer = ask(A, &old.token(&claims(&json!({"org": null}))), &EVIL);
    unspoilt(&answer);
    assert_eq!(answer.saw("x-org"), [""; 0], "{answer:?}");
    // The same application by a Service without authorization.
    unspoilt(&get(B, "/", "b", &EVIL));
    // In the query; not in two places, also not if one of them is in another spelling.
    assert_eq!(get(A, &format!("/?access_token={token}"), "a", &[]).status(), 200);
    let bearer = format!("authorization: Bearer {token}");
    for path in ["/?access_token=x", "/?%61ccess_token=x", "/?a=1&access_token"] {
        assert_eq!(get(A, path, "a", &[&bearer]).status(), 403, "{path}");
    }
    assert_eq!(get(A, "/", "a", &[&bearer, &bearer]).status(), 403);

    for headers in [&[][..], &["authorization: balbla"], &["authorization: Basic YTpi"], &["x-user-id: ann"]] {
        let answer = get(A, "/", "a", headers);
        assert_eq!((answer.status(), answer.header("www-authenticate")), (403, None), "{answer:?}");
    }
    let over = old.token(&claims(&json!({"exp": in_seconds(-3600)})));
    let forged = Signer::p256("old").token(&claims(&json!({})));
    let none = format!("eyJhbGciOiJub25lIn0.{}.", token.split('.').nth(1).unwrap());
    for bad in [&over, &forged, &none, &old.token(&claims(&json!({"aud": "others"}))), &token[1..]] {
        let answer = ask(A, bad, &[]);
        let told = (answer.status(), answer.header("www-authenticate"));
        assert_eq!(told, (401, Some("Bearer error=\"invalid_token\"")), "{answer:?}");
    }
    assert_eq!(ask(A, &old.token(&claims(&json!({"scope": "write"}))), &[]).status(), 403);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "once, by all of these");

    // A limit counts by what the token says.
    let silver = old.token(&claims(&json!({"plan": "silver"})));
    let statuses: Vec<u16> = (0..4).map(|_| ask(A, &silver, &[]).status()).collect();
    assert_eq!((statuses, ask(A, &token, &[]).status()), (vec![200, 200, 429, 429], 200));

    // The issuer signs with another key from one moment to the next.
    *set.lock().unwrap() = jwks([&new]);
    assert_eq!(ask(A, &new.token(&claims(&json!({}))), &[]).status(), 200);
    assert_eq!(ask(A, &token, &[]).status(), 401);
    // It is gone: who is known is known, of a key that is not it is not said that it is none.
    drop(idp);
    assert_eq!(ask(A, &new.token(&claims(&json!({}))), &[]).status(), 200);
}

#[test]
fn without_an_issuer_nobody_passes_until_it_is_there() {
    let _turn = turn();
    let signer = Signer::ed25519("a");
    let token = signer.token(&claims(&json!({})));
    let (folder, echo) = town(&[documented("tokens"), option("tokens", "")].concat());
    let _waykeeper = Waykeeper::up(&folder, &[]);
    for _ in 0..8 {
        assert_eq!(ask(A, &token, &[]).status(), 503);
    }
    assert_eq!(get(A, "/", "a", &[]).status(), 403);
    let opposite = documented("tokens") + "  booleanExpr: '!token'\n";
    folder.apply("policy.yaml", &[opposite, option("tokens", "")].concat());
    eventually("the edit is in force", Duration::from_secs(10), || {
        let answer = get(A, "/", "a", &[]);
        if answer.status() == 200 { Ok(()) } else { Err(answer.text) }
    });
    let reached = echo.reached().len();
    assert_eq!((ask(A, &token, &[]).status(), reached), (503, 1));

    folder.apply("policy.yaml", &[documented("tokens"), option("tokens", "")].concat());
    let (_idp, _) = with_keys(&Arc::new(Mutex::new(jwks([&signer]))));
    eventually("the issuer is asked again", Duration::from_secs(60), || {
        let answer = ask(A, &token, &[]);
        if answer.status() == 200 { Ok(()) } else { Err(answer.text) }
    });
}

/// An issuer that is asked about tokens: `good-NAME` is of NAME, any other is not active.
fn asked(log: &Arc<Mutex<Vec<String>>>) -> Issuer {
    let log = log.clone();
    Issuer::start(IDP, move |head, body| {
        let question = head.lines().next().unwrap().to_owned();
        log.lock().unwrap().push(format!("{question} {body}"));
        let name = body.split("good-").nth(1).and_then(|rest| rest.split('&').next());
        match (&*question, name) {
            ("GET /me HTTP/1.1", _) => issuer::json(200, r#"{"mail":"a@b"}"#),
            ("POST /introspect HTTP/1.1", Some(name))
                if head.contains("authorization: Basic d2F5cG9pbnQ6Y2hhbmdlLW1l") =>
            {
                let told = json!({"active": true, "username": name, "exp": in_seconds(600)});
                issuer::json(200, &told.to_string())
            }
            ("POST /introspect HTTP/1.1", None) => issuer::json(200, r#"{"active":false}"#),
            _ => issuer::json(401, ""),
        }
    })
}

#[test]
fn an_issuer_that_is_asked_says_who_it_is_and_without_it_nobody_is() {
    let _turn = turn();
    let log = Arc::new(Mutex::new(Vec::new()));
    let idp = asked(&log);
    let policy = [documented("opaque"), option("opaque", "")].concat();
    let (folder, echo) = town(&policy);
    let _waykeeper = Waykeeper::up(&folder, &[]);
    for _ in 0..3 {
        let answer = ask(A, "good-ann", &EVIL[3..]);
        unspoilt(&answer);
        assert_eq!(answer.saw("x-user-id"), ["ann"], "{answer:?}");
    }
    let said = std::mem::take(&mut *log.lock().unwrap());
    assert_eq!(said, ["POST /introspect HTTP/1.1 token=good-ann&token_type_hint=access_token", "GET /me HTTP/1.1 "]);
    for bad in ["bad", "goo-d"] {
        let answer = ask(A, bad, &[]);
        assert_eq!((answer.status(), answer.header("www-authenticate")), (403, None), "{answer:?}");
    }
    assert_eq!((get(A, "/", "a", &[]).status(), log.lock().unwrap().len()), (403, 2), "nobody is asked about no token");
    // Gone: what is known is known, nobody else passes.
    drop(idp);
    echo.reached();
    for _ in 0..8 {
        assert_eq!((ask(A, "good-ann", &[]).status(), ask(A, "good-bob", &[]).status()), (200, 503));
    }
    assert_eq!(echo.reached().len(), 8);
    let _idp = asked(&log);
    eventually("the issuer is asked again", Duration::from_secs(60), || {
        let answer = ask(A, "good-bob", &[]);
        if answer.status() == 200 { Ok(()) } else { Err(answer.text) }
    });
    // With another secret nobody is known any more, and the issuer does not know who asks.
    folder.apply("policy.yaml", &policy.replace("change-me", "another"));
    eventually("the edit is in force", Duration::from_secs(10), || {
        let answer = ask(A, "good-ann", &[]);
        if answer.status() == 503 { Ok(()) } else { Err(answer.text) }
    });
    folder.apply("policy.yaml", &policy);
    eventually("all is as before", Duration::from_secs(10), || {
        let answer = ask(A, "good-ann", &[]);
        if answer.status() == 200 { Ok(()) } else { Err(answer.text) }
    });
}
