//! What those see who follow a request through its traces, or look for a Service among Envoy's statistics.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1 as pb;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::trace::v1::Span;
use tempfile::TempDir;
use tonic::{Request, Response, Status};
use waykeeper_tests::alone::{free, waypoint, waypoint_with};
use waykeeper_tests::parts::Application;
use waykeeper_tests::raw::{proxy_header, send_raw};
use waykeeper_tests::{Backends, Curl, Folder, Waykeeper, eventually, turn};

/// A collector that keeps the spans it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<pb::ExportTraceServiceRequest>,
    ) -> Result<Response<pb::ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Ok(Response::new(pb::ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn start(runtime: &tokio::runtime::Runtime) -> (Collector, SocketAddr) {
        let collector = Collector::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
        runtime.spawn(server.serve_with_incoming(incoming));
        (collector, address)
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().unwrap().clone()
    }
}

fn attributes(span: &Span) -> BTreeMap<String, String> {
    span.attributes.iter().map(|one| (one.key.clone(), format!("{:?}", one.value))).collect()
}

#[test]
fn a_check_continues_the_trace_of_the_request_and_no_span_holds_a_key() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (collector, address) = Collector::start(&runtime);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    folder.apply_walkthrough("ratelimit-httpbin3");
    let waykeeper = Waykeeper::up(&folder, &["--otlp", &format!("http://{address}")]);

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01");
    let get = || Curl::to("http://httpbin2:8000/get").header(&parent);
    assert_eq!(get().header("api-key: mykey").send().status, 200);
    assert_eq!(get().header("api-key: canary-7c1f").send().status, 401);
    Curl::to("http://httpbin3:8000/get").header("x-organization: myorg").send();
    // Leaving, it sends what it still holds.
    let (exit, log) = waykeeper.stop();
    assert!(exit.success(), "{log}");

    let checks = eventually("both checks", Duration::from_secs(5), || {
        let spans = collector.spans();
        let checks: Vec<Span> = spans.into_iter().filter(|span| span.name == "ext_authz.check").collect();
        if checks.len() == 2 { Ok(checks) } else { Err(format!("{:?}", collector.spans())) }
    });
    for check in &checks {
        let id: String = check.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(id, trace, "{check:?}");
        assert!(attributes(check)["authconfig"].contains("httpbin.apikeys"), "{check:?}");
    }
    assert!(attributes(&checks[0])["allowed"].contains("true"));
    assert!(attributes(&checks[1])["allowed"].contains("false"));
    let limits = collector.spans().into_iter().filter(|span| span.name == "ratelimit.should_rate_limit").count();
    assert!(limits >= 1, "{:?}", collector.spans());
    let all = format!("{:?}", collector.spans());
    assert!(!all.contains("mykey") && !all.contains("canary-7c1f"), "{all}");
}

