//! Small worlds of Services, routes and policies, made at random: few words, so that much coincides.
#![allow(clippy::unwrap_used, missing_docs, dead_code, unreachable_pub)]

use std::collections::BTreeMap;

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// A port as its author writes it.
#[derive(Debug, Clone)]
pub struct Port {
    pub number: u16,
    pub name: Option<&'static str>,
    pub app_protocol: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub enum Parent {
    Service {
        name: &'static str,
        port: Option<u16>,
        section: Option<&'static str>,
    },
    Gateway,
    /// A Service that uses no waypoint.
    Alone,
    /// A Gateway of another controller.
    Foreign,
}

#[derive(Debug, Clone)]
pub struct Rule {
    pub path: (&'static str, &'static str),
    pub extension: Option<usize>,
    pub backend: &'static str,
    /// Whether it redirects, and has no backend.
    pub redirects: bool,
    /// Who gets copies, unless it redirects.
    pub mirror: Option<&'static str>,
}

#[derive(Debug, Clone)]
pub struct HttpRoute {
    pub parents: Vec<Parent>,
    pub rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
pub struct Policy {
    /// The number of a route and of one of its rules.
    pub targets: Vec<(usize, Option<usize>)>,
    pub says: Says,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Says {
    Guard,
    Open,
    /// By the RateLimitConfig of this name.
    Limit(&'static str),
    Timeout,
    /// Something unknown, so that it is not valid.
    Nonsense,
}

#[derive(Debug, Clone)]
pub struct World {
    pub services: BTreeMap<&'static str, Vec<Port>>,
    pub routes: Vec<HttpRoute>,
    pub policies: Vec<Policy>,
}

const NAMES: [&str; 10] =
    ["http", "tcp", "https", "tcp-data", "web", "client", "postgres", "http2", "grpc-api", "redis"];
const PROTOCOLS: [&str; 7] = ["http", "tcp", "https", "kubernetes.io/h2c", "example.com/own", "redis", "HTTP"];
const NUMBERS: [u16; 7] = [80, 443, 5432, 6379, 8080, 22, 32080];
const PATHS: [(&str, &str); 4] = [("PathPrefix", "/"), ("PathPrefix", "/p"), ("Exact", "/p"), ("Exact", "/x")];

pub fn world() -> impl Strategy<Value = World> {
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
        1 => select(vec![Parent::Alone, Parent::Foreign]),
    ];
    let mirror = option::weighted(0.2, select(vec!["a", "b"]));
    let rule = (select(&PATHS[..]), option::weighted(0.2, 0..4_usize), select(vec!["a", "b"]), weighted(0.2), mirror)
        .prop_map(|(path, extension, backend, redirects, mirror)| Rule { path, extension, backend, redirects, mirror });
    let route = (vec(parent, 1..3), vec(rule, 1..3)).prop_map(|(parents, rules)| HttpRoute { parents, rules });
    let says = prop_oneof![
        3 => Just(Says::Guard),
        3 => select(vec![Says::Limit("few"), Says::Limit("many")]),
        3 => select(vec![Says::Open, Says::Timeout, Says::Nonsense]),
    ];
    let policy = (vec((0..4_usize, option::weighted(0.2, 0..3_usize)), 0..3), says)
        .prop_map(|(targets, says)| Policy { targets, says });
    (services, vec(route, 0..4), vec(policy, 0..4)).prop_map(|(services, routes, policies)| World {
        services,
        routes,
        policies,
    })
}

impl World {
    pub fn documents(&self) -> Vec<Value> {
        let mut documents = vec![
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": "t", "labels": {"istio.io/use-waypoint": "wp"}}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": "wp", "namespace": "t"}, "spec": {"gatewayClassName": "gloo-waypoint",
                "listeners": [{"name": "proxy", "port": 15088, "protocol": "istio.io/PROXY"}]}}),
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": "foreign", "namespace": "t"}, "spec": {"gatewayClassName": "elsewhere",
                "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "alone", "namespace": "t",
                "labels": {"istio.io/use-waypoint": "none"}},
                "spec": {"clusterIP": "127.0.20.9", "ports": [{"port": 80}]}}),
            json!({"apiVersion": "enterprise.gloo.solo.io/v1", "kind": "AuthConfig",
                "metadata": {"name": "keys", "namespace": "t"}, "spec": {"configs": [{"apiKeyAuth":
                {"headerName": "api-key", "labelSelector": {"team": "x"}}}]}}),
        ];
        for name in ["few", "many"] {
            documents.push(json!({"apiVersion": "ratelimit.solo.io/v1alpha1", "kind": "RateLimitConfig",
                "metadata": {"name": name, "namespace": "t"}, "spec": {"raw": {
                "descriptors": [{"key": "generic_key", "value": "x", "rateLimit": {"unit": "HOUR", "requestsPerUnit": 1}}],
                "rateLimits": [{"actions": [{"genericKey": {"descriptorValue": "x"}}]}]}}}));
        }
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
            Parent::Foreign => json!({"name": "foreign"}),
            Parent::Alone => json!({"group": "", "kind": "Service", "name": "alone"}),
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
                "matches": [{"path": {"type": rule.path.0, "value": rule.path.1}}]});
            let mut filters = Vec::new();
            if let Some(extension) = rule.extension {
                let reference =
                    json!({"group": "gateway.solo.io", "kind": "RouteOption", "name": format!("p{extension}")});
                filters.push(json!({"type": "ExtensionRef", "extensionRef": reference}));
            }
            if rule.redirects {
                filters.push(json!({"type": "RequestRedirect", "requestRedirect": {"hostname": "elsewhere.example"}}));
            } else {
                fields["backendRefs"] = json!([{"name": rule.backend, "port": port}]);
                if let Some(mirror) = rule.mirror {
                    let to = json!({"name": mirror, "port": self.services[mirror][0].number});
                    let copied = json!({"type": "RequestMirror", "requestMirror": {"backendRef": to}});
                    // Of its requests, or of those of its one backend.
                    match rule.extension {
                        None => fields["backendRefs"][0]["filters"] = json!([copied]),
                        Some(_) => filters.push(copied),
                    }
                }
            }
            fields["filters"] = json!(filters);
            fields
        });
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": format!("r{number}"), "namespace": "t"},
            "spec": {"parentRefs": parents.collect::<Vec<_>>(), "rules": rules.collect::<Vec<_>>()}})
    }

    /// The one option that the policies of this rule set, if there is no other.
    pub fn guarded(&self, route: usize, rule: usize) -> bool {
        let extension = self.routes[route].rules[rule].extension;
        let governs = |(number, policy): &(usize, &Policy)| {
            extension == Some(*number)
                || policy.targets.iter().any(|(r, section)| *r == route && section.is_none_or(|s| s == rule))
        };
        let auth: Vec<Says> = self.policies.iter().enumerate().filter(governs).map(|(_, policy)| policy.says).collect();
        auth.contains(&Says::Guard) && !auth.contains(&Says::Open)
    }
}

