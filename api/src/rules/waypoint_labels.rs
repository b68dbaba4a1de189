//! The labels that say which waypoint serves a Service or the Services of a Namespace.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::prelude::*;
use crate::core::{ObjectMeta, USE_WAYPOINT, USE_WAYPOINT_NAMESPACE};
use crate::fields::resembles;
use crate::name::{Name, is_dns_name, is_namespace};
use crate::reach::Target;

/// Other labels of Istio that look like them and are something else.
const OTHERS: [&str; 2] = ["istio.io/ingress-use-waypoint", "istio.io/waypoint-for"];

/// A label that would be one of the two if it were spelt right.
fn misspelt(key: &str) -> Option<&'static str> {
    let known = [USE_WAYPOINT, USE_WAYPOINT_NAMESPACE];
    if known.contains(&key) || OTHERS.contains(&key) {
        return None;
    }
    let name = |label: &'static str| label.rsplit('/').next().unwrap_or(label);
    let bare = key.rsplit('/').next().unwrap_or(key);
    known.into_iter().find(|label| resembles(key, label) || resembles(bare, name(label)))
}

/// What is wrong with the two labels in `metadata`.
pub fn validate(metadata: &ObjectMeta) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, value) in metadata.labels.iter().flatten() {
        let field = format!("metadata.labels.{key}");
        if let Some(meant) = misspelt(key) {
            problems.push(Problem::error(field, format!("no label that anything acts on; did you mean {meant}?")));
        } else if key == USE_WAYPOINT && !is_dns_name(value) {
            problems.push(Problem::error(field, format!("{value:?} names no Gateway; write the name of one, or none")));
        } else if key == USE_WAYPOINT_NAMESPACE && !is_namespace(value) {
            problems.push(Problem::error(field, format!("{value:?} is not the name of a namespace")));
        }
    }
    for key in metadata.annotations.iter().flatten().map(|(key, _)| key) {
        if [USE_WAYPOINT, USE_WAYPOINT_NAMESPACE].contains(&key.as_str()) || misspelt(key).is_some() {
            let field = format!("metadata.annotations.{key}");
            problems.push(Problem::error(field, "is a label: as an annotation nothing acts on it; move it to labels"));
        }
    }
    problems
}

/// The Gateway that the labels ask for, none if they ask for none. `home` is the namespace of a Gateway that is
/// named without one.
pub fn reach<T: DeserializeOwned>(raw: &Raw<'_>, home: &str) -> Reach {
    let annotations = raw.document.get("metadata").and_then(|metadata| metadata.get("annotations"));
    let among_annotations = match annotations {
        None | Some(Value::Null) => false,
        Some(Value::Object(map)) => map.keys().any(|key| key == USE_WAYPOINT || misspelt(key).is_some()),
        Some(_) => true,
    };
    match raw.labels::<T>() {
        Ok(_) if among_annotations => Reach::Unknown,
        Ok(None) => Reach::Known(Vec::new()),
        Ok(Some(labels)) => asked(labels, home).map_or(Reach::Unknown, Reach::Known),
        Err(()) => Reach::Unknown,
    }
}

/// None if it cannot be told.
fn asked(labels: &Map<String, Value>, home: &str) -> Option<Vec<Target>> {
    // A label is text; a mapping or list in its place may hold the one that is meant.
    if labels.iter().any(|(key, value)| misspelt(key).is_some() || value.is_object() || value.is_array()) {
        return None;
    }
    let namespace = match labels.get(USE_WAYPOINT_NAMESPACE) {
        None => home,
        Some(namespace) => namespace.as_str().filter(|text| is_namespace(text))?,
    };
    let Some(waypoint) = labels.get(USE_WAYPOINT) else { return Some(Vec::new()) };
    match waypoint.as_str().filter(|text| is_dns_name(text))? {
        "none" => Some(Vec::new()),
        waypoint => Some(vec![Target::of(Kind::Gateway, Name::new(namespace, waypoint))]),
    }
}
