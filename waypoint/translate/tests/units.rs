//! Resolving edit after edit comes to what resolving everything at once comes to, whatever the edits are:
//! objects of every kind come, go, are changed, broken and mended, alone and several at once.
#![allow(clippy::unwrap_used)]

mod support;

use api::{Kind, ObjectRef, Snapshot, Withheld};
use proptest::collection::vec;
use proptest::prelude::*;
use resolve::{Resolved, Resolver, resolve};
use serde_json::{Value, json};
use support::{Edited, settings};
use waykeeper_tests::manifests::documents;

/// One object in all its versions; the first is what the world begins with, and none means that it is not there.
struct Story {
    kind: Kind,
    namespace: &'static str,
    name: &'static str,
    versions: Vec<Option<Value>>,
}

impl Story {
    fn reference(&self) -> ObjectRef {
        ObjectRef::new(self.kind, self.namespace, self.name)
    }

    /// Puts the version in place of what is there. Where `forget` is set, the last good one does not stay.
    fn apply(&self, version: usize, forget: bool, snapshot: &mut Snapshot) {
        let version = &self.versions[version % self.versions.len()];
        if forget || version.is_none() {
            snapshot.remove(&self.reference());
        }
        let Some(spec) = version else { return };
        let mut document = json!({"apiVersion": self.kind.api_versions()[0], "kind": self.kind.as_str(),
            "metadata": {"name": self.name}});
        if self.kind.namespaced() {
            document["metadata"]["namespace"] = json!(self.namespace);
        }
        merge(&mut document, spec);
        snapshot.declare(api::admit(&document));
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(key, value)| merge(into.entry(key.clone()).or_insert(Value::Null), value));
        }
        (into, from) => *into = from.clone(),
    }
}

