//! What is to be done about a GatewayClass of ours. Pure.

use serde_json::{Value, json};

/// Keeps a class while Gateways name it: Gateway API's own.
pub const FINALIZER: &str = "gateway-exists-finalizer.gateway.networking.k8s.io";
/// By what a mesh knows how to pass connections on to the waypoints of a class.
const BINDING: &str = "ambient.istio.io/waypoint-inbound-binding";
/// In PROXY's protocol, at that port of the pod's own loopback.
const PROXY: &str = "PROXY/15088";

/// Something to be done about a class.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Make it, unless there is one by now.
    Create(Value),
    /// Merge this into it, which names its version.
    Change(Value),
    /// The same, into its status.
    Tell(Value),
}

/// What to do about the class `name`, which is so in the API server: `used` if a Gateway names it.
pub fn plan(name: &str, controller: &str, there: Option<&Value>, used: bool, now: &str) -> Vec<Act> {
    let Some(there) = there else {
        let finalizers = if used { vec![FINALIZER] } else { vec![] };
        return vec![Act::Create(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": {
                "name": name, "annotations": {BINDING: PROXY}, "finalizers": finalizers,
                "labels": {"app.kubernetes.io/managed-by": kubernetes::managing::MANAGED_BY},
            },
            "spec": {"controllerName": controller, "description": "Waypoints of Waykeeper"},
        }))];
    };
    if there.pointer("/spec/controllerName").and_then(Value::as_str) != Some(controller) {
        return Vec::new();
    }
    let metadata = &there["metadata"];
    let mut acts = Vec::new();
    let deleted = metadata.get("deletionTimestamp").is_some();
    let finalizers: Vec<&str> =
        metadata["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut patch = json!({});
    match (used, finalizers.contains(&FINALIZER)) {
        // Nobody may add one to what is being deleted.
        (true, false) if !deleted => patch["finalizers"] = finalizers.iter().chain([&FINALIZER]).copied().collect(),
        (false, true) => patch["finalizers"] = finalizers.iter().filter(|one| **one != FINALIZER).copied().collect(),
        _ => {}
    }
    // Whoever says something else means it.
    if metadata["annotations"].get(BINDING).is_none() && !deleted {
        patch["annotations"] = json!({BINDING: PROXY});
    }
    if patch != json!({}) {
        patch["resourceVersion"] = metadata["resourceVersion"].clone();
        acts.push(Act::Change(json!({"metadata": patch})));
        return acts;
    }
    acts.extend(accepted(there, now).map(Act::Tell));
    acts
}

/// What is to stand in its status; none if it does.
fn accepted(there: &Value, now: &str) -> Option<Value> {
    let metadata = &there["metadata"];
    let before: Vec<Value> = there.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let generation = metadata["generation"].as_i64().unwrap_or_default();
    let known = before.iter().find(|condition| condition["type"] == "Accepted");
    let observed = known.and_then(|known| known["observedGeneration"].as_i64()).unwrap_or_default();
    let holds = known.is_some_and(|known| known["status"] == "True");
    if holds && observed >= generation {
        return None;
    }
    let since = known.filter(|_| holds).map_or(json!(now), |known| known["lastTransitionTime"].clone());
    let mut conditions: Vec<Value> =
        before.iter().filter(|condition| condition["type"] != "Accepted").cloned().collect();
    conditions.push(json!({
        "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
        "observedGeneration": generation, "lastTransitionTime": since,
    }));
    let version = metadata["resourceVersion"].clone();
    Some(json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn class() -> Value {
        let acts = plan("w", "ours", None, true, NOW);
        let [Act::Create(made)] = &acts[..] else { panic!("{acts:?}") };
        let mut class = made.clone();
        class["metadata"]["resourceVersion"] = json!("7");
        class["metadata"]["generation"] = json!(1);
        class["status"] = json!({"conditions": [
            {"type": "Accepted", "status": "True", "observedGeneration": 1, "lastTransitionTime": "t"},
            {"type": "Other", "status": "True"},
        ]});
        class
    }

    fn of(class: &Value, used: bool) -> Vec<Act> {
        plan("w", "ours", Some(class), used, NOW)
    }

    #[test]
    fn a_class_is_made_kept_while_it_is_used_and_let_go() {
        let class = class();
        assert_eq!(class["metadata"]["annotations"][BINDING], PROXY);
        assert_eq!(class["metadata"]["finalizers"], json!([FINALIZER]));
        assert_eq!(of(&class, true), [], "as it is to be");
        let patch = |fields: Value| vec![Act::Change(json!({"metadata": fields}))];
        assert_eq!(of(&class, false), patch(json!({"finalizers": [], "resourceVersion": "7"})));
        let mut foreign = class.clone();
        foreign["metadata"]["finalizers"] = json!(["example.com/other"]);
        let both = json!({"finalizers": ["example.com/other", FINALIZER], "resourceVersion": "7"});
        assert_eq!(of(&foreign, true), patch(both));
        let mut deleted = foreign.clone();
        deleted["metadata"]["deletionTimestamp"] = json!(NOW);
        assert_eq!(of(&deleted, true), []);
        assert_eq!(of(&deleted, false), []);
        deleted["metadata"]["finalizers"] = json!([FINALIZER]);
        assert_eq!(of(&deleted, false), patch(json!({"finalizers": [], "resourceVersion": "7"})));
        // One that nobody names yet may be taken away again.
        let acts = plan("w", "ours", None, false, NOW);
        let [Act::Create(made)] = &acts[..] else { panic!("{acts:?}") };
        assert_eq!(made["metadata"]["finalizers"], json!([]));
    }

    #[test]
    fn the_binding_is_added_and_never_overruled_and_anothers_class_is_left_alone() {
        let mut class = class();
        class["metadata"]["annotations"] = json!({"a": "b"});
        let binding = json!({"annotations": {BINDING: PROXY}, "resourceVersion": "7"});
        assert_eq!(of(&class, true), [Act::Change(json!({"metadata": binding}))]);
        class["metadata"]["annotations"] = json!({BINDING: "NONE"});
        assert_eq!(of(&class, true), []);
        class["spec"]["controllerName"] = json!("another");
        class["metadata"]["annotations"] = json!({});
        assert_eq!(of(&class, true), []);
    }

    #[test]
    fn it_is_told_that_it_is_accepted_once_a_version() {
        let mut class = class();
        class["metadata"]["generation"] = json!(2);
        let acts = of(&class, true);
        let [Act::Tell(told)] = &acts[..] else { panic!("{acts:?}") };
        let conditions = told["status"]["conditions"].as_array().expect("conditions");
        assert_eq!((conditions[0]["type"].as_str(), conditions.len()), (Some("Other"), 2));
        assert_eq!(
            (&conditions[1]["observedGeneration"], &conditions[1]["lastTransitionTime"]),
            (&json!(2), &json!("t"))
        );
        class["status"] = json!({"conditions": [{"type": "Accepted", "status": "Unknown"}]});
        let acts = of(&class, true);
        let [Act::Tell(told)] = &acts[..] else { panic!("{acts:?}") };
        assert_eq!(told["status"]["conditions"][0]["lastTransitionTime"], NOW);
    }
}
