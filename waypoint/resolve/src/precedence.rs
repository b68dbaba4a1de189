//! Gateway API's order of precedence.

use std::cmp::Reverse;

use api::ObjectRef;
use ir::{Match, PathMatch};

use super::declared::Age;

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
