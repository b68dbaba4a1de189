//! The door of GRPCRoutes.

use api::gateway::grpcroutes::{
    GrpcRouteParentRefs, GrpcRouteRules, GrpcRouteRulesBackendRefs, GrpcRouteRulesMatches,
    GrpcRouteRulesMatchesHeadersType as HeaderType, GrpcRouteRulesMatchesMethod,
    GrpcRouteRulesMatchesMethodType as MethodType,
};
use api::gateway::{GrpcRoute, alike, call_paths};
use api::{Kind, Meta, ObjectRef, Problem};
use ir::{Match, PathMatch};

use super::filters::{Filters, of_backend, of_rule};
use super::{BackendRef, Call, Declared, ParentRef, Reference, Rule, age, conditions, exactly, weight};

/// `route` in nouns of ours.
pub fn declared(route: &GrpcRoute) -> Declared {
    let reference = ObjectRef { kind: Kind::GrpcRoute, name: route.name_of() };
    let namespace = reference.name.namespace.as_str();
    let rules = route.spec.rules.iter().flatten().enumerate();
    Declared {
        age: age(&route.metadata),
        parents: exactly(route.spec.parent_refs.iter().flatten().map(|written| parent(written, namespace))),
        hosts: route.spec.hostnames.clone().unwrap_or_default(),
        rules: exactly(rules.map(|(index, written)| rule(written, format!("spec.rules[{index}]"), namespace))),
        reference,
    }
}

fn parent(written: &GrpcRouteParentRefs, home: &str) -> ParentRef {
    let GrpcRouteParentRefs { group, kind, namespace, name, port, section_name } = written;
    ParentRef::new((group, kind), (namespace, name), (*port, section_name), home)
}

fn rule(written: &GrpcRouteRules, field: String, namespace: &str) -> Rule {
    let mut problems = Vec::new();
    let at = format!("{field}.filters");
    let filters = match alike::<Vec<_>>(&written.filters.as_deref().unwrap_or_default()) {
        Ok(filters) => of_rule(&filters, &at, namespace),
        Err(why) => unread(&at, why),
    };
    problems.extend(filters.problems.iter().cloned());
    if written.session_persistence.is_some() {
        let why = "sessionPersistence is not supported yet; requests of this rule are answered UNAVAILABLE";
        problems.push(Problem::error(format!("{field}.sessionPersistence"), why));
    }
    let (mut matches, mut calls) = (Vec::new(), Vec::new());
    for written in written.matches.iter().flatten() {
        let (matched, call) = matched(written);
        matches.push(matched);
        calls.push(call);
    }
    if matches.is_empty() {
        matches.push(Match { grpc: true, ..Match::everything() });
        calls.push(Call { service: 0, method: 0 });
    }
    matches.shrink_to_fit();
    calls.shrink_to_fit();
    let backends = written.backend_refs.iter().flatten().enumerate();
    Rule {
        name: written.name.clone(),
        matches,
        calls,
        filters,
        backends: exactly(backends.map(|(i, b)| backend(b, format!("{field}.backendRefs[{i}]"), namespace))),
        timeout: None,
        try_timeout: None,
        retry: None,
        problems,
        field,
    }
}

/// A filter that cannot be read must not be skipped.
fn unread(field: &str, why: String) -> Filters {
    Filters { problems: vec![Problem::error(field, why)], ..Filters::default() }
}

fn backend(written: &GrpcRouteRulesBackendRefs, field: String, home: &str) -> BackendRef {
    let at = format!("{field}.filters");
    BackendRef {
        weight: weight(written.weight),
        filters: match alike::<Vec<_>>(&written.filters.as_deref().unwrap_or_default()) {
            Ok(filters) => of_backend(&filters, &at, home),
            Err(why) => unread(&at, why),
        },
        to: Reference::new(
            field,
            (&written.group, &written.kind),
            (&written.namespace, &written.name),
            written.port,
            home,
        ),
    }
}

/// One `match` of a rule; of several conditions on one name the first counts.
fn matched(written: &GrpcRouteRulesMatches) -> (Match, Call) {
    let (path, call) = match &written.method {
        Some(method) => called(method),
        None => (PathMatch::Prefix("/".to_owned()), Call { service: 0, method: 0 }),
    };
    let headers = written.headers.iter().flatten();
    let headers = headers.map(|one| (&*one.name, one.r#type == Some(HeaderType::RegularExpression), &*one.value));
    let headers = conditions(headers, str::eq_ignore_ascii_case);
    (Match { path, headers, grpc: true, ..Match::everything() }, call)
}

/// The paths of calls: `/<service>/<method>`.
fn called(written: &GrpcRouteRulesMatchesMethod) -> (PathMatch, Call) {
    let (service, method) = (written.service.as_deref(), written.method.as_deref());
    let length = |part: Option<&str>| part.map_or(0, |part| part.chars().count());
    let call = Call { service: length(service), method: length(method) };
    let expression = written.r#type == Some(MethodType::RegularExpression);
    let path = match (service, method) {
        (Some(service), Some(method)) if !expression => PathMatch::Exact(format!("/{service}/{method}")),
        (Some(service), None) if !expression => PathMatch::Prefix(format!("/{service}")),
        (service, method) => PathMatch::Regex(call_paths(service, method)),
    };
    (path, call)
}
