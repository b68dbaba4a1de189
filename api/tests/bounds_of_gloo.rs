//! Each rule of AuthConfigs and RateLimitConfigs by itself: what is just right is admitted, what is just wrong is named.
#![allow(clippy::unwrap_used)]

mod held;

use held::{errors, hold, several, x};
use serde_json::{Value, json};
use waykeeper_api::admit;

fn auth(config: &Value) -> Value {
    json!({"apiVersion": "enterprise.gloo.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": "a", "namespace": "t"},
        "spec": {"configs": [config]}})
}

fn login() -> Value {
    auth(&json!({"oauth2": {"oidcAuthorizationCode": {
        "clientId": "us", "clientSecretRef": {"name": "client", "namespace": "t"}, "issuerUrl": "https://idp.example/",
        "appUrl": "https://app.example", "callbackPath": "/callback", "logoutPath": "/logout", "scopes": ["email", "groups"],
        "authEndpointQueryParams": {"a": "x", "b": "y"}, "tokenEndpointQueryParams": {"c": "x", "d": "y"},
        "session": {"cookie": {"keyPrefix": "p", "targetDomain": "app.example"}, "cookieOptions": {"path": "/"}},
        "dynamicMetadataFromClaims": {"mail": "email"},
    }}}))
}

fn web() -> Value {
    auth(&json!({"passThroughAuth": {"http": {
        "url": "https://auth.example/check", "connectionTimeout": "1s",
        "request": {"allowedHeaders": ["x-a", "x-b"], "headersToAdd": {"x-c": "1", "x-d": "2"}},
        "response": {"allowedUpstreamHeaders": ["x-e", "x-f"]},
    }}}))
}

fn calls() -> Value {
    auth(&json!({"passThroughAuth": {"grpc": {
        "address": "auth.example:9000", "connectionTimeout": "1s", "allowedUpstreamHeaders": ["x-a", "x-b"],
        "retryPolicy": {"numRetries": 2, "retryBackOff": {"baseInterval": "0.1s", "maxInterval": "1s"}},
    }}}))
}

fn limits() -> Value {
    let limit = json!({"requestsPerUnit": 1, "unit": "MINUTE"});
    json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig", "metadata": {"name": "l", "namespace": "t"},
    "spec": {"raw": {
        "descriptors": [
            {"key": "generic_key", "value": "a", "rateLimit": limit},
            {"key": "path", "valueMatch": {"prefix": "/a"}, "rateLimit": limit},
        ],
        "rateLimits": [
            {"actions": [{"genericKey": {"descriptorValue": "a"}}]},
            {"actions": [{"requestHeaders": {"headerName": ":path", "descriptorKey": "path"}}]},
        ],
    }}})
}

#[test]
fn the_good_ones_are_good() {
    for good in [login(), web(), calls(), limits()] {
        let found: Vec<_> = admit(&good).problems.into_iter().filter(|problem| problem.is_error()).collect();
        assert_eq!(found, vec![], "{good}");
    }
}

#[test]
fn logins() {
    let login = login();
    let at = |rest: &str| format!("/spec/configs/0/oauth2/oidcAuthorizationCode/{rest}");
    hold(&login, &at("clientId"), &[x(1024)], &[x(1025), json!(""), json!("a\nb"), json!(null)]);
    for url in ["issuerUrl", "appUrl"] {
        let wrong = ["", "idp.example", "ftp://idp.example", "https://idp.example/?a=b", "https://idp.example/#a"];
        hold(&login, &at(url), &[json!("https://idp.example/a")], &wrong.map(|text| json!(text)));
    }
    for path in ["callbackPath", "logoutPath"] {
        let long = |count: usize| json!(format!("/{}", "x".repeat(count - 1)));
        let wrong = ["", "/", "a", "/a?b", "/a#b", "/a//b", "/a/../b", "/./a", "/a b", "/%61", "/a\\b", "/ü"];
        hold(&login, &at(path), &[json!("/x/y"), long(1024)], &wrong.map(|text| json!(text)));
        hold(&login, &at(path), &[], &[long(1025)]);
    }
    hold(&login, &at("logoutPath"), &[], &[json!("/callback")]);
    for (list, ours) in [("authEndpointQueryParams", "state"), ("tokenEndpointQueryParams", "grant_type")] {
        let many = |count: usize| -> Value {
            (0..count).map(|number| (format!("n{number}"), json!("x"))).collect::<serde_json::Map<_, _>>().into()
        };
        hold(&login, &at(list), &[many(64), json!({})], &[many(65)]);
        hold(&login, &at(&format!("{list}/b")), &[x(1024), json!("")], &[x(1025)]);
        hold(&login, &at(list), &[json!({"x".repeat(1024): "1"})], &[json!({"x".repeat(1025): "1"}), json!({"": "1"})]);
        hold(&login, &at(list), &[], &[json!({"a": "x", ours: "y"})]);
    }
    let prefix = at("session/cookie/keyPrefix");
    hold(&login, &prefix, &[x(64), json!("a-b_1"), json!("")], &[x(65), json!("a b"), json!("a;b"), json!("a=b")]);
    let path = at("session/cookieOptions/path");
    hold(&login, &path, &[json!("/a"), json!("")], &[json!("a"), json!("/a;b"), json!("/a b"), json!("/ü")]);
    hold(
        &login,
        &at("session/cookieOptions"),
        &[],
        &[json!({"sameSite": "Other"}), json!({"sameSite": "NoneMode", "notSecure": true})],
    );
    for (field, odd) in [
        ("frontChannelLogout", json!({"path": "/x"})),
        ("sessionIdHeaderName", json!("x-session")),
        ("autoMapFromMetadata", json!({"namespace": "x"})),
        ("azure", json!({"clientId": "x"})),
        ("parseCallbackPathAsRegex", json!(true)),
    ] {
        hold(&login, &at(field), &[], &[odd]);
    }
}

