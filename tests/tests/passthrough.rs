//! Another server decides, as a client of the real Envoy and the application behind it see it. The AuthConfigs are
//! those of `docs/passthrough.md`.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use proto::envoy::service::auth::v3 as pb;
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::protobuf::{BoolValue, Struct, Value, value::Kind};
use proto::google::rpc::Status;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use waykeeper_tests::echo::{Answer, Echo, get};
use waykeeper_tests::waykeeper::root;
use waykeeper_tests::{Folder, Waykeeper, eventually, turn};

/// Services `a` and `b`, on one application; a key `good` of user `ann`, who is of `acme`.
const TOWN: &str = "\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: t}
spec:
  clusterIP: 127.0.20.61
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, namespace: t, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.61]}]
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: t}
spec:
  clusterIP: 127.0.20.62
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: b, namespace: t, labels: {kubernetes.io/service-name: b}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.10.61]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a, namespace: t}
spec:
  parentRefs: [{group: '', kind: Service, name: a}]
  rules: [{backendRefs: [{name: a, port: 8000}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: b, namespace: t}
spec:
  parentRefs: [{group: '', kind: Service, name: b}]
  rules: [{backendRefs: [{name: b, port: 8000}]}]
---
apiVersion: v1
kind: Secret
type: extauth.solo.io/apikey
metadata: {name: ann, namespace: t, labels: {for: keys}}
stringData: {api-key: good, organization: acme}
";

const A: &str = "127.0.20.61:8000";
const B: &str = "127.0.20.62:8000";
const GRPC: &str = "127.0.10.71:9001";
const HTTP: &str = "127.0.10.72:9002";

/// A step of API keys that fills `X-Organization`.
const KEY: &str = "{name: key, apiKeyAuth: {labelSelector: {for: keys}, headersFromMetadataEntry: {X-Organization: {name: organization}}}}";

/// The AuthConfig called `name` on the page, asking the servers of this test.
fn documented(name: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/passthrough.md")).unwrap();
    let mut blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains(&format!("metadata: {{name: {name},"))).unwrap();
    let own = block.replace("other.example:9001", GRPC).replace("web.example:9002", HTTP);
    assert!(own.contains(GRPC) || own.contains(HTTP), "{block}");
    own
}

/// The AuthConfig `name` of these steps.
fn config(name: &str, steps: &str, rest: &str) -> String {
    format!(
        "apiVersion: enterprise.gloo.solo.io/v1\nkind: AuthConfig\nmetadata: {{name: {name}, namespace: t}}\nspec: {{configs: [{steps}]{rest}}}\n"
    )
}

/// That the route `route` asks for the AuthConfig `name`, and has these options besides.
fn option(route: &str, name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: gateway.solo.io/v1\nkind: RouteOption\nmetadata: {{name: auth-{route}, namespace: t}}\nspec:\n  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {route}}}]\n  options: {{extauth: {{configRef: {{name: {name}}}}}{more}}}\n"
    )
}

fn town(policy: &str) -> (Folder, Echo) {
    let folder = Folder::with_waypoint();
    folder.apply("town.yaml", TOWN);
    folder.apply("policy.yaml", policy);
    (folder, Echo::start("127.0.10.61:8080"))
}

/// Asks at `address` with these header lines.
fn ask(address: &str, headers: &[&str]) -> Answer {
    get(address, "/", "a", headers)
}

/// Saves `policy` and waits until `holds` of an answer.
fn change(folder: &Folder, policy: &str, headers: &[&str], holds: impl Fn(&Answer) -> bool) {
    folder.apply("policy.yaml", policy);
    eventually("the edit is in force", Duration::from_secs(10), || {
        let answer = ask(A, headers);
        if holds(&answer) { Ok(()) } else { Err(answer.text) }
    });
}

/// A server on a thread of its own, until the test ends.
struct Other(Option<mpsc::Sender<()>>, Option<std::thread::JoinHandle<()>>);

