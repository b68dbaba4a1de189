//! Where AuthorizationPolicies are in force, and what becomes of those that are not.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use api::{Kind, Name, ObjectRef, Snapshot};
use ir::access::{Access, Condition, Part, Rule, Text};
use ir::{Action, Enrolment, Settings, Traffic};
use resolve::{Resolved, Resolver, resolve};
use serde_json::json;
use support::{Edited, settings};
use waykeeper_tests::manifests::documents;
use waykeeper_tests::mutate::{Accident, mutants};

/// Namespace `t` uses the waypoint `t/wp`, and one of namespace `u`, which admits it, has a Service of its own there.
const SCAFFOLD: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: t, labels: {istio.io/use-waypoint: wp}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: wp, namespace: t}, spec: {gatewayClassName: gloo-waypoint, listeners: [{name: proxy, port: 15088, protocol: istio.io/PROXY, allowedRoutes: {namespaces: {from: All}}}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a, namespace: t}, spec: {selector: {app: a}, clusterIP: 127.0.20.2, ports: [{name: http, port: 80}, {name: tcp-db, port: 5432}, {name: client, port: 9999}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: b, namespace: t}, spec: {selector: {app: b}, clusterIP: 127.0.20.3, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: c, namespace: u, labels: {istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: t}}, spec: {clusterIP: 127.0.20.4, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: alone, namespace: u}, spec: {clusterIP: 127.0.20.5, ports: [{name: http, port: 80}]}}
---
";
const A: &str = "targetRefs: [{group: '', kind: Service, name: a}]";
const GATEWAY: &str = "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: wp}]";
const CLASS: &str = "targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: gloo-waypoint}]";

fn policy(namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{name: p, namespace: {namespace}}}, spec: {{{spec}}}}}\n---\n"
    )
}

fn authentication(namespace: &str, spec: &str) -> String {
    policy(namespace, spec).replace("kind: AuthorizationPolicy", "kind: RequestAuthentication")
}

const RULE: &str = "{issuer: i, jwks: '{\"keys\": [{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"kid\": \"a\", \"x\": \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}', outputClaimToHeaders: [{header: x-sub, claim: sub}]}";
const ASKED: &str = "{issuer: i, jwksUri: 'https://issuer.example/keys'}";

fn declared(more: &str) -> Snapshot {
    support::snapshot(&documents(&format!("{SCAFFOLD}{more}"))).0
}

fn resolved(more: &str) -> Resolved {
    resolve(&declared(more), &settings())
}

/// What becomes of each port: `a:80 guarded`, if it is open to everybody not at all.
fn ports(resolved: &Resolved) -> Vec<String> {
    let mut found = Vec::new();
    for (port, chain) in &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains {
        let refused = match &chain.traffic {
            Traffic::Http(routes) | Traffic::Sniffed(routes, _) => {
                routes.iter().all(|route| matches!(route.action, Action::Refuse(_)))
            }
            Traffic::Tcp(_) => false,
            Traffic::Refuse(_) => true,
        };
        let what = match (refused, chain.access.is_empty()) {
            (true, _) => "refused",
            (false, true) => continue,
            (false, false) => "guarded",
        };
        found.push(format!("{}:{} {what}", port.service.name, port.port));
    }
    found.sort();
    found
}

fn accepted(resolved: &Resolved, namespace: &str) -> (Option<bool>, String) {
    let statuses = &resolved.report[&ObjectRef::new(Kind::AuthorizationPolicy, namespace, "p")];
    let accepted = statuses[0].condition("Accepted").unwrap();
    (accepted.status, accepted.reason.clone())
}

