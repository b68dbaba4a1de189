//! RouteOption: governs the routes in its `targetRefs`, and those that name it in an `ExtensionRef`.

use serde_json::{Map, Value};

use super::prelude::*;
pub(crate) use crate::decode::rejecting as decode;
use crate::fields::resembles;
use crate::gloo::RouteOption;
pub use crate::gloo::route_option::validate;

/// A Service or a Gateway cannot be a target. Named as one, it is what the author wants governed.
pub fn reach(raw: &Raw<'_>) -> Reach {
    // What dropped its options may have dropped its targets.
    if is_emptied(raw.document) {
        return Reach::Unknown;
    }
    match raw.references::<RouteOption>(
        "targetRefs",
        &[Kind::HttpRoute, Kind::GrpcRoute, Kind::Service, Kind::Gateway],
        None,
    ) {
        // Only routes of its own namespace are governed, whatever namespace is written.
        Reach::Known(mut targets) => {
            for target in &mut targets {
                target.name.namespace.clone_from(&raw.name.namespace);
            }
            Reach::Known(targets)
        }
        Reach::Unknown => Reach::Unknown,
    }
}

/// Whether it names no target, and has no options or an empty one.
fn is_emptied(document: &Map<String, Value>) -> bool {
    let Some(spec) = document.get("spec").and_then(Value::as_object) else { return false };
    let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    let emptied = match spec.get("options") {
        None | Some(Value::Null) => true,
        Some(Value::Object(options)) => options.is_empty() || options.values().any(is_empty),
        Some(_) => false,
    };
    emptied && !spec.keys().any(|key| resembles(key, "targetRefs"))
}
