//! Statuses tell the effect: whatever is accepted has, in what was decided, no path by which
//! requests that it claims to guard are forwarded without asking.
#![allow(clippy::unwrap_used)]

mod support;
mod world;

use api::{Kind, Name, ObjectRef, Snapshot};
use ir::{Action, Entry, Match, PathMatch, PortRef, Route, Traffic};
use proptest::prelude::*;
use resolve::{Resolved, resolve};
use serde_json::{Value, json};
use support::{settings, snapshot};
use world::{HttpRoute, Parent, Policy, Port, Rule, Says, World, world};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_is_accepted_guards_every_port_or_says_which_it_does_not_reach(world in world()) {
        let (snapshot, _) = snapshot(&world.documents());
        let resolved = resolve(&snapshot, &settings());
        for (number, route) in world.routes.iter().enumerate() {
            check(&world, &snapshot, &resolved, number, route)?;
            check_hidden(&snapshot, &resolved, number, route)?;
        }
    }

    #[test]
    fn a_policy_is_accepted_only_where_every_request_that_it_claims_meets_it(world in world()) {
        let (snapshot, _) = snapshot(&world.documents());
        let resolved = resolve(&snapshot, &settings());
        for number in 0..world.policies.len() {
            check_policy(&world, &snapshot, &resolved, number)?;
        }
    }
}

/// A request that meets the rule unless another rule takes all that meet it.
fn witness(rule: &Rule) -> String {
    match rule.path {
        ("Exact", path) => path.to_owned(),
        (_, "/") => "/only".to_owned(),
        (_, path) => format!("{path}/only"),
    }
}

/// The first of `routes` that takes requests for `path`.
fn first<'r>(routes: &'r [Route], path: &str) -> Option<&'r Route> {
    routes.iter().find(|route| matches(&route.matches, path))
}

/// A policy that guards, in each place where it is accepted, held against every port there; and as a whole.
fn check_policy(world: &World, snapshot: &Snapshot, resolved: &Resolved, number: usize) -> Result<(), TestCaseError> {
    let reference = ObjectRef::new(Kind::RouteOption, "t", format!("p{number}"));
    let Some(said) = resolved.report.get(&reference) else {
        prop_assert_eq!(world.policies[number].says, Says::Nonsense);
        return Ok(());
    };
    let governed = world.governed(number);
    let accepted = |place: &str| {
        let status = said.iter().find(|status| status.place.to_string() == place);
        status.map(|status| status.condition("Accepted").unwrap().status == Some(true))
    };
    let known = |route: usize| snapshot.http_routes.contains_key(&Name::new("t", format!("r{route}")));
    let mut everywhere = true;
    for (route, rule, extent) in governed.iter().filter(|(route, ..)| known(*route)) {
        for parent in &world.routes[*route].parents {
            let here = accepted(&parent.object());
            prop_assert!(here.is_some(), "{reference} says nothing of {}: {said:?}", parent.object());
            everywhere &= here == Some(true);
            let says = world.policies[number].says;
            if here == Some(false) || !matches!(says, Says::Guard | Says::Limit(_)) {
                continue;
            }
            prop_assert!(!matches!(parent, Parent::Alone | Parent::Foreign), "{said:?}");
            // What is for this rule alone may open it again, or limit it by another.
            let withdraws = |other: Says| match says {
                Says::Limit(_) => matches!(other, Says::Limit(_)),
                _ => other == Says::Open,
            };
            let narrower = (0..world.policies.len()).any(|other| {
                let is = |(r, u, e): &(usize, usize, u8)| (r, u) == (route, rule) && e < extent;
                withdraws(world.policies[other].says) && world.governed(other).iter().any(is)
            });
            for (id, chain) in &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains {
                if !(matches!(parent, Parent::Gateway) || reaches(snapshot, parent, id)) {
                    continue;
                }
                match &chain.traffic {
                    Traffic::Refuse(_) => {}
                    Traffic::Tcp(_) | Traffic::Sniffed(..) => {
                        prop_assert!(false, "{reference} is accepted at {} and {id} passes unread", parent.object());
                    }
                    Traffic::Http(routes) => {
                        let path = witness(&world.routes[*route].rules[*rule]);
                        let first = first(routes, &path).unwrap();
                        let met = meets(first, says) || narrower;
                        prop_assert!(met, "{reference} is accepted at {}: {id}{path} {}", parent.object(), first.name);
                    }
                }
            }
        }
    }
    let missing = world.policies[number].targets.iter().any(|(route, _)| !known(*route));
    if accepted("") == Some(true) {
        prop_assert!(everywhere && !missing && !governed.is_empty(), "{reference} as a whole: {said:?}");
    }
    Ok(())
}