/// Where Istio's users look for a Service they find it, whole: a label ends where the name does.
#[test]
fn statistics_name_a_services_cluster_as_istios_waypoints_do() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let (folder, dir) = (Folder::example(), TempDir::new().unwrap());
    let _servers = waypoint(folder.path().to_str().unwrap(), &free(), &free(), dir.path());
    eventually("the waypoint", Duration::from_secs(20), || {
        std::net::TcpStream::connect("127.0.0.1:15088").map_err(|e| e.to_string())?;
        let request = b"GET /get HTTP/1.1\r\nhost: httpbin2\r\nconnection: close\r\n\r\n";
        let answer =
            send_raw("127.0.0.1:15088", &[proxy_header([127, 0, 20, 2], 8000, &[]), request.to_vec()].concat());
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
    });
    let bootstrap: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join("envoy.json")).unwrap()).unwrap();
    let port = &bootstrap["admin"]["address"]["socket_address"]["port_value"];
    let statistics = Curl::to(&format!("http://127.0.0.1:{port}/stats/prometheus")).send().body;
    let label = r#"envoy_cluster_name="inbound-vip|8000|http|httpbin2.httpbin.svc.cluster.local""#;
    let of_service = format!("envoy_cluster_upstream_rq_total{{{label}}}");
    assert!(statistics.lines().any(|line| line.starts_with(&of_service) && !line.ends_with(" 0")), "{statistics}");
    assert!(statistics.contains(r#"envoy_cluster_upstream_cx_total{envoy_cluster_name="xds"}"#), "{statistics}");
    assert!(
        statistics.contains(r#"envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="http"}"#),
        "{statistics}"
    );
}

/// What the Envoy of the example writes to its standard output for these requests, each an address and port of a
/// Service and what is sent there.
fn access_log(form: &str, extauth: &str, folder: &Folder, requests: &[([u8; 4], u16, &str)]) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    let more = ["--access-log", form];
    let _servers = waypoint_with(folder.path().to_str().unwrap(), extauth, &free(), &more, dir.path());
    let send = |(vip, port, bytes): &([u8; 4], u16, &str)| {
        send_raw("127.0.0.1:15088", &[proxy_header(*vip, *port, &[]), bytes.as_bytes().to_vec()].concat())
    };
    eventually("the waypoint", Duration::from_secs(20), || {
        std::net::TcpStream::connect("127.0.0.1:15088").map(drop).map_err(|e| e.to_string())
    });
    requests.iter().for_each(|request| drop(send(request)));
    // Envoy writes what it has kept back when it is full, or after ten seconds.
    let written = || std::fs::read_to_string(dir.path().join("envoy.out")).unwrap();
    let complete = || {
        let lines: Vec<String> = written().lines().map(str::to_owned).collect();
        if lines.len() >= requests.len() { Ok(lines) } else { Err(format!("{lines:?}")) }
    };
    eventually("the lines", Duration::from_secs(20), complete)
}

#[test]
fn the_access_log_is_istios_and_says_which_service_a_request_was_for() {
    let _turn = turn();
    let _backends = Backends::start(Application::Sample);
    let folder = Folder::example();
    folder.apply_walkthrough("apikeys");
    let get = "GET /get?q=1 HTTP/1.1\r\nhost: httpbin3\r\nuser-agent: me\r\nconnection: close\r\n\r\n";
    let secret = "GET /get HTTP/1.1\r\nhost: httpbin2\r\napi-key: canary-7c1f\r\nconnection: close\r\n\r\n";
    let nowhere = free();
    let requests = [([127, 0, 20, 3], 8000, get), ([127, 0, 20, 2], 8000, secret), ([127, 0, 20, 99], 8000, get)];

    let lines = access_log("json", &nowhere, &folder, &requests);
    let of = |path: &str, code: u64| {
        let lines = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let found: Vec<_> = lines.filter(|line| line["path"] == path && line["response_code"] == code).collect();
        assert_eq!(found.len(), 1, "{path} {code}: {found:?}");
        found[0].clone()
    };
    let passed = of("/get?q=1", 200);
    assert_eq!(passed["service"], "inbound-vip|8000|http|httpbin3.httpbin.svc.cluster.local");
    assert_eq!(passed["upstream_cluster"], passed["service"]);
    assert_eq!((&passed["method"], &passed["user_agent"]), (&"GET".into(), &"me".into()));
    // One that is refused is of a Service as well, and the key that it brought is not in it.
    let refused = of("/get", 403);
    assert_eq!(refused["service"], "inbound-vip|8000|http|httpbin2.httpbin.svc.cluster.local");
    assert_eq!(refused["response_code_details"], "ext_authz_error");
    assert_eq!(of("/get?q=1", 404)["service"], serde_json::Value::Null, "of no Service");
    assert!(lines.iter().all(|line| !line.contains("canary-7c1f")), "{lines:?}");

    let lines = access_log("text", &nowhere, &folder, &requests[..2]);
    let passed = lines.iter().find(|line| line.contains(" 200 ")).unwrap();
    assert!(
        passed.starts_with('[') && passed.contains(r#"] "GET /get?q=1 HTTP/1.1" 200 - via_upstream - "-" 0 "#),
        "{passed}"
    );
    assert!(passed.contains(" inbound-vip|8000|http|httpbin3.httpbin.svc.cluster.local "), "{passed}");
    let refused = lines.iter().find(|line| line.contains(" 403 ")).unwrap();
    assert!(refused.contains("inbound-vip|8000|http|httpbin2.httpbin.svc.cluster.local"), "{refused}");
    assert!(lines.iter().all(|line| !line.contains("canary-7c1f")), "{lines:?}");
}
