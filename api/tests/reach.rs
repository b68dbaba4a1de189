//! What a broken object would have governed, whatever is wrong with it.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};
use waykeeper_api::{Admission, Kind, Name, Reach, Target, admit};

fn route(spec: Value) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "a", "namespace": "t"}, "spec": spec})
}

fn option(spec: Value) -> Value {
    json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption",
        "metadata": {"name": "auth", "namespace": "t"}, "spec": spec})
}

fn namespace(metadata: Value) -> Value {
    let mut metadata = metadata;
    metadata["name"] = "t".into();
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

fn service_a() -> Target {
    Target::of(Kind::Service, Name::new("t", "a"))
}

fn route_a() -> Target {
    Target::of(Kind::HttpRoute, Name::new("t", "a"))
}

fn gateway_wp() -> Target {
    Target::of(Kind::Gateway, Name::new("t", "wp"))
}

/// Asserts that the manifest is refused.
fn broken(manifest: &Value) -> Admission {
    let admission = admit(manifest);
    assert!(admission.rejected(), "{manifest} is admitted");
    admission
}

fn auth() -> Value {
    json!({"extauth": {"configRef": {"name": "keys"}}})
}

#[test]
fn parents_that_cannot_be_read_may_be_any() {
    let many: Vec<Value> = (0..40).map(|_| json!({"path": {"type": "Glob", "value": "/"}})).collect();
    for spec in [
        json!({"parentRefs": {"kind": "Service", "name": "a"}}),
        json!({"parentRefs": [{"group": "", "kind": "Service", "name": ["a"]}]}),
        json!({"parentRefs": [{"group": "", "kind": "Servce", "name": "a"}], "rules": [{"matches": many}]}),
        json!({"parentRefs": ["a"]}),
        json!({"parentrfs": 5}),
        json!({"parents": [{"name": "a"}]}),
        json!([]),
        json!("text"),
    ] {
        let admission = broken(&route(spec));
        assert_eq!(admission.reach, Reach::Unknown, "{admission:?}");
    }
}

#[test]
fn parents_that_can_be_read_are_known_however_many_mistakes_there_are() {
    let reference = json!({"group": "", "kind": "Service", "name": "a"});
    for count in [1, 40, 5_000] {
        let many: Vec<Value> = (0..count).map(|_| json!({"path": {"type": "Glob", "value": "/"}})).collect();
        let admission = broken(&route(json!({"parentRefs": [reference], "rules": [{"matches": many}]})));
        assert_eq!(admission.reach, Reach::Known(vec![service_a()]));
        assert_eq!(admission.reference.as_ref().map(|r| &r.name), Some(&Name::new("t", "a")));
        assert!(admission.object.is_some(), "what is around the mistakes is read");
        assert!(admission.problems.len() <= 33, "{}", admission.problems.len());
    }
    for spec in [json!({"parentRef": reference}), json!({"parentRef": [reference]}), json!({"parentrefs": [reference]})]
    {
        assert_eq!(broken(&route(spec)).reach, Reach::Known(vec![service_a()]));
    }
    let gateway = broken(&route(json!({"parentRefs": [{"name": "wp"}], "rules": 5})));
    assert_eq!(gateway.reach, Reach::Known(vec![gateway_wp()]));
    let elsewhere = broken(&route(json!({"parentRefs": [{"name": "wp", "namespace": "u"}], "rules": 5})));
    assert_eq!(elsewhere.reach, Reach::Known(vec![Target::of(Kind::Gateway, Name::new("u", "wp"))]));
    assert_eq!(broken(&route(json!({"rules": 5}))).reach, Reach::Known(vec![]), "it has no parents");
}

#[test]
fn targets_of_a_route_option_are_known_or_any() {
    let reference = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"});
    let many: Map<String, Value> = (0..40).map(|n| (format!("wrong{n}"), json!(n))).collect();
    for spec in [
        json!({"targetRefs": [reference], "options": many}),
        json!({"targetRef": reference, "options": auth()}),
        json!({"targetrefs": [reference], "options": auth()}),
        json!({"target_refs": [reference], "options": many}),
    ] {
        assert_eq!(broken(&option(spec)).reach, Reach::Known(vec![route_a()]));
    }
    for spec in [
        json!([]),
        json!({"targetRefs": "a", "options": auth()}),
        json!({"targetRefs": [reference, {"kind": "HTTPRoute"}], "options": auth()}),
        json!({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoutes", "name": "a"}]}),
        json!({"targets": [reference], "options": auth()}),
        json!({"to": [reference], "options": auth()}),
        json!({"options": {"extauth": {"configRef": {"name": "keys"}}, "targetRefs": [reference]}}),
        json!({"targetRefs": [], "targts": [reference], "options": auth()}),
    ] {
        assert_eq!(broken(&option(spec.clone())).reach, Reach::Unknown, "{spec}");
    }
    let misplaced = json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption",
        "metadata": {"name": "auth", "namespace": "t"}, "Spec": {"targetRefs": [reference]}});
    assert_eq!(broken(&misplaced).reach, Reach::Unknown);
    assert_eq!(broken(&option(json!({"options": 5}))).reach, Reach::Known(vec![]), "only by ExtensionRef");
    // What every manifest has at the top is no field of a spec.
    for unknown in ["kind", "metadata", "status"] {
        let spec = json!({"options": 5, unknown: {"targets": [reference]}});
        assert_eq!(broken(&option(spec)).reach, Reach::Unknown, "{unknown}");
    }
}

#[test]
fn a_route_option_that_names_a_service_or_a_gateway_is_refused_and_covers_it() {
    let gateway = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "wp"});
    let service = json!({"group": "", "kind": "Service", "name": "a"});
    for (reference, target) in [(gateway, gateway_wp()), (service, service_a())] {
        let admission = broken(&option(json!({"targetRefs": [reference], "options": auth()})));
        assert_eq!(admission.reach, Reach::Known(vec![target]));
    }
    let foreign = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a", "namespace": "u"});
    let admission = broken(&option(json!({"targetRefs": [foreign], "options": auth()})));
    assert_eq!(admission.reach, Reach::Known(vec![route_a()]), "never into another namespace");
}