fn stories() -> Vec<Story> {
    let story = |kind, namespace, name, versions| Story { kind, namespace, name, versions };
    let mut stories = Vec::new();
    for namespace in ["t", "u"] {
        let label = |value: Value| Some(json!({"metadata": {"labels": {"istio.io/use-waypoint": value, "team": "x"}}}));
        let elsewhere = json!({"istio.io/use-waypoint": "wp", "istio.io/use-waypoint-namespace": "t"});
        stories.push(story(
            Kind::Namespace,
            "",
            namespace,
            vec![
                Some(json!({"metadata": {"labels": elsewhere}})),
                label(json!("nowhere")),
                label(json!("second")),
                label(json!(true)),
                Some(json!({"metadata": {"labels": {"team": "y"}}})),
                Some(json!({"metadata": {"labels": ["x"]}})),
                None,
            ],
        ));
    }
    let class = |name: &str| Some(json!({"spec": {"controllerName": name}}));
    stories.push(story(Kind::GatewayClass, "", "gloo-waypoint", vec![None, class("example.com/other")]));
    for name in ["wp", "second"] {
        let gateway = |class: &str, port: u16, protocol: &str, from: Value| {
            Some(json!({"spec": {"gatewayClassName": class, "listeners": [{"name": "proxy", "port": port,
                "protocol": protocol, "allowedRoutes": {"namespaces": from}}]}}))
        };
        let (all, same) = (json!({"from": "All"}), json!({"from": "Same"}));
        let selected = json!({"from": "Selector", "selector": {"matchLabels": {"team": "x"}}});
        stories.push(story(
            Kind::Gateway,
            "t",
            name,
            vec![
                gateway("gloo-waypoint", 15088, "istio.io/PROXY", all.clone()),
                gateway("gloo-waypoint", 15088, "istio.io/PROXY", same),
                gateway("gloo-waypoint", 15089, "istio.io/PROXY", selected),
                gateway("gloo-waypoint", 15008, "istio.io/HBONE", all.clone()),
                gateway("other", 15088, "istio.io/PROXY", all),
                Some(json!({"spec": {"gatewayClassName": "gloo-waypoint", "listeners": 7}})),
                None,
            ],
        ));
    }
    for (namespace, name, own) in [("t", "a", 2), ("t", "b", 3), ("u", "c", 4)] {
        let service =
            |ip: u8, ports: Value| Some(json!({"spec": {"clusterIP": format!("127.0.20.{ip}"), "ports": ports}}));
        let http = json!([{"name": "http", "port": 80}, {"name": "data", "port": 6379}]);
        let mut labelled = service(own, http.clone()).unwrap();
        labelled["metadata"] = json!({"labels": {"istio.io/use-waypoint": "second",
            "istio.io/use-waypoint-namespace": "t"}, "annotations": {"waykeeper.dev/doubtful-paths": "keep"}});
        stories.push(story(
            Kind::Service,
            namespace,
            name,
            vec![
                service(own, http.clone()),
                service(if own == 2 { 3 } else { 2 }, http.clone()),
                service(3, json!([{"name": "tcp", "port": 80}])),
                service(own, json!([{"name": "web", "port": 80, "appProtocol": "kubernetes.io/h2c"}])),
                Some(labelled),
                Some(json!({"spec": {"clusterIP": "None", "ports": http}})),
                Some(json!({"spec": {"ports": [{"port": 0}]}})),
                None,
            ],
        ));
    }
    for name in ["one", "two"] {
        let slice = |service: &str, port_name: &str, address: &str, port: u16| {
            Some(json!({"metadata": {"labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4",
                "ports": [{"name": port_name, "port": port}], "endpoints": [{"addresses": [address]}]}))
        };
        stories.push(story(
            Kind::EndpointSlice,
            "t",
            name,
            vec![
                slice("a", "http", "127.0.10.1", 8080),
                slice("b", "http", "127.0.10.2", 8081),
                slice("a", "data", "127.0.10.3", 8082),
                slice("b", "http", "127.0.0.1", 15089),
                // The application of another Service.
                slice("b", "http", "127.0.10.1", 8080),
                Some(json!({"metadata": {"labels": {"kubernetes.io/service-name": "a"}}, "addressType": "IPv4",
                    "ports": [{"name": "data", "port": 8082}, {"name": "http", "port": 8080}],
                    "endpoints": [{"addresses": ["127.0.10.3"], "conditions": {"ready": false}},
                        {"addresses": ["127.0.10.1", "127.0.10.2"]}]})),
                Some(json!({"metadata": {"labels": {"kubernetes.io/service-name": "b"}}, "addressType": "FQDN",
                    "ports": [{"name": "http", "port": 8080}], "endpoints": [{"addresses": ["one.example", "two.example"]}]})),
                None,
            ],
        ));
    }
    let service = |name: &str| json!({"group": "", "kind": "Service", "name": name});
    let backend = |namespace: &str, name: &str| json!([{"name": name, "namespace": namespace, "port": 80}]);
    let option = |name: &str| {
        json!({"type": "ExtensionRef", "extensionRef":
        {"group": "gateway.solo.io", "kind": "RouteOption", "name": name}})
    };
    for (namespace, name) in [("t", "r0"), ("t", "r1"), ("u", "r2")] {
        let home = if namespace == "t" { "a" } else { "c" };
        let rules = json!([{"name": "first", "matches": [{"path": {"type": "Exact", "value": "/x"}}],
            "backendRefs": backend(namespace, home)}, {"name": "rest", "backendRefs": backend("t", "b")}]);
        let gateway = json!({"name": "wp", "namespace": "t"});
        stories.push(story(
            Kind::HttpRoute,
            namespace,
            name,
            vec![
                Some(json!({"spec": {"parentRefs": [service(home)], "rules": rules}})),
                Some(json!({"spec": {"parentRefs": [gateway], "hostnames": ["x.example"], "rules": rules}})),
                Some(json!({"spec": {"parentRefs": [service(home), gateway], "rules": [
                    {"filters": [option("p0")], "backendRefs": backend("u", "c")}]}})),
                Some(json!({"spec": {"parentRefs": [service("b")], "rules": [
                    {"name": "other", "backendRefs": backend("t", "a")}]}})),
                Some(json!({"spec": {"parentRefs": [{"group": "", "kind": "Service", "name": home, "port": 6379}],
                    "rules": rules}})),
                Some(json!({"spec": {"parentRefs": [{"name": "second", "namespace": "t"}, service("nowhere")],
                    "rules": [{}]}})),
                Some(json!({"spec": {"rules": rules}})),
                Some(json!({"spec": {"parentRefs": [service(home)], "rules": 7}})),
                Some(json!({"spec": {"parentRefs": {"x": 1}, "rules": rules}})),
                None,
            ],
        ));
    }
    // One has the name of a route of another kind.
    for (namespace, name) in [("t", "r0"), ("u", "g1")] {
        let home = if namespace == "t" { "a" } else { "c" };
        let gateway = json!({"name": "wp", "namespace": "t"});
        let rules = json!([{"name": "first", "matches": [{"method": {"service": "s.S", "method": "M"}}],
            "backendRefs": backend(namespace, home)}, {"name": "rest", "backendRefs": backend("t", "b")}]);
        stories.push(story(
            Kind::GrpcRoute,
            namespace,
            name,
            vec![
                Some(json!({"spec": {"parentRefs": [service("b")], "rules": []}})),
                Some(json!({"spec": {"parentRefs": [service(home)], "rules": rules}})),
                Some(json!({"metadata": {"creationTimestamp": "2024-01-01T10:00:00Z"},
                    "spec": {"parentRefs": [gateway], "hostnames": ["x.example"], "rules": rules}})),
                Some(json!({"spec": {"parentRefs": [{"group": "", "kind": "Service", "name": home, "port": 80}],
                    "rules": [{"filters": [option("p0")], "backendRefs": backend("u", "c")}]}})),
                Some(json!({"spec": {"parentRefs": [service(home)], "rules": 7}})),
                Some(json!({"spec": {"parentRefs": {"x": 1}, "rules": rules}})),
                None,
            ],
        ));
    }
    for (namespace, name) in [("t", "p0"), ("t", "p1"), ("u", "p2")] {
        let route = if namespace == "t" { "r0" } else { "r2" };
        let on = |route: &str, section: Option<&str>| {
            let mut target = json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": route});
            section.into_iter().for_each(|section| target["sectionName"] = json!(section));
            json!([target])
        };
        let guard = json!({"extauth": {"configRef": {"name": "keys", "namespace": "t"}}});
        let limit = json!({"rateLimitConfigs": {"refs": [{"name": "few", "namespace": "t"}]}, "timeout": "3s"});
        let basic = json!({"ratelimitBasic": {"anonymousLimits": {"unit": "MINUTE", "requestsPerUnit": 1},
            "authorizedLimits": {"unit": "MINUTE", "requestsPerUnit": 9}}});
        let made = |time: &str, spec: Value| Some(json!({"metadata": {"creationTimestamp": time}, "spec": spec}));
        stories.push(story(
            Kind::RouteOption,
            namespace,
            name,
            vec![
                Some(json!({"spec": {"targetRefs": on(route, None), "options": guard}})),
                made("2024-01-01T10:00:00Z", json!({"targetRefs": on(route, None), "options": limit})),
                made("2024-01-01T09:00:00Z", json!({"targetRefs": on("r1", Some("rest")), "options": basic})),
                Some(json!({"spec": {"targetRefs": on(route, Some("other")), "options": guard}})),
                Some(json!({"spec": {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "GRPCRoute",
                    "name": "r0", "sectionName": "first"}], "options": guard}})),
                Some(json!({"spec": {"targetRefs": on("r1", None), "options": {"extauth": {"disable": true}}}})),
                Some(json!({"spec": {"options": limit}})),
                Some(json!({"spec": {"targetRefs": on(route, None), "options": {"nonsense": 1}}})),
                Some(json!({"spec": {"targetRefs": [service("a")], "options": guard}})),
                Some(json!({"spec": {"targetRefs": 7, "options": guard}})),
                None,
            ],
        ));
    }
    let keys = |headers: Value| {
        Some(json!({"spec": {"configs": [{"apiKeyAuth": {"headerName": "api-key", "labelSelector": {"team": "x"},
            "headersFromMetadata": headers}}]}}))
    };
    stories.push(story(
        Kind::AuthConfig,
        "t",
        "keys",
        vec![
            keys(json!({"x-organization": {"name": "org"}})),
            keys(json!({})),
            Some(json!({"spec": {"configs": 7}})),
            None,
        ],
    ));
    let counts_by = |header: &str| {
        Some(
            json!({"spec": {"raw": {"descriptors": [{"key": "k", "rateLimit": {"unit": "HOUR", "requestsPerUnit": 1}}],
            "rateLimits": [{"actions": [{"requestHeaders": {"headerName": header, "descriptorKey": "k"}}]}]}}}),
        )
    };
    stories.push(story(
        Kind::RateLimitConfig,
        "t",
        "few",
        vec![counts_by("x-organization"), counts_by("x-other"), Some(json!({"spec": {"raw": 7}})), None],
    ));
    let grant = |from: &str| {
        Some(json!({"spec": {"from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": from}],
            "to": [{"group": "", "kind": "Service"}]}}))
    };
    for namespace in ["t", "u"] {
        let other = if namespace == "t" { "u" } else { "t" };
        stories.push(story(Kind::ReferenceGrant, namespace, "g", vec![grant(other), grant("w"), None]));
    }
    stories
}

