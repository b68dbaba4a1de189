//! What lets a route apply and a request through: every condition for it is refused by itself, and
//! of whatever there may be two, the second counts as well.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use api::{Kind, Name, ObjectRef, Snapshot};
use ir::{
    Action, Descriptor, Destination, Endpoints, Enrolment, Entry, PathMatch, PathRewrite, PortRef, Route, Settings,
    Traffic,
};
use resolve::{Resolved, resolve};
use serde_json::Value;
use support::{Edited, settings};
use waykeeper_tests::manifests::documents;

/// Namespace `t` uses the waypoint `t/wp`; it has the Services `a` and `b`, each with an endpoint.
const SCAFFOLD: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: t, labels: {istio.io/use-waypoint: wp}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: wp, namespace: t}, spec: {gatewayClassName: gloo-waypoint, listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a, namespace: t}, spec: {clusterIP: 127.0.20.2, ports: [{name: web, port: 80}, {name: admin, port: 81}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: b, namespace: t}, spec: {clusterIP: 127.0.20.3, ports: [{name: web, port: 80}]}}
---
{apiVersion: enterprise.gloo.solo.io/v1, kind: AuthConfig, metadata: {name: keys, namespace: t}, spec: {configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {team: x}}}]}}
---
{apiVersion: enterprise.gloo.solo.io/v1, kind: AuthConfig, metadata: {name: others, namespace: t}, spec: {configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {team: y}}}]}}
---
";

fn declared(yaml: &str) -> Snapshot {
    support::snapshot(&documents(yaml)).0
}

fn resolved(more: &str) -> Resolved {
    resolve(&declared(&format!("{SCAFFOLD}{more}")), &settings())
}

fn port(service: &str, port: u16) -> PortRef {
    PortRef { service: Name::new("t", service), port }
}

/// The first route that takes requests for `path` on a port of a Service of `t`.
fn route<'r>(resolved: &'r Resolved, service: &str, number: u16, path: &str) -> &'r Route {
    let chain = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains[&port(service, number)];
    let (Traffic::Http(routes) | Traffic::Sniffed(routes, _)) = &chain.traffic else { panic!("{chain:?}") };
    let takes = |route: &&Route| match &route.matches.path {
        // Refused for what the request says besides its path.
        _ if matches!(&route.action, Action::Refuse(refusal) if refusal.status == 400) => false,
        PathMatch::Exact(exact) => exact == path,
        PathMatch::Prefix(prefix) => prefix == "/" || path == prefix || path.starts_with(&format!("{prefix}/")),
        PathMatch::Regex(_) => false,
    };
    routes.iter().find(takes).unwrap_or_else(|| panic!("nothing takes {path}: {routes:?}"))
}

/// What becomes of such a request: `t/b/80 asks t/keys`, or the status of the refusal.
fn becomes(resolved: &Resolved, service: &str, number: u16, path: &str) -> String {
    let route = route(resolved, service, number, path);
    let asks = route.policy.auth.as_ref().map(|auth| format!(" asks {}", auth.config)).unwrap_or_default();
    match &route.action {
        Action::Refuse(refusal) => refusal.status.to_string(),
        Action::Redirect(redirect) => format!("{redirect:?}{asks}"),
        Action::Forward(forward) => {
            let to = forward.backends.iter().map(|backend| match &backend.target {
                Some(target) => format!("{target}*{}", backend.weight),
                None if backend.own.as_ref().is_some_and(|own| own.redirect.is_some()) => {
                    format!("away*{}", backend.weight)
                }
                None => format!("500*{}", backend.weight),
            });
            format!("{}{asks}", to.collect::<Vec<_>>().join(" "))
        }
    }
}

/// A filter that is not supported.
const UNSUPPORTED: &str =
    "{type: ExternalAuth, externalAuth: {protocol: HTTP, http: {}, backendRef: {name: b, port: 80}}}";

/// An HTTPRoute `t/r` on Service `a` with these rules.
fn on_a(rules: &str) -> String {
    format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: t}}, spec: {{parentRefs: [{{group: '', kind: Service, name: a}}], rules: {rules}}}}}\n---\n"
    )
}

/// A RouteOption `t/<name>` for these targets.
fn option(name: &str, targets: &str, options: &str) -> String {
    format!(
        "{{apiVersion: gateway.solo.io/v1, kind: RouteOption, metadata: {{name: {name}, namespace: t}}, spec: {{targetRefs: {targets}, options: {options}}}}}\n---\n"
    )
}

const R: &str = "{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}";
/// The rule of this name of the route `t/r`.
fn section(name: &str) -> String {
    R.replace("name: r}", &format!("name: r, sectionName: {name}}}"))
}

const KEYS: &str = "{extauth: {configRef: {name: keys, namespace: t}}}";
const TO_A: &str = "backendRefs: [{name: a, port: 80}]";

#[test]
fn a_grant_is_for_whom_and_what_it_names() {
    let route = on_a("[{backendRefs: [{name: c, namespace: u, port: 80}]}]");
    let service = "{apiVersion: v1, kind: Service, metadata: {name: c, namespace: u}, spec: {clusterIP: 127.0.20.4, ports: [{port: 80}]}}\n---\n";
    let grant = |namespace: &str, name: &str, from: &str, to: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{from: [{from}], to: [{to}]}}}}\n---\n"
        )
    };
    let answer = |grants: &[String]| becomes(&resolved(&format!("{route}{service}{}", grants.concat())), "a", 80, "/");
    let from = "{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: t}";
    let (any, named) = ("{group: '', kind: Service}", "{group: '', kind: Service, name: c}");
    for to in [any, named] {
        assert_eq!(answer(&[grant("u", "g", from, to)]), "u/c/80*1", "{to}");
    }
    let elsewhere = from.replace("namespace: t", "namespace: v");
    let others = named.replace("name: c", "name: d");
    for (from, to) in [
        (elsewhere.as_str(), any),
        ("{group: gateway.networking.k8s.io, kind: GRPCRoute, namespace: t}", any),
        ("{group: example.com, kind: HTTPRoute, namespace: t}", any),
        (from, "{group: '', kind: Secret}"),
        (from, "{group: example.com, kind: Service}"),
        (from, others.as_str()),
    ] {
        assert_eq!(answer(&[grant("u", "g", from, to)]), "500", "{from} {to}");
        // The second of two counts.
        let two = grant("u", "g", &format!("{elsewhere}, {from}"), &format!("{others}, {to}"));
        assert_eq!(answer(&[two]), "500", "{from} {to}");
    }
    assert_eq!(answer(&[grant("t", "g", from, any)]), "500", "a grant is given by who is referred to");
    let halves = [grant("u", "g", from, &others), grant("u", "h", &elsewhere, any)];
    assert_eq!(answer(&halves), "500", "two halves are no grant");
    let two = grant("u", "g", &format!("{elsewhere}, {from}"), &format!("{others}, {named}"));
    assert_eq!(answer(&[two]), "u/c/80*1");
    assert_eq!(answer(&[halves[0].clone(), grant("u", "h", from, any)]), "u/c/80*1");
}

/// Whether namespace `u`, which has these labels, may use the Gateway of which the listener allows this:
/// with a route that would send away all requests of everybody, and for a Service of its own.
fn admitted(labels: &str, allowed: &str) -> bool {
    let listener = "protocol: istio.io/PROXY";
    let scaffold = SCAFFOLD.replace(listener, &format!("{listener}, allowedRoutes: {allowed}"));
    assert_ne!(scaffold, SCAFFOLD);
    let foreign = format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: u, labels: {labels}}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: c, namespace: u, labels: {{istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: t}}}}, spec: {{clusterIP: 127.0.20.4, ports: [{{port: 80}}]}}}}
---
{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: hijack, namespace: u}}, spec: {{parentRefs: [{{name: wp, namespace: t}}], rules: [{{filters: [{{type: RequestRedirect, requestRedirect: {{hostname: elsewhere}}}}]}}]}}}}"
    );
    let resolved = resolve(&declared(&format!("{scaffold}{foreign}")), &settings());
    let enrolled = matches!(*resolved.services[&Name::new("u", "c")], Enrolment::Waypoint(_));
    let said = resolved.report.get(&ObjectRef::new(Kind::HttpRoute, "u", "hijack")).unwrap();
    let accepted = said[0].conditions.iter().find(|condition| condition.kind == "Accepted").unwrap();
    assert_eq!(accepted.status, Some(enrolled), "{labels} {allowed}");
    // Where the selector leaves out the Gateway's own namespace, nothing there is served at all.
    if *resolved.services[&Name::new("t", "b")] == Enrolment::Waypoint(Name::new("t", "wp")) {
        let hijacked = becomes(&resolved, "b", 80, "/") != "t/b/80*1";
        assert_eq!(hijacked, enrolled, "{labels} {allowed}");
    }
    enrolled
}

#[test]
fn routes_of_other_namespaces_apply_by_a_gateway_only_where_its_listener_admits_them() {
    let by = |selector: &str| format!("{{namespaces: {{from: Selector, selector: {selector}}}}}");
    assert!(!admitted("{}", "{namespaces: {from: Same}}"));
    assert!(!admitted("{}", "{}"), "the same namespace is the default");
    assert!(admitted("{}", "{namespaces: {from: All}}"));
    assert!(!admitted("{}", "{namespaces: {from: Selector}}"), "a selector that is not there selects nothing");
    let both = by("{matchLabels: {a: x, b: y}}");
    assert!(admitted("{a: x, b: y}", &both));
    for labels in ["{a: x}", "{b: y}", "{a: x, b: z}", "{a: y, b: x}", "{}"] {
        assert!(!admitted(labels, &both), "{labels}");
    }
    // What is no selector for Kubernetes admits nobody.
    for expression in [
        "{key: a, operator: NotIn}",
        "{key: a, operator: NotIn, values: []}",
        "{key: a, operator: notIn, values: [w]}",
        "{key: a, operator: Exists, values: [w]}",
        "{key: b, operator: DoesNotExist, values: [w]}",
        "{key: 'a b', operator: DoesNotExist}",
        "{key: a, operator: NotIn, values: ['w ']}",
    ] {
        assert!(!admitted("{a: x}", &by(&format!("{{matchExpressions: [{expression}]}}"))), "{expression}");
    }
    for (labels, expression, yes) in [
        ("{a: x}", "{key: a, operator: In, values: [w, x]}", true),
        ("{a: y}", "{key: a, operator: In, values: [w, x]}", false),
        ("{}", "{key: a, operator: In, values: [w, x]}", false),
        ("{a: y}", "{key: a, operator: NotIn, values: [w, x]}", true),
        ("{}", "{key: a, operator: NotIn, values: [w, x]}", true),
        ("{a: x}", "{key: a, operator: NotIn, values: [w, x]}", false),
        ("{a: x}", "{key: a, operator: Exists}", true),
        ("{b: x}", "{key: a, operator: Exists}", false),
        ("{b: x}", "{key: a, operator: DoesNotExist}", true),
        ("{a: x}", "{key: a, operator: DoesNotExist}", false),
    ] {
        assert_eq!(
            admitted(labels, &by(&format!("{{matchExpressions: [{expression}]}}"))),
            yes,
            "{labels} {expression}"
        );
        // Each of two, and beside labels, has to hold.
        let two = format!("{{matchExpressions: [{{key: c, operator: DoesNotExist}}, {expression}]}}");
        assert_eq!(admitted(labels, &by(&two)), yes, "{labels} {two}");
        let beside = format!("{{matchLabels: {{d: z}}, matchExpressions: [{expression}]}}");
        assert!(!admitted(labels, &by(&beside)), "{labels} {beside}");
    }
}

