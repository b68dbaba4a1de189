//! Who is counted, when, and what is said of it, through the real Envoy.
#![allow(clippy::unwrap_used)]

use waykeeper_tests::parts::Application;
use waykeeper_tests::{Backends, Curl, Folder, Redis, Waykeeper, turn};

fn get() -> Curl {
    Curl::to("http://httpbin2:8000/get")
}

fn with_key(curl: Curl) -> Curl {
    curl.header("api-key: mykey")
}

/// A RateLimitConfig of `limit` requests a day for each of what `action` says.
fn limit(name: &str, limit: u32, descriptor: &str, action: &str) -> String {
    format!(
        "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {{name: {name}, namespace: httpbin}}\nspec:\n  raw:\n    descriptors:\n    - {descriptor}\n      rateLimit: {{requestsPerUnit: {limit}, unit: DAY}}\n    rateLimits:\n    - actions: [{action}]\n"
    )
}

fn everything(name: &str, most: u32) -> String {
    limit(
        name,
        most,
        &format!("key: generic_key\n      value: {name}"),
        &format!("{{genericKey: {{descriptorValue: {name}}}}}"),
    )
}

/// A RouteOption for the walkthrough's route, the only one of it.
fn options(options: &str) -> String {
    format!(
        "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: routeoption-httpbin2, namespace: httpbin}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbin2}}]\n  options:\n    {options}\n"
    )
}

/// The example with the walkthrough's route and its API keys, and `manifests` beside them.
fn folder(manifests: &[(&str, String)]) -> Folder {
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    for (name, manifest) in manifests {
        folder.apply(name, manifest);
    }
    folder
}

const OPTION: &str = "apikeys-02-routeoption-httpbin2.yaml";

fn statuses(curl: impl Fn() -> Curl, times: usize) -> Vec<u16> {
    (0..times).map(|_| curl().send().status).collect()
}

#[test]
fn an_address_is_that_of_the_connection_whatever_a_caller_writes() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let by_address = limit("by-address", 2, "key: remote_address", "{remoteAddress: {}}");
    let folder =
        folder(&[("limit.yaml", by_address), (OPTION, options("rateLimitConfigs: {refs: [{name: by-address}]}"))]);
    let from = |address: &str, forwarded: &str| {
        get().args(&["--interface", address]).header(&format!("x-forwarded-for: {forwarded}"))
    };

    let waykeeper = Waykeeper::up(&folder, &[]);
    let forged: Vec<u16> = (1..=3).map(|n| from("127.0.10.8", &format!("10.0.0.{n}")).send().status).collect();
    assert_eq!(forged, [200, 200, 429], "a new X-Forwarded-For is no new address");
    let seen = Curl::to("http://httpbin3:8000/get").header("x-forwarded-for: 10.0.0.1").send();
    assert_eq!(seen.seen("X-Forwarded-For").as_deref(), Some("10.0.0.1"), "handed on as it came");
    assert!(!seen.body.contains("X-Waykeeper"), "{seen:?}");
    assert_eq!(from("127.0.10.9", "10.0.0.1").send().status, 200, "another caller has a count of its own");
    drop(waykeeper);

    let _waykeeper = Waykeeper::up(&folder, &["--trusted-proxies", "127.0.10.8/32,10.9.0.0/16"]);
    let believed: Vec<u16> = (1..=3).map(|n| from("127.0.10.8", &format!("10.0.0.{n}")).send().status).collect();
    assert_eq!(believed, [200, 200, 200], "a trusted proxy speaks of different callers");
    assert_eq!(statuses(|| from("127.0.10.8", "10.0.0.1, 10.9.0.7"), 2), [200, 429], "of the last that is no proxy");
    assert_eq!(statuses(|| from("127.0.10.9", "10.0.0.1"), 3), [200, 200, 429], "others are not believed");
}

