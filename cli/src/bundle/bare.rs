//! An object without what may be a secret. Pure: numbers, yes and no, and names of fields stay; of texts those that stand
//! under a name of which it is known what stands there. Whatever else there is, such as a kind that comes tomorrow, is left
//! out.

use serde_json::{Map, Value};

/// Stands in place of a text.
pub const LEFT_OUT: &str = "(left out)";

/// Under these names there are names, kinds, states and places, and nothing that gives access to anything.
const KNOWN: &[&str] = &[
    "action",
    "address",
    "addressType",
    "addresses",
    "apiVersion",
    "appProtocol",
    "clusterIP",
    "clusterIPs",
    "component",
    "controllerName",
    "creationTimestamp",
    "deletionTimestamp",
    "eventTime",
    "expression",
    "externalName",
    "finalizers",
    "firstTimestamp",
    "from",
    "gatewayClassName",
    "group",
    "headerName",
    "holderIdentity",
    "hostIP",
    "hostname",
    "hostnames",
    "image",
    "imageID",
    "ipFamilies",
    "ipFamilyPolicy",
    "kind",
    "labelSelector",
    "labels",
    "lastTimestamp",
    "lastTransitionTime",
    "lastUpdateTime",
    "matchLabels",
    "message",
    "method",
    "mode",
    "name",
    "namespace",
    "nodeName",
    "phase",
    "podIP",
    "podIPs",
    "port",
    "protocol",
    "reason",
    "renewTime",
    "reportedBy",
    "reportingComponent",
    "requests",
    "limits",
    "resourceVersion",
    "sectionName",
    "selector",
    "serviceAccountName",
    "startTime",
    "startedAt",
    "finishedAt",
    "state",
    "status",
    "targetPort",
    "timeout",
    "type",
    "uid",
    "unit",
];

/// Under these of them stand maps of such texts; under the others a text, or several.
const MAPS: [&str; 6] = ["labelSelector", "labels", "limits", "matchLabels", "requests", "selector"];

/// Of an object these are said twice, or by others in words of their own.
const NOT_TAKEN: [&str; 2] = ["managedFields", "annotations"];

/// `object`, bare.
pub fn object(object: &Value) -> Value {
    without(object, false)
}

/// `known`: whether it is known what texts are here.
fn without(value: &Value, known: bool) -> Value {
    match value {
        Value::String(text) if !known && !text.is_empty() => LEFT_OUT.into(),
        Value::Array(all) => all.iter().map(|one| without(one, known && one.is_string())).collect(),
        Value::Object(map) => {
            map.iter().filter_map(|(key, value)| field(key, value, known)).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

fn field(key: &str, value: &Value, known: bool) -> Option<(String, Value)> {
    if NOT_TAKEN.contains(&key) {
        return None;
    }
    // A map that is none of those, or holds others than texts, is looked at field by field.
    let is_plain = value.as_object().is_none_or(|map| MAPS.contains(&key) && map.values().all(Value::is_string));
    let known = (KNOWN.contains(&key) && is_plain) || (known && value.is_string());
    Some((key.to_owned(), without(value, known)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_texts_only_those_stay_of_which_it_is_known_what_they_are() {
        let known = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"team": "x"}, "generation": 3},
            "spec": {"containers": [{"name": "a", "image": "i", "env": [{"name": "REDIS_URL"}]}],
                     "selector": {"matchLabels": {"a": "b"}}, "clusterIPs": ["10.0.0.1"]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "message": "m"}]},
        });
        assert_eq!(object(&known), known);
        let secrets = json!({
            "metadata": {"annotations": {"a": "canary"}, "managedFields": ["canary"]},
            "data": {"key": "canary"}, "stringData": {"name2": "canary"},
            "spec": {
                "containers": [{"args": ["--redis=canary"], "command": ["canary"], "env": [{"name": "A", "value": "canary"}]}],
                "options": {"headerManipulation": {"requestHeadersToAdd": [{"header": {"key": "a", "value": "canary"}}]}},
                "configs": [{"oauth2": {"clientSecret": "canary"}, "basicAuth": {"apr": {"users": {"ann": {"salt": "canary"}}}}}],
                "unknown": {"labels": {"deep": {"anything": "canary"}}, "name": {"value": "canary"}, "state": [{"x": "canary"}]},
            },
        });
        let bare = object(&secrets).to_string();
        assert!(!bare.contains("canary"), "{bare}");
        assert!(bare.contains("clientSecret") && bare.contains(LEFT_OUT), "{bare}");
    }

    proptest::proptest! {
        /// Whatever field a text stands in that is none of those that are known.
        #[test]
        fn a_text_in_an_unknown_field_is_never_shown(path in proptest::collection::vec("[a-zA-Z]{1,12}", 1..5)) {
            let unknown = |name: &String| !KNOWN.contains(&name.as_str());
            proptest::prop_assume!(path.iter().all(unknown));
            let value = path.iter().rev().fold(json!("canary"), |inner, name| json!({name: inner}));
            proptest::prop_assert!(!object(&value).to_string().contains("canary"));
            let value = path.iter().rev().fold(json!(["canary"]), |inner, name| json!([{name: inner}]));
            proptest::prop_assert!(!object(&value).to_string().contains("canary"));
        }
    }
}