#[test]
fn a_policy_guards_what_it_names_of_its_own_namespace() {
    let everything = ["a:5432 guarded", "a:80 guarded", "a:9999 guarded", "b:80 guarded", "c:80 guarded"];
    for (namespace, spec, expected) in [
        ("t", A, &everything[..3]),
        ("t", "targetRef: {group: '', kind: Service, name: a}", &everything[..3]),
        ("t", "targetRefs: [{kind: Service, name: b}]", &everything[3..4]),
        // Of other namespaces as well: they use this waypoint.
        ("t", GATEWAY, &everything[..]),
        ("istio-system", CLASS, &everything[..]),
        ("u", "targetRefs: [{kind: Service, name: c}]", &everything[4..]),
        // What is another namespace's, or of a class that is everybody's.
        ("u", A, &[]),
        ("u", GATEWAY, &[]),
        ("t", CLASS, &[]),
        ("u", "targetRefs: [{kind: Service, name: alone}]", &[]),
        ("t", "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}]", &[]),
        // For workloads.
        ("t", "selector: {matchLabels: {app: a}}", &[]),
        ("t", "", &[]),
        ("istio-system", "", &[]),
    ] {
        let resolved = resolved(&policy(namespace, spec));
        assert_eq!(ports(&resolved), expected, "{namespace}: {spec}");
        let (accepted, reason) = accepted(&resolved, namespace);
        assert_eq!(
            accepted == Some(true) || reason == "Refused",
            !expected.is_empty(),
            "{namespace}: {spec}: {reason}"
        );
    }
}

#[test]
fn a_policy_that_was_never_good_refuses_what_it_names_and_on_doubt_all_that_it_could() {
    let of_t = ["a:5432 refused", "a:80 refused", "a:9999 refused", "b:80 refused"];
    let everything = [&of_t[..], &["c:80 refused"]].concat();
    let bad = "action: LET";
    for (namespace, spec, expected) in [
        ("t", format!("{A}, {bad}"), &of_t[..3]),
        ("t", format!("{GATEWAY}, {bad}"), &everything),
        ("istio-system", format!("{CLASS}, {bad}"), &everything),
        ("t", format!("targetRefs: [{{kind: Servic, name: a}}], {bad}"), &everything),
        ("t", format!("targetRef: {{name: a}}, {bad}"), &everything),
        ("istio-system", format!("targetRefs: 7, {bad}"), &everything),
        ("u", format!("targetRefs: 7, {bad}"), &everything[4..]),
        ("u", format!("{GATEWAY}, {bad}"), &[]),
        ("u", format!("{A}, {bad}"), &[]),
        ("t", format!("{CLASS}, {bad}"), &[]),
        // For workloads: ztunnel has it from istiod, or has it not.
        ("t", bad.to_owned(), &[]),
    ] {
        assert_eq!(ports(&resolved(&policy(namespace, &spec))), expected, "{namespace}: {spec}");
    }
}

#[test]
fn without_ztunnel_nobody_reaches_workloads_that_it_was_to_guard() {
    let here = Settings { ztunnel: false, ..settings() };
    let refused = |policy: &str| -> Vec<String> {
        let services = resolve(&declared(policy), &here).services;
        let refused = services.iter().filter(|(_, enrolment)| matches!(enrolment.as_ref(), Enrolment::Refused(_)));
        refused.map(|(name, _)| name.name.clone()).collect()
    };
    for (namespace, spec, expected) in [
        ("t", "selector: {matchLabels: {app: a}}", &["a"][..]),
        ("t", "selector: {matchLabels: {version: one}}", &["a", "b"]),
        ("t", "", &["a", "b"]),
        ("u", "", &["alone", "c"]),
        ("istio-system", "", &["a", "b", "alone", "c"]),
        // It has no selector, so that its workloads may have any labels.
        ("u", "selector: {matchLabels: {app: a}}", &["alone", "c"]),
        ("t", "action: DENY, rules: [{}]", &["a", "b"]),
        ("t", "action: LET", &["a", "b"]),
        ("t", "targetRefs: 7", &["a", "b"]),
        ("t", "action: DENY", &[]),
        ("t", "action: AUDIT, rules: [{}]", &[]),
        ("t", A, &[]),
        ("v", "", &[]),
    ] {
        assert_eq!(refused(&policy(namespace, spec)), expected, "{namespace}: {spec}");
    }
    // Whom it is for is told that there is nobody who would heed it; with a ztunnel, that it is for that.
    let of = |settings: &Settings| accepted(&resolve(&declared(&policy("t", "")), settings), "t");
    assert_eq!(of(&here), (Some(false), "NoZtunnel".to_owned()));
    assert_eq!(of(&settings()), (None, "ForZtunnel".to_owned()));
    let tried = policy("t", "").replace("name: p,", "name: p, annotations: {istio.io/dry-run: 'true'},");
    assert_eq!(refused(&tried), [""; 0]);
}

