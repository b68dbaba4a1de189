//! `RouteOption`: what happens to requests of a route besides being routed.
//!
//! Every option Gloo has is known here by name: those in [`RouteOptions`] work,
//! those that do not work are refused by name ([`options_by_name`]), and anything else is a
//! spelling mistake.

pub mod basic;
pub mod options;
pub mod options_by_name;
mod validate;

use serde::{Deserialize, Serialize};

pub use options::{
    Abort, BackOff, ConfigRef, Cors, Delay, ExtAuth, Faults, HeaderAppend, HeaderManipulation, HeaderValue,
    RateLimitConfigs, RatelimitBasic, Retries,
};
pub use options_by_name::RouteOptions;
pub use validate::validate;

use crate::name::Name;
use crate::resource::Resource;

/// `gateway.solo.io/v1` RouteOption.
pub type RouteOption = Resource<RouteOptionSpec>;

/// The `spec` of a RouteOption.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct RouteOptionSpec {
    /// The routes it governs; those that name it in an `ExtensionRef` filter need no entry here.
    #[serde(default, alias = "target_refs", skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<TargetRef>,
    /// What to do.
    #[serde(default)]
    pub options: RouteOptions,
    /// What Gloo's controllers write; read and ignored, because exported manifests hold it.
    #[serde(default, alias = "namespaced_statuses", skip_serializing)]
    pub namespaced_statuses: Option<serde_json::Value>,
}

/// The first entry of every descriptor of the `ratelimitBasic` of the RouteOption `name`, as a `generic_key`.
///
/// Neither a namespace nor the id of a RateLimitConfig has an underscore before
/// its first dot, so the text names one object only.
pub fn basic_id(name: &Name) -> String {
    format!("{}_{}", name.namespace, name.name)
}

/// One route that a RouteOption governs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// `gateway.networking.k8s.io`.
    #[serde(default)]
    pub group: String,
    /// `HTTPRoute`.
    #[serde(default)]
    pub kind: String,
    /// Name of the route.
    pub name: String,
    /// Its namespace; only the RouteOption's own is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of one rule of the route; all of them without it.
    #[serde(default, alias = "section_name", skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

#[cfg(test)]
mod tests;