fn same(step: usize, one: &Resolved, other: &Resolved) {
    assert!(one.services == other.services, "step {step}: {:#?}\n{:#?}", one.services, other.services);
    for (object, said) in &one.report {
        assert_eq!(Some(said), other.report.get(object), "step {step}: {object}");
    }
    assert!(one.report.keys().eq(other.report.keys()), "step {step}");
    for (name, proxy) in &one.proxies {
        let fresh = &other.proxies[name];
        for (listener, fresh) in proxy.listeners.iter().zip(&fresh.listeners) {
            for (id, chain) in &listener.chains {
                assert_eq!(Some(chain), fresh.chains.get(id), "step {step}: {name} {id}");
            }
        }
    }
    assert!(one.proxies == other.proxies, "step {step}: {:#?}\n{:#?}", one.proxies, other.proxies);
}

/// What one save of a folder changes: some objects, each with its version and whether the last good one is
/// forgotten, and whether something withholds everything.
type Edit = (Vec<(u8, u8, bool)>, bool);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let one = prop_oneof![4 => vec((any::<u8>(), any::<u8>(), any::<bool>()), 1..2), 1 => vec((any::<u8>(), any::<u8>(), any::<bool>()), 2..6)];
    vec((one, proptest::bool::weighted(0.03)), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn after_any_edits_what_is_decided_is_what_a_fresh_start_decides(edits in edits()) {
        let stories = stories();
        let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
        stories.iter().for_each(|story| story.apply(0, true, &mut snapshot));
        let mut resolver = Resolver::new(settings());
        same(0, &resolver.resolve(&snapshot), &resolve(&snapshot, &settings()));
        for (step, (changes, withheld)) in edits.into_iter().enumerate() {
            for (story, version, forget) in changes {
                stories[usize::from(story) % stories.len()].apply(version.into(), forget, &mut snapshot);
            }
            let why = Withheld { place: "a.yaml".into(), why: "is not YAML".into() };
            snapshot.withheld = if withheld { vec![why] } else { Vec::new() };
            let mut fresh = Resolver::new(settings());
            same(step + 1, &resolver.resolve(&snapshot), &fresh.resolve(&snapshot));
            prop_assert_eq!(resolver.differences(&fresh), Vec::<&str>::new(), "after step {}", step + 1);
        }
    }
}

