//! Writes a decided proxy in Envoy's words, in the JSON form its documentation
//! uses; `proto::schema` checks every field against Envoy's own schema.
//!
//! What changes often stays out of the listener: routes go over RDS, endpoints
//! over EDS, and every chain has the same filters, so that a change of policy
//! drains no connection.

pub mod bootstrap;
mod clusters;
pub mod filters;
mod listener;
mod names;
pub mod quarantine;
mod routes;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ir::{Endpoints, Origins, Proxy, Settings, Traffic};
use proto::schema::resource_json;
use proto::{Resource, ResourceSet, ResourceType};
use serde_json::{Value, json};

pub use bootstrap::{Admin, AdsServer, BootstrapSettings, bootstrap};

/// What the Envoy of one Gateway is told.
#[derive(Debug, Clone, Default)]
pub struct GatewayOutput {
    /// The resources.
    pub resources: ResourceSet,
    /// The objects from which each resource came: whom to tell when Envoy refuses it.
    pub origins: BTreeMap<(ResourceType, String), Origins>,
    /// The objects from which the parts of a resource came, by the name of the part.
    pub rules: BTreeMap<(ResourceType, String), BTreeMap<String, Origins>>,
    /// Parts that are not sent as they were written.
    pub aside: Vec<quarantine::SetAside>,
    /// The resources of those parts, as they were written.
    pub written: BTreeMap<(ResourceType, String), Arc<Resource>>,
    /// Where its PROXY listener binds.
    pub address: Option<SocketAddr>,
}

/// The resources of `proxy`, and what could not be written.
///
/// Nothing that was decided should fail here; if it does, the other
/// resources are served and a route table is replaced by one that refuses.
pub fn emit(proxy: &Proxy, settings: &Settings) -> (GatewayOutput, Vec<String>) {
    let mut writer = Writer { output: GatewayOutput::default(), failures: Vec::new() };
    for (name, cluster) in filters::clusters(settings) {
        writer.put(ResourceType::Cluster, name, cluster, proxy.origins.clone());
    }
    for (id, cluster) in &proxy.clusters {
        let name = id.to_string();
        writer.put(ResourceType::Cluster, &name, clusters::cluster(&name, cluster), cluster.origins.clone());
        if let Endpoints::Addresses(addresses) = &cluster.endpoints {
            let endpoints = clusters::addresses(&name, addresses);
            writer.put(ResourceType::Endpoint, &name, endpoints, cluster.origins.clone());
        }
    }
    for listener in &proxy.listeners {
        let name = names::listener(listener.front);
        let Some(written) = listener::listener(listener, settings) else {
            writer.failures.push(format!("listener {name}: cannot be written yet"));
            continue;
        };
        let mut chains = BTreeMap::new();
        for (id, chain) in &listener.chains {
            chains.insert(id.to_string(), chain.origins.clone());
            if let Traffic::Http(routes) = &chain.traffic {
                let name = id.to_string();
                let rules = routes.iter().map(|route| (route.name.clone(), route.origins.clone())).collect();
                writer.output.rules.insert((ResourceType::Route, name.clone()), rules);
                if !writer.put(ResourceType::Route, &name, routes::table(&name, routes), chain.origins.clone()) {
                    writer.put(ResourceType::Route, &name, routes::refusing(&name), chain.origins.clone());
                }
            }
        }
        writer.output.rules.insert((ResourceType::Listener, name.to_owned()), chains);
        if writer.put(ResourceType::Listener, name, written, listener.origins.clone()) {
            writer.output.address.get_or_insert(listener.address);
        }
    }
    (writer.output, writer.failures)
}

struct Writer {
    output: GatewayOutput,
    failures: Vec<String>,
}

impl Writer {
    /// Adds a resource; whether it could be written.
    fn put(&mut self, kind: ResourceType, name: &str, value: Value, origins: Origins) -> bool {
        match resource_json(kind, name, value) {
            Ok(resource) => {
                self.output.resources.entry(kind).or_default().insert(name.to_owned(), Arc::new(resource));
                self.output.origins.insert((kind, name.to_owned()), origins);
                true
            }
            Err(error) => {
                self.failures.push(format!("{kind:?} {name}: {error}"));
                false
            }
        }
    }
}

/// A configuration that comes over the one ADS stream.
pub fn ads() -> Value {
    json!({"ads": {}, "resource_api_version": "V3"})
}

/// A packed message, by its full name and fields.
pub fn packed(name: &str, mut fields: Value) -> Value {
    fields["@type"] = json!(format!("type.googleapis.com/{name}"));
    fields
}

/// A duration as protobuf's JSON spells it, to the millisecond.
pub fn duration(duration: std::time::Duration) -> Value {
    let millis = duration.subsec_millis();
    json!(if millis == 0 { format!("{}s", duration.as_secs()) } else { format!("{}.{millis:03}s", duration.as_secs()) })
}
