//! `RouteOption`: what happens to requests of a route besides being routed.

use serde::{Deserialize, Serialize};

use crate::object::Resource;
use crate::problem::Problem;

/// `gateway.solo.io/v1` RouteOption.
pub type RouteOption = Resource<RouteOptionSpec>;

/// The `spec` of a RouteOption.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteOptionSpec {
    /// What to do.
    #[serde(default)]
    pub options: serde_json::Value,
}

/// What is wrong with `object` taken by itself.
pub fn validate(_object: &RouteOption) -> Vec<Problem> {
    Vec::new()
}