/// Every version of every object takes part in something: else the law above would say little.
#[test]
fn each_version_of_each_object_changes_what_is_decided() {
    let stories = stories();
    let decided = |others: usize, at: usize, version: usize| {
        let mut snapshot = Snapshot { revision: 1, ..Snapshot::default() };
        for (number, story) in stories.iter().enumerate() {
            // As good as thrown: a third of them are not as in the beginning.
            let thrown = ((others * 31 + number * 17 + 1).wrapping_mul(2_654_435_761) >> 13) % 97;
            let version = if thrown.is_multiple_of(3) && others > 0 { thrown } else { 0 };
            story.apply(version, true, &mut snapshot);
        }
        stories[at].apply(version, true, &mut snapshot);
        resolve(&snapshot, &settings())
    };
    let differs = |one: &Resolved, other: &Resolved| {
        one.services != other.services || one.report != other.report || one.proxies != other.proxies
    };
    let mut idle = Vec::new();
    for (at, story) in stories.iter().enumerate() {
        for version in 1..story.versions.len() {
            // In some company of others, if not in the first.
            let matters = |others| differs(&decided(others, at, 0), &decided(others, at, version));
            if !(0..400).any(matters) {
                idle.push(format!("{} version {version}", story.reference()));
            }
        }
    }
    assert!(idle.is_empty(), "{idle:#?}");
}

