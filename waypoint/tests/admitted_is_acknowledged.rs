//! Whatever admission lets through, Envoy takes.
//!
//! Objects are generated at the edges of Envoy's own rules: expressions, formats,
//! durations, hosts, names, weights. Those that are admitted are translated
//! together and served to a real Envoy, which must acknowledge all of it. How many
//! are refused is counted: a rule that refuses everything would hold as well.
//!
//! `ADMITTED_CASES` sets how many are generated, `ADMITTED_SEED` which.
#![allow(clippy::unwrap_used)]

#[path = "../translate/tests/support.rs"]
mod support;

mod envoy;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{Name, Problem};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};
use waypoint_translate::translate;
use xds::Hub;

use envoy::{Fed, answered, elsewhere};

/// So many objects are served at once.
const BATCH: usize = 150;

#[test]
fn envoy_compiles_what_admission_counts_on() {
    let settings = waypoint_translate::BootstrapSettings {
        admin: waypoint_translate::Admin::Unix("a".into()),
        ads: waypoint_translate::AdsServer::Unix("b".into()),
        memory: None,
    };
    let bootstrap = waypoint_translate::bootstrap(&Name::new("a", "b"), &settings);
    let most = &bootstrap["layered_runtime"]["layers"][0]["static_layer"]["re2"]["max_program_size"]["error_level"];
    assert_eq!(*most, json!(api::envoy::regex::MOST_INSTRUCTIONS));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_admitted_is_acknowledged() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, seed) = (number("ADMITTED_CASES", 900), number("ADMITTED_SEED", 1));
    let mut fed = Fed::begin(Name::new("t", "gateway")).await;

    let mut served = Served { hub: &fed.hub.clone(), node: fed.node(), generation: 0 };
    let mut counted: BTreeMap<&'static str, [usize; 2]> = BTreeMap::new();
    let mut findings = Vec::new();
    let mut batch = Vec::new();
    for (index, (edge, written)) in generated(cases, seed).into_iter().enumerate() {
        let admitted = admitted(&written);
        counted.entry(edge).or_default()[usize::from(admitted.is_err())] += 1;
        if admitted.is_ok() {
            batch.push((edge, written));
        }
        if batch.len() == BATCH || index + 1 == cases as usize {
            findings.extend(served.guilty(&std::mem::take(&mut batch)).await);
            assert!(fed.process.try_wait().unwrap().is_none(), "Envoy ended");
        }
    }
    assert!(findings.is_empty(), "admitted and not acknowledged:\n{}", findings.join("\n"));
    for (edge, [admitted, refused]) in &counted {
        println!("{edge}: {admitted} admitted, {refused} refused");
        assert!(*admitted > 0, "{edge}: none of {refused} was admitted");
        assert!(*refused > 0, "{edge}: nothing was refused, so nothing was at an edge");
    }

    let [admitted, refused] = counted.values().fold([0, 0], |[a, b], [c, d]| [a + c, b + d]);
    assert!(admitted * 2 >= refused, "only {admitted} of {} admitted", admitted + refused);

    fed.end().await;
}

fn admitted(document: &Value) -> Result<(), Vec<Problem>> {
    let admission = api::admit(&named(document, 0));
    if admission.rejected() { Err(admission.problems) } else { Ok(()) }
}

struct Served<'a> {
    hub: &'a Hub,
    node: String,
    generation: u64,
}

