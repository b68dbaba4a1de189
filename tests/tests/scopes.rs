//! All Services share one connection manager: a request is answered by the Service whose address it
//! came to, whatever it says of itself, and a change of one Service disturbs no connection of another.
//! Ports that are not HTTP, or may not be, stand beside it.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use waykeeper_tests::echo::{Answer, Echo, get, send};
use waykeeper_tests::raw::{proxy_header, send_raw};
use waykeeper_tests::{Curl, Folder, Waykeeper, eventually, turn};

/// A key, and what asks for it.
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
spec:
  configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {for: keys}}}]
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: auth, namespace: t}
spec:
  options: {extauth: {configRef: {name: keys}}}
";

/// A Service of these ports (`{name: …, port: …}`) at 127.0.20.`number`, whose application listens on 127.0.10.`number`:8080.
fn service(name: &str, number: u8, ports: &[(&str, u16)]) -> String {
    let listed = |target: &str| {
        let ports = ports.iter().map(|(name, port)| format!("{{name: {name}, port: {port}{target}}}"));
        ports.collect::<Vec<_>>().join(", ")
    };
    let named: Vec<String> = ports.iter().map(|(name, _)| format!("{{name: {name}, port: 8080}}")).collect();
    format!(
        "\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: t}}
spec:
  clusterIP: 127.0.20.{number}
  ports: [{}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: t, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{}]
endpoints: [{{addresses: [127.0.10.{number}]}}]
",
        listed(", targetPort: 8080"),
        named.join(", ")
    )
}

/// A route of a Service to itself that says to the application which one it is; `more` are other filters.
fn route(name: &str, said: &str, more: &str) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: t}}
spec:
  parentRefs: [{{group: '', kind: Service, name: {name}, port: 8000}}]
  rules:
  - filters:
    - {{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-service, value: {said}}}]}}}}
{more}    backendRefs: [{{name: {name}, port: 8000}}]
"
    )
}

const GUARD: &str =
    "    - {type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: auth}}\n";

const A: &str = "127.0.20.41:8000";
const B: &str = "127.0.20.42:8000";

/// Service `a` asks for a key, `b` does not.
fn town() -> Folder {
    let folder = Folder::with_waypoint();
    folder.apply("keys.yaml", KEYS);
    folder.apply("a.yaml", &service("a", 41, &[("http", 8000)]));
    folder.apply("b.yaml", &service("b", 42, &[("http", 8000)]));
    folder.apply("route-a.yaml", &route("a", "a", GUARD));
    folder.apply("route-b.yaml", &route("b", "b", ""));
    folder
}

/// How what comes to `address` is read, as `/status` shows it.
fn read(waykeeper: &Waykeeper, address: &str) -> String {
    let status = waykeeper.status();
    let row = status["services"].as_array().unwrap().iter().find(|row| row["address"] == address);
    row.and_then(|row| row["read"].as_str()).unwrap_or_default().to_owned()
}

fn listener(waykeeper: &Waykeeper) -> String {
    let config = waykeeper.admin("/config").json().to_string();
    config.split('"').find(|s| s.ends_with(":15088")).expect("the listener's address in /config").to_owned()
}

