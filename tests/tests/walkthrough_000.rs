//! Walkthrough 000, step by step, as a person with curl sees it.
//!
//! The cases are numbered as the walkthrough's steps go; manifests are the
//! ones it prints, unchanged, from `examples/walkthrough-000`.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use waykeeper_tests::parts::Application;
use waykeeper_tests::walkthrough::{assert_one_then_limited, assert_plain, assert_unauthorized, get, is_plain, with};
use waykeeper_tests::{Backends, Folder, Redis, Waykeeper, fresh_minute, turn};

fn walkthrough(application: Application, redis: Option<&Redis>) {
    let _turn = turn();
    let _backends = Backends::start(application);
    let folder = Folder::example();
    let url = redis.map(Redis::url);
    let args: Vec<&str> = url.iter().flat_map(|url| ["--redis", url.as_str()]).collect();
    let waykeeper = Waykeeper::up(&folder, &args);

    // S0-03: both services answer through the waypoint, with exactly the printed headers.
    for service in ["httpbin2", "httpbin3"] {
        assert_plain(service, &get(service).send());
    }

    // S0-04, S0-05: header control, per service.
    folder.apply_walkthrough("header-control");
    let curl = get("httpbin2").header("X-Remove: this header");
    let reply = waykeeper.within_a_second("S0-04", &curl, |r| r.status == 200 && r.seen("App").is_some());
    assert_eq!(reply.seen("App").as_deref(), Some("httpbin2"));
    assert_eq!(reply.seen("User-Agent").as_deref(), Some("custom"));
    assert_eq!(reply.seen_names(), with(&["App"]));
    let curl = get("httpbin3").header("X-Remove: this header");
    let reply = waykeeper.within_a_second("S0-05", &curl, |r| r.status == 200 && r.seen("App").is_some());
    assert_eq!(reply.seen("App").as_deref(), Some("httpbin3"));
    assert_eq!(reply.seen("X-Remove").as_deref(), Some("this header"));
    assert!(reply.seen("User-Agent").unwrap().starts_with("curl/"));

    // S0-06: without the routes, as before.
    folder.delete_walkthrough("header-control");
    for service in ["httpbin2", "httpbin3"] {
        let reply = waykeeper.within_a_second("S0-06", &get(service), is_plain);
        assert_plain(service, &reply);
    }

    // S0-07 to S0-10: API keys.
    folder.apply_walkthrough("apikeys");
    let curl = get("httpbin2");
    let reply = waykeeper.within_a_second("S0-07", &curl, |r| r.status == 401);
    assert_unauthorized(&reply);
    let reply = waykeeper.within_a_second("S0-08", &get("httpbin2").header("api-key: mykey"), |r| r.status == 200);
    assert_eq!(reply.seen_names(), with(&["Api-Key", "X-Organization", "X-User-Id"]));
    assert_eq!(reply.seen("Api-Key").as_deref(), Some("mykey"));
    assert_eq!(reply.seen("X-Organization").as_deref(), Some("solo.io"));
    assert_eq!(reply.seen("X-User-Id").as_deref(), Some("apikey"));
    let spoofed =
        get("httpbin2").header("api-key: mykey").header("X-Organization: evil").header("X-User-Id: root").send();
    assert_eq!(spoofed.seen("X-Organization").as_deref(), Some("solo.io"));
    assert_eq!(spoofed.seen("X-User-Id").as_deref(), Some("apikey"));
    for wrong in ["api-key: wrong", "api-key;", "api-key: mykey ,mykey", "api-key: MYKEY"] {
        assert_unauthorized(&get("httpbin2").header(wrong).send());
    }
    let reply = get("httpbin3").send();
    assert_plain("httpbin3", &reply);

    // S0-11: the policy is gone within a second of its deletion.
    folder.delete_walkthrough("apikeys");
    let reply = waykeeper.within_a_second("S0-11", &curl, |r| r.status == 200);
    assert_plain("httpbin2", &reply);

    // S0-12: one request a minute for httpbin2.
    fresh_minute(Duration::from_secs(10));
    folder.apply_walkthrough("ratelimit-httpbin2");
    programmed(&waykeeper, "RouteOption", "httpbin2");
    assert_one_then_limited(&get("httpbin2"));

    // S0-13 to S0-15: httpbin3 is limited by the header's value only.
    folder.apply_walkthrough("ratelimit-httpbin3");
    programmed(&waykeeper, "RouteOption", "httpbin3");
    for _ in 0..3 {
        let reply = get("httpbin3").send();
        assert_eq!(reply.status_line, "HTTP/1.1 200 OK");
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    }
    assert_one_then_limited(&get("httpbin3").header("X-Organization: myorg"));
    for _ in 0..3 {
        assert_eq!(get("httpbin3").header("X-Organization: other").send().status, 200);
    }

    // S0-14 as misprinted, to httpbin2: in a fresh window its own limit of one applies.
    let (waykeeper, printed) = match redis {
        Some(redis) => {
            assert_ne!(redis.cli(&["DBSIZE"]), "0");
            for key in redis.cli(&["KEYS", "*"]).lines() {
                assert!(redis.cli(&["TTL", key]).parse::<i64>().unwrap() > 0, "{key} never expires");
            }
            redis.cli(&["FLUSHALL"]);
            (waykeeper, None)
        }
        None => {
            let (status, log) = waykeeper.stop();
            assert!(status.success(), "{status}: {log}");
            (Waykeeper::up(&folder, &args), Some(log))
        }
    };
    fresh_minute(Duration::from_secs(5));
    assert_one_then_limited(&get("httpbin2").header("X-Organization: myorg"));

    // S0-16: all limits gone.
    folder.delete_walkthrough("ratelimit-httpbin2");
    folder.delete_walkthrough("ratelimit-httpbin3");
    waykeeper.within_a_second("S0-16", &get("httpbin2"), is_plain);
    waykeeper.within_a_second("S0-16", &get("httpbin3").header("X-Organization: myorg"), |r| r.status == 200);
    assert_plain("httpbin2", &get("httpbin2").send());

    // No trace of a key anywhere it could be read.
    let metrics = waykeeper.admin("/metrics").body;
    let status = waykeeper.admin("/status").body;
    let (exit, log) = waykeeper.stop();
    assert!(exit.success(), "{exit}");
    for text in [metrics, status, log, printed.unwrap_or_default()] {
        assert!(!text.contains("mykey"), "an API key was printed");
    }
}

/// Waits until Envoy has acknowledged the object.
fn programmed(waykeeper: &Waykeeper, kind: &str, name: &str) {
    waykeeper_tests::eventually(&format!("{kind} {name} programmed"), Duration::from_secs(1), || {
        let status = waykeeper.status();
        let objects = status["objects"].as_array().ok_or("no objects")?;
        let found = objects.iter().find(|o| o["kind"] == kind && o["name"] == name).ok_or("not listed")?;
        let text = found.to_string();
        let programmed = found["statuses"].as_array().is_some_and(|statuses| {
            statuses
                .iter()
                .flat_map(|s| s["conditions"].as_array().into_iter().flatten())
                .any(|c| c["type"] == "Programmed" && c["status"] == "True")
        });
        if programmed { Ok(()) } else { Err(text) }
    });
}

#[test]
fn as_printed_with_go_httpbin_and_counters_in_memory() {
    walkthrough(Application::GoHttpbin, None);
}

#[test]
fn as_printed_with_go_httpbin_and_counters_in_redis() {
    let redis = Redis::start();
    walkthrough(Application::GoHttpbin, Some(&redis));
}

#[test]
fn as_printed_with_the_sample_application() {
    walkthrough(Application::Sample, None);
}
