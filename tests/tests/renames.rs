//! Policies that are renamed with their references in one save, over and over under load, and one that
//! asks for its key in another header each time.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use waykeeper_tests::alone::{free, ready, start, waypoint_with};
use waykeeper_tests::parts::{Application, binary};
use waykeeper_tests::raw::proxy_header;
use waykeeper_tests::{Backends, Curl, Folder, Waykeeper, eventually, turn};

/// What `extauth` logs when Envoy asks for what it does not know.
const UNKNOWN: &str = "a route asks for an AuthConfig that is not served";

/// Envoy lets pass what it has no answer for in time. On a machine that is busy with other things
/// that happens by itself, and is not what is shown here.
const PATIENT: [&str; 2] = ["--ratelimit-timeout-ms", "5000"];

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

/// Headers in which a client has its key, whichever of them is read.
const GOOD: &str = "key-0: mykey\r\nkey-1: mykey\r\nkey-2: mykey";
/// The same with keys that nobody has.
const BAD: &str = "key-0: other\r\nkey-1: other\r\nkey-2: other";

/// All policies, under names that end in this number; but for one, which keeps its name and reads another header.
fn policies(number: usize) -> String {
    let keys = format!(
        "apiVersion: enterprise.gloo.solo.io/v1\nkind: AuthConfig\nmetadata: {{name: keys-{number}, namespace: httpbin}}\nspec: {{configs: [{{apiKeyAuth: {{headerName: api-key, labelSelector: {{team: infrastructure}}}}}}]}}\n---\n"
    );
    let limit = |name: &str, most: u32| {
        format!(
            "apiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {{name: {name}-{number}, namespace: httpbin}}\nspec:\n  raw:\n    descriptors: [{{key: generic_key, value: all, rateLimit: {{requestsPerUnit: {most}, unit: DAY}}}}]\n    rateLimits: [{{actions: [{{genericKey: {{descriptorValue: all}}}}]}}]\n---\n"
        )
    };
    let (nothing, plenty) = (limit("nothing", 0), limit("plenty", 1_000_000_000));
    let auth = option("guarded", &format!("{{extauth: {{configRef: {{name: keys-{number}}}}}}}"));
    let limited = option("limited", &format!("{{rateLimitConfigs: {{refs: [{{name: nothing-{number}}}]}}}}"));
    let roomy = option("roomy", &format!("{{rateLimitConfigs: {{refs: [{{name: plenty-{number}}}]}}}}"));
    let moving = format!(
        "apiVersion: enterprise.gloo.solo.io/v1\nkind: AuthConfig\nmetadata: {{name: moving, namespace: httpbin}}\nspec: {{configs: [{{apiKeyAuth: {{headerName: key-{}, labelSelector: {{team: infrastructure}}}}}}]}}\n---\n",
        number % 3
    );
    let moved = option("moving", "{extauth: {configRef: {name: moving}}}");
    [keys, nothing, plenty, auth, limited, roomy, moving, moved].concat()
}

/// The folder that the storm goes over.
fn folder() -> Folder {
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    folder.delete("apikeys-02-routeoption-httpbin2.yaml");
    folder.delete("apikeys-03-httproute-httpbin2.yaml");
    let routes = [("guarded", "/get"), ("limited", "/headers"), ("roomy", "/anything"), ("moving", "/anything/moving")];
    let routes = routes.map(|(name, path)| route(name, path));
    folder.apply("routes.yaml", &routes.concat());
    folder.apply("policies.yaml", &policies(0));
    folder
}

