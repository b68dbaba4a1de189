//! Objects of kinds that are not served yet, in a cluster: another controller may serve them there, so what is refused
//! because of them is only what they name.
//!
//! In a folder nobody else serves them: there they withhold everything, see [`crate::admit`].

use serde_json::{Map, Value};

use crate::fields::resembles;
use crate::name::Name;
use crate::reach::{Reach, Target};

pub use crate::kinds::Unserved;

/// An object of a kind that is not served yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnservedRef {
    /// The name in its manifest's `kind`.
    pub kind: &'static str,
    /// Namespace and name.
    pub name: Name,
}

impl std::fmt::Display for UnservedRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The lists of references by which such objects say what they govern, each with group and kind of an entry that
/// does not say.
const LISTS: [(&str, &str, &str); 2] = [("targetRefs", "", ""), ("parentRefs", "gateway.networking.k8s.io", "Gateway")];

/// What an object of such a kind, as it was written, names as what it governs. One that names nothing (one of
/// workloads, which ztunnel heeds, or one that others name) governs nothing that we serve.
pub fn reach(name: &Name, document: &Value) -> Reach {
    let Some(spec) = document.get("spec").filter(|spec| !spec.is_null()) else { return Reach::Known(Vec::new()) };
    let Some(spec) = spec.as_object() else { return Reach::Unknown };
    let mut targets = Vec::new();
    for (field, group, kind) in LISTS {
        for (_, value) in spec.iter().filter(|(key, value)| resembles(key, field) && !value.is_null()) {
            let entries = match value {
                Value::Array(entries) => entries.as_slice(),
                Value::Object(_) => std::slice::from_ref(value),
                _ => return Reach::Unknown,
            };
            for entry in entries {
                let Some(target) = entry.as_object().and_then(|entry| target(name, entry, group, kind)) else {
                    return Reach::Unknown;
                };
                targets.push(target);
            }
        }
    }
    Reach::Known(targets)
}

fn target(of: &Name, entry: &Map<String, Value>, group: &str, kind: &str) -> Option<Target> {
    let text = |key: &str, default: &str| match entry.get(key) {
        None | Some(Value::Null) => Some(default.to_owned()),
        Some(value) => value.as_str().map(str::to_owned),
    };
    let named = text("name", "").filter(|name| !name.is_empty())?;
    let name = Name::new(text("namespace", &of.namespace)?, named);
    // Of a part of it nothing is known: the whole is meant.
    Some(Target { group: text("group", group)?, kind: text("kind", kind)?, name, section: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(spec: Value) -> Reach {
        reach(&Name::new("t", "p"), &json!({"spec": spec}))
    }

    fn known(targets: &[(&str, &str, &str, &str)]) -> Reach {
        let target = |(group, kind, namespace, name): &(&str, &str, &str, &str)| Target {
            group: (*group).to_owned(),
            kind: (*kind).to_owned(),
            name: Name::new(*namespace, *name),
            section: None,
        };
        Reach::Known(targets.iter().map(target).collect())
    }

    #[test]
    fn what_is_named_is_governed_and_what_cannot_be_read_may_be_anything() {
        assert_eq!(of(json!({"selector": {"matchLabels": {"app": "a"}}})), known(&[]), "for ztunnel");
        assert_eq!(of(Value::Null), known(&[]));
        assert_eq!(
            of(json!({"targetRefs": [{"kind": "Service", "group": "", "name": "a", "sectionName": "x"}]})),
            known(&[("", "Service", "t", "a")])
        );
        assert_eq!(of(json!({"targetRef": {"kind": "Service", "name": "a"}})), known(&[("", "Service", "t", "a")]));
        let parent =
            json!({"parentRefs": [{"name": "g", "namespace": "infra"}, {"kind": "Service", "group": "", "name": "a"}]});
        assert_eq!(
            of(parent),
            known(&[("gateway.networking.k8s.io", "Gateway", "infra", "g"), ("", "Service", "t", "a")])
        );
        for unclear in [
            json!([]),
            json!("x"),
            json!({"targetRefs": "a"}),
            json!({"targetRefs": ["a"]}),
            json!({"parentRef": {}}),
            json!({"targetRefs": [{"name": 3}]}),
        ] {
            assert_eq!(of(unclear.clone()), Reach::Unknown, "{unclear}");
        }
    }
}
