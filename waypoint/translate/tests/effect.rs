//! Statuses tell the effect: whatever is accepted has, in what was decided, no path by which
//! requests that it claims to guard are forwarded without asking.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use api::{Kind, Name, ObjectRef, Snapshot};
use ir::{Action, Match, PathMatch, PortRef, Route, Traffic};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use resolve::{Resolved, resolve};
use serde_json::{Value, json};
use support::{settings, snapshot};

/// A port as its author writes it.
#[derive(Debug, Clone)]
struct Port {
    number: u16,
    name: Option<&'static str>,
    app_protocol: Option<&'static str>,
}

#[derive(Debug, Clone)]
enum Parent {
    Service { name: &'static str, port: Option<u16>, section: Option<&'static str> },
    Gateway,
}

#[derive(Debug, Clone)]
struct Rule {
    path: (&'static str, &'static str),
    extension: Option<usize>,
    backend: &'static str,
}

#[derive(Debug, Clone)]
struct HttpRoute {
    parents: Vec<Parent>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Policy {
    /// The number of a route and of one of its rules.
    targets: Vec<(usize, Option<usize>)>,
    says: Says,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Says {
    Guard,
    Open,
    Limit,
    Timeout,
    /// Something unknown, so that it is not valid.
    Nonsense,
}

#[derive(Debug, Clone)]
struct World {
    services: BTreeMap<&'static str, Vec<Port>>,
    routes: Vec<HttpRoute>,
    policies: Vec<Policy>,
}

const NAMES: [&str; 10] =
    ["http", "tcp", "https", "tcp-data", "web", "client", "postgres", "http2", "grpc-api", "redis"];
const PROTOCOLS: [&str; 7] = ["http", "tcp", "https", "kubernetes.io/h2c", "example.com/own", "redis", "HTTP"];
const NUMBERS: [u16; 7] = [80, 443, 5432, 6379, 8080, 22, 32080];
const PATHS: [(&str, &str); 4] = [("PathPrefix", "/"), ("PathPrefix", "/p"), ("Exact", "/p"), ("Exact", "/x")];

fn world() -> impl Strategy<Value = World> {
    let port = (select(&NUMBERS[..]), select(&NAMES[..]), option::weighted(0.3, select(&PROTOCOLS[..])));
    let ports = vec(port, 1..4).prop_map(|written| {
        let mut ports: Vec<Port> = Vec::new();
        for (number, name, app_protocol) in written {
            if ports.iter().all(|p| p.number != number && p.name != Some(name)) {
                ports.push(Port { number, name: Some(name), app_protocol });
            }
        }
        if let ([only], true) = (ports.as_mut_slice(), true)
            && only.number % 2 == 0
        {
            only.name = None;
        }
        ports
    });
    let services = (ports.clone(), ports).prop_map(|(a, b)| BTreeMap::from([("a", a), ("b", b)]));
    let to_service = (
        select(vec!["a", "b"]),
        option::weighted(0.3, select(&NUMBERS[..])),
        option::weighted(0.2, select(&NAMES[..])),
    );
    let parent = prop_oneof![
        3 => to_service.prop_map(|(name, port, section)| Parent::Service { name, port, section }),
        1 => Just(Parent::Gateway),
    ];
    let rule = (select(&PATHS[..]), option::weighted(0.2, 0..4_usize), select(vec!["a", "b"]))
        .prop_map(|(path, extension, backend)| Rule { path, extension, backend });
    let route = (vec(parent, 1..3), vec(rule, 1..3)).prop_map(|(parents, rules)| HttpRoute { parents, rules });
    let says =
        select(vec![Says::Guard, Says::Guard, Says::Guard, Says::Open, Says::Limit, Says::Timeout, Says::Nonsense]);
    let policy = (vec((0..4_usize, option::weighted(0.2, 0..3_usize)), 0..3), says)
        .prop_map(|(targets, says)| Policy { targets, says });
    (services, vec(route, 0..4), vec(policy, 0..4)).prop_map(|(services, routes, policies)| World {
        services,
        routes,
        policies,
    })
}

impl World {
    fn documents(&self) -> Vec<Value> {
        let mut documents = vec![
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "t", "labels": {"istio.io/use-waypoint": "wp"}}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": "wp", "namespace": "t"}, "spec": {"gatewayClassName": "gloo-waypoint",
                "listeners": [{"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"}]}}),
            json!({"apiVersion": "enterprise.gloo.solo.io/v1", "kind": "AuthConfig",
                "metadata": {"name": "keys", "namespace": "t"}, "spec": {"configs": [{"apiKeyAuth":
                {"headerName": "api-key", "labelSelector": {"team": "x"}}}]}}),
            json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig",
                "metadata": {"name": "few", "namespace": "t"}, "spec": {"raw": {
                "descriptors": [{"key": "generic_key", "value": "x", "rateLimit": {"unit": "HOUR", "requestsPerUnit": 1}}],
                "rateLimits": [{"actions": [{"genericKey": {"descriptorValue": "x"}}]}]}}}),
        ];
        for (index, (name, ports)) in self.services.iter().enumerate() {
            let ports = ports.iter().map(|port| {
                let mut fields = json!({"port": port.number});
                if let Some(name) = port.name {
                    fields["name"] = json!(name);
                }
                if let Some(protocol) = port.app_protocol {
                    fields["appProtocol"] = json!(protocol);
                }
                fields
            });
            documents.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "t"},
                "spec": {"clusterIP": format!("127.0.20.{}", 2 + index), "ports": ports.collect::<Vec<_>>()}}));
        }
        for (number, route) in self.routes.iter().enumerate() {
            documents.push(self.route(number, route));
        }
        for (number, policy) in self.policies.iter().enumerate() {
            documents.push(policy.document(number));
        }
        documents
    }

    fn route(&self, number: usize, route: &HttpRoute) -> Value {
        let parents = route.parents.iter().map(|parent| match parent {
            Parent::Gateway => json!({"name": "wp"}),
            Parent::Service { name, port, section } => {
                let mut fields = json!({"group": "", "kind": "Service", "name": name});
                if let Some(port) = port {
                    fields["port"] = json!(port);
                }
                if let Some(section) = section {
                    fields["sectionName"] = json!(section);
                }
                fields
            }
        });
        let rules = route.rules.iter().enumerate().map(|(index, rule)| {
            let port = self.services[rule.backend][0].number;
            let mut fields = json!({"name": format!("rule-{index}"),
                "matches": [{"path": {"type": rule.path.0, "value": rule.path.1}}],
                "backendRefs": [{"name": rule.backend, "port": port}]});
            if let Some(extension) = rule.extension {
                let reference =
                    json!({"group": "gateway.solo.io", "kind": "RouteOption", "name": format!("p{extension}")});
                fields["filters"] = json!([{"type": "ExtensionRef", "extensionRef": reference}]);
            }
            fields
        });
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": format!("r{number}"), "namespace": "t"},
            "spec": {"parentRefs": parents.collect::<Vec<_>>(), "rules": rules.collect::<Vec<_>>()}})
    }

    /// The one option that the policies of this rule set, if there is no other.
    fn guarded(&self, route: usize, rule: usize) -> bool {
        let extension = self.routes[route].rules[rule].extension;
        let governs = |(number, policy): &(usize, &Policy)| {
            extension == Some(*number)
                || policy.targets.iter().any(|(r, section)| *r == route && section.is_none_or(|s| s == rule))
        };
        let auth: Vec<Says> = self.policies.iter().enumerate().filter(governs).map(|(_, policy)| policy.says).collect();
        auth.contains(&Says::Guard) && !auth.contains(&Says::Open)
    }
}