/// Two Gateways, a Namespace that uses one of them, and a Service there with an endpoint.
const SMALL: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: t, labels: {istio.io/use-waypoint: wp}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: first, namespace: t}, spec: {gatewayClassName: gloo-waypoint, listeners: [{name: proxy, port: 15087, protocol: istio.io/PROXY}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: wp, namespace: t}, spec: {gatewayClassName: gloo-waypoint, listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a, namespace: t}, spec: {clusterIP: 127.0.20.2, ports: [{name: web, port: 80}, {name: tcp, port: 90}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, namespace: t, labels: {kubernetes.io/service-name: a}}, addressType: IPv4, endpoints: [{addresses: [127.0.0.1]}], ports: [{name: web, port: 15089}]}
---
";
/// A route `t/r` that sends what comes to `a` through authorization.
const GUARDED: &str = "
{apiVersion: enterprise.gloo.solo.io/v1, kind: AuthConfig, metadata: {name: keys, namespace: t}, spec: {configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {team: x}}}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: t}, spec: {parentRefs: [{group: '', kind: Service, name: a}], rules: [{backendRefs: [{name: a, port: 80}]}]}}
---
{apiVersion: gateway.solo.io/v1, kind: RouteOption, metadata: {name: auth, namespace: t}, spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}], options: {extauth: {configRef: {name: keys, namespace: t}}}}}
---
";

/// Resolves these folders one after another: each has to come to what it comes to by itself, and to
/// something else than the one before.
fn in_turn(folders: &[&str]) -> Resolver {
    let mut resolver = Resolver::new(settings());
    let mut last: Option<Resolved> = None;
    let mut folder = Edited::default();
    for (step, yaml) in folders.iter().enumerate() {
        let snapshot = folder.now(documents(yaml));
        let resolved = resolver.resolve(snapshot);
        same(step, &resolved, &resolve(snapshot, &settings()));
        if let Some(last) = last.replace(resolved.clone()) {
            assert!(last.proxies != resolved.proxies || last.report != resolved.report, "step {step} changes nothing");
        }
    }
    resolver
}

