//! Which rule wins: the emitted route table, tried from the top as Envoy does, against
//! Gateway API's order of precedence, written as the specification words it.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proto::ResourceType;
use serde_json::{Value, json};
use support::{settings, snapshot};
use waypoint_translate::translate;

/// An HTTPRoute. Some belong to the Service, some to its Gateway.
#[derive(Debug, Clone)]
struct Route {
    /// `httpbin-a/x` comes before `httpbin/x`, though `httpbin` comes before `httpbin-a`.
    namespace: &'static str,
    name: &'static str,
    /// The half second it was made in, written in this zone; one without counts as newest.
    made: Option<(u8, &'static str)>,
    rules: Vec<Vec<Match>>,
}

#[derive(Debug, Clone)]
struct Match {
    path: Option<(PathKind, String)>,
    method: Option<&'static str>,
    headers: Vec<Pair>,
    query: Vec<Pair>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum PathKind {
    Exact,
    Prefix,
    /// Without a `type`, which means a prefix.
    Unsaid,
}

type Pair = (&'static str, &'static str);

#[derive(Debug, Clone)]
struct Request {
    path: String,
    method: &'static str,
    headers: Vec<Pair>,
    query: Vec<Pair>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_first_route_that_matches_is_the_one_gateway_api_prefers(
        routes in routes(),
        requests in vec(request(), 1..40),
    ) {
        let table = emitted(&routes);
        for request in &requests {
            let preferred = preferred(&routes, request).map(|backend| format!("httpbin/backends/{backend}"));
            let shown = || proto::yaml::to_yaml(&json!(table));
            prop_assert_eq!(first(&table, request), preferred, "{:?}\n{}", request, shown());
        }
    }
}

// What Gateway API says.

/// A match that holds, its route, the backend and number of its rule.
type Candidate<'a> = (Match, &'a Route, usize, usize);

/// The port of `backends` to which the rule that `request` belongs to sends it.
fn preferred(routes: &[Route], request: &Request) -> Option<usize> {
    let mut candidates = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        for (rule, matches) in route.rules.iter().enumerate() {
            let everything = [Match { path: None, method: None, headers: vec![], query: vec![] }];
            let matches = if matches.is_empty() { &everything[..] } else { matches };
            for written in matches.iter().filter(|written| holds(written, request)) {
                candidates.push((written.clone(), route, backend(number, rule), rule));
            }
        }
    }
    let keep = |candidates: &mut Vec<_>, rank: &dyn Fn(&Candidate<'_>) -> usize| {
        let best = candidates.iter().map(rank).max();
        candidates.retain(|candidate| Some(rank(candidate)) == best);
    };
    // "Exact" path match; "Prefix" path match with largest number of characters;
    keep(&mut candidates, &|(m, ..)| usize::from(path(m).0 == PathKind::Exact));
    keep(&mut candidates, &|(m, ..)| path(m).1.len());
    // method match; largest number of header matches; largest number of query param matches.
    keep(&mut candidates, &|(m, ..)| usize::from(m.method.is_some()));
    keep(&mut candidates, &|(m, ..)| conditions(&m.headers, true).len());
    keep(&mut candidates, &|(m, ..)| conditions(&m.query, false).len());
    // The oldest Route based on creation timestamp;
    keep(&mut candidates, &|(_, route, ..)| route.made.map_or(0, |(half, _)| 1000 - usize::from(half)));
    // the Route appearing first in alphabetical order by "{namespace}/{name}";
    let named = |route: &Route| format!("{}/{}", route.namespace, route.name);
    let first = candidates.iter().map(|(_, route, ..)| named(route)).min();
    candidates.retain(|(_, route, ..)| Some(named(route)) == first);
    // the first matching rule in list order.
    candidates.into_iter().min_by_key(|(.., rule)| *rule).map(|(_, _, backend, _)| backend)
}

fn holds(written: &Match, request: &Request) -> bool {
    let (kind, path) = path(written);
    let segments = |path: &str| path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let path_holds = match kind {
        PathKind::Exact => request.path == path,
        _ => segments(&request.path).starts_with(&segments(&path)),
    };
    path_holds
        && written.method.is_none_or(|method| method == request.method)
        && conditions(&written.headers, true).iter().all(|pair| request.headers.contains(pair))
        && conditions(&written.query, false).iter().all(|pair| request.query.contains(pair))
}