#[test]
fn a_namespace_is_called_what_it_is_called_whatever_its_labels_say() {
    let named = |name: &str| {
        format!(
            "{{namespaces: {{from: Selector, selector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}}}}}"
        )
    };
    assert!(admitted("{}", &named("u")));
    assert!(!admitted("{kubernetes.io/metadata.name: trusted}", &named("trusted")));
    assert!(admitted("{kubernetes.io/metadata.name: trusted}", &named("u")));
}

#[test]
fn a_broken_namespace_still_enrols_and_what_cannot_be_read_is_refused() {
    let enrolment = |namespace: &str| {
        let old = "{apiVersion: v1, kind: Namespace, metadata: {name: t, labels: {istio.io/use-waypoint: wp}}}";
        assert!(SCAFFOLD.contains(old));
        let yaml = SCAFFOLD.replace(old, namespace);
        let snapshot = declared(&yaml);
        let resolved = resolve(&snapshot, &settings());
        resolved.services.get(&Name::new("t", "a")).unwrap().as_ref().clone()
    };
    let waypoint = |name: &str| Enrolment::Waypoint(Name::new("t", name));
    let broken = |labels: &str| {
        format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: t, labels: {labels}}}, spec: {{finalizers: 3}}}}")
    };
    assert_eq!(enrolment(&broken("{istio.io/use-waypoint: wp}")), waypoint("wp"));
    assert!(matches!(enrolment(&broken("{istio.io/use-waypoint: gone}")), Enrolment::Refused(_)));
    assert!(matches!(enrolment(&broken("[1]")), Enrolment::Refused(_)));
    assert!(matches!(enrolment(&broken("{istio.io/use-waypoint: true}")), Enrolment::Refused(_)));
    assert_eq!(enrolment(&broken("{istio.io/use-waypoint: none}")), Enrolment::None);
}

#[test]
fn without_an_authorization_service_what_needs_one_is_refused_and_the_rest_is_not() {
    let yaml = format!(
        "{SCAFFOLD}{}{}",
        on_a(&format!("[{{name: one, matches: [{{path: {{value: /guarded}}}}], {TO_A}}}, {{name: two, {TO_A}}}]")),
        option("auth", &format!("[{}]", section("one")), KEYS),
    );
    let answers = |settings: &Settings| {
        let resolved = resolve(&declared(&yaml), settings);
        ["/guarded", "/open"].map(|path| becomes(&resolved, "a", 80, path))
    };
    assert_eq!(answers(&settings()), ["t/a/80*1 asks t/keys", "t/a/80*1"]);
    assert_eq!(answers(&Settings { extauth: None, ..settings() }), ["403", "t/a/80*1"]);
}

#[test]
fn authorization_is_off_only_where_it_is_disabled_and_the_first_option_says_so() {
    let rules = on_a(&format!("[{{{TO_A}}}]"));
    let answer = |options: &[(&str, &str)]| {
        let options: String = options.iter().map(|(name, says)| option(name, &format!("[{R}]"), says)).collect();
        becomes(&resolved(&format!("{rules}{options}")), "a", 80, "/")
    };
    let other = KEYS.replace("keys", "others");
    assert_eq!(answer(&[("x", "{extauth: {disable: true}}")]), "t/a/80*1");
    assert_eq!(
        answer(&[("x", "{extauth: {disable: false, configRef: {name: keys, namespace: t}}}")]),
        "t/a/80*1 asks t/keys"
    );
    // The older, then the first by name, and only where it says something.
    assert_eq!(answer(&[("x", KEYS), ("y", "{extauth: {disable: true}}")]), "t/a/80*1 asks t/keys");
    assert_eq!(answer(&[("x", KEYS), ("y", &other)]), "t/a/80*1 asks t/keys");
    assert_eq!(answer(&[("x", "{timeout: 3s}"), ("y", &other)]), "t/a/80*1 asks t/others");
}

#[test]
fn an_option_governs_the_rule_it_names_and_the_second_target_counts() {
    let rules = on_a(&format!(
        "[{{name: one, matches: [{{path: {{value: /one}}}}], {TO_A}}}, {{name: two, matches: [{{path: {{value: /two}}}}, {{path: {{value: /too}}}}], {TO_A}}}, {{{TO_A}}}]"
    ));
    let answers = |targets: &str| {
        let resolved = resolved(&format!("{rules}{}", option("x", targets, KEYS)));
        ["/one", "/two", "/too", "/"].map(|path| becomes(&resolved, "a", 80, path).ends_with(" asks t/keys"))
    };
    assert_eq!(answers(&format!("[{R}]")), [true; 4]);
    assert_eq!(answers(&format!("[{}]", section("two"))), [false, true, true, false]);
    assert_eq!(answers(&format!("[{}, {}]", section("two"), section("one"))), [true, true, true, false]);
    // A rule that is not there: nothing of the route is served, whichever of the targets names it.
    let resolved =
        resolved(&format!("{rules}{}", option("x", &format!("[{}, {}]", section("one"), section("six")), KEYS)));
    for path in ["/one", "/two", "/"] {
        assert_eq!(becomes(&resolved, "a", 80, path), "500", "{path}");
    }
    // So it is where another option, which names rules that are there, comes before.
    for (first, second) in [("one", "six"), ("six", "one")] {
        let options =
            option("x", &format!("[{}]", section(first)), KEYS) + &option("y", &format!("[{}]", section(second)), KEYS);
        let resolved = self::resolved(&format!("{rules}{options}"));
        for path in ["/one", "/two", "/"] {
            assert_eq!(becomes(&resolved, "a", 80, path), "500", "{first} {second} {path}");
        }
    }
}

#[test]
fn a_route_governs_the_ports_that_its_parents_name() {
    let answers = |parents: &str| {
        let route = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: t}}, spec: {{parentRefs: {parents}, rules: [{{backendRefs: [{{name: b, port: 80}}]}}]}}}}"
        );
        let resolved = resolved(&route);
        [80, 81].map(|number| becomes(&resolved, "a", number, "/").starts_with("t/b/80"))
    };
    assert_eq!(answers("[{group: '', kind: Service, name: a}]"), [true, true]);
    assert_eq!(answers("[{group: '', kind: Service, name: a, port: 81}]"), [false, true]);
    assert_eq!(answers("[{group: '', kind: Service, name: a, sectionName: web}]"), [true, false]);
    assert_eq!(answers("[{group: '', kind: Service, name: a, sectionName: web, port: 80}]"), [true, false]);
    assert_eq!(answers("[{group: '', kind: Service, name: a, sectionName: web, port: 81}]"), [false, false]);
    assert_eq!(
        answers("[{group: '', kind: Service, name: a, port: 7}, {group: '', kind: Service, name: a, port: 81}]"),
        [false, true]
    );
    assert_eq!(
        answers("[{group: '', kind: Service, name: a, port: 80}, {group: '', kind: Service, name: a, port: 81}]"),
        [true, true]
    );
    assert_eq!(answers("[{group: '', kind: Service, name: b}]"), [false, false]);
    assert_eq!(answers("[{name: wp}]"), [true, true]);
    assert_eq!(answers("[{name: wp, sectionName: proxy, port: 15088}]"), [true, true]);
    assert_eq!(answers("[{name: wp, sectionName: other}]"), [false, false]);
    assert_eq!(answers("[{name: wp, port: 15089}]"), [false, false]);
}

#[test]
fn a_weight_of_zero_gets_nothing_and_all_zero_is_refused() {
    let answer = |weights: [i32; 2]| {
        let backends =
            format!("{{name: a, port: 80, weight: {}}}, {{name: b, port: 80, weight: {}}}", weights[0], weights[1]);
        becomes(&resolved(&on_a(&format!("[{{backendRefs: [{backends}]}}]"))), "a", 80, "/")
    };
    assert_eq!(answer([1, 3]), "t/a/80*1 t/b/80*3");
    assert_eq!(answer([0, 3]), "t/b/80*3");
    assert_eq!(answer([2, 0]), "t/a/80*2");
    assert_eq!(answer([0, 0]), "500");
}

/// The copies of requests to `/` of Service `a`.
fn copies(resolved: &Resolved) -> Vec<(String, u32)> {
    let Action::Forward(forward) = &route(resolved, "a", 80, "/").action else { panic!() };
    forward.mirrors.iter().map(|mirror| (mirror.target.to_string(), mirror.millionths)).collect()
}

#[test]
fn copies_go_where_they_may_and_requests_are_answered_all_the_same() {
    let with = |mirrors: &[&str]| {
        let filter = |mirror: &&str| format!("{{type: RequestMirror, requestMirror: {mirror}}}");
        let filters = mirrors.iter().map(filter).collect::<Vec<_>>().join(", ");
        resolved(&on_a(&format!("[{{filters: [{filters}], {TO_A}}}]")))
    };
    let [half, all, lost] = [
        "{backendRef: {name: b, port: 80}, percent: 50}",
        "{backendRef: {name: a, port: 81}}",
        "{backendRef: {name: gone, port: 80}}",
    ];
    let resolved = with(&[half, lost, "{backendRef: {name: b, port: 80}, percent: 0}", all]);
    assert_eq!(becomes(&resolved, "a", 80, "/"), "t/a/80*1");
    assert_eq!(copies(&resolved), [("t/b/80".to_owned(), 500_000), ("t/a/81".to_owned(), 1_000_000)]);
    let said = |kind: &str| conditions(&resolved, &ObjectRef::new(Kind::HttpRoute, "t", "r"), kind).remove(0);
    assert_eq!((said("Accepted").0, said("ResolvedRefs").0), (Some(true), Some(false)));
    let (_, reason, message) = said("ResolvedRefs");
    assert_eq!(reason, "BackendNotFound");
    assert!(message.contains("spec.rules[0].filters[1].requestMirror.backendRef"), "{message}");
}

#[test]
fn who_gets_copies_believes_what_authorization_says_and_no_client() {
    let mirror = "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}]";
    let disowned = |manifests: &str, service: &str| -> Vec<String> {
        let resolved = resolved(manifests);
        let policy = &route(&resolved, service, 80, "/").policy;
        policy.disowned.iter().map(|one| format!("{} {}", one.name, one.spelling_stays)).collect()
    };
    let on_b = |rule: &str| http_route("s", "[{group: '', kind: Service, name: b}]", &format!("[{{{rule}}}]"));
    let guarded =
        |of: &str| option("x", &format!("[{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: {of}}}]"), KEYS);
    let copied = on_a(&format!("[{{{mirror}, {TO_A}}}]"));
    let to_b = "backendRefs: [{name: b, port: 80}]";

    // What is said to b by authorization, nobody says by a copy.
    let own = disowned(&(copied.clone() + &on_b(to_b) + &guarded("s")), "b");
    assert!(
        own.iter().all(|one| one.ends_with(" true")) && own.iter().any(|one| one.starts_with("x-user-id")),
        "{own:?}"
    );
    let by_copies = disowned(&(copied.clone() + &on_b(to_b) + &guarded("s")), "a");
    assert!(by_copies.contains(&"x-user-id false".to_owned()), "{by_copies:?}");
    // What is said to it by copies of what passed, nobody says to it himself.
    let himself = disowned(&(copied.clone() + &on_b(to_b) + &guarded("r")), "b");
    assert!(himself.contains(&"x-user-id false".to_owned()), "{himself:?}");
    let of_backend = on_a(&format!("[{{{}}}]", TO_A.replace("port: 80", &format!("port: 80, {mirror}"))));
    let himself = disowned(&(of_backend.clone() + &on_b(to_b) + &guarded("r")), "b");
    assert!(himself.contains(&"x-user-id false".to_owned()), "{himself:?}");
    let by_copies = disowned(&(of_backend + &on_b(to_b) + &guarded("s")), "a");
    assert!(by_copies.contains(&"x-user-id false".to_owned()), "{by_copies:?}");
    assert_eq!(disowned(&(copied + &on_b(to_b)), "b"), [""; 0]);
}

