//! Policies that are renamed with their references in one save, over and over under load.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use waykeeper_tests::parts::Application;
use waykeeper_tests::{Backends, Curl, Folder, Waykeeper, turn};

fn route(name: &str, path: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: httpbin}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: httpbin2}}]\n  rules:\n  - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    backendRefs: [{{name: httpbin2, port: 8000}}]\n---\n"
    )
}

fn option(route: &str, options: &str) -> String {
    format!(
        "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: {route}, namespace: httpbin}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {route}}}]\n  options: {options}\n---\n"
    )
}

/// All policies, under names that end in this number.
fn policies(number: usize) -> String {
    let keys = format!(
        "apiVersion: enterprise.gloo.solo.io/v1\nkind: AuthConfig\nmetadata: {{name: keys-{number}, namespace: httpbin}}\nspec: {{configs: [{{apiKeyAuth: {{headerName: api-key, labelSelector: {{team: infrastructure}}}}}}]}}\n---\n"
    );
    let nothing = format!(
        "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {{name: nothing-{number}, namespace: httpbin}}\nspec:\n  raw:\n    descriptors: [{{key: generic_key, value: all, rateLimit: {{requestsPerUnit: 0, unit: DAY}}}}]\n    rateLimits: [{{actions: [{{genericKey: {{descriptorValue: all}}}}]}}]\n---\n"
    );
    let auth = option("guarded", &format!("{{extauth: {{configRef: {{name: keys-{number}}}}}}}"));
    let limit = option("limited", &format!("{{rateLimitConfigs: {{refs: [{{name: nothing-{number}}}]}}}}"));
    [keys, nothing, auth, limit].concat()
}

/// Asks over and over on connections that stay open; what came otherwise than expected, and how much came.
fn ask(request: &str, expected: u16, done: &AtomicBool) -> (Vec<u16>, usize) {
    let (mut wrong, mut answers) = (Vec::new(), 0);
    let mut connection: Option<TcpStream> = None;
    while !done.load(Ordering::Relaxed) {
        let mut stream = connection.take().unwrap_or_else(|| TcpStream::connect("127.0.20.2:8000").unwrap());
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let Some(status) = exchange(&mut stream, request) else { continue };
        answers += 1;
        if status != expected {
            wrong.push(status);
        }
        connection = Some(stream);
    }
    (wrong, answers)
}

fn exchange(stream: &mut TcpStream, request: &str) -> Option<u16> {
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        answer.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
        if body.len() >= length.unwrap_or(0) {
            return head.split(' ').nth(1)?.parse().ok();
        }
    }
}

#[test]
fn renaming_policies_with_their_references_gives_no_wrong_answer() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    folder.delete("apikeys-02-routeoption-httpbin2.yaml");
    folder.delete("apikeys-03-httproute-httpbin2.yaml");
    folder.apply("routes.yaml", &[route("guarded", "/get"), route("limited", "/headers")].concat());
    folder.apply("policies.yaml", &policies(0));
    let waykeeper = Waykeeper::up(&folder, &[]);
    let done = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = [("/get", "api-key: mykey", 200), ("/get", "api-key: other", 401), ("/headers", "x: y", 429)]
        .into_iter()
        .cycle()
        .take(6)
        .map(|(path, header, expected)| {
            let done = done.clone();
            let request = format!("GET {path} HTTP/1.1\r\nhost: httpbin2\r\n{header}\r\n\r\n");
            thread::spawn(move || (expected, ask(&request, expected, &done)))
        })
        .collect();
    for number in 1..=75 {
        folder.apply("policies.yaml", &policies(number));
        thread::sleep(Duration::from_millis(120));
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        let (expected, (wrong, answers)) = client.join().unwrap();
        assert!(wrong.is_empty(), "{} of {answers} were not {expected}: {wrong:?}", wrong.len());
        assert!(answers > 500, "{answers} answers");
        println!("{answers} times {expected}");
    }
    waykeeper.within_a_second("the last names", &Curl::to(&format!("http://{}/status", waykeeper.admin)), |reply| {
        reply.body.contains("keys-75") && !reply.body.contains("keys-74")
    });
}