impl Policy {
    fn document(&self, number: usize) -> Value {
        let targets = self.targets.iter().map(|(route, section)| {
            let mut fields =
                json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": format!("r{route}")});
            if let Some(section) = section {
                fields["sectionName"] = json!(format!("rule-{section}"));
            }
            fields
        });
        let options = match self.says {
            Says::Guard => json!({"extauth": {"configRef": {"name": "keys"}}}),
            Says::Open => json!({"extauth": {"disable": true}}),
            Says::Limit => json!({"rateLimitConfigs": {"refs": [{"name": "few"}]}}),
            Says::Timeout => json!({"timeout": "3s"}),
            Says::Nonsense => json!({"jwt": {}, "extauth": {"configRef": {"name": "keys"}}}),
        };
        json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption",
            "metadata": {"name": format!("p{number}"), "namespace": "t"},
            "spec": {"targetRefs": targets.collect::<Vec<_>>(), "options": options}})
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_is_accepted_guards_every_port_or_says_which_it_does_not_reach(world in world()) {
        let (snapshot, _) = snapshot(&world.documents());
        let resolved = resolve(&snapshot, &settings());
        for (number, route) in world.routes.iter().enumerate() {
            check(&world, &snapshot, &resolved, number, route)?;
        }
    }
}

/// What a route claims in each place where it is accepted, held against every port of that place.
fn check(
    world: &World,
    snapshot: &Snapshot,
    resolved: &Resolved,
    number: usize,
    route: &HttpRoute,
) -> Result<(), TestCaseError> {
    let reference = ObjectRef::new(Kind::HttpRoute, "t", format!("r{number}"));
    for status in resolved.report.get(&reference).into_iter().flatten() {
        let holds = |kind: &str| status.conditions.iter().find(|c| c.kind == kind).and_then(|c| c.status);
        if holds("Accepted") != Some(true) {
            continue;
        }
        let says_so = holds("waykeeper.dev/PortsReached") == Some(false);
        let place = status.place.to_string();
        for (id, chain) in &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains {
            let own = place == format!("Service {}", id.service);
            if !(own && names(snapshot, route, id) || place == "Gateway t/wp") {
                continue;
            }
            match &chain.traffic {
                Traffic::Refuse(_) => {}
                Traffic::Tcp(_) => {
                    prop_assert!(says_so, "{reference} does not reach {id} and does not say so at {place}");
                    let guarded = (0..route.rules.len()).any(|rule| world.guarded(number, rule));
                    prop_assert!(!own || !guarded, "{reference} guards {id}, which is passed on unread");
                }
                Traffic::Http(routes) => {
                    for path in ["/", "/p", "/x", "/p/q"] {
                        let first = routes.iter().find(|route| matches(&route.matches, path));
                        let Some(first) = first else { continue };
                        prop_assert!(
                            !first.name.ends_with("default"),
                            "{reference} at {place} leaves {id} to the default"
                        );
                        let of_rule = |rule: usize| first.name.starts_with(&format!("{reference} rule {rule} "));
                        if let Some(rule) = (0..route.rules.len()).find(|rule| of_rule(*rule))
                            && world.guarded(number, rule)
                        {
                            prop_assert!(asks(first), "{} forwards {path} of {id} without asking", first.name);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// Whether one of the parents of `route` means the Service port `id`.
fn names(snapshot: &Snapshot, route: &HttpRoute, id: &PortRef) -> bool {
    let ports = snapshot.services[&id.service].spec.as_ref().unwrap().ports.as_ref().unwrap();
    let called = ports.iter().find(|port| port.port == i32::from(id.port)).and_then(|port| port.name.as_deref());
    route.parents.iter().any(|parent| match parent {
        Parent::Gateway => false,
        Parent::Service { name, port, section } => {
            *name == id.service.name
                && port.is_none_or(|port| port == id.port)
                && section.is_none_or(|section| Some(section) == called)
        }
    })
}

fn asks(route: &Route) -> bool {
    match route.action {
        Action::Forward(_) => route.policy.auth.is_some(),
        Action::Redirect(_) | Action::Refuse(_) => true,
    }
}

fn matches(written: &Match, path: &str) -> bool {
    match &written.path {
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) if prefix == "/" => true,
        PathMatch::Prefix(prefix) => {
            path.strip_prefix(prefix.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/'))
        }
        PathMatch::Regex(regex) => regex::Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(path),
    }
}

/// A Service with one port, its route and the policy that guards it.
fn guarded_port(port: &Value) -> Snapshot {
    let world = World {
        services: BTreeMap::new(),
        routes: vec![],
        policies: vec![Policy { targets: vec![(0, None)], says: Says::Guard }],
    };
    let mut documents = world.documents();
    documents.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "t"},
        "spec": {"clusterIP": "127.0.20.2", "ports": [port]}}));
    documents.push(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "r0", "namespace": "t"},
        "spec": {"parentRefs": [{"group": "", "kind": "Service", "name": "a"}],
        "rules": [{"backendRefs": [{"name": "a", "port": port["port"]}]}]}}));
    snapshot(&documents).0
}