#[test]
fn only_endpoints_that_are_not_unready_are_sent_to_and_all_slices_count() {
    let slice = |name: &str, endpoints: &str| {
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}, namespace: t, labels: {{kubernetes.io/service-name: a}}}}, addressType: IPv4, endpoints: {endpoints}, ports: [{{name: web, port: 8080}}, {{name: admin, port: 8081}}, {{name: web, port: 8082}}]}}\n---\n"
        )
    };
    let slices = slice(
        "one",
        "[{addresses: [10.0.0.1], conditions: {ready: false}}, {addresses: [10.0.0.2, 10.0.0.3], conditions: {ready: true}}, {addresses: [10.0.0.4]}]",
    ) + &slice(
        "two",
        "[{addresses: [10.0.0.5], conditions: {serving: true}}, {addresses: [10.0.0.6], conditions: {ready: false}}]",
    );
    let resolved = resolved(&slices);
    let clusters = &resolved.proxies[&Name::new("t", "wp")].clusters;
    let origins = &clusters[&Destination::Service(port("a", 80))].origins;
    let of = [(Kind::Service, "a"), (Kind::EndpointSlice, "one"), (Kind::EndpointSlice, "two")];
    let of = of.map(|(kind, name)| ObjectRef::new(kind, "t", name));
    assert_eq!(*origins, BTreeSet::from(of), "whom to tell where Envoy refuses it");
    let addresses = |number: u16| {
        let Endpoints::Addresses(addresses) = &clusters[&Destination::Service(port("a", number))].endpoints else {
            panic!()
        };
        addresses.iter().map(ToString::to_string).collect::<BTreeSet<_>>()
    };
    let all = |ports: &[u16]| {
        let at = |end: u8| ports.iter().map(move |port| format!("10.0.0.{end}:{port}"));
        (2..=5).flat_map(at).collect::<BTreeSet<_>>()
    };
    assert_eq!(addresses(80), all(&[8080, 8082]));
    assert_eq!(addresses(81), all(&[8081]));
}

/// A RateLimitConfig `t/<name>` that counts in two ways, by this unit.
fn counting(name: &str, unit: &str) -> String {
    let limit = format!("rateLimit: {{unit: {unit}, requestsPerUnit: 1}}");
    format!(
        "{{apiVersion: ratelimit.solo.io/v1alpha1, kind: RateLimitConfig, metadata: {{name: {name}, namespace: t}}, spec: {{raw: {{descriptors: [{{key: generic_key, value: x, {limit}}}, {{key: y, {limit}}}], rateLimits: [{{actions: [{{genericKey: {{descriptorValue: x}}}}]}}, {{actions: [{{requestHeaders: {{headerName: y, descriptorKey: y}}}}]}}]}}}}}}\n---\n"
    )
}

#[test]
fn of_several_limits_each_counts_and_a_broken_one_refuses_wherever_it_is_named() {
    let configs = ["one", "two", "three", "four"].map(|name| counting(name, "HOUR")).concat();
    let limits = |early: &str, usual: &str, regular: &str| {
        let refs = |names: &str| {
            let refs: Vec<_> = names.split_whitespace().map(|name| format!("{{name: {name}, namespace: t}}")).collect();
            format!("{{refs: [{}]}}", refs.join(", "))
        };
        let (early, usual, regular) = (refs(early), refs(usual), refs(regular));
        let options = format!(
            "{{rateLimitEarlyConfigs: {early}, rateLimitConfigs: {usual}, rateLimitRegularConfigs: {regular}}}"
        );
        let route = on_a(&format!("[{{{TO_A}}}]"));
        format!("{SCAFFOLD}{configs}{route}{}{}", option("x", &format!("[{R}]"), &options), counting("broken", "ODD"))
    };
    let yaml = limits("one", "two three", "four");
    let counted = |settings: &Settings| {
        let resolved = resolve(&declared(&yaml), settings);
        let route = route(&resolved, "a", 80, "/");
        assert!(matches!(route.action, Action::Forward(_)));
        let of = |descriptor: &Descriptor| match descriptor.entries.as_slice() {
            [Entry::Constant(config), second] => {
                let what = if matches!(second, Entry::Constant(_)) { "constant" } else { "header" };
                format!("{:?} {config} {what}", descriptor.stage)
            }
            other => panic!("{other:?}"),
        };
        route.policy.limits.iter().map(of).collect::<Vec<_>>()
    };
    let two = |when: &str, config: &str| ["constant", "header"].map(|what| format!("{when} t.{config} {what}"));
    let expected = [two("Early", "one"), two("Regular", "two"), two("Regular", "three"), two("Regular", "four")];
    assert_eq!(counted(&settings()), expected.concat());
    assert_eq!(counted(&Settings { ratelimit: None, ..settings() }), [""; 0]);
    for (early, usual, regular) in [
        ("one broken", "two", "four"),
        ("one", "two broken", "four"),
        ("one", "two", "four broken"),
        ("", "", "broken"),
    ] {
        let resolved = resolve(&declared(&limits(early, usual, regular)), &settings());
        assert_eq!(becomes(&resolved, "a", 80, "/"), "500", "{early}, {usual}, {regular}");
    }
}

#[test]
fn a_gateway_of_another_class_or_controller_is_not_served_and_its_services_are_refused() {
    let served = |scaffold: &str, class: &str| {
        let resolved = resolve(&declared(&format!("{scaffold}{class}")), &settings());
        let waypoint = *resolved.services[&Name::new("t", "a")] == Enrolment::Waypoint(Name::new("t", "wp"));
        assert_eq!(resolved.proxies.contains_key(&Name::new("t", "wp")), waypoint);
        waypoint
    };
    let class = |controller: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {{name: gloo-waypoint}}, spec: {{controllerName: {controller}}}}}"
        )
    };
    assert!(served(SCAFFOLD, "") && served(SCAFFOLD, &class(&settings().controller_name)));
    assert!(!served(SCAFFOLD, &class("example.com/other")));
    assert!(!served(&SCAFFOLD.replace("gloo-waypoint", "istio-waypoint"), ""));
}

#[test]
fn header_changes_and_limits_of_callers_are_all_taken_over() {
    let with = |options: &str| {
        let yaml = format!("{}{}", on_a(&format!("[{{{TO_A}}}]")), option("x", &format!("[{R}]"), options));
        route(&resolved(&yaml), "a", 80, "/").policy.clone()
    };
    let put = |list: &str| {
        format!(
            "{list}ToAdd: [{{header: {{key: x-a, value: a}}}}, {{header: {{key: x-b, value: b}}, append: false}}], {list}ToRemove: [x-c, x-d]"
        )
    };
    let policy = with(&format!("{{headerManipulation: {{{}, {}}}}}", put("requestHeaders"), put("responseHeaders")));
    for changes in [&policy.request, &policy.response] {
        let added: Vec<_> = changes.put.iter().map(|put| (put.name.as_str(), put.append)).collect();
        assert_eq!(added, [("x-a", true), ("x-b", false)]);
        assert_eq!(changes.remove, ["x-c", "x-d"]);
    }
    let limit = "{unit: HOUR, requestsPerUnit: 1}";
    let (known, unknown) = (format!("authorizedLimits: {limit}"), format!("anonymousLimits: {limit}"));
    let auth = KEYS.trim_matches(['{', '}']);
    let count = |limits: &str, auth: &str| with(&format!("{{ratelimitBasic: {{{limits}}}{auth}}}")).limits.len();
    let asked = format!(", {auth}}}}}");
    assert_eq!(count(&known, &asked), 1);
    assert_eq!(count(&unknown, &asked), 1);
    assert_eq!(count(&format!("{known}, {unknown}"), &asked), 2);
    // Nobody is known where nobody is asked who they are.
    assert_eq!((count(&known, ""), count(&unknown, ""), count(&format!("{known}, {unknown}"), "")), (0, 1, 1));
    let accepted = |limits: &str, auth: &str| {
        let rules = on_a(&format!("[{{{TO_A}}}]"));
        let options = format!("{{ratelimitBasic: {{{limits}}}{auth}}}");
        let resolved = resolved(&format!("{rules}{}", option("x", &format!("[{R}]"), &options)));
        let said = conditions(&resolved, &ObjectRef::new(Kind::RouteOption, "t", "x"), "Accepted");
        said.iter().map(|(status, reason, _)| (*status == Some(true), reason.clone())).collect::<Vec<_>>()
    };
    let all = |answers: Vec<(bool, String)>, reason: &str| {
        assert!(answers.iter().all(|(yes, said)| *yes == (reason == "Accepted") && said == reason), "{answers:?}");
    };
    all(accepted(&known, ""), "NotEnforced");
    all(accepted(&known, ", extauth: {disable: true}"), "NotEnforced");
    let keys = ", extauth: {configRef: {name: keys, namespace: t}}";
    for (limits, auth) in [(&known, keys), (&unknown, ""), (&format!("{known}, {unknown}"), "")] {
        all(accepted(limits, auth), "Accepted");
    }
}

#[test]
fn a_route_of_another_namespace_does_not_govern_a_service_it_names() {
    let foreign = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: hijack, namespace: u}, spec: {parentRefs: [{group: '', kind: Service, name: a, namespace: t}], rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere}}]}]}}";
    let resolved = resolved(foreign);
    assert_eq!(becomes(&resolved, "a", 80, "/"), "t/a/80*1");
    let said = resolved.report.get(&ObjectRef::new(Kind::HttpRoute, "u", "hijack")).unwrap();
    assert_eq!(said[0].conditions.iter().find(|c| c.kind == "Accepted").unwrap().status, Some(false));
}

#[test]
fn every_broken_route_closes_what_it_names() {
    let broken = |name: &str, service: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: t}}, spec: {{parentRefs: [{{group: '', kind: Service, name: {service}}}], rules: 7}}}}\n---\n"
        )
    };
    let refused = |more: &str| {
        let resolved = resolved(more);
        ["a", "b"].map(|service| becomes(&resolved, service, 80, "/") == "500")
    };
    assert_eq!(refused(&broken("one", "a")), [true, false]);
    assert_eq!(refused(&(broken("one", "a") + &broken("two", "b"))), [true, true]);
    assert_eq!(refused(&(broken("one", "b") + &broken("two", "a"))), [true, true]);
    // Nobody can tell which of its namespace's Services this one names.
    let anywhere = broken("one", "a").replace("parentRefs: [{group: '', kind: Service, name: a}]", "parentRefs: 7");
    assert_eq!(refused(&anywhere), [true, true]);
}

/// Whether a path is refused because it may mean another one to the application; none if no path is.
fn doubt(rules: &str, options: &str) -> Option<impl Fn(&str) -> bool> {
    let resolved = resolved(&format!("{}{options}", on_a(rules)));
    let chain = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains[&port("a", 80)];
    let (Traffic::Http(routes) | Traffic::Sniffed(routes, _)) = &chain.traffic else { panic!("{chain:?}") };
    let first = routes.iter().find(|route| route.name == "doubtful path")?;
    let PathMatch::Regex(text) = &first.matches.path else { panic!("{first:?}") };
    let regex = regex::Regex::new(&format!("^(?:{text})$")).unwrap();
    Some(move |path: &str| regex.is_match(path))
}

