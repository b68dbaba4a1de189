//! Policies by which an API server refuses fields that nobody knows when an object is applied, so that a typo
//! comes back to the terminal in which it was made. `deploy/admission` has them.
//!
//! They see names of fields, wherever the definitions tell of them. Everything else that may be wrong is
//! found by admission, and told in the object's status.

use serde_json::{Value, json};

use super::{DEFINITIONS, Definition};
use crate::object::group_of;

/// Each kind's policy with its binding, by the name of the file.
pub fn policies() -> Vec<(String, [Value; 2])> {
    DEFINITIONS.iter().map(Definition::policy).collect()
}

impl Definition {
    fn policy(&self) -> (String, [Value; 2]) {
        let plural = self.kind.plural();
        let groups: Vec<&str> = self.kind.api_versions().iter().map(|version| group_of(version)).collect();
        let name = format!("{plural}.waykeeper.dev");
        let mut checks = Checks::default();
        checks.objects("spec", &(self.spec)(), "[object.?spec.orValue({})]", 0, &|inner| inner);
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": groups,
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE"],
                    // Not its status.
                    "resources": [plural],
                }]},
                "validations": checks.0,
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        });
        (format!("{plural}.yaml"), [policy, binding])
    }
}

/// What puts an expression into those of the lists and objects around it.
type Around<'a> = &'a dyn Fn(String) -> String;

/// Validations, one for each object of which the fields are known.
#[derive(Default)]
struct Checks(Vec<Value>);

impl Checks {
    /// Checks the objects at `path`, of which `list` is in CEL. `around` are so many lists and objects as `depth` says.
    fn objects(&mut self, path: &str, schema: &Value, list: &str, depth: usize, around: Around<'_>) {
        let Some(fields) = schema["properties"].as_object() else { return };
        let quoted: Vec<String> =
            fields.keys().flat_map(|name| spellings(name)).map(|name| format!("'{name}'")).collect();
        let check = format!("{list}.all(o, o.all(k, k in [{}]))", quoted.join(", "));
        let known: Vec<&str> = fields.keys().map(String::as_str).collect();
        self.0.push(json!({
            "expression": around(check),
            "message": format!("{path} has a field that nobody knows; check the spelling. Known are {}", known.join(", ")),
        }));
        // A variable for each object around it, so that no expression stands in another more than once.
        let variable = format!("o{depth}");
        let inside = |inner: String| around(format!("{list}.all({variable}, {inner})"));
        for (name, child) in fields {
            // Both spellings, since both may be written. (cel-go 0.26 panics at optional elements, `[?a, ?b]`.)
            let none = if child.get("items").is_some() { "[]" } else { "{}" };
            let value = |name: String| format!("{variable}[?'{name}'].orValue({none})");
            let written: Vec<String> = spellings(name).map(value).collect();
            let (written, place) = (format!("[{}]", written.join(", ")), format!("{path}.{name}"));
            if let Some(items) = child.get("items") {
                let each = format!("l{depth}");
                let in_list = |inner: String| inside(format!("{written}.all({each}, {inner})"));
                self.objects(&format!("{place}[]"), items, &each, depth + 1, &in_list);
            } else if let Some(values) = child.get("additionalProperties") {
                let (each, key) = (format!("m{depth}"), format!("k{depth}"));
                let in_mapping = |inner: String| inside(format!("{written}.all({each}, {each}.all({key}, {inner}))"));
                self.objects(&format!("{place}.*"), values, &format!("[{each}[{key}]]"), depth + 1, &in_mapping);
            } else {
                self.objects(&place, child, &written, depth + 1, &inside);
            }
        }
    }
}

/// A field's name in both spellings that are read, or the one if there is no other.
fn spellings(name: &str) -> impl Iterator<Item = String> {
    let snake = snake_case(name);
    [name.to_owned()].into_iter().chain((snake != name).then_some(snake))
}

fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use serde::Deserialize;

    use super::*;

    #[test]
    fn the_files_are_what_is_generated() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/admission");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), policies().len());
        for (name, wanted) in policies() {
            let text = std::fs::read_to_string(folder.join(&name)).unwrap();
            let read: Vec<Value> =
                serde_norway::Deserializer::from_str(&text).map(|one| Value::deserialize(one).unwrap()).collect();
            assert_eq!(read, wanted, "{name}: run `cargo run -p waykeeper-api --example crds`");
        }
    }

    /// The places of all objects in `schema` that have fields.
    fn objects(place: &str, schema: &Value, found: &mut Vec<String>) {
        let fields = schema["properties"].as_object();
        found.extend(fields.map(|_| place.to_owned()));
        for (name, field) in fields.into_iter().flatten() {
            objects(&format!("{place}.{name}"), field, found);
        }
        for (each, how) in [("items", "[]"), ("additionalProperties", ".*")] {
            schema.get(each).into_iter().for_each(|each| objects(&format!("{place}{how}"), each, found));
        }
    }

    #[test]
    fn every_object_of_which_fields_are_known_is_checked_in_both_spellings() {
        for definition in &DEFINITIONS {
            let (name, [policy, _]) = definition.policy();
            let mut places = Vec::new();
            objects("spec", &(definition.spec)(), &mut places);
            let validations = policy["spec"]["validations"].as_array().unwrap();
            let said =
                |validation: &Value| validation["message"].as_str().unwrap().split(' ').next().unwrap().to_owned();
            assert_eq!(validations.iter().map(said).collect::<Vec<_>>(), places, "{name}");
            for (validation, place) in validations.iter().zip(&places) {
                let expression = validation["expression"].as_str().unwrap();
                assert!(expression.len() < 4_000, "{name}: {expression}");
                // On the way there each name stands in the spellings that are read, once.
                for step in place.split('.').skip(1).map(|step| step.trim_end_matches("[]")).filter(|step| *step != "*")
                {
                    for spelling in spellings(step) {
                        assert!(expression.contains(&format!("[?'{spelling}']")), "{place}: {expression}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_holds_itself_and_what_mappings_hold_is_checked() {
        for (file, place) in [
            ("ratelimitconfigs.yaml", "spec.raw.descriptors[].descriptors[].descriptors[].rateLimit"),
            ("authconfigs.yaml", "spec.configs[].apiKeyAuth.headersFromMetadataEntry.*"),
            ("authconfigs.yaml", "spec.configs[].basicAuth.apr.users.*"),
        ] {
            let (_, [policy, _]) = policies().into_iter().find(|(name, _)| name == file).unwrap();
            assert!(policy.to_string().contains(&format!("\"{place} has a field")), "{place}");
        }
    }
}
