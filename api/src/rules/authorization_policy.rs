//! AuthorizationPolicy: governs what its `targetRefs` name; without any it is for workloads.

use serde_json::Value;

use super::prelude::*;
use crate::fields::resembles;
use crate::istio::AuthorizationPolicy;
pub use crate::istio::authorization_policy::validate;

/// Elsewhere a field without a value, or a list without entries, is one that is left out. Here a rule that was to be for few would be for all.
pub(crate) fn decode(document: &Value) -> (Option<AuthorizationPolicy>, Vec<Problem>) {
    let (decoded, mut problems) = crate::decode::rejecting(document);
    if let Some(spec) = document.get("spec") {
        without_value("spec", spec, &mut problems);
    }
    (decoded, problems)
}

fn without_value(field: &str, value: &Value, problems: &mut Vec<Problem>) {
    match value {
        Value::Null => problems.push(Problem::error(field, "has no value; write one, or take it out")),
        Value::Array(items) if items.is_empty() && (field == "spec.targetRefs" || field.starts_with("spec.rules[")) => {
            problems.push(Problem::error(field, "empty; write at least one entry, or take it out"));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| without_value(&format!("{field}[{at}]"), item, problems));
        }
        Value::Object(map) => {
            map.iter().for_each(|(key, item)| without_value(&format!("{field}.{key}"), item, problems))
        }
        _ => {}
    }
}

/// Whatever namespace is written, only what is of its own is governed.
pub fn reach(raw: &Raw<'_>) -> Reach {
    let kinds = &[Kind::Service, Kind::Gateway, Kind::GatewayClass];
    match raw.references::<AuthorizationPolicy>("targetRefs", kinds, None) {
        // Written, and naming nothing.
        Reach::Known(targets) if targets.is_empty() && names_targets(raw) => Reach::Unknown,
        Reach::Known(mut targets) => {
            for target in &mut targets {
                let namespaced = target.kind != Kind::GatewayClass.as_str();
                target.name.namespace = if namespaced { raw.name.namespace.clone() } else { String::new() };
            }
            Reach::Known(targets)
        }
        Reach::Unknown => Reach::Unknown,
    }
}

fn names_targets(raw: &Raw<'_>) -> bool {
    let spec = raw.document.get("spec").and_then(Value::as_object);
    spec.is_some_and(|spec| spec.keys().any(|key| resembles(key, "targetRefs")))
}
