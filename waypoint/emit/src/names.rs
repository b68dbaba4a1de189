//! Names of generated resources. Route tables, clusters and endpoints of a Service port share
//! one: `<namespace>/<service>/<port>`; where it is reached over HTTP/2 whatever it says, cluster and endpoints have that
//! and `/http2`. A cluster that is told on demand, and its endpoints, have that and
//! `/on-demand`. Scopes, and clusters of ports that are passed on unread,
//! are named by an address and port, which no other name can equal.

use ir::{Destination, Front, Policy, PortRef, Settings};
use proto::ResourceType;

/// A cluster that never exists: the share of a backend that cannot be used answers 500,
/// and connections that are refused are closed.
pub const NO_BACKEND: &str = "no-such-backend";
/// What the headers begin with that we write for ourselves: nobody else's count, and nobody else sees ours.
pub const RESERVED_HEADERS: &str = "x-waykeeper-";
/// The filter chain of all ports that are passed on unread or refused.
pub const TCP: &str = "tcp";
/// The filter chain of connections that may not come to such a port.
pub const REFUSED: &str = "refused";
/// The filter chain, listener and cluster of all ports whose connections are read as they begin.
pub const SNIFFED: &str = "sniffed";
/// The filter chain of all others.
pub const HTTP: &str = "http";
/// The filter-state object that holds the caller's SPIFFE id, when there is one.
pub const PEER_PRINCIPAL: &str = "io.istio.peer_principal";

/// The filter-state object that holds the address from which a connection comes, whatever requests say.
pub const SOURCE_ADDRESS: &str = "waykeeper.source_address";

/// The filter that verifies tokens; what is in them stands in metadata of its name.
pub const TOKENS: &str = "envoy.filters.http.jwt_authn";
/// Under this key.
pub const PAYLOAD: &str = "payload";

/// The cluster of a server outside of the mesh that says an issuer's keys.
pub fn key_server(host: &str, port: u16, tls: bool) -> String {
    format!("keys|{}|{host}|{port}", if tls { "https" } else { "http" })
}

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

/// When Envoy is told of a cluster that routes lead to. One that gets copies of requests is always told ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Before the routes that lead there.
    Ahead,
    /// When the first request needs it.
    OnDemand,
}

impl Told {
    /// When Envoy is told of the clusters to which a route with `policy` leads.
    ///
    /// Envoy asks for limits only if it knows the cluster at the time when it chooses the route, and learns of one on
    /// demand only later: the first requests would pass every limit. So where there are limits, it is told ahead.
    pub fn of(policy: &Policy, settings: &Settings) -> Self {
        if settings.clusters_on_demand && policy.limits.is_empty() { Told::OnDemand } else { Told::Ahead }
    }

    /// The name of the cluster.
    pub fn cluster(self, to: &Destination) -> String {
        match self {
            Told::Ahead => to.to_string(),
            Told::OnDemand => format!("{to}{ON_DEMAND}"),
        }
    }
}

/// What the name of a cluster ends with that is told on demand.
const ON_DEMAND: &str = "/on-demand";

/// Whether Envoy is told of a resource only when it asks for it by name.
pub fn on_demand(kind: ResourceType, name: &str) -> bool {
    matches!(kind, ResourceType::Cluster | ResourceType::Endpoint) && name.ends_with(ON_DEMAND)
}