#[test]
fn services_that_are_asked() {
    let web = web();
    let at = |rest: &str| format!("/spec/configs/0/passThroughAuth/http/{rest}");
    let long = |count: usize| json!(format!("https://a/{}", "x".repeat(count - 10)));
    hold(&web, &at("url"), &[long(2048)], &[long(2049), json!(""), json!("a"), json!("https://a/#b")]);
    hold(
        &web,
        &at("request/headersToAdd/x-d"),
        &[x(8192), json!("a\tb")],
        &[x(8193), json!(""), json!("a\nb"), json!("ü")],
    );
    hold(&web, &at("request/allowedHeaders/1"), &[json!("x-g")], &[json!("a b"), json!("")]);
    hold(&web, &at("response/allowedUpstreamHeaders/1"), &[json!("x-g")], &[json!("a b"), json!("content-length")]);
    hold(&web, &at("request/passThroughBody"), &[json!(false)], &[json!(true)]);
    let odd = [
        json!({"secretRef": {"name": "a", "namespace": "t"}}),
        json!({"sni": "a"}),
        json!({"verifySubjectAltName": ["a"]}),
        json!({"sslParams": {}}),
        json!({"insecure": true}),
    ];
    hold(&web, &at("tlsConfig"), &[json!({}), json!(null)], &odd);
    let calls = calls();
    let at = |rest: &str| format!("/spec/configs/0/passThroughAuth/grpc/{rest}");
    hold(&calls, &at("tlsConfig"), &[json!({})], &odd);
    hold(&calls, &at("address"), &[json!("a:1")], &[json!(""), json!("a:0"), json!("a:b"), json!("a:1/x")]);
    hold(&calls, &at("allowedUpstreamHeaders/1"), &[json!("x-g")], &[json!("a b"), json!("content-length")]);
}

#[test]
fn what_is_not_implemented_says_so_and_what_to_write_instead() {
    for (kind, hint) in [("pluginAuth", "use passThroughAuth"), ("portalAuth", "is not implemented yet")] {
        let problems = admit(&auth(&json!({kind: {}}))).problems;
        let said = problems.iter().find(|problem| problem.is_error()).unwrap();
        assert!(said.field.ends_with(kind) && said.message.contains(hint), "{said:?}");
        assert_eq!(said.message.contains("Go libraries"), kind == "pluginAuth");
    }
}

#[test]
fn limits_and_conditions() {
    let limits = limits();
    let rule = |rest: &str| format!("/spec/raw/descriptors/1/{rest}");
    let most = 136 * 366;
    hold(&limits, &rule("rateLimit"), &[json!({"requestsPerUnit": 1, "unit": "DAY", "unitMultiplier": 0})], &[]);
    hold(
        &limits,
        &rule("rateLimit"),
        &[json!({"requestsPerUnit": 1, "unit": "DAY", "unitMultiplier": 49_710})],
        &[json!({"requestsPerUnit": 1, "unit": "DAY", "unitMultiplier": most})],
    );
    hold(
        &limits,
        &rule("rateLimit"),
        &[],
        &[json!({"requestsPerUnit": 1}), json!({"requestsPerUnit": 1, "unit": "UNKNOWN"})],
    );
    let long = 4096;
    for (field, right) in [("prefix", json!("a")), ("suffix", json!("a")), ("regex", json!("a+"))] {
        hold(
            &limits,
            &rule("valueMatch"),
            &[json!({field: right})],
            &[json!({field: right, "values": ["a"]}), json!({})],
        );
        hold(&limits, &rule("valueMatch"), &[], &[json!({field: "x".repeat(long * 16)})]);
    }
    let many = |count: usize| json!({"values": several(count, |number| json!(format!("v{number}")))});
    assert_eq!(errors(&limits, &rule("valueMatch"), &many(2)), [""; 0]);
    hold(
        &limits,
        &rule("valueMatch"),
        &[],
        &[many(100_000), json!({"values": ["a", ""]}), json!({"cidrs": ["10.0.0.0/8", "x"]})],
    );
}
