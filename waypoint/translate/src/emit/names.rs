//! Names of generated resources. Chains, route tables, clusters and endpoints of a
//! Service port share one: `<namespace>/<service>/<port>`, which no other name can equal.

/// The listener of a waypoint.
pub const LISTENER: &str = "proxy";
/// The cluster of the authorization service.
pub const EXTAUTH: &str = "extauth";
/// The cluster of the rate-limit service.
pub const RATELIMIT: &str = "ratelimit";
/// A cluster that never exists: the share of a backend that cannot be used answers 500.
pub const NO_BACKEND: &str = "no-such-backend";
/// The header by which an application, and a limit for each user, learn who calls.
pub const USER_ID: &str = "x-user-id";
/// The filter-state object that holds the caller's SPIFFE id, when there is one.
pub const PEER_PRINCIPAL: &str = "io.istio.peer_principal";