/// Renames all policies so many times, with a pause after each, while `clients` ask at `address`, each connection with `prelude`
/// before its first request, and shows that every answer was right.
fn storm(folder: &Folder, times: usize, pause: Duration, address: &'static str, prelude: &[u8]) {
    let done = Arc::new(AtomicBool::new(false));
    let asked = [
        ("/get", "api-key: mykey", 200),
        ("/get", "api-key: other", 401),
        ("/headers", "x: y", 429),
        ("/anything", "x: y", 200),
        ("/anything/moving", GOOD, 200),
        ("/anything/moving", BAD, 401),
    ];
    let clients: Vec<_> = asked
        .into_iter()
        .cycle()
        .take(12)
        .map(|(path, header, expected)| {
            let (done, prelude) = (done.clone(), prelude.to_vec());
            let request = format!("GET {path} HTTP/1.1\r\nhost: httpbin2\r\n{header}\r\n\r\n");
            thread::spawn(move || (path, expected, ask((address, &prelude), &request, expected, &done)))
        })
        .collect();
    for number in 1..=times {
        folder.apply("policies.yaml", &policies(number));
        thread::sleep(pause);
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        let (path, expected, (mut wrong, answers)) = client.join().unwrap();
        // Authorization that is not answered within 200 ms is refused; on a machine that is busy with other
        // things that happens by itself. That no AuthConfig was unknown is to be seen in the log.
        wrong.retain(|status| !["/get", "/anything/moving"].contains(&path) || *status != 403);
        assert!(wrong.is_empty(), "{} of {answers} to {path} were not {expected}: {wrong:?}", wrong.len());
        assert!(answers > 60, "{answers} answers to {path}");
    }
}

/// Asks over and over on connections that stay open; what came otherwise than expected, and how much came.
fn ask((address, prelude): (&str, &[u8]), request: &str, expected: u16, done: &AtomicBool) -> (Vec<u16>, usize) {
    let (mut wrong, mut answers) = (Vec::new(), 0);
    let mut connection: Option<TcpStream> = None;
    while !done.load(Ordering::Relaxed) {
        let mut stream = connection.take().unwrap_or_else(|| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(prelude).unwrap();
            stream
        });
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
    let folder = folder();
    let waykeeper = Waykeeper::up(&folder, &PATIENT);
    storm(&folder, 75, Duration::from_millis(120), "127.0.20.2:8000", &[]);
    waykeeper.within_a_second("the last names", &Curl::to(&format!("http://{}/status", waykeeper.admin)), |reply| {
        reply.body.contains("keys-75") && !reply.body.contains("keys-74")
    });
    let said = waykeeper.log();
    assert!(said.contains("auth configs in service") && !said.contains(UNKNOWN), "{said}");
}

/// The servers, the control plane and Envoy know nothing of one another but what they are asked.
#[test]
fn nor_does_it_where_each_server_is_a_process_of_its_own() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let (folder, dir) = (folder(), TempDir::new().unwrap());
    let path = folder.path().to_str().unwrap();
    let (auth, auth_admin, limit, limit_admin) = (free(), free(), free(), free());
    let log = |name: &str| dir.path().join(name);
    let mut servers = vec![
        start(&binary("extauth"), &[path, "--grpc", &auth, "--admin", &auth_admin], &log("extauth")),
        start(&binary("ratelimit"), &[path, "--grpc", &limit, "--admin", &limit_admin], &log("ratelimit")),
    ];
    ready(&auth_admin, &log("extauth"));
    ready(&limit_admin, &log("ratelimit"));
    servers.extend(waypoint_with(path, &auth, &limit, &PATIENT, dir.path()));
    let (address, prelude) = ("127.0.0.1:15088", proxy_header([127, 0, 20, 2], 8000, &[]));
    eventually("the whole chain", Duration::from_secs(20), || {
        let mut stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
        stream.write_all(&prelude).unwrap();
        match exchange(&mut stream, "GET /get HTTP/1.1\r\nhost: httpbin2\r\n\r\n") {
            Some(401) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // Long enough for each process to see each version: who misses one never knows its names.
    storm(&folder, 15, Duration::from_millis(700), address, &prelude);
    let said = std::fs::read_to_string(log("extauth")).unwrap();
    assert!(said.contains("auth configs in service") && !said.contains(UNKNOWN), "{said}");
}