#[test]
fn a_namespace_whose_label_cannot_be_read_is_meant_for_some_waypoint() {
    for metadata in [
        json!({"labels": ["istio.io/use-waypoint: wp"]}),
        json!({"labels": "istio.io/use-waypoint=wp"}),
        json!({"labels": {"istio.io/use-waypoint": true}}),
        json!({"labels": {"istio.io/use-waypoint": null}}),
        json!({"labels": {"istio.io/use-waypoint": ""}}),
        json!({"labels": {"istio.io/use-waypoints": "wp"}}),
        json!({"labels": {"istio.io/use_waypoint": "wp"}}),
        json!({"labels": {"use-waypoint": "wp"}}),
        json!({"labels": {"istio.io/use-waypoint": "wp", "istio.io/use-waypoint-namespace": 5}}),
        json!({"label": {"istio.io/use-waypoint": "wp"}}),
        json!({"lables": {"istio.io/use-waypoint": "wp"}}),
        json!({"annotations": {"istio.io/use-waypoint": "wp"}}),
    ] {
        assert_eq!(broken(&namespace(metadata.clone())).reach, Reach::Unknown, "{metadata}");
    }
    let elsewhere = broken(&namespace(json!({"labels": {"istio.io/use-waypoint": "wp", "x": "/"}})));
    assert_eq!(elsewhere.reach, Reach::Known(vec![gateway_wp()]));
    let none = broken(&namespace(json!({"labels": {"istio.io/use-waypoint": "none", "x": "/"}})));
    assert_eq!(none.reach, Reach::Known(vec![]));
    let fine =
        admit(&namespace(json!({"labels": {"istio.io/use-waypoint": "wp", "istio.io/ingress-use-waypoint": "true"}})));
    assert!(!fine.rejected(), "{:?}", fine.problems);
}

/// A label that is nearly the one is a mistake; one that is another's is none.
#[test]
fn labels_that_look_like_those_of_waypoints() {
    for (label, good) in [
        ("istio.io/use-waypoint", true),
        ("istio.io/ingress-use-waypoint", true),
        ("istio.io/waypoint-for", true),
        ("example.com/team", true),
        ("istio.io/use-waypont", false),
        ("istio.io/use_waypoint", false),
        ("istio.io/Use-Waypoint", false),
        ("use-waypoint", false),
        ("example.com/use-waypoint", false),
        ("istio.io/use-waypoint-namespaces", false),
    ] {
        let admitted = admit(&namespace(json!({"labels": {label: "wp"}})));
        assert_eq!(!admitted.rejected(), good, "{label}: {:?}", admitted.problems);
    }
}