/// What is in force at port 80 of `a`.
fn access(spec: &str) -> Access {
    let resolved = resolved(&policy("t", spec));
    let id = ir::PortRef { service: Name::new("t", "a"), port: 80 };
    let chain = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains[&id];
    chain.access.clone()
}

#[test]
fn what_cannot_be_known_lets_nobody_pass_and_keeps_nobody_from_being_refused() {
    for unknown in [
        "from: [{source: {requestPrincipals: ['*']}}]",
        "from: [{source: {notRequestPrincipals: ['*']}}]",
        "when: [{key: connection.sni, values: [a]}]",
        "when: [{key: connection.sni, notValues: [a]}]",
        "when: [{key: 'request.auth.claims[a][b]', values: [a]}]",
        "when: [{key: request.auth.audiences, notValues: [a]}]",
    ] {
        let let_in = access(&format!("{A}, rules: [{{{unknown}}}]"));
        assert_eq!(let_in.enforced.allow, Some(vec![]), "{unknown}");
        let kept_out = access(&format!("{A}, action: DENY, rules: [{{{unknown}}}]"));
        let [rule] = kept_out.enforced.deny.as_slice() else { panic!("{unknown}: {kept_out:?}") };
        let always = |rule: &Rule| rule.that == Condition::always() && rule.callers[0].that == Condition::always();
        assert!(always(rule), "{unknown}: {rule:?}");
    }
}

/// What is looked at for tokens, where: the issuers of each port that is open.
fn looked_at(resolved: &Resolved) -> Vec<String> {
    let chains = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains;
    let of = chains.iter().filter(|(_, chain)| !chain.tokens.is_empty());
    of.map(|(port, chain)| format!("{}:{} {}", port.service.name, port.port, chain.tokens.issuers.len())).collect()
}

#[test]
fn tokens_are_looked_at_where_a_request_authentication_names_what_is_http() {
    let rules = format!("jwtRules: [{RULE}, {ASKED}]");
    for (namespace, target, expected) in [
        ("t", A, &["a:80 2", "a:9999 2"][..]),
        ("t", "targetRefs: [{kind: Service, name: b}]", &["b:80 2"]),
        ("t", GATEWAY, &["a:80 2", "a:9999 2", "b:80 2", "c:80 2"]),
        ("istio-system", CLASS, &["a:80 2", "a:9999 2", "b:80 2", "c:80 2"]),
        ("u", A, &[]),
        ("t", CLASS, &[]),
        ("t", "selector: {}", &[]),
    ] {
        let resolved = resolved(&authentication(namespace, &format!("{target}, {rules}")));
        assert_eq!(looked_at(&resolved), expected, "{namespace}: {target}");
        assert_eq!(ports(&resolved), [""; 0]);
        let said = &resolved.report[&ObjectRef::new(Kind::RequestAuthentication, namespace, "p")];
        let accepted = said[0].condition("Accepted").unwrap();
        assert_eq!(accepted.status == Some(true), !expected.is_empty(), "{namespace}: {target}: {accepted:?}");
    }
}

