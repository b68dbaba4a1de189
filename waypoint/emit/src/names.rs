//! Names of generated resources. Chains, route tables, clusters and endpoints of a
//! Service port share one: `<namespace>/<service>/<port>`, which no other name can equal.

use ir::Front;

/// A cluster that never exists: the share of a backend that cannot be used answers 500,
/// and connections that are refused are closed.
pub const NO_BACKEND: &str = "no-such-backend";
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
