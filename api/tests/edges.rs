//! Odd corners of admission: what is said of them, and what is not.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use waykeeper_api::gloo::route_option::Cors;
use waykeeper_api::{Kind, Name, Reach, Target, admit};

fn document(version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "n"}, "spec": spec})
}

/// All that is said of a document, a line each.
fn said(document: &Value) -> String {
    admit(document).problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn route(spec: Value) -> String {
    said(&document("gateway.networking.k8s.io/v1", "HTTPRoute", spec))
}

fn option(options: Value) -> String {
    let target = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "r"}]);
    said(&document("gateway.solo.io/v1", "RouteOption", json!({"targetRefs": target, "options": options})))
}

fn auth(config: Value) -> String {
    said(&document("enterprise.gloo.solo.io/v1", "AuthConfig", json!({"configs": [config]})))
}

fn limit(raw: Value) -> String {
    said(&document("ratelimit.solo.io/v1alpha1", "RateLimitConfig", json!({"raw": raw})))
}

#[test]
fn what_only_follows_from_a_mistake_is_not_said_whichever_mistake_it_is() {
    let two = route(json!({"hostnames": 5, "rules": {}}));
    assert_eq!(two.lines().count(), 2, "{two}");
    let first = route(json!({"rules": {}, "useless": 1}));
    assert_eq!(first.lines().count(), 2, "{first}");
}

#[test]
fn of_a_kind_that_is_not_served_yet_it_is_said_so() {
    for kind in ["TCPRoute", "TLSRoute", "UDPRoute"] {
        let text = said(&document("gateway.networking.k8s.io/v1alpha2", kind, json!({})));
        let served = Kind::ALL.iter().any(|known| known.as_str() == kind);
        assert!(served || text.contains("is not served yet"), "{text}");
    }
}

#[test]
fn rules_without_matches_count_as_one_match_each_as_kubectl_has_it() {
    let matches =
        |count: usize| -> Vec<Value> { (0..count).map(|n| json!({"path": {"value": format!("/{n}")}})).collect() };
    let with = |last: usize| route(json!({"rules": [{}, {"matches": matches(64)}, {"matches": matches(last)}]}));
    assert!(!with(63).contains("matches in all rules"), "{}", with(63));
    assert!(with(64).contains("129 matches in all rules"), "{}", with(64));
}

#[test]
fn an_expression_for_paths_has_a_length() {
    let with = |bytes: usize| {
        route(
            json!({"rules": [{"matches": [{"path": {"type": "RegularExpression", "value": format!("/[{}]", "a".repeat(bytes - 3))}}]}]}),
        )
    };
    assert_eq!(with(1024), "");
    assert!(with(1025).contains("1024"), "{}", with(1025));
}

#[test]
fn an_origin_has_a_port_of_digits() {
    let with =
        |origin: &str| route(json!({"rules": [{"filters": [{"type": "CORS", "cors": {"allowOrigins": [origin]}}]}]}));
    assert_eq!(with("http://a:80"), "");
    for wrong in ["http://a:+80", "http://a:-80", "http://a:", "http://a:0", "http://a:65536", "http://a: 80"] {
        assert!(with(wrong).contains("is not an origin"), "{wrong}");
    }
}