impl World {
    /// The rules that a policy is for, by route, each with how narrowly: its rule names it, it names the rule, or the route.
    pub fn governed(&self, policy: usize) -> Vec<(usize, usize, u8)> {
        let mut governed = Vec::new();
        for (number, route) in self.routes.iter().enumerate() {
            for (index, rule) in route.rules.iter().enumerate() {
                let named = self.policies[policy].targets.iter().filter(|(route, _)| *route == number);
                let extents = named.filter_map(|(_, section)| match section {
                    None => Some(2),
                    Some(section) => (*section == index).then_some(1),
                });
                let extent = (rule.extension == Some(policy)).then_some(0).or(extents.max());
                governed.extend(extent.map(|extent| (number, index, extent)));
            }
        }
        governed
    }
}

impl Parent {
    /// What it names, as a status has it.
    pub fn object(&self) -> String {
        match self {
            Parent::Service { name, .. } => format!("Service t/{name}"),
            Parent::Gateway => "Gateway t/wp".to_owned(),
            Parent::Alone => "Service t/alone".to_owned(),
            Parent::Foreign => "Gateway t/foreign".to_owned(),
        }
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
            Says::Limit(name) => json!({"rateLimitConfigs": {"refs": [{"name": name}]}}),
            Says::Timeout => json!({"timeout": "3s"}),
            Says::Nonsense => json!({"jwt": {}, "extauth": {"configRef": {"name": "keys"}}}),
        };
        json!({"apiVersion": "gateway.solo.io/v1", "kind": "RouteOption",
            "metadata": {"name": format!("p{number}"), "namespace": "t"},
            "spec": {"targetRefs": targets.collect::<Vec<_>>(), "options": options}})
    }
}
