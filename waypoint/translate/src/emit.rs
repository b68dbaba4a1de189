//! Writes a decided waypoint in Envoy's words, in the JSON form its documentation
//! uses; `proto::schema` checks every field against Envoy's own schema.
//!
//! What changes often stays out of the listener: routes go over RDS, endpoints
//! over EDS, and every chain has the same filters, so that a change of policy
//! drains no connection.

pub mod clusters;
pub mod filters;
pub mod forwarded_for;
pub mod limits;
pub mod listener;
pub mod names;
pub mod routes;
pub mod tls;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::{Kind, ObjectRef};
use proto::ResourceType;
use proto::schema::resource_json;
use serde_json::{Value, json};

use crate::ir::{Endpoints, Traffic, Waypoint};
use crate::{GatewayOutput, Settings};

/// The resources of `waypoint`, and what could not be written.
///
/// Nothing that resolve lets through should fail here; if it does, the other
/// resources are served and a route table is replaced by one that refuses.
pub fn emit(waypoint: &Waypoint, settings: &Settings) -> (GatewayOutput, Vec<String>) {
    let mut writer = Writer { output: GatewayOutput::default(), failures: Vec::new() };
    writer.output.address = Some(waypoint.address);
    let gateway = BTreeSet::from([ObjectRef { kind: Kind::Gateway, name: waypoint.gateway.clone() }]);

    for (name, target) in [(names::EXTAUTH, &settings.extauth), (names::RATELIMIT, &settings.ratelimit)] {
        if let Some(target) = target {
            writer.put(ResourceType::Cluster, name, clusters::service(name, target), gateway.clone());
        }
    }
    for (id, cluster) in &waypoint.clusters {
        let name = id.to_string();
        writer.put(ResourceType::Cluster, &name, clusters::cluster(&name, cluster), cluster.origins.clone());
        if let Endpoints::Addresses(addresses) = &cluster.endpoints {
            let endpoints = clusters::addresses(&name, addresses);
            writer.put(ResourceType::Endpoint, &name, endpoints, cluster.origins.clone());
        }
    }
    let mut of_listener = gateway;
    for (id, chain) in &waypoint.chains {
        of_listener.insert(ObjectRef { kind: Kind::Service, name: id.service.clone() });
        if let Traffic::Http(routes) = &chain.traffic {
            let name = id.to_string();
            if !writer.put(ResourceType::Route, &name, routes::table(&name, routes), chain.origins.clone()) {
                writer.put(ResourceType::Route, &name, routes::refusing(&name), chain.origins.clone());
            }
        }
    }
    writer.put(ResourceType::Listener, names::LISTENER, listener::listener(waypoint, settings), of_listener);
    (writer.output, writer.failures)
}

struct Writer {
    output: GatewayOutput,
    failures: Vec<String>,
}

impl Writer {
    /// Adds a resource; whether it could be written.
    fn put(&mut self, kind: ResourceType, name: &str, value: Value, origins: BTreeSet<ObjectRef>) -> bool {
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