/// A rule is told that it never applies to a port if, and only if, another rule takes its requests there.
fn check_hidden(
    snapshot: &Snapshot,
    resolved: &Resolved,
    number: usize,
    route: &HttpRoute,
) -> Result<(), TestCaseError> {
    let reference = ObjectRef::new(Kind::HttpRoute, "t", format!("r{number}"));
    let said = resolved.report.get(&reference).into_iter().flat_map(|said| said.iter());
    let accepted: Vec<_> = said.filter_map(|status| status.condition("Accepted")).collect();
    if accepted.iter().all(|accepted| accepted.status != Some(true)) {
        return Ok(());
    }
    for (index, rule) in route.rules.iter().enumerate() {
        let mut hidden = Vec::new();
        for (id, chain) in &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains {
            let governed = route.parents.iter().any(|p| matches!(p, Parent::Gateway) || reaches(snapshot, p, id));
            if let (true, Traffic::Http(routes)) = (governed, &chain.traffic) {
                let first = first(routes, &witness(rule)).unwrap();
                let own = first.name.starts_with(&format!("{reference} rule {index} "));
                if !own && !first.name.ends_with(" refused") {
                    hidden.push(format!("port {} of Service {}", id.port, id.service));
                }
            }
        }
        let field = format!("spec.rules[{index}]");
        let problems = accepted.iter().flat_map(|accepted| &accepted.problems);
        let told: String = problems
            .filter(|problem| problem.field == field && problem.message.starts_with("never applies"))
            .map(|problem| problem.message.as_str())
            .collect();
        prop_assert_eq!(told.is_empty(), hidden.is_empty(), "{} {}: {} {:?}", reference, field, told, hidden);
        // Of many ports the first are named, and how many more there are.
        let words: Vec<&str> = told.split_whitespace().collect();
        let more = words.windows(3).filter(|three| three[0] == "and" && three[2].starts_with("more"));
        let unnamed: usize = more.filter_map(|three| three[1].parse::<usize>().ok()).sum();
        let lacking: Vec<&String> = hidden.iter().filter(|port| !told.contains(port.as_str())).collect();
        prop_assert!(lacking.len() <= unnamed, "{reference} {field}: {told} lacks {lacking:?}");
    }
    Ok(())
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
            let of = route.parents.iter().find(|parent| shown(parent) == place);
            let own = of.is_some_and(|parent| reaches(snapshot, parent, id));
            if !(own || place == "Gateway t/wp") {
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

/// A parent as a status has it.
fn shown(parent: &Parent) -> String {
    match parent {
        Parent::Service { port, section, .. } => {
            let section = section.map(|section| format!(" section {section}")).unwrap_or_default();
            let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
            format!("{}{section}{port}", parent.object())
        }
        parent => parent.object(),
    }
}

/// Whether `parent` means the Service port `id`.
fn reaches(snapshot: &Snapshot, parent: &Parent, id: &PortRef) -> bool {
    let ports = snapshot.services[&id.service].spec.as_ref().unwrap().ports.as_ref().unwrap();
    let called = ports.iter().find(|port| port.port == i32::from(id.port)).and_then(|port| port.name.as_deref());
    match parent {
        Parent::Gateway | Parent::Alone | Parent::Foreign => false,
        Parent::Service { name, port, section } => {
            *name == id.service.name
                && port.is_none_or(|port| port == id.port)
                && section.is_none_or(|section| Some(section) == called)
        }
    }
}

fn asks(route: &Route) -> bool {
    meets(route, Says::Guard)
}

/// Whether requests that `route` takes are asked for what a policy says that guards, or refused.
fn meets(route: &Route, says: Says) -> bool {
    match (&route.action, says) {
        (Action::Refuse(_), _) => true,
        // Envoy asks for limits only where it forwards.
        (Action::Redirect(_), Says::Limit(_)) => false,
        (Action::Forward(_), Says::Limit(name)) => {
            let id = Entry::Constant(format!("t.{name}"));
            route.policy.limits.iter().any(|limit| limit.entries.contains(&id))
        }
        _ => route.policy.auth.is_some(),
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

#[test]
fn whoever_is_redirected_gets_around_the_limits_behind() {
    let rule = |redirects| Rule { path: ("PathPrefix", "/"), extension: None, backend: "a", redirects, mirror: None };
    let route = |redirects| HttpRoute {
        parents: vec![Parent::Service { name: "a", port: None, section: None }],
        rules: vec![rule(redirects)],
    };
    let policy = |route| Policy { targets: vec![(route, None)], says: Says::Limit("few") };
    for (first, reasons) in [(true, ["NotEnforced", "Shadowed"]), (false, ["Accepted", "Accepted"])] {
        let world = World {
            services: [("a", vec![Port { number: 80, name: Some("http"), app_protocol: None }])].into(),
            routes: vec![route(first), route(false)],
            policies: vec![policy(0), policy(1)],
        };
        let resolved = resolve(&snapshot(&world.documents()).0, &settings());
        let reason = |number: usize| {
            let said = &resolved.report[&ObjectRef::new(Kind::RouteOption, "t", format!("p{number}"))];
            said[0].condition("Accepted").unwrap().reason.clone()
        };
        let found = [reason(0), reason(1)].map(|reason| reason.trim_end_matches("WithWarnings").to_owned());
        assert_eq!(found, reasons, "the first redirects: {first}");
    }
}
