//! Quotas as the real Envoy's own `rate_limit_quota` filter asks for and keeps them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use waykeeper_tests::alone::{envoy_with, free, ratelimit};
use waykeeper_tests::parts::Process;
use waykeeper_tests::{Curl, eventually};

const TYPE: &str = "type.googleapis.com/envoy.extensions.filters";

/// An Envoy that answers 200 to what its quotas let pass: buckets by `x-rule` and `x-user`, denied until assigned.
fn bootstrap(listener: &str, rlqs: &str) -> Value {
    let header = |name: &str| {
        json!({"name": name, "typed_config":
            {"@type": "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": name}})
    };
    let deny = json!({"fallback_rate_limit": {"blanket_rule": "DENY_ALL"}});
    let settings = json!({
        "@type": format!("{TYPE}.http.rate_limit_quota.v3.RateLimitQuotaBucketSettings"),
        "bucket_id_builder": {"bucket_id_builder": {
            "config": {"custom_value": header("x-config")},
            "rule": {"custom_value": header("x-rule")},
            "user": {"custom_value": header("x-user")},
        }},
        "reporting_interval": "1s",
        "no_assignment_behavior": deny,
        "expired_assignment_behavior": {"fallback_rate_limit": {"blanket_rule": "DENY_ALL"}},
    });
    let quota = json!({"name": "envoy.filters.http.rate_limit_quota", "typed_config": {
        "@type": format!("{TYPE}.http.rate_limit_quota.v3.RateLimitQuotaFilterConfig"),
        "domain": "solo.io",
        "rlqs_server": {"envoy_grpc": {"cluster_name": "rlqs"}},
        "bucket_matchers": {"matcher_list": {"matchers": [{
            "predicate": {"single_predicate": {"input": header("x-rule"), "value_match": {"safe_regex": {"google_re2": {}, "regex": ".+"}}}},
            "on_match": {"action": {"name": "bucket", "typed_config": settings}},
        }]}},
    }});
    let router = json!({"name": "router", "typed_config": {"@type": format!("{TYPE}.http.router.v3.Router")}});
    let manager = json!({
        "@type": format!("{TYPE}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "http",
        "http_filters": [quota, router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]},
    });
    let at = |address: &str| {
        let (host, port) = address.split_once(':').unwrap();
        json!({"socket_address": {"address": host, "port_value": port.parse::<u16>().unwrap()}})
    };
    json!({"static_resources": {
        "listeners": [{"name": "in", "address": at(listener),
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}],
        "clusters": [{"name": "rlqs", "connect_timeout": "1s",
            "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}},
            "load_assignment": {"cluster_name": "rlqs",
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(rlqs)}}]}]}}],
    }})
}

const RULES: &str = r"
apiVersion: ratelimit.solo.io/v1alpha1
kind: RateLimitConfig
metadata: {name: quotas, namespace: ns}
spec:
  raw:
    setDescriptors:
    - {simpleDescriptors: [{key: rule, value: day}, {key: user}], rateLimit: {requestsPerUnit: 6, unit: DAY}}
    - {simpleDescriptors: [{key: rule, value: second}], rateLimit: {requestsPerUnit: 2, unit: SECOND}}
    - simpleDescriptors: [{key: rule, value: bucket}]
      rateLimit: {requestsPerUnit: 60, unit: HOUR, algorithm: tokenBucket, burst: 3}
    - {simpleDescriptors: [{key: rule, value: quick}], rateLimit: {requestsPerUnit: 6000, unit: MINUTE, algorithm: tokenBucket, burst: 4}}
    - {simpleDescriptors: [{key: rule, value: none}], rateLimit: {requestsPerUnit: 0, unit: DAY}}
";

struct Envoy {
    listener: String,
    _process: Process,
}

impl Envoy {
    fn start(rlqs: &str, dir: &Path) -> Envoy {
        let listener = free();
        let process = envoy_with(&bootstrap(&listener, rlqs), &listener, dir);
        Envoy { listener, _process: process }
    }

    fn ask(&self, rule: &str, user: &str) -> u16 {
        let curl = Curl::to(&format!("http://{}/", self.listener)).header("x-config: ns.quotas");
        curl.header(&format!("x-rule: {rule}")).header(&format!("x-user: {user}")).send().status
    }

    /// Asks until something passes, then on: how many passed of so many.
    fn pass(&self, rule: &str, user: &str, requests: usize) -> usize {
        // Envoy 1.40 reports every five seconds, whatever its settings say.
        eventually(rule, Duration::from_secs(8), || match self.ask(rule, user) {
            200 => Ok(()),
            other => Err(other.to_string()),
        });
        1 + (1..requests).filter(|_| self.ask(rule, user) == 200).count()
    }
}

