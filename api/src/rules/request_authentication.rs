//! RequestAuthentication: governs what its `targetRefs` name; without any it is for workloads, and no waypoint heeds it.

use serde_json::Value;

use super::callers;
use super::prelude::*;
use crate::istio::RequestAuthentication;
pub use crate::istio::request_authentication::validate;

pub(crate) fn decode(document: &Value) -> (Option<RequestAuthentication>, Vec<Problem>) {
    callers::decode(document, "jwtRules")
}

/// Whatever namespace is written, only what is of its own is governed.
pub fn reach(raw: &Raw<'_>) -> Reach {
    callers::reach::<RequestAuthentication>(raw)
}
