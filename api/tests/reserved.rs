//! Wherever a manifest may name a header, it may not name one of the proxy's own.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

fn object(api_version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "it", "namespace": "ns"}, "spec": spec})
}

fn route(rule: Value) -> Value {
    let parents = json!([{"group": "", "kind": "Service", "name": "a"}]);
    object("gateway.networking.k8s.io/v1", "HTTPRoute", json!({"parentRefs": parents, "rules": [rule]}))
}

fn option(options: Value) -> Value {
    let targets = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}]);
    object("gateway.solo.io/v1", "RouteOption", json!({"targetRefs": targets, "options": options}))
}

fn auth(step: Value) -> Value {
    object("enterprise.gloo.solo.io/v1", "AuthConfig", json!({"configs": [step]}))
}

fn limits(list: &str, action: Value) -> Value {
    let mut limits = json!({});
    limits[list] = json!([action]);
    let descriptors = json!([{"key": "k", "rateLimit": {"requestsPerUnit": 1, "unit": "DAY"}}]);
    let raw = json!({"descriptors": descriptors, "setDescriptors": [{"rateLimit": {"requestsPerUnit": 1, "unit": "DAY"}}], "rateLimits": [limits]});
    object("ratelimit.solo.io/v1alpha1", "RateLimitConfig", json!({"raw": raw}))
}

/// Every field that names a header, as a manifest that has `name` there.
fn manifests(name: &str) -> Vec<(&'static str, Value)> {
    let filter = |field: &str, kind: &str, value: Value| {
        let mut filter = json!({"type": kind});
        filter[field] = value;
        route(json!({"filters": [filter]}))
    };
    let value = json!([{"name": name, "value": "v"}]);
    let read = format!("%REQ({name})%");
    let fallback = format!("%REQ(x-a?{name})%");
    let add = |key: &str, value: &str| json!([{"header": {"key": key, "value": value}}]);
    let request =
        |what: &str, value: Value| filter("requestHeaderModifier", "RequestHeaderModifier", json!({what: value}));
    let response =
        |what: &str, value: Value| filter("responseHeaderModifier", "ResponseHeaderModifier", json!({what: value}));
    let backend = json!([{"name": "a", "port": 80, "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": value}}]}]);
    let storage = json!({"labelSelector": {"team": "a"}});
    let from = json!({name: {"name": "user"}});
    vec![
        ("matches[0].headers[0].name", route(json!({"matches": [{"headers": value}]}))),
        ("requestHeaderModifier.set[0].name", request("set", value.clone())),
        ("requestHeaderModifier.add[0].name", request("add", value.clone())),
        ("requestHeaderModifier.remove[0]", request("remove", json!([name]))),
        ("responseHeaderModifier.set[0].name", response("set", value.clone())),
        ("responseHeaderModifier.add[0].name", response("add", value.clone())),
        ("responseHeaderModifier.remove[0]", response("remove", json!([name]))),
        ("backendRefs[0].filters[0].requestHeaderModifier.set[0].name", route(json!({"backendRefs": backend}))),
        ("cors.allowHeaders[0]", filter("cors", "CORS", json!({"allowOrigins": ["*"], "allowHeaders": [name]}))),
        ("cors.exposeHeaders[0]", filter("cors", "CORS", json!({"allowOrigins": ["*"], "exposeHeaders": [name]}))),
        (
            "requestHeadersToAdd[0].header.key",
            option(json!({"headerManipulation": {"requestHeadersToAdd": add(name, "v")}})),
        ),
        (
            "responseHeadersToAdd[0].header.key",
            option(json!({"headerManipulation": {"responseHeadersToAdd": add(name, "v")}})),
        ),
        (
            "requestHeadersToAdd[0].header.value",
            option(json!({"headerManipulation": {"requestHeadersToAdd": add("x-b", &read)}})),
        ),
        (
            "responseHeadersToAdd[0].header.value",
            option(json!({"headerManipulation": {"responseHeadersToAdd": add("x-b", &fallback)}})),
        ),
        ("requestHeadersToRemove[0]", option(json!({"headerManipulation": {"requestHeadersToRemove": [name]}}))),
        ("responseHeadersToRemove[0]", option(json!({"headerManipulation": {"responseHeadersToRemove": [name]}}))),
        ("cors.allowHeaders[0]", option(json!({"cors": {"allowOrigin": ["*"], "allowHeaders": [name]}}))),
        ("cors.exposeHeaders[0]", option(json!({"cors": {"allowOrigin": ["*"], "exposeHeaders": [name]}}))),
        ("apiKeyAuth.headerName", auth(json!({"apiKeyAuth": {"headerName": name, "k8sSecretApikeyStorage": storage}}))),
        (
            "headersFromMetadata",
            auth(json!({"apiKeyAuth": {"headersFromMetadata": from, "k8sSecretApikeyStorage": storage}})),
        ),
        (
            "headersFromMetadataEntry",
            auth(json!({"apiKeyAuth": {"headersFromMetadataEntry": from, "k8sSecretApikeyStorage": storage}})),
        ),
        (
            "actions[0].requestHeaders.headerName",
            limits("actions", json!({"requestHeaders": {"headerName": name, "descriptorKey": "k"}})),
        ),
        (
            "setActions[0].requestHeaders.headerName",
            limits("setActions", json!({"requestHeaders": {"headerName": name, "descriptorKey": "k"}})),
        ),
        (
            "headerValueMatch.headers[0].name",
            limits(
                "actions",
                json!({"headerValueMatch": {"descriptorValue": "v", "headers": [{"name": name, "presentMatch": true}]}}),
            ),
        ),
    ]
}

#[test]
fn no_manifest_names_a_header_of_the_proxys_own() {
    for name in ["x-waykeeper-forwarded-for", "X-Waykeeper-Key", "x_waykeeper_anything"] {
        for (field, manifest) in manifests(name) {
            let problems = waykeeper_api::admit(&manifest).problems;
            let said = |p: &&waykeeper_api::Problem| {
                p.is_error() && p.field.contains(field) && p.message.contains("choose another header")
            };
            assert!(problems.iter().any(|p| said(&p)), "{name} in {field}: {problems:?}");
        }
    }
    // The manifests are good but for the name.
    for (field, manifest) in manifests("x-other") {
        let problems = waykeeper_api::admit(&manifest).problems;
        assert!(problems.iter().all(|p| !p.is_error()), "{field}: {problems:?}");
    }
}