#[test]
fn a_service_says_which_waypoint_it_is_meant_for() {
    let service = |labels: Value| {
        broken(
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "t", "labels": labels},
            "spec": {"ports": [{"port": 0}]}}),
        )
    };
    assert_eq!(service(json!({"istio.io/use-waypoint": "wp"})).reach, Reach::Known(vec![gateway_wp()]));
    assert_eq!(service(json!({"istio.io/use-waypoint": 1})).reach, Reach::Unknown);
    assert_eq!(service(json!({})).reach, Reach::Known(vec![]));
    assert_eq!(service(Value::Null).reach, Reach::Known(vec![]), "without labels it is meant for none");
}

#[test]
fn a_manifest_whose_object_cannot_be_told_withholds() {
    let reference = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"});
    let intact = option(json!({"targetRefs": [reference], "options": auth()}));
    assert!(!admit(&intact).rejected());
    let with = |path: &str, value: Value| {
        let mut changed = intact.clone();
        *changed.pointer_mut(path).unwrap() = value;
        changed
    };
    for unclear in [
        with("/kind", "RouteOptions".into()),
        with("/kind", "routeoption".into()),
        with("/kind", "Routeoptoin".into()),
        with("/kind", "VirtualHostOption".into()),
        with("/kind", Value::Null),
        with("/kind", json!(["RouteOption"])),
        with("/apiVersion", "gateway.solo.io/v2".into()),
        with("/apiVersion", "gateway.solo.oi/v1".into()),
        with("/apiVersion", "gateway.gloo.solo.io/v1".into()),
        with("/apiVersion", "v1".into()),
        with("/apiVersion", Value::Null),
        with("/metadata/name", json!(["auth"])),
        with("/metadata/namespace", json!(["t"])),
        with("/metadata/namespace", "T".into()),
        with("/metadata", "auth".into()),
        json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption", "metadata": {"name": "a", "namspace": "t"}}),
        json!({"apiVersion": "v1", "kind": "Namspace", "metadata": {"name": "t"}}),
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "TCPRoute", "metadata": {"name": "t"}}),
        json!({"apiVersion": "security.istio.io/v2", "kind": "AuthorizationPolicy", "metadata": {"name": "t"}}),
        json!({"apiVersion": "security.istio.io/v2", "kind": "RequestAuthentication", "metadata": {"name": "t"}}),
        json!({"apiVersion": "gateway.solo.io/v1", "kind": "Gateway", "metadata": {"name": "t"}}),
        json!([intact]),
        json!("apiVersion"),
    ] {
        let admission = admit(&unclear);
        assert!(admission.withholds && admission.rejected(), "{unclear}");
        assert!(!admission.problems.is_empty(), "{unclear}");
    }
}

#[test]
fn what_belongs_to_other_products_withholds_nothing_and_is_explained() {
    for (version, kind, advice) in [
        ("networking.istio.io/v1", "Gateway", "Istio's own gateway"),
        ("authorino.kuadrant.io/v1beta3", "AuthConfig", "Authorino's"),
        ("serving.knative.dev/v1", "Service", "Knative's"),
        ("networking.istio.io/v1", "VirtualService", "not a kind"),
        ("security.istio.io/v1", "PeerAuthentication", "not a kind"),
        ("networking.istio.io/v1", "ServiceEntry", "not a kind"),
        ("v1", "PersistentVolumeClaim", "not a kind"),
        ("apps/v1", "StatefulSet", "not a kind"),
        ("batch/v1", "Job", "not a kind"),
        ("networking.k8s.io/v1", "Ingress", "not a kind"),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", "not a kind"),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "not a kind"),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization", "not a kind"),
    ] {
        let admission = admit(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}));
        assert!(!admission.withholds, "{kind} ({version})");
        assert!(admission.problems[0].message.contains(advice), "{:?}", admission.problems);
    }
    let compose = admit(&json!({"services": {"web": {"image": "x"}}, "volumes": {}}));
    assert!(!compose.withholds, "{compose:?}");
}

#[test]
fn a_field_that_resembles_one_of_its_kind_is_an_error_in_every_kind() {
    let manifest = |version: &str, kind: &str, rest: Value| {
        let mut manifest = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "a", "namespace": "t"}});
        manifest.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        manifest
    };
    for (manifest, meant) in [
        (manifest("v1", "Service", json!({"spec": {"port": [{"port": 80}]}})), "ports"),
        (manifest("v1", "Pod", json!({"spec": {"container": [], "containers": []}})), "containers"),
        (manifest("v1", "ConfigMap", json!({"Data": {}})), "data"),
        (manifest("apps/v1", "Deployment", json!({"sepc": {}})), "spec"),
        (
            manifest(
                "ratelimit.solo.io/v1alpha1",
                "RateLimitConfig",
                json!({"spec": {"raw": {"descriptors": [{"key": "a", "ratelimit": {"unit": "HOUR"}}]}}}),
            ),
            "rateLimit",
        ),
    ] {
        let admission = broken(&manifest);
        let said: Vec<String> = admission.problems.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|p| p.contains(&format!("did you mean {meant}"))), "{said:?}");
    }
    let harmless = admit(&manifest("v1", "Pod", json!({"spec": {"containers": [{"name": "c"}], "brandNew": 1}})));
    assert!(!harmless.rejected(), "{:?}", harmless.problems);
}

