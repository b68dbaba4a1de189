//! Envoys that are told of clusters once they need them: first requests, policies, missing backends, changes, and a
//! control plane that comes back.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use waykeeper_tests::alone::{envoy_of, free, ratelimit, ready, start};
use waykeeper_tests::echo::Echo;
use waykeeper_tests::parts::{Process, binary};
use waykeeper_tests::raw::{proxy_header, send_raw};
use waykeeper_tests::{Curl, Folder, eventually, turn};

const KEYS: &str = "\
apiVersion: v1
kind: Secret
type: extauth.solo.io/apikey
metadata: {name: ann, namespace: t, labels: {for: keys}}
stringData: {api-key: good}
---
apiVersion: enterprise.gloo.solo.io/v1
kind: AuthConfig
metadata: {name: keys, namespace: t}
spec: {configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {for: keys}}}]}
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: auth, namespace: t}
spec: {options: {extauth: {configRef: {name: keys}}}}
";

/// Service `s<number>` at 127.0.20.`number`, whose application is at 127.0.10.`at`:8080.
fn service(number: usize, at: usize, port: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Service
metadata: {{name: s{number}, namespace: t}}
spec: {{clusterIP: 127.0.20.{number}, ports: [{{name: {port}, port: 8000, targetPort: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s{number}, namespace: t, labels: {{kubernetes.io/service-name: s{number}}}}}
addressType: IPv4
ports: [{{name: {port}, port: 8080}}]
endpoints: [{{addresses: [127.0.10.{at}]}}]
"
    )
}

/// A route of `s<number>` to these backends.
fn route(number: usize, guarded: bool, backends: &str) -> String {
    let guard = if guarded {
        "    filters: [{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: auth}}]\n"
    } else {
        ""
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: s{number}, namespace: t}}\nspec:\n  parentRefs: [{{group: '', kind: Service, name: s{number}}}]\n  rules:\n  - backendRefs: [{backends}]\n{guard}"
    )
}

const LISTENER: &str = "127.0.0.1:15088";

fn get(number: usize, line: &str) -> String {
    let request = format!("GET /x HTTP/1.1\r\nhost: s\r\nconnection: close\r\n{line}\r\n\r\n");
    let number = u8::try_from(number).unwrap();
    send_raw(LISTENER, &[proxy_header([127, 0, 20, number], 8000, &[]), request.into_bytes()].concat())
}

fn status(number: usize, line: &str) -> String {
    get(number, line).split(' ').nth(1).unwrap_or_default().to_owned()
}

struct Control {
    xds: String,
    admin: String,
    tls: String,
    auth: String,
    limits: String,
    folder: String,
}

impl Control {
    fn start(&self, dir: &Path) -> Process {
        let own = [
            &self.folder,
            "--grpc",
            &self.xds,
            "--admin",
            &self.admin,
            "--tls-dir",
            &self.tls,
            "--extauth",
            &self.auth,
            "--ratelimit",
            &self.limits,
        ];
        let log = dir.join("waypoint");
        let process = start(&binary("waypoint"), &[&own[..], &["--clusters-on-demand"]].concat(), &log);
        ready(&self.admin, &log);
        process
    }
}

/// The servers, and an Envoy that listens and has been told of no cluster yet.
struct All {
    control: Control,
    running: Process,
    envoy_admin: String,
    auth_admin: String,
    _servers: [Process; 2],
    _envoy: Process,
}

impl All {
    fn start(folder: &Folder, dir: &Path) -> All {
        let path = folder.path().to_str().unwrap().to_owned();
        let (auth, auth_admin, auth_log) = (free(), free(), dir.join("extauth"));
        let asking = start(&binary("extauth"), &[&path, "--grpc", &auth, "--admin", &auth_admin], &auth_log);
        ready(&auth_admin, &auth_log);
        let limits = free();
        let counting = ratelimit(folder.path(), &limits, &[], &dir.join("ratelimit"));
        let tls = dir.join("tls").to_str().unwrap().to_owned();
        let control = Control { xds: free(), admin: free(), tls, auth, limits, folder: path };
        let running = control.start(dir);
        let envoy_admin = free();
        let _envoy = envoy_of("t/wp", &control.xds, &control.tls, &envoy_admin, dir);
        eventually("the waypoint", Duration::from_secs(20), || {
            std::net::TcpStream::connect(LISTENER).map(drop).map_err(|e| e.to_string())
        });
        All { control, running, envoy_admin, auth_admin, _servers: [asking, counting], _envoy }
    }

