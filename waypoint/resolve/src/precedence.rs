//! Gateway API's order of precedence.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use api::ObjectRef;
use ir::{Match, PathMatch};

use crate::declared::{Age, Call};

/// Where a route stands among those of its Service: smaller is tried first.
///
/// The more specific host name; exact paths, then expressions, then prefixes, longer before shorter; a
/// method; more headers; more query parameters; of gRPC more of the service's name and then of the method's, in place of
/// paths; the older route; its namespace
/// and name as one word, so `a-b/x` before `a/x`; the order of rules and of matches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    hosts: (u8, Reverse<usize>),
    path_kind: u8,
    path_length: Reverse<usize>,
    method_length: Reverse<usize>,
    no_method: bool,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    age: Age,
    name: String,
    rule: usize,
    index: usize,
}

/// The precedence of `matches`, of a rule of `route` with these numbers of rule and match; of gRPC it names so much of a `call`.
pub fn precedence(
    matches: &Match,
    call: Option<&Call>,
    age: &Age,
    route: &ObjectRef,
    (rule, index): (usize, usize),
) -> Precedence {
    let (path_kind, path_length, method_length) = match (call, &matches.path) {
        (Some(Call { service, method }), _) => (0, *service, *method),
        (None, PathMatch::Exact(path)) => (0, path.len(), 0),
        (None, PathMatch::Regex(path)) => (1, path.len(), 0),
        (None, PathMatch::Prefix(path)) => (2, path.len(), 0),
    };
    Precedence {
        hosts: rank(None),
        path_kind,
        path_length: Reverse(path_length),
        method_length: Reverse(method_length),
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

#[cfg(test)]
mod tests {
    use api::Kind;
    use ir::{KeyMatch, ValueMatch};

    use super::*;

    /// A match of this path that names so much of a service and a method, with as many headers.
    fn call(path: PathMatch, service: usize, method: usize, headers: usize) -> Precedence {
        let header = |number: usize| KeyMatch { name: format!("x-{number}"), value: ValueMatch::Exact(String::new()) };
        let headers = (0..headers).map(header).collect();
        let matches = Match { path, headers, grpc: true, ..Match::everything() };
        let route = ObjectRef::new(Kind::GrpcRoute, "t", "r");
        precedence(&matches, Some(&Call { service, method }), &(true, None), &route, (0, 0))
    }

    #[test]
    fn of_calls_the_longer_service_comes_first_then_the_longer_method_then_more_headers_whatever_their_paths_are() {
        let regex = || PathMatch::Regex("/(?:a.*)/[^/]+".to_owned());
        let ordered = [
            call(regex(), 9, 0, 0),
            call(PathMatch::Exact("/a.Bc/Longer".to_owned()), 4, 6, 0),
            call(PathMatch::Exact("/a.Bc/Say".to_owned()), 4, 3, 2),
            call(PathMatch::Exact("/a.Bc/Say".to_owned()), 4, 3, 1),
            call(PathMatch::Prefix("/a.Bc".to_owned()), 4, 0, 5),
            call(regex(), 3, 0, 5),
            call(PathMatch::Regex("/[^/]+/Say".to_owned()), 0, 3, 0),
            call(PathMatch::Prefix("/".to_owned()), 0, 0, 5),
            call(PathMatch::Prefix("/".to_owned()), 0, 0, 0),
        ];
        assert!(ordered.is_sorted(), "{ordered:#?}");
        assert!(ordered.windows(2).all(|two| two[0] < two[1]));
    }
}
