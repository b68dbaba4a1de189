//! A person edits the folder of a running system.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use waykeeper_tests::parts::Application;
use waykeeper_tests::{Backends, Curl, Folder, Waykeeper, eventually, turn};

fn get(service: &str) -> Curl {
    Curl::to(&format!("http://{service}:8000/get"))
}

/// Requests sent all the while; every one must be answered 200.
fn while_requesting<T>(url: &'static str, act: impl FnOnce() -> T) -> T {
    static STOP: AtomicBool = AtomicBool::new(false);
    STOP.store(false, Ordering::SeqCst);
    let requests = thread::spawn(move || {
        let mut sent = 0;
        while !STOP.load(Ordering::SeqCst) {
            let reply = Curl::to(url).send();
            assert_eq!((reply.status, &reply.error), (200, &None), "request {sent}: {reply:?}");
            sent += 1;
        }
        sent
    });
    let result = act();
    STOP.store(true, Ordering::SeqCst);
    let sent = requests.join().expect("every request is answered");
    assert!(sent > 5, "only {sent} requests were sent");
    result
}

#[test]
fn edits_are_served_within_a_second_and_no_request_is_dropped() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    let waykeeper = Waykeeper::up(&folder, &[]);
    while_requesting("http://httpbin3:8000/get", || {
        for round in 0..5 {
            let route = format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: httpbin}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: httpbin2}}]\n  rules:\n  - backendRefs: [{{name: httpbin2, port: 8000}}]\n    filters:\n    - type: RequestHeaderModifier\n      requestHeaderModifier: {{set: [{{name: X-Round, value: '{round}'}}]}}\n"
            );
            folder.apply("route.yaml", &route);
            let expected = round.to_string();
            waykeeper.within_a_second("the edit", &get("httpbin2"), |r| {
                r.status == 200 && r.seen("X-Round").as_deref() == Some(expected.as_str())
            });
        }
        folder.delete("route.yaml");
        waykeeper.within_a_second("the deletion", &get("httpbin2"), |r| r.status == 200 && r.seen("X-Round").is_none());
    });
}

#[test]
fn a_broken_edit_is_named_with_its_line_and_changes_nothing() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    let waykeeper = Waykeeper::up(&folder, &[]);
    assert_eq!(get("httpbin2").send().status, 401);

    let name = "apikeys-01-authconfig-and-secret.yaml";
    folder.apply(
        name,
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: [unclosed\nstringData: {api-key: canary-4711}\n",
    );
    let status = eventually("the file's problem", Duration::from_secs(1), || {
        let status = waykeeper.status();
        let files = status["files"].as_array().cloned().unwrap_or_default();
        let broken = files.iter().find(|f| f["path"].as_str().is_some_and(|p| p.ends_with(name)));
        match broken.and_then(|f| f["problems"].as_array()).filter(|p| !p.is_empty()) {
            Some(problems) if problems[0]["line"].is_u64() && problems[0]["column"].is_u64() => Ok(status.clone()),
            _ => Err(status.to_string()),
        }
    });
    assert!(!status.to_string().contains("canary-4711"));
    assert_eq!(get("httpbin2").send().status, 401, "the last good AuthConfig keeps serving");
    assert_eq!(get("httpbin2").header("api-key: mykey").send().status, 200, "and so do its keys");
    let (_, log) = waykeeper.stop();
    assert!(!log.contains("canary-4711"));
}

#[test]
fn a_policy_that_cannot_be_understood_refuses_its_route_and_no_other() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    // Never a good version: misspelt, from the first start.
    let name = "apikeys-02-routeoption-httpbin2.yaml";
    let good = std::fs::read_to_string(folder.path().join(name)).unwrap();
    folder.apply(name, &good.replace("extauth:", "extAuthz:"));
    let waykeeper = Waykeeper::up(&folder, &[]);
    assert_eq!(get("httpbin2").header("api-key: mykey").send().status, 500);
    assert_eq!(get("httpbin3").send().status, 200);
    let status = waykeeper.status().to_string();
    assert!(status.contains("spec.options.extAuthz"), "{status}");

    folder.apply(name, &good);
    waykeeper.within_a_second("mended", &get("httpbin2"), |r| r.status == 401);

    // An AuthConfig that does not exist: denied, and said so.
    folder.apply(name, &good.replace("name: apikeys", "name: nowhere"));
    waykeeper.within_a_second("unknown AuthConfig", &get("httpbin2").header("api-key: mykey"), |r| r.status == 403);
    let status = waykeeper.status().to_string();
    assert!(status.contains("nowhere"), "{status}");
}

#[test]
fn a_half_written_file_is_never_served() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    let waykeeper = Waykeeper::up(&folder, &[]);
    let path = folder.path().join("apikeys-02-routeoption-httpbin2.yaml");
    let whole = std::fs::read(&path).unwrap();
    for _ in 0..3 {
        // As an editor without atomic save: truncate, then write in pieces.
        let mut file = std::fs::File::create(&path).unwrap();
        for piece in whole.chunks(whole.len() / 4 + 1) {
            file.write_all(piece).unwrap();
            file.flush().unwrap();
            assert_eq!(get("httpbin2").send().status, 401);
        }
        drop(file);
        assert_eq!(get("httpbin2").send().status, 401);
    }
    assert_eq!(get("httpbin2").header("api-key: mykey").send().status, 200);
    drop(waykeeper);
}