impl Served<'_> {
    /// Those of `batch` for which Envoy refuses what it is told, with its words.
    async fn guilty(&mut self, batch: &[(&'static str, Value)]) -> Vec<String> {
        let mut findings = Vec::new();
        let mut open = vec![batch];
        while let Some(part) = open.pop() {
            if part.is_empty() || findings.len() > 20 {
                continue;
            }
            let Some(why) = self.refusal(part).await else { continue };
            match part {
                [(edge, only)] => findings.push(format!("{edge}: {only}\n  {why}")),
                several => {
                    let (left, right) = several.split_at(several.len() / 2);
                    open.extend([right, left]);
                }
            }
        }
        findings
    }

    async fn refusal(&mut self, part: &[(&'static str, Value)]) -> Option<String> {
        let mut documents = scaffold();
        for (index, (_, document)) in part.iter().enumerate() {
            let document = named(document, index);
            if document["kind"] != "HTTPRoute" {
                documents.push(open_route(index));
            }
            if document["kind"] == "RateLimitConfig" {
                documents.push(limited_by(index));
            }
            documents.push(document);
        }
        let (snapshot, problems) = support::snapshot(&documents);
        assert!(snapshot.broken.is_empty(), "{problems:?}");
        let translation = translate(&snapshot, &support::settings());
        let output = translation.gateways.values().next().unwrap();
        let scope = proto::yaml::json(&output.resources[&proto::ResourceType::Scope]["127.0.20.2:80"].body);
        if scope["route_configuration"]["virtual_hosts"][0]["routes"].as_array().unwrap().len() < part.len() {
            return Some("could not be written".to_owned());
        }
        self.generation += 1;
        let target =
            xds::Target { resources: Arc::new(elsewhere(&output.resources)), generation: self.generation, first: None };
        self.hub.set(&self.node, target);
        match answered(self.hub, &self.node, self.generation).await {
            Some(state) => state.nacks.first().map(|nack| format!("{nack:?}")),
            None => Some("no answer".to_owned()),
        }
    }
}

fn scaffold() -> Vec<Value> {
    let service = |name: &str, address: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": "t", "labels": {"istio.io/use-waypoint": "gateway"}},
            "spec": {"clusterIP": address, "ports": [{"name": "http", "port": 80, "appProtocol": "http"}]},
        })
    };
    vec![
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "gateway", "namespace": "t"},
            "spec": {"gatewayClassName": "gloo-waypoint", "listeners": [{"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"}]},
        }),
        service("a", "127.0.20.2"),
        service("b", "127.0.20.3"),
        // Beside routes of gRPC no others count.
        service("c", "127.0.20.4"),
    ]
}

/// The document under a name of its own.
fn named(document: &Value, index: usize) -> Value {
    let mut document = document.clone();
    document["metadata"] = json!({"name": format!("o{index}"), "namespace": "t"});
    if document["kind"] == "RouteOption" {
        document["spec"]["targetRefs"] =
            json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": format!("r{index}")}]);
    }
    document
}

/// The route that the RouteOption of this number governs.
fn open_route(index: usize) -> Value {
    let mut route = route(json!({
        "matches": [{"path": {"value": format!("/r{index}")}}],
        "backendRefs": [{"name": "b", "port": 80}],
    }));
    route["metadata"] = json!({"name": format!("r{index}"), "namespace": "t"});
    route
}

fn limited_by(index: usize) -> Value {
    let mut option = option_of(json!({"rateLimitConfigs": {"refs": [{"name": format!("o{index}")}]}}));
    option["metadata"]["name"] = json!(format!("l{index}"));
    option["metadata"]["namespace"] = json!("t");
    option["spec"]["targetRefs"] =
        json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": format!("r{index}")}]);
    option
}

fn route(rule: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "rules": [rule]},
    })
}

/// A route of gRPC.
fn calls(rule: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute",
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "c"}], "rules": [rule]},
    })
}

fn option_of(options: Value) -> Value {
    json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption", "spec": {"options": options}})
}

fn generated(cases: u64, seed: u64) -> Vec<(&'static str, Value)> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let edges = edges();
    (0..cases as usize)
        .map(|case| {
            let (edge, strategy) = &edges[case % edges.len()];
            (*edge, strategy.new_tree(&mut runner).unwrap().current())
        })
        .collect()
}