#[test]
fn a_request_is_answered_by_the_service_it_came_to_whatever_it_says() {
    let _turn = turn();
    let folder = town();
    let _echoes = ["127.0.10.41:8080", "127.0.10.42:8080"].map(Echo::start);
    let waykeeper = Waykeeper::up(&folder, &[]);

    let close = "Connection: close\r\n\r\n";
    let lines = [
        "x-waykeeper-vip: OTHER",
        "X-Waykeeper-VIP: OTHER",
        "X-WAYKEEPER-VIP:OTHER",
        "x-waykeeper-vip:   OTHER  ",
        "x-waykeeper-vip: OTHER\r\nx-waykeeper-vip: OTHER",
        "x-waykeeper-vip: OTHER\r\nX-Waykeeper-Vip: HERE",
        "x-waykeeper-vip: OTHER,HERE",
        "x-waykeeper-vip: OTHER;HERE",
        "x-waykeeper-vip:\r\n OTHER",
        "x-waykeeper-vip: ",
        "x_waykeeper_vip: OTHER",
        "x-waykeeper_vip: OTHER",
        "x-waykeeper-other: OTHER",
        "x-waykeeper-forwarded-for: OTHER",
        "x-forwarded-host: OTHER",
        "x-envoy-original-dst-host: OTHER",
        "Forwarded: host=OTHER",
        "Host: OTHER",
    ];
    let of_connection = [
        "Connection: close, x-waykeeper-vip\r\nx-waykeeper-vip: OTHER\r\n\r\n",
        "Connection: x-waykeeper-vip, x-forwarded-for\r\nConnection: close\r\nx-waykeeper-vip: OTHER\r\n\r\n",
        "Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nx-waykeeper-vip: OTHER\r\n\r\n",
        "TE: trailers\r\nTrailer: x-waykeeper-vip\r\nConnection: close, TE\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-waykeeper-vip: OTHER\r\n\r\n",
    ];
    let mut requests: Vec<String> = Vec::new();
    for method in ["GET / HTTP/1.1", "GET http://OTHER/ HTTP/1.1", "POST /x?y HTTP/1.1"] {
        requests.extend(lines.iter().map(|line| format!("{method}\r\nHost: t\r\n{line}\r\n{close}")));
        requests.extend(of_connection.iter().map(|rest| format!("{method}\r\nHost: t\r\n{rest}")));
    }
    for line in ["CONNECT OTHER HTTP/1.1", "OPTIONS * HTTP/1.1", "GET // HTTP/1.1", "GET /../OTHER HTTP/1.1"] {
        requests.push(format!("{line}\r\nHost: OTHER\r\nx-waykeeper-vip: OTHER\r\n{close}"));
    }
    requests.push(format!("GET / HTTP/1.0\r\nx-waykeeper-vip: OTHER\r\n{close}"));
    requests.push(format!(
        "GET / HTTP/1.1\r\nHost: t\r\n\r\nGET / HTTP/1.1\r\nHost: t\r\nx-waykeeper-vip: OTHER\r\n{close}"
    ));

    let mut reached = 0;
    for request in &requests {
        for (here, other, name) in [(A, B, "a"), (B, A, "b")] {
            let request = request.replace("OTHER", other).replace("HERE", here);
            let answer = send(here, request.as_bytes());
            // The one asks for a key, which none of them has.
            if name == "a" {
                assert!(!answer.text.contains("HTTP/1.1 200"), "{request:?}: {answer:?}");
            }
            assert!(
                !answer.text.contains(&format!("x-service: {}", if name == "a" { "b" } else { "a" })),
                "{request:?}"
            );
            for head in answer.text.split("HTTP/1.1 200 OK").skip(1) {
                reached += 1;
                let head = head.to_ascii_lowercase();
                assert!(head.contains("x-service: b"), "{request:?}: {head}");
                // Nobody behind Envoy sees a header of ours, whoever wrote it.
                assert!(!head.contains("\nx-waykeeper-"), "{request:?}: {head}");
            }
        }
    }
    assert!(reached > 50, "{reached} requests reached an application");

    // With its key a request to `a` reaches `a`, whatever else it says.
    for line in &lines {
        let line = line.replace("OTHER", B).replace("HERE", A);
        let answer = send(A, format!("GET / HTTP/1.1\r\nHost: t\r\napi-key: good\r\n{line}\r\n{close}").as_bytes());
        assert!(answer.status() == 400 || answer.saw("x-service") == ["a"], "{line}: {answer:?}");
    }

    // HTTP/2: streams of one connection go where the connection went.
    for (here, expected) in [(A, 401), (B, 200)] {
        let other = if here == A { B } else { A };
        let url = format!("http://{here}/");
        let reply = Curl::to(&url)
            .args(&[
                "--http2-prior-knowledge",
                "-H",
                &format!("x-waykeeper-vip: {other}"),
                "-H",
                &format!("host: {other}"),
            ])
            .args(&[&url, &url])
            .send();
        assert_eq!(reply.status, expected, "{reply:?}");
        assert!(!reply.body.contains("x-service: a") && !reply.body.contains("x-waykeeper-"), "{reply:?}");
    }

    // What no Service is behind gets an answer that says so.
    let listener = listener(&waykeeper);
    let ask = |header: Vec<u8>, vip: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: t\r\nx-waykeeper-vip: {vip}\r\n{close}");
        send_raw(&listener, &[header, request.into_bytes()].concat())
    };
    let unknown = ask(proxy_header([127, 0, 20, 42], 8001, &[]), B);
    assert!(unknown.starts_with("HTTP/1.1 404") && unknown.contains("no service at 127.0.20.42:8001"), "{unknown}");
    // LOCAL: whoever speaks for himself came to the listener's own address.
    let local = ask(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec(), B);
    assert!(local.starts_with("HTTP/1.1 404") && local.contains("no service at"), "{local}");
    // The address of `b` written as one of IPv6 is another address.
    let mut mapped = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    for last in [[127, 0, 0, 1], [127, 0, 20, 42]] {
        mapped.extend([0; 10]);
        mapped.extend([0xff, 0xff]);
        mapped.extend(last);
    }
    mapped.extend([0, 1, 0x1f, 0x40]);
    let mapped = ask(mapped, B);
    assert!(!mapped.contains("x-service: a"), "{mapped}");
    assert!(mapped.starts_with("HTTP/1.1 404") || mapped.contains("x-service: b"), "{mapped}");
}

