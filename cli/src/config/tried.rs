//! What an API server would make of a manifest that is applied, as `kubectl apply` does it; nothing is kept.

use anyhow::Context as _;
use api::{Object, ObjectRef};
use kubernetes::client::Client;
use serde_json::Value;

use crate::ask::encode;
use crate::cluster::list_path;

/// Where `kubectl apply` notes what it applied last, to know which fields are gone from a manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// As whom `kubectl apply --server-side` writes.
const KUBECTL: &str = "kubectl";

/// The object that the manifest `manifest` of `name` would become; none where it would stay as it is.
///
/// # Errors
/// When the API server would refuse it, or does not say, or we would not take it.
pub async fn object(client: &Client, name: &ObjectRef, manifest: &Value) -> anyhow::Result<Option<Object>> {
    let path = path(name, manifest["apiVersion"].as_str().unwrap_or_default());
    let stored = match client.get(&path).await {
        Ok(stored) => Some(stored),
        Err(refusal) if refusal.is_absence() => None,
        Err(refusal) => return Err(refusal).with_context(|| format!("reading {name}")),
    };
    let last = stored.as_ref().and_then(|stored| stored["metadata"]["annotations"][LAST_APPLIED].as_str());
    let would_be = match last.and_then(|last| serde_json::from_str(last).ok()) {
        Some(last) => client.try_merge(&path, &merged(&last, manifest)).await,
        None => client.try_apply(&path, manifest, stored.as_ref().and_then(applied_by).unwrap_or(KUBECTL)).await,
    };
    let would_be = would_be.with_context(|| format!("{name} would be refused"))?;
    if stored.is_some_and(|stored| as_written(stored) == as_written(would_be.clone())) {
        return Ok(None);
    }
    let admission = api::admit(&would_be);
    let why = admission.problems.first().map(ToString::to_string).unwrap_or_default();
    let object = admission.object.clone().filter(|_| !admission.rejected());
    Ok(Some(object.with_context(|| format!("{name} would not be valid: {why}"))?))
}

fn path(name: &ObjectRef, version: &str) -> String {
    format!("{}/{}", list_path(name.kind, version, &name.name.namespace), encode(&name.name.name))
}

/// A patch that makes of what was applied `last` what is written `now`: what is gone from it is taken away, what others
/// have added stays.
fn merged(last: &Value, now: &Value) -> Value {
    let (Value::Object(last), Value::Object(now)) = (last, now) else { return now.clone() };
    let mut patch = serde_json::Map::new();
    patch.extend(last.keys().filter(|key| !now.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
    patch.extend(now.iter().map(|(key, now)| {
        let last = last.get(key).unwrap_or(&Value::Null);
        (key.clone(), merged(last, now))
    }));
    Value::Object(patch)
}

/// Who has applied an object on the API server's side; of several, whoever is named first.
fn applied_by(stored: &Value) -> Option<&str> {
    let managers = stored["metadata"]["managedFields"].as_array()?;
    managers.iter().find(|one| one["operation"] == "Apply")?["manager"].as_str()
}

/// An object without what an API server, or a command, writes into it by itself.
fn as_written(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    let Some(metadata) = metadata else { return object };
    metadata.retain(|field, _| matches!(field.as_str(), "name" | "namespace" | "labels" | "annotations"));
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    metadata.retain(|_, value| value.as_object().is_none_or(|entries| !entries.is_empty()));
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_gone_from_a_manifest_is_taken_away_and_what_others_have_added_stays() {
        let last = json!({"spec": {"options": {"extauth": {"a": 1}, "timeout": "1s"}, "list": [1, 2]}, "kind": "K"});
        let now = json!({"spec": {"options": {"timeout": "2s"}, "list": [2]}, "kind": "K"});
        let patch = json!({"spec": {"options": {"extauth": null, "timeout": "2s"}, "list": [2]}, "kind": "K"});
        assert_eq!(merged(&last, &now), patch);
        assert_eq!(merged(&json!({"a": 5}), &json!({"a": {"b": 1}})), json!({"a": {"b": 1}}));
        assert_eq!(merged(&json!({"a": {"b": 1}}), &json!({"a": 5})), json!({"a": 5}));
    }

    #[test]
    fn only_what_people_write_makes_a_difference() {
        let one = json!({"metadata": {"name": "a", "uid": "1", "generation": 1, "annotations": {LAST_APPLIED: "{}"}},
            "spec": {"x": 1}, "status": {"y": 1}});
        let other = json!({"metadata": {"name": "a", "uid": "2", "managedFields": []}, "spec": {"x": 1}});
        assert_eq!(as_written(one.clone()), as_written(other.clone()));
        for (at, value) in [("/spec/x", json!(2)), ("/metadata/name", json!("b"))] {
            let mut another = other.clone();
            *another.pointer_mut(at).unwrap() = value;
            assert_ne!(as_written(one.clone()), as_written(another), "{at}");
        }
    }

    #[test]
    fn an_object_is_where_its_version_and_namespace_say() {
        let namespace = ObjectRef::new(api::Kind::Namespace, "", "t");
        assert_eq!(path(&namespace, "v1"), "/api/v1/namespaces/t");
        let route = ObjectRef::new(api::Kind::HttpRoute, "t", "a");
        let version = "gateway.networking.k8s.io/v1";
        assert_eq!(path(&route, version), format!("/apis/{version}/namespaces/t/httproutes/a"));
    }
}
