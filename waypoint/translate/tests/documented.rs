//! What `docs/kinds.md` says of filters is what becomes of them.
#![allow(clippy::unwrap_used)]

use api::Snapshot;
use serde_json::{Value, json};
use waypoint_translate::{Settings, translate};

const PAGE: &str = include_str!("../../../docs/kinds.md");

/// The types of filters that Gateway API has, as its schema tells.
fn types() -> Vec<String> {
    let said = serde_json::from_value::<api::gateway::httproutes::HttpRouteRulesFiltersType>(json!("")).unwrap_err();
    let names: Vec<String> = said.to_string().split('`').skip(3).step_by(2).map(str::to_owned).collect();
    assert!(names.len() >= 8, "{said}");
    names
}

/// The least that a filter of this type needs.
fn least(kind: &str) -> Value {
    let backend = json!({"name": "a", "port": 80});
    match kind {
        "RequestHeaderModifier" => json!({"requestHeaderModifier": {"remove": ["x-a"]}}),
        "ResponseHeaderModifier" => json!({"responseHeaderModifier": {"remove": ["x-a"]}}),
        "RequestRedirect" => json!({"requestRedirect": {"scheme": "https"}}),
        "URLRewrite" => json!({"urlRewrite": {"hostname": "a.example"}}),
        "ExtensionRef" => json!({"extensionRef": {"group": "gateway.solo.io", "kind": "RouteOption", "name": "o"}}),
        "RequestMirror" => json!({"requestMirror": {"backendRef": backend}}),
        "CORS" => json!({"cors": {"allowOrigins": ["*"]}}),
        "ExternalAuth" => json!({"externalAuth": {"protocol": "HTTP", "http": {}, "backendRef": backend}}),
        other => panic!("{other} is new: say here what it needs, and in docs/kinds.md what becomes of it"),
    }
}

#[test]
fn the_page_says_of_every_filter_whether_it_is_served() {
    let rows: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `filters` by `type`")).collect();
    for kind in types() {
        let mut filter = least(&kind);
        filter["type"] = json!(kind);
        let mut snapshot = Snapshot::default();
        for manifest in [
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "w", "namespace": "n"},
                "spec": {"gatewayClassName": "gloo-waypoint", "listeners": [{"name": "p", "port": 15088, "protocol": "istio.io/PROXY"}]}}),
            json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "a", "namespace": "n", "labels": {"istio.io/use-waypoint": "w"}},
                "spec": {"clusterIP": "127.0.20.2", "ports": [{"port": 80, "name": "http"}]}}),
            json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption", "metadata": {"name": "o", "namespace": "n"},
                "spec": {"options": {"timeout": "1s"}}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r", "namespace": "n"},
                "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "a"}], "rules": [{"filters": [filter]}]}}),
        ] {
            let admission = api::admit(&manifest);
            assert!(!admission.rejected(), "{kind}: {:?}", admission.problems);
            snapshot.insert(admission.object.unwrap());
        }
        let translation = translate(&snapshot, &Settings::default());
        let route = api::ObjectRef::new(api::Kind::HttpRoute, "n", "r");
        let said = format!("{:?}", translation.report[&route]);
        let refused = said.contains("UnsupportedValue");
        let row = rows.iter().find(|row| row.contains(&format!("`{kind}`"))).unwrap_or_else(|| panic!("{kind}"));
        assert_eq!((row.contains("| served |"), row.contains("| refused")), (!refused, refused), "{kind}: {said}");
    }
}
