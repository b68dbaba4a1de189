//! Each thing a route can ask for, as the application and the client see it.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use waykeeper_tests::parts::Application;
use waykeeper_tests::{Backends, Curl, Folder, Reply, Waykeeper, turn};

fn to(service: &str, path: &str) -> Curl {
    Curl::to(&format!("http://{service}:8000{path}"))
}

/// An HTTPRoute called `r` for `parent`, with these rules.
fn route(parent: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: httpbin}}\nspec:\n  parentRefs: [{parent}]\n  rules:\n{rules}\n"
    )
}

fn httpbin2(rules: &str) -> String {
    route("{group: '', kind: Service, name: httpbin2}", rules)
}

/// A RouteOption for the route `r`.
fn options(options: &str) -> String {
    format!(
        "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: o, namespace: httpbin}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}}]\n  options:\n    {options}\n"
    )
}

const PLAIN: &str = "  - backendRefs: [{name: httpbin2, port: 8000}]";

struct Case {
    options: &'static str,
    request: fn() -> Curl,
    expected: fn(&Reply) -> bool,
}

#[test]
fn route_options_do_what_they_say() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply("route.yaml", &httpbin2(PLAIN));
    let waykeeper = Waykeeper::up(&folder, &[]);
    let get = || to("httpbin2", "/get");
    let cases = [
        Case {
            options: "headerManipulation: {requestHeadersToAdd: [{header: {key: x-set, value: v}, append: false}], requestHeadersToRemove: [x-gone], responseHeadersToAdd: [{header: {key: x-answer, value: a}}], responseHeadersToRemove: [content-type]}",
            request: || to("httpbin2", "/get").header("x-gone: 1").header("x-set: mine"),
            expected: |r| {
                r.status == 200
                    && r.seen("X-Set").as_deref() == Some("v")
                    && r.seen("X-Gone").is_none()
                    && r.header("x-answer") == Some("a")
                    && r.header("content-type").is_none()
            },
        },
        Case {
            options: "timeout: 0.2s",
            request: get,
            expected: |r| r.status == 200 && r.seen("X-Envoy-Expected-Rq-Timeout-Ms").as_deref() == Some("200"),
        },
        Case {
            options: "cors: {allowOrigin: ['https://example.com'], allowMethods: [GET, POST], maxAge: '600'}",
            request: || {
                to("httpbin2", "/get")
                    .args(&["-X", "OPTIONS"])
                    .header("Origin: https://example.com")
                    .header("Access-Control-Request-Method: POST")
            },
            expected: |r| {
                r.status == 200
                    && r.header("access-control-allow-origin") == Some("https://example.com")
                    && r.header("access-control-max-age") == Some("600")
                    && r.header("server") == Some("envoy")
            },
        },
        Case {
            options: "prefixRewrite: /anything/inner/",
            request: get,
            expected: |r| r.status == 200 && r.json()["url"].as_str().unwrap().contains("/anything/inner/get"),
        },
        Case {
            options: "hostRewrite: inner.example.com",
            request: get,
            expected: |r| r.status == 200 && r.seen("Host").as_deref() == Some("inner.example.com"),
        },
        Case {
            options: "faults: {abort: {percentage: 100, httpStatus: 418}}",
            request: get,
            expected: |r| r.status == 418,
        },
        Case {
            options: "retries: {retryOn: 5xx, numRetries: 2}",
            request: || to("httpbin2", "/status/503"),
            expected: |r| r.status == 503,
        },
    ];
    for case in cases {
        folder.apply("option.yaml", &options(case.options));
        waykeeper.within_a_second(case.options, &(case.request)(), case.expected);
        assert_eq!(to("httpbin3", "/get").send().status, 200, "the other service is left alone");
        if case.options.starts_with("timeout") {
            assert_eq!(to("httpbin2", "/delay/2").send().status, 504);
        }
    }
    folder.delete("option.yaml");
    waykeeper.within_a_second("without options", &get(), |r| r.status == 200 && r.header("content-type").is_some());
}