/// Where text and numbers of an object reach Envoy, and what is written there.
fn edges() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let backend = || json!([{"name": "b", "port": 80}]);
    let with_filter = move |filter: Value| route(json!({"filters": [filter], "backendRefs": backend()}));
    let matching = move |matches: Value| route(json!({"matches": [matches], "backendRefs": backend()}));
    let header = |name: String, value: String| json!({"header": {"key": name, "value": value}});
    vec![
        ("path expression", expression().prop_map(move |e| matching(json!({"path": {"type": "RegularExpression", "value": e}}))).boxed()),
        ("header expression", expression().prop_map(move |e| matching(json!({"headers": [{"type": "RegularExpression", "name": "x", "value": e}]}))).boxed()),
        ("query expression", expression().prop_map(move |e| matching(json!({"queryParams": [{"type": "RegularExpression", "name": "x", "value": e}]}))).boxed()),
        ("origin expression", expression().prop_map(|e| option_of(json!({"cors": {"allowOriginRegex": [e]}}))).boxed()),
        ("limit expression", expression().prop_map(|e| limit(json!({"headerValueMatch": {"descriptorValue": "x", "headers": [{"name": "x", "regexMatch": e}]}}))).boxed()),
        ("path", (select(vec!["Exact", "PathPrefix"]), path()).prop_map(move |(kind, p)| matching(json!({"path": {"type": kind, "value": p}}))).boxed()),
        ("header condition", (header_name(), text()).prop_map(move |(name, value)| matching(json!({"headers": [{"name": name, "value": value}]}))).boxed()),
        ("query condition", (header_name(), text()).prop_map(move |(name, value)| matching(json!({"queryParams": [{"name": name, "value": value}]}))).boxed()),
        ("format", (any::<bool>(), format()).prop_map(move |(request, f)| {
            let list = if request { "requestHeadersToAdd" } else { "responseHeadersToAdd" };
            option_of(json!({"headerManipulation": {list: [header("x".into(), f)]}}))
        }).boxed()),
        ("header added", (header_name(), text()).prop_map(move |(name, value)| option_of(json!({"headerManipulation": {"requestHeadersToAdd": [header(name, value.replace('%', "%%"))]}}))).boxed()),
        ("header removed", (any::<bool>(), header_name()).prop_map(|(request, name)| {
            let list = if request { "requestHeadersToRemove" } else { "responseHeadersToRemove" };
            option_of(json!({"headerManipulation": {list: [name]}}))
        }).boxed()),
        ("modifier", (select(vec!["set", "add"]), any::<bool>(), header_name(), text()).prop_map(move |(verb, request, name, value)| {
            let (kind, field) = if request { ("RequestHeaderModifier", "requestHeaderModifier") } else { ("ResponseHeaderModifier", "responseHeaderModifier") };
            with_filter(json!({"type": kind, field: {verb: [{"name": name, "value": value}]}}))
        }).boxed()),
        ("rewritten path", (path(), any::<bool>(), path()).prop_map(move |(from, full, to)| {
            let path = if full { json!({"type": "ReplaceFullPath", "replaceFullPath": to}) } else { json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to}) };
            let from = if from.starts_with("/a") { from } else { "/a".into() };
            route(json!({"matches": [{"path": {"value": from}}], "filters": [{"type": "URLRewrite", "urlRewrite": {"path": path}}], "backendRefs": backend()}))
        }).boxed()),
        ("redirect", (host(), path(), any::<bool>(), option_i64(), select(vec![301, 302, 303, 307, 308, 200])).prop_map(|(host, to, full, port, status)| {
            let path = if full { json!({"type": "ReplaceFullPath", "replaceFullPath": to}) } else { json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to}) };
            let mut redirect = json!({"hostname": host, "path": path, "statusCode": status});
            if let Some(port) = port {
                redirect["port"] = json!(port);
            }
            route(json!({"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]}))
        }).boxed()),
        ("prefixRewrite", path().prop_map(|p| option_of(json!({"prefixRewrite": p}))).boxed()),
        ("hostRewrite", host().prop_map(|h| option_of(json!({"hostRewrite": h}))).boxed()),
        ("timeout", duration().prop_map(|d| option_of(json!({"timeout": d}))).boxed()),
        ("route timeouts", (duration(), duration()).prop_map(move |(a, b)| route(json!({"timeouts": {"request": a, "backendRequest": b}, "backendRefs": backend()}))).boxed()),
        ("retries", (duration(), duration(), duration(), prop_oneof![0..5u32, any::<u32>()], select(vec!["5xx", "reset, connect-failure", "retriable-status-codes", "never", "5xx,,"])).prop_map(|(a, b, c, n, on)| {
            option_of(json!({"retries": {"retryOn": on, "numRetries": n, "perTryTimeout": a, "retryBackOff": {"baseInterval": b, "maxInterval": c}, "retriableStatusCodes": [503]}}))
        }).boxed()),
        ("faults", (prop_oneof![Just(0.0), Just(100.0), Just(1e-7), -1.0..101.0], prop_oneof![Just(200), Just(599), Just(600), Just(199), 0..1000u32], duration()).prop_map(|(share, status, d)| {
            option_of(json!({"faults": {"abort": {"percentage": share, "httpStatus": status}, "delay": {"percentage": share, "fixedDelay": d}}}))
        }).boxed()),
        ("cors", (text(), header_name(), select(vec!["1d", "0", "86400", "2s", "x", "-1", "4294967296"])).prop_map(|(origin, name, age)| {
            option_of(json!({"cors": {"allowOrigin": [origin], "allowMethods": [name], "allowHeaders": [name], "exposeHeaders": [name], "maxAge": age}}))
        }).boxed()),
        ("backends with filters", (prop::collection::vec(prop_oneof![Just(0), Just(1), Just(1_000_000), 0..100i64], 1..16), path(), host(), option_i64()).prop_map(|(weights, path, host, percent)| {
            let filters = [
                json!({"type": "URLRewrite", "urlRewrite": {"hostname": host, "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": path}}}),
                json!({"type": "RequestRedirect", "requestRedirect": {"hostname": host, "path": {"type": "ReplaceFullPath", "replaceFullPath": path}}}),
                json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 80}, "percent": percent.unwrap_or(50)}}),
            ];
            let backend = |(number, weight): (usize, &i64)| json!({"name": "b", "port": 80, "weight": weight, "filters": [filters[number % 3]]});
            let backends: Vec<_> = weights.iter().enumerate().map(backend).collect();
            route(json!({"matches": [{"path": {"value": "/a"}}], "backendRefs": backends}))
        }).boxed()),
        ("mirrors", (option_i64(), prop_oneof![Just(0), Just(1), any::<i64>()], prop_oneof![Just(3), Just(i64::from(i32::MAX)), any::<i64>()]).prop_map(move |(percent, numerator, denominator)| {
            let mut mirror = json!({"backendRef": {"name": "b", "port": 80}});
            match percent {
                Some(percent) => mirror["percent"] = json!(percent),
                None => mirror["fraction"] = json!({"numerator": numerator, "denominator": denominator}),
            }
            with_filter(json!({"type": "RequestMirror", "requestMirror": mirror}))
        }).boxed()),
        ("route retries", (duration(), prop_oneof![-1..5i64, any::<i64>()], prop_oneof![400..600i64, any::<i64>()]).prop_map(move |(pause, attempts, code)| {
            route(json!({"retry": {"codes": [code], "attempts": attempts, "backoff": pause}, "backendRefs": backend()}))
        }).boxed()),
        ("route cors", (select(vec!["*", "https://a.example", "http://*.A-b.example:8080", "https://*", "https://a/", "null"]), select(vec!["GET", "*", "get"]), header_name(), any::<i32>(), any::<bool>()).prop_map(move |(origin, method, name, age, credentials)| {
            with_filter(json!({"type": "CORS", "cors": {"allowOrigins": [origin], "allowMethods": [method], "allowHeaders": [name], "exposeHeaders": [name], "maxAge": age, "allowCredentials": credentials}}))
        }).boxed()),
        ("policy", (prop_oneof![header_name().prop_map(|name| format!("request.headers[{name}]")), text().prop_map(|claim| format!("request.auth.claims[{claim}]")), Just("source.ip".to_owned())], text(), path(), host()).prop_map(|(key, value, path, host)| {
            callers("AuthorizationPolicy", json!({"rules": [{
                "from": [{"source": {"namespaces": [format!("{host}*")], "requestPrincipals": [format!("i/{value}"), format!("*{value}")]}}],
                "to": [{"operation": {"paths": [path.clone(), format!("{path}*")], "hosts": [host]}}],
                "when": [{"key": key, "values": [value.clone(), format!("*{value}")]}],
            }]}))
        }).boxed()),
        ("tokens", (text(), header_name(), text(), header_name(), select(vec!["https://a.example/keys", "http://127.0.0.1:81/k?a=%20", "http://[::1]/", "http://a_b/k", "https://A.example:8443", "http://a/ü", "http://"]), duration()).prop_map(|(issuer, from, prefix, to, url, timeout)| {
            callers("RequestAuthentication", json!({"jwtRules": [
                {"issuer": issuer, "audiences": [prefix], "jwksUri": url, "timeout": timeout,
                    "fromHeaders": [{"name": from, "prefix": prefix}], "fromParams": [issuer], "outputClaimToHeaders": [{"header": to, "claim": prefix}]},
                {"issuer": "written", "jwks": "{\"keys\": [{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"x\": \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}", "fromCookies": [from], "outputPayloadToHeader": to},
            ]}))
        }).boxed()),
        ("calls", (any::<bool>(), prop_oneof![expression(), select(vec!["a.B", ".a", "a..B", "a/b"]).prop_map(str::to_owned)], prop_oneof![expression(), select(vec!["Say", "1", "a.B"]).prop_map(str::to_owned)], header_name(), text()).prop_map(move |(exact, service, method, name, value)| {
            let kind = if exact { "Exact" } else { "RegularExpression" };
            calls(json!({"matches": [{"method": {"type": kind, "service": service, "method": method}, "headers": [{"name": name, "value": value}]}, {"method": {"type": kind, "service": service}}, {"method": {"type": kind, "method": method}}], "backendRefs": backend()}))
        }).boxed()),
        ("weights", prop::collection::vec(prop_oneof![Just(0), Just(1_000_000), Just(1_000_001), Just(-1), 0..100i64], 1..18).prop_map(|weights| {
            let backends: Vec<_> = weights.iter().map(|weight| json!({"name": "b", "port": 80, "weight": weight})).collect();
            route(json!({"backendRefs": backends}))
        }).boxed()),
        ("hostnames", prop::collection::vec(host(), 1..17).prop_map(move |hosts| {
            let mut route = route(json!({"backendRefs": backend()}));
            route["spec"]["hostnames"] = json!(hosts);
            route["spec"]["parentRefs"] = json!([{"name": "gateway"}]);
            route
        }).boxed()),
        ("limit values", (header_name(), text(), text(), text()).prop_map(|(name, key, value, path)| {
            json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig", "spec": {"raw": {
                "descriptors": [{"key": "a", "rateLimit": {"requestsPerUnit": 1, "unit": "MINUTE"}}],
                "rateLimits": [{"actions": [
                    {"requestHeaders": {"headerName": name, "descriptorKey": key}},
                    {"genericKey": {"descriptorValue": value}},
                    {"headerValueMatch": {"descriptorValue": value, "headers": [{"name": name, "prefixMatch": key}, {"name": name, "suffixMatch": value}, {"name": name, "exactMatch": value}]}},
                    {"metadata": {"descriptorKey": key, "metadataKey": {"key": value, "path": [{"key": path}]}}},
                ]}],
            }}})
        }).boxed()),
    ]
}