    /// How many times the authorization service was asked.
    fn asked(&self) -> String {
        let metrics = Curl::to(&format!("http://{}/metrics", self.auth_admin)).send().body;
        let handled = metrics.lines().find(|line| line.starts_with("grpc_server_handled_total"));
        handled.and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned()
    }

    /// The clusters of Services that Envoy has been told of.
    fn known(&self) -> BTreeSet<String> {
        let clusters = Curl::to(&format!("http://{}/clusters", self.envoy_admin)).send().body;
        let names = clusters.lines().filter_map(|line| line.split_once("::")).map(|(name, _)| name.to_owned());
        names.filter(|name| name.contains('/')).collect()
    }
}

#[test]
fn clusters_come_when_a_request_needs_them_and_nothing_else_is_different() {
    let _turn = turn();
    let (folder, dir) = (Folder::with_waypoint(), TempDir::new().unwrap());
    folder.apply("keys.yaml", KEYS);
    for number in 2..42 {
        folder.apply(
            &format!("s{number}.yaml"),
            &if number == 41 { service(41, 3, "tcp") } else { service(number, 2, "http") },
        );
    }
    folder.apply("guarded.yaml", &route(3, true, "{name: s3, port: 8000}"));
    folder.apply("shared.yaml", &route(4, false, "{name: s5, port: 8000}, {name: nobody, port: 8000}"));
    folder.apply("nowhere.yaml", &route(6, false, "{name: s7, port: 8000}"));
    folder.apply("s7.yaml", &service(7, 2, "http").replace("endpoints: [{addresses: [127.0.10.2]}]", "endpoints: []"));
    let _echoes = ["127.0.10.2:8080", "127.0.10.3:8080"].map(Echo::start);
    let mut all = All::start(&folder, dir.path());
    let known = || all.known();
    assert!(known().is_empty(), "nobody has asked for anything: {:?}", known());

    // Who may not pass makes Envoy ask for nothing; who may is served at once, and every time.
    assert_eq!(status(3, "a: b"), "401");
    assert!(known().is_empty());
    for _ in 0..3 {
        assert_eq!([status(3, "api-key: good"), status(3, "api-key: bad")], ["200", "401"]);
    }
    assert_eq!(known().into_iter().collect::<Vec<_>>(), ["t/s3/8000/on-demand"]);
    // Many first requests at once.
    let many: Vec<_> = (0..24).map(|n| std::thread::spawn(move || status(8 + n % 3, "a: b"))).collect();
    for one in many {
        assert_eq!(one.join().unwrap(), "200");
    }
    // A backend that does not exist answers for its share, one without endpoints for all, and no Service is none.
    let shared: BTreeSet<String> = (0..12).map(|_| status(4, "a: b")).collect();
    assert_eq!(shared.into_iter().collect::<Vec<_>>(), ["200", "500"]);
    assert_eq!([status(6, "a: b"), status(99, "a: b")], ["503", "404"]);
    // What is passed on unread is there without being asked for.
    let mut line = std::net::TcpStream::connect(LISTENER).unwrap();
    line.write_all(
        &[
            proxy_header([127, 0, 20, 41], 8000, &[]),
            b"GET /unread HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n".to_vec(),
        ]
        .concat(),
    )
    .unwrap();
    let mut seen = String::new();
    line.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = line.read_to_string(&mut seen);
    assert!(seen.contains("/unread") && !seen.contains("x-request-id"), "{seen}");

    // Changes reach what was asked for: other endpoints, no endpoints, the end of a Service, and one that comes.
    let becomes = |number: usize, expected: &str| {
        eventually(&format!("s{number} to answer {expected}"), Duration::from_secs(5), || {
            match status(number, "a: b") {
                status if status == expected => Ok(()),
                status => Err(status),
            }
        });
    };
    folder.apply("s7.yaml", &service(7, 3, "http"));
    becomes(6, "200");
    folder.apply("s8.yaml", &service(8, 3, "http").replace("endpoints: [{addresses: [127.0.10.3]}]", "endpoints: []"));
    becomes(8, "503");
    folder.delete("s9.yaml");
    becomes(9, "404");
    folder.apply("s9.yaml", &service(9, 3, "http"));
    becomes(9, "200");
    folder.apply("s50.yaml", &service(50, 3, "http"));
    becomes(50, "200");
    let readyz = Curl::to(&format!("http://{}/readyz", all.control.admin)).send();
    assert_eq!(readyz.status, 200, "{readyz:?}");

    // Without its control plane Envoy serves what it has been told of, and tells of nothing else; with it, all.
    let _ = all.running.0.kill();
    let _ = all.running.0.wait();
    assert_eq!([status(9, "a: b"), status(3, "api-key: good"), status(3, "a: b")], ["200", "200", "401"]);
    all.running = all.control.start(dir.path());
    becomes(20, "200");
    assert_eq!([status(9, "a: b"), status(3, "api-key: good"), status(3, "a: b")], ["200", "200", "401"]);
    folder.apply("s9.yaml", &service(9, 3, "http").replace("endpoints: [{addresses: [127.0.10.3]}]", "endpoints: []"));
    becomes(9, "503");
    assert!(all.known().len() < 15, "{:?}", all.known());
}