impl Other {
    fn start<F: Future<Output = ()> + 'static>(serve: impl FnOnce() -> F + Send + 'static) -> Other {
        let (end, ended) = mpsc::channel::<()>();
        let (is_up, up) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let tasks = tokio::task::LocalSet::new();
            tasks.spawn_local(async move {
                let serving = serve();
                is_up.send(()).unwrap();
                serving.await;
            });
            tasks.block_on(&runtime, async {
                let _ = tokio::task::spawn_blocking(move || ended.recv()).await;
            });
            runtime.shutdown_background();
        });
        up.recv_timeout(Duration::from_secs(10)).unwrap();
        Other(Some(end), Some(thread))
    }

    /// Over gRPC: what `Says` says.
    fn grpc() -> Other {
        Other::start(|| {
            let address: SocketAddr = GRPC.parse().unwrap();
            let listener = std::net::TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            async move {
                let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
                let service = AuthorizationServer::new(Says);
                Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
            }
        })
    }

    /// Over HTTP: `Authorization: Bearer blue` is of the team blue, `slow` waits, anything else is denied.
    fn http() -> Other {
        Other::start(|| {
            let listener = std::net::TcpListener::bind(HTTP).unwrap();
            listener.set_nonblocking(true).unwrap();
            async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(async move {
                        let mut stream = BufReader::new(stream);
                        loop {
                            let mut head = String::new();
                            while !head.ends_with("\r\n\r\n") {
                                if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                                    return;
                                }
                            }
                            let lower = head.to_ascii_lowercase();
                            if lower.contains("authorization: slow") {
                                tokio::time::sleep(Duration::from_secs(60)).await;
                            }
                            let ours =
                                lower.contains("x-from: waypoint\r\n") && lower.starts_with("post /check http/1.1");
                            let answer = match lower.contains("authorization: bearer blue\r\n") && ours {
                                true => "HTTP/1.1 200 OK\r\nx-team: blue\r\nx-other: 1\r\n",
                                false => "HTTP/1.1 403 No\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-why: secret\r\n",
                            };
                            let shown = lower.matches("\r\nx-room: ").count() + lower.matches("\r\ncookie: ").count();
                            let answer = format!("{answer}x-shown: {shown}\r\ncontent-length: 3\r\n\r\nwhy");
                            if stream.write_all(answer.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            }
        })
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        drop(self.0.take());
        let _ = self.1.take().map(std::thread::JoinHandle::join);
    }
}

/// Decides by the header `x-ask`.
struct Says;

#[allow(deprecated)]
fn header(key: &str, value: &str, append: bool) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.into(), value: value.into(), raw_value: Vec::new() }),
        append: Some(BoolValue { value: append }),
        ..Default::default()
    }
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

#[tonic::async_trait]
impl Authorization for Says {
    async fn check(
        &self,
        request: tonic::Request<pb::CheckRequest>,
    ) -> Result<tonic::Response<pb::CheckResponse>, tonic::Status> {
        let attributes = request.into_inner().attributes.unwrap();
        let http = attributes.request.unwrap().http.unwrap();
        let mut metadata = attributes.metadata_context.unwrap().filter_metadata;
        let state = metadata.remove("solo.auth.passthrough").unwrap();
        let config = metadata.remove("solo.auth.passthrough.config").unwrap_or_default();
        let yes = |headers| pb::OkHttpResponse { headers, ..Default::default() };
        let told = |name: &str| http.headers.get(name).cloned().unwrap_or("none".into());
        let (code, response) = match http.headers.get("x-ask").map(String::as_str) {
            Some("team") => {
                let mut ok = yes(vec![header("x-team", "blue", false)]);
                ok.headers_to_remove = vec!["authorization".into()];
                ok.response_headers_to_add = vec![header("set-cookie", "a=1", true), header("set-cookie", "b=2", true)];
                (0, HttpResponse::OkResponse(ok))
            }
            Some("add") => (0, HttpResponse::OkResponse(yes(vec![header("x-team", "blue", true)]))),
            Some("quiet") => (0, HttpResponse::OkResponse(yes(vec![]))),
            Some("other") => (0, HttpResponse::OkResponse(yes(vec![header("x-other", "1", false)]))),
            Some("slow") => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                (0, HttpResponse::OkResponse(yes(vec![])))
            }
            _ => {
                let state = state.fields.keys().cloned().collect::<Vec<_>>().join("+");
                let denied = pb::DeniedHttpResponse {
                    status: Some(HttpStatus { code: 302 }),
                    headers: vec![
                        header("location", "https://login.example/", false),
                        header("set-cookie", "c=1", true),
                        header("set-cookie", "d=2", true),
                    ],
                    body: format!(
                        "state {state}, config {}, organization {}, user {}",
                        config.fields.len(),
                        told("x-organization"),
                        told("x-user-id")
                    ),
                };
                (16, HttpResponse::DeniedResponse(denied))
            }
        };
        let plan = Struct { fields: [("plan".to_owned(), text("gold"))].into() };
        Ok(tonic::Response::new(pb::CheckResponse {
            status: Some(Status { code, ..Default::default() }),
            dynamic_metadata: Some(plan),
            http_response: Some(response),
        }))
    }
}

