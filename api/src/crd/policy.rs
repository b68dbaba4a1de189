//! Policies by which an API server refuses fields that nobody knows when an object is applied, so that a typo
//! comes back to the terminal in which it was made. `deploy/admission` has them.
//!
//! They see names of fields, wherever the definitions tell of them. Everything else that may be wrong is
//! found by admission, and told in the object's status.

use serde_json::{Map, Value, json};

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
        checks.object("spec", &(self.spec)(), "object.?spec.orValue({})", &|inner| inner);
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
    /// Checks the object at `path`, which `value` yields in CEL; an empty one if there is none.
    fn object(&mut self, path: &str, schema: &Value, value: &str, around: Around<'_>) {
        let Some(fields) = schema["properties"].as_object() else { return };
        let quoted: Vec<String> = spellings(fields).iter().map(|name| format!("'{name}'")).collect();
        let check = format!("[{value}].all(o, o.all(k, k in [{}]))", quoted.join(", "));
        let known: Vec<&str> = fields.keys().map(String::as_str).collect();
        self.0.push(json!({
            "expression": around(check),
            "message": format!("{path} has a field that nobody knows; check the spelling. Known are {}", known.join(", ")),
        }));
        // A variable for each object around it, so that no expression stands in another more than once.
        let variable = format!("o{}", path.matches('.').count());
        for (name, child) in fields {
            let place = format!("{path}.{name}");
            let of_child = |empty: &str| {
                let snake = snake_case(name);
                let missing =
                    if snake == *name { empty.to_owned() } else { format!("{variable}[?'{snake}'].orValue({empty})") };
                format!("{variable}[?'{name}'].orValue({missing})")
            };
            let inside = |inner: String| around(format!("[{value}].all({variable}, {inner})"));
            match child.get("items") {
                None => self.object(&place, child, &of_child("{}"), &inside),
                Some(items) => {
                    let (list, item) = (of_child("[]"), format!("i{}", path.matches('.').count()));
                    let in_list = |inner: String| inside(format!("{list}.all({item}, {inner})"));
                    self.object(&format!("{place}[]"), items, &item, &in_list);
                }
            }
        }
    }
}

/// The names in both spellings that are read.
fn spellings(fields: &Map<String, Value>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in fields.keys() {
        let snake = snake_case(name);
        if snake != *name {
            names.push(snake);
        }
        names.push(name.clone());
    }
    names
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

    #[test]
    fn every_object_of_which_fields_are_known_is_checked_in_both_spellings() {
        for (name, [policy, _]) in policies() {
            let validations = policy["spec"]["validations"].as_array().unwrap();
            assert!(validations.len() > 3, "{name}: {}", validations.len());
            for validation in validations {
                let expression = validation["expression"].as_str().unwrap();
                assert!(expression.len() < 4_000, "{name}: {expression}");
            }
        }
        let (_, [policy, _]) = policies().into_iter().find(|(name, _)| name == "authconfigs.yaml").unwrap();
        let text = policy.to_string();
        assert!(text.contains("'headerName'") && text.contains("'header_name'"));
        assert!(text.contains("spec.configs[].apiKeyAuth has a field"));
    }
}