#[test]
fn paths_that_an_application_may_read_as_others_are_refused_where_that_matters() {
    let rule = |name: &str, kind: &str, path: &str| {
        format!("{{name: {name}, matches: [{{path: {{type: {kind}, value: '{path}'}}}}], {TO_A}}}")
    };
    let guard = option("auth", &format!("[{}]", section("one")), KEYS);
    let rules = |kind: &str, path: &str| format!("[{}, {{name: two, {TO_A}}}]", rule("one", kind, path));
    let of = |rules: &str, options: &str, doubtful: &[&str], clear: &[&str]| {
        let is_doubtful = doubt(rules, options).unwrap();
        doubtful.iter().for_each(|path| assert!(is_doubtful(path), "{rules}: {path} is served"));
        clear.iter().for_each(|path| assert!(!is_doubtful(path), "{rules}: {path} is refused"));
    };
    let always = ["/x%2F..%2Fa", "/x/..%2fa", "/x%5C..", "/x%2f.;p%2fa"];
    let slashes = ["/a%2Fb", "/%2fa", "/b%5cc", "/b\\c"];
    let plain = ["/a", "/a/b", "/x%20y", "/a..b/c", "/caf%C3%A9", "/%e0%a4%a8", "/%F0%9F%98%80", "/50%25", "/50%25off"];
    let no_character = [
        "/%",
        "/a%2",
        "/a%zz",
        "/a%2g/b",
        "/%u0061",
        "/%00",
        "/a%0a",
        "/a%1F",
        "/a%7f",
        "/x%c0%af",
        "/%C1%A1",
        "/%e0%80%af",
        "/%F0%80%80%af",
        "/%2561",
        "/x%252e%252e%252fa",
        "/50%25ab",
    ];
    let guarded = rules("PathPrefix", "/a");
    of(&guarded, &guard, &[&always[..], &slashes, &no_character, &["/a;x", "/x%3Ba", "/x%3by"]].concat(), &plain);
    of(&guarded, "", &always, &[&plain[..], &slashes, &no_character, &["/a;x"]].concat());
    // Where a rule has such a character itself it is no parameter; in an expression it has one spelling only.
    of(&rules("PathPrefix", "/a;b"), &guard, &[&always[..], &slashes].concat(), &["/x;y", "/a;b"]);
    of(&rules("RegularExpression", "/u@.*"), &guard, &["/u%40x", "/a%2Fb"], &["/u@x"]);
    assert!(doubt(&format!("[{{name: one, {TO_A}}}]"), &guard).is_none(), "all paths are guarded alike");
}

/// An HTTPRoute `t/<name>` with these parents and rules.
fn http_route(name: &str, parents: &str, rules: &str) -> String {
    on_a(rules).replace("name: r,", &format!("name: {name},")).replace("[{group: '', kind: Service, name: a}]", parents)
}

/// The reason and the message of a condition of `object`, in each place of its status.
fn conditions(resolved: &Resolved, object: &ObjectRef, kind: &str) -> Vec<(Option<bool>, String, String)> {
    let statuses = resolved.report.get(object).unwrap_or_else(|| panic!("nothing is said of {object}"));
    let said = statuses.iter().flat_map(|status| &status.conditions).filter(|condition| condition.kind == kind);
    said.map(|said| (said.status, said.reason.to_string(), said.message.clone())).collect()
}

#[test]
fn the_narrower_match_of_several_routes_and_rules_comes_first() {
    let wide = format!("matches: [{{path: {{value: /}}}}], {TO_A}");
    let narrow = format!("matches: [{{path: {{value: /admin}}}}], {TO_A}");
    let on_b = "[{group: '', kind: Service, name: b}]";
    let target = |name: &str| section("admin").replace("name: r,", &format!("name: {name},"));
    let one = http_route("r", on_b, &format!("[{{name: rest, {wide}}}, {{name: admin, {narrow}}}]"));
    let two = http_route("early", on_b, &format!("[{{name: rest, {wide}}}]"))
        + &http_route("late", on_b, &format!("[{{name: admin, {narrow}}}]"));
    for (routes, name) in [(one, "r"), (two, "late")] {
        let resolved = resolved(&(routes + &option("x", &format!("[{}]", target(name)), KEYS)));
        assert_eq!(becomes(&resolved, "b", 80, "/admin/x"), "t/a/80*1 asks t/keys", "{name}");
        assert_eq!(becomes(&resolved, "b", 80, "/x"), "t/a/80*1", "{name}");
    }
}

#[test]
fn of_two_services_with_one_address_the_second_is_not_served_and_is_told() {
    let second = "{apiVersion: v1, kind: Service, metadata: {name: c, namespace: t}, spec: {clusterIP: 127.0.20.2, ports: [{name: web, port: 80}]}}";
    let resolved = resolved(second);
    let chains = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains;
    assert!(chains.contains_key(&port("a", 80)) && !chains.contains_key(&port("c", 80)));
    let said = conditions(&resolved, &ObjectRef::new(Kind::Service, "t", "c"), "Accepted");
    assert!(said.iter().any(|(status, reason, _)| *status == Some(false) && reason == "AddressConflict"), "{said:?}");
}

#[test]
fn what_authorization_says_to_an_application_is_said_by_no_other_service_that_leads_there() {
    let slice = |name: &str, service: &str, address: &str, ports: &str| {
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}, namespace: t, labels: {{kubernetes.io/service-name: {service}}}}}, addressType: IPv4, ports: {ports}, endpoints: [{{addresses: ['{address}'], conditions: {{ready: false}}}}]}}\n---\n"
        )
    };
    let second = "{apiVersion: v1, kind: Service, metadata: {name: c, namespace: t}, spec: {clusterIP: 127.0.20.4, ports: [{name: web, port: 80}, {name: tcp, port: 81}, {name: redis, port: 82}]}}\n---\n";
    let guarded = on_a(&format!("[{{{TO_A}}}]")) + &option("auth", &format!("[{R}]"), KEYS);
    let of_a = slice("a", "a", "10.0.0.1", "[{name: web, port: 8080}]");
    let ports = "[{name: web, port: 8080}, {name: tcp, port: 8080}, {name: redis, port: 6379}]";
    let chains_of = |guarded: &str, address: &str, of_a: &str| {
        let resolved = resolved(&format!("{second}{guarded}{of_a}{}", slice("c", "c", address, ports)));
        let said = conditions(&resolved, &ObjectRef::new(Kind::Service, "t", "c"), "waykeeper.dev/Served");
        let chains = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains;
        let of = |number| chains[&port("c", number)].traffic.clone();
        let disowned = of(80).routes().into_iter().flatten().flat_map(|route| route.policy.disowned.clone()).count();
        (of(80).read_as(), disowned, of(81).read_as(), of(82).read_as(), said.len())
    };
    let chains = |guarded: &str, address: &str| chains_of(guarded, address, &of_a);
    assert_eq!(chains(&guarded, "10.0.0.1"), ("http", 1, "refused", "tcp", 1));
    // The second of two ports of one name.
    let two = slice("a", "a", "10.0.0.1", "[{name: web, port: 8081}, {name: web, port: 8080}]");
    assert_eq!(chains_of(&guarded, "10.0.0.1", &two), ("http", 1, "refused", "tcp", 1));
    // Another application, or one that authorization says nothing to.
    assert_eq!(chains(&guarded, "10.0.0.2"), ("as it begins", 0, "tcp", "tcp", 0));
    assert_eq!(chains(&on_a(&format!("[{{{TO_A}}}]")), "10.0.0.1"), ("as it begins", 0, "tcp", "tcp", 0));
}

#[test]
fn the_second_parent_that_names_a_port_has_it_read_as_http() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: c, namespace: t}, spec: {clusterIP: 127.0.20.4, ports: [{name: tcp, port: 90}]}}\n---\n";
    let whole = "{group: '', kind: Service, name: c}";
    for named in
        ["{group: '', kind: Service, name: c, port: 90}", "{group: '', kind: Service, name: c, sectionName: tcp}"]
    {
        let route = http_route("r", &format!("[{whole}, {named}]"), &format!("[{{{TO_A}}}]"));
        let resolved = resolved(&format!("{service}{route}{}", option("x", &format!("[{R}]"), KEYS)));
        assert_eq!(becomes(&resolved, "c", 90, "/"), "t/a/80*1 asks t/keys", "{named}");
    }
}

#[test]
fn a_backend_with_filters_that_cannot_be_had_for_it_alone_gets_nothing() {
    let answer = |filter: &str| {
        let backends = format!("{{name: a, port: 80, filters: [{filter}]}}, {{name: b, port: 80}}");
        let guard = option("x", "[]", KEYS);
        becomes(&resolved(&format!("{}{guard}", on_a(&format!("[{{backendRefs: [{backends}]}}]")))), "a", 80, "/")
    };
    for filter in [
        "{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}}",
        "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /x}}}",
        "{type: URLRewrite, urlRewrite: {hostname: x.example}}",
        "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}",
        "{type: RequestMirror, requestMirror: {backendRef: {name: gone, port: 80}}}",
    ] {
        assert_eq!(answer(filter), "t/a/80*1 t/b/80*1", "{filter}");
    }
    assert_eq!(answer("{type: RequestRedirect, requestRedirect: {hostname: x.example}}"), "away*1 t/b/80*1");
    for filter in [
        "{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: x}}",
        "{type: CORS, cors: {allowOrigins: ['*']}}",
        "{type: URLRewrite, urlRewrite: {hostname: x.example}}, {type: CORS, cors: {allowOrigins: ['*']}}",
        "{type: RequestRedirect, requestRedirect: {scheme: https}}, {type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}",
        UNSUPPORTED,
    ] {
        assert_eq!(answer(filter), "500*1 t/b/80*1", "{filter}");
    }
}

#[test]
fn backends_have_one_cors_filter_or_none_of_theirs_is_done() {
    let answer = |rule: &str, backends: &[&str]| {
        let backend = |(number, filters): (usize, &&str)| {
            let weight = u8::from(!filters.contains("weight: 0"));
            format!(
                "{{name: {}, port: 80, weight: {weight}, filters: [{}]}}",
                ["a", "b"][number % 2],
                filters.replace("weight: 0", "")
            )
        };
        let backends = backends.iter().enumerate().map(backend).collect::<Vec<_>>().join(", ");
        let resolved = resolved(&on_a(&format!("[{{filters: [{rule}], backendRefs: [{backends}]}}]")));
        let asked = route(&resolved, "a", 80, "/").policy.cors.is_some();
        (becomes(&resolved, "a", 80, "/"), asked)
    };
    let (one, other) = ("{type: CORS, cors: {allowOrigins: ['*']}}", "{type: CORS, cors: {maxAge: 7}}");
    assert_eq!(answer("", &[one, one]), ("t/a/80*1 t/b/80*1".to_owned(), true));
    assert_eq!(answer("", &[one]), ("t/a/80*1".to_owned(), true));
    assert_eq!(answer("", &["", ""]), ("t/a/80*1 t/b/80*1".to_owned(), false));
    assert_eq!(answer("", &[one, "weight: 0"]), ("t/a/80*1".to_owned(), true), "one that gets nothing is not asked");
    assert_eq!(answer("", &[one, ""]), ("500*1 t/b/80*1".to_owned(), false));
    assert_eq!(answer("", &["", one]), ("t/a/80*1 500*1".to_owned(), false));
    assert_eq!(answer("", &[one, other]), ("500".to_owned(), false));
    assert_eq!(answer(one, &[one, one]), ("500".to_owned(), true));
    let away = "{type: RequestRedirect, requestRedirect: {hostname: x.example}}";
    assert_eq!(answer("", &["", away]), ("t/a/80*1 away*1".to_owned(), false));
    assert_eq!(
        answer(one, &["", away]),
        ("t/a/80*1 500*1".to_owned(), true),
        "where it redirects Envoy answers no browser"
    );
    let copied = "{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}}}";
    assert_eq!(answer(copied, &["", away]), ("t/a/80*1 500*1".to_owned(), false), "nor does it copy");
    assert_eq!(answer(one, &["", ""]), ("t/a/80*1 t/b/80*1".to_owned(), true));
}