/// What a client may try to be taken for.
const EVIL: [&str; 5] = ["x-team: root", "X_Team: root", "x.team: root", "x-user-id: root", "X_User-Id: root"];

/// Where a step of API keys says it.
const EVIL_ORGANIZATION: &str = "x-organization: root";

fn with(mut headers: Vec<&'static str>) -> Vec<&'static str> {
    headers.extend(EVIL);
    headers
}

/// The application saw none of what [`EVIL`] says.
fn unspoilt(answer: &Answer) {
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(!answer.reached().unwrap().contains("root"), "{answer:?}");
}

#[test]
fn what_a_server_says_over_grpc_is_done_and_what_clients_say_in_its_place_is_not() {
    let _turn = turn();
    let _other = Other::grpc();
    let (folder, _echo) = town(&[documented("ask"), option("a", "ask", "")].concat());
    let _waykeeper = Waykeeper::up(&folder, &[]);

    let answer = ask(A, &with(vec!["x-ask: team", "authorization: Bearer t"]));
    unspoilt(&answer);
    assert_eq!((answer.saw("x-team"), answer.saw("authorization")), (vec!["blue"], vec![]), "{answer:?}");
    let cookies = |answer: &Answer| answer.text.lines().filter(|line| line.starts_with("set-cookie: ")).count();
    assert_eq!(cookies(&answer), 2, "{answer:?}");
    for quiet in ["x-ask: add", "x-ask: quiet"] {
        let answer = ask(A, &with(vec![quiet]));
        unspoilt(&answer);
        assert_eq!(answer.saw("x-team"), if quiet.ends_with("add") { vec!["blue"] } else { vec![] }, "{answer:?}");
    }
    // The same application by another Service and without authorization.
    let answer = ask(B, &with(vec![]));
    unspoilt(&answer);

    let answer = ask(A, &with(vec!["x-ask: no"]));
    assert_eq!((answer.status(), answer.header("location")), (302, Some("https://login.example/")), "{answer:?}");
    assert_eq!(cookies(&answer), 2, "{answer:?}");
    assert!(answer.text.ends_with("state , config 1, organization none, user none"), "{answer:?}");
    // A header that is not listed.
    assert_eq!(ask(A, &["x-ask: other"]).status(), 503);

    // Behind a key, and beside one.
    let step =
        "{name: other, passThroughAuth: {grpc: {address: '127.0.10.71:9001', allowedUpstreamHeaders: [X-Team]}}}";
    let behind = [config("ask", &format!("{KEY}, {step}"), ", failOnRedirect: true"), option("a", "ask", "")].concat();
    change(&folder, &behind, &[], |answer| answer.status() == 401);
    let answer = ask(A, &with(vec!["api-key: good", EVIL_ORGANIZATION, "x-ask: team"]));
    unspoilt(&answer);
    let saw = (answer.saw("x-team"), answer.saw("x-organization"), answer.saw("x-user-id"));
    assert_eq!(saw, (vec!["blue"], vec!["acme"], vec!["ann"]), "{answer:?}");
    let answer = ask(A, &with(vec!["api-key: good", EVIL_ORGANIZATION, "x-ask: no"]));
    assert_eq!((answer.status(), answer.header("location"), cookies(&answer)), (401, None, 0), "{answer:?}");

    let beside =
        [config("ask", &format!("{KEY}, {step}"), ", booleanExpr: 'key || other'"), option("a", "ask", "")].concat();
    change(&folder, &beside, &[], |answer| answer.status() == 302);
    let answer = ask(A, &with(vec!["api-key: good", EVIL_ORGANIZATION, "x-ask: no"]));
    unspoilt(&answer);
    assert_eq!((answer.saw("x-team"), answer.saw("x-organization")), (vec![], vec!["acme"]), "{answer:?}");
    let answer = ask(A, &with(vec!["x-ask: team", EVIL_ORGANIZATION]));
    unspoilt(&answer);
    assert_eq!((answer.saw("x-team"), answer.saw("x-organization")), (vec!["blue"], vec![]), "{answer:?}");
    let answer = ask(A, &with(vec!["x-ask: no", EVIL_ORGANIZATION]));
    assert!(answer.text.ends_with("organization none, user none"), "the server was lied to: {answer:?}");
    let behind = [config("ask", &format!("{KEY}, {step}"), ""), option("a", "ask", "")].concat();
    change(&folder, &behind, &["x-ask: team"], |answer| answer.status() == 401);
    let answer = ask(A, &with(vec!["api-key: good", EVIL_ORGANIZATION, "x-ask: no"]));
    assert!(
        answer.text.ends_with("state api_key_value+x-organization, config 0, organization acme, user ann")
            || answer.text.ends_with("state x-organization+api_key_value, config 0, organization acme, user ann"),
        "{answer:?}"
    );
}

#[test]
fn a_limit_counts_by_what_the_server_says_to_envoy() {
    let _turn = turn();
    let _other = Other::grpc();
    let limit = "---\napiVersion: ratelimit.solo.io/v1alpha1\nkind: RateLimitConfig\nmetadata: {name: plans, namespace: t}\nspec:\n  raw:\n    descriptors: [{key: plan, value: gold, rateLimit: {requestsPerUnit: 2, unit: DAY}}]\n    rateLimits: [{actions: [{metadata: {descriptorKey: plan, metadataKey: {key: envoy.filters.http.ext_authz, path: [{key: other}, {key: plan}]}}}]}]\n";
    let option = option("a", "ask", ", rateLimitConfigs: {refs: [{name: plans}]}");
    let (folder, _echo) = town(&[documented("ask"), option, limit.to_owned()].concat());
    let _waykeeper = Waykeeper::up(&folder, &[]);
    let statuses: Vec<u16> = (0..4).map(|_| ask(A, &["x-ask: quiet"]).status()).collect();
    assert_eq!(statuses, [200, 200, 429, 429]);
}

/// How long a question takes whose answer needs nobody else.
fn median_of_keys() -> Duration {
    let mut took: Vec<Duration> = (0..50)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(ask(B, &["api-key: good"]).status(), 200);
            began.elapsed()
        })
        .collect();
    took.sort();
    took[25]
}