#[test]
fn where_tokens_cannot_be_verified_nobody_comes() {
    let of_a = ["a:80 refused", "a:9999 refused"];
    let every_port = ["a:5432 refused", "a:80 refused", "a:9999 refused"];
    for (rule, expected) in [
        ("{issuer: i, jwksUri: 'http://no.t.svc/keys'}", &of_a[..]),
        ("{issuer: i, jwksUri: 'http://b.t.svc:81/keys'}", &of_a),
        ("{issuer: i, jwksUri: 'https://b.t.svc.cluster.local/keys'}", &of_a),
        ("{issuer: i, jwksUri: 'http://2130706433/keys'}", &of_a),
        // Never good: as with an AuthorizationPolicy everything.
        ("{issuer: i}", &every_port),
        ("{issuer: i, jwks: '{}'}", &every_port),
        ("{issuer: i, jwksUri: 'http://b.t.svc/keys'}", &[]),
    ] {
        assert_eq!(ports(&resolved(&authentication("t", &format!("{A}, jwtRules: [{rule}]")))), expected, "{rule}");
    }
}

#[test]
fn without_rules_allow_lets_nobody_pass_and_deny_refuses_nobody() {
    assert_eq!(access(A).enforced.allow, Some(vec![]));
    assert!(access(&format!("{A}, action: DENY")).is_empty());
    assert!(access(&format!("{A}, action: AUDIT, rules: [{{}}]")).is_empty());
    assert_eq!(access(&format!("{A}, action: CUSTOM, provider: {{name: x}}, rules: [{{}}]")).enforced.deny.len(), 1);
}

#[test]
fn edits_one_after_the_other_come_to_what_each_comes_to_by_itself() {
    let (mut resolver, mut folder) = (Resolver::new(settings()), Edited::default());
    let class = policy("istio-system", &format!("{CLASS}, action: DENY, rules: [{{}}]"));
    let mut seen = BTreeSet::new();
    for more in [
        String::new(),
        policy("t", A),
        policy("t", &format!("{A}, action: DENY, rules: [{{}}]")),
        policy("t", GATEWAY),
        format!("{}{class}", policy("t", GATEWAY)),
        class,
        policy("t", &format!("{A}, action: LET")),
        policy("t", "targetRefs: [{kind: Service, name: b}]"),
        String::new(),
        policy("t", "targetRefs: [{kind: Service, name: a}, {kind: Service, name: b}]"),
        policy("t", "targetRefs: [{kind: Service, name: b}]"),
        authentication("t", &format!("{A}, jwtRules: [{RULE}]")),
        format!(
            "{}{}",
            authentication("t", &format!("{A}, jwtRules: [{RULE}]")),
            policy("t", &format!("{A}, rules: [{{from: [{{source: {{requestPrincipals: ['*']}}}}]}}]"))
        ),
        authentication("t", &format!("{A}, jwtRules: [{ASKED}]")),
        authentication("t", &format!("{GATEWAY}, jwtRules: [{{issuer: i, jwksUri: 'http://a.t.svc/keys'}}]")),
        authentication("t", &format!("{A}, jwtRules: 7")),
        authentication("t", &format!("{GATEWAY}, jwtRules: [{{issuer: i, jwksUri: 'http://no.t.svc/keys'}}]")),
        String::new(),
    ] {
        let snapshot = folder.now(documents(&format!("{SCAFFOLD}{more}")));
        let (step, fresh) = (resolver.resolve(snapshot), resolve(snapshot, &settings()));
        assert_eq!(step.proxies, fresh.proxies, "{more}");
        assert_eq!(step.report, fresh.report, "{more}");
        seen.insert(ports(&fresh));
    }
    assert!(seen.len() > 4, "{seen:?}");
}

