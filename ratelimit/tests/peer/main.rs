//! The real envoyproxy/ratelimit and ours, side by side: the same files, the
//! same environment, the same requests; answers, pages and counters compared.
//!
//! What is generated keeps clear of the differences that `docs/ratelimit.md`
//! lists; each of those has a test of its own elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod compare;
mod generate;
mod servers;

use compare::{alike, mapped, page_lines, settle, settle_on};
use generate::{Allow, Generator};
use servers::{Backend, Servers};

/// Sends a stream of requests to every server and compares what comes back.
async fn drive(servers: &Servers, generator: &mut Generator, requests: usize) {
    for number in 0..requests {
        let request = generator.request();
        let context =
            |what: &str| format!("{what} of request {number}: {request:#?}\n{}", generator.file_of(&request.domain));
        if number % 4 == 0 {
            let theirs = servers.peer.json(&generate::json(&request));
            for ours in &servers.ours {
                let same = alike(&theirs, &ours.json(&generate::json(&request)));
                assert!(same.is_ok(), "{} {}", same.unwrap_err(), context("/json"));
            }
        } else {
            let theirs = servers.peer.ask(request.clone()).await;
            for ours in &servers.ours {
                let same = compare::same_answer(&theirs, &ours.ask(request.clone()).await);
                assert!(same.is_ok(), "{} {}", same.unwrap_err(), context("gRPC"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_files_and_requests_are_answered_and_counted_alike() {
    for seed in generate::seeds(3) {
        let mut generator = Generator::new(seed, Allow::Everything);
        let files = generator.files(25);
        let env = [("LIMIT_RESPONSE_HEADERS_ENABLED", "true")];
        let servers = Servers::start(&files, &env, &[Backend::Memory, Backend::Redis]).await;
        let theirs = page_lines(&servers.peer.debug("/rlconfig"));
        for ours in &servers.ours {
            assert_eq!(page_lines(&ours.debug("/rlconfig")), theirs);
        }
        drive(&servers, &mut generator, 1500).await;
        for ours in &servers.ours {
            settle(&servers.peer, ours, |_| true);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_global_modes_change_answers_alike() {
    let mut generator = Generator::new(generate::seeds(1)[0], Allow::NoOverrides);
    let files = generator.files(20);
    let env = [
        ("SHADOW_MODE", "true"),
        ("NEAR_LIMIT_RATIO", "0.5"),
        ("LOCAL_CACHE_SIZE_IN_BYTES", "1000000"),
        ("LIMIT_RESPONSE_HEADERS_ENABLED", "true"),
        ("LIMIT_LIMIT_HEADER", "X-Limit"),
        ("LIMIT_REMAINING_HEADER", "X-Left"),
        ("RESPONSE_DYNAMIC_METADATA", "true"),
        ("CACHE_KEY_PREFIX", "mine:"),
    ];
    let servers = Servers::start(&files, &env, &[Backend::Memory, Backend::Redis]).await;
    drive(&servers, &mut generator, 1000).await;
    for ours in &servers.ours {
        // Its mapper takes `over_limit_with_local_cache` for `over_limit` as well where there is a second key.
        settle(&servers.peer, ours, |name| !(name.contains("over_limit{") && name.contains("key2=")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_something_is_over_the_rest_is_not_counted_where_that_is_asked_for() {
    let mut generator = Generator::new(generate::seeds(1)[0], Allow::NoOverrides);
    let files = generator.files(20);
    let env = [("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", "true")];
    let servers = Servers::start(&files, &env, &[Backend::Memory, Backend::Redis]).await;
    drive(&servers, &mut generator, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_file_names_what_is_counted_alike() {
    let folder = tempfile::tempdir().unwrap();
    let mapping = folder.path().join("mapping.yaml");
    let text = r#"
mappings:
  - {match: 'ratelimit\.service\.rate_limit\.(.*)\.(.*)\.(.*)\.(total|near|over)_(.*)', match_type: regex, name: "mapped_${4}_${5}", labels: {domain: "$1", above: "$2", last: "$3", none: "$9"}}
  - {match: "ratelimit.service.rate_limit.*.*.total_hits", name: mapped_hits, labels: {domain: "$1", first: "is-${2}"}}
  - {match: "ratelimit.service.rate_limit.*.*.*", name: "mapped_$3", match_metric_type: counter, scale: 2, labels: {domain: "$1"}}
  - {match: "ratelimit.service.rate_limit.*.*.*.within_limit", name: dropped, action: drop}
  - {match: "ratelimit_server.*.response_time", name: mapped_seconds, observer_type: histogram, labels: {method: "$1"}}
  - {match: "ratelimit_server.*.total_requests", name: mapped_calls, labels: {method: "$1"}}
"#;
    std::fs::write(&mapping, text).unwrap();
    let mut generator = Generator::new(generate::seeds(1)[0], Allow::NoOverrides);
    let files = generator.files(20);
    let env = [("PROMETHEUS_MAPPER_YAML", mapping.to_str().unwrap())];
    let servers = Servers::start(&files, &env, &[Backend::Memory]).await;
    drive(&servers, &mut generator, 1000).await;
    for ours in &servers.ours {
        settle_on(&servers.peer, ours, mapped);
    }
}

/// The same file that a person might have written, and a machine did: what is null is not written.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_null_is_not_written_and_limits_whatever_comes() {
    let limit = "rate_limit: {unit: day, requests_per_unit: 2, name: null}";
    let text = format!(
        "domain: d\ndescriptors:\n- key: a\n  value: null\n  {limit}\n- key: b\n  value: ~\n  {limit}\n- key: c\n  value: 'null'\n  {limit}\n- key: d\n  value: 010\n  {limit}\n"
    );
    let files = std::collections::BTreeMap::from([("f.yaml".to_owned(), text)]);
    let servers = Servers::start(&files, &[], &[Backend::Memory, Backend::Redis]).await;
    for ours in &servers.ours {
        assert_eq!(page_lines(&ours.debug("/rlconfig")), page_lines(&servers.peer.debug("/rlconfig")));
    }
    for (key, value) in
        [("a", "1.2.3.4"), ("a", "null"), ("b", "x"), ("c", "null"), ("c", "y"), ("d", "010"), ("d", "8")]
    {
        for _ in 0..4 {
            let json = format!(
                r#"{{"domain": "d", "descriptors": [{{"entries": [{{"key": "{key}", "value": "{value}"}}]}}]}}"#
            );
            let theirs = servers.peer.json(&json);
            for ours in &servers.ours {
                assert!(alike(&theirs, &ours.json(&json)).is_ok(), "{key} {value}: {theirs:?} {:?}", ours.json(&json));
            }
        }
    }
}