#[test]
fn a_guarded_service_has_no_port_without_its_guard() {
    for (port, http) in [
        (json!({"port": 443}), true),
        (json!({"port": 6379}), true),
        (json!({"port": 443, "name": "web"}), true),
        (json!({"port": 32080, "name": "tcp"}), false),
        (json!({"port": 443, "name": "https"}), false),
        (json!({"port": 8080, "name": "http", "appProtocol": "redis"}), false),
        (json!({"port": 443, "name": "https", "appProtocol": "http"}), true),
        (json!({"port": 8080, "appProtocol": "example.com/unknown"}), true),
    ] {
        let resolved = resolve(&guarded_port(&port), &settings());
        let chains = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains;
        let (id, chain) = chains.iter().next().unwrap();
        match (&chain.traffic, http) {
            (Traffic::Http(routes), true) => assert!(routes.iter().all(asks), "{port}: {routes:?}"),
            (Traffic::Refuse(why), false) => assert!(why.contains("AuthConfig t/keys"), "{port}: {why}"),
            (other, _) => panic!("{port}: {other:?}"),
        }
        let said = |kind, name: &str, wanted: &str| {
            let object = ObjectRef::new(kind, "t", name);
            let conditions = resolved.report[&object].iter().flat_map(|status| &status.conditions);
            conditions.filter(|c| c.kind == wanted && c.status == Some(false)).map(|c| c.message.clone()).next()
        };
        let route = said(Kind::HttpRoute, "r0", "Accepted");
        assert_eq!(route.is_none(), http, "{port}: a route that governs no port is not accepted: {route:?}");
        let service = said(Kind::Service, "a", "waykeeper.dev/Served");
        assert_eq!(service.is_none(), http, "{port}: {id}: {service:?}");
        let policy = said(Kind::RouteOption, "p0", "waykeeper.dev/PortsReached");
        assert_eq!(policy.is_none(), http, "{port}: {policy:?}");
    }
}
