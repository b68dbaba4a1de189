//! Names of generated resources. Route tables, clusters and endpoints of a Service port share
//! one: `<namespace>/<service>/<port>`. Scopes, and clusters of ports that are passed on unread,
//! are named by an address and port, which no other name can equal.

use ir::{Front, PortRef};
use proto::ResourceType;

/// A cluster that never exists: the share of a backend that cannot be used answers 500,
/// and connections that are refused are closed.
pub const NO_BACKEND: &str = "no-such-backend";
/// What the headers begin with that we write for ourselves: nobody else's count, and nobody else sees ours.
pub const RESERVED_HEADERS: &str = "x-waykeeper-";
/// The filter chain of all ports that are passed on unread or refused.
pub const TCP: &str = "tcp";
/// The filter chain, listener and cluster of all ports whose connections are read as they begin.
pub const SNIFFED: &str = "sniffed";
/// The filter chain of all others.
pub const HTTP: &str = "http";
/// The filter-state object that holds the caller's SPIFFE id, when there is one.
pub const PEER_PRINCIPAL: &str = "io.istio.peer_principal";

/// The listener of a proxy with this front.
pub fn listener(front: Front) -> &'static str {
    match front {
        Front::Proxy => "proxy",
        Front::Hbone => "hbone",
        Front::Tls => "tls",
        Front::Plain => "plain",
    }
}

/// What the cluster of a Service port is called in statistics and logs: as Istio's waypoints call it,
/// so that who looks there finds it.
pub fn shown(port: &PortRef, protocol: &str) -> String {
    let PortRef { service, port } = port;
    format!("inbound-vip|{port}|{protocol}|{}.{}.svc.{CLUSTER_DOMAIN}", service.name, service.namespace)
}

/// What the names of Services end with.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// Whether a resource is one that routes lead to: where clusters are told on demand, these are.
/// Servers that Envoy asks and ports that are passed on unread are not: nothing would ask for them.
pub fn on_demand(kind: ResourceType, name: &str) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Endpoint) && name.contains('/')
}