/// Paths of all values in `value`, the root left out.
fn paths(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, found: &mut Vec<String>) {
        let mut step = |key: &str, inner: &Value| {
            let path = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            found.push(path.clone());
            walk(inner, &path, found);
        };
        match value {
            Value::Object(map) => map.iter().for_each(|(key, inner)| step(key, inner)),
            Value::Array(items) => items.iter().enumerate().for_each(|(n, inner)| step(&n.to_string(), inner)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(value, "", &mut found);
    found
}

/// A mistake that leaves every reference in the manifest, though perhaps beyond recognition.
#[derive(Debug, Clone)]
enum Mistake {
    Retype(Value),
    Misspell(Index, char),
    Wrap,
    Overfill(usize),
    AddBeside(String),
    MoveInto(Index),
}

fn mistake() -> impl Strategy<Value = Mistake> {
    prop_oneof![
        prop_oneof![
            Just(json!(true)),
            Just(json!(7)),
            Just(json!([])),
            Just(json!([1])),
            Just(json!({"a": "b"})),
            Just(json!(""))
        ]
        .prop_map(Mistake::Retype),
        (any::<Index>(), proptest::char::range('a', 'z')).prop_map(|(at, letter)| Mistake::Misspell(at, letter)),
        Just(Mistake::Wrap),
        (33_usize..100).prop_map(Mistake::Overfill),
        "[a-zA-Z]{3,12}".prop_map(Mistake::AddBeside),
        any::<Index>().prop_map(Mistake::MoveInto),
    ]
}

/// Applies the mistake at `path`.
fn apply(manifest: &mut Value, path: &str, mistake: &Mistake) {
    let (parent, last) = path.rsplit_once('/').unwrap();
    let last = last.replace("~1", "/").replace("~0", "~");
    let Some(parent_value) = manifest.pointer_mut(parent) else { return };
    match mistake {
        Mistake::Retype(value) => parent_value.pointer_mut(&path[parent.len()..]).map_or((), |at| *at = value.clone()),
        Mistake::Wrap => {
            if let Some(at) = parent_value.pointer_mut(&path[parent.len()..]) {
                *at = json!([at.clone()]);
            }
        }
        Mistake::Misspell(at, letter) => {
            if let Some(map) = parent_value.as_object_mut()
                && let Some(value) = map.remove(&last)
            {
                let mut letters: Vec<char> = last.chars().collect();
                let index = at.index(letters.len());
                letters[index] = if letters[index] == *letter { '_' } else { *letter };
                map.insert(letters.into_iter().collect(), value);
            }
        }
        Mistake::Overfill(count) => {
            if let Some(map) = parent_value.as_object_mut() {
                map.extend((0..*count).map(|n| (format!("zz{n}"), json!(n))));
            }
        }
        Mistake::AddBeside(key) => {
            if let Some(map) = parent_value.as_object_mut() {
                map.entry(key.clone()).or_insert(json!(1));
            }
        }
        Mistake::MoveInto(at) => {
            let Some(map) = parent_value.as_object_mut() else { return };
            let Some(value) = map.remove(&last) else { return };
            let mut inner: Vec<&mut Map<String, Value>> = map.values_mut().filter_map(Value::as_object_mut).collect();
            match inner.len() {
                0 => drop(map.insert(last, value)),
                count => drop(inner[at.index(count)].insert(last, value)),
            }
        }
    }
}

fn intact() -> impl Strategy<Value = (Value, Target)> {
    let match_all = json!({"path": {"type": "PathPrefix", "value": "/"}});
    prop_oneof![
        Just((
            route(json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a"}],
                "rules": [{"matches": [match_all], "backendRefs": [{"name": "a", "port": 80}]}]})),
            service_a()
        )),
        Just((route(json!({"parentRefs": [{"name": "wp"}], "hostnames": ["a.example"], "rules": [{}]})), gateway_wp())),
        Just((
            option(json!({"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}],
                "options": auth()})),
            route_a()
        )),
        Just((namespace(json!({"labels": {"istio.io/use-waypoint": "wp", "team": "x"}})), gateway_wp())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn no_mistake_hides_what_an_object_would_have_governed(
        (manifest, target) in intact(),
        mistakes in proptest::collection::vec((any::<Index>(), mistake()), 1..3),
    ) {
        let mut mutant = manifest.clone();
        for (at, mistake) in &mistakes {
            let paths = paths(&mutant);
            if paths.is_empty() {
                return Ok(());
            }
            let path = at.get(&paths);
            // Another name in the place of one is another object, or another reference: not a mistake that shows.
            let renames = matches!(mistake, Mistake::Retype(Value::String(text)) if !text.is_empty());
            // Emptied lists and mappings are references taken out as a whole.
            let empties = matches!(mistake, Mistake::Retype(value) if *value == json!([]) || *value == json!({}));
            let others = path == "/metadata/labels" && matches!(mistake, Mistake::Retype(Value::Object(_)));
            let overwrites_namespace = path.starts_with("/metadata/namespace") && !matches!(mistake, Mistake::Retype(_) | Mistake::Wrap);
            if renames || empties || others || overwrites_namespace && matches!(mistake, Mistake::MoveInto(_)) {
                return Ok(());
            }
            apply(&mut mutant, path, mistake);
            // What was moved somewhere is gone if that is overwritten next: a reference taken out as a whole.
            if matches!(mistake, Mistake::MoveInto(_)) {
                break;
            }
        }
        let admission = admit(&mutant);
        if admission.rejected() && !admission.withholds {
            prop_assert!(admission.reach.may_govern(&target), "{mutant}\n{admission:?}");
        } else if !admission.rejected() {
            prop_assert!(admission.reach.may_govern(&target), "admitted: {mutant}\n{admission:?}");
        }
    }
}

/// A manifest that was cut off before its references says nothing of them.
/// Where a list of references is empty or missing, a field that nobody knows may be the list, wherever it stands. What
/// every object has in that place may not.
#[test]
fn beside_a_field_that_nobody_knows_no_references_are_not_none() {
    let at = |pointer: &str, field: &str, mut manifest: Value| {
        manifest.pointer_mut(pointer).unwrap()[field] = json!({"x": 1});
        manifest
    };
    for spec in [json!({"rules": 5}), json!({"rules": 5, "parentRefs": []})] {
        let nothing = route(spec);
        assert_eq!(broken(&nothing).reach, Reach::Known(vec![]), "{nothing}");
        let status = at("", "status", nothing.clone());
        assert_eq!(broken(&status).reach, Reach::Known(vec![]), "{status}: what an API server adds");
        for (pointer, field) in
            [("", "extra"), ("/spec", "extra"), ("/spec", "status"), ("/spec", "kind"), ("/spec", "metadata")]
        {
            let doubtful = at(pointer, field, nothing.clone());
            assert_eq!(broken(&doubtful).reach, Reach::Unknown, "{doubtful}");
        }
    }
    // A second mapping that only looks like the one that is read may be the one that is meant.
    for twin in ["Spec", "specs"] {
        let mut two = route(json!({"rules": 5}));
        two[twin] = json!({"parentRefs": [{"group": "", "kind": "Service", "name": "a"}]});
        assert_eq!(broken(&two).reach, Reach::Unknown, "{two}");
    }
    let mut labels = namespace(json!({"labels": null}));
    labels["spec"] = json!({"finalizers": 5});
    assert_eq!(broken(&labels).reach, Reach::Known(vec![]));
    labels["metadata"]["extra"] = json!({"x": 1});
    assert_eq!(broken(&labels).reach, Reach::Unknown, "{labels}");
    labels["metadata"].as_object_mut().unwrap().remove("extra");
    labels["extra"] = json!({"x": 1});
    assert_eq!(broken(&labels).reach, Reach::Unknown, "{labels}");
}

#[test]
fn a_manifest_without_a_spec_may_govern_anything() {
    for intact in [route(json!({})), option(json!({}))] {
        for spec in [None, Some(Value::Null)] {
            let mut cut = intact.clone();
            match spec {
                None => drop(cut.as_object_mut().unwrap().remove("spec")),
                Some(spec) => cut["spec"] = spec,
            }
            assert_eq!(broken(&cut).reach, Reach::Unknown, "{cut}");
        }
    }
}
