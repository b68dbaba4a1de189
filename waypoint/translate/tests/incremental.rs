//! Translating change after change comes to what translating everything at once comes to.
#![allow(clippy::unwrap_used)]

mod support;
mod world;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use api::{Kind, Name, ObjectRef, Snapshot};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proto::ResourceType;
use serde_json::{Value, json};
use support::{Edited, settings};
use waypoint_translate::{Quarantines, Settings, Translation, Translator, translate};
use world::{World, world};

fn same(one: &Translation, other: &Translation) {
    assert_eq!(one.report, other.report);
    assert_eq!(one.services, other.services);
    assert!(one.gateways.keys().eq(other.gateways.keys()));
    for (one, other) in one.gateways.values().zip(other.gateways.values()) {
        assert_eq!(one.resources, other.resources);
        assert_eq!(one.origins, other.origins);
        assert_eq!(one.objects, other.objects);
        assert_eq!(one.rules, other.rules);
        assert_eq!(one.ports, other.ports);
        assert_eq!(one.address, other.address);
    }
}

/// Routes lead to clusters that there are, and those with limits to none that is told on demand: Envoy does not count
/// a request whose cluster it does not know. Nor does it make a copy for one.
fn known_to_envoy(translation: &Translation) {
    fn actions<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| actions(value, found)),
            Value::Object(fields) => {
                found.extend(fields.get("route").filter(|action| action.is_object()));
                fields.values().for_each(|value| actions(value, found));
            }
            _ => {}
        }
    }
    for output in translation.gateways.values() {
        let clusters = output.resources.get(&ResourceType::Cluster);
        for scope in output.resources.get(&ResourceType::Scope).into_iter().flat_map(|scopes| scopes.values()) {
            let (scope, mut found) = (proto::yaml::json(&scope.body), Vec::new());
            actions(&scope, &mut found);
            for action in found {
                let shares = action["weighted_clusters"]["clusters"].as_array().into_iter().flatten();
                let names = shares.map(|share| &share["name"]).chain([&action["cluster"]]);
                for name in names.filter_map(Value::as_str).filter(|name| *name != "no-such-backend") {
                    assert!(clusters.unwrap().contains_key(name), "{action}");
                    let limited = action.get("rate_limits").is_some();
                    assert!(!(limited && waypoint_translate::on_demand(ResourceType::Cluster, name)), "{action}");
                }
                for copy in action["request_mirror_policies"].as_array().into_iter().flatten() {
                    let name = copy["cluster"].as_str().unwrap();
                    assert!(clusters.unwrap().contains_key(name), "{action}");
                    assert!(!waypoint_translate::on_demand(ResourceType::Cluster, name), "{action}");
                }
            }
        }
    }
}

/// Documents by kind, namespace and name, as a folder holds them; of those of one name the last.
fn folder(documents: Vec<Value>) -> BTreeMap<String, Value> {
    let key = |document: &Value| {
        let metadata = &document["metadata"];
        format!("{} {}/{}", document["kind"], metadata["namespace"], metadata["name"])
    };
    documents.into_iter().map(|document| (key(&document), document)).collect()
}

/// A JSON value with one of a few texts.
fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = Value> + Clone {
    select(texts).prop_map(|text| if text.is_empty() { Value::Null } else { json!(text) })
}

/// The same, read as YAML.
fn parts(texts: &'static [&'static str]) -> impl Strategy<Value = Value> + Clone {
    select(texts).prop_map(|text| serde_norway::from_str(text).unwrap())
}

/// Several of them, none twice.
fn some_of(texts: &'static [&'static str], number: RangeInclusive<usize>) -> impl Strategy<Value = Value> + Clone {
    let several = subsequence(texts, number);
    several.prop_map(|texts| texts.into_iter().map(|text| serde_norway::from_str::<Value>(text).unwrap()).collect())
}

