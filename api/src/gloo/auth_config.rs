//! `AuthConfig`: how a request proves who sends it.

use serde::{Deserialize, Serialize};

use crate::object::Resource;
use crate::problem::Problem;

/// `enterprise.gloo.solo.io/v1` (and `extauth.solo.io/v1`) AuthConfig.
pub type AuthConfig = Resource<AuthConfigSpec>;

/// The `spec` of an AuthConfig.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthConfigSpec {
    /// Steps, all of which must pass unless `booleanExpr` says otherwise.
    pub configs: Vec<serde_json::Value>,
}

/// What is wrong with `object` taken by itself.
pub fn validate(_object: &AuthConfig) -> Vec<Problem> {
    Vec::new()
}
