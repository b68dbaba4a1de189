//! Why a request is limited: asked of a running `waykeeper up`, and of files.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use serde_json::{Value, json};
use waykeeper_tests::parts::{Application, binary};
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Backends, Curl, Folder, Redis, Waykeeper, turn};

const DESCRIPTOR: &str = "httpbin.by-user: user=ann";

fn get() -> Curl {
    Curl::to("http://httpbin2:8000/get").header("x-user: ann")
}

/// The walkthrough's route, limited to two requests a day of each user.
fn folder() -> Folder {
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    folder.apply("limit.yaml", "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {name: by-user, namespace: httpbin}\nspec:\n  raw:\n    descriptors:\n    - key: user\n      rateLimit: {requestsPerUnit: 2, unit: DAY}\n    rateLimits:\n    - actions: [{requestHeaders: {headerName: x-user, descriptorKey: user}}]\n");
    folder.apply("apikeys-02-routeoption-httpbin2.yaml", "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {name: routeoption-httpbin2, namespace: httpbin}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: httpbin2}]\n  options:\n    rateLimitConfigs: {refs: [{name: by-user}]}\n");
    folder
}

/// `waykeeper ratelimit …`: its exit code and what it printed.
fn ratelimit(args: &[&str]) -> (i32, String) {
    let output = Command::new(binary("waykeeper")).arg("ratelimit").args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text)
}

fn left(admin: &str) -> Value {
    let (code, text) = ratelimit(&["explain", "--admin", admin, "-o", "json", DESCRIPTOR]);
    assert_eq!(code, 0, "{text}");
    let said: Value = serde_json::from_str(&text).unwrap();
    json!([said["answer"], said["descriptors"][0]["rules"][0]["counters"][0]["left"]])
}

fn asked_of_a_server(flags: &[&str]) {
    let folder = folder();
    let waykeeper = Waykeeper::up(&folder, flags);
    let admin = waykeeper.admin.as_str();
    assert_eq!(left(admin), json!(["ok", 2]));
    assert_eq!(get().send().status, 200);
    for _ in 0..5 {
        assert_eq!(left(admin), json!(["ok", 1]), "asking spends nothing");
    }
    assert_eq!(get().send().status, 200);
    assert_eq!(left(admin), json!(["over", 0]));
    assert_eq!(get().send().status, 429);

    let (_, text) = ratelimit(&["explain", "--admin", admin, DESCRIPTOR]);
    for said in ["domain solo.io: over", "applies: the only rule that matches", "3 used of 2 per DAY, 0 left"] {
        assert!(text.contains(said), "{said}:\n{text}");
    }
    let (_, text) = ratelimit(&["counters", "--admin", admin, "--prefix", "httpbin.by-user"]);
    let row = text.lines().find(|line| line.starts_with(DESCRIPTOR)).unwrap_or_else(|| panic!("{text}"));
    assert!(row.contains("2 per DAY"), "{text}");

    assert_eq!(
        ratelimit(&["reset", "--admin", admin, DESCRIPTOR]),
        (0, "1 counters were in use and are empty now\n".to_owned())
    );
    assert_eq!(left(admin), json!(["ok", 2]));
    assert_eq!(get().send().status, 200);
    assert_eq!(ratelimit(&["reset", "--admin", admin, "--all"]).0, 0);
    assert!(ratelimit(&["counters", "--admin", admin]).1.contains("no counters in use"));

    let curl = Curl::to(&format!("http://{admin}/explain")).header("content-type: application/json");
    let reply = curl.args(&["-d", &json!({"descriptors": [DESCRIPTOR]}).to_string()]).send();
    assert_eq!((reply.status, &reply.json()["answer"]), (200, &json!("ok")), "{reply:?}");
    let logged = waykeeper.log();
    assert!(logged.contains("counters were reset through the admin port") && !logged.contains("user=ann"), "{logged}");
}

#[test]
fn explaining_says_what_is_left_and_spends_nothing_and_resetting_frees() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    asked_of_a_server(&[]);
    let redis = Redis::start();
    asked_of_a_server(&["--redis", &redis.url()]);
}

#[test]
fn files_are_explained_rehearsed_simulated_and_checked_without_a_server() {
    let folder = folder();
    let path = folder.path().to_str().unwrap();
    let (code, text) = ratelimit(&["explain", "--file", path, DESCRIPTOR]);
    assert!(
        code == 0 && text.contains("0 used of 2 per DAY, 2 left") && text.contains("no server was asked"),
        "{text}"
    );
    let (code, text) = ratelimit(&["explain", "--file", path, "httpbin.by-user"]);
    assert!(code == 1 && text.contains("write for example"), "{text}");

    let (code, text) =
        ratelimit(&["simulate", "--file", path, "--rate", "1/h", "--for", "2d", "-o", "json", DESCRIPTOR]);
    let passed: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{code}: {text}"));
    assert_eq!(
        json!([passed["total"]["sent"], passed["total"]["passed"], passed["windows"][0]["passed"]]),
        json!([48, 4, 2])
    );

    let steps = Folder::empty();
    steps.apply("good.yaml", "- {send: ['httpbin.by-user: user=ann'], times: 2, answer: ok}\n- {send: ['httpbin.by-user: user=ann'], answer: over}\n- {after: 86400, send: ['httpbin.by-user: user=ann'], answer: ok}\n");
    steps.apply("bad.yaml", "- {send: ['httpbin.by-user: user=ann'], times: 3, answer: ok}\n");
    let file = |name: &str| steps.path().join(name).to_str().unwrap().to_owned();
    let (code, text) = ratelimit(&["test", "--file", path, &file("good.yaml")]);
    assert!(code == 0 && text.contains("3 steps answered as written"), "{text}");
    let (code, text) = ratelimit(&["test", "--file", path, &file("bad.yaml")]);
    assert!(code == 1 && text.contains("step 1, time 3\n  - answer: ok\n  + answer: over"), "{text}");
    let case = root().join("ratelimit/testdata/the-heaviest-rule-hides-the-others/requests.yaml");
    assert_eq!(ratelimit(&["test", case.to_str().unwrap()]).0, 0, "the rules stand beside it");

    assert_eq!(ratelimit(&["validate", path]).0, 0);
    folder.apply("broken.yaml", "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {name: broken, namespace: httpbin}\nspec: {raw: {descriptors: [{key: a, rateLimit: {requestsPerUnit: 1, unit: FORTNIGHT}}]}}\n");
    let (code, text) = ratelimit(&["validate", path]);
    assert!(code == 1 && text.contains("broken") && text.contains("FORTNIGHT"), "{text}");
    let (code, text) = ratelimit(&["counters", "--admin", "127.0.0.1:1"]);
    assert!(code == 1 && text.contains("nothing answers at 127.0.0.1:1"), "{text}");
}
