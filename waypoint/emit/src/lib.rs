//! Writes a decided proxy in Envoy's words, in the JSON form its documentation
//! uses; `proto::schema` checks every field against Envoy's own schema.
//!
//! What changes often stays out of the listener, which is the same for all Services: routes go
//! over scoped RDS, one scope for each address and port, and endpoints over EDS. So neither a new
//! Service nor a change of policy drains a connection.

mod access;
mod access_log;
pub mod bootstrap;
mod clusters;
mod emitter;
pub mod filters;
mod listener;
mod names;
pub mod quarantine;
mod routes;
mod scopes;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ir::{ObjectRef, Origins, PortRef, Proxy, Settings, Table};
use proto::{Resource, ResourceSet};
use serde_json::{Value, json};

pub use bootstrap::{Admin, AdsServer, BootstrapSettings, bootstrap};
pub use emitter::Emitter;
pub use names::{SNIFFED, on_demand};
pub use tls::{Identity, secrets};

/// What the Envoy of one Gateway is told. Copies share what they have in common.
#[derive(Debug, Clone, Default)]
pub struct GatewayOutput {
    /// The resources.
    pub resources: ResourceSet,
    /// The objects from which each resource came: whom to tell when Envoy refuses it.
    pub origins: Table<Origins, quarantine::Key>,
    /// The objects from which any resource came, each with from how many.
    pub objects: Table<usize, ObjectRef>,
    /// The objects from which the parts of a resource came, by the name of the part.
    pub rules: Table<BTreeMap<String, Origins>, quarantine::Key>,
    /// The Service port that a resource serves, where its name does not say it.
    pub ports: Table<PortRef, quarantine::Key>,
    /// Parts that are not sent as they were written.
    pub aside: Vec<quarantine::SetAside>,
    /// The resources of those parts, as they were written.
    pub written: BTreeMap<quarantine::Key, Arc<Resource>>,
    /// Where its PROXY listener binds.
    pub address: Option<SocketAddr>,
}

impl GatewayOutput {
    /// Notes from which objects a resource came; none where there is none any more.
    pub fn came_from(&mut self, key: quarantine::Key, now: Option<Origins>) {
        let before = self.origins.get(&key).cloned();
        if before.as_deref() == now.as_ref() {
            return;
        }
        let (none, count) = (Origins::new(), |objects: &Table<usize, ObjectRef>, object| {
            objects.get(object).map_or(0, |count| **count)
        });
        let (old, new) = (before.as_deref().unwrap_or(&none), now.as_ref().unwrap_or(&none));
        for object in old.difference(new) {
            match count(&self.objects, object) {
                0 | 1 => drop(self.objects.remove(object)),
                more => drop(self.objects.insert(object.clone(), more - 1)),
            }
        }
        for object in new.difference(old) {
            self.objects.insert(object.clone(), count(&self.objects, object) + 1);
        }
        match now {
            Some(now) => drop(self.origins.insert(key, now)),
            None => drop(self.origins.remove(&key)),
        }
    }
}

/// The resources of `proxy`, and what could not be written.
pub fn emit(proxy: &Proxy, settings: &Settings) -> (GatewayOutput, Vec<String>) {
    Emitter::new(settings.clone()).emit(proxy)
}

/// A configuration that comes over the one ADS stream. It is waited for as long as it takes: an Envoy that went on
/// without would count as ready, and serve nothing.
pub fn ads() -> Value {
    json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"})
}

/// A packed message, by its full name and fields.
pub(crate) fn packed(name: &str, mut fields: Value) -> Value {
    fields["@type"] = json!(format!("type.googleapis.com/{name}"));
    fields
}

/// A duration as protobuf's JSON spells it, to the millisecond.
pub fn duration(duration: std::time::Duration) -> Value {
    let millis = duration.subsec_millis();
    json!(if millis == 0 { format!("{}s", duration.as_secs()) } else { format!("{}.{millis:03}s", duration.as_secs()) })
}

#[cfg(test)]
mod tests;