/// Who is told when Envoy refuses what a port's policies became: their authors.
#[test]
fn a_port_comes_from_the_policies_that_guard_it() {
    let resolved = resolved(&format!(
        "{}{}",
        policy("t", &format!("{A}, rules: [{{}}]")),
        authentication("t", &format!("{A}, jwtRules: [{RULE}]"))
    ));
    let chains = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains;
    let of = |service: &str, port: u16| {
        let id = ir::PortRef { service: Name::new("t", service), port };
        let policies = [Kind::AuthorizationPolicy, Kind::RequestAuthentication];
        policies.map(|kind| chains[&id].origins.contains(&ObjectRef::new(kind, "t", "p")))
    };
    assert_eq!((of("a", 80), of("b", 80)), ([true, true], [false, false]));
}

#[test]
fn no_policy_decides_by_what_only_authorization_says_where_nobody_is_asked() {
    let keys = "{apiVersion: enterprise.gloo.solo.io/v1, kind: AuthConfig, metadata: {name: keys, namespace: t}, spec: {configs: [{apiKeyAuth: {headerName: api-key, labelSelector: {team: x}}}]}}\n---\n";
    let option = "{apiVersion: gateway.solo.io/v1, kind: RouteOption, metadata: {name: o, namespace: t}, spec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r, sectionName: asks}], options: {extauth: {configRef: {name: keys}}}}}\n---\n";
    let rule = |name: &str, path: &str| {
        format!("{{name: {name}, matches: [{{path: {{value: {path}}}}}], backendRefs: [{{name: b, port: 80}}]}}")
    };
    let route = format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: t}}, spec: {{parentRefs: [{{group: '', kind: Service, name: b}}], rules: [{}, {}]}}}}\n---\n",
        rule("asks", "/asks"),
        rule("open", "/open")
    );
    let refused = |header: &str| {
        let spec = format!(
            "targetRefs: [{{kind: Service, name: b}}], rules: [{{when: [{{key: 'request.headers[{header}]', values: [ann]}}]}}]"
        );
        let resolved = resolved(&format!("{keys}{option}{route}{}", policy("t", &spec)));
        let id = ir::PortRef { service: Name::new("t", "b"), port: 80 };
        let chain = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains[&id];
        let routes = chain.traffic.routes().unwrap().iter();
        let of_rules = routes.filter(|route| route.name.starts_with("HTTPRoute") && !route.name.ends_with("doubtful"));
        of_rules
            .map(|route| matches!(&route.action, Action::Refuse(refusal) if refusal.status == 500))
            .collect::<Vec<_>>()
    };
    assert_eq!(refused("x-user-id"), [false, true], "it is set where the key is asked for, and anybody's elsewhere");
    assert_eq!(refused("x-other"), [false, false]);
}

/// A request of which it is asked whether it passes.
#[derive(Debug, Clone, Copy)]
struct Asked {
    caller: &'static str,
    method: &'static str,
    path: &'static str,
}

fn holds(condition: &Condition, asked: Asked) -> bool {
    match condition {
        Condition::All(all) => all.iter().all(|one| holds(one, asked)),
        Condition::Any(any) => any.iter().any(|one| holds(one, asked)),
        Condition::Not(one) => !holds(one, asked),
        Condition::Address(..) => true,
        Condition::Claim(..) => false,
        Condition::Text(part, text) => {
            let value = match part {
                Part::Caller => asked.caller,
                Part::Method => asked.method,
                Part::Path => asked.path,
                Part::Host | Part::Header(_) => return false,
            };
            match text {
                Text::Exact(exact) => value == exact,
                Text::Prefix(prefix) => value.starts_with(prefix),
                Text::Regex(regex) => regex::Regex::new(&format!("^(?:{regex})$")).unwrap().is_match(value),
            }
        }
    }
}

fn passes(access: &Access, asked: Asked) -> bool {
    let of = |rule: &Rule| {
        let callers = |callers: &ir::access::Callers| {
            callers.named.as_ref().is_none_or(|named| named.contains(asked.caller)) && holds(&callers.that, asked)
        };
        holds(&rule.that, asked) && rule.callers.iter().any(callers)
    };
    let Access { enforced, .. } = access;
    !enforced.deny.iter().any(of) && enforced.allow.as_ref().is_none_or(|allow| allow.iter().any(of))
}

