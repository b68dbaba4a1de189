//! The door of HTTPRoutes.

use std::time::Duration;

use api::Meta;
use api::gateway::HttpRoute;
use api::gateway::httproutes::{
    HttpRouteParentRefs, HttpRouteRules, HttpRouteRulesBackendRefs, HttpRouteRulesMatches,
    HttpRouteRulesMatchesHeadersType as HeaderType, HttpRouteRulesMatchesMethod as Method,
    HttpRouteRulesMatchesPathType as PathType, HttpRouteRulesMatchesQueryParamsType as QueryType, HttpRouteRulesRetry,
};
use api::proto_json::ProtoDuration;
use api::{Kind, ObjectRef, Problem};
use ir::{Match, PathMatch, Pauses, Retries, RetryOn};

use super::filters::{of_backend, of_rule};
use super::{BackendRef, Declared, ParentRef, Reference, Rule, age, conditions, exactly, weight};

/// `route` in nouns of ours.
pub fn declared(route: &HttpRoute) -> Declared {
    let reference = ObjectRef { kind: Kind::HttpRoute, name: route.name_of() };
    let namespace = reference.name.namespace.as_str();
    Declared {
        age: age(&route.metadata),
        parents: exactly(route.spec.parent_refs.iter().flatten().map(|written| parent(written, namespace))),
        hosts: route.spec.hostnames.clone().unwrap_or_default(),
        rules: exactly(
            route
                .spec
                .rules
                .iter()
                .flatten()
                .enumerate()
                .map(|(index, written)| rule(written, format!("spec.rules[{index}]"), namespace)),
        ),
        reference,
    }
}

fn parent(written: &HttpRouteParentRefs, home: &str) -> ParentRef {
    let HttpRouteParentRefs { group, kind, namespace, name, port, section_name } = written;
    ParentRef::new((group, kind), (namespace, name), (*port, section_name), home)
}

fn rule(written: &HttpRouteRules, field: String, namespace: &str) -> Rule {
    let mut problems = Vec::new();
    let filters = of_rule(written.filters.as_deref().unwrap_or_default(), &format!("{field}.filters"), namespace);
    problems.extend(filters.problems.iter().cloned());
    if written.session_persistence.is_some() {
        let why = "sessionPersistence is not supported yet; requests of this rule are answered 500";
        problems.push(Problem::error(format!("{field}.sessionPersistence"), why));
    }
    let mut time = |name: &str, text: Option<&String>| -> Option<Duration> {
        let parsed = text?.parse::<ProtoDuration>();
        parsed.map_err(|why| problems.push(Problem::error(format!("{field}.{name}"), why))).ok().map(|d| d.0)
    };
    let timeouts = written.timeouts.as_ref();
    let request = time("timeouts.request", timeouts.and_then(|t| t.request.as_ref()));
    let backend_request = time("timeouts.backendRequest", timeouts.and_then(|t| t.backend_request.as_ref()));
    let retry = written.retry.as_ref().map(|written| retry(written, time("retry.backoff", written.backoff.as_ref())));
    let backends = written.backend_refs.iter().flatten().enumerate();
    let mut matches: Vec<Match> = exactly(written.matches.iter().flatten().map(matched));
    if matches.is_empty() {
        matches.reserve_exact(1);
        matches.push(Match::everything());
    }
    Rule {
        name: written.name.clone(),
        matches,
        calls: Vec::new(),
        filters,
        backends: exactly(backends.map(|(i, b)| backend(b, format!("{field}.backendRefs[{i}]"), namespace))),
        timeout: request,
        try_timeout: backend_request,
        retry,
        problems,
        field,
    }
}

/// `backoff` is the pause that is written.
fn retry(written: &HttpRouteRulesRetry, backoff: Option<Duration>) -> Retries {
    let codes = written.codes.iter().flatten();
    Retries {
        on: RetryOn::NoAnswer,
        times: written.attempts.and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or(1),
        statuses: codes.filter_map(|code| u32::try_from(*code).ok()).collect(),
        // At least none at all is whatever Envoy does by itself.
        pauses: backoff.filter(|least| !least.is_zero()).map(|first| Pauses { first, longest: None }),
    }
}

fn backend(written: &HttpRouteRulesBackendRefs, field: String, home: &str) -> BackendRef {
    let filters = written.filters.as_deref().unwrap_or_default();
    BackendRef {
        weight: weight(written.weight),
        filters: of_backend(filters, &format!("{field}.filters"), home),
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
fn matched(written: &HttpRouteRulesMatches) -> Match {
    let path = written.path.as_ref();
    let value = path.and_then(|path| path.value.clone()).unwrap_or_else(|| "/".to_owned());
    let path = match path.and_then(|path| path.r#type.as_ref()) {
        Some(PathType::Exact) => PathMatch::Exact(ir::path::canonical(&value)),
        Some(PathType::RegularExpression) => PathMatch::Regex(value),
        None | Some(PathType::PathPrefix) => {
            let value = ir::path::canonical(&value);
            let trimmed = value.trim_end_matches('/');
            PathMatch::Prefix(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
        }
    };
    let headers = written.headers.iter().flatten();
    let headers = headers.map(|one| (&*one.name, one.r#type == Some(HeaderType::RegularExpression), &*one.value));
    let headers = conditions(headers, str::eq_ignore_ascii_case);
    let query = written.query_params.iter().flatten();
    let query = query.map(|one| (&*one.name, one.r#type == Some(QueryType::RegularExpression), &*one.value));
    let query = conditions(query, |one, other| one == other);
    let method = written.method.as_ref().map(|method| {
        let name = match method {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
        };
        name.to_owned()
    });
    Match { path, method, headers, query, hosts: Vec::new(), no_host: false, target: None, grpc: false }
}