#[test]
fn a_route_option_rewrites_the_path_where_the_rule_does_not() {
    let path = |filters: &str| {
        let rules = on_a(&format!("[{{{filters}{TO_A}}}]"));
        let resolved = resolved(&format!("{rules}{}", option("x", &format!("[{R}]"), "{prefixRewrite: /option}")));
        let Action::Forward(forward) = &route(&resolved, "a", 80, "/").action else { panic!() };
        forward.path.clone()
    };
    assert_eq!(path(""), Some(PathRewrite::Prefix("/option".into())));
    let own = "{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /rule}}}";
    assert_eq!(path(&format!("filters: [{own}], ")), Some(PathRewrite::Prefix("/rule".into())));
}

#[test]
fn an_option_that_replaces_a_prefix_refuses_the_requests_of_a_rule_that_has_none() {
    for (kind, answer) in [("PathPrefix", "t/a/80*1 asks t/keys"), ("Exact", "500")] {
        let rules = format!("[{{matches: [{{path: {{type: {kind}, value: /x}}}}, {{path: {{value: /y}}}}], {TO_A}}}]");
        let says = KEYS.replace("{extauth", "{prefixRewrite: /option, extauth");
        let resolved = resolved(&(on_a(&rules) + &option("x", &format!("[{R}]"), &says)));
        assert_eq!(becomes(&resolved, "a", 80, "/x"), answer, "{kind}");
        assert_eq!(becomes(&resolved, "a", 80, "/y"), "t/a/80*1 asks t/keys", "{kind}");
        let said = conditions(&resolved, &ObjectRef::new(Kind::HttpRoute, "t", "r"), "Accepted");
        assert_eq!(said[0].0, Some(kind == "PathPrefix"), "{said:?}");
        assert!(kind == "PathPrefix" || said[0].2.contains("not of type PathPrefix"), "{said:?}");
    }
}

/// Names of headers are the same in any case.
#[test]
fn of_several_conditions_on_one_header_the_first_counts_whatever_others_stand_between() {
    let headers = "[{name: x-a, value: '1'}, {name: x-b, value: '2'}, {name: X-B, value: '4'}, {name: x-c, value: '3'}, {name: X-A, value: '5'}]";
    let resolved = resolved(&on_a(&format!("[{{matches: [{{headers: {headers}}}], {TO_A}}}]")));
    let keys = route(&resolved, "a", 80, "/").matches.headers.iter();
    let keys: Vec<_> = keys.map(|key| format!("{}={:?}", key.name, key.value)).collect();
    assert_eq!(keys, [r#"x-a=Exact("1")"#, r#"x-b=Exact("2")"#, r#"x-c=Exact("3")"#]);
}

/// Admission refuses such a value; whoever decides does not rely on that.
#[test]
fn a_header_with_a_line_break_is_written_into_no_request_or_response() {
    for modifier in ["requestHeaderModifier", "responseHeaderModifier"] {
        let kind = if modifier.starts_with("request") { "RequestHeaderModifier" } else { "ResponseHeaderModifier" };
        for list in ["set", "add"] {
            let filter = format!("{{type: {kind}, {modifier}: {{{list}: [{{name: x-a, value: VALUE}}]}}}}");
            let mut snapshot = declared(&format!("{SCAFFOLD}{}", on_a(&format!("[{{filters: [{filter}], {TO_A}}}]"))));
            let declared = &snapshot.http_routes[&Name::new("t", "r")];
            let written = serde_json::to_string(declared.as_ref()).unwrap();
            for (value, answer) in [("a", "t/a/80*1"), (r"a\r\nx-admin: yes", "500")] {
                let route: api::gateway::HttpRoute = serde_json::from_str(&written.replace("VALUE", value)).unwrap();
                snapshot.http_routes.insert(Name::new("t", "r"), route);
                assert_eq!(becomes(&resolve(&snapshot, &settings()), "a", 80, "/"), answer, "{filter}");
            }
        }
    }
}

#[test]
fn a_status_tells_of_the_second_of_two() {
    let object = |kind: Kind, name: &str| ObjectRef::new(kind, "t", name);
    let on_b = "[{group: '', kind: Service, name: b}]";
    let targets = format!("[{R}, {}]", R.replace("name: r", "name: s"));
    let rules = format!("[{{{TO_A}}}]");

    // A policy on routes of two Services.
    let both = on_a(&rules) + &http_route("s", on_b, &rules) + &option("x", &targets, KEYS);
    let said = conditions(&resolved(&both), &object(Kind::RouteOption, "x"), "Accepted");
    assert_eq!(said[0].2, "governs HTTPRoute t/r, HTTPRoute t/s");

    // A policy on a route that no waypoint of ours serves, and on one that is not there.
    let neither = http_route("r", "[{name: nowhere}]", &rules) + &option("x", &targets, KEYS);
    let said = conditions(&resolved(&neither), &object(Kind::RouteOption, "x"), "Accepted");
    let (whole, behind) = (&said[0], &said[1]);
    assert_eq!((whole.0, whole.1.as_str()), (Some(false), "TargetNotFound"));
    assert!(whole.2.contains("HTTPRoute t/s does not exist") && whole.2.contains(&behind.2), "{said:?}");
    assert_eq!((behind.0, behind.1.as_str()), (Some(false), "NoMatchingParent"));

    // A route of which two rules are refused.
    let refused = format!("filters: [{UNSUPPORTED}], {TO_A}");
    let said = conditions(
        &resolved(&on_a(&format!("[{{{refused}}}, {{{refused}}}]"))),
        &object(Kind::HttpRoute, "r"),
        "Accepted",
    );
    for rule in ["spec.rules[0]", "spec.rules[1]"] {
        assert!(said[0].2.contains(rule), "{said:?}");
    }

    // A route that would govern a port which is not HTTP by two of its parents.
    let service = "{apiVersion: v1, kind: Service, metadata: {name: c, namespace: t}, spec: {clusterIP: 127.0.20.4, ports: [{name: tcp, port: 90}]}}\n---\n";
    let two = http_route("r", "[{group: '', kind: Service, name: c}, {name: wp}]", &rules);
    let said =
        conditions(&resolved(&format!("{service}{two}")), &object(Kind::HttpRoute, "r"), "waykeeper.dev/PortsReached");
    assert_eq!(said.len(), 2, "{said:?}");
    said.iter().for_each(|(_, _, message)| assert!(message.contains("port 90 of Service t/c"), "{message}"));
}

/// `Accepted` of the RouteOption `t/<name>` behind `ancestor`, and `Programmed` where that is stated.
fn judged(resolved: &Resolved, name: &str, ancestor: &str) -> (Option<bool>, String, Option<bool>) {
    let said = resolved.report.get(&ObjectRef::new(Kind::RouteOption, "t", name)).unwrap();
    let status = said.iter().find(|status| status.place.to_string() == ancestor).unwrap_or_else(|| panic!("{said:?}"));
    let accepted = status.condition("Accepted").unwrap();
    (accepted.status, accepted.reason.clone(), status.condition("Programmed").and_then(|programmed| programmed.status))
}

/// The same of `t/x`.
fn claimed(resolved: &Resolved, ancestor: &str) -> (Option<bool>, String, Option<bool>) {
    judged(resolved, "x", ancestor)
}

#[test]
fn a_policy_is_not_accepted_where_requests_get_around_it() {
    let rules = format!("[{{name: one, {TO_A}}}]");
    let policy = |says: &str| on_a(&rules) + &option("x", &format!("[{R}]"), says);
    let expect = |resolved: &Resolved, ancestor: &str, reason: &str| {
        let (accepted, said, programmed) = claimed(resolved, ancestor);
        assert_eq!((accepted, said.as_str(), programmed), (Some(false), reason, None), "{ancestor}");
        assert_eq!(claimed(resolved, "").0, Some(false), "as a whole");
    };
    let limits = "{rateLimitConfigs: {refs: [{name: few, namespace: t}]}}";
    let few = counting("few", "HOUR");
    let good = (Some(true), "Accepted".to_owned(), None);
    assert_eq!(claimed(&resolved(&policy(KEYS)), "Service t/a"), good);
    assert_eq!(claimed(&resolved(&(policy(limits) + &few)), "Service t/a"), good);

    // Nobody counts.
    for says in [limits, "{ratelimitBasic: {anonymousLimits: {unit: HOUR, requestsPerUnit: 1}}}"] {
        let without = Settings { ratelimit: None, ..settings() };
        let resolved = resolve(&declared(&format!("{SCAFFOLD}{}{few}", policy(says))), &without);
        expect(&resolved, "Service t/a", "NotEnforced");
    }
    // The limit is nowhere: it is accepted as written, and not in force.
    let (accepted, _, programmed) = claimed(&resolved(&policy(limits)), "Service t/a");
    assert_eq!((accepted, programmed), (Some(true), Some(false)));

    // One of two addresses is another Service's.
    let shared = "{apiVersion: v1, kind: Service, metadata: {name: b2, namespace: t}, spec: {clusterIP: 127.0.20.8, clusterIPs: [127.0.20.8, 127.0.20.2], ports: [{name: web, port: 80}]}}\n---\n";
    let on_b2 = http_route("r", "[{group: '', kind: Service, name: b2}]", &rules);
    let both = resolved(&format!("{shared}{on_b2}{}", option("x", &format!("[{R}]"), KEYS)));
    expect(&both, "Service t/b2", "AddressConflict");
    // Who guards nothing loses nothing by it.
    let timeout = resolved(&format!("{shared}{on_b2}{}", option("x", &format!("[{R}]"), "{timeout: 3s}")));
    assert_eq!(claimed(&timeout, "Service t/b2"), good);

    // Two parents, of which one does not exist, one has no such port, and one is another namespace's.
    for parent in ["name: gone", "name: b, port: 81", "name: b, namespace: u"] {
        let parents = format!("[{{group: '', kind: Service, name: a}}, {{group: '', kind: Service, {parent}}}]");
        let two = resolved(&(http_route("r", &parents, &rules) + &option("x", &format!("[{R}]"), KEYS)));
        assert_eq!(claimed(&two, "Service t/a"), good, "{parent}");
        let place = match parent {
            "name: gone" => "Service t/gone",
            "name: b, port: 81" => "Service t/b",
            _ => "Service u/b",
        };
        expect(&two, place, "NoMatchingParent");
    }

    // Another route has one of two hosts, or writes the same path in another way, and is older by name.
    let hosts = |name: &str, hosts: &str, path: &str| {
        let rules = format!("[{{name: one, matches: [{{path: {{value: '{path}'}}}}], {TO_A}}}]");
        http_route(name, "[{name: wp}]", &rules).replace("spec: {", &format!("spec: {{hostnames: [{hosts}], "))
    };
    for (open, path) in [("a.example", "/x"), ("a.example", "/%78/"), ("'b.example', a.example", "/x")] {
        let two = hosts("open", open, path) + &hosts("r", "a.example, c.example", "/x");
        expect(&resolved(&(two + &option("x", &format!("[{R}]"), KEYS))), "Gateway t/wp", "Shadowed");
    }
    let apart = hosts("open", "b.example", "/x") + &hosts("r", "a.example, c.example", "/x");
    assert_eq!(claimed(&resolved(&(apart + &option("x", &format!("[{R}]"), KEYS))), "Gateway t/wp"), good);

    // A rule names it, and its route applies nowhere.
    let extension =
        "filters: [{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: x}}]";
    let nowhere = http_route("r", "[{name: nowhere}]", &format!("[{{{extension}, {TO_A}}}]"));
    expect(&resolved(&(nowhere + &option("x", "[]", KEYS))), "Gateway t/nowhere", "NoMatchingParent");
}

#[test]
fn of_many_ancestors_those_are_told_of_which_something_is_to_be_known_and_the_whole_tells_of_all() {
    let mut more = String::new();
    let mut parents = Vec::new();
    for number in 0..40 {
        let waypoint = if number == 37 { "none" } else { "wp" };
        more += &format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s{number}, namespace: t, labels: {{istio.io/use-waypoint: {waypoint}}}}}, spec: {{clusterIP: 127.0.21.{number}, ports: [{{name: web, port: 80}}]}}}}\n---\n"
        );
        parents.push(format!("{{group: '', kind: Service, name: s{number}}}"));
    }
    // A route has at most 32 parents.
    for (name, parents) in [("r", &parents[..20]), ("s", &parents[20..])] {
        more += &http_route(name, &format!("[{}]", parents.join(", ")), &format!("[{{{TO_A}}}]"));
    }
    let targets = format!("[{R}, {}]", R.replace("name: r", "name: s"));
    let resolved = resolved(&(more + &option("x", &targets, KEYS)));
    let said = resolved.report.get(&ObjectRef::new(Kind::RouteOption, "t", "x")).unwrap();
    assert_eq!(said.len(), 17);
    assert_eq!(said[1].place.to_string(), "Service t/s37");
    assert_eq!(claimed(&resolved, "Service t/s37").0, Some(false));
    let (accepted, reason, _) = claimed(&resolved, "");
    assert_eq!((accepted, reason.as_str()), (Some(false), "NoMatchingParent"));
    assert!(said[0].condition("Accepted").unwrap().message.contains("t/s37"), "{said:?}");
}

