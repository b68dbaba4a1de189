//! docker-compose.yml on a real Docker Engine: each profile once, walkthrough 000,
//! and what happens when its parts are killed.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use waykeeper_tests::docker::load::Load;
use waykeeper_tests::docker::{Compose, get, turn};
use waykeeper_tests::walkthrough::{assert_one_then_limited, assert_plain, assert_unauthorized, is_plain, with};
use waykeeper_tests::waykeeper::CHANGE;
use waykeeper_tests::{Curl, Reply, eventually, fresh_minute};

const KEY: &str = "api-key: mykey";
/// How long a part may take to serve again once it is back.
const RECOVERY: Duration = Duration::from_secs(15);

/// Sends `curl` until the reply is as expected.
fn within(deadline: Duration, what: &str, curl: &Curl, expected: impl Fn(&Reply) -> bool) -> Reply {
    eventually(what, deadline, || {
        let reply = curl.send();
        if expected(&reply) { Ok(reply) } else { Err(format!("{reply:?}")) }
    })
}

/// Walkthrough 000 as far as one minute of the clock allows; `forget` empties the counters.
fn walkthrough(compose: &Compose, forget: impl Fn()) {
    let folder = compose.folder();
    for service in ["httpbin2", "httpbin3"] {
        assert_plain(service, &get(service).send());
    }

    folder.apply_walkthrough("header-control");
    let curl = get("httpbin2").header("X-Remove: this header");
    let reply = within(CHANGE, "S0-04", &curl, |r| r.status == 200 && r.seen("App").is_some());
    assert_eq!(reply.seen("App").as_deref(), Some("httpbin2"));
    assert_eq!(reply.seen("User-Agent").as_deref(), Some("custom"));
    assert_eq!(reply.seen_names(), with(&["App"]));
    let curl = get("httpbin3").header("X-Remove: this header");
    let reply = within(CHANGE, "S0-05", &curl, |r| r.status == 200 && r.seen("App").is_some());
    assert_eq!(reply.seen("X-Remove").as_deref(), Some("this header"));
    folder.delete_walkthrough("header-control");
    within(CHANGE, "S0-06", &get("httpbin2"), is_plain);

    folder.apply_walkthrough("apikeys");
    assert_unauthorized(&within(CHANGE, "S0-07", &get("httpbin2"), |r| r.status == 401));
    let reply = within(CHANGE, "S0-08", &get("httpbin2").header(KEY), |r| r.status == 200);
    assert_eq!(reply.seen_names(), with(&["Api-Key", "X-Organization", "X-User-Id"]));
    assert_eq!(reply.seen("X-Organization").as_deref(), Some("solo.io"));
    assert_eq!(reply.seen("X-User-Id").as_deref(), Some("apikey"));
    assert_unauthorized(&get("httpbin2").header("api-key: wrong").send());
    assert_plain("httpbin3", &get("httpbin3").send());
    folder.delete_walkthrough("apikeys");
    within(CHANGE, "S0-11", &get("httpbin2"), is_plain);

    for (part, curl) in [
        ("ratelimit-httpbin2", get("httpbin2")),
        ("ratelimit-httpbin3", get("httpbin3").header("X-Organization: myorg")),
    ] {
        fresh_minute(Duration::from_secs(15));
        folder.apply_walkthrough(part);
        within(CHANGE, part, &curl, |r| r.status == 429);
        forget();
        assert_one_then_limited(&curl);
    }
    for header in ["X-Organization: other", "X-Other: myorg"] {
        for _ in 0..3 {
            assert_eq!(get("httpbin3").header(header).send().status, 200, "{header}");
        }
    }
    folder.delete_walkthrough("ratelimit-httpbin2");
    folder.delete_walkthrough("ratelimit-httpbin3");
    within(CHANGE, "S0-16", &get("httpbin2"), is_plain);
    within(CHANGE, "S0-16", &get("httpbin3").header("X-Organization: myorg"), |r| r.status == 200);
    assert!(!compose.logs().contains("mykey"), "an API key was printed");
}