/// The same as the laws above for what must not be missed, each by itself and at once.
#[test]
fn what_begins_or_ceases_to_guard_is_noticed_whatever_else_stays() {
    let guarded = format!("{SMALL}{GUARDED}");
    let broken = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: b, namespace: t}, spec: {parentRefs: [{group: '', kind: Service, name: a}], rules: 7}}";
    // A route with a policy comes and goes: port 90 is closed by it.
    in_turn(&[SMALL, &guarded, SMALL]);
    // A route that is not valid comes to a Service and goes.
    in_turn(&[&guarded, &format!("{guarded}{broken}"), &guarded]);
    // Not the first of the Gateways stops serving, and serves again.
    let unserved = guarded.replace("port: 15088, protocol: istio.io/PROXY", "port: 15088, protocol: istio.io/HBONE");
    in_turn(&[&guarded, &unserved, &guarded]);
    // A Gateway begins to listen where a Service has its endpoint.
    let ours = guarded.replace("port: 15087", "port: 15089");
    in_turn(&[&guarded, &ours, &guarded]);
    // What asks for a port's guard runs where another Service leads: in a slice that is another Service's, then gone.
    let leads = |service: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: b, namespace: t}}, spec: {{clusterIP: 127.0.20.3, ports: [{{name: web, port: 80}}]}}}}\n---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: b, namespace: t, labels: {{kubernetes.io/service-name: {service}}}}}, addressType: IPv4, endpoints: [{{addresses: [127.0.0.1]}}], ports: [{{name: web, port: 15089}}]}}\n---\n"
        )
    };
    let [to_b, to_c] = ["b", "c"].map(|service| format!("{guarded}{}", leads(service)));
    let without =
        to_b.split("{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: b,").next().unwrap();
    in_turn(&[&to_b, &to_c, &to_b, without, &to_b]);
    // Two Services, each with another's address, come to another waypoint by their Namespace.
    let two = format!(
        "{SMALL}{}{}",
        "{apiVersion: v1, kind: Service, metadata: {name: b, namespace: t}, spec: {clusterIP: 127.0.20.2, ports: [{name: web, port: 80}]}}\n---\n",
        "{apiVersion: v1, kind: Service, metadata: {name: c, namespace: t}, spec: {clusterIP: 127.0.20.2, ports: [{name: web, port: 80}]}}\n---\n"
    );
    let elsewhere = two.replace("use-waypoint: wp", "use-waypoint: first");
    in_turn(&[&two, &elsewhere, &two]);
}

#[test]
fn what_cannot_be_read_closes_everything_and_once_it_is_mended_everything_is_served_again() {
    let (snapshot, _) = support::snapshot(&documents(&format!("{SMALL}{GUARDED}")));
    let mut resolver = Resolver::new(settings());
    let why = Withheld { place: "a.yaml".into(), why: "is not YAML".into() };
    let mut answers = Vec::new();
    for withheld in [vec![], vec![why.clone()], vec![why.clone(), why], vec![]] {
        let snapshot = Snapshot { withheld, ..snapshot.clone() };
        let resolved = resolver.resolve(&snapshot);
        same(answers.len(), &resolved, &resolve(&snapshot, &settings()));
        answers.push(resolved.proxies);
    }
    assert!(answers[0] != answers[1] && answers[1] != answers[2] && answers[3] == answers[0]);
}

#[test]
fn what_is_gone_is_kept_nowhere() {
    let mut gone = format!("{SMALL}{GUARDED}");
    for name in ["a", "r", "auth", "keys"] {
        for end in [",", "}"] {
            gone = gone.replace(&format!("name: {name}{end}"), &format!("name: vanishing{end}"));
        }
    }
    let left = SMALL.split("{apiVersion: v1, kind: Service").next().unwrap();
    assert!(format!("{:?}", in_turn(&[left, &gone])).contains("vanishing"));
    let resolver = format!("{:?}", in_turn(&[left, &gone, left]));
    let at = resolver.find("vanishing").unwrap_or(resolver.len());
    assert!(at == resolver.len(), "{}", &resolver[at.saturating_sub(400)..(at + 100).min(resolver.len())]);
}
