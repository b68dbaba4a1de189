//! A waypoint as a Gateway: how it is declared, and what its status says. Pure.

use api::core::{USE_WAYPOINT, USE_WAYPOINT_NAMESPACE};
use serde_json::{Map, Value, json};

/// By which version it is declared and read.
pub const VERSION: &str = "gateway.networking.k8s.io/v1";
/// Which traffic a waypoint is for.
const FOR: &str = "istio.io/waypoint-for";
/// Which control plane of several serves it.
const REVISION: &str = "istio.io/rev";
/// Whether the pods of a namespace are in the mesh.
const DATAPLANE: &str = "istio.io/dataplane-mode";

/// What somebody asked for.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub name: &'a str,
    /// None where whoever applies it says which.
    pub namespace: Option<&'a str>,
    pub class: &'a str,
    pub traffic: Option<&'a str>,
    pub revision: Option<&'a str>,
}

/// The Gateway that is wanted.
pub fn manifest(wanted: &Wanted<'_>) -> Value {
    // Istio's own class is served by Istio, which takes HBONE at its proxies; ours gets it from the node's ztunnel.
    let listener = match wanted.class {
        "istio-waypoint" => json!({"name": "mesh", "port": 15008, "protocol": "HBONE"}),
        _ => json!({"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"}),
    };
    let mut metadata = Map::from_iter([("name".to_owned(), json!(wanted.name))]);
    metadata.extend(wanted.namespace.map(|namespace| ("namespace".to_owned(), json!(namespace))));
    let labels = [(FOR, wanted.traffic), (REVISION, wanted.revision)];
    let labels: Map<String, Value> =
        labels.iter().filter_map(|(key, value)| value.map(|value| ((*key).to_owned(), json!(value)))).collect();
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), labels.into());
    }
    json!({
        "apiVersion": VERSION, "kind": "Gateway", "metadata": metadata,
        "spec": {"gatewayClassName": wanted.class, "listeners": [listener]},
    })
}

/// Whether it is of one of these classes.
pub fn is_of(gateway: &Value, classes: &[String]) -> bool {
    gateway["spec"]["gatewayClassName"].as_str().is_some_and(|class| classes.iter().any(|one| one == class))
}

/// What is said of it under `Programmed`; null where nothing is.
pub fn programmed(gateway: &Value) -> &Value {
    let conditions = gateway["status"]["conditions"].as_array();
    let found = conditions.and_then(|all| all.iter().find(|one| one["type"] == "Programmed"));
    found.unwrap_or(&Value::Null)
}

/// Whether it serves as it is declared now: what was said of an earlier generation says nothing of this one.
pub fn serves(gateway: &Value) -> bool {
    let said = programmed(gateway);
    let (of, now) = (said["observedGeneration"].as_i64(), gateway["metadata"]["generation"].as_i64());
    said["status"] == "True" && of.is_some() && of >= now && gateway["metadata"]["deletionTimestamp"].is_null()
}

/// What `list` says of it.
pub fn listed(gateway: &Value) -> [String; 5] {
    let label = |key: &str, none: &str| {
        let value = gateway["metadata"]["labels"][key].as_str().filter(|value| !value.is_empty());
        value.unwrap_or(none).to_owned()
    };
    let programmed = programmed(gateway)["status"].as_str().unwrap_or("False").to_owned();
    let [namespace, name] = place(gateway);
    [namespace, name, label(REVISION, "default"), label(FOR, "none"), programmed]
}

/// What `status` says of it.
pub fn told(gateway: &Value) -> [String; 6] {
    let said = programmed(gateway);
    let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
    let [namespace, name] = place(gateway);
    match said {
        Value::Null => {
            let nobody = "no control plane has said anything of it yet".to_owned();
            [namespace, name, "Unknown".to_owned(), "Programmed".to_owned(), "Pending".to_owned(), nobody]
        }
        _ => [namespace, name, text("status"), text("type"), text("reason"), text("message")],
    }
}

/// Its namespace and name.
pub fn place(gateway: &Value) -> [String; 2] {
    ["namespace", "name"].map(|field| gateway["metadata"][field].as_str().unwrap_or_default().to_owned())
}

/// Which waypoint a namespace's Services use by its label.
pub fn enrolled(namespace: &Value) -> Option<&str> {
    namespace["metadata"]["labels"][USE_WAYPOINT].as_str().filter(|waypoint| !waypoint.is_empty())
}

