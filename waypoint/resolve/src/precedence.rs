//! Gateway API's order of precedence.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use api::ObjectRef;
use ir::{Match, PathMatch};

use crate::declared::Age;

/// Where a route stands among those of its Service: smaller is tried first.
///
/// The more specific host name; exact paths, then expressions, then prefixes, longer before shorter; a
/// method; more headers; more query parameters; the older route; its namespace
/// and name as one word, so `a-b/x` before `a/x`; the order of rules and of matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    hosts: (u8, Reverse<usize>),
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
        hosts: rank(None),
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

impl Precedence {
    /// The precedence of this route among others for `hosts`, which are of one group: see [`by_precedence`].
    pub fn of_hosts(self, hosts: &[String]) -> Self {
        Self { hosts: rank(hosts.first().map(String::as_str)), ..self }
    }
}

/// Exact names, which exclude each other, come first, then wildcards, longer before shorter, then any host.
fn rank(host: Option<&str>) -> (u8, Reverse<usize>) {
    match host {
        Some(host) if !host.starts_with("*.") => (0, Reverse(0)),
        Some(host) => (1, Reverse(host.len())),
        None => (2, Reverse(0)),
    }
}

/// `hosts` in groups of one precedence each; one empty group for any host.
pub fn by_precedence(hosts: Vec<String>) -> Vec<Vec<String>> {
    let mut groups: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for host in hosts {
        groups.entry(rank(Some(&host))).or_default().push(host);
    }
    if groups.is_empty() { vec![Vec::new()] } else { groups.into_values().collect() }
}
