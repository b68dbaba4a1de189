//! What AuthorizationPolicy and RequestAuthentication have in common: they govern what their `targetRefs` name; without any
//! they are for workloads.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::prelude::*;
use crate::fields::resembles;

/// Elsewhere a field without a value, or a list without entries, is one that is left out. Here a rule that was to be for few
/// would be for all. `rules` is the list of them.
pub(crate) fn decode<T: DeserializeOwned>(document: &Value, rules: &str) -> (Option<T>, Vec<Problem>) {
    let (decoded, mut problems) = crate::decode::rejecting(document);
    if let Some(spec) = document.get("spec") {
        without_value("spec", spec, &format!("spec.{rules}["), &mut problems);
    }
    (decoded, problems)
}

fn without_value(field: &str, value: &Value, rules: &str, problems: &mut Vec<Problem>) {
    match value {
        Value::Null => problems.push(Problem::error(field, "has no value; write one, or take it out")),
        Value::Array(items) if items.is_empty() && (field == "spec.targetRefs" || field.starts_with(rules)) => {
            problems.push(Problem::error(field, "empty; write at least one entry, or take it out"));
        }
        Value::Array(items) => {
            let each = items.iter().enumerate();
            each.for_each(|(at, item)| without_value(&format!("{field}[{at}]"), item, rules, problems));
        }
        Value::Object(map) => {
            map.iter().for_each(|(key, item)| without_value(&format!("{field}.{key}"), item, rules, problems))
        }
        _ => {}
    }
}

/// Whatever namespace is written, only what is of its own is governed.
pub(crate) fn reach<T: DeserializeOwned>(raw: &Raw<'_>) -> Reach {
    let kinds = &[Kind::Service, Kind::Gateway, Kind::GatewayClass];
    match raw.references::<T>("targetRefs", kinds, None) {
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
