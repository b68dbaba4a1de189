//! `cargo run --release -p waypoint-translate --example edit_cost`: what translating one edit costs among
//! 1,000 and among 10,000 Services, each with a route and a policy. Nothing is sent to an Envoy;
//! `make bench-control` measures the whole.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;

use api::Snapshot;
use serde_json::Value;
use waypoint_translate::{Quarantines, Settings, Translator};

const NAMESPACE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: t, labels: {istio.io/use-waypoint: wp}}}";
const GATEWAY: &str = "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: wp, namespace: t}, \
    spec: {gatewayClassName: gloo-waypoint, listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY}]}}";

fn service(name: &str, number: usize) -> String {
    let address = format!("127.0.{}.{}", 21 + number / 250, 1 + number % 250);
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: t}}, \
         spec: {{clusterIP: {address}, ports: [{{port: 80, name: http}}]}}}}"
    )
}

fn route(name: &str, path: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: t}}, \
         spec: {{parentRefs: [{{group: '', kind: Service, name: {name}}}], rules: [{{matches: [{{path: {{type: PathPrefix, \
         value: {path}}}}}], backendRefs: [{{name: {name}, port: 80}}]}}]}}}}"
    )
}

fn policy(name: &str, timeout: &str) -> String {
    format!(
        "{{apiVersion: gateway.solo.io/v1, kind: RouteOption, metadata: {{name: {name}, namespace: t}}, spec: {{targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {name}}}], options: {{timeout: {timeout}}}}}}}"
    )
}

fn endpoints(name: &str) -> String {
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{name: {name}, namespace: t, \
         labels: {{kubernetes.io/service-name: {name}}}}}, ports: [{{name: http, port: 80}}], \
         endpoints: [{{addresses: [127.0.10.1]}}]}}"
    )
}

fn apply(snapshot: &mut Snapshot, manifest: &str) {
    let document: Value = serde_norway::from_str(manifest).unwrap();
    let admission = api::admit(&document);
    assert!(!admission.rejected(), "{:?}", admission.problems);
    snapshot.declare(admission);
    snapshot.revision += 1;
}

fn main() {
    for services in [1_000, 10_000] {
        let mut snapshot = Snapshot::default();
        apply(&mut snapshot, NAMESPACE);
        apply(&mut snapshot, GATEWAY);
        for number in 0..services {
            let name = format!("s{number}");
            apply(&mut snapshot, &service(&name, number));
            apply(&mut snapshot, &route(&name, "/"));
            apply(&mut snapshot, &policy(&name, "3s"));
        }
        let mut translator = Translator::new(Settings::default());
        let mut time = |what: &str, snapshot: &Snapshot| {
            let begin = Instant::now();
            translator.translate(snapshot, Quarantines::new());
            println!("{services} Services: {what}: {:?}", begin.elapsed());
        };
        time("the first time", &snapshot);
        let edits = [
            ("a policy", policy("s7", "4s")),
            ("a route", route("s7", "/x")),
            ("one more Service", service("new", services)),
            ("endpoints", endpoints("s8")),
        ];
        for (what, manifest) in edits {
            apply(&mut snapshot, &manifest);
            time(what, &snapshot);
        }
    }
}