/// A slash at the end of a prefix means nothing.
fn path(written: &Match) -> (PathKind, String) {
    match &written.path {
        None => (PathKind::Prefix, "/".into()),
        Some((PathKind::Exact, path)) => (PathKind::Exact, path.clone()),
        Some((_, path)) if path == "/" => (PathKind::Prefix, path.clone()),
        Some((_, path)) => (PathKind::Prefix, path.strip_suffix('/').unwrap_or(path).to_owned()),
    }
}

/// Of several conditions on one name the first counts; the names of headers have no case.
fn conditions(written: &[Pair], headers: bool) -> Vec<Pair> {
    let mut counted: Vec<Pair> = Vec::new();
    for (name, value) in written {
        let name = if headers && *name == "X-A" { "x-a" } else { name };
        if counted.iter().all(|(known, _)| *known != name) {
            counted.push((name, value));
        }
    }
    counted
}

// What Envoy does.

/// The cluster of the first route whose match holds.
fn first(table: &[Value], request: &Request) -> Option<String> {
    let route = table.iter().find(|route| matched(&route["match"], request))?;
    Some(route["route"]["cluster"].as_str().unwrap().to_owned())
}

/// A condition unknown here fails the test rather than being passed over.
fn matched(condition: &Value, request: &Request) -> bool {
    condition.as_object().unwrap().iter().all(|(kind, value)| match kind.as_str() {
        "path" => request.path == text(value),
        "safe_regex" => regex::Regex::new(&format!("^(?:{})$", text(&value["regex"]))).unwrap().is_match(&request.path),
        "prefix" => request.path.starts_with(text(value)),
        "path_separated_prefix" => {
            let rest = request.path.strip_prefix(text(value));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }
        "headers" => value.as_array().unwrap().iter().all(|header| {
            let (name, wanted) = exactly(header);
            let method = (":method", request.method);
            request.headers.iter().chain([&method]).any(|(n, v)| n.eq_ignore_ascii_case(name) && *v == wanted)
        }),
        "query_parameters" => value.as_array().unwrap().iter().all(|parameter| {
            let (name, wanted) = exactly(parameter);
            request.query.iter().any(|(n, v)| *n == name && *v == wanted)
        }),
        other => panic!("a condition of kind {other}"),
    })
}

fn exactly(condition: &Value) -> (&str, &str) {
    let fields: Vec<&String> = condition.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["name", "string_match"]);
    assert_eq!(condition["string_match"].as_object().unwrap().len(), 1);
    (text(&condition["name"]), text(&condition["string_match"]["exact"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

// From the one to the other.

/// The route table of the Service, after `routes` were admitted without a complaint.
fn emitted(routes: &[Route]) -> Vec<Value> {
    let mut ports = Vec::new();
    let mut documents = vec![
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "waypoint", "namespace": "httpbin"},
            "spec": {"gatewayClassName": "gloo-waypoint", "listeners": [{
                "name": "proxy", "port": 15088, "protocol": "istio.io/PROXY",
                "allowedRoutes": {"namespaces": {"from": "All"}},
            }]},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "called", "namespace": "httpbin", "labels": {"istio.io/use-waypoint": "waypoint"}},
            "spec": {"clusterIP": "127.0.20.2", "ports": [{"name": "http", "port": 80, "appProtocol": "http"}]},
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
            "metadata": {"name": "backends", "namespace": "httpbin"},
            "spec": {
                "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "httpbin-a"}],
                "to": [{"group": "", "kind": "Service"}],
            },
        }),
    ];
    for (number, route) in routes.iter().enumerate() {
        let backends = (0..route.rules.len()).map(|rule| backend(number, rule));
        ports.extend(backends.map(|port| json!({"name": format!("p{port}"), "port": port, "appProtocol": "http"})));
        documents.push(written(number, route));
    }
    documents.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "backends", "namespace": "httpbin"},
        "spec": {"clusterIP": "127.0.20.3", "ports": ports},
    }));
    let (snapshot, problems) = snapshot(&documents);
    assert!(problems.is_empty(), "{problems:?}");
    let translation = translate(&snapshot, &settings());
    let output = translation.gateways.values().next().unwrap();
    let scopes = &output.resources[&ResourceType::Scope];
    let called = scopes.keys().find(|key| output.shown(&(ResourceType::Scope, (*key).clone())) == "httpbin/called/80");
    let scope = proto::yaml::json(&scopes[called.unwrap()].body);
    let mut routes = scope["route_configuration"]["virtual_hosts"][0]["routes"].as_array().unwrap().clone();
    // At the end of a table stands that nothing matches.
    routes.pop_if(|route| route["name"] == "no route");
    routes
}

