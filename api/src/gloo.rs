//! Gloo's kinds: `RouteOption`, `AuthConfig`, `RateLimitConfig`.
//!
//! They are protobuf messages written as JSON, so every field is accepted in
//! camelCase and in snake_case, enums by name and by number, durations as
//! `"1.5s"`; see [`crate::proto_json`].

pub mod auth_config;
pub mod rate_limit_config;
pub mod route_option;

use serde::{Deserialize, Serialize};

pub use auth_config::AuthConfig;
pub use rate_limit_config::RateLimitConfig;
pub use route_option::RouteOption;

use crate::name::Name;

/// Gloo's `core.solo.io.ResourceRef`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRef {
    /// Name of the object.
    pub name: String,
    /// Its namespace; empty means that of the object that refers to it.
    #[serde(default)]
    pub namespace: String,
}

impl ResourceRef {
    /// The object that an object in `namespace` refers to by this.
    pub fn resolve(&self, namespace: &str) -> Name {
        Name::new(if self.namespace.is_empty() { namespace } else { &self.namespace }, &self.name)
    }
}
