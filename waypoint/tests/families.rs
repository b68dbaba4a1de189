//! A Service with IPv6 addresses, through a real Envoy: found by them, under its policies, and told apart from everything
//! that only looks like them.
#![allow(clippy::unwrap_used)]

#[path = "../translate/tests/support.rs"]
mod support;

mod envoy;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use api::Name;
use waykeeper_tests::raw::{proxy_header, send_raw};
use waypoint_translate::translate;

use envoy::{Fed, elsewhere};

const SERVICE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway, namespace: t}
spec:
  gatewayClassName: gloo-waypoint
  listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY}]
---
apiVersion: v1
kind: Service
metadata: {name: six, namespace: t, labels: {istio.io/use-waypoint: gateway}}
spec:
  clusterIP: 'fd00:1:0:0::5'
  clusterIPs: ['fd00:1:0:0::5', 10.96.7.7]
  ports: [{name: http, port: 8000}, {name: tcp, port: 7000}, {name: tcp-same, port: 7001}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six, namespace: t, labels: {kubernetes.io/service-name: six}}
addressType: IPv6
ports: [{name: http, port: PORT}, {name: tcp, port: UNREAD}, {name: tcp-same, port: PORT}]
endpoints: [{addresses: ['::1']}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: six, namespace: t}
spec:
  parentRefs: [{group: '', kind: Service, name: six, port: 8000}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /guarded}}]
    filters: [{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: six}}]
    backendRefs: [{name: six, port: 8000}]
  - backendRefs: [{name: six, port: 8000}]
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: six, namespace: t}
spec: {options: {extauth: {configRef: {name: keys}}}}
---
apiVersion: enterprise.gloo.solo.io/v1
kind: AuthConfig
metadata: {name: keys, namespace: t}
spec: {configs: [{apiKeyAuth: {labelSelector: {team: a}}}]}
";

/// An application on IPv6 that answers every request with what it was sent.
fn application() -> u16 {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let read = connection.read(&mut buffer).unwrap_or_default();
                let seen = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", seen.len());
                let _ = connection.write_all((head + &seen).as_bytes());
            });
        }
    });
    port
}

/// What is answered to a request for `path` on a connection to `vip`.
fn ask(listener: SocketAddr, vip: &str, path: &str) -> String {
    let vip: SocketAddr = vip.parse().unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: six\r\nx-waykeeper-vip: [fd00:1::5]:8000\r\nconnection: close\r\n\r\n");
    send_raw(&listener.to_string(), &[proxy_header(vip.ip(), vip.port(), &[]), request.into_bytes()].concat())
}

/// Where the Envoy with this admin socket listens.
fn listener(admin: &std::path::Path) -> SocketAddr {
    let begun = Instant::now();
    loop {
        let mut text = String::new();
        if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(admin) {
            stream.write_all(b"GET /listeners HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
            let _ = stream.read_to_string(&mut text);
        }
        let found = text.lines().find_map(|line| line.strip_prefix("proxy::")?.parse().ok());
        if let Some(found) = found {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_reached_by_its_ipv6_address_under_its_policies() {
    let fed = Fed::begin(Name::new("t", "gateway")).await;

    let manifests = SERVICE.replace("PORT", &application().to_string()).replace("UNREAD", &application().to_string());
    let documents = waykeeper_tests::manifests::documents(&manifests);
    let translation = translate(&support::snapshot(&documents).0, &support::settings());
    let resources = elsewhere(&translation.gateways[&fed.gateway].resources);
    let state = fed.tell(resources, 1).await.expect("an answer");
    assert!(state.nacks.is_empty(), "{state:?}");
    let listener = listener(&fed.dir.path().join("admin.sock"));

    for vip in ["[fd00:1::5]:8000", "10.96.7.7:8000"] {
        let answer = ask(listener, vip, "/open");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-request-id"), "{vip}: {answer}");
        assert!(!answer.contains("x-waykeeper-"), "{vip}: {answer}");
        // Nobody answers who may pass.
        assert!(ask(listener, vip, "/guarded").starts_with("HTTP/1.1 403"), "{vip}");
    }
    for vip in ["[fd00:1::5]:7000", "10.96.7.7:7000"] {
        let unread = ask(listener, vip, "/unread");
        assert!(unread.contains("GET /unread") && !unread.contains("x-request-id"), "{vip}: {unread}");
    }
    // The application of the other port believes what authorization says of callers: nobody gets there unread.
    for vip in ["[fd00:1::5]:7001", "10.96.7.7:7001"] {
        assert_eq!(ask(listener, vip, "/unread"), "", "{vip}");
    }
    // What is not the address is no Service, whatever it says.
    for vip in ["[fd00:1::6]:8000", "[fd00:1::5]:8001", "[::5]:8000", "[::1]:8000"] {
        let answer = ask(listener, vip, "/open");
        assert!(
            answer.starts_with("HTTP/1.1 404") && answer.contains(&format!("no service at {vip} is served")),
            "{vip}: {answer}"
        );
    }
    // No connection is made to no address.
    assert_eq!(ask(listener, "[::]:8000", "/open"), "");
    // An IPv4 address within an IPv6 one is none, or the Service that it is.
    let mapped = ask(listener, "[::ffff:10.96.7.7]:8000", "/guarded");
    assert!(mapped.starts_with("HTTP/1.1 404") || mapped.starts_with("HTTP/1.1 403"), "{mapped}");

    fed.end().await;
}
