//! What a rule matches, and Gateway API's order of precedence.

use std::cmp::Reverse;

use api::ObjectRef;
use api::core::{ObjectMeta, Time};
use api::gateway::httproutes::{
    HttpRouteRulesMatches, HttpRouteRulesMatchesHeadersType as HeaderType, HttpRouteRulesMatchesPathType as PathType,
    HttpRouteRulesMatchesQueryParamsType as QueryType,
};
use ir::{KeyMatch, Match, PathMatch, ValueMatch};

/// Where a route stands among those of its Service: smaller is tried first.
///
/// Exact paths, then expressions, then prefixes, longer before shorter; a
/// method; more headers; more query parameters; the older route; its namespace
/// and name as one word, so `a-b/x` before `a/x`; the order of rules and of matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    path_kind: u8,
    path_length: Reverse<usize>,
    no_method: bool,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    age: Age,
    name: String,
    rule: usize,
    index: usize,
}

/// When an object was made; one without a time counts as newest.
pub type Age = (bool, Option<Time>);

/// See [`Age`].
pub fn age(meta: &ObjectMeta) -> Age {
    (meta.creation_timestamp.is_none(), meta.creation_timestamp.clone())
}

/// The precedence of `matches`, the `index`th of the `rule`th rule of `route`.
pub fn precedence(matches: &Match, age: &Age, route: &ObjectRef, rule: usize, index: usize) -> Precedence {
    let (path_kind, path) = match &matches.path {
        PathMatch::Exact(path) => (0, path),
        PathMatch::Regex(path) => (1, path),
        PathMatch::Prefix(path) => (2, path),
    };
    Precedence {
        path_kind,
        path_length: Reverse(path.len()),
        no_method: matches.method.is_none(),
        headers: Reverse(matches.headers.len()),
        query: Reverse(matches.query.len()),
        age: age.clone(),
        name: route.name.to_string(),
        rule,
        index,
    }
}

/// One `match` of a rule; of several conditions on one name the first counts.
pub fn matches(written: &HttpRouteRulesMatches, hosts: &[String]) -> Match {
    let path = written.path.as_ref();
    let value = path.and_then(|path| path.value.clone()).unwrap_or_else(|| "/".to_owned());
    let path = match path.and_then(|path| path.r#type.as_ref()) {
        Some(PathType::Exact) => PathMatch::Exact(value),
        Some(PathType::RegularExpression) => PathMatch::Regex(value),
        None | Some(PathType::PathPrefix) => {
            let trimmed = value.trim_end_matches('/');
            PathMatch::Prefix(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
        }
    };
    let mut headers: Vec<KeyMatch> = Vec::new();
    for header in written.headers.iter().flatten() {
        let value = match header.r#type {
            Some(HeaderType::RegularExpression) => ValueMatch::Regex(header.value.clone()),
            _ => ValueMatch::Exact(header.value.clone()),
        };
        if !headers.iter().any(|known| known.name.eq_ignore_ascii_case(&header.name)) {
            headers.push(KeyMatch { name: header.name.clone(), value });
        }
    }
    let mut query: Vec<KeyMatch> = Vec::new();
    for parameter in written.query_params.iter().flatten() {
        let value = match parameter.r#type {
            Some(QueryType::RegularExpression) => ValueMatch::Regex(parameter.value.clone()),
            _ => ValueMatch::Exact(parameter.value.clone()),
        };
        if !query.iter().any(|known| known.name == parameter.name) {
            query.push(KeyMatch { name: parameter.name.clone(), value });
        }
    }
    let method = written.method.as_ref().and_then(|method| serde_json::to_value(method).ok());
    let method = method.and_then(|method| method.as_str().map(str::to_owned));
    Match { path, method, headers, query, hosts: hosts.to_vec() }
}