#[test]
fn early_limits_count_before_authorization_and_regular_ones_after() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let auth = "extauth: {configRef: {name: apikeys, namespace: httpbin}}";
    let refs = |field: &str, name: &str| options(&format!("{auth}\n    {field}: {{refs: [{{name: {name}}}]}}"));
    let folder = folder(&[
        ("early.yaml", everything("early", 3)),
        ("regular.yaml", everything("regular", 1)),
        ("usual.yaml", everything("usual", 1)),
        (OPTION, refs("rateLimitEarlyConfigs", "early")),
    ]);

    let waykeeper = Waykeeper::up(&folder, &[]);
    assert_eq!(statuses(get, 3), [401, 401, 401], "counted, then asked for a key");
    assert_eq!(statuses(|| with_key(get()), 1), [429], "not even asked for a key");

    folder.apply(OPTION, &refs("rateLimitRegularConfigs", "regular"));
    waykeeper.within_a_second("the regular limit", &get(), |reply| reply.status == 401);
    assert_eq!(statuses(get, 3), [401, 401, 401], "refused before they could be counted");
    assert_eq!(statuses(|| with_key(get()), 2), [200, 429]);
    drop(waykeeper);

    folder.apply(OPTION, &refs("rateLimitConfigs", "usual"));
    let _waykeeper = Waykeeper::up(&folder, &["--ratelimit-before-auth"]);
    assert_eq!(statuses(get, 2), [401, 429]);
}

#[test]
fn known_users_and_everyone_else_have_limits_of_their_own() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let basic = "ratelimitBasic: {authorizedLimits: {requestsPerUnit: 2, unit: DAY}, anonymousLimits: {requestsPerUnit: 1, unit: DAY}}";
    let auth = "extauth: {configRef: {name: apikeys, namespace: httpbin}}";
    let folder = folder(&[(OPTION, options(&format!("{auth}\n    {basic}")))]);
    let waykeeper = Waykeeper::up(&folder, &[]);
    assert_eq!(statuses(get, 3), [401, 401, 401]);
    assert_eq!(statuses(|| with_key(get()), 3), [200, 200, 429], "a user");

    // Nobody is asked who they are, so nobody is anybody.
    folder.apply(OPTION, &options(basic));
    waykeeper.within_a_second("an address", &get(), |reply| reply.status == 429);
    let from = |user: &str| get().args(&["--interface", "127.0.10.8"]).header(&format!("x-user-id: {user}"));
    assert_eq!([from("ann").send().status, from("bob").send().status], [200, 429]);
}

#[test]
fn clients_are_told_where_they_stand_and_silence_is_a_refusal_where_the_owner_says_so() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let mut redis = Redis::start();
    let folder =
        folder(&[("limit.yaml", everything("all", 2)), (OPTION, options("rateLimitConfigs: {refs: [{name: all}]}"))]);
    let flags = ["--redis", &redis.url(), "--x-ratelimit-headers", "--ratelimit-deny-on-fail"];
    let _waykeeper = Waykeeper::up(&folder, &flags);

    let reply = get().send();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-ratelimit-remaining"), Some("1"), "{reply:?}");
    let limit = reply.header("x-ratelimit-limit").unwrap();
    assert!(limit.starts_with("2, 2;w=86400"), "{limit}");
    let reset: u64 = reply.header("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&reset));
    assert_eq!(statuses(get, 2), [200, 429]);

    redis.kill();
    assert_eq!(statuses(get, 2), [500, 500], "no answer is a refusal");
}