const NAMESPACES: &[&str] = &["t", "u"];
const OPTIONS: &[&str] = &["q0", "q1", "q2"];
const TARGETS: &[&str] = &[
    "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r0}",
    "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: m0}",
    "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: m0, sectionName: rule-0}",
    "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: m1}",
    "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: m1, sectionName: rule-1}",
];
const SAYS: &[&str] = &[
    "{extauth: {configRef: {name: keys, namespace: t}}}",
    "{extauth: {configRef: {name: others, namespace: t}}, timeout: 5s}",
    "{extauth: {disable: true}}",
    "{rateLimitConfigs: {refs: [{name: few, namespace: t}]}, timeout: 3s}",
    "{rateLimitConfigs: {refs: [{name: gone, namespace: t}, {name: many, namespace: t}]}}",
    "{ratelimitBasic: {anonymousLimits: {unit: HOUR, requestsPerUnit: 1}}}",
    "{timeout: nonsense}",
];
const PARENTS: &[&str] = &[
    "{group: '', kind: Service, name: a, namespace: t}",
    "{group: '', kind: Service, name: c, namespace: u}",
    "{group: '', kind: Service, name: d, namespace: t}",
    "{name: wp, namespace: t}",
    "{name: wq, namespace: u}",
];
const RULES: &[&str] = &[
    "{name: rule-0, backendRefs: [{name: c, namespace: u, port: 80}]}",
    "{name: rule-1, matches: [{path: {value: /p}}], backendRefs: [{name: d, namespace: t, port: 80}, {name: c, namespace: u, port: 80}]}",
    "{name: rule-2, matches: [{path: {value: /x}}, {path: {value: /p}}], filters: [{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: q0}}, {type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: q1}}], backendRefs: [{name: d, namespace: t, port: 80}]}",
    "{name: rule-3, matches: [{path: {value: /q}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere.example}}]}",
    "{name: rule-4, matches: [{path: {value: /x}}], filters: [{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: q1}}], backendRefs: [{name: c, namespace: u, port: 80}]}",
];

/// One object beside those of a world: of two namespaces, of which each may refer to the other and has a Gateway.
fn beside() -> impl Strategy<Value = Value> {
    const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
    let grant = (select(NAMESPACES), one_of(NAMESPACES), parts(&["{group: '', kind: Service}", "{group: '', kind: Service, name: c}"]))
        .prop_map(|(namespace, from, to)| json!({"apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
            "metadata": {"name": "g", "namespace": namespace},
            "spec": {"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": from}], "to": [to]}}));
    let service = (
        select(&[("c", "u"), ("d", "t")][..]),
        one_of(&["127.0.20.2", "127.0.20.7", "127.0.20.8"]),
        parts(&[
            "{}",
            "{istio.io/use-waypoint: wq, istio.io/use-waypoint-namespace: u}",
            "{istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: t}",
        ]),
    )
        .prop_map(|((name, namespace), ip, labels)| {
            json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"clusterIP": ip, "ports": [{"port": 80, "name": "http"}, {"port": 81, "name": "tcp"}]}})
        });
    let route = (
        select(&["m0", "m1"][..]),
        select(NAMESPACES),
        some_of(PARENTS, 1..=3),
        some_of(RULES, 1..=3),
        one_of(&["a.example", ""]),
    )
        .prop_map(|(name, namespace, parents, rules, host)| {
            json!({"apiVersion": GATEWAY_API, "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"parentRefs": parents, "rules": rules,
                "hostnames": if host.is_null() { json!([]) } else { json!([host]) }}})
        });
    let age = one_of(&["", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]);
    let option = (select(OPTIONS), select(&["t", "t", "u"][..]), age, some_of(TARGETS, 0..=4), parts(SAYS)).prop_map(
        |(name, namespace, age, targets, options)| {
            json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": age},
            "spec": {"targetRefs": targets, "options": options}})
        },
    );
    let slice = (
        select(&["one", "two"][..]),
        select(NAMESPACES),
        one_of(&["a", "c", "d"]),
        one_of(&["127.0.0.1", "127.0.10.1", "127.0.10.2"]),
    )
        .prop_map(|(name, namespace, of, address)| {
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "addressType": "IPv4",
            "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": of}},
            "ports": [{"name": "http", "port": 15088}], "endpoints": [{"addresses": [address]}]})
        });
    let gateway = (
        select(&[("wp", "t"), ("wq", "u")][..]),
        one_of(&["istio.io/PROXY", "istio.io/PROXY", "istio.io/PROXY", "istio.io/PROXY", "istio.io/HBONE"]),
        one_of(&["Same", "All"]),
        one_of(&["gloo-waypoint", "gloo-waypoint", "gloo-waypoint", "gloo-waypoint", "elsewhere"]),
    )
        .prop_map(|((name, namespace), protocol, from, class)| json!({"apiVersion": GATEWAY_API, "kind": "Gateway",
            "metadata": {"name": name, "namespace": namespace}, "spec": {"gatewayClassName": class,
            "listeners": [{"name": "proxy", "port": 15088, "protocol": protocol, "allowedRoutes": {"namespaces": {"from": from}}}]}}));
    let config = (one_of(&["keys", "others"]), one_of(&["x-org", "x-role", ""])).prop_map(|(name, header)| {
        let headers = header.as_str().map(|header| json!({header: {"name": "org"}}));
        json!({"apiVersion": "enterprise.gloo.solo.io/v1", "kind": "AuthConfig", "metadata": {"name": name, "namespace": "t"},
            "spec": {"configs": [{"apiKeyAuth": {"headerName": "api-key", "labelSelector": {"team": "x"},
                "headersFromMetadataEntry": headers.unwrap_or_else(|| json!({}))}}]}})
    });
    let namespace = parts(&["{}", "{istio.io/use-waypoint: wq}", "{istio.io/use-waypoint: [1]}"]).prop_map(
        |labels| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "u", "labels": labels}}),
    );
    prop_oneof![
        3 => grant,
        4 => service,
        6 => route,
        6 => option,
        2 => slice,
        3 => gateway,
        1 => config,
        1 => namespace,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_sequence_of_edits_ends_where_a_fresh_start_does(
        first in world(),
        // Now and then much of it, mostly a few files.
        edits in vec((weighted(0.3, world()), vec(beside(), 0..8)), 1..8),
        choices in vec(any::<u8>(), 64),
        clusters_on_demand in any::<bool>(),
    ) {
        let settings = Settings { clusters_on_demand, ..settings() };
        let mut translator = Translator::new(settings.clone());
        let mut choices = choices.into_iter().cycle();
        let (mut files, mut edited) = (folder(first.documents()), Edited::default());
        for (world, beside) in &edits {
            let world = world.as_ref().map(World::documents).unwrap_or_default();
            // Some files of the next world come, some of the last one go, others stay.
            for (key, document) in folder([world, beside.clone()].concat()) {
                if choices.next().unwrap() % 3 > 0 {
                    files.insert(key, document);
                }
            }
            files.retain(|_, _| choices.next().unwrap() % 32 > 0);
            let snapshot = edited.now(files.values().cloned().collect());
            let (translation, _) = translator.translate(snapshot, Quarantines::new());
            same(&translation, &translate(snapshot, &settings));
            known_to_envoy(&translation);
            let (again, _) = translator.translate(snapshot, Quarantines::new());
            same(&again, &translation);
            prop_assert_eq!(translator.made(&Name::new("t", "wp")), 0);
            let mut fresh = Translator::new(settings.clone());
            fresh.translate(snapshot, Quarantines::new());
            prop_assert_eq!(translator.differences(&fresh), Vec::<&str>::new());
        }
    }
}

