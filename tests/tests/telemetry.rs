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
use waykeeper_tests::alone::{free, waypoint};
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