#[test]
fn walkthrough_000_with_counters_in_redis_and_then_every_part_killed() {
    let _turn = turn();
    let compose = Compose::up("redis");
    walkthrough(&compose, || drop(compose.run(&["exec", "-T", "redis", "redis-cli", "FLUSHALL"])));

    compose.folder().apply_walkthrough("apikeys");
    compose.folder().apply_walkthrough("ratelimit-httpbin3");
    let (guarded, limited) = (get("httpbin2").header(KEY), get("httpbin3").header("X-Organization: myorg"));
    within(CHANGE, "a guard", &get("httpbin2"), |r| r.status == 401);
    limits_hold(&limited);
    redis_goes(&compose, &limited);
    extauth_goes(&compose, &guarded);
    ratelimit_goes(&compose, &limited);
    waypoint_goes(&compose);
    envoy_goes(&compose, &guarded);

    let logs = compose.logs();
    assert!(!logs.contains("mykey"), "an API key was printed");
    compose.run(&["down", "--volumes"]);
    assert_eq!(compose.left(), "", "`down --volumes` leaves nothing");
}

fn limits_hold(limited: &Curl) {
    within(RECOVERY, "a limit", limited, |r| r.status == 429);
}

/// Limits fail open, as their owner chose; requests with keys go on as before.
fn redis_goes(compose: &Compose, limited: &Curl) {
    let keyed = Load::start("127.0.30.2:8000", "api-key: mykey\r\n");
    let counted = Load::start("127.0.30.3:8000", "X-Organization: myorg\r\n");
    compose.run(&["kill", "redis"]);
    within(RECOVERY, "open without Redis", limited, |r| r.status == 200);
    assert_unauthorized(&get("httpbin2").send());
    compose.run(&["start", "redis"]);
    limits_hold(limited);
    compose.crash("redis");
    compose.healthy("redis");
    limits_hold(limited);
    keyed.stop().only(&[200]);
    counted.stop().only(&[200, 429]);
}

/// Authorization fails closed; what is not guarded goes on.
fn extauth_goes(compose: &Compose, guarded: &Curl) {
    let keyed = Load::start("127.0.30.2:8000", "api-key: mykey\r\n");
    let without = Load::start("127.0.30.2:8000", "");
    let open = Load::start("127.0.30.3:8000", "");
    compose.run(&["kill", "extauth"]);
    within(RECOVERY, "closed without extauth", guarded, |r| r.status == 403);
    compose.run(&["start", "extauth"]);
    within(RECOVERY, "open again with a key", guarded, |r| r.status == 200);
    compose.crash("extauth");
    compose.healthy("extauth");
    within(RECOVERY, "open again with a key", guarded, |r| r.status == 200);
    keyed.stop().only(&[200, 403]);
    without.stop().only(&[401, 403]);
    open.stop().only(&[200]);
}

fn ratelimit_goes(compose: &Compose, limited: &Curl) {
    let keyed = Load::start("127.0.30.2:8000", "api-key: mykey\r\n");
    let counted = Load::start("127.0.30.3:8000", "X-Organization: myorg\r\n");
    compose.run(&["kill", "ratelimit"]);
    within(RECOVERY, "open without ratelimit", limited, |r| r.status == 200);
    compose.run(&["start", "ratelimit"]);
    limits_hold(limited);
    compose.crash("ratelimit");
    compose.healthy("ratelimit");
    limits_hold(limited);
    keyed.stop().only(&[200]);
    counted.stop().only(&[200, 429]);
}

/// What Envoy was told stays in force; once the control plane is back, edits are served again.
fn waypoint_goes(compose: &Compose) {
    let keyed = Load::start("127.0.30.2:8000", "api-key: mykey\r\n");
    compose.run(&["kill", "waypoint"]);
    assert_unauthorized(&get("httpbin2").send());
    compose.run(&["start", "waypoint"]);
    compose.healthy("waypoint");
    compose.crash("waypoint");
    compose.healthy("waypoint");
    let folder = compose.folder();
    folder.apply("route.yaml", MARKED);
    within(RECOVERY, "an edit after a restart", &get("httpbin3"), |r| r.header("x-edit") == Some("one"));
    folder.apply("route.yaml", &MARKED.replace("one", "two"));
    within(CHANGE, "and the next within a second", &get("httpbin3"), |r| r.header("x-edit") == Some("two"));
    folder.delete("route.yaml");
    within(CHANGE, "gone", &get("httpbin3"), |r| r.header("x-edit").is_none());
    keyed.stop().only(&[200]);
}