/// Every rule has a backend of its own.
fn backend(route: usize, rule: usize) -> usize {
    1000 + route * 10 + rule
}

fn written(number: usize, route: &Route) -> Value {
    let parent = match (route.namespace, number % 2) {
        ("httpbin", 0) => json!({"group": "", "kind": "Service", "name": "called"}),
        _ => json!({"name": "waypoint", "namespace": "httpbin"}),
    };
    let pairs = |pairs: &[Pair]| pairs.iter().map(|(n, v)| json!({"name": n, "value": v})).collect::<Vec<_>>();
    let matches = |written: &Match| {
        let mut fields = json!({"headers": pairs(&written.headers), "queryParams": pairs(&written.query)});
        if let Some(method) = written.method {
            fields["method"] = json!(method);
        }
        match &written.path {
            None => {}
            Some((PathKind::Exact, path)) => fields["path"] = json!({"type": "Exact", "value": path}),
            Some((PathKind::Prefix, path)) => fields["path"] = json!({"type": "PathPrefix", "value": path}),
            Some((PathKind::Unsaid, path)) => fields["path"] = json!({"value": path}),
        }
        fields
    };
    let rules = route.rules.iter().enumerate().map(|(rule, written)| {
        let to = json!([{"name": "backends", "namespace": "httpbin", "port": backend(number, rule)}]);
        json!({"matches": written.iter().map(matches).collect::<Vec<_>>(), "backendRefs": to})
    });
    let mut metadata = json!({"name": route.name, "namespace": route.namespace});
    if let Some((half, zone)) = route.made {
        let (hour, second) = (if zone == "Z" { 10 } else { 12 }, half / 2);
        let fraction = if half % 2 == 1 { ".5" } else { "" };
        metadata["creationTimestamp"] = json!(format!("2024-01-01T{hour}:00:{second:02}{fraction}{zone}"));
    }
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": metadata,
        "spec": {"parentRefs": [parent], "rules": rules.collect::<Vec<_>>()},
    })
}

// What is tried: few words, so that much coincides.

fn routes() -> impl Strategy<Value = Vec<Route>> {
    let identity = select(vec![("httpbin", "a"), ("httpbin", "b"), ("httpbin", "c"), ("httpbin-a", "b")]);
    let made = option::weighted(0.8, (0..4_u8, select(vec!["Z", "+02:00"])));
    let route = (identity, made, vec(vec(matches(), 0..4), 1..5));
    vec(route, 1..6).prop_map(|routes| {
        let mut named: Vec<Route> = Vec::new();
        for ((namespace, name), made, rules) in routes {
            if named.iter().all(|known| (known.namespace, known.name) != (namespace, name)) {
                named.push(Route { namespace, name, made, rules });
            }
        }
        named
    })
}

fn matches() -> impl Strategy<Value = Match> {
    let kind = select(vec![PathKind::Exact, PathKind::Prefix, PathKind::Prefix, PathKind::Unsaid]);
    let headers = vec((select(vec!["x-a", "X-A", "x-b", "x-c"]), value()), 0..3);
    (option::weighted(0.8, (kind, some_path())), option::of(method()), headers, vec(query(), 0..3))
        .prop_map(|(path, method, headers, query)| Match { path, method, headers: once(headers), query: once(query) })
}

fn request() -> impl Strategy<Value = Request> {
    let of = |names: [&'static str; 3]| {
        [value(), value(), value()].prop_map(move |values| names.into_iter().zip(values).collect::<Vec<Pair>>())
    };
    (some_path(), method(), of(["x-a", "x-b", "x-c"]), of(["q", "Q", "r"]))
        .prop_map(|(path, method, headers, query)| Request { path, method, headers, query })
}

fn some_path() -> impl Strategy<Value = String> {
    (vec(select(vec!["a", "a", "ab", "b"]), 0..3), any::<bool>()).prop_map(|(segments, slash)| {
        let path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
        if slash || path.is_empty() { path + "/" } else { path }
    })
}

fn method() -> impl Strategy<Value = &'static str> {
    select(vec!["GET", "GET", "POST"])
}

/// The same name twice, in the same letters, is refused at admission.
fn once(mut pairs: Vec<Pair>) -> Vec<Pair> {
    let mut names = BTreeSet::new();
    pairs.retain(|(name, _)| names.insert(*name));
    pairs
}

fn query() -> impl Strategy<Value = Pair> {
    (select(vec!["q", "Q", "r"]), value())
}

fn value() -> impl Strategy<Value = &'static str> {
    select(vec!["1", "1", "1", "2"])
}