/// Whether `namespace` uses its own waypoint of this name, and not another namespace's.
pub fn is_enrolled_in(namespace: &Value, waypoint: &str) -> bool {
    let of = &namespace["metadata"]["labels"][USE_WAYPOINT_NAMESPACE];
    enrolled(namespace) == Some(waypoint) && (of.is_null() || *of == namespace["metadata"]["name"])
}

/// What makes `namespace`, as it was read, use its own waypoint of this name.
pub fn enrolment(namespace: &Value, waypoint: &str) -> Value {
    let version = &namespace["metadata"]["resourceVersion"];
    let labels = json!({USE_WAYPOINT: waypoint, USE_WAYPOINT_NAMESPACE: null});
    json!({"metadata": {"resourceVersion": version, "labels": labels}})
}

/// Whether the pods of a namespace are in the mesh.
pub fn is_ambient(namespace: &Value) -> bool {
    namespace["metadata"]["labels"][DATAPLANE] == "ambient"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(class: &str) -> Wanted<'_> {
        Wanted { name: "waypoint", namespace: Some("shop"), class, traffic: None, revision: None }
    }

    #[test]
    fn a_waypoint_is_declared_as_istioctl_declares_its_own() {
        let istio = manifest(&Wanted { traffic: Some("all"), revision: Some("canary"), ..wanted("istio-waypoint") });
        let expected = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  labels:\n    \
                        istio.io/rev: canary\n    istio.io/waypoint-for: all\n  name: waypoint\n  namespace: shop\nspec:\n  \
                        gatewayClassName: istio-waypoint\n  listeners:\n  - name: mesh\n    port: 15008\n    protocol: HBONE\n";
        assert_eq!(serde_norway::to_string(&istio).ok().as_deref(), Some(expected));
        let ours = manifest(&Wanted { namespace: None, ..wanted("gloo-waypoint") });
        assert_eq!(ours["metadata"], json!({"name": "waypoint"}));
        assert_eq!(ours["spec"]["listeners"], json!([{"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"}]));
    }

    #[test]
    fn what_was_said_of_an_earlier_generation_does_not_serve() {
        let gateway = |generation: i64, condition: Value| {
            json!({"metadata": {"generation": generation, "name": "w", "namespace": "n"},
                   "status": {"conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 9}, condition]}})
        };
        let said = |status: &str, of: i64| json!({"type": "Programmed", "status": status, "observedGeneration": of});
        assert!(serves(&gateway(2, said("True", 2))));
        assert!(!serves(&gateway(3, said("True", 2))), "of an earlier one");
        assert!(!serves(&gateway(2, said("False", 2))));
        assert!(!serves(&gateway(2, json!({"type": "Programmed", "status": "True"}))), "nobody knows of which");
        assert!(!serves(&gateway(2, json!({}))));
        let mut leaving = gateway(2, said("True", 2));
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(!serves(&leaving));
        assert_eq!(listed(&gateway(2, said("True", 2))), ["n", "w", "default", "none", "True"]);
        assert_eq!(listed(&gateway(2, json!({})))[4], "False");
        assert_eq!(told(&gateway(2, json!({})))[2..5], ["Unknown", "Programmed", "Pending"]);
    }

    #[test]
    fn a_namespace_that_uses_another_namespaces_waypoint_is_not_enrolled_here() {
        let labelled = |labels: Value| json!({"metadata": {"name": "shop", "resourceVersion": "7", "labels": labels}});
        let here = labelled(json!({USE_WAYPOINT: "waypoint"}));
        let there = labelled(json!({USE_WAYPOINT: "waypoint", USE_WAYPOINT_NAMESPACE: "infra"}));
        assert!(is_enrolled_in(&here, "waypoint") && !is_enrolled_in(&here, "other"));
        assert!(!is_enrolled_in(&there, "waypoint"));
        assert_eq!((enrolled(&there), enrolled(&labelled(json!({})))), (Some("waypoint"), None));
        let patch = enrolment(&there, "waypoint")["metadata"].take();
        assert_eq!(patch["resourceVersion"], "7", "only as it was read");
        assert!(patch["labels"][USE_WAYPOINT_NAMESPACE].is_null() && patch["labels"][USE_WAYPOINT] == "waypoint");
    }
}