const MARKED: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: marked, namespace: httpbin}
spec:
  parentRefs: [{name: httpbin3, kind: Service, group: ''}]
  rules:
  - matches: [{path: {type: Exact, value: /get}}]
    backendRefs: [{name: httpbin3, port: 8000}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-edit, value: one}]}}]
";

/// Connections are reset while there is no Envoy; nothing goes around it.
fn envoy_goes(compose: &Compose, guarded: &Curl) {
    let without = Load::start("127.0.30.2:8000", "");
    compose.run(&["restart", "envoy"]);
    within(RECOVERY, "served again", guarded, |r| r.status == 200);
    compose.crash("envoy");
    compose.healthy("envoy");
    within(RECOVERY, "served again", guarded, |r| r.status == 200);
    assert_unauthorized(&get("httpbin2").send());
    // 0: reset. 403: Envoy is back a moment before it has reached extauth.
    without.stop().only(&[0, 401, 403]);
}

#[test]
fn walkthrough_000_with_counters_in_memory() {
    let _turn = turn();
    let compose = Compose::up("memory");
    walkthrough(&compose, || {
        compose.run(&["restart", "ratelimit-memory"]);
        compose.healthy("ratelimit-memory");
    });
}

#[test]
fn counters_in_a_redis_with_tls() {
    let _turn = turn();
    let compose = Compose::up("redis-tls");
    limited_to_one_a_minute(&compose);
    let key = compose.run(&[
        "exec",
        "-T",
        "redis-tls",
        "redis-cli",
        "--tls",
        "--cacert",
        "/var/lib/waykeeper/ca/ca.pem",
        "-h",
        "redis-tls",
        "RANDOMKEY",
    ]);
    assert!(key.contains("ratelimit-httpbin2"), "the counter is in Redis: {key}");
    let plain = compose.command(&["exec", "-T", "redis-tls", "redis-cli", "-h", "redis-tls", "ping"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&plain.stdout).contains("PONG"), "Redis answers without TLS");
}

#[test]
fn counters_in_a_redis_cluster() {
    let _turn = turn();
    let compose = Compose::up("redis-cluster");
    limited_to_one_a_minute(&compose);
    let nodes = ["redis-cluster-1", "redis-cluster-2", "redis-cluster-3"];
    let keys =
        nodes.map(|node| compose.run(&["exec", "-T", node, "redis-cli", "KEYS", "*ratelimit-httpbin2*"])).concat();
    assert_eq!(keys.trim().lines().count(), 1, "one node holds the counter: {keys}");
}

fn limited_to_one_a_minute(compose: &Compose) {
    fresh_minute(Duration::from_secs(10));
    compose.folder().apply_walkthrough("ratelimit-httpbin2");
    limits_hold(&get("httpbin2"));
    assert_eq!(get("httpbin3").send().status, 200);
}

#[test]
fn extauth_and_ratelimit_beside_an_envoy_of_ones_own() {
    let _turn = turn();
    let compose = Compose::up("standalone");
    let to = |path: &str| Curl::to(&format!("http://127.0.30.4:8000{path}"));
    within(RECOVERY, "the application", &to("/open"), |r| r.status == 200);
    assert_unauthorized(&to("/guarded").send());
    let reply = to("/guarded").header(KEY).send();
    assert_eq!((reply.status, reply.seen("X-Organization").as_deref()), (200, Some("solo.io")));
    for name in ["X-User-Id", "X_User.Id", "X_Organization"] {
        let spoofed = to("/open").header(&format!("{name}: root")).send();
        assert_eq!((spoofed.status, spoofed.seen(name)), (200, None), "{name}");
    }
    fresh_minute(Duration::from_secs(5));
    assert_one_then_limited(&to("/limited"));
    compose.run(&["stop", "extauth-alone", "ratelimit-alone"]);
    within(RECOVERY, "closed without extauth", &to("/guarded").header(KEY), |r| r.status == 403);
    within(RECOVERY, "open without ratelimit", &to("/limited"), |r| r.status == 200);
}
