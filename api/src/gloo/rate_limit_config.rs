//! `RateLimitConfig`: which requests are counted, and how many may pass.

use serde::{Deserialize, Serialize};

use crate::object::Resource;
use crate::problem::Problem;

/// `ratelimit.solo.io/v1alpha1` RateLimitConfig.
pub type RateLimitConfig = Resource<RateLimitConfigSpec>;

/// The `spec` of a RateLimitConfig.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitConfigSpec {
    /// The rules and the actions that feed them.
    pub raw: serde_json::Value,
}

/// What is wrong with `object` taken by itself.
pub fn validate(_object: &RateLimitConfig) -> Vec<Problem> {
    Vec::new()
}
