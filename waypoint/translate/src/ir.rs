//! What is decided: the value between [`crate::resolve`] and [`crate::emit`].
//!
//! Nothing here knows Kubernetes' or Envoy's types; a value that exists is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use api::gloo::rate_limit_config::RateLimitActions;
use api::gloo::route_option::{Cors, Faults, Retries};
use api::{Name, ObjectRef};

/// One waypoint.
#[derive(Debug, Clone)]
pub struct Waypoint {
    /// Its Gateway.
    pub gateway: Name,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it serves, one chain per Service and port.
    pub chains: BTreeMap<PortRef, Chain>,
    /// Where it forwards to.
    pub clusters: BTreeMap<PortRef, Cluster>,
}

/// A Service's port: the identity of chains, route tables, clusters and endpoints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRef {
    /// The Service.
    pub service: Name,
    /// The Service's own port, not the target's.
    pub port: u16,
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.port)
    }
}

/// What happens to connections to one Service port.
#[derive(Debug, Clone)]
pub struct Chain {
    /// The addresses that mean this Service here.
    pub addresses: BTreeSet<IpAddr>,
    /// How its bytes are read.
    pub traffic: Traffic,
    /// The objects it comes from.
    pub origins: BTreeSet<ObjectRef>,
}

/// How a chain reads bytes.
#[derive(Debug, Clone)]
pub enum Traffic {
    /// As HTTP, with these routes; the first match wins, none answers 404.
    Http(Vec<Route>),
    /// Not at all: they go to the Service's endpoints.
    Tcp,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where it was written: `HTTPRoute httpbin/httpbin2 rule 0 match 0`.
    pub name: String,
    /// Which requests.
    pub matches: Match,
    /// What becomes of them.
    pub action: Action,
    /// What else happens to them.
    pub policy: Policy,
    /// The objects it comes from.
    pub origins: BTreeSet<ObjectRef>,
}

/// Which requests; all parts must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// The method, any if unset.
    pub method: Option<String>,
    /// Headers.
    pub headers: Vec<KeyMatch>,
    /// Query parameters.
    pub query: Vec<KeyMatch>,
    /// Host names (`*.` for any subdomain); any if empty.
    pub hosts: Vec<String>,
}

impl Match {
    /// Every request.
    pub fn everything() -> Self {
        Self { path: PathMatch::Prefix("/".into()), method: None, headers: vec![], query: vec![], hosts: vec![] }
    }
}

/// Which paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathMatch {
    /// This one.
    Exact(String),
    /// Those that match this expression as a whole.
    Regex(String),
    /// This one and those below it; no slash at the end but for `/` itself.
    Prefix(String),
}

/// A header or query parameter and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMatch {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: ValueMatch,
}

/// Which values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueMatch {
    /// This one.
    Exact(String),
    /// Those that match this expression as a whole.
    Regex(String),
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Action {
    /// It is sent on.
    Forward(Forward),
    /// It is sent away.
    Redirect(Redirect),
    /// It is answered by us.
    Refuse(Refusal),
}

/// An answer of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u32,
    /// A sentence for whoever reads the response.
    pub why: String,
}

/// Where and how a request is sent on.
#[derive(Debug, Clone)]
pub struct Forward {
    /// To one of these; weights are not all zero.
    pub backends: Vec<Backend>,
    /// For how long; zero for no limit.
    pub timeout: Duration,
    /// For how long each try.
    pub try_timeout: Option<Duration>,
    /// When to try again.
    pub retries: Option<Retries>,
    /// What replaces the host.
    pub host: Option<String>,
    /// What replaces the path.
    pub path: Option<PathRewrite>,
}

/// What replaces a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// All of it.
    Full(String),
    /// The prefix that matched.
    Prefix(String),
}

/// One place to forward to.
#[derive(Debug, Clone)]
pub struct Backend {
    /// Where; none answers 500 for its share.
    pub target: Option<PortRef>,
    /// Its share.
    pub weight: u32,
    /// Changes to the request's headers.
    pub request: HeaderChanges,
    /// Changes to the response's headers.
    pub response: HeaderChanges,
}

/// A redirection.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// Scheme.
    pub scheme: Option<String>,
    /// Host name.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u32,
}

/// Changes to headers: what is removed goes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// Names to remove.
    pub remove: Vec<String>,
    /// Headers to set or add, in order.
    pub put: Vec<HeaderPut>,
}

/// One header to set or add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPut {
    /// Its name.
    pub name: String,
    /// Its value as an Envoy format string: a literal `%` is doubled.
    pub format: String,
    /// Whether values it already has stay.
    pub append: bool,
}

/// What else happens to a request.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Changes to the request's headers.
    pub request: HeaderChanges,
    /// Changes to the response's headers.
    pub response: HeaderChanges,
    /// The AuthConfig that must pass it.
    pub auth: Option<Name>,
    /// The RateLimitConfigs that count it.
    pub limits: Vec<Limit>,
    /// What counts it by who calls.
    pub basic: Option<BasicLimit>,
    /// Cross-origin policy.
    pub cors: Option<Cors>,
    /// Mistakes on purpose.
    pub faults: Option<Faults>,
}

/// When limits are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before it is known who calls.
    Early,
    /// After.
    Regular,
}

/// A RouteOption's `ratelimitBasic`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicLimit {
    /// The RouteOption's id, the first entry of each descriptor.
    pub id: String,
    /// Whether users are counted.
    pub authorized: bool,
    /// Whether addresses are counted.
    pub anonymous: bool,
}

/// A RateLimitConfig's part in describing a request.
#[derive(Debug, Clone)]
pub struct Limit {
    /// When it is asked for.
    pub stage: Stage,
    /// Its id, the first entry of each descriptor.
    pub config_id: String,
    /// What each descriptor is made of.
    pub actions: Vec<RateLimitActions>,
}

/// Where a Service port's requests are sent.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Whether the application speaks HTTP/2 only.
    pub http2: bool,
    /// Where it runs.
    pub endpoints: Endpoints,
    /// The objects it comes from.
    pub origins: BTreeSet<ObjectRef>,
}

/// Where an application runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// At these addresses.
    Addresses(BTreeSet<SocketAddr>),
    /// At these names (or addresses), to be looked up by Envoy.
    Hosts(BTreeSet<(String, u16)>),
}