#[test]
fn routes_are_attached_where_they_are_accepted_and_the_generation_that_was_judged_is_told() {
    let unsupported = format!("filters: [{UNSUPPORTED}]");
    let on_gateway = |name: &str, rule: &str| http_route(name, "[{name: wp}]", &format!("[{{{rule}}}]"));
    let missing = "backendRefs: [{name: gone, port: 80}]";
    let routes = on_gateway("one", TO_A)
        + &on_gateway("lost", missing)
        + &on_gateway("refused", &format!("{unsupported}, {TO_A}"))
        + &http_route("other", "[{name: wp, sectionName: another}]", &format!("[{{{TO_A}}}]"))
        + &on_a(&format!("[{{{TO_A}}}]"));
    let resolved = resolved(&routes.replace("name: one,", "name: one, generation: 4,"));
    let gateway = resolved.report.get(&ObjectRef::new(Kind::Gateway, "t", "wp")).unwrap();
    let listener = gateway.iter().find(|status| status.place.to_string() == "listener proxy").unwrap();
    assert_eq!(listener.attached_routes, Some(2), "whatever they refer to, but not those that are refused");
    assert_eq!(listener.supported_kinds, Some(vec![Kind::HttpRoute, Kind::GrpcRoute]));
    let generation =
        |name: &str| resolved.report.get(&ObjectRef::new(Kind::HttpRoute, "t", name)).unwrap()[0].observed_generation;
    assert_eq!((generation("one"), generation("lost")), (Some(4), None));
}

#[test]
fn a_gateway_that_could_not_be_written_is_not_programmed_whatever_was_said_before() {
    let resolved = resolved("");
    let said = resolved.report.get(&ObjectRef::new(Kind::Gateway, "t", "wp")).unwrap();
    let states = |statuses: &[status::ObjectStatus]| {
        let of = |condition: &status::Condition| (condition.kind.to_string(), condition.status);
        statuses[0].conditions.iter().map(of).collect::<Vec<_>>()
    };
    let failed = resolve::status::not_emitted(Some(said), &["it is too long".to_owned()]);
    let mut expected = states(said);
    expected.retain(|(kind, _)| kind != status::PROGRAMMED);
    assert!(expected.contains(&("Accepted".to_owned(), Some(true))) && expected.len() < states(said).len());
    expected.push((status::PROGRAMMED.to_owned(), Some(false)));
    assert_eq!(states(&failed), expected);
    assert_eq!(failed[1..], said[1..]);
}

/// The object of a kind that is not served yet, as it is read from an API server.
fn unserved(snapshot: &mut Snapshot, kind: &'static str, namespace: &str, spec: &Value) {
    let name = Name::new(namespace, "p");
    let reach = api::unserved::reach(&name, &serde_json::json!({"spec": spec}));
    drop(snapshot.unserved.insert(api::unserved::UnservedRef { kind, name }, reach));
}

#[test]
fn what_a_kind_that_is_not_served_was_to_govern_is_refused_and_nothing_else() {
    // A second waypoint in a namespace of its own, which admits routes of `t`, and a port that is not read.
    let more = "
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: t}, spec: {clusterIP: 127.0.20.5, ports: [{name: tcp-db, port: 5432}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: c, namespace: u, labels: {istio.io/use-waypoint: wq}}, spec: {clusterIP: 127.0.20.6, ports: [{name: web, port: 80}, {name: tcp-x, port: 81}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: wq, namespace: u}, spec: {gatewayClassName: gloo-waypoint, listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY, allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [t, u]}]}}}}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: u}}
---
{apiVersion: v1, kind: Service, metadata: {name: d, namespace: t, labels: {istio.io/use-waypoint: wr, istio.io/use-waypoint-namespace: w}}, spec: {clusterIP: 127.0.20.7, ports: [{name: web, port: 80}]}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: wr, namespace: w}, spec: {gatewayClassName: gloo-waypoint, listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY, allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [t]}]}}}}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: w}}
---
";
    // The Service ports to which nothing goes any more.
    let closed = |kind: &'static str, namespace: &str, spec: Value| {
        let mut snapshot = declared(&format!("{SCAFFOLD}{more}"));
        unserved(&mut snapshot, kind, namespace, &spec);
        let resolved = resolve(&snapshot, &settings());
        let mut closed = Vec::new();
        for proxy in resolved.proxies.values() {
            for (port, chain) in &proxy.listeners[0].chains {
                let is_open = match &chain.traffic {
                    Traffic::Http(routes) | Traffic::Sniffed(routes, _) => {
                        routes.iter().any(|route| !matches!(route.action, Action::Refuse(_)))
                    }
                    Traffic::Tcp(_) => true,
                    Traffic::Refuse(_) => false,
                };
                if !is_open {
                    closed.push(format!("{}:{}", port.service.name, port.port));
                }
            }
        }
        closed.join(" ")
    };
    let json = |text: &str| serde_norway::from_str::<Value>(text).unwrap();
    const EVERYTHING_OF_T: &str = "a:80 a:81 b:80 db:5432";
    const IN_REACH_OF_T: &str = "a:80 a:81 b:80 db:5432 c:80 c:81 d:80";
    const SERVICE: &str = "{targetRefs: [{group: '', kind: Service, name: a}]}";
    const GATEWAY: &str = "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: wp}]}";
    const CLASS: &str = "{targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: gloo-waypoint}]}";
    const OTHER_CLASS: &str =
        "{targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}]}";
    for (kind, namespace, spec, expected) in [
        ("HttpListenerOption", "t", SERVICE, "a:80 a:81"),
        ("HttpListenerOption", "t", "{targetRef: {kind: Service, group: '', name: db}}", "db:5432"),
        ("HttpListenerOption", "t", GATEWAY, EVERYTHING_OF_T),
        ("HttpListenerOption", "t", "{targetRefs: a}", IN_REACH_OF_T),
        ("HttpListenerOption", "t", "[]", IN_REACH_OF_T),
        ("HttpListenerOption", "istio-system", CLASS, IN_REACH_OF_T),
        ("HttpListenerOption", "istio-system", OTHER_CLASS, ""),
        ("VirtualHostOption", "t", GATEWAY, EVERYTHING_OF_T),
        ("TLSRoute", "t", "{parentRefs: [{group: '', kind: Service, name: b}]}", "b:80"),
        // The Gateway admits routes of this namespace.
        ("TLSRoute", "t", "{parentRefs: [{name: wq, namespace: u}]}", "c:80 c:81"),
        ("TCPRoute", "t", "{parentRefs: [{name: 5}]}", IN_REACH_OF_T),
        // One that admits nobody's routes, not even those of its own namespace, is its own namespace's all the same.
        (
            "HttpListenerOption",
            "w",
            "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: wr}]}",
            "d:80",
        ),
        ("HttpListenerOption", "w", "[]", "d:80"),
        // What governs nothing of ours closes nothing.
        ("HttpListenerOption", "t", "{selector: {matchLabels: {app: a}}}", ""),
        ("HttpListenerOption", "t", "{targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}]}", ""),
        // Nobody closes what is another namespace's.
        ("HttpListenerOption", "u", "{targetRefs: [{group: '', kind: Service, name: a, namespace: t}]}", ""),
        ("HttpListenerOption", "u", CLASS, ""),
        ("TLSRoute", "u", "{parentRefs: [{name: wp, namespace: t}]}", ""),
        ("TLSRoute", "v", "{parentRefs: [{name: wq, namespace: u}, {name: wp, namespace: t}]}", ""),
        ("TLSRoute", "v", "{parentRefs: 7}", ""),
    ] {
        let mut expected: Vec<&str> = expected.split_whitespace().collect();
        let closed = closed(kind, namespace, json(spec));
        let mut closed: Vec<&str> = closed.split_whitespace().collect();
        expected.sort_unstable();
        closed.sort_unstable();
        assert_eq!(closed, expected, "{kind} in {namespace}: {spec}");
    }
}

/// Of two objects that are not served each closes what it was to govern.
#[test]
fn of_two_that_are_not_served_each_closes_its_own() {
    let mut snapshot = declared(SCAFFOLD);
    let on = |service: &str| {
        let text = format!("{{targetRefs: [{{group: '', kind: Service, name: {service}}}]}}");
        serde_norway::from_str::<Value>(&text).unwrap()
    };
    unserved(&mut snapshot, "HttpListenerOption", "t", &on("a"));
    unserved(&mut snapshot, "VirtualHostOption", "t", &on("b"));
    let resolved = resolve(&snapshot, &settings());
    let closed = |service: &str| becomes(&resolved, service, 80, "/");
    assert!(!closed("a").contains('*') && !closed("b").contains('*'), "{} {}", closed("a"), closed("b"));
}

/// Each header by which a limit counts and clients may choose is told.
#[test]
fn of_two_headers_by_which_clients_choose_their_count_both_are_told() {
    let both = r#"{apiVersion: ratelimit.solo.io/v1alpha1, kind: RateLimitConfig, metadata: {name: both, namespace: t}, spec: {raw: {descriptors: [{key: u, descriptors: [{key: o, rateLimit: {requestsPerUnit: 1, unit: HOUR}}]}], rateLimits: [{actions: [{requestHeaders: {headerName: x-user-id, descriptorKey: u}}, {requestHeaders: {headerName: x-org, descriptorKey: o}}]}]}}}
---
"#;
    let keys = "apiKeyAuth: {headerName: api-key, labelSelector: {team: x}";
    let scaffold = SCAFFOLD.replace(keys, &format!("{keys}, headersFromMetadataEntry: {{x-org: {{name: org}}}}"));
    assert_ne!(scaffold, SCAFFOLD);
    let rules = format!("[{{name: open, {TO_A}}}, {{name: guarded, matches: [{{path: {{value: /g}}}}], {TO_A}}}]");
    let limits = "{rateLimitConfigs: {refs: [{name: both, namespace: t}]}}";
    let options = option("limits", &format!("[{}]", section("open")), limits)
        + &option("guard", &format!("[{}]", section("guarded")), KEYS);
    let found = resolve(&declared(&format!("{scaffold}{both}{}{options}", on_a(&rules))), &settings());
    let said = &found.report[&ObjectRef::new(Kind::HttpRoute, "t", "r")];
    let problems = &said[0].condition("Accepted").unwrap().problems;
    let told = |header: &str| problems.iter().any(|problem| problem.message.contains(&format!("counts by {header},")));
    assert!(told("x-user-id") && told("x-org"), "{problems:?}");
}

