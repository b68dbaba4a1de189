//! xDS resources as the control plane hands them from the translator to the ADS server.

use std::collections::BTreeMap;
use std::fmt;

use prost::Message;
use table::Table;

use crate::google::protobuf::Any;

/// The resource types we serve, in the order in which Envoy must see additions
/// (make before break); removals go in the reverse order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoint,
    /// `envoy.config.route.v3.ScopedRouteConfiguration`
    Scope,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.listener.v3.FilterChain` (filter chain discovery)
    FilterChain,
    /// `envoy.config.route.v3.RouteConfiguration`
    Route,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
}

impl ResourceType {
    /// Every type, in the order of additions.
    pub const ALL: [ResourceType; 7] = [
        ResourceType::Cluster,
        ResourceType::Endpoint,
        ResourceType::Scope,
        ResourceType::Listener,
        ResourceType::FilterChain,
        ResourceType::Route,
        ResourceType::Secret,
    ];

    /// The type URL that stands in requests, responses and `Any`.
    pub fn type_url(self) -> &'static str {
        match self {
            ResourceType::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            ResourceType::Endpoint => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            ResourceType::Scope => "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
            ResourceType::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            ResourceType::FilterChain => "type.googleapis.com/envoy.config.listener.v3.FilterChain",
            ResourceType::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            ResourceType::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    /// The type that `url` names, if we serve it.
    pub fn of_type_url(url: &str) -> Option<ResourceType> {
        ResourceType::ALL.into_iter().find(|t| t.type_url() == url)
    }
}

/// One named resource in its wire form.
///
/// Two resources are the same exactly when their `version`s are: the version is
/// a digest of the canonical bytes, in which maps are sorted.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// The name Envoy subscribes to.
    pub name: String,
    /// Digest of `body`.
    pub version: String,
    /// The packed message.
    pub body: Any,
}

/// Its body is left out: in a secret it is a key.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

/// The resources of one type, by name.
pub type Named = Table<Resource, String>;

/// All resources of one Envoy, by type and name.
///
/// Copies share what they have in common, so that two sets are told apart by what differs.
pub type ResourceSet = BTreeMap<ResourceType, Named>;

/// The names of one type's resources that are another version in `new` than in `old`, or only in one of them.
pub fn changed<'s>(old: &'s ResourceSet, new: &'s ResourceSet, kind: ResourceType) -> impl Iterator<Item = &'s String> {
    let (old, new) = (old.get(&kind), new.get(&kind));
    let both = old.zip(new).into_iter().flat_map(|(old, new)| {
        let version = |table: &Named, name: &String| table.get(name).map(|r| r.version.clone());
        new.changed(old).filter(move |name| version(old, name) != version(new, name))
    });
    let one = match (old, new) {
        (Some(only), None) | (None, Some(only)) => Some(only.keys()),
        _ => None,
    };
    both.chain(one.into_iter().flatten())
}

/// Packs `message` under `type_url`.
pub fn pack<M: Message>(type_url: &str, message: &M) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}
