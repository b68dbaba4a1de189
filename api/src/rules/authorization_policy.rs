//! AuthorizationPolicy: governs what its `targetRefs` name; without any it is for workloads.

use serde_json::Value;

use super::callers;
use super::prelude::*;
use crate::istio::AuthorizationPolicy;
pub use crate::istio::authorization_policy::validate;

pub(crate) fn decode(document: &Value) -> (Option<AuthorizationPolicy>, Vec<Problem>) {
    callers::decode(document, "rules")
}

/// Whatever namespace is written, only what is of its own is governed.
pub fn reach(raw: &Raw<'_>) -> Reach {
    callers::reach::<AuthorizationPolicy>(raw)
}
