//! A route as somebody declared it, whatever kind it was written as: kinds stop at
//! their doors ([`http_route`], [`grpc_route`]), and the rest of this crate reads these nouns.

pub mod cors;
pub mod filters;
pub mod grpc_route;
pub mod http_route;

use std::time::Duration;

use api::core::{ObjectMeta, Time};
use api::{Kind, Name, ObjectRef, Problem};
use ir::{KeyMatch, Match, PortRef, Retries, ValueMatch};

use filters::Filters;

/// The kinds of routes.
pub const KINDS: [Kind; 2] = [Kind::HttpRoute, Kind::GrpcRoute];

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Which.
    pub reference: ObjectRef,
    /// When it was made.
    pub age: Age,
    /// What it says it belongs to.
    pub parents: Vec<ParentRef>,
    /// Its host names.
    pub hosts: Vec<String>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

impl Declared {
    /// The RouteOptions that its rules name.
    pub fn options(&self) -> impl Iterator<Item = &Name> {
        self.rules.iter().flat_map(|rule| &rule.filters.options)
    }
}

/// When an object was made; one without a time counts as newest.
pub type Age = (bool, Option<Time>);

/// See [`Age`].
pub fn age(meta: &ObjectMeta) -> Age {
    (meta.creation_timestamp.is_none(), meta.creation_timestamp.clone())
}

/// What a route says it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentRef {
    /// API group, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name, in the route's namespace unless it says another.
    pub name: Name,
    /// A port, if it names one.
    pub port: Option<i32>,
    /// A listener or the name of a port, if it names one.
    pub section: Option<String>,
}

impl ParentRef {
    /// One that a route of the namespace `home` names: a Gateway there, unless it says otherwise.
    fn new(
        (group, kind): (&Option<String>, &Option<String>),
        (namespace, name): (&Option<String>, &str),
        (port, section): (Option<i32>, &Option<String>),
        home: &str,
    ) -> Self {
        Self {
            group: group.clone().unwrap_or_else(|| "gateway.networking.k8s.io".to_owned()),
            kind: kind.clone().unwrap_or_else(|| "Gateway".to_owned()),
            name: Name::new(namespace.as_deref().unwrap_or(home), name),
            port,
            section: section.clone(),
        }
    }
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Where it stands: `spec.rules[0]`.
    pub field: String,
    /// Its name.
    pub name: Option<String>,
    /// Which requests, hosts aside; at least one.
    pub matches: Vec<Match>,
    /// Of a route of gRPC, how much of a call each of them names.
    pub calls: Vec<Call>,
    /// What its filters ask for.
    pub filters: Filters,
    /// Where it forwards to.
    pub backends: Vec<BackendRef>,
    /// For how long, if it says so.
    pub timeout: Option<Duration>,
    /// For how long each try, if it says so.
    pub try_timeout: Option<Duration>,
    /// When to try again, if it says so.
    pub retry: Option<Retries>,
    /// What cannot be done; the rule must be refused.
    pub problems: Vec<Problem>,
}

/// How many characters of a call's service and method a match of gRPC names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// Of the service.
    pub service: usize,
    /// Of the method.
    pub method: usize,
}

/// A list with no more room than it needs: one is kept for each of very many routes.
fn exactly<T>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = all.collect();
    list.shrink_to_fit();
    list
}

/// Conditions on headers or parameters, each with its name, whether its value is an expression, and that value. Of
/// several on names that are the `same` the first counts.
fn conditions<'w>(
    written: impl Iterator<Item = (&'w str, bool, &'w str)>,
    same: fn(&str, &str) -> bool,
) -> Vec<KeyMatch> {
    let mut all: Vec<KeyMatch> = Vec::new();
    for (name, expression, value) in written {
        if !all.iter().any(|known| same(&known.name, name)) {
            let value =
                if expression { ValueMatch::Regex(value.to_owned()) } else { ValueMatch::Exact(value.to_owned()) };
            all.push(KeyMatch { name: name.to_owned(), value });
        }
    }
    all
}

/// A share of requests as it is written; 1 where nothing is.
fn weight(written: Option<i32>) -> u32 {
    written.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1)
}

/// A place that a rule forwards to.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendRef {
    /// Which.
    pub to: Reference,
    /// Its share.
    pub weight: u32,
    /// What its own filters ask for.
    pub filters: Filters,
}

/// A place that gets copies of a rule's requests.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorRef {
    /// Which.
    pub to: Reference,
    /// Of a million requests, how many.
    pub millionths: u32,
}

/// A place as it is named.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Where it stands: `spec.rules[0].backendRefs[0]`.
    pub field: String,
    /// API group, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name, in the route's namespace unless it says another.
    pub name: Name,
    /// Port.
    pub port: Option<i32>,
}

impl Reference {
    /// One that a route of the namespace `home` names at `field`: a Service there, unless it says otherwise.
    fn new(
        field: String,
        (group, kind): (&Option<String>, &Option<String>),
        (namespace, name): (&Option<String>, &str),
        port: Option<i32>,
        home: &str,
    ) -> Self {
        Self {
            field,
            group: group.clone().unwrap_or_default(),
            kind: kind.clone().unwrap_or_else(|| "Service".to_owned()),
            name: Name::new(namespace.as_deref().unwrap_or(home), name),
            port,
        }
    }

    /// The port of a Service that it names if it names one; what is no port is 0, which no Service has.
    pub fn service_port(&self) -> PortRef {
        let port = self.port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
        PortRef { service: self.name.clone(), port }
    }
}