/// A policy of Istio's for the Service `a`.
fn callers(kind: &str, mut spec: Value) -> Value {
    spec["targetRefs"] = json!([{"group": "", "kind": "Service", "name": "a"}]);
    json!({"apiVersion": "security.istio.io/v1", "kind": kind, "spec": spec})
}

fn limit(action: Value) -> Value {
    json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig", "spec": {"raw": {
        "descriptors": [{"key": "a", "rateLimit": {"requestsPerUnit": 1, "unit": "MINUTE"}}],
        "rateLimits": [{"actions": [action]}],
    }}})
}

/// Text for whatever takes text: ordinary, empty, long, and with characters that mean something to somebody.
fn text() -> BoxedStrategy<String> {
    let odd = select(vec![
        "\n", "\r", "\0", "\t", "%", "%%", "\\", "\\1", "\"", "ü", "\u{2028}", " ", "{}", "\u{7f}", "😀", ",",
    ]);
    prop_oneof![
        4 => "[a-zA-Z0-9._/-]{1,12}",
        1 => Just(String::new()),
        1 => (1..5000usize).prop_map(|n| "a".repeat(n)),
        3 => ("[a-z]{0,3}", odd, "[a-z]{0,3}").prop_map(|(a, b, c)| format!("{a}{b}{c}")),
    ]
    .boxed()
}

