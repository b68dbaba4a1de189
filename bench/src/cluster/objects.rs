//! What is on the API server.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::Context as _;
use serde_json::{Value, json};
use waykeeper_tests::kubernetes::{Cluster, files, gateway_crds};

use crate::parts::{ENVOY_PORT, GATEWAY, NAMESPACE};

/// The port of each Service.
pub const PORT: u16 = 8000;
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/bench/httproutes";

/// Services, each with an EndpointSlice and an HTTPRoute.
#[derive(Debug)]
pub struct Objects {
    /// Their addresses.
    services: Vec<Ipv4Addr>,
}

impl Objects {
    /// Makes them, and the Gateway that serves them.
    ///
    /// # Errors
    /// When the API server gave one of them no address.
    pub fn make(cluster: &Cluster, services: usize, application: (Ipv4Addr, u16)) -> anyhow::Result<Objects> {
        gateway_crds(cluster);
        files("deploy/crds").iter().for_each(|file| cluster.apply(file));
        cluster.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}, labels: {{istio.io/use-waypoint: {GATEWAY}}}}}\n"
        ));
        cluster.apply(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {GATEWAY}, namespace: {NAMESPACE}}}\nspec:\n  \
             gatewayClassName: gloo-waypoint\n  listeners: [{{name: proxy, port: {ENVOY_PORT}, protocol: istio.io/PROXY}}]\n"
        ));
        let (core, slices) =
            (format!("/api/v1/namespaces/{NAMESPACE}"), format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}"));
        let all = || 0..services;
        cluster.create_all(&format!("{core}/services"), &all().map(service).collect::<Vec<_>>());
        let slice = |number| slice(number, application);
        cluster.create_all(&format!("{slices}/endpointslices"), &all().map(slice).collect::<Vec<_>>());
        let route = |number| {
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": name(number)}, "spec": spec(number, "0")})
        };
        cluster.create_all(ROUTES, &all().map(route).collect::<Vec<_>>());

        let listed = cluster.call("GET", &format!("{core}/services"), None).json();
        let address = |service: &Value| {
            let text = |of: &str| service.pointer(of).and_then(Value::as_str).map(str::to_owned);
            Some((text("/metadata/name")?, text("/spec/clusterIP")?.parse::<Ipv4Addr>().ok()?))
        };
        let addresses: BTreeMap<String, Ipv4Addr> =
            listed["items"].as_array().into_iter().flatten().filter_map(address).collect();
        let of = |number| addresses.get(&name(number)).copied();
        let services = all().map(of).collect::<Option<Vec<_>>>().context("a Service without an address")?;
        Ok(Objects { services })
    }

    /// The address of one Service.
    pub fn service(&self, number: usize) -> Ipv4Addr {
        self.services[number]
    }

    /// The addresses of Services from all over.
    pub fn some(&self) -> impl Iterator<Item = Ipv4Addr> {
        let step = (self.services.len() / 20).max(1);
        self.services.iter().step_by(step).chain(self.services.last()).copied()
    }

    /// Has the route of one Service answer with this value; back once the API server has it.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub fn edit_route(&self, cluster: &Cluster, number: usize, value: &str) -> anyhow::Result<()> {
        let patch = json!({"spec": spec(number, value)}).to_string();
        let path = format!("{ROUTES}/{}", name(number));
        let answer = cluster.call("PATCH", &path, Some(("application/merge-patch+json", &patch)));
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("s{number}")
}

fn service(number: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name(number)},
        "spec": {"ports": [{"name": "http", "port": PORT, "targetPort": 8080}]}})
}

fn slice(number: usize, (address, port): (Ipv4Addr, u16)) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name(number), "labels": {"kubernetes.io/service-name": name(number)}},
        "ports": [{"name": "http", "port": port}],
        "endpoints": [{"addresses": [address.to_string()], "conditions": {"ready": true}}]})
}

fn spec(number: usize, value: &str) -> Value {
    let set = json!({"set": [{"name": "x-edit", "value": value}]});
    json!({"parentRefs": [{"group": "", "kind": "Service", "name": name(number)}],
        "rules": [{"filters": [{"type": "ResponseHeaderModifier", "responseHeaderModifier": set}],
            "backendRefs": [{"name": name(number), "port": PORT}]}]})
}