/// A folder with the rules, and room beside it.
fn rules() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let manifests = dir.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    fs::write(manifests.join("quotas.yaml"), RULES).unwrap();
    (dir, manifests)
}

#[test]
fn envoy_keeps_what_it_is_given_and_two_of_them_never_pass_more_than_the_limit() {
    let (dir, manifests) = rules();
    let (rlqs, log) = (free(), dir.path().join("ratelimit"));
    let server = ratelimit(&manifests, &rlqs, &[], &log);
    let one = Envoy::start(&rlqs, dir.path());

    assert_eq!(one.ask("day", "ann"), 429, "until there is an assignment");
    assert_eq!(one.pass("day", "ann", 10), 6);
    assert_eq!(one.pass("day", "bob", 3), 3, "each user has a limit");
    assert_eq!(one.pass("nobody's", "ann", 20), 20, "no rule governs it");
    assert_eq!(one.pass("bucket", "ann", 8), 3);
    assert_eq!([one.ask("none", "ann"), one.ask("none", "ann")], [429, 429]);
    assert_eq!(one.ask("day", "ann"), 429);

    // Tokens come back: of a rate as it was written, however quick, and of a window when the next begins.
    let began = Instant::now();
    let passed = one.pass("quick", "ann", 60);
    let most = 4 + (began.elapsed().as_secs_f64() * 100.0) as usize;
    assert!((4..=most.max(4)).contains(&passed), "{passed} of {most}");
    let began = Instant::now();
    let mut passed = one.pass("second", "ann", 5);
    assert!(passed <= 4, "{passed}: two windows, at most");
    while began.elapsed() < Duration::from_secs(3) {
        passed += usize::from(one.ask("second", "ann") == 200);
    }
    let windows = began.elapsed().as_secs() as usize + 2;
    assert!((4..=2 * windows).contains(&passed), "{passed} in {windows} windows");

    // Another Envoy gets what the first has left, as soon as that says what it is.
    let two = Envoy::start(&rlqs, dir.path());
    assert_eq!(two.pass("day", "bob", 10) + (0..10).filter(|_| one.ask("day", "bob") == 200).count(), 3);
    assert_eq!((0..5).filter(|_| two.ask("day", "ann") == 200).count(), 0);
    assert_eq!(two.pass("nobody's", "ann", 5), 5);

    // A change of the rule reaches a bucket that is in use with its next report.
    fs::write(
        manifests.join("quotas.yaml"),
        RULES.replace("requestsPerUnit: 6, unit: DAY", "requestsPerUnit: 8, unit: DAY"),
    )
    .unwrap();
    assert_eq!(two.pass("day", "ann", 10), 2, "the first has had more than its half");
    assert_eq!(one.ask("day", "ann"), 429);
    drop(server);
}

#[test]
fn a_server_that_comes_back_fills_nothing_again_and_one_that_is_away_leaves_what_was_assigned() {
    let (dir, manifests) = rules();
    let (rlqs, log) = (free(), dir.path().join("ratelimit"));
    let server = ratelimit(&manifests, &rlqs, &[], &log);
    let one = Envoy::start(&rlqs, dir.path());
    assert_eq!(one.pass("day", "ann", 2), 2);
    assert_eq!(one.pass("day", "bob", 10), 6);

    drop(server);
    assert_eq!(one.pass("day", "ann", 2), 2, "nobody is asked");
    assert_eq!(one.ask("day", "bob"), 429);
    let _server = ratelimit(&manifests, &rlqs, &[], &log);
    // It is connected again once a bucket that was never seen before is assigned something.
    assert_eq!(one.pass("day", "cid", 1), 1);
    assert_eq!((0..10).filter(|_| one.ask("day", "ann") == 200).count(), 2, "not one more");
    assert_eq!((0..3).filter(|_| one.ask("day", "bob") == 200).count(), 0);
}

#[test]
fn servers_that_know_how_many_they_are_give_their_envoys_no_more_than_the_limit_together() {
    let (dir, manifests) = rules();
    let servers: Vec<_> = (0..2)
        .map(|number| {
            let (rlqs, log) = (free(), dir.path().join(format!("ratelimit-{number}")));
            (ratelimit(&manifests, &rlqs, &["--quota-replicas", "2"], &log), rlqs)
        })
        .collect();
    let envoys: Vec<Envoy> = servers.iter().map(|(_, rlqs)| Envoy::start(rlqs, dir.path())).collect();
    for envoy in &envoys {
        assert_eq!(envoy.pass("day", "ann", 10), 3, "half of six");
    }
}