#[test]
fn what_no_route_matches_is_told_apart_from_what_no_service_is_behind() {
    let _turn = turn();
    let folder = town();
    let _echoes = ["127.0.10.41:8080", "127.0.10.42:8080"].map(Echo::start);
    folder.apply(
        "route-b.yaml",
        &route("b", "b", "")
            .replace("  - filters:", "  - matches: [{path: {type: Exact, value: /only}}]\n    filters:"),
    );
    let waykeeper = Waykeeper::up(&folder, &[]);
    assert_eq!(get(B, "/only", "b", &[]).saw("x-service"), ["b"]);
    let answer = get(B, "/other", "b", &[]);
    assert_eq!(answer.status(), 404);
    assert!(answer.text.contains("no route of Service t/b on port 8000 matches this request"), "{answer:?}");
    folder.delete("b.yaml");
    folder.delete("route-b.yaml");
    let listener = listener(&waykeeper);
    eventually("the Service to be gone", Duration::from_secs(2), || {
        let request = b"GET /only HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        let answer = send_raw(&listener, &[proxy_header([127, 0, 20, 42], 8000, &[]), request.to_vec()].concat());
        if answer.contains("no service at 127.0.20.42:8000") { Ok(()) } else { Err(answer) }
    });
}

/// An application that answers requests with their heads, takes websockets and sends what comes back in
/// capitals. It listens until it is dropped.
struct Shouting {
    address: &'static str,
    ended: Arc<AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Shouting {
    fn start(address: &'static str) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        let accepting = thread::spawn(move || {
            for connection in listener.incoming().flatten().take_while(|_| !end.load(Ordering::SeqCst)) {
                thread::spawn(move || drop(shout(connection)));
            }
        });
        Self { address, ended, accepting: Some(accepting) }
    }
}

impl Drop for Shouting {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(self.address).is_ok();
        if let (true, Some(accepting)) = (woken, self.accepting.take()) {
            let _ = accepting.join();
        }
    }
}

fn shout(mut connection: TcpStream) -> std::io::Result<()> {
    loop {
        let head = until(&mut connection, "\r\n\r\n");
        let lower = head.to_ascii_lowercase();
        if lower.is_empty() {
            return Ok(());
        }
        if !lower.contains("http/1.1\r\n") {
            // No HTTP: line by line.
            connection.write_all(head.to_ascii_uppercase().as_bytes())?;
            continue;
        }
        if !lower.contains("upgrade: websocket") {
            connection
                .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len()).as_bytes())?;
            continue;
        }
        connection
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")?;
        loop {
            let mut buffer = [0; 1024];
            let n = connection.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            connection.write_all(&buffer[..n].to_ascii_uppercase())?;
        }
    }
}