#[test]
fn a_policy_that_names_what_is_anothers_closes_nothing_there() {
    let route = on_a(&format!("[{{{TO_A}}}]"));
    let broken = "{extauth: 7}";
    for target in
        [R, "{group: '', kind: Service, name: a}", "{group: gateway.networking.k8s.io, kind: Gateway, name: wp}"]
    {
        let target = target.replace('{', "{namespace: t, ");
        let answer = |option: &str| becomes(&resolved(&format!("{route}{option}")), "a", 80, "/");
        let ours = option("x", &format!("[{target}]"), broken);
        assert_eq!(answer(&ours), "500", "{target}");
        for options in [broken, KEYS] {
            let theirs =
                option("x", &format!("[{target}]"), options).replace("namespace: t}, spec", "namespace: u}, spec");
            assert_eq!(answer(&theirs), "t/a/80*1", "{target} {options}");
        }
    }
}

#[test]
fn only_a_policy_that_limits_is_told_that_something_is_not_limited() {
    let redirect = |name: &str| {
        let filter = "{type: RequestRedirect, requestRedirect: {hostname: elsewhere}}";
        format!("[{{name: {name}, matches: [{{path: {{value: /{name}}}}}], filters: [{filter}]}}]")
    };
    let limits = "{rateLimitConfigs: {refs: [{name: few, namespace: t}]}}";
    let few = counting("few", "HOUR");
    let routes = on_a(&redirect("r")) + &http_route("s", "[{group: '', kind: Service, name: a}]", &redirect("s"));
    let targets = format!("[{R}, {}]", R.replace("name: r}", "name: s}"));
    let on_both = |name: &str, says: &str| option(name, &targets, says);
    let found = resolved(
        &(routes.clone() + &few + &on_both("x", KEYS) + &on_both("y", limits) + &on_both("z", "{timeout: 3s}")),
    );
    for name in ["x", "z"] {
        assert_eq!(judged(&found, name, "Service t/a"), (Some(true), "Accepted".to_owned(), None), "{name}");
    }
    assert_eq!(judged(&found, "y", "Service t/a"), (Some(false), "NotEnforced".to_owned(), None));
    let y = ObjectRef::new(Kind::RouteOption, "t", "y");
    for (_, _, message) in conditions(&found, &y, "Accepted") {
        assert!(message.contains("HTTPRoute t/r") && message.contains("HTTPRoute t/s"), "each of two: {message}");
    }

    // Nobody counts: one that asks for both loses its limit, and one that asks for none loses nothing.
    let without = Settings { ratelimit: None, ..settings() };
    let forwards = on_a(&format!("[{{{TO_A}}}]"));
    let both = format!("{}, {}", KEYS.strip_suffix('}').unwrap(), limits.strip_prefix('{').unwrap());
    for (says, reason) in [(KEYS, "Accepted"), (limits, "NotEnforced"), (both.as_str(), "NotEnforced")] {
        let yaml = format!("{SCAFFOLD}{forwards}{few}{}", option("x", &format!("[{R}]"), says));
        assert_eq!(claimed(&resolve(&declared(&yaml), &without), "Service t/a").1, reason, "{says}");
    }
}

/// What another option takes from it there is lost, not withdrawn for one rule.
#[test]
fn an_option_that_names_a_route_and_a_rule_of_it_is_for_the_whole_route() {
    let s = R.replace("name: r}", "name: s}");
    let routes = on_a(&format!("[{{name: one, matches: [{{path: {{value: /r}}}}], {TO_A}}}]"))
        + &http_route("s", "[{group: '', kind: Service, name: a}]", &format!("[{{{TO_A}}}]"));
    let reason = |first: &str| {
        let options = option("w", first, &KEYS.replace("keys", "others")) + &option("x", &format!("[{R}, {s}]"), KEYS);
        claimed(&resolved(&format!("{routes}{options}")), "Service t/a").1
    };
    assert_eq!(reason(&format!("[{}]", section("one"))), "AcceptedWithWarnings");
    assert_eq!(reason(&format!("[{R}]")), "Conflicted");
    assert_eq!(reason(&format!("[{R}, {}]", section("one"))), "Conflicted");
    assert_eq!(reason(&format!("[{}, {R}]", section("one"))), "Conflicted");
}

#[test]
fn a_route_may_name_two_options_by_its_rules() {
    let filter = |name: &str| {
        format!("{{type: ExtensionRef, extensionRef: {{group: gateway.solo.io, kind: RouteOption, name: {name}}}}}")
    };
    let apart = format!(
        "[{{matches: [{{path: {{value: /x}}}}], filters: [{}], {TO_A}}}, {{filters: [{}], {TO_A}}}]",
        filter("x"),
        filter("y")
    );
    let together = format!("[{{filters: [{}, {}], {TO_A}}}]", filter("x"), filter("y"));
    for rules in [apart, together] {
        let options = option("x", "[]", KEYS) + &option("y", "[]", "{timeout: 3s}");
        let found = resolved(&(on_a(&rules) + &options));
        for name in ["x", "y"] {
            for place in ["", "Service t/a"] {
                assert_eq!(judged(&found, name, place).0, Some(true), "{name} at {place:?}: {rules}");
            }
        }
    }
}

#[test]
fn a_service_of_which_an_endpoint_is_our_own_is_told_that_it_gets_nothing_there() {
    let slice = |address: &str| {
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: one, namespace: t, labels: {{kubernetes.io/service-name: a}}}}, addressType: IPv4, endpoints: [{{addresses: [{address}]}}], ports: [{{name: web, port: 15088}}]}}\n---\n"
        )
    };
    let served = |address: &str| {
        conditions(&resolved(&slice(address)), &ObjectRef::new(Kind::Service, "t", "a"), "waykeeper.dev/Served")
    };
    assert_eq!(served("127.0.10.1"), []);
    let refused = served("127.0.0.1");
    assert_eq!((refused.len(), refused[0].0), (1, Some(false)), "{refused:?}");
    assert!(refused[0].2.contains("endpoint 127.0.0.1 port 15088"), "{refused:?}");
}

#[test]
fn a_match_that_is_taken_for_some_hosts_is_told_with_those_and_a_policy_that_guards_nothing_is_warned() {
    let rule = |path: &str| format!("[{{matches: [{{path: {{value: {path}}}}}], {TO_A}}}]");
    let hosts = |name: &str, hosts: &str, rules: &str| {
        http_route(name, "[{name: wp}]", rules).replace("spec: {", &format!("spec: {{hostnames: [{hosts}], "))
    };
    let both = format!("[{{matches: [{{path: {{value: /x}}}}, {{path: {{value: /y}}}}], {TO_A}}}]");
    let routes = hosts("first", "a.example", &rule("/x"))
        + &hosts("other", "c.example", &rule("/y"))
        + &hosts("r", "a.example, c.example", &both);
    let [guard, other] =
        [("x", KEYS), ("y", "{timeout: 3s}")].map(|(name, says)| option(name, &format!("[{R}]"), says));
    for options in [other.clone(), guard + &other] {
        let found = resolved(&(routes.clone() + &options));
        assert_eq!(judged(&found, "y", "Gateway t/wp").1, "AcceptedWithWarnings");
        if options != other {
            assert_eq!(claimed(&found, "Gateway t/wp").1, "Shadowed");
        }
        let said = found.report.get(&ObjectRef::new(Kind::HttpRoute, "t", "r")).unwrap();
        let problems = &said[0].condition("Accepted").unwrap().problems;
        for (field, host) in [("spec.rules[0].matches[0]", "a.example"), ("spec.rules[0].matches[1]", "c.example")] {
            let of_host = |text: &str| text.contains(&format!("with host {host}"));
            let told: Vec<_> = problems.iter().filter(|problem| of_host(&problem.message)).collect();
            assert!(told.len() == 1 && told[0].field == field, "{host}: {problems:?}");
        }
    }
}

#[test]
fn of_two_routes_behind_one_ancestor_the_second_may_lack_the_rule_that_a_policy_names() {
    let routes = on_a(&format!("[{{name: one, matches: [{{path: {{value: /r}}}}], {TO_A}}}]"))
        + &http_route("s", "[{group: '', kind: Service, name: a}]", &format!("[{{name: two, {TO_A}}}]"));
    let reason = |rule: &str| {
        let targets = format!("[{R}, {}]", section(rule).replace("name: r,", "name: s,"));
        claimed(&resolved(&(routes.clone() + &option("x", &targets, KEYS))), "Service t/a").1
    };
    assert_eq!((reason("two").as_str(), reason("one").as_str()), ("Accepted", "TargetNotFound"));
}

#[test]
fn of_many_the_first_are_named_and_the_rest_is_counted() {
    let governs = |routes: usize| {
        let names: Vec<String> = (0..routes).map(|number| format!("r{number}")).collect();
        let rule = |name: &str| format!("[{{matches: [{{path: {{value: /{name}}}}}], {TO_A}}}]");
        let of = |name: &String| http_route(name, "[{group: '', kind: Service, name: a}]", &rule(name));
        let targets: Vec<_> = names.iter().map(|name| R.replace("name: r}", &format!("name: {name}}}"))).collect();
        let yaml = names.iter().map(of).collect::<String>() + &option("x", &format!("[{}]", targets.join(", ")), KEYS);
        conditions(&resolved(&yaml), &ObjectRef::new(Kind::RouteOption, "t", "x"), "Accepted").swap_remove(0).2
    };
    let five = "governs HTTPRoute t/r0, HTTPRoute t/r1, HTTPRoute t/r2, HTTPRoute t/r3, HTTPRoute t/r4";
    let x = ObjectRef::new(Kind::RouteOption, "t", "x");
    let whole = |routes: &str, options: &str| {
        conditions(&resolved(&format!("{routes}{options}")), &x, "Accepted").swap_remove(0).2
    };
    // Where it does not apply: of many places the first.
    let parents: Vec<_> = (0..7).map(|number| format!("{{group: '', kind: Service, name: gone{number}}}")).collect();
    let nowhere = http_route("r", &format!("[{}]", parents.join(", ")), &format!("[{{{TO_A}}}]"));
    let message = whole(&nowhere, &option("x", &format!("[{R}]"), KEYS));
    assert_eq!(message.matches("does not apply to").count(), 5, "{message}");
    // What is so in two places is said once, also where something else is between them.
    let service = "{apiVersion: v1, kind: Service, metadata: {name: c, namespace: t}, spec: {clusterIP: 127.0.20.4, ports: [{name: web, port: 80}]}}\n---\n";
    let [a, b, c] = ["a", "b", "c"].map(|name| format!("{{group: '', kind: Service, name: {name}}}"));
    let rules = format!("[{{{TO_A}}}]");
    let routes = http_route("r", &format!("[{a}, {c}]"), &rules) + &http_route("s", &format!("[{b}]"), &rules);
    let targets = format!("[{R}, {}]", R.replace("name: r}", "name: s}"));
    let options = option("first", &targets, "{timeout: 2s}") + &option("x", &targets, "{timeout: 3s}");
    let message = whole(&format!("{service}{routes}"), &options);
    let count = |route: &str| message.matches(&format!("has no effect on HTTPRoute t/{route}")).count();
    assert_eq!((count("r"), count("s")), (1, 1), "{message}");
    assert_eq!(governs(5), five);
    assert_eq!(governs(7), format!("{five}, and 2 more"));
}