fn header_name() -> BoxedStrategy<String> {
    let known = vec![
        "x-a",
        "Host",
        "host",
        ":path",
        "Content-Length",
        "Transfer-Encoding",
        "connection",
        "x-envoy-x",
        "X-Envoy-Max-Retries",
        "te",
        "Trailer",
        "proxy-authorization",
        "cookie",
        "authorization",
        "x_y",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-request-id",
        "date",
        "server",
        "accept",
        "expect",
        ":x",
        "*",
    ];
    prop_oneof![
        3 => "[a-zA-Z][a-zA-Z0-9-]{0,10}",
        3 => select(known).prop_map(str::to_owned),
        1 => "[!#$%&'*+.^_`|~a-z]{1,6}",
        1 => text(),
    ]
    .boxed()
}

fn path() -> BoxedStrategy<String> {
    let parts = vec![
        "a", "b", "a.b", "%20", "%2F", "%2f", "..", ".", "", "a:b", "a;b=c", "~", "a b", "ü", "\\", "\\1", "\n", "?x",
        "#y", "{}", "%zz", "*", "$1",
    ];
    prop_oneof![
        6 => prop::collection::vec(select(parts), 0..4).prop_map(|parts| format!("/{}", parts.join("/"))),
        2 => "(/[a-z0-9]{1,4}){0,3}/?",
        1 => text(),
        1 => (900..1100usize).prop_map(|n| format!("/{}", "a".repeat(n))),
    ]
    .boxed()
}

