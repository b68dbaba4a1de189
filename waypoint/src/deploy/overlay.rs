//! Strategic merge patches, as `kubectl patch` has them, over objects as they are to be. Pure.
//!
//! Maps are merged key by key, and null takes a key away. Items of those lists in which Kubernetes tells items apart by one of
//! their fields are merged with the item that has the same there, or stand after the others; all other lists are replaced.
//! `$patch: delete` takes an item or a map away, `$patch: replace` puts it in place of what was there.

use serde_json::{Map, Value};

/// How a patch says what is to become of a map.
const DIRECTIVE: &str = "$patch";

/// By which field items of the list `name` are told apart, where `within` is the field that holds the map with the list.
fn told_apart_by(within: &str, name: &str) -> Option<&'static str> {
    Some(match name {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" | "secrets" => "name",
        "ports" if within == "spec" => "port",
        "ports" => "containerPort",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        _ => return None,
    })
}

/// Merges `patch` into `base`.
///
/// # Errors
/// Which field of the patch cannot be merged, and why.
pub fn merge(base: &mut Value, patch: &Value) -> Result<(), String> {
    map(base, patch, "", "").map(drop)
}

/// Whether the map is to stay.
fn map(base: &mut Value, patch: &Value, within: &str, at: &str) -> Result<bool, String> {
    let Value::Object(patch) = patch else { return Err(format!("{}: write a mapping", shown(at))) };
    let mut patch = patch.clone();
    match patch.remove(DIRECTIVE).as_ref().map(Value::as_str) {
        None => {}
        Some(Some("delete")) => return Ok(false),
        Some(Some("replace")) => *base = Map::new().into(),
        Some(Some("merge")) => {}
        Some(_) => return Err(format!("{}: {DIRECTIVE} is delete, replace or merge", shown(at))),
    }
    if !base.is_object() {
        *base = Map::new().into();
    }
    let Some(fields) = base.as_object_mut() else { return Ok(true) };
    for (name, value) in patch {
        let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        if name.starts_with('$') {
            return Err(format!("{at}: of directives only {DIRECTIVE} is known"));
        }
        match &value {
            Value::Null => drop(fields.remove(&name)),
            Value::Object(_) => {
                let mut there = fields.remove(&name).unwrap_or_else(|| Map::new().into());
                if map(&mut there, &value, &name, &at)? {
                    fields.insert(name, there);
                }
            }
            Value::Array(items) => match told_apart_by(within, &name) {
                None => drop(fields.insert(name, value)),
                Some(key) => list(
                    fields.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new())),
                    items,
                    key,
                    &name,
                    &at,
                )?,
            },
            _ => drop(fields.insert(name, value)),
        }
    }
    Ok(true)
}

fn list(base: &mut Value, items: &[Value], key: &str, name: &str, at: &str) -> Result<(), String> {
    if !base.is_array() {
        *base = Value::Array(Vec::new());
    }
    let Some(there) = base.as_array_mut() else { return Ok(()) };
    for (number, item) in items.iter().enumerate() {
        let at = format!("{at}[{number}]");
        let Some(wanted) = item.get(key).filter(|wanted| !wanted.is_null()) else {
            return Err(format!("{at}: write {key}, which tells it from the others"));
        };
        match there.iter().position(|one| one.get(key) == Some(wanted)) {
            Some(place) => {
                if !map(&mut there[place], item, name, &at)? {
                    there.remove(place);
                }
            }
            None => {
                let mut new = Map::new().into();
                if map(&mut new, item, name, &at)? {
                    there.push(new);
                }
            }
        }
    }
    Ok(())
}

fn shown(at: &str) -> &str {
    if at.is_empty() { "all of it" } else { at }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut base: Value, patch: Value) -> Result<Value, String> {
        merge(&mut base, &patch).map(|()| base)
    }

    #[test]
    fn maps_are_merged_items_found_by_their_key_and_other_lists_replaced() {
        let base = json!({"spec": {"template": {"spec": {
            "containers": [{"name": "waypoint", "args": ["a"], "env": [{"name": "A", "value": "1"}],
                            "ports": [{"containerPort": 1, "name": "x"}], "image": "i"}],
            "nodeSelector": {"a": "b"}, "tolerations": [{"key": "old"}],
        }}}});
        let patch = json!({"spec": {"template": {"spec": {
            "containers": [
                {"name": "waypoint", "image": "j", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}],
                 "ports": [{"containerPort": 1, "name": "y"}, {"containerPort": 2}]},
                {"name": "beside", "image": "k"},
            ],
            "nodeSelector": {"a": null, "c": "d"}, "tolerations": [{"key": "new"}], "priorityClassName": "high",
        }}}});
        let wanted = json!({"spec": {"template": {"spec": {
            "containers": [
                {"name": "waypoint", "args": ["a"], "env": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}],
                 "ports": [{"containerPort": 1, "name": "y"}, {"containerPort": 2}], "image": "j"},
                {"name": "beside", "image": "k"},
            ],
            "nodeSelector": {"c": "d"}, "tolerations": [{"key": "new"}], "priorityClassName": "high",
        }}}});
        assert_eq!(merged(base, patch), Ok(wanted));
        let service = json!({"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81}]}});
        let patch = json!({"spec": {"ports": [{"port": 80, "nodePort": 30080}]}});
        let wanted = json!({"spec": {"ports": [{"port": 80, "name": "a", "nodePort": 30080}, {"port": 81}]}});
        assert_eq!(merged(service, patch), Ok(wanted));
    }

    #[test]
    fn something_is_taken_away_or_replaced_where_that_is_said() {
        let base = json!({"spec": {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b"}], "strategy": {"type": "x", "y": 1}}});
        let patch = json!({"spec": {
            "volumes": [{"name": "a", "$patch": "delete"}, {"name": "gone", "$patch": "delete"}],
            "strategy": {"$patch": "replace", "type": "Recreate"},
        }});
        let wanted = json!({"spec": {"volumes": [{"name": "b"}], "strategy": {"type": "Recreate"}}});
        assert_eq!(merged(base.clone(), patch), Ok(wanted));
        assert_eq!(
            merged(base, json!({"spec": {"strategy": {"$patch": "delete"}, "volumes": null}})),
            Ok(json!({"spec": {}}))
        );
    }

    #[test]
    fn what_cannot_be_merged_is_named() {
        let base = || json!({"spec": {"containers": [{"name": "a"}], "text": "x"}});
        for (patch, said) in [
            (json!([]), "all of it: write a mapping"),
            (json!({"spec": {"containers": [{"image": "x"}]}}), "spec.containers[0]: write name"),
            (json!({"spec": {"containers": ["x"]}}), "spec.containers[0]: write name"),
            (json!({"spec": {"$patch": "remove"}}), "spec: $patch is delete, replace or merge"),
            (json!({"spec": {"$retainKeys": ["a"]}}), "spec.$retainKeys: of directives"),
        ] {
            let why = merged(base(), patch.clone()).expect_err("a mistake");
            assert!(why.starts_with(said), "{patch}: {why}");
        }
        assert_eq!(
            merged(base(), json!({"spec": {"text": {"a": 1}}})).expect("a map")["spec"]["text"],
            json!({"a": 1})
        );
    }
}
