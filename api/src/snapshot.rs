//! Everything that is declared, at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::{ConfigMap, Deployment, EndpointSlice, Namespace, Pod, Service, ServiceAccount};
use crate::gateway::{Gateway, GatewayClass, HttpRoute, ReferenceGrant};
use crate::gloo::{AuthConfig, RateLimitConfig, RouteOption};
use crate::object::{Name, Object, ObjectRef};
use crate::problem::Problem;
use crate::secret::Secret;

/// The objects of one kind by namespace and name.
pub type Table<T> = BTreeMap<Name, Arc<T>>;

/// An object that could not be admitted and has no earlier good version.
///
/// It is kept so that what it would have governed can be refused rather than
/// served as if it had never been written.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// What could be read of it, with the offending fields left out.
    pub partial: Option<Object>,
}

/// An immutable view of all declared objects: the input of every compile and translate step.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Counts up by one with every snapshot a provider publishes; the first is 1.
    pub revision: u64,
    /// Namespaces, by a [`Name`] with empty namespace.
    pub namespaces: Table<Namespace>,
    /// Services, each with at least one entry in `spec.clusterIPs` unless headless.
    pub services: Table<Service>,
    /// Endpoints of Services.
    pub endpoint_slices: Table<EndpointSlice>,
    /// Pods; `status.podIP` ties a source address to an identity.
    pub pods: Table<Pod>,
    /// Service accounts.
    pub service_accounts: Table<ServiceAccount>,
    /// Deployments; read so that manifests may hold them, nothing is started from them.
    pub deployments: Table<Deployment>,
    /// Config maps.
    pub config_maps: Table<ConfigMap>,
    /// Secrets.
    pub secrets: Table<Secret>,
    /// Gateway classes, by a [`Name`] with empty namespace.
    pub gateway_classes: Table<GatewayClass>,
    /// Gateways.
    pub gateways: Table<Gateway>,
    /// HTTP routes.
    pub http_routes: Table<HttpRoute>,
    /// Reference grants.
    pub reference_grants: Table<ReferenceGrant>,
    /// Gloo route options.
    pub route_options: Table<RouteOption>,
    /// Gloo auth configs.
    pub auth_configs: Table<AuthConfig>,
    /// Gloo rate-limit configs.
    pub rate_limit_configs: Table<RateLimitConfig>,
    /// Objects that were never admitted; an object is either here or in its table.
    pub broken: BTreeMap<ObjectRef, Broken>,
}

impl Snapshot {
    /// Adds an object to its table, replacing one of the same name.
    pub fn insert(&mut self, object: Object) {
        let name = object.reference().name;
        match object {
            Object::Namespace(o) => drop(self.namespaces.insert(name, o)),
            Object::Service(o) => drop(self.services.insert(name, o)),
            Object::EndpointSlice(o) => drop(self.endpoint_slices.insert(name, o)),
            Object::Pod(o) => drop(self.pods.insert(name, o)),
            Object::ServiceAccount(o) => drop(self.service_accounts.insert(name, o)),
            Object::Deployment(o) => drop(self.deployments.insert(name, o)),
            Object::ConfigMap(o) => drop(self.config_maps.insert(name, o)),
            Object::Secret(o) => drop(self.secrets.insert(name, o)),
            Object::GatewayClass(o) => drop(self.gateway_classes.insert(name, o)),
            Object::Gateway(o) => drop(self.gateways.insert(name, o)),
            Object::HttpRoute(o) => drop(self.http_routes.insert(name, o)),
            Object::ReferenceGrant(o) => drop(self.reference_grants.insert(name, o)),
            Object::RouteOption(o) => drop(self.route_options.insert(name, o)),
            Object::AuthConfig(o) => drop(self.auth_configs.insert(name, o)),
            Object::RateLimitConfig(o) => drop(self.rate_limit_configs.insert(name, o)),
        }
    }
}