fn host() -> BoxedStrategy<String> {
    prop_oneof![
        5 => "[a-z0-9]{1,8}(\\.[a-z]{1,6}){0,2}",
        2 => (50..63usize, 1..4usize).prop_map(|(n, labels)| vec!["h".repeat(n); labels].join(".")),
        1 => "\\*\\.[a-z]{1,5}\\.[a-z]{2}",
        1 => select(vec!["a_b", "A.b", "1.2.3.4", "[::1]", "a:80", "a:x", "a.", ".a", "a..b", "a b", "a/b", "a@b", "x\ny", "ü.example", "*"]).prop_map(str::to_owned),
        1 => text(),
    ]
    .boxed()
}

fn option_i64() -> BoxedStrategy<Option<i64>> {
    prop_oneof![Just(None), Just(Some(0)), Just(Some(65_535)), Just(Some(65_536)), (1..65_535i64).prop_map(Some)]
        .boxed()
}

fn duration() -> BoxedStrategy<String> {
    let edges = vec![
        "0s",
        "0ms",
        "1ms",
        "500ms",
        "1s",
        "10s",
        "1m30s",
        "99999h",
        "99999h99999h",
        "315576000s",
        "315360000s",
        "315576000000s",
        "9223372036s",
        "9223372037s",
        "1.5s",
        "0.0001s",
        "1ns",
        "-1s",
        "1d",
        "",
        "5",
        "1h1m1s1ms",
        "1e3s",
        "100000s",
    ];
    prop_oneof![select(edges).prop_map(str::to_owned), "[0-9]{1,5}(h|m|s|ms)"].boxed()
}

fn format() -> BoxedStrategy<String> {
    let operators = vec![
        "REQ",
        "RESP",
        "TRAILER",
        "PROTOCOL",
        "HOSTNAME",
        "START_TIME",
        "START_TIME_LOCAL",
        "EMIT_TIME",
        "DYNAMIC_METADATA",
        "CLUSTER_METADATA",
        "UPSTREAM_METADATA",
        "FILTER_STATE",
        "UPSTREAM_FILTER_STATE",
        "QUERY_PARAM",
        "PATH",
        "RESPONSE_CODE",
        "RESPONSE_CODE_DETAILS",
        "GRPC_STATUS",
        "GRPC_STATUS_NUMBER",
        "DURATION",
        "STREAM_ID",
        "TRACE_ID",
        "UNIQUE_ID",
        "ROUTE_NAME",
        "ACCESS_LOG_TYPE",
        "LOCAL_REPLY_BODY",
        "BYTES_SENT",
        "CONNECTION_ID",
        "UPSTREAM_HOST",
        "UPSTREAM_HOST_NAME",
        "UPSTREAM_HOST_NAME_WITHOUT_PORT",
        "UPSTREAM_CLUSTER_RAW",
        "DOWNSTREAM_PEER_CERT_V_START",
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
        "REQUEST_DURATION",
        "RESPONSE_TX_DURATION",
        "VIRTUAL_CLUSTER_NAME",
        "ENVIRONMENT",
        "NOPE",
        "DOWNSTREAM_WIRE_BYTES_SENT",
        "UPSTREAM_WIRE_BYTES_RECEIVED",
        "FILTER_CHAIN_NAME",
        "UPSTREAM_CONNECTION_ID",
        "COALESCE",
    ];
    let any_operator = prop_oneof![select(operators), select(api::envoy::format::plain_operators().to_vec())];
    let argument = select(vec![
        "",
        "",
        "",
        "",
        "(x)",
        "(x-a)",
        "(:path)",
        "(x?y)",
        "(a?b?c)",
        "(a b)",
        "()",
        "(%s)",
        "(%Y-%m-%d %H:%M:%S)",
        "(%n)",
        "(%3f)",
        "(a:b)",
        "(a:b:c)",
        "(a:PLAIN)",
        "(a:TYPED)",
        "(a:FIELD:b)",
        "(a:FIELD)",
        "(WQ)",
        "(NQ:ORIG)",
        "(ALLOW_WHITESPACES)",
        "(NUMBER)",
        "([\"a\", \"b\"])",
        "(((",
        "(x",
        "(ü)",
        "(?x)",
        "(a:)",
        "(:)",
    ]);
    let length = select(vec!["", "", "", "", ":5", ":0", ":", ":x", ":999999", ":9999999999999999999999"]);
    let command = (any_operator, argument, length, select(vec!["%", "%", "%", "%", ""]))
        .prop_map(|(o, a, l, end)| format!("%{o}{a}{l}{end}"));
    let piece = prop_oneof![4 => command, 1 => "[a-z ]{0,4}", 1 => Just("%%".to_owned()), 1 => select(vec!["%", "\\", "\"", "\t", "ü"]).prop_map(str::to_owned)];
    prop::collection::vec(piece, 1..3).prop_map(|pieces| pieces.concat()).boxed()
}

