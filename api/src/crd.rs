//! The definitions by which an API server learns of Gloo's kinds, made from what is known of the types.
//!
//! An API server that has them checks little and drops nothing: what is written arrives as it was
//! written, in camelCase or snake_case, and admission names every mistake as it does in a folder.
//! `cargo run -p waykeeper-api --example crds` writes them to `deploy/crds`, and policies that find misspelt fields
//! when an object is applied ([`policy`]) to `deploy/admission`.

pub mod policy;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::fields::{Step, known};
use crate::gloo::{AuthConfig, RateLimitConfig, RouteOption};
use crate::object::{Kind, group_of};

/// Keeps what no schema names; it holds for its own level alone.
const KEEP: &str = "x-kubernetes-preserve-unknown-fields";
/// How many fields deep a schema tells of.
const DEPTH: usize = 8;
/// How many times a type that holds itself is told.
const WITHIN_ITSELF: usize = 3;

/// A kind as Gloo calls it.
struct Definition {
    kind: Kind,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    /// Shown by `kubectl get`: name, JSONPath.
    columns: &'static [(&'static str, &'static str)],
    spec: fn() -> Value,
    about: &'static str,
}

const DEFINITIONS: [Definition; 3] = [
    Definition {
        kind: Kind::RouteOption,
        short: &["rto", "rtopts", "grto"],
        categories: &["gloo-gateway"],
        columns: &[("Targets", ".spec.targetRefs[*].name")],
        spec: spec::<RouteOption>,
        about: "What the routes it is attached to do beyond routing: authorization, rate limits, headers, timeouts.",
    },
    Definition {
        kind: Kind::AuthConfig,
        short: &["ac", "gac"],
        categories: &["solo-io", "gloo-gateway"],
        columns: &[("Steps", ".spec.configs[*].name")],
        spec: spec::<AuthConfig>,
        about: "How a request proves who sends it.",
    },
    Definition {
        kind: Kind::RateLimitConfig,
        short: &["rlc", "grlc"],
        categories: &["solo-io", "gloo-gateway"],
        columns: &[("State", ".status.state")],
        spec: spec::<RateLimitConfig>,
        about: "Which requests are counted, and how many may pass.",
    },
];

/// Each definition, by the name of its file: one for each API group under which a kind is read.
pub fn definitions() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for definition in &DEFINITIONS {
        for (number, version) in definition.kind.api_versions().iter().enumerate() {
            let crd = definition.under(version, number == 0);
            let name = crd["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            all.push((format!("{name}.yaml"), crd));
        }
    }
    all
}

impl Definition {
    fn under(&self, api_version: &str, preferred: bool) -> Value {
        let (group, version) = (group_of(api_version), api_version.rsplit('/').next().unwrap_or_default());
        let (kind, plural) = (self.kind.as_str(), self.kind.plural());
        let mut columns: Vec<Value> = Vec::new();
        for (name, path) in self.columns {
            columns.push(json!({"name": name, "type": "string", "jsonPath": path}));
        }
        columns.push(json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}));
        let mut names = json!({"kind": kind, "listKind": format!("{kind}List"), "plural": plural,
            "singular": kind.to_lowercase(), "categories": self.categories});
        // One of two would be meant by them, and nobody could tell which.
        if preferred {
            names["shortNames"] = self.short.into();
        }
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": names,
                "versions": [{
                    "name": version,
                    "served": true,
                    "storage": true,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "description": self.about,
                        KEEP: true,
                        "properties": {
                            "spec": (self.spec)(),
                            "status": {"type": "object", "description": "What became of it.", KEEP: true},
                        },
                    }},
                }],
            },
        })
    }
}

fn spec<T: DeserializeOwned>() -> Value {
    schema::<T>(&mut vec![Step::Key("spec".to_owned())], &mut Vec::new())
}

/// What is known of the value at `path`, inside of the types `outer`.
fn schema<T: DeserializeOwned>(path: &mut Vec<Step>, outer: &mut Vec<&'static [&'static str]>) -> Value {
    if let Some(fields) = known::<T>(path) {
        let mut node = json!({"type": "object", KEEP: true});
        let same = outer.iter().filter(|around| **around == fields).count();
        if outer.len() < DEPTH && same < WITHIN_ITSELF {
            outer.push(fields);
            let mut properties = Map::new();
            for field in fields.iter().filter(|field| !field.contains('_')) {
                path.push(Step::Key((*field).to_owned()));
                properties.insert((*field).to_owned(), schema::<T>(path, outer));
                path.pop();
            }
            outer.pop();
            if !properties.is_empty() {
                node["properties"] = Value::Object(properties);
            }
        }
        return node;
    }
    let mut each = |step: Step| {
        path.push(step);
        let each = known::<T>(path).is_some().then(|| schema::<T>(path, outer));
        path.pop();
        each
    };
    if let Some(items) = each(Step::Index(0)) {
        return json!({"type": "array", "items": items});
    }
    // A mapping takes any name.
    if let Some(values) = each(Step::Key("any".to_owned())) {
        return json!({"type": "object", "additionalProperties": values});
    }
    // A value of any type: a number may be written as a text, an enum by name or by number.
    json!({KEEP: true})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    #[test]
    fn the_files_are_what_is_generated() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/crds");
        let mut there: Vec<String> =
            std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        there.sort();
        let mut wanted: Vec<String> = definitions().into_iter().map(|(name, _)| name).collect();
        wanted.sort();
        assert_eq!(there, wanted);
        for (name, crd) in definitions() {
            let text = std::fs::read_to_string(folder.join(&name)).unwrap();
            let read: Value = serde_norway::from_str(&text).unwrap();
            assert_eq!(read, crd, "{name}: run `cargo run -p waykeeper-api --example crds`");
        }
    }

    /// Every object keeps what its schema does not name, at every level: dropping a field opens what it closed.
    #[test]
    fn nothing_is_dropped_at_any_level() {
        fn look(place: &str, node: &Value, seen: &mut usize) {
            *seen += 1;
            let each = node.get("items").or(node.get("additionalProperties"));
            match each {
                Some(each) => look(&format!("{place}[]"), each, seen),
                None => assert_eq!(node[KEEP], true, "{place}"),
            }
            for (name, field) in node["properties"].as_object().into_iter().flatten() {
                look(&format!("{place}.{name}"), field, seen);
            }
            assert!(node.get("required").is_none() && node.get("enum").is_none(), "{place}");
        }
        for (name, crd) in definitions() {
            let mut seen = 0;
            look(&name, &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut seen);
            assert!(seen > 10, "{name} tells of {seen} fields");
        }
    }

    #[test]
    fn fields_are_told_inside_of_lists_and_mappings_too() {
        let crds = definitions();
        let (_, crd) = crds.iter().find(|(name, _)| name == "authconfigs.enterprise.gloo.solo.io.yaml").unwrap();
        let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let key = &spec["properties"]["configs"]["items"]["properties"]["apiKeyAuth"]["properties"];
        assert!(key["headerName"].is_object() && key.get("header_name").is_none(), "{key}");
        let entry = &key["headersFromMetadataEntry"]["additionalProperties"]["properties"];
        assert!(entry["required"].is_object(), "{key}");
        let names: Vec<&Value> = crds.iter().map(|(_, crd)| &crd["spec"]["names"]["shortNames"]).collect();
        assert_eq!(names.iter().filter(|names| names.is_array()).count(), 3, "one of two groups has them");
    }
}
