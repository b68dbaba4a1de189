//! What is decided: the value between `resolve`, which makes it of what people declare,
//! and `emit`, which writes it in Envoy's words.
//!
//! Of Kubernetes only names are known here, of Envoy nothing; a value that exists is valid.

pub mod access;
pub mod limits;
pub mod path;
pub mod policy;
pub mod settings;
pub mod tokens;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use access::Access;
pub use api::{Name, ObjectRef, Table, contract};
pub use limits::{Descriptor, Entry, HeaderCondition, HeaderTest, MetadataPath, MetadataSource, Stage};
pub use policy::{
    Abort, Auth, Cors, Delay, Disowned, Faults, HeaderChanges, HeaderPut, Origin, Pauses, Policy, Retries, RetryOn,
    Strangers,
};
pub use settings::{AccessLog, Bind, GrpcTarget, LimitSettings, Settings, UpstreamTls};
pub use tokens::Tokens;

/// The objects from which something came: whom to tell what became of it.
pub type Origins = BTreeSet<ObjectRef>;

/// What the Envoy of one Gateway does.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxy {
    /// Its Gateway.
    pub gateway: Name,
    /// Where it listens, and for what.
    pub listeners: Vec<Listener>,
    /// Where it forwards to.
    pub clusters: Table<Cluster, Destination>,
    /// The objects it comes from as a whole.
    pub origins: Origins,
}

/// One socket.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Where it binds.
    pub address: SocketAddr,
    /// How connections say who calls and whom.
    pub front: Front,
    /// What it serves, one chain per Service and port.
    pub chains: Table<Chain, PortRef>,
    /// The objects it comes from, but for those that its chains come from.
    pub origins: Origins,
}

/// How connections to a listener say who calls and whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// By a PROXY v2 header that a tunnel of the mesh writes.
    Proxy,
    /// By the mesh's own tunnel: HTTP/2 CONNECT over mutual TLS.
    Hbone,
    /// By TLS' server name.
    Tls,
    /// Not at all: by the address they come to.
    Plain,
}

/// Whether a Service is served by a waypoint of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolment {
    /// It asks for none: connections go straight to its endpoints.
    None,
    /// By the one of this Gateway.
    Waypoint(Name),
    /// It asks for one that does not serve it, or for one that cannot be told, for this reason:
    /// connections are refused rather than sent around what was asked for.
    Refused(String),
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
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    /// The addresses that mean this Service here.
    pub addresses: BTreeSet<IpAddr>,
    /// How its bytes are read.
    pub traffic: Traffic,
    /// Which tokens are looked at there, before it is decided who may do what.
    pub tokens: Tokens,
    /// Who may do what there.
    pub access: Access,
    /// The objects it comes from.
    pub origins: Origins,
}

impl Traffic {
    /// The routes of what is read as HTTP.
    pub fn routes(&self) -> Option<&Vec<Route>> {
        match self {
            Traffic::Http(routes) | Traffic::Sniffed(routes, _) => Some(routes),
            Traffic::Tcp(_) | Traffic::Refuse(_) => None,
        }
    }

    /// Where what is not read goes.
    pub fn unread(&self) -> Option<&Destination> {
        match self {
            Traffic::Tcp(to) | Traffic::Sniffed(_, to) => Some(to),
            Traffic::Http(_) | Traffic::Refuse(_) => None,
        }
    }
}

/// How a chain reads bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Traffic {
    /// As HTTP, with these routes; the first match wins, none answers 404.
    Http(Vec<Route>),
    /// Not at all: they go there.
    Tcp(Destination),
    /// As they begin: as HTTP with these routes, or else not at all and to that destination.
    Sniffed(Vec<Route>, Destination),
    /// Not at all: connections are closed, for this reason.
    Refuse(String),
}

impl Traffic {
    /// How it reads bytes, in a word for people.
    pub fn read_as(&self) -> &'static str {
        match self {
            Traffic::Http(_) => "http",
            Traffic::Tcp(_) => "tcp",
            Traffic::Sniffed(..) => "as it begins",
            Traffic::Refuse(_) => "refused",
        }
    }
}

/// One route.
#[derive(Debug, Clone, PartialEq)]
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
    pub origins: Origins,
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
    /// Only if what the request says its host is cannot be one.
    pub no_host: bool,
    /// What path and query must be besides, as they came.
    pub target: Option<RequestTarget>,
    /// Only if it is one of gRPC.
    pub grpc: bool,
}

/// Path and query of a request in one, as they came.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestTarget {
    /// An expression that matches it as a whole.
    pub is: String,
    /// One that does not.
    pub is_not: Option<String>,
}