/// A limit of one request an hour, and the RouteOption `limit<number>` that asks for it at this stage.
fn limit(number: usize, stage: &str, more: &str) -> String {
    format!(
        "\
apiVersion: ratelimit.solo.io/v1alpha1
kind: RateLimitConfig
metadata: {{name: limit{number}, namespace: t}}
spec:
  raw:
    descriptors: [{{key: generic_key, value: s{number}, rateLimit: {{unit: HOUR, requestsPerUnit: 1}}}}]
    rateLimits: [{{actions: [{{genericKey: {{descriptorValue: s{number}}}}}]}}]
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {{name: limit{number}, namespace: t}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: s{number}}}]
  options: {{{stage}: {{refs: [{{name: limit{number}}}]}}{more}}}
"
    )
}

/// What `s<number>` answers to a request whose body comes after Envoy has begun to ask.
fn status_of_body(number: usize) -> String {
    let mut line = std::net::TcpStream::connect(LISTENER).unwrap();
    line.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let head = "POST /x HTTP/1.1\r\nhost: s\r\nconnection: close\r\napi-key: good\r\ncontent-length: 4\r\n\r\nbo";
    let number = u8::try_from(number).unwrap();
    line.write_all(&[proxy_header([127, 0, 20, number], 8000, &[]), head.as_bytes().to_vec()].concat()).unwrap();
    let mut first = [0; 64];
    line.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let early = line.read(&mut first).unwrap_or_default();
    let _ = line.write_all(b"dy");
    let mut answer = String::from_utf8_lossy(&first[..early]).into_owned();
    line.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = line.read_to_string(&mut answer);
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn first_requests_are_counted_and_asked_for_once_like_all_others() {
    let _turn = turn();
    let (folder, dir) = (Folder::with_waypoint(), TempDir::new().unwrap());
    folder.apply("keys.yaml", KEYS);
    let stages = ["rateLimitEarlyConfigs", "rateLimitRegularConfigs"];
    let auth = [", extauth: {configRef: {name: keys}}", ""];
    let cases: Vec<(&str, &str)> = stages.iter().flat_map(|stage| auth.map(|auth| (*stage, auth))).collect();
    for (index, (stage, auth)) in cases.iter().enumerate() {
        for number in [2, 12, 22].map(|from| from + index) {
            folder.apply(&format!("s{number}.yaml"), &service(number, 2, "http"));
            folder
                .apply(&format!("r{number}.yaml"), &route(number, false, &format!("{{name: s{number}, port: 8000}}")));
            folder.apply(&format!("l{number}.yaml"), &limit(number, stage, auth));
        }
    }
    let _echo = Echo::start("127.0.10.2:8080");
    for number in [30, 31] {
        folder.apply(&format!("s{number}.yaml"), &service(number, 2, "http"));
        folder.apply(&format!("r{number}.yaml"), &route(number, true, &format!("{{name: s{number}, port: 8000}}")));
    }
    let all = All::start(&folder, dir.path());
    assert_eq!([status(30, "api-key: good"), all.asked()], ["200", "1"].map(str::to_owned));
    assert_eq!([status_of_body(31), all.asked()], ["200", "2"].map(str::to_owned));
    for (index, case) in cases.iter().enumerate() {
        let get = |from: usize| status(from + index, "api-key: good");
        assert_eq!([get(2), get(2)], ["200", "429"], "{case:?}: one after the other");
        assert_eq!([status_of_body(12 + index), get(12)], ["200", "429"], "{case:?}: one with a body");
        let number = 22 + index;
        let many: Vec<_> = (0..12).map(|_| std::thread::spawn(move || status(number, "api-key: good"))).collect();
        let answers: Vec<String> = many.into_iter().map(|one| one.join().unwrap()).collect();
        let passed = answers.iter().filter(|answer| *answer == "200").count();
        assert_eq!(passed, 1, "{case:?}: many at once: {answers:?}");
    }
}
