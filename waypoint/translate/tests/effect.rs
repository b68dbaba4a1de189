//! Statuses tell the effect: whatever is accepted has, in what was decided, no path by which
//! requests that it claims to guard are forwarded without asking.
#![allow(clippy::unwrap_used)]

mod support;
mod world;

use api::{Kind, Name, ObjectRef, Snapshot};
use ir::{Action, Match, PathMatch, PortRef, Route, Traffic};
use proptest::prelude::*;
use resolve::{Resolved, resolve};
use serde_json::{Value, json};
use support::{settings, snapshot};
use world::{HttpRoute, Parent, Policy, Says, World, world};

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
    for status in resolved.report.get(&reference).into_iter().flat_map(|said| said.iter()) {
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
                Traffic::Sniffed(..) => prop_assert!(false, "{reference} governs {id}, which need not be read"),
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
        services: Default::default(),
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