/// Expressions out of RE2's grammar, with what only others have, and with letters changed at random.
fn expression() -> BoxedStrategy<String> {
    let class = select(vec![
        "[a-z]",
        "[^/]",
        r"\d",
        r"\w",
        r"\s",
        r"\D",
        ".",
        r"\pN",
        r"\p{Greek}",
        r"\p{Lu}",
        r"\P{Nd}",
        "[[:alpha:]-]",
        "[é-ü]",
        r"[\w.-]",
        r"\p{Han}",
        "[日-本]",
        r"\p{^Thai}",
        r"[^\x{100}-\x{10FFFF}]",
        r"\pL",
        "[]a]",
        "[a&&b]",
        r"\p{greek}",
        r"\h",
        r"\p{L}",
    ]);
    let place = select(vec![
        "^", "$", r"\b", r"\A", r"\z", r"\Z", r"\B", "(?i)", "(?s)", "(?U)", "(?x)", "(?R)", "(?-i)", r"\1",
    ]);
    let leaf = prop_oneof![
        4 => "[a-z/]{1,4}",
        3 => class.prop_map(str::to_owned),
        1 => place.prop_map(str::to_owned),
        1 => select(vec!["é", "k", r"\.", r"\x41", r"\x{1F600}", r"\u{61}", r"\Qa.b\E", "{", "}", r"\_", r"\-", r"\n", r"\0"]).prop_map(str::to_owned),
    ];
    let repeat = select(vec![
        "*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{2,}", "{0}", "{50}", "{1,100}", "{1000}", "{1001}", "{,5}",
        "{3,2}", "**",
    ]);
    let whole = leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            (inner.clone(), repeat.clone()).prop_map(|(i, r)| format!("(?:{i}){r}")),
            (inner.clone(), repeat.clone()).prop_map(|(i, r)| format!("{i}{r}")),
            (select(vec!["(", "(?:", "(?i:", "(?P<n>", "(?<m>", "(?=", "(?<!"]), inner.clone())
                .prop_map(|(o, i)| format!("{o}{i})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}{b}")),
            prop::collection::vec(inner, 2..4).prop_map(|all| all.join("|")),
        ]
    });
    let junk = select(r"ab(?:|)[]{}*+?.^$\dpLQEx0123,-<>=!iPsmU&~é".chars().collect::<Vec<_>>());
    let changed = (whole.clone(), junk, any::<prop::sample::Index>()).prop_map(|(text, c, at)| {
        let mut letters: Vec<char> = text.chars().collect();
        if !letters.is_empty() {
            let at = at.index(letters.len());
            letters[at] = c;
        }
        letters.into_iter().collect()
    });
    prop_oneof![4 => whole, 1 => changed, 1 => text()].boxed()
}