impl Match {
    /// Every request.
    pub fn everything() -> Self {
        Self {
            path: PathMatch::Prefix("/".into()),
            method: None,
            headers: vec![],
            query: vec![],
            hosts: vec![],
            no_host: false,
            target: None,
            grpc: false,
        }
    }

    /// Whether it takes no request of this method.
    pub fn takes_no(&self, method: &str) -> bool {
        self.method.as_deref().is_some_and(|own| own != method)
    }
}

/// Which paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathMatch {
    /// This one.
    Exact(String),
    /// Those that match this expression as a whole.
    Regex(String),
    /// This one and those below it; no slash at the end but for `/` itself.
    Prefix(String),
}

/// A header or query parameter and its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyMatch {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: ValueMatch,
}

/// Which values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueMatch {
    /// This one.
    Exact(String),
    /// Those that match this expression as a whole.
    Regex(String),
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// To one of these; weights are not all zero.
    pub backends: Vec<Backend>,
    /// For how long; zero for no limit.
    pub timeout: Duration,
    /// Whether both sides may be silent for as long as they like, as in streams of gRPC.
    pub streams: bool,
    /// For how long each try.
    pub try_timeout: Option<Duration>,
    /// When to try again.
    pub retries: Option<Retries>,
    /// What replaces the host.
    pub host: Option<String>,
    /// What replaces the path.
    pub path: Option<PathRewrite>,
    /// Who gets copies of it.
    pub mirrors: Vec<Mirror>,
}

impl Forward {
    /// To one of these, for as long as it takes, and as it came.
    pub fn to(backends: Vec<Backend>) -> Self {
        Self {
            backends,
            timeout: Duration::ZERO,
            streams: false,
            try_timeout: None,
            retries: None,
            host: None,
            path: None,
            mirrors: Vec::new(),
        }
    }

    /// Where requests are sent, and copies of them.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let backends = self.backends.iter().filter_map(|backend| backend.target.as_ref());
        backends.chain(self.copies().map(|mirror| &mirror.target))
    }

    /// Who gets copies of requests, or of those of one backend.
    pub fn copies(&self) -> impl Iterator<Item = &Mirror> {
        let own = self.backends.iter().filter_map(|backend| backend.own.as_deref());
        self.mirrors.iter().chain(own.flat_map(|own| &own.mirrors))
    }
}

/// A place that gets copies of requests; its answers are thrown away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where.
    pub target: Destination,
    /// Of a million requests, how many; not none.
    pub millionths: u32,
}

/// What replaces a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// All of it.
    Full(String),
    /// The prefix that matched.
    Prefix(String),
}

/// A place to forward to: the identity of clusters and endpoints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// The endpoints of a Service's port.
    Service(PortRef),
    /// The same over HTTP/2, whatever the Service says of its port.
    Http2(PortRef),
}

impl Destination {
    /// The port of a Service whose endpoints it is.
    pub fn port(&self) -> &PortRef {
        match self {
            Destination::Service(port) | Destination::Http2(port) => port,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Service(port) => port.fmt(f),
            Destination::Http2(port) => write!(f, "{port}/http2"),
        }
    }
}

/// One of the places among which requests are shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Where; none answers 500 for its share, unless that is sent away.
    pub target: Option<Destination>,
    /// Its share.
    pub weight: u32,
    /// Changes to the request's headers.
    pub request: HeaderChanges,
    /// Changes to the response's headers.
    pub response: HeaderChanges,
    /// What else happens to its share. Few have any.
    pub own: Option<Box<Own>>,
}

impl Backend {
    /// One to which its share comes as it is.
    pub fn new(target: Option<Destination>, weight: u32) -> Self {
        let (request, response) = Default::default();
        Self { target, weight, request, response, own: None }
    }
}

/// What happens to the share of one backend besides what happens to all requests of its route.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Own {
    /// It is sent away.
    pub redirect: Option<Redirect>,
    /// What replaces the host.
    pub host: Option<String>,
    /// What replaces the path.
    pub path: Option<PathRewrite>,
    /// Who gets copies of it.
    pub mirrors: Vec<Mirror>,
}

/// A redirection.
#[derive(Debug, Clone, PartialEq)]
pub struct Redirect {
    /// Scheme.
    pub scheme: Option<String>,
    /// Host name.
    pub host: Option<String>,
    /// Port; the scheme's own if unset.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<PathRewrite>,
    /// 301, 302, 303, 307 or 308.
    pub status: u32,
}

/// How a destination is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Whether the application speaks HTTP/2 only.
    pub http2: bool,
    /// Where it runs.
    pub endpoints: Endpoints,
    /// The objects it comes from.
    pub origins: Origins,
}

/// Where an application runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// At these addresses.
    Addresses(BTreeSet<SocketAddr>),
    /// At these names (or addresses), to be looked up by Envoy.
    Hosts(BTreeSet<(String, u16)>),
}