#[test]
fn an_open_rule_beside_a_guarded_one_believes_no_client() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    folder.delete("apikeys-03-httproute-httpbin2.yaml");
    folder.delete("apikeys-02-routeoption-httpbin2.yaml");
    folder.apply(
        "route.yaml",
        &httpbin2(
            "  - matches: [{path: {type: Exact, value: /headers}}]\n    backendRefs: [{name: httpbin2, port: 8000}]\n    filters: [{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: open}}]\n  - backendRefs: [{name: httpbin2, port: 8000}]",
        ),
    );
    folder.apply("option.yaml", &options("extauth: {configRef: {name: apikeys, namespace: httpbin}}"));
    folder.apply(
        "open.yaml",
        "apiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {name: open, namespace: httpbin}\nspec:\n  options: {extauth: {disable: true}}\n",
    );
    let _waykeeper = Waykeeper::up(&folder, &[]);
    assert_eq!(to("httpbin2", "/get").send().status, 401);
    let open = to("httpbin2", "/headers").header("x-user-id: root").send();
    assert_eq!(open.status, 200);
    assert!(open.seen("X-User-Id").is_none(), "nobody checked who this is: {open:?}");
    // Paths that Envoy and an application might read differently must not slip past the guard.
    for path in
        ["//headers", "/headers/", "/HEADERS", "/headers/../get", "/headers%2f..%2fget", "/./get", "/get;x=/headers"]
    {
        let reply = to("httpbin2", path).args(&["--path-as-is"]).send();
        let reached_get = reply.status == 200 && !reply.body.contains("\"headers\"");
        assert!(reply.status != 200 || path == "//headers", "{path}: {reply:?}");
        assert!(!reached_get, "{path}: {reply:?}");
    }
}

#[test]
fn requests_are_shared_by_weight_and_a_missing_backend_keeps_its_share() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    let tagged = |name: &str, weight: u32| {
        format!(
            "{{name: {name}, port: 8000, weight: {weight}, filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: X-Backend, value: {name}}}]}}}}]}}"
        )
    };
    let rules = format!("  - backendRefs: [{}, {}]", tagged("httpbin2", 80), tagged("httpbin3", 20));
    folder.apply("route.yaml", &httpbin2(&rules));
    let waykeeper = Waykeeper::up(&folder, &[]);
    let urls = vec!["http://httpbin2:8000/get"; 400];
    let count = |needle: &str| {
        // One curl, many requests: the connection is kept, each request is shared out anew.
        let mut curl = to("httpbin2", "/get");
        for url in &urls[1..] {
            curl = curl.args(&[url]);
        }
        curl.send().body.matches(needle).count()
    };
    let third = count("\"httpbin3\"");
    assert!((40..=120).contains(&third), "20 % of 400, seen {third}");

    folder.apply("route.yaml", &httpbin2(&rules.replace("name: httpbin3, port", "name: nowhere, port")));
    // The first that answer 500 tell that the change is in force; only then is it counted how many do.
    let begin = Instant::now();
    while count("HTTP/1.1 500") == 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "the missing backend keeps no share");
    }
    let seen = count("HTTP/1.1 500");
    assert!((40..=120).contains(&seen), "20 % of 400 answer 500, seen {seen}");
    assert!(waykeeper.status().to_string().contains("BackendNotFound"));
}

#[test]
fn routes_on_the_gateway_apply_to_every_service_and_none_opts_out() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    let rules = "  - backendRefs: [{name: httpbin3, port: 8000}]\n    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: X-From, value: gateway}]}}]";
    folder.apply("route.yaml", &route("{kind: Gateway, group: gateway.networking.k8s.io, name: gloo-waypoint}", rules));
    let waykeeper = Waykeeper::up(&folder, &[]);
    for service in ["httpbin2", "httpbin3"] {
        assert_eq!(to(service, "/get").send().header("x-from"), Some("gateway"), "{service}");
    }
    let apps = std::fs::read_to_string(folder.path().join("apps.yaml")).unwrap();
    let (before, after) = apps.split_at(apps.find("name: httpbin3\n  namespace: httpbin\n  labels:").unwrap());
    folder.apply(
        "apps.yaml",
        &format!("{before}{}", after.replacen("use-waypoint: gloo-waypoint", "use-waypoint: none", 1)),
    );
    let direct = waykeeper
        .within_a_second("opted out", &to("httpbin3", "/get"), |r| r.status == 200 && r.header("x-from").is_none());
    assert!(direct.seen("X-Envoy-Expected-Rq-Timeout-Ms").is_none(), "straight to the application: {direct:?}");
    assert_eq!(to("httpbin2", "/get").send().header("x-from"), Some("gateway"));
}

#[test]
fn a_websocket_passes_through_tunnel_and_waypoint() {
    let _turn = turn();
    let _backends = Backends::start(Application::GoHttpbin);
    let folder = Folder::example();
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let mut stream = TcpStream::connect("127.0.20.2:8000").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
        .write_all(b"GET /websocket/echo HTTP/1.1\r\nHost: httpbin2:8000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    // A masked text frame "hi"; the echo comes back unmasked.
    stream.write_all(&[0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]).unwrap();
    let mut echo = [0; 4];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, &[0x81, 2, b'h', b'i']);
}