/// After each of these edits everything is as if it had just begun.
#[test]
fn what_a_decision_rests_on_in_another_namespace_or_object_is_noticed() {
    let yaml = |text: &str| serde_norway::from_str::<Value>(text).unwrap();
    let slice = |of: &str, address: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "one", "namespace": "t", "labels": {"kubernetes.io/service-name": of}},
            "ports": [{"name": "http", "port": 15088}], "endpoints": [{"addresses": [address]}]})
    };
    let option = |name: &str, age: &str, routes: &[&str], timeout: &str| {
        let mut option = policy(name, timeout);
        option["metadata"]["creationTimestamp"] = json!(age);
        let target = |route: &&str| json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": route});
        option["spec"]["targetRefs"] = routes.iter().map(target).collect();
        option
    };
    let (old, young) = ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
    let mut abroad = route_to("s0", "s0");
    abroad["spec"]["rules"][0]["backendRefs"][0]["namespace"] = json!("u");
    let mut service = service("s0", "127.0.30.9");
    service["metadata"]["namespace"] = json!("u");
    let grant = yaml(
        "{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {name: g, namespace: u}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: t}], to: [{group: '', kind: Service}]}}",
    );
    let gone = |kind: Kind, namespace: &str, name: &str| Err(ObjectRef::new(kind, namespace, name));
    let edits: Vec<Result<Value, ObjectRef>> = vec![
        Ok(service),
        Ok(abroad),
        Ok(grant.clone()),
        gone(Kind::ReferenceGrant, "u", "g"),
        Ok(grant),
        // Two routes, then one, then the other; and one that comes back younger than it was.
        Ok(option("x", old, &["s1", "s2"], "7s")),
        Ok(option("y", young, &["s2", "s1"], "8s")),
        Ok(option("x", old, &["s1"], "7s")),
        Ok(option("x", old, &["s2"], "7s")),
        Ok(option("x", old, &["s1", "s2"], "7s")),
        gone(Kind::RouteOption, "t", "x"),
        Ok(option("x", "2026-01-01T00:00:00Z", &["s1", "s2"], "7s")),
        Ok(option("x", old, &["s1", "s2"], "7s")),
        Ok(slice("s1", "127.0.10.1")),
        Ok(slice("s2", "127.0.10.1")),
        Ok(slice("s2", "127.0.0.1")),
        Ok(slice("s1", "127.0.0.1")),
        gone(Kind::EndpointSlice, "t", "one"),
        gone(Kind::Gateway, "t", "wp"),
    ];
    let mut folder = Folder::new(3);
    let mut last = None;
    for edit in edits {
        match &edit {
            Ok(document) => folder.apply(document),
            Err(object) => folder.snapshot.remove(object),
        }
        folder.snapshot.revision += 1;
        let (translation, _) = folder.translator.translate(&folder.snapshot, Quarantines::new());
        same(&translation, &translate(&folder.snapshot, &settings()));
        let now = (support::xds(&translation), support::status(&translation, &[]));
        assert_ne!(last.as_ref(), Some(&now), "{edit:?} makes a difference");
        last = Some(now);
    }
}