/// Reads until `end`, or to the end of what comes.
fn until(connection: &mut TcpStream, end: &str) -> String {
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).ends_with(end) {
        let mut buffer = [0; 1];
        match connection.read(&mut buffer) {
            Ok(1) => read.push(buffer[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// A connection on which one exchange follows another.
struct Held {
    what: &'static str,
    stream: TcpStream,
}

impl Held {
    fn websocket(what: &'static str, address: &str) -> Held {
        let mut stream = TcpStream::connect(address).unwrap();
        let upgrade = "GET /ws HTTP/1.1\r\nHost: t\r\napi-key: good\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).unwrap();
        let answer = until(&mut stream, "\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 101"), "{what}: {answer:?}");
        Held { what, stream }
    }

    fn plain(what: &'static str, address: &str) -> Held {
        Held { what, stream: TcpStream::connect(address).unwrap() }
    }

    /// Says something to what shouts it back.
    fn shouts(&mut self, after: &str) {
        let said = "are you there?\r\n\r\n";
        self.stream.write_all(said.as_bytes()).unwrap();
        assert_eq!(until(&mut self.stream, "\r\n\r\n"), said.to_ascii_uppercase(), "{} after {after}", self.what);
    }

    /// Sends a request on the connection, which is to stay open.
    fn asks(&mut self, after: &str) -> Answer {
        self.stream.write_all(b"GET /held HTTP/1.1\r\nHost: t\r\napi-key: good\r\n\r\n").unwrap();
        let head = until(&mut self.stream, "\r\n\r\n");
        let lower = head.to_ascii_lowercase();
        assert!(!head.is_empty() && !lower.contains("connection: close"), "{} after {after}: {head:?}", self.what);
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        self.stream.read_exact(&mut body).unwrap();
        Answer { text: head + &String::from_utf8_lossy(&body) }
    }
}

#[test]
fn connections_outlive_changes_of_every_service_their_own_included() {
    let _turn = turn();
    let folder = town();
    folder.apply("c.yaml", &service("c", 43, &[("tcp", 7000)]));
    let _shouting =
        ["127.0.10.41:8080", "127.0.10.42:8080", "127.0.10.43:8080", "127.0.10.44:8080"].map(Shouting::start);
    // What is drained is cut off after a second.
    let _waykeeper = Waykeeper::up(&folder, &["--drain", "1"]);

    let mut sockets = [Held::websocket("a websocket of a", A), Held::websocket("a websocket of b", B)];
    let mut kept = [Held::plain("a connection of a", A), Held::plain("a connection of b", B)];
    let mut line = Held::plain("a connection that is not read", "127.0.20.43:7000");
    let mut check = |after: &str, of_a: &str| {
        // Longer than the drain would take.
        thread::sleep(Duration::from_millis(1300));
        for socket in &mut sockets {
            socket.shouts(after);
        }
        line.shouts(after);
        assert_eq!(kept[0].asks(after).saw("x-service"), [of_a], "after {after}");
        assert_eq!(kept[1].asks(after).saw("x-service"), ["b"], "after {after}");
    };
    check("nothing", "a");

    folder.apply("d.yaml", &service("d", 44, &[("http", 8000)]));
    eventually("a new Service", Duration::from_secs(2), || {
        TcpStream::connect("127.0.20.44:8000").map_err(|e| e.to_string())?;
        let answer = get("127.0.20.44:8000", "/", "d", &[]);
        if answer.status() == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    check("a new Service", "a");

    folder.apply("d.yaml", &service("d", 44, &[("tcp", 7000)]));
    eventually("a port that is not read", Duration::from_secs(2), || {
        let mut stream = TcpStream::connect("127.0.20.44:7000").map_err(|e| e.to_string())?;
        stream.write_all(b"hey\r\n\r\n").map_err(|e| e.to_string())?;
        let said = until(&mut stream, "\r\n\r\n");
        if said == "HEY\r\n\r\n" { Ok(()) } else { Err(said) }
    });
    check("a new port that is not read", "a");

    folder.delete("d.yaml");
    check("the end of a Service", "a");

    folder.apply("route-a.yaml", &route("a", "changed", GUARD));
    eventually("a changed route", Duration::from_secs(2), || {
        let answer = get(A, "/", "a", &["api-key: good"]);
        if answer.saw("x-service") == ["changed"] { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    check("a change of its own route", "changed");

    folder.apply("auth.yaml", "apiVersion: enterprise.gloo.solo.io/v1\nkind: AuthConfig\nmetadata: {name: more, namespace: t}\nspec:\n  configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {for: keys}}}]\n");
    folder.apply("route-a.yaml", &route("a", "a", ""));
    eventually("a policy taken away", Duration::from_secs(2), || {
        let answer = get(A, "/", "a", &[]);
        if answer.saw("x-service") == ["a"] { Ok(()) } else { Err(format!("{answer:?}")) }
    });
    check("a change of its own policy", "a");
}

/// Limits what comes to a route as much as anybody could need.
const ROOMY: &str = "\
apiVersion: ratelimit.solo.io/v1alpha1
kind: RateLimitConfig
metadata: {name: roomy, namespace: t}
spec:
  raw:
    descriptors: [{key: generic_key, value: all, rateLimit: {requestsPerUnit: 1000000, unit: SECOND}}]
    rateLimits: [{actions: [{genericKey: {descriptorValue: all}}]}]
---
apiVersion: gateway.solo.io/v1
kind: RouteOption
metadata: {name: more, namespace: t}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: b}]
  options: {rateLimitConfigs: {refs: [{name: roomy}]}, timeout: 9s}
";

#[test]
fn connections_outlive_one_edit_after_another_of_every_kind() {
    let _turn = turn();
    let folder = town();
    folder.apply("c.yaml", &service("c", 43, &[("tcp", 7000)]));
    folder.apply("e.yaml", &service("e", 45, &[("client", 8000)]));
    let _shouting = [
        "127.0.10.41:8080",
        "127.0.10.42:8080",
        "127.0.10.43:8080",
        "127.0.10.44:8080",
        "127.0.10.45:8080",
        "127.0.10.46:8080",
    ]
    .map(Shouting::start);
    let waykeeper = Waykeeper::up(&folder, &["--drain", "1"]);

    let mut sockets = [
        Held::websocket("a websocket of a", A),
        Held::websocket("a websocket of b", B),
        Held::websocket("a websocket of a port that says nothing", "127.0.20.45:8000"),
    ];
    let mut kept = [Held::plain("a connection of a", A), Held::plain("a connection of b", B)];
    let mut lines = [
        Held::plain("a connection that is not read", "127.0.20.43:7000"),
        Held::plain("a connection that might have been read", "127.0.20.45:8000"),
    ];
    let mut check = |after: &str| {
        sockets.iter_mut().chain(&mut lines).for_each(|held| held.shouts(after));
        for (held, service) in kept.iter_mut().zip(["a", "b"]) {
            assert!(held.asks(after).saw("x-service")[0].starts_with(service), "after {after}");
        }
    };
    let keyed = |header: &str| KEYS.replace("headerName: api-key", &format!("headerName: {header}"));
    let wide = KEYS
        .replace("configs: [", "configs: [{basicAuth: {apr: {users: {u: {salt: s, hashedPassword: h}}}}}, ")
        .replace("spec:\n  configs", "spec:\n  booleanExpr: config_0 || config_1\n  configs");
    let to_b = route("b", "b2", "").replace(
        "backendRefs: [{name: b, port: 8000}]",
        "backendRefs: [{name: b, port: 8000, weight: 3}, {name: d, port: 8000, weight: 0}]",
    );
    let edits: Vec<(&str, &str, Option<String>)> = vec![
        ("a new Service", "d.yaml", Some(service("d", 44, &[("http", 8000)]))),
        ("another route of its own", "route-a.yaml", Some(route("a", "a2", GUARD))),
        ("more ports of another", "d.yaml", Some(service("d", 44, &[("http", 8000), ("tcp", 7000), ("client", 6000)]))),
        ("a policy of its own", "more.yaml", Some(ROOMY.to_owned())),
        ("another backend of its own", "route-b.yaml", Some(to_b)),
        ("a way to authenticate more", "keys.yaml", Some(wide)),
        (
            "a port of its own more",
            "b.yaml",
            Some(service("b", 42, &[("http", 8000), ("client", 9000), ("tcp", 7000)])),
        ),
        ("a Service whose port says nothing", "f.yaml", Some(service("f", 46, &[("client", 8000)]))),
        ("the end of a Service", "d.yaml", None),
        ("the end of a policy of its own", "more.yaml", None),
        ("the way to authenticate of before", "keys.yaml", Some(keyed("api-key"))),
        (
            "a broken route of another",
            "f.yaml",
            Some(service("f", 46, &[("client", 8000)]) + "---\n" + &route("f", "f", "").replace("rules:", "rules: 7")),
        ),
        ("the end of a port of its own", "b.yaml", Some(service("b", 42, &[("http", 8000)]))),
        ("the route of before", "route-a.yaml", Some(route("a", "a", GUARD))),
        ("the backend of before", "route-b.yaml", Some(route("b", "b", ""))),
        ("the end of the last", "f.yaml", None),
    ];
    for (after, file, content) in edits.iter().cycle().take(2 * edits.len()) {
        match content {
            Some(content) => folder.apply(file, content),
            None => folder.delete(file),
        }
        // In force, or under way: either must hold them.
        thread::sleep(Duration::from_millis(150));
        check(after);
    }
    eventually("all to be in force", Duration::from_secs(5), || {
        let reply = waykeeper.admin("/readyz");
        if reply.status == 200 { Ok(()) } else { Err(format!("{reply:?}")) }
    });
    // Longer than a drain would take.
    thread::sleep(Duration::from_millis(1300));
    check("all of them");
    check("all of them, once more");
}

/// The one port that says nothing is said to be HTTP by a route, and not any more: what finds out about ports
/// stays, and with it what was let in there.
#[test]
fn a_websocket_outlives_that_no_port_has_to_be_found_out_about_any_more() {
    let _turn = turn();
    let folder = town();
    folder.apply("e.yaml", &service("e", 45, &[("client", 8000)]));
    let _shouting = ["127.0.10.41:8080", "127.0.10.42:8080", "127.0.10.45:8080"].map(Shouting::start);
    let waykeeper = Waykeeper::up(&folder, &["--drain", "1"]);
    let at = "127.0.20.45:8000";
    let mut held = [Held::websocket("a websocket of e", at), Held::websocket("a websocket of a", A)];
    for (reads, content) in
        [("http", Some(route("e", "e", ""))), ("as it begins", None), ("http", Some(route("e", "e", "")))]
    {
        match content {
            Some(content) => folder.apply("route-e.yaml", &content),
            None => folder.delete("route-e.yaml"),
        }
        eventually("the port to be read otherwise", Duration::from_secs(5), || {
            let now = read(&waykeeper, at);
            if now == reads { Ok(()) } else { Err(now) }
        });
        // Longer than a drain would take.
        thread::sleep(Duration::from_millis(1300));
        held.iter_mut().for_each(|held| held.shouts(reads));
        held[0] = Held::websocket("another websocket of e", at);
    }
}

#[test]
fn connections_to_a_port_that_must_not_be_passed_on_are_closed_and_others_of_the_same_number_are_not() {
    let _turn = turn();
    let folder = town();
    // The route of `guarded` asks for a key on all of its ports, and this one is not HTTP.
    folder.apply("guarded.yaml", &service("guarded", 43, &[("http", 8000), ("tcp", 7000)]));
    folder.apply("open.yaml", &service("open", 44, &[("tcp", 7000)]));
    folder.apply(
        "route-guarded.yaml",
        &route("guarded", "guarded", GUARD).replace(", port: 8000}]\n  rules", "}]\n  rules"),
    );
    let _shouting = ["127.0.10.43:8080", "127.0.10.44:8080"].map(Shouting::start);
    let waykeeper = Waykeeper::up(&folder, &[]);
    let said = |vip: u8| {
        let bytes = [proxy_header([127, 0, 20, vip], 7000, &[]), b"hey\r\n\r\n".to_vec()].concat();
        let mut stream = TcpStream::connect(listener(&waykeeper)).unwrap();
        stream.write_all(&bytes).unwrap();
        until(&mut stream, "\r\n\r\n")
    };
    assert_eq!(said(44), "HEY\r\n\r\n");
    assert_eq!(said(43), "", "refused");
    let reads = ["127.0.20.44:7000", "127.0.20.43:7000", "127.0.20.43:8000"].map(|at| read(&waykeeper, at));
    assert_eq!(reads, ["tcp", "refused", "http"]);
}

/// Says `hello` to whoever connects, and then nothing.
fn speaking_first(address: &str) {
    let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            thread::spawn(move || connection.write_all(b"hello\r\n\r\n").and_then(|()| connection.read(&mut [0; 64])));
        }
    });
}

#[test]
fn a_port_that_says_nothing_is_read_as_it_begins_unless_something_is_asked_for_there() {
    let _turn = turn();
    let folder = town();
    folder.apply("a.yaml", &service("a", 41, &[("http", 8000), ("more", 9000)]));
    folder.apply("broker.yaml", &service("broker", 43, &[("client", 8000)]));
    folder.apply("greeter.yaml", &service("greeter", 47, &[("client", 8000)]));
    let _shouting = ["127.0.10.41:8080", "127.0.10.43:8080"].map(Shouting::start);
    speaking_first("127.0.10.47:8080");
    let waykeeper = Waykeeper::up(&folder, &[]);
    const BROKER: &str = "127.0.20.43:8000";

    let line = |address: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"hey\r\n\r\n").unwrap();
        until(&mut stream, "\r\n\r\n")
    };
    assert_eq!(line(BROKER), "HEY\r\n\r\n");
    let http = get(BROKER, "/", "broker", &["x-envoy-retry-on: 5xx"]);
    assert_eq!((http.saw("x-request-id").len(), http.saw("x-envoy-retry-on").len()), (1, 0), "it was read: {http:?}");
    let second = Curl::to(&format!("http://{BROKER}/")).args(&["--http2-prior-knowledge"]).send();
    assert_eq!(second.status, 200, "{second:?}");
    // Answers are whole, also when they are the last on their connection.
    let whole =
        |_| send(BROKER, b"GET /long?x HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n").text.contains("/long?x");
    assert_eq!((0..20).filter(|n| whole(*n)).count(), 20);
    assert_eq!(read(&waykeeper, BROKER), "as it begins");
    assert_eq!(read(&waykeeper, "127.0.20.41:9000"), "http");
    // Whoever waits for the server to begin is not left waiting.
    let mut greeted = TcpStream::connect("127.0.20.47:8000").unwrap();
    assert_eq!(until(&mut greeted, "\r\n\r\n"), "hello\r\n\r\n");

    // The application of `a` believes what authorization says, so nothing reaches it unread, however late it begins.
    let mut late = TcpStream::connect("127.0.20.41:9000").unwrap();
    thread::sleep(Duration::from_millis(900));
    late.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nx-user-id: root\r\n\r\n").unwrap();
    let head = until(&mut late, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let seen = until(&mut late, "\r\n\r\n");
    assert!(!seen.to_ascii_lowercase().contains("x-user-id") && seen.contains("x-request-id"), "{seen}");
    assert!(line("127.0.20.41:9000").starts_with("HTTP/1.1 400"));

    // With a route the port is HTTP.
    folder.apply("route-broker.yaml", &route("broker", "broker", GUARD));
    eventually("the route", Duration::from_secs(2), || match line(BROKER) {
        said if said.starts_with("HTTP/1.1 400") => Ok(()),
        said => Err(said),
    });
    assert_eq!(get(BROKER, "/", "broker", &[]).status(), 401);
    assert_eq!(read(&waykeeper, BROKER), "http");
    assert_eq!(get(BROKER, "/", "broker", &["api-key: good"]).saw("x-service"), ["broker"]);
    let mut late = TcpStream::connect(BROKER).unwrap();
    thread::sleep(Duration::from_millis(900));
    late.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(until(&mut late, "\r\n\r\n").starts_with("HTTP/1.1 401"));
}