/// Of all accidents in a manifest those that let pass what the intact one refuses are those after which it says so.
#[test]
fn no_accident_in_a_policy_opens_what_it_closes() {
    let caller = "spiffe://cluster.local/ns/t/sa/ann";
    let of = |caller, method, path| Asked { caller, method, path };
    let allow = json!({"targetRefs": [{"group": "", "kind": "Service", "name": "a"}], "action": "ALLOW",
        "rules": [{"from": [{"source": {"principals": ["cluster.local/ns/t/sa/ann"]}}], "to": [{"operation": {"methods": ["GET"], "paths": ["/a"]}}]}]});
    let deny = json!({"targetRefs": [{"group": "", "kind": "Service", "name": "a"}], "action": "DENY",
        "rules": [{"from": [{"source": {"notPrincipals": ["cluster.local/ns/t/sa/boss"]}}], "to": [{"operation": {"paths": ["/admin", "/admin/*"]}}]}]});
    let mut opened = BTreeSet::new();
    for (what, spec, asked) in [
        (
            "allow",
            allow,
            [of("spiffe://cluster.local/ns/t/sa/bob", "GET", "/a"), of(caller, "POST", "/a"), of(caller, "GET", "/b")],
        ),
        ("deny", deny, [of(caller, "GET", "/admin"), of(caller, "POST", "/admin/x"), of("", "GET", "/admin")]),
    ] {
        let manifest = json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "p", "namespace": "t"}, "spec": spec});
        let closed = |text: &str| {
            // What cannot be read withholds everything.
            let Ok(document) = serde_norway::from_str(text) else { return true };
            let mut documents = documents(SCAFFOLD);
            documents.push(document);
            let snapshot = support::snapshot(&documents).0;
            let resolved = resolve(&snapshot, &settings());
            let id = ir::PortRef { service: Name::new("t", "a"), port: 80 };
            let chain = &resolved.proxies[&Name::new("t", "wp")].listeners[0].chains[&id];
            let routes = chain.traffic.routes().unwrap();
            routes.iter().all(|route| matches!(route.action, Action::Refuse(_)))
                || !asked.iter().any(|asked| passes(&chain.access, *asked))
        };
        assert!(closed(&manifest.to_string()));
        for mutant in mutants(&manifest).into_iter().filter(|mutant| mutant.accident != Accident::Truncated) {
            if !closed(&mutant.text) {
                opened.insert(format!("{what} {:?} {}", mutant.accident, mutant.path));
            }
        }
    }
    let expected: BTreeSet<String> = OPENED.trim().lines().map(str::to_owned).collect();
    assert_eq!(opened, expected);
}

/// What says something else: whom it is for, and what.
const OPENED: &str = "
allow Changed metadata.namespace
allow Changed spec
allow Changed spec.rules[0]
allow Changed spec.targetRefs[0].name
allow Dropped metadata.namespace
allow Dropped spec.rules[0].from
allow Dropped spec.rules[0].to
allow Dropped spec.rules[0].to[0].operation.methods
allow Dropped spec.rules[0].to[0].operation.paths
allow Dropped spec.targetRefs
deny Changed metadata.namespace
deny Changed spec
deny Changed spec.rules
deny Changed spec.rules[0].to[0].operation.paths[0]
deny Changed spec.rules[0].to[0].operation.paths[1]
deny Changed spec.targetRefs[0].name
deny Dropped metadata.namespace
deny Dropped spec.action
deny Dropped spec.rules
deny Dropped spec.rules[0]
deny Dropped spec.rules[0].to[0].operation.paths[0]
deny Dropped spec.rules[0].to[0].operation.paths[1]
deny Dropped spec.targetRefs
";
