//! Translating change after change comes to what translating everything at once comes to.
#![allow(clippy::unwrap_used)]

mod support;
mod world;

use std::collections::BTreeMap;

use api::Name;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{settings, snapshot};
use waypoint_translate::{Quarantines, Translation, Translator, translate};
use world::{World, world};

fn same(one: &Translation, other: &Translation) {
    assert_eq!(one.report, other.report);
    assert_eq!(one.services, other.services);
    assert!(one.gateways.keys().eq(other.gateways.keys()));
    for (one, other) in one.gateways.values().zip(other.gateways.values()) {
        assert_eq!(one.resources, other.resources);
        assert_eq!(one.origins, other.origins);
        assert_eq!(one.rules, other.rules);
        assert_eq!(one.address, other.address);
    }
}

/// Documents by kind and name, as a folder holds them.
fn folder(documents: Vec<Value>) -> BTreeMap<String, Value> {
    let key = |document: &Value| format!("{} {}", document["kind"], document["metadata"]["name"]);
    documents.into_iter().map(|document| (key(&document), document)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_sequence_of_edits_ends_where_a_fresh_start_does(
        worlds in vec(world(), 1..5),
        choices in vec(any::<u8>(), 64),
    ) {
        let mut translator = Translator::new(settings());
        let mut choices = choices.into_iter().cycle();
        let mut files = BTreeMap::new();
        for world in &worlds {
            // Some files of the next world come, some of the last one go, others stay.
            for (key, document) in folder(world.documents()) {
                if files.is_empty() || choices.next().unwrap() % 3 > 0 {
                    files.insert(key, document);
                }
            }
            files.retain(|_, _| choices.next().unwrap() % 16 > 0);
            let (snapshot, _) = snapshot(&files.values().cloned().collect::<Vec<_>>());
            let (translation, _) = translator.translate(&snapshot, Quarantines::new());
            same(&translation, &translate(&snapshot, &settings()));
            let (again, _) = translator.translate(&snapshot, Quarantines::new());
            same(&again, &translation);
            prop_assert_eq!(translator.made(&Name::new("t", "wp")), 0);
        }
    }
}

/// What is written anew of forty Services when one thing changes.
#[test]
fn one_edit_writes_one_thing_anew() {
    let gateway = Name::new("t", "wp");
    let world = World { services: BTreeMap::new(), routes: vec![], policies: vec![] };
    let mut files = folder(world.documents());
    for n in 0..40 {
        let name = format!("s{n}");
        let more = folder(vec![
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "t"},
                "spec": {"clusterIP": format!("127.0.21.{n}"), "ports": [{"port": 80, "name": "http"}]}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
                "metadata": {"name": name, "namespace": "t"},
                "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": name}],
                "rules": [{"backendRefs": [{"name": name, "port": 80}]}]}}),
            json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption",
                "metadata": {"name": name, "namespace": "t"},
                "spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}],
                "options": {"timeout": "3s"}}}),
        ]);
        files.extend(more);
    }
    let mut translator = Translator::new(settings());
    let mut translate = |files: &BTreeMap<String, Value>| {
        let (snapshot, problems) = snapshot(&files.values().cloned().collect::<Vec<_>>());
        assert!(problems.is_empty(), "{problems:?}");
        translator.translate(&snapshot, Quarantines::new());
        translator.made(&gateway)
    };
    // A table, a cluster and a chain for each.
    assert_eq!(translate(&files), 120);
    assert_eq!(translate(&files), 0);

    files.get_mut("\"RouteOption\" \"s7\"").unwrap()["spec"]["options"]["timeout"] = json!("4s");
    assert_eq!(translate(&files), 1, "a policy: the table of its Service");
    files.get_mut("\"HTTPRoute\" \"s7\"").unwrap()["spec"]["rules"][0]["matches"] =
        json!([{"path": {"type": "Exact", "value": "/x"}}]);
    assert_eq!(translate(&files), 1, "a route: the table of its Service");
    files.remove("\"HTTPRoute\" \"s7\"");
    files.remove("\"RouteOption\" \"s7\"");
    assert_eq!(translate(&files), 1, "no route: the table of its Service");
    files.insert(
        "new".into(),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "new", "namespace": "t"},
            "spec": {"clusterIP": "127.0.22.1", "ports": [{"port": 80, "name": "http"}]}}),
    );
    assert_eq!(translate(&files), 3, "a Service: its table, cluster and chain");
}