#[test]
fn over_http_what_is_listed_is_shown_and_taken_and_a_slow_server_holds_up_nobody_else() {
    let _turn = turn();
    let other = Other::http();
    let keys = [config("keys", KEY, ""), option("b", "keys", "")].concat();
    let policy = [documented("web"), option("a", "web", ""), "---\n".to_owned(), keys.clone()].concat();
    let (folder, _echo) = town(&policy);
    let _waykeeper = Waykeeper::up(&folder, &[]);

    let blue = || ask(A, &with(vec!["authorization: Bearer blue", "x-room: 1", "cookie: c=1"]));
    let answer = blue();
    unspoilt(&answer);
    assert_eq!((answer.saw("x-team"), answer.saw("x-other")), (vec!["blue"], vec![]), "{answer:?}");
    for wrong in [&[][..], &["authorization: Bearer red"], &["api-key: good"]] {
        let answer = ask(A, wrong);
        assert_eq!((answer.status(), answer.header("x-why")), (401, None), "{answer:?}");
        assert_eq!(answer.text.matches("\r\nset-cookie: ").count(), 2, "{answer:?}");
    }
    unspoilt(&ask(B, &with(vec!["api-key: good", EVIL_ORGANIZATION])));

    let alone = median_of_keys();
    // Slow: what needs it is refused in time, what does not is answered as before.
    let slow: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..4 {
                    let began = Instant::now();
                    let answer = ask(A, &["authorization: slow"]);
                    assert_eq!(answer.status(), 503, "{answer:?}");
                    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
                }
            })
        })
        .collect();
    let beside = median_of_keys();
    println!("keys: median {alone:?}, beside a slow server {beside:?}");
    assert!(beside < alone * 2 + Duration::from_millis(20), "{alone:?} {beside:?}");
    slow.into_iter().for_each(|thread| thread.join().unwrap());
    // It was left alone, and is tried again.
    eventually("it is asked again", Duration::from_secs(10), || {
        let answer = blue();
        if answer.status() == 200 { Ok(()) } else { Err(answer.text) }
    });

    // Gone: closed, unless its owner says otherwise, and then nobody is anybody.
    drop(other);
    for _ in 0..8 {
        assert_eq!(blue().status(), 503);
    }
    let open =
        documented("web").replace("    passThroughAuth:\n", "    passThroughAuth:\n      failureModeAllow: true\n");
    let open = [open, option("a", "web", ""), "---\n".to_owned(), keys].concat();
    change(&folder, &open, &with(vec![]), |answer| answer.status() == 200);
    for _ in 0..8 {
        let answer = blue();
        unspoilt(&answer);
        assert_eq!(answer.saw("x-team"), [""; 0], "{answer:?}");
    }
    let _other = Other::http();
    eventually("it is asked again", Duration::from_secs(60), || {
        let answer = ask(A, &[]);
        if answer.status() == 401 { Ok(()) } else { Err(answer.text) }
    });
}