#[test]
fn a_day_has_86400_seconds() {
    let seconds = |text: &str| Cors { max_age: text.to_owned(), ..Cors::default() }.max_age_seconds();
    assert_eq!(seconds("1d"), Ok(Some(86_400)));
    assert_eq!(seconds("2d"), Ok(Some(172_800)));
    assert_eq!((seconds(""), seconds("60"), seconds("1m")), (Ok(None), Ok(Some(60)), Ok(Some(60))));
    for wrong in ["d", "-1d", "99999999999d", "4294967296", "1w"] {
        assert!(seconds(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_header_to_add_is_written_and_secrets_are_not_read() {
    let with = |entry: Value| option(json!({"headerManipulation": {"requestHeadersToAdd": [entry]}}));
    assert_eq!(with(json!({"header": {"key": "a", "value": "b"}})), "");
    assert!(with(json!({})).contains("missing: write key and value"));
    let secret = with(json!({"headerSecretRef": {"name": "s"}}));
    assert!(secret.contains("headerSecretRef is not supported yet") && !secret.contains("missing"), "{secret}");
}

#[test]
fn conditions_for_retries_may_have_empty_places() {
    let with = |on: &str| option(json!({"retries": {"retryOn": on, "numRetries": 1}}));
    assert_eq!(with("5xx,, reset,"), "");
    assert!(with("5xx,sometimes").contains("\"sometimes\" is not a retry condition"));
}

#[test]
fn keys_are_named_in_one_place_and_what_is_not_said_is_not_ignored() {
    let key = |more: Value| auth(json!({"apiKeyAuth": more}));
    let selector = json!({"team": "a"});
    let both = key(json!({"labelSelector": selector, "k8sSecretApikeyStorage": {"labelSelector": selector}}));
    assert!(both.contains("labelSelector: ignored"), "{both}");
    let other =
        key(json!({"labelSelector": selector, "k8sSecretApikeyStorage": {"apiKeySecretRefs": [{"name": "s"}]}}));
    assert!(!other.contains("labelSelector: ignored"), "{other}");
    let refs = json!([{"name": "s"}]);
    let both = key(json!({"apiKeySecretRefs": refs, "k8sSecretApikeyStorage": {"apiKeySecretRefs": refs}}));
    assert!(both.contains("apiKeySecretRefs: ignored"), "{both}");
    assert!(key(json!({})).contains("names no Secrets"));
    let elsewhere = key(json!({"aerospikeApikeyStorage": {}}));
    assert!(!elsewhere.contains("names no Secrets") && !elsewhere.is_empty(), "{elsewhere}");
}

#[test]
fn a_header_of_the_answer_is_appended_or_overwritten_whichever_of_several_it_is() {
    let with = |append: Value, overwrite: Value| {
        auth(json!({"passThroughAuth": {"http": {"url": "http://a/", "response":
            {"allowedUpstreamHeaders": append, "allowedUpstreamHeadersToOverwrite": overwrite}}}}))
    };
    assert!(!with(json!(["x-a", "x-b"]), json!(["x-c", "x-d"])).contains("is also in"));
    for (append, overwrite) in [(json!(["x-a", "X-B"]), json!(["x-b"])), (json!(["x-b"]), json!(["x-a", "x-b"]))] {
        assert!(with(append, overwrite).contains("\"x-b\" is also in allowedUpstreamHeaders"));
    }
}

#[test]
fn a_claim_for_metadata_has_a_length() {
    let with = |key: usize, claim: usize| {
        auth(json!({"oauth2": {"accessTokenValidation": {"introspectionUrl": "https://idp/i",
            "dynamicMetadataFromClaims": {"k".repeat(key): "c".repeat(claim)}}}}))
    };
    assert!(!with(1024, 1024).contains("dynamicMetadataFromClaims"), "{}", with(1024, 1024));
    assert!(with(1024, 1025).contains("is no claim") && with(1025, 1024).contains("too long"));
}

#[test]
fn what_may_be_left_out_of_a_limit_has_a_length_too() {
    let with = |bytes: usize| {
        limit(
            json!({"descriptors": [{"key": "k", "value": "v".repeat(bytes), "rateLimit": {"requestsPerUnit": 1, "unit": "HOUR"}}],
            "rateLimits": [{"actions": [{"genericKey": {"descriptorValue": "x"}}]}]}),
        )
    };
    assert!(!with(1024).contains("bytes long"), "{}", with(1024));
    assert!(with(1025).contains("1025 bytes long; at most 1024 are allowed"), "{}", with(1025));
}

#[test]
fn all_that_stands_beside_an_action_is_named() {
    let text = limit(json!({"descriptors": [{"key": "k", "rateLimit": {"requestsPerUnit": 1, "unit": "HOUR"}}],
        "rateLimits": [{"actions": [{"requestHeaders": null, "descriptorKey": "k", "headerName": "x"}]}]}));
    assert!(text.contains("descriptorKey") && text.contains("headerName"), "{text}");
}

#[test]
fn a_rule_by_name_is_governed_by_what_names_it_or_the_whole() {
    let route = |section: Option<&str>| Target {
        section: section.map(str::to_owned),
        ..Target::of(Kind::HttpRoute, Name::new("n", "r"))
    };
    let other = Target::of(Kind::HttpRoute, Name::new("n", "s"));
    let known = |target: Target| Reach::Known(vec![other.clone(), target]);
    assert!(known(route(None)).may_govern(&route(Some("one"))) && known(route(None)).may_govern(&route(None)));
    assert!(known(route(Some("one"))).may_govern(&route(Some("one"))));
    assert!(!known(route(Some("one"))).may_govern(&route(Some("two"))));
    assert!(!Reach::Known(vec![other]).may_govern(&route(None)) && Reach::Unknown.may_govern(&route(None)));
}

#[test]
fn whatever_namespace_targets_name_a_policy_is_of_its_own() {
    let refs = json!([{"group": "", "kind": "Service", "name": "one", "namespace": "x"},
        {"group": "", "kind": "Service", "name": "two", "namespace": "y"}]);
    let policy = document("security.istio.io/v1", "AuthorizationPolicy", json!({"targetRefs": refs, "action": 5}));
    let own = |name: &str| Target::of(Kind::Service, Name::new("n", name));
    let reach = admit(&policy).reach;
    assert!(reach.may_govern(&own("one")) && reach.may_govern(&own("two")), "{reach:?}");
}

#[test]
fn a_label_that_is_a_list_may_name_any_waypoint() {
    for value in [json!(["wp"]), json!({"a": "wp"})] {
        let service = json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "a", "namespace": "n", "labels": {"other": value}}, "spec": {"ports": []}});
        assert_eq!(admit(&service).reach, Reach::Unknown);
    }
}