#[test]
fn what_a_rule_counted_is_on_the_metrics_page_under_the_names_of_both_peers() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder =
        folder(&[("limit.yaml", everything("all", 2)), (OPTION, options("rateLimitConfigs: {refs: [{name: all}]}"))]);
    let waykeeper = Waykeeper::up(&folder, &[]);
    assert_eq!(statuses(get, 5), [200, 200, 429, 429, 429]);
    let metrics = waykeeper.admin("/metrics").body;
    let value = |name: &str| {
        let of = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains("generic_key_all");
        let line = metrics.lines().find(of).unwrap_or_else(|| panic!("no {name} in\n{metrics}"));
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    for (what, number) in [("total_hits", "5"), ("over_limit", "3"), ("near_limit", "1")] {
        assert_eq!(value(&format!("ratelimit_solo_io_{what}")), number, "{what}");
        assert_eq!(value(&format!("ratelimit_service_rate_limit_{what}")), number, "{what}");
    }
    assert_eq!(value("ratelimit_service_rate_limit_within_limit"), "2");
    assert_eq!(value("ratelimit_solo_io_limit"), "2");
    assert_eq!(value("ratelimit_solo_io_remaining"), "0");
}

/// A rule of the walkthrough's route for `path`, governed by the RouteOption of that name.
fn rule(path: &str) -> String {
    format!(
        "  - matches: [{{path: {{type: PathPrefix, value: /anything/{path}}}}}]\n    filters:\n    - type: ExtensionRef\n      extensionRef: {{group: gateway.solo.io, kind: RouteOption, name: {path}}}\n    backendRefs: [{{name: httpbin2, port: 8000}}]\n"
    )
}

#[test]
fn constants_parameters_networks_and_what_may_be_absent_are_counted_by_what_they_are() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let absent = "key: generic_key\n      value: all\n      rateLimit: {requestsPerUnit: 1, unit: DAY}\n    - key: a\n      descriptors: [{key: generic_key, value: all, rateLimit: {requestsPerUnit: 1, unit: DAY}}]\n    - key: unused";
    let ways = [
        ("named", "key: kind\n      value: k", "{genericKey: {descriptorKey: kind, descriptorValue: k}}"),
        ("query", "key: page", "{queryParameters: {queryParameterName: page, descriptorKey: page}}"),
        ("network", "key: masked_remote_address", "{maskedRemoteAddress: {v4PrefixMaskLen: 24}}"),
        (
            "absent",
            absent,
            "{requestHeaders: {headerName: x-a, descriptorKey: a, skipIfAbsent: true}}, {genericKey: {descriptorValue: all}}",
        ),
    ];
    let folder = folder(&[]);
    folder.delete(OPTION);
    let rules: String = ways.iter().map(|(name, ..)| rule(name)).collect();
    folder.apply(
        "apikeys-03-httproute-httpbin2.yaml",
        &format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: httpbin2, namespace: httpbin}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: httpbin2}}]\n  rules:\n{rules}"
        ),
    );
    for (name, descriptor, action) in ways {
        folder.apply(&format!("limit-{name}.yaml"), &limit(name, 1, descriptor, action));
        folder.apply(
            &format!("option-{name}.yaml"),
            &format!(
                "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: {name}, namespace: httpbin}}\nspec:\n  options: {{rateLimitConfigs: {{refs: [{{name: {name}}}]}}}}\n"
            ),
        );
    }
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let ask = |path: &str| Curl::to(&format!("http://httpbin2:8000/anything/{path}"));
    let plain = |paths: &[&str]| -> Vec<u16> { paths.iter().map(|path| ask(path).send().status).collect() };
    assert_eq!(plain(&["named", "named?x", "named"]), [200, 429, 429], "a constant under a key of its own");
    assert_eq!(plain(&["query?page=1", "query?page=1&x", "query?page=2", "query?page=2"]), [200, 429, 200, 429]);
    assert_eq!(plain(&["query", "query", "query?Page=1"]), [200, 200, 200], "without the parameter nothing is said");
    let from = |address: &str| ask("network").args(&["--interface", address]).send().status;
    assert_eq!(["127.0.10.8", "127.0.10.9", "127.0.11.8", "127.0.11.9"].map(from), [200, 429, 200, 429]);
    let with = |value: &str| ask("absent").header(&format!("x-a: {value}")).send().status;
    assert_eq!(["1", "1", "2", "2"].map(with), [200, 429, 200, 429]);
    assert_eq!(plain(&["absent", "absent"]), [200, 429], "what is absent leaves the others");
}