#[test]
fn what_has_no_effect_on_any_rule_of_a_route_is_said_of_the_route() {
    let rules = format!("[{{name: one, matches: [{{path: {{value: /one}}}}], {TO_A}}}, {{name: two, {TO_A}}}]");
    let others = KEYS.replace("name: keys", "name: others");
    let said = |targets: &str| {
        let options = option("x", targets, KEYS) + &option("y", &format!("[{R}]"), &others);
        let resolved = resolved(&format!("{}{options}", on_a(&rules)));
        let said = resolved.report.get(&ObjectRef::new(Kind::RouteOption, "t", "y")).unwrap();
        said[0].condition("Accepted").unwrap().message.clone()
    };
    let whole = said(&format!("[{R}]"));
    assert!(whole.contains("has no effect on HTTPRoute t/r: RouteOption t/x comes first"), "{whole}");
    let one = said(&format!("[{}]", section("one")));
    assert!(one.contains("has no effect on spec.rules[0] of HTTPRoute t/r: RouteOption t/x comes first"), "{one}");
}

/// Two Services that change in one edit: of both it is found out anew which applications are behind them, or one of them
/// would let clients say the header that the other's authorization sets for the same application.
#[test]
fn of_two_services_that_change_at_once_both_are_looked_at() {
    let slice = |service: &str| {
        format!(
            "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {service}, namespace: t, labels: {{kubernetes.io/service-name: {service}}}}}, addressType: IPv4, ports: [{{name: web, port: 8080}}], endpoints: [{{addresses: [10.1.0.7]}}]}}\n---\n"
        )
    };
    let with = |name: &str| {
        let services = SCAFFOLD.replace("{name: web, port: 80}", &format!("{{name: {name}, port: 80}}"));
        let rest = format!(
            "{}{}{}{}",
            on_a(&format!("[{{{TO_A}}}]")),
            option("o", &format!("[{R}]"), KEYS),
            slice("a"),
            slice("b")
        );
        documents(&format!("{services}{rest}"))
    };
    let disowned = |resolved: &Resolved, service: &str| -> BTreeSet<String> {
        let disowned = &route(resolved, service, 80, "/").policy.disowned;
        disowned.iter().map(|header| header.name.clone()).collect()
    };
    // The Services alone are other objects than before.
    let (mut resolver, mut folder) = (resolve::Resolver::new(settings()), Edited::default());
    for (name, told) in [("other", false), ("web", true), ("other", false)] {
        let snapshot = folder.now(with(name));
        let (step, fresh) = (resolver.resolve(snapshot), resolve(snapshot, &settings()));
        assert_eq!(disowned(&fresh, "b").contains("x-user-id"), told, "{name}");
        assert_eq!(disowned(&step, "b"), disowned(&fresh, "b"), "{name}");
        assert_eq!(step.proxies, fresh.proxies, "{name}");
    }
}

/// Of the kinds that a listener admits one is enough, wherever it stands; one of that name in another group is none.
#[test]
fn a_listener_admits_http_routes_by_any_of_the_kinds_it_names() {
    let listener = "protocol: istio.io/PROXY";
    let routes = http_route(
        "r",
        "[{name: wp}]",
        "[{filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere}}]}]",
    );
    for (kinds, admitted) in [
        ("[]", true),
        ("[{kind: HTTPRoute}]", true),
        ("[{group: example.com, kind: HTTPRoute}, {kind: HTTPRoute}]", true),
        ("[{group: example.com, kind: HTTPRoute}, {group: gateway.networking.k8s.io, kind: HTTPRoute}]", true),
        ("[{group: example.com, kind: HTTPRoute}]", false),
        ("[{group: example.com, kind: Other}]", false),
    ] {
        let scaffold = SCAFFOLD.replace(listener, &format!("{listener}, allowedRoutes: {{kinds: {kinds}}}"));
        let resolved = resolve(&declared(&format!("{scaffold}{routes}")), &settings());
        assert_eq!(becomes(&resolved, "b", 80, "/") != "t/b/80*1", admitted, "{kinds}");
    }
}

/// Whoever is told that his limit is not asked for of redirects is the one whose limit it is: not one whose limit a
/// narrower option has withdrawn there, whatever that one has withdrawn of others.
#[test]
fn of_two_options_whose_limits_are_withdrawn_neither_is_told_that_redirects_are_not_limited() {
    let redirect = "[{name: one, filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere}}]}]";
    let basic =
        |number: u8| format!("{{ratelimitBasic: {{anonymousLimits: {{unit: HOUR, requestsPerUnit: {number}}}}}}}");
    let dated = |name: &str, day: u8, targets: &str, says: &str| {
        option(name, targets, says).replace(
            &format!("name: {name},"),
            &format!("name: {name}, creationTimestamp: '2026-01-0{day}T00:00:00Z',"),
        )
    };
    let found = resolved(
        &(on_a(redirect)
            + &dated("narrow", 1, &format!("[{}]", section("one")), &basic(1))
            + &dated("wide", 2, &format!("[{R}]"), &basic(2))
            + &dated("guard", 3, &format!("[{R}]"), KEYS)),
    );
    let told = |name: &str| {
        let object = ObjectRef::new(Kind::RouteOption, "t", name);
        conditions(&found, &object, "Accepted").into_iter().any(|(_, reason, _)| reason == "NotEnforced")
    };
    assert_eq!(["narrow", "wide", "guard"].map(told), [true, false, false]);
}

#[test]
fn a_match_is_told_with_all_the_hosts_for_which_it_is_taken() {
    let hosts = |name: &str, hosts: &str| {
        http_route(name, "[{name: wp}]", &format!("[{{matches: [{{path: {{value: /x}}}}], {TO_A}}}]"))
            .replace("spec: {", &format!("spec: {{hostnames: [{hosts}], "))
    };
    let found = resolved(&(hosts("first", "a.example, b.example") + &hosts("r", "a.example, b.example, c.example")));
    let said = &found.report[&ObjectRef::new(Kind::HttpRoute, "t", "r")];
    let problems = &said[0].condition("Accepted").unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("with host a.example, b.example"), "{problems:?}");
}

/// A Service may be called as a Gateway is: its routes are none of that Gateway's.
#[test]
fn routes_of_a_service_are_not_attached_to_the_gateway_of_its_name() {
    let service = "{apiVersion: v1, kind: Service, metadata: {name: wp, namespace: t}, spec: {clusterIP: 127.0.20.9, ports: [{name: web, port: 80}]}}\n---\n";
    let route = http_route("r", "[{group: '', kind: Service, name: wp}]", &format!("[{{{TO_A}}}]"));
    let resolved = resolved(&format!("{service}{route}"));
    let gateway = resolved.report.get(&ObjectRef::new(Kind::Gateway, "t", "wp")).unwrap();
    let listener = gateway.iter().find(|status| status.place.to_string() == "listener proxy").unwrap();
    assert_eq!(listener.attached_routes, Some(0));
    assert_eq!(becomes(&resolved, "wp", 80, "/"), "t/a/80*1");
}

/// The law of edits rests on it: whatever is remembered differs somewhere, by each edit that concerns it, and is told.
#[test]
fn each_thing_that_is_remembered_is_told_where_it_differs() {
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a, namespace: t, labels: {kubernetes.io/service-name: a}}, addressType: IPv4, ports: [{name: web, port: 8080}], endpoints: [{addresses: [10.1.0.7]}]}\n---\n";
    let policy = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: p, namespace: t}, spec: {targetRefs: [{group: '', kind: Service, name: a}], rules: [{}]}}\n---\n";
    let gateway = "{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: other, namespace: t}, spec: {gatewayClassName: gloo-waypoint, listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY}]}}\n---\n";
    let class = "{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: third}, spec: {controllerName: solo.io/gloo-waypoint}}\n---\n";
    let same = "{apiVersion: v1, kind: Service, metadata: {name: z, namespace: t}, spec: {clusterIP: 127.0.20.3, ports: [{name: web, port: 80}]}}\n---\n";
    let refers = "[{filters: [{type: ExtensionRef, extensionRef: {group: gateway.solo.io, kind: RouteOption, name: o}}], backendRefs: [{name: a, port: 80}]}]";
    let route = on_a(&format!("[{{{TO_A}}}]"));
    let worlds: Vec<String> = [
        String::new(),
        slice.to_owned(),
        route.clone(),
        format!("{route}{}{slice}", option("o", &format!("[{R}]"), KEYS)),
        format!("{}{}", on_a(refers), option("o", "[]", "{timeout: 3s}")),
        policy.to_owned(),
        gateway.to_owned(),
        class.to_owned(),
        same.to_owned(),
        http_route("g", "[{name: wp}]", &format!("[{{{TO_A}}}]")),
        option("o", &format!("[{R}]"), "{extauth: 7}"),
        format!("{route}{}", option("o", &format!("[{R}]"), "{timeout: nonsense}")),
    ]
    .into();
    let resolver = |world: &String| {
        let mut resolver = resolve::Resolver::new(settings());
        resolver.resolve(&declared(&format!("{SCAFFOLD}{world}")));
        resolver
    };
    let mut told = BTreeSet::new();
    for one in &worlds {
        assert_eq!(resolver(one).differences(&resolver(one)), [""; 0], "{one}");
        for other in &worlds {
            let (there, back) =
                (resolver(one).differences(&resolver(other)), resolver(other).differences(&resolver(one)));
            assert_eq!(there, back);
            told.extend(there);
        }
    }
    // Without a settings file of another mesh these are the same.
    let nothing = resolve::Resolver::new(settings());
    told.extend(nothing.differences(&resolver(&worlds[3])));
    let all = [
        "asked",
        "attached",
        "attachments",
        "believed",
        "claims",
        "enrolments",
        "gateways",
        "holders",
        "options",
        "ours",
        "policies",
        "proxies",
        "readers of attached",
        "readers of clusters",
        "readers of disowned",
        "readers of enrolments",
        "readers of gateways",
        "readers of granted",
        "readers of refusals",
        "readers of statuses",
        "readers of units",
        "referring",
        "refusals",
        "report",
        "routes",
        "said",
        "services",
        "slices",
        "spoken",
        "units",
    ];
    assert_eq!(told.into_iter().collect::<Vec<_>>(), all);
}

/// Of a port to which nothing goes it is not said besides that one rule hides another there.
#[test]
fn where_everything_is_refused_no_rule_is_hidden() {
    let rule = |path: &str| format!("{{matches: [{{path: {{value: {path}}}}}], {TO_A}}}");
    let route = on_a(&format!("[{}, {}]", rule("/x"), rule("/x")));
    let told = |refused: bool| {
        let mut snapshot = declared(&format!("{SCAFFOLD}{route}"));
        if refused {
            let on_a = serde_norway::from_str("{targetRefs: [{group: '', kind: Service, name: a}]}").unwrap();
            unserved(&mut snapshot, "HttpListenerOption", "t", &on_a);
        }
        let resolved = resolve(&snapshot, &settings());
        let route = ObjectRef::new(Kind::HttpRoute, "t", "r");
        conditions(&resolved, &route, "Accepted").iter().any(|(_, _, message)| message.contains("never applies"))
    };
    assert_eq!([told(false), told(true)], [true, false]);
}