/// A folder of Services, each with a route and a policy, of which one thing is edited at a time.
struct Folder {
    snapshot: Snapshot,
    translator: Translator,
}

impl Folder {
    fn new(services: usize) -> Self {
        let world = World { services: BTreeMap::new(), routes: vec![], policies: vec![] };
        let mut folder = Self { snapshot: Snapshot::default(), translator: Translator::new(settings()) };
        world.documents().iter().for_each(|document| folder.apply(document));
        for n in 0..services {
            let name = format!("s{n}");
            folder.apply(&service(&name, &format!("127.0.{}.{}", 21 + n / 250, 1 + n % 250)));
            folder.apply(&route(&name, "/"));
            folder.apply(&policy(&name, "3s"));
        }
        folder
    }

    fn apply(&mut self, document: &Value) {
        let admission = api::admit(document);
        assert!(!admission.rejected(), "{:?}", admission.problems);
        self.snapshot.declare(admission);
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        self.snapshot.remove(&ObjectRef::new(kind, "t", name));
    }

    /// How many units are decided anew, and how many tables and clusters are written anew.
    fn translate(&mut self) -> (usize, usize) {
        self.snapshot.revision += 1;
        self.translator.translate(&self.snapshot, Quarantines::new());
        (self.translator.remade(), self.translator.made(&Name::new("t", "wp")))
    }
}

fn service(name: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "t"},
        "spec": {"clusterIP": ip, "ports": [{"port": 80, "name": "http"}]}})
}

fn route(name: &str, path: &str) -> Value {
    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "t"},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": name}],
        "rules": [{"matches": [{"path": {"type": "PathPrefix", "value": path}}],
        "backendRefs": [{"name": name, "port": 80}]}]}})
}

fn policy(name: &str, timeout: &str) -> Value {
    json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption", "metadata": {"name": name, "namespace": "t"},
        "spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}],
        "options": {"timeout": timeout}}})
}

fn slice(name: &str) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "t", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": ["127.0.10.1"]}]})
}

/// What is decided and written anew of forty Services when one thing changes.
#[test]
fn one_edit_remakes_one_unit() {
    let mut folder = Folder::new(40);
    // A table and a cluster for each.
    assert_eq!(folder.translate(), (40, 80));
    assert_eq!(folder.translate(), (0, 0));

    folder.apply(&policy("s7", "4s"));
    assert_eq!(folder.translate(), (1, 1), "a policy: the table of its Service");
    folder.apply(&policy("s7", "4s"));
    assert_eq!(folder.translate(), (1, 0), "the same policy once more");
    folder.apply(&route("s7", "/x"));
    assert_eq!(folder.translate(), (1, 1), "a route: the table of its Service");
    folder.remove(Kind::HttpRoute, "s7");
    folder.remove(Kind::RouteOption, "s7");
    assert_eq!(folder.translate(), (1, 1), "no route: the table of its Service");
    folder.apply(&service("new", "127.0.30.1"));
    assert_eq!(folder.translate(), (1, 2), "a Service: its table and cluster");
    folder.apply(&slice("s8"));
    assert_eq!(folder.translate(), (0, 1), "endpoints: a cluster");
    folder.remove(Kind::Service, "s9");
    assert_eq!(folder.translate(), (0, 0), "nothing is left to make");
    folder.apply(&service("s9", "127.0.30.2"));
    assert_eq!(folder.translate().0, 1, "one that comes back");
    folder.remove(Kind::AuthConfig, "keys");
    assert_eq!(folder.translate(), (0, 0), "an AuthConfig that nobody asks");
}

/// A route of `name` that leads to `to`.
fn route_to(name: &str, to: &str) -> Value {
    let mut route = route(name, "/");
    route["spec"]["rules"][0]["backendRefs"][0]["name"] = json!(to);
    route
}

/// A cluster is written when the first route leads there, and taken away with the last.
#[test]
fn what_several_routes_lead_to_is_there_until_the_last_leads_elsewhere() {
    let mut folder = Folder::new(3);
    folder.apply(&service("shared", "127.0.30.3"));
    folder.translate();
    let mut step = |document: Value, made: usize, there: bool, what: &str| {
        folder.apply(&document);
        assert_eq!(folder.translate().1, made, "{what}");
        let (translation, _) = folder.translator.translate(&folder.snapshot, Quarantines::new());
        same(&translation, &translate(&folder.snapshot, &settings()));
        let clusters = &translation.gateways[&Name::new("t", "wp")].resources[&proto::ResourceType::Cluster];
        assert_eq!(clusters.iter().any(|(name, _)| name.contains("t/s1")), there, "{what}");
    };
    step(route_to("s0", "s1"), 1, true, "a second route to s1: the table that it is in, and no cluster");
    step(route_to("s1", "shared"), 1, true, "its own route leads elsewhere, one is left");
    step(route_to("s2", "s1"), 1, true, "two again");
    step(route_to("s0", "shared"), 1, true, "one is left");
    step(route_to("s2", "shared"), 1, false, "none is left");
    step(route_to("s1", "s1"), 2, true, "the first one again: a table and a cluster");
}

/// Connections to either address of a Service are passed on unread.
#[test]
fn a_port_that_is_not_read_is_not_read_on_any_address_of_its_service() {
    let mut folder = Folder::new(1);
    folder.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "broker", "namespace": "t"},
        "spec": {"clusterIP": "127.0.20.9", "clusterIPs": ["127.0.20.9", "fd00::9"],
        "ports": [{"port": 5672, "name": "tcp"}]}}));
    let (translation, _) = folder.translator.translate(&folder.snapshot, Quarantines::new());
    let resources = &translation.gateways[&Name::new("t", "wp")].resources[&proto::ResourceType::Listener];
    let text: String = resources.values().map(|listener| proto::yaml::yaml(&listener.body)).collect();
    assert!(text.contains("127.0.20.9") && text.contains("fd00::9"), "{text}");
}

/// Their chain stays what it was, but the clusters that bear the names of their addresses do not.
#[test]
fn endpoints_of_ports_that_are_not_read_come_and_go() {
    let slice = |address: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "broker", "namespace": "t", "labels": {"kubernetes.io/service-name": "broker"}},
            "ports": [{"name": "tcp", "port": 8080}, {"name": "client", "port": 8081}],
            "endpoints": [{"addresses": [address]}]})
    };
    let mut folder = Folder::new(1);
    folder.apply(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "broker", "namespace": "t"},
        "spec": {"clusterIP": "127.0.20.9", "ports": [{"port": 80, "name": "tcp"}, {"port": 81, "name": "client"}]}}));
    let mut last = None;
    for address in [None, Some("127.0.10.1"), Some("127.0.10.2"), None] {
        match address {
            Some(address) => folder.apply(&slice(address)),
            None => folder.remove(Kind::EndpointSlice, "broker"),
        }
        folder.snapshot.revision += 1;
        let (translation, _) = folder.translator.translate(&folder.snapshot, Quarantines::new());
        same(&translation, &translate(&folder.snapshot, &settings()));
        let resources = translation.gateways[&Name::new("t", "wp")].resources.clone();
        assert_ne!(last.as_ref(), Some(&resources), "{address:?}");
        last = Some(resources);
    }
}
